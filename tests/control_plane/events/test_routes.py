"""`/api/v1/events` over real connections: taken, counted, told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.contract.events import EVENTS_PATH
from tests.control_plane.reports.builders import batch, encoded, event, uuid7
from tests.support.api import ADMIN_TOKEN
from tests.support.control_plane import Api, running_api


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane."""
    async with running_api(redis_url) as api:
        yield api


async def post(api: Api, document: Any, key: str) -> tuple[int, Any]:
    """Report; return status and answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url = api.url + EVENTS_PATH
    async with api.http.post(url, data=encoded(document), headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def summary(api: Api, name: str) -> Any:
    """Return what was counted, once all that was stored is."""
    url, headers = api.url + EVENTS_PATH + "/summary", {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with asyncio.timeout(20):
        while True:
            async with api.http.get(url, params={"name": name}, headers=headers) as answer:
                found = await answer.json(content_type=None)
            if not found.get("pending"):
                return found
            await asyncio.sleep(0.02)


async def test_each_batch_is_counted_once(api: Api) -> None:
    """However often it is sent."""
    key = await api.key()
    documents = [batch(*[event(value=0.5)] * 20, event(name="refund")) for _ in range(10)]
    answers = await asyncio.gather(*(post(api, document, key) for document in documents * 3))
    assert sum(receipt["accepted"] for _, receipt in answers) == 210
    found = await summary(api, "purchase")
    assert (found["count"], found["sum"], found["sum_squares"]) == (200, 100.0, 50.0)
    (day,) = found["days"].values()
    assert day == {"count": 200, "sum": 100.0, "sum_squares": 50.0}
    assert found["kept_since"]
    assert (await summary(api, "refund"))["count"] == 10


async def test_what_is_too_old_is_parked(api: Api) -> None:
    """And not counted."""
    key = await api.key()
    status, receipt = await post(api, batch(event(), id=uuid7(1_000)), key)
    assert (status, receipt["parked"]) == (200, True)
    found = await summary(api, "purchase")
    assert (found["count"], found["parked"]) == (0, 1)


async def test_what_is_wrong_with_a_batch_is_said(api: Api) -> None:
    """422, with the place."""
    status, problem = await post(api, batch(event(), event(name="")), await api.key())
    assert (status, problem["problems"][0]["pointer"]) == (422, "/items/1/name")


async def test_a_summary_needs_a_name(api: Api) -> None:
    """There is no summary of all."""
    assert (await summary(api, ""))["code"] == "invalid_parameter"
