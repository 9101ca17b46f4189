"""JSON Logic as GO Feature Flag evaluates it, by a library in Go (diegoholiveira/jsonlogic).

Most of it is as in JavaScript. What is not: null equals nothing but null, lists and objects equal
nothing, text is a number only where all of it is, `var` gives its default for null, too, `in` fails
for what cannot be in a text, two values are a range in a list, and text that is put together loses
the spaces around it. An operation that there is not fails where it is reached. What fails does not
match.

Rules:
- As in `jsonlogic`, whose compiler these operations are given to: total but for `LogicError`.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import reduce
from math import copysign, fmod
from operator import gt, lt
from typing import Any

from proxy.engine.dialects.goff.conditions import Attributes, member
from proxy.engine.dialects.javascript import MAX_TEXT_CHARS, UNDEFINED, TooMuch
from proxy.engine.dialects.jsonlogic import (
    Closure,
    Compiler,
    Extra,
    Form,
    Logic,
    LogicError,
    Place,
    Term,
)

__all__ = ["FORMS", "extras", "truth_of"]


def extras(fixed: Attributes) -> Mapping[str, Any]:
    """Return the members that GO Feature Flag sets in the context."""
    known: dict[str, Any] = dict(fixed)
    for name in ("key", "targetingKey", "anonymous"):
        read = "anonymous" if name == "anonymous" else "targetingKey"
        fetch = member(name, fixed)
        known[name] = Extra(_of_context(fetch), frozenset((read,)))
    return known


def _of_context(fetch: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], int], Any]:
    return lambda context, _now_ms: fetch(context)


def truth_of(logic: Logic) -> Callable[[dict[str, Any]], bool]:
    """Return whether a result is taken for true: neither false, null, 0, nor empty."""
    run = logic.evaluate

    def holds(context: dict[str, Any]) -> bool:
        try:
            result = run(context, 0)
        except LogicError:
            return False
        kind = result.__class__
        if kind is bool:
            return bool(result)
        if kind is float:
            # what is no number cannot be written, and 0 below 0 is written so
            return result - result == 0 and (result != 0 or str(result)[0] == "-")
        return kind is dict or bool(result)

    return holds


_NAN = float("nan")
_INFINITY = float("inf")


def _of_text(text: str) -> float:
    """Return a text as Go reads a number, NaN for none."""
    if "_" in text or text.strip() != text or not text.isascii() or len(text) > _NUMBER_CHARS:
        return _NAN
    try:
        return float(text)
    except ValueError:
        return _NAN


_NUMBER_CHARS = 4_096


def _number(value: Any) -> float:
    """Return a value as a number, as its library makes one."""
    kind = value.__class__
    if kind is float or kind is bool:
        return float(value)
    if kind is int:
        return _double(value)
    if value is None:
        return 0.0
    if kind is str:
        return 0.0 if not value.strip() else _of_text(value)
    return _NAN


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if one.__class__ is str and other.__class__ is str:
        return bool(one == other)
    return _number(one) == _number(other)


_NUMBERS = (int, float)


def _identical(one: Any, other: Any) -> bool:
    kind, other_kind = one.__class__, other.__class__
    if kind is not other_kind and not (kind in _NUMBERS and other_kind in _NUMBERS):
        return False
    return _equal(one, other)


def _less(one: Any, other: Any) -> bool:
    if one.__class__ is str and other.__class__ is str:
        return bool(one < other)
    return _number(one) < _number(other)


def _not_more(one: Any, other: Any) -> bool:
    return _less(one, other) or _equal(one, other)


def _fail(why: str) -> Any:
    raise LogicError(why)


def _is_in(item: Any, where: Any) -> bool:
    if where.__class__ is str:
        return item in where if item.__class__ is str else _fail("no text to look for")
    if where.__class__ is not list:
        return False
    is_number = item.__class__ in _NUMBERS
    for each in where:
        if each.__class__ is list:
            if len(each) < 2:
                _fail("no range")
            if _exactly(each[0]) <= _exactly(item) <= _exactly(each[1]):
                return True
        elif is_number:
            if _exactly(each) == _exactly(item):
                return True
        elif each.__class__ is item.__class__ and each == item and each.__class__ is not dict:
            return True
    return False


def _exactly(value: Any) -> float:
    """Return a number, or what a text begins to be; fails for other values."""
    kind = value.__class__
    if kind is int or kind is float:
        return _number(value)
    if kind is str:
        found = _of_text(value)
        return 0.0 if found != found else found
    return float(_fail("no number"))


def _contains(wanted: Callable[[list[bool]], bool], otherwise: bool) -> Any:
    def contains(one: Any, other: Any) -> bool:
        if one.__class__ is not list or other.__class__ is not list:
            return otherwise
        if len(one) * len(other) > _MAX_PAIRS:
            _fail("too much work")
        return wanted([any(_same(item, each) for item in one) for each in other])

    return contains


_MAX_PAIRS = 10_000
"""Comparisons of the items of one list with those of another."""


def _same(one: Any, other: Any) -> bool:
    kind = one.__class__
    return one is other if other is None else kind not in _THINGS and _identical(one, other)


_THINGS = (list, dict)


def _given(value: Any) -> Any:
    return None if value is UNDEFINED else value


def _of_two(function: Callable[[Any, Any], bool], otherwise: bool | None = False) -> Form:
    """Return an operation of two values, `otherwise` when there are fewer."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list or (len(arguments) < 2 and otherwise is None):
            return compiler.failing("an operation needs a list of values")
        if len(arguments) < 2:
            return compiler.term(otherwise, place)
        terms = compiler.terms(arguments, place)
        first, second = terms[0].run, terms[1].run
        in_list = place.in_list

        def run(data: Any, t: Any) -> bool:
            one, other = _given(first(data, t)), _given(second(data, t))
            if in_list and other.__class__ is list:
                t.spend(len(other))
            return function(one, other)

        return Term(run, plain=True)

    return form


