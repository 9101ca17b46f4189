"""What is no HTTP is answered like everything else, and says nothing back."""

import asyncio
import json
import logging
from urllib.parse import urlsplit

import pytest

from control_plane.web.problem import PROBLEM_JSON
from tests.support.api import Api, api

__all__ = ["api"]  # a fixture

SECRET = "sesame"
LONG = SECRET.encode() * 2_000


async def talk(api: Api, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; return the status, the headers and the body of what comes until the end."""
    parts = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.read()  # to the end: the connection is closed
    writer.close()
    return int(status.split()[1]), headers, body


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + LONG + b"\r\n\r\n",
        b"GET /" + LONG + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer sesame\r\n\r\n",
        b"GET / HTTP/9.9 sesame\r\n\r\n",
        b"\x16\x03\x01 sesame\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: sesame\r\n\r\n",
        b"GET http://[sesame/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["header", "path", "nul", "colon", "version", "tls", "length", "url"],
)
async def test_what_cannot_be_read_is_a_problem_and_is_not_sent_back(
    api: Api, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a credential: nothing of it is in the answer, nor in the log."""
    with caplog.at_level(logging.DEBUG):
        status, headers, body = await talk(api, sent)
    assert status == 400
    assert headers["content-type"] == PROBLEM_JSON
    assert headers["server"] == "matrix-flag"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-store"
    assert len(body) == int(headers["content-length"])
    told = json.loads(body)
    assert told["code"] == "bad_request"
    assert told["request_id"] == headers["x-request-id"]
    assert SECRET not in body.decode()
    assert SECRET not in caplog.text
