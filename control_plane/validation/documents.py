"""One file taken apart into flags and segments, and what is wrong with their bytes and shape. Pure.

A file holds definitions, `{"flags": [...], "segments": [...]}`, or one flag or one segment as the
API takes it. Only text that is no JSON at all is told alone; else every item is read by itself, so
that the mistakes of one hide no other's, and what can be understood of an item with mistakes of
shape is still looked at for its meaning.
"""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.documents import Flaws
from control_plane.validation.notes import Note, Notes
from control_plane.validation.syntax import BOM, encoding_note, number_note, syntax_note
from control_plane.web.salvage import Kind, salvaged
from control_plane.web.shapes import shape_problems
from proxy.contract import strict_json
from proxy.contract.authoring import FlagInput, disagreements, expand
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.decode import decode
from proxy.contract.definitions import DEFAULT_ENVIRONMENTS, Flag, Segment
from proxy.contract.problems import Problem, pointer, under

__all__ = ["Item", "decode_or_explain", "read_items"]

T = TypeVar("T")

_DEFAULT_ENVIRONMENT = "production"  # what the API and a sidecar take where none is said
_MEMBERS: tuple[tuple[str, Kind], ...] = (("segments", "segment"), ("flags", "flag"))
_FLAG_MARKS = frozenset(("type", "value", "enabled", "variants", "environments"))
_SEGMENT_MARKS = frozenset(("when", "included", "excluded", "units"))
_FORMS = 'a file is {"flags": [...], "segments": [...]}, or one flag, or one segment'


class _SegmentDocument(Segment, frozen=True, forbid_unknown_fields=True):
    """A segment as the API shows and takes it: what only the control plane writes is ignored."""

    version: int | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    updated_at: str | UnsetType = UNSET


class _Named(msgspec.Struct):
    """The least that is read of an item: by what name others know it."""

    key: str


class _AnyVariant(dict[str, Any]):
    """The variants of a flag that could not be read: whichever is named, it may be one."""

    def __contains__(self, _: object) -> bool:
        return True


class Item(NamedTuple):
    """One flag or segment. `where` is its pointer in the file; `key` is empty when it has none."""

    kind: Kind
    where: str
    key: str
    document: Flag | Segment
    readable: bool
    """Whether the document says something of its own, and does not only stand for the key."""
    unknown: tuple[str, ...] = ()
    """Pointers, within the item, of what could not be read and was put out of the way."""
    by_value: bool = False
    """Whether its variants were made from its `value`."""
    alone: bool = False
    """Whether it is a document for the API, and not part of a file for a sidecar."""


def read_items(data: bytes, environments: Collection[str], notes: Notes) -> Iterator[Item]:
    """Yield the items of a file and note what is wrong with them by themselves.

    `environments` are those it must be configured for; none are asked for when there are none.
    """
    if (note := encoding_note(data)) is not None:
        notes.add(note)
        return
    if data.startswith(BOM):
        message = "the file begins with a byte order mark, which JSON does not have"
        hint = "save it as UTF-8 without one"
        notes.add(Note(Problem("", ProblemCode.MALFORMED_JSON, message, hint)))
        data = data[len(BOM) :]
    scanned = strict_json.scan(data)
    members, shape = decode(data, dict[str, msgspec.Raw])
    if members is None and not any(p.code is ProblemCode.TOO_DEEP for p in scanned):
        notes.add(_not_an_object(data, shape[0]))
        return
    reader = _Reader(environments, notes)
    if members is not None and _ended_in_item(scanned):
        reader.scan = True  # the scan ended there: each item is scanned alone
        scanned = [problem for problem in scanned if not _is_in_item(problem)]
    notes.add_problems(scanned)
    if members is None or any(p.code is ProblemCode.TOO_DEEP for p in scanned):
        return
    kind = _kind(members, notes)
    if kind is not None:
        yield from reader.items(kind, "", [msgspec.Raw(data)], alone=True)
        return
    if "flags" not in members and "segments" not in members:
        return
    for name in members:
        if name not in ("flags", "segments"):
            notes.add_problems([_unknown_member(name)])
    for member, kind in _MEMBERS:
        if member in members:
            raws = _list(member, bytes(members[member]), notes)
            yield from reader.items(kind, pointer(member), raws, alone=False)


