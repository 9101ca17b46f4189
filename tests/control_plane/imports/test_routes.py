"""Imports over real HTTP: plans, what is applied and refused, and imported flags afterwards."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from control_plane.imports import service
from control_plane.keys import REPLICA
from control_plane.publishing.slices import run_in_slices
from proxy.contract.problems import pointer
from proxy.contract.snapshot import read_snapshot
from proxy.contract.steps import Steps, finish
from proxy.engine import compile_snapshot
from tests.support.api import Api, Reply

IMPORT = "/api/v1/import"
FLAGS = "/api/v1/flags"
TARGETED = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"==": [{"var": "country"}, "DE"]}, "on", "off"]},
}
PLAIN = {"state": "ENABLED", "variants": {"a": "x", "b": "y"}, "defaultVariant": "a"}
FILE = {"flags": {"targeted": TARGETED, "plain": PLAIN}}
TOGGLE = {
    "name": "beta",
    "enabled": True,
    "strategies": [{"name": "default", "segments": [1], "constraints": []}],
}
SEGMENT = {
    "id": 1,
    "constraints": [{"contextName": "country", "operator": "IN", "values": ["DE"]}],
}
LD = {"on": True, "variations": [1, 2], "fallthrough": {"variation": 0}, "salt": "s"}
UNLEASH = {"version": 2, "features": [TOGGLE], "segments": [SEGMENT]}


async def bring(api: Api, document: Any, query: str = "", system: str = "flagd") -> Reply:
    """Import a file."""
    body = {"system": system, "document": document}
    return await api.ask("POST", IMPORT + query, json=body)


async def good(api: Api, document: Any, query: str = "", system: str = "flagd") -> Any:
    """Import a file that is taken, and return the plan."""
    reply = await bring(api, document, query, system)
    assert reply.status == 200, reply.body
    return reply.json


async def served(api: Api, key: str, environment: str = "production", **context: Any) -> Any:
    """Return what a flag answers."""
    path = f"/api/v1/evaluate/{key}?environment={environment}"
    reply = await api.ask("POST", path, json={"context": context, "explain": False})
    assert reply.status == 200, reply.body
    return reply.json["result"]


def revisions(api: Api) -> dict[str, int]:
    """Return the revision of each environment."""
    state = api.app[REPLICA].project("default")
    return {name: snapshot.revision for name, snapshot in state.snapshots.items()}


async def raw(api: Api, document: str, system: str, query: str = "") -> Reply:
    """Import a document as it is written."""
    body = f'{{"system": "{system}", "document": {document}}}'
    headers = {"Content-Type": "application/json"}
    return await api.ask("POST", IMPORT + query, data=body, headers=headers)


GOFF_FLAG = '{"variations": {"a": true}, "defaultRule": {"variation": "a"}}'
LD_FLAG = '{"on": true, "variations": [1], "fallthrough": {"variation": 0}, "salt": "s"}'
TOGGLE_TEXT = '{"name": "%s", "enabled": true, "strategies": []}'
FEATURE = '{"defaultValue": true}'
ASKS = '{"defaultValue": 1, "rules": [{"force": 2, "condition": {"id": {"$inGroup": "%s"}}}]}'
NATIVE_FLAG = '{"key": "%s", "type": "boolean", "value": true, "enabled": true}'


@pytest.mark.parametrize(
    ("system", "document", "refused"),
    [
        ("goff", f'{{"good": {GOFF_FLAG}, "a": {{"x": 1, "x": 2}}}}', {"a": "/a/x"}),
        (
            "goff",
            f'{{"good": {GOFF_FLAG}, "a": {GOFF_FLAG}, "a": {GOFF_FLAG}}}',
            {"a": "/a"},
        ),
        (
            "launchdarkly",
            f'{{"flags": {{"good": {LD_FLAG}, "b": {LD_FLAG[:-1]}, "on": false}}}}}}',
            {"b": "/flags/b/on"},
        ),
        (
            "launchdarkly",
            f'{{"data": {{"flags": {{"good": {LD_FLAG}, "b": {{"variations": [1e999]}}}}}}}}',
            {"b": "/data/flags/b/variations/0"},
        ),
        (
            "unleash",
            f'{{"version": 2, "features": [{TOGGLE_TEXT % "good"}, {(TOGGLE_TEXT % "t")[:-1]}'
            ', "x": [NaN]}]}',
            {"t": "/features/1/x/0"},
        ),
        (
            "growthbook",
            f'{{"features": {{"good": {FEATURE}, "g": {ASKS % "a"}, "h": {ASKS % "a"}}}, '
            '"savedGroups": {"a": [1, NaN], "b": []}}',
            {"g": "/savedGroups/a/1", "h": "/savedGroups/a/1"},
        ),
        (
            "native",
            f'{{"flags": [{NATIVE_FLAG % "good"}, {(NATIVE_FLAG % "n")[:-1]}, "key": "n"}}]}}',
            {"n": "/flags/1/key"},
        ),
    ],
)
async def test_a_mistake_in_the_text_of_a_flag_costs_that_flag(
    api: Api, system: str, document: str, refused: dict[str, str]
) -> None:
    """The body has the file as it is: what a decoder would hide is seen, and the rest imported."""
    reply = await raw(api, document, system)
    assert reply.status == 200, reply.body
    told = {item["key"]: [p["pointer"] for p in item["problems"]] for item in reply.json["refused"]}
    assert told == {key: [where] for key, where in refused.items()}
    keys = [key for key in reply.json["created"] if not key.endswith(".variant")]
    assert keys == ["good"]


NATIVE = {"type": "boolean", "variants": {"a": True, "b": False}, "value": True}
DOCUMENTS: dict[str, tuple[Any, tuple[str | int, ...]]] = {
    "flagd": ({"flags": {"a": TARGETED, "b": PLAIN}}, ("flags", "a")),
    "launchdarkly": ({"flags": {"a": LD, "b": LD}}, ("flags", "a")),
    "unleash": (
        {"version": 2, "features": [{**TOGGLE, "name": "a"}, {**TOGGLE, "name": "b"}]},
        ("features", 0),
    ),
    "growthbook": (
        {"features": {"a": {"defaultValue": 1, "rules": [{"force": 2}]}, "b": {"defaultValue": 1}}},
        ("features", "a"),
    ),
    "goff": ({"a": json.loads(GOFF_FLAG), "b": json.loads(GOFF_FLAG)}, ("a",)),
    "native": ({"flags": [{"key": "a", **NATIVE}, {"key": "b", **NATIVE}]}, ("flags", 0)),
}
MISTAKES = ("NaN", "1e999", '"\\udc00"', '{"x": 1, "x": 2}', "[" * 70 + "]" * 70, "9" * 5000)
NAMES = frozenset(("key", "name"))


def places(node: Any) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to every value within a document, but for names of flags."""
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    for step, value in inner:
        if step not in NAMES:
            yield (step,)
        if isinstance(value, dict | list):
            yield from ((step, *rest) for rest in places(value))


