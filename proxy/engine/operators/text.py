"""What stands in, at the start or at the end of a string."""

from collections.abc import Callable, Sequence
from typing import Any

from proxy.engine.operators.model import Leaf, Options

__all__ = ["contains", "ends_with", "starts_with"]


def _test(
    one: str, several: Callable[[tuple[str, ...]], tuple[str, Any]]
) -> Callable[[Sequence[Any], Options], Leaf]:
    """Return the compile of a test of a string: `one` for a single value, else `several`.

    Both are written over `{s}`, the string, folded where that is asked for.
    """

    def compile_text(values: Sequence[Any], options: Options) -> Leaf:
        texts = tuple(dict.fromkeys(v.casefold() if options.fold else v for v in values))
        test, literal = (one, texts[0]) if len(texts) == 1 else several(texts)
        subject = "{x}.casefold()" if options.fold else "{x}"
        return Leaf("{f}.__class__ is str and " + test.replace("{s}", subject), (literal,))

    return compile_text


def _contains_any(texts: tuple[str, ...]) -> tuple[str, Any]:
    def contains_any(value: str) -> bool:
        return any(text in value for text in texts)

    return "{0}({s})", contains_any


contains = _test("{0} in {s}", _contains_any)
starts_with = _test("{s}.startswith({0})", lambda texts: ("{s}.startswith({0})", texts))
ends_with = _test("{s}.endswith({0})", lambda texts: ("{s}.endswith({0})", texts))
