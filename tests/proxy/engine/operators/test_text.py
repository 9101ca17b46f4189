"""What stands in, at the start or at the end of a string."""

from typing import Any

import pytest

from tests.proxy.engine.operators.samples import holds


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        ("a.b", "contains", ["."]),
        ("abc", "contains", ["x", "bc"]),
        ("abc", "contains", [""]),
        ("abc", "starts_with", ["ab"]),
        ("abc", "starts_with", ["x", "ab"]),
        ("abc", "ends_with", ["bc"]),
        ("abc", "ends_with", ["bc", "x"]),
    ],
)
def test_true(value: Any, op: str, values: list[Any]) -> None:
    """The attribute is as the operator asks."""
    assert holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        (5, "contains", ["5"]),
        (["abc"], "contains", ["abc"]),
        ("abc", "starts_with", ["abcd"]),
        ("abc", "ends_with", ["xabc"]),
        (None, "starts_with", [""]),
    ],
)
def test_false(value: Any, op: str, values: list[Any]) -> None:
    """Other values, other types, and booleans that are not numbers."""
    assert not holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        ("ABC", "contains", ["bC"]),
        ("ABC", "contains", ["x", "bC"]),
        ("STRASSE 1", "starts_with", ["straße"]),
        ("a@EXAMPLE.com", "ends_with", ["@example.COM"]),
    ],
)
def test_fold_compares_by_casefold(value: Any, op: str, values: list[Any]) -> None:
    """Both sides are folded, by `str.casefold` and not by lower case; without it they differ."""
    assert holds(value, op, *values, fold=True)
    assert not holds(value, op, *values)
    assert not holds(value, op, *values, fold=False)
