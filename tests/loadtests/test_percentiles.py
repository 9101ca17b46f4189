"""The arithmetic of latencies."""

import pytest

from loadtests.percentiles import percentile


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50.0), (99, 99.0), (100, 100.0), (1, 1.0), (0, 1.0)]
)
def test_percentile_is_nearest_rank(percent: float, expected: float) -> None:
    """The p99 of a hundred values is the 99th, in whatever order they came."""
    values = [float(v) for v in range(100, 0, -1)]
    assert percentile(values, percent) == expected


def test_the_p99_of_few_values_is_the_worst() -> None:
    """A percentile is never better than what was measured can show."""
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
