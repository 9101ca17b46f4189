"""Starts the processes of `matrixflag dev` in order, watches them, stops them in reverse.

    embedded server -> control plane -> (keys, sample flag) -> sidecar -> dev.json -> wait

Each step begins when the one before answers. The first process that ends by itself ends all: what
it wrote last is shown. Whoever kills this process with -9 still ends the others, because each is
on a leash (`leash`); the data directory's lock goes with the server (`embedded`).

Stopping goes sidecar first, so that what it has not reported yet still finds a control plane, and
server last, so that this is still stored. A second signal does not wait.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msgspec

from control_plane.dev import leash
from control_plane.dev.data_dir import ADMIN_EMAIL, DataDir, DevDocument
from control_plane.dev.embedded import EmbeddedServer, open_log, tail
from control_plane.dev.errors import DevError
from control_plane.dev.ports import check_ports
from control_plane.dev.sample import prepare
from control_plane.dev.settings import DevSettings
from control_plane.dev.welcome import welcome
from control_plane.store.connection import Connections, RedisError, RedisLimits

__all__ = ["run_dev"]

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_REDIS_TIMEOUT_S = 5.0
_POLL_S = 0.01
_LOG_CHECK_S = 30.0
_MAX_LOG_BYTES = 10_000_000  # each; some 80,000 requests

Say = Callable[[str], None]


async def run_dev(settings: DevSettings, say: Say) -> None:
    """Run everything until a signal asks to stop; then stop everything and return.

    Raises:
        DevError: when something does not start, or ends by itself.
    """
    children: list[_Child] = []
    work = asyncio.create_task(_run(settings, children, say))
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked:
            for child in children:
                child.kill()
            return
        asked = True
        work.cancel()  # first: the terminal that would be told may be gone
        say("Stopping. Once more, and it does not wait.")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        # Until here signals are ours: one more must not interrupt the stopping.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _run(settings: DevSettings, children: "list[_Child]", say: Say) -> None:
    """Start everything, wait until something ends or this is cancelled, stop everything."""
    check_ports(settings)
    data = DataDir(Path(settings.data_dir))
    state = data.open()
    async with AsyncExitStack() as stack:
        stack.callback(data.close)
        redis_url = await _redis(settings, data, stack, children)
        run = _Runner(data.path, stack, children)
        api = await run.start(
            "control plane",
            ("control_plane.dev.api",),
            {"port": settings.port, "metrics_port": settings.metrics_port},
            {
                "REDIS_URL": redis_url,
                "SECRET_KEY": os.environ.get("SECRET_KEY") or state.secret_key,
                "MATRIXFLAG_PUBLIC_URL": os.environ.get("MATRIXFLAG_PUBLIC_URL")
                or f"http://localhost:{settings.port}",
                "MATRIXFLAG_ADMIN_EMAIL": ADMIN_EMAIL,
                "MATRIXFLAG_ADMIN_PASSWORD": state.admin_password,
            },
        )
        await prepare(api["api"], state, data.remember)
        sidecar = await run.start(
            "sidecar",
            ("proxy", "proxy"),
            {
                "port": settings.sidecar_port,
                "admin_port": settings.admin_port,
                "control_plane_url": api["api"],
                "cache_dir": str(data.path / "sidecar"),
            },
            {"MATRIXFLAG_KEY": state.sidecar_key},
        )
        await _holds_flags(sidecar["admin"], children[-1].log)
        document = DevDocument(
            control_plane_url=api["api"],
            metrics_url=api["metrics"],
            sidecar_url=sidecar["ofrep"],
            admin_url=sidecar["admin"],
            redis_url=redis_url,
            sidecar_key=state.sidecar_key,
            service_key=state.service_key,
            admin_email=ADMIN_EMAIL,
            admin_password=state.admin_password,
            pid=os.getpid(),
        )
        data.announce(document)
        stack.callback(data.withdraw)
        say(welcome(document, data.document_path, embedded=not settings.redis_url))
        bounding = asyncio.create_task(_bound_logs(children))
        stack.callback(bounding.cancel)
        ended = await _first_to_end(children)
        raise DevError(
            f"the {ended.name} ended by itself, status {ended.process.returncode};"
            f" all of {ended.log}:\n{tail(ended.log)}"
        )


async def _redis(
    settings: DevSettings, data: DataDir, stack: AsyncExitStack, children: "list[_Child]"
) -> str:
    """Return the address of a Redis that answers: the one named, or the embedded server's."""
    if settings.redis_url:
        await _check_redis(settings.redis_url)
        return settings.redis_url
    server = EmbeddedServer(data.path / "server", data.lock)
    stack.push_async_callback(server.stop)
    process = await server.start()
    children.append(_Child("embedded server", process, server.log))
    return server.url


