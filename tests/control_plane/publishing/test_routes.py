"""Streams and snapshots over real connections, and what happens when they go wrong."""

import asyncio
import contextlib
import gzip
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

import aiohttp
import msgspec
import pytest

from control_plane.keys import KEYS
from control_plane.publishing import streams
from control_plane.publishing.admission import Admission
from control_plane.publishing.deltas import MAX_EVENTS
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind
from control_plane.publishing.streams import Stream
from control_plane.times import now_rfc3339
from proxy.contract.access import hash_key
from proxy.contract.snapshot import read_snapshot
from proxy.contract.sync import (
    BLOBS_PATH,
    MAX_DELTA_BYTES,
    SNAPSHOT_PATH,
    STREAM_PATH,
    Delta,
    SnapshotPointer,
    entity_tag,
    event_id,
)
from tests.control_plane.publishing.test_units import give
from tests.support.api import ADMIN_TOKEN
from tests.support.control_plane import AUTHOR, Api, put_flag, running_api, until
from tests.support.redis import RedisServer
from tests.support.units import names


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with one flag."""
    async with running_api(redis_url) as api:
        await put_flag(api.replica, "a")
        yield api


def heartbeats(api: Api, every_s: float) -> None:
    """Have streams beat faster than in production."""
    api.sync.streams.pace = api.sync.streams.pace._replace(heartbeat_s=every_s)


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


async def test_a_change_comes_as_a_delta(api: Api) -> None:
    """With what differs, and the header of the snapshot that results, line by line as served."""
    async with api.stream(await api.key()) as reader:
        first = await reader.next()
        await put_flag(api.replica, "b")
        event = await reader.next()
    assert event.name == "delta"
    current = api.sync.current("default", "production")
    delta = msgspec.convert(event.data, Delta)
    assert (delta.from_, delta.to) == (first.data["revision"], first.data["revision"] + 1)
    assert delta.digest == current.digest
    assert delta.header == current.header()
    assert [line.encode() for line in delta.set] == [current.line("flag", "b")]
    assert delta.removed == []
    assert event.identity == f"{current.epoch}-{current.revision}"


async def test_the_changes_of_a_burst_come_one_after_the_other(api: Api) -> None:
    """None is left out, and each follows on the one before."""
    async with api.stream(await api.key()) as reader:
        revision = (await reader.next()).data["revision"]
        for number in range(20):
            await put_flag(api.replica, "b", value=str(number))
        for number in range(20):
            event = await reader.next()
            assert event.name == "delta"
            assert (event.data["from"], event.data["to"]) == (revision, revision + 1)
            assert f'"{number}"' in event.data["set"][0]
            revision += 1


async def test_changes_while_others_are_being_told_are_told_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has its turn later gets more at once, and none of it again."""
    monkeypatch.setattr(streams, "_A_TURN", 1)
    key = await api.key()
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(api.stream(key)) for _ in range(8)]
        for reader in readers:
            revision = (await reader.next()).data["revision"]
        for number in range(30):
            await put_flag(api.replica, "b", value=str(number))
        for reader in readers:
            told = [(await reader.next()).data["from"] for _ in range(30)]
            assert told == list(range(revision, revision + 30))
    assert api.sync.streams.told["delta"] == 30 * 8


