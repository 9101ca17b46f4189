"""Why a flag answers what it does: an evaluation with every step written down.

Definitions are read again from their entries and run by `proxy.engine.trace`, beside what was
compiled of them, not through it: that both come to the same answer is a property that is tested.
Each segment and each other flag is explained once, where it is first met; deeper or longer than the
bounds below it is asked in its compiled form, which gives the same answer without a why.

Counts nothing and changes nothing. Never raises.
"""

from collections.abc import Generator, Iterable, Mapping
from difflib import SequenceMatcher
from heapq import nlargest
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition, SegmentDefinition
from proxy.contract.explanation import ConditionTrace, Explanation, Step
from proxy.contract.problems import Problem
from proxy.contract.snapshot import Entry, EntryKind
from proxy.contract.steps import finish
from proxy.engine.answers import Answer, AnswerMaker, not_found
from proxy.engine.compiled import CompiledFlag, CompiledSnapshot, untold
from proxy.engine.native import segment_expression
from proxy.engine.program import FALSE, Outcome, Program
from proxy.engine.shown import compact, moment, text
from proxy.engine.trace import Asked, Held, Room, Tracer
from proxy.engine.translate import segment_program, translate

__all__ = ["MAX_EXPLANATION_BYTES", "explain", "explaining", "nearest_keys"]

MAX_EXPLANATION_BYTES = 256 * 1024
"""Of an explanation as JSON: what a person can be shown, and a result with its largest value."""

_ROOM_BYTES = 128 * 1024
"""Of its steps. The rest is for the result: a value of 64 KB, metadata of 8."""

_MAX_DEPTH = 40
"""Of conditions around a segment that is still explained in place. A condition itself nests at most
64 deep, so that no reader of JSON meets more than some 230 levels; some stop at 254."""

_MAX_FLAG_DEPTH = 20
_PROBLEMS = 50
_NEAREST = 3
_ALIKE = 0.6
_KEYS_A_STEP = 25
_KEY_CHARS = 128

Entries = Mapping[tuple[EntryKind, str], Entry]


def explain(
    snapshot: CompiledSnapshot,
    entries: Entries,
    key: str,
    context: dict[str, Any],
    now_ms: int,
) -> Explanation:
    """Return what a flag answers to a context at a time, in Unix milliseconds, and why.

    `entries` are those that the snapshot was compiled from.
    """
    return finish(explaining(snapshot, entries, key, context, now_ms))


def explaining(
    snapshot: CompiledSnapshot,
    entries: Entries,
    key: str,
    context: dict[str, Any],
    now_ms: int,
) -> Generator[None, None, Explanation]:
    """Do what `explain` does, yielding in between; the generator returns the explanation."""
    room = Room(_ROOM_BYTES)
    explainer = _Explainer(snapshot, entries, context, now_ms, room)
    asked = yield from explainer.flag(key, 0)
    flag = snapshot.flags.get(key)
    explanation = Explanation(
        flag=text(key),
        at=moment(now_ms),
        result=msgspec.Raw(asked.answer.body),
        because=asked.because,
        steps=asked.steps,
    )
    if flag is None:
        explanation.nearest = yield from nearest_keys(key, snapshot.flags)
    else:
        explanation.problems = [_short(p) for p in flag.problems[:_PROBLEMS]]
    explanation.shortened = room.lacked
    return explanation


def nearest_keys(key: str, keys: Iterable[str]) -> Generator[None, None, list[str]]:
    """Return the keys that are most like a wrong one, the best first; yields in between."""
    wanted = text(key, _KEY_CHARS).casefold()
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    found: list[tuple[float, str]] = []
    for number, known in enumerate(keys, 1):
        if number % _KEYS_A_STEP == 0:
            yield
        if len(known) > _KEY_CHARS:
            continue
        matcher.set_seq1(known.casefold())
        if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
            alike = matcher.ratio()
            if alike >= _ALIKE:
                found.append((alike, known))
    return [known for _, known in nlargest(_NEAREST, found)]


