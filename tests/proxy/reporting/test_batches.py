"""Batches: ids, bounds, splitting."""

import gzip
import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.exposures import Exposure
from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS
from proxy.reporting.batches import Batch, pack, split, uuid7
from tests.proxy.reporting.collector import inflate


def exposure(unit: str) -> Exposure:
    """Return an exposure of a unit."""
    return Exposure("f", "on", unit, "targetingKey", None, "SPLIT", "e1", 1, 1, 1)


def new_id() -> str:
    """Return an id."""
    return uuid7(1, os.urandom(10))


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7_that_tells_its_time(now_ms: int, random: bytes) -> None:
    """RFC 9562, section 5.7."""
    made = uuid.UUID(uuid7(now_ms, random))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms


def test_ids_of_later_batches_sort_later() -> None:
    """The spool relies on it."""
    assert uuid7(1, b"\xff" * 10) < uuid7(2, bytes(10))


def test_packing_keeps_every_item_in_order() -> None:
    """None twice, none missing."""
    items = [exposure(str(number)) for number in range(12_001)]
    batches = pack(items, "i", 1, new_id).batches
    assert all(batch.count == len(inflate(batch.body).items) for batch in batches)
    assert [item for batch in batches for item in inflate(batch.body).items] == items
    assert sum(batch.count for batch in batches) == len(items)


@pytest.mark.parametrize("length", [1, 100, 512])
def test_no_batch_is_beyond_the_contract(length: int) -> None:
    """Neither in items nor in bytes, and no smaller than need be."""
    batches = pack([exposure("ü" * length)] * 6000, "instance", 2**40, new_id).batches
    for batch in batches:
        assert batch.count <= MAX_BATCH_ITEMS
        assert len(gzip.decompress(batch.body)) <= MAX_BATCH_BYTES
    first = len(gzip.decompress(batches[0].body))
    assert batches[0].count == MAX_BATCH_ITEMS or first > MAX_BATCH_BYTES - 2000


def test_nothing_is_no_batch() -> None:
    """An empty report would be noise."""
    assert pack([], "i", 1, new_id) == ([], 0)


def test_a_split_batch_is_two_with_ids_of_their_own() -> None:
    """The control plane has never seen either."""
    ((batch,), _) = pack([exposure(str(number)) for number in range(5)], "i", 1, new_id)
    halves = split(batch)
    assert [half.count for half in halves] == [2, 3]
    assert len({batch.id, *(half.id for half in halves)}) == 3
    assert [i.unit for half in halves for i in inflate(half.body).items] == list("01234")
    assert {inflate(half.body).id for half in halves} == {half.id for half in halves}


def test_a_batch_that_is_split_again_gives_the_same_halves() -> None:
    """After a restart: what was stored of them is known by its id, which says the same time."""
    made = [exposure(str(number)) for number in range(5)]
    ((batch,), _) = pack(made, "i", 1, lambda: uuid7(2**40, bytes(10)))
    halves = split(batch)
    assert split(batch) == halves
    assert all(uuid.UUID(half.id).int >> 80 == 2**40 for half in halves)
    assert all(uuid.UUID(half.id).version == 7 for half in halves)


def test_an_item_that_is_no_json_is_left_out_and_counted() -> None:
    """Half of a character, for instance."""
    packed = pack([exposure("a"), exposure("\ud83d"), exposure("b")], "i", 1, new_id)
    assert [[i.unit for i in inflate(b.body).items] for b in packed.batches] == [["a", "b"]]
    assert packed.unwritable == 1


def test_a_body_that_inflates_without_end_is_stopped() -> None:
    """A file on disk can be a bomb."""
    with pytest.raises(ValueError, match="more than"):
        split(Batch("id", 2, gzip.compress(b" " * 50_000_000)))


def test_one_item_cannot_be_split() -> None:
    """It comes back as it is."""
    ((batch,), _) = pack([exposure("a")], "i", 1, new_id)
    assert split(batch) == [batch]


@pytest.mark.parametrize(
    "body", [b"", b"x", gzip.compress(b"{}", mtime=0), gzip.compress(b"[", mtime=0)[:-3]]
)
def test_a_body_that_is_no_batch_is_told(body: bytes) -> None:
    """A file on disk can be anything."""
    with pytest.raises(ValueError, match="cannot be read"):
        split(Batch("id", 2, body))
