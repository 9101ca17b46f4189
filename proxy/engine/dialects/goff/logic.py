"""JSON Logic in the queries of GO Feature Flag: what is added to the context, what is true.

What fails does not match.
"""

from collections.abc import Callable, Mapping
from typing import Any

from proxy.engine.dialects.goff.conditions import Attributes, member
from proxy.engine.dialects.jsonlogic import Extra, Logic, LogicError

__all__ = ["extras", "truth_of"]


def extras(fixed: Attributes) -> Mapping[str, Any]:
    """Return the members that GO Feature Flag sets in the context."""
    known: dict[str, Any] = dict(fixed)
    for name in ("key", "targetingKey", "anonymous"):
        read = "anonymous" if name == "anonymous" else "targetingKey"
        fetch = member(name, fixed)
        known[name] = Extra(_of_context(fetch), frozenset((read,)))
    return known


def _of_context(fetch: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], int], Any]:
    return lambda context, _now_ms: fetch(context)


def truth_of(logic: Logic) -> Callable[[dict[str, Any]], bool]:
    """Return whether a result is taken for true: neither false, null, 0, nor empty, but `{}`.

    What JSON has not, a number that is none, is not.
    """
    run = logic.evaluate

    def holds(context: dict[str, Any]) -> bool:
        try:
            result = run(context, 0)
        except LogicError:
            return False
        kind = result.__class__
        if kind is bool:
            return bool(result)
        if kind is float:
            # what is no number cannot be written, and 0 below 0 is written so
            return result - result == 0 and (result != 0 or str(result)[0] == "-")
        if kind is list or kind is dict:
            return (kind is dict or bool(result)) and _is_json(result)
        return bool(result)

    return holds


def _is_json(value: Any) -> bool:
    """Return whether all numbers in a value are some."""
    stack = [value]
    while stack:
        each = stack.pop()
        if each.__class__ is list:
            stack.extend(each)
        elif each.__class__ is dict:
            stack.extend(each.values())
        elif each.__class__ is float and each - each != 0:
            return False
    return True
