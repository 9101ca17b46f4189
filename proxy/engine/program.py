"""The rule program: the one internal form that every source of definitions translates into.

In memory only, between a definition and its compiled flag; never stored, never sent. A program is
a list of steps, tried in order, and what is served when none decides:

    Gate     a condition that must hold, or its outcome is served    (prerequisites)
    Lookup   a table from one attribute's value to an outcome        (targets)
    Rule     a condition, and what is served where it holds          (rules)

What is served is an `Outcome`, an answer already decided; a `Split` of units over outcomes; a
`Computed` choice of an outcome by name; or `NEXT`, which goes on with the following step. A
`Timeline` is one program after another, each from a moment on.

Structure is normalised here (constants folded, nested lists flattened, negations pushed together);
leaves keep their source's own operators, compiled to a `Leaf` each, because coercion rules differ
between sources and that is exactly what bit-for-bit means. For the same reason a split's hash, its
key, its reduction and the pieces of its range, gaps included, are all data.

Rules:
- Values, not behaviour: frozen structs, which cost a tenth of a frozen dataclass to make; there are
  some twenty to a flag, and none refers back, so the collector need not know them.
- Whoever translates has validated; nothing here raises.
- What a program does may depend on the context and on the time, which both are arguments, and on
  nothing else.
- `explain` walks the same program that `codegen` compiles. A new kind of node needs both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine.operators import Leaf
from proxy.engine.times import EVER

__all__ = [
    "ALWAYS",
    "FALSE",
    "NEXT",
    "TRUE",
    "All",
    "AnyOf",
    "Answered",
    "Arm",
    "Bucketing",
    "Call",
    "Computed",
    "Constant",
    "Expression",
    "Gate",
    "InSegment",
    "Lookup",
    "Next",
    "Not",
    "Operand",
    "Outcome",
    "Part",
    "Probe",
    "Program",
    "Ramp",
    "Rule",
    "Serve",
    "Split",
    "Step",
    "Timeline",
    "Window",
    "Within",
    "all_of",
    "any_of",
    "comes_to_next",
    "is_constant",
    "leaf_count",
    "negation",
    "reachable",
    "small",
]

ALWAYS = EVER
"""A span of Unix milliseconds that every moment is in."""


# Conditions


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


class Operand(msgspec.Struct, frozen=True, gc=False):
    """A value of a context that the name of an attribute alone does not find.

    `fetch(context)` never raises and gives None for what is missing; `reads` are the top-level
    members of a context that it looks at, None when that cannot be said.
    """

    name: str
    fetch: Callable[[dict[str, Any]], Any]
    reads: frozenset[str] | None


class Probe(msgspec.Struct, frozen=True, gc=False):
    """A leaf over the value of an attribute, or with None over the time, in Unix milliseconds.

    `source` is the condition as its author wrote it, for explanations. A probe of the time is
    taken to change its mind at any moment; a span of time is better said by a `Window`.
    """

    attribute: str | Operand | None
    leaf: Leaf
    negated: bool = False
    source: Any = None


class Window(msgspec.Struct, frozen=True, gc=False):
    """Holds from a moment on until before another, both in Unix milliseconds."""

    from_ms: int
    until_ms: int
    source: Any = None


class Within(msgspec.Struct, frozen=True, gc=False):
    """Holds for units whose number is in one of half-open ranges; not for who has none."""

    bucketing: "Bucketing"
    ranges: tuple[tuple[int, int], ...]


class Answered(msgspec.Struct, frozen=True, gc=False):
    """Holds where the `Answer` of another flag is what `passes` wants; `wanted` says so to people.

    For a flag that is not there `passes` is asked about `FLAG_NOT_FOUND`.
    """

    key: str
    passes: Callable[[Any], bool]
    wanted: Any = None


class Call(msgspec.Struct, frozen=True, gc=False):
    """A part of a condition that was compiled to a function of its own; made by `codegen` only."""

    function: Callable[..., bool]


Expression = Constant | All | AnyOf | Not | InSegment | Probe | Window | Within | Answered | Call


# What is served


NAMING = frozenset(("prerequisite", "prerequisiteKey"))
"""The metadata of outcomes that holds the key of another flag, which not everybody may see."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One thing a flag can answer: a variant (None for the code default), or an error.

    `metadata` is what the answer carries besides the flag's own, flat.
    """

    variant: str | None = None
    reason: Reason | None = None
    rule_id: str | None = None
    unit_attribute: str = TARGETING_KEY
    error: ErrorCode | None = None
    details: str = ""
    metadata: tuple[tuple[str, str | int | float | bool], ...] = ()


class Next(msgspec.Struct, frozen=True, gc=False):
    """Decides nothing: the following step is tried. There is one, `NEXT`."""


NEXT = Next()


class Part(msgspec.Struct, frozen=True, gc=False):
    """The part of a hash's key that comes from the context.

    `encode(value)` returns its bytes, None for a value that cannot be a unit; it never raises.
    """

    attribute: str | Operand
    encode: Callable[[Any], bytes | None]


class Bucketing(msgspec.Struct, frozen=True, gc=False):
    """The number that a context falls on: a hash of a key, reduced to `size` numbers.

    `key` is what is hashed, constant bytes and parts of the context, in order; without one of the
    parts there is no number. `hash` is a name of `proxy.engine.hashing.HASHES`. Reduced by
    `modulo`: `h % size`; by `scale`, of 32 bits: `(h * size) >> 32`; by `none`: the hash itself.
    """

    key: tuple[bytes | Part, ...]
    hash: str = "murmur3_32"
    seed: int = 0
    reduce: Literal["none", "modulo", "scale"] = "none"
    size: int = 0


class Ramp(msgspec.Struct, frozen=True, gc=False):
    """The end of a range that moves with time, in a straight line, and stands before and after.

    Between `start_ms` and `end_ms` it is `from_ + (to - from_) * passed // whole`. With `slope` it
    is `int(from_ + steps * slope)`, in double precision, `steps` whole steps of `step_ms`, and
    `from_` may have a fraction, which only counts together with what was added.
    """

    start_ms: int
    end_ms: int
    from_: int | float
    to: int
    slope: float | None = None
    step_ms: int = 1

    def bound(self, now_ms: int) -> int:
        """Return the end of the range at a time."""
        if now_ms < self.start_ms:
            return int(self.from_)
        if now_ms >= self.end_ms:
            return self.to
        passed = now_ms - self.start_ms
        if self.slope is None:
            grown = (self.to - self.from_) * passed // (self.end_ms - self.start_ms)
            return int(self.from_ + grown)
        steps = now_ms // self.step_ms - self.start_ms // self.step_ms
        return int(self.from_ + steps * self.slope)


class Arm(msgspec.Struct, frozen=True, gc=False):
    """Who has a number in `[low, high)` is served `serve`."""

    low: int
    high: int | Ramp
    serve: Outcome | Next


class Split(msgspec.Struct, frozen=True, gc=False):
    """Units told apart by a number. `arms` are disjoint, in order, with gaps between them or not.

    Who is in no arm is served `otherwise`, who has no number `missing`.
    """

    bucketing: Bucketing
    arms: tuple[Arm, ...]
    otherwise: Outcome | Next
    missing: Outcome | Next


class Computed(msgspec.Struct, frozen=True, gc=False):
    """An outcome chosen by a name that `choose(context, now_ms)` returns.

    None is served `nothing`, a name without an outcome `unknown`. `reads` are the top-level members
    of a context that it looks at, None when that cannot be said; `timed` whether it uses the time.
    """

    choose: Callable[[dict[str, Any], int], str | None]
    outcomes: tuple[tuple[str, Outcome], ...]
    nothing: Outcome | Next
    unknown: Outcome | Next
    reads: frozenset[str] | None = None
    timed: bool = False


Serve = Outcome | Next | Split | Computed


# Steps


class Gate(msgspec.Struct, frozen=True, gc=False):
    """Decides, by `closed`, where `passes` does not hold."""

    passes: Expression
    closed: Outcome


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """Decides where the attribute, a string, is in a group; in several, the first of them."""

    attribute: str
    groups: tuple[tuple[Sequence[str], Outcome], ...]


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Decides where `when` holds, unless what it serves comes to `NEXT`."""

    when: Expression
    serve: Serve
    id: str | None = None


