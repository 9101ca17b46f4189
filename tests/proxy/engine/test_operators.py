"""Each operator: what it is true for, what it is false for, and that nothing makes it raise."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.engine.operators import OPERATORS
from tests.proxy.engine.builders import answer_to, leaf
from tests.proxy.engine.strategies import any_json

VALID: dict[str, list[Any]] = {
    name: {"exists": [], "size_gt": [1], "size_lt": [1]}.get(
        name, ["x"] if str in op.values.classes else [1]
    )
    for name, op in OPERATORS.items()
}


def holds(value: Any, op: str, *values: Any, **options: Any) -> bool:
    """Return whether a leaf holds where the attribute has a value."""
    return answer_to({"a": value}, leaf("a", op, *values, **options))


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
        ("a.b", "contains", ["."]),
        ("abc", "contains", ["x", "bc"]),
        ("abc", "contains", [""]),
        ("abc", "starts_with", ["ab"]),
        ("abc", "starts_with", ["x", "ab"]),
        ("abc", "ends_with", ["bc"]),
        ("abc", "ends_with", ["bc", "x"]),
        (0, "exists", []),
        (False, "exists", []),
        ("", "exists", []),
        ([], "exists", []),
        (3, "gt", [2]),
        (2.5, "gt", [2]),
        (2, "gte", [2.0]),
        (1, "lt", [2]),
        (-1e300, "lt", [2]),
        (2, "lte", [2]),
        (10**30, "gt", [1e20]),
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
        (5, "contains", ["5"]),
        (["abc"], "contains", ["abc"]),
        ("abc", "starts_with", ["abcd"]),
        ("abc", "ends_with", ["xabc"]),
        (None, "starts_with", [""]),
        (None, "exists", []),
        (2, "gt", [2]),
        (True, "gt", [0]),
        ("3", "gt", [2]),
        (False, "lt", [1]),
        ([3], "gte", [2]),
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
        ("PRO", "equals", ["pro"]),
        ("straße", "equals", ["STRASSE"]),
        ("Pro", "in", ["free", "PRO", 1]),
        ("ABC", "contains", ["bC"]),
        ("ABC", "contains", ["x", "bC"]),
        ("STRASSE 1", "starts_with", ["straße"]),
        ("a@EXAMPLE.com", "ends_with", ["@example.COM"]),
        (["A"], "any_of", ["a"]),
        (["A", "b"], "all_of", ["B", "a"]),
    ],
)
def test_fold_compares_by_casefold(value: Any, op: str, values: list[Any]) -> None:
    """Both sides are folded, by `str.casefold` and not by lower case; without it they differ."""
    assert holds(value, op, *values, fold=True)
    assert not holds(value, op, *values)
    assert not holds(value, op, *values, fold=False)


@pytest.mark.parametrize(
    ("op", "opposite"), [("equals", "not_equals"), ("in", "not_in"), ("any_of", "none_of")]
)
@given(value=any_json)
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
def test_negations_agree(op: str, opposite: str, value: Any) -> None:
    """The opposite operator, `negate` and `not` say the same for any value, and all but `op`."""
    plain = holds(value, op, "a", 1)
    assert holds(value, opposite, "a", 1) is not plain
    assert holds(value, op, "a", 1, negate=True) is not plain
    assert answer_to({"a": value}, {"not": leaf("a", op, "a", 1)}) is not plain
    assert holds(value, opposite, "a", 1, negate=True) is plain


@pytest.mark.parametrize("op", OPERATORS)
def test_a_missing_attribute_is_false_then_negated(op: str) -> None:
    """`not_in` of nothing is true; so is any negated operator."""
    expected = OPERATORS[op].negated
    assert answer_to({}, leaf("a", op, *VALID[op])) is expected
    assert answer_to({"a": None}, leaf("a", op, *VALID[op])) is expected
    assert answer_to({}, leaf("a", op, *VALID[op], negate=True)) is not expected


@pytest.mark.parametrize("op", OPERATORS)
@given(value=any_json | st.text(st.characters(categories=["Cs", "L"])))
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_value_makes_an_operator_raise(op: str, value: Any) -> None:
    """Any JSON may be in an attribute, lone surrogates too, and with `fold`."""
    assert holds(value, op, *VALID[op]) in (True, False)
    if OPERATORS[op].folds:
        assert holds(value, op, *VALID[op], fold=True) in (True, False)


@pytest.mark.parametrize("op", OPERATORS)
def test_a_template_uses_its_value_first_and_once_as_such(op: str) -> None:
    """The rule that generated code relies on to fetch a value where it is first needed."""
    operator = OPERATORS[op]
    for values in (VALID[op], VALID[op] * 2):
        template = operator.compile(values, False).template
        assert template.count("{f}") == 1
        assert template.replace("{0}(", "").lstrip("(").startswith("{f}")
