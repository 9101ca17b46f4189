"""Regular expressions of JavaScript, matched by RE2 with the same result.

GrowthBook's patterns are JavaScript's, without the `u` flag, which sees a text as 16-bit code units
and has classes and escapes of its own. A pattern is taken apart and written anew for RE2:

- what matches by code units stays so: one that is half of a character is written, in the pattern
  and in the text that it is matched with, as the code point `0x100000` above it, which no text has;
- `.`, `\\s` and empty classes are written out; letters that only RE2 has a meaning for, such as
  `\\A`, become the letters they are in JavaScript;
- without regard to case, a letter is written as a class of those that JavaScript takes for the
  same: those with one upper case. RE2 goes further, and takes the Kelvin sign for a `k`;
- groups capture nothing, as only the answer whether there is a match counts.

What JavaScript has and RE2 has not, lookaround and references to groups, is told apart from what
JavaScript itself refuses: the first is `UNSUPPORTED`, the second matches nothing, as GrowthBook has
it. Texts longer than `MAX_MATCHED_CHARS` match nothing.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import re2  # type: ignore[import-untyped]  # a wheel without types

from proxy.engine.limits import MAX_MATCHED_CHARS, MAX_PATTERN_BYTES, MAX_PATTERN_CHARS
from proxy.engine.operators.patterns import Plain, plain

__all__ = ["InvalidPattern", "Pattern", "UnsupportedPattern", "compile_pattern"]


class InvalidPattern(ValueError):
    """JavaScript has no such pattern."""


class UnsupportedPattern(ValueError):
    """JavaScript has such a pattern, and it cannot be matched here."""


class Pattern(NamedTuple):
    """A test of a text; `plain` is what the pattern comes to, when that is only a text."""

    found: Callable[[str], bool]
    plain: Plain | None = None


def compile_pattern(pattern: str, *, fold: bool) -> Pattern:
    """Return a pattern compiled; with `fold` without regard to case.

    Raises:
        InvalidPattern: JavaScript would, too.
        UnsupportedPattern: RE2 cannot match it, or not within the memory that a leaf may have.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise UnsupportedPattern(f"a pattern has at most {MAX_PATTERN_CHARS} characters")
    simple = None if fold else _plain(pattern)
    if simple is not None:
        return Pattern(_PLAIN_TESTS[simple.kind](simple.text), simple)
    return Pattern(_searched(_Writer(pattern, fold=fold).written()))


def _plain(pattern: str) -> Plain | None:
    r"""Return the text that a pattern comes to; `\A` and `\z` are letters in JavaScript."""
    if r"\A" in pattern or r"\z" in pattern or _HALVES.search(pattern):
        return None
    return plain(pattern)


_PLAIN_TESTS: dict[str, Callable[[str], Callable[[str], bool]]] = {
    "is": lambda text: lambda value: value == text,
    "starts": lambda text: lambda value: value.startswith(text),
    "ends": lambda text: lambda value: value.endswith(text),
    "has": lambda text: lambda value: text in value,
}


def _searched(written: str) -> Callable[[str], bool]:
    options = re2.Options()
    options.max_mem = MAX_PATTERN_BYTES
    options.log_errors = False
    options.never_capture = True
    encoded = written.encode()
    automaton = re2.Set.SearchSet(options)
    try:
        automaton.Add(encoded)
    except re2.error:
        raise _fault(encoded, options) from None
    try:
        automaton.Compile()
    except re2.error:
        raise UnsupportedPattern("the pattern is too large") from None
    matches = automaton.Match

    def found(value: str) -> bool:
        if len(value) > MAX_MATCHED_CHARS:
            return False
        return matches((value if value.isascii() else _in_units(value)).encode()) is not None

    return found


def _fault(encoded: bytes, options: re2.Options) -> ValueError:
    """Return what is wrong with a pattern that RE2 refuses."""
    try:
        re2.compile(encoded, options)
    except re2.error as error:
        words = error.args[0] if error.args else b""
        reason = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
        if any(words in reason for words in _OF_SIZE):
            return UnsupportedPattern(reason)
        return InvalidPattern(reason)
    return UnsupportedPattern("the pattern is too large")


_OF_SIZE = ("repetition size", "too large", "too deep")
"""In what RE2 says of patterns that are only too much for it."""


