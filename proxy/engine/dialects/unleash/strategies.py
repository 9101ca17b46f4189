"""Unleash's strategies as conditions: constraints, segments, and the rule that the name stands for.

A strategy holds where all of its constraints and segments do, and its rule:

    default                   always
    userWithId                `userId` is one of the texts in `userIds`, commas between them
    flexibleRollout           number of the identifier <= `rollout`, which is a percentage
    gradualRolloutUserId,     the same of `userId` or `sessionId`, with `percentage`
    gradualRolloutSessionId
    gradualRolloutRandom      a random number <= `percentage`
    remoteAddress             `remoteAddress` is in one of `IPs`, addresses or networks
    applicationHostname       `hostname` of the context is one of `hostNames`, in any case
    any other name            never: the strategy is code of the application

The number of an identifier is `murmur3_32(groupId + ":" + identifier) % 100 + 1`, here without the
1, so that `rollout` is the end of a range. Who has no identifier is not in a rollout, whatever its
percentage; only those that would otherwise draw a random number are in one of 100.

`hostname` is the host of the application, which this service does not know: clients send it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode
from proxy.engine import program as p
from proxy.engine.dialects.unleash.constraints import constraints_expression, network_leaf
from proxy.engine.dialects.unleash.context import DEFAULT, RANDOM, encode_unit
from proxy.engine.dialects.unleash.translation import Translating, segment_key
from proxy.engine.findings import Path
from proxy.engine.operators import Leaf

__all__ = ["Strategy", "group_prefix", "strategy_of", "warn_of_chance"]

_HUNDRED = 100

_PERCENTAGE = re.compile(r"\+?0*(100|[0-9]{1,2})")


class Strategy(NamedTuple):
    """One strategy of a toggle."""

    when: p.Expression
    divides: bool
    """Whether only a part of the units is in it."""
    group: str
    stickiness: str
    """What its variants hash, and are sticky on."""
    node: Mapping[str, Any]
    path: Path


class _Rule(NamedTuple):
    when: p.Expression
    divides: bool = False


_NEVER = _Rule(p.FALSE)


class _Parameters(NamedTuple):
    """The parameters of a strategy, and what it is translated with."""

    node: Mapping[str, Any]
    path: Path
    translating: Translating
    feature: str
    group: str | None
    stickiness: str

    def text(self, name: str) -> str | None:
        """Return a parameter."""
        return self.translating.text(self.node, self.path, name)

    def warn(self, name: str, message: str, hint: str = "") -> None:
        """Add a warning at a parameter."""
        code = ProblemCode.OPERATOR_VALUES
        self.translating.warn((*self.path, name), code, message, hint)

    def items(self, name: str) -> list[str] | None:
        """Return a list, which is a text with commas; None and a warning without one."""
        text = self.text(name)
        if text is None:
            self.warn(name, f"there is no parameter {name}; the strategy never matches")
            return None
        items = [item.strip() for item in text.split(",")]
        if not self.translating.count((*self.path, name), "values", len(items)):
            return None
        return items

    def percentage(self, name: str) -> int:
        """Return a percentage; 0 and a warning for what is none."""
        text = self.text(name)
        match = None if text is None else _PERCENTAGE.fullmatch(text)
        if match is not None:
            return int(match[1])
        shown = "nothing" if text is None else self.translating.shown(text)
        self.warn(
            name,
            f"{name} is an integer of 0 to 100, not {shown}; the strategy never matches",
        )
        return 0


def strategy_of(node: Any, path: Path, translating: Translating, feature: str) -> Strategy | None:
    """Return one strategy of the toggle `feature`; None and an error for what is none."""
    if translating.mapping(node, path, "a strategy") is None:
        return None
    translating.count(path, "conditions")
    name = node.get("name")
    if name.__class__ is not str:
        message = "a strategy has a name, which is a string"
        translating.error((*path, "name"), ProblemCode.WRONG_TYPE, message)
        return None
    given = node.get("parameters")
    where = (*path, "parameters")
    if given is not None:
        given = translating.mapping(given, where, "parameters")
    group, stickiness = (
        translating.text(given or {}, where, member) for member in ("groupId", "stickiness")
    )
    stickiness = DEFAULT if stickiness is None else stickiness
    parameters = _Parameters(given or {}, where, translating, feature, group, stickiness)
    make = _RULES.get(name)
    if make is None:
        message = f"{translating.shown(name)} is code of the application; it never matches here"
        hint = "say with constraints what it decides"
        translating.warn((*path, "name"), ProblemCode.UNSUPPORTED, message, hint)
        rule = _NEVER
    else:
        rule = make(parameters)
    conditions = constraints_expression(node, path, translating)
    conditions += _segments(node, path, translating)
    return Strategy(
        p.all_of([*conditions, rule.when]),
        rule.divides,
        feature if group is None else group,
        stickiness,
        node,
        path,
    )


def _segments(node: Mapping[str, Any], path: Path, translating: Translating) -> list[p.Expression]:
    numbers = translating.items(node, path, "segments")
    path = (*path, "segments")
    if not translating.count(path, "conditions", len(numbers)):
        return []
    found: list[p.Expression] = []
    for index, number in enumerate(numbers):
        key = segment_key(number)
        if key is None:
            message = "a segment is named by its number"
            translating.error((*path, index), ProblemCode.WRONG_TYPE, message)
        else:
            found.append(p.InSegment(key))
    return found


def group_prefix(group: str) -> bytes:
    """Return what is hashed before an identifier."""
    return group.encode("utf-8", "surrogatepass") + b":"


def warn_of_chance(translating: Translating, path: Path, what: str) -> None:
    """Add the warning of what Unleash decides anew at each call."""
    message = f"{what} at random at each call; here by targetingKey, or else the user or session"
    hint = "who has none of them is not matched"
    translating.warn(path, ProblemCode.UNSUPPORTED, message, hint)


# Rules


def _default(_parameters: _Parameters) -> _Rule:
    return _Rule(p.TRUE)


def _user_with_id(parameters: _Parameters) -> _Rule:
    users = parameters.items("userIds")
    if not users:
        return _NEVER
    operand = parameters.translating.operands.field("userId")
    return _Rule(p.Probe(operand, Leaf("{f} in {0}", (frozenset(users),)), source=users))


def _remote_address(parameters: _Parameters) -> _Rule:
    addresses = parameters.items("IPs")
    if not addresses:
        return _NEVER
    leaf = network_leaf(addresses, (*parameters.path, "IPs"), parameters.translating)
    if leaf is None:
        return _NEVER
    operand = parameters.translating.operands.field("remoteAddress")
    return _Rule(p.Probe(operand, leaf, source=addresses))


def _hostname(parameters: _Parameters) -> _Rule:
    hosts = parameters.items("hostNames")
    if not hosts:
        return _NEVER
    message = "Unleash asks the host of the application; here `hostname` of the context is asked"
    where = (*parameters.path, "hostNames")
    parameters.translating.warn(where, ProblemCode.UNSUPPORTED, message)
    operand = parameters.translating.operands.field("hostname")
    leaf = Leaf(
        "{f} is not None and {x}.lower() in {0}", (frozenset(host.lower() for host in hosts),)
    )
    return _Rule(p.Probe(operand, leaf, source=hosts))


def _flexible(parameters: _Parameters) -> _Rule:
    percentage = parameters.percentage("rollout")
    group = parameters.feature if parameters.group is None else parameters.group
    return _rollout(parameters, percentage, group, parameters.stickiness, "stickiness")


def _gradual(field: str) -> Callable[[_Parameters], _Rule]:
    def gradual(parameters: _Parameters) -> _Rule:
        percentage = parameters.percentage("percentage")
        if parameters.group is None:
            parameters.warn("groupId", "there is no groupId; the strategy never matches")
            return _NEVER
        return _rollout(parameters, percentage, parameters.group, field, "percentage")

    return gradual


def _at_random(parameters: _Parameters) -> _Rule:
    percentage = parameters.percentage("percentage")
    return _rollout(parameters, percentage, parameters.feature, RANDOM, "percentage")


def _rollout(
    parameters: _Parameters, percentage: int, group: str, stickiness: str, where: str
) -> _Rule:
    """Return a rollout; `where` is the parameter that says whether it is at random."""
    if percentage == 0:
        return _NEVER
    translating = parameters.translating
    operand = translating.operands.unit(stickiness)
    if percentage == _HUNDRED:
        if stickiness in (DEFAULT, RANDOM):
            return _Rule(p.TRUE)
        return _Rule(p.Probe(operand, Leaf("{0}({f}) is not None", (encode_unit,))))
    if stickiness == RANDOM:
        warn_of_chance(translating, (*parameters.path, where), "Unleash divides")
    key = (group_prefix(group), p.Part(operand, encode_unit))
    bucketing = p.Bucketing(key, reduce="modulo", size=_HUNDRED)
    return _Rule(p.Within(bucketing, ((0, percentage),)), divides=True)


_RULES: dict[str, Callable[[_Parameters], _Rule]] = {
    "default": _default,
    "userWithId": _user_with_id,
    "flexibleRollout": _flexible,
    "gradualRolloutUserId": _gradual("userId"),
    "gradualRolloutSessionId": _gradual("sessionId"),
    "gradualRolloutRandom": _at_random,
    "remoteAddress": _remote_address,
    "applicationHostname": _hostname,
}
