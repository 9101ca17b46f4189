"""Blobs on disk: what is read is what its name says, whatever lies there."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.contract.units import digest_of
from proxy.sync import blob_files
from tests.support.units import long_list, names

BLOBS = long_list(names(9_000)).blobs
NEEDED = {digest: len(blob) for digest, blob in BLOBS.items()}
ONE, *OTHERS = BLOBS


def write(directory: Path, known: set[str] | None = None) -> None:
    """Put the blobs there."""
    blob_files.write(directory, BLOBS, set() if known is None else known)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Each under its digest, for its owner alone."""
    write(tmp_path)
    assert blob_files.read(tmp_path, NEEDED) == BLOBS
    place = tmp_path / "blobs"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {path.name for path in place.iterdir()} == set(BLOBS)
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    """And what is not there is not in the answer."""
    write(tmp_path)
    absent = "0" * 64
    assert blob_files.read(tmp_path, {ONE: NEEDED[ONE], absent: 12}) == {ONE: BLOBS[ONE]}
    assert blob_files.read(tmp_path / "none", NEEDED) == {}


def test_nothing_is_read_beyond_the_bound(tmp_path: Path) -> None:
    """What a list can have at most is known before."""
    write(tmp_path)
    assert blob_files.read(tmp_path, {ONE: NEEDED[ONE] - 1}) == {}


@pytest.mark.parametrize("name", ["../outside", "", ".", "..", "/etc/passwd", "\0", "x" * 64])
def test_no_name_leads_elsewhere(tmp_path: Path, name: str) -> None:
    """Digests come from a snapshot, which is untrusted."""
    write(tmp_path)
    (tmp_path / "outside").write_bytes(b"x" * 12)
    assert blob_files.read(tmp_path, {name: 1000}) == {}
    assert (tmp_path / "outside").exists()


def test_a_damaged_blob_is_removed_and_written_anew(tmp_path: Path) -> None:
    """Once it was found, whatever the process believes to have seen whole."""
    known: set[str] = set()
    write(tmp_path, known)
    path = tmp_path / "blobs" / ONE
    path.write_bytes(b"\xff" * len(BLOBS[ONE]))
    assert set(blob_files.read(tmp_path, NEEDED)) == set(OTHERS)
    assert not path.exists()
    write(tmp_path, known)
    assert blob_files.read(tmp_path, NEEDED) == BLOBS


def test_a_blob_damaged_before_this_process_is_found_when_it_is_written(tmp_path: Path) -> None:
    """The same length, and other bytes."""
    write(tmp_path)
    path = tmp_path / "blobs" / ONE
    path.write_bytes(b"\xff" * len(BLOBS[ONE]))
    write(tmp_path)
    assert path.read_bytes() == BLOBS[ONE]


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    """A change of flags writes a snapshot, not twelve megabytes beside it."""
    known: set[str] = set()
    write(tmp_path, known)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "blobs").iterdir()}
    for seen in (known, set[str]()):
        write(tmp_path, seen)
        assert {p.name: p.stat().st_ino for p in (tmp_path / "blobs").iterdir()} == before
    assert known == set(BLOBS)


def test_what_is_known_is_bounded_by_what_is_served(tmp_path: Path) -> None:
    """A list that changes each minute must not fill the memory with names."""
    known = {"0" * 64}
    write(tmp_path, known)
    assert known == set(BLOBS)


def test_what_was_taken_away_is_written_again(tmp_path: Path) -> None:
    """Though this process wrote it."""
    known: set[str] = set()
    write(tmp_path, known)
    (tmp_path / "blobs" / ONE).unlink()
    write(tmp_path, known)
    assert blob_files.read(tmp_path, NEEDED) == BLOBS


def test_without_blobs_there_is_no_directory(tmp_path: Path) -> None:
    """Most sidecars have none."""
    blob_files.write(tmp_path, {}, set())
    blob_files.sweep(tmp_path, set())
    assert list(tmp_path.iterdir()) == []


def test_what_no_slot_needs_is_swept(tmp_path: Path) -> None:
    """And nothing that is not a blob."""
    write(tmp_path)
    place = tmp_path / "blobs"
    (place / "README").write_bytes(b"somebody's")
    (place / ".half.tmp").write_bytes(b"")
    (place / ".old.tmp").write_bytes(b"")
    os.utime(place / ".old.tmp", (1, 1))
    (place / ("a" * 64)).mkdir()
    blob_files.sweep(tmp_path, {ONE})
    assert {path.name for path in place.iterdir()} == {ONE, "README", ".half.tmp", "a" * 64}


@given(junk=st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_junk_is_never_returned(tmp_path: Path, junk: bytes) -> None:
    """Nor does it raise."""
    place = tmp_path / "blobs"
    place.mkdir(exist_ok=True)
    (place / ONE).write_bytes(junk)
    assert blob_files.read(tmp_path, NEEDED) == {}


def test_a_blob_that_is_no_list_of_units_is_not_returned(tmp_path: Path) -> None:
    """Of the right digest, and out of order: it never came through the front door."""
    units = b"".join(sorted((b"a" * 12, b"b" * 12), reverse=True))
    place = tmp_path / "blobs"
    place.mkdir()
    (place / digest_of(units)).write_bytes(units)
    assert blob_files.read(tmp_path, {digest_of(units): 24}) == {}
