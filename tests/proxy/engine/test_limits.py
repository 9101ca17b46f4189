"""The bounds agree with each other and with what they are said to keep."""

import time

import pytest

from proxy.contract.definitions import BUCKETS
from proxy.contract.strict_json import MAX_DEPTH
from proxy.engine import limits
from tests.proxy.engine.builders import compiled, leaf, rule


def test_every_bound_is_public_and_positive() -> None:
    """A bound that is not listed is not documented."""
    bounds = {name for name in vars(limits) if name.startswith("MAX_")}
    assert bounds == set(limits.__all__)
    assert all(getattr(limits, name) > 0 for name in bounds)


def test_what_the_contract_lets_through_is_not_too_deep_here() -> None:
    """A condition in a document cannot nest deeper than the document."""
    assert limits.MAX_CONDITION_DEPTH >= MAX_DEPTH
    assert limits.MAX_VALUE_DEPTH >= MAX_DEPTH


def test_a_rollout_can_have_an_arm_for_each_variant() -> None:
    """Of one bucket at least."""
    assert limits.MAX_VARIANTS <= BUCKETS


@pytest.mark.parametrize("width", [limits.MAX_CONDITIONS - 1])
def test_the_most_conditions_take_well_under_a_millisecond(width: int) -> None:
    """None of them matching; 50 us on an ordinary core, so the bound here is generous."""
    leaves = [leaf(f"a{i % 50}", "in", f"x{i}", "y") for i in range(width)]
    flag = compiled(rules=[rule({"any": leaves})])
    context = {f"a{i}": "no" for i in range(50)}
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        flag.evaluate(context, 0)
        best = min(best, time.perf_counter() - start)
    assert best < 0.001
