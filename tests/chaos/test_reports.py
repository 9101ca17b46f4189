"""What applications tell and sidecars count is in Redis in the end, once, whatever dies."""

import asyncio
import gzip
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.reporting.spool import Spool
from tests.chaos.figures import note
from tests.chaos.world import World, running_world, until

CHANNELS = ("exposures", "events", "usage")
QUICK = {"MATRIXFLAG_EVENTS_INTERVAL_S": "0.2", "MATRIXFLAG_USAGE_INTERVAL_S": "0.2"}
DELIVERED_S = 45.0
"""From the moment that a control plane can be reached: the longest pause between two attempts."""


class Application:
    """What tells a sidecar, and remembers what it was told is accepted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accepted = 0

    async def tell(self, ids: Iterable[int], noise: int = 0) -> aiohttp.ClientResponse:
        """Report events."""
        events = [
            {
                "name": "buy",
                "unit": f"u-{n}",
                "value": 2,
                "id": f"e-{n}",
                "properties": _noise(noise),
            }
            for n in ids
        ]
        url = self.world.ofrep_urls[0] + "/v1/events"
        async with self.world.http.post(url, json={"events": events}) as answer:
            if answer.status in (200, 202):
                self.accepted += (await answer.json())["accepted"]
            return answer

    async def show(self, numbers: Iterable[int]) -> None:
        """Evaluate the tracked flag for units."""
        url = self.world.ofrep_urls[0] + "/ofrep/v1/evaluate/flags/shown"
        for number in numbers:
            context = {"context": {"targetingKey": f"u-{number}"}}
            async with self.world.http.post(url, json=context) as answer:
                assert answer.status == 200

    async def counted(self, events: int, units: int) -> bool:
        """Return whether the control plane has counted so many, and no more are on their way."""
        _, buys = await self.world.api("GET", "/api/v1/events/summary?name=buy")
        _, shown = await self.world.api("GET", "/api/v1/exposures/summary?flag=shown")
        status = await self.world.status()
        assert buys["count"] <= events
        assert shown["units"] <= units
        return (buys["count"], buys["sum"], shown["units"]) == (events, 2 * events, units) and not (
            status["events"]["pending"] or status["exposures"]["pending"]
        )

    async def keeps(self, channel: str, count: int) -> bool:
        """Return whether the sidecar has so many items on disk; of usage, so many evaluations."""
        items = await asyncio.to_thread(_kept, self.world.directory / "cache-0" / channel)
        if channel == "usage":
            return sum(item["count"] for item in items if item["flag"] == "shown") == count
        return len(items) == count

    async def has_used(self, count: int) -> bool:
        """Return whether the control plane knows of so many evaluations, and of no more."""
        _, document = await self.world.api("GET", "/api/v1/usage?flag=shown")
        minutes = document["items"][0]["minutes"]
        found = sum(sum(minute["variants"].values()) for minute in minutes)
        assert found <= count
        return bool(found == count)

    async def has_no_disk(self) -> bool:
        """Return whether the sidecar could not put events on disk."""
        status = await self.world.status()
        return "spool" in status["events"]["errors"]

    async def balances(self) -> dict[str, dict[str, int]]:
        """Return where all items are that the sidecar's process was given; they have to add up."""
        status = await self.world.status()
        for channel in CHANNELS:
            parts = ("deduplicated", "delivered", "pending", "parked", "lost")
            assert status[channel]["received"] == sum(status[channel][part] for part in parts)
        return {channel: status[channel] for channel in CHANNELS}


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    """A control plane, a sidecar that reports at once, and what tells it."""
    async with running_world(tmp_path, environ=QUICK) as world:
        yield Application(world)


async def test_what_is_on_disk_outlives_both(application: Application) -> None:
    """The control plane is killed, then the sidecar that kept what it could not deliver."""
    world = application.world
    for first in range(0, 100, 20):
        assert (await application.tell(range(first, first + 20))).status == 202
    assert (await application.tell(range(20))).status == 200, "they came before"
    await application.show(range(50))
    await until(lambda: application.counted(100, 50), 20)

    world.control_planes[0].kill()
    await application.tell(range(100, 200))
    await application.show(range(25, 100))
    await until(lambda: application.keeps("events", 100), 20)
    await until(lambda: application.keeps("exposures", 50), 20)
    await until(lambda: application.keeps("usage", 75), 20)
    before = await application.balances()
    assert before["exposures"]["deduplicated"] == 25
    world.sidecars[0].kill()

    await world.sidecars[0].start()
    await application.tell(range(200, 250))
    await application.show(range(100, 120))
    await world.control_planes[0].start()
    took_s = await until(lambda: application.counted(250, 120), DELIVERED_S)
    note("sidecar and control plane killed: all counted", took_s)
    await until(lambda: application.has_used(50 + 75 + 20), DELIVERED_S)
    after = await application.balances()
    assert after["events"]["received"] == after["events"]["delivered"] == 150
    assert after["exposures"]["received"] == 70
    assert [after[channel]["lost"] for channel in CHANNELS] == [0, 0, 0]


async def test_a_full_disk_sends_events_back(tmp_path: Path) -> None:
    """They are with who sent them, and nothing is lost; evaluations go on."""
    cache = tmp_path / "cache-0"
    cache.mkdir()
    small = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    before = [
        *("/usr/bin/unshare", "--user", "--map-root-user", "--mount"),
        *("/bin/sh", "-ec", small, str(cache)),
    ]
    environ = {**QUICK, "MATRIXFLAG_EVENTS_MAX_PENDING_BYTES": "100000"}
    async with running_world(tmp_path, environ=environ, before=before) as world:
        application = Application(world)
        await application.tell(range(10))
        await until(lambda: application.counted(10, 0), 20)
        world.control_planes[0].kill()
        number = 10
        refused: list[range] = []
        while len(refused) < 3:
            assert number < 20_000, "a megabyte has room for all that"
            ids = range(number, number + 10)
            answer = await application.tell(ids, noise=8)
            if answer.status == 202:
                number += 10
            elif await application.has_no_disk():
                assert answer.status == 429
                assert int(answer.headers["Retry-After"]) > 0
                refused.append(ids)
                number += 10
        assert application.accepted > 300, "much more than there is memory for"
        note("events kept by a disk of 1 MB and 100 kB of memory", application.accepted)
        await application.show(range(10))
        assert (await application.balances())["events"]["lost"] == 0
        await world.control_planes[0].start()
        for ids in refused:
            await until(lambda ids=ids: _taken(application, ids), DELIVERED_S)
        assert application.accepted == number
        await until(lambda: application.counted(number, 10), DELIVERED_S)
        assert (await application.balances())["events"]["lost"] == 0


async def _taken(application: Application, ids: range) -> bool:
    return (await application.tell(ids)).status == 202


def _noise(count: int) -> dict[str, str]:
    """Return properties that do not compress below 128 bytes each."""
    return {f"p-{n}": os.urandom(128).hex() for n in range(count)}


def _kept(directory: Path) -> list[Any]:
    """Return the items that wait in a directory, without touching it."""
    copy = directory.with_suffix(".copy")
    items: list[Any] = []
    try:
        shutil.copytree(directory, copy)
        spool = Spool(copy, 10**9)
        spool.open()
        while (batch := spool.first()) is not None:
            items += json.loads(gzip.decompress(batch.body))["items"]
            spool.done()
    except OSError:  # a segment is being removed
        return []
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return items
