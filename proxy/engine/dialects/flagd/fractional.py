"""flagd's `fractional`: a hash of a key, divided over variants by weight; three versions of it.

    v1   abs(signed MurmurHash3) / (2**31 - 1) * 100, compared with percentages added up in doubles
    v2   (MurmurHash3 * all weights) >> 32, compared with weights added up; since core 0.15.0
    v3   as v2, of a key that is CBOR, and so may be any value and not only text

The key is the first argument, or else made of the flag's key and `targetingKey`. Version 1 is that
of Go and Python; other SDKs divided in other ways of their own.

Where weights are constant a `Plan` has one hash and the cut points of its number, exactly those of
the formula, and the program a `Split`. Else the whole is computed at each evaluation by `divided`.

Rules:
- What is wrong comes to null, not to an error: a key that is missing or of another kind, a weight
  that is no integer, weights that come to 0 or above 2**31 - 1, an arm that is no list.
- Every argument counts, also one that is not chosen: flagd computes them all beforehand.
"""

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import program as p
from proxy.engine.bucketing import text_bytes
from proxy.engine.dialects.flagd import cbor
from proxy.engine.dialects.javascript import utf8
from proxy.engine.dialects.jsonlogic import (
    Closure,
    Compiler,
    Form,
    Logic,
    LogicError,
    Place,
    Term,
    constant,
    operation_of,
)
from proxy.engine.hashing import HASHES, NO_NUMBER, first_number, number_of

__all__ = ["Plan", "Version", "divided", "form", "plan"]

Version = Literal[1, 2, 3]

_LEAST_WEIGHT, _MOST_WEIGHT = -(2**63), 2**31 - 1
_NULL = constant(None)


class Plan(NamedTuple):
    """A fractional of constant weights: who has a number from `ends[i - 1]` to `ends[i]` has arm i.

    Where the key may come to a list, which flagd takes for an arm, `key` has the logic of it, and
    `computed` what it comes to then. `unit` is the attribute that the key is made of.
    """

    bucketing: p.Bucketing
    ends: tuple[int, ...]
    arms: tuple[Term, ...]
    computed: Term
    key: Logic | None = None
    unit: str = TARGETING_KEY


class _Arm(NamedTuple):
    """A variant and its weight, which `weight_run` computes where there is one."""

    variant: Term
    weight: int
    weight_run: Closure | None


# The formulas


def weight_of(value: Any) -> int | None:
    """Return a weight, None for what is none; null is 1, and below 0 is 0."""
    kind = value.__class__
    if value is None:
        return 1
    if kind is not int and kind is not float:
        return None
    if not _LEAST_WEIGHT <= value <= _MOST_WEIGHT:
        return None
    return max(0, int(value)) if value == int(value) else None


def _ends(weights: list[int], version: Version) -> tuple[int, ...]:
    """Return the first number beyond each arm."""
    if version != 1:
        return tuple(accumulate(weights))
    total = sum(weights)
    shares = accumulate((100 * weight / total for weight in weights), initial=0.0)
    return tuple(first_number(2**32, _not_below(share)) for share in list(shares)[1:])


def _not_below(share: float) -> Callable[[int], bool]:
    return lambda h: not abs(float(h)) / 2147483647 * 100 < share


def _index(hashed: int, weights: list[int], total: int, version: Version) -> int | None:
    """Return the arm that a hash is in, by the formula itself; None for what falls off the end."""
    if version != 1:
        return bisect_right(list(accumulate(weights)), hashed * total >> 32)
    bucket = abs(float(hashed)) / 2147483647 * 100
    share = 0.0
    for index, weight in enumerate(weights):
        share += 100 * weight / total
        if bucket < share:
            return index
    return None


def _hash(version: Version) -> str:
    return "murmur3_32_abs" if version == 1 else "murmur3_32"


