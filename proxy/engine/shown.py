"""Values as they are shown to people: short, bounded, and always possible to write as JSON.

A context may hold anything that JSON can say and more: half of a surrogate pair, an integer of a
thousand digits, lists within lists without end. Nothing here raises for any of it.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["compact", "moment", "several", "shown", "text"]

_CHARS = 200
"""Of a value, as JSON."""
_TEXT_CHARS = 120
_ITEMS = 5
_DEPTH = 3
_EXACT = 2**64

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def shown(value: Any) -> Any:
    """Return a value of a context as it is, or when it is long, as text that is cut off."""
    copy = _copied(value, _DEPTH, _text)
    return copy if len(_json(copy)) <= _CHARS else compact(value)


def compact(value: Any) -> str:
    """Return a value as JSON on one line, cut off when it is long."""
    # what has no UTF-8 is written out last, or JSON would escape the escape
    return text(_json(_copied(value, _DEPTH, _cut)), _CHARS)


def several(values: list[Any], most: int = 8) -> str:
    """Return the first values, with how many more there are."""
    some = ", ".join(compact(value) for value in values[:most])
    more = f", and {len(values) - most} more" if len(values) > most else ""
    return some + more


def text(words: str, most: int = 256) -> str:
    """Return text that has UTF-8, cut off when it is long."""
    words = _cut(words, most)
    return words if words.isascii() else words.encode("utf-8", "backslashreplace").decode()


def moment(at_ms: int) -> str:
    """Return a time as RFC 3339 in UTC, to the millisecond where that says more."""
    try:
        at = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{compact(at_ms)} ms after 1970"
    exactness = "milliseconds" if at_ms % 1000 else "seconds"
    return at.isoformat(timespec=exactness).removesuffix("+00:00") + "Z"


def _cut(words: str, most: int = _TEXT_CHARS) -> str:
    return words[:most] + "..." if len(words) > most else words


def _text(words: str) -> str:
    return text(words, _TEXT_CHARS)


def _copied(value: Any, depth: int, said: Callable[[str], str]) -> Any:
    """Return a copy that is small, of whose text there is what `said` makes of it."""
    match value:
        case bool() | None:
            return value
        case str():
            return said(value)
        case int():
            if -_EXACT < value < _EXACT:
                return value
            return f"an integer of {value.bit_length()} bits"
        case float():
            return value if value - value == 0 else str(value)
        case list() | tuple():
            if depth == 0 and value:
                return "[...]"
            copy = [_copied(item, depth - 1, said) for item in value[:_ITEMS]]
            return copy if len(value) <= _ITEMS else [*copy, f"... {len(value) - _ITEMS} more"]
        case dict():
            if depth == 0 and value:
                return "{...}"
            members: dict[str, Any] = {}
            for name, item in value.items():
                if len(members) == _ITEMS:
                    members["..."] = f"{len(value) - _ITEMS} more"
                    break
                members[said(str(name))] = _copied(item, depth - 1, said)
            return members
        case _:
            return text(f"<{type(value).__name__}>")


def _json(copy: Any) -> str:
    return json.dumps(copy, ensure_ascii=False, separators=(", ", ": "))
