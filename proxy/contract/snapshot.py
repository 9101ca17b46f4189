"""The snapshot: everything one environment's sidecars need, as lines of JSON.

Line 1 is the header. Each further line is an entry `{"kind","key","def"}`: segments, then flags,
then evaluation keys, each kind sorted by the bytes of its keys. Lines are kept as they came; the
digest in the header is over them (`proxy.contract.digest`).

Rules:
- A snapshot is untrusted input. `read` refuses, by raising `SnapshotRefused` with a reason that is
  also a metric's label; it never returns a part.
- Unknown members are tolerated in the header, not in an entry's frame; what a `def` may hold is
  decided entry by entry, so that one bad flag costs that flag alone.
- Long work is a generator that yields between small pieces and returns its result, so that an
  event loop can breathe in between without this package knowing of event loops.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from proxy.contract.digest import SnapshotDigest

__all__ = [
    "KINDS",
    "MAX_SNAPSHOT_BYTES",
    "SCHEMA",
    "FILE_EPOCH",
    "Entry",
    "EntryKind",
    "Signature",
    "Snapshot",
    "SnapshotHeader",
    "SnapshotRefused",
    "change_snapshot",
    "changed_entries",
    "encode_entry",
    "encode_snapshot",
    "entry_order",
    "read_entry",
    "read_snapshot",
]

SCHEMA = "1.2"
"""Version of the snapshot format. Another major is refused; a newer minor is served."""

FILE_EPOCH = "file"
"""Of snapshots made from a file: their revisions count from the start of one process."""

MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024
"""Largest body a sidecar reads; the control plane refuses to publish half of it."""

_MAX_LINE_BYTES = 16 * 1024 * 1024

_ENTRIES_A_STEP = 1_000
"""Entries compared before a breath is taken; a fifth of a millisecond."""

EntryKind = Literal["segment", "flag", "key"]
KINDS: tuple[EntryKind, ...] = ("segment", "flag", "key")

RefusalReason = Literal[
    "too_large", "malformed", "schema", "signature", "digest", "count", "rolled_back"
]


class SnapshotRefused(Exception):
    """A snapshot that will not be served. `reason` is one of a few words, `detail` says more."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Signature(msgspec.Struct, frozen=True):
    """Who signed what a header states (`proxy.contract.statement`), and the signature in base64."""

    key_id: str
    signature: str


class SnapshotHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first line. `created_at` is RFC 3339; `revision` counts up within an `epoch`.

    `max_age_s` is the age from which flags answer the code default, None for never.
    """

    schema: str
    project: str
    environment: str
    epoch: str
    revision: int
    digest: str
    entries: int
    created_at: str
    max_age_s: int | None = None
    signatures: tuple[Signature, ...] = ()


class Entry(NamedTuple):
    """One line of a snapshot: its bytes, without the newline, and where its `def` is in them."""

    kind: EntryKind
    key: str
    line: bytes
    definition: msgspec.Raw


class Snapshot(NamedTuple):
    """A verified snapshot: its digest was computed from the entries and agrees with the header."""

    header: SnapshotHeader
    entries: dict[tuple[EntryKind, str], Entry]
    digest: SnapshotDigest


class _Frame(msgspec.Struct, forbid_unknown_fields=True):
    kind: EntryKind
    key: str
    def_: msgspec.Raw = msgspec.field(name="def")


_encoder = msgspec.json.Encoder(order="deterministic")
_frame_decoder = msgspec.json.Decoder(_Frame)
_header_decoder = msgspec.json.Decoder(SnapshotHeader)


def encode_entry(kind: EntryKind, key: str, definition: object) -> bytes:
    """Return the line of an entry, without a newline. Equal definitions give equal bytes."""
    return _encoder.encode(_Frame(kind, key, msgspec.Raw(_encoder.encode(definition))))


def read_entry(line: bytes) -> Entry:
    """Return the entry of a line; the definition is left undecoded.

    Raises:
        SnapshotRefused: `malformed`, for a line that is no entry.
    """
    try:
        frame = _frame_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SnapshotRefused("malformed", f"not an entry: {error}") from None
    return Entry(frame.kind, frame.key, line, frame.def_)


def entry_order(kind: EntryKind, key: str) -> tuple[int, bytes]:
    """Return the sort key of an entry within a snapshot."""
    return KINDS.index(kind), key.encode("utf-8", "surrogatepass")


def encode_snapshot(header: SnapshotHeader, lines: Iterable[bytes]) -> bytes:
    """Return the body of a snapshot; `lines` are in `entry_order`."""
    return b"\n".join((_encoder.encode(header), *lines, b""))


def read_snapshot(
    body: bytes,
    max_bytes: int = MAX_SNAPSHOT_BYTES,
    verify: Callable[[SnapshotHeader], None] | None = None,
) -> Generator[None, None, Snapshot]:
    """Read and verify a snapshot, yielding after each line; the generator returns it.

    `verify` is asked about the header before anything that follows is read, and may refuse it.

    Raises:
        SnapshotRefused: when any line, the count or the digest is not as it should be.
    """
    if len(body) > max_bytes:
        raise SnapshotRefused("too_large", f"{len(body)} bytes, at most {max_bytes} are read")
    end = body.find(b"\n")
    header = _read_header(body[: end if end >= 0 else len(body)])
    if verify is not None:
        verify(header)
    digest = SnapshotDigest()
    entries: dict[tuple[EntryKind, str], Entry] = {}
    start = end + 1 if end >= 0 else len(body)
    while start < len(body):
        end = body.find(b"\n", start)
        if end < 0:
            raise SnapshotRefused("malformed", "the last line does not end: the body is cut")
        if end - start > _MAX_LINE_BYTES:
            raise SnapshotRefused("too_large", f"a line of {end - start} bytes")
        entry = read_entry(body[start:end])
        name = (entry.kind, entry.key)
        if name in entries:
            raise SnapshotRefused("malformed", f"{entry.kind} {entry.key!r} is there twice")
        entries[name] = entry
        digest.put(entry.kind, entry.key, entry.line)
        start = end + 1
        yield
    if len(entries) != header.entries:
        raise SnapshotRefused("count", f"{len(entries)} entries, the header says {header.entries}")
    if digest.hexdigest() != header.digest:
        raise SnapshotRefused("digest", "the entries do not have the digest of the header")
    return Snapshot(header, entries, digest)


def change_snapshot(
    snapshot: Snapshot,
    revision: int,
    digest: str,
    lines: Iterable[bytes],
    removed: Iterable[tuple[EntryKind, str]],
) -> Snapshot:
    """Return a snapshot at a later revision, which has that digest: some lines set, some gone.

    The given one stays as it is. Costs what was changed, and copying two tables.

    Raises:
        SnapshotRefused: when a line is none or the digest is not as it should be.
    """
    entries = snapshot.entries.copy()
    made = snapshot.digest.copy()
    for line in lines:
        entry = read_entry(line)
        entries[entry.kind, entry.key] = entry
        made.put(entry.kind, entry.key, line)
    for kind, key in removed:
        entries.pop((kind, key), None)
        made.remove(kind, key)
    if made.hexdigest() != digest:
        raise SnapshotRefused("digest", "the changed entries do not have the digest announced")
    header = msgspec.structs.replace(
        snapshot.header, revision=revision, digest=digest, entries=len(entries)
    )
    return Snapshot(header, entries, made)


def changed_entries(
    before: Mapping[tuple[EntryKind, str], Entry], after: Mapping[tuple[EntryKind, str], Entry]
) -> Generator[None, None, set[tuple[EntryKind, str]]]:
    """Return the names of entries that were set or removed, yielding between small steps."""
    changed: set[tuple[EntryKind, str]] = set()
    for number, (name, entry) in enumerate(after.items(), 1):
        old = before.get(name)
        if old is None or old.line != entry.line:
            changed.add(name)
        if number % _ENTRIES_A_STEP == 0:
            yield
    if len(before) + len(changed) == len(after):
        return changed  # all that changed was added
    for number, name in enumerate(before, 1):
        if name not in after:
            changed.add(name)
        if number % _ENTRIES_A_STEP == 0:
            yield
    return changed


def _read_header(line: bytes) -> SnapshotHeader:
    try:
        header = _header_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SnapshotRefused("malformed", f"not a header: {error}") from None
    major = header.schema.partition(".")[0]
    if major != SCHEMA.partition(".")[0]:
        raise SnapshotRefused("schema", f"schema {header.schema}, this reads {SCHEMA}")
    if header.revision < 0:
        raise SnapshotRefused("malformed", "a negative revision")
    if header.max_age_s is not None and header.max_age_s <= 0:
        raise SnapshotRefused("malformed", "a maximum age that is not positive")
    return header
