"""The format of long lists: hashes, blobs, digests."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.definitions import UnitList, UnitLists
from proxy.contract.problems import Problem
from proxy.contract.snapshot import encode_entry, read_entry
from proxy.contract.units import (
    EMPTY_BLOB,
    MAX_BLOB_BYTES,
    MAX_UNIT_CHARS,
    MAX_UNITS,
    UNIT_BYTES,
    blob_count,
    blob_number,
    blobs_of,
    digest_of,
    digests_of,
    hash_unit,
    list_problem,
    read_blob,
    split,
)
from proxy.engine import limits

hashes = st.binary(min_size=UNIT_BYTES, max_size=UNIT_BYTES)


def test_a_unit_is_twelve_bytes_of_sha_256() -> None:
    """Fixed for ever: sidecars of other versions compute the same. `printf u-1 | sha256sum`."""
    known = hash_unit("u-1")
    assert known is not None
    assert known.hex() == "a24a7f55f278dd49fb1f99c5"
    assert hash_unit("ä") == sha256(b"\xc3\xa4").digest()[:12]
    assert hash_unit("\ud800") is None


@pytest.mark.parametrize(
    ("count", "blobs"),
    [
        (0, 1),
        (4_096, 1),
        (4_097, 2),
        (8_192, 2),
        (8_193, 4),
        (524_288, 128),
        (524_289, 256),
        (1_000_000, 256),
        (5_000_000, 256),
    ],
)
def test_there_are_as_many_blobs_as_keep_one_at_4096(count: int, blobs: int) -> None:
    """A power of two, 256 at most."""
    assert blob_count(count) == blobs


def test_the_top_bits_of_the_hash_choose_the_blob() -> None:
    """In order, so that the blobs one after the other are sorted."""
    for blobs, first, number in ((1, 255, 0), (2, 127, 0), (2, 128, 1), (8, 96, 3), (256, 7, 7)):
        assert blob_number(bytes([first]) + bytes(11), blobs) == number


@given(st.sets(hashes))
def test_a_split_list_is_its_hashes_in_order(units: set[bytes]) -> None:
    """Nothing is lost, nothing is there twice, and each blob can be read."""
    blobs = split(units)
    assert b"".join(blobs) == b"".join(sorted(units))
    assert all(read_blob(blob, digest_of(blob)) == blob for blob in blobs)


def test_one_changed_unit_is_one_changed_blob() -> None:
    """Which is what makes a long list cheap to change."""
    units = [h for n in range(20_000) if (h := hash_unit(f"u{n}")) is not None]
    before, after = split(units), split([*units[1:], hash_unit("new") or b""])
    assert len(before) == len(after) == 8
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 2
    assert split([*units, units[0]]) == before  # twice is once


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (bytes(11), "no whole number"),
        (b"b" * 12 + b"a" * 12, "not in order"),
        (b"a" * 24, "not in order"),
    ],
)
def test_a_blob_that_is_none_is_refused(body: bytes, message: str) -> None:
    """Though its digest is right: what names it may be wrong as well."""
    problem = read_blob(body, digest_of(body))
    assert isinstance(problem, Problem)
    assert (problem.code, message in problem.message) == ("invalid_blob", True)


def test_a_blob_of_another_digest_is_refused() -> None:
    """It was damaged on its way, or is another."""
    problem = read_blob(b"a" * 12, digest_of(b"b" * 12))
    assert isinstance(problem, Problem)
    assert "another digest" in problem.message


def test_a_blob_that_is_too_large_is_refused_unread() -> None:
    """A million units are all that a list can have."""
    assert isinstance(read_blob(bytes(MAX_BLOB_BYTES + 12), EMPTY_BLOB), Problem)


def test_an_empty_blob_is_a_blob() -> None:
    """Its digest is that of no bytes; nobody has to fetch it."""
    assert read_blob(b"", EMPTY_BLOB) == b""
    assert split([]) == [b""]
    assert list(digests_of(UnitLists(UnitList(0, [EMPTY_BLOB])))) == []


D1, D2 = digest_of(b"a" * 12), digest_of(b"b" * 12)


@pytest.mark.parametrize(
    "units",
    [
        UnitList(-1, [D1]),
        UnitList(MAX_UNITS + 1, [D1] * 256),
        UnitList(1, []),
        UnitList(5_000, [D1]),
        UnitList(1, [D1, D2]),
        UnitList(1, [D1.upper()]),
        UnitList(1, ["../../etc/passwd"]),
        UnitList(1, [D1 + "\n"]),
    ],
)
def test_a_list_that_contradicts_itself_is_a_problem(units: UnitList) -> None:
    """Before anything is fetched for it: a digest is part of a path."""
    assert list_problem(units) is not None


def test_a_list_as_it_should_be_is_none() -> None:
    """With as many blobs as its count says."""
    assert list_problem(UnitList(4_097, [D1, D2])) is None


def test_the_blobs_of_a_snapshot_are_those_its_segments_name() -> None:
    """Each with the most bytes it can have, so that whoever fetches it can bound it."""
    lines = [
        encode_entry("segment", "a", {"units": {"included": {"count": 2, "blobs": [D1]}}}),
        encode_entry("segment", "b", {"units": {"excluded": {"count": 1, "blobs": [D1]}}}),
        encode_entry("segment", "c", {"units": {"included": {"count": 0, "blobs": [EMPTY_BLOB]}}}),
        encode_entry("segment", "d", {"units": {"included": {"count": 1, "blobs": ["x"]}}}),
        encode_entry("segment", "e", {"units": 1}),
        encode_entry("segment", "f", {"included": ['"units":']}),
        encode_entry("flag", "f", {"units": {"included": {"count": 1, "blobs": [D2]}}}),
    ]
    entries = {(e.kind, e.key): e for e in map(read_entry, lines)}
    assert blobs_of(entries) == {D1: 12}


def test_a_unit_may_be_as_long_as_one_in_the_segment_itself() -> None:
    """Lists change from the one kind to the other without anybody noticing."""
    assert limits.MAX_UNIT_CHARS == MAX_UNIT_CHARS


def test_the_example_of_the_wire_format_is_what_is_made() -> None:
    """Another reader is written from that page."""
    page = (Path(__file__).parents[3] / "docs" / "wire-format.md").read_text()
    hashes = [hash_unit("u-1") or b"", hash_unit("u-2") or b""]
    (blob,) = split(hashes)
    assert all(f"`{unit_hash.hex()}`" in page for unit_hash in hashes)
    assert blob.hex() == "1fe2696cbaaf13d5dcd4d466a24a7f55f278dd49fb1f99c5"
    lists = {"included": UnitList(2, [digest_of(blob)])}
    assert encode_entry("segment", "vip", {"units": lists}).decode() in page
