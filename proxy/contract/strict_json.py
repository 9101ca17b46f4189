"""Finds what a JSON decoder hides: members given twice, nesting without end, broken UTF-8, places.

Decoders keep the last of two members of one name, so a reviewer who reads the first is misled.
`scan` walks the tokens once, without recursion, and knows nothing of what the document means.
It does not replace the decoder: text that it accepts may still be malformed.

What it finds may stand in one flag of many; `proxy.contract.mending` is for reading the others.

`locate` tells where in the text the things are that pointers name, so that a problem can be shown
in an editor. It is a walk of its own, because it is run only where there are problems.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer

__all__ = [
    "MAX_DEPTH",
    "PIECES",
    "Location",
    "Place",
    "locate",
    "number_out_of_range",
    "place_at",
    "places_of",
    "scan",
    "unescaped",
]

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays accepted in a document; a condition tree needs about 10."""

_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\],:]', re.DOTALL)
# Nothing is tried twice (`*+`), or a long text would take a hundred times its size in memory.
# The closing quote is optional so that a string without end is one token: were it no match, each
# escaped quote in it would be tried as a beginning, and 100 KB would take minutes.

PIECES = re.compile(_TOKENS.pattern + r'|[^\s{}\[\],:"]+', re.DOTALL)
"""What a text of JSON is made of: strings, the signs of its structure, numbers and literals."""

_MAX_POINTER_CHARS = 1_000

_MAX_PROBLEMS = 100  # a hostile document must not make a long answer


