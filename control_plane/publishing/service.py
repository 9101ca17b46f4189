"""What sidecars are told, from the replica's copy: streams of pointers and heartbeats, snapshots.

A stream is an async iterator of events, ready as bytes; the route writes them. A slow reader holds
back its own stream alone: changes that come meanwhile are one pointer, the newest. The compressed
body of a revision is made once, in a thread, for all who ask; who asks while one is being made
waits, and then takes what is current.

Rules:
- A stream subscribes and reads what is current in one go, so that no change falls in between.
- A stream lives as long as its key: revoked or expired, it is cut within `_SWEEP_S`.
- Nothing here asks Redis, so all of it goes on while Redis is away, and says for how long it has.
"""

import asyncio
import gzip
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from control_plane.access.model import KeyRecord, expires_at_ms
from control_plane.errors import Gone, NotFound, Unavailable
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import EnvironmentSnapshot
from control_plane.supervise import Failed, supervise, unnoted
from proxy.contract.sync import HEARTBEAT_S, Heartbeat, SnapshotPointer, event_id, parse_event_id
from proxy.contract.units import EMPTY_BLOB

__all__ = ["Held", "Stream", "SyncService"]

logger = logging.getLogger(__name__)

MAX_STREAMS = 10_000
"""Streams of one replica; each costs some 20 KB. Beyond it more replicas are needed."""

_SWEEP_S = 1.0
_COMPRESSION = 3  # 10,000 flags, 3 MB: 25 ms; level 9 takes 200 ms to save another tenth
_encode = msgspec.json.Encoder().encode


class Held(NamedTuple):
    """What a sidecar says it serves; None where it does not say."""

    instance: str = ""
    epoch: str | None = None
    revision: int | None = None
    digest: str | None = None

    @classmethod
    def read(cls, instance: str | None, last_event_id: str | None, digest: str | None) -> "Held":
        """Return what the headers of a request say, as far as they make sense."""
        epoch, revision = parse_event_id(last_event_id or "") or (None, None)
        return cls((instance or "")[:128], epoch, revision, digest)

    def is_current(self, pointer: SnapshotPointer) -> bool:
        """Return whether this is what the pointer names; the digest decides where it is known."""
        if self.digest is not None:
            return self.digest == pointer.digest
        return (self.epoch, self.revision) == (pointer.epoch, pointer.revision)


