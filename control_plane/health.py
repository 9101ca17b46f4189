"""Three questions about this process, each with one consequence.

- `/livez`: does the event loop turn? Nothing else, so that no load and no upstream gets a busy
  process killed.
- `/readyz`: is a full copy of the definitions held? Redis may be away: reads and sync go on.
- `/health`: what is wrong, for people and alarms. 503 with the same document when something is.
"""

from time import monotonic
from typing import Literal

import msgspec
from aiohttp import web

from control_plane.keys import LAG, REPLICA, STARTED_AT, SYNC
from control_plane.store.address import Topology
from control_plane.web.params import DEFAULT_PROJECT
from control_plane.web.respond import json_response
from control_plane.web.routing import Permission, Route
from proxy import __version__

__all__ = ["ROUTES", "Health", "Probe", "RedisHealth"]

_MAX_AGE_MS = 15_000
"""Definitions not confirmed for this long are worth an alarm; Redis is asked each second."""


class Probe(msgspec.Struct, frozen=True):
    """The answer of a probe."""

    status: Literal["ok", "starting"]


class RedisHealth(msgspec.Struct, frozen=True):
    """The Redis with the definitions. `latency_ms` is null while it does not answer.

    `masters` is how many servers are written to, 0 while that is not known; `fail_overs` how often
    others took their place since this replica started. Which they are is in the metrics.
    """

    ok: bool
    latency_ms: float | None
    topology: Topology
    masters: int
    fail_overs: int


class Health(msgspec.Struct, frozen=True):
    """How this replica does.

    `verified_age_ms` is how long ago Redis last confirmed the definitions held; `revisions` are
    those of the default project, by environment; `problems` says in words what is wrong.
    """

    status: Literal["ok", "degraded", "starting"]
    problems: list[str]
    version: str
    uptime_s: float
    redis: RedisHealth
    loaded: bool
    verified_age_ms: int
    projects: int
    revisions: dict[str, int]
    connected_sidecars: int
    loop_lag_ms: float


async def livez(request: web.Request) -> web.StreamResponse:
    """Answer 200."""
    return json_response(Probe("ok"))


async def readyz(request: web.Request) -> web.StreamResponse:
    """Answer 200 once all definitions are in memory, 503 before."""
    loaded = request.app[REPLICA].loaded
    return json_response(Probe("ok" if loaded else "starting"), status=200 if loaded else 503)


async def health(request: web.Request) -> web.StreamResponse:
    """Answer how this replica does; 503 when something is wrong."""
    document = _examine(request.app)
    return json_response(document, status=200 if document.status == "ok" else 503)


def _examine(app: web.Application) -> Health:
    replica = app[REPLICA]
    latency_s = replica.redis_latency_s
    age_ms = replica.verified_age_ms()
    problems = []
    if not replica.redis_ok:
        problems.append("Redis does not answer: nothing can be written, reads go on")
    if not replica.loaded:
        problems.append("the definitions have not been read yet")
    elif age_ms > _MAX_AGE_MS:
        problems.append(f"the definitions were last confirmed {age_ms / 1000:.0f} s ago")
    if replica.unreadable:
        problems.append(f"{len(replica.unreadable)} projects in Redis cannot be read, see the log")
    lost = sum(len(state.incomplete_segments()) for state in replica.projects.values())
    if lost:
        problems.append(f"the units of {lost} segments are not in Redis: put them again")
    default = replica.projects.get(DEFAULT_PROJECT)
    revisions = {} if default is None else default.snapshots
    if not replica.loaded:
        status: Literal["ok", "degraded", "starting"] = "starting"
    else:
        status = "degraded" if problems else "ok"
    return Health(
        status=status,
        problems=problems,
        version=__version__,
        uptime_s=round(monotonic() - app[STARTED_AT], 3),
        redis=RedisHealth(
            replica.redis_ok,
            None if latency_s is None else round(latency_s * 1000, 3),
            replica.servers.topology,
            len(replica.servers.masters),
            replica.servers.changes,
        ),
        loaded=replica.loaded,
        verified_age_ms=age_ms,
        projects=len(replica.projects),
        revisions={name: snapshot.revision for name, snapshot in revisions.items()},
        connected_sidecars=sum(app[SYNC].streams.connected.values()),
        loop_lag_ms=round(app[LAG].worst_s * 1000, 3),
    )


ROUTES = (
    Route(
        method="GET",
        path="/livez",
        handler=livez,
        summary="Does the process live?",
        permission=Permission.PUBLIC,
        tag="health",
        responses={200: Probe},
    ),
    Route(
        method="GET",
        path="/readyz",
        handler=readyz,
        summary="Are all definitions held?",
        permission=Permission.PUBLIC,
        tag="health",
        responses={200: Probe, 503: Probe},
    ),
    Route(
        method="GET",
        path="/health",
        handler=health,
        summary="How is it?",
        permission=Permission.PUBLIC,
        tag="health",
        responses={200: Health, 503: Health},
    ),
)
