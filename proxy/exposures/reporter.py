"""Sends exposures to the control plane, each batch until it is stored or refused for good.

    buffer -> outbox (memory) -> control plane         while it answers
                             \\-> spool (disk) -> ...   while it does not, when there is a directory

What becomes of a batch, by the answer:
- 2xx: delivered. It was stored, now or when it arrived the first time.
- 413: split in two, each half with an id of its own; a single item is parked.
- 401, 403: kept, and asked again after minutes, because asking cannot make a key valid.
- 408, 429, 5xx, no answer: kept, full-jitter backoff, `Retry-After` obeyed; another replica of the
  control plane, if there is one, is asked sooner.
- any other 4xx or 3xx: parked, it would be refused each time; the log says why.

Nothing is counted twice or forgotten: at any time
`received == deduplicated + delivered + pending + parked + lost`, in exposures. So a batch stays in
the outbox or on disk until its fate is known, and work may be cancelled at any await.
"""

import asyncio
import hmac
import logging
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import aiohttp

from proxy.contract.exposures import EXPOSURES_PATH, Exposure
from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.contract.sync import INSTANCE_HEADER
from proxy.exposures.batches import Batch, pack, split, uuid7
from proxy.exposures.buffer import ExposureBuffer
from proxy.exposures.spool import Spool, Waiting
from proxy.supervise import Backoff
from proxy.upstream import Upstream

