"""What clocks show, in every zone, at any moment."""

from datetime import UTC, datetime
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.operators.zones import is_zone, nearest_zone, wall_clock

NAMES = (files("tzdata") / "zones").read_text().split()
_CYCLE_MS = 146_097 * 86_400_000
_WEEK = 7 * 86_400


def test_every_zone_can_be_asked_at_any_time() -> None:
    """Within a day of UTC, whatever the moment."""
    for zone in NAMES:
        assert is_zone(zone)
        shown = wall_clock(zone)
        for year in (1, 99, 100, 1900, 1970, 2026, 2037, 2038, 8_999, 9_000):
            seconds = int(datetime(year, 7, 1, tzinfo=UTC).timestamp())
            offset = (shown(seconds * 1_000) - seconds) % _WEEK
            assert min(offset, _WEEK - offset) <= 16 * 3_600, zone


@given(moment=st.integers(-(2**63), 2**63 - 1), cycles=st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_the_calendar_repeats_itself(moment: int, cycles: int) -> None:
    """Beyond what `datetime` reaches, time of day and weekday are those of 400 years nearer."""
    future = abs(moment) + 221_845_392_000_000
    for zone in ("Europe/Berlin", "America/Santiago"):
        shown = wall_clock(zone)
        assert shown(future) % _WEEK == shown(future + cycles * _CYCLE_MS) % _WEEK
        past = -abs(moment) - 62_000_000_000_000
        assert shown(past) % _WEEK == shown(past - cycles * _CYCLE_MS) % _WEEK


def test_the_edges_fit_to_what_is_between_them() -> None:
    """The first and last moment that `datetime` is asked about, and their neighbours."""
    shown = wall_clock("Europe/Berlin")
    for edge in (-59_011_459_200_000, 221_845_392_000_000):
        steps = [shown(edge + step * 1_000) % _WEEK for step in (-1, 0, 1)]
        assert [(later - steps[0]) % _WEEK for later in steps] == [0, 1, 2]


@pytest.mark.parametrize(
    "name", ["", "Europe", "zones", "posixrules", "../tzdata", "Europe/Berlin "]
)
def test_what_is_no_zone(name: str) -> None:
    """Folders and files of the package are none."""
    assert not is_zone(name)


def test_the_nearest_zone_is_found_by_its_city() -> None:
    """Or there is none."""
    assert nearest_zone("new_york") == "America/New_York"
    assert nearest_zone("Europe/Tokyo") == "Asia/Tokyo"
    assert nearest_zone("qqqqqq") is None
