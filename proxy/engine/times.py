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
- Text of more than `MAX_MOMENT_CHARS`, which has some 40 digits of a fraction, is none.
- No text makes anything here raise.
"""

import re
from datetime import date, datetime

from proxy.engine.limits import MAX_MOMENT_CHARS

__all__ = ["EVER", "Moment", "parse_exactly", "parse_moment"]

Moment = tuple[int, str]
"""Whole milliseconds since 1970, and the decimal digits below one, without zeros at the end."""

EVER = (-(2**63), 2**63)
"""A span of Unix milliseconds that every moment is in."""

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-6][0-9]"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of UTC, as what is subtracted from it
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
    if len(text) > MAX_MOMENT_CHARS:
        return None
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    fraction, sign, hours, minutes = match.groups()
    offset = 0
    if sign is not None:
        offset = int(hours) * 3_600 + int(minutes) * 60
        offset = -offset if sign == "-" else offset
    try:
        since = datetime.fromisoformat(text[:19]) - _EPOCH
        seconds = since.days * 86_400 + since.seconds - offset
    except ValueError:
        unusual = _unusual(text, offset)
        if unusual is None:
            return None
        seconds = unusual
    if fraction is None:
        return seconds * 1_000, ""
    if len(fraction) <= 3:
        return seconds * 1_000 + int(fraction.ljust(3, "0")), ""
    return seconds * 1_000 + int(fraction[:3]), fraction[3:].rstrip("0")


def _unusual(text: str, offset: int) -> int | None:
    """Return the seconds since 1970 where there is a leap second, or the year 0; else None."""
    cycles = 1 if text.startswith("0000") else 0
    leaps = 1 if text[17:19] == "60" else 0
    year, second = int(text[:4]) + cycles * _CYCLE_YEARS, int(text[17:19]) - leaps
    try:
        since = datetime.fromisoformat(f"{year:04}{text[4:17]}{second:02}") - _EPOCH
    except ValueError:
        return None
    days = since.days - cycles * _CYCLE_DAYS
    seconds = days * 86_400 + since.seconds + leaps - offset
    return seconds if not leaps or _starts_month(seconds) else None


def _starts_month(seconds: int) -> bool:
    """Return whether a month starts at a time, in UTC."""
    days, rest = divmod(seconds, 86_400)
    ordinal = (days + _EPOCH_DAY - 1) % _CYCLE_DAYS + 1
    return rest == 0 and date.fromordinal(ordinal).day == 1
