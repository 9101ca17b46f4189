"""The sidecar's own source on streams of the real control plane: what is told arrives."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from control_plane.publishing.replica import Replica
from control_plane.publishing.state import Edit, RecordKind
from proxy.contract.sync import MAX_DELTA_BYTES
from tests.control_plane.publishing.replicas import until_same
from tests.proxy.sync.sidecar import Sidecar, running
from tests.support.control_plane import Api, put_flag, running_api, until
from tests.support.definitions import change, flag_record


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with one flag."""
    async with running_api(redis_url) as api:
        await put_flag(api.replica, "a", value="0")
        yield api


async def follows(sidecar: Sidecar, replica: Replica) -> None:
    """Return once a sidecar holds exactly what a replica has in production."""

    def same() -> bool:
        served = sidecar.holder.served
        current = replica.environment("default", "production")
        return served is not None and served.header == current.header()

    await until(same)


async def streams(sidecar: Sidecar) -> None:
    """Return once a sidecar has a stream."""
    await sidecar.until(lambda: sidecar.status.connected_since)


async def test_changes_are_applied_and_nothing_is_fetched(api: Api) -> None:
    """One after the other, removals too; the header is the control plane's own."""
    async with running(api.url, key=await api.key(), idle_s=30.0) as sidecar:
        await streams(sidecar)
        await follows(sidecar, api.replica)
        for number in range(1, 31):
            await put_flag(api.replica, "a", value=str(number))
        await follows(sidecar, api.replica)
        assert sidecar.value == "30"
        gone = Edit(RecordKind.FLAG, "a", None)
        await api.replica.commit("default", lambda _: change(gone))
        await follows(sidecar, api.replica)
        assert sidecar.status.deltas == {"applied": 31}


async def test_what_is_too_large_is_fetched_and_deltas_go_on(api: Api) -> None:
    """Ten thousand flags at once, and one after them."""
    many = [Edit(RecordKind.FLAG, f"f-{n}", flag_record(f"f-{n}")) for n in range(10_000)]
    async with running(api.url, key=await api.key(), idle_s=30.0) as sidecar:
        await streams(sidecar)
        await follows(sidecar, api.replica)
        await api.replica.commit("default", lambda _: change(*many))
        await follows(sidecar, api.replica)
        assert len(api.replica.deltas("default", "production")) == 0
        applied = sidecar.status.deltas["applied"]
        await put_flag(api.replica, "a", value="x" * (MAX_DELTA_BYTES // 2))
        await follows(sidecar, api.replica)
        assert sidecar.status.deltas["applied"] == applied + 1


async def test_a_stream_that_ends_in_order_goes_on_at_another_replica(redis_url: str) -> None:
    """Deltas made by the one replica, and resumed from the other: nothing failed, none missed."""
    async with running_api(redis_url) as one, running_api(redis_url) as other:
        await put_flag(one.replica, "a", value="0")
        key = await one.key()
        await until_same(one.replica, other.replica)
        async with running(one.url, other.url, key=key, idle_s=30.0) as sidecar:
            await streams(sidecar)
            await follows(sidecar, one.replica)
            left, right = (one, other) if len(one.sync.streams) else (other, one)
            left.sync.streams.pace = left.sync.streams.pace._replace(heartbeat_s=0.05)
            for stream in list(next(iter(left.sync.streams._audiences.values())).streams):
                stream.ends_at = 0.0
            await until(lambda: len(left.sync.streams) == 0)
            for number in range(1, 6):
                await put_flag(left.replica, "a", value=str(number))
            await until_same(one.replica, other.replica)
            await until(lambda: len(right.sync.streams) == 1)
            await follows(sidecar, right.replica)
            await asyncio.sleep(0)
            assert sidecar.value == "5"
            assert not sidecar.status.errors
            assert set(sidecar.status.deltas) <= {"applied", "known"}
