"""What a replica that is cut off from Redis still takes, while others revoke it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from control_plane.keys import REPLICA
from tests.chaos.lines import Line
from tests.support.api import PASSWORD, Api, Reply, running_api, until
from tests.support.redis import RedisServer

FLAGS, SNAPSHOT = "/api/v1/flags", "/api/v1/sync/snapshot"
FLAG = {"key": "f", "type": "boolean", "value": True}


class Credentials(NamedTuple):
    """Of a person, a program and a sidecar; `person` is the id, `keys` those of the keys."""

    person: str
    access: str
    refresh: str
    service: str
    sidecar: str
    keys: tuple[str, str]


@asynccontextmanager
async def two(server: RedisServer, **settings: Any) -> AsyncIterator[tuple[Api, Api, Line]]:
    """Run two replicas, of which the second sees Redis through a line that can be cut."""
    async with Line([("127.0.0.1", urlsplit(server.url).port or 0)]) as line:
        url = f"redis://127.0.0.1:{line.address[1]}/0"
        quick = {"redis_timeout_s": 1.0, "redis_connect_timeout_s": 1.0, "redis_retries": 0}
        async with (
            running_api(server.url, redis_timeout_s=10.0) as one,
            running_api(url, **quick, **settings) as other,
        ):
            yield one, other, line


async def made(one: Api, other: Api) -> Credentials:
    """Make somebody of each kind, whom both replicas know."""
    body = {"email": "ada@example.com", "password": PASSWORD}
    roles = {"roles": [{"role": "manager", "project": "*"}]}
    person = (await one.ask("POST", "/api/v1/users", json=body | roles)).json["user"]["id"]
    tokens = (await one.ask("POST", "/api/v1/auth/login", token=None, json=body)).json
    service = await one.make_key("service", role="manager")
    sidecar = await one.make_key("sidecar")
    found = Credentials(
        person,
        tokens["access_token"],
        tokens["refresh_token"],
        service["key"],
        sidecar["key"],
        (service["id"], sidecar["id"]),
    )

    async def are_known() -> bool:
        return await statuses(other, found) == [200, 200, 200]

    await until(are_known)
    return found


async def revoke(api: Api, given: Credentials) -> None:
    """Take everything away, where Redis is seen."""
    for path in (f"/api/v1/users/{given.person}", *(f"/api/v1/keys/{k}" for k in given.keys)):
        assert (await api.ask("DELETE", path)).status == 204
    assert await statuses(api, given) == [401, 401, 401]


async def statuses(api: Api, given: Credentials) -> list[int]:
    """Return how a person, a program and a sidecar are answered that read."""
    asked = ((FLAGS, given.access), (FLAGS, given.service), (SNAPSHOT, given.sidecar))
    return [(await api.ask("GET", path, token=token)).status for path, token in asked]


async def refresh(api: Api, given: Credentials) -> Reply:
    body = {"refresh_token": given.refresh}
    return await api.ask("POST", "/api/v1/auth/refresh", token=None, json=body)


async def test_what_a_replica_that_is_cut_off_still_takes(redis_server: RedisServer) -> None:
    """Reads and sync, as it last knew; no write, no refresh; and nothing once it sees Redis."""
    async with two(redis_server) as (one, other, line):
        given = await made(one, other)
        line.cut()
        await revoke(one, given)

        async def is_blind() -> bool:
            return not other.app[REPLICA].knows_all_keys

        await until(is_blind, 40)  # the fifteen seconds after which it knows that it is
        assert await statuses(other, given) == [200, 200, 200]
        for token in (given.access, given.service):
            assert (await other.ask("POST", FLAGS, token=token, json=FLAG)).status == 503
        assert (await refresh(other, given)).status == 503
        unknown = await other.ask("GET", SNAPSHOT, token="mf_sidecar_" + "x" * 43)
        assert (unknown.status, unknown.json["code"]) == (503, "not_loaded")
        line.mend()

        async def is_gone() -> bool:
            return await statuses(other, given) == [401, 401, 401]

        await until(is_gone)
        assert (await refresh(other, given)).status == 401


async def test_how_long_a_replica_that_is_cut_off_lets_anybody_in(
    redis_server: RedisServer,
) -> None:
    """So long as the setting says, but for sidecars; 503, because it may be over in a moment."""
    async with two(redis_server, access_max_age_s=5.0) as (one, other, line):
        given = await made(one, other)
        line.cut()
        await revoke(one, given)
        first = await statuses(other, given)
        if other.app[REPLICA].verified_age_ms() < 4_000:
            assert first == [200, 200, 200]

        async def is_bounded() -> bool:
            return await statuses(other, given) == [503, 503, 200]

        await until(is_bounded)
        reply = await other.ask("GET", FLAGS, token=given.service)
        assert reply.json["code"] == "not_loaded"
        line.mend()

        async def is_gone() -> bool:
            return await statuses(other, given) == [401, 401, 401]

        await until(is_gone)
