"""All that is wrong with the meaning of a definition, each with a pointer, a reason and a hint.

Shape has been checked by decoding; whatever decodes may come in here. The control plane refuses a
document with any error, the sidecar quarantines the one flag: both run these functions, so what is
published is what compiles. What passes here, `native` and `codegen` take without asking again.

`check_flag` and `check_segment` look at documents as authors write them, `check_definition` at what
a sidecar is sent. Pointers are into the document that was given.
"""

import re
from collections.abc import Container, Mapping
from datetime import date
from math import isfinite
from typing import Any

import msgspec
from msgspec import UnsetType

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import (
    BUCKETS,
    TARGETING_KEY,
    Arm,
    Condition,
    EnvironmentConfig,
    Flag,
    FlagDefinition,
    FlagType,
    Rollout,
    Segment,
    SegmentDefinition,
    Serve,
    Target,
)
from proxy.contract.problems import Problem
from proxy.engine import limits
from proxy.engine.conditions import (
    check_conditions,
    json_kind,
    leaf_total,
    nesting_problems,
    references,
)
from proxy.engine.findings import Findings, Path
from proxy.engine.graph import cycle_through, dependency_order, users_of

__all__ = [
    "check_definition",
    "check_flag",
    "check_segment",
    "examine_definition",
    "examine_segment",
]

_NATIVE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_MAX_NATIVE_KEY = 128
_MAX_IMPORTED_KEY_BYTES = 256
_RESERVED = "webhooks"
"""First segment of a key that `/api/v1/flags/webhooks/{url}` would hide."""

_SALT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_encode = msgspec.json.Encoder().encode


def check_flag(
    flag: Flag, segments: Mapping[str, Segment], *, imported_key: bool = False
) -> list[Problem]:
    """Return every problem of a flag. `segments` are those of its project, by key."""
    findings = Findings()
    _check_key(("key",), flag.key, findings, imported_key=imported_key)
    _check_labels(flag, findings)
    if not isinstance(flag.expires, UnsetType):
        _check_date(("expires",), flag.expires, findings)
    _check_outcomes(flag, findings)
    for name, config in flag.environments.items():
        path = ("environments", name)
        if not isinstance(config.salt, UnsetType) and not _SALT.fullmatch(config.salt):
            findings.add(
                (*path, "salt"),
                ProblemCode.INVALID_SALT,
                "a salt is 1 to 64 letters, digits, - and _",
                "leave it out and one is made",
            )
        _check_config(path, config, flag.variants, segments, findings)
    return findings.problems


def check_definition(
    key: str, definition: FlagDefinition, segments: Container[str]
) -> list[Problem]:
    """Return every problem of a flag as a sidecar is sent it. `segments` are the known names."""
    return examine_definition(key, definition, segments)[0]


def examine_definition(
    key: str, definition: FlagDefinition, segments: Container[str]
) -> tuple[list[Problem], list[tuple[Path, str]]]:
    """Return what `check_definition` does, and each place that names a segment."""
    findings = Findings()
    _check_key((), key, findings, imported_key=True)
    _check_outcomes(definition, findings)
    if not definition.salt or not _has_utf8(definition.salt):
        message = "a salt is text that is not empty"
        findings.add(("salt",), ProblemCode.INVALID_SALT, message)
    named = _check_config((), definition, definition.variants, segments, findings)
    return findings.problems, named


def check_segment(segment: Segment, segments: Mapping[str, Segment]) -> list[Problem]:
    """Return every problem of a segment, also those it makes for segments that name it.

    `segments` are those of its project, by key; what they hold under the segment's own key is not
    looked at.
    """
    findings = Findings()
    _check_key(("key",), segment.key, findings, imported_key=False)
    _check_labels(segment, findings)
    _check_membership(segment, {*segments, segment.key}, findings)
    _check_graph(segment, segments, findings)
    return findings.problems


def examine_segment(
    key: str, definition: SegmentDefinition, segments: Container[str]
) -> tuple[list[Problem], list[tuple[Path, str]]]:
    """Return every problem that a segment has by itself, and each place that names another."""
    findings = Findings()
    _check_key((), key, findings, imported_key=True)
    named = _check_membership(definition, segments, findings)
    return findings.problems, named


