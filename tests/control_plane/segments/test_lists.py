"""What becomes of lists, compared with what becomes of two sets."""

from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.publishing.units import StoredBlob
from control_plane.segments import lists as module
from control_plane.segments.lists import (
    EXCLUDE,
    INCLUDE,
    REMOVE,
    NewLists,
    OldList,
    UnitChanges,
    divide,
    is_long,
    long_list,
    needed,
    new_lists,
    rebuild,
    short_list,
    work_out,
)
from control_plane.segments.packed import unpack
from proxy.contract.definitions import UnitList, UnitLists
from proxy.contract.steps import finish
from proxy.contract.units import EMPTY_BLOB, digest_of, hash_unit, read_blob, split

Said = list[tuple[int, str]]


class Stored(NamedTuple):
    """Lists as they are stored: what the record has, and the blobs it names."""

    lists: NewLists
    blobs: dict[str, StoredBlob]

    def old(self) -> tuple[OldList, OldList]:
        """Return the lists as something to change."""
        units = self.lists.units
        if not isinstance(units, UnitLists):
            return short_list(self.lists.included), short_list(self.lists.excluded)
        held = {digest: blob.hashes for digest, blob in self.blobs.items()}
        included, excluded = long_list(units.included, held), long_list(units.excluded, held)
        assert included is not None
        assert excluded is not None
        return included, excluded


def units_of(stored: Stored) -> tuple[set[str], set[str]]:
    """Return the units in the two lists, having checked that all of it fits together."""
    held = {EMPTY_BLOB: StoredBlob(b"", b"[]")} | stored.blobs
    units = stored.lists.units
    if not isinstance(units, UnitLists):
        return set(stored.lists.included), set(stored.lists.excluded)
    assert stored.lists.included == stored.lists.excluded == []
    found: list[set[str]] = []
    for part in (units.included, units.excluded):
        texts: list[str] = []
        if isinstance(part, UnitList):
            blobs = [held[digest] for digest in part.blobs]
            for digest, blob in zip(part.blobs, blobs, strict=True):
                assert read_blob(blob.hashes, digest) == blob.hashes
                texts += module.decode_units(blob.units) or []
            assert [blob.hashes for blob in blobs] == split([hash_unit(t) or b"" for t in texts])
            assert part.count == len(texts) > 0
        found.append(set(texts))
    return found[0], found[1]


def change(stored: Stored, said: Iterable[tuple[int, str]]) -> tuple[Stored, set[str]]:
    """Return the lists after a change, and the digests whose units were asked for."""
    changes = UnitChanges()
    for word, unit in said:
        changes.add(word, unit)
    old = stored.old()
    worked_out = finish(work_out(changes, *old))
    wanted: set[str] = set()
    for part, its in zip(old, worked_out, strict=True):
        wanted |= needed(part, its, long=is_long(*worked_out))
    fetched = {digest: stored.blobs[digest].units for digest in wanted}
    lists = finish(rebuild(old, worked_out, fetched))
    return Stored(lists, stored.blobs | lists.blobs), wanted


def start(included: Iterable[str] = (), excluded: Iterable[str] = ()) -> Stored:
    """Return lists of these units."""
    lists = finish(new_lists(list(included), list(excluded)))
    return Stored(lists, dict(lists.blobs))


def apply(sets: tuple[set[str], set[str]], said: Said) -> tuple[set[str], set[str]]:
    """Return what the words make of two sets."""
    included, excluded = set(sets[0]), set(sets[1])
    for word, unit in said:
        included.discard(unit)
        excluded.discard(unit)
        if word != REMOVE:
            (included, excluded)[word].add(unit)
    return included, excluded


def numbered(count: int, prefix: str = "u") -> list[str]:
    """Return so many units."""
    return [f"{prefix}{number}" for number in range(count)]


said_of_few = st.lists(
    st.tuples(st.sampled_from([INCLUDE, EXCLUDE, REMOVE]), st.sampled_from(numbered(40))),
    max_size=60,
)


