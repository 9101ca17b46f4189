"""A text of JSON with mistakes, made one that can be read, so that each costs only what it is in.

Decoders refuse a whole text for one member that is there twice, one value that is nested without
end, one number that nothing can hold. `mend` tells each such mistake with its pointer, and puts `0`
where no decoder could go on; whoever asked refuses what the pointers lead into, and reads the rest.

Rules:
- Only what a text with mistakes costs is spent here: it is called when `strict_json.scan` found
  something, or a decoder stopped.
- What takes another's place is as long as that, so that places stay what they are.
- One walk, without recursion. What is no JSON in any other way stays so: the decoder says where.
- No mistake is left untold: a text with more than can be told is refused whole.
"""

import re
from typing import NamedTuple

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer
from proxy.contract.strict_json import MAX_DEPTH, PIECES, places_of, unescaped

__all__ = ["MAX_FLAWS", "Mended", "mend"]

MAX_FLAWS = 10_000
"""Mistakes that are told of one text: as many as a project has flags. One more refuses the text."""

_MAX_CHARS = 4_000_000  # of all pointers, since one name may be as long as the text
_MAX_POINTER_CHARS = 1_000
_STEPS_OF_ITEMS = 4  # a pointer keeps as many, or it would not tell whose it is
_MAX_NAME = 80
_LONG = 300
"""Digits that any number can have: the largest has 309."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*+)(\.[0-9]++)?([eE][-+]?[0-9]++)?")
_NO_NUMBERS = frozenset(("NaN", "Infinity", "-Infinity"))
_HALF = re.compile(
    r"(\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\[^u])"
    r"|\\u[dD][89a-fA-F][\da-fA-F]{2}",
    re.DOTALL,
)
_SHOWN = re.compile(r"[^\r\n]")
_REPLACEMENT = r"\ufffd"
_TOO_LARGE = "a number is larger than any that can be read"
_NO_NUMBER = "JSON has no NaN and no Infinity"
_HALF_CHARACTER = "this escape is half of a character"
_HINTS = {
    _TOO_LARGE: "write it as a string",
    _NO_NUMBER: "write null, or a string",
    _HALF_CHARACTER: "write the character itself, or both halves",
}


class Mended(NamedTuple):
    """A text, as far as it can be mended, and the mistakes, with pointers into it."""

    text: bytes
    flaws: list[Problem]


class _Flaw(NamedTuple):
    path: tuple[str | int, ...]
    code: ProblemCode
    message: str
    offset: int


def mend(data: bytes, *, places: bool = False) -> Mended:
    """Return the text with its mistakes told, and out of the way of a decoder.

    `places`: each says at which line it is. Costs about two microseconds a piece.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8"
        flaw = Problem("", ProblemCode.MALFORMED_JSON, message, "send JSON in UTF-8")
        return Mended(data, [flaw])
    walk = _Walk(text)
    walk.run()
    if walk.overflows:
        message = f"the text has more than {MAX_FLAWS} mistakes"
        hint = "mend the first, and look again"
        first = _problem(walk.flaws[0], {}) if walk.flaws else None
        told = [Problem("", ProblemCode.TOO_MANY, message, hint)]
        return Mended(data, [*told, first] if first else told)
    lines = places_of(text, {flaw.offset for flaw in walk.flaws}) if places else {}
    at = {offset: place.line for offset, place in lines.items()}
    flaws = [_problem(flaw, at) for flaw in walk.flaws]
    return Mended(walk.mended(), flaws)


def _problem(flaw: _Flaw, lines: dict[int, int]) -> Problem:
    line = lines.get(flaw.offset)
    where = "" if line is None else f", at line {line}"
    return Problem(
        pointer(*flaw.path), flaw.code, f"{flaw.message}{where}", _HINTS.get(flaw.message, "")
    )


