"""A flag as GO Feature Flag writes it: decoded with all its problems, and changed by its schedule.

Here structure only: what a query means, and what a share of users is, is `programs`'.

A scheduled step names members that take the place of the flag's. Rules are merged by name, member
by member, shares by variation (a negative one removes the variation); rules of other names, and
those without, come after the others. Steps are applied by their dates, those of one date as they
are written; a step without a date never.

Rules:
- Members that GO Feature Flag does not know are ignored there, and are warnings here.
- A null is what is not there.
- Dates are RFC 3339, or as YAML also has them, `2026-12-01 09:00:00` and `2026-12-01`, which are of
  UTC.
"""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.findings import Findings, Path
from proxy.engine.times import Moment, parse_exactly

__all__ = [
    "Edge",
    "Flag",
    "NotMerged",
    "Progressive",
    "Rule",
    "ScheduledStep",
    "merged",
    "read_flag",
]

MAX_STEPS = 200
"""Scheduled steps of a flag; each is a program of its own."""


class Edge(NamedTuple):
    """The beginning or the end of a progressive rollout."""

    variation: str | None = None
    percentage: float | None = None
    date: Moment | None = None


class Progressive(NamedTuple):
    """A progressive rollout."""

    initial: Edge | None
    end: Edge | None


class Rule(NamedTuple):
    """A rule of `targeting`, or the default rule. `path` leads to it."""

    path: Path
    name: str | None = None
    query: str | None = None
    variation: str | None = None
    percentages: Mapping[str, float] | None = None
    progressive: Progressive | None = None
    disable: bool | None = None

    @property
    def needs_key(self) -> bool:
        """Return whether users are told apart by their key."""
        return bool(self.percentages) or self.progressive is not None


class Flag(NamedTuple):
    """A flag, or what a scheduled step changes of it, at `date`."""

    variations: Mapping[str, Any] | None
    rules: tuple[Rule, ...]
    default: Rule | None
    bucketing_key: str | None
    start: Moment | None
    end: Moment | None
    is_experiment: bool
    disable: bool | None
    steps: tuple["ScheduledStep", ...] = ()


class ScheduledStep(NamedTuple):
    """A change, and when; never without a date."""

    date: Moment | None
    change: Flag


class NotMerged(Exception):
    """A step changes a part of a rule that is not there, which GO Feature Flag fails at."""


# Decoding


_FLAG = frozenset(
    (
        "variations",
        "targeting",
        "defaultRule",
        "bucketingKey",
        "experimentation",
        "scheduledRollout",
        "disable",
        "trackEvents",
        "version",
        "metadata",
        "converter",
    )
)
_STEP = _FLAG | {"date"}
_RULE = frozenset(("name", "query", "variation", "percentage", "progressiveRollout", "disable"))


def read_flag(definition: Mapping[str, Any], findings: Findings) -> Flag:
    """Return a flag decoded; what is wrong goes to `findings`, and is left out."""
    return _Reader(findings).flag(definition, ())


