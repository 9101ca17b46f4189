"""What all operators keep: they never raise, and are false for what is missing, then negated."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.contract.definitions import Condition
from proxy.engine.operators import OPERATORS
from tests.proxy.engine.builders import answer_to, leaf
from tests.proxy.engine.operators.samples import VALID, VALUES, holds, sample
from tests.proxy.engine.strategies import any_json


def test_there_is_a_sample_of_each() -> None:
    """So that what follows is about all of them."""
    assert list(VALID) == list(OPERATORS)


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
    assert answer_to({}, sample(op)) is expected
    assert answer_to({"a": None}, sample(op)) is expected
    assert answer_to({}, sample(op, negate=True)) is not expected


HARD = [
    *(10**400, -(10**400), 2**63, -(2**63), 2**64, float("nan"), float("inf"), -float("inf")),
    *(
        1e308,
        -0.0,
        True,
        False,
        [[[[]]]],
        {"a": {}},
        "",
        "\ud800",
        "x\ud800",
        "\0",
        "1\0",
        "x" * 100_000,
    ),
    *("9" * 5_000, "1.2." + "9" * 5_000, "1.2.3-" + "9" * 5_000, "9" * 400 + "-01-01T00:00:00Z"),
    *("2026-12-01T00:00:00." + "9" * 5_000 + "Z", "\u0661.2.3", "\u0661\u0660.0.0.1", "::1%eth0"),
]
"""Values of JSON that are at the edge of something."""


@pytest.mark.parametrize("op", OPERATORS)
@given(value=any_json | st.text(st.characters(categories=["Cs", "L", "N"])) | st.sampled_from(HARD))
@settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_value_makes_an_operator_raise(op: str, value: Any) -> None:
    """Any JSON may be in an attribute, lone surrogates too, and with `fold`."""
    assert answer_to({"a": value}, sample(op)) in (True, False)
    if "fold" in OPERATORS[op].options:
        assert answer_to({"a": value}, sample(op, fold=True)) in (True, False)


@pytest.mark.parametrize("op", OPERATORS)
def test_no_hard_value_makes_an_operator_raise(op: str) -> None:
    """Each of them, whatever is drawn above."""
    for value in HARD:
        assert answer_to({"a": value}, sample(op)) in (True, False)


@pytest.mark.parametrize("op", [op for op in OPERATORS if OPERATORS[op].timed])
def test_an_operator_of_the_time_is_of_the_attribute_only_where_one_is_named(op: str) -> None:
    """A missing attribute is not the time."""
    now_holds = {
        "before": {"values": [1]},
        "after": {"values": [-1]},
        "weekday": {"values": ["thu"]},
    }
    members = now_holds.get(op, {"from": "00:00", "to": "00:01"})  # the tests' time is 0
    assert answer_to({}, {"op": op, **members})
    assert not answer_to({}, {"op": op, "negate": True, **members})
    assert not answer_to({}, sample(op, **members))


@pytest.mark.parametrize("op", OPERATORS)
def test_a_template_uses_its_value_first_and_once_as_such(op: str) -> None:
    """The rule that generated code relies on to fetch a value where it is first needed."""
    for members in ({}, {"values": VALUES[op] * 2} if VALUES[op] else {}):
        condition = msgspec.convert(sample(op, **members), Condition)
        template = OPERATORS[op].compile_condition(condition).template
        assert template.count("{f}") == 1
        assert template.replace("{0}(", "").lstrip("(").startswith("{f}")
