"""Medians and ratios of turns."""

import pytest

from loadtests.load import Load
from loadtests.turns import Figures, ratio


def _load(per_s: float, cpu_us: float | None = None, wrong: int = 0) -> Load:
    return Load(int(per_s * 2), 2.0, wrong, 100 / per_s, 200 / per_s, cpu_us)


def test_figures_are_medians_and_the_sum_of_what_is_wrong() -> None:
    """One slow turn, in which something else ran, changes little."""
    figures = Figures.of([_load(100, 5.0), _load(10, 6.0, wrong=2), _load(110, 4.0, wrong=1)])
    assert figures == Figures(100, 1.0, 2.0, 5.0, 3)


def test_without_a_process_there_is_no_cpu_time() -> None:
    """It is not known, and not zero."""
    assert Figures.of([_load(100)]).cpu_us is None


def test_a_ratio_is_that_of_each_round() -> None:
    """Two servers that both slow down in a round keep their ratio."""
    first, other = [_load(100), _load(10), _load(90)], [_load(50), _load(5), _load(10)]
    assert ratio(first, other, lambda load: load.per_s) == pytest.approx(2)


def test_a_ratio_of_what_is_not_known_is_none() -> None:
    """Nor one to nothing."""
    known, unknown, zero = [_load(1, 2.0)], [_load(1)], [_load(1, 0.0)]
    for other in (unknown, zero):
        assert ratio(known, other, lambda load: load.cpu_us) is None
    assert ratio(unknown, known, lambda load: load.cpu_us) is None
