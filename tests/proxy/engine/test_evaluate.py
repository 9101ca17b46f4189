"""The compiled flag against the reference evaluator, and against anything a client can send."""

import gc
import json
import sys
from dis import get_instructions
from types import FunctionType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from proxy.contract.steps import finish
from proxy.engine import CompiledFlag, CompiledSnapshot, compile_snapshot, evaluate
from proxy.engine.memo import Memo
from proxy.engine.operators import OPERATORS
from tests.proxy.engine import reference
from tests.proxy.engine.builders import compiled, document, entries, leaf, rule
from tests.proxy.engine.operators.samples import sample
from tests.proxy.engine.strategies import ATTRIBUTES, NASTY, TIMES, Maker, World, worlds

Json = dict[str, Any]

QUIET = settings(suppress_health_check=list(HealthCheck), deadline=None)


def snapshot(*flags: CompiledFlag) -> CompiledSnapshot:
    """Return a snapshot of some flags."""
    return CompiledSnapshot({flag.key: flag for flag in flags}, {}, {}, {})


def compile_world(world: World) -> CompiledSnapshot:
    """Return the snapshot of a project."""
    made = entries(
        *(("segment", key, made) for key, made in world.segments.items()),
        *(("flag", key, made) for key, made in world.flags.items()),
    )
    return finish(compile_snapshot(made))


@settings(QUIET, max_examples=800)
@given(worlds())
def test_the_compiled_flag_answers_as_the_model_says(drawn: tuple[World, Maker]) -> None:
    """Compile and the tree-walking reference agree on status, value, variant, reason, metadata."""
    world, maker = drawn
    made, known = compile_world(world), world.marked()
    circles = {key for key in known if reference.on_circle(key, known)}
    assert set(made.quarantined) == world.broken | circles
    for _ in range(20):
        context, now_ms = maker.context(), maker.choice(TIMES)
        memo = Memo(context, now_ms)
        for key, flag in made.flags.items():
            answer = flag.evaluate(context, now_ms)
            expected = reference.evaluate(key, known[key], world.segments, context, now_ms, known)
            got = json.loads(answer.body)
            got.pop("errorDetails", None)
            assert (answer.status, got) == expected, (key, context, now_ms)
            assert any(answer is known_one for known_one in flag.answers)
            assert evaluate(made, key, context, now_ms, memo) is answer, "shared with others"


@settings(QUIET, max_examples=300)
@given(worlds())
def test_only_the_attributes_it_names_matter(drawn: tuple[World, Maker]) -> None:
    """Contexts that agree on `attributes` get the same answer; a static flag gives one to all."""
    world, maker = drawn
    made = compile_world(world)
    for _ in range(5):
        one, other, now_ms = maker.context(), maker.context(), maker.choice(TIMES)
        for flag in made.flags.values():
            assert flag.attributes is not None
            relevant = {name: one[name] for name in flag.attributes if name in one}
            rest = {name: value for name, value in other.items() if name not in flag.attributes}
            given_one = flag.evaluate(one, now_ms)
            assert flag.evaluate({**rest, **relevant}, now_ms) is given_one
            if flag.static:
                assert flag.evaluate(other, maker.choice(TIMES)) is given_one
                assert len(flag.answers) == 1
                assert flag.attributes == frozenset()


def deep(levels: int) -> Any:
    """Return JSON that nests that deep, of lists and objects in turn."""
    value: Any = "DE"
    for level in range(levels):
        value = [value] if level % 2 else {"b": value, "c": value}
    return value


HUGE: list[Any] = [
    *NASTY,
    *(deep(1_000), {str(i): i for i in range(10_000)}, list(range(10_000)), "9" * 100_000),
    *("1.2.3-" + "0a." * 60, "1." + "9" * 300 + ".0", "1" * 60 + ".0.0.1", ":" * 300),
    *("2026-12-01T09:00:00." + "9" * 5_000 + "Z", "9999-12-31T23:59:59-23:59"),
    *("0000-01-01T00:00:00+23:59", -(2**62), 2**62, 10.5, -0.0),
]


@pytest.mark.parametrize("op", list(OPERATORS))
def test_no_value_makes_an_operator_raise(op: str) -> None:
    """Surrogates, huge numbers, none, deep ones, long ones: it holds or not, and negated not."""
    plain, negated, nested = (
        compiled(rules=[rule(sample(op, attribute=name, negate=negate))])
        for name, negate in (("a", False), ("a", True), ("a.b", False))
    )
    for value in HUGE:
        held = plain.evaluate({"a": value}, 0).variant == "on"
        assert (negated.evaluate({"a": value}, 0).variant == "on") is not held
        assert (nested.evaluate({"a": {"b": value}}, 0).variant == "on") is held
        assert (nested.evaluate({"a.b": value}, 0).variant == "on") is held


