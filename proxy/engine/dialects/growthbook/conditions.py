"""GrowthBook's conditions, objects in the manner of MongoDB's queries, as expressions and as tests.

    {"country": {"$in": ["NL", "DE"]}, "$not": {"plan": "free"}}

A condition over the context becomes an expression of the rule program, a probe for each attribute
and operator. One over something else, an item of a list or another flag's value, is a test: a
function of a value. Both are made of the same tests of a value, which are JavaScript's:

- a missing attribute is null; a path has dots, never brackets, and goes into lists by number;
- a text equals what JavaScript would write of the attribute, a number what it would read of it,
  `true` and `false` ask whether it is taken for true, but for null; lists and objects are equal
  where they are written equally, the order of members included;
- `$eq` and `$ne` are strict, and `$lt` to `$gte` compare two texts by code units and all else as
  numbers; `$in` and its kin take any item of an attribute that is a list;
- versions are texts with their numbers padded, and compare as such.

What the SDK lets pass in silence and never matches, an unknown operator for one, is a warning here;
what it would take for something nobody meant, an error.

Rules:
- Tests never raise, for any JSON value, and recursion is bounded by the depth of the condition.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.growthbook.patterns import (
    InvalidPattern,
    UnsupportedPattern,
    compile_pattern,
)
from proxy.engine.dialects.javascript import (
    TooMuch,
    less,
    not_more,
    number,
    plain_number,
    strictly_equal,
    text,
)
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf

__all__ = ["Conditions", "Test", "attribute", "is_true", "reads", "text_of"]

Test = Callable[[Any], bool]
"""A question about one value, or about an object of which it takes its own."""


class _Asked(NamedTuple):
    """A test, and the template of a faster way to the same result, where there is one."""

    test: Test
    leaf: Leaf | None = None

    def as_leaf(self) -> Leaf:
        return self.leaf or Leaf("{0}({f})", (self.test,))


# Values


def is_true(value: Any) -> bool:
    """Return whether JavaScript takes a value for true: empty lists and objects it does."""
    if value:
        return value.__class__ is not float or value == value
    return value.__class__ is list or value.__class__ is dict


def text_of(value: Any) -> str:
    """Return a value as JavaScript writes it; of a list that is endless, nothing."""
    try:
        return text(value)
    except TooMuch:
        return ""


def _number_of(value: Any) -> int | float:
    try:
        return number(value)
    except TooMuch:
        return float("nan")


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


def _never(_value: Any) -> bool:
    return False


# Attributes


@lru_cache(maxsize=4_096)
def attribute(name: str) -> str | p.Operand:
    """Return what finds an attribute of the context by a path; `id` is `targetingKey` without one.

    Cached, so that one attribute is one operand, and is fetched once in an evaluation.
    """
    steps = name.split(".")
    if steps == ["id"]:
        return p.Operand(name, _unit_id, frozenset(("id", TARGETING_KEY)))
    if len(steps) == 1 and "[" not in name:
        return name
    reads = ("id", TARGETING_KEY) if steps[0] == "id" else (steps[0],)
    return p.Operand(name, _from_context(steps), frozenset(reads))


def reads(name: str) -> frozenset[str]:
    """Return the members of the context that an attribute is found in."""
    found = attribute(name)
    if isinstance(found, p.Operand):
        return found.reads or frozenset()
    return frozenset((name,))


def _unit_id(context: dict[str, Any]) -> Any:
    found = context.get("id")
    return context.get(TARGETING_KEY) if found is None else found


def _from_context(steps: list[str]) -> Callable[[dict[str, Any]], Any]:
    first, *rest = steps

    def fetch(context: dict[str, Any]) -> Any:
        value = _unit_id(context) if first == "id" else context.get(first)
        for step in rest:
            if value is None:
                return None
            value = _member(value, step)
        return value

    return fetch


def _member(value: Any, name: str) -> Any:
    """Return a member of an object, or of a list an item or its length; None of anything else."""
    if value.__class__ is dict:
        return value.get(name)
    if value.__class__ is list:
        if name == "length":
            return len(value)
        if name.isdecimal() and name.isascii() and (name == "0" or name[0] != "0"):
            place = int(name) if len(name) < _LONGEST_PLACE else len(value)
            return value[place] if place < len(value) else None
    return None


_LONGEST_PLACE = 10
"""Digits of the place of an item; no list is that long."""


def _getter(name: str) -> Callable[[Any], Any]:
    """Return what finds a path in any value."""
    steps = name.split(".")

    def get(value: Any) -> Any:
        for step in steps:
            if value is None:
                return None
            value = _member(value, step)
        return value

    return get


class Conditions:
    """Takes the conditions of one flag; what is wrong with them, and how many, it keeps.

    `groups` are the saved groups, by their identifiers.
    """

    def __init__(self, findings: Findings, groups: Mapping[str, Any]) -> None:
        self._findings = findings
        self._groups = groups
        self._nodes = 0
        self._values = 0
        self._patterns = 0
        self._reads: set[str] = set()
        self._members: dict[str, _Members] = {}
        self._within: list[str] = []
        """The saved groups whose conditions are being taken."""

    # Conditions over objects

    def expression(self, condition: Any, at: Path) -> p.Expression:
        """Return a condition over the context as an expression."""
        return self._object(condition, at, 0)

    def test(self, condition: Any, at: Path) -> Test:
        """Return a condition over an object as a test of it."""
        return self._object_test(condition, at, 0)

    def context_test(self, condition: Any, at: Path) -> tuple[Test, frozenset[str]]:
        """Return a condition over the context as a test of all of it, and what members it reads."""
        self._reads = set()
        return self._object_test(condition, at, 0, of_context=True), frozenset(self._reads)

    def _object(self, condition: Any, at: Path, depth: int) -> p.Expression:
        if not self._enter(condition, at, depth):
            return p.FALSE
        items: list[p.Expression] = []
        for name, wanted in condition.items():
            here = (*at, name)
            match name:
                case "$and":
                    items += self._each(wanted, here, depth)
                case "$or":
                    items.append(self._one_of(wanted, here, depth))
                case "$nor":
                    items.append(p.negation(self._one_of(wanted, here, depth)))
                case "$not":
                    items.append(p.negation(self._object(wanted, here, depth + 1)))
                case "$savedGroup":
                    items.append(self._saved(wanted, here, depth))
                case _:
                    if self._is_path(name, here):
                        items.append(self._value(attribute(name), name, wanted, here, depth + 1))
        return p.all_of(items)

    def _object_test(
        self, condition: Any, at: Path, depth: int, *, of_context: bool = False
    ) -> Test:
        if not self._enter(condition, at, depth):
            return _never
        tests: list[Test] = []
        for name, wanted in condition.items():
            here = (*at, name)
            match name:
                case "$and" | "$or" | "$nor":
                    if not self._is_list(wanted, here):
                        continue
                    inner = [
                        self._object_test(item, (*here, i), depth + 1, of_context=of_context)
                        for i, item in enumerate(wanted)
                    ]
                    tests.append(_JOINTS[name](inner))
                case "$not":
                    test = self._object_test(wanted, here, depth + 1, of_context=of_context)
                    tests.append(_negated(test))
                case "$savedGroup":
                    tests.append(self._saved_test(wanted, here, depth, of_context=of_context))
                case _:
                    if self._is_path(name, here):
                        found = self._value_test(wanted, here, depth + 1)
                        if of_context:
                            self._reads |= reads(name)
                        tests.append(
                            _of(_context_getter(name) if of_context else _getter(name), found)
                        )
        return _every(tests)

    # Saved groups, by reference

    def _saved(self, reference: Any, at: Path, depth: int) -> p.Expression:
        """Return whether the context is in a saved group."""
        found = self._group(reference, at)
        match found:
            case None:
                return p.FALSE
            case (name, members):
                leaf = members.asked(negated=False).as_leaf()
                return p.Probe(attribute(name), leaf, source={"$savedGroup": reference})
        try:
            return self._object(found["condition"], at, depth + 1)
        finally:
            self._within.pop()

    def _saved_test(self, reference: Any, at: Path, depth: int, *, of_context: bool) -> Test:
        """Return whether an object is in a saved group."""
        found = self._group(reference, at)
        match found:
            case None:
                return _never
            case (name, members):
                if of_context:
                    self._reads |= reads(name)
                get = _context_getter(name) if of_context else _getter(name)
                return _of(get, members.asked(negated=False).test)
        try:
            return self._object_test(found["condition"], at, depth + 1, of_context=of_context)
        finally:
            self._within.pop()

    def _group(self, reference: Any, at: Path) -> "tuple[str, _Members] | dict[str, Any] | None":
        """Return attribute and values of a group, or a group of a condition, or that there is none.

        A condition's is entered in `_within`, which the caller leaves.
        """
        key = reference.get("id") if reference.__class__ is dict else None
        group: Any = self._groups.get(key) if key.__class__ is str else None
        match group:
            case {"type": "list", "values": list() as values}:
                name = reference.get("attributeKey", group.get("attributeKey"))
                if name.__class__ is str and self._is_path(name, at):
                    return name, self._members_of(str(key), values, at)
            case {"type": "condition", "condition": dict()} if key not in self._within:
                self._within.append(str(key))
                return dict(group)
        self._silent(at, ProblemCode.UNKNOWN_SEGMENT, "there is no such saved group")
        return None

    def _members_of(self, key: str, values: list[Any], at: Path) -> "_Members":
        members = self._members.get(key)
        if members is None:
            members = self._members[key] = _Members(values, fold=False)
            self._count(len(values), at)
        return members

    def _one_of(self, conditions: Any, at: Path, depth: int) -> p.Expression:
        """Return whether one holds; of none one does, as the SDKs have it."""
        return p.TRUE if conditions == [] else p.any_of(self._each(conditions, at, depth))

    def _each(self, conditions: Any, at: Path, depth: int) -> list[p.Expression]:
        if not self._is_list(conditions, at):
            return []
        return [self._object(c, (*at, i), depth + 1) for i, c in enumerate(conditions)]

    def _enter(self, condition: Any, at: Path, depth: int) -> bool:
        """Return whether a condition is one, and not too deep, nor one too many."""
        self._nodes += 1
        if condition.__class__ is not dict:
            self._findings.add(at, ProblemCode.WRONG_TYPE, "a condition is an object")
        elif depth >= limits.MAX_CONDITION_DEPTH:
            message = f"conditions nest at most {limits.MAX_CONDITION_DEPTH} deep"
            self._findings.add(at, ProblemCode.TOO_DEEP, message)
        elif self._nodes > limits.MAX_CONDITIONS:
            self._too_many(at, limits.MAX_CONDITIONS, "conditions")
        else:
            return True
        return False

    def _too_many(self, at: Path, most: int, what: str) -> None:
        message = f"a flag has at most {most:,} {what}"
        self._findings.add(at, ProblemCode.TOO_MANY, message)

    def _is_list(self, value: Any, at: Path) -> bool:
        if value.__class__ is list:
            return True
        self._findings.add(at, ProblemCode.WRONG_TYPE, "a list of conditions is wanted")
        return False

    def _is_path(self, name: str, at: Path) -> bool:
        if len(name) <= limits.MAX_PATH_CHARS:
            return True
        message = f"the name of an attribute has at most {limits.MAX_PATH_CHARS} characters"
        self._findings.add(at[:-1], ProblemCode.TOO_MANY, message)
        return False

    # Conditions over one value

    def _value(
        self, where: str | p.Operand, name: str, wanted: Any, at: Path, depth: int
    ) -> p.Expression:
        """Return a condition over an attribute as an expression."""
        if not _is_operators(wanted):
            return p.Probe(where, self._equal(wanted, at, depth).as_leaf(), source={name: wanted})
        items = []
        for operator, expected in wanted.items():
            here = (*at, operator)
            if operator == "$not" and depth < limits.MAX_CONDITION_DEPTH:
                inner = self._value(where, name, expected, here, depth + 1)
                items.append(p.negation(inner))
                continue
            leaf = self._operator(operator, expected, here, depth + 1).as_leaf()
            items.append(p.Probe(where, leaf, source={name: {operator: expected}}))
        return p.all_of(items)

    def _value_test(self, wanted: Any, at: Path, depth: int) -> Test:
        if not _is_operators(wanted):
            return self._equal(wanted, at, depth).test
        return _every(
            [
                self._operator(operator, expected, (*at, operator), depth + 1).test
                for operator, expected in wanted.items()
            ]
        )

    def _equal(self, wanted: Any, at: Path, depth: int) -> _Asked:
        """Return whether a value is what is wanted, by GrowthBook's looser equality."""
        self._count(1, at)
        if wanted.__class__ is str:
            return _equal_text(wanted)
        if _is_number(wanted):
            return _equal_number(wanted)
        if wanted is None:
            return _Asked(lambda value: value is None, Leaf("{f} is None"))
        if wanted is True or wanted is False:
            return _Asked(lambda value: value is not None and is_true(value) is wanted)
        if not self._is_shallow(wanted, at, depth):
            return _Asked(_never)
        return _Asked(_same(wanted))

    def _is_shallow(self, value: Any, at: Path, depth: int) -> bool:
        """Return whether a value to compare with is neither too deep nor too large."""
        layer, here = [value], depth
        while layer:
            self._count(len(layer), at)
            below: list[Any] = []
            for item in layer:
                if item.__class__ is dict:
                    below += item.values()
                elif item.__class__ is list:
                    below += item
            layer, here = below, here + 1
            if here > limits.MAX_CONDITION_DEPTH + 1:
                message = f"conditions nest at most {limits.MAX_CONDITION_DEPTH} deep"
                self._findings.add(at, ProblemCode.TOO_DEEP, message)
                return False
        return True

    def _count(self, values: int, at: Path) -> None:
        before = self._values
        self._values += values
        if before <= limits.MAX_VALUES_IN_ALL < self._values:
            self._too_many(at, limits.MAX_VALUES_IN_ALL, "values in its conditions")

    # Operators

    def _operator(self, operator: str, expected: Any, at: Path, depth: int) -> _Asked:
        """Return one operator over a value."""
        if depth > limits.MAX_CONDITION_DEPTH:
            message = f"conditions nest at most {limits.MAX_CONDITION_DEPTH} deep"
            self._findings.add(at, ProblemCode.TOO_DEEP, message)
            return _Asked(_never)
        self._nodes += 1
        if self._nodes > limits.MAX_CONDITIONS:
            if self._nodes == limits.MAX_CONDITIONS + 1:
                self._too_many(at, limits.MAX_CONDITIONS, "conditions")
            return _Asked(_never)
        match operator:
            case "$eq" | "$ne":
                return _strict(expected, negated=operator == "$ne")
            case "$lt" | "$lte" | "$gt" | "$gte":
                return _ordered(operator, expected)
            case "$veq" | "$vne" | "$vlt" | "$vlte" | "$vgt" | "$vgte":
                return _version(operator, expected)
            case "$exists":
                wanted = is_true(expected)
                leaf = Leaf("{f} is not None" if wanted else "{f} is None")
                return _Asked(lambda value: (value is not None) is wanted, leaf)
            case "$in" | "$nin" | "$ini" | "$nini":
                return self._among(operator, expected, at)
            case "$inGroup" | "$notInGroup":
                return self._in_group(operator, expected, at)
            case "$all" | "$alli":
                return self._all(operator, expected, at, depth)
            case "$size":
                size = self._value_test(expected, at, depth)
                return _Asked(lambda value: value.__class__ is list and size(len(value)))
            case "$elemMatch":
                return self._item(expected, at, depth)
            case "$not":
                return _Asked(_negated(self._value_test(expected, at, depth)))
            case "$regex" | "$regexi":
                return self._pattern(expected, at, fold=operator == "$regexi")
            case "$type":
                return _Asked(lambda value: _TYPES.get(value.__class__) == expected)
        message = f"no operator of GrowthBook is called {_short(operator)}"
        self._silent(at, ProblemCode.UNKNOWN_OPERATOR, message)
        return _Asked(_never)

    def _listed(self, operator: str, expected: Any, at: Path) -> bool:
        """Return whether an operator that takes a list has one; the SDK's never match else."""
        if expected.__class__ is list:
            self._count(len(expected), at)
            return True
        self._silent(at, ProblemCode.OPERATOR_VALUES, f"{operator} takes a list")
        return False

    def _silent(self, at: Path, code: ProblemCode, message: str) -> None:
        """Add what the SDKs say nothing of, and never match."""
        hint = "it never matches, as in GrowthBook's SDKs"
        self._findings.add(at, code, message, hint, Severity.WARNING)

    def _among(self, operator: str, expected: Any, at: Path) -> _Asked:
        if not self._listed(operator, expected, at):
            return _Asked(_never)
        members = _Members(expected, fold=operator in ("$ini", "$nini"))
        return members.asked(negated=operator in ("$nin", "$nini"))

    def _in_group(self, operator: str, expected: Any, at: Path) -> _Asked:
        negated = operator == "$notInGroup"
        if expected.__class__ is not str or expected not in self._groups:
            self._findings.add(
                at,
                ProblemCode.UNKNOWN_SEGMENT,
                f"there is no saved group {_short(expected)}",
                "it is taken for an empty one, as in GrowthBook's SDKs",
                Severity.WARNING,
            )
            return _Members([], fold=False).asked(negated=negated)
        values = self._groups[expected]
        if values.__class__ is dict and values.get("type") == "list":
            values = values.get("values")
        if values.__class__ is not list:
            self._silent(at, ProblemCode.UNKNOWN_SEGMENT, "the saved group is not a list")
            return _Asked(_never)
        return self._members_of(expected, values, at).asked(negated=negated)

    def _all(self, operator: str, expected: Any, at: Path, depth: int) -> _Asked:
        if not self._listed(operator, expected, at):
            return _Asked(_never)
        fold = operator == "$alli"
        tests = [
            _equal_folded(item)
            if fold and item.__class__ is str
            else self._value_test(item, (*at, i), depth)
            for i, item in enumerate(expected[: limits.MAX_CONDITIONS])
        ]

        def has_all(value: Any) -> bool:
            if value.__class__ is not list:
                return False
            return all(any(map(test, value)) for test in tests)

        return _Asked(has_all)

    def _item(self, expected: Any, at: Path, depth: int) -> _Asked:
        wanted = None
        if _is_operators(expected):
            test = self._value_test(expected, at, depth)
            wanted = expected.get("$eq") if len(expected) == 1 else None
        else:
            test = self._object_test(expected, at, depth)

        def has_one(value: Any) -> bool:
            if value.__class__ is list:
                for item in value:  # a loop, which takes half the time of `any`
                    if item is not None and test(item):
                        return True
            return False

        if wanted.__class__ is str:
            return _Asked(has_one, Leaf("{f}.__class__ is list and {0} in {x}", (wanted,)))
        return _Asked(has_one)

    def _pattern(self, expected: Any, at: Path, *, fold: bool) -> _Asked:
        self._patterns += 1
        if self._patterns > limits.MAX_PATTERNS:
            if self._patterns == limits.MAX_PATTERNS + 1:
                self._too_many(at, limits.MAX_PATTERNS, "regular expressions")
            return _Asked(_never)
        if expected.__class__ is not str:
            self._silent(at, ProblemCode.OPERATOR_VALUES, "a pattern is a text")
            return _Asked(_never)
        try:
            found, simple = compile_pattern(expected, fold=fold)
        except UnsupportedPattern as error:
            hint = "write the condition without it; GrowthBook matches it, so it cannot be dropped"
            self._findings.add(at, ProblemCode.INVALID_PATTERN, str(error), hint)
            return _Asked(_never)
        except InvalidPattern as error:
            message = f"no pattern of JavaScript: {error}"
            self._silent(at, ProblemCode.INVALID_PATTERN, message)
            return _Asked(_never)

        def is_found(value: Any) -> bool:
            return found(value if value.__class__ is str else text_of(value))

        if simple is None:
            return _Asked(is_found)
        template = _PLAIN_TEMPLATES[simple.kind]
        return _Asked(
            is_found, Leaf(f"({template} if {_STR} else {{1}}({{x}}))", (simple.text, is_found))
        )


