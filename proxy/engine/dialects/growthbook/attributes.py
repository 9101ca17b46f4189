"""Where GrowthBook finds an attribute: by a path of dots, in the context or in any value.

`id` of the context is `targetingKey` where it is missing or null. A path goes into a list by the
place of an item, or to its `length`; brackets mean nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import program as p

__all__ = ["attribute", "context_getter", "getter", "is_index", "reads"]


@lru_cache(maxsize=4_096)
def attribute(name: str) -> str | p.Operand:
    """Return what finds an attribute of the context by a path; `id` is `targetingKey` without one.

    Cached, so that one attribute is one operand, and is fetched once in an evaluation.
    """
    steps = name.split(".")
    if steps == ["id"]:
        return p.Operand(name, _unit_id, frozenset(("id", TARGETING_KEY)))
    if len(steps) == 1 and "[" not in name:
        return name
    reads = ("id", TARGETING_KEY) if steps[0] == "id" else (steps[0],)
    return p.Operand(name, _from_context(steps), frozenset(reads))


def reads(name: str) -> frozenset[str]:
    """Return the members of the context that an attribute is found in."""
    found = attribute(name)
    if isinstance(found, p.Operand):
        return found.reads or frozenset()
    return frozenset((name,))


def _unit_id(context: dict[str, Any]) -> Any:
    found = context.get("id")
    return context.get(TARGETING_KEY) if found is None else found


def _from_context(steps: list[str]) -> Callable[[dict[str, Any]], Any]:
    first, *rest = steps

    def fetch(context: dict[str, Any]) -> Any:
        value = _unit_id(context) if first == "id" else context.get(first)
        for step in rest:
            if value is None:
                return None
            value = _member(value, step)
        return value

    return fetch


def _member(value: Any, name: str) -> Any:
    """Return a member of an object, or of a list an item or its length; None of anything else."""
    if value.__class__ is dict:
        return value.get(name)
    if value.__class__ is list:
        if name == "length":
            return len(value)
        if name.isdecimal() and name.isascii() and (name == "0" or name[0] != "0"):
            place = int(name) if len(name) < _LONGEST_PLACE else len(value)
            return value[place] if place < len(value) else None
    return None


_LONGEST_PLACE = 10
"""Digits of the place of an item; no list is that long."""


def getter(name: str) -> Callable[[Any], Any]:
    """Return what finds a path in any value."""
    steps = name.split(".")

    def get(value: Any) -> Any:
        for step in steps:
            if value is None:
                return None
            value = _member(value, step)
        return value

    return get


def context_getter(name: str) -> Callable[[Any], Any]:
    found = attribute(name)
    return found.fetch if isinstance(found, p.Operand) else lambda context: context.get(name)


def is_index(name: str) -> bool:
    if not (name.isascii() and name.isdecimal()) or len(name) > _LONGEST_PLACE:
        return False
    return (name == "0" or name[0] != "0") and int(name) < 2**32 - 1
