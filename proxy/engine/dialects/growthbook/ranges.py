"""Who is in which part of an experiment: GrowthBook's ranges, as ranges of integers.

A unit has a number between 0 and 1, of a hash of a seed and of the value of an attribute:

    version 1   (FNV-1a of value + seed) % 1,000 / 1,000
    version 2   (FNV-1a of the decimal of FNV-1a of seed + value) % 10,000 / 10,000

and is in a range `[a, b)` where `a <= n < b`. As the number grows with the integer that it is made
of, each range is one of integers, exactly, whatever `a` and `b` are (`hashing.first_number`). Where
ranges overlap the first one counts.

Rules:
- Sums are made as the SDKs make them, in double precision and from left to right.
"""

from array import array
from codecs import utf_16_le_encode
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

from proxy.engine import program as p
from proxy.engine.dialects.growthbook.attributes import attribute
from proxy.engine.dialects.growthbook.values import is_true, text_of
from proxy.engine.hashing import first_number
from proxy.engine.operators import Leaf

__all__ = [
    "bucket_ranges",
    "bucketing",
    "encode_unit",
    "equal_weights",
    "namespace_bucketing",
    "pieces",
    "unit",
    "up_to",
    "within",
    "without_unit",
]

_SIZES: dict[int | float, int] = {1: 1_000, 2: 10_000}
"""How many numbers there are, by the version of the hash."""

_code_units = utf_16_le_encode  # half the time of `str.encode`, which looks the codec up

_LEAST_SUM, _LARGEST_SUM = 0.99, 1.01
"""Weights that sum to less or more are taken for equal ones."""


def encode_unit(value: Any) -> bytes | None:
    """Return what is hashed of a value, by code units; None for what JavaScript takes for no."""
    if value.__class__ is str:
        return _code_units(value, "surrogatepass")[0] or None
    return _code_units(text_of(value), "surrogatepass")[0] if is_true(value) else None


@lru_cache(maxsize=4_096)
def unit(name: str) -> str | p.Operand:
    """Return what finds the value that is hashed: by the whole of its name, dots and all."""
    if "." not in name and "[" not in name:
        return attribute(name)
    return p.Operand(name, _whole(name), frozenset((name,)))


def _whole(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda context: context.get(name)


def bucketing(seed: str, by: str, version: int | float) -> p.Bucketing | None:
    """Return the number of the attribute `by`, None for a version of the hash that there is not."""
    size = _SIZES.get(version)
    if size is None:
        return None
    part = p.Part(unit(by), encode_unit)
    salt = seed.encode("utf-16-le", "surrogatepass")
    if size == _SIZES[1]:
        return p.Bucketing((part, salt), "fnv1a_32_utf16", 0, "modulo", size)
    return p.Bucketing((salt, part), "fnv1a_32_utf16_x2", 0, "modulo", size)


def without_unit(by: str) -> p.Expression:
    """Return whether the attribute `by` has nothing that can be hashed."""
    return p.Probe(unit(by), Leaf("{0}({f}) is None", (encode_unit,)), source={by: None})


def namespace_bucketing(name: str, by: str) -> p.Bucketing:
    """Return the number that decides whether a unit is in a part of a namespace."""
    found = bucketing("__" + name, by, 1)
    assert found is not None  # noqa: S101 - there is a version 1
    return found


def equal_weights(count: int) -> list[float]:
    """Return weights of variations that are all alike."""
    return [1 / count] * count if count > 0 else []


def bucket_ranges(
    count: int, coverage: float, weights: Sequence[float] | None
) -> list[tuple[float, float]]:
    """Return the range of each variation: as long as its weight, and covered from its start."""
    coverage = min(max(coverage, 0), 1)
    if weights is None or len(weights) != count:
        weights = equal_weights(count)
    total: float = 0
    for weight in weights:
        total += weight
    if total < _LEAST_SUM or total > _LARGEST_SUM:
        weights = equal_weights(count)
    ranges = []
    start: float = 0
    for weight in weights:
        ranges.append((start, start + coverage * weight))
        start += weight
    return ranges


def within(number: p.Bucketing, ranges: Sequence[tuple[float, float]]) -> p.Expression:
    """Return whether a number is in one of some ranges."""
    found = [(low, high) for low, high, _ in pieces(ranges, number.size)]
    joined: list[tuple[int, int]] = []
    for low, high in found:
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return p.Within(number, tuple(joined)) if joined else p.FALSE


def up_to(number: p.Bucketing, coverage: float) -> p.Expression:
    """Return whether a number is not above a coverage, which belongs to it."""
    size = number.size
    end = first_number(size, lambda n: not n / size <= coverage)
    return p.Within(number, ((0, end),)) if end else p.FALSE


def pieces(ranges: Sequence[tuple[float, float]], size: int) -> list[tuple[int, int, int]]:
    """Return who has which numbers, ascending: the first, the one after the last, which range.

    Neighbours of one range are joined, so there are at most as many as numbers.
    """
    found = [
        (low, high, index)
        for index, (start, end) in enumerate(ranges)
        if (low := first_number(size, _not_below(start, size)))
        < (high := first_number(size, _not_below(end, size)))
    ]
    ascending = sorted(found)
    if all(one[1] <= other[0] for one, other in pairwise(ascending)):
        return ascending
    return _first_of(found, size)


def _first_of(found: list[tuple[int, int, int]], size: int) -> list[tuple[int, int, int]]:
    """Return pieces for ranges that overlap: each number is written down, whose it is."""
    held = array("h", [_NONE]) * size
    for low, high, index in reversed(found):  # the first range is the last to take
        held[low:high] = array("h", [index]) * (high - low)
    pieces = []
    at = 0
    for index, group in groupby(held):
        length = sum(1 for _ in group)
        if index != _NONE:
            pieces.append((at, at + length, index))
        at += length
    return pieces


_NONE = -1


def _not_below(bound: float, size: int) -> Callable[[int], bool]:
    return lambda n: n / size >= bound
