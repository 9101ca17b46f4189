"""What is served: known variants, weights that sum, ranges that hold them. Part of `validate`."""

from collections.abc import Container

from msgspec import UnsetType

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import BUCKETS, TARGETING_KEY, Arm, Ramp, Rollout, Serve
from proxy.engine import limits
from proxy.engine.findings import Findings, Path
from proxy.engine.nearness import meant
from proxy.engine.texts import check_attribute, check_count
from proxy.engine.times import parse_moment

__all__ = ["check_moment", "check_serve", "check_splits", "check_variant"]


def check_variant(path: Path, name: str, variants: Container[str], findings: Findings) -> None:
    if name not in variants:
        message, hint = f"the flag has no variant {name!r}", meant(name, variants, findings)
        findings.add(path, ProblemCode.UNKNOWN_VARIANT, message, hint)


def check_serve(path: Path, serve: Serve, variants: Container[str], findings: Findings) -> None:
    if not isinstance(serve.variant, UnsetType):
        check_variant((*path, "variant"), serve.variant, variants, findings)
    if not isinstance(serve.rollout, UnsetType):
        _check_rollout((*path, "rollout"), serve.rollout, variants, findings)
    if not isinstance(serve.ramp, UnsetType):
        _check_ramp((*path, "ramp"), serve.ramp, variants, findings)


def check_splits(path: Path, findings: Findings) -> None:
    """Report more arms or ranges in all than are allowed; `check_serve` has counted them."""
    for count, most, what, hint in (
        (findings.arms, limits.MAX_ARMS, "arms", "serve fewer variants by share"),
        (findings.ranges, limits.MAX_RANGES, "ranges", _NEW_RANGES),
    ):
        if count > most:
            message = f"{count} {what} of rollouts in all, at most {most} are allowed"
            findings.add(path, ProblemCode.TOO_MANY, message, hint)


_NEW_RANGES = "leave out the ranges of all arms of a rollout: new ones are made, which moves units"


def check_moment(path: Path, text: str, findings: Findings) -> int | None:
    """Return a time in Unix milliseconds; report text that is none."""
    moment = parse_moment(text)
    if moment is None:
        message = "this is no time with a zone"
        hint = "write it as RFC 3339: 2026-12-01T09:00:00Z"
        findings.add(path, ProblemCode.INVALID_TIME, message, hint)
    return moment


def _check_ramp(path: Path, ramp: Ramp, variants: Container[str], findings: Findings) -> None:
    _check_by((*path, "by"), ramp.by, findings)
    check_variant((*path, "variant"), ramp.variant, variants, findings)
    check_variant((*path, "else"), ramp.else_, variants, findings)
    if ramp.variant == ramp.else_:
        message = f"both sides are {ramp.variant!r}, so nothing would change"
        findings.add((*path, "else"), ProblemCode.DUPLICATE_VARIANT, message)
    for name, share in (("from", ramp.from_), ("to", ramp.to)):
        if not 0 <= share <= BUCKETS:
            message = f"a share is 0 to {BUCKETS}, in 1/{BUCKETS}"
            findings.add((*path, name), ProblemCode.OUT_OF_RANGE, message)
    start = check_moment((*path, "start"), ramp.start, findings)
    end = check_moment((*path, "end"), ramp.end, findings)
    if start is not None and end is not None and start >= end:
        message = "a ramp ends after it begins"
        findings.add((*path, "end"), ProblemCode.OUT_OF_RANGE, message)


def _check_by(path: Path, by: str, findings: Findings) -> None:
    check_attribute(path, by, findings, f"leave it out to split by {TARGETING_KEY}")


def _check_rollout(
    path: Path, rollout: Rollout, variants: Container[str], findings: Findings
) -> None:
    _check_by((*path, "by"), rollout.by, findings)
    arms = (*path, "arms")
    findings.spent += 2 * len(rollout.arms)
    findings.arms += len(rollout.arms)
    for arm in rollout.arms:
        if arm.ranges:
            findings.ranges += len(arm.ranges)
    if findings.arms > limits.MAX_ARMS or findings.ranges > limits.MAX_RANGES:
        return  # there may be millions, and there is a problem anyhow
    check_count(arms, len(rollout.arms), limits.MAX_VARIANTS, "arms", findings)
    taken: dict[str, int] = {}
    for index, arm in enumerate(rollout.arms):
        check_variant((*arms, index, "variant"), arm.variant, variants, findings)
        if (first := taken.setdefault(arm.variant, index)) != index:
            message = f"arm number {first + 1} has the variant {arm.variant!r} already"
            findings.add((*arms, index, "variant"), ProblemCode.DUPLICATE_VARIANT, message)
        if not 0 <= arm.weight <= BUCKETS:
            message = f"a weight is 0 to {BUCKETS}, in 1/{BUCKETS}"
            findings.add((*arms, index, "weight"), ProblemCode.OUT_OF_RANGE, message)
    total = sum(arm.weight for arm in rollout.arms)
    if total != BUCKETS:
        message = f"the weights sum to {total}, not to {BUCKETS}"
        findings.add(arms, ProblemCode.WEIGHTS_SUM, message, f"{BUCKETS} is 100 %")
    _check_ranges(arms, rollout.arms, findings)


def _check_ranges(path: Path, arms: list[Arm], findings: Findings) -> None:
    if not any(arm.ranges for arm in arms):
        return
    held: list[tuple[int, int, int, int]] = []
    for index, arm in enumerate(arms):
        size = 0
        for number, (low, high) in enumerate(arm.ranges or ()):
            if 0 <= low < high <= BUCKETS:
                held.append((low, high, index, number))
                size += high - low
            else:
                here = (*path, index, "ranges", number)
                message = f"a range is [low, high], with 0 <= low < high <= {BUCKETS}"
                findings.add(here, ProblemCode.OUT_OF_RANGE, message)
        if size != arm.weight:
            findings.add(
                (*path, index, "ranges"),
                ProblemCode.WEIGHT_RANGES,
                f"the ranges hold {size} buckets, the weight is {arm.weight}",
                "leave the ranges of all arms out and they are made",
            )
    held.sort()
    findings.spent += len(held)
    end = 0
    for low, high, index, number in held:
        if low < end:
            here = (*path, index, "ranges", number)
            message = f"the buckets from {low} to {min(end, high)} are held already"
            findings.add(here, ProblemCode.RANGES_OVERLAP, message)
        end = max(end, high)
