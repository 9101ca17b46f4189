"""`POST /api/v1/exposures` over real connections."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.exposures.model import shard_of
from control_plane.keys import EXPOSURES
from control_plane.store.keys import ExposureKeys
from proxy.contract.exposures import EXPOSURES_PATH
from proxy.contract.reports import MAX_BATCH_BYTES
from tests.control_plane.exposures.builders import batch, encoded, item
from tests.support.api import ADMIN_TOKEN
from tests.support.control_plane import Api, running_api
from tests.support.redis import RedisServer


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane."""
    async with running_api(redis_url) as api:
        yield api


async def post(
    api: Api, body: bytes, key: str | None = None, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Report with a sidecar key; return status, answer and headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Type", "application/json")
    named["Authorization"] = f"Bearer {key or await api.key()}"
    url = api.url + EXPOSURES_PATH
    async with api.http.post(url, data=body, headers=named) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


async def test_a_batch_is_stored_before_it_is_answered(api: Api, redis_url: str) -> None:
    """In the stream of the key's environment."""
    document = batch(item(), item(unit="user-2"))
    status, receipt, _ = await post(api, encoded(document))
    expected = {"id": document["id"], "accepted": 2, "duplicate": False, "parked": False}
    assert (status, receipt) == (200, expected)
    keys = ExposureKeys("default", "production", shard_of(document["id"]))
    store = api.app[EXPOSURES]._store._connections.commands
    ((_, fields),) = await store.xrange(keys.stream)
    assert fields[b"batch"] == encoded(document)


async def test_a_batch_that_comes_again_is_a_duplicate(api: Api) -> None:
    """200 as well: the sender is done with it."""
    body, key = encoded(batch()), await api.key()
    await post(api, body, key)
    status, receipt, _ = await post(api, body, key)
    assert (status, receipt["accepted"], receipt["duplicate"]) == (200, 0, True)


async def test_a_compressed_batch_is_taken(api: Api) -> None:
    """As sidecars send it."""
    body = gzip.compress(encoded(batch(*[item()] * 1000)))
    status, receipt, _ = await post(api, body, Content_Encoding="gzip")
    assert (status, receipt["accepted"]) == (200, 1000)


async def test_a_small_body_that_inflates_is_stopped(api: Api) -> None:
    """At the bound, not after a gigabyte."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(bomb.compress(b" " * 1_000_000) for _ in range(100)) + bomb.flush()
    assert len(body) < MAX_BATCH_BYTES
    status, problem, _ = await post(api, body, Content_Encoding="gzip")
    assert (status, problem["status"]) == (413, 413)


async def test_a_body_above_the_bound_is_refused(api: Api) -> None:
    """413, so that the sender splits it."""
    status, problem, _ = await post(api, b" " * (MAX_BATCH_BYTES + 1))
    assert (status, problem["code"]) == (413, "body_too_large")


async def test_a_body_that_does_not_decompress_is_a_bad_request(api: Api) -> None:
    """Cut, or no gzip at all."""
    for body in (b"no gzip", gzip.compress(encoded(batch()))[:-12]):
        status, problem, _ = await post(api, body, Content_Encoding="gzip")
        assert status == 400, problem


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
async def test_another_encoding_is_refused_by_name(api: Api, encoding: str) -> None:
    """415 that says what would be taken."""
    status, problem, headers = await post(api, encoded(batch()), Content_Encoding=encoding)
    assert status == 415, problem
    assert headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded"])
async def test_another_media_type_is_refused(api: Api, media: str) -> None:
    """415."""
    status, _, _ = await post(api, encoded(batch()), Content_Type=media)
    assert status == 415


async def test_what_is_wrong_with_a_batch_is_said(api: Api) -> None:
    """422, with the place."""
    status, problem, _ = await post(api, encoded(batch(item(count=0))))
    assert status == 422
    assert problem["problems"][0]["pointer"] == "/items/0/count"


async def test_the_environment_is_that_of_the_key(api: Api) -> None:
    """A batch with the same id in another one is another batch."""
    body = encoded(batch())
    for environment in ("production", "staging"):
        _, receipt, _ = await post(api, body, await api.key(environment))
        assert receipt["accepted"] == 1


async def test_the_administrator_has_no_environment(api: Api) -> None:
    """403 that says which key it takes."""
    status, problem, _ = await post(api, encoded(batch()), ADMIN_TOKEN)
    assert status == 403
    assert "sidecar key" in problem["detail"]


async def test_without_redis_the_sender_keeps_its_batch(redis_server: RedisServer) -> None:
    """503 with `Retry-After`; the key still works, and the batch is stored once Redis is back."""
    async with running_api(redis_server.url) as api:
        key, body = await api.key(), encoded(batch())
        redis_server.kill()
        status, _, headers = await post(api, body, key)
        assert status == 503
        assert int(headers["Retry-After"]) >= 1
        redis_server.restart()
        status, receipt, _ = await post(api, body, key)
        assert (status, receipt["duplicate"]) == (200, False)


async def test_exposures_may_live_on_a_server_of_their_own(
    redis_url: str, redis_server: RedisServer
) -> None:
    """Definitions want other durability, and exposures are what grows."""
    async with running_api(redis_url, exposures_redis_url=redis_server.url) as api:
        status, _, _ = await post(api, encoded(batch()))
        assert status == 200
    with redis_server.client() as client:
        assert client.keys("mf:exposures:*")
        assert not client.keys("mf:{*")


async def test_many_senders_at_once_lose_nothing(api: Api) -> None:
    """Every item is stored once, also when each batch is sent three times."""
    bodies = [encoded(batch(*[item()] * 10)) for _ in range(50)] * 3
    key = await api.key()
    answers = await asyncio.gather(*(post(api, body, key) for body in bodies))
    assert sum(receipt["accepted"] for _, receipt, _ in answers) == 500
    counts = api.app[EXPOSURES].counts
    assert (counts.received, counts.stored, counts.duplicate) == (1500, 500, 1000)
