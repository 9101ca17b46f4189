"""Whole files of GrowthBook: what is read, what is left out, and files from hostile hands."""

import json
from random import Random
from typing import Any

import pytest

from proxy.contract.codes import Severity
from proxy.contract.steps import finish
from proxy.engine import compile_snapshot, evaluate, explain
from proxy.engine.dialects.growthbook import DIALECT
from proxy.engine.dialects.model import Imported
from tests.conformance.harness import compile_translations
from tests.proxy.engine.builders import document, entries
from tests.proxy.engine.dialects.growthbook.flags import Json
from tests.proxy.engine.dialects.mutations import mutated

FILE: Json = {
    "status": 200,
    "features": {
        "banner": {
            "defaultValue": "none",
            "metadata": {"tags": ["shop", "shop", 5, ""]},
            "rules": [
                {
                    "parentConditions": [
                        {"id": "limit", "condition": {"value": {"$gt": 1}}, "gate": True}
                    ],
                    "condition": {"id": {"$inGroup": "grp_1"}, "$savedGroup": {"id": "grp_2"}},
                    "force": "big",
                },
                {
                    "key": "exp",
                    "variations": ["a", "b"],
                    "meta": [{"key": "0", "name": "A"}, {"key": "1", "passthrough": True}],
                    "ranges": [[0, 0.5], [0.5, 1]],
                    "hashVersion": 2,
                    "hashAttribute": "id",
                    "fallbackAttribute": "device",
                    "minBucketVersion": 1,
                    "filters": [{"seed": "n", "ranges": [[0, 0.9]], "attribute": "id"}],
                    "contextualBanditRef": "cb",
                    "weights": [0.5, 0.5],
                },
                {
                    "condition": {
                        "$or": [
                            {"v": {"$vgte": "1.2.3"}},
                            {"$not": {"tags": {"$elemMatch": {"$eq": "x"}}}},
                        ],
                        "mail": {"$regex": "@example\\.com$"},
                        "n": {"$in": [1, 2, "3"], "$lt": 5},
                        "o": {"a": [1]},
                    },
                    "force": "c",
                    "coverage": 0.5,
                },
            ],
        },
        "limit": {"defaultValue": 2, "rules": [{"force": 2.5, "range": [0, 0.2], "seed": "s"}]},
        "on": {"defaultValue": True},
        "json": {
            "defaultValue": {"a": [1]},
            "rules": [{"variations": [{}, {"b": 2}], "namespace": ["n", 0, 0.5]}],
        },
    },
    "savedGroups": {
        "grp_1": ["u-1"],
        "grp_2": {"type": "condition", "condition": {"$savedGroup": {"id": "grp_3"}}},
        "grp_3": {"type": "list", "attributeKey": "id", "values": ["u-1"]},
        "unused": ["u-9"],
    },
    "contextualBandits": {
        "cb": {
            "banditVersion": 1,
            "contexts": [
                {"leafId": 1, "condition": {"id": {"$inGroup": "grp_1"}}, "weights": [1, 0]}
            ],
        }
    },
}


def said(found: Imported, severity: Severity = Severity.ERROR) -> list[tuple[str, str]]:
    return [(x.pointer, str(x.code)) for x in found.problems if x.severity is severity]


def test_a_file_is_read() -> None:
    """Types, variants, tags; each flag with the groups and bandits that it names, and no others."""
    found = DIALECT.read(FILE, {})
    assert said(found) == []
    assert {flag.key: flag.type for flag in found.flags} == {
        "banner": "string",
        "limit": "number",
        "on": "boolean",
        "json": "object",
    }
    banner = found.flags[0]
    assert banner.fallthrough == "default"
    assert banner.variants == {
        "default": "none",
        "rule-1": "big",
        "exp/0": "a",
        "rule-3": "c",
    }
    assert banner.tags == ("shop",)
    assert banner.definition == FILE["features"]["banner"]
    assert set(banner.options["savedGroups"]) == {"grp_1", "grp_2", "grp_3"}
    assert set(banner.options["contextualBandits"]) == {"cb"}
    assert found.flags[1].options == {}


def test_warnings_have_pointers_into_the_file() -> None:
    """As errors do."""
    found = DIALECT.read(FILE, {})
    assert said(found, Severity.WARNING) == [
        ("/features/banner/rules/1/fallbackAttribute", "unsupported"),
        ("/features", "unsupported"),
    ]
    assert "none of an experiment here: " in found.problems[-1].message  # and of which flags


@pytest.mark.parametrize("member", ["experiments", "encryptedExperiments"])
def test_what_is_of_pages_is_left_out_and_said(member: str) -> None:
    """The rest is read."""
    found = DIALECT.read(FILE | {member: [{"key": "x"}]}, {})
    assert len(found.flags) == 4
    assert said(found, Severity.WARNING)[0] == ("/experiments", "unsupported")