_PLAIN_TEMPLATES = {
    "is": "{x} == {0}",
    "starts": "{x}.startswith({0})",
    "ends": "{x}.endswith({0})",
    "has": "{0} in {x}",
}

_STR = "{f}.__class__ is str"
_NUM = "({f}.__class__ is int or {x}.__class__ is float)"

_TYPES = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}


def _short(value: Any) -> str:
    written = repr(value) if value.__class__ is str else "of this kind"
    return written if len(written) <= 60 else written[:57] + "..."


def _is_operators(wanted: Any) -> bool:
    """Return whether an object is one of operators only: all its members begin with `$`."""
    return wanted.__class__ is dict and bool(wanted) and all(n.startswith("$") for n in wanted)


# Tests joined


def _every(tests: list[Test]) -> Test:
    match tests:
        case []:
            return lambda _value: True
        case [test]:
            return test
    return lambda value: all(test(value) for test in tests)


def _some(tests: list[Test]) -> Test:
    if not tests:
        return lambda _value: True
    return lambda value: any(test(value) for test in tests)


def _none(tests: list[Test]) -> Test:
    return _negated(_some(tests))


_JOINTS: dict[str, Callable[[list[Test]], Test]] = {"$and": _every, "$or": _some, "$nor": _none}


def _negated(test: Test) -> Test:
    return lambda value: not test(value)