def with_mistake(document: Any, way: tuple[str | int, ...], mistake: str) -> str:
    """Return the text of a document with something else at one place."""
    made = json.loads(json.dumps(document))  # of which no two parts are one
    node = made
    for step in way[:-1]:
        node = node[step]
    node[way[-1]] = "@@"
    return json.dumps(made).replace('"@@"', mistake)


@pytest.mark.parametrize("system", DOCUMENTS)
async def test_wherever_in_a_flag_a_mistake_stands_only_that_flag_is_refused(
    api: Api, system: str
) -> None:
    """With that mistake, and nothing that follows from it; the flag beside it is imported."""
    document, way = DOCUMENTS[system]
    flag = document
    for step in way:
        flag = flag[step]
    looked_at = 0
    for number, inner in enumerate(places(flag)):
        mistake = MISTAKES[number % len(MISTAKES)]
        text = with_mistake(document, (*way, *inner), mistake)
        reply = await raw(api, text, system, "?dry_run=true")
        assert reply.status == 200, reply.body
        (refused,) = reply.json["refused"]
        assert refused["key"] == "a"
        (problem,) = refused["problems"]
        assert f"{problem['pointer']}/".startswith(pointer(*way, *inner) + "/")
        assert "b" in reply.json["created"]
        looked_at += 1
    assert looked_at > 2


async def test_a_segment_with_a_mistake_takes_along_only_who_asks_it(api: Api) -> None:
    """As any refused segment does."""
    text = """{"version": 2, "features": [
        {"name": "asks", "enabled": true, "strategies": [{"name": "default", "segments": [1]}]},
        {"name": "other", "enabled": true, "strategies": [{"name": "default", "segments": [2]}]}],
      "segments": [{"id": 1, "constraints": [], "constraints": []}, {"id": 2, "constraints": []}]}
    """
    reply = await raw(api, text, "unleash", "?dry_run=true")
    assert reply.status == 200, reply.body
    assert reply.json["created"] == ["other"]
    assert [item["key"] for item in reply.json["refused"]] == ["asks"]
    (segment,) = reply.json["segments"]["refused"]
    assert segment["key"] == "unleash-1"
    assert segment["problems"][0]["pointer"] == "/segments/0/constraints"


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ('{"system": "flagd", "document": {"flags": {}, "flags": {}}}', 422, "/document/flags"),
        ('{"system": "flagd", "document": {}, "document": {}}', 422, "/document"),
        ('{"system": "flagd", "system": "goff", "document": {"a": 1, "a": 2}}', 422, "/system"),
        ('{"system": "flagd", "options": {"a": 1, "a": 2}, "document": {}}', 422, "/options/a"),
        ('{"system": "flagd", "document": {"metadata": {"a": NaN}, "flags": {}}}', 422, None),
        ('{"system": "flags", "document": {"flags": {"a": {"a": 1, "a": 2}}}}', 422, "/system"),
        ('{"system": "flagd", "document": {"flags": {"a": {"a": 1, "a": 2}}}', 400, ""),
        ('{"system": "flagd", "document": {"flags": {"a": {"a": NaN}}}', 400, ""),
        ('{"system": "flagd", "document": {"flags": {"a": undefined}}}', 400, ""),
    ],
)
async def test_a_mistake_that_is_of_no_flag_refuses_the_file(
    api: Api, body: str, status: int, where: str | None
) -> None:
    """The collection twice, what all flags share, the request itself, no JSON at all."""
    headers = {"Content-Type": "application/json"}
    reply = await api.ask("POST", IMPORT, data=body, headers=headers)
    assert reply.status == status, reply.body
    if where is not None:
        assert where in [problem["pointer"] for problem in reply.json["problems"]]


async def test_mistakes_may_be_told_beside_the_document(api: Api) -> None:
    """By who read a text that is no JSON, or wrote it again; only those of a flag cost a flag."""
    flaw = {"pointer": "/flags/plain/x", "code": "duplicate_key", "message": "twice, at line 3"}
    body = {"system": "flagd", "document": FILE, "flaws": [flaw]}
    reply = await api.ask("POST", IMPORT, json=body)
    assert reply.json["created"] == ["targeted"]
    (refused,) = reply.json["refused"]
    assert (refused["key"], refused["problems"][0]["message"]) == ("plain", "twice, at line 3")
    body["flaws"] = [{**flaw, "pointer": "/metadata/x"}]
    reply = await api.ask("POST", IMPORT, json=body)
    assert (reply.status, reply.json["problems"][0]["pointer"]) == (422, "/document/metadata/x")


