"""Signed from the control plane to the answer: a real sidecar that is given the public key."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import redis

from control_plane.keys import REPLICA
from proxy.admission import Admission
from tests.control_plane.publishing.replicas import dump, restore
from tests.proxy.sync.sidecar import Sidecar as InProcess
from tests.proxy.sync.sidecar import running
from tests.support.api import Api, running_api, until
from tests.support.processes import Sidecar, running_sidecar
from tests.support.signing import signing_key, trusting

FLAG = {"key": "a", "type": "boolean", "enabled": True}


@contextlib.asynccontextmanager
async def sidecar_of(directory: Path, api: Api, key: str, *names: str) -> AsyncIterator[Sidecar]:
    """Run a sidecar that trusts the keys of some names."""
    public = ",".join(signing_key(name).public for name in names)
    running = running_sidecar(
        directory,
        *("--control-plane-url", api.url, "--verify-keys", public),
        *("--cache-dir", directory / "cache", "--startup-grace-s", "0"),
        environ={"MATRIXFLAG_KEY": key},
    )
    # in a thread, because it waits for a process that asks this one
    sidecar = await asyncio.to_thread(running.__enter__)
    try:
        yield sidecar
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def status_of(sidecar: Sidecar) -> Any:
    """Return what a sidecar says of itself."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(sidecar.admin + "/statusz") as answer,
    ):
        return await answer.json()


async def text_of(url: str, body: bytes | None = None) -> str:
    """Return what is answered while there are no flags."""
    async with (
        aiohttp.ClientSession() as session,
        session.request("GET" if body is None else "POST", url, data=body) as answer,
    ):
        assert answer.status == 503
        return await answer.text()


async def put(api: Api, *, value: bool) -> None:
    """Have the flag serve a value."""
    reply = await api.ask("PUT", "/api/v1/flags/a", json={"value": value})
    assert reply.status == 200, reply.body


async def test_what_another_key_signs_is_not_served(redis_url: str, tmp_path: Path) -> None:
    """Served is what ours has signed; the change of keys is seen, and nothing else gets in."""
    one, two = signing_key("one"), signing_key("two")
    async with running_api(redis_url, signing_keys=(one,)) as api:
        assert (await api.ask("POST", "/api/v1/flags", json=FLAG | {"value": True})).status == 201
        key = (await api.make_key("sidecar"))["key"]
        async with sidecar_of(tmp_path, api, key, "one") as sidecar:

            async def serves(revision: int) -> bool:
                snapshot = (await status_of(sidecar))["snapshot"]
                return snapshot is not None and snapshot["revision"] == revision

            await until(lambda: serves(2))
            await put(api, value=False)
            await until(lambda: serves(3))
            status = await status_of(sidecar)
            assert status["trusted_keys"] == status["snapshot"]["signed_by"] == [one.id]
            assert status["refused"] == {}
    async with running_api(redis_url, signing_keys=(two,)) as other:
        first = tmp_path / "first"
        first.mkdir()
        async with sidecar_of(first, other, key, "one") as sidecar:

            async def refuses() -> bool:
                status = await status_of(sidecar)
                return status["snapshot"] is None and status["refused"].get("signature", 0) > 0

            await until(refuses)
            assert "none is trusted" in (await status_of(sidecar))["sync"]["last_error"]
            why = "signature: no key that this sidecar trusts has signed it"
            assert why in await text_of(sidecar.admin + "/readyz")
            assert why in await text_of(sidecar.ofrep + "/ofrep/v1/evaluate/flags/a", b"{}")
    async with (
        running_api(redis_url, signing_keys=(one, two)) as both,
        sidecar_of(first, both, key, "two") as sidecar,
    ):

        async def served() -> bool:
            return (await status_of(sidecar))["snapshot"] is not None

        await until(served)
        assert (await status_of(sidecar))["refused"] == {}


async def test_a_backup_of_an_epoch_that_was_over_reaches_sidecars_that_ask_for_signatures(
    redis_url: str,
) -> None:
    """It was put back while nothing ran: they refuse it, say what they saw, and get it anew."""
    one, sidecar = signing_key("one"), InProcess(Admission(trusting("one")))
    with redis.Redis.from_url(redis_url) as client:
        async with running_api(redis_url, signing_keys=(one,)) as api:
            await api.ask("POST", "/api/v1/flags", json=FLAG | {"value": True})
            key = (await api.make_key("sidecar"))["key"]
            saved = dump(client)
            first = api.app[REPLICA].project("default").epoch
            await api.app[REPLICA]._mirror.renew("default", first)
            await put(api, value=False)
            second = api.app[REPLICA].project("default").epoch
            async with running(api.url, sidecar=sidecar, key=key):
                await sidecar.until(lambda: epoch_of(sidecar) == second)
                assert sidecar.value is False
        restore(client, saved)
        async with (
            running_api(redis_url, signing_keys=(one,)) as restored,
            running(restored.url, sidecar=sidecar, key=key),
        ):
            await sidecar.until(lambda: epoch_of(sidecar) not in (first, second))
            assert sidecar.value is True
            assert restored.app[REPLICA].epochs_renewed == 1


def epoch_of(sidecar: InProcess) -> str | None:
    """Return the epoch that is served."""
    return None if sidecar.holder.served is None else sidecar.holder.served.header.epoch
