"""YAML as the JSON that its author means: for files of other systems, which are often written so.

Plain words are read by YAML 1.2's core schema, as Go's and JavaScript's libraries do: `on`, `yes`
and dates are text, keys are always text, `true`, `null` and numbers are what they look like. What
readers of YAML disagree about is refused, so that nobody guesses: numbers with leading zeros,
numbers that JSON has not, tags of a language, several documents.

Rules:
- The parser gives events; the tree is built here, without recursion and with bounds: depth, and
  nodes with every alias counted as what it stands for, so that a small file cannot become a large
  document.
- A key that is there twice is refused, with both lines.
"""

import re
from collections.abc import Callable
from typing import Any

from proxy.contract.strict_json import MAX_DEPTH

__all__ = ["MAX_NODES", "BadYaml", "read_yaml"]

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


class BadYaml(Exception):
    """A document cannot be read; the text says why, and the line."""


class _Open:
    """A mapping or a list that is being read."""

    def __init__(self, value: Any, anchor: str | None, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.line = line
        self.size = 1
        self.key: str | None = None
        self.lines: dict[str, int] = {}
        self.merged: list[tuple[Any, int]] = []


def read_yaml(data: bytes) -> Any:
    """Return the one document of a YAML file, as decoded JSON.

    Raises:
        BadYaml: it is none, or one that could be read in several ways.
    """
    import yaml  # most sidecars read none

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = data.decode("utf-8-sig")
        return _Builder(yaml).build(yaml.parse(text, Loader=loader))
    except UnicodeDecodeError as error:
        raise BadYaml(f"it is no UTF-8, at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", at line {mark.line + 1}, column {mark.column + 1}"
        why = getattr(error, "problem", None) or "characters that YAML does not allow"
        raise BadYaml(f"it is no YAML: {why}{where}") from None
    except RecursionError:
        raise BadYaml("it is nested too deep to be read") from None


class _Builder:
    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._documents = 0
        self._root: Any = None

    def build(self, events: Any) -> Any:
        """Return the document that events tell of."""
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
        return self._root

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise BadYaml(f"there is a second document at line {_line(event)}; give one")

    def _open(self, value: Any, event: Any) -> None:
        line = _line(event)
        if len(self._stack) >= MAX_DEPTH:
            raise BadYaml(f"it is nested deeper than {MAX_DEPTH}, at line {line}")
        wanted = "map" if isinstance(value, dict) else "seq"
        if event.tag not in (None, "!", _TAG + wanted):
            raise BadYaml(f"the tag {event.tag[:80]} at line {line} is none of JSON")
        if self._stack:
            self._check_key(self._stack[-1], line)
        self._stack.append(_Open(value, event.anchor, line))

    def _close(self, _event: Any) -> None:
        done = self._stack.pop()
        for value, line in done.merged:
            _merge(done.value, value, line)
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, done.size)
        self._add(done.value, done.size, done.line)

    def _alias(self, event: Any) -> None:
        line = _line(event)
        known = self._anchors.get(event.anchor)
        if known is None:
            raise BadYaml(f"the alias *{event.anchor[:80]} at line {line} stands for nothing yet")
        if self._stack:
            self._check_key(self._stack[-1], line)
        self._add(*known, line)

    def _scalar(self, event: Any) -> None:
        line = _line(event)
        above = self._stack[-1] if self._stack else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            self._key(above, event, line)
            return
        value = _value(event, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._add(value, 1, line)

    def _key(self, above: _Open, event: Any, line: int) -> None:
        key = event.value
        if key == _MERGE and event.implicit[0]:
            above.key = key
            return
        first = above.lines.setdefault(key, line)
        if first != line or key in above.value:
            raise BadYaml(f"the key {key[:80]!r} at line {line} is at line {first} already")
        above.value[key] = None  # takes its place in the order
        above.key = key
        if event.anchor is not None:
            self._anchors[event.anchor] = (key, 1)

    def _check_key(self, above: _Open, line: int) -> None:
        if isinstance(above.value, dict) and above.key is None:
            raise BadYaml(f"the key at line {line} is no plain text")

    def _add(self, value: Any, size: int, line: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise BadYaml(f"it has more than {MAX_NODES} nodes with what its aliases stand for")
        if not self._stack:
            self._root = value
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


def _merge(into: dict[str, Any], value: Any, line: int) -> None:
    """Add the members of a merge key's value that are not there."""
    for members in value if isinstance(value, list) else [value]:
        if not isinstance(members, dict):
            raise BadYaml(f"what << merges at line {line} is no mapping")
        for name, member in members.items():
            into.setdefault(name, member)


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
        raise BadYaml(f"the tag {tag[:80]} at line {line} is none of JSON, or does not fit")
    return float(value) if tag == _TAG + "float" else value


def _plain(text: str, line: int) -> Any:
    """Return what a word without quotes is."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    if len(text) > _MAX_DIGITS and (_INTEGER.fullmatch(text) or _BASED.fullmatch(text)):
        raise BadYaml(f"the number at line {line} is too long")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _AMBIGUOUS.fullmatch(text):
        raise BadYaml(f"{text[:40]} at line {line} is read in several ways; put text in quotes")
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise BadYaml(f"the number at line {line} is too large")
        return value
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
