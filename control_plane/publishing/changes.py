"""What replicas tell each other: a change, as an entry of the project's change log. Pure.

A change carries the records it sets in full, so applying it needs nothing else, and it names the
head it follows on, so that a replica that stands elsewhere sees that it does. A change too large
for the log, or one that starts a new epoch, carries no records: `reload` sends replicas to read
everything.
"""

import secrets
from collections.abc import Generator
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from control_plane.audit.chain import GENESIS, link
from control_plane.audit.differences import Difference, differences
from control_plane.audit.model import MAX_TARGETS, AuditEntry, Author, HistoryEntry
from control_plane.environments.model import (
    Environment,
    EnvironmentRecord,
    Project,
    ProjectRecord,
)
from control_plane.publishing.signing import Sign, unsigned
from control_plane.publishing.state import (
    Change,
    Edit,
    FlagRecord,
    Prepared,
    ProjectState,
    Published,
    Record,
    RecordKind,
    SegmentRecord,
    Step,
    StoredDataError,
    decode_record,
    encode_record,
)
from control_plane.store.keys import MAX_CHANGE_BYTES, SCHEMA
from control_plane.store.projects import Commit, Position, StoredProject, Write
from control_plane.times import now_rfc3339, rfc3339
from proxy.contract.definitions import DEFAULT_ENVIRONMENTS

__all__ = [
    "ANY_HEAD",
    "ChangeMessage",
    "audit_entry",
    "audited",
    "commit_of",
    "decode_change",
    "decode_history",
    "edits_of",
    "just_after",
    "load_project",
    "new_project",
    "position_of",
    "reload_message",
]

_RECORD = "record"
"""The field of a project's `meta` that holds the record of itself."""

_TABLES = {
    RecordKind.PROJECT: "meta",
    RecordKind.FLAG: "flags",
    RecordKind.SEGMENT: "segments",
    RecordKind.ENVIRONMENT: "environments",
    RecordKind.KEY: "keys",
}
_MAX_DIFFERENCES = 100  # told in an audit entry, of all targets
_MAX_DIFFERENCE_BYTES = (
    32_768  # an entry is some 40 KB at most; nearly all have a few hundred bytes
)

ANY_HEAD = ""
"""`previous` of a change that follows on whatever was."""


class _Put(msgspec.Struct, frozen=True):
    kind: RecordKind
    key: str
    record: msgspec.Raw


class _Removed(msgspec.Struct, frozen=True):
    kind: RecordKind
    key: str


class ChangeMessage(msgspec.Struct, frozen=True):
    """One entry of the change log; the id of the entry is the sequence number.

    `previous` and `head` are the heads before and after it; a new epoch follows on whatever was.
    """

    previous: str
    head: str
    at: str
    revisions: dict[str, int] = {}
    put: list[_Put] = []
    removed: list[_Removed] = []
    reload: bool = False

    def step(self, sequence: int) -> Step:
        """Return where the project stands after this change."""
        published = {name: Published(number, self.at) for name, number in self.revisions.items()}
        return Step(sequence, self.head, published)

    def diverges_from(self, head: str) -> bool:
        """Return whether this, if it is the next change, was made to something else than `head`."""
        return self.previous not in (ANY_HEAD, head)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ChangeMessage)
_history_decoder = msgspec.json.Decoder(HistoryEntry)


