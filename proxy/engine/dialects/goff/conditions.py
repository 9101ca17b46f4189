"""Queries of GO Feature Flag as expressions of the rule program.

What a comparison is goes by its literal, and the attribute must fit it:

    text        text; without regard to case, but for `in`
    integer     a number, without its fraction: 18.9 eq 18. For `in`, an integer
    decimal     a number
    version     text that is a version by SemVer 2.0.0
    boolean     a boolean, eq and ne only
    null        anything; `eq null` where it is missing, `ne null` where it is not

An attribute that is missing, or does not fit, makes a comparison false, `ne` too. An operator that
a literal does not have (`co 1`) and a hole in the query make the whole query false, also within
`not`, if evaluation comes to it.

A query that nothing of this can happen to becomes probes, which the compiler knows how to join. The
others become one function each, that evaluates from left to right as the original does. So do most
of those that name members of members, `company.id`: a path that leads nowhere leaves in place the
value that was last compared, and the next comparison is of that. Nobody wants this, and who moves
must get it; the translator warns.

Rules:
- Numbers are what Go's decoder makes of them: doubles, and integers where they are top-level
  members of the context and whole, which is why `in [1, 2]` holds for no member of a member.
- `key` and `targetingKey` are the targeting key, or the empty text; `anonymous` is a boolean.
"""

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NamedTuple

from proxy.engine import program as p
from proxy.engine.dialects.goff.query import Comparison, Group, Node, Presence, Series, Value
from proxy.engine.operators import Leaf

__all__ = ["Attributes", "attribute", "expression_of", "fails_on_nothing", "leaf_of", "member"]
__all__ += ["version_of"]

_NEVER = object()
_FAILS = object()
"""In place of a test: a comparison that is always false; one that makes the whole query false."""

Test = Callable[[Any], bool]

Attributes = Mapping[str, Any]
"""Attributes that the configuration sets, whatever the context says."""


# Attributes


def attribute(name: str, fixed: Attributes) -> str | p.Operand:
    """Return what reads a top-level attribute."""
    if name in ("key", "targetingKey"):
        return _KEY if name == "key" else _TARGETING_KEY
    if name == "anonymous":
        if name in fixed:
            known = fixed[name] is True
            return p.Operand(name, lambda _context: known, frozenset())
        return _ANONYMOUS
    if name in fixed:
        value = fixed[name]
        return p.Operand(name, lambda _context: value, frozenset())
    return name


def _targeting_key(context: dict[str, Any]) -> str:
    value = context.get("targetingKey")
    return value if value.__class__ is str else ""


_KEY = p.Operand("key", _targeting_key, frozenset(("targetingKey",)))
_TARGETING_KEY = p.Operand("targetingKey", _targeting_key, frozenset(("targetingKey",)))
_ANONYMOUS = p.Operand(
    "anonymous", lambda context: context.get("anonymous") is True, frozenset(("anonymous",))
)


def member(name: str, fixed: Attributes) -> Callable[[dict[str, Any]], Any]:
    """Return a function of a context to one of its members, None where it is missing."""
    operand = attribute(name, fixed)
    if isinstance(operand, p.Operand):
        return operand.fetch
    return lambda context: context.get(name)


# Values


_INTEGERS = range(-(2**63), 2**63)
_EXACT = 2**53
_OUT_OF_RANGE = -(2**63)
"""What an amd64 processor makes of a double that is no 64-bit integer."""


def whole(value: Any) -> int | None:
    """Return a number without its fraction, None for what is no number."""
    kind = value.__class__
    if kind is int:
        if -_EXACT <= value <= _EXACT:
            return int(value)
        value = decimal(value)
    elif kind is not float:
        return None
    return int(value) if -(2.0**63) <= value < 2.0**63 else _OUT_OF_RANGE


def integer(value: Any) -> int | None:
    """Return a whole number as an integer, None for any other value."""
    found = whole(value)
    return found if found is not None and decimal(value) == float(found) else None


