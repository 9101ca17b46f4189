"""A rule program run in the open: the decisions that compiled flags make, each written down.

It walks the program as it was written, not the folded one, in the order in which it is evaluated:
`and` and `or` stop where they are decided, and what follows is shown as not looked at. Segments and
other flags are asked of `Sources`, which says what they come to and why.

Not for the hot path. Work is done in generators, which yield between conditions, so that a long
explanation holds no event loop. `Room` bounds what is written; what no longer fits is evaluated all
the same, because what follows depends on it.

Rules:
- Every kind of node of `proxy.engine.program` is here; a new one needs both.
- Nothing raises, for any context.
"""

from bisect import bisect_right
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract import definitions
from proxy.contract.explanation import ConditionTrace, RangeTrace, SplitTrace, Step
from proxy.contract.steps import finish
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.codegen import predicate
from proxy.engine.hashing import HASH_BITS, NO_NUMBER, number_of
from proxy.engine.paths import split_path, walk
from proxy.engine.reading import because_of, leaf_text, span_text
from proxy.engine.shown import compact, moment, shown, text

__all__ = ["Asked", "Room", "Sources", "Traced", "Tracer"]

_MOST_RANGES = 20
_MOST_VALUES = 8

Held = tuple[bool, ConditionTrace | None]
"""Whether a condition holds, and its trace, None where there was no room for one."""


class Traced(NamedTuple):
    """What a program comes to, how, and in a sentence what decided."""

    outcome: p.Outcome
    steps: list[Step]
    because: str
    variants: Any


class Asked(NamedTuple):
    """What another flag answers, and the steps to that, where they are told."""

    answer: Answer
    steps: list[Step]
    because: str


class Sources(Protocol):
    """Where a tracer finds what a program only names."""

    def segment(self, key: str, depth: int) -> Generator[None, None, Held]:
        """Return whether the context is in a segment, and why."""

    def flag(self, key: str, depth: int) -> Generator[None, None, Asked]:
        """Return what another flag answers, and why."""


