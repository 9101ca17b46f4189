"""Flags of GO Feature Flag as rule programs: one for each span between two changes of a flag.

A flag changes at the dates of its scheduled steps, and where a progressive rollout begins that does
not begin at 0 %: before, nobody is in it. Between them time is in windows and ramps.

In each program, in this order, as in GO Feature Flag:

    the key is needed and not there     TARGETING_KEY_MISSING, also for a flag that is off
    the flag is off                     no value, DISABLED
    the time is not the experiment's    no value, DISABLED
    rules, then the default rule

What GO Feature Flag calls FLAG_CONFIG, a rule that gives nobody anything, is the error `GENERAL`
with the metadata `sourceError`. Reasons are ours; where its own is another one it is in the
metadata `sourceReason`. The names of rules are in `evaluatedRuleName`, and
`gofeatureflag_cacheable` says, as there, that time does not matter.

A share of users is a range of `fnv1a32(flag + key) % total` in thousandths of a percent, variations
by their names from the last to the first; a progressive rollout counts whole seconds.
"""

from collections.abc import Mapping
from math import fsum
from typing import Any, NamedTuple

from msgspec import UNSET

from proxy.contract.codes import ErrorCode, ProblemCode, Reason, Severity
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.goff.conditions import Attributes, member
from proxy.engine.dialects.goff.flags import Flag, NotMerged, Progressive, Rule, merged
from proxy.engine.dialects.goff.rules import Queries
from proxy.engine.dialects.javascript import utf8
from proxy.engine.findings import Findings
from proxy.engine.operators import Leaf
from proxy.engine.times import Moment

__all__ = ["program_of"]

_PER_PERCENT = 1_000.0
_WHOLE = 100_000
_MAX_RULES_IN_ALL = 4 * limits.MAX_RULES
"""Rules of all programs of a flag: each is compiled."""

_CACHEABLE = ("gofeatureflag_cacheable", True)
_UNIT = "targetingKey"


def program_of(
    key: str, flag: Flag, enabled: bool, fixed: Attributes, findings: Findings
) -> tuple[p.Program | p.Timeline | None, dict[str, Any]]:
    """Return a flag's program, None when there were errors, and the variants it names."""
    return _Translator(key, flag, enabled, fixed, findings).translate()


class _Span(NamedTuple):
    """A flag as it is from a moment on; None where GO Feature Flag fails."""

    since_ms: int
    flag: Flag | None


def _ceiling(moment: Moment) -> int:
    """Return the first millisecond that is not before a moment."""
    return moment[0] + (moment[1] != "")