def _of(get: Callable[[Any], Any], test: Test) -> Test:
    return lambda value: test(get(value))


def _context_getter(name: str) -> Callable[[Any], Any]:
    found = attribute(name)
    return found.fetch if isinstance(found, p.Operand) else lambda context: context.get(name)


# Equality


def _equal_text(wanted: str) -> _Asked:
    def is_equal(value: Any) -> bool:
        return value == wanted if value.__class__ is str else text_of(value) == wanted

    # nothing is written "null", so a missing attribute need not be written
    missing = "" if wanted == "null" else "{x} is not None and "
    template = f"({{x}} == {{0}} if {_STR} else {missing}{{1}}({{x}}))"
    return _Asked(is_equal, Leaf(template, (wanted, is_equal)))


def _equal_folded(wanted: str) -> Test:
    folded = wanted.lower()
    return lambda value: text_of(value).lower() == folded


def _equal_number(wanted: int | float) -> _Asked:
    exact = plain_number(wanted)

    def is_equal(value: Any) -> bool:
        return _number_of(value) == exact

    if not _is_small(exact):
        return _Asked(is_equal)
    return _Asked(
        is_equal, Leaf(f"({{x}} == {{0}} if {_NUM} else {{1}}({{x}}))", (exact, is_equal))
    )


