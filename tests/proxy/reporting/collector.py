"""A control plane that takes reports on a real socket and answers as a test says."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from proxy.contract.events import EVENTS_PATH, EventBatch
from proxy.contract.exposures import EXPOSURES_PATH, ExposureBatch
from proxy.contract.reports import Receipt
from proxy.contract.usage import USAGE_PATH, UsageBatch
from proxy.listen import bind, urls

Answer = web.Response | None

Batch = ExposureBatch | EventBatch | UsageBatch

KINDS: dict[str, type[Batch]] = {
    EXPOSURES_PATH: ExposureBatch,
    EVENTS_PATH: EventBatch,
    USAGE_PATH: UsageBatch,
}


@dataclass
class Collector:
    """What arrived; `answer` returns a response to give instead of storing, or None to store.

    `store_first` stores even then, like a control plane whose answer is lost on its way.
    """

    url: str = ""
    answer: Callable[[Any], Answer] = lambda _batch: None
    store_first: bool = False
    arrived: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    stored: dict[str, list[Any]] = field(default_factory=dict)
    request_made: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def items(self) -> list[Any]:
        """Everything stored, each batch once."""
        return [item for items in self.stored.values() for item in items]

    def of(self, kind: type) -> list[Any]:
        """Return the items of a kind."""
        return [item for item in self.items if isinstance(item, kind)]

    def serve(self, app: web.Application) -> None:
        """Take reports of all kinds."""
        for path in KINDS:
            app.router.add_post(path, self.take)

    async def take(self, request: web.Request) -> web.Response:
        """Store a batch, or answer what the test says."""
        body = await request.read()
        batch = msgspec.json.decode(body, type=KINDS[request.path])
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
    collector.serve(app)
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