_HALF = range(0xD800, 0xE000)
_HALVES = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
_SHIFT = 0x100000


def _units_of(text: str) -> list[int]:
    encoded = text.encode("utf-16-le", "surrogatepass")
    return [low | high << 8 for low, high in zip(encoded[::2], encoded[1::2], strict=True)]


def _point(unit: int) -> int:
    """Return the code point that a code unit is matched as."""
    return unit + _SHIFT if unit in _HALF else unit


def _in_units(value: str) -> str:
    """Return a text with each half of a character as a code point of its own."""
    if not _HALVES.search(value):
        return value
    return "".join(chr(_point(unit)) for unit in _units_of(value))


# Case

_Cases = dict[int, tuple[int, ...]]
"""From a code unit to the others that are the same letter."""

_ASCII = range(0x80)
_UNITS = range(0x10000)


@cache
def _all_cases() -> _Cases:
    alike: dict[int, list[int]] = {}
    for unit in _UNITS:
        alike.setdefault(_canonical(unit), []).append(unit)
    groups = (group for group in alike.values() if len(group) > 1)
    return {
        unit: tuple(other for other in group if other != unit) for group in groups for unit in group
    }


def _canonical(unit: int) -> int:
    """Return what a code unit is compared as: its upper case, where that is one code unit.

    But none that is ASCII, of one that is not.
    """
    upper = chr(unit).upper()
    if len(upper) != 1 or ord(upper) not in _UNITS:
        return unit
    found = ord(upper)
    return unit if found in _ASCII and unit not in _ASCII else found


# Writing a pattern anew

_LINE_ENDS = r"\n\r\x{2028}\x{2029}"
_SPACES = r"\t-\r \x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}"
_NO_SPACES = (
    r"\x00-\x08\x0E-\x1F\x21-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}"
    r"\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{FEFE}\x{FF00}-\x{10FFFF}"
)
_CLASSES = {"d": r"\d", "D": r"\D", "w": r"\w", "W": r"\W", "s": _SPACES, "S": _NO_SPACES}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_NOTHING = r"[^\x00-\x{10FFFF}]"
_ANYTHING = r"[\x00-\x{10FFFF}]"

_REPEAT = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")
_NAME = re.compile(r"<[A-Za-z_$][A-Za-z0-9_$]*>")
_HEX = {"x": re.compile(r"[0-9A-Fa-f]{2}"), "u": re.compile(r"[0-9A-Fa-f]{4}")}


