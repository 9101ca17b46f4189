"""What is known of a fleet, and what follows from it at a moment."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.model import (
    DROPPED_MS,
    MISSING_MS,
    STATES,
    EnvironmentFleet,
    Filter,
    Heard,
    Published,
    Survey,
    bounded,
    state_of,
    surveying,
)
from proxy.contract.fleet import UNCONFIRMED_MS
from proxy.contract.steps import finish
from tests.control_plane.fleet.builders import CURRENT, standing

NOW = 1_800_000_000_000
NONE_KNOWN = Published([], [])


def survey(fleet: EnvironmentFleet, published: Published = NONE_KNOWN, **options: object) -> Survey:
    """Sum a fleet up."""
    steps = surveying(fleet.instances, CURRENT, NOW, published, **options)  # type: ignore[arg-type]
    return finish(steps)


@pytest.mark.parametrize(
    ("silent_ms", "told", "state"),
    [
        (0, {}, "current"),
        (0, {"revision": 41}, "behind"),
        (0, {"revision": None}, "behind"),
        (0, {"revision": 43}, "current"),  # this replica has not heard of it yet
        (0, {"revision": 43, "epoch": "e0"}, "behind"),
        (0, {"revision": 40, "digest": "d42"}, "current"),  # the content is the same
        (0, {"age_ms": UNCONFIRMED_MS}, "unconfirmed"),
        (0, {"age_ms": UNCONFIRMED_MS, "revision": 41}, "unconfirmed"),
        (UNCONFIRMED_MS - 501, {}, "current"),
        (UNCONFIRMED_MS - 500, {}, "unconfirmed"),  # silence ages
        (MISSING_MS - 1, {}, "unconfirmed"),
        (MISSING_MS, {}, "missing"),
        (-3_600_000, {}, "current"),  # heard by a replica whose clock is ahead
    ],
)
def test_the_state_of_an_instance(silent_ms: int, told: dict[str, object], state: str) -> None:
    """Silence, then age, then content."""
    heard = Heard(standing(**told), NOW - silent_ms)  # type: ignore[arg-type]
    assert state_of(heard, CURRENT, NOW) == state


@given(st.integers(), st.integers(), st.integers(), st.integers())
def test_numbers_are_possible_ones(serving: int, age: int, revision: int, uptime: int) -> None:
    """Whatever a clock or somebody else claims; what follows from them is a time."""
    told = bounded(
        standing(serving_ms=serving, age_ms=age, revision=revision, uptime_ms=uptime, digest="d")
    )
    for number in (told.serving_ms, told.age_ms, told.revision, told.uptime_ms):
        assert number is not None
        assert 0 <= number < 1 << 53
    assert Heard(told, NOW).serving_since_ms > 0


@given(st.permutations(range(6)), st.integers(0, 5))
def test_the_latest_of_an_instance_counts_in_any_order(order: list[int], leaving: int) -> None:
    """Replicas hear of each other late, and twice."""
    fleet = EnvironmentFleet()
    every = [
        Heard(standing(revision=number, leaving=number == leaving), NOW + number)
        for number in range(6)
    ]
    for number in [*order, *order]:
        fleet.take(every[number])
    if leaving == 5:
        assert fleet.instances == {}
    else:
        assert fleet.instances == {"i-1": every[5]}


def test_what_is_heard_here_is_later_than_what_is_known() -> None:
    """Though another replica's clock is ahead, or ours went back."""
    fleet = EnvironmentFleet()
    fleet.take(Heard(standing(revision=41), NOW + 5_000))
    assert fleet.take(Heard(standing(), fleet.heard_at("i-1", NOW)))
    assert fleet.instances["i-1"].standing.revision == 42
    assert fleet.take(Heard(standing(leaving=True), fleet.heard_at("i-1", NOW)))
    assert fleet.take(Heard(standing(), fleet.heard_at("i-1", NOW))), "it started again"


def test_who_is_silent_is_dropped_in_time() -> None:
    """And who left is remembered only as long as others may tell of it late."""
    fleet = EnvironmentFleet()
    fleet.take(Heard(standing("silent"), NOW - DROPPED_MS))
    fleet.take(Heard(standing("missing"), NOW - DROPPED_MS + 1))
    fleet.take(Heard(standing("left", leaving=True), NOW - MISSING_MS))
    silent, left = fleet.drop(NOW)
    assert (silent.names, left.names) == (["silent"], ["left"])
    assert list(fleet.instances) == ["missing"]
    assert fleet.take(Heard(standing("left"), NOW - MISSING_MS - 1)), "nothing of it is known"


