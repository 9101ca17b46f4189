"""What an import would do to a project, worked out against a state of it. Pure; alters nothing.

One environment is imported into: what other environments serve stays as it is. Segments are the
project's, so one that changes must not be asked by flags of other environments.

Rules:
- What was made here, or imported from another system, is not replaced, unless its owner says so.
- The file that was imported last changes nothing, whatever was edited here since: a flag that was
  switched off stays off for as long as its definition is the same, with whatever options.
- An option that a definition was imported with, and that decides who gets what, is not forgotten:
  who imports without it says which one is meant.
- What may give units other variants, or switches a flag, is told with the values.
- What is refused is left out, with all that is wrong with it; so is what asks a segment of those.
- What remains is compiled as sidecars do, with all that it asks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.documents import same_document
from control_plane.flags.prerequisites import related_flags
from control_plane.flags.service import new_salt
from control_plane.imports.model import ImportItem
from control_plane.publishing.state import (
    FlagRecord,
    Name,
    ProjectState,
    RecordKind,
    SegmentRecord,
    names_in,
)
from proxy.contract.authoring import normalise_values, project, project_segment
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import DialectName, EnvironmentConfig, Flag, Segment, Source
from proxy.contract.problems import Problem, has_errors, pointer
from proxy.contract.snapshot import Entry, EntryKind, encode_entry, read_entry
from proxy.contract.steps import Steps
from proxy.engine import (
    CompiledSnapshot,
    Import,
    check_import_options,
    checking_flag,
    checking_segment,
    compile_snapshot,
    flag_source_options,
    flag_source_traits,
    idle_source_options,
    segment_source_names,
)

__all__ = [
    "RESERVED",
    "Asked",
    "Outcome",
    "Over",
    "Plan",
    "Written",
    "asks_refused",
    "changes_of",
    "named_for",
    "planning",
]

T = TypeVar("T")

RESERVED = "units"
"""As the last part of a segment's key no segment can have it, see `control_plane.segments`."""

_MOST_NAMES = 10
_MOST_NOTES = 100


class Asked(NamedTuple):
    """How a file is to be imported: where to, what it is, and over what."""

    environment: str
    system: DialectName
    options: Mapping[str, Any]
    replace: bool


class Written(NamedTuple):
    """A flag or a segment that is to be stored, and the record it takes the place of, if any."""

    document: Any
    old: Any


@dataclass
class Outcome:
    """What becomes of the flags, or of the segments, of a file, by key."""

    created: dict[str, Written] = field(default_factory=dict)
    changed: dict[str, Written] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, list[Problem]] = field(default_factory=dict)
    changes: list[ImportItem] = field(default_factory=list)
    """What is said of each that changes, in order."""
    warnings: dict[str, list[Problem]] = field(default_factory=dict)
    """What changes do to units, by key."""
    only_here: list[str] = field(default_factory=list)

    def written(self) -> Iterator[tuple[str, Written]]:
        """Yield what is to be stored, by key."""
        yield from self.created.items()
        yield from self.changed.items()

    def refuse(self, key: str, problems: list[Problem]) -> None:
        """Leave one out, and say why."""
        self.created.pop(key, None)
        self.changed.pop(key, None)
        if key in self.unchanged:
            self.unchanged.remove(key)
        self.refused.setdefault(key, []).extend(problems)

    def warn(self, key: str, problem: Problem) -> None:
        """Say something of what changes."""
        self.warnings.setdefault(key, []).append(problem)

    def known(self) -> set[str]:
        """Return the keys that the file has, whatever becomes of them."""
        return {*self.created, *self.changed, *self.unchanged, *self.refused}

    def comparing(self) -> Steps[None]:
        """Find out what changes."""
        for key in sorted(self.changed):
            written = self.changed[key]
            found = changes_of(_document(written.old), written.document)
            self.changes.append(ImportItem(key, found, self.warnings.get(key, [])))
            yield

    def refusals(self) -> list[ImportItem]:
        """Return what is said of each that is left out."""
        return [ImportItem(key, [], found) for key, found in sorted(self.refused.items())]


