"""JSON Logic made functions of a context and the time, by the semantics of json-logic-js.

An expression is taken apart once, when it is translated: every operation becomes a closure over
those of its arguments, paths are split, what is constant is computed. At an evaluation nothing of
the expression's JSON is looked at any more.

    Compiler(findings, forms, extras).compile(expression, path) -> Logic
    Logic.evaluate(context, now_ms) -> a JSON value

`forms` are operations of a dialect's own, and replace ours of the same name; `extras` are members
of the context that the system adds to it.

Rules:
- `evaluate` raises for no context, but `LogicError`, and that only where `may_fail` says so: where
  an operation is reached that there is not, or where going through lists becomes more work than any
  flag is worth. Where there are no lists, text too long to put together makes the result null.
- An object of one member is an operation; others, and lists without operations in them, are values.
- Arguments beyond those that an operation has are not computed, not even to fail.
- Of a text, and of a list, `var` finds no members but a list's numbered ones: JSON has no others.
- The time is an argument of every closure, as an integer of Unix milliseconds. Where an expression
  goes through lists it is a `_Work`, an integer that also counts down what may yet be done.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import fmod
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.dialects.javascript import (
    MAX_TEXT_CHARS,
    UNDEFINED,
    TooMuch,
    less,
    loosely_equal,
    not_more,
    number,
    parse_float,
    strictly_equal,
    text,
    truthy,
)
from proxy.engine.findings import Findings, Path

__all__ = [
    "MAX_WORK",
    "Closure",
    "Compiler",
    "Extra",
    "Form",
    "Logic",
    "LogicError",
    "Place",
    "Term",
    "condition",
    "constant",
    "operation_of",
]

MAX_WORK = 50_000
"""Operations that one evaluation does within lists: some 5 ms of them."""

_CHARS_OF_WORK = 64
"""Characters put together that count as one operation."""

_MAX_VALUES = limits.MAX_VALUES_IN_ALL
_TEXT_CHARS = limits.MAX_TEXT_CHARS
"""Of a text in an expression; what is done with it is done at every evaluation."""

Closure = Callable[[Any, int], Any]
"""What an expression became: a function of the data in scope and of the time."""


class LogicError(Exception):
    """An evaluation has no result; says why."""


class _Work(int):
    """The time, and how much may yet be done."""

    left = MAX_WORK

    def spend(self, amount: int) -> None:
        """Take note of work; raises TooMuch when there is no more to be done."""
        self.left -= amount
        if self.left < 0:
            raise TooMuch


class Term(NamedTuple):
    """An expression, compiled. `value` is what it comes to when `constant`.

    XX"""

    run: Closure
    constant: bool = False
    value: Any = None
    plain: bool = False
    scalar: bool = False


class Extra(NamedTuple):
    """A member that a system adds to the context: computed of the context and the time."""

    value: Callable[[dict[str, Any], int], Any]
    reads: frozenset[str] = frozenset()
    timed: bool = False


class Place(NamedTuple):
    """Where in an expression, and whether the data there is the context or an item of a list."""

    path: Path
    depth: int = 0
    in_list: bool = False

    def at(self, *steps: str | int) -> "Place":
        """Return a place further in, no deeper in operations."""
        return Place((*self.path, *steps), self.depth, self.in_list)


Form = Callable[["Compiler", Any, Place], Term]
"""Compiles one operation from its arguments as they are written."""


class Logic(NamedTuple):
    """An expression as a function of a context and the time, and what that depends on."""

    evaluate: Callable[[dict[str, Any], int], Any]
    reads: frozenset[str] | None
    timed: bool
    may_fail: bool


def operation_of(node: Any) -> tuple[str, Any] | None:
    """Return name and arguments of an operation, None for a value."""
    if node.__class__ is dict and len(node) == 1:
        [(name, arguments)] = node.items()
        return name, arguments
    return None


_CONTAINERS = (dict, list)


def constant(value: Any) -> Term:
    """Return the term of a value."""
    scalar = value.__class__ not in _CONTAINERS
    return Term(lambda _data, _run: value, True, value, truthy(value) == bool(value), scalar)


_NOTHING = constant(UNDEFINED)


class Compiler:
    """Compiles the expressions of one flag. What is wrong goes to `findings`."""

    def __init__(
        self,
        findings: Findings,
        forms: Mapping[str, Form] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self.findings = findings
        self.extras = extras or {}
        self._forms = forms or {}
        self._operations = 0
        self._values = 0
        # of the expression being compiled
        self._reads: set[str] = set()
        self._reads_known = True
        self._timed = False
        self._iterates = False
        self._may_fail = False

    def compile(self, node: Any, path: Path = ()) -> Logic:
        """Return an expression compiled, with what it depends on."""
        return self.part(node, Place(path))[1]

    def term(self, node: Any, place: Place) -> Term:
        """Return a node compiled. Recursion is bounded by `limits.MAX_CONDITION_DEPTH`."""
        kind = node.__class__
        if kind is list:
            return self._list(node, place)
        if kind is str and len(node) > _TEXT_CHARS:
            message = f"a text of more than {_TEXT_CHARS} characters"
            self.findings.add(place.path, ProblemCode.OUT_OF_RANGE, message)
            return _NOTHING
        if kind is not dict or len(node) != 1:
            return constant(node)
        [(name, arguments)] = node.items()
        if place.depth >= limits.MAX_CONDITION_DEPTH:
            message = f"operations nest deeper than {limits.MAX_CONDITION_DEPTH}"
            self.findings.add(place.path, ProblemCode.TOO_DEEP, message)
            return _NOTHING
        self._operations += 1
        if self._operations > limits.MAX_CONDITIONS:
            if self._operations == limits.MAX_CONDITIONS + 1:
                message = f"more than {limits.MAX_CONDITIONS} operations"
                self.findings.add(place.path, ProblemCode.TOO_MANY, message)
            return _NOTHING
        inner = Place((*place.path, name), place.depth + 1, place.in_list)
        form = self._forms.get(name) or _FORMS.get(name)
        return self.unknown(name, place) if form is None else form(self, arguments, inner)

    def part(self, node: Any, place: Place) -> tuple[Term, Logic]:
        """Return a node compiled, as a term and with what it alone depends on."""
        before = self._reads, self._reads_known, self._timed, self._iterates, self._may_fail
        self._reads, self._reads_known = set(), True
        self._timed = self._iterates = self._may_fail = False
        term = self.term(node, place)
        logic = self._logic(term)
        reads, known, timed, iterates, may_fail = before
        self._reads |= reads
        self._reads_known &= known
        self._timed |= timed
        self._iterates |= iterates
        self._may_fail |= may_fail
        return term, logic

    def _logic(self, term: Term) -> Logic:
        return Logic(
            _entry(term.run, iterates=self._iterates),
            frozenset(self._reads) if self._reads_known else None,
            self._timed,
            self._may_fail or self._iterates,
        )

    def unknown(self, name: str, place: Place) -> Term:
        """Return the term of an operation that there is not: to reach it is an error."""
        shown = name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "..."
        message = f"there is no operation {shown!r}; the flag fails where it is reached"
        self.findings.add(
            place.path, ProblemCode.UNKNOWN_OPERATOR, message, severity=Severity.WARNING
        )
        return self.failing(f"there is no operation {shown!r}")

    def failing(self, why: str) -> Term:
        """Return a term that raises LogicError."""
        self._may_fail = True

        def fail(_data: Any, _run: int) -> Any:
            raise LogicError(why)

        return Term(fail)

    def item(self, node: Any, place: Place, index: int) -> Term:
        """Return an item of the list at a place, compiled."""
        # most are scalars, of which nothing needs to be said
        if node.__class__ in _CONTAINERS or (node.__class__ is str and len(node) > _TEXT_CHARS):
            return self.term(node, place.at(index))
        return constant(node)

    def terms(self, arguments: Any, place: Place) -> list[Term]:
        """Return arguments compiled; one that is not in a list stands for itself."""
        if arguments.__class__ is list:
            return [self.item(node, place, index) for index, node in enumerate(arguments)]
        return [self.term(arguments, place)]

    def reads(self, *members: str) -> None:
        """Take note of members of the context that are read."""
        self._reads.update(members)

    def reads_unknown(self) -> None:
        """Take note that any member of the context may be read."""
        self._reads_known = False

    def timed(self) -> None:
        """Take note that the time is read."""
        self._timed = True

    def iterates(self) -> None:
        """Take note that lists are gone through, so that work is counted."""
        self._iterates = True

    @property
    def operations(self) -> int:
        """How many operations were compiled so far."""
        return self._operations

    def _list(self, node: list[Any], place: Place) -> Term:
        """Return a list: a value where nothing in it is an operation."""
        self._values += len(node)
        if self._values > _MAX_VALUES:
            if self._values - len(node) <= _MAX_VALUES:
                message = f"more than {_MAX_VALUES} values in lists"
                self.findings.add(place.path, ProblemCode.TOO_MANY, message)
            return _NOTHING
        if not any(item.__class__ in _CONTAINERS for item in node):
            if max((len(item) for item in node if item.__class__ is str), default=0) > _TEXT_CHARS:
                message = f"a text of more than {_TEXT_CHARS} characters"
                self.findings.add(place.path, ProblemCode.OUT_OF_RANGE, message)
            return constant(node)
        if place.depth >= limits.MAX_CONDITION_DEPTH:
            message = f"operations nest deeper than {limits.MAX_CONDITION_DEPTH}"
            self.findings.add(place.path, ProblemCode.TOO_DEEP, message)
            return _NOTHING
        deeper = place._replace(depth=place.depth + 1)
        terms = [self.item(item, deeper, index) for index, item in enumerate(node)]
        if all(term.constant for term in terms):
            return constant([_given(term.value) for term in terms])
        runs = [term.run for term in terms]
        return Term(lambda data, run: [item(data, run) for item in runs])


_SHOWN_CHARS = 40


def _given(value: Any) -> Any:
    return None if value is UNDEFINED else value


def _entry(run: Closure, *, iterates: bool) -> Callable[[dict[str, Any], int], Any]:
    """Return what is called from outside: None instead of `UNDEFINED`, `LogicError` for all."""
    if not iterates:

        def evaluate(context: dict[str, Any], now_ms: int) -> Any:
            try:
                result = run(context, now_ms)
            except TooMuch:
                return None
            return None if result is UNDEFINED else result

        return evaluate

    def counted(context: dict[str, Any], now_ms: int) -> Any:
        try:
            result = run(context, _Work(now_ms))
        except TooMuch:
            raise LogicError("too much work") from None
        return None if result is UNDEFINED else result

    return counted


# What all operations of values share: arguments first, then a function of them


def _padded(terms: list[Term], count: int) -> list[Term]:
    """Return as many terms as a function has parameters."""
    return [*terms[:count], *[_NOTHING] * (count - len(terms))]


def _pure(terms: Sequence[Term], term: Term) -> Term:
    """Return a term, or what it comes to where all that it is made of is constant."""
    if not all(each.constant for each in terms):
        return term
    try:
        return constant(term.run({}, _Work(0)))
    except (TooMuch, LogicError):
        return term


def _binary(function: Callable[[Any, Any], Any], *, plain: bool) -> Form:
    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        one, other = terms = _padded(compiler.terms(arguments, place), 2)
        first, second = one.run, other.run
        if other.constant:
            value = other.value
            term = Term(lambda data, t: function(first(data, t), value), plain=plain)
        else:
            term = Term(lambda data, t: function(first(data, t), second(data, t)), plain=plain)
        return _pure(terms, term._replace(scalar=True))

    return form


def _of_all(
    function: Callable[[list[Any]], Any], *, plain: bool = False, scalar: bool = True
) -> Form:
    """Return an operation of any number of arguments."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        terms = compiler.terms(arguments, place)
        runs = [term.run for term in terms]
        if len(runs) == 2:
            first, second = runs
            run: Closure = lambda data, t: function([first(data, t), second(data, t)])  # noqa: E731 - one of two
        else:
            run = lambda data, t: function([each(data, t) for each in runs])  # noqa: E731 - the other
        return _pure(terms, Term(run, plain=plain, scalar=scalar))

    return form


