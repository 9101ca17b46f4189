"""The cache gives back what was stored, or nothing; whatever lies in its directory."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.sync import cache
from proxy.sync.files import alone
from tests.support.units import long_list, names

OWNER = cache.owner_of(("http://cp",), "mf_sidecar_" + "a" * 43)
MAX = 1_000_000
SLOTS = ("snapshot-0.cache", "snapshot-1.cache")


def store(directory: Path, body: bytes, at_ms: int = 1000, owner: str = OWNER) -> None:
    """Store a body whose digest is named after it."""
    cache.store(directory, owner, [body], f"digest of {body[:20]!r}", at_ms)


def bodies(directory: Path, owner: str = OWNER) -> list[bytes]:
    """Return what the cache gives, newest first."""
    return [saved.body for saved in cache.load(directory, owner, MAX)]


def newest_slot(directory: Path) -> Path:
    """Return the file of the newest snapshot."""
    newest = bodies(directory)[0]
    return next(directory / s for s in SLOTS if (directory / s).read_bytes().endswith(newest))


def test_what_was_stored_is_loaded_with_its_time(tmp_path: Path) -> None:
    """Body and time of confirmation, byte for byte."""
    store(tmp_path, b"one\ntwo\n", at_ms=1234)
    assert cache.load(tmp_path, OWNER, MAX) == [cache.Saved(b"one\ntwo\n", 1234)]


def test_the_two_newest_are_kept_newest_first(tmp_path: Path) -> None:
    """One slot is written while the other stays whole."""
    for body in (b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"):
        store(tmp_path, body)
        assert bodies(tmp_path)[0] == body
    assert bodies(tmp_path) == [b"5\n", b"4\n"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(SLOTS)


def test_the_newest_is_told_by_its_number_not_by_the_clock(tmp_path: Path) -> None:
    """A clock that was put back must not bring back an old snapshot."""
    store(tmp_path, b"old\n", at_ms=9_000)
    store(tmp_path, b"new\n", at_ms=1_000)
    assert bodies(tmp_path) == [b"new\n", b"old\n"]


def test_the_directory_is_made_and_closed_to_others(tmp_path: Path) -> None:
    """Snapshots hold what a team is about to release."""
    directory = tmp_path / "a" / "b"
    store(directory, b"x\n")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()] == [0o600]


def test_another_owners_snapshot_is_not_loaded(tmp_path: Path) -> None:
    """Flags of one environment must not be served in another."""
    store(tmp_path, b"x\n")
    for other in (
        cache.owner_of(("http://other",), "mf_sidecar_" + "a" * 43),
        cache.owner_of(("http://cp",), "mf_sidecar_" + "b" * 43),
    ):
        assert bodies(tmp_path, other) == []


def test_the_owner_does_not_tell_the_key() -> None:
    """It lies on the disk."""
    key = "mf_sidecar_" + "a" * 43
    assert "a" * 43 not in cache.owner_of(("http://cp",), key)
    assert cache.owner_of(("http://cp",), key) == cache.owner_of(("http://cp",), key)


def test_no_directory_is_an_empty_cache(tmp_path: Path) -> None:
    """The first start."""
    assert cache.load(tmp_path / "none", OWNER, MAX) == []


def test_a_torn_slot_leaves_the_other(tmp_path: Path) -> None:
    """Cut anywhere, the older one is served."""
    store(tmp_path, b"older\n")
    store(tmp_path, b"newer\n" * 10)
    slot = newest_slot(tmp_path)
    whole = slot.read_bytes()
    for length in range(len(whole)):
        slot.write_bytes(whole[:length])
        assert bodies(tmp_path) == [b"older\n"]


def test_a_changed_byte_leaves_the_other(tmp_path: Path) -> None:
    """Bit rot in the body is found by its hash."""
    store(tmp_path, b"older\n")
    store(tmp_path, b"newer\n")
    slot = newest_slot(tmp_path)
    slot.write_bytes(slot.read_bytes()[:-2] + b"R\n")
    assert bodies(tmp_path) == [b"older\n"]


def test_the_torn_slot_is_the_one_written_next(tmp_path: Path) -> None:
    """The whole one is never overwritten while the other is of no use."""
    store(tmp_path, b"older\n")
    store(tmp_path, b"newer\n")
    newest_slot(tmp_path).write_bytes(b"")
    store(tmp_path, b"newest\n")
    assert bodies(tmp_path) == [b"newest\n", b"older\n"]


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[" * 100_000,
        b"[" * 100_000 + b"\n",
        b'{"format":1}\n',
        b'{"format":1,"owner":5,"sequence":1,"digest":"","confirmed_at_ms":1,"size":0,"sha256":""}\n',
        b'{"format":2,"owner":"","sequence":1,"digest":"","confirmed_at_ms":1,"size":0,"sha256":""}\n',
        b'{"format":1,"owner":"","sequence":'
        + b"9" * 4000
        + b',"digest":"","confirmed_at_ms":1,"size":0,"sha256":""}\n',
        b'{"format":1,"owner":"","sequence":-1,"digest":"","confirmed_at_ms":1,"size":0,"sha256":""}\n',
        b"\xff\xfe" * 3000,
        b'{"format":"\\ud800"}\n',
    ],
    ids=range(12),
)
def test_a_hostile_file_is_passed_over(tmp_path: Path, hostile: bytes) -> None:
    """In every place it could lie; and it does not keep a new snapshot from being stored."""
    for name in (*SLOTS, "confirmed.json"):
        (tmp_path / name).write_bytes(hostile)
    assert cache.load(tmp_path, OWNER, MAX) == []
    store(tmp_path, b"x\n")
    assert bodies(tmp_path) == [b"x\n"]


@given(junk=st.binary(max_size=300), place=st.sampled_from((*SLOTS, "confirmed.json")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_junk_never_raises(tmp_path: Path, junk: bytes, place: str) -> None:
    """Loading is total."""
    (tmp_path / place).write_bytes(junk)
    cache.load(tmp_path, OWNER, MAX)


def test_links_pipes_and_directories_are_passed_over(tmp_path: Path) -> None:
    """And a pipe without a writer does not hang the start."""
    store(tmp_path / "other", b"x\n")
    os.mkfifo(tmp_path / SLOTS[0])
    (tmp_path / SLOTS[1]).symlink_to(tmp_path / "other" / SLOTS[0])
    (tmp_path / "confirmed.json").mkdir()
    assert cache.load(tmp_path, OWNER, MAX) == []


def test_the_directory_may_be_a_file(tmp_path: Path) -> None:
    """Nothing is loaded; storing says so."""
    place = tmp_path / "file"
    place.write_bytes(b"")
    assert cache.load(place, OWNER, MAX) == []
    with pytest.raises(OSError, match="exists"):
        store(place, b"x\n")


def test_an_oversized_body_is_not_loaded(tmp_path: Path) -> None:
    """The bound holds for the disk as for the network."""
    store(tmp_path, b"x" * 10_000)
    assert cache.load(tmp_path, OWNER, 5_000) == []


def test_a_confirmation_makes_a_snapshot_younger(tmp_path: Path) -> None:
    """Without writing it again; never older."""
    cache.store(tmp_path, OWNER, [b"x", b"\n"], "d1", 1000)
    cache.confirm(tmp_path, OWNER, "d1", 5000)
    assert cache.load(tmp_path, OWNER, MAX) == [cache.Saved(b"x\n", 5000)]
    cache.confirm(tmp_path, OWNER, "d1", 500)
    assert cache.load(tmp_path, OWNER, MAX) == [cache.Saved(b"x\n", 1000)]


def test_a_confirmation_is_of_one_digest_and_owner(tmp_path: Path) -> None:
    """Another snapshot is as old as it is."""
    cache.store(tmp_path, OWNER, [b"x", b"\n"], "d1", 1000)
    cache.confirm(tmp_path, OWNER, "d2", 5000)
    assert cache.load(tmp_path, OWNER, MAX)[0].confirmed_at_ms == 1000
    cache.confirm(tmp_path, "another", "d1", 5000)
    assert cache.load(tmp_path, OWNER, MAX)[0].confirmed_at_ms == 1000


def test_what_a_killed_writer_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    """A younger one may be another writer's."""
    old, young = tmp_path / f".{SLOTS[0]}.a.tmp", tmp_path / f".{SLOTS[0]}.b.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    store(tmp_path, b"x\n")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: what was kept is kept, and no half file stays."""
    store(tmp_path, b"x\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store(tmp_path, b"y\n")
    assert bodies(tmp_path) == [b"x\n"]
    assert len(list(tmp_path.iterdir())) == 1


BLOBS = long_list(names(9_000)).blobs
OTHER_BLOBS = long_list(names(5_000, "other")).blobs


def store_with(directory: Path, body: bytes, blobs: Mapping[str, bytes]) -> None:
    """Store a body that needs some blobs."""
    cache.store(directory, OWNER, [body], f"digest of {body[:20]!r}", 1000, blobs)


def blob_names(directory: Path) -> set[str]:
    """Return which blobs are on disk."""
    return {path.name for path in (directory / "blobs").iterdir()}


def test_blobs_lie_beside_the_slot_that_needs_them(tmp_path: Path) -> None:
    """The body comes back without a trace of them."""
    store_with(tmp_path, b"with\n", BLOBS)
    assert bodies(tmp_path) == [b"with\n"]
    assert blob_names(tmp_path) == set(BLOBS)


def test_blobs_of_both_slots_stay_and_no_others(tmp_path: Path) -> None:
    """The older slot is what a start falls back on."""
    store_with(tmp_path, b"1\n", BLOBS)
    store_with(tmp_path, b"2\n", OTHER_BLOBS)
    assert blob_names(tmp_path) == set(BLOBS) | set(OTHER_BLOBS)
    store_with(tmp_path, b"3\n", {})
    assert blob_names(tmp_path) == set(OTHER_BLOBS)
    store_with(tmp_path, b"4\n", {})
    assert blob_names(tmp_path) == set()


def test_blobs_of_another_owner_stay(tmp_path: Path) -> None:
    """Two deployments that share a directory share what is in it, too."""
    store_with(tmp_path, b"mine\n", BLOBS)
    cache.store(tmp_path, "another", [b"theirs\n"], "digest", 1000)
    assert blob_names(tmp_path) == set(BLOBS)


def test_a_slot_with_a_torn_list_of_blobs_is_passed_over(tmp_path: Path) -> None:
    """Cut anywhere among them, and with one digest changed."""
    store_with(tmp_path, b"older\n", {})
    store_with(tmp_path, b"newer\n", BLOBS)
    slot = newest_slot(tmp_path)
    whole = slot.read_bytes()
    start = whole.index(b"\n") + 1
    for length in range(start, len(whole), 7):
        slot.write_bytes(whole[:length])
        assert bodies(tmp_path) == [b"older\n"]
    slot.write_bytes(whole[:start] + b"x" + whole[start + 1 :])
    assert bodies(tmp_path) == [b"older\n"]


@pytest.mark.parametrize("claimed", [10**15, -1, 5])
def test_a_slot_that_claims_blobs_it_has_not_is_passed_over(tmp_path: Path, claimed: int) -> None:
    """Neither reading it nor the sweep takes memory for them."""
    store(tmp_path, b"older\n")
    store(tmp_path, b"newer\n")
    slot = newest_slot(tmp_path)
    slot.write_bytes(slot.read_bytes().replace(b'"blobs":0', b'"blobs":%d' % claimed))
    assert bodies(tmp_path) == [b"older\n"]
    store_with(tmp_path, b"newest\n", BLOBS)
    assert bodies(tmp_path)[0] == b"newest\n"
    assert blob_names(tmp_path) == set(BLOBS)


def test_a_slot_of_before_there_were_blobs_is_read(tmp_path: Path) -> None:
    """An update of the sidecar keeps its cache."""
    store(tmp_path, b"x\n")
    slot = newest_slot(tmp_path)
    slot.write_bytes(slot.read_bytes().replace(b',"blobs":0', b""))
    assert bodies(tmp_path) == [b"x\n"]


def test_a_blob_that_cannot_be_written_leaves_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot never names a blob that is not there."""
    store_with(tmp_path, b"older\n", {})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store_with(tmp_path, b"newer\n", BLOBS)
    assert bodies(tmp_path) == [b"older\n"]
    store_with(tmp_path, b"newer\n", BLOBS)
    assert bodies(tmp_path)[0] == b"newer\n"


def test_two_writers_are_not_in_the_directory_at_once(tmp_path: Path) -> None:
    """Or one would sweep what the other's slot is about to need."""
    store(tmp_path, b"x\n")
    with alone(tmp_path), pytest.raises(OSError, match="another process"):
        store(tmp_path, b"y\n")
    assert bodies(tmp_path) == [b"x\n"]
