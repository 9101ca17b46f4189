"""The nearest-rank percentile, for latencies."""

from collections.abc import Sequence

__all__ = ["percentile"]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that `percent` % of them do not exceed."""
    ranked = sorted(values)
    rank = -(-len(ranked) * percent // 100)  # rounded up: p99 of 100 values is the 99th
    return ranked[max(int(rank), 1) - 1]
