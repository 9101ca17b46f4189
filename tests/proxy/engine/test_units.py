"""Sets of units: the same answers as a set of strings, in an eighth of its memory."""

import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.definitions import UnitList
from proxy.contract.problems import Problem
from proxy.contract.steps import finish
from proxy.contract.units import (
    EMPTY_BLOB,
    UNIT_BYTES,
    digest_of,
    hash_unit,
    split,
)
from proxy.engine.units import UnitSet, unit_set


def list_of(units: set[str]) -> tuple[UnitList, dict[str, bytes]]:
    """Return a list of units as a definition has it, and its blobs."""
    blobs = split([h for unit in units if (h := hash_unit(unit)) is not None])
    digests = [digest_of(blob) for blob in blobs]
    return UnitList(len(units), digests), dict(zip(digests, blobs, strict=True))


def made(units: set[str]) -> UnitSet:
    """Return the set of units."""
    found = finish(unit_set(*list_of(units)))
    assert isinstance(found, UnitSet)
    return found


def of_hashes(blobs: list[bytes]) -> UnitSet | Problem:
    """Return what is made of blobs."""
    digests = [digest_of(blob) for blob in blobs]
    units = UnitList(sum(map(len, blobs)) // UNIT_BYTES, digests)
    return finish(unit_set(units, dict(zip(digests, blobs, strict=True))))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.sets(texts, max_size=60), st.lists(st.text(max_size=8), max_size=60))
def test_it_answers_as_a_set_does(units: set[str], others: list[str]) -> None:
    """For text of any kind, lone surrogates too, which are never in."""
    found = made(units)
    assert all(found.contains(unit) for unit in units)
    assert all(found.contains(other) == (other in units) for other in others)


@pytest.mark.parametrize("count", [1_001, 4_096, 4_097, 9_000, 40_000])
def test_it_answers_alike_whatever_the_number_of_blobs(count: int) -> None:
    """The bits that choose the blob and those that choose the place in it are other ones."""
    units = {f"user-{number}" for number in range(count)}
    found = made(units)
    assert all(found.contains(unit) for unit in units)
    assert not any(found.contains(f"user-{number}") for number in range(count, count * 2))


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, b"u", "\ud800", "", "u" * 10**6])
def test_it_never_raises(value: Any) -> None:
    """Contexts hold what they like."""
    assert made({"u"}).contains(value) is False
    assert made(set()).contains(value) is False


def test_a_unit_is_found_among_many_that_fall_together() -> None:
    """Somebody may choose his units; a search by halves does not mind."""
    wanted = hash_unit("wanted") or b""
    near = [wanted[:8] + number.to_bytes(4, "big") for number in range(5_000)]
    whole = sorted({*near, wanted})
    parts = [b"".join(h for h in whole if h[0] >> 7 == top) for top in (0, 1)]
    found = of_hashes(parts)
    assert isinstance(found, UnitSet)
    assert found.contains("wanted")
    without = of_hashes([part.replace(wanted, b"") for part in parts])
    assert isinstance(without, UnitSet)
    assert not without.contains("wanted")


def test_the_end_of_one_unit_and_the_beginning_of_the_next_are_none() -> None:
    """Twelve bytes are looked for, and only whole units count."""
    # A unit whose hash lies across two others that are looked through together.
    for number in range(10_000):
        wanted = hash_unit(f"u{number}") or b""
        first, second = wanted[:1] + bytes(5) + wanted[:6], wanted[6:] + bytes(6)
        if first < second and first[0] == second[0]:
            break
    assert wanted in first + second
    found = of_hashes([first + second])
    assert isinstance(found, UnitSet)
    assert not found.contains(f"u{number}")
    whole = of_hashes([b"".join(sorted([first, second, wanted]))])
    assert isinstance(whole, UnitSet)
    assert whole.contains(f"u{number}")


def test_a_list_whose_blob_is_not_there_is_a_problem() -> None:
    """Its segment cannot be used; the place is in the list."""
    units, blobs = list_of({f"u{n}" for n in range(5_000)})
    del blobs[units.blobs[1]]
    problem = finish(unit_set(units, blobs))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.pointer) == ("missing_blob", "/blobs/1")