async def test_a_file_becomes_flags_that_answer_as_it_says(api: Api) -> None:
    """In the environment of the request and in no other."""
    plan = await good(api, FILE, "?environment=staging")
    assert plan["created"] == ["plain", "targeted"]
    assert (plan["changed"], plan["unchanged"], plan["refused"]) == ([], [], [])
    assert plan["applied"] is True
    assert (await served(api, "targeted", "staging", country="DE"))["value"] is True
    assert (await served(api, "targeted", "staging", country="FR"))["value"] is False
    flag = (await api.ask("GET", f"{FLAGS}/targeted")).json
    assert list(flag["environments"]) == ["staging"]
    source = flag["environments"]["staging"]["source"]
    assert source["dialect"] == "flagd"
    assert source["definition"] == TARGETED


async def test_a_dry_run_tells_the_same_and_writes_nothing(api: Api) -> None:
    """Neither flags nor a revision."""
    before = revisions(api)
    dry = await good(api, FILE, "?dry_run=true")
    assert (dry["dry_run"], dry["applied"]) == (True, False)
    assert (await api.ask("GET", f"{FLAGS}/plain")).status == 404
    assert revisions(api) == before
    wet = await good(api, FILE)
    assert wet["created"] == dry["created"]


async def test_a_file_is_applied_as_one_change(api: Api) -> None:
    """One revision for segments and flags; history has it."""
    before = revisions(api)["production"]
    await good(api, UNLEASH, system="unleash")
    assert revisions(api)["production"] == before + 1
    entry = (await api.ask("GET", "/api/v1/history?flag=beta")).json["items"][0]
    assert (entry["action"], entry["version"]) == ("flag.import", 1)


@pytest.mark.parametrize(("system", "document"), [("flagd", FILE), ("unleash", UNLEASH)])
async def test_the_same_file_again_changes_nothing(api: Api, system: str, document: Any) -> None:
    """Not even where somebody switched a flag off meanwhile."""
    first = await good(api, document, system=system)
    key = first["created"][0]
    assert (await api.ask("PATCH", f"{FLAGS}/{key}", json={"enabled": False})).status == 200
    before = revisions(api)
    again = await good(api, document, system=system)
    assert again["unchanged"] == first["created"]
    assert again["segments"]["unchanged"] == first["segments"]["created"]
    assert (again["created"], again["changed"], again["applied"]) == ([], [], False)
    assert revisions(api) == before


async def test_a_file_that_changed_changes_those_flags_alone(api: Api) -> None:
    """And tells what of them."""
    await good(api, FILE)
    changed = {"flags": {"targeted": TARGETED, "plain": {**PLAIN, "defaultVariant": "b"}}}
    plan = await good(api, changed)
    assert plan["unchanged"] == ["targeted"]
    assert [item["key"] for item in plan["changed"]] == ["plain"]
    assert "environments/production/source" in plan["changed"][0]["changes"]
    assert (await served(api, "plain"))["value"] == "y"


async def test_the_switch_of_a_changed_definition_counts(api: Api) -> None:
    """And the plan says that it differs from the one here."""
    await good(api, FILE)
    assert (await api.ask("PATCH", f"{FLAGS}/plain", json={"enabled": False})).status == 200
    plan = await good(api, {"flags": {"plain": {**PLAIN, "defaultVariant": "b"}}})
    assert "environments/production/enabled" in plan["changed"][0]["changes"]
    [told] = plan["changed"][0]["problems"]
    assert (told["code"], told["message"]) == ("switched", "off -> on, as in the file")
    assert (await served(api, "plain"))["value"] == "y"


async def test_environments_are_imported_one_by_one(api: Api) -> None:
    """The second adds its own configuration, and the first again changes nothing."""
    other = {"flags": {"plain": {**PLAIN, "defaultVariant": "b"}, "targeted": TARGETED}}
    await good(api, FILE)
    assert len((await good(api, other, "?environment=staging"))["changed"]) == 2
    assert (await served(api, "plain"))["value"] == "x"
    assert (await served(api, "plain", "staging"))["value"] == "y"
    assert (await good(api, FILE))["unchanged"] == ["plain", "targeted"]
    assert (await good(api, other, "?environment=staging"))["unchanged"] == ["plain", "targeted"]


async def test_one_bad_flag_is_refused_and_the_rest_is_imported(api: Api) -> None:
    """With what is wrong, by its place in the file."""
    bad = {"state": "ENABLED", "variants": {"on": True, "n": 1}, "defaultVariant": "on"}
    plan = await good(api, {"flags": {"good": PLAIN, "bad": bad, "worse": 1}})
    assert plan["created"] == ["good"]
    refused = {item["key"]: item["problems"] for item in plan["refused"]}
    assert refused.keys() == {"bad", "worse"}
    assert refused["bad"][0]["pointer"].startswith("/flags/bad")


