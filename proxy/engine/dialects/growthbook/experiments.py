"""Experiments of GrowthBook as rules, be they rules of a feature or by themselves.

An experiment is up to three kinds of rules, one after the other; a context without `$growthbook`
(`requests`) goes straight to the second:

    1  who has a variation by force, or from a store, is served it, or is not in the experiment
    2  who passes namespace, condition and prerequisites is split; for a contextual bandit there is
       one such rule for each leaf, and a leaf is found once
    3  the same by `fallbackAttribute`, for those whose sticky buckets are known

and whoever is in no range, or in a variation that passes through, goes on with what follows.

Outcomes say in their metadata what GrowthBook tells applications: `sourceReason`, `ruleIndex`,
`experimentKey`, `variationId`, `variationKey`, `variationName`, `hashAttribute`, `hashUsed`,
`inExperiment`, `leafId`, `variationWeights`, `banditVersion`, `bucketVersion`, `phase`, where there
is one; and `stickyBucketUsed` where it is true.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Reason
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.growthbook import ranges as r
from proxy.engine.dialects.growthbook import requests as q
from proxy.engine.dialects.growthbook.conditions import Conditions
from proxy.engine.dialects.growthbook.members import Members, is_plain, is_text
from proxy.engine.dialects.growthbook.outcomes import (
    Metadata,
    Outcomes,
    unit_attribute,
    variation_key,
)
from proxy.engine.dialects.growthbook.values import Test, is_true
from proxy.engine.dialects.javascript import number_text
from proxy.engine.findings import Path
from proxy.engine.operators import Leaf

__all__ = ["Experiment", "Experiments"]

_ASKED = p.Probe(q.REQUEST, Leaf("{f} is not None"), source={q.REQUEST: {"$exists": True}})
_NOT_ASKED = p.Probe(q.REQUEST, Leaf("{f} is None"), source={q.REQUEST: {"$exists": False}})

_LEAST_VARIATIONS = 2

_NO_LEAF = -1
"""The leaf of who is in none."""

_MOST_PIECES = 20_000
"""Of all splits of a flag: each is an arm, and ranges of hundreds of leaves multiply."""


class Experiment(msgspec.Struct):
    """What of an experiment its rules are made of."""

    at: Path
    rule: Mapping[str, Any]
    key: str
    member: str
    variations: list[Any]
    names: list[str]
    """Of the variants that its variations become."""
    base: list[p.Expression]
    """What is asked before the experiment is."""
    own: list[p.Expression]
    """What who comes from a store need not pass."""
    by: str
    fallback: str | None
    version: int | float
    seed: str
    weights: list[float] | None
    coverage: float
    ranges: list[tuple[float, float]] | None
    meta: list[Any]
    rule_id: str | None
    facts: Metadata
    bucket_version: int
    namespace: tuple[str, float, float] | None
    force: int | None = None
    stopped: bool = False


class Experiments:
    """Makes the experiments of one feature."""

    def __init__(
        self,
        key: str,
        members: Members,
        outcomes: Outcomes,
        conditions: Conditions,
        bandits: Mapping[str, Any],
        of_bandits: Members,
    ) -> None:
        self._key = key
        self._members = members
        self._outcomes = outcomes
        self._conditions = conditions
        self._bandits = bandits
        self._of_bandits = of_bandits
        self._pieces = 0

    def read(
        self,
        rule: Mapping[str, Any],
        at: Path,
        base: list[p.Expression],
        rule_id: str | None,
        member: str,
        has_filters: bool,
        index: int | None,
    ) -> Experiment | None:
        """Return an experiment as it is written, None where it is not one."""
        variations = rule.get(member)
        if variations.__class__ is not list:
            self._members.error((*at, member), ProblemCode.WRONG_TYPE, "variations are a list")
            return None
        if len(variations) > limits.MAX_VARIANTS:
            message = f"an experiment has at most {limits.MAX_VARIANTS:,} variations"
            self._members.error((*at, member), ProblemCode.TOO_MANY, message)
            return None
        key = self._members.text(rule, "key", at) or self._key
        meta = rule.get("meta") or []
        if meta.__class__ is not list:
            self._members.error((*at, "meta"), ProblemCode.WRONG_TYPE, "meta is a list")
            meta = []
        facts: list[tuple[str, Any]] = [("sourceReason", "experiment")]
        if index is not None:
            facts.append(("ruleIndex", index))
        facts.append(("experimentKey", key))
        phase = rule.get("phase")
        if (phase.__class__ is int and is_plain(phase)) or (
            phase.__class__ is str and is_text(phase)
        ):
            facts.append(("phase", phase))
        coverage = self._members.number(rule, "coverage", at) if "coverage" in rule else 1
        ranges = rule.get("ranges")
        fallback = None
        if not is_true(rule.get("disableStickyBucketing")):
            fallback = self._members.text(rule, "fallbackAttribute", at) or None
        experiment = Experiment(
            at,
            rule,
            key,
            member,
            variations,
            self._variation_names(key, variations, meta, index),
            base,
            self._conditions.of(rule, at),
            self._members.text(rule, "hashAttribute", at) or "id",
            fallback,
            self._members.version(rule, at, 1),
            self._members.text(rule, "seed", at) or key,
            self._members.weights(rule.get("weights"), (*at, "weights")),
            coverage or 0,
            None if ranges is None else self._members.ranges(ranges, (*at, "ranges")),
            meta,
            rule_id,
            tuple(facts),
            self._members.count(rule, "bucketVersion", at),
            None if has_filters else self._members.namespace(rule.get("namespace"), at),
        )
        self._warn_of_stickiness(rule, at)
        return experiment

    def _variation_names(
        self, key: str, variations: list[Any], meta: list[Any], index: int | None
    ) -> list[str]:
        rule = "variation" if index is None else f"rule-{index + 1}"
        return [
            self._outcomes.name(
                f"{key}/{variation_key(_meta(meta, place), place)}", f"{rule}-{place}"
            )
            for place in range(len(variations))
        ]

    def _warn_of_stickiness(self, rule: Mapping[str, Any], at: Path) -> None:
        if is_true(rule.get("disableStickyBucketing")):
            return
        used = ("fallbackAttribute", "bucketVersion", "minBucketVersion")
        for member in used:
            if rule.get(member):
                message = "sticky buckets need a store, and there is none here"
                hint = "units are split by the hash alone, unless the context has $growthbook"
                self._members.warning((*at, member), ProblemCode.UNSUPPORTED, message, hint)
                return

    def steps(
        self, experiment: Experiment, bandit: "_Bandit | None", *, active: bool
    ) -> list[p.Rule]:
        count = len(experiment.variations)
        if count < _LEAST_VARIATIONS:
            return []
        known = self._known(experiment, active=active)
        standing = q.standing(known)
        steps: list[p.Rule] = [self._by_request(experiment, known, standing)]
        if not active or not known.hashes:
            return steps
        base = experiment.base
        splits = list(self._splits(experiment, bandit))
        if experiment.fallback is None:
            goes = p.any_of([_NOT_ASKED, p.Probe(standing, _is(q.GO), source=q.REQUEST)])
        else:  # asked in any case, so that what was found is known to the rules for the fallback
            is_free = Leaf("({f} is None or {x} == {0})", (q.GO,))
            goes = p.Probe(standing, is_free, source=q.REQUEST)
        own = [*self._in_namespace(experiment, experiment.by), *experiment.own]
        for when, split in splits:
            # the leaf is asked first, so that it is found once for all of these rules
            when = p.all_of([when, goes, *base, *own])
            steps.append(p.Rule(when, split, experiment.rule_id))
        if experiment.fallback is None:
            return steps
        falls = p.Probe(standing, _is(q.FALLBACK), source=q.REQUEST)
        own = [*self._in_namespace(experiment, experiment.fallback), *experiment.own]
        for when, split in self._splits(experiment, bandit, fallback=True):
            when = p.all_of([falls, when, *base, *own])
            steps.append(p.Rule(when, split, experiment.rule_id))
        return steps

    def _known(self, experiment: Experiment, *, active: bool) -> q.Known:
        rule = experiment.rule
        keys = (item.get("key") if item.__class__ is dict else None for item in experiment.meta)
        has_hash = r.bucketing("", experiment.by, experiment.version) is not None
        return q.Known(
            experiment.key,
            len(experiment.variations),
            active,
            experiment.by,
            experiment.fallback,
            not is_true(rule.get("disableStickyBucketing")),
            experiment.bucket_version,
            self._members.count(rule, "minBucketVersion", experiment.at),
            tuple(keys),
            experiment.force,
            has_hash and not experiment.stopped,
        )

    def _by_request(self, experiment: Experiment, known: q.Known, standing: p.Operand) -> p.Rule:
        """Return the rule for those who have a variation by what the request says."""
        outcomes: dict[str, p.Outcome] = {}
        for place in range(known.variations):
            if self._passes_through(experiment, place):
                continue
            for fallback in (False, True) if experiment.fallback else (False,):
                by = (experiment.fallback if fallback else None) or experiment.by
                name = q.forced(place, fallback=fallback)
                outcomes[name] = self._variation(experiment, place, by, hash_used=False)
                if known.has_stickiness:
                    name = q.sticky(place, fallback=fallback)
                    outcomes[name] = self._variation(experiment, place, by, sticky=True)
        fetch = standing.fetch
        computed = p.Computed(
            lambda context, _now_ms: fetch(context),
            tuple(outcomes.items()),
            nothing=p.NEXT,
            unknown=p.NEXT,
            reads=standing.reads,
        )
        when = p.all_of([_ASKED, *experiment.base])
        return p.Rule(when, computed, experiment.rule_id)

    def _in_namespace(self, experiment: Experiment, by: str) -> list[p.Expression]:
        if experiment.namespace is None:
            return []
        name, start, end = experiment.namespace
        return [r.within(r.namespace_bucketing(name, by), [(start, end)])]

    def _splits(
        self, experiment: Experiment, bandit: "_Bandit | None", *, fallback: bool = False
    ) -> Iterator[tuple[p.Expression, p.Split]]:
        """Yield what serves an experiment, with the leaf of a bandit that it is for."""
        by = (experiment.fallback if fallback else None) or experiment.by
        number = r.bucketing(experiment.seed, by, experiment.version)
        if number is None:
            return
        if bandit is None:
            yield p.TRUE, self._split(experiment, number, by, experiment.weights, ())
            return
        for place, (leaf_id, weights) in enumerate(bandit.leaves):
            if leaf_id == _NO_LEAF and weights is None:
                weights = experiment.weights
            shown = r.equal_weights(len(experiment.variations)) if weights is None else weights
            facts = bandit.facts(leaf_id, shown)
            leaf = Leaf("{f} == {0}", (place,))
            is_leaf = p.Probe(bandit.leaf, leaf, source={"leafId": leaf_id})
            yield is_leaf, self._split(experiment, number, by, weights, facts)

    def _split(
        self,
        experiment: Experiment,
        number: p.Bucketing,
        by: str,
        weights: Sequence[float] | None,
        facts: Metadata,
    ) -> p.Split:
        count = len(experiment.variations)
        ranges = experiment.ranges
        if ranges is None:
            ranges = r.bucket_ranges(count, experiment.coverage, weights)
        arms = tuple(
            p.Arm(low, high, self._served(experiment, place, by, facts))
            for low, high, place in r.pieces(ranges, number.size)
        )
        self._pieces += len(arms)
        if self._pieces > _MOST_PIECES:
            message = f"the ranges of a flag are at most {_MOST_PIECES:,} in all"
            self._members.error(experiment.at, ProblemCode.TOO_MANY, message)
        return p.Split(number, arms, otherwise=p.NEXT, missing=p.NEXT)

    def _served(
        self, experiment: Experiment, place: int, by: str, facts: Metadata
    ) -> p.Outcome | p.Next:
        force = experiment.force
        if force is not None:
            if force < 0 or self._passes_through(experiment, force):
                return p.NEXT
            return self._variation(experiment, force, by, hash_used=False)
        if place >= len(experiment.variations) or self._passes_through(experiment, place):
            return p.NEXT
        return self._variation(experiment, place, by, facts=facts)

    def _passes_through(self, experiment: Experiment, place: int) -> bool:
        # an experiment by itself serves a variation that passes through like any other
        if not experiment.at:
            return False
        return is_true(_meta(experiment.meta, place).get("passthrough"))

    def _variation(
        self,
        experiment: Experiment,
        place: int,
        by: str,
        *,
        hash_used: bool = True,
        sticky: bool = False,
        facts: Metadata = (),
    ) -> p.Outcome:
        meta = _meta(experiment.meta, place)
        metadata = [
            *experiment.facts,
            ("variationId", place),
            ("variationKey", variation_key(meta, place)),
            ("hashAttribute", by),
            ("hashUsed", hash_used),
            ("inExperiment", True),
            *facts,
        ]
        if meta.get("name").__class__ is str and meta["name"] and is_text(meta["name"]):
            metadata.append(("variationName", meta["name"]))
        if sticky:
            metadata.append(("stickyBucketUsed", True))
        if experiment.bucket_version:
            metadata.append(("bucketVersion", experiment.bucket_version))
        return self._outcomes.outcome(
            (*experiment.at, experiment.member, place),
            experiment.names[place],
            experiment.variations[place],
            Reason.SPLIT,
            tuple(metadata),
            experiment.rule_id,
            unit_attribute(by),
        )

    # Contextual bandits

    def bandit(self, rule: dict[str, Any], at: Path) -> "_Bandit | None":
        """Return the bandit that a rule refers to, None when it is not there."""
        reference = rule.get("contextualBanditRef")
        if not is_true(reference):
            return None
        bandit = self._bandits.get(reference) if reference.__class__ is str else None
        if bandit.__class__ is not dict:
            message = "the contextual bandit is not there"
            hint = "the rule's own weights are used, as in GrowthBook's SDKs"
            here = (*at, "contextualBanditRef")
            self._members.warning(here, ProblemCode.UNKNOWN_SEGMENT, message, hint)
            return None
        leaves: list[tuple[int | float, list[float] | None]] = []
        tests: list[Test] = []
        reads: set[str] = set()
        contexts = bandit.get("contexts")
        for index, leaf in enumerate(contexts if contexts.__class__ is list else []):
            if leaf.__class__ is not dict:
                continue
            place: Path = ("contextualBandits", str(reference), "contexts", index)
            condition = leaf.get("condition") or {}
            test, read = self._conditions.context_test(condition, (*place, "condition"))
            tests.append(test)
            reads |= read
            leaf_id: Any = leaf.get("leafId")
            weights = self._of_bandits.weights(leaf.get("weights"), (*place, "weights"))
            leaves.append((leaf_id if is_plain(leaf_id) else 0, weights))
        leaves.append((_NO_LEAF, None))
        last = len(tests)

        def find(context: dict[str, Any]) -> int:
            for place, test in enumerate(tests):
                if test(context):
                    return place
            return last

        operand = p.Operand(f"leaf of {reference}", find, frozenset(reads))
        return _Bandit(operand, leaves, bandit.get("banditVersion"))


class _Bandit:
    """A contextual bandit: which leaf a context is in, and the weights of each."""

    def __init__(
        self,
        leaf: p.Operand,
        leaves: list[tuple[int | float, list[float] | None]],
        version: Any,
    ) -> None:
        self.leaf = leaf
        self.leaves = leaves
        self._version = version

    def facts(self, leaf_id: int | float, weights: Sequence[float]) -> Metadata:
        """Return what an answer says of the leaf."""
        facts: list[tuple[str, Any]] = [("leafId", leaf_id)]
        facts.append(("variationWeights", f"[{','.join(map(number_text, weights))}]"))
        if is_plain(self._version):
            facts.append(("banditVersion", self._version))
        return tuple(facts)


def _is(wanted: str) -> Leaf:
    return Leaf("{f} == {0}", (wanted,))


def _meta(meta: list[Any], place: int) -> dict[str, Any]:
    found = meta[place] if place < len(meta) else None
    return found if found.__class__ is dict else {}