__all__ = ["Balance", "ExposureReporter", "ReporterSettings"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.5  # how often to look whether a full batch waits already
_MAX_RETRY_AFTER_S = 3600.0  # a control plane cannot silence a sidecar for longer
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class ReporterSettings:
    """Settings of the reporter, times in seconds."""

    control_plane_urls: tuple[str, ...]
    key: str = field(repr=False)
    instance: str
    interval_s: float = 5.0
    timeout_s: float = 10.0
    unit_hash_key: str | None = field(default=None, repr=False)
    """When set, units are reported as HMAC-SHA256 under it."""
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    denied_backoff_base_s: float = 60.0
    denied_backoff_cap_s: float = 300.0


class Balance(NamedTuple):
    """Where all exposures are: `received` is the sum of the others."""

    received: int
    deduplicated: int
    delivered: int
    pending: int
    parked: int
    lost: int


class _Fate(Enum):
    DELIVERED = "delivered"
    SPLIT = "split"
    REFUSED = "refused"
    DENIED = "denied"
    RETRY = "retry"


class _Outcome(NamedTuple):
    fate: _Fate
    detail: str = ""
    retry_after_s: float = 0.0


class ExposureReporter:
    """Empties `buffer`. `run` is for `proxy.supervise`; call `close` once, after it was cancelled.

    `spool` None means there is no directory: what waits when the process ends is lost.
    """

    def __init__(
        self,
        buffer: ExposureBuffer,
        session: aiohttp.ClientSession,
        settings: ReporterSettings,
        spool: Spool | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buffer = buffer
        self._session = session
        self._settings = settings
        self._spool = spool
        self._clock = clock
        key = settings.unit_hash_key
        self._disguise = None if key is None else _disguise(key.encode())
        self._upstream = Upstream(
            settings.control_plane_urls,
            lambda: Backoff(settings.backoff_base_s, settings.backoff_cap_s),
            clock=clock,
        )
        self._denied = Backoff(settings.denied_backoff_base_s, settings.denied_backoff_cap_s)
        # of the process
        self.errors: Counter[str] = Counter()
        self.last_error: str | None = None
        self._recovered: int | None = None
        self._delivered = 0
        self._parked = 0
        self._lost = 0
        # on their way
        self._taken: list[Exposure] = []
        self._outbox: deque[Batch] = deque()
        self._on_disk: deque[Waiting] = deque()
        self._not_before_s = 0.0

    def balance(self) -> Balance:
        """Return where all exposures are now."""
        buffer = self._buffer
        return Balance(
            received=buffer.received + (self._recovered or 0),
            deduplicated=buffer.deduplicated,
            delivered=self._delivered,
            pending=len(buffer)
            + len(self._taken)
            + sum(batch.count for batch in self._outbox)
            + sum(waiting.count for waiting in self._on_disk),
            parked=self._parked,
            lost=buffer.lost + self._lost,
        )

    async def run(self) -> None:
        """Report for ever: at each interval, sooner when a full batch waits."""
        while True:
            await self._pause()
            await self.flush()

    async def flush(self) -> None:
        """Send all there is, or put it on disk while the control plane is away."""
        await self._recover()
        while self._clock() >= self._not_before_s:
            await self._collect()
            batch = await self._next()
            if batch is None:
                return
            await self._settle(batch, await self._send(batch))
        await self._spill()

    async def close(self, timeout_s: float) -> None:
        """Send what is left within `timeout_s`; what remains goes to disk, or is lost."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except TimeoutError:
            pass
        await self._spill()
        remaining = len(self._buffer) + len(self._taken) + sum(b.count for b in self._outbox)
        if remaining:
            _log.warning("%d exposures were not reported and are lost", remaining)

    async def _recover(self) -> None:
        """Take over what an earlier process left on disk, once."""
        if self._recovered is not None:
            return
        waiting: list[Waiting] = []
        if self._spool is not None:
            try:
                waiting = await asyncio.to_thread(self._spool.waiting)
            except OSError as error:  # what is there waits for the next start
                self._note(f"spool: {error}")
                _log.warning("unsent exposures on disk cannot be read: %s", error)
        self._on_disk.extendleft(reversed(waiting))
        self._recovered = sum(batch.count for batch in waiting)
        if self._recovered:
            _log.info("%d exposures of an earlier run wait on disk", self._recovered)

    async def _pause(self) -> None:
        # jittered, so that sidecars that started together do not report together
        remaining_s = self._settings.interval_s * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        while remaining_s > 0:
            # Once at least, however much waits: a buffer stays full while nothing is taken.
            step_s = min(_LOOK_S, remaining_s)
            await asyncio.sleep(step_s)
            remaining_s -= step_s
            if len(self._buffer) >= MAX_BATCH_ITEMS:
                return

    async def _collect(self) -> None:
        """Move what the buffer holds, at most one batch's worth, to an empty outbox."""
        if self._outbox:
            return
        if not self._taken:
            self._taken = self._buffer.take(MAX_BATCH_ITEMS, self._disguise)
        if self._taken:
            # Encoding and compressing takes some 10 ms: too long for the loop.
            batches = await asyncio.to_thread(self._pack, self._taken)
            self._outbox.extend(batches)
            self._taken = []

    def _pack(self, items: list[Exposure]) -> list[Batch]:
        return list(pack(items, self._settings.instance, _now_ms(), _new_id))

    async def _next(self) -> Batch | None:
        """Return the oldest batch, which stays where it is."""
        while self._on_disk and self._spool is not None:
            waiting = self._on_disk[0]
            try:
                return await asyncio.to_thread(self._spool.read, waiting)
            except OSError as error:
                self._on_disk.popleft()
                self._lose(waiting.count, f"{waiting.path.name} cannot be read: {error.strerror}")
        return self._outbox[0] if self._outbox else None

    async def _send(self, batch: Batch) -> _Outcome:
        headers = {
            "Authorization": f"Bearer {self._settings.key}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            INSTANCE_HEADER: self._settings.instance,
        }
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        try:
            async with self._session.post(
                self._upstream.address.rstrip("/") + EXPOSURES_PATH,
                data=batch.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                detail = await response.content.read(_MAX_DETAIL_CHARS)
                retry_after = response.headers.get("Retry-After", "")
                return _outcome(response.status, detail.decode(errors="replace"), retry_after)
        except TimeoutError:
            return _Outcome(_Fate.RETRY, "timeout: no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return _Outcome(_Fate.RETRY, f"connect: {error}")

    async def _settle(self, batch: Batch, outcome: _Outcome) -> None:
        """Do with a batch what the answer asks for."""
        match outcome.fate:
            case _Fate.DELIVERED:
                self._upstream.succeeded()
                self._denied.reset()
                self._delivered += batch.count
                await self._forget(batch)
            case _Fate.SPLIT:
                await self._halve(batch, outcome)
            case _Fate.REFUSED:
                await self._park(batch, outcome.detail)
            case _Fate.DENIED:
                self._hold_back(outcome, self._denied.base_s + self._denied.next_s())
            case _Fate.RETRY:
                self._hold_back(outcome, outcome.retry_after_s)

    def _hold_back(self, outcome: _Outcome, after_s: float) -> None:
        self._upstream.move_on(after_s=after_s)
        delay_s = self._upstream.wait_s()
        self._not_before_s = self._clock() + delay_s
        self._note(outcome.detail)
        _log.warning("exposures are not taken, again in %.1f s: %s", delay_s, outcome.detail)

    async def _halve(self, batch: Batch, outcome: _Outcome) -> None:
        try:
            halves = await asyncio.to_thread(split, batch, _new_id)
        except ValueError as error:
            await self._park(batch, f"spool: {error}")
            return
        if len(halves) < 2:
            await self._park(batch, outcome.detail)
            return
        if self._outbox and self._outbox[0].id == batch.id:
            self._outbox.popleft()
            self._outbox.extendleft(reversed(halves))
            return
        self._outbox.extendleft(reversed(halves))
        await self._forget(batch)

    async def _park(self, batch: Batch, detail: str) -> None:
        self._note(detail)
        if self._spool is not None:
            try:
                await asyncio.to_thread(self._spool.park, batch)
            except OSError as error:
                detail = f"{detail}; and it cannot be kept on disk: {error}"
            else:
                self._parked += batch.count
                _log.error("batch %s was refused and put aside: %s", batch.id, detail)
                await self._forget(batch)
                return
        self._lose(batch.count, f"batch {batch.id} was refused: {detail}")
        await self._forget(batch)

    async def _forget(self, batch: Batch) -> None:
        """Take a batch whose fate was just counted off the outbox or the disk.

        Off the list before the first await, so that the balance holds if this is cancelled.
        """
        if self._on_disk and self._on_disk[0].id == batch.id and self._spool is not None:
            waiting = self._on_disk.popleft()
            try:
                await asyncio.to_thread(self._spool.remove, batch)
            except OSError as error:  # it will be sent again after a restart, and not applied twice
                _log.warning("%s cannot be removed: %s", waiting.path.name, error.strerror)
        elif self._outbox and self._outbox[0].id == batch.id:
            self._outbox.popleft()

    async def _spill(self) -> None:
        """Put everything on disk, where there is one; what it refuses stays in memory."""
        if self._spool is None:
            return
        while True:
            await self._collect()
            if not self._outbox:
                return
            batch = self._outbox[0]
            try:
                removed = await asyncio.to_thread(self._spool.store, batch)
            except OSError as error:
                self._note(f"spool: {error}")
                _log.warning("exposures cannot be kept on disk: %s", error)
                return
            self._outbox.popleft()
            gone = {waiting.id for waiting in removed}
            for waiting in [w for w in self._on_disk if w.id in gone]:
                self._on_disk.remove(waiting)
                self._lose(waiting.count, "there is no room left on disk")
            self._on_disk.append(self._spool.stored(batch))

    def _lose(self, count: int, detail: str) -> None:
        self._lost += count
        _log.error("%d exposures are lost: %s", count, detail)

    def _note(self, detail: str) -> None:
        self.errors[detail.partition(":")[0]] += 1
        self.last_error = detail


def _outcome(status: int, text: str, retry_after: str) -> _Outcome:
    """Return what an answer means for the batch."""
    detail = f"http_{status}: {text}"
    if 200 <= status < 300:
        return _Outcome(_Fate.DELIVERED)
    if status == 413:
        return _Outcome(_Fate.SPLIT, detail)
    if status in {401, 403}:
        return _Outcome(_Fate.DENIED, detail)
    if status in {408, 429} or status >= 500:
        after_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        return _Outcome(_Fate.RETRY, detail, min(after_s, _MAX_RETRY_AFTER_S))
    return _Outcome(_Fate.REFUSED, detail)


def _disguise(key: bytes) -> Callable[[str], str]:
    return lambda unit: hmac.digest(key, unit.encode("utf-8", "surrogatepass"), "sha256").hex()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return uuid7(_now_ms(), os.urandom(10))
