"""Collects problems, so that a check says where and what, and bounds are in one place."""

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, pointer
from proxy.engine.limits import MAX_PROBLEMS

__all__ = ["Findings", "Path"]

Path = tuple[str | int, ...]
"""Where in a document: members and indexes. Made into a pointer only when there is a problem."""


class Findings:
    """The problems of one document, at most `MAX_PROBLEMS` of them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(
        self,
        path: Path,
        code: ProblemCode,
        message: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Add one problem."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(pointer(*path), code, message, hint, severity))
