"""Answers a request whose head is known and whose body is there: everything but the bytes.

Both ways in share it, the front door for ordinary requests and aiohttp for all others, so that
they cannot differ. In this order, each step for a reason: the path says what is asked for;
`OPTIONS` is answered to anybody, as browsers send it without credentials; then who asks, before
anything that would tell what exists; then how often; only then is the body parsed. The caller sees
to it that there are views: before the first snapshot requests wait, then get `not_ready`, because
clients that are told 401 or 404 at the start give up for good.

It knows neither sockets nor aiohttp, and an answer awaits nothing.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.contract.access import key_from_headers
from proxy.contract.codes import ErrorCode
from proxy.contract.problems import Problem
from proxy.engine import Answer
from proxy.events.recorder import EventRecorder, read_events
from proxy.exposures.recorder import Recorder, read_report
from proxy.holder import Holder
from proxy.metrics import Metrics
from proxy.ofrep.answers import (
    JSON_HEADERS,
    Headers,
    OfrepAnswer,
    OfrepRequest,
    failure,
    not_ready,
)
from proxy.ofrep.auth import Access, Denied, Granted, Scope, authorise
from proxy.ofrep.bulk import evaluate_bulk
from proxy.ofrep.cors import Cors
from proxy.ofrep.current import Current
from proxy.ofrep.heads import Head
from proxy.ofrep.limits import ByteBudget, RateLimit
from proxy.ofrep.news import is_newer
from proxy.ofrep.paths import Endpoint
from proxy.ofrep.single import evaluate_single
from proxy.ofrep.streams import Streams
from proxy.ofrep.views import Views
from proxy.reporting.room import Room

__all__ = ["Answering", "OfrepSettings", "internal_error", "too_large"]
__all__ += ["turned_away"]

_log = logging.getLogger(__name__)

_NOTHING_HERE = "there is nothing at this path; evaluate at POST /ofrep/v1/evaluate/flags/{key}"
_STARTING = "no flags yet: the sidecar has not received its first snapshot"
_MAX_HELD_BYTES = 67_108_864  # 64 requests of the largest size, or 10,000 of 6 kB
_CATCH_UP_S = 1.0  # snapshots are with all sidecars within some 0.1 s
_MAX_WAITING = 500
"""Requests that catch up at a time; further ones are answered with what is here."""
_REPORTS_RETRY_S = 5  # as often as they are reported, after which there may be room
_SERVER: Headers = (("Server", "matrix-flag"),)  # and not which version of what


@dataclass(frozen=True, kw_only=True)
class OfrepSettings:
    """What of the settings concerns requests."""

    access: Access
    first_snapshot_wait_s: float
    max_body_bytes: int
    freshness_headers: bool


class Answering:
    """What all requests of an evaluation port are answered with."""

    def __init__(
        self,
        settings: OfrepSettings,
        *,
        current: Current,
        holder: Holder,
        metrics: Metrics,
        recorder: Recorder,
        events: EventRecorder,
        cors: Cors,
        limit: RateLimit,
        streams: Streams | None = None,
        keys_used: dict[str, int] | None = None,
    ) -> None:
        self.settings = settings
        self.current = current
        self.metrics = metrics
        self.recorder = recorder
        self.events = events
        self.cors = cors
        self.limit = limit
        self.streams = streams
        """None where no event streams are offered."""
        self.held = ByteBudget(_MAX_HELD_BYTES)
        """Of the requests that are not whole."""
        self.keys_used = {} if keys_used is None else keys_used
        """When each key was presented last, Unix time in milliseconds, by its hash."""
        self._holder = holder
        self._same_headers = cors.headers(None) + _SERVER
        self.catching_up = 0  # requests that wait for newer flags

    def must_wait(self, head: Head) -> bool:
        """Return whether a request cannot be answered as soon as its bytes are there.

        Before the first snapshot; when its body is over the bound, which is not waited for; and
        when a stream told of flags that are not here yet.
        """
        return (
            self.current.views is None
            or head.content_length > self.settings.max_body_bytes
            or (self.is_behind(head) and self.catching_up < _MAX_WAITING)
        )

    def is_behind(self, head: Head) -> bool:
        """Return whether a stream told the client of flags that are not here yet."""
        views = self.current.views
        return (
            head.config_etag is not None
            and head.target.endpoint is Endpoint.BULK
            and views is not None
            and is_newer(head.config_etag, views.header)
        )

    async def catch_up(self, head: Head) -> None:
        """Wait until this is not behind any more, but not for long, nor if too many do."""
        if self.catching_up >= _MAX_WAITING:
            return
        swapped = asyncio.Event()
        unsubscribe = self._holder.subscribe(lambda _old, _new: swapped.set())
        self.catching_up += 1
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                while self.is_behind(head):
                    swapped.clear()
                    await swapped.wait()
        except TimeoutError:
            pass
        finally:
            self.catching_up -= 1
            unsubscribe()

    def wants_body(self, head: Head) -> bool:
        """Return whether the body matters: not where nothing is, nor to who is turned away."""
        views = self.current.views
        return (
            views is not None
            and self.without_body(head) is None
            and isinstance(self.granted(head, views), Granted)
        )

    async def wait_first(self) -> None:
        """Wait until there are views, but not for ever."""
        await self._holder.wait_first(self.settings.first_snapshot_wait_s)

    def answer(self, head: Head, body: bytes) -> OfrepAnswer:
        """Return the answer to a whole request. Never raises: a surprise is logged, and a 500."""
        started_s = time.perf_counter()
        try:
            answer = self._answer(head, body)
        except Exception:
            answer = internal_error(head)
        self.count(head, answer, time.perf_counter() - started_s)
        return answer

    def count(self, head: Head, answer: OfrepAnswer, seconds: float) -> None:
        """Count an answered request."""
        endpoint = head.target.endpoint
        self.metrics.requests[endpoint, answer.status] += 1
        histogram = self.metrics.request_seconds.get((endpoint,))
        if histogram is not None:
            histogram.observe(seconds)

    def count_other(self, answer: OfrepAnswer) -> None:
        """Count the answer to what was no request that could be read."""
        self.metrics.requests[Endpoint.OTHER, answer.status] += 1

    def tracked(self, answer: Answer, context: dict[str, Any], now_ms: int) -> None:
        """Record the single evaluation of a tracked flag."""
        if (views := self.current.views) is not None:
            self.recorder.evaluated(answer, context, views.header, now_ms)

    def without_body(self, head: Head) -> OfrepAnswer | None:
        """Return the answer that needs neither flags, credentials nor a body; None if they do."""
        endpoint, key = head.target
        if endpoint is Endpoint.OTHER or (endpoint is Endpoint.STREAM and self.streams is None):
            return failure(404, _NOTHING_HERE)
        allow = (("Allow", endpoint.allowed_methods),)
        if head.method == "OPTIONS":
            return OfrepAnswer(204, b"", allow + self.cors.preflight(head.origin, endpoint))
        if head.method != endpoint.method:
            details = f"{head.method} is not for this path; use {endpoint.method}"
            return failure(405, details, key=key, headers=allow)
        return None

    def granted(self, head: Head, views: Views) -> Granted | Denied:
        """Return what the keys of a snapshot let the caller see."""
        presented = key_from_headers(head.authorization, head.api_key)
        now_ms = _now_ms()
        granted = authorise(views.compiled.keys, presented, now_ms, self.settings.access)
        if isinstance(granted, Granted) and granted.identity:
            self.keys_used[granted.identity] = now_ms
        return granted

    @staticmethod
    def may_override(head: Head, granted: Granted) -> bool:
        """Return whether a caller may choose variations by its context: a server may.

        Browsers say where a page is from with every POST, programs do not.
        """
        return granted.scope is Scope.ALL and head.origin is None

    def admit(self, head: Head, views: Views) -> Granted | OfrepAnswer:
        """Return what the caller may see, or why it is turned away."""
        key = head.target.key
        granted = self.granted(head, views)
        if isinstance(granted, Denied):
            return turned_away(granted, key)
        retry_after_s = self.limit.take(granted.identity, time.monotonic())
        if retry_after_s:
            self.metrics.rate_limited += 1
            wait = (("Retry-After", str(retry_after_s)),)
            whose = "with this key" if granted.identity else "without a key"
            return failure(429, f"too many requests {whose}", key=key, headers=wait)
        return granted

    def evaluate(self, head: Head, views: Views, granted: Granted, body: bytes) -> OfrepAnswer:
        """Hand over to the pure functions."""
        started_s = time.perf_counter()
        now_ms = _now_ms()
        view = views.of(granted.scope)
        endpoint, key = head.target
        may_override = self.may_override(head, granted)
        match endpoint:
            case Endpoint.SINGLE:
                asked = OfrepRequest(key, body, may_override=may_override)
                answer = evaluate_single(view, asked, now_ms)
                if answer.tracked is not None:
                    self.recorder.evaluated(*answer.tracked, views.header, now_ms)
            case Endpoint.BULK:
                offer = b""
                if self.streams is not None:
                    offer = self.streams.offers.of(granted.identity, now_ms)
                asked = OfrepRequest(None, body, head.if_none_match, may_override, offer)
                answer = evaluate_bulk(view, asked, now_ms)
            case Endpoint.EVENTS:
                answer = self._events(head, body, now_ms)
            case _:
                answer = self._exposures(head, views, granted, body, now_ms)
        duration_s = time.perf_counter() - started_s
        self.metrics.evaluation_seconds[(endpoint,)].observe(duration_s)
        return answer

    def more_headers(self, origin: str | None) -> Headers:
        """Return what every answer carries, errors too, besides its own headers."""
        if origin is None and not self.settings.freshness_headers:
            return self._same_headers
        headers = self.cors.headers(origin) + _SERVER
        if self.settings.freshness_headers and (served := self._holder.served) is not None:
            age_s = (self._holder.age_ms() or 0) // 1000
            headers += (
                ("Matrixflag-Revision", str(served.header.revision)),
                ("Matrixflag-Age", str(age_s)),
            )
        return headers

    def starting(self, key: str | None) -> OfrepAnswer:
        """Return the answer while there is no snapshot, with why one that came is not served."""
        refusal = self._holder.refusal
        return not_ready(key, _STARTING if refusal is None else f"no flags yet: {refusal}")

    def _answer(self, head: Head, body: bytes) -> OfrepAnswer:
        answer = self.without_body(head)
        if answer is not None:
            return answer
        views = self.current.views
        if views is None:
            return self.starting(head.target.key)
        granted = self.admit(head, views)
        if isinstance(granted, OfrepAnswer):
            return granted
        return self.evaluate(head, views, granted, body)

    def _exposures(
        self, head: Head, views: Views, granted: Granted, body: bytes, now_ms: int
    ) -> OfrepAnswer:
        """Take a client's report of what it used."""
        if not _is_json(head):
            return _no_json()
        report, problems = read_report(body)
        if report is None:
            return _malformed(problems)
        flags = views.shown(granted.scope)
        answer = self.recorder.reported(report, flags, views.header, now_ms)
        if isinstance(answer, Room):
            return _no_room(answer)
        return OfrepAnswer(200, msgspec.json.encode(answer), JSON_HEADERS)

    def _events(self, head: Head, body: bytes, now_ms: int) -> OfrepAnswer:
        """Take a report of what units did; 202, because it is not stored yet."""
        if not _is_json(head):
            return _no_json()
        events, problems = read_events(body)
        if events is None:
            return _malformed(problems)
        answer = self.events.reported(events, now_ms, time.monotonic())
        if isinstance(answer, Room):
            return _no_room(answer)
        status = 202 if answer.accepted else 200
        return OfrepAnswer(status, msgspec.json.encode(answer), JSON_HEADERS)


