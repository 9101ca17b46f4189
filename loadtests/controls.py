"""Servers that answer a constant, to divide by: what no server of Python can go below, and aiohttp.

    python -m loadtests.controls constant|aiohttp READY ROUTE STATUS BODY

Each listens on a free port of loopback, writes its address to the file READY as JSON, and answers
with that status and the bytes of the file BODY until SIGTERM.

- `constant` is a protocol of uvloop that parses nothing: it answers whatever comes in one read,
  which is one request, because generators have one under way on a connection and write it at once.
  It is the limit, not a server.
- `aiohttp` is the least that an application of aiohttp does: one POST route, the body read.
"""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import uvloop
from aiohttp import web

from tests.support.processes import ROOT, wait_for_json

__all__ = ["CONTROLS", "Control", "running_control"]

_ETAG = '"constant"'
_STOP_S = 10.0

Closing = Callable[[], Awaitable[object]]


class _Constant(asyncio.Protocol):
    """One connection; the answer is given to the class, because making one must cost nothing."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.Transport, transport).write  # uvloop's is none by type

    def data_received(self, data: bytes) -> None:
        self._write(self._answer)


async def _constant(route: str, status: int, body: bytes) -> tuple[int, Closing]:
    del route  # it answers anything
    length = f"Content-Length: {len(body)}\r\n" if status == 200 else ""
    head = (
        f"HTTP/1.1 {status} Constant\r\nContent-Type: application/json\r\n"
        f"ETag: {_ETAG}\r\n{length}\r\n"
    )
    answer = head.encode() + body
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Constant(answer), "127.0.0.1", 0)

    async def close() -> None:
        server.close()

    return int(server.sockets[0].getsockname()[1]), close


async def _aiohttp(route: str, status: int, body: bytes) -> tuple[int, Closing]:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(
            status=status, body=body, content_type="application/json", headers={"ETag": _ETAG}
        )

    app = web.Application()
    app.router.add_post(route, answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1]), runner.cleanup


CONTROLS = {"constant": _constant, "aiohttp": _aiohttp}
"""The servers by name; each returns its port, and how to close it."""


async def _serve(name: str, ready: Path, route: str, status: int, body: bytes) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    port, close = await CONTROLS[name](route, status, body)
    address = json.dumps({"url": f"http://127.0.0.1:{port}"})
    ready.write_text(address)  # noqa: ASYNC240 - nobody is being served yet
    await stop.wait()
    await close()


class Control(NamedTuple):
    """A control server that runs."""

    url: str
    pid: int


@contextmanager
def running_control(
    name: str, directory: Path, *, route: str, status: int = 200, body: bytes = b"{}"
) -> Iterator[Control]:
    """Run a control server that answers POST on a route, its files in `directory`."""
    ready, log, answer = (directory / f"{name}.{end}" for end in ("json", "log", "body"))
    ready.unlink(missing_ok=True)
    answer.write_bytes(body)
    arguments = [name, str(ready), route, str(status), str(answer)]
    with log.open("wb") as output:
        command = [sys.executable, "-m", "loadtests.controls", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield Control(wait_for_json(ready, process, log)["url"], process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    _name, _ready, _route, _status, _body = sys.argv[1:]
    uvloop.run(_serve(_name, Path(_ready), _route, int(_status), Path(_body).read_bytes()))
