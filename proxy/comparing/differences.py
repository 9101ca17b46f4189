"""Answers of two servers beside each other. Pure; knows nothing of HTTP.

Rules:
- Values are compared as JSON: true is not 1, 10 is 10.0. No value is what an application gets its
  own default for, whether it is left out or null.
- An answer with an error has no value; two errors are alike when their codes are.
- A flag that one server does not know is a difference, unless neither knows it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from proxy.contract.codes import ErrorCode
from proxy.contract.equality import same_json

__all__ = ["ASPECTS", "MISSING", "Answers", "Difference", "differences"]

ASPECTS = ("value", "variant", "reason")
"""What can be compared beside the error, which always is."""

Answers = Mapping[str, Mapping[str, Any]]
"""The bodies that a server answered for one context, by flag."""

MISSING: Mapping[str, Any] = {"errorCode": ErrorCode.FLAG_NOT_FOUND}
"""The answer of a server that has not got a flag."""


class Difference(NamedTuple):
    """What two servers answer differently for a flag, by aspect: the first's and the second's."""

    flag: str
    aspects: dict[str, tuple[Any, Any]]


def differences(
    first: Answers, second: Answers, flags: Iterable[str], aspects: Iterable[str]
) -> Iterator[Difference]:
    """Yield the flags that are answered differently, in the order of `flags`."""
    wanted = tuple(aspects)
    for flag in flags:
        found = _between(first.get(flag, MISSING), second.get(flag, MISSING), wanted)
        if found:
            yield Difference(flag, found)


def _between(
    one: Mapping[str, Any], other: Mapping[str, Any], aspects: tuple[str, ...]
) -> dict[str, tuple[Any, Any]]:
    errors = one.get("errorCode"), other.get("errorCode")
    if errors[0] != errors[1]:
        return {"error": errors, "value": (one.get("value"), other.get("value"))}
    if errors[0] is not None:
        return {}
    found: dict[str, tuple[Any, Any]] = {}
    for aspect in aspects:
        a, b = one.get(aspect), other.get(aspect)
        if aspect == "variant":
            a, b = a or None, b or None  # "" is no variant
        if not same_json(a, b):
            found[aspect] = (a, b)
    return found
