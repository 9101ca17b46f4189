"""From a shape to the code of one function, by generated source.

    def f(c, t, s, l0, l1, l2, l3):          # context, now_ms, memo; the rest are literals
        if (v0 := c.get(l0)) == l1 and ...:
            return l2

The source has no text of a definition in it, only structure, and its literals are parameters: each
flag's function is the code of its shape with its own literals as defaults.

What an attribute holds (`v`), which number a unit has (`h`) and whether a segment holds, or what
another flag answers and whether that passes (`w`), is computed where it is first needed and kept in
a local. Because `and` and `or` skip, "first needed"
is settled by definite assignment: each condition is written with the set of locals certainly
assigned before it, and says which are after it when it is true and when it is false. A segment or
another flag is asked through the memo, where there is one.

Nothing here decides semantics.

Rules:
- Only names of `NAMES`, `c`, `t`, `s`, `a` and letters with a number occur in source, and
  templates of operators.
- Generated code never recurses; conditions nest at most `MAX_CONDITION_DEPTH` deep, segments and
  prerequisites as deep as their bounds say.
"""

from bisect import bisect_right
from functools import lru_cache
from types import CodeType
from typing import Any

from mmh3 import mmh3_32_uintdigest

from proxy.engine.bucketing import unit_bytes
from proxy.engine.paths import walk
from proxy.engine.shapes import TIME, Node, Shape

__all__ = ["NAMES", "code_of", "compile_source"]

_CODE_CACHE = 4_096
"""Shapes kept. Ten thousand flags in use have some hundred; a shape is about 3 KB."""


def _hash_of(salt: bytes, value: Any) -> int:
    """Return the hash of any value as a unit, or -1 when it cannot be one."""
    unit = unit_bytes(value)
    return -1 if unit is None else mmh3_32_uintdigest(salt + unit)