@dataclass
class Plan:
    """What is to be done, and the records it was worked out from, by name; None for none."""

    flags: Outcome = field(default_factory=Outcome)
    segments: Outcome = field(default_factory=Outcome)
    notes: list[Problem] = field(default_factory=list)
    seen: dict[Name, Any] = field(default_factory=dict)

    def see(self, state: ProjectState, name: Name) -> Any:
        """Return the record of a state that is planned with, None for none."""
        return self.seen.setdefault(name, _record(state, name))

    def holds(self, state: ProjectState) -> bool:
        """Return whether nothing has changed that it was worked out from."""
        flags, segments = state.flags, state.segments
        is_flag = RecordKind.FLAG  # looked up once: there may be ten thousand
        for (kind, key), record in self.seen.items():
            now: Any = flags.get(key) if kind is is_flag else segments.get(key)
            if now is not record:
                return False
        return True


def planning(
    state: ProjectState,
    asked: Asked,
    found: Import,
    refused: tuple[Mapping[str, list[Problem]], Mapping[str, list[Problem]]],
) -> Steps[Plan]:
    """Return the plan for what was read of a file, in small steps.

    `refused` are flags and segments that could not be read, with what is wrong with them.
    """
    work = _Planning(state, asked)
    for outcome, bad in zip((work.plan.flags, work.plan.segments), refused, strict=True):
        for key, problems in bad.items():
            outcome.refuse(key, problems)
    yield from work.segments(found.segments)
    yield from work.flags(found.flags)
    yield from work.compiled()
    yield from work.missing()
    yield from work.left_behind()
    for outcome in (work.plan.flags, work.plan.segments):
        yield from outcome.comparing()
    return work.plan


