"""Flags to measure with, in authoring form and as a snapshot. The same numbers, the same flags."""

from collections.abc import Iterable, Mapping
from itertools import chain, cycle, islice
from typing import Any

import msgspec

from loadtests.formats import FORMATS
from loadtests.scenarios import segmented as flag_set
from proxy.contract.authoring import FlagInput, expand, project
from proxy.contract.definitions import FlagDefinition, SegmentDefinition
from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    SCHEMA,
    EntryKind,
    SnapshotHeader,
    encode_entry,
    encode_snapshot,
    entry_order,
)

__all__ = [
    "contexts",
    "definition",
    "five_conditions",
    "mixed",
    "plain",
    "segmented",
    "shaped",
    "snapshot",
    "two_conditions",
]

_VARIANTS = {"a": "first", "b": "second", "none": "neither"}
_HALVES = {
    "rollout": {
        "arms": [{"variant": "a", "weight": 50_000}, {"variant": "b", "weight": 50_000}],
    }
}
_COUNTRIES = ("DE", "FR", "PL", "US")

# One condition each; every digit of a shape's number chooses one of them.
_OPERATORS = (
    "equals",
    "not_equals",
    "in",
    "not_in",
    "contains",
    "starts_with",
    "ends_with",
    "gt",
    "lte",
    "exists",
)
_PLACES = 4
SHAPES = len(_OPERATORS) ** _PLACES
"""How many different shapes `shaped` knows."""


def contexts(count: int) -> list[dict[str, Any]]:
    """Return distinct contexts of which each rule here matches some."""
    return [
        {
            "targetingKey": f"user-{n}",
            "country": _COUNTRIES[n % len(_COUNTRIES)],
            "age": n % 90,
            "plan": ("free", "pro")[n % 2],
            "email": f"user-{n}@example.{('com', 'org')[n % 2]}",
            "app": {"build": n % 400},
        }
        for n in range(count)
    ]


def plain(key: str) -> dict[str, Any]:
    """Return a flag without rules."""
    return {"key": key, "type": "boolean", "value": True, "enabled": True}


def two_conditions(key: str) -> dict[str, Any]:
    """Return a flag with two conditions and a split."""
    return _ruled(key, _conditions()[:2])


def five_conditions(key: str) -> dict[str, Any]:
    """Return a flag with five conditions and a split."""
    return _ruled(key, _conditions())