def _bucketing(key: tuple[bytes | p.Part, ...], version: Version, total: int) -> p.Bucketing:
    if version == 1:
        return p.Bucketing(key, _hash(version))
    return p.Bucketing(key, _hash(version), reduce="scale", size=total)


def _unit_key(flag: str, unit: Any, version: Version) -> bytes | None:
    """Return the key of who has no other: the flag and the targeting key."""
    if unit.__class__ is not str or not unit:
        return None
    return cbor.encode([flag, unit]) if version == 3 else utf8(flag + unit)


def divided(values: list[Any], flag: str, unit: Any, version: Version) -> Any:
    """Return what `fractional` comes to with these arguments, by the formula itself."""
    if not values:
        return None
    first, arms = values[0], values[1:]
    if first.__class__ is list:
        key, arms = _unit_key(flag, unit, version), values
    elif version == 3:
        key = None if first is None else cbor.encode(first)
    elif first.__class__ is str:
        key = utf8(first)
    else:
        key = _unit_key(flag, unit, version)
        arms = arms if first is None else values
    if key is None:
        return None
    weights = []
    for arm in arms:
        if arm.__class__ is not list or not arm or arm[0].__class__ in (list, dict):
            return None
        weight = weight_of(arm[1]) if len(arm) > 1 else 1
        if weight is None:
            return None
        weights.append(weight)
    total = sum(weights)
    if not 0 < total <= _MOST_WEIGHT:
        return None
    index = _index(HASHES[_hash(version)](key, 0), weights, total, version)
    return None if index is None else arms[index][0]


# Compiled


def form(flag: str, version: Version) -> Form:
    """Return the operation, for one flag."""

    def fractional(compiler: Compiler, arguments: Any, place: Place) -> Term:
        found = plan(compiler, arguments, place, flag, version)
        if isinstance(found, Term):
            return found
        return _planned(found)

    return fractional


def plan(
    compiler: Compiler, arguments: Any, place: Place, flag: str, version: Version
) -> Plan | Term:
    """Return how a fractional divides, or a term where it is constant, or not known beforehand."""
    if arguments.__class__ is not list:
        return _of_one(compiler, compiler.term(arguments, place), place, flag, version)
    nodes = arguments
    if not nodes:
        return _NULL
    first, key = _NULL, None
    may_fail = False
    entries: list[_Entry] = []
    for index, node in enumerate(nodes):
        where = place.at(index)
        if node.__class__ is list:
            inner = where._replace(depth=where.depth + 1)
            items = [compiler.part(each, inner.at(i)) for i, each in enumerate(node)]
            entries.append([item for item, _ in items])
            may_fail = may_fail or any(logic.may_fail for _, logic in items)
        else:
            term, logic = compiler.part(node, where)
            entries.append(term)
            if index:
                may_fail = may_fail or logic.may_fail
            else:
                first, key = term, logic
    if first.constant and first.value.__class__ is list:
        key = None
    computed = _computed(compiler, entries, place, flag, version)
    if place.in_list or may_fail or (key is not None and key.timed):
        return computed
    if key is not None and key.may_fail:
        key = key._replace(evaluate=_or_list(key.evaluate))
        first = first._replace(run=key.evaluate, scalar=False)
    arms = _arms(entries if key is None else entries[1:])
    if arms is None or (arms is _WRONG and key is not None and key.may_fail):
        return computed
    if not arms:  # but the key, where it is a list
        return _NULL if arms is _WRONG or key is None or first.scalar else computed
    if key is None or (first.constant and first.value is None and version != 3):
        parts, key = _own_key(flag, version), None
    elif first.constant:
        whole = _constant_key(first.value, version)
        if whole is None:
            return _NULL
        parts, key = (whole,), None
    else:
        run = first.run if _is_var(nodes[0]) else key.evaluate  # only the latter may be too much
        parts = (_key_part(run, key.reads, flag, version, nodes[0]),)
    may_be_list = None if key is None or first.scalar else key
    weights = [arm.weight for arm in arms if arm.weight_run is None]
    if len(weights) < len(arms) or not all(arm.variant.scalar for arm in arms):
        term = _weighed(p.Bucketing(parts, _hash(version)), arms, version)
        return term if may_be_list is None else _or_computed(term, may_be_list, computed)
    total = sum(weights)
    if not 0 < total <= _MOST_WEIGHT:
        return _NULL if may_be_list is None else _or_computed(_NULL, may_be_list, computed)
    ends, variants = _ends(weights, version), tuple(arm.variant for arm in arms)
    bucketing = _bucketing(parts, version, total)
    if isinstance(parts[-1], bytes):  # one unit for all
        index = bisect_right(ends, number_of(bucketing)({}))
        return variants[index] if index < len(variants) else _NULL
    unit = TARGETING_KEY if key is None else _only_path(nodes[0]) or TARGETING_KEY
    return Plan(bucketing, ends, variants, computed, may_be_list, unit)


