"""What is known of the sidecars of one environment, and what follows from it. Pure.

A standing as it was heard is the only thing kept; states and ages are worked out at a moment that
is an argument, because silence changes them too. `EnvironmentFleet` takes what was heard here and
what other replicas heard alike, in any order: of one instance the latest counts.

Work over all instances is written as steps (`proxy.contract.steps`), because there may be 50,000.
"""

from bisect import bisect_right
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping
from heapq import nsmallest
from typing import NamedTuple

import msgspec

from control_plane.fleet.revisions import Convergence, Revisions
from proxy.contract.fleet import UNCONFIRMED_MS, InstanceState, Standing
from proxy.contract.steps import Steps
from proxy.contract.sync import SnapshotPointer

__all__ = [
    "DROPPED_MS",
    "MAX_INSTANCES",
    "MISSING_MS",
    "STATES",
    "EnvironmentFleet",
    "Dropped",
    "Filter",
    "FleetFigures",
    "Heard",
    "Listed",
    "Place",
    "Published",
    "Survey",
    "Tally",
    "bounded",
    "state_of",
    "surveying",
]

MAX_INSTANCES = 50_000
"""Of an environment; beyond it the environment wants to be several."""

MISSING_MS = 5 * 60_000
"""Ten standings that did not come: it was ended without a chance to say so, or cut off."""

DROPPED_MS = 60 * 60_000
"""After which a missing instance is forgotten: fleets that scale leave thousands a day behind."""

STATES: tuple[InstanceState, ...] = ("current", "behind", "unconfirmed", "missing")

_LAGGARDS_FIRST: dict[InstanceState, int] = {
    "unconfirmed": 0,
    "behind": 1,
    "missing": 2,
    "current": 3,
}
_MAX_MS = 10 * 366 * 24 * 3600 * 1000  # ten years; clocks and counters that say more are wrong
_MAX_COUNT = (1 << 53) - 1  # what every JSON reader can hold
_A_STEP = 100  # instances; some 0.2 ms
_SORTED_A_STEP = 1_000


class Heard(msgspec.Struct, frozen=True):
    """A standing, and when a replica heard it: Unix milliseconds by that replica's clock. `key` is
    the id of the key that it came with."""

    standing: Standing
    heard_ms: int
    key: str = ""

    @property
    def serving_since_ms(self) -> int:
        """When it began to serve what it serves, by the control plane's clock."""
        return self.heard_ms - (self.standing.serving_ms or 0)

    def silent_ms(self, now_ms: int) -> int:
        """Return how long nothing was heard of it."""
        return max(0, now_ms - self.heard_ms)

    def age_ms(self, now_ms: int) -> int:
        """Return how long ago what it serves was known to be confirmed; its silence counts."""
        return (self.standing.age_ms or 0) + self.silent_ms(now_ms)


def bounded(standing: Standing) -> Standing:
    """Return a standing whose numbers are possible ones: clocks jump, and anybody can count."""
    return msgspec.structs.replace(
        standing,
        revision=_within(standing.revision, _MAX_COUNT),
        serving_ms=_within(standing.serving_ms, _MAX_MS),
        age_ms=_within(standing.age_ms, _MAX_MS),
        refused=_within(standing.refused, _MAX_COUNT),
        last_error_ms=_within(standing.last_error_ms, _MAX_MS),
        uptime_ms=_within(standing.uptime_ms, _MAX_MS),
        keys_used={},  # noted elsewhere, and too large to be kept
    )


def state_of(
    heard: Heard, current: SnapshotPointer, now_ms: int, missing_ms: int = MISSING_MS
) -> InstanceState:
    """Return how an instance stands against what is current."""
    if now_ms - heard.heard_ms >= missing_ms:
        return "missing"
    if heard.age_ms(now_ms) >= UNCONFIRMED_MS:
        return "unconfirmed"
    standing = heard.standing
    if standing.digest == current.digest:
        return "current"
    behind_by = revisions_behind(standing, current)
    # what is newer than all that this replica has heard of is no laggard
    return "current" if behind_by is not None and behind_by < 0 else "behind"


def revisions_behind(standing: Standing, current: SnapshotPointer) -> int | None:
    """Return how many revisions an instance is behind; None in another epoch, or without any."""
    if standing.revision is None or standing.epoch != current.epoch:
        return None
    return current.revision - standing.revision


class Dropping(NamedTuple):
    """Instances of which nothing was heard after a time."""

    until_ms: int
    names: list[str]


class Dropped(NamedTuple):
    """What was forgotten: who is silent, and who left."""

    silent: Dropping
    left: Dropping


