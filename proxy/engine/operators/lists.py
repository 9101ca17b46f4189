"""What is in a list, and how much.

A list of more than `MAX_READ_ELEMENTS` is as a value that is no list: what is in it is not read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from proxy.contract.codes import ProblemCode
from proxy.engine.limits import MAX_READ_ELEMENTS
from proxy.engine.operators.model import SCALARS, Fault, Leaf, Options
from proxy.engine.operators.values import by_kind, folded, member

__all__ = ["all_of", "any_of", "check_size", "size"]


_SHORT = f"{{f}}.__class__ is list and len({{x}}) <= {MAX_READ_ELEMENTS}"


def any_of(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether a list has one of the values."""
    is_member = member(values, options.fold)

    def has_any(value: list[Any]) -> bool:
        return any(map(is_member, value))

    return Leaf(_SHORT + " and {0}({x})", (has_any,))


def all_of(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether a list has every one of the values."""
    texts, booleans, numbers = by_kind(values, options.fold)
    longest = max(map(len, texts), default=0)

    def has_all(value: list[Any]) -> bool:
        found: dict[type, set[Any]] = {str: set(), bool: set(), int: set()}
        if options.fold:
            value = [v for v in value if v.__class__ is not str or len(v) <= longest]
            value = folded(value, fold=True)
        for v in value:
            kind = v.__class__
            if kind in SCALARS.classes:
                found[int if kind is float else kind].add(v)
        return texts <= found[str] and booleans <= found[bool] and numbers <= found[int]

    return Leaf(_SHORT + " and {0}({x})", (has_all,))


def check_size(values: Sequence[Any], _options: Options) -> Iterator[Fault | None]:
    """Yield a length that no list is compared with in earnest."""
    if values[0] < 0:
        message = "no list has a negative length"
        yield Fault(("values", 0), ProblemCode.OUT_OF_RANGE, message, "size_gt 0 is: not empty")


def size(sign: str) -> Callable[[Sequence[Any], Options], Leaf]:
    """Return the compile of a comparison of a list's length by a sign of Python's."""
    template = "{f}.__class__ is list and len({x}) " + sign + " {0}"
    return lambda values, _: Leaf(template, (values[0],))
