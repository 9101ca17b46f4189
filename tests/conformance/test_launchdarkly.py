"""LaunchDarkly's own data files, and the bucket values that its evaluator publishes.

A file is YAML; `constants` and `parameters` are put into its text, for each set of parameters once,
`"<NAME>"` as JSON and `<NAME>` within text as it is. Lists of lists are all combinations.

Of each evaluation the value, the index of the variation and the whole reason are compared. A value
that is the caller's default is an answer without a value; `WRONG_TYPE` is what a typed client makes
of a value, so what is compared there is that the value is of another type than is asked for.

The files for client-side clients hold no definitions but results, which the client hands on. A
definition is made that gives each of them.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import yaml
from msgspec import UNSET

from proxy.contract.snapshot import Entry, EntryKind
from proxy.contract.steps import finish
from proxy.engine import compile_snapshot, evaluate, explain
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.launchdarkly import DIALECT
from proxy.engine.dialects.model import Imported
from proxy.engine.hashing import number_of
from tests.conformance.harness import CompiledFlags, compile_translations, suite, vectors
from tests.proxy.engine.builders import entries
from tests.proxy.engine.dialects.mutations import mutated
from tests.proxy.engine.floats import float32

SUITE = suite("launchdarkly-sdk-test-harness") / "data" / "data-files"
BUCKETS = vectors("launchdarkly_buckets.json")


class _Loader(yaml.SafeLoader):
    """YAML as its version 1.2 reads plain words: dates stay text, and so do `on` and `off`."""


_TRUE_OR_FALSE = re.compile("true|false|True|False|TRUE|FALSE")
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, _TRUE_OR_FALSE if tag.endswith(":bool") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Case(NamedTuple):
    file: str
    data: str
    """The suite's data as JSON: the same for all evaluations of one expansion."""
    evaluation: dict[str, Any]
    context: Any
    suite: tuple[str, int]
    """The expansion that it is of."""

    @property
    def id(self) -> str:
        name = self.evaluation.get("name") or self.evaluation["flagKey"]
        return f"{self.file}: {name}"


def substituted(text: str, values: dict[str, Any]) -> str:
    """Return text with constants or parameters put in."""
    for name, value in values.items():
        written = json.dumps(value, ensure_ascii=False)
        text = text.replace(f'"<{name}>"', written)
        text = text.replace(f"<{name}>", value if isinstance(value, str) else written)
    return text


def parameter_sets(parameters: list[Any]) -> list[dict[str, Any]]:
    """Return each set of parameters; of a list of lists all combinations."""
    if parameters and isinstance(parameters[0], list):
        return [
            {name: value for part in parts for name, value in part.items()}
            for parts in product(*parameters)
        ]
    return parameters or [{}]


