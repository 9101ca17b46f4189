"""The arithmetic and the table that figures are published with."""

import pytest

from tests.bench.figures import at_least, below, informative, render


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
