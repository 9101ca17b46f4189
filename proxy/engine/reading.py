"""Leaves and spans of time in words: what a condition asks, and what the context has to say to it.

Only for explanations. Knows which operators are for text, numbers, lists and times, so that a value
of another type, which makes a leaf false, is named as what is wrong.
"""

from typing import Any

from msgspec import UnsetType

from proxy.contract.definitions import Condition
from proxy.contract.problems import json_kind
from proxy.engine.operators import OPERATORS
from proxy.engine.operators.times import moment_ms
from proxy.engine.operators.zones import wall_clock
from proxy.engine.program import ALWAYS, Probe
from proxy.engine.shown import compact, moment, several, text

__all__ = ["because_of", "leaf_text", "span_text"]

_FOR: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("gt", "gte", "lt", "lte"), ((int, float), "numbers")),
    **dict.fromkeys(("contains", "starts_with", "ends_with", "matches"), ((str,), "text")),
    **dict.fromkeys(
        ("semver_eq", "semver_gt", "semver_gte", "semver_lt", "semver_lte", "semver_match"),
        ((str,), "text"),
    ),
    "in_cidr": ((str,), "text"),
    **dict.fromkeys(("any_of", "all_of", "none_of", "size_gt", "size_lt"), ((list,), "lists")),
    **dict.fromkeys(
        ("equals", "not_equals", "in", "not_in"), ((str, int, float, bool), "single values")
    ),
}
"""What an operator is for, as classes and as a word; others than these take any type."""

_CLOCKS = ("weekday", "time_of_day")
_DAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
_DAY_S = 86_400


def leaf_text(name: str | None, source: Any, *, negated: bool) -> str:
    """Return a leaf as a person would say it; without a name it is of the time.

    `source` is what the author wrote, `negated` whether it is the opposite of what was compiled.
    """
    subject = "now" if name is None else name
    if isinstance(source, Condition):
        operator = OPERATORS.get(str(source.op))
        flipped = negated is not (operator is not None and operator.negated)
        words = f"{subject} {_asked(source)}"
    else:
        flipped = negated
        if isinstance(source, list):
            words = f"{subject} is one of {len(source)} units"
        elif source is None:
            words = f"a test of {subject}"
        else:
            words = f"{subject}: {text(str(source))}"
    return f"not ({words})" if flipped else words


def because_of(name: str | None, value: Any, probe: Probe, holds: bool) -> str:
    """Return what the context has that makes a leaf hold or not; without a name, the time."""
    source = probe.source
    op = str(source.op) if isinstance(source, Condition) else ""
    if name is None:
        return f"it is {moment(value)}" + _clock(source, value)
    if value is None:
        negated = ", and what is negated holds then" if holds and probe.negated else ""
        return f"the context has no {name}{negated}"
    words = f"{name} is {compact(value)}"
    classes, what = _FOR.get(op, ((), ""))
    if classes and (type(value) not in classes):
        return f"{words}, {json_kind(value)}, and {op} is for {what}"
    return words + _clock(source, value)


def span_text(from_ms: int, until_ms: int) -> str:
    """Return a half-open span of time in words."""
    since, ever = ALWAYS
    if from_ms <= since:
        return "always" if until_ms >= ever else f"until {moment(until_ms)}"
    if until_ms >= ever:
        return f"from {moment(from_ms)} on"
    return f"from {moment(from_ms)} until {moment(until_ms)}"


def _asked(leaf: Condition) -> str:
    """Return operator, values and options of a leaf."""
    parts = [text(str(leaf.op))]
    if not isinstance(leaf.values, UnsetType) and leaf.values:
        values = several(leaf.values)
        parts.append(values if len(leaf.values) == 1 else f"[{values}]")
    if not isinstance(leaf.from_, UnsetType) and not isinstance(leaf.to, UnsetType):
        parts.append(f"from {text(leaf.from_)} to {text(leaf.to)}")
    if not isinstance(leaf.zone, UnsetType):
        parts.append(f"in {text(leaf.zone)}")
    if leaf.fold is True:
        parts.append("(any case)")
    return " ".join(parts)


def _clock(source: Any, value: Any) -> str:
    """Return what clocks show at a moment, for operators that ask clocks."""
    if not isinstance(source, Condition) or source.op not in _CLOCKS:
        return ""
    at_ms = moment_ms(value)
    if at_ms is None:
        return ", which is no moment"
    zone = "UTC" if isinstance(source.zone, UnsetType) else source.zone
    days, seconds = divmod(wall_clock(zone)(at_ms), _DAY_S)
    hour, minute, second = seconds // 3_600, seconds // 60 % 60, seconds % 60
    return f": {_DAYS[days % 7]} {hour:02}:{minute:02}:{second:02} in {text(zone)}"
