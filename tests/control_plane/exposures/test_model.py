"""Which exposures are taken, and what they say together."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.exposures.model import OTHER, Seen, Subject, check_exposure, fold, unit_hash
from control_plane.reports.model import check_batch
from proxy.contract.exposures import ExposureBatch
from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.contract.steps import finish
from tests.control_plane.reports.builders import batch, encoded, item, uuid7

NOW_MS = 1_796_000_000_000


def decoded(document: dict[str, Any]) -> ExposureBatch:
    """Return a batch of good shape."""
    return msgspec.json.decode(encoded(document), type=ExposureBatch)


def problems_of(document: dict[str, Any]) -> list[str]:
    """Return the places of what is wrong with a batch."""
    read = decoded(document)
    return [problem.pointer for problem in check_batch(read, check_exposure, read.items)]


def test_a_good_batch_has_no_problem() -> None:
    """Also the largest one, and one of an experiment."""
    assert problems_of(batch(*[item()] * MAX_BATCH_ITEMS)) == []
    assert problems_of(batch(item(experiment="e", phase=1, allocation_version=3))) == []


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("count", 0),
        ("count", -1),
        ("count", 1 << 60),
        ("revision", -1),
        ("flag", ""),
        ("flag", "x" * 257),
        ("variant", ""),
        ("variant", "x" * 257),
        ("unit", ""),
        ("unit", "x" * 1025),
        ("unit_attribute", "x" * 257),
        ("reason", "x" * 257),
        ("rule_id", "x" * 257),
        ("epoch", "x" * 257),
        ("experiment", ""),
        ("experiment", "x" * 257),
        ("phase", -1),
        ("allocation_version", -1),
    ],
)
def test_a_member_that_makes_no_sense_is_named(member: str, value: Any) -> None:
    """By its place in the batch."""
    wrong = {"experiment": "e"} if member in ("phase", "allocation_version") else {}
    assert problems_of(batch(item(), item(**{**wrong, member: value}))) == [f"/items/1/{member}"]


def test_all_problems_are_named_up_to_a_hundred() -> None:
    """A hostile batch does not make a long answer."""
    found = problems_of(batch(*[item(count=0, revision=-1)] * 200, id="x", instance=""))
    assert len(found) == 100
    assert set(found) >= {"/id", "/instance", "/items/0/count"}


def folded(*items: dict[str, Any], known: tuple[str, ...] = ("checkout",)) -> Any:
    """Return what items of one batch, which arrived at `NOW_MS`, say together."""
    return finish(fold([(decoded(batch(*items)), NOW_MS)], known))


def seen(result: Any, subject: Subject, unit: str = "user-1") -> Seen:
    """Return what a unit saw of a subject."""
    (found,) = (units for units in result.subjects if units.subject == subject)
    (one,) = (
        shard[unit_hash("targetingKey", unit)]
        for shard in found.shards
        if unit_hash("targetingKey", unit) in shard
    )
    return one


def at(offset_ms: int, **changes: Any) -> dict[str, Any]:
    """Return an exposure so long after `NOW_MS`."""
    return item(first_seen_ms=NOW_MS + offset_ms, **changes)


def test_the_first_variant_of_a_unit_counts() -> None:
    """And that it saw another."""
    result = folded(at(-5, variant="off"), at(-9, variant="on"), at(-2, variant="off"))
    assert seen(result, Subject.of_flag("checkout")) == Seen(NOW_MS - 9, "on", several=True)


def test_an_experiments_phase_is_counted_apart() -> None:
    """From the flag, and from other phases."""
    result = folded(
        at(-3, variant="a"),
        at(-2, variant="b", experiment="e", phase=1),
        at(-1, variant="c", experiment="e", phase=2),
    )
    assert seen(result, Subject.of_flag("checkout")).variant == "a"
    assert seen(result, Subject.of_experiment("e", 1)).variant == "b"
    assert seen(result, Subject.of_experiment("e", 2)).variant == "c"


def test_a_unit_of_another_attribute_is_another() -> None:
    """A user and a company may have the same number."""
    result = folded(at(-1), at(-1, unit_attribute="company"))
    assert sum(len(shard) for units in result.subjects for shard in units.shards) == 2


def test_flags_that_there_are_not_are_counted_as_one() -> None:
    """What a hostile sidecar makes up costs one subject."""
    result = folded(*(at(-1, flag=f"made-up-{n}", experiment=f"e{n}") for n in range(50)), at(-1))
    assert {units.subject for units in result.subjects} == {OTHER, Subject.of_flag("checkout")}
    assert result.unknown == 50


@pytest.mark.parametrize(
    ("claimed_ms", "counted_ms"),
    [
        (NOW_MS + 299_999, NOW_MS + 299_999),
        (NOW_MS + 300_001, NOW_MS),
        (1 << 62, NOW_MS),
        (NOW_MS - 7 * 86_400_000, NOW_MS - 7 * 86_400_000),
        (NOW_MS - 9 * 86_400_000, NOW_MS - 8 * 86_400_000),
        (0, NOW_MS - 8 * 86_400_000),
        (-(1 << 62), NOW_MS - 8 * 86_400_000),
    ],
)
def test_a_clock_that_is_wrong_is_clamped_and_counted(claimed_ms: int, counted_ms: int) -> None:
    """Five minutes of skew are normal; what is older than any spool is made up."""
    result = folded(item(first_seen_ms=claimed_ms))
    assert seen(result, Subject.of_flag("checkout")).first_ms == counted_ms
    assert result.clamped == (claimed_ms != counted_ms)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(-9, 0)),
        min_size=1,
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_exposures_does_not_matter(
    shown: list[tuple[int, str, int]], chance: random.Random
) -> None:
    """However they are split into batches, and whichever come first."""
    items = [at(when, unit=f"u{unit}", variant=variant) for unit, variant, when in shown]
    mixed = chance.sample(items, len(items))
    cut = chance.randrange(len(items))
    parts = [(decoded({**batch(), "items": part}), NOW_MS) for part in (mixed[:cut], mixed[cut:])]
    apart = finish(fold(parts, ("checkout",)))
    (one,), (two,) = folded(*items).subjects, apart.subjects
    assert one.shards == two.shards
    for unit, found in (pair for shard in one.shards for pair in shard.items()):
        mine = [
            (when, variant)
            for number, variant, when in shown
            if unit_hash("targetingKey", f"u{number}") == unit
        ]
        first = min(mine)
        several = len({variant for _, variant in mine}) > 1
        assert found == Seen(NOW_MS + first[0], first[1], several)


def test_ids_of_batches_are_told_apart() -> None:
    """The builders' too."""
    assert len({uuid7() for _ in range(1000)}) == 1000
