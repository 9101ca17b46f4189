"""Puts load on a server and tells what it took: requests, latency, CPU time of the server.

wrk when it is on PATH, otherwise the bundled generator. Where there are two cores, the server has
one and the generator another, so that one does not steal the other's time.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.usage import cpu_s, pin_next
from tests.support.processes import ROOT

__all__ = ["GENERATOR_CORE", "SERVER_CORE", "Load", "generator_name", "put_load", "write_bodies"]

SERVER_CORE, GENERATOR_CORE = 0, 1
CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("bodies.lua")


@dataclass(frozen=True)
class Load:
    """A server under load for a while, every answer being a 200."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_us: float  # of the server, per request

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def generator_name() -> str:
    """Return which generator is used."""
    return "wrk" if shutil.which("wrk") else "the bundled Python generator (no wrk on PATH)"


def write_bodies(file: Path, contexts: list[dict[str, Any]]) -> Path:
    """Write one request body a line, and return the file."""
    file.write_text("".join(json.dumps({"context": c}) + "\n" for c in contexts))
    return file


def put_load(url: str, bodies: Path, pid: int, seconds: float) -> Load:
    """Load a URL by POST for some seconds; `pid` is the server's process.

    Raises:
        RuntimeError: when there was none, or another answer than a 200, or a broken connection.
    """
    before = cpu_s(pid)
    run = subprocess.run(
        _command(url, bodies, seconds),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
        preexec_fn=pin_next(GENERATOR_CORE),
    )
    used = cpu_s(pid) - before
    lines = [line for line in run.stdout.splitlines() if line.startswith("{")]
    if run.returncode or not lines:
        raise RuntimeError(f"the generator failed: {run.stdout}{run.stderr}")
    seen = json.loads(lines[-1])
    if seen["wrong"] or not seen["requests"]:
        raise RuntimeError(f"{url}: {seen['wrong']} of {seen['requests']} answers were wrong")
    requests = int(seen["requests"])
    return Load(requests, seen["seconds"], seen["p50_us"], seen["p99_us"], used / requests * 1e6)


def _command(url: str, bodies: Path, seconds: float) -> list[str]:
    if wrk := shutil.which("wrk"):
        # wrk knows whole seconds only
        duration = f"{max(1, round(seconds))}s"
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{duration}", "--timeout", "5s"]
        return [wrk, *options, "-s", str(_SCRIPT), url, "--", str(bodies)]
    arguments = [url, str(bodies), str(CONNECTIONS), str(seconds)]
    return [sys.executable, "-m", "tests.bench.generator", *arguments]
