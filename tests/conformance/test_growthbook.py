"""GrowthBook's own cases, those that a server can be asked: 487 of `cases.json`.

Every case goes through the translator and the engine's compiler:

- `feature`, `contextualBandit` and `stickyBucket` are features, with all others of the case;
- `run` is an experiment by itself;
- `evalCondition` is a rule that a condition decides;
- `hash`, `inNamespace`, `chooseVariation`, `getBucketRange` and `getEqualWeights` ask for parts of
  an experiment: they are looked up in one that was translated.

Attributes are the context, and what else a case has of its request is `$growthbook` in it. An
answer's metadata is flat and made before any request, so two things that an SDK says of a result
are read elsewhere: `hashValue` of the context, and `bucket` of the compiled split.

Left out are `getQueryStringOverride`, which the translator's own tests use, `decrypt`, as an
encrypted file is not read, and `urlRedirect`, which is for browsers. What is compared is compared
as GrowthBook's tests do it: members that are undefined dropped, ranges rounded down to 8 decimals.
"""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from msgspec import UNSET

from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.growthbook import DIALECT
from proxy.engine.dialects.growthbook.ranges import bucket_ranges, equal_weights
from proxy.engine.dialects.model import Translation
from proxy.engine.hashing import number_of
from tests.conformance.harness import CompiledFlags, compile_translations, suite

CASES = json.loads(
    (suite("growthbook-sdk-js") / "packages/sdk-js/test/cases.json").read_text(encoding="utf-8")
)

COUNTS = {
    "evalCondition": 248,
    "run": 73,
    "feature": 55,
    "contextualBandit": 35,
    "inNamespace": 16,
    "hash": 15,
    "getBucketRange": 13,
    "chooseVariation": 13,
    "stickyBucket": 13,
    "getEqualWeights": 6,
}
LEFT_OUT = {"getQueryStringOverride": 16, "decrypt": 10, "urlRedirect": 4}


def cases(section: str) -> Any:
    """Return the parameters of a section, one a case."""
    found = CASES[section]
    return pytest.mark.parametrize("case", found, ids=[_id(i, c) for i, c in enumerate(found)])


def _id(index: int, case: list[Any]) -> str:
    name = case[0] if isinstance(case[0], str) and case[0] else json.dumps(case)[:40]
    return f"{index}-{name}"


def test_every_case_is_here() -> None:
    """487 cases are run, and 30 are not for a server."""
    assert {name: len(CASES[name]) for name in COUNTS} == COUNTS
    assert sum(COUNTS.values()) == 487
    others = {name: len(CASES[name]) for name in CASES if name not in COUNTS | {"specVersion": 0}}
    assert others == LEFT_OUT


# What is compiled


def translated(given: dict[str, Any]) -> dict[str, Translation]:
    options = {name: given.get(name, {}) for name in ("savedGroups", "contextualBandits")}
    return {
        key: DIALECT.translate(key, definition, options, True)
        for key, definition in given.get("features", {}).items()
    }


