"""One flag of flagd as a rule program.

A flag is its definition as flagd has it, with the `$evaluators` that it refers to beside the rest:

    {"state", "variants", "defaultVariant", "targeting", "$evaluators": {...}}

The context is the OpenFeature context as it is, `targetingKey` included; `$flagd` is added to it.

What `targeting` says becomes rules as far as it is a chain of `if`: each condition one of ours over
the leaves of JSON Logic, each value an outcome, or a split where it is a `fractional` of constant
weights. The rest, from the first thing on that is neither, is computed (`Computed`), as is all of a
flag that can fail.

    targeting comes to                     reason
    (there is none)                        STATIC
    a variant's name; a boolean, a number  TARGETING_MATCH
    null                                   DEFAULT, of the default variant, or the code default
    anything else                          error GENERAL
    an operation that there is not         error PARSE_ERROR, where it is reached
    (the flag is disabled)                 DISABLED, of the code default

Rules:
- `enabled` is our own switch; `state` is not looked at.
- What is computed with the time in it may change at any moment; comparisons of `$flagd.timestamp`
  with a number become windows, so that it is known when.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from math import ceil, floor
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, ProblemCode, Reason, Severity
from proxy.contract.definitions import TARGETING_KEY
from proxy.contract.problems import has_errors, json_kind
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.flagd import fractional
from proxy.engine.dialects.flagd.versions import compare, test_against
from proxy.engine.dialects.jsonlogic import (
    Compiler,
    Extra,
    Form,
    Logic,
    LogicError,
    Place,
    Term,
    operation_of,
)
from proxy.engine.dialects.model import Named, Translation
from proxy.engine.dialects.operations import (
    OPERATIONS_3_9,
    equal,
    identical,
    is_among,
    number_text,
    of_values,
)
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf
from proxy.engine.paths import split_path
from proxy.engine.shown import compact

__all__ = ["FRACTIONAL", "names", "translate"]

FRACTIONAL: dict[str, fractional.Version] = {"v1": 1, "v2": 2, "v3": 3}
"""The versions of `fractional`, by the option that says which one a flag has."""

_SECOND_MS = 1_000
_NAME_CHARS = 80
"""Of a name as it is shown."""


def names(_definition: Mapping[str, Any]) -> Named:
    """Return that a flag names nothing: flagd's ask no other flag, and have no segments."""
    return Named()


def translate(
    key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
) -> Translation:
    """Return a flag as a program; `options` has the version of `fractional`, default v2."""
    findings = Findings()
    version = FRACTIONAL[options.get("fractional", "v2")]
    variants = _variants(definition.get("variants"), findings)
    default = _default(definition.get("defaultVariant"), variants, findings)
    program = _Translator(key, definition, variants, default, version, findings).program()
    problems = tuple(findings.problems)
    if has_errors(findings.problems):
        return Translation(None, variants, problems=problems)
    if not enabled:
        program = p.Program((), p.Outcome(None, Reason.DISABLED))
    return Translation(program, variants, problems=problems)


def _variants(given: Any, findings: Findings) -> dict[str, Any]:
    """Return the values by name; null is answered as the application's own default."""
    if not isinstance(given, Mapping) or not given:
        findings.add(("variants",), ProblemCode.NO_VARIANTS, "a flag has at least one variant")
        return {}
    nulls = [name for name, value in given.items() if value is None]
    for name in nulls:
        message = "null is no value; the application's own default is used"
        path = ("variants", name)
        findings.add(path, ProblemCode.VALUE_TYPE, message, severity=Severity.WARNING)
    return {**given, **dict.fromkeys(nulls, UNSET)}


def _default(given: Any, variants: Mapping[str, Any], findings: Findings) -> str | None:
    """Return the default variant, None without one."""
    if given is None or given == "":
        return None
    path = ("defaultVariant",)
    if not isinstance(given, str):
        message = f"the name of a variant, not {json_kind(given)}"
        findings.add(path, ProblemCode.WRONG_TYPE, message)
        return None
    if given not in variants:
        message = f"there is no variant {given[:_NAME_CHARS]!r}"
        findings.add(path, ProblemCode.UNKNOWN_VARIANT, message)
        return None
    return given


# The operations that flagd adds


def _text_test(test: Callable[[str, str], bool]) -> Form:
    """Return `starts_with` or `ends_with`: null unless there are just two texts."""

    def holds(values: list[Any]) -> bool | None:
        if len(values) != 2 or not all(value.__class__ is str for value in values):
            return None
        return test(values[0], values[1])

    return _of_values(holds)


