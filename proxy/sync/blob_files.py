"""Keeps the blobs of unit lists on disk, beside the slots of `proxy.sync.cache`: `blobs/<digest>`.

A blob's name is the digest of what it holds, so a file is never changed: it is put there whole,
found damaged and removed, or swept when no slot needs it.

Rules:
- What is read is untrusted, the names too: only what has the digest it is asked for is returned.
- Everything here blocks: call it in an executor.
"""

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from proxy.contract.problems import Problem
from proxy.contract.units import read_blob
from proxy.sync.files import is_stale, read_file, replace_file, sync_directory

__all__ = ["read", "sweep", "write"]

_DIRECTORY = "blobs"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def read(directory: Path, needed: Mapping[str, int]) -> dict[str, bytes]:
    """Return those of the needed blobs that are there, whole and well formed.

    `needed` has the most bytes that each may have. Damaged ones are removed, so that they are
    written anew. Never raises for anything that a disk or a file can do.
    """
    found: dict[str, bytes] = {}
    for digest, max_bytes in needed.items():
        if not _DIGEST.fullmatch(digest):
            continue
        path = directory / _DIRECTORY / digest
        body = read_file(path, max_bytes)
        if not body:
            continue
        blob = read_blob(body, digest)
        if isinstance(blob, Problem):
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            found[digest] = blob
    return found


def write(directory: Path, blobs: Mapping[str, bytes], known: set[str]) -> None:
    """Put the blobs there that are not; when this returns they survive a power cut.

    Those in `known` are not compared again with what is on disk; it is brought up to date.

    Raises:
        OSError: some are there, and all that were before.
    """
    place = directory / _DIRECTORY
    if blobs:
        place.mkdir(mode=0o700, exist_ok=True)
    written = False
    for digest, blob in blobs.items():
        path = place / digest
        if not _is_there(path, blob, look_inside=digest not in known):
            replace_file(path, blob)
            written = True
        known.add(digest)
    known.intersection_update(blobs)  # or it would grow with every change
    if written:
        sync_directory(place)
        sync_directory(directory)


def sweep(directory: Path, needed: set[str]) -> None:
    """Remove what no slot needs. What cannot be removed stays until next time."""
    with contextlib.suppress(OSError), os.scandir(directory / _DIRECTORY) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name not in needed and (_DIGEST.fullmatch(entry.name) or is_stale(entry)):
                    Path(entry.path).unlink()


def _is_there(path: Path, blob: bytes, *, look_inside: bool) -> bool:
    if look_inside:
        return read_file(path, len(blob)) == blob
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == len(blob)
