"""Time zones: what the clocks on the wall of a place show at a moment.

Zones are those of the package `tzdata`, never the host's: whether a rule holds may not depend on
which image a sidecar runs in. Reading a zone's rules from that package is the one thing the engine
reads besides its code; they come with an installed version, as code does, and are kept.

The calendar repeats every 400 years, weekdays too, and so does what the last rule of a zone says;
before a zone's first rule nothing changes. So any moment is moved to where `datetime` reaches.
"""

from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

__all__ = ["is_zone", "nearest_zone", "wall_clock"]

DAY_S = 86_400
_CYCLE_S = 146_097 * DAY_S
_FIRST_S = -59_011_459_200
"""The year 100: long before any zone."""
_LAST_S = 221_845_392_000
"""The year 9000: long after the last rule began to repeat."""


def wall_clock(zone: str) -> Callable[[int], int]:
    """Return what gives the seconds since 1970 that clocks show at a moment, in Unix milliseconds.

    They have right weekdays and times of day; for any integer.
    """
    if zone == "UTC":
        return lambda moment_ms: moment_ms // 1_000
    rules = _rules(zone)

    def shown(moment_ms: int) -> int:
        seconds = moment_ms // 1_000
        if seconds < _FIRST_S:
            seconds = _FIRST_S + (seconds - _FIRST_S) % _CYCLE_S
        elif seconds >= _LAST_S:
            seconds = _LAST_S - _CYCLE_S + (seconds - _LAST_S) % _CYCLE_S
        offset = datetime.fromtimestamp(seconds, rules).utcoffset()
        return seconds + offset.days * DAY_S + offset.seconds if offset else seconds

    return shown


def is_zone(name: str) -> bool:
    """Return whether there is a zone of that name."""
    return name in _names()


@lru_cache(maxsize=256)
def nearest_zone(name: str) -> str | None:
    """Return the zone that was probably meant; takes up to a millisecond."""
    shown = name[:_MOST_CHARS].casefold()
    city = shown.rpartition("/")[2]
    by_folded, by_city = _folded()
    for exact, names in ((shown, by_folded), (city, by_city)):
        if exact in names:
            return names[exact]
    for near, names in ((shown, by_folded), (city, by_city)):
        found = get_close_matches(near, names, n=1, cutoff=0.8)
        if found:
            return names[found[0]]
    return None


_MOST_CHARS = 40
"""Of a zone's name; there is none as long."""


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=1)
def _folded() -> tuple[dict[str, str], dict[str, str]]:
    """Return the zones by their names, and by the last part of them, in one case."""
    names = sorted(_names())
    by_folded = {name.casefold(): name for name in names}
    return by_folded, {name.rpartition("/")[2].casefold(): name for name in names}


@cache
def _rules(name: str) -> ZoneInfo:
    """Return the rules of a zone that there is; there are some 600."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
