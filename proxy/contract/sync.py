"""What control plane and sidecar say to each other on the stream and about it.

Paths, the events of the server-sent event stream, the id an event carries. A reader that meets a
`delta` it cannot apply fetches the snapshot, which is always right.
"""

from collections.abc import Iterable

import msgspec

from proxy.contract.snapshot import SnapshotHeader

__all__ = [
    "BLOBS_PATH",
    "DIGEST_HEADER",
    "HEARTBEAT_S",
    "IDLE_S",
    "MAX_DELTA_BYTES",
    "INSTANCE_HEADER",
    "PUBLISHED_HEADER",
    "REVISION_HEADER",
    "SNAPSHOT_PATH",
    "STREAM_PATH",
    "VERIFIED_AGE_HEADER",
    "Delta",
    "Heartbeat",
    "RemovedEntry",
    "SnapshotPointer",
    "entity_tag",
    "event_id",
    "parse_event_id",
]

STREAM_PATH = "/api/v1/sync/stream"
SNAPSHOT_PATH = "/api/v1/sync/snapshot"
BLOBS_PATH = "/api/v1/sync/blobs"
"""With a slash and a digest: a blob of a long list of units (`proxy.contract.units`)."""

INSTANCE_HEADER = "X-Matrixflag-Instance"
"""Of a request: what the sidecar calls itself."""

REVISION_HEADER = "X-Matrixflag-Revision"
"""Of a request: the revision the sidecar serves; absent before its first snapshot."""

DIGEST_HEADER = "X-Matrixflag-Digest"
"""Of a request: the digest the sidecar serves; absent before its first snapshot."""

PUBLISHED_HEADER = "X-Matrixflag-Published"
"""Of a request for a stream: `created_at` of the newest snapshot the sidecar has seen, which is the
one that `Last-Event-ID` names. Epochs have no order; this tells a control plane whose Redis went
back to one that was over."""

VERIFIED_AGE_HEADER = "X-Matrixflag-Verified-Age-Ms"
"""Of a snapshot's answer, 304 too: what `verified_age_ms` is in a heartbeat. Absent means 0."""

HEARTBEAT_S = 10.0
"""Between heartbeats at most. Intermediaries drop idle connections from about 30 s on."""

IDLE_S = 30.0
"""A stream silent for this long is taken for dead: three heartbeats were missed."""

MAX_DELTA_BYTES = 256 * 1024
"""Largest `delta` event; of a larger change a `snapshot` event tells."""


class SnapshotPointer(msgspec.Struct, frozen=True):
    """Event `snapshot`: this is current now; whoever holds another digest fetches the snapshot."""

    epoch: str
    revision: int
    digest: str


class RemovedEntry(msgspec.Struct, frozen=True):
    """An entry that is gone."""

    kind: str
    key: str


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Event `delta`: entry lines set and removed between two revisions; `digest` is after it.

    `header` is the whole header of the snapshot that results, as `/snapshot` would give it; without
    one, revision, digest and number of entries are all that changes of it.
    """

    from_: int = msgspec.field(name="from")
    to: int
    digest: str
    set: list[str]
    removed: list[RemovedEntry]
    header: SnapshotHeader | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    """Event `heartbeat`: nothing changed.

    `verified_age_ms` is how long ago the control plane itself last knew that this is current: a
    replica cut off from Redis says so, and does not look fresh.
    """

    epoch: str
    revision: int
    digest: str
    verified_age_ms: int


def entity_tag(epoch: str, revision: int, digest: str, signed_by: Iterable[str] = ()) -> str:
    """Return the entity tag of a snapshot, which names its header as well as its content.

    By the digest alone a reader that polls would keep the header of an epoch that is over, and its
    revision would be a number of another history; without the ids of the keys that signed it, one
    that asks for a new key would keep signatures of the old. Weak, because compressed or not a
    snapshot has the same one (RFC 9110, section 8.8.1).
    """
    return f'W/"{"-".join((epoch, str(revision), digest, *signed_by))}"'


def event_id(epoch: str, revision: int) -> str:
    """Return the `id:` of an event; it names content, so it survives restarts."""
    return f"{epoch}-{revision}"


def parse_event_id(value: str) -> tuple[str, int] | None:
    """Return epoch and revision of an event id, or None for anything else."""
    epoch, dash, revision = value.rpartition("-")
    if not dash or not epoch or not (revision.isascii() and revision.isdigit()):
        return None
    return (epoch, int(revision)) if len(revision) <= 18 else None
