"""How large a definition is before it is decoded. Decoding is one step, so its size is bounded.

What it takes depends less on bytes than on how many things there are: a text of a megabyte is
copied in a fifth of a millisecond, as many brackets make half a million lists.
"""

import re
from typing import TypeVar

from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem
from proxy.contract.snapshot import Entry
from proxy.contract.steps import Steps
from proxy.engine.limits import MAX_DEFINITION_BYTES, MAX_DEFINITION_PIECES

__all__ = ["LARGE_BYTES", "decoded", "oversize"]

T = TypeVar("T")

LARGE_BYTES = 32 * 1024
"""Definitions up to this size are decoded, checked and made programs of in less than a millisecond
or two, whatever they hold; nothing has to be counted."""

_WEIGHTS = ((b",", 1), (b"[", 2), (b"{", 6))

_REST_OF_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)

_TEXTS_A_STEP = 500


def decoded(entry: Entry, kind: type[T]) -> Steps[tuple[T | None, list[Problem]]]:
    """Return what `decode` does of a large entry, or None and why it is too large."""
    problem = yield from oversize(entry.line)
    if problem is not None:
        return None, [problem]
    yield
    made = decode(entry.definition, kind)
    yield
    return made


def oversize(line: bytes) -> Steps[Problem | None]:
    """Return why a definition is too large to be decoded, None for one that is not.

    `line` is JSON, or looks like it; what is around the definition may be counted with it.
    """
    if len(line) > MAX_DEFINITION_BYTES:
        message = f"{len(line)} bytes as JSON, at most {MAX_DEFINITION_BYTES} are read"
        return Problem("", ProblemCode.TOO_MANY, message, _HINT)
    if _weight(line, 0, len(line)) <= MAX_DEFINITION_PIECES:
        return None
    yield
    # Those in texts do not count: walk over the texts.
    count = texts = end = 0
    while True:
        start = line.find(b'"', end)
        stop = start if start >= 0 else len(line)
        count += _weight(line, end, stop)
        if count > MAX_DEFINITION_PIECES:
            message = "it consists of too many members and elements to be read"
            return Problem("", ProblemCode.TOO_MANY, message, _HINT)
        if start < 0:
            return None
        rest = _REST_OF_TEXT.match(line, start + 1)
        end = rest.end() if rest is not None else start + 1
        texts += 1
        if texts % _TEXTS_A_STEP == 0:
            yield


def _weight(line: bytes, start: int, end: int) -> int:
    return sum([line.count(piece, start, end) * weight for piece, weight in _WEIGHTS])


_HINT = "move lists of units into segments, and large values into files that a flag names"