class _Explainer:
    """The sources of a tracer: segments and flags of one snapshot, each explained once."""

    def __init__(
        self,
        snapshot: CompiledSnapshot,
        entries: Entries,
        context: dict[str, Any],
        now_ms: int,
        room: Room,
    ) -> None:
        self._snapshot = snapshot
        self._entries = entries
        self._context = context
        self._now_ms = now_ms
        self._room = room
        self._tracer = Tracer(context, now_ms, self, room)
        self._answers: dict[str, Answer] = {}
        self._segments: dict[str, bool] = {}

    def flag(self, key: str, depth: int) -> Generator[None, None, Asked]:
        """Return what a flag answers, and why, the latter once."""
        known = self._answers.get(key)
        if known is not None:
            return Asked(known, [], "explained above")
        asked = yield from self._flag(key, depth)
        self._answers[key] = asked.answer
        return asked

    def segment(self, key: str, depth: int) -> Generator[None, None, Held]:
        """Return whether the context is in a segment, and why, the latter once."""
        trace = ConditionTrace("segment", f"segment {text(key)}", None)
        known = self._segments.get(key)
        if known is not None:
            trace.matched, trace.because = known, "explained above"
            return known, trace if self._room.take(trace) else None
        definition = self._segment_definition(key)
        if definition is None or depth > _MAX_DEPTH or not self._room.take(trace):
            compiled = self._snapshot.segments.get(key)
            holds = compiled is not None and compiled.holds(self._context, self._now_ms)
            trace.matched, trace.because = holds, "why is not shown"
            held: Held = holds, trace if self._room.take(trace) else None
        else:
            held = yield from self._members(key, definition, trace, depth + 1)
        self._segments[key] = held[0]
        return held

    def _members(
        self, key: str, definition: SegmentDefinition, trace: ConditionTrace, depth: int
    ) -> Generator[None, None, Held]:
        """Say whether the context is among the included units, the excluded ones, or in `when`.

        The same order as that of `native.segment_expression`, list by list.
        """
        compiled = self._snapshot.segments.get(key)
        long = compiled.units if compiled is not None else (None, None)
        lists = (
            ("included", definition.included, long[0], True),
            ("excluded", definition.excluded, long[1], False),
        )
        for kind, units, held_units, then in lists:
            count = len(units) + (0 if held_units is None else held_units.count)
            if not count:
                continue
            among = segment_expression(SegmentDefinition(included=units), held_units)
            holds, _ = yield from self._quietly(among)
            item = ConditionTrace(kind, f"among the {count} {kind}", holds)
            item.attribute, item.because = "targetingKey", self._unit_text()
            if self._room.take(item):
                trace.items.append(item)
            else:
                trace.more_items += 1
            if holds:
                trace.matched, trace.because = then, f"the unit is {kind} by name"
                return then, trace
        when, _ = segment_program(SegmentDefinition(when=definition.when, source=definition.source))
        holds, inner = yield from self._tracer.condition(when or FALSE, depth)
        if inner is not None:
            trace.items.append(inner)
        else:
            trace.more_items += 1
        trace.matched = holds
        trace.because = "its condition holds" if holds else "its condition does not hold"
        return holds, trace

    def _quietly(self, expression: Any) -> Generator[None, None, Held]:
        """Return whether a condition holds, without a word of it."""
        quiet = Tracer(self._context, self._now_ms, self, Room(0))
        return (yield from quiet.condition(expression, 0))

    def _unit_text(self) -> str:
        unit = self._tracer.value("targetingKey")
        return "the context has no targetingKey" if unit is None else f"it is {compact(unit)}"

    def _flag(self, key: str, depth: int) -> Generator[None, None, Asked]:
        compiled = self._snapshot.flags.get(key)
        if compiled is None:
            return Asked(not_found(text(key)), [], "there is no flag of this key")
        definition = self._flag_definition(key)
        if compiled.problems:
            return Asked(self._evaluated(compiled), [], "its definition cannot be used")
        if definition is None or depth > _MAX_FLAG_DEPTH or self._room.lacked:
            return Asked(self._evaluated(compiled), [], "why is not shown")
        yield
        translation = translate(key, definition)
        program = translation.circular if compiled.circular else translation.program
        if program is None:
            return Asked(self._evaluated(compiled), [], "why is not shown")
        yield
        first = Step("enabled", definition.enabled, "the flag is enabled")
        if definition.enabled or definition.source is not UNSET:
            traced = yield from self._tracer.program(program, depth)
            steps, because = [first, *traced.steps], traced.because
            outcome, variants = traced.outcome, traced.variants
        else:
            assert isinstance(program, Program)  # noqa: S101 - as `native` has it
            assert isinstance(program.otherwise, Outcome)  # noqa: S101 - as `native` has it
            outcome, variants = program.otherwise, program.variants
            steps = list(_disabled(first, definition))
            because = "the flag is disabled"
        hidden = untold(definition, compiled.prerequisites)
        maker = AnswerMaker(key, translation.variants, definition.metadata, hidden)
        return Asked(maker.answering(variants)(outcome), steps, because)

    def _evaluated(self, flag: CompiledFlag) -> Answer:
        return flag.evaluate(self._context, self._now_ms)

    def _flag_definition(self, key: str) -> FlagDefinition | None:
        entry = self._entries.get(("flag", key))
        return None if entry is None else decode(entry.definition, FlagDefinition)[0]

    def _segment_definition(self, key: str) -> SegmentDefinition | None:
        entry = self._entries.get(("segment", key))
        return None if entry is None else decode(entry.definition, SegmentDefinition)[0]


def _disabled(first: Step, definition: FlagDefinition) -> Iterable[Step]:
    """Yield the steps of a flag that is off."""
    off = definition.off_variant
    first.decides = True
    first.variant, first.reason = ("" if isinstance(off, UnsetType) else text(off)), "DISABLED"
    first.because = "the flag is disabled, so it serves " + (
        "the application's default" if isinstance(off, UnsetType) else text(off)
    )
    yield first
    if definition.prerequisites or definition.targets or definition.rules:
        yield Step("more", None, "its prerequisites, targets and rules are not reached")
    yield Step("fallthrough", None, "not reached")


def _short(problem: Problem) -> Problem:
    return msgspec.structs.replace(
        problem,
        pointer=text(problem.pointer),
        message=text(problem.message),
        hint=text(problem.hint),
    )
