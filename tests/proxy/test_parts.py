"""What of the settings reaches which part."""

from functools import partial

import aiohttp

from proxy.contract.access import hash_key
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.metrics import Metrics
from proxy.ofrep.auth import ANONYMOUS, Access
from proxy.ofrep.current import Current
from proxy.ofrep.streams import Pace
from proxy.parts import (
    admin_settings,
    make_reports,
    make_source,
    make_streams,
    make_teller,
    ofrep_settings,
)
from proxy.settings import ProxySettings
from proxy.sync import SyncStatus
from proxy.sync.file import run_file_source
from proxy.sync.source import run_control_plane_source

KEY = "mf_sidecar_" + "k" * 43
FROM_FILE = ProxySettings.load({}, {"snapshot": "f.json"})


def remote(**args: str) -> ProxySettings:
    """Return settings with a control plane."""
    environ = {"MATRIXFLAG_CONTROL_PLANE_URL": "http://cp", "MATRIXFLAG_KEY": KEY}
    return ProxySettings.load(environ, args)


async def test_the_source_is_the_file_or_the_control_plane() -> None:
    """Never both."""
    async with aiohttp.ClientSession() as session:
        holder, status = Holder(), SyncStatus()
        file = make_source(FROM_FILE, holder, status, session)
        control_plane = make_source(remote(), holder, status, session)
    assert isinstance(file, partial)
    assert file.func is run_file_source
    assert isinstance(control_plane, partial)
    assert control_plane.func is run_control_plane_source


async def test_who_serves_a_file_reports_to_nobody() -> None:
    """There is nobody."""
    async with aiohttp.ClientSession() as session:
        reports = make_reports(FROM_FILE, session, Current())
        assert (reports.exposures.buffer, reports.events.buffer) == (None, None)
        assert reports.channels == ()
        reports = make_reports(remote(), session, Current())
        assert reports.exposures.buffer is not None
        assert reports.events.buffer is not None
        assert [channel.name for channel in reports.channels] == ["exposures", "events", "usage"]


async def test_who_serves_a_file_tells_nobody_how_it_stands() -> None:
    """There is nobody to tell; else it says who it is."""
    async with aiohttp.ClientSession() as session:
        parts = (session, Holder(), SyncStatus(), Lifecycle(), {})
        assert make_teller(FROM_FILE, *parts) is None
        settings = remote(instance="i", application="shop", application_version="1", labels="a=b")
        teller = make_teller(settings, *parts)
    assert teller is not None
    told = teller.standing()
    assert (told.instance, told.application, told.application_version, told.labels) == (
        "i",
        "shop",
        "1",
        {"a": "b"},
    )


def test_the_own_key_is_passed_on_as_its_hash() -> None:
    """No part that answers strangers holds the key."""
    settings = ofrep_settings(remote(), open_without_keys=False)
    assert settings.access == (False, hash_key(KEY))
    assert KEY not in repr(settings)


def test_only_allow_empty_is_ready_without_a_snapshot() -> None:
    """The other policies are about where to start from."""
    for policy, ready in (("allow-disk", False), ("require-fresh", False), ("allow-empty", True)):
        assert admin_settings(remote(startup_policy=policy)).ready_without_snapshot is ready


async def test_event_streams_are_offered_unless_they_are_turned_off() -> None:
    """With what the settings say of them."""
    holder, current = Holder(), Current()
    metrics = Metrics(holder, SyncStatus(), current)
    made = [
        make_streams(remote(**args), Access(open_without_keys=True), current, metrics)
        for args in (
            {"max_streams": "7", "streams_heartbeat_s": "5", "streams_prefix": "/a"},
            {"event_streams": "false"},
        )
    ]
    assert made[1] is None
    assert made[0] is not None
    assert made[0].pace == Pace(max_streams=7, heartbeat_s=5.0)
    assert b'"/a/ofrep/v1/streams"' in made[0].offers.of(ANONYMOUS, 0)