class _Writer:
    """Goes through a pattern once; `_at` is where it is."""

    def __init__(self, pattern: str, *, fold: bool) -> None:
        # by code units, each a character: nothing of the syntax is a half
        self._text = "".join(map(chr, _units_of(pattern)))
        self._at = 0
        self._cases: _Cases = _all_cases() if fold else {}

    def written(self) -> str:
        """Return the pattern for RE2."""
        pieces: list[str] = []
        repeatable = False
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            piece, may_repeat = self._piece(char)
            if char in "*+?" or (char == "{" and piece[0] == "{"):
                if not repeatable:
                    raise InvalidPattern("nothing to repeat")
                if self._text.startswith("?", self._at):
                    piece += "?"
                    self._at += 1
            pieces.append(piece)
            repeatable = may_repeat
        return "".join(pieces)

    def _piece(self, char: str) -> tuple[str, bool]:
        """Return what a character, and what belongs to it, becomes, and whether `*` may follow."""
        match char:
            case "\\":
                return self._escape()
            case "[":
                return self._class(), True
            case "(":
                return self._group(), False
            case ".":
                return f"[^{_LINE_ENDS}]", True
            case "^":
                return r"\A", False
            case "$":
                return r"\z", False
            case ")":
                return ")", True
            case "*" | "+" | "?" | "|":
                return char, False
            case "{":
                repeat = _REPEAT.match(self._text, self._at - 1)
                if repeat is None:
                    return self._literal(ord(char)), True
                self._at = repeat.end()
                least, _, most = repeat[0].strip("{}").partition(",")
                if most and int(least) > int(most):
                    raise InvalidPattern("the repetition is out of order")
                return repeat[0], False
            case _:
                return self._literal(ord(char)), True

    def _literal(self, unit: int) -> str:
        others = self._cases.get(unit)
        if others is None:
            return _literal(unit)
        return f"[{_hex(unit)}{''.join(map(_hex, others))}]"

    def _group(self) -> str:
        if not self._text.startswith("?", self._at):
            return "(?:"
        rest = self._text[self._at + 1 : self._at + 3]
        if rest.startswith(":"):
            self._at += 2
            return "(?:"
        if rest[:1] in ("=", "!") or rest in ("<=", "<!"):
            raise UnsupportedPattern("RE2 has no lookaround")
        name = _NAME.match(self._text, self._at + 1)
        if name is not None:
            self._at = name.end()
            return "(?:"
        if rest[:1] in tuple("ims-"):
            # new in ECMAScript 2025: some of GrowthBook's SDKs refuse it and some do not
            raise UnsupportedPattern("flags within a pattern mean other things in other SDKs")
        raise InvalidPattern("no such group")

    def _escape(self) -> tuple[str, bool]:
        char = self._next()
        if char in _CLASSES:
            return f"[{_CLASSES[char]}]", True
        if char in ("b", "B"):
            return "\\" + char, False
        if char == "k" and "(?<" in self._text:
            raise UnsupportedPattern("RE2 has no references to groups")
        return self._literal(self._escaped(char)), True

    def _escaped(self, char: str) -> int:
        """Return the code unit that an escape of one stands for; `char` follows the `\\`."""
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char.isascii() and char.isdigit():
            if char != "0" or self._text[self._at : self._at + 1].isdigit():
                raise UnsupportedPattern("RE2 has no references to groups")
            return 0
        if char in _HEX:
            found = _HEX[char].match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                return int(found[0], 16)
        if char == "c":
            letter = self._text[self._at : self._at + 1]
            if not (letter.isascii() and letter.isalpha()):
                self._at -= 1  # the backslash is one, and `c` comes next
                return ord("\\")
            self._at += 1
            return ord(letter) % 32
        return ord(char)

    def _class(self) -> str:
        negated = self._text.startswith("^", self._at)
        self._at += negated
        if self._text.startswith("]", self._at):
            self._at += 1
            return _ANYTHING if negated else _NOTHING
        pieces: list[str] = []
        while not self._text.startswith("]", self._at):
            low = self._member()
            if self._text.startswith("-", self._at) and self._text[
                self._at + 1 : self._at + 2
            ] not in ("]", ""):
                self._at += 1
                high = self._member()
                if isinstance(low, int) and isinstance(high, int):
                    if low > high:
                        raise InvalidPattern("the range is out of order")
                    pieces.append(_range(low, high) + self._others(low, high))
                    continue
                pieces += [self._member_text(low), _hex(ord("-")), self._member_text(high)]
                continue
            pieces.append(self._member_text(low))
        self._at += 1
        return f"[{'^' if negated else ''}{''.join(pieces)}]"

    def _member(self) -> int | str:
        """Return the next code unit of a class, or the text of a class within it."""
        char = self._next()
        if char != "\\":
            return ord(char)
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char]
        return 8 if char == "b" else self._escaped(char)

    def _member_text(self, member: int | str) -> str:
        if isinstance(member, str):
            return member
        return _hex(member) + self._others(member, member)

    def _others(self, low: int, high: int) -> str:
        """Return what a range holds beside itself where case does not count."""
        cased = self._cases
        units = range(low, high + 1) if high - low < len(cased) else cased
        found = {
            other
            for unit in units
            if low <= unit <= high
            for other in cased.get(unit, ())
            if not low <= other <= high
        }
        return "".join(map(_hex, sorted(found)))

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise InvalidPattern("the pattern ends too early")
        self._at += 1
        return self._text[self._at - 1]


def _range(low: int, high: int) -> str:
    """Return a range of code units; halves of characters are elsewhere, so it may be in parts."""
    parts = []
    for start, end in (
        (low, min(high, 0xD7FF)),
        (max(low, 0xD800), min(high, 0xDFFF)),
        (max(low, 0xE000), high),
    ):
        if start <= end:
            parts.append(f"{_hex(start)}-{_hex(end)}")
    return "".join(parts)


def _literal(unit: int) -> str:
    char = chr(unit)
    return char if char.isascii() and char.isalnum() else _hex(unit)


def _hex(unit: int) -> str:
    return f"\\x{{{_point(unit):X}}}"