@pytest.mark.parametrize(
    ("system", "lists", "place"),
    [
        ("unleash", {"features": [5, TOGGLE]}, "/features/0"),
        ("unleash", {"features": [{"enabled": True}, TOGGLE]}, "/features/0"),
        ("unleash", {"features": [TOGGLE], "segments": [None, SEGMENT]}, "/segments/0"),
        ("launchdarkly", {"items": [{**LD, "key": "beta"}, None]}, "/items/1"),
        ("launchdarkly", {"items": [{**LD, "key": 5}, {**LD, "key": "beta"}]}, "/items/0"),
    ],
)
async def test_an_item_without_a_key_is_refused_by_its_place(
    api: Api, system: str, lists: Any, place: str
) -> None:
    """The rest of the file is imported all the same."""
    plan = await good(api, lists, system=system)
    assert plan["created"] == ["beta"]
    refused = [*plan["refused"], *plan["segments"]["refused"]]
    assert [item["key"] for item in refused] == [place]
    assert [p["pointer"] for p in refused[0]["problems"]] == [place]


async def test_what_flags_share_costs_those_that_need_it(api: Api) -> None:
    """An evaluator that cannot be used refuses its flags, with its own place, and no others."""
    long = {"and": [{"!": [{"var": "x"}]}] * 1_001}
    bad = {**TARGETED, "targeting": {"if": [{"$ref": "long"}, "on"]}}
    plan = await good(api, {"flags": {**FILE["flags"], "bad": bad}, "$evaluators": {"long": long}})
    assert plan["created"] == ["plain", "targeted"]
    [item] = plan["refused"]
    assert item["key"] == "bad"
    assert item["problems"][0]["pointer"].startswith("/$evaluators/long/and")


_PLANTED = "planted-7f3a"


@pytest.mark.parametrize(
    ("system", "document"),
    [
        (
            "flagd",
            {
                "apiKey": _PLANTED,
                "flags": {"f": {**PLAIN, "token": _PLANTED}},
                "x": {"y": _PLANTED},
            },
        ),
        (
            "unleash",
            {
                **UNLEASH,
                "token": _PLANTED,
                "meta": {"token": _PLANTED},
                "features": [{**TOGGLE, "secret": _PLANTED}],
            },
        ),
        (
            "growthbook",
            {
                "decryptionKey": _PLANTED,
                "secureAttributeSalt": _PLANTED,
                "sdkConnection": {"key": _PLANTED},
                "features": {"f": {"defaultValue": True, "apiKey": _PLANTED}, "bad": _PLANTED},
            },
        ),
        (
            "launchdarkly",
            {
                "sdkKey": _PLANTED,
                "environment": {"apiKey": _PLANTED, "mobileKey": _PLANTED, "name": _PLANTED},
                "flags": {
                    "f": {"variations": [1], "sel": _PLANTED, "environmentKey": _PLANTED},
                    "bad": _PLANTED,
                },
                "segments": {"bad": _PLANTED},
            },
        ),
        (
            "goff",
            {
                "f": {"variations": {"a": 1}, "defaultRule": {"variation": "a"}, "token": _PLANTED},
                "retriever": {"kind": "github", "githubToken": _PLANTED, "x": _PLANTED},
                "apiKeys": [_PLANTED],
                "secret": _PLANTED,
            },
        ),
    ],
)
async def test_secrets_in_a_file_are_not_kept_and_not_told(
    api: Api, system: str, document: Any
) -> None:
    """Whoever sends the file: they are in no answer, no flag, no segment and no snapshot."""
    for query in ("?dry_run=true", ""):
        reply = await bring(api, document, query, system)
        assert reply.status == 200, reply.body
        assert _PLANTED not in reply.body.decode()
    assert reply.json["created"]
    for kind in ("flags", "segments"):
        assert _PLANTED not in (await api.ask("GET", f"/api/v1/{kind}")).body.decode()
    snapshot = api.app[REPLICA].project("default").snapshots["production"]
    assert f'"dialect":"{system}"'.encode() in snapshot.body()
    assert _PLANTED.encode() not in snapshot.body()


async def test_a_file_of_something_else_is_not_told(api: Api) -> None:
    """It may be full of secrets."""
    for system in ("flagd", "unleash", "growthbook", "launchdarkly"):
        reply = await bring(api, {"connection": {"uri": _PLANTED}, "note": _PLANTED}, "", system)
        assert (reply.status, _PLANTED in reply.body.decode()) == (422, False)


async def test_who_may_see_a_flag_is_imported(api: Api) -> None:
    """With the rest; what is said here stays until the file says something else."""

    def file(**members: Any) -> Any:
        plain = {"on": True, "variations": [1, 2], "fallthrough": {"variation": 0}}
        return {"flags": {"f": {**plain, **members}}}

    async def seen() -> list[bool]:
        flag = (await api.ask("GET", f"{FLAGS}/f")).json
        return [flag["client_side"], flag["track"]]

    both = {"clientSideAvailability": {"usingEnvironmentId": True}, "trackEvents": True}
    await good(api, file(**both), system="launchdarkly")
    assert await seen() == [True, True]
    await api.ask("PATCH", f"{FLAGS}/f", json={"client_side": False})
    plan = await good(api, file(**both), system="launchdarkly")
    assert (plan["unchanged"], await seen()) == (["f"], [False, True])
    # another change of the definition does not open it again
    plan = await good(api, file(**both, offVariation=1), system="launchdarkly")
    assert ([item["key"] for item in plan["changed"]], await seen()) == (["f"], [False, True])
    plan = await good(api, file(clientSide=False), system="launchdarkly")
    assert "track" in plan["changed"][0]["changes"]
    assert await seen() == [False, False]
    plan = await good(api, file(clientSide=True), system="launchdarkly")
    assert "client_side" in plan["changed"][0]["changes"]
    assert await seen() == [True, False]
    plan = await good(api, file(), "?environment=staging", system="launchdarkly")
    assert any("client_side off, which is that of all" in p["message"] for p in plan["problems"])
    assert await seen() == [False, False]


