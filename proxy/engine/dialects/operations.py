"""The operations of JSON Logic, as flagd's server and GO Feature Flag have them from one library.

It is diegoholiveira/jsonlogic, in Go, and unlike JavaScript in more than its documentation says:

- Null equals nothing but null; lists and objects equal nothing; a text is a number only where all
  of it is. `{}` is false.
- Arithmetic fails for what is neither number nor text, `cat` and `substr` for what is neither text,
  number nor null, `in` for what cannot be in a text. What takes a list fails without one.
- `var` gives its default for null, too, and skips empty steps. `in` takes a list of two within the
  list for a range. `cat` of several loses the spaces around it, `substr` counts code points.
- Every argument is computed, also those that an operation has no use for, but of `and`, `or`, `if`.
- Within `filter`, `some` and `none` (`all`, since 3.10) a `var` is looked for outside first, and of
  the item only where there is nothing: the library puts in what is there before it goes through the
  list. Where this leaves no operation for an item, as of `{"some": [list, {"var": "on"}]}`, `all`,
  `some` and `none` fail. Before 3.10 `all` and `some` put in what is of the item, too.
- `reduce` keeps the type of its start.
- A value that stands where an expression was is computed once more, so that an object of one member
  fails. Here it always does, and is never run: contexts are data.

`OPERATIONS` are those of 3.10, which GO Feature Flag has, `OPERATIONS_3_9` those of flagd.

Rules:
- Total but for `LogicError`, as `jsonlogic` says, whose compiler these are given to.
- What fails says so to the compiler beforehand, but where its values are constant.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import reduce
from math import copysign, fmod
from operator import gt, lt, mul, sub
from typing import Any

from proxy.engine.dialects.javascript import MAX_TEXT_CHARS, TooMuch
from proxy.engine.dialects.jsonlogic import (
    Closure,
    Compiler,
    Extra,
    Form,
    LogicError,
    Place,
    Scope,
    Term,
    constant,
    operation_of,
)

__all__ = ["OPERATIONS", "OPERATIONS_3_9", "equal", "identical", "is_among", "number_text"]
__all__ += ["of_values"]

_NAN = float("nan")
_INFINITY = float("inf")
_NUMBERS = (int, float)
_THINGS = (list, dict)
_SCALARS = (str, int, float, bool)


def _fail(why: str) -> Any:
    raise LogicError(why)


# Values


_HEXADECIMAL = re.compile(
    r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+"
)
_SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
_SPACE += "\u200a\u2028\u2029\u202f\u205f\u3000"

_NUMBER_CHARS = 4_096
"""Of a text that is read as a number; longer ones, which nobody has, are none."""


def _read(text: str) -> float | None:
    """Return a text as Go reads a number, None for what is none."""
    if len(text) > _NUMBER_CHARS or not text.isascii() or text.strip() != text:
        return None
    try:
        found = float(text)
    except ValueError:
        pass
    else:
        return None if found != found and len(text) > len("nan") else found
    if not _HEXADECIMAL.fullmatch(text):
        return None
    try:
        return float.fromhex(text)
    except OverflowError:
        return -_INFINITY if text[0] == "-" else _INFINITY


def _double(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return _INFINITY if value > 0 else -_INFINITY


def _number(value: Any) -> float:
    """Return a value as comparisons take it, NaN for what is no number."""
    kind = value.__class__
    if kind is float or kind is int or kind is bool:
        return _double(value)
    if value is None:
        return 0.0
    if kind is str:
        found = _read(value) if value.strip(_SPACE) else 0.0
        return _NAN if found is None else found
    return _NAN


def _exactly(value: Any) -> float:
    """Return a value as arithmetic takes it: a text that is none is 0; fails for other values."""
    kind = value.__class__
    if kind is float or kind is int:
        return _double(value)
    if kind is str:
        return _read(value) or 0.0
    return float(_fail("no number"))


_LEAST = -(2**63)


def _whole(value: float) -> int:
    """Return a number without its fraction; what 64 bits do not hold is the least they do."""
    return int(value) if -(2.0**63) <= value < 2.0**63 else _LEAST


def _text(value: Any) -> str:
    """Return a value as text; a number in full, without an exponent."""
    kind = value.__class__
    if kind is str:
        return str(value)
    if value is None:
        return ""
    if kind is int or kind is float:
        number = _double(value)
        if number - number != 0:
            return "NaN" if number != number else "+Inf" if number > 0 else "-Inf"
        return format(Decimal(repr(number)), "f").removesuffix(".0")
    return str(_fail("no text"))


def number_text(value: int | float) -> str | None:
    """Return a number as Go writes it in JSON, None for what JSON has not."""
    number = _double(value)
    if number - number != 0:
        return None
    size = abs(number)
    if size != 0 and not 1e-6 <= size < 1e21:
        mantissa, _, exponent = repr(number).partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"
    return _text(number)


def equal(one: Any, other: Any) -> bool:
    """Return what `==` is."""
    if one is None or other is None:
        return one is other
    if one.__class__ is str and other.__class__ is str:
        return bool(one == other)
    return _number(one) == _number(other)


def identical(one: Any, other: Any) -> bool:
    """Return what `===` is."""
    kind, other_kind = one.__class__, other.__class__
    if kind is not other_kind and not (kind in _NUMBERS and other_kind in _NUMBERS):
        return False
    return equal(one, other)


def _less(one: Any, other: Any) -> bool:
    if one.__class__ is str and other.__class__ is str:
        return bool(one < other)
    return _number(one) < _number(other)


def _not_more(one: Any, other: Any) -> bool:
    return _less(one, other) or equal(one, other)


def _again(value: Any, t: Any = None) -> Any:
    """Return a value that is computed once more; fails where there is an object of one member."""
    if value.__class__ not in _THINGS:
        return value
    stack = [value]
    while stack:
        each = stack.pop()
        if t is not None:
            t.spend(1)
        if each.__class__ is dict:
            if len(each) == 1:
                _fail("an object of one member is an operation")
        elif each.__class__ is list:
            stack.extend(each)
    return value


class _Zero(int):
    """What `-` and `/` of nothing are in 3.10: false, and a number to no operation."""


_ZERO = _Zero(0)


# How operations are made


def _no_list(_value: Any) -> Any:
    return _fail("an operation needs a list of values")


_CHARS_OF_WORK = 64
"""Characters that count as one operation."""


def _size(values: Iterable[Any]) -> int:
    """Return how much there is to go through in some values."""
    return sum(
        len(value) if value.__class__ is list else len(value) // _CHARS_OF_WORK
        for value in values
        if value.__class__ is list or value.__class__ is str
    )


def _folded(compiler: Compiler, terms: Iterable[Term], term: Term, *, fails: bool) -> Term:
    """Return a term, or what it comes to where all that it is made of is constant."""
    if all(each.constant for each in terms):
        try:
            return constant(term.run({}, 0))
        except (TooMuch, LogicError):
            pass
    if fails:
        compiler.may_fail()
    return term


def of_values(
    function: Callable[[list[Any]], Any],
    *,
    alone: Callable[[Any], Any] = _no_list,
    fails: bool = True,
    alone_fails: bool = True,
    sized: bool = False,
    scalar: bool = True,
) -> Form:
    """Return an operation of its values, `alone` of one that is no list.

    Without `fails` it always has a result of a list; with `sized` what is in them is work.
    """

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is list:
            terms = compiler.terms(arguments, place)
            runs = tuple([term.run for term in terms])
            if len(runs) == 2:
                first, second = runs
                made: Closure = lambda data, t: [first(data, t), second(data, t)]  # noqa: E731 - one of two
            else:
                made = lambda data, t: [run(data, t) for run in runs]  # noqa: E731 - the other
            whole: Closure = lambda data, t: function(made(data, t))  # noqa: E731 - of a list
        else:
            terms = [compiler.term(arguments, place)]
            made = terms[0].run

            def whole(data: Any, t: int) -> Any:
                value = made(data, t)
                return function(value) if value.__class__ is list else alone(value)

        run = whole
        if sized and place.in_list:

            def run(data: Any, t: Any) -> Any:
                value = made(data, t)
                t.spend(_size(value if value.__class__ is list else (value,)))
                return function(value) if value.__class__ is list else alone(value)

        known = not (fails if arguments.__class__ is list else alone_fails)
        term = Term(run, scalar=scalar)
        if sized and place.in_list:
            if not known:
                compiler.may_fail()
            return term
        return _folded(compiler, terms, term, fails=not known)

    return form


def _of_two(function: Callable[[Any, Any], Any], few: Any, **options: Any) -> Form:
    """Return an operation of two values, `few` where there are fewer; others are not looked at."""
    every = of_values(
        lambda values: function(values[0], values[1]) if len(values) > 1 else few,
        fails=False,
        **options,
    )

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list or len(arguments) != 2:
            return every(compiler, arguments, place)
        terms = compiler.terms(arguments, place)
        first, second = terms[0].run, terms[1].run
        if terms[1].constant:
            value = terms[1].value
            run: Closure = lambda data, t: function(first(data, t), value)  # noqa: E731 - one of two
        else:
            run = lambda data, t: function(first(data, t), second(data, t))  # noqa: E731 - the other
        return _folded(compiler, terms, Term(run, scalar=True), fails=False)

    return form


def _in_order(compare: Callable[[Any, Any], bool], *, turned: bool = False) -> Form:
    """Return a comparison of two values, or of three, each with the next."""

    def ordered(one: Any, other: Any) -> bool:
        return compare(other, one) if turned else compare(one, other)

    two = _of_two(ordered, few=False)

    def of_three(values: list[Any]) -> bool:
        one, middle, last = values[::-1] if turned else values
        return compare(one, middle) and compare(middle, last)

    def every(values: list[Any]) -> bool:
        if len(values) == 3:
            return of_three(values)
        return len(values) > 1 and ordered(values[0], values[1])

    others = of_values(every, fails=False)

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        is_two = arguments.__class__ is list and len(arguments) == 2
        return (two if is_two else others)(compiler, arguments, place)

    return form


# Logic


def _series(stops_when: bool) -> Form:
    """Return `and` or `or`: the first argument that decides, or the last."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list:
            return compiler.failing("an operation needs a list of values")
        kept: list[Term] = []
        for term in compiler.terms(arguments, place):
            kept.append(term)
            if term.constant and bool(term.value) is stops_when:
                break
        if not kept:
            return constant(None)
        if all(term.constant for term in kept):
            return kept[-1]
        *firsts, last_run = [term.run for term in kept]
        scalar = all(term.scalar for term in kept)
        runs = tuple(firsts)
        if stops_when:

            def any_of(data: Any, t: int) -> Any:
                for run in runs:
                    if value := run(data, t):
                        return value
                return last_run(data, t)

            return Term(any_of, scalar=scalar)

        def all_of(data: Any, t: int) -> Any:
            for run in runs:
                if not (value := run(data, t)):
                    return value
            return last_run(data, t)

        return Term(all_of, scalar=scalar)

    return form


