"""The use case of imports: read a file of another system, plan, and apply the plan or only tell it.

Reading takes long for a large file, so it is done in a thread; planning looks at the project and is
done in slices of the loop. The plan is applied as one change, if nothing that it was worked out
from has changed meanwhile; else it is worked out again.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from control_plane.audit.model import Author
from control_plane.documents import MAX_PROBLEMS, invalid
from control_plane.errors import Conflict
from control_plane.flags.service import MAX_FLAGS, check_environment, unix_ms
from control_plane.imports.model import ImportAnswer, ImportedRecords, ImportInput
from control_plane.imports.native import NativeFile, planning_native, read_native
from control_plane.imports.places import ByItem, by_item
from control_plane.imports.plan import Asked, Plan, named_for, planning
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import (
    Change,
    Edit,
    FlagRecord,
    ProjectState,
    RecordKind,
    SegmentRecord,
)
from control_plane.segments.service import MAX_SEGMENTS
from control_plane.times import now_rfc3339
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import DialectName
from proxy.contract.problems import Problem, has_errors, under
from proxy.contract.steps import Steps
from proxy.engine import (
    NATIVE,
    Import,
    check_import_options,
    import_document,
    shared_place,
    sharing,
)

__all__ = ["MAX_IMPORT_BYTES", "ImportService", "edits_of"]

MAX_IMPORT_BYTES = 32 * 1024 * 1024
"""Of a request with a file: as large as what may be published."""

_ATTEMPTS = 5  # at a project that changes while a plan is worked out
_AT_ONCE = 50  # histories that are asked for at the same time
_DOCUMENT = "/document"
_OPTIONS = "/options"


class ImportService:
    """Imports into all projects."""

    def __init__(self, replica: Replica, now: Callable[[], str] = now_rfc3339) -> None:
        self._replica = replica
        self._now = now

    async def run(
        self,
        project: str,
        environment: str,
        document: ImportInput,
        author: Author,
        *,
        dry_run: bool,
        replace: bool,
        every: bool = False,
    ) -> ImportAnswer:
        """Import a file into an environment, all that is good of it at once; or tell the plan.

        `every`: of a native file, all environments that it has are written.

        Raises:
            NotFound; Invalid: the file as a whole cannot be read; Conflict: `too_many`,
            `contended`; Unavailable.
        """
        state = self._replica.project(project)
        if every and document.system == NATIVE and environment not in state.environments:
            environment = min(state.environments)  # whose revision is told
        check_environment(state, environment)
        only = None if every else environment
        read = await asyncio.to_thread(_read, document, environment)
        warnings = [] if isinstance(read, NativeFile) else read.warnings
        for _ in range(_ATTEMPTS):
            state = self._replica.project(project)
            if isinstance(read, NativeFile):
                now_ms = unix_ms(self._now())
                steps = planning_native(state, read, only, now_ms, replace=replace)
            else:
                asked = Asked(environment, read.system, document.options, replace)
                steps = planning(state, asked, read.found, read.refused)
            plan = await run_in_slices(steps)
            _check_counts(state, plan)
            applied = False
            if not dry_run:
                versions = await self._versions(project, plan)
                try:
                    applied = await self._apply(project, environment, plan, versions, author)
                except _ChangedMeanwhileError:
                    continue
            elif not plan.holds(self._replica.project(project)):
                continue
            revision = self._replica.project(project).snapshots[environment].revision
            return ImportAnswer(
                system=document.system,
                dry_run=dry_run,
                applied=applied,
                revision=revision,
                created=sorted(plan.flags.created),
                changed=plan.flags.changes,
                unchanged=sorted(plan.flags.unchanged),
                refused=plan.flags.refusals(),
                only_here=plan.flags.only_here,
                segments=ImportedRecords(
                    created=sorted(plan.segments.created),
                    changed=plan.segments.changes,
                    unchanged=sorted(plan.segments.unchanged),
                    refused=plan.segments.refusals(),
                    only_here=plan.segments.only_here,
                ),
                problems=[*warnings, *plan.notes],
            )
        raise Conflict("others changed the project meanwhile, again and again", code="contended")

    async def _versions(self, project: str, plan: Plan) -> dict[str, int]:
        """Return the first version of each new flag: after those of a deleted one of that key."""
        keys = list(plan.flags.created)
        versions: dict[str, int] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            last = await asyncio.gather(*(self._replica.last_version(project, k) for k in some))
            versions.update(zip(some, (number + 1 for number in last), strict=True))
        return versions

    async def _apply(
        self,
        project: str,
        environment: str,
        plan: Plan,
        versions: dict[str, int],
        author: Author,
    ) -> bool:
        """Make a plan's change, and return whether there was one.

        Raises:
            _ChangedMeanwhileError: what it was worked out from is not there any more.
        """
        at = self._now()
        edits = await run_in_slices(edits_of(plan, versions, at))

        def build(state: ProjectState) -> Change:
            check_environment(state, environment)
            if not plan.holds(state):
                raise _ChangedMeanwhileError
            return Change("flag.import", author, at, edits)

        return bool((await self._replica.commit(project, build)).edits)


class _ChangedMeanwhileError(Exception):
    """Somebody wrote what a plan was worked out from."""


class _Read(NamedTuple):
    """A file, read: what is good of it, which flags and segments are refused, and warnings."""

    system: DialectName
    found: Import
    refused: tuple[dict[str, list[Problem]], dict[str, list[Problem]]]
    warnings: list[Problem]


def _read(document: ImportInput, environment: str) -> _Read | NativeFile:
    """Return what a file holds; raises Invalid for one that as a whole cannot be read."""
    system = document.system
    flawed = by_item(system, document.document, document.flaws)
    if system == NATIVE:
        if document.options:
            message = "there are none for a file of our own"
            raise invalid([Problem(_OPTIONS, ProblemCode.UNKNOWN_FIELD, message)])
        if flawed.of_file:
            raise invalid(under(_DOCUMENT, flawed.of_file))
        file = read_native(document.document)
        if file.of_file:
            raise invalid(under(_DOCUMENT, file.of_file))
        for known, bad, found_bad in (
            (file.flags, file.refused[0], flawed.flags),
            (file.segments, file.refused[1], flawed.segments),
        ):
            for key, problems in found_bad.items():
                known.pop(key, None)
                bad[key] = problems
        return file
    _check_options(system, document.options)
    of_all = [p for p in flawed.of_file if shared_place(p.pointer) is None]
    if of_all:
        raise invalid(under(_DOCUMENT, of_all))
    found = import_document(system, document.document, document.options, [environment])
    items = by_item(system, document.document, found.problems)
    if has_errors(items.of_file):
        raise invalid(under(_DOCUMENT, items.of_file))
    owners = {p: key for part in (items.segments, items.flags) for key in part for p in part[key]}
    for key, others in found.refused.items():
        items.flags.setdefault(key, []).extend(others)
    overruled = _refuse_flawed(items, flawed, sharing(found, flawed.of_file))
    refused = _refused(items.flags), _refused(items.segments)
    told = {*overruled, *chain(*refused[0].values(), *refused[1].values())}
    warnings = [
        named_for(owners.get(problem), problem)
        for problem in found.problems
        if problem.severity is not Severity.ERROR and problem not in told
    ]
    if len(found.problems) >= MAX_PROBLEMS and len(found.problems) % MAX_PROBLEMS == 0:
        message = "there may be more problems than are told: looking ends at so many"
        hint = "mend these, and look again"
        warnings.append(Problem("", ProblemCode.TOO_MANY, message, hint, Severity.WARNING))
    return _Read(system, found, refused, warnings)


def _refuse_flawed(
    items: ByItem, flawed: ByItem, sharing: Mapping[str, list[Problem]]
) -> list[Problem]:
    """Let what has mistakes of the text be refused for them; return what is not told then.

    That is what was found in what could be read, which nobody meant.
    """
    overruled: list[Problem] = []
    of_flags = {**flawed.flags, **sharing}
    for key in flawed.flags.keys() & sharing.keys():
        of_flags[key] = [*flawed.flags[key], *sharing[key]]
    for known, bad in ((items.flags, of_flags), (items.segments, flawed.segments)):
        for key, problems in bad.items():
            overruled += known.get(key, ())
            known[key] = problems[:MAX_PROBLEMS]
    return overruled


def _refused(items: dict[str, list[Problem]]) -> dict[str, list[Problem]]:
    """Return the items that have an error, with all that is wrong with them."""
    return {key: problems for key, problems in items.items() if has_errors(problems)}


def _check_options(system: DialectName, options: Mapping[str, Any]) -> None:
    """Raise Invalid for an option that the system does not have, or does not take."""
    problems = check_import_options(system, options)
    if problems:
        raise invalid(under(_OPTIONS, problems))


def _check_counts(state: ProjectState, plan: Plan) -> None:
    for what, most, there, made in (
        ("flags", MAX_FLAGS, state.flags, plan.flags.created),
        ("segments", MAX_SEGMENTS, state.segments, plan.segments.created),
    ):
        if made and len(there) + len(made) > most:
            raise Conflict(f"{most} {what} are all a project can have", code="too_many")


def edits_of(plan: Plan, versions: dict[str, int], at: str) -> Steps[tuple[Edit, ...]]:
    """Return what a plan writes, in small steps."""
    edits = []
    for key, (segment, old) in plan.segments.written():
        version, created = (1, at) if old is None else (old.version + 1, old.created_at)
        record = SegmentRecord(segment, version, created, at)
        edits.append(Edit(RecordKind.SEGMENT, key, record))
        yield
    for key, (flag, old) in plan.flags.written():
        version, created = (versions[key], at) if old is None else (old.version + 1, old.created_at)
        edits.append(Edit(RecordKind.FLAG, key, FlagRecord(flag, version, created, at)))
        yield
    return tuple(edits)
