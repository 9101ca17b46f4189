"""Our own definitions as rule programs. Reasons are decided here, and what each answer carries.

Takes definitions that `proxy.engine.validate` found no error in. Reasons follow the definition as
it was written, not the folded program: a flag whose only rule never holds still has a rule, so its
fallthrough is `DEFAULT` and not `STATIC`.
"""

from collections.abc import Callable, Sequence

from msgspec import UnsetType

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.definitions import (
    BUCKETS,
    TARGETING_KEY,
    Condition,
    FlagDefinition,
    Prerequisite,
    Ramp,
    Rollout,
    SegmentDefinition,
    Serve,
    Window,
)
from proxy.contract.steps import Steps
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.bucketing import layout, salt_prefix, text_bytes, unit_bytes
from proxy.engine.operators import OPERATORS, Leaf
from proxy.engine.times import parse_moment
from proxy.engine.units import UnitSet

__all__ = ["flag_program", "making_expression", "making_program", "segment_expression"]


def flag_program(definition: FlagDefinition) -> p.Program:
    """Return the program of a flag."""
    return _program(definition, [_expression(rule.when) for rule in definition.rules])


def making_program(definition: FlagDefinition) -> Steps[p.Program]:
    """Return the program of a large flag, made in small steps."""
    conditions = []
    for rule in definition.rules:
        made = yield from _large_expression(rule.when)
        conditions += [made]  # a comprehension cannot yield
        yield
    return _program(definition, conditions)


def _program(definition: FlagDefinition, conditions: list[p.Expression]) -> p.Program:
    """Return the program of a flag, whose rules have these conditions."""
    off = None if isinstance(definition.off_variant, UnsetType) else definition.off_variant
    if not definition.enabled:
        return p.Program((), p.Outcome(off, Reason.DISABLED))
    steps: list[p.Step] = [_gate(wanted, off) for wanted in definition.prerequisites]
    if definition.targets:
        groups = [
            (target.units, p.Outcome(target.variant, Reason.TARGETING_MATCH))
            for target in definition.targets
        ]
        steps.append(p.Lookup(TARGETING_KEY, tuple(groups)))
    for rule, when in zip(definition.rules, conditions, strict=True):
        rule_id = None if isinstance(rule.id, UnsetType) else rule.id
        if not isinstance(rule.active, UnsetType):
            when = p.all_of((_window(rule.active), when))
        served = _serve(rule.serve, definition.salt, Reason.TARGETING_MATCH, rule_id, p.NEXT)
        steps.append(p.Rule(when, served, rule_id))
    fallthrough = definition.fallthrough
    missing = _missing_unit(fallthrough)
    otherwise = _serve(
        fallthrough, definition.salt, Reason.DEFAULT if steps else Reason.STATIC, None, missing
    )
    return p.Program(tuple(steps), otherwise)


def segment_expression(
    definition: SegmentDefinition,
    included: UnitSet | None = None,
    excluded: UnitSet | None = None,
) -> p.Expression:
    """Return the condition of a segment: included units, then excluded ones, then `when`.

    The sets are those of its long lists, where it has any.
    """
    return _membership(definition, _expression(definition.when), included, excluded)


def making_expression(
    definition: SegmentDefinition, included: UnitSet | None, excluded: UnitSet | None
) -> Steps[p.Expression]:
    """Return the condition of a large segment, made in small steps."""
    expression = yield from _large_expression(definition.when)
    yield
    return _membership(definition, expression, included, excluded)


def _membership(
    definition: SegmentDefinition,
    expression: p.Expression,
    included: UnitSet | None,
    excluded: UnitSet | None,
) -> p.Expression:
    for out in (_among(definition.excluded), _held(excluded, "excluded")):
        expression = p.all_of((p.negation(out), expression))
    inside = (_among(definition.included), _held(included, "included"))
    return p.any_of((*inside, expression))


def _gate(wanted: Prerequisite, off: str | None) -> p.Gate:
    closed = p.Outcome(off, Reason.DEFAULT, metadata=(("prerequisite", wanted.flag),))
    serves = p.Answered(wanted.flag, _serves(wanted.variants), tuple(wanted.variants))
    return p.Gate(serves, closed)


def _serves(variants: list[str]) -> Callable[[Answer], bool]:
    """Return a test whether a flag is on and serves one of the variants."""
    # no variant has this name; answers without one do
    wanted = frozenset(variants) - {""}

    def serves(answer: Answer) -> bool:
        return answer.variant in wanted and answer.reason != Reason.DISABLED

    return serves


def _among(units: list[str]) -> p.Expression:
    if not units:
        return p.FALSE
    return p.Probe(TARGETING_KEY, OPERATORS["in"].compile(units, False), source=units)


def _held(units: UnitSet | None, name: str) -> p.Expression:
    if units is None:
        return p.FALSE
    leaf = Leaf("{f}.__class__ is str and {0}({x})", (units.contains,))
    return p.Probe(TARGETING_KEY, leaf, source=name)


