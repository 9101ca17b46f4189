"""What a change changed: the members that differ between two documents, with their places. Pure.

Objects are compared member by member, lists as a whole; a document that was made or removed is one
difference, at its root. Secrets are named, not shown. What is told is bounded: a value of more than
`MAX_VALUE_BYTES` is told by its digest, and of further differences only the number.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec

from proxy.contract.problems import pointer

__all__ = ["MAX_DIFFERENCES", "MAX_VALUE_BYTES", "SECRETS", "Difference", "differences"]

MAX_VALUE_BYTES = 4_096
MAX_DIFFERENCES = 50
"""Of one document; a person reads fewer."""

SECRETS = frozenset({"hash", "invitation", "password", "secret", "token"})
"""Members at the top of a record that are told to have changed, and no more."""

_ABSENT = object()


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One member that differs. `path` is a JSON Pointer within the target's document.

    `before` is null where there was nothing, `after` where there is nothing now.
    """

    target: str
    path: str
    before: Any = None
    after: Any = None


def differences(target: str, before: Any, after: Any) -> tuple[list[Difference], int]:
    """Return how two documents, of builtin types or None, differ, and how many more there are."""
    found = [
        Difference(target, pointer(*path), _shown(path, old), _shown(path, new))
        for path, old, new in _compared((), before, after)
    ]
    return found[:MAX_DIFFERENCES], max(0, len(found) - MAX_DIFFERENCES)


def _compared(
    path: tuple[str, ...], before: Any, after: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the places that differ; documents are as deep as the API takes them, 64."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() | after.keys() if before.keys() != after.keys() else before:
            old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
            yield from _compared((*path, name), old, new)
    elif before is _ABSENT or after is _ABSENT or not _same(before, after):
        yield path, before, after


def _same(before: Any, after: Any) -> bool:
    """Return whether two values are the same JSON: to Python 1, 1.0 and True are."""
    return bool(before == after) and msgspec.json.encode(before) == msgspec.json.encode(after)


def _shown(path: tuple[str, ...], value: Any) -> Any:
    if value is _ABSENT or value is None:
        return None
    if path and path[0] in SECRETS:
        return "(not shown)"
    if not path and isinstance(value, dict):
        value = {n: "(not shown)" if n in SECRETS else v for n, v in value.items()}
    text = msgspec.json.encode(value)
    if len(text) <= MAX_VALUE_BYTES:
        return value
    return f"({len(text)} bytes, SHA-256 {sha256(text).hexdigest()})"
