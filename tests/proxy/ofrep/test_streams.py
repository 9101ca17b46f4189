"""Event streams over real sockets; items 41 to 51 of the acceptance list, by their numbers."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy.contract.access import hash_key
from proxy.ofrep.front import Limits
from proxy.ofrep.offers import WINDOW_MS
from proxy.ofrep.streams import Pace, Stream, Streams
from tests.proxy.ofrep.listening import WAIT_S, listening
from tests.proxy.ofrep.server import (
    CLIENT_KEY,
    ON_OFF,
    SERVER_KEY,
    SIDECAR_KEY,
    UNKNOWN_KEY,
    Server,
    flag,
    keys,
    running_server,
)

PACE = Pace(heartbeat_s=0.05, together_s=0.01)
STREAMS = "/ofrep/v1/streams"
TEXT = {"red": "red", "blue": "blue"}


def colours(text: str, other: str = "red") -> dict[str, Any]:
    """Return two flags: one for clients, one for servers alone."""
    return {
        "text": flag("string", TEXT, text, client_side=True),
        "other": flag("string", TEXT, other),
    }


def uri_of(bulk: Any) -> str:
    """Return where a bulk answer says that the one stream is."""
    (stream,) = bulk["eventStreams"]
    uri: str = stream["endpoint"]["requestUri"]
    return uri


def without_client_key() -> dict[tuple[Any, str], Any]:
    """Return all keys but the client's."""
    return {name: entry for name, entry in keys().items() if entry["kind"] != "client"}


def timed_flag(starts: datetime) -> Any:
    """Return a flag that is on from a time on."""
    always = {"attribute": "nobody-has-it", "op": "exists", "negate": True}
    active = {"from": starts.isoformat().replace("+00:00", "Z")}
    return flag(
        "boolean",
        ON_OFF,
        "off",
        rules=[{"id": "r", "when": always, "serve": {"variant": "on"}, "active": active}],
    )


@asynccontextmanager
async def cutting_proxy(url: str, idle_s: float) -> AsyncIterator[str]:
    """Pass bytes on, and cut a connection on which none come from the server for so long."""
    address = urlsplit(url)

    async def connect(reader: asyncio.StreamReader, outer: asyncio.StreamWriter) -> None:
        inner, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(await reader.readuntil(b"\r\n\r\n"))
        with contextlib.suppress(TimeoutError):
            while data := await asyncio.wait_for(inner.read(65_536), idle_s):
                outer.write(data)
        outer.close()
        writer.close()

    proxy = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with proxy:
        host, port = proxy.sockets[0].getsockname()
        yield f"http://{host}:{port}"


def dull_client(server: Server, header: str = "Accept: */*") -> socket.socket:
    """Ask for a stream and read nothing of it."""
    dull = socket.socket()
    dull.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    address = urlsplit(server.url)
    dull.connect((address.hostname, address.port))
    dull.sendall(f"GET {STREAMS} HTTP/1.1\r\n{header}\r\nHost: here\r\n\r\n".encode())
    return dull


async def dull_stream(server: Server) -> Stream:
    """Return the only stream, whose kernel takes little of what is not read."""
    await until(lambda: server.metrics.streams_open)
    (stream,) = server.answering.streams or ()
    stream.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    return stream


async def until(holds: Callable[[], object]) -> None:
    """Return once something that tells nobody is so."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - a number that is counted
            await asyncio.sleep(0)


def broken(*_args: Any, **_more: Any) -> None:
    """Fail as nobody expects."""
    raise RuntimeError("it is broken")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A port with streams, and two flags."""
    async with running_server(colours("red"), pace=PACE) as running:
        yield running


@pytest.fixture
async def keyed() -> AsyncIterator[Server]:
    """The same with keys."""
    async with running_server(colours("red"), more=keys(), pace=PACE) as running:
        yield running


async def test_42_without_streams_the_member_is_left_out() -> None:
    """And there is nothing at their path."""
    async with running_server(colours("red")) as server:
        assert list((await server.bulk()).json) == ["flags"]
        assert (await server.send("GET", STREAMS)).status == 404


