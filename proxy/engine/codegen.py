"""From a rule program to one flat callable, by generated source.

Programs of one shape share one code object: the source has no text of a definition in it, only
structure; every literal is a parameter, and each flag's function is that code with its own
literals as defaults. So the source is the shape, and the cache of code objects is keyed by it.

    def f(c, t, s, l0, l1, l2, l3):          # context, now_ms, memo; the rest are defaults
        if (v0 := c.get(l0)) == l1 and ...:
            return l2

What an attribute holds, whether a segment holds and which number a unit has is computed where it
is first needed and kept in a local. Because `and` and `or` skip, "first needed" is settled by
definite assignment: each expression is generated with the set of locals certainly assigned before
it, and says which are after it when it is true and when it is false. A segment or another flag is
asked through the memo, where there is one.

Nothing here decides semantics. Large programs become several functions, so that no code object
takes more than a few milliseconds to compile and no call binds hundreds of defaults: steps in
blocks, called one after the other, and large conditions in groups (`_BLOCK_LEAVES`).

Rules:
- Only names of `_NAMES`, `c`, `t`, `s`, `a`, `l<n>` and `v<n>` occur in source, and templates of
  operators.
- Generated code never recurses; conditions nest at most `MAX_CONDITION_DEPTH` deep, segments and
  prerequisites as deep as their bounds say.
"""

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol

from mmh3 import mmh3_32_uintdigest

from proxy.engine import program as p
from proxy.engine.answers import Answer, not_found
from proxy.engine.bucketing import text_bytes, threshold, unit_bytes
from proxy.engine.hashing import number_of
from proxy.engine.memo import Memo
from proxy.engine.paths import split_path, top_level_names, walk
from proxy.engine.timing import Timing

__all__ = ["Compiled", "Evaluate", "Predicate", "evaluation", "predicate"]


class Evaluate(Protocol):
    """A flag as a function of a context, the time in Unix milliseconds, and a memo."""

    def __call__(
        self, context: dict[str, Any], now_ms: int, memo: Memo | None = None, /
    ) -> Answer: ...


class Predicate(Protocol):
    """A condition as a function of a context, the time in Unix milliseconds, and a memo."""

    def __call__(
        self, context: dict[str, Any], now_ms: int, memo: Memo | None = None, /
    ) -> bool: ...


class Compiled(NamedTuple):
    """A function, and what its result depends on; of what it calls only other parts of itself.

    `reads` are top-level members of a context, None when they are not known.
    """

    function: Any
    reads: frozenset[str] | None
    timing: Timing


_BLOCK_LEAVES = 48
"""Leaves in one generated function: about a millisecond to compile, some hundred literals."""

_CODE_CACHE = 4_096
"""Shapes kept. Ten thousand flags in use have some hundred; a shape is about 3 KB."""


def _hash_of(prefix: bytes, value: Any) -> int:
    """Return the hash of any value as a unit, or -1 when it cannot be one."""
    unit = unit_bytes(value)
    return -1 if unit is None else mmh3_32_uintdigest(prefix + unit)


_HASHES_INLINE = {text_bytes, unit_bytes}
"""How our own definitions encode a unit; their hash is written into the code."""


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


Answering = Callable[[Mapping[str, Any] | None], Callable[[p.Outcome], Answer]]
"""Returns what makes answers of outcomes, whose variants are these, or with None the flag's."""


class _Scope:
    """What all functions made of one program share: what they may call, and what they depend on."""

    def __init__(
        self, segments: Mapping[str, Predicate], flags: Mapping[str, Evaluate] | None = None
    ) -> None:
        self.segments = segments
        self.flags = flags or {}
        self._reads: set[str] = set()
        self._reads_known = True
        self._moments: set[int] = set()
        self._spans: set[tuple[int, int]] = set()

    def read(self, members: frozenset[str] | None) -> None:
        """Take note of top-level members of a context that are read."""
        if members is None:
            self._reads_known = False
        else:
            self._reads |= members

    def changes_at(self, *moments: int) -> None:
        """Take note of moments at which something changes; the ends of time are none."""
        self._moments.update(moment for moment in moments if moment not in p.ALWAYS)

    def changes_within(self, start_ms: int, end_ms: int) -> None:
        """Take note of a span in which something may change at any moment."""
        self._spans.add((start_ms, end_ms))
        self.changes_at(start_ms, end_ms)

    def compiled(self, function: Any) -> Compiled:
        """Return a function with all that was noted."""
        reads = frozenset(self._reads) if self._reads_known else None
        return Compiled(function, reads, Timing(frozenset(self._moments), frozenset(self._spans)))


