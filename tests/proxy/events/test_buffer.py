"""Events that wait: told apart by id, bounded in bytes."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS
from proxy.events.buffer import EventBuffer, Written


def event(number: int, size: int = 10) -> Written:
    """Return an event."""
    return Written(str(number), b"%d" % number + b"x" * size)


def test_an_id_counts_once_within_the_hour() -> None:
    """Handed out or not; and again two hours later at most."""
    buffer = EventBuffer(10_000)
    assert buffer.add(event(1), 0)
    assert not buffer.add(event(1), 1)
    buffer.take()
    assert not buffer.add(event(1), 3599)
    assert buffer.add(event(2), 7201)
    assert buffer.add(event(3), 10802)
    assert buffer.add(event(1), 10803)
    assert (buffer.received, buffer.deduplicated, len(buffer)) == (6, 2, 3)


def test_ids_without_end_are_remembered_in_bounded_room() -> None:
    """The latest of them."""
    buffer = EventBuffer(10**6, generation=10)
    for number in range(1000):
        assert buffer.add(event(number), 0)
        buffer.take()
    assert [buffer.add(event(number), 0) for number in (999, 990, 0)] == [False, False, True]


def test_there_is_room_for_so_many_bytes_and_again_when_they_are_handed_out() -> None:
    """All of a report, or none."""
    buffer = EventBuffer(1000)
    many = [event(number, 200) for number in range(5)]
    assert not buffer.room_for(many)
    assert not buffer.room_for(many, ever=True)
    assert buffer.room_for(many[:3])
    for each in many[:3]:
        buffer.add(each, 0)
    assert not buffer.room_for(many[3:])
    assert buffer.room_for(many[3:], ever=True)
    buffer.take()
    assert buffer.room_for(many[3:])


def test_what_is_handed_out_is_a_batch_in_order() -> None:
    """No more than one has, in items and in bytes."""
    buffer = EventBuffer(10**8)
    for number in range(MAX_BATCH_ITEMS + 1):
        assert buffer.has_batch is (number >= MAX_BATCH_ITEMS)
        buffer.add(event(number), 0)
    assert buffer.has_batch
    taken = [bytes(raw) for raw in buffer.take()]
    assert taken == [event(number).body for number in range(MAX_BATCH_ITEMS)]
    assert len(buffer.take()) == 1
    for number in range(10_000, 10_030):
        buffer.add(event(number, 100_000), 0)
    assert buffer.has_batch
    assert sum(len(bytes(raw)) for raw in buffer.take()) < MAX_BATCH_BYTES + 110_000


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 200), st.booleans()), max_size=100))
def test_nothing_is_counted_twice_or_forgotten(steps: list[tuple[int, int, bool]]) -> None:
    """And when all is handed out there is all the room."""
    buffer = EventBuffer(1000, generation=3)
    taken = 0
    for number, size, take in steps:
        if take:
            taken += len(buffer.take())
        elif buffer.room_for([event(number, size)]):
            buffer.add(event(number, size), 0)
        assert buffer.received == buffer.deduplicated + taken + len(buffer)
    buffer.take()
    assert buffer.room_for([Written("", b"x" * 900)])
    assert not buffer.room_for([Written("", b"x" * 901)])
