"""A leaf of each operator that has nothing wrong with it, and whether a leaf holds for a value."""

from collections.abc import Callable
from typing import Any

import msgspec

from proxy.contract.definitions import Condition
from proxy.contract.problems import Problem
from proxy.contract.steps import finish
from proxy.engine.conditions import check_conditions
from proxy.engine.findings import Findings
from tests.proxy.engine.builders import answer_to, compiled, leaf, rule

__all__ = ["VALID", "VALUES", "holds", "problems_of", "sample", "leaf_test"]

_MOMENT = "2026-12-01T09:00:00Z"

VALID: dict[str, dict[str, Any]] = {
    **{
        op: {"values": ["x"]}
        for op in ("equals", "not_equals", "in", "not_in", "contains", "starts_with", "ends_with")
    },
    "matches": {"values": ["x+$"]},
    "exists": {},
    **{op: {"values": [1]} for op in ("gt", "gte", "lt", "lte")},
    "before": {"values": [_MOMENT]},
    "after": {"values": [_MOMENT]},
    "weekday": {"values": ["mon"]},
    "time_of_day": {"from": "09:00", "to": "17:00"},
    **{f"semver_{sign}": {"values": ["1.2.3"]} for sign in ("eq", "gt", "gte", "lt", "lte")},
    "semver_match": {"values": ["^1.2"]},
    "in_cidr": {"values": ["10.0.0.0/8"]},
    **{op: {"values": ["x"]} for op in ("any_of", "all_of", "none_of")},
    "size_gt": {"values": [1]},
    "size_lt": {"values": [1]},
}
"""What a leaf needs besides `op` and, of most, `attribute`."""

VALUES: dict[str, list[Any]] = {op: members.get("values", []) for op, members in VALID.items()}


def sample(op: str, **members: Any) -> dict[str, Any]:
    """Return a leaf of an operator over the attribute `a`, with members replaced."""
    return {"attribute": "a", "op": op, **VALID[op], **members}


def holds(value: Any, op: str, *values: Any, **options: Any) -> bool:
    """Return whether a leaf holds where the attribute `a` has a value."""
    return answer_to({"a": value}, leaf("a", op, *values, **options))


def leaf_test(op: str, *values: Any, **members: Any) -> Callable[[Any], bool]:
    """Return whether a leaf holds for a value of the attribute `a`, compiled once."""
    flag = compiled(rules=[rule(leaf("a", op, *values, **members))])
    return lambda value: flag.evaluate({"a": value}, 0).variant == "on"


def problems_of(op: str, *values: Any, **members: Any) -> list[Problem]:
    """Return the problems of a leaf over the attribute `a`."""
    findings = Findings()
    document = leaf("a", op, *values, **members)
    finish(check_conditions([((), msgspec.convert(document, Condition))], (), findings))
    return findings.problems