# Keys and labels


def _check_key(path: Path, key: str, findings: Findings, *, imported_key: bool) -> None:
    if imported_key:
        length = len(key.encode("utf-8", "surrogatepass"))
        good = 0 < length <= _MAX_IMPORTED_KEY_BYTES and not _CONTROL.search(key)
        if not good or not _has_utf8(key):
            message = f"a key is 1 to {_MAX_IMPORTED_KEY_BYTES} bytes without control characters"
            findings.add(path, ProblemCode.INVALID_KEY, message)
        return
    if len(key) > _MAX_NATIVE_KEY or not _NATIVE_KEY.fullmatch(key):
        findings.add(
            path,
            ProblemCode.INVALID_KEY,
            f"a key is at most {_MAX_NATIVE_KEY} letters, digits, '.', '_' and '-', "
            "in parts joined by single '/'; a part begins with a letter, a digit or '_'",
        )
    elif key.partition("/")[0] == _RESERVED:
        message = f"the first part of a key cannot be {_RESERVED!r}: that is a path of the API"
        findings.add(path, ProblemCode.INVALID_KEY, message)


def _check_labels(document: Flag | Segment, findings: Findings) -> None:
    _check_length(("name",), document.name, limits.MAX_NAME_CHARS, findings)
    _check_length(("description",), document.description, limits.MAX_TEXT_CHARS, findings)
    if isinstance(document, Flag):
        _check_length(("owner",), document.owner, limits.MAX_NAME_CHARS, findings)
    _check_count(("tags",), len(document.tags), limits.MAX_TAGS, "tags", findings)
    for index, tag in enumerate(document.tags[: limits.MAX_TAGS]):
        if not tag:
            findings.add(("tags", index), ProblemCode.OUT_OF_RANGE, "a tag is not empty")
        _check_length(("tags", index), tag, limits.MAX_NAME_CHARS, findings)


def _check_length(path: Path, text: str, most: int, findings: Findings) -> None:
    if len(text) > most:
        message = f"{len(text)} characters, at most {most} are allowed"
        findings.add(path, ProblemCode.OUT_OF_RANGE, message)


def _check_count(path: Path, count: int, most: int, what: str, findings: Findings) -> None:
    if count > most:
        message = f"{count} {what}, at most {most} are allowed"
        findings.add(path, ProblemCode.TOO_MANY, message)


def _check_date(path: Path, text: str, findings: Findings) -> None:
    try:
        if _DATE.fullmatch(text):
            date.fromisoformat(text)
            return
    except ValueError:
        pass
    findings.add(path, ProblemCode.INVALID_DATE, "this is no date", "write YYYY-MM-DD")


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# What can be answered: variants and metadata


def _check_outcomes(flag: Flag | FlagDefinition, findings: Findings) -> None:
    if not flag.variants:
        message = "a flag has at least one variant"
        findings.add(("variants",), ProblemCode.NO_VARIANTS, message)
    _check_count(("variants",), len(flag.variants), limits.MAX_VARIANTS, "variants", findings)
    total = 0
    for name, value in flag.variants.items():
        path = ("variants", name)
        if not 0 < len(name) <= limits.MAX_NAME_CHARS or _CONTROL.search(name):
            message = (
                f"the name of a variant is 1 to {limits.MAX_NAME_CHARS} characters, none of them "
                "a control character"
            )
            findings.add(path, ProblemCode.INVALID_KEY, message)
        total += _check_value(path, flag.type, value, findings)
    if total > limits.MAX_ALL_VALUES_BYTES:
        message = f"{total} bytes as JSON in all, at most {limits.MAX_ALL_VALUES_BYTES}"
        hint = "remove variants that nothing serves"
        findings.add(("variants",), ProblemCode.VALUE_TOO_LARGE, message, hint)
    _check_metadata(flag.metadata, findings)


