"""How many units a change takes from one variant to another. Pure.

A unit's bucket is decided by the salt and the attribute `by`. While both stay, what moves is
counted exactly, in buckets of `BUCKETS`: those whose variant is another afterwards. When either
changes every unit gets a new bucket, and what can be said is an expectation: a unit keeps its
variant with the probability that two independent draws agree, so `1 - sum(w_i * w'_i)` of them
move, weights as shares.

A plain variant counts as a rollout of one arm, by whatever the other side splits by: units have it
in any bucket, so that going over to a rollout and back is counted exactly. Places are `fallthrough`
and `rules/<id>`; a rule that comes or goes is not compared, because who met it depends on its
condition.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET

from control_plane.errors import Conflict
from proxy.contract.definitions import (
    BUCKETS,
    Arm,
    EnvironmentConfig,
    Flag,
    Rollout,
    Serve,
)
from proxy.engine import reallocate

__all__ = ["Moved", "check_consent", "keep_ranges", "moved_between", "serves_of"]

_Ranges = Sequence[tuple[int, int]]


class Moved(msgspec.Struct, frozen=True):
    """`buckets` of 100,000 change their variant in one place; an expectation if `estimated`."""

    environment: str
    place: str
    buckets: int
    estimated: bool = False


def serves_of(config: EnvironmentConfig) -> Iterator[tuple[str, Serve]]:
    """Yield each place of a configuration that serves something, and what."""
    yield "fallthrough", config.fallthrough
    for rule in config.rules:
        yield f"rules/{rule.id}", rule.serve


def moved_between(old: Flag, new: Flag) -> list[Moved]:
    """Return what moves where, for all places that split units before or after."""
    moved = []
    for environment, config in new.environments.items():
        before = old.environments.get(environment)
        if before is None:
            continue
        places = dict(serves_of(before))
        for place, serve in serves_of(config):
            was = places.get(place)
            if was is None or (was.rollout is UNSET and serve.rollout is UNSET):
                continue
            estimated = _is_rebucketed(before, config, was, serve)
            count = _expected(was, serve) if estimated else _counted(was, serve)
            if count:
                moved.append(Moved(environment, place, count, estimated))
    return moved


def check_consent(old: Flag, new: Flag, *, rebucket: bool) -> None:
    """Raise Conflict when salts or `by` change and the caller did not say `rebucket`."""
    if rebucket:
        return
    for environment, config in new.environments.items():
        before = old.environments.get(environment)
        if before is None:
            continue
        places = dict(serves_of(before))
        where = [
            place
            for place, serve in serves_of(config)
            if place in places and _is_split_anew(places[place], serve)
        ]
        if config.salt != before.salt:
            where.insert(0, "salt")
        if where:
            expected = max((m.buckets for m in moved_between(old, new) if m.estimated), default=0)
            raise Conflict(
                f"{', '.join(where[:5])} of {environment!r} would give units new buckets: "
                f"about {expected} of {BUCKETS} would get another variant; "
                "repeat with ?rebucket=true if that is meant",
                code="rebucketing",
            )


def keep_ranges(old: Serve | None, new: Serve) -> Serve:
    """Return what is served with the ranges of its arms filled in, moving as few as can be.

    Ranges that merely repeat what is stored are taken for an echo of what was read: weights win
    over them. Empty ones in all arms say as little as
    none. Ranges of the author's own are left to stand, and to be validated, as they are.
    """
    if new.rollout is UNSET:
        return new
    before = old.rollout.arms if old is not None and old.rollout is not UNSET else []
    stored = {arm.variant: arm.ranges for arm in before}
    own = [
        arm.ranges
        for arm in new.rollout.arms
        if arm.ranges and arm.ranges != stored.get(arm.variant)
    ]
    if own:
        return new
    arms = [msgspec.structs.replace(arm, ranges=UNSET) for arm in new.rollout.arms]
    if _is_whole(arms):
        arms = reallocate(before or arms, arms)
    return Serve(rollout=Rollout(arms, new.rollout.by))


def _is_whole(arms: list[Arm]) -> bool:
    """Return whether arms can be laid out; what is wrong with others is validation's to say."""
    return (
        sum(arm.weight for arm in arms) == BUCKETS
        and all(arm.weight >= 0 for arm in arms)
        and len({arm.variant for arm in arms}) == len(arms)
    )


def _is_rebucketed(
    before: EnvironmentConfig, after: EnvironmentConfig, was: Serve, serve: Serve
) -> bool:
    return before.salt != after.salt or _is_split_anew(was, serve)


def _is_split_anew(was: Serve, serve: Serve) -> bool:
    """Return whether units were split by one attribute and are by another now."""
    if was.rollout is UNSET or serve.rollout is UNSET:
        return False
    return was.rollout.by != serve.rollout.by


def _arms(serve: Serve) -> list[Arm]:
    if serve.rollout is not UNSET:
        return serve.rollout.arms
    return [Arm(serve.variant or "", BUCKETS, [(0, BUCKETS)])]


def _counted(was: Serve, serve: Serve) -> int:
    """Return how many buckets have another variant; stored arms carry their ranges."""
    before = {arm.variant: arm.ranges or [] for arm in _arms(was)}
    kept = sum(_overlap(before.get(arm.variant, []), arm.ranges or []) for arm in _arms(serve))
    return BUCKETS - kept


def _expected(was: Serve, serve: Serve) -> int:
    before = {arm.variant: arm.weight for arm in _arms(was)}
    agree = sum(arm.weight * before.get(arm.variant, 0) for arm in _arms(serve))
    return round(BUCKETS * (1 - agree / BUCKETS**2))


def _overlap(a: _Ranges, b: _Ranges) -> int:
    """Return how many buckets two sets of disjoint ranges share."""
    a, b = sorted(a), sorted(b)
    shared = i = j = 0
    while i < len(a) and j < len(b):
        shared += max(0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] <= b[j][1]:
            i += 1
        else:
            j += 1
    return shared
