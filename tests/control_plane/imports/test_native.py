"""Files of our own, brought back: the same plan, the same rules, and nothing is lost on the way."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from control_plane.imports.native import read_native
from proxy.cli import main
from tests.support.api import ADMIN_TOKEN, Api

IMPORT = "/api/v1/import"
ENVIRONMENTS = ("development", "staging", "production")
BOOLEAN = {"key": "mine", "type": "boolean", "value": True, "enabled": True}
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def control_plane(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands ask this one."""
    monkeypatch.setenv("MATRIXFLAG_URL", api.url)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", ADMIN_TOKEN)


async def bring(api: Api, document: Any, query: str = "") -> Any:
    """Import a file and return the plan."""
    reply = await api.ask("POST", IMPORT + query, json={"system": "native", "document": document})
    assert reply.status == 200, reply.body
    return reply.json


async def export(path: Path, *arguments: str) -> Json:
    """Export a project by the command."""
    command = ["export", "native", "--output", str(path), *arguments]
    assert await asyncio.to_thread(main, command) == 0
    document: Json = json.loads(await asyncio.to_thread(path.read_bytes))
    return document


async def digests(api: Api, project: str) -> list[str]:
    """Return what each environment serves, by its digest."""
    path = "/api/v1/environments/{}?project={}"
    replies = [await api.ask("GET", path.format(name, project)) for name in ENVIRONMENTS]
    return [reply.json["digest"] for reply in replies]


def a_config(random: Random, variants: list[str], segments: list[str], asked: list[Json]) -> Json:
    """Return what one environment serves of a flag."""

    def serve() -> Json:
        if random.random() < 0.5:
            return {"variant": random.choice(variants)}
        first = random.randrange(100_001)
        weights = [first, 100_000 - first]
        arms = [{"variant": v, "weight": w} for v, w in zip(variants, weights, strict=False)]
        return {"rollout": {"arms": arms, "by": random.choice(["targetingKey", "org"])}}

    when: list[Json] = [{"attribute": "plan", "op": "equals", "values": ["pro"]}]
    when += [{"segment": key} for key in segments]
    config: Json = {"enabled": random.random() < 0.7, "fallthrough": serve()}
    rules = range(random.randrange(3))
    config["rules"] = [{"when": random.choice(when), "serve": serve()} for _ in rules]
    if random.random() < 0.4:
        config["targets"] = [{"variant": variants[0], "units": ["u-1", "ü"]}]
    if random.random() < 0.6:
        config["off_variant"] = variants[-1]
    if asked and random.random() < 0.5:
        wanted = random.choice(asked)
        config["prerequisites"] = [
            {"flag": wanted["key"], "variants": [next(iter(wanted["variants"]))]}
        ]
    return config


def a_project(random: Random) -> tuple[list[Json], list[Json]]:
    """Return segments and flags, each of which asks others of those before it."""
    segments: list[Json] = []
    for number in range(random.randrange(1, 4)):
        when: Json = {"attribute": "country", "op": "in", "values": ["NL", "DE"]}
        if segments and random.random() < 0.5:
            when = {"any": [when, {"segment": segments[-1]["key"]}]}
        segments.append({"key": f"s-{number}", "when": when, "included": ["u-2"], "tags": ["t"]})
    keys = [segment["key"] for segment in segments]
    flags: list[Json] = []
    values: Json = {"boolean": [True, False], "string": ["a", "ü"], "number": [1, 2.5]}
    values["object"] = [{"a": [1]}, {}]
    for number in range(random.randrange(1, 7)):
        kind = random.choice(list(values))
        variants = dict(zip(("one", "two"), values[kind], strict=True))
        named = random.sample(ENVIRONMENTS, random.randrange(0, 4))
        configs = {name: a_config(random, list(variants), keys, flags) for name in named}
        flag = {"key": f"f/{number}", "type": kind, "variants": variants, "environments": configs}
        flag["description"] = random.choice(["", "what it is for"])
        flag["metadata"] = random.choice([{}, {"team": "a", "token": "t"}])
        flag["client_side"], flag["track"] = random.random() < 0.5, random.random() < 0.5
        if random.random() < 0.3:
            flag["expires"] = "2031-01-01"
        flags.append(flag)
    return segments, flags


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_exported_is_what_is_imported(api: Api, tmp_path: Path, seed: int) -> None:
    """Into another project: the same file comes out, and the same is served, to the byte."""
    random = Random(seed)
    segments, flags = a_project(random)
    for kind, documents in (("segments", segments), ("flags", flags)):
        for document in documents:
            reply = await api.ask("POST", f"/api/v1/{kind}", json=document)
            assert reply.status == 201, reply.body
    foreign = {
        "flags": {"theirs": {"state": "ENABLED", "variants": {"on": 1}, "defaultVariant": "on"}}
    }
    sent = {"system": "flagd", "document": foreign}
    assert (await api.ask("POST", IMPORT, json=sent)).status == 200
    asked = {
        w["flag"]
        for f in flags
        for c in f["environments"].values()
        for w in c.get("prerequisites", [])
    }
    if flags[-1]["key"] not in asked:
        key = flags[-1]["key"]
        reply = await api.ask("PATCH", f"/api/v1/flags/{key}", json={"archived": True})
        assert reply.status == 200, reply.body
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "other"})).status == 201
    file = await export(tmp_path / "first.json")
    random.shuffle(file["flags"])  # whatever asks what
    (tmp_path / "shuffled.json").write_text(json.dumps(file))
    command = ["import", "native", str(tmp_path / "shuffled.json"), "--project", "other"]
    assert await asyncio.to_thread(main, [*command, "--dry-run"]) == 0
    assert await asyncio.to_thread(main, command) == 0
    again = await export(tmp_path / "second.json", "--project", "other")
    assert again == json.loads((tmp_path / "first.json").read_text())
    assert await digests(api, "other") == await digests(api, "default")
    plan = await bring(api, file, "?project=other")
    assert (plan["created"], plan["changed"], plan["refused"]) == ([], [], [])
    assert plan["applied"] is False
    assert plan["only_here"] == plan["segments"]["only_here"] == []


