"""Tests of the one form of times."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from control_plane.times import now_rfc3339, rfc3339, rfc3339_of_ms, utc_now

_MS = st.integers(0, 10**14)


def test_the_form_is_one() -> None:
    """UTC, three digits of a second, a Z: whatever the time is."""
    assert rfc3339(datetime(2026, 12, 1, 9, tzinfo=UTC)) == "2026-12-01T09:00:00.000Z"
    assert rfc3339_of_ms(1_796_115_600_123) == "2026-12-01T09:00:00.123Z"
    assert rfc3339_of_ms(-1) == "1970-01-01T00:00:00.000Z"


@given(_MS, _MS)
def test_texts_have_the_order_of_times(one: int, other: int) -> None:
    """What compares them relies on it."""
    assert (rfc3339_of_ms(one) < rfc3339_of_ms(other)) == (one < other)


def test_now_is_now() -> None:
    """In UTC, whatever the zone of the machine."""
    assert abs(datetime.fromisoformat(now_rfc3339()) - utc_now()) < timedelta(minutes=1)
