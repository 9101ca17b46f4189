"""Which stored rule a rule without an `id` is. Pure.

What a rollout has dealt out hangs on the id of its rule: the ranges of its arms, and what counts as
moved. An author who leaves ids out, as in a file kept by hand, still means the same rules when one
is put before them, taken out or moved. So rules without an id are found again by what they say:

    1. the same in everything but the weights' ranges
    2. the same condition, split by the same attribute over the same variants
    3. the same condition
    4. the same split, with another condition
    5. as many of them in the same place, between rules that were found: those, in order

and get the id of the stored rule. The others are new, and get an id that no stored rule has.
"""

from collections import deque
from collections.abc import Callable, Iterator

import msgspec
from msgspec import UNSET

from proxy.contract.authoring import with_rule_ids
from proxy.contract.definitions import Rule, Serve

__all__ = ["with_kept_ids"]

_Likeness = Callable[[Rule], object]

_encoder = msgspec.json.Encoder(order="deterministic")


def with_kept_ids(old: list[Rule], new: list[Rule]) -> list[Rule]:
    """Return the rules with ids: of the stored rules that they are, or new ones."""
    if not old or all(rule.id is not UNSET for rule in new):
        return with_rule_ids(new)
    where = {rule.id: index for index, rule in enumerate(old)}
    found = {
        index: where.pop(rule.id)
        for index, rule in enumerate(new)
        if rule.id is not UNSET and rule.id in where
    }
    for likeness in (_whole, _condition_and_split, _condition, _split_alone):
        _pair_alike(old, new, found, likeness)
    _pair_in_place(old, new, found)
    kept = [
        msgspec.structs.replace(rule, id=old[found[index]].id) if index in found else rule
        for index, rule in enumerate(new)
    ]
    return with_rule_ids(kept, taken={rule.id for rule in old})


def _pair_alike(
    old: list[Rule], new: list[Rule], found: dict[int, int], likeness: _Likeness
) -> None:
    """Pair rules that are alike in one way, in their order; `found` is added to."""
    taken = set(found.values())
    free: dict[object, deque[int]] = {}
    for index, rule in enumerate(old):
        if index not in taken and (like := likeness(rule)) is not None:
            free.setdefault(like, deque()).append(index)
    for index in _unknown(new, found):
        same = free.get(likeness(new[index]))
        if same:
            found[index] = same.popleft()


def _pair_in_place(old: list[Rule], new: list[Rule], found: dict[int, int]) -> None:
    """Pair runs of as many rules that come after the same rule, or first."""
    taken = set(found.values())
    before: dict[int, list[int]] = {}  # runs of stored rules, by the index of the rule before
    anchor = -1
    for index in range(len(old)):
        if index in taken:
            anchor = index
        else:
            before.setdefault(anchor, []).append(index)
    after: dict[int, list[int]] = {}
    anchor = -1
    for index, rule in enumerate(new):
        if index in found:
            anchor = found[index]
        elif rule.id is UNSET:
            after.setdefault(anchor, []).append(index)
    for anchor, run in after.items():
        stored = before.get(anchor, [])
        if len(stored) == len(run):
            found.update(zip(run, stored, strict=True))


def _unknown(new: list[Rule], found: dict[int, int]) -> Iterator[int]:
    """Yield the index of each rule that has no id and was not found yet."""
    return (i for i, rule in enumerate(new) if rule.id is UNSET and i not in found)


def _whole(rule: Rule) -> object:
    serve = _without_ranges(rule.serve)
    return _encoder.encode((rule.when, serve, rule.active or None, rule.description or None))


def _condition_and_split(rule: Rule) -> object:
    return _encoder.encode(rule.when), _split_of(rule.serve)


def _condition(rule: Rule) -> object:
    return _encoder.encode(rule.when)


def _split_alone(rule: Rule) -> object:
    """Return what tells a rollout or a ramp from others; None of a plain variant, which is none."""
    return None if rule.serve.variant is not UNSET else _encoder.encode(_without_ranges(rule.serve))


def _split_of(serve: Serve) -> object:
    if serve.rollout is not UNSET:
        return serve.rollout.by, frozenset(arm.variant for arm in serve.rollout.arms)
    if serve.ramp is not UNSET:
        return serve.ramp.by, frozenset((serve.ramp.variant, serve.ramp.else_))
    return serve.variant


def _without_ranges(serve: Serve) -> Serve:
    if serve.rollout is UNSET:
        return serve
    arms = [msgspec.structs.replace(arm, ranges=UNSET) for arm in serve.rollout.arms]
    return Serve(rollout=msgspec.structs.replace(serve.rollout, arms=arms))
