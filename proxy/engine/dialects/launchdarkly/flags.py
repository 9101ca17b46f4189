"""One flag of LaunchDarkly as a rule program.

In order: the context must be usable; a flag that is off serves its off variation, without one the
application's default; each prerequisite must be on and serve its variation; targets; rules; the
fallthrough. Variants are named by their numbers, `"0"` and on, as LaunchDarkly's OpenFeature
providers name them. `sourceReason` in an answer's metadata is LaunchDarkly's own reason, and
`ruleIndex`, `ruleId`, `inExperiment`, `prerequisiteKey`, `errorKind` what belongs to it.

What is malformed is an error only for those who come to it, and warned of: a variation that is not
there, a rollout to nothing, an attribute that cannot be read. The last of these, and a circle of
prerequisites, are also errors of every flag that asks the flag.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.contract.codes import ErrorCode, ProblemCode, Reason, Severity
from proxy.contract.definitions import TARGETING_KEY
from proxy.contract.problems import has_errors
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.launchdarkly import contexts
from proxy.engine.dialects.launchdarkly.clauses import ClauseReader
from proxy.engine.dialects.launchdarkly.document import Flag, Serve, Target, kind_of, read, whole
from proxy.engine.dialects.launchdarkly.rollouts import Bits, split
from proxy.engine.dialects.model import Named, Translation
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf
from proxy.engine.texts import check_count

__all__ = ["bits_of", "names", "translate"]

_MALFORMED = (("sourceReason", "ERROR"), ("errorKind", "MALFORMED_FLAG"))

_NO_VARIATION = p.Outcome(
    error=ErrorCode.PARSE_ERROR, details="no such variation", metadata=_MALFORMED
)
_BAD_CLAUSE = p.Outcome(
    error=ErrorCode.PARSE_ERROR, details="a clause cannot be read", metadata=_MALFORMED
)
_CIRCLE = p.Outcome(
    error=ErrorCode.PARSE_ERROR, details="a circle of prerequisites", metadata=_MALFORMED
)
_PASSED_ON = p.Outcome(
    error=ErrorCode.PARSE_ERROR, details="a prerequisite cannot be evaluated", metadata=_MALFORMED
)
_STOPS = frozenset(outcome.details for outcome in (_BAD_CLAUSE, _CIRCLE, _PASSED_ON))

_USABLE = p.Gate(
    p.Probe(contexts.USABLE, Leaf("{f}"), source="needed of every context"),
    p.Outcome(
        error=ErrorCode.TARGETING_KEY_MISSING,
        details="the context has no key, or a kind that is no name",
        metadata=(("sourceReason", "ERROR"), ("errorKind", "USER_NOT_SPECIFIED")),
    ),
)


def bits_of(options: Mapping[str, Any]) -> Bits:
    """Return the precision that is asked for."""
    return 32 if str(options.get("float")) == "32" else 64


def translate(
    key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
) -> Translation:
    """Return a flag as a program; `enabled` takes the place of its own `on`."""
    flag, problems = read(definition, Flag)
    if flag is None:
        return Translation(None, {}, names(definition), tuple(problems))
    return _Translator(key, flag, bits_of(options)).translation(enabled)


def names(definition: Mapping[str, Any]) -> Named:
    """Return the segments and flags that a definition asks."""
    flag, _ = read(definition, Flag)
    if flag is None:
        return Named()
    asked = (prerequisite.key for prerequisite in flag.prerequisites or ())
    clauses = (clause for rule in flag.rules or () for clause in rule.clauses or ())
    named = (
        value
        for clause in clauses
        if clause.op == "segmentMatch"
        for value in clause.values or ()
        if isinstance(value, str)
    )
    return Named(tuple(dict.fromkeys(named)), tuple(dict.fromkeys(asked)))


class _Translator:
    """Translates one flag. The names of steps are for explanations."""

    def __init__(self, key: str, flag: Flag, bits: Bits) -> None:
        self._flag = flag
        self._bits = bits
        self._findings = Findings()
        self._clauses = ClauseReader(self._findings)
        self._count = len(flag.variations or ())
        self._prefix = f"{flag.key or key}.{flag.salt or ''}.".encode("utf-8", "surrogatepass")
        self._missing: set[tuple[Path, int]] = set()

    def translation(self, enabled: bool) -> Translation:
        flag, findings = self._flag, self._findings
        values = flag.variations or []
        variants = {
            str(index): msgspec.UNSET if value is None else value
            for index, value in enumerate(values)
        }
        if not self._is_within_bounds():
            return Translation(None, variants, Named(), tuple(findings.problems))
        off = self._outcome(
            flag.off_variation, Reason.DISABLED, (("sourceReason", "OFF"),), ("offVariation",)
        )
        whole_program = p.Program((_USABLE, *self._steps()), self._fallthrough())
        named = Named(
            tuple(self._clauses.segments),
            tuple(dict.fromkeys(wanted.key for wanted in flag.prerequisites or ())),
        )
        problems = tuple(findings.problems)
        if has_errors(findings.problems):
            return Translation(None, variants, named, problems)
        if not enabled:
            return Translation(p.Program((_USABLE,), off), variants, Named(), problems)
        circular = p.Program((_USABLE,), _CIRCLE)
        return Translation(whole_program, variants, named, problems, circular)

    def _is_within_bounds(self) -> bool:
        flag, findings = self._flag, self._findings
        rules = flag.rules or []
        targets = [*(flag.targets or ()), *(flag.context_targets or ())]
        arms = sum(
            len(serve.rollout.variations or ())
            for serve in (*rules, flag.fallthrough)
            if serve is not None and serve.rollout is not None
        )
        asked = len(flag.prerequisites or ())
        check_count(("variations",), self._count, limits.MAX_VARIANTS, "variations", findings)
        check_count(("rules",), len(rules), limits.MAX_RULES, "rules", findings)
        check_count(("targets",), len(targets), limits.MAX_RULES, "targets", findings)
        check_count(("rules",), arms, limits.MAX_CONDITIONS, "arms of rollouts in all", findings)
        check_count(("prerequisites",), asked, limits.MAX_PREREQUISITES, "prerequisites", findings)
        units = sum(len(target.values or ()) for target in targets)
        self._clauses.within_bounds((rule.clauses for rule in rules), units, ("rules",))
        return not has_errors(findings.problems)

    def _steps(self) -> Iterator[p.Step]:
        yield from self._prerequisites()
        for path, target in self._targets():
            kind = kind_of(target.context_kind)
            if target.values:
                yield p.Rule(
                    p.Probe(contexts.key(kind), _among(target.values), source=target.values),
                    self._outcome(
                        target.variation or 0,
                        Reason.TARGETING_MATCH,
                        (("sourceReason", "TARGET_MATCH"),),
                        (*path, "variation"),
                    ),
                    f"{path[0]} {path[1]}",
                )
        for index, rule in enumerate(self._flag.rules or ()):
            path = ("rules", index)
            when, is_good = self._clauses.conditions(rule.clauses, path)
            marks = (("sourceReason", "RULE_MATCH"), ("ruleIndex", index))
            serve: p.Serve = _BAD_CLAUSE
            if is_good:
                serve = self._serve(rule, Reason.TARGETING_MATCH, marks, path, rule.id or None)
            yield p.Rule(when, serve, rule.id or f"number {index}")

    def _prerequisites(self) -> Iterator[p.Step]:
        for index, wanted in enumerate(self._flag.prerequisites or ()):
            path = ("prerequisites", index, "variation")
            variation = whole(wanted.variation) if wanted.variation is not None else 0
            if variation is None:
                self._findings.add(path, ProblemCode.WRONG_TYPE, "it is no integer")
                continue
            passes = p.Answered(wanted.key, _serves(str(variation)), (str(variation),))
            # asked only about flags that do not pass, so that those that do are asked once
            stops = p.Answered(wanted.key, _is_stopped, ("an error",))
            yield p.Rule(
                p.all_of([p.negation(passes), stops]), _PASSED_ON, f"errors of {wanted.key}"
            )
            marks = (("sourceReason", "PREREQUISITE_FAILED"), ("prerequisiteKey", wanted.key))
            off = self._flag.off_variation
            yield p.Gate(passes, self._outcome(off, Reason.DEFAULT, marks, ("offVariation",)))

    def _targets(self) -> Iterator[tuple[Path, Target]]:
        """Yield the targets in the order in which they are tried.

        Where there are those for kinds, one for users that is empty stands for the one of the same
        variation among the others.
        """
        users = list(enumerate(self._flag.targets or ()))
        if not self._flag.context_targets:
            for index, target in users:
                yield ("targets", index), target
            return
        for index, target in enumerate(self._flag.context_targets):
            if target.values or kind_of(target.context_kind) != contexts.USER:
                yield ("contextTargets", index), target
                continue
            same = (other for other in users if _same(other[1].variation, target.variation))
            for other, user_target in same:
                yield ("targets", other), user_target
                break

    def _fallthrough(self) -> p.Serve:
        flag = self._flag
        plain = not (flag.prerequisites or flag.targets or flag.context_targets or flag.rules)
        reason = Reason.STATIC if plain else Reason.DEFAULT
        marks = (("sourceReason", "FALLTHROUGH"),)
        return self._serve(flag.fallthrough or Serve(), reason, marks, ("fallthrough",), None)

    def _serve(
        self,
        serve: Serve,
        reason: Reason,
        marks: tuple[tuple[str, Any], ...],
        path: Path,
        rule_id: str | None,
    ) -> p.Serve:
        if serve.variation is not None:
            where = (*path, "variation")
            return self._outcome(serve.variation, reason, marks, where, rule_id)
        if serve.rollout is None:
            message = "neither a variation nor a rollout: who comes here gets an error"
            self._findings.add(path, ProblemCode.MISSING_FIELD, message, severity=Severity.WARNING)
            return _NO_VARIATION
        where = (*path, "rollout")

        def outcome(variation: int, in_experiment: bool, by: str) -> p.Outcome:
            more = (*marks, ("inExperiment", True)) if in_experiment else marks
            return self._outcome(variation, Reason.SPLIT, more, where, rule_id, by)

        made = split(serve.rollout, self._prefix, self._bits, outcome, self._findings, where)
        return _NO_VARIATION if made is None else made

    def _outcome(
        self,
        variation: float | None,
        reason: Reason,
        marks: tuple[tuple[str, Any], ...],
        path: Path,
        rule_id: str | None = None,
        by: str = TARGETING_KEY,
    ) -> p.Outcome:
        """Return what a variation answers; none is the application's default."""
        if variation is None:
            return p.Outcome(None, reason, rule_id, by, metadata=marks)
        index = whole(variation)
        if index is None:
            self._findings.add(
                path, ProblemCode.WRONG_TYPE, "the number of a variation, an integer"
            )
            return _NO_VARIATION
        if not 0 <= index < self._count:
            if (path, index) not in self._missing:
                self._missing.add((path, index))
                message = f"there is no variation {index}: who comes here gets an error"
                self._findings.add(
                    path, ProblemCode.UNKNOWN_VARIANT, message, severity=Severity.WARNING
                )
            return _NO_VARIATION
        return p.Outcome(str(index), reason, rule_id, by, metadata=marks)


def _among(values: list[str]) -> Leaf:
    return Leaf("{f} in {0}", (frozenset(values),))


def _same(one: float | None, other: float | None) -> bool:
    return (one or 0) == (other or 0)


def _serves(variant: str) -> Any:
    """Return a test whether a flag is on and serves a variant."""

    def serves(answer: Answer) -> bool:
        return answer.variant == variant and answer.reason != Reason.DISABLED

    return serves


def _is_stopped(answer: Answer) -> bool:
    """Return whether a flag has an error that is passed on to those who ask it."""
    return answer.error_code is not None and answer.error_details in _STOPS
