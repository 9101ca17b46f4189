"""Sameness and merge patches of JSON documents."""

from typing import Any

import msgspec
import pytest

from control_plane.documents import invalid, merge_patch, same_document
from proxy.contract.codes import ProblemCode, Severity
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
