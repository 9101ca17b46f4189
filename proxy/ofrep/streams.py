"""Event streams: open connections on which pages are told that it is time to evaluate again.

A stream says that something changed, never what: `refetchEvaluation`, and the page evaluates.
aiohttp reads the request (`proxy.ofrep.routes`); what is left of a connection then is a `Stream`
and a small buffer in the kernel, and one task, `Streams.run`, writes to all.

Rules:
- Told is what is being served: `swapped` comes after the views were exchanged, and writes nothing.
- Nothing is lost: a stream knows what it was told last, so a burst, a slow reader or a failure
  delays an event and does not swallow it. Who comes back says what it was told (`Last-Event-ID`);
  who says nothing is told at once, as a change may have come between its evaluation and this.
- No page is bothered: one that sees only flags for clients is not told of a change to others.
- Who may listen is asked again whenever the keys may be others; a stream that began before the
  first snapshot is asked then.
- Bounded: streams, the bytes that wait for one, how long they wait, what one sends to us.
- At the end streams are cut at once. Browsers come back by themselves, and find another instance.
"""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, cast

from proxy.holder import Served
from proxy.metrics import Metrics
from proxy.ofrep.auth import Access, Denied, Granted, Scope, authorise_identity
from proxy.ofrep.current import Current
from proxy.ofrep.news import News, news
from proxy.ofrep.offers import Offers, find_identity
from proxy.ofrep.views import Views

__all__ = ["Listener", "Pace", "Stream", "Streams"]

_HEARTBEAT = b":\n\n"
_LAST_CHUNK = b"0\r\n\r\n"
_RETRY_MS = 1_000
"""After which a browser comes back, and as much again by chance: not all at the same moment."""

_SEND_BUFFER_BYTES = 16_384  # of the kernel, which takes twice that; megabytes by default
_HIGH_WATER_BYTES = 8_192
_MAX_RECEIVED_BYTES = 65_536
"""Of a client that goes on sending: it has nothing to say any more."""

_A_TURN = 64  # streams written to before others have the loop: some 0.3 ms
_SKEW_MS = 200
"""So much later than a change by time itself is told of it: the next request may go to an instance
whose clock is behind."""

_BAD_TOKEN = Denied(401, "the token of this stream's URL has expired; evaluate for a new URL")


class Pace(NamedTuple):
    """How often and how long, in seconds, and how many streams there may be."""

    max_streams: int = 1_000
    heartbeat_s: float = 15.0
    together_s: float = 0.05
    """Changes within this are told together."""
    slow_s: float = 10.0
    """Who does not take what was sent for so long is dropped."""


class Listener(NamedTuple):
    """Who asks for a stream: by a key's hash, or by the token of a URL; and the event it has."""

    identity: str | None
    token: str | None
    last_event_id: str | None


