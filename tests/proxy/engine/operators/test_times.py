"""What is before, after, on a weekday, at a time of day."""

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.contract.codes import Severity
from proxy.engine.operators.times import moment_ms, span_after, span_before
from proxy.engine.times import EVER
from tests.proxy.engine.builders import compiled, rule
from tests.proxy.engine.operators.samples import holds, leaf_test, problems_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def written(moment: datetime, fraction: str = "") -> str:
    """Return a moment as RFC 3339, in its own zone."""
    offset = moment.strftime("%z")
    return (
        moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        + fraction
        + f"{offset[:3]}:{offset[3:]}"
    )


def naive(*parts: int) -> datetime:
    """Return a bound for `st.datetimes`, which takes no zone there."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - said above


_offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
_datetimes = st.datetimes(
    naive(1001, 1, 2), naive(9998, 12, 30), timezones=_offsets
) | st.datetimes(naive(2026, 1, 1), naive(2026, 1, 2), timezones=_offsets)
_fractions = st.text(alphabet="0019", max_size=8).map(lambda digits: "." + digits if digits else "")


@st.composite
def moments(draw: st.DrawFn) -> tuple[Any, Fraction]:
    """Draw a moment as JSON, and what it is in milliseconds."""
    if draw(st.integers(0, 2)) == 0:
        number = draw(st.integers(-(10**15), 10**15) | st.floats(-1e15, 1e15))
        return number, Fraction(number)
    moment, fraction = draw(_datetimes).replace(microsecond=0), draw(_fractions)
    seconds = Fraction((moment - _EPOCH) // timedelta(seconds=1)) + Fraction(fraction or 0)
    return written(moment, fraction), seconds * 1_000


@given(
    wanted=moments().filter(lambda m: not isinstance(m[0], float)),
    others=st.lists(moments(), min_size=1, max_size=10),
)
@settings(max_examples=300, deadline=None)
def test_before_and_after_are_exact(
    wanted: tuple[Any, Fraction], others: list[tuple[Any, Fraction]]
) -> None:
    """In any zone, with any number of digits, as text and as number."""
    before, after = leaf_test("before", wanted[0]), leaf_test("after", wanted[0])
    for value, exact in [*others, wanted]:
        assert before(value) is (exact < wanted[1])
        assert after(value) is (exact > wanted[1])


@given(wanted=moments().filter(lambda m: not isinstance(m[0], float)), near=st.integers(-2, 2))
@settings(max_examples=300, deadline=None)
def test_a_span_of_the_time_is_the_same_as_the_time_as_an_attribute(
    wanted: tuple[Any, Fraction], near: int
) -> None:
    """Without an attribute, `before` and `after` become windows; at their edges too."""
    now_ms = int(wanted[1] // 1) + near
    for op in ("before", "after"):
        for negate in (False, True):
            leaf = {"op": op, "values": [wanted[0]], "negate": negate}
            flag = compiled(rules=[rule(leaf)])
            expected = holds(now_ms, op, wanted[0], negate=negate)
            assert (flag.evaluate({}, now_ms).variant == "on") is expected


def test_a_span_is_bounded() -> None:
    """Whatever integer a definition has."""
    assert span_before(10**30) == EVER
    assert span_after(-(10**30)) == EVER
    assert span_before(-(10**30)) == (EVER[0], EVER[0])
    assert span_after(10**30) == (EVER[1], EVER[1])


@pytest.mark.parametrize(
    ("value", "op", "wanted"),
    [
        ("2026-12-01T09:00:00Z", "after", "2026-12-01T08:59:59Z"),
        ("2026-12-01T10:00:00+01:00", "after", "2026-12-01T08:59:59.999999999Z"),
        ("2026-12-01T09:00:00.0000000001Z", "after", "2026-12-01T09:00:00Z"),
        ("2026-12-01T09:00:00.0005Z", "after", "2026-12-01T09:00:00.000456Z"),
        ("2026-12-01t09:00:00z", "before", "2026-12-01T09:00:01Z"),
        (1_796_115_599_999, "before", "2026-12-01T09:00:00Z"),
        (1_796_115_600_000.5, "after", "2026-12-01T09:00:00.0004Z"),
        (10**400, "after", "9999-12-31T23:59:59Z"),
        (-(10**400), "before", "0000-01-01T00:00:00Z"),
        ("2026-12-01T09:00:00Z", "before", 1_796_115_600_001),
    ],
)
def test_true(value: Any, op: str, wanted: Any) -> None:
    """Text with text, number with text, text with number."""
    assert holds(value, op, wanted)


@pytest.mark.parametrize(
    "value",
    [
        *("", "2026-12-01", "2026-12-01T09:00:00", "2026-12-01 09:00:00Z", "20261201T090000Z"),
        *("2026-12-01T09:00Z", "2026-02-30T09:00:00Z", "2026-12-01T24:00:00Z", "1796115600000"),
        *(float("nan"), float("inf"), -float("inf"), True, False, [], {}, [1], None),
    ],
)
def test_what_is_no_moment_is_neither_before_nor_after_nor_on_a_day(value: Any) -> None:
    """Naive times are another moment on each machine."""
    assert not holds(value, "before", "9999-12-31T23:59:59Z")
    assert not holds(value, "after", "0000-01-01T00:00:00Z")
    assert not holds(value, "weekday", *DAYS)
    low, high = {"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"}
    assert not holds(value, "time_of_day", **low)
    assert not holds(value, "time_of_day", **high)
    assert moment_ms(value) is None


ZONES = [
    *(
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Monrovia",
    ),
    *(
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Pacific/Kiritimati",
        "Europe/Dublin",
        "Etc/GMT+12",
    ),
]

_instants = st.integers(-(10**13), 1_700_000_000_000) | st.integers(
    1_000_000_000_000, 1_700_000_000_000
)


def clock(now_ms: int, zone: str) -> datetime:
    """Return what a clock in a zone shows, by the standard library."""
    return (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(ZoneInfo(zone))


@given(
    zone=st.sampled_from(ZONES), now_ms=_instants, days=st.sets(st.sampled_from(DAYS), min_size=1)
)
@settings(max_examples=300, deadline=None)
def test_a_weekday_is_that_of_the_zone(zone: str, now_ms: int, days: set[str]) -> None:
    """Of numbers, also before 1970."""
    expected = DAYS[clock(now_ms, zone).weekday()] in days
    assert holds(now_ms, "weekday", *days, zone=zone) is expected


_times = st.times().map(lambda t: t.strftime("%H:%M:%S")) | st.times().map(
    lambda t: t.strftime("%H:%M")
)


@given(zone=st.sampled_from(ZONES), now_ms=_instants, low=_times, high=_times)
@settings(max_examples=300, deadline=None)
def test_a_time_of_day_is_that_of_the_zone(zone: str, now_ms: int, low: str, high: str) -> None:
    """`from` is in it and `to` is not; `from` after `to` goes over midnight."""
    assume((low + ":00")[:8] != (high + ":00")[:8])
    shown = clock(now_ms, zone).strftime("%H:%M:%S.%f")
    expected = low <= shown < high if low < high else shown >= low or shown < high
    assert holds(now_ms, "time_of_day", **{"from": low, "to": high}, zone=zone) is expected


@pytest.mark.parametrize(
    ("moment", "low", "high", "expected"),
    [
        # clocks go from 02:00 to 03:00
        ("2026-03-29T00:59:59Z", "01:00", "02:00", True),
        ("2026-03-29T01:00:00Z", "02:00", "03:00", False),
        ("2026-03-29T01:00:00Z", "03:00", "04:00", True),
        # clocks go from 03:00 back to 02:00
        ("2026-10-25T00:00:00Z", "02:00", "03:00", True),
        ("2026-10-25T00:59:59.999Z", "02:00", "03:00", True),
        ("2026-10-25T01:00:00Z", "02:00", "03:00", True),
        ("2026-10-25T01:59:59Z", "02:00", "03:00", True),
        ("2026-10-25T02:00:00Z", "02:00", "03:00", False),
        # winter and summer
        ("2026-01-15T08:30:00Z", "09:00", "10:00", True),
        ("2026-07-15T07:30:00Z", "09:00", "10:00", True),
        # over midnight
        ("2026-01-15T22:59:59Z", "00:00", "06:00", False),
        ("2026-01-15T23:00:00Z", "00:00", "06:00", True),
        ("2026-01-15T21:00:00Z", "22:00", "06:00", True),
        ("2026-01-16T04:59:59.9999Z", "22:00", "06:00", True),
        ("2026-01-16T05:00:00Z", "22:00", "06:00", False),
        ("2026-01-16T22:59:59Z", "18:00", "00:00", True),
        ("2026-01-16T23:00:00Z", "18:00", "00:00", False),
        ("2026-01-16T09:00:30Z", "10:00:30", "10:00:31", True),
        ("2026-01-16T09:00:31Z", "10:00:30", "10:00:31", False),
        # the text's own zone says only which moment
        ("2026-01-15T00:30:00+14:00", "11:00", "12:00", True),
    ],
)
def test_clocks_in_berlin(moment: str, low: str, high: str, expected: bool) -> None:
    """On the days that are 23 and 25 hours long, in both halves of the year, at the edges."""
    options = {"from": low, "to": high, "zone": "Europe/Berlin"}
    assert holds(moment, "time_of_day", **options) is expected


def test_a_weekday_without_a_zone_is_of_utc() -> None:
    """The text's own zone does not count."""
    assert holds("2026-12-05T00:30:00+01:00", "weekday", "fri")
    assert holds("2026-12-05T00:30:00+01:00", "weekday", "sat", zone="Europe/Berlin")
    assert not holds("2026-12-05T00:30:00+01:00", "weekday", "sat", "sun")