async def _check_redis(url: str) -> None:
    connections = Connections(url, RedisLimits(command_s=_REDIS_TIMEOUT_S))
    try:
        await connections.run("ping", connections.commands.ping)
    except RedisError as error:
        # The message names host and port, never the password.
        raise DevError(f"the Redis of --redis-url or REDIS_URL does not answer: {error}") from error
    finally:
        await connections.close()


class _Child:
    """A process, what it is called and where its output is."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    async def stop(self) -> None:
        """Ask it to end; insist after a while. Returns when it is gone."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            self.kill()
            await self.process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class _Runner:
    """Starts our own programs: Python modules that write where they listen into a file."""

    def __init__(self, directory: Path, stack: AsyncExitStack, children: list[_Child]) -> None:
        self._directory = directory
        self._stack = stack
        self._children = children

    async def start(
        self,
        name: str,
        module: tuple[str, ...],
        flags: Mapping[str, object],
        environment: Mapping[str, str],
    ) -> dict[str, str]:
        """Start a program and return, once it listens, what it wrote; it is stopped by the stack.

        Raises:
            DevError: when it ends, or says nothing in time; with the last lines of its log.
        """
        slug = name.replace(" ", "-")
        ready = self._directory / f"{slug}.ready"
        ready.unlink(missing_ok=True)
        self._stack.callback(ready.unlink, missing_ok=True)
        log = self._directory / f"{slug}.log"
        words = [word for flag, value in flags.items() for word in _flag(flag, value)]
        # -P: a directory `proxy` where the user stands must not be taken for ours.
        command = [sys.executable, "-P", "-m", *module, *words, *_flag("ready_file", ready)]
        with open_log(log) as output:
            process = await leash.start(
                command,
                output=output,
                at_parting=signal.SIGKILL,
                environment={**_inherited(), **environment},
            )
        child = _Child(name, process, log)
        self._children.append(child)
        self._stack.push_async_callback(child.stop)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                return msgspec.json.decode(ready.read_bytes(), type=dict[str, str])
            if process.returncode is not None:
                raise DevError(
                    f"the {name} ended at once, status {process.returncode}:\n{tail(log)}"
                )
            await asyncio.sleep(_POLL_S)
        raise DevError(f"the {name} was not ready in {_READY_TIMEOUT_S:.0f} s:\n{tail(log)}")


def _flag(name: str, value: object) -> tuple[str, str]:
    return "--" + name.replace("_", "-"), str(value)


_OURS = (
    "MATRIXFLAG_HOST",
    "MATRIXFLAG_ADMIN_HOST",
    "METRICS_HOST",
    "MATRIXFLAG_METRICS_HOST",
    "MATRIXFLAG_UNIX",
    "MATRIXFLAG_SNAPSHOT",
    "MATRIXFLAG_KEY",
    "MATRIXFLAG_KEY_FILE",
    "MATRIXFLAG_STARTUP_POLICY",
    # of another control plane: here the administrator is made at the start
    "ADMIN_TOKEN",
    "MATRIXFLAG_ADMIN_TOKEN_USE",
    "MATRIXFLAG_ADMIN_PASSWORD_FILE",
    "SECRET_KEY_FILE",
)
"""Variables that would make of the processes something else than what is announced."""


def _inherited() -> dict[str, str]:
    """Return our environment without what we decide; all other settings reach the processes."""
    return {name: value for name, value in os.environ.items() if name not in _OURS}


async def _holds_flags(admin_url: str, log: Path) -> None:
    """Return when the sidecar has the first snapshot.

    Raises:
        DevError: when it does not answer, or gets none in time; with the last lines of its log.
    """
    deadline = time.monotonic() + _READY_TIMEOUT_S
    timeout = aiohttp.ClientTimeout(total=_READY_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        while time.monotonic() < deadline:
            try:
                async with http.get(admin_url + "/readyz") as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                raise DevError(f"the sidecar does not answer any more:\n{tail(log)}") from None
            await asyncio.sleep(_POLL_S)
    raise DevError(f"the sidecar got no snapshot in {_READY_TIMEOUT_S:.0f} s:\n{tail(log)}")


async def _bound_logs(children: list[_Child]) -> None:
    """Begin logs anew when they have grown large, for ever: this may run for weeks."""
    while True:
        await asyncio.sleep(_LOG_CHECK_S)
        for child in children:
            with contextlib.suppress(OSError):
                if child.log.stat().st_size > _MAX_LOG_BYTES:
                    os.truncate(child.log, 0)


async def _first_to_end(children: list[_Child]) -> _Child:
    """Return the first process to end."""
    waits = {asyncio.create_task(child.process.wait()): child for child in children}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return waits[done.pop()]
