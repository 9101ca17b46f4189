"""Our own definitions as rule programs. Reasons are decided here, and what each answer carries.

Takes definitions that `proxy.engine.validate` found no error in. Reasons follow the definition as
it was written, not the folded program: a flag whose only rule never holds still has a rule, so its
fallthrough is `DEFAULT` and not `STATIC`.
"""

from msgspec import UnsetType

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.definitions import (
    TARGETING_KEY,
    Condition,
    FlagDefinition,
    Rollout,
    SegmentDefinition,
    Serve,
)
from proxy.engine import program as p
from proxy.engine.bucketing import layout
from proxy.engine.operators import OPERATORS, Leaf

__all__ = ["flag_program", "segment_expression"]


def flag_program(definition: FlagDefinition) -> p.Program:
    """Return the program of a flag."""
    if not definition.enabled:
        off = definition.off_variant
        variant = None if isinstance(off, UnsetType) else off
        return p.Program((), p.Outcome(variant, Reason.DISABLED))
    steps: list[p.Lookup | p.Rule] = []
    if definition.targets:
        groups = [
            (target.units, p.Outcome(target.variant, Reason.TARGETING_MATCH))
            for target in definition.targets
        ]
        steps.append(p.Lookup(TARGETING_KEY, tuple(groups)))
    for rule in definition.rules:
        rule_id = None if isinstance(rule.id, UnsetType) else rule.id
        served = _serve(rule.serve, definition.salt, Reason.TARGETING_MATCH, rule_id, None)
        steps.append(p.Rule(_expression(rule.when), served))
    plain = Reason.DEFAULT if definition.targets or definition.rules else Reason.STATIC
    missing = _missing_unit(definition.fallthrough)
    otherwise = _serve(definition.fallthrough, definition.salt, plain, None, missing)
    return p.reachable(steps, otherwise)


def segment_expression(definition: SegmentDefinition) -> p.Expression:
    """Return the condition of a segment: included units, then excluded ones, then `when`."""
    expression = _expression(definition.when)
    if definition.excluded:
        excluded = _among(definition.excluded)
        expression = p.all_of((p.negation(excluded), expression))
    if definition.included:
        expression = p.any_of((_among(definition.included), expression))
    return expression


def _among(units: list[str]) -> p.Expression:
    return p.Probe(TARGETING_KEY, OPERATORS["in"].compile(units, False))


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


def _leaf(condition: Condition) -> p.Expression:
    operator = OPERATORS[str(condition.op)]
    values = [] if isinstance(condition.values, UnsetType) else condition.values
    leaf: Leaf = operator.compile(values, condition.fold is True)
    test = p.Probe(str(condition.attribute), leaf)
    return p.negation(test) if operator.negated is not (condition.negate is True) else test


def _serve(
    serve: Serve, salt: str, plain: Reason, rule_id: str | None, missing: p.Outcome | None
) -> p.Serve:
    if isinstance(serve.rollout, UnsetType):
        return p.Outcome(str(serve.variant), plain, rule_id)
    return _split(serve.rollout, salt, rule_id, missing)


def _split(rollout: Rollout, salt: str, rule_id: str | None, missing: p.Outcome | None) -> p.Split:
    pieces = layout(rollout.arms)
    return p.Split(
        by=rollout.by,
        salt=salt,
        numbers=rollout.by != TARGETING_KEY,
        cuts=tuple(piece.high for piece in pieces[:-1]),
        outcomes=tuple(
            p.Outcome(piece.variant, Reason.SPLIT, rule_id, rollout.by) for piece in pieces
        ),
        missing=missing,
    )


def _missing_unit(serve: Serve) -> p.Outcome | None:
    """Return what a rollout answers when its unit is missing and there is no further rule."""
    if isinstance(serve.rollout, UnsetType):
        return None
    by = serve.rollout.by
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
