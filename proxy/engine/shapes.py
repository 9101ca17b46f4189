"""What of a program is structure and what is literal: the shape that flags share, and its literals.

Thousands of flags have a few hundred shapes. Generating code is slow and taking a program apart is
not, so each program is taken apart, and code is generated once for each shape (`codegen`). A shape
is made of tuples, and says all that the code depends on; literals are named by their place, a
`slot`. What a literal is never matters to the code, only what kind of node it stands in.

    attributes   ("plain", slot) ("path", slot, slot of steps) ("operand", slot)
    numbers      ("unit", attribute, slot of salt, any kind) ("number", slot)
    functions    ("shared", slot) ("private", slot) ("asked", slot)
                 ("passed", function that is asked, slot of what passes)
    conditions   ("probe", attribute, template, slots, how many, negated)  with -1 for the time
                 ("all", items) ("any", items) ("not", item) ("true",) ("false",)
                 ("since", slot) ("until", slot) ("during", slot, slot)
                 ("called", function)
                 ("within", number, slots of low and high; or slot of ends and -1)
    served       ("answer", slot) ("next",) ("computed", slots of: choice, table, nothing, unknown)
                 ("split", number, arm, may come to nothing, slot of missing or -1)
    arms         ("one", slot) ("two", slot, cut, slot) ("many", slot, cuts) ("moving", slot, size)
    steps        ("lookup", attribute, slot) ("rule", condition, served) ("end", served)

Attributes, numbers and functions are in tables, each once, and named by their place there: they are
what a generated function keeps in locals. What a program reads of a context, and when time matters,
is noted on the way.
"""

from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any, NamedTuple

from proxy.engine import program as p
from proxy.engine.answers import Answer, not_found
from proxy.engine.bucketing import text_bytes, threshold, unit_bytes
from proxy.engine.compiled import Evaluate, Predicate
from proxy.engine.hashing import number_of
from proxy.engine.paths import split_path, top_level_names
from proxy.engine.timing import NEVER, Timing

__all__ = ["Node", "Scope", "Shape", "ShapeBuilder", "TIME"]

Node = tuple[Any, ...]
"""A tag and what belongs to it; see above."""

TIME = -1
"""In the place of an attribute: the time of the evaluation."""

_TRUE: Node = ("true",)
_FALSE: Node = ("false",)


class Shape(NamedTuple):
    """One function's structure. Equal shapes have one code object."""

    attributes: tuple[Node, ...]
    numbers: tuple[Node, ...]
    functions: tuple[Node, ...]
    steps: tuple[Node, ...]
    literals: int
    """How many there are."""


class Scope:
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

    def read(self, attribute: str | p.Operand) -> None:
        """Take note of an attribute that is read."""
        if isinstance(attribute, p.Operand):
            self.read_members(attribute.reads)
        elif split_path(attribute) is None:
            self._reads.add(attribute)
        else:
            self._reads |= top_level_names(attribute)

    def read_members(self, members: frozenset[str] | None) -> None:
        """Take note of top-level members of a context that are read, None for unknown ones."""
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

    @property
    def reads(self) -> frozenset[str] | None:
        """Top-level members of a context that are read, None when they are not known."""
        return frozenset(self._reads) if self._reads_known else None

    @property
    def timing(self) -> Timing:
        """When time matters."""
        if not self._moments and not self._spans:
            return NEVER
        return Timing(frozenset(self._moments), frozenset(self._spans))


