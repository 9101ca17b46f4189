"""Equality with strings, numbers and booleans, and whether there is a value at all."""

from collections.abc import Callable, Sequence
from typing import Any

from proxy.engine.operators.model import Leaf, Options

__all__ = ["equality", "exists", "member"]


def member(values: Sequence[Any], fold: bool) -> Callable[[Any], bool]:
    """Return a test whether any JSON value is one of the values."""
    texts = frozenset(v.casefold() if fold else v for v in values if isinstance(v, str))
    booleans = frozenset(v for v in values if isinstance(v, bool))
    numbers = frozenset(
        v for v in values if isinstance(v, (int, float)) and v.__class__ is not bool
    )

    def is_member(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            return (value.casefold() if fold else value) in texts
        if kind is bool:
            return value in booleans
        return (kind is int or kind is float) and value in numbers

    return is_member


def equality(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether the value is one of the values."""
    kinds = {v.__class__ for v in values}
    if kinds == {str}:
        texts = frozenset(v.casefold() if options.fold else v for v in values)
        if len(texts) == 1:
            only = next(iter(texts))
            if options.fold:
                return Leaf("{f}.__class__ is str and {x}.casefold() == {0}", (only,))
            return Leaf("{f} == {0}", (only,))
        if options.fold:
            return Leaf("{f}.__class__ is str and {x}.casefold() in {0}", (texts,))
        return Leaf("{f}.__class__ is str and {x} in {0}", (texts,))
    if kinds == {bool} and len(set(values)) == 1:
        return Leaf("{f} is {0}", (values[0],))
    if len(values) == 1:
        # only 0 and 1 can be mistaken for a boolean
        guard = " and {x}.__class__ is not bool" if values[0] in (0, 1) else ""
        return Leaf("{f} == {0}" + guard, (values[0],))
    return Leaf("{0}({f})", (member(values, options.fold),))


def exists(_values: Sequence[Any], _options: Options) -> Leaf:
    """Return whether there is a value."""
    return Leaf("{f} is not None")
