"""History and revert over real HTTP."""

import json
from typing import Any

import msgspec
import pytest

from control_plane.audit.model import HistoryEntry
from control_plane.flags import service as flags_service
from control_plane.keys import REPLICA
from proxy.contract.authoring import project
from proxy.contract.definitions import Flag
from proxy.contract.snapshot import encode_entry
from tests.support.api import Api, Reply
from tests.support.redis import RedisServer

FLAG, HISTORY, REVERT = "/api/v1/flags/f", "/api/v1/history?flag=f", "/api/v1/revert"
SIMPLE = {"key": "f", "type": "string", "value": "one", "enabled": True}


async def three_versions(api: Api) -> None:
    """Make a flag that served one, two and three in production."""
    assert (await api.ask("POST", "/api/v1/flags", json=SIMPLE)).status == 201
    for value in ("two", "three"):
        assert (await api.ask("PUT", FLAG, json={"value": value})).status == 200


async def revert(api: Api, query: str = "", **body: Any) -> Reply:
    """Take the flag back."""
    return await api.ask("POST", REVERT + query, json={"flag": "f"} | body)


async def test_every_version_says_who_made_it_when_and_from_where(api: Api) -> None:
    """Newest first, whole."""
    await three_versions(api)
    items = (await api.ask("GET", HISTORY)).json["items"]
    assert [item["version"] for item in items] == [3, 2, 1]
    assert [item["action"] for item in items] == ["flag.replace", "flag.replace", "flag.create"]
    for item in items:
        assert (item["actor"], item["address"]) == ("admin", "127.0.0.1")
        assert item["at"].endswith("Z")
    assert items[-1]["flag"]["variants"] == {"default": "one"}


async def test_what_was_served_at_a_revision_can_be_found(api: Api) -> None:
    """The newest version whose revision of that environment is not above it."""
    snapshots = api.app[REPLICA].project("default").snapshots
    served: dict[str, dict[int, bytes | None]] = {"production": {}, "staging": {}}

    def note() -> None:
        for name, lines in served.items():
            lines[snapshots[name].revision] = snapshots[name].line("flag", "f")

    await api.ask("POST", "/api/v1/flags", json=SIMPLE)
    note()
    for number in range(4):
        environment = ("production", "staging")[number % 2]
        value = {"value": f"v{number}"}
        assert (await api.ask("PUT", f"{FLAG}?environment={environment}", json=value)).status == 200
        note()
        made = await api.ask("POST", "/api/v1/segments", json={"key": f"s-{number}"})
        assert made.status == 201
        note()
    items = (await api.ask("GET", HISTORY)).json["items"]
    for environment, lines in served.items():
        for revision, line in lines.items():
            found = next(i for i in items if i["revisions"][environment] <= revision)
            flag = msgspec.convert(found["flag"], Flag)
            assert encode_entry("flag", "f", project(flag, environment)) == line


async def test_history_comes_in_pages(api: Api) -> None:
    """That changes made meanwhile do not shift."""
    await three_versions(api)
    first = (await api.ask("GET", HISTORY + "&limit=2")).json
    await api.ask("PUT", FLAG, json={"value": "four"})
    second = (await api.ask("GET", f"{HISTORY}&limit=2&cursor={first['next_cursor']}")).json
    assert [item["version"] for item in first["items"] + second["items"]] == [3, 2, 1]
    assert second["next_cursor"] is None