class Streams:
    """All streams of one evaluation port, and who may have another."""

    def __init__(
        self, access: Access, current: Current, metrics: Metrics, pace: Pace, prefix: str = ""
    ) -> None:
        self.offers = Offers(prefix)
        self.pace = pace
        self._access = access
        self._current = current
        self._metrics = metrics
        self._open: set[Stream] = set()
        self._woken = asyncio.Event()
        self._changes = Counter(dict.fromkeys(Scope, 0))
        """Snapshots so far that changed something that a scope sees."""
        self._closing = False
        self._beat_at_s = time.monotonic() + pace.heartbeat_s
        # of the snapshot being served
        self._news: dict[Scope, News] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator["Stream"]:
        return iter(self._open)

    @property
    def full(self) -> bool:
        """Whether there is no room for another stream, or no time."""
        return self._closing or len(self._open) >= self.pace.max_streams

    def admit(self, listener: Listener) -> Granted | Denied | None:
        """Return what a listener may be told of; None as long as nobody can tell."""
        views = self._current.views
        if views is None:
            return None
        now_ms = _now_ms()
        identity = listener.identity
        if identity is None and listener.token is not None and views.compiled.keys:
            identity = find_identity(views.compiled.keys, listener.token, now_ms)
            if identity is None:
                return _BAD_TOKEN
        return authorise_identity(views.compiled.keys, identity, now_ms, self._access)

    def open(
        self, transport: asyncio.Transport, listener: Listener, head: bytes, *, chunked: bool
    ) -> None:
        """Begin a stream, which was admitted, on a connection; `head` is that of the answer."""
        stream = Stream(self, transport, listener, chunked=chunked)
        transport.set_protocol(stream)
        self._open.add(stream)
        self._metrics.streams_open += 1
        _bound(transport, 2 * self.pace.heartbeat_s)
        retry_ms = _RETRY_MS + random.randrange(_RETRY_MS)  # noqa: S311 - no secret
        transport.write(head)
        stream.send(b"retry: %d\n\n" % retry_ms)
        self._attend(stream, _now_ms())

    def lost(self, stream: "Stream") -> None:
        """Take note that a stream ended."""
        if stream in self._open:
            self._open.discard(stream)
            self._metrics.streams_open -= 1

    def drop(self, stream: "Stream", why: str) -> None:
        """End a stream that may not go on."""
        self._metrics.streams_dropped[why] += 1
        stream.end()

    def wake(self) -> None:
        """Have a look at all streams soon."""
        self._woken.set()

    def swapped(self, old: Served | None, new: Served) -> None:
        """Take note of another snapshot; a subscriber of the holder, after `Current` is one."""
        self._news = {}
        if self._open:
            self._changes.update(_changed(old, new))
        self.wake()

    async def run(self) -> None:
        """Tell what is new, and send heartbeats, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_s()):
                    await self._woken.wait()
            self._woken.clear()
            beats = time.monotonic() >= self._beat_at_s
            if beats:
                self._beat_at_s = time.monotonic() + self.pace.heartbeat_s
            for place, stream in enumerate(tuple(self._open)):
                self._attend(stream, _now_ms(), beats=beats)
                if place % _A_TURN == _A_TURN - 1:
                    await asyncio.sleep(0)
            self._forget()
            await asyncio.sleep(self.pace.together_s)

    def close(self) -> None:
        """Cut all streams, and begin no more."""
        self._closing = True
        for stream in tuple(self._open):
            stream.end()

    def _idle_s(self) -> float:
        """Return after how long to look, if nothing happens before."""
        idle_s = self._beat_at_s - time.monotonic()
        until_ms = [each.slice.until_ms for each in self._news.values() if each.slice.until_ms]
        if until_ms:
            idle_s = min(idle_s, (min(until_ms) + _SKEW_MS - _now_ms()) / 1000)
        return max(0.0, idle_s)

    def _attend(self, stream: "Stream", now_ms: int, *, beats: bool = False) -> None:
        """Do for one stream what is due."""
        views = self._current.views
        granted = None if views is None else stream.admitted()
        since_s = stream.waiting_since_s
        late = since_s is not None and time.monotonic() - since_s > self.pace.slow_s
        if stream.transport.is_closing():
            if late:
                stream.transport.abort()
        elif isinstance(granted, Denied):
            self.drop(stream, "key")
        elif late:
            self.drop(stream, "slow")
        elif since_s is not None:
            pass  # it is told when it has taken what it was sent
        elif (
            views is None or granted is None or not self._tell(stream, views, granted, now_ms)
        ) and beats:
            stream.send(_HEARTBEAT)

    def _tell(self, stream: "Stream", views: Views, granted: Granted, now_ms: int) -> bool:
        """Send what a stream does not know; return whether there was anything."""
        scope = granted.scope
        latest = self._latest(views, scope, now_ms)
        known = (latest.slice.since_ms, self._changes[scope])
        if stream.told == latest.name:
            stream.knows = known
            return False
        if stream.told is not None and stream.knows == known:
            stream.send(latest.mark)
        else:
            stream.send(latest.event)
            self._metrics.stream_events += 1
        stream.told, stream.knows = latest.name, known
        return True

    def _forget(self) -> None:
        """Let go of what is over and was not needed any more, as nobody of that scope listens."""
        now_ms = _now_ms()
        for scope, latest in tuple(self._news.items()):
            if _over(latest, now_ms):
                del self._news[scope]

    def _latest(self, views: Views, scope: Scope, now_ms: int) -> News:
        """Return what is to be told now."""
        latest = self._news.get(scope)
        if latest is None or _over(latest, now_ms):
            latest = self._news[scope] = news(views, scope, now_ms)
        return latest


class Stream(asyncio.Protocol):
    """One stream, from the head of its answer to its end."""

    __slots__ = (
        "_chunked",
        "_listener",
        "_received",
        "_streams",
        "knows",
        "told",
        "transport",
        "waiting_since_s",
    )

    def __init__(
        self,
        streams: Streams,
        transport: asyncio.Transport,
        listener: Listener,
        *,
        chunked: bool,
    ) -> None:
        self._streams = streams
        self.transport = transport
        self._listener = listener
        self._chunked = chunked
        self._received = 0
        self.told = listener.last_event_id
        """The name of what the client was told last, or says that it was."""
        self.knows: tuple[int | None, int] | None = None
        """Since when nothing changed by time, and how many changes there had been, when told."""
        self.waiting_since_s: float | None = None
        """Since when it does not take what it was sent, or the end."""

    def admitted(self) -> Granted | Denied | None:
        """Return what it may be told of, now; a token that was good once is not asked for again."""
        granted = self._streams.admit(self._listener)
        if isinstance(granted, Granted) and self._listener.token is not None:
            identity = granted.identity or None
            self._listener = Listener(identity, None, None)
        return granted

    def send(self, text: bytes) -> None:
        """Write whole lines."""
        if self._chunked:
            text = b"%x\r\n%b\r\n" % (len(text), text)
        if not self.transport.is_closing():
            self.transport.write(text)

    def end(self) -> None:
        """Close the connection; what it does not take is dropped."""
        if self.waiting_since_s is not None:
            self.transport.abort()
        elif not self.transport.is_closing():
            if self._chunked:
                self.transport.write(_LAST_CHUNK)
            self.transport.close()
            self.waiting_since_s = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """Ignore what comes, within bounds."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED_BYTES:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Send nothing until the client has taken what it was sent."""
        self.waiting_since_s = time.monotonic()

    def resume_writing(self) -> None:
        """Go on; what happened meanwhile is told."""
        self.waiting_since_s = None
        self._streams.wake()

    def connection_lost(self, _error: BaseException | None) -> None:
        """End."""
        self._streams.lost(self)


def _bound(transport: asyncio.Transport, silent_s: float) -> None:
    """Bound what may wait for a client, and for how long nobody need be there."""
    transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
    connection = cast("socket.socket | None", transport.get_extra_info("socket"))
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if connection.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        user_timeout_ms = int(silent_s * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)


def _over(latest: News, now_ms: int) -> bool:
    until_ms = latest.slice.until_ms
    return until_ms is not None and now_ms >= until_ms + _SKEW_MS


def _changed(old: Served | None, new: Served) -> list[Scope]:
    """Return who sees a difference; a flag that is the same object answers the same."""
    if old is None:
        return list(Scope)
    before, after = old.flags, new.flags
    if before == after:
        return []
    for_clients = [
        {key: flag for key, flag in flags.items() if flag.client_side} for flags in (before, after)
    ]
    return [Scope.ALL] if for_clients[0] == for_clients[1] else list(Scope)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
