"""A client of event streams on a bare socket: sees each byte, and takes a stream apart itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

WAIT_S = 20.0
"""Bound, not expectation."""


class Event(NamedTuple):
    """What a browser would make of some lines: `data` is None if it would tell the page nothing."""

    id: str | None
    name: str | None
    data: Any
    raw: bytes


class Listening:
    """One stream: the head of its answer, then events as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.comments = 0
        self.retry_ms: int | None = None
        self._reader = reader
        self._text = b""

    async def head(self) -> None:
        """Read the head of the answer."""
        async with asyncio.timeout(WAIT_S):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            assert name.lower() not in self.headers
            self.headers[name.lower()] = value

    async def body(self) -> Any:
        """Return the JSON of an answer that is no stream."""
        async with asyncio.timeout(WAIT_S):
            return json.loads(await self._reader.readexactly(int(self.headers["content-length"])))

    async def part(self) -> bytes:
        """Return the next chunk; empty at the end, of the chunks or of the connection."""
        if self.headers.get("transfer-encoding") != "chunked":
            return await self._reader.read(65_536)
        try:
            size = int((await self._reader.readuntil(b"\r\n"))[:-2], 16)
            chunk = await self._reader.readexactly(size + 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        assert chunk.endswith(b"\r\n")
        return chunk[:-2]

    async def next(self) -> Event | None:
        """Return the next event, None at the end; what is no event is noted."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while b"\n\n" not in self._text:
                    part = await self.part()
                    if not part:
                        assert not self._text
                        return None
                    self._text += part
                block, _, self._text = self._text.partition(b"\n\n")
                fields = {}
                for line in block.split(b"\n"):
                    name, _, value = line.decode().partition(": ")
                    fields[name] = value
                if block == b":":
                    self.comments += 1
                elif "retry" in fields:
                    self.retry_ms = int(fields["retry"])
                else:
                    data = json.loads(fields["data"]) if "data" in fields else None
                    return Event(fields.get("id"), fields.get("event"), data, block)

    async def event(self) -> Event:
        """Return the next event, which there must be."""
        event = await self.next()
        assert event is not None, "the stream ended"
        return event

    async def until_comment(self) -> list[Event]:
        """Return the events that come before the next heartbeat."""
        events: list[Event] = []
        seen = self.comments
        reading = asyncio.create_task(self.next())
        while self.comments == seen:
            done, _ = await asyncio.wait({reading}, timeout=0.01)
            if done:
                event = reading.result()
                assert event is not None
                events.append(event)
                reading = asyncio.create_task(self.next())
        if reading.done():
            event = reading.result()
            assert event is not None
            events.append(event)
        else:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return events


@asynccontextmanager
async def listening(
    url: str, uri: str, version: str = "1.1", method: str = "GET", **headers: str
) -> AsyncIterator[Listening]:
    """Ask for a stream and read the head of the answer."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    lines = [f"{method} {uri} HTTP/{version}", "Host: here", "Accept: text/event-stream"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    stream = Listening(reader, writer)
    try:
        await stream.head()
        yield stream
    finally:
        writer.close()
