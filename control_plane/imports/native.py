"""What an import of a file of our own would do: `matrixflag export native`, brought back. Pure.

The rules are those of `plan`: each flag and segment that is good is created, one that is there and
differs is refused unless replacing is meant, and the same file again changes nothing. An item is
read and completed as a PUT of it would be, so that salts, ranges and rule ids stay; environments
that the file does not name stay as they are.

All environments of the file are written, or the one that is named. Long lists of units are not in
such files: a segment that is there keeps those it has.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from control_plane.documents import same_document
from control_plane.errors import Conflict, Invalid
from control_plane.flags import authoring
from control_plane.flags.authoring import Circumstances
from control_plane.flags.prerequisites import needed_variants, related_flags
from control_plane.flags.rebucketing import check_consent, moved_between
from control_plane.flags.service import new_salt
from control_plane.imports.plan import (
    RESERVED,
    Outcome,
    Over,
    Plan,
    Written,
    asks_refused,
    changes_of,
)
from control_plane.publishing.state import Name, ProjectState, RecordKind, names_in, segments_in
from control_plane.segments.model import SegmentInput
from proxy.contract.authoring import FlagInput, disagreements, expand
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.decode import decode
from proxy.contract.definitions import BUCKETS, Flag, Segment
from proxy.contract.problems import Problem, has_errors, json_kind, pointer, under
from proxy.contract.steps import Steps
from proxy.contract.units import INLINE_UNITS
from proxy.engine import NATIVE, checking_flag, checking_segment, segment_source_names, whose

__all__ = ["NativeFile", "planning_native", "read_native"]

T = TypeVar("T")

_MEMBERS = ("flags", "segments")
_DEFAULT_ENVIRONMENT = "production"  # of which `value` and `enabled` speak, as in the API


class NativeFile(NamedTuple):
    """A file, read; what could not be read is `refused`, by key, or makes all of it useless."""

    flags: dict[str, FlagInput]
    segments: dict[str, SegmentInput]
    refused: tuple[dict[str, list[Problem]], dict[str, list[Problem]]]
    of_file: list[Problem]


def read_native(document: Any) -> NativeFile:
    """Return the flags and segments of a decoded file."""
    found = NativeFile({}, {}, ({}, {}), [])
    looks = whose(document)
    if looks not in (None, NATIVE):
        message = f"this looks like a file of {looks}, not of our own"
        hint = f"matrixflag import {looks} takes it"
        found.of_file.append(Problem("", ProblemCode.OTHER_SYSTEM, message, hint))
        return found
    if not isinstance(document, Mapping) or not isinstance(document.get("flags"), list):
        what = f"this is {json_kind(document)}"
        if isinstance(document, Mapping):
            what = (
                f"its flags are {json_kind(document['flags'])}"
                if "flags" in document
                else "it has none"
            )
        message = f"a file of definitions is an object with a list of flags; {what}"
        found.of_file.append(Problem("", ProblemCode.WRONG_TYPE, message))
        return found
    for name in document.keys() - set(_MEMBERS):
        message = "a file of definitions has flags and segments, and nothing else"
        found.of_file.append(Problem(pointer(name), ProblemCode.UNKNOWN_FIELD, message))
    segments = document.get("segments", [])
    if not isinstance(segments, list):
        message = f"a list of segments, not {json_kind(segments)}"
        found.of_file.append(Problem("/segments", ProblemCode.WRONG_TYPE, message))
        return found
    for index, item in enumerate(document["flags"]):
        where = pointer("flags", index)
        read = _read(item, FlagInput, where, found, found.refused[0], found.flags)
        if read is not None:
            found.flags[read[0]] = read[1]
    for index, item in enumerate(segments):
        where = pointer("segments", index)
        got = _read(item, SegmentInput, where, found, found.refused[1], found.segments)
        if got is not None:
            found.segments[got[0]] = got[1]
    for key in found.refused[0]:
        found.flags.pop(key, None)
    for key in found.refused[1]:
        found.segments.pop(key, None)
    return found


def _read(
    item: Any,
    kind: type[T],
    where: str,
    file: NativeFile,
    refused: dict[str, list[Problem]],
    known: Mapping[str, Any],
) -> tuple[str, T] | None:
    """Return the key of an item and the item, None where it cannot be read."""
    key = item.get("key") if isinstance(item, Mapping) else None
    if not isinstance(key, str):
        message = "an item is an object with a key"
        file.of_file.append(Problem(where, ProblemCode.MISSING_FIELD, message))
        return None
    if key in known or key in refused:
        message = "there is one of this key before"
        problem = Problem(where + "/key", ProblemCode.DUPLICATE_KEY, message)
        refused.setdefault(key, []).append(problem)
        return None
    try:
        data = msgspec.json.encode(item)
    except (TypeError, ValueError, RecursionError, UnicodeError):
        refused[key] = [Problem(where, ProblemCode.MALFORMED_JSON, "it cannot be JSON")]
        return None
    document, problems = decode(data, kind)
    if document is None:
        refused[key] = under(where, problems)
        return None
    return key, document


def planning_native(
    state: ProjectState, file: NativeFile, only: str | None, now_ms: int, *, replace: bool
) -> Steps[Plan]:
    """Return the plan for a file, in small steps; of `only` one environment, if it is named."""
    work = _Planning(state, only, now_ms, replace)
    for outcome, bad in zip((work.plan.flags, work.plan.segments), file.refused, strict=True):
        for key, problems in bad.items():
            outcome.refuse(key, problems)
    yield from work.segments(file.segments)
    yield from work.flags(file.flags)
    yield from work.left_behind()
    for outcome in (work.plan.flags, work.plan.segments):
        yield from outcome.comparing()
    return work.plan


class _Planning:
    def __init__(self, state: ProjectState, only: str | None, now_ms: int, replace: bool) -> None:
        self.plan = Plan()
        self._state = state
        self._only = only
        self._now_ms = now_ms
        self._replace = replace
        self._flags: dict[str, Flag] = {}
        self._segments: dict[str, Segment] = {}
        """As they will be, of the file."""

    def segments(self, found: Mapping[str, SegmentInput]) -> Steps[None]:
        """Plan the segments."""
        outcome = self.plan.segments
        for key, item in found.items():
            if key.rpartition("/")[2] == RESERVED:
                message = f"the last part of a segment's key cannot be {RESERVED!r}"
                outcome.refuse(key, [Problem("/key", ProblemCode.INVALID_KEY, message)])
            elif len(item.included) > INLINE_UNITS or len(item.excluded) > INLINE_UNITS:
                message = f"lists of more than {INLINE_UNITS} units are not taken with a file"
                hint = "send them to /api/v1/segments/{key}/units"
                outcome.refuse(key, [Problem("/included", ProblemCode.TOO_MANY, message, hint)])
            else:
                self._segment(key, item)
            yield
        everything = Over(self._segments, self._state.segment_documents)

        def check(key: str) -> Steps[list[Problem]]:
            return checking_segment(self._segments[key], everything)

        def asks(key: str) -> list[str]:
            return _segments_of(self._segments[key])

        yield from self._check(outcome, self._segments, check, asks)

    def _segment(self, key: str, item: SegmentInput) -> None:
        old = self._plan_see(Name(RecordKind.SEGMENT, key))
        units = UNSET
        if old is not None and not item.included and not item.excluded:
            units = old.segment.units
        made = Segment(
            key=key,
            name=item.name,
            description=item.description,
            tags=item.tags,
            when=item.when,
            included=item.included,
            excluded=item.excluded,
            units=units,
            source=item.source,
        )
        self._put(self.plan.segments, self._segments, key, made, old, "a segment")

    def flags(self, found: Mapping[str, FlagInput]) -> Steps[None]:
        """Plan the flags."""
        outcome = self.plan.flags
        for key, item in found.items():
            self._flag(key, item)
            yield
        segments = Over(self._segments, self._state.segment_documents)
        flags = Over(self._flags, self._state.flag_documents)

        def check(key: str) -> Steps[list[Problem]]:
            flag = self._flags[key]
            asking = related_flags(self._state, flag) | _asked(flag, flags)
            imported = any(c.source is not UNSET for c in flag.environments.values())
            return checking_flag(
                flag,
                segments,
                flags,
                asking=asking,
                imported_key=imported or key in self._state.flags,
            )

        def asks(key: str) -> list[str]:
            configs = self._flags[key].environments.values()
            return [w.flag for config in configs for w in config.prerequisites]

        for key, flag in list(self._flags.items()):
            named = {n for config in flag.environments.values() for n in names_in(config)}
            bad = [
                n.key
                for n in named
                if n.kind is RecordKind.SEGMENT and n.key in self.plan.segments.refused
            ]
            if bad and key not in outcome.unchanged:
                outcome.refuse(key, [asks_refused(sorted(bad))])
                del self._flags[key]
        yield from self._check(outcome, self._flags, check, asks)

    def _flag(self, key: str, item: FlagInput) -> None:
        old = self._plan_see(Name(RecordKind.FLAG, key))
        draft, problems = self._drafted(item, old)
        if draft is None or has_errors(problems):
            self.plan.flags.refuse(key, problems)
            return
        users = self._state.users(RecordKind.FLAG, key)
        if old is not None and draft.archived and not old.flag.archived and users:
            message = "it is archived in the file, and others here ask it"
            self.plan.flags.refuse(key, [Problem("/archived", ProblemCode.KEY_IN_USE, message)])
            return
        if old is not None and not same_document(draft, old.flag):
            self._tell_of_moves(old.flag, draft)
            for problem in problems:
                self.plan.flags.warn(key, problem)
        self._put(self.plan.flags, self._flags, key, draft, old, "a flag")

    def _drafted(self, item: FlagInput, old: Any) -> tuple[Flag | None, list[Problem]]:
        """Return a flag as a PUT of it to all environments would make it, and what is wrong."""
        names = sorted(self._state.environments)
        asked = self._only or _DEFAULT_ENVIRONMENT
        whole, problems = expand(item, names)
        if whole is None:
            return None, problems
        if item.environments is not UNSET:
            problems += disagreements(item, whole, asked)
        configs = whole.environments.items()
        if self._only is not None:
            configs = {n: c for n, c in configs if n == self._only}.items()
        document = FlagInput(**{**_members(whole), "environments": dict(configs)})
        needed = partial(needed_variants, self._state, whole.key)
        around = Circumstances(names, asked, new_salt, self._now_ms, needed)
        try:
            if old is None:
                draft = authoring.create(document, around)
            else:
                draft = authoring.replace(old.flag, document, ("environments",), around)
        except Invalid as error:
            return None, [*problems, *error.problems]
        changes = ProblemCode.OTHER_ENVIRONMENT_CHANGED  # which is what is asked for
        return draft.flag, [*problems, *(p for p in draft.problems if p.code is not changes)]

    def _tell_of_moves(self, old: Flag, new: Flag) -> None:
        """Say which units a flag of the file gives other variants."""
        warn = self.plan.flags.warn
        counted = moved_between(old, new, self._now_ms)
        for moved in counted:
            place = pointer("environments", moved.environment, *moved.place.split("/"))
            about = "about " if moved.estimated else ""
            message = f"{about}{moved.buckets} of {BUCKETS} units get another variant"
            warn(new.key, _warning(place, ProblemCode.UNITS_MAY_MOVE, message))
        try:
            check_consent(old, new, self._now_ms, rebucket=bool(counted))
        except Conflict as error:  # of what cannot be counted
            message = error.detail.partition(",")[0] + ", and units may move"
            warn(new.key, _warning("", ProblemCode.UNITS_MAY_MOVE, message))
        for name, config in new.environments.items():
            before = old.environments.get(name)
            if before is not None and before.enabled != config.enabled:
                was, now = ("on" if c.enabled else "off" for c in (before, config))
                place = pointer("environments", name, "enabled")
                warn(new.key, _warning(place, ProblemCode.SWITCHED, f"{was} -> {now}"))

    def _put(
        self, outcome: Outcome, table: dict[str, T], key: str, made: T, old: Any, what: str
    ) -> None:
        """Say what becomes of one that can be read."""
        if old is None:
            outcome.created[key] = Written(made, None)
        elif same_document(made, getattr(old, "flag", None) or old.segment):
            outcome.unchanged.append(key)
        elif self._replace:
            outcome.changed[key] = Written(made, old)
        else:
            changes = ", ".join(changes_of(getattr(old, "flag", None) or old.segment, made))
            message = f"there is {what} of this key that differs: {changes}"
            hint = "say replace=true when it shall be as in the file"
            outcome.refuse(key, [Problem("/key", ProblemCode.KEY_IN_USE, message, hint)])
            return
        table[key] = made

    def _check(
        self,
        outcome: Outcome,
        table: dict[str, Any],
        check: Callable[[str], Steps[list[Problem]]],
        asks: Callable[[str], list[str]],
    ) -> Steps[None]:
        """Refuse what has errors, and again what has them for what was refused."""
        todo = [key for key, _ in outcome.written()]
        while todo:
            gone = set()
            for key in todo:
                problems = yield from check(key)
                if has_errors(problems):
                    outcome.refuse(key, problems)
                    gone.add(key)
                    yield
            for key in gone:
                table.pop(key, None)
            todo = [k for k, _ in outcome.written() if gone.intersection(asks(k))]

    def left_behind(self) -> Steps[None]:
        """Find what is here and not in the file."""
        flags, segments = self.plan.flags.known(), self.plan.segments.known()
        for key, record in self._state.flags.items():
            flag = record.flag
            here = self._only is None or self._only in flag.environments
            if key not in flags and here and not flag.archived:
                self.plan.flags.only_here.append(key)
            yield
        self.plan.segments.only_here += [k for k in self._state.segments if k not in segments]
        for outcome in (self.plan.flags, self.plan.segments):
            outcome.only_here.sort()

    def _plan_see(self, name: Name) -> Any:
        return self.plan.see(self._state, name)


def _members(flag: Flag) -> dict[str, Any]:
    """Return the members of a flag, by name, without copying them."""
    return {name: getattr(flag, name) for name in flag.__struct_fields__}


def _segments_of(segment: Segment) -> list[str]:
    """Return the segments that a segment asks, itself."""
    if segment.source is not UNSET:
        return list(segment_source_names(segment.source).segments)
    return list(segments_in((segment.when,)))


def _asked(flag: Flag, flags: Mapping[str, Flag]) -> set[str]:
    """Return the flags that a flag asks, directly or through others."""
    found: set[str] = set()
    todo = [flag]
    while todo:
        for config in todo.pop().environments.values():
            for wanted in config.prerequisites:
                if wanted.flag not in found:
                    found.add(wanted.flag)
                    todo += [flags[wanted.flag]] if wanted.flag in flags else []
    return found


def _warning(where: str, code: ProblemCode, message: str) -> Problem:
    return Problem(where, code, message, severity=Severity.WARNING)
