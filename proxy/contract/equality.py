"""Whether two decoded JSON values are the same, as JSON says it and not as Python does.

Booleans are no numbers; numbers are compared by value, because 10 and 10.0 are one number that two
programs write differently.
"""

from typing import Any

__all__ = ["same_json"]


def same_json(a: Any, b: Any) -> bool:
    """Return whether two JSON values are the same; recurses as deep as they are."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[name], b[name]) for name in a)
    return bool(a == b)
