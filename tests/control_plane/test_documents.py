"""Sameness and merge patches of JSON documents."""

from typing import Any

import msgspec
import pytest

from control_plane.documents import (
    MAX_PROBLEMS,
    Flaws,
    invalid,
    merge_patch,
    same_document,
)
from control_plane.errors import Conflict, Invalid
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Flag, Segment
from proxy.contract.problems import Problem


class Anything(msgspec.Struct):
    """A document with one member."""

    a: Any


# RFC 7396, appendix A, for targets that are objects, one level down.
CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "change", "expected"), CASES)
def test_a_merge_patch_is_what_the_rfc_says(target: Any, change: Any, expected: Any) -> None:
    """Each case of its appendix A that can be here."""
    patched = msgspec.json.decode(merge_patch(Anything(target), {"a": change}))
    assert patched == {"a": expected}


LEAF = {"attribute": "plan", "op": "in", "values": ["pro"], "negate": True}
RAMP = {
    "variant": "on",
    "else": "off",
    "start": "2026-12-01T00:00:00Z",
    "end": "2026-12-02T00:00:00Z",
}
ARMS = [{"variant": "on", "weight": 100_000}]


@pytest.mark.parametrize(
    ("when", "change", "expected"),
    [
        (LEAF, {"all": []}, {"all": []}),
        (LEAF, {"segment": "beta"}, {"segment": "beta"}),
        ({"all": [LEAF]}, LEAF, LEAF),
        ({"not": LEAF}, {"not": {"any": []}}, {"not": {"any": []}}),
        ({"segment": "beta"}, {"not": LEAF}, {"not": LEAF}),
        # of the same group, as the RFC has it
        (LEAF, {"values": ["free"], "negate": None}, {**LEAF, "values": ["free"]}),
        (
            LEAF,
            {"op": None, "attribute": None, "values": None, "negate": None, "any": []},
            {"any": []},
        ),
        # what cannot be meant stays wrong
        (LEAF, {"all": [], "segment": "beta"}, {**LEAF, "all": [], "segment": "beta"}),
    ],
)
def test_a_patch_may_make_a_condition_another_kind(
    when: dict[str, Any], change: dict[str, Any], expected: dict[str, Any]
) -> None:
    """One of several groups of members takes the place of another, without nulls."""
    segment = msgspec.convert({"key": "s", "when": when}, Segment)
    patched = msgspec.json.decode(merge_patch(segment, {"when": change}))["when"]
    if "negate" in change and change["negate"] is None and "op" in expected:
        expected = {name: value for name, value in expected.items() if name != "negate"}
    assert patched == expected


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({"ramp": RAMP}, {"variant": "on"}, {"variant": "on"}),
        ({"variant": "on"}, {"ramp": RAMP}, {"ramp": RAMP}),
        ({"rollout": {"arms": ARMS}}, {"variant": "on"}, {"variant": "on"}),
        ({"ramp": RAMP}, {"ramp": None, "variant": "on"}, {"variant": "on"}),
        ({"rollout": {"arms": ARMS, "by": "a"}}, {"rollout": {"by": "b"}}, {"by": "b"}),
    ],
)
def test_a_patch_may_make_what_is_served_another_kind(
    before: dict[str, Any], change: dict[str, Any], after: dict[str, Any]
) -> None:
    """Within the map of environments."""
    flag = msgspec.convert(
        {
            "key": "f",
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "environments": {"production": {"fallthrough": before}},
        },
        Flag,
    )
    changes = {"environments": {"production": {"fallthrough": change}}}
    patched = msgspec.json.decode(merge_patch(flag, changes))
    serve = patched["environments"]["production"]["fallthrough"]
    if "by" in after:
        assert serve == {"rollout": {"arms": ARMS, "by": "b"}}
    else:
        assert {name: value for name, value in serve.items() if name in after} == after
        assert len(serve) == 1


def test_what_only_a_read_has_is_left_out() -> None:
    """Whoever patches with what was read means the rest."""
    change = {"version": 3, "created_at": "x", "updated_at": None, "a": 2}
    assert msgspec.json.decode(merge_patch(Anything(1), change)) == {"a": 2}


@pytest.mark.parametrize(("a", "b"), [(1, True), (1, 1.0), (0, False), ([1], [True]), ("1", 1)])
def test_equal_for_python_is_not_the_same_json(a: Any, b: Any) -> None:
    """A client tells true from 1, and 1 from 1.0."""
    assert same_document(a, a)
    assert not same_document(a, b)


def test_members_have_no_order_and_items_have_one() -> None:
    """A client that sorts what it read has changed nothing."""
    assert same_document(
        {"on": True, "off": {"b": 1, "a": 2}}, {"off": {"a": 2, "b": 1}, "on": True}
    )
    assert not same_document([1, 2], [2, 1])


def test_the_error_leads_with_an_error_and_lists_all() -> None:
    """Warnings come along, not first."""
    odd = Problem("/a", ProblemCode.ARRAY_VALUE, "odd", severity=Severity.WARNING)
    wrong = Problem("/b", ProblemCode.INVALID_KEY, "wrong")
    error = invalid([odd, wrong])
    assert error.detail == "/b: wrong, and 1 more"
    assert error.problems == [odd, wrong]


def test_flaws_come_first_and_hide_nothing_but_what_they_made_up() -> None:
    """What was put out of the way was not said by the author."""
    shape = Problem("/rules/0/when", ProblemCode.WRONG_TYPE, "5 is not an object")
    misspelled = Problem("/typ", ProblemCode.UNKNOWN_FIELD, "unknown", "did you mean 'type'?")
    flaws = Flaws([shape, misspelled], ["/rules/0/when"])
    within = Problem("/rules/0/when/any", ProblemCode.TOO_MANY, "made up")
    beside = Problem("/rules/0/whenever", ProblemCode.TOO_MANY, "said")
    missing = Problem("/type", ProblemCode.MISSING_FIELD, "type is missing")
    assert flaws.joined([within, beside, missing]) == [shape, misspelled, beside]
    assert Flaws().joined([within]) == [within]
    with pytest.raises(Invalid) as caught, flaws.first():
        raise Conflict("there is one")
    assert caught.value.problems == [shape, misspelled]
    with pytest.raises(Conflict), Flaws().first():
        raise Conflict("there is one")


def test_many_problems_may_not_be_all() -> None:
    """After as many as are looked for, the number is not one of what there is."""
    problems = [Problem(f"/{n}", ProblemCode.INVALID_KEY, "wrong") for n in range(MAX_PROBLEMS)]
    detail = invalid(problems).detail
    assert detail.startswith("/0: wrong, and 99 more; there may be others, since looking ends at")
    assert invalid(problems[:-1]).detail == "/0: wrong, and 98 more"
