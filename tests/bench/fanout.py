"""The control plane with thousands of sidecars: what a stream costs, and a change told to all.

Readers are bare sockets on one epoll of this process. They come hardly faster than the control
plane takes them, from several addresses of loopback, because one address has 28,000 ports.
"""

import resource
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests

from loadtests.usage import cpu_s, resident_mb
from tests.bench.client import Client
from tests.bench.definitions import mixed, plain
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale
from tests.bench.stored import API_FLAGS, store
from tests.support.processes import running_dev

__all__ = ["measure_fanout"]

_MEMORY_KB, _CPU_MS = 20.0, 150.0
_PER_S = 400  # below what a replica takes by default, 500
_FLAGS = 100
_CHANGES = 10
_PATIENCE_S = 60.0
_PORTS_AN_ADDRESS = 5_000
_FLAG = "bench.toggle"


def measure_fanout(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the memory of a stream, the CPU of a change, and when the last reader has it."""
    with running_dev(directory / "data") as dev:
        store(dev, [*mixed(_FLAGS - 1), plain(_FLAG)])
        key = requests.post(
            dev["control_plane_url"] + "/api/v1/keys",
            json={"kind": "sidecar", "environment": "production"},
            headers={"Authorization": f"Bearer {dev['service_key']}"},
            timeout=10,
        ).json()["key"]
        pid = _control_plane(dev["pid"])
        with _Readers(dev["control_plane_url"], key) as readers:
            readers.open(1)
            held_mb, used_s = resident_mb(pid), cpu_s(pid)
            count = scale.followers - 2  # the sidecar of `dev` has one, too: all there may be
            readers.open(count)
            held_mb, used_s = resident_mb(pid) - held_mb, cpu_s(pid) - used_s
            name = f"{scale.followers:,} streams"
            memory_kb = held_mb * 1e3 / count
            yield below(
                f"{name}: memory of each, without the kernel's", memory_kb, _MEMORY_KB, "kB"
            )
            yield informative("  CPU to begin one", used_s * 1e6 / count, "us")
            yield from _changes(dev, pid, readers, name)
            start_s, used_s = time.perf_counter(), cpu_s(pid)
            readers.read_for(scale.idle_s)
            idle = (cpu_s(pid) - used_s) / (time.perf_counter() - start_s)
            yield informative("  heartbeats: share of a core", idle * 100, "%")
        peak = _metrics(dev)["matrixflag_streams_accepted_peak"]
        yield informative("  began in the busiest second", peak, "")


def _changes(dev: dict[str, Any], pid: int, readers: "_Readers", name: str) -> Iterator[Figure]:
    """Yield what a change costs and how long it takes, the median of some."""
    first, last, cpu = [], [], []
    with Client(dev["control_plane_url"], dev["service_key"]) as api:
        for number in range(_CHANGES):
            used_s, start_s = cpu_s(pid), time.perf_counter()
            api.ask("PUT", f"{API_FLAGS}/{_FLAG}", {**plain(_FLAG), "value": number % 2 == 1})
            first_s, last_s = readers.read_change(start_s)
            first.append(first_s)
            last.append(last_s)
            cpu.append(cpu_s(pid) - used_s)
    middle = _CHANGES // 2
    yield below(
        f"{name}: CPU of one change, the PUT included",
        sum(cpu) / _CHANGES * 1e3,
        _CPU_MS if len(readers) > 1_000 else 1e3,
        "ms",
    )
    yield informative("  from the PUT to the first reader", sorted(first)[middle] * 1e3, "ms")
    yield informative("  to the last", sorted(last)[middle] * 1e3, "ms")


class _Readers:
    """Open streams. A context manager that closes them."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._address = (address.hostname or "", address.port or 0)
        self._request = (
            f"GET /api/v1/sync/stream HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        self._sockets: dict[int, socket.socket] = {}
        self._epoll = select.epoll()

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, count: int) -> None:
        """Open so many more, and wait until each was told what is current."""
        wanted = len(self) + count
        _allow_files(wanted)
        begun: set[int] = set()
        until = time.perf_counter() + wanted / _PER_S + _PATIENCE_S
        while len(begun) < count:
            if time.perf_counter() > until:
                raise RuntimeError(f"{len(begun)} of {count} streams began")
            if len(self) < wanted:
                self._connect()
                time.sleep(1 / _PER_S)
            if len(self) % 50 == 0 or len(self) == wanted:
                self._read_until(begun, b"data: ", 0.0)

    def _connect(self) -> None:
        one = socket.socket()
        one.bind((f"127.0.0.{1 + len(self) // _PORTS_AN_ADDRESS}", 0))
        one.connect(self._address)
        one.sendall(self._request)
        one.setblocking(False)
        self._sockets[one.fileno()] = one
        self._epoll.register(one, select.EPOLLIN)

    def read_change(self, start_s: float) -> tuple[float, float]:
        """Return after how many seconds the first and the last were told of a change."""
        told: set[int] = set()
        first_s = self._read_until(told, b"event: delta", _PATIENCE_S, 1) - start_s
        return first_s, self._read_until(told, b"event: delta", _PATIENCE_S, len(self)) - start_s

    def read_for(self, seconds: float) -> None:
        """Take what comes for a while."""
        self._read_until(set(), b"event: ", seconds)

    def _read_until(
        self,
        seen: set[int],
        wanted: bytes,
        patience_s: float,
        count: int = 0,
        may_end: bool = False,
    ) -> float:
        """Read until so many were sent the text; return when."""
        until = time.perf_counter() + patience_s
        while len(seen) < count or not count:
            left_s = until - time.perf_counter()
            for file, _ in self._epoll.poll(max(0.0, left_s), 512):
                text = self._sockets[file].recv(65_536)
                if text.startswith(b"HTTP/1.1 503 "):  # too many in this second: another comes
                    self._epoll.unregister(file)
                    self._sockets.pop(file).close()
                elif not text:
                    raise RuntimeError("a stream ended")
                if wanted in text:
                    seen.add(file)
            if left_s <= 0:
                if count:
                    raise RuntimeError(f"{len(seen)} of {count} were told")
                break
        return time.perf_counter()

    def __enter__(self) -> "_Readers":
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for one in self._sockets.values():
            one.close()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 200
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise RuntimeError(f"{needed} open files are needed, {hard} may be (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _control_plane(pid: int) -> int:
    """Return the process id of the control plane among the children of `matrixflag dev`."""
    children = psutil.Process(pid).children(recursive=True)
    # the keeper of its leash has the same command line behind its own
    found = [one for one in children if one.cmdline()[1:4] == ["-P", "-m", "control_plane.dev.api"]]
    return int(found[0].pid)


def _metrics(dev: dict[str, Any]) -> dict[str, float]:
    text = requests.get(dev["metrics_url"] + "/metrics", timeout=10).text
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}
