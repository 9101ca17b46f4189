"""`/api/v1/evaluate` over real HTTP: stored flags, drafts, earlier versions, what is refused.

That its answers are those of a sidecar is held in `tests/flow/test_explain.py`.
"""

from typing import Any

import pytest

from control_plane.keys import REPLICA
from tests.support.api import ADMIN_TOKEN, Api, Reply

ROLLOUT = {
    "rollout": {"arms": [{"variant": "on", "weight": 25_000}, {"variant": "off", "weight": 75_000}]}
}


def flag(key: str = "f", environment: str = "production", **config: Any) -> dict[str, Any]:
    """Return a flag as an author writes it."""
    whole = {"enabled": True, "fallthrough": {"variant": "off"}, "salt": "f3b1", **config}
    return {
        "key": key,
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {environment: whole},
    }


def rule(when: dict[str, Any], serve: str = "on", **members: Any) -> dict[str, Any]:
    """Return a rule."""
    return {"id": "r", "when": when, "serve": {"variant": serve}, **members}


def equals(attribute: str, value: Any) -> dict[str, Any]:
    """Return a leaf."""
    return {"attribute": attribute, "op": "equals", "values": [value]}


async def create(api: Api, document: dict[str, Any], path: str = "flags", query: str = "") -> None:
    """Create a flag or a segment."""
    reply = await api.ask("POST", f"/api/v1/{path}{query}", json=document)
    assert reply.status == 201, reply.body


async def put(api: Api, document: dict[str, Any], query: str = "") -> None:
    """Replace a flag."""
    reply = await api.ask("PUT", f"/api/v1/flags/{document['key']}{query}", json=document)
    assert reply.status == 200, reply.body


async def ask(api: Api, key: str = "f", query: str = "", **body: Any) -> Reply:
    """Ask what a flag answers."""
    return await api.ask("POST", f"/api/v1/evaluate/{key}{query}", json=body)


async def answer(api: Api, key: str = "f", query: str = "", **body: Any) -> dict[str, Any]:
    """Return what a flag answers."""
    reply = await ask(api, key, query, **body)
    assert reply.status == 200, reply.body
    made: dict[str, Any] = reply.json
    if body.get("explain", True):
        assert made["explanation"]["result"] == made["result"]
    return made


def revision(api: Api, environment: str = "production") -> int:
    """Return the revision of an environment."""
    return api.app[REPLICA].project("default").snapshots[environment].revision


async def test_a_stored_flag_is_evaluated_and_explained(api: Api) -> None:
    """With its version, and the revision of the environment."""
    await create(api, flag("team/f", rules=[rule(equals("plan", "pro"))]))
    made = await answer(api, "team/f", context={"plan": "pro"})
    assert made["result"] == {
        "key": "team/f",
        "value": True,
        "variant": "on",
        "reason": "TARGETING_MATCH",
        "metadata": {"ruleId": "r"},
    }
    assert (made["flag"], made["environment"]) == ("team/f", "production")
    assert (made["version"], made["revision"]) == (1, revision(api))
    assert made["explanation"]["because"] == "rule r matched"
    assert (made["moved"], made["warnings"], made["notes"]) == ([], [], [])


async def test_without_explanation_it_is_the_answer_alone(api: Api) -> None:
    """Which is the same."""
    await create(api, flag())
    with_it = await answer(api)
    without = await answer(api, explain=False)
    assert without == {**with_it, "explanation": None}


async def test_an_environment_is_evaluated_as_it_is_configured(api: Api) -> None:
    """Production, unless another is named; not configured is disabled."""
    await create(
        api,
        flag(environment="staging", fallthrough={"variant": "on"}),
        query="?environment=staging",
    )
    assert (await answer(api))["result"]["reason"] == "DISABLED"
    assert (await answer(api, query="?environment=staging"))["result"]["value"] is True
    assert (await ask(api, query="?environment=nowhere")).status == 404


async def test_segments_and_prerequisites_come_along(api: Api) -> None:
    """Also those that are named by others only."""
    await create(api, {"key": "inner", "when": equals("plan", "pro")}, "segments")
    await create(api, {"key": "outer", "when": {"segment": "inner"}}, "segments")
    await create(api, flag("first", rules=[rule({"segment": "outer"})]))
    await create(
        api,
        flag(
            "second",
            prerequisites=[{"flag": "first", "variants": ["on"]}],
            fallthrough={"variant": "on"},
        ),
    )
    await create(
        api,
        flag(
            "third",
            prerequisites=[{"flag": "second", "variants": ["on"]}],
            fallthrough={"variant": "on"},
        ),
    )
    assert (await answer(api, "third", context={"plan": "pro"}))["result"]["variant"] == "on"
    made = await answer(api, "third", context={"plan": "free"})
    assert made["result"]["metadata"] == {"prerequisite": "second"}
    inner = made["explanation"]["steps"][1]["steps"][1]["steps"][1]
    assert inner["because"] == "not in the segment outer"