def _in_order(compare: Callable[[Any, Any], bool], *, turned: bool = False) -> Form:
    """Return a comparison of two values, or of three, each with the next."""
    two = _of_two((lambda one, other: compare(other, one)) if turned else compare)

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list or len(arguments) != 3:
            return two(compiler, arguments, place)
        first, second, third = [term.run for term in compiler.terms(arguments, place)]

        def run(data: Any, t: int) -> bool:
            values = [_given(each(data, t)) for each in (first, second, third)]
            if turned:
                values.reverse()
            one, middle, last = values
            return compare(one, middle) and compare(middle, last)

        return Term(run, plain=True)

    return form


# Arithmetic, which fails for what is neither number nor text


def _of_numbers(function: Callable[[list[float]], float | None]) -> Form:
    """Return an operation of all its values as numbers."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        runs = [term.run for term in compiler.terms(arguments, place)]
        return Term(lambda data, t: function([_exactly(_given(each(data, t))) for each in runs]))

    return form


def _divided(values: list[float]) -> float:
    return reduce(_quotient, values) if values else 0.0


def _quotient(one: float, other: float) -> float:
    if other:
        return one / other
    return _NAN if one != one or one == 0 else copysign(_INFINITY, one) * copysign(1.0, other)


def _remainder(values: list[float]) -> float:
    if len(values) < 2:
        return float(_fail("a remainder is of two numbers"))
    one, other = values[:2]
    return fmod(one, other) if other and one - one == 0 else _NAN


def _minus(values: list[float]) -> float:
    if len(values) == 1:
        return -values[0]
    return reduce(lambda one, other: one - other, values) if values else 0.0


def _furthest(is_further: Callable[[float, float], bool]) -> Form:
    def furthest(values: list[float]) -> float | None:
        found = values[0] if values else None
        for value in values[1:]:
            if found is not None and is_further(value, found):
                found = value
        return found

    return _of_numbers(furthest)


# Members


def _var(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return a member, or where it is missing or null the second argument, if there are two."""
    listed = arguments.__class__ is list
    terms = compiler.terms(arguments, place)
    default = terms[1].run if len(terms) == 2 else _nothing
    if not terms:
        return Term(_whole(compiler, place))
    if not terms[0].constant:
        return _computed(compiler, place, terms[0], default)
    path = _given(terms[0].value)
    if path.__class__ in (int, float) and not listed:
        path = _text(path)
    if path is None and not listed:
        whole = _whole(compiler, place)
        return Term(lambda data, t: _primitive(whole(data, t)))
    if path.__class__ is not str:
        return compiler.failing("a path must be a text")
    if not path and not listed:
        return Term(_whole(compiler, place))
    start, steps = _start(compiler, place, [step for step in path.split(".") if step])

    def run(data: Any, t: int) -> Any:
        found = _followed(start(data, t), steps)
        return default(data, t) if found is None else found

    return Term(run)


