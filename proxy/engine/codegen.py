"""From a rule program to one flat callable.

A program is taken apart into a shape and literals (`shapes`); flags of one shape share one code
object (`source`), and each flag's function is that code with its own literals as defaults. So a
thousand flags of one shape cost one compilation.

Large programs become several functions, so that no code object takes more than a few milliseconds
to compile and no call binds hundreds of defaults: steps in blocks, called one after the other, and
large conditions in groups (`_BLOCK_LEAVES`).
"""

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple

from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.compiled import Evaluate, Predicate
from proxy.engine.memo import Memo
from proxy.engine.shapes import Scope, ShapeBuilder
from proxy.engine.source import NAMES, code_of
from proxy.engine.timing import Timing

__all__ = ["Compiled", "evaluation", "predicate"]


class Compiled(NamedTuple):
    """A function, and what its result depends on; of what it calls only other parts of itself.

    `reads` are top-level members of a context, None when they are not known.
    """

    function: Any
    reads: frozenset[str] | None
    timing: Timing


_BLOCK_LEAVES = 48
"""Leaves in one generated function: about a millisecond to compile, some hundred literals."""

_ARMS_A_LEAF = 8
_MANY_ARMS = 200
_MANY_VALUES = 1_000

Answering = Callable[[Mapping[str, Any] | None], Callable[[p.Outcome], Answer]]
"""Returns what makes answers of outcomes, whose variants are these, or with None the flag's."""


def evaluation(
    program: p.Program | p.Timeline,
    answering: Answering,
    segments: Mapping[str, Predicate],
    flags: Mapping[str, Evaluate] | None = None,
) -> Generator[None, None, Compiled]:
    """Return the callable of a program, an `Evaluate`, and what its answer depends on.

    The program was made small by `program.reachable`, or is compiled with all that is in it. Yields
    after each function that was compiled, but the last. What segments and other flags depend on is
    not counted.
    """
    scope = Scope(segments, flags)
    if isinstance(program, p.Program):
        return _compiled((yield from _steps(program, answering(program.variants), scope)), scope)
    functions: list[Evaluate] = []
    for part in (program.first, *(later for _, later in program.then)):
        function = yield from _steps(part, answering(part.variants), scope)
        functions += [function]  # a comprehension cannot yield
    moments = [moment for moment, _ in program.then]
    scope.changes_at(*moments)
    return _compiled(_by_time(moments, functions), scope)


def _by_time(moments: list[int], functions: list[Evaluate]) -> Evaluate:
    """Return the callable that asks the function of the time."""

    def evaluate(context: dict[str, Any], now_ms: int, memo: Memo | None = None, /) -> Answer:
        return functions[bisect_right(moments, now_ms)](context, now_ms, memo)

    return evaluate


def _steps(
    program: p.Program, answer: Callable[[p.Outcome], Answer], scope: Scope
) -> Generator[None, None, Evaluate]:
    blocks: list[Evaluate] = []
    builder = ShapeBuilder(scope)
    leaves = 0
    for step in program.steps:
        if leaves >= _BLOCK_LEAVES:
            blocks.append(_function(builder))
            yield
            builder, leaves = ShapeBuilder(scope), 0
        leaves += 1  # serving costs about as much as a leaf
        if isinstance(step, p.Lookup):
            builder.lookup(step, answer)
            if sum(len(values) for values, _ in step.groups) > _MANY_VALUES:
                yield
            continue
        when = p.negation(step.passes) if isinstance(step, p.Gate) else step.when
        count = p.leaf_count(when)
        if count > _BLOCK_LEAVES:
            when = yield from _small(when, scope)
            count = p.leaf_count(when)
        serve = step.closed if isinstance(step, p.Gate) else step.serve
        leaves += count
        if isinstance(serve, p.Split):
            leaves += len(serve.arms) // _ARMS_A_LEAF
            if len(serve.arms) > _MANY_ARMS:
                yield
        builder.rule(when, serve, answer)
    if isinstance(program.otherwise, p.Split) and len(program.otherwise.arms) > _MANY_ARMS:
        yield
    builder.end(program.otherwise, answer)
    last: Evaluate = _function(builder)
    return _in_turn([*blocks, last]) if blocks else last


def predicate(
    expression: p.Expression, segments: Mapping[str, Predicate]
) -> Generator[None, None, Compiled]:
    """Return the callable of a condition, a `Predicate`, and what its result depends on."""
    scope = Scope(segments)
    expression = yield from _small(expression, scope)
    return _compiled(_predicate(expression, scope), scope)


def _compiled(function: Any, scope: Scope) -> Compiled:
    return Compiled(function, scope.reads, scope.timing)


def _predicate(expression: p.Expression, scope: Scope) -> Predicate:
    builder = ShapeBuilder(scope)
    builder.value(expression)
    function: Predicate = _function(builder)
    return function


def _function(builder: ShapeBuilder) -> Any:
    """Return what was taken apart as a function: the code of its shape, with its literals."""
    return FunctionType(code_of(builder.shape()), NAMES, "f", (None, *builder.literals))


def _small(expression: p.Expression, scope: Scope) -> Generator[None, None, p.Expression]:
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

    def evaluate(context: dict[str, Any], now_ms: int, memo: Memo | None = None, /) -> Answer:
        for block in firsts:
            answer = block(context, now_ms, memo)
            if answer is not None:
                return answer
        return last(context, now_ms, memo)

    return evaluate