@pytest.mark.parametrize("document", [None, [], {}, {"flags": 1}, "text"])
async def test_a_file_that_cannot_be_read_is_refused_whole(api: Api, document: Any) -> None:
    """422, with pointers into the body."""
    reply = await bring(api, document)
    assert reply.status == 422
    assert all(p["pointer"].startswith("/document") for p in reply.json["problems"])


async def test_a_flag_that_was_made_here_is_not_replaced_unasked(api: Api) -> None:
    """`replace` says so."""
    body = {"key": "plain", "type": "string", "value": "mine", "enabled": True}
    assert (await api.ask("POST", FLAGS, json=body)).status == 201
    plan = await good(api, FILE)
    assert [(r["key"], r["problems"][0]["code"]) for r in plan["refused"]] == [
        ("plain", "key_in_use")
    ]
    assert plan["created"] == ["targeted"]
    assert (await served(api, "plain"))["value"] == "mine"
    plan = await good(api, FILE, "?replace=true")
    assert [item["key"] for item in plan["changed"]] == ["plain"]
    assert (await served(api, "plain"))["value"] == "x"
    assert (await served(api, "plain", "staging"))["value"] == "mine"


async def test_another_systems_flag_is_not_replaced_unasked(api: Api) -> None:
    """The plan names both systems, and `replace` says that it is meant."""
    await good(api, FILE)
    other = {"plain": {"variations": {"a": "x", "b": "y"}, "defaultRule": {"variation": "b"}}}
    plan = await good(api, other, system="goff")
    [item] = plan["refused"]
    assert (item["key"], item["problems"][0]["code"]) == ("plain", "key_in_use")
    assert "flagd" in item["problems"][0]["message"]
    assert "goff" in item["problems"][0]["message"]
    assert (await served(api, "plain"))["value"] == "x"
    plan = await good(api, other, "?replace=true", system="goff")
    [item] = plan["changed"]
    [told] = item["problems"]
    assert (told["code"], told["severity"]) == ("units_may_move", "warning")
    assert "flagd -> goff" in told["message"]
    assert (await served(api, "plain"))["value"] == "y"


async def test_another_systems_segment_is_not_replaced_unasked(api: Api) -> None:
    """Nor is a flag imported that would ask it."""
    await good(api, UNLEASH, system="unleash")
    rule = {"clauses": [{"attribute": "", "op": "segmentMatch", "values": ["unleash-1"]}]}
    flag = {"on": True, "variations": [1, 2], "fallthrough": {"variation": 0}}
    asking = {"flags": {"f": {**flag, "rules": [{"id": "r", "variation": 1, **rule}]}}}
    document = {**asking, "segments": {"unleash-1": {"included": ["u"]}}}
    plan = await good(api, document, system="launchdarkly")
    [item] = plan["segments"]["refused"]
    assert "unleash; the file is launchdarkly's" in item["problems"][0]["message"]
    assert [item["key"] for item in plan["refused"]] == ["f"]


SPLIT = {
    "state": "ENABLED",
    "variants": {"a": "x", "b": "y"},
    "defaultVariant": "a",
    "targeting": {"fractional": [["a", 50], ["b", 50]]},
}


async def test_a_forgotten_option_moves_nobody(api: Api) -> None:
    """What was imported as v1 is refused by an import that does not say which it is."""

    async def divided(query: str = "", **options: Any) -> Any:
        body = {"system": "flagd", "document": {"flags": {"split": SPLIT, "plain": PLAIN}}}
        reply = await api.ask("POST", IMPORT + query, json={**body, "options": options})
        assert reply.status == 200, reply.body
        return reply.json

    def assumed(plan: Any) -> list[str]:
        return [p["message"] for p in plan["problems"] if p["code"] == "option_assumed"]

    assert assumed(await divided(fractional="v1")) == []
    assert (await api.ask("PATCH", f"{FLAGS}/split", json={"enabled": False})).status == 200
    plan = await divided("?dry_run=true")
    [item] = plan["refused"]
    assert (item["key"], item["problems"][0]["code"]) == ("split", "option_missing")
    assert plan["unchanged"] == ["plain"]  # for which it decides nothing
    assert "fractional v1 -> v2" in item["problems"][0]["message"]
    [told] = assumed(plan)
    assert "v2" in told
    assert "split" in told
    assert "plain" not in told
    # said, it is done, told, and no flag is switched on by it
    plan = await divided(fractional="v2")
    [item] = plan["changed"]
    assert item["changes"] == ["environments/production/source"]
    assert item["problems"][0]["code"] == "units_may_move"
    assert "fractional v1 -> v2" in item["problems"][0]["message"]
    assert (await served(api, "split"))["reason"] == "DISABLED"


async def test_what_the_file_has_not_any_more_is_listed(api: Api) -> None:
    """Of the same system and environment; it stays, and an archived one is nobody's concern."""
    await good(api, FILE)
    await good(api, UNLEASH, system="unleash")
    await good(api, FILE, "?environment=staging")
    plan = await good(api, {"flags": {"plain": PLAIN}})
    assert (plan["unchanged"], plan["only_here"]) == (["plain"], ["targeted"])
    assert plan["segments"]["only_here"] == []
    assert (await good(api, {"flags": {}}))["only_here"] == ["plain", "targeted"]
    plan = await good(api, {"version": 2, "features": [], "segments": []}, system="unleash")
    assert (plan["only_here"], plan["segments"]["only_here"]) == (["beta"], ["unleash-1"])
    archived = await api.ask("PATCH", f"{FLAGS}/targeted", json={"archived": True})
    assert archived.status == 200
    assert (await good(api, {"flags": {"plain": PLAIN}}))["only_here"] == []