def decimal(value: Any) -> float | None:
    """Return a number as a double, None for what is no number."""
    kind = value.__class__
    if kind is float:
        return float(value)
    if kind is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def lower(value: str) -> str:
    """Return text in lower case, each character for itself, as Go has it."""
    if value.isascii():
        return value.lower()
    return "".join([_lower(character) for character in value])


def _lower(character: str) -> str:
    found = character.lower()
    return found if len(found) == 1 else found[0]


_NUMBER = r"(0|[1-9][0-9]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_VERSION_CHARS = 1_024
_MOST = 2**64 - 1
_RELEASED = ((2, 0, ""),)

Version = tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]]
"""The three numbers, and the identifiers of a pre-release; released ones come after those."""


def version_of(text: Any) -> Version | None:
    """Return a version, None for what is none. Its numbers have at most 64 bits."""
    if text.__class__ is not str or len(text) > _VERSION_CHARS:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    core = tuple([int(number) for number in match.groups()[:3]])
    if max(core) > _MOST:
        return None
    if match[4] is None:
        return core, _RELEASED
    identifiers = []
    for identifier in match[4].split("."):
        if not identifier.isdigit():
            if not identifier:
                return None
            identifiers.append((1, 0, identifier))
        elif (identifier[0] == "0" and identifier != "0") or int(identifier) > _MOST:
            return None
        else:
            identifiers.append((0, int(identifier), ""))
    return core, tuple(identifiers)


# Comparisons


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": eq,
    "ne": ne,
    "gt": gt,
    "lt": lt,
    "ge": ge,
    "le": le,
}
_SIGNS = {"eq": "==", "ne": "!=", "gt": ">", "lt": "<", "ge": ">=", "le": "<="}
_PARTS = {"co": "{1} in {0}({x})", "sw": "{0}({x}).startswith({1})", "ew": "{0}({x}).endswith({1})"}


class _Compared(NamedTuple):
    """A comparison as a test of a value, and as a leaf."""

    test: Test
    leaf: Leaf


def _of_test(test: Test) -> _Compared:
    return _Compared(test, Leaf("{0}({f})", (test,)))


def _compared(comparison: Comparison) -> Any:
    """Return what a comparison does: `_Compared`, `_NEVER`, or `_FAILS`."""
    if comparison.value is None:
        return _FAILS
    return _KINDS[comparison.value.kind](comparison.operator, comparison.value)


def _null(operator: str, _value: Value) -> Any:
    if operator == "eq":
        return _IS_MISSING
    return _IS_THERE if operator == "ne" else _FAILS


_IS_MISSING = _Compared(lambda value: value is None, Leaf("{f} is None"))
_IS_THERE = _Compared(lambda value: value is not None, Leaf("{f} is not None"))


def _boolean(operator: str, value: Value) -> Any:
    wanted = value.texts[0] == "true"
    if operator not in ("eq", "ne") or value.texts[0] not in ("true", "false"):
        return _FAILS
    if operator == "ne":
        wanted = not wanted
    return _Compared(lambda found: found is wanted, Leaf(f"{{f}} is {wanted}"))


def _unquoted(text: str) -> str:
    """Return what is between the first and the last character; escapes stay as they are."""
    return text[1:-1] if len(text) > 2 else ""


def _string(operator: str, value: Value) -> Any:
    if operator == "in":
        return _NEVER
    wanted = lower(_unquoted(value.texts[0]))
    sign = _SIGNS.get(operator)
    said = f"{{0}}({{x}}) {sign} {{1}}" if sign else _PARTS[operator]
    leaf = Leaf("{f}.__class__ is str and " + said, (lower, wanted))
    order = _ORDERS.get(operator)
    if order is not None:
        return _Compared(lambda v: v.__class__ is str and order(lower(v), wanted), leaf)
    if operator == "co":
        return _Compared(lambda v: v.__class__ is str and wanted in lower(v), leaf)
    if operator == "sw":
        return _Compared(lambda v: v.__class__ is str and lower(v).startswith(wanted), leaf)
    return _Compared(lambda v: v.__class__ is str and lower(v).endswith(wanted), leaf)


