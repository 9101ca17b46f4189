"""A control plane that takes exposures on a real socket and answers as a test says."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from proxy.contract.exposures import EXPOSURES_PATH, Exposure, ExposureBatch
from proxy.contract.reports import Receipt
from proxy.listen import bind, urls

Answer = web.Response | None


@dataclass
class Collector:
    """What arrived; `answer` returns a response to give instead of storing, or None to store.

    `store_first` stores even then, like a control plane whose answer is lost on its way.
    """

    url: str = ""
    answer: Callable[[ExposureBatch], Answer] = lambda _batch: None
    store_first: bool = False
    arrived: list[ExposureBatch] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    stored: dict[str, list[Exposure]] = field(default_factory=dict)
    request_made: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def items(self) -> list[Exposure]:
        """Everything stored, each batch once."""
        return [item for items in self.stored.values() for item in items]

    async def take(self, request: web.Request) -> web.Response:
        """Store a batch, or answer what the test says."""
        body = await request.read()
        batch = msgspec.json.decode(body, type=ExposureBatch)
        self.arrived.append(batch)
        self.headers.append(dict(request.headers))
        self.request_made.set()
        answer = self.answer(batch)
        if answer is not None and not self.store_first:
            return answer
        duplicate = batch.id in self.stored
        self.stored.setdefault(batch.id, batch.items)
        receipt = Receipt(batch.id, 0 if duplicate else len(batch.items), duplicate)
        return answer or web.json_response(body=msgspec.json.encode(receipt))


@asynccontextmanager
async def running_collector(port: int = 0) -> AsyncIterator[Collector]:
    """Run a control plane, on a free port or a certain one."""
    collector = Collector()
    app = web.Application(client_max_size=4_000_000)
    app.router.add_post(EXPOSURES_PATH, collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    sockets = bind(("127.0.0.1",), port, "--")
    collector.url = urls(sockets)[0]
    await web.SockSite(runner, sockets[0]).start()
    yield collector
    await runner.cleanup()


def inflate(body: bytes) -> ExposureBatch:
    """Return the batch of a compressed body."""
    return msgspec.json.decode(gzip.decompress(body), type=ExposureBatch)
