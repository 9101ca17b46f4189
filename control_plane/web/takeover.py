"""Takes a connection from aiohttp once the head of an answer without end has been sent.

A handler that waits for hours keeps two tasks, the request, the answer and a parser. What is left
of a connection afterwards is its transport, and the protocol that the caller gives it. The body is
the caller's to write: in chunks to HTTP/1.1, plain to HTTP/1.0.
"""

import asyncio
from typing import NoReturn

from aiohttp import web

__all__ = ["begin_endless", "leave", "take_over"]


async def begin_endless(request: web.Request, headers: dict[str, str]) -> None:
    """Send the head of an answer whose connection ends with it."""
    answer = web.StreamResponse(headers=headers)
    answer.force_close()
    await answer.prepare(request)


def take_over(request: web.Request) -> asyncio.Transport:
    """Return the connection of a request; aiohttp has nothing to do with it any more.

    The caller sets another protocol before it waits for anything, and then calls `leave`.

    Raises:
        ConnectionResetError: the client is gone.
    """
    reading = request.protocol
    transport = reading.transport
    if transport is None:
        raise ConnectionResetError
    reading.transport = None  # or it would be closed
    reading.connection_lost(None)
    transport.resume_reading()
    return transport


def leave() -> NoReturn:
    """End the handler of a connection that was taken over, or whose client has gone."""
    raise asyncio.CancelledError  # as if the client had gone, which is all that aiohttp knows of it
