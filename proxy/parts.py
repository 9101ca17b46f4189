"""From the settings of the sidecar to those of its parts, and to the parts that come in kinds.

Nothing here runs; `proxy.app` puts the parts together and gives them their lifetimes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import aiohttp

from proxy.admin import AdminSettings
from proxy.contract.access import hash_key
from proxy.contract.events import EVENTS_PATH
from proxy.contract.exposures import EXPOSURES_PATH
from proxy.contract.usage import USAGE_PATH
from proxy.events.buffer import EventBuffer
from proxy.events.recorder import EventRecorder
from proxy.exposures.buffer import ExposureBuffer
from proxy.exposures.recorder import Recorder
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.metrics import Metrics
from proxy.ofrep.answering import OfrepSettings
from proxy.ofrep.auth import Access
from proxy.ofrep.current import Current
from proxy.ofrep.streams import Pace, Streams
from proxy.reporting.batches import new_id, now_ms
from proxy.reporting.channel import Channel, ReportSettings
from proxy.reporting.disguise import make_disguise
from proxy.reporting.spool import Spool
from proxy.settings import ProxySettings
from proxy.standing import StandingSettings, Teller
from proxy.sync import SyncSettings, SyncStatus
from proxy.sync.source import run_control_plane_source
from proxy.usage.counts import UsageCounts

__all__ = ["Reports", "Work", "admin_settings", "make_reports", "make_source", "make_streams"]
__all__ += ["make_teller", "ofrep_settings"]

Work = Callable[[], Awaitable[None]]
"""Something that runs until it is cancelled, for `proxy.supervise`."""


def make_source(
    settings: ProxySettings, holder: Holder, status: SyncStatus, session: aiohttp.ClientSession
) -> Work:
    """Return the work that keeps the holder current, from the one source that is configured."""
    if settings.snapshot is not None:
        # Here, because it brings a file watcher along: 15 ms of a start that most do not need.
        from proxy.sync.file import run_file_source

        return partial(
            run_file_source,
            holder,
            status,
            settings.snapshot,
            settings.environment,
            fractional=settings.flagd_fractional,
        )
    sync = SyncSettings(
        control_plane_urls=settings.control_plane_url,
        key=settings.key or "",
        instance=settings.instance,
        cache_dir=settings.cache_dir,
        startup_policy=settings.startup_policy,
    )
    return partial(run_control_plane_source, holder, status, session, sync)


@dataclass(frozen=True, kw_only=True)
class Reports:
    """What is reported: who records it, and the channels, none where nobody is reported to."""

    exposures: Recorder
    events: EventRecorder
    usage: UsageCounts
    channels: tuple[Channel, ...]


def make_reports(
    settings: ProxySettings, session: aiohttp.ClientSession, current: Current
) -> Reports:
    """Return what records and reports; who serves a file has nobody to report to."""
    usage = UsageCounts(current.settle, now_ms)
    if not settings.control_plane_url:
        nowhere = EventRecorder(None, new_id)
        return Reports(exposures=Recorder(None), events=nowhere, usage=usage, channels=())
    disguise = make_disguise(settings.unit_hash_key)
    exposures = ExposureBuffer(settings.exposures_max_pending, disguise)
    events = EventBuffer(settings.events_max_pending_bytes)
    to = ReportSettings(
        control_plane_urls=settings.control_plane_url,
        key=settings.key or "",
        instance=settings.instance,
    )

    def spool(name: str, max_bytes: int) -> Spool | None:
        directory = settings.cache_dir
        return None if directory is None or not max_bytes else Spool(directory / name, max_bytes)

    return Reports(
        exposures=Recorder(exposures),
        events=EventRecorder(events, new_id, disguise),
        usage=usage,
        channels=(
            Channel(
                *("exposures", EXPOSURES_PATH, exposures, session, to),
                spool("exposures", settings.exposures_spool_max_bytes),
                interval_s=settings.exposures_interval_s,
            ),
            Channel(
                *("events", EVENTS_PATH, events, session, to),
                spool("events", settings.events_spool_max_bytes),
                interval_s=settings.events_interval_s,
            ),
            Channel(
                *("usage", USAGE_PATH, usage, session, to),
                spool("usage", settings.usage_spool_max_bytes),
                interval_s=settings.usage_interval_s,
                gather=usage.gather,
            ),
        ),
    )


def make_teller(
    settings: ProxySettings,
    session: aiohttp.ClientSession,
    holder: Holder,
    status: SyncStatus,
    lifecycle: Lifecycle,
    keys_used: dict[str, int],
) -> Teller | None:
    """Return what tells the control plane how this sidecar stands; None where there is none."""
    if not settings.control_plane_url:
        return None
    telling = StandingSettings(
        control_plane_urls=settings.control_plane_url,
        key=settings.key or "",
        instance=settings.instance,
        application=settings.application,
        application_version=settings.application_version,
        labels=dict(settings.labels),
        interval_s=settings.standing_interval_s,
    )
    return Teller(telling, session, holder, status, lifecycle, keys_used=keys_used)


def make_streams(
    settings: ProxySettings, access: Access, current: Current, metrics: Metrics
) -> Streams | None:
    """Return the event streams of one evaluation port, None where they are off."""
    if not settings.event_streams:
        return None
    pace = Pace(settings.max_streams, settings.streams_heartbeat_s)
    return Streams(access, current, metrics, pace, settings.streams_prefix)


def admin_settings(settings: ProxySettings) -> AdminSettings:
    """Return what the admin port needs to know."""
    return AdminSettings(
        instance=settings.instance,
        ready_without_snapshot=settings.startup_policy == "allow-empty",
        startup_grace_s=settings.startup_grace_s,
        unready_after_s=settings.unready_after_s,
    )


def ofrep_settings(settings: ProxySettings, *, open_without_keys: bool) -> OfrepSettings:
    """Return what the evaluation port needs to know: the hash of the sidecar's key, not the key."""
    own_key_hash = None if settings.key is None else hash_key(settings.key)
    return OfrepSettings(
        access=Access(open_without_keys, own_key_hash),
        first_snapshot_wait_s=settings.first_snapshot_wait_s,
        max_body_bytes=settings.max_body_bytes,
        freshness_headers=settings.freshness_headers,
    )
