"""What one control-plane process knows of all projects, and its way to change them.

Reads are from memory and go on while Redis is away; `mirror` keeps what is held there right. A
write is worked out against memory, made durable in one atomic step that Redis refuses when the
project has moved meanwhile, and applied here before it returns, so whoever wrote reads what was
written.

Errors: `commit` raises what its builder raises, `Conflict` after losing too many races, and
`Unavailable`, in bounded time, when Redis cannot be asked.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from control_plane.access.model import KeyRecord
from control_plane.audit.chain import link
from control_plane.audit.model import Author, HistoryEntry
from control_plane.environments.model import Project
from control_plane.errors import ApiError, Conflict, Invalid, NotFound, Unavailable
from control_plane.publishing.changes import (
    audited,
    commit_of,
    decode_change,
    decode_history,
    just_after,
    new_project,
    position_of,
)
from control_plane.publishing.claims import Claims
from control_plane.publishing.deltas import DeltaLog
from control_plane.publishing.mirror import DEFAULT_PROJECT, SMALL_EDITS, Mirror
from control_plane.publishing.scope import check_scope
from control_plane.publishing.signing import Sign, unsigned
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import (
    Change,
    EnvironmentSnapshot,
    Prepared,
    ProjectState,
    RecordKind,
    Step,
)
from control_plane.store.connection import Connections, Observer, RedisError, RedisLimits
from control_plane.store.projects import Commit, ProjectStore
from control_plane.store.topology import Servers
from control_plane.supervise import Failed, unnoted
from control_plane.times import now_rfc3339
from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES
from proxy.contract.steps import Steps, finish

__all__ = ["DEFAULT_PROJECT", "MAX_PUBLISHED_BYTES", "UNVERIFIED_MS", "Replica", "prepare_commit"]

logger = logging.getLogger(__name__)

MAX_PUBLISHED_BYTES = MAX_SNAPSHOT_BYTES // 2
"""Largest snapshot published: half of what sidecars read, so that theirs can be older."""

UNVERIFIED_MS = 15_000
"""Redis is asked each second; after so long without an answer keys may have been made elsewhere,
and revisions published, that are not known here."""

_ATTEMPTS = 5  # at a write that loses races, before it is a conflict
_ATTEMPTS_LARGE = 25  # at one that takes longer than others' writes, and so loses more of them
_SMALL_BYTES = 1024 * 1024  # of units that are written; more of them take Redis long
_CLOCKS_APART = timedelta(minutes=5)
"""How far the clock may have been ahead of ours that a sidecar tells the time of. Believing a later
one would make every time until then too early."""


class Replica:
    """All projects in memory, kept current. An async context manager, entered once.

    Entering it does not wait for Redis: `loaded` says whether everything has been read, and
    `wait_loaded` waits for it.
    """

    def __init__(
        self,
        redis_url: str,
        limits: RedisLimits | None = None,
        observe: Observer | None = None,
        sign: Sign = unsigned,
        failed: Failed = unnoted,
    ) -> None:
        # Process
        self._connections = Connections(redis_url, limits or RedisLimits(), self._observed)
        self._observe = observe
        self._store = ProjectStore(self._connections)
        self._listeners: list[Callable[[str, str], None]] = []
        self._mirror = Mirror(self._store, self._changed, sign, failed)
        # What is known of Redis
        self._redis_ok = False
        self._failed_at = 0.0  # the last command that Redis did not answer, monotonic
        self._claims = Claims()
        # Counters, for metrics
        self.redis_errors = 0
        self.conflicts = 0

    # Reading

    @property
    def projects(self) -> Mapping[str, ProjectState]:
        """The projects by name. A state may be replaced by another when it is read again."""
        return self._mirror.projects

    @property
    def loaded(self) -> bool:
        """Whether all projects have been read once; it stays so while Redis is away."""
        return self._mirror.loaded.is_set()

    @property
    def unreadable(self) -> Collection[str]:
        """Projects whose data in Redis cannot be read; what was read of them before is served."""
        return self._mirror.unreadable

    @property
    def knows_all_keys(self) -> bool:
        """Whether a key that is not found here is in Redis neither: all was read, and lately."""
        return self.loaded and not self.unreadable and self.verified_age_ms() < UNVERIFIED_MS

    @property
    def redis_ok(self) -> bool:
        """Whether the last command to Redis succeeded."""
        return self._redis_ok

    @property
    def servers(self) -> Servers:
        """The servers of Redis that are written to."""
        return self._connections.servers

    @property
    def redis_latency_s(self) -> float | None:
        """How long the last look at all projects took in Redis; None when Redis is away."""
        return self._mirror.latency_s if self._redis_ok else None

    @property
    def reloads(self) -> int:
        """How often a project was read again."""
        return self._mirror.reloads

    @property
    def blobs_read(self) -> int:
        """How many blobs of long lists were read from Redis."""
        return self._mirror.blobs_read

    @property
    def epochs_renewed(self) -> int:
        """How often this replica gave a project a new epoch."""
        return self._mirror.epochs_renewed

    @property
    def claims_refused(self) -> Mapping[tuple[str, str], int]:
        """How often claims of sidecars were not believed, by project and id of the key."""
        return self._claims.refused

    @property
    def failures(self) -> int:
        """How often following failed and was begun again."""
        return self._mirror.failures

    @property
    def store(self) -> ProjectStore:
        """The projects in Redis, for what is not held in memory."""
        return self._store

    async def wait_loaded(self, timeout_s: float) -> bool:
        """Return whether everything has been read, waiting so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # wait_for may swallow a cancellation
                await self._mirror.loaded.wait()
        return self.loaded

    def project(self, name: str) -> ProjectState:
        """Return a project.

        Raises:
            NotFound: there is none of that name.
            Unavailable: nothing has been read yet.
        """
        state = self._mirror.projects.get(name)
        if state is not None:
            return state
        if not self.loaded or name in self._mirror.unreadable:
            raise Unavailable("the definitions have not been read from Redis yet")
        raise NotFound(f"there is no project {name[:80]!r}", code="project_not_found")

    def verified_age_ms(self, project: str | None = None) -> int:
        """Return how long ago Redis last confirmed what is held, of one project or of the oldest.

        Before anything was read it is 0: there is nothing to be older than.
        """
        return self._mirror.verified_age_ms(project)

    def find_key(self, key_hash: str) -> KeyRecord | None:
        """Return the key with this hash, from memory. Whether it has expired is not looked at."""
        for state in self._mirror.projects.values():
            record = state.key_of_hash(key_hash)
            if record is not None:
                return record
        return None

    def networks_of(self, project: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the networks that a project is managed from, allowed and denied; none of none."""
        state = self._mirror.projects.get(project)
        if state is None:
            return (), ()
        document = state.record.project
        return document.allowed_networks, document.denied_networks

    def environment(self, project: str, environment: str) -> EnvironmentSnapshot:
        """Return what is current in an environment.

        Raises:
            NotFound: there is no such project or environment.
            Unavailable: nothing has been read yet.
        """
        snapshot = self.project(project).snapshots.get(environment)
        if snapshot is None:
            raise NotFound(
                f"there is no environment {environment[:80]!r} in project {project!r}",
                code="environment_not_found",
            )
        return snapshot

    def deltas(self, project: str, environment: str) -> DeltaLog:
        """Return the last changes of an environment, as it is now: ask again after each change."""
        return self._mirror.deltas(project, environment)

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        """Have a listener told of the project and environment of each change, once it is current.

        None is left out. It must not wait and must not raise.
        """
        self._listeners.append(listener)

    # Writing

    async def commit(self, project: str, build: Callable[[ProjectState], Change]) -> Change:
        """Make a change durable and current here, and return it.

        `build` works out the change from the state as it is, raises an ApiError to refuse, and is
        called again when another replica was faster. It must not wait.

        Raises:
            Conflict: others were faster five times.
            Unavailable: Redis did not answer. The write may still come to be, and is then visible.
        """
        self.project(project)
        asked_at = monotonic()
        try:
            async with (
                asyncio.timeout(self._connections.limits.commit_s) as deadline,
                self._mirror.lock(project),
            ):
                if self._failed_at > asked_at and not self._redis_ok:
                    raise _unavailable()  # for the write before us in line: that wait was ours too
                return await self._commit(project, build, deadline)
        except TimeoutError:
            raise _unavailable() from None
        except RedisError as error:
            logger.warning("a write failed in Redis: %s", error)
            raise _unavailable() from None

    async def create_project(self, document: Project, author: Author) -> ProjectState:
        """Make a project with the default environments, and return it.

        Raises:
            Conflict: there is one of that name.
            Unavailable: Redis did not answer.
        """
        name = document.key
        try:
            async with asyncio.timeout(self._connections.limits.commit_s), self._mirror.lock(name):
                made = new_project(document, author)
                if not await self._store.create(*made):
                    stored = (await self._store.positions([name]))[name]
                    # A command sent again finds the project of its own first attempt.
                    if stored is None or stored.head != made[1]["head"]:
                        raise Conflict(f"there is a project {name!r}", code="project_exists")
                    if not await self._store.settle(name, stored):
                        raise _unavailable()
                await self._mirror.reload(name)
        except (TimeoutError, RedisError):
            raise _unavailable() from None
        return self.project(name)

    async def witness(
        self,
        project: str,
        environment: str,
        epoch: str,
        revision: int,
        published: str = "",
        *,
        key: str = "",
    ) -> None:
        """Take note that a sidecar holds a revision; one ahead of ours means that Redis went back.

        Ahead is a later one of our epoch, or one of another that was `published` after ours: then
        ours was over. That is how a loss is seen when no replica was running that could have seen
        it. The claim is checked against Redis first, so that being a little behind is not taken for
        it; and `key`, the id of that which it came with, is believed a few times at most
        (`claims`), so that no sidecar can make the whole fleet fetch everything without end. Never
        raises.
        """
        claim = (project, environment, epoch, revision, published)
        if not self._is_ahead(*claim) or not self._claims.is_heard(key):
            return
        try:
            async with self._mirror.lock(project):
                await self._mirror.realign(project)
                if not (self._is_ahead(*claim) and self._claims.is_heard(key)):
                    return
                state = self._mirror.projects[project]
                is_impossible = epoch == state.epoch and self._mirror.has_seen_all_of(project)
                if self._claims.believe(project, key, is_impossible=is_impossible):
                    logger.error(
                        "a sidecar with the key %s holds revision %d of %s/%s, epoch %s, which "
                        "Redis has lost",
                        key,
                        revision,
                        project,
                        environment,
                        epoch[:80],
                    )
                    await self._mirror.renew(project, state.epoch, later_than=published)
        except RedisError as error:
            logger.warning("what a sidecar holds could not be checked: %s", error)

    # Asking Redis

    async def history(self, project: str, key: str, start: int, count: int) -> list[HistoryEntry]:
        """Return versions of a flag, newest first, from a position on; none for an unknown key.

        Raises:
            NotFound: there is no such project; Unavailable: Redis did not answer.
        """
        self.project(project)
        try:
            entries = await self._store.history(project, key, start, count)
        except RedisError:
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        return [decode_history(entry) for entry in entries]

    async def units(self, project: str, digests: Iterable[str]) -> dict[str, bytes]:
        """Return the units of blobs as they are stored; those that are not there are left out.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            return await self._store.units(project, digests)
        except RedisError:
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None

    async def catch_up(self, project: str) -> None:
        """Get to where Redis stands now, without waiting for the change log.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            async with (
                asyncio.timeout(self._connections.limits.commit_s),
                self._mirror.lock(project),
            ):
                await self._mirror.realign(project)
        except (TimeoutError, RedisError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None

    async def last_version(self, project: str, key: str) -> int:
        """Return the version a flag of this key has or had when it was deleted; 0 for neither."""
        state = self.project(project)
        if key in state.flags:
            return state.flags[key].version
        newest = await self.history(project, key, 0, 1)
        return newest[0].version if newest else 0

    # Life

    async def __aenter__(self) -> Self:
        self._mirror.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._mirror.stop()
        await self._connections.close()

    # Writing, inside

    async def _commit(
        self, name: str, build: Callable[[ProjectState], Change], deadline: asyncio.Timeout
    ) -> Change:
        attempts = 0
        allowed = _ATTEMPTS
        while attempts < allowed:
            attempts += 1
            if name in self._mirror.gone:
                raise Unavailable(f"project {name!r} is not in Redis; it has to be restored")
            if name in self._mirror.unreadable:
                raise Unavailable(f"what Redis holds of project {name!r} cannot be read here")
            state = self._mirror.projects[name]
            change = build(state)
            if not change.edits:
                # it may be there since a write that had no answer, or not there any more
                if await self._store.settle(name, position_of(state)):
                    return change
                await self._mirror.realign(name)
                continue
            await run_in_slices(check_scope(state, change))  # the lock keeps the state
            work = prepare_commit(state, change)
            is_small = _is_small(change)
            if is_small:
                prepared, step, commit = finish(work)
            else:
                allowed = _ATTEMPTS_LARGE
                prepared, step, commit = await run_in_slices(work)
                # The deadline is for Redis; our own work is as long as the change is large.
                now = asyncio.get_running_loop().time()
                deadline.reschedule(now + self._connections.limits.large_s)
            if await self._store.commit(name, commit):
                if not is_small:
                    deadline.reschedule(None)  # it is done; to apply it takes as long as it takes
                await self._mirror.apply(state, prepared, step)
                return change
            await self._mirror.realign(name)
            if await self._was_done(name, step):
                here = position_of(self._mirror.projects[name])
                if await self._store.settle(name, here):
                    return change
            self.conflicts += 1
        raise Conflict("others changed the project meanwhile, again and again", code="contended")

    async def _was_done(self, name: str, step: Step) -> bool:
        """Return whether a step that Redis refused had been done before.

        A command sent again finds its own first attempt, whose answer was lost: then our head is
        there, or others went on from it already.
        """
        state = self._mirror.projects[name]
        if state.sequence <= step.sequence:
            return state.head == step.head
        changes = await self._store.changes(name, step.sequence - 1, 1)
        return any(decode_change(data).head == step.head for _, data in changes)

    # Small things

    def _changed(self, project: str, environment: str) -> None:
        for listener in self._listeners:
            listener(project, environment)

    def _is_ahead(
        self, project: str, environment: str, epoch: str, revision: int, published: str
    ) -> bool:
        state = self._mirror.projects.get(project)
        if state is None or environment not in state.snapshots:
            return False
        snapshot = state.snapshots[environment]
        if state.epoch == epoch:
            return revision > snapshot.revision
        return snapshot.published.at < published <= just_after(now_rfc3339(), _CLOCKS_APART)

    def _observed(self, command: str, seconds: float, succeeded: bool) -> None:
        if not succeeded:
            self.redis_errors += 1
            self._failed_at = monotonic()
        self._redis_ok = succeeded
        if self._observe is not None:
            self._observe(command, seconds, succeeded)


def prepare_commit(
    state: ProjectState, change: Change
) -> Generator[None, None, tuple[Prepared, Step, Commit]]:
    """Return a change prepared, where it leads to and the step that makes it durable."""
    blobs = {digest: blob.hashes for digest, blob in change.blobs.items()}
    prepared = yield from state.prepare(change.edits, blobs)
    yield from _check_sizes(state, prepared)
    audit = yield from audited(state, change)
    step = state.next_step(prepared, link(state.head, audit), change.at)
    return prepared, step, (yield from commit_of(state, change, prepared, step, audit))


def _is_small(change: Change) -> bool:
    """Return whether a change is worked out so fast that slices would only cost."""
    makes_environment = any(edit.kind is RecordKind.ENVIRONMENT for edit in change.edits)
    written = sum(len(blob.units) for blob in change.blobs.values())
    few = len(change.edits) <= SMALL_EDITS and written <= _SMALL_BYTES
    return few and not makes_environment


def _check_sizes(state: ProjectState, prepared: Prepared) -> Steps[None]:
    """Refuse a change that makes snapshots too large, or such as are too large larger."""
    sizes = {name: (0, made.size) for name, made in prepared.snapshots.items()}
    for name, lines in prepared.lines.items():
        snapshot = state.snapshots[name]
        sizes[name] = (snapshot.size, (yield from snapshot.size_after(lines)))
    grown = [
        f"the snapshot of {name!r} would have {after} bytes, it has {before}"
        for name, (before, after) in sizes.items()
        if after > max(before, MAX_PUBLISHED_BYTES)
    ]
    if grown:
        raise Invalid(
            f"{'; '.join(grown)}; at most {MAX_PUBLISHED_BYTES} are published: "
            "make values smaller, or archive flags that nobody asks for",
            code="snapshot_too_large",
        )


def _unavailable() -> ApiError:
    return Unavailable(
        "Redis does not answer; the change may or may not have been stored, read it back",
        code="redis_unavailable",
    )
