"""Telling a standing, and asking who serves what, over real connections."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.keys import FLEET
from proxy.contract.fleet import (
    FLEET_PATH,
    FLEET_REVISIONS_PATH,
    MAX_LABELS,
    MAX_STANDING_BYTES,
    STANDING_PATH,
)
from tests.control_plane.fleet.builders import document
from tests.support import api as support
from tests.support.control_plane import Api, put_flag, running_api, until


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane."""
    async with running_api(redis_url) as api:
        yield api


async def tell(api: Api, key: str, told: Any) -> tuple[int, Any]:
    """Tell a standing, or whatever else; return status and answer."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    async with api.http.post(api.url + STANDING_PATH, data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None) if answer.status != 204 else None


async def ask(api: Api, path: str = FLEET_PATH, status: int = 200, **query: str) -> Any:
    """Ask as administrator."""
    headers = {"Authorization": f"Bearer {support.ADMIN_TOKEN}"}
    async with api.http.get(api.url + path, params=query, headers=headers) as answer:
        body = await answer.read()
        assert answer.status == status, body
        return json.loads(body)


def serving(api: Api, instance: str, environment: str = "production", **members: Any) -> Any:
    """Return the standing of an instance that serves what is current."""
    pointer = api.sync.current("default", environment).pointer()
    served = {"epoch": pointer.epoch, "revision": pointer.revision, "digest": pointer.digest}
    return document(instance, **served | members)


async def test_the_fleet_is_empty_until_somebody_tells(api: Api) -> None:
    """And says what they should serve."""
    await until(lambda: api.app[FLEET].complete)  # a busy Redis may not have answered yet
    fleet = await ask(api)
    pointer = api.sync.current("default", "production").pointer()
    assert (fleet["epoch"], fleet["revision"], fleet["digest"]) == (
        pointer.epoch,
        pointer.revision,
        pointer.digest,
    )
    assert fleet["complete"] is True
    assert fleet["states"] == {"current": 0, "behind": 0, "unconfirmed": 0, "missing": 0}
    assert fleet["items"] == []
    assert (await ask(api, FLEET_REVISIONS_PATH))["items"] == []


async def test_a_change_puts_instances_behind_until_they_tell(api: Api) -> None:
    """The story of a deployment."""
    key = await api.key()
    labels = {"region": "eu"}
    for name in ("a", "b"):
        told = serving(
            api, name, application="shop", application_version="1", version="9", labels=labels
        )
        assert await tell(api, key, told) == (204, None)
    assert (await ask(api))["states"]["current"] == 2
    await put_flag(api.replica, "new")
    fleet = await ask(api, by="region")
    assert fleet["states"] == {"current": 0, "behind": 2, "unconfirmed": 0, "missing": 0}
    assert fleet["most_behind"] == 1
    assert fleet["behind_since"] == fleet["published_at"]
    assert fleet["applications"] == [
        {"application": "shop", "version": "1", "instances": 2, "current": 0}
    ]
    assert fleet["labels"] == [{"value": "eu", "instances": 2, "current": 0}]

    await tell(api, key, serving(api, "a", serving_ms=0))
    fleet = await ask(api)
    assert [(i["instance"], i["state"], i["behind_by"]) for i in fleet["items"]] == [
        ("b", "behind", 1),
        ("a", "current", None),
    ]
    assert {(r["revision"], r["instances"]) for r in fleet["revisions"]} == {
        (fleet["revision"], 1),
        (fleet["revision"] - 1, 1),
    }
    (spread,) = (await ask(api, FLEET_REVISIONS_PATH))["items"]
    assert (spread["revision"], spread["published_at"]) == (
        fleet["revision"],
        fleet["published_at"],
    )
    assert (spread["connected"], spread["served"], spread["waiting"]) == (2, 1, 1)
    assert spread["half_ms"] >= 0
    assert spread["all_ms"] is None

    await tell(api, key, serving(api, "b"))
    (spread,) = (await ask(api, FLEET_REVISIONS_PATH))["items"]
    assert (spread["served"], spread["waiting"]) == (2, 0)
    assert spread["all_ms"] >= spread["half_ms"]


async def test_what_is_told_all_the_time_is_not_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten thousand sidecars would fill a disk; what is refused is logged."""
    key = await api.key()
    caplog.set_level("INFO")
    assert (await tell(api, key, serving(api, "a")))[0] == 204
    assert STANDING_PATH not in caplog.text
    assert (await tell(api, key, []))[0] == 422
    assert STANDING_PATH in caplog.text


async def test_who_leaves_is_gone_at_once(api: Api) -> None:
    """And who comes back is back."""
    key = await api.key()
    await tell(api, key, serving(api, "a"))
    await tell(api, key, serving(api, "a", leaving=True))
    assert (await ask(api))["instances"] == 0
    await tell(api, key, serving(api, "a"))
    assert (await ask(api))["instances"] == 1


async def test_a_key_reaches_its_own_environment_alone(api: Api) -> None:
    """The same name in another environment is another instance."""
    production, staging = await api.key(), await api.key("staging")
    await tell(api, production, serving(api, "a", application="shop"))
    await tell(api, staging, serving(api, "a", "staging", application="impostor"))
    await tell(api, staging, serving(api, "a", "staging", leaving=True))
    (only,) = (await ask(api))["items"]
    assert only["application"] == "shop"
    assert (await ask(api, environment="staging"))["items"] == []


async def test_a_name_that_is_shared_is_told(api: Api) -> None:
    """Or 240 sidecars with one name would look like one that is well."""
    key = await api.key()
    for run in ("x", "y", "x"):
        await tell(api, key, serving(api, "a", run=run))
    fleet = await ask(api)
    assert (fleet["instances"], fleet["names_shared"]) == (1, 1)
    assert fleet["items"][0]["name_shared"] is True


