"""The sidecar as a process: what a request costs, what it holds, how fast it is there."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES
from proxy.sync.cache import load, owner_of
from tests.bench.client import Client
from tests.bench.definitions import contexts, mixed, two_conditions
from tests.bench.figures import Figure, below, informative
from tests.bench.load import (
    CONNECTIONS,
    SERVER_CORE,
    Load,
    generator_name,
    put_load,
    write_bodies,
)
from tests.bench.scale import Scale
from tests.bench.stored import store
from tests.bench.usage import cpu_s, pin, resident_mb
from tests.support.processes import (
    ROOT,
    Sidecar,
    running,
    running_dev,
    running_sidecar,
    wait_for_json,
)

__all__ = ["bare_handler", "measure_cold_start", "measure_memory", "measure_requests"]

_ROUTE = "/ofrep/v1/evaluate/flags/"
_FLAG = "bench-flag"
_WARM_UP_S = 1.0
_BARE_SHARE = 0.25  # performance.md: at least four times less CPU than the aiohttp handler
_MEMORY_MB, _READY_MS = 60.0, 400.0
_POLL_S = 0.002
_START_S = 30.0


def measure_requests(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield requests/s and CPU per request, beside a bare aiohttp handler, taking turns."""
    bodies = write_bodies(directory / "bodies.txt", contexts(1_000))
    flags = {"flags": [*mixed(99), two_conditions(_FLAG)]}
    with _serving(directory, flags) as sidecar, bare_handler(directory) as (bare_url, bare_pid):
        servers = {
            "sidecar": (sidecar.ofrep + _ROUTE + _FLAG, sidecar.pid),
            "bare": (bare_url + _ROUTE + _FLAG, bare_pid),
        }
        pinned = all(pin(pid, SERVER_CORE) for _, pid in servers.values())
        for url, pid in servers.values():
            put_load(url, bodies, pid, min(_WARM_UP_S, scale.round_s))
        turns: dict[str, list[Load]] = {name: [] for name in servers}
        for _ in range(scale.rounds):
            for name, (url, pid) in servers.items():
                turns[name].append(put_load(url, bodies, pid, scale.round_s))
    how = f"{generator_name()}, {CONNECTIONS} connections"
    how += ", a core each" if pinned else ", not pinned"
    for name, title in (("sidecar", "sidecar"), ("bare", "bare aiohttp handler")):
        loads = turns[name]
        what = f"OFREP single, {title} ({how})"
        yield informative(what, median(load.per_s for load in loads), "requests/s")
        yield informative("  CPU per request", median(load.cpu_us for load in loads), "us")
        yield informative("  latency p50", median(load.p50_us for load in loads), "us")
        yield informative("  latency p99", median(load.p99_us for load in loads), "us")
    pairs = list(zip(turns["sidecar"], turns["bare"], strict=True))
    speed = median(s.per_s / b.per_s for s, b in pairs)
    yield informative("OFREP single: requests/s as a share of the bare handler's", speed, "x")
    share = median(s.cpu_us / b.cpu_us for s, b in pairs)
    yield below("OFREP single: CPU as a share of the bare handler's", share, _BARE_SHARE, "x")


def measure_memory(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the resident memory with no flag, with many, and after evaluations."""
    with _serving(directory, {"flags": []}) as sidecar:
        yield informative("memory: sidecar without flags", resident_mb(sidecar.pid), "MB")
    flags = mixed(scale.sidecar_flags)
    bodies = write_bodies(directory / "bodies.txt", contexts(1_000))
    with _serving(directory, {"flags": flags}) as sidecar:
        with Client(sidecar.ofrep) as client:
            client.ask("POST", _ROUTE + flags[-1]["key"], {})  # held until the flags are there
        name = f"memory: sidecar with {len(flags):,} flags"
        yield below(name, resident_mb(sidecar.pid), _MEMORY_MB, "MB")
        put_load(sidecar.ofrep + _ROUTE + flags[1]["key"], bodies, sidecar.pid, scale.round_s)
        with Client(sidecar.ofrep) as client:
            for context in contexts(20):
                client.ask("POST", _ROUTE.rstrip("/"), {"context": context})
        name = f"  after {scale.round_s:.0f} s of evaluations, and bulk ones"
        yield below(name, resident_mb(sidecar.pid), _MEMORY_MB, "MB")


def measure_cold_start(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield how long after its start a sidecar is ready from disk, the control plane being away."""
    cache = directory / "cache"
    count = scale.sidecar_flags
    with running_dev(directory / "data") as dev:
        store(dev, mixed(count))
        source = ["--control-plane-url", dev["control_plane_url"], "--cache-dir", str(cache)]
        environ = {"MATRIXFLAG_KEY": dev["sidecar_key"]}
        with running_sidecar(directory, *source, environ=environ):
            _await_cache(cache, owner_of(dev["control_plane_url"], dev["sidecar_key"]))
    starts = [_ready_s(directory, [*source], environ) for _ in range(scale.starts)]
    name = f"cold start: ready from disk with {count:,} flags"
    yield below(name, median(ready for ready, _ in starts) * 1e3, _READY_MS, "ms")
    yield informative("  slowest of the starts", max(ready for ready, _ in starts) * 1e3, "ms")
    yield informative("  CPU until then", median(cpu for _, cpu in starts) * 1e3, "ms")
    interpreter = [_interpreter_s() for _ in range(scale.starts)]
    yield informative("  of which the bare interpreter", median(interpreter) * 1e3, "ms")


@contextmanager
def _serving(directory: Path, definitions: dict[str, Any]) -> Iterator[Sidecar]:
    file = directory / "flags.json"
    file.write_text(json.dumps(definitions))
    with running_sidecar(directory, "--snapshot", file) as sidecar:
        with Client(sidecar.ofrep) as client:
            client.ask("POST", _ROUTE.rstrip("/"), {})  # held until the snapshot is there
        yield sidecar


@contextmanager
def bare_handler(directory: Path) -> Iterator[tuple[str, int]]:
    """Run the bare aiohttp handler and yield its address and process id."""
    ready, log = directory / "bare.json", directory / "bare.log"
    ready.unlink(missing_ok=True)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tests.bench.bare", str(ready)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield wait_for_json(ready, process, log)["url"], process.pid
    finally:
        process.terminate()
        process.wait(10)


def _await_cache(directory: Path, owner: str) -> None:
    """Wait until a sidecar has put its snapshot on disk."""
    deadline = time.monotonic() + _START_S
    while not load(directory, owner, MAX_SNAPSHOT_BYTES):
        if time.monotonic() > deadline:
            raise RuntimeError("the sidecar keeps no snapshot on disk")
        time.sleep(_POLL_S)


def _ready_s(directory: Path, source: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """Start a sidecar; return the seconds from before its interpreter until /readyz says yes.

    The second of the pair is the CPU time that it took of them, which others' load leaves alone.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["proxy", "--port", "0", "--admin-port", str(port), *source]
    start = time.perf_counter()
    log = directory / "cold.log"
    with running(arguments, log, environ) as process:
        deadline = start + _START_S
        while not _is_ready(port):
            if time.perf_counter() > deadline or process.poll() is not None:
                raise RuntimeError(f"not ready from disk\n{log.read_text()[-2000:]}")
            time.sleep(_POLL_S)
        return time.perf_counter() - start, cpu_s(process.pid)


def _is_ready(port: int) -> bool:
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            client.ask("GET", "/readyz")
    except (OSError, RuntimeError):
        return False
    return True


def _interpreter_s() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start
