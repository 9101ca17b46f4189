"""JSON Logic made functions of a context and the time; its operations are in `operations`.

An expression is taken apart once, when it is translated: every operation becomes a closure over
those of its arguments, paths are split, what is constant is computed. At an evaluation nothing of
the expression's JSON is looked at any more.

    Compiler(findings, forms, extras).compile(expression, path) -> Logic
    Logic.evaluate(context, now_ms) -> a JSON value

`forms` are the operations, with those of a dialect's own; `extras` are members of the context that
the system adds to it.

Rules:
- `evaluate` raises for no context, but `LogicError`, and that only where `may_fail` says so: where
  an operation is reached that there is not or that fails for its values, or where going through
  lists becomes more work than any flag is worth. Where there are no lists, text too long to put
  together makes the result null.
- An object of one member is an operation; others, and lists without operations in them, are values.
- What is true is what Python takes for true: neither null, false, 0 nor empty.
- The time is an argument of every closure, as an integer of Unix milliseconds. Where an expression
  goes through lists it is a `_Work`, an integer that also counts down what may yet be done.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.dialects.javascript import TooMuch
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
    "Scope",
    "Term",
    "constant",
    "operation_of",
]

MAX_WORK = 50_000
"""Operations that one evaluation does within lists: some 5 ms of them."""

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


class Scope(NamedTuple):
    """The data within a list: the item, and what was in scope outside, from the outermost on."""

    item: Any
    outside: tuple[Any, ...] = ()


class Term(NamedTuple):
    """An expression, compiled. `value` is what it comes to when `constant`.

    One that is `scalar` comes to no list and no object.
    """

    run: Closure
    constant: bool = False
    value: Any = None
    scalar: bool = False


class Extra(NamedTuple):
    """A member that a system adds to the context: computed of the context and the time."""

    value: Callable[[dict[str, Any], int], Any]
    reads: frozenset[str] = frozenset()
    timed: bool = False


class Place(NamedTuple):
    """Where in an expression, and what the data there is: the context, or within a list a `Scope`.

    `outside` says of each of the scope's whether it is the context.
    """

    path: Path
    depth: int = 0
    in_list: bool = False
    outside: tuple[bool, ...] = ()

    def at(self, *steps: str | int) -> "Place":
        """Return a place further in, no deeper in operations."""
        return self._replace(path=(*self.path, *steps))


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
    return Term(lambda _data, _run: value, True, value, scalar)


_NOTHING = constant(None)


class Compiler:
    """Compiles the expressions of one flag. What is wrong goes to `findings`."""

    def __init__(
        self,
        findings: Findings,
        forms: Mapping[str, Form],
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self.findings = findings
        self.extras = extras or {}
        self._forms = forms
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
        inner = place._replace(path=(*place.path, name), depth=place.depth + 1)
        form = self._forms.get(name)
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
        self.may_fail()

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

    def may_fail(self) -> None:
        """Take note that there may be no result."""
        self._may_fail = True

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
            return constant([term.value for term in terms])
        runs = [term.run for term in terms]
        return Term(lambda data, run: [item(data, run) for item in runs])


_SHOWN_CHARS = 40


def _entry(run: Closure, *, iterates: bool) -> Callable[[dict[str, Any], int], Any]:
    """Return what is called from outside, with `LogicError` for whatever has no result."""
    if not iterates:

        def evaluate(context: dict[str, Any], now_ms: int) -> Any:
            try:
                return run(context, now_ms)
            except TooMuch:
                return None

        return evaluate

    def counted(context: dict[str, Any], now_ms: int) -> Any:
        try:
            return run(context, _Work(now_ms))
        except TooMuch:
            raise LogicError("too much work") from None

    return counted