class _Planning:
    def __init__(self, state: ProjectState, asked: Asked) -> None:
        self.plan = Plan()
        self._state = state
        self._asked_for = asked
        self._environment = asked.environment
        self._replace = asked.replace
        self._flags: dict[str, Flag] = {}
        self._segments: dict[str, Segment] = {}
        """As they will be: those of the file that are not refused."""
        self._notes: set[Problem] = set()

    # Segments

    def segments(self, found: list[Segment]) -> Steps[None]:
        """Plan the segments."""
        outcome = self.plan.segments
        for segment in found:
            if segment.key not in outcome.refused:
                self._segment(segment)
            yield
        everything = Over(self._segments, self._state.segment_documents)
        for key, written in list(outcome.written()):
            problems = yield from checking_segment(written.document, everything)
            if has_errors(problems):
                outcome.refuse(key, problems)
        # what names a refused segment would be answered by another than the file's
        names = {key: _named_by(s) for key, s in self._segments.items()}
        left = True
        while left:
            left = False
            for key, named in names.items():
                bad = [name for name in named if name in outcome.refused]
                if bad and key not in outcome.refused:
                    left = True
                    outcome.refuse(key, [asks_refused(bad)])
                yield
        for key in outcome.refused:
            self._segments.pop(key, None)

    def _segment(self, segment: Segment) -> None:
        key, outcome = segment.key, self.plan.segments
        old: SegmentRecord | None = self._see(Name(RecordKind.SEGMENT, key))
        if key.rpartition("/")[2] == RESERVED:
            message = f"the last part of a segment's key cannot be {RESERVED!r}"
            outcome.refuse(key, [Problem("/key", ProblemCode.INVALID_KEY, message)])
            return
        if old is None:
            self._segments[key] = segment
            outcome.created[key] = Written(segment, None)
            return
        now = old.segment
        owner = None if isinstance(now.source, UnsetType) else now.source.dialect
        if owner != self._asked_for.system and not self._replace:
            outcome.refuse(key, [_taken("a segment", owner, self._asked_for.system)])
            return
        if _same_source(now.source, segment.source):
            self._segments[key] = now
            outcome.unchanged.append(key)
            return
        if not self._may_change(outcome, key, now.source, segment.source, "/source"):
            return
        others = [] if self._replace else self._asked_elsewhere(key)
        if others:
            shown = ", ".join(map(repr, others[:_MOST_NAMES]))
            message = f"another definition of it is asked by flags of other environments: {shown}"
            hint = "import each environment into a project of its own, or say replace=true"
            outcome.refuse(key, [Problem("", ProblemCode.KEY_IN_USE, message, hint)])
            return
        made = msgspec.structs.replace(
            segment,
            name=now.name,
            tags=now.tags,
            description=segment.description or now.description,
        )
        self._segments[key] = made
        outcome.changed[key] = Written(made, old)

    def _asked_elsewhere(self, key: str) -> list[str]:
        """Return the flags that ask a segment, itself or through others, in other environments."""
        asking, todo = {key}, [key]
        flags: list[str] = []
        while todo:
            for user in self._state.users(RecordKind.SEGMENT, todo.pop()):
                if user.kind is RecordKind.SEGMENT and user.key not in asking:
                    asking.add(user.key)
                    todo.append(user.key)
                elif user.kind is RecordKind.FLAG:
                    flags.append(user.key)
        found = []
        for name in dict.fromkeys(flags):
            for environment, config in self._state.flags[name].flag.environments.items():
                named = {n.key for n in names_in(config) if n.kind is RecordKind.SEGMENT}
                if environment != self._environment and not named.isdisjoint(asking):
                    found.append(name)
                    break
        return found

    # Flags

    def flags(self, found: list[Flag]) -> Steps[None]:
        """Plan the flags."""
        outcome = self.plan.flags
        for flag in found:
            if flag.key not in outcome.refused:
                self._flag(flag)
            yield
        segments = Over(self._segments, self._state.segment_documents)
        flags = Over(self._flags, self._state.flag_documents)
        for key, written in list(outcome.written()):
            problems = yield from checking_flag(
                written.document,
                segments,
                flags,
                asking=related_flags(self._state, written.document),
                imported_key=True,
            )
            if has_errors(problems):
                outcome.refuse(key, problems)
                self._flags.pop(key, None)
            # warnings of the definition were told when the file was read
            for problem in problems:
                if f"/environments/{self._environment}/source" not in problem.pointer:
                    self._note(key, problem)

    def _flag(self, flag: Flag) -> None:
        key, outcome = flag.key, self.plan.flags
        old: FlagRecord | None = self._see(Name(RecordKind.FLAG, key))
        config = flag.environments[self._environment]
        bad = [n.key for n in names_in(config) if n.key in self.plan.segments.refused]
        if bad:
            outcome.refuse(key, [asks_refused(bad)])
            return
        variants = normalise_values(flag.type, flag.variants)
        if old is None:
            environments = {self._environment: _with_salt(config, None)}
            made = msgspec.structs.replace(flag, variants=variants, environments=environments)
            self._flags[key] = made
            outcome.created[key] = Written(made, None)
            return
        now = old.flag
        before = now.environments.get(self._environment)
        owners = _owners(now, before)
        if owners and self._asked_for.system not in owners and not self._replace:
            outcome.refuse(key, [_taken("a flag", owners[0], self._asked_for.system)])
            return
        if now.archived and not self._replace:
            outcome.refuse(key, [_ARCHIVED])
            return
        others = {n: c for n, c in now.environments.items() if n != self._environment}
        same = before is not None and _same_source(before.source, config.source)
        if before is None:
            config = _with_salt(config, None)
        elif same:
            config = before
        else:
            place = pointer("environments", self._environment)
            if not self._may_change(outcome, key, before.source, config.source, f"{place}/source"):
                return
            config = _with_salt(config, before)
            if _same_definition(before.source, config.source):
                config = msgspec.structs.replace(config, enabled=before.enabled)
            elif config.enabled != before.enabled:
                outcome.warn(key, _switched(before, config, f"{place}/enabled"))
        if others:
            problems = _disagreements(now, flag.type, variants, others)
            if problems:
                outcome.refuse(key, problems)
                return
            if same and not now.archived:
                self._flags[key] = now
                outcome.unchanged.append(key)
                return
            self._note_of_reads(key, now, flag.type, variants, others)
            if now.metadata != flag.metadata:
                self._note(key, _of_all(key, "other metadata"))
            variants = {**_served_in(now, others), **variants}
        traits = _traits(now, before, config)
        if others:
            for name, value in traits.items():
                if value != getattr(now, name):
                    self._note(key, _of_all(key, f"{name} {'on' if value else 'off'}"))
        made = msgspec.structs.replace(
            now,
            type=flag.type,
            variants=variants,
            environments={**now.environments, self._environment: config},
            description=now.description if same else flag.description or now.description,
            tags=now.tags if same else list(dict.fromkeys([*now.tags, *flag.tags])),
            metadata=flag.metadata,
            archived=False,
            **traits,
        )
        self._flags[key] = made
        if same_document(made, now):
            outcome.unchanged.append(key)
        else:
            outcome.changed[key] = Written(made, old)

    def _may_change(
        self,
        outcome: Outcome,
        key: str,
        old: Source | UnsetType,
        new: Source | UnsetType,
        where: str,
    ) -> bool:
        """Return whether a definition may take another's place, and say what that does to units."""
        if isinstance(new, UnsetType):
            return True
        if isinstance(old, UnsetType) or old.dialect != new.dialect:
            owner = _MADE_HERE if isinstance(old, UnsetType) else old.dialect
            message = f"{owner} -> {new.dialect}: other rules decide, and units may move"
            place = where + pointer("dialect")
            outcome.warn(key, _warning(place, ProblemCode.UNITS_MAY_MOVE, message))
            return True
        if _stands_for(old) != _stands_for(new) and not self._replace:
            outcome.refuse(key, [_STANDS_FOR_ANOTHER])
            return False
        deciding = flag_source_options(new)
        for name in sorted(deciding):
            was, now = old.options.get(name, UNSET), new.options.get(name, UNSET)
            if _same(was, now):
                continue
            change = f"{name} {_option(was)} -> {_option(now)}"
            place = where + pointer("options", name)
            if name in self._asked_for.options or self._replace:
                message = f"{change}: units may move"
                outcome.warn(key, _warning(place, ProblemCode.UNITS_MAY_MOVE, message))
            else:
                message = f"it was imported with {name}={was}, and this import does not say {name}"
                message += f"; {change} may move units"
                hint = f"say the option {name}, as it was or as it shall be"
                outcome.refuse(key, [Problem(place, ProblemCode.OPTION_MISSING, message, hint)])
                return False
        return True

    def _note_of_reads(
        self,
        key: str,
        now: Flag,
        kind: str,
        variants: Mapping[str, Any],
        others: Mapping[str, EnvironmentConfig],
    ) -> None:
        """Say what reads of a flag show from now on that other environments do not answer."""
        differing = [
            name
            for name, value in variants.items()
            if name in now.variants and not same_document(now.variants[name], value)
        ]
        shown = [] if kind == now.type else [f"the type {kind}, not {now.type},"]
        if differing:
            shown.append(f"other values of {', '.join(map(repr, differing[:_MOST_NAMES]))}")
        if shown:
            names = ", ".join(map(repr, others))
            message = f"reads of {key!r} show {' and '.join(shown)} from now on; {names} go on to"
            message += " answer what was imported there"
            self._note(key, _warning("", ProblemCode.OTHER_ENVIRONMENT_CHANGED, message))

    # All of it

    def left_behind(self) -> Steps[None]:
        """Find what this system's imports brought here and the file has not any more.

        A file of segments alone says nothing of flags, and one of flags alone nothing of segments.
        """
        flags, segments = self.plan.flags, self.plan.segments
        in_file, segments_in_file = flags.known(), segments.known()
        if in_file or not segments_in_file:
            for key, record in self._state.flags.items():
                config = record.flag.environments.get(self._environment)
                if key not in in_file and self._is_ours(config) and not record.flag.archived:
                    flags.only_here.append(key)
                yield
        if segments_in_file or not in_file:
            for key, kept in self._state.segments.items():
                if key not in segments_in_file and self._is_ours(kept.segment):
                    segments.only_here += [] if self._asked_elsewhere(key) else [key]
                yield
        flags.only_here.sort()
        segments.only_here.sort()

    def _is_ours(self, document: EnvironmentConfig | Segment | None) -> bool:
        source = UNSET if document is None else document.source
        return not isinstance(source, UnsetType) and source.dialect == self._asked_for.system

    def compiled(self) -> Steps[None]:
        """Refuse what a sidecar would not serve."""
        entries = yield from self._entries()
        blobs = {**self._state.blobs}
        snapshot: CompiledSnapshot = yield from compile_snapshot(entries, None, blobs)
        # each is let go by itself: to free ten thousand at once is a long step
        flags = snapshot.flags
        for key, _ in list(self.plan.flags.written()):
            entries.pop(("flag", key), None)
            flag = flags.pop(key, None)
            if flag is not None and flag.problems:
                self.plan.flags.refuse(key, list(flag.problems))
                self._flags.pop(key, None)
            yield

    def _entries(self) -> Steps[dict[tuple[EntryKind, str], Entry]]:
        """Return the entries of all flags that are written, and of all that they ask."""
        entries: dict[tuple[EntryKind, str], Entry] = {}
        looked: set[Name] = set()
        snapshot = self._state.snapshots[self._environment]
        written = (Name(RecordKind.FLAG, key) for key, _ in self.plan.flags.written())
        todo: list[Name] = []
        while (name := todo.pop() if todo else next(written, None)) is not None:
            kind: EntryKind = "flag" if name.kind is RecordKind.FLAG else "segment"
            if name in looked:
                continue
            looked.add(name)
            line: bytes | None
            if kind == "flag" and name.key in self._flags:
                flag = self._flags[name.key]
                line = encode_entry(kind, flag.key, project(flag, self._environment))
                todo += self._asked(flag)
            elif kind == "segment" and name.key in self._segments:
                segment = self._segments[name.key]
                line = encode_entry(kind, segment.key, project_segment(segment))
                todo += [Name(RecordKind.SEGMENT, key) for key in _named_by(segment)]
            else:
                self._see(name)
                line = snapshot.line(kind, name.key)
                todo += self._state.uses(name)
            if line is not None:
                entries[kind, name.key] = read_entry(line)
            yield
        return entries

    def _asked(self, flag: Flag) -> list[Name]:
        config = flag.environments.get(self._environment)
        return [] if config is None else list(names_in(config))

    def missing(self) -> Steps[None]:
        """Note what is asked and will not be there."""
        for key, written in sorted(self.plan.flags.written(), key=itemgetter(0)):
            for name in dict.fromkeys(self._asked(written.document)):
                is_flag = name.kind is RecordKind.FLAG
                ours: Mapping[str, Any] = self._flags if is_flag else self._segments
                if name.key in ours or self._see(name) is not None:
                    continue
                code = ProblemCode.UNKNOWN_FLAG if is_flag else ProblemCode.UNKNOWN_SEGMENT
                message = f"{key!r} asks the {name.kind} {name.key!r}, which is not there"
                self._note(key, _warning("", code, message))
            yield

    def _note(self, key: str, problem: Problem) -> None:
        if problem.severity is Severity.ERROR or len(self.plan.notes) > _MOST_NOTES:
            return
        if len(self.plan.notes) == _MOST_NOTES:
            message = f"there are more notes than these {_MOST_NOTES}"
            self.plan.notes.append(_warning("", ProblemCode.TOO_MANY, message))
            return
        problem = named_for(key, problem)
        if problem not in self._notes:
            self._notes.add(problem)
            self.plan.notes.append(problem)

    def _see(self, name: Name) -> Any:
        return self.plan.see(self._state, name)


