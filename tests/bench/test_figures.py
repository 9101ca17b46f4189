"""The arithmetic and the table that figures are published with."""

import pytest

from tests.bench.figures import at_least, below, informative, percentile, render


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


def test_a_bound_is_reached_only_below_or_at_it() -> None:
    """An upper bound is exclusive, as the targets are written."""
    assert below("x", 99.9, 100, "ms").reached is True
    assert below("x", 100, 100, "ms").reached is False
    assert at_least("x", 2, 2, "x").reached is True


def test_the_table_shows_what_was_missed() -> None:
    """Each figure stands beside its target; one without a target is not judged."""
    text = render([below("slow", 1234.5, 100, "ms"), informative("seen", 0.0305, "x")])
    assert "| slow   | 1,234 ms | < 100 ms | MISSED |" in text
    assert "| seen   | 0.030 x" in text or "| seen   | 0.031 x" in text
    assert len({len(line) for line in text.splitlines()}) == 1


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.500"), (1.234, "1.23"), (31.25, "31.2"), (26_000.4, "26,000")]
)
def test_three_digits_are_shown(value: float, shown: str) -> None:
    """More digits would pretend a precision that no run has."""
    assert informative("x", value, "").measured == shown
