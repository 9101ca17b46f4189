"""Keeps the last snapshot on disk, so that a sidecar starts while its control plane is away.

Two slots. A slot is one file: a line of JSON about the rest, a newline, the digests of the blobs
that the snapshot needs, 32 bytes each, and the snapshot in writing. The next snapshot goes to
the slot that is not the newest, by write, fsync and rename, so that a whole one is there whenever
the power goes. A third small file notes when the newest was last confirmed to be current, which
costs less than writing it anew. The blobs themselves are `proxy.sync.blob_files`': they are there
before the slot that needs them, and go when no slot does.

Rules:
- What is read is untrusted. Torn, foreign, oversized or hostile files, links and pipes are passed
  over; `load` never raises. The snapshot itself is verified by whoever serves it.
- A slot belongs to an owner, the control plane and key it came with: flags of one environment must
  never be served in another because two deployments share a directory.
- Everything here blocks: call it in an executor.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy.contract.access import hash_key
from proxy.sync import blob_files
from proxy.sync.files import alone, read_file, remove_stale, replace_file, sync_directory

__all__ = ["Saved", "confirm", "holds_anything", "load", "owner_of", "store"]

_FORMAT = 1
_SLOTS = ("snapshot-0.cache", "snapshot-1.cache")
_CONFIRMED = "confirmed.json"
_MAX_META_BYTES = 4096
_DIGEST_BYTES = 32
_MAX_BLOBS = 2**20  # of a slot, as it says itself; 32 MB of digests
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
    """Of the body."""
    sha256: str
    """Of digests and body."""
    blobs: int = 0
    """How many digests."""


class _Confirmed(msgspec.Struct, frozen=True):
    owner: str
    digest: str
    at_ms: int


def owner_of(control_plane_urls: tuple[str, ...], key: str) -> str:
    """Return a name for what a control plane sends to a key; the key cannot be had from it.

    The order of its replicas' addresses does not matter.
    """
    urls = ",".join(sorted(control_plane_urls))
    return sha256(f"{urls}\0{hash_key(key)}".encode()).hexdigest()


def load(directory: Path, owner: str, max_bytes: int) -> list[Saved]:
    """Return the whole snapshots of an owner, newest first; none when there is nothing usable.

    `max_bytes` bounds the body of each.
    """
    found = []
    confirmed = _read_confirmed(directory / _CONFIRMED)
    for name in _SLOTS:
        data = read_file(directory / name, max_bytes + _MAX_META_BYTES + _MAX_BLOBS * _DIGEST_BYTES)
        meta = _read_meta(data[:_MAX_META_BYTES])
        if meta is None or meta.owner != owner or meta.size > max_bytes:
            continue
        start = data.index(b"\n") + 1
        body = data[start + meta.blobs * _DIGEST_BYTES :]
        whole = sha256(memoryview(data)[start:]).hexdigest() == meta.sha256
        if len(body) != meta.size or not whole:
            continue
        at_ms = meta.confirmed_at_ms
        if confirmed is not None and (confirmed.owner, confirmed.digest) == (owner, meta.digest):
            at_ms = max(at_ms, confirmed.at_ms)
        found.append((meta.sequence, Saved(body, at_ms)))
    return [saved for _, saved in sorted(found, key=lambda item: -item[0])]


def holds_anything(directory: Path) -> bool:
    """Return whether there is any slot, usable or not."""
    return any((directory / name).exists() for name in _SLOTS)


def store(
    directory: Path,
    owner: str,
    body: Sequence[bytes],
    digest: str,
    confirmed_at_ms: int,
    blobs: Mapping[str, bytes] | None = None,
    known: set[str] | None = None,
) -> None:
    """Keep a snapshot, in pieces, whose header names `digest`, and the blobs that it needs.

    When this returns it survives a power cut. `known` are digests of blobs that this process has
    seen whole in the directory, which spares looking again; it is brought up to date.

    Raises:
        OSError: and what was kept before is kept.
    """
    blobs = blobs or {}
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(directory):
        remove_stale(directory)
        # A slot names only blobs that are there; and none goes that a slot names.
        blob_files.write(directory, blobs, set() if known is None else known)
        sequences = [_sequence(directory / name) for name in _SLOTS]
        digests = b"".join(bytes.fromhex(name) for name in blobs)
        content = sha256(digests)
        for piece in body:
            content.update(piece)
        meta = _Meta(
            format=_FORMAT,
            owner=owner,
            sequence=max(sequences) + 1,
            digest=digest,
            confirmed_at_ms=confirmed_at_ms,
            size=sum(map(len, body)),
            sha256=content.hexdigest(),
            blobs=len(blobs),
        )
        slot = _SLOTS[sequences.index(min(sequences))]
        replace_file(directory / slot, msgspec.json.encode(meta) + b"\n", digests, *body)
        sync_directory(directory)
        blob_files.sweep(directory, _needed(directory))


def confirm(directory: Path, owner: str, digest: str, at_ms: int) -> None:
    """Note that the snapshot of this digest was current at a wall time.

    Raises:
        OSError: the note could not be written.
    """
    note = _Confirmed(owner, digest, at_ms)
    replace_file(directory / _CONFIRMED, msgspec.json.encode(note))
    sync_directory(directory)


def _needed(directory: Path) -> set[str]:
    """Return the digests of the blobs that a slot needs, whoever owns it."""
    needed: set[str] = set()
    for name in _SLOTS:
        path = directory / name
        head = read_file(path, _MAX_META_BYTES, whole=False)
        meta = _read_meta(head)
        if meta is None or not meta.blobs:
            continue
        start = head.index(b"\n") + 1
        end = start + meta.blobs * _DIGEST_BYTES
        data = read_file(path, end, whole=False)[start:end]
        needed.update(
            data[at : at + _DIGEST_BYTES].hex() for at in range(0, len(data), _DIGEST_BYTES)
        )
    return needed


def _sequence(path: Path) -> int:
    """Return the sequence of a slot, -1 for one that holds nothing usable."""
    meta = _read_meta(read_file(path, _MAX_META_BYTES, whole=False))
    return meta.sequence if meta is not None else -1


def _read_meta(data: bytes) -> _Meta | None:
    line, newline, _ = data.partition(b"\n")
    if not newline:
        return None
    try:
        meta = msgspec.json.decode(line, type=_Meta)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    sane = 0 <= meta.sequence < _MAX_SEQUENCE and 0 <= meta.blobs <= _MAX_BLOBS
    return meta if meta.format == _FORMAT and sane else None


def _read_confirmed(path: Path) -> _Confirmed | None:
    try:
        return msgspec.json.decode(read_file(path, _MAX_META_BYTES), type=_Confirmed)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
