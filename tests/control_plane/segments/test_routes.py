"""Segments over real HTTP."""

import json
from typing import Any

import pytest

from tests.support.api import Api, Reply

SEGMENTS = "/api/v1/segments"
LEAF = {"attribute": "plan", "op": "equals", "values": ["pro"]}


async def create(api: Api, key: str = "beta", **members: Any) -> Reply:
    """Create a segment."""
    reply = await api.ask("POST", SEGMENTS, json={"key": key, "when": LEAF} | members)
    assert reply.status == 201, reply.body
    return reply


async def use(api: Api, segment: str, flag: str = "f") -> Reply:
    """Create a flag whose rule names a segment."""
    rule = {"when": {"segment": segment}, "serve": {"variant": "on"}}
    config = {"fallthrough": {"variant": "off"}, "rules": [rule]}
    body = {"key": flag, "type": "boolean", "variants": {"on": True, "off": False}}
    return await api.ask("POST", "/api/v1/flags", json=body | {"environments": {"staging": config}})


async def test_a_segment_is_created_read_and_listed(api: Api) -> None:
    """With location and version."""
    created = await create(api, "team/beta", tags=["t"], included=["u"], excluded=["v"])
    assert created.headers["Location"] == f"{SEGMENTS}/team/beta"
    assert created.headers["ETag"] == '"1"'
    read = await api.ask("GET", created.headers["Location"])
    assert read.json == created.json
    assert read.json["included"] == ["u"]
    listed = await api.ask("GET", SEGMENTS + "/")
    assert listed.json == {"items": [read.json], "next_cursor": None}


async def test_the_path_of_units_means_units_for_each_method(api: Api) -> None:
    """It is never the path of a segment: none can be called so."""
    await create(api, "a", included=["u"])
    for path in (f"{SEGMENTS}/a/units", f"{SEGMENTS}/a/units/"):
        for method in ("PATCH", "DELETE"):
            assert (await api.ask(method, path, json={"name": "x"})).status == 405
    assert b'"u"' in (await api.ask("GET", f"{SEGMENTS}/a/units")).body


async def test_a_put_of_what_was_read_changes_nothing(api: Api) -> None:
    """Neither does a patch of it."""
    created = await create(api)
    for method in ("PUT", "PATCH"):
        reply = await api.ask(method, f"{SEGMENTS}/beta", json=created.json)
        assert (reply.status, reply.headers["ETag"]) == (200, '"1"')


async def test_a_put_replaces_and_a_patch_merges(api: Api) -> None:
    """Members left out of a PUT are reset."""
    await create(api, name="Beta", included=["u"])
    patched = await api.ask("PATCH", f"{SEGMENTS}/beta", json={"excluded": ["w"], "name": None})
    assert (patched.json["included"], patched.json["excluded"]) == (["u"], ["w"])
    assert patched.json["name"] == ""
    replaced = await api.ask("PUT", f"{SEGMENTS}/beta", json={"when": LEAF})
    assert (replaced.json["included"], replaced.json["version"]) == ([], 3)


async def test_only_the_version_named_is_changed(api: Api) -> None:
    """As with flags."""
    await create(api)
    wrong = {"If-Match": '"9"'}
    for method, body in (("PUT", {"when": LEAF}), ("PATCH", {}), ("DELETE", None)):
        reply = await api.ask(method, f"{SEGMENTS}/beta", json=body, headers=wrong)
        assert (reply.status, reply.headers["ETag"]) == (412, '"1"')
    reply = await api.ask("GET", f"{SEGMENTS}/beta", headers={"If-None-Match": '"1"'})
    assert reply.status == 304


async def test_a_segment_in_use_is_not_deleted_unless_forced(api: Api) -> None:
    """The refusal names the users."""
    await create(api)
    assert (await use(api, "beta", "checkout")).status == 201
    await create(api, "outer", when={"segment": "beta"})
    refused = await api.ask("DELETE", f"{SEGMENTS}/beta")
    assert (refused.status, refused.json["code"]) == (409, "segment_in_use")
    assert "flag 'checkout'" in refused.json["detail"]
    assert "segment 'outer'" in refused.json["detail"]
    assert (await api.ask("DELETE", f"{SEGMENTS}/beta?force=true")).status == 204
    assert (await api.ask("GET", f"{SEGMENTS}/beta")).status == 404