@pytest.mark.parametrize("member", ["encryptedFeatures", "encryptedSavedGroups"])
def test_what_is_encrypted_is_an_error_of_the_file(member: str) -> None:
    """What it says who gets what cannot be read."""
    found = DIALECT.read({"features": {}, member: "abc.def"}, {})
    assert said(found, Severity.ERROR) == [(f"/{member}", "unsupported")]
    assert "abc" not in repr(found)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [(5, ""), ([], ""), ({}, "/features"), ({"features": []}, "/features"), (None, "")],
)
def test_what_is_no_file_is_said(document: Any, pointer: str) -> None:
    """With nothing read."""
    found = DIALECT.read(document, {})
    assert found.flags == ()
    assert [at for at, _ in said(found)] == [pointer]


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        (5, "wrong_type"),
        ({"defaultValue": 1, "rules": 5}, "wrong_type"),
        ({"defaultValue": None}, "no_variants"),
        ({"defaultValue": [1]}, "array_value"),
        ({"defaultValue": 1, "rules": [{"force": "a"}]}, "value_type"),
    ],
)
def test_a_bad_feature_costs_no_other(feature: Any, code: str) -> None:
    """It is refused with a reason."""
    found = DIALECT.read({"features": {"bad": feature, "good": {"defaultValue": 1}}}, {})
    assert [flag.key for flag in found.flags] == ["good"]
    [(pointer, said_code)] = said(found)
    assert (pointer.startswith("/features/bad"), said_code) == (True, code)


def test_options_add_to_the_groups_of_a_file() -> None:
    """For those who keep them elsewhere; the options win."""
    feature = {"defaultValue": 0, "rules": [{"condition": {"id": {"$inGroup": "g"}}, "force": 1}]}
    document = {"features": {"flag": feature}, "savedGroups": {"g": ["no"]}}
    found = DIALECT.read(document, {"savedGroups": {"g": ["u-1"]}})
    assert found.flags[0].options == {"savedGroups": {"g": ["u-1"]}}


def test_a_flag_alone_answers_as_the_file_does() -> None:
    """What was read is all that a translation needs."""
    found = DIALECT.read(FILE, {})
    flags = compile_translations(
        {f.key: DIALECT.translate(f.key, f.definition, f.options, f.enabled) for f in found.flags}
    )
    assert flags.evaluate("banner", {"id": "u-1"}).value == "big"
    assert flags.evaluate("on", {}).value is True
    assert flags.evaluate("banner", {"id": "u-2"}).error_code is None


CONTEXTS: list[Json] = [
    {},
    {"id": "u-1", "mail": "a@example.com", "n": 1, "v": "1.2.4", "o": {"a": [1]}, "tags": ["x"]},
    {"targetingKey": "u-2", "$growthbook": {"stickyBucketAssignmentDocs": {}, "url": "?exp=1"}},
    {"device": "d", "$growthbook": {"forcedVariations": {"exp": 0}, "qaMode": True}},
]


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_a_sidecar_serves_and_explains_it(context: Json) -> None:
    """By the same compiler as any flag, whose explanation comes to the same answer."""
    made = [
        (
            "flag",
            flag.key,
            document(
                type=flag.type,
                variants=flag.variants,
                fallthrough={"variant": flag.fallthrough},
                source={
                    "dialect": DIALECT.name,
                    "definition": flag.definition,
                    "options": flag.options,
                },
            ),
        )
        for flag in DIALECT.read(FILE, {}).flags
    ]
    lines = entries(*made)
    snapshot = finish(compile_snapshot(lines, None, {}))
    for _, key, _ in made:
        answer = evaluate(snapshot, key, context, 0)
        assert answer.error_code is None
        assert bytes(explain(snapshot, lines, key, context, 0).result) == answer.body


@pytest.mark.parametrize("seed", range(5))
def test_mutated_files_raise_nothing(seed: int) -> None:
    """Reading, translating, naming, compiling and evaluating; what is said stays short."""
    draw = Random(seed)
    for _ in range(400):
        document = mutated(FILE, draw)
        found = DIALECT.read(document, {})
        assert sum(len(problem.message) for problem in found.problems) < 200_000
        translations = {}
        for flag in found.flags:
            named = DIALECT.names(flag.definition)
            made = DIALECT.translate(flag.key, flag.definition, flag.options, draw.random() < 0.9)
            assert made.named == named
            translations[flag.key] = made
        flags = compile_translations(translations)
        for key in flags.flags:
            for context in CONTEXTS:
                answer = flags.evaluate(key, mutated(context, draw) if context else context)
                json.loads(answer.body)
        features = document.get("features") if isinstance(document, dict) else None
        for key, definition in features.items() if isinstance(features, dict) else ():
            if isinstance(definition, dict):  # also as a compiler is given it, with odd options
                DIALECT.names(definition)
                DIALECT.translate(
                    key, definition, {"savedGroups": 5, "contextualBandits": []}, True
                )
