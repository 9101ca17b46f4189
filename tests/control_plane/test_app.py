"""Tests of the composition root: the real command, started and stopped, and the table of routes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp import ClientSession
from yarl import URL

from control_plane.app import ROUTES, _url, serve
from control_plane.settings import Settings
from control_plane.web.openapi import plain_path
from control_plane.web.routing import Permission
from tests.chaos.lines import Line
from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.api import Api, until

START = (sys.executable, "-c", "import sys; from proxy.cli import main; sys.exit(main())")
WAIT_S = 30


@contextmanager
def started(redis_url: str, tmp_path: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start `matrixflag control-plane` on free ports."""
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("MATRIXFLAG_")},
        "REDIS_URL": redis_url,
        **ADMINISTRATOR,
    }
    ready = str(tmp_path / "ready.json")
    ports = ("--port", "0", "--metrics-port", "0")
    command = (*START, "control-plane", *ports, "--ready-file", ready, *flags)
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


async def addresses(tmp_path: Path, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Return what the ready file says, once it is there."""

    async def is_there() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        return (tmp_path / "ready.json").exists()

    await until(is_there, WAIT_S)
    document: dict[str, str] = json.loads((tmp_path / "ready.json").read_text())
    return document


async def test_the_command_serves_both_ports_and_stops_on_sigterm(
    redis_url: str, tmp_path: Path
) -> None:
    """The ready file names where; SIGTERM ends it in order, with status 0."""
    with started(redis_url, tmp_path) as process:
        urls = await addresses(tmp_path, process)
        assert set(urls) == {"api", "metrics"}
        async with aiohttp.ClientSession() as session:
            async with session.get(urls["api"] + "/readyz") as response:
                assert response.status == 200
            async with session.get(urls["metrics"] + "/metrics") as response:
                assert response.status == 200
                assert response.content_type == "text/plain"
                text = await response.text()
        assert "matrixflag_definitions_loaded 1.0" in text
        assert "_created" not in text
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, WAIT_S) == 0
        assert process.stderr is not None
        log = process.stderr.read().decode()
        assert ADMIN_TOKEN not in log
        assert "Traceback" not in log


async def test_an_open_stream_does_not_hold_up_the_end(redis_url: str, tmp_path: Path) -> None:
    """Streams are cut first, so that sidecars go to another replica at once."""
    with started(redis_url, tmp_path) as process:
        url = (await addresses(tmp_path, process))["api"]
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with aiohttp.ClientSession() as session:
            async with session.post(
                url + "/api/v1/keys", json={"kind": "sidecar"}, headers=admin
            ) as response:
                key = (await response.json())["key"]
            sidecar = {"Authorization": f"Bearer {key}"}
            async with session.get(url + "/api/v1/sync/stream", headers=sidecar) as stream:
                assert stream.status == 200
                await stream.content.readline()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 5) == 0


def test_a_busy_port_is_named_with_its_setting(redis_url: str, tmp_path: Path) -> None:
    """And no trace is shown."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with started(redis_url, tmp_path, "--port", port) as process:
            assert process.wait(WAIT_S) == 1
            assert process.stderr is not None
            last = process.stderr.read().decode().splitlines()[-1]
    assert "MATRIXFLAG_PORT" in last
    assert port in last


def test_settings_that_cannot_be_used_are_all_named(redis_url: str, tmp_path: Path) -> None:
    """With status 2, before anything is opened."""
    flags = ("--body-timeout-s", "soon", "--log-level", "loud")
    with started(redis_url, tmp_path, *flags) as process:
        assert process.wait(WAIT_S) == 2
        assert process.stderr is not None
        text = process.stderr.read().decode()
    assert "--body-timeout-s" in text
    assert "--log-level" in text
    assert "Traceback" not in text


def test_uvloop_owns_the_loop_that_serves(redis_url: str, tmp_path: Path) -> None:
    """`uvloop.run` and a runner inside it: `run` must not leave the loop to aiohttp."""
    probe = (
        "import asyncio, sys, control_plane.app as app, uvloop\n"
        "from control_plane.settings import Settings\n"
        "async def serve(settings, stop):\n"
        "    loop = asyncio.get_running_loop()\n"
        "    sys.exit(0 if isinstance(loop, uvloop.Loop) else 3)\n"
        "app.serve = serve\n"
        "app.run(Settings())\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", probe], timeout=WAIT_S, check=False).returncode == 0
    )


