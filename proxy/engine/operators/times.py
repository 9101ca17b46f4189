"""Before and after a moment, on which weekday, at what time of day.

They are of an attribute, RFC 3339 text with a zone or a number of Unix milliseconds, or, without
one, of the time of the evaluation. What is no moment, such as text without a zone, makes them
false. `before` and `after` are exact below the millisecond, too.

Weekdays and times of day are those of `zone`, UTC where none is given, also for text that has a
zone of its own: the text says which moment, `zone` whose clock. `from` is in a time of day, `to`
is not; `from` after `to` goes over midnight. When clocks are put forward, the hour they jump over
does not come; when they are put back, an hour comes twice.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC as DATETIME_UTC
from datetime import datetime
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine.operators.model import Fault, Leaf, Options
from proxy.engine.operators.zones import DAY_S, is_zone, nearest_zone, wall_clock
from proxy.engine.times import EVER, Moment, parse_exactly

__all__ = [
    "after",
    "before",
    "check_instant",
    "check_time_of_day",
    "check_weekdays",
    "moment_ms",
    "span_after",
    "span_before",
    "time_of_day",
    "weekday",
]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_EPOCH_WEEKDAY = 3
"""1970 began on a Thursday."""

_INFINITY = float("inf")

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")

_SECONDS = range(10**8, 10**10)
"""Numbers that are 1970 in milliseconds, and 1973 to 2286 in seconds."""


def moment_ms(value: Any) -> int | None:
    """Return a JSON value as Unix milliseconds, rounded down, None for what is no moment."""
    kind = value.__class__
    if kind is int:
        return value  # type: ignore[no-any-return]  # its class says so
    if kind is str:
        moment = parse_exactly(value)
        return None if moment is None else moment[0]
    if kind is float and -_INFINITY < value < _INFINITY:
        return int(value // 1)
    return None


def span_before(value: str | int) -> tuple[int, int]:
    """Return the half-open span of whole milliseconds before a moment."""
    ms, rest = _moment(value)
    return EVER[0], _within_ever(ms + (rest != ""))


def span_after(value: str | int) -> tuple[int, int]:
    """Return the half-open span of whole milliseconds after a moment."""
    return _within_ever(_moment(value)[0] + 1), EVER[1]


def _within_ever(moment: int) -> int:
    return max(EVER[0], min(moment, EVER[1]))


def before(values: Sequence[Any], _options: Options) -> Leaf:
    """Return whether a value is a moment before another."""
    wanted = _moment(values[0])
    exact = _exact(wanted)

    def is_before(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            moment = parse_exactly(value)
            return moment is not None and moment < wanted
        return (kind is int or (kind is float and value > -_INFINITY)) and bool(value < exact)

    return Leaf("{0}({f})", (is_before,))


def after(values: Sequence[Any], _options: Options) -> Leaf:
    """Return whether a value is a moment after another."""
    wanted = _moment(values[0])
    exact = _exact(wanted)

    def is_after(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            moment = parse_exactly(value)
            return moment is not None and moment > wanted
        return (kind is int or (kind is float and value < _INFINITY)) and bool(value > exact)

    return Leaf("{0}({f})", (is_after,))


def _moment(value: str | int) -> Moment:
    """Return a literal that was found to be a moment."""
    moment = parse_exactly(value) if isinstance(value, str) else (value, "")
    assert moment is not None, "checked"  # noqa: S101 - for the type
    return moment


def _exact(moment: Moment) -> int | Fraction:
    """Return a moment as a number; with both kinds Python compares exactly, floats too."""
    ms, rest = moment
    return ms + Fraction(int(rest), 10 ** len(rest)) if rest else ms


def weekday(values: Sequence[Any], options: Options) -> Leaf:
    """Return whether a value is a moment on one of the weekdays."""
    wanted = frozenset(WEEKDAYS.index(value) for value in values)
    shown = wall_clock(options.zone)

    def is_on(value: Any) -> bool:
        moment = moment_ms(value)
        if moment is None:
            return False
        return (shown(moment) // DAY_S + _EPOCH_WEEKDAY) % 7 in wanted

    return Leaf("{0}({f})", (is_on,))


def time_of_day(_values: Sequence[Any], options: Options) -> Leaf:
    """Return whether a value is a moment at a time of day."""
    low, high = _clock(str(options.from_)), _clock(str(options.to))
    assert low is not None, "checked"  # noqa: S101 - for the type
    assert high is not None, "checked"  # noqa: S101 - for the type
    shown = wall_clock(options.zone)
    length = (high - low) % DAY_S

    def is_at(value: Any) -> bool:
        moment = moment_ms(value)
        return moment is not None and (shown(moment) - low) % DAY_S < length

    return Leaf("{0}({f})", (is_at,))


def _clock(text: str) -> int | None:
    """Return the seconds since midnight of `HH:MM` or `HH:MM:SS`, None for what is neither."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    return int(match[1]) * 3_600 + int(match[2]) * 60 + int(match[3] or 0)