def expanded(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the suites of a file."""
    text = path.read_text()
    document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    constants = document.get("constants", {})
    for values in parameter_sets(document.get("parameters", [])):
        made = substituted(substituted(substituted(text, constants), values), constants)
        yield yaml.load(made, _Loader)  # noqa: S506 - as above


def cases(folder: str) -> list[Case]:
    """Return the cases of a folder."""
    return [
        Case(
            path.stem,
            json.dumps(made["sdkData"]),
            evaluation,
            made.get("context"),
            (path.stem, number),
        )
        for path in sorted((SUITE / folder).glob("*.yml"))
        for number, made in enumerate(expanded(path))
        for evaluation in made["evaluations"]
    ]


SERVER, CLIENT = cases("server-side-eval"), cases("client-side-eval")


@lru_cache(maxsize=8)
def compiled(data: str, bits: int = 64) -> CompiledFlags:
    """Return the flags of a suite, read as a file is."""
    return compiled_from(DIALECT.read(json.loads(data), {"float": bits}))


def compiled_from(found: Imported) -> CompiledFlags:
    """Return the flags of a file compiled."""
    assert DIALECT.segment is not None
    translations = {
        flag.key: DIALECT.translate(flag.key, flag.definition, flag.options, flag.enabled)
        for flag in found.flags
    }
    segments = {
        segment.key: DIALECT.segment(segment.definition, segment.options)[0]
        for segment in found.segments
    }
    return compile_translations(
        translations, {key: when for key, when in segments.items() if when is not None}
    )


def reason_of(answer: Answer) -> dict[str, Any]:
    """Return LaunchDarkly's reason as it is told in metadata."""
    if not answer.metadata:
        kinds = {"FLAG_NOT_FOUND": "FLAG_NOT_FOUND", "PARSE_ERROR": "MALFORMED_FLAG"}
        return {"kind": "ERROR", "errorKind": kinds[str(answer.error_code)]}
    reason = dict(answer.metadata)
    return {"kind": reason.pop("sourceReason"), **reason}


def same_json(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.parametrize("case", SERVER, ids=[case.id for case in SERVER])
def test_server_side(case: Case) -> None:
    """Value, variation and reason are LaunchDarkly's."""
    agrees(case, 64)


def test_server_side_in_single_precision() -> None:
    """The same cases as the clients for Go and Java compute them."""
    for case in SERVER:
        agrees(case, 32)


def agrees(case: Case, bits: int) -> None:
    """Assert that an answer is what a case expects."""
    expect = case.evaluation["expect"]
    context = case.evaluation["context"]
    answer = compiled(case.data, bits).evaluate(case.evaluation["flagKey"], context)
    if expect["reason"].get("errorKind") == "WRONG_TYPE":
        assert answer.value is not UNSET
        assert answer.value.__class__ is not case.evaluation["default"].__class__
        return
    assert reason_of(answer) == expect["reason"]
    index = expect.get("variationIndex")
    assert answer.variant == ("" if index is None else str(index))
    if index is None:
        assert answer.value is UNSET
        assert same_json(expect.get("value"), case.evaluation.get("default", expect.get("value")))
    else:
        assert same_json(answer.value, expect["value"])
        assert same_json(json.loads(answer.body)["value"], expect["value"])


def test_a_snapshot_answers_and_explains_the_same() -> None:
    """As a sidecar compiles it, every flag of every suite; an explanation ends in that answer."""
    for (_, data), cases_of in groupby(SERVER, lambda case: (case.suite, case.data)):
        alone = compiled(data)
        lines = entries_of(DIALECT.read(json.loads(data), {}))
        snapshot = finish(compile_snapshot(lines, None, {}))
        for case in cases_of:
            key, context = case.evaluation["flagKey"], case.evaluation["context"]
            answer, wanted = evaluate(snapshot, key, context, 0), alone.evaluate(key, context)
            assert (answer.error_code, answer.variant) == (wanted.error_code, wanted.variant)
            assert (answer.reason, answer.value) == (wanted.reason, wanted.value)
            assert bytes(explain(snapshot, lines, key, context, 0).result) == answer.body


def entries_of(found: Imported) -> dict[tuple[EntryKind, str], Entry]:
    """Return the lines of a snapshot with what was read."""
    named: list[tuple[EntryKind, str, Any]] = []
    for flag in found.flags:
        source = {"dialect": "launchdarkly", "definition": flag.definition}
        definition = {
            "type": flag.type,
            "variants": flag.variants,
            "fallthrough": {"variant": flag.fallthrough},
            "salt": "unused",
            "enabled": flag.enabled,
            "source": source,
        }
        named.append(("flag", flag.key, definition))
    for segment in found.segments:
        source = {"dialect": "launchdarkly", "definition": segment.definition}
        named.append(("segment", segment.key, {"source": source}))
    return entries(*named)


@pytest.mark.parametrize("case", CLIENT, ids=[case.id for case in CLIENT])
def test_client_side(case: Case) -> None:
    """A result that clients are sent can be made by a definition: value, variation and reason."""
    data, wanted = json.loads(case.data), case.evaluation["expect"]
    result = data.get(case.evaluation["flagKey"])
    if result is None:
        answer = compiled(json.dumps({"flags": {}})).evaluate(case.evaluation["flagKey"], {})
        assert reason_of(answer) == wanted["reason"]
        return
    answer = compiled(json.dumps(giving(result))).evaluate("flag", case.context)
    reason = result.get("reason", {"kind": "OFF"})
    assert reason_of(answer) == told(reason)
    if reason["kind"] != "ERROR":
        assert same_json(answer.value, result["value"])
    if wanted["reason"].get("errorKind") == "WRONG_TYPE":
        assert answer.value.__class__ is not case.evaluation["default"].__class__
    else:
        assert same_json(wanted["value"], result["value"])
        assert told(wanted["reason"]) == told(reason)


def told(reason: dict[str, Any]) -> dict[str, Any]:
    """Return a reason as clients for servers say it; some names in the results are others.

    A failure of the service is one of the flag here: there is no other.
    """
    names = {"isExperiment": "inExperiment", "prereqKey": "prerequisiteKey"}
    kinds = {"EXCEPTION": "MALFORMED_FLAG"}
    return {names.get(name, name): kinds.get(value, value) for name, value in reason.items()}


def giving(result: dict[str, Any]) -> dict[str, Any]:
    """Return flags of which `flag` gives a result to the context of the suites."""
    reason = result.get("reason", {"kind": "OFF"})
    number = result["variation"]
    experiment = {"kind": "experiment", "variations": [{"variation": number, "weight": 100_000}]}
    tracked = reason.get("isExperiment")
    serve = {"rollout": experiment} if tracked else {"variation": number}
    clause = {"attribute": "key", "op": "in", "values": ["user-key"]}
    rules = [{"clauses": [{**clause, "negate": True}]}, {**serve, "id": "id", "clauses": [clause]}]
    more: dict[str, dict[str, Any]] = {
        "OFF": {"on": False},
        "FALLTHROUGH": {"fallthrough": serve},
        "TARGET_MATCH": {"targets": [{"variation": number, "values": ["user-key"]}]},
        "RULE_MATCH": {"rules": rules},
        "PREREQUISITE_FAILED": {"prerequisites": [{"key": "failedkey", "variation": 0}]},
        "ERROR": {"fallthrough": {"variation": 99}},
    }
    values = [result["value"]] * (number + 1)
    flag = {"on": True, "variations": values, "offVariation": number, **more[reason["kind"]]}
    return {"flags": {"flag": flag}}


# The published buckets


def bucket_cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(BUCKETS.read_text())["cases"]
    return found


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("case", bucket_cases(), ids=str)
def test_published_buckets(case: dict[str, Any], bits: int) -> None:
    """The arm that begins at the weight just above the bucket is another than the one below.

    As weights are 100,000ths that tells a bucket to five digits; the value to all of its digits is
    compared by the formula below.
    """
    bucket = case["bucket_float32"]
    rollout: dict[str, Any] = {"kind": "experiment"} if case["seed"] is not None else {}
    if case["seed"] is not None:
        rollout["seed"] = case["seed"]
    for weight, wanted in ((int(bucket * 100_000), "1"), (int(bucket * 100_000) + 1, "0")):
        arms = [{"variation": 0, "weight": weight}, {"variation": 1, "weight": 100_000 - weight}]
        flag = {
            "on": True,
            "salt": case["salt"],
            "variations": ["first", "second"],
            "fallthrough": {"rollout": {**rollout, "variations": arms}},
        }
        data = json.dumps({"flags": {case["key"]: flag}})
        answer = compiled(data, bits).evaluate(case["key"], {"targetingKey": case["unit"]})
        assert answer.variant == wanted


@pytest.mark.parametrize("case", bucket_cases(), ids=str)
def test_published_buckets_to_the_last_digit(case: dict[str, Any]) -> None:
    """The number that the compiled rollout looks up is, divided, the published one."""
    key, salt, seed = case["key"], case["salt"], case["seed"]
    flag = {
        "on": True,
        "salt": salt,
        "variations": [0],
        "fallthrough": {"rollout": {"seed": seed, "variations": [{"variation": 0, "weight": 1}]}},
    }
    program = DIALECT.translate(key, flag, {"float": 32}, True).program
    assert isinstance(program, p.Program)
    assert isinstance(program.otherwise, p.Split)
    number = number_of(program.otherwise.bucketing)({"targetingKey": case["unit"]})
    assert float32(float32(number) / float32(2**60 - 1)) == float32(case["bucket_float32"])


# Hostile


@pytest.mark.parametrize("seed", range(4))
def test_mutated_data_never_raises(seed: int) -> None:
    """The suites' own data, changed at random: read, translated, compiled and evaluated."""
    draw = Random(seed)
    for _ in range(500):
        case = draw.choice(SERVER)
        data = mutated(json.loads(case.data), draw)
        context = mutated(case.evaluation["context"], draw)
        found = DIALECT.read(data, {})
        flags = compiled_from(found)
        for flag in found.flags:
            flags.evaluate(flag.key, context)


def test_no_case_has_vanished() -> None:
    """As many as there were when this was written, in as many suites."""
    assert len(SERVER) == 728
    assert len({case.suite for case in SERVER}) == 301
    assert len(CLIENT) == 30
    assert len({case.suite for case in CLIENT}) == 20
    assert len(bucket_cases()) == 11
