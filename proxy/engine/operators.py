"""The operators of a leaf: what each takes, and what it compiles to. The one place to add one.

An operator is an entry of `OPERATORS`: how its `values` are checked, and a function from them to
a `Leaf`. A leaf is an expression over the attribute's value: `{f}` where the value is first used,
`{x}` where it is used again, `{0}`, `{1}` ... for its literals, which generated code is given as
arguments. Templates are constants of this module; nothing of a definition is ever in one.

Rules for a template:
- `{f}` stands exactly once, and is what Python evaluates first.
- A missing value arrives as None, and the leaf must be false for it, and for every type that the
  operator is not for. Negation comes after: `not_in`, `negate` and `not` agree.
- It may not raise for any JSON value. Lists and objects are unhashable, so `in` a set asks for the
  class first. Classes are compared exactly; contexts come from a JSON decoder.
- Booleans equal only booleans, although Python has `True == 1`; also within sets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["OPERATORS", "Leaf", "Operator", "Values"]


class Leaf(NamedTuple):
    """An expression over a value, and the literals it is given."""

    template: str
    literals: tuple[Any, ...] = ()


class Values(NamedTuple):
    """What an operator takes as `values`: of which classes, how many, and how to say so."""

    classes: frozenset[type]
    least: int
    most: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator. `compile(values, fold)` is called with values that were found to fit."""

    values: Values
    compile: Callable[[Sequence[Any], bool], Leaf]
    negated: bool = False
    """Whether it is the opposite of what `compile` makes."""
    folds: bool = False
    """Whether `fold`, comparing with `str.casefold`, means something."""


_SCALARS = Values(
    frozenset((str, int, float, bool)), 1, None, "one or more strings, numbers or booleans"
)
_TEXTS = Values(frozenset((str,)), 1, None, "one or more strings")
_NUMBER = Values(frozenset((int, float)), 1, 1, "exactly one number")
_SIZE = Values(frozenset((int,)), 1, 1, "exactly one integer")
_NONE = Values(frozenset(), 0, 0, "no values")


def _member(values: Sequence[Any], fold: bool) -> Callable[[Any], bool]:
    """Return a test whether any JSON value is one of the values."""
    texts = frozenset(_folded(v) if fold else v for v in values if isinstance(v, str))
    booleans = frozenset(v for v in values if isinstance(v, bool))
    numbers = frozenset(
        v for v in values if isinstance(v, (int, float)) and v.__class__ is not bool
    )

    def member(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            return (value.casefold() if fold else value) in texts
        if kind is bool:
            return value in booleans
        return (kind is int or kind is float) and value in numbers

    return member


def _folded(text: str) -> str:
    return text.casefold()


def _equality(values: Sequence[Any], fold: bool) -> Leaf:
    kinds = {v.__class__ for v in values}
    if kinds == {str}:
        texts = frozenset(_folded(v) if fold else v for v in values)
        if len(texts) == 1:
            only = next(iter(texts))
            if fold:
                return Leaf("{f}.__class__ is str and {x}.casefold() == {0}", (only,))
            return Leaf("{f} == {0}", (only,))
        if fold:
            return Leaf("{f}.__class__ is str and {x}.casefold() in {0}", (texts,))
        return Leaf("{f}.__class__ is str and {x} in {0}", (texts,))
    if kinds == {bool} and len(set(values)) == 1:
        return Leaf("{f} is {0}", (values[0],))
    if len(values) == 1:
        # only 0 and 1 can be mistaken for a boolean
        guard = " and {x}.__class__ is not bool" if values[0] in (0, 1) else ""
        return Leaf("{f} == {0}" + guard, (values[0],))
    return Leaf("{0}({f})", (_member(values, fold),))


def _text_test(
    one: str, several: Callable[[tuple[str, ...]], tuple[str, Any]]
) -> Callable[[Sequence[Any], bool], Leaf]:
    """Return the compile of a test of a string: `one` for a single value, else `several`.

    Both are written over `{s}`, the string, folded where that is asked for.
    """

    def compile_text(values: Sequence[Any], fold: bool) -> Leaf:
        texts = tuple(dict.fromkeys(_folded(v) if fold else v for v in values))
        test, literal = (one, texts[0]) if len(texts) == 1 else several(texts)
        subject = "{x}.casefold()" if fold else "{x}"
        return Leaf("{f}.__class__ is str and " + test.replace("{s}", subject), (literal,))

    return compile_text


def _contains_any(texts: tuple[str, ...]) -> tuple[str, Any]:
    def contains_any(value: str) -> bool:
        return any(text in value for text in texts)

    return "{0}({s})", contains_any


def _compare(sign: str) -> Callable[[Sequence[Any], bool], Leaf]:
    template = "({f}.__class__ is int or {x}.__class__ is float) and {x} " + sign + " {0}"
    return lambda values, _: Leaf(template, (values[0],))


def _exists(_values: Sequence[Any], _fold: bool) -> Leaf:
    return Leaf("{f} is not None")


def _any_of(values: Sequence[Any], fold: bool) -> Leaf:
    member = _member(values, fold)

    def any_of(value: list[Any]) -> bool:
        return any(map(member, value))

    return Leaf("{f}.__class__ is list and {0}({x})", (any_of,))


def _all_of(values: Sequence[Any], fold: bool) -> Leaf:
    wanted = {_token(v, fold) for v in values}

    def all_of(value: list[Any]) -> bool:
        return wanted <= {_token(v, fold) for v in value if v.__class__ in _SCALARS.classes}

    return Leaf("{f}.__class__ is list and {0}({x})", (all_of,))


def _token(value: Any, fold: bool) -> tuple[bool, Any]:
    """Return a scalar such that only equal ones are equal: True is not 1."""
    if fold and value.__class__ is str:
        value = value.casefold()
    return value.__class__ is bool, value


def _size(sign: str) -> Callable[[Sequence[Any], bool], Leaf]:
    template = "{f}.__class__ is list and len({x}) " + sign + " {0}"
    return lambda values, _: Leaf(template, (values[0],))


_contains = _text_test("{0} in {s}", _contains_any)
_starts_with = _text_test("{s}.startswith({0})", lambda texts: ("{s}.startswith({0})", texts))
_ends_with = _text_test("{s}.endswith({0})", lambda texts: ("{s}.endswith({0})", texts))

OPERATORS: dict[str, Operator] = {
    "equals": Operator(_SCALARS, _equality, folds=True),
    "not_equals": Operator(_SCALARS, _equality, negated=True, folds=True),
    "in": Operator(_SCALARS, _equality, folds=True),
    "not_in": Operator(_SCALARS, _equality, negated=True, folds=True),
    "contains": Operator(_TEXTS, _contains, folds=True),
    "starts_with": Operator(_TEXTS, _starts_with, folds=True),
    "ends_with": Operator(_TEXTS, _ends_with, folds=True),
    "exists": Operator(_NONE, _exists),
    "gt": Operator(_NUMBER, _compare(">")),
    "gte": Operator(_NUMBER, _compare(">=")),
    "lt": Operator(_NUMBER, _compare("<")),
    "lte": Operator(_NUMBER, _compare("<=")),
    "any_of": Operator(_SCALARS, _any_of, folds=True),
    "all_of": Operator(_SCALARS, _all_of, folds=True),
    "none_of": Operator(_SCALARS, _any_of, negated=True, folds=True),
    "size_gt": Operator(_SIZE, _size(">")),
    "size_lt": Operator(_SIZE, _size("<")),
}
"""Every operator by its name in a definition."""
