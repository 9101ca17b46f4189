"""The body of `/units`: a line of JSON for each unit, `{"include":"u-1"}`. Pure.

A line is an object with one member, `include`, `exclude` or `remove`, whose value is the unit; a
line without anything is passed over. Lines are read as they come, some hundred at a time, without a
JSON decoder where all of them look as expected; else each is looked at closely, and what is wrong
with it has its number, from 1, as pointer. All are read before anything is done.
"""

import re
from collections.abc import Generator

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.segments.lists import EXCLUDE, INCLUDE, REMOVE, UnitChanges
from proxy.contract import strict_json
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.malformed import malformed
from proxy.contract.problems import Problem, pointer, under
from proxy.contract.units import MAX_UNIT_CHARS, MAX_UNITS

__all__ = ["MAX_LINES", "UnitLines", "encode_lines"]

MAX_LINES = 2 * MAX_UNITS
"""Of a body: two full lists."""

_MAX_LINE_BYTES = 16 * 1024
"""A unit of the longest, each character written as two escapes, and some air."""

_MAX_PROBLEMS = 100
"""Listed of a body; reading ends there."""

_WINDOW_BYTES = 16 * 1024

_WORDS = {"include": INCLUDE, "exclude": EXCLUDE, "remove": REMOVE}

_LINE = re.compile(
    r'^[ \t]*\{[ \t]*"(include|exclude|remove)"[ \t]*:[ \t]*'
    r'"([^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*)"[ \t]*\}[ \t\r]*$',
    re.MULTILINE,
)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    include: str | UnsetType = UNSET
    exclude: str | UnsetType = UNSET
    remove: str | UnsetType = UNSET


_encoder = msgspec.json.Encoder()
_text = msgspec.json.Decoder(str)


def encode_lines(word: str, units: list[str]) -> bytes:
    """Return units as lines."""
    begin = f'{{"{word}":'.encode()
    return b"".join([begin + _encoder.encode(unit) + b"}\n" for unit in units])


class UnitLines:
    """Reads a body piece by piece. Once `full`, what follows does not matter."""

    def __init__(self, *, removing: bool) -> None:
        self.changes = UnitChanges()
        self.problems: list[Problem] = []
        self.full = False
        """Whether enough is wrong to stop reading."""
        self._words = {w: n for w, n in _WORDS.items() if removing or n != REMOVE}
        self._rest = b""
        self._count = 0

    def feed(self, piece: bytes) -> Generator[None, None, None]:
        """Read a piece, yielding between windows of it."""
        data = self._rest + piece
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        start = 0
        while start < end and not self.full:
            stop = data.find(b"\n", min(start + _WINDOW_BYTES, end - 1)) + 1
            self._read(data[start:stop])
            start = stop
            yield
        if len(self._rest) > _MAX_LINE_BYTES and not self.full:
            self._too_long(self._count + 1, len(self._rest))
            self.full = True

    def end(self) -> Generator[None, None, None]:
        """Read what is left: a last line need not be ended."""
        if self._rest:
            yield from self.feed(b"\n")

    def _read(self, window: bytes) -> None:
        """Read some whole lines."""
        lines = window.count(b"\n")
        if self._count + lines > MAX_LINES:
            message = f"more than {MAX_LINES} lines, which is all that two lists can hold"
            self._add("", ProblemCode.TOO_MANY, message)
            self.full = True
            return
        found = self._as_expected(window, lines)
        if found is None:
            self._look_closely(window)
        elif not self.problems:
            for word, unit in found:
                self.changes.add(self._words[word], unit)
        self._count += lines

    def _as_expected(self, window: bytes, lines: int) -> list[tuple[str, str]] | None:
        """Return word and unit of each line, or None when one of them is not as it should be."""
        try:
            rows = _LINE.findall(window.decode())
            found = [(w, _text.decode(f'"{u}"') if "\\" in u else u) for w, u in rows]
        except (UnicodeError, msgspec.MsgspecError):
            return None
        words = self._words
        good = all(w in words and 0 < len(u) <= MAX_UNIT_CHARS for w, u in found)
        return found if good and len(found) == lines else None

    def _look_closely(self, window: bytes) -> None:
        for number, line in enumerate(window.split(b"\n")[:-1], start=self._count + 1):
            if not line.strip():
                continue
            if len(line) > _MAX_LINE_BYTES:
                self._too_long(number, len(line))
            else:
                self._look_at(number, line)
            if len(self.problems) >= _MAX_PROBLEMS:
                self.full = True
                return

    def _look_at(self, number: int, line: bytes) -> None:
        value: _Line | None = None
        problems = strict_json.scan(line)
        if not problems:
            value, problems = decode(line, _Line)
        if value is None:
            if problems[0].code is ProblemCode.MALFORMED_JSON:
                why = malformed(line, "the line")
                message = f"{why.message}, at column {why.place.column}"
                problems = [msgspec.structs.replace(problems[0], message=message, hint=why.hint)]
            self.problems += under(pointer(number), problems)
            return
        said = {w: unit for w in _WORDS if not isinstance(unit := getattr(value, w), UnsetType)}
        if len(said) != 1:
            names = ", ".join(said) or "none"
            message = f"exactly one of {', '.join(self._words)} is needed; got {names}"
            self._add(pointer(number), ProblemCode.NOT_ONE_OF, message)
            return
        ((word, unit),) = said.items()
        if word not in self._words:
            message = "a PUT says all that is left; nothing is there to be removed"
            self._add(pointer(number, word), ProblemCode.UNKNOWN_FIELD, message, "use POST")
        elif not 0 < len(unit) <= MAX_UNIT_CHARS:
            message = f"a unit has 1 to {MAX_UNIT_CHARS} characters"
            self._add(pointer(number, word), ProblemCode.OUT_OF_RANGE, message)
        elif not self.problems:
            self.changes.add(self._words[word], unit)

    def _too_long(self, number: int, size: int) -> None:
        message = f"a line of {size} bytes or more, at most {_MAX_LINE_BYTES} are read"
        self._add(pointer(number), ProblemCode.OUT_OF_RANGE, message)

    def _add(self, where: str, code: ProblemCode, message: str, hint: str = "") -> None:
        self.problems.append(Problem(where, code, message, hint))
