"""Puts load on a server and tells what it took: requests, latency, CPU time of the server.

wrk when it is on PATH, otherwise the bundled generator. Where there are two cores, the server has
one and the generator another, so that one does not steal the other's time. Both generators send
the same bytes, from a file that is written before.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.addresses import Address
from loadtests.usage import cpu_s, pin_next
from tests.support.processes import ROOT

__all__ = [
    "CONNECTIONS",
    "GENERATORS",
    "GENERATOR_CORE",
    "SERVER_CORE",
    "Load",
    "LoadFailed",
    "Target",
    "default_generator",
    "post",
    "put_load",
    "write_requests",
]

SERVER_CORE, GENERATOR_CORE = 0, 1
CONNECTIONS = 16
GENERATORS = ("wrk", "python")
_GRACE_S = 30.0
_SCRIPT = Path(__file__).with_name("requests.lua")


class LoadFailed(RuntimeError):
    """There was no load: the generator failed, or nothing was answered."""


@dataclass(frozen=True)
class Target:
    """A server, the file of what it is asked, and the status that a right answer has.

    Without `pid`, its CPU time is not known.
    """

    name: str
    address: Address
    requests: Path
    pid: int | None = None
    status: int = 200


@dataclass(frozen=True)
class Load:
    """A server under load for a while; `wrong` are answers of another status, or none."""

    requests: int
    seconds: float
    wrong: int
    p50_us: float
    p99_us: float
    cpu_us: float | None  # of the server, per request

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def default_generator() -> str:
    """Return which generator is used when nobody chooses."""
    return "wrk" if shutil.which("wrk") else "python"


def post(address: Address, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Return the bytes of a POST of JSON on a connection that is kept."""
    lines = [
        f"POST {address.prefix}{path} HTTP/1.1",
        f"Host: {address.authority}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def write_requests(file: Path, requests: Iterable[bytes]) -> Path:
    """Write requests as generators read them, and return the file."""
    with file.open("wb") as lines:
        for request in requests:
            lines.write(b"%d\n%b" % (len(request), request))
    return file


def put_load(
    target: Target, seconds: float, *, connections: int = CONNECTIONS, generator: str | None = None
) -> Load:
    """Load a server for some seconds; wrk makes them whole ones, and one at least.

    Raises:
        LoadFailed: when nothing was answered.
    """
    before_s = _cpu_s(target)
    try:
        run = subprocess.run(
            _command(target, seconds, connections, generator or default_generator()),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE_S,
            preexec_fn=pin_next(GENERATOR_CORE),
        )
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{target.name}: the generator did not end") from None
    after_s = _cpu_s(target)
    lines = [line for line in run.stdout.splitlines() if line.startswith("{")]
    if run.returncode or not lines:
        last = (run.stdout + run.stderr).strip().rpartition("\n")[2]
        raise LoadFailed(f"{target.name}: the generator failed: {last}")
    seen = json.loads(lines[-1])
    requests = int(seen["requests"])
    if not requests:
        raise LoadFailed(f"{target.name}: nothing was answered in {seconds:g} s")
    return Load(
        requests,
        seen["seconds"],
        int(seen["wrong"]),
        seen["p50_us"],
        seen["p99_us"],
        None if before_s is None or after_s is None else (after_s - before_s) / requests * 1e6,
    )


def _cpu_s(target: Target) -> float | None:
    try:
        return None if target.pid is None else cpu_s(target.pid)
    except psutil.NoSuchProcess:
        raise LoadFailed(f"{target.name}: its process {target.pid} has ended") from None


def _command(target: Target, seconds: float, connections: int, generator: str) -> list[str]:
    arguments = [str(target.requests)]
    url, status = target.address.url, str(target.status)
    if generator == "wrk":
        duration = f"{max(1, round(seconds))}s"
        options = ["-t1", f"-c{connections}", f"-d{duration}", "--timeout", "5s"]
        return ["wrk", *options, "-s", str(_SCRIPT), url, "--", *arguments, status]
    arguments = [url, *arguments, str(connections), str(seconds), status]
    return [sys.executable, "-m", "loadtests.generator", *arguments]