class EnvironmentFleet:
    """The sidecars of one environment as far as they are known here, and who waits for what.

    Of a full one each key has its share: what comes with a key that has less than another takes
    the place of the other's that was heard of longest ago. So who has a key and makes names up
    pushes out nobody who has another.
    """

    __slots__ = ("_earlier_runs", "_left", "_of_key", "_shared", "instances", "revisions")

    def __init__(self) -> None:
        self.instances: dict[str, Heard] = {}
        self.revisions = Revisions()
        self._of_key: dict[str, OrderedDict[str, None]] = {}  # names, heard of longest ago first
        self._left: dict[str, int] = {}  # when they said so: what was heard earlier comes later
        self._earlier_runs: dict[str, str] = {}  # of instances that were another process before
        self._shared: dict[str, int] = {}  # when one was the earlier process again

    def heard_at(self, name: str, now_ms: int) -> int:
        """Return the time for what is heard of an instance now: later than all that is known."""
        known_ms = self._known_ms(name)
        return now_ms if known_ms is None else max(now_ms, known_ms + 1)

    def take(self, heard: Heard) -> bool:
        """Note what was heard, here or by another replica; return whether it is news."""
        name = heard.standing.instance
        known_ms = self._known_ms(name)
        if known_ms is not None and heard.heard_ms <= known_ms:
            return False
        if heard.standing.leaving:
            if len(self._left) < MAX_INSTANCES:
                self._left[name] = heard.heard_ms
            self._forget(name)
            return True
        self._left.pop(name, None)
        before = self.instances.get(name)
        if before is not None and before.standing.run != heard.standing.run:
            if self._earlier_runs.get(name) == heard.standing.run:
                self._shared[name] = heard.heard_ms
            self._earlier_runs[name] = before.standing.run
        if before is not None:
            self._take_from_key(before.key, name)
        self._of_key.setdefault(heard.key, OrderedDict())[name] = None
        self.instances[name] = heard
        self.revisions.served(heard.standing, heard.serving_since_ms)
        return True

    def gives_way(self, key: str, more: int = 1) -> str | None:
        """Return the name that makes room for one of a key; None if the key has its share. `more`
        is 0 for one that is counted here already."""
        largest = max(self._of_key.values(), key=len, default=None)
        if largest is None or len(largest) <= len(self._of_key.get(key, ())) + more:
            return None
        return next(iter(largest))

    @property
    def size(self) -> int:
        """How many names are kept: of those too who left a while ago."""
        return len(self.instances) + len(self._left)

    def forget_who_left(self) -> tuple[str, int] | None:
        """Forget who left longest ago, and return the name and when; None if nobody did."""
        name = next(iter(self._left), None)
        return None if name is None else (name, self._left.pop(name))

    def remove(self, name: str) -> Heard:
        """Forget an instance that is here, for another, and return what was known of it."""
        heard = self.instances[name]
        self._forget(name)
        return heard

    def published(self, pointer: SnapshotPointer, published_ms: int, now_ms: int) -> None:
        """Note that a revision is current, which all that are connected now should serve soon."""
        connected = {
            name
            for name, heard in self.instances.items()
            if now_ms - heard.heard_ms < UNCONFIRMED_MS and heard.standing.digest != pointer.digest
        }
        self.revisions.published(pointer, published_ms, connected)

    def shared(self, now_ms: int) -> set[str]:
        """Return the names that several processes had lately: one that ended never comes back."""
        return {name for name, at_ms in self._shared.items() if now_ms - at_ms < MISSING_MS}

    def drop(self, now_ms: int) -> "Dropped":
        """Forget those that have been missing for too long, and who left a while ago."""
        silent = Dropping(now_ms - DROPPED_MS, [])
        for name, heard in self.instances.items():
            if heard.heard_ms <= silent.until_ms:
                silent.names.append(name)
        for name in silent.names:
            self._forget(name)
        left = Dropping(now_ms - MISSING_MS, [])
        left.names.extend(n for n, left_ms in self._left.items() if left_ms <= left.until_ms)
        for name in left.names:
            del self._left[name]
        return Dropped(silent, left)

    def _known_ms(self, name: str) -> int | None:
        known = self.instances.get(name)
        return self._left.get(name) if known is None else known.heard_ms

    def _forget(self, name: str) -> None:
        self._earlier_runs.pop(name, None)
        self._shared.pop(name, None)
        heard = self.instances.pop(name, None)
        if heard is not None:
            self._take_from_key(heard.key, name)
            self.revisions.gone(name)

    def _take_from_key(self, key: str, name: str) -> None:
        names = self._of_key[key]
        del names[name]
        if not names:
            del self._of_key[key]


class Place(NamedTuple):
    """Where an instance stands in the list: laggards first, of these the oldest revision first."""

    rank: int
    revision: int
    instance: str


class Filter(NamedTuple):
    """Which instances are listed; None takes all. A label is a name and its value."""

    revision: int | None = None
    state: InstanceState | None = None
    label: tuple[str, str] | None = None
    instance: str | None = None

    def admits(self, standing: Standing, state: InstanceState) -> bool:
        """Return whether an instance is listed."""
        if self.state is not None and state != self.state:
            return False
        if self.revision is not None and standing.revision != self.revision:
            return False
        if self.instance is not None and standing.instance != self.instance:
            return False
        return self.label is None or standing.labels.get(self.label[0]) == self.label[1]


