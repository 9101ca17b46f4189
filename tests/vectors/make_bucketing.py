"""Writes `bucketing.json`: `python -m tests.vectors.make_bucketing`.

The vectors are fixed for ever; writing them again must not change a byte (a test compares). They
are computed by `murmur3.py`, not by the library that the engine uses, and what is drawn is drawn by
that hash too, so that no version of Python draws otherwise.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.vectors.murmur3 import murmur3_x86_32

PATH = Path(__file__).with_name("bucketing.json")

COUNT = 10_000

_SALTS = ["f3b1", "0123456789abcdef0123456789abcdef", "checkout-v2", "a/b", "A_-z", "ä"]
_TEXTS = [
    "u-1",
    "ä",
    "0",
    " ",
    " u-1",
    "u-1 ",
    "U-1",
    "日本語",
    "👩‍👩‍👧",
    "e\u0301",
    "\u00e9",
    "\u0000",
    "a.b",
    "x" * 300,
]
_NUMBERS: list[Any] = [42, 0, -1, 42.0, -0.0, 1e15, 2**53 - 1, -(2**53 - 1), 123456789012]

_MORE_SALTS = ["s", "", "ß.", "日", "🎏", "a b", "flag.env", "0" * 64]
_MORE_TEXTS = [
    *("42", "42.0", "-1", "1e3", "0x2a", "007", "+1", "9007199254740993", "true", "null", "NaN"),
    *("\n", "\t\r\n", "a\u0000b", '"', "\\", "/", "</script>", "'; --", "%00", "\u007f", "\u00a0"),
    *("\u200b", "\u200d", "\ufeff", "\ufeffu-1", "\ufffd", "\uffff", "\ue000", "\U0010ffff"),
    *("ẞ", "ß", "SS", "İ", "i\u0307", "ﬁ", "\u00c5", "A\u030a", "\u212b", "ǅ"),
    *("Σίσυφος", "ЖЁЙ", "שלום", "سلام", "123"),
    *("नमस्ते", "ไทย", "한국어", "\u1112\u1161\u11ab", "\U0001d4b3", "𠜎", "🇪🇺", "👍🏽", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☃️"),
    *("user@example.com", "2f1c5a0e-7d43-4c0b-9a55-0d7e1b1f9f10", "https://example.com/u?id=1#x"),
]
_LONG_TEXTS = ["é" * 600, "日" * 1_024, "😀" * 1_024, "ab" * 4_096]
_MORE_NUMBERS: list[Any] = [
    *(2**n + d for n in (1, 7, 8, 15, 16, 31, 32, 52) for d in (-1, 0, 1)),
    *(-(2**n) - d for n in (1, 7, 8, 15, 16, 31, 32, 52) for d in (-1, 0, 1)),
    *(float(10**n) for n in range(16)),
    *(-1.0, 1e2, 4294967296.0, 9007199254740991.0, -9007199254740991.0),
]
_MISSING: list[Any] = [
    *("", None, True, False, 0.5, -0.1, 1e-7, 42.000001, 5e-324, 4503599627370495.5),
    *(2**53, -(2**53), 2.0**53, 2**53 + 1, 2**63, 2**64, 10**30, 1e16, 1e30, -1e300, 1.7e308),
    *([], ["u-1"], [42], {}, {"u": "u-1"}, {"key": 42}, [[]], [None]),
]
_ALPHABETS = ["abcdefghijklmnopqrstuvwxyz0123456789-_", "aäöüéßñçøå", "аяж中文字かな한", "a日😀🇩👾"]


def vectors() -> list[dict[str, Any]]:
    """Return all vectors: salt and unit; hash and bucket, both null for what is no unit.

    The first thousand have stood since the first version of the file.
    """
    units: list[Any] = [*_TEXTS, *_NUMBERS]
    made = [_vector(salt, unit) for salt in _SALTS for unit in units]
    made += [_vector(_SALTS[i % 2], f"user-{i}") for i in range(1_000 - len(made))]
    more = _more()
    return made + [_vector(*next(more)) for _ in range(COUNT - len(made))]


def document() -> str:
    """Return the text of the file."""
    head = {
        "algorithm": "h = murmur3_x86_32(utf8(salt + '.' + unit), seed 0), unsigned; "
        "bucket = (h * 100000) >> 32",
        "units": "a non-empty string as it is; an integer, or a float of integral value, of "
        "absolute value below 2^53, as its decimal; hash and bucket are null for all else",
    }
    lines = ",\n".join(json.dumps(vector, sort_keys=True) for vector in vectors())
    return json.dumps(head)[:-1] + f', "vectors": [\n{lines}\n]}}\n'


def _more() -> Iterator[tuple[str, Any]]:
    """Yield what else is worth a vector, then salts and units like those in use, without end."""
    for salt in (*_MORE_SALTS, *_SALTS[:2]):
        for unit in (*_MORE_TEXTS, *_MORE_NUMBERS, *_MISSING):
            yield salt, unit
    for unit in _LONG_TEXTS:
        yield _SALTS[0], unit
    for length in range(1, 36):  # every tail of a block, in one byte a character and in more
        for salt in ("", "a", "ab", "abc"):
            for character in "xä日😀":
                yield salt, character * length
    number = 0
    while True:
        number += 1
        salt = f"{_drawn('salt', number % 50):08x}"
        yield salt, _like_in_use(number)


def _like_in_use(number: int) -> Any:
    """Return an identifier of one of the kinds that applications have, or a random text."""
    drawn = _drawn("kind", number)
    if number % 4 == 0:
        return f"{drawn:08x}-{drawn % 65_536:04x}-4{number % 4_096:03x}-a{drawn % 4_096:03x}"
    if number % 4 == 1:
        return f"user{drawn % 100_000}@example.com"
    if number % 4 == 2:
        whole = drawn * 2 ** (number % 21) * (1 if drawn % 2 else -1)
        return float(whole) if number % 3 else whole
    alphabet = _ALPHABETS[drawn % len(_ALPHABETS)]
    letters = (alphabet[_drawn("letter", number, i) % len(alphabet)] for i in range(1 + drawn % 23))
    return "".join(letters)


def _drawn(*what: object) -> int:
    return murmur3_x86_32(repr(what).encode())


def _vector(salt: str, unit: Any) -> dict[str, Any]:
    text = _text(unit)
    h = None if text is None else murmur3_x86_32(f"{salt}.{text}".encode())
    bucket = None if h is None else (h * 100_000) >> 32
    return {"salt": salt, "unit": unit, "hash": h, "bucket": bucket}


def _text(unit: Any) -> str | None:
    """Return a unit as the text that is hashed; None for what is no unit."""
    if isinstance(unit, str):
        return unit or None
    if isinstance(unit, bool) or not isinstance(unit, (int, float)):
        return None
    whole = abs(unit) < 2**53 and unit == int(unit)
    return str(int(unit)) if whole else None


if __name__ == "__main__":
    PATH.write_text(document())
