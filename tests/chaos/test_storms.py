"""Many at once: bad keys by the thousand, a key that is revoked, a reader that does not read."""

import asyncio
import secrets
from collections import Counter
from pathlib import Path

import aiohttp

from proxy.contract.exposures import EXPOSURES_PATH
from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH
from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import LONG
from tests.chaos.world import ADMIN, World, running_world, until

REQUESTS = 30_000 if LONG else 3_000
AT_ONCE = 50
GROWTH_BYTES = 32 * 1024 * 1024
PROBE_S = 5.0
"""`timeoutSeconds` of the liveness probes in `k8s/`."""
EVALUATE = "/ofrep/v1/evaluate/flags/step"


async def test_a_storm_of_bad_keys(tmp_path: Path) -> None:
    """At the control plane and at a sidecar: all refused, nothing grows, everybody else goes on.

    Here all of them come from one address, good ones and bad ones.
    """
    async with running_world(tmp_path) as world:
        world.key = (await world.api("POST", "/api/v1/keys", json={"kind": "server"}))[1]["key"]
        await until(lambda: _needs_a_key(world), 15)
        async with world.evaluating() as evaluator:
            programs = [*world.control_planes, *world.sidecars]
            for program in programs:
                program.forget_peak()
            before = [program.memory_bytes() for program in programs]
            urls = [
                *(world.api_urls[0] + path for path in (STREAM_PATH, SNAPSHOT_PATH)),
                world.api_urls[0] + EXPOSURES_PATH,
                world.ofrep_urls[0] + EVALUATE,
            ]
            storm = asyncio.create_task(_storm(urls))
            while not storm.done():
                assert await world.publish_once(), "a write failed in the storm"
                note("storm of bad keys: served after", await evaluator.all_see(world.step, 15))
                await asyncio.sleep(0.1)
            # beyond `MATRIXFLAG_RATE_LIMIT_CREDENTIALS` the bad ones are too many besides
            assert (await storm).keys() == {401, 429}
            note("storm of bad keys: longest evaluation", evaluator.longest_s)
            for program, memory_bytes in zip(programs, before, strict=True):
                grown = program.peak_bytes() - memory_bytes
                note(f"storm of bad keys: growth in MB, {program.name}", grown / 2**20)
                assert grown < GROWTH_BYTES, program.name
            await all_counted(world, evaluator)


async def test_liveness_depends_on_no_load_and_on_nobody_else(tmp_path: Path) -> None:
    """A probe that kills what is merely busy, or waits for others, makes an outage of a burst."""
    async with running_world(tmp_path) as world:
        probes = [url + "/livez" for url in (world.admin_urls[0], world.api_urls[0])]
        busy = [
            asyncio.create_task(_hammer(url, headers))
            for url, headers in (
                (world.ofrep_urls[0] + "/ofrep/v1/evaluate/flags", {}),
                (world.api_urls[0] + "/api/v1/flags?limit=500", ADMIN),
            )
        ]
        try:
            world.redis.freeze()
            longest_s = 0.0
            for _ in range(300 if LONG else 60):
                for probe in probes:
                    longest_s = max(longest_s, await _alive(world, probe))
            note("busy, without Redis: longest answer of a liveness probe", longest_s)
            world.redis.thaw()
            assert all(not task.done() for task in busy), "nobody was busy"
            world.control_planes[0].kill()
            busy[1].cancel()
            for _ in range(20):
                await _alive(world, probes[0])
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
        await world.control_planes[0].start()


async def test_a_key_that_is_revoked_is_no_storm(tmp_path: Path) -> None:
    """Its sidecars serve on what they have, and ask a few times, further and further apart."""
    sidecars = 6 if LONG else 2
    async with (
        running_world(tmp_path, sidecars=sidecars) as world,
        world.evaluating(),
    ):
        _, keys = await world.api("GET", "/api/v1/keys?kind=sidecar")
        status, _ = await world.api("DELETE", f"/api/v1/keys/{keys['items'][0]['id']}")
        assert status == 204
        for number in range(sidecars):
            await until(lambda n=number: _denied(world, n), 40)
        before = await _unauthorised(world)
        await asyncio.sleep(10)  # how often they ask in a time is what is measured
        asked = (await _unauthorised(world) - before) / sidecars
        note("key revoked: requests of a sidecar in 10 s, right after", asked)
        assert asked <= 10


async def test_a_sidecar_that_does_not_read(tmp_path: Path) -> None:
    """It holds up nobody, fills no memory of the control plane, and catches up afterwards."""
    async with (
        running_world(tmp_path, sidecars=2) as world,
        world.evaluating() as evaluator,
    ):
        control_plane = world.control_planes[0]
        control_plane.forget_peak()
        memory_bytes = control_plane.memory_bytes()
        world.sync_lines[0].stall()
        for _ in range(2_000 if LONG else 300):
            assert await world.publish_once()
        target = evaluator.targets[1]
        await until(lambda: _at(target.step, world.step), 15)
        grown = control_plane.peak_bytes() - memory_bytes
        note("sidecar that does not read: growth of the control plane in MB", grown / 2**20)
        assert grown < GROWTH_BYTES
        world.sync_lines[0].mend()
        note("sidecar that does not read: catches up in", await evaluator.all_see(world.step, 45))
        await all_counted(world, evaluator)


async def _hammer(url: str, headers: dict[str, str]) -> None:
    """Ask without a pause, so many at once, until cancelled."""
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask() -> None:
            while True:
                method = session.get if headers else session.post
                async with method(url, data=None if headers else b"{}") as answer:
                    await answer.read()
                    assert answer.status in (200, 429, 503), answer.status

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(ask())


async def _alive(world: World, probe: str) -> float:
    """Return how long a probe took; fail when it would have counted as failed."""
    started = asyncio.get_running_loop().time()
    timeout = aiohttp.ClientTimeout(total=PROBE_S)
    async with world.http.get(probe, timeout=timeout) as answer:
        assert answer.status == 200, probe
    return asyncio.get_running_loop().time() - started


async def _storm(urls: list[str]) -> Counter[int]:
    """Return how often which status came back from requests with keys that nobody has."""
    answers: Counter[int] = Counter()
    left = iter(range(REQUESTS))
    kinds = ("mf_sidecar_", "mf_server_", "nonsense-")

    async def ask(session: aiohttp.ClientSession) -> None:
        for number in left:
            key = kinds[number % 3] + secrets.token_urlsafe(32)
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            url = urls[number % len(urls)]
            method = "POST" if url.endswith((EXPOSURES_PATH, EVALUATE)) else "GET"
            data = b"{}" if method == "POST" else None
            async with session.request(method, url, headers=headers, data=data) as answer:
                await answer.read()
                answers[answer.status] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(ask(session) for _ in range(AT_ONCE)))
    return answers


async def _needs_a_key(world: World) -> bool:
    async with world.http.post(world.ofrep_urls[0] + EVALUATE, data=b"{}") as answer:
        return answer.status == 401


async def _denied(world: World, sidecar: int) -> bool:
    return bool((await world.status(sidecar))["sync"]["errors"].get("http_401"))


async def _unauthorised(world: World) -> float:
    metrics = await world.metrics(world.metrics_urls[0])
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("matrixflag_api_request_seconds_count") and 'status="401"' in name
    )


async def _at(step: int, wanted: int) -> bool:
    return step >= wanted
