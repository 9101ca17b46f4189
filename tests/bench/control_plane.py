"""`matrixflag dev` as one: how fast a change takes effect, and the API with many flags."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from loadtests.percentiles import percentile
from proxy.contract.snapshot import Snapshot, encode_entry
from proxy.contract.sync import Delta
from proxy.garbage import Undertaker, tame_collector
from proxy.holder import Holder
from proxy.metrics import Metrics
from proxy.ofrep.current import Current
from proxy.sync import SyncStatus
from tests.bench.client import Client
from tests.bench.definitions import definition, mixed, plain, snapshot
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale
from tests.bench.stored import API_FLAGS, store
from tests.support.processes import running_dev

__all__ = ["measure_api", "measure_change"]

_EFFECT_MS, _GET_MS, _PUT_MS = 100.0, 10.0, 25.0
_APPLIED_MS = 1.0
_EFFECT_S = 30.0  # bound of a wait, not expectation
_POLL_S = 0.001
_PAGE = 50
_FLAG = "bench.toggle"


def measure_change(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the time from sending a PUT to the sidecar's first answer with the new value.

    And what a change costs a sidecar with many flags, once it is there.
    """
    with running_dev(directory / "data") as dev:
        store(dev, [plain(_FLAG)])
        times = _effects(dev, scale.changes)
    name = f"PUT to evaluated, {scale.changes} changes"
    yield informative(f"{name}: p50", percentile(times, 50) * 1e3, "ms")
    yield below(f"{name}: p99", percentile(times, 99) * 1e3, _EFFECT_MS, "ms")
    applied = asyncio.run(_applied(scale.compiled_flags, max(scale.repeats, 5)))
    name = f"a change among {scale.compiled_flags:,} flags, from its event to served"
    yield below(name, applied * 1e3, _APPLIED_MS, "ms")


async def _applied(count: int, turns: int) -> float:
    """Return the median seconds from the bytes of a delta to its being served, digest proven.

    With all who are told of a swap in a sidecar.
    """
    holder, current = Holder(), Current()
    metrics, undertaker = Metrics(holder, SyncStatus(), current), Undertaker()
    for each in (current.swapped, metrics.swapped, undertaker.swapped):
        holder.subscribe(each)
    documents = [*mixed(count - 1), plain(_FLAG)]
    await holder.offer(snapshot(documents), "control-plane")
    tame_collector()
    times = []
    for turn in range(turns):
        documents[-1] = {**plain(_FLAG), "value": turn % 2 == 0}
        assert holder.served is not None
        event = _delta(holder.served.snapshot, documents[-1])
        start = time.perf_counter()
        delta = msgspec.json.decode(event, type=Delta)
        await holder.follow(delta, holder.served.header.epoch, "control-plane")
        times.append(time.perf_counter() - start)
    return median(times)


def _delta(held: Snapshot, document: dict[str, Any]) -> bytes:
    """Return the data of the event that tells one changed flag."""
    line = encode_entry("flag", document["key"], definition(document))
    digest = held.digest.copy()
    digest.put("flag", document["key"], line)
    revision = held.header.revision + 1
    header = msgspec.structs.replace(held.header, revision=revision, digest=digest.hexdigest())
    told = Delta(revision - 1, revision, header.digest, [line.decode()], [], header)
    return msgspec.json.encode(told)


def measure_api(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield GET and PUT with many flags, a sidecar being connected that gets every change."""
    documents = [*mixed(scale.stored_flags - 1), plain(_FLAG)]
    with running_dev(directory / "data") as dev:
        start = time.perf_counter()
        store(dev, documents)
        took = time.perf_counter() - start
        count = len(documents)
        yield informative(
            f"control plane: flags created, up to {count:,}", count / took, "a second"
        )
        with Client(dev["control_plane_url"], dev["service_key"]) as client:
            yield from _api(client, scale, [document["key"] for document in documents])
        times = _effects(dev, scale.writes // 10)
    yield informative(
        f"PUT to evaluated with {count:,} flags: p50", percentile(times, 50) * 1e3, "ms"
    )
    yield informative("  p99", percentile(times, 99) * 1e3, "ms")


def _api(client: Client, scale: Scale, keys: list[str]) -> Iterator[Figure]:
    chosen = random.Random(1)  # the same flags in every run

    def read(_: int) -> None:
        client.ask("GET", f"{API_FLAGS}/{chosen.choice(keys)}")

    def write(number: int) -> None:
        # the flags at even places are plain ones
        key = keys[chosen.randrange(len(keys) // 2) * 2]
        client.ask("PUT", f"{API_FLAGS}/{key}", {**plain(key), "value": number % 2 == 1})

    cursor: list[str | None] = [None]

    def list_page(_: int) -> None:
        after = "" if cursor[0] is None else f"&cursor={cursor[0]}"
        cursor[0] = client.ask("GET", f"{API_FLAGS}?limit={_PAGE}{after}")["next_cursor"]

    name = f"control plane with {len(keys):,} flags"
    yield from _percentiles(f"{name}: GET a flag", client, read, scale.reads, _GET_MS)
    pages = scale.reads // 5
    yield from _percentiles(f"{name}: GET a page of {_PAGE}", client, list_page, pages, _GET_MS)
    yield from _percentiles(f"{name}: PUT", client, write, scale.writes, _PUT_MS)


def _percentiles(
    name: str, client: Client, call: Callable[[int], None], count: int, target_ms: float
) -> Iterator[Figure]:
    times = []
    for number in range(count):
        call(number)
        times.append(client.took_s * 1e3)
    yield informative(f"{name}: p50", percentile(times, 50), "ms")
    yield below(f"{name}: p99", percentile(times, 99), target_ms, "ms")


def _effects(dev: dict[str, Any], changes: int) -> list[float]:
    """Return the seconds until each change took effect at the sidecar.

    The sidecar is asked only once the PUT has answered, so a change that was faster counts as long
    as its PUT took.
    """
    times = []
    path = f"/ofrep/v1/evaluate/flags/{_FLAG}"
    api = Client(dev["control_plane_url"], dev["service_key"])
    with api, Client(dev["sidecar_url"]) as sidecar:
        _until(sidecar, path, True)
        for number in range(changes):
            value = number % 2 == 1
            start = time.perf_counter()
            api.ask("PUT", f"{API_FLAGS}/{_FLAG}", {**plain(_FLAG), "value": value})
            _until(sidecar, path, value)
            times.append(time.perf_counter() - start)
    return times


def _until(sidecar: Client, path: str, value: bool) -> None:
    deadline = time.perf_counter() + _EFFECT_S
    while True:
        try:
            if sidecar.ask("POST", path, {})["value"] is value:
                return
        except RuntimeError:  # not found: the flag itself has not arrived
            pass
        if time.perf_counter() > deadline:
            raise RuntimeError("a change did not take effect")
        time.sleep(_POLL_S)