async def test_no_more_is_read_than_is_asked_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version may have megabytes; whoever looks at one does not load a hundred."""
    await api.ask("POST", "/api/v1/flags", json=SIMPLE)
    for number in range(30):
        await api.ask("PUT", FLAG, json={"value": f"v{number % 3}"})
    replica = api.app[REPLICA]
    read: list[int] = []
    history = replica.history

    async def counting(project: str, key: str, start: int, count: int) -> list[HistoryEntry]:
        entries = await history(project, key, start, count)
        read.append(len(entries))
        return entries

    monkeypatch.setattr(replica, "history", counting)
    await api.ask("GET", HISTORY + "&limit=1")
    assert sum(read) == 10
    items, cursor = [], ""
    while cursor is not None:
        page = (await api.ask("GET", f"{HISTORY}&limit=7{cursor and '&cursor='}{cursor}")).json
        items += [item["version"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert items == list(range(31, 0, -1))


async def test_going_back_is_a_new_version_with_the_old_content(api: Api) -> None:
    """Salts included, so that units get what they got then; who says so agrees that they move."""
    arms = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]
    config = {"enabled": True, "fallthrough": {"rollout": {"arms": arms}}}
    split = {"key": "f", "type": "boolean", "variants": {"on": True, "off": False}}
    split["environments"] = {"production": config}
    assert (await api.ask("POST", "/api/v1/flags", json=split)).status == 201
    before = (await api.ask("GET", FLAG)).json
    await api.ask("PUT", FLAG, json={"enabled": False})
    body = {"environments": {"production": {"salt": "another"}}}
    await api.ask("PATCH", FLAG + "?rebucket=true", json=body)
    refused = await revert(api, version=1)
    assert (refused.status, refused.json["code"]) == (409, "rebucketing")
    reply = await revert(api, "?rebucket=true", version=1)
    assert (reply.status, reply.headers["ETag"]) == (200, '"4"')
    ignored = {"version": 0, "updated_at": ""}
    assert reply.json | ignored == before | ignored
    history = (await api.ask("GET", HISTORY)).json["items"]
    assert history[0]["action"] == "flag.revert"


async def test_going_back_in_one_environment_leaves_the_others(api: Api) -> None:
    """Of today's variants."""
    await three_versions(api)
    await api.ask("PUT", FLAG + "?environment=staging", json={"value": "staged"})
    reply = await revert(api, version=1, environment="production")
    assert reply.json["value"] == "one"
    staging = await api.ask("GET", FLAG + "?environment=staging")
    assert staging.json["value"] == "staged"


async def test_going_back_to_where_one_is_changes_nothing(api: Api) -> None:
    """No version more."""
    await three_versions(api)
    assert (await revert(api, version=3)).headers["ETag"] == '"3"'


async def test_going_back_brings_back_prerequisites_windows_and_ramps(api: Api) -> None:
    """As they were, also in one environment alone."""
    await api.ask("POST", "/api/v1/flags", json=SIMPLE | {"key": "api"})
    ramp = {"variant": "default", "else": "two", "from": 0, "to": 50_000, "by": "targetingKey"}
    ramp |= {"start": "2001-01-01T00:00:00Z", "end": "2001-01-02T00:00:00Z"}
    config = {
        "prerequisites": [{"flag": "api", "variants": ["default"]}],
        "rules": [
            {
                "id": "r",
                "when": {"all": []},
                "active": {"until": "2001-01-01T00:00:00Z"},
                "serve": {"ramp": ramp},
            }
        ],
        "fallthrough": {"variant": None, "ramp": ramp},
    }
    await api.ask("POST", "/api/v1/flags", json=SIMPLE)
    changes = {"variants": {"two": "2"}, "environments": {"production": config}}
    before = await api.ask("PATCH", FLAG, json=changes)
    assert before.status == 200
    plain = {"prerequisites": [], "rules": [], "fallthrough": {"ramp": None, "variant": "two"}}
    await api.ask("PATCH", FLAG, json={"environments": {"production": plain}})
    for part in ({}, {"environment": "production"}):
        reply = await revert(api, version=2, **part)
        assert reply.json["environments"] == before.json["environments"]
        assert '"buckets":50000' in reply.headers["Matrixflag-Moved"]
        await api.ask("PATCH", FLAG, json={"environments": {"production": plain}})


async def test_a_deleted_flag_comes_back(api: Api) -> None:
    """With its history, under the next number."""
    await three_versions(api)
    await api.ask("DELETE", FLAG)
    items = (await api.ask("GET", HISTORY)).json["items"]
    assert (items[0]["version"], items[0]["action"], items[0]["flag"]) == (4, "flag.delete", None)
    reply = await revert(api, version=2)
    assert (reply.status, reply.json["value"], reply.json["version"]) == (200, "two", 5)
    refused = await revert(api, version=4)
    assert (refused.status, refused.json["code"]) == (409, "version_is_deletion")


