"""A problem on its way to a report: with what is needed to find its place, and bounded in number.

Places are found at the end, once for each file, because finding one costs a walk over the file.
"""

from collections.abc import Iterable
from typing import NamedTuple

from proxy.contract.codes import Severity
from proxy.contract.problems import Problem
from proxy.contract.strict_json import Place

__all__ = ["MAX_ERRORS", "MAX_KEPT", "Note", "Notes", "Origin"]

MAX_KEPT = 1_000
"""Errors, and warnings, that are told of one file. The others are counted: a file that has more is
broken as a whole, and a hostile one must not make an endless report."""

MAX_ERRORS = 10_000
"""Errors of one file after which the rest of it is not read: a small file can make millions."""


class Origin(NamedTuple):
    """Where something is: the number of the file, of the line its text begins on, a pointer."""

    file: int
    line: int
    pointer: str


class Note(NamedTuple):
    """One problem. Its pointer is into the text that begins on line `line`, counted from 0.

    That is the whole file, or one line of a snapshot. `inner` is a place within what the pointer
    names, for mistakes that have no pointer of their own; `first` is where the same is already.
    """

    problem: Problem
    line: int = 0
    inner: Place | None = None
    first: Origin | None = None


class Notes:
    """The notes of one file: all are counted, `MAX_KEPT` of each severity are kept."""

    def __init__(self) -> None:
        self.kept: list[Note] = []
        self.counts = dict.fromkeys(Severity, 0)

    @property
    def exhausted(self) -> bool:
        """Whether there are so many errors that reading on helps nobody."""
        return self.counts[Severity.ERROR] >= MAX_ERRORS

    def add(self, note: Note) -> None:
        severity = note.problem.severity
        self.counts[severity] += 1
        if self.counts[severity] <= MAX_KEPT:
            self.kept.append(note)

    def add_problems(self, problems: Iterable[Problem], line: int = 0) -> None:
        for problem in problems:
            self.add(Note(problem, line))