_FITS: dict[FlagType, tuple[frozenset[type], str]] = {
    "boolean": (frozenset((bool,)), "true or false"),
    "string": (frozenset((str,)), "a string"),
    "integer": (frozenset((int,)), "an integer, without a fraction"),
    "number": (frozenset((int, float)), "a number"),
    "object": (frozenset((dict, list)), "an object"),
}


def _check_value(path: Path, kind: FlagType, value: Any, findings: Findings) -> int:
    """Report what is wrong with a variant's value, and return its size as JSON."""
    classes, wanted = _FITS[kind]
    if value.__class__ not in classes:
        message = f"a variant of a flag of type {kind} is {wanted}, not {json_kind(value)}"
        hint = "for the application's own default, leave off_variant out" if value is None else ""
        findings.add(path, ProblemCode.VALUE_TYPE, message, hint)
        return 0
    if value.__class__ is list:
        findings.add(
            path,
            ProblemCode.ARRAY_VALUE,
            "a list is not an object; some clients refuse it",
            "put it into an object",
            Severity.WARNING,
        )
    size = len(_encode(value)) if _check_inside(path, value, findings) else 0
    if size > limits.MAX_VALUE_BYTES:
        message = f"{size} bytes as JSON, at most {limits.MAX_VALUE_BYTES} are allowed"
        findings.add(path, ProblemCode.VALUE_TOO_LARGE, message)
    return size


def _check_inside(path: Path, value: Any, findings: Findings) -> bool:
    """Return whether a value can be encoded; report numbers in it that clients cannot read."""
    stack: list[tuple[Path, Any, int]] = [(path, value, 1)]
    good = True
    while stack:
        here, node, depth = stack.pop()
        kind = node.__class__
        if kind is int and abs(node) > limits.MAX_INTEGER:
            message = "integers beyond 2^53 - 1 are not exact in every client"
            findings.add(here, ProblemCode.NUMBER_OUT_OF_RANGE, message, "use a string")
        elif kind is float and not isfinite(node):
            findings.add(here, ProblemCode.NUMBER_OUT_OF_RANGE, "JSON has only finite numbers")
            good = False
        elif kind is str and not _has_utf8(node):
            findings.add(here, ProblemCode.VALUE_TYPE, "this text cannot be written as UTF-8")
            good = False
        elif kind is dict or kind is list:
            if depth > limits.MAX_VALUE_DEPTH:
                message = f"a value nests deeper than {limits.MAX_VALUE_DEPTH}"
                findings.add(path, ProblemCode.TOO_DEEP, message)
                return False
            members = node.items() if kind is dict else enumerate(node)
            stack.extend(((*here, name), child, depth + 1) for name, child in members)
    return good


def _check_metadata(metadata: dict[str, Any], findings: Findings) -> None:
    encodable = True
    for name, value in metadata.items():
        path = ("metadata", name)
        if value.__class__ not in (str, int, float, bool):
            message = f"metadata holds strings, numbers and booleans, not {json_kind(value)}"
            findings.add(path, ProblemCode.METADATA_NOT_FLAT, message)
            encodable = False
        elif not _check_inside(path, value, findings):
            encodable = False
    if encodable and len(_encode(metadata)) > limits.MAX_METADATA_BYTES:
        message = f"more than {limits.MAX_METADATA_BYTES} bytes as JSON"
        findings.add(("metadata",), ProblemCode.VALUE_TOO_LARGE, message)


# How an environment serves them


def _check_config(
    path: Path,
    config: EnvironmentConfig | FlagDefinition,
    variants: Container[str],
    segments: Container[str],
    findings: Findings,
) -> list[tuple[Path, str]]:
    """Report what is wrong with a configuration, and return each place that names a segment."""
    _check_serve((*path, "fallthrough"), config.fallthrough, variants, findings)
    if not isinstance(config.off_variant, UnsetType):
        _check_variant((*path, "off_variant"), config.off_variant, variants, findings)
    units = _check_targets((*path, "targets"), config.targets, variants, findings)
    rules = (*path, "rules")
    _check_count(rules, len(config.rules), limits.MAX_RULES, "rules", findings)
    taken: dict[str, int] = {}
    conditions: list[tuple[Path, Condition]] = []
    for index, rule in enumerate(config.rules):
        here = (*rules, index)
        if not isinstance(rule.id, UnsetType):
            _check_rule_id((*here, "id"), rule.id, taken, index, findings)
        if not isinstance(rule.description, UnsetType):
            _check_length((*here, "description"), rule.description, limits.MAX_TEXT_CHARS, findings)
        _check_serve((*here, "serve"), rule.serve, variants, findings)
        conditions.append(((*here, "when"), rule.when))
    found = check_conditions(conditions, segments, findings)
    if units + found.values > limits.MAX_VALUES_IN_ALL:
        findings.add(
            path,
            ProblemCode.TOO_MANY,
            f"{units + found.values} values and units in all, at most {limits.MAX_VALUES_IN_ALL}",
            "move lists into segments",
        )
    return found.references


