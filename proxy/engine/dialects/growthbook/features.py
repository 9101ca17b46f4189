"""One feature of GrowthBook, or one experiment of an application's own code, as a rule program.

    rule with `force`        a rule: prerequisites, filters, condition, coverage; one outcome
    rule with `variations`   an experiment, below
    otherwise                `defaultValue`

An experiment is up to three kinds of rules, one after the other; a context without `$growthbook`
(`requests`) goes straight to the second:

    1  who has a variation by force, or from a store, is served it, or is not in the experiment
    2  who passes namespace, condition and prerequisites is split; for a contextual bandit there is
       one such rule for each leaf, and a leaf is found once
    3  the same by `fallbackAttribute`, for those whose sticky buckets are known

and whoever is in no range, or in a variation that passes through, goes on with the next rule of the
feature. An object with `variations` and without `rules` is an experiment by itself, as applications
give it to `run`: who is not in it gets its first variation.

What another flag answers is its value; one that asks itself, through others, answers nothing, and
so do those that ask it. A flag on such a circle is taken to ask whichever rule it comes to.

Outcomes say in their metadata what GrowthBook tells applications: `sourceReason`, `ruleIndex`, and
of an experiment `experimentKey`, `variationId`, `variationKey`, `variationName`, `hashAttribute`,
`hashUsed`, `inExperiment`, `stickyBucketUsed`, `bucketVersion`, `leafId`, `variationWeights`,
`banditVersion`; `phase`, where it has one. False ones of `stickyBucketUsed` are left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.contract.codes import ProblemCode, Reason, Severity
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.growthbook import ranges as r
from proxy.engine.dialects.growthbook import requests as q
from proxy.engine.dialects.growthbook.conditions import Conditions, Test, is_true
from proxy.engine.dialects.javascript import number_text, plain_number
from proxy.engine.dialects.model import Named, Translation
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf

__all__ = ["names", "translate"]

_Metadata = tuple[tuple[str, str | int | float | bool], ...]

_ASKED = p.Probe(q.REQUEST, Leaf("{f} is not None"), source={q.REQUEST: {"$exists": True}})
_NOT_ASKED = p.Probe(q.REQUEST, Leaf("{f} is None"), source={q.REQUEST: {"$exists": False}})

_CYCLIC = "cyclicPrerequisite"

_FORMAT_OF_PAGES = ("url", "urlPatterns", "groups", "include")
"""What an experiment of an application may ask that a server does not know."""


def names(definition: Mapping[str, Any]) -> Named:
    """Return the flags that a definition asks; of any JSON."""
    asked: dict[str, None] = {}
    for part in (definition, *_objects(definition.get("rules"))):
        for parent in _objects(part.get("parentConditions")):
            key = parent.get("id")
            if key.__class__ is str:
                asked[key] = None
    return Named(flags=tuple(asked))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if value.__class__ is list:
        yield from (item for item in value if item.__class__ is dict)


def translate(
    key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
) -> Translation:
    """Return a feature as a program. `options` may have `savedGroups` and `contextualBandits`."""
    feature = _Feature(key, definition, options)
    program = feature.program()
    problems = tuple(feature.findings.problems)
    named = names(definition)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return Translation(None, {}, named, problems)
    if not enabled:
        off = p.Outcome(None, Reason.DISABLED, metadata=(("sourceReason", "unknownFeature"),))
        return Translation(p.Program((), off), feature.variants, named, problems)
    circular = p.Program((), _nothing(_CYCLIC))
    return Translation(program, feature.variants, named, problems, circular)


def _nothing(source: str) -> p.Outcome:
    """Return the outcome without a value."""
    return p.Outcome(None, Reason.DEFAULT, metadata=(("sourceReason", source),))


def _is_cyclic(answer: Answer) -> bool:
    return answer.metadata.get("sourceReason") == _CYCLIC


def _answers(test: Test) -> Callable[[Answer], bool]:
    """Return a test whether another flag's value is what is wanted.

    A flag has some few answers, made once, so what was found of each is kept.
    """
    known: dict[Answer, bool] = {}

    def passes(answer: Answer) -> bool:
        found = known.get(answer)
        if found is None:
            value = None if answer.value is UNSET else answer.value
            found = not _is_cyclic(answer) and test({"value": value})
            if len(known) < _MOST_ANSWERS:
                known[answer] = found
        return found

    return passes


_MOST_ANSWERS = 1_000
"""Kept of one flag that is asked."""


class _Experiment(msgspec.Struct):
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
    facts: _Metadata
    bucket_version: int
    namespace: tuple[str, float, float] | None
    force: int | None = None
    stopped: bool = False


class _Feature:
    """One feature while it is translated; `variants` and `findings` grow."""

    def __init__(self, key: str, definition: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.findings = Findings()
        self.variants: dict[str, Any] = {}
        self._key = key
        self._definition = definition
        self._bandits = _mapping(options.get("contextualBandits"))
        self._conditions = Conditions(self.findings, _mapping(options.get("savedGroups")))
        self._names = {"default"}
        self._asked: dict[tuple[str, str], p.Answered] = {}
        self._pieces = 0

    def program(self) -> p.Program:
        """Return the program; of use only where no error was found."""
        definition = self._definition
        if "rules" not in definition and definition.get("variations").__class__ is list:
            return self._experiment_alone(definition)
        steps: list[p.Step] = []
        rules = definition.get("rules")
        if rules is not None and rules.__class__ is not list:
            self._error(("rules",), ProblemCode.WRONG_TYPE, "rules are a list")
            rules = []
        rules = rules or []
        if len(rules) > limits.MAX_RULES:
            message = f"a flag has at most {limits.MAX_RULES} rules"
            self._error(("rules",), ProblemCode.TOO_MANY, message)
            rules = []
        for index, rule in enumerate(rules):
            at: Path = ("rules", index)
            if rule.__class__ is not dict:
                self._error(at, ProblemCode.WRONG_TYPE, "a rule is an object")
                continue
            steps += self._rule(index, rule, at)
        reason = Reason.DEFAULT if rules else Reason.STATIC
        default = self._outcome(
            ("defaultValue",),
            "default",
            definition.get("defaultValue"),
            reason,
            (("sourceReason", "defaultValue"),),
        )
        return p.Program(tuple(steps), default)

    # Problems

    def _error(self, at: Path, code: ProblemCode, message: str, hint: str = "") -> None:
        self.findings.add(at, code, message, hint)

    def _warning(self, at: Path, code: ProblemCode, message: str, hint: str = "") -> None:
        self.findings.add(at, code, message, hint, Severity.WARNING)

    # Outcomes

    def _outcome(
        self,
        at: Path,
        name: str,
        value: Any,
        reason: Reason,
        metadata: _Metadata,
        rule_id: str | None = None,
        by: str = TARGETING_KEY,
    ) -> p.Outcome:
        """Return what serves a value as a variant of a name; null is the application's default."""
        variant: str | None = name
        if value is None:
            variant = None
        elif name not in self.variants:
            if len(self.variants) >= limits.MAX_VARIANTS:
                message = f"a flag has at most {limits.MAX_VARIANTS:,} values"
                self._error(at, ProblemCode.TOO_MANY, message)
            self._check_value(at, value)
            self.variants[name] = value
        return p.Outcome(variant, reason, rule_id, by, metadata=metadata)

    def _check_value(self, at: Path, value: Any) -> None:
        layer = [value]
        for _ in range(limits.MAX_VALUE_DEPTH + 1):
            below: list[Any] = []
            for item in layer:
                if item.__class__ is dict:
                    below += item.values()
                elif item.__class__ is list:
                    below += item
            if not below:
                break
            layer = below
        else:
            message = f"a value nests at most {limits.MAX_VALUE_DEPTH} deep"
            self._error(at, ProblemCode.TOO_DEEP, message)
            return
        try:
            size = len(msgspec.json.encode(value))
        except (UnicodeEncodeError, ValueError, OverflowError):
            self._error(at, ProblemCode.WRONG_TYPE, "the value cannot be written as JSON")
            return
        if size > limits.MAX_VALUE_BYTES:
            message = f"a value has at most {limits.MAX_VALUE_BYTES:,} bytes"
            self._error(at, ProblemCode.VALUE_TOO_LARGE, message)

    def _variant_name(self, wanted: str, otherwise: str) -> str:
        """Return a name for a variant that no other one has, `wanted` if it can be."""
        if not wanted or len(wanted) > limits.MAX_NAME_CHARS or not _is_text(wanted):
            wanted = otherwise
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted[: limits.MAX_NAME_CHARS - 10]}-{count}"
        self._names.add(name)
        return name

    def _variation_names(
        self, key: str, variations: list[Any], meta: list[Any], index: int | None
    ) -> list[str]:
        rule = "variation" if index is None else f"rule-{index + 1}"
        return [
            self._variant_name(f"{key}/{_variation_key(meta, place)}", f"{rule}-{place}")
            for place in range(len(variations))
        ]

    # Rules

    def _rule(self, index: int, rule: dict[str, Any], at: Path) -> list[p.Step]:
        before = len(self.findings.problems)
        rule_id = self._text(rule, "id", at) or None
        steps, base = self._prerequisites(rule.get("parentConditions"), at)
        filters = self._filters(rule.get("filters"), at)
        base = [*base, *filters]
        if rule.get("tracks"):
            message = "what a remote evaluation found is not told again"
            self._warning((*at, "tracks"), ProblemCode.UNSUPPORTED, message)
        if "force" in rule:
            return [*steps, *self._force(index, rule, at, base, rule_id)]
        member = (
            "variations" if rule.get("contextualVariations") is None else "contextualVariations"
        )
        if rule.get(member) is None:
            if not steps and len(self.findings.problems) == before:
                message = "the rule serves nothing"
                hint = "it is passed over, as in GrowthBook's SDKs"
                self._warning(at, ProblemCode.MISSING_FIELD, message, hint)
            return steps
        experiment = self._experiment(rule, at, base, rule_id, member, bool(filters), index)
        if experiment is None:
            return steps
        bandit = self._bandit(rule, at)
        return [*steps, *self._experiment_steps(experiment, bandit, active=True)]

    def _prerequisites(self, parents: Any, at: Path) -> tuple[list[p.Step], list[p.Expression]]:
        """Return the steps that decide by other flags alone, and what else they have to answer."""
        steps: list[p.Step] = []
        passed: list[p.Expression] = []
        for asked, key, gate in self._parents(parents, at):
            failed = p.negation(asked)
            cyclic = p.Answered(key, _is_cyclic, _CYCLIC)
            steps.append(p.Rule(p.all_of([*passed, failed, cyclic]), _nothing(_CYCLIC)))
            if gate:
                steps.append(p.Rule(p.all_of([*passed, failed]), _nothing("prerequisite")))
            else:
                passed.append(asked)
        return steps, passed

    def _parents(self, parents: Any, at: Path) -> Iterator[tuple[p.Answered, str, bool]]:
        """Yield what asks each parent, its key, and whether it closes the feature."""
        at = (*at, "parentConditions")
        if parents is None:
            return
        if parents.__class__ is not list:
            self._error(at, ProblemCode.WRONG_TYPE, "parentConditions are a list")
            return
        for index, parent in enumerate(parents):
            here = (*at, index)
            if parent.__class__ is not dict or parent.get("id").__class__ is not str:
                self._error(here, ProblemCode.WRONG_TYPE, "it names a flag, by its id")
                continue
            condition = parent.get("condition") or {}
            test = self._conditions.test(condition, (*here, "condition"))
            known = (parent["id"], _shown(condition))
            if known not in self._asked:
                self._asked[known] = p.Answered(parent["id"], _answers(test), known[1])
            yield self._asked[known], parent["id"], is_true(parent.get("gate"))

    def _filters(self, filters: Any, at: Path) -> list[p.Expression]:
        at = (*at, "filters")
        if not filters:
            return []
        if filters.__class__ is not list:
            self._error(at, ProblemCode.WRONG_TYPE, "filters are a list")
            return []
        found = []
        for index, item in enumerate(filters):
            here = (*at, index)
            if item.__class__ is not dict:
                self._error(here, ProblemCode.WRONG_TYPE, "a filter is an object")
                continue
            # what JavaScript makes of a seed that is not there
            seed = self._text(item, "seed", here) if "seed" in item else "undefined"
            by = self._text(item, "attribute", here) or "id"
            pairs = self._ranges(item.get("ranges"), (*here, "ranges"))
            number = r.bucketing(seed or "", by, self._version(item, here, 2))
            found.append(p.FALSE if number is None else r.within(number, pairs))
        return found

    def _condition(self, rule: Mapping[str, Any], at: Path) -> list[p.Expression]:
        condition = rule.get("condition")
        if condition is None:
            return []
        return [self._conditions.expression(condition, (*at, "condition"))]

    def _force(
        self,
        index: int,
        rule: dict[str, Any],
        at: Path,
        base: list[p.Expression],
        rule_id: str | None,
    ) -> list[p.Step]:
        included = self._included(rule, at)
        when = p.all_of([*base, *self._condition(rule, at), included])
        name = self._variant_name(rule_id or "", f"rule-{index + 1}")
        by = self._text(rule, "hashAttribute", at) or "id"
        outcome = self._outcome(
            (*at, "force"),
            name,
            rule["force"],
            Reason.TARGETING_MATCH,
            (("sourceReason", "force"), ("ruleIndex", index)),
            rule_id,
            _unit_attribute(by) if isinstance(included, p.Within) else TARGETING_KEY,
        )
        return [p.Rule(when, outcome, rule_id)]

    def _included(self, rule: dict[str, Any], at: Path) -> p.Expression:
        """Return whether a unit is in the part of a rollout that is served."""
        pair = rule.get("range")
        if pair is None and "coverage" not in rule:
            return p.TRUE
        coverage = self._number(rule, "coverage", at)
        seed = self._text(rule, "seed", at) or self._key
        by = self._text(rule, "hashAttribute", at) or "id"
        number = r.bucketing(seed, by, self._version(rule, at, 1))
        if pair is not None:
            pairs = self._ranges([pair], (*at, "range"))
            return p.FALSE if number is None else r.within(number, pairs)
        if number is None or coverage == 0:
            return p.FALSE
        return r.up_to(number, coverage or 0)  # null is compared as 0, and is not it

    # Experiments

    def _experiment_alone(self, definition: Mapping[str, Any]) -> p.Program:
        """Return the program of an experiment that is no rule of a feature."""
        for member in _FORMAT_OF_PAGES:
            if definition.get(member) is not None:
                message = f"{member} asks what a server does not know"
                hint = "say it as a condition over an attribute"
                self._error((member,), ProblemCode.UNSUPPORTED, message, hint)
        filters = self._filters(definition.get("filters"), ())
        experiment = self._experiment(definition, (), [], None, "variations", bool(filters), None)
        if experiment is None:
            return p.Program((), _nothing("experiment"))
        steps: list[p.Step] = []
        experiment.own += filters
        for asked, _, _ in self._parents(definition.get("parentConditions"), ()):
            experiment.own.append(asked)
        if "force" in definition:
            force = definition["force"]
            is_place = force.__class__ is int and 0 <= force < len(experiment.variations)
            experiment.force = force if is_place else -1
        status = definition.get("status")
        experiment.stopped = status == "stopped" and experiment.force is None
        active = status != "draft" and definition.get("active") is not False
        steps += self._experiment_steps(experiment, None, active=active)
        metadata: _Metadata = (
            ("sourceReason", "defaultValue"),
            ("experimentKey", experiment.key),
            ("variationId", 0),
            ("inExperiment", False),
            ("hashUsed", False),
        )
        values = experiment.variations
        otherwise = self._outcome(
            ("variations", 0),
            experiment.names[0] if values else "default",
            values[0] if values else None,
            Reason.DEFAULT if steps else Reason.STATIC,
            metadata,
        )
        return p.Program(tuple(steps), otherwise)

    def _experiment(
        self,
        rule: Mapping[str, Any],
        at: Path,
        base: list[p.Expression],
        rule_id: str | None,
        member: str,
        has_filters: bool,
        index: int | None,
    ) -> _Experiment | None:
        """Return an experiment as it is written, None where it is not one."""
        variations = rule.get(member)
        if variations.__class__ is not list:
            self._error((*at, member), ProblemCode.WRONG_TYPE, "variations are a list")
            return None
        if len(variations) > limits.MAX_VARIANTS:
            message = f"an experiment has at most {limits.MAX_VARIANTS:,} variations"
            self._error((*at, member), ProblemCode.TOO_MANY, message)
            return None
        key = self._text(rule, "key", at) or self._key
        meta = rule.get("meta") or []
        if meta.__class__ is not list:
            self._error((*at, "meta"), ProblemCode.WRONG_TYPE, "meta is a list")
            meta = []
        facts: list[tuple[str, Any]] = [("sourceReason", "experiment")]
        if index is not None:
            facts.append(("ruleIndex", index))
        facts.append(("experimentKey", key))
        phase = rule.get("phase")
        if phase.__class__ is int or (phase.__class__ is str and _is_text(phase)):
            facts.append(("phase", phase))
        coverage = self._number(rule, "coverage", at) if "coverage" in rule else 1
        ranges = rule.get("ranges")
        fallback = None
        if not is_true(rule.get("disableStickyBucketing")):
            fallback = self._text(rule, "fallbackAttribute", at) or None
        experiment = _Experiment(
            at,
            rule,
            key,
            member,
            variations,
            self._variation_names(key, variations, meta, index),
            base,
            self._condition(rule, at),
            self._text(rule, "hashAttribute", at) or "id",
            fallback,
            self._version(rule, at, 1),
            self._text(rule, "seed", at) or key,
            self._weights(rule.get("weights"), (*at, "weights")),
            coverage or 0,
            None if ranges is None else self._ranges(ranges, (*at, "ranges")),
            meta,
            rule_id,
            tuple(facts),
            self._count(rule, "bucketVersion", at),
            None if has_filters else self._namespace(rule.get("namespace"), at),
        )
        self._warn_of_stickiness(rule, at)
        return experiment

    def _warn_of_stickiness(self, rule: Mapping[str, Any], at: Path) -> None:
        if is_true(rule.get("disableStickyBucketing")):
            return
        used = ("fallbackAttribute", "bucketVersion", "minBucketVersion")
        for member in used:
            if rule.get(member):
                message = "sticky buckets need a store, and there is none here"
                hint = "units are split by the hash alone, unless the context has $growthbook"
                self._warning((*at, member), ProblemCode.UNSUPPORTED, message, hint)
                return

    def _experiment_steps(
        self, experiment: _Experiment, bandit: "_Bandit | None", *, active: bool
    ) -> list[p.Step]:
        count = len(experiment.variations)
        if count < _LEAST_VARIATIONS:
            return []
        known = self._known(experiment, active=active)
        standing = q.standing(known)
        steps: list[p.Step] = [self._by_request(experiment, known, standing)]
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

    def _known(self, experiment: _Experiment, *, active: bool) -> q.Known:
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
            self._count(rule, "minBucketVersion", experiment.at),
            tuple(keys),
            experiment.force,
            has_hash and not experiment.stopped,
        )

    def _by_request(self, experiment: _Experiment, known: q.Known, standing: p.Operand) -> p.Step:
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

    def _in_namespace(self, experiment: _Experiment, by: str) -> list[p.Expression]:
        if experiment.namespace is None:
            return []
        name, start, end = experiment.namespace
        return [r.within(r.namespace_bucketing(name, by), [(start, end)])]

    def _splits(
        self, experiment: _Experiment, bandit: "_Bandit | None", *, fallback: bool = False
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
        experiment: _Experiment,
        number: p.Bucketing,
        by: str,
        weights: Sequence[float] | None,
        facts: _Metadata,
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
            self._error(experiment.at, ProblemCode.TOO_MANY, message)
        return p.Split(number, arms, otherwise=p.NEXT, missing=p.NEXT)

    def _served(
        self, experiment: _Experiment, place: int, by: str, facts: _Metadata
    ) -> p.Outcome | p.Next:
        force = experiment.force
        if force is not None:
            if force < 0 or self._passes_through(experiment, force):
                return p.NEXT
            return self._variation(experiment, force, by, hash_used=False)
        if place >= len(experiment.variations) or self._passes_through(experiment, place):
            return p.NEXT
        return self._variation(experiment, place, by, facts=facts)

    def _passes_through(self, experiment: _Experiment, place: int) -> bool:
        # an experiment by itself serves a variation that passes through like any other
        if not experiment.at:
            return False
        return is_true(_meta(experiment.meta, place).get("passthrough"))

    def _variation(
        self,
        experiment: _Experiment,
        place: int,
        by: str,
        *,
        hash_used: bool = True,
        sticky: bool = False,
        facts: _Metadata = (),
    ) -> p.Outcome:
        meta = _meta(experiment.meta, place)
        metadata = [
            *experiment.facts,
            ("variationId", place),
            ("variationKey", _variation_key(experiment.meta, place)),
            ("hashAttribute", by),
            ("hashUsed", hash_used),
            ("inExperiment", True),
            *facts,
        ]
        if meta.get("name").__class__ is str and meta["name"] and _is_text(meta["name"]):
            metadata.append(("variationName", meta["name"]))
        if sticky:
            metadata.append(("stickyBucketUsed", True))
        if experiment.bucket_version:
            metadata.append(("bucketVersion", experiment.bucket_version))
        return self._outcome(
            (*experiment.at, experiment.member, place),
            experiment.names[place],
            experiment.variations[place],
            Reason.SPLIT,
            tuple(metadata),
            experiment.rule_id,
            _unit_attribute(by),
        )

    # Contextual bandits

    def _bandit(self, rule: dict[str, Any], at: Path) -> "_Bandit | None":
        """Return the bandit that a rule refers to, None when it is not there."""
        reference = rule.get("contextualBanditRef")
        if not is_true(reference):
            return None
        bandit = self._bandits.get(reference) if reference.__class__ is str else None
        if bandit.__class__ is not dict:
            message = "the contextual bandit is not there"
            hint = "the rule's own weights are used, as in GrowthBook's SDKs"
            here = (*at, "contextualBanditRef")
            self._warning(here, ProblemCode.UNKNOWN_SEGMENT, message, hint)
            return None
        leaves: list[tuple[int | float, list[float] | None]] = []
        tests: list[Test] = []
        reads: set[str] = set()
        here = (*at, "contextualBanditRef")
        for leaf in _objects(bandit.get("contexts")):
            condition = leaf.get("condition") or {}
            test, read = self._conditions.context_test(condition, here)
            tests.append(test)
            reads |= read
            leaf_id: Any = leaf.get("leafId")
            weights = self._weights(leaf.get("weights"), here)
            leaves.append((leaf_id if _is_number(leaf_id) else 0, weights))
        leaves.append((_NO_LEAF, None))
        last = len(tests)

        def find(context: dict[str, Any]) -> int:
            for place, test in enumerate(tests):
                if test(context):
                    return place
            return last

        operand = p.Operand(f"leaf of {reference}", find, frozenset(reads))
        return _Bandit(operand, leaves, bandit.get("banditVersion"))

    # Members

    def _text(self, holder: Mapping[str, Any], member: str, at: Path) -> str:
        """Return a text, empty for one that is not there."""
        value = holder.get(member)
        if value is None:
            return ""
        if value.__class__ is str and _is_text(value):
            return str(value)
        self._error((*at, member), ProblemCode.WRONG_TYPE, f"{member} is a text")
        return ""

    def _number(self, holder: Mapping[str, Any], member: str, at: Path) -> float | None:
        value = holder.get(member)
        if value is None or _is_number(value):
            return None if value is None else plain_number(value)
        self._error((*at, member), ProblemCode.WRONG_TYPE, f"{member} is a number")
        return None

    def _count(self, holder: Mapping[str, Any], member: str, at: Path) -> int:
        value = self._number(holder, member, at) or 0
        return int(value) if value == int(value) else 0

    def _version(self, holder: Mapping[str, Any], at: Path, otherwise: int) -> int | float:
        version = self._number(holder, "hashVersion", at) or otherwise
        if version not in (1, 2):
            message = "there is no such version of the hash"
            hint = "nobody is in it, as in GrowthBook's SDKs"
            self._warning((*at, "hashVersion"), ProblemCode.NOT_ONE_OF, message, hint)
        return version

    def _weights(self, value: Any, at: Path) -> list[float] | None:
        if value is None:
            return None
        if value.__class__ is list and all(map(_is_number, value)):
            return [plain_number(item) for item in value[: limits.MAX_VARIANTS + 1]]
        self._error(at, ProblemCode.WRONG_TYPE, "weights are numbers")
        return None

    def _ranges(self, value: Any, at: Path) -> list[tuple[float, float]]:
        if value.__class__ is not list or len(value) > limits.MAX_VARIANTS:
            message = f"ranges are a list, of at most {limits.MAX_VARIANTS:,}"
            self._error(at, ProblemCode.WRONG_TYPE, message)
            return []
        found = []
        for index, pair in enumerate(value):
            if pair.__class__ is not list or len(pair) != 2 or not all(map(_is_number, pair)):
                self._error((*at, index), ProblemCode.WRONG_TYPE, "a range is two numbers")
                continue
            found.append((plain_number(pair[0]), plain_number(pair[1])))
        return found

    def _namespace(self, value: Any, at: Path) -> tuple[str, float, float] | None:
        if value is None:
            return None
        match value:
            case [str() as name, start, end, *_] if _is_number(start) and _is_number(end):
                return name, plain_number(start), plain_number(end)
        message = "a namespace is its name and two numbers"
        self._error((*at, "namespace"), ProblemCode.WRONG_TYPE, message)
        return None


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

    def facts(self, leaf_id: int | float, weights: Sequence[float]) -> _Metadata:
        """Return what an answer says of the leaf."""
        facts: list[tuple[str, Any]] = [("leafId", leaf_id)]
        facts.append(("variationWeights", f"[{','.join(map(number_text, weights))}]"))
        if _is_number(self._version):
            facts.append(("banditVersion", self._version))
        return tuple(facts)


_LEAST_VARIATIONS = 2
_NO_LEAF = -1
"""The leaf of who is in none."""

_MOST_PIECES = 20_000
"""Of all splits of a flag: each is an arm, and ranges of hundreds of leaves multiply."""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if value.__class__ is dict else {}


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


def _is(wanted: str) -> Leaf:
    return Leaf("{f} == {0}", (wanted,))


def _is_text(value: str) -> bool:
    """Return whether a text has UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(condition: Any) -> str:
    """Return a condition that was found to be one as text."""
    try:
        return msgspec.json.encode(condition).decode()
    except (UnicodeEncodeError, ValueError, OverflowError, RecursionError):
        return repr(id(condition))


def _unit_attribute(by: str) -> str:
    """Return the attribute that exposures take for the unit."""
    return TARGETING_KEY if by == "id" else by


def _meta(meta: list[Any], place: int) -> dict[str, Any]:
    found = meta[place] if place < len(meta) else None
    return found if found.__class__ is dict else {}


def _variation_key(meta: list[Any], place: int) -> str:
    key = _meta(meta, place).get("key")
    return key if key.__class__ is str and key and _is_text(key) else str(place)