class _Translator:
    def __init__(
        self, key: str, flag: Flag, enabled: bool, fixed: Attributes, findings: Findings
    ) -> None:
        self._flag = flag
        self._enabled = enabled
        self._findings = findings
        self._queries = Queries(fixed, findings)
        self._variants = _known(flag.variations)
        self._scheduled = any(step.change.disable is not None for step in flag.steps)
        self._timeless = not flag.steps and not flag.is_experiment
        self._reported: set[tuple[Any, ...]] = set()
        unit = _unit(flag.bucketing_key, fixed)
        self._attribute = unit
        self._unit = unit if isinstance(unit, str) else unit.name
        self._hashed: tuple[bytes | p.Part, ...] = (utf8(key), p.Part(unit, _encode))
        self._key_is = _present(unit, needs_text=True)

    def translate(self) -> tuple[p.Program | p.Timeline | None, dict[str, Any]]:
        spans = self._spans()
        starts = [moment for span in spans for moment in _starts(span.flag)]
        cuts = sorted({span.since_ms for span in spans[1:]} | set(starts))
        most = max(len(flag.rules) + 1 for _, flag in spans if flag is not None)
        if cuts and most * (len(cuts) + 1) > _MAX_RULES_IN_ALL:
            message = f"{len(cuts)} changes over time, of more than {_MAX_RULES_IN_ALL} rules"
            self._findings.add(("scheduledRollout",), ProblemCode.TOO_MANY, message)
            return None, self._variants
        first = self._program(spans[0].flag, None)
        then = []
        for cut in cuts:
            flag = [span.flag for span in spans if span.since_ms <= cut][-1]
            then.append((cut, self._program(flag, cut)))
        if any(problem.severity is Severity.ERROR for problem in self._findings.problems):
            return None, self._variants
        return (p.Timeline(first, tuple(then)) if then else first), self._variants

    def _spans(self) -> list[_Span]:
        """Return the flag, and the flag after each of its steps, by time."""
        spans = [_Span(p.ALWAYS[0], self._flag)]
        dated = [(step.date, step.change) for step in self._flag.steps if step.date is not None]
        flag: Flag | None = self._flag
        for date, change in sorted(dated, key=lambda step: step[0]):
            if flag is not None:
                try:
                    flag = merged(flag, change)
                except NotMerged:
                    message = "a step changes what is not there; GO Feature Flag fails from then on"
                    self._warn(("scheduledRollout",), message)
                    flag = None
            spans.append(_Span(_ceiling(date), flag))
        return spans

    def _program(self, flag: Flag | None, since_ms: int | None) -> p.Program:
        if flag is None:
            return p.Program((), _failure("the schedule cannot be applied"))
        steps = self._gates(flag)
        otherwise: p.Serve = _failure("there is no default rule")
        for rule in flag.rules:
            if flag.bucketing_key == "" and rule.needs_key:
                steps.append(p.Gate(self._key_is, self._outcome(None, None, rule)))
            if not rule.disable:
                when = self._queries.expression(rule)
                matched = Reason.TARGETING_MATCH
                steps.append(p.Rule(when, self._serve(rule, since_ms, matched), rule.name))
        if flag.default is not None:
            if flag.bucketing_key == "" and flag.default.needs_key:
                steps.append(p.Gate(self._key_is, self._outcome(None, None, flag.default)))
            plain = Reason.DEFAULT if flag.rules else Reason.STATIC
            otherwise = self._serve(flag.default, since_ms, plain)
        variants = _known(flag.variations)
        self._complete(variants, [*flag.rules, *([flag.default] if flag.default else [])])
        if flag is self._flag:
            self._variants = variants
            return p.Program(tuple(steps), otherwise)
        return p.Program(tuple(steps), otherwise, variants)

    def _gates(self, flag: Flag) -> list[p.Step]:
        """Return what is asked before the rules."""
        steps: list[p.Step] = []
        changed = [step.change for step in flag.steps]
        needs_key = any(
            rule.needs_key
            for each in (flag, *changed)
            for rule in (*each.rules, *([each.default] if each.default else []))
        )
        if flag.bucketing_key:
            steps.append(p.Gate(_present(self._attribute, needs_text=needs_key), self._missing()))
        elif flag.bucketing_key is None and needs_key:
            steps.append(p.Gate(self._key_is, self._missing()))
        metadata = (_CACHEABLE,) if self._timeless else ()
        off = p.Outcome(None, Reason.DISABLED, unit_attribute=self._unit, metadata=metadata)
        if not self._enabled or (self._scheduled and flag.disable):
            steps.append(p.Gate(p.FALSE, off))
        since, until = p.ALWAYS
        if flag.start is not None:
            since = _ceiling(flag.start)
        if flag.end is not None:
            until = flag.end[0] + 1
        if since >= until:
            steps.append(p.Gate(p.FALSE, off))
        elif (since, until) != p.ALWAYS:
            steps.append(p.Gate(p.Window(since, until, "experimentation"), off))
        return steps

    def _missing(self) -> p.Outcome:
        details = f"the flag tells users apart by {self._unit}, and the context has no such text"
        code = ErrorCode.TARGETING_KEY_MISSING
        return p.Outcome(error=code, details=details, unit_attribute=self._unit)

    # What a rule serves

    def _serve(self, rule: Rule, since_ms: int | None, plain: Reason) -> p.Serve:
        if rule.progressive is not None:
            return self._progressive(rule, rule.progressive, since_ms, plain)
        if rule.percentages:
            return self._percentages(rule, rule.percentages, plain)
        if rule.variation is not None:
            return self._outcome(rule.variation, plain, rule)
        self._warn(rule.path, "gives nobody a variation; GO Feature Flag fails where it applies")
        return self._outcome(None, None, rule)

    def _percentages(self, rule: Rule, shares: Mapping[str, float], plain: Reason) -> p.Serve:
        path = (*rule.path, "percentage")
        if min(shares.values()) < 0:
            message = "a negative share removes a variation from a rule that has it, in a step"
            self._findings.add(path, ProblemCode.OUT_OF_RANGE, message)
            return self._outcome(None, None, rule)
        reason = plain if 100.0 in shares.values() else Reason.SPLIT
        arms: list[p.Arm] = []
        start = summed = 0.0
        for name in sorted(shares, key=utf8, reverse=True):
            end = start + shares[name] * _PER_PERCENT
            summed += shares[name]
            if int(start) < int(end):
                arms.append(p.Arm(int(start), int(end), self._outcome(name, reason, rule)))
            start = end
        size = int(summed * _PER_PERCENT)
        nobody = self._outcome(None, None, rule)
        if size == 0:
            return nobody
        if size >= 2**32:
            message = "the shares come to more than can be counted"
            self._findings.add(path, ProblemCode.OUT_OF_RANGE, message)
        elif _is_doubtful(shares, size):
            message = (
                "the sum of the shares goes by the order they are added in, which GO Feature Flag "
                "leaves to chance, and most users with it; here it is one order"
            )
            self._warn(path, message)
        elif size != _WHOLE:
            message = f"the shares sum to {size / _PER_PERCENT:g} %, which is taken for all users"
            self._warn(path, message)
        return p.Split(self._bucketing(size), tuple(arms), nobody, nobody)

    def _progressive(
        self, rule: Rule, rollout: Progressive, since_ms: int | None, plain: Reason
    ) -> p.Serve:
        initial, end = rollout
        path = (*rule.path, "progressiveRollout")
        nobody = self._outcome(None, None, rule)
        if (
            initial is None
            or initial.date is None
            or initial.variation is None
            or end is None
            or end.date is None
            or end.variation is None
            or end.date <= initial.date
        ):
            message = "needs two variations, and two dates in order; GO Feature Flag fails at it"
            self._warn(path, message)
            return nobody
        low, high = initial.percentage or 0.0, end.percentage or 0.0
        if high == 0 or high > 100:
            high = 100.0
        if low < 0 or high < 0:
            self._findings.add(path, ProblemCode.OUT_OF_RANGE, "a share of users is negative")
            return nobody
        reason = Reason.SPLIT
        before = self._outcome(initial.variation, reason, rule)
        start_ms, end_ms = _ceiling(initial.date), _ceiling(end.date)
        low, high = low * _PER_PERCENT, high * _PER_PERCENT
        if int(low) > 0 and (since_ms is None or since_ms < start_ms):
            return before  # until the next program
        seconds = end.date[0] // 1_000 - initial.date[0] // 1_000
        slope = (high - low) / seconds if seconds else 0.0
        ramp = p.Ramp(start_ms, end_ms, low if seconds else 0.0, int(high), slope, 1_000)
        arm = p.Arm(0, ramp, self._outcome(end.variation, reason, rule))
        return p.Split(self._bucketing(_WHOLE), (arm,), before, before)

    def _bucketing(self, size: int) -> p.Bucketing:
        return p.Bucketing(self._hashed, "fnv1a_32", 0, "modulo", size)

    def _outcome(self, variation: str | None, reason: Reason | None, rule: Rule) -> p.Outcome:
        """Return a variation served by a rule; without a reason, that there is none."""
        if reason is None:
            return _failure("a rule has no variation for this user")
        metadata: list[tuple[str, str | bool]] = []
        ruled = rule.path[-1] != "defaultRule"
        if ruled and rule.name:
            metadata.append(("evaluatedRuleName", rule.name))
        if self._timeless and rule.progressive is None:
            metadata.append(_CACHEABLE)
        if ruled and reason is Reason.SPLIT:
            metadata.append(("sourceReason", "TARGETING_MATCH_SPLIT"))
        return p.Outcome(variation, reason, unit_attribute=self._unit, metadata=tuple(metadata))

    def _complete(self, variants: dict[str, Any], rules: list[Rule]) -> None:
        """Add variations that rules name and the flag does not have, which have no value."""
        for rule in rules:
            names = [rule.variation, *(rule.percentages or ())]
            if rule.progressive is not None:
                names += [edge.variation for edge in rule.progressive if edge is not None]
            for name in names:
                if name is not None and name not in variants:
                    variants[name] = UNSET
                    message = f"the flag has no variation {name!r}; no value is served for it"
                    self._warn(rule.path, message, ProblemCode.UNKNOWN_VARIANT)

    def _warn(self, path: Any, message: str, code: ProblemCode = ProblemCode.UNSUPPORTED) -> None:
        """Report a warning; once, however many programs it is in."""
        if (path, message) not in self._reported:
            self._reported.add((path, message))
            self._findings.add(path, code, message, severity=Severity.WARNING)


