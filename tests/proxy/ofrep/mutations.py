"""Requests as clients send them, and what becomes of them when bytes are changed at random."""

import itertools
import json
import random
from collections.abc import Iterator

from tests.proxy.ofrep.server import FLAGS

__all__ = ["mutated", "ordinary_requests", "request"]

_HEADERS = b"Host: localhost:8016\r\nContent-Type: application/json\r\n"
_TEXT = (
    *(b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\0", b"\x80", b"\xff", b"%", b"?", b"#", b"//"),
    *(b"POST ", b"OPTIONS ", b"GET ", b"HTTP/1.0", b"HTTP/1.1", b"http/1.1", b"0\r\n\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: identity\r\n", b"Host: b\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Content-Length : 5\r\n", b"; a=b"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n"),
    *(b"Upgrade: websocket\r\n", b"Content-Encoding: gzip\r\n", b"Origin: https://a.example\r\n"),
    *(b"If-None-Match: *\r\n", b"X-API-Key: k\r\n", b"Authorization: Bearer k\r\n", b" folded\r\n"),
    *(
        b"TE: trailers\r\n",
        b"Trailer: X\r\n",
        b"5\r\nhello\r\n",
        b"{",
        b"}",
        b'"',
        b"null",
        b"1e999",
    ),
)


def request(
    path: str = f"{FLAGS}/ruled",
    body: bytes = b'{"context":{"targetingKey":"u-1","plan":"pro"}}',
    *,
    method: bytes = b"POST",
    headers: bytes = _HEADERS,
    version: bytes = b"HTTP/1.1",
    length: int | None = None,
) -> bytes:
    """Return a request's bytes; `length` is what it says of its body if that is not true."""
    length = len(body) if length is None else length
    head = b"%b %b %b\r\n%b" % (method, path.encode(), version, headers)
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, length, body)


_OFFER_OF_HTTP_2 = (
    b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n"
)


def ordinary_requests() -> list[bytes]:
    """Return requests that no server has trouble with, one of each kind."""
    context = json.dumps({"context": {"targetingKey": "u-1", "plan": "pro", "n": [1, {}]}}).encode()
    return [
        request(),
        request(body=context),
        request(f"{FLAGS}/tracked", context),
        request(f"{FLAGS}/none", context),
        request(f"{FLAGS}/broken", context),
        request(f"{FLAGS}/team%2Fcheck.out?tenant=a", b"{}"),
        request(f"{FLAGS}/ruled", b'{"context":{"targetingKey":"undefined"}}'),
        request(f"{FLAGS}/ruled", b'{"context":5}'),
        request(FLAGS, context),
        request(f"{FLAGS}/?flagConfigEtag=x", b""),
        request(FLAGS, context, headers=_HEADERS + b"If-None-Match: *\r\n"),
        request(FLAGS, context, headers=_HEADERS + b"Origin: https://a.example\r\n"),
        request(FLAGS, method=b"OPTIONS", body=b""),
        request("/v1/exposures", b'{"exposures":[]}'),
        request("/v1/exposures", b"{}", headers=b"Host: a\r\n"),
        request("/elsewhere"),
        request(headers=_HEADERS + b"Connection: close\r\n"),
        request(headers=_HEADERS + b"Connection: Keep-Alive\r\nUser-Agent: a/1 (b; c)\r\n"),
        request(headers=_HEADERS + _OFFER_OF_HTTP_2),
        b"POST %b HTTP/1.1\r\nHost: a\r\n\r\n" % FLAGS.encode(),
    ]


def mutated(count: int, seed: int = 0) -> Iterator[list[bytes]]:
    """Yield so many times the pieces in which some requests, changed at random, arrive."""
    draw = random.Random(seed)
    ordinary = ordinary_requests()
    for _ in range(count):
        data = bytearray(b"".join(draw.choices(ordinary, k=draw.choice((1, 1, 2, 3)))))
        for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
            _mutate(data, draw)
        cuts = sorted(draw.choices(range(len(data) + 1), k=draw.choice((0, 0, 1, 3))))
        bounds = [0, *cuts, len(data)]
        yield [bytes(data[a:b]) for a, b in itertools.pairwise(bounds) if a < b]


def _mutate(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    match draw.randrange(6):
        case 0:
            data[at : at + 1] = bytes([draw.randrange(256)])
        case 1:
            del data[at : at + draw.choice((1, 2, 10))]
        case 2:
            data[at:at] = draw.choice(_TEXT)
        case 3:  # where a header may stand
            line = data.find(b"\r\n", at)
            if line >= 0:
                data[line + 2 : line + 2] = draw.choice(_TEXT)
        case 4:
            other = draw.randrange(len(data) + 1)
            data[at:at] = data[other : other + draw.choice((1, 8, 60))]
        case _:
            upper = bytes(data[at : at + 12]).swapcase()
            data[at : at + 12] = upper
