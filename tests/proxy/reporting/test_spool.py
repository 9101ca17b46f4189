"""Batches on a real disk, and everything that may be found on one."""

import errno
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.reporting.batches import Batch, uuid7
from proxy.reporting.spool import MAX_REFUSED, Spool, Unreadable

HEADER_BYTES = 57


def batch(number: int, size: int = 10) -> Batch:
    """Return a batch; later numbers are later batches."""
    return Batch(uuid7(number, bytes(10)), number, b"x" * size)


def spool_of(directory: Path, max_bytes: int = 10**6, **bounds: int) -> Spool:
    """Return a spool that has taken over what is there."""
    spool = Spool(directory, max_bytes, **bounds)
    spool.open()
    return spool


def drain(spool: Spool) -> list[Batch]:
    """Return what waits, in order, and be done with it."""
    found: list[Batch] = []
    while (first := spool.first()) is not None:
        found.append(first)
        spool.done()
    return found


def segments(directory: Path) -> list[Path]:
    """Return the files of a spool."""
    return sorted((directory / "waiting").iterdir())


@pytest.mark.parametrize("segment_bytes", [1, 100, 10**6])
def test_what_was_put_there_is_there_after_a_restart(tmp_path: Path, segment_bytes: int) -> None:
    """Oldest first, in one segment or several; and nothing is left when all is done."""
    spool = spool_of(tmp_path, segment_bytes=segment_bytes)
    for number in (1, 2, 3):
        spool.append(batch(number))
    again = Spool(tmp_path, 10**6)
    assert again.open() == (6, [])
    assert drain(again) == [batch(1), batch(2), batch(3)]
    assert segments(tmp_path) == []


def test_what_is_done_does_not_come_again(tmp_path: Path) -> None:
    """Not after SIGKILL either, for which nothing is closed here."""
    spool = spool_of(tmp_path)
    for number in (1, 2, 3):
        spool.append(batch(number))
    spool.first()
    spool.done()
    assert drain(spool_of(tmp_path)) == [batch(2), batch(3)]


def test_what_is_put_there_while_it_is_emptied_comes_last(tmp_path: Path) -> None:
    """In the segment that is being read, too."""
    spool = spool_of(tmp_path)
    spool.append(batch(1))
    spool.append(batch(2))
    assert spool.first() == batch(1)
    spool.append(batch(3))
    spool.done()
    assert drain(spool) == [batch(2), batch(3)]
    spool.append(batch(4))
    assert drain(spool) == [batch(4)]


def test_nothing_that_is_kept_makes_way(tmp_path: Path) -> None:
    """What does not fit is refused, and fits again when something is done."""
    frame = HEADER_BYTES + 10
    spool = spool_of(tmp_path, 2 * frame, segment_bytes=1)
    spool.append(batch(1))
    spool.append(batch(2))
    with pytest.raises(OSError, match="has its") as full:
        spool.append(batch(3))
    assert full.value.errno == errno.ENOSPC
    spool.first()
    spool.done()
    spool.append(batch(3))
    assert drain(spool) == [batch(2), batch(3)]


def test_there_are_no_more_segments_than_may_be(tmp_path: Path) -> None:
    """A process that starts again and again makes one each time."""
    for number in (1, 2, 3):
        spool_of(tmp_path, max_segments=3).append(batch(number))
    with pytest.raises(OSError, match="3 segments"):
        spool_of(tmp_path, max_segments=3).append(batch(4))
    assert drain(spool_of(tmp_path, max_segments=3)) == [batch(1), batch(2), batch(3)]


@given(st.integers(0, 200), st.booleans())
def test_a_file_cut_anywhere_keeps_what_is_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, zeros: bool
) -> None:
    """A write that did not reach the disk leaves less, or zeros; a body of zeros is lost."""
    directory = tmp_path_factory.mktemp("spool")
    spool = spool_of(directory)
    for number in (1, 2, 3):
        spool.append(batch(number))
    (file,) = segments(directory)
    data = file.read_bytes()
    file.write_bytes(data[:cut] + (bytes(len(data) - cut) if zeros else b""))
    whole = cut // (HEADER_BYTES + 10)
    again = Spool(directory, 10**6)
    items = again.open().items
    for number in range(1, whole + 1):
        assert again.first() == batch(number)
        again.done()
        items -= number
    if items:
        assert zeros
        with pytest.raises(Unreadable) as lost:
            again.first()
        assert lost.value.count == items
    assert again.first() is None
    assert segments(directory) == []


@given(st.binary(max_size=300), st.integers(0, 2))
def test_garbage_stops_nothing(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, before: int
) -> None:
    """After what is whole, and alone."""
    directory = tmp_path_factory.mktemp("spool")
    spool = spool_of(directory)
    for number in range(1, before + 1):
        spool.append(batch(number))
    (directory / "waiting").mkdir(exist_ok=True)
    for file in segments(directory) or [directory / "waiting" / f"{1:020}.segment"]:
        with file.open("ab") as opened:
            opened.write(garbage)
    again = Spool(directory, 10**6)
    assert len(again.open().problems) == bool(garbage)
    assert drain(again) == [batch(number) for number in range(1, before + 1)]


