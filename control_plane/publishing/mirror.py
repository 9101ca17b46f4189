"""The copy of all projects, and how it stays right. Knows nothing of who reads or writes it.

- `_follow` waits on the change logs of all projects and applies what other replicas did. A change
  that does not follow on what is here (a gap, another head), or says so itself, means reading
  everything again, aside, and then swapping one reference.
- `_verify`, at least every second, compares where each project stands in Redis with where it
  stands here, because a change log alone cannot tell that Redis went back: to a backup, or to what
  it had on disk. Behind us, or at our sequence with another head, it lost what was acknowledged.
  Redis is the truth, so we take what it has, and give it a new epoch, so that sidecars, which
  refuse an older revision, take it too. All replicas may see this; one of them is first. So it is
  when what Redis has is of another epoch and was published before what is here.
- A project that is gone altogether is served on, with growing age, and not written: emptiness is
  never published in the place of flags. One that cannot be read stays as it was, with growing age;
  until it can be it is not followed, only looked at by `_verify`, so as to hold up no other.
- Of each environment the last changes are logged as deltas; reading everything begins the log anew.
- Whatever changes a project here holds its lock, so that what is compared stands still.
- The blobs of long lists are there before a state that names them is: read from Redis unless held
  already. One that is not there belonged to a list that was changed since, which the log or a
  second reading shows; or Redis lost it, and then the segment is unusable and the log is loud.
- A failure of any kind is counted, logged and tried again soon, with jitter.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from time import monotonic

from control_plane.audit.chain import link
from control_plane.audit.model import Author
from control_plane.environments.model import Project
from control_plane.publishing.changes import (
    ANY_HEAD,
    audit_entry,
    decode_change,
    edits_of,
    just_after,
    load_project,
    new_project,
    position_of,
    reload_message,
)
from control_plane.publishing.deltas import DeltaLog
from control_plane.publishing.signing import Sign, unsigned
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import Change, Prepared, ProjectState, Step, StoredDataError
from control_plane.publishing.units import blob_of
from control_plane.repeats import Repeats
from control_plane.store.connection import RedisError
from control_plane.store.projects import Position, ProjectStore
from control_plane.supervise import Failed, stop, supervise, unnoted
from control_plane.times import now_rfc3339

__all__ = ["DEFAULT_PROJECT", "SMALL_EDITS", "Mirror"]

logger = logging.getLogger(__name__)

DEFAULT_PROJECT = "default"

SMALL_EDITS = 100
"""More are worked out and applied in slices; so many take some 5 ms."""

_VERIFY_S = 1.0  # between two looks at where Redis stands
_BACKOFF_S = 0.1, 2.0  # after a failure, full jitter; replicas are few and Redis is near
_GAP_S = 10 * _VERIFY_S  # without a look; a Redis that goes back takes its connections along
_RENEWALS = 5  # tried while others write
_READINGS = 5  # of a project whose lists change while they are read
_BLOBS_AT_ONCE = 16  # read from Redis: 2 MB
_SYSTEM = Author("system", "")


class Mirror:
    """All projects of a store, in memory. `start` it once, and `stop` it."""

    def __init__(
        self,
        store: ProjectStore,
        changed: Callable[[str, str], None],
        sign: Sign = unsigned,
        failed: Failed = unnoted,
    ) -> None:
        # Process
        self._store = store
        self._sign = sign
        self._failed = failed
        self._unfollowed = Repeats(logger, "Redis cannot be followed")
        self._changed = changed
        self._locks: dict[str, asyncio.Lock] = {}
        self._task: asyncio.Task[None] | None = None
        self.loaded = asyncio.Event()
        """Set once all projects have been read; it stays so while Redis is away."""
        # Projects
        self.projects: dict[str, ProjectState] = {}
        self.gone: set[str] = set()
        """Held here, and not in Redis any more."""
        self.unreadable: set[str] = set()
        """What is in Redis cannot be read; held here as it was before, if it was."""
        self._verified: dict[str, float] = {}
        self._unbroken: set[str] = set()  # followed without a gap since they were last confirmed
        self._watched: dict[str, str] = {}  # epochs that were seen to begin, and followed since
        self._own_epochs: dict[str, str] = {}
        self._deltas: dict[tuple[str, str], DeltaLog] = {}
        # Figures
        self.latency_s: float | None = None
        self.reloads = 0
        self.epochs_renewed = 0
        self.blobs_read = 0
        self.failures = 0

    def start(self) -> None:
        """Begin to load and to follow."""
        work = supervise("mirror", self._run, self._failed)
        self._task = asyncio.create_task(work, name="mirror")

    async def stop(self) -> None:
        """End following; what is held stays."""
        await stop(self._task)

    def lock(self, name: str) -> asyncio.Lock:
        """Return what is to be held by whoever changes a project here."""
        return self._locks.setdefault(name, asyncio.Lock())

    def verified_age_ms(self, project: str | None = None) -> int:
        """Return how long ago Redis last confirmed a project, or the one it is longest for."""
        times = [self._verified[project]] if project in self._verified else self._verified.values()
        return int((monotonic() - min(times, default=monotonic())) * 1000)

    def has_seen_all_of(self, name: str) -> bool:
        """Return whether all there ever was of a project's epoch was seen here: it began before
        our eyes, and Redis was looked at ever since without a gap.
        """
        state = self.projects.get(name)
        return state is not None and self._watched.get(name) == state.epoch

    def deltas(self, name: str, environment: str) -> DeltaLog:
        """Return the log of an environment's last changes."""
        return self._deltas.setdefault((name, environment), DeltaLog())

    async def apply(self, state: ProjectState, prepared: Prepared, step: Step) -> None:
        """Make a prepared change current, and say where; the caller holds the lock.

        A large one is made current in a state aside, in slices, and that swapped in.
        """
        before = {name: state.snapshots[name].pointer() for name in prepared.lines}
        if len(prepared.edits) > SMALL_EDITS:
            self.projects[state.name] = await run_in_slices(state.after(prepared, step))
        else:
            state.apply(prepared, step)
        snapshots = self.projects[state.name].snapshots
        for environment, changes in prepared.lines.items():
            header = snapshots[environment].header()
            self.deltas(state.name, environment).add(before[environment], header, changes)
        for environment in prepared.affected():
            self._changed(state.name, environment)

    async def realign(self, name: str) -> None:
        """Get from where we stand to where Redis stands; the caller holds the lock."""
        started = monotonic()
        self._note_gap(name, started)
        stored = (await self._store.positions([name]))[name]
        here = self._position(name)
        if stored is None:
            self._miss(name)
            return
        if here is None or here.epoch != stored.epoch:
            await self.reload(name)
        elif stored.sequence > here.sequence:
            await self._take(name, await self._store.changes(name, here.sequence))
            if self.projects[name].sequence < stored.sequence:
                await self.reload(name)  # the log does not reach back to where we are
        elif stored != here:
            logger.error(
                "Redis went back: %s was at change %d here and is at %d there; taking what it has",
                name,
                here.sequence,
                stored.sequence,
            )
            await self.renew(name, here.epoch)
        self._confirm(name, started)

    async def reload(self, name: str) -> None:
        """Read a project again, aside, and swap it in; the caller holds the lock."""
        before = self.projects.get(name)
        blobs = {} if before is None else dict(before.blobs)
        for _ in range(_READINGS):
            stored = await self._store.load(name)
            if stored is None:
                self._miss(name)
                return
            state = await run_in_slices(load_project(name, stored, self._sign))
            blobs |= await self._read_blobs(name, state.lacking() - blobs.keys())
            state.take_blobs(blobs)
            if not state.lacking():
                break
            if (await self._store.positions([name]))[name] == position_of(state):
                break  # nobody has changed the lists since: the data is not there
        if before is not None and _is_earlier(state, before):
            logger.error(
                "Redis went back: %s was published later here, and in another epoch; "
                "taking what it has",
                name,
            )
            await self.renew(name, state.epoch)
            return
        self._report_lost(state)
        is_new = before is not None and before.epoch != state.epoch
        if is_new and (name in self._unbroken or self._own_epochs.get(name) == state.epoch):
            self._watched[name] = state.epoch
        if name in self.projects:
            self.reloads += 1
        self.projects[name] = state
        for logged in [logged for logged in self._deltas if logged[0] == name]:
            del self._deltas[logged]
        for environment in state.snapshots:
            self._changed(name, environment)

    async def renew(self, name: str, epoch: str, *, later_than: str = "") -> None:
        """Replace an epoch, unless another replica just did, and take what Redis has.

        It is published later than anything that was published before, `later_than` included:
        sidecars that verify signatures tell by the time which of two epochs came first.
        """
        renewed = secrets.token_hex(8)
        for _ in range(_RENEWALS):
            before = (await self._store.positions([name]))[name]
            if before is None or before.epoch != epoch:
                break
            change = Change("epoch.renew", _SYSTEM, self._after_all(name, later_than))
            audit = audit_entry(name, change, before.sequence + 1)
            after = Position(renewed, before.sequence + 1, link(before.head, audit))
            message = reload_message(ANY_HEAD, after.head, change.at)
            if await self._store.renew(name, before, after, message, audit, change.at):
                self.epochs_renewed += 1
                self._own_epochs[name] = renewed
                logger.warning("project %s has the new epoch %s", name, renewed)
                break
        await self.reload(name)

    async def _run(self) -> None:
        """Keep the copy current, for ever: whatever fails is tried again."""
        failed = 0
        while True:
            try:
                if not self.loaded.is_set():
                    await self._load_all()
                await self._verify()
                await self._follow()
                failed = 0
            except Exception as error:  # any: a loop that ends silently is the worst failure
                self.failures += 1
                self._unbroken.clear()
                self._watched.clear()
                failed = min(failed + 1, 10)
                if isinstance(error, RedisError):
                    self._unfollowed.warn(error)
                else:
                    logger.exception("following Redis failed")
                    self._failed("mirror", error)
                first, most = _BACKOFF_S
                await asyncio.sleep(random.uniform(0.01, min(most, first * 2**failed)))  # noqa: S311 - spreads retries, guards nothing

    async def _load_all(self) -> None:
        started = monotonic()
        stored = await self._store.positions([DEFAULT_PROJECT])
        self.latency_s = monotonic() - started
        if stored[DEFAULT_PROJECT] is None:
            await self._store.create(*new_project(Project(DEFAULT_PROJECT), _SYSTEM))
        for name in sorted(await self._store.names()):
            await self._try(name, partial(self.realign, name))
        self.loaded.set()

    async def _try(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Bring a project up to date; note whether what is in Redis can be read."""
        try:
            async with self.lock(name):
                await work()
        except StoredDataError:
            self.failures += 1
            if name not in self.unreadable:
                self.unreadable.add(name)
                logger.exception("project %s cannot be read", name)
        else:
            self.unreadable.discard(name)

    async def _follow(self) -> None:
        """Apply what comes until it is time to look where Redis stands."""
        until = monotonic() + _VERIFY_S
        while (left_s := until - monotonic()) > 0:
            after = {
                name: state.sequence
                for name, state in self.projects.items()
                if name not in self.unreadable
            }
            if not after:
                await asyncio.sleep(_VERIFY_S)
                continue
            for name, changes in (await self._store.follow(after, left_s)).items():
                await self._try(name, partial(self._take, name, changes))

    async def _verify(self) -> None:
        """Compare where projects stand in Redis with where they stand here, and mend it."""
        started = monotonic()
        stored = await self._store.positions(await self._store.names() | self.projects.keys())
        self.latency_s = monotonic() - started
        for name, position in stored.items():
            if position is not None and position == self._position(name):
                self._note_gap(name, started)
                self._confirm(name, started)
            else:
                # It may be that we are in the middle of a step: look again when nothing moves.
                await self._try(name, partial(self.realign, name))

    async def _take(self, name: str, changes: list[tuple[int, bytes]]) -> None:
        """Apply changes of the log that are new here, or read everything; the lock is held."""
        for sequence, data in changes:
            state = self.projects[name]
            if sequence < state.sequence:
                continue
            message = decode_change(data)
            if sequence == state.sequence and message.head == state.head:
                continue
            next_one = sequence == state.sequence + 1
            if next_one and message.previous == state.head and not message.reload:
                edits = edits_of(message)
                wanted = state.lacking(edits)
                blobs = await self._read_blobs(name, wanted)
                missing = wanted - blobs.keys()
                if missing and not missing <= state.lacking():
                    await self.reload(name)  # of a list that has changed again, most likely
                    continue
                prepared = await run_in_slices(state.prepare(edits, blobs))
                await self.apply(state, prepared, message.step(sequence))
            elif sequence == state.sequence or (next_one and message.diverges_from(state.head)):
                logger.error("Redis went back: change %d of %s is another", sequence, name)
                await self.renew(name, state.epoch)
            else:
                await self.reload(name)

    async def _read_blobs(self, name: str, wanted: Collection[str]) -> dict[str, bytes]:
        """Return blobs by their digests, without those that Redis does not have, or not whole."""
        found: dict[str, bytes] = {}
        order = sorted(wanted)
        for start in range(0, len(order), _BLOBS_AT_ONCE):
            stored = await self._store.units(name, order[start : start + _BLOBS_AT_ONCE])
            for digest, data in stored.items():
                blob = await run_in_slices(blob_of(digest, data))
                if blob is not None:
                    found[digest] = blob
                    self.blobs_read += 1
        return found

    def _after_all(self, name: str, later_than: str) -> str:
        """Return the time now, or, by a clock that is behind, one after all that is known here."""
        state = self.projects.get(name)
        snapshots = state.snapshots.values() if state is not None else ()
        known = [later_than, *(each.published.at for each in snapshots)]
        return max(now_rfc3339(), *map(just_after, known))

    def _report_lost(self, state: ProjectState) -> None:
        lost = state.incomplete_segments()
        if lost:
            logger.error(
                "units of %d segments of project %s are not in Redis: %s; flags that name them "
                "fail in sidecars that do not have them yet, until these lists are put again",
                len(lost),
                state.name,
                ", ".join(lost[:20]),
            )

    def _miss(self, name: str) -> None:
        if name in self.projects and name not in self.gone:
            self.gone.add(name)
            logger.error(
                "project %s is not in Redis any more; it is served from memory until it is "
                "restored, or this process is restarted",
                name,
            )

    def _note_gap(self, name: str, at: float) -> None:
        """Take note that Redis was not looked at for a while: what was lost then nobody saw."""
        if at - self._verified.get(name, at) > _GAP_S:
            self._unbroken.discard(name)
            self._watched.pop(name, None)

    def _confirm(self, name: str, at: float) -> None:
        self._verified[name] = at
        self._unbroken.add(name)
        self.gone.discard(name)

    def _position(self, name: str) -> Position | None:
        state = self.projects.get(name)
        return None if state is None else position_of(state)


def _is_earlier(state: ProjectState, before: ProjectState) -> bool:
    """Return whether a state is of an epoch that was over when another state came to be.

    A backup may be older than the last new epoch. One that began after our state has published
    everything after it, see `Mirror.renew`.
    """
    if state.epoch == before.epoch:
        return False
    known = before.snapshots
    return any(
        snapshot.published.at < known[environment].published.at
        for environment, snapshot in state.snapshots.items()
        if environment in known
    )
