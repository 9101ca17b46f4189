"""The events of a stream as finished bytes, to be written as they are to everybody. Pure.

Finished means: as a chunk of HTTP/1.1, size line included, so that an answer that was cut is told
from one that ended (`LAST_CHUNK`). The few readers that speak HTTP/1.0 get `plain` bytes.

Equal arguments give equal bytes on every replica: a delta's entries are in the order of a snapshot.
"""

import msgspec

from control_plane.publishing.snapshots import LineChanges
from proxy.contract.snapshot import SnapshotHeader, entry_order
from proxy.contract.sync import (
    MAX_DELTA_BYTES,
    Delta,
    Heartbeat,
    RemovedEntry,
    SnapshotPointer,
    event_id,
)

__all__ = [
    "LAST_CHUNK",
    "delta_event",
    "heartbeat_event",
    "plain",
    "retry_line",
    "snapshot_event",
]

LAST_CHUNK = b"0\r\n\r\n"

_encode = msgspec.json.Encoder().encode


def snapshot_event(pointer: SnapshotPointer) -> bytes:
    """Return the event that says what is to be fetched."""
    return _chunk(_event("snapshot", pointer, event_id(pointer.epoch, pointer.revision)))


def heartbeat_event(pointer: SnapshotPointer, verified_age_ms: int) -> bytes:
    """Return the event that says what is current, and when that was last known."""
    epoch, revision, digest = pointer.epoch, pointer.revision, pointer.digest
    return _chunk(_event("heartbeat", Heartbeat(epoch, revision, digest, verified_age_ms)))


def delta_event(from_revision: int, header: SnapshotHeader, changes: LineChanges) -> bytes | None:
    """Return the event that tells of a change; None for one that is too large to be told.

    `header` is that of the snapshot after the change. What is far too large costs a sum.
    """
    least = sum(len(key) if line is None else len(line) for (_, key), line in changes.items())
    if least > MAX_DELTA_BYTES:
        return None
    lines: list[str] = []
    removed: list[RemovedEntry] = []
    for name in sorted(changes, key=lambda name: entry_order(*name)):
        line = changes[name]
        if line is None:
            removed.append(RemovedEntry(*name))
        else:
            lines.append(line.decode())
    delta = Delta(from_revision, header.revision, header.digest, lines, removed, header)
    event = _event("delta", delta, event_id(header.epoch, header.revision))
    return _chunk(event) if len(event) <= MAX_DELTA_BYTES else None


def retry_line(delay_ms: int) -> bytes:
    """Return what tells a reader how long to wait before it comes back."""
    return _chunk(b"retry: %d\n\n" % delay_ms)


def plain(chunk: bytes) -> bytes:
    """Return what is in a chunk."""
    return chunk[chunk.index(b"\r\n") + 2 : -2]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(name: str, data: msgspec.Struct, identity: str = "") -> bytes:
    head = f"event: {name}\nid: {identity}\n" if identity else f"event: {name}\n"
    return head.encode() + b"data: " + _encode(data) + b"\n\n"
