"""What Prometheus is told of the control plane. One registry per app, nothing global.

`METRICS` is the whole list; `docs/metrics.md` has a row for each, and a test compares. Counting on
the way of a request is an increment; everything that is a state is read when it is scraped, so it
cannot be forgotten or drift. Label values come from our own tables, never from requests, but for
projects and environments, of which `MAX_SERIES` are shown.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from control_plane.fleet.model import FleetFigures

__all__ = [
    "MAX_SERIES",
    "METRICS",
    "EnvironmentFigures",
    "Figures",
    "MetricRow",
    "Metrics",
    "RedisFigures",
]

MAX_SERIES = 500
"""Environments shown of each metric that has them; a bound for the scraper's sake."""

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REDIS_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5)


class MetricRow(NamedTuple):
    """One metric: its name as scraped, kind (counter, gauge, histogram), labels and meaning."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


_KINDS = {"exposures": "Exposures", "events": "Events", "usage": "Counts of usage"}


def _balance_rows(kind: str, what: str) -> Iterator[MetricRow]:
    """Yield the rows of where all items of a kind are."""
    for name, meaning in (
        ("received_total", "came in: deduplicated + delivered + pending + parked + lost"),
        ("deduplicated_total", "of batches that had been taken before"),
        ("delivered_total", "that were counted"),
        ("pending", "stored and not counted yet"),
        ("parked_total", "kept apart and never counted: too old, or not countable"),
        ("lost_total", "removed from Redis by somebody else before they were counted"),
    ):
        row = f"matrixflag_{kind}_{name}"
        sort = "counter" if name.endswith("_total") else "gauge"
        yield MetricRow(row, sort, (), f"{what} {meaning}; of all replicas")


METRICS: dict[str, MetricRow] = {
    row.name: row
    for row in (
        MetricRow(
            "matrixflag_api_request_seconds",
            "histogram",
            ("method", "route", "status"),
            "Time from a request's arrival to its answer, by route; streams are not timed",
        ),
        MetricRow(
            "matrixflag_api_rate_limited_total",
            "counter",
            ("limit",),
            "Requests answered 429: the limit of reads, writes or logins, of an address, or of "
            "wrong credentials",
        ),
        MetricRow(
            "matrixflag_api_rate_unchecked_total",
            "counter",
            (),
            "Requests whose rate Redis did not tell in time: let through, or answered 503",
        ),
        MetricRow(
            "matrixflag_ldap_login_seconds",
            "histogram",
            ("outcome",),
            "Time LDAP servers take for a login, by what it came to: right, wrong, unavailable or "
            "busy, which did not ask",
        ),
        MetricRow(
            "matrixflag_redis_command_seconds",
            "histogram",
            ("command",),
            "Time Redis takes for what was asked of it, repeats included",
        ),
        MetricRow(
            "matrixflag_redis_errors_total",
            "counter",
            ("command",),
            "Commands that Redis did not answer in time, or refused",
        ),
        MetricRow("matrixflag_redis_up", "gauge", (), "1 if Redis answered when last asked"),
        MetricRow(
            "matrixflag_redis_master",
            "gauge",
            ("redis", "topology", "address"),
            "1 for each server that definitions, or exposures, are written to",
        ),
        MetricRow(
            "matrixflag_redis_fail_overs_total",
            "counter",
            ("redis",),
            "Times that other servers than before were the masters",
        ),
        MetricRow(
            "matrixflag_definitions_loaded", "gauge", (), "1 once all definitions are in memory"
        ),
        MetricRow(
            "matrixflag_definitions_age_seconds",
            "gauge",
            (),
            "Time since Redis last confirmed what is held in memory",
        ),
        MetricRow(
            "matrixflag_commit_conflicts_total",
            "counter",
            (),
            "Writes that had to be worked out again because another was first",
        ),
        MetricRow(
            "matrixflag_definitions_reloads_total",
            "counter",
            (),
            "Times that a project was read again as a whole; rises when changes were missed",
        ),
        MetricRow(
            "matrixflag_epochs_renewed_total",
            "counter",
            (),
            "Times that Redis had gone back and sidecars were given a new epoch",
        ),
        MetricRow(
            "matrixflag_claims_refused_total",
            "counter",
            ("project", "key"),
            "Claims of sidecars with this key to hold what never was; they were not believed",
        ),
        MetricRow(
            "matrixflag_published_revision",
            "gauge",
            ("project", "environment"),
            "Revision that sidecars of an environment should hold",
        ),
        MetricRow(
            "matrixflag_published_bytes",
            "gauge",
            ("project", "environment"),
            "Size of an environment's snapshot, uncompressed",
        ),
        MetricRow("matrixflag_flags", "gauge", ("project",), "Flags, archived ones included"),
        MetricRow(
            "matrixflag_segment_units", "gauge", ("project",), "Units in the lists of segments"
        ),
        MetricRow(
            "matrixflag_unit_blobs_lost",
            "gauge",
            ("project",),
            "Blobs of units that Redis has lost; they have to be put again",
        ),
        MetricRow(
            "matrixflag_unit_blobs_read_total",
            "counter",
            (),
            "Blobs of units read from Redis: at the start, and when another replica wrote them",
        ),
        MetricRow(
            "matrixflag_unit_blobs_sent_total", "counter", (), "Blobs of units sent to sidecars"
        ),
        MetricRow(
            "matrixflag_connected_sidecars",
            "gauge",
            ("project", "environment"),
            "Streams of sidecars that are open here",
        ),
        MetricRow(
            "matrixflag_streams_accepted_total", "counter", (), "Streams of sidecars that began"
        ),
        MetricRow(
            "matrixflag_streams_accepted_peak",
            "gauge",
            (),
            "Streams that began in the busiest second of the last minute",
        ),
        MetricRow(
            "matrixflag_streams_refused_total",
            "counter",
            (),
            "Streams answered 503 because others began at the same time; their sidecars come again",
        ),
        MetricRow(
            "matrixflag_streams_ended_total",
            "counter",
            ("reason",),
            "Streams that were ended here. Reasons: slow, the sidecar did not read; key, its key is"
            " not valid any more; life, it had lived as long as it may",
        ),
        MetricRow(
            "matrixflag_stream_events_total",
            "counter",
            ("event",),
            "Changes told on streams: delta, or snapshot, which makes the sidecar fetch everything",
        ),
        MetricRow(
            "matrixflag_reports_answered_total",
            "counter",
            ("kind", "outcome"),
            "Items that came here: stored, duplicate, parked, refused, busy or unavailable",
        ),
        *(row for kind, what in _KINDS.items() for row in _balance_rows(kind, what)),
        MetricRow(
            "matrixflag_reports_clamped_total",
            "counter",
            ("kind",),
            "Items counted here with another time than theirs: from the future, or too long ago",
        ),
        MetricRow(
            "matrixflag_reports_unknown_flag_total",
            "counter",
            ("kind",),
            "Items counted here of flags that there are not, all as one",
        ),
        MetricRow(
            "matrixflag_background_failures_total",
            "counter",
            ("task",),
            "Background work that failed in a way nobody expected and was started again",
        ),
        MetricRow(
            "matrixflag_fleet_sidecars",
            "gauge",
            ("project", "environment", "state"),
            "Sidecars that are current, behind, unconfirmed or missing; the same on every replica",
        ),
        MetricRow(
            "matrixflag_fleet_oldest_age_seconds",
            "gauge",
            ("project", "environment"),
            "Longest time since what a sidecar serves was confirmed, missing ones aside",
        ),
        MetricRow(
            "matrixflag_fleet_names_shared",
            "gauge",
            ("project", "environment"),
            "Names that several sidecars have: they take turns, and are counted as one",
        ),
        MetricRow(
            "matrixflag_fleet_waiting",
            "gauge",
            ("project", "environment"),
            "Sidecars that were connected when the last revision was published and do not serve it "
            "yet",
        ),
        MetricRow(
            "matrixflag_fleet_convergence_seconds",
            "gauge",
            ("project", "environment", "share"),
            "Time until half (0.5), 99 % (0.99) and all (1) of those served the last revision; "
            "absent until then",
        ),
        MetricRow(
            "matrixflag_fleet_complete",
            "gauge",
            (),
            "1 if what other replicas heard of the fleet is known here; 0 while Redis is away",
        ),
        MetricRow(
            "matrixflag_fleet_standings_total",
            "counter",
            ("outcome",),
            "Times that a sidecar told what it serves: taken, refused as wrong, or one too many "
            "(full); displaced are those that were forgotten for one of another key",
        ),
        MetricRow(
            "matrixflag_admin_token_everything",
            "gauge",
            (),
            "1 if ADMIN_TOKEN opens everything, which is for getting in again and no longer",
        ),
        MetricRow(
            "matrixflag_tasks",
            "gauge",
            (),
            "Tasks of the event loop: background work, connections and streams",
        ),
        MetricRow(
            "matrixflag_loop_lag_seconds",
            "gauge",
            (),
            "Longest delay of the event loop in the last ten seconds",
        ),
    )
}


class RedisFigures(NamedTuple):
    """What is shown of one Redis: of what kind it is, and who its masters are."""

    name: str
    topology: str
    masters: list[str]
    fail_overs: int


class EnvironmentFigures(NamedTuple):
    """What is shown of one environment."""

    project: str
    environment: str
    revision: int
    snapshot_bytes: int
    sidecars: int
    fleet: FleetFigures | None
    """None until somebody told what it serves."""


class Figures(NamedTuple):
    """The state at the moment of a scrape; `app.py` knows where it comes from."""

    redis_up: bool
    redis: list[RedisFigures]
    loaded: bool
    age_s: float
    conflicts: int
    reloads: int
    epochs_renewed: int
    claims_refused: Mapping[tuple[str, str], int]
    environments: list[EnvironmentFigures]
    flags: dict[str, int]
    units: dict[str, int]
    blobs_lost: dict[str, int]
    blobs_read: int
    blobs_sent: int
    streams_accepted: int
    streams_accepted_peak: int
    streams_refused: int
    streams_ended: dict[str, int]
    stream_events: dict[str, int]
    answered: Mapping[str, Mapping[str, int]]
    balances: Mapping[str, Mapping[str, int]]
    clamped: Mapping[str, int]
    unknown_flags: Mapping[str, int]
    standings: Mapping[str, int]
    fleet_complete: bool
    admin_token_everything: bool
    loop_lag_s: float
    tasks: int


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = _histogram("matrixflag_api_request_seconds", _BUCKETS_S, self.registry)
        self._ldap = _histogram("matrixflag_ldap_login_seconds", _BUCKETS_S, self.registry)
        self._commands = _histogram(
            "matrixflag_redis_command_seconds", _REDIS_BUCKETS_S, self.registry
        )
        row = METRICS["matrixflag_api_rate_limited_total"]
        self._limited = Counter(row.name, row.help, row.labels, registry=self.registry)
        row = METRICS["matrixflag_api_rate_unchecked_total"]
        self._unchecked = Counter(row.name, row.help, row.labels, registry=self.registry)
        row = METRICS["matrixflag_background_failures_total"]
        self._background = Counter(row.name, row.help, row.labels, registry=self.registry)
        row = METRICS["matrixflag_redis_errors_total"]
        self._errors = Counter(row.name, row.help, row.labels, registry=self.registry)

    def observe_request(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count a request. `route` is a path of the table of routes, or `unmatched`."""
        self._requests.labels(method, route, str(status)).observe(duration_s)

    def observe_ldap(self, outcome: str, duration_s: float) -> None:
        """Count a login that LDAP servers were asked for."""
        self._ldap.labels(outcome).observe(duration_s)

    def observe_redis(self, command: str, duration_s: float, succeeded: bool) -> None:
        """Count a command to Redis."""
        self._commands.labels(command).observe(duration_s)
        if not succeeded:
            self._errors.labels(command).inc()

    def rate_limited(self, limit: str) -> None:
        """Count a request that was too many."""
        self._limited.labels(limit).inc()

    def rate_unchecked(self) -> None:
        """Count a request of which nobody knows."""
        self._unchecked.inc()

    def background_failed(self, task: str, _error: BaseException) -> None:
        """Count a failure of supervised work."""
        self._background.labels(task).inc()

    def show(self, figures: Callable[[], Figures]) -> None:
        """Have the state read by `figures` at each scrape."""
        self.registry.register(_State(figures))

    def render(self) -> bytes:
        """Return the exposition, text format 0.0.4."""
        return generate_latest(self.registry)