def _strings(operator: str, value: Value) -> Any:
    if operator != "in":
        return _NEVER
    wanted = frozenset(map(_unquoted, value.texts))
    return _Compared(
        lambda found: found.__class__ is str and found in wanted,
        Leaf("{f}.__class__ is str and {x} in {0}", (wanted,)),
    )


def _integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    found = int(text)
    return found if found in _INTEGERS else None


_INTEGER = re.compile(r"-?[0-9]{1,20}")


def _whole(operator: str, value: Value) -> Any:
    wanted = _integer(value.texts[0])
    if wanted is None or operator in _PARTS:
        return _FAILS
    if operator == "in":
        return _NEVER
    order = _ORDERS[operator]

    def test(found: Any) -> bool:
        number = whole(found)
        return number is not None and order(number, wanted)

    return _of_test(test)


def _integers(operator: str, value: Value) -> Any:
    wanted = list(map(_integer, value.texts))
    if None in wanted or operator in _PARTS:
        return _FAILS
    if operator != "in":
        return _NEVER
    numbers = frozenset(wanted)

    def test(found: Any) -> bool:
        number = integer(found)
        return number is not None and number in numbers

    return _of_test(test)


def _decimal(operator: str, value: Value) -> Any:
    if operator in _PARTS:
        return _FAILS
    if operator == "in":
        return _NEVER
    wanted = float(value.texts[0])
    if abs(wanted) == float("inf"):
        return _NEVER
    order = _ORDERS[operator]

    def test(found: Any) -> bool:
        number = decimal(found)
        return number is not None and order(number, wanted)

    return _of_test(test)


def _decimals(operator: str, value: Value) -> Any:
    numbers = frozenset(map(float, value.texts))
    if operator in _PARTS or numbers & {float("inf"), float("-inf")}:
        return _FAILS
    if operator != "in":
        return _NEVER
    return _of_test(lambda found: decimal(found) in numbers)


def _version(operator: str, value: Value) -> Any:
    wanted = version_of(value.texts[0])
    order = _ORDERS.get(operator)
    if order is None:
        return _FAILS
    if wanted is None:
        return _NEVER

    def test(found: Any) -> bool:
        version = version_of(found)
        return version is not None and order(version, wanted)

    return _of_test(test)


_KINDS: dict[str, Callable[[str, Value], Any]] = {
    "NULL": _null,
    "BOOLEAN": _boolean,
    "STRING": _string,
    "STRINGS": _strings,
    "INT": _whole,
    "INTS": _integers,
    "DOUBLE": _decimal,
    "DOUBLES": _decimals,
    "VERSION": _version,
}


# Expressions


class Made(NamedTuple):
    """A query as an expression. `fails`: some of it makes all of it false; `strays`: see above."""

    expression: p.Expression
    leaves: int
    fails: bool
    strays: bool


def expression_of(root: Node | None, text: str, fixed: Attributes) -> Made:
    """Return the expression of a query; `text` is it as its author wrote it."""
    seen = _Seen()
    _look(root, seen)
    strays = seen.paths > 0 and seen.leaves > 1
    if root is None:
        return Made(p.FALSE, 1, True, False)
    if seen.fails or strays or seen.turns > _MAX_TURNS or (seen.paths and seen.delicate):
        return Made(_as_function(root, text, fixed, seen), seen.leaves, seen.fails, strays)
    return Made(_as_probes(root, text, fixed), seen.leaves, False, False)


_MAX_TURNS = 30
"""From `and` to `or` and back: each is one level deeper in an expression."""