def evaluation(
    program: p.Program | p.Timeline,
    answering: Answering,
    segments: Mapping[str, Predicate],
    flags: Mapping[str, Evaluate] | None = None,
) -> Generator[None, None, Compiled]:
    """Return the callable of a program, an `Evaluate`, and what its answer depends on.

    Yields after each function that was compiled. What segments and other flags depend on is not
    counted.
    """
    scope = _Scope(segments, flags)
    if isinstance(program, p.Program):
        return scope.compiled((yield from _steps(program, answering(program.variants), scope)))
    functions: list[Evaluate] = []
    for part in (program.first, *(later for _, later in program.then)):
        function = yield from _steps(part, answering(part.variants), scope)
        functions += [function]  # a comprehension cannot yield
    moments = [moment for moment, _ in program.then]
    scope.changes_at(*moments)
    return scope.compiled(_by_time(moments, functions))


def _by_time(moments: list[int], functions: list[Evaluate]) -> Evaluate:
    """Return the callable that asks the function of the time."""

    def evaluate(context: dict[str, Any], now_ms: int, memo: Memo | None = None, /) -> Answer:
        return functions[bisect_right(moments, now_ms)](context, now_ms, memo)

    return evaluate


def _steps(
    program: p.Program, answer: Callable[[p.Outcome], Answer], scope: _Scope
) -> Generator[None, None, Evaluate]:
    program = p.reachable(program)
    blocks: list[Evaluate] = []
    writer = _Writer(scope)
    for step in program.steps:
        if writer.leaves >= _BLOCK_LEAVES:
            blocks.append(writer.function())
            yield
            writer = _Writer(scope)
        if isinstance(step, p.Lookup):
            writer.lookup(step, answer)
        elif isinstance(step, p.Gate):
            closed = yield from _small(p.negation(step.passes), scope)
            writer.rule(closed, step.closed, answer)
        else:
            when = yield from _small(step.when, scope)
            writer.rule(when, step.serve, answer)
    writer.serve(program.otherwise, answer)
    blocks.append(writer.function())
    return blocks[0] if len(blocks) == 1 else _in_turn(blocks)