def named_for(key: str | None, problem: Problem) -> Problem:
    """Return a problem of a flag or segment with its key in the text, where that names it not."""
    if key is None or repr(key) in problem.message or pointer(key) in problem.pointer:
        return problem
    return msgspec.structs.replace(problem, message=f"{key!r}: {problem.message}")


class Over(Mapping[str, T]):
    """Some documents in front of others, without copying either."""

    def __init__(self, first: Mapping[str, T], others: Mapping[str, T]) -> None:
        self._first = first
        self._others = others

    def __getitem__(self, key: str) -> T:
        return self._first[key] if key in self._first else self._others[key]

    def __contains__(self, key: object) -> bool:
        return key in self._first or key in self._others

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from (key for key in self._others if key not in self._first)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _named_by(segment: Segment) -> tuple[str, ...]:
    """Return the segments that an imported segment names."""
    if isinstance(segment.source, UnsetType):
        return ()
    return segment_source_names(segment.source).segments


def _document(record: Any) -> Any:
    """Return the document of a record."""
    return record.flag if isinstance(record, FlagRecord) else record.segment


def _record(state: ProjectState, name: Name) -> Any:
    table: Mapping[str, Any] = state.flags if name.kind is RecordKind.FLAG else state.segments
    return table.get(name.key)


