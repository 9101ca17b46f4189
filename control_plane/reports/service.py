"""Takes a batch of reports: reads it, checks it, stores it once, counts what became of it.

What this process answered, in items: `stored + duplicate + parked + refused + busy + unavailable`.
`refused` batches are the sender's mistake and come no more. `busy` and `unavailable` ones got no
receipt, are still with the sender, and come again. The counters are plain integers, read by the
metrics at scrape time; where all items of all replicas are is told by `ReportStore.totals`.

Opening and decoding a megabyte takes some 5 ms, so it is done in a thread: in one for all, because
the event loop waits its turn behind each thread that is busy.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from control_plane.documents import Packed
from control_plane.errors import BadRequest, Invalid, TooLarge, TooManyRequests, Unavailable
from control_plane.reports.model import (
    Batch,
    BatchId,
    Kind,
    Place,
    check_batch,
    parked_because,
    seen_for_s,
    shard_of,
)
from control_plane.store.connection import RedisError
from control_plane.store.keys import ReportKeys
from control_plane.store.reports import Arrival, Fate, ReportStore
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, Receipt

__all__ = ["Intake", "Keep", "keys_of", "rfc3339"]

_INLINE_BYTES = 4096
"""Larger bodies are read in a thread; of smaller ones that would cost more than the reading."""
_RETRY_AFTER_S = (5.0, 15.0)
"""Drawn from: senders that were sent away together do not come back together."""
_OF = {Fate.STORED: "stored", Fate.DUPLICATE: "duplicate", Fate.PARKED: "parked"}

B = TypeVar("B", bound=Batch)
Keep = Callable[[Place, ReportKeys, int, Arrival, B], Awaitable[Fate]]
"""Stores a batch in one step that remembers its id, of the hour that is given."""


class _Read(NamedTuple, Generic[B]):
    batch: B | None
    items: int
    problems: list[Problem]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def keys_of(place: Place, shard: int) -> ReportKeys:
    """Return the keys of a shard."""
    return ReportKeys(place.kind, place.project, place.environment, shard)


def rfc3339(time_ms: int) -> str:
    """Return a time as the API writes it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


class Intake(Generic[B]):
    """The way in for one kind of reports. `check` lists what is wrong with the item at a place."""

    def __init__(
        self,
        kind: Kind,
        batch_type: type[B],
        check: Callable[[int, Any], list[Problem]],
        store: ReportStore,
        keep: "Keep[B] | None" = None,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self.kind = kind
        self._type = batch_type
        self._check = check
        self._store = store
        self._keep = keep or self._into_the_stream
        self._now_ms = now_ms
        self.stored: Callable[[Place, int], None] = lambda place, shard: None
        """Told of each batch that has come into a shard."""
        self.outcomes: Counter[str] = Counter()
        """Items since this process started, by outcome; a batch that cannot be read has none."""

    async def accept(self, project: str, environment: str, body: Packed) -> Receipt:
        """Store a batch and return how it went; a receipt means that it is on Redis.

        Raises:
            BadRequest, Invalid: for a document that is no batch, with what is wrong.
            TooLarge: for too many items or bytes; smaller batches would be taken.
            TooManyRequests: when what is stored already is to be counted first.
            Unavailable: when Redis did not answer; the same batch may be sent again.
        """
        if len(body.raw) > _INLINE_BYTES:
            loop = asyncio.get_running_loop()
            batch, items, problems = await loop.run_in_executor(self._store.aside, self._read, body)
        else:
            batch, items, problems = self._read(body)
        if batch is None or problems:
            self.outcomes["refused"] += items
            raise _refusal(items, problems)
        try:
            fate = await self._place(Place(self.kind, project, environment), batch, items, body.raw)
        except BaseException as error:  # a sender that hung up too: it sends the batch again
            self.outcomes["unavailable"] += items
            if not isinstance(error, RedisError):
                raise
            raise Unavailable(
                f"{self.kind} cannot be stored now; send the batch again, with the same id",
                retry_after_s=random.uniform(*_RETRY_AFTER_S),  # noqa: S311 - spreads retries
            ) from error
        if fate is Fate.FULL:
            self.outcomes["busy"] += items
            raise TooManyRequests(
                f"more {self.kind} wait to be counted than are kept; send the batch again, later",
                random.uniform(*_RETRY_AFTER_S),  # noqa: S311 - spreads retries
                code="reports_full",
            )
        self.outcomes[_OF[fate]] += items
        accepted = items if fate is Fate.STORED else 0
        return Receipt(batch.id, accepted, fate is Fate.DUPLICATE, fate is Fate.PARKED)

    def _read(self, body: Packed) -> _Read[B]:
        batch, problems = decode(body.opened(MAX_BATCH_BYTES), self._type)
        if batch is None:
            return _Read(None, 0, problems)
        return _Read(batch, len(batch.items), check_batch(batch, self._check, batch.items))

    async def _place(self, place: Place, batch: B, items: int, body: bytes) -> Fate:
        now_ms = self._now_ms()
        made_ms, hour, number = BatchId.of(batch.id)
        shard = shard_of(self.kind, batch.id)
        keys = keys_of(place, shard)
        arrival = Arrival(
            id=batch.id,
            number=number,
            seen_for_s=seen_for_s(made_ms, now_ms),
            instance=batch.instance,
            items=items,
            body=body,
            received_ms=now_ms,
        )
        reason = parked_because(made_ms, now_ms)
        if reason is not None:
            arrival = arrival._replace(seen_for_s=seen_for_s(now_ms, now_ms))
            return await self._store.park(keys, hour, arrival, reason)
        fate = await self._keep(place, keys, hour, arrival, batch)
        if fate is Fate.STORED:
            self.stored(place, shard)
        return fate

    async def _into_the_stream(
        self, place: Place, keys: ReportKeys, hour: int, arrival: Arrival, batch: B
    ) -> Fate:
        return await self._store.take(keys, hour, arrival)


def _refusal(items: int, problems: list[Problem]) -> BadRequest | TooLarge | Invalid:
    """Return the error for a batch with these problems."""
    first = problems[0]
    if first.code is ProblemCode.MALFORMED_JSON:
        return BadRequest("the body is not JSON", code="malformed_json", problems=problems)
    if items > MAX_BATCH_ITEMS:
        return TooLarge(
            f"{items} items, at most {MAX_BATCH_ITEMS} are taken; split the batch",
            code="batch_too_large",
            problems=problems,
        )
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Invalid(f"{first.pointer or '/'}: {first.message}{more}", problems=problems)