class _Seen:
    """What there is in a query."""

    def __init__(self) -> None:
        self.leaves = 0
        self.paths = 0
        self.turns = 0
        self.fails = False
        self.delicate = False  # a `not`, or a comparison that is not the same for a path
        self.names: set[str] = set()


def _look(node: Node | None, seen: _Seen) -> None:
    """Note what there is in a query. Recursion is bounded by its parentheses."""
    match node:
        case None:
            seen.fails = True
        case Group():
            seen.delicate |= node.negated
            seen.turns += 1
            _look(node.inner, seen)
        case Series():
            _look(node.first, seen)
            before = ""
            for word, operand in node.rest:
                seen.turns += word != before
                before = word
                _look(operand, seen)
        case _:
            seen.leaves += 1
            seen.names.add(node.path[0])
            seen.paths += len(node.path) > 1
            if isinstance(node, Presence):
                seen.delicate = True
            elif node.value is not None:
                seen.delicate |= node.value.kind in ("NULL", "INTS")
            if isinstance(node, Comparison):
                seen.fails |= _compared(node) is _FAILS


def leaf_of(node: Comparison | Presence) -> Any:
    """Return the test and the leaf of a comparison that does not fail, or `_NEVER`."""
    return _IS_THERE if isinstance(node, Presence) else _compared(node)


def _as_probes(node: Node | None, text: str, fixed: Attributes) -> p.Expression:
    match node:
        case Group():
            inner = _as_probes(node.inner, text, fixed)
            return p.negation(inner) if node.negated else inner
        case Series():
            return _series(node, text, fixed)
        case None:
            return p.FALSE
    found = leaf_of(node)
    if found is _NEVER:
        return p.FALSE
    operand = attribute(node.path[0], fixed) if len(node.path) == 1 else _path(node.path, fixed)
    return p.Probe(operand, found.leaf, source=_shown(node))


def _series(node: Series, text: str, fixed: Attributes) -> p.Expression:
    """Return a series: the operands of a run of one word are joined at once."""
    made = _as_probes(node.first, text, fixed)
    word, run = "and", [made]
    for following, operand in node.rest:
        if following != word:
            run = [p.all_of(run) if word == "and" else p.any_of(run)]
            word = following
        run.append(_as_probes(operand, text, fixed))
    return p.all_of(run) if word == "and" else p.any_of(run)


def _shown(node: Comparison | Presence) -> str:
    path = ".".join(node.path)
    if isinstance(node, Presence):
        return f"{path} pr"
    texts = node.value.texts if node.value else ()
    lists = node.value is not None and node.value.kind in ("INTS", "DOUBLES", "STRINGS")
    value = f"[{', '.join(texts)}]" if lists else "".join(texts)
    return f"{path} {node.operator} {value}"


def _path(path: tuple[str, ...], fixed: Attributes) -> p.Operand:
    """Return what reads a member of a member, for a comparison that is false where it is missing.

    Its number, which is no integer, is not in any list of those.
    """
    first, rest = member(path[0], fixed), path[1:]

    def fetch(context: dict[str, Any]) -> Any:
        value = first(context)
        for name in rest:
            if value.__class__ is not dict:
                return None
            value = value.get(name)
        return _double(value) if value.__class__ is int else value

    reads = attribute(path[0], fixed)
    members = reads.reads if isinstance(reads, p.Operand) else frozenset((reads,))
    return p.Operand(".".join(path), fetch, members)


def _double(value: int) -> float:
    return decimal(value) or 0.0


# One function for what cannot be taken apart


class _Abort(Exception):
    """The whole query is false."""


class _State:
    """What the original keeps from one comparison to the next."""

    __slots__ = ("left", "stack")

    def __init__(self) -> None:
        self.left: Any = None
        self.stack: list[Any] = []


_Step = Callable[[dict[str, Any], _State], bool]


