"""From our definitions to a file of flagd that answers the same. Pure.

Segments become `$evaluators`, rules a chain of `if`, and rollouts a `fractional` over
`<salt>.<unit>` with weights of 100,000: in version 2 of `fractional` that is our own formula, so
everybody keeps the variant that they have.

flagd's server converts what it compares, and fails for some values, and we do neither, so that
conditions test for the type first: `{"starts_with": [x, ""]}` holds for texts only, and what
equals itself and is neither text, boolean nor null is a number. Its `cat` loses spaces at the ends
of a text, so that keys are put together between two marks.

Rules:
- What flagd cannot say the same of, for every context, is left out as a whole flag, with the
  reasons: a flag that is nearly right is worse than one that is missed. Where the difference is
  one of bounds or of errors, it is a note.
- Reasons are not kept: flagd's are coarser. Nor is what its flags have no place for: name,
  description, tags, owner, expiry, `client_side`, `track`.
- Nothing here checks definitions: they come from where they were checked.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import UnsetType

from proxy.contract.codes import Severity
from proxy.contract.definitions import (
    BUCKETS,
    TARGETING_KEY,
    Condition,
    FlagDefinition,
    Rollout,
    Rule,
    SegmentDefinition,
    Serve,
    Source,
)
from proxy.engine import import_document, parse_moment
from proxy.engine.bucketing import layout
from proxy.engine.operators.times import span_after, span_before
from proxy.engine.times import EVER

__all__ = ["Export", "Remark", "to_flagd"]

Json = dict[str, Any]

SCHEMA = "https://flagd.dev/schema/v0/flags.json"

_MAX_EXACT = 2**53 - 1
"""Beyond, our numbers are exact, and JSON Logic's are not."""

_SECOND_MS = 1_000
_TIMESTAMP = {"var": "$flagd.timestamp"}
_FRACTIONAL = "v2"
_MOST_REASONS = 5
_ESCAPED = re.compile(r'["\\\\<>&\x00-\x1f\u2028\u2029]')
"""What JSON escapes as flagd writes it; it looks for the name of a variant as it is written."""

_OURS = ("state", "metadata", "key")
"""What is ours to say of a flag that keeps the definition of flagd."""


class Remark(NamedTuple):
    """Something to know of a flag, or a segment; `left_out`: for that the file has not got it."""

    key: str
    left_out: bool
    text: str
    kind: str = "flag"


class Export(NamedTuple):
    """A file of flagd, and what is to be known of it."""

    document: Json
    remarks: list[Remark]


def to_flagd(
    flags: Mapping[str, FlagDefinition], segments: Mapping[str, SegmentDefinition]
) -> Export:
    """Return the flags that flagd can serve as a file of it, and the others as remarks."""
    translator = _Project(segments)
    made: Json = {}
    remarks: list[Remark] = []
    evaluators: Json = {}
    for key, flag in flags.items():
        try:
            one = translator.flag(key, flag)
            _check(key, one, evaluators)
        except _Inexpressible as why:
            remarks += [Remark(key, True, reason) for reason in why.reasons[:_MOST_REASONS]]
            continue
        made[key] = one.flag
        evaluators |= one.evaluators
        remarks += [Remark(key, False, text) for text in dict.fromkeys(one.notes)]
    document: Json = {"$schema": SCHEMA, "flags": made}
    if evaluators:
        document["$evaluators"] = evaluators
    return Export(document, remarks)


class _Inexpressible(Exception):
    """flagd cannot say this."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = list(dict.fromkeys(reasons))


class _One(NamedTuple):
    """A flag of flagd's, what it refers to, and what is to be known of it."""

    flag: Json
    evaluators: Json
    notes: list[str]