async def test_what_made_sense_then_need_not_now(api: Api) -> None:
    """A segment that is gone: refused, with the place."""
    leaf = {"attribute": "a", "op": "equals", "values": [1]}
    await api.ask("POST", "/api/v1/segments", json={"key": "beta", "when": leaf})
    rule = {"when": {"segment": "beta"}, "serve": {"variant": "default"}}
    await api.ask("POST", "/api/v1/flags", json=SIMPLE)
    config = {"environments": {"production": {"rules": [rule]}}}
    await api.ask("PATCH", FLAG, json=config)
    await api.ask("PATCH", FLAG, json={"environments": {"production": {"rules": []}}})
    assert (await api.ask("DELETE", "/api/v1/segments/beta")).status == 204
    reply = await revert(api, version=2)
    assert reply.status == 422
    assert reply.json["problems"][0]["code"] == "unknown_segment"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/history?flag=nope", 404, "flag_not_found"),
        ("/api/v1/history", 400, "invalid_parameter"),
        ("/api/v1/history?flag=f&cursor=YWJj", 400, "invalid_parameter"),
        ("/api/v1/history?flag=f&project=nope", 404, "project_not_found"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    api: Api, path: str, status: int, code: str
) -> None:
    """By name."""
    await three_versions(api)
    reply = await api.ask("GET", path)
    assert (reply.status, reply.json["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"version": 99}, 404, "version_not_found"),
        ({"version": 1, "flag": "nope"}, 404, "flag_not_found"),
        ({"version": 1, "environment": "nope"}, 404, "environment_not_found"),
        ({"version": "1"}, 422, "invalid_document"),
        ({}, 422, "invalid_document"),
    ],
)
async def test_a_revert_that_cannot_be_is_refused(
    api: Api, body: dict[str, Any], status: int, code: str
) -> None:
    """Each with its own reason."""
    await three_versions(api)
    reply = await revert(api, **body)
    assert (reply.status, reply.json["code"]) == (status, code)


async def test_old_versions_are_dropped_by_number(api: Api) -> None:
    """A hundred are kept."""
    await api.ask("POST", "/api/v1/flags", json=SIMPLE)
    for number in range(120):
        await api.ask("PUT", FLAG, json={"value": f"v{number % 3}"})
    items = (await api.ask("GET", HISTORY + "&limit=500")).json["items"]
    assert [item["version"] for item in items] == list(range(121, 21, -1))


async def test_old_versions_are_dropped_by_age(api: Api, session_redis: RedisServer) -> None:
    """Ninety days, the newest in any case."""
    await three_versions(api)
    key = "mf:{default}:history:flag:f"
    with session_redis.client() as client:
        aged = [b"1000000000000 " + row.partition(b" ")[2] for row in client.lrange(key, 0, -1)]
        client.delete(key)
        client.rpush(key, *aged)
        await api.ask("PUT", FLAG, json={"value": "four"})
        assert [json.loads(r.partition(b" ")[2])["version"] for r in client.lrange(key, 0, -1)] == [
            4
        ]


async def test_the_history_of_a_deleted_flag_ends_some_day(
    api: Api, session_redis: RedisServer
) -> None:
    """And lives on when the flag comes back."""
    await three_versions(api)
    key = "mf:{default}:history:flag:f"
    with session_redis.client() as client:
        assert client.ttl(key) == -1
        await api.ask("DELETE", FLAG)
        assert 89 * 86_400 < client.ttl(key) <= 90 * 86_400
        await revert(api, version=1)
        assert client.ttl(key) == -1


async def test_a_full_project_takes_no_flag_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back makes a flag as any creation does."""
    await three_versions(api)
    await api.ask("DELETE", FLAG)
    monkeypatch.setattr(flags_service, "MAX_FLAGS", 0)
    reply = await revert(api, version=1)
    assert (reply.status, reply.json["code"]) == (409, "too_many")


@pytest.mark.parametrize("part", [{}, {"environment": "production"}], ids=["whole", "part"])
async def test_only_the_version_named_is_taken_back(api: Api, part: dict[str, str]) -> None:
    """What somebody else just changed is not lost by going back."""
    await three_versions(api)
    body = {"flag": "f", "version": 1} | part
    stale = await api.ask("POST", REVERT, json=body, headers={"If-Match": '"2"'})
    assert (stale.status, stale.headers["ETag"]) == (412, '"3"')
    reply = await api.ask("POST", REVERT, json=body, headers={"If-Match": '"3"'})
    assert (reply.status, reply.headers["ETag"]) == (200, '"4"')