class _State(Collector):
    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not ask for figures yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._figures()
        yield _gauge("matrixflag_redis_up", float(now.redis_up))
        master, fail_overs = (
            _gauge("matrixflag_redis_master"),
            _counter("matrixflag_redis_fail_overs_total"),
        )
        for redis in now.redis:
            fail_overs.add_metric((redis.name,), redis.fail_overs)
            for address in redis.masters[:MAX_SERIES]:
                master.add_metric((redis.name, redis.topology, address), 1)
        yield from (master, fail_overs)
        yield _gauge("matrixflag_definitions_loaded", float(now.loaded))
        yield _gauge("matrixflag_definitions_age_seconds", now.age_s)
        yield _counter("matrixflag_commit_conflicts_total", now.conflicts)
        yield _counter("matrixflag_definitions_reloads_total", now.reloads)
        yield _counter("matrixflag_epochs_renewed_total", now.epochs_renewed)
        yield _gauge("matrixflag_admin_token_everything", float(now.admin_token_everything))
        claims = _counter("matrixflag_claims_refused_total")
        for labels, count in islice(now.claims_refused.items(), MAX_SERIES):
            claims.add_metric(labels, count)
        yield claims
        yield _gauge("matrixflag_tasks", now.tasks)
        yield _gauge("matrixflag_loop_lag_seconds", now.loop_lag_s)
        yield from _reports(now)
        yield _counter("matrixflag_unit_blobs_read_total", now.blobs_read)
        yield _counter("matrixflag_unit_blobs_sent_total", now.blobs_sent)
        yield _counter("matrixflag_streams_accepted_total", now.streams_accepted)
        yield _gauge("matrixflag_streams_accepted_peak", now.streams_accepted_peak)
        yield _counter("matrixflag_streams_refused_total", now.streams_refused)
        for name, counts in (
            ("matrixflag_flags", now.flags),
            ("matrixflag_segment_units", now.units),
            ("matrixflag_unit_blobs_lost", now.blobs_lost),
        ):
            gauge = _gauge(name)
            for project, count in islice(counts.items(), MAX_SERIES):
                gauge.add_metric((project,), count)
            yield gauge
        for name, counts in (
            ("matrixflag_streams_ended_total", now.streams_ended),
            ("matrixflag_stream_events_total", now.stream_events),
        ):
            counter = _counter(name)
            for label, count in counts.items():
                counter.add_metric((label,), count)
            yield counter
        revision = _gauge("matrixflag_published_revision")
        size = _gauge("matrixflag_published_bytes")
        sidecars = _gauge("matrixflag_connected_sidecars")
        for row in now.environments[:MAX_SERIES]:
            labels = (row.project, row.environment)
            revision.add_metric(labels, row.revision)
            size.add_metric(labels, row.snapshot_bytes)
            sidecars.add_metric(labels, row.sidecars)
        yield from (revision, size, sidecars)
        yield from _fleet(now)


