"""Equality, and whether there is a value at all."""

from typing import Any

import pytest

from tests.proxy.engine.operators.samples import holds


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        ("pro", "equals", ["pro"]),
        ("pro", "equals", ["free", "pro"]),
        ("", "equals", [""]),
        (1, "equals", [1]),
        (1, "equals", [1.0]),
        (1.0, "equals", [1]),
        (-0.0, "equals", [0]),
        (10**18, "equals", [10**18]),
        (True, "equals", [True]),
        (False, "equals", [False]),
        (False, "equals", [True, False]),
        (1, "in", ["1", 1]),
        ("1", "in", ["1", 1]),
        (True, "in", ["1", True]),
        (0, "exists", []),
        (False, "exists", []),
        ("", "exists", []),
        ([], "exists", []),
    ],
)
def test_true(value: Any, op: str, values: list[Any]) -> None:
    """The attribute is as the operator asks."""
    assert holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        ("Pro", "equals", ["pro"]),
        ("1", "equals", [1]),
        (1, "equals", ["1"]),
        (True, "equals", [1]),
        (1, "equals", [True]),
        (0, "equals", [False]),
        (False, "equals", [0]),
        (0.0, "equals", [False]),
        (True, "in", [1, 2]),
        (False, "in", ["a", 0.0]),
        (1, "in", ["a", True]),
        (1, "in", [True, False]),
        (["pro"], "equals", ["pro"]),
        ({}, "in", ["a", "b"]),
        (["a"], "in", ["a", "b"]),
        (None, "exists", []),
    ],
)
def test_false(value: Any, op: str, values: list[Any]) -> None:
    """Other values, other types, and booleans that are not numbers."""
    assert not holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        ("PRO", "equals", ["pro"]),
        ("straße", "equals", ["STRASSE"]),
        ("Pro", "in", ["free", "PRO", 1]),
    ],
)
def test_fold_compares_by_casefold(value: Any, op: str, values: list[Any]) -> None:
    """Both sides are folded, by `str.casefold` and not by lower case; without it they differ."""
    assert holds(value, op, *values, fold=True)
    assert not holds(value, op, *values)
    assert not holds(value, op, *values, fold=False)
