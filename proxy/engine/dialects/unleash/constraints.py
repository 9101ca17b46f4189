"""Unleash's constraints as conditions.

    {"contextName": "country", "operator": "IN", "values": ["NL", "DE"], "inverted": false}

A field that is missing, or is no number, version, date or address where one is compared, does not
match; only `NOT_IN` does. `inverted` turns the result round, that of a missing field too.

- `IN`, `NOT_IN`: the same text. `STR_STARTS_WITH`, `STR_ENDS_WITH`, `STR_CONTAINS`: any of the
  values, and with `caseInsensitive` both sides in lower case.
- `NUM_*`: doubles; two are equal that differ by less than 2**-52. No spaces, no underscores.
- `DATE_*`: RFC 3339. `currentTime` is the time of the evaluation where the context has none.
- `SEMVER_*`: SemVer 2.0.0, strictly, by precedence. Numbers of 64 bits and more are none.
- `REGEX`: RE2, anywhere in the text. One that RE2 does not take matches nothing.
- `IN_CIDR`: addresses and networks; values that are neither are passed over. An IPv4 address
  written as an IPv6 one is in IPv6 networks only.

A constraint that cannot be understood, for its operator or for its value, makes its strategy, or
its segment, match nothing, inverted or not.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from proxy.contract.codes import ProblemCode
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.unleash.translation import Translating
from proxy.engine.findings import Path
from proxy.engine.operators import Leaf, Options
from proxy.engine.operators.networks import in_networks
from proxy.engine.operators.patterns import check_patterns, match_patterns
from proxy.engine.operators.versions import parse_version
from proxy.engine.times import parse_exactly

__all__ = ["constraint_expression", "constraints_expression", "network_leaf"]

_Node = Mapping[str, Any]
_Make = Callable[[_Node, Path, Translating, p.Operand], p.Expression | None]
"""Returns the condition before it is inverted, None where it cannot be understood."""

_PLAIN = Options()
_EPSILON = 2.0**-52

_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE
)
"""A number in a context."""

_WRITTEN_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?", re.IGNORECASE)
"""A number in a constraint."""

_MOST_NUMBER_CHARS = 400
"""No double needs more; what is longer is no number."""


def constraints_expression(node: _Node, path: Path, translating: Translating) -> list[p.Expression]:
    """Return the conditions of the member `constraints`, all of which must hold."""
    items = translating.items(node, path, "constraints")
    path = (*path, "constraints")
    if not translating.count(path, "conditions", len(items)):
        return [p.FALSE]
    return [
        constraint_expression(item, (*path, index), translating) for index, item in enumerate(items)
    ]


def constraint_expression(node: Any, path: Path, translating: Translating) -> p.Expression:
    """Return one constraint as a condition."""
    if translating.mapping(node, path, "a constraint") is None:
        return p.FALSE
    name, operator = node.get("contextName"), node.get("operator")
    for member, value in (("contextName", name), ("operator", operator)):
        if value.__class__ is not str:
            message = f"a constraint has a {member}, which is a string"
            translating.error((*path, member), ProblemCode.WRONG_TYPE, message)
            return p.FALSE
    make = _OPERATORS.get(operator)
    if make is None:
        message = f"there is no operator {translating.shown(operator)}; {_NEVER}"
        near = get_close_matches(operator[:_LONGEST_OPERATOR], _OPERATORS, 1)
        hint = f"did you mean {near[0]}?" if near else ""
        translating.warn((*path, "operator"), ProblemCode.UNKNOWN_OPERATOR, message, hint)
        return p.FALSE
    expression = make(node, path, translating, translating.operands.field(name))
    if expression is None:
        return p.FALSE
    return p.negation(expression) if node.get("inverted") is True else expression


_NEVER = "what has this constraint never matches"


def _value(node: _Node, path: Path, translating: Translating, what: str) -> str | None:
    """Return the member `value`, None and a warning where there is none."""
    value = translating.text(node, path, "value")
    if value is None:
        _not_understood(path, translating, f"there is no {what}")
    return value


def _not_understood(path: Path, translating: Translating, why: str, member: str = "value") -> None:
    code = ProblemCode.OPERATOR_VALUES
    translating.warn((*path, member), code, f"{why}; {_NEVER}")


# Texts


def _in(node: _Node, path: Path, translating: Translating, operand: p.Operand) -> p.Expression:
    texts = frozenset(translating.texts(node, path))
    if not texts:
        return p.FALSE
    if len(texts) == 1:
        return p.Probe(operand, Leaf("{f} == {0}", tuple(texts)), source=node)
    return p.Probe(operand, Leaf("{f} in {0}", (texts,)), source=node)


def _not_in(node: _Node, path: Path, translating: Translating, operand: p.Operand) -> p.Expression:
    return p.negation(_in(node, path, translating, operand))


def _starts(texts: tuple[str, ...], value: str) -> Leaf:
    return Leaf(f"{{f}} is not None and {value}.startswith({{0}})", (texts,))


def _ends(texts: tuple[str, ...], value: str) -> Leaf:
    return Leaf(f"{{f}} is not None and {value}.endswith({{0}})", (texts,))


def _contains(texts: tuple[str, ...], value: str) -> Leaf:
    if len(texts) == 1:
        return Leaf(f"{{f}} is not None and {{0}} in {value}", texts)

    def has_any(found: str) -> bool:
        return any(text in found for text in texts)

    return Leaf(f"{{f}} is not None and {{0}}({value})", (has_any,))


def _string(make: Callable[[tuple[str, ...], str], Leaf]) -> _Make:
    def string(
        node: _Node, path: Path, translating: Translating, operand: p.Operand
    ) -> p.Expression | None:
        texts = translating.texts(node, path)
        if not texts:
            _not_understood(path, translating, "there are no values", "values")
            return None
        if node.get("caseInsensitive") is True:
            leaf = make(tuple(dict.fromkeys(text.lower() for text in texts)), "{x}.lower()")
        else:
            leaf = make(tuple(dict.fromkeys(texts)), "{x}")
        return p.Probe(operand, leaf, source=node)

    return string


def _regex(
    node: _Node, path: Path, translating: Translating, operand: p.Operand
) -> p.Expression | None:
    pattern = translating.text(node, path, "value") or ""
    where = (*path, "value")
    if node.get("caseInsensitive") is True:
        pattern = f"(?i){pattern}"
    if not translating.count(where, "regular expressions"):
        return None
    for fault in filter(None, check_patterns([pattern], _PLAIN)):
        if fault.code is not ProblemCode.INVALID_PATTERN or "too large" in fault.message:
            translating.error(where, fault.code, fault.message, fault.hint)
        else:
            translating.warn(where, fault.code, f"{fault.message}; it matches nothing", fault.hint)
        return p.FALSE
    return p.Probe(operand, match_patterns([pattern], _PLAIN), source=node)


# Numbers, versions and times


def _number(text: str) -> float | None:
    """Return the double that a text of a context is, None for what is none."""
    if len(text) > _MOST_NUMBER_CHARS or _NUMBER.fullmatch(text) is None:
        return None
    return float(text)


_COMPARED: dict[str, Callable[[float], Callable[[float], bool]]] = {
    "==": lambda wanted: lambda value: abs(value - wanted) < _EPSILON,
    "<": lambda wanted: wanted.__gt__,
    "<=": lambda wanted: wanted.__ge__,
    ">": lambda wanted: wanted.__lt__,
    ">=": lambda wanted: wanted.__le__,
}


def _numeric(sign: str) -> _Make:
    def numeric(
        node: _Node, path: Path, translating: Translating, operand: p.Operand
    ) -> p.Expression | None:
        text = _value(node, path, translating, "number")
        if text is None:
            return None
        if len(text) > _MOST_NUMBER_CHARS or _WRITTEN_NUMBER.fullmatch(text) is None:
            _not_understood(path, translating, f"{translating.shown(text)} is no number")
            return None
        test = _COMPARED[sign](float(text))

        def compares(value: str) -> bool:
            number = _number(value)
            return number is not None and test(number)

        return p.Probe(operand, Leaf("{f} is not None and {0}({x})", (compares,)), source=node)

    return numeric


def _parse_version(text: str) -> Any:
    """Return a version, None for what is none to Unleash."""
    version = parse_version(text)
    return None if version is None or max(version[0]) >= _MOST_OF_VERSION else version


_MOST_OF_VERSION = 2**64

_parsed_version = lru_cache(maxsize=2_048)(_parse_version)
"""Versions of contexts; an application has a few, and parsing one takes 0.7 us."""

_parsed_moment = lru_cache(maxsize=256)(parse_exactly)
"""Moments of contexts: constraints on dates come in pairs, and parsing one takes 1 us."""

_KEPT_CHARS = 64
"""Longer texts are parsed anew each time, so that contexts cannot fill the memory."""


def _version(sign: str) -> _Make:
    def version(
        node: _Node, path: Path, translating: Translating, operand: p.Operand
    ) -> p.Expression | None:
        text = _value(node, path, translating, "version")
        if text is None:
            return None
        wanted = _parse_version(text)
        if wanted is None:
            why = f"{translating.shown(text)} is no version of SemVer 2.0.0"
            _not_understood(path, translating, why)
            return None
        test = _VERSIONS[sign](wanted)

        def compares(value: str) -> bool:
            parse = _parsed_version if len(value) <= _KEPT_CHARS else _parse_version
            version = parse(value)
            return version is not None and test(version)

        return p.Probe(operand, Leaf("{f} is not None and {0}({x})", (compares,)), source=node)

    return version


_VERSIONS: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "==": lambda wanted: wanted.__eq__,
    "<": lambda wanted: wanted.__gt__,
    "<=": lambda wanted: wanted.__ge__,
    ">": lambda wanted: wanted.__lt__,
    ">=": lambda wanted: wanted.__le__,
}


def _date(is_after: bool) -> _Make:
    def date(
        node: _Node, path: Path, translating: Translating, operand: p.Operand
    ) -> p.Expression | None:
        text = _value(node, path, translating, "date")
        if text is None:
            return None
        wanted = parse_exactly(text)
        if wanted is None:
            why = f"{translating.shown(text)} is no date and time of RFC 3339"
            _not_understood(path, translating, why)
            return None

        def compares(value: str) -> bool:
            parse = _parsed_moment if len(value) <= _KEPT_CHARS else parse_exactly
            moment = parse(value)
            return moment is not None and (moment > wanted if is_after else moment < wanted)

        said = p.Probe(operand, Leaf("{f} is not None and {0}({x})", (compares,)), source=node)
        if operand.name != "currentTime":
            return said
        since, until = p.ALWAYS
        if is_after:
            now = p.Window(wanted[0] + 1, until, node)
        else:
            now = p.Window(since, wanted[0] + (wanted[1] != ""), node)
        unsaid = p.Probe(operand, Leaf("{f} is None"))
        return p.any_of([p.all_of([unsaid, now]), said])

    return date


# Addresses

_MAPPED = IPv6Network("::ffff:0:0/96")


def _cidr(
    node: _Node, path: Path, translating: Translating, operand: p.Operand
) -> p.Expression | None:
    texts = translating.texts(node, path)
    if not texts:
        _not_understood(path, translating, "there are no values", "values")
        return None
    leaf = network_leaf(texts, (*path, "values"), translating)
    return p.FALSE if leaf is None else p.Probe(operand, leaf, source=node)


def network_leaf(texts: list[str], path: Path, translating: Translating) -> Leaf | None:
    """Return whether an address is in one of some networks, None where none of them is one."""
    if not translating.count(path, "networks", len(texts)):
        return None
    v4: list[str] = []
    v6: list[str] = []
    for text in texts:
        network = _network(text)
        if network is None:
            message = f"{translating.shown(text)} is no address and no network; it is passed over"
            translating.warn(path, ProblemCode.OPERATOR_VALUES, message)
        elif isinstance(network, IPv4Network):
            v4.append(str(network))
        else:
            v6.append(str(network))
            if network.supernet_of(_MAPPED):
                v6.append(str(_MAPPED))  # by itself it would be taken for IPv4
    leaves = [in_networks(of_family, _PLAIN) for of_family in (v4, v6)]
    if not v4 and not v6:
        return None
    in_v4, in_v6 = (leaf.literals[0] for leaf in leaves)

    def in_any(address: str) -> bool:
        return bool(in_v6(address) if ":" in address else in_v4(address))

    return Leaf("{f} is not None and {0}({x})", (in_any,))


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """Return a network, None for what is none. Bits behind the prefix are ignored."""
    if "%" in text or len(text) > limits.MAX_NAME_CHARS or not text.isascii():
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


_LONGEST_OPERATOR = 16
"""Characters of what is meant to be one; nearness takes time by the square of them."""

_OPERATORS: dict[str, _Make] = {
    "IN": _in,
    "NOT_IN": _not_in,
    "STR_STARTS_WITH": _string(_starts),
    "STR_ENDS_WITH": _string(_ends),
    "STR_CONTAINS": _string(_contains),
    "NUM_EQ": _numeric("=="),
    "NUM_LT": _numeric("<"),
    "NUM_LTE": _numeric("<="),
    "NUM_GT": _numeric(">"),
    "NUM_GTE": _numeric(">="),
    "DATE_AFTER": _date(is_after=True),
    "DATE_BEFORE": _date(is_after=False),
    "SEMVER_EQ": _version("=="),
    "SEMVER_LT": _version("<"),
    "SEMVER_LTE": _version("<="),
    "SEMVER_GT": _version(">"),
    "SEMVER_GTE": _version(">="),
    "REGEX": _regex,
    "IN_CIDR": _cidr,
}
