"""Definitions of other systems, with options that are wrong: where it is said."""

from typing import Any

import pytest

from proxy.contract.definitions import FlagDefinition, SegmentDefinition, Serve, Source
from proxy.engine.dialects import Translation
from proxy.engine.translate import segment_program, translate

FLAGD = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
LAUNCHDARKLY = {"on": True, "variations": [True], "fallthrough": {"variation": 0}}
UNLEASH = {"name": "f", "enabled": True, "strategies": []}
GOFF = {"variations": {"on": True}, "defaultRule": {"variation": "on"}}


def translated(dialect: Any, definition: dict[str, Any], options: dict[str, Any]) -> Translation:
    """Return a flag's translation."""
    source = Source(dialect, definition, options)
    return translate("f", FlagDefinition("boolean", {"on": True}, Serve("on"), "s", source=source))


def said(translation: Translation) -> list[tuple[str, str]]:
    return [(problem.pointer, str(problem.code)) for problem in translation.problems]


@pytest.mark.parametrize(
    ("dialect", "definition", "options", "place", "code"),
    [
        ("flagd", FLAGD, {"fractional": "v4"}, "fractional", "not_one_of"),
        ("flagd", FLAGD, {"fractional": ["v2"]}, "fractional", "not_one_of"),
        ("flagd", FLAGD, {"Fractional": "v2"}, "Fractional", "unknown_field"),
        ("unleash", UNLEASH, {"appName": 7}, "appName", "wrong_type"),
        ("unleash", UNLEASH, {"answer": "enabled"}, "answer", "not_one_of"),
        ("unleash", UNLEASH, {"companions": True}, "companions", "unknown_field"),
        ("growthbook", {"defaultValue": True}, {"savedGroups": []}, "savedGroups", "wrong_type"),
        ("launchdarkly", LAUNCHDARKLY, {"float": 16}, "float", "not_one_of"),
        ("launchdarkly", LAUNCHDARKLY, {"environment": "x"}, "environment", "unknown_field"),
        (
            "goff",
            GOFF,
            {"evaluationContextEnrichment": 1},
            "evaluationContextEnrichment",
            "wrong_type",
        ),
    ],
)
def test_an_option_that_cannot_be_used(
    dialect: str, definition: Any, options: dict[str, Any], place: str, code: str
) -> None:
    """Is an error in its own place, and the flag is not served."""
    assert translated(dialect, definition, {}).program is not None
    translation = translated(dialect, definition, options)
    assert translation.program is None
    assert said(translation) == [(f"/source/options/{place}", code)]


def test_what_is_wrong_besides_is_said_too() -> None:
    """The definition is read with the options that can be used."""
    translation = translated("flagd", {**FLAGD, "defaultVariant": "x"}, {"fractional": "v9"})
    assert said(translation) == [
        ("/source/options/fractional", "not_one_of"),
        ("/source/definition/defaultVariant", "unknown_variant"),
    ]


def test_segments_have_options_too() -> None:
    """Where a system has segments."""
    source = Source("launchdarkly", {"key": "s", "included": ["u"]}, {"float": "double"})
    expression, problems = segment_program(SegmentDefinition(source=source))
    assert expression is None
    assert [problem.pointer for problem in problems] == ["/source/options/float"]


@pytest.mark.parametrize(
    ("rule", "options", "place", "code"),
    [
        (
            {"condition": {"$savedGroup": {"id": "a/b"}}, "force": False},
            {
                "savedGroups": {
                    "a/b": {"type": "condition", "condition": {"plan": {"$regex": "(?=x)"}}}
                }
            },
            "savedGroups/a~1b/condition/plan/$regex",
            "invalid_pattern",
        ),
        (
            {"condition": {"$not": {"$savedGroup": {"id": "outer"}}}, "force": False},
            {
                "savedGroups": {
                    "outer": {"type": "condition", "condition": {"$savedGroup": {"id": "inner"}}},
                    "inner": {"type": "condition", "condition": {"$and": 7}},
                }
            },
            "savedGroups/inner/condition/$and",
            "wrong_type",
        ),
        (
            {"variations": [False, True], "contextualBanditRef": "b"},
            {"contextualBandits": {"b": {"contexts": [{"condition": {"$or": 7}}]}}},
            "contextualBandits/b/contexts/0/condition/$or",
            "wrong_type",
        ),
    ],
)
def test_what_is_within_an_option_has_its_place_there(
    rule: dict[str, Any], options: dict[str, Any], place: str, code: str
) -> None:
    """And not in the definition, which only names it."""
    translation = translated("growthbook", {"defaultValue": True, "rules": [rule]}, options)
    assert translation.program is None
    assert said(translation) == [(f"/source/options/{place}", code)]
