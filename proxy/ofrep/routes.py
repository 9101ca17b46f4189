"""The shell: from an aiohttp request to the pure functions and back.

In this order, each step for a reason: the path says what is asked for; `OPTIONS` is answered to
anybody, as browsers send it without credentials; before the first snapshot requests wait, then get
503, because clients that are told 401 or 404 at the start give up for good; then who asks, before
anything that would tell what exists; then how often; only then is the body read and parsed.

aiohttp's router is not involved (`proxy.ofrep.paths`), so every answer, errors too, is made here
and carries the CORS headers. The text of a surprise goes to the log, never to the client.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.contract.access import key_from_headers
from proxy.contract.codes import ErrorCode
from proxy.exposures.recorder import Recorder, read_report
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.metrics import Metrics
from proxy.ofrep.answers import JSON_HEADERS, OfrepAnswer, OfrepRequest, failure, not_ready
from proxy.ofrep.auth import Access, Denied, Granted, authorise
from proxy.ofrep.bulk import evaluate_bulk
from proxy.ofrep.cors import Cors
from proxy.ofrep.current import Current
from proxy.ofrep.limits import RateLimit
from proxy.ofrep.paths import ALLOWED_METHODS, Endpoint, Target, find_target
from proxy.ofrep.single import evaluate_single
from proxy.ofrep.views import Views

__all__ = ["OfrepHandler", "OfrepSettings", "create_ofrep_app"]

_log = logging.getLogger(__name__)

_BODY_TIMEOUT_S = 10.0
"""For a body that did not come with its head: a megabyte at 0.1 MB/s."""

_NOTHING_HERE = "there is nothing at this path; evaluate at POST /ofrep/v1/evaluate/flags/{key}"
_STARTING = "no flags yet: the sidecar has not received its first snapshot"


@dataclass(frozen=True, kw_only=True)
class OfrepSettings:
    """What of the settings concerns requests."""

    access: Access
    first_snapshot_wait_s: float
    max_body_bytes: int
    freshness_headers: bool


class OfrepHandler:
    """Answers all requests of the evaluation port."""

    def __init__(
        self,
        settings: OfrepSettings,
        *,
        current: Current,
        holder: Holder,
        lifecycle: Lifecycle,
        metrics: Metrics,
        recorder: Recorder,
        cors: Cors,
        limit: RateLimit,
    ) -> None:
        self._settings = settings
        self._current = current
        self._holder = holder
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._recorder = recorder
        self._cors = cors
        self._limit = limit

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; raises only when the client is gone."""
        started_s = time.perf_counter()
        target = find_target(request.rel_url.raw_path)
        try:
            answer = await self._answer(request, target)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("answering %s failed", target.endpoint)
            answer = failure(500, "internal error", key=target.key)
        self._metrics.requests[target.endpoint, answer.status] += 1
        histogram = self._metrics.request_seconds.get((target.endpoint,))
        if histogram is not None:
            histogram.observe(time.perf_counter() - started_s)
        return self._respond(request, answer)

    async def _answer(self, request: web.Request, target: Target) -> OfrepAnswer:
        if target.endpoint is Endpoint.OTHER:
            return failure(404, _NOTHING_HERE)
        if request.method == hdrs.METH_OPTIONS:
            allowed = self._cors.preflight(request.headers.get(hdrs.ORIGIN))
            return OfrepAnswer(204, b"", (("Allow", ALLOWED_METHODS), *allowed))
        if request.method != hdrs.METH_POST:
            details = f"{request.method} is not for this path; use POST"
            headers = (("Allow", ALLOWED_METHODS),)
            return failure(405, details, key=target.key, headers=headers)
        views = self._current.views or await self._first_views()
        if views is None:
            return not_ready(target.key, _STARTING)
        granted = self._admit(request, views, target.key)
        if isinstance(granted, OfrepAnswer):
            return granted
        body = await self._read(request, target.key)
        if isinstance(body, OfrepAnswer):
            return body
        # While a body trickled in, another snapshot may have come; the old one is counted out.
        views = self._current.views or views
        return self._evaluate(request, target, views, granted, body)

    async def _first_views(self) -> Views | None:
        """Return the views once there is a snapshot; None after a while, or when stopping."""
        wait_s = self._settings.first_snapshot_wait_s
        first = asyncio.ensure_future(self._holder.wait_first(wait_s))
        await self._lifecycle.unless_stopping(first)
        return self._current.views

    def _admit(self, request: web.Request, views: Views, key: str | None) -> Granted | OfrepAnswer:
        """Return what the caller may see, or why it is turned away."""
        headers = request.headers
        presented = key_from_headers(headers.get(hdrs.AUTHORIZATION), headers.get("X-API-Key"))
        granted = authorise(views.compiled.keys, presented, _now_ms(), self._settings.access)
        if isinstance(granted, Denied):
            challenge = (("WWW-Authenticate", "Bearer"),) if granted.status == 401 else ()
            return failure(granted.status, granted.details, key=key, headers=challenge)
        retry_after_s = self._limit.take(granted.identity, time.monotonic())
        if retry_after_s:
            self._metrics.rate_limited += 1
            wait = (("Retry-After", str(retry_after_s)),)
            return failure(429, "too many requests with this key", key=key, headers=wait)
        return granted

    async def _read(self, request: web.Request, key: str | None) -> bytes | OfrepAnswer:
        """Return the body, or what is wrong with it."""
        limit = self._settings.max_body_bytes
        content = request.content
        try:
            if (request.content_length or 0) > limit:
                return _too_large(limit, key)
            if content.is_eof():  # it came with its head, as bodies of clients do
                body = content.read_nowait()
                return body if len(body) <= limit else _too_large(limit, key)
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _too_large(limit, key)
        except TimeoutError:
            return failure(408, f"the body did not come within {_BODY_TIMEOUT_S:.0f} s", key=key)
        except web.RequestPayloadError as error:
            details = f"the body cannot be read: {error}"
            return failure(400, details, key=key, code=ErrorCode.INVALID_CONTEXT)

    def _evaluate(
        self, request: web.Request, target: Target, views: Views, granted: Granted, body: bytes
    ) -> OfrepAnswer:
        """Hand over to the pure functions."""
        started_s = time.perf_counter()
        now_ms = _now_ms()
        view = views.of(granted.scope)
        match target.endpoint:
            case Endpoint.SINGLE:
                answer = evaluate_single(view, OfrepRequest(target.key, body), now_ms)
                if answer.tracked is not None:
                    self._recorder.evaluated(*answer.tracked, views.header, now_ms)
            case Endpoint.BULK:
                wanted = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ())) or None
                answer = evaluate_bulk(view, OfrepRequest(None, body, wanted), now_ms)
            case _:
                answer = self._report(request, views, granted, body, now_ms)
        duration_s = time.perf_counter() - started_s
        self._metrics.evaluation_seconds[(target.endpoint,)].observe(duration_s)
        return answer

    def _report(
        self, request: web.Request, views: Views, granted: Granted, body: bytes, now_ms: int
    ) -> OfrepAnswer:
        """Take a client's report of what it used."""
        if request.content_type != "application/json":
            # A page of another origin can send a form or plain text without asking first.
            return failure(415, "send application/json")
        report, problems = read_report(body)
        if report is None:
            details = "; ".join(f"{p.pointer or '/'}: {p.message}" for p in problems)
            return failure(400, details, code=ErrorCode.PARSE_ERROR)
        flags = views.of(granted.scope).flags
        receipt = self._recorder.reported(report, flags, views.header, now_ms)
        return OfrepAnswer(200, msgspec.json.encode(receipt), JSON_HEADERS)

    def _respond(self, request: web.Request, answer: OfrepAnswer) -> web.Response:
        headers = CIMultiDict(answer.headers)
        headers.extend(self._cors.headers(request.headers.get(hdrs.ORIGIN)))
        headers["Server"] = "matrix-flag"  # and not which version of what
        if self._settings.freshness_headers and (served := self._holder.served) is not None:
            headers["Matrixflag-Revision"] = str(served.header.revision)
            headers["Matrixflag-Age"] = str((self._holder.age_ms() or 0) // 1000)
        response = web.Response(status=answer.status, body=answer.body or None, headers=headers)
        if answer.status in {408, 413}:
            response.force_close()  # what is left of the body is not worth reading
        return response


def create_ofrep_app(handler: OfrepHandler, max_body_bytes: int) -> web.Application:
    """Return the application of the evaluation port."""
    app = web.Application(client_max_size=max_body_bytes)
    app.router.add_route("*", "/{path:.*}", handler.handle)
    return app


def _too_large(limit: int, key: str | None) -> OfrepAnswer:
    return failure(413, f"the body is larger than {limit} bytes", key=key)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