def test_the_empty_blob_need_not_be_there() -> None:
    """Everybody knows what is in it."""
    found = finish(unit_set(UnitList(0, [EMPTY_BLOB]), {}))
    assert isinstance(found, UnitSet)
    assert not found.contains("u")


def test_blobs_in_another_order_are_a_problem() -> None:
    """They would say no of units that are in."""
    units, blobs = list_of({f"u{n}" for n in range(5_000)})
    problem = finish(unit_set(UnitList(units.count, units.blobs[::-1]), blobs))
    assert isinstance(problem, Problem)
    assert problem.code == "invalid_blob"


def test_another_count_than_the_blobs_have_is_a_problem() -> None:
    """What people read of a list must be true."""
    units, blobs = list_of({"a", "b"})
    problem = finish(unit_set(UnitList(3, units.blobs), blobs))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.pointer) == ("invalid_blob", "/count")


def test_a_list_wrong_in_itself_is_a_problem() -> None:
    """Though all its blobs are there."""
    units, blobs = list_of({"a", "b"})
    problem = finish(unit_set(UnitList(2, units.blobs * 2), blobs))
    assert isinstance(problem, Problem)


def test_what_did_not_change_is_taken_over() -> None:
    """One changed unit costs one index; the work is in steps, one for each blob made."""
    units = {f"u{n}" for n in range(20_000)}
    before = made(units)
    changed, blobs = list_of({*units, "new"} - {"u0"})
    steps = sum(1 for _ in unit_set(changed, blobs, before))
    assert 1 <= steps <= 2
    afresh = sum(1 for _ in unit_set(changed, blobs))
    assert afresh == 8
    after = finish(unit_set(changed, blobs, before))
    assert isinstance(after, UnitSet)
    assert (after.contains("new"), after.contains("u0"), after.contains("u1")) == (
        True,
        False,
        True,
    )


def test_a_list_divided_otherwise_takes_nothing_over() -> None:
    """The same blob has another index there."""
    few = {f"u{n}" for n in range(10)}
    many = {f"u{n}" for n in range(9_000)}
    found = finish(unit_set(*list_of(many), made(few)))
    assert isinstance(found, UnitSet)
    assert all(found.contains(unit) for unit in many)


def test_a_blob_that_is_of_more_of_the_list_than_before_has_another_index() -> None:
    """It may be the same blob, when all units that came in belong to others."""
    low = b"".join(bytes([n >> 6]) + n.to_bytes(11, "big") for n in range(4_096))
    high = b"".join(b"\xff" + n.to_bytes(11, "big") for n in range(4_096))
    before = of_hashes([low])
    assert isinstance(before, UnitSet)
    digests = [digest_of(low), digest_of(high)]
    blobs = dict(zip(digests, (low, high), strict=True))
    after = finish(unit_set(UnitList(8_192, digests), blobs, before))
    assert isinstance(after, UnitSet)
    assert after._parts[0][1] != before._parts[0][1]


def test_a_unit_costs_no_more_than_sixteen_bytes() -> None:
    """All in: the blobs, the indexes and what they are in."""
    units = {f"user-{number}" for number in range(100_000)}
    unit_list, blobs = list_of(units)
    found = finish(unit_set(unit_list, blobs))
    assert isinstance(found, UnitSet)
    indexes = sum(sys.getsizeof(part) + sum(map(sys.getsizeof, part)) for part in found._parts)
    others = sys.getsizeof(found) + sys.getsizeof(found._parts) + sys.getsizeof(found._of)
    names = sum(map(sys.getsizeof, unit_list.blobs))
    assert indexes + others + names <= 16 * len(units)


def test_the_index_of_a_large_blob_is_wide_enough() -> None:
    """Places above 65,535 bytes do not fit into two."""
    top = hash_unit("wanted") or b""
    near = {top[:1] + number.to_bytes(11, "big") for number in range(7_000)} | {top}
    lower, upper = sorted(h for h in near if h[0] < 128), sorted(h for h in near if h[0] >= 128)
    found = of_hashes([b"".join(lower), b"".join(upper)])
    assert isinstance(found, UnitSet)
    assert found.contains("wanted")
    assert all(before < after for before, after in pairwise([*lower, *upper]))