def _is_small(value: int | float) -> bool:
    """Return whether no integer that is not exact as a double compares with it differently."""
    return -(2**53) < value < 2**53


def _strict(expected: Any, *, negated: bool) -> _Asked:
    test: Test
    leaf: Leaf | None = None
    if expected.__class__ in (list, dict):
        return _Asked((lambda _value: True) if negated else _never)

    def is_equal(value: Any) -> bool:
        return strictly_equal(value, expected)

    test = is_equal
    if expected.__class__ is str:
        leaf = Leaf("{f} == {0}", (expected,))
    elif _is_number(expected) and _is_small(plain_number(expected)):
        leaf = Leaf(f"({_NUM} and {{x}} == {{0}})", (plain_number(expected),))
    elif expected is None or expected is True or expected is False:
        leaf = Leaf("{f} is {0}", (expected,))
    if not negated:
        return _Asked(test, leaf)
    return _Asked(
        _negated(test), None if leaf is None else Leaf(f"not ({leaf.template})", leaf.literals)
    )


def _same(wanted: Any) -> Test:
    """Return whether a value is written as another: the same members in the same order."""
    if wanted.__class__ is list:
        items = [_same(item) for item in wanted]
        count = len(items)

        def is_list(value: Any) -> bool:
            if value.__class__ is not list or len(value) != count:
                return False
            return all(map(_answer, items, value))

        return is_list
    if wanted.__class__ is dict:
        names = _in_order(wanted)
        members = [_same(wanted[name]) for name in names]

        def is_object(value: Any) -> bool:
            if value.__class__ is not dict or len(value) != len(names):
                return False
            if _in_order(value) != names:
                return False
            return all(map(_answer, members, [value[name] for name in names]))

        return is_object
    return lambda value: strictly_equal(value, wanted)


