"""Every key this product has in Redis: its name, type, lifetime and owner.

All keys of a project carry the hash tag `{<project>}`, so that one atomic step can touch them on a
single server, behind Sentinel and in one slot of a Cluster. `mf:projects` stands outside: it only
tells which projects to look for, and a member without a `meta` is ignored. Reports (exposures,
events, usage), which are what grows, are spread over shards with a tag each, and may lie on another
server, where also is what is known of the fleet, with a tag for each environment.

Change together: a new key needs a row in `KEYS`; a new meaning of an old one needs another
`SCHEMA`, which a control plane that does not know it refuses to load.
"""

from typing import NamedTuple

__all__ = [
    "FLEET_ENVIRONMENTS",
    "FLEET_TTL_S",
    "GROUP",
    "DIRECTORY",
    "HISTORY_DAYS",
    "HISTORY_VERSIONS",
    "KEYS",
    "LOGIN",
    "MAX_AUDIT_ENTRIES",
    "MAX_CHANGES",
    "MAX_CHANGE_BYTES",
    "PROJECTS",
    "RATE",
    "REFUSED",
    "SCHEMA",
    "EventKeys",
    "FleetKeys",
    "KeyPattern",
    "ProjectKeys",
    "ReportKeys",
    "UsageKeys",
    "subjects_key",
]

SCHEMA = "1"
"""Version of the stored data, in each project's `meta`."""

PROJECTS = "mf:projects"

DIRECTORY = "~access"
"""Where people are kept: like a project, under a name that none can have."""

REFUSED = "~refused"
"""Where is written down who was not let in: a project's audit log, and nothing else of one."""

LOGIN = "mf:{~login}:"
"""Begins the counters of attempts to log in."""

RATE = "mf:{~rate}:"
"""Begins the quotas of rate limits: of one tag, because those of a request are asked together."""

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

