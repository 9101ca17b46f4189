"""Projects and environments over real HTTP, and promotion between them."""

import json
from typing import Any

import pytest
import redis

from control_plane.keys import REPLICA
from proxy.contract.sync import SnapshotPointer
from tests.support.api import Api, Reply

PROJECTS, ENVIRONMENTS = "/api/v1/projects", "/api/v1/environments"


def rollout(on: int) -> dict[str, Any]:
    """Return a serve of so many buckets of `on`."""
    arms = [{"variant": "on", "weight": on}, {"variant": "off", "weight": 100_000 - on}]
    return {"rollout": {"arms": arms}}


async def create(api: Api, key: str = "f", **configs: Any) -> Reply:
    """Create a flag that is configured in these environments."""
    body = {"key": key, "type": "boolean", "variants": {"on": True, "off": False}}
    reply = await api.ask("POST", "/api/v1/flags", json=body | {"environments": configs})
    assert reply.status == 201, reply.body
    return reply


def entries(api: Api, environment: str) -> dict[str, bytes]:
    """Return the lines of flags that sidecars of an environment get."""
    state = api.app[REPLICA].project("default")
    snapshot = state.snapshots[environment]
    return {key: snapshot.line("flag", key) or b"" for key in state.flags}


async def test_the_default_project_has_three_environments(api: Api) -> None:
    """With the revision and digest that sidecars should hold."""
    listed = await api.ask("GET", ENVIRONMENTS)
    assert [e["key"] for e in listed.json["items"]] == ["development", "production", "staging"]
    one = await api.ask("GET", f"{ENVIRONMENTS}/production")
    assert one.json in listed.json["items"]
    assert (one.json["revision"], one.json["entries"]) == (1, 0)
    assert len(one.json["digest"]) == 64
    project = await api.ask("GET", f"{PROJECTS}/default")
    assert project.json in (await api.ask("GET", PROJECTS)).json["items"]
    assert project.json["environments"] == ["development", "production", "staging"]


async def test_a_project_is_created_once(api: Api) -> None:
    """With location, name and description."""
    body = {"key": "mobile", "name": "Mobile", "description": "apps"}
    created = await api.ask("POST", PROJECTS, json=body)
    assert (created.status, created.headers["Location"]) == (201, f"{PROJECTS}/mobile")
    assert (await api.ask("GET", f"{PROJECTS}/mobile")).json == created.json
    assert created.json["name"] == "Mobile"
    taken = await api.ask("POST", PROJECTS, json=body)
    assert (taken.status, taken.json["code"]) == (409, "project_exists")


@pytest.mark.parametrize(("path", "key"), [(PROJECTS, "mobile"), (ENVIRONMENTS, "canary")])
async def test_what_was_created_has_a_tag_until_it_changes(api: Api, path: str, key: str) -> None:
    """304 while it is the same, though an environment changes without another version."""
    created = await api.ask("POST", path, json={"key": key})
    tag = {"If-None-Match": created.headers["ETag"]}
    assert (created.json["version"], created.json["updated_at"]) == (1, created.json["created_at"])
    same = await api.ask("GET", f"{path}/{key}", headers=tag)
    assert (same.status, same.headers["ETag"], same.body) == (304, tag["If-None-Match"], b"")
    project = key if path == PROJECTS else "default"
    await api.ask("POST", f"/api/v1/segments?project={project}", json={"key": "s"})
    changed = await api.ask("GET", f"{path}/{key}", headers=tag)
    assert changed.status == 200
    assert changed.headers["ETag"] != created.headers["ETag"]


@pytest.mark.parametrize("path", [PROJECTS, ENVIRONMENTS])
@pytest.mark.parametrize("key", ["", "a/b", "{x}", "a b", ".a", "ä", "x" * 65, "a\n"])
async def test_a_key_that_cannot_be_is_refused(api: Api, path: str, key: str) -> None:
    """It would become a part of Redis keys, where braces decide the slot."""
    reply = await api.ask("POST", path, json={"key": key})
    assert reply.status == 422
    assert [(p["pointer"], p["code"]) for p in reply.json["problems"]] == [("/key", "invalid_key")]


