"""Which bucket a unit falls into, and which variant holds that bucket.

`h = murmur3_x86_32(UTF-8(salt + "." + unit), seed 0)`, unsigned; `bucket = (h * 100000) >> 32`.
The hash is over bytes, never over `str`: some releases of mmh3 crash on lone surrogates.

Compiled flags do not compute the bucket. `bucket < t` is the same as `h < ceil(t * 2**32 / 100000)`
so thresholds are moved to the hash's own scale once, when a flag is compiled (`threshold`).

Fixed for ever: another bucket for the same salt and unit would move users. `tests/vectors`
holds golden values; other implementations can check themselves against them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from mmh3 import mmh3_32_uintdigest

from proxy.contract.definitions import BUCKETS, Arm

__all__ = [
    "Piece",
    "bucket",
    "layout",
    "reallocate",
    "salt_prefix",
    "text_bytes",
    "threshold",
    "unit_bytes",
]

_LIMIT = 2**53
"""Integers from here on are not exact in every client; such a unit counts as missing."""


def bucket(salt: str, unit: str) -> int:
    """Return the bucket, 0 to 99,999, of a unit.

    Raises:
        UnicodeEncodeError: for text with a lone surrogate, which has no UTF-8. `unit_bytes` tells
            such units, and all others that cannot be bucketed, beforehand.
    """
    return (mmh3_32_uintdigest(salt_prefix(salt) + unit.encode()) * BUCKETS) >> 32


def salt_prefix(salt: str) -> bytes:
    """Return what is hashed before the unit."""
    return salt.encode() + b"."


def unit_bytes(value: Any) -> bytes | None:
    """Return what is hashed of the value of an attribute, or None when it cannot be a unit.

    A non-empty string as it is; an integer, or a float of integral value, below 2**53 as its
    decimal. Never a boolean, though Python takes it for an integer.
    """
    kind = value.__class__
    if kind is str:
        try:
            return value.encode() or None
        except UnicodeEncodeError:
            return None
    if kind is int:
        return b"%d" % value if -_LIMIT < value < _LIMIT else None
    if kind is float and -_LIMIT < value < _LIMIT and value == int(value):
        return b"%d" % int(value)
    return None


def text_bytes(value: Any) -> bytes | None:
    """Return what is hashed of `targetingKey`, which is a non-empty string or missing."""
    return unit_bytes(value) if value.__class__ is str else None


def threshold(cut: int, size: int = BUCKETS) -> int:
    """Return the smallest hash whose number, of 32 bits scaled to `size`, is not below `cut`.

    For cuts of 0 to `size`; `2**32`, more than any hash, for `size` itself.
    """
    return -((-cut << 32) // size)


class Piece(NamedTuple):
    """Half-open range of buckets and the variant that holds it."""

    low: int
    high: int
    variant: str


def layout(arms: Sequence[Arm]) -> list[Piece]:
    """Return who holds which buckets, in order, neighbours of one variant joined.

    Arms without ranges, in a file or a new rollout, are laid out one after the other.
    """
    pieces: list[Piece] = []
    if any(arm.ranges for arm in arms):
        pieces = [
            Piece(low, high, arm.variant)
            for arm in arms
            for low, high in arm.ranges or ()
            if low < high
        ]
    else:
        start = 0
        for arm in arms:
            if arm.weight > 0:
                pieces.append(Piece(start, start + arm.weight, arm.variant))
            start += arm.weight
    return _joined(pieces)


def reallocate(old: Sequence[Arm], new: Sequence[Arm]) -> list[Arm]:
    """Return the new arms with ranges such that as few buckets as possible change their variant.

    Arms are matched by variant. Those that shrink give up their highest buckets first, in the order
    of the old arms; those that grow take them up in the order of the new ones: exactly the sum of
    what the growing ones gain moves. Ranges that the new arms carry are ignored. Where there was
    nothing before, the new arms are laid out in their order.

    Weights should sum to 100,000 on both sides. Where the new ones sum to more, the last arms stay
    short of buckets, and validation says so.
    """
    held: dict[str, list[tuple[int, int]]] = {}
    pieces = layout(old) or layout([Arm(arm.variant, arm.weight) for arm in new])
    for piece in pieces:
        held.setdefault(piece.variant, []).append((piece.low, piece.high))
    weights = {arm.variant: arm.weight for arm in new}
    free = _gaps(pieces)
    for arm in old:
        ranges = held.get(arm.variant, [])
        surplus = _size(ranges) - weights.get(arm.variant, 0)
        while surplus > 0:
            low, high = ranges.pop()  # ascending, so this is the highest
            taken = min(surplus, high - low)
            if taken < high - low:
                ranges.append((low, high - taken))
            free.append((high - taken, high))
            surplus -= taken
    free.reverse()  # what was given up first is now at the end, where it is cheap to take
    for arm in new:
        ranges = held.setdefault(arm.variant, [])
        lacking = arm.weight - _size(ranges)
        while lacking > 0 and free:
            low, high = free.pop()
            taken = min(lacking, high - low)
            if taken < high - low:
                free.append((low, high - taken))
            ranges.append((high - taken, high))
            lacking -= taken
    return [msgspec.structs.replace(arm, ranges=_merged(held[arm.variant])) for arm in new]


def _joined(pieces: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in sorted(pieces):
        last = joined[-1] if joined else None
        if last is not None and last.variant == piece.variant and last.high == piece.low:
            joined[-1] = Piece(last.low, piece.high, piece.variant)
        else:
            joined.append(piece)
    return joined


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(p.low, p.high) for p in _joined([Piece(low, high, "") for low, high in ranges])]


def _size(ranges: list[tuple[int, int]]) -> int:
    return sum(high - low for low, high in ranges)


def _gaps(pieces: list[Piece]) -> list[tuple[int, int]]:
    """Return the buckets nobody holds: none, where the old arms were valid."""
    gaps: list[tuple[int, int]] = []
    end = 0
    for piece in pieces:
        if piece.low > end:
            gaps.append((end, piece.low))
        end = max(end, piece.high)
    if end < BUCKETS:
        gaps.append((end, BUCKETS))
    return gaps