def _owners(flag: Flag, config: EnvironmentConfig | None) -> list[str | None]:
    """Return the systems whose definitions a flag has: there, or if it is not there, anywhere.

    None stands for rules that were made here.
    """
    configs = flag.environments.values() if config is None else [config]
    sources = [each.source for each in configs]
    return [None if isinstance(source, UnsetType) else source.dialect for source in sources]


def _stands_for(source: Source) -> list[str]:
    """Return the options by which a definition is stored for another question than its own.

    Nobody can give those with a file.
    """
    return [n for n, v in source.options.items() if check_import_options(source.dialect, {n: v})]


def _same_source(old: Source | UnsetType, new: Source | UnsetType) -> bool:
    """Return whether two sources say the same: options that decide nothing may be others."""
    if isinstance(old, UnsetType) or isinstance(new, UnsetType) or not _same_definition(old, new):
        return False
    idle = idle_source_options(new)
    was, now = ({n: v for n, v in s.options.items() if n not in idle} for s in (old, new))
    return same_document(was, now)


def _same_definition(old: Source | UnsetType, new: Source | UnsetType) -> bool:
    """Return whether two sources differ in their options alone."""
    if isinstance(old, UnsetType) or isinstance(new, UnsetType):
        return False
    return old.dialect == new.dialect and same_document(old.definition, new.definition)


