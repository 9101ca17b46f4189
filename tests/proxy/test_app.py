"""The sidecar as a process, with files, sockets, signals and a control plane that are real."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import requests
from aiohttp import web

from proxy.app import running
from proxy.contract.events import Event
from proxy.contract.exposures import Exposure
from proxy.contract.usage import UsageCount
from proxy.settings import ProxySettings
from tests.proxy.ofrep.server import SERVER_KEY, keys
from tests.proxy.reporting.collector import KINDS, Collector
from tests.proxy.sync.control_plane import KEY, FakeControlPlane, control_plane
from tests.support.processes import running as running_command
from tests.support.processes import running_sidecar
from tests.support.snapshots import definition
from tests.support.tools import missing

FLAGS: dict[str, Any] = {
    "flags": [{"key": "hello", "type": "boolean", "value": True, "enabled": True}]
}
SINGLE = "/ofrep/v1/evaluate/flags/hello"
ANY_PORT = {"port": "0", "admin_port": "0"}


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """A file of flags."""
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(FLAGS))
    return file


class WithReports(FakeControlPlane):
    """A control plane that takes reports too."""

    def __init__(self) -> None:
        super().__init__()
        self.collector = Collector()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        if request.path in KINDS:
            return await self.collector.take(request)
        return await super().handle(request)


def settings(url: str, **args: str) -> ProxySettings:
    """Return the settings of a sidecar of a control plane."""
    environ = {"MATRIXFLAG_CONTROL_PLANE_URL": url, "MATRIXFLAG_KEY": KEY}
    return ProxySettings.load(environ, ANY_PORT | args)


async def evaluate(url: str, key: str = "", context: Any = None) -> tuple[int, Any]:
    """Return status and body of a single evaluation."""
    headers = {"X-API-Key": key} if key else {}
    body = {"context": context or {}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + SINGLE, json=body, headers=headers) as response,
    ):
        return response.status, await response.json()


# From a file, as a process


def test_it_serves_a_file_and_says_where(flags: Path, tmp_path: Path) -> None:
    """The ready file names both ports, once they can be connected to."""
    with running_sidecar(tmp_path, "--snapshot", flags) as sidecar:
        assert requests.post(sidecar.ofrep + SINGLE, timeout=10).json()["value"] is True
        assert requests.get(sidecar.admin + "/livez", timeout=10).ok
        standing = requests.get(sidecar.admin + "/statusz", timeout=10).json()
        assert standing["snapshot"]["source"] == "file"
        assert standing["loop"] == "uvloop", "the loop that serves"
        assert sidecar.ofrep in (tmp_path / "sidecar.log").read_text()


def test_sigterm_ends_it_within_two_seconds(flags: Path, tmp_path: Path) -> None:
    """That is all a native sidecar may have; idle connections do not hold it up."""
    with (
        running_sidecar(tmp_path, "--snapshot", flags) as sidecar,
        requests.Session() as session,
    ):
        assert session.post(sidecar.ofrep + SINGLE, timeout=10).ok
        host, port = sidecar.ofrep.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST " + SINGLE.encode() + b" HTTP/1.1\r\nHost: x\r\n")
            began = time.monotonic()
            os.kill(sidecar.pid, signal.SIGTERM)
            assert slow.recv(1000) == b""
            psutil.Process(sidecar.pid).wait(10)
            assert time.monotonic() - began < 2.0
    assert "stopped" in (tmp_path / "sidecar.log").read_text()


def test_while_it_drains_it_answers_and_is_not_ready(flags: Path, tmp_path: Path) -> None:
    """Callers that have not noticed yet are still served, and told to leave."""
    with running_sidecar(tmp_path, "--snapshot", flags, "--drain-s", "0.5") as sidecar:
        requests.post(sidecar.ofrep + SINGLE, timeout=10)
        os.kill(sidecar.pid, signal.SIGTERM)
        while (ready := requests.get(sidecar.admin + "/readyz", timeout=10)).ok:
            pass
        assert ready.text == "not ready: stopping\n"
        answer = requests.post(sidecar.ofrep + SINGLE, timeout=10)
        assert answer.ok
        assert answer.headers["Connection"] == "close"


@contextmanager
def command(tmp_path: Path, *arguments: str) -> Iterator[tuple[int, str]]:
    """Run a sidecar that is meant to end by itself; yield its status and output."""
    log = tmp_path / "log"
    with running_command(["proxy", *arguments], log) as process:
        status = process.wait(30)
    yield status, log.read_text()


def test_all_wrong_settings_are_told_by_name(tmp_path: Path) -> None:
    """Status 2, and not a traceback."""
    with command(tmp_path, "--port", "x", "--drain-s", "y") as (status, output):
        assert status == 2
        assert "--port: 'x' is not a whole number" in output
        assert "--drain-s: 'y' is not a number" in output
        assert "Traceback" not in output


def test_a_busy_port_names_the_flag(flags: Path, tmp_path: Path) -> None:
    """Status 1, and not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ("--snapshot", str(flags), "--admin-port", port, "--port", "0")
        with command(tmp_path, *arguments) as (status, output):
            assert status == 1
            assert f"--admin-port {port}: 127.0.0.1 is in use" in output
            assert "Traceback" not in output


