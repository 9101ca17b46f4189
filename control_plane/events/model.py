"""What makes an event acceptable, and what events add up to. Pure.

The shape is the contract's; `check_event` says what the shape cannot. Times are not looked at
there: they are clamped when events are counted.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from control_plane.reports.model import clamped, out_of_bounds
from proxy.contract.events import (
    MAX_EVENT_ID_CHARS,
    MAX_EVENT_NAME_CHARS,
    MAX_EVENT_VALUE,
    MAX_PROPERTIES,
    MAX_PROPERTY_CHARS,
    Event,
    EventBatch,
)
from proxy.contract.problems import Problem, pointer
from proxy.contract.reports import MAX_LABEL_CHARS
from proxy.contract.units import MAX_UNIT_CHARS

__all__ = ["EventDay", "EventSummary", "Sum", "add_up", "check_event", "name_id", "total"]

_DAY_MS = 86_400_000


class Sum(NamedTuple):
    """How many events, the sum of their values, and of the squares of these."""

    number: int
    sum: float
    squares: float

    def plus(self, other: "Sum") -> "Sum":
        """Return both together."""
        return Sum(self.number + other.number, self.sum + other.sum, self.squares + other.squares)


class EventDay(msgspec.Struct, frozen=True):
    """What came on one day, UTC."""

    count: int
    sum: float
    sum_squares: float


class EventSummary(msgspec.Struct, frozen=True):
    """What is counted of the events of a name in one environment.

    `days` go back 400 days. Batches themselves are kept since `kept_since`, RFC 3339. `pending` and
    `parked` are events of the environment, of whatever name: stored and not counted yet, and not to
    be counted.
    """

    project: str
    environment: str
    name: str
    count: int
    sum: float
    sum_squares: float
    days: dict[str, EventDay]
    kept_since: str | None
    pending: int
    parked: int


def check_event(index: int, item: Event) -> list[Problem]:
    """Return what is wrong with the item at a place of a batch."""
    # One expression decides for a good item: batches are large and nearly always good.
    if (
        0 < len(item.id) <= MAX_EVENT_ID_CHARS
        and 0 < len(item.name) <= MAX_EVENT_NAME_CHARS
        and 0 < len(item.unit) <= MAX_UNIT_CHARS
        and len(item.unit_attribute) <= MAX_LABEL_CHARS
        and -MAX_EVENT_VALUE <= item.value <= MAX_EVENT_VALUE
        and not item.properties
    ):
        return []

    def at(*steps: str) -> str:
        return pointer("items", index, *steps)

    problems = [
        *out_of_bounds(at("id"), len(item.id), 1, MAX_EVENT_ID_CHARS),
        *out_of_bounds(at("name"), len(item.name), 1, MAX_EVENT_NAME_CHARS),
        *out_of_bounds(at("unit"), len(item.unit), 1, MAX_UNIT_CHARS),
        *out_of_bounds(at("unit_attribute"), len(item.unit_attribute), 0, MAX_LABEL_CHARS),
        *out_of_bounds(at("value"), item.value, -MAX_EVENT_VALUE, MAX_EVENT_VALUE),
        *out_of_bounds(at("properties"), len(item.properties), 0, MAX_PROPERTIES),
    ]
    for name, value in item.properties.items():
        where = at("properties", name[:MAX_PROPERTY_CHARS])
        problems += out_of_bounds(where, len(name), 1, MAX_PROPERTY_CHARS)
        if isinstance(value, str):
            problems += out_of_bounds(where, len(value), 0, MAX_PROPERTY_CHARS)
    return problems


def name_id(name: str) -> str:
    """Return what stands for a name in keys of Redis."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def add_up(batch: EventBatch, received_ms: int) -> tuple[dict[tuple[str, int], Sum], int]:
    """Return what a batch adds up to, by name and day since 1970, and how many times were clamped.

    `received_ms` is when it arrived, Unix time.
    """
    sums: dict[tuple[str, int], Sum] = {}
    moved = 0
    for item in batch.items:
        at_ms = clamped(item.time_ms, received_ms)
        moved += at_ms != item.time_ms
        key = (item.name, at_ms // _DAY_MS)
        one = Sum(1, item.value, item.value * item.value)
        before = sums.get(key)
        sums[key] = one if before is None else before.plus(one)
    return sums, moved


def total(sums: Iterable[Sum]) -> Sum:
    """Return all together."""
    result = Sum(0, 0.0, 0.0)
    for one in sums:
        result = result.plus(one)
    return result