def _if(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return what goes with the first condition that holds: condition, value, ..., otherwise."""
    if arguments.__class__ is not list:
        return compiler.failing("an operation needs a list of values")
    terms = compiler.terms(arguments, place)
    last = _result(compiler, terms[-1]) if len(terms) % 2 else constant(None)
    pairs: list[tuple[Closure, Term]] = []
    for test, value in zip(terms[:-1:2], terms[1::2], strict=False):
        if test.constant and not test.value:
            continue
        result = _result(compiler, value)
        if test.constant:
            last = result
            break
        pairs.append((test.run, result))
    if not pairs:
        return last
    scalar = last.scalar and all(value.scalar for _, value in pairs)
    otherwise = last.run
    if len(pairs) == 1:
        [(test_run, value)] = pairs
        run_value = value.run
        return Term(
            lambda data, t: run_value(data, t) if test_run(data, t) else otherwise(data, t),
            scalar=scalar,
        )
    runs = tuple((test_run, value.run) for test_run, value in pairs)

    def choose(data: Any, t: int) -> Any:
        for holds, value_run in runs:
            if holds(data, t):
                return value_run(data, t)
        return otherwise(data, t)

    return Term(choose, scalar=scalar)


def _result(compiler: Compiler, term: Term) -> Term:
    """Return what an `if` comes to: an object of one member that a value is would be run."""
    if term.scalar or (term.constant and term.value.__class__ is list):
        return term
    if term.constant and len(term.value) != 1:
        return term
    compiler.may_fail()
    run = term.run

    def result(data: Any, t: int) -> Any:
        value = run(data, t)
        if value.__class__ is dict and len(value) == 1:
            _fail("an object of one member is an operation")
        return value

    return Term(result)


def _first_of(values: list[Any]) -> Any:
    return values[0] if values else values


# Lists and texts


def _is_in(values: list[Any]) -> bool:
    if not values:
        _fail("there is nothing to look for")
    item, where = values[0], values[1] if len(values) > 1 else None
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
        elif each.__class__ is item.__class__:
            if each.__class__ is dict:
                _fail("objects cannot be compared")
            if each == item:
                return True
    return False


def is_among(texts: list[str]) -> Callable[[Any], bool]:
    """Return whether what is no text is in a list of texts: a number that one of them is."""
    numbers = frozenset(map(_exactly, texts))
    return lambda value: value.__class__ in _NUMBERS and _double(value) in numbers


_in_any = of_values(_is_in, sized=True)


def _in(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return whether a text has another in it, or a list an item or a range that it is in."""
    if arguments.__class__ is not list or len(arguments) != 2 or place.in_list:
        return _in_any(compiler, arguments, place)
    where = arguments[1]
    if where.__class__ is not list or not all(each.__class__ in (str, *_NUMBERS) for each in where):
        return _in_any(compiler, arguments, place)
    terms = compiler.terms(arguments, place)
    first = terms[0].run
    if all(each.__class__ is str for each in where):
        is_among_them = is_among(where)
        texts = frozenset(where)

        def is_one(data: Any, t: int) -> bool:
            value = first(data, t)
            return value in texts if value.__class__ is str else is_among_them(value)

        return _folded(compiler, terms, Term(is_one, scalar=True), fails=False)
    run: Closure = lambda data, t: _is_in([first(data, t), where])  # noqa: E731 - of any values
    return _folded(compiler, terms, Term(run, scalar=True), fails=False)


def _contains(wanted: Callable[[Iterable[bool]], bool], otherwise: bool) -> Form:
    def contains(values: list[Any]) -> bool:
        if len(values) != 2:
            return otherwise
        one, other = values
        if one.__class__ is not list or other.__class__ is not list:
            return otherwise
        if not any(each.__class__ in _THINGS for each in other):
            known = frozenset(_told(item) for item in one if item.__class__ not in _THINGS)
            return wanted(_told(each) in known for each in other)
        if len(one) * len(other) > _MAX_PAIRS:
            _fail("too much work")
        return wanted(any(_same(item, each) for item in one) for each in other)

    return of_values(contains, alone=lambda _: otherwise, sized=True)


def _told(value: Any) -> Any:
    """Return what tells a scalar from the others: kinds that are equal in Python are not here."""
    return (bool, value) if value.__class__ is bool else _plain(value)


def _plain(value: Any) -> Any:
    return _double(value) if value.__class__ in _NUMBERS else value


_MAX_PAIRS = 10_000
"""Comparisons of the items of one list with those of another."""


def _same(one: Any, other: Any) -> bool:
    kind, other_kind = one.__class__, other.__class__
    if kind in _THINGS and kind is other_kind:
        _fail("lists and objects cannot be compared")
    if kind in _NUMBERS and other_kind in _NUMBERS:
        return _double(one) == _double(other)
    return kind is other_kind and bool(one == other)


def _merged(values: list[Any]) -> list[Any]:
    whole: list[Any] = []
    for value in values:
        if value.__class__ is list:
            whole += value
        else:
            whole.append(value)
    return whole


def _put_together(values: list[Any]) -> str:
    whole = "".join(map(_text, values))
    if len(whole) > MAX_TEXT_CHARS:
        raise TooMuch
    return whole if len(values) == 1 else whole.strip(_SPACE)


def _cat(compiler: Compiler, arguments: Any, place: Place) -> Term:
    term = _cat_any(compiler, arguments, place)
    if term.constant:
        return term
    if not place.in_list:
        if arguments.__class__ is not list or len(arguments) != 2:
            return term
        first, second = [each.run for each in compiler.terms(arguments, place)]

        def two(data: Any, t: int) -> str:
            one, other = first(data, t), second(data, t)
            if one.__class__ is str and other.__class__ is str:
                whole: str = one + other
                if len(whole) <= MAX_TEXT_CHARS:
                    return whole.strip(_SPACE)
            return _put_together([one, other])

        return Term(two, scalar=True)
    run = term.run

    def cat(data: Any, t: Any) -> str:
        whole: str = run(data, t)
        t.spend(len(whole) // _CHARS_OF_WORK)
        return whole

    return Term(cat, scalar=True)


_cat_any = of_values(
    _put_together,
    alone=lambda value: value if value.__class__ is str else _fail("no text"),
    sized=True,
)


def _part(values: list[Any]) -> str:
    if len(values) < 2:
        _fail("a part needs a text and a place")
    whole = _text(values[0])
    start, count = _whole(_exactly(values[1])), len(whole)
    if start < 0:
        start += count
    if not 0 <= start <= count:
        return whole
    length = _whole(_exactly(values[2])) if len(values) == 3 else count
    end = count + length if length < 0 else min(start + length, count)
    return whole[start:end] if start <= end else str(_fail("a part ends before it begins"))


def _setting(otherwise: Callable[[Any], Any]) -> Callable[[list[Any]], Any]:
    """Return what sets a member of an object; `otherwise` of one whose name is no text."""

    def changed(values: list[Any]) -> Any:
        if len(values) < 3:
            return values[0] if values else None
        whole, name, value = values[:3]
        if whole.__class__ is not dict:
            return whole
        return {**whole, name: _again(value)} if name.__class__ is str else otherwise(whole)

    return changed


# Arithmetic


def _of_numbers(
    function: Callable[[list[float]], float | None], alone: Callable[[Any], Any] = _no_list
) -> Form:
    return of_values(lambda values: function([_exactly(value) for value in values]), alone=alone)


def _quotient(one: float, other: float) -> float:
    if other:
        return one / other
    return _NAN if one != one or one == 0 else copysign(_INFINITY, one) * copysign(1.0, other)


def _remainder(values: list[Any]) -> float:
    if len(values) < 2:
        _fail("a remainder is of two numbers")
    one, other = _exactly(values[0]), _exactly(values[1])
    return fmod(one, other) if other and one - one == 0 else _NAN


def _minus(values: list[float]) -> float:
    return -1 * values[0] if len(values) == 1 else reduce(sub, values)


def _furthest(
    is_further: Callable[[float, float], bool],
) -> Callable[[list[float]], float | None]:
    def furthest(values: list[float]) -> float | None:
        found = values[0] if values else None
        for value in values[1:]:
            if found is not None and is_further(value, found):
                found = value
        return found

    return furthest


# Members

Look = Callable[[Any, int, Any], Any]
"""Finds a member of the data in scope, by what `var` was given."""


class _Members:
    """How members are found; before 3.10 what is no number is the first of a list."""

    def __init__(self, *, older: bool) -> None:
        self._older = older

    def var(self, compiler: Compiler, arguments: Any, place: Place) -> Term:
        """Return a member, or where it is missing or null the second argument, if there are two."""
        return self.found(compiler, arguments, place, _again)

    def found(
        self, compiler: Compiler, arguments: Any, place: Place, taken: Callable[[Any, Any], Any]
    ) -> Term:
        """Return a member; what is found outside of a list is `taken` in place of the item's."""
        alone = place._replace(outside=())
        own = self._member(compiler, arguments, alone)
        if not place.outside or own.constant:
            return own
        is_open = arguments.__class__ is str and (not arguments or arguments[0] == ".")
        run_own = own.run
        if is_open:
            return Term(lambda scope, t: run_own(Scope(scope.item), t))
        compiler.may_fail()
        context = Place(place.path, place.depth)
        runs = []
        for is_context in place.outside:
            part = self._member(compiler, arguments, context if is_context else alone)
            runs.append((is_context, part.run))

        def run(scope: Any, t: int) -> Any:
            for data, (is_context, outside) in zip(scope.outside, runs, strict=True):
                value = outside(data if is_context else Scope(data), t)
                if value is not None:
                    return taken(value, t)
            return run_own(Scope(scope.item), t)

        return Term(run)

    def _member(self, compiler: Compiler, arguments: Any, place: Place) -> Term:
        terms = compiler.terms(arguments, place)
        listed = arguments.__class__ is list
        if not all(term.constant for term in terms[:1]) or (terms and not _is_path(terms[0].value)):
            look = self.look(compiler, place)
            runs = [term.run for term in terms]
            compiler.may_fail()
            if listed:
                return Term(lambda data, t: look(data, t, [run(data, t) for run in runs]))
            [given] = runs
            return Term(lambda data, t: look(data, t, given(data, t)))
        path = terms[0].value if terms else ""
        if path.__class__ in _NUMBERS:
            if listed:
                return compiler.failing("a path must be a text")
            path = _text(path)
        if path is None:
            if listed:
                return compiler.failing("a path must be a text")
            data_of = _data(compiler, place)
            return Term(lambda data, t: _scalar(data_of(data, t)), scalar=True)
        names = [step for step in path.split(".") if step]
        if len(terms) < 2 and names and not place.in_list and names[0] not in compiler.extras:
            compiler.reads(names[0])
            return Term(self._of_context(names))
        start, steps = _start(compiler, place, names)
        follow = self._follow
        default = terms[1] if len(terms) == 2 else constant(None)
        if not steps and default.constant and default.value is None:
            return Term(start)
        default_run = default.run

        def run(data: Any, t: int) -> Any:
            otherwise = default_run(data, t)
            value = follow(start(data, t), steps)
            return otherwise if value is None else value

        return Term(run)

    def _of_context(self, names: list[str]) -> Closure:
        """Return what finds a member of the context itself, as nearly all are."""
        first, *rest = names
        if not rest:
            return lambda data, _t: data.get(first)
        follow = self._follow
        [last] = rest if len(rest) == 1 else [None]

        def member(data: Any, _t: int) -> Any:
            value = data.get(first)
            if last is not None and value.__class__ is dict:
                return value.get(last)
            return follow(value, rest)

        return member

    def _follow(self, value: Any, steps: list[str]) -> Any:
        """Return what steps lead to, None where there is nothing."""
        for step in steps:
            if value.__class__ is dict:
                value = value.get(step)
            elif value.__class__ is list:
                index = _read(step)
                if index is None:
                    index = 0.0 if self._older else -1.0
                elif not -1 < index < len(value):
                    return None
                if not -1 < index < len(value):
                    return None
                value = value[int(index)]
            else:
                return None
        return value

    def look(self, compiler: Compiler, place: Place) -> Look:
        """Return what finds a member by what `var` is given at an evaluation."""
        data_of = _data(compiler, place)
        follow = self._follow

        def look(data: Any, t: int, given: Any) -> Any:
            everything = data_of(data, t)
            path, default = given, None
            if given is None:
                return _scalar(everything)
            if given.__class__ is list:
                if not given:
                    return everything
                path = given[0]
                default = given[1] if len(given) == 2 else None
                if path.__class__ is not str:
                    _fail("a path must be a text")
            elif given.__class__ in _NUMBERS:
                path = _text(given)
            elif given == "":
                return everything
            if everything is None:
                return default
            if path.__class__ is not str or len(path) > _PATH_CHARS:
                _fail("a path must be a text")
            value = follow(everything, [step for step in path.split(".") if step])
            return default if value is None else value

        return look

    def missing(self, compiler: Compiler, arguments: Any, place: Place) -> Term:
        """Return the paths that lead to nothing."""
        look = self._noted(compiler, arguments, place)
        terms = compiler.terms(arguments, place)
        compiler.may_fail()
        runs = [term.run for term in terms]
        listed = arguments.__class__ is list

        def run(data: Any, t: int) -> list[Any]:
            values: Any = [each(data, t) for each in runs]
            if not listed:
                values = values[0]
                if values.__class__ is not list:
                    values = values if values.__class__ is str else _no_list(values)
                    values = [values]
            return [path for path in values if look(data, t, _again(path)) is None]

        return Term(run)

    def missing_some(self, compiler: Compiler, arguments: Any, place: Place) -> Term:
        """Return the paths that lead to nothing, or none where enough of them are there."""
        named = arguments[1] if arguments.__class__ is list and len(arguments) > 1 else None
        look = self._noted(compiler, named, place)
        terms = compiler.terms(arguments, place)
        compiler.may_fail()
        runs = [term.run for term in terms]
        listed = arguments.__class__ is list
        older = self._older

        def run(data: Any, t: int) -> list[Any]:
            values: Any = [each(data, t) for each in runs]
            if not listed:
                values = values[0] if values[0].__class__ is list else _no_list(values)
            if not values:
                _fail("there is no number of paths")
            need = _whole(_exactly(values[0]))
            if len(values) < 2:
                _fail("there are no paths")
            paths = values[1]
            if paths.__class__ is not list:
                return [] if not older else list(_no_list(paths))
            lacking = [path for path in paths if look(data, t, _again(path)) is None]
            return lacking if need > len(paths) - len(lacking) else []

        return Term(run)

    def _noted(self, compiler: Compiler, paths: Any, place: Place) -> Look:
        """Return what finds members; where the paths are texts, they are all that is read."""
        if (
            place.in_list
            or paths.__class__ is not list
            or not all(path.__class__ is str and path.strip(".") for path in paths)
        ):
            return self.look(compiler, place)
        known = {path: _start(compiler, place, [s for s in path.split(".") if s]) for path in paths}
        follow = self._follow

        def look(data: Any, t: int, path: Any) -> Any:
            start, steps = known[path]
            return follow(start(data, t), steps)

        return look


_PATH_CHARS = 1_024
"""Of a path that is computed; it is divided at every evaluation."""


def _is_path(value: Any) -> bool:
    return value is None or value.__class__ is str or value.__class__ in _NUMBERS


def _scalar(value: Any) -> Any:
    return None if value.__class__ in _THINGS else value


def _item(scope: Any, _t: int) -> Any:
    return scope.item


def _data(compiler: Compiler, place: Place) -> Closure:
    """Return all data in scope: within lists an item, else the context with what is added to it."""
    if place.in_list:
        return _item
    compiler.reads_unknown()
    extras = dict(compiler.extras)
    if not extras:
        return lambda data, _t: data
    _note(compiler, extras)
    return lambda data, t: {**data, **_made(extras, data, t)}


def _note(compiler: Compiler, node: Any) -> None:
    stack = [node]
    while stack:
        each = stack.pop()
        if each.__class__ is dict:
            stack.extend(each.values())
        elif isinstance(each, Extra):
            compiler.reads(*each.reads)
            if each.timed:
                compiler.timed()


def _made(node: Any, data: Any, t: int) -> Any:
    """Return what is added, made. It nests as deep as a system's own code says."""
    if isinstance(node, Extra):
        return node.value(data, t)
    if node.__class__ is dict:
        return {name: _made(value, data, t) for name, value in node.items()}
    return node


def _start(compiler: Compiler, place: Place, steps: list[str]) -> tuple[Closure, list[str]]:
    """Return what the first steps lead to, and the other ones."""
    if place.in_list or not steps:
        return _data(compiler, place), steps
    first, *rest = steps
    if first not in compiler.extras:
        compiler.reads(first)
        return (lambda data, _t: data.get(first)), rest
    node = compiler.extras[first]
    while rest and node.__class__ is dict:
        node = node.get(rest.pop(0))
    _note(compiler, node)
    if node.__class__ is dict or isinstance(node, Extra):
        return (lambda data, t: _made(node, data, t)), rest
    return (lambda _data, _t: node), rest


# Going through lists


class _Walk:
    """What an operation that goes through a list is made of; `cost` is that of one item.

    `items` comes to the list, or to None or, for some, anything that is false.
    """

    def __init__(
        self,
        members: _Members,
        compiler: Compiler,
        arguments: list[Any],
        place: Place,
        *,
        looks_outside: bool,
        looks_inside: bool,
        applied: bool,
    ) -> None:
        self.items = _items(members, compiler, arguments[0], place.at(0))
        before = compiler.operations
        self.in_list = place.in_list
        self.looks_outside = looks_outside
        self.looks_inside = looks_inside
        outside = (*place.outside, not place.in_list) if looks_outside else place.outside
        if looks_inside:
            outside = (*outside, False)
        body = arguments[1]
        inner = place.at(1)._replace(in_list=True, outside=outside)
        operation = operation_of(body)
        if applied and body.__class__ is not dict:
            term = compiler.failing("an item needs an operation")
        elif applied and operation is not None and operation[0] == "var":
            deeper = inner._replace(path=(*inner.path, "var"), depth=inner.depth + 1)
            term = members.found(compiler, operation[1], deeper, _applied)
        else:
            term = compiler.term(body, inner)
        self.run = term.run
        compiler.iterates()
        self.cost = 1 + compiler.operations - before

    def scopes(self, data: Any) -> Callable[[Any], Scope]:
        """Return what makes the scope of an item."""
        outside = data.outside if self.in_list else ()
        if self.looks_outside:
            outside = (*outside, data.item if self.in_list else data)
        if self.looks_inside:
            return lambda item: Scope(item, (*outside, item))
        return lambda item: Scope(item, outside)


def _items(members: _Members, compiler: Compiler, node: Any, place: Place) -> Closure:
    """Return the list to go through; one that is written is taken as it is written."""
    if node.__class__ is list:
        return lambda _data, _t: node
    operation = operation_of(node)
    if operation is not None and operation[0] == "var" and place.outside:
        deeper = place._replace(path=(*place.path, "var"), depth=place.depth + 1)
        return members.found(compiler, operation[1], deeper, _as_items).run
    if node.__class__ is dict:
        return compiler.term(node, place).run
    return lambda _data, _t: None


def _as_items(value: Any, t: Any) -> Any:
    """Return a list from outside; other values there are no list to go through, and no error."""
    if value.__class__ is list:
        return value
    return _again(value, t) if value.__class__ is dict else None


def _applied(value: Any, t: Any) -> Any:
    return _again(value, t) if value.__class__ is dict else _fail("an item needs an operation")


def _a_list(value: Any) -> list[Any]:
    return value if value.__class__ is list else list(_fail("no list to go through"))


def _walking(
    members: _Members,
    make: Callable[[_Walk], Closure],
    few: Any,
    *,
    looks_outside: bool = True,
    looks_inside: bool = False,
    applied: bool = True,
) -> Form:
    """Return an operation that goes through a list; `few` without an expression for its items."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list:
            return compiler.failing("an operation needs a list of values")
        if len(arguments) < 2:
            return _without_body(members, compiler, arguments, place, few)
        walk = _Walk(
            members,
            compiler,
            arguments,
            place,
            looks_outside=looks_outside,
            looks_inside=looks_inside,
            applied=applied,
        )
        return Term(make(walk))

    return form


def _without_body(
    members: _Members, compiler: Compiler, arguments: list[Any], place: Place, few: Any
) -> Term:
    if few.__class__ is list:
        return constant(few)
    if not arguments:
        return compiler.failing("there is no list")
    compiler.may_fail()
    items = _items(members, compiler, arguments[0], place.at(0))
    return Term(lambda data, t: _fail("an item needs an operation") if items(data, t) else few)


def _filtered(walk: _Walk) -> Closure:
    def filtered(data: Any, t: Any) -> list[Any]:
        values = walk.items(data, t)
        if values is None:
            return []
        scope = walk.scopes(data)
        kept = []
        for value in _a_list(values):
            t.spend(walk.cost)
            if walk.run(scope(value), t):
                kept.append(value)
        return kept

    return filtered


def _mapped(walk: _Walk) -> Closure:
    def mapped(data: Any, t: Any) -> list[Any]:
        values = walk.items(data, t)
        if values is None:
            return []
        scope = walk.scopes(data)
        t.spend(walk.cost * len(_a_list(values)))
        return [walk.run(scope(value), t) for value in values]

    return mapped


def _until(stops_when: bool, *, empty: bool, stopped: bool) -> Callable[[_Walk], Closure]:
    """Return `all`, `some` or `none`: `stopped` at the first item whose condition is so."""

    def make(walk: _Walk) -> Closure:
        def until(data: Any, t: Any) -> bool:
            values = walk.items(data, t)
            if not values:
                return empty
            scope = walk.scopes(data)
            for value in _a_list(values):
                t.spend(walk.cost)
                if bool(walk.run(scope(value), t)) is stops_when:
                    return stopped
            return not stopped

        return until

    return make


def _reducing(members: _Members) -> Form:
    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list:
            return compiler.failing("an operation needs a list of values")
        if len(arguments) < 3:
            return constant(0)
        walk = _Walk(
            members,
            compiler,
            arguments,
            place,
            looks_outside=False,
            looks_inside=False,
            applied=True,
        )
        node = arguments[2]
        start = constant(node) if node.__class__ is list else compiler.term(node, place.at(2))
        begin = start.run

        def reduced(data: Any, t: Any) -> Any:
            result = begin(data, t)
            keep = _KEPT.get(result.__class__)
            if keep is None:
                return _fail("what a reduction starts with is a boolean, a number or a text")
            values = walk.items(data, t)
            if values is None:
                return 0
            scope = walk.scopes(data)
            kind = _KINDS[keep]
            for value in _a_list(values):
                if value is None:
                    continue
                t.spend(walk.cost)
                item = {"current": value, "accumulator": result, "valueType": kind}
                result = keep(walk.run(scope(item), t))
            return result

        return Term(reduced, scalar=True)

    return form


_KEPT: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    int: _exactly,
    float: _exactly,
    str: _text,
}
_KINDS: dict[Any, str] = {bool: "bool", _exactly: "number", _text: "string"}


def _operations(*, older: bool) -> dict[str, Form]:
    members = _Members(older=older)
    one = {} if older else {"alone": lambda _: None}
    nothing = 0 if older else _ZERO
    negation = of_values(
        lambda values: not _first_of(values),
        alone=lambda value: not value,
        fails=False,
        alone_fails=False,
    )
    return {
        "if": _if,
        "?:": _if,
        "and": _series(False),
        "or": _series(True),
        "!": negation,
        "!!": of_values(
            lambda values: bool(_first_of(values)), alone=bool, fails=False, alone_fails=False
        ),
        "==": _of_two(equal, few=False),
        "!=": _of_two(lambda one, other: not equal(one, other), few=True),
        "===": _of_two(identical, few=False, alone=lambda _: False, alone_fails=False),
        "!==": _of_two(
            lambda one, other: not identical(one, other),
            few=True,
            alone=lambda _: True,
            alone_fails=False,
        ),
        "<": _in_order(_less),
        "<=": _in_order(_not_more),
        ">": _in_order(_less, turned=True),
        ">=": _in_order(_not_more, turned=True),
        "in": _in,
        "contains_all": _contains(all, False),
        "contains_any": _contains(any, False),
        "contains_none": _contains(lambda found: not any(found), True),
        "+": _of_numbers(lambda values: sum(values, 0.0), _exactly),
        "-": _of_numbers(
            lambda values: _minus(values) if values else nothing,
            _no_list if older else lambda _: nothing,
        ),
        "*": _of_numbers(
            lambda values: reduce(mul, values, 1.0), _no_list if older else lambda _: 1
        ),
        "/": _of_numbers(
            lambda values: reduce(_quotient, values) if values else nothing,
            _no_list if older else lambda _: nothing,
        ),
        "%": of_values(_remainder),
        "abs": of_values(
            lambda values: abs(_exactly(values[0])) if values else _no_list(0) if older else 0,
            alone=lambda value: abs(_exactly(value)),
        ),
        "max": _of_numbers(_furthest(gt), **one),
        "min": _of_numbers(_furthest(lt), **one),
        "cat": _cat,
        "substr": of_values(_part, sized=True),
        "merge": of_values(
            _merged,
            alone=lambda value: [value] if value.__class__ in _SCALARS else _fail("no list"),
            fails=False,
            sized=True,
            scalar=False,
        ),
        "set": of_values(
            _setting(_no_list if older else lambda whole: whole),
            alone=_no_list if older else lambda _: None,
            sized=True,
            scalar=False,
        ),
        "filter": _walking(members, _filtered, [], applied=False),
        "map": _walking(members, _mapped, [], looks_outside=False, applied=False),
        "all": _walking(
            members,
            _until(False, empty=False, stopped=False),
            False,
            looks_outside=not older,
            looks_inside=older,
        ),
        "some": _walking(
            members, _until(True, empty=False, stopped=True), False, looks_inside=older
        ),
        "none": _walking(members, _until(True, empty=True, stopped=False), True),
        "reduce": _reducing(members),
        "var": members.var,
        "missing": members.missing,
        "missing_some": members.missing_some,
    }


OPERATIONS: Mapping[str, Form] = _operations(older=False)
"""Of version 3.10."""

OPERATIONS_3_9: Mapping[str, Form] = _operations(older=True)
"""Of version 3.9."""
