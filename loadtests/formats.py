"""The flags of a scenario in our own form and in other systems', each as its users write them.

Each function takes a `FlagSet` and returns one JSON document. What a system has a word for is said
with it (segments of Unleash and Flagsmith, evaluators of flagd), so that it evaluates as fast as it
can. Whom no rule matches has the variant `none`; in Unleash, whose flags are on or off before they
have variants, the flag is off for them.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from loadtests.scenarios import Condition, Flag, FlagSet, Rule

__all__ = ["FORMATS"]

Json = dict[str, Any]


def _native(flag_set: FlagSet) -> Json:
    """A file of definitions, for `matrixflag proxy --snapshot`."""
    segments = [
        {"key": key, "when": {"all": [_native_condition(c) for c in conditions]}}
        for key, conditions in flag_set.segments.items()
    ]
    return {"flags": [_native_flag(flag) for flag in flag_set.flags], "segments": segments}


def _native_flag(flag: Flag) -> Json:
    if not flag.rules:
        return {"key": flag.key, "type": flag.type, "value": flag.variants["a"], "enabled": True}
    halves = [{"variant": name, "weight": 50_000} for name in ("a", "b")]
    rules = [
        {
            "id": f"rule-{number}",
            "when": {"segment": rule.segment}
            if rule.segment
            else {"all": [_native_condition(c) for c in rule.conditions]},
            "serve": {"rollout": {"arms": halves}} if rule.split else {"variant": "a"},
        }
        for number, rule in enumerate(flag.rules)
    ]
    config = {"enabled": True, "rules": rules, "fallthrough": {"variant": "none"}}
    return {
        "key": flag.key,
        "type": flag.type,
        "variants": flag.variants,
        "environments": {"production": config},
    }


def _native_condition(condition: Condition) -> Json:
    values = list(condition.values)
    return {"attribute": condition.attribute, "op": condition.op, "values": values}


_FLAGD_OPERATIONS = {"equals": "==", "not_equals": "!=", "gte": ">=", "lt": "<"}


def _flagd(flag_set: FlagSet) -> Json:
    """A file for `flagd start --uri file:...`."""
    document: Json = {"flags": {flag.key: _flagd_flag(flag) for flag in flag_set.flags}}
    if flag_set.segments:
        document["$evaluators"] = {
            key: _flagd_all(conditions) for key, conditions in flag_set.segments.items()
        }
    return document


def _flagd_flag(flag: Flag) -> Json:
    made: Json = {"state": "ENABLED", "variants": flag.variants}
    if not flag.rules:
        return {**made, "defaultVariant": "a"}
    chain: list[Any] = []
    for rule in flag.rules:
        chain.append({"$ref": rule.segment} if rule.segment else _flagd_all(rule.conditions))
        chain.append({"fractional": [["a", 50], ["b", 50]]} if rule.split else "a")
    return {**made, "defaultVariant": "none", "targeting": {"if": [*chain, "none"]}}


def _flagd_all(conditions: tuple[Condition, ...]) -> Json:
    return {"and": [_flagd_condition(condition) for condition in conditions]}


def _flagd_condition(condition: Condition) -> Json:
    variable, values = {"var": condition.attribute}, condition.values
    if condition.op == "in":
        return {"in": [variable, list(values)]}
    return {_FLAGD_OPERATIONS.get(condition.op, condition.op): [variable, values[0]]}


_GOFF_OPERATORS = {
    **{"in": "in", "equals": "eq", "not_equals": "ne", "gte": "ge", "lt": "lt"},
    "ends_with": "ew",
}


def _goff(flag_set: FlagSet) -> Json:
    """A flag file of GO Feature Flag, which has no segments: their conditions are in each rule."""
    return {flag.key: _goff_flag(flag, flag_set) for flag in flag_set.flags}


def _goff_flag(flag: Flag, flag_set: FlagSet) -> Json:
    targeting = [
        {
            "name": f"rule-{number}",
            "query": " and ".join(_goff_condition(c) for c in flag_set.conditions(rule)),
            **({"percentage": {"a": 50, "b": 50}} if rule.split else {"variation": "a"}),
        }
        for number, rule in enumerate(flag.rules)
    ]
    made: Json = {"variations": flag.variants}
    if targeting:
        made["targeting"] = targeting
    made["defaultRule"] = {"variation": "none" if targeting else "a"}
    # what is evaluated is not reported anywhere, as in the others
    return {**made, "trackEvents": False}


def _goff_condition(condition: Condition) -> str:
    operand = list(condition.values) if condition.op == "in" else condition.values[0]
    operator = _GOFF_OPERATORS[condition.op]
    return f"{condition.attribute} {operator} {json.dumps(operand)}"


_UNLEASH_OPERATORS = {
    **{"in": "IN", "equals": "IN", "not_equals": "NOT_IN", "gte": "NUM_GTE", "lt": "NUM_LT"},
    "ends_with": "STR_ENDS_WITH",
}


def _unleash(flag_set: FlagSet) -> Json:
    """What Unleash sends to its clients, for `unleash-edge offline --bootstrap-file`."""
    ids = {key: number for number, key in enumerate(flag_set.segments, 1)}
    segments = [
        {
            "id": ids[key],
            "name": key,
            "constraints": [_unleash_constraint(c) for c in conditions],
        }
        for key, conditions in flag_set.segments.items()
    ]
    features = [
        {
            "name": flag.key,
            "type": "release",
            "project": "default",
            "enabled": True,
            "stale": False,
            "impressionData": False,
            "strategies": [_unleash_strategy(flag, rule, ids) for rule in flag.rules or (Rule(),)],
            "variants": [],
        }
        for flag in flag_set.flags
    ]
    return {"version": 2, "features": features, "segments": segments}


def _unleash_strategy(flag: Flag, rule: Rule, ids: dict[str, int]) -> Json:
    shares = {"a": 500, "b": 500} if rule.split else {"a": 1000}
    variants = [
        {
            "name": name,
            "weight": weight,
            "stickiness": "default",
            "payload": _unleash_payload(flag.variants[name]),
        }
        for name, weight in shares.items()
    ]
    return {
        "name": "flexibleRollout",
        "parameters": {"rollout": "100", "stickiness": "default", "groupId": flag.key},
        "constraints": [_unleash_constraint(condition) for condition in rule.conditions],
        "segments": [ids[rule.segment]] if rule.segment else [],
        "variants": variants if flag.rules else [],
    }


def _unleash_payload(value: Any) -> Json:
    if isinstance(value, str):
        return {"type": "string", "value": value}
    return {"type": "json", "value": json.dumps(value)}


def _unleash_constraint(condition: Condition) -> Json:
    operator = _UNLEASH_OPERATORS[condition.op]
    made = {"contextName": condition.attribute, "operator": operator, "inverted": False}
    if operator.startswith("NUM"):
        return {**made, "value": str(condition.values[0]), "values": []}
    return {**made, "values": [str(value) for value in condition.values]}


_FLAGSMITH_OPERATORS = {
    **{"in": "IN", "equals": "EQUAL", "not_equals": "NOT_EQUAL"},
    **{"gte": "GREATER_THAN_INCLUSIVE", "lt": "LESS_THAN", "ends_with": "REGEX"},
}


def _flagsmith(flag_set: FlagSet) -> Json:
    """An environment document, as Flagsmith's API sends it to its edge proxy.

    Rules are segments that override a feature: the first rule has the highest priority. Those with
    conditions of their own become a segment of their flag, as in Flagsmith.
    """
    segments = {
        key: _flagsmith_segment(number, key, conditions)
        for number, (key, conditions) in enumerate(flag_set.segments.items(), 1)
    }
    states = []
    state_id = 0
    for feature_id, flag in enumerate(flag_set.flags, 1):
        feature = {"id": feature_id, "name": flag.key, "type": "MULTIVARIATE"}
        state_id += 1
        default = "none" if flag.rules else "a"
        states.append(_flagsmith_state(state_id, feature, flag, default))
        for priority, rule in enumerate(flag.rules):
            name = rule.segment or f"{flag.key}-{priority}"
            if name not in segments:
                number = len(segments) + 1
                segments[name] = _flagsmith_segment(number, name, rule.conditions)
            state_id += 1
            override = _flagsmith_state(state_id, feature, flag, "a", split=rule.split)
            override["feature_segment"] = {"priority": priority}
            segments[name]["feature_states"].append(override)
    return {
        "id": 1,
        "name": "production",
        "api_key": "load",
        "updated_at": "2026-01-01T00:00:00+00:00",
        "project": {
            "id": 1,
            "name": "load",
            "hide_disabled_flags": False,
            "enable_realtime_updates": False,
            "server_key_only_feature_ids": [],
            "organisation": {
                "id": 1,
                "name": "load",
                "feature_analytics": False,
                "stop_serving_flags": False,
                "persist_trait_data": False,
            },
            "segments": list(segments.values()),
        },
        "feature_states": states,
        "identity_overrides": [],
    }


def _flagsmith_segment(number: int, name: str, conditions: tuple[Condition, ...]) -> Json:
    tests = [
        {
            "property_": condition.attribute,
            "operator": _FLAGSMITH_OPERATORS[condition.op],
            "value": _flagsmith_value(condition),
        }
        for condition in conditions
    ]
    # a rule of rules is how Flagsmith itself writes segments
    rules = [{"type": "ANY", "rules": [], "conditions": [test]} for test in tests]
    return {
        "id": number,
        "name": name,
        "rules": [{"type": "ALL", "rules": rules, "conditions": []}],
        "feature_states": [],
    }


def _flagsmith_value(condition: Condition) -> str:
    if condition.op == "ends_with":
        return f".*{re.escape(condition.values[0])}$"
    return ",".join(str(value) for value in condition.values)


def _flagsmith_state(
    number: int, feature: Json, flag: Flag, variant: str, *, split: bool = False
) -> Json:
    """Return a state of a feature; split, a half of the users has the value of `b`."""
    values = []
    if split:
        option = {"id": feature["id"], "value": _flagsmith_answer(flag, "b")}
        values = [
            {
                "id": number,
                "percentage_allocation": 50.0,
                "multivariate_feature_option": option,
                "mv_fs_value_uuid": f"00000000-0000-4000-8000-{number:012}",
            }
        ]
    return {
        "feature": feature,
        "enabled": True,
        "django_id": number,
        "featurestate_uuid": f"00000000-0000-4000-9000-{number:012}",
        "feature_state_value": _flagsmith_answer(flag, variant),
        "multivariate_feature_state_values": values,
        "feature_segment": None,
    }


def _flagsmith_answer(flag: Flag, variant: str) -> Any:
    """Return a value as Flagsmith has it: objects are text there."""
    value = flag.variants[variant]
    return json.dumps(value) if isinstance(value, dict) else value


FORMATS: dict[str, Callable[[FlagSet], Json]] = {
    "native": _native,
    "flagd": _flagd,
    "goff": _goff,
    "unleash": _unleash,
    "flagsmith": _flagsmith,
}