async def test_37_the_tag_is_another_when_other_streams_are_offered(
    server: Server, keyed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or none: a client goes on with the streams it knows when it is answered 304."""
    tags = set()
    async with (
        running_server(colours("red")) as without,
        running_server(colours("red"), pace=PACE, streams_prefix="/a") as behind,
    ):
        for each in (server, without, behind):
            first = await each.bulk()
            tags.add(first.headers["ETag"])
            second = await each.bulk(If_None_Match=first.headers["ETag"])
            assert (second.status, second.body) == (304, b"")
            assert second.headers["ETag"] == first.headers["ETag"]
        assert len(tags) == 3
        for held in tags:
            answers = [await each.bulk(If_None_Match=held) for each in (server, without, behind)]
            assert sorted(answer.status for answer in answers) == [200, 200, 304]

    mine = (await keyed.bulk(X_API_Key=CLIENT_KEY)).headers["ETag"]
    later_ms = time.time_ns() // 1_000_000 + WINDOW_MS
    monkeypatch.setattr("proxy.ofrep.answering._now_ms", lambda: later_ms)
    later = await keyed.bulk(X_API_Key=CLIENT_KEY, If_None_Match=mine)
    assert later.status == 200  # with a token that is good for longer
    assert (await server.bulk(If_None_Match=", ".join(tags))).status == 304


async def test_43_each_stream_is_as_the_schema_says(server: Server, keyed: Server) -> None:
    """And the path is as a page must ask for it, also behind a proxy that puts something before."""
    async with running_server(colours("red"), pace=PACE, streams_prefix="/flags/eu") as behind:
        for each, headers, prefix in (
            (server, {}, ""),
            (keyed, {"X_API_Key": SERVER_KEY}, ""),
            (keyed, {"X_API_Key": CLIENT_KEY}, ""),
            (behind, {}, "/flags/eu"),
        ):
            (stream,) = (await each.bulk(**headers)).json["eventStreams"]
            assert set(stream) == {"type", "endpoint", "inactivityDelaySec"}
            assert stream["type"] == "sse"
            assert set(stream["endpoint"]) == {"requestUri"}
            assert stream["endpoint"]["requestUri"].startswith(prefix + STREAMS)
            assert stream["inactivityDelaySec"] >= 1


async def test_44_a_stream_is_an_event_stream(server: Server) -> None:
    """One line of JSON in each event, which is called message or nothing."""
    async with listening(server.url, uri_of((await server.bulk()).json)) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        event = await stream.event()
        assert event.name == "message"
        assert event.data["type"] == "refetchEvaluation"
        assert event.raw.count(b"data:") == 1
        assert set(event.data) == {"type", "etag", "lastModified"}
        assert isinstance(event.data["lastModified"], int)


async def test_45_whoever_is_told_gets_what_is_new(server: Server) -> None:
    """An event comes after the snapshot is being served, never before."""
    async with listening(server.url, STREAMS) as stream:
        await stream.event()
        for colour in ("blue", "red") * 10:
            await server.offer(colours(colour))
            await stream.event()
            assert (await server.single("text")).json["value"] == colour


async def test_46_who_comes_back_is_told_only_what_it_missed(server: Server) -> None:
    """The name of what it has decides, not whether this process told it."""
    async with listening(server.url, STREAMS) as stream:
        first = await stream.event()
    assert first.id
    async with listening(server.url, STREAMS, Last_Event_ID=first.id) as stream:
        assert await stream.until_comment() == []
    await server.offer(colours("blue"))
    async with listening(server.url, STREAMS, Last_Event_ID=first.id) as stream:
        second = await stream.event()
        assert second.id not in {None, first.id}
        assert await stream.until_comment() == []


async def test_46_any_last_event_is_taken(server: Server) -> None:
    """If it is not ours, something may have changed."""
    for odd in ("x" * 60_000, "1", '"', "\N{GREEK SMALL LETTER ALPHA}"):
        async with listening(server.url, STREAMS, Last_Event_ID=odd) as stream:
            assert (await stream.event()).data is not None
        async with (
            running_server(None, pace=PACE) as empty,
            listening(empty.url, STREAMS, Last_Event_ID=odd) as stream,
        ):
            (held,) = empty.answering.streams or ()
            assert len(held.told or "") <= 64  # whoever it is may open a thousand of them


async def test_46_a_restart_is_nothing_that_was_missed(server: Server) -> None:
    """Another process, or another replica, calls the same flags by the same name."""
    async with listening(server.url, STREAMS) as stream:
        first = await stream.event()
    for colour in ("red", "blue"):
        async with (
            running_server(colours(colour), pace=PACE) as again,
            listening(again.url, STREAMS, Last_Event_ID=str(first.id)) as stream,
        ):
            if colour == "red":
                assert await stream.until_comment() == []
            else:
                assert (await stream.event()).id != first.id


async def test_47_the_etag_is_taken_as_flag_config_etag(server: Server) -> None:
    """As it is; the browser quotes it for a URL."""
    async with listening(server.url, STREAMS) as stream:
        event = await stream.event()
    etag = event.data["etag"]
    assert etag == f'"{event.id}"'
    quoted = etag.replace('"', "%22")
    reply = await server.bulk(query=f"?flagConfigEtag={quoted}&flagConfigLastModified=1771622898")
    assert reply.status == 200
    assert reply.json["flags"]


async def test_48_a_stream_is_kept_alive_and_not_held_back(server: Server) -> None:
    """By comments; and proxies are asked to pass on each as it comes."""
    async with listening(server.url, STREAMS, Accept_Encoding="gzip, br") as stream:
        await stream.event()
        for _ in range(3):
            assert await stream.until_comment() == []
        assert {"no-cache", "no-transform"} <= set(stream.headers["cache-control"].split(", "))
        assert stream.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in stream.headers
        assert stream.retry_ms is not None
        assert 1_000 <= stream.retry_ms < 2_000


async def test_49_a_token_stands_in_for_a_key(keyed: Server) -> None:
    """Each key has its own; nobody gets in without one."""
    tokens = []
    for key in (SERVER_KEY, CLIENT_KEY):
        uri = uri_of((await keyed.bulk(X_API_Key=key)).json)
        tokens.append(uri)
        async with listening(keyed.url, uri) as stream:
            assert stream.status == 200
            await stream.event()
    assert tokens[0] != tokens[1]
    for uri in (STREAMS, STREAMS + "?token=", tokens[0][:-1], tokens[0].replace(".", "")):
        async with listening(keyed.url, uri) as stream:
            assert stream.status == 401
            assert (await stream.body())["errorCode"] == "GENERAL"


async def test_50_a_page_of_another_origin_may_read_a_stream() -> None:
    """Only one of those that are allowed."""
    shop = "https://shop.example"
    async with running_server(colours("red"), pace=PACE, origins=(shop,)) as server:
        async with listening(server.url, STREAMS, Origin=shop) as stream:
            assert stream.headers["access-control-allow-origin"] == shop
        async with listening(server.url, STREAMS, Origin="https://evil.example") as stream:
            assert "access-control-allow-origin" not in stream.headers
        asked = await server.send("OPTIONS", STREAMS, None, {"Origin": shop})
        assert asked.status == 204
        assert asked.headers["Access-Control-Allow-Methods"] == "GET, OPTIONS"


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait long for a clock that may be behind."""
    monkeypatch.setattr("proxy.ofrep.streams._SKEW_MS", 5)


async def newest(url: str) -> str:
    """Return what streams call the flags that are being served there."""
    async with listening(url, STREAMS) as stream:
        etag: str = (await stream.event()).data["etag"]
    return etag.strip('"')


async def test_41_who_was_told_of_newer_flags_waits_for_them(server: Server) -> None:
    """The replica that tells is ahead of the one that is asked, which answers when it has them."""
    async with running_server(colours("red"), pace=PACE) as ahead:
        await ahead.offer(colours("blue"))
        etag = await newest(ahead.url)
        asked = asyncio.create_task(server.bulk(query=f"?flagConfigEtag=%22{etag}%22"))
        await until(lambda: server.answering.catching_up)
        await server.offer(colours("blue"))
        answer = (await asked).json
        assert {item["key"]: item["value"] for item in answer["flags"]}["text"] == "blue"
        assert server.answering.catching_up == 0


async def test_41_nobody_waits_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is here is better than nothing."""
    monkeypatch.setattr("proxy.ofrep.answering._CATCH_UP_S", 0.05)
    etag = await newest(server.url)
    reply = await server.bulk(query="?flagConfigEtag=" + etag.replace("1-", "2-", 1))
    assert reply.status == 200
    assert reply.json["flags"]


async def test_41_as_many_wait_as_may(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others get what is here at once."""
    monkeypatch.setattr("proxy.ofrep.answering._MAX_WAITING", 1)
    newer = (await newest(server.url)).replace("1-", "2-", 1)
    first = asyncio.create_task(server.bulk(query=f"?flagConfigEtag={newer}"))
    await until(lambda: server.answering.catching_up)
    assert (await server.bulk(query=f"?flagConfigEtag={newer}")).status == 200
    assert not first.done()
    await server.offer(colours("blue"))
    assert (await first).status == 200


async def test_41_a_key_that_is_revoked_meanwhile_gets_nothing(keyed: Server) -> None:
    """It is asked for again when the wait is over."""
    async with listening(keyed.url, STREAMS, X_API_Key=CLIENT_KEY) as stream:
        newer = str((await stream.event()).id).replace("1-", "2-", 1)
    asked = asyncio.create_task(keyed.bulk(query=f"?flagConfigEtag={newer}", X_API_Key=CLIENT_KEY))
    await until(lambda: keyed.answering.catching_up)
    await keyed.offer(colours("blue"), without_client_key())
    assert (await asked).status == 401


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?flagConfigEtag=",
        "?flagConfigEtag=2",
        "?flagConfigEtag=%22abc%22",
        "?flagConfigEtag=2-00000000-" + "0" * 31,
        "?flagConfigEtag=" + "9" * 20 + "-00000000-" + "0" * 32,
        "?flagConfigEtag=2-00000000-" + "0" * 300,
        "?flagConfigEtag=%ff%fe%00",
        "?flagConfigEtag=%F0%9F%8E%88&flagConfigEtag=x",
        "?flagConfigLastModified=2999-01-01T00:00:00Z",
        "?flagConfigLastModified=nothing",
    ],
)
async def test_40_what_says_nothing_is_neither_refused_nor_waited_for(
    server: Server, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what is here already."""
    monkeypatch.setattr("proxy.ofrep.answering._CATCH_UP_S", 1_000.0)
    async with asyncio.timeout(WAIT_S):
        assert (await server.bulk(query=query)).status == 200
        assert (
            await server.bulk(query="?flagConfigEtag=" + await newest(server.url))
        ).status == 200


async def test_45_a_burst_is_told_together_and_to_the_end() -> None:
    """Few events, and the last of them is of what is served then."""
    async with (
        running_server(colours("red"), pace=PACE._replace(together_s=0.2)) as server,
        listening(server.url, STREAMS) as stream,
    ):
        seen = await stream.event()
        for number in range(20):
            await server.offer(colours("blue", ("red", "blue")[number % 2]))
        while not str(seen.id).startswith(f"{server.revision}-"):
            seen = await stream.event()
        assert server.metrics.stream_events < 20


async def test_45_who_sees_only_flags_for_clients_is_not_told_of_others(keyed: Server) -> None:
    """What it has is still called by its newest name, so that a restart tells it nothing either."""
    async with (
        listening(keyed.url, STREAMS, X_API_Key=CLIENT_KEY) as client,
        listening(keyed.url, STREAMS, Authorization=f"Bearer {SERVER_KEY}") as other,
    ):
        await client.event()
        await other.event()
        await keyed.offer(colours("red", "blue"), keys())
        assert (await other.event()).data is not None
        marked = await client.event()
        assert marked.data is None
        assert marked.id
        await keyed.offer(colours("blue", "blue"), keys())
        assert (await client.event()).data is not None
        assert (await other.event()).data is not None
    await keyed.offer(colours("blue", "red"), keys())
    async with listening(
        keyed.url, STREAMS, X_API_Key=CLIENT_KEY, Last_Event_ID=str(marked.id)
    ) as again:
        assert (await again.event()).data is not None


async def test_45_what_a_visible_flag_depends_on_is_visible_too() -> None:
    """A prerequisite and a segment that clients cannot see; nothing of the flag itself changed."""
    when = {"attribute": "plan", "op": "equals", "values": ["pro"]}
    rules = [{"id": "r", "when": {"segment": "payers"}, "serve": {"variant": "on"}}]
    asks = [{"flag": "other", "variants": ["red"]}]
    more = {"rules": rules, "prerequisites": asks, "client_side": True}
    visible = {"visible": flag("boolean", ON_OFF, "off", **more)}

    def segment(*values: str) -> dict[tuple[Any, str], Any]:
        return {**keys(), ("segment", "payers"): {"when": {**when, "values": list(values)}}}

    async with (
        running_server({**colours("red"), **visible}, more=segment("pro"), pace=PACE) as server,
        listening(server.url, STREAMS, X_API_Key=CLIENT_KEY) as stream,
    ):
        await stream.event()
        await server.offer({**colours("red", "blue"), **visible}, segment("pro"))
        assert (await stream.event()).data is not None
        await server.offer({**colours("red", "blue"), **visible}, segment("pro", "free"))
        assert (await stream.event()).data is not None


@pytest.mark.usefixtures("moments")
async def test_45_a_change_by_time_is_told_when_it_happens(server: Server) -> None:
    """Nobody publishes anything, but what a page has is not what it would get."""
    async with listening(server.url, STREAMS) as stream:
        await stream.event()
        starts = datetime.now(UTC) + timedelta(seconds=0.7)
        timed = {**colours("red"), "timed": timed_flag(starts)}
        await server.offer(timed)
        first = await stream.event()
        assert (await server.single("timed")).json["value"] is False
        second = await stream.event()
        assert (await server.single("timed")).json["value"] is True
        assert second.id != first.id
        assert await stream.until_comment() == []


async def test_46_a_stream_that_was_opened_before_any_flags_waits_for_them() -> None:
    """A browser whose stream is refused does not come back by itself."""
    async with running_server(None, open_without_keys=False, pace=PACE) as server:
        async with running_server(colours("red"), more=keys(), pace=PACE) as other:
            good = uri_of((await other.bulk(X_API_Key=CLIENT_KEY)).json)
        bad = STREAMS + "?token=1.2.3"
        async with listening(server.url, good) as stream, listening(server.url, bad) as wrong:
            assert (stream.status, wrong.status) == (200, 200)
            assert await stream.until_comment() == []
            await server.offer(colours("red"), keys())
            assert (await stream.event()).data is not None
            assert await wrong.next() is None
            assert server.metrics.streams_dropped["key"] == 1


async def test_48_a_proxy_that_cuts_what_is_silent_lets_a_stream_live(server: Server) -> None:
    """For several times as long as it waits; at the pace of the test, 300 times as fast."""
    async with cutting_proxy(server.url, idle_s=0.5) as url, listening(url, STREAMS) as stream:
        await stream.event()
        while stream.comments < 30:
            assert await stream.until_comment() == []
        await server.offer(colours("blue"))
        assert (await stream.event()).data is not None


async def test_48_a_client_of_http_1_0_gets_text_without_chunks(server: Server) -> None:
    """As a proxy may be one."""
    async with listening(server.url, STREAMS, version="1.0") as stream:
        assert "transfer-encoding" not in stream.headers
        assert (await stream.event()).data is not None
        assert await stream.until_comment() == []


async def test_49_a_token_is_the_same_on_every_replica_and_after_a_restart(keyed: Server) -> None:
    """And so are the tag and the whole answer that it is in."""
    before = await keyed.bulk(X_API_Key=CLIENT_KEY)
    async with running_server(colours("red"), more=keys(), pace=PACE) as again:
        after = await again.bulk(X_API_Key=CLIENT_KEY)
        assert (after.body, after.headers["ETag"]) == (before.body, before.headers["ETag"])
        async with listening(again.url, uri_of(before.json)) as stream:
            assert stream.status == 200


async def test_49_a_stream_ends_when_its_key_is_revoked(keyed: Server) -> None:
    """With the snapshot that does not have it any more; others go on."""
    uri = uri_of((await keyed.bulk(X_API_Key=CLIENT_KEY)).json)
    async with (
        listening(keyed.url, uri) as revoked,
        listening(keyed.url, STREAMS, X_API_Key=SERVER_KEY) as other,
    ):
        await revoked.event()
        await other.event()
        await keyed.offer(colours("blue"), without_client_key())
        assert await revoked.next() is None
        assert (await other.event()).data is not None
    async with listening(keyed.url, uri) as stream:
        assert stream.status == 401
        assert stream.headers["cache-control"] == "no-store"
        assert (await stream.body())["errorCode"] == "GENERAL"
    assert keyed.metrics.streams_dropped["key"] == 1


async def test_49_a_stream_ends_when_its_key_expires(server: Server) -> None:
    """Though no snapshot comes."""
    soon_ms = time.time_ns() // 1_000_000 + 500
    expiring = {"hash": hash_key(UNKNOWN_KEY), "kind": "server", "expires_at_ms": soon_ms}
    await server.offer(colours("red"), {**keys(), ("key", "soon"): expiring})
    async with listening(server.url, STREAMS, X_API_Key=UNKNOWN_KEY) as stream:
        await stream.event()
        assert await stream.next() is None
    assert server.metrics.streams_dropped["key"] == 1


async def test_49_open_streams_end_when_there_are_keys(server: Server) -> None:
    """Who needed none does now."""
    async with listening(server.url, STREAMS) as stream:
        await stream.event()
        await server.offer(colours("red"), keys())
        assert await stream.next() is None


async def test_49_the_key_of_a_sidecar_opens_no_stream(keyed: Server) -> None:
    """It is not for evaluations."""
    async with listening(keyed.url, STREAMS, X_API_Key=SIDECAR_KEY) as stream:
        assert stream.status == 403


async def test_49_no_token_is_ever_logged(
    keyed: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the request, and however much is logged."""
    caplog.set_level(logging.DEBUG)
    uri = uri_of((await keyed.bulk(X_API_Key=CLIENT_KEY)).json)
    token = uri.partition("=")[2]
    async with listening(keyed.url, uri) as stream:
        await stream.event()
    async with listening(keyed.url, uri + "x") as stream:
        assert stream.status == 401
    for odd in ({"method": "G E T"}, {"method": "POST"}, {"version": "1.1 x"}, {"A b": "c"}):
        async with listening(keyed.url, uri, **odd) as stream:
            assert stream.status in {400, 405}
    with monkeypatch.context() as patch:
        patch.setattr(Streams, "admit", broken)
        async with listening(keyed.url, uri) as stream:
            assert stream.status == 500
    await until(lambda: not keyed.metrics.streams_open)
    await keyed.offer(colours("blue"), keys())
    monkeypatch.setattr("proxy.ofrep.streams.news", broken)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        async with listening(keyed.url, STREAMS, X_API_Key=CLIENT_KEY) as stream:
            await stream.head()
    await until(lambda: not keyed.metrics.streams_open)
    assert caplog.text.count("RuntimeError: it is broken") == 2
    assert token not in caplog.text
    assert token.rpartition(".")[2] not in caplog.text


async def test_51_no_more_streams_than_there_may_be(server: Server) -> None:
    """The next is told when to try again; evaluations go on."""
    async with running_server(colours("red"), pace=PACE._replace(max_streams=2)) as few:
        async with listening(few.url, STREAMS) as first, listening(few.url, STREAMS):
            await first.event()
            async with listening(few.url, STREAMS) as third:
                assert third.status == 503
                assert third.headers["retry-after"] == "1"
                assert (await third.body())["errorCode"] == "GENERAL"
            assert (await few.bulk()).status == 200
            assert few.metrics.streams_refused == 1
        await until(lambda: not few.metrics.streams_open)
        async with listening(few.url, STREAMS) as third:
            assert third.status == 200


async def test_51_a_stream_is_one_of_the_connections_there_may_be() -> None:
    """Each is a file, of which a process has only so many."""
    limits = Limits(max_connections=2, keepalive_timeout_s=75.0)
    async with (
        running_server(colours("red"), pace=PACE, limits=limits) as server,
        listening(server.url, STREAMS) as first,
        listening(server.url, STREAMS) as second,
    ):
        assert (first.status, second.status) == (200, 200)
        async with listening(server.url, STREAMS) as third:
            assert third.status == 503
            assert "too many connections" in (await third.body())["errorDetails"]


async def test_51_a_thousand_streams_are_told_and_stop_nothing() -> None:
    """They are no requests that take long, so as many others are handed over as before."""
    async with running_server(colours("red"), pace=Pace(heartbeat_s=0.5)) as server:
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(listening(server.url, STREAMS))
                for _ in range(1_000)
            ]
            assert server.metrics.streams_open == 1_000
            assert server.front.handed_over == {}
            for stream in streams:
                await stream.event()
            await server.offer(colours("blue"))
            for stream in streams:
                assert str((await stream.event()).id).startswith(f"{server.revision}-")
            assert (await server.single("text")).json["value"] == "blue"
        await until(lambda: not server.metrics.streams_open)


