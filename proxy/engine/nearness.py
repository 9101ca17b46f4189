"""Which of the names there are was meant by one that there is not. Pure, and cheap enough to ask.

Near is what differs in one place: a letter more, less or other, two letters exchanged, another
case. Names that are less alike are other names, more often than not.
"""

from collections.abc import Container, Iterable
from itertools import islice

from proxy.engine.findings import Findings

__all__ = ["meant"]

_MOST_NAMES = 5_000
"""Names that are looked at for one; most are put aside by their length."""

_MOST_HINTS = 10
"""Of a document: who has misspelled more names has misspelled one often."""

_MOST_CHARS = 128


def meant(name: str, names: Container[str], findings: Findings) -> str:
    """Return the hint for a name that is not among those there are; nothing where none is near."""
    if not isinstance(names, Iterable) or len(name) > _MOST_CHARS:
        return ""
    if findings.hints >= _MOST_HINTS:
        return ""
    findings.hints += 1
    folded, length = name.casefold(), len(name)
    looked_at, best, likeness = 0, "", 0
    for each in islice(names, _MOST_NAMES):
        looked_at += 1
        if -2 < len(each) - length < 2 and (alike := _likeness(folded, each.casefold())) > likeness:
            best, likeness = each, alike
    findings.spent += looked_at >> 2
    return f"did you mean {best!r}?" if likeness else ""


def _likeness(a: str, b: str) -> int:
    """Return how much two texts share that differ in one place at most; 0 for others."""
    if a == b:
        return len(a) + 1
    shortest = min(len(a), len(b))
    start = 0
    while start < shortest and a[start] == b[start]:
        start += 1
    end = 0
    while end < shortest - start and a[-1 - end] == b[-1 - end]:
        end += 1
    rest_a, rest_b = a[start : len(a) - end], b[start : len(b) - end]
    if len(rest_a) < 2 and len(rest_b) < 2:
        return start + end
    return max(1, start + end) if len(rest_a) == 2 and rest_a == rest_b[::-1] else 0
