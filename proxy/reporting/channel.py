"""Brings what one source collects to the control plane, each batch until its fate is known.

    source -> outbox (memory) -> control plane         while it answers
                             \\-> spool (disk) -> ...   while it does not, when there is a directory

What becomes of a batch, by the answer:
- 2xx with its receipt: delivered. It was stored, now or when it arrived the first time. Or parked:
  the control plane keeps it apart, because it is too old to be counted.
- 413: split in two, each half with an id of its own; a single item is refused.
- 401, 403: kept, and asked again after minutes, because asking cannot make a key valid. 404, 405
  and 3xx too: there is nobody at this address who knows such reports, a control plane older than
  this sidecar for instance.
- 408, 429, 5xx, no answer, an answer of somebody else: kept, full-jitter backoff, `Retry-After`
  obeyed; another replica of the control plane, if there is one, is asked sooner.
- any other 4xx: refused, it would be each time; put aside on disk with the reason, parked.

Nothing is counted twice or forgotten: at any time
`received == deduplicated + delivered + pending + parked + lost`, in items. So a batch stays in
the outbox or on disk until its fate is known, and work may be cancelled at any await.

What is safe: what the control plane gave a receipt for, and with a directory what was put on disk;
while anything waits there, or sending takes more than a second, all else goes there too. So the
items of the last `interval_s` * 1.2 + 1 s + `timeout_s` at most are in memory alone, and that is
what SIGKILL or a loss of power costs. Without a directory it is everything that waits.
"""

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple, Protocol

import aiohttp
import msgspec

from proxy.contract.reports import Receipt
from proxy.contract.sync import INSTANCE_HEADER
from proxy.reporting.batches import Batch, Packed, new_id, now_ms, pack, split
from proxy.reporting.spool import Spool, Unreadable
from proxy.supervise import Backoff
from proxy.sync.client import retry_after_s
from proxy.threads import to_its_end
from proxy.upstream import Upstream

