"""Files of other systems: their options, and what one flag's mistake costs the others."""

from typing import Any

import pytest

from proxy.contract.definitions import DialectName
from proxy.engine import check_import_options, import_document
from proxy.engine.dialects.growthbook import DIALECT as GROWTHBOOK

FLAGD = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}


@pytest.mark.parametrize(
    ("system", "options", "place"),
    [
        ("flagd", {"fractional": "v4"}, "/fractional"),
        ("unleash", {"companions": "no"}, "/companions"),
        ("unleash", {"answer": "variant"}, "/answer"),  # which definitions have, and no file
        ("growthbook", {"contextualBandits": []}, "/contextualBandits"),
        ("launchdarkly", {"environment": 7}, "/environment"),
        ("goff", {"evaluationContextEnrichment": None}, "/evaluationContextEnrichment"),
    ],
)
def test_options_of_a_file_are_checked(
    system: DialectName, options: dict[str, Any], place: str
) -> None:
    """With a pointer to each that will not do."""
    assert [problem.pointer for problem in check_import_options(system, options)] == [place]


def test_an_evaluator_costs_the_flags_that_need_it() -> None:
    """Its error is theirs; the file is read."""
    deep: Any = True
    for _ in range(100):
        deep = {"!": [deep]}
    document = {
        "$evaluators": {"deep": deep},
        "flags": {"bad": {**FLAGD, "targeting": {"$ref": "deep"}}, "good": FLAGD},
    }
    found = import_document("flagd", document, {}, ["production"])
    assert ([flag.key for flag in found.flags], found.problems) == (["good"], [])
    assert {problem.code for problem in found.refused["bad"]} == {"too_deep"}
    assert found.all_problems() == list(found.refused["bad"])


@pytest.mark.parametrize("given", [False, True])
def test_a_saved_group_costs_the_features_that_ask_it(given: bool) -> None:
    """Its error has its place in the file, or in the options that gave it."""
    groups = {"g": {"type": "condition", "condition": {"plan": {"$regex": "(?=x)"}}}}
    rule = {"condition": {"$savedGroup": {"id": "g"}}, "force": False}
    features = {name: {"defaultValue": True, "rules": [rule]} for name in ("one", "other")}
    document: dict[str, Any] = {"features": {**features, "good": {"defaultValue": True}}}
    if not given:
        document["savedGroups"] = groups
    found = GROWTHBOOK.read(document, {"savedGroups": groups} if given else {})
    assert ([flag.key for flag in found.flags], found.problems) == (["good"], ())
    start = "/options/savedGroups" if given else "/savedGroups"
    for name in ("one", "other"):
        [problem] = found.refused[name]
        assert problem.pointer == f"{start}/g/condition/plan/$regex"


@pytest.mark.parametrize(
    ("system", "document", "client_side", "track"),
    [
        ("flagd", {"flags": {"f": FLAGD}}, False, False),
        ("unleash", {"features": [{"name": "f", "enabled": True, "strategies": []}]}, False, False),
        (
            "unleash",
            {
                "features": [
                    {"name": "f", "enabled": True, "strategies": [], "impressionData": True}
                ]
            },
            False,
            True,
        ),
        ("growthbook", {"features": {"f": {"defaultValue": 1}}}, False, False),
        (
            "growthbook",
            {"features": {"f": {"defaultValue": 1, "rules": [{"variations": [1, 2]}]}}},
            False,
            True,
        ),
        (
            "launchdarkly",
            {"flags": {"f": {"variations": [1], "clientSide": True, "trackEvents": True}}},
            True,
            True,
        ),
        ("goff", {"f": {"variations": {"a": 1}, "defaultRule": {"variation": "a"}}}, False, False),
        (
            "goff",
            {"f": {"variations": {"a": 1}, "defaultRule": {"variation": "a"}, "trackEvents": True}},
            False,
            True,
        ),
        (
            "goff",
            {
                "f": {
                    "variations": {"a": 1},
                    "defaultRule": {"variation": "a"},
                    "experimentation": {"start": "2026-01-01T00:00:00Z"},
                }
            },
            False,
            True,
        ),
        (
            "goff",
            {
                "f": {
                    "variations": {"a": 1},
                    "defaultRule": {"variation": "a"},
                    "experimentation": {"start": "2026-01-01T00:00:00Z"},
                    "trackEvents": False,
                }
            },
            False,
            False,
        ),
    ],
)
def test_who_may_see_a_flag_and_whether_its_use_is_recorded(
    system: DialectName, document: Any, client_side: bool, track: bool
) -> None:
    """As its own system has it, where that has a word for it."""
    [flag] = import_document(system, document, {}, ["production"]).flags
    assert (flag.client_side, flag.track) == (client_side, track)


ON_STAGING = {"contextName": "environment", "operator": "IN", "values": ["staging"]}
DIVIDED = {"rollout": {"variations": [{"variation": 0, "weight": 100_000}]}}
NOT_GIVEN: list[tuple[DialectName, Any, str, str]] = [
    (
        "unleash",
        {
            "features": [
                {"name": "a", "enabled": True, "strategies": []},
                {
                    "name": "b",
                    "enabled": True,
                    "strategies": [{"name": "default", "constraints": [ON_STAGING]}],
                },
            ],
            "segments": [{"id": 7, "constraints": [ON_STAGING]}],
        },
        "environment",
        '"b", "unleash-7"',
    ),
    (
        "launchdarkly",
        {
            "flags": {
                "a": {"on": True, "variations": [1], "fallthrough": {"variation": 0}},
                "b": {"on": True, "variations": [1], "salt": "s", "fallthrough": DIVIDED},
            }
        },
        "float",
        '"b"',
    ),
    (
        "flagd",
        {
            "$evaluators": {"half": {"fractional": [["on", 100]]}},
            "flags": {"a": FLAGD, "b": {**FLAGD, "targeting": {"$ref": "half"}}},
        },
        "fractional",
        '"b"',
    ),
]


@pytest.mark.parametrize(("system", "document", "option", "who"), NOT_GIVEN)
def test_an_option_that_decides_and_is_not_given_is_told(
    system: DialectName, document: Any, option: str, who: str
) -> None:
    """With what is taken for it, and for which flags and segments."""
    [problem] = import_document(system, document, {}, ["production"]).problems
    assert (problem.code, problem.pointer) == ("option_assumed", f"/options/{option}")
    assert problem.message.endswith(f"; it decides for {who}")
    options = {"environment": "production", "float": 32, "fractional": "v1"}
    given = {option: options[option]}
    assert import_document(system, document, given, ["production"]).problems == []
