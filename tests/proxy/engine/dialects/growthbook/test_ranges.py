"""Numbers and ranges, against the formulas in double precision."""

from random import Random
from typing import Any

import pytest

from proxy.engine import program as p
from proxy.engine.dialects.growthbook import ranges as r
from proxy.engine.hashing import NO_NUMBER, number_of


def fnv1a(units: Any) -> int:
    h = 0x811C9DC5
    for unit in units:
        h = (h ^ unit) * 0x01000193 % 2**32
    return h


def units(text: str) -> list[int]:
    encoded = text.encode("utf-16-le", "surrogatepass")
    return [encoded[i] | encoded[i + 1] << 8 for i in range(0, len(encoded), 2)]


def number(seed: str, value: str, version: int) -> float:
    """Return the number of a value, between 0 and 1, by the formula."""
    if version == 1:
        return fnv1a(units(value + seed)) % 1_000 / 1_000
    return fnv1a(str(fnv1a(units(seed + value))).encode()) % 10_000 / 10_000


VALUES = ["u-1", "用户", "😀", "\ud800", "a\0b", "é" * 100, "0", "false"]
WRITTEN = [(1, "1"), (1.0, "1"), (-0.5, "-0.5"), (1e21, "1e+21"), (2**60, "1152921504606847000")]
WRITTEN += [(True, "true"), ([], ""), ([1, [None, "a"]], "1,,a"), ({}, "[object Object]")]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", ["", "seed", "ключ", "😀"])
def test_numbers_are_those_of_the_formula(seed: str, version: int) -> None:
    """Values are written as JavaScript writes them."""
    bucketing = r.bucketing(seed, "id", version)
    assert bucketing is not None
    of = number_of(bucketing)
    texts: list[tuple[Any, str]] = [(value, value) for value in VALUES]
    for value, text in texts + WRITTEN:
        assert of({"id": value}) / bucketing.size == number(seed, text, version)


@pytest.mark.parametrize("value", [None, "", 0, 0.0, -0.0, False, float("nan")])
def test_what_javascript_takes_for_no_has_no_number(value: Any) -> None:
    """Neither has one who is without the attribute."""
    bucketing = r.bucketing("seed", "anonymous", 2)
    assert bucketing is not None
    assert number_of(bucketing)({"anonymous": value}) == NO_NUMBER
    assert number_of(bucketing)({}) == NO_NUMBER


def test_a_unit_is_found_by_the_whole_of_its_name() -> None:
    """No path is looked up, as the SDKs look none up."""
    bucketing = r.bucketing("seed", "user.id", 2)
    assert bucketing is not None
    of = number_of(bucketing)
    assert of({"user": {"id": "u-1"}}) == NO_NUMBER
    assert of({"user.id": "u-1"}) / 10_000 == number("seed", "u-1", 2)


@pytest.mark.parametrize("version", [0, 3, 99, 1.5])
def test_there_is_no_other_version(version: float) -> None:
    """Nobody has a number of it."""
    assert r.bucketing("seed", "id", version) is None


def test_pieces_are_the_first_range_that_holds_a_number() -> None:
    """Of ranges that overlap, are empty, or go beyond the ends."""
    draw = Random(7)
    for _ in range(200):
        count = draw.randrange(1, 6)
        ranges = [(draw.uniform(-0.2, 1.2), draw.uniform(-0.2, 1.2)) for _ in range(count)]
        ranges.append((draw.choice([0, 0.1, 0.5]), draw.choice([0.1, 0.5, 1])))
        size = draw.choice([1_000, 10_000])
        held = [-1] * size
        for low, high, index in r.pieces(ranges, size):
            held[low:high] = [index] * (high - low)
        for n in [0, size - 1, *draw.sample(range(size), 200)]:
            holding = [i for i, (a, b) in enumerate(ranges) if a <= n / size < b]
            assert held[n] == (holding or [-1])[0]


def test_a_coverage_belongs_to_what_it_covers() -> None:
    """Unlike the end of a range."""
    bucketing = r.bucketing("seed", "id", 1)
    assert bucketing is not None
    assert r.up_to(bucketing, 0.1) == p.Within(bucketing, ((0, 101),))
    assert r.within(bucketing, [(0, 0.1)]) == p.Within(bucketing, ((0, 100),))
    assert r.up_to(bucketing, -0.1) is p.FALSE
    assert r.within(bucketing, [(0.5, 0.5)]) is p.FALSE


def test_neighbours_are_one_range() -> None:
    """However many a filter lists."""
    bucketing = r.bucketing("seed", "id", 1)
    assert bucketing is not None
    ranges = [(0.2, 0.3), (0.0, 0.2), (0.5, 0.6), (0.25, 0.4)]
    assert r.within(bucketing, ranges) == p.Within(bucketing, ((0, 400), (500, 600)))


def test_weights_sum_as_the_sdk_sums_them() -> None:
    """From left to right, in double precision; the ends are not rounded."""
    assert r.bucket_ranges(3, 1, [0.1, 0.2, 0.7]) == [
        (0, 0.1),
        (0.1, 0.30000000000000004),
        (0.30000000000000004, 1.0),
    ]


@pytest.mark.parametrize("weights", [[0.5, 0.48], [0.5, 0.52], [1.0], [float("inf"), 0]])
def test_weights_that_do_not_sum_to_one_are_equal_ones(weights: list[float]) -> None:
    """A hundredth more or less is let pass."""
    assert r.bucket_ranges(2, 1, weights) == [(0, 0.5), (0.5, 1.0)]
    assert r.bucket_ranges(2, 1, [0.5, 0.491]) == [(0, 0.5), (0.5, 0.991)]
