"""What is wrong with a condition tree, and which segments it names. Part of `validate`.

No walk here recurses: a definition need not have come through the contract's bound on depth.
"""

from collections.abc import Container, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Condition
from proxy.contract.problems import json_kind
from proxy.contract.steps import Steps
from proxy.engine import limits
from proxy.engine.findings import STEP_US, Findings, Path
from proxy.engine.nearness import meant
from proxy.engine.operators import OPERATORS, Fault, Operator, options_of
from proxy.engine.texts import check_attribute

__all__ = [
    "Found",
    "check_conditions",
    "leaf_total",
    "nesting_problems",
    "references",
    "summary",
]


def references(condition: Condition, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield the path and the name of each segment a condition names, in order."""
    stack = [(path, condition)]
    while stack:
        here, node = stack.pop()
        if not isinstance(node.segment, UnsetType):
            yield (*here, "segment"), node.segment
        children = [((*here, *step), child) for step, child in _children(node)]
        stack.extend(reversed(children))


def leaf_total(condition: Condition) -> int:
    """Return how many leaves and segments a condition has."""
    count = 0
    stack = [condition]
    while stack:
        node = stack.pop()
        children = _children(node)
        if not children and isinstance(node.all, UnsetType) and isinstance(node.any, UnsetType):
            count += 1
        stack.extend(child for _, child in children)
    return count


def summary(condition: Condition) -> tuple[list[str], int]:
    """Return the segments a condition names, in any order, and how many leaves and segments it has.

    In half the time of `references` and `leaf_total`, because it keeps no ways.
    """
    named: list[str] = []
    count = 0
    stack = [condition]
    while stack:
        node = stack.pop()
        if not isinstance(node.all, UnsetType):
            stack += node.all
        elif not isinstance(node.any, UnsetType):
            stack += node.any
        elif not isinstance(node.not_, UnsetType):
            stack.append(node.not_)
        else:
            count += 1
            if not isinstance(node.segment, UnsetType):
                named.append(node.segment)
    return named, count


def nesting_problems(
    segment: str, nesting: int, conditions: int
) -> Iterator[tuple[ProblemCode, str]]:
    """Yield what is wrong with a segment once the segments it names are counted in."""
    if nesting > limits.MAX_SEGMENT_NESTING:
        message = (
            f"segments are nested {nesting} deep below {segment!r}, at most "
            f"{limits.MAX_SEGMENT_NESTING} are allowed"
        )
        yield ProblemCode.SEGMENT_TOO_DEEP, message
    if conditions > limits.MAX_SEGMENT_CONDITIONS:
        message = (
            f"{segment!r} and the segments in it have {conditions} conditions, at most "
            f"{limits.MAX_SEGMENT_CONDITIONS} are allowed"
        )
        yield ProblemCode.TOO_MANY, message


_SHOWN_CHARS = 40
"""Of an unknown operator; none has as many."""


class Found(NamedTuple):
    """What a walk over conditions came across."""

    conditions: int
    """Nodes of all trees together."""
    values: int
    """Values of all leaves together."""
    references: list[tuple[Path, str]]
    """Each place that names a segment, and the name."""


def check_conditions(
    roots: list[tuple[Path, Condition]], segments: Container[str], findings: Findings
) -> Steps[Found]:
    """Report what is wrong with the conditions of one definition. `segments` are the known names.

    Once it has found nothing, conditions nest no deeper than `MAX_CONDITION_DEPTH`.
    """
    conditions = values = spent = 0
    costly = dict.fromkeys(_COSTLY, 0)
    named: list[tuple[Path, str]] = []
    for root, tree in roots:
        stack = [(root, tree, 1)]
        while stack:
            path, node, depth = stack.pop()
            conditions += 1
            if depth > limits.MAX_CONDITION_DEPTH:
                message = f"conditions nest deeper than {limits.MAX_CONDITION_DEPTH}"
                findings.add(root, ProblemCode.TOO_DEEP, message, "move a part into a segment")
                break
            if not isinstance(node.op, UnsetType):
                count, faults = _check_leaf(path, node, node.op, costly, findings)
                values += count
                spent += 4 + (count >> 3)
                if faults is not None:
                    for fault in faults:
                        if fault is None:
                            yield
                        else:
                            findings.add((*path, *fault.path), *fault[1:])
            elif not isinstance(node.segment, UnsetType):
                named.append(((*path, "segment"), node.segment))
                if node.segment not in segments:
                    message = f"there is no segment {node.segment!r}"
                    hint = "" if findings.alone else meant(node.segment, segments, findings)
                    findings.add((*path, "segment"), ProblemCode.UNKNOWN_SEGMENT, message, hint)
            else:
                children = _children(node)
                spent += 1 + len(children)
                if conditions + len(children) > limits.MAX_CONDITIONS:
                    conditions += len(children)  # too many, so they are not looked at
                    continue
                for step, child in reversed(children):
                    stack.append((path + step, child, depth + 1))
            if spent >= STEP_US or findings.spent >= STEP_US:
                spent = findings.spent = 0
                yield
    _bound(roots, conditions, limits.MAX_CONDITIONS, "conditions", findings)
    for op, (most, what) in _COSTLY.items():
        _bound(roots, costly[op], most, what, findings)
    _bound(roots, len(named), limits.MAX_SEGMENT_REFERENCES, "references to segments", findings)
    return Found(conditions, values, named)


def _bound(
    roots: list[tuple[Path, Condition]], count: int, most: int, what: str, findings: Findings
) -> None:
    if count > most:
        message = f"{count} {what} in all, at most {most} are allowed"
        # the place that all of them share: the rules, or the one condition
        where = roots[0][0] if len(roots) == 1 else roots[0][0][:-2]
        findings.add(where, ProblemCode.TOO_MANY, message, "move a part into a segment")


def _children(node: Condition) -> list[tuple[Path, Condition]]:
    if not isinstance(node.all, UnsetType):
        return [(("all", i), child) for i, child in enumerate(node.all)]
    if not isinstance(node.any, UnsetType):
        return [(("any", i), child) for i, child in enumerate(node.any)]
    if not isinstance(node.not_, UnsetType):
        return [(("not",), node.not_)]
    return []


_COSTLY = {
    "contains": (limits.MAX_SEARCHED, "texts to look for"),
    "matches": (limits.MAX_PATTERNS, "regular expressions"),
    "in_cidr": (limits.MAX_NETWORKS, "networks"),
    "semver_match": (limits.MAX_VERSION_RANGES, "ranges of versions"),
}
"""Operators whose values take long, to read or in use: how many a definition has at most."""


_CHECK_US = 20
_NEAREST_US = 20


def _check_leaf(
    path: Path, leaf: Condition, name: str, costly: dict[str, int], findings: Findings
) -> tuple[int, Iterator[Fault | None] | None]:
    """Report what is wrong with a leaf; return the number of its values, and what else is wrong.

    That takes longer to find. Values are counted in `costly`, where they are; those beyond the
    bound are not read.
    """
    values = [] if isinstance(leaf.values, UnsetType) else leaf.values
    operator = OPERATORS.get(name)
    _check_attribute(path, leaf, name, operator, findings)
    if operator is None:
        findings.spent += _NEAREST_US
        findings.add((*path, "op"), ProblemCode.UNKNOWN_OPERATOR, *_unknown(name))
        return len(values), None
    options = (leaf.from_, leaf.to, leaf.zone)
    if operator.needs or leaf.fold is True or options != _NO_OPTIONS:
        _check_options(path, leaf, name, operator, findings)
    fit = _check_values(path, name, operator, values, findings)
    if name in _COSTLY:
        costly[name] += len(values)
        if costly[name] > _COSTLY[name][0]:
            return len(values), None
    if leaf.fold is True and fit:
        chars = sum(len(value) for value in values if value.__class__ is str)
        if chars > limits.MAX_LEAF_CHARS:
            message = f"{chars} characters in all, at most {limits.MAX_LEAF_CHARS} are allowed"
            findings.add((*path, "values"), ProblemCode.TOO_MANY, message, "compare without fold")
    if operator.check is None or not fit:
        return len(values), None
    findings.spent += _CHECK_US
    return len(values), operator.check(values, options_of(leaf))


def _check_attribute(
    path: Path, leaf: Condition, name: str, operator: Operator | None, findings: Findings
) -> None:
    attribute = leaf.attribute
    if isinstance(attribute, UnsetType):
        if operator is None or not operator.timed:
            message = f"{name[:_SHOWN_CHARS]} is of an attribute, and none is named"
            hint = f"only {', '.join(_TIMED)} are of the time where there is none"
            findings.add((*path, "attribute"), ProblemCode.MISSING_FIELD, message, hint)
    else:
        check_attribute((*path, "attribute"), attribute, findings)


_TIMED = [name for name, operator in OPERATORS.items() if operator.timed]


_NO_OPTIONS = (UNSET, UNSET, UNSET)


def _check_options(
    path: Path, leaf: Condition, name: str, operator: Operator, findings: Findings
) -> None:
    given = {"from": leaf.from_, "to": leaf.to, "zone": leaf.zone}
    if leaf.fold is True and "fold" not in operator.options:
        message = f"{name} compares no text, so it takes no fold"
        hint = "leave fold out"
        if name == "matches":
            message, hint = "matches takes no fold", "begin the pattern with (?i)"
        findings.add((*path, "fold"), ProblemCode.OPERATOR_OPTION, message, hint)
    for option, value in given.items():
        if isinstance(value, UnsetType):
            if option in operator.needs:
                findings.add((*path, option), ProblemCode.MISSING_FIELD, f"{name} needs {option!r}")
        elif option not in operator.options:
            message, hint = f"{name} takes no {option}", f"leave {option} out"
            findings.add((*path, option), ProblemCode.OPERATOR_OPTION, message, hint)


@lru_cache(maxsize=1_024)
def _unknown(name: str) -> tuple[str, str]:
    """Return message and hint for a name that no operator has; asked again and again for one."""
    shown = name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "..."
    nearest = get_close_matches(name[:_SHOWN_CHARS].lower(), OPERATORS, n=1, cutoff=0.5)
    known = f"the nearest is {nearest[0]!r}" if nearest else f"there are {', '.join(OPERATORS)}"
    return f"there is no operator {shown!r}", known


def _check_values(
    path: Path, name: str, operator: Operator, values: list[Any], findings: Findings
) -> bool:
    """Report what is wrong with number and types of values; return whether that is nothing."""
    wanted = operator.values
    problem = ProblemCode.OPERATOR_VALUES
    if len(values) < wanted.least or (wanted.most is not None and len(values) > wanted.most):
        message = f"{name} takes {wanted.text}, not {len(values)} values"
        findings.add((*path, "values"), problem, message)
        return False
    if len(values) > limits.MAX_VALUES:
        message = f"{len(values)} values, at most {limits.MAX_VALUES} are allowed"
        hint = "use a segment's list of units"
        findings.add((*path, "values"), ProblemCode.TOO_MANY, message, hint)
        return False
    kinds = set(map(type, values))
    fit = kinds <= wanted.classes
    if not fit:
        for index, value in enumerate(values):
            if value.__class__ not in wanted.classes:
                message = f"{name} takes {wanted.text}, not {json_kind(value)}"
                findings.add((*path, "values", index), problem, message)
    if int in kinds:
        for index, value in enumerate(values):
            if value.__class__ is int and abs(value) > limits.MAX_INTEGER:
                message = "not every client can send this integer exactly"
                hint = "compare identifiers as strings"
                code = ProblemCode.NUMBER_OUT_OF_RANGE
                findings.add((*path, "values", index), code, message, hint, Severity.WARNING)
    return fit