async def test_long_lists_of_units_come_along(api: Api) -> None:
    """Kept as blobs."""
    await create(api, {"key": "many", "included": [f"u-{n}" for n in range(3_000)]}, "segments")
    await create(api, flag(rules=[rule({"segment": "many"})]))
    for unit, value in (("u-2999", True), ("u-3000", False)):
        made = await answer(api, context={"targetingKey": unit})
        assert made["result"]["value"] is value, unit


async def test_another_time_can_be_asked_about(api: Api) -> None:
    """Windows and ramps are tried before they begin."""
    await create(api, flag(rules=[rule({"all": []}, active={"from": "2030-01-01T00:00:00Z"})]))
    for at, value in (
        (None, False),
        ("2030-01-01T00:00:00Z", True),
        ("2029-12-31T23:59:59.999Z", False),
    ):
        assert (await answer(api, at=at))["result"]["value"] is value, at


async def test_a_draft_is_evaluated_and_not_saved(api: Api) -> None:
    """As a PUT would make it; nothing is published."""
    await create(api, flag())
    before = revision(api)
    draft = flag(rules=[rule(equals("plan", "pro"))])
    made = await answer(api, context={"plan": "pro"}, definition=draft)
    assert made["result"]["value"] is True
    assert (made["version"], made["revision"]) == (None, before)
    assert made["notes"] == ["segments and other flags are taken as they are now"]
    assert (await answer(api, context={"plan": "pro"}))["result"]["value"] is False
    assert revision(api) == before


async def test_a_draft_may_be_simple(api: Api) -> None:
    """Members that are left out stay as they are."""
    await create(api, {"key": "f", "type": "string", "value": "x", "enabled": True})
    made = await answer(api, definition={"value": "y"})
    assert made["result"]["value"] == "y"
    assert (await answer(api, definition={"enabled": False}))["result"]["reason"] == "DISABLED"


async def test_a_draft_of_a_new_flag_is_what_a_post_would_make(api: Api) -> None:
    """Its key is in the path; its salt is made, so the answer says that it will be another."""
    simple = {"type": "boolean", "value": True, "enabled": True}
    made = await answer(api, "new", definition=simple)
    assert made["result"]["value"] is True
    assert len(made["notes"]) == 1
    unsalted = flag("new", fallthrough=ROLLOUT)
    del unsalted["environments"]["production"]["salt"]
    question: dict[str, Any] = {
        "definition": unsalted,
        "context": {"targetingKey": "u"},
        "at": "2026-12-01T09:00:00Z",
    }
    first, second = [await answer(api, "new", **question) for _ in "ab"]
    assert first == second, "the same question has the same answer"
    assert any("no salt" in note for note in first["notes"])
    reply = await ask(api, "new", definition={"key": "other", **simple})
    assert (reply.status, reply.json["problems"][0]["pointer"]) == (422, "/definition/key")


async def test_ranges_of_a_draft_are_as_they_would_become(api: Api) -> None:
    """As few as can be move, and the answer says how many."""
    await create(api, flag(fallthrough=ROLLOUT))
    arms = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]
    draft = flag(fallthrough={"rollout": {"arms": arms}})
    made = await answer(api, definition=draft, context={"targetingKey": "u-1"})
    assert made["moved"] == [
        {"environment": "production", "place": "fallthrough", "buckets": 25_000, "estimated": False}
    ]
    ranges = made["explanation"]["steps"][-1]["split"]["ranges"]
    await put(api, draft)
    stored = await answer(api, context={"targetingKey": "u-1"})
    assert stored["explanation"]["steps"][-1]["split"]["ranges"] == ranges
    assert stored["result"] == made["result"]


async def test_a_draft_that_gives_units_new_buckets_is_told_and_not_refused(api: Api) -> None:
    """A PUT of it would ask for consent; a question needs none."""
    await create(api, flag(fallthrough=ROLLOUT))
    made = await answer(api, definition=flag(fallthrough=ROLLOUT, salt="other"))
    (moved,) = made["moved"]
    assert (moved["place"], moved["estimated"]) == ("fallthrough", True)