class _Reader:
    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._rules = 0

    def flag(self, source: Mapping[str, Any], path: Path, *, step: bool = False) -> Flag:
        self._known(source, _STEP if step else _FLAG, path)
        experimentation = self._object(source, "experimentation", path) or {}
        experiment_path = (*path, "experimentation")
        self._known(experimentation, frozenset(("start", "end")), experiment_path)
        return Flag(
            self._object(source, "variations", path),
            self._rules_of(source, path),
            self._rule(source, "defaultRule", path),
            self._of(source, "bucketingKey", str, path),
            self._date(experimentation, "start", experiment_path),
            self._date(experimentation, "end", experiment_path),
            source.get("experimentation") is not None,
            self._of(source, "disable", bool, path),
            () if step else self._steps(source, path),
        )

    def _steps(self, source: Mapping[str, Any], path: Path) -> tuple[ScheduledStep, ...]:
        steps = []
        for index, step in enumerate(self._list(source, "scheduledRollout", path, MAX_STEPS)):
            at = (*path, "scheduledRollout", index)
            if step.__class__ is not dict:
                self._wrong(at, "a step must be an object")
                continue
            if step.get("scheduledRollout") is not None:
                self._warn((*at, "scheduledRollout"), "a step within a step is ignored")
            date = self._date(step, "date", at)
            if step.get("date") is None:
                self._warn(at, "a step without a date is never applied")
            steps.append(ScheduledStep(date, self.flag(step, at, step=True)))
        return tuple(steps)

    def _rules_of(self, source: Mapping[str, Any], path: Path) -> tuple[Rule, ...]:
        rules = []
        for index, rule in enumerate(self._list(source, "targeting", path, limits.MAX_RULES)):
            at = (*path, "targeting", index)
            if rule.__class__ is not dict:
                self._wrong(at, "a rule must be an object")
            else:
                rules.append(self._decoded_rule(rule, at))
        return tuple(rules)

    def _rule(self, source: Mapping[str, Any], name: str, path: Path) -> Rule | None:
        rule = self._object(source, name, path)
        return None if rule is None else self._decoded_rule(rule, (*path, name))

    def _decoded_rule(self, rule: Mapping[str, Any], path: Path) -> Rule:
        self._known(rule, _RULE, path)
        return Rule(
            path,
            self._of(rule, "name", str, path),
            self._of(rule, "query", str, path),
            self._of(rule, "variation", str, path),
            self._percentages(rule, path),
            self._progressive(rule, path),
            self._of(rule, "disable", bool, path),
        )

    def _percentages(self, rule: Mapping[str, Any], path: Path) -> dict[str, float] | None:
        shares = self._object(rule, "percentage", path)
        if shares is None:
            return None
        found = {}
        for name in shares:
            share = self._number(shares, name, (*path, "percentage"))
            if share is not None:
                found[name] = share
        return found

    def _progressive(self, rule: Mapping[str, Any], path: Path) -> Progressive | None:
        rollout = self._object(rule, "progressiveRollout", path)
        if rollout is None:
            return None
        path = (*path, "progressiveRollout")
        self._known(rollout, frozenset(("initial", "end")), path)
        return Progressive(self._edge(rollout, "initial", path), self._edge(rollout, "end", path))

    def _edge(self, rollout: Mapping[str, Any], name: str, path: Path) -> Edge | None:
        edge = self._object(rollout, name, path)
        if edge is None:
            return None
        path = (*path, name)
        self._known(edge, frozenset(("variation", "percentage", "date")), path)
        return Edge(
            self._of(edge, "variation", str, path),
            self._number(edge, "percentage", path),
            self._date(edge, "date", path),
        )

    # Members

    def _of(self, source: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
        value = source.get(name)
        if value is None or value.__class__ is kind:
            return value
        self._wrong((*path, name), f"must be {_NAMES[kind]}")
        return None

    def _object(self, source: Mapping[str, Any], name: str, path: Path) -> Any:
        return self._of(source, name, dict, path)

    def _list(self, source: Mapping[str, Any], name: str, path: Path, most: int) -> list[Any]:
        found: list[Any] = self._of(source, name, list, path) or []
        if len(found) > most:
            message = f"{len(found)} items are more than {most}"
            self._findings.add((*path, name), ProblemCode.TOO_MANY, message)
            return []
        return found

    def _number(self, source: Mapping[str, Any], name: str, path: Path) -> float | None:
        value = source.get(name)
        if value is None:
            return None
        if value.__class__ is int or value.__class__ is float:
            try:
                number = float(value)
            except OverflowError:
                number = float("inf")
            if isfinite(number) and abs(number) <= _MOST_PERCENT:
                return number
            message = "no share of users is this large"
            self._findings.add((*path, name), ProblemCode.OUT_OF_RANGE, message)
            return None
        self._wrong((*path, name), "must be a number")
        return None

    def _date(self, source: Mapping[str, Any], name: str, path: Path) -> Moment | None:
        value = source.get(name)
        if value is None:
            return None
        moment = _moment(value) if value.__class__ is str else None
        if moment is None:
            message = "is no date and time by RFC 3339"
            hint = "write it with a zone: 2026-12-01T09:00:00Z"
            self._findings.add((*path, name), ProblemCode.INVALID_TIME, message, hint)
        return moment

    def _known(self, source: Mapping[str, Any], names: frozenset[str], path: Path) -> None:
        for name in source:
            if name not in names:
                message = "GO Feature Flag has no such member, and ignores it"
                self._findings.add(
                    (*path, name), ProblemCode.UNKNOWN_FIELD, message, severity=Severity.WARNING
                )

    def _wrong(self, path: Path, message: str) -> None:
        self._findings.add(path, ProblemCode.WRONG_TYPE, message)

    def _warn(self, path: Path, message: str) -> None:
        self._findings.add(path, ProblemCode.UNSUPPORTED, message, severity=Severity.WARNING)


_NAMES = {str: "a string", bool: "true or false", dict: "an object", list: "a list"}

_MOST_PERCENT = 1_000_000.0
"""Thousandths of more than this do not fit the 32 bits that they are counted in."""

_YAML_DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?: ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(\.[0-9]+)?)?"
)


