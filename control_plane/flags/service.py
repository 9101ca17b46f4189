"""The use cases of flags: read, list, create, replace, patch, delete.

Each write is worked out by `authoring`, validated by the engine that sidecars run, and committed by
the replica, which may ask for it again when another replica was faster. So what a write is made
from is looked up inside, never before.
"""

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from control_plane.audit.model import Author
from control_plane.documents import (
    NO_FLAWS,
    Flaws,
    Precondition,
    decode_flawed,
    invalid,
    merge_patch,
    same_document,
)
from control_plane.errors import Conflict, NotFound
from control_plane.flags import authoring
from control_plane.flags.authoring import Circumstances, Draft
from control_plane.flags.model import (
    FlagFilter,
    FlagResource,
    Written,
    resource_of,
)
from control_plane.flags.prerequisites import needed_variants, related_flags
from control_plane.flags.rebucketing import check_consent, moved_between
from control_plane.publishing.checks import StillChecking, at_once
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import Change, Edit, FlagRecord, ProjectState, RecordKind
from control_plane.times import now_rfc3339
from proxy.contract.authoring import FlagInput
from proxy.contract.codes import Severity
from proxy.contract.definitions import Flag
from proxy.contract.problems import Problem, has_errors
from proxy.contract.steps import Steps, finish
from proxy.engine import checking_flag

__all__ = [
    "MAX_FLAGS",
    "FlagService",
    "check_environment",
    "checked",
    "circumstances",
    "find_flag",
    "flag_change",
    "new_salt",
    "new_salts",
    "unix_ms",
]

MAX_FLAGS = 50_000
"""Flags of a project: five times what is asked of one, and the 32 MB of a snapshot come first."""


def new_salt() -> str:
    """Return a salt for the buckets of one flag in one environment."""
    return secrets.token_hex(16)


def new_salts(count: int) -> Iterator[str]:
    """Yield as many salts, for the price of one call of the system."""
    digits = secrets.token_hex(16 * count)
    return (digits[i : i + 32] for i in range(0, len(digits), 32))


