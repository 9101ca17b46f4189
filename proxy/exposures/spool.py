"""Keeps batches on disk while the control plane is away, and for good when it will not take them.

`<directory>/pending/<uuid7>-<count>.json.gz` waits, oldest first by its name; `parked` holds what
was refused, for a person to look at. Written beside and renamed, so no file is ever half there.
Bounded: when there is no room the oldest goes, and the caller is told how many exposures with it.

All methods block; the caller runs them off the event loop. What the disk refuses raises OSError.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.exposures.batches import Batch

__all__ = ["MAX_PARKED", "Spool", "Waiting"]

MAX_PARKED = 100
"""Refused batches kept. They are all alike in practice; the log has the reason of each."""

_NAME = re.compile(r"(?P<id>[0-9a-f-]{36})-(?P<count>[0-9]{1,5})\.json\.gz")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch on disk, not read yet."""

    id: str
    count: int
    path: Path
    size: int


class Spool:
    """The batches of one directory, which is made when first written to."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._pending = directory / "pending"
        self._parked = directory / "parked"
        self._max_bytes = max_bytes

    def waiting(self) -> list[Waiting]:
        """Return what waits, oldest first. Other files are left alone."""
        return list(_batches(self._pending))

    def read(self, waiting: Waiting) -> Batch:
        """Return a batch that waits."""
        return Batch(waiting.id, waiting.count, waiting.path.read_bytes())

    def stored(self, batch: Batch) -> Waiting:
        """Return a batch that was just stored, as it waits."""
        return Waiting(batch.id, batch.count, self._pending / _name(batch), len(batch.body))

    def store(self, batch: Batch) -> list[Waiting]:
        """Keep a batch; return those that had to go for it, already removed."""
        size = len(batch.body)
        if size > self._max_bytes:
            raise OSError(f"a batch of {size} bytes does not fit into {self._max_bytes}")
        there = self.waiting()
        used = sum(waiting.size for waiting in there)
        removed: list[Waiting] = []
        for waiting in there:
            if used + size <= self._max_bytes:
                break
            waiting.path.unlink(missing_ok=True)
            used -= waiting.size
            removed.append(waiting)
        _write(self._pending, batch)
        return removed

    def remove(self, batch: Batch) -> None:
        """Forget a batch; one that is not there is no error."""
        (self._pending / _name(batch)).unlink(missing_ok=True)

    def park(self, batch: Batch) -> None:
        """Put a refused batch aside; the oldest such goes when there are too many."""
        _write(self._parked, batch)
        self.remove(batch)
        _remove_all(list(_batches(self._parked))[:-MAX_PARKED])


def _name(batch: Batch) -> str:
    return f"{batch.id}-{batch.count}.json.gz"


def _batches(directory: Path) -> Iterable[Waiting]:
    with suppress(FileNotFoundError):
        for path in sorted(directory.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            with suppress(FileNotFoundError):  # removed by somebody since it was listed
                yield Waiting(match["id"], int(match["count"]), path, path.stat().st_size)


def _write(directory: Path, batch: Batch) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / _name(batch)
    partial = path.with_suffix(".partial")
    partial.write_bytes(batch.body)
    partial.replace(path)


def _remove_all(batches: Iterable[Waiting]) -> None:
    for waiting in batches:
        waiting.path.unlink(missing_ok=True)