async def test_what_is_here_and_differs_is_not_replaced_unasked(api: Api, tmp_path: Path) -> None:
    """And where it is meant, the plan says what that does to units and switches."""
    split = [{"variant": "on", "weight": 30_000}, {"variant": "off", "weight": 70_000}]
    config = {"enabled": True, "fallthrough": {"rollout": {"arms": split}}}
    flag = {"key": "split", "type": "boolean", "variants": {"on": True, "off": False}}
    body = {**flag, "environments": {"production": config}}
    assert (await api.ask("POST", "/api/v1/flags", json=body)).status == 201
    file = await export(tmp_path / "a.json")
    off = {"environments": {"production": {"enabled": False}}}
    assert (await api.ask("PATCH", "/api/v1/flags/split", json=off)).status == 200
    plan = await bring(api, file)
    [problem] = plan["refused"][0]["problems"]
    assert problem["code"] == "key_in_use"
    assert "environments/production/enabled" in problem["message"]
    file["flags"][0]["environments"]["production"]["salt"] = "another"
    plan = await bring(api, file, "?replace=true")
    told = {problem["code"]: problem["message"] for problem in plan["changed"][0]["problems"]}
    assert told["switched"] == "off -> on"
    assert "of 100000 units get another variant" in told["units_may_move"]
    read = (await api.ask("GET", "/api/v1/flags/split")).json
    assert read["environments"]["production"]["salt"] == "another"


async def test_one_environment_of_a_file(api: Api, tmp_path: Path) -> None:
    """The others stay as they are, in a new project and in this one."""
    assert (await api.ask("POST", "/api/v1/flags", json=BOOLEAN)).status == 201
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "other"})).status == 201
    file = await export(tmp_path / "a.json")
    assert (await bring(api, file, "?project=other&environment=staging"))["created"] == ["mine"]
    read = (await api.ask("GET", "/api/v1/flags/mine?project=other")).json
    assert list(read["environments"]) == ["staging"]
    off = {"enabled": False}
    path = "/api/v1/flags/mine?environment=production"
    assert (await api.ask("PATCH", path, json=off)).status == 200
    plan = await bring(api, file, "?environment=staging&replace=true")
    assert (plan["unchanged"], plan["changed"]) == (["mine"], [])
    assert (await api.ask("GET", path)).json["enabled"] is False


async def test_a_file_that_somebody_wrote(api: Api) -> None:
    """Simple flags, and whole ones without salts: as the API takes them, and kept as they are."""
    whole = {"key": "whole", "type": "string", "variants": {"a": "x"}}
    whole["environments"] = {"production": {"enabled": True, "fallthrough": {"variant": "a"}}}
    file = {"flags": [BOOLEAN, whole]}
    assert (await bring(api, file))["created"] == ["mine", "whole"]
    assert (await bring(api, file))["unchanged"] == ["mine", "whole"]
    read = (await api.ask("GET", "/api/v1/flags/mine?environment=staging")).json
    assert (read["value"], read["enabled"]) == (True, True)
    other = {"flags": [{**BOOLEAN, "value": False}, {**whole, "value": "y"}]}
    plan = await bring(api, other, "?replace=true")
    assert [item["key"] for item in plan["changed"]] == ["mine"]
    assert plan["refused"][0]["problems"][0]["code"] == "value_disagrees"
    read = (await api.ask("GET", "/api/v1/flags/mine?environment=staging")).json
    assert (read["value"], read["enabled"]) == (False, True)


