"""JavaScript's tests of one value, as GrowthBook's conditions make them.

- a text equals what JavaScript would write of the value, a number what it would read of it;
- `$eq` and `$ne` are strict, and `$lt` to `$gte` compare two texts by code units and all else as
  numbers; `$in` and its kin take any item of a value that is a list;
- versions are texts with their numbers padded, and compare as such.

Rules:
- Tests never raise, for any JSON value.
- A test may have a template of a leaf, which comes to the same without a call for ordinary values.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from proxy.engine.dialects.growthbook.attributes import is_index
from proxy.engine.dialects.javascript import (
    TooMuch,
    less,
    not_more,
    number,
    plain_number,
    strictly_equal,
    text,
)
from proxy.engine.operators import Leaf
from proxy.engine.operators.patterns import Plain

__all__ = [
    "Asked",
    "Listed",
    "Test",
    "equal_folded",
    "equal_number",
    "equal_text",
    "every",
    "found_text",
    "is_number",
    "is_true",
    "never",
    "none",
    "opposite",
    "ordered",
    "same",
    "some",
    "strict",
    "text_of",
    "version",
]

Test = Callable[[Any], bool]
"""A question about one value, or about an object of which it takes its own."""


class Asked(NamedTuple):
    """A test, and the template of a faster way to the same result, where there is one."""

    test: Test
    leaf: Leaf | None = None

    def as_leaf(self) -> Leaf:
        return self.leaf or Leaf("{0}({f})", (self.test,))


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


def is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


def never(_value: Any) -> bool:
    return False


IS_TEXT = "{f}.__class__ is str"


_NUM = "({f}.__class__ is int or {x}.__class__ is float)"


def every(tests: list[Test]) -> Test:
    match tests:
        case []:
            return lambda _value: True
        case [test]:
            return test
    return lambda value: all(test(value) for test in tests)


def some(tests: list[Test]) -> Test:
    if not tests:
        return lambda _value: True
    return lambda value: any(test(value) for test in tests)


def none(tests: list[Test]) -> Test:
    return opposite(some(tests))


def opposite(test: Test) -> Test:
    return lambda value: not test(value)


def equal_text(wanted: str) -> Asked:
    def is_equal(value: Any) -> bool:
        return value == wanted if value.__class__ is str else text_of(value) == wanted

    # nothing is written "null", so a missing attribute need not be written
    missing = "" if wanted == "null" else "{x} is not None and "
    template = f"({{x}} == {{0}} if {IS_TEXT} else {missing}{{1}}({{x}}))"
    return Asked(is_equal, Leaf(template, (wanted, is_equal)))


def equal_folded(wanted: str) -> Test:
    folded = wanted.lower()
    return lambda value: text_of(value).lower() == folded


def equal_number(wanted: int | float) -> Asked:
    exact = plain_number(wanted)

    def is_equal(value: Any) -> bool:
        return _number_of(value) == exact

    if not _is_small(exact):
        return Asked(is_equal)
    return Asked(is_equal, Leaf(f"({{x}} == {{0}} if {_NUM} else {{1}}({{x}}))", (exact, is_equal)))


def _is_small(value: int | float) -> bool:
    """Return whether no integer that is not exact as a double compares with it differently."""
    return -(2**53) < value < 2**53


def strict(expected: Any, *, negated: bool) -> Asked:
    test: Test
    leaf: Leaf | None = None
    if expected.__class__ in (list, dict):
        return Asked((lambda _value: True) if negated else never)

    def is_equal(value: Any) -> bool:
        return strictly_equal(value, expected)

    test = is_equal
    if expected.__class__ is str:
        leaf = Leaf("{f} == {0}", (expected,))
    elif is_number(expected) and _is_small(plain_number(expected)):
        leaf = Leaf(f"({_NUM} and {{x}} == {{0}})", (plain_number(expected),))
    elif expected is None or expected is True or expected is False:
        leaf = Leaf("{f} is {0}", (expected,))
    if not negated:
        return Asked(test, leaf)
    return Asked(
        opposite(test), None if leaf is None else Leaf(f"not ({leaf.template})", leaf.literals)
    )


def same(wanted: Any) -> Test:
    """Return whether a value is written as another: the same members in the same order."""
    if wanted.__class__ is list:
        items = [same(item) for item in wanted]
        count = len(items)

        def is_list(value: Any) -> bool:
            if value.__class__ is not list or len(value) != count:
                return False
            return all(map(_answer, items, value))

        return is_list
    if wanted.__class__ is dict:
        names = _in_order(wanted)
        members = [same(wanted[name]) for name in names]

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
    numbers = [name for name in names if is_index(name)]
    if not numbers:
        return names
    return sorted(numbers, key=int) + [name for name in names if not is_index(name)]


def ordered(operator: str, expected: Any) -> Asked:
    if is_number(expected):
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
    if is_number(expected) and _is_small(expected):
        template = f"({{x}} {sign} {{0}} if {_NUM} else {{1}}({{x}}))"
        return Asked(test, Leaf(template, (expected, test)))
    if expected.__class__ is str and all(char < "\ud800" for char in expected):
        # below the halves of characters, code units and characters have one order
        template = f"({{x}} {sign} {{0}} if {IS_TEXT} else {{1}}({{x}}))"
        return Asked(test, Leaf(template, (expected, test)))
    return Asked(test)


_SIGNS = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}


def _safely(test: Test) -> Test:
    """Return a test that does not hold where the text of a list would be endless."""

    def ask(value: Any) -> bool:
        try:
            return test(value)
        except TooMuch:
            return False

    return ask


def version(operator: str, expected: Any) -> Asked:
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
    return Asked(tests[operator])


_PARTS_OF_RELEASE = 3


_WIDTH = 5


_AFTER_ALL = "~"
"""Follows every letter, so that a release comes after what led to it."""


def _padded(value: Any) -> str:
    """Return a version as the text that GrowthBook compares: parts, their numbers padded."""
    if value.__class__ is not str:
        value = text_of(value) if is_number(value) else "0"
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


class Listed:
    """The values of a list, as what `===` finds among them."""

    def __init__(self, values: list[Any], *, fold: bool) -> None:
        texts = [value for value in values if value.__class__ is str]
        self._texts = frozenset(map(str.lower, texts) if fold else texts)
        self._numbers = frozenset(plain_number(value) for value in values if is_number(value))
        self._others = [
            value for value in (None, True, False) if any(item is value for item in values)
        ]
        self._fold = fold

    def _has(self, value: Any) -> bool:
        if value.__class__ is str:
            return (value.lower() if self._fold else value) in self._texts
        if is_number(value):
            return plain_number(value) in self._numbers
        return any(value is other for other in self._others)

    def _holds(self, value: Any) -> bool:
        if value.__class__ is list:
            return any(map(self._has, value))
        return self._has(value)

    def asked(self, *, negated: bool) -> Asked:
        """Return whether a value, or an item of a list, is one of them."""
        test = opposite(self._holds) if negated else self._holds
        found = "{x}.lower() in {0}" if self._fold else "{x} in {0}"
        template = f"({found} if {IS_TEXT} else {{1}}({{x}}))"
        if negated:
            template = f"not {template}"
        return Asked(test, Leaf(template, (self._texts, self._holds)))


# Patterns


_PLAIN_TEMPLATES = {
    "is": "{x} == {0}",
    "starts": "{x}.startswith({0})",
    "ends": "{x}.endswith({0})",
    "has": "{0} in {x}",
}


def found_text(found: Test, plain: Plain | None) -> Asked:
    """Return whether a pattern is found in what JavaScript writes of a value."""

    def is_found(value: Any) -> bool:
        return found(value if value.__class__ is str else text_of(value))

    if plain is None:
        return Asked(is_found)
    template = f"({_PLAIN_TEMPLATES[plain.kind]} if {IS_TEXT} else {{1}}({{x}}))"
    return Asked(is_found, Leaf(template, (plain.text, is_found)))
