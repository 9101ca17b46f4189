"""Problems are collected, and there are never too many of them."""

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem
from proxy.engine.findings import Findings
from proxy.engine.limits import MAX_PROBLEMS


def test_a_path_becomes_a_pointer() -> None:
    """Escaped as RFC 6901 says."""
    findings = Findings()
    findings.add(("variants", "a/b", 0), ProblemCode.VALUE_TYPE, "wrong", "mend", Severity.WARNING)
    wrong = Problem("/variants/a~1b/0", ProblemCode.VALUE_TYPE, "wrong", "mend", Severity.WARNING)
    assert findings.problems == [wrong]


def test_there_is_a_bound() -> None:
    """A hostile document must not make a long answer."""
    findings = Findings()
    for _ in range(MAX_PROBLEMS + 5):
        findings.add((), ProblemCode.TOO_MANY, "")
    assert len(findings.problems) == MAX_PROBLEMS