def test_two_that_share_a_name_are_noticed() -> None:
    """A process that was followed by another one never comes back; restarts are no sharing."""
    fleet = EnvironmentFleet()
    for number, run in enumerate(("a", "b", "b", "c")):  # restarted twice
        fleet.take(Heard(standing(run=run), NOW + number))
    assert fleet.shared(NOW) == set()
    fleet.take(Heard(standing(run="b"), NOW + 10))
    assert fleet.shared(NOW + 10) == {"i-1"}
    assert fleet.shared(NOW + 10 + MISSING_MS) == set(), "it was mended"
    fleet.take(Heard(standing(run="b", leaving=True), NOW + 20))
    assert fleet.shared(NOW + 20) == set()


def test_a_fleet_is_summed_up() -> None:
    """By state, revision, application, label; the missing are in their state's count alone."""
    fleet = EnvironmentFleet()
    shop = {"application": "shop", "application_version": "1"}
    for each in (
        standing("a", labels={"region": "eu"}, **shop),
        standing("b", labels={"region": "us"}, **shop),
        standing("c", 40, labels={"region": "eu"}, age_ms=7_000, **shop),
        standing("d", None),
    ):
        fleet.take(Heard(each, NOW))
    fleet.take(Heard(standing("e", 1), NOW - MISSING_MS))
    published = Published([40, 41, 42], [NOW - 9_000, NOW - 5_000, NOW - 1_000])
    found = survey(fleet, published, by="region")
    assert found.states == {"current": 2, "behind": 2, "unconfirmed": 0, "missing": 1}
    assert found.revisions == {("e1", 42): 2, ("e1", 40): 1, (None, None): 1}
    assert (found.most_behind, found.behind_since_ms) == (2, NOW - 5_000)
    assert found.oldest_age_ms == 7_000
    tallies = {name: (t.instances, t.current) for name, t in found.applications.items()}
    assert tallies == {("shop", "1"): (3, 2), ("", ""): (1, 0)}
    regions = {name: (t.instances, t.current) for name, t in found.labels.items()}
    assert regions == {"eu": (2, 1), "us": (1, 1), "": (1, 0)}


def test_pages_have_laggards_first_and_everybody_once() -> None:
    """Unconfirmed, behind by most, missing, current; each page goes on where the last ended."""
    fleet = EnvironmentFleet()
    names = [f"i-{number}" for number in range(300)]
    random.Random(4).shuffle(names)
    for number, name in enumerate(names):
        revision = 42 - number % 3
        silent_ms = (0, 0, UNCONFIRMED_MS, MISSING_MS)[number % 4]
        fleet.take(Heard(standing(name, revision), NOW - silent_ms))
    seen: list[tuple[str, int | None, str]] = []
    after = None
    while True:
        page = survey(fleet, after=after, limit=7).listed
        if not page:
            break
        seen += [(i.state, i.heard.standing.revision, i.heard.standing.instance) for i in page]
        after = page[-1].place
    assert sorted(name for _, _, name in seen) == sorted(names)
    order = {"unconfirmed": 0, "behind": 1, "missing": 2, "current": 3}
    assert seen == sorted(seen, key=lambda row: (order[row[0]], row[1] or 0, row[2]))
    assert {row[0] for row in seen} == set(STATES)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter(), ["b", "c", "a"]),
        (Filter(revision=41), ["b"]),
        (Filter(state="current"), ["a"]),
        (Filter(label=("region", "eu")), ["b", "a"]),
        (Filter(label=("region", "")), []),
        (Filter(instance="c"), ["c"]),
        (Filter(instance="c", state="current"), []),
    ],
)
def test_filters_choose_what_is_listed(wanted: Filter, names: list[str]) -> None:
    """And leave the sums alone."""
    fleet = EnvironmentFleet()
    fleet.take(Heard(standing("a", labels={"region": "eu"}), NOW))
    fleet.take(Heard(standing("b", 41, labels={"region": "eu"}), NOW))
    fleet.take(Heard(standing("c"), NOW - MISSING_MS))
    found = survey(fleet, wanted=wanted, limit=10)
    assert [each.heard.standing.instance for each in found.listed] == names
    assert found.matching == len(names)
    assert sum(found.states.values()) == 3