async def test_a_draft_that_could_not_be_saved_is_refused_with_all_problems(api: Api) -> None:
    """Each with its place in the request; of meaning, and of shape."""
    await create(api, flag())
    wrong = flag(off_variant="none", rules=[rule({"segment": "nobody"}, "neither")])
    reply = await ask(api, definition=wrong)
    where = "/definition/environments/production"
    assert reply.status == 422
    assert {p["pointer"] for p in reply.json["problems"]} == {
        f"{where}/off_variant",
        f"{where}/rules/0/when/segment",
        f"{where}/rules/0/serve/variant",
    }
    reply = await ask(api, definition={"valeu": 1, "enabled": "yes"})
    assert reply.status == 422
    assert {p["pointer"] for p in reply.json["problems"]} == {
        "/definition/valeu",
        "/definition/enabled",
    }


async def test_mistakes_of_shape_hide_none_of_meaning(api: Api) -> None:
    """All of a draft is told at once, as a PUT of it tells it."""
    draft = flag(
        rules=[
            rule({**equals("a", 1), "op": "equalz"}),
            rule({**equals("a", 1), "negated": True}),
        ]
    )
    draft["environments"]["production"]["rulez"] = []
    where = "/definition/environments/production"
    wanted = {
        (f"{where}/rulez", "unknown_field"),
        (f"{where}/rules/1/when/negated", "unknown_field"),
        (f"{where}/rules/0/when/op", "unknown_operator"),
        (f"{where}/rules/1/id", "duplicate_rule_id"),
    }
    for _ in range(2):  # of a flag to be, and of one that is there
        reply = await ask(api, definition=draft)
        assert reply.status == 422
        assert {(p["pointer"], p["code"]) for p in reply.json["problems"]} == wanted
        await api.ask("POST", "/api/v1/flags", json=flag())
    # a member that is misspelled is not missing, too
    reply = await ask(api, "new", definition={"typ": "boolean", "value": True, "enabeld": True})
    assert [p["pointer"] for p in reply.json["problems"]] == [
        "/definition/typ",
        "/definition/enabeld",
    ]
    # what is around the draft is as much a part of the request
    reply = await ask(api, definition=flag(off_variant="none"), contxt={})
    assert [p["pointer"] for p in reply.json["problems"]] == ["/contxt", f"{where}/off_variant"]


async def test_warnings_of_a_draft_are_told(api: Api) -> None:
    """It could be saved."""
    draft = {"type": "object", "value": [1], "enabled": True}
    made = await answer(api, "new", definition=draft)
    assert [w["code"] for w in made["warnings"]] == ["array_value"]
    assert made["warnings"][0]["pointer"].startswith("/definition/")


async def test_a_large_draft_is_read_like_a_small_one(api: Api) -> None:
    """What it leaves out stays, and all problems are told, also where it is read elsewhere."""
    await create(api, {**flag(), "name": "kept"})
    units = [f"unit-{number:05}" for number in range(4_000)]
    draft = flag(targets=[{"variant": "on", "units": units}])
    made = await answer(api, definition=draft, context={"targetingKey": "unit-03999"})
    assert made["result"]["value"] is True
    context = {"targetingKey": "unit-03999", "more": units}
    made = await answer(api, definition={"enabled": False}, context=context)
    assert made["result"]["reason"] == "DISABLED"
    reply = await ask(api, definition={**draft, "valeu": 1, "enabled": "yes"})
    assert reply.status == 422
    assert {p["pointer"] for p in reply.json["problems"]} >= {
        "/definition/valeu",
        "/definition/enabled",
    }


async def test_an_earlier_version_is_evaluated(api: Api) -> None:
    """With its own rules, and a note on what is not of then."""
    await create(api, flag())
    await put(api, flag(fallthrough={"variant": "on"}))
    made = await answer(api, version=1)
    assert (made["result"]["value"], made["version"]) == (False, 1)
    assert made["notes"] == ["segments and other flags are taken as they are now"]
    assert (await answer(api, version=2))["result"]["value"] is True
    reply = await ask(api, version=3)
    assert (reply.status, reply.json["code"]) == (404, "version_not_found")
    assert (await ask(api, "none", version=1)).json["code"] == "flag_not_found"


async def test_the_flag_of_a_revision_is_evaluated(api: Api) -> None:
    """The version that the environment served then, also if the flag changed elsewhere since."""
    await create(api, flag())
    first = revision(api)
    await put(api, flag(fallthrough={"variant": "on"}))
    await create(api, flag("other"))
    second = revision(api)
    await put(api, flag())
    versions = {}
    for number in (first, second - 1, second, revision(api)):
        made = await answer(api, revision=number)
        versions[number] = (made["version"], made["result"]["value"])
        assert made["revision"] == revision(api), "of which segments and other flags are"
    assert versions == {
        first: (1, False),
        second - 1: (2, True),
        second: (2, True),
        second + 1: (3, False),
    }
    for number in (0, first - 1, revision(api) + 1):
        reply = await ask(api, revision=number)
        assert (reply.status, reply.json["code"]) == (404, "version_not_found"), number