def _moment(text: str) -> Moment | None:
    """Return a date and time, None for what is none."""
    found = parse_exactly(text)
    if found is not None:
        return found
    match = _YAML_DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (part or "0" for part in match.groups()[:6])
    time = f"{hour:>02}:{minute:>02}:{second:>02}{match[7] or ''}"
    return parse_exactly(f"{year}-{month:>02}-{day:>02}T{time}Z")


# The schedule


def merged(flag: Flag, change: Flag) -> Flag:
    """Return a flag with a step applied; raises NotMerged."""
    default = flag.default
    if change.default is not None and _says_anything(change.default):
        if default is None:
            raise NotMerged
        default = _merged_rule(default, change.default)
    variations = flag.variations
    if change.variations is not None:
        variations = {**(variations or {}), **change.variations}
    return flag._replace(
        variations=variations,
        rules=_merged_rules(flag.rules, change.rules),
        default=default,
        start=flag.start if change.start is None else change.start,
        end=flag.end if change.end is None else change.end,
        is_experiment=flag.is_experiment or change.is_experiment,
        disable=flag.disable if change.disable is None else change.disable,
    )


def _says_anything(change: Rule) -> bool:
    """Return whether there is anything in a rule to merge; its name is not."""
    said = change.query, change.variation, change.percentages, change.progressive, change.disable
    return any(each is not None for each in said)


def _merged_rules(rules: tuple[Rule, ...], changes: tuple[Rule, ...]) -> tuple[Rule, ...]:
    named = {change.name: change for change in changes if change.name is not None}
    done = set()
    result = []
    for rule in rules:
        name = rule.name or ""
        if name in named:
            done.add(name)
            result.append(_merged_rule(rule, named[name]))
        else:
            result.append(rule)
    result += [change for change in changes if (change.name or "") not in done]
    return tuple(result)


def _merged_rule(rule: Rule, change: Rule) -> Rule:
    percentages = rule.percentages
    if change.percentages is not None:
        shares = {**(percentages or {}), **change.percentages}
        removed = {name for name, share in change.percentages.items() if share < 0}
        percentages = {name: share for name, share in shares.items() if name not in removed}
    return rule._replace(
        query=rule.query if change.query is None else change.query,
        variation=rule.variation if change.variation is None else change.variation,
        percentages=percentages,
        progressive=_merged_progressive(rule.progressive, change.progressive),
        disable=rule.disable if change.disable is None else change.disable,
    )


def _merged_progressive(
    rollout: Progressive | None, change: Progressive | None
) -> Progressive | None:
    if change is None:
        return rollout
    if rollout is None:
        rollout = Progressive(Edge(), Edge())
    return Progressive(
        _merged_edge(rollout.initial, change.initial), _merged_edge(rollout.end, change.end)
    )


def _merged_edge(edge: Edge | None, change: Edge | None) -> Edge | None:
    if change is None:
        return edge
    if edge is None:
        raise NotMerged
    return Edge(
        edge.variation if change.variation is None else change.variation,
        edge.percentage if change.percentage is None else change.percentage,
        edge.date if change.date is None else change.date,
    )