def test_requests_are_handled_on_that_loop(redis_url: str, tmp_path: Path) -> None:
    """The task that serves a request runs on uvloop, not on a loop of a thread's."""
    seen: list[type] = []

    async def once() -> None:
        stop = asyncio.Event()
        ready = tmp_path / "ready.json"
        settings = Settings(
            redis_url=redis_url, port=0, metrics_port=0, ready_file=str(ready), host="127.0.0.1"
        )
        serving = asyncio.create_task(serve(settings, stop))

        async def is_there() -> bool:
            return ready.exists()

        await until(is_there, WAIT_S)
        url = json.loads(ready.read_text())["api"]
        async with aiohttp.ClientSession() as session, session.get(url + "/livez") as response:
            assert response.status == 200
        seen.append(type(serving.get_loop()))
        stop.set()
        await serving

    uvloop.run(once())
    assert seen == [uvloop.Loop]


async def test_whoever_waits_for_it_meets_no_503_where_redis_is_quick(
    redis_url: str, unused_tcp_port: int
) -> None:
    """A fleet that asks again and again comes back to flags, not to a reason to stay away."""
    server, stop, first = URL(redis_url), asyncio.Event(), list[int]()
    async with Line([(server.host or "", server.port or 0)]) as line, ClientSession() as session:
        line.latency_s = 0.01
        url = str(server.with_host(line.address[0]).with_port(line.address[1]))
        settings = Settings(redis_url=url, host="127.0.0.1", port=unused_tcp_port, metrics_port=0)
        serving = asyncio.create_task(serve(settings, stop))

        async def answers() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{unused_tcp_port}/readyz") as response:
                    first.append(response.status)
            return bool(first)

        await until(answers, WAIT_S)
        stop.set()
        await serving
    assert first == [200]


def test_every_route_has_a_permission_and_public_ones_are_these() -> None:
    """What is open to all is a list to be looked at, not an accident."""
    public = {plain_path(r.path) for r in ROUTES if r.permission is Permission.PUBLIC}
    assert public == {
        "/livez",
        "/readyz",
        "/health",
        "/docs",
        "/docs/assets/{name}",
        "/redoc",
        "/openapi.json",
        "/api/v1/auth/accept",
        "/api/v1/auth/cookies",
        "/api/v1/auth/cookies/refresh",
        "/api/v1/auth/exchange",
        "/api/v1/auth/login",
        "/api/v1/auth/oidc/callback",
        "/api/v1/auth/oidc/login",
        "/api/v1/auth/passkey",
        "/api/v1/auth/refresh",
        "/api/v1/auth/verify",
    }


def test_no_route_is_declared_twice() -> None:
    """The second would never be reached."""
    declared = [(r.method, plain_path(r.path)) for r in ROUTES]
    assert len(set(declared)) == len(declared)


async def test_collections_work_with_and_without_a_trailing_slash(api: Api) -> None:
    """The mission's own examples use both."""
    for route in ROUTES:
        if route.method == "GET" and route.path == "/api/v1/keys":
            assert (await api.ask("GET", route.path)).status == 200
            assert (await api.ask("GET", route.path + "/")).status == 200


async def test_a_head_is_a_get_without_a_body(api: Api) -> None:
    """Load balancers ask like that."""
    reply = await api.ask("HEAD", "/livez", token=None)
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (("0.0.0.0", 8000), "http://127.0.0.1:8000"),
        (("::1", 8000), "http://[::1]:8000"),
        (("::", 8000), "http://[::1]:8000"),
    ],
)
def test_an_announced_address_can_be_connected_to(address: tuple[str, int], url: str) -> None:
    """A wildcard is where we listen, not where anybody goes."""
    assert _url(address) == url
