"""Which events are taken, and what they add up to."""

from typing import Any

import msgspec
import pytest

from control_plane.events.model import Sum, add_up, check_event
from control_plane.reports.model import check_batch
from proxy.contract.events import EventBatch
from tests.control_plane.reports.builders import batch, encoded, event

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS + 3_600_000


def decoded(*items: dict[str, Any]) -> EventBatch:
    """Return a batch of good shape."""
    return msgspec.json.decode(encoded(batch(*items)), type=EventBatch)


def test_a_good_event_has_no_problem() -> None:
    """With properties too."""
    read = decoded(event(), event(properties={"plan": "pro", "seats": 3, "trial": False}))
    assert check_batch(read, check_event, read.items) == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"id": ""}, "/id"),
        ({"id": "x" * 65}, "/id"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 129}, "/name"),
        ({"unit": ""}, "/unit"),
        ({"unit": "x" * 1025}, "/unit"),
        ({"unit_attribute": "x" * 257}, "/unit_attribute"),
        ({"value": 1e16}, "/value"),
        ({"value": -1e16}, "/value"),
        ({"properties": {str(n): n for n in range(17)}}, "/properties"),
        ({"properties": {"": 1}}, "/properties/"),
        ({"properties": {"a/b": "x" * 257}}, "/properties/a~1b"),
    ],
)
def test_a_member_that_makes_no_sense_is_named(changes: dict[str, Any], where: str) -> None:
    """By its place in the batch."""
    read = decoded(event(), event(**changes))
    (problem,) = check_batch(read, check_event, read.items)
    assert problem.pointer == f"/items/1{where}"


def test_events_add_up_by_name_and_day() -> None:
    """Count, sum, sum of squares."""
    read = decoded(
        event(time_ms=NOW_MS, value=2),
        event(time_ms=NOW_MS - 60_000, value=-3),
        event(time_ms=NOW_MS - DAY_MS, value=5),
        event(time_ms=NOW_MS, value=7, name="refund"),
    )
    assert add_up(read, NOW_MS) == (
        {
            ("purchase", 20_000): Sum(2, -1, 13),
            ("purchase", 19_999): Sum(1, 5, 25),
            ("refund", 20_000): Sum(1, 7, 49),
        },
        0,
    )


def test_a_clock_that_is_wrong_is_clamped_and_counted() -> None:
    """Not after the arrival, not long before it."""
    sums, clamped = add_up(decoded(event(time_ms=1 << 60), event(time_ms=0)), NOW_MS)
    assert clamped == 2
    assert {day for _, day in sums} == {20_000, 19_992}