# Logic


def condition(term: Term) -> Closure:
    """Return a term as a condition: its results are true for Python when they are for the logic."""
    if term.plain:
        return term.run
    if term.constant:
        value = truthy(term.value)
        return lambda _data, _run: value
    run = term.run
    return lambda data, t: truthy(run(data, t))


def _if(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return what goes with the first condition that holds: condition, value, ..., otherwise."""
    terms = compiler.terms(arguments, place)
    last = terms[-1] if len(terms) % 2 else constant(None)
    pairs: list[tuple[Closure, Term]] = []
    for test, value in zip(terms[:-1:2], terms[1::2], strict=False):
        if test.constant:
            if not truthy(test.value):
                continue
            last = value
            break
        pairs.append((condition(test), value))
    if not pairs:
        return last
    values = [*(value for _, value in pairs), last]
    plain, scalar = all(v.plain for v in values), all(v.scalar for v in values)
    otherwise = last.run
    if len(pairs) == 1:
        [(test_run, value)] = pairs
        run_value = value.run
        return Term(
            lambda data, t: run_value(data, t) if test_run(data, t) else otherwise(data, t),
            plain=plain,
            scalar=scalar,
        )
    runs = tuple((test_run, value.run) for test_run, value in pairs)

    def choose(data: Any, t: int) -> Any:
        for holds, value_run in runs:
            if holds(data, t):
                return value_run(data, t)
        return otherwise(data, t)

    return Term(choose, plain=plain, scalar=scalar)


def _series(stops_when: bool) -> Form:
    """Return `and` or `or`: the first argument that decides, or the last."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        terms = compiler.terms(arguments, place)
        if not terms:
            return _NOTHING
        kept: list[Term] = []
        for term in terms:
            kept.append(term)
            if term.constant and truthy(term.value) is stops_when:
                break
        if kept[0].constant and (len(kept) == 1 or truthy(kept[0].value) is stops_when):
            return kept[0]
        plain, scalar = all(k.plain for k in kept), all(k.scalar for k in kept)
        *firsts, last = [term.run for term in kept]
        firsts_runs, last_run = tuple(firsts), last
        if plain and stops_when:

            def any_of(data: Any, t: int) -> Any:
                for run in firsts_runs:
                    if value := run(data, t):
                        return value
                return last_run(data, t)

            return Term(any_of, plain=True, scalar=scalar)
        if plain:

            def all_of(data: Any, t: int) -> Any:
                for run in firsts_runs:
                    if not (value := run(data, t)):
                        return value
                return last_run(data, t)

            return Term(all_of, plain=True, scalar=scalar)

        def in_turn(data: Any, t: int) -> Any:
            for run in firsts_runs:
                value = run(data, t)
                if truthy(value) is stops_when:
                    return value
            return last_run(data, t)

        return Term(in_turn, scalar=scalar)

    return form


def _not(compiler: Compiler, arguments: Any, place: Place) -> Term:
    [one] = _padded(compiler.terms(arguments, place), 1)
    holds = condition(one)
    term = Term(lambda data, t: not holds(data, t), plain=True, scalar=True)
    return _pure([one], term)


def _truth(compiler: Compiler, arguments: Any, place: Place) -> Term:
    [one] = _padded(compiler.terms(arguments, place), 1)
    holds = condition(one)
    term = Term(lambda data, t: bool(holds(data, t)), plain=True, scalar=True)
    return _pure([one], term)


# Comparison


def _equality(*, strict: bool, wanted: bool) -> Form:
    equal = strictly_equal if strict else loosely_equal

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        one, other = terms = _padded(compiler.terms(arguments, place), 2)
        if one.constant:
            one, other = other, one
        first, second = one.run, other.run
        value = other.value
        if other.constant and value.__class__ is str:
            # by far the most there are: an attribute and a text

            def is_text(data: Any, t: int) -> bool:
                found = first(data, t)
                if found.__class__ is str:
                    return (found == value) is wanted
                return equal(found, value) is wanted

            return _pure(terms, Term(is_text, plain=True, scalar=True))
        if other.constant:
            run: Closure = lambda data, t: equal(first(data, t), value) is wanted  # noqa: E731 - one of two
        else:
            run = lambda data, t: equal(first(data, t), second(data, t)) is wanted  # noqa: E731 - the other
        return _pure(terms, Term(run, plain=True, scalar=True))

    return form


def _between(holds: Callable[[Any, Any], bool]) -> Form:
    """Return `<` or `<=`, which take a third argument: that the second is in order with it."""
    two = _binary(holds, plain=True)

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        if arguments.__class__ is not list or len(arguments) < 3:
            return two(compiler, arguments, place)
        terms = _padded(compiler.terms(arguments, place), 3)
        first, second, third = [term.run for term in terms]

        def between(data: Any, t: int) -> bool:
            middle, last = second(data, t), third(data, t)
            if not holds(first(data, t), middle):
                return False
            return last is UNDEFINED or holds(middle, last)

        return _pure(terms, Term(between, plain=True, scalar=True))

    return form


def _in(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return whether a text has another in it, or a list an item."""
    one, other = terms = _padded(compiler.terms(arguments, place), 2)
    first = one.run
    items = other.value
    if other.constant and items.__class__ is list and all(i.__class__ is str for i in items):
        texts = frozenset(items)

        def is_one(data: Any, t: int) -> bool:
            value = first(data, t)
            return value.__class__ is str and value in texts

        return _pure(terms, Term(is_one, plain=True, scalar=True))
    second = other.run
    in_list = place.in_list

    def is_in(data: Any, t: int) -> bool:
        item, where = first(data, t), second(data, t)
        if in_list and where.__class__ in _SIZED:
            t.spend(len(where) // _CHARS_OF_WORK)  # type: ignore[attr-defined]  # a `_Work` there
        return _is_in(item, where)

    return _pure(terms, Term(is_in, plain=True, scalar=True))


_SIZED = (str, list)


def _is_in(item: Any, where: Any) -> bool:
    if where.__class__ is str:
        return bool(where) and (item if item.__class__ is str else text(item)) in where
    if where.__class__ is list:
        return any(strictly_equal(each, item) for each in where)
    return False


# Numbers


def _plus(values: list[Any]) -> float:
    return sum(map(parse_float, values), 0.0)


def _times(values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]  # as it is
    return reduce(lambda one, other: parse_float(one) * parse_float(other), values)


def _multiplication(compiler: Compiler, arguments: Any, place: Place) -> Term:
    if arguments == []:
        return compiler.failing("there is nothing to multiply")
    return _of_all(_times, scalar=False)(compiler, arguments, place)


def _minus(one: Any, other: Any) -> int | float:
    if other is UNDEFINED:
        return -number(one)
    return float(number(one)) - number(other)


def _divided(one: Any, other: Any) -> float:
    above, below = float(number(one)), float(number(other))
    if below:
        return above / below
    if above != above or below != below or not above:
        return float("nan")
    sign = (str(above)[0] == "-") is (str(below)[0] == "-")
    return float("inf") if sign else float("-inf")


def _remainder(one: Any, other: Any) -> float:
    above, below = float(number(one)), float(number(other))
    try:
        return fmod(above, below)
    except ValueError:
        return float("nan")


def _least(values: list[Any]) -> int | float:
    return _extreme(min, [number(value) for value in values], float("inf"))


def _most(values: list[Any]) -> int | float:
    return _extreme(max, [number(value) for value in values], float("-inf"))


def _extreme(function: Callable[..., Any], numbers: list[int | float], none: float) -> int | float:
    found: int | float = next((n for n in numbers if n != n), function(numbers, default=none))
    return found


# Text


def _cat(compiler: Compiler, arguments: Any, place: Place) -> Term:
    terms = compiler.terms(arguments, place)
    runs = tuple(term.run for term in terms)
    in_list = place.in_list

    def cat(data: Any, t: int) -> str:
        pieces = []
        for run in runs:
            value = run(data, t)
            if value.__class__ is str:
                pieces.append(value)
            elif value is not None and value is not UNDEFINED:
                pieces.append(text(value))
        whole = "".join(pieces)
        if len(whole) > MAX_TEXT_CHARS:
            raise TooMuch
        if in_list:
            t.spend(len(whole) // _CHARS_OF_WORK)  # type: ignore[attr-defined]  # a `_Work` there
        return whole

    return _pure(terms, Term(cat, plain=True, scalar=True))


def _substr(compiler: Compiler, arguments: Any, place: Place) -> Term:
    terms = _padded(compiler.terms(arguments, place), 3)
    source, start, end = [term.run for term in terms]

    in_list = place.in_list

    def substr(data: Any, t: int) -> str:
        whole = text(source(data, t))
        if in_list:
            t.spend(len(whole) // _CHARS_OF_WORK)  # type: ignore[attr-defined]  # a `_Work` there
        return _part(whole, start(data, t), end(data, t))

    return _pure(terms, Term(substr, plain=True, scalar=True))


def _part(whole: str, start: Any, length: Any) -> str:
    """Return `length` code units from `start` on; from the end where it is negative.

    Of a negative length, so many are left out at the end.
    """
    if max(whole, default="") > "\uffff":
        units = whole.encode("utf-16-le", "surrogatepass")
        narrow = "".join(map(chr, memoryview(units).cast("H")))
        part = _part(narrow, start, length)
        return part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    first = _integer(start)
    rest = whole[max(0, len(whole) + first) if first < 0 else first :]
    if length is UNDEFINED:
        return rest
    count = _integer(length)
    if less(length, 0):
        return rest[: max(0, len(rest) + count)]
    return rest[: max(0, count)]


_FAR = 2**53


def _integer(value: Any) -> int:
    """Return a number without its fraction, 0 for none."""
    found = number(value)
    if found != found:
        return 0
    return int(min(max(found, -_FAR), _FAR))


# Lists


def _merge(compiler: Compiler, arguments: Any, place: Place) -> Term:
    terms = compiler.terms(arguments, place)
    runs = tuple(term.run for term in terms)
    in_list = place.in_list

    def merge(data: Any, t: int) -> list[Any]:
        whole: list[Any] = []
        for run in runs:
            value = run(data, t)
            if value.__class__ is list:
                whole += value
            else:
                whole.append(value)
        if in_list:
            t.spend(len(whole))  # type: ignore[attr-defined]  # a `_Work` there
        return whole

    return _pure(terms, Term(merge))


class _Walk(NamedTuple):
    """What an operation that goes through a list is made of; `cost` is that of one item."""

    items: Closure
    item: Term
    cost: int


def _walk(compiler: Compiler, arguments: Any, place: Place) -> _Walk:
    nodes = arguments if arguments.__class__ is list else [arguments]
    items = compiler.term(nodes[0], place.at(0)) if nodes else _NOTHING
    before = compiler.operations
    inner = place.at(1)._replace(in_list=True)
    item = compiler.term(nodes[1], inner) if len(nodes) > 1 else _NOTHING
    compiler.iterates()
    return _Walk(items.run, item, 1 + compiler.operations - before)


def _filtered(walk: _Walk) -> Callable[[Any, int], list[Any]]:
    items, cost = walk.items, walk.cost
    holds = condition(walk.item)

    def filtered(data: Any, t: Any) -> list[Any]:
        values = items(data, t)
        if values.__class__ is not list:
            return []
        kept = []
        for value in values:
            t.spend(cost)
            if holds(value, t):
                kept.append(value)
        return kept

    return filtered


def _filter(compiler: Compiler, arguments: Any, place: Place) -> Term:
    return Term(_filtered(_walk(compiler, arguments, place)))


def _map(compiler: Compiler, arguments: Any, place: Place) -> Term:
    items, item, cost = _walk(compiler, arguments, place)
    one = item.run

    def mapped(data: Any, t: Any) -> list[Any]:
        values = items(data, t)
        if values.__class__ is not list:
            return []
        t.spend(cost * len(values))
        return [one(value, t) for value in values]

    return Term(mapped)


def _reduce(compiler: Compiler, arguments: Any, place: Place) -> Term:
    items, item, cost = _walk(compiler, arguments, place)
    given = arguments.__class__ is list and len(arguments) > 2
    initial = compiler.term(arguments[2], place.at(2)) if given else constant(None)
    start, one = initial.run, item.run

    def reduced(data: Any, t: Any) -> Any:
        values = items(data, t)
        result = start(data, t)
        if values.__class__ is not list:
            return result
        for value in values:
            t.spend(cost)
            result = one({"current": value, "accumulator": result}, t)
        return result

    return Term(reduced)


def _all(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return whether all items fulfil a condition, and there is one."""
    items, item, cost = _walk(compiler, arguments, place)
    holds = condition(item)

    def all_hold(data: Any, t: Any) -> bool:
        values = items(data, t)
        if values.__class__ is not list or not values:
            return False
        for value in values:
            t.spend(cost)
            if not holds(value, t):
                return False
        return True

    return Term(all_hold, plain=True, scalar=True)


def _any(wanted: bool) -> Form:
    """Return `some` or `none`; every item is asked, as one of them may be an error."""

    def form(compiler: Compiler, arguments: Any, place: Place) -> Term:
        filtered = _filtered(_walk(compiler, arguments, place))

        def is_any(data: Any, t: Any) -> bool:
            return bool(filtered(data, t)) is wanted

        return Term(is_any, plain=True, scalar=True)

    return form


# Data


Steps = tuple[tuple[str, int | None], ...]
"""The members on a path, each with the number it is in a list."""


def _steps(path: str) -> Steps:
    return tuple((name, _index(name)) for name in path.split("."))


def _index(name: str) -> int | None:
    if not (name.isascii() and name.isdigit()) or len(name) > _INDEX_DIGITS:
        return None
    return int(name) if name == "0" or name[0] != "0" else None


_INDEX_DIGITS = 9


def _follow(data: Any, steps: Steps) -> Any:
    """Return what steps lead to, `UNDEFINED` where there is nothing."""
    for name, index in steps:
        if data.__class__ is dict:
            data = data.get(name, UNDEFINED)
        elif data.__class__ is list and index is not None and index < len(data):
            data = data[index]
        else:
            return UNDEFINED
    return data


def _var(compiler: Compiler, arguments: Any, place: Place) -> Term:
    path, default = _padded(compiler.terms(arguments, place), 2)
    if path.constant and (path.value in (None, "") or path.value is UNDEFINED):
        return Term(_whole(compiler, place))
    if not path.constant:
        find = _finder(compiler, place)
        path_run, default_run = path.run, _defined(default)

        def found(data: Any, t: int) -> Any:
            where = path_run(data, t)
            value = find(data, t, where)
            return default_run(data, t) if value is UNDEFINED else value

        return Term(found)
    steps = _steps(_constant_text(path.value))
    if not place.in_list:
        extra = _extra(compiler, steps)
        if extra is not None:
            return extra
        compiler.reads(steps[0][0])
        if default.constant:
            return Term(_member(steps, _given(default.value)))
    default_run = _defined(default)

    def member(data: Any, t: int) -> Any:
        value = _follow(data, steps)
        return default_run(data, t) if value is UNDEFINED else value

    return Term(member)


def _constant_text(value: Any) -> str:
    try:
        return text(value)
    except TooMuch:
        return ""


def _defined(default: Term) -> Closure:
    if default.constant:
        value = _given(default.value)
        return lambda _data, _run: value
    run = default.run
    return lambda data, t: _given(run(data, t))


def _member(steps: Steps, default: Any) -> Closure:
    """Return the member of a context, which is always an object."""
    match steps:
        case ((name, _),):
            if default is None:
                return lambda data, _run: data.get(name)
            return lambda data, _run: data.get(name, default)
        case ((outer, _), (inner, None)):

            def of_object(data: Any, _run: int) -> Any:
                value = data.get(outer)
                return value.get(inner, default) if value.__class__ is dict else default

            return of_object

    def followed(data: Any, _run: int) -> Any:
        value = _follow(data, steps)
        return default if value is UNDEFINED else value

    return followed


def _extra(compiler: Compiler, steps: Steps) -> Term | None:
    """Return the term of a path into what the system adds to the context, None for another."""
    node: Any = compiler.extras.get(steps[0][0], UNDEFINED)
    if node is UNDEFINED:
        return None
    rest = steps[1:]
    while rest and node.__class__ is dict:
        node = node.get(rest[0][0], UNDEFINED)
        rest = rest[1:]
    if isinstance(node, Extra):
        compiler.reads(*node.reads)
        if node.timed:
            compiler.timed()
        value = node.value
        if not rest:
            return Term(value)

        def member(data: Any, t: int) -> Any:
            return _given(_follow(value(data, t), rest))

        return Term(member)
    if node.__class__ is dict:
        _note_extras(compiler, node)
        return Term(lambda data, t: _made(node, data, t))
    return constant(None if rest else _given(node))


def _note_extras(compiler: Compiler, node: Mapping[str, Any]) -> None:
    stack: list[Any] = [node]
    while stack:
        for value in stack.pop().values():
            if value.__class__ is dict:
                stack.append(value)
            elif isinstance(value, Extra):
                compiler.reads(*value.reads)
                if value.timed:
                    compiler.timed()


def _made(node: Any, data: Any, t: int) -> Any:
    """Return what an extra comes to. They nest as deep as a system's own code says."""
    if isinstance(node, Extra):
        return node.value(data, t)
    if node.__class__ is dict:
        return {name: _made(value, data, t) for name, value in node.items()}
    return node


def _whole(compiler: Compiler, place: Place) -> Closure:
    """Return all data in scope, with what the system adds."""
    if place.in_list:
        return _itself
    compiler.reads_unknown()
    extras = compiler.extras
    if not extras:
        return _itself
    _note_extras(compiler, extras)
    return lambda data, t: {**data, **_made(extras, data, t)}


def _itself(data: Any, _run: int) -> Any:
    return data


def _finder(compiler: Compiler, place: Place) -> Callable[[Any, int, Any], Any]:
    """Return what finds the value of a path that is only known at an evaluation."""
    whole = _whole(compiler, place)
    extras = {} if place.in_list else compiler.extras

    def find(data: Any, t: int, path: Any) -> Any:
        if path is None or path is UNDEFINED or path == "":
            return whole(data, t)
        written = text(path)
        if len(written) > _MAX_PATH_CHARS:
            return UNDEFINED
        steps = _steps(written)
        return _follow(whole(data, t) if steps[0][0] in extras else data, steps)

    return find


_MAX_PATH_CHARS = 4 * limits.MAX_PATH_CHARS
"""Of a path that is computed; it is divided at every evaluation."""


def _missing(compiler: Compiler, arguments: Any, place: Place) -> Term:
    terms = compiler.terms(arguments, place)
    missing = _missing_of(compiler, place, terms)
    runs = [term.run for term in terms]

    def found(data: Any, t: int) -> list[Any]:
        values = [run(data, t) for run in runs]
        if values and values[0].__class__ is list:
            values = values[0]
        return missing(data, t, values)

    return Term(found)


def _missing_some(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return the paths that are missing, or none where enough of them are there."""
    need, paths = _padded(compiler.terms(arguments, place), 2)
    missing = _missing_of(compiler, place, [paths])
    need_run, paths_run = need.run, paths.run

    def found(data: Any, t: int) -> list[Any]:
        values = paths_run(data, t)
        lists = values.__class__ is list
        lacking = missing(data, t, values if lists else [values])
        if not lists and values.__class__ is not str:
            return lacking
        enough = not_more(need_run(data, t), len(values) - len(lacking))
        return [] if enough else lacking

    return Term(found)


def _missing_of(
    compiler: Compiler, place: Place, terms: list[Term]
) -> Callable[[Any, int, list[Any]], list[Any]]:
    """Return what says which of some paths lead to nothing, null, or no text."""
    if not place.in_list and all(term.constant for term in terms):
        values = [term.value for term in terms]
        if values and values[0].__class__ is list:
            values = values[0]
        if all(path.__class__ is str and path for path in values):
            known = {path: _steps(path) for path in values}
            members = {steps[0][0] for steps in known.values()}
            if not members & compiler.extras.keys():
                compiler.reads(*members)
                return lambda data, _run, paths: [
                    path for path in paths if _is_nothing(_follow(data, known[path]))
                ]
    find = _finder(compiler, place)
    return lambda data, t, paths: [path for path in paths if _is_nothing(find(data, t, path))]


def _is_nothing(value: Any) -> bool:
    return value is None or value is UNDEFINED or (value.__class__ is str and not value)


def _first(compiler: Compiler, arguments: Any, place: Place) -> Term:
    """Return the argument: `log` writes nothing here."""
    return _padded(compiler.terms(arguments, place), 1)[0]


def _reversed(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda one, other: function(other, one)


_FORMS: dict[str, Form] = {
    "if": _if,
    "?:": _if,
    "and": _series(False),
    "or": _series(True),
    "!": _not,
    "!!": _truth,
    "==": _equality(strict=False, wanted=True),
    "!=": _equality(strict=False, wanted=False),
    "===": _equality(strict=True, wanted=True),
    "!==": _equality(strict=True, wanted=False),
    "<": _between(less),
    "<=": _between(not_more),
    ">": _binary(_reversed(less), plain=True),
    ">=": _binary(_reversed(not_more), plain=True),
    "in": _in,
    "+": _of_all(_plus),
    "*": _multiplication,
    "-": _binary(_minus, plain=False),
    "/": _binary(_divided, plain=False),
    "%": _binary(_remainder, plain=False),
    "min": _of_all(_least),
    "max": _of_all(_most),
    "cat": _cat,
    "substr": _substr,
    "merge": _merge,
    "filter": _filter,
    "map": _map,
    "reduce": _reduce,
    "all": _all,
    "some": _any(True),
    "none": _any(False),
    "var": _var,
    "missing": _missing,
    "missing_some": _missing_some,
    "log": _first,
}
"""The operations of JSON Logic."""
