"""Streams and snapshots over real connections, and what happens when they go wrong."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from control_plane.keys import KEYS
from control_plane.publishing import routes
from proxy.contract.access import hash_key
from proxy.contract.snapshot import read_snapshot
from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH, SnapshotPointer, entity_tag
from tests.support.api import ADMIN_TOKEN
from tests.support.control_plane import AUTHOR, Api, put_flag, running_api, until
from tests.support.redis import RedisServer


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with one flag."""
    async with running_api(redis_url) as api:
        await put_flag(api.replica, "a")
        yield api


def heartbeats(api: Api, every_s: float) -> None:
    """Have streams opened from now on beat faster than in production."""
    api.sync._heartbeat_s = every_s


async def body_of(response: aiohttp.ClientResponse) -> bytes:
    """Return a body, decompressed."""
    data = await response.read()
    return gzip.decompress(data) if response.headers.get("Content-Encoding") == "gzip" else data


def tag_of(pointer: SnapshotPointer) -> str:
    """Return the entity tag of what a pointer names."""
    return entity_tag(pointer.epoch, pointer.revision, pointer.digest)


def verified(body: bytes):  # type: ignore[no-untyped-def]
    """Return a snapshot as a sidecar reads it: every digest checked."""
    reading = read_snapshot(body)
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            return stop.value


# The stream


async def test_a_new_stream_says_at_once_what_is_current(api: Api) -> None:
    """Nobody waits for the next change to learn the last one."""
    async with api.stream(await api.key()) as reader:
        event = await reader.next()
    pointer = api.sync.current("default", "production").pointer()
    assert event.name == "snapshot"
    assert event.identity == f"{pointer.epoch}-{pointer.revision}"
    assert event.data == {
        "epoch": pointer.epoch,
        "revision": pointer.revision,
        "digest": pointer.digest,
    }


async def test_a_change_comes_as_a_pointer(api: Api) -> None:
    """With the revision after it."""
    async with api.stream(await api.key()) as reader:
        first = await reader.next()
        await put_flag(api.replica, "b")
        second = await reader.next()
    assert second.name == "snapshot"
    assert second.data["revision"] == first.data["revision"] + 1
    assert second.data["digest"] != first.data["digest"]


async def test_another_environment_is_not_heard_of(api: Api) -> None:
    """A key is for one environment."""
    heartbeats(api, 0.2)
    async with api.stream(await api.key("staging")) as reader:
        await reader.next()
        await put_flag(api.replica, "b", environments=("production",))
        # The flag is in staging's snapshot too, disabled; a change in production alone is not.
        await reader.next()
        await put_flag(api.replica, "b", value="x", environments=("production",))
        assert (await reader.next()).name == "heartbeat"


@pytest.mark.parametrize("how", ["id", "digest"])
async def test_who_holds_what_is_current_gets_a_heartbeat(api: Api, how: str) -> None:
    """A reconnect after a short cut costs no snapshot."""
    pointer = api.sync.current("default", "production").pointer()
    headers = {
        "id": {"Last_Event_ID": f"{pointer.epoch}-{pointer.revision}"},
        "digest": {"X_Matrixflag_Digest": pointer.digest},
    }[how]
    async with api.stream(await api.key(), **headers) as reader:
        event = await reader.next()
    assert event.name == "heartbeat"
    assert event.data["digest"] == pointer.digest
    assert 0 <= event.data["verified_age_ms"] < 5_000


@pytest.mark.parametrize(
    "headers",
    [
        {"Last_Event_ID": "other-1"},
        {"Last_Event_ID": "garbage"},
        {"Last_Event_ID": "-"},
        {"X_Matrixflag_Digest": "0" * 64},
    ],
)
async def test_who_holds_something_else_gets_the_pointer(api: Api, headers: dict[str, str]) -> None:
    """And so does who says something that makes no sense."""
    async with api.stream(await api.key(), **headers) as reader:
        assert (await reader.next()).name == "snapshot"


async def test_a_digest_that_is_not_current_outweighs_the_id(api: Api) -> None:
    """The content decides; an id that matches by accident must not hide that it differs."""
    pointer = api.sync.current("default", "production").pointer()
    async with api.stream(
        await api.key(),
        Last_Event_ID=f"{pointer.epoch}-{pointer.revision}",
        X_Matrixflag_Digest="0" * 64,
    ) as reader:
        assert (await reader.next()).name == "snapshot"


async def test_a_quiet_stream_beats(api: Api) -> None:
    """Again and again, with what is current."""
    heartbeats(api, 0.05)
    async with api.stream(await api.key()) as reader:
        pointer = await reader.next()
        for _ in range(3):
            event = await reader.next()
            assert event.name == "heartbeat"
            assert event.data["digest"] == pointer.data["digest"]


