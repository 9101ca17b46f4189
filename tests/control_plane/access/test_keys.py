"""Keys over their life: networks, changes, rotation, use, and their end on every replica."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import aiohttp
import pytest

from control_plane.access.model import KeyPatch
from control_plane.keys import LAST_USED, REPLICA
from control_plane.networks import networks
from control_plane.store.projects import ProjectStore
from proxy.contract.access import hash_key
from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH
from tests.support.api import Api, running_api, until

BEHIND_PROXY: dict[str, Any] = {
    "trusted_proxies": networks("127.0.0.1"),
    "redis_timeout_s": 10.0,
}
INSIDE, OUTSIDE = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.7"}


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane behind a proxy that is trusted: this test."""
    async with running_api(redis_url, **BEHIND_PROXY) as running:
        yield running


@asynccontextmanager
async def two_apis(redis_url: str) -> AsyncIterator[tuple[Api, Api]]:
    """Run two replicas."""
    async with (
        running_api(redis_url, **BEHIND_PROXY) as one,
        running_api(redis_url, **BEHIND_PROXY) as other,
    ):
        yield one, other


async def flags(api: Api, key: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Return what a key is answered that asks for flags."""
    reply = await api.ask("GET", "/api/v1/flags", token=key, headers=headers)
    return reply.status, (reply.json or {}).get("code")


# Networks


async def test_a_key_is_taken_from_its_networks_alone(api: Api) -> None:
    """In each spelling of an address; and a header that nobody trusted wrote says nothing."""
    key = (await api.make_key("service", role="viewer", allowed_networks=["192.0.2.0/24"]))["key"]
    assert await flags(api, key, INSIDE) == (200, None)
    for spelling in ("::ffff:192.0.2.7", "[::ffff:192.0.2.7]:443", "192.0.2.7:443"):
        assert await flags(api, key, {"X-Forwarded-For": spelling}) == (200, None)
    denied = (403, "address_denied")
    assert await flags(api, key, OUTSIDE) == denied
    assert await flags(api, key) == denied
    for spoofed in (
        {"X-Forwarded-For": "192.0.2.7, 198.51.100.7"},
        {"Forwarded": "for=192.0.2.7"},
        {"X-Real-IP": "192.0.2.7", "X-Client-IP": "192.0.2.7", "True-Client-IP": "192.0.2.7"},
        {"X-Forwarded-For": "192.0.2.7%eth0"},
        {"X-Forwarded-For": "192.0.2.007"},
        {"X-Forwarded-For": "3221225991"},
    ):
        assert await flags(api, key, spoofed) == denied


async def test_denied_networks_win(api: Api) -> None:
    """Over all that are allowed, and alone leave everything else open."""
    key = (
        await api.make_key(
            "service",
            role="viewer",
            allowed_networks=["192.0.2.0/24", "198.51.100.0/24"],
            denied_networks=["198.51.100.0/25"],
        )
    )["key"]
    assert (await flags(api, key, INSIDE))[0] == 200
    assert (await flags(api, key, OUTSIDE))[0] == 403
    assert (await flags(api, key, {"X-Forwarded-For": "198.51.100.200"}))[0] == 200
    other = (await api.make_key("service", role="viewer", denied_networks=["198.51.100.7"]))["key"]
    assert (await flags(api, other, OUTSIDE))[0] == 403
    assert (await flags(api, other, {"X-Forwarded-For": "2001:db8::1"}))[0] == 200


async def test_a_wrong_key_is_not_told_about_networks(api: Api) -> None:
    """Nor is one that has no business here."""
    made = await api.make_key("sidecar", allowed_networks=["192.0.2.0/24"])
    assert (await flags(api, made["key"] + "x", OUTSIDE))[0] == 401
    assert await flags(api, made["key"], OUTSIDE) == (403, "forbidden")
    reply = await api.ask("GET", SNAPSHOT_PATH, token=made["key"], headers=OUTSIDE)
    assert (reply.status, reply.json["code"]) == (403, "address_denied")
    reply = await api.ask("GET", SNAPSHOT_PATH, token=made["key"], headers=INSIDE)
    assert reply.status == 200


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"allowed_networks": ["192.0.2.0/24", "192.0.2.1/24"]}, ["/allowed_networks/1"]),
        ({"denied_networks": ["fe80::1%eth0"]}, ["/denied_networks/0"]),
        ({"denied_networks": ["::/0", "010.0.0.0/8"]}, ["/denied_networks/1"]),
        ({"allowed_networks": ["192.0.2.1"] * 101}, ["/allowed_networks"]),
        (
            {"allowed_networks": ["example.com"], "denied_networks": [""]},
            ["/allowed_networks/0", "/denied_networks/0"],
        ),
        ({"allowed_networks": [3]}, ["/allowed_networks/0"]),
        ({"allowed_networks": "192.0.2.0/24"}, ["/allowed_networks"]),
        ({"allowed_networks": {"$ne": []}}, ["/allowed_networks"]),
    ],
)
async def test_networks_that_make_no_sense_are_refused(
    api: Api, members: dict[str, Any], where: list[str]
) -> None:
    """With their places, when a key is made and when it is changed."""
    body = {"kind": "service", "role": "viewer", **members}
    made = await api.ask("POST", "/api/v1/keys", json=body)
    key = await api.make_key("service", role="viewer")
    changed = await api.ask("PATCH", f"/api/v1/keys/{key['id']}", json=members)
    for reply in (made, changed):
        assert reply.status == 422
        assert [problem["pointer"] for problem in reply.json["problems"]] == where


async def test_evaluation_keys_have_no_networks(api: Api) -> None:
    """A list that nobody looks at would be a promise that nobody keeps."""
    body = {"kind": "server", "denied_networks": ["192.0.2.0/24"]}
    reply = await api.ask("POST", "/api/v1/keys", json=body)
    assert reply.status == 422
    assert reply.json["problems"][0]["pointer"] == "/denied_networks"


async def test_who_would_lock_themselves_out_is_told(api: Api) -> None:
    """And does it when they say so; of another key it is their own affair."""
    mine = await api.make_key("service", role="admin")
    other = await api.make_key("service", role="admin")
    change = {"allowed_networks": ["192.0.2.0/24"]}

    async def changed(key: dict[str, Any], query: str = "") -> tuple[int, str]:
        path = f"/api/v1/keys/{key['id']}{query}"
        reply = await api.ask("PATCH", path, token=mine["key"], json=change, headers=OUTSIDE)
        return reply.status, reply.json.get("code", "")

    assert await changed(mine) == (409, "lockout")
    assert (await flags(api, mine["key"], OUTSIDE))[0] == 200
    assert await changed(other) == (200, "")
    assert await changed(mine, "?force=true") == (200, "")
    assert (await flags(api, mine["key"], OUTSIDE))[0] == 403


# Changes


async def test_what_is_left_out_of_a_change_stays(api: Api) -> None:
    """And null takes an end away."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await api.make_key("service", role="viewer", name="a", expires_at=soon)
    path = f"/api/v1/keys/{made['id']}"
    changed = await api.ask("PATCH", path, json={"name": "a/b ☃ '}{"})
    assert changed.status == 200
    expected = {**made, "name": "a/b ☃ '}{"}
    del expected["key"]
    assert changed.json == expected
    changed = await api.ask("PATCH", path, json={"expires_at": None})
    assert changed.json == {**expected, "expires_at": None}
    assert (await api.ask("GET", path)).json == {**expected, "expires_at": None}
    wrong = {"name": "x" * 201, "expires_at": "2020-01-01T00:00:00Z"}
    refused = await api.ask("PATCH", path, json=wrong)
    assert {p["pointer"] for p in refused.json["problems"]} == {"/name", "/expires_at"}
    for body in ({"role": "admin"}, {"hash": "x"}, {"kind": "sidecar"}, {"project": "x"}):
        assert (await api.ask("PATCH", path, json=body)).status == 422


async def test_a_key_that_has_expired_stays_so(api: Api) -> None:
    """Whatever is tried."""
    made = await api.make_key("service", role="viewer")
    path = f"/api/v1/keys/{made['id']}"
    assert (await api.ask("POST", f"{path}/rotate", json={"overlap_s": 0})).status == 201
    assert await flags(api, made["key"]) == (401, "key_expired")
    for reply in (
        await api.ask("PATCH", path, json={"expires_at": None}),
        await api.ask("POST", f"{path}/rotate", json={}),
    ):
        assert (reply.status, reply.json["code"]) == (409, "key_ended")


async def test_what_of_a_key_cannot_become_another_says_so(api: Api) -> None:
    """Whatever is shown of it and is not changed here; what there is not is unknown."""
    made = await api.make_key("service", role="viewer")
    path = f"/api/v1/keys/{made['id']}"
    shown = (await api.ask("GET", path)).json
    fixed = {name: value for name, value in shown.items() if name in KeyPatch.READ_ONLY}
    assert fixed.keys() == shown.keys() - set(KeyPatch.__struct_fields__)
    reply = await api.ask("PATCH", path, json={**fixed, "role": "admin", "owner": "x"})
    assert reply.status == 422
    told = {each["pointer"]: each["code"] for each in reply.json["problems"]}
    assert told == {f"/{name}": "read_only" for name in fixed} | {"/owner": "unknown_field"}
    assert (await api.ask("GET", path)).json["role"] == "viewer"


# Rotation


async def test_both_keys_are_good_in_the_overlap(api: Api) -> None:
    """The new one has all that the old one had; both are in the audit log, and no secret is."""
    life = timedelta(days=10)
    ends = datetime.now(UTC) + life
    old = await api.make_key(
        "service", role="manager", environment="staging", name="pipeline",
        allowed_networks=["127.0.0.1"], expires_at=ends.isoformat(),
    )  # fmt: skip
    reply = await api.ask("POST", f"/api/v1/keys/{old['id']}/rotate", json={"overlap_s": 600})
    assert reply.status == 201
    new = reply.json
    assert reply.headers["Location"] == f"/api/v1/keys/{new['id']}"
    same = ("kind", "project", "environment", "role", "name", "allowed_networks", "denied_networks")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert new["replaces"] == old["id"]
    assert new["key"] != old["key"]
    assert abs(datetime.fromisoformat(new["expires_at"]) - ends) < timedelta(minutes=1)
    assert (await flags(api, old["key"]))[0] == (await flags(api, new["key"]))[0] == 200
    kept = (await api.ask("GET", f"/api/v1/keys/{old['id']}")).json
    left = datetime.fromisoformat(kept["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=500) < left <= timedelta(seconds=600)
    log = await api.ask("GET", "/api/v1/audit?limit=1")
    (entry,) = log.json["items"]
    assert entry["action"] == "key.rotate"
    assert set(entry["targets"]) == {f"key:{old['id']}", f"key:{new['id']}"}
    for made in (old, new):
        assert made["key"].encode() not in log.body
        assert made["key"].removeprefix(made["prefix"]).encode() not in log.body


@pytest.mark.parametrize("days", [None, 30])
@pytest.mark.parametrize("first_is_deleted", [False, True])
async def test_a_second_rotation_gives_what_the_first_gave(
    api: Api, days: int | None, first_is_deleted: bool
) -> None:
    """As is advised when the answer was lost: the overlap is no life to pass on."""
    ends = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    old = await api.make_key("service", role="manager", expires_at=ends)
    path = f"/api/v1/keys/{old['id']}"
    first = (await api.ask("POST", f"{path}/rotate", json={"overlap_s": 3600})).json
    cut = (await api.ask("GET", path)).json["expires_at"]
    if first_is_deleted:
        assert (await api.ask("DELETE", f"/api/v1/keys/{first['id']}")).status == 204
    for _ in range(2):
        again = (await api.ask("POST", f"{path}/rotate", json={"overlap_s": 3600})).json
        if days is None:
            assert again["expires_at"] is first["expires_at"] is None
        else:
            both = (datetime.fromisoformat(each["expires_at"]) for each in (first, again))
            assert abs(next(both) - next(both)) < timedelta(minutes=1)
        assert again["replaces"] == old["id"]
    # of its own overlap nothing is passed on either, and no second one lengthens the first
    after = (await api.ask("POST", f"/api/v1/keys/{again['id']}/rotate", json={})).json
    assert (after["expires_at"] is None) is (days is None)
    assert (await api.ask("GET", path)).json["expires_at"] == cut


async def test_an_end_that_is_given_to_a_rotated_key_is_its_own(api: Api) -> None:
    """Whoever sets an end by hand means it."""
    old = await api.make_key("service", role="manager")
    path = f"/api/v1/keys/{old['id']}"
    assert (await api.ask("POST", f"{path}/rotate", json={})).json["expires_at"] is None
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    assert (await api.ask("PATCH", path, json={"expires_at": soon})).status == 200
    again = (await api.ask("POST", f"{path}/rotate", json={})).json
    left = datetime.fromisoformat(again["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1) < left < timedelta(days=3)


async def test_an_overlap_does_not_lengthen_a_life(api: Api) -> None:
    """A key that ends in a minute ends in a minute."""
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    old = await api.make_key("service", role="viewer", expires_at=soon)
    path = f"/api/v1/keys/{old['id']}"
    assert (await api.ask("POST", f"{path}/rotate", json={"overlap_s": 3600})).status == 201
    assert (await api.ask("GET", path)).json["expires_at"] == old["expires_at"]


@pytest.mark.parametrize("overlap", [-1, 30 * 24 * 3600 + 1, 1.5, "1", None, True])
async def test_an_overlap_has_bounds(api: Api, overlap: Any) -> None:
    """A month at most."""
    made = await api.make_key("sidecar")
    path = f"/api/v1/keys/{made['id']}/rotate"
    assert (await api.ask("POST", path, json={"overlap_s": overlap})).status == 422
    assert (await api.ask("POST", "/api/v1/keys/k_none/rotate", json={})).status == 404


async def test_evaluation_keys_rotate_in_snapshots(api: Api) -> None:
    """Sidecars get the new one and the end of the old one with one revision."""
    old = await api.make_key("server")
    snapshot = api.app[REPLICA].project("default").snapshots["production"]
    before = snapshot.revision
    new = (await api.ask("POST", f"/api/v1/keys/{old['id']}/rotate", json={})).json
    assert snapshot.revision == before + 1
    line = snapshot.line("key", old["id"])
    assert line is not None
    assert b"expires" in line
    assert snapshot.line("key", new["id"]) is not None


# Use


async def test_when_a_key_was_used_is_known_on_all_replicas(redis_url: str) -> None:
    """Noted at once where it was used, told elsewhere once it is written; the latest counts."""
    async with two_apis(redis_url) as (one, other):
        made = await one.make_key("service", role="viewer")
        path = f"/api/v1/keys/{made['id']}"
        assert made["last_used_at"] is None
        assert (await one.ask("GET", path)).json["last_used_at"] is None

        async def is_known() -> bool:
            return (await flags(other, made["key"]))[0] == 200

        await until(is_known)
        here = (await other.ask("GET", path)).json["last_used_at"]
        assert here is not None
        assert (await one.ask("GET", path)).json["last_used_at"] is None
        await other.app[LAST_USED].write()
        listed = (await one.ask("GET", "/api/v1/keys")).json["items"]
        assert [key["last_used_at"] for key in listed if key["id"] == made["id"]] == [here]
        assert (await flags(one, made["key"]))[0] == 200
        later = (await one.ask("GET", path)).json["last_used_at"]
        assert later >= here
        await one.app[LAST_USED].write()
        other.app[LAST_USED]._noted["default", made["id"]] = 1  # a clock that is far behind
        await other.app[LAST_USED].write()
        assert (await other.ask("GET", path)).json["last_used_at"] == later


async def test_of_a_deleted_key_nothing_is_left(api: Api, redis_url: str) -> None:
    """Also when a replica notes a use of it afterwards."""
    made = await api.make_key("service", role="viewer")
    key = api.app[REPLICA].project("default").keys[made["id"]]
    assert (await flags(api, made["key"]))[0] == 200
    await api.app[LAST_USED].write()
    assert (await api.ask("DELETE", f"/api/v1/keys/{made['id']}")).status == 204
    api.app[LAST_USED].note(key)
    await api.app[LAST_USED].write()
    assert await api.app[LAST_USED]._store.read("default", [made["id"]]) == {}


async def test_a_refused_key_was_not_used(api: Api) -> None:
    """From elsewhere, or at a route that is not for it."""
    made = await api.make_key("service", role="viewer", allowed_networks=["192.0.2.0/24"])
    assert (await flags(api, made["key"], OUTSIDE))[0] == 403
    sidecar = await api.make_key("sidecar")
    assert (await flags(api, sidecar["key"]))[0] == 403
    listed = (await api.ask("GET", "/api/v1/keys")).json["items"]
    assert [key["last_used_at"] for key in listed] == [None, None]


# Its end


async def _gone_within(api: Api, key: str, *, of_s: float) -> float:
    """Return how long a replica still took a key."""
    began = monotonic()
    while (await flags(api, key))[0] == 200:
        assert monotonic() - began < of_s, "the key is still taken"
        await asyncio.sleep(0.02)
    return monotonic() - began


def _deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no replica told of any change: the messages are lost."""

    async def told_nothing(*_: Any, **__: Any) -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return {}

    monkeypatch.setattr(ProjectStore, "follow", told_nothing)


@pytest.mark.parametrize("lost", [False, True], ids=["told", "lost"])
@pytest.mark.parametrize("how", ["delete", "rotate", "expire", "networks"])
async def test_an_end_is_effective_on_every_replica(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, how: str, lost: bool
) -> None:
    """For requests and for streams, whether or not the other replica was told of the change."""
    if lost:
        _deaf(monkeypatch)
    async with two_apis(redis_url) as (one, other):
        service = await one.make_key("service", role="viewer")
        sidecar = await one.make_key("sidecar")

        async def is_known() -> bool:
            return {(await flags(other, service["key"]))[0], await synced()} == {200}

        async def synced() -> int:
            return (await other.ask("GET", SNAPSHOT_PATH, token=sidecar["key"])).status

        await until(is_known)
        headers = {"Authorization": f"Bearer {sidecar['key']}"}

        async def follow() -> float:
            async with other.session.get(other.url + STREAM_PATH, headers=headers) as response:
                assert response.status == 200
                await response.content.readline()
                following.set()
                with suppress(aiohttp.ClientError):
                    await response.content.read()
            return monotonic()

        following = asyncio.Event()
        stream = asyncio.create_task(follow())
        await asyncio.wait_for(following.wait(), 20)
        for made in (service, sidecar):
            path = f"/api/v1/keys/{made['id']}"
            match how:
                case "delete":
                    reply = await one.ask("DELETE", path)
                case "rotate":
                    reply = await one.ask("POST", f"{path}/rotate", json={"overlap_s": 0})
                case "expire":
                    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
                    reply = await one.ask("PATCH", path, json={"expires_at": soon})
                case _:
                    change = {"denied_networks": ["127.0.0.0/8"]}
                    reply = await one.ask("PATCH", path, json=change)
            assert reply.status in (200, 201, 204), reply.body
        ended = monotonic() + (how == "expire")
        await _gone_within(other, service["key"], of_s=20)
        cut_after = await asyncio.wait_for(stream, 20) - ended
        print(f"{how}, {'lost' if lost else 'told'}: the stream was cut after {cut_after:.2f} s")
        assert cut_after < 15


async def test_sidecars_tell_when_evaluation_keys_were_used(api: Api) -> None:
    """Of their own environment alone, of these kinds alone, and of no time to come."""
    sidecar = (await api.make_key("sidecar"))["key"]
    made = {
        "server": await api.make_key("server"),
        "client": await api.make_key("client"),
        "future": await api.make_key("client"),
        "unused": await api.make_key("server"),
        "elsewhere": await api.make_key("server", environment="staging"),
        "sidecar": await api.make_key("sidecar"),
        "service": await api.make_key("service", role="viewer"),
    }
    ago = {"server": 60_000, "future": -3_600_000, "client": 10**15}
    used = {hash_key(m["key"]): ago.get(n, 0) for n, m in made.items() if n != "unused"}
    body = {"instance": "i-1", "keys_used": {**used, "nobody": 0, "": 0}}
    reply = await api.ask("POST", "/api/v1/sync/standing", token=sidecar, json=body)
    assert reply.status == 204, reply.body
    listed = {k["id"]: k for k in (await api.ask("GET", "/api/v1/keys")).json["items"]}
    at = {name: listed[m["id"]]["last_used_at"] for name, m in made.items()}
    assert {name for name, when in at.items() if when} == {"server", "client", "future"}
    now = datetime.now(UTC)
    assert 60 <= (now - datetime.fromisoformat(at["server"])).total_seconds() < 90
    assert 0 <= (now - datetime.fromisoformat(at["future"])).total_seconds() < 30
    assert (now - datetime.fromisoformat(at["client"])).days == 7
    fleet = (await api.ask("GET", "/api/v1/fleet")).body
    assert b"keys_used" not in fleet
    assert not any(hashed.encode() in fleet for hashed in used)
