"""Conditions and contexts in words."""

from typing import Any

import msgspec
import pytest

from proxy.contract.definitions import Condition
from proxy.engine import program as p
from proxy.engine.operators import OPERATORS
from proxy.engine.reading import because_of, leaf_text, span_text

SUNDAY_MS = 1_796_515_200_000  # 2026-12-06T00:00:00Z


def probe(negated: bool | None = None, **members: Any) -> p.Probe:
    """Return the probe of a leaf, as `native` makes it."""
    condition = msgspec.convert(members, Condition)
    operator = OPERATORS[str(condition.op)]
    leaf = operator.compile_condition(condition)
    opposite = operator.negated is not (condition.negate is True)
    return p.Probe("a", leaf, opposite if negated is None else negated, condition)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"op": "equals", "values": ["x"]}, 'a equals "x"'),
        ({"op": "in", "values": ["x", 1]}, 'a in ["x", 1]'),
        ({"op": "not_in", "values": ["x", 1]}, 'a not_in ["x", 1]'),
        ({"op": "not_in", "values": ["x"], "negate": True}, 'not (a not_in "x")'),
        ({"op": "in", "values": ["x"], "negate": True}, 'not (a in "x")'),
        ({"op": "in", "values": ["x"], "fold": True}, 'a in "x" (any case)'),
        ({"op": "exists"}, "a exists"),
        (
            {"op": "time_of_day", "from": "09:00", "to": "17:00", "zone": "Europe/Berlin"},
            "a time_of_day from 09:00 to 17:00 in Europe/Berlin",
        ),
    ],
)
def test_a_leaf_reads_as_it_was_written(members: dict[str, Any], expected: str) -> None:
    """Operator, values, options; what is negated says so."""
    made = probe(**{"attribute": "a", **members})
    assert leaf_text("a", made.source, negated=made.negated) == expected


def test_a_leaf_without_attribute_is_of_now() -> None:
    """The time of the evaluation."""
    made = probe(op="weekday", values=["mon"])
    assert leaf_text(None, made.source, negated=False) == 'now weekday "mon"'


@pytest.mark.parametrize(
    ("source", "expected"),
    [(["u-1", "u-2"], "a is one of 2 units"), (None, "a test of a"), ("a > 5", "a: a > 5")],
)
def test_other_leaves_say_what_they_have(source: Any, expected: str) -> None:
    """Lists of units; what another system's author wrote."""
    assert leaf_text("a", source, negated=False) == expected
    assert leaf_text("a", source, negated=True) == f"not ({expected})"


@pytest.mark.parametrize(
    ("members", "value", "expected"),
    [
        ({"op": "in", "values": ["x"]}, "y", 'a is "y"'),
        ({"op": "in", "values": ["x"]}, None, "the context has no a"),
        ({"op": "in", "values": ["x"]}, ["x"], 'a is ["x"], an array, and in is for single values'),
        ({"op": "gte", "values": [18]}, "18", 'a is "18", a string, and gte is for numbers'),
        ({"op": "gte", "values": [18]}, True, "a is true, a boolean, and gte is for numbers"),
        ({"op": "contains", "values": ["x"]}, 5, "a is 5, an integer, and contains is for text"),
        ({"op": "any_of", "values": ["x"]}, "x", 'a is "x", a string, and any_of is for lists'),
        ({"op": "in_cidr", "values": ["::1"]}, {}, "a is {}, an object, and in_cidr is for text"),
        ({"op": "weekday", "values": ["mon"]}, "soon", 'a is "soon", which is no moment'),
        (
            {"op": "weekday", "values": ["mon"], "zone": "Asia/Kathmandu"},
            SUNDAY_MS,
            f"a is {SUNDAY_MS}: Sunday 05:45:00 in Asia/Kathmandu",
        ),
    ],
)
def test_it_says_what_the_context_has(members: dict[str, Any], value: Any, expected: str) -> None:
    """And what is wrong with it, when its type makes the leaf false."""
    made = probe(**{"attribute": "a", **members})
    assert because_of("a", value, made, holds=False) == expected


def test_what_is_missing_fulfils_what_is_negated() -> None:
    """Which surprises people, so it is said."""
    made = probe(attribute="a", op="not_in", values=["x"])
    said = because_of("a", None, made, holds=True)
    assert said == "the context has no a, and what is negated holds then"


def test_every_operator_can_be_read() -> None:
    """A new one needs nothing here, but may name what it is for."""
    for name in OPERATORS:
        condition = Condition(op=name, attribute="a")
        made = p.Probe("a", OPERATORS["exists"].compile([], False), source=condition)
        assert name in leaf_text("a", condition, negated=False)
        for value in (None, 1, "x", [], {}, 10**400):
            assert because_of("a", value, made, holds=False)


def test_spans_are_said_in_words() -> None:
    """Also those without an end."""
    since, ever = p.ALWAYS
    assert span_text(0, 1_000) == "from 1970-01-01T00:00:00Z until 1970-01-01T00:00:01Z"
    assert span_text(0, ever) == "from 1970-01-01T00:00:00Z on"
    assert span_text(since, 0) == "until 1970-01-01T00:00:00Z"
    assert span_text(since, ever) == "always"
