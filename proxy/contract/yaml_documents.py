"""YAML as the JSON that its author means: for files of other systems, which are often written so.

Plain words are read by YAML 1.2's core schema, as Go's and JavaScript's libraries do: `on`, `yes`
and dates are text, keys are always text, `true`, `null` and numbers are what they look like. What
readers of YAML disagree about is refused, so that nobody guesses: numbers with leading zeros,
numbers that JSON has not, tags of a language, several documents.

Rules:
- The parser gives events; the tree is built here, without recursion and with bounds: depth, and
  nodes with every alias counted as what it stands for, so that a small file cannot become a large
  document.
- What is wrong with one place costs only what that is in: it is told with its pointer and line, and
  `0` stands in its place, wherever an alias brings it, too. A key that is there twice is told with
  both lines. What is no YAML at all, or beyond the bound of nodes, refuses the file.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode
from proxy.contract.mending import MAX_FLAWS
from proxy.contract.problems import Problem, pointer
from proxy.contract.strict_json import MAX_DEPTH

__all__ = ["MAX_NODES", "BadYaml", "YamlDocument", "lines_of", "read_yaml"]

MAX_NODES = 2_000_000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+(\.[0-9]*)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_MAX_DIGITS = 400
_OUT_OF_RANGE = ProblemCode.NUMBER_OUT_OF_RANGE
_MAX_POINTERS = 4_000_000  # characters of all pointers to mistakes


class BadYaml(Exception):
    """A document cannot be read; the text says why, and the line."""


class YamlDocument(NamedTuple):
    """What a file holds, as decoded JSON, and its mistakes, with pointers into it."""

    document: Any
    flaws: list[Problem]


class _Wrong(Exception):
    """One value cannot be read; the text says why, and the line."""

    def __init__(self, message: str, code: ProblemCode = ProblemCode.MALFORMED_JSON) -> None:
        super().__init__(message)
        self.code = code


class _Open:
    """A mapping or a list that is being read."""

    def __init__(self, value: Any, anchor: str | None, line: int, *, is_key: bool = False) -> None:
        self.value = value
        self.anchor = anchor
        self.line = line
        self.is_key = is_key
        self.size = 1
        self.key: str | None = None
        self.lines: dict[str, int] = {}
        self.merged: list[tuple[Any, int]] = []
        self.flaw: _Wrong | None = None
        """One of those within, for whoever is given all of it by an alias."""


class _Known(NamedTuple):
    """What an anchor stands for."""

    value: Any
    size: int
    flaw: _Wrong | None = None


def read_yaml(data: bytes) -> YamlDocument:
    """Return the one document of a YAML file, and what in it could not be read in one way.

    Raises:
        BadYaml: it is none, or more than can be read.
    """
    builder = _built(data, ())
    return YamlDocument(builder.root, builder.flaws)


def lines_of(data: bytes, pointers: Collection[str]) -> dict[str, int]:
    """Return the lines on which what the pointers name begins, or the nearest thing around it.

    Raises:
        BadYaml: as `read_yaml` does.
    """
    wanted = {
        "/".join(steps[:count])
        for steps in (where.split("/") for where in pointers)
        for count in range(2, len(steps) + 1)
    }
    found = _built(data, wanted).lines
    lines = {}
    for where in pointers:
        near = where
        while near and near not in found:
            near = near.rpartition("/")[0]
        lines[where] = found.get(near, 1)
    return lines


def _built(data: bytes, wanted: Collection[str]) -> "_Builder":
    import yaml  # most sidecars read none

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = data.decode("utf-8-sig")
        builder = _Builder(yaml, wanted)
        builder.build(yaml.parse(text, Loader=loader))
    except UnicodeDecodeError as error:
        raise BadYaml(f"it is no UTF-8, at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", at line {mark.line + 1}, column {mark.column + 1}"
        why = getattr(error, "problem", None) or "characters that YAML does not allow"
        raise BadYaml(f"it is no YAML: {why}{where}") from None
    except RecursionError:
        raise BadYaml("it is nested too deep to be read") from None
    return builder


class _Builder:
    def __init__(self, yaml: Any, wanted: Collection[str] = ()) -> None:
        self.root: Any = None
        self.flaws: list[Problem] = []
        self.lines: dict[str, int] = {}
        """On which line is what is wanted, by pointer."""
        self._yaml = yaml
        self._wanted = wanted
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Known] = {}
        self._nodes = 0
        self._documents = 0
        self._skipped = 0  # depth within what is too deep
        self._pointers = 0

    def build(self, events: Any) -> None:
        """Read the document that events tell of."""
        y = self._yaml
        handlers: dict[type, Callable[[Any], None]] = {
            y.DocumentStartEvent: self._start_document,
            y.AliasEvent: self._alias,
            y.ScalarEvent: self._scalar,
            y.MappingStartEvent: lambda event: self._open({}, event),
            y.SequenceStartEvent: lambda event: self._open([], event),
            y.MappingEndEvent: self._close,
            y.SequenceEndEvent: self._close,
        }
        for event in events:
            handle = handlers.get(type(event))
            if handle is not None:
                handle(event)

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise BadYaml(f"there is a second document at line {_line(event)}; give one")

    def _open(self, value: Any, event: Any) -> None:
        if self._skipped:
            self._skipped += 1
            return
        line = _line(event)
        is_key = self._is_key(line)
        if len(self._stack) >= MAX_DEPTH:
            self._skipped = 1
            message = f"it is nested deeper than {MAX_DEPTH}, at line {line}"
            wrong = self._tell(_Wrong(message, ProblemCode.TOO_DEEP))
            self._know(event, 0, 1, wrong)
            if not is_key:
                self._add(0, 1, line)
            return
        self._see(line)
        wanted = "map" if isinstance(value, dict) else "seq"
        opened = _Open(value, event.anchor, line, is_key=is_key)
        if event.tag not in (None, "!", _TAG + wanted):
            message = f"the tag {event.tag[:80]} at line {line} is none of JSON"
            opened.flaw = self._tell(_Wrong(message))
        self._stack.append(opened)

    def _close(self, event: Any) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        done = self._stack.pop()
        for value, line in done.merged:
            if not _merge(done.value, value):
                message = f"what << merges at line {line} is no mapping"
                done.flaw = self._tell(_Wrong(message))
        if done.flaw is not None and self._stack:
            self._stack[-1].flaw = done.flaw
        if done.anchor is not None:
            self._anchors[done.anchor] = _Known(done.value, done.size, done.flaw)
        if done.is_key:
            self._count(done.size)
        else:
            self._add(done.value, done.size, done.line)

    def _alias(self, event: Any) -> None:
        if self._skipped:
            return
        line = _line(event)
        if self._is_key(line):
            return
        self._see(line)
        known = self._anchors.get(event.anchor)
        if known is None:
            message = f"the alias *{event.anchor[:80]} at line {line} stands for nothing yet"
            known = _Known(0, 1, self._tell(_Wrong(message)))
        elif known.flaw is not None:
            self._tell(known.flaw)
        self._add(known.value, known.size, line)

    def _scalar(self, event: Any) -> None:
        if self._skipped:
            return
        line = _line(event)
        above = self._stack[-1] if self._stack else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            self._key(above, event, line)
            return
        self._see(line)
        flaw = None
        try:
            value = _value(event, line)
        except _Wrong as wrong:
            value, flaw = 0, self._tell(wrong)
        self._know(event, value, 1, flaw)
        self._add(value, 1, line)

    def _key(self, above: _Open, event: Any, line: int) -> None:
        key = event.value
        if key == _MERGE and event.implicit[0]:
            above.key = key
            return
        first = above.lines.setdefault(key, line)
        is_twice = first != line or key in above.value
        above.value[key] = None  # takes its place in the order
        above.key = key
        self._see(line)
        if is_twice:
            message = f"the key {key[:80]!r} at line {line} is at line {first} already"
            self._tell(_Wrong(message, ProblemCode.DUPLICATE_KEY))
        self._know(event, key, 1)

    def _is_key(self, line: int) -> bool:
        """Return whether a key is to come, told as a mistake, since what comes is no text."""
        above = self._stack[-1] if self._stack else None
        if above is None or not isinstance(above.value, dict) or above.key is not None:
            return False
        above.key = f"? at line {line}"
        self._tell(_Wrong(f"the key at line {line} is no plain text"))
        return True

    def _know(self, event: Any, value: Any, size: int, flaw: _Wrong | None = None) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = _Known(value, size, flaw)

    def _tell(self, wrong: _Wrong) -> _Wrong:
        """Note a mistake at the place that is read."""
        where = self._where()
        self._pointers += len(where)
        if len(self.flaws) == MAX_FLAWS or self._pointers > _MAX_POINTERS:
            first = self.flaws[0].message if self.flaws else str(wrong)
            raise BadYaml(f"it has more than {MAX_FLAWS} mistakes; the first: {first}")
        self.flaws.append(Problem(where, wrong.code, str(wrong)))
        if self._stack:
            self._stack[-1].flaw = wrong
        return wrong

    def _where(self) -> str:
        path = [
            str(each.key) if isinstance(each.value, dict) else len(each.value)
            for each in self._stack
            if not isinstance(each.value, dict) or each.key is not None
        ]
        return pointer(*path)

    def _see(self, line: int) -> None:
        """Note the line of what is wanted."""
        if self._wanted and (where := self._where()) in self._wanted:
            self.lines.setdefault(where, line)

    def _count(self, size: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise BadYaml(f"it has more than {MAX_NODES} nodes with what its aliases stand for")

    def _add(self, value: Any, size: int, line: int) -> None:
        self._count(size)
        if not self._stack:
            self.root = value
            return
        above = self._stack[-1]
        above.size += size
        if isinstance(above.value, list):
            above.value.append(value)
            return
        key, above.key = above.key, None
        if key == _MERGE and _MERGE not in above.lines:
            above.merged.append((value, line))
        else:
            above.value[key] = value


def _merge(into: dict[str, Any], value: Any) -> bool:
    """Add the members of a merge key's value that are not there; return whether it has such."""
    for members in value if isinstance(value, list) else [value]:
        if not isinstance(members, dict):
            return False
        for name, member in members.items():
            into.setdefault(name, member)
    return True


def _value(event: Any, line: int) -> Any:
    tag, text = event.tag, event.value
    if event.implicit[0] and tag in (None, "!"):
        return _plain(text, line)
    if tag in (None, "!", _TAG + "str"):
        return text
    value = _plain(text, line)
    kinds = {"null": (type(None),), "bool": (bool,), "int": (int,), "float": (int, float)}
    allowed = kinds.get(tag.removeprefix(_TAG), ()) if tag.startswith(_TAG) else ()
    if type(value) not in allowed:
        raise _Wrong(f"the tag {tag[:80]} at line {line} is none of JSON, or does not fit")
    return float(value) if tag == _TAG + "float" else value


def _plain(text: str, line: int) -> Any:
    """Return what a word without quotes is."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    if len(text) > _MAX_DIGITS and (_INTEGER.fullmatch(text) or _BASED.fullmatch(text)):
        raise _Wrong(f"the number at line {line} is too long", _OUT_OF_RANGE)
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _AMBIGUOUS.fullmatch(text):
        raise _Wrong(f"{text[:40]} at line {line} is read in several ways; put text in quotes")
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise _Wrong(f"the number at line {line} is too large", _OUT_OF_RANGE)
        return value
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
