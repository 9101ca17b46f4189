"""Applies the changes that the stream tells to what is held, in order; on any doubt it gives up.

Giving up costs little: whoever asked for the changes still wants what they lead to, and fetches the
whole snapshot, which is always right. So nothing is repaired here, nothing is put in order, and
what waits is bounded.

    a change                                      then
    leads to what is held, or is older            dropped, as known
    begins at what is held                        applied
    begins elsewhere, while a snapshot is on its  waits for that one, which may be where it begins
      way
    begins elsewhere                              given up, with all that wait behind it
    begins at what is held, and is refused        given up, the same

Rules:
- Changes come from one replica at a time, in order: behind one that is missing nothing can follow.
- What is served is the holder's to decide; this only brings it what comes next.
"""

import asyncio
import logging
from collections import deque
from typing import NamedTuple

from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused
from proxy.contract.sync import Delta
from proxy.holder import Holder, LoadBlobs, OutOfStep
from proxy.sync.errors import Superseded, SyncError
from proxy.sync.status import SyncStatus

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "Deltas"]

_log = logging.getLogger(__name__)

MAX_WAITING = 256
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Of changes that came faster than they are applied: what a replica keeps of them for readers that
were away. A snapshot costs less than more."""


class _Waiting(NamedTuple):
    epoch: str
    delta: Delta
    size: int


class Deltas:
    """The changes that wait. `taking` is held while one is applied, and by whoever offers others.

    `settled` is set while no snapshot is on its way.
    """

    def __init__(
        self,
        holder: Holder,
        status: SyncStatus,
        load_blobs: LoadBlobs,
        taking: asyncio.Lock,
        settled: asyncio.Event,
    ) -> None:
        self._holder = holder
        self._status = status
        self._load_blobs = load_blobs
        self._taking = taking
        self._settled = settled
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._applying = False
        self._arrived = asyncio.Event()

    @property
    def pending(self) -> bool:
        """Whether there is a change of which it is not known yet what becomes of it."""
        return self._applying or bool(self._waiting)

    def add(self, epoch: str, delta: Delta, size: int) -> None:
        """Take the next change, of so many bytes."""
        if len(self._waiting) >= MAX_WAITING or self._size + size > MAX_WAITING_BYTES:
            self.give_up("overflow")
        self._waiting.append(_Waiting(epoch, delta, size))
        self._size += size
        self._arrived.set()

    def give_up(self, outcome: str) -> None:
        """Drop all that wait: a snapshot takes their place."""
        if self._waiting:
            self._status.deltas[outcome] += len(self._waiting)
        self._waiting.clear()
        self._size = 0

    async def apply(self) -> bool:
        """Wait for changes and deal with all that wait; return whether any was applied."""
        await self._arrived.wait()
        self._arrived.clear()
        applied = False
        try:
            while self._waiting:
                self._applying = True
                outcome = await self._next()
                applied = applied or outcome == "applied"
        finally:
            self._applying = False
            if self._waiting:  # this failed; the next time begins with what is left
                self._arrived.set()
        return applied

    async def _next(self) -> str | None:
        """Deal with the first that waits; None when it is to be looked at again."""
        held = self._held()
        epoch, delta, size = self._waiting[0]
        follows = held is not None and (held.epoch, held.revision) == (epoch, delta.from_)
        known = held is not None and held.epoch == epoch and delta.to <= held.revision
        if not (known or follows or self._settled.is_set()):
            await self._settled.wait()
            return None
        self._waiting.popleft()
        self._size -= size
        outcome = "known" if known else "gap" if not follows else await self._follow(epoch, delta)
        self._status.deltas[outcome] += 1
        if outcome not in {"applied", "known"}:
            _log.info("a change to revision %d was not applied: %s", delta.to, outcome)
            self.give_up("gap")
        return outcome

    async def _follow(self, epoch: str, delta: Delta) -> str:
        try:
            async with self._taking:
                await self._holder.follow(delta, epoch, "control-plane", blobs=self._load_blobs)
        except OutOfStep:
            return "gap"
        except SnapshotRefused as refused:
            self._status.fail("refused", str(refused))
            return "digest" if refused.reason == "digest" else "refused"
        except Superseded:
            return "failed"
        except SyncError as error:
            self._status.fail(error.kind, error.detail)
            return "failed"
        except Exception as error:
            self._status.fail("internal", f"applying a change: {type(error).__name__}")
            _log.exception("applying a change failed unexpectedly")
            return "failed"
        return "applied"

    def _held(self) -> SnapshotHeader | None:
        served = self._holder.served
        return served.header if served is not None else None
