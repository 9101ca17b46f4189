"""Opens an evaluation port: the front door before aiohttp, on sockets that are bound already."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from proxy.lifecycle import Lifecycle
from proxy.ofrep.answering import Answering
from proxy.ofrep.front import FrontDoor, Limits
from proxy.ofrep.routes import OfrepHandler

__all__ = ["MAX_LINE_BYTES", "serving"]

MAX_LINE_BYTES = 65_536
"""Of a request's first line and of one header: some clients put a whole context into a query."""

_BACKLOG = 1024  # connections that wait while the loop compiles a snapshot; Linux caps it anyway


@asynccontextmanager
async def serving(
    answering: Answering,
    lifecycle: Lifecycle,
    sockets: Iterable[socket.socket],
    limits: Limits,
    *,
    finish_s: float,
) -> AsyncIterator[FrontDoor]:
    """Answer on the sockets until the context is left.

    Then no new connections are taken, event streams are cut, idle connections are closed, and
    requests under way have `finish_s` seconds to end. Obligations: `watch` of what is yielded has
    to run, and `swapped` to be called.
    """
    handler = OfrepHandler(answering, lifecycle)
    server = web.Server(handler.handle, handler_cancellation=True)
    front = FrontDoor(
        answering,
        server,
        limits,
        access_log=None,
        keepalive_timeout=limits.keepalive_timeout_s,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
    )
    loop = asyncio.get_running_loop()
    listening: list[asyncio.AbstractServer] = []
    try:
        for each in sockets:
            listen = (
                loop.create_unix_server if each.family == socket.AF_UNIX else loop.create_server
            )
            listening.append(await listen(front.connect, sock=each, backlog=_BACKLOG))
        yield front
    finally:
        for listener in listening:
            listener.close()
        if answering.streams is not None:
            answering.streams.close()  # whose clients come back at once, and find another instance
        await front.close(finish_s)
