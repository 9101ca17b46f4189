"""What an operator is: what it takes, what can be wrong with it, and the leaf it compiles to.

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
- An operator over time is also given the time of the evaluation, as an integer of milliseconds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec import UnsetType

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Condition

__all__ = [
    "INSTANT",
    "NO_VALUES",
    "NUMBER",
    "SCALARS",
    "SIZE",
    "TEXT",
    "TEXTS",
    "UTC",
    "Fault",
    "Leaf",
    "Operator",
    "Options",
    "Values",
    "options_of",
]

UTC = "UTC"


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


class Options(NamedTuple):
    """What a leaf says besides its values; what it leaves out is as here."""

    fold: bool = False
    from_: str | None = None
    to: str | None = None
    zone: str = UTC


class Fault(NamedTuple):
    """Something wrong with a leaf; `path` leads to it from the leaf."""

    path: tuple[str | int, ...]
    code: ProblemCode
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR


_PLAIN = Options()
_FOLDED = Options(fold=True)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator."""

    values: Values
    make: Callable[[Sequence[Any], Options], Leaf]
    """Called with values and options in which no fault was found."""
    negated: bool = False
    """Whether it is the opposite of what `make` makes."""
    options: frozenset[str] = frozenset()
    """Which of `fold`, `from`, `to` and `zone` mean something."""
    needs: frozenset[str] = frozenset()
    """Which of them cannot be left out."""
    timed: bool = False
    """Whether it is of the time of the evaluation where there is no `attribute`."""
    check: Callable[[Sequence[Any], Options], Iterator[Fault | None]] | None = None
    """What is wrong with values of the right classes and number, and with options that it takes.

    None is a breath, taken before the next half a millisecond of work.
    """

    window: Callable[[Any], tuple[int, int]] | None = None
    """The half-open span of Unix milliseconds that it holds in, if it is of the time, and one."""

    def compile(self, values: Sequence[Any], fold: bool = False) -> Leaf:
        """Return the leaf of values that were found to fit, before negation."""
        return self.make(values, _FOLDED if fold else _PLAIN)

    def compile_condition(self, condition: Condition) -> Leaf:
        """Return the leaf of a condition that was found to be right, before negation."""
        values = () if isinstance(condition.values, UnsetType) else condition.values
        return self.make(values, options_of(condition))

    def span(self, condition: Condition) -> tuple[int, int] | None:
        """Return the span of Unix milliseconds that a condition of the time holds in, if it is one.

        Half-open, and before negation.
        """
        if self.window is None or isinstance(condition.values, UnsetType):
            return None
        return self.window(condition.values[0])


def options_of(condition: Condition) -> Options:
    """Return the options of a leaf."""
    from_, to, zone = condition.from_, condition.to, condition.zone
    if from_ is to is zone:  # nearly always: none is given
        return _FOLDED if condition.fold is True else _PLAIN
    return Options(
        condition.fold is True,
        None if isinstance(from_, UnsetType) else from_,
        None if isinstance(to, UnsetType) else to,
        UTC if isinstance(zone, UnsetType) else zone,
    )


SCALARS = Values(
    frozenset((str, int, float, bool)), 1, None, "one or more strings, numbers or booleans"
)
TEXTS = Values(frozenset((str,)), 1, None, "one or more strings")
TEXT = Values(frozenset((str,)), 1, 1, "exactly one string")
NUMBER = Values(frozenset((int, float)), 1, 1, "exactly one number")
INSTANT = Values(
    frozenset((str, int)), 1, 1, "exactly one date and time, or integer of Unix milliseconds"
)
SIZE = Values(frozenset((int,)), 1, 1, "exactly one integer")
NO_VALUES = Values(frozenset(), 0, 0, "no values")
