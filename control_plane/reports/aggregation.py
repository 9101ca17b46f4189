"""Counts what is in the streams: one consumer of this replica for each shard, for all environments.

A batch is counted soon after it was stored, by the replica that stored it: `stored` wakes the
shard's consumer. Everything else is looked for now and then: batches of a replica that died before
it got to them, and those it got and did not finish, which are claimed after `claim_after_s`.

Rules:
- What fails is not finished, so it comes again when it is overdue. A batch that was given out
  `MAX_DELIVERIES` times is set aside, with an error in the log: it must not be met for ever.
- Batches are read some at a time; when counting them fails each is counted alone, so that one that
  cannot be counted holds up no other.
- Nothing is counted while this replica does not know the current definitions: a flag that was made
  meanwhile would be taken for none.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Self

from control_plane.repeats import Repeats
from control_plane.reports.model import SHARDS, Kind, Place
from control_plane.reports.service import keys_of
from control_plane.store.connection import RedisError
from control_plane.store.reports import Balance, Entry, ReportStore
from control_plane.supervise import Failed, supervise, unnoted

__all__ = ["MAX_DELIVERIES", "Aggregation", "Count"]

logger = logging.getLogger(__name__)

Count = Callable[[Place, int, list[Entry]], Awaitable[None]]
"""Counts batches of a shard and finishes them in the stream; may be asked to do so again."""

MAX_DELIVERIES = 10
"""A batch may be unlucky a few times, with replicas that are killed; not so often."""

_AT_ONCE = 4  # batches that are read at once, of 5,000 items each at most
_COUNTING_AT_ONCE = 2  # shards; one waits for Redis while the other is worked out
_TURNS = 16  # reads of one environment before it is the next one's turn
_GATHER_S = 0.2  # from a batch to counting it: others come meanwhile, and are counted with it
_LOOK_S = 5.0  # how often is looked for what nobody told of
_NOT_CURRENT_S = 0.25
_BACKOFF_S = (0.2, 2.0)  # while Redis is away; it is asked by each shard
_FINISH_S = 5.0  # for what is being counted when the process is told to stop
_FIGURES_S = 5.0
_FIGURES_PAUSE_S = 0.01  # for each environment: figures of many are not read all at once


class Aggregation:
    """The consumers of this replica. An async context manager, entered once.

    `places` yields the environments there are, for each kind of reports; `is_current` says
    whether this replica knows the definitions as they are now.
    """

    def __init__(
        self,
        store: ReportStore,
        counts: Mapping[Kind, Count],
        places: Callable[[], Iterable[Place]],
        is_current: Callable[[], bool],
        claim_after_s: float = 60.0,
        failed: Failed = unnoted,
    ) -> None:
        # Process
        self._store = store
        self._counts = counts
        self._places = places
        self._is_current = is_current
        self._claim_after_s = claim_after_s
        self._failed = failed
        self._look_s = min(_LOOK_S, claim_after_s / 4)
        self._consumer = secrets.token_hex(8)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._turn = asyncio.Semaphore(_COUNTING_AT_ONCE)
        self._uncounted = Repeats(logger, "reports cannot be counted")  # of all shards
        # Shard
        shards = max(SHARDS[kind] for kind in counts)
        self._due: list[set[Place]] = [set() for _ in range(shards)]
        self._awake = [asyncio.Event() for _ in range(shards)]
        self._look_at = [0.0] * shards
        self._claim_at = [0.0] * shards
        self._unfinished: set[tuple[Place, int]] = set()
        """Where this consumer was stopped, by Redis most often, and has batches already."""
        # Figures
        self.balances: dict[Kind, Balance] = {}
        """Where all items of each kind are, of all replicas, as Redis said some seconds ago."""
        self.set_aside = 0
        """Items of batches that could not be counted and were parked."""

    def stored(self, place: Place, shard: int) -> None:
        """Have a batch counted that has just come into a shard."""
        if place.kind in self._counts:
            self._due[shard].add(place)
            self._awake[shard].set()

    async def __aenter__(self) -> Self:
        for shard in range(len(self._due)):
            self._start("aggregation", partial(self._work, shard))
        self._start("report figures", self._read_figures)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()  # a supervisor that pauses is cut off below
        for awake in self._awake:
            awake.set()
        _, late = await asyncio.wait(self._tasks, timeout=_FINISH_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        again = supervise(name, partial(self._until_stopped, work), self._failed)
        self._tasks.append(asyncio.create_task(again, name=name))

    async def _until_stopped(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a piece of work again and again; Redis may be away meanwhile."""
        while not self._stopping.is_set():
            try:
                await work()
            except RedisError as error:
                self._uncounted.warn(error)
                await self._rest(random.uniform(*_BACKOFF_S))  # noqa: S311 - spreads retries

    async def _rest(self, duration_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await self._stopping.wait()

    async def _work(self, shard: int) -> None:
        """Count what is due in a shard, then wait until something is."""
        if not self._is_current():
            await self._rest(_NOT_CURRENT_S)
            return
        now = monotonic()
        places = [place for place in self._places() if place.kind in self._counts]
        if now >= self._claim_at[shard]:
            self._claim_at[shard] = now + self._claim_after_s / 4
            for place in places:
                await self._take_over(place, shard)
        if now >= self._look_at[shard]:
            self._look_at[shard] = now + self._look_s * random.uniform(0.8, 1.2)  # noqa: S311 - as above
            self._due[shard].update(places)
        due = self._due[shard]
        due.update(place for place, where in self._unfinished if where == shard)
        self._awake[shard].clear()
        for place in sorted(due):
            if self._stopping.is_set():
                return
            await self._drain(place, shard)
        if not due:
            await self._wait(shard)

    async def _wait(self, shard: int) -> None:
        wait_s = max(0.0, self._look_at[shard] - monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._awake[shard].wait()
            await self._rest(_GATHER_S)

    async def _drain(self, place: Place, shard: int) -> None:
        """Count batches of a shard; it is due still when there may be more."""
        keys = keys_of(place, shard)
        due, unfinished = self._due[shard], (place, shard) in self._unfinished
        self._unfinished.add((place, shard))
        for _ in range(_TURNS):
            due.discard(place)
            async with self._turn:
                entries = await self._store.read(keys, self._consumer, _AT_ONCE, again=unfinished)
                if entries:
                    await self._count(place, shard, entries)
            if len(entries) < _AT_ONCE and not unfinished:
                break
            unfinished = False
            due.add(place)
            if self._stopping.is_set():
                break
        self._unfinished.discard((place, shard))

    async def _count(self, place: Place, shard: int, entries: list[Entry]) -> None:
        """Count batches; one that cannot be counted stays where it is, to be overdue."""
        try:
            await self._counts[place.kind](place, shard, entries)
        except RedisError:
            raise
        except Exception as error:
            if len(entries) == 1:
                self._failed("aggregation", error)
                logger.exception("a batch of %s cannot be counted", place.kind)
                return
            for entry in entries:
                await self._count(place, shard, [entry])

    async def _take_over(self, place: Place, shard: int) -> None:
        """Count what a consumer got and did not finish; put aside what nobody can."""
        keys = keys_of(place, shard)
        idle_ms = int(self._claim_after_s * 1000)
        overdue = await self._store.overdue(keys, idle_ms)
        for entry_id, deliveries in overdue:
            if deliveries >= MAX_DELIVERIES:
                items = await self._store.set_aside(keys, entry_id)
                self.set_aside += items
                logger.error(
                    "a batch of %d %s of %s/%s could not be counted %d times and is parked",
                    *(items, place.kind, place.project, place.environment, deliveries),
                )
            else:
                for entry in await self._store.claim(keys, self._consumer, idle_ms, [entry_id]):
                    await self._count(place, shard, [entry])
        await self._store.tidy(keys)

    async def _read_figures(self) -> None:
        """Read where all items are, of all environments."""
        sums: dict[Kind, Balance] = {}
        for place in list(self._places()):
            shards = range(SHARDS[place.kind])
            part = await self._store.balance(keys_of(place, shard) for shard in shards)
            before = sums.get(place.kind, Balance(0, 0, 0, 0, 0, 0))
            sums[place.kind] = Balance(*map(sum, zip(before, part, strict=True)))
            await self._rest(_FIGURES_PAUSE_S)
        self.balances = sums
        await self._rest(_FIGURES_S)
