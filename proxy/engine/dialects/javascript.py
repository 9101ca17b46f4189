"""Values as JavaScript takes them: truth, text, numbers, equality and order of JSON values.

Systems whose rules were first written in JavaScript decide by its coercions;
this is they, by the rules of ECMA-262 for the values that JSON has.

Rules:
- Total: no JSON value raises, whatever its size or nesting, but `TooMuch` where text would become
  longer than `MAX_TEXT_CHARS`.
- Numbers are doubles: an integer beyond 2**53 is the double next to it.
- Text compares by UTF-16 code units, as JavaScript's does.
- Lists and objects are equal only to themselves. Booleans are no numbers, although Python's are.
"""

import re
from typing import Any

__all__ = [
    "MAX_TEXT_CHARS",
    "TooMuch",
    "less",
    "not_more",
    "number",
    "number_text",
    "plain_number",
    "strictly_equal",
    "text",
    "utf8",
]

MAX_TEXT_CHARS = 65_536
"""Of text that is put together at an evaluation. Nothing that names a variant, or is compared with
what was written by hand, comes near it; expressions that double text at every step do."""

_EXACT = 2**53
_NAN = float("nan")
_INFINITY = float("inf")


class TooMuch(Exception):
    """An evaluation would take more time or memory than any is worth."""


# Numbers


def plain_number(value: int | float) -> int | float:
    """Return a number as a double has it; integers that a double has exactly stay integers."""
    if value.__class__ is int and not -_EXACT <= value <= _EXACT:
        try:
            return float(value)
        except OverflowError:
            return _INFINITY if value > 0 else -_INFINITY
    return value


_SPACE = " \t\n\r\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
_SPACE += "\u2028\u2029\u202f\u205f\u3000\ufeff"

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"([+-]?)Infinity")
_BASES = {"0x": 16, "0o": 8, "0b": 2}
_DIGITS = {
    16: re.compile(r"[0-9a-fA-F]+"),
    8: re.compile(r"[0-7]+"),
    2: re.compile(r"[01]+"),
}


def number(value: Any) -> int | float:
    """Return what `Number(value)` is."""
    kind = value.__class__
    if kind is int or kind is float:
        return plain_number(value)
    if kind is bool:
        return 1 if value else 0
    if value is None:
        return 0
    if kind is str:
        return _number_of_text(value)
    if kind is list:
        return _number_of_text(text(value))
    return _NAN


def _number_of_text(value: str) -> int | float:
    if len(value) > _LONGEST_NUMBER:
        return _NAN
    stripped = value.strip(_SPACE)
    if not stripped:
        return 0
    if _DECIMAL.fullmatch(stripped):
        return float(stripped)
    base = _BASES.get(stripped[:2].lower())
    if base is not None:
        digits = stripped[2:]
        if len(digits) <= _LONGEST_DIGITS and _DIGITS[base].fullmatch(digits):
            return plain_number(int(digits, base))
        return _NAN
    infinite = _INFINITE.fullmatch(stripped)
    if infinite is not None:
        return -_INFINITY if infinite[1] == "-" else _INFINITY
    return _NAN


_LONGEST_DIGITS = 1_100
"""More binary digits than this are beyond every double."""

_LONGEST_NUMBER = 4_096
"""Characters of a text that is read as a number, which happens at every evaluation; longer ones,
which nobody has, are none."""


# Text


_LONG_FORM_BELOW = 21
"""Digits before the point from which on JavaScript writes an exponent."""

_LEAST_EXPONENT = -7
"""Exponent from which on downwards it writes one, too."""


def number_text(value: int | float) -> str:
    """Return a number as JavaScript writes it: `1`, `0.1`, `1e+21`, `NaN`."""
    value = plain_number(value)
    if value.__class__ is int:
        return str(value)
    if value != value:
        return "NaN"
    if value in (_INFINITY, -_INFINITY):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    sign, digits, exponent = _shortest(value)
    before = exponent + 1  # digits before the point
    if len(digits) <= before <= _LONG_FORM_BELOW:
        return sign + digits + "0" * (before - len(digits))
    if 0 < before <= _LONG_FORM_BELOW:
        return f"{sign}{digits[:before]}.{digits[before:]}"
    if _LEAST_EXPONENT < exponent < 0:
        return f"{sign}0.{'0' * -before}{digits}"
    rest = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{exponent:+d}"


def _shortest(value: float) -> tuple[str, str, int]:
    """Return sign, the fewest digits that are this double, and the exponent of the first."""
    sign = "-" if value < 0 else ""
    written = repr(abs(value))
    mantissa, _, exponent = written.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(whole) - 1
    if whole == "0":
        power -= 1 + len(fraction) - len(fraction.lstrip("0"))
    return sign, digits.rstrip("0"), power


def text(value: Any) -> str:
    """Return what `String(value)` is."""
    kind = value.__class__
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float:
        return number_text(value)
    if value is None:
        return "null"
    if kind is list:
        return _list_text(value)
    return "[object Object]"


def _list_text(value: list[Any]) -> str:
    """Return the items' text, commas between: those of lists in it too, and nothing for null."""
    pieces: list[str] = []
    length = 0
    stack = [iter(value)]
    empty = [True]
    while stack:
        for item in stack[-1]:
            if not empty[-1]:
                pieces.append(",")
            empty[-1] = False
            if item.__class__ is list:
                stack.append(iter(item))
                empty.append(True)
                break
            piece = "" if item is None else text(item)
            pieces.append(piece)
            length += len(piece) + 1
            if length > MAX_TEXT_CHARS:
                raise TooMuch
        else:
            stack.pop()
            empty.pop()
    return "".join(pieces)


def utf8(value: str) -> bytes:
    """Return text as UTF-8, with U+FFFD for each lone surrogate, as writers of JSON have it."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


# Equality and order


def strictly_equal(one: Any, other: Any) -> bool:
    """Return what `one === other` is."""
    kind, other_kind = one.__class__, other.__class__
    if kind is str or kind is bool:
        return kind is other_kind and bool(one == other)
    if kind is int or kind is float:
        if other_kind is int or other_kind is float:
            return bool(plain_number(one) == plain_number(other))
        return False
    return one is other


_THINGS = (list, dict)


def less(one: Any, other: Any) -> bool:
    """Return what `one < other` is."""
    one, other = _primitive(one), _primitive(other)
    if one.__class__ is str and other.__class__ is str:
        return _units(one) < _units(other) if not one.isascii() else _less_text(one, other)
    return number(one) < number(other)


def not_more(one: Any, other: Any) -> bool:
    """Return what `one <= other` is, which for NaN is not the opposite of `other < one`."""
    one, other = _primitive(one), _primitive(other)
    if one.__class__ is str and other.__class__ is str:
        return not less(other, one)
    return number(one) <= number(other)


def _primitive(value: Any) -> Any:
    return text(value) if value.__class__ in _THINGS else value


def _less_text(one: str, other: str) -> bool:
    return one < other if other.isascii() else _units(one) < _units(other)


def _units(value: str) -> bytes:
    """Return what text is ordered by: its code units, high byte first."""
    return value.encode("utf-16-be", "surrogatepass")