async def test_51_who_does_not_read_is_dropped_and_holds_up_nobody() -> None:
    """Nor does what waits for it grow."""
    pace = Pace(heartbeat_s=0.01, together_s=0.0, slow_s=0.05)
    async with running_server(colours("red"), pace=pace) as server:
        slow = dull_client(server)
        dull = await dull_stream(server)
        most = 0
        async with listening(server.url, STREAMS) as stream, asyncio.timeout(WAIT_S):
            seen = await stream.event()
            while not server.metrics.streams_dropped["slow"]:
                await server.offer(colours(("red", "blue")[server.revision % 2]))
                while not str(seen.id).startswith(f"{server.revision}-"):
                    seen = await stream.event()
                most = max(most, dull.transport.get_write_buffer_size())
        assert 0 < most < 16_384
        slow.close()


async def test_51_who_does_not_read_and_whose_key_is_revoked_is_dropped_at_once() -> None:
    """And counted once, however long the rest of it takes."""
    pace = Pace(heartbeat_s=0.01, together_s=0.0)
    async with running_server(colours("red"), more=keys(), pace=pace) as server:
        slow = dull_client(server, f"X-API-Key: {CLIENT_KEY}")
        dull = await dull_stream(server)
        async with asyncio.timeout(WAIT_S):
            while dull.waiting_since_s is None:
                await server.offer(colours(("red", "blue")[server.revision % 2]), keys())
                await asyncio.sleep(0)
        await server.offer(colours("red"), without_client_key())
        await until(lambda: not server.metrics.streams_open)
        assert server.metrics.streams_dropped == {"key": 1, "slow": 0}
        slow.close()


async def test_51_streams_end_at_once_when_the_port_closes() -> None:
    """And not after what others have to finish: a browser comes back, and finds another."""
    async with running_server(colours("red"), pace=PACE) as server:
        stream = await AsyncExitStack().enter_async_context(listening(server.url, STREAMS))
        await stream.event()
    assert await stream.next() is None
    assert server.metrics.streams_open == 0


async def test_51_who_sends_on_and_on_is_cut(server: Server) -> None:
    """There is nothing more to say on a stream."""
    async with listening(server.url, STREAMS) as stream:
        await stream.event()
        stream.writer.write(b"x" * 100_000)
        with contextlib.suppress(ConnectionError):
            assert await stream.next() is None
    await until(lambda: not server.metrics.streams_open)


async def test_only_get_asks_for_a_stream(server: Server) -> None:
    """Everything else is told so."""
    for method in ("POST", "PUT", "HEAD"):
        reply = await server.send(method, STREAMS)
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, OPTIONS")
