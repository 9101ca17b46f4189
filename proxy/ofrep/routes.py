"""The aiohttp shell: every request that is not an ordinary one, read by a full HTTP parser.

The front door (`proxy.ofrep.front`) answers ordinary requests itself and hands over all others:
what has to wait, for the first snapshot or for an event, and what is unusual or malformed HTTP.
The answers are the same, because both ask `proxy.ofrep.answering`. A connection that was handed
over is closed after its first answer, so that it does not stay on the slow path for ever.

aiohttp's router is not involved (`proxy.ofrep.paths`), so every answer, errors too, is made here
and carries the CORS headers. The text of a surprise goes to the log, never to the client, and what
a client did wrong is nothing for the log of errors.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from aiohttp import hdrs, http_exceptions, web
from multidict import CIMultiDict

from proxy.contract.access import hash_key, key_from_headers
from proxy.contract.codes import ErrorCode
from proxy.lifecycle import Lifecycle
from proxy.ofrep.answering import Answering, internal_error, too_large, turned_away
from proxy.ofrep.answers import STREAM_HEADERS, OfrepAnswer, failure, not_ready
from proxy.ofrep.auth import Denied
from proxy.ofrep.heads import CONFIG_ETAG, Head
from proxy.ofrep.news import MAX_NAME_CHARS
from proxy.ofrep.offers import TOKEN
from proxy.ofrep.paths import Endpoint, find_parameter, find_target
from proxy.ofrep.streams import Listener, Streams
from proxy.ofrep.views import Views
from proxy.ofrep.wire import begin

__all__ = ["BODY_TIMEOUT_S", "MAX_UNREAD_BYTES", "OfrepHandler", "Reading", "late_body", "refusal"]

_log = logging.getLogger(__name__)

BODY_TIMEOUT_S = 10.0
"""For a body that did not come with its head: a megabyte at 0.1 MB/s."""

_LISTEN = (Endpoint.STREAM, "GET")
MAX_UNREAD_BYTES = 1_048_576
"""Of a head that aiohttp reads; by itself it would keep 8 MB. Well above what may have come of a
body before the head that came with it is known to be read: a piece or two of 256 KB."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class OfrepHandler:
    """Answers requests of the evaluation port that aiohttp has parsed.

    `keep_alive`: leave connections open for further requests; else each is closed after one.
    """

    def __init__(
        self, answering: Answering, lifecycle: Lifecycle, *, keep_alive: bool = False
    ) -> None:
        self._answering = answering
        self._lifecycle = lifecycle
        self._keep_alive = keep_alive

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; raises only when the client is gone."""
        if isinstance(request.protocol, Reading):
            request.protocol.head_read = True
        started_s = time.perf_counter()
        head = _head(request)
        try:
            streams = self._answering.streams
            if streams is None or (head.target.endpoint, head.method) != _LISTEN:
                answer = await self._answer(request, head)
            else:
                answer = self._stream(streams, request, head)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            answer = internal_error(head)
        self._answering.count(head, answer, time.perf_counter() - started_s)
        return self._respond(head, answer)

    async def _answer(self, request: web.BaseRequest, head: Head) -> OfrepAnswer:
        answering = self._answering
        answer = answering.without_body(head)
        if answer is not None:
            return answer
        views = answering.current.views or await self._first_views()
        if views is None:
            return answering.starting(head.target.key)
        granted = answering.admit(head, views)
        if isinstance(granted, OfrepAnswer):
            return granted
        body = await self._read(request, head.target.key)
        if isinstance(body, OfrepAnswer):
            return body
        if answering.is_behind(head):
            caught_up = asyncio.ensure_future(answering.catch_up(head))
            await self._lifecycle.unless_stopping(caught_up)
        # Meanwhile another snapshot may have come, with other keys; the old one is counted out.
        views = answering.current.views or views
        again = answering.granted(head, views)
        if isinstance(again, Denied):
            return turned_away(again, head.target.key)
        return answering.evaluate(head, views, again, body)

    def _stream(self, streams: Streams, request: web.BaseRequest, head: Head) -> OfrepAnswer:
        """Return why there is no stream; if there is one, the connection is not aiohttp's any more.

        Before the first snapshot nobody can tell who may listen. A browser that is refused does not
        come back by itself, so such a stream begins, and tells nothing until then.
        """
        answering = self._answering
        presented = key_from_headers(head.authorization, head.api_key)
        listener = Listener(
            None if presented is None else hash_key(presented),
            find_parameter(request.rel_url.raw_query_string, TOKEN),
            request.headers.get("Last-Event-ID", "")[:MAX_NAME_CHARS] or None,
        )
        granted = streams.admit(listener)
        if isinstance(granted, Denied):
            return turned_away(granted, None)
        if streams.full:
            answering.metrics.streams_refused += 1
            return not_ready(None, "too many event streams; try again")
        chunked = request.version >= (1, 1)
        began = OfrepAnswer(200, b"", STREAM_HEADERS)
        answering.count(head, began, 0.0)
        more = answering.more_headers(head.origin)
        text = begin(began, more, int(time.time()), chunked=chunked)
        reading = cast(Reading, request.protocol)
        transport = reading.give_away()
        try:
            streams.open(transport, listener, text, chunked=chunked)
        except BaseException:
            transport.abort()
            raise
        raise asyncio.CancelledError  # as if it had ended, which is all that aiohttp knows of it

    async def _first_views(self) -> Views | None:
        """Return the views once there is a snapshot; None after a while, or when stopping."""
        first = asyncio.ensure_future(self._answering.wait_first())
        await self._lifecycle.unless_stopping(first)
        return self._answering.current.views

    async def _read(self, request: web.BaseRequest, key: str | None) -> bytes | OfrepAnswer:
        """Return the body, or what is wrong with it."""
        limit = self._answering.settings.max_body_bytes
        expected = request.headers.get(hdrs.EXPECT)
        held = self._answering.held
        body = bytearray()
        try:
            if (request.content_length or 0) > limit:
                return too_large(limit, key)
            coding = request.headers.get(hdrs.TRANSFER_ENCODING, "chunked")
            if coding.strip().lower() != "chunked":
                return failure(
                    501, f"there is no decoder of Transfer-Encoding: {coding[:100]}", key=key
                )
            if expected is not None and request.version >= (1, 1):
                if expected.lower() != "100-continue":
                    details = f"there is no way to meet Expect: {expected[:100]}"
                    return failure(417, details, key=key)
                await request.writer.write(_CONTINUE)
                request.writer.output_size = 0  # that was no part of the answer
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for part in request.content.iter_any():
                    if not held.take(len(part)):
                        return not_ready(key, "too many requests are being received; try again")
                    body += part
                    if len(body) > limit:
                        return too_large(limit, key)
        except TimeoutError:
            return late_body(key)
        except web.RequestPayloadError as error:
            details = f"the body cannot be read: {error}"
            return failure(400, details, key=key, code=ErrorCode.INVALID_CONTEXT)
        finally:
            held.give(len(body))
        return bytes(body)

    def _respond(self, head: Head, answer: OfrepAnswer) -> web.Response:
        headers = CIMultiDict(answer.headers + self._answering.more_headers(head.origin))
        response = web.Response(status=answer.status, body=answer.body or None, headers=headers)
        if not self._keep_alive or answer.status in {408, 413, 417, 501}:
            response.force_close()  # what may be left of the body is not worth reading
        return response


class Reading(web.RequestHandler):
    """aiohttp's reader of one connection, with our errors, and telling what a watcher must know.

    `head_read` is False until a request's head was read whole. `lost` is called when the connection
    ends, `endless` when more comes and there is no whole head in `MAX_UNREAD_BYTES`.
    """

    __slots__ = (
        "_answering",
        "_endless",
        "_lost",
        "_received",
        "_unsent_since",
        "_wire",
        "head_read",
    )

    def __init__(
        self,
        manager: web.Server,
        answering: Answering,
        lost: Callable[["Reading"], None] | None = None,
        endless: Callable[["Reading"], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **kwargs)
        self._answering = answering
        self._lost = lost
        self._endless = endless
        self._wire: asyncio.Transport | None = None  # also when aiohttp has forgotten it
        self._unsent_since = -1
        self._received = 0  # bytes, while the head was not read
        self.head_read = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is needed to end it."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on, but no head without end: aiohttp would keep 8 MB of it."""
        if not self.head_read:
            if self._received > MAX_UNREAD_BYTES and self._endless is not None:
                self._endless(self)
                return
            self._received += len(data)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell who watches, too."""
        super().connection_lost(exc)
        self._wire = None
        if self._lost is not None:
            self._lost(self)
            self._lost = None

    def give_away(self) -> asyncio.Transport:
        """Return the connection, and have nothing to do with it any more."""
        transport = self.transport
        if transport is None:
            raise ConnectionResetError
        self.transport = None  # or it would be closed
        self.connection_lost(None)
        transport.resume_reading()
        return transport

    def unsent_for(self, seconds: int) -> int:
        """Return for how many ticks there have been bytes that the client has not taken."""
        if self._wire is None or not self._wire.get_write_buffer_size():
            self._unsent_since = -1
        elif self._unsent_since < 0:
            self._unsent_since = seconds
        return 0 if self._unsent_since < 0 else seconds - self._unsent_since

    def ended_with(self, last: bytes) -> bool:
        """Send the last bytes and close; return whether they could be sent."""
        if self._wire is None or self._wire.is_closing():
            return False
        self._wire.write(last)
        self._wire.close()
        return True

    def abort(self) -> None:
        """End the connection, whatever is under way."""
        if self._wire is not None:
            self._wire.abort()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what went wrong, unless it is that a client's body cannot be read."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            _log.debug("a body cannot be read: %s", kw["exc_info"])
        else:
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return what a request is answered with that could not be read, or failed."""
        self.head_read = True
        if status < 500:
            _log.debug("a request cannot be read: %s", type(exc).__name__)  # its text may be secret
            answer = refusal(exc)
        else:
            _log.error("answering failed", exc_info=exc)
            answer = failure(500, "internal error")
        self._answering.count_other(answer)
        headers = CIMultiDict(answer.headers + self._answering.more_headers(None))
        response = web.Response(status=answer.status, body=answer.body, headers=headers)
        response.force_close()
        return response


def refusal(error: BaseException | None) -> OfrepAnswer:
    """Return the answer to a request that is no HTTP, by what the parser said."""
    if isinstance(error, http_exceptions.LineTooLong):
        return failure(431, "the request line or a header is too long")
    return failure(400, "this is not an HTTP/1.1 request that can be read")


def late_body(key: str | None) -> OfrepAnswer:
    """Return the answer to a body that did not come in time."""
    return failure(408, f"the body did not come within {BODY_TIMEOUT_S:.0f} s", key=key)


def _head(request: web.BaseRequest) -> Head:
    headers = request.headers
    return Head(
        request.method,
        find_target(request.rel_url.raw_path),
        headers.get(hdrs.AUTHORIZATION),
        headers.get("X-API-Key"),
        headers.get(hdrs.ORIGIN),
        ",".join(headers.getall(hdrs.IF_NONE_MATCH, ())) or None,
        headers.get(hdrs.CONTENT_TYPE, ""),
        config_etag=find_parameter(request.rel_url.raw_query_string, CONFIG_ETAG),
    )