def _answer(test: Test, value: Any) -> bool:
    return test(value)


def _in_order(value: dict[str, Any]) -> list[str]:
    """Return the members of an object in JavaScript's order: those that are numbers first."""
    names = list(value)
    numbers = [name for name in names if _is_index(name)]
    if not numbers:
        return names
    return sorted(numbers, key=int) + [name for name in names if not _is_index(name)]


def _is_index(name: str) -> bool:
    if not (name.isascii() and name.isdecimal()) or len(name) > _LONGEST_PLACE:
        return False
    return (name == "0" or name[0] != "0") and int(name) < 2**32 - 1


# Order


def _ordered(operator: str, expected: Any) -> _Asked:
    if _is_number(expected):
        expected = plain_number(expected)

    def is_less(value: Any) -> bool:
        return less(value, expected)

    def is_not_more(value: Any) -> bool:
        return not_more(value, expected)

    def is_more(value: Any) -> bool:
        return less(expected, value)

    def is_not_less(value: Any) -> bool:
        return not_more(expected, value)

    tests = {"$lt": is_less, "$lte": is_not_more, "$gt": is_more, "$gte": is_not_less}
    test = _safely(tests[operator])
    sign = _SIGNS[operator]
    if _is_number(expected) and _is_small(expected):
        template = f"({{x}} {sign} {{0}} if {_NUM} else {{1}}({{x}}))"
        return _Asked(test, Leaf(template, (expected, test)))
    if expected.__class__ is str and all(char < "\ud800" for char in expected):
        # below the halves of characters, code units and characters have one order
        template = f"({{x}} {sign} {{0}} if {_STR} else {{1}}({{x}}))"
        return _Asked(test, Leaf(template, (expected, test)))
    return _Asked(test)


