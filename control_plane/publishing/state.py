"""One project in memory: its records, and the snapshot of each of its environments. Pure.

A change is prepared, which may fail and alters nothing, and then applied, which cannot fail. In
between, the one or the other way, it becomes durable: `replica` puts the atomic step in Redis
there, or has just read that another replica did.

Rules:
- Nothing costs in proportion to the number of flags but loading, and making an environment.
- The same records give the same lines, on every replica and after every restart.
- What a record refers to is indexed as it is applied, so "in use by" is a look-up.
- Of the long lists of segments the blobs are held, which is what sidecars ask for. A blob is held,
  and stored, as long as a record names it; the units themselves are in Redis alone.

Change together: a new kind of record needs its type in `_TYPES`, a hash in `store.keys`, and its
lines in `_lines_of`.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from control_plane.access.model import KeyRecord, key_definition
from control_plane.audit.model import Author
from control_plane.environments.model import EnvironmentRecord, ProjectRecord
from control_plane.publishing.facets import FacetIndex
from control_plane.publishing.signing import Sign, unsigned
from control_plane.publishing.snapshots import EnvironmentSnapshot, LineChanges, Published
from control_plane.publishing.units import StoredBlob
from proxy.contract.authoring import project, project_segment
from proxy.contract.definitions import Condition, EnvironmentConfig, Flag, Segment
from proxy.contract.snapshot import EntryKind, encode_entry
from proxy.contract.steps import Steps, finish
from proxy.contract.units import digests_of
from proxy.engine import flag_source_names, segment_source_names

__all__ = [
    "Change",
    "Edit",
    "EnvironmentSnapshot",
    "FlagRecord",
    "Name",
    "Prepared",
    "ProjectState",
    "Published",
    "Record",
    "RecordKind",
    "SegmentRecord",
    "StoredDataError",
    "Step",
    "decode_record",
    "encode_record",
    "names_in",
    "segments_in",
]


_COPIED_A_STEP = 1_000
"""Sets of names that are copied before a breath is taken; a third of a millisecond."""


class StoredDataError(Exception):
    """What Redis holds cannot be read: another version wrote it, or it was tampered with."""


class RecordKind(StrEnum):
    """The kinds of records of a project, as changes name them; `PROJECT` is itself."""

    PROJECT = "project"
    FLAG = "flag"
    SEGMENT = "segment"
    ENVIRONMENT = "environment"
    KEY = "key"


class FlagRecord(msgspec.Struct, frozen=True):
    """A flag as it is stored. `version` goes up by one at each change in any environment."""

    flag: Flag
    version: int
    created_at: str
    updated_at: str


class SegmentRecord(msgspec.Struct, frozen=True):
    """A segment as it is stored."""

    segment: Segment
    version: int
    created_at: str
    updated_at: str


Record = ProjectRecord | FlagRecord | SegmentRecord | EnvironmentRecord | KeyRecord

_TYPES: dict[RecordKind, type[Record]] = {
    RecordKind.PROJECT: ProjectRecord,
    RecordKind.FLAG: FlagRecord,
    RecordKind.SEGMENT: SegmentRecord,
    RecordKind.ENVIRONMENT: EnvironmentRecord,
    RecordKind.KEY: KeyRecord,
}
_decoders = {kind: msgspec.json.Decoder(type_) for kind, type_ in _TYPES.items()}
_encoder = msgspec.json.Encoder()


class Name(NamedTuple):
    """What tells records apart within a project."""

    kind: RecordKind
    key: str


class Edit(NamedTuple):
    """One record to set, or with None to remove."""

    kind: RecordKind
    key: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one request does to a project: all of `edits`, or nothing.

    A change without edits changes nothing, and nothing is written for it. `action` is what the
    audit log and history call it, `at` is RFC 3339. `blobs` are those that the records of `edits`
    name and that may not be there yet, by digest.
    """

    action: str
    author: Author
    at: str
    edits: tuple[Edit, ...] = ()
    blobs: Mapping[str, StoredBlob] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change worked out against the state of one `head`: the lines that differ."""

    head: str
    edits: tuple[Edit, ...]
    lines: dict[str, LineChanges]
    """By environment; environments whose snapshot does not change are absent."""
    snapshots: dict[str, EnvironmentSnapshot]
    """Of environments that the change makes."""
    uses: tuple[frozenset[Name], ...]
    """What each edit's record refers to."""
    blobs: Mapping[str, bytes]
    """Blobs that were not held before, by digest."""
    dropped: Collection[str]
    """Digests of blobs that no record names any more."""

    def affected(self) -> list[str]:
        """Return the environments whose snapshot changes."""
        return [*self.lines, *self.snapshots]


