"""What keeps a text from being JSON: where, and in words for who wrote it by hand. Pure.

The decoder says at which byte it stopped; this adds the place and the usual reason.
"""

import re
from math import isinf

from control_plane.validation.notes import Note
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem
from proxy.contract.strict_json import MAX_DEPTH, Place, place_at

__all__ = ["BOM", "encoding_note", "number_note", "syntax_note"]

BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8. JSON has none (RFC 8259, section 8.1)."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BYTE = re.compile(r" \(byte (\d+)\)$")
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]|-?\d[\d.eE+-]*', re.DOTALL)
_ESCAPES = re.compile(rb"(?:\\[^u])++|\\u(?:([\da-fA-F]{4})|)", re.DOTALL)


def encoding_note(data: bytes) -> Note | None:
    """Return what is wrong with the bytes as text, or None when they are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if data.startswith(_UTF16):
            message, hint, place = "the file is UTF-16", "save it as UTF-8", Place(1, 1)
        else:
            message = f"byte {error.start} is not UTF-8"
            hint, place = "save the file as UTF-8", place_at(data, error.start)
        return Note(Problem("", ProblemCode.MALFORMED_JSON, message, hint), inner=place)
    return None


def syntax_note(data: bytes, text: str) -> Note:
    """Return why data is no JSON; `text` is what the decoder says. Its pointer is `""`."""
    match = _BYTE.search(text)
    may_be_half = match is None or "surrogate" in text or "hex escape" in text
    half = _half_character(data) if may_be_half else -1
    if half >= 0:
        place = place_at(data, half)
        message = "this escape is half of a character"
        hint = "write the character itself, or both halves"
    elif match is None:
        place, message, hint = _ends_early(data)
    else:
        # of what comes after the end the decoder tells the byte behind the first
        byte = int(match[1]) - text.startswith("JSON is malformed: trailing characters")
        place = place_at(data, byte)
        message = text[: match.start()].removeprefix("JSON is malformed: ")
        message, hint = _in_words(data, byte, message)
    return Note(Problem("", ProblemCode.MALFORMED_JSON, message, hint), inner=place)


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


def _in_words(data: bytes, byte: int, message: str) -> tuple[str, str]:
    """Return message and hint for what stands at a byte."""
    here = data[byte : byte + 1]
    if here and here < b" ":
        message = "a line ends, or a control character stands, within a text"
        return message, "a quote is missing, or write it as \\n"
    if here in b"/#" and here:
        return message, "JSON has no comments; say it in a description"
    if here == b"'":
        return message, "names and texts stand in double quotes"
    if here in b"NI" and here:
        return message, "JSON has no NaN, no Infinity and no None"
    if here in b"TF" and here:
        return message, "write true and false in small letters"
    hints = {
        "object keys must be strings": "names stand in double quotes",
        "trailing comma in object": "take the comma before it out",
        "trailing comma in array": "take the comma before it out",
        "trailing characters": "the document has ended here",
    }
    return message, hints.get(message, "")


def _ends_early(data: bytes) -> tuple[Place, str, str]:
    """Return place, message and hint for text that the decoder found to be too short."""
    if not data.strip():
        return Place(1, 1), "the file is empty", 'the least is {"flags": []}'
    open_at: list[int] = []
    for match in _TOKENS.finditer(data):
        piece = match.group()
        if piece in (b"{", b"["):
            if len(open_at) <= MAX_DEPTH:
                open_at.append(match.start())
        elif piece in (b"}", b"]"):
            if open_at:
                open_at.pop()
        elif piece[:1] == b'"' and match.end() == len(data) and not _is_closed(piece):
            place = place_at(data, match.start())
            return place, "a text begins here and does not end", "a quote is missing"
    hint = ""
    if open_at:
        place = place_at(data, open_at[-1])
        mark = data[open_at[-1] : open_at[-1] + 1].decode()
        hint = f"the {mark!r} at line {place.line}, column {place.column} is not closed"
    return place_at(data, len(data.rstrip())), "the file ends within the document", hint


def _is_closed(piece: bytes) -> bool:
    """Return whether a string's last quote is one, and not an escaped one or the first."""
    if len(piece) < 2 or not piece.endswith(b'"'):
        return False
    body = piece[:-1]
    return (len(body) - len(body.rstrip(b"\\"))) % 2 == 0


def _half_character(data: bytes) -> int:
    """Return the byte of the first escape of a surrogate without its other half, or -1."""
    high, end = -1, -1
    for match in _ESCAPES.finditer(data):
        unit = int(match[1], 16) if match[1] else 0
        if 0xDC00 <= unit <= 0xDFFF:
            if end != match.start():
                return match.start() if high < 0 else high
            high = end = -1
        elif high >= 0:
            return high
        elif 0xD800 <= unit < 0xDC00:
            high, end = match.span()
    return high