def decode_change(data: bytes) -> ChangeMessage:
    """Return an entry of the change log.

    Raises:
        StoredDataError: when it cannot be read.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StoredDataError(f"a change cannot be read: {error}") from error


def decode_history(data: bytes) -> HistoryEntry:
    """Return an entry of a flag's history.

    Raises:
        StoredDataError: when it cannot be read.
    """
    try:
        return _history_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StoredDataError(f"a version cannot be read: {error}") from error


def edits_of(message: ChangeMessage) -> tuple[Edit, ...]:
    """Return what a change does.

    Raises:
        StoredDataError: when a record in it cannot be read.
    """
    puts = (Edit(p.kind, p.key, decode_record(p.kind, p.key, p.record)) for p in message.put)
    return (*puts, *(Edit(r.kind, r.key, None) for r in message.removed))


def reload_message(previous: str, head: str, at: str) -> bytes:
    """Return the entry that sends replicas to read everything."""
    return _encoder.encode(ChangeMessage(previous, head, at, reload=True))


def commit_of(
    state: ProjectState, change: Change, prepared: Prepared, step: Step, audit: bytes
) -> Generator[None, None, Commit]:
    """Return the atomic step that makes a change durable, yielding between records.

    It was prepared against this state, and no other change may come in between. `audit` is its
    entry in the audit log, whose link the step's head is.
    """
    before = position_of(state)
    after = Position(state.epoch, step.sequence, step.head)
    meta: dict[str, str] = {}
    for environment, published in step.published.items():
        meta[f"revision:{environment}"] = str(published.revision)
        meta[f"published_at:{environment}"] = published.at
    revisions = {name: snapshot.revision for name, snapshot in state.snapshots.items()}
    revisions |= {name: published.revision for name, published in step.published.items()}
    prefix = f"{_unix_ms(change.at)} ".encode()
    writes = []
    put: list[_Put] = []
    removed: list[_Removed] = []
    size = 0
    for edit in prepared.edits:
        record = None if edit.record is None else encode_record(edit.record)
        entry = _history_entry(state, change, edit, revisions)
        history = None if entry is None else prefix + _encoder.encode(entry)
        # a project may have the name of any field
        field = _RECORD if edit.kind is RecordKind.PROJECT else edit.key
        writes.append(Write(_TABLES[edit.kind], field, record, history))
        if edit.kind is RecordKind.KEY and record is None:
            writes.append(Write("keys_used", edit.key, None))
        if record is None:
            removed.append(_Removed(edit.kind, edit.key))
        else:
            put.append(_Put(edit.kind, edit.key, msgspec.Raw(record)))
            size += len(record)
        yield
    if size > MAX_CHANGE_BYTES:
        message = reload_message(before.head, step.head, change.at)
    else:
        numbers = {name: published.revision for name, published in step.published.items()}
        told = ChangeMessage(before.head, step.head, change.at, numbers, put, removed)
        message = _encoder.encode(told)
    # Where the project still stands, what is held here is there, too.
    blobs = {d: blob.units for d, blob in change.blobs.items() if d in prepared.blobs}
    return Commit(before, after, message, audit, meta, writes, blobs, prepared.dropped)


def load_project(
    name: str, stored: StoredProject, sign: Sign = unsigned
) -> Generator[None, None, ProjectState]:
    """Return the state of stored data, whose snapshots `sign` signs; yields between records.

    Raises:
        StoredDataError: when it cannot be read, or is of another schema.
    """
    meta = stored.meta
    if meta.get("schema") != SCHEMA:
        raise StoredDataError(f"project {name!r} has schema {meta.get('schema')}, not {SCHEMA}")
    published = {
        environment: Published(
            int(meta.get(f"revision:{environment}", 0)), meta.get(f"published_at:{environment}", "")
        )
        for environment in stored.environments
    }
    records = chain.from_iterable(
        ((kind, key, data) for key, data in sorted(table.items()))
        for kind, table in (
            (RecordKind.ENVIRONMENT, stored.environments),
            (RecordKind.SEGMENT, stored.segments),
            (RecordKind.FLAG, stored.flags),
            (RecordKind.KEY, stored.keys),
        )
    )
    step = Step(int(meta["sequence"]), meta["head"], published)
    if _RECORD in meta:
        record = decode_record(RecordKind.PROJECT, name, meta[_RECORD].encode())
    else:  # it was made before it could be changed
        about = Project(name, meta.get("name", ""), meta.get("description", ""))
        record = ProjectRecord(about, meta["created_at"])
    assert isinstance(record, ProjectRecord)  # noqa: S101 - by its kind
    return (yield from ProjectState.load(record, meta["epoch"], step, records, sign))


def new_project(
    document: Project, author: Author
) -> tuple[str, dict[str, str], dict[str, bytes], bytes]:
    """Return what is stored of a new project: its name, `meta`, environments and audit entry."""
    at = now_rfc3339()
    audit = audit_entry(document.key, Change("project.create", author, at), 1)
    meta = {
        "schema": SCHEMA,
        "epoch": secrets.token_hex(8),
        "sequence": "1",
        "head": link(GENESIS, audit),
        "created_at": at,
        _RECORD: encode_record(ProjectRecord(document, at, 1, at)).decode(),
    }
    environments = {}
    for key in DEFAULT_ENVIRONMENTS:
        environments[key] = encode_record(EnvironmentRecord(Environment(key), 1, at, at))
        meta |= {f"revision:{key}": "1", f"published_at:{key}": at}
    return document.key, meta, environments, audit


def just_after(at: str, by: timedelta = timedelta(milliseconds=1)) -> str:
    """Return a later time than one of `now_rfc3339`, by so much; nothing for none."""
    return rfc3339(datetime.fromisoformat(at) + by) if at else ""


def position_of(state: ProjectState) -> Position:
    """Return where a project stands."""
    return Position(state.epoch, state.sequence, state.head)


def audit_entry(
    project: str,
    change: Change,
    sequence: int,
    found: list[Difference] | None = None,
    omitted: int = 0,
) -> bytes:
    """Return what the audit log keeps of a change, which is the project's number `sequence`."""
    entry = AuditEntry(
        sequence=sequence,
        at=change.at,
        actor=change.author.actor,
        address=change.author.address,
        action=change.action,
        targets=[_target(edit) for edit in change.edits[:MAX_TARGETS]],
        count=len(change.edits),
        reason=change.author.reason,
        differences=found or [],
        omitted=omitted,
        nonce=secrets.token_hex(8),
        project=project,
    )
    return _encoder.encode(entry)