def _switched(before: EnvironmentConfig, config: EnvironmentConfig, place: str) -> Problem:
    """Return the warning that the file's switch takes the place of the one here."""
    was, now = ("on" if each.enabled else "off" for each in (before, config))
    return _warning(place, ProblemCode.SWITCHED, f"{was} -> {now}, as in the file")


def _option(value: Any) -> str:
    return "(not given)" if value is UNSET else str(value)


def _with_salt(config: EnvironmentConfig, old: EnvironmentConfig | None) -> EnvironmentConfig:
    """Return a configuration with a salt of its own, for the day that its rules are ours."""
    salt = new_salt() if old is None or old.salt is UNSET else old.salt
    return msgspec.structs.replace(config, salt=salt)


def _traits(
    now: Flag, before: EnvironmentConfig | None, config: EnvironmentConfig
) -> dict[str, bool]:
    """Return the members of a flag that its definition has a word for, `client_side` and `track`.

    What was changed here stays so for as long as the definition says the same of it.
    """
    if isinstance(config.source, UnsetType):
        return {}
    said = flag_source_traits(config.source)._asdict()
    old: dict[str, bool | None] = {}
    if before is not None and not isinstance(before.source, UnsetType):
        old = flag_source_traits(before.source)._asdict()
    return {
        name: getattr(now, name) if value == old.get(name) else value
        for name, value in said.items()
        if value is not None
    }


