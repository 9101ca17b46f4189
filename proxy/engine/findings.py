"""Collects problems, so that a check says where and what, and bounds are in one place.

It also counts what was done since the last step, roughly in microseconds: checks are `Steps`, and
take a breath where `is_long` says so.
"""

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, pointer
from proxy.engine.limits import MAX_PROBLEMS

__all__ = ["STEP_US", "Findings", "Path"]

STEP_US = 500
"""What a step takes before a breath is taken, roughly: far from 5 ms, since cores differ."""

_PROBLEM_US = 5

Path = tuple[str | int, ...]
"""Where in a document: members and indexes. Made into a pointer only when there is a problem."""


class Findings:
    """The problems of one document, at most `MAX_PROBLEMS` of them."""

    __slots__ = ("alone", "arms", "hints", "problems", "ranges", "spent")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.arms = self.ranges = 0
        """Of the rollouts of the environment that is looked at, so far."""
        self.alone = False
        """Whether what is said of a definition has to be the same whatever others are called."""
        self.hints = 0
        """For how many names was looked for those that may be meant."""
        self.spent = 0
        """About how many microseconds were spent since the last step."""

    def is_long(self) -> bool:
        """Return whether it is time for a breath; counting starts anew then."""
        if self.spent < STEP_US:
            return False
        self.spent = 0
        return True

    def add(
        self,
        path: Path,
        code: ProblemCode,
        message: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Add one problem."""
        self.spent += _PROBLEM_US
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(pointer(*path), code, message, hint, severity))
