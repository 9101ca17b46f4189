"""One toggle as a rule program. It answers two questions, and is two flags if both are asked.

`isEnabled` is the flag of the toggle's own name: `enabled`, true, or `disabled`, false. What
`getVariant` would say is in its answer's metadata, and left out for Unleash's variant `disabled`:

    variant       the name of the variant
    payloadType   `string`, `csv`, `json` or `number`
    payload       the text of the payload

`getVariant` is another flag, the companion, with the option `answer` set to `variant`: its variants
are those of the toggle and their values the payloads. Where there is no payload it answers no
value, so the application's default is used. Its metadata has `variant` and `payloadType`, too, and
`featureEnabled`, what the toggle is. It depends on the toggle: where that is off it has no value.

The first strategy that holds decides, by its own variants or else the toggle's. The number of a
variant is `murmur3_32(group + ":" + identifier, 86028157) % weights`; the group is the strategy's
for its own variants, and the toggle's name for the toggle's. Who has no identifier, where Unleash
draws at random, is in no variant, unless only one has a weight.

A toggle that has parents cannot be a parent: Unleash takes such a dependency for not fulfilled. As
only the parent knows, its answers say so in their metadata: `dependent`. So no toggle of a circle
is ever enabled.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Reason
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.model import Named, Translation
from proxy.engine.dialects.unleash.context import DEFAULT, RANDOM, Operands, encode_unit
from proxy.engine.dialects.unleash.strategies import (
    Strategy,
    group_prefix,
    strategy_of,
    warn_of_chance,
)
from proxy.engine.dialects.unleash.translation import Translating, segment_key
from proxy.engine.dialects.unleash.variants import (
    Payloads,
    Variant,
    payloads_of,
    variants_of,
)
from proxy.engine.findings import Path

__all__ = ["ANSWER", "DISABLED", "ENABLED", "VARIANT", "names", "payloads", "translate"]

ANSWER = "answer"
"""The option that says which question is answered."""

VARIANT = "variant"
"""Its value for a companion."""

ENABLED = "enabled"
DISABLED = "disabled"

_VALUES = {ENABLED: True, DISABLED: False}
_DEPENDENT = "dependent"
_SEED = 86_028_157

_Metadata = tuple[tuple[str, str | int | float | bool], ...]


def translate(
    key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
) -> Translation:
    """Return a toggle as a program. Its own `enabled` is not looked at: `enabled` is in its place.

    The name in the definition is what is hashed, whatever the key, so that a flag can be renamed.
    """
    translating = Translating(options)
    if translating.mapping(definition, (), "a toggle") is None:
        return Translation(None, {}, problems=tuple(translating.findings.problems))
    toggle = _read(key, definition, translating, is_companion=options.get(ANSWER) == VARIANT)
    problems = tuple(translating.findings.problems)
    off = toggle.answers.off
    circular = p.Program((), off(Reason.DEFAULT))
    if not enabled:
        program = p.Program((), off(Reason.DISABLED))
        return Translation(program, toggle.answers.values, problems=problems)
    if translating.failed:
        return Translation(None, {}, names(definition), problems)
    rules = tuple(_rules(toggle))
    program = p.Program((*toggle.gates, *rules), off(Reason.DEFAULT))
    return Translation(program, toggle.answers.values, names(definition), problems, circular)


def names(definition: Mapping[str, Any]) -> Named:
    """Return the segments and the parents that a toggle names."""
    segments = (
        segment_key(number)
        for strategy in _objects(definition, "strategies")
        for number in _items(strategy, "segments")
    )
    parents = (parent.get("feature") for parent in _objects(definition, "dependencies"))
    return Named(
        tuple(dict.fromkeys(key for key in segments if key is not None)),
        tuple(dict.fromkeys(key for key in parents if isinstance(key, str))),
    )


def payloads(definition: Mapping[str, Any]) -> Payloads | None:
    """Return the payloads of a toggle, None for one without variants."""
    translating = Translating({})
    found = _all_variants(definition, translating)
    return payloads_of(found) if found else None


def _all_variants(definition: Mapping[str, Any], translating: Translating) -> list[Variant]:
    found = variants_of(definition, (), translating)
    for index, strategy in enumerate(_items(definition, "strategies")):
        if isinstance(strategy, dict):
            found += variants_of(strategy, ("strategies", index), translating)
    return found


def _items(node: Mapping[str, Any], name: str) -> list[Any]:
    value = node.get(name) if isinstance(node, dict) else None
    return value if isinstance(value, list) else []


def _objects(node: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    return (item for item in _items(node, name) if isinstance(item, dict))


# What is answered


class _Answers:
    """The outcomes of a toggle, or of its companion."""

    def __init__(self, payloads: Payloads | None, dependent: bool) -> None:
        """Answer as the companion where there are payloads."""
        self.values: Mapping[str, Any] = _VALUES if payloads is None else payloads.values
        self._payloads = payloads
        self._always: _Metadata = ((_DEPENDENT, True),) if dependent else ()

    def off(self, reason: Reason, prerequisite: str | None = None) -> p.Outcome:
        """Return what is answered where the toggle is off."""
        metadata = self._always
        if prerequisite is not None:
            metadata = (*metadata, ("prerequisite", prerequisite))
        if self._payloads is None:
            return p.Outcome(DISABLED, reason, metadata=metadata)
        return p.Outcome(None, reason, metadata=(("featureEnabled", False), *metadata))

    def on(self, variant: Variant | None, reason: Reason, unit: str = TARGETING_KEY) -> p.Outcome:
        """Return what is answered where the toggle is on, and gives a variant or none."""
        said: list[tuple[str, str | int | float | bool]] = []
        payload = None if variant is None else variant.payload
        if variant is not None:
            said.append(("variant", variant.name))
        if payload is not None:
            said.append(("payloadType", payload.kind))
        if self._payloads is None:
            if payload is not None:
                said.append(("payload", payload.text))
            return p.Outcome(ENABLED, reason, unit_attribute=unit, metadata=(*said, *self._always))
        name = None
        if variant is not None:
            name = self._payloads.keys.get((variant.name, payload))
        metadata = (("featureEnabled", True), *said, *self._always)
        return p.Outcome(name, reason, unit_attribute=unit, metadata=metadata)


class _Toggle(NamedTuple):
    name: str
    strategies: list[tuple[Strategy, list[Variant]]]
    """With the variants of their own."""
    variants: list[Variant]
    gates: list[p.Gate]
    answers: _Answers
    operands: Operands


def _read(
    key: str, definition: Mapping[str, Any], translating: Translating, *, is_companion: bool
) -> _Toggle:
    name = translating.text(definition, (), "name") or key
    variants = variants_of(definition, (), translating)
    strategies = []
    items = translating.items(definition, (), "strategies")
    if len(items) > limits.MAX_RULES:
        message = f"a toggle has at most {limits.MAX_RULES} strategies"
        translating.error(("strategies",), ProblemCode.TOO_MANY, message)
        items = []
    for index, node in enumerate(items):
        path: Path = ("strategies", index)
        strategy = strategy_of(node, path, translating, name)
        if strategy is not None:
            own = variants_of(node, path, translating)
            strategies.append((strategy, own))
            path = (*path, "parameters", "stickiness")
            _check_chance(translating, path, own, strategy.stickiness)
    _check_chance(
        translating, ("variants", 0, "stickiness"), variants, _shared_stickiness(variants)
    )
    found = None
    if is_companion:
        found = payloads_of([*variants, *(v for _, own in strategies for v in own)])
        if found.mixed:
            message = "the payloads are not of one type; all of them are strings here"
            translating.warn(("variants",), ProblemCode.UNSUPPORTED, message)
    parents = translating.items(definition, (), "dependencies")
    answers = _Answers(found, dependent=bool(parents))
    gates = _gates(parents, translating, answers, name if is_companion else None)
    return _Toggle(name, strategies, variants, gates, answers, translating.operands)


def _check_chance(
    translating: Translating, path: Path, variants: list[Variant], stickiness: str
) -> None:
    if stickiness == RANDOM and len(_weighty(variants)) > 1:
        warn_of_chance(translating, path, "Unleash picks variants")


# Parents


def _gates(
    parents: list[Any], translating: Translating, answers: _Answers, own: str | None
) -> list[p.Gate]:
    """Return the gates of a toggle's parents; `own` is the toggle that a companion belongs to."""
    gates: list[p.Gate] = []
    if len(parents) > limits.MAX_PREREQUISITES:
        message = f"a toggle has at most {limits.MAX_PREREQUISITES} parents"
        translating.error(("dependencies",), ProblemCode.TOO_MANY, message)
        return gates
    for index, parent in enumerate(parents):
        path = ("dependencies", index)
        if translating.mapping(parent, path, "a dependency") is None:
            continue
        name = parent.get("feature")
        if name.__class__ is not str:
            message = "a dependency names a feature"
            translating.error((*path, "feature"), ProblemCode.WRONG_TYPE, message)
            continue
        wanted = frozenset(translating.texts(parent, path, "variants"))
        is_on = parent.get("enabled") is not False
        passes = _passes(is_on, wanted, may_depend=name == own)
        gates.append(p.Gate(p.Answered(name, passes, parent), answers.off(Reason.DEFAULT, name)))
    return gates


