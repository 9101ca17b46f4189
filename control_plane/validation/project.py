"""Files that are checked together: what is wrong with each, and with all of them as one project.

A flag of one file may name a segment of another; no two may have one key. A snapshot among them
stands by itself, and so does a file of flagd. Pure: bytes in, notes out.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UnsetType

from control_plane.validation.documents import Item, read_items
from control_plane.validation.notes import Note, Notes, Origin
from control_plane.validation.others import is_yaml, read_other, relocate
from control_plane.validation.snapshots import Counts, check_snapshot, is_snapshot
from control_plane.web.salvage import Kind
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Condition, Flag, Segment
from proxy.contract.problems import Problem
from proxy.engine import check_flag, check_segment

__all__ = ["Checked", "check_files"]


class Checked(NamedTuple):
    """What was found in one file. `lines`: its problems are in single lines, as a snapshot's."""

    name: str
    data: bytes
    notes: Notes
    counts: Counts
    lines: bool


def check_files(
    files: Sequence[tuple[str, bytes]], environments: Sequence[str] = ()
) -> list[Checked]:
    """Return every problem of the files, given as names and contents, in their order.

    `environments` are those that each flag has to be configured for, on pain of a warning.
    """
    checked: list[Checked] = []
    project = _Project()
    for number, (name, data) in enumerate(files):
        notes = Notes()
        if is_snapshot(data):
            counts = check_snapshot(data, number, notes)
            checked.append(Checked(name, data, notes, counts, lines=True))
            continue
        lines = is_yaml(name)
        definitions, counts = read_other(name, data, notes)
        if definitions is None:
            checked.append(Checked(name, data, notes, counts, lines))
            continue
        items = list(read_items(definitions, environments, notes))
        for item in items:
            project.add(item, number, notes)
        kinds = [item.kind for item in items]
        counts = Counts(kinds.count("flag"), kinds.count("segment"))
        checked.append(Checked(name, data, notes, counts, lines))
    # who names what is unknown while not everything was read
    if not any(file.notes.exhausted for file in checked):
        for number, item, problems in project.problems():
            for problem in problems:
                moved = msgspec.structs.replace(problem, pointer=item.where + problem.pointer)
                checked[number].notes.add(Note(moved))
    for file in checked:
        if is_yaml(file.name):
            relocate(file.data, file.notes)
    return checked


class _Project:
    """The items of all files, and what they mean together."""

    def __init__(self) -> None:
        self._items: list[tuple[int, Item]] = []
        self._first: dict[tuple[Kind, str], Origin] = {}
        self._segments: dict[str, Segment] = {}
        self._flags: dict[str, Flag] = {}

    def add(self, item: Item, file: int, notes: Notes) -> None:
        """Take an item in; of several with one key the first counts, the others are noted."""
        self._items.append((file, item))
        if not item.key:
            return
        here = Origin(file, 0, item.where + "/key")
        first = self._first.setdefault((item.kind, item.key), here)
        if first is not here:
            message = f"the {item.kind} {item.key!r} is given twice"
            problem = Problem(here.pointer, ProblemCode.DUPLICATE_KEY, message, "remove one")
            notes.add(Note(problem, first=first))
        elif isinstance(item.document, Flag):
            self._flags[item.key] = item.document
        else:
            self._segments[item.key] = item.document

    def problems(self) -> Iterator[tuple[int, Item, list[Problem]]]:
        """Yield, with its file, each item and what its meaning has against it."""
        near_flags = _together({key: _asked(flag) for key, flag in self._flags.items()})
        near_segments = _together({key: _named(each) for key, each in self._segments.items()})
        for file, item in self._items:
            if not item.readable:
                continue
            if isinstance(item.document, Flag):
                found = check_flag(
                    item.document,
                    self._segments,
                    self._flags,
                    asking=near_flags.get(item.key, ()),
                    imported_key=not item.alone,
                )
            else:
                near = near_segments.get(item.key, ())
                found = check_segment(item.document, {key: self._segments[key] for key in near})
            found += _unwritable(item.document, found)
            yield file, item, [_pointed(item, p) for p in found if _is_meant(item, p)]


def _asked(flag: Flag) -> list[str]:
    """Return the flags that a flag's prerequisites name."""
    configs = flag.environments.values()
    return [wanted.flag for config in configs for wanted in config.prerequisites]


def _named(segment: Segment) -> list[str]:
    """Return the segments that a segment names."""
    names: list[str] = []
    stack: list[Condition | UnsetType] = [segment.when]
    while stack:
        node = stack.pop()
        if isinstance(node, UnsetType):
            continue
        if not isinstance(node.segment, UnsetType):
            names.append(node.segment)
        stack += [node.not_, *(node.all or ()), *(node.any or ())]
    return names


def _together(edges: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return for each name all those it hangs together with, itself too, in any direction.

    What a check says of a thing depends on no other, and to look at all of a project for each of
    its things would be quadratic.
    """
    group: dict[str, list[str]] = {name: [name] for name in edges}
    for name, others in edges.items():
        for other in others:
            mine, theirs = group[name], group.get(other)
            if theirs is None or theirs is mine:
                continue
            small, large = sorted((mine, theirs), key=len)
            large += small
            group.update(dict.fromkeys(small, large))
    return group


def _is_meant(item: Item, problem: Problem) -> bool:
    """Return whether a problem is one of the author, told at its right place."""
    if problem.code is ProblemCode.VARIANT_IN_USE:
        return False  # told of the flag whose prerequisite names what is not there
    return not any(
        problem.pointer == place or problem.pointer.startswith(place + "/")
        for place in item.unknown
    )


def _pointed(item: Item, problem: Problem) -> Problem:
    """Return a problem of a variant that was made from a value as one of the value."""
    if not item.by_value or not problem.pointer.startswith("/variants/"):
        return problem
    _, _, _, *inner = problem.pointer.split("/")
    return msgspec.structs.replace(problem, pointer="/".join(["/value", *inner]))


def _unwritable(document: Flag | Segment, found: list[Problem]) -> list[Problem]:
    """Return the problem of a document that JSON can say and no encoder writes, unless told."""
    if any(problem.severity is Severity.ERROR for problem in found):
        return []
    try:
        msgspec.json.encode(document)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        return [Problem("", ProblemCode.MALFORMED_JSON, f"this cannot be written: {error}")]
    return []
