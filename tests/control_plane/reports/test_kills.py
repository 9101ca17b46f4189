"""Aggregators killed at any step, and whole control planes: all is counted, and counted once.

What is counted is compared with a count of its own, made of what was sent.
"""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.documents import Packed
from control_plane.events.service import EventService
from control_plane.exposures.model import ExposureSummary
from control_plane.exposures.service import ExposureService
from control_plane.reports.model import SHARDS, Kind, Place
from control_plane.reports.service import keys_of
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.reports import ReportStore
from tests.control_plane.reports.builders import batch, encoded, evaluated, event, item
from tests.control_plane.reports.mortal import FLAGS
from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.processes import ROOT, running, wait_for_json
from tests.support.redis import RedisServer

_DEEPEST = 90  # commands after which an aggregator has nothing left to do, nearly always


class Mortals:
    """Forks aggregators that die."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.control_plane.reports.mortal"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def run(self, fatal: int, when: str = "before") -> str:
        """Run one until it is killed, or done."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{self._url} {fatal} {when}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    def close(self) -> None:
        """End what forks."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture
def mortals(redis_url: str) -> Iterator[Mortals]:
    """Aggregators on an empty Redis."""
    made = Mortals(redis_url)
    yield made
    made.close()


class Sent:
    """What was sent, and what it comes to."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._now_ms: int = item()["first_seen_ms"]
        self.first: dict[tuple[str, str], tuple[int, str]] = {}
        self.seen: dict[tuple[str, str], set[str]] = {}
        self.events: Counter[str] = Counter()
        self.evaluations: Counter[str] = Counter()

    def exposures(self, count: int = 40, units: int = 3000) -> dict[str, Any]:
        """Return a batch of exposures, of units that come again and see several variants."""
        items = []
        for _ in range(count):
            flag, unit = self._chance.choice(FLAGS), f"u{self._chance.randrange(units)}"
            ago_ms, variant = self._chance.randrange(5 * 86_400_000), self._chance.choice("ab")
            shown = (self._now_ms - ago_ms, variant)
            self.first[flag, unit] = min(self.first.get((flag, unit), shown), shown)
            self.seen.setdefault((flag, unit), set()).add(shown[1])
            items.append(item(flag=flag, unit=unit, first_seen_ms=shown[0], variant=shown[1]))
        return batch(*items)

    def purchases(self, count: int = 5) -> dict[str, Any]:
        """Return a batch of events."""
        names = [self._chance.choice(("purchase", "refund")) for _ in range(count)]
        self.events.update(names)
        return batch(*(event(name=name, value=0.5) for name in names))

    def usage(self) -> dict[str, Any]:
        """Return a batch of evaluations."""
        counts = {flag: self._chance.randrange(1, 100) for flag in FLAGS}
        self.evaluations.update(counts)
        return batch(*(evaluated(flag=flag, count=count) for flag, count in counts.items()))

    def agrees(self, flag: str, told: dict[str, Any]) -> None:
        """See that what is told of a flag is what was sent."""
        mine = {unit: first for (name, unit), first in self.first.items() if name == flag}
        several = sum(len(self.seen[flag, unit]) > 1 for unit in mine)
        assert (told["units"], told["several"]) == (len(mine), several)
        assert told["variants"] == Counter(variant for _, variant in mine.values())
        days = Counter((at_ms // 86_400_000, variant) for at_ms, variant in mine.values())
        assert sum(sum(day.values()) for day in told["days"].values()) == days.total()
        assert sorted(n for day in told["days"].values() for n in day.values()) == sorted(
            days.values()
        )


def _members(summary: ExposureSummary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in ("units", "several", "variants", "days")}


async def test_an_aggregator_may_be_killed_at_any_step(redis_url: str, mortals: Mortals) -> None:
    """Before a command to Redis, or after it, when nobody knows that it was done."""
    connections = Connections(redis_url, RedisLimits())
    reports = ReportStore(connections)
    exposures, events = ExposureService(reports, lambda project: FLAGS), EventService(reports)
    sent, chance = Sent(3), random.Random(7)
    killed = 0
    for number, fatal in enumerate(chance.sample(range(1, _DEEPEST), 24)):
        if number % 4 == 3:  # what is given out ten times in vain would be parked
            assert await asyncio.to_thread(mortals.run, 0) == "done 0"
        for when in ("before", "after"):
            for _ in range(3):
                body = Packed(encoded(sent.exposures()), False)
                await exposures.intake.accept("p", "e", body)
            await events.intake.accept("p", "e", Packed(encoded(sent.purchases()), False))
            killed += await asyncio.to_thread(mortals.run, fatal, when) == "killed"
    assert killed > 40
    assert await asyncio.to_thread(mortals.run, 0) == "done 0"
    for flag in FLAGS:
        sent.agrees(flag, _members(await exposures.summary("p", "e", flag=flag)))
    for name, count in sent.events.items():
        found = await events.summary("p", "e", name)
        assert (found.count, found.sum, found.sum_squares) == (count, count / 2, count / 4)
    for kind in (Kind.EXPOSURES, Kind.EVENTS):
        place = Place(kind, "p", "e")
        balance = await reports.balance(keys_of(place, n) for n in range(SHARDS[kind]))
        assert balance.received == balance.delivered > 0
    await connections.close()


class ControlPlane:
    """A real process that is killed and started again."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._redis_url = redis_url
        self._directory = directory
        self._stack = AsyncExitStack()
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and return when it answers."""
        ready, log = self._directory / "ready.json", self._directory / "log"
        ready.unlink(missing_ok=True)
        environ = {
            "REDIS_URL": self._redis_url,
            **ADMINISTRATOR,
            "METRICS_PORT": "0",
            "MATRIXFLAG_PORT": "0",
            "MATRIXFLAG_READY_FILE": str(ready),
            "MATRIXFLAG_CLAIM_AFTER_S": "1",
        }
        self.process = self._stack.enter_context(running(["control-plane"], log, environ))
        self.url = (await asyncio.to_thread(wait_for_json, ready, self.process, log))["api"]

    def kill(self) -> None:
        """End it without a goodbye."""
        assert self.process is not None
        self.process.kill()

    async def close(self) -> None:
        """End it in order."""
        await self._stack.aclose()


@pytest.fixture
async def replicas(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[list[ControlPlane]]:
    """Two control planes on a Redis that keeps what it acknowledged."""
    made = []
    for number in range(2):
        directory = tmp_path / f"control-plane-{number}"
        directory.mkdir()
        made.append(ControlPlane(redis_server.url, directory))
    await asyncio.gather(*(one.start() for one in made))
    yield made
    for one in made:
        await one.close()


class Senders:
    """Send batches until there is a receipt, to any replica; many an answer is not waited for."""

    def __init__(self, http: aiohttp.ClientSession, replicas: list[ControlPlane], key: str) -> None:
        self._http = http
        self._replicas = replicas
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._chance = random.Random(11)

    async def send(self, kind: str, document: dict[str, Any]) -> None:
        """Return once the batch has a receipt, and in one of three cases a second one."""
        body = encoded(document)
        receipts = self._chance.choice((1, 1, 2))
        while receipts:
            patience_s = self._chance.choice((0.002, 0.01, 5.0))
            try:
                receipts -= await self._attempt(kind, body, patience_s)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)

    async def _attempt(self, kind: str, body: bytes, patience_s: float) -> bool:
        url = f"{self._chance.choice(self._replicas).url}/api/v1/{kind}"
        timeout = aiohttp.ClientTimeout(total=patience_s)
        async with self._http.post(
            url, data=body, headers=self._headers, timeout=timeout
        ) as answer:
            await answer.read()
            assert answer.status in (200, 503), answer.status
            return answer.status == 200


async def test_control_planes_and_redis_may_be_killed_while_they_count(
    redis_server: RedisServer, replicas: list[ControlPlane]
) -> None:
    """Two replicas, senders whose answers get lost, and everything dies now and then."""
    sent, admin = Sent(5), {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession() as http:

        async def ask(method: str, path: str, **options: Any) -> Any:
            url = replicas[0].url + path
            async with http.request(method, url, headers=admin, **options) as answer:
                assert answer.ok, await answer.text()
                return await answer.json()

        for flag in FLAGS:
            document = {"key": flag, "type": "boolean", "value": True, "enabled": True}
            await ask("POST", "/api/v1/flags", json=document)
        key = (await ask("POST", "/api/v1/keys", json={"kind": "sidecar"}))["key"]
        senders = Senders(http, replicas, key)
        documents = [("exposures", sent.exposures(100)) for _ in range(90)]
        documents += [("events", sent.purchases()) for _ in range(60)]
        documents += [("usage", sent.usage()) for _ in range(60)]
        random.Random(13).shuffle(documents)

        async def send_share(share: list[tuple[str, dict[str, Any]]]) -> None:
            for kind, document in share:
                await senders.send(kind, document)
                await asyncio.sleep(0.05)

        sending = asyncio.gather(*(send_share(documents[n::6]) for n in range(6)))
        for number in (0, 1):
            await asyncio.sleep(0.4)
            replicas[number].kill()
            await replicas[number].start()
            redis_server.kill()
            await asyncio.to_thread(redis_server.restart)
        await asyncio.wait_for(sending, 60)

        async with asyncio.timeout(30):
            for kind in ("exposures/summary?flag=banner", "events/summary?name=purchase"):
                while (await ask("GET", f"/api/v1/{kind}"))["pending"]:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.05)
        for flag in FLAGS:
            sent.agrees(flag, await ask("GET", f"/api/v1/exposures/summary?flag={flag}"))
            (usage,) = (await ask("GET", f"/api/v1/usage?flag={flag}"))["items"]
            told = sum(n for day in usage["days"] for n in day["variants"].values())
            assert told == sent.evaluations[flag]
        for name, count in sent.events.items():
            found = await ask("GET", f"/api/v1/events/summary?name={name}")
            assert (found["count"], found["sum"]) == (count, count / 2)
    await balances(redis_server.url)


async def balances(url: str) -> None:
    """See that all that was received is where it should be."""
    connections = Connections(url, RedisLimits())
    store = ReportStore(connections)
    for kind in Kind:
        shards = range(SHARDS[kind])
        place = Place(kind, "default", "production")
        found = await store.balance(keys_of(place, shard) for shard in shards)
        assert found.received == found.deduplicated + found.delivered
        assert (found.pending, found.parked, found.lost) == (0, 0, 0)
    await connections.close()
