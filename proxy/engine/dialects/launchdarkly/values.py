"""Values as LaunchDarkly's operators take them: numbers, moments, versions; nothing is coerced.

As the evaluator of its Go SDK reads them, which the others follow: what one of them reads
otherwise is not in LaunchDarkly's own tests.

Rules:
- A number is one of double precision. Integers up to 2**53 are the same, larger ones are rounded.
- A moment is RFC 3339, where an hour may have one digit, an offset may be up to 99 hours, a day may
  be the 31st of any month, a fraction has at most nine digits, and after a `Z` may come anything;
  or a number of Unix milliseconds, without its fraction.
- A version is one of SemVer 2.0.0 in which minor and patch may be left out.
- Nothing here raises for any JSON value.
"""

import re
from datetime import date
from typing import Any

from proxy.engine.limits import MAX_VERSION_CHARS
from proxy.engine.times import Moment, parse_exactly

__all__ = ["moment", "number", "version"]

_EXACT = 2**53

_INFINITY = float("inf")


def number(value: Any) -> int | float | None:
    """Return a number in double precision, None for what is none."""
    kind = value.__class__
    if kind is float or (kind is int and -_EXACT <= value <= _EXACT):
        return value  # type: ignore[no-any-return]  # its class says so
    if kind is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return _INFINITY if value > 0 else -_INFINITY


# Moments

_PLAIN_CHARS = 30
"""A moment that is not longer, and that is RFC 3339, is what that says it is."""

_LENIENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz].*|([+-])([0-9]{2}):([0-9]{2}))",
    re.DOTALL,
)

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
"""The calendar repeats itself; for the year 0, which Python's does not have."""


def moment(value: Any) -> Moment | None:
    """Return a value as a moment, None for what is none."""
    kind = value.__class__
    if kind is str:
        if len(value) <= _PLAIN_CHARS:
            found = parse_exactly(value)
            if found is not None:
                return found
        return _lenient(value)
    exact = number(value)
    if exact is None or not -_INFINITY < exact < _INFINITY:
        return None
    return int(exact), ""


def _lenient(text: str) -> Moment | None:
    match = _LENIENT.fullmatch(text)
    if match is None:
        return None
    fraction, sign = match[7] or "", match[8]
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    offset_hours, offset_minutes = (int(match[9]), int(match[10])) if sign else (0, 0)
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 60):
        return None
    if offset_minutes > 59:
        return None
    days = date(year + _CYCLE_YEARS, month, 1).toordinal() - _CYCLE_DAYS + day - 1 - _EPOCH_DAY
    offset = (offset_hours * 60 + offset_minutes) * 60
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    seconds += offset if sign == "-" else -offset
    whole, rest = fraction[:3].ljust(3, "0"), fraction[3:].rstrip("0")
    return seconds * 1_000 + int(whole), rest


# Versions

_NUMBER = r"(0|[1-9][0-9]*)"
_TEXT = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*+"
_VERSION = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER})?)?(?:-({_TEXT}))?+(?:\+{_TEXT})?+")
"""Never goes back to try again: no part can begin with what the one before may end with."""

_Identifier = tuple[int, int, str]
_PreRelease = tuple[_Identifier, ...]
Version = tuple[int, int, int, _PreRelease]
"""Compares by precedence: a release is after what was before it, numbers are before texts."""

_RELEASED: _PreRelease = ((2, 0, ""),)

_COUNTS: dict[str, _Identifier] = {str(count): (0, count, "") for count in range(100)}
"""Most of the identifiers that are numbers."""


def version(value: Any) -> Version | None:
    """Return a value as a version, None for what is none, or is too long."""
    if value.__class__ is not str or len(value) > MAX_VERSION_CHARS:
        return None
    match = _VERSION.fullmatch(value)
    if match is None:
        return None
    major, minor, patch, pre_release = match.groups()
    if pre_release is None:
        return int(major), int(minor or 0), int(patch or 0), _RELEASED
    identifiers = []
    for text in pre_release.split("."):
        identifier = _COUNTS.get(text)
        if identifier is None:
            if not text.isdigit():
                identifier = (1, 0, text)
            elif text[0] == "0":
                return None
            else:
                identifier = (0, int(text), "")
        identifiers.append(identifier)
    return int(major), int(minor or 0), int(patch or 0), tuple(identifiers)
