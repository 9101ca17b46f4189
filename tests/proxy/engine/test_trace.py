"""A program run in the open comes to what generated code comes to, for every kind of node."""

from collections.abc import Generator, Iterator
from typing import Any

import msgspec
import pytest

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.explanation import ConditionTrace, Step
from proxy.contract.steps import finish
from proxy.engine import program as p
from proxy.engine.answers import AnswerMaker, not_found
from proxy.engine.bucketing import text_bytes, unit_bytes
from proxy.engine.operators import OPERATORS
from proxy.engine.trace import Asked, Held, Room, Traced, Tracer
from tests.proxy.engine.test_program_agreement import VARIANTS, Draw, World, said

ROUNDS = 60
ON = p.Outcome("on", Reason.STATIC)
OFF = p.Outcome("off", Reason.DEFAULT)


class Sources:
    """Segments and flags of a drawn world, run in the open, too."""

    def __init__(self, world: World, context: dict[str, Any], now_ms: int, room: Room) -> None:
        self._world = world
        self.tracer = Tracer(context, now_ms, self, room)

    def segment(self, key: str, depth: int) -> Generator[None, None, Held]:
        """Return whether a segment holds."""
        return (yield from self.tracer.condition(self._world.segments[key], depth + 1))

    def flag(self, key: str, depth: int) -> Generator[None, None, Asked]:
        """Return what a flag answers."""
        program = self._world.flags.get(key)
        if program is None:
            return Asked(not_found(key), [], "it is not there")
        traced = yield from self.tracer.program(program, depth)
        answer = AnswerMaker("k", VARIANTS, {}).answering(traced.variants)(traced.outcome)
        return Asked(answer, traced.steps, traced.because)


NOTHING = World({}, {})


def traced(
    program: p.Program | p.Timeline,
    context: dict[str, Any] | None = None,
    now_ms: int = 0,
    world: World = NOTHING,
    room: int = 1_000_000,
) -> Traced:
    """Return what a program comes to, in the open."""
    sources = Sources(world, context or {}, now_ms, Room(room))
    return finish(sources.tracer.program(program))


def conditions(steps: list[Step]) -> Iterator[ConditionTrace]:
    """Yield every condition in steps."""
    stack = [s.condition for s in steps if isinstance(s.condition, ConditionTrace)]
    while stack:
        trace = stack.pop()
        yield trace
        stack.extend(trace.items)


@pytest.mark.parametrize("room", [1_000_000, 2_000, 0])
@pytest.mark.parametrize("seed", range(8))
def test_it_comes_to_what_generated_code_comes_to(seed: int, room: int) -> None:
    """With room for all of it, for a part, and for none."""
    draw = Draw(seed)
    for _ in range(ROUNDS):
        world, program = draw.world(), draw.any_program()
        function = world.compiled(program).function
        for _ in range(4):
            context, now_ms = draw.context(), draw.moment()
            found = traced(program, context, now_ms, world, room)
            answer = AnswerMaker("k", VARIANTS, {}).answering(found.variants)(found.outcome)
            assert said(answer) == said(function(context, now_ms)), (program, context, now_ms)
            assert sum(step.decides for step in found.steps) == 1
            assert all(step.because for step in found.steps)
            assert found.because
            assert len(msgspec.json.encode(found.steps)) < room + 2_000


def leaf(attribute: str, value: Any, *, negated: bool = False) -> p.Probe:
    """Return a test for one value."""
    return p.Probe(attribute, OPERATORS["equals"].compile([value], False), negated)


def test_what_was_decided_before_is_not_looked_at() -> None:
    """`and` and `or` stop; the steps after the one that decided are not reached."""
    when = p.AnyOf((leaf("a", 1), p.All((leaf("a", 2), leaf("b", 3))), leaf("c", 4)))
    rules = (p.Rule(when, ON, "first"), p.Rule(leaf("a", 1), ON, "second"))
    found = traced(p.Program(rules, OFF), {"a": 2, "b": 3})
    first, second, last = found.steps
    condition = first.condition
    assert isinstance(condition, ConditionTrace)
    assert (condition.kind, condition.because) == ("any", "number 2 of 3 holds")
    assert [item.matched for item in condition.items] == [False, True, None]
    assert condition.items[2].because == "not looked at"
    assert [(s.step, s.matched, s.because) for s in (second, last)] == [
        ("rule", None, "not reached"),
        ("fallthrough", None, "not reached"),
    ]
    assert found.because == "rule first matched"


