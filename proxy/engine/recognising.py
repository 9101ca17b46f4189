"""Whose file a document looks like, for who gave it to another system's reader. Pure.

Only what no other system's files have is looked at, in the first few flags, so that a file that is
one system's own is never taken for another's. What looks like nobody's is None.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal

from proxy.contract.definitions import DialectName

__all__ = ["NATIVE", "Whose", "whose"]

NATIVE: Literal["native"] = "native"
"""What our own files of definitions are called."""

Whose = DialectName | Literal["native"]

_LOOKED_AT = 20  # flags; they are all of one system, but some may be broken
_TYPES = frozenset(("boolean", "string", "integer", "number", "object"))


def whose(document: Any) -> Whose | None:
    """Return whose file a document looks like."""
    if not isinstance(document, Mapping):
        return None
    inner = document.get("data")
    if isinstance(inner, Mapping) and "flags" in inner:
        document = inner
    features, flags = document.get("features"), document.get("flags")
    if isinstance(features, Mapping):
        return "growthbook"
    if isinstance(features, list):
        return _first(map(_of_toggle, features))
    if _has_events(document.get("events")):
        return "unleash"
    if isinstance(flags, list):
        return _first(map(_of_listed, flags))
    if isinstance(flags, Mapping):
        return _first(map(_of_flag, flags.values()))
    if isinstance(document.get("items"), list):
        return _first(map(_of_item, document["items"]))
    if isinstance(document.get("environments"), Mapping) and "variations" in document:
        return "launchdarkly"
    return _first(map(_of_flag, document.values()))


def _first(found: Iterable[Whose | None]) -> Whose | None:
    return next(filter(None, islice(found, _LOOKED_AT)), None)


def _has_events(events: Any) -> bool:
    first = events[0] if isinstance(events, list) and events else None
    return isinstance(first, Mapping) and "type" in first


def _of_toggle(toggle: Any) -> Whose | None:
    return "unleash" if isinstance(toggle, Mapping) and "name" in toggle else None


def _of_flag(flag: Any) -> Whose | None:
    """Return whose a flag is that stands by its key."""
    if not isinstance(flag, Mapping):
        return None
    variants, variations = flag.get("variants"), flag.get("variations")
    if isinstance(variants, Mapping) and ("state" in flag or "defaultVariant" in flag):
        return "flagd"
    if isinstance(variations, Mapping) and ("defaultRule" in flag or "targeting" in flag):
        return "goff"
    if isinstance(variations, list) and ("on" in flag or "fallthrough" in flag):
        return "launchdarkly"
    return None


def _of_listed(flag: Any) -> Whose | None:
    """Return whose a flag is that has its key in it: flagd's, or ours."""
    if not isinstance(flag, Mapping) or "key" not in flag:
        return None
    if "state" in flag or "defaultVariant" in flag:
        return "flagd"
    kind = flag.get("type")
    known = isinstance(kind, str) and kind in _TYPES
    return NATIVE if known and ("variants" in flag or "value" in flag) else None


def _of_item(item: Any) -> Whose | None:
    """Return whose an item of an API's list is."""
    if not isinstance(item, Mapping) or "key" not in item:
        return None
    known = _of_listed(item)
    if known is not None or not isinstance(item.get("environments"), Mapping):
        return known
    return "launchdarkly" if isinstance(item.get("variations"), list) else None
