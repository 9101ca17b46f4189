"""Which batches are taken, which are parked, and where they go."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.exposures.model import check_exposure
from control_plane.reports.model import (
    SHARDS,
    BatchId,
    Kind,
    check_batch,
    parked_because,
    seen_for_s,
    shard_of,
)
from proxy.contract.exposures import ExposureBatch
from proxy.contract.reports import MAX_BATCH_ITEMS
from tests.control_plane.reports.builders import uuid7

DAY_MS = 86_400_000
NOW_MS = 1_796_000_000_000


@pytest.mark.parametrize(
    "wrong",
    ["", "x", str(uuid.uuid4()), uuid7().upper(), uuid7().replace("-", ""), uuid7() + "\n"],
    ids=["empty", "short", "version 4", "upper case", "without hyphens", "newline"],
)
def test_an_id_that_is_no_uuid7_is_refused(wrong: str) -> None:
    """Its time says where to look for it, and one spelling only is one batch."""
    (problem,) = check_batch(ExposureBatch(wrong, "pod", 0, []), check_exposure, [])
    assert problem.pointer == "/id"


@pytest.mark.parametrize("instance", ["", "x" * 257])
def test_an_instance_has_a_name_of_bounded_length(instance: str) -> None:
    """It is kept with the batch."""
    (problem,) = check_batch(ExposureBatch(uuid7(), instance, 0, []), check_exposure, [])
    assert problem.pointer == "/instance"


def test_too_many_items_is_a_problem() -> None:
    """The contract's bound."""
    items = [None] * (MAX_BATCH_ITEMS + 1)
    (problem,) = check_batch(ExposureBatch(uuid7(), "pod", 0, []), lambda at, item: [], items)
    assert problem.pointer == "/items"


@given(st.integers(0, (1 << 48) - 1))
def test_the_hour_is_the_one_in_the_id(made_ms: int) -> None:
    """Whatever time the id says; and what is remembered fits 64 bits."""
    made = BatchId.of(uuid7(made_ms))
    assert (made.made_ms, made.hour) == (made_ms, made_ms // 3_600_000)
    assert -(1 << 63) <= made.number < 1 << 63


@given(st.integers(0, 3_599_999), st.integers(0, 3_599_999))
def test_ids_of_an_hour_are_remembered_apart(one_ms: int, other_ms: int) -> None:
    """By the millisecond, and by what is random within it."""
    first, second = uuid7(NOW_MS + one_ms), uuid7(NOW_MS + other_ms)
    assert BatchId.of(first) == BatchId.of(first)
    assert BatchId.of(first).number != BatchId.of(second).number


@pytest.mark.parametrize(
    ("made_ms", "reason"),
    [
        (NOW_MS, None),
        (NOW_MS - 7 * DAY_MS, None),
        (NOW_MS - 7 * DAY_MS - 1, "old"),
        (0, "old"),
        (NOW_MS + DAY_MS, None),
        (NOW_MS + DAY_MS + 1, "future"),
        ((1 << 48) - 1, "future"),
    ],
)
def test_a_batch_that_cannot_be_told_from_its_repeats_is_parked(
    made_ms: int, reason: str | None
) -> None:
    """Too old to be remembered still, or so far ahead that it would have to be for long."""
    assert parked_because(made_ms, NOW_MS) == reason


@given(st.integers(-7 * DAY_MS, DAY_MS), st.integers(0, 20 * DAY_MS))
def test_an_id_is_remembered_until_its_batch_is_parked(made_ms: int, later_ms: int) -> None:
    """Whatever the clock that made it says: a repeat is known, or it is parked."""
    made_ms += NOW_MS
    forgotten_ms = NOW_MS + seen_for_s(made_ms, NOW_MS) * 1000
    again_ms = NOW_MS + later_ms
    assert again_ms < forgotten_ms or parked_because(made_ms, again_ms) == "old"
    assert forgotten_ms >= NOW_MS + 8 * DAY_MS


def test_batches_spread_over_all_shards() -> None:
    """And each stays in its own."""
    ids = [uuid7() for _ in range(400)]
    for kind in Kind:
        assert {shard_of(kind, name) for name in ids} == set(range(SHARDS[kind]))
