"""Bucketing deals out evenly, and flags independently of each other: counted over a million units.

Nothing is random here: the same units are counted each time, so a test passes always or never.
Bounds are four standard deviations of a chi-square, which one honest hash in 16,000 would break.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import md5
from itertools import islice
from math import sqrt

import pytest
from mmh3 import mmh3_32_uintdigest

from proxy.contract.definitions import BUCKETS, Arm
from proxy.engine.bucketing import layout, reallocate, salt_prefix, threshold

MILLION = 1_000_000
KINDS: dict[str, Callable[[int], bytes]] = {
    "sequence": lambda i: b"%d" % i,
    "prefixed": lambda i: b"user-%d" % i,
    "padded": lambda i: b"U%012d" % i,
    "steps": lambda i: b"%d" % (i * 1_024),
    "uuid": lambda i: md5(b"%d" % i).hexdigest().encode(),
    "email": lambda i: b"first.last%d@example.com" % i,
    "cyrillic": lambda i: f"клиент-{i}".encode(),
}
SALTS = ["f3b1", "0123456789abcdef0123456789abcdef", "new-checkout", "a"]


def hashes(salt: str, kind: str, count: int) -> list[int]:
    """Return the hashes of so many units of one kind."""
    prefix, unit = salt_prefix(salt), KINDS[kind]
    return [mmh3_32_uintdigest(prefix + unit(i)) for i in range(count)]


def deviation(observed: Iterable[int], expected: float) -> float:
    """Return how far equal counts are from equal, in standard deviations of the chi-square."""
    counts = list(observed)
    chi = sum((count - expected) ** 2 for count in counts) / expected
    freedom = len(counts) - 1
    return (chi - freedom) / sqrt(2 * freedom)


def test_every_bucket_has_as_many_hashes() -> None:
    """Within one of 42,949.67: scaling by multiplication prefers none."""
    sizes = {threshold(cut + 1) - threshold(cut) for cut in range(BUCKETS)}
    assert sizes == {42_949, 42_950}


def test_a_million_units_fall_evenly_on_all_buckets() -> None:
    """About ten on each of the hundred thousand, and neither too unevenly nor too evenly."""
    counts = Counter(h * BUCKETS >> 32 for h in hashes("f3b1", "prefixed", MILLION))
    observed = [counts[bucket] for bucket in range(BUCKETS)]
    assert sum(observed) == MILLION
    assert abs(deviation(observed, MILLION / BUCKETS)) < 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("salt", SALTS[:2])
def test_identifiers_of_every_kind_fall_evenly(salt: str, kind: str) -> None:
    """Those in use have patterns; no pattern may show."""
    counts = Counter(h * 1_000 >> 32 for h in hashes(salt, kind, 200_000))
    assert abs(deviation((counts[part] for part in range(1_000)), 200)) < 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("f3b1", "f3b2"), ("a", "b"), ("checkout", "checkout-v2"), (SALTS[1], SALTS[1][::-1])],
        *[("aaaa", "aaab"), ("00000001", "10000000")],
    ],
)
def test_two_flags_deal_out_independently(one: str, other: str) -> None:
    """Where a unit is in one says nothing of where it is in the other, however alike the salts."""
    counts = Counter(
        (a * 20 >> 32) * 20 + (b * 20 >> 32)
        for a, b in zip(
            hashes(one, "prefixed", 250_000), hashes(other, "prefixed", 250_000), strict=True
        )
    )
    assert abs(deviation((counts[cell] for cell in range(400)), 625)) < 4


def test_two_flags_deal_out_independently_over_a_million() -> None:
    """Finely: a hundred parts of each, a hundred units in each of the ten thousand cells."""
    pairs = zip(
        hashes(SALTS[0], "prefixed", MILLION), hashes(SALTS[1], "prefixed", MILLION), strict=True
    )
    counts = Counter((a * 100 >> 32) * 100 + (b * 100 >> 32) for a, b in pairs)
    assert abs(deviation((counts[cell] for cell in range(10_000)), 100)) < 4


@pytest.mark.parametrize("kind", ["sequence", "padded"])
def test_neighbours_are_dealt_out_independently(kind: str) -> None:
    """Units that registered one after the other do not share their fate."""
    dealt = hashes("f3b1", kind, 250_001)
    pairs = zip(dealt, islice(dealt, 1, None), strict=False)
    counts = Counter((a * 20 >> 32) * 20 + (b * 20 >> 32) for a, b in pairs)
    assert abs(deviation((counts[cell] for cell in range(400)), 625)) < 4


def test_arms_get_their_shares_wherever_their_buckets_are() -> None:
    """After a chain of changes the buckets of an arm are scattered; its share is its weight."""
    arms = reallocate([], [Arm("a", 50_000), Arm("b", 30_000), Arm("c", 20_000)])
    for weights in [(10, 20, 70), (33, 33, 34), (60, 15, 25), (25, 50, 25)]:
        arms = reallocate(arms, [Arm(n, w * 1_000) for n, w in zip("abc", weights, strict=True)])
    pieces = layout(arms)
    assert len(pieces) > 5
    holders = [variant for low, high, variant in pieces for _ in range(low, high)]
    counts = Counter(holders[h * BUCKETS >> 32] for h in hashes("f3b1", "uuid", MILLION))
    for arm in arms:
        share = arm.weight / BUCKETS
        assert abs(counts[arm.variant] - MILLION * share) < 4 * sqrt(MILLION * share * (1 - share))
