"""The flags mean the same in every form: served by a sidecar, they are judged as any server's are.

Other systems' forms are read by the translators that their own suites hold to what they do; that of
Flagsmith, which none reads, is compared with the model.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtests.addresses import read_address
from loadtests.apis import APIS
from loadtests.asking import Server, ask, prepare
from loadtests.formats import FORMATS
from loadtests.load import post
from loadtests.scenarios import SCENARIOS
from proxy.engine import import_document
from tests.support.processes import running_sidecar

_CONTEXTS = 100


def _definitions(form: str, document: dict[str, Any]) -> bytes:
    if form == "native":
        return json.dumps(document).encode()
    options = {"fractional": "v2"} if form == "flagd" else {}
    found = import_document(form, document, options, ["production"])
    assert found.problems == []
    return msgspec.json.encode({"flags": found.flags, "segments": found.segments})


@pytest.mark.parametrize("form", ["native", "flagd", "goff"])
@pytest.mark.parametrize("name", ["single", "bulk350", "heavy50"])
def test_a_sidecar_answers_as_the_model_says(name: str, form: str, tmp_path: Path) -> None:
    """`prepare` raises for a wrong answer; both halves of a split occur."""
    scenario = SCENARIOS[name]
    flags, contexts = scenario.flags(), scenario.contexts(_CONTEXTS)
    file = tmp_path / "flags.json"
    file.write_bytes(_definitions(form, FORMATS[form](flags)))
    with running_sidecar(tmp_path, "--snapshot", file) as sidecar:
        address = read_address(sidecar.ofrep)
        prepare(Server("sidecar", address), scenario, flags, contexts, tmp_path)
        path = APIS["ofrep"].path(flags.flags[0].key if scenario.single else None)
        bodies = [json.dumps({"context": context}).encode() for context in contexts]
        answers = ask(address, [post(address, path, [], body) for body in bodies])
    found = [json.loads(answer.body) for answer in answers]
    items = [item for one in found for item in one.get("flags", [one])]
    assert {item["variant"] for item in items} >= {"a", "b", "none"}
    if name == "bulk350":
        sizes = [len(answer.body) for answer in answers]
        assert form != "native" or 90_000 < min(sizes) < max(sizes) < 110_000


@pytest.mark.parametrize("name", ["bulk350", "heavy50"])
def test_unleash_says_the_same_of_on_and_variants(name: str, tmp_path: Path) -> None:
    """Here a feature is imported as two flags; together they are what Edge answers."""
    scenario = SCENARIOS[name]
    flags, contexts = scenario.flags(), scenario.contexts(_CONTEXTS)
    file = tmp_path / "flags.json"
    file.write_bytes(_definitions("unleash", FORMATS["unleash"](flags)))
    with running_sidecar(tmp_path, "--snapshot", file) as sidecar:
        address = read_address(sidecar.ofrep)
        bodies = [json.dumps({"context": context}).encode() for context in contexts]
        path = APIS["ofrep"].path(None)
        answers = ask(address, [post(address, path, [], body) for body in bodies])
    for answer, context in zip(answers, contexts, strict=True):
        items = {item["key"]: item for item in json.loads(answer.body)["flags"]}
        toggles = [
            {"name": key, "enabled": True, "variant": {"name": item["metadata"]["variant"]}}
            if "variant" in item.get("metadata", {})
            else {"name": key, "enabled": True, "variant": {"name": "disabled"}}
            for key, item in items.items()
            if item.get("value") is True
        ]
        edge = json.dumps({"toggles": toggles}).encode()
        assert not APIS["unleash"].wrong(edge, flags, context, bulk=True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_flagsmith_has_a_segment_for_each_rule(name: str) -> None:
    """The segments that override a feature are its rules, the first with the highest priority."""
    flags = SCENARIOS[name].flags()
    document = FORMATS["flagsmith"](flags)
    overrides: dict[str, list[tuple[int, bool, int]]] = {}
    for segment in document["project"]["segments"]:
        (rule,) = segment["rules"]
        conditions = [test for part in rule["rules"] for test in part["conditions"]]
        for state in segment["feature_states"]:
            split = bool(state["multivariate_feature_state_values"])
            place = (state["feature_segment"]["priority"], split, len(conditions))
            overrides.setdefault(state["feature"]["name"], []).append(place)
    for flag in flags.flags:
        rules = [
            (number, rule.split, len(flags.conditions(rule)))
            for number, rule in enumerate(flag.rules)
        ]
        assert sorted(overrides.get(flag.key, [])) == rules
    assert [state["feature"]["name"] for state in document["feature_states"]] == [
        flag.key for flag in flags.flags
    ]
    ids = sorted(s["django_id"] for s in document["feature_states"])
    assert all(one < other for one, other in pairwise(ids))
