"""The front door, and aiohttp alone, each at the other end of a wire that is no socket.

Bytes are given to a protocol as a transport would give them, and what it writes is kept. Nothing is
ever under way, so after some turns of the loop all that would be answered is answered, and a
hundred thousand requests can be compared. `test_front.py` does some of it over real sockets.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from proxy.ofrep.port import MAX_LINE_BYTES
from proxy.ofrep.routes import OfrepHandler, Reading
from tests.proxy.ofrep.server import Server, running_server

_CLOSE = b"\r\nConnection: close\r\n"
_TURNS = 25  # what aiohttp needs for a request is about ten


class Wire(asyncio.Transport):
    """Keeps what is written; `given` puts bytes in at the other end."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.closed = False
        self.handed_over: tuple[int, int, int] | None = None
        """How many bytes were answered before that, how many were not, and the parts given."""
        self._bytes = self._parts = 0
        self._reading = True
        self._waiting: deque[bytes] = deque()
        protocol.connection_made(self)

    async def given(self, parts: Iterable[bytes]) -> None:
        """Give the parts to whoever reads, one by one, and wait until all is answered."""
        for part in parts:
            self._waiting.append(part)
            await self._turn()
        for _ in range(_TURNS):
            await self._turn()

    def note_hand_over(self, received: int) -> None:
        """Take note that so many of the bytes given are handed over."""
        self.handed_over = self._bytes - received, received, self._parts

    async def _turn(self) -> None:
        while self._waiting and self._reading and not self.closed:
            part = self._waiting.popleft()
            self._bytes += len(part)
            self._parts += 1
            self.protocol.data_received(part)
        await asyncio.sleep(0)

    def write(self, data: Any) -> None:
        assert not self.closed, "written after the end"
        self.written += data

    def writelines(self, parts: Iterable[Any]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return 0


class Ends:
    """Both ways to answer the same flags."""

    def __init__(self, server: Server, plain: web.Server) -> None:
        self.server = server
        self._plain = plain

    async def front(self, parts: Iterable[bytes]) -> Wire:
        """Return the wire after the front door got the parts."""
        return await self._asked(self.server.front.connect(), parts)

    async def plain(self, parts: Iterable[bytes]) -> Wire:
        """Return the wire after aiohttp got the parts."""
        lines = {"max_line_size": MAX_LINE_BYTES, "max_field_size": MAX_LINE_BYTES}
        reading = Reading(self._plain, self.server.answering, access_log=None, **lines)
        return await self._asked(reading, parts)

    async def differ(self, parts: Iterable[bytes]) -> str:
        """Return how the two answer the same bytes differently; empty if they do not.

        A connection that was handed over is closed after its first answer: those that aiohttp alone
        gave after that one are not compared. And aiohttp forgets the requests before one that it
        cannot read if they came in one piece: what it makes of the same bytes in others counts too.
        """
        parts = tuple(parts)
        wire = await self.front(parts)
        front, data = bytes(wire.written), b"".join(parts)
        ways = [parts]
        if wire.handed_over:
            answered, received, given = wire.handed_over
            end = answered + received
            ways.append((data[:answered], data[answered:end], *parts[given:]))
        ways.append(tuple(bytes([byte]) for byte in data))
        if b"HTTP/1.1 500 " in front:
            return f"{parts!r}\nfront door: {front!r}"
        for way in ways:
            plain = bytes((await self.plain(way)).written)
            if _same(front, plain, handed_over=wire.handed_over is not None):
                return ""
        if b"h2c" in data.lower():  # after an offer to upgrade, aiohttp forgets in other ways
            wire = await self.front(ways[-1])
            if _same(bytes(wire.written), plain, handed_over=wire.handed_over is not None):
                return ""
        return f"{parts!r}\nfront door: {front!r}\naiohttp:    {plain!r}"

    @staticmethod
    async def _asked(protocol: asyncio.Protocol, parts: Iterable[bytes]) -> Wire:
        wire = Wire(protocol)
        await wire.given(parts)
        wire.close()
        await asyncio.sleep(0)
        return wire


def _same(front: bytes, plain: bytes, *, handed_over: bool) -> bool:
    ours, theirs = _comparable(front), _comparable(plain)
    ends = handed_over or _CLOSE in front
    return ours == theirs or (ends and ours != b"" and theirs.startswith(ours))


def _comparable(answers: bytes) -> bytes:
    return re.sub(rb"\r\n(?:Date: [^\r]*|Connection: close)(?=\r\n)", b"", answers)


@asynccontextmanager
async def both_ends(**options: Any) -> AsyncIterator[Ends]:
    """Run both with the definitions, and the options, of `running_server`."""
    async with running_server(**options) as server:
        handler = OfrepHandler(server.answering, server.lifecycle, keep_alive=True)
        plain = web.Server(handler.handle, handler_cancellation=True)
        hand_over = server.front.hand_over

        def noted(wire: Wire, received: bytes) -> None:
            wire.note_hand_over(len(received))
            hand_over(wire, received)

        server.front.hand_over = noted  # type: ignore[method-assign, assignment]
        yield Ends(server, plain)
        await plain.shutdown(1.0)