@settings(deadline=None)
@given(st.lists(said_of_few, max_size=4), st.integers(0, 30), st.integers(1, 6))
def test_lists_become_what_sets_would(steps: list[Said], inline: int, a_blob: int) -> None:
    """From short to long and back, over every number of blobs, with the last word on each unit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "INLINE_UNITS", inline)
        patch.setattr("proxy.contract.units._UNITS_A_BLOB", a_blob)
        stored, expected = start(), (set[str](), set[str]())
        for said in steps:
            stored, _ = change(stored, said)
            expected = apply(expected, said)
            assert units_of(stored) == expected
            assert (sum(map(len, expected)) > inline) == isinstance(stored.lists.units, UnitLists)


def test_a_thousand_units_are_short_and_one_more_are_long() -> None:
    """Those of both lists together; a list without units is left out."""
    short = start(numbered(600), numbered(400, "x"))
    assert short.lists.included == sorted(numbered(600))
    assert short.lists.excluded == sorted(numbered(400, "x"))
    long, _ = change(short, [(INCLUDE, "one more")])
    assert isinstance(long.lists.units, UnitLists)
    back, _ = change(long, [(REMOVE, "one more")])
    assert back.lists == short.lists
    only = start(numbered(2_000)).lists.units
    assert isinstance(only, UnitLists)
    assert not isinstance(only.excluded, UnitList)


def test_one_unit_more_asks_for_one_blob_and_makes_one() -> None:
    """Whatever the length of the list."""
    stored = start(numbered(20_000))
    after, wanted = change(stored, [(INCLUDE, "new")])
    assert len(wanted) == 1
    assert len(after.lists.blobs) == 1
    assert units_of(after)[0] == {*numbered(20_000), "new"}


def test_what_is_so_already_changes_nothing() -> None:
    """No blob is asked for, none is made."""
    stored = start(numbered(5_000), numbered(10, "x"))
    after, wanted = change(stored, [(INCLUDE, "u1"), (REMOVE, "nobody"), (EXCLUDE, "x1")])
    assert wanted == set()
    assert (after.lists.blobs, after.lists.units) == ({}, stored.lists.units)


def test_units_of_equal_lists_are_equal_whatever_way_they_came() -> None:
    """A list is content, not history: its blobs are found again."""
    at_once = start(numbered(10_000))
    step_by_step = start(numbered(9_000))
    for begin in range(9_000, 10_000, 250):
        step_by_step, _ = change(
            step_by_step, [(INCLUDE, f"u{n}") for n in range(begin, begin + 250)]
        )
    assert step_by_step.lists.units == at_once.lists.units


def test_all_units_can_be_taken_out_without_reading_one() -> None:
    """What is left is empty, and short."""
    stored = start(numbered(5_000))
    after, wanted = change(stored, [(REMOVE, unit) for unit in numbered(5_000)])
    assert wanted == set()
    assert units_of(after) == (set(), set())
    assert after.lists.units is not stored.lists.units


def test_units_that_are_not_what_the_blob_says_are_refused() -> None:
    """Of a damaged store nothing is made."""
    stored = start(numbered(5_000))
    changes = UnitChanges()
    changes.add(INCLUDE, "new")
    old = stored.old()
    worked_out = finish(work_out(changes, *old))
    (digest,) = needed(old[0], worked_out[0], long=True)
    for units in (b'["u1"]', b"[", b"[1]"):
        with pytest.raises(KeyError):
            finish(rebuild(old, worked_out, {digest: units}))
    with pytest.raises(KeyError):
        finish(rebuild(old, worked_out, {}))


def test_a_list_of_which_a_blob_is_not_held_is_none() -> None:
    """What is in it cannot be told; an empty blob is held by everybody."""
    digest = digest_of(b"a" * 12)
    assert long_list(UnitList(1, [digest]), {}) is None
    assert long_list(UnitList(0, [EMPTY_BLOB]), {}) is not None


@given(st.lists(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=4)), max_size=5))
def test_divided_units_are_in_order_from_range_to_range(parts: list[set[str]]) -> None:
    """Each range sorted, one after the other, is all of them sorted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_UNITS_A_RANGE", 4)
        blobs = [
            module.stored_blob({(hash_unit(u) or b""): u for u in part}).units for part in parts
        ]
        ranges = finish(divide(blobs))
    assert ranges is not None
    found = [unit for part in ranges for unit in sorted(unpack(part))]
    assert found == sorted(unit for part in parts for unit in part)


def test_ranges_are_of_some_thousands() -> None:
    """So that sorting one holds nobody up; one that cannot be read is none."""
    stored = start(numbered(40_000))
    ranges = finish(divide([blob.units for blob in stored.blobs.values()]))
    assert ranges is not None
    assert max(len(unpack(part)) for part in ranges) < 3 * 4_096
    assert finish(divide([b"["])) is None