Step = Gate | Lookup | Rule


class Program(msgspec.Struct, frozen=True, gc=False):
    """Steps in order, and what is served where none decides, which never comes to `NEXT`.

    `variants` are those its outcomes name, when they are others than the flag's.
    """

    steps: tuple[Step, ...]
    otherwise: Serve
    variants: Mapping[str, Any] | None = None


class Timeline(msgspec.Struct, frozen=True, gc=False):
    """Programs, each from a moment on, in Unix milliseconds ascending; the first since ever."""

    first: Program
    then: tuple[tuple[int, Program], ...]


# Making them small


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
    if isinstance(item, Probe):
        return msgspec.structs.replace(item, negated=not item.negated)
    return item.item if isinstance(item, Not) else Not(item)


def comes_to_next(serve: Serve) -> bool:
    """Return whether what is served may be that the following step is tried."""
    match serve:
        case Next():
            return True
        case Split():
            if serve.missing is NEXT or serve.otherwise is NEXT:
                return True
            return any(arm.serve is NEXT for arm in serve.arms)
        case Computed():
            return serve.nothing is NEXT or serve.unknown is NEXT
        case _:
            return False


def small(program: Program | Timeline) -> Program | Timeline:
    """Return what is left to compile; see `reachable`."""
    if isinstance(program, Program):
        return reachable(program)
    then = tuple((moment, reachable(later)) for moment, later in program.then)
    return Timeline(reachable(program.first), then)


def is_constant(program: Program | Timeline) -> bool:
    """Return whether a small program always serves the same outcome."""
    if isinstance(program, Timeline):
        return False
    return not program.steps and isinstance(program.otherwise, Outcome)


def reachable(program: Program) -> Program:
    """Return the program without steps that never decide, and without what follows a certain one.

    For compiling: an explanation shows all that was written.
    """
    kept: list[Step] = []
    for step in program.steps:
        if isinstance(step, Lookup):
            if any(values for values, _ in step.groups):
                kept.append(step)
        elif isinstance(step, Gate):
            if step.passes is FALSE:
                return Program(tuple(kept), step.closed, program.variants)
            if step.passes is not TRUE:
                kept.append(step)
        elif step.when is TRUE and not comes_to_next(step.serve):
            return Program(tuple(kept), step.serve, program.variants)
        elif step.when is not FALSE and step.serve is not NEXT:
            kept.append(step)
    return Program(tuple(kept), program.otherwise, program.variants)


def leaf_count(expression: Expression) -> int:
    """Return how many tests and segments are in an expression."""
    count = 0
    stack = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, Probe):  # as most are
            count += 1
        elif isinstance(node, (All, AnyOf)):
            stack.extend(node.items)
        elif isinstance(node, Not):
            stack.append(node.item)
        elif not isinstance(node, Constant):
            count += 1
    return count
