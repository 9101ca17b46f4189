"""One file that is a snapshot, as a control plane publishes it: what is wrong with it. Pure.

Where a sidecar refuses a snapshot with its first mistake, here all are told: those of the header,
those of lines, and of every flag and segment what the sidecar's own compiler says of it. A snapshot
stands by itself; other files do not complete it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from control_plane.validation.documents import decode_or_explain
from control_plane.validation.notes import Note, Notes, Origin
from control_plane.validation.syntax import encoding_note
from proxy.contract import strict_json
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import FlagDefinition, KeyDefinition, SegmentDefinition
from proxy.contract.digest import SnapshotDigest
from proxy.contract.problems import Problem, under
from proxy.contract.snapshot import (
    SCHEMA,
    Entry,
    EntryKind,
    SnapshotHeader,
    SnapshotRefused,
    read_entry,
)
from proxy.contract.steps import finish
from proxy.engine import check_definition, compile_snapshot

__all__ = ["Counts", "check_snapshot", "is_snapshot"]

_TYPES: dict[EntryKind, type] = {
    "segment": SegmentDefinition,
    "flag": FlagDefinition,
    "key": KeyDefinition,
}
_NAMES = {"segment": "segment", "flag": "flag", "key": "evaluation key"}
_MAX_HEADER_BYTES = 65_536


class Counts(NamedTuple):
    """What a snapshot holds."""

    flags: int
    segments: int


class _Line(NamedTuple):
    """An entry of the snapshot and the line it is on, counted from 0."""

    number: int
    entry: Entry
    definition: object


def is_snapshot(data: bytes) -> bool:
    """Return whether a file means to be a snapshot: its first line is a header, whole or not."""
    first = data[:_MAX_HEADER_BYTES].partition(b"\n")[0]
    try:
        members = msgspec.json.decode(first, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return "schema" in members and not {"flags", "segments", "variants"} & members.keys()


def check_snapshot(data: bytes, file: int, notes: Notes) -> Counts:
    """Note everything that is wrong with a snapshot; `file` is the number it has in the report."""
    if (note := encoding_note(data)) is not None:
        notes.add(note)
        return Counts(0, 0)
    first, *others = data.split(b"\n")
    if others and not others[-1]:
        others.pop()
    elif others:
        message = "the last line does not end with a newline: the file is cut"
        notes.add_problems([Problem("", ProblemCode.MALFORMED_JSON, message)], len(others))
    header, found, _ = decode_or_explain(first, SnapshotHeader)
    for note in (*_scanned(first, 0), *found):
        notes.add(note)
    lines: dict[tuple[EntryKind, str], _Line] = {}
    digest = SnapshotDigest()
    for number, text in enumerate(others, 1):
        if notes.exhausted:
            return Counts(0, 0)
        line = _read_line(text, number, notes)
        if line is None:
            continue
        name = (line.entry.kind, line.entry.key)
        if name in lines:
            message = f"the {_NAMES[name[0]]} {name[1]!r} is given twice"
            problem = Problem("/key", ProblemCode.DUPLICATE_KEY, message, "keep one of them")
            notes.add(Note(problem, number, first=Origin(file, lines[name].number, "/key")))
            continue
        lines[name] = line
        digest.put(*name, text)
    if header is not None:
        notes.add_problems(_header_problems(header, len(others), digest.hexdigest()))
    _check_meaning(lines, notes)
    kinds = [kind for kind, _ in lines]
    return Counts(kinds.count("flag"), kinds.count("segment"))


def _scanned(text: bytes, number: int) -> list[Note]:
    return [Note(problem, number) for problem in strict_json.scan(text)]


def _read_line(text: bytes, number: int, notes: Notes) -> _Line | None:
    """Return the entry of a line, or None when it has none; note what is wrong with its shape."""
    if not text.strip():
        notes.add_problems([Problem("", ProblemCode.MALFORMED_JSON, "the line is empty")], number)
        return None
    hidden = _scanned(text, number)
    for note in hidden:
        notes.add(note)
    if any(note.problem.code is ProblemCode.TOO_DEEP for note in hidden):
        return None
    try:
        entry = read_entry(text)
    except SnapshotRefused as error:
        for note in _no_entry(text, number, error.detail):
            notes.add(note)
        return None
    definition, found, _ = decode_or_explain(
        bytes(entry.definition), _TYPES[entry.kind], "/def", number
    )
    for note in found:
        notes.add(note)
    return _Line(number, entry, definition)


def _no_entry(text: bytes, number: int, detail: str) -> list[Note]:
    """Return why a line is no entry."""
    _, found, _ = decode_or_explain(text, _AnEntry, "", number)
    return found or [Note(Problem("", ProblemCode.WRONG_TYPE, detail), number)]


class _AnEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A line, for what is told of one that is none; `read_entry` decides."""

    kind: EntryKind
    key: str
    def_: dict[str, Any] = msgspec.field(name="def")


def _header_problems(header: SnapshotHeader, entries: int, digest: str) -> list[Problem]:
    problems = []
    if header.schema.partition(".")[0] != SCHEMA.partition(".")[0]:
        message = f"schema {header.schema[:20]!r} cannot be read here, only {SCHEMA}"
        problems.append(Problem("/schema", ProblemCode.OUT_OF_RANGE, message))
    if header.revision < 0:
        problems.append(Problem("/revision", ProblemCode.OUT_OF_RANGE, "a negative revision"))
    disagrees = ProblemCode.VALUE_DISAGREES
    if header.entries != entries:
        message = f"the header says {header.entries} entries, there are {entries} lines"
        problems.append(Problem("/entries", disagrees, message, "was the file edited or cut?"))
    if header.digest != digest:
        message = f"the entries have the digest {digest}"
        problems.append(Problem("/digest", disagrees, message, "was the file edited or cut?"))
    return problems


def _check_meaning(lines: Mapping[tuple[EntryKind, str], _Line], notes: Notes) -> None:
    """Note what the compiler says of the definitions whose shape is right."""
    compiled = finish(compile_snapshot({name: line.entry for name, line in lines.items()}))
    for (kind, key), line in lines.items():
        if line.definition is None:
            continue
        problems: list[Problem] = []
        if kind == "segment":
            problems = [_without_blobs(p) for p in compiled.segments[key].problems]
        elif isinstance(line.definition, FlagDefinition):
            problems = list(compiled.flags[key].problems)
            if all(p.code is ProblemCode.MISSING_BLOB for p in problems):
                problems = []
            checked = check_definition(key, line.definition, compiled.segments)
            problems += [p for p in checked if p.severity is Severity.WARNING]
        notes.add_problems(under("/def", problems), line.number)


def _without_blobs(problem: Problem) -> Problem:
    """Return a problem, as a warning where it only says that blobs are elsewhere than in the file.

    A sidecar fetches them from the control plane.
    """
    if problem.code is not ProblemCode.MISSING_BLOB:
        return problem
    message = "the long lists of this segment are not in the file, and were not looked at"
    return Problem(problem.pointer, problem.code, message, severity=Severity.WARNING)
