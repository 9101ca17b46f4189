"""When an answer may change by itself, with the same definition and the same context.

What is compiled says so beside what it reads of a context: a bulk answer's ETag names the slice of
time it belongs to, and what can change at any moment is evaluated again.
"""

from collections.abc import Iterable

import msgspec

__all__ = ["NEVER", "Timing", "together"]


class Timing(msgspec.Struct, frozen=True, gc=False):
    """At which `moments` an answer may change, and within which half-open `spans` at any moment.

    Both in Unix milliseconds; outside of them it stays what it is.
    """

    moments: frozenset[int] = frozenset()
    spans: frozenset[tuple[int, int]] = frozenset()


NEVER = Timing()


def together(timings: Iterable[Timing]) -> Timing:
    """Return the timing of what depends on all of these."""
    known = [timing for timing in timings if timing is not NEVER]
    if not known:
        return NEVER
    return Timing(
        frozenset().union(*(timing.moments for timing in known)),
        frozenset().union(*(timing.spans for timing in known)),
    )
