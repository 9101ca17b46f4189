"""How long a revision took to be served by who was connected when it came."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.model import MISSING_MS, EnvironmentFleet, Heard
from control_plane.fleet.revisions import MAX_REVISIONS, Convergence, Revisions
from proxy.contract.sync import SnapshotPointer
from tests.control_plane.fleet.builders import standing

NOW = 1_800_000_000_000


def pointer(revision: int) -> SnapshotPointer:
    """Return what names a revision."""
    return SnapshotPointer("e1", revision, f"d{revision}")


def connected(*names: str, revision: int = 41) -> EnvironmentFleet:
    """Return a fleet that serves a revision."""
    fleet = EnvironmentFleet()
    for name in names:
        fleet.take(Heard(standing(name, revision), NOW - 1_000))
    return fleet


def serve(fleet: EnvironmentFleet, name: str, revision: int, after_ms: int) -> None:
    """Hear that an instance began to serve a revision so long after now, half a second later."""
    told = standing(name, revision, serving_ms=500)
    fleet.take(Heard(told, NOW + after_ms + 500))


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=40), st.randoms())
def test_it_is_counted_from_the_change_to_the_swap(after: list[int], chance: object) -> None:
    """Half, 99 % and all of them, whatever the order in which they tell."""
    names = [f"i-{number}" for number in range(len(after))]
    fleet = connected(*names)
    fleet.published(pointer(42), NOW, NOW)
    told = list(zip(names, after, strict=True))
    chance.shuffle(told)  # type: ignore[attr-defined]
    for name, after_ms in told[:-1]:
        serve(fleet, name, 42, after_ms)
    (before,) = fleet.revisions.newest_first()
    assert (before.served, before.all_ms) == (len(after) - 1, None)
    serve(fleet, *(told[-1][0], 42, told[-1][1]))
    (found,) = fleet.revisions.newest_first()
    ordered = sorted(after)
    assert (found.connected, found.served, found.gone) == (len(after), len(after), 0)
    assert found.half_ms == ordered[(len(after) + 1) // 2 - 1]
    assert found.most_ms == ordered[-(-len(after) * 99 // 100) - 1]
    assert found.all_ms == ordered[-1]


def test_only_who_was_connected_is_waited_for() -> None:
    """Not who was silent by then, nor who came later, nor who has that content already."""
    fleet = connected("a")
    fleet.take(Heard(standing("silent", 41), NOW - 61_000))
    fleet.take(Heard(standing("has it", 41, digest="d42"), NOW - 1_000))
    fleet.published(pointer(42), NOW, NOW)
    serve(fleet, "new", 42, 10)
    serve(fleet, "silent", 42, 20)
    serve(fleet, "a", 42, 30)
    (found,) = fleet.revisions.newest_first()
    assert (found.connected, found.served, found.all_ms) == (1, 1, 30)


def test_a_later_revision_counts_for_those_before() -> None:
    """An instance that was overtaken by the next change has seen to this one too."""
    fleet = connected("a", "b")
    fleet.published(pointer(42), NOW, NOW)
    serve(fleet, "a", 42, 100)
    fleet.published(pointer(43), NOW + 200, NOW + 700)
    serve(fleet, "b", 43, 900)
    newest, before = fleet.revisions.newest_first()
    assert (newest.connected, newest.served, newest.half_ms, newest.all_ms) == (2, 1, 700, None)
    assert (before.served, before.half_ms, before.all_ms) == (2, 100, 900)


def test_who_leaves_is_waited_for_no_more() -> None:
    """Or a revision would never be everywhere."""
    fleet = connected("a", "b", "c")
    fleet.published(pointer(42), NOW, NOW)
    serve(fleet, "a", 42, 5)
    fleet.take(Heard(standing("b", 41, leaving=True), NOW + 10))
    (found,) = fleet.revisions.newest_first()
    assert (found.connected, found.served, found.gone, found.all_ms) == (3, 1, 1, None)
    fleet.drop(NOW + 2 * 3600_000)
    (found,) = fleet.revisions.newest_first()
    assert (found.served, found.gone, found.all_ms) == (1, 2, 5)


def test_another_epoch_is_another_count() -> None:
    """Its numbers say nothing of the one before."""
    fleet = connected("a")
    fleet.published(SnapshotPointer("e2", 1, "d1"), NOW, NOW)
    serve(fleet, "a", 42, 5)
    (found,) = fleet.revisions.newest_first()
    assert found.served == 0
    fleet.take(Heard(standing("a", 1, epoch="e2", serving_ms=0), NOW + 600))
    (found,) = fleet.revisions.newest_first()
    assert found.all_ms == 600


def test_a_swap_before_the_change_took_no_time() -> None:
    """Clocks of replicas differ a little; nothing is negative."""
    fleet = connected("a")
    fleet.published(pointer(42), NOW, NOW)
    fleet.take(Heard(standing("a", 42, serving_ms=5_000), NOW + 100))
    assert fleet.revisions.newest_first()[0].all_ms == 0


def test_no_more_than_the_last_are_remembered() -> None:
    """In memory and in what is stored."""
    fleet = connected("a")
    for number in range(MAX_REVISIONS + 5):
        fleet.published(pointer(42 + number), NOW + number, NOW + number)
    found = fleet.revisions.newest_first()
    assert [each.revision for each in found] == list(range(66, 46, -1))
    old = fleet.revisions.take_stored([*found, *(convergence(number, 0) for number in range(1, 4))])
    assert [each.revision for each in old] == [3, 2, 1]


def convergence(revision: int, known: int) -> Convergence:
    """Return figures of another replica, of so many instances."""
    return Convergence("e1", revision, NOW - 1_000 + revision, 9, known, 0, None, None, None)


def test_who_knows_more_is_believed() -> None:
    """A replica that started in the middle of it, or heard less so far, takes the other's."""
    fleet = connected("a", "b")
    fleet.published(pointer(42), NOW, NOW)
    fleet.revisions.take_stored([convergence(41, 7), convergence(42, 1)])
    assert [(c.revision, c.connected) for c in fleet.revisions.newest_first()] == [(42, 9), (41, 9)]
    serve(fleet, "a", 42, 5)
    assert fleet.revisions.newest_first()[0].connected == 2


def test_what_changed_is_written_once() -> None:
    """And again when it could not be."""
    fleet = connected("a")
    revisions: Revisions = fleet.revisions
    fleet.published(pointer(42), NOW, NOW)
    assert [each.served for each in revisions.unwritten()] == [0]
    assert list(revisions.unwritten()) == []
    serve(fleet, "a", 42, 5)
    assert [each.served for each in revisions.unwritten()] == [1]
    revisions.write_again()
    assert [each.served for each in revisions.unwritten()] == [1]
    revisions.take_stored(revisions.newest_first())
    revisions.write_again()
    assert list(revisions.unwritten()) == [], "it is there already"


def test_silence_is_not_leaving() -> None:
    """A missing instance is still waited for."""
    fleet = connected("a")
    fleet.published(pointer(42), NOW, NOW)
    fleet.drop(NOW + MISSING_MS)
    assert fleet.revisions.newest_first()[0].gone == 0
