"""Weights sum to 100,000, ranges hold them, and no bucket is held twice."""

from typing import Any

import pytest

from proxy.contract.codes import ProblemCode
from proxy.engine import check_flag, limits
from tests.proxy.engine.builders import authored
from tests.proxy.engine.problems import of_split, split, with_config


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


# Ramps


def of_ramp(**members: Any) -> list[tuple[str, str]]:
    """Return pointer below the ramp, and code, of each problem of a ramp; None leaves one out."""
    whole = {"variant": "on", "else": "off", "start": START, "end": END, **members}
    problems = with_config(fallthrough={"ramp": whole})
    return [(pointer.removeprefix("/fallthrough/ramp"), code) for pointer, code in problems]


START, END = "2026-12-01T00:00:00Z", "2026-12-08T00:00:00Z"
_NO_TIME = "invalid_time"


@pytest.mark.parametrize(
    ("members", "problems"),
    [
        ({}, []),
        ({"from": 0, "to": 0}, []),
        ({"from": 100_000, "to": 0, "by": "account"}, []),
        ({"end": "2026-12-01T01:00:00.001+01:00"}, []),
        ({"variant": "red"}, [("/variant", "unknown_variant")]),
        ({"else": "red"}, [("/else", "unknown_variant")]),
        ({"else": "on"}, [("/else", "duplicate_variant")]),
        ({"from": -1}, [("/from", "out_of_range")]),
        ({"to": 100_001}, [("/to", "out_of_range")]),
        ({"by": ""}, [("/by", "out_of_range")]),
        ({"start": "2026-12-01"}, [("/start", _NO_TIME)]),
        ({"start": "2026-12-01T00:00:00", "end": ""}, [("/start", _NO_TIME), ("/end", _NO_TIME)]),
        ({"end": START}, [("/end", "out_of_range")]),
        ({"end": "2026-12-01T01:00:00+01:00"}, [("/end", "out_of_range")]),
        ({"start": "2026-12-01T00:00:00.0001Z", "end": "2026-12-01T00:00:00.0002Z"},
         [("/end", "out_of_range")]),
        ({"start": END, "end": START}, [("/end", "out_of_range")]),
    ],
)  # fmt: skip
def test_what_can_be_wrong_with_a_ramp(members: Any, problems: Any) -> None:
    """Its variants, its shares, its times and their order."""
    assert of_ramp(**members) == problems
