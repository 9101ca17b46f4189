"""How many units a change takes from one variant to another. Pure.

A unit's bucket is decided by the salt and the attribute `by`. While both stay, what moves is
counted exactly, in buckets of `BUCKETS`: those whose variant is another afterwards. When either
changes where units are told apart before and after, every unit gets a new bucket, and what can be
said is an expectation: a unit keeps its variant with the probability that two independent draws
agree, so `1 - sum(w_i * w'_i)` of them move, weights as shares. That wants consent, unless it comes
to nobody, as where all units get the same variant before and after.

A plain variant counts as a rollout of one arm, by whatever the other side splits by, with whatever
salt: units have it in any bucket, so that going over to a rollout and back is counted exactly. A
ramp counts as the rollout that it is at the time of the change; where it goes from there is its
author's plan, and no unit goes back and forth on the way.

Where the definition of another system decides, before or after, nothing can be counted: a change of
it wants consent, too, unless the flag is off before and after.

Places are `fallthrough` and `rules/<id>`. Rules whose ids were left out have got those of the rules
that they are (`rule_ids`). One with a new id of its author's is the one that had the same condition
and whose id is gone: a new name moves nobody, and is no way around consent. Any other rule that
comes or goes is not compared, because who met it depends on its condition. For the same reason
neither prerequisites nor the time in which a rule is active count.
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
    Ramp,
    Rollout,
    Serve,
)
from proxy.engine import ramp_arms, reallocate

__all__ = [
    "Moved",
    "check_consent",
    "keep_ranges",
    "moved_between",
    "served_before",
    "serves_of",
]

_Ranges = Sequence[tuple[int, int]]

_encode = msgspec.json.Encoder(order="deterministic").encode


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


def served_before(old: EnvironmentConfig, new: EnvironmentConfig) -> dict[str, Serve]:
    """Return what each place of a new configuration served before, as far as it was there."""
    before = dict(serves_of(old))
    kept = {rule.id for rule in old.rules} & {rule.id for rule in new.rules}
    gone: dict[bytes, list[int]] = {}
    for number, rule in enumerate(old.rules):
        if rule.id not in kept:
            gone.setdefault(_encode(rule.when), []).append(number)
    for number, rule in enumerate(new.rules) if gone else ():
        if rule.id not in kept and (alike := gone.get(_encode(rule.when))):
            # of several the one in the same place, or the first
            was = alike.pop(alike.index(number) if number in alike else 0)
            before[f"rules/{rule.id}"] = old.rules[was].serve
    return before


def moved_between(old: Flag, new: Flag, now_ms: int) -> list[Moved]:
    """Return what moves where at a time, for all places that split units before or after."""
    moved: list[Moved] = []
    for environment, config in new.environments.items():
        before = old.environments.get(environment)
        if before is not None:
            moved += _moved_in(environment, before, config, now_ms)
    return moved


def check_consent(old: Flag, new: Flag, now_ms: int, *, rebucket: bool) -> None:
    """Raise Conflict when units move for a new salt or `by` and the caller did not say `rebucket`.

    Not where nobody would: a salt tells nothing apart in a flag that serves everybody the same.
    """
    if rebucket:
        return
    for environment, config in new.environments.items():
        before = old.environments.get(environment)
        if before is None:
            continue
        if _source_may_move(before, config):
            raise Conflict(
                f"another definition decides in {environment!r}, and how many units it gives "
                "another variant cannot be counted; repeat with ?rebucket=true if that is meant",
                code="rebucketing",
            )
        moved = [m for m in _moved_in(environment, before, config, now_ms) if m.estimated]
        if moved:
            where = [m.place for m in moved]
            if config.salt != before.salt:
                where.insert(0, "salt")
            raise Conflict(
                f"{', '.join(where[:5])} of {environment!r} would give units new buckets: "
                f"about {max(m.buckets for m in moved)} of {BUCKETS} would get another variant; "
                "repeat with ?rebucket=true if that is meant",
                code="rebucketing",
            )


def keep_ranges(old: Serve | None, new: Serve, now_ms: int) -> Serve:
    """Return what is served with the ranges of its arms filled in, moving as few as can be.

    Ranges that merely repeat what is stored are taken for an echo of what was read: weights win
    over them. Empty ones in all arms say as little as none. Ranges of the author's own are left to
    stand, and to be validated, as they are. After a ramp units stay where it has them at the time,
    so that a ramp is stopped by a rollout of the share it has reached.
    """
    if new.rollout is UNSET:
        return new
    before = _arms(old, now_ms) if old is not None and _split(old) is not None else []
    echoed = before if old is not None and old.rollout is not UNSET else []
    stored = {arm.variant: arm.ranges for arm in echoed}
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


def _moved_in(
    environment: str, before: EnvironmentConfig, after: EnvironmentConfig, now_ms: int
) -> Iterator[Moved]:
    """Yield what moves in the places of one configuration; nothing where a source decides."""
    if before.source is not UNSET or after.source is not UNSET:
        return
    places = served_before(before, after)
    for place, serve in serves_of(after):
        was = places.get(place)
        if was is None:
            continue
        old, new = _split(was), _split(serve)
        if old is None and new is None:
            continue
        had, gets = _arms(was, now_ms), _arms(serve, now_ms)
        anew = (
            old is not None and new is not None and (before.salt != after.salt or old.by != new.by)
        )
        count = _expected(had, gets) if anew else _counted(had, gets)
        if count:
            yield Moved(environment, place, count, anew)


def _source_may_move(before: EnvironmentConfig, after: EnvironmentConfig) -> bool:
    """Return whether another system's definition comes, goes or changes where it is served."""
    if not (before.enabled or after.enabled):
        return False
    if before.source is UNSET or after.source is UNSET:
        return before.source is not after.source
    return _encode(before.source) != _encode(after.source)


def _split(serve: Serve) -> Rollout | Ramp | None:
    """Return what tells units apart; None where all get the same variant."""
    if serve.rollout is not UNSET:
        return serve.rollout
    return None if serve.ramp is UNSET else serve.ramp


def _arms(serve: Serve, now_ms: int) -> list[Arm]:
    if serve.rollout is not UNSET:
        return serve.rollout.arms
    if serve.ramp is not UNSET:
        return ramp_arms(serve.ramp, now_ms)
    return [Arm(serve.variant or "", BUCKETS, [(0, BUCKETS)])]


def _counted(had: list[Arm], gets: list[Arm]) -> int:
    """Return how many buckets have another variant; stored arms carry their ranges."""
    before = {arm.variant: arm.ranges or [] for arm in had}
    kept = sum(_overlap(before.get(arm.variant, []), arm.ranges or []) for arm in gets)
    return BUCKETS - kept


def _expected(had: list[Arm], gets: list[Arm]) -> int:
    before = {arm.variant: arm.weight for arm in had}
    agree = sum(arm.weight * before.get(arm.variant, 0) for arm in gets)
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