async def test_a_new_environment_serves_what_production_falls_through_to(api: Api) -> None:
    """Disabled, with salts of its own, without targets and rules."""
    rule = {"when": {"all": []}, "serve": {"variant": "on"}}
    config = {
        "enabled": True,
        "fallthrough": rollout(30_000),
        "off_variant": "off",
        "rules": [rule],
        "targets": [{"variant": "on", "units": ["u"]}],
    }
    created = await create(api, production=config)
    await create(api, "elsewhere", staging={"fallthrough": {"variant": "on"}})
    reply = await api.ask("POST", ENVIRONMENTS, json={"key": "qa", "name": "QA"})
    assert (reply.status, reply.headers["Location"]) == (201, f"{ENVIRONMENTS}/qa")
    assert (reply.json["revision"], reply.json["entries"]) == (1, 2)
    flag = (await api.ask("GET", "/api/v1/flags/f?environment=qa")).json
    production, qa = (flag["environments"][name] for name in ("production", "qa"))
    assert (qa["fallthrough"], qa["off_variant"]) == (production["fallthrough"], "off")
    assert (qa["enabled"], qa["rules"], qa["targets"]) == (False, [], [])
    assert qa["salt"] != production["salt"]
    assert flag["version"] == created.json["version"] + 1
    other = (await api.ask("GET", "/api/v1/flags/elsewhere")).json
    assert (list(other["environments"]), other["version"]) == (["staging"], 1)
    assert b'"enabled":true' not in entries(api, "qa")["f"]


async def test_a_new_environment_changes_nothing_elsewhere(api: Api) -> None:
    """No revision in production for somebody's new test environment."""
    await create(api, production={"fallthrough": {"variant": "on"}})
    before = (await api.ask("GET", f"{ENVIRONMENTS}/production")).json
    await api.ask("POST", ENVIRONMENTS, json={"key": "qa"})
    assert (await api.ask("GET", f"{ENVIRONMENTS}/production")).json == before
    taken = await api.ask("POST", ENVIRONMENTS, json={"key": "qa"})
    assert (taken.status, taken.json["code"]) == (409, "environment_exists")


async def test_new_flags_are_configured_in_new_environments_too(api: Api) -> None:
    """A simple body configures all environments alike."""
    await api.ask("POST", ENVIRONMENTS, json={"key": "qa"})
    body = {"key": "f", "type": "boolean", "value": True, "enabled": True}
    created = await api.ask("POST", "/api/v1/flags", json=body)
    assert sorted(created.json["environments"]) == ["development", "production", "qa", "staging"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("production", {"flag": "f", "from": "staging"}),
        ("staging", {"flag": "f", "to": "production"}),
    ],
    ids=["into", "out of"],
)
async def test_a_configuration_is_promoted_and_the_salt_stays(
    api: Api, path: str, body: dict[str, str]
) -> None:
    """Into the environment of the path, or out of it."""
    rule = {"id": "r", "when": {"all": []}, "serve": rollout(50_000)}
    await create(
        api,
        staging={"enabled": True, "fallthrough": {"variant": "on"}, "rules": [rule], "salt": "st"},
        production={"fallthrough": {"variant": "off"}, "salt": "pr"},
    )
    reply = await api.ask("POST", f"{ENVIRONMENTS}/{path}/copy", json=body)
    assert (reply.status, reply.headers["ETag"]) == (200, '"2"')
    assert (reply.json["enabled"], reply.json["value"]) == (True, True)
    staging, production = (reply.json["environments"][n] for n in ("staging", "production"))
    assert production.pop("salt") == "pr"
    assert staging.pop("salt") == "st"
    assert production == staging


async def test_promoting_a_split_by_another_attribute_needs_consent(api: Api) -> None:
    """As any change of `by` does: the salt stays, but every unit gets another bucket."""
    by_company = rollout(50_000)
    by_company["rollout"]["by"] = "company"
    await create(
        api, staging={"fallthrough": by_company}, production={"fallthrough": rollout(50_000)}
    )
    path, body = f"{ENVIRONMENTS}/production/copy", {"flag": "f", "from": "staging"}
    refused = await api.ask("POST", path, json=body)
    assert (refused.status, refused.json["code"]) == (409, "rebucketing")
    reply = await api.ask("POST", path + "?rebucket=true", json=body)
    assert reply.status == 200
    assert '"estimated":true' in reply.headers["Matrixflag-Moved"]


