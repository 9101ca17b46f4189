"""Contexts as LaunchDarkly reads them: individual contexts by kind, and their attributes.

A context of an evaluation is one of these, told apart by its member `kind`:

    none           a user, as OpenFeature clients send it: the key is `targetingKey`, or else `key`,
                   the other members are attributes. Without a `targetingKey` it may be a user of
                   LaunchDarkly's older clients, whose key may be empty, and whose own attributes
                   are in `custom`
    `multi`        an individual context in each member that is an object, its kind the name of it
    another text   one individual context of that kind

That is how LaunchDarkly's own OpenFeature providers read a context, and, for JSON of its clients,
how those do. A context without a key, or with a kind that is no name, has an error for each flag.

Of a context of several, a part without a key is as good as not there; LaunchDarkly refuses the
whole of it. So what a flag reads are the kinds it names, and not every member of the context.

An attribute is a name or a path of names through objects, never an index; null is missing.
`key`, `kind`, `name`, `anonymous` are what they are in LaunchDarkly: the key, the kind of the
individual context, a text or missing, and true or false, never missing.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from proxy.engine.program import Operand

__all__ = ["KINDS", "USABLE", "USER", "attribute", "key", "parse_reference"]

USER = "user"
"""The kind where none is said."""

_MULTI = "multi"
_KIND = re.compile(r"[A-Za-z0-9._-]+")
_CACHE = 4_096

_Fetch = Callable[[dict[str, Any]], Any]
_Steps = tuple[str, ...]


# The individual contexts


def _is_kind(name: Any) -> bool:
    """Return whether this can be the kind of an individual context."""
    if name == USER:
        return True
    is_name = name.__class__ is str and _KIND.fullmatch(name) is not None
    return is_name and name not in ("kind", _MULTI)


def _key_of(part: dict[str, Any]) -> str:
    """Return the key of an individual context, empty where it has none."""
    found = part.get("targetingKey")
    if found.__class__ is not str or not found:
        found = part.get("key")
        if found.__class__ is not str:
            return ""
    return found


def _is_usable(context: dict[str, Any]) -> bool:
    kind = context.get("kind")
    if kind.__class__ is str and kind != USER:
        if kind == _MULTI:
            return True
        if not _is_kind(kind):
            return False
    found = context.get("targetingKey")
    if found.__class__ is str and found:
        return True
    found = context.get("key")
    return found.__class__ is str and (found != "" or kind is None)


USABLE = Operand("a key and a kind", _is_usable, reads=frozenset(("kind", "key", "targetingKey")))
"""Whether LaunchDarkly would evaluate anything for a context."""


def _individual(kind: str) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    """Return the function from a context to its individual context of a kind, or None."""
    is_user, is_kind = kind == USER, _is_kind(kind)

    def individual(context: dict[str, Any]) -> dict[str, Any] | None:
        own = context.get("kind")
        if own.__class__ is not str:
            return context if is_user else None
        if own == kind:
            return context if is_kind else None
        if own == _MULTI and is_kind:
            part = context.get(kind)
            if part.__class__ is dict and _key_of(part) != "":
                return part
        return None

    return individual


def _kinds(context: dict[str, Any]) -> Any:
    own = context.get("kind")
    if own.__class__ is not str:
        return USER
    if own != _MULTI:
        return own
    return [
        name
        for name, part in context.items()
        if part.__class__ is dict and _is_kind(name) and _key_of(part) != ""
    ]


KINDS = Operand("kind", _kinds, reads=None)
"""The kind of a context, or the list of those in it."""


# Attributes


def parse_reference(text: str) -> _Steps | None:
    """Return the steps of a reference to an attribute, `/address/country`; None for a bad one.

    Without a slash in front it is a name, whatever is in it. `~1` is a slash and `~0` a tilde.
    """
    if not text.startswith("/"):
        return (text,) if text else None
    steps = []
    for step in text[1:].split("/"):
        if not step or re.search("~(?![01])", step):
            return None
        steps.append(step.replace("~1", "/").replace("~0", "~"))
    return tuple(steps)


@lru_cache(maxsize=_CACHE)
def key(kind: str) -> Operand:
    """Return the key of the individual context of a kind."""
    individual = _individual(kind)

    def fetch(context: dict[str, Any]) -> str | None:
        part = individual(context)
        return None if part is None else _key_of(part)

    def of_user(context: dict[str, Any]) -> str | None:
        kind = context.get("kind")
        if kind is None or kind == USER:  # as nearly always
            found = context.get("targetingKey")
            if found.__class__ is str and found:
                return found
        return fetch(context)

    name = "key" if kind == USER else f"{kind} key"
    return Operand(name, of_user if kind == USER else fetch, _reads(kind, "key", "targetingKey"))


@lru_cache(maxsize=_CACHE)
def attribute(kind: str, steps: _Steps) -> Operand:
    """Return an attribute of the individual context of a kind; `steps` has one at least."""
    first, *rest = steps
    if first == "key":
        found = key(kind)
        if not rest:
            return found
        fetch = found.fetch
    else:
        fetch = _fetch(kind, first)
    path = "/".join(steps)
    name = path if kind == USER else f"{kind} {path}"
    return Operand(
        name, _walked(fetch, rest) if rest else fetch, _reads(kind, first, "key", "targetingKey")
    )


def _reads(kind: str, *names: str) -> frozenset[str]:
    """Return the top-level members that decide an attribute."""
    return frozenset(("kind", kind, *names, *(("custom",) if kind == USER else ())))


def _fetch(kind: str, name: str) -> _Fetch:
    """Return what finds a top-level attribute."""
    individual = _individual(kind)
    special = _SPECIAL.get(name)

    def fetch(context: dict[str, Any]) -> Any:
        part = individual(context)
        if part is None:
            return None
        return part.get(name) if special is None else special(part, kind)

    def of_user(context: dict[str, Any]) -> Any:
        own = context.get("kind")
        if own.__class__ is str:
            return context.get(name) if own == USER else fetch(context)
        value = context.get(name)
        if value is None and own is None and not context.get("targetingKey"):
            custom = context.get("custom")
            if custom.__class__ is dict:
                return custom.get(name)
        return value

    return of_user if kind == USER and special is None else fetch


def _name(part: dict[str, Any], _kind: str) -> str | None:
    found = part.get("name")
    return found if isinstance(found, str) else None


_SPECIAL: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "kind": lambda _part, kind: kind,
    "name": _name,
    "anonymous": lambda part, _kind: part.get("anonymous") is True,
    "targetingKey": lambda _part, _kind: None,
    "_meta": lambda _part, _kind: None,
}


def _walked(fetch: _Fetch, rest: list[str]) -> _Fetch:
    def walked(context: dict[str, Any]) -> Any:
        value = fetch(context)
        for step in rest:
            if value.__class__ is not dict:
                return None
            value = value.get(step)
        return value

    return walked
