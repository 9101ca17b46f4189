"""RFC 3339 is read as it is written, and nothing else is."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.limits import MAX_MOMENT_CHARS
from proxy.engine.times import parse_exactly, parse_moment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min + timedelta(days=1)  # noqa: DTZ901 - hypothesis adds the zone
_LAST = datetime.max - timedelta(days=1)  # noqa: DTZ901 - as above


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", (0, "")),
        # the examples of RFC 3339, 5.8
        ("1985-04-12T23:20:50.52Z", (482_196_050_520, "")),
        ("1996-12-19T16:39:57-08:00", (851_042_397_000, "")),
        ("1990-12-31T23:59:60Z", (662_688_000_000, "")),
        ("1990-12-31T15:59:60-08:00", (662_688_000_000, "")),
        ("1937-01-01T12:00:27.87+00:20", (-1_041_337_172_130, "")),
        ("1969-12-31T23:59:59.999Z", (-1, "")),
        ("1969-12-31T23:59:59.9999Z", (-1, "9")),
        ("2026-12-01T09:00:00.1Z", (1_796_115_600_100, "")),
        ("2026-12-01T09:00:00.1234560Z", (1_796_115_600_123, "456")),
        ("2026-12-01T09:00:00.1230000Z", (1_796_115_600_123, "")),
        ("2026-12-01t09:00:00z", (1_796_115_600_000, "")),
        ("2026-12-01T09:00:00-00:00", (1_796_115_600_000, "")),
        ("2026-12-01T09:00:00+23:59", (1_796_115_600_000 - 86_340_000, "")),
        ("2024-02-29T00:00:00Z", (1_709_164_800_000, "")),
        ("0000-01-01T00:00:00Z", (-62_167_219_200_000, "")),
        ("0000-02-29T00:00:00Z", (-62_162_121_600_000, "")),
        ("0001-01-01T00:00:00+23:59", (-62_135_596_800_000 - 86_340_000, "")),
        ("9999-12-31T23:59:59.999Z", (253_402_300_799_999, "")),
        ("9999-12-31T23:59:60Z", (253_402_300_800_000, "")),
        ("9999-12-31T23:59:59-23:59", (253_402_387_139_000, "")),
        ("0000-02-29T23:59:60Z", (-62_162_035_200_000, "")),
        ("1990-12-31T23:59:60.5Z", (662_688_000_500, "")),
    ],
)
def test_a_moment(text: str, moment: tuple[int, str]) -> None:
    """Milliseconds and the digits below; the examples of the RFC, the ends of what it can say."""
    assert parse_exactly(text) == moment
    assert parse_moment(text) == moment[0] + bool(moment[1])


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-12-01", "2026-12-01T09:00:00", "2026-12-01T09:00Z", "20261201T090000Z"),
        *("2026-12-01 09:00:00Z", "2026-12-01T09:00:00 Z", " 2026-12-01T09:00:00Z", "09:00:00Z"),
        *("2026-12-01T09:00:00Z\n", "2026-12-01T09:00:00.Z", "2026-12-01T09:00:00,5Z"),
        *("2026-12-01T09:00:00+01", "2026-12-01T09:00:00+0100", "2026-12-01T09:00:00+24:00"),
        *("2026-12-01T09:00:00+01:60", "2026-12-01T09:00:00+1:00", "2026-12-01T09:00:00CET"),
        *("2026-00-01T09:00:00Z", "2026-13-01T09:00:00Z", "2026-12-00T09:00:00Z"),
        *("2026-12-32T09:00:00Z", "2026-02-29T09:00:00Z", "1900-02-29T09:00:00Z"),
        *("0000-13-01T09:00:00Z", "0000-00-01T09:00:00Z", "0000-02-30T23:59:60Z"),
        *("2026-12-01T24:00:00Z", "2026-12-01T25:00:00Z", "2026-12-01T09:60:00Z"),
        *("2026-12-01T09:00:61Z", "2026-12-01T09:00:60Z", "1990-12-30T23:59:60Z"),
        *("1990-12-31T23:59:60+01:00", "2026-W49-2T09:00:00Z", "+002026-12-01T09:00:00Z"),
        *("12026-12-01T09:00:00Z", "-2026-12-01T09:00:00Z", "\u0662026-12-01T09:00:00Z"),
        *("2026-12-01T09:00:00.\u0661Z", "\ud800", "2026-12-01T09:00:00Z\0", "9" * 100_000),
        "2026-12-01T09:00:00." + "9" * 100_000,
    ],
)
def test_no_moment(text: str) -> None:
    """Without a zone, more lenient, or of a day or second that there is not."""
    assert parse_exactly(text) is None
    assert parse_moment(text) is None


@given(
    moment=st.datetimes(_FIRST, _LAST),
    offset=st.integers(-1_439, 1_439),
    digits=st.sampled_from([0, 3, 6]),
)
@settings(max_examples=500, deadline=None)
def test_what_datetime_writes_is_read(moment: datetime, offset: int, digits: int) -> None:
    """With and without a fraction, in any zone."""
    cut = moment.replace(microsecond=moment.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits))
    zoned = cut.replace(tzinfo=timezone(timedelta(minutes=offset)))
    timespec = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]
    micros = (zoned - _EPOCH) // timedelta(microseconds=1)
    ms, rest = divmod(micros, 1_000)
    assert parse_exactly(zoned.isoformat(timespec=timespec)) == (ms, f"{rest:03}".rstrip("0"))


def test_a_moment_is_rounded_up_to_where_both_ends_of_a_span_are_right() -> None:
    """At the millisecond below the moment has not come, at the one above it has."""
    text = "2026-12-01T09:00:00.0005Z"
    assert parse_moment(text) == 1_796_115_600_001


def test_a_long_fraction_is_kept_digit_by_digit() -> None:
    """As long as there can be one."""
    digits = MAX_MOMENT_CHARS - len("2026-12-01T09:00:00.Z")
    moment = parse_exactly("2026-12-01T09:00:00." + "1" * digits + "Z")
    assert moment == (1_796_115_600_111, "1" * (digits - 3))


@pytest.mark.parametrize("digits", [MAX_MOMENT_CHARS - 20, 1_000_000])
def test_a_fraction_longer_than_anybody_writes_makes_no_moment(digits: int) -> None:
    """It is not even read: a context could hold a megabyte of it for every rule."""
    assert parse_exactly("2026-12-01T09:00:00." + "1" * digits + "Z") is None
