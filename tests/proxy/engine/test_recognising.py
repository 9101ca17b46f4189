"""Whose file a document looks like."""

from typing import Any

import pytest

from proxy.contract.codes import ProblemCode
from proxy.engine import import_document
from proxy.engine.recognising import whose

FLAG = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
FEATURE = {"defaultValue": 1, "rules": []}
LD_FLAG = {"on": True, "variations": [1], "fallthrough": {"variation": 0}}
GOFF_FLAG = {"variations": {"a": 1}, "defaultRule": {"variation": "a"}}
TOGGLE = {"name": "t", "enabled": True, "strategies": []}
NATIVE = {"key": "f", "type": "boolean", "variants": {"on": True}, "environments": {}}
REST = {"key": "f", "variations": [{"value": 1}], "environments": {"production": LD_FLAG}}
FILES: dict[str, list[Any]] = {
    "flagd": [{"flags": {"f": FLAG}}, {"flags": [{**FLAG, "key": "f"}]}],
    "growthbook": [{"features": {"f": FEATURE}}],
    "launchdarkly": [
        {"flags": {"f": LD_FLAG}, "segments": {}},
        {"path": "/", "data": {"flags": {"f": LD_FLAG}}},
        {"items": [REST]},
        REST,
    ],
    "goff": [{"f": GOFF_FLAG}, {"flags": {"f": GOFF_FLAG}}],
    "unleash": [
        {"version": 2, "features": [TOGGLE]},
        {"events": [{"type": "feature-updated", "feature": TOGGLE}]},
    ],
    "native": [
        {"flags": [NATIVE], "segments": []},
        {"flags": [{"key": "f", "type": "string"} | {"value": "x"}]},
    ],
}
ALL = [(system, document) for system, documents in FILES.items() for document in documents]


@pytest.mark.parametrize(("system", "document"), ALL)
def test_files_are_recognised(system: str, document: Any) -> None:
    """Each form of each system."""
    assert whose(document) == system


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        1,
        "x",
        {"flags": {}},
        {"flags": []},
        {"a": 1},
        {"flags": {"f": 1}},
        {"features": [{"id": "rest"}]},
    ],
)
def test_what_looks_like_nobodys_is_not_guessed(document: Any) -> None:
    """Nor is what is broken."""
    assert whose(document) is None


@pytest.mark.parametrize("system", [name for name in FILES if name != "native"])
@pytest.mark.parametrize(("other", "document"), ALL)
def test_another_systems_file_is_refused_whole_and_its_own_is_not(
    system: Any, other: str, document: Any
) -> None:
    """With one sentence that says whose it is."""
    found = import_document(system, document, {}, ["production"])
    if system == other:
        assert found.flags
        return
    assert (found.flags, found.segments, found.refused) == ([], [], {})
    [problem] = found.problems
    assert (problem.code, problem.pointer) == (ProblemCode.OTHER_SYSTEM, "")
    assert ("our own" if other == "native" else other) in problem.message
    assert f"import {other}" in problem.hint