def test_a_rule_says_which_of_its_conditions_failed() -> None:
    """The first one that does not hold, however deep."""
    when = p.All((leaf("a", 1), p.All((leaf("b", 2), leaf("c", 3)))))
    (rule, _) = traced(p.Program((p.Rule(when, ON),), OFF), {"a": 1, "b": 2, "c": "x"}).steps
    assert (rule.matched, rule.because) == (False, 'c is "x"')


SPLIT = p.Split(
    p.Bucketing((b"f3b1.", p.Part("unit", unit_bytes)), reduce="scale", size=100_000),
    (p.Arm(0, 50_000, OFF), p.Arm(60_000, 100_000, ON)),
    p.NEXT,
    p.NEXT,
)


def test_a_split_says_unit_hash_bucket_and_ranges() -> None:
    """All that somebody needs to work it out again; the values are those of the flag model."""
    (rule, _) = traced(p.Program((p.Rule(p.TRUE, SPLIT),), OFF), {"unit": "u-1"}).steps
    split: Any = rule.split
    assert (split.by, split.unit, split.hash, split.hashed) == (
        "unit",
        "u-1",
        "murmur3_32",
        "f3b1.u-1",
    )
    assert (split.bucket, split.buckets) == (86_271, 100_000)
    assert [(r.low, r.high, r.variant, r.matched) for r in split.ranges] == [
        (0, 50_000, "off", False),
        (60_000, 100_000, "on", True),
    ]
    assert rule.because.endswith("bucket 86271 of [60000, 100000) gets on")


@pytest.mark.parametrize(
    ("context", "because"),
    [
        ({}, "the context has no unit to split by"),
        ({"unit": 0.5}, "unit is 0.5, which cannot be split by"),
    ],
)
def test_a_rule_without_unit_does_not_match(context: dict[str, Any], because: str) -> None:
    """Though its condition holds; it says so."""
    (rule, last) = traced(p.Program((p.Rule(p.TRUE, SPLIT),), OFF), context).steps
    assert rule.matched is False
    assert because in rule.because
    assert rule.because.endswith("so the rule does not match")
    assert last.decides


def test_of_many_ranges_the_first_and_the_right_one_are_shown() -> None:
    """A rollout may have thousands."""
    arms = tuple(p.Arm(n, n + 1, ON if n % 2 else OFF) for n in range(0, 100_000, 10))
    arms += (p.Arm(100_000, 100_000, ON),)
    arms = tuple(p.Arm(arm.low, arm.low + 10, arm.serve) for arm in arms[:-1])
    split = p.Split(SPLIT.bucketing, arms, OFF, OFF)
    (last,) = traced(p.Program((), split), {"unit": "u-1"}).steps
    trace: Any = last.split
    assert len(trace.ranges) == 21
    assert trace.more_ranges == len(arms) - 21
    assert trace.ranges[-1].low == 86_270
    assert trace.ranges[-1].matched


@pytest.mark.parametrize(
    ("now_ms", "held", "text"),
    [
        (-1, 10_000, "begins at 1970-01-01T00:00:00Z"),
        (500, 50_000, "reaches 90000 at 1970-01-01T00:00:01Z"),
        (1_000, 90_000, "where it ended at 1970-01-01T00:00:01Z"),
    ],
)
def test_a_ramp_says_where_it_stands(now_ms: int, held: int, text: str) -> None:
    """Before, on its way, after; the rest is a range, too."""
    arm = p.Arm(0, p.Ramp(0, 1_000, 10_000, 90_000), ON)
    program = p.Program((), p.Split(SPLIT.bucketing, (arm,), OFF, OFF))
    (last,) = traced(program, {"unit": "u-1"}, now_ms).steps
    split: Any = last.split
    assert split.ramp.startswith(f"the ramp stands at {held} of 100000 buckets, ")
    assert text in split.ramp
    assert [(r.low, r.high) for r in split.ranges] == [(0, held), (held, 100_000)]
    assert last.variant == ("on" if held > 86_271 else "off")


