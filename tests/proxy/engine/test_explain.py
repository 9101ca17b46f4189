"""An explanation comes to the answer that evaluation gives, says why, and stays short."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from proxy.contract.explanation import ConditionTrace, Explanation, Step
from proxy.contract.problems import Problem
from proxy.contract.steps import finish
from proxy.engine import (
    CompiledSnapshot,
    compile_snapshot,
    evaluate,
    explain,
    explanation_text,
    nearest_keys,
)
from proxy.engine.explain import MAX_EXPLANATION_BYTES, explaining
from proxy.engine.limits import (
    MAX_CONDITION_DEPTH,
    MAX_PREREQUISITE_NESTING,
    MAX_RULES,
    MAX_SEGMENT_NESTING,
)
from tests.proxy.engine.builders import FALLTHROUGH_SPLIT, document, entries, leaf, rule
from tests.proxy.engine.strategies import TIMES, Maker, World, worlds
from tests.support.units import long_list

NOON_MS = 1_796_126_400_000  # 2026-12-01T12:00:00Z


class Project:
    """Flags and segments, compiled, and explained."""

    def __init__(
        self,
        flags: dict[str, Any],
        segments: dict[str, Any] | None = None,
        blobs: dict[str, bytes] | None = None,
    ) -> None:
        self.entries = entries(
            *(("segment", key, made) for key, made in (segments or {}).items()),
            *(("flag", key, made) for key, made in flags.items()),
        )
        self.compiled: CompiledSnapshot = finish(compile_snapshot(self.entries, None, blobs or {}))

    def explain(self, key: str, context: Any = None, now_ms: int = NOON_MS) -> Explanation:
        """Return an explanation whose result is known to be right, and that can be written."""
        context = context or {}
        made = explain(self.compiled, self.entries, key, context, now_ms)
        assert bytes(made.result) == evaluate(self.compiled, key, context, now_ms).body
        written = msgspec.json.encode(made)
        assert len(written) <= MAX_EXPLANATION_BYTES
        assert msgspec.json.encode(msgspec.json.decode(written, type=Explanation)) == written
        json.loads(written)
        assert explanation_text(made)
        return made


def explained(context: Any = None, **members: Any) -> Explanation:
    """Return the explanation of one flag alone."""
    return Project({"flag": document(**members)}).explain("flag", context)


def all_steps(steps: list[Step]) -> Iterator[Step]:
    """Yield steps, and those of flags that were asked."""
    for step in steps:
        yield step
        yield from all_steps(step.steps)


def conditions(steps: list[Step]) -> Iterator[ConditionTrace]:
    """Yield every condition in steps."""
    stack = [s.condition for s in all_steps(steps) if isinstance(s.condition, ConditionTrace)]
    while stack:
        trace = stack.pop()
        yield trace
        stack.extend(trace.items)


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_it_comes_to_what_evaluation_gives(drawn: tuple[World, Maker]) -> None:
    """For any project, context and time: the same bytes, one step that decides, each reasoned."""
    world, maker = drawn
    project = Project(world.flags, world.segments)
    for _ in range(4):
        context, now_ms = maker.context(), maker.choice(TIMES)
        for key in [*world.flags, "not there"]:
            made = project.explain(key, context, now_ms)
            assert made.because
            assert all(step.because for step in all_steps(made.steps))
            assert sum(step.decides for step in made.steps) == bool(made.steps)
            for trace in conditions(made.steps):
                segment = project.compiled.segments.get(trace.condition.removeprefix("segment "))
                if trace.kind == "segment" and trace.matched is not None and segment is not None:
                    assert trace.matched == segment.holds(context, now_ms)


def test_the_steps_are_those_of_the_flag_in_order() -> None:
    """On or off, prerequisites, targets, rules, fallthrough."""
    project = Project(
        {
            "other": document(fallthrough={"variant": "on"}),
            "flag": document(
                prerequisites=[{"flag": "other", "variants": ["on"]}],
                targets=[{"variant": "on", "units": ["vip"]}],
                rules=[rule(leaf("a", "equals", 1), id="one"), rule(leaf("b", "exists"))],
            ),
        }
    )
    made = project.explain("flag", {"a": 2, "targetingKey": "u-1"})
    assert [(s.step, s.matched, s.decides) for s in made.steps] == [
        ("enabled", True, False),
        ("prerequisite", True, False),
        ("targets", False, False),
        ("rule", False, False),
        ("rule", False, False),
        ("fallthrough", True, True),
    ]
    assert [(s.id, s.index) for s in made.steps if s.step == "rule"] == [("one", 0), ("", 1)]
    assert made.at == "2026-12-01T12:00:00Z"
    assert made.because == "no rule matched, so the fallthrough is served"


def test_a_flag_that_is_off_says_so_and_no_more() -> None:
    """Its rules are not asked."""
    made = explained(enabled=False, off_variant="off", rules=[rule({"all": []})])
    assert [(s.step, s.matched, s.decides) for s in made.steps] == [
        ("enabled", False, True),
        ("more", None, False),
        ("fallthrough", None, False),
    ]
    assert made.steps[0].because == "the flag is disabled, so it serves off"
    without = explained(enabled=False)
    assert without.steps[0].because.endswith("serves the application's default")


def test_a_prerequisite_is_explained_within() -> None:
    """Why the other flag serves what it does."""
    project = Project(
        {
            "other": document(rules=[rule(leaf("a", "equals", 1), id="one")]),
            "flag": document(
                off_variant="off", prerequisites=[{"flag": "other", "variants": ["on"]}]
            ),
        }
    )
    made = project.explain("flag", {"a": 2})
    step = made.steps[1]
    assert (step.flag, step.wanted, step.variant) == ("other", ["on"], "off")
    assert step.because == "it serves off, and on is wanted"
    assert [s.step for s in step.steps] == ["enabled", "rule", "fallthrough"]
    assert made.because == "the prerequisite other failed: it serves off, and on is wanted"


@pytest.mark.parametrize(
    ("other", "because"),
    [
        (None, "there is no flag of this key"),
        (document(enabled=False, off_variant="on"), "it is disabled"),
        (
            document(fallthrough=FALLTHROUGH_SPLIT),
            "it answers the error TARGETING_KEY_MISSING: the flag is split by targetingKey, and "
            "the context has no such non-empty string",
        ),
        (
            document(fallthrough={"variant": "none"}),
            "it answers the error PARSE_ERROR: the definition of this flag cannot be used: "
            "unknown_variant at /fallthrough/variant",
        ),
    ],
)
def test_a_prerequisite_that_cannot_answer_says_why(other: Any, because: str) -> None:
    """It is not there, off, without unit, or broken."""
    flags = {"flag": document(prerequisites=[{"flag": "other", "variants": ["on"]}])}
    made = Project(flags | ({"other": other} if other else {})).explain("flag")
    assert made.steps[1].because == because


def test_a_flag_and_a_segment_are_explained_once() -> None:
    """Where they are met first."""
    asks = [{"flag": "other", "variants": ["on"]}]
    rules = [rule({"segment": "s"}), rule({"all": [{"segment": "s"}]})]
    project = Project(
        {
            "other": document(fallthrough={"variant": "on"}),
            "middle": document(prerequisites=asks, fallthrough={"variant": "on"}),
            "flag": document(
                prerequisites=[{"flag": "middle", "variants": ["on"]}, *asks], rules=rules
            ),
        },
        {"s": {"when": leaf("a", "exists")}},
    )
    made = project.explain("flag")
    middle, again = made.steps[1:3]
    assert middle.steps[1].steps
    assert (again.flag, again.because, again.steps) == ("other", "it serves on", [])
    first, second = (s.condition for s in made.steps if s.step == "rule")
    assert isinstance(first, ConditionTrace)
    assert isinstance(second, ConditionTrace)
    assert first.items
    assert (second.because, second.items) == ("explained above", [])


@pytest.mark.parametrize(
    ("unit", "matched", "kinds"),
    [
        ("in", True, ["included"]),
        ("out", False, ["included", "excluded"]),
        ("u", True, ["included", "excluded", "leaf"]),
    ],
)
def test_a_segment_says_by_which_of_its_lists(unit: str, matched: bool, kinds: list[str]) -> None:
    """Included, excluded, or by its condition."""
    segment = {"included": ["in"], "excluded": ["out"], "when": leaf("a", "equals", 1)}
    project = Project({"flag": document(rules=[rule({"segment": "s"})])}, {"s": segment})
    (trace,) = [
        t
        for t in conditions(project.explain("flag", {"targetingKey": unit, "a": 1}).steps)
        if t.kind == "segment"
    ]
    assert trace.matched is matched
    assert [item.kind for item in trace.items] == kinds


def test_a_unit_of_a_long_list_is_found() -> None:
    """Which says how many there are."""
    units = long_list([f"u-{n}" for n in range(3_000)])
    segment = {"units": {"included": units.definition}}
    project = Project(
        {"flag": document(rules=[rule({"segment": "s"})])}, {"s": segment}, units.blobs
    )
    made = project.explain("flag", {"targetingKey": "u-2999"})
    (included,) = [t for t in conditions(made.steps) if t.kind == "included"]
    assert (included.matched, included.condition) == (True, "among the 3000 included")


def test_a_quarantined_flag_says_its_problems() -> None:
    """With the places in its definition."""
    made = explained(fallthrough={"variant": "none"})
    assert made.because == "its definition cannot be used"
    (problem,) = made.problems
    assert isinstance(problem, Problem)
    assert (problem.pointer, problem.code) == ("/fallthrough/variant", "unknown_variant")
    assert made.steps == []


def test_an_unknown_flag_says_which_may_be_meant() -> None:
    """The nearest keys, the best first."""
    project = Project({key: document() for key in ("new-checkout", "checkout", "payments")})
    made = project.explain("new-chekout")
    assert (made.because, made.nearest) == (
        "there is no flag of this key",
        ["new-checkout", "checkout"],
    )
    assert project.explain("zzz").nearest == []
    assert finish(nearest_keys("NEW-CHECKOUT", project.compiled.flags))[0] == "new-checkout"


@pytest.mark.parametrize("key", ["", "\ud800", "x" * 100_000, "a\x00b", "é/" * 50])
def test_any_key_may_be_asked(key: str) -> None:
    """Whatever the path said; nothing raises."""
    project = Project({"flag": document()})
    made = explain(project.compiled, project.entries, key, {}, 0)
    assert len(msgspec.json.encode(made)) < 4_000
    assert made.because == "there is no flag of this key"


HOSTILE: list[Any] = [
    "x" * 1_000_000,
    ["y" * 1_000] * 10_000,
    {f"m{n}": {"deep": [n]} for n in range(10_000)},
    10**400,
    -(10**5_000),
    float("nan"),
    float("inf"),
    "\ud800",
    {"\ud800": "\udfff"},
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
def test_any_value_is_shown_short(value: Any) -> None:
    """However large or odd."""
    rules = [rule(leaf("a", "equals", 1)), rule(leaf("a", "weekday", "mon"))]
    made = Project(
        {"flag": document(rules=rules, targets=[{"variant": "on", "units": ["u"]}])}
    ).explain("flag", {"a": value, "targetingKey": value})
    assert len(msgspec.json.encode(made)) < 4_000


def test_a_value_nested_without_end_is_shown_short() -> None:
    """A thousand lists within lists."""
    value: Any = "x"
    for _ in range(1_000):
        value = [value]
    made = explained({"a": value}, rules=[rule(leaf("a", "equals", 1))])
    assert len(msgspec.json.encode(made)) < 2_000


def test_a_large_flag_is_shortened() -> None:
    """As many rules as there may be, with names as long as they may be; the one that decided is
    there."""
    rules = [
        rule(leaf("é" * 200, "in", *("ü" * 200,) * 9), id=f"{n:#>256}") for n in range(MAX_RULES)
    ]
    rules[-1]["when"] = {"all": []}
    made = explained(rules=rules)
    assert made.shortened
    (decides,) = [s for s in made.steps if s.decides]
    assert decides.index == MAX_RULES - 1
    assert "more steps are not shown" in made.steps[-1].because


def test_the_largest_value_still_fits() -> None:
    """64 KB, in an answer, beside a long explanation."""
    rules = [rule(leaf("a", "in", *("v" * 100,) * 8), id=f"{n:#>256}") for n in range(MAX_RULES)]
    made = explained(
        type="string",
        variants={"off": "x" * 65_000, "on": ""},
        rules=rules,
        metadata={"m": "y" * 8_000},
    )
    assert made.shortened
    assert len(msgspec.json.encode(made)) > 180_000


def test_the_deepest_definition_is_explained_without_running_out_of_stack() -> None:
    """Conditions in segments in segments in flags that ask flags, all as deep as they may be."""

    def deep(inner: Any, levels: int) -> Any:
        for level in range(levels):
            inner = (
                {"not": {"any": [inner, leaf("zz", "exists")]}}
                if level % 2
                else {"all": [inner, leaf("a", "exists")]}
            )
        return inner

    levels = MAX_CONDITION_DEPTH // 2 - 4
    segments: dict[str, Any] = {"s0": {"when": deep(leaf("a", "exists"), levels)}}
    for n in range(1, MAX_SEGMENT_NESTING):
        segments[f"s{n}"] = {"when": deep({"segment": f"s{n - 1}"}, levels)}
    top = {"segment": f"s{MAX_SEGMENT_NESTING - 1}"}
    flags = {"f0": document(rules=[rule(deep(top, levels))], fallthrough={"variant": "on"})}
    for n in range(1, MAX_PREREQUISITE_NESTING + 1):
        asks = [{"flag": f"f{n - 1}", "variants": ["on", "off"]}]
        flags[f"f{n}"] = document(prerequisites=asks, fallthrough={"variant": "on"})
    project = Project(flags, segments)
    assert project.compiled.quarantined == {}
    made = project.explain(f"f{MAX_PREREQUISITE_NESTING}", {"a": 1})
    nesting = deepest = 0
    for letter in msgspec.json.encode(made).decode():
        nesting += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, nesting)
    assert deepest < 250
    assert any("why is not shown" in trace.because for trace in conditions(made.steps))


def test_a_number_is_answered_as_a_number() -> None:
    """10 is 10.0, however its author wrote it."""
    made = explained(type="number", variants={"on": 1, "off": 10})
    assert b'"value":10.0,' in bytes(made.result)


def test_it_breathes() -> None:
    """A long explanation gives way at every condition, so that no loop is held."""
    rules = [rule({"any": [leaf("a", "equals", n) for n in range(20)]}) for n in range(20)]
    project = Project({"flag": document(rules=rules)})
    steps = explaining(project.compiled, project.entries, "flag", {}, 0)
    assert sum(1 for _ in steps) > 400


def test_nothing_is_counted() -> None:
    """An explanation is no evaluation."""
    project = Project({"flag": document(fallthrough=FALLTHROUGH_SPLIT)})
    project.explain("flag", {"targetingKey": "u-1"})
    assert [a.evaluations for a in project.compiled.flags["flag"].answers] == [0, 0, 0]
