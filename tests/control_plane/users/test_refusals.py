"""Tests of the log of who was not let in, over HTTP and on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from control_plane.audit import log as audit_log
from control_plane.audit.log import AuditLog, Retention
from control_plane.audit.model import Author
from control_plane.errors import Unavailable
from control_plane.keys import REPLICA
from control_plane.keys import USERS as USERS_KEY
from control_plane.publishing.signing import new_signing_key
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import DIRECTORY, REFUSED, ProjectKeys
from control_plane.store.projects import ProjectStore
from control_plane.users.refusals import Refusals
from control_plane.users.store import MAX_ATTEMPTS, MAX_TRIES
from proxy.cli import main
from tests.control_plane.users.people import (
    ADA,
    add,
    logged_in,
    login,
    people,
    set_up_totp,
    verify,
)
from tests.support.api import ADMIN_TOKEN, Api
from tests.support.redis import RedisServer
from tests.support.reference import DOCS

USERS = "/api/v1/users"
DAY_MS = 24 * 3_600 * 1_000
GUESS = Author("anonymous", "192.0.2.1", "login failed: unknown")


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane at which people can log in."""
    async with people(redis_url) as running:
        yield running


@pytest.fixture
async def two(redis_url: str) -> AsyncIterator[tuple[Refusals, Refusals]]:
    """The log as two replicas write it."""
    both = [Connections(redis_url, RedisLimits(connect_s=10, command_s=10)) for _ in range(2)]
    yield Refusals(ProjectStore(both[0])), Refusals(ProjectStore(both[1]))
    for connections in both:
        await connections.close()


async def verified(api: Api, tmp_path: Path, project: str) -> int:
    """Export a log and verify it; return the status."""
    exported = await api.ask("GET", f"/api/v1/audit/export?project={project}")
    assert exported.status == 200, exported.body
    file = tmp_path / f"{project}.ndjson"
    file.write_bytes(exported.body)
    arguments = ["audit", "verify", str(file), "--project", project]
    return await asyncio.to_thread(main, arguments)


