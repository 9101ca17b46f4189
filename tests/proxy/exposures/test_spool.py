"""Batches on a real disk."""

from pathlib import Path

import pytest

from proxy.exposures.batches import Batch, uuid7
from proxy.exposures.spool import MAX_PARKED, Spool


def batch(number: int, size: int = 10) -> Batch:
    """Return a batch; later numbers are later batches."""
    return Batch(uuid7(number, bytes(10)), number, b"x" * size)


def counts(spool: Spool) -> list[int]:
    """Return the counts of what waits."""
    return [waiting.count for waiting in spool.waiting()]


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    """Oldest first, whatever the order of storing."""
    for number in (2, 1, 3):
        Spool(tmp_path, 1000).store(batch(number))
    spool = Spool(tmp_path, 1000)
    assert [spool.read(waiting) for waiting in spool.waiting()] == [batch(1), batch(2), batch(3)]


def test_the_oldest_goes_when_there_is_no_room(tmp_path: Path) -> None:
    """And the caller learns how many exposures with it."""
    spool = Spool(tmp_path, 25)
    assert spool.store(batch(1)) == []
    assert spool.store(batch(2)) == []
    assert [waiting.count for waiting in spool.store(batch(3))] == [1]
    assert counts(spool) == [2, 3]


def test_what_never_fits_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    """The others stay."""
    spool = Spool(tmp_path, 25)
    spool.store(batch(1))
    with pytest.raises(OSError, match="does not fit"):
        spool.store(batch(2, 26))
    assert counts(spool) == [1]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Half a file, too: it is not under its name yet."""
    spool = Spool(tmp_path, 1000)
    spool.store(batch(1))
    for name in ("notes.txt", f"{batch(2).id}-2.json.gz.partial", f"{batch(3).id}.json.gz"):
        (tmp_path / "pending" / name).write_bytes(b"x")
    assert counts(spool) == [1]


def test_removing_is_idempotent(tmp_path: Path) -> None:
    """A batch that is gone is no error."""
    spool = Spool(tmp_path, 1000)
    spool.store(batch(1))
    spool.remove(batch(1))
    spool.remove(batch(1))
    assert counts(spool) == []


def test_what_is_parked_waits_no_more_and_is_bounded(tmp_path: Path) -> None:
    """It is kept for a person to look at."""
    spool = Spool(tmp_path, 10**6)
    spool.store(batch(1))
    for number in range(1, MAX_PARKED + 3):
        spool.park(batch(number))
    assert counts(spool) == []
    parked = sorted(path.name for path in (tmp_path / "parked").iterdir())
    assert len(parked) == MAX_PARKED
    assert parked[-1] == f"{batch(MAX_PARKED + 2).id}-{MAX_PARKED + 2}.json.gz"


def test_only_the_owner_may_look_at_units(tmp_path: Path) -> None:
    """They may be names of people."""
    spool = Spool(tmp_path, 1000)
    spool.store(batch(1))
    assert (tmp_path / "pending").stat().st_mode & 0o077 == 0