class Step(NamedTuple):
    """Where a project stands after a change: what replicas compare.

    `head` is random and names the change, so that two histories of equal length are told apart.
    """

    sequence: int
    head: str
    published: Mapping[str, Published]


class Segments(Mapping[str, Segment]):
    """The segments of a state by key, without copying them; follows the state."""

    __slots__ = ("_records",)

    def __init__(self, records: Mapping[str, SegmentRecord]) -> None:
        self._records = records

    def __getitem__(self, key: str) -> Segment:
        return self._records[key].segment

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


class Flags(Mapping[str, Flag]):
    """The flags of a state by key, without copying them; follows the state."""

    __slots__ = ("_records",)

    def __init__(self, records: Mapping[str, FlagRecord]) -> None:
        self._records = records

    def __getitem__(self, key: str) -> Flag:
        return self._records[key].flag

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


class ProjectState:
    """A project's records, its indexes and its snapshots. Owned by one event loop."""

    __slots__ = (
        "_blob_uses",
        "_key_ids",
        "_sign",
        "_users",
        "_uses",
        "blobs",
        "environments",
        "epoch",
        "facets",
        "flag_documents",
        "flag_order",
        "flags",
        "head",
        "keys",
        "name",
        "record",
        "segment_documents",
        "segments",
        "sequence",
        "snapshots",
    )

    def __init__(
        self,
        record: ProjectRecord,
        epoch: str,
        sequence: int,
        head: str,
        sign: Sign = unsigned,
    ) -> None:
        self._sign = sign
        self.record = record
        self.name = record.project.key
        self.epoch = epoch
        self.sequence = sequence
        self.head = head
        self.flags: dict[str, FlagRecord] = {}
        self.segments: dict[str, SegmentRecord] = {}
        self.environments: dict[str, EnvironmentRecord] = {}
        self.keys: dict[str, KeyRecord] = {}
        self.snapshots: dict[str, EnvironmentSnapshot] = {}
        self.flag_order: list[str] = []
        """Keys of flags in order; code points sort as their UTF-8 does."""
        self.facets = FacetIndex()
        self.flag_documents = Flags(self.flags)
        self.segment_documents = Segments(self.segments)
        self._uses: dict[Name, frozenset[Name]] = {}
        self._users: dict[Name, set[Name]] = {}
        self._key_ids: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        """What segments' long lists consist of, by digest; only what a record names."""
        self._blob_uses: Counter[str] = Counter()

    @classmethod
    def load(
        cls,
        record: ProjectRecord,
        epoch: str,
        step: Step,
        records: Iterable[tuple[RecordKind, str, bytes]],
        sign: Sign = unsigned,
    ) -> Generator[None, None, "ProjectState"]:
        """Return the state of stored records, yielding between them.

        `sign` signs the headers of its snapshots.

        Raises:
            StoredDataError: for a record that cannot be read. A flag left out would be a flag that
                applications lose, so nothing is left out.
        """
        state = cls(record, epoch, step.sequence, step.head, sign)
        for kind, key, data in records:
            record_of_it = decode_record(kind, key, data)
            state._set(Edit(kind, key, record_of_it), _references(record_of_it))
            yield
        state.flag_order = sorted(state.flags)
        for environment in state.environments:
            snapshot = yield from state._new_snapshot(environment, {})
            snapshot.publish(epoch, step.published.get(environment, Published(0, "")))
            state.snapshots[environment] = snapshot
        return state

    def prepare(
        self, edits: tuple[Edit, ...], blobs: Mapping[str, bytes] | None = None
    ) -> Generator[None, None, Prepared]:
        """Return what edits do to the snapshots, yielding between records; alters nothing.

        `blobs` are those that the edits' records name and that are not held here.
        """
        head = self.head
        lines: dict[str, dict[tuple[EntryKind, str], bytes | None]] = {}
        uses: list[frozenset[Name]] = []
        made: list[str] = []
        named: Counter[str] = Counter()
        new: set[str] = set()
        for edit in edits:
            old = self.find(edit.kind, edit.key)
            for environment, kind, line in self._lines_of(edit.record or old, self.snapshots):
                wanted = None if edit.record is None else line
                if self.snapshots[environment].line(kind, edit.key) != wanted:
                    lines.setdefault(environment, {})[kind, edit.key] = wanted
            uses.append(_references(edit.record))
            if edit.kind is RecordKind.ENVIRONMENT:
                if old is None:
                    made.append(edit.key)
                elif _max_age_s(edit.record) != _max_age_s(old):
                    lines.setdefault(edit.key, {})  # the header alone is another
            _count_blobs(named, old, edit.record, keep=True)
            new |= self.lacking((edit,))
            yield
        snapshots = {}
        if made:
            edited = {Name(edit.kind, edit.key): edit.record for edit in edits}
            for environment in made:
                snapshots[environment] = yield from self._new_snapshot(environment, edited)
        dropped = [d for d, more in named.items() if more < 0 and self._blob_uses[d] + more <= 0]
        found = {digest: blob for digest, blob in (blobs or {}).items() if digest in new}
        return Prepared(head, edits, dict(lines), snapshots, tuple(uses), found, dropped)

    def next_step(self, prepared: Prepared, head: str, at: str) -> Step:
        """Return where the project stands once a prepared change is applied."""
        published = {
            name: Published(self.snapshots[name].revision + 1 if name in self.snapshots else 1, at)
            for name in prepared.affected()
        }
        return Step(self.sequence + 1, head, published)

    def apply(self, prepared: Prepared, step: Step) -> None:
        """Make a prepared change current. It was prepared against this very state."""
        finish(self._applying(prepared, step))

    def after(self, prepared: Prepared, step: Step) -> Steps["ProjectState"]:
        """Return the state that a prepared change leads to, made beside this one in small steps.

        This one stays as it is, so that nobody sees half of a large change.
        """
        made = yield from self._copied()
        yield from made._applying(prepared, step)
        return made

    def _copied(self) -> Steps["ProjectState"]:
        """Return a state of the same records that changes apart from this one."""
        made = ProjectState(self.record, self.epoch, self.sequence, self.head, self._sign)
        made.flags.update(self.flags)
        made.segments.update(self.segments)
        made.environments.update(self.environments)
        made.keys.update(self.keys)
        made.flag_order = self.flag_order.copy()
        yield
        made.facets = self.facets.copy()
        made.blobs = self.blobs.copy()
        made._blob_uses = self._blob_uses.copy()
        made._key_ids = self._key_ids.copy()
        made._uses = self._uses.copy()
        yield
        for number, (name, users) in enumerate(self._users.items()):
            made._users[name] = users.copy()
            if number % _COPIED_A_STEP == 0:
                yield
        for environment, snapshot in self.snapshots.items():
            made.snapshots[environment] = snapshot.copy()
            yield
        return made

    def _applying(self, prepared: Prepared, step: Step) -> Steps[None]:
        if prepared.head != self.head:
            raise ValueError("prepared against another state")
        for edit, uses in zip(prepared.edits, prepared.uses, strict=True):
            self._keep_order(edit)
            self._set(edit, uses)
            yield
        self.blobs.update(prepared.blobs)
        for digest in prepared.dropped:
            self.blobs.pop(digest, None)
        for environment, changes in prepared.lines.items():
            snapshot = self.snapshots[environment]
            published = step.published.get(environment, snapshot.published)
            snapshot.max_age_s = _max_age_s(self.environments.get(environment))
            yield from snapshot.applying(changes, published)
        for environment, snapshot in prepared.snapshots.items():
            snapshot.publish(self.epoch, step.published.get(environment, snapshot.published))
            self.snapshots[environment] = snapshot
        self.sequence, self.head = step.sequence, step.head

    def users(self, kind: RecordKind, key: str) -> list[Name]:
        """Return the records that refer to this one, in order."""
        return sorted(self._users.get(Name(kind, key), ()))

    def segments_naming(self, key: str) -> list[str]:
        """Return the segments whose conditions name this one, in any order; flags may be many."""
        users = self._users.get(Name(RecordKind.SEGMENT, key), ())
        return [user.key for user in users if user.kind is RecordKind.SEGMENT]

    def lacking(self, edits: Iterable[Edit] | None = None) -> set[str]:
        """Return the digests of blobs that are not held and that the edits' records name.

        Without edits, those that the records of this state name.
        """
        if edits is None:
            return {digest for digest in self._blob_uses if digest not in self.blobs}
        named = (digest for edit in edits for digest in _blobs_in(edit.record))
        return {digest for digest in named if digest not in self.blobs}

    def unit_count(self) -> int:
        """Return the number of units in the lists of all segments."""
        total = 0
        for record in self.segments.values():
            segment = record.segment
            total += len(segment.included) + len(segment.excluded)
            if segment.units is not UNSET:
                lists = (segment.units.included, segment.units.excluded)
                total += sum(units.count for units in lists if units is not UNSET)
        return total

    def take_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Hold those of these blobs that a record names."""
        self.blobs.update({d: blob for d, blob in blobs.items() if d in self._blob_uses})

    def incomplete_segments(self) -> list[str]:
        """Return the segments of which a blob is not held, in order; they cannot be used."""
        lacking = self.lacking()
        if not lacking:
            return []
        return sorted(
            key
            for key, record in self.segments.items()
            if not lacking.isdisjoint(_blobs_in(record))
        )

    def uses(self, name: Name) -> frozenset[Name]:
        """Return the records that this one refers to, whether they are there or not."""
        return self._uses.get(name, frozenset())

    def key_of_hash(self, key_hash: str) -> KeyRecord | None:
        """Return the key that has this hash."""
        key_id = self._key_ids.get(key_hash)
        return None if key_id is None else self.keys[key_id]

    def find(self, kind: RecordKind, key: str) -> Record | None:
        """Return a record; of the kind `PROJECT` there is one, under the project's name."""
        return self._table(kind).get(key)

    def _table(self, kind: RecordKind) -> Mapping[str, Record]:
        match kind:
            case RecordKind.PROJECT:
                return {self.name: self.record}
            case RecordKind.FLAG:
                return self.flags
            case RecordKind.SEGMENT:
                return self.segments
            case RecordKind.ENVIRONMENT:
                return self.environments
            case RecordKind.KEY:
                return self.keys

    def _set(self, edit: Edit, uses: frozenset[Name]) -> None:
        """Store a record, or remove it, with what it refers to."""
        if isinstance(edit.record, ProjectRecord):
            self.record = edit.record
            return
        table = self._table(edit.kind)
        old = table.get(edit.key)
        _count_blobs(self._blob_uses, old, edit.record)
        if isinstance(old, KeyRecord):
            self._key_ids.pop(old.hash, None)
        if isinstance(edit.record, KeyRecord):
            self._key_ids[edit.record.hash] = edit.key
        if isinstance(edit.record, FlagRecord):
            self.facets.put(edit.record.flag)
        elif edit.kind is RecordKind.FLAG:
            self.facets.remove(edit.key)
        if edit.record is None:
            table.pop(edit.key, None)  # type: ignore[attr-defined]  # a dict seen as a Mapping
        else:
            table[edit.key] = edit.record  # type: ignore[index]  # of the type its kind says
        self._index(Name(edit.kind, edit.key), uses)

    def _keep_order(self, edit: Edit) -> None:
        if edit.kind is not RecordKind.FLAG or (edit.key in self.flags) == bool(edit.record):
            return
        if edit.record is None:
            del self.flag_order[bisect_left(self.flag_order, edit.key)]
        else:
            insort(self.flag_order, edit.key)

    def _index(self, name: Name, uses: frozenset[Name]) -> None:
        before = self._uses.get(name, frozenset())
        if uses == before:
            return
        for used in before - uses:
            self._users[used].discard(name)
        for used in uses - before:
            self._users.setdefault(used, set()).add(name)
        if uses:
            self._uses[name] = uses
        else:
            self._uses.pop(name, None)

    def _new_snapshot(
        self, environment: str, edited: Mapping[Name, Record | None]
    ) -> Generator[None, None, EnvironmentSnapshot]:
        """Return the snapshot of an environment, of the records as they are after `edited`."""
        lines: dict[tuple[EntryKind, str], bytes] = {}
        for kind in (RecordKind.SEGMENT, RecordKind.FLAG, RecordKind.KEY):
            # A list, because the state may change while this waits between two slices.
            for key, stored in list(self._table(kind).items()):
                record = edited.get(Name(kind, key), stored)
                for _, entry_kind, line in self._lines_of(record, (environment,)):
                    if line is not None:
                        lines[entry_kind, key] = line
                yield
        for name, record in edited.items():
            if self.find(name.kind, name.key) is None:
                for _, entry_kind, line in self._lines_of(record, (environment,)):
                    if line is not None:
                        lines[entry_kind, name.key] = line
        snapshot = EnvironmentSnapshot(
            self.name, environment, self.epoch, Published(0, ""), self._sign
        )
        yield from snapshot.fill(lines)
        stored_one = self.environments.get(environment)
        name = Name(RecordKind.ENVIRONMENT, environment)
        snapshot.max_age_s = _max_age_s(edited.get(name, stored_one))
        return snapshot

    @staticmethod
    def _lines_of(
        record: Record | None, environments: Iterable[str]
    ) -> Iterator[tuple[str, EntryKind, bytes | None]]:
        """Yield the line that a record has in each of some environments; None where it has none."""
        match record:
            case FlagRecord(flag=flag):
                for environment in environments:
                    line = None
                    if not flag.archived:
                        line = encode_entry("flag", flag.key, project(flag, environment))
                    yield environment, "flag", line
            case SegmentRecord(segment=segment):
                line = encode_entry("segment", segment.key, project_segment(segment))
                for environment in environments:
                    yield environment, "segment", line
            case KeyRecord():
                definition = key_definition(record)
                if definition is not None and record.environment in environments:
                    yield record.environment, "key", encode_entry("key", record.id, definition)
            case _:
                return


