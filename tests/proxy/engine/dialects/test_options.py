"""Options of dialects: what is known, what is taken, and what is said of the rest."""

from typing import Any

import pytest

from proxy.contract.codes import ProblemCode
from proxy.engine.dialects.options import BOOLEAN, OBJECT, TEXT, one_of, option_problems

KNOWN = {"float": one_of(64, 32), "name": TEXT, "on": BOOLEAN, "groups": OBJECT}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"float": 64},
        {"float": "32"},
        {"name": "", "on": False, "groups": {"a": [1]}},
    ],
)
def test_what_is_taken(given: dict[str, Any]) -> None:
    """Nothing is said of it."""
    assert option_problems("some", KNOWN, given) == []


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"float": 16}, ProblemCode.NOT_ONE_OF, "16 is not 64 or 32"),
        ({"float": 32.0}, ProblemCode.NOT_ONE_OF, "32.0 is not 64 or 32"),
        ({"float": True}, ProblemCode.NOT_ONE_OF, "true is not 64 or 32"),
        ({"float": ["64"]}, ProblemCode.NOT_ONE_OF, '["64"] is not 64 or 32'),
        ({"name": 1}, ProblemCode.WRONG_TYPE, "1 is not a string"),
        ({"on": "no"}, ProblemCode.WRONG_TYPE, '"no" is not true or false'),
        ({"groups": None}, ProblemCode.WRONG_TYPE, "null is not an object"),
    ],
)
def test_what_an_option_is_not(given: dict[str, Any], code: ProblemCode, message: str) -> None:
    """Its place is the option, and what it may be is said."""
    [problem] = option_problems("some", KNOWN, given)
    assert (problem.pointer, problem.code, problem.message) == (
        f"/{next(iter(given))}",
        code,
        message,
    )


def test_an_unknown_option_is_told_with_those_there_are() -> None:
    """And with the one that may be meant."""
    [near, far] = option_problems("some", KNOWN, {"flaot": 32, "a/b": 1})
    assert (near.pointer, near.code) == ("/flaot", ProblemCode.UNKNOWN_FIELD)
    assert near.hint == "did you mean 'float'?; known: float, groups, name, on"
    assert (far.pointer, far.hint) == ("/a~1b", "known: float, groups, name, on")
    [alone] = option_problems("some", {}, {"x": 1})
    assert alone.hint == "there is none"
