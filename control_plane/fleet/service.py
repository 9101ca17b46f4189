"""The fleet: hears standings, shares them with other replicas, tells how it stands.

Hearing is from memory into memory. Once a second, and before a question is answered, what was
heard here is written to Redis and what others wrote is read (`_exchange`); while that fails, what
is known here is told, and that it is not all. Sync does not wait for anything here.

Rules:
- What was heard and not written yet stays until it is; of one instance that is the latest alone.
- The environment of a standing is that of the key it came with, so no key reaches another's fleet.
- Which revision is current, and when it was published, comes from the replica's own copy.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from heapq import nlargest
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar

from control_plane.errors import NotFound, TooManyRequests, Unavailable
from control_plane.fleet.model import (
    MAX_INSTANCES,
    MISSING_MS,
    Dropping,
    EnvironmentFleet,
    Filter,
    FleetFigures,
    Heard,
    Listed,
    Place,
    Published,
    Survey,
    Tally,
    bounded,
    surveying,
)
from control_plane.fleet.revisions import Convergence
from control_plane.fleet.store import Environment, FleetStore
from control_plane.publishing.replica import UNVERIFIED_MS, Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.snapshots import EnvironmentSnapshot
from control_plane.store.connection import RedisError
from control_plane.supervise import Failed, stop, supervise, unnoted
from control_plane.times import rfc3339_of_ms
from proxy.contract.fleet import (
    ApplicationStanding,
    Fleet,
    FleetRevisions,
    InstanceStanding,
    LabelStanding,
    RevisionSpread,
    RevisionStanding,
    Standing,
)

__all__ = ["FleetService"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_EXCHANGE_S = 1.0
_PATIENCE_S = 0.5
"""For Redis, of who asks how the fleet stands; then they are told what is known here."""
_COMPLETE_S = 5.0
"""After so long without Redis what other replicas heard is not known any more."""
_FIGURES_S = 5.0
_DROP_S = 30.0
_RETRY_AFTER_S = 300.0
_GROUPS = 50
"""Applications, revisions and values of a label that are told, the largest."""


class FleetService:
    """The sidecars of all environments. An async context manager, entered once."""

    def __init__(
        self,
        replica: Replica,
        store: FleetStore,
        *,
        max_instances: int = MAX_INSTANCES,
        missing_ms: int = MISSING_MS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        failed: Failed = unnoted,
    ) -> None:
        # Process
        self._replica = replica
        self._store = store
        self._max_instances = max_instances
        self._missing_ms = missing_ms
        self._now_ms = now_ms
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._exchanging = asyncio.Lock()
        # Environments
        self._fleets: dict[Environment, EnvironmentFleet] = {}
        self._unwritten: dict[Environment, dict[str, Heard]] = {}
        self._dropped: dict[Environment, list[Dropping]] = {}
        self._displaced: dict[Environment, dict[str, int]] = {}
        self._without_room: dict[Environment, list[Heard]] = {}
        self._current: dict[Environment, tuple[str, int]] = {}  # epoch and revision seen last
        # What was read of Redis
        self._marks: dict[Environment, bytes] = {}
        self._numbers: dict[Environment, int] = {}
        self._exchanged_s: float | None = None
        self._began_s = 0.0
        self._dropped_s = self._figured_s = 0.0
        # Figures
        self.standings: Counter[str] = Counter(
            dict.fromkeys(("taken", "refused", "full", "displaced"), 0)
        )
        self.figures: Mapping[Environment, FleetFigures] = {}

    @property
    def complete(self) -> bool:
        """Whether what other replicas heard is known here too, and what is current."""
        exchanged = self._exchanged_s is not None and monotonic() - self._exchanged_s < _COMPLETE_S
        return exchanged and self._replica.verified_age_ms() < UNVERIFIED_MS

    def hear(self, project: str, environment: str, standing: Standing, key: str = "") -> None:
        """Take a standing of good shape and bounds, that came with the key of this id.

        Raises:
            TooManyRequests: the environment has as many instances as it may have, and the key its
            share of them.
        """
        where = (project, environment)
        fleet = self._fleets.setdefault(where, EnvironmentFleet())
        name = standing.instance
        if fleet.size >= self._max_instances and name not in fleet.instances:
            if standing.leaving:
                return  # nobody here knows it, and who makes names up takes no room by it
            if not self._make_room(where, fleet, key):
                self.standings["full"] += 1
                raise TooManyRequests(
                    f"{self._max_instances} instances are all that is kept of an environment, and "
                    "this key has its share of them",
                    _RETRY_AFTER_S,
                    code="fleet_full",
                )
        heard = Heard(bounded(standing), fleet.heard_at(name, self._now_ms()), key)
        fleet.take(heard)
        self._unwritten.setdefault(where, {})[name] = heard
        self.standings["taken"] += 1

    def _make_room(
        self, where: Environment, fleet: EnvironmentFleet, key: str, more: int = 1
    ) -> bool:
        """Forget who left, or one of the key that has most; return whether there was one."""
        left = fleet.forget_who_left()
        if left is not None:
            self._displaced.setdefault(where, {})[left[0]] = left[1]
            return True
        name = fleet.gives_way(key, more)
        if name is None:
            return False
        self.standings["displaced"] += 1
        self._displaced.setdefault(where, {})[name] = fleet.remove(name).heard_ms
        self._unwritten.get(where, {}).pop(name, None)
        return True

    async def fleet(
        self,
        project: str,
        environment: str,
        *,
        wanted: Filter,
        by: str | None,
        after: Place | None,
        limit: int,
    ) -> tuple[Fleet, Place | None]:
        """Return how the fleet stands, a page of it, and the place where the next page begins.

        Raises:
            NotFound: there is no such project or environment.
        """
        self._snapshot(project, environment)
        await self._catch_up(project)
        snapshot = self._snapshot(project, environment)
        survey = await self._survey(
            snapshot, wanted=wanted, by=by, after=after, limit=limit + 1 if limit else 0
        )
        listed = survey.listed[:limit]
        rest = len(survey.listed) > limit
        return self._told(snapshot, survey, listed), listed[-1].place if rest else None

    async def revisions(self, project: str, environment: str) -> FleetRevisions:
        """Return how the last revisions spread.

        Raises:
            NotFound: there is no such project or environment.
        """
        self._snapshot(project, environment)
        await self._catch_up(project)
        fleet = self._fleets.get((project, environment))
        found = [] if fleet is None else fleet.revisions.newest_first()
        return FleetRevisions(project, environment, self.complete, [_spread(c) for c in found])

    async def __aenter__(self) -> Self:
        for name, state in self._replica.projects.items():
            for environment in state.snapshots:
                self._changed(name, environment)
        self._replica.on_change(self._changed)
        work = supervise("fleet", self._run, self._failed)
        self._task = asyncio.create_task(work, name="fleet")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await stop(self._task)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._write()  # what others could not know otherwise
        except (RedisError, TimeoutError):
            logger.warning("what sidecars told in the last moment is not shared: no Redis")

    def _changed(self, project: str, environment: str) -> None:
        """Begin to count who serves a revision that is new."""
        snapshot = self._replica.projects[project].snapshots[environment]
        where, stamp = (project, environment), (snapshot.epoch, snapshot.revision)
        before = self._current.get(where)
        self._current[where] = stamp
        if before is None or before == stamp:
            return
        fleet = self._fleets.setdefault(where, EnvironmentFleet())
        fleet.published(snapshot.pointer(), _ms(snapshot.published.at), self._now_ms())

    def _snapshot(self, project: str, environment: str) -> EnvironmentSnapshot:
        snapshot = self._replica.project(project).snapshots.get(environment)
        if snapshot is None:
            raise NotFound(
                f"there is no environment {environment[:80]!r} in project {project!r}",
                code="environment_not_found",
            )
        return snapshot

    # Between replicas

    async def _run(self) -> None:
        """Exchange for ever, and look at what follows; a Redis that is away is asked again."""
        failing = False
        while True:
            await asyncio.sleep(_EXCHANGE_S)
            try:
                await self._exchange()
                failing = False
            except RedisError as error:
                if not failing:
                    logger.warning("the fleet is known here only: %s", error)
                failing = True
            await self._look()

    async def _catch_up(self, project: str) -> None:
        """Exchange before an answer, but do not wait for a Redis that is away.

        What another replica published a moment ago is current too: who published it, and asks
        whether it is everywhere, may have been answered by that one.
        """
        with suppress(RedisError, Unavailable, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._replica.catch_up(project)
                await self._exchange()

    async def _exchange(self) -> None:
        """Write what was heard here, read what was heard elsewhere; once for all who ask meanwhile.

        Raises:
            RedisError: as far as it came is fine, the rest is for the next time.
        """
        asked_s = monotonic()
        async with self._exchanging:
            if self._began_s > asked_s:
                return
            self._began_s = monotonic()
            await self._write()
            await self._read()
            self._find_room()
            self._exchanged_s = monotonic()

    async def _write(self) -> None:
        for where in self._displaced | self._unwritten:
            # both at once: who is heard meanwhile, and whom they displace, are for the next time
            displaced, heard = self._displaced.pop(where, {}), self._unwritten.pop(where, {})
            try:
                if displaced:  # first: there is no room for others before
                    await self._store.drop(where, list(displaced), max(displaced.values()))
                full = await self._store.write(where, list(heard.values())) if heard else []
            except BaseException:
                later = self._displaced.get(where, {})
                again = {name: each for name, each in heard.items() if name not in later}
                self._displaced[where] = displaced | later
                self._unwritten[where] = again | self._unwritten.get(where, {})
                raise
            if full:
                self._without_room[where] = [heard[name] for name in full]
        for where in list(self._dropped):
            for dropping in self._dropped[where]:
                await self._store.drop(where, dropping.names, dropping.until_ms)
            del self._dropped[where]
        for where, fleet in list(self._fleets.items()):
            spread = list(fleet.revisions.unwritten())
            if not spread:
                continue
            try:
                await self._store.write_spread(where, spread)
            except BaseException:
                fleet.revisions.write_again()
                raise

    async def _read(self) -> None:
        for where, mark in (await self._store.marks()).items():
            if self._marks.get(where) == mark or not self._is_served(where):
                continue
            fleet = self._fleets.setdefault(where, EnvironmentFleet())
            more = True
            while more:
                news = await self._store.read(where, self._numbers.get(where, 0))
                self._numbers[where] = news.number
                for heard in news.heard:
                    self._take(fleet, heard)
                more = news.more
            old = fleet.revisions.take_stored(await self._store.read_spread(where))
            if old:
                await self._store.drop_spread(where, old)
            self._marks[where] = mark

    def _find_room(self) -> None:
        """Make room for what was heard before it was known here that there is none."""
        for where in list(self._without_room):
            fleet, left = self._fleets[where], 0
            for heard in self._without_room.pop(where):
                name = heard.standing.instance
                if fleet.instances.get(name) is not heard:
                    continue
                if self._make_room(where, fleet, heard.key, more=0):
                    self._unwritten.setdefault(where, {}).setdefault(name, heard)
                else:
                    left += 1  # known here, and told again in half a minute
            if left:
                logger.warning("%d instances of %s/%s are one too many each", left, *where)

    def _take(self, fleet: EnvironmentFleet, heard: Heard) -> None:
        """Take what another replica heard, in the place of what makes room for it there too."""
        is_full = len(fleet.instances) >= self._max_instances
        if is_full and heard.standing.instance not in fleet.instances:
            name = fleet.gives_way(heard.key)
            if name is not None:
                fleet.remove(name)
        fleet.take(heard)

    def _is_served(self, where: Environment) -> bool:
        state = self._replica.projects.get(where[0])
        return state is not None and where[1] in state.snapshots

    # What follows from it

    async def _look(self) -> None:
        """Forget who is gone, and work out what metrics show."""
        now_s = monotonic()
        if now_s - self._dropped_s >= _DROP_S:
            self._dropped_s = now_s
            for where, fleet in self._fleets.items():
                dropped = [d for d in fleet.drop(self._now_ms()) if d.names]
                if dropped:
                    self._dropped.setdefault(where, []).extend(dropped)
        if now_s - self._figured_s >= _FIGURES_S:
            self._figured_s = now_s
            figures: dict[Environment, FleetFigures] = {}
            for where in [w for w in self._fleets if self._is_served(w)]:
                snapshot = self._snapshot(*where)
                survey = await self._survey(snapshot)
                last = self._fleets[where].revisions.newest_first()[:1]
                ours = [c for c in last if c.revision == snapshot.revision]
                figures[where] = FleetFigures(
                    survey.states,
                    survey.oldest_age_ms / 1000,
                    len(self._fleets[where].shared(self._now_ms())),
                    ours[0] if ours else None,
                )
            self.figures = figures

    async def _survey(
        self,
        snapshot: EnvironmentSnapshot,
        *,
        wanted: Filter = Filter(),  # noqa: B008 - immutable
        by: str | None = None,
        after: Place | None = None,
        limit: int = 0,
    ) -> Survey:
        fleet = self._fleet(snapshot)
        return await run_in_slices(
            surveying(
                fleet.instances.copy(),
                snapshot.pointer(),
                self._now_ms(),
                _published(fleet.revisions.newest_first(), snapshot.epoch),
                missing_ms=self._missing_ms,
                wanted=wanted,
                by=by,
                after=after,
                limit=limit,
            )
        )

    def _fleet(self, snapshot: EnvironmentSnapshot) -> EnvironmentFleet:
        return self._fleets.get((snapshot.project, snapshot.environment), EnvironmentFleet())

    def _told(
        self, snapshot: EnvironmentSnapshot, survey: Survey, listed: Iterable[Listed]
    ) -> Fleet:
        now_ms = self._now_ms()
        shared = self._fleet(snapshot).shared(now_ms)
        return Fleet(
            project=snapshot.project,
            environment=snapshot.environment,
            epoch=snapshot.epoch,
            revision=snapshot.revision,
            digest=snapshot.digest,
            published_at=snapshot.published.at,
            complete=self.complete,
            instances=sum(survey.states.values()),
            states=dict(survey.states),
            most_behind=survey.most_behind,
            behind_since=_time(survey.behind_since_ms),
            oldest_age_ms=survey.oldest_age_ms,
            missing_after_ms=self._missing_ms,
            names_shared=len(shared),
            revisions=[
                RevisionStanding(epoch, revision, count)
                for (epoch, revision), count in survey.revisions.most_common(_GROUPS)
            ],
            applications=[
                ApplicationStanding(application, version, tally.instances, tally.current)
                for (application, version), tally in _largest(survey.applications)
            ],
            labels=[
                LabelStanding(value, tally.instances, tally.current)
                for value, tally in _largest(survey.labels)
            ],
            matching=survey.matching,
            items=[_instance(each, now_ms, shared) for each in listed],
            next_cursor=None,
        )


def _largest(tallies: Mapping[T, Tally]) -> list[tuple[T, Tally]]:
    return nlargest(_GROUPS, tallies.items(), key=lambda row: (row[1].instances, row[0]))


def _instance(listed: Listed, now_ms: int, shared: Collection[str]) -> InstanceStanding:
    heard, standing = listed.heard, listed.heard.standing
    return InstanceStanding(
        instance=standing.instance,
        state=listed.state,
        application=standing.application,
        application_version=standing.application_version,
        version=standing.version,
        labels=standing.labels,
        epoch=standing.epoch,
        revision=standing.revision,
        digest=standing.digest,
        behind_by=listed.behind_by,
        behind_since=_time(listed.behind_since_ms),
        serving_since=None if standing.revision is None else _time(heard.serving_since_ms),
        age_ms=heard.age_ms(now_ms),
        age_estimated=standing.age_estimated,
        silent_ms=heard.silent_ms(now_ms),
        heard_at=rfc3339_of_ms(heard.heard_ms),
        started_at=rfc3339_of_ms(heard.heard_ms - standing.uptime_ms),
        source=standing.state,
        refused=standing.refused,
        last_error=standing.last_error,
        last_error_at=_last_error_at(heard),
        name_shared=standing.instance in shared,
    )


def _last_error_at(heard: Heard) -> str | None:
    """Return when the last error was; sidecars of before this was told do not say."""
    ago_ms = heard.standing.last_error_ms
    return None if ago_ms is None else _time(heard.heard_ms - ago_ms)


def _spread(convergence: Convergence) -> RevisionSpread:
    return RevisionSpread(
        epoch=convergence.epoch,
        revision=convergence.revision,
        published_at=rfc3339_of_ms(convergence.published_ms),
        connected=convergence.connected,
        served=convergence.served,
        gone=convergence.gone,
        waiting=convergence.connected - convergence.known,
        half_ms=convergence.half_ms,
        most_ms=convergence.most_ms,
        all_ms=convergence.all_ms,
    )


def _published(newest_first: Iterable[Convergence], epoch: str) -> Published:
    ordered = sorted((c.revision, c.published_ms) for c in newest_first if c.epoch == epoch)
    return Published([revision for revision, _ in ordered], [at_ms for _, at_ms in ordered])


def _time(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else rfc3339_of_ms(unix_ms)


def _ms(rfc3339: str) -> int:
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