async def test_a_slow_reader_gets_the_newest_and_nothing_in_between(api: Api) -> None:
    """However many changes came: nothing is queued for it."""
    async with api.stream(await api.key()) as reader:
        first = await reader.next()
        for number in range(20):
            await put_flag(api.replica, "b", value=str(number))
        names = []
        while True:
            event = await reader.next()
            names.append(event)
            if event.data["revision"] == first.data["revision"] + 20:
                break
    pointer = api.sync.current("default", "production").pointer()
    assert names[-1].data["digest"] == pointer.digest
    assert len(names) <= 20


async def test_a_reader_that_takes_nothing_is_dropped(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the write timeout once buffers are full; it holds back nobody else."""
    monkeypatch.setattr(routes, "_WRITE_TIMEOUT_S", 0.2)
    heartbeats(api, 0.0001)
    key = await api.key()
    host, port = api.url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        request = f"GET {STREAM_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        deaf.sendall(request.encode())
        await until(lambda: bool(api.sync.connected))
        await until(lambda: not api.sync.connected)


async def test_a_stream_that_was_left_is_forgotten(api: Api) -> None:
    """Its handler ends with its connection, and the gauge goes down."""
    async with api.stream(await api.key()) as reader:
        await reader.next()
        assert api.sync.connected == {("default", "production"): 1}
    await until(lambda: not api.sync.connected)


async def test_a_revoked_key_cuts_its_streams(api: Api) -> None:
    """Within seconds, and only its own."""
    revoked, kept = await api.key(), await api.key()
    async with api.stream(revoked) as one, api.stream(kept) as other:
        await one.next()
        await other.next()
        record = api.replica.find_key(hash_key(revoked))
        assert record is not None
        await api.app[KEYS].delete("default", record.id, AUTHOR)
        assert await one.ended(5)
        await put_flag(api.replica, "b")
        assert (await other.next()).name == "snapshot"
    async with api.get(STREAM_PATH, revoked) as response:
        assert response.status == 401


async def test_an_expired_key_cuts_its_streams(api: Api) -> None:
    """The same, by the clock."""
    ends = datetime.now(UTC) + timedelta(seconds=1)
    key = await api.key(expires_at=ends.isoformat(timespec="milliseconds"))
    async with api.stream(key) as reader:
        await reader.next()
        assert await reader.ended(5)


async def test_stopping_cuts_streams_at_once(redis_url: str) -> None:
    """Not after a minute of waiting for handlers; sidecars go to another replica."""
    async with running_api(redis_url) as api, api.stream(await api.key()) as reader:
        await reader.next()
        async with asyncio.timeout(2):
            api.sync.close_streams()
            assert await reader.ended(2)
        async with api.get(STREAM_PATH, await api.key()) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"


async def test_too_many_streams_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time to come again; those that are there stay."""
    monkeypatch.setattr("control_plane.publishing.service.MAX_STREAMS", 1)
    key = await api.key()
    async with api.stream(key) as reader, api.get(STREAM_PATH, key) as second:
        assert second.status == 503
        assert second.headers["Retry-After"] == "30"
        assert (await reader.next()).name == "snapshot"


async def test_without_redis_streams_go_on_and_say_so(redis_server: RedisServer) -> None:
    """New ones too: keys and definitions are in memory. The age in heartbeats grows."""
    async with running_api(redis_server.url) as api:
        heartbeats(api, 0.2)
        key = await api.key()
        redis_server.kill()
        async with api.stream(key) as reader:
            assert (await reader.next()).name == "snapshot"
            ages = [(await reader.next()).data["verified_age_ms"] for _ in range(8)]
        assert ages == sorted(ages)
        assert ages[-1] > 1_000
        async with api.get(SNAPSHOT_PATH, key) as response:
            assert response.status == 200
            assert int(response.headers["X-Matrixflag-Verified-Age-Ms"]) >= ages[-1]


async def test_the_stream_is_not_for_caches_and_proxies(api: Api) -> None:
    """It would be held back, or kept."""
    async with api.stream(await api.key()) as reader:
        headers = reader.response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"


# The snapshot


@pytest.mark.parametrize("encoding", ["identity", "gzip", "gzip, br;q=0.5", "br, GZIP;q=1.0"])
async def test_a_snapshot_is_what_the_pointer_names(api: Api, encoding: str) -> None:
    """Its digest checked line by line, compressed for whoever takes gzip."""
    async with api.get(SNAPSHOT_PATH, await api.key(), Accept_Encoding=encoding) as response:
        body = await body_of(response)
        compressed = response.headers.get("Content-Encoding") == "gzip"
    snapshot = verified(body)
    pointer = api.sync.current("default", "production").pointer()
    assert snapshot.header.digest == pointer.digest
    assert snapshot.header.revision == pointer.revision
    assert ("flag", "a") in snapshot.entries
    assert response.headers["ETag"] == tag_of(pointer)
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    assert compressed == ("gzip" in encoding.lower())


@pytest.mark.parametrize("encoding", ["gzip;q=0", "br", "gzip; q=0.0"])
async def test_who_does_not_take_gzip_gets_none(api: Api, encoding: str) -> None:
    """Also who refuses it by weight."""
    async with api.get(SNAPSHOT_PATH, await api.key(), Accept_Encoding=encoding) as response:
        assert "Content-Encoding" not in response.headers
        verified(await response.read())


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
async def test_who_holds_the_snapshot_gets_304(api: Api, form: str) -> None:
    """Without a body, with the tag and the age."""
    tag = tag_of(api.sync.current("default", "production").pointer())
    key = await api.key()
    sent = form.format(tag.removeprefix("W/"))
    async with api.get(SNAPSHOT_PATH, key, If_None_Match=sent) as response:
        assert response.status == 304
        assert await response.read() == b""
        assert response.headers["ETag"] == tag
        assert int(response.headers["X-Matrixflag-Verified-Age-Ms"]) >= 0


async def test_after_a_change_the_old_tag_gets_the_new_body(api: Api) -> None:
    """And going back to the old content is a change as well, whatever was held meanwhile."""
    key = await api.key()
    old = api.sync.current("default", "production").pointer()
    await put_flag(api.replica, "a", value="y")
    async with api.get(SNAPSHOT_PATH, key, If_None_Match=tag_of(old)) as response:
        assert response.status == 200
    await put_flag(api.replica, "a", value="x")
    async with api.get(SNAPSHOT_PATH, key, If_None_Match=tag_of(old)) as response:
        assert response.status == 200
        again = verified(await body_of(response)).header
    assert (again.digest, again.revision) == (old.digest, old.revision + 2)


async def test_a_revision_is_compressed_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sidecars that come at the same time cost one compression."""
    made = []
    original = gzip.compress

    def counted(body: bytes, *args: int, **options: int) -> bytes:
        made.append(len(body))
        return original(body, *args, **options)

    monkeypatch.setattr("control_plane.publishing.service.gzip.compress", counted)
    answers = await asyncio.gather(*(api.sync.snapshot("default", "production") for _ in range(50)))
    assert len(made) == 1
    assert len(set(answers)) == 1
    await put_flag(api.replica, "b")
    await api.sync.snapshot("default", "production")
    assert len(made) == 2


async def test_each_environment_has_its_own_snapshot(api: Api) -> None:
    """By the key that is presented."""
    digests = set()
    await put_flag(api.replica, "b", environments=("production",))
    for environment in ("production", "staging"):
        key = await api.key(environment)
        async with api.get(SNAPSHOT_PATH, key) as response:
            header = verified(await body_of(response)).header
        assert header.environment == environment
        digests.add(header.digest)
    assert len(digests) == 2


# Who may


@pytest.mark.parametrize("path", [STREAM_PATH, SNAPSHOT_PATH])
async def test_the_administrator_has_no_environment(api: Api, path: str) -> None:
    """403 that says which key it takes."""
    async with api.get(path, ADMIN_TOKEN) as response:
        assert response.status == 403
        assert "sidecar key" in (await response.json())["detail"]


@pytest.mark.parametrize("path", [STREAM_PATH, SNAPSHOT_PATH])
async def test_a_wrong_key_is_401(api: Api, path: str) -> None:
    """With the challenge."""
    async with api.get(path, "mf_sidecar_" + "x" * 43) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_sidecar_that_holds_more_than_redis_is_listened_to(api: Api) -> None:
    """Redis has lost what it acknowledged: a new epoch lets sidecars take what is left."""
    pointer = api.sync.current("default", "production").pointer()
    ahead = f"{pointer.epoch}-{pointer.revision + 5}"
    async with api.stream(await api.key(), Last_Event_ID=ahead) as reader:
        event = await reader.next()
        while event.data["epoch"] == pointer.epoch:
            event = await reader.next()
    assert event.data["digest"] == pointer.digest
    # Who polls learns of it too, though the content is the same.
    async with api.get(SNAPSHOT_PATH, await api.key(), If_None_Match=tag_of(pointer)) as response:
        assert response.status == 200
        assert verified(await body_of(response)).header.epoch == event.data["epoch"]
