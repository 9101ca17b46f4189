"""GrowthBook's conditions, objects in the manner of MongoDB's queries, as expressions and as tests.

    {"country": {"$in": ["NL", "DE"]}, "$not": {"plan": "free"}}

A condition over the context becomes an expression of the rule program, a probe for each attribute
and operator. One over something else, an item of a list or another flag's value, is a test: a
function of a value. Both are made of the same tests of a value (`values`).

A missing attribute is null. A condition without an operator is about equality as JavaScript has it;
`true` and `false` ask whether a value is taken for true, but for null; lists and objects are equal
where they are written equally, the order of members included.

What the SDK lets pass in silence and never matches, an unknown operator for one, is a warning here;
what it would take for something nobody meant, an error.

Rules:
- Tests never raise, for any JSON value, and recursion is bounded by the depth of the condition.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.growthbook.attributes import (
    attribute,
    context_getter,
    getter,
    reads,
)
from proxy.engine.dialects.growthbook.patterns import (
    InvalidPattern,
    UnsupportedPattern,
    compile_pattern,
)
from proxy.engine.dialects.growthbook.values import (
    Asked,
    Listed,
    Test,
    equal_folded,
    equal_number,
    equal_text,
    every,
    found_text,
    is_number,
    is_true,
    never,
    none,
    opposite,
    ordered,
    same,
    some,
    strict,
    version,
)
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf

__all__ = ["Conditions"]


class Conditions:
    """Takes the conditions of one flag; what is wrong with them, and how many, it keeps.

    `groups` are the saved groups, by their identifiers. They, and bandits, are options: what is
    wrong with their conditions is kept apart, in `of_options`, with pointers into the options.
    """

    def __init__(self, findings: Findings, of_options: Findings, groups: Mapping[str, Any]) -> None:
        self._of_definition = findings
        self._of_options = of_options
        self._in_option = False
        self._groups = groups
        self._nodes = 0
        self._values = 0
        self._patterns = 0
        self._reads: set[str] = set()
        self._members: dict[str, Listed] = {}
        self._within: list[str] = []
        """The saved groups whose conditions are being taken."""

    @property
    def _findings(self) -> Findings:
        """Where what is wrong with the condition that is being taken is kept."""
        return self._of_options if self._in_option else self._of_definition

    @contextmanager
    def _option(self) -> Iterator[None]:
        """Take what is in an option meanwhile."""
        before, self._in_option = self._in_option, True
        try:
            yield
        finally:
            self._in_option = before

    # Conditions over objects

    def expression(self, condition: Any, at: Path) -> p.Expression:
        """Return a condition over the context as an expression."""
        return self._object(condition, at, 0)

    def of(self, holder: Mapping[str, Any], at: Path) -> list[p.Expression]:
        """Return the condition that a rule has, if any, as expressions."""
        condition = holder.get("condition")
        return [] if condition is None else [self.expression(condition, (*at, "condition"))]

    def test(self, condition: Any, at: Path) -> Test:
        """Return a condition over an object as a test of it."""
        return self._object_test(condition, at, 0)

    def context_test(self, condition: Any, at: Path) -> tuple[Test, frozenset[str]]:
        """Return a condition over the context as a test of all of it, and what members it reads.

        It is one of an option, and so is where it is.
        """
        self._reads = set()
        with self._option():
            test = self._object_test(condition, at, 0, of_context=True)
        return test, frozenset(self._reads)

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
            return never
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
                    tests.append(opposite(test))
                case "$savedGroup":
                    tests.append(self._saved_test(wanted, here, depth, of_context=of_context))
                case _:
                    if self._is_path(name, here):
                        found = self._value_test(wanted, here, depth + 1)
                        if of_context:
                            self._reads |= reads(name)
                        tests.append(
                            _of(context_getter(name) if of_context else getter(name), found)
                        )
        return every(tests)

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
            with self._option():
                return self._object(found["condition"], self._place(), depth + 1)
        finally:
            self._within.pop()

    def _saved_test(self, reference: Any, at: Path, depth: int, *, of_context: bool) -> Test:
        """Return whether an object is in a saved group."""
        found = self._group(reference, at)
        match found:
            case None:
                return never
            case (name, members):
                if of_context:
                    self._reads |= reads(name)
                get = context_getter(name) if of_context else getter(name)
                return _of(get, members.asked(negated=False).test)
        try:
            with self._option():
                condition = found["condition"]
                return self._object_test(condition, self._place(), depth + 1, of_context=of_context)
        finally:
            self._within.pop()

    def _place(self) -> Path:
        """Return where the condition of the saved group is that is being taken."""
        return ("savedGroups", self._within[-1], "condition")

    def _group(self, reference: Any, at: Path) -> "tuple[str, Listed] | dict[str, Any] | None":
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

    def _members_of(self, key: str, values: list[Any], at: Path) -> "Listed":
        members = self._members.get(key)
        if members is None:
            members = self._members[key] = Listed(values, fold=False)
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
        return every(
            [
                self._operator(operator, expected, (*at, operator), depth + 1).test
                for operator, expected in wanted.items()
            ]
        )

    def _equal(self, wanted: Any, at: Path, depth: int) -> Asked:
        """Return whether a value is what is wanted, by GrowthBook's looser equality."""
        self._count(1, at)
        if wanted.__class__ is str:
            return equal_text(wanted)
        if is_number(wanted):
            return equal_number(wanted)
        if wanted is None:
            return Asked(lambda value: value is None, Leaf("{f} is None"))
        if wanted is True or wanted is False:
            return Asked(lambda value: value is not None and is_true(value) is wanted)
        if not self._is_shallow(wanted, at, depth):
            return Asked(never)
        return Asked(same(wanted))

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

    def _operator(self, operator: str, expected: Any, at: Path, depth: int) -> Asked:
        """Return one operator over a value."""
        if depth > limits.MAX_CONDITION_DEPTH:
            message = f"conditions nest at most {limits.MAX_CONDITION_DEPTH} deep"
            self._findings.add(at, ProblemCode.TOO_DEEP, message)
            return Asked(never)
        self._nodes += 1
        if self._nodes > limits.MAX_CONDITIONS:
            if self._nodes == limits.MAX_CONDITIONS + 1:
                self._too_many(at, limits.MAX_CONDITIONS, "conditions")
            return Asked(never)
        match operator:
            case "$eq" | "$ne":
                return strict(expected, negated=operator == "$ne")
            case "$lt" | "$lte" | "$gt" | "$gte":
                return ordered(operator, expected)
            case "$veq" | "$vne" | "$vlt" | "$vlte" | "$vgt" | "$vgte":
                return version(operator, expected)
            case "$exists":
                wanted = is_true(expected)
                leaf = Leaf("{f} is not None" if wanted else "{f} is None")
                return Asked(lambda value: (value is not None) is wanted, leaf)
            case "$in" | "$nin" | "$ini" | "$nini":
                return self._among(operator, expected, at)
            case "$inGroup" | "$notInGroup":
                return self._in_group(operator, expected, at)
            case "$all" | "$alli":
                return self._all(operator, expected, at, depth)
            case "$size":
                size = self._value_test(expected, at, depth)
                return Asked(lambda value: value.__class__ is list and size(len(value)))
            case "$elemMatch":
                return self._item(expected, at, depth)
            case "$not":
                return Asked(opposite(self._value_test(expected, at, depth)))
            case "$regex" | "$regexi":
                return self._pattern(expected, at, fold=operator == "$regexi")
            case "$type":
                return Asked(lambda value: _TYPES.get(value.__class__) == expected)
        message = f"no operator of GrowthBook is called {_short(operator)}"
        self._silent(at, ProblemCode.UNKNOWN_OPERATOR, message)
        return Asked(never)

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

    def _among(self, operator: str, expected: Any, at: Path) -> Asked:
        if not self._listed(operator, expected, at):
            return Asked(never)
        members = Listed(expected, fold=operator in ("$ini", "$nini"))
        return members.asked(negated=operator in ("$nin", "$nini"))

    def _in_group(self, operator: str, expected: Any, at: Path) -> Asked:
        negated = operator == "$notInGroup"
        if expected.__class__ is not str or expected not in self._groups:
            self._findings.add(
                at,
                ProblemCode.UNKNOWN_SEGMENT,
                f"there is no saved group {_short(expected)}",
                "it is taken for an empty one, as in GrowthBook's SDKs",
                Severity.WARNING,
            )
            return Listed([], fold=False).asked(negated=negated)
        values = self._groups[expected]
        if values.__class__ is dict and values.get("type") == "list":
            values = values.get("values")
        if values.__class__ is not list:
            self._silent(at, ProblemCode.UNKNOWN_SEGMENT, "the saved group is not a list")
            return Asked(never)
        return self._members_of(expected, values, at).asked(negated=negated)

    def _all(self, operator: str, expected: Any, at: Path, depth: int) -> Asked:
        if not self._listed(operator, expected, at):
            return Asked(never)
        fold = operator == "$alli"
        tests = [
            equal_folded(item)
            if fold and item.__class__ is str
            else self._value_test(item, (*at, i), depth)
            for i, item in enumerate(expected[: limits.MAX_CONDITIONS])
        ]

        def has_all(value: Any) -> bool:
            if value.__class__ is not list:
                return False
            return all(any(map(test, value)) for test in tests)

        return Asked(has_all)

    def _item(self, expected: Any, at: Path, depth: int) -> Asked:
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
            return Asked(has_one, Leaf("{f}.__class__ is list and {0} in {x}", (wanted,)))
        return Asked(has_one)

    def _pattern(self, expected: Any, at: Path, *, fold: bool) -> Asked:
        self._patterns += 1
        if self._patterns > limits.MAX_PATTERNS:
            if self._patterns == limits.MAX_PATTERNS + 1:
                self._too_many(at, limits.MAX_PATTERNS, "regular expressions")
            return Asked(never)
        if expected.__class__ is not str:
            self._silent(at, ProblemCode.OPERATOR_VALUES, "a pattern is a text")
            return Asked(never)
        try:
            found, simple = compile_pattern(expected, fold=fold)
        except UnsupportedPattern as error:
            hint = "write the condition without it; GrowthBook matches it, so it cannot be dropped"
            self._findings.add(at, ProblemCode.INVALID_PATTERN, str(error), hint)
            return Asked(never)
        except InvalidPattern as error:
            message = f"no pattern of JavaScript: {error}"
            self._silent(at, ProblemCode.INVALID_PATTERN, message)
            return Asked(never)

        return found_text(found, simple)


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


_JOINTS: dict[str, Callable[[list[Test]], Test]] = {"$and": every, "$or": some, "$nor": none}


def _of(get: Callable[[Any], Any], test: Test) -> Test:
    return lambda value: test(get(value))