def _check_rule_id(
    path: Path, rule_id: str, taken: dict[str, int], index: int, findings: Findings
) -> None:
    if not 0 < len(rule_id) <= limits.MAX_NAME_CHARS or _CONTROL.search(rule_id):
        message = (
            f"the id of a rule is 1 to {limits.MAX_NAME_CHARS} characters, none of them a "
            "control character"
        )
        findings.add(path, ProblemCode.INVALID_KEY, message)
    elif (first := taken.setdefault(rule_id, index)) != index:
        message = f"rule {first} has the id {rule_id!r} already"
        findings.add(path, ProblemCode.DUPLICATE_RULE_ID, message)


def _check_variant(path: Path, name: str, variants: Container[str], findings: Findings) -> None:
    if name not in variants:
        findings.add(path, ProblemCode.UNKNOWN_VARIANT, f"the flag has no variant {name!r}")


def _check_targets(
    path: Path, targets: list[Target], variants: Container[str], findings: Findings
) -> int:
    """Report what is wrong with targets, and return the number of their units."""
    seen: set[str] = set()
    for index, target in enumerate(targets):
        _check_variant((*path, index, "variant"), target.variant, variants, findings)
        _check_units((*path, index, "units"), target.units, seen, findings)
    return sum(len(target.units) for target in targets)


def _check_units(path: Path, units: list[str], seen: set[str], findings: Findings) -> None:
    """Report units that are empty, too long or there already; add them to `seen`."""
    own = set(units)
    if len(own) < len(units):
        message = f"{len(units) - len(own)} of the {len(units)} units are repeated"
        findings.add(path, ProblemCode.DUPLICATE_UNIT, message, severity=Severity.WARNING)
    longest = max(map(len, units), default=0)
    if "" not in own and longest <= limits.MAX_UNIT_CHARS and seen.isdisjoint(own):
        seen |= own
        return
    for index, unit in enumerate(units):
        if not 0 < len(unit) <= limits.MAX_UNIT_CHARS:
            message = f"a unit has 1 to {limits.MAX_UNIT_CHARS} characters"
            findings.add((*path, index), ProblemCode.OUT_OF_RANGE, message)
        elif unit in seen:
            message = f"the unit {_shown(unit)} is in another list already"
            hint = "keep it in one of them"
            findings.add((*path, index), ProblemCode.DUPLICATE_UNIT, message, hint)
    seen |= own


def _shown(unit: str) -> str:
    return repr(unit if len(unit) <= 64 else unit[:64] + "...")


def _check_serve(path: Path, serve: Serve, variants: Container[str], findings: Findings) -> None:
    if not isinstance(serve.variant, UnsetType):
        _check_variant((*path, "variant"), serve.variant, variants, findings)
    if not isinstance(serve.rollout, UnsetType):
        _check_rollout((*path, "rollout"), serve.rollout, variants, findings)