async def test_each_mistake_costs_what_needs_it(api: Api) -> None:
    """A flag that cannot be read, those that ask it, and what asks a refused segment."""

    def asking(key: str, *flags: str, segment: str = "") -> Json:
        config: Json = {"enabled": True, "fallthrough": {"variant": "on"}}
        config["prerequisites"] = [{"flag": flag, "variants": ["on"]} for flag in flags]
        if segment:
            config["rules"] = [{"when": {"segment": segment}, "serve": {"variant": "on"}}]
        variants = {"on": True, "off": False}
        environments = {"production": config}
        return {"key": key, "type": "boolean", "variants": variants, "environments": environments}

    flags: list[Any] = [
        asking("last", "middle"),
        asking("middle", "bad"),
        {**asking("bad"), "typ": "x"},
        asking("good"),
        asking("circle", "round"),
        asking("round", "curve"),
        asking("curve", "circle"),
        asking("by-segment", segment="broken"),
        {**asking("nowhere"), "environments": {"moon": {"fallthrough": {"variant": "on"}}}},
        {**BOOLEAN, "key": "twice"},
        {**BOOLEAN, "key": "twice"},
    ]
    segments = [{"key": "broken", "when": {"attribute": "a", "op": "nope", "values": []}}]
    plan = await bring(api, {"flags": flags, "segments": segments})
    assert plan["created"] == ["good"]
    refused = {item["key"]: item["problems"][0]["code"] for item in plan["refused"]}
    assert refused == {
        "bad": "unknown_field",
        "by-segment": "unknown_segment",
        "circle": "prerequisite_cycle",
        "curve": "prerequisite_cycle",
        "last": "unknown_flag",
        "middle": "unknown_flag",
        "nowhere": "unknown_environment",
        "round": "prerequisite_cycle",
        "twice": "duplicate_key",
    }
    assert [item["key"] for item in plan["segments"]["refused"]] == ["broken"]


@pytest.mark.parametrize(
    ("document", "options", "code"),
    [
        (None, {}, "wrong_type"),
        ({"flags": {}}, {}, "wrong_type"),
        ({"flags": [], "extra": 1}, {}, "unknown_field"),
        ({"flags": [1]}, {}, "missing_field"),
        ({"flags": []}, {"fractional": "v1"}, "unknown_field"),
        ({"features": {"a": {"defaultValue": 1}}}, {}, "other_system"),
    ],
)
async def test_a_file_that_is_none_of_ours_is_refused_whole(
    api: Api, document: Any, options: Json, code: str
) -> None:
    """With what it is, where that can be said."""
    body = {"system": "native", "document": document, "options": options}
    reply = await api.ask("POST", IMPORT, json=body)
    assert reply.status == 422
    assert [problem["code"] for problem in reply.json["problems"]] == [code]


async def test_a_segment_keeps_its_long_lists(api: Api, tmp_path: Path) -> None:
    """They are not in the file, which says so, and nothing is changed by it."""
    units = [f"u-{number}" for number in range(2_000)]
    body = {"key": "many", "included": units}
    assert (await api.ask("POST", "/api/v1/segments", json=body)).status == 201
    path = tmp_path / "a.json"
    command = ["export", "native", "--output", str(path)]
    assert await asyncio.to_thread(main, command) == 1
    file = json.loads(path.read_text())
    assert (await bring(api, file))["segments"]["unchanged"] == ["many"]
    file["segments"][0]["description"] = "those"
    plan = await bring(api, file, "?replace=true")
    assert [item["key"] for item in plan["segments"]["changed"]] == ["many"]
    read = (await api.ask("GET", "/api/v1/segments/many")).json
    assert read["units"]["included"] == 2_000


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ("some text", "this is a string"),
        ([], "this is an array"),
        ({}, "it has none"),
        ({"flags": "x"}, "its flags are a string"),
    ],
)
def test_what_is_no_file_of_definitions_is_told_as_what_it_is(document: Any, what: str) -> None:
    """People give a wrong file by its name."""
    (problem,) = read_native(document).of_file
    assert problem.message == f"a file of definitions is an object with a list of flags; {what}"
