"""The admin port: is it alive, ready, started; what it counts; how it stands; why flags answer so.

Probes and metrics are open. `/statusz` tells keys of flags and problems in them, `/explain` what
definitions say, so they want a server key, unless the peer is on this machine and asked under a
local name: a page that rebinds its own name to 127.0.0.1 is a local peer too, but its `Host` gives
it away.

An explanation is no evaluation: it is not counted, and nobody was exposed to anything.

Liveness depends on nothing but the loop. Readiness means that a snapshot is held; its age makes it
fail only when told so, because all instances would fail at once.
"""

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from proxy import __version__
from proxy.contract.access import key_from_headers
from proxy.contract.parsers import is_loopback
from proxy.engine import explaining, explanation_text, parse_moment
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.metrics import Metrics
from proxy.ofrep.auth import Access, Denied, Scope, authorise
from proxy.ofrep.context import BadContext, context_of, read_document
from proxy.reporting.channel import Channel
from proxy.slices import run_in_slices
from proxy.sync import SyncStatus

__all__ = ["AdminHandler", "AdminSettings", "create_admin_app"]

_NO_STORE = {"Cache-Control": "no-store"}
_MAX_BODY_BYTES = 1_048_576  # as evaluations have by default
_BODY_TIMEOUT_S = 10.0
_SHOWN_CHARS = 40
_MAX_QUARANTINED = 100  # flags told by name; a person mends the first few and looks again
_KEYS_ALWAYS_NEEDED = Access(open_without_keys=False)
_NO_KEYS = Denied(401, "there is no server key yet; ask on this machine, for 127.0.0.1")


@dataclass(frozen=True, kw_only=True)
class AdminSettings:
    """What of the settings concerns probes and status."""

    instance: str
    ready_without_snapshot: bool
    startup_grace_s: float
    unready_after_s: float


class AdminHandler:
    """Answers the requests of the admin port. Without `channels` nobody is reported to."""

    def __init__(
        self,
        settings: AdminSettings,
        *,
        holder: Holder,
        status: SyncStatus,
        lifecycle: Lifecycle,
        metrics: Metrics,
        channels: Sequence[Channel],
    ) -> None:
        self._settings = settings
        self._holder = holder
        self._status = status
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._channels = channels

    async def livez(self, _request: web.Request) -> web.Response:
        """Answer that the loop turns."""
        return _text(200, "alive")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer whether evaluations should be sent here."""
        reason = self._unready()
        return _text(200, "ready") if reason is None else _text(503, f"not ready: {reason}")

    async def startupz(self, _request: web.Request) -> web.Response:
        """Answer whether waiting for the first snapshot is over, with one or without."""
        if self._holder.served is not None:
            return _text(200, "started")
        if self._lifecycle.uptime_s() >= self._settings.startup_grace_s:
            return _text(200, f"started, {self._lacking()}")
        return _text(503, f"starting: {self._lacking()}")

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer all metrics, in the format that is asked for."""
        body, content_type = await self._metrics.render(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={"Content-Type": content_type, **_NO_STORE})

    async def statusz(self, request: web.Request) -> web.Response:
        """Answer how the sidecar stands, in detail."""
        denied = self._denied(request)
        return _json(200, self._standing(), {}) if denied is None else _refusal(denied)

    async def explain(self, request: web.Request) -> web.Response:
        """Answer what a flag answers to a context, and why; as text for those who ask for it."""
        denied = self._denied(request)
        if denied is not None:
            return _refusal(denied)
        served = self._holder.served
        if served is None:
            return _failed(503, self._lacking(), {"Retry-After": "1"})
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                document = read_document(await request.read())
            _check_members(document)
            context, now_ms = context_of(document), _asked_time(document)
        except web.HTTPRequestEntityTooLarge:
            details = f"the body is larger than {_MAX_BODY_BYTES} bytes"
            return _failed(413, details, {"Connection": "close"})
        except TimeoutError:
            details = f"the body did not come within {_BODY_TIMEOUT_S:.0f} s"
            return _failed(408, details, {"Connection": "close"})
        except (BadContext, web.RequestPayloadError) as error:
            return _failed(400, str(error), {})
        key = request.match_info["key"]
        explanation = await run_in_slices(
            explaining(served.compiled, served.entries, key, context, now_ms)
        )
        explanation.stale = served.defaults is not None
        if _wants_text(request):
            return web.Response(text=explanation_text(explanation), headers=_NO_STORE)
        return _json(200, explanation, {})

    def _unready(self) -> str | None:
        """Return why it is not ready, None when it is."""
        if self._lifecycle.stopping.is_set():
            return "stopping"
        age_ms = self._holder.age_ms()
        if age_ms is None:
            return None if self._settings.ready_without_snapshot else self._lacking()
        limit_s = self._settings.unready_after_s
        if limit_s and age_ms > limit_s * 1000:
            return f"the snapshot was last confirmed {age_ms / 1000:.0f} s ago"
        return None

    def _lacking(self) -> str:
        """Return why there is no snapshot: probes are open, so by words that are ours."""
        refusal, error = self._holder.refusal, self._status.last_error
        if refusal is not None:
            return f"no snapshot yet: {refusal}"
        if error is None:
            return "no snapshot yet"
        return f"no snapshot yet: the last error was {error.partition(':')[0]}, the log says more"

    def _denied(self, request: web.Request) -> Denied | None:
        """Return why the status is not told, None when it is."""
        if _is_local(request):
            return None
        served = self._holder.served
        presented = key_from_headers(
            request.headers.get(hdrs.AUTHORIZATION), request.headers.get("X-API-Key")
        )
        keys = {} if served is None else served.compiled.keys
        if not keys:
            return _NO_KEYS
        now_ms = time.time_ns() // 1_000_000
        granted = authorise(keys, presented, now_ms, _KEYS_ALWAYS_NEEDED)
        if isinstance(granted, Denied):
            return granted
        if granted.scope is not Scope.ALL:
            return Denied(403, "a client key is not for this; use a server key")
        return None

    def _standing(self) -> dict[str, Any]:
        unready = self._unready()
        return {
            "version": __version__,
            "instance": self._settings.instance,
            "loop": type(asyncio.get_running_loop()).__module__,
            "uptime_s": round(self._lifecycle.uptime_s(), 3),
            "ready": unready is None,
            "unready": unready,
            "stopping": self._lifecycle.stopping.is_set(),
            "snapshot": self._snapshot(),
            "refused": dict(self._holder.refusals),
            "trusted_keys": self._trusted(),
            "sync": self._sync(),
            **self._reports(),
            "background_failures": dict(self._metrics.background_failures),
        }

    def _trusted(self) -> list[str] | None:
        trust = self._holder.admission.trust
        return None if trust is None else trust.key_ids

    def _snapshot(self) -> dict[str, Any] | None:
        served = self._holder.served
        if served is None:
            return None
        header = served.header
        quarantined = list(served.compiled.quarantined.items())
        return {
            "source": served.source,
            "project": header.project,
            "environment": header.environment,
            "epoch": header.epoch,
            "revision": header.revision,
            "digest": header.digest,
            "created_at": header.created_at,
            "signed_by": header.signed_by,
            "age_s": (self._holder.age_ms() or 0) / 1000,
            "age_estimated": self._holder.age_estimated,
            "max_age_s": self._holder.max_age_s,
            "stale": served.defaults is not None,
            "bytes": served.body_bytes,
            "flags": len(served.compiled.flags),
            "keys": len(served.compiled.keys),
            "units": served.units,
            "blobs": len(served.blobs),
            "blob_bytes": served.blob_bytes,
            "quarantined": dict(quarantined[:_MAX_QUARANTINED]),
            "quarantined_count": len(quarantined),
        }

    def _sync(self) -> dict[str, Any]:
        status = self._status
        return {
            "state": status.state,
            "state_since": _time(status.state_since),
            "connected_since": _time(status.connected_since),
            "reconnects": status.reconnects,
            "deltas": dict(status.deltas),
            "blobs": dict(status.blobs),
            "blobs_missing": status.blobs_missing,
            "errors": dict(status.errors),
            "last_error": status.last_error,
            "last_error_at": _time(status.last_error_at),
            "problems": status.problems,
        }

    def _reports(self) -> dict[str, Any]:
        """Return where the items of each channel are."""
        return {
            channel.name: {
                **channel.balance()._asdict(),
                "errors": dict(channel.errors),
                "last_error": channel.last_error,
            }
            for channel in self._channels
        }


