"""Our programs as processes with addresses of their own, that come back where they were.

Knows how to start, kill, freeze and stop one, and what it holds of the machine; not what it is for.
"""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.support.processes import running, wait_for_json

__all__ = ["Program"]


class Program:
    """`matrixflag ARGUMENTS`; `ready` is the file it writes its addresses to.

    `before` is put before the command, to run it elsewhere.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        arguments: Sequence[str | Path],
        environ: Mapping[str, str],
        before: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.starts = 0
        self._ready = directory / f"{name}.ready.json"
        self._arguments = [*arguments, "--ready-file", self._ready]
        self._environ = dict(environ)
        self._before = before
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> psutil.Process:
        """What the machine knows of it."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    async def start(self) -> dict[str, Any]:
        """Start it and return the addresses it says it has, once it is ready."""
        process = self.spawn()
        return await asyncio.to_thread(wait_for_json, self._ready, process, self.log)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it and wait for nothing."""
        self._ready.unlink(missing_ok=True)
        started = running(self._arguments, self.log, self._environ, before=self._before)
        self._process = self._stack.enter_context(started)
        self.starts += 1
        return self._process

    def kill(self) -> None:
        """End it as a crash would."""
        self._signal(signal.SIGKILL)
        self._stack.close()

    async def stop(self) -> None:
        """End it in order; TimeoutError when it does not."""
        await asyncio.to_thread(self._stack.close)

    def freeze(self) -> None:
        """Let it not run, its connections staying open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def limit_files(self, most_bytes: int | None) -> None:
        """Let it write no file beyond a size, as on a disk that is full; None is no limit."""
        bound = resource.RLIM_INFINITY if most_bytes is None else most_bytes
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))

    def descriptors(self, pooled: Collection[int]) -> int:
        """Return how many descriptors are open, without connections to ports that pools keep."""
        connections = self.process.net_connections("tcp")
        kept = sum(bool(c.raddr) and c.raddr.port in pooled for c in connections)
        return self.process.num_fds() - kept

    def memory_bytes(self) -> int:
        """Return how much memory is resident."""
        rss: int = self.process.memory_info().rss
        return rss

    def forget_peak(self) -> None:
        """Begin anew with the most memory that was resident."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Return the most memory that was resident since, however shortly."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    async def close(self) -> None:
        """End it, however it stands; lines go on meanwhile, or its last words would get nowhere."""
        self.thaw()
        await self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)
