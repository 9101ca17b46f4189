"""Event streams of a sidecar as a process: what each costs, and how soon all are told."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from loadtests.usage import cpu_s, resident_mb
from tests.bench.definitions import mixed
from tests.bench.figures import Figure, informative
from tests.bench.scale import Scale
from tests.proxy.ofrep.listening import Listening, listening
from tests.support.processes import Sidecar, running_sidecar

__all__ = ["measure_streams"]

_STREAMS = "/ofrep/v1/streams"


def measure_streams(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the memory and the CPU of a stream, and how long after a change the last one is told.

    The change is one of a file, which is watched; the time begins with its new content.
    """
    file = directory / "flags.json"
    file.write_text(json.dumps({"flags": mixed(50)}))
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"flags": mixed(49)}))
    with running_sidecar(directory, "--snapshot", file) as sidecar:
        change = partial(os.replace, new, file)
        yield from asyncio.run(_measure(sidecar, change, scale.streams))


async def _measure(sidecar: Sidecar, change: Callable[[], None], count: int) -> list[Figure]:
    async with AsyncExitStack() as stack:

        async def open_one() -> Listening:
            one = await stack.enter_async_context(listening(sidecar.ofrep, _STREAMS))
            await one.event()
            return one

        first = await open_one()
        held_mb, used_s = resident_mb(sidecar.pid), cpu_s(sidecar.pid)
        others = [await open_one() for _ in range(count - 1)]
        held_mb, used_s = resident_mb(sidecar.pid) - held_mb, cpu_s(sidecar.pid) - used_s
        start_s = time.perf_counter()
        change()
        await first.event()
        first_s = time.perf_counter() - start_s
        for one in others:
            await one.event()
        all_s = time.perf_counter() - start_s
    return [
        informative(f"event streams: memory of each of {count:,}", held_mb * 1e3 / count, "kB"),
        informative("  CPU to open one", used_s * 1e6 / count, "us"),
        informative("  from a change of the file to the first event", first_s * 1e3, "ms"),
        informative("  from there to the last", (all_s - first_s) * 1e3, "ms"),
    ]