def _check_rollout(
    path: Path, rollout: Rollout, variants: Container[str], findings: Findings
) -> None:
    if not 0 < len(rollout.by) <= limits.MAX_PATH_CHARS:
        message = f"the name of an attribute has 1 to {limits.MAX_PATH_CHARS} characters"
        hint = f"leave it out to split by {TARGETING_KEY}"
        findings.add((*path, "by"), ProblemCode.OUT_OF_RANGE, message, hint)
    arms = (*path, "arms")
    _check_count(arms, len(rollout.arms), limits.MAX_VARIANTS, "arms", findings)
    taken: dict[str, int] = {}
    for index, arm in enumerate(rollout.arms):
        _check_variant((*arms, index, "variant"), arm.variant, variants, findings)
        if (first := taken.setdefault(arm.variant, index)) != index:
            message = f"arm {first} has the variant {arm.variant!r} already"
            findings.add((*arms, index, "variant"), ProblemCode.DUPLICATE_VARIANT, message)
        if not 0 <= arm.weight <= BUCKETS:
            message = f"a weight is 0 to {BUCKETS}, in 1/{BUCKETS}"
            findings.add((*arms, index, "weight"), ProblemCode.OUT_OF_RANGE, message)
    total = sum(arm.weight for arm in rollout.arms)
    if total != BUCKETS:
        message = f"the weights sum to {total}, not to {BUCKETS}"
        findings.add(arms, ProblemCode.WEIGHTS_SUM, message, f"{BUCKETS} is 100 %")
    _check_ranges(arms, rollout.arms, findings)


def _check_ranges(path: Path, arms: list[Arm], findings: Findings) -> None:
    if not any(arm.ranges for arm in arms):
        return
    held: list[tuple[int, int, Path]] = []
    for index, arm in enumerate(arms):
        size = 0
        for number, (low, high) in enumerate(arm.ranges or ()):
            here = (*path, index, "ranges", number)
            if 0 <= low < high <= BUCKETS:
                held.append((low, high, here))
                size += high - low
            else:
                message = f"a range is [low, high], with 0 <= low < high <= {BUCKETS}"
                findings.add(here, ProblemCode.OUT_OF_RANGE, message)
        if size != arm.weight:
            findings.add(
                (*path, index, "ranges"),
                ProblemCode.WEIGHT_RANGES,
                f"the ranges hold {size} buckets, the weight is {arm.weight}",
                "leave the ranges of all arms out and they are made",
            )
    held.sort(key=lambda item: item[:2])
    end = 0
    for low, high, here in held:
        if low < end:
            message = f"the buckets from {low} to {min(end, high)} are held already"
            findings.add(here, ProblemCode.RANGES_OVERLAP, message)
        end = max(end, high)


# Segments


def _check_membership(
    segment: Segment | SegmentDefinition, segments: Container[str], findings: Findings
) -> list[tuple[Path, str]]:
    seen: set[str] = set()
    _check_units(("included",), segment.included, seen, findings)
    _check_units(("excluded",), segment.excluded, seen, findings)
    units = len(segment.included) + len(segment.excluded)
    _check_count((), units, limits.MAX_SEGMENT_UNITS, "units", findings)
    found = check_conditions([(("when",), segment.when)], segments, findings)
    _check_count(("when",), found.values, limits.MAX_VALUES_IN_ALL, "values in all", findings)
    return found.references


def _check_graph(segment: Segment, segments: Mapping[str, Segment], findings: Findings) -> None:
    """Report cycles through the segment, and nesting too deep or wide in it or in its users."""
    every = {**segments, segment.key: segment}
    named = {key: [name for _, name in references(each.when)] for key, each in every.items()}
    cyclic = False
    for path, name in references(segment.when, ("when",)):
        way = cycle_through(named, segment.key, name)
        if way is not None:
            cyclic = True
            message = f"the segment contains itself: {' -> '.join(way)}"
            findings.add(path, ProblemCode.SEGMENT_CYCLE, message)
    if cyclic:
        return
    order, _ = dependency_order(named)
    nesting: dict[str, int] = {}
    conditions: dict[str, int] = {}
    concerned = {segment.key} | users_of(named, segment.key)
    for key in order:
        inner = [name for name in named[key] if name in nesting]
        nesting[key] = 1 + max((nesting[name] for name in inner), default=0)
        conditions[key] = leaf_total(every[key].when) + sum(conditions[name] for name in inner)
        if key in concerned:
            for code, message in nesting_problems(key, nesting[key], conditions[key]):
                findings.add(("when",), code, message)