class Room:
    """How many bytes of JSON may still be written."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.lacked = False

    def take(self, part: msgspec.Struct) -> bool:
        """Return whether a part, without what will be put into it, still fits; it is counted."""
        size = len(_encode(part)) + 64  # what is said of it in the end, and lists that it may get
        if size > self.left:
            self.lacked = True
            return False
        self.left -= size
        return True


_encode = msgspec.json.Encoder().encode


class _Served(NamedTuple):
    """What is served, or `NEXT`, how a split came to that, and a sentence, where there is one."""

    serve: p.Outcome | p.Next
    split: SplitTrace | UnsetType = UNSET
    because: str = ""


class Tracer:
    """Runs programs for one context at one time."""

    def __init__(self, context: dict[str, Any], now_ms: int, sources: Sources, room: Room) -> None:
        self._context = context
        self._now_ms = now_ms
        self._sources = sources
        self._room = room

    # Steps

    def program(
        self, program: p.Program | p.Timeline, depth: int = 0
    ) -> Generator[None, None, Traced]:
        """Return what a program comes to. `depth` is how deep its traces will be put."""
        steps = _Steps(self._room)
        if isinstance(program, p.Timeline):
            program, since = self._current(program)
            steps.add(Step("since", True, since))
        prerequisites = rules = 0
        decided: p.Outcome | None = None
        for step in program.steps:
            if isinstance(step, p.Gate):
                index = prerequisites
                prerequisites += 1
            else:
                index = rules
                rules += isinstance(step, p.Rule)
            if decided is not None:
                steps.add(_unreached(step, index))
                continue
            if isinstance(step, p.Gate):
                decided = yield from self._gate(step, index, steps, depth)
            elif isinstance(step, p.Lookup):
                decided = self._lookup(step, steps)
            else:
                decided = yield from self._rule(step, index, steps, depth)
            yield
        if decided is not None:
            steps.add(Step("fallthrough", None, "not reached"))
        else:
            decided = self._fallthrough(program, steps)
        return Traced(decided, steps.shown(), steps.because, program.variants)

    def _current(self, timeline: p.Timeline) -> tuple[p.Program, str]:
        moments = [since for since, _ in timeline.then]
        number = bisect_right(moments, self._now_ms)
        until = f" until {moment(moments[number])}" if number < len(moments) else ""
        if number == 0:
            return timeline.first, f"these are the first steps, served{until or ' for ever'}"
        since, program = timeline.then[number - 1]
        return program, f"these steps are served since {moment(since)}{until}"

    def _gate(
        self, gate: p.Gate, index: int, steps: "_Steps", depth: int
    ) -> Generator[None, None, p.Outcome | None]:
        if isinstance(gate.passes, p.Answered):
            wanted = gate.passes
            asked = yield from self._sources.flag(wanted.key, depth + 1)
            passes = bool(wanted.passes(asked.answer))
            because = _why_asked(asked, wanted, passes)
            step = Step("prerequisite", passes, because, index=index)
            step.flag, step.wanted = text(wanted.key), _names(wanted.wanted)
            step.variant, step.reason = _answered(asked.answer)
            inner, condition = asked.steps, None
        else:
            passes, condition = yield from self.condition(gate.passes, depth + 1)
            because = "its condition holds" if passes else _why(condition)
            step, inner = Step("gate", passes, because), []
        if not passes:
            step.decides = True
            what = f"the prerequisite {step.flag}" if step.flag else "a gate"
            steps.decide(f"{what} failed: {step.because}")
        if steps.add(step):
            step.steps = inner
            if condition is not None:
                step.condition = condition
        return None if passes else gate.closed

    def _lookup(self, lookup: p.Lookup, steps: "_Steps") -> p.Outcome | None:
        name = lookup.attribute
        value = self.value(name)
        found = None
        if value.__class__ is str:
            found = next((out for values, out in lookup.groups if value in values), None)
        if found is not None:
            because = f"{text(name)} {compact(value)} is a target of {_variant(found)}"
            step = Step("targets", True, because, decides=True)
            step.variant, step.reason = _said(found)
            steps.decide(because)
        else:
            count = sum(len(values) for values, _ in lookup.groups)
            if value is None:
                because = f"the context has no {text(name)}"
            elif value.__class__ is not str:
                because = f"{text(name)} is {compact(value)}, and targets are strings"
            else:
                units = "unit" if count == 1 else "units"
                because = f"{text(name)} {compact(value)} is not among the {count} {units} named"
            step = Step("targets", False, because)
        steps.add(step)
        return found

    def _rule(
        self, rule: p.Rule, index: int, steps: "_Steps", depth: int
    ) -> Generator[None, None, p.Outcome | None]:
        holds, condition = yield from self.condition(rule.when, depth + 1)
        step = Step("rule", holds, "", id=text(rule.id or ""), index=index)
        decided: p.Outcome | None = None
        if not holds:
            step.because = _why(condition)
        else:
            served = self._served(rule.serve)
            always = "it is for everybody" if rule.when is p.TRUE else "its condition holds"
            step.because = "; ".join(part for part in (always, served.because) if part)
            step.split = served.split
            if isinstance(served.serve, p.Next):
                step.matched = False
                step.because += ", so the rule does not match"
            else:
                decided = served.serve
                step.decides = True
                step.variant, step.reason = _said(decided)
                because = f"{_rule_name(step)} matched"
                steps.decide("; ".join(part for part in (because, served.because) if part))
        if steps.add(step) and condition is not None:
            step.condition = condition
        return decided

    def _fallthrough(self, program: p.Program, steps: "_Steps") -> p.Outcome:
        served = self._served(program.otherwise)
        outcome = served.serve
        if isinstance(outcome, p.Next):  # no program says so
            outcome = p.Outcome()
        others = bool(program.steps)
        because = "nothing before it decided" if others else "there is nothing before it"
        because = "; ".join(part for part in (because, served.because) if part)
        step = Step("fallthrough", True, because, decides=True, split=served.split)
        step.variant, step.reason = _said(outcome)
        if outcome.error is not None:
            steps.decide(f"the fallthrough cannot be served: {served.because}")
        else:
            rules = any(isinstance(each, p.Rule) for each in program.steps)
            because = "no rule matched, so the fallthrough is served"
            if not rules:
                because = "the fallthrough is served"
            steps.decide("; ".join(part for part in (because, served.because) if part))
        steps.add(step)
        return outcome

    # What is served

    def _served(self, serve: p.Serve) -> _Served:
        match serve:
            case p.Split():
                return self._split(serve)
            case p.Computed():
                name = serve.choose(self._context, self._now_ms)
                if name is None:
                    return _Served(serve.nothing, because="it computes nothing")
                found = next((out for known, out in serve.outcomes if known == name), None)
                if found is None:
                    because = f"it computes {compact(name)}, which is no variant"
                    return _Served(serve.unknown, because=because)
                return _Served(found, because=f"it computes {compact(name)}")
            case _:
                return _Served(serve)

    def _split(self, split: p.Split) -> _Served:
        number = number_of(split.bucketing)(self._context)
        trace = self._bucket(split.bucketing, number)
        served = split.missing if number == NO_NUMBER else split.otherwise
        for arm in split.arms:
            high = arm.high
            if isinstance(high, p.Ramp):
                trace.ramp = _ramp_text(high, self._now_ms, trace.buckets)
                high = high.bound(self._now_ms)
            here = number != NO_NUMBER and arm.low <= number < high
            if here:
                served = arm.serve
            _add_range(trace, RangeTrace(arm.low, high, _variant_of(arm.serve), here))
        if isinstance(split.arms[-1].high if split.arms else 0, p.Ramp):
            low = trace.ranges[-1].high if trace.ranges else 0
            here = number != NO_NUMBER and number >= low
            rest = RangeTrace(low, trace.buckets, _variant_of(split.otherwise), here)
            _add_range(trace, rest)
        return _Served(served, trace, self._why_split(trace, served))

    @staticmethod
    def _why_split(trace: SplitTrace, served: p.Outcome | p.Next) -> str:
        if trace.bucket is None:
            if isinstance(trace.unit, UnsetType):
                return f"the context has no {trace.by} to split by"
            return f"{trace.by} is {compact(trace.unit)}, which cannot be split by"
        held = next((r for r in trace.ranges if r.matched), None)
        where = f" of [{held.low}, {held.high})" if held is not None else ""
        serves = "nothing" if isinstance(served, p.Next) else _variant(served)
        return f"bucket {trace.bucket}{where} gets {serves}"

    def _bucket(self, bucketing: p.Bucketing, number: int) -> SplitTrace:
        """Return the trace of a split, without its ranges."""
        by: list[str] = []
        hashed = b""
        unit: Any = UNSET
        for part in bucketing.key:
            if isinstance(part, bytes):
                hashed += part
                continue
            by.append(_attribute_name(part.attribute))
            value = self.value(part.attribute)
            hashed += part.encode(value) or b""
            if value is not None and isinstance(unit, UnsetType):
                unit = shown(value)
        plain = bucketing.reduce == "none"
        size = 2 ** HASH_BITS[bucketing.hash] if plain else bucketing.size
        trace = SplitTrace(" and ".join(by), None if number == NO_NUMBER else number, size, unit)
        trace.hash = bucketing.hash
        if number != NO_NUMBER:
            trace.hashed = text(hashed[:1024].decode("utf-8", "backslashreplace"))
        return trace

    # Conditions

    def condition(self, expression: p.Expression, depth: int) -> Generator[None, None, Held]:
        """Return whether a condition holds, and why."""
        match expression:
            case p.All() | p.AnyOf():
                return (yield from self._group(expression, depth))
            case p.Not():
                holds, inner = yield from self.condition(expression.item, depth + 1)
                trace = ConditionTrace("not", "not", not holds)
                trace.because = f"what it negates {'holds' if holds else 'does not hold'}"
                if self._room.take(trace):
                    trace.items = [inner] if inner is not None else []
                    return not holds, trace
                return not holds, None
            case p.InSegment():
                return (yield from self._sources.segment(expression.key, depth))
            case p.Answered():
                asked = yield from self._sources.flag(expression.key, depth + 1)
                holds = bool(expression.passes(asked.answer))
                trace = ConditionTrace("flag", _described(expression), holds)
                trace.because = _why_asked(asked, expression, holds)
            case p.Constant():
                holds = expression.value
                trace = ConditionTrace(
                    "always" if holds else "never", _described(expression), holds
                )
            case p.Window():
                holds = expression.from_ms <= self._now_ms < expression.until_ms
                trace = ConditionTrace("window", _described(expression), holds)
                trace.because = _why_window(expression, self._now_ms)
            case p.Within():
                number = number_of(expression.bucketing)(self._context)
                holds = any(low <= number < high for low, high in expression.ranges)
                trace = ConditionTrace("share", _described(expression), holds)
                trace.split = split = self._bucket(expression.bucketing, number)
                for low, high in expression.ranges:
                    _add_range(split, RangeTrace(low, high, None, low <= number < high))
                trace.because = (
                    f"the context has no {split.by}"
                    if number == NO_NUMBER
                    else f"the bucket is {number}"
                )
            case p.Probe():
                holds, trace = self._probe(expression)
            case _:
                holds = bool(expression.function(self._context, self._now_ms))
                trace = ConditionTrace("part", _described(expression), holds)
        yield
        return holds, trace if self._room.take(trace) else None

    def value(self, attribute: str | p.Operand) -> Any:
        """Return what the context has under a name, None when nothing."""
        context = self._context
        if isinstance(attribute, p.Operand):
            return attribute.fetch(context)
        if attribute in context:
            return context[attribute]
        steps = split_path(attribute)
        return None if steps is None else walk(context, steps)

    def _group(self, group: p.All | p.AnyOf, depth: int) -> Generator[None, None, Held]:
        every = isinstance(group, p.All)
        trace = ConditionTrace("all" if every else "any", _described(group), None)
        kept = self._room.take(trace)
        decided = 0  # by which item, from 1
        for number, item in enumerate(group.items, 1):
            inner: ConditionTrace | None
            if decided:
                if not kept:
                    break
                inner = _unseen(item)
                inner = inner if self._room.take(inner) else None
            else:
                holds, inner = yield from self.condition(item, depth + 1)
                if holds is not every:
                    decided = number
            if inner is not None:
                trace.items.append(inner)
            else:
                trace.more_items += 1
        matched = every is not bool(decided)
        trace.matched = matched
        count = len(group.items)
        if every:
            trace.because = "all hold" if matched else f"number {decided} of {count} does not hold"
        else:
            trace.because = f"number {decided} of {count} holds" if matched else "none holds"
        return matched, trace if kept else None

    def _probe(self, probe: p.Probe) -> tuple[bool, ConditionTrace]:
        name = None if probe.attribute is None else _attribute_name(probe.attribute)
        value = self._now_ms if probe.attribute is None else self.value(probe.attribute)
        test = p.Probe("value", probe.leaf, probe.negated)
        holds = bool(finish(predicate(test, {})).function({"value": value}, self._now_ms))
        trace = ConditionTrace("leaf", _described(probe), holds)
        trace.because = because_of(name, value, probe, holds)
        trace.attribute = name or ""
        if probe.attribute is not None and value is not None:
            trace.value = shown(value)
        source = probe.source
        if isinstance(source, definitions.Condition):
            trace.op = text(str(source.op))
            if not isinstance(source.values, UnsetType):
                trace.values = [shown(each) for each in source.values[:_MOST_VALUES]]
        return holds, trace


class _Steps:
    """The steps of one program, as far as there is room for them."""

    def __init__(self, room: Room) -> None:
        self.because = ""
        self._room = room
        self._steps: list[Step] = []
        self._left_out = 0

    def decide(self, because: str) -> None:
        """Say what decided."""
        self.because = because

    def add(self, step: Step) -> bool:
        """Add a step that has nothing in it yet; return whether something may be put into it."""
        room = self._room.take(step)
        if room or step.decides:
            self._steps.append(step)
        else:
            self._left_out += 1
        return room

    def shown(self) -> list[Step]:
        """Return the steps, with one more that says so where some were left out."""
        if self._left_out:
            self._steps.append(Step("more", None, f"{self._left_out} more steps are not shown"))
        return self._steps


def _unreached(step: p.Step, index: int) -> Step:
    """Return what is said of a step after the one that decided."""
    why = "not reached"
    match step:
        case p.Gate(passes=p.Answered() as wanted):
            unasked = Step("prerequisite", None, why, index=index)
            unasked.flag, unasked.wanted = text(wanted.key), _names(wanted.wanted)
            return unasked
        case p.Gate():
            return Step("gate", None, why)
        case p.Lookup():
            return Step("targets", None, why)
        case _:
            return Step("rule", None, why, id=text(step.id or ""), index=index)


def _unseen(expression: p.Expression) -> ConditionTrace:
    """Return what is said of a condition that was not looked at."""
    kinds = {
        p.All: "all",
        p.AnyOf: "any",
        p.Not: "not",
        p.InSegment: "segment",
        p.Answered: "flag",
        p.Window: "window",
        p.Within: "share",
        p.Probe: "leaf",
        p.Call: "part",
    }
    kind = kinds.get(type(expression), "always" if expression is p.TRUE else "never")
    return ConditionTrace(kind, _described(expression), None, "not looked at")


def _described(expression: p.Expression) -> str:
    """Return a condition as a person would say it."""
    match expression:
        case p.All():
            return f"all of {len(expression.items)}"
        case p.AnyOf():
            return f"any of {len(expression.items)}"
        case p.Not():
            return f"not ({_described(expression.item)})"
        case p.InSegment():
            return f"segment {text(expression.key)}"
        case p.Answered():
            wanted = ", ".join(_names(expression.wanted)) or "what is wanted"
            return f"flag {text(expression.key)} serves {wanted}"
        case p.Constant():
            return "always" if expression.value else "never"
        case p.Window(source=definitions.Condition() as source):
            return leaf_text(None, source, negated=False)
        case p.Window():
            return f"active {span_text(expression.from_ms, expression.until_ms)}"
        case p.Within():
            by = " and ".join(
                _attribute_name(part.attribute)
                for part in expression.bucketing.key
                if isinstance(part, p.Part)
            )
            held = sum(high - low for low, high in expression.ranges)
            return f"{by} is in a share of {held} buckets"
        case p.Probe():
            name = None if expression.attribute is None else _attribute_name(expression.attribute)
            return leaf_text(name, expression.source, negated=expression.negated)
        case _:
            return "a part of a condition"


def _why(condition: ConditionTrace | None) -> str:
    """Return in a sentence why a condition does not hold: what the first such one in it says."""
    while condition is not None:
        if condition.kind == "all":
            failing = next((item for item in condition.items if item.matched is False), None)
            if failing is not None:
                condition = failing
                continue
        if condition.kind == "any":
            return f"none of {len(condition.items) + condition.more_items} alternatives holds"
        if condition.kind == "segment":
            return f"not in the {condition.condition}"
        if condition.kind == "never":
            return "it never holds"
        if condition.kind == "not":
            return "what it negates holds"
        return condition.because or "its condition does not hold"
    return "its condition does not hold"


def _why_asked(asked: Asked, wanted: p.Answered, passes: bool) -> str:
    answer = asked.answer
    if answer.error_code == "FLAG_NOT_FOUND":
        return "there is no flag of this key"
    if answer.error_code is not None:
        return f"it answers the error {answer.error_code}: {text(answer.error_details)}"
    if answer.reason == "DISABLED":
        return "it is disabled"
    served = text(answer.variant) if answer.variant else "no variant"
    if passes:
        return f"it serves {served}"
    return f"it serves {served}, and {' or '.join(_names(wanted.wanted)) or 'another'} is wanted"


def _why_window(window: p.Window, now_ms: int) -> str:
    if now_ms < window.from_ms:
        return f"it is {moment(now_ms)}, before that begins"
    if now_ms >= window.until_ms:
        return f"it is {moment(now_ms)}, after that ended"
    return f"it is {moment(now_ms)}"


def _ramp_text(ramp: p.Ramp, now_ms: int, buckets: int) -> str:
    """Return where a share that moves stands."""
    stands = f"at {ramp.bound(now_ms)} of {buckets} buckets"
    if now_ms < ramp.start_ms:
        return f"the ramp stands {stands}, and begins at {moment(ramp.start_ms)}"
    if now_ms >= ramp.end_ms:
        return f"the ramp stands {stands}, where it ended at {moment(ramp.end_ms)}"
    return f"the ramp stands {stands}, and reaches {ramp.to} at {moment(ramp.end_ms)}"


def _add_range(trace: SplitTrace, piece: RangeTrace) -> None:
    """Show a range; of very many the first ones, and the one that matched."""
    if len(trace.ranges) < _MOST_RANGES or piece.matched:
        trace.ranges = [*trace.ranges, piece]
    else:
        trace.more_ranges += 1


def _answered(answer: Answer) -> tuple[str | UnsetType, str]:
    if answer.error_code is not None:
        return UNSET, answer.error_code
    return text(answer.variant), answer.reason or ""


def _variant_of(serve: p.Outcome | p.Next) -> str | None:
    return None if isinstance(serve, p.Next) or serve.error is not None else serve.variant


def _variant(outcome: p.Outcome) -> str:
    if outcome.error is not None:
        return f"the error {outcome.error}"
    return "the application's default" if outcome.variant is None else text(outcome.variant)


def _said(outcome: p.Outcome) -> tuple[str | UnsetType, str]:
    """Return the variant and the reason of what is served; of an error no variant, and its code."""
    if outcome.error is not None:
        return UNSET, str(outcome.error)
    return text(outcome.variant or ""), str(outcome.reason or "")


def _rule_name(step: Step) -> str:
    return f"rule {step.id}" if step.id else f"rule number {int(step.index or 0) + 1}"


def _attribute_name(attribute: str | p.Operand) -> str:
    return text(attribute if isinstance(attribute, str) else attribute.name)


def _names(wanted: Any) -> list[str]:
    """Return the names that a prerequisite wants, the first of them."""
    if not isinstance(wanted, (list, tuple)):
        return [] if wanted is None else [text(str(wanted))]
    return [text(str(name)) for name in wanted[:20]]
