"""Features and experiments as programs: order, gates, outcomes, what is told, bounds."""

import json
from random import Random
from typing import Any

import pytest

from proxy.contract.codes import Reason
from proxy.engine import limits
from proxy.engine.answers import Answer
from proxy.engine.dialects.growthbook import DIALECT
from tests.proxy.engine.dialects.growthbook.flags import (
    Json,
    ask,
    compiled,
    errors,
    only_split,
    translated,
    value_of,
    warnings,
)
from tests.proxy.engine.dialects.growthbook.test_ranges import number

USER = {"targetingKey": "u-1"}


def said(answer: Answer) -> tuple[Any, str, str | None, str]:
    """Return value, variant, reason and GrowthBook's own reason."""
    source = answer.metadata["sourceReason"]
    return value_of(answer), answer.variant, answer.reason, source


def test_what_serves_a_value_is_told() -> None:
    """By the name of the variant, the reason, the rule and what GrowthBook calls it."""
    feature = {
        "defaultValue": "d",
        "rules": [
            {"id": "fr_1", "condition": {"a": 1}, "force": "f"},
            {"condition": {"a": 2}, "force": "g"},
            {
                "id": "fr_2",
                "key": "exp",
                "phase": "3",
                "variations": ["x", "y"],
                "weights": [0, 1],
                "meta": [{"key": "kx"}, {"key": "ky", "name": "The Y"}],
                "condition": {"a": 3},
            },
        ],
    }
    asked = [ask(feature, {**USER, "a": a}) for a in (1, 2, 3, 4)]
    assert [said(answer) for answer in asked] == [
        ("f", "fr_1", "TARGETING_MATCH", "force"),
        ("g", "rule-2", "TARGETING_MATCH", "force"),
        ("y", "exp/ky", "SPLIT", "experiment"),
        ("d", "default", "DEFAULT", "defaultValue"),
    ]
    assert asked[0].metadata == {"sourceReason": "force", "ruleIndex": 0, "ruleId": "fr_1"}
    assert asked[2].metadata == {
        "sourceReason": "experiment",
        "ruleIndex": 2,
        "experimentKey": "exp",
        "phase": "3",
        "variationId": 1,
        "variationKey": "ky",
        "hashAttribute": "id",
        "hashUsed": True,
        "inExperiment": True,
        "variationName": "The Y",
        "ruleId": "fr_2",
    }
    assert asked[2].unit_attribute == "targetingKey"


def test_what_a_rule_becomes_is_called_after_it() -> None:
    """For explanations: by its id, or its place in the feature."""
    rules: list[Json] = [
        {"parentConditions": [{"id": "p", "gate": True}]},
        {"id": "fr_1", "variations": [1, 2], "fallbackAttribute": "d"},
        {"force": 1},
    ]
    found = [step.id for step in translated({"rules": rules}).program.steps]
    assert found == ["#1", "#1", "fr_1", "fr_1", "fr_1", "#3"]


def test_variants_have_names_of_their_own() -> None:
    """However rules and experiments are called."""
    rules: list[Json] = [{"id": "default", "force": 1}, {"id": "a", "force": 2}]
    rules += [{"id": "a", "force": 3}, {"id": "x" * 300, "force": 4}]
    rules += [{"key": "e", "variations": [5, 6]}, {"key": "e", "variations": [7, 8]}]
    flag = translated({"defaultValue": 0, "rules": rules})
    assert flag.variants == {
        "default": 0,
        "default-2": 1,
        "a": 2,
        "a-2": 3,
        "rule-4": 4,
        "e/0": 5,
        "e/1": 6,
        "e/0-2": 7,
        "e/1-2": 8,
    }


def test_null_is_the_applications_default() -> None:
    """No value, wherever it is served."""
    feature = {"defaultValue": None, "rules": [{"force": None, "condition": {"a": 1}}]}
    for context in ({}, {"a": 1}):
        answer = ask(feature, context)
        assert "value" not in json.loads(answer.body)
        assert answer.status == 200


def test_a_feature_without_rules_is_static() -> None:
    """And one whose rules serve nothing is not."""
    assert ask({"defaultValue": 1}, {}).reason == Reason.STATIC
    assert ask({"defaultValue": 1, "rules": [{}]}, {}).reason == Reason.DEFAULT


