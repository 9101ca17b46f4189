"""One feature of GrowthBook, or one experiment of an application's own code, as a rule program.

    rule with `force`        a rule: prerequisites, filters, condition, coverage; one outcome
    rule with `variations`   an experiment, see `experiments`
    otherwise                `defaultValue`

An object with `variations` and without `rules` is an experiment by itself, as applications give it
to `run`: who is not in it gets its first variation.

What another flag answers is its value; one that asks itself, through others, answers nothing, and
so do those that ask it. A flag on such a circle is taken to ask whichever rule it comes to.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.contract.codes import ProblemCode, Reason
from proxy.contract.definitions import TARGETING_KEY
from proxy.contract.problems import has_errors
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.growthbook import ranges as r
from proxy.engine.dialects.growthbook import requests as q
from proxy.engine.dialects.growthbook.conditions import Conditions
from proxy.engine.dialects.growthbook.experiments import Experiments
from proxy.engine.dialects.growthbook.members import Members, mapping, objects
from proxy.engine.dialects.growthbook.outcomes import (
    Metadata,
    Outcomes,
    nothing,
    unit_attribute,
)
from proxy.engine.dialects.growthbook.values import Test, is_true
from proxy.engine.dialects.model import Named, Translation
from proxy.engine.findings import Findings, Path

__all__ = ["has_experiment", "names", "translate"]

_CYCLIC = "cyclicPrerequisite"

_FORMAT_OF_PAGES = ("url", "urlPatterns", "groups", "include")
"""What an experiment of an application may ask that a server does not know."""


def names(definition: Mapping[str, Any]) -> Named:
    """Return the flags that a definition asks; of any JSON."""
    asked: dict[str, None] = {}
    for part in (definition, *objects(definition.get("rules"))):
        for parent in objects(part.get("parentConditions")):
            key = parent.get("id")
            if key.__class__ is str:
                asked[key] = None
    return Named(flags=tuple(asked))


def has_experiment(definition: Mapping[str, Any]) -> bool:
    """Return whether a definition splits units over variations; of any JSON."""
    parts = (definition, *objects(definition.get("rules")))
    return any(part.get(name) for part in parts for name in _VARIATIONS)


_VARIATIONS = ("variations", "contextualVariations")


def translate(
    key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
) -> Translation:
    """Return a feature as a program. `options` may have `savedGroups` and `contextualBandits`."""
    feature = _Feature(key, definition, options)
    program: p.Program | None = feature.program()
    problems = tuple(feature.findings.problems)
    # a group that is named twice is taken twice
    of_options = tuple(dict.fromkeys(feature.of_options.problems))
    named = names(definition)
    circular: p.Program | None = p.Program((), nothing(_CYCLIC))
    variants = feature.variants
    if has_errors([*problems, *of_options]):
        program = circular = None
        variants = {}
    elif not enabled:
        off = p.Outcome(None, Reason.DISABLED, metadata=(("sourceReason", "unknownFeature"),))
        program, circular = p.Program((), off), None
    return Translation(program, variants, named, problems, circular, of_options)


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


class _Feature:
    """One feature while it is translated; its variants and findings grow."""

    def __init__(self, key: str, definition: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.findings = Findings()
        self.of_options = Findings()
        self._key = key
        self._definition = definition
        self._members = Members(self.findings)
        self._outcomes = Outcomes(self._members)
        groups = mapping(options.get("savedGroups"))
        self._conditions = Conditions(self.findings, self.of_options, groups)
        bandits = mapping(options.get("contextualBandits"))
        self._experiments = Experiments(
            key, self._members, self._outcomes, self._conditions, bandits, Members(self.of_options)
        )
        self._asked: dict[tuple[str, str], p.Answered] = {}

    @property
    def variants(self) -> Mapping[str, Any]:
        """Values by the names that outcomes have for them."""
        return self._outcomes.variants

    def program(self) -> p.Program:
        """Return the program; of use only where no error was found."""
        definition = self._definition
        if "rules" not in definition and definition.get("variations").__class__ is list:
            return self._experiment_alone(definition)
        steps: list[p.Step] = []
        rules = definition.get("rules")
        if rules is not None and rules.__class__ is not list:
            self._members.error(("rules",), ProblemCode.WRONG_TYPE, "rules are a list")
            rules = []
        rules = rules or []
        if len(rules) > limits.MAX_RULES:
            message = f"a flag has at most {limits.MAX_RULES} rules"
            self._members.error(("rules",), ProblemCode.TOO_MANY, message)
            rules = []
        for index, rule in enumerate(rules):
            at: Path = ("rules", index)
            if rule.__class__ is not dict:
                self._members.error(at, ProblemCode.WRONG_TYPE, "a rule is an object")
                continue
            # a rule becomes several, and explanations call each by the rule that it is of
            made = self._rule(index, rule, at)
            steps += [p.Rule(one.when, one.serve, one.id or f"#{index + 1}") for one in made]
        reason = Reason.DEFAULT if rules else Reason.STATIC
        default = self._outcomes.outcome(
            ("defaultValue",),
            "default",
            definition.get("defaultValue"),
            reason,
            (("sourceReason", "defaultValue"),),
        )
        return p.Program(tuple(steps), default)

    def _rule(self, index: int, rule: dict[str, Any], at: Path) -> list[p.Rule]:
        before = len(self.findings.problems)
        rule_id = self._members.text(rule, "id", at) or None
        steps, base = self._prerequisites(rule.get("parentConditions"), at)
        filters = self._filters(rule.get("filters"), at)
        base = [*base, *filters]
        if rule.get("tracks"):
            message = "what a remote evaluation found is not told again"
            self._members.warning((*at, "tracks"), ProblemCode.UNSUPPORTED, message)
        if "force" in rule:
            return [*steps, *self._force(index, rule, at, base, rule_id)]
        member = (
            "variations" if rule.get("contextualVariations") is None else "contextualVariations"
        )
        if rule.get(member) is None:
            if not steps and len(self.findings.problems) == before:
                message = "the rule serves nothing"
                hint = "it is passed over, as in GrowthBook's SDKs"
                self._members.warning(at, ProblemCode.MISSING_FIELD, message, hint)
            return steps
        has_filters = is_true(rule.get("filters"))
        experiment = self._experiments.read(rule, at, base, rule_id, member, has_filters, index)
        if experiment is None:
            return steps
        bandit = self._experiments.bandit(rule, at)
        return [*steps, *self._experiments.steps(experiment, bandit, active=True)]

    def _prerequisites(self, parents: Any, at: Path) -> tuple[list[p.Rule], list[p.Expression]]:
        """Return the steps that decide by other flags alone, and what else they have to answer."""
        steps: list[p.Rule] = []
        passed: list[p.Expression] = []
        for asked, key, gate in self._parents(parents, at):
            failed = p.negation(asked)
            cyclic = p.Answered(key, _is_cyclic, _CYCLIC)
            steps.append(p.Rule(p.all_of([*passed, failed, cyclic]), nothing(_CYCLIC)))
            if gate:
                steps.append(p.Rule(p.all_of([*passed, failed]), nothing("prerequisite")))
            else:
                passed.append(asked)
        return steps, passed

    def _parents(self, parents: Any, at: Path) -> Iterator[tuple[p.Answered, str, bool]]:
        """Yield what asks each parent, its key, and whether it closes the feature."""
        at = (*at, "parentConditions")
        if parents is None:
            return
        if parents.__class__ is not list:
            self._members.error(at, ProblemCode.WRONG_TYPE, "parentConditions are a list")
            return
        for index, parent in enumerate(parents):
            here = (*at, index)
            if parent.__class__ is not dict or parent.get("id").__class__ is not str:
                self._members.error(here, ProblemCode.WRONG_TYPE, "it names a flag, by its id")
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
            self._members.error(at, ProblemCode.WRONG_TYPE, "filters are a list")
            return []
        found = []
        for index, item in enumerate(filters):
            here = (*at, index)
            if item.__class__ is not dict:
                self._members.error(here, ProblemCode.WRONG_TYPE, "a filter is an object")
                continue
            # what JavaScript makes of a seed that is not there
            seed = self._members.text(item, "seed", here) if "seed" in item else "undefined"
            by = self._members.text(item, "attribute", here) or "id"
            pairs = self._members.ranges(item.get("ranges"), (*here, "ranges"))
            number = r.bucketing(seed or "", by, self._members.version(item, here, 2))
            found.append(p.FALSE if number is None else r.within(number, pairs))
        return found

    def _force(
        self,
        index: int,
        rule: dict[str, Any],
        at: Path,
        base: list[p.Expression],
        rule_id: str | None,
    ) -> list[p.Rule]:
        included = self._included(rule, at)
        when = p.all_of([*base, *self._conditions.of(rule, at), included])
        name = self._outcomes.name(rule_id or "", f"rule-{index + 1}")
        by = self._members.text(rule, "hashAttribute", at) or "id"
        outcome = self._outcomes.outcome(
            (*at, "force"),
            name,
            rule["force"],
            Reason.TARGETING_MATCH,
            (("sourceReason", "force"), ("ruleIndex", index)),
            rule_id,
            TARGETING_KEY if included in (p.TRUE, p.FALSE) else unit_attribute(by),
        )
        return [p.Rule(when, outcome, rule_id)]

    def _included(self, rule: dict[str, Any], at: Path) -> p.Expression:
        """Return whether a unit is in the part of a rollout that is served."""
        pair = rule.get("range")
        if pair is None and "coverage" not in rule:
            return p.TRUE
        coverage = self._members.number(rule, "coverage", at)
        seed = self._members.text(rule, "seed", at) or self._key
        by = self._members.text(rule, "hashAttribute", at) or "id"
        version = self._members.version(rule, at, 1)
        pairs = None if pair is None else self._members.ranges([pair], (*at, "range"))

        def included(by: str) -> p.Expression:
            number = r.bucketing(seed, by, version)
            if number is None or (pairs is None and coverage == 0):
                return p.FALSE
            if pairs is not None:
                return r.within(number, pairs)
            return r.up_to(number, coverage or 0)  # null is compared as 0, and is not it

        found = included(by)
        fallback = self._members.text(rule, "fallbackAttribute", at)
        if not fallback or is_true(rule.get("disableStickyBucketing")):
            return found
        asked = [q.knows_stickiness(), r.without_unit(by), included(fallback)]
        return p.any_of([found, p.all_of(asked)])

    def _experiment_alone(self, definition: Mapping[str, Any]) -> p.Program:
        """Return the program of an experiment that is no rule of a feature."""
        for member in _FORMAT_OF_PAGES:
            if definition.get(member) is not None:
                message = f"{member} asks what a server does not know"
                hint = "say it as a condition over an attribute"
                self._members.error((member,), ProblemCode.UNSUPPORTED, message, hint)
        filters = self._filters(definition.get("filters"), ())
        has_filters = is_true(definition.get("filters"))
        experiment = self._experiments.read(
            definition, (), [], None, "variations", has_filters, None
        )
        if experiment is None:
            return p.Program((), nothing("experiment"))
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
        steps += self._experiments.steps(experiment, None, active=active)
        metadata: Metadata = (
            ("sourceReason", "defaultValue"),
            ("experimentKey", experiment.key),
            ("variationId", 0),
            ("inExperiment", False),
            ("hashUsed", False),
        )
        values = experiment.variations
        otherwise = self._outcomes.outcome(
            ("variations", 0),
            experiment.names[0] if values else "default",
            values[0] if values else None,
            Reason.DEFAULT if steps else Reason.STATIC,
            metadata,
        )
        return p.Program(tuple(steps), otherwise)


def _shown(condition: Any) -> str:
    """Return a condition that was found to be one as text."""
    try:
        return msgspec.json.encode(condition).decode()
    except (UnicodeEncodeError, ValueError, OverflowError, RecursionError):
        return repr(id(condition))
