"""Keeps the last snapshot on disk, so that a sidecar starts while its control plane is away.

Two slots. A slot is one file: a line of JSON about the body, a newline, the body as it was
received. The next snapshot goes to the slot that is not the newest, by write, fsync and rename, so
that a whole one is there whenever the power goes. A third small file notes when the newest was
last confirmed to be current, which costs less than writing it anew.

Rules:
- What is read is untrusted. Torn, foreign, oversized or hostile files, links and pipes are passed
  over; `load` never raises. The snapshot itself is verified by whoever serves it.
- A slot belongs to an owner, the control plane and key it came with: flags of one environment must
  never be served in another because two deployments share a directory.
- Everything here blocks: call it in an executor.
"""

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy.contract.access import hash_key

__all__ = ["Saved", "confirm", "holds_anything", "load", "owner_of", "store"]

_FORMAT = 1
_SLOTS = ("snapshot-0.cache", "snapshot-1.cache")
_CONFIRMED = "confirmed.json"
_MAX_META_BYTES = 4096
_STALE_S = 3600.0  # no write takes this long
_MAX_SEQUENCE = 2**53  # counts writes; one a millisecond reaches it in 285,000 years


class Saved(NamedTuple):
    """A snapshot from the disk, and the wall time, Unix ms, at which it was known as current."""

    body: bytes
    confirmed_at_ms: int


class _Meta(msgspec.Struct, frozen=True):
    format: int
    owner: str
    sequence: int
    digest: str
    confirmed_at_ms: int
    size: int
    sha256: str


class _Confirmed(msgspec.Struct, frozen=True):
    owner: str
    digest: str
    at_ms: int


def owner_of(control_plane_url: str, key: str) -> str:
    """Return a name for what a control plane sends to a key; the key cannot be had from it."""
    return sha256(f"{control_plane_url}\0{hash_key(key)}".encode()).hexdigest()


def load(directory: Path, owner: str, max_bytes: int) -> list[Saved]:
    """Return the whole snapshots of an owner, newest first; none when there is nothing usable.

    `max_bytes` bounds the body of each.
    """
    found = []
    confirmed = _read_confirmed(directory / _CONFIRMED)
    for name in _SLOTS:
        data = _read(directory / name, max_bytes + _MAX_META_BYTES)
        meta = _read_meta(data[:_MAX_META_BYTES])
        if meta is None or meta.owner != owner:
            continue
        body = data[data.index(b"\n") + 1 :]
        if len(body) != meta.size or sha256(body).hexdigest() != meta.sha256:
            continue
        at_ms = meta.confirmed_at_ms
        if confirmed is not None and (confirmed.owner, confirmed.digest) == (owner, meta.digest):
            at_ms = max(at_ms, confirmed.at_ms)
        found.append((meta.sequence, Saved(body, at_ms)))
    return [saved for _, saved in sorted(found, key=lambda item: -item[0])]


def holds_anything(directory: Path) -> bool:
    """Return whether there is any slot, usable or not."""
    return any((directory / name).exists() for name in _SLOTS)


def store(directory: Path, owner: str, body: bytes, digest: str, confirmed_at_ms: int) -> None:
    """Keep a snapshot, whose header names `digest`. When this returns it survives a power cut.

    Raises:
        OSError: and what was kept before is kept.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    sequences = [_sequence(directory / name) for name in _SLOTS]
    meta = _Meta(
        format=_FORMAT,
        owner=owner,
        sequence=max(sequences) + 1,
        digest=digest,
        confirmed_at_ms=confirmed_at_ms,
        size=len(body),
        sha256=sha256(body).hexdigest(),
    )
    slot = _SLOTS[sequences.index(min(sequences))]
    _replace(directory / slot, msgspec.json.encode(meta) + b"\n", body)


def confirm(directory: Path, owner: str, digest: str, at_ms: int) -> None:
    """Note that the snapshot of this digest was current at a wall time.

    Raises:
        OSError: the note could not be written.
    """
    note = _Confirmed(owner, digest, at_ms)
    _replace(directory / _CONFIRMED, msgspec.json.encode(note))


def _replace(path: Path, *parts: bytes) -> None:
    """Put a file in place whole or not at all."""
    with _temporary(path) as (descriptor, temporary):
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)  # the rename itself
    finally:
        os.close(directory)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[tuple[int, Path]]:
    """A new file, mode 0600, beside `path`; gone afterwards unless it was renamed.

    Part of its name is random, for two writers at once. Old ones, of processes that were killed,
    are removed.
    """
    prefix = f".{path.name}."
    for stale in path.parent.glob(prefix + "*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE_S:
                stale.unlink()
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
    try:
        yield descriptor, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sequence(path: Path) -> int:
    """Return the sequence of a slot, -1 for one that holds nothing usable."""
    meta = _read_meta(_read(path, _MAX_META_BYTES, whole=False))
    return meta.sequence if meta is not None else -1


def _read_meta(data: bytes) -> _Meta | None:
    line, newline, _ = data.partition(b"\n")
    if not newline:
        return None
    try:
        meta = msgspec.json.decode(line, type=_Meta)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return meta if meta.format == _FORMAT and 0 <= meta.sequence < _MAX_SEQUENCE else None


def _read_confirmed(path: Path) -> _Confirmed | None:
    try:
        return msgspec.json.decode(_read(path, _MAX_META_BYTES), type=_Confirmed)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _read(path: Path, max_bytes: int, *, whole: bool = True) -> bytes:
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
