"""What many evaluations of one context at one time share: segments, and other flags' answers.

Fifty flags that name the same fifteen segments ask each of them once. An evaluation of one flag
alone goes without: what a flag uses twice it keeps in a local.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["Memo"]


class Memo(dict[Callable[..., Any], Any]):
    """Results by the function they are of. Made for one context and one time, then thrown away."""

    __slots__ = ("_context", "_now_ms")

    def __init__(self, context: dict[str, Any], now_ms: int) -> None:
        super().__init__()
        self._context = context
        self._now_ms = now_ms

    def __missing__(self, function: Callable[..., Any]) -> Any:
        """Return the result of a function that nobody asked for yet, and keep it."""
        result = self[function] = function(self._context, self._now_ms, self)
        return result