class FlagService:
    """The flags of all projects."""

    def __init__(self, replica: Replica, now: Callable[[], str] = now_rfc3339) -> None:
        self._replica = replica
        self._now = now

    def get(self, project: str, environment: str, key: str) -> FlagResource:
        """Return a flag as an environment serves it; raises NotFound."""
        state = self._replica.project(project)
        check_environment(state, environment)
        return resource_of(find_flag(state, key), environment)

    def page(
        self, project: str, environment: str, wanted: FlagFilter, after: str | None, limit: int
    ) -> tuple[list[FlagResource], str | None]:
        """Return flags in the order of their keys, and the key the next page starts after, if any.

        Looks at no more flags than have the rarest facet that is asked for.
        """
        state = self._replica.project(project)
        check_environment(state, environment)
        order, others = state.facets.with_all(wanted.facets()) or (state.flag_order, frozenset())
        first = max(bisect_left(order, wanted.prefix), bisect_right(order, after or ""))
        found: list[str] = []
        for key in islice(order, first, None):
            if not key.startswith(wanted.prefix):
                break
            if others and not state.facets.has_all(key, others):
                continue
            found.append(key)
            if len(found) > limit:
                break
        items = [resource_of(state.flags[key], environment) for key in found[:limit]]
        return items, found[limit - 1] if len(found) > limit else None

    async def create(
        self,
        project: str,
        environment: str,
        document: FlagInput,
        author: Author,
        flaws: Flaws = NO_FLAWS,
    ) -> Written:
        """Create a flag. With `flaws` nothing is, and all that is wrong is told.

        Raises:
            Invalid: with all problems; Conflict: there is one of that key.
        """
        version = 1 if flaws.problems else await self._next_version(project, document)

        def build(state: ProjectState, now_ms: int) -> tuple[Draft, FlagRecord | None]:
            with flaws.first():
                check_environment(state, environment)
                if document.key in state.flags:
                    raise Conflict(f"there is a flag {document.key!r}", code="flag_exists")
                names = sorted(state.environments)
                around = Circumstances(names, environment, new_salt, now_ms)
                return authoring.create(document, around)._replace(flaws=flaws), None

        simple = not isinstance(document.value, msgspec.UnsetType) and isinstance(
            document.variants, msgspec.UnsetType
        )
        return await self.write(
            project, environment, "flag.create", author, build, simple=simple, first_version=version
        )

    async def replace(
        self,
        project: str,
        environment: str,
        key: str,
        document: FlagInput,
        members: Collection[str],
        author: Author,
        precondition: Precondition,
        *,
        rebucket: bool,
        flaws: Flaws = NO_FLAWS,
    ) -> Written:
        """Replace a flag, or with a simple body what one environment serves.

        With `flaws` nothing is, and all that is wrong is told.

        Raises:
            NotFound, PreconditionFailed, Invalid; Conflict: `fallthrough_is_rollout`,
            `rebucketing`.
        """

        def build(state: ProjectState, now_ms: int) -> tuple[Draft, FlagRecord]:
            with flaws.first():
                record = self._changeable(state, environment, key, precondition)
                around = circumstances(state, environment, key, now_ms)
                draft = authoring.replace(record.flag, document, members, around)
                return draft._replace(flaws=flaws), record

        simple = not authoring.is_full(members)
        return await self.write(
            project, environment, "flag.replace", author, build, simple=simple, rebucket=rebucket
        )

    async def patch(
        self,
        project: str,
        environment: str,
        key: str,
        changes: Mapping[str, Any],
        decode: Callable[[bytes], FlagInput],
        author: Author,
        precondition: Precondition,
        *,
        rebucket: bool,
    ) -> Written:
        """Apply a merge patch to a flag; raises as `replace` does, and what `decode` raises."""

        def build(state: ProjectState, now_ms: int) -> tuple[Draft, FlagRecord]:
            record = self._changeable(state, environment, key, precondition)
            around = circumstances(state, environment, key, now_ms)
            body = merge_patch(record.flag, changes)
            document, flaws = decode_flawed(decode, body)
            with flaws.first():
                draft = authoring.patched(record.flag, changes.keys(), document, around)
                return draft._replace(flaws=flaws), record

        simple = not authoring.is_full(changes)
        return await self.write(
            project, environment, "flag.patch", author, build, simple=simple, rebucket=rebucket
        )

    async def delete(
        self, project: str, key: str, author: Author, precondition: Precondition, *, force: bool
    ) -> None:
        """Delete a flag.

        Of flags that still have it as prerequisite, if forced, the prerequisite fails: they serve
        their off variant.

        Raises:
            NotFound, PreconditionFailed; Conflict: `flag_in_use`, unless forced.
        """

        def build(state: ProjectState) -> Change:
            record = find_flag(state, key)
            precondition(record.version)
            if not force:
                _refuse_in_use(state, key, "deleted")
            return Change("flag.delete", author, now_rfc3339(), (Edit(RecordKind.FLAG, key, None),))

        await self._replica.commit(project, build)

    async def write(
        self,
        project: str,
        environment: str,
        action: str,
        author: Author,
        build: Callable[[ProjectState, int], tuple[Draft, FlagRecord | None]],
        *,
        simple: bool = False,
        rebucket: bool = False,
        first_version: int = 1,
    ) -> Written:
        """Commit what `build` makes of the state: a flag, and the record it replaces, if any.

        `build` is given the time of the change, too, in Unix milliseconds: what a ramp serves
        depends on it. The flag is validated here. Returns what is to be answered. Of a `simple`
        body, problems of variants are problems of its value.

        Raises:
            Invalid: with all problems; Conflict: `rebucketing`, unless `rebucket`; `flag_in_use`;
            `too_many`.
        """
        result: list[Written] = []
        done: tuple[int, _Made, list[Problem]] | None = None

        def change(state: ProjectState) -> Change:
            if done is not None and done[0] == state.sequence:
                _, (at, draft, old), warnings = done
            else:
                at = self._now()
                draft, old = build(state, unix_ms(at))
                if old is None and len(state.flags) >= MAX_FLAGS:
                    raise Conflict(f"{MAX_FLAGS} flags are all a project can have", code="too_many")
                steps = checking(draft, old, state, simple=simple)
                warnings = at_once(state, (at, draft, old), steps)
            flag, now_ms = draft.flag, unix_ms(at)
            if old is not None:
                check_consent(old.flag, flag, now_ms, rebucket=rebucket)
                if flag.archived and not old.flag.archived:
                    _refuse_in_use(state, flag.key, "archived")
            made = flag_change(action, author, at, flag, old, first_version)
            record = made.edits[0].record if made.edits else old
            assert isinstance(record, FlagRecord)  # noqa: S101 - of a flag's edit, or `old` itself
            moved = [] if old is None else moved_between(old.flag, flag, now_ms)
            result[:] = [Written(resource_of(record, environment), warnings, moved)]
            return made

        for _ in range(_ATTEMPTS):
            try:
                await self._replica.commit(project, change)
            except StillChecking as long:
                made: _Made = long.made
                done = long.sequence, made, await run_in_slices(long.steps)
            else:
                return result[0]
        raise Conflict("others changed the project meanwhile, again and again", code="contended")

    def _changeable(
        self, state: ProjectState, environment: str, key: str, precondition: Precondition
    ) -> FlagRecord:
        check_environment(state, environment)
        if key not in state.flags:
            detail = f"there is no flag {key[:128]!r}; POST creates one"
            raise NotFound(detail, code="flag_not_found")
        record = find_flag(state, key)
        precondition(record.version)
        return record

    async def _next_version(self, project: str, document: FlagInput) -> int:
        """Return the version a new flag starts with: after those of a deleted one of that key.

        An old `If-Match` must not fit a new flag by chance.
        """
        if isinstance(document.key, msgspec.UnsetType):
            return 1
        return await self._replica.last_version(project, document.key) + 1


