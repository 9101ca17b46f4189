"""Equality with strings, numbers and booleans, and whether there is a value at all.

With `fold`, a string longer than any of the values is put into no other case: no character becomes
less than one by that, so it is equal to none of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from proxy.engine.operators.model import Leaf, Options

__all__ = ["by_kind", "equality", "exists", "folded", "member"]


_SHORT = "{f}.__class__ is str and len({x}) <= {1} and "


def folded(values: Sequence[Any], fold: bool) -> list[Any]:
    """Return values, their texts in one case if that is asked for."""
    return [v.casefold() if fold and isinstance(v, str) else v for v in values]


def by_kind(
    values: Sequence[Any], fold: bool
) -> tuple[frozenset[str], frozenset[bool], frozenset[int | float]]:
    """Return the texts, the booleans and the numbers among values: True is not 1."""
    texts = frozenset([v for v in folded(values, fold) if isinstance(v, str)])
    if len(texts) == len(values):
        return texts, frozenset(), frozenset()
    booleans = frozenset([v for v in values if isinstance(v, bool)])
    numbers = frozenset([v for v in values if v.__class__ is int or v.__class__ is float])
    return texts, booleans, numbers


def member(values: Sequence[Any], fold: bool) -> Callable[[Any], bool]:
    """Return a test whether any JSON value is one of the values."""
    texts, booleans, numbers = by_kind(values, fold)
    longest = max(map(len, texts), default=0)

    def is_member(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            if fold:
                return len(value) <= longest and value.casefold() in texts
            return value in texts
        if kind is bool:
            return value in booleans
        return (kind is int or kind is float) and value in numbers

    return is_member


def equality(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether the value is one of the values."""
    kinds = {v.__class__ for v in values}
    if kinds == {str}:
        texts = frozenset(folded(values, options.fold))
        if len(texts) == 1:
            only = next(iter(texts))
            if options.fold:
                return Leaf(_SHORT + "{x}.casefold() == {0}", (only, len(only)))
            return Leaf("{f} == {0}", (only,))
        if options.fold:
            longest = max(map(len, texts))
            return Leaf(_SHORT + "{x}.casefold() in {0}", (texts, longest))
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