async def test_a_failure_delays_a_change_and_swallows_none(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks while streams are told: the task begins again, and tells what it did not."""
    key = await api.key()
    async with api.stream(key) as one, api.stream(key) as other:
        await one.next()
        await other.next()
        send, failures = api.sync.streams._send, iter([RuntimeError("unexpected")])

        def fail_once(stream: Stream, events: list[bytes], kind: str) -> None:
            for failure in failures:
                raise failure
            send(stream, events, kind)

        monkeypatch.setattr(api.sync.streams, "_send", fail_once)
        await put_flag(api.replica, "b")
        assert [(await reader.next()).name for reader in (one, other)] == ["delta", "delta"]
    assert not list(failures)


async def test_a_change_too_large_to_be_told_is_a_pointer(api: Api) -> None:
    """And the next one is a delta again, for those who fetched."""
    async with api.stream(await api.key()) as reader:
        await reader.next()
        await put_flag(api.replica, "b", value="x" * MAX_DELTA_BYTES)
        large = await reader.next()
        await put_flag(api.replica, "b", value="y")
        small = await reader.next()
    assert large.name == "snapshot"
    assert small.name == "delta"
    assert small.data["from"] == large.data["revision"]


async def test_a_revision_of_the_header_alone_is_a_delta_without_entries(api: Api) -> None:
    """The age after which sidecars answer code defaults is in the header, and nowhere else."""

    def build(state: ProjectState) -> Change:
        record = state.environments["production"]
        document = msgspec.structs.replace(record.environment, max_age_s=60)
        edited = msgspec.structs.replace(record, environment=document)
        edit = Edit(RecordKind.ENVIRONMENT, "production", edited)
        return Change("test", AUTHOR, now_rfc3339(), (edit,))

    async with api.stream(await api.key()) as reader:
        first = await reader.next()
        await api.replica.commit("default", build)
        event = await reader.next()
    delta = msgspec.convert(event.data, Delta)
    assert (delta.set, delta.removed) == ([], [])
    assert (delta.to, delta.digest) == (first.data["revision"] + 1, first.data["digest"])
    assert delta.header is not None
    assert delta.header.max_age_s == 60


async def test_a_delta_may_name_blobs_which_are_there(api: Api) -> None:
    """A long list is told by the digests of its parts; whoever is told can fetch them at once."""
    key = await api.key()
    async with api.stream(key) as reader:
        await reader.next()
        digest = await give(api.replica, "vip", names(1_500))
        event = await reader.next()
        assert event.name == "delta"
        assert digest in event.data["set"][0]
        async with api.get(f"{BLOBS_PATH}/{digest}", key) as response:
            assert response.status == 200
            assert len(await response.read()) == 1_500 * 12


@pytest.mark.parametrize("missed", [1, 3])
async def test_who_comes_back_gets_what_it_missed(api: Api, missed: int) -> None:
    """From the id of its last event on, when the digest agrees."""
    pointer = api.sync.current("default", "production").pointer()
    for number in range(missed):
        await put_flag(api.replica, "b", value=str(number))
    headers = {"Last_Event_ID": event_id(pointer.epoch, pointer.revision)}
    for digest in ({}, {"X_Matrixflag_Digest": pointer.digest}):
        async with api.stream(await api.key(), **headers, **digest) as reader:
            for number in range(missed):
                event = await reader.next()
                assert event.name == "delta"
                assert event.data["from"] == pointer.revision + number
    async with api.stream(await api.key(), **headers, X_Matrixflag_Digest="0" * 64) as reader:
        assert (await reader.next()).name == "snapshot"


async def test_equal_content_of_an_older_revision_is_brought_up_to_date(api: Api) -> None:
    """Not only its digest: the header names the revision, and is not fetched for that."""
    pointer = api.sync.current("default", "production").pointer()
    await put_flag(api.replica, "a", value="y")
    await put_flag(api.replica, "a", value="x")
    assert api.sync.current("default", "production").digest == pointer.digest
    async with api.stream(
        await api.key(),
        Last_Event_ID=event_id(pointer.epoch, pointer.revision),
        X_Matrixflag_Digest=pointer.digest,
    ) as reader:
        assert [(await reader.next()).name for _ in range(2)] == ["delta", "delta"]


async def test_after_reading_everything_again_there_is_nothing_to_resume_from(api: Api) -> None:
    """What happened in between is not known, so it cannot be told."""
    pointer = api.sync.current("default", "production").pointer()
    await put_flag(api.replica, "b")
    async with api.replica._mirror.lock("default"):
        await api.replica._mirror.reload("default")
    async with api.stream(
        await api.key(), Last_Event_ID=event_id(pointer.epoch, pointer.revision)
    ) as reader:
        assert (await reader.next()).name == "snapshot"
        await put_flag(api.replica, "b", value="y")
        assert (await reader.next()).name == "delta"


async def test_a_new_epoch_is_a_pointer(api: Api) -> None:
    """Its revisions are another history's."""
    async with api.stream(await api.key()) as reader:
        first = await reader.next()
        async with api.replica._mirror.lock("default"):
            await api.replica._mirror.renew("default", first.data["epoch"])
        event = await reader.next()
    assert event.name == "snapshot"
    assert event.data["epoch"] != first.data["epoch"]


async def test_http_1_0_gets_the_same_events_without_chunks(api: Api) -> None:
    """Proxies speak it to what is behind them."""
    heartbeats(api, 0.05)
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = await api.key()
    writer.write(f"GET {STREAM_PATH} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert (await reader.readuntil(b"\n\n")).startswith(b"retry: ")
        assert (await reader.readuntil(b"\n\n")).startswith(b"event: snapshot\nid: ")
        assert (await reader.readuntil(b"\n\n")).startswith(b"event: heartbeat\ndata: ")
        api.sync.close_streams()
        rest = await reader.read()
    assert rest.rpartition(b"retry: ")[2].endswith(b"\n\n")
    writer.close()


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


@asynccontextmanager
async def deaf(api: Api) -> AsyncIterator[socket.socket]:
    """A reader that has a stream and, so far, takes nothing of it."""
    host, port = api.url.removeprefix("http://").split(":")
    key = await api.key()
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((host, int(port)))
        request = f"GET {STREAM_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        one.sendall(request.encode())
        await until(lambda: bool(api.sync.streams.connected))
        yield one


async def read_until_quiet(one: socket.socket) -> bytes:
    """Return all that a connection has, once nothing more comes."""
    loop = asyncio.get_running_loop()
    one.setblocking(False)
    text = b""
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(1):
                text += await loop.sock_recv(one, 65_536)
    return text


@pytest.mark.parametrize("count", [30, MAX_EVENTS + 60])
async def test_a_slow_reader_gets_all_it_missed_or_a_pointer(api: Api, count: int) -> None:
    """Nothing is queued for it meanwhile; what the log still has comes at once, in order."""
    async with deaf(api) as one:
        first = api.sync.current("default", "production").revision
        for number in range(count):
            await put_flag(api.replica, "b", value=f"{number}" + "x" * 5_000)
        assert len(api.sync.streams._slow) == 1
        text = await read_until_quiet(one)
    events = re.findall(rb"event: (\w+)\nid: \w+-(\d+)\n", text)
    told = [int(revision) for name, revision in events if name == b"delta"]
    assert int(events[-1][1]) == first + count
    if count < MAX_EVENTS:
        assert told == list(range(first + 1, first + count + 1))
    else:
        assert (b"snapshot", str(first + count).encode()) in events
        assert len(told) < MAX_EVENTS


async def test_a_reader_that_takes_nothing_is_dropped(api: Api) -> None:
    """In time once buffers are full; it holds back nobody else."""
    api.sync.streams.pace = api.sync.streams.pace._replace(heartbeat_s=0.01, slow_s=0.2)
    async with deaf(api), api.stream(await api.key()) as reader:
        await until(lambda: sum(api.sync.streams.connected.values()) == 2)
        await put_flag(api.replica, "b", value="x" * 100_000)
        await until(lambda: api.sync.streams.ended["slow"] == 1)
        assert api.sync.streams.connected == {("default", "production"): 1}
        while (await reader.next()).name != "delta":
            pass
    assert not api.sync.streams._slow


async def test_who_takes_a_little_at_a_time_is_not_dropped(api: Api) -> None:
    """A narrow line is slow and alive; a reader that has stopped is not."""
    streams = api.sync.streams
    loop = asyncio.get_running_loop()
    async with deaf(api) as one:
        one.setblocking(False)
        await put_flag(api.replica, "b", value="x" * 240_000)
        await until(lambda: len(streams._slow) == 1)
        (stream,) = streams._slow
        waits = stream.transport.get_write_buffer_size
        for hour in range(1, 4):
            before = waits()
            while waits() == before:
                await loop.sock_recv(one, 4_096)
            streams._drop_slow(monotonic() + hour * 3_600)
            assert streams.ended["slow"] == 0
        streams._drop_slow(monotonic() + 4 * 3_600)
        assert streams.ended["slow"] == 1


async def test_who_goes_on_sending_is_cut(api: Api) -> None:
    """It has nothing to say any more, and what it says is not kept."""
    async with deaf(api) as one:
        loop = asyncio.get_running_loop()
        one.setblocking(False)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await loop.sock_sendall(one, b"x" * 10_000)
        await until(lambda: not api.sync.streams.connected)


async def test_a_stream_that_was_left_is_forgotten(api: Api) -> None:
    """Its handler ends with its connection, and the gauge goes down."""
    async with api.stream(await api.key()) as reader:
        await reader.next()
        assert api.sync.streams.connected == {("default", "production"): 1}
    await until(lambda: not api.sync.streams.connected)


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
        assert (await other.next()).name == "delta"
    async with api.get(STREAM_PATH, revoked) as response:
        assert response.status == 401


async def test_an_expired_key_cuts_its_streams(api: Api) -> None:
    """The same, by the clock."""
    ends = datetime.now(UTC) + timedelta(seconds=1)
    key = await api.key(expires_at=ends.isoformat(timespec="milliseconds"))
    async with api.stream(key) as reader:
        await reader.next()
        assert await reader.ended(5)


async def test_stopping_ends_streams_at_once_and_in_order(redis_url: str) -> None:
    """Not after a minute of waiting; sidecars go to another replica, at different times."""
    async with running_api(redis_url) as api, api.stream(await api.key()) as reader:
        await reader.next()
        async with asyncio.timeout(2):
            api.sync.close_streams()
            rest = await reader.response.content.read()  # raises if it was cut
        assert re.fullmatch(rb"retry: \d+\n\n", rest)
        async with api.get(STREAM_PATH, await api.key()) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"


async def test_stopping_waits_for_no_reader_that_takes_nothing(api: Api) -> None:
    """It would not hear of the end."""
    async with deaf(api) as one:
        await put_flag(api.replica, "b", value="x" * 200_000)
        await until(lambda: len(api.sync.streams._slow) == 1)
        api.sync.close_streams()
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        received = b""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while text := await loop.sock_recv(one, 65_536):
                    received += text
        assert len(received) < 200_000  # what waited for it was dropped


async def test_a_stream_ends_in_order_when_it_has_lived_long_enough(redis_url: str) -> None:
    """It is opened anew wherever there is room, soon, and goes on from where it was."""
    async with running_api(redis_url) as api:
        api.sync.streams.pace = api.sync.streams.pace._replace(heartbeat_s=0.05, max_life_s=0.2)
        key = await api.key()
        async with api.stream(key) as reader:
            held = (await reader.next()).identity
            rest = await asyncio.wait_for(reader.response.content.read(), 10)
        assert int(rest.rpartition(b"retry: ")[2]) <= 1_000
        assert api.sync.streams.ended["life"] == 1
        await put_flag(api.replica, "b")
        assert held is not None
        async with api.stream(key, Last_Event_ID=held) as reader:
            assert (await reader.next()).name == "delta"


async def test_too_many_streams_are_refused(api: Api) -> None:
    """With a time to come again; those that are there stay."""
    api.sync.streams.pace = api.sync.streams.pace._replace(max_streams=1)
    key = await api.key()
    async with api.stream(key) as reader, api.get(STREAM_PATH, key) as second:
        assert second.status == 503
        assert 15 <= int(second.headers["Retry-After"]) <= 30
        assert (await reader.next()).name == "snapshot"


async def test_too_many_at_once_are_told_to_come_again(api: Api) -> None:
    """No more begin in a second than may; the others are spread."""
    api.sync.streams.admission = admission = Admission(5)
    key = await api.key()

    async def ask() -> str | None:
        async with api.get(STREAM_PATH, key) as response:
            return response.headers.get("Retry-After")

    waits = await asyncio.gather(*(ask() for _ in range(60)))
    taken = waits.count(None)
    assert admission.accepted == taken
    assert admission.refused == 60 - taken
    assert admission.peak <= 5
    assert all(1 <= int(wait) <= 30 for wait in waits if wait is not None)
    assert len(set(waits)) > 3


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