class Stream:
    """One sidecar's stream: its events, and how to cut it."""

    def __init__(
        self,
        service: "SyncService",
        key: KeyRecord,
        held: Held,
        heartbeat_s: float,
        cut: Callable[[], None],
    ) -> None:
        self.key = key
        self.held = held
        self.cut = cut
        """Ends the connection at once, from wherever."""
        self._service = service
        self._heartbeat_s = heartbeat_s

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield events: at once the current pointer, or a heartbeat for who holds it already.

        Raises:
            NotFound: when the environment is gone.
        """
        replica = self._service.replica
        project, environment = self.key.project, self.key.environment
        pointer = self._service.current(project, environment).pointer()
        known = self.held.is_current(pointer)
        with replica.subscribe(project, environment, pointer if known else None) as changes:
            if known:
                yield self._heartbeat()
            while True:
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        pointer = await changes.wait()
                    event = _event("snapshot", pointer, event_id(pointer.epoch, pointer.revision))
                except TimeoutError:
                    event = self._heartbeat()
                yield event

    def _heartbeat(self) -> bytes:
        project, environment = self.key.project, self.key.environment
        epoch, revision, digest = msgspec.structs.astuple(
            self._service.current(project, environment).pointer()
        )
        age_ms = self._service.replica.verified_age_ms(project)
        return _event("heartbeat", Heartbeat(epoch, revision, digest, age_ms))


class SyncService:
    """The streams and snapshots of one replica. An async context manager, entered once."""

    def __init__(
        self,
        replica: Replica,
        heartbeat_s: float = HEARTBEAT_S,
        now: Callable[[], float] = time.time,
        failed: Failed = unnoted,
    ) -> None:
        self.replica = replica
        self._failed = failed
        self._heartbeat_s = heartbeat_s
        self._now = now
        self._closing = False
        self._streams: dict[str, set[Stream]] = {}  # by hash of the key
        self._count = 0
        self._compressed: dict[tuple[str, str], tuple[SnapshotPointer, bytes]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.blobs_sent = 0

    @property
    def connected(self) -> Mapping[tuple[str, str], int]:
        """How many streams are open, by project and environment."""
        keys = (stream.key for streams in self._streams.values() for stream in streams)
        return Counter((key.project, key.environment) for key in keys)

    def current(self, project: str, environment: str) -> EnvironmentSnapshot:
        """Return what is current in an environment.

        Raises:
            NotFound: there is no such environment.
            Unavailable: nothing has been read from Redis yet.
        """
        snapshot = self.replica.project(project).snapshots.get(environment)
        if snapshot is None:
            raise NotFound(
                f"there is no environment {environment[:80]!r} in project {project!r}",
                code="environment_not_found",
            )
        return snapshot

    async def snapshot(self, project: str, environment: str) -> tuple[SnapshotPointer, bytes]:
        """Return a snapshot compressed with gzip, and what names it: the current one."""
        name = (project, environment)
        self.current(project, environment)
        async with self._locks.setdefault(name, asyncio.Lock()):
            snapshot = self.current(project, environment)
            pointer = snapshot.pointer()
            kept = self._compressed.get(name)
            if kept is not None and kept[0] == pointer:
                return kept
            made = pointer, await asyncio.to_thread(_compress, snapshot.body())
            self._compressed[name] = made
            return made

    def blob(self, project: str, digest: str) -> bytes:
        """Return a blob that a segment of the project has.

        Raises:
            NotFound: `blob_not_found`, no segment has it, any more or yet.
            Gone: `blob_lost`, one has it and Redis does not.
            Unavailable: nothing has been read from Redis yet.
        """
        state = self.replica.project(project)
        found = b"" if digest == EMPTY_BLOB else state.blobs.get(digest)
        if found is not None:
            self.blobs_sent += 1
            return found
        if digest in state.lacking():
            raise Gone("the units in this blob were lost and have to be put again")
        raise NotFound(
            "no segment has this blob: the list has changed, read the snapshot again",
            code="blob_not_found",
        )

    @contextmanager
    def stream(self, key: KeyRecord, held: Held, cut: Callable[[], None]) -> Iterator[Stream]:
        """Open a stream for the holder of a key; `cut` ends its connection.

        Raises:
            NotFound: the key's environment is gone.
            Unavailable: too many streams, or this process is stopping.
        """
        if self._closing:
            raise Unavailable("this control plane is stopping", retry_after_s=1)
        if self._count >= MAX_STREAMS:
            raise Unavailable("too many sidecars are connected to this replica", retry_after_s=30)
        self.current(key.project, key.environment)
        stream = Stream(self, key, held, self._heartbeat_s, cut)
        streams = self._streams.setdefault(key.hash, set())
        streams.add(stream)
        self._count += 1
        self._witness(key, held)
        try:
            yield stream
        finally:
            self._count -= 1
            streams.discard(stream)
            if not streams and self._streams.get(key.hash) is streams:
                del self._streams[key.hash]

    def close_streams(self) -> None:
        """Cut all streams and take no more: the first thing to do when stopping.

        Sidecars that stayed with a process that stops would not see what others publish.
        """
        self._closing = True
        for streams in list(self._streams.values()):
            for stream in list(streams):
                stream.cut()

    async def __aenter__(self) -> Self:
        self._start(supervise("stream keys", self._sweep, self._failed), "stream keys")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_streams()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        """Cut the streams whose key was revoked or has expired, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                for key_hash, streams in list(self._streams.items()):
                    if not self._is_good(key_hash):
                        logger.info(
                            "a key was revoked or has expired: %d streams cut", len(streams)
                        )
                        for stream in list(streams):
                            stream.cut()
            except Exception:
                logger.exception("looking after the keys of streams failed")

    def _is_good(self, key_hash: str) -> bool:
        record = self.replica.find_key(key_hash)
        if record is None:
            return False
        ends_ms = expires_at_ms(record)
        return ends_ms is None or ends_ms > self._now() * 1000

    def _witness(self, key: KeyRecord, held: Held) -> None:
        """Let the replica know what a sidecar holds, without making the sidecar wait for Redis."""
        if held.epoch is None or held.revision is None:
            return
        self._start(self._tell(key.project, key.environment, held.epoch, held.revision), "witness")

    async def _tell(self, project: str, environment: str, epoch: str, revision: int) -> None:
        try:
            await self.replica.witness(project, environment, epoch, revision)
        except Exception:
            logger.exception("what a sidecar holds could not be compared with Redis")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _event(name: str, data: msgspec.Struct, identity: str = "") -> bytes:
    head = f"event: {name}\nid: {identity}\n" if identity else f"event: {name}\n"
    return head.encode() + b"data: " + _encode(data) + b"\n\n"


def _compress(body: bytes) -> bytes:
    # mtime=0: equal content gives equal bytes.
    return gzip.compress(body, _COMPRESSION, mtime=0)
