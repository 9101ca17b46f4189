"""Writes files so that they are there whole or not at all, and reads what others may have put.

Rules:
- What is read is untrusted: no link is followed, no pipe is waited for, nothing is read beyond a
  bound, and whatever cannot be read is empty.
- Everything here blocks: call it in an executor.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["alone", "is_stale", "read_file", "remove_stale", "replace_file", "sync_directory"]

_SUFFIX = ".tmp"
_STALE_S = 3600.0  # no write takes this long


def replace_file(path: Path, *parts: bytes) -> None:
    """Put a file in place, mode 0600. It survives a power cut once its directory is synced."""
    with _temporary(path) as (descriptor, temporary):
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def sync_directory(directory: Path) -> None:
    """Make the names of what was put into a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(directory: Path) -> None:
    """Remove what writers left behind that were killed; a younger one may be another writer's."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if is_stale(entry):
                    os.unlink(entry.path)


def is_stale(entry: "os.DirEntry[str]") -> bool:
    """Return whether a file is half of one, and nobody can be writing it any more."""
    if not (entry.name.startswith(".") and entry.name.endswith(_SUFFIX)):
        return False
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a directory.

    Raises:
        OSError: another one is in there. One that ends, however it does, leaves it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EWOULDBLOCK, "another process is writing there") from None
        except OSError:
            pass  # a file system without locks; nobody shares what cannot be locked
        yield
    finally:
        os.close(descriptor)


def read_file(path: Path, max_bytes: int, *, whole: bool = True) -> bytes:
    """Return the file's bytes, or its first `max_bytes` unless `whole`; empty if unusable."""
    try:
        # no link and no pipe: neither is ours, and opening a pipe would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (whole and status.st_size > max_bytes):
            return b""
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[tuple[int, Path]]:
    """A new file, mode 0600, beside `path`; gone afterwards unless it was renamed.

    Part of its name is random, for two writers at once.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_SUFFIX, dir=path.parent)
    try:
        yield descriptor, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