def _fleet(now: Figures) -> Iterator[Metric]:
    yield _gauge("matrixflag_fleet_complete", float(now.fleet_complete))
    standings = _counter("matrixflag_fleet_standings_total")
    for outcome, count in now.standings.items():
        standings.add_metric((outcome,), count)
    states = _gauge("matrixflag_fleet_sidecars")
    oldest = _gauge("matrixflag_fleet_oldest_age_seconds")
    shared = _gauge("matrixflag_fleet_names_shared")
    waiting = _gauge("matrixflag_fleet_waiting")
    convergence = _gauge("matrixflag_fleet_convergence_seconds")
    for row in now.environments[:MAX_SERIES]:
        labels, fleet = (row.project, row.environment), row.fleet
        if fleet is None:
            continue
        for state, count in fleet.states.items():
            states.add_metric((*labels, state), count)
        oldest.add_metric(labels, fleet.oldest_age_s)
        shared.add_metric(labels, fleet.names_shared)
        last = fleet.last
        if last is None:
            continue
        waiting.add_metric(labels, last.connected - last.known)
        for share, after_ms in (("0.5", last.half_ms), ("0.99", last.most_ms), ("1", last.all_ms)):
            if after_ms is not None:
                convergence.add_metric((*labels, share), after_ms / 1000)
    yield from (standings, states, oldest, shared, waiting, convergence)


