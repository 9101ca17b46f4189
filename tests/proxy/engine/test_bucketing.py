"""Buckets are fixed for ever; reallocation moves exactly what it must."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmh3 import mmh3_32_uintdigest

from proxy.contract.definitions import BUCKETS, Arm
from proxy.engine.bucketing import (
    Piece,
    bucket,
    layout,
    reallocate,
    salt_prefix,
    threshold,
    unit_bytes,
)
from proxy.engine.hashing import first_number
from tests.proxy.engine.strategies import VARIANTS, any_json
from tests.proxy.engine.strategies import arms as arms_of
from tests.vectors import make_bucketing, murmur3

VECTORS = json.loads(make_bucketing.PATH.read_text())["vectors"]


def arms(*named: Any) -> list[Arm]:
    """Return arms from (variant, weight) or (variant, weight, ranges)."""
    return [Arm(*each) for each in named]


def holders(of: list[Arm]) -> list[str | None]:
    """Return who holds each bucket."""
    held: list[str | None] = [None] * BUCKETS
    for low, high, variant in layout(of):
        held[low:high] = [variant] * (high - low)
    return held


def moved(old: list[Arm], new: list[Arm]) -> int:
    """Return how many buckets have another holder, piece by piece."""
    count, others = 0, iter([*layout(new), Piece(BUCKETS, BUCKETS, "")])
    other = next(others)
    for low, high, variant in layout(old):
        while other.low < high:
            if other.variant != variant:
                count += max(0, min(high, other.high) - max(low, other.low))
            if other.high > high:
                break
            other = next(others)
    return count


@pytest.mark.parametrize(
    ("unit", "expected"), [("u-1", 86_271), ("ä", 1_659), ("42", 96_669)], ids=ascii
)
def test_the_check_values_of_the_flag_model(unit: str, expected: int) -> None:
    """Salt f3b1."""
    assert bucket("f3b1", unit) == expected


def test_the_golden_vectors() -> None:
    """Every vector, computed by another implementation, gets the same hash and bucket, or none."""
    assert len(VECTORS) == 10_000
    for vector in VECTORS:
        unit = unit_bytes(vector["unit"])
        if unit is None:
            assert vector["bucket"] is vector["hash"] is None, vector
            continue
        assert mmh3_32_uintdigest(salt_prefix(vector["salt"]) + unit) == vector["hash"], vector
        assert bucket(vector["salt"], unit.decode()) == vector["bucket"], vector


def test_the_golden_vectors_have_units_of_every_kind() -> None:
    """Text of any script and length, numbers written as integers and not, and what is no unit."""
    units = [vector["unit"] for vector in VECTORS]
    assert {type(unit) for unit in units} == {str, int, float, bool, type(None), list, dict}
    texts = [unit for unit in units if isinstance(unit, str)]
    assert sum(not text.isascii() for text in texts) > 1_000
    assert sum(any(character > "\uffff" for character in text) for text in texts) > 300
    assert max(map(len, texts)) > 8_000
    assert sum(vector["bucket"] is None for vector in VECTORS) > 200


def test_the_vectors_are_what_their_maker_makes() -> None:
    """Nobody edits golden values by hand."""
    assert Path(make_bucketing.PATH).read_text() == make_bucketing.document()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text("ab-_0", min_size=1))
def test_the_hash_is_murmur3_over_utf8(unit: str, salt: str) -> None:
    """Also for text of any length and script."""
    assert bucket(salt, unit) == murmur3.bucket(salt, unit)


@given(st.integers(0, 2**32 - 1), st.integers(0, BUCKETS))
def test_a_threshold_is_a_cut_on_the_scale_of_the_hash(h: int, cut: int) -> None:
    """Comparing hashes is comparing buckets."""
    assert (h < threshold(cut)) == ((h * BUCKETS) >> 32 < cut)


@given(st.integers(1, 2**33), st.data())
def test_a_threshold_is_exact_on_any_scale(size: int, data: st.DataObject) -> None:
    """It is the smallest hash whose number is not below the cut; none is at the end."""
    cut = data.draw(st.integers(0, size) | st.sampled_from([0, 1, size - 1, size]))
    found = threshold(cut, size)
    assert found == first_number(2**32, lambda h: h * size >> 32 >= cut)


@pytest.mark.parametrize("cut", [1, 49_999, 50_000, 99_999])
def test_a_threshold_is_exact_at_the_cut(cut: int) -> None:
    """One hash less is one bucket less."""
    assert (threshold(cut) * BUCKETS) >> 32 == cut
    assert ((threshold(cut) - 1) * BUCKETS) >> 32 == cut - 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u", b"u"),
        (" u ", b" u "),
        ("ä", "ä".encode()),
        (42, b"42"),
        (42.0, b"42"),
        (-0.0, b"0"),
        (-7, b"-7"),
        (2**53 - 1, b"9007199254740991"),
        (float(2**53 - 1), b"9007199254740991"),
    ],
)
def test_strings_and_whole_numbers_are_units(value: Any, expected: bytes) -> None:
    """As they are, without trimming; numbers as their decimal."""
    assert unit_bytes(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "\ud800", True, False, None, 0.5, 2**53, -(2**53), 2.0**53, 1e300, [], ["u"], {}),
        *(float("nan"), float("inf"), float("-inf")),
    ],
    ids=repr,
)
def test_everything_else_is_no_unit(value: Any) -> None:
    """A missing unit, not an error."""
    assert unit_bytes(value) is None


@settings(deadline=None)
@given(any_json)
def test_no_value_makes_it_raise(value: Any) -> None:
    """Any JSON may stand where a unit is expected."""
    unit = unit_bytes(value)
    assert unit is None or len(unit) > 0


def test_a_salt_is_followed_by_a_dot() -> None:
    """So that salt `a` with unit `b.c` can be told from salt `a.b` by whoever reads the formula."""
    assert salt_prefix("ä") == "ä.".encode()


def test_arms_without_ranges_follow_each_other() -> None:
    """In their order; those of no weight hold nothing."""
    laid = layout(arms(("b", 30_000), ("none", 0), ("a", 70_000)))
    assert laid == [Piece(0, 30_000, "b"), Piece(30_000, 100_000, "a")]


def test_neighbouring_ranges_of_a_variant_are_one_piece() -> None:
    """However they are written and ordered."""
    laid = layout(
        arms(("a", 50_000, [(20_000, 50_000), (0, 20_000)]), ("b", 50_000, [(50_000, 100_000)]))
    )
    assert laid == [Piece(0, 50_000, "a"), Piece(50_000, 100_000, "b")]


@settings(deadline=None)
@given(arms_of())
def test_the_pieces_of_arms_are_a_partition(drawn: list[dict[str, Any]]) -> None:
    """Every bucket is held once, and each variant holds its weight."""
    given_arms = msgspec.convert(drawn, list[Arm])
    held = holders(given_arms)
    for arm in given_arms:
        assert held.count(arm.variant) == arm.weight


def test_a_shrinking_arm_gives_its_highest_buckets() -> None:
    """25 % to 20 %: what was 20,000 to 24,999 goes to the other."""
    new = reallocate(arms(("on", 25_000), ("off", 75_000)), arms(("on", 20_000), ("off", 80_000)))
    assert new == arms(("on", 20_000, [(0, 20_000)]), ("off", 80_000, [(20_000, 100_000)]))


def test_a_growing_arm_takes_what_was_given_up_first() -> None:
    """Highest first: two growing arms share what one gives, in their order."""
    new = reallocate(arms(("a", 100_000)), arms(("a", 70_000), ("b", 10_000), ("c", 20_000)))
    assert [arm.ranges for arm in new] == [[(0, 70_000)], [(90_000, 100_000)], [(70_000, 90_000)]]


def test_what_the_first_arm_gives_up_is_taken_first() -> None:
    """In arm order on both sides, when several give and several take."""
    old = arms(("a", 40_000), ("b", 40_000), ("c", 10_000), ("d", 10_000))
    new = reallocate(old, arms(("a", 30_000), ("b", 30_000), ("c", 20_000), ("d", 20_000)))
    assert [arm.ranges for arm in new] == [
        [(0, 30_000)],
        [(40_000, 70_000)],
        [(30_000, 40_000), (80_000, 90_000)],
        [(70_000, 80_000), (90_000, 100_000)],
    ]


def test_a_rollout_that_grows_and_shrinks_again_is_where_it_was() -> None:
    """On 10 %, up to 30 %, back to 10 %: the first users keep theirs."""
    ten, thirty = arms(("on", 10_000), ("off", 90_000)), arms(("on", 30_000), ("off", 70_000))
    grown = reallocate(ten, thirty)
    assert grown[0].ranges == [(0, 10_000), (80_000, 100_000)]
    assert holders(reallocate(grown, ten)) == holders(ten)


def test_the_order_of_arms_does_not_matter_to_who_holds_what() -> None:
    """Swapping arms in a document moves nobody."""
    old = arms(("on", 25_000), ("off", 75_000))
    assert holders(reallocate(old, old[::-1])) == holders(old)


def test_ranges_that_an_author_sends_are_ignored() -> None:
    """The control plane keeps them."""
    old = arms(("on", 50_000), ("off", 50_000))
    sent = arms(("on", 50_000, [(50_000, 100_000)]), ("off", 50_000, [(0, 50_000)]))
    assert holders(reallocate(old, sent)) == holders(old)


@settings(deadline=None)
@given(arms_of(), arms_of(), arms_of())
def test_exactly_the_growth_moves(
    one: list[dict[str, Any]], two: list[dict[str, Any]], three: list[dict[str, Any]]
) -> None:
    """Over any sequence of weights: the fewest possible buckets change, the rest stay, all held."""
    first, *later = (msgspec.convert(each, list[Arm]) for each in (one, two, three))
    now = reallocate([], first)
    assert holders(now) == holders(first)
    for wanted in later:
        weights = {arm.variant: arm.weight for arm in now}
        growth = sum(max(0, arm.weight - weights.get(arm.variant, 0)) for arm in wanted)
        new = reallocate(now, wanted)
        before, after = holders(now), holders(new)
        assert sum(a != b for a, b in zip(before, after, strict=True)) == growth
        assert [(arm.variant, arm.weight) for arm in new] == [(a.variant, a.weight) for a in wanted]
        assert all(after.count(arm.variant) == arm.weight for arm in new)
        for arm in new:
            assert arm.ranges == sorted(arm.ranges or [])
        now = new


@settings(max_examples=25)
@given(st.lists(arms_of(), min_size=10, max_size=40))
def test_exactly_the_growth_moves_however_long_the_chain(chain: list[list[dict[str, Any]]]) -> None:
    """Variants that come and go, weights of nothing, any order: never one bucket more than must."""
    now = reallocate([], msgspec.convert(chain[0], list[Arm]))
    for drawn in chain[1:]:
        wanted = msgspec.convert(drawn, list[Arm])
        weights = {arm.variant: arm.weight for arm in now}
        new = reallocate(now, wanted)
        assert moved(now, new) == sum(max(0, a.weight - weights.get(a.variant, 0)) for a in wanted)
        assert sum(high - low for low, high, _ in layout(new)) == BUCKETS
        now = new


@given(st.lists(st.integers(0, BUCKETS), min_size=2, max_size=30))
def test_a_rollout_that_only_grows_takes_nobody_back(weights: list[int]) -> None:
    """Step by step, who is in stays in."""
    now = arms(("on", 0), ("off", BUCKETS))
    held: set[tuple[int, int]] = set()
    for weight in sorted(weights):
        now = reallocate(now, arms(("on", weight), ("off", BUCKETS - weight)))
        ranges = now[0].ranges or []
        assert all(any(low <= a and b <= high for low, high in ranges) for a, b in held)
        held = set(ranges)


def test_ranges_do_not_crumble() -> None:
    """A thousand changes of all of five arms leave some dozens of pieces."""
    names = ["a", "b", "c", "d", "e"]
    now = reallocate([], arms(*((name, 20_000) for name in names)))
    for step in range(1_000):
        cuts = sorted(murmur3.murmur3_x86_32(b"%d,%d" % (step, i)) % BUCKETS for i in range(4))
        bounds = zip([0, *cuts], [*cuts, BUCKETS], strict=True)
        weights = [high - low for low, high in bounds]
        now = reallocate(now, arms(*zip(names, weights, strict=True)))
    assert len(layout(now)) < 150


def test_unchanged_weights_change_nothing() -> None:
    """A document read and sent back is the same document."""
    now = reallocate([], arms(*((name, 25_000) for name in VARIANTS)))
    assert reallocate(now, now) == now


def test_weights_that_sum_to_too_much_leave_the_last_arm_short() -> None:
    """No endless search for buckets; validation refuses it afterwards."""
    new = reallocate(arms(("a", 100_000)), arms(("a", 100_000), ("b", 1)))
    assert new[1].ranges == []
