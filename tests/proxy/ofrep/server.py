"""The evaluation port on a real socket, in the test's own loop, with snapshots the test offers.

What `proxy.app` puts together for a process is put together here for a test: handler, holder,
metrics. Only the source is the test itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yarl

from proxy.contract.access import hash_key
from proxy.events.buffer import EventBuffer
from proxy.events.recorder import EventRecorder
from proxy.exposures.buffer import ExposureBuffer
from proxy.exposures.recorder import Recorder
from proxy.holder import Holder, Served
from proxy.lifecycle import Lifecycle
from proxy.listen import bind, urls
from proxy.metrics import Metrics
from proxy.ofrep.answering import Answering, OfrepSettings
from proxy.ofrep.auth import Access
from proxy.ofrep.cors import Cors
from proxy.ofrep.current import Current
from proxy.ofrep.front import FrontDoor, Limits
from proxy.ofrep.limits import RateLimit
from proxy.ofrep.port import serving
from proxy.ofrep.streams import Pace, Streams
from proxy.reporting.batches import new_id
from proxy.sync import SyncStatus
from tests.support.snapshots import make_snapshot

CLIENT_KEY = "mf_client_" + "c" * 43
EXPIRED_KEY = "mf_server_" + "e" * 43
SERVER_KEY = "mf_server_" + "s" * 43
SIDECAR_KEY = "mf_sidecar_" + "k" * 43
UNKNOWN_KEY = "mf_server_" + "u" * 43

LIMITS = Limits(max_connections=10_000, keepalive_timeout_s=75.0)

FLAGS = "/ofrep/v1/evaluate/flags"


def keys() -> dict[tuple[Any, str], Any]:
    """Return the snapshot entries of a server, a client and an expired key."""
    made = {
        SERVER_KEY: {"kind": "server"},
        CLIENT_KEY: {"kind": "client"},
        EXPIRED_KEY: {"kind": "server", "expires_at_ms": 1},
    }
    return {
        ("key", f"k{place}"): {"hash": hash_key(key), **members}
        for place, (key, members) in enumerate(made.items())
    }


def flag(kind: str, variants: Mapping[str, Any], serve: str | None = None, **more: Any) -> Any:
    """Return a definition that serves one variant to everybody, unless `more` says otherwise."""
    first = serve or next(iter(variants))
    return {
        "type": kind,
        "variants": dict(variants),
        "fallthrough": {"variant": first},
        "salt": "f3b1",
        "enabled": True,
        **more,
    }


HALVES = {
    "rollout": {
        "by": "targetingKey",
        "arms": [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}],
    }
}
ON_OFF = {"on": True, "off": False}


def rule(variant: str, attribute: str, *values: Any, op: str = "equals", id_: str = "r") -> Any:
    """Return a rule that serves a variant where an attribute has one of the values."""
    when = {"attribute": attribute, "op": op, "values": list(values)}
    return {"id": id_, "when": when, "serve": {"variant": variant}}


DEFINITIONS: dict[str, Any] = {
    "bool": flag("boolean", ON_OFF, metadata={"team": "x", "level": 3, "ratio": 0.5, "beta": True}),
    "false": flag("boolean", ON_OFF, "off"),
    "text": flag("string", {"a": "blue"}, client_side=True),
    "empty": flag("string", {"a": ""}),
    "int": flag("integer", {"a": 42}),
    "zero": flag("integer", {"a": 0}),
    "exact": flag("integer", {"a": 2**53 - 1}),
    "float": flag("number", {"a": 10.0}),
    "fraction": flag("number", {"a": 0.1}),
    "object": flag("object", {"a": {"n": [1, 2.0, None], "ü": {}}}),
    "empty-object": flag("object", {"a": {}}),
    "off-boolean": flag("boolean", ON_OFF, enabled=False),
    "off-string": flag("string", {"a": "x"}, enabled=False),
    "off-number": flag("number", {"a": 1.5}, enabled=False),
    "off-object": flag("object", {"a": {}}, enabled=False),
    "off-with-variant": flag("boolean", ON_OFF, enabled=False, off_variant="off"),
    "broken": flag("boolean", ON_OFF, rules=[rule("on", "x", 1, op="equalz")]),
    "split": flag("boolean", ON_OFF, fallthrough=HALVES),
    "tracked": flag("boolean", ON_OFF, fallthrough=HALVES, track=True, client_side=True),
    "ruled": flag("boolean", ON_OFF, "off", rules=[rule("on", "plan", "pro")], client_side=True),
    "team/check.out": flag("boolean", ON_OFF),
    "grüße 🎈": flag("boolean", ON_OFF),
}


@dataclass
class Reply:
    """An answer as it came."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class WatchedHolder(Holder):
    """A holder that tells when somebody begins and ends to wait for the first snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def wait_first(self, timeout_s: float) -> Served | None:
        """Wait as any holder does."""
        self.asked.set()
        try:
            return await super().wait_first(timeout_s)
        finally:
            self.left.set()


@dataclass
class Server:
    """A running evaluation port."""

    url: str
    holder: WatchedHolder
    lifecycle: Lifecycle
    metrics: Metrics
    recorder: Recorder
    answering: Answering
    front: FrontDoor
    session: aiohttp.ClientSession
    revision: int = field(default=0)

    async def offer(self, flags: Mapping[str, Any], more: Any = None, **header: Any) -> None:
        """Serve other flags."""
        self.revision += 1
        _, body = make_snapshot(flags, more=more, revision=self.revision, **header)
        await self.holder.offer(body, "control-plane")

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request as it stands; the path is not normalised."""
        url = yarl.URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=body, headers=headers) as response:
            return Reply(response.status, response.headers, await response.read())

    async def single(self, key: str, context: Any = None, **headers: str) -> Reply:
        """Evaluate one flag; `key` is percent-encoded already."""
        return await self.send("POST", f"{FLAGS}/{key}", _body(context), _names(headers))

    async def bulk(self, context: Any = None, query: str = "", **headers: str) -> Reply:
        """Evaluate all flags."""
        return await self.send("POST", FLAGS + query, _body(context), _names(headers))


