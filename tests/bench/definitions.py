"""Flags to measure with, in authoring form and as a snapshot. The same numbers, the same flags."""

from collections.abc import Iterable
from itertools import cycle, islice
from typing import Any

import msgspec

from proxy.contract.authoring import FlagInput, expand, project
from proxy.contract.definitions import FlagDefinition
from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    SCHEMA,
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


def snapshot(documents: Iterable[dict[str, Any]], revision: int = 1) -> bytes:
    """Return the body of a snapshot of these flags."""
    digest = SnapshotDigest()
    lines: dict[tuple[int, bytes], bytes] = {}
    for document in documents:
        key = document["key"]
        line = encode_entry("flag", key, definition(document))
        digest.put("flag", key, line)
        lines[entry_order("flag", key)] = line
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
    rule = {"id": "some", "when": {"all": conditions}, "serve": _HALVES}
    config = {"enabled": True, "rules": [rule], "fallthrough": {"variant": "none"}}
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
