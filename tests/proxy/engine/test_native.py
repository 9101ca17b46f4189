"""What our own definitions mean: the order of evaluation, and the reasons."""

from typing import Any

import pytest

from proxy.engine.native import flag_program, segment_expression
from proxy.engine.program import FALSE, AnyOf, Not, Rule, Split, reachable
from tests.proxy.engine.builders import (
    FALLTHROUGH_SPLIT,
    compiled,
    definition,
    leaf,
    rule,
    segment_definition,
)

EVERYONE: dict[str, Any] = {"all": []}
NOBODY: dict[str, Any] = {"any": []}
ALL_ON = {"rollout": {"arms": [{"variant": "on", "weight": 100_000}]}}
TARGETS = [{"variant": "on", "units": ["u"]}]
BY_ACCOUNT = {"rollout": {"by": "account", "arms": [{"variant": "on", "weight": 100_000}]}}


@pytest.mark.parametrize(
    ("members", "context", "reason", "variant"),
    [
        ({}, {}, "STATIC", "off"),
        ({"enabled": False, "off_variant": "on"}, {}, "DISABLED", "on"),
        ({"rules": [rule(EVERYONE)]}, {}, "TARGETING_MATCH", "on"),
        ({"rules": [rule(NOBODY)]}, {}, "DEFAULT", "off"),
        ({"rules": [rule(EVERYONE, ALL_ON)]}, {"targetingKey": "u"}, "SPLIT", "on"),
        ({"rules": [rule(EVERYONE, ALL_ON)]}, {}, "DEFAULT", "off"),
        ({"fallthrough": ALL_ON}, {"targetingKey": "u"}, "SPLIT", "on"),
        ({"fallthrough": ALL_ON, "rules": [rule(NOBODY)]}, {"targetingKey": "u"}, "SPLIT", "on"),
        ({"targets": TARGETS}, {"targetingKey": "u"}, "TARGETING_MATCH", "on"),
        ({"targets": TARGETS}, {"targetingKey": "v"}, "DEFAULT", "off"),
        ({"targets": []}, {}, "STATIC", "off"),
        ({"targets": [{"variant": "on", "units": []}]}, {}, "DEFAULT", "off"),
    ],
)  # fmt: skip
def test_reasons(members: Any, context: Any, reason: str, variant: str) -> None:
    """As the flag was written: a rule that never holds is a rule, an empty list is none."""
    answer = compiled(**members).evaluate(context, 0)
    assert (answer.reason, answer.variant) == (reason, variant)


def test_disabled_goes_before_everything() -> None:
    """Targets and rules are not looked at."""
    flag = compiled(
        enabled=False,
        off_variant="off",
        targets=[{"variant": "on", "units": ["u"]}],
        rules=[rule(EVERYONE)],
    )
    assert flag.evaluate({"targetingKey": "u"}, 0).reason == "DISABLED"
    assert flag.static


def test_targets_go_before_rules() -> None:
    """And match the targeting key only."""
    flag = compiled(targets=[{"variant": "off", "units": ["u"]}], rules=[rule(EVERYONE)])
    assert flag.evaluate({"targetingKey": "u"}, 0).variant == "off"
    assert flag.evaluate({"targetingKey": "v", "id": "u"}, 0).variant == "on"


def test_the_first_rule_that_matches_serves() -> None:
    """In their order."""
    flag = compiled(
        rules=[
            rule(leaf("x", "exists"), "off", id="first"),
            rule(leaf("x", "equals", 1), "on", id="second"),
        ]
    )
    assert flag.evaluate({"x": 1}, 0).rule_id == "first"


@pytest.mark.parametrize("key", [None, "", 5, True, ["u"], {}, "\ud800"], ids=repr)
def test_without_a_unit_a_rollout_in_a_rule_does_not_match(key: Any) -> None:
    """The next rule is tried, whatever is in the place of a string."""
    flag = compiled(rules=[rule(EVERYONE, ALL_ON, id="a"), rule(EVERYONE, "on", id="b")])
    assert flag.evaluate({"targetingKey": key}, 0).rule_id == "b"
    assert flag.evaluate({}, 0).rule_id == "b"
    assert flag.evaluate({"targetingKey": "u"}, 0).rule_id == "a"


