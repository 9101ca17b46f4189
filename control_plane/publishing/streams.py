"""The streams of sidecars: open connections on which each change is told.

aiohttp reads the request (`routes`); what is left of a connection then is a `Stream`, and one task,
`Streams.run`, writes to all of them the same bytes: an event is encoded once.

    a change       every stream of the environment gets the events since what it was told last;
                   one `snapshot` when the log does not reach there
    a turn         heartbeats go round: a stream has its own in the turn of an interval in which it
                   began, so that they are spread as the beginnings were
    a slow reader  is told nothing until it has taken what it was sent, and then all that it missed,
                   as one write; if it takes nothing for `slow_s` it is dropped
    a long life    ends with a `retry:` and the end of the answer, so that the fleet spreads again
                   over the replicas there are

Rules:
- A stream begins by reading what is current in one go, so that no change falls in between.
- What a stream was told last is what counts: a burst or a failure delays an event, no more.
- A heartbeat names only what the stream was told.
- Bounded: streams, those that begin in a second, the bytes that wait for one, what one sends us.
- Who may not stay is cut, which readers take for a failure. When a process stops, streams end in
  order, and each is told another time to come back.
"""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, cast

from control_plane.access.model import KeyRecord
from control_plane.errors import ApiError, Unavailable
from control_plane.publishing.admission import Admission
from control_plane.publishing.events import (
    LAST_CHUNK,
    heartbeat_event,
    plain,
    retry_line,
    snapshot_event,
)
from control_plane.publishing.held import Held
from control_plane.publishing.replica import Replica
from proxy.contract.sync import HEARTBEAT_S, SnapshotPointer

__all__ = ["Pace", "Stream", "Streams"]

_TURNS = 64  # of heartbeats in an interval: one every 0.16 s, for 160 of 10,000 streams
_A_TURN = 64  # streams written to before others have the loop: a millisecond or less
_LIFE_SPREAD = 0.25  # lives vary by this share either way: what came together leaves apart
_MOVE_MS = 50, 1_000  # until a stream that was ended in order is opened elsewhere
_RETRY_S = 1.0, 10.0  # after a cut: the least and the most of what a reader is told to wait at most

_BUFFER_BYTES = 16_384
"""What may wait for a slow reader, in this process and again in the kernel, which would otherwise
take megabytes: some 50 events each, minutes of heartbeats."""

_UNACKNOWLEDGED_MS = 30_000
"""After which the kernel gives up a connection whose other end is silent. Without it, small events
disappear into its buffers for a quarter of an hour before anybody notices."""

_MAX_RECEIVED_BYTES = 65_536
"""Of a reader that goes on sending: it has nothing to say any more."""


class Pace(NamedTuple):
    """How many streams there may be, how fast they may come, and times in seconds."""

    max_streams: int = 10_000
    accepts_per_s: int = 500
    max_life_s: float = 3600.0
    """About so long a stream lives; 0: until somebody cuts it."""
    heartbeat_s: float = HEARTBEAT_S
    slow_s: float = 10.0


class _Audience:
    """The streams of one environment, and what they are to be told."""

    __slots__ = ("environment", "event", "pointer", "project", "streams")

    def __init__(self, project: str, environment: str, pointer: SnapshotPointer) -> None:
        self.project = project
        self.environment = environment
        self.streams: set[Stream] = set()
        # of what is current
        self.pointer = pointer
        self.event = snapshot_event(pointer)

    def look(self, pointer: SnapshotPointer) -> None:
        """Take note of what is current now."""
        if pointer != self.pointer:
            self.pointer, self.event = pointer, snapshot_event(pointer)


