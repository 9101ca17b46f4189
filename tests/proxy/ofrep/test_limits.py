"""Token buckets, with a clock in hand."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.ofrep.limits import RateLimit


def test_zero_is_no_limit() -> None:
    """Nobody waits."""
    limit = RateLimit(0)
    assert not any(limit.take("a", 0.0) for _ in range(10_000))


def test_a_burst_of_one_second_passes() -> None:
    """And then one request each 1/rate seconds."""
    limit = RateLimit(8)
    assert [limit.take("a", 5.0) for _ in range(9)] == [0] * 8 + [1]
    assert limit.take("a", 5.125) == 0
    assert limit.take("a", 5.125) == 1


def test_callers_have_buckets_of_their_own() -> None:
    """One that asks too much costs the others nothing."""
    limit = RateLimit(1)
    assert [limit.take("a", 0.0), limit.take("a", 0.0), limit.take("b", 0.0)] == [0, 1, 0]


@given(st.integers(1, 50), st.lists(st.floats(0, 0.2), max_size=300))
def test_no_more_than_a_burst_and_the_rate_get_through(rate: int, pauses: list[float]) -> None:
    """However the requests are spaced."""
    limit = RateLimit(rate)
    now_s = passed = 0.0
    for pause in pauses:
        now_s += pause
        passed += limit.take("a", now_s) == 0
    assert passed <= rate + rate * now_s + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """And breaks nothing."""
    limit = RateLimit(1)
    assert limit.take("a", 10.0) == 0
    assert limit.take("a", 1.0) == 1
