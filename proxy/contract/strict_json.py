"""Finds what a JSON decoder hides: members given twice, nesting without end, broken UTF-8.

Decoders keep the last of two members of one name, so a reviewer who reads the first is misled.
`scan` walks the tokens once, without recursion, and knows nothing of what the document means.
It does not replace the decoder: text that it accepts may still be malformed.
"""

import re

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer

__all__ = ["MAX_DEPTH", "scan"]

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays accepted in a document; a condition tree needs about 10."""

_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\],:]', re.DOTALL)
# The closing quote is optional so that a string without end is one token: were it no match, each
# escaped quote in it would be tried as a beginning, and 100 KB would take minutes.

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
                problems.append(Problem(pointer(*path[:8]), ProblemCode.TOO_DEEP, message))
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
            name = _unescaped(piece)
            path[-1] = name
            if name in names and len(problems) < _MAX_PROBLEMS:
                message = f"the member {name!r} is given twice"
                problems.append(Problem(pointer(*path), ProblemCode.DUPLICATE_KEY, message))
            names.add(name)
    return problems


def _unescaped(piece: str) -> str:
    """Return the text of a JSON string piece, so that `"a"` and `"\\u0061"` are one name."""
    if "\\" not in piece:
        return piece[1:-1]
    try:
        return msgspec.json.decode(piece, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return piece  # malformed: the decoder will say where
