"""What is in a list, and how much."""

from typing import Any

import pytest

from tests.proxy.engine.operators.samples import holds


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        (["x", "b"], "any_of", ["a", "b"]),
        ([1], "any_of", [1.0]),
        ([True], "any_of", [True]),
        (["a", "b", "c"], "all_of", ["a", "c"]),
        ([1.0, "x"], "all_of", ["x", 1]),
        ([[], {}, None, "a"], "any_of", ["a"]),
        ([[], {}, None, "a"], "all_of", ["a"]),
        (["x"], "none_of", ["a", "b"]),
        ([], "none_of", ["a"]),
        ([1, 2], "size_gt", [1]),
        ([], "size_lt", [1]),
    ],
)
def test_true(value: Any, op: str, values: list[Any]) -> None:
    """The attribute is as the operator asks."""
    assert holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        ("a", "any_of", ["a"]),
        ([True], "any_of", [1]),
        ([1], "all_of", [True]),
        (["a"], "all_of", ["a", "b"]),
        ({"a": 1}, "any_of", ["a"]),
        (["a"], "none_of", ["a", "b"]),
        ([1], "size_gt", [1]),
        ("ab", "size_gt", [1]),
        ({"a": 1, "b": 2}, "size_gt", [1]),
        ("", "size_lt", [1]),
        ([1], "size_lt", [1]),
    ],
)
def test_false(value: Any, op: str, values: list[Any]) -> None:
    """Other values, other types, and booleans that are not numbers."""
    assert not holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        (["A"], "any_of", ["a"]),
        (["A", "b"], "all_of", ["B", "a"]),
    ],
)
def test_fold_compares_by_casefold(value: Any, op: str, values: list[Any]) -> None:
    """Both sides are folded, by `str.casefold` and not by lower case; without it they differ."""
    assert holds(value, op, *values, fold=True)
    assert not holds(value, op, *values)
    assert not holds(value, op, *values, fold=False)