def _check(key: str, one: _One, evaluators: Json) -> None:
    """Raise _Inexpressible for what the file cannot hold, or our own reader of it does not take."""
    clash = [name for name, node in one.evaluators.items() if evaluators.get(name, node) != node]
    if clash:
        raise _Inexpressible(f"another flag has another evaluator {clash[0]!r}")
    document = {"flags": {key: one.flag}, "$evaluators": one.evaluators}
    found = import_document("flagd", document, {"fractional": _FRACTIONAL}, ["production"])
    if not found.flags:
        errors = [p.message for p in found.all_problems() if p.severity is Severity.ERROR]
        raise _Inexpressible(*errors or ["it cannot be read as a flag of flagd"])


class _Project:
    """Translates the flags of a project."""

    def __init__(self, segments: Mapping[str, SegmentDefinition]) -> None:
        self._segments = segments
        # of the flag being translated
        self._used: Json = {}
        self._notes: list[str] = []
        self._reasons: list[str] = []
        self._open: list[str] = []

    def flag(self, key: str, flag: FlagDefinition) -> _One:
        """Return a flag; raises _Inexpressible with all reasons at once."""
        self._used, self._notes, self._reasons = {}, [], []
        made: Json = {"state": "ENABLED" if flag.enabled else "DISABLED"}
        if isinstance(flag.source, Source):
            made |= self._source(flag.source)
        else:
            made |= self._native(flag)
        if flag.metadata:
            made["metadata"] = flag.metadata
        if self._reasons:
            raise _Inexpressible(*self._reasons)
        return _One(made, self._used, self._notes)

    def _source(self, source: Source) -> Json:
        if source.dialect != "flagd":
            self._reasons.append(f"it is evaluated by the rules of {source.dialect}")
            return {}
        kept = dict(source.definition)
        self._used |= kept.pop("$evaluators", {})
        version = source.options.get("fractional", _FRACTIONAL)
        if version != _FRACTIONAL and "fractional" in _operations([kept, self._used]):
            self._reasons.append(
                f"its fractional is of {version}, and the file's of {_FRACTIONAL}: keep the file"
                " that it was imported from, which a flagd of that version takes"
            )
        return {name: value for name, value in kept.items() if name not in _OURS}

    def _native(self, flag: FlagDefinition) -> Json:
        variants = {"variants": flag.variants}
        if not flag.enabled and not isinstance(flag.off_variant, UnsetType):
            self._notes.append(
                f"it is off and serves {flag.off_variant!r}, for which flagd has no word: the file"
                " has it on, with this as its default and no targeting"
            )
            return {"state": "ENABLED", **variants, "defaultVariant": flag.off_variant}
        if flag.prerequisites:
            self._reasons.append("it has prerequisites, and a flag of flagd asks no other")
        chain: list[Any] = []
        for target in flag.targets:
            chain += [_among(target.units), self._named(target.variant)]
        for rule in flag.rules:
            chain += [self._when(rule), self._serve(rule.serve, flag.salt)]
        last = flag.fallthrough
        if isinstance(last.variant, UnsetType):
            chain += [self._unit(last), self._serve(last, flag.salt)]
            self._notes.append(
                "who lacks the attribute that it is split by gets the application's default, as"
                " here, but no error"
            )
        default = None if isinstance(last.variant, UnsetType) else last.variant
        made: Json = {**variants, "defaultVariant": default}
        if chain:
            made["targeting"] = {"if": chain}
        return made

    # What is served

    def _serve(self, serve: Serve, salt: str) -> Any:
        if isinstance(serve.rollout, Rollout):
            unit = self._var(serve.rollout.by)
            if serve.rollout.by != TARGETING_KEY:  # that there is no -0
                unit = {"if": [_is_text(unit), unit, {"+": [unit, 0]}]}
            marked = {"cat": [f"|{salt}.", unit, "|"]}
            key = {"substr": [marked, 1, -1]}
            pieces = layout(serve.rollout.arms)
            if sum(piece.high - piece.low for piece in pieces) != BUCKETS:
                self._reasons.append("its arms do not come to 100 %")
            return {
                "fractional": [
                    key,
                    *([self._named(piece.variant), piece.high - piece.low] for piece in pieces),
                ]
            }
        if not isinstance(serve.ramp, UnsetType):
            self._reasons.append("it has a ramp, whose share is another one every millisecond")
        return self._named(serve.variant) if not isinstance(serve.variant, UnsetType) else None

    def _named(self, variant: str) -> str:
        if _ESCAPED.search(variant):
            self._reasons.append(f"flagd's targeting finds no variant that is called {variant!r}")
        return variant

    def _unit(self, serve: Serve) -> Any:
        """Return who can be split: all that have the attribute, as a unit."""
        if not isinstance(serve.rollout, Rollout):
            return True
        by = serve.rollout.by
        value = self._var(by)
        text = _all([_is_text(value), {"!==": [value, ""]}])
        if by == TARGETING_KEY:
            return text
        self._notes.append(
            f"units by {by!r} that are numbers are split as here where flagd writes them out as"
            " digits; send them as texts to be sure"
        )
        far = _MAX_EXACT + 1
        whole = [_is_number(value), {"===": [{"%": [value, 1]}, 0]}, {"<": [-far, value, far]}]
        return _any([text, _all(whole)])

    def _when(self, rule: Rule) -> Any:
        parts: list[Any] = []
        if not isinstance(rule.active, UnsetType):
            since, until = rule.active.from_, rule.active.until
            if isinstance(since, str):
                parts += self._span(parse_moment(since), None)
            if isinstance(until, str):
                parts += self._span(None, parse_moment(until))
        parts.append(self._condition(rule.when))
        if isinstance(rule.serve.variant, UnsetType):
            parts.append(self._unit(rule.serve))
        return _all(parts)

    # Conditions

    def _condition(self, node: Condition) -> Any:
        """Return a condition. Recursion is bounded by `limits.MAX_CONDITION_DEPTH`."""
        if not isinstance(node.all, UnsetType):
            return _all([self._condition(item) for item in node.all])
        if not isinstance(node.any, UnsetType):
            return _any([self._condition(item) for item in node.any])
        if not isinstance(node.not_, UnsetType):
            return _not(self._condition(node.not_))
        if not isinstance(node.segment, UnsetType):
            return self._segment(node.segment)
        return self._leaf(node)

    def _segment(self, key: str) -> Any:
        """Return a reference to a segment, or in another segment the condition itself.

        flagd resolves references within evaluators or not, by chance.
        """
        if self._open:
            return self._members(key)
        if key not in self._used:
            self._used[key] = self._members(key)
        return {"$ref": key}

    def _members(self, key: str) -> Any:
        segment = self._segments.get(key)
        if segment is None or key in self._open:
            self._reasons.append(f"there is no segment {key!r} that can be used")
            return False
        if isinstance(segment.source, Source):
            dialect = segment.source.dialect
            self._reasons.append(f"the segment {key!r} is evaluated by the rules of {dialect}")
            return False
        if not isinstance(segment.units, UnsetType):
            self._reasons.append(f"the segment {key!r} has long lists of units")
        self._open.append(key)
        when = self._condition(segment.when)
        self._open.pop()
        if segment.excluded:
            when = _all([_not(_among(segment.excluded)), when])
        return _any([_among(segment.included), when]) if segment.included else when

    def _leaf(self, node: Condition) -> Any:
        op = str(node.op)
        negated = node.negate is True
        values = [] if isinstance(node.values, UnsetType) else node.values
        if op in ("not_equals", "not_in", "none_of"):
            op, negated = _OPPOSITES[op], not negated
        if isinstance(node.attribute, UnsetType):
            made = self._time(op, values)
        else:
            made = self._test(op, self._var(node.attribute), values, node)
        return _not(made) if negated else made

    def _time(self, op: str, values: list[Any]) -> Any:
        if op not in ("before", "after"):
            self._reasons.append(f"flagd has nothing like {op}")
            return False
        since, until = (span_before if op == "before" else span_after)(values[0])
        return _all(self._span(since, until))

    def _span(self, since: int | None, until: int | None) -> list[Any]:
        """Return the conditions for a half-open span of time."""
        made = []
        for moment, sign in ((since, ">="), (until, "<")):
            if moment is not None and moment not in EVER:
                if moment % _SECOND_MS:
                    self._notes.append("times are up to a second later: flagd counts whole ones")
                made.append({sign: [_TIMESTAMP, -(-moment // _SECOND_MS)]})
        return made

    def _test(self, op: str, value: Any, values: list[Any], node: Condition) -> Any:
        if node.fold is True:
            self._reasons.append("it compares without regard to case (fold)")
            return False
        numbers = [v for v in values if v.__class__ is int or v.__class__ is float]
        if any(abs(number) > _MAX_EXACT for number in numbers):
            self._reasons.append("it compares with a number of more than 53 bits")
        if op in ("equals", "in"):
            return _is_one(value, values)
        if op == "exists":
            return {"!==": [value, None]}
        if op in ("starts_with", "ends_with"):
            return _any([{op: [value, text]} for text in values])
        if op == "contains":
            self._notes.append("texts of more than 16,384 characters contain nothing here")
            found = [{"in": [text, value]} if text else True for text in values]
            return _all([_is_text(value), _any(found)])
        if op in _SIGNS:
            return _all([_is_number(value), {_SIGNS[op]: [value, values[0]]}])
        if op in ("any_of", "all_of"):
            self._notes.append("lists of more than 1,000 elements have nothing in them here")
            return {"contains_any" if op == "any_of" else "contains_all": [value, values]}
        self._reasons.append(_WITHOUT.get(op, f"flagd has nothing like {op}"))
        return False

    def _var(self, attribute: str) -> Any:
        if "." in attribute or "[" in attribute or attribute.startswith("$flagd"):
            self._reasons.append(
                f"the attribute {attribute!r} is looked up as one member first, and then as a path,"
                " where flagd only knows paths"
            )
        return {"var": attribute}


_OPPOSITES = {"not_equals": "equals", "not_in": "in", "none_of": "any_of"}
_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_WITHOUT = {
    op: f"{op} takes versions as semver 2.0.0 has them, sem_ver of flagd others, too"
    for op in ("semver_eq", "semver_gt", "semver_gte", "semver_lt", "semver_lte", "semver_match")
}
_WITHOUT["matches"] = "flagd has no regular expressions"


def _among(units: list[str]) -> Any:
    return _is_one({"var": TARGETING_KEY}, units)


def _is_text(value: Any) -> Any:
    return {"starts_with": [value, ""]}


def _is_number(value: Any) -> Any:
    others = [{"!==": [value, other]} for other in (True, False, None)]
    return _all([{"===": [value, value]}, _not(_is_text(value)), *others])


def _is_one(value: Any, values: list[Any]) -> Any:
    """Return whether a value is one of some scalars; among several, `in` would convert it."""
    texts = [each for each in values if each.__class__ is str]
    numbers = [each for each in values if each.__class__ is int or each.__class__ is float]
    others = [each for each in values if each.__class__ is bool]
    made = [{"===": [value, other]} for other in others]
    for same, is_same in ((texts, _is_text), (numbers, _is_number)):
        if len(same) == 1:
            made.append({"===": [value, same[0]]})
        elif same:
            made.append(_all([is_same(value), {"in": [value, same]}]))
    return _any(made)


def _not(node: Any) -> Any:
    return not node if isinstance(node, bool) else {"!": [node]}


def _all(nodes: list[Any]) -> Any:
    return _joined("and", nodes, neutral=True)


def _any(nodes: list[Any]) -> Any:
    return _joined("or", nodes, neutral=False)


def _joined(name: str, nodes: list[Any], *, neutral: bool) -> Any:
    """Return conditions as one, without those that change nothing."""
    if any(node is not neutral and isinstance(node, bool) for node in nodes):
        return not neutral
    kept = [node for node in nodes if node is not neutral]
    if not kept:
        return neutral
    return kept[0] if len(kept) == 1 else {name: kept}


def _operations(node: Any) -> Iterator[str]:
    """Yield the names of all members, the operations among them."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield from node
            stack += node.values()
        elif isinstance(node, list):
            stack += node
