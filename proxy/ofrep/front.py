"""The front door: answers ordinary requests as they arrive, and hands over all others.

One request in two hundred is worth a full HTTP server; the others are a POST with a body of some
hundred bytes, and aiohttp would be four fifths of what they cost. So a connection begins here:

    bytes ─▶ known head? ─▶ whole body? ─▶ evaluate ─▶ bytes         the hot path: `data_received`
               │ no           │ no
               ▼              ▼
             ordinary? ──▶ wait, answer one by one                   `_go_on`
               │ no
               ▼
             aiohttp reads on from the first byte not answered       `_hand_over`

The hot path knows heads by their bytes: clients send the same ones again and again, and what a head
comes to - who asks, for which flag - is worked out once for each snapshot (`_Known`).

Rules:
- What is not ordinary (`proxy.ofrep.heads`) is aiohttp's to understand, or to refuse; nothing that
  two parsers could read in two ways is answered here.
- Requests that wait for anything but their own bytes are handed over: all before the first
  snapshot, event streams.
- Time-outs are seconds of a clock that `watch` ticks: a connection notes the tick, and costs no
  timer. A head and a body each have to come within `HEAD_TIMEOUT_S` and `BODY_TIMEOUT_S`; an answer
  has to be taken within `WRITE_TIMEOUT_S`.
- Bounded: connections, the bytes of requests that are not whole (`Answering.held`, in all), the
  bytes of answers that are not taken (`_MAX_UNSENT_BYTES` in all), what one connection may have the
  loop do in one go (`_TURN_S`).
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any, NamedTuple, cast

import orjson
from aiohttp import web

from proxy.engine import OVERRIDE
from proxy.holder import Served
from proxy.ofrep.answering import Answering
from proxy.ofrep.answers import OfrepAnswer, failure, not_ready
from proxy.ofrep.auth import Denied
from proxy.ofrep.context import SUSPICIOUS_UNITS
from proxy.ofrep.heads import END_OF_HEAD, MAX_HEAD_BYTES, Head, begins_ordinary, read_head
from proxy.ofrep.paths import Endpoint
from proxy.ofrep.routes import BODY_TIMEOUT_S, MAX_UNREAD_BYTES, Reading, late_body
from proxy.ofrep.wire import Writer

__all__ = ["FrontDoor", "Limits"]

HEAD_TIMEOUT_S = 10  # nginx: 60, uvicorn and aiohttp: none; our clients are on the same machine
WRITE_TIMEOUT_S = 30
_IN_USE_S = 2
"""A connection on which something came so lately is in use: to be ended with an answer."""
_GOODBYE_S = 0.25
"""Connections in use may stay so long without a request when the sidecar stops."""
_SHORTEST_S = 0.01
LINGER_S = 2
"""A connection that was refused may go on sending for so long, for nothing."""

_MAX_UNSENT_BYTES = 67_108_864
_MAX_HANDED_OVER = 1_000
"""Connections that aiohttp reads at a time: it keeps a megabyte of a head that is not whole."""
_MAX_LINGERING = 100
_MAX_KNOWN = 1_024
_MAX_KNOWN_BYTES = 2_048  # a head that is longer is not likely to come again
_TURN_S = 0.005
_TICK_S = 1.0
_END = len(END_OF_HEAD)

_loads = orjson.loads
_now_ns = time.time_ns
_now_s = time.perf_counter


class Limits(NamedTuple):
    """What of the settings concerns connections."""

    max_connections: int
    keepalive_timeout_s: float


class _Known(NamedTuple):
    """What a head comes to with the snapshot that is being served: a single evaluation."""

    content_length: int
    evaluate: Callable[[dict[str, Any], int], Any]
    until_ms: float
    """When the key that was presented expires."""
    track: bool


class FrontDoor:
    """All connections of one evaluation port; `connect` makes the protocol of another.

    `server` makes aiohttp's side of those that are handed over, with the options `reading`.
    """

    def __init__(
        self, answering: Answering, server: web.Server, limits: Limits, **reading: Any
    ) -> None:
        self.answering = answering
        self.limits = limits
        self.writer = Writer(answering.more_headers(None))
        self.writer.tick(int(time.time()))
        self._server = server
        self._reading = reading
        self.heads: dict[bytes, Head] = {}  # ordinary ones that were read, by their bytes
        self.quick = answering.metrics.quick_seconds
        self._plain = not answering.settings.freshness_headers and not answering.limit.on
        self.connections: set[Connection] = set()
        self.handed_over: dict[Reading, int] = {}  # and the tick at which each was
        self.stopping = False
        self._none_left = asyncio.Event()
        self.seconds = 0  # ticks since the beginning
        self.unsent_bytes = 0
        self.lingering = 0  # connections that were told to end
        # of the snapshot being served
        self.known: dict[bytes, _Known] = {}

    def connect(self) -> "Connection":
        """Return the protocol of another connection; what a server calls."""
        return Connection(self)

    def swapped(self, _old: Served | None, _new: Served) -> None:
        """Forget what heads came to; a subscriber of the holder, after `Current` is one."""
        self.known = {}

    async def watch(self) -> None:
        """Tick, and end connections whose time is over, for ever."""
        while True:
            await asyncio.sleep(_TICK_S)
            self.tick()

    def tick(self) -> None:
        """Let a second go by."""
        self.seconds += 1
        self.writer.tick(int(time.time()))
        for connection in tuple(self.connections):
            connection.check(self.seconds)
        for reading, since in tuple(self.handed_over.items()):
            self._check(reading, since)

    def drain(self) -> None:
        """From now on end each connection with its answer, so that clients go elsewhere."""
        self.stopping = True
        self.known = {}

    async def close(self, finish_s: float) -> None:
        """End connections with their next answer; idle ones soon, all after so many seconds.

        A client that uses its connection all the time has the next request under way while the
        connection is idle to us: closed then, it would be told nothing, and not dare to repeat it.
        """
        self.drain()
        ends_s = _now_s() + finish_s
        for unused_s, wait_s in ((_IN_USE_S, min(_GOODBYE_S, finish_s)), (0, finish_s)):
            for connection in tuple(self.connections):
                connection.end_if_idle(self.seconds - unused_s)
            await self._until_none_left(min(wait_s, ends_s - _now_s()))
        for connection in tuple(self.connections):
            connection.abort()
        await self._server.shutdown(max(_SHORTEST_S, ends_s - _now_s()))

    async def _until_none_left(self, seconds: float) -> None:
        self._none_left.clear()
        if self.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._none_left.wait()

    def lost(self, connection: "Connection") -> None:
        """Take note that a connection ended, or is aiohttp's now."""
        self.connections.discard(connection)
        if not self.connections:
            self._none_left.set()

    def head(self, raw: bytes) -> Head | None:
        """Return what a head says, None for one that is not ordinary."""
        head = self.heads.get(raw)
        if head is None:
            head = read_head(raw)
            if head is not None and len(raw) <= _MAX_KNOWN_BYTES:
                if len(self.heads) >= _MAX_KNOWN:
                    self.heads.clear()
                self.heads[raw] = head
        return head

    def answers_at_once(self, head: Head) -> bool:
        """Return whether a whole request is answered here, and the connection goes on after."""
        return not (head.close or self.stopping or self.answering.must_wait(head))

    def learn(self, raw: bytes, head: Head) -> None:
        """Remember what a head comes to, if it is one for the hot path."""
        answering = self.answering
        views = answering.current.views
        if (
            views is None
            or head.target.endpoint is not Endpoint.SINGLE
            or head.method != "POST"
            or head.origin is not None
            or head.close
            or self.stopping
            or not self._plain
            or len(raw) > _MAX_KNOWN_BYTES
        ):
            return
        granted = answering.granted(head, views)
        if isinstance(granted, Denied):
            return
        view = views.of(granted.scope)
        flag = view.flags.get(head.target.key or "")
        if flag is None:
            return
        if not answering.may_override(head, granted) and (
            flag.attributes is None or OVERRIDE in flag.attributes
        ):
            return  # a context may have to be changed before
        if len(self.known) >= _MAX_KNOWN:
            self.known.clear()
        self.known[raw] = _Known(head.content_length, flag.evaluate, granted.until_ms, flag.track)

    def write(
        self, answer: OfrepAnswer, origin: str | None = None, *, close: bool = False
    ) -> bytes:
        """Return the bytes of an answer."""
        return self.writer.write(answer, self.answering.more_headers(origin), close=close)

    def hand_over(self, transport: asyncio.Transport, received: bytes) -> None:
        """Let aiohttp read on, beginning with what was received."""
        reading = Reading(self._server, self.answering, self._lost, self._endless, **self._reading)
        self.handed_over[reading] = self.seconds
        transport.set_protocol(reading)
        reading.connection_made(transport)
        reading.data_received(received)

    @property
    def full(self) -> bool:
        """Whether there is no room for another connection."""
        there = len(self.connections) - self.lingering + len(self.handed_over)
        if self.answering.streams is not None:
            there += len(self.answering.streams)
        return there >= self.limits.max_connections

    @property
    def busy(self) -> bool:
        """Whether no further connection can be handed over."""
        return len(self.handed_over) >= _MAX_HANDED_OVER

    def _check(self, reading: Reading, since: int) -> None:
        """End a connection that was handed over if its time is over."""
        if reading.unsent_for(self.seconds) > WRITE_TIMEOUT_S:
            reading.abort()
        elif not reading.head_read and self.seconds - since > HEAD_TIMEOUT_S:
            self._end(reading, _late_head())

    def _endless(self, reading: Reading) -> None:
        self._end(reading, failure(431, f"the head is longer than {MAX_UNREAD_BYTES} bytes"))

    def _end(self, reading: Reading, answer: OfrepAnswer) -> None:
        if reading.ended_with(self.write(answer, close=True)):
            self.answering.count_other(answer)

    def _lost(self, reading: Reading) -> None:
        self.handed_over.pop(reading, None)