def predicate(
    expression: p.Expression, segments: Mapping[str, Predicate]
) -> Generator[None, None, Compiled]:
    """Return the callable of a condition, a `Predicate`, and what its result depends on."""
    scope = _Scope(segments)
    expression = yield from _small(expression, scope)
    return scope.compiled(_predicate(expression, scope))


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

    def evaluate(context: dict[str, Any], now_ms: int, memo: Memo | None = None, /) -> Answer:
        for block in firsts:
            answer = block(context, now_ms, memo)
            if answer is not None:
                return answer
        return last(context, now_ms, memo)

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
        source = f"def f({', '.join(('c', 't', 's', *names))}):\n " + "\n ".join(self._lines)
        return FunctionType(_code(source), _NAMES, "f", (None, *self._literals))

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
        # where it comes to nothing it goes on below, too
        self._assigned = self._assigned & when_false if p.comes_to_next(serve) else when_false

    def serve(self, serve: p.Serve, answer: Callable[[p.Outcome], Answer]) -> None:
        """Write what is returned, if anything is."""
        match serve:
            case p.Outcome():
                self._lines.append(f"return {self._literal(answer(serve))}")
            case p.Split():
                self._split(serve, answer)
            case p.Computed():
                self._computed(serve, answer)
            case _:
                self._lines.append("pass")

    def _computed(self, computed: p.Computed, answer: Callable[[p.Outcome], Answer]) -> None:
        self._scope.read(computed.reads)
        if computed.timed:
            self._scope.changes_within(*p.ALWAYS)
        table = {name: answer(outcome) for name, outcome in computed.outcomes}
        nothing, unknown = (
            self._literal(_answer_of(serve, answer))
            for serve in (computed.nothing, computed.unknown)
        )
        self._lines.append(f"a = {self._literal(computed.choose)}(c, t)")
        self._lines.append(
            f"a = {nothing} if a is None else {self._literal(table)}.get(a, {unknown})"
        )
        self._lines.append("if a is not None: return a")

    def _split(self, split: p.Split, answer: Callable[[p.Outcome], Answer]) -> None:
        """Write who is served what by a number; -1 is that of who has none."""
        bucketing = split.bucketing
        moving = any(isinstance(arm.high, p.Ramp) for arm in split.arms)
        inline = _inline(bucketing)
        if inline is None:
            number = self._kept(bucketing, lambda: f"{self._literal(number_of(bucketing))}(c)")
            self._read_parts(bucketing)
        else:
            number = self._inline_hash(*inline)
        arms = [_answer_of(arm.serve, answer) for arm in split.arms]
        otherwise = _answer_of(split.otherwise, answer)
        if moving:
            code = self._moving_arm(split, arms, otherwise, number, scale=inline is not None)
        else:
            cuts, answers = _pieces(split.arms, arms, otherwise)
            if inline is not None:
                cuts = [threshold(cut, bucketing.size) for cut in cuts]
            code = self._arm(cuts, answers, number)
        if None in arms or otherwise is None:
            self._lines.append(f"a = {code} if {number} >= 0 else None")
            self._lines.append("if a is not None: return a")
            if not isinstance(split.missing, p.Next):
                self._lines.append(
                    f"if {number} < 0: return {self._literal(answer(split.missing))}"
                )
            return
        self._lines.append(f"if {number} >= 0: return {code}")
        if not isinstance(split.missing, p.Next):
            self._lines.append(f"return {self._literal(answer(split.missing))}")

    def _arm(self, cuts: list[int], answers: list[Answer | None], number: str) -> str:
        if len(answers) == 1:
            return self._literal(answers[0])
        if len(answers) == 2:
            low, cut, high = (self._literal(x) for x in (answers[0], cuts[0], answers[1]))
            return f"({low} if {number} < {cut} else {high})"
        return f"{self._literal(tuple(answers))}[bisect({self._literal(cuts)}, {number})]"

    def _moving_arm(
        self,
        split: p.Split,
        arms: list[Answer | None],
        otherwise: Answer | None,
        number: str,
        *,
        scale: bool,
    ) -> str:
        for arm in split.arms:
            if isinstance(arm.high, p.Ramp):
                self._scope.changes_within(arm.high.start_ms, arm.high.end_ms)
        if scale:
            number = f"({number} * {self._literal(split.bucketing.size)} >> 32)"
        return f"{self._literal(_picker(split.arms, arms, otherwise))}({number}, t)"

    def _inline_hash(self, prefix: bytes, part: p.Part) -> str:
        """Write the hash of a unit of our own definitions, and return the local it is in."""
        key = (prefix, part)
        if key in self._locals and self._locals[key][0] in self._assigned:
            return self._locals[key][0]
        first, value = self._attribute(part.attribute, self._assigned)
        name, _ = self._locals.setdefault(key, (f"v{len(self._locals)}", ""))
        literal = self._literal(prefix)
        if part.encode is unit_bytes:
            self._lines.append(f"{name} = hash_of({literal}, {first})")
        else:
            self._lines.append(f"if {first}.__class__ is str and {value}:")
            self._lines.append(f" try: {name} = hash32({literal} + {value}.encode())")
            self._lines.append(f" except UnicodeEncodeError: {name} = -1")
            self._lines.append(f"else: {name} = -1")
        self._assigned |= {value, name}
        return name

    def _kept(self, what: object, fetch: Callable[[], str]) -> str:
        """Write that something is computed, unless it was before; return the local it is in."""
        if what not in self._locals:
            self._locals[what] = (f"v{len(self._locals)}", fetch())
        name, code = self._locals[what]
        if name not in self._assigned:
            self._lines.append(f"{name} = {code}")
            self._assigned |= {name}
        return name

    def _read_parts(self, bucketing: p.Bucketing) -> None:
        for part in bucketing.key:
            if isinstance(part, p.Part):
                self._scope.read(_reads_of(part.attribute))

    def _expression(
        self, expression: p.Expression, assigned: _Assigned
    ) -> tuple[str, _Assigned, _Assigned]:
        """Return code, and the locals assigned where it is true and where it is false."""
        match expression:
            case p.Constant():
                # a constant is never the other value, so anything would be true of that case
                return str(expression.value), assigned, assigned
            case p.Not():
                code, when_true, when_false = self._expression(expression.item, assigned)
                return f"(not {code})", when_false, when_true
            case p.All():
                return self._series(expression.items, " and ", assigned)
            case p.AnyOf():
                return self._series(expression.items, " or ", assigned)
            case p.Window():
                self.leaves += 1
                return self._window(expression), assigned, assigned
            case p.Probe():
                code, name = self._probe(expression, assigned)
            case p.Within():
                code, name = self._within(expression, assigned)
            case _:
                code, name = self._called(expression, assigned)
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

    def _probe(self, probe: p.Probe, assigned: _Assigned) -> tuple[str, str]:
        if probe.attribute is None:
            self._scope.changes_within(*p.ALWAYS)
            first = name = "t"
        else:
            first, name = self._attribute(probe.attribute, assigned)
        literals = [self._literal(literal) for literal in probe.leaf.literals]
        code = probe.leaf.template.format(*literals, f=first, x=name)
        return (f"(not ({code}))" if probe.negated else f"({code})"), name

    def _window(self, window: p.Window) -> str:
        self._scope.changes_at(window.from_ms, window.until_ms)
        since, until = p.ALWAYS
        if window.until_ms >= until:
            return f"t >= {self._literal(window.from_ms)}"
        if window.from_ms <= since:
            return f"t < {self._literal(window.until_ms)}"
        return f"{self._literal(window.from_ms)} <= t < {self._literal(window.until_ms)}"

    def _within(self, within: p.Within, assigned: _Assigned) -> tuple[str, str]:
        bucketing = within.bucketing
        if bucketing not in self._locals:
            self._read_parts(bucketing)
            fetch = f"{self._literal(number_of(bucketing))}(c)"
            self._locals[bucketing] = (f"v{len(self._locals)}", fetch)
        name, fetch = self._locals[bucketing]
        first = name if name in assigned else f"({name} := {fetch})"
        if len(within.ranges) == 1:
            low, high = map(self._literal, within.ranges[0])
            return f"({low} <= {first} < {high})", name
        return f"{self._literal(_in_ranges(within.ranges))}({first})", name

    def _attribute(self, attribute: str | p.Operand, assigned: _Assigned) -> tuple[str, str]:
        """Return code for an attribute's value where it is next used, and the local it is in."""
        if attribute not in self._locals:
            self._scope.read(_reads_of(attribute))
            if isinstance(attribute, p.Operand):
                fetch = f"{self._literal(attribute.fetch)}(c)"
            else:
                key = self._literal(attribute)
                steps = split_path(attribute)
                fetch = f"c.get({key})"
                if steps is not None:
                    fetch = f"c[{key}] if {key} in c else walk(c, {self._literal(steps)})"
            self._locals[attribute] = (f"v{len(self._locals)}", fetch)
        name, fetch = self._locals[attribute]
        return (name if name in assigned else f"({name} := {fetch})"), name

    def _called(
        self, part: p.InSegment | p.Answered | p.Call, assigned: _Assigned
    ) -> tuple[str, str]:
        """Return code for whether a segment, a flag or a part holds, and the local it is in."""
        if part not in self._locals:
            self._locals[part] = (f"v{len(self._locals)}", self._call(part))
        name, fetch = self._locals[part]
        return (name if name in assigned else f"({name} := {fetch})"), name

    def _call(self, part: p.InSegment | p.Answered | p.Call) -> str:
        if isinstance(part, p.Call):
            return f"{self._literal(part.function)}(c, t, s)"
        if isinstance(part, p.InSegment):
            return self._shared(self._scope.segments[part.key])
        evaluate = self._scope.flags.get(part.key)
        if evaluate is None:
            return str(bool(part.passes(not_found(part.key))))
        return f"{self._literal(part.passes)}({self._shared(evaluate)})"

    def _shared(self, function: Predicate | Evaluate) -> str:
        """Return code for what a function returns that others may have asked for already."""
        literal = self._literal(function)
        return f"({literal}(c, t) if s is None else s[{literal}])"

    def _literal(self, value: Any) -> str:
        self._literals.append(value)
        return f"l{len(self._literals) - 1}"


