"""Regular expressions, by RE2: a pattern may match anywhere in a string, and one of them suffices.

RE2 takes time linear in the string whatever the pattern, and has no lookaround and no
backreferences, because those are what cannot be had in linear time. Strings are matched as UTF-8,
so that `.` is a character; a string with a lone surrogate has no UTF-8 and matches nothing, and so
does one longer than `MAX_MATCHED_CHARS`.

All patterns of a leaf that are more than a text are one `re2.Set`, which is a single automaton. It
is built lazily, within `MAX_PATTERN_BYTES`, and starts anew when that is full; unlike a single
pattern's it never falls back to a slower way, and `Compile` refuses patterns with which the memory
would not do, so that matching never fails.

A pattern that is only a text, with or without an anchor at either end, is not given to RE2: what
Python does with strings is the same and takes a twentieth of the time.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from proxy.contract.codes import ProblemCode
from proxy.engine.limits import (
    MAX_MATCHED_CHARS,
    MAX_PATTERN_BYTES,
    MAX_PATTERN_CHARS,
)
from proxy.engine.operators.model import Fault, Leaf, Options

__all__ = ["Plain", "check_patterns", "match_patterns", "plain", "searched"]

Kind = Literal["is", "starts", "ends", "has"]


class Plain(NamedTuple):
    """A pattern that is only a text: the string is it, starts or ends with it, or has it."""

    kind: Kind
    text: str


_PLAIN = re.compile(
    r"""
    (?P<start> \^ | \\A | (?:\.\*)* )
    (?P<text> (?: [^\\.+*?()|\[\]{}^$] | \\[\\.+*?()|\[\]{}^$/\-@ ] )* )
    (?P<end> \$ | \\z | (?:\.\*)* )
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def plain(pattern: str) -> Plain | None:
    """Return what a pattern comes to when it is only a text, None when it is more.

    `.*` at an end without an anchor adds nothing: it may match nothing.
    """
    match = _PLAIN.fullmatch(pattern)
    if match is None:
        return None
    from_start = match["start"] in ("^", r"\A")
    to_end = match["end"] in ("$", r"\z")
    text = _ESCAPED.sub(r"\1", match["text"])
    kinds: dict[tuple[bool, bool], Kind] = {
        (True, True): "is",
        (True, False): "starts",
        (False, True): "ends",
        (False, False): "has",
    }
    return Plain(kinds[from_start, to_end], text)


def match_patterns(values: Sequence[Any], _options: Options) -> Leaf:
    """Return whether one of the patterns matches a string."""
    texts: dict[Kind, list[str]] = {}
    others = []
    for pattern in dict.fromkeys(values):
        simple = plain(pattern)
        if simple is None:
            others.append(pattern)
        else:
            texts.setdefault(simple.kind, []).append(simple.text)
    leaves = [_TEXT_LEAVES[kind](of_kind) for kind, of_kind in texts.items()]
    if others:
        leaves.append(Leaf("{f}.__class__ is str and {0}({x})", (searched(tuple(others)),)))
    if len(leaves) == 1:
        return leaves[0]
    return _either(leaves)


def _is(texts: list[str]) -> Leaf:
    return Leaf("{f}.__class__ is str and {x} in {0}", (frozenset(texts),))


def _starts(texts: list[str]) -> Leaf:
    template = "{f}.__class__ is str and {x}.startswith({0}) and {1}({x})"
    return Leaf(template, (tuple(texts), _is_matchable))


def _ends(texts: list[str]) -> Leaf:
    template = "{f}.__class__ is str and {x}.endswith({0}) and {1}({x})"
    return Leaf(template, (tuple(texts), _is_matchable))


def _has(texts: list[str]) -> Leaf:
    if len(texts) == 1:
        template = "{f}.__class__ is str and {0} in {x} and {1}({x})"
        return Leaf(template, (texts[0], _is_matchable))

    def has_any(value: str) -> bool:
        return any(text in value for text in texts)

    template = "{f}.__class__ is str and {0}({x}) and {1}({x})"
    return Leaf(template, (has_any, _is_matchable))


_TEXT_LEAVES: dict[Kind, Callable[[list[str]], Leaf]] = {
    "is": _is,
    "starts": _starts,
    "ends": _ends,
    "has": _has,
}


