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

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from proxy.contract.digest import SnapshotDigest
from proxy.contract.steps import Steps

__all__ = [
    "KINDS",
    "MAX_SNAPSHOT_BYTES",
    "SCHEMA",
    "FILE_EPOCH",
    "Entry",
    "EntryKind",
    "EntryName",
    "RefusalReason",
    "Signature",
    "Snapshot",
    "SnapshotHeader",
    "SnapshotRefused",
    "Verify",
    "change_snapshot",
    "changed_entries",
    "encode_entry",
    "encode_header",
    "encode_snapshot",
    "entry_order",
    "read_entry",
    "read_header",
    "read_snapshot",
    "snapshot_pieces",
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

_LINES_A_PIECE = 256

EntryKind = Literal["segment", "flag", "key"]
EntryName: TypeAlias = tuple[EntryKind, str]
"""What an entry is found by."""
KINDS: tuple[EntryKind, ...] = ("segment", "flag", "key")

RefusalReason = Literal[
    "too_large", "malformed", "schema", "signature", "misplaced", "digest", "count", "rolled_back"
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

    @property
    def signed_by(self) -> tuple[str, ...]:
        """The ids of the keys that signed it, as it says itself."""
        return tuple(each.key_id for each in self.signatures)


Verify: TypeAlias = Callable[[SnapshotHeader], None]
"""Looks at a header before anything else is believed, and raises SnapshotRefused."""


class Entry(NamedTuple):
    """One line of a snapshot: its bytes, without the newline, and where its `def` is in them."""

    kind: EntryKind
    key: str
    line: bytes
    definition: msgspec.Raw


class Snapshot(NamedTuple):
    """A verified snapshot: its digest was computed from the entries and agrees with the header.

    `size` is what the lines of its entries take, in bytes, newlines included.
    """

    header: SnapshotHeader
    entries: dict[EntryName, Entry]
    digest: SnapshotDigest
    size: int


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


def encode_header(header: SnapshotHeader) -> bytes:
    """Return the first line, without a newline."""
    return _encoder.encode(header)


def encode_snapshot(header: SnapshotHeader, lines: Iterable[bytes]) -> bytes:
    """Return the body of a snapshot; `lines` are in `entry_order`."""
    return b"\n".join((encode_header(header), *lines, b""))


def snapshot_pieces(
    header: SnapshotHeader, entries: Mapping[EntryName, Entry]
) -> Steps[list[bytes]]:
    """Return the body of a snapshot in pieces of some hundred lines; `entries` in any order."""
    keys: dict[EntryKind, list[str]] = {kind: [] for kind in KINDS}
    for number, (kind, key) in enumerate(entries, 1):
        keys[kind].append(key)
        if number % _ENTRIES_A_STEP == 0:
            yield
    pieces = [encode_header(header) + b"\n"]
    for kind in KINDS:
        keys[kind].sort()  # by code points, which is the order of the bytes of UTF-8
        yield
        for start in range(0, len(keys[kind]), _LINES_A_PIECE):
            names = keys[kind][start : start + _LINES_A_PIECE]
            pieces.append(b"".join([entries[kind, key].line + b"\n" for key in names]))
            yield
    return pieces


def read_snapshot(
    body: bytes, max_bytes: int = MAX_SNAPSHOT_BYTES, verify: Verify | None = None
) -> Steps[Snapshot]:
    """Read and verify a snapshot, yielding after each line; the generator returns it.

    `verify` is asked about the header before anything that follows is read, and may refuse it.

    Raises:
        SnapshotRefused: when any line, the count or the digest is not as it should be.
    """
    if len(body) > max_bytes:
        raise SnapshotRefused("too_large", f"{len(body)} bytes, at most {max_bytes} are read")
    header = read_header(body)
    end = body.find(b"\n")
    if verify is not None:
        verify(header)
    digest = SnapshotDigest()
    entries: dict[EntryName, Entry] = {}
    first = start = end + 1 if end >= 0 else len(body)
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
    snapshot = Snapshot(header, entries, digest, len(body) - first)
    _verify(snapshot)
    return snapshot


def change_snapshot(
    held: Snapshot,
    revision: int,
    digest: str,
    lines: Iterable[bytes],
    removed: Iterable[EntryName],
    header: SnapshotHeader | None = None,
    max_bytes: int = MAX_SNAPSHOT_BYTES,
    verify: Verify | None = None,
) -> Steps[tuple[Snapshot, set[EntryName]]]:
    """Return a snapshot at a later revision, some lines set and some gone, and which changed.

    `header` is that of the result; without one only what has to change in the present one does, and
    nobody has signed it. `verify` is asked about it first, and may refuse it. `held` stays as it
    is. Costs what was changed, and copying two tables.

    Raises:
        SnapshotRefused: when the header is of something else, or the result not as it says.
    """
    told = header is not None
    header = _header_after(held.header, revision, digest, header)
    if verify is not None:
        verify(header)
    entries, made, size = held.entries.copy(), held.digest.copy(), held.size
    yield
    changed: set[EntryName] = set()
    for line in lines:
        if b"\n" in line:
            raise SnapshotRefused("malformed", "a line that is two")
        entry = read_entry(line)
        name = (entry.kind, entry.key)
        before = entries.get(name)
        if before is None or before.line != line:
            size += len(line) + 1 - (0 if before is None else len(before.line) + 1)
            entries[name] = entry
            made.put(entry.kind, entry.key, line)
            changed.add(name)
        yield
    for name in removed:
        gone = entries.pop(name, None)
        if gone is not None:
            size -= len(gone.line) + 1
            made.remove(*name)
            changed.add(name)
    if size > max_bytes:
        raise SnapshotRefused("too_large", f"{size} bytes, at most {max_bytes} are held")
    if not told:
        header = msgspec.structs.replace(header, entries=len(entries))
    snapshot = Snapshot(header, entries, made, size)
    _verify(snapshot)
    return snapshot, changed


def changed_entries(
    before: Mapping[EntryName, Entry], after: Mapping[EntryName, Entry]
) -> Steps[set[EntryName]]:
    """Return the names of entries that were set or removed, yielding between small steps."""
    changed: set[EntryName] = set()
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


def read_header(body: bytes) -> SnapshotHeader:
    """Return the header of a snapshot; nothing else of it is read or verified.

    Raises:
        SnapshotRefused: `malformed` or `schema`.
    """
    end = body.find(b"\n")
    try:
        header = _header_decoder.decode(body[: end if end >= 0 else len(body)])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SnapshotRefused("malformed", f"not a header: {error}") from None
    _check_header(header)
    return header


def _check_header(header: SnapshotHeader) -> None:
    if header.schema.partition(".")[0] != SCHEMA.partition(".")[0]:
        raise SnapshotRefused("schema", f"schema {header.schema}, this reads {SCHEMA}")
    if header.revision < 0:
        raise SnapshotRefused("malformed", "a negative revision")
    if header.max_age_s is not None and header.max_age_s <= 0:
        raise SnapshotRefused("malformed", "a maximum age that is not positive")


def _header_after(
    held: SnapshotHeader, revision: int, digest: str, told: SnapshotHeader | None
) -> SnapshotHeader:
    """Return the header after a change, but for the number of entries where none was told."""
    if revision <= held.revision:
        raise SnapshotRefused("malformed", "the change does not lead to a later revision")
    if told is None:
        return msgspec.structs.replace(held, revision=revision, digest=digest, signatures=())
    _check_header(told)
    if (*_scope(told), told.revision, told.digest) != (*_scope(held), revision, digest):
        raise SnapshotRefused("malformed", "the header is not of what the change leads to")
    return told


def _verify(snapshot: Snapshot) -> None:
    """Compare number and digest of the entries with what the header says."""
    header, count = snapshot.header, len(snapshot.entries)
    if count != header.entries:
        raise SnapshotRefused("count", f"{count} entries, the header says {header.entries}")
    if snapshot.digest.hexdigest() != header.digest:
        raise SnapshotRefused("digest", "the entries do not have the digest of the header")


def _scope(header: SnapshotHeader) -> tuple[str, str, str]:
    return header.project, header.environment, header.epoch