def decode_or_explain(
    data: bytes, kind: type[T], where: str = "", line: int = 0
) -> tuple[T | None, list[Note], Any]:
    """Return a value and no note, or None, everything wrong with its shape, and it as plain JSON.

    The last is None, too, when it is not even that.
    """
    value, problems = decode(data, kind)
    if not problems:
        return value, [], None
    loose, others = decode(data, object)
    if others:
        (problem,) = others
        if problem.code is ProblemCode.MALFORMED_JSON:
            note = syntax_note(data)
        elif problem.code is ProblemCode.NUMBER_OUT_OF_RANGE:
            note = number_note(data, msgspec.structs.replace(problem, pointer=""))
        else:
            note = Note(problem)
        (moved,) = under(where, [note.problem])
        return None, [note._replace(problem=moved, line=line)], None
    problems = shape_problems(loose, kind) or problems
    return None, [Note(problem, line) for problem in under(where, problems)], loose


class _Reader:
    """Reads items one by one and notes what is wrong with each."""

    def __init__(self, environments: Collection[str], notes: Notes) -> None:
        self.scan = False
        self._environments = environments
        self._notes = notes

    def items(
        self, kind: Kind, where: str, raws: list[msgspec.Raw], *, alone: bool
    ) -> Iterator[Item]:
        for number, raw in enumerate(raws):
            if self._notes.exhausted:
                return
            data = bytes(raw)
            here = where if alone else f"{where}/{number}"
            found = strict_json.scan(data) if self.scan else []
            if any(p.code is ProblemCode.TOO_DEEP for p in found):
                self._notes.add_problems(under(here, found))
                yield _placeholder(kind, here, data, None)
            elif kind == "flag":
                yield self._flag(here, data, alone)._replace(alone=alone)
            else:
                yield self._segment(here, data, alone)._replace(alone=alone)

    def _segment(self, where: str, data: bytes, alone: bool) -> Item:
        type_: type[Segment] = _SegmentDocument if alone else Segment
        document, notes, loose = decode_or_explain(data, type_, where)
        for note in notes:
            self._notes.add(note)
        unknown: list[str] = []
        if document is None:
            document, unknown = _salvaged("segment", where, loose, notes, type_)
        if document is None:
            return _placeholder("segment", where, data, loose)
        return Item("segment", where, document.key, document, True, tuple(unknown))

    def _flag(self, where: str, data: bytes, alone: bool) -> Item:
        document, notes, loose = decode_or_explain(data, FlagInput, where)
        for note in notes:
            self._notes.add(note)
        unknown: list[str] = []
        if document is None:
            document, unknown = _salvaged("flag", where, loose, notes, FlagInput)
        if document is None:
            return _placeholder("flag", where, data, loose)
        flag, problems = expand(document, [*self._environments] or DEFAULT_ENVIRONMENTS)
        if flag is None:
            self._notes.add_problems(under(where, _not_misspelled(problems, notes)))
            return _placeholder("flag", where, data, loose)
        if document.environments is not UNSET:
            self._notes.add_problems(under(where, self._unknown_environments(flag)))
            self._notes.add_problems(under(where, self._unconfigured(flag)))
            if not unknown:
                self._notes.add_problems(under(where, self._contradictions(document, flag)))
        by_value = document.variants is UNSET
        return Item("flag", where, flag.key, flag, True, tuple(unknown), by_value)

    def _unknown_environments(self, flag: Flag) -> list[Problem]:
        """Return a warning for each environment that nobody spoke of: a misspelled one, often."""
        known = [*DEFAULT_ENVIRONMENTS, *self._environments]
        problems = []
        for name in flag.environments:
            if name not in known:
                near = get_close_matches(name[:60], known, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                message = f"{name[:80]!r} is none of the environments that a project begins with"
                hint += "--environment names others"
                where, code = pointer("environments", name), ProblemCode.UNKNOWN_ENVIRONMENT
                problems.append(Problem(where, code, message, hint, Severity.WARNING))
        return problems

    def _unconfigured(self, flag: Flag) -> list[Problem]:
        hint = f"configured for: {', '.join(sorted(flag.environments)[:20]) or 'none'}"
        code = ProblemCode.UNKNOWN_ENVIRONMENT
        return [
            Problem(
                "/environments",
                code,
                f"not configured for {name!r}, so it is disabled there",
                hint,
                Severity.WARNING,
            )
            for name in self._environments
            if name not in flag.environments
        ]

    def _contradictions(self, document: FlagInput, flag: Flag) -> list[Problem]:
        """Return where `value` and `enabled` say something else than the environments."""
        asked = self._environments or [_DEFAULT_ENVIRONMENT]
        found = (disagreements(document, flag, name) for name in asked if name in flag.environments)
        return [problem for problems in found for problem in problems]


def _is_in_item(problem: Problem) -> bool:
    _, member, *steps = f"{problem.pointer}/".split("/")
    return member in ("flags", "segments") and len(steps) > 1 and steps[0].isdecimal()


def _ended_in_item(scanned: list[Problem]) -> bool:
    """Return whether the scan gave up in an item that is too deep; the others are to be read."""
    return any(p.code is ProblemCode.TOO_DEEP and _is_in_item(p) for p in scanned)


def _not_an_object(data: bytes, problem: Problem) -> Note:
    """Return why a text is no JSON object."""
    if problem.code is ProblemCode.MALFORMED_JSON:
        return syntax_note(data)
    loose, others = decode(data, msgspec.Raw)
    if loose is None and others[0].code is ProblemCode.MALFORMED_JSON:
        return syntax_note(data)
    message = "this is no JSON object"
    return Note(Problem("", ProblemCode.WRONG_TYPE, message, _FORMS))


def _kind(members: Collection[str], notes: Notes) -> Kind | None:
    """Return what a file with these members is, if it is one document; note when it is nothing."""
    if "flags" in members or "segments" in members:
        return None
    if not _FLAG_MARKS.isdisjoint(members):
        return "flag"
    if not _SEGMENT_MARKS.isdisjoint(members):
        return "segment"
    near = [n for name in members for n in get_close_matches(name[:60], ("flags", "segments"), 1)]
    hint = f"did you mean {near[0]!r}? " if near else ""
    message = "these are neither definitions nor a flag nor a segment"
    notes.add_problems([Problem("", ProblemCode.NOT_ONE_OF, message, hint + _FORMS)])
    return None


def _unknown_member(name: str) -> Problem:
    near = get_close_matches(name[:60], ("flags", "segments"), 1)
    hint = f"did you mean {near[0]!r}?" if near else "known: flags, segments"
    message = f"the member {name!r} is unknown"
    return Problem(pointer(name), ProblemCode.UNKNOWN_FIELD, message, hint)


def _list(member: str, data: bytes, notes: Notes) -> list[msgspec.Raw]:
    raws, problems = decode(data, list[msgspec.Raw])
    for problem in problems:
        wrong = problem.code is ProblemCode.WRONG_TYPE
        message = f"{member} has to be an array" if wrong else problem.message
        notes.add_problems([Problem(pointer(member), problem.code, message, problem.hint)])
    return raws or []


def _salvaged(
    kind: Kind, where: str, loose: Any, notes: list[Note], type_: type[T]
) -> tuple[T | None, list[str]]:
    """Return what can be understood of a document with mistakes of shape, and what cannot."""
    problems = [
        msgspec.structs.replace(n.problem, pointer=n.problem.pointer[len(where) :]) for n in notes
    ]
    return salvaged(loose, kind, type_, problems)


def _not_misspelled(missing: list[Problem], notes: list[Note]) -> list[Problem]:
    """Return what is missing, but for members that are there under a name told to be wrong."""
    flaws = Flaws([note.problem for note in notes])
    return flaws.joined(missing)[len(notes) :]


def _placeholder(kind: Kind, where: str, data: bytes, loose: Any) -> Item:
    """Return an item that could not be read, so that at least its key is known to others."""
    try:
        key = msgspec.json.decode(data, type=_Named).key
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        key = ""
    if kind == "segment":
        return Item(kind, where, key, Segment(key), False)
    variants = loose.get("variants") if isinstance(loose, dict) else None
    known = variants if isinstance(variants, dict) else _AnyVariant()
    return Item(kind, where, key, Flag(key, "object", known, {}), False)
