"""Clauses: an operator, the values it compares with, and the attribute that it looks at.

One value suffices, and of an attribute that is a list one element. Lists and objects in a list are
no match for anything. `negate` turns the result round, but not for an attribute that is missing:
that clause never holds. Where the operator is unknown nothing matches, so negated everything does
that has the attribute. A clause whose attribute cannot be read is an error for whoever comes to it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.launchdarkly import contexts
from proxy.engine.dialects.launchdarkly.document import Clause, kind_of
from proxy.engine.dialects.launchdarkly.values import moment, number, version
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Fault, Leaf, Options
from proxy.engine.operators.patterns import check_patterns, searched
from proxy.engine.shown import compact, several

__all__ = ["ClauseReader", "operand_of"]

Test = Callable[[Any], bool]


class _Alike(NamedTuple):
    """Values of one kind, `str` or `bool`, that are looked up without a call."""

    kind: str
    values: frozenset[Any]


class ClauseReader:
    """Reads the clauses of one flag or segment: what is wrong, what is named, and how much it is.

    `segments` are the keys it asks for, in order.
    """

    def __init__(self, findings: Findings) -> None:
        self.segments: dict[str, None] = {}
        self._findings = findings

    def within_bounds(
        self, rules: Iterable[Sequence[Clause] | None], units: int, path: Path
    ) -> bool:
        """Return whether clauses, their values and `units` are not too many, and say so if not."""
        clauses = list(chain.from_iterable(rule or () for rule in rules))
        counts = (
            (len(clauses), limits.MAX_CONDITIONS, "clauses"),
            (
                units + sum(len(clause.values or ()) for clause in clauses),
                limits.MAX_VALUES_IN_ALL,
                "values and keys",
            ),
            (_values_of(clauses, "matches"), limits.MAX_PATTERNS, "patterns"),
            (_values_of(clauses, "segmentMatch"), limits.MAX_SEGMENT_REFERENCES, "segments"),
        )
        good = True
        for count, most, what in counts:
            if count > most:
                message = f"{count} {what} in all, at most {most}"
                self._findings.add(path, ProblemCode.TOO_MANY, message)
                good = False
        return good

    def conditions(self, clauses: Sequence[Clause] | None, path: Path) -> tuple[p.Expression, bool]:
        """Return the condition that every clause holds, and whether that can be said.

        If not, one of them is an error, and the condition is that of those before it.
        """
        items: list[p.Expression] = []
        for index, clause in enumerate(clauses or ()):
            item = self._clause(clause, (*path, "clauses", index))
            if item is None:
                return p.all_of(items), False
            items.append(item)
        return p.all_of(items), True

    def _clause(self, clause: Clause, path: Path) -> p.Expression | None:
        if clause.op == "segmentMatch":
            return self._segment_match(clause, path)
        operand: p.Operand | None = contexts.KINDS
        if clause.attribute != "kind":
            operand = operand_of(clause.attribute, clause.context_kind, self._findings, path)
        if operand is None:
            return None
        test, alike = self._test(clause, path)
        name = clause.op or ""
        source = f"{'not ' if clause.negate else ''}{name} {several(clause.values or [], _MOST)}"
        if test is None and not clause.negate:
            return p.FALSE
        leaf = _leaf(test, alike, clause.negate is True)
        return p.Probe(operand, leaf, source=source)

    def _segment_match(self, clause: Clause, path: Path) -> p.Expression:
        items: list[p.Expression] = []
        for index, segment in enumerate(clause.values or ()):
            if isinstance(segment, str):
                self.segments[segment] = None
                items.append(p.InSegment(segment))
            else:
                self._warn_value(path, index, segment, "no key of a segment")
        found = p.any_of(items)
        return p.negation(found) if clause.negate else found

    def _test(self, clause: Clause, path: Path) -> tuple[Test | None, _Alike | None]:
        """Return the test of a single value, None for one that nothing passes.

        And the values that pass, where those are all texts, or all booleans.
        """
        values = clause.values or []
        read = _OPERATORS.get(clause.op or "")
        if read is None:
            message = f"{compact(clause.op)} is no operator; the clause matches nothing"
            self._warn((*path, "op"), ProblemCode.UNKNOWN_OPERATOR, message)
            return None, None
        if clause.op == "matches":
            return self._pattern(values, path), None
        good = []
        for index, value in enumerate(values):
            if read.parse(value) is None:
                self._warn_value(path, index, value, read.bad)
            else:
                good.append(read.parse(value))
        if not good:
            return None, None
        alike = None
        kinds = {value.__class__ for value in good} if clause.op == "in" else set()
        if kinds in ({str}, {bool}):
            alike = _Alike(kinds.pop().__name__, frozenset(good))
        return read.make(good), alike

    def _pattern(self, values: list[Any], path: Path) -> Test | None:
        patterns: list[str] = []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self._warn_value(path, index, value, "no text")
                continue
            where = (*path, "values", index)
            fault = _fault([value])
            if fault is None:
                patterns.append(value)
            elif fault.code is ProblemCode.INVALID_PATTERN and len(fault.path) > 1:
                if _ELSEWHERE.search(value):
                    message = f"{fault.message}; SDKs other than Go's take it, and may match"
                    self._findings.add(where, fault.code, message, _REWRITE)
                else:
                    message = f"{fault.message}; it matches nothing, as in LaunchDarkly"
                    self._findings.add(where, fault.code, message, fault.hint, Severity.WARNING)
            else:  # too large for us, which is no reason to match nothing
                self._findings.add(where, fault.code, fault.message, fault.hint)
        fault = _fault(patterns) if patterns else None
        if fault is not None:
            self._findings.add((*path, "values"), fault.code, fault.message, fault.hint)
            return None
        if not patterns:
            return None
        found = searched(tuple(dict.fromkeys(patterns)))
        return lambda value: value.__class__ is str and found(value)

    def _warn_value(self, path: Path, index: int, value: Any, what: str) -> None:
        message = f"{compact(value)} is {what}; it matches nothing"
        self._warn((*path, "values", index), ProblemCode.OPERATOR_VALUES, message)

    def _warn(self, path: Path, code: ProblemCode, message: str) -> None:
        self._findings.add(path, code, message, severity=Severity.WARNING)


_MOST = 5

_REWRITE = "write the pattern without; or with Go's SDK, which never matches it, take it out"
_ELSEWHERE = re.compile(r"\(\?(?:<?[=!]|[>#(])|\\[1-9kuZGcXR]|[*+?}]\+|\{\d*,?\d{4,}")
"""What RE2 has not and the expressions of other languages have: lookaround, backreferences, atomic
groups, comments, conditions, escapes, possessive and large counts. Looked for in what RE2 refuses.
"""


def _fault(patterns: list[str]) -> Fault | None:
    """Return the first thing that is wrong with patterns."""
    faults = check_patterns(patterns, Options())
    return next((fault for fault in faults if fault is not None), None)


def _values_of(clauses: list[Clause], op: str) -> int:
    return sum(len(clause.values or ()) for clause in clauses if clause.op == op)


def operand_of(
    name: str | None, kind: str | None, findings: Findings, path: Path, member: str = "attribute"
) -> p.Operand | None:
    """Return the attribute that is meant, None where it cannot be read.

    Only beside a kind is it a reference; without one it is a name, slashes and all.
    """
    steps = contexts.parse_reference(name or "") if kind else (name,) if name else None
    if steps is None or len(steps) > limits.MAX_CONDITION_DEPTH:
        message = f"{compact(name)} is no attribute: who comes here gets an error"
        findings.add((*path, member), ProblemCode.WRONG_TYPE, message, severity=Severity.WARNING)
        return None
    return contexts.attribute(kind_of(kind), steps)


def _leaf(test: Test | None, alike: _Alike | None, negate: bool) -> Leaf:
    """Return a test as a leaf, lists and what is missing taken care of."""
    if test is None:
        return Leaf("{f} is not None")
    one = test

    def of_any(values: list[Any]) -> bool:
        return any(map(one, values))

    holds = "({0}({x}) if {x}.__class__ is not list else {1}({x}))"
    if negate:
        return Leaf("{f} is not None and not " + holds, (one, of_any))
    if alike is not None:
        template = f"{{x}} in {{2}} if {{f}}.__class__ is {alike.kind} else {holds}"
        return Leaf(template, (one, of_any, alike.values))
    return Leaf("{0}({x}) if {f}.__class__ is not list else {1}({x})", (one, of_any))


# The operators


class _Operator:
    """What an operator takes of a value, and the test that it makes of those it is given."""

    def __init__(
        self,
        parse: Callable[[Any], Any],
        bad: str,
        make: Callable[[list[Any]], Test],
    ) -> None:
        self.parse = parse
        self.bad = bad
        self.make = make


def _scalar(value: Any) -> Any:
    """Return a value that can be equal to another; numbers in double precision."""
    return value if value.__class__ in (str, bool) else number(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _among(values: list[Any]) -> Test:
    texts = frozenset(value for value in values if value.__class__ is str)
    booleans = frozenset(value for value in values if value.__class__ is bool)
    numbers = frozenset(value for value in values if value.__class__ in (int, float))

    def among(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            return value in texts
        if kind is bool:
            return value in booleans
        return number(value) in numbers

    return among


def _starts(values: list[str]) -> Test:
    starts = tuple(values)
    return lambda value: value.__class__ is str and value.startswith(starts)


def _ends(values: list[str]) -> Test:
    ends = tuple(values)
    return lambda value: value.__class__ is str and value.endswith(ends)


def _contains(values: list[str]) -> Test:
    parts = tuple(values)
    return lambda value: value.__class__ is str and any(part in value for part in parts)


def _below(parse: Callable[[Any], Any]) -> Callable[[list[Any]], Test]:
    """Return what makes a test of being before one of the values, which is before the last."""

    def make(values: list[Any]) -> Test:
        bound = max(values)

        def below(value: Any) -> bool:
            found = parse(value)
            return found is not None and bool(found < bound)

        return below

    return make


def _above(parse: Callable[[Any], Any]) -> Callable[[list[Any]], Test]:
    def make(values: list[Any]) -> Test:
        bound = min(values)

        def above(value: Any) -> bool:
            found = parse(value)
            return found is not None and bool(found > bound)

        return above

    return make


def _at_most(values: list[Any]) -> Test:
    bound = max(values)

    def at_most(value: Any) -> bool:
        found = number(value)
        return found is not None and bool(found <= bound)

    return at_most


def _at_least(values: list[Any]) -> Test:
    bound = min(values)

    def at_least(value: Any) -> bool:
        found = number(value)
        return found is not None and bool(found >= bound)

    return at_least


def _same_version(values: list[Any]) -> Test:
    wanted = frozenset(values)
    return lambda value: version(value) in wanted


_OPERATORS = {
    "in": _Operator(_scalar, "no text, number or boolean", _among),
    "startsWith": _Operator(_text, "no text", _starts),
    "endsWith": _Operator(_text, "no text", _ends),
    "contains": _Operator(_text, "no text", _contains),
    "matches": _Operator(_text, "no text", _among),
    "lessThan": _Operator(number, "no number", _below(number)),
    "lessThanOrEqual": _Operator(number, "no number", _at_most),
    "greaterThan": _Operator(number, "no number", _above(number)),
    "greaterThanOrEqual": _Operator(number, "no number", _at_least),
    "before": _Operator(moment, "no moment", _below(moment)),
    "after": _Operator(moment, "no moment", _above(moment)),
    "semVerEqual": _Operator(version, "no version", _same_version),
    "semVerLessThan": _Operator(version, "no version", _below(version)),
    "semVerGreaterThan": _Operator(version, "no version", _above(version)),
}
