"""What an operator is: what it takes, and the leaf it compiles to.

A leaf is an expression over a value: `{f}` where the value is first used, `{x}` where it is used
again, `{0}`, `{1}` ... for its literals, which generated code is given as arguments. Templates are
constants of this package; nothing of a definition is ever in one.

Rules for a template:
- `{f}` stands exactly once, and is what Python evaluates first.
- A missing value arrives as None, and the leaf must be false for it, and for every type that the
  operator is not for. Negation comes after: `not_in`, `negate` and `not` agree.
- It may not raise for any JSON value. Lists and objects are unhashable, so `in` a set asks for the
  class first. Classes are compared exactly; contexts come from a JSON decoder.
- Booleans equal only booleans, although Python has `True == 1`; also within sets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = [
    "NO_VALUES",
    "NUMBER",
    "SCALARS",
    "SIZE",
    "TEXTS",
    "Leaf",
    "Operator",
    "Values",
]


class Leaf(NamedTuple):
    """An expression over a value, and the literals it is given."""

    template: str
    literals: tuple[Any, ...] = ()


class Values(NamedTuple):
    """What an operator takes as `values`: of which classes, how many, and how to say so."""

    classes: frozenset[type]
    least: int
    most: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator. `compile(values, fold)` is called with values that were found to fit."""

    values: Values
    compile: Callable[[Sequence[Any], bool], Leaf]
    negated: bool = False
    """Whether it is the opposite of what `compile` makes."""
    folds: bool = False
    """Whether `fold`, comparing with `str.casefold`, means something."""


SCALARS = Values(
    frozenset((str, int, float, bool)), 1, None, "one or more strings, numbers or booleans"
)
TEXTS = Values(frozenset((str,)), 1, None, "one or more strings")
NUMBER = Values(frozenset((int, float)), 1, 1, "exactly one number")
SIZE = Values(frozenset((int,)), 1, 1, "exactly one integer")
NO_VALUES = Values(frozenset(), 0, 0, "no values")