NAMES: dict[str, Any] = {
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


@lru_cache(maxsize=_CODE_CACHE)
def code_of(shape: Shape) -> CodeType:
    """Return the code of a shape. Pure, so it may be remembered."""
    return compile_source(_Writer(shape).source())


def compile_source(source: str) -> CodeType:
    """Return the code object of the one function in a source; 0.1 ms for 15 lines."""
    module = compile(source, "<flag>", "exec", dont_inherit=True, optimize=2)
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


_Assigned = frozenset[str]


class _Writer:
    """Writes one function. Slots are `l`, attributes `v`, numbers `h`, functions `w`."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._lines: list[str] = []
        self._assigned: _Assigned = frozenset()

    def source(self) -> str:
        """Return the function that does the steps."""
        for step in self._shape.steps:
            match step:
                case ("lookup", attribute, table):
                    self._lookup(attribute, table)
                case ("rule", ("true",), served):
                    self._serve(served)
                case ("rule", condition, served):
                    self._rule(condition, served)
                case ("end", served):
                    self._serve(served)
                case ("value", condition):
                    self._lines.append(f"return {self._condition(condition, self._assigned)[0]}")
        names = ("c", "t", "s", *(f"l{slot}" for slot in range(self._shape.literals)))
        return f"def f({', '.join(names)}):\n " + "\n ".join(self._lines)

    def _lookup(self, attribute: int, table: int) -> None:
        first, name = self._attribute(attribute, self._assigned)
        self._assigned |= {name}
        self._lines.append(f"if {first}.__class__ is str:")
        self._lines.append(f" a = l{table}.get({name})")
        self._lines.append(" if a is not None: return a")

    def _rule(self, condition: Node, served: Node) -> None:
        code, when_true, when_false = self._condition(condition, self._assigned)
        self._lines.append(f"if {code}:")
        outer, self._lines, self._assigned = self._lines, [], when_true
        ends = self._serve(served)
        outer.extend(" " + line for line in self._lines)
        self._lines = outer
        # where it comes to nothing it goes on below, too
        self._assigned = when_false if ends else self._assigned & when_false

    # What is served

    def _serve(self, served: Node) -> bool:
        """Write what is returned, and return whether something always is."""
        match served:
            case ("answer", slot):
                self._lines.append(f"return l{slot}")
                return True
            case ("split", number, arm, may_be_nothing, missing):
                self._split(number, arm, may_be_nothing, missing)
                return missing >= 0 and not may_be_nothing
            case ("computed", choose, table, nothing, unknown):
                self._lines.append(f"a = l{choose}(c, t)")
                self._lines.append(f"a = l{nothing} if a is None else l{table}.get(a, l{unknown})")
                self._lines.append("if a is not None: return a")
                return False
            case _:
                self._lines.append("pass")
                return False

    def _split(self, number: int, arm: Node, may_be_nothing: bool, missing: int) -> None:
        """Write who is served what by a number; -1 is that of who has none."""
        name = self._number(number)
        code = _arm(arm, name)
        if may_be_nothing:
            self._lines.append(f"a = {code} if {name} >= 0 else None")
            self._lines.append("if a is not None: return a")
            if missing >= 0:
                self._lines.append(f"if {name} < 0: return l{missing}")
            return
        self._lines.append(f"if {name} >= 0: return {code}")
        if missing >= 0:
            self._lines.append(f"return l{missing}")

    def _number(self, number: int) -> str:
        """Write that a number is computed, unless it was before; return the local it is in."""
        name = f"h{number}"
        if name in self._assigned:
            return name
        match self._shape.numbers[number]:
            case ("unit", attribute, salt, any_kind):
                first, value = self._attribute(attribute, self._assigned)
                if any_kind:
                    self._lines.append(f"{name} = hash_of(l{salt}, {first})")
                else:
                    self._lines.append(f"if {first}.__class__ is str and {value}:")
                    self._lines.append(f" try: {name} = hash32(l{salt} + {value}.encode())")
                    self._lines.append(f" except UnicodeEncodeError: {name} = -1")
                    self._lines.append(f"else: {name} = -1")
                self._assigned |= {value}
            case (_, slot):
                self._lines.append(f"{name} = l{slot}(c)")
        self._assigned |= {name}
        return name

    # Conditions

    def _condition(self, condition: Node, assigned: _Assigned) -> tuple[str, _Assigned, _Assigned]:
        """Return code, and the locals assigned where it is true and where it is false."""
        match condition:
            case ("probe", attribute, template, slot, count, negated):
                first, name = self._attribute(attribute, assigned)
                literals = [f"l{place}" for place in range(slot, slot + count)]
                code = f"({template.format(*literals, f=first, x=name)})"
                after = assigned | {name}
                return (f"(not {code})" if negated else code), after, after
            case ("all", items):
                return self._series(items, " and ", assigned)
            case ("any", items):
                return self._series(items, " or ", assigned)
            case ("not", item):
                code, when_true, when_false = self._condition(item, assigned)
                return f"(not {code})", when_false, when_true
            case ("called", place):
                code, after = self._function(place, assigned)
                return code, after, after
            case ("within", number, slot, high):
                name = f"h{number}"
                first = name if name in assigned else f"({name} := {self._whole_number(number)})"
                if high >= 0:
                    code = f"(l{slot} <= {first} < l{high})"
                else:
                    code = f"(bisect(l{slot}, {first}) & 1 == 1)"
                after = assigned | {name}
                return code, after, after
            case ("since", slot):
                return f"t >= l{slot}", assigned, assigned
            case ("until", slot):
                return f"t < l{slot}", assigned, assigned
            case ("during", slot, until):
                return f"(l{slot} <= t < l{until})", assigned, assigned
            case (constant,):
                # a constant is never the other value, so anything would be true of that case
                return str(constant == "true"), assigned, assigned
            case _:
                raise ValueError(condition[0])

    def _series(
        self, items: tuple[Node, ...], joint: str, assigned: _Assigned
    ) -> tuple[str, _Assigned, _Assigned]:
        """Return `and` or `or` of items: each is reached only when those before did not decide."""
        if not items:
            return str(joint == " and "), assigned, assigned
        codes: list[str] = []
        decided: _Assigned | None = None
        for item in items:
            code, when_true, when_false = self._condition(item, assigned)
            codes.append(code)
            assigned, stops = (
                (when_true, when_false) if joint == " and " else (when_false, when_true)
            )
            decided = stops if decided is None else decided & stops
        code = f"({joint.join(codes)})"
        decided = assigned if decided is None else decided
        return (code, assigned, decided) if joint == " and " else (code, decided, assigned)

    def _attribute(self, attribute: int, assigned: _Assigned) -> tuple[str, str]:
        """Return code for an attribute's value where it is next used, and the local it is in."""
        if attribute == TIME:
            return "t", "t"
        name = f"v{attribute}"
        if name in assigned:
            return name, name
        match self._shape.attributes[attribute]:
            case ("plain", slot):
                fetch = f"c.get(l{slot})"
            case ("path", slot, steps):
                fetch = f"c[l{slot}] if l{slot} in c else walk(c, l{steps})"
            case (_, slot):
                fetch = f"l{slot}(c)"
        return f"({name} := {fetch})", name

    def _whole_number(self, number: int) -> str:
        _, slot = self._shape.numbers[number]
        return f"l{slot}(c)"

    def _function(self, place: int, assigned: _Assigned) -> tuple[str, _Assigned]:
        """Return code for what a function returns, and the locals assigned after it."""
        name = f"w{place}"
        if name in assigned:
            return name, assigned
        match self._shape.functions[place]:
            case ("private", slot):
                fetch = f"l{slot}(c, t, s)"
            case ("passed", asked, slot):
                answer, assigned = self._function(asked, assigned)
                fetch = f"l{slot}({answer})"
            case (_, slot):
                fetch = _shared(slot)
        return f"({name} := {fetch})", assigned | {name}


def _shared(slot: int) -> str:
    """Return code for what a function returns that others may have asked for already."""
    return f"(l{slot}(c, t) if s is None else s[l{slot}])"


def _arm(arm: Node, number: str) -> str:
    match arm:
        case ("one", slot):
            return f"l{slot}"
        case ("two", low, cut, high):
            return f"(l{low} if {number} < l{cut} else l{high})"
        case ("many", answers, cuts):
            return f"l{answers}[bisect(l{cuts}, {number})]"
        case (_, pick, size):
            scaled = number if size < 0 else f"({number} * l{size} >> 32)"
            return f"l{pick}({scaled}, t)"
        case _:
            raise ValueError(arm[0])
