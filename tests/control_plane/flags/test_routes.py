"""Flags over real HTTP: status codes, headers, conditions, lists."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from control_plane.keys import REPLICA
from tests.support.api import Api, Reply

FLAGS = "/api/v1/flags"
JSON = {"Content-Type": "application/json"}
SIMPLE = {"key": "f", "type": "boolean", "value": True, "enabled": True}


async def create(api: Api, key: str = "f", query: str = "", **members: Any) -> Reply:
    """Create a flag."""
    reply = await api.ask("POST", FLAGS + query, json=SIMPLE | {"key": key} | members)
    assert reply.status == 201, reply.body
    return reply


def revisions(api: Api) -> dict[str, int]:
    """Return the revision of each environment."""
    state = api.app[REPLICA].project("default")
    return {name: snapshot.revision for name, snapshot in state.snapshots.items()}


async def test_the_missions_example_runs_as_it_stands(api: Api) -> None:
    """Create with the simplest body, read back `enabled` and `value`."""
    body = {"name": "New", "description": "d", **SIMPLE}
    created = await api.ask("POST", "/api/v1/flags/", json=body)
    assert created.status == 201
    assert created.headers["Location"] == "/api/v1/flags/f"
    assert created.headers["ETag"] == '"1"'
    read = await api.ask("GET", created.headers["Location"])
    assert read.json == created.json
    assert (read.json["enabled"], read.json["value"]) == (True, True)


@pytest.mark.parametrize("key", ["a", "a/b/c", "_a.b-c", "0/1", "webhooksx", "x" * 128])
async def test_a_key_is_found_under_the_location_it_was_given(api: Api, key: str) -> None:
    """With slashes too, encoded or not."""
    location = (await create(api, key)).headers["Location"]
    assert (await api.ask("GET", location)).json["key"] == key
    assert (await api.ask("GET", f"{FLAGS}/{quote(key, safe='')}")).json["key"] == key


@pytest.mark.parametrize("key", ["", "a b", "/a", "a/", "a//b", ".a", "webhooks/x", "ä", "x" * 129])
async def test_a_key_that_cannot_be_is_refused(api: Api, key: str) -> None:
    """With the place and the rule."""
    reply = await api.ask("POST", FLAGS, json=SIMPLE | {"key": key})
    assert reply.status == 422
    assert ("/key", "invalid_key") in {(p["pointer"], p["code"]) for p in reply.json["problems"]}


async def test_all_problems_are_listed_at_once(api: Api) -> None:
    """Of meaning, each with its pointer."""
    config = {
        "fallthrough": {"variant": "nope"},
        "off_variant": "none",
        "rules": [
            {"when": {"segment": "unknown"}, "serve": {"variant": "on"}},
            {
                "when": {"attribute": "a", "op": "eqals", "values": [1]},
                "serve": {"rollout": {"arms": [{"variant": "on", "weight": 1}]}},
            },
        ],
    }
    body = {
        "key": "f",
        "type": "boolean",
        "variants": {"on": True, "off": "no"},
        "environments": {"production": config},
    }
    reply = await api.ask("POST", FLAGS, json=body)
    assert reply.status == 422
    place = "/environments/production"
    assert {(p["pointer"], p["code"]) for p in reply.json["problems"]} >= {
        ("/variants/off", "value_type"),
        (f"{place}/fallthrough/variant", "unknown_variant"),
        (f"{place}/off_variant", "unknown_variant"),
        (f"{place}/rules/0/when/segment", "unknown_segment"),
        (f"{place}/rules/1/when/op", "unknown_operator"),
        (f"{place}/rules/1/serve/rollout/arms", "weights_sum"),
    }
    assert (await api.ask("GET", f"{FLAGS}/f")).status == 404


async def test_what_the_api_and_the_engine_refuse_is_listed_together(api: Api) -> None:
    """Members that never change, other environments, weights: one answer, not three."""
    await create(api)
    arms = [{"variant": "on", "weight": 1}, {"variant": "of", "weight": 2}]
    body = {
        "key": "other",
        "type": "string",
        "variants": {"on": True, "off": "x"},
        "environments": {
            "production": {"fallthrough": {"rollout": {"arms": arms}}},
            "a/b": {"fallthrough": {"variant": "on"}},
            "staging": {"fallthrough": {"variant": "off"}},
        },
    }
    reply = await api.ask("PUT", f"{FLAGS}/f", json=body)
    assert reply.status == 422
    found = {(p["pointer"], p["code"]) for p in reply.json["problems"]}
    arms_at = "/environments/production/fallthrough/rollout/arms"
    assert found == {
        ("/key", "read_only"),
        ("/type", "read_only"),
        ("/variants/off", "value_type"),
        ("/environments/a~1b", "unknown_environment"),
        ("/environments/staging", "other_environment_changed"),
        (arms_at, "weights_sum"),
        (f"{arms_at}/1/variant", "unknown_variant"),
    }


_TIMES = {"from": "2026-12-02T00:00:00Z", "until": "2026-12-01T00:00:00Z"}
_ALL: dict[str, Any] = {"all": []}
_FLAWED = {
    "enabled": True,
    "fallthrough": {"variant": "on"},
    "rules": [
        {"id": "a", "when": _ALL, "serve": {"variant": "on"}, "active": _TIMES},
        {"id": "a", "when": _ALL, "serve": {"variant": "onn"}},
        {"when": True, "serve": "on"},
    ],
    "targets": [{"variant": "on", "units": ["u", 5]}, {"variant": "off", "units": ["u"]}],
}
_FLAWS = {
    ("/rules/0/active/until", "out_of_range"),
    ("/rules/1/id", "duplicate_rule_id"),
    ("/rules/1/serve/variant", "unknown_variant"),
    ("/rules/2/when", "wrong_type"),
    ("/rules/2/serve", "wrong_type"),
    ("/targets/0/units/1", "wrong_type"),
    ("/targets/1/units/0", "duplicate_unit"),
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_mistakes_of_shape_hide_none_of_meaning(api: Api, method: str) -> None:
    """What is wrong in one place is put aside, and the rest is looked at."""
    body: dict[str, Any] = {"environments": {"production": _FLAWED}, "tags": [1]}
    path = FLAGS
    if method != "POST":
        await create(api)
        path = f"{FLAGS}/f"
    if method != "PATCH":
        body |= {"key": "f", "type": "boolean", "variants": {"on": True, "off": False}}
    before = revisions(api)
    reply = await api.ask(method, path, json=body)
    assert reply.status == 422
    found = {(p["pointer"], p["code"]) for p in reply.json["problems"]}
    at = "/environments/production"
    assert found == {("/tags/0", "wrong_type"), *((f"{at}{p}", code) for p, code in _FLAWS)}
    assert len(reply.json["problems"]) == len(found)
    assert revisions(api) == before


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (
            {"key": "a b", "typ": "boolean", "value": True},
            {("/typ", "unknown_field")},
        ),
        (
            {"key": "a b", "type": "boolean", "value": "x", "tags": 1},
            {("/tags", "wrong_type"), ("/key", "invalid_key"), ("/value", "value_type")},
        ),
        (
            {"key": "f", "type": "boolean", "value": True, "expires": "soon", "tags": 1},
            {("/tags", "wrong_type")},  # it exists: what it would mean is another question
        ),
    ],
)
async def test_a_simple_body_has_its_meaning_looked_at_too(
    api: Api, body: dict[str, Any], wanted: set[tuple[str, str]]
) -> None:
    """As far as it has one."""
    await create(api)
    reply = await api.ask("POST", FLAGS, json=body)
    assert reply.status == 422
    assert {(p["pointer"], p["code"]) for p in reply.json["problems"]} == wanted


async def test_a_key_that_cannot_be_in_an_unknown_environment_is_two_problems(api: Api) -> None:
    """Of a creation, too."""
    environments = {"nowhere": {"fallthrough": {"variant": "gone"}}}
    body = {"key": "a b", "type": "boolean", "variants": {"on": True}, "environments": environments}
    reply = await api.ask("POST", FLAGS, json=body)
    found = {(p["pointer"], p["code"]) for p in reply.json["problems"]}
    assert found == {
        ("/key", "invalid_key"),
        ("/environments/nowhere", "unknown_environment"),
        ("/environments/nowhere/fallthrough/variant", "unknown_variant"),
    }


async def test_a_simple_body_with_another_key_and_a_wrong_value_is_two_problems(api: Api) -> None:
    """Whichever of them was meant."""
    await create(api)
    reply = await api.ask("PUT", f"{FLAGS}/f", json={"key": "g", "value": 1})
    found = {(p["pointer"], p["code"]) for p in reply.json["problems"]}
    assert found == {("/key", "read_only"), ("/value", "value_type")}


async def test_problems_of_a_simple_value_point_to_the_value(api: Api) -> None:
    """There are no variants in what was sent."""
    reply = await api.ask("POST", FLAGS, json=SIMPLE | {"type": "integer", "value": 2**53})
    assert reply.status == 422
    assert [p["pointer"] for p in reply.json["problems"]] == ["/value"]


async def test_a_key_that_is_taken_is_a_conflict(api: Api) -> None:
    """POST creates, it does not replace."""
    await create(api)
    reply = await api.ask("POST", FLAGS, json=SIMPLE)
    assert (reply.status, reply.json["code"]) == (409, "flag_exists")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_a_flag_that_is_not_there_is_404(api: Api, method: str) -> None:
    """PUT does not create."""
    body = None if method in ("GET", "DELETE") else SIMPLE
    reply = await api.ask(method, f"{FLAGS}/f", json=body)
    assert (reply.status, reply.json["code"]) == (404, "flag_not_found")
    assert reply.json["detail"].endswith("; POST creates one") == (method in ("PUT", "PATCH"))


@pytest.mark.parametrize("query", ["?environment=nope", "?project=nope"])
async def test_an_unknown_scope_is_404(api: Api, query: str) -> None:
    """For reads and writes."""
    await create(api)
    for method, body in (("GET", None), ("PUT", {"enabled": False}), ("PATCH", {})):
        assert (await api.ask(method, f"{FLAGS}/f{query}", json=body)).status == 404
    assert (await api.ask("GET", FLAGS + query)).status == 404
    assert (await api.ask("POST", FLAGS + query, json=SIMPLE | {"key": "g"})).status == 404


async def test_a_put_of_what_was_read_publishes_nothing(api: Api) -> None:
    """No version, no revision, no history."""
    await create(api)
    read = await api.ask("GET", f"{FLAGS}/f")
    before = revisions(api)
    for method in ("PUT", "PATCH"):
        reply = await api.ask(method, f"{FLAGS}/f", data=read.body, headers=JSON)
        assert (reply.status, reply.headers["ETag"]) == (200, '"1"')
        assert reply.json == read.json
    assert revisions(api) == before
    history = await api.ask("GET", "/api/v1/history?flag=f")
    assert len(history.json["items"]) == 1


async def test_a_put_of_what_was_read_with_its_members_sorted_publishes_nothing(api: Api) -> None:
    """As clients write it that keep objects in maps."""
    await create(api, metadata={"team": "a", "area": "b"})
    before = revisions(api)
    read = await api.ask("GET", f"{FLAGS}/f")
    body = json.dumps(read.json, sort_keys=True)
    for method in ("PUT", "PATCH"):
        reply = await api.ask(method, f"{FLAGS}/f", data=body, headers=JSON)
        assert (reply.status, reply.headers["ETag"]) == (200, '"1"')
    assert revisions(api) == before


RAMP = {
    **{"variant": "on", "else": "off", "by": "company", "from": 10_000, "to": 60_000},
    **{"start": "2001-12-01T09:00:00+01:00", "end": "2001-12-08T00:00:00.5Z"},
}
WHOLE = {
    "enabled": True,
    "off_variant": "off",
    "prerequisites": [{"flag": "api", "variants": ["on", "off"]}],
    "rules": [
        {
            "id": "winter",
            "when": {"all": []},
            "active": {"from": "2026-12-01T09:00:00Z", "until": None},
            "serve": {"ramp": RAMP | {"by": "targetingKey"}},
        },
        {"id": "open", "when": {"all": []}, "active": {}, "serve": {"variant": "on"}},
    ],
    "fallthrough": {"ramp": RAMP},
}


async def create_whole(api: Api) -> Reply:
    """Create a flag that has a prerequisite, rules active in a span of time, and ramps."""
    await create(api, "api")
    body = {"key": "f", "type": "boolean", "variants": {"on": True, "off": False}}
    reply = await api.ask("POST", FLAGS, json=body | {"environments": {"production": WHOLE}})
    assert reply.status == 201, reply.body
    return reply


async def test_prerequisites_windows_and_ramps_are_read_as_they_were_written(api: Api) -> None:
    """What was left out is what it means; `value` is what a ramp has come to serve at its end."""
    made = (await create_whole(api)).json
    config = made["environments"]["production"]
    assert config == {"salt": config["salt"], "targets": [], **WHOLE}
    assert (made["enabled"], made["value"]) == (True, True)
    changes = {"environments": {"production": {"fallthrough": {"ramp": {"to": 40_000}}}}}
    reply = await api.ask("PATCH", f"{FLAGS}/f", json=changes)
    ramp = reply.json["environments"]["production"]["fallthrough"]["ramp"]
    assert (ramp, reply.json["value"]) == (RAMP | {"to": 40_000}, False)
    short = {key: RAMP[key] for key in ("variant", "else", "start", "end")}
    serve = {"fallthrough": {"ramp": short}}
    body = {"environments": {"production": serve}}
    reply = await api.ask("PUT", f"{FLAGS}/f?rebucket=true", json=body)
    ramp = reply.json["environments"]["production"]["fallthrough"]["ramp"]
    assert ramp == short | {"from": 0, "to": 100_000, "by": "targetingKey"}


async def test_a_put_of_prerequisites_windows_and_ramps_as_read_publishes_nothing(api: Api) -> None:
    """However far the ramp has come meanwhile; also with members sorted."""
    await create_whole(api)
    before = revisions(api)
    read = await api.ask("GET", f"{FLAGS}/f")
    for body in (read.body, json.dumps(read.json, sort_keys=True)):
        for method in ("PUT", "PATCH"):
            reply = await api.ask(method, f"{FLAGS}/f", data=body, headers=JSON)
            assert (reply.status, reply.headers["ETag"]) == (200, '"1"')
            assert "Matrixflag-Moved" not in reply.headers
    assert revisions(api) == before


async def test_a_simple_body_leaves_prerequisites_windows_and_ramps(api: Api) -> None:
    """It switches the flag; one value cannot take the place of a ramp."""
    before = (await create_whole(api)).json["environments"]["production"]
    for body in ({"enabled": False}, {"value": True, "enabled": False}):
        reply = await api.ask("PUT", f"{FLAGS}/f", json=body)
        assert (reply.status, reply.headers["ETag"]) == (200, '"2"')
        assert reply.json["environments"]["production"] == before | {"enabled": False}
    refused = await api.ask("PUT", f"{FLAGS}/f", json={"value": False})
    assert (refused.status, refused.json["code"]) == (409, "fallthrough_is_rollout")
    assert "serves a ramp" in refused.json["detail"]
    full = await api.ask("PATCH", f"{FLAGS}/f", json={"value": False, "environments": {}})
    assert [p["code"] for p in full.json["problems"]] == ["value_disagrees"]


async def test_a_patch_goes_over_to_a_ramp_and_from_it(api: Api) -> None:
    """It takes the place of what was served, with a null for that or without; two are refused."""
    await create(api)

    async def serve(query: str = "", **serves: Any) -> Reply:
        body = {"environments": {"production": {"fallthrough": serves}}}
        return await api.ask("PATCH", f"{FLAGS}/f{query}", json=body)

    both = await serve(variant="on", ramp=RAMP)
    assert (both.status, [p["code"] for p in both.json["problems"]]) == (422, ["not_one_of"])
    reply = await serve(ramp=RAMP)
    assert json.loads(reply.headers["Matrixflag-Moved"])[0]["buckets"] == 40_000
    arms = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]
    other = await serve(ramp=None, rollout={"arms": arms})
    assert (other.status, other.json["code"]) == (409, "rebucketing")
    reply = await serve(ramp=None, rollout={"arms": arms, "by": "company"})
    assert json.loads(reply.headers["Matrixflag-Moved"])[0]["buckets"] == 10_000
    fallthrough = reply.json["environments"]["production"]["fallthrough"]
    assert [arm["ranges"] for arm in fallthrough["rollout"]["arms"]] == [
        [[0, 50_000]],
        [[50_000, 100_000]],
    ]


async def test_prerequisites_and_windows_come_and_go_without_consent(api: Api) -> None:
    """No unit gets another bucket by them."""
    await create_whole(api)
    rules = [{"id": "winter", "when": {"all": []}, "serve": WHOLE["rules"][0]["serve"]}]
    changes = {"environments": {"production": {"prerequisites": [], "rules": rules}}}
    reply = await api.ask("PATCH", f"{FLAGS}/f", json=changes)
    assert reply.status == 200
    assert "Matrixflag-Moved" not in reply.headers
    config = reply.json["environments"]["production"]
    assert (config["prerequisites"], "active" in config["rules"][0]) == ([], False)


async def test_problems_of_prerequisites_windows_and_ramps_are_listed_together(api: Api) -> None:
    """Each at its place."""
    config = {
        "prerequisites": [{"flag": "f", "variants": ["on"]}, {"flag": "g", "variants": []}],
        "rules": [
            {
                "when": {"all": []},
                "active": {"from": "tomorrow"},
                "serve": {"ramp": RAMP | {"from": -1, "else": "none", "start": "2026-12-01"}},
            }
        ],
        "fallthrough": {"ramp": RAMP | {"end": RAMP["start"], "by": ""}},
    }
    body = {"key": "f", "type": "boolean", "variants": {"on": True, "off": False}}
    reply = await api.ask("POST", FLAGS, json=body | {"environments": {"production": config}})
    assert reply.status == 422
    prefix = "/environments/production"
    assert {p["pointer"].removeprefix(prefix) for p in reply.json["problems"]} == {
        "/prerequisites/0/flag",
        "/prerequisites/1/flag",
        "/prerequisites/1/variants",
        "/rules/0/active/from",
        "/rules/0/serve/ramp/from",
        "/rules/0/serve/ramp/else",
        "/rules/0/serve/ramp/start",
        "/fallthrough/ramp/end",
        "/fallthrough/ramp/by",
    }


async def test_a_simple_put_changes_the_asked_environment_alone(api: Api) -> None:
    """In what is read and in what is published."""
    await create(api)
    before = revisions(api)
    reply = await api.ask("PUT", f"{FLAGS}/f?environment=staging", json={"value": False})
    assert (reply.status, reply.json["value"], reply.headers["ETag"]) == (200, False, '"2"')
    assert (await api.ask("GET", f"{FLAGS}/f")).json["value"] is True
    assert revisions(api) == before | {"staging": before["staging"] + 1}


async def test_only_the_version_named_is_changed(api: Api) -> None:
    """If-Match: another value, or a weak one, is 412 with the current tag; * and none are free."""
    await create(api)
    for header, status in (
        ('"2"', 412),
        ('W/"1"', 412),
        ('"1"', 200),
        ('"1"', 412),
        ("*", 200),
        ('"7", "3"', 200),
    ):
        body = {"description": header}
        reply = await api.ask("PATCH", f"{FLAGS}/f", json=body, headers={"If-Match": header})
        assert reply.status == status, header
    stale = await api.ask("DELETE", f"{FLAGS}/f", headers={"If-Match": '"1"'})
    assert (stale.status, stale.headers["ETag"]) == (412, '"4"')
    assert (await api.ask("DELETE", f"{FLAGS}/f", headers={"If-Match": '"4"'})).status == 204


async def test_what_is_known_already_is_not_sent_again(api: Api) -> None:
    """If-None-Match: 304 without a body."""
    await create(api)
    reply = await api.ask("GET", f"{FLAGS}/f", headers={"If-None-Match": '"1"'})
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", '"1"')
    reply = await api.ask("GET", f"{FLAGS}/f", headers={"If-None-Match": '"9"'})
    assert reply.status == 200


async def test_how_many_units_move_is_in_the_answer(api: Api) -> None:
    """Exactly, and never refused."""
    await create(api)
    arms = [{"variant": "on", "weight": 10_000}, {"variant": "off", "weight": 90_000}]
    config = {"fallthrough": {"variant": None, "rollout": {"arms": arms}}}
    reply = await api.ask("PATCH", f"{FLAGS}/f", json={"environments": {"production": config}})
    assert json.loads(reply.headers["Matrixflag-Moved"]) == [
        {
            "environment": "production",
            "place": "fallthrough",
            "buckets": 90_000,
            "estimated": False,
        }
    ]


async def test_another_salt_needs_consent_where_units_are_split(api: Api) -> None:
    """`?rebucket=true`. Where all get the same there is nothing to ask about."""
    await create(api)
    body: Any = {"environments": {"production": {"salt": "another"}}}
    reply = await api.ask("PATCH", f"{FLAGS}/f", json=body)
    assert reply.status == 200
    assert "Matrixflag-Moved" not in reply.headers
    arms = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]
    halves = {"variant": None, "rollout": {"arms": arms}}
    body = {"environments": {"production": {"salt": "third", "fallthrough": halves}}}
    reply = await api.ask("PATCH", f"{FLAGS}/f", json=body)
    assert reply.status == 200, "they had no buckets under the old one"
    assert "estimated" not in reply.headers["Matrixflag-Moved"].replace('"estimated":false', "")
    body = {"environments": {"production": {"salt": "fourth"}}}
    refused = await api.ask("PATCH", f"{FLAGS}/f", json=body)
    assert (refused.status, refused.json["code"]) == (409, "rebucketing")
    reply = await api.ask("PATCH", f"{FLAGS}/f?rebucket=true", json=body)
    assert reply.status == 200
    assert '"estimated":true' in reply.headers["Matrixflag-Moved"]


async def test_a_rule_without_its_id_or_with_another_needs_the_same_consent(api: Api) -> None:
    """What is split by another attribute is, whatever the rule is called."""
    arms = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]

    def flag(by: str, **members: Any) -> dict[str, Any]:
        serve = {"rollout": {"by": by, "arms": arms}}
        when = {"attribute": "plan", "op": "equals", "values": ["pro"]}
        config = {"enabled": True, "fallthrough": {"variant": "off"}}
        return {
            "key": "f",
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "environments": {
                "production": config | {"rules": [{"when": when, "serve": serve} | members]}
            },
        }

    assert (await api.ask("POST", FLAGS, json=flag("targetingKey", id="mine"))).status == 201
    for named in ({}, {"id": "mine"}, {"id": "renamed"}):
        refused = await api.ask("PUT", f"{FLAGS}/f", json=flag("company", **named))
        assert (refused.status, refused.json["code"]) == (409, "rebucketing"), named
    for named in ({}, {"id": "renamed"}):
        reply = await api.ask("PUT", f"{FLAGS}/f", json=flag("targetingKey", **named))
        assert reply.status == 200
        assert "Matrixflag-Moved" not in reply.headers


async def test_what_is_odd_but_allowed_is_a_warning(api: Api) -> None:
    """An array as the value of an object flag."""
    reply = await create(api, type="object", value=[1, 2])
    (warning,) = json.loads(reply.headers["Matrixflag-Warnings"])
    assert (warning["code"], warning["pointer"]) == ("array_value", "/value")


async def test_a_patch_has_its_own_media_type(api: Api) -> None:
    """As RFC 7396 says; plain JSON is taken too."""
    await create(api)
    for kind, status in (
        ("application/merge-patch+json", 200),
        ("application/json", 200),
        ("text/plain", 415),
    ):
        reply = await api.ask(
            "PATCH", f"{FLAGS}/f", data=b'{"enabled":false}', headers={"Content-Type": kind}
        )
        assert reply.status == status


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[]", 422), (b"7", 422), (b"null", 422), (b"{", 400), (b'{"tags":1,"owner":2}', 422)],
)
async def test_a_body_that_is_no_flag_is_refused(
    api: Api, method: str, body: bytes, status: int
) -> None:
    """With a problem, never a 500."""
    await create(api)
    reply = await api.ask(method, f"{FLAGS}/f", data=body, headers=JSON)
    assert reply.status == status
    assert reply.json["problems"]


async def test_a_deleted_flag_is_gone_and_its_version_goes_on(api: Api) -> None:
    """An `If-Match` of the old flag does not fit a new one by chance."""
    await create(api)
    assert (await api.ask("DELETE", f"{FLAGS}/f")).status == 204
    assert (await api.ask("GET", f"{FLAGS}/f")).status == 404
    assert (await create(api)).headers["ETag"] == '"3"'


async def test_lists_are_pages_in_the_order_of_keys(api: Api) -> None:
    """Each flag once, also when others are made and deleted between the pages."""
    keys = [f"k-{n:02d}" for n in range(12)]
    for key in reversed(keys):
        await create(api, key)
    first = await api.ask("GET", f"{FLAGS}?limit=5")
    await create(api, "a-before")
    await api.ask("DELETE", f"{FLAGS}/k-04")
    second = await api.ask("GET", f"{FLAGS}?limit=5&cursor={first.json['next_cursor']}")
    third = await api.ask("GET", f"{FLAGS}?limit=5&cursor={second.json['next_cursor']}")
    assert third.json["next_cursor"] is None
    found = [item["key"] for page in (first, second, third) for item in page.json["items"]]
    assert found == keys


async def test_a_page_that_ends_the_list_says_so(api: Api) -> None:
    """No empty page follows a full last one."""
    for key in ("a", "b"):
        await create(api, key)
    assert (await api.ask("GET", f"{FLAGS}?limit=2")).json["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tag=red", ["a", "b/1"]),
        ("tag=red&tag=blue", ["b/1"]),
        ("prefix=b/", ["b/1", "b/2"]),
        ("prefix=b/2&type=string", []),
        ("type=integer", ["b/2"]),
        ("archived=true", ["z"]),
        ("archived=false&prefix=b", ["b/1", "b/2"]),
        ("tag=none", []),
        ("prefix=zz", []),
    ],
)
async def test_lists_are_filtered(api: Api, query: str, expected: list[str]) -> None:
    """By all tags, by prefix of the key, by type, by archived."""
    await create(api, "a", tags=["red"])
    await create(api, "b/1", tags=["red", "blue"])
    await create(api, "b/2", type="integer", value=3)
    await create(api, "z", archived=True)
    reply = await api.ask("GET", f"{FLAGS}?{query}")
    assert [item["key"] for item in reply.json["items"]] == expected


@pytest.mark.parametrize(
    "query", ["type=int", "archived=yes", "limit=0", "limit=501", "cursor=%", "colour=red"]
)
async def test_a_parameter_that_makes_no_sense_is_400(api: Api, query: str) -> None:
    """And says which."""
    reply = await api.ask("GET", f"{FLAGS}?{query}")
    assert reply.status == 400
    assert query.partition("=")[0] in reply.json["detail"]


@pytest.mark.parametrize("query", ["?environment=", "?project="])
async def test_an_empty_scope_is_not_the_default_one(api: Api, query: str) -> None:
    """A variable of a script that is not set must not change production."""
    await create(api)
    reply = await api.ask("PUT", f"{FLAGS}/f{query}", json={"value": False})
    assert reply.status == 404
    assert (await api.ask("GET", f"{FLAGS}/f")).json["value"] is True


async def test_projects_do_not_see_each_other(api: Api) -> None:
    """The same key is another flag."""
    await api.ask("POST", "/api/v1/projects", json={"key": "mobile"})
    created = await create(api, query="?project=mobile", value=False)
    assert created.headers["Location"] == "/api/v1/flags/f?project=mobile"
    assert (await api.ask("GET", f"{FLAGS}/f")).status == 404
    await create(api)
    read = await api.ask("GET", created.headers["Location"])
    assert read.json["value"] is False


async def test_values_come_back_as_they_were_sent(api: Api) -> None:
    """Text of any script, escapes, large and small numbers, nested."""
    value = {"ü": ["\u2028", '"\\', "\U0001f600"], "n": [2**53 - 1, -1.5e-7, 0.1], "b": [True]}
    await create(api, type="object", value=value)
    read = await api.ask("GET", f"{FLAGS}/f")
    assert read.json["value"] == value
    again = await api.ask("PUT", f"{FLAGS}/f", data=read.body, headers=JSON)
    assert again.headers["ETag"] == '"1"'
