"""What a change moves, and what it needs consent for."""

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from control_plane.errors import Conflict
from control_plane.flags.rebucketing import Moved, check_consent, keep_ranges, moved_between
from proxy.contract.definitions import Arm, EnvironmentConfig, Flag, Rollout, Rule, Serve
from tests.support.definitions import uses


def split(*weights: int, by: str = "targetingKey", ranges: Any = None) -> Serve:
    """Return a rollout over v0, v1, ... with ranges in order, or those given."""
    arms, start = [], 0
    for number, weight in enumerate(weights):
        held = [(start, start + weight)] if ranges is None else ranges[number]
        arms.append(Arm(f"v{number}", weight, held))
        start += weight
    return Serve(rollout=Rollout(arms, by))


def flag(serve: Serve, salt: str = "s", rule: Serve | None = None) -> Flag:
    """Return a flag that falls through to this in production."""
    rules = [] if rule is None else [Rule(uses("beta"), rule, id="r")]
    config = EnvironmentConfig(serve, salt=salt, rules=rules)
    return Flag("f", "string", {"v0": "a", "v1": "b", "v2": "c"}, {"production": config})


def test_the_exact_number_of_buckets_is_counted() -> None:
    """From what each variant held to what it holds."""
    before, after = flag(split(25_000, 75_000)), flag(split(60_000, 40_000))
    assert moved_between(before, after) == [Moved("production", "fallthrough", 35_000)]


def test_going_over_to_a_rollout_moves_what_others_get() -> None:
    """A plain variant is a rollout of one arm."""
    plain = flag(Serve(variant="v1"))
    assert moved_between(plain, flag(split(10_000, 90_000))) == [
        Moved("production", "fallthrough", 10_000)
    ]
    assert moved_between(flag(split(10_000, 90_000)), plain) == [
        Moved("production", "fallthrough", 10_000)
    ]


def test_two_plain_variants_are_not_reported() -> None:
    """Everybody moves, and whoever changes a value knows."""
    assert moved_between(flag(Serve(variant="v0")), flag(Serve(variant="v1"))) == []


def test_rules_are_compared_by_their_id() -> None:
    """A rule that is new is not compared: its condition decides who meets it."""
    before = flag(Serve(variant="v0"), rule=split(50_000, 50_000))
    after = flag(Serve(variant="v0"), rule=split(49_999, 50_001))
    assert moved_between(before, after) == [Moved("production", "rules/r", 1)]
    assert moved_between(flag(Serve(variant="v0")), after) == []


def test_another_salt_moves_as_many_as_chance_would() -> None:
    """1 - (0.5 * 0.5 + 0.5 * 0.5) of all, as an expectation."""
    before, after = flag(split(50_000, 50_000)), flag(split(50_000, 50_000), salt="t")
    assert moved_between(before, after) == [Moved("production", "fallthrough", 50_000, True)]


@pytest.mark.parametrize(
    "after",
    [flag(split(50_000, 50_000), salt="t"), flag(split(50_000, 50_000, by="company"))],
    ids=["salt", "by"],
)
def test_new_buckets_for_everybody_need_consent(after: Flag) -> None:
    """The refusal says how many would move, and how to insist."""
    before = flag(split(50_000, 50_000))
    with pytest.raises(Conflict, match=r"about 50000 of 100000.*rebucket=true") as refused:
        check_consent(before, after, rebucket=False)
    assert refused.value.code == "rebucketing"
    check_consent(before, after, rebucket=True)


def test_weights_need_no_consent() -> None:
    """Only as many move as have to."""
    check_consent(flag(split(1_000, 99_000)), flag(split(99_000, 1_000)), rebucket=False)


def test_a_first_rollout_by_an_attribute_needs_no_consent() -> None:
    """Nobody had a bucket: how many change is known, and nobody changes without need."""
    before = flag(Serve(variant="v0"))
    after = flag(split(70_000, 30_000, by="company"))
    check_consent(before, after, rebucket=False)
    assert moved_between(before, after) == [Moved("production", "fallthrough", 30_000)]
    check_consent(after, before, rebucket=False)
    assert moved_between(after, before) == [Moved("production", "fallthrough", 30_000)]


def test_no_ranges_are_the_same_as_absent_ones() -> None:
    """`[]` in every arm holds no bucket, and would be counted as if nobody had a variant."""
    none: Any = [[], []]
    assert keep_ranges(None, split(60_000, 40_000, ranges=none)) == split(60_000, 40_000)
    stored = split(50_000, 50_000)
    assert keep_ranges(stored, split(40_000, 60_000, ranges=none)) == keep_ranges(
        stored, split(40_000, 60_000, ranges=[UNSET, UNSET])
    )


def test_ranges_that_are_pieces_are_counted_piece_by_piece() -> None:
    """Years of changes leave many."""
    before = split(4, 99_996, ranges=[[(0, 2), (10, 12)], [(2, 10), (12, 100_000)]])
    after = split(4, 99_996, ranges=[[(1, 2), (11, 14)], [(0, 1), (2, 11), (14, 100_000)]])
    assert moved_between(flag(before), flag(after)) == [Moved("production", "fallthrough", 4)]


def test_arms_that_cannot_be_laid_out_are_left_to_validation() -> None:
    """Whoever wrote 90 % is told the sum, and not given a layout."""
    wrong = Serve(rollout=Rollout([Arm("v0", 40_000), Arm("v1", 50_000)]))
    kept = keep_ranges(None, wrong)
    assert kept.rollout is not UNSET
    assert [arm.ranges for arm in kept.rollout.arms] == [UNSET, UNSET]
    twice = Serve(rollout=Rollout([Arm("v0", 50_000), Arm("v0", 50_000)]))
    assert keep_ranges(None, twice) == twice


def test_an_arm_that_comes_takes_from_those_that_shrink() -> None:
    """The highest buckets first, and nothing else moves."""
    stored = split(50_000, 50_000)
    assert stored.rollout is not UNSET
    arms = [Arm("v0", 40_000), Arm("v1", 50_000), Arm("v2", 10_000)]
    kept = keep_ranges(stored, Serve(rollout=replace(stored.rollout, arms=arms)))
    assert kept.rollout is not UNSET
    assert [arm.ranges for arm in kept.rollout.arms] == [
        [(0, 40_000)],
        [(50_000, 100_000)],
        [(40_000, 50_000)],
    ]
