"""What is in a list, and how much."""

from collections.abc import Callable, Sequence
from typing import Any

from proxy.engine.operators.model import SCALARS, Leaf, Options
from proxy.engine.operators.values import member

__all__ = ["all_of", "any_of", "size"]


def any_of(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether a list has one of the values."""
    is_member = member(values, options.fold)

    def has_any(value: list[Any]) -> bool:
        return any(map(is_member, value))

    return Leaf("{f}.__class__ is list and {0}({x})", (has_any,))


def all_of(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether a list has every one of the values."""
    wanted = {_token(v, options.fold) for v in values}

    def has_all(value: list[Any]) -> bool:
        return wanted <= {_token(v, options.fold) for v in value if v.__class__ in SCALARS.classes}

    return Leaf("{f}.__class__ is list and {0}({x})", (has_all,))


def _token(value: Any, fold: bool) -> tuple[bool, Any]:
    """Return a scalar such that only equal ones are equal: True is not 1."""
    if fold and value.__class__ is str:
        value = value.casefold()
    return value.__class__ is bool, value


def size(sign: str) -> Callable[[Sequence[Any], Options], Leaf]:
    """Return the compile of a comparison of a list's length by a sign of Python's."""
    template = "{f}.__class__ is list and len({x}) " + sign + " {0}"
    return lambda values, _: Leaf(template, (values[0],))
