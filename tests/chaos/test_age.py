"""Flags that nobody can confirm: their age is told everywhere, and where it has a bound, it counts.

One sidecar serves on for ever, the other has a maximum age a little above the time between two
heartbeats, so that a healthy stream keeps it from being reached.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.contract.sync import SNAPSHOT_PATH, VERIFIED_AGE_HEADER
from tests.chaos.figures import note
from tests.chaos.world import World, running_world, until

MAX_AGE_S = 11.5
"""Heartbeats come 10 s apart."""

AGED_S = 30.0
"""Until an age of MAX_AGE_S is reached, and somewhat more."""

CONFIRMED_S = 45.0
"""As for other recoveries of a control plane: a stream that was lost is back, and beats."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One control plane; sidecars tell revision and age with each answer."""
    headers = {"MATRIXFLAG_FRESHNESS_HEADERS": "true"}
    bounded = {"MATRIXFLAG_MAX_AGE_S": str(MAX_AGE_S)}
    async with running_world(tmp_path, sidecars=2, environ=headers, environs=({}, bounded)) as made:
        yield made


async def test_a_blind_control_plane_shows_in_every_age(world: World) -> None:
    """Redis hangs: heartbeats go on and say so, to sidecars and to whoever polls."""
    _, key = await world.api("POST", "/api/v1/keys", json={"kind": "sidecar"})
    world.redis.freeze()
    await until(lambda: _is_older(world, MAX_AGE_S), AGED_S)
    assert (await world.status())["sync"]["state"] == "streaming"
    await _ages_agree(world)
    polled = await _poll(world, key["key"])
    assert polled > MAX_AGE_S - 1.5
    await _ends_where_it_is_bounded(world)
    world.redis.thaw()
    note("Redis frozen: flags answered again", await until(lambda: _answers(world, 1), CONFIRMED_S))
    assert await _poll(world, key["key"]) < MAX_AGE_S
    await world.publish()


async def test_a_frozen_control_plane_shows_in_age(world: World) -> None:
    """Nothing comes any more, on connections that stay open."""
    world.control_planes[0].freeze()
    await until(lambda: _is_older(world, MAX_AGE_S), AGED_S)
    await _ages_agree(world)
    await _ends_where_it_is_bounded(world)
    world.control_planes[0].thaw()
    took_s = await until(lambda: _answers(world, 1), CONFIRMED_S)
    note("control plane frozen: flags answered again", took_s)


async def _ends_where_it_is_bounded(world: World) -> None:
    """The one leaves the decision to the application, and is ready; the other serves on."""
    await until(lambda: _leaves_it(world, 1), AGED_S)
    snapshot = (await world.status(1))["snapshot"]
    assert (snapshot["stale"], snapshot["max_age_s"]) == (True, MAX_AGE_S)
    assert (await world.metrics(world.admin_urls[1]))["matrixflag_snapshot_stale"] == 1
    async with world.http.get(world.admin_urls[1] + "/readyz") as ready:
        assert ready.status == 200
    assert await _answers(world, 0)


async def _ages_agree(world: World) -> None:
    """Status, metrics and headers tell the same age, and the revision."""
    document = await world.status()
    figures = await world.metrics(world.admin_urls[0])
    headers, _ = await _ask(world, 0)
    age_s = document["snapshot"]["age_s"]
    assert abs(figures["matrixflag_snapshot_age_seconds"] - age_s) < 2
    assert abs(int(headers["Matrixflag-Age"]) - age_s) < 2
    revisions = {
        document["snapshot"]["revision"],
        int(figures["matrixflag_snapshot_revision"]),
        int(headers["Matrixflag-Revision"]),
    }
    assert len(revisions) == 1


async def _is_older(world: World, age_s: float) -> bool:
    age: float = (await world.status())["snapshot"]["age_s"]
    return age > age_s


async def _ask(world: World, sidecar: int) -> tuple[Any, Any]:
    url = world.ofrep_urls[sidecar] + "/ofrep/v1/evaluate/flags/greeting"
    async with world.http.post(url, json={"context": {"country": "DE"}}) as answer:
        assert answer.status == 200
        return answer.headers, await answer.json()


async def _answers(world: World, sidecar: int) -> bool:
    _, answer = await _ask(world, sidecar)
    return answer.get("value") == "hallo"


async def _leaves_it(world: World, sidecar: int) -> bool:
    _, answer = await _ask(world, sidecar)
    return "value" not in answer and answer["metadata"] == {"stale": True}


async def _poll(world: World, key: str) -> float:
    """Return the age in seconds that one who polls is told, with a snapshot and with 304 alike."""
    headers = {"Authorization": f"Bearer {key}"}
    url = world.api_urls[0] + SNAPSHOT_PATH
    async with world.http.get(url, headers=headers) as full:
        age_s = int(full.headers[VERIFIED_AGE_HEADER]) / 1000
        tag = full.headers["ETag"]
    async with world.http.get(url, headers=headers | {"If-None-Match": tag}) as same:
        assert same.status == 304
        assert int(same.headers[VERIFIED_AGE_HEADER]) / 1000 >= age_s
    return age_s