def create_admin_app(handler: AdminHandler) -> web.Application:
    """Return the application of the admin port."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_get("/livez", handler.livez)
    app.router.add_get("/readyz", handler.readyz)
    app.router.add_get("/startupz", handler.startupz)
    app.router.add_get("/metrics", handler.metrics)
    app.router.add_get("/statusz", handler.statusz)
    app.router.add_post("/explain/{key:.+}", handler.explain)
    return app


def _is_local(request: web.Request) -> bool:
    """Return whether the peer is this machine and asked for a local name."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    if not isinstance(peer, tuple):
        return False
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if not (mapped or address).is_loopback:
        return False
    try:
        host = urlsplit(f"//{request.headers.get(hdrs.HOST, '')}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)


_EXPLAINED = ("context", "at")


def _check_members(document: dict[str, Any]) -> None:
    """Raise BadContext for a member that would be passed over, and another answer be explained."""
    for name in document:
        if name not in _EXPLAINED:
            nearest = get_close_matches(name[:_SHOWN_CHARS].lower(), _EXPLAINED, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            known = " and ".join(map(repr, _EXPLAINED))
            raise BadContext(
                f"the member {name[:_SHOWN_CHARS]!r} is unknown, there are {known}{hint}"
            )


def _asked_time(document: dict[str, Any]) -> int:
    """Return the time that a body asks about, in Unix milliseconds: now, unless it says another.

    Raises:
        BadContext: for one that is none.
    """
    at = document.get("at")
    if at is None:
        return time.time_ns() // 1_000_000
    moment = parse_moment(at) if isinstance(at, str) else None
    if moment is None:
        raise BadContext("at is no date and time of RFC 3339 with a zone: 2026-12-01T09:00:00Z")
    return moment


def _wants_text(request: web.Request) -> bool:
    asked = request.query.get("text")
    if asked is not None:
        return asked not in ("0", "false")
    return "text/plain" in request.headers.get(hdrs.ACCEPT, "")


def _time(unix_s: float | None) -> str | None:
    """Return a time as RFC 3339 in UTC."""
    if unix_s is None:
        return None
    moment = datetime.fromtimestamp(unix_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refusal(denied: Denied) -> web.Response:
    challenge = {"WWW-Authenticate": "Bearer"} if denied.status == 401 else {}
    return _failed(denied.status, denied.details, challenge)


def _failed(status: int, details: str, headers: dict[str, str]) -> web.Response:
    return _json(status, {"errorDetails": details}, headers)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=_NO_STORE)


def _json(status: int, value: Any, headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        headers={"Content-Type": "application/json", **_NO_STORE, **headers},
    )