def _passes(is_on: bool, variants: frozenset[str], may_depend: bool) -> Callable[[Answer], bool]:
    """Return a test whether a parent is as a toggle wants it."""

    def passes(answer: Answer) -> bool:
        if answer.error_code is not None or (_DEPENDENT in answer.metadata and not may_depend):
            return False
        if (answer.value is True) is not is_on:
            return False
        return not is_on or not variants or answer.metadata.get("variant", DISABLED) in variants

    return passes


# Rules


class _Run(NamedTuple):
    """Strategies, one after the other, that serve the same."""

    strategies: list[Strategy]
    variants: list[Variant]
    """Those of their own, or none, and then they serve the toggle's."""


def _rules(toggle: _Toggle) -> Iterator[p.Rule]:
    """Yield a rule for each strategy; more where variants are overridden."""
    always = Reason.TARGETING_MATCH if toggle.gates else Reason.STATIC
    if not toggle.strategies:
        yield from _shared_rules(toggle, p.TRUE, always)
    for index, run in enumerate(_runs(toggle)):
        when = p.any_of(strategy.when for strategy in run.strategies)
        if any(strategy.divides for strategy in run.strategies):
            reason = Reason.SPLIT
        elif when is p.TRUE and index == 0:
            reason = always
        else:
            reason = Reason.TARGETING_MATCH
        if run.variants:
            first = run.strategies[0]
            served = _serve(toggle, run.variants, first.group, first.stickiness, reason)
            yield p.Rule(when, served)
        else:
            yield from _shared_rules(toggle, when, reason)