def _of_values(function: Callable[[list[Any]], Any]) -> Form:
    """Return an operation of a list of values: null without one."""
    return of_values(function, alone=lambda _: None, fails=False, alone_fails=False)


_of_versions = _of_values(compare)


def _sem_ver(compiler: Compiler, arguments: Any, place: Place) -> Term:
    if arguments.__class__ is not list or len(arguments) != 3:
        return _of_versions(compiler, arguments, place)
    if any(operation_of(each) is not None for each in arguments[1:]):
        return _of_versions(compiler, arguments, place)
    version, sign, wanted = compiler.terms(arguments, place)
    run = version.run
    test = test_against(sign.value, wanted.value) or _no_version
    return Term(lambda data, t: test(run(data, t)), scalar=True)


def _no_version(_value: Any) -> None:
    return None


def _reference(evaluators: Any) -> Form:
    """Return `$ref`: one of the `$evaluators` in its place."""
    known = evaluators if isinstance(evaluators, Mapping) else {}
    open_: list[str] = []

    def form(compiler: Compiler, name: Any, place: Place) -> Term:
        if name.__class__ is not str or name not in known:
            return _unresolved(compiler, name, place, "there is no evaluator of this name")
        if name in open_:
            return _unresolved(compiler, name, place, "the evaluator refers to itself")
        if open_:
            message = "flagd resolves a reference within an evaluator or not, by chance; here it is"
            compiler.findings.add(
                place.path, ProblemCode.UNKNOWN_OPERATOR, message, severity=Severity.WARNING
            )
        open_.append(name)
        # problems in it are its own
        term = compiler.term(known[name], place._replace(path=("$evaluators", name)))
        open_.pop()
        return term

    return form


def _unresolved(compiler: Compiler, name: Any, place: Place, why: str) -> Term:
    message = f"{why}; the flag fails where it is reached"
    compiler.findings.add(
        place.path, ProblemCode.UNKNOWN_OPERATOR, message, severity=Severity.WARNING
    )
    return compiler.failing(why)


# Translation


class _Unfit(Exception):
    """A condition is none of ours: it depends on the time otherwise than by windows, or fails."""


