"""From a rule program to one flat callable, by generated source.

Programs of one shape share one code object: the source has no text of a definition in it, only
structure; every literal is a parameter, and each flag's function is that code with its own
literals as defaults. So the source is the shape, and the cache of code objects is keyed by it.

    def f(c, t, l0, l1, l2, l3, l4):         # context, now_ms; the rest are defaults
        if (v0 := c.get(l0)) == l1 and ...:
            return l2

What an attribute holds, and whether a segment holds, is computed where it is first needed and kept
in a local. Because `and` and `or` skip, "first needed" is settled by definite assignment: each
expression is generated with the set of locals certainly assigned before it, and says which are
after it when it is true and when it is false.

Nothing here decides semantics. Large programs become several functions, so that no code object
takes more than a few milliseconds to compile and no call binds hundreds of defaults: steps in
blocks, called one after the other, and large conditions in groups (`_BLOCK_LEAVES`).

Rules:
- Only names of `_NAMES`, `c`, `t`, `l<n>` and `v<n>` occur in source, and templates of operators.
- Generated code never recurses; conditions nest at most `MAX_CONDITION_DEPTH` deep.
"""

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from mmh3 import mmh3_32_uintdigest

from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.bucketing import salt_prefix, threshold, unit_bytes
from proxy.engine.paths import split_path, top_level_names, walk

__all__ = ["Evaluate", "Predicate", "evaluation", "predicate"]

Evaluate = Callable[[dict[str, Any], int], Answer]
Predicate = Callable[[dict[str, Any], int], bool]

_BLOCK_LEAVES = 48
"""Leaves in one generated function: about a millisecond to compile, some hundred literals."""

_CODE_CACHE = 4_096
"""Shapes kept. Ten thousand flags in use have some hundred; a shape is about 3 KB."""


def _hash_of(prefix: bytes, value: Any) -> int:
    """Return the hash of any value as a unit, or -1 when it cannot be one."""
    unit = unit_bytes(value)
    return -1 if unit is None else mmh3_32_uintdigest(prefix + unit)


_NAMES: dict[str, Any] = {
    "__builtins__": {},
    "UnicodeEncodeError": UnicodeEncodeError,
    "bisect": bisect_right,
    "bool": bool,
    "dict": dict,
    "float": float,
    "hash32": mmh3_32_uintdigest,
    "hash_of": _hash_of,
    "int": int,
    "len": len,
    "list": list,
    "str": str,
    "walk": walk,
}
"""All that generated code can name: the globals of every generated function."""


class _Scope(NamedTuple):
    """What all functions made of one program share."""

    segments: Mapping[str, Predicate]
    reads: set[str]
    """Top-level members of a context that were found to be read."""


def evaluation(
    program: p.Program,
    answer: Callable[[p.Outcome], Answer],
    segments: Mapping[str, Predicate],
) -> Generator[None, None, tuple[Evaluate, frozenset[str]]]:
    """Return the callable of a program, and the top-level members of a context that it reads.

    Yields after each function that was compiled. What segments read is not counted.
    """
    scope = _Scope(segments, set())
    blocks: list[Evaluate] = []
    writer = _Writer(scope)
    for step in program.steps:
        if writer.leaves >= _BLOCK_LEAVES:
            blocks.append(writer.function())
            yield
            writer = _Writer(scope)
        if isinstance(step, p.Lookup):
            writer.lookup(step, answer)
        else:
            when = yield from _small(step.when, scope)
            writer.rule(when, step.serve, answer)
    writer.serve(program.otherwise, answer)
    blocks.append(writer.function())
    return blocks[0] if len(blocks) == 1 else _in_turn(blocks), frozenset(scope.reads)


def predicate(
    expression: p.Expression, segments: Mapping[str, Predicate]
) -> Generator[None, None, tuple[Predicate, frozenset[str]]]:
    """Return the callable of a condition, and the top-level members of a context that it reads."""
    scope = _Scope(segments, set())
    expression = yield from _small(expression, scope)
    return _predicate(expression, scope), frozenset(scope.reads)


def _predicate(expression: p.Expression, scope: _Scope) -> Predicate:
    writer = _Writer(scope)
    writer.value(expression)
    function: Predicate = writer.function()
    return function