@pytest.mark.parametrize("key", [None, "", 5, True, ["u"], {}, "\ud800"], ids=repr)
def test_without_a_unit_a_rollout_in_the_fallthrough_is_an_error(key: Any) -> None:
    """400 TARGETING_KEY_MISSING."""
    answer = compiled(fallthrough=FALLTHROUGH_SPLIT).evaluate({"targetingKey": key}, 0)
    assert (answer.status, answer.error_code) == (400, "TARGETING_KEY_MISSING")
    assert answer.unit_attribute == "targetingKey"


@pytest.mark.parametrize("value", [None, "", 0.5, True, ["u"], {}, 2**53, "\ud800"], ids=repr)
def test_without_another_attribute_it_is_the_context_that_is_invalid(value: Any) -> None:
    """400 INVALID_CONTEXT, which names the attribute."""
    answer = compiled(fallthrough=BY_ACCOUNT).evaluate({"account": value, "targetingKey": "u"}, 0)
    assert (answer.status, answer.error_code) == (400, "INVALID_CONTEXT")
    assert "'account'" in answer.error_details


@pytest.mark.parametrize("value", ["a", 7, 7.0, -1, 0])
def test_another_attribute_may_be_a_number(value: Any) -> None:
    """Account numbers are; the targeting key is a string by its specification."""
    answer = compiled(fallthrough=BY_ACCOUNT).evaluate({"account": value}, 0)
    assert (answer.reason, answer.unit_attribute) == ("SPLIT", "account")


def test_a_number_and_its_decimal_are_one_unit() -> None:
    """42, 42.0 and "42" are in one bucket, 96669."""
    arms = [
        {"variant": "off", "weight": 99_999, "ranges": [[0, 96_669], [96_670, 100_000]]},
        {"variant": "on", "weight": 1, "ranges": [[96_669, 96_670]]},
    ]
    flag = compiled(fallthrough={"rollout": {"by": "n", "arms": arms}})
    for unit in (42, 42.0, "42"):
        assert flag.evaluate({"n": unit}, 0).variant == "on"
    assert flag.evaluate({"n": 43}, 0).variant == "off"


def test_the_attribute_of_a_split_may_be_a_path() -> None:
    """As everywhere."""
    split = {"rollout": {"by": "org.id", "arms": [{"variant": "on", "weight": 100_000}]}}
    assert compiled(fallthrough=split).evaluate({"org": {"id": 5}}, 0).variant == "on"


def test_the_unit_attribute_of_other_answers_is_the_targeting_key() -> None:
    """It is what an exposure without a split is counted by."""
    assert compiled().evaluate({}, 0).unit_attribute == "targetingKey"


def test_a_rule_that_always_holds_ends_the_program() -> None:
    """What follows cannot be reached, so it costs nothing."""
    rules = [rule(EVERYONE), rule(leaf("x", "exists"))]
    program = reachable(flag_program(definition(rules=rules)))
    assert program.steps == ()


def test_a_split_that_may_not_match_does_not_end_it() -> None:
    """Without a unit the next rule is tried."""
    rules = [rule(EVERYONE, ALL_ON), rule(leaf("x", "exists"))]
    program = reachable(flag_program(definition(rules=rules)))
    assert len(program.steps) == 2
    first = program.steps[0]
    assert isinstance(first, Rule)
    assert isinstance(first.serve, Split)


@pytest.mark.parametrize(
    ("unit", "member"), [("in", True), ("out", False), ("other", False), (None, False)]
)
def test_included_units_then_excluded_then_when(unit: str | None, member: bool) -> None:
    """Of a segment whose condition nobody fulfils."""
    segment = segment_definition(included=["in"], excluded=["out"])
    flag = compiled({"s": segment}, rules=[rule({"segment": "s"})])
    assert (flag.evaluate({"targetingKey": unit}, 0).variant == "on") is member


@pytest.mark.parametrize(("unit", "member"), [("in", True), ("out", False), ("other", True)])
def test_excluded_units_are_out_whatever_the_condition_says(unit: str, member: bool) -> None:
    """Of a segment whose condition all fulfil."""
    segment = segment_definition(included=["in"], excluded=["out"], when=EVERYONE)
    flag = compiled({"s": segment}, rules=[rule({"segment": "s"})])
    assert (flag.evaluate({"targetingKey": unit}, 0).variant == "on") is member


def test_an_empty_segment_holds_nobody() -> None:
    """Said as a constant."""
    assert segment_expression(segment_definition()) is FALSE
    with_rest = segment_definition(included=["a"], excluded=["b"], when=leaf("x", "exists"))
    expression = segment_expression(with_rest)
    assert isinstance(expression, AnyOf)
    assert not isinstance(expression.items[0], Not)