class _Translator:
    """Translates one flag."""

    def __init__(
        self,
        key: str,
        definition: Mapping[str, Any],
        variants: Mapping[str, Any],
        default: str | None,
        version: fractional.Version,
        findings: Findings,
    ) -> None:
        self._key = key
        self._version = version
        self._findings = findings
        self._variants = variants
        self._default = default
        self._targeting = definition.get("targeting")
        self._has_targeting = "targeting" in definition
        self._evaluators = definition.get("$evaluators")
        self._forms: dict[str, Form] = {
            **OPERATIONS_3_9,
            "fractional": fractional.form(key, version),
            "sem_ver": _sem_ver,
            "starts_with": _text_test(str.startswith),
            "ends_with": _text_test(str.endswith),
            "$ref": _reference(self._evaluators),
        }
        self._extras = {
            "$flagd": {
                "flagKey": key,
                "timestamp": Extra(lambda _, now_ms: now_ms // _SECOND_MS, timed=True),
            }
        }
        self._nothing = p.Outcome(default, Reason.DEFAULT)
        self._steps: list[p.Step] = []
        self._leaves = 0

    def program(self) -> p.Program:
        """Return the flag, enabled."""
        targeting = self._targeting
        if targeting is None and self._has_targeting:  # of null
            return p.Program((), self._nothing)
        if targeting is None or targeting == {}:
            reason = Reason.DEFAULT if self._default is None else Reason.STATIC
            return p.Program((), p.Outcome(self._default, reason))
        # compiled whole once: for its problems, and for where nothing else will do
        whole = self._compiler(self._findings).compile(targeting, ("targeting",))
        if has_errors(self._findings.problems):
            return p.Program((), self._nothing)
        otherwise = self._chain(targeting, [], ("targeting",), 0)
        if self._leaves <= limits.MAX_CONDITIONS:
            return p.Program(tuple(self._steps), otherwise)
        return p.Program((), self._computed(whole))

    def _compiler(self, findings: Findings | None = None) -> Compiler:
        """Return a compiler; what it finds was found before, unless it is the first."""
        return Compiler(findings or Findings(), self._forms, self._extras)

    # What is served

    def _outcome(self, value: Any, unit: str = TARGETING_KEY) -> p.Outcome:
        """Return what a value that targeting comes to answers."""
        if value is None:
            return self._with_unit(self._nothing, unit)
        if value.__class__ is list or value.__class__ is dict:
            return p.Outcome(error=ErrorCode.GENERAL, details=_NO_VARIANT)
        name = _name(value)
        if name is None:
            return p.Outcome(error=ErrorCode.PARSE_ERROR, details=_FAILED)
        if name not in self._variants:
            return p.Outcome(error=ErrorCode.GENERAL, details=_no_variant(name))
        return p.Outcome(name, Reason.TARGETING_MATCH, unit_attribute=unit)

    @staticmethod
    def _with_unit(outcome: p.Outcome, unit: str) -> p.Outcome:
        return msgspec.structs.replace(outcome, unit_attribute=unit)

    def _computed(self, logic: Logic) -> p.Computed:
        """Return what is served by the name that an expression computes."""
        failed, other = self._free_names()
        outcomes = [(name, p.Outcome(name, Reason.TARGETING_MATCH)) for name in self._variants]
        if logic.may_fail:
            outcomes.append((failed, p.Outcome(error=ErrorCode.PARSE_ERROR, details=_FAILED)))
        known = frozenset(name for name in self._variants if _name(name) == name)
        return p.Computed(
            _choice(logic, known, failed, other),
            tuple(outcomes),
            nothing=self._nothing,
            unknown=p.Outcome(error=ErrorCode.GENERAL, details=_NO_VARIANT),
            reads=logic.reads,
            timed=logic.timed,
        )

    def _free_names(self) -> tuple[str, str]:
        """Return two names that are no variants."""
        failed, other = "\0failed", "\0other"
        while failed in self._variants or other in self._variants:
            failed, other = "\0" + failed, "\0" + other
        return failed, other

    def _serve(self, node: Any, guard: list[p.Expression], path: Path, *, of_if: bool) -> p.Serve:
        """Return what a node serves, alone or of an `if`; may add a rule before it."""
        node = self._resolved(node)
        operation = operation_of(node)
        if operation is not None and operation[0] == "fractional":
            place = Place((*path, "fractional"), 1)
            compiler = self._compiler()
            found = fractional.plan(compiler, operation[1], place, self._key, self._version)
            if isinstance(found, fractional.Plan) and all(arm.constant for arm in found.arms):
                self._leaves += len(found.arms)
                return self._split(found, guard, node)
        term, logic = self._compiler().part({"if": [node]} if of_if else node, Place(path))
        if term.constant:
            return self._outcome(term.value)
        return self._computed(logic)

    def _split(self, found: fractional.Plan, guard: list[p.Expression], node: Any) -> p.Serve:
        if found.key is not None:
            # a list as the key is an arm to flagd; nobody means it
            evaluate = found.key.evaluate
            key = p.Operand(found.unit, lambda context: evaluate(context, 0), found.key.reads)
            is_list = p.Probe(key, Leaf("{f}.__class__ is list"))
            logic = self._compiler().compile(node)
            self._rule([*guard, is_list], self._computed(logic))
        outcomes = [self._outcome(arm.value, found.unit) for arm in found.arms]
        arms = []
        low = 0
        for end, outcome in zip(found.ends, outcomes, strict=True):
            if end > low:
                arms.append(p.Arm(low, end, outcome))
                low = end
        nothing = self._with_unit(self._nothing, found.unit)
        return p.Split(found.bucketing, tuple(arms), otherwise=nothing, missing=nothing)

    def _rule(self, when: Iterable[p.Expression], serve: p.Serve) -> None:
        whole = p.all_of(when)
        self._leaves += 1 + p.leaf_count(whole)
        self._steps.append(p.Rule(whole, serve))

    # Rules

    def _resolved(self, node: Any) -> Any:
        """Return a node, or what it refers to, unless that is nothing, or goes in a circle."""
        known = self._evaluators if isinstance(self._evaluators, Mapping) else {}
        found, seen = node, set()
        while (operation := operation_of(found)) is not None and operation[0] == "$ref":
            name = operation[1]
            if name.__class__ is not str or name in seen or name not in known:
                return node
            seen.add(name)
            found = known[name]
        return found

    def _chain(self, node: Any, guard: list[p.Expression], path: Path, depth: int) -> p.Serve:
        """Add the rules of a node where `guard` holds, and return what is served otherwise."""
        node = self._resolved(node)
        operation = operation_of(node)
        too_much = self._leaves > limits.MAX_CONDITIONS or depth > limits.MAX_CONDITION_DEPTH
        if operation is None or operation[0] not in ("if", "?:") or too_much:
            return self._serve(node, guard, path, of_if=depth > 0)
        name, arguments = operation
        if arguments.__class__ is not list:
            return self._serve(node, guard, path, of_if=depth > 0)
        for index in range(0, len(arguments) - 1, 2):
            try:
                when = self._condition(arguments[index], (*path, name, index), depth)
            except _Unfit:
                rest = {name: arguments[index:]}
                return self._computed(self._compiler().compile(rest, path))
            if when is p.FALSE:
                continue
            inner = [*guard, when]
            where = (*path, name, index + 1)
            serve = self._chain(arguments[index + 1], inner, where, depth + 1)
            if when is p.TRUE:
                return serve
            self._rule(inner, serve)
        if len(arguments) % 2:
            where = (*path, name, len(arguments) - 1)
            return self._chain(arguments[-1], guard, where, depth + 1)
        return self._nothing

    def _condition(self, node: Any, path: Path, depth: int) -> p.Expression:
        """Return a condition of ours for a node; raises _Unfit for what cannot be one."""
        node = self._resolved(node)
        operation = operation_of(node)
        if operation is None or depth > limits.MAX_CONDITION_DEPTH:
            return self._leaf(node, path)
        name, arguments = operation
        if arguments.__class__ is not list:
            return self._leaf(node, path)
        inner = (*path, name)
        if name in ("and", "or") and arguments:
            items = [
                self._condition(item, (*inner, index), depth + 1)
                for index, item in enumerate(arguments)
            ]
            return p.all_of(items) if name == "and" else p.any_of(items)
        if name in ("!", "!!") and len(arguments) == 1:
            item = self._condition(arguments[0], (*inner, 0), depth + 1)
            return p.negation(item) if name == "!" else item
        if name == "fractional":
            place = Place(inner, 1)
            found = fractional.plan(self._compiler(), arguments, place, self._key, self._version)
            if isinstance(found, fractional.Plan) and found.key is None:
                within = _within(found)
                if within is not None:
                    return within
        return (
            _window(name, arguments)
            or self._known_leaf(name, arguments, node)
            or self._leaf(node, path)
        )

    def _known_leaf(self, name: str, arguments: list[Any], node: Any) -> p.Expression | None:
        """Return a leaf over an attribute and a constant, the ones there are most of."""
        if len(arguments) != _ARGUMENTS.get(name):
            return None
        one, other = arguments[0], arguments[-1]
        if name in _EQUALITIES and operation_of(one) is None:
            one, other = other, one
        attribute = self._attribute(one)
        if attribute is None or operation_of(other) is not None:
            return None
        negated = name in ("!=", "!==")
        if name in _EQUALITIES:
            return p.Probe(attribute, _equal_leaf(name, other), negated, source=compact(node))
        if name == "in":
            if other.__class__ is list and all(item.__class__ is str for item in other):
                said = "({1}({x}) if {f}.__class__ is not str else {x} in {0})"
                leaf = Leaf(said, (frozenset(other), is_among(other)))
                return p.Probe(attribute, leaf, source=compact(node))
            return None
        if name == "sem_ver":
            test = test_against(arguments[1], other)
            if test is None:
                return p.FALSE if operation_of(arguments[1]) is None else None
            return p.Probe(attribute, Leaf("{0}({f})", (test,)), source=compact(node))
        if other.__class__ is not str:
            return p.FALSE
        method = "startswith" if name == "starts_with" else "endswith"
        leaf = Leaf(f"{{f}}.__class__ is str and {{x}}.{method}({{0}})", (other,))
        return p.Probe(attribute, leaf, source=compact(node))

    def _attribute(self, node: Any) -> str | p.Operand | None:
        """Return the attribute that a `var` of a constant path reads, None for anything else."""
        operation = operation_of(node)
        if operation is None or operation[0] != "var":
            return None
        given = operation[1]
        path = given[0] if given.__class__ is list and len(given) == 1 else given
        if path.__class__ is not str or not path or path.partition(".")[0] in self._extras:
            return None
        if "." not in path and split_path(path) is None:
            return path
        term, logic = self._compiler().part(node, Place(()))
        run = term.run
        return p.Operand(path, lambda context: run(context, 0), logic.reads)

    def _leaf(self, node: Any, path: Path) -> p.Expression:
        """Return any other condition as one leaf."""
        term, logic = self._compiler().part(node, Place(path))
        if term.constant:
            return p.TRUE if term.value else p.FALSE
        if logic.timed or logic.may_fail:
            raise _Unfit
        attribute = self._attribute(node)
        if attribute is not None:
            return p.Probe(attribute, Leaf("{0}({f})", (bool,)), source=compact(node))
        evaluate = logic.evaluate
        leaf = Leaf("{0}({f})", (bool,))
        operand = p.Operand(compact(node), lambda context: evaluate(context, 0), logic.reads)
        return p.Probe(operand, leaf)


_ARGUMENTS = {"==": 2, "!=": 2, "===": 2, "!==": 2, "in": 2, "sem_ver": 3}
_ARGUMENTS |= {"starts_with": 2, "ends_with": 2}
"""Of leaves that are known."""

_EQUALITIES = ("==", "!=", "===", "!==")


def _equal_leaf(name: str, wanted: Any) -> Leaf:
    if wanted.__class__ is str:
        if name in ("===", "!=="):
            return Leaf("{f} == {0}", (wanted,))
        return Leaf("({1}({x}, {0}) if {f}.__class__ is not str else {x} == {0})", (wanted, equal))
    same = identical if name in ("===", "!==") else equal
    return Leaf("{1}({f}, {0})", (wanted, same))


def _within(found: fractional.Plan) -> p.Expression | None:
    """Return who a fractional of constants comes to something true for."""
    if not all(arm.constant for arm in found.arms):
        return None
    ranges: list[tuple[int, int]] = []
    low = 0
    for end, arm in zip(found.ends, found.arms, strict=True):
        if end > low and arm.value:
            if ranges and ranges[-1][1] == low:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((low, end))
        low = max(low, end)
    return p.Within(found.bucketing, tuple(ranges)) if ranges else p.FALSE


# Time


_TIMESTAMP = ({"var": "$flagd.timestamp"}, {"var": ["$flagd.timestamp"]})
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _window(name: str, arguments: list[Any]) -> p.Expression | None:
    """Return a comparison of the time with numbers, None for anything else."""
    if name not in _TURNED:
        return None
    if len(arguments) == 3 and name in ("<", "<=") and arguments[1] in _TIMESTAMP:
        low, high = _bound(_TURNED[name], arguments[0]), _bound(name, arguments[2])
        return None if low is None or high is None else p.all_of((low, high))
    if len(arguments) != 2:
        return None
    if arguments[0] in _TIMESTAMP:
        return _bound(name, arguments[1])
    return _bound(_TURNED[name], arguments[0]) if arguments[1] in _TIMESTAMP else None


def _bound(name: str, wanted: Any) -> p.Expression | None:
    """Return that the time, in whole seconds, is on one side of a number."""
    kind = wanted.__class__
    if (kind is not int and kind is not float) or not abs(wanted) < _FAR_SECONDS:
        return None
    # the first second for which `>` or `>=` holds; `<` is the opposite of `>=`, `<=` of `>`
    first = ceil(wanted) if name in (">=", "<") else floor(wanted) + 1
    since, until = p.ALWAYS
    if name in (">", ">="):
        return p.Window(first * _SECOND_MS, until)
    return p.Window(since, first * _SECOND_MS)


_FAR_SECONDS = 10**12
"""Beyond what any clock says; compared as a number, like any other."""


# Names


def _name(value: Any) -> str | None:
    """Return the name that a text, boolean or number means, None for what JSON has not.

    It is what flagd writes as JSON, without the quotes: what JSON escapes stays escaped.
    """
    kind = value.__class__
    if kind is str:
        return _ESCAPED.sub(lambda found: _escaped(found[0]), value)
    if kind is bool:
        return "true" if value else "false"
    return number_text(value)


_ESCAPED = re.compile(r'["\\<>&\x00-\x1f\u2028\u2029]')


def _escaped(character: str) -> str:
    if character in "<>&\u2028\u2029":
        return f"\\u{ord(character):04x}"
    return json.dumps(character).replace('"', "")


_NO_VARIANT = "the targeting names no variant"
_FAILED = "the targeting has an operation that there is not, or that fails for these values"


def _choice(
    logic: Logic, known: frozenset[str], failed: str, other: str
) -> Callable[[dict[str, Any], int], str | None]:
    """Return the choice of a variant's name, which is mostly `known`; two others are none."""
    evaluate = logic.evaluate

    def choose(context: dict[str, Any], now_ms: int) -> str | None:
        value = evaluate(context, now_ms)
        if value is None or (value.__class__ is str and value in known):
            return value
        if value.__class__ is list or value.__class__ is dict:
            return other
        return _name(value) or (other if value.__class__ is str else failed)

    if not logic.may_fail:
        return choose

    def choose_or_fail(context: dict[str, Any], now_ms: int) -> str | None:
        try:
            return choose(context, now_ms)
        except LogicError:
            return failed

    return choose_or_fail


def _no_variant(name: str) -> str:
    shown = name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS] + "..."
    return f"the targeting names {shown!r}, which is no variant"