def _or_list(evaluate: Closure) -> Closure:
    """Return the key, or a list where it fails: then the whole is computed, and fails as well."""

    def key(context: Any, t: int) -> Any:
        try:
            return evaluate(context, t)
        except LogicError:
            return []

    return key


def _of_one(compiler: Compiler, term: Term, place: Place, flag: str, version: Version) -> Term:
    """Return what arguments come to that are computed as one list."""
    run = term.run
    divide = _dividing(compiler, place, flag, version)

    def whole(data: Any, t: int) -> Any:
        values = run(data, t)
        return divide(data, values) if values.__class__ is list else None

    return Term(whole, scalar=True)


def _is_var(node: Any) -> bool:
    operation = operation_of(node)
    return operation is not None and operation[0] == "var"


_Entry = list[Term] | Term
"""An argument: the items of a list, or what comes to one only at an evaluation."""


def _computed(
    compiler: Compiler, entries: list[_Entry], place: Place, flag: str, version: Version
) -> Term:
    """Return the whole as it is at an evaluation."""
    runs = [_run_of(entry) for entry in entries]
    divide = _dividing(compiler, place, flag, version)
    return Term(lambda data, t: divide(data, [run(data, t) for run in runs]), scalar=True)


def _dividing(
    compiler: Compiler, place: Place, flag: str, version: Version
) -> Callable[[Any, list[Any]], Any]:
    """Return what divides by values, with the targeting key of the data in scope."""
    if place.in_list:  # the data there has no `$flagd`, and a targeting key only by chance

        def of_item(data: Any, values: list[Any]) -> Any:
            item = data.item
            if item.__class__ is not dict:
                return None
            return divided(values, "", item.get(TARGETING_KEY), version)

        return of_item
    compiler.reads(TARGETING_KEY)
    return lambda data, values: divided(values, flag, data.get(TARGETING_KEY), version)


def _run_of(entry: _Entry) -> Closure:
    if isinstance(entry, Term):
        return entry.run
    runs = [term.run for term in entry]
    return lambda data, t: [run(data, t) for run in runs]


def _planned(found: Plan) -> Term:
    """Return a plan as a term, for where a fractional is not all that there is."""
    number = number_of(found.bucketing)
    ends = found.ends
    runs = (*(arm.run for arm in found.arms), _NULL.run)

    def divide(data: Any, t: int) -> Any:
        drawn = number(data)
        return None if drawn == NO_NUMBER else runs[bisect_right(ends, drawn)](data, t)

    term = Term(divide, scalar=True)
    return term if found.key is None else _or_computed(term, found.key, found.computed)


def _or_computed(term: Term, key: Logic, computed: Term) -> Term:
    """Return a term, or what is computed where the key comes to a list."""
    evaluate, otherwise, run = key.evaluate, computed.run, term.run

    def divide(data: Any, t: int) -> Any:
        return otherwise(data, t) if evaluate(data, t).__class__ is list else run(data, t)

    return Term(divide, scalar=True)