def audited(state: ProjectState, change: Change) -> Generator[None, None, bytes]:
    """Return the audit entry of a change to a state, with what differs; yields between records."""
    found: list[Difference] = []
    omitted = size = 0
    for number, edit in enumerate(change.edits):
        if len(found) >= _MAX_DIFFERENCES or size > _MAX_DIFFERENCE_BYTES:
            omitted += len(change.edits) - number  # at least; they are not looked at any more
            break
        before = state.find(edit.kind, edit.key)
        more, left = differences(_target(edit), _document(before), _document(edit.record))
        room = _MAX_DIFFERENCES - len(found)
        found += more[:room]
        omitted += left + len(more[room:])
        size += len(_encoder.encode(more))
        yield
    return audit_entry(state.name, change, state.sequence + 1, found, omitted)


def _target(edit: Edit) -> str:
    return f"{edit.kind}:{edit.key}"


def _document(record: Record | None) -> object:
    """Return what people wrote of a record, as JSON has it."""
    match record:
        case None:
            return None
        case FlagRecord(flag=document) | SegmentRecord(segment=document):
            return msgspec.to_builtins(document)
        case ProjectRecord(project=document) | EnvironmentRecord(environment=document):
            return msgspec.to_builtins(document)
        case _:
            return msgspec.to_builtins(record)


def _history_entry(
    state: ProjectState, change: Change, edit: Edit, revisions: dict[str, int]
) -> HistoryEntry | None:
    """Return the version to keep of a flag; of other records none are kept."""
    if edit.kind is not RecordKind.FLAG:
        return None
    if isinstance(edit.record, FlagRecord):
        version, flag = edit.record.version, edit.record.flag
    else:
        version, flag = state.flags[edit.key].version + 1, None
    author = change.author
    by = (author.actor, author.address)
    return HistoryEntry(version, change.at, *by, change.action, flag, revisions)


def _unix_ms(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1000)
