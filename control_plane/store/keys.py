"""Every key this product has in Redis: its name, type, lifetime and owner.

All keys of a project carry the hash tag `{<project>}`, so that one atomic step can touch them on a
single server, behind Sentinel and in one slot of a Cluster. `mf:projects` stands outside: it only
tells which projects to look for, and a member without a `meta` is ignored. Exposures, which are
what grows, are spread over shards with a tag each, and may lie on another server, where also is
what is known of the fleet, with a tag for each environment.

Change together: a new key needs a row in `KEYS`; a new meaning of an old one needs another
`SCHEMA`, which a control plane that does not know it refuses to load.
"""

from typing import NamedTuple

__all__ = [
    "EXPOSURES_SEEN_DAYS",
    "FLEET_ENVIRONMENTS",
    "FLEET_TTL_S",
    "HISTORY_DAYS",
    "HISTORY_VERSIONS",
    "KEYS",
    "MAX_AUDIT_ENTRIES",
    "MAX_CHANGES",
    "MAX_CHANGE_BYTES",
    "PROJECTS",
    "SCHEMA",
    "ExposureKeys",
    "FleetKeys",
    "KeyPattern",
    "ProjectKeys",
]

SCHEMA = "1"
"""Version of the stored data, in each project's `meta`."""

PROJECTS = "mf:projects"

HISTORY_VERSIONS = 100
HISTORY_DAYS = 90
"""Versions kept of a flag: the newest always, older ones while both bounds allow."""

MAX_CHANGES = 1_000
"""Changes kept for replicas to follow. One that was away for longer reads everything again."""

MAX_CHANGE_BYTES = 256 * 1024
"""Largest change written out in full; of a larger one replicas are told to read everything.
With MAX_CHANGES it bounds the stream to 256 MB; ordinary changes are 2 KB."""

MAX_AUDIT_ENTRIES = 100_000
"""Audit entries kept, about 500 bytes each; older ones make way for a checkpoint."""

EXPOSURES_SEEN_DAYS = 3
"""Longer than a weekend: a sidecar that got no answer sends its batch again all that time."""

FLEET_ENVIRONMENTS = "mf:fleet:environments"

FLEET_TTL_S = 2 * 3600
"""Of what is known of a fleet, after the last writing: longer than a missing one is kept."""


class KeyPattern(NamedTuple):
    """What is known of one key."""

    pattern: str
    type: str
    lifetime: str
    owner: str
    holds: str


KEYS = (
    KeyPattern(PROJECTS, "set", "for ever", "control_plane.store", "names of projects"),
    KeyPattern(
        "mf:{P}:meta",
        "hash",
        "for ever",
        "control_plane.store",
        "schema, epoch, sequence, head, created_at, name, description, audit_checkpoint; "
        "revision:<environment> and published_at:<environment>",
    ),
    KeyPattern("mf:{P}:flags", "hash", "for ever", "control_plane.flags", "key -> FlagRecord"),
    KeyPattern(
        "mf:{P}:segments", "hash", "for ever", "control_plane.segments", "key -> SegmentRecord"
    ),
    KeyPattern(
        "mf:{P}:units",
        "hash",
        "as long as a segment's list has the blob",
        "control_plane.segments",
        "digest of a blob -> its units as JSON array, in the order of their hashes",
    ),
    KeyPattern(
        "mf:{P}:environments",
        "hash",
        "for ever",
        "control_plane.environments",
        "key -> EnvironmentRecord",
    ),
    KeyPattern("mf:{P}:keys", "hash", "for ever", "control_plane.access", "id -> KeyRecord"),
    KeyPattern(
        "mf:{P}:changes",
        "stream",
        f"about {MAX_CHANGES} entries",
        "control_plane.store",
        "<sequence>-0 -> ChangeMessage",
    ),
    KeyPattern(
        "mf:{P}:history:flag:<key>",
        "list",
        f"{HISTORY_VERSIONS} versions, {HISTORY_DAYS} days; all of it {HISTORY_DAYS} days after "
        "the flag was deleted",
        "control_plane.audit",
        "Unix milliseconds, a space, HistoryEntry; newest first",
    ),
    KeyPattern(
        "mf:{P}:audit",
        "stream",
        f"{MAX_AUDIT_ENTRIES} entries, and as many days as the settings say",
        "control_plane.audit",
        "sequence, previous and head (the links), entry: AuditEntry",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}",
        "stream",
        "64 MB of batches; the oldest make way",
        "control_plane.exposures",
        "one batch an entry: id, instance, count, received_ms, batch (the document)",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}:seen:<hour>",
        "set",
        f"{EXPOSURES_SEEN_DAYS} days after the last batch was added",
        "control_plane.exposures",
        "ids of the batches made in that hour, since 1970, that were stored",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}:size",
        "hash",
        "for ever",
        "control_plane.exposures",
        "bytes and items in the stream",
    ),
    KeyPattern(
        FLEET_ENVIRONMENTS,
        "hash",
        "for ever",
        "control_plane.fleet",
        "<project>/<environment> -> a mark, another one after each writing",
    ),
    KeyPattern(
        "mf:fleet:{P/E}",
        "hash",
        "2 hours after the last writing",
        "control_plane.fleet",
        "instance -> Unix milliseconds at which it was heard, a space, Standing",
    ),
    KeyPattern(
        "mf:fleet:{P/E}:order",
        "sorted set",
        "2 hours after the last writing",
        "control_plane.fleet",
        "instances by the number of the writing",
    ),
    KeyPattern(
        "mf:fleet:{P/E}:number",
        "string",
        "2 hours after the last writing",
        "control_plane.fleet",
        "the last number of a writing",
    ),
    KeyPattern(
        "mf:fleet:{P/E}:revisions",
        "hash",
        "2 hours after the last writing",
        "control_plane.fleet",
        "<epoch>-<revision> -> of how many instances it is known, a space, Convergence",
    ),
)


class ProjectKeys:
    """The names of one project's keys."""

    __slots__ = (
        "_prefix",
        "audit",
        "changes",
        "environments",
        "flags",
        "keys",
        "meta",
        "segments",
        "units",
    )

    def __init__(self, project: str) -> None:
        self._prefix = f"mf:{{{project}}}:"
        self.meta = self._prefix + "meta"
        self.flags = self._prefix + "flags"
        self.segments = self._prefix + "segments"
        self.units = self._prefix + "units"
        self.environments = self._prefix + "environments"
        self.keys = self._prefix + "keys"
        self.changes = self._prefix + "changes"
        self.audit = self._prefix + "audit"

    def flag_history(self, key: str) -> str:
        """Return the list that holds a flag's versions."""
        return f"{self._prefix}history:flag:{key}"


class ExposureKeys:
    """The names of the keys of one shard of an environment's exposures."""

    __slots__ = ("size", "stream")

    def __init__(self, project: str, environment: str, shard: int) -> None:
        self.stream = f"mf:exposures:{{{project}/{environment}/{shard}}}"
        self.size = self.stream + ":size"

    def seen(self, hour: int) -> str:
        """Return the set with the ids of one hour's batches."""
        return f"{self.stream}:seen:{hour}"


class FleetKeys:
    """The names of the keys of one environment's fleet."""

    __slots__ = ("revisions", "standings")

    def __init__(self, project: str, environment: str) -> None:
        fleet = f"mf:fleet:{{{project}/{environment}}}"
        self.standings = (fleet, fleet + ":order", fleet + ":number")
        """What was heard, the order in which it was written, the number of the last writing."""
        self.revisions = fleet + ":revisions"
