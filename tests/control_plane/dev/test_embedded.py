"""The embedded server, the real one: starts, keeps what it acknowledged, ends, explains itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from control_plane.dev.embedded import EmbeddedServer, find_server, open_log, tail
from control_plane.dev.errors import DevError


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[EmbeddedServer, Redis]]:
    """Run a server and yield it with a client."""
    server = EmbeddedServer(directory)
    await server.start()
    client: Redis = Redis.from_url(server.url, decode_responses=True)
    try:
        yield server, client
    finally:
        await client.aclose()
        await server.stop()


async def test_data_survives_a_restart(tmp_path: Path) -> None:
    """What was written is there again."""
    async with running(tmp_path) as (_, client):
        await client.set("a", "1")
    async with running(tmp_path) as (_, client):
        assert await client.get("a") == "1"


async def test_data_survives_kill_9(tmp_path: Path) -> None:
    """What was acknowledged was on disk before."""
    async with running(tmp_path) as (server, client):
        await client.set("a", "1")
        assert server.process is not None
        server.process.kill()
        await server.process.wait()
    async with running(tmp_path) as (_, client):
        assert await client.get("a") == "1"


async def test_every_write_is_on_disk_and_none_is_evicted(tmp_path: Path) -> None:
    """The durability that definitions want."""
    async with running(tmp_path) as (_, client):
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        for name, value in wanted.items():
            assert (await client.config_get(name))[name] == value


async def test_it_is_reached_by_this_user_alone(tmp_path: Path) -> None:
    """No TCP port, a socket that others cannot open, files that others cannot read."""
    async with running(tmp_path) as (server, client):
        assert (await client.config_get("port"))["port"] == "0"
        assert (tmp_path / "valkey.sock").stat().st_mode & 0o077 == 0
        assert (tmp_path / "valkey.log").stat().st_mode & 0o077 == 0
        assert server.url.startswith("unix:///")


async def test_a_path_too_long_for_a_socket_gets_a_private_directory(tmp_path: Path) -> None:
    """The address of a socket holds about a hundred bytes; home directories are longer."""
    directory = tmp_path / ("long" * 40)
    async with running(directory) as (_, client):
        assert await client.ping()
        elsewhere = (directory / "valkey.sock").readlink().parent
        assert elsewhere.stat().st_mode & 0o077 == 0
    assert not elsewhere.exists()


async def test_a_path_with_odd_characters_works(tmp_path: Path) -> None:
    """Spaces, percent signs and question marks stand in people's paths."""
    async with running(tmp_path / "a b%20?c#é") as (_, client):
        assert await client.ping()


async def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    """A socket that nobody answers must not stop the next start, nor stay in /tmp."""
    directory = tmp_path / ("long" * 40)
    server = EmbeddedServer(directory)
    process = await server.start()
    left = (directory / "valkey.sock").readlink()
    process.kill()
    await process.wait()
    assert left.exists()
    async with running(directory):
        assert not left.exists()


async def test_the_server_holds_the_lock_it_is_given(tmp_path: Path) -> None:
    """As long as a server writes to the directory, nobody else may start one there."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    server = EmbeddedServer(tmp_path / "server", lock)
    process = await server.start()
    try:
        held = {
            os.readlink(f"/proc/{process.pid}/fd/{n}")
            for n in os.listdir(f"/proc/{process.pid}/fd")
        }
        assert str(tmp_path / "lock") in held
    finally:
        os.close(lock)
        await server.stop()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The last lines of its log are the explanation."""
    broken = tmp_path / "appendonlydir"
    broken.write_text("not a directory")
    with pytest.raises(DevError, match=r"ended at once, status 1:\n  \| "):
        await EmbeddedServer(tmp_path).start()


async def test_a_server_that_ignores_us_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping ends, also when the server hangs."""
    monkeypatch.setattr("control_plane.dev.embedded._STOP_TIMEOUT_S", 0.2)
    server = EmbeddedServer(tmp_path)
    process = await server.start()
    process.send_signal(signal.SIGSTOP)
    await asyncio.wait_for(server.stop(), 10)
    assert process.returncode == -signal.SIGKILL


def test_without_any_server_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways out, each a line to paste."""
    monkeypatch.setattr("control_plane.dev.embedded.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DevError, match=r"pip install[^\0]*apt-get install[^\0]*--redis-url"):
        find_server()


@pytest.mark.parametrize(("version", "taken"), [("6.2.14", False), ("7.0.15", True)])
def test_a_server_on_path_is_taken_when_new_enough(
    version: str, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6 lacks what the store needs; better none than a failure later."""
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 bits=64'\n")
    program.chmod(0o755)
    monkeypatch.setattr("control_plane.dev.embedded.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    if taken:
        assert find_server() == program
    else:
        with pytest.raises(DevError):
            find_server()


def test_a_log_that_has_grown_is_begun_anew(tmp_path: Path) -> None:
    """Logs are bounded over restarts."""
    log = tmp_path / "log"
    log.write_bytes(b"x" * 1_000_001)
    open_log(log).close()
    assert log.stat().st_size == 0


def test_the_end_of_a_log_is_quoted(tmp_path: Path) -> None:
    """Some lines, marked as quoted; and a line also where there is nothing."""
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert tail(log, 2) == "  | line 98\n  | line 99"
    assert tail(tmp_path / "none") == "  | (no output)"
