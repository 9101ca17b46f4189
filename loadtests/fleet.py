"""Thousands of sidecars at one control plane: how fast a change reaches all, what a restart does.

    python -m loadtests.fleet --sidecars 1000 --flags 100 --changes 50
    python -m loadtests.fleet --sidecars 5000 --flags 100 --restart

It starts a Redis-compatible server and a control plane as processes on free ports, and the sidecars
in processes of their own (`loadtests.fleet_sidecars`): the real source and holder of each, without
an evaluation port. All times are of the one monotonic clock of the machine.

- A change is one PUT. Its time for a sidecar begins when the PUT has answered and ends when the
  sidecar serves the new revision; 0 for one that was faster than the answer.
- A restart is `kill -9` of the control plane, which is started again at once on the same port. It
  is over when every sidecar has a stream and serves a change that was made after it.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from loadtests.fleet_sidecars import FLAG, FleetSettings
from loadtests.percentiles import percentile
from loadtests.usage import cpu_s, machine_busy_s
from tests.bench.definitions import mixed
from tests.chaos.programs import Program
from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.ports import free_port
from tests.support.processes import ROOT, NotStarted
from tests.support.redis import RedisServer

__all__ = ["CHANGE_TARGET_MS", "RESTART_TARGET_S", "main"]

CHANGE_TARGET_MS = 250.0
RESTART_TARGET_S = 60.0

_FLAGS_PATH = "/api/v1/flags"
_KEYS_PATH = "/api/v1/keys"
_WRITES_AT_ONCE = 8
_STATE_EVERY_S = 0.1
_PAUSE_S = 0.1  # between changes, so that one is over before the next


class Failed(Exception):
    """Something did not happen in time, or a process ended."""


class _Part:
    """One process of sidecars."""

    def __init__(self, process: asyncio.subprocess.Process, count: int) -> None:
        self.process = process
        self.count = count
        self.ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._states: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._times: dict[int, asyncio.Future[list[float]]] = {}

    async def read(self) -> None:
        """Take in what it says until it ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "revision" in said:
                self._reached(said["revision"]).set_result(said["times"])
            elif "state" in said:
                self._states.put_nowait(said["state"])
            else:
                self.ready.set_result(said["ready"])

    async def state(self) -> dict[str, Any]:
        """Ask how its sidecars stand."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return await self._states.get()

    async def reached(self, revision: int) -> list[float]:
        """Return when each of its sidecars began to serve a revision, once all do."""
        return await self._reached(revision)

    def _reached(self, revision: int) -> "asyncio.Future[list[float]]":
        if revision not in self._times:
            self._times[revision] = asyncio.get_running_loop().create_future()
        return self._times[revision]


class Fleet:
    """The sidecars, the control plane that they follow, and its API."""

    def __init__(self, control_plane: Program, url: str, http: aiohttp.ClientSession) -> None:
        self.control_plane = control_plane
        self.url = url
        self.parts: list[_Part] = []
        self.revision = 0
        self._http = http
        self._value = False

    async def ask(self, method: str, path: str, body: object) -> Any:
        """Ask the control plane; raises Failed when it refuses."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self._http.request(
            method, self.url + path, json=body, headers=headers
        ) as answer:
            document = await answer.json(content_type=None)
            if answer.status not in (200, 201):
                raise Failed(f"{method} {path}: {answer.status} {document}")
            return document

    async def change(self) -> float:
        """Change the flag, which makes another revision; return when that was answered."""
        value = not self._value
        body = {"key": FLAG, "type": "boolean", "value": value, "enabled": True}
        await self.ask("PUT", f"{_FLAGS_PATH}/{FLAG}", body)
        answered = time.monotonic()
        self._value = value
        self.revision += 1
        return answered

    async def reached(self, revision: int, within_s: float) -> list[float]:
        """Return when each sidecar began to serve a revision.

        Raises:
            Failed: when not all of them do in time.
        """
        try:
            async with asyncio.timeout(within_s):
                parts = [await part.reached(revision) for part in self.parts]
        except TimeoutError:
            states = [await part.state() for part in self.parts]
            raise Failed(f"revision {revision} not everywhere in {within_s} s: {states}") from None
        return [at for part in parts for at in part]

    async def state(self) -> dict[str, Any]:
        """Return how all sidecars stand: sums, lists put together, the least and the largest."""
        states = [await part.state() for part in self.parts]
        counters = ("wrong", "errors", "deltas", "refused")
        found: dict[str, Any] = {
            name: dict(sum((Counter(state[name]) for state in states), Counter()))
            for name in counters
        }
        found["streaming"] = sum(state["streaming"] for state in states)
        found["evaluations"] = sum(state["evaluations"] for state in states)
        found["revision"] = min(state["revision"] for state in states)
        found["longest_gap_s"] = max(state["longest_gap_s"] for state in states)
        found["connected"] = sorted(at for state in states for at in state["connected"])
        return found

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds of the control plane and of the sidecars."""
        sidecars = sum(cpu_s(part.process.pid) for part in self.parts)
        return cpu_s(self.control_plane.process.pid), sidecars


@asynccontextmanager
async def running_fleet(
    directory: Path, sidecars: int, flags: int, processes: int = 1, evaluating: int = 20
) -> AsyncIterator[Fleet]:
    """Run a control plane with flags and sidecars that follow it; all of them have a stream."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        redis = stack.enter_context(RedisServer("valkey", directory))
        program = Program(
            directory,
            "control-plane",
            ["control-plane", "--port", str(free_port())],  # the same when it is started again
            {"REDIS_URL": redis.url, **ADMINISTRATOR, "METRICS_PORT": "0"},
        )
        stack.push_async_callback(program.close)
        url = (await program.start())["api"]
        fleet = Fleet(program, url, http)
        await _store(fleet, flags)
        key = (await fleet.ask("POST", _KEYS_PATH, {"kind": "sidecar"}))["key"]
        for number in range(processes):
            first, last = (sidecars * n // processes for n in (number, number + 1))
            settings = FleetSettings(
                urls=(url,),
                key=key,
                first=first,
                count=last - first,
                evaluating=-(-evaluating // processes),
            )
            fleet.parts.append(await _part(stack, settings, directory / f"sidecars-{number}.log"))
        for part in fleet.parts:
            fleet.revision = await part.ready
        await fleet.state()  # what counted until now is not of the measurement
        yield fleet


async def _store(fleet: Fleet, flags: int) -> None:
    rest = iter(mixed(max(0, flags - 1)))

    async def write() -> None:
        for document in rest:
            await fleet.ask("POST", _FLAGS_PATH, document)

    first = {"key": FLAG, "type": "boolean", "value": False, "enabled": True}
    await fleet.ask("POST", _FLAGS_PATH, first)
    await asyncio.gather(*(write() for _ in range(_WRITES_AT_ONCE)))


async def _part(stack: AsyncExitStack, settings: FleetSettings, log: Path) -> _Part:
    output = stack.enter_context(log.open("wb"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "loadtests.fleet_sidecars", msgspec.json.encode(settings).decode()),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=output,
        limit=2**26,
    )
    part = _Part(process, settings.count)

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading

    async def read() -> None:
        await part.read()
        if not part.ready.done():
            part.ready.set_exception(Failed(f"sidecars ended, see {log}"))

    reading = asyncio.create_task(read())
    stack.push_async_callback(end)
    return part


async def measure_changes(fleet: Fleet, changes: int) -> dict[str, Any]:
    """Return how long changes took until sidecars served them, in ms, and what that cost."""
    every: list[float] = []
    last: list[float] = []
    before, busy_s, began = fleet.cpu_s(), machine_busy_s(), time.monotonic()
    for _ in range(changes):
        answered = await fleet.change()
        times = await fleet.reached(fleet.revision, 60.0)
        took = [max(0.0, at - answered) * 1e3 for at in times]
        every += took
        last.append(max(took))
        await asyncio.sleep(_PAUSE_S)
    after, took_s = fleet.cpu_s(), time.monotonic() - began
    others_s = machine_busy_s() - busy_s - sum(after) + sum(before)
    state = await fleet.state()
    sidecars = sum(part.count for part in fleet.parts)
    return {
        "changes": changes,
        "sidecar_ms": _spread(every),
        "last_sidecar_ms": _spread(last),
        "control_plane_cpu_ms_a_change": (after[0] - before[0]) / changes * 1e3,
        "sidecar_cpu_us_a_change": (after[1] - before[1]) / changes / sidecars * 1e6,
        "cores_others_used": max(0.0, others_s / took_s),
        "deltas": state["deltas"],
        "errors": state["errors"],
        "refused": state["refused"],
        "evaluations": state["evaluations"],
        "wrong_evaluations": state["wrong"],
    }


async def measure_restart(fleet: Fleet) -> dict[str, Any]:
    """Return how a fleet took a `kill -9` of its control plane and its start."""
    sidecars = sum(part.count for part in fleet.parts)
    before = await fleet.state()
    killed = time.monotonic()
    fleet.control_plane.kill()
    await fleet.control_plane.start()
    up_s = time.monotonic() - killed
    await fleet.change()
    connected: list[float] = []
    gap_s, back_s, held_s = 0.0, None, None
    while back_s is None or held_s is None:
        state = await fleet.state()
        now_s = time.monotonic() - killed
        connected += state["connected"]
        gap_s = max(gap_s, state["longest_gap_s"])
        if back_s is None and state["streaming"] == sidecars:
            back_s = now_s
        if held_s is None and state["revision"] >= fleet.revision:
            held_s = now_s
        if now_s > 3 * RESTART_TARGET_S:
            raise Failed(f"not back after {now_s:.0f} s: {state['streaming']} of {sidecars}")
        await asyncio.sleep(_STATE_EVERY_S)
    seconds = Counter(int(at - killed) for at in connected)
    return {
        "control_plane_up_s": up_s,
        "all_streaming_s": back_s,
        "all_hold_the_change_s": held_s,
        "connections": len(connected),
        "connections_in_the_busiest_second": max(seconds.values(), default=0),
        "connections_by_second": {str(second): seconds[second] for second in sorted(seconds)},
        "errors": _since(before["errors"], state["errors"]),
        "refused": _since(before["refused"], state["refused"]),
        "evaluations": state["evaluations"] - before["evaluations"],
        "wrong_evaluations": state["wrong"],
        "longest_pause_of_evaluations_s": gap_s,
    }


def _since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return dict(Counter(after) - Counter(before))


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "p50": percentile(values, 50),
        "p99": percentile(values, 99),
        "max": max(values),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 when the targets were met."""
    arguments = _arguments(argv)
    with tempfile.TemporaryDirectory(prefix="matrixflag-fleet-") as name:
        try:
            figures = asyncio.run(_measure(arguments, Path(name)))
        except (Failed, NotStarted) as error:
            sys.stderr.write(f"fleet: {error}\n")
            return 1
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    problems = problems_of(figures)
    _print(figures, print)
    for problem in problems:
        print(f"MISSED  {problem}")
    return 1 if problems else 0


async def _measure(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    began = time.monotonic()
    fleet = running_fleet(directory, arguments.sidecars, arguments.flags, arguments.processes)
    async with fleet as running:
        figures: dict[str, Any] = {
            "sidecars": arguments.sidecars,
            "flags": arguments.flags,
            "processes": arguments.processes,
            "started_s": time.monotonic() - began,
        }
        if arguments.changes:
            figures["changes"] = await measure_changes(running, arguments.changes)
        if arguments.restart:
            figures["restart"] = await measure_restart(running)
        return figures


def problems_of(figures: dict[str, Any]) -> list[str]:
    """Return which targets were missed."""
    problems = []
    if changes := figures.get("changes"):
        p99 = changes["sidecar_ms"]["p99"]
        if p99 >= CHANGE_TARGET_MS:
            problems.append(f"p99 of a change {p99:.0f} ms, the target is {CHANGE_TARGET_MS:.0f}")
    if restart := figures.get("restart"):
        took = max(restart["all_streaming_s"], restart["all_hold_the_change_s"])
        if took >= RESTART_TARGET_S:
            problems.append(f"back after {took:.1f} s, the target is {RESTART_TARGET_S:.0f}")
    for part in (changes, restart):
        if part and part["wrong_evaluations"]:
            problems += [f"wrong evaluations: {part['wrong_evaluations']}"]
    return problems


def _print(figures: dict[str, Any], say: Callable[[str], None]) -> None:
    say(
        f"{figures['sidecars']:,} sidecars in {figures['processes']} processes,"
        f" {figures['flags']:,} flags; all streaming after {figures['started_s']:.1f} s"
    )
    if changes := figures.get("changes"):
        say(f"{changes['changes']} changes, from PUT answered to served")
        for title, name in (("each sidecar", "sidecar_ms"), ("the last one", "last_sidecar_ms")):
            spread = changes[name]
            say(
                f"  {title}: p50 {spread['p50']:.1f} ms, p99 {spread['p99']:.1f} ms,"
                f" max {spread['max']:.1f} ms"
            )
        say(f"  CPU a change: control plane {changes['control_plane_cpu_ms_a_change']:.1f} ms")
        say(f"  CPU a change: each sidecar {changes['sidecar_cpu_us_a_change']:.0f} us")
        say(f"  other programs used {changes['cores_others_used']:.1f} cores meanwhile")
        say(f"  deltas {changes['deltas']}, errors {changes['errors']}")
    if restart := figures.get("restart"):
        say(f"restart: control plane up after {restart['control_plane_up_s']:.1f} s")
        say(f"  all have a stream after {restart['all_streaming_s']:.1f} s")
        say(f"  all hold a later change after {restart['all_hold_the_change_s']:.1f} s")
        say(
            f"  connections {restart['connections']:,},"
            f" {restart['connections_in_the_busiest_second']:,} in the busiest second"
        )
        say(
            f"  evaluations meanwhile {restart['evaluations']:,}, wrong"
            f" {sum(restart['wrong_evaluations'].values())}, longest pause"
            f" {restart['longest_pause_of_evaluations_s'] * 1e3:.0f} ms"
        )
        say(f"  errors {restart['errors']}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.fleet", description=__doc__)
    parser.add_argument("--sidecars", type=int, default=1000)
    parser.add_argument("--flags", type=int, default=100)
    parser.add_argument("--changes", type=int, default=50, help="0 makes none")
    parser.add_argument("--restart", action="store_true", help="kill -9 the control plane, too")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--processes", type=int, default=cores, help="that the sidecars live in [one a core]"
    )
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args(argv)
    for name, low, high in (("sidecars", 1, 20_000), ("flags", 1, 100_000), ("processes", 1, 64)):
        if not low <= getattr(arguments, name) <= high:
            parser.error(f"--{name}: from {low} to {high}")
    arguments.processes = min(arguments.processes, arguments.sidecars)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