class _Walk:
    """One walk over a text: where it stands, what was found, and what is to be replaced."""

    def __init__(self, text: str) -> None:
        self.flaws: list[_Flaw] = []
        self.overflows = False
        self._text = text
        self._made: list[str] = []
        self._done = 0  # how much of the text is in `_made`
        self._chars = 0
        self._path: list[str | int] = []
        self._seen: list[set[str] | None] = []

    def run(self) -> None:
        """Look at every piece of the text."""
        path, seen = self._path, self._seen
        expect_name = False
        skipped = start = 0  # depth within what is too deep, and where that begins
        for match in PIECES.finditer(self._text):
            piece = match.group()
            first = piece[0]
            if skipped:
                skipped += (first in "{[") - (first in "}]")
                if not skipped:
                    self._replace(start, match.end(), "0")
            elif first in "{[":
                if len(path) == MAX_DEPTH:
                    start, skipped = match.start(), 1
                    self._add(ProblemCode.TOO_DEEP, f"nested deeper than {MAX_DEPTH}", start)
                    continue
                expect_name = first == "{"
                path.append("" if expect_name else 0)
                seen.append(set() if expect_name else None)
            elif first in "}]":
                if not path:
                    return  # no JSON: the decoder will say where
                path.pop()
                seen.pop()
                expect_name = False
            elif first == ",":
                if path and seen[-1] is None:
                    path[-1] = int(path[-1]) + 1
                else:
                    expect_name = bool(path)
            elif first == ":":
                expect_name = False
            elif first == '"':
                piece = self._whole(piece, match.start(), is_name=expect_name)
                if expect_name and seen and (names := seen[-1]) is not None:
                    self._name(unescaped(piece), names, match.start())
            else:
                self._literal(piece, match.start())
            if self.overflows:
                return

    def mended(self) -> bytes:
        """Return the text with what was replaced."""
        return "".join([*self._made, self._text[self._done :]]).encode()

    def _name(self, name: str, names: set[str], offset: int) -> None:
        self._path[-1] = name
        if name in names:
            message = f"the member {name[:_MAX_NAME]!r} is given twice"
            self._add(ProblemCode.DUPLICATE_KEY, message, offset)
        names.add(name)

    def _whole(self, piece: str, offset: int, *, is_name: bool) -> str:
        """Return a string without halves of characters."""
        if "\\u" not in piece:
            return piece
        made = _HALF.sub(lambda match: match[1] or _REPLACEMENT, piece)
        if made != piece:
            self._replace(offset, offset + len(piece), made)
            if is_name and self._path:
                self._path[-1] = unescaped(made)
            self._add(ProblemCode.MALFORMED_JSON, _HALF_CHARACTER, offset)
        return made

    def _literal(self, piece: str, offset: int) -> None:
        if piece in _NO_NUMBERS:
            self._replace(offset, offset + len(piece), "0")
            self._add(ProblemCode.MALFORMED_JSON, _NO_NUMBER, offset)
        elif (len(piece) > _LONG or "e" in piece or "E" in piece) and _NUMBER.fullmatch(piece):
            try:
                msgspec.json.decode(piece)
            except msgspec.ValidationError:
                self._replace(offset, offset + len(piece), "0")
                self._add(ProblemCode.NUMBER_OUT_OF_RANGE, _TOO_LARGE, offset)

    def _replace(self, start: int, end: int, by: str) -> None:
        """Put something in the place of a piece, and spaces up to its length, lines kept."""
        blank = _SHOWN.sub(" ", self._text[start + len(by) : end])
        self._made += [self._text[self._done : start], by, blank]
        self._done = end

    def _add(self, code: ProblemCode, message: str, offset: int) -> None:
        path = self._told()
        self._chars += sum(len(str(step)) for step in path)
        if len(self.flaws) == MAX_FLAWS or self._chars > _MAX_CHARS:
            self.overflows = True
            return
        self.flaws.append(_Flaw(path, code, message, offset))

    def _told(self) -> tuple[str | int, ...]:
        """Return where the walk stands, or what that is in where it is too long to be shown."""
        size = 0
        for number, step in enumerate(self._path):
            size += len(str(step)) + 1
            if size > _MAX_POINTER_CHARS and number >= _STEPS_OF_ITEMS:
                return tuple(self._path[:number])
        return tuple(self._path)