@pytest.mark.parametrize("number", range(len(HUGE)))
def test_no_context_makes_a_flag_raise(number: int) -> None:
    """The same value wherever anything is looked for, among ten thousand other members."""
    value = HUGE[number]
    others = {f"x{i}": i for i in range(10_000)}
    context = others | dict.fromkeys([*ATTRIBUTES, "targetingKey", "account"], value)
    nested = {**others, "targetingKey": value, "deep": {"x": {"y": value}}, "list": [value]}
    nested["a"] = {"b": value, "c": [value, value]}
    for seed in range(30):
        for flag in compile_world(Maker(number * 100 + seed).world()).flags.values():
            for given_context in (context, nested):
                for now_ms in (-(2**62), 1_796_115_600_000, 2**62):
                    assert flag.evaluate(given_context, now_ms) in flag.answers


@pytest.mark.parametrize("now_ms", [-(2**62), -1, 0, 2**53, 2**62])
@pytest.mark.parametrize("op", ["before", "after", "weekday", "time_of_day"])
def test_no_time_makes_an_operator_raise(op: str, now_ms: int) -> None:
    """It holds for one of a leaf and its opposite, in a zone whose clocks change, too."""
    options = {} if op in ("before", "after") else {"zone": "America/St_Johns"}
    now = {name: value for name, value in sample(op).items() if name != "attribute"} | options
    held = [
        compiled(rules=[rule({**now, "negate": negate})]).evaluate({}, now_ms).variant == "on"
        for negate in (False, True)
    ]
    assert sorted(held) == [False, True]


# What an evaluation leaves behind


SPLIT: Json = {"rollout": {"arms": [{"variant": "on", "weight": 100_000}]}}
RAMP: Json = {
    "ramp": {
        "variant": "on",
        "else": "off",
        "start": "2026-12-01T00:00:00Z",
        "end": "2026-12-08T00:00:00Z",
    }
}
ALLOCATING: dict[str, Json] = {
    "static": {},
    "disabled": {"enabled": False, "off_variant": "off"},
    "a target": {"targets": [{"variant": "on", "units": ["u"]}]},
    "conditions": {"rules": [rule({"all": [leaf("a.b", "in", "x", "y"), leaf("n", "gt", 1)]})]},
    "a segment": {"rules": [rule({"segment": "s"})]},
    "a prerequisite": {"prerequisites": [{"flag": "other", "variants": ["off"]}]},
    "a prerequisite that fails": {"prerequisites": [{"flag": "other", "variants": ["on"]}]},
    "a window": {"rules": [rule({"all": []}, active={"from": "1970-01-01T00:00:01Z"})]},
    "a rollout": {"rules": [rule({"all": []}, SPLIT)]},
    "a ramp": {"fallthrough": RAMP},
    "quarantined": {"fallthrough": {"variant": "nobody has it"}},
}


def compiled_of(name: str) -> CompiledFlag:
    """Return one of the flags, with a segment and another flag that it may name."""
    flags = {"flag": document(**ALLOCATING[name]), "other": document()}
    named = {"s": {"included": ["v"], "when": leaf("n", "exists")}}
    return compile_world(World(flags, named, frozenset())).flags["flag"]


@pytest.mark.parametrize("name", ALLOCATING)
def test_an_evaluation_keeps_nothing(name: str) -> None:
    """Ten thousand of them leave no object behind, alone or with a memo that is used again."""
    flag = compiled_of(name)
    context, now_ms = {"targetingKey": "u", "n": 5, "a": {"b": "y"}}, 1_796_300_000_000
    for memo in (None, Memo(context, now_ms)):
        flag.evaluate(context, now_ms, memo)
        gc.disable()
        try:
            before = sys.getallocatedblocks()
            for _ in range(10_000):
                flag.evaluate(context, now_ms, memo)
            after = sys.getallocatedblocks()
        finally:
            gc.enable()
        assert after - before < 50, "ten thousand would be seen"


@pytest.mark.parametrize("name", ALLOCATING)
def test_no_container_is_made_on_the_way(name: str) -> None:
    """Generated code has no instruction that makes one, so the collector has nothing to do."""
    flag = compiled_of(name)
    function = flag.evaluate
    assert isinstance(function, FunctionType)
    made = [step.opname for step in get_instructions(function) if "BUILD" in step.opname]
    assert made == []


def test_an_unknown_key_is_not_found() -> None:
    """404 with everything that clients need of an error."""
    answer = evaluate(snapshot(), "a/ä", {}, 0)
    assert (answer.status, answer.error_code) == (404, "FLAG_NOT_FOUND")
    assert json.loads(answer.body) == {
        "key": "a/ä",
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "there is no flag of this key",
    }


def test_an_unknown_key_that_is_no_text_is_not_found_either() -> None:
    """A path decoded with surrogates must not make the answer fail."""
    answer = evaluate(snapshot(), "\udcff", {}, 0)
    assert json.loads(answer.body)["errorCode"] == "FLAG_NOT_FOUND"


def test_a_known_key_is_answered_by_its_flag() -> None:
    """The same answer object each time, for the caller to count on."""
    flag = compiled(rules=[rule({"all": []})])
    first = evaluate(snapshot(flag), "flag", {}, 0)
    first.evaluations += 1
    assert evaluate(snapshot(flag), "flag", {"x": 1}, 5).evaluations == 1