class Connection(asyncio.Protocol):
    """One connection, until it ends or is handed over."""

    __slots__ = (
        "_body_at",
        "_ended",
        "_front",
        "_head",
        "_held",
        "_lines",
        "_looked_at",
        "_paused",
        "_raw",
        "_refused",
        "_scheduled",
        "_seen",
        "_slow",
        "_transport",
        "_unsent",
        "_waiting",
    )

    def __init__(self, front: FrontDoor) -> None:
        # of the connection
        self._front = front
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until it is made
        self._seen = front.seconds
        self._ended = False  # the client sends no more
        self._unsent = 0
        self._refused = -1  # the tick at which it was told to end, -1 for not
        self._paused = -1  # the tick since when the client has not taken its answers, -1 for none
        # of what was received and is not answered
        self._slow = False  # there is some, or it may not be answered now
        self._held = bytearray()
        self._scheduled = False
        self._waiting = -1  # the tick since when more has to come, -1 for none
        # of the request that it begins with
        self._lines = 0  # how much of its head is ordinary so far
        self._raw = b""
        self._head: Head | None = None
        self._looked_at = 0  # how much of its head was looked at

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; or say at once that there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        full = self._front.full
        self._front.connections.add(self)
        if full:
            self._refuse(_refused("too many connections"))

    def connection_lost(self, _error: BaseException | None) -> None:
        """End."""
        self._front.lost(self)
        self._drop()
        if self._refused >= 0:
            self._front.lingering -= 1
        self._front.unsent_bytes -= self._unsent
        self._unsent = 0

    def data_received(self, data: bytes) -> None:
        """Answer a request that is known by its head; leave any other to `_go_on`."""
        front = self._front
        self._seen = front.seconds
        if self._slow:
            self._hold(data)
            return
        started_s = _now_s()
        end = data.find(b"{")  # where nearly all bodies begin, and found in a third of the time
        raw = data[:end]
        known = front.known.get(raw)
        if known is None:
            if not self._answered(raw, data[end:]):
                self._hold(data)
            return
        content_length, evaluate, until_ms, track = known
        now_ms = _now_ns() // 1_000_000
        if len(data) - end != content_length or now_ms >= until_ms:
            self._hold(data)
            return
        try:
            context = _loads(data[end:])["context"]
            unit = context.get("targetingKey")
            if unit.__class__ is str and unit in SUSPICIOUS_UNITS:
                self._hold(data)
                return
            answer = evaluate(context, now_ms)
            body = answer.body
            if answer.status != 200:
                self._hold(data)
                return
            if track and answer.variant:
                front.answering.tracked(answer, context, now_ms)
        except Exception:  # no JSON, no object, no context: what it is, `_go_on` finds out
            self._hold(data)
            return
        answer.evaluations += 1
        self._transport.write(front.writer.ok[len(body)] + body)
        front.quick.observe(_now_s() - started_s)

    def _answered(self, raw: bytes, body: bytes) -> bool:
        """Answer a whole request of another kind, if its head was read before; else return False.

        What `_go_on` does, for the most usual case and without keeping anything.
        """
        front = self._front
        head = front.heads.get(raw)
        if head is None or head.content_length != len(body) or not front.answers_at_once(head):
            return False
        front.learn(raw, head)
        self._transport.write(front.write(front.answering.answer(head, body), head.origin))
        return True

    def eof_received(self) -> bool:
        """Take note that no more comes; return whether to stay open for what is to be answered."""
        if self._refused >= 0:
            return False
        self._ended = True
        return self._scheduled or self._paused >= 0

    def pause_writing(self) -> None:
        """Answer no more until the client has taken what it was sent."""
        front = self._front
        self._slow = True
        self._paused = front.seconds
        self._unsent = self._transport.get_write_buffer_size()
        front.unsent_bytes += self._unsent
        self._transport.pause_reading()
        if front.unsent_bytes > _MAX_UNSENT_BYTES:
            self._transport.abort()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._front.unsent_bytes -= self._unsent
        self._unsent = 0
        self._paused = -1
        self._seen = self._front.seconds
        self._transport.resume_reading()
        self._schedule()

    def check(self, seconds: int) -> None:
        """End the connection if its time is over; `seconds` is the tick."""
        if self._refused >= 0:
            if seconds - self._refused > LINGER_S:
                self._transport.abort()
        elif self._paused >= 0:
            if seconds - self._paused > WRITE_TIMEOUT_S:
                self._transport.abort()
        elif self._waiting >= 0:
            if self._head is None:
                if seconds - self._waiting > HEAD_TIMEOUT_S:
                    self._refuse(_late_head())
            elif seconds - self._waiting > BODY_TIMEOUT_S:
                self._refuse(late_body(self._head.target.key))
        elif self._transport.is_closing():  # with its last answer still to be taken
            if seconds - self._seen > WRITE_TIMEOUT_S:
                self._transport.abort()
        elif seconds - self._seen > self._front.limits.keepalive_timeout_s:
            self._transport.close()

    def end_if_idle(self, since: int) -> None:
        """Close the connection if nothing is under way on it, nor came after that tick."""
        if (not self._slow and self._seen <= since) or self._refused >= 0:
            self._transport.close()

    def abort(self) -> None:
        """End the connection, whatever is under way."""
        self._transport.abort()

    def _hold(self, data: bytes) -> None:
        """Keep what cannot be answered on the hot path, and go on with it unless that must wait."""
        if self._refused >= 0:
            return
        self._slow = True
        if not self._front.answering.held.take(len(data)):
            self._refuse(_refused("too many requests are being received"))
            return
        self._held += data
        if self._paused < 0 and not self._scheduled:
            self._go_on()

    def _go_on(self) -> None:
        """Answer all requests that are whole, one after the other."""
        self._scheduled = False
        if self._transport.is_closing() or self._refused >= 0:
            return
        turn_ends_s = _now_s() + _TURN_S
        while self._held:
            state = self._take()
            if state is _WAIT:
                if self._waiting < 0:
                    self._waiting = self._front.seconds
                break
            if state is _OVER or self._paused >= 0:
                return
            if _now_s() > turn_ends_s:
                self._transport.pause_reading()
                self._schedule()
                return
        self._transport.resume_reading()
        self._slow = bool(self._held)
        if self._ended:
            self._transport.close()

    def _take(self) -> "_State":
        """Answer the request that the bytes held begin with, or say what it needs."""
        front, held = self._front, self._held
        if self._head is None:
            end = held.find(END_OF_HEAD, max(0, self._looked_at - _END))
            if end < 0:
                return self._part_of_a_head()
            self._body_at = end + _END
            self._raw = raw = bytes(held[: self._body_at])
            self._head = front.head(raw)
            self._waiting = -1  # for its body it has as long again
            if self._head is None or front.answering.must_wait(self._head):
                return self._hand_over()
        head = self._head
        end = self._body_at + head.content_length
        if len(held) < end:
            return _WAIT if front.answering.wants_body(head) else self._hand_over()
        body = bytes(held[self._body_at : end])
        self._let_go(end)
        front.learn(self._raw, head)
        answer = front.answering.answer(head, body)
        close = head.close or front.stopping
        self._transport.write(front.write(answer, head.origin, close=close))
        if close:
            self._transport.close()
            return _OVER
        return _ANSWERED

    def _part_of_a_head(self) -> "_State":
        """Wait for the rest of a head, unless it cannot become an ordinary one."""
        held = self._held
        self._lines = begins_ordinary(held, self._lines, self._looked_at)
        self._looked_at = len(held)
        if self._lines < 0:
            return self._hand_over()
        if len(held) > MAX_HEAD_BYTES:
            self._refuse(failure(431, f"the head is longer than {MAX_HEAD_BYTES} bytes"))
            return _OVER
        return _WAIT

    def _hand_over(self) -> "_State":
        """Let aiohttp read on, if it may; the connection is not ours after."""
        front = self._front
        if front.busy:
            self._refuse(_refused("too many requests that take long"))
            return _OVER
        received = bytes(self._held)
        front.lost(self)
        self._drop()
        self._transport.resume_reading()
        front.hand_over(self._transport, received)
        return _OVER

    def _refuse(self, answer: OfrepAnswer) -> None:
        """End the connection with an error; what it sent, and may still send, is dropped.

        To close at once, with bytes unread, would reset it, and the client might not see why.
        """
        front, head = self._front, self._head
        if head is None:
            front.answering.count_other(answer)
        else:
            waited_s = 0 if self._waiting < 0 else front.seconds - self._waiting
            front.answering.count(head, answer, waited_s)
        self._drop()
        self._slow = True
        origin = None if head is None else head.origin
        self._transport.write(front.write(answer, origin, close=True))
        if front.lingering < _MAX_LINGERING and self._transport.can_write_eof():
            self._refused = front.seconds
            front.lingering += 1
            self._transport.write_eof()
        else:
            self._transport.close()

    def _let_go(self, count: int) -> None:
        """Drop the request that the bytes held begin with."""
        del self._held[:count]
        self._front.answering.held.give(count)
        self._head = None
        self._looked_at = self._lines = 0
        self._waiting = -1

    def _drop(self) -> None:
        self._let_go(len(self._held))

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._go_on)


class _State(Enum):
    """What became of the bytes held."""

    ANSWERED = auto()
    WAIT = auto()  # more has to come
    OVER = auto()  # nothing more is to be done here


_ANSWERED, _WAIT, _OVER = _State


def _refused(why: str) -> OfrepAnswer:
    return not_ready(None, f"{why}; try again")


def _late_head() -> OfrepAnswer:
    return failure(408, f"the head of the request did not come within {HEAD_TIMEOUT_S} s")
