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
from proxy.sync.errors import SyncError
from proxy.sync.settings import SyncSettings
from tests.proxy.sync.control_plane import KEY, control_plane
from tests.support.api import Api, api
from tests.support.snapshots import make_snapshot

__all__ = ["api"]  # a fixture

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


class _Answering:
    """A control plane that answers everything alike."""

    def __init__(self, body: bytes, content_type: str, status: int = 401) -> None:
        self._body, self._type, self._status = body, content_type, status

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer."""
        return web.Response(body=self._body, content_type=self._type, status=self._status)


_PROBLEM = "application/problem+json"


def _settings(url: str) -> SyncSettings:
    return SyncSettings(control_plane_urls=(url,), key=KEY)


async def test_a_real_control_plane_says_why(api: Api) -> None:
    """Its log and its `/statusz` are where people look first."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(SyncError, match="answered 401: the credential is not known"):
            await ControlPlaneClient(session, _settings(api.url)).fetch(api.url, None)


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (
            b'{"detail": "the key mf_sidecar_a... has expired"}',
            _PROBLEM,
            ": the key mf_sidecar_a...",
        ),
        (b'{"detail": "two\\nlines\\u001b[2J"}', _PROBLEM, ": two lines [2J"),
        (b'{"detail": ""}', _PROBLEM, ""),
        (b'{"detail": 7}', _PROBLEM, ""),
        (b"{}", _PROBLEM, ""),
        (b"[" * 10_000, _PROBLEM, ""),
        (b"\xff", _PROBLEM, ""),
        (b'{"detail": "' + b"x" * 50_000 + b'"}', _PROBLEM, ""),
        (b'{"detail": "a page of somebody else"}', "application/json", ""),
        (b"<html>", "text/html", ""),
    ],
)
async def test_why_it_was_refused_is_said_when_the_control_plane_says_it(
    body: bytes, content_type: str, why: str
) -> None:
    """In one line that a log can take, of everything that asks."""
    runner = web.ServerRunner(web.Server(_Answering(body, content_type)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        async with aiohttp.ClientSession() as session:
            client = ControlPlaneClient(session, _settings(url))
            for asked in (client.fetch(url, None), client.fetch_blob(url, "0" * 64, 9)):
                with pytest.raises(SyncError) as refused:
                    await asked
                said = refused.value.detail
                assert f" answered 401{why}" in said
                assert why or said.endswith("401")
                assert said.isprintable()
            with pytest.raises(SyncError) as refused:
                async with client.stream(url, None, None):
                    pass
            assert f" answered 401{why}" in refused.value.detail
    finally:
        await runner.cleanup()


async def test_a_reason_is_short() -> None:
    """200 characters are enough for one."""
    answer = _Answering(b'{"detail": "' + b"x" * 5_000 + b'"}', _PROBLEM, 403)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(SyncError) as refused:
                await ControlPlaneClient(session, _settings(url)).fetch(url, None)
    finally:
        await runner.cleanup()
    assert refused.value.kind == "http_403"
    assert refused.value.detail.endswith("403: " + "x" * 200)


async def test_a_reason_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal is known without it."""
    monkeypatch.setattr("proxy.sync.client._PROBLEM_S", 0.1)
    ended = asyncio.Event()

    async def never(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(status=401, headers={"Content-Type": _PROBLEM})
        await answer.prepare(request)
        await answer.write(b'{"detail": "')
        await ended.wait()
        return answer

    runner = web.ServerRunner(web.Server(never))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(SyncError) as refused:
                async with asyncio.timeout(10):
                    await ControlPlaneClient(session, _settings(url)).fetch(url, None)
    finally:
        ended.set()
        await runner.cleanup()
    assert refused.value.detail.endswith(" answered 401")