def flag_change(
    action: str,
    author: Author,
    at: str,
    flag: Flag,
    old: FlagRecord | None,
    first_version: int = 1,
) -> Change:
    """Return the change that makes a flag what it is given as; without edits if it is that."""
    if old is None:
        record = FlagRecord(flag, first_version, at, at)
    elif same_document(flag, old.flag):
        return Change(action, author, at)
    else:
        record = FlagRecord(flag, old.version + 1, old.created_at, at)
    return Change(action, author, at, (Edit(RecordKind.FLAG, flag.key, record),))


def find_flag(state: ProjectState, key: str) -> FlagRecord:
    """Return a flag; raises NotFound."""
    record = state.flags.get(key)
    if record is None:
        raise NotFound(f"there is no flag {key[:128]!r}", code="flag_not_found")
    return record


def check_environment(state: ProjectState, environment: str) -> None:
    """Raise NotFound unless the project has the environment."""
    if environment not in state.environments:
        known = ", ".join(sorted(state.environments)[:20])
        raise NotFound(
            f"there is no environment {environment[:64]!r}; known: {known}",
            code="environment_not_found",
        )


def circumstances(state: ProjectState, environment: str, key: str, now_ms: int) -> Circumstances:
    """Return what the body of a change of a flag does not say."""
    needed = partial(needed_variants, state, key)
    return Circumstances(state.environments.keys(), environment, new_salt, now_ms, needed)


def unix_ms(at: str) -> int:
    """Return an RFC 3339 time as Unix milliseconds."""
    return round(datetime.fromisoformat(at).timestamp() * 1000)


_Made = tuple[str, Draft, FlagRecord | None]
"""When a change was worked out, what it makes a flag, and what that replaces."""

_ATTEMPTS = 5  # at a state that changes while a large flag is checked


def checked(
    draft: Draft, old: FlagRecord | None, state: ProjectState, *, simple: bool
) -> list[Problem]:
    """Return what `checking` does, at once."""
    return finish(checking(draft, old, state, simple=simple))


def checking(
    draft: Draft, old: FlagRecord | None, state: ProjectState, *, simple: bool
) -> Steps[list[Problem]]:
    """Return the warnings about a flag; raises Invalid with all problems when one is an error.

    What was broken already, by a segment or a flag that was deleted by force, does not stop a
    change: a flag has to be switched off most of all when something is wrong with it.
    """
    problems = yield from _problems_of(draft.flag, state)
    if old is not None and has_errors(problems):
        before = yield from _problems_of(old.flag, state)
        problems = [_warning(p) if p in before else p for p in problems]
    problems = draft.flaws.joined([*draft.problems, *problems])
    if simple:
        problems = list(map(_of_simple_body, problems))
    if has_errors(problems):
        raise invalid(problems)
    return problems


def _problems_of(flag: Flag, state: ProjectState) -> Steps[list[Problem]]:
    return checking_flag(
        flag,
        state.segment_documents,
        state.flag_documents,
        asking=related_flags(state, flag),
        # another system's keys have no form, and stay when its definition has gone
        imported_key=flag.key in state.flags or _is_imported(flag),
    )


def _is_imported(flag: Flag) -> bool:
    configs = flag.environments.values()
    return any(config.source is not msgspec.UNSET for config in configs)


def _warning(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, severity=Severity.WARNING)


def _of_simple_body(problem: Problem) -> Problem:
    """Return the problem with its pointer where the author of a simple body wrote the value."""
    if problem.pointer.startswith("/variants/"):
        return msgspec.structs.replace(problem, pointer="/value")
    return problem


def _refuse_in_use(state: ProjectState, key: str, what: str) -> None:
    users = state.users(RecordKind.FLAG, key)
    if users:
        named = ", ".join(f"{user.kind} {user.key!r}" for user in users[:20])
        raise Conflict(
            f"flag {key!r} cannot be {what} while it is used by {len(users)}: {named}",
            code="flag_in_use",
        )
