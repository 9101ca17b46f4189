"""What stands in, at the start or at the end of a string.

One of more than `MAX_READ_CHARS` has nothing in it. Of what stands at an end, no more is put into
one case than the longest text has characters: no character becomes less than one by that.
"""

from collections.abc import Callable, Sequence
from typing import Any

from proxy.engine.limits import MAX_READ_CHARS
from proxy.engine.operators.model import Leaf, Options

__all__ = ["contains", "ends_with", "starts_with"]


_SHORT = f"{{f}}.__class__ is str and len({{x}}) <= {MAX_READ_CHARS} and "


def _test(
    one: str, several: Callable[[tuple[str, ...]], tuple[str, Any]], part: str = ""
) -> Callable[[Sequence[Any], Options], Leaf]:
    """Return the compile of a test of a string: `one` for a single value, else `several`.

    Both are written over `{s}`, the string, folded where that is asked for. `part` of it decides,
    written over `{1}`, the length of the longest value; the whole of it, if none is given.
    """

    def compile_text(values: Sequence[Any], options: Options) -> Leaf:
        texts = tuple(dict.fromkeys(v.casefold() if options.fold else v for v in values))
        test, literal = (one, texts[0]) if len(texts) == 1 else several(texts)
        subject = "{x}" + part + ".casefold()" if options.fold else "{x}"
        start = "{f}.__class__ is str and " if part else _SHORT
        longest = (max(1, *map(len, texts)),) if part and options.fold else ()
        return Leaf(start + test.replace("{s}", subject), (literal, *longest))

    return compile_text


def _contains_any(texts: tuple[str, ...]) -> tuple[str, Any]:
    def contains_any(value: str) -> bool:
        return any(text in value for text in texts)

    return "{0}({s})", contains_any


contains = _test("{0} in {s}", _contains_any)
starts_with = _test("{s}.startswith({0})", lambda texts: ("{s}.startswith({0})", texts), "[:{1}]")
ends_with = _test("{s}.endswith({0})", lambda texts: ("{s}.endswith({0})", texts), "[-{1}:]")
