"""Which batches are taken, and where they go."""

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.exposures.model import SHARDS, batch_hour, check_batch, shard_of
from proxy.contract.exposures import ExposureBatch
from proxy.contract.reports import MAX_BATCH_ITEMS
from tests.control_plane.exposures.builders import batch, encoded, item, uuid7


def decoded(document: dict[str, Any]) -> ExposureBatch:
    """Return a batch of good shape."""
    return msgspec.json.decode(encoded(document), type=ExposureBatch)


def test_a_good_batch_has_no_problem() -> None:
    """Also the largest one."""
    assert check_batch(decoded(batch(*[item()] * MAX_BATCH_ITEMS))) == []


@pytest.mark.parametrize(
    "wrong",
    ["", "x", str(uuid.uuid4()), uuid7().upper(), uuid7().replace("-", ""), uuid7() + "\n"],
    ids=["empty", "short", "version 4", "upper case", "without hyphens", "newline"],
)
def test_an_id_that_is_no_uuid7_is_refused(wrong: str) -> None:
    """Its time says where to look for it, and one spelling only is one batch."""
    (problem,) = check_batch(decoded(batch(id=wrong)))
    assert problem.pointer == "/id"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("count", 0),
        ("count", -1),
        ("count", 1 << 60),
        ("first_seen_ms", 0),
        ("first_seen_ms", 1 << 48),
        ("revision", -1),
    ],
)
def test_a_figure_that_makes_no_sense_is_named(member: str, value: int) -> None:
    """By its place in the batch."""
    (problem,) = check_batch(decoded(batch(item(), item(**{member: value}))))
    assert problem.pointer == f"/items/1/{member}"


def test_all_problems_are_named_up_to_a_hundred() -> None:
    """A hostile batch does not make a long answer."""
    document = batch(*[item(count=0, revision=-1)] * 200, id="x", instance="")
    problems = check_batch(decoded(document))
    assert len(problems) == 100
    assert {p.pointer for p in problems} >= {"/id", "/instance", "/items/0/count"}


def test_too_many_items_is_a_problem() -> None:
    """The contract's bound."""
    (problem,) = check_batch(decoded(batch(*[item()] * (MAX_BATCH_ITEMS + 1))))
    assert problem.pointer == "/items"


@given(st.integers(0, (1 << 48) - 1))
def test_the_hour_is_the_one_in_the_id(at_ms: int) -> None:
    """Whatever time the id says."""
    assert batch_hour(uuid7(at_ms)) == at_ms // 3_600_000


def test_batches_spread_over_all_shards() -> None:
    """And each stays in its own."""
    ids = [uuid7() for _ in range(400)]
    assert {shard_of(name) for name in ids} == set(range(SHARDS))
    assert [shard_of(name) for name in ids] == [shard_of(name) for name in ids]
