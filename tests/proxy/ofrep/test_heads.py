"""What is read out of a head, and which heads are left to aiohttp."""

from typing import Any

import pytest

from proxy.ofrep.heads import Head, begins_ordinary, read_head
from proxy.ofrep.paths import Endpoint, Target
from tests.proxy.ofrep.mutations import ordinary_requests

FLAGS = b"/ofrep/v1/evaluate/flags"


def head(lines: bytes = b"", first: bytes = b"POST %b/a HTTP/1.1" % FLAGS) -> bytes:
    """Return a head with a host and further lines."""
    return b"%b\r\nHost: a\r\n%b\r\n" % (first, lines)


def test_all_that_matters_is_read() -> None:
    """Names in any case, values without the blanks around them."""
    lines = (
        b"AUTHORIZATION:  Bearer k \r\nx-api-key: x\r\nOrigin: https://a.example\r\n"
        b'If-None-Match: "a", W/"b"\r\nContent-Type: application/json; charset=utf-8\r\n'
        b"content-length:\t12\r\nConnection: Close\r\nCookie: a=b: c\r\n"
    )
    assert read_head(head(lines)) == Head(
        "POST",
        Target(Endpoint.SINGLE, "a"),
        "Bearer k",
        "x",
        "https://a.example",
        '"a", W/"b"',
        "application/json; charset=utf-8",
        12,
        close=True,
    )


def test_an_offer_of_http_2_is_left_alone() -> None:
    """Java's client makes one with every request, and goes on when it is not taken."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n"
    assert read_head(head(offer)) == read_head(head())


def test_a_head_without_more_means_the_defaults() -> None:
    """As a POST without a body is sent."""
    assert read_head(head()) == Head("POST", Target(Endpoint.SINGLE, "a"))


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"Trailer: a\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\n",
        b"Connection: keep-alive, upgrade\r\n",
        b"X: 1\r\nX: 2\r\n",
        b"host: b\r\n",
        b"Content-Length: 1\r\ncontent-length: 1\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: 1,1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 12345678901\r\n",
        b"X : 1\r\n",
        b"X\r\n",
        b": 1\r\n",
        b" folded\r\n",
        b"X: \x80\r\n",
        b"X: \0\r\n",
        b"X: a\rb\r\n",
        b"X: a\n",
        b"".join(b"X-%d: 1\r\n" % n for n in range(101)),
    ],
)
def test_what_two_parsers_could_read_in_two_ways_is_not_ordinary(lines: bytes) -> None:
    """Nor what needs more than an answer."""
    assert read_head(head(lines)) is None


@pytest.mark.parametrize(
    "first",
    [
        b"GET %b/a HTTP/1.1" % FLAGS,
        b"post %b/a HTTP/1.1" % FLAGS,
        b"POST %b/a HTTP/1.0" % FLAGS,
        b"POST %b/a HTTP/1.1 " % FLAGS,
        b"POST  %b/a HTTP/1.1" % FLAGS,
        b"POST %b/a#b HTTP/1.1" % FLAGS,
        b'POST %b/"a" HTTP/1.1' % FLAGS,
        b"POST %b/\xc3\xbc HTTP/1.1" % FLAGS,
        b"POST http://a%b HTTP/1.1" % FLAGS,
        b"OPTIONS * HTTP/1.1",
        b"",
    ],
)
def test_other_first_lines_are_not_ordinary(first: bytes) -> None:
    """Whatever aiohttp makes of them."""
    assert read_head(head(first=first)) is None


@pytest.mark.parametrize(
    ("query", "etag"),
    [
        (b"", None),
        (b"?", None),
        (b"?flagConfigLastModified=1", None),
        (b"?a=b&flagConfigEtag=%22x%22&c", '"x"'),
        (b"?flagConfigEtag", ""),
    ],
)
def test_of_a_query_only_the_version_matters(query: bytes, etag: str | None) -> None:
    """That an event stream told of."""
    found = read_head(head(first=b"POST %b%b HTTP/1.1" % (FLAGS, query)))
    assert found is not None
    assert found.config_etag == etag


def test_a_head_without_a_host_is_not_ordinary() -> None:
    """HTTP/1.1 wants one."""
    assert read_head(b"POST %b HTTP/1.1\r\nX: 1\r\n\r\n" % FLAGS) is None


@pytest.mark.parametrize("request_", ordinary_requests())
def test_every_beginning_of_an_ordinary_head_begins_one(request_: bytes) -> None:
    """In one piece, and byte by byte with what the last call returned."""
    whole = request_[: request_.index(b"\r\n\r\n") + 2]
    lines = 0
    for length in range(1, len(whole) + 1):
        assert begins_ordinary(whole[:length]) >= 0
        lines = begins_ordinary(whole[:length], lines, length - 1)
        ended = whole.rfind(b"\r\n", 0, length)
        assert lines == (ended + 2 if ended >= 0 else 0)


@pytest.mark.parametrize(
    "part",
    [
        *(b"GET", b"PUT /", b"\r\n", b"\n", b"POST a", b"post /", b"POST /\n", b"POST /\x80"),
        *(b"POST / HTTP/1.0\r\n", b"POST / HTTP/1.1\r\nX : 1\r\n", b"POST / HTTP/1.1\r\n{"),
        *(b"POST / HTTP/1.1\r\nX: \x80", b"POST / HTTP/1.1\r\nContent-Length: 1a"),
        *(b"POST / HTTP/1.1\r\n folded", b"POST / HTTP/1.1\r\nX: 1\r\n: 2"),
    ],
)
def test_a_part_that_no_ordinary_head_begins_with_is_told_at_once(part: bytes) -> None:
    """So that who sends it is not left waiting for a refusal."""
    assert begins_ordinary(part) == -1


class Watched(bytearray):
    """Bytes that know from where on a line's end was looked for."""

    looked_from = 0

    def rfind(self, sub: Any, start: Any = None, end: Any = None) -> int:
        self.looked_from = start
        return super().rfind(sub, start, end)


@pytest.mark.parametrize("begun", [b"POST /", b"POST / HTTP/1.1\r\nX: "])
def test_what_was_looked_at_is_not_looked_at_again(begun: bytes) -> None:
    """Or a long line that comes byte by byte would cost its length squared."""
    part = Watched(begun + b"a" * 50_000)
    lines = begins_ordinary(part)
    part += b"a"
    assert begins_ordinary(part, lines, len(part) - 1) == lines
    assert part.looked_from >= len(part) - 2