def _failure(why: str) -> p.Outcome:
    """Return the error that GO Feature Flag calls FLAG_CONFIG."""
    return p.Outcome(
        error=ErrorCode.GENERAL, details=why, metadata=(("sourceError", "FLAG_CONFIG"),)
    )


def _is_doubtful(shares: Mapping[str, float], size: int) -> bool:
    """Return whether another order of shares has another sum, in thousandths of a percent."""
    orders = (sorted(shares.values()), sorted(shares.values(), reverse=True), shares.values())
    sums = {int(sum(order) * _PER_PERCENT) for order in orders}
    return sums | {int(fsum(shares.values()) * _PER_PERCENT)} != {size}


def _starts(flag: Flag | None) -> list[int]:
    """Return when progressive rollouts begin of which some users are a part at once."""
    if flag is None:
        return []
    found = []
    for rule in (*flag.rules, *([flag.default] if flag.default else [])):
        initial = rule.progressive.initial if rule.progressive else None
        if initial is None or initial.date is None:
            continue
        if (initial.percentage or 0.0) * _PER_PERCENT >= 1:
            found.append(_ceiling(initial.date))
    return found


def _known(variations: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the values that can be served: a null is none."""
    return {name: UNSET if value is None else value for name, value in (variations or {}).items()}


# The key


def _encode(value: Any) -> bytes | None:
    return utf8(value) if value.__class__ is str and value else None


def _unit(bucketing_key: str | None, fixed: Attributes) -> str | p.Operand:
    """Return what tells users apart."""
    if not bucketing_key:
        return _UNIT
    first, *rest = bucketing_key.split(".")
    outer = member(first, fixed) if first in fixed else None

    def fetch(context: dict[str, Any]) -> Any:
        value = context.get(first) if outer is None else outer(context)
        for name in rest:
            if value.__class__ is not dict:
                return None
            value = value.get(name)
        return value

    return p.Operand(bucketing_key, fetch, frozenset() if outer else frozenset((first,)))


def _present(unit: str | p.Operand, *, needs_text: bool) -> p.Expression:
    """Return whether there is a key; an empty one will do where nobody is told apart."""
    template = "{f}.__class__ is str and {x} != {0}" if needs_text else "{f}.__class__ is str"
    return p.Probe(unit, Leaf(template, ("",) if needs_text else ()), source="the key")
