"""What a request says of experiments, in `$growthbook`."""

import json
from typing import Any

import pytest

from proxy.engine.dialects.growthbook.requests import query_override
from tests.conformance.harness import suite
from tests.proxy.engine.dialects.growthbook.flags import Json, ask, compiled, value_of

FEATURE: Json = {
    "defaultValue": "default",
    "rules": [
        {
            "key": "exp",
            "variations": ["a", "b", "c"],
            "meta": [{"key": "ka"}, {"key": "kb"}, {"key": "kc"}],
            "weights": [1, 0, 0],
            "condition": {"plan": "pro"},
            "hashAttribute": "user",
            "fallbackAttribute": "device",
            "bucketVersion": 2,
            "minBucketVersion": 1,
        },
        {"force": "next"},
    ],
}
PRO = {"user": "u-1", "plan": "pro"}


def served(request: Any, context: Json | None = None) -> Any:
    return ask(FEATURE, {**(PRO if context is None else context), "$growthbook": request}).value


def test_a_rollout_falls_back_where_there_is_a_store() -> None:
    """To another attribute, of who has not the first; not where that is switched off."""
    rule = {
        "force": "in",
        "coverage": 0.5,
        "hashAttribute": "user",
        "fallbackAttribute": "device",
    }
    feature = {"defaultValue": "out", "rules": [rule]}
    stored: Json = {"$growthbook": {"stickyBucketAssignmentDocs": {}}}
    units = [f"u-{number}" for number in range(50)]
    by_user = [ask(feature, {"user": unit, **stored}).value for unit in units]
    assert {"in", "out"} == set(by_user)
    assert [ask(feature, {"device": unit, **stored}).value for unit in units] == by_user
    assert {ask(feature, {"device": unit}).value for unit in units} == {"out"}
    other = {"user": units[by_user.index("out")], "device": units[by_user.index("in")]}
    assert ask(feature, other | stored).value == "out"
    off = {**feature, "rules": [rule | {"disableStickyBucketing": True}]}
    assert {ask(off, {"device": unit, **stored}).value for unit in units} == {"out"}


@pytest.mark.parametrize("request_", [None, {}, 5, "x", [], {"url": 5}, {"forcedVariations": []}])
def test_a_request_that_says_nothing_changes_nothing(request_: Any) -> None:
    """Whatever it is."""
    assert served(request_) == "a"


def test_experiments_are_switched_off() -> None:
    """By `enabled`, which goes before all else; only false itself does it."""
    assert served({"enabled": False, "forcedVariations": {"exp": 1}}) == "next"
    assert served({"enabled": None}) == "a"
    assert served({"qaMode": True}) == "next"
    assert served({"qaMode": True, "forcedVariations": {"exp": 1}}) == "b"


def test_a_variation_is_forced() -> None:
    """Who is forced need not pass the condition; a URL goes first; the hash is not used."""
    free = {"user": "u-1", "plan": "free"}
    assert served({"forcedVariations": {"exp": 1}}, free) == "b"
    assert served({"forcedVariations": {"exp": 1.0}}, {}) == "b"
    request = {"forcedVariations": {"exp": 1}, "url": "https://a/?exp=2"}
    assert served(request, free) == "c"
    answer = ask(FEATURE, {"$growthbook": {"forcedVariations": {"exp": 1}}})
    assert answer.metadata["hashUsed"] is False
    assert answer.metadata["inExperiment"] is True
    assert served({"forcedVariations": {"other": 1}}) == "a"


@pytest.mark.parametrize("place", [-1, 3, 0.5, "1", None, True, [], 10**400])
def test_a_variation_that_is_not_there_is_none(place: Any) -> None:
    """Who is forced to one is not in the experiment."""
    assert served({"forcedVariations": {"exp": place}}) == "next"


def stored(**documents: dict[str, Any]) -> Json:
    named = {name.replace("_", "||", 1): {"assignments": a} for name, a in documents.items()}
    return {"stickyBucketAssignmentDocs": named}


def test_who_had_a_variation_keeps_it() -> None:
    """Whatever the condition says now; what is stored by the attribute itself goes first."""
    own, other = {"exp__2": "kb"}, {"exp__2": "kc"}
    documents = {"user||u-1": {"assignments": own}, "device||d-1": {"assignments": other}}
    request = {"stickyBucketAssignmentDocs": documents}
    both = {"user": "u-1", "device": "d-1"}
    assert served(request, both) == "b"
    answer = ask(FEATURE, {**both, "$growthbook": request})
    assert answer.metadata["stickyBucketUsed"] is True
    assert answer.metadata["hashAttribute"] == "user"
    del documents["user||u-1"]
    assert served(request, both) == "c"
    assert served(request, {"user": "u-1"}) == "next"


