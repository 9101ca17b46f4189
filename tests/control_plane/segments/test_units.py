"""The units of segments over real HTTP, on a real Redis."""

import asyncio
import gzip
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
import redis

from control_plane.keys import UNITS
from control_plane.publishing.replica import Replica
from control_plane.segments import routes
from control_plane.segments.lists import INCLUDE, UnitChanges
from control_plane.segments.model import SegmentInput
from control_plane.segments.service import SegmentService
from control_plane.segments.units import UnitService
from control_plane.store.keys import ProjectKeys
from proxy.contract.definitions import SegmentDefinition, UnitLists
from proxy.contract.problems import Problem
from proxy.contract.snapshot import read_entry
from proxy.contract.steps import finish
from proxy.contract.sync import BLOBS_PATH
from proxy.contract.units import EMPTY_BLOB, digests_of, read_blob
from proxy.engine.units import UnitSet, unit_set
from tests.control_plane.publishing.replicas import until_same
from tests.support.api import Api, Reply, running_api
from tests.support.control_plane import AUTHOR
from tests.support.definitions import any_version
from tests.support.redis import RedisServer
from tests.support.units import names

SEGMENT = "/api/v1/segments/big"
UNITS_PATH = SEGMENT + "/units"
LINES = {"Content-Type": "application/x-ndjson"}
KEYS = ProjectKeys("default")
WAIT_S = 20.0


def lines(
    include: Iterable[str] = (), exclude: Iterable[str] = (), remove: Iterable[str] = ()
) -> bytes:
    """Return a body that says this of units."""
    said = {"include": include, "exclude": exclude, "remove": remove}
    texts = [json.dumps({word: unit}) for word, units in said.items() for unit in units]
    return "".join(text + "\n" for text in texts).encode()


async def create(api: Api, key: str = "big", **members: Any) -> Reply:
    """Create a segment."""
    reply = await api.ask("POST", "/api/v1/segments", json={"key": key} | members)
    assert reply.status == 201, reply.body
    return reply


