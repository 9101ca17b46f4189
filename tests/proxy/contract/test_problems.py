"""Problems point into documents."""

import pytest

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, has_errors, json_kind, pointer, under


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("rules", 0, "a/b"), "/rules/0/a~1b"), (("~", ""), "/~0/"), (("~1",), "/~01")],
)
def test_pointers_are_escaped(path: tuple[str | int, ...], text: str) -> None:
    """As RFC 6901 says."""
    assert pointer(*path) == text


def test_problems_can_be_moved_below_a_place() -> None:
    """Of a part, into the whole."""
    problem = Problem("/x", ProblemCode.TOO_MANY, "m", "h", Severity.WARNING)
    [moved] = under("/flags/0", [problem])
    assert moved == Problem("/flags/0/x", ProblemCode.TOO_MANY, "m", "h", Severity.WARNING)


def test_a_warning_is_no_error() -> None:
    """A document with warnings only is accepted."""
    warning = Problem("", ProblemCode.ARRAY_VALUE, "", severity=Severity.WARNING)
    assert not has_errors([warning])
    assert has_errors([warning, Problem("", ProblemCode.TOO_MANY, "")])
    assert not has_errors([])


def test_kinds_are_named_as_people_do() -> None:
    """An integer is not a number to whoever mixed them up."""
    values = [True, "x", 1, 1.0, [], {}, None, b"x"]
    names = ["a boolean", "a string", "an integer", "a number", "an array", "an object", "null"]
    assert [json_kind(value) for value in values] == [*names, "bytes"]