def _body(context: Any) -> bytes:
    return json.dumps({"context": {} if context is None else context}).encode()


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"Content-Type": "application/json", **given}


@asynccontextmanager
async def running_server(
    flags: Mapping[str, Any] | None = DEFINITIONS,
    *,
    more: Any = None,
    open_without_keys: bool = True,
    origins: tuple[str, ...] = (),
    cors_headers: tuple[str, ...] = (),
    rate_limit: int = 0,
    wait_s: float = 4.0,
    max_body_bytes: int = 100_000,
    freshness_headers: bool = False,
    limits: Limits = LIMITS,
    pace: Pace | None = None,
    streams_prefix: str = "",
    events_max_bytes: int = 100_000,
) -> AsyncIterator[Server]:
    """Run an evaluation port; `flags` None leaves it without a snapshot.

    `pace` is of event streams; without it there are none.
    """
    holder, current, lifecycle = WatchedHolder(), Current(), Lifecycle()
    metrics = Metrics(holder, SyncStatus(), current)
    holder.subscribe(current.swapped)
    holder.subscribe(metrics.swapped)
    recorder = Recorder(ExposureBuffer(1000))
    access = Access(open_without_keys, hash_key(SIDECAR_KEY))
    streams = None if pace is None else Streams(access, current, metrics, pace, streams_prefix)
    answering = Answering(
        OfrepSettings(
            access=access,
            first_snapshot_wait_s=wait_s,
            max_body_bytes=max_body_bytes,
            freshness_headers=freshness_headers,
        ),
        current=current,
        holder=holder,
        metrics=metrics,
        recorder=recorder,
        events=EventRecorder(EventBuffer(events_max_bytes), new_id),
        cors=Cors(origins, cors_headers),
        limit=RateLimit(rate_limit),
        streams=streams,
    )
    sockets = bind(("127.0.0.1",), 0, "--")
    port = serving(answering, lifecycle, sockets, limits, finish_s=1.0)
    async with port as front, aiohttp.ClientSession() as session:
        holder.subscribe(front.swapped)
        telling = None
        if streams is not None:
            holder.subscribe(streams.swapped)
            telling = asyncio.create_task(streams.run())
        server = Server(
            urls(sockets)[0], holder, lifecycle, metrics, recorder, answering, front, session
        )
        if flags is not None:
            await server.offer(flags, more)
        try:
            yield server
        finally:
            if telling is not None:
                assert not telling.done()
                telling.cancel()
