"""A slow evaluator that walks the JSON of a definition, to compare the compiled one with.

Written from flag-model.md over plain dictionaries, with none of the engine's code: no program, no
operator table, not even its hash. Where the two disagree, one of them misreads the model.
"""

import re
from typing import Any

from tests.vectors.murmur3 import bucket

__all__ = ["MISSING", "evaluate", "holds", "in_segment", "lookup"]

MISSING = object()


def evaluate(
    key: str, definition: dict[str, Any], segments: dict[str, Any], context: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Return status and body of the OFREP answer."""
    metadata = definition.get("metadata", {})
    targets, rules = definition.get("targets", []), definition.get("rules", [])
    if not definition.get("enabled", False):
        off = definition.get("off_variant")
        return _answer(key, definition, off, "DISABLED", metadata)
    unit = context.get("targetingKey")
    for target in targets:
        if isinstance(unit, str) and unit in target["units"]:
            return _answer(key, definition, target["variant"], "TARGETING_MATCH", metadata)
    for rule in rules:
        if not holds(rule["when"], segments, context):
            continue
        marked = {**metadata, "ruleId": rule["id"]} if "id" in rule else metadata
        if "variant" in rule["serve"]:
            return _answer(key, definition, rule["serve"]["variant"], "TARGETING_MATCH", marked)
        variant = _arm(rule["serve"]["rollout"], definition["salt"], context)
        if variant is not None:
            return _answer(key, definition, variant, "SPLIT", marked)
    fallthrough = definition["fallthrough"]
    if "variant" in fallthrough:
        reason = "DEFAULT" if rules or targets else "STATIC"
        return _answer(key, definition, fallthrough["variant"], reason, metadata)
    variant = _arm(fallthrough["rollout"], definition["salt"], context)
    if variant is not None:
        return _answer(key, definition, variant, "SPLIT", metadata)
    by_key = fallthrough["rollout"].get("by", "targetingKey") == "targetingKey"
    return 400, {
        "key": key,
        "errorCode": "TARGETING_KEY_MISSING" if by_key else "INVALID_CONTEXT",
        **({"metadata": metadata} if metadata else {}),
    }


def holds(condition: dict[str, Any], segments: dict[str, Any], context: dict[str, Any]) -> bool:
    """Return whether a condition holds."""
    if "all" in condition:
        return all(holds(c, segments, context) for c in condition["all"])
    if "any" in condition:
        return any(holds(c, segments, context) for c in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], segments, context)
    if "segment" in condition:
        return in_segment(segments[condition["segment"]], segments, context)
    operator, negate = condition["op"], bool(condition.get("negate"))
    if operator in {"not_equals", "not_in", "none_of"}:
        operator = {"not_equals": "equals", "not_in": "in", "none_of": "any_of"}[operator]
        negate = not negate
    value = lookup(context, condition["attribute"])
    found = value is not MISSING and _leaf(
        operator, value, condition.get("values", []), bool(condition.get("fold"))
    )
    return found is not negate


def in_segment(segment: dict[str, Any], segments: dict[str, Any], context: dict[str, Any]) -> bool:
    """Return whether a context is in a segment."""
    unit = context.get("targetingKey")
    if isinstance(unit, str) and unit in segment.get("included", []):
        return True
    if isinstance(unit, str) and unit in segment.get("excluded", []):
        return False
    return holds(segment.get("when", {"any": []}), segments, context)


def lookup(context: dict[str, Any], path: str) -> Any:
    """Return what a path leads to; null is as good as missing."""
    if path in context:
        found = context[path]
    else:
        found = context
        for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
            if index:
                good = isinstance(found, list) and int(index) < len(found)
                found = found[int(index)] if good else MISSING
            else:
                found = found.get(name, MISSING) if isinstance(found, dict) else MISSING
            if found is MISSING:
                break
    return MISSING if found is None else found


def _leaf(operator: str, value: Any, values: list[Any], fold: bool) -> bool:
    if operator == "exists":
        return True
    if operator in {"equals", "in"}:
        return any(_same(value, v, fold) for v in values)
    if operator in {"contains", "starts_with", "ends_with"}:
        if not isinstance(value, str):
            return False
        text = value.casefold() if fold else value
        wanted = [v.casefold() if fold else v for v in values]
        if operator == "contains":
            return any(w in text for w in wanted)
        if operator == "starts_with":
            return any(text[: len(w)] == w for w in wanted)
        return any(text[len(text) - len(w) :] == w for w in wanted if len(w) <= len(text))
    if operator in {"gt", "gte", "lt", "lte"}:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        other = values[0]
        return {
            "gt": value > other,
            "gte": value >= other,
            "lt": value < other,
            "lte": value <= other,
        }[operator]
    if not isinstance(value, list):
        return False
    if operator == "any_of":
        return any(_same(element, v, fold) for element in value for v in values)
    if operator == "all_of":
        return all(any(_same(element, v, fold) for element in value) for v in values)
    return len(value) > values[0] if operator == "size_gt" else len(value) < values[0]


def _same(a: Any, b: Any, fold: bool) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, str) and isinstance(b, str):
        return a.casefold() == b.casefold() if fold else a == b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return False


def _arm(rollout: dict[str, Any], salt: str, context: dict[str, Any]) -> str | None:
    by = rollout.get("by", "targetingKey")
    value = lookup(context, by)
    if isinstance(value, str) and value and not re.search("[\ud800-\udfff]", value):
        unit = value
    elif isinstance(value, (str, bool)) or by == "targetingKey":
        return None
    elif isinstance(value, (int, float)) and abs(value) < 2**53 and value == int(value):
        unit = str(int(value))
    else:
        return None
    number, start = bucket(salt, unit), 0
    for arm in rollout["arms"]:
        for low, high in arm.get("ranges", [[start, start + arm["weight"]]]):
            if low <= number < high:
                return str(arm["variant"])
        start += arm["weight"]
    raise AssertionError("a bucket that nobody holds")


def _answer(
    key: str,
    definition: dict[str, Any],
    variant: str | None,
    reason: str,
    metadata: dict[str, Any],
) -> tuple[int, dict[str, Any]]:
    body = {"key": key, "variant": variant or "", "reason": reason}
    if variant is not None:
        body["value"] = definition["variants"][variant]
    return 200, {**body, **({"metadata": metadata} if metadata else {})}
