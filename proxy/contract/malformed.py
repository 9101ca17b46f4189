"""What keeps a text from being JSON: where, and in words for who wrote it by hand. Pure.

The decoder says at which byte it stopped; this adds the place and the usual reason. Said alike by
the API, by a sidecar that reads a file and by `matrixflag validate`.
"""

import re
from typing import NamedTuple

import msgspec

from proxy.contract.strict_json import MAX_DEPTH, Place, place_at

__all__ = ["BOM", "Malformed", "bad_encoding", "malformed"]

BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8. JSON has none (RFC 8259, section 8.1)."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BYTE = re.compile(r" \(byte (\d+)\)$")
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]', re.DOTALL)
_ESCAPES = re.compile(rb"(?:\\[^u])++|\\u(?:([\da-fA-F]{4})|)", re.DOTALL)


class Malformed(NamedTuple):
    """Why a text is not JSON, what to do about it, and where."""

    message: str
    hint: str
    place: Place


def bad_encoding(data: bytes, what: str = "the document") -> Malformed | None:
    """Return what is wrong with the bytes as text, or None when they are UTF-8.

    `what` is how the text is called.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if data.startswith(_UTF16):
            return Malformed(f"{what} is UTF-16", "write it as UTF-8", Place(1, 1))
        message = f"byte {error.start} is not UTF-8"
        return Malformed(message, f"write {what} as UTF-8", place_at(data, error.start))
    return None


def malformed(data: bytes, what: str = "the document") -> Malformed:
    """Return why data is no JSON."""
    wrong = bad_encoding(data, what)
    if wrong is not None:
        return wrong
    if data.startswith(BOM):
        message = f"{what} begins with a byte order mark, which JSON does not have"
        return Malformed(message, "save it as UTF-8 without one", Place(1, 1))
    text = _said(data)
    match = _BYTE.search(text)
    may_be_half = match is None or "surrogate" in text or "hex escape" in text
    half = _half_character(data) if may_be_half else -1
    if half >= 0:
        message = "this escape is half of a character"
        return Malformed(
            message, "write the character itself, or both halves", place_at(data, half)
        )
    if match is None:
        return _ends_early(data, what)
    # of what comes after the end the decoder tells the byte behind the first
    byte = int(match[1]) - text.startswith("JSON is malformed: trailing characters")
    message = text[: match.start()].removeprefix("JSON is malformed: ")
    return Malformed(*_in_words(data, byte, message), place_at(data, byte))


def _said(data: bytes) -> str:
    """Return what the decoder says; it knows the place best in a text that it passes over."""
    for kind in (msgspec.Raw, object):
        try:
            msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return str(error)
    return ""


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


def _ends_early(data: bytes, what: str) -> Malformed:
    """Return why text is none that the decoder found to be too short."""
    if not data.strip():
        hint = 'the least is {"flags": []}' if what == "the file" else ""
        return Malformed(f"{what} is empty", hint, Place(1, 1))
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
            message = "a text begins here and does not end"
            return Malformed(message, "a quote is missing", place_at(data, match.start()))
    hint = ""
    if open_at:
        place = place_at(data, open_at[-1])
        mark = data[open_at[-1] : open_at[-1] + 1].decode()
        hint = f"the {mark!r} at line {place.line}, column {place.column} is not closed"
    message = "the file ends within the document" if what == "the file" else "this ends too early"
    return Malformed(message, hint, place_at(data, len(data.rstrip())))


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