_SIGNS = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}


def _safely(test: Test) -> Test:
    """Return a test that does not hold where the text of a list would be endless."""

    def ask(value: Any) -> bool:
        try:
            return test(value)
        except TooMuch:
            return False

    return ask


# Versions


def _version(operator: str, expected: Any) -> _Asked:
    wanted = _padded(expected)

    def is_equal(value: Any) -> bool:
        return _padded(value) == wanted

    def is_other(value: Any) -> bool:
        return _padded(value) != wanted

    def is_less(value: Any) -> bool:
        return less(_padded(value), wanted)

    def is_not_more(value: Any) -> bool:
        return not less(wanted, _padded(value))

    def is_more(value: Any) -> bool:
        return less(wanted, _padded(value))

    def is_not_less(value: Any) -> bool:
        return not less(_padded(value), wanted)

    tests = {"$veq": is_equal, "$vne": is_other, "$vlt": is_less, "$vlte": is_not_more}
    tests |= {"$vgt": is_more, "$vgte": is_not_less}
    return _Asked(tests[operator])


_PARTS_OF_RELEASE = 3
_WIDTH = 5
_AFTER_ALL = "~"
"""Follows every letter, so that a release comes after what led to it."""


def _padded(value: Any) -> str:
    """Return a version as the text that GrowthBook compares: parts, their numbers padded."""
    if value.__class__ is not str:
        value = text_of(value) if _is_number(value) else "0"
    written = value or "0"
    if written[0] == "v":
        written = written[1:]
    if "+" in written:
        # to the end of the text, which a line end is not allowed to come before
        last_line = max(written.rfind(end) for end in "\n\r\u2028\u2029") + 1
        build = written.find("+", last_line)
        if build >= 0:
            written = written[:build]
    parts = written.replace("-", ".").split(".")
    if len(parts) == _PARTS_OF_RELEASE:
        parts.append(_AFTER_ALL)
    return "-".join(
        [part.rjust(_WIDTH) if part.isdecimal() and part.isascii() else part for part in parts]
    )


# Lists


class _Members:
    """The values of a list, as what `===` finds among them."""

    def __init__(self, values: list[Any], *, fold: bool) -> None:
        texts = [value for value in values if value.__class__ is str]
        self._texts = frozenset(map(str.lower, texts) if fold else texts)
        self._numbers = frozenset(plain_number(value) for value in values if _is_number(value))
        self._others = [
            value for value in (None, True, False) if any(item is value for item in values)
        ]
        self._fold = fold

    def _has(self, value: Any) -> bool:
        if value.__class__ is str:
            return (value.lower() if self._fold else value) in self._texts
        if _is_number(value):
            return plain_number(value) in self._numbers
        return any(value is other for other in self._others)

    def _holds(self, value: Any) -> bool:
        if value.__class__ is list:
            return any(map(self._has, value))
        return self._has(value)

    def asked(self, *, negated: bool) -> _Asked:
        """Return whether a value, or an item of a list, is one of them."""
        test = _negated(self._holds) if negated else self._holds
        found = "{x}.lower() in {0}" if self._fold else "{x} in {0}"
        template = f"({found} if {_STR} else {{1}}({{x}}))"
        if negated:
            template = f"not {template}"
        return _Asked(test, Leaf(template, (self._texts, self._holds)))