def test_the_fallback_attribute_counts_where_there_is_a_store() -> None:
    """An empty object says there is one."""
    context = {"device": "d-1", "plan": "pro"}
    assert served({}, context) == "next"
    assert served(stored(), context) == "a"
    assert served(stored(), {"device": "d-1", "plan": "free"}) == "next"
    answer = ask(FEATURE, {**context, "$growthbook": stored()})
    assert answer.metadata["hashAttribute"] == "device"
    assert answer.unit_attribute == "device"


@pytest.mark.parametrize(
    ("assignments", "value"),
    [
        ({"exp__0": "kb"}, "next"),  # of a version that was ended
        ({"exp__0": "kb", "exp__2": "kb"}, "next"),
        ({"exp__1": "kb"}, "a"),
        ({"exp__3": "kb"}, "a"),
        ({"exp__2": "unknown"}, "a"),
        ({"exp__2": 1}, "a"),
        ({"other__2": "kb"}, "a"),
        (5, "a"),
        (None, "a"),
    ],
)
def test_assignments_of_other_versions(assignments: Any, value: str) -> None:
    """Ended versions exclude; others, and what no variation is called, count for nothing."""
    documents = {"user||u-1": {"assignments": assignments}}
    assert served({"stickyBucketAssignmentDocs": documents}) == value
    documents = {"device||d-1": {"assignments": assignments}}
    context = {**PRO, "device": "d-1"}
    assert served({"stickyBucketAssignmentDocs": documents}, context) == value


def test_stickiness_can_be_switched_off_for_an_experiment() -> None:
    """Then neither documents nor the fallback attribute count."""
    feature = json.loads(json.dumps(FEATURE))
    feature["rules"][0]["disableStickyBucketing"] = True
    request = {"stickyBucketAssignmentDocs": {"user||u-1": {"assignments": {"exp__2": "kb"}}}}
    assert ask(feature, {**PRO, "$growthbook": request}).value == "a"
    assert ask(feature, {"device": "d", "plan": "pro", "$growthbook": request}).value == "next"


def test_a_variation_that_passes_through_does_so_by_force_too() -> None:
    """The next rule decides."""
    feature = json.loads(json.dumps(FEATURE))
    feature["rules"][0]["meta"][1]["passthrough"] = True
    request = {"forcedVariations": {"exp": 1}}
    assert ask(feature, {**PRO, "$growthbook": request}).value == "next"
    request = {"stickyBucketAssignmentDocs": {"user||u-1": {"assignments": {"exp__2": "kb"}}}}
    assert ask(feature, {**PRO, "$growthbook": request}).value == "next"


def test_filters_and_prerequisites_of_a_rule_go_before_force() -> None:
    """As they belong to the rule, and not to its experiment."""
    parent: Json = {"defaultValue": False}
    feature = {
        "rules": [
            {
                "key": "exp",
                "variations": ["a", "b"],
                "parentConditions": [{"id": "parent", "condition": {"value": True}}],
            }
        ]
    }
    flags = compiled({"flag": feature, "parent": parent})
    context = {"id": "u-1", "$growthbook": {"forcedVariations": {"exp": 1}}}
    assert value_of(flags.evaluate("flag", context)) is None
    filtered: Json = {
        "rules": [{"variations": ["a", "b"], "filters": [{"seed": "s", "ranges": []}]}]
    }
    context = {"id": "u-1", "$growthbook": {"forcedVariations": {"flag": 1}}}
    assert value_of(ask(filtered, context)) is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?exp=1", 1), ("?a=b&exp=1#x", 1), ("?exp=1x", 1), ("?exp=%31", None), ("?exp= 1", 1),
        ("?exp=+1", 1), ("?exp=-0", 0), ("?exp=-1", None), ("?exp=3", None), ("?exp=0x1", 1),
        ("?exp", None), ("?exp=", None), ("?exp=x", None), ("?exp=x&exp=1", None), ("#?exp=1", 1),
        ("?exp=1?exp=2", 1), ("exp=1", None), ("?a=exp=1", None), ("?exp=1=2", 1),
        ("?exp=" + "1" * 5_000, None), ("?myexp=1", None), ("", None),
    ],
)  # fmt: skip
def test_a_url_forces_a_variation(query: str, found: int | None) -> None:
    """As the SDK for JavaScript reads a URL: by its text, not decoded."""
    assert query_override("exp", f"https://example.com/{query}", 3) == found


def test_the_cases_of_growthbook_itself() -> None:
    """Its section that is not about evaluation."""
    path = suite("growthbook-sdk-js") / "packages/sdk-js/test/cases.json"
    for name, key, url, count, expected in json.loads(path.read_text())["getQueryStringOverride"]:
        assert query_override(key, url, count) == expected, name
