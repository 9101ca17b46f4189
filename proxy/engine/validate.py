"""All that is wrong with the meaning of a definition, each with a pointer, a reason and a hint.

Shape has been checked by decoding; whatever decodes may come in here. The control plane refuses a
document with any error, the sidecar quarantines the one flag: both run these functions, so what is
published is what compiles. What passes here, `native` and `codegen` take without asking again.

`check_flag` and `check_segment` look at documents as authors write them, `check_definition` at what
a sidecar is sent. Pointers are into the document that was given. `checking_flag` and the others
like it do the same in small steps: a document at every bound takes longer than a loop may be held.
"""

import re
from collections.abc import Collection, Container, Mapping
from datetime import date
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.authoring import project
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import (
    Condition,
    EnvironmentConfig,
    Flag,
    FlagDefinition,
    Segment,
    SegmentDefinition,
    Target,
    Window,
)
from proxy.contract.problems import Problem, has_errors, pointer, under
from proxy.contract.steps import Steps, finish
from proxy.contract.units import list_problem
from proxy.engine import limits
from proxy.engine.conditions import Found, check_conditions, nesting_problems, summary
from proxy.engine.findings import STEP_US, Findings, Path
from proxy.engine.graph import cycle_through, ordering, users_of
from proxy.engine.prerequisites import check_chains, check_prerequisites
from proxy.engine.rollouts import check_moment, check_serve, check_splits, check_variant
from proxy.engine.sizes import LARGE_BYTES, oversize
from proxy.engine.texts import CONTROL, check_count, check_length, has_utf8
from proxy.engine.translate import segment_program, translate
from proxy.engine.variants import check_outcomes