def _reports(now: Figures) -> Iterator[Metric]:
    answered = _counter("matrixflag_reports_answered_total")
    for kind, outcomes in now.answered.items():
        for outcome, count in outcomes.items():
            answered.add_metric((kind, outcome), count)
    yield answered
    for kind, balance in now.balances.items():
        for where, count in balance.items():
            name = f"matrixflag_{kind}_{where}"
            total = f"{name}_total"
            yield _counter(total, count) if total in METRICS else _gauge(name, count)
    for name, counts in (
        ("matrixflag_reports_clamped_total", now.clamped),
        ("matrixflag_reports_unknown_flag_total", now.unknown_flags),
    ):
        counter = _counter(name)
        for kind, count in counts.items():
            counter.add_metric((kind,), count)
        yield counter


def _histogram(name: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    row = METRICS[name]
    return Histogram(row.name, row.help, row.labels, buckets=buckets, registry=registry)


def _gauge(name: str, value: float | None = None) -> GaugeMetricFamily:
    row = METRICS[name]
    return GaugeMetricFamily(row.name, row.help, labels=row.labels or None, value=value)


def _counter(name: str, value: float | None = None) -> CounterMetricFamily:
    row = METRICS[name]
    return CounterMetricFamily(row.name, row.help, labels=row.labels or None, value=value)
