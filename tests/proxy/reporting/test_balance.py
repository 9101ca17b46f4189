"""Nothing is lost and nothing counted twice, whatever the control plane, the process and the disk
do, in any order: a state machine over a real channel, a real directory and a real control plane.

What the channel says of itself is held against a count of its own: every event that was accepted,
and every batch that the control plane stored, by its id.
"""

import asyncio
import contextlib
import gzip
import itertools
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from proxy.contract.events import EVENTS_PATH, Event, EventBatch
from proxy.contract.reports import Receipt
from proxy.events.buffer import EventBuffer, Written
from proxy.reporting.channel import Channel, ReportSettings
from proxy.reporting.spool import Spool

MOODS = (
    *("stores", "429", "503", "401", "404", "a page", "cuts", "stores and cuts"),
    *("stores and 502", "stores too late", "refuses", "parks"),
)
TIMEOUT_S = 0.2


class ControlPlane:
    """It stores a batch once, by its id, and answers as it is in the mood to.

    A batch of more than `max_items` is too large in any mood.
    """

    def __init__(self) -> None:
        self.reset(1)

    def reset(self, max_items: int) -> None:
        """Begin anew."""
        self.max_items = max_items
        self.mood = "stores"
        self.stored: dict[str, list[str]] = {}
        self.parked: dict[str, list[str]] = {}
        self.refused: set[str] = set()
        self.hung = asyncio.Event()
        self.answers = -1
        """So many requests are answered, then none; -1 for all."""

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take a batch, or not."""
        batch = msgspec.json.decode(await request.read(), type=EventBatch)
        if self.answers == 0:
            self.hung.set()
            await asyncio.sleep(60)
        self.answers -= self.answers > 0
        if len(batch.items) > self.max_items:
            return web.Response(status=413)
        mood = self.mood
        if mood in ("429", "503"):
            return web.Response(status=int(mood), headers={"Retry-After": "7"})
        if mood in ("401", "404"):
            return web.Response(status=int(mood))
        if mood == "a page":
            return web.Response(text="<html>")
        if mood == "refuses" and batch.id not in self.stored:
            self.refused |= {item.id for item in batch.items}
            return web.Response(status=422, text="no")
        if mood == "cuts" and request.transport is not None:
            request.transport.abort()
            return web.Response()
        items = [item.id for item in batch.items]
        duplicate = batch.id in self.stored or batch.id in self.parked
        if mood == "parks" and not duplicate:
            self.parked[batch.id] = items
        elif not duplicate:
            self.stored[batch.id] = items
        if mood == "stores and cuts" and request.transport is not None:
            request.transport.abort()
        if mood == "stores and 502":
            return web.Response(status=502)
        if mood == "stores too late":
            await asyncio.sleep(2 * TIMEOUT_S)
        accepted = 0 if duplicate or batch.id in self.parked else len(items)
        receipt = Receipt(batch.id, accepted, duplicate, batch.id in self.parked)
        return web.Response(body=msgspec.json.encode(receipt))


class World:
    """A loop, the control plane in it, and a client; for all examples."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.control_plane = ControlPlane()
        self.run = self.runner.run
        self.url, self.session, self._app = self.run(self._start())

    async def _start(self) -> tuple[str, aiohttp.ClientSession, web.AppRunner]:
        app = web.Application()
        app.router.add_post(EVENTS_PATH, self.control_plane.take)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}", aiohttp.ClientSession(), runner

    def close(self) -> None:
        """End all of it."""
        self.run(self.session.close())
        self.run(self._app.cleanup())
        self.runner.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One for the module: starting it takes longer than an example."""
    made = World()
    yield made
    made.close()


class Reporting(RuleBasedStateMachine):
    """Processes that report, one after the other, over one directory."""

    world: World

    @initialize(
        max_items=st.integers(1, 6),
        on_disk=st.sampled_from([0, 600, 10**6]),
        segment_bytes=st.sampled_from([1, 10**6]),
        in_memory=st.sampled_from([1500, 10**6]),
    )
    def begin(self, max_items: int, on_disk: int, segment_bytes: int, in_memory: int) -> None:
        """A control plane that is well, and the first process."""
        self.directory = Path(tempfile.mkdtemp(prefix="balance-"))
        self.control_plane = self.world.control_plane
        self.control_plane.reset(max_items)
        self.bounds = on_disk, segment_bytes, in_memory
        self.numbers = itertools.count()
        self.now_s = 0.0
        self.accepted: list[str] = []
        self.ended_with: set[str] = set()  # what was in memory alone when a process was killed
        self.lost = 0
        self.start()

    def start(self) -> None:
        """Begin another process."""
        on_disk, segment_bytes, in_memory = self.bounds
        self.buffer = EventBuffer(in_memory)
        self.channel = Channel(
            *("events", EVENTS_PATH, self.buffer, self.world.session),
            ReportSettings(
                control_plane_urls=(self.world.url,), key="k", instance="i", timeout_s=TIMEOUT_S
            ),
            Spool(self.directory, on_disk, segment_bytes=segment_bytes) if on_disk else None,
            clock=lambda: self.now_s,
        )

    @rule(count=st.integers(1, 12))
    def accept(self, count: int) -> None:
        """Events come; those for which there is no room are still with who sent them."""
        for _ in range(count):
            name = f"e-{next(self.numbers)}"
            event = Event(name, "buy", "u", "targetingKey", 1)
            written = Written(name, msgspec.json.encode(event))
            if self.buffer.room_for([written]):
                assert self.buffer.add(written, 0)
                self.accepted.append(name)

    @rule(mood=st.sampled_from(MOODS), seconds=st.sampled_from([1.0, 8.0, 40.0, 400.0]))
    def report(self, mood: str, seconds: float) -> None:
        """Time goes by, the control plane becomes another, and is reported to."""
        self.control_plane.mood = mood
        self.now_s += seconds
        self.world.run(self.channel.flush())

    @rule(steps=st.integers(0, 60))
    def cancel(self, steps: int) -> None:
        """The work is cut short, as by an exception that nobody expected, and begins again."""
        self.now_s += 40.0
        self.world.run(self._cut_short(steps))

    @rule(steps=st.integers(0, 60), garbage=st.sampled_from([b"", b"mfb1w\0\0", bytes(70)]))
    def kill(self, steps: int, garbage: bytes) -> None:
        """SIGKILL, at any moment; a write may have begun. Another process begins."""
        self.now_s += 40.0
        self.world.run(self._cut_short(steps))
        self._end(garbage)

    @rule(answers=st.integers(0, 5))
    def kill_while_a_batch_is_on_its_way(self, answers: int) -> None:
        """After some that were answered, of which halves of one may be."""
        self.now_s += 40.0
        self.control_plane.mood = "stores"
        self.control_plane.answers = answers
        self.world.run(self._cut_short_at_a_request())
        self.control_plane.answers = -1
        self._end(b"")

    @rule(timeout_s=st.sampled_from([0.0, 0.02, 5.0]))
    def restart(self, timeout_s: float) -> None:
        """SIGTERM, and another process."""
        self.world.run(self.channel.close(timeout_s))
        self._end(b"")

    @invariant()
    def it_balances(self) -> None:
        """At any moment."""
        if hasattr(self, "channel"):
            balance = self.channel.balance()
            assert balance.received == sum(balance[1:])
            assert min(balance) >= 0

    def teardown(self) -> None:
        """All that was accepted is somewhere, and nothing is counted twice."""
        if not hasattr(self, "channel"):
            return
        try:
            self.control_plane.mood = "stores"
            for _ in range(100):
                self.now_s += 400.0
                self.world.run(self.channel.flush())
                if not self.channel.balance().pending:
                    break
            self._check()
        finally:
            shutil.rmtree(self.directory)

    def _check(self) -> None:
        balance = self.channel.balance()
        self.it_balances()
        assert balance.pending == 0
        stored = Counter(itertools.chain(*self.control_plane.stored.values()))
        assert set(stored.values()) <= {1}, "counted twice"
        parked = set(itertools.chain(*self.control_plane.parked.values()))
        parked |= self.control_plane.refused
        missing = set(self.accepted) - stored.keys() - parked - self.ended_with
        assert len(missing) <= self.lost + balance.lost, missing
        if self.bounds[0]:
            assert not missing

    async def _cut_short(self, steps: int) -> None:
        work = asyncio.create_task(self.channel.flush())
        for _ in range(steps):
            await asyncio.sleep(0)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    async def _cut_short_at_a_request(self) -> None:
        self.control_plane.hung.clear()
        work = asyncio.create_task(self.channel.flush())
        hung = asyncio.create_task(self.control_plane.hung.wait())
        await asyncio.wait({work, hung}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, hung):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _end(self, garbage: bytes) -> None:
        """Let the process end as it stands, and another begin."""
        self.lost += self.channel.balance().lost
        for body in self.buffer._waiting:
            self.ended_with.add(json.loads(body)["id"])
        self.ended_with |= {json.loads(bytes(raw))["id"] for raw in self.channel._taken}
        for batch in self.channel._outbox:
            self.ended_with |= _ids(batch.body)
        segments = sorted(self.directory.glob("waiting/*.segment"))
        if garbage and segments:
            with segments[-1].open("ab") as file:
                file.write(garbage)
        self.start()


def _ids(body: bytes) -> set[str]:
    return {item["id"] for item in json.loads(gzip.decompress(body))["items"]}


def test_all_that_was_accepted_is_delivered_parked_pending_or_lost(world: World) -> None:
    """Once each, through everything that can happen between."""
    Reporting.world = world
    run_state_machine_as_test(
        Reporting,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
