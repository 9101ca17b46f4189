"""Ramps move in one direction, by the arithmetic of docs/bucketing.md; nobody goes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.definitions import BUCKETS, Arm, FlagDefinition, Ramp, Serve
from proxy.engine import bucket, compile_flag, program, ramp_arms, reallocate
from proxy.engine.bucketing import layout

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000
START, END = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
END_MS = START_MS + 24 * HOUR_MS
UNITS = [f"u-{i}" for i in range(2_000)]

shares = st.integers(0, BUCKETS)
times = st.integers(START_MS - HOUR_MS, END_MS + HOUR_MS)


def flag(from_: int, to: int) -> FlagDefinition:
    """Return a flag that ramps for a day."""
    ramp = Ramp("on", "off", START, END, from_, to)
    return FlagDefinition("boolean", {"on": True, "off": False}, Serve(ramp=ramp), "f3b1", True)


def share_by_the_page(from_: int, to: int, now_ms: int) -> int:
    """Return where the border is, as docs/bucketing.md says it."""
    if now_ms < START_MS:
        return from_
    if now_ms >= END_MS:
        return to
    return from_ + (to - from_) * (now_ms - START_MS) // (END_MS - START_MS)


@given(shares, shares, times)
def test_the_border_of_a_ramp(from_: int, to: int, now_ms: int) -> None:
    """Up or down, in integers rounded down, still before the start and from the end on."""
    ramp = Ramp("on", "off", START, END, from_, to)
    border = share_by_the_page(from_, to, now_ms)
    assert min(from_, to) <= border <= max(from_, to)
    held = sum(arm.weight for arm in ramp_arms(ramp, now_ms) if arm.variant == "on")
    assert held == program.Ramp(START_MS, END_MS, from_, to).bound(now_ms) == border


@given(shares, shares, st.lists(times, min_size=2, max_size=20).map(sorted))
def test_a_ramp_moves_in_one_direction(from_: int, to: int, moments: list[int]) -> None:
    """The border never turns round, so a unit changes its variant once at most."""
    ramp = program.Ramp(START_MS, END_MS, from_, to)
    borders = [ramp.bound(moment) for moment in moments]
    assert borders == sorted(borders, reverse=from_ > to)


@given(
    st.integers(0, 100_000),
    st.floats(0, 1e6),
    st.sampled_from([1, 1_000]),
    st.lists(times, min_size=2, max_size=20).map(sorted),
)
def test_a_ramp_of_a_given_slope_moves_in_one_direction(
    from_: int, slope: float, step_ms: int, moments: list[int]
) -> None:
    """In double precision too, which other systems compute in."""
    ramp = program.Ramp(START_MS, END_MS, from_, 2**62, slope, step_ms)
    borders = [ramp.bound(moment) for moment in moments]
    assert borders == sorted(borders)


@pytest.mark.parametrize("slope", [None, 0.0, 1e-9, 100.0])
def test_a_ramp_begins_and_ends_where_it_says(slope: float | None) -> None:
    """Whatever the slope: at the end it is there, a millisecond before the start not yet off."""
    ramp = program.Ramp(START_MS, END_MS, 5_000, 60_000, slope)
    assert [ramp.bound(t) for t in (0, START_MS - 1, START_MS)] == [5_000] * 3
    assert [ramp.bound(t) for t in (END_MS, END_MS + 1, 2**62)] == [60_000] * 3


@pytest.mark.parametrize(("from_", "to"), [(0, 100_000), (5_000, 60_000), (90_000, 10_000)])
def test_who_is_in_stays_in(from_: int, to: int) -> None:
    """Every quarter of an hour, through the compiled flag; each unit by its bucket alone."""
    compiled = compile_flag("f", flag(from_, to), {})
    assert compiled.problems == ()
    buckets = {unit: bucket("f3b1", unit) for unit in UNITS}
    before: set[str] | None = None
    for now_ms in range(START_MS - HOUR_MS, END_MS + 2 * HOUR_MS, HOUR_MS // 4):
        answers = {unit: compiled.evaluate({"targetingKey": unit}, now_ms) for unit in UNITS}
        assert {answer.reason for answer in answers.values()} == {"SPLIT"}
        inside = {unit for unit, answer in answers.items() if answer.value is True}
        border = share_by_the_page(from_, to, now_ms)
        assert inside == {unit for unit, number in buckets.items() if number < border}
        if before is not None:
            assert before <= inside if to > from_ else inside <= before
        before = inside


@given(shares, shares, times)
def test_a_rollout_of_the_share_a_ramp_has_reached_moves_nobody(
    from_: int, to: int, now_ms: int
) -> None:
    """That is how a ramp is stopped."""
    reached = ramp_arms(Ramp("on", "off", START, END, from_, to), now_ms)
    weights = {arm.variant: arm.weight for arm in reached}
    wanted = [Arm(name, weights.get(name, 0)) for name in ("off", "on")]
    assert layout(reallocate(reached, wanted)) == layout(reached)
