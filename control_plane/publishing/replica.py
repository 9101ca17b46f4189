"""The full copy of all projects that one control-plane process holds, and its way to change them.

Reads are from memory and go on while Redis is away. A write is worked out against memory, made
durable in one atomic step that Redis refuses when the project has moved meanwhile, and applied
here before it returns, so whoever wrote reads what was written.

How the copy stays right:
- `_follow` waits on the change logs of all projects and applies what other replicas did. A change
  that does not follow on what is here (a gap, another head), or says so itself, means reading
  everything again, aside, and then swapping one reference.
- `_verify`, at least every second, compares where each project stands in Redis with where it
  stands here, because a change log alone cannot tell that Redis went back: to a backup, or to what
  it had on disk. Behind us, or at our sequence with another head, it lost what was acknowledged.
  Redis is the truth, so we take what it has, and give it a new epoch, so that sidecars, which
  refuse an older revision, take it too. All replicas may see this; one of them is first.
- Whatever changes a project here holds its lock, so that what is compared stands still.
- A project that is gone altogether is served on, with growing age, and not written: emptiness is
  never published in the place of flags.
- A failure of any kind is counted, logged and tried again soon, with jitter.

Errors: `commit` raises what its builder raises, `Conflict` after losing too many races, and
`Unavailable`, in bounded time, when Redis cannot be asked.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Self

from control_plane.access.model import KeyRecord
from control_plane.audit.model import Author, HistoryEntry
from control_plane.environments.model import (
    Environment,
    EnvironmentRecord,
    Project,
)
from control_plane.errors import ApiError, Conflict, Invalid, NotFound, Unavailable
from control_plane.publishing.changes import (
    audit_entry,
    commit_of,
    decode_change,
    decode_history,
    edits_of,
    load_project,
    position_of,
    reload_message,
)
from control_plane.publishing.slices import finish, run_in_slices
from control_plane.publishing.state import (
    Change,
    Prepared,
    ProjectState,
    RecordKind,
    Step,
    encode_record,
)
from control_plane.publishing.subscriptions import Subscription, Subscriptions
from control_plane.store.connection import Connections, Observer, RedisError, RedisLimits
from control_plane.store.keys import SCHEMA
from control_plane.store.projects import Commit, Position, ProjectStore
from proxy.contract.definitions import DEFAULT_ENVIRONMENTS
from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES
from proxy.contract.sync import SnapshotPointer

__all__ = ["DEFAULT_PROJECT", "MAX_PUBLISHED_BYTES", "Replica", "now_rfc3339"]

logger = logging.getLogger(__name__)

DEFAULT_PROJECT = "default"

MAX_PUBLISHED_BYTES = MAX_SNAPSHOT_BYTES // 2
"""Largest snapshot published: half of what sidecars read, so that theirs can be older."""

_ATTEMPTS = 5  # at a write that loses races, before it is a conflict
_VERIFY_S = 1.0  # between two looks at where Redis stands
_BACKOFF_S = 0.1, 2.0  # after a failure, full jitter; replicas are few and Redis is near
_SMALL_EDITS = 100  # more are worked out in slices; 100 take some 5 ms
_WITNESS_S = 60.0  # between two epochs that are renewed for what a sidecar claims
_SYSTEM = Author("system", "")


def now_rfc3339() -> str:
    """Return the time now, in UTC with milliseconds, as all records carry it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
    ) -> None:
        # Process
        self._connections = Connections(redis_url, limits or RedisLimits(), self._observed)
        self._observe = observe
        self._store = ProjectStore(self._connections)
        self._projects: dict[str, ProjectState] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._subscriptions = Subscriptions()
        self._loaded = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # What is known of Redis
        self._redis_ok = False
        self._latency_s: float | None = None
        self._verified: dict[str, float] = {}
        self._gone: set[str] = set()
        self._witnessed_at = -_WITNESS_S
        # Counters, for metrics
        self.redis_errors = 0
        self.conflicts = 0
        self.reloads = 0
        self.epochs_renewed = 0
        self.failures = 0

    # Reading

    @property
    def projects(self) -> Mapping[str, ProjectState]:
        """The projects by name. A state may be replaced by another when it is read again."""
        return self._projects

    @property
    def loaded(self) -> bool:
        """Whether all projects have been read once; it stays so while Redis is away."""
        return self._loaded.is_set()

    @property
    def redis_ok(self) -> bool:
        """Whether the last command to Redis succeeded."""
        return self._redis_ok

    @property
    def redis_latency_s(self) -> float | None:
        """How long the last look at all projects took in Redis; None when Redis is away."""
        return self._latency_s if self._redis_ok else None

    @property
    def store(self) -> ProjectStore:
        """The projects in Redis, for what is not held in memory."""
        return self._store

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return self._subscriptions.count()

    async def wait_loaded(self, timeout_s: float) -> bool:
        """Return whether everything has been read, waiting so long at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._loaded.wait(), timeout_s)
        return self.loaded

    def project(self, name: str) -> ProjectState:
        """Return a project.

        Raises:
            NotFound: there is none of that name.
            Unavailable: nothing has been read yet.
        """
        state = self._projects.get(name)
        if state is not None:
            return state
        if not self.loaded:
            raise Unavailable("the definitions have not been read from Redis yet")
        raise NotFound(f"there is no project {name[:80]!r}", code="project_not_found")

    def verified_age_ms(self, project: str | None = None) -> int:
        """Return how long ago Redis last confirmed what is held, of one project or of the oldest.

        Before anything was read it is 0: there is nothing to be older than.
        """
        times = [self._verified[project]] if project in self._verified else self._verified.values()
        return int((monotonic() - min(times, default=monotonic())) * 1000)

    def find_key(self, key_hash: str) -> KeyRecord | None:
        """Return the key with this hash, from memory. Whether it has expired is not looked at."""
        for state in self._projects.values():
            record = state.key_of_hash(key_hash)
            if record is not None:
                return record
        return None

    def subscribe(
        self, project: str, environment: str, seen: SnapshotPointer | None = None
    ) -> Subscription:
        """Return a subscription to an environment's revisions after `seen`.

        Raises:
            NotFound: there is no such project or environment.
        """
        if environment not in self.project(project).snapshots:
            raise NotFound(
                f"there is no environment {environment[:80]!r} in project {project!r}",
                code="environment_not_found",
            )

        def current() -> SnapshotPointer:
            return self._projects[project].snapshots[environment].pointer()

        return self._subscriptions.open(project, environment, current, seen)

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
        try:
            async with (
                asyncio.timeout(self._connections.limits.commit_s) as deadline,
                self._lock(project),
            ):
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
            async with asyncio.timeout(self._connections.limits.commit_s), self._lock(name):
                if not await self._create(document, author):
                    raise Conflict(f"there is a project {name!r}", code="project_exists")
                await self._reload(name)
        except (TimeoutError, RedisError):
            raise _unavailable() from None
        return self.project(name)

    async def witness(self, project: str, environment: str, epoch: str, revision: int) -> None:
        """Take note that a sidecar holds a revision; one ahead of ours means that Redis went back.

        That is how a loss is seen when no replica was running that could have seen it. The claim is
        checked against Redis first, so that being a little behind is not taken for it; and epochs
        are renewed so once a minute at most, so that a faulty sidecar cannot make the whole fleet
        fetch everything without end. Never raises.
        """
        if not self._is_ahead(project, environment, epoch, revision):
            return
        try:
            async with self._lock(project):
                await self._realign(project)
                if self._is_ahead(project, environment, epoch, revision):
                    if monotonic() - self._witnessed_at < _WITNESS_S:
                        return
                    self._witnessed_at = monotonic()
                    logger.error(
                        "a sidecar holds revision %d of %s/%s, which Redis has lost",
                        revision,
                        project,
                        environment,
                    )
                    await self._renew(project, epoch)
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

    async def last_version(self, project: str, key: str) -> int:
        """Return the version a flag of this key has or had when it was deleted; 0 for neither."""
        state = self.project(project)
        if key in state.flags:
            return state.flags[key].version
        newest = await self.history(project, key, 0, 1)
        return newest[0].version if newest else 0

    # Life

    async def __aenter__(self) -> Self:
        self._start_following()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop_following()
        await self._connections.close()

    def _start_following(self) -> None:
        self._task = asyncio.create_task(self._run(), name="replica")

    async def _stop_following(self) -> None:
        while self._task is not None and not self._task.done():
            # Again, because what is awaited may finish in that moment and swallow it
            # (asyncio.wait_for of Python 3.11 does).
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.1)

    async def _run(self) -> None:
        """Keep the copy current, for ever: whatever fails is tried again."""
        failed = 0
        while True:
            try:
                if not self.loaded:
                    await self._load_all()
                await self._verify()
                await self._follow()
                failed = 0
            except Exception as error:  # any: a loop that ends silently is the worst failure
                self.failures += 1
                failed = min(failed + 1, 10)
                if isinstance(error, RedisError):
                    logger.warning("Redis cannot be followed: %s", error)
                else:
                    logger.exception("following Redis failed")
                first, most = _BACKOFF_S
                await asyncio.sleep(random.uniform(0.01, min(most, first * 2**failed)))  # noqa: S311 - spreads retries, guards nothing

    async def _load_all(self) -> None:
        if (await self._store.positions([DEFAULT_PROJECT]))[DEFAULT_PROJECT] is None:
            await self._create(Project(key=DEFAULT_PROJECT), _SYSTEM)
        for name in sorted(await self._store.names()):
            async with self._lock(name):
                await self._reload(name)
        self._loaded.set()

    # Following

    async def _follow(self) -> None:
        """Apply what comes until it is time to look where Redis stands."""
        until = monotonic() + _VERIFY_S
        while monotonic() < until:
            after = {name: state.sequence for name, state in self._projects.items()}
            for name, changes in (await self._store.follow(after)).items():
                async with self._lock(name):
                    await self._take(name, changes)

    async def _verify(self) -> None:
        """Compare where projects stand in Redis with where they stand here, and mend it."""
        started = monotonic()
        stored = await self._store.positions(await self._store.names() | self._projects.keys())
        self._latency_s = monotonic() - started
        for name, position in stored.items():
            if position is not None and position == self._position(name):
                self._confirm(name, started)
            else:
                # It may be that we are in the middle of a step: look again when nothing moves.
                async with self._lock(name):
                    await self._realign(name)

    async def _realign(self, name: str) -> None:
        """Get from where we stand to where Redis stands; the caller holds the lock."""
        started = monotonic()
        stored = (await self._store.positions([name]))[name]
        here = self._position(name)
        if stored is None:
            self._miss(name)
            return
        if here is None or here.epoch != stored.epoch:
            await self._reload(name)
        elif stored.sequence > here.sequence:
            await self._take(name, await self._store.changes(name, here.sequence))
            if self._projects[name].sequence < stored.sequence:
                await self._reload(name)  # the log does not reach back to where we are
        elif stored != here:
            logger.error(
                "Redis went back: %s was at change %d here and is at %d there; taking what it has",
                name,
                here.sequence,
                stored.sequence,
            )
            await self._renew(name, here.epoch)
        self._confirm(name, started)

    async def _take(self, name: str, changes: list[tuple[int, bytes]]) -> None:
        """Apply changes of the log that are new here, or read everything; the lock is held."""
        for sequence, data in changes:
            state = self._projects[name]
            if sequence < state.sequence:
                continue
            message = decode_change(data)
            if sequence == state.sequence and message.head == state.head:
                continue
            next_one = sequence == state.sequence + 1
            if next_one and message.previous == state.head and not message.reload:
                prepared = await run_in_slices(state.prepare(edits_of(message)))
                self._apply(state, prepared, message.step(sequence))
            elif sequence == state.sequence or (next_one and message.diverges_from(state.head)):
                logger.error("Redis went back: change %d of %s is another", sequence, name)
                await self._renew(name, state.epoch)
            else:
                await self._reload(name)

    async def _reload(self, name: str) -> None:
        """Read a project again, aside, and swap it in; the caller holds the lock."""
        stored = await self._store.load(name)
        if stored is None:
            self._miss(name)
            return
        state = await run_in_slices(load_project(name, stored))
        if name in self._projects:
            self.reloads += 1
        self._projects[name] = state
        for environment in state.snapshots:
            self._subscriptions.notify(name, environment)

    async def _renew(self, name: str, epoch: str) -> None:
        """Replace an epoch, unless another replica just did, and take what Redis has."""
        renewed = secrets.token_hex(8)
        change = Change("epoch.renew", _SYSTEM, now_rfc3339())
        head = secrets.token_hex(8)
        message = reload_message("", head, change.at)
        if await self._store.renew(name, epoch, renewed, head, message, audit_entry(change)):
            self.epochs_renewed += 1
            logger.warning("project %s has the new epoch %s", name, renewed)
        await self._reload(name)

    def _miss(self, name: str) -> None:
        if name in self._projects and name not in self._gone:
            self._gone.add(name)
            logger.error(
                "project %s is not in Redis any more; it is served from memory until it is "
                "restored, or this process is restarted",
                name,
            )

    # Writing, inside

    async def _commit(
        self, name: str, build: Callable[[ProjectState], Change], deadline: asyncio.Timeout
    ) -> Change:
        for _ in range(_ATTEMPTS):
            if name in self._gone:
                raise Unavailable(f"project {name!r} is not in Redis; it has to be restored")
            state = self._projects[name]
            change = build(state)
            if not change.edits:
                return change
            work = _prepare_commit(state, change)
            if _is_small(change):
                prepared, step, commit = finish(work)
            else:
                prepared, step, commit = await run_in_slices(work)
                # The deadline is for Redis; our own work is as long as the change is large.
                again = asyncio.get_running_loop().time() + self._connections.limits.commit_s
                deadline.reschedule(again)
            if await self._store.commit(name, commit):
                self._apply(state, prepared, step)
                return change
            await self._realign(name)
            # A command sent again finds its own first attempt done: then our head is there.
            if self._projects[name].head == step.head:
                return change
            self.conflicts += 1
        raise Conflict("others changed the project meanwhile, again and again", code="contended")

    def _apply(self, state: ProjectState, prepared: Prepared, step: Step) -> None:
        state.apply(prepared, step)
        for environment in prepared.affected():
            self._subscriptions.notify(state.name, environment)

    async def _create(self, document: Project, author: Author) -> bool:
        at = now_rfc3339()
        meta = {
            "schema": SCHEMA,
            "epoch": secrets.token_hex(8),
            "sequence": "1",
            "head": secrets.token_hex(8),
            "created_at": at,
            "name": document.name,
            "description": document.description,
        }
        environments = {}
        for key in DEFAULT_ENVIRONMENTS:
            record = EnvironmentRecord(Environment(key), 1, at, at)
            environments[key] = encode_record(record)
            meta |= {f"revision:{key}": "1", f"published_at:{key}": at}
        audit = audit_entry(Change("project.create", author, at))
        return await self._store.create(document.key, meta, environments, audit)

    # Small things

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _confirm(self, name: str, at: float) -> None:
        self._verified[name] = at
        self._gone.discard(name)

    def _position(self, name: str) -> Position | None:
        state = self._projects.get(name)
        return None if state is None else position_of(state)

    def _is_ahead(self, project: str, environment: str, epoch: str, revision: int) -> bool:
        state = self._projects.get(project)
        if state is None or state.epoch != epoch or environment not in state.snapshots:
            return False
        return revision > state.snapshots[environment].revision

    def _observed(self, command: str, seconds: float, succeeded: bool) -> None:
        if not succeeded:
            self.redis_errors += 1
        self._redis_ok = succeeded
        if self._observe is not None:
            self._observe(command, seconds, succeeded)


def _prepare_commit(
    state: ProjectState, change: Change
) -> Generator[None, None, tuple[Prepared, Step, Commit]]:
    """Return a change prepared, where it leads to and the step that makes it durable."""
    prepared = yield from state.prepare(change.edits)
    _check_sizes(state, prepared)
    step = state.next_step(prepared, secrets.token_hex(8), change.at)
    return prepared, step, (yield from commit_of(state, change, prepared, step))


def _is_small(change: Change) -> bool:
    """Return whether a change is worked out so fast that slices would only cost."""
    makes_environment = any(edit.kind is RecordKind.ENVIRONMENT for edit in change.edits)
    return len(change.edits) <= _SMALL_EDITS and not makes_environment


def _check_sizes(state: ProjectState, prepared: Prepared) -> None:
    """Refuse a change that makes a snapshot too large, or one that is too large larger."""
    for name, lines in prepared.lines.items():
        before = state.snapshots[name].size
        after = state.snapshots[name].size_after(lines)
        if after > max(before, MAX_PUBLISHED_BYTES):
            raise Invalid(
                f"the snapshot of {name!r} would have {after} bytes, it has {before}; "
                f"at most {MAX_PUBLISHED_BYTES} are published",
                code="snapshot_too_large",
            )


def _unavailable() -> ApiError:
    return Unavailable(
        "Redis does not answer; the change may or may not have been stored, read it back",
        code="redis_unavailable",
    )