def context_of(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what a case tells of a request as a context."""
    names = ("url", "forcedVariations", "qaMode", "enabled")
    request = {name: given[name] for name in names if name in given} | more
    return {**given.get("attributes", {}), **({"$growthbook": request} if request else {})}


def js(value: Any) -> Any:
    """Return a value in a form in which `True` is not `1`."""
    return json.dumps(value, sort_keys=True)


def answered(flags: CompiledFlags, key: str, context: dict[str, Any]) -> tuple[Any, Answer]:
    """Return the value of an answer, None for none, and the answer, whose body says the same."""
    answer = flags.evaluate(key, context)
    value = None if answer.value is UNSET else answer.value
    assert js(json.loads(answer.body).get("value")) == js(value)
    return value, answer


def is_on(value: Any) -> bool:
    return isinstance(value, (list, dict)) or bool(value)


# Features


@cases("feature")
def test_feature(case: list[Any]) -> None:
    """A feature answers what GrowthBook's SDK does."""
    _, given, key, expected = case
    check_feature(given, key, expected)


@cases("contextualBandit")
def test_contextual_bandit(case: list[Any]) -> None:
    """A contextual bandit answers by the weights of the context's leaf."""
    _, given, key, expected = case
    check_feature(given, key, expected)


def check_feature(given: dict[str, Any], key: str, expected: dict[str, Any]) -> None:
    translations = translated(given)
    context = context_of(given)
    value, answer = answered(compile_translations(translations), key, context)
    source = answer.metadata.get("sourceReason", "unknownFeature")
    result = {
        "value": value,
        "on": is_on(value),
        "off": not is_on(value),
        "source": source,
        "ruleId": answer.metadata.get("ruleId", ""),
    }
    if source == "experiment":
        rule = given["features"][key]["rules"][answer.metadata["ruleIndex"]]
        result["experimentResult"] = experiment_result(translations[key], answer, value, context)
        result["experiment"] = experiment(rule, key, answer, expected["experiment"])
    assert js(result) == js(expected)


def experiment_result(
    translation: Translation, answer: Answer, value: Any, context: dict[str, Any]
) -> dict[str, Any]:
    """Return what the SDK says of an experiment's result, from an answer."""
    said = answer.metadata
    result = {
        "key": said["variationKey"],
        "featureId": answer.key,
        "inExperiment": said["inExperiment"],
        "hashUsed": said["hashUsed"],
        "variationId": said["variationId"],
        "value": value,
        "hashAttribute": said["hashAttribute"],
        "hashValue": context[said["hashAttribute"]],
        "stickyBucketUsed": said.get("stickyBucketUsed", False),
    }
    if "variationName" in said:
        result["name"] = said["variationName"]
    if said["hashUsed"]:
        result["bucket"] = bucket(translation, answer, context)
    for name in ("leafId", "banditVersion"):
        if name in said:
            result[name] = said[name]
    if "variationWeights" in said:
        result["variationWeights"] = json.loads(said["variationWeights"])
    return result


def bucket(translation: Translation, answer: Answer, context: dict[str, Any]) -> float:
    """Return the number, between 0 and 1, by which an answer was chosen.

    That of the split which has an arm for the same experiment and the same attribute.
    """
    names = ("experimentKey", "hashAttribute", "leafId")
    wanted = [answer.metadata.get(name) for name in names]
    for split in splits(translation):
        for arm in split.arms:
            assert isinstance(arm.serve, (p.Outcome, p.Next))
            said = {} if arm.serve is p.NEXT else dict(arm.serve.metadata)  # type: ignore[union-attr]
            if [said.get(name) for name in names] == wanted:
                return number_of(split.bucketing)(context) / split.bucketing.size
    raise AssertionError("no such split")


def splits(translation: Translation) -> Iterator[p.Split]:
    assert isinstance(translation.program, p.Program)
    for step in translation.program.steps:
        if isinstance(step, p.Rule) and isinstance(step.serve, p.Split):
            yield step.serve


MEMBERS = ("coverage", "weights", "hashAttribute", "fallbackAttribute", "disableStickyBucketing")
MEMBERS += ("bucketVersion", "minBucketVersion", "namespace", "meta", "ranges", "name", "phase")
MEMBERS += ("seed", "hashVersion", "filters", "condition")


def experiment(
    rule: dict[str, Any], key: str, answer: Answer, expected: dict[str, Any]
) -> dict[str, Any]:
    """Return the experiment that the SDK hands back, made of the rule that an answer names."""
    said = answer.metadata
    made = {name: rule[name] for name in MEMBERS if name in rule}
    made["key"] = rule.get("key", key)
    assert said["experimentKey"] == made["key"]
    made["variations"] = rule.get("contextualVariations") or rule["variations"]
    if "leafId" in said:
        made["weights"] = json.loads(said["variationWeights"])
        names = ("leafId", "variationWeights", "banditVersion")
        bandit = {name: said[name] for name in names if name in said}
        made["contextualBandit"] = bandit | {"variationWeights": made["weights"]}
    elif "contextualBanditRef" in rule and not said["hashUsed"]:
        # weights of a leaf decided nothing where a variation was forced, so answers do not say them
        made["weights"] = expected["weights"]
    return made


@cases("stickyBucket")
def test_sticky_bucket(case: list[Any]) -> None:
    """Who had a variation keeps it, where the context says so; an answer tells what to store."""
    _, given, documents, key, expected, stored = case
    kept = {f"{doc['attributeName']}||{doc['attributeValue']}": doc for doc in documents}
    translations = translated(given)
    context = context_of(given, stickyBucketAssignmentDocs=kept)
    value, answer = answered(compile_translations(translations), key, context)
    in_experiment = answer.metadata.get("inExperiment", False)
    is_disabled = given["features"][key]["rules"][0].get("disableStickyBucketing", False)
    result: dict[str, Any] | None = None
    if in_experiment:
        result = experiment_result(translations[key], answer, value, context)
    if result is not None and not is_disabled:
        said = answer.metadata
        name, unit = result["hashAttribute"], result["hashValue"]
        assignment = f"{said['experimentKey']}__{said.get('bucketVersion', 0)}"
        old = kept.get(f"{name}||{unit}", {}).get("assignments", {})
        kept[f"{name}||{unit}"] = {
            "attributeName": name,
            "attributeValue": unit,
            "assignments": old | {assignment: said["variationKey"]},
        }
    assert js(result) == js(expected)
    # an SDK asks its store for the documents of its own attributes only
    own = {f"{name}||{value}" for name, value in given["attributes"].items()}
    assert js({name: doc for name, doc in kept.items() if name in own}) == js(stored)


# Experiments by themselves


@cases("run")
def test_run(case: list[Any]) -> None:
    """An experiment of an application's own code answers what `run` does."""
    _, given, run, value, in_experiment, hash_used = case
    options = {"savedGroups": given.get("savedGroups", {})}
    translations = translated(given)
    translations["the experiment"] = DIALECT.translate("the experiment", run, options, True)
    flags = compile_translations(translations)
    found, answer = answered(flags, "the experiment", context_of(given))
    assert js([found, answer.metadata["inExperiment"], answer.metadata["hashUsed"]]) == js(
        [value, in_experiment, hash_used]
    )


# Conditions


@cases("evalCondition")
def test_eval_condition(case: list[Any]) -> None:
    """A condition holds for the attributes that it does for in GrowthBook."""
    _, condition, attributes, expected, *groups = case
    rules = [{"condition": condition, "force": "passed"}]
    options = {"savedGroups": groups[0] if groups else {}}
    flag = DIALECT.translate("flag", {"defaultValue": "failed", "rules": rules}, options, True)
    value, _ = answered(compile_translations({"flag": flag}), "flag", attributes)
    assert value == ("passed" if expected else "failed")


def test_the_same_conditions_in_leaves_of_a_bandit() -> None:
    """Conditions are compiled in two ways, which agree: as a rule's, and as a test of a context."""
    for _, condition, attributes, expected, *groups in CASES["evalCondition"]:
        leaf = {"leafId": 1, "condition": condition, "weights": [1, 0]}
        rule = {"contextualVariations": ["passed", "failed"], "weights": [0, 1]}
        rule |= {"contextualBanditRef": "cb", "hashAttribute": "a unit"}
        options = {"savedGroups": groups[0] if groups else {}}
        options["contextualBandits"] = {"cb": {"contexts": [leaf]}}
        flag = DIALECT.translate("flag", {"rules": [rule]}, options, True)
        context = {**attributes, "a unit": "u-1"}
        value, _ = answered(compile_translations({"flag": flag}), "flag", context)
        assert value == ("passed" if expected else "failed"), condition


# Parts of experiments


@lru_cache
def only_split(**members: str) -> p.Split:
    """Return the split of an experiment; members are JSON."""
    run = {name: json.loads(value) for name, value in members.items()}
    [split] = splits(DIALECT.translate("flag", run, {}, True))
    return split


@cases("hash")
def test_hash(case: list[Any]) -> None:
    """The number of a value is that of GrowthBook, and there is none of an unknown version."""
    seed, value, version, expected = case
    run = {"key": "flag", "variations": [0, 1], "seed": seed or None, "hashVersion": version}
    if not seed:  # an empty one is none, so the key of the experiment stands in for it
        run["key"] = ""
    found = list(splits(DIALECT.translate("", run, {}, True)))
    if expected is None:
        assert found == []
    else:
        bucketing = found[0].bucketing
        assert number_of(bucketing)({"id": value}) / bucketing.size == expected


@cases("inNamespace")
def test_in_namespace(case: list[Any]) -> None:
    """Who is in the namespace is in the experiment."""
    _, unit, namespace, expected = case
    run = {"variations": [0, 1], "namespace": namespace}
    flags = compile_translations({"flag": DIALECT.translate("flag", run, {}, True)})
    assert flags.evaluate("flag", {"id": unit}).metadata["inExperiment"] is expected


@cases("chooseVariation")
def test_choose_variation(case: list[Any]) -> None:
    """The arm that holds a number is the variation whose range does."""
    _, number, ranges, expected = case
    members = {"variations": list(range(len(ranges))), "ranges": ranges, "hashVersion": 2}
    split = only_split(**{name: json.dumps(value) for name, value in members.items()})
    place = round(number * split.bucketing.size)
    found = [
        dict(arm.serve.metadata)["variationId"]
        for arm in split.arms
        if isinstance(arm.serve, p.Outcome)
        and isinstance(arm.high, int)
        and arm.low <= place < arm.high
    ]
    assert (found or [-1]) == [expected]


def rounded(value: float) -> float:
    return math.floor(value * 1e8) / 1e8


@cases("getBucketRange")
def test_get_bucket_range(case: list[Any]) -> None:
    """Each variation has its range, and the split's arms are those ranges."""
    _, (count, coverage, weights), expected = case
    found = bucket_ranges(count, coverage, weights)
    assert [[rounded(start), rounded(end)] for start, end in found] == expected
    run = {"variations": list(range(count)), "coverage": coverage, "weights": weights}
    members = {name: json.dumps(value) for name, value in {**run, "hashVersion": 2}.items()}
    arms = only_split(**members).arms
    filled = [(start, end) for start, end in found if start < end]
    assert len(arms) == len(filled)
    for arm, (start, end) in zip(arms, filled, strict=True):
        assert isinstance(arm.high, int)
        assert (arm.low - 1) / 10_000 < start <= arm.low / 10_000
        assert (arm.high - 1) / 10_000 < end <= arm.high / 10_000


@cases("getEqualWeights")
def test_get_equal_weights(case: list[Any]) -> None:
    """Weights that are not said are equal, and so are the arms that they come to."""
    count, expected = case
    assert [rounded(weight) for weight in equal_weights(count)] == expected
    if count >= 2:
        run = {"variations": json.dumps(list(range(count))), "hashVersion": "2"}
        sizes = [arm.high - arm.low for arm in only_split(**run).arms]  # type: ignore[operator]
        assert sum(sizes) == 10_000
        assert all(abs(one - other) <= 1 for one, other in pairwise(sizes))
