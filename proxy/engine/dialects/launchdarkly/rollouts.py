"""Rollouts and experiments: which bucket a context is in, and which arm holds it.

The bucket is the first 60 bits of the SHA-1 of `<flag key>.<salt>.<unit>`, or with a seed of
`<seed>.<unit>`, divided by 2**60. An arm holds those below the sum of the weights up to it, in
100,000ths, that none before it holds; the last one holds the rest. LaunchDarkly's Go and Java
clients compute that in single precision and the others in double: about one context in a million
is in another arm. Either way the comparison has an exact turning point among the integers.

Who has nothing to be hashed is in bucket 0. That is so for an attribute that is missing or neither
a text nor an integer; and where the context has no individual context of the kind, which in
addition takes nobody into an experiment.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import program as p
from proxy.engine.dialects.launchdarkly import contexts
from proxy.engine.dialects.launchdarkly.clauses import operand_of
from proxy.engine.dialects.launchdarkly.document import Rollout, kind_of, whole
from proxy.engine.findings import Findings, Path
from proxy.engine.hashing import first_number
from proxy.engine.operators import Leaf
from proxy.engine.shown import compact

__all__ = ["Bits", "end_of", "float32", "share", "split", "unit_attribute"]

Bits = int
"""32 or 64: the precision of the client that is replaced."""

_WHOLE = 100_000
_BUCKETS = 2**60
_EXACT_INTEGERS = 2**53

Outcomes = Callable[[int, bool, str], p.Outcome]
"""Returns what is served, of a variation, whether in an experiment, and what held the unit."""


def split(
    rollout: Rollout, prefix: bytes, bits: Bits, outcome: Outcomes, findings: Findings, path: Path
) -> p.Serve | None:
    """Return how a rollout divides contexts, None where it cannot be said.

    `prefix` is what is hashed before the unit where there is no seed.
    """
    arms = rollout.variations or []
    if not arms:
        message = "a rollout to nothing: who comes here gets an error"
        where = (*path, "variations")
        findings.add(where, ProblemCode.MISSING_FIELD, message, severity=Severity.WARNING)
        return None
    weights, variations = [], []
    for index, arm in enumerate(arms):
        where = (*path, "variations", index)
        weights.append(_integer(arm.weight, (*where, "weight"), findings))
        variations.append(_integer(arm.variation, (*where, "variation"), findings))
    is_experiment = rollout.kind == "experiment"
    bucketing = _bucketing(rollout, prefix, is_experiment, findings, path)
    if bucketing is None:
        return None
    by = unit_attribute(None if is_experiment else rollout.bucket_by, rollout.context_kind)

    def served(index: int, tracked: bool = True) -> p.Outcome:
        in_experiment = is_experiment and tracked and not arms[index].untracked
        return outcome(variations[index], in_experiment, by)

    made: list[p.Arm] = []
    low, end = 0, 0.0
    first: p.Outcome | None = None
    for index, weight in enumerate(weights):
        end = _sum(end, weight, bits)
        high = end_of(end, bits)
        if low < high:
            first = first or served(index, tracked=False)
            made.append(p.Arm(low, high, served(index)))
            low = high
    otherwise = served(len(arms) - 1)
    return p.Split(bucketing, tuple(made), otherwise, first or otherwise)


def share(
    weight: int,
    kind: str | None,
    by: str | None,
    prefix: bytes,
    bits: Bits,
    findings: Findings,
    path: Path,
) -> p.Expression | None:
    """Return the condition of a segment's rule that takes in a share, None where `by` is bad."""
    key = contexts.key(kind_of(kind))
    unit = operand_of(by, kind, findings, path, "bucketBy") if by else key
    if unit is None:
        return None
    high = end_of(_sum(0.0, weight, bits), bits)
    if high <= 0:
        return p.FALSE
    inside = p.Within(p.Bucketing((prefix, p.Part(unit, unit_bytes)), "sha1_60"), ((0, high),))
    if unit is key:
        return inside
    without = p.Probe(unit, _NO_UNIT, source="cannot be hashed, so the bucket is 0")
    return p.all_of([p.Probe(key, _PRESENT, source="is there"), p.any_of([inside, without])])


def unit_bytes(value: Any) -> bytes | None:
    """Return what is hashed of a value: a text, or the decimal of an integer."""
    kind = value.__class__
    if kind is str:
        return value.encode("utf-8", "surrogatepass")  # type: ignore[no-any-return]
    if kind is int:
        if not -_EXACT_INTEGERS <= value <= _EXACT_INTEGERS:
            return unit_bytes(float(value)) if abs(value) < 2**63 else None
        return b"%d" % value
    if kind is float and -(2.0**63) < value < 2.0**63 and value == int(value):
        return b"%d" % int(value)
    return None


_NO_UNIT = Leaf("{0}({f}) is None", (unit_bytes,))
_PRESENT = Leaf("{f} is not None")


def unit_attribute(by: str | None, kind: str | None) -> str:
    """Return where the unit stands in a context, as well as one name can say it."""
    if kind_of(kind) != contexts.USER:
        return f"{kind}.{by or 'key'}"
    return by or TARGETING_KEY


def _bucketing(
    rollout: Rollout, prefix: bytes, is_experiment: bool, findings: Findings, path: Path
) -> p.Bucketing | None:
    if rollout.seed is not None:
        seed = whole(rollout.seed)
        if seed is None:
            findings.add((*path, "seed"), ProblemCode.WRONG_TYPE, "a seed is an integer")
            return None
        prefix = b"%d." % seed
    unit: p.Operand | None = contexts.key(kind_of(rollout.context_kind))
    if rollout.bucket_by and not is_experiment:
        unit = operand_of(rollout.bucket_by, rollout.context_kind, findings, path, "bucketBy")
    if unit is None:
        return None
    return p.Bucketing((prefix, p.Part(unit, unit_bytes)), "sha1_60")


def _integer(number: float | None, path: Path, findings: Findings) -> int:
    """Return what an arm says, 0 where it says nothing."""
    found = 0 if number is None else whole(number)
    if found is None:
        findings.add(path, ProblemCode.WRONG_TYPE, f"{compact(number)} is no integer")
    return found or 0


# Floating point


def float32(number: float) -> float:
    """Return the nearest number of single precision, half to even.

    Of an integer in one rounding: it must not become one of double precision on the way.
    """
    if isinstance(number, int):
        shift = max(0, number.bit_length() - 25)
        # two bits more than are kept, the lowest saying whether anything below them is set
        number = ((number >> shift) << 1 | (number & ((1 << shift) - 1) != 0)) * 2.0 ** (shift - 1)
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _sum(end: float, weight: int, bits: Bits) -> float:
    """Return the end of the arm after the one that ends at `end`."""
    if bits == 64:
        return end + weight / _WHOLE
    return float32(end + float32(float32(weight) / float32(_WHOLE)))


@lru_cache(maxsize=4_096)
def end_of(end: float, bits: Bits) -> int:
    """Return the first of the 2**60 hashes whose bucket is not below `end`."""
    if bits == 64:
        return first_number(_BUCKETS, lambda h: h / _BUCKETS >= end)
    return first_number(_BUCKETS, lambda h: float32(h) / _BUCKETS >= end)
