"""From a file of definitions to the snapshot that one environment is served. Pure.

The file is `{"flags": [...], "segments": [...]}`, flags as authors write them, simple or full. What
comes out is the same lines that a control plane would publish, so everything after this is common.

Rules:
- One bad flag costs that flag: it becomes an entry that no sidecar can compile, which quarantines
  it, and its problems are told with pointers into the file. Only a file that cannot be taken apart
  into flags is refused as a whole.
- Equal definitions give an equal digest, however the file is laid out.
- Long work yields between items (`proxy.slices`); the scan of the whole text is the caller's to
  place, because it cannot be cut into pieces.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from proxy.contract import authoring
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.decode import decode
from proxy.contract.definitions import Flag, Segment, Unreadable
from proxy.contract.digest import SnapshotDigest
from proxy.contract.problems import Problem, pointer, under
from proxy.contract.snapshot import EntryKind, encode_entry, entry_order
from proxy.engine import FileUnreadable, check_flag, check_segment
from proxy.engine.limits import MAX_SEGMENT_UNITS

__all__ = ["FileContent", "read_definitions"]

T = TypeVar("T")

_MOST_PROBLEMS = 10  # of an item, that its flag's errors tell; `/statusz` and the log have others


class FileContent(NamedTuple):
    """What a file says for one environment: lines in order, their digest, what is wrong in it."""

    lines: list[bytes]
    digest: str
    problems: list[Problem]


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`authoring.DefinitionsFile` with its items left undecoded, so that each can fail alone."""

    flags: list[msgspec.Raw]
    segments: list[msgspec.Raw] = []


class _Named(msgspec.Struct):
    """The least that is read of an item, to know whose place a bad one takes."""

    key: str


class _Item(NamedTuple):
    """One flag or segment of the file; `document` is None when it cannot be read."""

    where: str
    key: str
    document: Any
    problems: list[Problem]


def read_definitions(
    data: bytes,
    environment: str,
    flaws: list[Problem],
    name: Callable[[str], str] = str,
) -> Generator[None, None, FileContent]:
    """Read a file, yielding between items.

    `flaws` are mistakes of its text, with pointers into it, that are out of the way already
    (`proxy.contract.mending`). `name` returns how a place is called in a message.

    Raises:
        FileUnreadable: when it is not JSON, or not of the form of a definitions file.
    """
    frame, shape = decode(data, _Frame)
    in_items, of_file = _divide(flaws)
    if frame is None or of_file:
        raise FileUnreadable(of_file + shape)
    segments: list[_Item] = []
    for item in _items("segments", frame.segments, in_items, _segment):
        segments.append(item)
        yield
    flags: list[_Item] = []

    def flag(raw: bytes) -> tuple[Flag | None, list[Problem]]:
        return _flag(raw, environment)

    for item in _items("flags", frame.flags, in_items, flag):
        flags.append(item)
        yield
    known = {item.key: item.document for item in segments if item.document is not None}
    problems: list[Problem] = []
    entries: dict[tuple[EntryKind, str], bytes] = {}
    both: tuple[tuple[EntryKind, list[_Item]], ...] = (("segment", segments), ("flag", flags))
    for kind, items in both:
        for item in _without_namesakes(items, name):
            line, found = _entry(kind, item, environment, known)
            problems += found
            if line is not None:
                entries[kind, item.key] = line
            yield
    digest = SnapshotDigest()
    for (kind, key), line in entries.items():
        digest.put(kind, key, line)
        yield
    ordered = sorted(entries, key=lambda name: entry_order(*name))
    return FileContent([entries[name] for name in ordered], digest.hexdigest(), problems)


def _divide(flaws: list[Problem]) -> tuple[dict[str, list[Problem]], list[Problem]]:
    """Return the problems of single items, by `/flags/<n>`, and those of the file."""
    in_items: dict[str, list[Problem]] = {}
    of_file = []
    for problem in flaws:
        steps = problem.pointer.split("/")
        if len(steps) > 2 and steps[1] in {"flags", "segments"} and steps[2].isdigit():
            in_items.setdefault("/".join(steps[:3]), []).append(problem)
        else:
            of_file.append(problem)
    return in_items, of_file


