"""Unleash's client specification: each of its cases, answered by what its state is imported as.

A file has a state, as the client API or its delta gives it, and cases of two questions:

- `isEnabled` is the value of the flag of the toggle's name.
- `getVariant` is asked twice: of the metadata of that flag, which says all of it, and of the
  companion, whose variant and value are the variant and its payload.

A toggle that is not there is not enabled: a client's own default is false.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from proxy.engine.dialects.model import Imported
from proxy.engine.dialects.unleash import DIALECT
from tests.conformance.harness import CompiledFlags, compile_translations, suite

FOLDER = suite("unleash-client-specification") / "specifications"
FILES = json.loads((FOLDER / "index.json").read_text())
NOW_MS = 1_750_000_000_000

Case = tuple[str, str, dict[str, Any]]
"""The file, which question, and the case."""


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return document


def cases(kind: str) -> list[Any]:
    found = []
    for name in FILES:
        for number, case in enumerate(load(name).get(kind, []), 1):
            test_id = f"{Path(name).stem}-{number}: {case['description']}"
            found.append(pytest.param(name, case, id=test_id))
    return found


@cache
def imported(name: str) -> Imported:
    assert DIALECT.segment is not None
    return DIALECT.read(load(name)["state"], {})


@cache
def compiled(name: str) -> CompiledFlags:
    """Return the flags of a file's state."""
    assert DIALECT.segment is not None
    found = imported(name)
    translations = {
        flag.key: DIALECT.translate(flag.key, flag.definition, flag.options, flag.enabled)
        for flag in found.flags
    }
    segments = {}
    for segment in found.segments:
        when, _ = DIALECT.segment(segment.definition, segment.options)
        assert when is not None
        segments[segment.key] = when
    return compile_translations(translations, segments)


IS_ENABLED = cases("tests")
GET_VARIANT = cases("variantTests")


def test_no_case_vanishes() -> None:
    """The counts of version 6.1.0."""
    assert (len(FILES), len(IS_ENABLED), len(GET_VARIANT)) == (22, 227, 52)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_without_an_error(name: str) -> None:
    """Every toggle and segment of it is taken; what never matches is warned of."""
    found = imported(name)
    assert [str(problem.severity) for problem in found.problems] == ["warning"] * len(
        found.problems
    )
    events = load(name)["state"].get("events", [load(name)["state"]])
    if "events" not in load(name)["state"]:
        features = {feature["name"] for feature in events[0]["features"]}
        assert {flag.key for flag in found.flags if flag.type == "boolean"} == features


@pytest.mark.parametrize(("name", "case"), IS_ENABLED)
def test_is_enabled(name: str, case: dict[str, Any]) -> None:
    """The flag's value; false where there is no such flag."""
    answer = compiled(name).evaluate(case["toggleName"], case["context"], NOW_MS)
    value = False if answer.error_code == "FLAG_NOT_FOUND" else answer.value
    assert value is case["expectedResult"]


@pytest.mark.parametrize(("name", "case"), GET_VARIANT)
def test_get_variant(name: str, case: dict[str, Any]) -> None:
    """By the metadata of the flag."""
    answer = compiled(name).evaluate(case["toggleName"], case["context"], NOW_MS)
    found = answer.error_code is None
    said = json.loads(answer.body).get("metadata", {})
    variant: dict[str, Any] = {
        "name": said.get("variant", "disabled"),
        "enabled": "variant" in said,
        "feature_enabled": found and answer.value,
    }
    if "payload" in said:
        variant["payload"] = {"type": said["payloadType"], "value": said["payload"]}
    assert variant == case["expectedResult"]


@pytest.mark.parametrize(("name", "case"), GET_VARIANT)
def test_get_variant_by_the_companion(name: str, case: dict[str, Any]) -> None:
    """Its value is what the payload stands for; no value where there is none."""
    wanted = case["expectedResult"]
    answer = compiled(name).evaluate(case["toggleName"] + ".variant", case["context"], NOW_MS)
    if answer.error_code == "FLAG_NOT_FOUND":  # of a toggle without variants
        assert not wanted["enabled"]
        return
    said = answer.metadata
    assert said.get("variant", "disabled") == wanted["name"]
    assert said["featureEnabled"] is wanted["feature_enabled"]
    payload = wanted.get("payload")
    if payload is None:
        assert answer.value is UNSET
        return
    assert said["payloadType"] == payload["type"]
    is_number = payload["type"] == "number"
    assert answer.value == (json.loads(payload["value"]) if is_number else payload["value"])
    assert isinstance(answer.value, str) is not is_number