def shaped(number: int, shapes: int) -> dict[str, Any]:
    """Return a flag with four conditions and a split, one of `shapes` shapes, literals its own."""
    shape = number % shapes
    digits = [(shape // len(_OPERATORS) ** place) % len(_OPERATORS) for place in range(_PLACES)]
    return _ruled(
        f"shaped-{number:05}",
        [_leaf(_OPERATORS[digit], place, number) for place, digit in enumerate(digits)],
    )


def segmented(flags: int, each: int) -> tuple[list[dict[str, Any]], dict[str, SegmentDefinition]]:
    """Return flags that each have rules for some of 15 segments over 15 attributes, and those."""
    document = FORMATS["native"](flag_set(flags, each))
    segments = {
        segment.pop("key"): msgspec.convert(segment, SegmentDefinition)
        for segment in document["segments"]
    }
    return document["flags"], segments


def mixed(count: int) -> list[dict[str, Any]]:
    """Return flags as an application has them: half plain, the others with rules and splits."""
    kinds = islice(cycle((plain, two_conditions, plain, five_conditions)), count)
    return [kind(f"mixed-{number:05}") for number, kind in enumerate(kinds)]


def definition(document: dict[str, Any]) -> FlagDefinition:
    """Return a flag as the sidecars of `production` receive it."""
    flag, problems = expand(msgspec.convert(document, FlagInput), ["production"])
    if flag is None:
        raise ValueError(f"{document['key']}: {problems}")
    return project(flag, "production")


def snapshot(
    documents: Iterable[dict[str, Any]],
    revision: int = 1,
    segments: Mapping[str, SegmentDefinition] | None = None,
) -> bytes:
    """Return the body of a snapshot of these flags and segments."""
    digest = SnapshotDigest()
    lines: dict[tuple[int, bytes], bytes] = {}
    named: Iterable[tuple[EntryKind, str, object]] = chain(
        (("segment", key, segment) for key, segment in (segments or {}).items()),
        (("flag", document["key"], definition(document)) for document in documents),
    )
    for kind, key, thing in named:
        line = encode_entry(kind, key, thing)
        digest.put(kind, key, line)
        lines[entry_order(kind, key)] = line
    header = SnapshotHeader(
        schema=SCHEMA,
        project="default",
        environment="production",
        epoch="bench",
        revision=revision,
        digest=digest.hexdigest(),
        entries=len(lines),
        created_at="2026-01-01T00:00:00Z",
    )
    return encode_snapshot(header, [lines[order] for order in sorted(lines)])


def _ruled(key: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    return _with_rules(key, [{"id": "some", "when": {"all": conditions}, "serve": _HALVES}])


def _with_rules(key: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    config = {"enabled": True, "rules": rules, "fallthrough": {"variant": "none"}}
    return {
        "key": key,
        "type": "string",
        "variants": _VARIANTS,
        "environments": {"production": config},
    }


def _conditions() -> list[dict[str, Any]]:
    """Return five conditions that half of the contexts fulfil to the last."""
    return [
        {"attribute": "country", "op": "in", "values": ["DE", "PL"]},
        {"attribute": "age", "op": "gte", "values": [0]},
        {"attribute": "email", "op": "ends_with", "values": ["@example.com"]},
        {"attribute": "app.build", "op": "lt", "values": [1_000]},
        {"not": {"attribute": "plan", "op": "equals", "values": ["trial"]}},
    ]


def _leaf(operator: str, place: int, number: int) -> dict[str, Any]:
    """Return a condition whose literals no other flag has."""
    values: list[Any]
    if operator in {"gt", "lte"}:
        values = [number]
    elif operator == "exists":
        values = []
    elif operator in {"in", "not_in"}:
        values = [f"value-{number}", f"other-{number}", f"third-{place}"]
    else:
        values = [f"value-{number}"]
    return {"attribute": f"attribute-{place}-{number}", "op": operator, "values": values}


OPERATORS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "equals": ({"op": "equals", "values": ["pro"]}, ["pro", "free", 5, None]),
    "in, a hundred values": (
        {"op": "in", "values": [f"value-{n}" for n in range(100)]},
        ["value-7", "value-99", "other", 5],
    ),
    "contains, folded": (
        {"op": "contains", "values": ["firefox", "chrome"], "fold": True},
        ["Mozilla Firefox/150", "Opera", "", 5],
    ),
    "matches": (
        {"op": "matches", "values": ["^[a-z]+-[0-9]{2,4}$"]},
        ["order-123", "order-12345", "x", 5],
    ),
    "semver_gte": ({"op": "semver_gte", "values": ["2.3.0"]}, ["2.4.1", "2.3.0-rc.1+7", "no", 5]),
    "before": (
        {"op": "before", "values": ["2026-12-01T00:00:00Z"]},
        ["2026-11-30T23:59:59+01:00", "2027-01-01T00:00:00Z", 1_700_000_000_000, "no"],
    ),
    "in_cidr": (
        {"op": "in_cidr", "values": ["10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32"]},
        ["10.1.2.3", "11.1.2.3", "2001:db8::1", "no"],
    ),
    "weekday, of now": ({"op": "weekday", "values": ["sat"], "zone": "Europe/Berlin"}, [None]),
    "time_of_day, of now": (
        {"op": "time_of_day", "from": "22:00", "to": "06:00", "zone": "America/New_York"},
        [None],
    ),
    "any_of": ({"op": "any_of", "values": ["admin", "owner"]}, [["user", "owner"], ["user"], 5]),
}
"""Conditions to measure one by one, and values of the attribute `x` that they are asked for."""


def one_condition(key: str, condition: dict[str, Any]) -> dict[str, Any]:
    """Return a flag whose only rule is that condition, of the attribute `x` unless of the time."""
    of_time = condition["op"] in {"weekday", "time_of_day"}
    attribute = {} if of_time else {"attribute": "x"}
    rule = {"id": "some", "when": {**attribute, **condition}, "serve": {"variant": "a"}}
    return _with_rules(key.replace(" ", "-").replace(",", ""), [rule])
