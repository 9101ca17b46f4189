"""The sidecar as a process: what a request costs, what it holds, how fast it is there."""

import compileall
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.addresses import read_address
from loadtests.asking import Server, control_targets, prepare
from loadtests.formats import FORMATS
from loadtests.load import (
    CONNECTIONS,
    SERVER_CORE,
    Target,
    default_generator,
    post,
    put_load,
    write_requests,
)
from loadtests.scenarios import SCENARIOS
from loadtests.turns import Figures, ratio, take_turns
from loadtests.usage import cpu_s, pinned, resident_mb
from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES
from proxy.sync.cache import load, owner_of
from tests.bench.client import Client
from tests.bench.definitions import contexts, mixed
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale
from tests.bench.stored import store
from tests.support.ports import free_port
from tests.support.processes import ROOT, Sidecar, running, running_dev, running_sidecar

__all__ = ["measure_cold_start", "measure_memory", "measure_requests"]

_ROUTE = "/ofrep/v1/evaluate/flags/"
_CONSTANT_SHARE = 1.25  # the design: nearly nothing above what Python can do at all,
_BARE_SHARE = 0.25  # and at least four times less than the same handler in aiohttp
_TITLES = {
    "sidecar": "sidecar",
    "constant": "constant-answer protocol",
    "aiohttp": "bare aiohttp handler",
}
_MEMORY_MB, _READY_MS = 60.0, 400.0
_POLL_S = 0.002
_START_S = 30.0


def measure_requests(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield requests/s and CPU per request, beside the two control servers, taking turns."""
    scenario = SCENARIOS["single"]
    flags, users = scenario.flags(), scenario.contexts(scenario.count)
    definitions = FORMATS["native"](flags)
    definitions["flags"] += mixed(99)
    with ExitStack() as stack:
        sidecar = stack.enter_context(_serving(directory, definitions))
        server = Server("sidecar", read_address(sidecar.ofrep), pid=sidecar.pid)
        target, answer = prepare(server, scenario, flags, users, directory)
        controls = control_targets(answer, scenario, flags, users, directory)
        targets = [target, *stack.enter_context(controls)]
        pids = [one.pid for one in targets if one.pid is not None]
        on_one = stack.enter_context(pinned(pids, SERVER_CORE))
        turns = take_turns(targets, rounds=scale.rounds, seconds=scale.round_s)
    how = f"{default_generator()}, {CONNECTIONS} connections"
    how += ", a core each" if on_one else ", not pinned"
    for name, title in _TITLES.items():
        figures = Figures.of(turns[name])
        if figures.wrong or figures.cpu_us is None:
            raise RuntimeError(f"{name}: {figures.wrong} answers were wrong")
        yield informative(f"OFREP single, {title} ({how})", figures.per_s, "requests/s")
        yield informative("  CPU per request", figures.cpu_us, "us")
        yield informative("  latency p50", figures.p50_us, "us")
        yield informative("  latency p99", figures.p99_us, "us")
    for name, target_share in (("constant", _CONSTANT_SHARE), ("aiohttp", _BARE_SHARE)):
        loads, others, title = turns["sidecar"], turns[name], _TITLES[name]
        speed = ratio(loads, others, lambda load: load.per_s)
        share = ratio(loads, others, lambda load: load.cpu_us)
        assert speed is not None
        assert share is not None
        what = "OFREP single: requests/s as a share of the"
        yield informative(f"{what} {title}'s", speed, "x")
        yield below(f"OFREP single: CPU as a share of the {title}'s", share, target_share, "x")


def measure_memory(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the resident memory with no flag, with many, and after evaluations."""
    _compile_bytecode()
    with _serving(directory, {"flags": []}) as sidecar:
        yield informative("memory: sidecar without flags", resident_mb(sidecar.pid), "MB")
    flags = mixed(scale.sidecar_flags)
    with _serving(directory, {"flags": flags}) as sidecar:
        with Client(sidecar.ofrep) as client:
            client.ask("POST", _ROUTE + flags[-1]["key"], {})  # held until the flags are there
        name = f"memory: sidecar with {len(flags):,} flags"
        yield below(name, resident_mb(sidecar.pid), _MEMORY_MB, "MB")
        address, route = read_address(sidecar.ofrep), _ROUTE + flags[1]["key"]
        bodies = (json.dumps({"context": context}).encode() for context in contexts(1_000))
        requests = write_requests(
            directory / "some.requests", (post(address, route, [], body) for body in bodies)
        )
        put_load(Target("sidecar", address, requests, sidecar.pid), scale.round_s)
        with Client(sidecar.ofrep) as client:
            for context in contexts(20):
                client.ask("POST", _ROUTE.rstrip("/"), {"context": context})
        name = f"  after {scale.round_s:.0f} s of evaluations, and bulk ones"
        yield below(name, resident_mb(sidecar.pid), _MEMORY_MB, "MB")


def measure_cold_start(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield how long after its start a sidecar is ready from disk, the control plane being away."""
    _compile_bytecode()
    cache = directory / "cache"
    count = scale.sidecar_flags
    with running_dev(directory / "data") as dev:
        store(dev, mixed(count))
        source = ["--control-plane-url", dev["control_plane_url"], "--cache-dir", str(cache)]
        environ = {"MATRIXFLAG_KEY": dev["sidecar_key"]}
        with running_sidecar(directory, *source, environ=environ):
            _await_cache(cache, owner_of((dev["control_plane_url"],), dev["sidecar_key"]))
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


def _compile_bytecode() -> None:
    """Have the bytecode that an installed package has, though this shell may forbid to write it."""
    compileall.compile_dir(ROOT / "proxy", quiet=1)


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
    port = free_port()
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
