"""What our own definitions mean: the order of evaluation, and the reasons."""

from bisect import bisect_left
from typing import Any

import pytest

from proxy.engine.bucketing import bucket
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


# Time


START, END = "2026-12-01T00:00:00Z", "2026-12-08T00:00:00Z"
START_MS, END_MS = 1_796_083_200_000, 1_796_688_000_000
WEEK_MS = END_MS - START_MS
ENDS_OF_TIME = (-(2**62), 2**62)


def variants_at(times: Any, **members: Any) -> list[str]:
    """Return what a flag serves to the unit `u` at some times."""
    flag = compiled(**members)
    return [flag.evaluate({"targetingKey": "u"}, now_ms).variant for now_ms in times]


AROUND = (START_MS - 1, START_MS, END_MS - 1, END_MS, *ENDS_OF_TIME)


@pytest.mark.parametrize(
    ("window", "served"),
    [
        ({"from": START, "until": END}, ["off", "on", "on", "off", "off", "off"]),
        ({"from": START}, ["off", "on", "on", "on", "off", "on"]),
        ({"from": START, "until": None}, ["off", "on", "on", "on", "off", "on"]),
        ({"until": END}, ["on", "on", "on", "off", "on", "off"]),
        ({"from": None, "until": END}, ["on", "on", "on", "off", "on", "off"]),
        ({"from": None, "until": None}, ["on"] * 6),
        ({}, ["on"] * 6),
        ({"from": "2026-12-01T01:00:00+01:00", "until": "2026-12-07T12:30:00-11:30"},
         ["off", "on", "on", "off", "off", "off"]),
        ({"from": "2026-11-30T23:59:59.9991Z"}, ["off", "on", "on", "on", "off", "on"]),
        ({"until": "2026-12-07T23:59:59.9991Z"}, ["on", "on", "on", "off", "on", "off"]),
        ({"from": "1969-12-31T23:59:59.999Z"}, ["on", "on", "on", "on", "off", "on"]),
        ({"from": "9999-12-31T23:59:59Z"}, ["off", "off", "off", "off", "off", "on"]),
    ],
)  # fmt: skip
def test_a_rule_is_active_from_a_moment_until_before_another(
    window: Any, served: list[str]
) -> None:
    """To the millisecond; an end that is null or absent is open; zones are looked at."""
    assert variants_at(AROUND, rules=[rule(EVERYONE, active=window)]) == served


def test_a_window_and_a_condition_both_have_to_hold() -> None:
    """Also where the condition is negated, or one of several, and in front of a split."""
    window = {"from": START}
    for when in ({"not": leaf("x", "exists")}, {"any": [leaf("x", "exists"), EVERYONE]}):
        rules = [rule(when, active=window), rule(EVERYONE, "off", id="after")]
        assert variants_at(AROUND, rules=rules) == ["off", "on", "on", "on", "off", "on"]
    rules = [rule(leaf("x", "exists"), active=window)]
    assert variants_at(AROUND, rules=rules) == ["off"] * 6
    rules = [rule(EVERYONE, ALL_ON, active={"until": START})]
    assert variants_at(AROUND, rules=rules) == ["on", "off", "off", "off", "on", "off"]


def test_before_and_after_now_are_strict() -> None:
    """At the moment itself neither holds, and so both of their opposites do."""
    times = (START_MS - 1, START_MS, START_MS + 1, *ENDS_OF_TIME)
    for op, served in (("before", "10010"), ("after", "00101")):
        leaf_now = {"op": op, "values": [START]}
        for negate in (False, True):
            wanted = ["on" if (bit == "1") is not negate else "off" for bit in served]
            assert variants_at(times, rules=[rule({**leaf_now, "negate": negate})]) == wanted
            opposite = {"not": {**leaf_now, "negate": not negate}}
            assert variants_at(times, rules=[rule(opposite)]) == wanted


@pytest.mark.parametrize("moment", [2**63, 2**80, -(2**80)])
@pytest.mark.parametrize("op", ["before", "after"])
def test_moments_beyond_all_times_are_no_trouble(op: str, moment: int) -> None:
    """Every time is on the same side of them."""
    held = "on" if (op == "before") is (moment > 0) else "off"
    assert variants_at(AROUND, rules=[rule({"op": op, "values": [moment]})]) == [held] * 6


def ramp(**members: Any) -> dict[str, Any]:
    """Return a ramp from `off` to `on` over a week."""
    return {"ramp": {"variant": "on", "else": "off", "start": START, "end": END, **members}}


@pytest.mark.parametrize("place", ["rules", "fallthrough"])
@pytest.mark.parametrize("shares", [(0, 100_000), (100_000, 0), (40_000, 40_009), (500, 500)])
def test_a_ramp_holds_the_share_of_the_model(shares: tuple[int, int], place: str) -> None:
    """`from + (to - from) * passed // whole`, clamped: units come and go in their millisecond."""
    low, high = shares
    served = ramp(**{"from": low, "to": high})
    flag = compiled(**{place: [rule(EVERYONE, served)] if place == "rules" else served})

    def held(passed: int) -> int:
        return low + (high - low) * max(0, min(passed, WEEK_MS)) // WEEK_MS

    for unit in ("u", "v", "w", "x", "unit-18748", "unit-50506"):
        number = bucket("f3b1", unit)
        grows = bisect_left(range(WEEK_MS + 1), True, key=lambda passed: held(passed) > number)
        goes = bisect_left(range(WEEK_MS + 1), True, key=lambda passed: held(passed) <= number)
        around = {step + crossing for crossing in (grows, goes) for step in (-1, 0, 1)}
        times = {START_MS + passed for passed in (*around, -1, 0, 1, WEEK_MS)}
        for now_ms in (*times, *ENDS_OF_TIME):
            answer = flag.evaluate({"targetingKey": unit}, now_ms)
            variant = "on" if number < held(now_ms - START_MS) else "off"
            assert (answer.variant, answer.reason) == (variant, "SPLIT")


def test_a_ramp_without_a_unit_is_as_a_rollout_without_one() -> None:
    """In a rule the next is tried, in the fallthrough it is an error, at any time."""
    for now_ms in AROUND:
        flag = compiled(rules=[rule(EVERYONE, ramp(), id="a"), rule(EVERYONE, "on", id="b")])
        assert flag.evaluate({}, now_ms).rule_id == "b"
        assert flag.evaluate({"targetingKey": "u"}, now_ms).rule_id == "a"
        answer = compiled(fallthrough=ramp()).evaluate({}, now_ms)
        assert (answer.status, answer.error_code) == (400, "TARGETING_KEY_MISSING")
        answer = compiled(fallthrough=ramp(by="account")).evaluate({"targetingKey": "u"}, now_ms)
        assert (answer.status, answer.error_code) == (400, "INVALID_CONTEXT")
        assert answer.unit_attribute == "account"


def test_a_ramp_may_split_by_any_attribute() -> None:
    """By its own hash of it, as a rollout."""
    number = bucket("f3b1", "42")
    flag = compiled(fallthrough=ramp(by="org.id", **{"from": number, "to": number + 1}))
    for now_ms, variant in ((START_MS, "off"), (END_MS - 1, "off"), (END_MS, "on")):
        answer = flag.evaluate({"org": {"id": 42}}, now_ms)
        assert (answer.variant, answer.unit_attribute) == (variant, "org.id")
