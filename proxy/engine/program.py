"""The rule program: the one internal form that every source of definitions translates into.

In memory only, between a definition and its compiled flag; never stored, never sent. A program is
a list of steps, tried in order, and what is answered when none decides:

    Lookup   a table from one attribute's value to an outcome        (targets)
    Rule     a condition, and what is served where it holds          (rules)

What is served is an `Outcome`, an answer already decided, or a `Split` of units over outcomes.
Structure is normalised here (constants folded, nested lists flattened, negations pushed together);
leaves keep their source's own operators, compiled to a `Leaf` each, because coercion rules differ
between sources and that is exactly what bit-for-bit means.

Rules:
- Values, not behaviour: frozen structs, which cost a tenth of a frozen dataclass to make; there are
  some twenty to a flag, and none refers back, so the collector need not know them.
- Whoever translates has validated; nothing here raises.
- A `Split` that cannot tell the unit serves `missing`; None there means that the rule does not
  match and the next step is tried.

Next to come, each in one place: prerequisites as a step `Gate`, active windows as a condition over
time, ramps as a `Split` whose cuts are functions of time.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from proxy.contract.codes import ErrorCode, Reason
from proxy.engine.operators import Leaf

__all__ = [
    "FALSE",
    "TRUE",
    "All",
    "AnyOf",
    "Call",
    "Constant",
    "Expression",
    "InSegment",
    "Lookup",
    "Not",
    "Outcome",
    "Program",
    "Rule",
    "Serve",
    "Split",
    "Probe",
    "all_of",
    "any_of",
    "leaf_count",
    "negation",
    "reachable",
]


class Constant(msgspec.Struct, frozen=True, gc=False):
    """A condition that holds always, `TRUE`, or never, `FALSE`; there are no others."""

    value: bool


TRUE = Constant(True)
FALSE = Constant(False)


class All(msgspec.Struct, frozen=True, gc=False):
    """Holds where every one of its items does."""

    items: tuple["Expression", ...]


class AnyOf(msgspec.Struct, frozen=True, gc=False):
    """Holds where at least one of its items does."""

    items: tuple["Expression", ...]


class Not(msgspec.Struct, frozen=True, gc=False):
    """Holds where its item does not."""

    item: "Expression"


class InSegment(msgspec.Struct, frozen=True, gc=False):
    """Holds for the contexts of a segment."""

    key: str


class Probe(msgspec.Struct, frozen=True, gc=False):
    """A leaf over the value of an attribute."""

    attribute: str
    leaf: Leaf


class Call(msgspec.Struct, frozen=True, gc=False):
    """A part of a condition that was compiled to a function of its own; made by `codegen` only."""

    function: Callable[[dict[str, Any], int], bool]


Expression = Constant | All | AnyOf | Not | InSegment | Probe | Call


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One thing a flag can answer: a variant (None for the code default), or an error."""

    variant: str | None = None
    reason: Reason | None = None
    rule_id: str | None = None
    unit_attribute: str = "targetingKey"
    error: ErrorCode | None = None
    details: str = ""


class Split(msgspec.Struct, frozen=True, gc=False):
    """Units told apart by the attribute `by`, over ranges of buckets.

    `cuts` are the buckets where one outcome ends and the next begins; there is one outcome more
    than cuts. With `numbers` a unit may be a number, too.
    """

    by: str
    salt: str
    numbers: bool
    cuts: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    missing: Outcome | None


Serve = Outcome | Split


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """Decides where the attribute, a string, is in a group; in several, the first of them."""

    attribute: str
    groups: tuple[tuple[Sequence[str], Outcome], ...]


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Decides where `when` holds."""

    when: Expression
    serve: Serve


class Program(msgspec.Struct, frozen=True, gc=False):
    """Steps in order, and what is served where none decides."""

    steps: tuple[Lookup | Rule, ...]
    otherwise: Serve


def all_of(items: Iterable[Expression]) -> Expression:
    """Return the conjunction, as small as it can be said."""
    flat: list[Expression] = []
    for item in items:
        if item is FALSE:
            return FALSE
        if isinstance(item, All):
            flat.extend(item.items)
        elif item is not TRUE:
            flat.append(item)
    return flat[0] if len(flat) == 1 else All(tuple(flat)) if flat else TRUE


def any_of(items: Iterable[Expression]) -> Expression:
    """Return the disjunction, as small as it can be said."""
    flat: list[Expression] = []
    for item in items:
        if item is TRUE:
            return TRUE
        if isinstance(item, AnyOf):
            flat.extend(item.items)
        elif item is not FALSE:
            flat.append(item)
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat)) if flat else FALSE


def negation(item: Expression) -> Expression:
    """Return the opposite; of a negation, what it negates."""
    if isinstance(item, Constant):
        return FALSE if item.value else TRUE
    return item.item if isinstance(item, Not) else Not(item)


def reachable(steps: Iterable[Lookup | Rule], otherwise: Serve) -> Program:
    """Return the program without rules that never hold, and without what follows a certain one."""
    kept: list[Lookup | Rule] = []
    for step in steps:
        if isinstance(step, Lookup):
            if any(values for values, _ in step.groups):
                kept.append(step)
        elif step.when is TRUE and not (
            isinstance(step.serve, Split) and step.serve.missing is None
        ):
            return Program(tuple(kept), step.serve)
        elif step.when is not FALSE:
            kept.append(step)
    return Program(tuple(kept), otherwise)


def leaf_count(expression: Expression) -> int:
    """Return how many tests and segments are in an expression."""
    count = 0
    stack = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, (All, AnyOf)):
            stack.extend(node.items)
        elif isinstance(node, Not):
            stack.append(node.item)
        elif not isinstance(node, Constant):
            count += 1
    return count