def _served_in(flag: Flag, configs: Mapping[str, EnvironmentConfig]) -> dict[str, Any]:
    """Return the variants of a flag that the configurations name or may answer."""
    if any(config.source is UNSET for config in configs.values()):
        return flag.variants
    named = {config.fallthrough.variant for config in configs.values()}
    return {name: value for name, value in flag.variants.items() if name in named}


def _disagreements(
    flag: Flag, kind: str, variants: Mapping[str, Any], others: Mapping[str, EnvironmentConfig]
) -> list[Problem]:
    """Return where a flag cannot be what other environments serve natively, too."""
    native = [name for name, config in others.items() if config.source is UNSET]
    if not native:
        return []
    named = ", ".join(map(repr, native[:_MOST_NAMES]))
    hint = "import it into another project, or change the flag there first"
    if kind != flag.type:
        message = f"it is of type {kind}, and {named} serves one of type {flag.type}"
        return [Problem("/type", ProblemCode.VALUE_DISAGREES, message, hint)]
    return [
        Problem(
            pointer("variants", name),
            ProblemCode.VALUE_DISAGREES,
            f"the variant {name!r} has another value, and {named} serves it",
            hint,
        )
        for name, value in variants.items()
        if name in flag.variants and not same_document(flag.variants[name], value)
    ][:_MOST_NAMES]


_MADE_HERE = "made here"


def _taken(what: str, owner: str | None, system: str) -> Problem:
    """Return why something is not replaced: it was made here, or is another system's."""
    whose = (
        "was made here" if owner is None else f"was imported from {owner}; the file is {system}'s"
    )
    message = f"there is {what} of this key that {whose}"
    hint = "say replace=true when it shall be replaced, or import into another project"
    return Problem("/key", ProblemCode.KEY_IN_USE, message, hint)


_ARCHIVED = Problem(
    "/archived",
    ProblemCode.ARCHIVED,
    "the flag is archived here, so it answers nowhere, whatever the file says",
    "bring it back (archived false), or say replace=true; else leave it out of the file",
)
_STANDS_FOR_ANOTHER = Problem(
    "/key",
    ProblemCode.KEY_IN_USE,
    "one of the two of this key, here and in the file, is a flag's companion, the other a flag",
    "say replace=true when it shall be replaced, or import with other names",
)


def asks_refused(names: list[str]) -> Problem:
    shown = ", ".join(map(repr, names[:_MOST_NAMES]))
    message = f"it asks {shown}, which is refused"
    return Problem("", ProblemCode.UNKNOWN_SEGMENT, message)


def _of_all(key: str, what: str) -> Problem:
    message = f"{key!r} has {what}, which is that of all environments"
    return _warning("", ProblemCode.OTHER_ENVIRONMENT_CHANGED, message)


def _warning(where: str, code: ProblemCode, message: str) -> Problem:
    return Problem(where, code, message, severity=Severity.WARNING)


def changes_of(old: Any, new: Any) -> list[str]:
    """Return the names of members that differ; of environments, what differs in them."""
    names = [n for n in new.__struct_fields__ if n != "environments"]
    found = [n for n in names if not _same(getattr(old, n), getattr(new, n))]
    for environment, config in getattr(new, "environments", {}).items():
        before = old.environments.get(environment)
        if before is None:
            found.append(f"environments/{environment}")
            continue
        found += [
            f"environments/{environment}/{n}"
            for n in config.__struct_fields__
            if not _same(getattr(before, n), getattr(config, n))
        ]
    return found


def _same(a: Any, b: Any) -> bool:
    if a is UNSET or b is UNSET:
        return a is b
    return same_document(a, b)
