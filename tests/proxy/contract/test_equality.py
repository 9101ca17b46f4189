"""Sameness of JSON values, where Python's differs."""

from typing import Any

import pytest

from proxy.contract.equality import same_json


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (10, 10.0),
        (None, None),
        ([1, {"a": 2.0}], [1.0, {"a": 2}]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_the_same(a: Any, b: Any) -> None:
    """Numbers by value, members in any order."""
    assert same_json(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        ([0], [False]),
        ({"a": 1}, {"a": True}),
        ([1], [1, 2]),
        ({}, {"a": None}),
        ("1", 1),
    ],
)
def test_not_the_same(a: Any, b: Any) -> None:
    """A boolean is no number, at any depth, and null is not nothing."""
    assert not same_json(a, b)
    assert not same_json(b, a)
