"""`/api/v1/usage` over real connections: added up, told, found unused."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.keys import USAGE
from control_plane.usage.service import UsageService
from proxy.contract.usage import USAGE_PATH
from tests.control_plane.reports.builders import batch, encoded, evaluated, uuid7
from tests.support.api import ADMIN_TOKEN
from tests.support.control_plane import Api, put_flag, running_api

MINUTE_MS = 60_000


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with three flags."""
    async with running_api(redis_url) as api:
        for flag in ("banner", "checkout", "search"):
            await put_flag(api.replica, flag)
        yield api


async def post(api: Api, document: Any, key: str) -> tuple[int, Any]:
    """Report; return status and answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url = api.url + USAGE_PATH
    async with api.http.post(url, data=encoded(document), headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def get(api: Api, **query: str) -> tuple[int, Any]:
    """Return status and answer."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with api.http.get(api.url + USAGE_PATH, params=query, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_evaluations_add_up(api: Api) -> None:
    """Once for each batch; of one flag there are the counts of all spans."""
    key = await api.key()
    now = evaluated()["minute_ms"]
    one = batch(evaluated(count=5), evaluated(count=1, variant=None, reason="FLAG_NOT_FOUND"))
    two = batch(evaluated(count=2, variant="off", minute_ms=now - 3 * MINUTE_MS))
    for document in (one, two, one, two):
        assert (await post(api, document, key))[0] == 200
    _, found = await get(api, flag="checkout")
    (usage,) = found["items"]
    assert usage["flag"] == "checkout"
    assert usage["last_evaluated_at"] == usage["minutes"][-1]["at"]
    assert [(row["variants"], row["without_variant"]) for row in usage["minutes"]] == [
        ({"off": 2}, 0),
        ({"on": 5}, 1),
    ]
    for span in ("hours", "days"):
        rows = usage[span]  # two of them when an hour or a day has just begun
        assert sum(row["variants"].get("on", 0) for row in rows) == 5
        assert sum(row["variants"].get("off", 0) for row in rows) == 2
        assert sum(row["without_variant"] for row in rows) == 1


async def test_environments_are_apart(api: Api) -> None:
    """The key says which."""
    await post(api, batch(evaluated()), await api.key("staging"))
    _, found = await get(api, flag="checkout")
    assert found["items"][0]["last_evaluated_at"] is None
    _, found = await get(api, flag="checkout", environment="staging")
    assert found["items"][0]["last_evaluated_at"] is not None


async def test_all_flags_are_listed_in_pages(api: Api) -> None:
    """Those that were never evaluated too."""
    await post(api, batch(evaluated(flag="search")), await api.key())
    _, first = await get(api, limit="2")
    assert [item["flag"] for item in first["items"]] == ["banner", "checkout"]
    _, second = await get(api, limit="2", cursor=first["next_cursor"])
    assert [item["flag"] for item in second["items"]] == ["search"]
    assert second["items"][0]["last_evaluated_at"] is not None
    assert second["items"][0]["minutes"] is None
    assert second["next_cursor"] is None


async def test_what_is_not_used_any_more_is_found(api: Api) -> None:
    """Since a moment; a flag that was made after it has had no time to be used."""
    await post(api, batch(evaluated(flag="search")), await api.key())
    _, found = await get(api, unused_since="2000-01-01T00:00:00Z")
    assert found["items"] == []
    _, found = await get(api, unused_since="2999-01-01T00:00:00Z")
    assert len(found["items"]) == 3
    stored = api.replica.project("default").flags["banner"].created_at
    _, found = await get(api, unused_since=stored)
    assert [item["flag"] for item in found["items"]] == []


async def test_flags_that_there_are_not_cost_nothing(api: Api) -> None:
    """They are counted as one, in the metrics too."""
    await post(api, batch(*(evaluated(flag=f"made-up-{n}") for n in range(9))), await api.key())
    assert api.app[USAGE].unknown == 9
    assert (await get(api, flag="made-up-1"))[0] == 404
    assert len((await get(api))[1]["items"]) == 3


async def test_unknown_flags_wait_for_current_definitions(api: Api) -> None:
    """One may have been made meanwhile, elsewhere; what is known is taken."""
    usage: UsageService = api.app[USAGE]
    usage._is_current = lambda: False
    key = await api.key()
    document = batch(evaluated(flag="new"), evaluated())
    assert (await post(api, document, key))[0] == 503
    assert (await post(api, batch(evaluated()), key))[0] == 200
    usage._is_current = lambda: True
    _, receipt = await post(api, document, key)
    assert receipt["accepted"] == 2
    assert usage.intake.outcomes == {"unavailable": 2, "stored": 3}


async def test_what_is_too_old_is_parked(api: Api) -> None:
    """And not added."""
    _, receipt = await post(api, batch(evaluated(), id=uuid7(1_000)), await api.key())
    assert receipt["parked"]
    _, found = await get(api, flag="checkout")
    assert found["items"][0]["days"] == []


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00:00", ""])
async def test_a_moment_has_a_form(api: Api, since: str) -> None:
    """With a zone, because it means another moment elsewhere."""
    status, problem = await get(api, unused_since=since)
    assert (status, problem["code"]) == (400, "invalid_parameter")
