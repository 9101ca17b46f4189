"""Deduplication within the hour, bounds, and that nothing is forgotten."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.units import MAX_UNIT_CHARS
from proxy.exposures.buffer import ExposureBuffer, Seen

HOUR_MS = 3_600_000


def seen(unit: str = "u", flag: str = "f", variant: str = "on") -> Seen:
    """Return an exposure."""
    return Seen(flag, variant, unit, "targetingKey", None, "SPLIT", "e1", 7)


def test_a_repeat_within_the_hour_is_counted_into_the_record() -> None:
    """With the time of the first."""
    buffer = ExposureBuffer(10)
    for now_ms in (5, 6, 7):
        buffer.add(seen(), now_ms)
    (exposure,) = buffer.take(10)
    assert (exposure.count, exposure.first_seen_ms) == (3, 5)
    assert (buffer.received, buffer.deduplicated) == (3, 2)


def test_another_flag_variant_or_unit_is_another_exposure() -> None:
    """Only all three together are a repeat."""
    buffer = ExposureBuffer(10)
    for each in (seen(), seen(unit="v"), seen(flag="g"), seen(variant="off")):
        buffer.add(each, 0)
    assert len(buffer.take(10)) == 4


def test_what_was_handed_out_is_still_a_repeat() -> None:
    """One exposure an hour, not one per report."""
    buffer = ExposureBuffer(10)
    buffer.add(seen(), 0)
    buffer.take(10)
    buffer.add(seen(), HOUR_MS - 1)
    assert buffer.take(10) == []
    assert buffer.deduplicated == 1


def test_another_hour_counts_anew() -> None:
    """And what waits of the last one comes first, with its own time."""
    buffer = ExposureBuffer(10)
    buffer.add(seen(), 5)
    buffer.add(seen(), HOUR_MS + 5)
    buffer.add(seen(), HOUR_MS + 6)
    assert [(e.first_seen_ms, e.count) for e in buffer.take(10)] == [(5, 1), (HOUR_MS + 5, 2)]


def test_what_does_not_fit_is_lost_and_counted() -> None:
    """Repeats of what is there still fit."""
    buffer = ExposureBuffer(2)
    for unit in ("a", "b", "c", "a"):
        buffer.add(seen(unit), 0)
    assert (len(buffer), buffer.lost, buffer.deduplicated) == (2, 1, 1)


def test_a_unit_beyond_the_bound_is_lost() -> None:
    """No identifier is that long."""
    buffer = ExposureBuffer(20)
    buffer.add(seen("x" * MAX_UNIT_CHARS), 0)
    buffer.add(seen("x" * (MAX_UNIT_CHARS + 1)), 0)
    assert (len(buffer), buffer.lost) == (1, 1)


def test_what_was_handed_out_is_remembered_in_bounded_room() -> None:
    """The oldest is forgotten, the latest are not."""
    buffer = ExposureBuffer(1000, generation=10)
    for number in range(100):
        buffer.add(seen(str(number)), 0)
        buffer.take(1)
    buffer.add(seen("99"), 0)
    buffer.add(seen("90"), 0)
    assert len(buffer) == 0
    buffer.add(seen("0"), 0)
    assert len(buffer) == 1


def test_units_can_be_disguised_when_they_leave() -> None:
    """Inside they are still told apart."""
    buffer = ExposureBuffer(10, lambda unit: unit[::-1])
    for _ in range(2):
        buffer.add(seen("secret"), 0)
    assert [(e.unit, e.count) for e in buffer.take()] == [("terces", 2)]


def test_a_clock_that_swings_around_the_turn_of_an_hour_turns_it_once() -> None:
    """Or each swing would report everybody again, and push out who is new."""
    buffer = ExposureBuffer(10)
    for step in range(100):
        buffer.add(seen(), 5 * HOUR_MS - step % 2)
    assert (len(buffer), buffer.deduplicated) == (1, 99)


def test_a_clock_that_was_far_ahead_does_not_stop_the_hours() -> None:
    """It is set right, by days, and everybody is reported again in each hour from then on."""
    buffer = ExposureBuffer(10)
    for hour in (1000, 3, 4, 5):
        buffer.add(seen(), hour * HOUR_MS)
    assert [e.first_seen_ms // HOUR_MS for e in buffer.take()] == [1000, 3, 4, 5]


def test_units_without_end_are_all_reported_in_bounded_room() -> None:
    """More than can be remembered; each once."""
    buffer = ExposureBuffer(5_000, generation=10_000)
    for number in range(250_000):
        buffer.add(seen(f"{number:06}"), 0)
        if number % 2_000 == 0:
            buffer.take()
    assert buffer.received == buffer.deduplicated + buffer.lost + buffer.taken + len(buffer)
    assert (buffer.lost, buffer.deduplicated) == (0, 0)


def test_the_memory_of_what_waits_is_bounded_in_bytes() -> None:
    """Of the longest units that there may be, and the widest characters."""
    buffer = ExposureBuffer(500, generation=1_000)
    tracemalloc.start()
    for number in range(5_000):
        buffer.add(seen(f"{number:06}" + "\U0001f388" * 1000), HOUR_MS)
        if number % 1_000 == 0:
            buffer.take()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 500 * 256 * 4 + 2 * 1_000 * 100, "twice: what was taken last is still here"


def test_long_texts_count_for_more_than_one() -> None:
    """Whoever holds a client key can fill them in."""
    buffer = ExposureBuffer(100)
    for number in range(100):
        buffer.add(seen(f"{number:03}" + "x" * 1000), 0)
    assert (len(buffer), buffer.lost) == (25, 75)
    buffer.take()
    buffer.add(seen("ordinary"), 0)
    assert len(buffer) == 1


STEPS = st.lists(
    st.tuples(st.just("add"), st.integers(0, 9), st.integers(0, 9))
    | st.tuples(st.just("take"), st.integers(0, 5), st.just(0)),
    max_size=200,
)


@given(STEPS)
def test_nothing_is_counted_twice_or_forgotten(steps: list[tuple[str, int, int]]) -> None:
    """After every step of any sequence, and counts of records add up to what came."""
    buffer = ExposureBuffer(5, generation=3)
    handed_out = 0
    for action, number, hour in steps:
        if action == "add":
            buffer.add(seen(str(number)), hour * HOUR_MS)
        else:
            handed_out += len(buffer.take(number))
        assert buffer.taken == handed_out
        assert buffer.received == buffer.deduplicated + buffer.lost + handed_out + len(buffer)
        assert len(buffer) <= 5
