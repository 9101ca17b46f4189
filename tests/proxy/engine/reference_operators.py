"""Slow operators over times, versions, addresses and patterns, from the standard library alone.

Written from flag-model.md and the specifications, with none of the engine's code.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

__all__ = ["OPERATORS", "instant"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_US = timedelta(days=146_097) // timedelta(microseconds=1)
"""The calendar repeats itself after 400 years."""


def instant(value: Any) -> Any:
    """Return text, or a number of Unix milliseconds, as microseconds, exactly; None for others."""
    if isinstance(value, str):
        shape = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)"
        if not re.fullmatch(shape, value, re.ASCII):
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        offset = moment.utcoffset() or timedelta()
        return (moment.replace(tzinfo=UTC) - _EPOCH - offset) // timedelta(microseconds=1)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return Fraction(value) * 1_000


def _before(value: Any, values: list[Any], _: Any) -> bool:
    moment = instant(value)
    return moment is not None and bool(moment < instant(values[0]))


def _after(value: Any, values: list[Any], _: Any) -> bool:
    moment = instant(value)
    return moment is not None and bool(moment > instant(values[0]))


def _shown(value: Any, zone: str) -> datetime | None:
    """Return what clocks in a zone show, in a year of the same calendar that Python has."""
    moment = instant(value)
    if moment is None:
        return None
    moment = math.floor(moment / 1_000) * 1_000
    while moment < -50_000_000_000_000_000:
        moment += _CYCLE_US * max(1, (-50_000_000_000_000_000 - moment) // _CYCLE_US)
    while moment > 200_000_000_000_000_000:
        moment -= _CYCLE_US * max(1, (moment - 200_000_000_000_000_000) // _CYCLE_US)
    return (_EPOCH + timedelta(microseconds=moment)).astimezone(ZoneInfo(zone))


def _weekday(value: Any, values: list[Any], leaf: dict[str, Any]) -> bool:
    shown = _shown(value, leaf.get("zone", "UTC"))
    return shown is not None and shown.strftime("%a").lower() in values


def _time_of_day(value: Any, _: list[Any], leaf: dict[str, Any]) -> bool:
    shown = _shown(value, leaf.get("zone", "UTC"))
    if shown is None:
        return False
    clock = shown.strftime("%H:%M:%S")
    since, until = ((leaf[name] + ":00")[:8] for name in ("from", "to"))
    if since < until:
        return bool(since <= clock < until)
    return bool(clock >= since or clock < until)


_Version = tuple[tuple[int, ...], list[str]]


def _version(text: Any) -> _Version | None:
    if not isinstance(text, str) or len(text) > 256:
        return None
    shape = r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    match = re.fullmatch(shape, text, re.ASCII)
    if match is None:
        return None
    *core, pre = match.groups()
    identifiers = pre.split(".") if pre else []
    if any(re.fullmatch(r"0\d+", part, re.ASCII) for part in [*core, *identifiers]):
        return None
    if "" in identifiers:
        return None
    return tuple(map(int, core)), identifiers


def _compare(a: _Version, b: _Version) -> int:
    if a[0] != b[0]:
        return 1 if a[0] > b[0] else -1
    if not a[1] or not b[1]:
        return bool(b[1]) - bool(a[1])
    for one, other in zip(a[1], b[1], strict=False):
        if one == other:
            continue
        if one.isdigit() and other.isdigit():
            return 1 if int(one) > int(other) else -1
        if one.isdigit() or other.isdigit():
            return -1 if one.isdigit() else 1
        return 1 if one > other else -1
    return (len(a[1]) > len(b[1])) - (len(a[1]) < len(b[1]))


def _semver(test: Callable[[int], bool]) -> Callable[[Any, list[Any], Any], bool]:
    def holds(value: Any, values: list[Any], _: Any) -> bool:
        version, wanted = _version(value), _version(values[0])
        return version is not None and wanted is not None and test(_compare(version, wanted))

    return holds


def _semver_match(value: Any, values: list[Any], _: Any) -> bool:
    version = _version(value)
    return version is not None and any(_in_range(version, wanted) for wanted in values)


def _in_range(version: _Version, wanted: str) -> bool:
    if wanted[0] not in "^~":
        exact = _version(wanted)
        return exact is not None and _compare(version, exact) == 0
    parts = wanted[1:].split("-")[0].split(".")
    low = _version(wanted[1:] + ".0" * (3 - len(parts)))
    assert low is not None
    if _compare(version, low) < 0:
        return False
    if version[1]:
        return bool(low[1]) and version[0] == low[0]
    if wanted[0] == "~":
        same = min(2, len(parts))
    else:
        same = next((i + 1 for i, part in enumerate(parts) if part != "0"), len(parts))
    return version[0][:same] == low[0][:same]


def _in_cidr(value: Any, values: list[Any], _: Any) -> bool:
    if not isinstance(value, str) or "%" in value:
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    networks = [ipaddress.ip_network(text, strict=False) for text in values]
    return any(n.version == address.version and address in n for n in networks)


def _matches(value: Any, values: list[Any], _: Any) -> bool:
    if not isinstance(value, str) or len(value) > 16_384:
        return False
    if re.search("[\ud800-\udfff]", value):
        return False
    return any(re.search(pattern.replace("$", r"\Z"), value) for pattern in values)


OPERATORS: dict[str, Callable[[Any, list[Any], dict[str, Any]], bool]] = {
    "before": _before,
    "after": _after,
    "weekday": _weekday,
    "time_of_day": _time_of_day,
    "semver_eq": _semver(lambda order: order == 0),
    "semver_gt": _semver(lambda order: order > 0),
    "semver_gte": _semver(lambda order: order >= 0),
    "semver_lt": _semver(lambda order: order < 0),
    "semver_lte": _semver(lambda order: order <= 0),
    "semver_match": _semver_match,
    "in_cidr": _in_cidr,
    "matches": _matches,
}
