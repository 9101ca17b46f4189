"""Reads the evaluation context out of a request's body. Pure.

Lenient where clients differ: no body, `{}`, `{"context": null}` are the empty context; unknown
members are ignored, `targetingKey` may be missing or of any type. Strict where a guess would
evaluate the wrong thing: text that is not JSON, a context that is not an object.

Half of a surrogate pair inside a string is taken, because JavaScript sends one whenever a name
with an emoji was cut in the middle; only then is the slower decoder asked.
"""

import json
import math
from typing import Any, NoReturn

import orjson

from proxy.contract.problems import json_kind
from proxy.engine import OVERRIDE

__all__ = [
    "SUSPICIOUS_UNITS",
    "BadContext",
    "context_of",
    "is_suspicious",
    "read_context",
    "read_document",
]

SUSPICIOUS_UNITS = frozenset({"undefined", "null", "None", "NaN"})
"""Targeting keys that languages make of nothing: everybody without an identity is one unit then."""


class BadContext(ValueError):
    """The client's fault: the body holds no context; the text says why."""


def read_context(body: bytes, *, may_override: bool = False) -> dict[str, Any]:
    """Return the context of a request's body, without `OVERRIDE` of who may not use it.

    Raises:
        BadContext: for a body that is no JSON object, or whose `context` is none.
    """
    context = context_of(read_document(body))
    if not may_override:
        context.pop(OVERRIDE, None)
    return context


def read_document(body: bytes) -> dict[str, Any]:
    """Return a request's body, `{}` for none.

    Raises:
        BadContext: for a body that is no JSON object.
    """
    if not body or body.isspace():
        return {}
    document = _decode(body)
    if not isinstance(document, dict):
        raise BadContext(f"the body is {json_kind(document)}, not an object")
    return document


def context_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the context of a body that was read.

    Raises:
        BadContext: when its `context` is no object.
    """
    context = document.get("context")
    if isinstance(context, dict):
        return context
    if context is None:
        return {}
    raise BadContext(f"context is {json_kind(context)}, not an object")


def is_suspicious(context: dict[str, Any]) -> bool:
    """Return whether the targeting key of a context is one of `SUSPICIOUS_UNITS`."""
    unit = context.get("targetingKey")
    return unit.__class__ is str and unit in SUSPICIOUS_UNITS


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"\\ud" not in body and b"\\uD" not in body:
            raise BadContext(f"the body is not JSON: {error}") from None
    try:
        return json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadContext(f"the body is not JSON: {error}") from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is out of range")
    return value