def _weighed(bucketing: p.Bucketing, arms: list[_Arm], version: Version) -> Term:
    """Return a fractional whose weights, or names, are computed; its key is known."""
    number = number_of(bucketing)
    variants = [arm.variant.run for arm in arms]
    checked = [arm.variant.run for arm in arms if not arm.variant.scalar]
    given = [(arm.weight, arm.weight_run) for arm in arms]

    def weigh(data: Any, t: int) -> Any:
        hashed = number(data)
        if hashed == NO_NUMBER:
            return None
        for run in checked:
            if run(data, t).__class__ in _CONTAINERS:
                return None
        weights = []
        total = 0
        for constant_weight, weight_run in given:
            weight = constant_weight if weight_run is None else weight_of(weight_run(data, t))
            if weight is None:
                return None
            weights.append(weight)
            total += weight
        if not 0 < total <= _MOST_WEIGHT:
            return None
        index = _index(hashed, weights, total, version)
        return None if index is None else variants[index](data, t)

    return Term(weigh, scalar=True)


_CONTAINERS = (list, dict)


def _constant_key(value: Any, version: Version) -> bytes | None:
    if version == 3:
        return None if value is None else cbor.encode(value)
    return utf8(value) if value.__class__ is str else None


def _own_key(flag: str, version: Version) -> tuple[bytes | p.Part, ...]:
    if version == 3:
        return b"\x82" + cbor.encode_text(flag), p.Part(TARGETING_KEY, _text_or_none)
    return utf8(flag), p.Part(TARGETING_KEY, text_bytes)


def _text_or_none(value: Any) -> bytes | None:
    return cbor.encode_text(value) if value.__class__ is str and value else None


def _key_part(
    evaluate: Closure, reads: frozenset[str] | None, flag: str, version: Version, node: Any
) -> p.Part:
    """Return the part of the hash's key that an expression is."""

    def fetch(context: dict[str, Any]) -> Any:
        value = evaluate(context, 0)
        if value.__class__ is str:
            return value
        if version == 3:
            return None if value.__class__ is list else value
        if value is not None:
            return None
        unit = context.get(TARGETING_KEY)
        return flag + unit if unit.__class__ is str and unit else None

    def encode(value: Any) -> bytes | None:
        if value is None:
            return None
        return cbor.encode(value) if version == 3 else utf8(value)

    if reads is not None and version != 3:
        reads |= {TARGETING_KEY}
    return p.Part(p.Operand(_only_path(node) or "the key of the fractional", fetch, reads), encode)


def _only_path(node: Any) -> str | None:
    """Return the path of the one attribute that an expression reads, None for none or several."""
    paths = set()
    stack = [node]
    while stack:
        node = stack.pop()
        operation = operation_of(node)
        if operation is None:
            stack.extend(node if node.__class__ is list else ())
            continue
        name, arguments = operation
        path = arguments[0] if arguments.__class__ is list and arguments else arguments
        if name != "var":
            stack.append(arguments)
        elif path.__class__ is not str:
            return None
        elif not path.startswith("$flagd"):
            paths.add(path)
    return paths.pop() if len(paths) == 1 else None


def _items(value: Any) -> list[Term]:
    return [constant(item) for item in value] if value.__class__ is list else []


_WRONG: list[_Arm] = []


def _arms(entries: list[_Entry]) -> list[_Arm] | None:
    """Return the arms; `_WRONG` where one is none, None where they are not known."""
    found: list[_Arm] = []
    known = True
    for given in entries:
        entry = given
        if isinstance(entry, Term):
            if not entry.constant:
                known = False
                continue
            entry = _items(entry.value)
        if not entry or (entry[0].constant and not entry[0].scalar):
            return _WRONG
        weight: int | None = 1
        run: Closure | None = None
        if len(entry) > 1:
            if entry[1].constant:
                weight = weight_of(entry[1].value)
            else:
                run = entry[1].run
        if weight is None:
            return _WRONG
        found.append(_Arm(entry[0], weight, run))
    return found if known else None
