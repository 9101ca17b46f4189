"""How many requests a second a key may make, and how many bytes may wait. Pure.

Requests: a token bucket each key, the clock is an argument.

A bucket holds one second's worth, so a burst of that size passes. Callers are told apart by key,
not by address: behind a proxy all have one address.
"""

import math

__all__ = ["ByteBudget", "RateLimit"]

_MAX_IDENTITIES = 10_000
"""Buckets kept. Only valid keys get one, so this many means that keys were rotated a lot."""


class RateLimit:
    """Buckets by identity. `per_second` 0 means no limit."""

    __slots__ = ("_buckets", "_per_second")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when that was

    @property
    def on(self) -> bool:
        """Whether there is a limit."""
        return self._per_second > 0

    def take(self, identity: str, now_s: float) -> int:
        """Return 0 and count the request, or the whole seconds after which to try again."""
        rate = self._per_second
        if not rate:
            return 0
        tokens, then = self._buckets.get(identity, (float(rate), now_s))
        tokens = min(float(rate), tokens + max(0.0, now_s - then) * rate)
        if tokens < 1:
            self._buckets[identity] = (tokens, now_s)
            return max(1, math.ceil((1 - tokens) / rate))
        if len(self._buckets) >= _MAX_IDENTITIES and identity not in self._buckets:
            self._buckets.clear()
        self._buckets[identity] = (tokens - 1, now_s)
        return 0


class ByteBudget:
    """Bytes that many share, of which no more than `limit` may be in use."""

    __slots__ = ("in_use", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0

    def take(self, count: int) -> bool:
        """Use so many more; False, and nothing taken, when they are too many."""
        if self.in_use + count > self.limit:
            return False
        self.in_use += count
        return True

    def give(self, count: int) -> None:
        """Give so many back."""
        self.in_use -= count
