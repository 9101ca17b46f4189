"""`/api/v1/exposures` over real connections: taken, counted, told."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.keys import EXPOSURES
from control_plane.store.keys import ReportKeys
from proxy.contract.exposures import EXPOSURES_PATH
from proxy.contract.reports import MAX_BATCH_BYTES
from tests.control_plane.reports.builders import batch, encoded, item, uuid7
from tests.support.api import ADMIN_TOKEN
from tests.support.control_plane import Api, put_flag, running_api
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


async def summary(api: Api, **query: str) -> tuple[int, Any]:
    """Return status and answer of a summary."""
    url = api.url + EXPOSURES_PATH + "/summary"
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with api.http.get(url, params=query, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def counted(api: Api, **query: str) -> Any:
    """Return a summary once all that was stored is counted."""
    async with asyncio.timeout(20):
        while (answer := (await summary(api, **query))[1])["pending"]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    return answer


async def test_a_batch_is_stored_before_it_is_answered(api: Api, redis_url: str) -> None:
    """In the environment of the key."""
    document = batch(item(), item(unit="user-2"))
    status, receipt, _ = await post(api, encoded(document))
    assert (status, receipt) == (
        200,
        {"id": document["id"], "accepted": 2, "duplicate": False, "parked": False},
    )
    balance = await api.app[EXPOSURES]._reports.balance(
        ReportKeys("exposures", "default", "production", shard) for shard in range(8)
    )
    assert balance.received == balance.pending + balance.delivered == 2


async def test_each_unit_is_counted_once(api: Api) -> None:
    """For what it saw first, whatever is sent how often."""
    await put_flag(api.replica, "checkout")
    key = await api.key()
    shown = [
        item(unit=f"u{n}", variant="ab"[n % 2], first_seen_ms=item()["first_seen_ms"] + n)
        for n in range(300)
    ]
    bodies = [encoded(batch(*shown[at : at + 60])) for at in range(0, 300, 60)]
    again = encoded(
        batch(item(unit="u1", variant="a", first_seen_ms=shown[-1]["first_seen_ms"] + 9))
    )
    for body in (*bodies, *bodies, again):
        assert (await post(api, body, key))[0] == 200
    answer = await counted(api, flag="checkout")
    assert (answer["units"], answer["several"]) == (300, 1)
    assert answer["variants"] == {"a": 150, "b": 150}
    assert sum(sum(day.values()) for day in answer["days"].values()) == 300
    assert answer["first_at"] <= answer["last_at"]


async def test_an_experiment_is_counted_apart_from_its_flag(api: Api) -> None:
    """And so are its phases."""
    await put_flag(api.replica, "checkout")
    await post(api, encoded(batch(item(experiment="e/1", phase=2), item(unit="other"))))
    assert (await counted(api, flag="checkout"))["units"] == 1
    found = await counted(api, experiment="e/1", phase="2")
    assert (found["units"], found["experiment"], found["phase"]) == (1, "e/1", 2)
    assert (await summary(api, experiment="e/1"))[1]["units"] == 0


async def test_what_is_parked_is_not_counted(api: Api) -> None:
    """Too old, by its id; the sender is told."""
    await put_flag(api.replica, "checkout")
    _, receipt, _ = await post(api, encoded(batch(item(), id=uuid7(1_000))))
    assert (receipt["accepted"], receipt["parked"]) == (0, True)
    answer = await counted(api, flag="checkout")
    assert (answer["units"], answer["parked"]) == (0, 1)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, "invalid_parameter"),
        ({"flag": "f", "experiment": "e"}, 400, "invalid_parameter"),
        ({"experiment": "e", "phase": "x"}, 400, "invalid_parameter"),
        ({"flag": "none-such"}, 404, "flag_not_found"),
        ({"flag": "f", "environment": "none"}, 404, "environment_not_found"),
        ({"flag": "f", "project": "none"}, 404, "project_not_found"),
    ],
)
async def test_a_summary_of_nothing_is_refused(
    api: Api, query: dict[str, str], status: int, code: str
) -> None:
    """With what is wrong."""
    got, problem = await summary(api, **query)
    assert (got, problem["code"]) == (status, code)


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
    assert api.app[EXPOSURES].intake.outcomes == {"stored": 500, "duplicate": 1000}
