"""Expressions are as small as they can be said."""

import pytest

from proxy.contract.codes import Reason
from proxy.engine.operators import Leaf
from proxy.engine.program import (
    FALSE,
    TRUE,
    All,
    AnyOf,
    Expression,
    InSegment,
    Lookup,
    Not,
    Outcome,
    Probe,
    Program,
    Rule,
    all_of,
    any_of,
    leaf_count,
    negation,
    reachable,
)

A = Probe("a", Leaf("{f} == {0}", (1,)))
B = Probe("b", Leaf("{f} == {0}", (1,)))
ON, OFF = Outcome("on", Reason.TARGETING_MATCH), Outcome("off", Reason.DEFAULT)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (all_of([]), TRUE),
        (any_of([]), FALSE),
        (all_of([A]), A),
        (any_of([A]), A),
        (all_of([A, TRUE, B]), All((A, B))),
        (any_of([A, FALSE, B]), AnyOf((A, B))),
        (all_of([A, FALSE]), FALSE),
        (any_of([A, TRUE]), TRUE),
        (all_of([A, All((B, A))]), All((A, B, A))),
        (any_of([AnyOf((A, B)), A]), AnyOf((A, B, A))),
        (all_of([AnyOf((A, B)), A]), All((AnyOf((A, B)), A))),
        (negation(TRUE), FALSE),
        (negation(FALSE), TRUE),
        (negation(A), Probe("a", Leaf("{f} == {0}", (1,)), negated=True)),
        (negation(negation(A)), A),
        (negation(All((A, B))), Not(All((A, B)))),
        (negation(Not(All((A, B)))), All((A, B))),
    ],
)
def test_expressions_are_folded(made: Expression, expected: Expression) -> None:
    """Constants go, lists of one kind are one, two negations are none."""
    assert made == expected


def test_leaves_are_tests_and_segments() -> None:
    """However deep."""
    assert leaf_count(all_of([A, negation(any_of([B, InSegment("s")])), TRUE])) == 3
    assert leaf_count(TRUE) == 0


def test_rules_that_never_hold_are_left_out() -> None:
    """And tables with nothing in them."""
    empty = Lookup("targetingKey", (((), ON),))
    program = reachable(Program((empty, Rule(FALSE, ON), Rule(A, ON)), OFF))
    assert program.steps == (Rule(A, ON),)


def test_a_certain_rule_is_what_is_served_otherwise() -> None:
    """Nothing after it is reached."""
    program = reachable(Program((Rule(A, OFF), Rule(TRUE, ON), Rule(B, OFF)), OFF))
    assert program.steps == (Rule(A, OFF),)
    assert program.otherwise is ON
