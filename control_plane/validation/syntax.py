"""What keeps a file from being JSON, as notes; the words are `proxy.contract.malformed`'s. Pure."""

import re
from math import isinf

from control_plane.validation.notes import Note
from proxy.contract.codes import ProblemCode
from proxy.contract.malformed import BOM, bad_encoding, malformed
from proxy.contract.problems import Problem
from proxy.contract.strict_json import place_at

__all__ = ["BOM", "encoding_note", "number_note", "syntax_note"]

_FILE = "the file"
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?\d[\d.eE+-]*', re.DOTALL)


def encoding_note(data: bytes) -> Note | None:
    """Return what is wrong with the bytes as text, or None when they are UTF-8."""
    wrong = bad_encoding(data, _FILE)
    if wrong is None:
        return None
    problem = Problem("", ProblemCode.MALFORMED_JSON, wrong.message, wrong.hint)
    return Note(problem, inner=wrong.place)


def syntax_note(data: bytes) -> Note:
    """Return why data is no JSON. Its pointer is `""`."""
    wrong = malformed(data, _FILE)
    problem = Problem("", ProblemCode.MALFORMED_JSON, wrong.message, wrong.hint)
    return Note(problem, inner=wrong.place)


def number_note(data: bytes, problem: Problem) -> Note:
    """Return the problem of a number that nothing can hold, with the place of that number."""
    for match in _TOKENS.finditer(data):
        piece = match.group()
        if piece[:1] in b"-0123456789" and isinf(_float(piece)):
            return Note(problem, inner=place_at(data, match.start()))
    return Note(problem)


def _float(piece: bytes) -> float:
    try:
        return float(piece)
    except ValueError:
        return 0.0