def _nothing(_data: Any, _t: int) -> None:
    return None


def _primitive(value: Any) -> Any:
    return None if value.__class__ in _THINGS else value


def _whole(compiler: Compiler, place: Place) -> Closure:
    """Return all data in scope: within lists an item, else the context with what is set in it."""
    if place.in_list:
        return lambda data, _t: data
    compiler.reads_unknown()
    known = dict(compiler.extras)
    return lambda data, t: {**data, **{name: _value(known[name], data, t) for name in known}}


def _value(extra: Any, data: Any, t: int) -> Any:
    return extra.value(data, t) if isinstance(extra, Extra) else extra


def _start(compiler: Compiler, place: Place, steps: list[str]) -> tuple[Closure, list[str]]:
    """Return what the first step leads to, and the other ones."""
    if place.in_list or not steps:
        return _whole(compiler, place), steps
    first, *rest = steps
    if first in compiler.extras:
        extra = compiler.extras[first]
        compiler.reads(*(extra.reads if isinstance(extra, Extra) else ()))
        return (lambda data, t: _value(extra, data, t)), rest
    compiler.reads(first)
    return (lambda data, _t: data.get(first)), rest


def _followed(value: Any, steps: list[str]) -> Any:
    """Return what steps lead to, None where there is nothing."""
    for step in steps:
        if value.__class__ is dict:
            value = value.get(step)
        elif value.__class__ is list:
            index = _of_text(step)
            if index != index or not -1 < index < len(value):
                return None
            value = value[int(index)]
        else:
            return None
    return value


def _computed(compiler: Compiler, place: Place, path: Term, default: Closure) -> Term:
    """Return the member on a path that is only known at an evaluation."""
    whole, where = _whole(compiler, place), path.run

    def run(data: Any, t: int) -> Any:
        steps = _given(where(data, t))
        if steps.__class__ is not str or len(steps) > _PATH_CHARS:
            _fail("a path must be a text")
        everything = whole(data, t)
        if not steps:
            return everything
        found = _followed(everything, [step for step in steps.split(".") if step])
        return default(data, t) if found is None else found

    return Term(run)


_PATH_CHARS = 1_024


# Text


def _cat(compiler: Compiler, arguments: Any, place: Place) -> Term:
    runs = [term.run for term in compiler.terms(arguments, place)]
    in_list = place.in_list

    def run(data: Any, t: Any) -> str:
        whole = "".join([_text(_given(each(data, t))) for each in runs])
        if len(whole) > MAX_TEXT_CHARS:
            raise TooMuch
        if in_list:
            t.spend(len(whole) // _CHARS_OF_WORK)
        return whole if len(runs) == 1 else whole.strip()

    return Term(run)


_CHARS_OF_WORK = 64


def _text(value: Any) -> str:
    """Return a value as text; a number in full, without an exponent."""
    kind = value.__class__
    if kind is str:
        return str(value)
    if value is None:
        return ""
    if kind is int or kind is float:
        number = _number(value)
        if number - number != 0:
            return {True: "+Inf", False: "-Inf"}.get(number > 0, "") if number == number else "NaN"
        return format(Decimal(repr(number)), "f").removesuffix(".0")
    return str(_fail("no text"))


FORMS: dict[str, Form] = {
    "==": _of_two(_equal),
    "!=": _of_two(lambda one, other: not _equal(one, other), True),
    "===": _of_two(_identical),
    "!==": _of_two(lambda one, other: not _identical(one, other), True),
    "<": _in_order(_less),
    "<=": _in_order(_not_more),
    ">": _in_order(_less, turned=True),
    ">=": _in_order(_not_more, turned=True),
    "in": _of_two(_is_in, None),
    "contains_all": _of_two(_contains(all, False)),
    "contains_any": _of_two(_contains(any, False)),
    "contains_none": _of_two(_contains(lambda found: not any(found), True), True),
    "var": _var,
    "cat": _cat,
    "+": _of_numbers(lambda values: sum(values, 0.0)),
    "-": _of_numbers(_minus),
    "*": _of_numbers(lambda values: reduce(lambda one, other: one * other, values, 1.0)),
    "/": _of_numbers(_divided),
    "%": _of_numbers(_remainder),
    "abs": _of_numbers(lambda values: abs(values[0]) if values else 0.0),
    "max": _furthest(gt),
    "min": _furthest(lt),
}
"""The operations that are others than JavaScript's."""