__all__ = ["Balance", "Channel", "ReportSettings", "Source", "close_all"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.5  # how often to look whether a full batch waits already
_SLOW_S = 1.0  # a control plane that has not taken all that waits by then is not waited for
_MAX_ANSWER_BYTES = 4096  # a receipt has 100
_MAX_DETAIL_CHARS = 300


class Source(Protocol):
    """Where items come from: `received == deduplicated + lost + len(it) + what was taken`."""

    @property
    def received(self) -> int:
        """All that ever came."""

    @property
    def deduplicated(self) -> int:
        """What of that had come before."""

    @property
    def lost(self) -> int:
        """What there was no room for."""

    @property
    def has_batch(self) -> bool:
        """Whether a full batch waits, which is worth sending before its time."""

    def __len__(self) -> int:
        """How many items wait."""

    def take(self) -> Sequence[Any]:
        """Hand out the oldest items, about a batch's worth, each of which msgspec can write."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What all channels have in common, times in seconds."""

    control_plane_urls: tuple[str, ...]
    key: str = field(repr=False)
    instance: str
    timeout_s: float = 10.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    denied_backoff_base_s: float = 60.0
    denied_backoff_cap_s: float = 300.0


class Balance(NamedTuple):
    """Where all items are: `received` is the sum of the others."""

    received: int
    deduplicated: int
    delivered: int
    pending: int
    parked: int
    lost: int


class _Fate(Enum):
    DELIVERED = "delivered"
    PARKED = "parked"
    SPLIT = "split"
    REFUSED = "refused"
    DENIED = "denied"
    RETRY = "retry"


class _Outcome(NamedTuple):
    fate: _Fate
    detail: str = ""
    retry_after_s: float = 0.0


class Channel:
    """Empties `source` to `path`. `run` is for `supervise`; call `close` once, after that ended.

    `name` is what items are called, in messages. `spool` None means there is no directory: what
    waits when the process ends is lost. `gather` is awaited before the source is asked.
    """

    def __init__(
        self,
        name: str,
        path: str,
        source: Source,
        session: aiohttp.ClientSession,
        settings: ReportSettings,
        spool: Spool | None = None,
        *,
        interval_s: float = 5.0,
        gather: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._source = source
        self._session = session
        self._settings = settings
        self._spool = spool
        self._interval_s = interval_s
        self._gather = gather
        self._clock = clock
        self._path = path
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
        self._taken: Sequence[Any] = ()
        self._outbox: deque[Batch] = deque()
        self._spooled = 0
        self._pieces: deque[Batch] = deque()
        """What of the oldest batch on disk has no fate yet: all of it, unless it was split."""
        self._not_before_s = 0.0

    def balance(self) -> Balance:
        """Return where all items are now."""
        source = self._source
        return Balance(
            received=source.received + (self._recovered or 0),
            deduplicated=source.deduplicated,
            delivered=self._delivered,
            pending=len(source) + self._in_memory() + self._spooled,
            parked=self._parked,
            lost=source.lost + self._lost,
        )

    async def run(self) -> None:
        """Report for ever: at each interval, sooner when a full batch waits."""
        await self._recover()
        while True:
            await self._pause()
            await self.flush()

    async def flush(self) -> None:
        """Send all there is, or put it on disk while the control plane is away."""
        await self._recover()
        if self._gather is not None:
            await self._gather()
        began_s = self._clock()
        while self._clock() >= self._not_before_s:
            if self._spooled or self._clock() - began_s > _SLOW_S:
                await self._spill()  # what waits its turn is not to wait in memory alone
            else:
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
        remaining = len(self._source) + self._in_memory()
        if remaining:
            _log.warning("%s: %d were not reported and are lost", self.name, remaining)

    def _in_memory(self) -> int:
        return len(self._taken) + sum(batch.count for batch in self._outbox)

    async def _recover(self) -> None:
        """Take over what an earlier process left on disk, once."""
        if self._recovered is not None:
            return
        await to_its_end(self._open_spool())

    async def _open_spool(self) -> None:
        found, problems = 0, list[str]()
        if self._spool is not None:
            try:
                found, problems = await asyncio.to_thread(self._spool.open)
            except OSError as error:  # what is there waits for the next start
                problems = [str(error)]
        for problem in problems:
            self._note(f"spool: {problem}")
            _log.warning("%s: what is on disk unsent cannot be read: %s", self.name, problem)
        self._spooled += found
        self._recovered = found
        if found:
            _log.info("%s: %d of an earlier run wait on disk", self.name, found)

    async def _pause(self) -> None:
        # jittered, so that sidecars that started together do not report together
        remaining_s = self._interval_s * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        while remaining_s > 0:
            # Once at least, however much waits: a source stays full while nothing is taken.
            step_s = min(_LOOK_S, remaining_s)
            await asyncio.sleep(step_s)
            remaining_s -= step_s
            if self._source.has_batch:
                return

    async def _collect(self) -> None:
        """Move what the source holds, about one batch's worth, to an empty outbox."""
        if self._outbox:
            return
        if not self._taken:
            self._taken = self._source.take()
        if self._taken:
            # Encoding and compressing takes some 10 ms: too long for the loop.
            packed = await asyncio.to_thread(self._pack, self._taken)
            self._outbox.extend(packed.batches)
            self._taken = ()
            if packed.unwritable:
                self._lose(packed.unwritable, "they cannot be written as JSON")

    def _pack(self, items: Sequence[Any]) -> Packed:
        return pack(items, self._settings.instance, now_ms(), new_id)

    async def _next(self) -> Batch | None:
        """Return the oldest batch, which stays where it is."""
        if self._spooled and not self._pieces:
            await to_its_end(self._load())
        waiting = self._pieces or self._outbox
        return waiting[0] if waiting else None

    async def _load(self) -> None:
        """Read the oldest batch on disk."""
        while self._spooled and self._spool is not None:
            try:
                batch = await asyncio.to_thread(self._spool.first)
            except Unreadable as error:
                self._spooled -= error.count
                self._lose(error.count, str(error))
            except OSError as error:
                self._note(f"spool: {error}")
                _log.warning("%s: what is on disk cannot be read: %s", self.name, error)
                return
            else:
                if batch is not None:
                    self._pieces.append(batch)
                return

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
                self._upstream.address.rstrip("/") + self._path,
                data=batch.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answer = await _beginning(response)
                retry_after = response.headers.get("Retry-After")
                return _outcome(batch, response.status, answer, retry_after)
        except TimeoutError:
            return _Outcome(_Fate.RETRY, "timeout: no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return _Outcome(_Fate.RETRY, f"connect: {error}")

    async def _settle(self, batch: Batch, outcome: _Outcome) -> None:
        """Do with the oldest batch what the answer asks for."""
        match outcome.fate:
            case _Fate.DELIVERED:
                self._answered()
                self._delivered += batch.count
                await self._forget()
            case _Fate.PARKED:
                self._answered()
                self._parked += batch.count
                _log.error("%s: batch %s is too old to be counted", self.name, batch.id)
                await self._forget()
            case _Fate.SPLIT:
                await self._halve(batch, outcome)
            case _Fate.REFUSED:
                await self._park(batch, outcome.detail)
            case _Fate.DENIED:
                self._hold_back(outcome, self._denied.base_s + self._denied.next_s())
            case _Fate.RETRY:
                self._hold_back(outcome, outcome.retry_after_s)

    def _answered(self) -> None:
        self._upstream.succeeded()
        self._denied.reset()

    def _hold_back(self, outcome: _Outcome, after_s: float) -> None:
        self._upstream.move_on(after_s=after_s)
        delay_s = self._upstream.wait_s()
        self._not_before_s = self._clock() + delay_s
        self._note(outcome.detail)
        _log.warning("%s: not taken, again in %.1f s: %s", self.name, delay_s, outcome.detail)

    async def _halve(self, batch: Batch, outcome: _Outcome) -> None:
        """Put two halves in a batch's place; on disk it stays whole until both have their fate."""
        try:
            halves = await asyncio.to_thread(split, batch)
        except ValueError as error:
            await self._park(batch, f"spool: {error}")
            return
        if len(halves) < 2:
            await self._park(batch, outcome.detail)
            return
        waiting = self._pieces or self._outbox
        waiting.popleft()
        waiting.extendleft(reversed(halves))

    async def _park(self, batch: Batch, detail: str) -> None:
        """Put a batch aside that was refused; without a directory it is lost."""
        self._note(detail)
        if self._spool is not None:
            try:
                refused = asyncio.to_thread(self._spool.refuse, batch, detail, now_ms())
                await to_its_end(refused)
            except OSError as error:
                detail = f"{detail}; and it cannot be kept on disk: {error}"
            else:
                self._parked += batch.count
                _log.error(
                    "%s: batch %s was refused and put aside: %s", self.name, batch.id, detail
                )
                await self._forget()
                return
        self._lose(batch.count, f"batch {batch.id} was refused: {detail}")
        await self._forget()

    async def _forget(self) -> None:
        """Take the oldest batch, whose fate was just counted, off the outbox or the disk.

        Off the list before the first await, so that the balance holds if this is cancelled.
        """
        if not self._pieces:
            self._outbox.popleft()
            return
        self._spooled -= self._pieces.popleft().count
        if not self._pieces:
            await to_its_end(self._strike_off())

    async def _strike_off(self) -> None:
        if self._spool is None:
            return
        try:
            await asyncio.to_thread(self._spool.done)
        except OSError as error:  # it will be sent again after a restart, and not applied twice
            _log.warning("%s: a batch cannot be struck off on disk: %s", self.name, error)

    async def _spill(self) -> None:
        """Put everything on disk, where there is one; what it refuses stays in memory."""
        while self._spool is not None:
            await self._collect()
            if not self._outbox or not await to_its_end(self._put_away(self._spool)):
                return

    async def _put_away(self, spool: Spool) -> bool:
        """Put the oldest batch of the outbox on disk; return whether it is there."""
        batch = self._outbox[0]
        try:
            await asyncio.to_thread(spool.append, batch)
        except OSError as error:
            self._note(f"spool: {error}")
            _log.warning("%s: cannot be kept on disk: %s", self.name, error)
            return False
        self._outbox.popleft()
        self._spooled += batch.count
        return True

    def _lose(self, count: int, detail: str) -> None:
        self._lost += count
        _log.error("%s: %d are lost: %s", self.name, count, detail)

    def _note(self, detail: str) -> None:
        self.errors[detail.partition(":")[0]] += 1
        self.last_error = detail


async def close_all(channels: Sequence[Channel], timeout_s: float) -> None:
    """Close channels side by side, within `timeout_s` in all but what the disk takes."""
    await asyncio.gather(*(channel.close(timeout_s) for channel in channels))


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return what a receipt, or an error worth reading, may have; not more."""
    answer = b""
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > _MAX_ANSWER_BYTES:
            response.close()
            break
    return answer


def _outcome(batch: Batch, status: int, answer: bytes, retry_after: str | None) -> _Outcome:
    """Return what an answer means for the batch."""
    detail = f"http_{status}: {answer.decode(errors='replace')[:_MAX_DETAIL_CHARS]}"
    if 200 <= status < 300:
        return _receipt(batch, answer)
    if status == 413:
        return _Outcome(_Fate.SPLIT, detail)
    if status < 400 or status in {401, 403, 404, 405}:
        return _Outcome(_Fate.DENIED, detail)
    if status in {408, 429} or status >= 500:
        return _Outcome(_Fate.RETRY, detail, retry_after_s(retry_after, datetime.now(UTC)) or 0.0)
    return _Outcome(_Fate.REFUSED, detail)


def _receipt(batch: Batch, answer: bytes) -> _Outcome:
    """Return what a receipt says; without one nobody said that anything was stored."""
    try:
        receipt = msgspec.json.decode(answer, type=Receipt)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        receipt = None
    if receipt is None or receipt.id != batch.id:
        return _Outcome(_Fate.RETRY, "protocol: the answer is no receipt of this batch")
    return _Outcome(_Fate.PARKED if receipt.parked else _Fate.DELIVERED)