def _items(
    member: str,
    raws: list[msgspec.Raw],
    in_items: dict[str, list[Problem]],
    read: Callable[[bytes], tuple[Any, list[Problem]]],
) -> Iterator[_Item]:
    for number, raw in enumerate(raws):
        where = pointer(member, number)
        text = bytes(raw)
        problems = in_items.get(where, [])
        document = None
        if not problems:
            document, found = read(text)
            problems = under(where, found)
        key = document.key if document is not None else _key_of(text)
        yield _Item(where, key, document, problems)


def _flag(raw: bytes, environment: str) -> tuple[Flag | None, list[Problem]]:
    document, problems = decode(raw, authoring.FlagInput)
    if document is None:
        return None, problems
    flag, problems = authoring.expand(document, [environment])
    if flag is None:
        return None, problems
    if environment not in flag.environments:
        message = f"not configured for {environment!r}, so it is disabled here"
        hint = f"configured for: {', '.join(sorted(flag.environments)[:20]) or 'none'}"
        where, code = "/environments", ProblemCode.UNKNOWN_ENVIRONMENT
        return flag, [Problem(where, code, message, hint, Severity.WARNING)]
    contradictions = authoring.disagreements(document, flag, environment)
    return (None if contradictions else flag), contradictions


def _segment(raw: bytes) -> tuple[Segment | None, list[Problem]]:
    return decode(raw, Segment)


def _key_of(raw: bytes) -> str:
    """Return the key of an item that cannot be read, as far as it has one, else nothing."""
    try:
        return msgspec.json.decode(raw, type=_Named).key
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


def _without_namesakes(items: list[_Item], name: Callable[[str], str]) -> Iterator[_Item]:
    """Yield one item per key; where several have it nobody knows which is meant, so none is."""
    first: dict[str, _Item] = {}
    for item in items:
        if not item.key or item.key not in first:
            first[item.key or item.where] = item
            continue
        earlier = first[item.key]
        message = f"the key {item.key!r} is at {name(earlier.where)} too"
        problem = Problem(item.where + "/key", ProblemCode.DUPLICATE_KEY, message, "remove one")
        merged = [*earlier.problems, *item.problems, problem]
        first[item.key] = _Item(earlier.where, item.key, None, merged)
    yield from first.values()


def _entry(
    kind: EntryKind, item: _Item, environment: str, segments: dict[str, Segment]
) -> tuple[bytes | None, list[Problem]]:
    """Return the line of an item and its problems; no line when archived or without a usable key.

    What has no sense is sent on as it is: the compiler quarantines it, and knows what it costs.
    """
    document = item.document
    if document is None:
        line = _unreadable(kind, item.key, item.problems) if item.key else None
        return line, item.problems
    definition: object
    if isinstance(document, Flag):
        found = check_flag(document, segments, imported_key=True)
        definition = authoring.project(document, environment)
    else:
        found = check_segment(document, segments) + _blobs_problem(document)
        definition = authoring.project_segment(document)
    problems = item.problems + under(item.where, found)
    unusable = any(p.code is ProblemCode.INVALID_KEY and p.pointer == "/key" for p in found)
    if unusable or (isinstance(document, Flag) and document.archived):
        return None, problems
    try:
        return encode_entry(kind, item.key, definition), problems
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        # what JSON can say and no encoder writes
        problems.append(Problem(item.where, ProblemCode.MALFORMED_JSON, str(error)))
        return _unreadable(kind, item.key, problems[-1:]), problems


def _blobs_problem(segment: Segment) -> list[Problem]:
    """Return that a file has no blobs, when a segment has long lists."""
    if segment.units is UNSET:
        return []
    message = "the long lists of a segment are in blobs, and a file has none"
    hint = f"put at most {MAX_SEGMENT_UNITS} units in included and excluded, or use a control plane"
    return [Problem("/units", ProblemCode.MISSING_BLOB, message, hint)]


def _unreadable(kind: EntryKind, key: str, problems: list[Problem]) -> bytes:
    """Return an entry that cannot be compiled, and that says what is wrong in the file."""
    return encode_entry(kind, key, Unreadable(problems[:_MOST_PROBLEMS]))