def internal_error(head: Head) -> OfrepAnswer:
    """Log the exception that is being handled; return what the client is told of it: nothing."""
    _log.exception("answering %s failed", head.target.endpoint)
    return failure(500, "internal error", key=head.target.key)


def turned_away(denied: Denied, key: str | None) -> OfrepAnswer:
    """Return the answer to who may not ask."""
    challenge = (("WWW-Authenticate", "Bearer"),) if denied.status == 401 else ()
    return failure(denied.status, denied.details, key=key, headers=challenge)


def too_large(limit: int, key: str | None) -> OfrepAnswer:
    """Return the answer to a body over the bound."""
    return failure(413, f"the body is larger than {limit} bytes", key=key)


def _is_json(head: Head) -> bool:
    """Return whether a report says that it is JSON.

    A page of another origin can send a form or plain text without asking first.
    """
    return head.content_type.partition(";")[0].strip().lower() == "application/json"


def _no_json() -> OfrepAnswer:
    return failure(415, "send application/json")


def _no_room(room: Room) -> OfrepAnswer:
    if room is Room.NONE_EVER:
        return failure(413, "there is never room for so many at once; send fewer")
    wait = (("Retry-After", str(_REPORTS_RETRY_S)),)
    return failure(429, "there is no room for these now; nothing of it was taken", headers=wait)


def _malformed(problems: list[Problem]) -> OfrepAnswer:
    details = "; ".join(f"{p.pointer or '/'}: {p.message}" for p in problems)
    return failure(400, details, code=ErrorCode.PARSE_ERROR)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