def _small(expression: p.Expression, scope: _Scope) -> Generator[None, None, p.Expression]:
    """Return a large expression with parts of it made functions, so that few leaves are left.

    Recursion is bounded by the depth of conditions.
    """
    if p.leaf_count(expression) <= _BLOCK_LEAVES:
        return expression
    if isinstance(expression, p.Not):
        inner = yield from _small(expression.item, scope)
        return p.Not(inner)
    if not isinstance(expression, (p.All, p.AnyOf)):
        return expression
    items: list[p.Expression] = []
    for item in expression.items:
        small = yield from _small(item, scope)
        items += [small]  # a comprehension cannot yield
    kind = type(expression)
    while sum(map(p.leaf_count, items)) > _BLOCK_LEAVES:
        groups = list(_groups(items))
        items = []
        for group in groups:
            items.append(p.Call(_predicate(kind(group), scope)))
            yield
    return kind(tuple(items))


def _groups(items: list[p.Expression]) -> Iterator[tuple[p.Expression, ...]]:
    """Yield the items in order, in groups of few leaves; no item has many by itself."""
    group: list[p.Expression] = []
    leaves = 0
    for item in items:
        count = p.leaf_count(item)
        if group and leaves + count > _BLOCK_LEAVES:
            yield tuple(group)
            group, leaves = [], 0
        group.append(item)
        leaves += count
    yield tuple(group)


def _in_turn(blocks: list[Evaluate]) -> Evaluate:
    """Return the callable that asks each block, in order, for the first answer."""
    *firsts, last = blocks

    def evaluate(context: dict[str, Any], now_ms: int) -> Answer:
        for block in firsts:
            answer = block(context, now_ms)
            if answer is not None:
                return answer
        return last(context, now_ms)

    return evaluate


_Assigned = frozenset[str]