GROUP = "aggregators"
"""Of consumers that count what is in the streams of reports."""

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
    KeyPattern(
        "mf:{P}:users",
        "hash",
        "for ever",
        "control_plane.users",
        "id -> UserRecord; of the directory alone, P is `~access`",
    ),
    KeyPattern(
        "mf:{P}:sessions",
        "hash",
        "for ever",
        "control_plane.users",
        "id -> SessionRecord; of the directory alone",
    ),
    KeyPattern(
        "mf:{P}:refresh:<session>",
        "hash",
        "as long as a session may be idle",
        "control_plane.users",
        "hashes of the refresh token and of the one before, and when they changed; of the "
        "directory alone",
    ),
    KeyPattern(
        "mf:{~login}:<kind>:<whom>",
        "string",
        "15 minutes; of codes a day",
        "control_plane.users",
        "attempts to log in from an address, or to an account; codes that a person showed",
    ),
    KeyPattern(
        "mf:{~rate}:<kind>:<whom>",
        "string",
        "until the quota is whole again, a minute at most",
        "control_plane.limits",
        "when it will be whole, Unix microseconds by the clock of Redis",
    ),
    KeyPattern(
        "mf:{~login}:challenge:<id>",
        "string",
        "5 minutes",
        "control_plane.users",
        "answers to a challenge: six, which are never counted, when it was used up",
    ),
    KeyPattern(
        "mf:{~login}:exchange:<hash>",
        "string",
        "a minute",
        "control_plane.sso",
        "hash of a one-time code -> who may exchange it for tokens, and the digest of the verifier",
    ),
    KeyPattern(PROJECTS, "set", "for ever", "control_plane.store", "names of projects"),
    KeyPattern(
        "mf:{P}:meta",
        "hash",
        "for ever",
        "control_plane.store",
        "schema, epoch, sequence, head, created_at, record: ProjectRecord, audit_checkpoint; "
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
        "mf:{P}:keys_used",
        "hash",
        "as long as the key",
        "control_plane.access",
        "id of a key -> when it was used last, Unix milliseconds",
    ),
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
        "mf:<kind>:{P/E/n}",
        "stream",
        "until a batch is counted; 64 MB at most, then batches are sent back",
        "control_plane.reports",
        "one batch an entry: id, instance, count, received_ms, batch (the document, as it came)",
    ),
    KeyPattern(
        "mf:<kind>:{P/E/n}:seen:<hour>",
        "set",
        "8 days after the last batch was added",
        "control_plane.reports",
        "ids of the batches made in that hour, since 1970, that were stored; 64 bits of each; "
        "when there are 512 they go on in `:<hour>:1`, and so on",
    ),
    KeyPattern(
        "mf:<kind>:{P/E/n}:totals",
        "hash",
        "for ever",
        "control_plane.reports",
        "items: received, deduplicated, delivered, pending, parked, lost, parked_dropped; bytes: "
        "bytes, parked_bytes, kept_bytes",
    ),
    KeyPattern(
        "mf:<kind>:{P/E/n}:parked",
        "stream",
        "8 MB of batches; the oldest make way",
        "control_plane.reports",
        "batches that must not or cannot be counted, as in the stream, and the reason",
    ),
    KeyPattern(
        "mf:<kind>:{P/E/n}:parked:seen:<hour>",
        "set",
        "8 days after the last batch was added",
        "control_plane.reports",
        "ids of batches that were parked",
    ),
    KeyPattern(
        "mf:events:{P/E/n}:names",
        "hash",
        "for ever",
        "control_plane.events",
        "id of a name -> the name",
    ),
    KeyPattern(
        "mf:events:{P/E/n}:days:<id>",
        "hash",
        "for ever; of days, the last 400",
        "control_plane.events",
        "<day since 1970>:n, :s and :q -> count, sum and sum of squares",
    ),
    KeyPattern(
        "mf:events:{P/E/n}:kept",
        "stream",
        "14 days, 64 MB of batches; the oldest make way",
        "control_plane.events",
        "batches that were counted, as in the stream",
    ),
    KeyPattern(
        "mf:usage:{P/E/0}:last",
        "hash",
        "for ever",
        "control_plane.usage",
        "flag -> when it was evaluated last, Unix ms",
    ),
    KeyPattern(
        "mf:usage:{P/E/0}:<span>:<flag>:<part>",
        "hash",
        "the span, and the length of a part",
        "control_plane.usage",
        "minutes of an hour, hours of a week, days of a hundred: <step>:<variant> -> evaluations",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}:subjects",
        "hash",
        "for ever",
        "control_plane.exposures",
        "id of a subject (flag, or experiment and phase) -> its name",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}:subject:<id>",
        "hash",
        "for ever",
        "control_plane.exposures",
        "of the subject's units in this shard: units, several, first, last, buckets, variants, "
        "v<i> name of a variant, c<i> units that saw it first",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}:days:<id>",
        "hash",
        "for ever",
        "control_plane.exposures",
        "256 * day since 1970 + variant -> units that were first exposed then",
    ),
    KeyPattern(
        "mf:exposures:{P/E/n}:units:<id>:<bucket>",
        "hash",
        "for ever",
        "control_plane.exposures",
        "12 bytes of a unit's hash -> first seen (6 bytes, Unix ms), variant (1), several (1); and "
        "an empty field",
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
    """The names of one project's keys, or of the directory's, which holds people."""

    __slots__ = (
        "_prefix",
        "audit",
        "changes",
        "environments",
        "flags",
        "keys",
        "keys_used",
        "meta",
        "segments",
        "sessions",
        "units",
        "users",
    )

    def __init__(self, project: str) -> None:
        self._prefix = f"mf:{{{project}}}:"
        self.meta = self._prefix + "meta"
        self.flags = self._prefix + "flags"
        self.segments = self._prefix + "segments"
        self.units = self._prefix + "units"
        self.environments = self._prefix + "environments"
        self.keys = self._prefix + "keys"
        self.keys_used = self._prefix + "keys_used"
        self.users = self._prefix + "users"
        self.sessions = self._prefix + "sessions"
        self.changes = self._prefix + "changes"
        self.audit = self._prefix + "audit"

    def refresh(self, session: str) -> str:
        """Return the hash that holds what a session's next tokens are asked for with."""
        return f"{self._prefix}refresh:{session}"

    def flag_history(self, key: str) -> str:
        """Return the list that holds a flag's versions."""
        return f"{self._prefix}history:flag:{key}"


class ReportKeys:
    """The names of the keys of one shard of an environment's reports of one kind."""

    __slots__ = ("kind", "parked", "stream", "totals")

    def __init__(self, kind: str, project: str, environment: str, shard: int) -> None:
        self.kind = kind
        self.stream = f"mf:{kind}:{{{project}/{environment}/{shard}}}"
        self.totals = self.stream + ":totals"
        self.parked = self.stream + ":parked"

    def seen(self, hour: int) -> str:
        """Return the set with the ids of one hour's batches."""
        return f"{self.stream}:seen:{hour}"

    def parked_seen(self, hour: int) -> str:
        """Return the set with the ids of one hour's batches that were parked."""
        return f"{self.stream}:parked:seen:{hour}"


class EventKeys(ReportKeys):
    """The names of the keys of one shard of an environment's events."""

    __slots__ = ("kept", "names")

    def __init__(self, project: str, environment: str, shard: int) -> None:
        super().__init__("events", project, environment, shard)
        self.kept = self.stream + ":kept"
        self.names = self.stream + ":names"

    def days(self, name_id: str) -> str:
        """Return the hash with the counters of a name."""
        return f"{self.stream}:days:{name_id}"


class UsageKeys(ReportKeys):
    """The names of the keys of an environment's usage."""

    __slots__ = ("last",)

    def __init__(self, project: str, environment: str) -> None:
        super().__init__("usage", project, environment, 0)
        self.last = self.stream + ":last"

    def part(self, name: str) -> str:
        """Return the hash with a part of a span of a flag."""
        return f"{self.stream}:{name}"


def subjects_key(project: str, environment: str, shard: int) -> str:
    """Return the hash with the subjects of one shard of an environment's units.

    Its name without `subjects` begins the names of all keys of these subjects.
    """
    return f"mf:exposures:{{{project}/{environment}/{shard}}}:subjects"


class FleetKeys:
    """The names of the keys of one environment's fleet."""

    __slots__ = ("revisions", "standings")

    def __init__(self, project: str, environment: str) -> None:
        fleet = f"mf:fleet:{{{project}/{environment}}}"
        self.standings = (fleet, fleet + ":order", fleet + ":number")
        """What was heard, the order in which it was written, the number of the last writing."""
        self.revisions = fleet + ":revisions"