async def test_prerequisites_windows_and_ramps_are_promoted(api: Api) -> None:
    """As they are; the salt stays, and what the ramp moves now is in the answer."""
    await create(api, "api")
    ramp = {"variant": "on", "else": "off", "from": 20_000, "to": 50_000, "by": "targetingKey"}
    ramp |= {"start": "2001-01-01T00:00:00Z", "end": "2001-01-02T00:00:00Z"}
    staging = {
        "enabled": True,
        "fallthrough": {"ramp": ramp},
        "prerequisites": [{"flag": "api", "variants": ["on"]}],
        "rules": [
            {
                "id": "r",
                "when": {"all": []},
                "active": {"from": "2026-12-01T00:00:00Z", "until": "2026-12-02T00:00:00Z"},
                "serve": {"ramp": ramp},
            }
        ],
    }
    await create(api, staging=staging, production={"fallthrough": rollout(40_000), "salt": "pr"})
    body = {"flag": "f", "from": "staging"}
    reply = await api.ask("POST", f"{ENVIRONMENTS}/production/copy", json=body)
    assert reply.json["environments"]["production"] == {**staging, "salt": "pr", "targets": []}
    assert '"buckets":10000' in reply.headers["Matrixflag-Moved"]
    assert b'"prerequisites":[{"flag":"api"' in entries(api, "production")["f"]
    again = await api.ask("POST", f"{ENVIRONMENTS}/production/copy", json=body)
    assert again.headers["ETag"] == reply.headers["ETag"]


async def test_promoting_a_rollout_over_a_ramp_keeps_whom_it_has(api: Api) -> None:
    """The ramp is over: half of all have `on` already."""
    ramp = {"variant": "off", "else": "on", "to": 50_000}
    ramp |= {"start": "2001-01-01T00:00:00Z", "end": "2001-01-02T00:00:00Z"}
    await create(
        api, staging={"fallthrough": rollout(60_000)}, production={"fallthrough": {"ramp": ramp}}
    )
    body = {"flag": "f", "from": "staging"}
    reply = await api.ask("POST", f"{ENVIRONMENTS}/production/copy", json=body)
    assert '"buckets":10000' in reply.headers["Matrixflag-Moved"]


async def test_a_new_environment_takes_over_a_ramp_but_no_prerequisites(api: Api) -> None:
    """It gets what production falls through to, and nothing that decides before."""
    await create(api, "api")
    ramp = {"variant": "on", "else": "off", "from": 0, "to": 100_000, "by": "targetingKey"}
    ramp |= {"start": "2001-01-01T00:00:00Z", "end": "2001-01-02T00:00:00Z"}
    wanted = [{"flag": "api", "variants": ["on"]}]
    await create(api, production={"fallthrough": {"ramp": ramp}, "prerequisites": wanted})
    assert (await api.ask("POST", ENVIRONMENTS, json={"key": "qa"})).status == 201
    flag = (await api.ask("GET", "/api/v1/flags/f?environment=qa")).json
    qa = flag["environments"]["qa"]
    assert (qa["fallthrough"], qa["prerequisites"]) == ({"ramp": ramp}, [])