class _Writer:
    """Writes one function: its lines, and the literals that become its defaults."""

    def __init__(self, scope: _Scope) -> None:
        self.leaves = 0
        self._scope = scope
        self._lines: list[str] = []
        self._literals: list[Any] = []
        self._locals: dict[object, tuple[str, str]] = {}  # what is kept: its local, how to get it
        self._assigned: _Assigned = frozenset()

    def function(self) -> Any:
        """Return what was written as a function."""
        names = [f"l{i}" for i in range(len(self._literals))]
        source = f"def f({', '.join(('c', 't', *names))}):\n " + "\n ".join(self._lines)
        return FunctionType(_code(source), _NAMES, "f", tuple(self._literals))

    def value(self, expression: p.Expression) -> None:
        """Write that the function returns whether an expression holds."""
        code, _, _ = self._expression(expression, self._assigned)
        self._lines.append(f"return {code}")

    def lookup(self, lookup: p.Lookup, answer: Callable[[p.Outcome], Answer]) -> None:
        """Write that a value in the table decides."""
        answers = [(values, answer(outcome)) for values, outcome in lookup.groups if values]
        table: dict[str, Answer] = {}
        for values, given in reversed(answers):
            table.update(dict.fromkeys(values, given))
        first, name = self._attribute(lookup.attribute, self._assigned)
        self._assigned |= {name}
        self._lines.append(f"if {first}.__class__ is str:")
        self._lines.append(f" a = {self._literal(table)}.get({name})")
        self._lines.append(" if a is not None: return a")
        self.leaves += 1

    def rule(
        self, when: p.Expression, serve: p.Serve, answer: Callable[[p.Outcome], Answer]
    ) -> None:
        """Write what is served where `when`, which is small enough, holds."""
        self.leaves += 1  # serving costs about as much as a leaf
        if when is p.TRUE:
            self.serve(serve, answer)
            return
        code, when_true, when_false = self._expression(when, self._assigned)
        self._lines.append(f"if {code}:")
        outer, self._lines, self._assigned = self._lines, [], when_true
        self.serve(serve, answer)
        outer.extend(" " + line for line in self._lines)
        self._lines = outer
        if isinstance(serve, p.Split) and serve.missing is None:
            # where it finds no unit it goes on below, too
            self._assigned &= when_false
        else:
            self._assigned = when_false

    def serve(self, serve: p.Serve, answer: Callable[[p.Outcome], Answer]) -> None:
        """Write what is returned; a split whose rule may not match can go on after it."""
        if isinstance(serve, p.Outcome):
            self._lines.append(f"return {self._literal(answer(serve))}")
            return
        first, name = self._attribute(serve.by, self._assigned)
        self._assigned |= {name}
        prefix = self._literal(salt_prefix(serve.salt))
        if serve.numbers:
            self._lines.append(f"h = hash_of({prefix}, {first})")
        else:
            self._lines.append(f"if {first}.__class__ is str and {name}:")
            self._lines.append(f" try: h = hash32({prefix} + {name}.encode())")
            self._lines.append(" except UnicodeEncodeError: h = -1")
            self._lines.append("else: h = -1")
        self._lines.append(f"if h >= 0: return {self._arm(serve, answer)}")
        if serve.missing is not None:
            self._lines.append(f"return {self._literal(answer(serve.missing))}")

    def _arm(self, split: p.Split, answer: Callable[[p.Outcome], Answer]) -> str:
        arms = tuple(answer(outcome) for outcome in split.outcomes)
        cuts = [threshold(cut) for cut in split.cuts]
        if len(arms) == 1:
            return self._literal(arms[0])
        if len(arms) == 2:
            low, cut, high = (self._literal(x) for x in (arms[0], cuts[0], arms[1]))
            return f"{low} if h < {cut} else {high}"
        return f"{self._literal(arms)}[bisect({self._literal(cuts)}, h)]"

    def _expression(
        self, expression: p.Expression, assigned: _Assigned
    ) -> tuple[str, _Assigned, _Assigned]:
        """Return code, and the locals assigned where it is true and where it is false."""
        if isinstance(expression, p.Constant):
            # a constant is never the other value, so anything would be true of that case
            return str(expression.value), assigned, assigned
        if isinstance(expression, p.Not):
            code, when_true, when_false = self._expression(expression.item, assigned)
            return f"(not {code})", when_false, when_true
        if isinstance(expression, p.All):
            return self._series(expression.items, " and ", assigned)
        if isinstance(expression, p.AnyOf):
            return self._series(expression.items, " or ", assigned)
        if isinstance(expression, (p.InSegment, p.Call)):
            code, name = self._called(expression, assigned)
        else:
            first, name = self._attribute(expression.attribute, assigned)
            leaf = expression.leaf
            literals = [self._literal(literal) for literal in leaf.literals]
            code = f"({leaf.template.format(*literals, f=first, x=name)})"
        self.leaves += 1
        after = assigned | {name}
        return code, after, after

    def _series(
        self, items: tuple[p.Expression, ...], joint: str, assigned: _Assigned
    ) -> tuple[str, _Assigned, _Assigned]:
        """Return `and` or `or` of items: each is reached only when those before did not decide."""
        codes: list[str] = []
        decided: _Assigned | None = None
        for item in items:
            code, when_true, when_false = self._expression(item, assigned)
            codes.append(code)
            assigned, stops = (
                (when_true, when_false) if joint == " and " else (when_false, when_true)
            )
            decided = stops if decided is None else decided & stops
        code = f"({joint.join(codes)})"
        decided = assigned if decided is None else decided
        return (code, assigned, decided) if joint == " and " else (code, decided, assigned)

    def _attribute(self, attribute: str, assigned: _Assigned) -> tuple[str, str]:
        """Return code for an attribute's value where it is next used, and the local it is in."""
        if attribute not in self._locals:
            self._scope.reads.update(top_level_names(attribute))
            key = self._literal(attribute)
            steps = split_path(attribute)
            fetch = f"c.get({key})"
            if steps is not None:
                fetch = f"c[{key}] if {key} in c else walk(c, {self._literal(steps)})"
            self._locals[attribute] = (f"v{len(self._locals)}", fetch)
        name, fetch = self._locals[attribute]
        return (name if name in assigned else f"({name} := {fetch})"), name

    def _called(self, part: p.InSegment | p.Call, assigned: _Assigned) -> tuple[str, str]:
        """Return code for whether a segment or a part holds, and the local it is in."""
        if part not in self._locals:
            function = part.function if isinstance(part, p.Call) else self._scope.segments[part.key]
            self._locals[part] = (f"v{len(self._locals)}", f"{self._literal(function)}(c, t)")
        name, fetch = self._locals[part]
        return (name if name in assigned else f"({name} := {fetch})"), name

    def _literal(self, value: Any) -> str:
        self._literals.append(value)
        return f"l{len(self._literals) - 1}"


@lru_cache(maxsize=_CODE_CACHE)
def _code(source: str) -> CodeType:
    """Return the code object of the one function in a source. Pure, so it may be remembered."""
    module = compile(source, "<flag>", "exec", dont_inherit=True, optimize=2)
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))
