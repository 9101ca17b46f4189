"""Sidecars that report garbage: whoever has a key may send anything, and costs only itself."""

import asyncio
import gzip
import json
import os
import random
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

from proxy.contract.events import EVENTS_PATH
from proxy.contract.exposures import EXPOSURES_PATH
from proxy.contract.usage import USAGE_PATH
from proxy.reporting.batches import uuid7
from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import SEED, rounds
from tests.chaos.world import World, running_world

GROWTH_BYTES = 64 * 1024 * 1024
MORE_SERIES = 400
"""Latency by route and status, of those that were not met before: 3 routes, 15 series a status."""

NOW_MS = time.time_ns() // 1_000_000
ITEMS: dict[str, dict[str, Any]] = {
    EXPOSURES_PATH: {
        "flag": "greeting",
        "variant": "german",
        "unit": "u",
        "unit_attribute": "targetingKey",
        "rule_id": None,
        "reason": "SPLIT",
        "epoch": "e",
        "revision": 1,
        "first_seen_ms": NOW_MS,
        "count": 1,
    },
    EVENTS_PATH: {
        "id": "i",
        "name": "n",
        "unit": "u",
        "unit_attribute": "targetingKey",
        "time_ms": NOW_MS,
    },
    USAGE_PATH: {
        "flag": "greeting",
        "variant": "german",
        "reason": "SPLIT",
        "minute_ms": NOW_MS,
        "count": 1,
    },
}
WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 2**53, 2**64, 10**400, 1.5, -1e308, "", "x", "\0", "\ud800",
    "x" * 300, "x" * 70_000, [], {}, [[]] * 50, {"a": {"b": 1}}, NOW_MS - 10**11, NOW_MS + 10**11,
)  # fmt: skip


def batch(path: str, draw: random.Random, items: int = 3) -> dict[str, Any]:
    """Return a batch that is right, of names that nobody sent before."""
    made = []
    for number in range(items):
        item = dict(ITEMS[path])
        for name in ("unit", "id"):
            if name in item:
                item[name] = f"hostile-{draw.getrandbits(64)}-{number}"
        made.append(item)
    at_ms = time.time_ns() // 1_000_000
    return {
        "id": uuid7(at_ms, os.urandom(10)),
        "instance": f"i-{draw.getrandbits(32)}",
        "sent_ms": at_ms,
        "items": made,
    }


def spoiled(path: str, draw: random.Random) -> bytes:
    """Return a body with something wrong in it, somewhere."""
    document = batch(path, draw)
    match draw.randrange(6):
        case 0:
            document[draw.choice(list(document))] = draw.choice(WRONG)
        case 1:
            del document[draw.choice(list(document))]
        case 2:
            document[f"surprise-{draw.getrandbits(32)}"] = draw.choice(WRONG)
        case 3:
            item = draw.choice(document["items"])
            item[draw.choice(list(item))] = draw.choice(WRONG)
        case 4:  # names by the thousand: of flags and variants that there are not
            for item in document["items"]:
                for name in item.keys() & {"flag", "variant", "name", "reason", "epoch"}:
                    item[name] = f"label-{draw.getrandbits(64)}"
        case 5:
            text = json.dumps(document).encode()
            return text[: draw.randrange(len(text))]
    return json.dumps(document).encode()


async def send(world: World, path: str, body: bytes, **headers: str) -> tuple[int, str]:
    """Send a body as a sidecar does; return status and text of the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["Authorization"] = f"Bearer {world.sidecar_key}"
    named["Content-Type"] = "application/json"
    url = world.api_urls[0] + path
    async with world.http.post(url, data=BytesIO(body), headers=named) as answer:
        return answer.status, await answer.text()


async def test_batches_with_anything_in_them(tmp_path: Path) -> None:
    """Each is taken or refused with a reason, never a fault of ours; others are counted right."""
    draw = random.Random(SEED)
    async with running_world(tmp_path) as world, world.evaluating() as evaluator:
        control_plane = world.control_planes[0]
        series = len(await world.metrics(world.metrics_urls[0]))
        control_plane.forget_peak()
        memory_bytes = control_plane.memory_bytes()
        statuses: Counter[int] = Counter()

        async def sender(path: str) -> None:
            for _ in rounds(80, 5_000):
                status, text = await send(world, path, spoiled(path, draw))
                statuses[status] += 1
                assert status < 500, text
                assert status < 400 or json.loads(text)["code"], text

        await asyncio.gather(*(sender(path) for path in ITEMS))
        assert statuses[200] + statuses[201] + statuses[202] > 0
        assert statuses[422] + statuses[400] > 0
        grown = control_plane.peak_bytes() - memory_bytes
        note("hostile batches: growth of the control plane in MB", grown / 2**20)
        assert grown < GROWTH_BYTES
        metrics = await world.metrics(world.metrics_urls[0])
        assert len(metrics) < series + MORE_SERIES
        assert not [name for name in metrics if "label-" in name or "hostile-" in name]
        await world.publish()
        await evaluator.all_see(world.step, 15)
        await all_counted(world, evaluator)


async def test_batches_that_are_too_large(tmp_path: Path) -> None:
    """Too many items, too many bytes, a bomb: 413 with the limit, and nothing grows."""
    draw = random.Random(SEED)
    bomb = gzip.compress(b" " * 256 * 2**20, 1)
    async with running_world(tmp_path) as world:
        control_plane = world.control_planes[0]
        control_plane.forget_peak()
        memory_bytes = control_plane.memory_bytes()
        for path in ITEMS:
            many = gzip.compress(json.dumps(batch(path, draw, 5_001)).encode())
            large = json.dumps(batch(path, draw)).encode() + b" " * 2_000_000
            for body, headers in (
                (many, {"Content_Encoding": "gzip"}),
                (large, {}),
                (bomb, {"Content_Encoding": "gzip"}),
            ):
                status, text = await send(world, path, body, **headers)
                assert status == 413, text
                assert "5000" in text or "1000000" in text, text
        assert control_plane.peak_bytes() - memory_bytes < GROWTH_BYTES