def _reads_of(attribute: str | p.Operand) -> frozenset[str] | None:
    return attribute.reads if isinstance(attribute, p.Operand) else top_level_names(attribute)


def _answer_of(serve: p.Outcome | p.Next, answer: Callable[[p.Outcome], Answer]) -> Answer | None:
    """Return the answer of an outcome, None for `NEXT`."""
    return None if isinstance(serve, p.Next) else answer(serve)


def _inline(bucketing: p.Bucketing) -> tuple[bytes, p.Part] | None:
    """Return the salt and the unit of a split as our own definitions have it, None for others."""
    match bucketing.key:
        case (bytes() as prefix, p.Part(attribute=str()) as part):
            plain = bucketing.hash == "murmur3_32" and not bucketing.seed
            if plain and bucketing.reduce == "scale" and part.encode in _HASHES_INLINE:
                return prefix, part
    return None


def _pieces(
    arms: tuple[p.Arm, ...], answers: list[Answer | None], otherwise: Answer | None
) -> tuple[list[int], list[Answer | None]]:
    """Return where one answer ends and another begins, and the answers; one more than cuts."""
    cuts: list[int] = []
    found: list[Answer | None] = []
    end = 0

    def piece(low: int, answer: Answer | None) -> None:
        if found and found[-1] is answer:
            return
        if found:
            cuts.append(low)
        found.append(answer)

    for arm, answer in zip(arms, answers, strict=True):
        high = arm.high
        if isinstance(high, p.Ramp) or high <= arm.low:
            continue
        if arm.low > end:
            piece(end, otherwise)
        piece(arm.low, answer)
        end = high
    piece(end, otherwise)
    return cuts, found


def _picker(
    arms: tuple[p.Arm, ...], answers: list[Answer | None], otherwise: Answer | None
) -> Callable[[int, int], Answer | None]:
    """Return the choice of an answer by number and time, where ends move."""
    rows = [
        (arm.low, arm.high.bound if isinstance(arm.high, p.Ramp) else _fixed(arm.high), answer)
        for arm, answer in zip(arms, answers, strict=True)
    ]

    def pick(number: int, now_ms: int) -> Answer | None:
        for low, bound, answer in rows:
            if low <= number < bound(now_ms):
                return answer
        return otherwise

    return pick


def _fixed(high: int) -> Callable[[int], int]:
    return lambda _: high


def _in_ranges(ranges: tuple[tuple[int, int], ...]) -> Callable[[int], bool]:
    def in_ranges(number: int) -> bool:
        return any(low <= number < high for low, high in ranges)

    return in_ranges


@lru_cache(maxsize=_CODE_CACHE)
def _code(source: str) -> CodeType:
    """Return the code object of the one function in a source. Pure, so it may be remembered."""
    module = compile(source, "<flag>", "exec", dont_inherit=True, optimize=2)
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))
