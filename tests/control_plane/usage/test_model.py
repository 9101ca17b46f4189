"""Which counts are taken, and what they add up to."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.reports.model import check_batch
from control_plane.usage.model import SPANS, Where, add_up, check_count, rows_of
from proxy.contract.usage import UsageBatch
from tests.control_plane.reports.builders import batch, encoded, evaluated

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
NOW_MS = 20_000 * DAY_MS + 5 * HOUR_MS + 7 * MINUTE_MS
MINUTES, HOURS, DAYS = SPANS


def decoded(*items: dict[str, Any]) -> UsageBatch:
    """Return a batch of good shape."""
    return msgspec.json.decode(encoded(batch(*items)), type=UsageBatch)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"flag": ""}, "flag"),
        ({"flag": "x" * 257}, "flag"),
        ({"variant": ""}, "variant"),
        ({"variant": "x" * 257}, "variant"),
        ({"reason": "x" * 257}, "reason"),
        ({"count": 0}, "count"),
        ({"count": 1_000_000_001}, "count"),
    ],
)
def test_a_member_that_makes_no_sense_is_named(changes: dict[str, Any], where: str) -> None:
    """By its place in the batch."""
    read = decoded(evaluated(variant=None), evaluated(**changes))
    (problem,) = check_batch(read, check_count, read.items)
    assert problem.pointer == f"/items/1/{where}"


def test_counts_add_up_by_minute_hour_and_day() -> None:
    """Of each variant, whatever the reason; without a variant too."""
    read = decoded(
        evaluated(minute_ms=NOW_MS, count=1),
        evaluated(minute_ms=NOW_MS, count=2, reason="DEFAULT"),
        evaluated(minute_ms=NOW_MS - MINUTE_MS, count=4, variant="a:b"),
        evaluated(minute_ms=NOW_MS - MINUTE_MS, count=8, variant=None),
    )
    hour = 20_000 * 24 + 5
    week, in_week = divmod(hour, 168)
    assert add_up(read, NOW_MS, {"checkout"}) == (
        {
            Where(MINUTES, "checkout", hour): {"7:on": 3, "6:a:b": 4, "6": 8},
            Where(HOURS, "checkout", week): {
                f"{in_week}:on": 3,
                f"{in_week}:a:b": 4,
                f"{in_week}": 8,
            },
            Where(DAYS, "checkout", 200): {"0:on": 3, "0:a:b": 4, "0": 8},
        },
        {"checkout": NOW_MS},
        0,
        0,
    )


def test_what_comes_late_is_left_out_where_it_would_not_be_seen() -> None:
    """An hour ago in the minutes; the last evaluation is not moved back by the sums' order."""
    read = decoded(evaluated(minute_ms=NOW_MS), evaluated(minute_ms=NOW_MS - 2 * HOUR_MS, count=5))
    added = add_up(read, NOW_MS, {"checkout"})
    assert sum(sum(f.values()) for w, f in added.counts.items() if w.span is MINUTES) == 7
    assert sum(sum(f.values()) for w, f in added.counts.items() if w.span is HOURS) == 12
    assert added.last == {"checkout": NOW_MS}


def test_flags_that_there_are_not_add_up_as_one() -> None:
    """Whoever evaluates can make up names."""
    read = decoded(*(evaluated(flag=f"f{n}", variant=f"v{n}") for n in range(50)))
    added = add_up(read, NOW_MS + 60 * DAY_MS, set())
    assert {where.flag for where in added.counts} == {""}
    assert [sum(fields.values()) for fields in added.counts.values()] == [350] * len(added.counts)
    assert (added.last, added.unknown) == ({}, 50)


def test_a_clock_that_is_wrong_is_clamped_and_counted() -> None:
    """Not after the arrival, not long before it."""
    added = add_up(
        decoded(evaluated(minute_ms=1 << 60), evaluated(minute_ms=0)), NOW_MS, {"checkout"}
    )
    assert added.clamped == 2
    assert added.last == {"checkout": NOW_MS}


@given(st.sampled_from(SPANS), st.integers(NOW_MS - 300 * DAY_MS, NOW_MS))
def test_a_part_lives_as_long_as_it_is_shown(span: Any, at_ms: int) -> None:
    """Also what came in its last moment; and not much longer than the span."""
    where = Where(span, "f", at_ms // span.part_ms)
    assert where.expires_at_s * 1000 >= at_ms + span.kept_ms
    assert where.expires_at_s * 1000 <= at_ms + span.kept_ms + span.part_ms


@given(
    st.lists(
        st.tuples(st.integers(0, 500 * DAY_MS), st.sampled_from(["a", "b:c", None])), max_size=40
    )
)
def test_what_was_added_up_is_told(evaluations: list[tuple[int, str | None]]) -> None:
    """At its time, in each span that it is within."""
    counts: dict[Where, dict[str, int]] = {}
    for ago_ms, variant in evaluations:
        at_ms = NOW_MS - min(ago_ms, 7 * DAY_MS)
        read = decoded(evaluated(minute_ms=at_ms, variant=variant, count=1))
        for where, fields in add_up(read, NOW_MS, {"checkout"}).counts.items():
            for field, count in fields.items():
                told = counts.setdefault(where, {})
                told[field] = told.get(field, 0) + count
    for span in SPANS:
        parts = [(where.part, fields) for where, fields in counts.items() if where.span is span]
        rows = rows_of(span, parts, NOW_MS)
        begins = [
            (NOW_MS - min(ago_ms, 7 * DAY_MS))
            // MINUTE_MS
            * MINUTE_MS
            // span.step_ms
            * span.step_ms
            for ago_ms, _ in evaluations
        ]
        within = [at_ms for at_ms in begins if at_ms > NOW_MS - span.kept_ms]
        assert sorted(at_ms for at_ms, _ in rows) == sorted(set(within))
        assert sum(sum(by.values()) for _, by in rows) == len(within)