async def test_companions_that_are_not_wanted_any_more_are_listed(api: Api) -> None:
    """And a toggle does not take the place of one unasked."""
    variant = {"name": "red", "weight": 1000, "payload": {"type": "string", "value": "r"}}
    toggle = {**TOGGLE, "name": "color", "strategies": [], "variants": [variant]}
    file = {"version": 2, "features": [toggle], "segments": []}
    assert (await good(api, file, system="unleash"))["created"] == ["color", "color.variant"]
    body = {"system": "unleash", "document": file, "options": {"companions": False}}
    assert (await api.ask("POST", IMPORT, json=body)).json["only_here"] == ["color.variant"]
    other = {"name": "color.variant", "enabled": True, "strategies": []}
    file = {"version": 2, "features": [toggle, other], "segments": []}
    [item] = (await good(api, file, system="unleash"))["refused"]
    assert (item["key"], item["problems"][0]["code"]) == ("color.variant", "key_in_use")
    assert (await served(api, "color.variant"))["value"] == "r"


async def test_warnings_name_the_flag(api: Api) -> None:
    """Also where its place in the file is a number."""
    toggles = [{**TOGGLE, "name": name, "strategies": [{"name": "mine"}]} for name in ("a", "b")]
    plan = await good(api, {"version": 2, "features": toggles, "segments": []}, system="unleash")
    assert [p["message"].partition(":")[0] for p in plan["problems"]] == ["'a'", "'b'"]


async def test_a_native_export_is_not_taken_for_flagds(api: Api) -> None:
    """Read as that, every flag would lose its targeting."""
    body = {"key": "mine", "type": "boolean", "value": True, "enabled": True}
    assert (await api.ask("POST", FLAGS, json=body)).status == 201
    flag = (await api.ask("GET", f"{FLAGS}/mine")).json
    reply = await bring(api, {"flags": [flag], "segments": []}, "?replace=true")
    assert reply.status == 422
    [problem] = reply.json["problems"]
    assert (problem["pointer"], problem["code"]) == ("/document", "other_system")
    assert "import native" in problem["hint"]


async def test_an_archived_flag_is_not_taken_for_imported(api: Api) -> None:
    """It is refused, as it answers nowhere; `replace` brings it back."""
    await good(api, FILE)
    assert (await api.ask("PATCH", f"{FLAGS}/plain", json={"archived": True})).status == 200
    plan = await good(api, FILE)
    assert [(r["key"], r["problems"][0]["code"]) for r in plan["refused"]] == [
        ("plain", "archived")
    ]
    assert plan["unchanged"] == ["targeted"]
    plan = await good(api, FILE, "?replace=true")
    assert [(item["key"], item["changes"]) for item in plan["changed"]] == [("plain", ["archived"])]
    assert (await served(api, "plain"))["value"] == "x"


async def test_what_another_environment_makes_reads_show_is_told(api: Api) -> None:
    """Answers stay those of each environment's own definition."""
    await good(api, FILE)
    other = {**PLAIN, "variants": {"a": 1, "b": 2}}
    plan = await good(api, {"flags": {"plain": other}}, "?environment=staging")
    [told] = [p for p in plan["problems"] if "reads of 'plain'" in p["message"]]
    assert told["code"] == "other_environment_changed"
    assert "the type integer, not string" in told["message"]
    assert "'a', 'b'" in told["message"]
    assert (await served(api, "plain"))["value"] == "x"
    assert (await served(api, "plain", "staging"))["value"] == 1


async def test_a_type_that_other_environments_do_not_serve_is_refused(api: Api) -> None:
    """Even if replacing is meant: they stay as they are."""
    body = {"key": "plain", "type": "integer", "value": 1, "enabled": True}
    assert (await api.ask("POST", FLAGS, json=body)).status == 201
    plan = await good(api, FILE, "?replace=true")
    assert plan["refused"][0]["problems"][0]["pointer"] == "/type"
    assert (await served(api, "plain"))["value"] == 1


async def test_an_unknown_option_or_system_is_refused(api: Api) -> None:
    """An option that is passed over would change answers."""
    body: dict[str, Any] = {"system": "flagd", "document": FILE, "options": {"fractionl": "v1"}}
    reply = await api.ask("POST", IMPORT, json=body)
    [problem] = reply.json["problems"]
    assert problem["pointer"] == "/options/fractionl"
    assert problem["hint"] == "did you mean 'fractional'?; known: fractional"
    body["options"] = {"fractional": "v4"}
    [problem] = (await api.ask("POST", IMPORT, json=body)).json["problems"]
    assert (problem["pointer"], problem["code"]) == ("/options/fractional", "not_one_of")
    reply = await api.ask("POST", IMPORT, json={"system": "flipt", "document": {}})
    assert reply.status == 422
    assert (await api.ask("POST", IMPORT + "?environment=nope", json=body)).status == 404
    assert (await api.ask("POST", IMPORT, json=body, token="wrong")).status == 401


# Imported flags afterwards


async def test_a_segment_that_an_imported_flag_asks_cannot_go(api: Api) -> None:
    """Nor a flag that is asked."""
    asking = {
        "key": "asking",
        "on": True,
        "variations": [True, False],
        "fallthrough": {"variation": 0},
        "offVariation": 1,
        "prerequisites": [{"key": "asked", "variation": 0}],
        "rules": [],
        "version": 1,
        "salt": "s",
    }
    asked = {**asking, "key": "asked", "prerequisites": []}
    document = {"flags": {"asking": asking, "asked": asked}, "segments": {}}
    await good(api, document, system="launchdarkly")
    await good(api, UNLEASH, system="unleash")
    reply = await api.ask("DELETE", f"{FLAGS}/asked")
    assert (reply.status, reply.json["code"]) == (409, "flag_in_use")
    reply = await api.ask("DELETE", "/api/v1/segments/unleash-1")
    assert (reply.status, reply.json["code"]) == (409, "segment_in_use")
    assert (await served(api, "asking", targetingKey="u"))["value"] is True
    assert (await served(api, "beta", country="DE"))["value"] is True
    assert (await served(api, "beta", country="FR"))["value"] is False