def test_a_feature_that_is_off_has_no_value() -> None:
    """As one that GrowthBook leaves out of the file."""
    flag = translated({"defaultValue": 1, "rules": [{"force": 2}]}, enabled=False)
    assert flag.program.otherwise.reason is Reason.DISABLED
    assert flag.program.otherwise.variant is None


# Prerequisites


def parents(*conditions: tuple[str, Any, bool]) -> list[Json]:
    return [{"id": key, "condition": c, "gate": gate} for key, c, gate in conditions]


CHILD: Json = {
    "defaultValue": "default",
    "rules": [
        {"parentConditions": parents(("p", {"value": {"$ne": "stop"}}, True))},
        {"parentConditions": parents(("p", {"value": "on"}, False)), "force": "child"},
        {"parentConditions": parents(("q", {"value": 1}, False), ("p", {}, False)), "force": "q"},
    ],
}


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ("on", 0, ("child", "force")),
        ("off", 0, ("default", "defaultValue")),
        ("off", 1, ("q", "force")),
        ("stop", 1, (None, "prerequisite")),
        (None, 1, ("q", "force")),
        (None, None, ("default", "defaultValue")),
    ],
)
def test_other_flags_decide(p: Any, q: Any, expected: tuple[Any, str]) -> None:
    """A gate closes the feature, another prerequisite only its rule; one not there is null."""
    features = {"flag": CHILD} | {"p": {"defaultValue": p}} | {"q": {"defaultValue": q}}
    features = {key: f for key, f in features.items() if f.get("defaultValue", 0) is not None}
    answer = compiled(features).evaluate("flag", {})
    assert (value_of(answer), answer.metadata["sourceReason"]) == expected


def test_who_asks_a_circle_answers_nothing() -> None:
    """Even where a condition would take null; and so does who asks one that asks it."""
    asks = {"rules": [{"parentConditions": parents(("two", {}, False)), "force": 1}]}
    two = {"rules": [{"parentConditions": parents(("one", {}, False)), "force": 1}]}
    three = {"rules": [{"parentConditions": parents(("one", {"value": None}, False)), "force": 1}]}
    four = {"rules": [{"parentConditions": parents(("three", {}, True)), "force": 1}]}
    flags = compiled({"one": asks, "two": two, "three": three, "four": four})
    for key in ("one", "two", "three", "four"):
        answer = flags.evaluate(key, {})
        assert said(answer) == (None, "", "DEFAULT", "cyclicPrerequisite")


def test_flags_that_are_asked_are_named() -> None:
    """Each once, in order, of any JSON; also by an experiment by itself."""
    assert DIALECT.names(CHILD).flags == ("p", "q")
    alone = {"variations": [1, 2], "parentConditions": [{"id": "p"}, {"id": 5}, 7]}
    assert DIALECT.names(alone).flags == ("p",)
    assert DIALECT.names({"rules": {"parentConditions": 5}}).flags == ()


# Experiments


def test_who_is_in_no_range_goes_on() -> None:
    """To the next rule: gaps, filters, namespaces, conditions and passing through; by formula."""
    rules: list[Json] = [
        {
            "key": "exp",
            "variations": ["a", "b", "c"],
            "coverage": 0.7,
            "weights": [0.2, 0.3, 0.5],
            "hashVersion": 2,
            "meta": [{}, {"passthrough": True}, {}],
            "namespace": ["space", 0.1, 0.8],
        },
        {
            "force": "tenth",
            "coverage": 0.1,
            "filters": [{"seed": "f", "ranges": [[0.5, 1], [0, 0.25]]}],
        },
    ]
    flags = compiled({"flag": {"defaultValue": "default", "rules": rules}})
    seen = set()
    for n in range(3_000):
        unit = f"u-{n}"
        expected = "default"
        if (filtered := number("f", unit, 2)) >= 0.5 or filtered < 0.25:
            expected = "tenth" if number("flag", unit, 1) <= 0.1 else "default"
        at = number("exp", unit, 2)
        if 0.1 <= number("__space", unit, 1) < 0.8:
            start = 0.0
            for value, weight in (("a", 0.2), (None, 0.3), ("c", 0.5)):
                if value is not None and start <= at < start + 0.7 * weight:
                    expected = value
                start += weight
        assert flags.evaluate("flag", {"id": unit}).value == expected
        seen.add(expected)
    assert seen == {"a", "c", "tenth", "default"}


