"""A master that Sentinels watch is lost under load: written to again, and nothing lost."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from control_plane.keys import METRICS
from control_plane.store.projects import Commit, ProjectStore
from tests.control_plane.publishing.replicas import dump, restore
from tests.integration.redis.load import LIMITS, Load, check
from tests.support.api import Api, running_api, until
from tests.support.topologies import Node, SentinelGroup, frozen


@pytest.mark.parametrize("lose", [Node.kill, Node.freeze], ids=["killed", "frozen"])
async def test_a_master_is_lost_under_load(
    sentinel: SentinelGroup, lose: Callable[[Node], None]
) -> None:
    """Two replicas of the control plane, neither of them restarted, and no write lost."""
    await asyncio.to_thread(sentinel.wait_in_step)
    async with AsyncExitStack() as stack:
        apis = [
            await stack.enter_async_context(running_api(sentinel.url, **LIMITS)) for _ in range(2)
        ]
        load = await stack.enter_async_context(Load(apis, lose.__name__))
        await load.go_on()
        old = sentinel.master()
        lose(old)
        await asyncio.to_thread(sentinel.wait_other_master, old)
        await load.go_on()
        if lose is Node.kill:
            old.start()
        else:
            old.thaw()  # it takes itself for the master until the Sentinels tell it
        await load.go_on(writes=20)
        for api in apis:
            await until(lambda api=api: names_master(api, sentinel))
            document = (await api.ask("GET", "/health")).json
            assert document["redis"]["topology"] == "sentinel"
            assert document["redis"]["fail_overs"] > 0
    print(f"{lose.__name__}: longest time without a write {load.longest_gap_s:.2f} s", load.answers)
    await check(sentinel.url, load)


async def test_writes_that_a_fail_over_lost_are_seen_as_lost(sentinel: SentinelGroup) -> None:
    """Not waited for, written by the master alone: gone with it, and the fleet is told so."""
    await asyncio.to_thread(sentinel.wait_in_step)
    lossy = LIMITS | {"redis_wait_replicas": 0}
    async with running_api(sentinel.url, **lossy) as one, running_api(sentinel.url, **lossy) as two:
        key = (await one.make_key("sidecar", name="s", environment="production"))["key"]
        assert (await one.ask("POST", "/api/v1/flags", json=flag("kept"))).status == 201
        old = sentinel.master()
        with old.client() as client:
            client.set("up", "to date")
            assert client.wait(2, 10_000) == 2
            client.config_set("min-replicas-to-write", 0)
        before = await pointer(one, key)
        for server in sentinel.servers:
            if server is not old:
                with server.client() as client:
                    client.replicaof("127.0.0.1", 1)  # nobody: what follows does not reach it
        for number in range(5):
            reply = await one.ask("POST", "/api/v1/flags", json=flag(f"lost-{number}"))
            assert reply.status == 201
        old.kill()
        await asyncio.to_thread(sentinel.wait_other_master, old)

        async def renewed() -> bool:
            found = [await pointer(api, key) for api in (one, two)]
            return found[0] == found[1] and found[0][0] != before[0]

        await until(renewed)
        for api in (one, two):
            assert (await api.ask("GET", "/api/v1/flags/kept")).status == 200
            assert (await api.ask("GET", "/api/v1/flags/lost-0")).status == 404

            async def well(api: Api = api) -> bool:
                return (await api.ask("GET", "/health")).status == 200

            await until(well)
        assert (await two.ask("POST", "/api/v1/flags", json=flag("lost-0"))).status == 201
        old.start()


async def test_a_write_that_no_replica_has_is_not_acknowledged(sentinel: SentinelGroup) -> None:
    """When it is asked for: 503 in bounded time, and the write may be there."""
    await asyncio.to_thread(sentinel.wait_in_step)
    one_replica = LIMITS | {"redis_wait_replicas": 2, "redis_wait_s": 0.2}
    async with running_api(sentinel.url, **one_replica) as api:
        reply = await api.ask("POST", "/api/v1/flags", json=flag("both"))
        assert reply.status == 201
        replica = next(s for s in sentinel.servers if s is not sentinel.master())
        with frozen(replica):
            reply = await api.ask("POST", "/api/v1/flags", json=flag("one"))
            assert (reply.status, reply.json["code"]) == (503, "redis_unavailable")
            assert "may or may not have been stored" in reply.json["detail"]
            # Read back, as the answer says.
            await until(lambda: found(api, "one"))
            # To write the same again changes nothing, and still no other replica has it.
            assert (await api.ask("PUT", "/api/v1/flags/one", json=flag("one"))).status == 503
        await asyncio.to_thread(sentinel.wait_in_step)
        assert (await api.ask("PUT", "/api/v1/flags/one", json=flag("one"))).status == 200


async def test_what_is_written_again_is_there_though_it_was_lost(sentinel: SentinelGroup) -> None:
    """A control plane may have seen it in a master that was over: memory vouches for nothing."""
    await asyncio.to_thread(sentinel.wait_in_step)
    later = flag("again") | {"value": False}
    async with running_api(sentinel.url, **LIMITS) as api:
        assert (await api.ask("POST", "/api/v1/flags", json=flag("again"))).status == 201
        with sentinel.master().client() as client:
            saved = dump(client)
            assert (await api.ask("PUT", "/api/v1/flags/again", json=later)).status == 200
            restore(client, saved)
        assert (await api.ask("PUT", "/api/v1/flags/again", json=later)).status == 200
    async with running_api(sentinel.url, **LIMITS) as another:
        reply = await another.ask("GET", "/api/v1/flags/again")
        assert (reply.status, reply.json["value"]) == (200, False)


async def test_a_person_whose_first_answer_was_lost_waits_for_replicas(
    sentinel: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is sent again finds its own first attempt, for which nobody has waited."""
    await asyncio.to_thread(sentinel.wait_in_step)
    replica = next(s for s in sentinel.servers if s is not sentinel.master())
    both = LIMITS | {"redis_wait_replicas": 2, "redis_wait_s": 0.2}
    async with running_api(sentinel.url, **both) as api, AsyncExitStack() as stack:
        commit = ProjectStore.commit

        async def unanswered(store: ProjectStore, name: str, step: Commit) -> bool:
            assert await commit(store, name, step)
            stack.enter_context(frozen(replica))
            return False  # as a repeat of it is answered

        ada = {"email": "ada@example.com", "roles": []}
        with monkeypatch.context() as patch:
            patch.setattr(ProjectStore, "commit", unanswered)
            reply = await api.ask("POST", "/api/v1/users", json=ada)
        assert (reply.status, reply.json["code"]) == (503, "redis_unavailable")


def flag(key: str) -> dict[str, Any]:
    """Return a flag as it is written."""
    return {"key": key, "type": "boolean", "value": True, "enabled": True}


async def names_master(api: Api, sentinel: SentinelGroup) -> bool:
    """Return whether a replica is well, and its metrics name the master there is."""
    row = (
        'matrixflag_redis_master{address="127.0.0.1:%d",redis="definitions",topology="sentinel"} 1'
    )
    metrics = api.app[METRICS].render().decode()
    status = (await api.ask("GET", "/health")).status
    return status == 200 and row % sentinel.master().port in metrics


async def found(api: Api, key: str) -> bool:
    """Return whether a flag is there."""
    return (await api.ask("GET", f"/api/v1/flags/{key}")).status == 200


async def pointer(api: Api, key: str) -> tuple[str, str, str]:
    """Return what a sidecar is told to serve: epoch, revision and digest."""
    reply = await api.ask("GET", "/api/v1/sync/snapshot", token=key)
    assert reply.status == 200, reply.body
    epoch, revision, digest = reply.headers["ETag"].removeprefix('W/"').rstrip('"').split("-")
    return epoch, revision, digest
