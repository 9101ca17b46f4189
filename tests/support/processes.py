"""Runs `matrixflag` commands as real processes on free ports, and ends exactly those.

Each command's output goes to a file, which is quoted when it does not come up, so that a failure
says why. Addresses are read from what the command itself writes once it listens. Used by client
tests, benchmarks and load tests; it knows nothing of pytest.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NotStarted", "Sidecar", "running", "running_dev", "running_sidecar"]

ROOT = Path(__file__).parent.parent.parent
_START_S = 60.0  # a loaded two-core machine starts the whole of `dev` in well under half of it
_STOP_S = 20.0
_POLL_S = 0.01
_LOG_TAIL_BYTES = 4000


class NotStarted(RuntimeError):
    """A command that ended or stayed silent instead of coming up; the text quotes its output."""


@dataclass(frozen=True)
class Sidecar:
    """A running `matrixflag proxy`: where it answers, and its process id."""

    ofrep: str
    admin: str
    pid: int


@contextmanager
def running(
    arguments: Sequence[str | Path],
    log: Path,
    environ: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `matrixflag ARGUMENTS`; on leaving, stop it with SIGTERM, or kill it after 20 s.

    `before` is a command that runs what follows it, in the same process.

    Raises:
        TimeoutError: when it had to be killed, because a server that does not stop is a defect.
    """
    # Settings of the person's own shell must not reach what is measured or tested.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MATRIXFLAG_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "proxy", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**inherited, **(environ or {})},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise TimeoutError(f"matrixflag {arguments[0]} did not stop\n{_tail(log)}") from None


@contextmanager
def running_sidecar(
    directory: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> Iterator[Sidecar]:
    """Run a sidecar on free ports, its files in `directory`, and yield where it answers."""
    ready = directory / "ready.json"
    ready.unlink(missing_ok=True)
    log = directory / "sidecar.log"
    command = ["proxy", "--port", "0", "--admin-port", "0", "--ready-file", ready, *arguments]
    with running(command, log, environ) as process:
        addresses = wait_for_json(ready, process, log)
        yield Sidecar(addresses["ofrep"], addresses["admin"], process.pid)


@contextmanager
def running_dev(data_dir: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run `matrixflag dev` on free ports and yield the members of its `dev.json`.

    The log stands beside the data directory, which must not exist yet or hold data of `dev`.
    """
    log = data_dir.with_name(data_dir.name + ".log")
    addresses = data_dir / "dev.json"
    addresses.unlink(missing_ok=True)
    ports = [f"--{name}=0" for name in ("port", "metrics-port", "sidecar-port", "admin-port")]
    with running(["dev", "--data-dir", data_dir, *ports, *arguments], log) as process:
        yield {**wait_for_json(addresses, process, log), "pid": process.pid}


def wait_for_json(path: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """Return the JSON object that a process writes to `path` once it is up.

    Raises:
        NotStarted: when the process ends first or takes longer than a minute.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):  # not there yet, or half written
            document = None
        if isinstance(document, dict):
            return document
        if (status := process.poll()) is not None:
            raise NotStarted(f"ended with status {status}\n{_tail(log)}")
        time.sleep(_POLL_S)
    raise NotStarted(f"not up after {_START_S:.0f} s\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
