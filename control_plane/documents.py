"""What features do alike with the documents they are sent. Pure.

Sameness of JSON, the merge patch of RFC 7396, and the one error that lists all problems.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from control_plane.errors import Invalid
from proxy.contract.codes import Severity
from proxy.contract.problems import Problem

__all__ = ["READ_ONLY", "Precondition", "invalid", "merge_patch", "same_document"]

Precondition = Callable[[int], None]
"""Raises PreconditionFailed unless the caller wants to change this version of a document."""

READ_ONLY = frozenset({"version", "created_at", "updated_at"})
"""Members that only a read has; in what is written they are taken and ignored."""

_encoder = msgspec.json.Encoder()
_unordered = msgspec.json.Encoder(order="deterministic")


def same_document(a: object, b: object) -> bool:
    """Return whether two documents are the same JSON, whose members have no order.

    Many clients sort them. For Python 1, 1.0 and True are equal; here they are not.
    """
    return _unordered.encode(a) == _unordered.encode(b)


def merge_patch(document: msgspec.Struct, changes: Mapping[str, Any]) -> bytes:
    """Return the JSON of a document with a merge patch applied, read-only members left alone."""
    effective = {name: value for name, value in changes.items() if name not in READ_ONLY}
    return _encoder.encode(_merged(msgspec.to_builtins(document), effective))


def invalid(problems: list[Problem]) -> Invalid:
    """Return the error for a document with these problems, of which one at least is an error."""
    first = next((p for p in problems if p.severity is Severity.ERROR), problems[0])
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Invalid(f"{first.pointer or 'the document'}: {first.message}{more}", problems=problems)


def _merged(target: Any, changes: Any) -> Any:
    """Return the target changed (RFC 7396 section 2); as deep as the patch, which is bounded."""
    if not isinstance(changes, Mapping):
        return changes
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
