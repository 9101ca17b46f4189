"""Order of numbers."""

from typing import Any

import pytest

from tests.proxy.engine.operators.samples import holds


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        (3, "gt", [2]),
        (2.5, "gt", [2]),
        (2, "gte", [2.0]),
        (1, "lt", [2]),
        (-1e300, "lt", [2]),
        (2, "lte", [2]),
        (10**30, "gt", [1e20]),
    ],
)
def test_true(value: Any, op: str, values: list[Any]) -> None:
    """The attribute is as the operator asks."""
    assert holds(value, op, *values)


@pytest.mark.parametrize(
    ("value", "op", "values"),
    [
        (2, "gt", [2]),
        (True, "gt", [0]),
        ("3", "gt", [2]),
        (False, "lt", [1]),
        ([3], "gte", [2]),
    ],
)
def test_false(value: Any, op: str, values: list[Any]) -> None:
    """Other values, other types, and booleans that are not numbers."""
    assert not holds(value, op, *values)