async def test_what_is_asked_and_is_not_there_is_told(api: Api) -> None:
    """As a warning: it may come later."""
    plan = await good(api, {**UNLEASH, "segments": []}, system="unleash")
    told = [p for p in plan["problems"] if "unleash-1" in p["message"]]
    told += [p for r in plan["refused"] for p in r["problems"]]
    assert told


async def test_a_segment_that_other_environments_ask_is_not_changed_unasked(api: Api) -> None:
    """Nor is a flag imported that would be answered by the other definition."""
    await good(api, UNLEASH, system="unleash")
    other = {**UNLEASH, "segments": [{**SEGMENT, "constraints": []}]}
    plan = await good(api, other, "?environment=staging", system="unleash")
    assert plan["segments"]["refused"][0]["problems"][0]["code"] == "key_in_use"
    assert plan["refused"][0]["key"] == "beta"
    assert (await served(api, "beta", country="FR"))["value"] is False
    plan = await good(api, other, "?environment=staging&replace=true", system="unleash")
    assert plan["segments"]["changed"][0]["key"] == "unleash-1"
    assert (await served(api, "beta", country="FR"))["value"] is True


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_an_imported_flag_is_switched_like_any_other(api: Api, method: str) -> None:
    """Off and on again, its definition kept."""
    await good(api, FILE)
    reply = await api.ask(method, f"{FLAGS}/targeted", json={"enabled": False})
    assert reply.status == 200, reply.body
    assert "source" in reply.json["environments"]["production"]
    assert (await served(api, "targeted", country="DE"))["reason"] == "DISABLED"
    assert (await api.ask(method, f"{FLAGS}/targeted", json={"enabled": True})).status == 200
    assert (await served(api, "targeted", country="DE"))["value"] is True


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_one_value_cannot_take_the_place_of_an_imported_definition(
    api: Api, method: str
) -> None:
    """409 with the way out; the value it has is no change."""
    await good(api, FILE)
    reply = await api.ask(method, f"{FLAGS}/plain", json={"value": "y"})
    assert (reply.status, reply.json["code"]) == (409, "imported_targeting")
    assert "without source" in reply.json["detail"]
    assert (await api.ask(method, f"{FLAGS}/plain", json={"value": "x"})).status == 200


async def test_what_was_read_can_be_put_back(api: Api) -> None:
    """And changes nothing."""
    await good(api, FILE)
    for key in ("plain", "targeted"):
        read = await api.ask("GET", f"{FLAGS}/{key}")
        put = await api.ask("PUT", f"{FLAGS}/{key}", json=read.json)
        assert (put.status, put.json) == (200, read.json)


async def test_leaving_the_definition_out_makes_a_flag_ours(api: Api) -> None:
    """With consent, since units may move, and with a warning."""
    await good(api, FILE)
    flag = (await api.ask("GET", f"{FLAGS}/targeted")).json
    del flag["environments"]["production"]["source"]
    reply = await api.ask("PUT", f"{FLAGS}/targeted", json=flag)
    assert (reply.status, reply.json["code"]) == (409, "rebucketing")
    reply = await api.ask("PUT", f"{FLAGS}/targeted?rebucket=true", json=flag)
    assert reply.status == 200
    assert "source_removed" in reply.headers["Matrixflag-Warnings"]
    assert (await served(api, "targeted", country="DE"))["value"] is False


async def test_rules_beside_a_definition_are_refused(api: Api) -> None:
    """One of the two decides."""
    await good(api, FILE)
    target = {"variant": "on", "units": ["u"]}
    patch = {"environments": {"production": {"targets": [target]}}}
    reply = await api.ask("PATCH", f"{FLAGS}/targeted", json=patch)
    assert reply.status == 422
    assert [p["code"] for p in reply.json["problems"]] == ["source_decides"]


async def test_imported_flags_are_copied_and_go_back(api: Api) -> None:
    """Into another environment, a new one, and to an earlier version."""
    await good(api, FILE)
    copied = await api.ask(
        "POST",
        "/api/v1/environments/production/copy",
        json={"flag": "targeted", "to": "staging"},
    )
    assert copied.status == 200, copied.body
    assert (await served(api, "targeted", "staging", country="DE"))["value"] is True
    made = await api.ask("POST", "/api/v1/environments", json={"key": "qa"})
    assert made.status == 201
    patched = await api.ask("PATCH", f"{FLAGS}/targeted?environment=qa", json={"enabled": True})
    assert patched.status == 200, patched.body
    assert (await served(api, "targeted", "qa", country="DE"))["value"] is True
    body = {"flag": "targeted", "version": 1}
    reverted = await api.ask("POST", "/api/v1/revert?rebucket=true", json=body)
    assert reverted.status == 200, reverted.body
    assert reverted.json["environments"].keys() == {"production"}


KEYS = ["a b", "ä/ü", "50%", "a%2Fb", "what?#", "a//b", "/lead", "trail/", "x+y&z=1", "...", "日本"]