async def test_promoting_a_rollout_moves_as_few_as_can_be(api: Api) -> None:
    """The target's buckets are its own: ranges come from what it served before."""
    await create(
        api, staging={"fallthrough": rollout(60_000)}, production={"fallthrough": rollout(20_000)}
    )
    path = "/api/v1/flags/f"
    serve = {"fallthrough": rollout(50_000)}
    await api.ask("PATCH", path, json={"environments": {"production": serve}})
    body = {"flag": "f", "from": "staging"}
    reply = await api.ask("POST", f"{ENVIRONMENTS}/production/copy", json=body)
    assert '"buckets":10000' in reply.headers["Matrixflag-Moved"]
    arms = reply.json["environments"]["production"]["fallthrough"]["rollout"]["arms"]
    assert arms[0]["weight"] == 60_000


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"flag": "f"}, 422, "invalid_document"),
        ({"flag": "f", "from": "staging", "to": "staging"}, 422, "invalid_document"),
        ({"flag": "f", "from": "nope"}, 404, "environment_not_found"),
        ({"flag": "nope", "from": "staging"}, 404, "flag_not_found"),
        ({"flag": "f", "from": "development"}, 409, "not_configured"),
    ],
)
async def test_a_promotion_that_cannot_be_is_refused(
    api: Api, body: dict[str, str], status: int, code: str
) -> None:
    """Each with its own reason."""
    await create(api, staging={"fallthrough": {"variant": "on"}})
    reply = await api.ask("POST", f"{ENVIRONMENTS}/production/copy", json=body)
    assert (reply.status, reply.json["code"]) == (status, code)


async def test_promoting_twice_changes_nothing_the_second_time(api: Api) -> None:
    """And If-Match is honoured."""
    await create(api, staging={"fallthrough": rollout(10_000)})
    path, body = f"{ENVIRONMENTS}/production/copy", {"flag": "f", "from": "staging"}
    wrong = await api.ask("POST", path, json=body, headers={"If-Match": '"7"'})
    assert wrong.status == 412
    assert (await api.ask("POST", path, json=body)).headers["ETag"] == '"2"'
    assert (await api.ask("POST", path, json=body)).headers["ETag"] == '"2"'


async def test_lists_are_pages(api: Api) -> None:
    """Of projects and of environments."""
    for key in ("b", "a"):
        await api.ask("POST", PROJECTS, json={"key": key})
    first = await api.ask("GET", f"{PROJECTS}?limit=2")
    second = await api.ask("GET", f"{PROJECTS}?limit=2&cursor={first.json['next_cursor']}")
    found = [p["key"] for p in first.json["items"] + second.json["items"]]
    assert found == ["a", "b", "default"]
    page = await api.ask("GET", f"{ENVIRONMENTS}?limit=1&project=a")
    assert [e["key"] for e in page.json["items"]] == ["development"]
    for path in (f"{PROJECTS}/nope", f"{ENVIRONMENTS}/nope", f"{ENVIRONMENTS}?project=nope"):
        assert (await api.ask("GET", path)).status == 404


async def test_an_environment_may_say_how_old_flags_may_get(api: Api) -> None:
    """It travels in the header of the snapshot; without it nothing does."""
    made = await api.ask("POST", ENVIRONMENTS, json={"key": "strict", "max_age_s": 3600})
    assert (made.status, made.json["max_age_s"]) == (201, 3600)
    plain = await api.ask("POST", ENVIRONMENTS, json={"key": "plain"})
    assert plain.json["max_age_s"] is None
    snapshots = api.app[REPLICA].project("default").snapshots
    assert snapshots["strict"].header().max_age_s == 3600
    assert b"max_age_s" not in snapshots["plain"].body()


@pytest.mark.parametrize("wrong", [0, -1, 59, 31_536_001, 2**80])
async def test_a_maximum_age_is_bounded(api: Api, wrong: int) -> None:
    """Below a minute what happens every day would switch flags off."""
    reply = await api.ask("POST", ENVIRONMENTS, json={"key": "strict", "max_age_s": wrong})
    assert reply.status == 422
    assert [(p["pointer"], p["code"]) for p in reply.json["problems"]] == [
        ("/max_age_s", "out_of_range")
    ]