def _either(leaves: list[Leaf]) -> Leaf:
    """Return whether one of the leaves holds."""
    parts = []
    literals: list[Any] = []
    for leaf in leaves:
        names = [f"{{{len(literals) + i}}}" for i in range(len(leaf.literals))]
        test = leaf.template.removeprefix("{f}.__class__ is str and ")
        parts.append(f"({test.format(*names, x='{x}')})")
        literals += leaf.literals
    return Leaf(f"{{f}}.__class__ is str and ({' or '.join(parts)})", tuple(literals))


def _is_matchable(value: str) -> bool:
    """Return whether RE2 would be given a string."""
    if len(value) > MAX_MATCHED_CHARS:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def searched(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a test whether RE2 finds one of the patterns in a string."""
    matches = _set(patterns).Match

    def is_found(value: str) -> bool:
        if len(value) > MAX_MATCHED_CHARS:
            return False
        try:
            return matches(value.encode()) is not None
        except UnicodeEncodeError:
            return False

    return is_found


def _re2() -> Any:
    """Return RE2, which is loaded when the first pattern needs it: 1.6 MB that many do without."""
    import re2  # type: ignore[import-untyped]  # a wheel without types

    return re2


def _re2_options() -> Any:
    options = _re2().Options()
    options.max_mem = MAX_PATTERN_BYTES
    options.log_errors = False  # they are returned; a library does not write to stderr
    options.never_capture = True
    return options


_sets: OrderedDict[tuple[str, ...], Any] = OrderedDict()
"""Automatons by their patterns, the one asked for last at the end.

Kept because validation makes what compilation uses, and flags share patterns.
"""

_MOST_SETS = 128


def _set(patterns: tuple[str, ...]) -> Any:
    """Return patterns as one automaton; raises `re2.error` where the memory would not do."""
    for _ in _setting(patterns):
        pass
    return _sets[patterns]


def _setting(patterns: tuple[str, ...]) -> Iterator[None]:
    """Put the automaton of some patterns into `_sets`; raises as `_set`."""
    if patterns in _sets:
        _sets.move_to_end(patterns)
        return
    automaton = _re2().Set.SearchSet(_re2_options())
    for number, pattern in enumerate(patterns, 1):
        automaton.Add(pattern.encode())
        if number % _PATTERNS_A_STEP == 0:
            yield
    automaton.Compile()
    _sets[patterns] = automaton
    if len(_sets) > _MOST_SETS:
        _sets.popitem(last=False)


_PATTERNS_A_STEP = 2  # of up to a quarter of a millisecond


def check_patterns(values: Sequence[Any], _options: Options) -> Iterator[Fault | None]:
    """Yield what is no pattern, and patterns that together are too large."""
    code = ProblemCode.INVALID_PATTERN
    others = []
    wrong = False
    for index, pattern in enumerate(values):
        where = ("values", index)
        yield None
        if len(pattern) > MAX_PATTERN_CHARS:
            message = f"a pattern has at most {MAX_PATTERN_CHARS} characters"
            yield Fault(where, ProblemCode.TOO_MANY, message, "divide it by its alternatives")
            wrong = True
            continue
        reason = _reason(pattern)
        if reason is not None:
            yield Fault(where, code, f"no pattern of RE2: {reason}", _hint(reason))
            wrong = True
        elif plain(pattern) is None:
            others.append(pattern)
    if wrong or not others:
        return
    yield None
    try:
        yield from _setting(tuple(dict.fromkeys(others)))
    except _re2().error:
        message = "the patterns of this leaf are too large together"
        hint = r"divide them over several leaves; classes such as \pL repeated are what is large"
        yield Fault(("values",), code, message, hint)


def _reason(pattern: str) -> str | None:
    """Return why a pattern is none, in the words of RE2, None for a good one."""
    try:
        encoded = pattern.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    if plain(pattern) is not None:
        return None
    try:
        _re2().Set.SearchSet(_re2_options()).Add(encoded)
    except _re2().error:
        pass
    else:
        return None
    try:
        _re2().compile(encoded, _re2_options())
    except _re2().error as error:
        return _text(error)
    return "it cannot be read"


def _text(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _hint(reason: str) -> str:
    """Return what to do about it."""
    if "(?=" in reason or "(?!" in reason or "(?<" in reason:
        return "there is no lookaround; say the second test in a leaf of its own, with negate"
    if "escape sequence: \\" in reason and reason[-1:].isdigit():
        return "there are no backreferences"
    if reason.endswith("\\Z"):
        return r"the end of the text is \z, or $"
    if "repetition size" in reason:
        return "repeat at most 1,000 times in all"
    return "the syntax is that of RE2: https://github.com/google/re2/wiki/Syntax"