class ShapeBuilder:
    """Takes what becomes one function apart: `steps` and `literals` grow with each call."""

    def __init__(self, scope: Scope) -> None:
        self.literals: list[Any] = []
        self._scope = scope
        self._steps: list[Node] = []
        self._attributes: list[Node] = []
        self._numbers: list[Node] = []
        self._functions: list[Node] = []
        self._places: dict[object, int] = {}  # of attributes, numbers and functions

    def shape(self) -> Shape:
        """Return the structure of what was taken apart."""
        return Shape(
            tuple(self._attributes),
            tuple(self._numbers),
            tuple(self._functions),
            tuple(self._steps),
            len(self.literals),
        )

    def value(self, expression: p.Expression) -> None:
        """Add that the function returns whether an expression holds."""
        self._steps.append(("value", self._expression(expression)))

    def lookup(self, lookup: p.Lookup, answer: Callable[[p.Outcome], Answer]) -> None:
        """Add that a value in a table decides."""
        answers = [(values, answer(outcome)) for values, outcome in lookup.groups if values]
        table: dict[str, Answer] = {}
        for values, given in reversed(answers):
            table.update(zip(values, repeat(given)))
        attribute = self._attribute(lookup.attribute)
        self._steps.append(("lookup", attribute, self._literal(table)))

    def rule(
        self, when: p.Expression, serve: p.Serve, answer: Callable[[p.Outcome], Answer]
    ) -> None:
        """Add what is served where `when` holds."""
        condition = self._expression(when)
        self._steps.append(("rule", condition, self._serve(serve, answer)))

    def end(self, serve: p.Serve, answer: Callable[[p.Outcome], Answer]) -> None:
        """Add what is served otherwise."""
        self._steps.append(("end", self._serve(serve, answer)))

    def _literal(self, value: Any) -> int:
        literals = self.literals
        literals.append(value)
        return len(literals) - 1

    # Conditions

    def _expression(self, expression: p.Expression) -> Node:
        """Return a condition. Recursion is bounded by the depth of conditions."""
        match expression:
            case p.Probe():
                attribute = expression.attribute
                if attribute is None:
                    self._scope.changes_within(*p.ALWAYS)
                    place = TIME
                else:
                    place = self._attribute(attribute)
                template, literals = expression.leaf
                slot = len(self.literals)
                self.literals.extend(literals)
                return ("probe", place, template, slot, len(literals), expression.negated)
            case p.All():
                return ("all", tuple([self._expression(item) for item in expression.items]))
            case p.AnyOf():
                return ("any", tuple([self._expression(item) for item in expression.items]))
            case p.Not():
                return ("not", self._expression(expression.item))
            case p.Window():
                return self._window(expression)
            case p.Constant():
                return _TRUE if expression.value else _FALSE
            case p.Within():
                return self._within(expression)
            case _:
                return self._called(expression)

    def _window(self, window: p.Window) -> Node:
        self._scope.changes_at(window.from_ms, window.until_ms)
        since, until = p.ALWAYS
        if window.until_ms >= until:
            return ("since", self._literal(window.from_ms))
        if window.from_ms <= since:
            return ("until", self._literal(window.until_ms))
        return ("during", self._literal(window.from_ms), self._literal(window.until_ms))

    def _within(self, within: p.Within) -> Node:
        number = self._number(within.bucketing)
        if len(within.ranges) == 1:
            low, high = within.ranges[0]
            return ("within", number, self._literal(low), self._literal(high))
        return ("within", number, self._literal(_ends(within.ranges)), -1)

    def _called(self, part: p.InSegment | p.Answered | p.Call) -> Node:
        if isinstance(part, p.Answered):
            return self._answered(part)
        place = self._places.get(part)
        if place is None:
            if isinstance(part, p.Call):
                function: Node = ("private", self._literal(part.function))
            else:
                holds = self._scope.segments.get(part.key)
                if holds is None:  # in other systems nobody is in a segment that is not there
                    return _FALSE
                function = ("shared", self._literal(holds))
            self._functions.append(function)
            place = self._places[part] = len(self._functions) - 1
        return ("called", place)

    def _answered(self, part: p.Answered) -> Node:
        """Return a test of another flag's answer: both are known after they were asked for once."""
        evaluate = self._scope.flags.get(part.key)
        if evaluate is None:
            return _TRUE if part.passes(not_found(part.key)) else _FALSE
        asked = self._place(("asked", part.key), lambda: ("asked", self._literal(evaluate)))
        passes = part.passes
        place = self._place(
            ("passed", part.key, passes), lambda: ("passed", asked, self._literal(passes))
        )
        return ("called", place)

    def _place(self, key: object, function: Callable[[], Node]) -> int:
        """Return the place of a function, which is made when it is not there."""
        place = self._places.get(key)
        if place is None:
            self._functions.append(function())
            place = self._places[key] = len(self._functions) - 1
        return place

    def _attribute(self, attribute: str | p.Operand) -> int:
        place = self._places.get(attribute)
        if place is None:
            self._scope.read(attribute)
            slot = len(self.literals)
            if isinstance(attribute, p.Operand):
                node: Node = ("operand", slot)
                self.literals.append(attribute.fetch)
            else:
                steps = split_path(attribute)
                self.literals.append(attribute)
                if steps is None:
                    node = ("plain", slot)
                else:
                    node = ("path", slot, slot + 1)
                    self.literals.append(steps)
            place = self._places[attribute] = len(self._attributes)
            self._attributes.append(node)
        return place

    def _number(self, bucketing: p.Bucketing, unit: Node | None = None) -> int:
        """Return the place of a number; `unit` is the hash of a unit of our own definitions."""
        key = (bucketing, unit is None)
        place = self._places.get(key)
        if place is None:
            if unit is None:
                for part in bucketing.key:
                    if isinstance(part, p.Part):
                        self._scope.read(part.attribute)
                unit = ("number", self._literal(number_of(bucketing)))
            self._numbers.append(unit)
            place = self._places[key] = len(self._numbers) - 1
        return place

    # What is served

    def _serve(self, serve: p.Serve, answer: Callable[[p.Outcome], Answer]) -> Node:
        match serve:
            case p.Outcome():
                return ("answer", self._literal(answer(serve)))
            case p.Split():
                return self._split(serve, answer)
            case p.Computed():
                return self._computed(serve, answer)
            case _:
                return ("next",)

    def _computed(self, computed: p.Computed, answer: Callable[[p.Outcome], Answer]) -> Node:
        self._scope.read_members(computed.reads)
        if computed.timed:
            self._scope.changes_within(*p.ALWAYS)
        table = {name: answer(outcome) for name, outcome in computed.outcomes}
        literals = (
            computed.choose,
            table,
            _answer_of(computed.nothing, answer),
            _answer_of(computed.unknown, answer),
        )
        return ("computed", *map(self._literal, literals))

    def _split(self, split: p.Split, answer: Callable[[p.Outcome], Answer]) -> Node:
        bucketing = split.bucketing
        own = _own_unit(bucketing)
        if own is None:
            number = self._number(bucketing)
        else:
            salt, part = own
            place = self._places.get((bucketing, False))
            if place is None:
                attribute = self._attribute(part.attribute)
                any_kind = part.encode is unit_bytes
                unit = ("unit", attribute, self._literal(salt), any_kind)
                place = self._number(bucketing, unit)
            number = place
        arms = [_answer_of(arm.serve, answer) for arm in split.arms]
        otherwise = _answer_of(split.otherwise, answer)
        if any(isinstance(arm.high, p.Ramp) for arm in split.arms):
            arm = self._moving_arm(split, arms, otherwise, own is not None)
        else:
            cuts, answers = _pieces(split.arms, arms, otherwise)
            if own is not None:
                cuts = [threshold(cut, bucketing.size) for cut in cuts]
            arm = self._arm(cuts, answers)
        may_be_nothing = None in arms or otherwise is None
        missing = split.missing
        slot = -1 if isinstance(missing, p.Next) else self._literal(answer(missing))
        return ("split", number, arm, may_be_nothing, slot)

    def _arm(self, cuts: list[int], answers: list[Answer | None]) -> Node:
        if len(answers) == 1:
            return ("one", self._literal(answers[0]))
        if len(answers) == 2:
            low, high = self._literal(answers[0]), self._literal(answers[1])
            return ("two", low, self._literal(cuts[0]), high)
        return ("many", self._literal(tuple(answers)), self._literal(cuts))

    def _moving_arm(
        self, split: p.Split, arms: list[Answer | None], otherwise: Answer | None, own: bool
    ) -> Node:
        for arm in split.arms:
            if isinstance(arm.high, p.Ramp):
                self._scope.changes_within(arm.high.start_ms, arm.high.end_ms)
        pick = self._literal(_picker(split.arms, arms, otherwise))
        return ("moving", pick, self._literal(split.bucketing.size) if own else -1)


_OWN_UNITS = (text_bytes, unit_bytes)
"""How our own definitions encode a unit; their hash is written into the code."""


def _own_unit(bucketing: p.Bucketing) -> tuple[bytes, p.Part] | None:
    """Return salt and unit of a split as our own definitions have it, None for any other."""
    match bucketing.key:
        case (bytes() as salt, p.Part(attribute=str()) as part) if part.encode in _OWN_UNITS:
            plain = bucketing.hash == "murmur3_32" and not bucketing.seed
            if plain and bucketing.reduce == "scale":
                return salt, part
    return None


def _answer_of(serve: p.Outcome | p.Next, answer: Callable[[p.Outcome], Answer]) -> Answer | None:
    """Return the answer of an outcome, None for `NEXT`."""
    return None if isinstance(serve, p.Next) else answer(serve)


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


def _ends(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    """Return where some ranges together begin and end, in turn: after an odd number is within."""
    ends: list[int] = []
    for low, high in sorted(ranges):
        if low >= high:
            continue
        if ends and low <= ends[-1]:
            ends[-1] = max(ends[-1], high)
        else:
            ends += (low, high)
    return ends