@pytest.mark.parametrize("at", [0, 4, 5, 9, 20, 50, 55])
def test_a_header_that_was_tampered_with_is_none(tmp_path: Path, at: int) -> None:
    """Neither its count nor its id is believed; but it may be done or not."""
    spool = spool_of(tmp_path)
    spool.append(batch(1))
    (file,) = segments(tmp_path)
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    again = Spool(tmp_path, 10**6)
    assert bool(again.open().problems) is (at != 4)


def test_a_body_that_was_tampered_with_is_lost_alone(tmp_path: Path) -> None:
    """And its items are known."""
    spool = spool_of(tmp_path)
    for number in (1, 2, 3):
        spool.append(batch(number))
    (file,) = segments(tmp_path)
    data = bytearray(file.read_bytes())
    data[(HEADER_BYTES + 10) + HEADER_BYTES + 2] ^= 1
    file.write_bytes(data)
    again = spool_of(tmp_path)
    assert again.first() == batch(1)
    again.done()
    with pytest.raises(Unreadable) as lost:
        again.first()
    assert lost.value.count == 2
    assert drain(again) == [batch(3)]


def test_a_segment_that_goes_away_is_lost_and_counted(tmp_path: Path) -> None:
    """Somebody cleaned up."""
    spool = spool_of(tmp_path, segment_bytes=1)
    spool.append(batch(1))
    spool.append(batch(2))
    segments(tmp_path)[0].unlink()
    with pytest.raises(Unreadable) as lost:
        spool.first()
    assert lost.value.count == 1
    assert drain(spool) == [batch(2)]


def test_hostile_names_are_left_alone(tmp_path: Path) -> None:
    """A pipe is not waited for, a link is not followed, a directory is no file."""
    spool_of(tmp_path).append(batch(1))
    waiting = tmp_path / "waiting"
    secret = tmp_path / "secret"
    secret.write_bytes(segments(tmp_path)[0].read_bytes())
    os.mkfifo(waiting / f"{2:020}.segment")
    (waiting / f"{3:020}.segment").symlink_to(secret)
    (waiting / f"{4:020}.segment").mkdir()
    (waiting / "notes.txt").write_text("mine")
    spool = Spool(tmp_path, 10**6)
    found = spool.open()
    assert (found.items, len(found.problems)) == (1, 3)
    assert drain(spool) == [batch(1)]
    assert secret.exists()
    assert (waiting / "notes.txt").exists()


def test_what_is_refused_is_kept_with_the_reason_and_bounded(tmp_path: Path) -> None:
    """For a person to look at; the oldest go."""
    spool = spool_of(tmp_path)
    for number in range(1, MAX_REFUSED + 3):
        spool.refuse(
            Batch(uuid7(number, bytes(10)), 1, gzip.compress(b"{}")), "http_422: no", number
        )
    files = sorted((tmp_path / "refused").iterdir())
    assert len(files) == MAX_REFUSED
    assert files[-1].name == f"{batch(MAX_REFUSED + 2).id}.gz"
    first, second = gzip.decompress(files[-1].read_bytes()).splitlines()
    assert (b"http_422: no" in first, second) == (True, b"{}")


def test_what_is_refused_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    """But the last is kept whatever it has."""
    spool = spool_of(tmp_path, 2000)
    for size, numbers in ((900, (3, 4)), (1900, (4,))):
        for number in range(1, 5):
            spool.refuse(batch(number, size), "no", number)
        kept = [file.name[:36] for file in sorted((tmp_path / "refused").iterdir())]
        assert kept == [batch(number).id for number in numbers]


def test_only_the_owner_may_look_at_units(tmp_path: Path) -> None:
    """They may be names of people."""
    spool = spool_of(tmp_path / "exposures")
    spool.append(batch(1))
    spool.refuse(batch(1), "no", 1)
    for path in (tmp_path / "exposures").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


FULL = """
import errno, sys
from pathlib import Path
from tests.proxy.reporting.test_spool import batch, drain, spool_of
directory = Path(sys.argv[1])
spool = spool_of(directory, 10**9)
kept = []
for number in range(1, 100):
    try:
        spool.append(batch(number, 50_000))
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        break
    kept.append(batch(number, 50_000))
assert 10 < len(kept) < 22, len(kept)
try:
    spool.append(batch(100, 50_000))
except OSError:
    pass
assert spool.first() == kept[0]
again = spool_of(directory, 10**9)
assert drain(again) == kept
again.append(batch(100, 50_000))
assert drain(again) == [batch(100, 50_000)]
print("survived")
"""


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """A real one of a megabyte: what was kept is whole, and there is room when it is emptied."""
    mounted = 'mount -t tmpfs -o size=1m tmpfs $1 && exec $2 -c "$3" $1/spool'
    ran = subprocess.run(
        [
            *("/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-ec"),
            *(mounted, "sh", str(tmp_path), sys.executable, FULL),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "survived\n", ran.stderr
