"""What sidecars are told, from the replica's copy: streams of changes, snapshots, blobs.

The streams themselves are `streams.Streams`'. The compressed body of a revision is made once, in a
thread, for all who ask; who asks while one is being made waits, and then takes what is current.

Rules:
- A stream lives as long as its key: revoked, expired or kept from where it is, it is cut within
  `_SWEEP_S`, and on every replica within two seconds, as a change that nobody told is seen within
  little more than one.
- Nothing here asks Redis, so all of it goes on while Redis is away, and says for how long it has.
"""

import asyncio
import gzip
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Self

from control_plane.access.model import KeyRecord, expires_at_ms
from control_plane.errors import Gone, NotFound
from control_plane.networks import permits
from control_plane.publishing.held import Held
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import EnvironmentSnapshot
from control_plane.publishing.streams import Pace, Streams
from control_plane.supervise import Failed, supervise, unnoted
from proxy.contract.sync import SnapshotPointer
from proxy.contract.units import EMPTY_BLOB

__all__ = ["SyncService"]

logger = logging.getLogger(__name__)

_SWEEP_S = 0.5
_COMPRESSION = 3  # 10,000 flags, 3 MB: 25 ms; level 9 takes 200 ms to save another tenth


class SyncService:
    """The streams and snapshots of one replica. An async context manager, entered once."""

    def __init__(
        self,
        replica: Replica,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
        failed: Failed = unnoted,
    ) -> None:
        self.replica = replica
        self.streams = Streams(replica, pace or Pace())
        self._failed = failed
        self._now = now
        self._compressed: dict[tuple[str, str], tuple[SnapshotPointer, bytes]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.blobs_sent = 0

    def current(self, project: str, environment: str) -> EnvironmentSnapshot:
        """Return what is current in an environment.

        Raises:
            NotFound: there is no such environment.
            Unavailable: nothing has been read from Redis yet.
        """
        return self.replica.environment(project, environment)

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

    def admit(self, key: KeyRecord) -> None:
        """Let a stream for the holder of a key begin; the caller calls `stream` next.

        Raises:
            NotFound: the key's environment is gone.
            Unavailable: too many streams, or this process is stopping.
        """
        self.current(key.project, key.environment)
        self.streams.admit()

    def stream(
        self,
        transport: asyncio.Transport,
        key: KeyRecord,
        held: Held,
        *,
        chunked: bool,
        address: str = "",
    ) -> None:
        """Begin a stream on a connection whose answer has begun.

        Raises:
            NotFound: the key's environment is gone.
        """
        self.streams.open(transport, key, held, chunked=chunked, address=address)
        self._witness(key, held)

    def close_streams(self) -> None:
        """End all streams and take no more: the first thing to do when stopping.

        Sidecars that stayed with a process that stops would not see what others publish.
        """
        self.streams.close()

    async def __aenter__(self) -> Self:
        self._start(supervise("streams", self.streams.run, self._failed), "streams")
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
                for key_hash in self.streams.keys:
                    if count := self.streams.cut(key_hash, self._stays(key_hash)):
                        logger.info("a key is not taken any more: %d streams cut", count)
            except Exception:
                logger.exception("looking after the keys of streams failed")

    def _stays(self, key_hash: str) -> Callable[[str], bool]:
        """Return from which addresses streams of a key may go on."""
        record = self.replica.find_key(key_hash)
        ends_ms = None if record is None else expires_at_ms(record)
        if record is None or (ends_ms is not None and ends_ms <= self._now() * 1000):
            return lambda _address: False
        return partial(permits, record.allowed_networks, record.denied_networks)

    def _witness(self, key: KeyRecord, held: Held) -> None:
        """Let the replica know what a sidecar holds, without making the sidecar wait for Redis."""
        if held.epoch is None or held.revision is None:
            return
        seen = (held.epoch, held.revision, held.published or "")
        self._start(self._tell(key, *seen), "witness")

    async def _tell(self, key: KeyRecord, epoch: str, revision: int, published: str) -> None:
        where = key.project, key.environment
        try:
            await self.replica.witness(*where, epoch, revision, published, key=key.id)
        except Exception:
            logger.exception("what a sidecar holds could not be compared with Redis")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _compress(body: bytes) -> bytes:
    # mtime=0: equal content gives equal bytes.
    return gzip.compress(body, _COMPRESSION, mtime=0)
