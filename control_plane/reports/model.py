"""Which batches are taken, which are parked, and where they go. Pure.

Rules:
- A batch is taken, parked or refused as a whole, because its id stands for the whole.
- Its id is a UUIDv7 and says when it was made. Ids are remembered for `SEEN_DAYS` from the arrival,
  or from the time in the id where that is later. One that is older than `MAX_COUNTED_AGE_DAYS`, or
  that claims to be from more than a day ahead, is parked: nobody could tell, now or when it comes
  again, whether it was counted before.
- Times of items are the clocks of others. One from the future is taken for the arrival's, one that
  is older than any item can be for the oldest there can be; both are counted.
"""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar
from zlib import crc32

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_BATCH_ITEMS, MAX_COUNTED_AGE_DAYS

__all__ = [
    "MAX_PROBLEMS",
    "SHARDS",
    "Batch",
    "BatchId",
    "Kind",
    "Place",
    "check_batch",
    "clamped",
    "out_of_bounds",
    "parked_because",
    "seen_for_s",
    "shard_of",
]


class Kind(StrEnum):
    """What is reported."""

    EXPOSURES = "exposures"
    EVENTS = "events"
    USAGE = "usage"


SHARDS: dict[Kind, int] = {Kind.EXPOSURES: 8, Kind.EVENTS: 8, Kind.USAGE: 1}
"""Parts that the reports of one environment are spread over, each on a slot of its own in a
cluster. Changing it sends retries under way to another shard, where their id is not known."""

MAX_PROBLEMS = 100
"""Problems listed of a batch; a hostile one does not make a long answer."""

_DAY_MS = 24 * 3_600_000
_HOUR_MS = 3_600_000
_MAX_COUNTED_AGE_MS = MAX_COUNTED_AGE_DAYS * _DAY_MS
SEEN_DAYS = MAX_COUNTED_AGE_DAYS + 1
_MAX_AHEAD_MS = _DAY_MS
_SKEW_MS = 5 * 60_000
_OLDEST_ITEM_MS = SEEN_DAYS * _DAY_MS
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_RANDOM_BITS = 42  # of an id; with the millisecond within its hour they make 64

T = TypeVar("T")


class Batch(Protocol):
    """What the three kinds of batches have in common."""

    @property
    def id(self) -> str: ...
    @property
    def instance(self) -> str: ...
    @property
    def items(self) -> Sequence[object]: ...


class Place(NamedTuple):
    """The reports of one kind of one environment."""

    kind: Kind
    project: str
    environment: str


class BatchId(NamedTuple):
    """An id as it is remembered: a number of 64 bits among the others of its hour since 1970."""

    made_ms: int
    hour: int
    number: int

    @classmethod
    def of(cls, text: str) -> "BatchId":
        """Return a UUIDv7 taken apart."""
        bits = int(text.replace("-", ""), 16)
        made_ms = bits >> 80
        within = made_ms % _HOUR_MS << _RANDOM_BITS | bits & (1 << _RANDOM_BITS) - 1
        return cls(made_ms, made_ms // _HOUR_MS, within - (1 << 63))


def check_batch(
    batch: Batch, problems_of: Callable[[int, T], list[Problem]], items: Sequence[T]
) -> list[Problem]:
    """Return what is wrong with a batch of good shape, the first hundred problems of it."""
    problems = []
    if not _UUID7.fullmatch(batch.id):
        message = f"{batch.id[:64]!r} is not a UUIDv7 in lower case"
        hint = "make a new one for each batch, and keep it when the batch is sent again"
        problems.append(Problem("/id", ProblemCode.WRONG_TYPE, message, hint))
    if not 0 < len(batch.instance) <= 256:
        message = f"{len(batch.instance)} characters, from 1 to 256 are taken"
        problems.append(Problem("/instance", ProblemCode.OUT_OF_RANGE, message))
    if len(items) > MAX_BATCH_ITEMS:
        message = f"{len(items)} items, at most {MAX_BATCH_ITEMS} are taken"
        problems.append(Problem("/items", ProblemCode.TOO_MANY, message, "split the batch"))
    for index, item in enumerate(items):
        problems += problems_of(index, item)
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems[:MAX_PROBLEMS]


def out_of_bounds(pointer: str, value: float, low: float, high: float) -> list[Problem]:
    """Return the problem of a number or a length that is not from `low` to `high`, or none."""
    if low <= value <= high:
        return []
    message = f"{value} is not from {low} to {high}"
    return [Problem(pointer, ProblemCode.OUT_OF_RANGE, message)]


def shard_of(kind: Kind, batch_id: str) -> int:
    """Return the shard of a batch; the same one however often the batch is sent."""
    return crc32(batch_id.encode()) % SHARDS[kind]


def parked_because(made_ms: int, received_ms: int) -> str | None:
    """Return why a batch made then must not be counted; None when it may be."""
    if made_ms < received_ms - _MAX_COUNTED_AGE_MS:
        return "old"
    return "future" if made_ms > received_ms + _MAX_AHEAD_MS else None


def seen_for_s(made_ms: int, received_ms: int) -> int:
    """Return how long to remember an id: until it is parked, and a day for clocks that differ."""
    return (max(made_ms, received_ms) - received_ms + SEEN_DAYS * _DAY_MS) // 1000


def clamped(time_ms: int, received_ms: int) -> int:
    """Return the time of an item as it can be, which is nearly always what it says."""
    if received_ms - _OLDEST_ITEM_MS <= time_ms <= received_ms + _SKEW_MS:
        return time_ms
    return received_ms if time_ms > received_ms else received_ms - _OLDEST_ITEM_MS
