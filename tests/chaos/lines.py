"""A TCP connection with a fault: what is between two programs, for a test to break.

A `Line` listens on a port of its own and passes on what it gets to the first of its targets that
takes the connection. Nothing is interpreted. All of it runs in the test's own loop.

    latency_s         each byte arrives so much later, in order
    bytes_per_s       no more than these, each way and connection; 0 is no bound
    cut / mend        connections are reset and new ones refused, until mended
    vanish / mend     the peer is gone without a word: nothing passes, nothing ends, and connections
                      that were open then stay so for good
    stall / resume    nothing is read any more, so that buffers fill; nothing is lost
"""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

__all__ = ["Address", "Line"]

Address = tuple[str, int]
_CHUNK_BYTES = 65_536


class Line:
    """Enter it to listen; `address` is what the programs are told."""

    def __init__(self, targets: Sequence[Address], host: str = "127.0.0.1") -> None:
        self.targets = list(targets)
        self.latency_s = 0.0
        self.bytes_per_s = 0
        self.accepted = 0
        self._host = host
        self._server: asyncio.Server | None = None
        self._port = 0
        self._refusing = False
        self._silent = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    @property
    def address(self) -> Address:
        """Where to connect to."""
        return self._host, self._port

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """Reset all connections; new ones are taken."""
        for connection in list(self._connections.values()):
            connection.abort()

    def vanish(self) -> None:
        """Let nothing pass any more, and tell nobody."""
        self._silent = True
        for connection in self._connections.values():
            connection.dead = True

    def stall(self) -> None:
        """Read no more."""
        self._flows.clear()

    def mend(self) -> None:
        """Let new connections work again."""
        self._refusing = self._silent = False
        self.latency_s, self.bytes_per_s = 0.0, 0
        self._flows.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, 0, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(self, writer)
        connection.dead = self._silent
        self._connections[task] = connection
        self.accepted += 1
        try:
            if self._refusing:
                return
            await connection.run(reader)
        except (OSError, asyncio.CancelledError):
            pass  # broken, which is what these are for
        finally:
            connection.abort()
            self._connections.pop(task, None)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first target that takes it, each time another one first."""
        for _ in range(len(self.targets)):
            target = self.targets.pop(0)
            self.targets.append(target)
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(*target)
        raise ConnectionRefusedError


class _Connection:
    """One connection and its other half."""

    def __init__(self, line: Line, writer: asyncio.StreamWriter) -> None:
        self.dead = False
        self._line = line
        self._writers = [writer]

    def abort(self) -> None:
        """Reset both halves."""
        for writer in self._writers:
            writer.transport.abort()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Pass on what comes until one side ends."""
        if self.dead:
            await self._swallow(reader)
        there, writer = await self._line._connect()
        self._writers.append(writer)
        pumps = {
            asyncio.create_task(self._pump(reader, writer)),
            asyncio.create_task(self._pump(there, self._writers[0])),
        }
        try:
            # An end goes on to the other side, which may have more to say; an error ends both.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(_CHUNK_BYTES):
            pass
        await asyncio.Event().wait()  # its end is not told either

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        due_s = 0.0
        while True:
            await self._line._flows.wait()
            data = await reader.read(_CHUNK_BYTES)
            if self.dead:
                if not data:
                    await asyncio.Event().wait()
                continue
            if self._line.bytes_per_s:
                await asyncio.sleep(len(data) / self._line.bytes_per_s)
            # later than what is on its way already, also when the latency has become less
            due_s = max(due_s, loop.time() + self._line.latency_s)
            if due_s > loop.time():
                loop.call_at(due_s, self._deliver, writer, data)
            else:
                self._deliver(writer, data)
            if not data:
                return
            await writer.drain()

    def _deliver(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.dead or writer.transport.is_closing():
            return
        if data:
            writer.write(data)
        elif writer.can_write_eof():
            writer.write_eof()