def test_filters_go_before_the_namespace() -> None:
    """Although there are none in the list: who has filters has no namespace."""
    rule: Json = {"variations": ["a", "b"], "weights": [1, 0], "namespace": ["space", 0, 0]}
    outside: Json = {"defaultValue": "out", "rules": [rule]}
    inside: Json = {"defaultValue": "out", "rules": [rule | {"filters": []}]}
    assert ask(outside, {"id": "u"}).value == "out"
    assert ask(inside, {"id": "u"}).value == "a"
    assert ask({**rule, "filters": []}, {"id": "u"}).metadata["inExperiment"] is True


def test_an_experiment_by_itself_serves_its_first_variation_to_others() -> None:
    """And one that passes through too, as there is nothing to go on to."""
    run = {"key": "e", "variations": ["a", "b"], "weights": [0, 1], "coverage": 1}
    assert said(ask(run, USER)) == ("b", "e/1", "SPLIT", "experiment")
    assert said(ask(run, {})) == ("a", "e/0", "DEFAULT", "defaultValue")
    assert ask({**run, "meta": [{}, {"passthrough": True}]}, USER).value == "b"
    for status in ({"status": "draft"}, {"status": "stopped"}, {"active": False}):
        assert ask(run | status, USER).metadata["inExperiment"] is False
    assert ask(run | {"status": "stopped", "force": 1}, USER).metadata["hashUsed"] is False


@pytest.mark.parametrize("member", ["url", "urlPatterns", "groups", "include"])
def test_what_only_a_page_knows_is_refused(member: str) -> None:
    """An experiment that asks it would have others in it here."""
    flag = translated({"variations": [1, 2], member: ["x"]})
    assert errors(flag) == [(f"/{member}", "unsupported")]


def test_a_bandit_serves_by_the_leaf() -> None:
    """The first that holds; the rule's own weights where none does; all in the metadata."""
    leaves = [
        {"leafId": 7, "condition": {"plan": "pro"}, "weights": [0, 1]},
        {"leafId": 8, "condition": {"plan": {"$in": ["pro", "free"]}}, "weights": [1, 0]},
    ]
    rule = {"key": "e", "contextualVariations": ["a", "b"], "weights": [0, 1]}
    feature = {"rules": [rule | {"contextualBanditRef": "cb", "hashVersion": 2}]}
    bandits = {"cb": {"banditVersion": 3, "contexts": leaves}}
    found = {}
    for plan in ("pro", "free", "other"):
        answer = ask(feature, {**USER, "plan": plan}, contextualBandits=bandits)
        found[plan] = (answer.value, *(answer.metadata[n] for n in ("leafId", "variationWeights")))
    assert found == {
        "pro": ("b", 7, "[0,1]"),
        "free": ("a", 8, "[1,0]"),
        "other": ("b", -1, "[0,1]"),
    }


def test_a_unit_not_covered_by_its_leaf_is_in_no_other() -> None:
    """It goes on with the next rule, not the next leaf."""
    leaves = [
        {"leafId": 1, "condition": {}, "weights": [0.5, 0.5]},
        {"leafId": 2, "condition": {}, "weights": [1, 0]},
    ]
    rule = {"contextualVariations": ["a", "b"], "coverage": 0, "contextualBanditRef": "cb"}
    feature = {"defaultValue": "d", "rules": [rule]}
    options = {"contextualBandits": {"cb": {"contexts": leaves}}}
    assert ask(feature, USER, **options).value == "d"


# Problems