async def test_a_deleted_flag_is_there_in_its_versions(api: Api) -> None:
    """And in the last one it is not."""
    await create(api, flag())
    assert (await api.ask("DELETE", "/api/v1/flags/f")).status == 204
    assert (await ask(api)).status == 404
    assert (await answer(api, version=1))["result"]["value"] is False
    made = await answer(api, version=2)
    assert made["result"]["errorCode"] == "FLAG_NOT_FOUND"
    assert made["notes"] == ["in this version the flag was deleted"]


async def test_an_archived_flag_is_what_sidecars_have(api: Api) -> None:
    """Nothing; the answer says why."""
    await create(api, {**flag(), "archived": True})
    made = await answer(api)
    assert made["result"]["errorCode"] == "FLAG_NOT_FOUND"
    assert made["notes"] == ["the flag is archived, so sidecars do not have it"]


async def test_an_unknown_flag_is_404_with_keys_that_may_be_meant(api: Api) -> None:
    """As elsewhere in the API."""
    await create(api, flag("new-checkout"))
    reply = await ask(api, "new-chekout")
    assert (reply.status, reply.json["code"]) == (404, "flag_not_found")
    assert reply.json["detail"] == "there is no flag 'new-chekout'; did you mean new-checkout?"


async def test_a_flag_that_a_forced_deletion_broke_says_so(api: Api) -> None:
    """It answers what sidecars answer, with the problem."""
    await create(api, {"key": "s", "when": equals("a", 1)}, "segments")
    await create(api, flag(rules=[rule({"segment": "s"})]))
    assert (await api.ask("DELETE", "/api/v1/segments/s?force=true")).status == 204
    made = await answer(api)
    assert made["result"]["errorCode"] == "PARSE_ERROR"
    assert made["explanation"]["problems"][0]["code"] == "unknown_segment"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"version": 1, "revision": 1}, {"/revision"}),
        ({"definition": {"value": True}, "version": 1, "at": "soon"}, {"/version", "/at"}),
        ({"at": "2026-12-01"}, {"/at"}),
        ({"context": []}, {"/context"}),
        ({"contxt": {}}, {"/contxt"}),
        ({"version": "1"}, {"/version"}),
        ({"explain": 1}, {"/explain"}),
    ],
)
async def test_a_question_that_makes_no_sense_is_422(
    api: Api, body: dict[str, Any], where: set[str]
) -> None:
    """With every place."""
    await create(api, flag())
    reply = await ask(api, **body)
    assert reply.status == 422
    assert {p["pointer"] for p in reply.json["problems"]} == where


async def test_any_context_is_taken(api: Api) -> None:
    """Null is the empty one; large integers and deep values are values."""
    await create(api, flag(rules=[rule(equals("a", 1))]))
    for context in (None, {}, {"a": 2**70}, {"a": [[[[[{}]]]]]}, {"a": 1e300}):
        assert (await answer(api, context=context))["result"]["value"] is False


async def test_only_readers_may_ask(api: Api) -> None:
    """Keys of sidecars and applications do not reach definitions."""
    await create(api, flag())
    for kind in ("sidecar", "server", "client"):
        key = (await api.make_key(kind))["key"]
        reply = await api.ask("POST", "/api/v1/evaluate/f", token=key, json={})
        assert reply.status == 403
    assert (await api.ask("POST", "/api/v1/evaluate/f", token=None, json={})).status == 401
    assert (await api.ask("POST", "/api/v1/evaluate/f", token=ADMIN_TOKEN, json={})).status == 200


async def test_it_is_text_for_those_who_ask_for_it(api: Api) -> None:
    """As at a sidecar: by parameter or by what is accepted."""
    await create(api, flag())
    path = "/api/v1/evaluate/f"
    for query, headers in (("?text=1", {}), ("", {"Accept": "text/plain"})):
        reply = await api.ask("POST", path + query, json={}, headers=headers)
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("text/plain")
        assert reply.body.decode().startswith("f\n  value    false\n")
        assert "▶ fallthrough" in reply.body.decode()
    reply = await api.ask("POST", path + "?text=1", json={"explain": False})
    assert "reason   STATIC" in reply.body.decode()
    reply = await api.ask("POST", path + "?text=0", json={}, headers={"Accept": "text/plain"})
    assert reply.json["flag"] == "f"
