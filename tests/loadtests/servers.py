"""Servers for tests of load: in a thread of their own, because those who ask them block."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from loadtests.addresses import Address

T = TypeVar("T")

_START_S = 10.0


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Enter an async context manager in the event loop of another thread, and yield its value."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        manager = make()
        entered = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop)
        try:
            yield entered.result(_START_S)
        finally:
            leave = manager.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(leave, loop).result(_START_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_S)
        loop.close()


class Recorder:
    """What a server was sent, in the order of its coming, and on how many connections."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0


@asynccontextmanager
async def recording(
    status_of: Callable[[int], int] = lambda _: 200,
    answer_to: Callable[[bytes], bytes] = lambda _: b"{}",
    *,
    close: bool = False,
) -> AsyncIterator[Recorder]:
    """Answer bodies; `status_of` is told how many requests came before."""
    recorder = Recorder()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recorder.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                status = status_of(len(recorder.bodies))
                recorder.heads.append(head)
                recorder.bodies.append(await reader.readexactly(length))
                answer = answer_to(recorder.bodies[-1])
                kept = b"close" if close else b"keep-alive"
                head = b"HTTP/1.1 %d Some\r\nConnection: %b\r\nContent-Length: %d\r\n\r\n"
                writer.write(head % (status, kept, len(answer)) + answer)
                if close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        recorder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield recorder


@asynccontextmanager
async def forwarding(path: Path, address: Address) -> AsyncIterator[str]:
    """Listen at a Unix socket and pass everything on to a server, and its answers back."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address.host, address.port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_unix_server(serve, path):
        yield f"unix:{path}"
