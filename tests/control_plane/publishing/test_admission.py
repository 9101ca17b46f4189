"""How many streams begin in a second, whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.publishing.admission import Admission


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 20), st.lists(st.floats(0, 1.5), max_size=200))
def test_no_second_takes_more_than_may(per_s: int, pauses: list[float]) -> None:
    """And none that may is refused: a second takes as many as come, up to the bound."""
    clock = Clock()
    admission = Admission(per_s, clock)
    came: dict[int, int] = {}
    taken: dict[int, int] = {}
    for pause in pauses:
        clock.now += pause
        second = int(clock.now)
        came[second] = came.get(second, 0) + 1
        taken[second] = taken.get(second, 0) + admission.admit()
    assert taken == {second: min(count, per_s) for second, count in came.items()}
    assert admission.accepted == sum(taken.values())
    assert admission.accepted + admission.refused == len(pauses)


def test_the_peak_is_that_of_the_last_minute() -> None:
    """It goes down again."""
    clock = Clock()
    admission = Admission(5, clock)
    assert admission.peak == 0
    for _ in range(9):
        admission.admit()
    assert admission.peak == 5
    clock.now += 30
    admission.admit()
    assert admission.peak == 5
    clock.now += 31
    assert admission.peak == 1
    clock.now += 3_600
    assert admission.peak == 0


def test_those_refused_are_spread_over_the_time_that_taking_them_needs() -> None:
    """A few come again soon, thousands over more seconds; none is sent away for longer than 30."""
    clock = Clock()
    for refused, most_s in ((10, 3), (2_000, 24), (1_000_000, 30)):
        admission = Admission(100, clock)
        for _ in range(100):
            admission.admit()
        admission.refused = 0
        admission._seconds[-1][2] = refused
        waits = [admission.wait_s() for _ in range(300)]
        assert all(0 <= wait <= most_s for wait in waits)
        assert max(waits) > 0.8 * min(most_s, 2 + refused / 100)
        assert min(waits) < 0.2 * most_s