def _runs(toggle: _Toggle) -> Iterator[_Run]:
    """Yield the strategies, together where that saves a rule for each override of each of them."""
    together = any(variant.override is not p.FALSE for variant in toggle.variants)
    for has_own, pairs in groupby(toggle.strategies, key=lambda pair: bool(pair[1])):
        if together and not has_own:
            yield _Run([strategy for strategy, _ in pairs], [])
        else:
            yield from (_Run([strategy], own) for strategy, own in pairs)


def _shared_rules(toggle: _Toggle, when: p.Expression, reason: Reason) -> Iterator[p.Rule]:
    """Yield the rules that serve the variants of the toggle."""
    for variant in toggle.variants:
        if variant.override is not p.FALSE:
            reason = Reason.TARGETING_MATCH if reason is Reason.STATIC else reason
            served = toggle.answers.on(variant, Reason.TARGETING_MATCH)
            yield p.Rule(p.all_of([when, variant.override]), served)
    stickiness = _shared_stickiness(toggle.variants)
    yield p.Rule(when, _serve(toggle, toggle.variants, toggle.name, stickiness, reason))


def _shared_stickiness(variants: list[Variant]) -> str:
    """Return what a toggle's variants are sticky on: the first of them says so."""
    return (variants[0].stickiness if variants else None) or DEFAULT


def _weighty(variants: list[Variant]) -> list[Variant]:
    return [variant for variant in variants if variant.weight]


def _serve(
    toggle: _Toggle, variants: list[Variant], group: str, stickiness: str, reason: Reason
) -> p.Serve:
    """Return what a strategy that holds serves."""
    answers, weighty = toggle.answers, _weighty(variants)
    if len(weighty) < 2:
        return answers.on(weighty[0] if weighty else None, reason)
    unit = TARGETING_KEY if stickiness in _OF_TARGETING_KEY else stickiness
    arms = []
    end = 0
    for variant in weighty:
        start, end = end, end + variant.weight
        arms.append(p.Arm(start, end, answers.on(variant, Reason.SPLIT, unit)))
    operand = toggle.operands.unit(stickiness)
    key = (group_prefix(group), p.Part(operand, encode_unit))
    bucketing = p.Bucketing(key, seed=_SEED, reduce="modulo", size=end)
    missing = answers.on(None, Reason.DEFAULT, unit)
    return p.Split(bucketing, tuple(arms), arms[-1].serve, missing)


_OF_TARGETING_KEY = (DEFAULT, RANDOM, "userId")
