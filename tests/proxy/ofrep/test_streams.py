"""Event streams over real sockets; items 41 to 51 of the acceptance list, by their numbers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.ofrep.streams import Pace
from tests.proxy.ofrep.listening import listening
from tests.proxy.ofrep.server import (
    CLIENT_KEY,
    SERVER_KEY,
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


async def test_only_get_asks_for_a_stream(server: Server) -> None:
    """Everything else is told so."""
    for method in ("POST", "PUT", "HEAD"):
        reply = await server.send(method, STREAMS)
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, OPTIONS")