async def test_all_of_a_standing_is_shown(api: Api) -> None:
    """With times by the control plane's clock."""
    told = serving(
        api,
        "a",
        application="shop",
        application_version="1.4.2",
        version="0.1.0",
        labels={"region": "eu"},
        age_ms=2_000,
        age_estimated=True,
        state="polling",
        refused=3,
        last_error="http_503",
        unknown_to_this_version=[1],
    )
    assert await tell(api, await api.key(), told) == (204, None)
    (shown,) = (await ask(api))["items"]
    for name in ("application", "application_version", "version", "labels", "refused", "digest"):
        assert shown[name] == told[name]
    assert (shown["source"], shown["last_error"], shown["age_estimated"]) == (
        "polling",
        "http_503",
        True,
    )
    assert 2_000 <= shown["age_ms"] < 60_000
    assert shown["started_at"] < shown["serving_since"] < shown["heard_at"]


@pytest.mark.parametrize(
    ("members", "pointers"),
    [
        ({"instance": ""}, {"/instance"}),
        ({"instance": "é"}, {"/instance"}),
        ({"instance": "x" * 129}, {"/instance"}),
        ({"instance": 7, "revision": "x", "labels": []}, {"/instance", "/revision", "/labels"}),
        ({"age_ms": 1.5}, {"/age_ms"}),
        ({"application": "x" * 129, "version": "a\nb"}, {"/application", "/version"}),
        ({"labels": {"a b": "c"}}, {"/labels/a b"}),
        ({"labels": {"a": "\x00"}}, {"/labels/a"}),
        ({"labels": {f"l{n}": "" for n in range(MAX_LABELS + 1)}}, {"/labels"}),
        ({"labels": {"a": 1}}, {"/labels/a"}),
        ({"state": "s" * 65, "last_error": "e" * 65}, {"/state", "/last_error"}),
        ({"epoch": "e" * 201, "digest": "d" * 201}, {"/epoch", "/digest"}),
    ],
)
async def test_a_wrong_standing_says_where(
    api: Api, members: dict[str, Any], pointers: set[str]
) -> None:
    """All of it at once, and nothing of it is kept."""
    status, answer = await tell(api, await api.key(), document(**members))
    assert status == 422, answer
    assert {problem["pointer"] for problem in answer["problems"]} == pointers
    assert (await ask(api))["instances"] == 0
    assert api.app[FLEET].standings["refused"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"instance":"' + b"a" * MAX_STANDING_BYTES + b'"}', 413),
        (b"[" * 10_000, 422),
    ],
)
async def test_what_is_no_standing_is_refused(api: Api, body: bytes, status: int) -> None:
    """In the words of all other documents."""
    found, answer = await tell(api, await api.key(), body)
    assert found == status, answer
    assert answer["code"]


@pytest.mark.parametrize("number", [-1, -(1 << 62), 1 << 62, 10**400])
async def test_impossible_numbers_are_clamped(api: Api, number: int) -> None:
    """A clock that jumped must not take the whole answer along."""
    told = serving(api, "a", serving_ms=number, age_ms=number, uptime_ms=number, refused=number)
    assert (await tell(api, await api.key(), told))[0] == 204
    (shown,) = (await ask(api))["items"]
    assert shown["age_ms"] >= 0
    assert shown["refused"] >= 0


async def test_who_may_tell_and_who_may_ask(api: Api) -> None:
    """A sidecar key tells and does not ask; the administrator asks and does not tell."""
    key = await api.key()
    assert (await tell(api, support.ADMIN_TOKEN, document()))[0] == 403
    assert (await tell(api, "wrong", document()))[0] == 401
    for path in (FLEET_PATH, FLEET_REVISIONS_PATH):
        async with api.get(path, key) as answer:
            assert answer.status == 403


@pytest.mark.parametrize(
    "query",
    [
        {"state": "late"},
        {"revision": "-1"},
        {"revision": "x"},
        {"label": "region"},
        {"label": "re gion:eu"},
        {"cursor": "!"},
        {"cursor": "eDp5Ono"},
        {"limit": "0"},
        {"instances": "a"},
    ],
)
async def test_questions_that_make_no_sense_are_400(api: Api, query: dict[str, str]) -> None:
    """By the name of the parameter."""
    answer = await ask(api, status=400, **query)
    assert next(iter(query)) in answer["detail"]


async def test_there_is_no_fleet_of_what_is_not(api: Api) -> None:
    """404, as everywhere."""
    await ask(api, status=404, project="none")
    await ask(api, status=404, environment="none")
    await ask(api, FLEET_REVISIONS_PATH, status=404, environment="none")


async def test_pages_go_on_where_the_last_ended(api: Api) -> None:
    """Names may hold what separates the parts of a cursor."""
    key = await api.key()
    names = sorted(f"i:{number}-" for number in range(5))
    for name in names:
        await tell(api, key, serving(api, name))
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    while True:
        page = await ask(api, **query)
        seen += [each["instance"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == names


async def test_an_environment_has_so_many_instances_and_no_more(api: Api) -> None:
    """Who is known goes on telling; who is not is told to come back later, and counted."""
    key, fleet = await api.key(), api.app[FLEET]
    fleet._max_instances = 2
    for name in ("a", "b", "a"):
        assert (await tell(api, key, serving(api, name)))[0] == 204
    status, answer = await tell(api, key, serving(api, "c"))
    assert (status, answer["code"]) == (429, "fleet_full")
    assert fleet.standings["full"] == 1
    assert (await tell(api, await api.key("staging"), document("c")))[0] == 204