def check_instant(values: Sequence[Any], _options: Options) -> Iterator[Fault | None]:
    """Yield what is no moment, and, as a warning, seconds where milliseconds are meant."""
    [value] = values
    where = ("values", 0)
    if value.__class__ is int:
        if value in _SECONDS:
            read, meant = (_date(n) for n in (value // 1_000, value))
            message = f"{value} is in milliseconds, so it is of {read}"
            hint = f"with three zeros more it is of {meant}"
            yield Fault(where, ProblemCode.INVALID_TIME, message, hint, Severity.WARNING)
    elif parse_exactly(value) is None:
        shown = value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "..."
        message = f"{shown!r} is no date and time of RFC 3339 with a zone"
        hint = "write it as 2026-12-01T09:00:00Z or 2026-12-01T10:00:00+01:00"
        yield Fault(where, ProblemCode.INVALID_TIME, message, hint)


_SHOWN_CHARS = 40

_VALUES_A_STEP = 20  # each of which may be wrong, and have a nearest one


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, DATETIME_UTC).date().isoformat()


def check_weekdays(values: Sequence[Any], options: Options) -> Iterator[Fault | None]:
    """Yield what is no weekday, and a zone that there is not."""
    for index, value in enumerate(values):
        if index % _VALUES_A_STEP == _VALUES_A_STEP - 1:
            yield None
        if value not in WEEKDAYS:
            shown = value[:_SHOWN_CHARS]
            nearest = get_close_matches(shown[:3].lower(), WEEKDAYS, n=1, cutoff=0.6)
            hint = f"the nearest is {nearest[0]!r}" if nearest else f"one of {', '.join(WEEKDAYS)}"
            message = f"{shown!r} is no weekday"
            yield Fault(("values", index), ProblemCode.OPERATOR_VALUES, message, hint)
    yield from _check_zone(options)


def check_time_of_day(_values: Sequence[Any], options: Options) -> Iterator[Fault | None]:
    """Yield what is no time of day, an empty span of them, and a zone that there is not."""
    clocks = []
    for name, text in (("from", options.from_), ("to", options.to)):
        if text is None:
            continue  # missing, which is said of every option that is needed
        clocks.append(_clock(text))
        if clocks[-1] is None:
            message = f"{text[:_SHOWN_CHARS]!r} is no time of day"
            hint = "write it as HH:MM or HH:MM:SS, from 00:00 to 23:59:59; midnight is 00:00"
            yield Fault((name,), ProblemCode.INVALID_TIME, message, hint)
    if len(clocks) == 2 and clocks[0] == clocks[1] is not None:
        message = "from and to are the same, so no time is between them"
        hint = "for the whole day, leave the condition out"
        yield Fault(("to",), ProblemCode.INVALID_TIME, message, hint)
    yield from _check_zone(options)


def _check_zone(options: Options) -> Iterator[Fault | None]:
    if not is_zone(options.zone):
        yield None
        nearest = nearest_zone(options.zone)
        hint = f"the nearest is {nearest!r}" if nearest else "write it as Europe/Berlin"
        message = f"there is no time zone {options.zone[:_SHOWN_CHARS]!r}"
        yield Fault(("zone",), ProblemCode.UNKNOWN_ZONE, message, hint)