class Streams:
    """All streams of one replica."""

    def __init__(self, replica: Replica, pace: Pace) -> None:
        self.pace = pace
        self.admission = Admission(pace.accepts_per_s)
        self.ended = Counter(dict.fromkeys(("slow", "key", "life"), 0))
        """Streams that were ended here, by reason."""
        self.told = Counter(dict.fromkeys(("delta", "snapshot"), 0))
        """Events of changes that were sent."""
        self._replica = replica
        self._audiences: dict[tuple[str, str], _Audience] = {}
        self._by_key: dict[str, set[Stream]] = {}
        self._turns: list[set[Stream]] = [set() for _ in range(_TURNS)]
        self._turn = 0
        self._slow: dict[Stream, tuple[float, int]] = {}  # since when, and bytes that wait
        self._changed: set[_Audience] = set()
        self._woken = asyncio.Event()
        self._count = 0
        self._closing = False
        replica.on_change(self._note)

    def __len__(self) -> int:
        return self._count

    @property
    def connected(self) -> Mapping[tuple[str, str], int]:
        """How many streams are open, by project and environment."""
        return {name: len(audience.streams) for name, audience in self._audiences.items()}

    @property
    def keys(self) -> list[str]:
        """The hashes of the keys that streams were opened with."""
        return list(self._by_key)

    def admit(self) -> None:
        """Let another stream begin.

        Raises:
            Unavailable: this process is stopping, there are too many, or too many at once.
        """
        if self._closing:
            raise Unavailable("this control plane is stopping", retry_after_s=1)
        if self._count >= self.pace.max_streams:
            raise Unavailable(
                "as many sidecars as there may be are connected to this replica",
                retry_after_s=random.uniform(15, 30),  # noqa: S311 - spreads them, no secret
            )
        if not self.admission.admit():
            raise Unavailable(
                f"more than {self.pace.accepts_per_s} streams a second begin here",
                retry_after_s=self.admission.wait_s(),
            )

    def open(
        self,
        transport: asyncio.Transport,
        key: KeyRecord,
        held: Held,
        *,
        chunked: bool,
        address: str = "",
    ) -> None:
        """Begin a stream, which was admitted, on a connection whose answer has begun.

        `address` is where its reader is, as lists of networks see it.

        Raises:
            NotFound: the key's environment is gone.
        """
        audience = self._audience(key.project, key.environment)
        stream = Stream(self, transport, audience, key.hash, chunked=chunked, address=address)
        transport.set_protocol(stream)
        _bound_silence(transport)
        self._count += 1
        audience.streams.add(stream)
        self._by_key.setdefault(key.hash, set()).add(stream)
        stream.turn = self._turns[self._turn - 1]  # its first heartbeat comes an interval from now
        stream.turn.add(stream)
        if self.pace.max_life_s:
            spread = random.uniform(1 - _LIFE_SPREAD, 1 + _LIFE_SPREAD)  # noqa: S311 - no secret
            stream.ends_at = monotonic() + self.pace.max_life_s * spread
        stream.write([retry_line(self._retry_ms())])
        events = None
        if held.epoch is not None and held.revision is not None:
            log = self._replica.deltas(audience.project, audience.environment)
            events = log.since(held.epoch, held.revision, held.digest)
        if events is not None:
            self._send(stream, events, "delta")
        elif held.is_current(audience.pointer):
            stream.write([self._heartbeat(audience)])
        else:
            self._send(stream, [audience.event], "snapshot")

    def cut(self, key_hash: str, stays: Callable[[str], bool] = lambda _address: False) -> int:
        """Cut the streams of a key but those whose address may stay; return how many there were."""
        streams = [s for s in self._by_key.get(key_hash, ()) if not stays(s.address)]
        for stream in streams:
            self._cut(stream, "key")
        return len(streams)

    def close(self) -> None:
        """End all streams, and begin no more: readers go to another replica, or come back later."""
        self._closing = True
        for streams in list(self._by_key.values()):
            for stream in list(streams):
                self._end(stream, self._retry_ms())

    async def run(self) -> None:
        """Tell what is new, and send heartbeats, for ever. What failed before is told at last."""
        self._changed.update(self._audiences.values())
        next_turn = monotonic()
        while True:
            await self._tell_all()
            now = monotonic()
            if now >= next_turn:
                self._beat(now)
                self._drop_slow(now)
                # turns that were missed are made up for, those of a whole interval are not
                every_s = self.pace.heartbeat_s / _TURNS
                next_turn = max(next_turn + every_s, now - self.pace.heartbeat_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_turn - monotonic())):
                    await self._woken.wait()
            self._woken.clear()

    # For streams

    def resumed(self, stream: "Stream") -> None:
        """Tell a stream that has taken what it was sent what happened meanwhile."""
        if self._slow.pop(stream, None) is not None:
            self._tell(stream)

    def paused(self, stream: "Stream") -> None:
        """Take note that a stream does not take what it was sent."""
        if stream in stream.audience.streams:
            self._slow[stream] = monotonic(), stream.transport.get_write_buffer_size()

    def forget(self, stream: "Stream") -> None:
        """Take note that a stream has ended."""
        audience = stream.audience
        if stream not in audience.streams:
            return
        self._count -= 1
        audience.streams.discard(stream)
        stream.turn.discard(stream)
        self._slow.pop(stream, None)
        of_key = self._by_key[stream.key_hash]
        of_key.discard(stream)
        if not of_key:
            del self._by_key[stream.key_hash]
        if not audience.streams:
            del self._audiences[audience.project, audience.environment]

    # Inside

    def _audience(self, project: str, environment: str) -> _Audience:
        pointer = self._replica.environment(project, environment).pointer()
        audience = self._audiences.get((project, environment))
        if audience is None:
            audience = _Audience(project, environment, pointer)
            self._audiences[project, environment] = audience
        else:
            audience.look(pointer)
        return audience

    def _note(self, project: str, environment: str) -> None:
        """Take note of a change, which the replica has just made current and logged."""
        audience = self._audiences.get((project, environment))
        if audience is not None:
            self._look(audience)  # at once, so that it is where the log ends, whoever is told next
            self._changed.add(audience)
            self._woken.set()

    async def _tell_all(self) -> None:
        """Tell those who follow what has changed, a few at a time."""
        while self._changed:
            audience = self._changed.pop()
            for place, stream in enumerate(tuple(audience.streams), 1):
                self._tell(stream)
                if place % _A_TURN == 0:
                    await asyncio.sleep(0)

    def _look(self, audience: _Audience) -> bool:
        """Note what is current in an environment; cut its streams when there is none any more."""
        try:
            snapshot = self._replica.environment(audience.project, audience.environment)
        except ApiError:
            for stream in tuple(audience.streams):
                self._cut(stream)
            return False
        audience.look(snapshot.pointer())
        return True

    def _tell(self, stream: "Stream") -> None:
        """Send a stream what it does not know, unless it has not taken what it was sent before."""
        audience, told = stream.audience, stream.told
        if told is audience.pointer or stream in self._slow or stream.transport.is_closing():
            return
        log = self._replica.deltas(audience.project, audience.environment)
        events = log.since(told.epoch, told.revision, told.digest)
        if events is None:
            self._send(stream, [audience.event], "snapshot")
        else:
            self._send(stream, events, "delta")
        stream.told = audience.pointer

    def _send(self, stream: "Stream", events: list[bytes], kind: str) -> None:
        self.told[kind] += len(events)
        stream.write(events)

    def _beat(self, now: float) -> None:
        """Send the heartbeats of one turn, and end what has lived long enough."""
        streams = tuple(self._turns[self._turn])
        self._turn = (self._turn + 1) % _TURNS
        audiences = {stream.audience for stream in streams}
        beats = {each: self._heartbeat(each) for each in audiences if self._look(each)}
        for stream in streams:
            if stream.audience not in beats:
                continue  # it was cut
            if stream.ends_at <= now:
                self.ended["life"] += 1
                self._end(stream, random.randint(*_MOVE_MS))  # noqa: S311 - no secret
                continue
            self._tell(stream)  # of a change that others are being told of
            if stream not in self._slow and not stream.transport.is_closing():
                stream.write([beats[stream.audience]])

    def _heartbeat(self, audience: _Audience) -> bytes:
        return heartbeat_event(audience.pointer, self._replica.verified_age_ms(audience.project))

    def _drop_slow(self, now: float) -> None:
        """Drop the readers that have taken nothing for too long."""
        for stream, (since, waiting) in list(self._slow.items()):
            if now - since < self.pace.slow_s:
                break  # in the order in which they became slow
            left = stream.transport.get_write_buffer_size()
            if left < waiting:
                del self._slow[stream]
                self._slow[stream] = now, left
            else:
                self._cut(stream, "slow")

    def _cut(self, stream: "Stream", reason: str | None = None) -> None:
        if reason is not None:
            self.ended[reason] += 1
        stream.transport.abort()
        self.forget(stream)

    def _end(self, stream: "Stream", retry_ms: int) -> None:
        """End a stream in order: the reader opens another, at any replica, and misses nothing."""
        if stream in self._slow:
            stream.transport.abort()  # it would not hear of it
        else:
            stream.end(retry_line(retry_ms))
        self.forget(stream)

    def _retry_ms(self) -> int:
        """Return how long one should wait when it is cut: all together, as long as taking all."""
        least_s, most_s = _RETRY_S
        window_s = min(max(least_s, self._count / self.pace.accepts_per_s), most_s)
        return random.randint(0, int(window_s * 1000))  # noqa: S311 - spreads them, no secret