@pytest.mark.parametrize("key", KEYS)
async def test_any_key_of_another_system_works_in_the_api(api: Api, key: str) -> None:
    """Percent-encoded in the path, for reads, switches and deletion."""
    assert (await good(api, {"flags": {key: PLAIN}}))["created"] == [key]
    path = f"{FLAGS}/{quote(key, safe='')}"
    assert (await api.ask("GET", path)).json["key"] == key
    assert (await api.ask("PATCH", path, json={"enabled": False})).status == 200
    read = await api.ask("GET", path)
    assert (await api.ask("PUT", path, json=read.json)).status == 200
    assert (await good(api, {"flags": {key: PLAIN}}))["unchanged"] == [key]
    assert (await api.ask("DELETE", path)).status == 204


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb"])
async def test_a_key_that_nothing_can_be_called_by_is_refused(api: Api, key: str) -> None:
    """Alone."""
    plan = await good(api, {"flags": {key: PLAIN, "good": PLAIN}})
    assert (plan["created"], [item["key"] for item in plan["refused"]]) == (["good"], [key])


async def test_what_somebody_writes_meanwhile_is_not_lost(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that was made before is made again: the flag has become somebody's own."""
    interrupted: list[bool] = []

    async def slices(steps: Steps[Any]) -> Any:
        """Plan, and before that is applied let somebody create one of the flags."""
        plan = await run_in_slices(steps)
        if not interrupted:
            interrupted.append(True)
            body = {"key": "plain", "type": "string", "value": "mine", "enabled": True}
            assert (await api.ask("POST", FLAGS, json=body)).status == 201
        return plan

    monkeypatch.setattr(service, "run_in_slices", slices)
    plan = await good(api, FILE)
    assert interrupted
    assert (plan["created"], plan["refused"][0]["key"]) == (["targeted"], "plain")
    assert (await served(api, "plain"))["value"] == "mine"


async def test_a_key_that_was_deleted_goes_on_counting_its_versions(api: Api) -> None:
    """An old `If-Match` must not fit the imported flag by chance."""
    await good(api, FILE)
    assert (await api.ask("DELETE", f"{FLAGS}/plain")).status == 204
    await good(api, FILE)
    assert (await api.ask("GET", f"{FLAGS}/plain")).json["version"] == 3


async def test_a_large_file_is_planned_while_the_loop_goes_on(api: Api) -> None:
    """A thousand flags in one change, and the same again in none."""
    document = {"flags": {f"f-{n}": TARGETED for n in range(1_000)}}
    before = revisions(api)["production"]
    assert len((await good(api, document))["created"]) == 1_000
    assert revisions(api)["production"] == before + 1
    assert len((await good(api, document))["unchanged"]) == 1_000
    assert revisions(api)["production"] == before + 1


def mutated(random: Random, node: Any, others: list[Any]) -> Any:
    """Return a document with something in it changed for something else."""
    if isinstance(node, dict) and node and random.random() < 0.8:
        key = random.choice(list(node))
        return {**node, key: mutated(random, node[key], others)}
    if isinstance(node, list) and node and random.random() < 0.8:
        at = random.randrange(len(node))
        return [*node[:at], mutated(random, node[at], others), *node[at + 1 :]]
    return random.choice(others)


LAUNCHDARKLY = {
    "flags": {
        "f": {
            "key": "f",
            "on": True,
            "variations": ["a", "b"],
            "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 100000}]}},
            "offVariation": 1,
            "prerequisites": [{"key": "f", "variation": 0}],
            "targets": [{"values": ["u"], "variation": 1}],
            "rules": [
                {
                    "id": "r",
                    "variation": 1,
                    "clauses": [{"attribute": "", "op": "segmentMatch", "values": ["s"]}],
                }
            ],
            "salt": "x",
        }
    },
    "segments": {"s": {"key": "s", "included": ["u"], "excluded": [], "rules": [], "salt": "y"}},
}
GROWTHBOOK = {"features": {"g": {"defaultValue": 1, "rules": [{"condition": {"a": "b"}}]}}}
GOFF = {"h": {"variations": {"a": 1, "b": 2}, "defaultRule": {"percentage": {"a": 30, "b": 70}}}}
HOSTILE: list[Any] = [None, True, -1, 1e308, 2**70, "", "\u0000", "x" * 300, [], {}, [[]], {"": {}}]


@pytest.mark.parametrize(
    ("system", "document"),
    [
        ("flagd", FILE),
        ("unleash", UNLEASH),
        ("launchdarkly", LAUNCHDARKLY),
        ("growthbook", GROWTHBOOK),
        ("goff", GOFF),
    ],
)
async def test_nothing_that_is_sent_breaks_an_import(
    api: Api, system: str, document: dict[str, Any]
) -> None:
    """Every answer is a plan or says what is wrong, and what was taken is found unchanged."""
    random = Random(20)
    assert (await good(api, document, system=system))["refused"] == []
    for _ in range(60):
        changed = document
        for _ in range(random.randint(1, 3)):
            changed = mutated(random, changed, HOSTILE)
        reply = await bring(api, changed, "?replace=true", system=system)
        assert reply.status in (200, 422), (reply.status, reply.body, changed)
        if reply.status == 200:
            again = await good(api, changed, system=system)
            assert (again["created"], again["changed"]) == ([], []), changed
            assert [r["key"] for r in again["refused"]] == [
                r["key"] for r in reply.json["refused"]
            ], changed
    snapshot = api.app[REPLICA].project("default").snapshots["production"]
    body = snapshot.body()
    entries = finish(read_snapshot(body)).entries
    flags = finish(compile_snapshot(entries)).flags
    assert not [key for key, flag in flags.items() if flag.problems]
