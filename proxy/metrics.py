"""The sidecar's metrics: counted as plain integers while serving, rendered when somebody asks.

`METRICS` lists each one; `docs/metrics.md` is compared with it. The registry belongs to one
application, nothing here is global.

Rules:
- No lock and no await between evaluation and export. Evaluations are counted in the answers
  themselves (`Answer.evaluations`) and walked at scrape time.
- A scrape must not hold the loop. Evaluations, which may be thousands of series, are written here,
  in slices; the library, some 10 microseconds a sample, writes the few others.
- Counters never go back, and every set of labels is bounded (`proxy.counts`).
"""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.counts import MAX_SERIES, EvaluationCounts, Histogram, Labels
from proxy.events.recorder import EventRecorder
from proxy.exposures.recorder import Recorder
from proxy.holder import Holder, Served
from proxy.ofrep.current import Current
from proxy.reporting.channel import Channel
from proxy.slices import run_in_slices
from proxy.standing import Teller
from proxy.sync import BLOB_OUTCOMES, DELTA_OUTCOMES, STATES, SyncStatus

__all__ = ["METRICS", "MetricRow", "Metrics", "measure_lag"]


class MetricRow(NamedTuple):
    """One metric: `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def _balance(channel: str, deduplicated: str, what: str | None = None) -> list[MetricRow]:
    """Return the rows of a channel: what became of all that it was given."""
    name = f"matrixflag_{channel}"
    what = what or channel.capitalize()
    return [
        MetricRow(
            f"{name}_received_total",
            "counter",
            (),
            f"{what} seen: deduplicated + delivered + pending + parked + lost.",
        ),
        MetricRow(f"{name}_deduplicated_total", "counter", (), deduplicated),
        MetricRow(f"{name}_delivered_total", "counter", (), f"{what} the control plane stored."),
        MetricRow(f"{name}_pending", "gauge", (), f"{what} in memory or on disk."),
        MetricRow(
            f"{name}_parked_total",
            "counter",
            (),
            f"{what} the control plane refused, put aside on disk, or found too old, put aside"
            " there.",
        ),
        MetricRow(f"{name}_lost_total", "counter", (), f"{what} there was no room for."),
        MetricRow(
            f"{name}_errors_total",
            "counter",
            ("kind",),
            "Failed attempts to report: connect, timeout, protocol, spool or http_<status>.",
        ),
    ]


METRICS: tuple[MetricRow, ...] = (
    MetricRow("matrixflag_build_info", "gauge", ("version",), "Always 1; the version that runs."),
    MetricRow(
        "matrixflag_suspicious_units_total",
        "counter",
        ("unit",),
        "Requests whose targeting key is the name of nothing: undefined, null, None, NaN. All who"
        " send it are one unit of every rollout.",
    ),
    MetricRow(
        "matrixflag_requests_total",
        "counter",
        ("route", "status"),
        "Requests answered. Routes: single, bulk, exposures, events, stream, other.",
    ),
    MetricRow(
        "matrixflag_request_seconds",
        "histogram",
        ("route",),
        "From a request's head to its answer, reading the body and waiting for the first snapshot"
        " included.",
    ),
    MetricRow(
        "matrixflag_evaluation_seconds",
        "histogram",
        ("route",),
        "From a request's body to the answer's bytes: what the sidecar itself takes.",
    ),
    MetricRow(
        "matrixflag_evaluations_total",
        "counter",
        ("flag", "variant", "reason"),
        "Flags evaluated. The reason of an error is its code. Series beyond the bound are summed"
        " up under _other.",
    ),
    MetricRow(
        "matrixflag_evaluation_series",
        "gauge",
        (),
        f"Series of matrixflag_evaluations_total in use, of at most {MAX_SERIES}.",
    ),
    MetricRow("matrixflag_rate_limited_total", "counter", (), "Requests answered 429."),
    MetricRow("matrixflag_event_streams", "gauge", (), "Event streams that are open."),
    MetricRow(
        "matrixflag_event_streams_told_total",
        "counter",
        (),
        "Times that a stream was told to evaluate again.",
    ),
    MetricRow(
        "matrixflag_event_streams_dropped_total",
        "counter",
        ("reason",),
        "Streams that were ended. Reasons: slow, the client did not read; key, its key is not valid"
        " any more.",
    ),
    MetricRow(
        "matrixflag_event_streams_refused_total",
        "counter",
        (),
        "Streams answered 503: there were as many as there may be.",
    ),
    MetricRow("matrixflag_snapshot_revision", "gauge", (), "Revision served; absent before one."),
    MetricRow(
        "matrixflag_snapshot_age_seconds",
        "gauge",
        (),
        "Since the source last confirmed what is served; absent before the first snapshot.",
    ),
    MetricRow(
        "matrixflag_snapshot_max_age_seconds",
        "gauge",
        (),
        "Age from which flags answer the code default; 0 where they never do.",
    ),
    MetricRow(
        "matrixflag_snapshot_stale",
        "gauge",
        (),
        "1 while flags answer the code default, because nobody confirmed them for too long.",
    ),
    MetricRow(
        "matrixflag_snapshot_went_stale_total",
        "counter",
        (),
        "Times that flags came to answer the code default for their age.",
    ),
    MetricRow("matrixflag_snapshot_flags", "gauge", (), "Flags served."),
    MetricRow(
        "matrixflag_units",
        "gauge",
        (),
        "Units in the long lists of segments, those of a part that lists share once.",
    ),
    MetricRow(
        "matrixflag_unit_blobs", "gauge", (), "Blobs that these units are in: parts of the lists."
    ),
    MetricRow("matrixflag_unit_blob_bytes", "gauge", (), "Memory that these blobs take."),
    MetricRow("matrixflag_snapshot_swaps_total", "counter", (), "Snapshots put into service."),
    MetricRow(
        "matrixflag_snapshot_epoch_changes_total",
        "counter",
        (),
        "Snapshots of another epoch or environment than the one before: a restore, or a mistake.",
    ),
    MetricRow(
        "matrixflag_snapshots_refused_total",
        "counter",
        ("reason",),
        "Snapshots not taken: too_large, malformed, schema, signature, misplaced, digest, count,"
        " rolled_back.",
    ),
    MetricRow(
        "matrixflag_quarantined_flags",
        "gauge",
        (),
        "Flags that do not compile and answer PARSE_ERROR; /statusz says why.",
    ),
    MetricRow("matrixflag_sync_state", "gauge", ("state",), "1 for the state the source is in."),
    MetricRow("matrixflag_sync_errors_total", "counter", ("kind",), "Failures of the source."),
    MetricRow("matrixflag_sync_reconnects_total", "counter", (), "Streams opened again."),
    MetricRow(
        "matrixflag_sync_deltas_total",
        "counter",
        ("outcome",),
        "Changes that the stream told: applied, known already, or not applied, after which the"
        " whole snapshot is fetched: gap, digest, refused, overflow, failed.",
    ),
    MetricRow(
        "matrixflag_sync_blobs_total",
        "counter",
        ("outcome",),
        "Blobs of units that were needed: fetched, taken from disk, or failed to come.",
    ),
    MetricRow(
        "matrixflag_sync_blobs_missing",
        "gauge",
        (),
        "Blobs still to come before the latest snapshot can be served.",
    ),
    MetricRow(
        "matrixflag_standings_total",
        "counter",
        ("outcome",),
        "Times that the control plane was told what is served: taken, or failed and told later.",
    ),
    *_balance("exposures", "Repeats of a unit, flag and variant within an hour."),
    MetricRow(
        "matrixflag_exposures_without_unit_total",
        "counter",
        (),
        "Tracked evaluations whose context names no unit: of nobody.",
    ),
    MetricRow(
        "matrixflag_exposures_rejected_total",
        "counter",
        (),
        "Reported exposures that cannot be taken; the answer says why. Not among the received.",
    ),
    *_balance("events", "Events whose id came before, within an hour."),
    MetricRow(
        "matrixflag_events_rejected_total",
        "counter",
        (),
        "Reported events that cannot be taken; the answer says why. Not among the received.",
    ),
    MetricRow(
        "matrixflag_events_clamped_total",
        "counter",
        (),
        "Events whose time was more than 7 days ago or 5 minutes ahead, and was moved there.",
    ),
    *_balance("usage", "Always 0: sums are made once.", "Sums of evaluations of a minute"),
    MetricRow(
        "matrixflag_background_failures_total",
        "counter",
        ("task",),
        "Background work that failed in a way nobody expected and was started again.",
    ),
    MetricRow(
        "matrixflag_tasks",
        "gauge",
        (),
        "Tasks of the event loop: background work and open requests.",
    ),
    MetricRow(
        "matrixflag_loop_lag_seconds",
        "histogram",
        (),
        "How late the event loop woke up a task: what everything else waited too.",
    ),
)

_EVALUATIONS = "matrixflag_evaluations_total"
_OPENMETRICS_END = b"# EOF\n"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

_TIMED = ("single", "bulk", "exposures", "events")

_ROWS = {row.name: row for row in METRICS}

_LATENCY_BOUNDS_S = (
    *(5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4),
    *(1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0),
)
_LAG_EVERY_S = 0.5
_LAG_BOUNDS_S = (5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """Everything that is counted, and its rendering."""

    def __init__(self, holder: Holder, status: SyncStatus, current: Current) -> None:
        self._holder = holder
        self._status = status
        self._current = current
        self._exposures: Recorder | None = None
        self._events: EventRecorder | None = None
        self._channels: Sequence[Channel] = ()
        self._teller: Teller | None = None
        self.evaluations = EvaluationCounts()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.request_seconds = _by_route()
        self.evaluation_seconds = _by_route()
        self.quick_seconds = Histogram(_LATENCY_BOUNDS_S)
        """Of single evaluations answered 200 as they arrived, from bytes to bytes; they are in no
        other of these counts, but rendered as if they were."""
        self.rate_limited = 0
        self.streams_open = 0
        self.stream_events = 0
        self.streams_dropped: Counter[str] = Counter(dict.fromkeys(("key", "slow"), 0))
        self.streams_refused = 0
        self.background_failures: Counter[str] = Counter()
        self.loop_lag = Histogram(_LAG_BOUNDS_S)
        self._swaps = 0
        self._prefixes: dict[Labels, bytes] = {}  # as bounded as the series are
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Collector(self))

    def watch(
        self, exposures: Recorder, events: EventRecorder, channels: Sequence[Channel]
    ) -> None:
        """Render what is reported too."""
        self._exposures = exposures
        self._events = events
        self._channels = channels

    def watch_standing(self, teller: Teller) -> None:
        """Render how the standing is told too."""
        self._teller = teller

    def swapped(self, old: Served | None, new: Served) -> None:
        """Take note of another snapshot; a subscriber of the holder, after `Current` is one."""
        if old is None or old.compiled is not new.compiled:
            self._swaps += 1
        if old is not None:
            self.evaluations.fold(old, new)

    def background_failed(self, task: str, _error: BaseException) -> None:
        """Count a failure of supervised work."""
        self.background_failures[task] += 1

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, in the format a scraper accepts."""
        encode, content_type = choose_encoder(accept)
        evaluations = await run_in_slices(self._evaluations(content_type))
        others, end, _ = encode(self._registry).partition(_OPENMETRICS_END)
        return b"".join((others, *evaluations, end)), content_type

    def _evaluations(self, content_type: str) -> Generator[None, None, list[bytes]]:
        """Write the evaluations, step by step."""
        row = _ROWS[_EVALUATIONS]
        family = row.name
        if content_type.startswith("application/openmetrics-text"):
            family = family.removesuffix("_total")
        lines = [f"# HELP {family} {row.help}\n# TYPE {family} counter\n".encode()]
        self._current.settle()
        totals = yield from self.evaluations.totals(self._holder.served)
        for labels, count in totals.items():
            prefix = self._prefixes.get(labels)
            if prefix is None:
                prefix = self._prefixes[labels] = _sample_prefix(row, labels)
            lines.append(b"%b %d\n" % (prefix, count))
            yield
        return lines

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics but the process's own and the evaluations."""
        yield _metric("matrixflag_build_info", [((__version__,), 1)])
        requests = Counter(self.requests)
        if quick := self.quick_seconds.count:
            requests["single", 200] += quick
        yield _metric(
            "matrixflag_requests_total",
            [((route, str(status)), n) for (route, status), n in sorted(requests.items())],
        )
        yield _histogram("matrixflag_request_seconds", self._with_quick(self.request_seconds))
        yield _histogram("matrixflag_evaluation_seconds", self._with_quick(self.evaluation_seconds))
        suspicious = _labelled(self._current.suspicious_units)
        yield _metric("matrixflag_suspicious_units_total", suspicious)
        yield _metric("matrixflag_rate_limited_total", [((), self.rate_limited)])
        yield _metric("matrixflag_event_streams", [((), self.streams_open)])
        yield _metric("matrixflag_event_streams_told_total", [((), self.stream_events)])
        yield _metric("matrixflag_event_streams_dropped_total", _labelled(self.streams_dropped))
        yield _metric("matrixflag_event_streams_refused_total", [((), self.streams_refused)])
        yield _metric("matrixflag_background_failures_total", _labelled(self.background_failures))
        yield _metric("matrixflag_tasks", [((), len(asyncio.all_tasks()))])
        yield _histogram("matrixflag_loop_lag_seconds", {(): self.loop_lag})
        yield from self._snapshot()
        yield from self._sync()
        yield from self._reports()

    def _with_quick(
        self, by_route: dict[tuple[str, ...], Histogram]
    ) -> dict[tuple[str, ...], Histogram]:
        return {**by_route, ("single",): by_route["single",] + self.quick_seconds}

    def _snapshot(self) -> Iterator[Metric]:
        served = self._holder.served
        yield _metric("matrixflag_evaluation_series", [((), self.evaluations.series)])
        yield _metric("matrixflag_snapshot_swaps_total", [((), self._swaps)])
        yield _metric("matrixflag_snapshot_epoch_changes_total", [((), self._holder.epoch_changes)])
        yield _metric("matrixflag_snapshots_refused_total", _labelled(self._holder.refusals))
        yield _metric("matrixflag_snapshot_went_stale_total", [((), self._holder.stale_times)])
        if served is None:
            return
        max_age_s = self._holder.max_age_s or 0
        yield _metric("matrixflag_snapshot_max_age_seconds", [((), max_age_s)])
        yield _metric("matrixflag_snapshot_stale", [((), int(served.defaults is not None))])
        age_ms = self._holder.age_ms() or 0
        yield _metric("matrixflag_snapshot_revision", [((), served.header.revision)])
        yield _metric("matrixflag_snapshot_age_seconds", [((), age_ms / 1000)])
        yield _metric("matrixflag_snapshot_flags", [((), len(served.compiled.flags))])
        yield _metric("matrixflag_quarantined_flags", [((), len(served.compiled.quarantined))])
        yield _metric("matrixflag_units", [((), served.units)])
        yield _metric("matrixflag_unit_blobs", [((), len(served.blobs))])
        yield _metric("matrixflag_unit_blob_bytes", [((), served.blob_bytes)])

    def _sync(self) -> Iterator[Metric]:
        status = self._status
        states = [((state,), int(state == status.state)) for state in STATES]
        yield _metric("matrixflag_sync_state", states)
        yield _metric("matrixflag_sync_errors_total", _labelled(status.errors))
        yield _metric("matrixflag_sync_reconnects_total", [((), status.reconnects)])
        deltas = [((outcome,), status.deltas[outcome]) for outcome in DELTA_OUTCOMES]
        yield _metric("matrixflag_sync_deltas_total", deltas)
        blobs = [((outcome,), status.blobs[outcome]) for outcome in BLOB_OUTCOMES]
        yield _metric("matrixflag_sync_blobs_total", blobs)
        yield _metric("matrixflag_sync_blobs_missing", [((), status.blobs_missing)])
        outcomes = Counter() if self._teller is None else self._teller.outcomes
        yield _metric("matrixflag_standings_total", _labelled(outcomes))

    def _reports(self) -> Iterator[Metric]:
        if self._exposures is not None:
            name = "matrixflag_exposures_without_unit_total"
            yield _metric(name, [((), self._exposures.without_unit)])
            name = "matrixflag_exposures_rejected_total"
            yield _metric(name, [((), self._exposures.rejected)])
        if self._events is not None:
            yield _metric("matrixflag_events_rejected_total", [((), self._events.rejected)])
            yield _metric("matrixflag_events_clamped_total", [((), self._events.clamped)])
        for channel in self._channels:
            name = f"matrixflag_{channel.name}"
            for part, count in channel.balance()._asdict().items():
                suffix = "" if part == "pending" else "_total"
                yield _metric(f"{name}_{part}{suffix}", [((), count)])
            yield _metric(f"{name}_errors_total", _labelled(channel.errors))