@pytest.mark.parametrize(
    ("rule", "member", "code"),
    [
        (5, "", "wrong_type"),
        ({"variations": 5}, "/variations", "wrong_type"),
        ({"variations": [1, 2], "key": 5}, "/key", "wrong_type"),
        ({"variations": [1, 2], "meta": 5}, "/meta", "wrong_type"),
        ({"variations": [1, 2], "weights": ["1"]}, "/weights", "wrong_type"),
        ({"variations": [1, 2], "ranges": [[0]]}, "/ranges/0", "wrong_type"),
        ({"variations": [1, 2], "ranges": {}}, "/ranges", "wrong_type"),
        ({"variations": [1, 2], "namespace": ["n", 0]}, "/namespace", "wrong_type"),
        ({"variations": [1] * 1_001}, "/variations", "too_many"),
        ({"force": 1, "coverage": "1"}, "/coverage", "wrong_type"),
        ({"force": 1, "range": [0, "1"]}, "/range/0", "wrong_type"),
        ({"force": 1, "filters": 5}, "/filters", "wrong_type"),
        ({"force": 1, "filters": [5]}, "/filters/0", "wrong_type"),
        ({"force": 1, "parentConditions": [{}]}, "/parentConditions/0", "wrong_type"),
        ({"force": 1, "parentConditions": 5}, "/parentConditions", "wrong_type"),
        ({"force": 1, "id": "\ud800"}, "/id", "wrong_type"),
        ({"force": "\ud800"}, "/force", "wrong_type"),
        ({"force": "x" * 70_000}, "/force", "value_too_large"),
    ],
)
def test_what_cannot_be_translated_is_an_error(rule: Any, member: str, code: str) -> None:
    """With a pointer to it; there is no program then."""
    flag = translated({"rules": [{"force": 0}, rule]})
    assert errors(flag) == [(f"/rules/1{member}", code)]
    assert flag.program is None


@pytest.mark.parametrize(
    ("rule", "member", "code"),
    [
        ({}, "", "missing_field"),
        ({"variations": [1, 2], "fallbackAttribute": "d"}, "/fallbackAttribute", "unsupported"),
        ({"variations": [1, 2], "minBucketVersion": 1}, "/minBucketVersion", "unsupported"),
        ({"variations": [1, 2], "hashVersion": 9}, "/hashVersion", "not_one_of"),
        (
            {"variations": [1, 2], "contextualBanditRef": "x"},
            "/contextualBanditRef",
            "unknown_segment",
        ),
        ({"force": 1, "tracks": [{}]}, "/tracks", "unsupported"),
    ],
)
def test_what_is_otherwise_here_is_a_warning(rule: Any, member: str, code: str) -> None:
    """The flag works."""
    flag = translated({"defaultValue": 1, "rules": [rule]})
    assert (errors(flag), warnings(flag)) == ([], [(f"/rules/0{member}", code)])
    assert flag.program is not None


def test_there_are_bounds() -> None:
    """Of rules, of values, of how deep a value is, and of pieces of ranges."""
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    assert errors(translated({"defaultValue": deep})) == [("/defaultValue", "too_deep")]
    rules = [{"force": 1}] * (limits.MAX_RULES + 1)
    assert errors(translated({"rules": rules})) == [("/rules", "too_many")]
    rules = [{"variations": list(range(501))}] * 2
    assert errors(translated({"rules": rules}))[0][1] == "too_many"
    leaf = {"leafId": 1, "condition": {}, "weights": [1 / 1000] * 1000}
    rule = {"variations": list(range(1_000)), "hashVersion": 2, "contextualBanditRef": "cb"}
    bandits = {"cb": {"contexts": [leaf] * 30}}
    found = errors(translated({"rules": [rule]}, contextualBandits=bandits))
    assert ("/rules/0", "too_many") in found


def test_arms_are_of_all_numbers_of_their_hash() -> None:
    """Weights that are not all arms cover no number twice."""
    draw = Random(5)
    for _ in range(50):
        weights = [draw.random() for _ in range(4)]
        weights = [weight / sum(weights) for weight in weights]
        run = {"variations": [0, 1, 2, 3], "weights": weights, "hashVersion": draw.choice([1, 2])}
        split = only_split(translated(run))
        assert split.arms[0].low == 0
        assert split.arms[-1].high >= split.bucketing.size - 1
        for one, other in zip(split.arms, split.arms[1:], strict=False):
            assert one.high == other.low


def test_numbers_beyond_all_bounds_are_taken_for_none() -> None:
    """Of versions, leaves and phases; the flag works."""
    huge = 10**5_000
    leaf = {"leafId": huge, "condition": {}, "weights": [huge, 0]}
    rule = {"variations": ["a", "b"], "bucketVersion": huge, "minBucketVersion": huge}
    rule |= {"phase": huge, "coverage": huge, "contextualBanditRef": "cb"}
    bandits = {"cb": {"banditVersion": huge, "contexts": [leaf]}}
    answer = ask({"rules": [rule]}, USER, contextualBandits=bandits)
    assert answer.metadata["leafId"] == 0
    assert "banditVersion" not in answer.metadata
    assert answer.value in ("a", "b")
