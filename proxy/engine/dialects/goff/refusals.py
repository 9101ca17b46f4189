"""Flags that GO Feature Flag does not serve: it checks each when it reads a file, and drops it.

A relay answers FLAG_NOT_FOUND for such a flag, and applications use their own defaults, however
well the rest of it would have worked. So an import does not take it either: it would come to life.

Only the flag itself is checked there, not what its schedule makes of it, and no rule that is
disabled but for its name.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.engine.dialects.goff.conditions import fails_on_nothing
from proxy.engine.dialects.goff.flags import Flag, Progressive, Rule
from proxy.engine.dialects.goff.query import TooComplex, parse_query
from proxy.engine.dialects.goff.rules import trimmed
from proxy.engine.findings import Findings, Path

__all__ = ["refuse"]

_Fault = tuple[Path, ProblemCode, str]


def refuse(flag: Flag, findings: Findings) -> None:
    """Report as errors why GO Feature Flag would not serve a flag."""
    for path, code, message in _faults(flag):
        findings.add(path, code, f"{message}: GO Feature Flag does not serve the flag")


def _faults(flag: Flag) -> Iterator[_Fault]:
    variations = flag.variations or {}
    path: Path = ("variations",)
    for name, value in variations.items():
        if value is None:
            yield (*path, name), ProblemCode.VALUE_TYPE, "a variation is null"
    if len({_KINDS.get(value.__class__) for value in variations.values()} - {None}) > 1:
        yield path, ProblemCode.VALUE_TYPE, "the variations are of several types"
    if flag.default is None:
        yield ("defaultRule",), ProblemCode.MISSING_FIELD, "there is no default rule"
    else:
        yield from _outcome_faults(flag.default, variations)
    names: set[str] = set()
    for rule in flag.rules:
        if not rule.disable:
            yield from _outcome_faults(rule, variations)
            yield from _query_faults(rule)
        if rule.name and rule.name in names:
            message = f"a second rule has the name {rule.name!r:.40}"
            yield (*rule.path, "name"), ProblemCode.DUPLICATE_RULE_ID, message
        names.add(rule.name or "")


_KINDS = {
    bool: "boolean",
    str: "text",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
}


def _outcome_faults(rule: Rule, variations: Mapping[str, Any]) -> Iterator[_Fault]:
    """Yield what is wrong with what a rule serves; of several things all are checked."""
    path = rule.path
    if rule.percentages is None and rule.progressive is None and rule.variation is None:
        yield path, ProblemCode.MISSING_FIELD, "the rule gives nobody a variation"
    if rule.percentages is not None:
        at = (*path, "percentage")
        if not sum(rule.percentages.values()):
            yield at, ProblemCode.OUT_OF_RANGE, "the shares sum to 0"
        yield from _unknown(at, rule.percentages, variations)
    if rule.progressive is not None:
        yield from _progressive_faults((*path, "progressiveRollout"), rule.progressive, variations)
    elif rule.percentages is None and rule.variation is not None:
        yield from _unknown((*path, "variation"), [rule.variation], variations)


def _progressive_faults(
    path: Path, rollout: Progressive, variations: Mapping[str, Any]
) -> Iterator[_Fault]:
    initial, end = rollout
    if initial is None or end is None:
        yield path, ProblemCode.MISSING_FIELD, "a progressive rollout has no beginning, or no end"
        return
    if (end.percentage or 0) < (initial.percentage or 0):
        yield path, ProblemCode.OUT_OF_RANGE, "a progressive rollout ends with less than it had"
    yield from _unknown(path, [initial.variation or "", end.variation or ""], variations)


def _unknown(path: Path, names: Iterable[str], variations: Mapping[str, Any]) -> Iterator[_Fault]:
    for name in names:
        if name not in variations:
            message = f"the flag has no variation {name!r:.40}"
            yield path, ProblemCode.UNKNOWN_VARIANT, message


def _query_faults(rule: Rule) -> Iterator[_Fault]:
    path = (*rule.path, "query")
    if rule.query is None:
        yield rule.path, ProblemCode.MISSING_FIELD, "the rule has no query"
        return
    text = trimmed(rule.query)
    try:
        logic = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        logic = text
    if logic is None or logic.__class__ is dict:
        if not _is_logic(logic):
            message = "the query is no JSON Logic, or has an operation that there is not"
            yield path, ProblemCode.UNKNOWN_OPERATOR, message
        return
    try:
        root = parse_query(text).root
    except TooComplex:
        return  # which is told when it is compiled
    if fails_on_nothing(root):
        yield path, ProblemCode.UNSUPPORTED, "the query cannot be evaluated"


def _is_logic(node: Any) -> bool:
    """Return whether its library takes a node for JSON Logic. What was compiled is not deep."""
    if node.__class__ is list:
        return all(_is_logic(each) for each in node if each.__class__ in (list, dict))
    if node.__class__ is not dict:
        return node is not None
    if len(node) != 1:
        return bool(node)
    [(name, arguments)] = node.items()
    if name == "var" and arguments is None:
        return True
    return name in _OPERATIONS and _is_logic(arguments)


# fmt: off
_OPERATIONS = frozenset((
    "and", "or", "!", "!!", "if", "?:", "==", "===", "!=", "!==", "<", "<=", ">", ">=", "in",
    "contains_all", "contains_any", "contains_none", "all", "some", "none", "filter", "map",
    "reduce", "merge", "var", "missing", "missing_some", "set", "cat", "substr", "+", "-", "*", "/",
    "%", "abs", "max", "min",
))
# fmt: on
