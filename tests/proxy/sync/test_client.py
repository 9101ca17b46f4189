"""What a control plane asks for in a header is understood, within bounds.

How requests fail is tested with the source, on real sockets.
"""

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.sync.client import ControlPlaneClient, retry_after_s
from proxy.sync.settings import SyncSettings
from tests.proxy.sync.control_plane import KEY, control_plane
from tests.support.snapshots import make_snapshot

NOW = datetime(2026, 12, 1, 9, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("86400", 600.0),
        ("9" * 5000, 600.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Tue, 01 Dec 2026 09:00:30 GMT", 30.0),
        ("Tue, 01 Dec 2026 08:00:00 GMT", 0.0),
        ("Thu, 31 Dec 2099 23:59:59 GMT", 600.0),
        ("2026-12-01T09:00:30Z", None),
        ("Tue, 99 Dec 2026 09:00:30 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds or a date of HTTP, never more than ten minutes; nonsense is nothing."""
    assert retry_after_s(value, NOW) == seconds


@given(st.text())
def test_retry_after_is_total(value: str) -> None:
    """Whatever a header holds."""
    seconds = retry_after_s(value, NOW)
    assert seconds is None or 0.0 <= seconds <= 600.0


@pytest.mark.parametrize("epoch", ["a\r\nX-Evil: 1", "é", "e" * 10_000, "\0"])
async def test_an_epoch_that_fits_no_header_does_not_break_requests(epoch: str) -> None:
    """It came from a file or a control plane; every later request would fail for it."""
    held, _ = make_snapshot({}, epoch=epoch, revision=10**100)
    async with control_plane() as fake, aiohttp.ClientSession() as session:
        settings = SyncSettings(control_plane_urls=(fake.url,), key=KEY)
        client = ControlPlaneClient(session, settings)
        assert (await client.fetch(fake.url, held)).body == fake.body
        async with client.stream(fake.url, held, held) as content:
            assert await content.readany()
        assert "X-Evil" not in fake.requests[-1].headers


async def test_what_is_held_is_not_sent_again() -> None:
    """The tag names the header too: the same content in another epoch is fetched."""
    async with control_plane() as fake, aiohttp.ClientSession() as session:
        client = ControlPlaneClient(session, SyncSettings(control_plane_urls=(fake.url,), key=KEY))
        assert (await client.fetch(fake.url, fake.header)).body is None
        held = fake.header
        fake.publish({"a": True}, epoch="e2", revision=held.revision)
        assert fake.header.digest == held.digest
        assert (await client.fetch(fake.url, held)).body == fake.body


async def test_the_age_includes_the_way_here() -> None:
    """The control plane said it with the first byte; the last one may come minutes later."""

    async def slow(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Length": "2", "X-Matrixflag-Verified-Age-Ms": "1000"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(0.2)
        await response.write(b"}")
        return response

    async with control_plane() as fake, aiohttp.ClientSession() as session:
        fake.on_snapshot = slow
        client = ControlPlaneClient(session, SyncSettings(control_plane_urls=(fake.url,), key=KEY))
        fetched = await client.fetch(fake.url, None)
    assert fetched.body == b"{}"
    assert 1_150 <= fetched.verified_age_ms < 5_000


async def test_a_path_before_the_api_is_kept() -> None:
    """Behind an ingress the control plane may live below a path."""
    async with control_plane() as fake, aiohttp.ClientSession() as session:
        settings = SyncSettings(control_plane_urls=(fake.url + "/flags/",), key=KEY)
        client = ControlPlaneClient(session, settings)
        with pytest.raises(Exception, match="http_404: /flags/api/v1/sync/snapshot"):
            await client.fetch(fake.url + "/flags/", None)