def _as_function(root: Node, text: str, fixed: Attributes, seen: _Seen) -> p.Expression:
    step = _step(root, fixed)

    def holds(context: dict[str, Any]) -> bool:
        try:
            return step(context, _State())
        except _Abort:
            return False

    reads: set[str] = set()
    for name in seen.names:
        found = attribute(name, fixed)
        reads |= (found.reads or set()) if isinstance(found, p.Operand) else {found}
    return p.Probe(p.Operand("query", holds, frozenset(reads)), Leaf("{f}"), source=text)


def _step(node: Node | None, fixed: Attributes) -> _Step:
    match node:
        case None:
            return _fail
        case Group():
            inner = _step(node.inner, fixed)
            return (lambda context, state: not inner(context, state)) if node.negated else inner
        case Series():
            return _steps(node, fixed)
    visit = _visit(node.path, fixed)
    found = leaf_of(node)
    if found is _FAILS:
        return _fail
    test = (lambda _value: False) if found is _NEVER else found.test

    if isinstance(node, Comparison) and node.value and node.value.kind == "INTS":
        test = _of_go_integers(test)

    def compare(context: dict[str, Any], state: _State) -> bool:
        visit(context, state)
        return test(state.left)

    return compare


def _of_go_integers(test: Test) -> Test:
    """Return a test that does not take a whole double, a member's number, for an integer."""
    return lambda value: value.__class__ is int and test(value)


def _fail(_context: dict[str, Any], _state: _State) -> bool:
    raise _Abort


def fails_on_nothing(root: Node | None) -> bool:
    """Return whether evaluation fails where there are no attributes, not even a targeting key."""
    try:
        _holds_of_nothing(root)
    except _Abort:
        return True
    return False


def _holds_of_nothing(node: Node | None) -> bool:
    match node:
        case None:
            raise _Abort
        case Group():
            return _holds_of_nothing(node.inner) is not node.negated
        case Series():
            holds = _holds_of_nothing(node.first)
            for word, operand in node.rest:
                if holds is not (word == "or"):
                    holds = _holds_of_nothing(operand)
            return holds
    found = leaf_of(node)
    if found is _FAILS:
        raise _Abort
    return found is not _NEVER and bool(found.test(None))


def _steps(node: Series, fixed: Attributes) -> _Step:
    first = _step(node.first, fixed)
    rest = tuple((word == "or", _step(operand, fixed)) for word, operand in node.rest)

    def series(context: dict[str, Any], state: _State) -> bool:
        holds = first(context, state)
        for decided, operand in rest:
            if holds is not decided:
                holds = operand(context, state)
        return holds

    return series


def _visit(path: tuple[str, ...], fixed: Attributes) -> Callable[[dict[str, Any], _State], None]:
    """Return what finds the value that is compared; where it leads nowhere, the last one stays."""
    first, last = member(path[0], fixed), path[-1]
    middle = path[1:-1]
    plain = len(path) == 1

    def visit(context: dict[str, Any], state: _State) -> None:
        stack = state.stack
        if plain:
            if stack:
                _end(stack, last, state)
            else:
                state.left = _top(first(context))
            return
        if stack:
            if stack[-1] is None:
                return
            stack.append(_of(stack[-1], path[0]))
        else:
            stack.append(_top(first(context)))
        for name in middle:
            if stack[-1] is None:
                return
            stack.append(_of(stack[-1], name))
        _end(stack, last, state)

    return visit


def _end(stack: list[Any], name: str, state: _State) -> None:
    item = stack.pop()
    if item is not None:
        state.left = _of(item, name)
        stack.clear()


def _of(item: Any, name: str) -> Any:
    """Return a member of a member."""
    if item.__class__ is not dict:
        raise _Abort
    value = item.get(name)
    return _double(value) if value.__class__ is int else value


def _top(value: Any) -> Any:
    """Return a member of the context: whole numbers are integers."""
    if value.__class__ is int or value.__class__ is float:
        found = integer(value)
        return decimal(value) if found is None else found
    return value