def test_a_ready_file_that_cannot_be_written_names_the_flag(flags: Path, tmp_path: Path) -> None:
    """Who waits for the file would wait for ever."""
    there = str(tmp_path / "none" / "ready")
    arguments = ("--snapshot", str(flags), "--port", "0", "--admin-port", "0")
    with command(tmp_path, *arguments, "--ready-file", there) as (status, output):
        assert status == 1
        assert f"--ready-file {there}: No such file or directory" in output
        assert "Traceback" not in output


def test_a_log_of_json_is_json_in_every_line(flags: Path, tmp_path: Path) -> None:
    """From the first to the last; the addresses are members."""
    with running_sidecar(tmp_path, "--snapshot", flags, "--log-format", "json") as sidecar:
        requests.post(sidecar.ofrep + SINGLE, timeout=10)
    lines = [json.loads(line) for line in (tmp_path / "sidecar.log").read_text().splitlines()]
    assert lines[0]["ofrep"] == sidecar.ofrep
    assert lines[-1]["message"] == "stopped"


async def send_event(url: str) -> None:
    """Report an event."""
    body = {"events": [{"name": "buy", "unit": "u-1"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + "/v1/events", json=body) as response,
    ):
        assert response.status == 202


# With a control plane


async def test_flags_come_from_the_control_plane_and_exposures_go_there(tmp_path: Path) -> None:
    """The whole way of one evaluation."""
    fake = WithReports()
    fake.publish({"hello": definition(track=True)})
    async with control_plane(fake=fake):
        async with running(settings(fake.url, exposures_interval_s="0.05")) as sidecar:
            status, body = await evaluate(sidecar.ofrep, context={"targetingKey": "u-1"})
            assert (status, body["value"]) == (200, True)
            await asyncio.wait_for(fake.collector.request_made.wait(), 10)
        (exposure,) = fake.collector.of(Exposure)
        assert (exposure.flag, exposure.unit, exposure.revision) == ("hello", "u-1", 1)


async def test_the_last_reports_are_sent_when_it_ends(tmp_path: Path) -> None:
    """Not only at the next interval, which never comes."""
    fake = WithReports()
    fake.publish({"hello": definition(track=True)})
    async with control_plane(fake=fake):
        async with running(settings(fake.url, exposures_interval_s="3600")) as sidecar:
            await evaluate(sidecar.ofrep, context={"targetingKey": "u-1"})
            await send_event(sidecar.ofrep)
            assert fake.collector.items == []
        (exposure,) = fake.collector.of(Exposure)
        (event,) = fake.collector.of(Event)
        assert (exposure.unit, event.unit) == ("u-1", "u-1")
        (usage,) = fake.collector.of(UsageCount)
        assert (usage.flag, usage.variant, usage.reason, usage.count) == (
            "hello",
            "on",
            "STATIC",
            1,
        )


async def test_without_a_control_plane_it_starts_from_disk(tmp_path: Path) -> None:
    """Flags, and the exposures that were not sent, survive."""
    fake = WithReports()
    fake.publish({"hello": definition(track=True)})
    fake.collector.answer = lambda _batch: web.Response(status=503)
    async with (
        control_plane(fake=fake),
        running(settings(fake.url, cache_dir=str(tmp_path))) as sidecar,
    ):
        await evaluate(sidecar.ofrep, context={"targetingKey": "u-1"})
    async with running(settings(fake.url, cache_dir=str(tmp_path))) as sidecar:
        assert (await evaluate(sidecar.ofrep))[0] == 200
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.source == "disk"
    for channel in ("exposures", "usage"):
        assert len(list((tmp_path / channel / "waiting").iterdir())) == 2 - (channel == "exposures")


async def test_it_ends_at_once_while_requests_wait_for_the_first_snapshot() -> None:
    """They get 503, which clients take for a passing fault."""
    async with control_plane() as fake:
        url = fake.url
    async with running(settings(url, first_snapshot_wait_s="60")) as sidecar:
        waiting = asyncio.Event()
        wait_first = sidecar.holder.wait_first

        async def watched(timeout_s: float) -> Any:
            waiting.set()
            return await wait_first(timeout_s)

        sidecar.holder.wait_first = watched  # type: ignore[method-assign]
        early = asyncio.create_task(evaluate(sidecar.ofrep))
        await waiting.wait()
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    assert (await early)[0] == 503


async def test_keys_of_the_snapshot_are_asked_for() -> None:
    """On loopback too."""
    async with control_plane() as fake:
        fake.publish({"hello": True}, more=keys())
        async with running(settings(fake.url)) as sidecar:
            assert (await evaluate(sidecar.ofrep))[0] == 401
            assert (await evaluate(sidecar.ofrep, SERVER_KEY))[0] == 200
            assert (await evaluate(sidecar.ofrep, KEY))[0] == 403


async def test_open_to_others_without_keys_is_refused() -> None:
    """As soon as it is known that there are none."""
    async with control_plane() as fake:
        fake.publish({"hello": True})
        async with running(settings(fake.url, host="0.0.0.0")) as sidecar:
            reason = await asyncio.wait_for(sidecar.refusal, 10)
            assert "--allow-anonymous" in reason
            assert (await evaluate(sidecar.ofrep))[0] == 401


async def test_a_look_for_keys_that_fails_opens_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is said, and who has no key is turned away all the same."""
    logged = asyncio.Event()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "looking for evaluation keys failed" in record.getMessage():
                logged.set()

    monkeypatch.setattr("proxy.app._watch_for_keys", broken)
    handler = Handler()
    logging.getLogger("proxy.app").addHandler(handler)
    try:
        async with control_plane() as fake:
            fake.publish({"hello": True})
            async with running(settings(fake.url, host="0.0.0.0")) as sidecar:
                await asyncio.wait_for(logged.wait(), 10)
                assert (await evaluate(sidecar.ofrep))[0] == 401
    finally:
        logging.getLogger("proxy.app").removeHandler(handler)


@pytest.mark.parametrize(
    ("more", "allow", "key"), [(keys(), "false", SERVER_KEY), (None, "true", "")]
)
async def test_open_to_others_with_keys_or_when_allowed(more: Any, allow: str, key: str) -> None:
    """Then it serves, and goes on when the keys are deleted, to nobody."""
    async with control_plane() as fake:
        fake.publish({"hello": True}, more=more)
        arguments = {"host": "0.0.0.0", "allow_anonymous": allow, "startup_grace_s": "0.2"}
        async with running(settings(fake.url, **arguments)) as sidecar:
            assert (await evaluate(sidecar.ofrep, key))[0] == 200
            swapped = asyncio.Event()
            sidecar.holder.subscribe(lambda _old, _new: swapped.set())
            fake.publish({"hello": True}, revision=2)
            await asyncio.wait_for(swapped.wait(), 10)
            assert (await evaluate(sidecar.ofrep, key))[0] == (401 if more else 200)
            assert not sidecar.refusal.done()


async def test_a_process_that_is_refused_ends_with_status_2(tmp_path: Path) -> None:
    """With what to change as its last word."""
    async with control_plane() as fake:
        fake.publish({"hello": True})
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "proxy", "proxy", "--host", "0.0.0.0", "--port", "0", "--admin-port", "0"),
            env={
                **os.environ,
                "MATRIXFLAG_CONTROL_PLANE_URL": fake.url,
                "MATRIXFLAG_KEY": KEY,
            },
            stderr=subprocess.PIPE,
        )
        _, output = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 2
        assert b"--allow-anonymous" in output
        assert KEY.encode() not in output


async def test_a_unix_socket_is_open_beside_a_closed_port(tmp_path: Path) -> None:
    """Who may open it is the file system's to say."""
    async with control_plane() as fake:
        fake.publish({"hello": True})
        path = tmp_path / "s"
        async with running(settings(fake.url, host="0.0.0.0", unix=str(path))) as sidecar:
            assert (await evaluate(sidecar.ofrep))[0] == 401
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
                session.post("http://sidecar" + SINGLE) as response,
            ):
                assert response.status == 200


async def test_both_families_of_localhost_are_one_port() -> None:
    """Resolvers differ in which they name first."""
    if not socket.has_ipv6:
        missing("IPv6")
    async with control_plane() as fake:
        fake.publish({"hello": True})
        async with running(settings(fake.url, host="127.0.0.1,::1")) as sidecar:
            port = sidecar.ofrep.rpartition(":")[2]
            for host in ("127.0.0.1", "[::1]"):
                assert (await evaluate(f"http://{host}:{port}"))[0] == 200


async def test_a_failure_nobody_expected_is_counted_and_survived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Background work starts again; answers go on."""
    failed = asyncio.Event()

    async def fail(*_: Any) -> None:
        failed.set()
        raise KeyError("nobody expected this")

    monkeypatch.setattr("proxy.app.measure_lag", fail)
    async with control_plane() as fake:
        fake.publish({"hello": True})
        async with running(settings(fake.url)) as sidecar:
            await failed.wait()
            assert (await evaluate(sidecar.ofrep))[0] == 200
            async with (
                aiohttp.ClientSession() as session,
                session.get(sidecar.admin + "/statusz") as response,
            ):
                failures = (await response.json())["background_failures"]
            assert failures["loop lag"] >= 1