async def change(api: Api, method: str, body: Any, **headers: str) -> Reply:
    """Change the environment `production`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.ask(method, f"{ENVIRONMENTS}/production", json=body, headers=sent)


async def test_another_maximum_age_is_a_revision_of_the_same_content(
    api: Api, redis_url: str
) -> None:
    """At once, audited, and in that environment alone; the same again is none."""
    await create(api)
    snapshots = api.app[REPLICA].project("default").snapshots
    before = {name: snapshot.pointer() for name, snapshot in snapshots.items()}
    changed = await change(api, "PATCH", {"max_age_s": 600})
    assert changed.status == 200, changed.body
    assert (changed.json["max_age_s"], changed.json["version"]) == (600, 2)
    after = {name: snapshot.pointer() for name, snapshot in snapshots.items()}
    assert after.pop("production") == SnapshotPointer(
        before["production"].epoch, before["production"].revision + 1, before["production"].digest
    )
    assert after == {name: pointer for name, pointer in before.items() if name != "production"}
    assert snapshots["production"].header().max_age_s == 600
    same = await change(api, "PATCH", {"max_age_s": 600})
    assert same.json == changed.json
    none = await change(api, "PATCH", {"max_age_s": None})
    assert none.json["max_age_s"] is None
    assert b"max_age_s" not in snapshots["production"].body()
    with redis.Redis.from_url(redis_url) as client:
        entries = client.xrevrange("mf:{default}:audit", count=2)
    audit = [json.loads(fields[b"entry"]) for _, fields in entries]
    assert [(e["action"], e["targets"]) for e in audit] == [
        ("environment.patch", ["environment:production"])
    ] * 2
    assert [difference_in(e) for e in audit] == [(600, None), (None, 600)]


def difference_in(entry: Any) -> tuple[Any, Any]:
    """Return what the maximum age was and became, as an audit entry tells it."""
    (found,) = [d for d in entry["differences"] if d["path"].endswith("/max_age_s")]
    return found.get("before"), found.get("after")


async def test_a_name_is_changed_without_a_revision(api: Api) -> None:
    """Sidecars have no use for it. What a replacement leaves out is taken away."""
    await change(api, "PUT", {"name": "Live", "max_age_s": 60})
    snapshot = api.app[REPLICA].project("default").snapshots["production"]
    revision = snapshot.revision
    renamed = await change(api, "PATCH", {"name": "Production", "description": "the shop"})
    assert (renamed.json["name"], renamed.json["max_age_s"]) == ("Production", 60)
    assert snapshot.revision == revision
    replaced = await change(api, "PUT", {"key": "production", "description": "d"})
    assert (replaced.json["name"], replaced.json["max_age_s"]) == ("", None)
    assert (replaced.json["version"], snapshot.revision) == (4, revision + 1)


async def test_an_environment_is_changed_as_it_was_seen(api: Api) -> None:
    """Not by who has seen another, and the tag to try again with is told."""
    tag = (await api.ask("GET", f"{ENVIRONMENTS}/production")).headers["ETag"]
    changed = await change(api, "PUT", {"max_age_s": 60}, If_Match=tag)
    assert (changed.status, changed.headers["ETag"] != tag) == (200, True)
    late = await change(api, "PATCH", {"name": "x"}, If_Match=tag)
    assert (late.status, late.headers["ETag"]) == (412, changed.headers["ETag"])
    assert (await change(api, "PATCH", {"name": "x"}, If_Match="*")).status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"max_age_s": 59}, "/max_age_s", "out_of_range"),
        ({"max_age_s": "1h"}, "/max_age_s", "wrong_type"),
        ({"max_age_s": 60.5}, "/max_age_s", "wrong_type"),
        ({"key": "other"}, "/key", "read_only"),
        ({"maxAge": 60}, "/maxAge", "unknown_field"),
        ({"revision": 60}, "/revision", "unknown_field"),
    ],
    ids=range(6),
)
async def test_what_an_environment_cannot_be_is_refused(
    api: Api, method: str, body: Any, pointer: str, code: str
) -> None:
    """And nothing changes."""
    before = (await api.ask("GET", f"{ENVIRONMENTS}/production")).json
    reply = await change(api, method, body)
    assert reply.status == 422
    assert [(p["pointer"], p["code"]) for p in reply.json["problems"]] == [(pointer, code)]
    assert (await api.ask("GET", f"{ENVIRONMENTS}/production")).json == before


async def test_an_environment_that_is_not_there_cannot_be_changed(api: Api) -> None:
    """It is made by POST."""
    reply = await api.ask("PUT", f"{ENVIRONMENTS}/nowhere", json={"name": "x"})
    assert (reply.status, reply.json["code"]) == (404, "environment_not_found")
