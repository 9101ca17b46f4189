"""The compiled flag against the reference evaluator, and against anything a client can send."""

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.contract.definitions import FlagDefinition, SegmentDefinition
from proxy.engine import CompiledFlag, CompiledSnapshot, compile_flag, evaluate
from tests.proxy.engine import reference
from tests.proxy.engine.builders import compiled, rule
from tests.proxy.engine.strategies import any_json, contexts, definitions, segments

Json = dict[str, Any]


def snapshot(*flags: CompiledFlag) -> CompiledSnapshot:
    """Return a snapshot of some flags."""
    return CompiledSnapshot({flag.key: flag for flag in flags}, {}, {}, {})


def compile_json(definition: Json, named: Json) -> CompiledFlag:
    """Return a flag compiled from JSON, which is known to be valid."""
    flag = compile_flag(
        "flag",
        msgspec.convert(definition, FlagDefinition),
        msgspec.convert(named, dict[str, SegmentDefinition]),
    )
    assert not flag.problems
    return flag


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(definitions(), segments(), st.lists(contexts(), min_size=1, max_size=12))
def test_the_compiled_flag_answers_as_the_model_says(
    definition: Json, named: Json, asked: list[Json]
) -> None:
    """Compile and the tree-walking reference agree on status, value, variant, reason, metadata."""
    flag = compile_json(definition, named)
    for context in asked:
        answer = flag.evaluate(context, 0)
        status, body = reference.evaluate("flag", definition, named, context)
        got = json.loads(answer.body)
        got.pop("errorDetails", None)
        assert (answer.status, got) == (status, body)
        assert any(answer is known for known in flag.answers)


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(definitions(), segments(), contexts(), contexts())
def test_only_the_attributes_it_names_matter(
    definition: Json, named: Json, one: Json, other: Json
) -> None:
    """Contexts that agree on `attributes` get the same answer; a static flag gives one to all."""
    flag = compile_json(definition, named)
    assert flag.attributes is not None
    relevant = {name: one[name] for name in flag.attributes if name in one}
    rest = {name: value for name, value in other.items() if name not in flag.attributes}
    assert flag.evaluate({**rest, **relevant}, 0) is flag.evaluate(one, 0)
    if flag.static:
        assert flag.evaluate(other, 1) is flag.evaluate(one, 0)
        assert len(flag.answers) == 1


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(definitions(), segments(), st.dictionaries(st.text(), any_json, max_size=6))
def test_no_context_makes_it_raise(definition: Json, named: Json, context: Json) -> None:
    """Whatever JSON a client sends, there is an answer."""
    answer = evaluate(snapshot(compile_json(definition, named)), "flag", context, 0)
    assert answer.status in {200, 400}


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
