"""What a flag answers to a context, by the engine that sidecars run; nothing is stored or counted.

Only what the flag needs is compiled: its line, those of the flags that it asks and of the segments
that any of them names, as they are in the environment's snapshot, with the blobs of long lists. So
the answer is the one that sidecars give, and it costs what the flag costs, not what there is.

Of a draft or an earlier version only the flag itself is another; segments and other flags are those
of now, and the answer says so.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.audit.service import HistoryService
from control_plane.documents import NO_FLAWS, Flaws, invalid
from control_plane.errors import Invalid, NotFound
from control_plane.evaluation.model import EvaluationAnswer, EvaluationInput
from control_plane.flags import authoring
from control_plane.flags.authoring import Circumstances
from control_plane.flags.rebucketing import Moved, moved_between
from control_plane.flags.service import check_environment, checked, circumstances
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import Name, ProjectState, RecordKind, names_in
from proxy.contract.authoring import FlagInput, project
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Flag
from proxy.contract.problems import Problem, pointer, under
from proxy.contract.snapshot import Entry, EntryKind, encode_entry, read_entry
from proxy.contract.units import blobs_of
from proxy.engine import compile_snapshot, evaluate, explaining, nearest_keys, parse_moment

__all__ = ["EvaluationService"]

_OTHERS_ARE_NOW = "segments and other flags are taken as they are now"
_ARCHIVED = "the flag is archived, so sidecars do not have it"
_DELETED = "in this version the flag was deleted"
_SALT = (
    "where the draft has no salt it gets a random one when it is saved: shares stay the same, who "
    "is in them will differ"
)


class _Asked(NamedTuple):
    """The form of a flag that is evaluated; None for one that sidecars do not have."""

    flag: Flag | None
    version: int | None
    moved: list[Moved]
    warnings: list[Problem]
    notes: list[str]


class EvaluationService:
    """Evaluations of all projects' flags."""

    def __init__(
        self, replica: Replica, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._replica = replica
        self._now_ms = now_ms

    async def evaluate(
        self,
        project_key: str,
        environment: str,
        key: str,
        document: EvaluationInput,
        members: Collection[str],
        flaws: Flaws = NO_FLAWS,
    ) -> EvaluationAnswer:
        """Return what a flag answers to a context. `members` are those that the draft has.

        With `flaws` all that is wrong is told, and nothing answered.

        Raises:
            NotFound: there is no such environment, flag, version or revision; Invalid: a draft that
            could not be saved, with all problems, or a request that asks two things; Conflict: as a
            PUT of the draft; Unavailable: Redis did not answer for an earlier version.
        """
        now_ms = self._now_ms()
        state = self._replica.project(project_key)
        check_environment(state, environment)
        with flaws.first():
            at_ms = _checked_time(document, now_ms)
            draft = document.definition
            drafted = (
                None if draft is None else _draft(state, environment, key, draft, members, now_ms)
            )
        if flaws.problems:
            raise invalid(list(flaws.problems))
        if drafted is not None:
            asked = drafted
        elif document.version is not None or document.revision is not None:
            _check_revision(state, environment, document.revision)
            asked = await self._kept(project_key, environment, key, document)
            state = self._replica.project(project_key)
            check_environment(state, environment)
        else:
            asked = await self._stored(state, key)
        revision = state.snapshots[environment].revision
        entries = _needed(state, environment, key, asked.flag)
        # Taken at the same moment as the entries that name them: a write to a segment drops its old
        # blobs, and may come while this is compiled.
        blobs = {d: blob for d in blobs_of(entries) if (blob := state.blobs.get(d)) is not None}
        compiled = await run_in_slices(compile_snapshot(entries, None, blobs))
        context = document.context or {}
        explanation = None
        if document.explain:
            explanation = await run_in_slices(explaining(compiled, entries, key, context, at_ms))
            result = explanation.result
        else:
            result = msgspec.Raw(evaluate(compiled, key, context, at_ms).body)
        return EvaluationAnswer(
            key,
            environment,
            asked.version,
            revision,
            result,
            explanation,
            asked.moved,
            asked.warnings,
            asked.notes,
        )

    async def _stored(self, state: ProjectState, key: str) -> _Asked:
        """Return the flag as it is."""
        record = state.flags.get(key)
        if record is None:
            nearest = await run_in_slices(nearest_keys(key, state.flag_order))
            meant = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            detail = f"there is no flag {key[:128]!r}{meant}"
            raise NotFound(detail, code="flag_not_found")
        if record.flag.archived:
            return _Asked(None, record.version, [], [], [_ARCHIVED])
        return _Asked(record.flag, record.version, [], [], [])

    async def _kept(
        self, project_key: str, environment: str, key: str, document: EvaluationInput
    ) -> _Asked:
        """Return an earlier version of a flag."""
        wanted, revision = document.version, document.revision
        oldest: int | None = None
        async for entry in HistoryService(self._replica).versions(project_key, key):
            oldest = entry.version
            if wanted is not None:
                found = entry.version == wanted
            elif environment not in entry.revisions:
                break  # nor have those before it: of when it was not kept, or there was none
            else:
                # what an environment served at a revision is the newest version not above it
                found = revision is not None and entry.revisions[environment] <= revision
            if not found:
                continue
            notes = [_OTHERS_ARE_NOW]
            if entry.flag is None or entry.flag.archived:
                notes = [_DELETED if entry.flag is None else _ARCHIVED]
                return _Asked(None, entry.version, [], [], notes)
            return _Asked(entry.flag, entry.version, [], [], notes)
        if oldest is None:
            raise NotFound(f"there is no flag {key[:128]!r}", code="flag_not_found")
        if wanted is not None:
            detail = f"version {wanted} of {key[:128]!r} is not kept"
        else:
            detail = (
                f"{key[:128]!r} was not there at revision {revision}, or that version is not kept"
            )
        raise NotFound(detail, code="version_not_found")


def _checked_time(document: EvaluationInput, now_ms: int) -> int:
    """Return the time asked about; raises Invalid with all that is wrong with a request."""
    problems: list[Problem] = []
    given = [n for n in ("definition", "version", "revision") if getattr(document, n) is not None]
    if len(given) > 1:
        message = f"{' and '.join(given)} are different forms of the flag"
        hint = "ask about one of them"
        problems.append(Problem(pointer(given[1]), ProblemCode.NOT_ONE_OF, message, hint))
    at_ms = now_ms if document.at is None else parse_moment(document.at)
    if at_ms is None:
        message = "this is no date and time of RFC 3339 with a zone"
        hint = "write it as 2026-12-01T09:00:00Z"
        problems.append(Problem("/at", ProblemCode.INVALID_TIME, message, hint))
    if problems or at_ms is None:
        raise invalid(problems)
    return at_ms


def _check_revision(state: ProjectState, environment: str, revision: int | None) -> None:
    """Raise NotFound for a revision that is still to come."""
    current = state.snapshots[environment].revision
    if revision is not None and revision > current:
        detail = f"{environment!r} is at revision {current}"
        raise NotFound(detail, code="version_not_found")


def _draft(
    state: ProjectState,
    environment: str,
    key: str,
    document: FlagInput,
    members: Collection[str],
    now_ms: int,
) -> _Asked:
    """Return the flag that a POST or a PUT of a draft would make."""
    made: list[str] = []

    def new_salt() -> str:
        # Always the same for a flag: the same question gets the same answer.
        made.append(hashlib.sha256(f"{key}/{len(made)}".encode()).hexdigest()[:32])
        return made[-1]

    old = state.flags.get(key)
    around = circumstances(state, environment, key, now_ms)._replace(new_salt=new_salt)
    try:
        if old is None:
            simple = not authoring.is_full(members)
            drafted = authoring.create(_named(document, key), _in_order(around))
        else:
            simple = not authoring.is_full(members)
            drafted = authoring.replace(old.flag, document, members, around)
        warnings = checked(drafted, old, state, simple=simple)
    except Invalid as error:
        raise invalid(under("/definition", error.problems)) from None
    flag = drafted.flag
    moved = [] if old is None else moved_between(old.flag, flag, now_ms)
    notes = [_OTHERS_ARE_NOW, *([_SALT] if made and _splits(flag, environment) else [])]
    if flag.archived:
        notes = [_ARCHIVED]
    return _Asked(
        None if flag.archived else flag, None, moved, under("/definition", warnings), notes
    )


def _named(document: FlagInput, key: str) -> FlagInput:
    """Return the body of a flag to be with its key; raises Invalid when it has another."""
    if isinstance(document.key, UnsetType):
        return msgspec.structs.replace(document, key=key)
    if document.key != key:
        message = f"the path asks about {key[:128]!r}"
        raise invalid([Problem("/key", ProblemCode.READ_ONLY, message, "leave the key out")])
    return document


def _in_order(around: Circumstances) -> Circumstances:
    return around._replace(environments=sorted(around.environments))


def _splits(flag: Flag, environment: str) -> bool:
    """Return whether units are told apart by their buckets."""
    config = flag.environments.get(environment)
    if config is None:
        return False
    serves = [config.fallthrough, *(rule.serve for rule in config.rules)]
    return any(serve.variant is UNSET for serve in serves)


def _needed(
    state: ProjectState, environment: str, key: str, flag: Flag | None
) -> dict[tuple[EntryKind, str], Entry]:
    """Return the entries that a flag's answer depends on: its own, and of all that is asked."""
    entries: dict[tuple[EntryKind, str], Entry] = {}
    if flag is None:
        return entries
    entries["flag", key] = read_entry(encode_entry("flag", key, project(flag, environment)))
    snapshot = state.snapshots[environment]
    todo = list(_uses(flag, environment))
    while todo:
        name = todo.pop()
        kind: EntryKind = "flag" if name.kind is RecordKind.FLAG else "segment"
        line = snapshot.line(kind, name.key)
        if line is not None and (kind, name.key) not in entries:
            entries[kind, name.key] = read_entry(line)
            todo.extend(state.uses(name))
    return entries


def _uses(flag: Flag, environment: str) -> Iterator[Name]:
    """Yield what a flag names in an environment."""
    config = flag.environments.get(environment)
    if config is None:
        return
    yield from names_in(config)