class Stream(asyncio.Protocol):
    """One sidecar's stream, from the head of its answer to its end."""

    __slots__ = (
        "_chunked",
        "_received",
        "_streams",
        "address",
        "audience",
        "ends_at",
        "key_hash",
        "told",
        "transport",
        "turn",
    )

    def __init__(
        self,
        streams: Streams,
        transport: asyncio.Transport,
        audience: _Audience,
        key_hash: str,
        *,
        chunked: bool,
        address: str = "",
    ) -> None:
        self._streams = streams
        self._chunked = chunked
        self._received = 0
        self.transport = transport
        self.audience = audience
        self.key_hash = key_hash
        self.address = address
        self.turn: set[Stream] = set()
        """Who has heartbeats when this one has."""
        self.ends_at = float("inf")
        self.told = audience.pointer
        """What the reader was told last."""

    def write(self, chunks: list[bytes]) -> None:
        """Write finished events, as one write."""
        if not self._chunked:
            chunks = list(map(plain, chunks))
        if len(chunks) == 1:
            self.transport.write(chunks[0])
        else:
            self.transport.writelines(chunks)

    def end(self, last: bytes) -> None:
        """Write a last event and close the connection in order."""
        self.write([last])
        if self._chunked:
            self.transport.write(LAST_CHUNK)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Ignore what comes, within bounds."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED_BYTES:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Send nothing until the reader has taken what it was sent."""
        self._streams.paused(self)

    def resume_writing(self) -> None:
        """Go on; what happened meanwhile is told."""
        self._streams.resumed(self)

    def connection_lost(self, _error: BaseException | None) -> None:
        """End."""
        self._streams.forget(self)


def _bound_silence(transport: asyncio.Transport) -> None:
    """Have a reader that is gone, or does not read, noticed in seconds."""
    transport.set_write_buffer_limits(high=_BUFFER_BYTES)
    peer = cast("socket.socket | None", transport.get_extra_info("socket"))
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if option is not None:
        peer.setsockopt(socket.IPPROTO_TCP, option, _UNACKNOWLEDGED_MS)
