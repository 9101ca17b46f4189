"""From what was found to what is printed: places, order, and three forms of text. Pure.

    text     file:line:column: severity: message [code] pointer (hint)
    json     a list of objects, one a line
    github   workflow commands, which GitHub shows beside the changed lines

What a file says must not get out of its line or its form: names in it may hold newlines, escape
sequences or a megabyte. So what is shown is cut and escaped, each form in its own way.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from control_plane.validation.notes import MAX_ERRORS, Note
from control_plane.validation.project import Checked
from control_plane.validation.syntax import BOM
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.strict_json import Location, Place, locate

__all__ = ["FORMATS", "Finding", "findings", "summary"]

_MAX_CHARS = 500
"""Of a message, a hint or a pointer. Those of the programs are far shorter; what makes them longer
is quoted from the file."""


class Finding(NamedTuple):
    """One problem at its place, as it is printed."""

    file: str
    line: int
    column: int
    pointer: str
    code: str
    severity: str
    message: str
    hint: str


_AT_THE_NAME = frozenset((ProblemCode.UNKNOWN_FIELD, ProblemCode.DUPLICATE_KEY))
"""What is wrong with a member's name and not with its value."""


def findings(files: Sequence[Checked]) -> list[Finding]:
    """Return the kept problems of all files, in the order of files and of places in them."""
    wanted: dict[tuple[int, int], set[str]] = {}
    for number, file in enumerate(files):
        for note in file.notes.kept:
            wanted.setdefault((number, note.line), set()).add(note.problem.pointer)
            if note.first is not None:
                origin = note.first
                wanted.setdefault((origin.file, origin.line), set()).add(origin.pointer)
    places: dict[tuple[int, int], dict[str, Location]] = {}
    for number, file in enumerate(files):
        lines = file.data.split(b"\n") if file.lines else [file.data.removeprefix(BOM)]
        for key in [key for key in wanted if key[0] == number]:
            places[key] = locate(lines[key[1]], wanted[key])
    found: list[Finding] = []
    for number, file in enumerate(files):
        own = [_finding(number, note, files, places) for note in file.notes.kept]
        found += sorted(dict.fromkeys(own), key=lambda f: (f.line, f.column))
    return found


def _finding(
    file: int,
    note: Note,
    files: Sequence[Checked],
    places: dict[tuple[int, int], dict[str, Location]],
) -> Finding:
    problem = note.problem
    location = places[file, note.line][problem.pointer]
    if note.inner is None:
        at_the_name = problem.code in _AT_THE_NAME and note.first is None
        place = location.name if at_the_name else location.value
    else:
        # counted from the beginning of the text where the pointer is to all of it
        place = _within(location.value if problem.pointer else Place(1, 1), note.inner)
    message = problem.message
    if note.first is not None:
        there = places[note.first.file, note.first.line][note.first.pointer].value
        name = files[note.first.file].name
        message += f"; the first is at {name}:{there.line + note.first.line}:{there.column}"
    return Finding(
        file=files[file].name,
        line=place.line + note.line,
        column=place.column,
        pointer=_cut(problem.pointer),
        code=str(problem.code),
        severity=str(problem.severity),
        message=_cut(message),
        hint=_cut(problem.hint),
    )


def _within(outer: Place, inner: Place) -> Place:
    """Return a place that is counted from another."""
    if inner.line == 1:
        return Place(outer.line, outer.column + inner.column - 1)
    return Place(outer.line + inner.line - 1, inner.column)


def summary(files: Sequence[Checked], shown: int, unreadable: int) -> str:
    """Return one line: how much there is, how much was looked at, how much is not shown."""
    errors = sum(file.notes.counts[Severity.ERROR] for file in files)
    warnings = sum(file.notes.counts[Severity.WARNING] for file in files)
    flags = sum(file.counts.flags for file in files)
    segments = sum(file.counts.segments for file in files)
    looked_at = (
        f"{_many(len(files), 'file')} with {_many(flags, 'flag')} and {_many(segments, 'segment')}"
    )
    kinds = ((errors, "error"), (warnings, "warning"))
    found = " and ".join(_many(count, what) for count, what in kinds if count)
    text = f"{found or 'No problems'} in {looked_at}"
    kept = sum(len(file.notes.kept) for file in files)
    if kept < errors + warnings:
        text += f"; the first {shown} are shown"
    for file in files:
        if file.notes.exhausted:
            text += f"; after {MAX_ERRORS} errors {_plain(file.name)} was not read on"
    if unreadable:
        text += f"; {_many(unreadable, 'file')} could not be read"
    return text + "."


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


# The forms


def text_lines(found: Iterable[Finding]) -> Iterator[str]:
    """Yield the lines that people, editors and compilers' readers understand."""
    for each in found:
        yield _text(each)


def _text(each: Finding) -> str:
    where = f"{_plain(each.file)}:{each.line}:{each.column}"
    pointer = f" {_plain(each.pointer)}" if each.pointer else ""
    hint = f" ({_plain(each.hint)})" if each.hint else ""
    return f"{where}: {each.severity}: {_plain(each.message)} [{each.code}]{pointer}{hint}"


def json_lines(found: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of a JSON array, an object on each."""
    # only ASCII, so that nothing depends on a terminal or on half characters in names
    rows = [json.dumps(each._asdict()) for each in found]
    yield "[" if rows else "[]"
    for number, row in enumerate(rows, 1):
        yield row + ("," if number < len(rows) else "")
    if rows:
        yield "]"


def github_lines(found: Iterable[Finding]) -> Iterator[str]:
    """Yield workflow commands. Their text repeats the place: a log shows nothing else of them."""
    for each in found:
        title = _property(f"matrixflag ({each.code})")
        file = _property(_plain(each.file))
        place = f"file={file},line={each.line},col={each.column}"
        yield f"::{each.severity} title={title},{place}::{_data(_text(each))}"


FORMATS = {"text": text_lines, "json": json_lines, "github": github_lines}


def _data(text: str) -> str:
    """Return text as a workflow command has it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"


def _plain(text: str) -> str:
    """Return text in which nothing moves a cursor, ends a line or hides."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
