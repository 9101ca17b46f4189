"""The variants of a toggle or of a strategy, and the values that their payloads stand for.

A variant has a name, a weight, and a payload: a text, and whether it is to be read as `string`,
`csv`, `json` or `number`. A flag has one type, so the payloads of a toggle are numbers, or objects,
where each of them is; else all of them are the texts that they are in Unleash. Where no variant has
a payload its name is all it says, and stands for it.
"""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import FlagType
from proxy.contract.strict_json import scan
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.unleash.translation import Translating
from proxy.engine.findings import Path
from proxy.engine.operators import Leaf

__all__ = ["Payload", "Payloads", "Variant", "payloads_of", "variants_of"]

_MAX_WEIGHT = 2**31 - 1


class Payload(NamedTuple):
    """What a variant carries."""

    kind: str
    text: str


class Variant(NamedTuple):
    """One variant; `override` holds for those who have it whatever their number."""

    name: str
    weight: int
    payload: Payload | None
    stickiness: str | None
    override: p.Expression


class Payloads(NamedTuple):
    """The values of a toggle's payloads."""

    type: FlagType
    values: Mapping[str, Any]
    """By names that are those of variants; one that another payload has, too, is numbered."""
    keys: Mapping[tuple[str, Payload | None], str]
    """Under which name a variant's payload is; variants without one are not there."""
    mixed: bool
    """Whether they are texts because some are not what others are."""


def variants_of(node: Mapping[str, Any], path: Path, translating: Translating) -> list[Variant]:
    """Return the member `variants`."""
    items = translating.items(node, path, "variants")
    path = (*path, "variants")
    if not translating.count(path, "variants", len(items)):
        return []
    found = [_variant(item, (*path, index), translating) for index, item in enumerate(items)]
    return [variant for variant in found if variant is not None]


def _variant(node: Any, path: Path, translating: Translating) -> Variant | None:
    if translating.mapping(node, path, "a variant") is None:
        return None
    name, weight = node.get("name"), node.get("weight")
    if name.__class__ is not str or not 0 < len(name) <= limits.MAX_NAME_CHARS:
        message = f"a variant has a name of 1 to {limits.MAX_NAME_CHARS} characters"
        translating.error((*path, "name"), ProblemCode.WRONG_TYPE, message)
        return None
    if weight.__class__ is float and weight.is_integer():
        weight = int(weight)
    if weight.__class__ is not int or not 0 <= weight <= _MAX_WEIGHT:
        message = f"a weight is an integer of 0 to {_MAX_WEIGHT}"
        translating.error((*path, "weight"), ProblemCode.OUT_OF_RANGE, message)
        return None
    return Variant(
        name,
        weight,
        _payload(node, path, translating),
        translating.text(node, path, "stickiness"),
        _override(node, path, translating),
    )


def _payload(node: Mapping[str, Any], path: Path, translating: Translating) -> Payload | None:
    payload = node.get("payload")
    if payload is None:
        return None
    path = (*path, "payload")
    if translating.mapping(payload, path, "a payload") is None:
        return None
    kind = translating.text(payload, path, "type")
    text = translating.text(payload, path, "value")
    if text is None:
        return None
    if len(text.encode("utf-8", "surrogatepass")) > limits.MAX_VALUE_BYTES:
        message = f"a payload has at most {limits.MAX_VALUE_BYTES} bytes"
        translating.error((*path, "value"), ProblemCode.VALUE_TOO_LARGE, message)
        return None
    return Payload(kind or "string", text)


def _override(node: Mapping[str, Any], path: Path, translating: Translating) -> p.Expression:
    """Return who has a variant by name of a field and its values."""
    items = translating.items(node, path, "overrides")
    path = (*path, "overrides")
    if not translating.count(path, "conditions", len(items)):
        return p.FALSE
    found: list[p.Expression] = []
    for index, item in enumerate(items):
        where = (*path, index)
        if translating.mapping(item, where, "an override") is None:
            continue
        name = item.get("contextName")
        if name.__class__ is not str:
            message = "an override has a contextName, which is a string"
            translating.error((*where, "contextName"), ProblemCode.WRONG_TYPE, message)
            continue
        values = frozenset(translating.texts(item, where))
        if values:
            operand = translating.operands.field(name)
            found.append(p.Probe(operand, Leaf("{f} in {0}", (values,)), source=item))
    return p.any_of(found)


# Values


def payloads_of(variants: Sequence[Variant]) -> Payloads:
    """Return the values of payloads, of all variants of a toggle and of its strategies."""
    said = list(dict.fromkeys((v.name, v.payload) for v in variants if v.payload is not None))
    if not said:
        names = list(dict.fromkeys(v.name for v in variants))
        keys: dict[tuple[str, Payload | None], str] = {(name, None): name for name in names}
        return Payloads("string", {name: name for name in names}, keys, False)
    kind, values = _read([payload for _, payload in said])
    keys = {}
    named: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    for (name, payload), value in zip(said, values, strict=True):
        key = name
        while key in named:
            numbers[name] = numbers.get(name, 1) + 1
            key = f"{name} ({numbers[name]})"
        named[key] = value
        keys[name, payload] = key
    mixed = kind == "string" and any(payload.kind in ("json", "number") for _, payload in said)
    return Payloads(kind, named, keys, mixed)


def _read(payloads: list[Payload]) -> tuple[FlagType, list[Any]]:
    """Return the type that all payloads are of, and their values."""
    kinds = {payload.kind for payload in payloads}
    if kinds == {"number"}:
        numbers = [_number(payload.text) for payload in payloads]
        if None not in numbers:
            whole = all(number.__class__ is int for number in numbers)
            return ("integer" if whole else "number"), numbers
    if kinds == {"json"}:
        objects = [_object(payload.text) for payload in payloads]
        if None not in objects:
            return "object", objects
    return "string", [payload.text for payload in payloads]


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")


def _number(text: str) -> int | float | None:
    """Return a number that every client has exactly as it is written, or as its double."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if text.lstrip("-").isdigit():
        number = int(text)
        return number if abs(number) <= limits.MAX_INTEGER else None
    value = float(text)
    return value if isfinite(value) else None


def _object(text: str) -> dict[str, Any] | list[Any] | None:
    """Return an object or a list, None for any other JSON, and for what is no JSON."""
    try:
        data = text.encode()
        if scan(data):
            return None
        value = msgspec.json.decode(data)
    except (UnicodeEncodeError, msgspec.DecodeError):
        return None
    return value if isinstance(value, (dict, list)) else None