async def test_failed_logins_push_out_nothing_that_was_done(
    api: Api, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: their log is shortened, that of changes is what it was."""
    monkeypatch.setattr(audit_log, "_LEEWAY", 0)
    await add(api)
    await logged_in(api)
    with redis.Redis.from_url(redis_url) as client:
        done = client.xrange(ProjectKeys(DIRECTORY).audit)
        for number in range(25):
            reply = await login(api, f"nobody-{number}@example.com")
            assert reply.status in (401, 429)
        assert client.xrange(ProjectKeys(DIRECTORY).audit) == done
        assert client.xlen(ProjectKeys(REFUSED).audit) == 26
    keys = [new_signing_key()]
    log = AuditLog(api.app[REPLICA], Retention(400, entries=10), keys)
    assert await log.shorten(REFUSED, 0) == 16
    assert await log.shorten(DIRECTORY, 0) == 0
    assert await verified(api, tmp_path, REFUSED) == 0
    assert await verified(api, tmp_path, DIRECTORY) == 0
    items = (await api.ask("GET", f"/api/v1/audit?project={REFUSED}")).json["items"]
    assert len(items) == 10
    assert items[0]["reason"] == "login failed: unknown"


async def test_two_replicas_write_one_chain_of_refusals(
    two: tuple[Refusals, Refusals], api: Api, tmp_path: Path
) -> None:
    """Each failure is in it once, and it holds."""
    await asyncio.gather(*(two[n % 2].write(GUESS, (f"user:u_{n}",)) for n in range(40)))
    path = f"/api/v1/audit?project={REFUSED}&limit=100"
    items = (await api.ask("GET", path)).json["items"]
    targets = [each for item in items for each in item["targets"]]
    assert sorted(targets) == sorted(f"user:u_{n}" for n in range(40))
    assert await verified(api, tmp_path, REFUSED) == 0


async def test_a_log_that_is_lost_begins_anew(
    two: tuple[Refusals, Refusals], api: Api, tmp_path: Path, redis_url: str
) -> None:
    """What Redis lost is lost; who is refused next is written down all the same."""
    await two[0].write(GUESS, ())
    with redis.Redis.from_url(redis_url) as client:
        keys = ProjectKeys(REFUSED)
        client.delete(keys.meta, keys.audit, keys.changes)
    await two[0].write(GUESS, ("user:u_1",))
    items = (await api.ask("GET", f"/api/v1/audit?project={REFUSED}")).json["items"]
    assert [item["action"] for item in items] == ["session.refuse", "log.create"]
    assert await verified(api, tmp_path, REFUSED) == 0


async def test_who_is_refused_is_no_change_that_replicas_follow(api: Api, redis_url: str) -> None:
    """Nobody holds up a change of people by failing to log in."""
    await add(api)
    with redis.Redis.from_url(redis_url) as client:
        meta = ProjectKeys(DIRECTORY).meta
        before = client.hget(meta, "sequence")
        assert (await login(api, ADA, "wrong horse battery")).status == 401
        assert client.hget(meta, "sequence") == before


async def test_without_redis_nothing_is_said_to_be_written() -> None:
    """A failure that is written nowhere is no answer to a login."""
    with RedisServer() as server:
        limits = RedisLimits(connect_s=0.5, command_s=0.5, retries=0)
        connections = Connections(server.url, limits)
        refusals = Refusals(ProjectStore(connections))
        await refusals.write(GUESS, ())
        server.kill()
        with pytest.raises(Unavailable):
            await refusals.write(GUESS, ())
        await connections.close()


async def test_an_administrator_finds_why_somebody_cannot_log_in(api: Api) -> None:
    """By the person, and each reason is in docs/access.md."""
    user = (await add(api))["id"]
    app = await set_up_totp(api)
    await login(api, ADA, "wrong horse battery")
    one = (await login(api)).json["challenge"]
    for answer in ({"code": app.used}, {"recovery_code": "no"}):
        assert (await verify(api, one, **answer)).status == 401
    for _ in range(MAX_TRIES - 1):
        assert (await verify(api, one, recovery_code="no")).status == 401
    await add(api, "root@example.com")
    assert (await api.ask("PATCH", f"{USERS}/{user}", json={"disabled": True})).status == 200
    await api.app[USERS_KEY].attempts.forgive("127.0.0.1", ADA, MAX_ATTEMPTS["account"])
    assert (await login(api)).status == 401
    await login(api, "nobody@example.com")
    found = (await api.ask("GET", f"{USERS}?email={ADA}")).json["items"]
    assert [each["id"] for each in found] == [user]
    path = f"/api/v1/audit?project={REFUSED}"
    of_ada = (await api.ask("GET", f"{path}&target=user:{user}")).json["items"]
    everybody = (await api.ask("GET", f"{path}&action=session.refuse")).json["items"]
    assert [each["targets"] for each in everybody if each not in of_ada] == [[]]
    reasons = {each["reason"].removeprefix("login failed: ") for each in everybody}
    assert reasons == {
        *("unknown", "wrong_password", "wrong_code", "wrong_recovery_code"),
        *("challenge_over", "disabled"),
    }
    text = (DOCS / "access.md").read_text()
    assert {reason for reason in reasons if f"`{reason}`" not in text} == set()


async def test_who_reads_the_log_of_refusals(api: Api) -> None:
    """An administrator of all projects, as for that of people; nobody of one project."""
    await add(api, "bob@example.com", roles=[{"role": "admin", "project": "default"}])
    bob = (await logged_in(api, "bob@example.com"))["access_token"]
    for path in ("/api/v1/audit", "/api/v1/audit/export"):
        asked = f"{path}?project={REFUSED}"
        assert (await api.ask("GET", asked, token=bob)).status == 404
        assert (await api.ask("GET", asked, token=ADMIN_TOKEN)).status == 200