async def write(
    api: Api, method: str, body: bytes, status: int = 200, path: str = UNITS_PATH, **headers: str
) -> Reply:
    """Send lines."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await api.ask(method, path, data=body, headers=LINES | named)
    assert reply.status == status, reply.body
    return reply


async def read(api: Api, path: str = UNITS_PATH) -> tuple[list[str], list[str]]:
    """Return the units of a segment, in the order of the answer."""
    reply = await api.ask("GET", path)
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in reply.body.splitlines()]
    assert [next(iter(row)) for row in rows] == sorted((next(iter(r)) for r in rows), reverse=True)
    return (
        [row["include"] for row in rows if "include" in row],
        [row["exclude"] for row in rows if "exclude" in row],
    )


def stored(url: str) -> dict[bytes, bytes]:
    """Return what Redis holds of units."""
    found: dict[bytes, bytes] = redis.Redis.from_url(url).hgetall(KEYS.units)  # type: ignore[assignment]
    return found


def published(api: Api) -> UnitLists:
    """Return the lists as sidecars are told of them."""
    state = api.app[UNITS]._replica.project("default")
    line = state.snapshots["production"].line("segment", "big")
    assert line is not None
    definition = msgspec.json.decode(read_entry(line).definition, type=SegmentDefinition)
    assert isinstance(definition.units, UnitLists)
    return definition.units


class TestShortLists:
    """A thousand units are in the segment's document, whatever way they came."""

    async def test_units_are_put_in_moved_and_taken_out(self, api: Api) -> None:
        """In the order of the lines; the answer is the segment."""
        await create(api, included=["a"])
        body = lines(include=["b", "c"], exclude=["a", "d"], remove=["c", "nobody"])
        reply = await write(api, "POST", body)
        assert (reply.json["included"], reply.json["excluded"]) == (["b"], ["a", "d"])
        assert (reply.json["version"], reply.headers["ETag"]) == (2, '"2"')
        assert "units" not in reply.json
        assert await read(api) == (["b"], ["a", "d"])
        assert (await api.ask("GET", SEGMENT)).json == reply.json

    async def test_a_put_replaces_both_lists(self, api: Api) -> None:
        """Units that are not in the body are gone."""
        await create(api, included=["a"], excluded=["b"])
        reply = await write(api, "PUT", lines(exclude=["c"]))
        assert (reply.json["included"], reply.json["excluded"]) == ([], ["c"])
        reply = await write(api, "PUT", b"")
        assert (reply.json["included"], reply.json["excluded"]) == ([], [])

    async def test_what_is_so_already_changes_nothing(self, api: Api) -> None:
        """No version, nothing published."""
        await create(api, included=["z", "a"], excluded=["b"])
        body = (await api.ask("GET", UNITS_PATH)).body
        for method in ("POST", "PUT"):
            reply = await write(api, method, body)
            assert (reply.json["version"], reply.json["included"]) == (1, ["z", "a"])

    async def test_only_the_version_named_is_changed(self, api: Api) -> None:
        """Or read, if it is another."""
        await create(api, included=["a"])
        for method in ("POST", "PUT"):
            reply = await write(api, method, lines(["b"]), 412, If_Match='"9"')
            assert reply.headers["ETag"] == '"1"'
        await write(api, "POST", lines(["b"]), If_Match='"1"')
        same = await api.ask("GET", UNITS_PATH, headers={"If-None-Match": '"2"'})
        assert (same.status, same.body) == (304, b"")
        head = await api.ask("HEAD", UNITS_PATH)
        assert (head.status, head.headers["ETag"], head.body) == (200, '"2"', b"")

    async def test_nothing_is_done_when_a_line_is_wrong(self, api: Api) -> None:
        """All of what is wrong is said."""
        await create(api, included=["a"])
        body = lines(["b"]) + b'{"add":"c"}\n{"include":""}\n'
        reply = await write(api, "POST", body, 422)
        assert [p["pointer"] for p in reply.json["problems"]] == ["/2/add", "/3/include"]
        assert await read(api) == (["a"], [])
        reply = await write(api, "POST", b'{"add":"c"}\n' * 5_000, 422)
        assert len(reply.json["problems"]) == 100
        assert "there may be others, since looking ends at 100" in reply.json["detail"]

    async def test_a_segment_that_is_not_there_is_not_found(self, api: Api) -> None:
        """Before a long body is read."""
        for method in ("GET", "POST", "PUT"):
            reply = await api.ask(method, UNITS_PATH, data=b"", headers=LINES)
            assert (reply.status, reply.json["code"]) == (404, "segment_not_found")

    async def test_lines_have_to_be_declared_as_such(self, api: Api) -> None:
        """As every body."""
        await create(api)
        reply = await api.ask("PUT", UNITS_PATH, json={"include": "a"})
        assert reply.status == 415
        reply = await api.ask("PUT", SEGMENT, data=lines(["a"]), headers=LINES)
        assert reply.status == 415

    async def test_a_body_may_be_compressed(self, api: Api) -> None:
        """And is no longer when it is read."""
        await create(api)
        body = gzip.compress(lines(names(900)))
        reply = await write(api, "PUT", body, Content_Encoding="gzip")
        assert len(reply.json["included"]) == 900
        reply = await write(api, "PUT", body[:-20], 400, Content_Encoding="gzip")
        assert "breaks off" in reply.json["detail"]

    async def test_a_body_is_bounded(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also one that is small while it is compressed."""
        await create(api)
        monkeypatch.setattr(routes, "_MAX_LINES_BYTES", 1_000)
        await write(api, "PUT", b"\n" * 1_001, 413)
        await write(api, "PUT", gzip.compress(b"\n" * 10**7), 413, Content_Encoding="gzip")


class TestLongLists:
    """More than a thousand are blobs: hashes for sidecars, text in Redis."""

    async def test_long_lists_are_counted_in_the_segment_and_read_in_order(self, api: Api) -> None:
        """What was written is what is read."""
        await create(api)
        included, excluded = names(6_000), names(10, "x")
        reply = await write(api, "PUT", lines(included, excluded))
        assert reply.json["units"] == {"included": 6_000, "excluded": 10}
        assert (reply.json["included"], reply.json["excluded"]) == ([], [])
        assert (await api.ask("GET", SEGMENT)).json == reply.json
        assert await read(api) == (sorted(included), sorted(excluded))

    async def test_a_put_of_what_was_read_changes_nothing(self, api: Api) -> None:
        """Of the lines, and of the document."""
        await create(api)
        await write(api, "PUT", lines(names(6_000), names(10, "x")))
        body = (await api.ask("GET", UNITS_PATH)).body
        assert (await write(api, "PUT", body)).json["version"] == 2
        document = (await api.ask("GET", SEGMENT)).json
        for method in ("PUT", "PATCH"):
            reply = await api.ask(method, SEGMENT, json=document)
            assert (reply.status, reply.json["version"]) == (200, 2)

    async def test_one_unit_changes_one_blob(self, api: Api, redis_url: str) -> None:
        """What no list refers to any more is gone from Redis."""
        await create(api)
        await write(api, "PUT", lines(names(20_000)))
        before = stored(redis_url)
        reply = await write(api, "POST", lines(["new"], remove=["nobody"]))
        assert reply.json["units"] == {"included": 20_001, "excluded": 0}
        after = stored(redis_url)
        assert len(after) == len(before) == 8
        assert len(after.keys() - before.keys()) == 1
        assert set((await read(api))[0]) == {*names(20_000), "new"}

    async def test_a_list_becomes_short_again(self, api: Api, redis_url: str) -> None:
        """Then it is in the document, and nothing of it elsewhere."""
        await create(api)
        await write(api, "PUT", lines(names(1_001)))
        reply = await write(api, "POST", lines(exclude=["u-0"], remove=["u-1"]))
        assert reply.json["included"] == sorted(set(names(1_001)) - {"u-0", "u-1"})
        assert reply.json["excluded"] == ["u-0"]
        assert stored(redis_url) == {}

    async def test_a_list_has_a_million_units_at_most(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Counted after the whole body: a unit may come in for another."""
        await create(api)
        monkeypatch.setattr("control_plane.segments.units.MAX_UNITS", 2_000)
        await write(api, "PUT", lines(names(2_000), names(2_000, "x")))
        reply = await write(api, "POST", lines(["one more"]), 422)
        assert [p["code"] for p in reply.json["problems"]] == ["too_many"]
        await write(api, "POST", lines(["one more"], remove=["u-0"]))

    async def test_a_document_with_units_replaces_long_lists(
        self, api: Api, redis_url: str
    ) -> None:
        """Short ones by short ones, and more than a thousand by blobs."""
        await create(api)
        await write(api, "PUT", lines(names(2_000)))
        reply = await api.ask("PUT", SEGMENT, json={"included": ["a"]})
        assert (reply.json["included"], reply.json.get("units")) == (["a"], None)
        assert stored(redis_url) == {}
        reply = await api.ask("PATCH", SEGMENT, json={"included": names(3_000)})
        assert (reply.json["included"], reply.json["units"]["included"]) == ([], 3_000)
        assert len(await read(api)) == 2
        made = await create(api, "other", included=names(1_001), excluded=["x"])
        assert made.json["units"] == {"included": 1_001, "excluded": 1}

    async def test_a_document_without_units_keeps_long_lists(self, api: Api) -> None:
        """A name is changed without sending a million units."""
        await create(api)
        await write(api, "PUT", lines(names(2_000)))
        for method, body in (("PUT", {"name": "Big"}), ("PATCH", {"name": "Bigger"})):
            reply = await api.ask(method, SEGMENT, json=body)
            assert (reply.status, reply.json["units"]["included"]) == (200, 2_000)
        assert len((await read(api))[0]) == 2_000

    async def test_the_counts_cannot_be_changed(self, api: Api) -> None:
        """Nor can they stand beside lists that would replace what they count."""
        await create(api)
        counts = {"included": 2_000, "excluded": 0}
        for path, method, body in (
            ("/api/v1/segments", "POST", {"key": "other", "units": counts}),
            (SEGMENT, "PUT", {"units": counts}),
        ):
            reply = await api.ask(method, path, json=body)
            assert reply.status == 422
            assert [(p["pointer"], p["code"]) for p in reply.json["problems"]] == [
                ("/units", "read_only")
            ]
        await write(api, "PUT", lines(names(2_000)))
        for body in ({"units": counts, "included": ["a"]}, {"units": counts | {"excluded": 1}}):
            for method in ("PUT", "PATCH"):
                assert (await api.ask(method, SEGMENT, json=body)).status == 422
        assert (await api.ask("PUT", SEGMENT, json={"units": counts})).status == 200

    async def test_lists_of_equal_units_share_their_blobs(self, api: Api, redis_url: str) -> None:
        """They stay until the last list that has them is gone."""
        await create(api)
        await create(api, "other")
        body = lines(names(2_000))
        await write(api, "PUT", body)
        await write(api, "PUT", body, path="/api/v1/segments/other/units")
        assert len(stored(redis_url)) == 1
        assert (await api.ask("DELETE", SEGMENT)).status == 204
        assert len(stored(redis_url)) == 1
        assert len((await read(api, "/api/v1/segments/other/units"))[0]) == 2_000
        assert (await api.ask("DELETE", "/api/v1/segments/other")).status == 204
        assert stored(redis_url) == {}

    async def test_the_audit_log_says_what_was_done(self, api: Api, redis_url: str) -> None:
        """And by whom, but not with whom."""
        await create(api)
        await write(api, "PUT", lines(names(2_000)))
        await write(api, "POST", lines(["new"]))
        newest: Any = redis.Redis.from_url(redis_url).xrevrange(KEYS.audit, count=2)
        entries = [json.loads(fields[b"entry"]) for _, fields in newest]
        assert [e["action"] for e in entries] == [
            "segment.units.change",
            "segment.units.replace",
        ]
        assert entries[0]["targets"] == ["segment:big"]


async def test_the_last_part_of_a_new_key_is_not_units(api: Api) -> None:
    """Its path would be that of the units of another."""
    for key in ("units", "big/units"):
        reply = await api.ask("POST", "/api/v1/segments", json={"key": key})
        assert [p["code"] for p in reply.json["problems"]] == ["invalid_key"]
    await create(api, "units/big")


async def add(service: UnitService, unit: str) -> None:
    """Put a unit in."""
    changes = UnitChanges()
    changes.add(INCLUDE, unit)
    await service.change("default", "big", changes, AUTHOR, any_version, replace=False)


async def count(service: UnitService) -> int:
    """Return how many units there are."""
    found = await service.read("default", "big")
    return sum(len(piece) for _, piece in found.pieces())


async def make_on(one: Replica, other: Replica) -> None:
    """Make a segment with a long list, known to both replicas."""
    assert await one.wait_loaded(WAIT_S)
    assert await other.wait_loaded(WAIT_S)
    document = SegmentInput(key="big", included=names(1_500))
    await SegmentService(one).create("default", document, AUTHOR)
    await until_same(one, other)


async def test_writers_of_one_segment_lose_nothing(store_url: str) -> None:
    """On two replicas at once: what was not there any more is looked for again."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        await make_on(one, other)
        services = [UnitService(one), UnitService(other)]
        await asyncio.gather(*(add(services[n % 2], f"new-{n}") for n in range(20)))
        await until_same(one, other)
        assert [await count(service) for service in services] == [1_520, 1_520]


@pytest.mark.parametrize("followed", [True, False])
async def test_a_write_is_worked_out_again_when_another_was_first(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, followed: bool
) -> None:
    """Whether the replica has heard of that one before it commits, or learns it from Redis."""
    async with Replica(redis_url) as one, Replica(redis_url) as other:
        await make_on(one, other)
        fetch, times = one.units, iter(range(100))

        async def units(project: str, digests: Iterable[str]) -> dict[str, bytes]:
            found = await fetch(project, digests)
            if next(times) == 0:
                if not followed:
                    await one._mirror.stop()
                await add(UnitService(other), "another")
                if followed:
                    await until_same(one, other)
            return found

        monkeypatch.setattr(one, "units", units)
        await add(UnitService(one), "mine")
        assert await count(UnitService(one)) == 1_502
        assert one.project("default").segments["big"].version == 3


async def test_a_write_waits_for_another_but_not_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is worked out at a time, so that they do not take the memory of all at once."""
    await create(api)
    monkeypatch.setattr("control_plane.segments.units._PATIENCE_S", 0.05)
    async with api.app[UNITS]._turn:
        reply = await write(api, "POST", lines(["a"]), 503)
        assert reply.headers["Retry-After"] == "5"
    await write(api, "POST", lines(["a"]))


class TestBlobs:
    """What sidecars get."""

    async def test_sidecars_get_the_blobs_of_the_lists(self, api: Api) -> None:
        """Verified as they would, they answer as the lists do."""
        await create(api)
        await write(api, "PUT", lines(names(9_000), names(5, "x")))
        key = (await api.make_key("sidecar"))["key"]
        units = published(api)
        blobs: dict[str, bytes] = {}
        for digest in digests_of(units):
            reply = await api.ask("GET", f"{BLOBS_PATH}/{digest}", token=key)
            assert (reply.status, reply.headers["ETag"]) == (200, f'"{digest}"')
            assert reply.headers["Content-Type"] == "application/octet-stream"
            assert "immutable" in reply.headers["Cache-Control"]
            blob = read_blob(reply.body, digest)
            assert not isinstance(blob, Problem)
            blobs[digest] = blob
        assert not isinstance(units.included, msgspec.UnsetType)
        included = finish(unit_set(units.included, blobs))
        assert isinstance(included, UnitSet)
        assert all(included.contains(unit) for unit in names(9_000))
        assert not included.contains("x-1")

    async def test_a_blob_that_no_list_has_is_not_found(self, api: Api) -> None:
        """It was one of a list that has changed; the one of no units everybody has."""
        await create(api)
        await write(api, "PUT", lines(names(2_000)))
        (old,) = digests_of(published(api))
        key = (await api.make_key("sidecar"))["key"]
        same = await api.ask(
            "GET", f"{BLOBS_PATH}/{old}", token=key, headers={"If-None-Match": f'"{old}"'}
        )
        assert same.status == 304
        await write(api, "POST", lines(["new"]))
        for digest in (old, "x", "0" * 64):
            reply = await api.ask("GET", f"{BLOBS_PATH}/{digest}", token=key)
            assert (reply.status, reply.json["code"]) == (404, "blob_not_found")
        assert (await api.ask("GET", f"{BLOBS_PATH}/{EMPTY_BLOB}", token=key)).body == b""

    async def test_blobs_of_another_project_are_not_found(self, api: Api) -> None:
        """A key reads its own project."""
        await create(api)
        await write(api, "PUT", lines(names(2_000)))
        (digest,) = digests_of(published(api))
        assert (await api.ask("POST", "/api/v1/projects", json={"key": "p2"})).status == 201
        made = await api.ask("POST", "/api/v1/keys?project=p2", json={"kind": "sidecar"})
        reply = await api.ask("GET", f"{BLOBS_PATH}/{digest}", token=made.json["key"])
        assert reply.status == 404

    async def test_units_and_blobs_are_counted(self, api: Api) -> None:
        """In the metrics."""
        await create(api, included=["a"])
        await create(api, "other")
        await write(api, "PUT", lines(names(2_000)), path="/api/v1/segments/other/units")
        assert api.app[UNITS]._replica.project("default").unit_count() == 2_001


class TestRedisAway:
    """What goes on, and what does not, without the text of the units."""

    async def test_sidecars_get_blobs_while_redis_is_away(self, redis_server: RedisServer) -> None:
        """Units cannot be read or written meanwhile."""
        async with running_api(redis_server.url, redis_timeout_s=0.5) as api:
            await create(api)
            await write(api, "PUT", lines(names(2_000)))
            (digest,) = digests_of(published(api))
            key = (await api.make_key("sidecar"))["key"]
            redis_server.kill()
            reply = await api.ask("GET", f"{BLOBS_PATH}/{digest}", token=key)
            assert len(reply.body) == 24_000
            for method in ("GET", "POST", "PUT"):
                reply = await api.ask(method, UNITS_PATH, data=lines(["a"]), headers=LINES)
                assert (reply.status, reply.json["code"]) == (503, "redis_unavailable")
            redis_server.restart()

    async def test_a_restart_reads_the_blobs_again(self, redis_url: str) -> None:
        """Hashes are worked out from the text, and compared with the digest."""
        async with running_api(redis_url) as api:
            await create(api)
            await write(api, "PUT", lines(names(9_000)))
            held = dict(api.app[UNITS]._replica.project("default").blobs)
        async with running_api(redis_url) as api:
            replica = api.app[UNITS]._replica
            assert replica.project("default").blobs == held
            assert replica.blobs_read == len(held) == 4

    @pytest.mark.parametrize("damage", ["lost", "changed", "broken"])
    async def test_units_that_redis_lost_are_said_and_put_again(
        self, redis_url: str, damage: str
    ) -> None:
        """The rest is served; the list is whole again with a PUT of all of it."""
        async with running_api(redis_url) as api:
            await create(api)
            await write(api, "PUT", lines(names(5_000)))
        client = redis.Redis.from_url(redis_url)
        digest = next(iter(stored(redis_url)))
        if damage == "lost":
            client.hdel(KEYS.units, digest)  # type: ignore[arg-type]
        else:
            client.hset(KEYS.units, digest, '["other"]' if damage == "changed" else "[")  # type: ignore[arg-type]
        async with running_api(redis_url) as api:
            health = await api.ask("GET", "/health")
            assert (health.status, health.json["problems"]) == (
                503,
                ["the units of 1 segments are not in Redis: put them again"],
            )
            key = (await api.make_key("sidecar"))["key"]
            reply = await api.ask("GET", f"{BLOBS_PATH}/{digest.decode()}", token=key)
            assert (reply.status, reply.json["code"]) == (410, "blob_lost")
            reply = await write(api, "POST", lines(["new"]), 409)
            assert reply.json["code"] == "missing_blob"
            if damage != "changed":
                reply = await api.ask("GET", UNITS_PATH)
                assert (reply.status, reply.json["code"]) == (409, "missing_blob")
            assert (await api.ask("PATCH", SEGMENT, json={"name": "n"})).status == 200
            reply = await write(api, "PUT", lines(names(5_000)))
            assert reply.json["version"] == 4
            assert (await api.ask("GET", "/health")).status == 200
            assert len((await read(api))[0]) == 5_000