async def test_a_flag_whose_segment_was_deleted_by_force_can_be_switched_off(api: Api) -> None:
    """The kill switch, a description, archiving: what was broken before stops none of them."""
    await create(api)
    await use(api, "beta", "checkout")
    await api.ask("DELETE", f"{SEGMENTS}/beta?force=true")
    off = await api.ask("PATCH", "/api/v1/flags/checkout", json={"enabled": False})
    assert off.status == 200, off.body
    assert "unknown_segment" in off.headers["Matrixflag-Warnings"]
    rules = [{"when": {"segment": "other"}, "serve": {"variant": "on"}}]
    worse = await api.ask(
        "PATCH",
        "/api/v1/flags/checkout?environment=staging",
        json={"environments": {"staging": {"rules": rules}}},
    )
    assert (worse.status, worse.json["problems"][0]["code"]) == (422, "unknown_segment")


async def test_a_flag_cannot_name_a_segment_that_is_not_there(api: Api) -> None:
    """Sidecars would quarantine it."""
    refused = await use(api, "nope")
    assert refused.status == 422
    assert refused.json["problems"][0]["code"] == "unknown_segment"


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"when": LEAF}, "/key", "missing_field"),
        ({"key": "a b"}, "/key", "invalid_key"),
        ({"key": "a", "when": {"segment": "nope"}}, "/when/segment", "unknown_segment"),
        ({"key": "a", "when": {"attribute": "a"}}, "/when/op", "missing_field"),
        ({"key": "a", "wen": LEAF}, "/wen", "unknown_field"),
    ],
)
async def test_what_is_wrong_is_said_with_its_place(
    api: Api, body: dict[str, Any], pointer: str, code: str
) -> None:
    """Of shape and of meaning."""
    reply = await api.ask("POST", SEGMENTS, json=body)
    assert reply.status == 422
    assert (pointer, code) in {(p["pointer"], p["code"]) for p in reply.json["problems"]}


async def test_what_is_odd_but_allowed_is_a_warning(api: Api) -> None:
    """A unit given twice."""
    reply = await create(api, included=["u", "u"])
    (warning,) = json.loads(reply.headers["Matrixflag-Warnings"])
    assert (warning["pointer"], warning["code"]) == ("/included", "duplicate_unit")


async def test_conflicts_and_absences(api: Api) -> None:
    """Taken, missing, renamed."""
    await create(api)
    taken = await api.ask("POST", SEGMENTS, json={"key": "beta"})
    assert (taken.status, taken.json["code"]) == (409, "segment_exists")
    renamed = await api.ask("PUT", f"{SEGMENTS}/beta", json={"key": "gamma"})
    assert (renamed.status, renamed.json["problems"][0]["code"]) == (422, "read_only")
    for method, body in (("GET", None), ("PUT", {}), ("PATCH", {}), ("DELETE", None)):
        reply = await api.ask(method, f"{SEGMENTS}/nope", json=body)
        assert (reply.status, reply.json["code"]) == (404, "segment_not_found")


async def test_lists_are_pages_and_filtered(api: Api) -> None:
    """By tag and by prefix, in the order of keys."""
    for key in ("c", "a", "b/1", "b/2"):
        await create(api, key, tags=["odd"] if key in ("a", "b/2") else [])
    first = await api.ask("GET", f"{SEGMENTS}?limit=3")
    second = await api.ask("GET", f"{SEGMENTS}?limit=3&cursor={first.json['next_cursor']}")
    assert [s["key"] for s in first.json["items"] + second.json["items"]] == [
        *("a", "b/1", "b/2", "c")
    ]
    assert second.json["next_cursor"] is None
    odd = await api.ask("GET", f"{SEGMENTS}?tag=odd&prefix=b")
    assert [s["key"] for s in odd.json["items"]] == ["b/2"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_mistakes_of_shape_hide_none_of_meaning(api: Api, method: str) -> None:
    """What is wrong in one place is put aside, and the rest is looked at."""
    when = {"all": [{"segment": "nowhere"}, {"not": 5}]}
    body = {"when": when, "included": ["u", 5], "excluded": ["u"], "tags": 1}
    if method == "POST":
        reply = await api.ask(method, SEGMENTS, json=body | {"key": "a b"})
    else:
        await create(api)
        reply = await api.ask(method, f"{SEGMENTS}/beta", json=body | {"key": "other"})
    assert reply.status == 422
    found = {(p["pointer"], p["code"]) for p in reply.json["problems"]}
    assert found == {
        ("/key", "invalid_key" if method == "POST" else "read_only"),
        ("/when/all/0/segment", "unknown_segment"),
        ("/when/all/1/not", "wrong_type"),
        ("/included/1", "wrong_type"),
        ("/excluded/0", "duplicate_unit"),
        ("/tags", "wrong_type"),
    }
