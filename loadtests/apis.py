"""How OFREP, Unleash Edge and Flagsmith's edge proxy are asked for flags, and what is right.

An API makes of a context the path and the body of a request, and says of an answer what is wrong
with it: every flag must be there, with a value that a right answer may have. Pure.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadtests.scenarios import Context, Flag, FlagSet

__all__ = ["APIS", "Api"]

Json = dict[str, Any]
_MOST = 200  # characters of an answer that are quoted


@dataclass(frozen=True)
class Api:
    """How one kind of server is asked, and its answers judged."""

    path: Callable[[str | None], str]
    """Of the flag with a key, or of all flags."""
    key: Callable[[str], tuple[str, str]]
    """The header that carries an access key."""
    body: Callable[[Context], Json]
    problem: Callable[[Json, FlagSet, Context, bool], str | None]
    """What is wrong with a decoded answer; the last argument: of all flags, or of the only one."""

    def wrong(self, answer: bytes, flags: FlagSet, context: Context, *, bulk: bool) -> str | None:
        """Return what is wrong with the body of an answer, or None."""
        try:
            found = self.problem(json.loads(answer), flags, context, bulk)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found = f"{type(error).__name__}: {error}"
        return found and f"{found} in {answer[:_MOST].decode(errors='replace')}"


def _ofrep_path(key: str | None) -> str:
    return "/ofrep/v1/evaluate/flags" + (f"/{key}" if key else "")


def _ofrep_problem(document: Json, flags: FlagSet, context: Context, bulk: bool) -> str | None:
    items = {item["key"]: item for item in (document["flags"] if bulk else [document])}
    if found := _other_keys(set(items), flags):
        return found
    return next((w for f in flags.flags if (w := _ofrep_item(items[f.key], f, flags, context))), "")


def _ofrep_item(item: Json, flag: Flag, flags: FlagSet, context: Context) -> str | None:
    if "errorCode" in item:
        return f"{flag.key}: {item['errorCode']}"
    return _other_value(item.get("value"), flag, flags, context)


def _unleash_path(key: str | None) -> str:
    return f"/api/frontend/features/{key}" if key else "/api/frontend"


def _unleash_body(context: Context) -> Json:
    properties = {name: str(value) for name, value in context.items() if name != "targetingKey"}
    return {"userId": context["targetingKey"], "properties": properties}


def _unleash_problem(document: Json, flags: FlagSet, context: Context, bulk: bool) -> str | None:
    """All answers list only the flags that are on; that of one flag is there in any case."""
    if not bulk:
        (flag,) = flags.flags
        return _unleash_toggle(document, flag, flags.possible(flag, context))
    toggles = {toggle["name"]: toggle for toggle in document["toggles"]}
    possible = [(flag, flags.possible(flag, context)) for flag in flags.flags]
    on = [(flag, variants) for flag, variants in possible if variants != ("none",)]
    if toggles.keys() != {flag.key for flag, _ in on}:
        return f"{len(toggles)} flags are on, and {len(on)} should be"
    found = (_unleash_toggle(toggles[flag.key], flag, variants) for flag, variants in on)
    return next((wrong for wrong in found if wrong), None)


def _unleash_toggle(toggle: Json, flag: Flag, variants: tuple[str, ...]) -> str | None:
    if toggle["enabled"] is not (variants != ("none",)):
        return f"{flag.key}: enabled is {toggle['enabled']}"
    if flag.rules and toggle["enabled"] and toggle["variant"]["name"] not in variants:
        return f"{flag.key}: the variant is {toggle['variant']['name']!r}, not of {variants}"
    return None


def _flagsmith_body(context: Context) -> Json:
    traits = [
        {"trait_key": name, "trait_value": value}
        for name, value in context.items()
        if name != "targetingKey"
    ]
    return {"identifier": context["targetingKey"], "traits": traits}


def _flagsmith_problem(document: Json, flags: FlagSet, context: Context, _: bool) -> str | None:
    items = {item["feature"]["name"]: item for item in document["flags"]}
    if found := _other_keys(set(items), flags):
        return found
    for flag in flags.flags:
        value = items[flag.key]["feature_state_value"]
        if flag.type == "object":
            value = json.loads(value)
        if found := _other_value(value, flag, flags, context):
            return found
    return None


def _other_keys(keys: set[str], flags: FlagSet) -> str | None:
    if keys == {flag.key for flag in flags.flags}:
        return None
    return f"{len(keys)} flags, not the {len(flags.flags)} of the scenario"


def _other_value(value: Any, flag: Flag, flags: FlagSet, context: Context) -> str | None:
    right = [flag.variants[name] for name in flags.possible(flag, context)]
    return None if value in right else f"{flag.key}: the value is {value!r}, not one of {right}"


APIS = {
    "ofrep": Api(
        _ofrep_path,
        lambda key: ("Authorization", f"Bearer {key}"),
        lambda context: {"context": context},
        _ofrep_problem,
    ),
    "unleash": Api(
        _unleash_path, lambda key: ("Authorization", key), _unleash_body, _unleash_problem
    ),
    "flagsmith": Api(
        lambda _: "/api/v1/identities/",
        lambda key: ("X-Environment-Key", key),
        _flagsmith_body,
        _flagsmith_problem,
    ),
}
