"""A control plane on a free port, made of the real parts, and a reader of its streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from control_plane.access.model import KeyInput
from control_plane.audit.model import Author
from control_plane.keys import KEYS, REPLICA, SYNC
from control_plane.publishing.replica import Replica
from control_plane.publishing.service import SyncService
from control_plane.publishing.state import (
    Change,
    Edit,
    FlagRecord,
    ProjectState,
    RecordKind,
)
from control_plane.times import now_rfc3339
from proxy.contract.codes import KeyKind
from proxy.contract.definitions import EnvironmentConfig, Flag, Serve
from proxy.contract.sync import STREAM_PATH
from tests.support import api

__all__ = ["AUTHOR", "Api", "Event", "Reader", "put_flag", "running_api", "until"]

AUTHOR = Author("test", "")
ENVIRONMENTS = ("development", "staging", "production")


async def put_flag(
    replica: Replica, key: str, *, value: str = "x", environments: tuple[str, ...] = ENVIRONMENTS
) -> None:
    """Set a flag that serves a string."""
    configs = {
        name: EnvironmentConfig(Serve(variant="default"), enabled=True, salt="s")
        for name in environments
    }

    def build(state: ProjectState) -> Change:
        record = state.flags.get(key)
        flag = Flag(key=key, type="string", variants={"default": value}, environments=configs)
        version = 1 if record is None else record.version + 1
        edit = Edit(RecordKind.FLAG, key, FlagRecord(flag, version, now_rfc3339(), now_rfc3339()))
        return Change("flag.update", AUTHOR, now_rfc3339(), (edit,))

    await replica.commit("default", build)


async def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Return when a condition holds that nobody announces."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - a figure to be scraped, there is no event
            await asyncio.sleep(0.01)


class Event(NamedTuple):
    """A server-sent event."""

    name: str
    identity: str | None
    data: Any


class Reader:
    """Reads the events of one stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, timeout_s: float = 10) -> Event:
        """Return the next event.

        Raises:
            aiohttp.ClientError, EOFError: when the stream ends.
        """
        name, identity, data = "", None, ""
        async with asyncio.timeout(timeout_s):
            while True:
                line = (await self.response.content.readline()).decode()
                if not line:
                    raise EOFError
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    identity = value
                elif field == "data":
                    data = value
                elif not field and data:
                    return Event(name, identity, json.loads(data))

    async def ended(self, timeout_s: float = 10) -> bool:
        """Return whether the connection is dropped in time, having read what comes until then."""
        try:
            async with asyncio.timeout(timeout_s):
                while await self.response.content.readany():
                    pass
        except aiohttp.ClientError:
            return True  # cut, not ended
        except TimeoutError:
            return False
        return False


@dataclass
class Api:
    """A running control plane."""

    url: str
    app: web.Application
    http: aiohttp.ClientSession

    @property
    def replica(self) -> Replica:
        """The definitions."""
        return self.app[REPLICA]

    @property
    def sync(self) -> SyncService:
        """The service under test."""
        return self.app[SYNC]

    async def key(self, environment: str = "production", **options: Any) -> str:
        """Return a new sidecar key."""
        document = KeyInput(KeyKind.SIDECAR, **options)
        return (await self.app[KEYS].create("default", environment, document, AUTHOR)).key

    @asynccontextmanager
    async def stream(self, key: str, **headers: str) -> AsyncIterator[Reader]:
        """Open a stream and yield its reader."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Authorization"] = f"Bearer {key}"
        async with self.http.get(self.url + STREAM_PATH, headers=named) as response:
            assert response.status == 200, await response.text()
            yield Reader(response)

    def get(self, path: str, key: str, **headers: str) -> Any:
        """Ask with a key; a context manager of the response."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Authorization"] = f"Bearer {key}"
        return self.http.get(self.url + path, headers=named)


@asynccontextmanager
async def running_api(redis_url: str, **settings: Any) -> AsyncIterator[Api]:
    """Run a control plane and yield it once its definitions are loaded."""
    async with api.running_api(redis_url, **settings) as running:
        yield Api(running.url, running.app, running.session)