def encode_record(record: Record) -> bytes:
    """Return a record as it is stored."""
    return _encoder.encode(record)


def decode_record(kind: RecordKind, key: str, data: bytes | msgspec.Raw) -> Record:
    """Return a stored record.

    Raises:
        StoredDataError: naming it, when it cannot be read.
    """
    try:
        return _decoders[kind].decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StoredDataError(f"{kind} {key!r} cannot be read: {error}") from error


def segments_in(conditions: Iterable[Condition]) -> frozenset[str]:
    """Return the segments that conditions name, at any depth; without recursion."""
    found: set[str] = set()
    todo = list(conditions)
    while todo:
        condition = todo.pop()
        if condition.segment is not UNSET:
            found.add(condition.segment)
        if condition.not_ is not UNSET:
            todo.append(condition.not_)
        for group in (condition.all, condition.any):
            if group is not UNSET:
                todo.extend(group)
    return frozenset(found)


def names_in(config: EnvironmentConfig) -> Iterator[Name]:
    """Yield what a configuration asks, its own rules or the definition of another system."""
    for segment in segments_in(rule.when for rule in config.rules):
        yield Name(RecordKind.SEGMENT, segment)
    for wanted in config.prerequisites:
        yield Name(RecordKind.FLAG, wanted.flag)
    if config.source is not UNSET:
        named = flag_source_names(config.source)
        yield from (Name(RecordKind.SEGMENT, key) for key in named.segments)
        yield from (Name(RecordKind.FLAG, key) for key in named.flags)