_ALL = Filter()


class Tally:
    """Instances of a group that are not missing, and those of them that are current."""

    __slots__ = ("current", "instances")

    def __init__(self) -> None:
        self.instances = self.current = 0

    def add(self, state: InstanceState) -> None:
        """Count one more."""
        self.instances += 1
        self.current += state == "current"


class Survey(NamedTuple):
    """How a fleet stands at a moment."""

    states: Mapping[InstanceState, int]
    revisions: Counter[tuple[str | None, int | None]]
    """Instances by epoch and revision served; missing ones are in none of these counts."""
    applications: Mapping[tuple[str, str], Tally]
    """By application and its version."""
    labels: Mapping[str, Tally]
    """By value of the label that was asked for; the empty one for those without."""
    most_behind: int
    """Revisions that the last is behind."""
    behind_since_ms: int | None
    """When the first revision was published that somebody lacks, of those remembered."""
    oldest_age_ms: int
    matching: int
    listed: list["Listed"]


class FleetFigures(NamedTuple):
    """What metrics show of one environment."""

    states: Mapping[InstanceState, int]
    oldest_age_s: float
    names_shared: int
    last: Convergence | None
    """How the current revision spread; None where nobody saw it from its beginning."""


class Listed(NamedTuple):
    """An instance in the list."""

    place: Place
    state: InstanceState
    heard: Heard
    behind_by: int | None
    behind_since_ms: int | None


class Published(NamedTuple):
    """The last revisions of an epoch, in order, and when each was published."""

    revisions: list[int]
    at_ms: list[int]

    def since(self, revision: int) -> int | None:
        """Return when the first of them after a revision was published."""
        place = bisect_right(self.revisions, revision)
        return self.at_ms[place] if place < len(self.at_ms) else None


def surveying(
    instances: Mapping[str, Heard],
    current: SnapshotPointer,
    now_ms: int,
    published: Published,
    *,
    missing_ms: int = MISSING_MS,
    wanted: Filter = _ALL,
    by: str | None = None,
    after: Place | None = None,
    limit: int = 0,
) -> Steps[Survey]:
    """Sum a fleet up, and list those that are wanted, from a place on; yields in between.

    With a `limit` of 0 nothing is listed, and nothing is held against `wanted`. One instance takes
    one microsecond, one that is listed three.

    `instances` must not change meanwhile: a copy is quickly made.
    """
    states: Counter[InstanceState] = Counter()
    revisions: Counter[tuple[str | None, int | None]] = Counter()
    applications: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    labels: defaultdict[str, Tally] = defaultdict(Tally)
    most_behind = oldest_age_ms = matching = 0
    behind_since_ms: int | None = None
    found: list[Listed] = []
    for number, heard in enumerate(instances.values()):
        standing = heard.standing
        state = state_of(heard, current, now_ms, missing_ms)
        behind_by = since_ms = None
        if standing.digest != current.digest:
            behind_by = revisions_behind(standing, current)
            if behind_by is not None:
                since_ms = published.since(standing.revision or 0)
        states[state] += 1
        if state != "missing":
            revisions[standing.epoch, standing.revision] += 1
            applications[standing.application, standing.application_version].add(state)
            if by is not None:
                labels[standing.labels.get(by, "")].add(state)
            most_behind = max(most_behind, behind_by or 0)
            if since_ms is not None:
                behind_since_ms = min(since_ms, behind_since_ms or since_ms)
            oldest_age_ms = max(oldest_age_ms, heard.age_ms(now_ms))
        if limit and wanted.admits(standing, state):
            matching += 1
            place = _place(standing, state)
            if after is None or place > after:
                found.append(Listed(place, state, heard, behind_by, since_ms))
        if number % _A_STEP == 0:
            yield
    listed = yield from _first_of(found, limit)
    return Survey(
        {state: states[state] for state in STATES},
        revisions,
        applications,
        labels,
        most_behind,
        behind_since_ms,
        oldest_age_ms,
        matching,
        listed,
    )


def _first_of(found: list[Listed], limit: int) -> Steps[list[Listed]]:
    """Return the first of them in order, of thousands at a time."""
    first: list[Listed] = []
    for start in range(0, len(found), _SORTED_A_STEP):
        some = found[start : start + _SORTED_A_STEP]
        first = nsmallest(limit, [*first, *some], key=_place_of)
        yield
    return first


def _place_of(listed: Listed) -> Place:
    return listed.place


def _place(standing: Standing, state: InstanceState) -> Place:
    revision = -1 if standing.revision is None else standing.revision
    return Place(_LAGGARDS_FIRST[state], revision, standing.instance)


def _within(number: int | None, most: int) -> int | None:
    return None if number is None else max(0, min(number, most))
