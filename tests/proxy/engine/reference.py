"""A slow evaluator that walks the JSON of a definition, to compare the compiled one with.

Written from flag-model.md over plain dictionaries, with none of the engine's code: no program, no
operator table, not even its hash. Where the two disagree, one of them misreads the model.
"""

import re
from typing import Any

from tests.proxy.engine import reference_operators as operators
from tests.vectors.murmur3 import bucket

__all__ = ["MISSING", "evaluate", "holds", "in_segment", "lookup", "on_circle"]

MISSING = object()

Json = dict[str, Any]


def evaluate(
    key: str,
    definition: Json,
    segments: dict[str, Json],
    context: Json,
    now_ms: int = 0,
    flags: dict[str, Json] | None = None,
) -> tuple[int, Json]:
    """Return status and body of the OFREP answer, without details.

    `flags` are those that may be prerequisites; one that cannot be used is marked as `broken`.
    """
    flags = flags or {}
    if definition.get("broken") or on_circle(key, flags):
        return 400, {"key": key, "errorCode": "PARSE_ERROR"}
    metadata = definition.get("metadata", {})
    targets, rules = definition.get("targets", []), definition.get("rules", [])
    prerequisites = definition.get("prerequisites", [])
    off = definition.get("off_variant")
    if not definition.get("enabled", False):
        return _answer(key, definition, off, "DISABLED", metadata)
    for wanted in prerequisites:
        name = wanted["flag"]
        status, body = 404, {}
        if name in flags:
            status, body = evaluate(name, flags[name], segments, context, now_ms, flags)
        serves = status == 200 and body["reason"] != "DISABLED" and "value" in body
        if not serves or body["variant"] not in wanted["variants"]:
            return _answer(key, definition, off, "DEFAULT", {**metadata, "prerequisite": name})
    unit = context.get("targetingKey")
    for target in targets:
        if isinstance(unit, str) and unit in target["units"]:
            return _answer(key, definition, target["variant"], "TARGETING_MATCH", metadata)
    for rule in rules:
        if not _is_active(rule.get("active", {}), now_ms):
            continue
        if not holds(rule["when"], segments, context, now_ms):
            continue
        marked = {**metadata, "ruleId": rule["id"]} if "id" in rule else metadata
        if "variant" in rule["serve"]:
            return _answer(key, definition, rule["serve"]["variant"], "TARGETING_MATCH", marked)
        variant = _split(rule["serve"], definition["salt"], context, now_ms)
        if variant is not None:
            return _answer(key, definition, variant, "SPLIT", marked)
    fallthrough = definition["fallthrough"]
    if "variant" in fallthrough:
        reason = "DEFAULT" if rules or targets or prerequisites else "STATIC"
        return _answer(key, definition, fallthrough["variant"], reason, metadata)
    variant = _split(fallthrough, definition["salt"], context, now_ms)
    if variant is not None:
        return _answer(key, definition, variant, "SPLIT", metadata)
    [split] = fallthrough.values()
    by_key = split.get("by", "targetingKey") == "targetingKey"
    return 400, {
        "key": key,
        "errorCode": "TARGETING_KEY_MISSING" if by_key else "INVALID_CONTEXT",
        **({"metadata": metadata} if metadata else {}),
    }


def on_circle(key: str, flags: dict[str, Json]) -> bool:
    """Return whether a flag that is on asks itself, through others that are on."""
    seen: set[str] = set()
    asked = [key]
    while asked:
        flag = flags.get(asked.pop(), {})
        for wanted in flag.get("prerequisites", []) if flag.get("enabled", False) else []:
            if wanted["flag"] == key:
                return True
            if wanted["flag"] not in seen:
                seen.add(wanted["flag"])
                asked.append(wanted["flag"])
    return False


def _is_active(window: Json, now_ms: int) -> bool:
    since, until = window.get("from"), window.get("until")
    now = operators.instant(now_ms)
    if since is not None and now < operators.instant(since):
        return False
    return until is None or now < operators.instant(until)


def holds(condition: Json, segments: dict[str, Json], context: Json, now_ms: int = 0) -> bool:
    """Return whether a condition holds."""
    if "all" in condition:
        return all(holds(c, segments, context, now_ms) for c in condition["all"])
    if "any" in condition:
        return any(holds(c, segments, context, now_ms) for c in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], segments, context, now_ms)
    if "segment" in condition:
        return in_segment(segments[condition["segment"]], segments, context, now_ms)
    operator, negate = condition["op"], bool(condition.get("negate"))
    if operator in {"not_equals", "not_in", "none_of"}:
        operator = {"not_equals": "equals", "not_in": "in", "none_of": "any_of"}[operator]
        negate = not negate
    value = lookup(context, condition["attribute"]) if "attribute" in condition else now_ms
    values = condition.get("values", [])
    if value is MISSING:
        found = False
    elif operator in operators.OPERATORS:
        found = operators.OPERATORS[operator](value, values, condition)
    else:
        found = _leaf(operator, value, values, bool(condition.get("fold")))
    return found is not negate


def in_segment(segment: Json, segments: dict[str, Json], context: Json, now_ms: int = 0) -> bool:
    """Return whether a context is in a segment."""
    unit = context.get("targetingKey")
    if isinstance(unit, str) and unit in segment.get("included", []):
        return True
    if isinstance(unit, str) and unit in segment.get("excluded", []):
        return False
    return holds(segment.get("when", {"any": []}), segments, context, now_ms)


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
            # what is longer has nothing in it
            return len(value) <= 16_384 and any(w in text for w in wanted)
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


def _split(serve: Json, salt: str, context: Json, now_ms: int) -> str | None:
    """Return the variant of the unit of a rollout or a ramp, None without a unit."""
    [split] = serve.values()
    by = split.get("by", "targetingKey")
    value = lookup(context, by)
    if isinstance(value, str) and value and not re.search("[\ud800-\udfff]", value):
        unit = value
    elif isinstance(value, (str, bool)) or by == "targetingKey":
        return None
    elif isinstance(value, (int, float)) and abs(value) < 2**53 and value == int(value):
        unit = str(int(value))
    else:
        return None
    number = bucket(salt, unit)
    if "ramp" in serve:
        return str(split["variant"] if number < _share(split, now_ms) else split["else"])
    start = 0
    for arm in split["arms"]:
        for low, high in arm.get("ranges", [[start, start + arm["weight"]]]):
            if low <= number < high:
                return str(arm["variant"])
        start += arm["weight"]
    raise AssertionError("a bucket that nobody holds")


def _share(ramp: Json, now_ms: int) -> int:
    """Return how many buckets the variant of a ramp holds."""
    low, high = ramp.get("from", 0), ramp.get("to", 100_000)
    start_ms, end_ms = (int(operators.instant(ramp[name]) // 1_000) for name in ("start", "end"))
    now_ms = max(start_ms, min(now_ms, end_ms))
    return int(low + (high - low) * (now_ms - start_ms) // (end_ms - start_ms))


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
