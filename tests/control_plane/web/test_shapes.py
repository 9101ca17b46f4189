"""Tests of the list of shape problems: that it agrees with the decoder, and that it is readable."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.access.model import KeyInput
from control_plane.web.shapes import MAX_PROBLEMS, shape_problems
from proxy.contract.authoring import FlagInput
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.definitions import Condition, Segment, Serve

LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
CONDITIONS = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"attribute": LEAVES, "op": LEAVES, "values": LEAVES | st.lists(LEAVES)}
    )
    | st.fixed_dictionaries({}, optional={"segment": LEAVES, "none_such": LEAVES}),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"all": st.lists(inner | LEAVES, max_size=2), "not": inner, "negate": LEAVES}
    ),
    max_leaves=8,
)
SERVES = st.fixed_dictionaries(
    {},
    optional={
        "variant": LEAVES,
        "rollout": st.fixed_dictionaries(
            {}, optional={"by": LEAVES, "arms": st.lists(LEAVES, max_size=2)}
        ),
    },
)


@given(CONDITIONS)
def test_schema_and_decoder_agree_on_conditions(document: dict[str, Any]) -> None:
    """What the decoder refuses has problems; what it takes has none."""
    value, problems = decode(msgspec.json.encode(document), Condition)
    assert (value is None) == bool(problems)
    assert bool(shape_problems(document, Condition)) == bool(problems)


@given(SERVES)
def test_schema_and_decoder_agree_on_what_is_served(document: dict[str, Any]) -> None:
    """The other one-of."""
    _, problems = decode(msgspec.json.encode(document), Serve)
    assert bool(shape_problems(document, Serve)) == bool(problems)


@pytest.mark.parametrize(
    ("document", "kind", "pointer", "code", "said"),
    [
        ({"key": 1}, Segment, "/key", ProblemCode.WRONG_TYPE, "1 is not string"),
        ({}, Segment, "/key", ProblemCode.MISSING_FIELD, "key is missing"),
        ([], Segment, "", ProblemCode.WRONG_TYPE, "an array is not object"),
        ({"key": "a", "x/y": 1}, Segment, "/x~1y", ProblemCode.UNKNOWN_FIELD, "'x/y' is unknown"),
        ({"kind": "x"}, KeyInput, "/kind", ProblemCode.OUT_OF_RANGE, "'x' is not one of client"),
        (
            {"kind": "server", "expires_at": 3},
            KeyInput,
            "/expires_at",
            ProblemCode.WRONG_TYPE,
            "3 is not string or null",
        ),
        ({}, Condition, "", ProblemCode.NOT_ONE_OF, "exactly one of all, any, not, segment"),
        ({"all": [], "any": []}, Condition, "", ProblemCode.NOT_ONE_OF, "there is 'all', 'any'"),
        ({"attribute": "a"}, Condition, "/op", ProblemCode.MISSING_FIELD, "op is missing"),
        ({"segment": "s", "fold": True}, Condition, "/fold", ProblemCode.UNKNOWN_FIELD, "'fold'"),
        ({"segment": "s", "op": "in"}, Condition, "", ProblemCode.NOT_ONE_OF, "'segment', 'op'"),
        (3, Condition, "", ProblemCode.WRONG_TYPE, "3 is not an object"),
        (
            {"not": {"all": [{"segment": "a"}, {"segment": None}]}},
            Condition,
            "/not/all/1/segment",
            ProblemCode.WRONG_TYPE,
            "null is not string",
        ),
    ],
)
def test_a_problem_says_where_and_what(
    document: Any, kind: Any, pointer: str, code: ProblemCode, said: str
) -> None:
    """One mistake, one problem, at its place, in words."""
    (problem,) = shape_problems(document, kind)
    assert (problem.pointer, problem.code) == (pointer, code)
    assert said in problem.message


def test_what_an_author_meant_explains_a_one_of() -> None:
    """A leaf with a wrong member is not reported as five failed alternatives."""
    document = {"attribute": "a", "op": 3, "valuess": []}
    found = {(p.pointer, p.code) for p in shape_problems(document, Condition)}
    assert found == {("/op", ProblemCode.WRONG_TYPE), ("/valuess", ProblemCode.UNKNOWN_FIELD)}


KNOWN = "known: key, name, description, tags, when, included, excluded, units, source"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("descripton", "did you mean 'description'?"),
        ("nam", "did you mean 'name'?"),
        ("zzz", KNOWN),
        (
            "x" * 1_000_000,
            "known: key, name, description, tags, when, included, excluded, units, source",
        ),
    ],
    ids=range(4),
)
def test_an_unknown_member_is_told_the_nearest_known(name: str, hint: str) -> None:
    """A spelling mistake is the most common one; where there is none near, all are told."""
    (problem,) = shape_problems({"key": "a", name: 1}, Segment)
    assert problem.hint == hint


def test_a_hostile_document_makes_a_short_answer() -> None:
    """Neither many problems nor long ones."""
    many = {"key": "a"} | {f"x{n}": 1 for n in range(10_000)}
    assert len(shape_problems(many, Segment)) == MAX_PROBLEMS
    (problem,) = shape_problems({"key": {"a": "x" * 100_000}}, Segment)
    assert len(problem.message) < 200
    (problem,) = shape_problems({"key": "a", "x" * 100_000: 1}, Segment)
    assert len(problem.message) < 200


def test_a_flag_with_everything_wrong_is_explained() -> None:
    """Across all levels of nesting."""
    document = {
        "key": "a",
        "type": "bool",
        "environments": {
            "production": {
                "rules": [
                    {"when": {"values": []}, "serve": {"rollout": {"arms": [{"weight": "1"}]}}}
                ]
            }
        },
    }
    at = "/environments/production"
    assert {p.pointer for p in shape_problems(document, FlagInput)} == {
        "/type",
        f"{at}/fallthrough",
        f"{at}/rules/0/when/op",
        f"{at}/rules/0/serve/rollout/arms/0/variant",
        f"{at}/rules/0/serve/rollout/arms/0/weight",
    }


def test_a_member_of_an_environment_is_told_its_place() -> None:
    """Rules are not those of a flag, but of a flag in an environment."""
    (problem,) = shape_problems({"key": "a", "rules": []}, FlagInput)
    assert problem.hint == "it is a member of an environment: environments.production.rules"