async def measure_lag(metrics: Metrics, every_s: float = _LAG_EVERY_S) -> None:
    """Wake up regularly and note how late that was."""
    loop = asyncio.get_running_loop()
    while True:
        expected_s = loop.time() + every_s
        await asyncio.sleep(every_s)
        metrics.loop_lag.observe(max(0.0, loop.time() - expected_s))


class _Collector(Collector):
    """What the registry asks; kept apart so that registering does not render."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()

    def describe(self) -> Iterable[Metric]:
        return [_family(row) for row in METRICS]


def _by_route() -> dict[tuple[str, ...], Histogram]:
    return {(route,): Histogram(_LATENCY_BOUNDS_S) for route in _TIMED}


def _family(row: MetricRow) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    match row.kind:
        case "counter":
            return CounterMetricFamily(row.name, row.help, labels=row.labels)
        case "gauge":
            return GaugeMetricFamily(row.name, row.help, labels=row.labels)
        case _:
            return HistogramMetricFamily(row.name, row.help, labels=row.labels)


def _metric(name: str, samples: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    """Return a counter or a gauge with its samples, each the values of the labels and a number."""
    family = _family(_ROWS[name])
    if isinstance(family, HistogramMetricFamily):
        raise TypeError(f"{name} is a histogram")
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _sample_prefix(row: MetricRow, labels: Labels) -> bytes:
    """Return a sample up to its value; a key may hold anything, lone surrogates too."""
    pairs = zip(row.labels, labels, strict=True)
    shown = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)
    return f"{row.name}{{{shown}}}".encode("utf-8", "replace")


def _histogram(name: str, by_labels: dict[tuple[str, ...], Histogram]) -> Metric:
    family = HistogramMetricFamily(name, _ROWS[name].help, labels=_ROWS[name].labels)
    for labels, histogram in by_labels.items():
        buckets, total_s = histogram.sample()
        family.add_metric(labels, buckets, total_s)
    return family


def _labelled(counts: Counter[str]) -> list[tuple[tuple[str, ...], float]]:
    return [((label,), count) for label, count in sorted(counts.items())]