def test_a_timeline_says_since_when() -> None:
    """Which of its programs is served, and until when."""
    one = p.Program((), ON)
    line = p.Timeline(one, ((1_000, p.Program((), OFF)), (2_000, one)))
    said_of = {t: traced(line, now_ms=t).steps[0].because for t in (0, 1_000, 2_000)}
    assert said_of == {
        0: "these are the first steps, served until 1970-01-01T00:00:01Z",
        1_000: "these steps are served since 1970-01-01T00:00:01Z until 1970-01-01T00:00:02Z",
        2_000: "these steps are served since 1970-01-01T00:00:02Z",
    }


def test_a_computed_choice_says_what_was_computed() -> None:
    """A name of an outcome, another, or nothing."""
    table = (("x", ON),)
    computed = p.Computed(lambda c, _: c.get("a"), table, p.NEXT, OFF)
    program = p.Program((p.Rule(p.TRUE, computed),), OFF)
    found = {a: traced(program, {"a": a}).steps[0].because for a in ("x", "z", None)}
    assert found["x"].endswith('it computes "x"')
    assert found["z"].endswith('it computes "z", which is no variant')
    assert found[None].endswith("it computes nothing, so the rule does not match")


def test_a_share_says_the_bucket() -> None:
    """And which of its ranges holds it."""
    within = p.Within(SPLIT.bucketing, ((0, 10), (86_271, 86_272)))
    program = p.Program((p.Gate(within, OFF),), ON)
    (gate, _) = traced(program, {"unit": "u-1"}).steps
    (trace,) = conditions([gate])
    assert (trace.kind, trace.matched, trace.because) == ("share", True, "the bucket is 86271")
    assert [r.matched for r in trace.split.ranges] == [False, True]  # type: ignore[union-attr]
    (gate, last) = traced(program).steps
    assert (gate.matched, gate.decides, last.matched) == (False, True, None)
    assert gate.because == "the context has no unit"


@pytest.mark.parametrize(
    ("units", "value", "because"),
    [
        (["x"], "x", 'targetingKey "x" is a target of on'),
        (["y", "z"], "x", 'targetingKey "x" is not among the 2 units named'),
        (["y"], None, "the context has no targetingKey"),
        (["y"], 5, "targetingKey is 5, and targets are strings"),
    ],
)
def test_targets_say_why(units: list[str], value: Any, because: str) -> None:
    """By name, or not."""
    program = p.Program((p.Lookup("targetingKey", ((units, ON),)),), OFF)
    first = traced(program, {} if value is None else {"targetingKey": value}).steps[0]
    assert (first.step, first.because) == ("targets", because)


def test_an_error_of_the_fallthrough_is_what_decides() -> None:
    """It names what is missing."""
    error = p.Outcome(error=ErrorCode.TARGETING_KEY_MISSING, details="none")
    bucketing = p.Bucketing((b"s.", p.Part("targetingKey", text_bytes)), reduce="scale", size=10)
    program = p.Program((), p.Split(bucketing, (p.Arm(0, 10, ON),), ON, error))
    found = traced(program)
    assert found.because == (
        "the fallthrough cannot be served: the context has no targetingKey to split by"
    )
    assert found.steps[0].reason == "TARGETING_KEY_MISSING"


def test_without_room_it_says_how_much_is_left_out() -> None:
    """The step that decided is there in any case."""
    rules = tuple(p.Rule(leaf("a", n), ON, f"rule-{n}") for n in range(100))
    found = traced(p.Program(rules, OFF), {"a": 99}, room=1_000)
    assert [s.id for s in found.steps if s.decides] == ["rule-99"]
    assert found.steps[-1].step == "more"
    shown = sum(s.step != "more" for s in found.steps)
    assert found.steps[-1].because == f"{101 - shown} more steps are not shown"