__all__ = [
    "Named",
    "References",
    "check_definition",
    "check_flag",
    "check_segment",
    "checking_flag",
    "checking_segment",
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


Named = list[tuple[Path, str]]
"""Places in a document that name something, and the name."""


class References(NamedTuple):
    """What a flag names: segments in its conditions, flags in its prerequisites."""

    segments: Named
    flags: Named


def check_flag(
    flag: Flag,
    segments: Mapping[str, Segment],
    flags: Mapping[str, Flag] | None = None,
    *,
    asking: Collection[str] | None = None,
    imported_key: bool = False,
) -> list[Problem]:
    """Return every problem of a flag, also those it makes for flags that ask it.

    `segments` and `flags` are those of its project, by key; what flags hold under its own key is
    not looked at. Without flags its prerequisites are not compared with them. `asking` are the keys
    of all flags that have prerequisites anywhere, for callers that know them: finding them is what
    costs in a large project.
    """
    return finish(checking_flag(flag, segments, flags, asking=asking, imported_key=imported_key))


def checking_flag(
    flag: Flag,
    segments: Container[str],
    flags: Mapping[str, Flag] | None = None,
    *,
    asking: Collection[str] | None = None,
    imported_key: bool = False,
) -> Steps[list[Problem]]:
    """Return what `check_flag` does, in small steps, the last of which looks at other flags."""
    findings = Findings()
    _check_key(("key",), flag.key, findings, imported_key=imported_key)
    _check_labels(flag, findings)
    if not isinstance(flag.expires, UnsetType):
        _check_date(("expires",), flag.expires, findings)
    imported = any(config.source is not UNSET for config in flag.environments.values())
    yield from check_outcomes(flag, findings, typed=not imported)
    for name, config in flag.environments.items():
        path = ("environments", name)
        if not isinstance(config.salt, UnsetType) and not _SALT.fullmatch(config.salt):
            findings.add(
                (*path, "salt"),
                ProblemCode.INVALID_SALT,
                "a salt is 1 to 64 letters, digits, - and _",
                "leave it out and one is made",
            )
        yield from _check_config(path, flag.key, config, flag.variants, segments, findings)
        if not isinstance(config.source, UnsetType):
            made = translate(flag.key, project(flag, name))
            findings.problems += under(pointer(*path), list(made.problems))
            yield
        yield from _check_size(path, project(flag, name), findings)
    if flags is not None:
        others = flags if asking is None else {k: f for k in asking if (f := flags.get(k))}
        check_chains(flag, flags, others, findings)
    return findings.problems


def check_definition(
    key: str, definition: FlagDefinition, segments: Container[str]
) -> list[Problem]:
    """Return every problem of a flag as a sidecar is sent it. `segments` are the known names."""
    return finish(examine_definition(key, definition, segments))[0]


def examine_definition(
    key: str, definition: FlagDefinition, segments: Container[str]
) -> Steps[tuple[list[Problem], References]]:
    """Return what `check_definition` does, and what the flag names, in small steps."""
    findings = Findings()
    findings.alone = True
    _check_key((), key, findings, imported_key=True)
    yield from check_outcomes(definition, findings, typed=definition.source is UNSET)
    if not definition.salt or not has_utf8(definition.salt):
        message = "a salt is text that is not empty"
        findings.add(("salt",), ProblemCode.INVALID_SALT, message)
    variants = definition.variants
    named = yield from _check_config((), key, definition, variants, segments, findings)
    return findings.problems, named


def check_segment(
    segment: Segment,
    segments: Mapping[str, Segment],
    *,
    concerned: Collection[str] | None = None,
) -> list[Problem]:
    """Return every problem of a segment, also those it makes for segments that name it.

    `segments` are those of its project, by key; what they hold under the segment's own key is not
    looked at. `concerned` are the keys of those that name it, directly or through others, and of
    all that these and it name, for callers that know them: finding them is what costs in a large
    project.
    """
    return finish(checking_segment(segment, segments, concerned=concerned))


def checking_segment(
    segment: Segment,
    segments: Mapping[str, Segment],
    *,
    concerned: Collection[str] | None = None,
) -> Steps[list[Problem]]:
    """Return what `check_segment` does, in small steps."""
    findings = Findings()
    _check_key(("key",), segment.key, findings, imported_key=segment.source is not UNSET)
    _check_labels(segment, findings)
    found = yield from _check_membership(segment, {*segments, segment.key}, findings)
    if found.conditions <= limits.MAX_CONDITIONS:
        yield from _check_graph(segment, segments, concerned, found, findings)
    yield from _check_size((), segment, findings)
    return findings.problems


def examine_segment(
    key: str, definition: SegmentDefinition, segments: Container[str]
) -> Steps[tuple[list[Problem], Named]]:
    """Return every problem that a segment has by itself, and each place that names another."""
    findings = Findings()
    findings.alone = True
    _check_key((), key, findings, imported_key=True)
    found = yield from _check_membership(definition, segments, findings)
    return findings.problems, found.references


# Keys and labels


def _check_key(path: Path, key: str, findings: Findings, *, imported_key: bool) -> None:
    if imported_key:
        length = len(key.encode("utf-8", "surrogatepass"))
        good = 0 < length <= _MAX_IMPORTED_KEY_BYTES and not CONTROL.search(key)
        if not good or not has_utf8(key):
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
    check_length(("name",), document.name, limits.MAX_NAME_CHARS, findings)
    check_length(("description",), document.description, limits.MAX_TEXT_CHARS, findings)
    if isinstance(document, Flag):
        check_length(("owner",), document.owner, limits.MAX_NAME_CHARS, findings)
    check_count(("tags",), len(document.tags), limits.MAX_TAGS, "tags", findings)
    for index, tag in enumerate(document.tags[: limits.MAX_TAGS]):
        if not tag:
            findings.add(("tags", index), ProblemCode.OUT_OF_RANGE, "a tag is not empty")
        check_length(("tags", index), tag, limits.MAX_NAME_CHARS, findings)


def _check_date(path: Path, text: str, findings: Findings) -> None:
    try:
        if _DATE.fullmatch(text):
            date.fromisoformat(text)
            return
    except ValueError:
        pass
    findings.add(path, ProblemCode.INVALID_DATE, "this is no date", "write YYYY-MM-DD")


def _check_size(
    path: Path, definition: FlagDefinition | Segment, findings: Findings
) -> Steps[None]:
    """Report a definition that a sidecar would not read, if nothing else is wrong with it."""
    if has_errors(findings.problems):
        return
    encoded = yield from _encoded(definition)
    if len(encoded) > LARGE_BYTES:
        yield
        problem = yield from oversize(encoded)
        if problem is not None:
            findings.add(path, problem.code, problem.message, problem.hint)


_encode = msgspec.json.Encoder().encode
_VALUES_A_STEP_BYTES = 512 * 1024


def _encoded(definition: FlagDefinition | Segment) -> Steps[bytes]:
    """Return a definition as JSON; its variants come last, some at a time, as they may be large."""
    if isinstance(definition, Segment):
        return _encode(definition)
    rest = _encode(msgspec.structs.replace(definition, variants={}))
    members: list[bytes] = []
    spent = 0
    for name, value in definition.variants.items():
        members.append(_encode({name: value})[1:-1])
        spent += len(members[-1])
        if spent > _VALUES_A_STEP_BYTES:
            spent = 0
            yield
    return rest + b",".join(members)


# How an environment serves them


def _check_config(
    path: Path,
    key: str,
    config: EnvironmentConfig | FlagDefinition,
    variants: Container[str],
    segments: Container[str],
    findings: Findings,
) -> Steps[References]:
    """Report what is wrong with a configuration, and return what it names."""
    findings.arms = findings.ranges = 0
    check_serve((*path, "fallthrough"), config.fallthrough, variants, findings)
    if not isinstance(config.off_variant, UnsetType):
        check_variant((*path, "off_variant"), config.off_variant, variants, findings)
    asked = check_prerequisites((*path, "prerequisites"), key, config.prerequisites, findings)
    units = 0
    if config.targets:
        targets = (*path, "targets")
        units = yield from _check_targets(targets, config.targets, variants, findings)
    rules = (*path, "rules")
    check_count(rules, len(config.rules), limits.MAX_RULES, "rules", findings)
    taken: dict[str, int] = {}
    conditions: list[tuple[Path, Condition]] = []
    for index, rule in enumerate(config.rules):
        here = (*rules, index)
        if not isinstance(rule.id, UnsetType):
            _check_rule_id((*here, "id"), rule.id, taken, index, findings)
        if not isinstance(rule.description, UnsetType):
            check_length((*here, "description"), rule.description, limits.MAX_TEXT_CHARS, findings)
        check_serve((*here, "serve"), rule.serve, variants, findings)
        if not isinstance(rule.active, UnsetType):
            _check_window((*here, "active"), rule.active, findings)
        conditions.append(((*here, "when"), rule.when))
        if findings.spent >= STEP_US or index & _RULES_A_STEP == _RULES_A_STEP:
            findings.spent = 0
            yield
    if findings.arms > limits.MAX_ARMS or findings.ranges > limits.MAX_RANGES:
        check_splits(path, findings)
    found = yield from check_conditions(conditions, segments, findings)
    if not isinstance(config.source, UnsetType):
        for name in ("prerequisites", "targets", "rules"):
            if getattr(config, name):
                message = f"{config.source.dialect}'s own definition decides, not these"
                hint = "leave source out, and they decide"
                findings.add((*path, name), ProblemCode.SOURCE_DECIDES, message, hint)
    if units + found.values > limits.MAX_VALUES_IN_ALL:
        findings.add(
            path,
            ProblemCode.TOO_MANY,
            f"{units + found.values} values and units in all, at most {limits.MAX_VALUES_IN_ALL}",
            "move lists into segments",
        )
    return References(found.references, asked)


_RULES_A_STEP = 127  # less one, and one less than a power of two


def _check_window(path: Path, window: Window, findings: Findings) -> None:
    since, until = (
        check_moment((*path, name), text, findings) if isinstance(text, str) else None
        for name, text in (("from", window.from_), ("until", window.until))
    )
    if since is not None and until is not None and since >= until:
        message = "the window ends before it begins, so the rule would never match"
        findings.add((*path, "until"), ProblemCode.OUT_OF_RANGE, message)


def _check_rule_id(
    path: Path, rule_id: str, taken: dict[str, int], index: int, findings: Findings
) -> None:
    if not 0 < len(rule_id) <= limits.MAX_NAME_CHARS or CONTROL.search(rule_id):
        message = (
            f"the id of a rule is 1 to {limits.MAX_NAME_CHARS} characters, none of them a "
            "control character"
        )
        findings.add(path, ProblemCode.INVALID_KEY, message)
    elif (first := taken.setdefault(rule_id, index)) != index:
        message = f"rule number {first + 1} has the id {rule_id!r} already"
        findings.add(path, ProblemCode.DUPLICATE_RULE_ID, message)


def _check_targets(
    path: Path, targets: list[Target], variants: Container[str], findings: Findings
) -> Steps[int]:
    """Report what is wrong with targets, and return the number of their units."""
    check_count(path, len(targets), limits.MAX_TARGETS, "targets", findings)
    seen: set[str] = set()
    total = 0
    for index, target in enumerate(targets[: limits.MAX_TARGETS]):
        check_variant((*path, index, "variant"), target.variant, variants, findings)
        total += len(target.units)
        if total <= limits.MAX_VALUES_IN_ALL:  # more are a problem already
            _check_units((*path, index, "units"), target.units, seen, findings)
        if findings.spent >= STEP_US and findings.is_long():
            yield
    return total


def _check_units(path: Path, units: list[str], seen: set[str], findings: Findings) -> None:
    """Report units that are empty, too long or there already; add them to `seen`."""
    findings.spent += 2 + len(units) // 8
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


# Segments


_NO_MEMBERS = SegmentDefinition()


def _check_membership(
    segment: Segment | SegmentDefinition, segments: Container[str], findings: Findings
) -> Steps[Found]:
    if not isinstance(segment.source, UnsetType):
        findings.problems += segment_program(
            SegmentDefinition(segment.when, source=segment.source)
        )[1]
        for name in ("when", "included", "excluded"):
            if getattr(segment, name) != getattr(_NO_MEMBERS, name):
                message = f"{segment.source.dialect}'s own definition decides, not this"
                findings.add((name,), ProblemCode.SOURCE_DECIDES, message, "leave source out")
    units = len(segment.included) + len(segment.excluded)
    check_count((), units, limits.MAX_SEGMENT_UNITS, "units", findings)
    if units <= limits.MAX_SEGMENT_UNITS:
        seen: set[str] = set()
        _check_units(("included",), segment.included, seen, findings)
        if findings.spent >= STEP_US and findings.is_long():
            yield
        _check_units(("excluded",), segment.excluded, seen, findings)
    if not isinstance(segment.units, UnsetType):
        lists = (("included", segment.units.included), ("excluded", segment.units.excluded))
        for name, units_list in lists:
            wrong = None if isinstance(units_list, UnsetType) else list_problem(units_list)
            if wrong is not None:
                findings.problems += under(pointer("units", name), [wrong])
    if findings.is_long():
        yield
    found = yield from check_conditions([(("when",), segment.when)], segments, findings)
    check_count(("when",), found.values, limits.MAX_VALUES_IN_ALL, "values in all", findings)
    return found


def _check_graph(
    segment: Segment,
    segments: Mapping[str, Segment],
    concerned: Collection[str] | None,
    found: Found,
    findings: Findings,
) -> Steps[None]:
    """Report cycles through the segment, and nesting too deep or wide in it or in its users."""
    keys = segments.keys() if concerned is None else concerned
    # as they are now: in a project that is being written to, they may change between two steps
    every = {key: each for key in keys if (each := segments.get(key)) is not None}
    every[segment.key] = segment
    named: dict[str, list[str]] = {}
    leaves: dict[str, int] = {}
    for key, each in every.items():
        named[key], leaves[key] = summary(each.when)
        findings.spent += 1 + leaves[key] // 4
        if findings.spent >= STEP_US and findings.is_long():
            yield
    cyclic = False
    for path, name in {name: (path, name) for path, name in found.references}.values():
        way = cycle_through(named, segment.key, name)
        if way is not None:
            cyclic = True
            message = f"the segment contains itself: {' -> '.join(way)}"
            findings.add(path, ProblemCode.SEGMENT_CYCLE, message)
        findings.spent += len(named)
        if findings.spent >= STEP_US and findings.is_long():
            yield
    if cyclic:
        return
    order, _ = yield from ordering(named)
    nesting: dict[str, int] = {}
    conditions: dict[str, int] = {}
    users = users_of(named, segment.key) | {segment.key}
    yield
    for key in order:
        inner = [name for name in named[key] if name in nesting]
        nesting[key] = 1 + max((nesting[name] for name in inner), default=0)
        conditions[key] = leaves[key] + sum(conditions[name] for name in inner)
        if key in users:
            for code, message in nesting_problems(key, nesting[key], conditions[key]):
                findings.add(("when",), code, message)
        findings.spent += 1 + len(inner) // 4
        if findings.spent >= STEP_US and findings.is_long():
            yield
