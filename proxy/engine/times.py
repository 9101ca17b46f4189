"""Moments: RFC 3339 text as Unix time, exactly. Knows no operator and no clock.

A moment is a count of whole milliseconds and what is left below one. The rest is kept as the
decimal digits that were written, without zeros at the end, because digits compare in the order of
the time they stand for, however many there are.

    2026-12-01T09:00:00.1234560Z  ->  (1796115600123, "456")

Rules:
- RFC 3339 and nothing more lenient: `T`, seconds and a zone are needed. A moment without a zone is
  none: it would be another one on each machine.
- A leap second counts as the first second after it, as in POSIX time, and is taken only where one
  can be: at the end of a month in UTC.
- No text makes anything here raise.
"""

import re
from datetime import date

__all__ = ["Moment", "parse_exactly", "parse_moment"]

Moment = tuple[int, str]
"""Whole milliseconds since 1970, and the decimal digits below one, without zeros at the end."""

_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)

_EPOCH_DAY = date(1970, 1, 1).toordinal()

_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097
"""The calendar repeats itself, weekdays too; for the year 0, which Python's does not have."""


def parse_moment(text: str) -> int | None:
    """Return RFC 3339 with a zone as Unix milliseconds, rounded up; None for anything else.

    Rounded up, a time in whole milliseconds is on the same side of it as of the moment itself:
    `now >= from` and `now < until` are exact.
    """
    moment = parse_exactly(text)
    return None if moment is None else moment[0] + (moment[1] != "")


def parse_exactly(text: str) -> Moment | None:
    """Return RFC 3339 with a zone as a moment, None for anything else."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    days = _day(int(year), int(month), int(day))
    minutes = int(hour) * 60 + int(minute)
    seconds = int(second)
    if days is None or hour > "23" or minute > "59" or seconds > 60:
        return None
    if sign is not None:
        if off_hour > "23" or off_minute > "59":
            return None
        offset = int(off_hour) * 60 + int(off_minute)
        minutes += offset if sign == "-" else -offset
    total = days * 86_400 + minutes * 60 + seconds
    if seconds == 60 and not _starts_month(total):
        return None
    if fraction is None:
        return total * 1_000, ""
    return total * 1_000 + int(fraction[:3].ljust(3, "0")), fraction[3:].rstrip("0")


def _day(year: int, month: int, day: int) -> int | None:
    """Return the days since 1970, None for a date that there is not."""
    cycles = 0 if year else 1
    try:
        ordinal = date(year + cycles * _CYCLE_YEARS, month, day).toordinal()
    except ValueError:
        return None
    return ordinal - cycles * _CYCLE_DAYS - _EPOCH_DAY


def _starts_month(seconds: int) -> bool:
    """Return whether a month starts at a time, in UTC."""
    days, rest = divmod(seconds, 86_400)
    ordinal = (days + _EPOCH_DAY - 1) % _CYCLE_DAYS + 1
    return rest == 0 and date.fromordinal(ordinal).day == 1