def _window(window: Window) -> p.Window:
    since, until = p.ALWAYS
    if window.from_:
        since = parse_moment(window.from_) or 0
    if window.until:
        until = parse_moment(window.until) or 0
    return p.Window(since, until, window)


def _expression(condition: Condition) -> p.Expression:
    """Return a condition as an expression. Recursion is bounded by `MAX_CONDITION_DEPTH`."""
    if not isinstance(condition.all, UnsetType):
        return p.all_of([_expression(item) for item in condition.all])
    if not isinstance(condition.any, UnsetType):
        return p.any_of([_expression(item) for item in condition.any])
    if not isinstance(condition.not_, UnsetType):
        return p.negation(_expression(condition.not_))
    if not isinstance(condition.segment, UnsetType):
        return p.InSegment(condition.segment)
    return _leaf(condition)


def _large_expression(condition: Condition) -> Steps[p.Expression]:
    """Return a condition as an expression, with a breath after every leaf that has much to read."""
    kind: Callable[[Sequence[p.Expression]], p.Expression]
    if not isinstance(condition.all, UnsetType):
        kind, inner = p.all_of, condition.all
    elif not isinstance(condition.any, UnsetType):
        kind, inner = p.any_of, condition.any
    elif not isinstance(condition.not_, UnsetType):
        return p.negation((yield from _large_expression(condition.not_)))
    else:
        if not isinstance(condition.values, UnsetType) and len(condition.values) > _MANY_VALUES:
            yield
        return _expression(condition)
    items = []
    for number, item in enumerate(inner, 1):
        made = yield from _large_expression(item)
        items += [made]  # a comprehension cannot yield
        if number % _LEAVES_A_STEP == 0:
            yield
    return kind(items)


_MANY_VALUES = 200

_LEAVES_A_STEP = 20


def _leaf(condition: Condition) -> p.Expression:
    operator = OPERATORS[str(condition.op)]
    negated = operator.negated is not (condition.negate is True)
    if not isinstance(condition.attribute, UnsetType):
        leaf = operator.compile_condition(condition)
        return p.Probe(condition.attribute, leaf, negated, condition)
    span = operator.span(condition)
    if span is None:
        return p.Probe(None, operator.compile_condition(condition), negated, condition)
    window = p.Window(*span, condition)
    return p.Not(window) if negated else window


def _serve(
    serve: Serve, salt: str, plain: Reason, rule_id: str | None, missing: p.Outcome | p.Next
) -> p.Serve:
    if not isinstance(serve.rollout, UnsetType):
        return _rollout(serve.rollout, salt, rule_id, missing)
    if not isinstance(serve.ramp, UnsetType):
        return _ramp(serve.ramp, salt, rule_id, missing)
    return p.Outcome(str(serve.variant), plain, rule_id)


def _rollout(
    rollout: Rollout, salt: str, rule_id: str | None, missing: p.Outcome | p.Next
) -> p.Split:
    arms = tuple(
        p.Arm(piece.low, piece.high, p.Outcome(piece.variant, Reason.SPLIT, rule_id, rollout.by))
        for piece in layout(rollout.arms)
    )
    return p.Split(_bucketing(rollout.by, salt), arms, arms[-1].serve, missing)


def _ramp(ramp: Ramp, salt: str, rule_id: str | None, missing: p.Outcome | p.Next) -> p.Split:
    end = p.Ramp(parse_moment(ramp.start) or 0, parse_moment(ramp.end) or 0, ramp.from_, ramp.to)
    grown = p.Outcome(ramp.variant, Reason.SPLIT, rule_id, ramp.by)
    rest = p.Outcome(ramp.else_, Reason.SPLIT, rule_id, ramp.by)
    return p.Split(_bucketing(ramp.by, salt), (p.Arm(0, end, grown),), rest, missing)


def _bucketing(by: str, salt: str) -> p.Bucketing:
    encode = text_bytes if by == TARGETING_KEY else unit_bytes
    return p.Bucketing((salt_prefix(salt), p.Part(by, encode)), reduce="scale", size=BUCKETS)


def _missing_unit(serve: Serve) -> p.Outcome | p.Next:
    """Return what a split answers when its unit is missing and there is no further rule."""
    split = serve.ramp if isinstance(serve.rollout, UnsetType) else serve.rollout
    if isinstance(split, UnsetType):
        return p.NEXT
    by = split.by
    if by == TARGETING_KEY:
        code = ErrorCode.TARGETING_KEY_MISSING
        details = "the flag is split by targetingKey, and the context has no such non-empty string"
    else:
        code = ErrorCode.INVALID_CONTEXT
        details = (
            f"the flag is split by the attribute {by!r}, and the context has no non-empty string "
            "or integer there"
        )
    return p.Outcome(error=code, details=details, unit_attribute=by)
