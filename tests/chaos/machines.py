"""Parts of a machine that a test can spoil: a disk that is small, a clock that jumps.

small_disk  a file system of its own, in memory; needs root
Clock       what a program that is started under it takes for the time of day; needs Debian's
            faketime, which leaves the monotonic clock as it is

Without root or faketime a test is skipped with a counted line; in CI, which has both, it fails.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import missing

__all__ = ["Clock", "Disk", "holds", "small_disk"]


class Disk:
    """A directory on a disk of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 4096, 512, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue  # no room for so much at once; for less perhaps

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink()


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a small disk at a directory, which is made."""
    if os.geteuid() != 0:
        missing("root, to mount a disk")
    path.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], check=True)
    try:
        yield Disk(path)
    finally:
        # lazily: a program that is ended after this has files open on it
        subprocess.run(["umount", "--lazy", path], check=True)


def holds(cache: Path, digest: str) -> bool:
    """Return whether a cache directory has the snapshot of a digest."""
    return any(digest.encode() in slot.read_bytes() for slot in cache.glob("snapshot-*"))


class Clock:
    """The clock of programs that are started with `environ`."""

    def __init__(self, directory: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            missing("libfaketime")
        self._file = directory / "clock"
        self.jump(0)
        self.environ = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be so much ahead of the true time from now on, or behind."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}")
        part.replace(self._file)
