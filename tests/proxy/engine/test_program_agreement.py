"""Whatever is said with the nodes of a rule program, generated code does what a plain walk does.

Programs are drawn from all kinds of nodes, also such as no source has yet; the walk is written from
what `proxy/engine/program.py` says of each node. What compiled code says that it reads, and when it
may change, is held against it as well.
"""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.steps import finish
from proxy.engine import codegen
from proxy.engine import program as p
from proxy.engine.answers import Answer, AnswerMaker, not_found
from proxy.engine.bucketing import text_bytes, unit_bytes
from proxy.engine.codegen import Compiled, evaluation, predicate
from proxy.engine.hashing import HASH_BITS, HASHES
from proxy.engine.memo import Memo
from proxy.engine.operators import OPERATORS, Leaf
from proxy.engine.timing import Timing, together

Context = dict[str, Any]

VALUES: list[Any] = ["x", "y", "", 0, 1, 1.0, 2, True, None, ["x"], "\ud800"]
NAMES = ["a", "b", "c.d"]
VARIANTS: dict[str, Any] = {"on": True, "off": False, "third": 3}
LATER: dict[str, Any] = {"on": 1, "off": 2, "third": 4}
SEGMENTS, FLAGS = ["s", "r"], ["f", "g"]
TIMES = range(-2, 23)
ROUNDS = 60
CHECKS = (lambda answer: answer.value is True, lambda answer: answer.error_code is None)
_FETCHED = p.Operand("b or a", lambda c: c.get("b") or c.get("a"), frozenset(("a", "b")))
_UNKNOWN = p.Operand("all of it", lambda c: str(sorted(c)), None)

LEAVES = [
    *(OPERATORS["equals"].compile([value], False) for value in ("x", "y", 1, True)),
    OPERATORS["gt"].compile([0], False),
]


