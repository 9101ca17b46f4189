"""Log lines, from a process of its own."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from proxy import logs
logs.set_up({level!r}, {form!r})
log = logging.getLogger("proxy.x")
log.debug("quiet")
log.info("two\\nlines %s", "ü", extra={{"fields": {{"port": 1}}}})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("watchfiles.main").info("a change")
"""


def lines(level: str, form: str) -> list[str]:
    """Return what a process logs."""
    program = PROGRAM.format(level=level, form=form)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
    return done.stderr.decode().splitlines()


def test_json_is_one_object_a_line() -> None:
    """Whatever the message holds."""
    first, second = map(json.loads, lines("info", "json"))
    assert (first["level"], first["logger"], first["message"]) == (
        "info",
        "proxy.x",
        "two\nlines ü",
    )
    assert first["port"] == 1
    assert first["time"].endswith("Z")
    assert "ZeroDivisionError" in second["exception"]


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("error", 1)])
def test_the_level_decides(level: str, count: int) -> None:
    """And watchfiles stays quiet: a log in a watched directory would feed itself."""
    assert len(lines(level, "json")) == count


def test_text_is_for_people() -> None:
    """Time, level, where from, what."""
    assert " INFO proxy.x: two" in lines("info", "text")[0]


MALFORMED = r"""
import asyncio, socket, sys
from aiohttp import web
from proxy import logs
from proxy.listen import bind

async def main():
    logs.set_up("info", {form!r})
    (bound,) = bind(("127.0.0.1",), 0, "--")
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await web.SockSite(runner, bound).start()
    for head in (
        b"POST /?token=mf_server_s3cret\xff HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nAuthorization: Bearer mf_server_s3cret\x01\r\n\r\n",
        b"POST / HTTP/1.1\r\nX-API-Key: " + b"mf_server_s3cret" * 1000 + b"\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(*bound.getsockname())
        writer.write(head)
        assert b" 400 " in await reader.read(), head
        writer.close()
    await runner.cleanup()

asyncio.run(main())
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_request_that_is_no_http_leaves_no_trace(form: str) -> None:
    """The line that cannot be read may be the one with the key."""
    program = MALFORMED.format(form=form)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr == b""