ON_DAY = {
    zone: [leaf_test("weekday", day, zone=zone) for day in DAYS]
    for zone in ("UTC", "Europe/Berlin", "Australia/Lord_Howe")
}


@pytest.mark.parametrize("zone", ON_DAY)
@given(now_ms=st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**400), 10**400))
@settings(max_examples=50, deadline=None)
def test_any_integer_is_on_one_weekday(zone: str, now_ms: int) -> None:
    """That of UTC, or its neighbour; and the day after it on the next one."""
    [day] = [i for i in range(7) if ON_DAY[zone][i](now_ms)]
    in_utc = (now_ms // 86_400_000 + DAYS.index("thu")) % 7
    assert (day - in_utc + 1) % 7 <= 2
    assert ON_DAY["UTC"][(in_utc + 1) % 7](now_ms + 86_400_000)


@pytest.mark.parametrize(
    "value",
    ["tomorrow", "2026-12-01", "2026-12-01T09:00:00", "2026-12-01 09:00:00Z", "", "x" * 10_000],
)
def test_a_wanted_moment_that_is_none_is_a_problem(value: str) -> None:
    """The hint shows two that are."""
    [problem] = problems_of("before", value)
    assert (problem.pointer, problem.code) == ("/values/0", "invalid_time")
    assert "+01:00" in problem.hint
    assert len(problem.message) < 200


def test_seconds_for_milliseconds_are_a_warning() -> None:
    """Both dates are shown; numbers that are no date of our time in seconds are left alone."""
    [problem] = problems_of("after", 1_796_115_600)
    assert (problem.pointer, problem.severity) == ("/values/0", Severity.WARNING)
    assert "1970-01-21" in problem.message
    assert "2026-12-01" in problem.hint
    for fine in (0, -1, 10**8 - 1, 10**10, 1_796_115_600_000, -1_796_115_600):
        assert problems_of("after", fine) == []


@pytest.mark.parametrize(("value", "hint"), [("Monday", "'mon'"), ("SUN", "'sun'"), ("x", "tue")])
def test_a_weekday_of_another_name_is_a_problem(value: str, hint: str) -> None:
    """The nearest is named, or all."""
    [problem] = problems_of("weekday", "mon", value)
    assert (problem.pointer, problem.code) == ("/values/1", "operator_values")
    assert hint in problem.hint


@pytest.mark.parametrize(
    "value",
    [
        "",
        "9:00",
        "09",
        "24:00",
        "09:60",
        "09:00:60",
        "09:00Z",
        "09.00",
        "09:00 ",
        "\u0660\u0669:00",
        "x" * 9_999,
    ],
)
def test_what_is_no_time_of_day_is_a_problem(value: str) -> None:
    """At `from` or `to`."""
    for option in ("from", "to"):
        other = {"from": "to", "to": "from"}[option]
        [problem] = problems_of("time_of_day", **{option: value, other: "12:00"})
        assert (problem.pointer, problem.code) == (f"/{option}", "invalid_time")
        assert len(problem.message) < 200


@pytest.mark.parametrize(("low", "high"), [("09:00", "09:00"), ("09:00", "09:00:00")])
def test_a_span_of_no_time_is_a_problem(low: str, high: str) -> None:
    """It could be meant to be never, or always."""
    [problem] = problems_of("time_of_day", **{"from": low, "to": high})
    assert (problem.pointer, problem.code) == ("/to", "invalid_time")
    assert "whole day" in problem.hint


@pytest.mark.parametrize(
    ("zone", "nearest"),
    [
        ("Europe/Berln", "'Europe/Berlin'"),
        ("europe/berlin", "'Europe/Berlin'"),
        ("Berlin", "'Europe/Berlin'"),
        ("utc", "'UTC'"),
        ("", "Europe/Berlin"),
        ("../../etc/passwd", "Europe/Berlin"),
        ("x" * 10_000, "Europe/Berlin"),
        ("\ud800", "Europe/Berlin"),
        ("+01:00", "Europe/Berlin"),
    ],
)
def test_a_zone_that_there_is_not_is_a_problem(zone: str, nearest: str) -> None:
    """With the one that was meant."""
    for op, members in (
        ("weekday", {"values": ["mon"]}),
        ("time_of_day", {"from": "09:00", "to": "10:00"}),
    ):
        [problem] = problems_of(op, **members, zone=zone)
        assert (problem.pointer, problem.code) == ("/zone", "unknown_zone")
        assert nearest in problem.hint
        assert len(problem.message) < 200
