"""Weights sum to 100,000, ranges hold them, and no bucket is held twice."""

from typing import Any

import pytest

from proxy.contract.codes import ProblemCode
from proxy.engine import check_flag, limits
from tests.proxy.engine.builders import authored
from tests.proxy.engine.problems import of_split, split


def test_weights_that_do_not_sum_name_the_sum() -> None:
    """In the message."""
    problems = check_flag(authored(config={"fallthrough": split(("on", 1), ("off", 2))}), {})
    [problem] = problems
    assert problem.code == ProblemCode.WEIGHTS_SUM
    assert "3" in problem.message.split()[4]


_UPPER = ("off", 50_000, [[50_000, 100_000]])
_HIGH = ("/arms/0/weight", "out_of_range")
_SHORT = ("/arms/0/ranges", "weight_ranges")
_OUTSIDE = ("/arms/0/ranges/0", "out_of_range")
_SECOND_OVERLAPS = ("/arms/0/ranges/1", "ranges_overlap")


@pytest.mark.parametrize(
    ("arms", "problems"),
    [
        ([], [("/arms", "weights_sum")]),
        ([("on", 100_001)], [_HIGH, ("/arms", "weights_sum")]),
        ([("on", 100_001), ("off", -1)], [_HIGH, ("/arms/1/weight", "out_of_range")]),
        ([("on", 50_000), ("on", 50_000)], [("/arms/1/variant", "duplicate_variant")]),
        ([("on", 0), ("off", 100_000)], []),
        ([("on", 0, []), ("off", 100_000, [[0, 100_000]])], []),
        ([("on", 50_000, []), ("off", 50_000, [])], []),
        ([("on", 50_000, [[0, 50_000]]), _UPPER], []),
        ([("on", 50_000, [[0, 40_000]]), _UPPER], [_SHORT]),
        ([_UPPER, ("on", 50_000)], [("/arms/1/ranges", "weight_ranges")]),
        ([_UPPER, ("on", 50_000, [[1_000, 51_000]])], [("/arms/0/ranges/0", "ranges_overlap")]),
        ([("on", 50_000, [[0, 30_000], [20_000, 40_000]]), _UPPER], [_SECOND_OVERLAPS]),
        ([("on", 50_000, [[0, 50_000], [0, 0]]), _UPPER], [("/arms/0/ranges/1", "out_of_range")]),
        ([("on", 50_000, [[-50_000, 0]]), _UPPER], [_OUTSIDE, _SHORT]),
        ([("on", 50_000, [[50_000, 100_001]]), _UPPER], [_OUTSIDE, _SHORT]),
        ([("on", 50_000, [[50_000, 0]]), _UPPER], [_OUTSIDE, _SHORT]),
    ],
)
def test_weights_and_ranges(arms: Any, problems: Any) -> None:
    """Weights sum to 100,000, ranges hold them, and no bucket is held twice."""
    assert of_split(*arms) == problems


@pytest.mark.parametrize("by", ["", "x" * (limits.MAX_PATH_CHARS + 1)])
def test_what_a_rollout_splits_by_is_bounded(by: str) -> None:
    """And not empty."""
    assert of_split(("on", 100_000), by=by) == [("/by", "out_of_range")]
