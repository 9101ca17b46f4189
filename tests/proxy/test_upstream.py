"""Which replica is asked next, and when: each has its own delays, nobody waits for a bad one."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from proxy.supervise import Backoff
from proxy.upstream import Upstream

ONE, THREE = ("a",), ("a", "b", "c")


class Clock:
    """Time that a test moves, and a gate for each address."""

    def __init__(self) -> None:
        self.now = 0.0
        self.closed: Counter[str] = Counter()

    def upstream(self, addresses: Sequence[str], draw: float = 0.0) -> Upstream:
        """Return replicas that draw the same each time."""
        return Upstream(
            addresses,
            lambda: Backoff(1.0, 8.0, lambda: draw),
            closed_s=lambda address: self.closed[address],
            draw=lambda: draw,
            clock=lambda: self.now,
        )


def test_one_replica_is_asked_again_with_growing_delays() -> None:
    """As if there were no list; and from the start again once it was well."""
    clock = Clock()
    upstream = clock.upstream(ONE, 0.5)
    waits = []
    for _ in range(6):
        upstream.move_on()
        waits.append(upstream.wait_s())
        clock.now += waits[-1]
        assert (upstream.wait_s(), upstream.address) == (0.0, "a")
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    upstream.succeeded()
    upstream.move_on(after_s=10.0)
    assert upstream.wait_s() == 10.5


def test_sidecars_begin_with_all_of_them() -> None:
    """Drawn at random, so that none gets all."""
    clock = Clock()
    begun = Counter(clock.upstream(THREE, draw / 300).address for draw in range(300))
    assert begun == {"a": 100, "b": 100, "c": 100}


def test_a_failure_moves_on_without_waiting_for_the_one_that_failed() -> None:
    """Only as long as it takes for thousands not to arrive together."""
    clock = Clock()
    upstream = clock.upstream(THREE)
    upstream.move_on(after_s=100.0)
    assert (upstream.wait_s(), upstream.address) == (0.0, "b")
    upstream.move_on(after_s=100.0)
    upstream.move_on(after_s=50.0)
    assert (upstream.wait_s(), upstream.address) == (50.0, "c")
    spread = clock.upstream(THREE, 0.3)
    spread.move_on(spread_s=20.0)
    assert (spread.wait_s(), spread.address) == (6.0, "b")


def test_a_closed_replica_is_passed_over() -> None:
    """What closed it holds for every asker: it asked for patience, or denied the key."""
    clock = Clock()
    upstream = clock.upstream(THREE)
    clock.closed.update(a=5, b=7, c=3)
    assert (upstream.wait_s(), upstream.address) == (3.0, "c")
    clock.closed["a"] = 0
    assert (upstream.wait_s(), upstream.address) == (0.0, "a")


def test_a_preference_does_not_change_whose_answer_is_awaited() -> None:
    """Or a failure of one would be laid at another's door."""
    upstream = Clock().upstream(THREE)
    assert upstream.wait_s() == 0.0
    upstream.prefer("c")
    upstream.prefer("nobody")
    assert upstream.address == "a"
    assert upstream.wait_s() == 0.0
    assert upstream.address == "c"


def test_the_wait_can_be_cut_short_but_not_what_closed_it() -> None:
    """News is a reason to ask again; a denied key stays denied."""
    clock = Clock()
    upstream = clock.upstream(ONE, 0.5)
    upstream.move_on(after_s=30.0)
    upstream.hurry()
    assert upstream.wait_s() == 0.0
    clock.closed["a"] = 4
    assert upstream.wait_s() == 4.0


async def test_ready_waits_until_one_may_be_asked() -> None:
    """In real time."""
    upstream = Upstream(THREE, lambda: Backoff(0.01, 0.02))
    for _ in range(6):
        address = await upstream.ready()
        assert address == upstream.address
        upstream.move_on()


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["fail", "well", "tick"]), st.floats(0, 20)), max_size=40),
)
def test_no_replica_is_asked_before_its_time_and_the_wait_is_the_shortest(
    count: int, steps: list[tuple[str, float]]
) -> None:
    """Whatever happened: if any may be asked, one is, and it is one that may."""
    clock = Clock()
    addresses = [str(number) for number in range(count)]
    upstream = clock.upstream(addresses, 0.5)
    away: dict[str, float] = dict.fromkeys(addresses, 0.0)
    for step, amount in steps:
        if step == "tick":
            clock.now += amount
        wait_s = upstream.wait_s()
        assert clock.now + wait_s >= away[upstream.address] - 1e-9
        clock.now += wait_s
        assert upstream.wait_s() <= 1e-9
        if step == "fail":
            away[upstream.address] = clock.now + amount
            upstream.move_on(after_s=amount)
        elif step == "well":
            upstream.succeeded()
