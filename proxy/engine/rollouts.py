"""What is served: known variants, weights that sum, ranges that hold them. Part of `validate`."""

from collections.abc import Container

from msgspec import UnsetType

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import BUCKETS, TARGETING_KEY, Arm, Rollout, Serve
from proxy.engine import limits
from proxy.engine.findings import Findings, Path
from proxy.engine.texts import check_count

__all__ = ["check_serve", "check_variant"]


def check_variant(path: Path, name: str, variants: Container[str], findings: Findings) -> None:
    if name not in variants:
        findings.add(path, ProblemCode.UNKNOWN_VARIANT, f"the flag has no variant {name!r}")


def check_serve(path: Path, serve: Serve, variants: Container[str], findings: Findings) -> None:
    if not isinstance(serve.variant, UnsetType):
        check_variant((*path, "variant"), serve.variant, variants, findings)
    if not isinstance(serve.rollout, UnsetType):
        _check_rollout((*path, "rollout"), serve.rollout, variants, findings)


def _check_rollout(
    path: Path, rollout: Rollout, variants: Container[str], findings: Findings
) -> None:
    if not 0 < len(rollout.by) <= limits.MAX_PATH_CHARS:
        message = f"the name of an attribute has 1 to {limits.MAX_PATH_CHARS} characters"
        hint = f"leave it out to split by {TARGETING_KEY}"
        findings.add((*path, "by"), ProblemCode.OUT_OF_RANGE, message, hint)
    arms = (*path, "arms")
    check_count(arms, len(rollout.arms), limits.MAX_VARIANTS, "arms", findings)
    taken: dict[str, int] = {}
    for index, arm in enumerate(rollout.arms):
        check_variant((*arms, index, "variant"), arm.variant, variants, findings)
        if (first := taken.setdefault(arm.variant, index)) != index:
            message = f"arm {first} has the variant {arm.variant!r} already"
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
    held: list[tuple[int, int, Path]] = []
    for index, arm in enumerate(arms):
        size = 0
        for number, (low, high) in enumerate(arm.ranges or ()):
            here = (*path, index, "ranges", number)
            if 0 <= low < high <= BUCKETS:
                held.append((low, high, here))
                size += high - low
            else:
                message = f"a range is [low, high], with 0 <= low < high <= {BUCKETS}"
                findings.add(here, ProblemCode.OUT_OF_RANGE, message)
        if size != arm.weight:
            findings.add(
                (*path, index, "ranges"),
                ProblemCode.WEIGHT_RANGES,
                f"the ranges hold {size} buckets, the weight is {arm.weight}",
                "leave the ranges of all arms out and they are made",
            )
    held.sort(key=lambda item: item[:2])
    end = 0
    for low, high, here in held:
        if low < end:
            message = f"the buckets from {low} to {min(end, high)} are held already"
            findings.add(here, ProblemCode.RANGES_OVERLAP, message)
        end = max(end, high)