class Draw(Random):
    """Draws nodes; what it draws is its seed's."""

    def often(self, share: float) -> bool:
        return self.random() < share

    def several(self, most: int, of: Callable[[], Any], least: int = 0) -> list[Any]:
        return [of() for _ in range(self.randint(least, most))]

    def moment(self) -> int:
        return self.choice(TIMES)

    def attribute(self) -> str | p.Operand:
        return self.choice([*NAMES, _FETCHED])

    def outcome(self) -> p.Outcome:
        return p.Outcome(
            self.choice([*VARIANTS, None]),
            self.choice(list(Reason)),
            self.choice([None, "r1"]),
            error=ErrorCode.GENERAL if self.often(0.15) else None,
            metadata=self.choice([(), (("m", 1),)]),
        )

    def served(self) -> p.Outcome | p.Next:
        return p.NEXT if self.often(0.35) else self.outcome()

    def bucketing(self) -> p.Bucketing:
        """Draw a hash of any kind over few numbers, often one that was drawn before."""
        known = self.__dict__.setdefault("known", [])
        if known and self.often(0.5):
            same: p.Bucketing = self.choice(known[-4:])
            if same.size and self.often(0.3):
                return msgspec.structs.replace(same, size=self.randint(1, 9))
            return same
        known.append(self.new_bucketing())
        return known[-1]

    def new_bucketing(self) -> p.Bucketing:
        """Draw a hash over few numbers, so that every range is met."""

        def part() -> p.Part:
            return p.Part(self.attribute(), self.choice([text_bytes, unit_bytes]))

        key: list[bytes | p.Part] = [b"s.", part()]
        if self.often(0.3):
            key = self.several(3, lambda: self.choice([b"s.", b"-", part(), part()]))
        name = "murmur3_32" if self.often(0.5) else self.choice(list(HASHES))
        seed = 7 if name == "murmur3_32" and self.often(0.3) else 0
        kinds = ["none", "modulo"] + ["scale"] * 2 * (HASH_BITS[name] == 32)
        reduce: Any = self.choice(kinds)
        size = 0 if reduce == "none" else self.randint(1, 9)
        return p.Bucketing(tuple(key), name, seed, reduce, size)

    def ranges(self, bucketing: p.Bucketing) -> list[tuple[int, int]]:
        """Draw disjoint ranges in order, with gaps or without, some of them empty."""
        size = bucketing.size or 2 ** HASH_BITS[bucketing.hash]
        cuts = sorted(self.several(6, lambda: self.randint(0, 9) * size // 9))
        return [pair for pair in pairwise(cuts) if self.often(0.75)]

    def leaf(self, *, asks: bool) -> p.Expression:
        """Draw a test; only some may ask segments and other flags."""
        kind = self.choice(["value"] * 3 + ["time", "window", "within", "constant", "ask"])
        if kind == "ask" and asks:
            if self.often(0.5):
                return p.InSegment(self.choice(SEGMENTS))
            return p.Answered(self.choice([*FLAGS, "none"]), self.choice(CHECKS))
        if kind == "time":
            late = Leaf("{f} >= {0} and {x} % 2 == 0", (self.moment(),))
            return p.Probe(None, late, self.often(0.3))
        if kind == "window":
            start, end = sorted([self.moment(), self.moment()])
            ends = self.choice([(start, end), (start, p.ALWAYS[1]), (p.ALWAYS[0], end)])
            return p.Window(*ends)
        if kind == "within":
            bucketing = self.bucketing()
            return p.Within(bucketing, tuple(self.ranges(bucketing)))
        if kind == "constant":
            return self.choice([p.TRUE, p.FALSE])
        return p.Probe(self.attribute(), self.choice(LEAVES), self.often(0.3))

    def expression(self, *, asks: bool = True, depth: int = 3) -> p.Expression:
        """Draw a condition, made small or not."""
        if depth == 0 or self.often(0.4):
            return self.leaf(asks=asks)

        def inner() -> p.Expression:
            return self.expression(asks=asks, depth=depth - 1)

        match self.randint(0, 5):
            case 0:
                return p.All(tuple(self.several(4, inner, 1)))
            case 1:
                return p.AnyOf(tuple(self.several(4, inner, 1)))
            case 2:
                return p.all_of(self.several(4, inner))
            case 3:
                return p.any_of(self.several(4, inner))
            case 4:
                return p.negation(inner())
        return p.Not(inner())

    def ramp(self, low: int, high: int) -> p.Ramp:
        """Draw an end that moves within bounds, evenly or by a slope."""
        start, end = sorted(self.sample(TIMES, 2))
        from_, to = self.randint(low, high), self.randint(low, high)
        if to < from_ or self.often(0.5):
            return p.Ramp(start, end, from_, to)
        step = self.randint(1, 3)
        return p.Ramp(start, end, from_, to, (to - from_) / (end - start + 5) * step, step)

    def split(self, ends: Callable[[], Any]) -> p.Split:
        """Draw arms over a bucketing, some with an end that moves."""
        bucketing = self.bucketing()
        arms = []
        for low, high in self.ranges(bucketing):
            moves = self.often(0.25)
            arms.append(p.Arm(low, self.ramp(low, high) if moves else high, ends()))
        return p.Split(bucketing, tuple(arms), ends(), ends())

    def computed(self, ends: Callable[[], Any]) -> p.Computed:
        """Draw a choice by an attribute, or by the time."""
        names = [name for name in "xyz" if self.often(0.5)]
        timed = self.often(0.5)

        def choose(context: Context, now_ms: int) -> str | None:
            found = "xyz"[now_ms % 3] if timed else context.get("a")
            return found if isinstance(found, str) else None

        table = tuple((name, self.outcome()) for name in names)
        reads = frozenset(()) if timed else frozenset("a")
        return p.Computed(choose, table, ends(), ends(), reads, timed)

    def serve(self, ends: Callable[[], Any]) -> p.Serve:
        """Draw anything that can be served."""
        kind = self.choice([lambda of: of(), self.split, self.split, self.computed])
        serve: p.Serve = kind(ends)
        return serve

    def step(self, *, asks: bool) -> p.Step:
        """Draw a step of any kind."""
        when = self.expression(asks=asks)
        kind = self.randint(0, 5)
        if kind == 0:
            return p.Gate(when, self.outcome())
        if kind == 1:
            units = ["x", "y", ""]
            groups = self.several(2, lambda: (self.sample(units, 2), self.outcome()))
            return p.Lookup(self.choice(NAMES), tuple(groups))
        return p.Rule(when, self.serve(self.served))

    def program(self, *, asks: bool = True, variants: Any = None) -> p.Program:
        """Draw steps, and what is served where none decides."""
        steps = self.several(6, lambda: self.step(asks=asks))
        return p.Program(tuple(steps), self.serve(self.outcome), variants)

    def timeline(self) -> p.Timeline:
        """Draw programs one after the other, some with values of their own."""
        later = sorted(self.sample(TIMES, self.randint(0, 3)))
        return p.Timeline(
            self.program(),
            tuple((t, self.program(variants=self.choice([None, LATER]))) for t in later),
        )

    def any_program(self) -> p.Program | p.Timeline:
        return self.timeline() if self.often(0.3) else self.program()

    def context(self) -> Context:
        """Draw a context of few attributes and hard values."""
        found: Context = {name: self.choice(VALUES) for name in "ab" if self.often(0.8)}
        if self.often(0.5):
            found["c"] = {"d": self.choice(VALUES)}
        if self.often(0.2):
            found["c.d"] = "x"
        return found

    def world(self) -> "World":
        """Draw what programs may ask; it asks nobody."""
        return World(
            {key: self.expression(asks=False) for key in SEGMENTS},
            {key: self.program(asks=False) for key in FLAGS},
        )


class World:
    """Segments and flags that programs may ask, and the walk over all of them."""

    def __init__(self, segments: dict[str, Any], flags: dict[str, p.Program]) -> None:
        self.segments, self.flags = segments, flags
        self.predicates = {k: finish(predicate(e, {})) for k, e in segments.items()}
        self.evaluates = {k: self.compiled(f, asks=False) for k, f in flags.items()}

    def compiled(self, program: p.Program | p.Timeline, *, asks: bool = True) -> Compiled:
        """Return a program made a function."""
        return finish(
            evaluation(
                program,
                AnswerMaker("k", VARIANTS, {}).answering,
                {k: made.function for k, made in self.predicates.items()},
                {k: made.function for k, made in self.evaluates.items()} if asks else {},
            )
        )

    def walked(self, program: p.Program | p.Timeline, context: Context, now: int) -> Answer:
        """Return the answer of a program."""
        if isinstance(program, p.Timeline):
            for moment, later in reversed(program.then):
                if now >= moment:
                    return self.walked(later, context, now)
            return self.walked(program.first, context, now)
        maker = AnswerMaker("k", program.variants or VARIANTS, {})
        for step in program.steps:
            if isinstance(step, p.Gate):
                found = None if self.holds(step.passes, context, now) else step.closed
            elif isinstance(step, p.Lookup):
                value = value_of(step.attribute, context)
                inside = [
                    o for units, o in step.groups if isinstance(value, str) and value in units
                ]
                found = inside[0] if inside else None
            else:
                holds = self.holds(step.when, context, now)
                found = decided(step.serve, context, now) if holds else None
            if found is not None:
                return maker.answer(found)
        found = decided(program.otherwise, context, now)
        assert found is not None
        return maker.answer(found)

    def holds(self, node: Any, context: Context, now: int) -> bool:
        """Return whether a condition holds."""
        match node:
            case p.Constant():
                return node.value
            case p.All():
                return all(self.holds(item, context, now) for item in node.items)
            case p.AnyOf():
                return any(self.holds(item, context, now) for item in node.items)
            case p.Not():
                return not self.holds(node.item, context, now)
            case p.InSegment():
                return self.holds(self.segments[node.key], context, now)
            case p.Answered():
                flag = self.flags.get(node.key)
                return node.passes(
                    not_found("none") if flag is None else self.walked(flag, context, now)
                )
            case p.Window():
                return node.from_ms <= now < node.until_ms
            case p.Within():
                number = number_of(node.bucketing, context)
                return number is not None and any(low <= number < high for low, high in node.ranges)
        value = now if node.attribute is None else value_of(node.attribute, context)
        template, literals = node.leaf
        names = {f"l{i}": literal for i, literal in enumerate(literals)}
        code = template.format(*names, f="v", x="v")
        return bool(eval(code, {"v": value, **names})) is not node.negated  # noqa: S307 - made here


def value_of(attribute: str | p.Operand, context: Context) -> Any:
    """Return what an attribute of these tests holds."""
    if isinstance(attribute, p.Operand):
        return attribute.fetch(context)
    if attribute in context or attribute != "c.d":
        return context.get(attribute)
    return context.get("c", {}).get("d")


def number_of(bucketing: p.Bucketing, context: Context) -> int | None:
    """Return the number of a context."""
    key = b""
    for part in bucketing.key:
        text = part if isinstance(part, bytes) else part.encode(value_of(part.attribute, context))
        if text is None:
            return None
        key += text
    h = HASHES[bucketing.hash](key, bucketing.seed)
    if bucketing.reduce == "scale":
        return h * bucketing.size >> 32
    return h % bucketing.size if bucketing.reduce == "modulo" else h


def decided(serve: Any, context: Context, now: int) -> p.Outcome | None:
    """Return the outcome that is served, None to go on."""
    match serve:
        case p.Split():
            number = number_of(serve.bucketing, context)
            chosen: Any = serve.missing
            if number is not None:
                chosen = serve.otherwise
                for arm in serve.arms:
                    high = arm.high.bound(now) if isinstance(arm.high, p.Ramp) else arm.high
                    if arm.low <= number < high:
                        chosen = arm.serve
            return decided(chosen, context, now)
        case p.Computed():
            name = serve.choose(context, now)
            chosen = (
                serve.nothing if name is None else dict(serve.outcomes).get(name, serve.unknown)
            )
            return decided(chosen, context, now)
        case p.Next():
            return None
    assert isinstance(serve, p.Outcome)
    return serve


def said(answer: Answer) -> tuple[Any, ...]:
    """Return all that an answer says."""
    value = None if answer.value is UNSET else answer.value
    return value, answer.variant, answer.reason, answer.error_code, answer.metadata, answer.body


@pytest.mark.parametrize("seed", range(20))
def test_generated_code_does_what_a_walk_does(seed: int) -> None:
    """At any time, with a memo and without, made small or with all its steps."""
    draw = Draw(seed)
    for _ in range(ROUNDS):
        world, program = draw.world(), draw.any_program()
        flags = [world.compiled(program)]
        if isinstance(program, p.Program):
            flags.append(world.compiled(p.reachable(program)))
        for _ in range(6):
            context, now = draw.context(), draw.moment()
            wanted, memo = said(world.walked(program, context, now)), Memo(context, now)
            for flag in flags:
                assert said(flag.function(context, now)) == wanted, (program, context, now)
                assert said(flag.function(context, now, memo)) == wanted, (program, context, now)


@pytest.mark.parametrize("seed", range(100, 105))
def test_small_blocks_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps in several functions and conditions in groups, as large flags have them."""
    monkeypatch.setattr(codegen, "_BLOCK_LEAVES", 2)
    draw = Draw(seed)
    for _ in range(ROUNDS):
        world, program = draw.world(), draw.any_program()
        flag = world.compiled(program)
        for _ in range(6):
            context, now = draw.context(), draw.moment()
            wanted = said(world.walked(program, context, now))
            assert said(flag.function(context, now)) == wanted, (program, context, now)


@pytest.mark.parametrize("seed", range(200, 205))
def test_nothing_is_read_but_what_is_said(seed: int) -> None:
    """Without the other members of the context the answer is the same."""
    draw = Draw(seed)
    for _ in range(ROUNDS):
        world, program = draw.world(), draw.any_program()
        made = [world.compiled(program), *world.predicates.values(), *world.evaluates.values()]
        assert all(each.reads is not None for each in made)
        reads = frozenset().union(*(each.reads or () for each in made))
        for _ in range(6):
            context, now = draw.context(), draw.moment()
            less = {name: value for name, value in context.items() if name in reads}
            answers = [said(made[0].function(each, now)) for each in (context, less)]
            assert answers[0] == answers[1], (program, context, now)


@pytest.mark.parametrize("seed", range(300, 305))
def test_nothing_changes_but_when_it_is_said(seed: int) -> None:
    """From one moment to the next, outside of spans, the answer stays."""
    draw = Draw(seed)
    for _ in range(ROUNDS):
        world, program, context = draw.world(), draw.any_program(), draw.context()
        made = [world.compiled(program), *world.predicates.values(), *world.evaluates.values()]
        timing = together(each.timing for each in made)
        answers = [said(made[0].function(context, now)) for now in TIMES]
        for now, (before, after) in zip(TIMES[1:], pairwise(answers), strict=True):
            assert before == after or may_change(timing, now), (program, context, now)


def may_change(timing: Timing, now: int) -> bool:
    """Return whether an answer may be another than a millisecond ago."""
    return now in timing.moments or any(start <= now < end for start, end in timing.spans)


def test_what_reads_anything_says_so() -> None:
    """An operand that cannot tell what it looks at makes the whole unknown."""
    program = p.Program(
        (
            p.Rule(
                p.Probe(_UNKNOWN, OPERATORS["equals"].compile(["[]"], False)),
                p.Outcome("on", Reason.STATIC),
            ),
        ),
        p.Outcome("off", Reason.STATIC),
    )
    flag = World({}, {}).compiled(program)
    assert flag.reads is None
    assert said(flag.function({}, 0))[1] == "on"
    assert said(flag.function({"a": 1}, 0))[1] == "off"
