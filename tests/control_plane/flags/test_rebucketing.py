"""What a change moves, and what it needs consent for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from control_plane.errors import Conflict
from control_plane.flags.rebucketing import (
    Moved,
    check_consent,
    keep_ranges,
    moved_between,
    served_before,
)
from proxy.contract.definitions import (
    BUCKETS,
    Arm,
    EnvironmentConfig,
    Flag,
    Prerequisite,
    Ramp,
    Rollout,
    Rule,
    Serve,
    Window,
)
from tests.support.definitions import uses

DAY_MS = 86_400_000
START_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z
NOW_MS = START_MS + 3 * DAY_MS


def ramp(
    to: int = BUCKETS,
    *,
    since: int = 0,
    variants: tuple[str, str] = ("v0", "v1"),
    days: tuple[int, int] = (1, 11),
    by: str = "targetingKey",
) -> Serve:
    """Return a ramp between two days of December; with ten days, a tenth more each."""
    start, end = (f"2026-12-{day:02}T00:00:00Z" for day in days)
    return Serve(ramp=Ramp(*variants, start, end, since, to, by))


def split(*weights: int, by: str = "targetingKey", ranges: Any = None) -> Serve:
    """Return a rollout over v0, v1, ... with ranges in order, or those given."""
    arms, start = [], 0
    for number, weight in enumerate(weights):
        held = [(start, start + weight)] if ranges is None else ranges[number]
        arms.append(Arm(f"v{number}", weight, held))
        start += weight
    return Serve(rollout=Rollout(arms, by))


def flag(serve: Serve, salt: str = "s", rule: Serve | None = None, **fields: Any) -> Flag:
    """Return a flag that falls through to this in production."""
    rules = [] if rule is None else [Rule(uses("beta"), rule, id="r")]
    config = replace(EnvironmentConfig(serve, salt=salt, rules=rules), **fields)
    return Flag("f", "string", {"v0": "a", "v1": "b", "v2": "c"}, {"production": config})


def test_the_exact_number_of_buckets_is_counted() -> None:
    """From what each variant held to what it holds."""
    before, after = flag(split(25_000, 75_000)), flag(split(60_000, 40_000))
    assert moved_between(before, after, NOW_MS) == [Moved("production", "fallthrough", 35_000)]


def test_going_over_to_a_rollout_moves_what_others_get() -> None:
    """A plain variant is a rollout of one arm."""
    plain = flag(Serve(variant="v1"))
    assert moved_between(plain, flag(split(10_000, 90_000)), NOW_MS) == [
        Moved("production", "fallthrough", 10_000)
    ]
    assert moved_between(flag(split(10_000, 90_000)), plain, NOW_MS) == [
        Moved("production", "fallthrough", 10_000)
    ]


def test_two_plain_variants_are_not_reported() -> None:
    """Everybody moves, and whoever changes a value knows."""
    assert moved_between(flag(Serve(variant="v0")), flag(Serve(variant="v1")), NOW_MS) == []


def test_rules_are_compared_by_their_id() -> None:
    """A rule that is new is not compared: its condition decides who meets it."""
    before = flag(Serve(variant="v0"), rule=split(50_000, 50_000))
    after = flag(Serve(variant="v0"), rule=split(49_999, 50_001))
    assert moved_between(before, after, NOW_MS) == [Moved("production", "rules/r", 1)]
    assert moved_between(flag(Serve(variant="v0")), after, NOW_MS) == []


def test_another_salt_moves_as_many_as_chance_would() -> None:
    """1 - (0.5 * 0.5 + 0.5 * 0.5) of all, as an expectation."""
    before, after = flag(split(50_000, 50_000)), flag(split(50_000, 50_000), salt="t")
    assert moved_between(before, after, NOW_MS) == [
        Moved("production", "fallthrough", 50_000, True)
    ]


@pytest.mark.parametrize(
    "after",
    [flag(split(50_000, 50_000), salt="t"), flag(split(50_000, 50_000, by="company"))],
    ids=["salt", "by"],
)
def test_new_buckets_for_everybody_need_consent(after: Flag) -> None:
    """The refusal says how many would move, and how to insist."""
    before = flag(split(50_000, 50_000))
    with pytest.raises(Conflict, match=r"about 50000 of 100000.*rebucket=true") as refused:
        check_consent(before, after, NOW_MS, rebucket=False)
    assert refused.value.code == "rebucketing"
    check_consent(before, after, NOW_MS, rebucket=True)


def test_where_nobody_would_move_no_consent_is_needed() -> None:
    """A salt tells nothing apart where all get the same, and hashes nobody twice."""
    plain, whole = Serve(variant="v0"), split(100_000)
    for before, after in (
        (flag(plain), flag(plain, salt="t")),
        (flag(plain), flag(Serve(variant="v1"), salt="t")),
        (flag(whole), flag(whole, salt="t")),
        (flag(whole), flag(split(100_000, by="company"))),
        (flag(whole), flag(split(100_000, 0), salt="t")),
    ):
        check_consent(before, after, NOW_MS, rebucket=False)
        assert moved_between(before, after, NOW_MS) == []


def test_another_salt_with_a_first_rollout_moves_whom_the_rollout_does() -> None:
    """Nobody had a bucket under the old one; so, too, when a rollout ends."""
    plain, halves = flag(Serve(variant="v0")), flag(split(50_000, 50_000), salt="t")
    for before, after in ((plain, halves), (halves, plain)):
        check_consent(before, after, NOW_MS, rebucket=False)
        assert moved_between(before, after, NOW_MS) == [Moved("production", "fallthrough", 50_000)]


def test_a_salt_matters_in_the_places_that_split_only() -> None:
    """The refusal names these, with the salt."""
    before = flag(Serve(variant="v0"), rule=split(50_000, 50_000))
    after = flag(Serve(variant="v1"), salt="t", rule=split(50_000, 50_000))
    with pytest.raises(Conflict, match=r"^salt, rules/r of 'production'.*about 50000 of 100000"):
        check_consent(before, after, NOW_MS, rebucket=False)


def test_the_refusal_speaks_of_its_environment() -> None:
    """Not of another one, where more would move."""
    halves = flag(split(50_000, 50_000)).environments["production"]
    few = flag(split(1_000, 99_000)).environments["production"]
    before = flag(split(50_000, 50_000))
    before = replace(before, environments={"a": few, "b": halves})
    configs = {name: replace(c, salt="t") for name, c in before.environments.items()}
    after = replace(before, environments=configs)
    with pytest.raises(Conflict, match=r"of 'a' .*about 1980 of"):
        check_consent(before, after, NOW_MS, rebucket=False)


def ruled(*rules: tuple[str, str, Serve]) -> Flag:
    """Return a flag with rules: an id, the segment that it is for, and what it serves."""
    made = [Rule(uses(segment), serve, id=id_) for id_, segment, serve in rules]
    return flag(Serve(variant="v0"), rules=made)


def test_a_new_name_for_a_rule_is_no_way_around_consent() -> None:
    """It is known by its condition when its id is gone."""
    halves, by_company = split(50_000, 50_000), split(50_000, 50_000, by="company")
    before = ruled(("a", "beta", halves))
    after = ruled(("first", "eu", Serve(variant="v1")), ("b", "beta", by_company))
    with pytest.raises(Conflict, match=r"rules/b of 'production'.*about 50000 of 100000"):
        check_consent(before, after, NOW_MS, rebucket=False)
    after = ruled(("b", "beta", split(60_000, 40_000)))
    assert moved_between(before, after, NOW_MS) == [Moved("production", "rules/b", 10_000)]


def test_a_rule_with_another_condition_or_beside_the_old_one_is_new() -> None:
    """Who met the old one says nothing of who meets it."""
    halves, by_company = split(50_000, 50_000), split(50_000, 50_000, by="company")
    before = ruled(("a", "beta", halves))
    for after in (
        ruled(("b", "eu", by_company)),
        ruled(("a", "beta", halves), ("b", "beta", by_company)),
    ):
        check_consent(before, after, NOW_MS, rebucket=False)
        assert moved_between(before, after, NOW_MS) == []


def test_of_rules_with_one_condition_the_one_in_the_same_place_is_meant() -> None:
    """Then the first that is left."""
    one, two = split(10_000, 90_000), split(20_000, 80_000)
    before = ruled(("a", "beta", one), ("b", "beta", two))
    config = before.environments["production"]

    def places(*rules: tuple[str, str, Serve]) -> dict[str, Serve]:
        new = ruled(*rules).environments["production"]
        found = served_before(config, new)
        return {name: found[name] for name in found if name in ("rules/x", "rules/y")}

    assert places(("x", "beta", one), ("y", "beta", two)) == {"rules/x": one, "rules/y": two}
    new = (("z", "eu", one), ("y", "beta", two), ("x", "beta", one))
    assert places(*new) == {"rules/y": two, "rules/x": one}


def test_weights_need_no_consent() -> None:
    """Only as many move as have to."""
    check_consent(flag(split(1_000, 99_000)), flag(split(99_000, 1_000)), NOW_MS, rebucket=False)


def test_a_first_rollout_by_an_attribute_needs_no_consent() -> None:
    """Nobody had a bucket: how many change is known, and nobody changes without need."""
    before = flag(Serve(variant="v0"))
    after = flag(split(70_000, 30_000, by="company"))
    check_consent(before, after, NOW_MS, rebucket=False)
    assert moved_between(before, after, NOW_MS) == [Moved("production", "fallthrough", 30_000)]
    check_consent(after, before, NOW_MS, rebucket=False)
    assert moved_between(after, before, NOW_MS) == [Moved("production", "fallthrough", 30_000)]


def test_no_ranges_are_the_same_as_absent_ones() -> None:
    """`[]` in every arm holds no bucket, and would be counted as if nobody had a variant."""
    none: Any = [[], []]
    assert keep_ranges(None, split(60_000, 40_000, ranges=none), NOW_MS) == split(60_000, 40_000)
    stored = split(50_000, 50_000)
    assert keep_ranges(stored, split(40_000, 60_000, ranges=none), NOW_MS) == keep_ranges(
        stored, split(40_000, 60_000, ranges=[UNSET, UNSET]), NOW_MS
    )


def test_ranges_that_are_pieces_are_counted_piece_by_piece() -> None:
    """Years of changes leave many."""
    before = split(4, 99_996, ranges=[[(0, 2), (10, 12)], [(2, 10), (12, 100_000)]])
    after = split(4, 99_996, ranges=[[(1, 2), (11, 14)], [(0, 1), (2, 11), (14, 100_000)]])
    assert moved_between(flag(before), flag(after), NOW_MS) == [
        Moved("production", "fallthrough", 4)
    ]


def test_arms_that_cannot_be_laid_out_are_left_to_validation() -> None:
    """Whoever wrote 90 % is told the sum, and not given a layout."""
    wrong = Serve(rollout=Rollout([Arm("v0", 40_000), Arm("v1", 50_000)]))
    kept = keep_ranges(None, wrong, NOW_MS)
    assert kept.rollout is not UNSET
    assert [arm.ranges for arm in kept.rollout.arms] == [UNSET, UNSET]
    twice = Serve(rollout=Rollout([Arm("v0", 50_000), Arm("v0", 50_000)]))
    assert keep_ranges(None, twice, NOW_MS) == twice


def test_an_arm_that_comes_takes_from_those_that_shrink() -> None:
    """The highest buckets first, and nothing else moves."""
    stored = split(50_000, 50_000)
    assert stored.rollout is not UNSET
    arms = [Arm("v0", 40_000), Arm("v1", 50_000), Arm("v2", 10_000)]
    kept = keep_ranges(stored, Serve(rollout=replace(stored.rollout, arms=arms)), NOW_MS)
    assert kept.rollout is not UNSET
    assert [arm.ranges for arm in kept.rollout.arms] == [
        [(0, 40_000)],
        [(50_000, 100_000)],
        [(40_000, 50_000)],
    ]


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (Serve(variant="v1"), ramp(), 30_000),
        (Serve(variant="v0"), ramp(), 70_000),
        (Serve(variant="v1"), ramp(days=(5, 9)), 0),
        (Serve(variant="v0"), ramp(days=(2, 3)), 0),
        (split(30_000, 70_000), ramp(), 0),
        (split(10_000, 90_000), ramp(), 20_000),
        (ramp(), ramp(days=(2, 6)), 20_000),
        (ramp(), ramp(variants=("v1", "v0")), 100_000),
        (ramp(), ramp(variants=("v0", "v0")), 70_000),
        (ramp(), ramp(variants=("v2", "v1")), 30_000),
        (ramp(), ramp(50_000), 15_000),
        (ramp(), ramp(0, since=BUCKETS), 40_000),
        (ramp(), Serve(variant="v1"), 30_000),
        (ramp(), split(50_000, 50_000), 20_000),
    ],
)
def test_a_ramp_counts_as_what_it_is_at_the_time(before: Serve, after: Serve, moved: int) -> None:
    """After three days of ten it is a rollout of 30 %; what it will be moves nobody now."""
    counted = moved_between(flag(before), flag(after), NOW_MS)
    assert counted == ([Moved("production", "fallthrough", moved)] if moved else [])


@given(
    st.integers(-DAY_MS, 12 * DAY_MS),
    *(st.sampled_from([*range(0, BUCKETS, 9_973), BUCKETS]) for _ in range(3)),
)
def test_of_a_ramp_each_bucket_is_counted(passed: int, since: int, to: int, weight: int) -> None:
    """Whatever the time: as many as hold another variant, looked at one by one."""
    share = min(max(passed, 0), 10 * DAY_MS)
    end = since + (to - since) * share // (10 * DAY_MS)
    others = sum((bucket < end) is not (bucket < weight) for bucket in range(BUCKETS))
    before, after = flag(ramp(to, since=since)), flag(split(weight, BUCKETS - weight))
    for old, new in ((before, after), (after, before)):
        moved = moved_between(old, new, START_MS + passed)
        assert sum(place.buckets for place in moved) == others


@pytest.mark.parametrize(
    "after",
    [flag(ramp(), salt="t"), flag(ramp(by="company")), flag(split(50_000, 50_000, by="company"))],
    ids=["salt", "by", "rollout"],
)
def test_new_buckets_for_a_ramp_need_consent(after: Flag) -> None:
    """What is expected is of the shares at the time: 1 - (0.3 * 0.3 + 0.7 * 0.7), and 1 - 0.5."""
    expected = 42_000 if after.environments["production"].fallthrough.ramp else 50_000
    for old, new in ((flag(ramp()), after), (after, flag(ramp()))):
        with pytest.raises(Conflict, match=rf"about {expected} of 100000"):
            check_consent(old, new, NOW_MS, rebucket=False)
        check_consent(old, new, NOW_MS, rebucket=True)
        assert moved_between(old, new, NOW_MS) == [
            Moved("production", "fallthrough", expected, True)
        ]


def test_a_first_ramp_by_an_attribute_needs_no_consent() -> None:
    """As a first rollout: nobody had a bucket."""
    check_consent(flag(Serve(variant="v1")), flag(ramp(by="company")), NOW_MS, rebucket=False)
    check_consent(flag(ramp(by="company")), flag(Serve(variant="v1")), NOW_MS, rebucket=False)


def test_prerequisites_and_windows_move_no_bucket() -> None:
    """Who meets them is not known; no unit gets another bucket."""
    before = flag(split(30_000, 70_000), rule=ramp())
    rule = replace(before.environments["production"].rules[0], active=Window("2026-12-01T00:00Z"))
    after = flag(split(30_000, 70_000), prerequisites=[Prerequisite("g", ["on"])], rules=[rule])
    check_consent(before, after, NOW_MS, rebucket=False)
    assert moved_between(before, after, NOW_MS) == []


def test_a_ramp_is_stopped_where_it_is_and_moves_nobody() -> None:
    """By a rollout of the share that it has reached, the arms in any order."""
    for arms in ([Arm("v0", 30_000), Arm("v1", 70_000)], [Arm("v1", 70_000), Arm("v0", 30_000)]):
        stopped = keep_ranges(ramp(), Serve(rollout=Rollout(arms)), NOW_MS)
        assert stopped.rollout is not UNSET
        held = {arm.variant: arm.ranges for arm in stopped.rollout.arms}
        assert held == {"v0": [(0, 30_000)], "v1": [(30_000, 100_000)]}


@pytest.mark.parametrize("now_ms", [START_MS, NOW_MS, START_MS + 10 * DAY_MS])
@pytest.mark.parametrize("weights", [(10_000, 90_000, 0), (80_000, 10_000, 10_000)])
def test_a_rollout_after_a_ramp_keeps_as_many_as_can_be(
    now_ms: int, weights: tuple[int, ...]
) -> None:
    """Exactly the share that its arms gain moves."""
    arms = [Arm(f"v{number}", weight) for number, weight in enumerate(weights)]
    kept = keep_ranges(ramp(), Serve(rollout=Rollout(arms)), now_ms)
    share = (now_ms - START_MS) // (10 * DAY_MS // BUCKETS)
    gained = sum(
        max(0, now - was) for was, now in zip((share, BUCKETS - share, 0), weights, strict=True)
    )
    moved = moved_between(flag(ramp()), flag(kept), now_ms)
    assert sum(place.buckets for place in moved) == gained


def test_ranges_written_over_a_ramp_are_their_authors() -> None:
    """A ramp has none that could be echoed."""
    own = split(40_000, 60_000, ranges=[[(60_000, 100_000)], [(0, 60_000)]])
    assert keep_ranges(ramp(), own, NOW_MS) == own
    same = split(40_000, 60_000, ranges=[[(0, 30_000)], [(30_000, 100_000)]])
    assert keep_ranges(ramp(), same, NOW_MS) == same


def test_a_ramp_is_left_as_it_is_written() -> None:
    """Its buckets follow from its shares."""
    assert keep_ranges(split(30_000, 70_000), ramp(), NOW_MS) == ramp()