def _max_age_s(record: Record | None) -> int | None:
    return record.environment.max_age_s if isinstance(record, EnvironmentRecord) else None


def _blobs_in(record: Record | None) -> frozenset[str]:
    """Return the digests of the blobs that a record names."""
    if not isinstance(record, SegmentRecord):
        return frozenset()
    return frozenset(digests_of(record.segment.units))


def _count_blobs(
    uses: Counter[str], old: Record | None, new: Record | None, *, keep: bool = False
) -> None:
    """Take note that a record has another in its place; `keep` counts that have come to nothing."""
    before, after = _blobs_in(old), _blobs_in(new)
    for digest in after - before:
        uses[digest] += 1
    for digest in before - after:
        uses[digest] -= 1
        if uses[digest] <= 0 and not keep:
            del uses[digest]


def _references(record: Record | None) -> frozenset[Name]:
    """Return the records that a record cannot do without."""
    match record:
        case FlagRecord(flag=flag):
            used = {name for config in flag.environments.values() for name in names_in(config)}
            used.discard(Name(RecordKind.FLAG, flag.key))  # one that asks itself is in nobody's way
            return frozenset(used)
        case SegmentRecord(segment=segment):
            segments = set(segments_in((segment.when,)))
            if segment.source is not UNSET:
                segments.update(segment_source_names(segment.source).segments)
            segments.discard(segment.key)
            return frozenset(Name(RecordKind.SEGMENT, key) for key in segments)
        case _:
            return frozenset()