def scan(data: bytes) -> list[Problem]:
    """Return a problem for each duplicate member, or one for excess depth or broken UTF-8.

    Cost: about a microsecond a piece; bounded by the size of `data`, which the caller bounds.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8"
        return [Problem("", ProblemCode.MALFORMED_JSON, message, "send JSON in UTF-8")]
    problems: list[Problem] = []
    path: list[str | int] = []  # the member name or the index we stand at, one per open container
    seen: list[set[str] | None] = []  # names seen in each open object; None for an array
    expect_name = False
    for match in _TOKENS.finditer(text):
        piece = match.group()
        if piece in "{[":
            if len(path) == MAX_DEPTH:
                message = f"nested deeper than {MAX_DEPTH}"
                problems.append(Problem(_short(path), ProblemCode.TOO_DEEP, message))
                return problems
            expect_name = piece == "{"
            path.append("" if expect_name else 0)
            seen.append(set() if expect_name else None)
        elif piece in "}]":
            if not path:
                break  # malformed: the decoder will say where
            path.pop()
            seen.pop()
            expect_name = False
        elif piece == ",":
            if path:
                if seen[-1] is None:
                    path[-1] = int(path[-1]) + 1
                else:
                    expect_name = True
        elif piece == ":":
            expect_name = False
        elif expect_name and seen and (names := seen[-1]) is not None:
            name = unescaped(piece)
            path[-1] = name
            if name in names and len(problems) < _MAX_PROBLEMS:
                message = f"the member {name!r} is given twice"
                problems.append(Problem(pointer(*path), ProblemCode.DUPLICATE_KEY, message))
            names.add(name)
    return problems


def _short(path: list[str | int]) -> str:
    """Return the pointer of a path, or of the beginning of one that is too long to be shown."""
    steps = 0
    for number, step in enumerate(path, 1):
        steps += len(str(step)) + 1
        if steps > _MAX_POINTER_CHARS:
            return pointer(*path[: number - 1])
    return pointer(*path)


def unescaped(piece: str) -> str:
    """Return the text of a JSON string piece, so that `"a"` and `"\\u0061"` are one name."""
    if "\\" not in piece:
        return piece[1:-1]
    try:
        return msgspec.json.decode(piece, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return piece  # malformed: the decoder will say where


class Place(NamedTuple):
    """A place in a text, counted from 1. A column is a character, whatever its width."""

    line: int
    column: int


class Location(NamedTuple):
    """Where a thing stands: the name it has in its object, and its value.

    What has no name, an element of an array, has its value's place twice.
    """

    name: Place
    value: Place


class _Wanted:
    """A node of the tree of pointers that are looked for; offsets are -1 until it is found."""

    __slots__ = ("below", "name", "value")

    def __init__(self) -> None:
        self.below: dict[str, _Wanted] = {}
        self.name = -1
        self.value = -1


def locate(data: bytes, pointers: Iterable[str]) -> dict[str, Location]:
    """Return where each pointer leads; for what is not there, the nearest thing around it that is.

    Of members given several times it is the last, which decoders keep. Takes any bytes, malformed
    ones too. Cost: less than a microsecond a piece, and no memory for what no pointer leads into.
    """
    text = data.decode("utf-8", "replace")
    root = _Wanted()
    wanted = {each: _insert(root, each) for each in pointers}
    _find(text, root)
    found: dict[str, tuple[int, int]] = {}
    for each, way in wanted.items():
        nearest = next((node for node in reversed(way) if node.value >= 0), root)
        name = nearest.name if nearest is way[-1] and nearest.name >= 0 else nearest.value
        found[each] = (max(name, 0), max(nearest.value, 0))
    places = places_of(text, {offset for pair in found.values() for offset in pair})
    return {each: Location(places[name], places[value]) for each, (name, value) in found.items()}


def place_at(data: bytes, byte: int) -> Place:
    """Return the place of a byte, counted from 0; past the end, the end."""
    before = data[:byte].decode("utf-8", "replace")
    after = data[byte : byte + 1].decode("latin-1")  # which may be the second half of a "\r\n"
    return places_of(before + after, {len(before)})[len(before)]


def number_out_of_range(data: bytes) -> Place | None:
    """Return the place of the first number that a decoder cannot hold, None without one.

    Takes any bytes; costs a decoding of each number, so it is for documents known to have one.
    """
    text = data.decode("utf-8", "replace")
    for piece in PIECES.finditer(text):
        if piece[0][0] in "-0123456789":
            try:
                msgspec.json.decode(piece[0])
            except msgspec.ValidationError:
                return places_of(text, {piece.start()})[piece.start()]
            except msgspec.DecodeError:  # malformed, which is no matter of size
                continue
    return None


def _insert(root: _Wanted, wanted: str) -> list[_Wanted]:
    """Return the nodes from the root to where a pointer leads, made where they are missing."""
    way = [root]
    for step in wanted.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        way.append(way[-1].below.setdefault(name, _Wanted()))
    return way


def _find(text: str, root: _Wanted) -> None:
    """Walk the text and note where the wanted nodes are. Containers without any are skipped."""
    containers: list[tuple[_Wanted, bool]] = []  # the open ones that hold wanted nodes; is object
    indexes: list[int] = []
    coming: _Wanted | None = root  # what the next value is, if it is wanted
    skipped = 0  # depth within a container that holds nothing wanted
    expect_name = False
    for match in PIECES.finditer(text):
        first = text[match.start()]
        if skipped:
            if first in "{[":
                skipped += 1
            elif first in "}]":
                skipped -= 1
        elif first in "{[":
            expect_name = False
            if coming is not None:
                coming.value = match.start()
            if coming is None or not coming.below:
                skipped = 1
                coming = None
                continue
            containers.append((coming, first == "{"))
            indexes.append(0)
            expect_name = first == "{"
            coming = None if expect_name else coming.below.get("0")
        elif first in "}]":
            if not containers:
                return  # malformed, or the end
            containers.pop()
            indexes.pop()
            coming = None
            expect_name = False
        elif first == ",":
            if not containers:
                return
            node, expect_name = containers[-1]
            indexes[-1] += 1
            coming = None if expect_name else node.below.get(str(indexes[-1]))
        elif expect_name and first == '"':
            expect_name = False
            coming = containers[-1][0].below.get(unescaped(match.group()))
            if coming is not None:
                coming.name = match.start()
        elif first != ":" and coming is not None:
            coming.value = match.start()
            coming = None


def places_of(text: str, offsets: Iterable[int]) -> dict[int, Place]:
    """Return the place of each offset. Linear in the text, however many offsets there are."""
    places: dict[int, Place] = {}
    line, start, done = 1, 0, 0
    for offset in sorted(offsets):
        # a line ends with "\n", "\r\n" or "\r"; between the two of one there is no line
        end = offset - 1 if text[offset - 1 : offset + 1] == "\r\n" else offset
        returns = text.count("\r", done, end)
        line += text.count("\n", done, end) + returns
        if returns:
            line -= text.count("\r\n", done, end)
        last = text.rfind("\n", done, end)
        if returns:
            last = max(last, text.rfind("\r", done, end))
        if last >= 0:
            start = last + 1
        done = end
        places[offset] = Place(line, offset - start + 1)
    return places
