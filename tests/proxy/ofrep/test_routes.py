"""The acceptance list of OFREP, each item by its number, over real HTTP.

Items 1 to 40 and 52 to 57 of the design's list; 41 to 51 come with event streams. Items about what
an engine decides are asked here too, because it is the wire that clients see.
"""

import asyncio
import gzip
import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.contract.snapshot import SnapshotRefused
from proxy.engine.times import parse_moment
from proxy.ofrep import answering
from tests.proxy.ofrep.server import (
    CLIENT_KEY,
    DEFINITIONS,
    EXPIRED_KEY,
    FLAGS,
    ON_OFF,
    SERVER_KEY,
    SIDECAR_KEY,
    UNKNOWN_KEY,
    Server,
    flag,
    keys,
    rule,
    running_server,
)

REPORTS = ("/v1/exposures", "/v1/events")
REASONS = {"STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"}
ERROR_CODES = {"PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL"}


async def raw(server: Server, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes on a connection of their own and return the answer, read to the last byte."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


# Single evaluation


async def test_01_a_known_flag_is_answered_200_with_json(server: Server) -> None:
    """The whole answer of a flag without rules."""
    reply = await server.single("bool", {"targetingKey": "u-1"})
    assert reply.status == 200
    assert reply.json == {
        "key": "bool",
        "value": True,
        "variant": "on",
        "reason": "STATIC",
        "metadata": {"team": "x", "level": 3, "ratio": 0.5, "beta": True},
    }


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/", f"{FLAGS}/bool", *REPORTS])
async def test_02_other_methods_are_405_with_allow(server: Server, method: str, path: str) -> None:
    """On every path here only POST and OPTIONS mean anything."""
    reply = await server.send(method, path)
    assert reply.status == 405
    assert reply.headers["Allow"] == "POST, OPTIONS"


async def test_03_every_body_is_application_json(keyed: Server) -> None:
    """The JavaScript provider refuses JSON of any other type."""
    replies = [
        await keyed.single("bool", X_API_Key=SERVER_KEY),
        await keyed.single("none", X_API_Key=SERVER_KEY),
        await keyed.single("broken", X_API_Key=SERVER_KEY),
        await keyed.bulk(X_API_Key=SERVER_KEY),
        await keyed.single("bool"),
        await keyed.send("GET", FLAGS),
        await keyed.send("POST", "/elsewhere"),
    ]
    assert [reply.status for reply in replies] == [200, 404, 400, 200, 401, 405, 404]
    for reply in replies:
        assert reply.headers["Content-Type"] == "application/json"
        assert isinstance(reply.json, dict)


@pytest.mark.parametrize("key", ["grüße 🎈", "team/check.out", "nobody's ключ"])
async def test_04_the_key_comes_back_exactly(server: Server, key: str) -> None:
    """Also of a flag that is not there."""
    assert (await server.single(quote(key, safe=""))).json["key"] == key


async def test_05_the_reason_is_always_one_that_openfeature_defines(server: Server) -> None:
    """The Python provider fails on any other."""
    for context in ({}, {"targetingKey": "u-1"}, {"targetingKey": "u-1", "plan": "pro"}):
        for item in (await server.bulk(context)).json["flags"]:
            if "errorCode" not in item:
                assert item["reason"] in REASONS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bool", True),
        ("false", False),
        ("text", "blue"),
        ("empty", ""),
        ("int", 42),
        ("zero", 0),
        ("fraction", 0.1),
        ("object", {"n": [1, 2.0, None], "ü": {}}),
        ("empty-object", {}),
    ],
)
async def test_06_values_round_trip(server: Server, key: str, value: Any) -> None:
    """Falsy ones too."""
    got = (await server.single(key)).json["value"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("key", "literal"), [("int", b"42"), ("float", b"10.0"), ("exact", b"9007199254740991")]
)
async def test_07_integers_have_no_fraction_and_floats_keep_theirs(
    server: Server, key: str, literal: bytes
) -> None:
    """Clients tell the two types by the literal."""
    body = (await server.single(key)).body
    assert re.search(rb'"value":([^,]+),', body)[1] == literal  # type: ignore[index]


async def test_08_the_code_default_is_an_absent_value(server: Server) -> None:
    """Null would be a type mismatch in every client."""
    assert "value" not in (await server.single("off-string")).json
    assert b"null" not in (await server.bulk()).body.replace(b"2.0,null", b"")


@pytest.mark.parametrize("kind", ["boolean", "string", "number", "object"])
async def test_09_a_disabled_flag_is_200_disabled_without_a_value(
    server: Server, kind: str
) -> None:
    """The application decides with its own default."""
    reply = await server.single(f"off-{kind}")
    assert reply.status == 200
    assert reply.json == {"key": f"off-{kind}", "variant": "", "reason": "DISABLED"}


async def test_09_a_disabled_flag_with_an_off_variant_serves_it(server: Server) -> None:
    """Its author said what off means."""
    answer = (await server.single("off-with-variant")).json
    assert (answer["value"], answer["variant"], answer["reason"]) == (False, "off", "DISABLED")


async def test_10_the_variant_is_always_a_string(server: Server) -> None:
    """The Python provider raises without one."""
    for item in (await server.bulk({"targetingKey": "u-1"})).json["flags"]:
        if "errorCode" not in item:
            assert isinstance(item["variant"], str)


async def test_11_an_unknown_flag_is_404_flag_not_found(server: Server) -> None:
    """With all three members that clients read."""
    reply = await server.single("none")
    assert reply.status == 404
    assert reply.json["key"] == "none"
    assert reply.json["errorCode"] == "FLAG_NOT_FOUND"
    assert isinstance(reply.json["errorDetails"], str)


async def test_12_a_flag_that_cannot_be_compiled_is_400_parse_error(server: Server) -> None:
    """One bad flag costs that flag alone."""
    reply = await server.single("broken")
    assert reply.status == 400
    assert (reply.json["key"], reply.json["errorCode"]) == ("broken", "PARSE_ERROR")
    assert isinstance(reply.json["errorDetails"], str)


async def test_13_a_split_without_its_unit_is_400_targeting_key_missing(server: Server) -> None:
    """Nobody can be put into a bucket without a key."""
    reply = await server.single("split", {"email": "a@b"})
    assert reply.status == 400
    assert (reply.json["key"], reply.json["errorCode"]) == ("split", "TARGETING_KEY_MISSING")


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b'{"context":{}', b"[1]", b'"x"', b"1", b"\xff", b"[" * 5000, b"NaN"),
        *(b'{"context":{"a":1e999}}', rb'{"context":{"a":1e999,"b":"\ud83d"}}'),
        *(rb'{"context":{"a":NaN,"b":"\ud83d"}}', rb'"\ud83d', rb'["\ud83d"' + b"[" * 90_000),
    ],
)
async def test_14_a_body_that_is_no_json_object_is_400_invalid_context(
    server: Server, body: bytes
) -> None:
    """With the key, which the JavaScript provider needs."""
    reply = await server.send("POST", f"{FLAGS}/bool", body)
    assert reply.status == 400
    assert (reply.json["key"], reply.json["errorCode"]) == ("bool", "INVALID_CONTEXT")
    assert reply.json["errorDetails"]


@pytest.mark.parametrize("context", ["x", [], [{}], 5, 0.5, True, False])
async def test_15_a_context_that_is_no_object_is_400_invalid_context(
    server: Server, context: Any
) -> None:
    """A guess would evaluate something else than what was meant."""
    body = json.dumps({"context": context}).encode()
    reply = await server.send("POST", f"{FLAGS}/bool", body)
    assert reply.status == 400
    assert (reply.json["key"], reply.json["errorCode"]) == ("bool", "INVALID_CONTEXT")


@pytest.mark.parametrize("body", [None, b"", b" \n", b"{}", b'{"context":null}', b'{"context":{}}'])
async def test_16_no_context_is_the_empty_context(server: Server, body: bytes | None) -> None:
    """Clients send all of these when the application set no context."""
    for path in (f"{FLAGS}/ruled", FLAGS):
        assert (await server.send("POST", path, body)).status == 200


@pytest.mark.parametrize("key", [1, 1.5, True, None, [], {}])
async def test_17_a_targeting_key_that_is_no_string_does_not_fail_the_request(
    server: Server, key: Any
) -> None:
    """It just cannot be put into a bucket."""
    reply = await server.single("ruled", {"targetingKey": key})
    assert (reply.status, reply.json["reason"]) == (200, "DEFAULT")


async def test_18_unknown_and_nested_attributes_are_accepted(server: Server) -> None:
    """Nobody lists beforehand what applications know."""
    context: Any = {"a": None, "b": [1, {"c": [[]]}], "": "x", "plan": "pro"}
    deep: Any = 1
    for _ in range(300):
        deep = {"deep": [deep]}
    reply = await server.single("ruled", {**context, "deep": deep})
    assert (reply.status, reply.json["value"]) == (200, True)


async def test_18_half_a_surrogate_pair_is_accepted(server: Server) -> None:
    """JavaScript sends it whenever a text was cut inside an emoji."""
    body = rb'{"context":{"name":"\ud83d","plan":"pro","targetingKey":"\uDC00"}}'
    reply = await server.send("POST", f"{FLAGS}/ruled", body)
    assert (reply.status, reply.json["value"]) == (200, True)
    bulk = await server.send("POST", FLAGS, body)
    again = await server.send("POST", FLAGS, body, {"If-None-Match": bulk.headers["ETag"]})
    assert (bulk.status, again.status) == (200, 304)


async def test_19_unknown_members_and_parameters_are_ignored(server: Server) -> None:
    """Newer clients may say more."""
    reply = await server.send("POST", f"{FLAGS}/bool?tenant=a", b'{"context":{},"more":[1]}')
    assert reply.status == 200


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "text/plain", None]
)
async def test_20_any_content_type_is_accepted(server: Server, content_type: str | None) -> None:
    """What the body is, its bytes tell."""
    headers = b"" if content_type is None else f"Content-Type: {content_type}\r\n".encode()
    status, _, body = await raw(
        server,
        b"POST " + FLAGS.encode() + b"/ruled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Length: 26\r\n" + headers + b'\r\n{"context":{"plan":"pro"}}',
    )
    assert (status, json.loads(body)["value"]) == (200, True)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a%2Fb", "a/b"),
        ("a/b", "a/b"),
        ("a%20b", "a b"),
        ("%F0%9F%8E%88", "🎈"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("a//b", "a//b"),
        ("../x", "../x"),
        ("a/", "a/"),
        ("%E4", "\ufffd"),
    ],
)
async def test_21_the_key_is_decoded_once(server: Server, path: str, key: str) -> None:
    """Slashes are part of a key; nothing is normalised away."""
    assert (await server.single(path)).json["key"] == key


async def test_21_leading_slashes_are_one(server: Server) -> None:
    """JavaScript clients send two when their base URL ends with one."""
    assert (await server.send("POST", f"//{FLAGS}/bool", b"{}")).status == 200


@pytest.mark.parametrize("key", [None, UNKNOWN_KEY, EXPIRED_KEY, "x", ""])
@pytest.mark.parametrize("path", [f"{FLAGS}/bool", f"{FLAGS}/none", FLAGS, *REPORTS])
async def test_22_no_or_a_wrong_key_is_401_whatever_is_asked(
    keyed: Server, key: str | None, path: str
) -> None:
    """Before the body is parsed and before anything tells what exists."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    reply = await keyed.send("POST", path, b"{", headers)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert isinstance(reply.json["errorDetails"], str)


async def test_22_the_sidecars_own_key_is_403(keyed: Server) -> None:
    """It is valid, but not for this; people try it first."""
    reply = await keyed.single("bool", Authorization=f"Bearer {SIDECAR_KEY}")
    assert reply.status == 403
    assert "server or a client key" in reply.json["errorDetails"]


async def test_22_without_keys_a_port_that_others_reach_is_closed() -> None:
    """A key that is deleted must not open the sidecar to everybody."""
    async with running_server(open_without_keys=False) as server:
        assert (await server.single("bool", X_API_Key=SERVER_KEY)).status == 401


async def test_23_too_many_requests_are_429_with_whole_seconds() -> None:
    """For the key that makes them, not for the others."""
    async with running_server(more=keys(), rate_limit=5) as server:
        replies = [await server.single("text", X_API_Key=SERVER_KEY) for _ in range(12)]
        limited = [reply for reply in replies if reply.status == 429]
        assert limited
        assert limited[0].headers["Retry-After"] == "1"
        assert limited[0].json["errorCode"] == "GENERAL"
        assert (await server.single("text", X_API_Key=CLIENT_KEY)).status == 200


async def test_23_the_limit_of_those_without_a_key_is_not_called_a_key_s() -> None:
    """They share one, and nobody should look for a key that was not sent."""
    async with running_server(rate_limit=1) as server:
        replies = [await server.single("bool") for _ in range(3)]
    assert replies[-1].status == 429
    assert replies[-1].json["errorDetails"] == "too many requests without a key"


async def test_codings_that_nobody_decodes_are_501(server: Server) -> None:
    """Rather than reading the compressed bytes as if they were JSON."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    status, headers, body = await raw(server, head % FLAGS.encode() + b"0\r\n\r\n")
    assert (status, headers["connection"]) == (501, "close")
    assert "gzip" in json.loads(body)["errorDetails"]


async def test_24_a_surprise_is_500_without_its_text(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it; the client gets what it can parse."""

    def fail(*_: Any) -> None:
        raise RuntimeError("the secret")

    monkeypatch.setattr(server.answering, "evaluate", fail)
    single = await server.single("bool")
    bulk = await server.bulk()
    assert single.status == bulk.status == 500
    expected = {"errorCode": "GENERAL", "errorDetails": "internal error"}
    assert single.json == {"key": "bool", **expected}
    assert bulk.json == expected
    assert "the secret" in caplog.text


async def test_25_a_body_beyond_the_bound_is_413() -> None:
    """Announced, in pieces, or once inflated."""
    async with running_server(max_body_bytes=2000) as server:
        large = b'{"context":{"a":"' + b"x" * 3000 + b'"}}'

        async def pieces() -> Any:
            for _ in range(30):
                yield b" " * 100

        announced = await server.send("POST", f"{FLAGS}/bool", large)
        inflated = await server.send(
            "POST", f"{FLAGS}/bool", gzip.compress(large), {"Content-Encoding": "gzip"}
        )
        async with server.session.post(server.url + FLAGS, data=pieces()) as chunked:
            chunked_status = chunked.status
        assert (announced.status, inflated.status, chunked_status) == (413, 413, 413)
        assert announced.json["errorCode"] == "GENERAL"
        assert (await server.single("bool")).status == 200


async def test_25_a_body_that_is_announced_too_large_is_not_waited_for(server: Server) -> None:
    """The answer comes before any of it."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"POST {FLAGS} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in head


async def test_25_a_compressed_body_is_read(server: Server) -> None:
    """And one that only says so is 400."""
    good = gzip.compress(b'{"context":{"plan":"pro"}}')
    reply = await server.send("POST", f"{FLAGS}/ruled", good, {"Content-Encoding": "gzip"})
    assert reply.json["value"] is True
    reply = await server.send("POST", f"{FLAGS}/ruled", b"{}", {"Content-Encoding": "gzip"})
    assert reply.status == 400


async def test_26_metadata_is_flat_or_absent(server: Server) -> None:
    """Never null, never nested."""
    for item in (await server.bulk({"targetingKey": "u-1", "plan": "pro"})).json["flags"]:
        for value in item.get("metadata", {}).values():
            assert isinstance(value, str | int | float | bool)
    assert "metadata" not in (await server.single("text")).json


# Bulk


async def test_27_bulk_answers_200_with_a_list(server: Server) -> None:
    """With the trailing slash too, and empty when there is nothing."""
    assert len((await server.bulk()).json["flags"]) == len(DEFINITIONS)
    assert (await server.send("POST", f"{FLAGS}/", b"{}")).status == 200
    await server.offer({})
    assert (await server.bulk()).json["flags"] == []


async def test_28_a_failing_flag_does_not_fail_the_call(server: Server) -> None:
    """It is an item of its own, with its error."""
    reply = await server.bulk()
    items = {item["key"]: item for item in reply.json["flags"]}
    assert reply.status == 200
    assert items["broken"]["errorCode"] == "PARSE_ERROR"
    assert items["split"]["errorCode"] == "TARGETING_KEY_MISSING"
    assert items["bool"]["value"] is True
    for item in items.values():
        if "errorCode" in item:
            assert item["errorCode"] in ERROR_CODES
            assert isinstance(item["errorDetails"], str)


async def test_29_every_item_has_a_key_and_the_order_is_fixed(server: Server) -> None:
    """By the bytes of the keys."""
    found = [item["key"] for item in (await server.bulk()).json["flags"]]
    assert found == sorted(DEFINITIONS, key=str.encode)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["targetingKey", "plan", "email"]) | st.text()
VALUES = st.sampled_from(["u-1", "pro", 1, True]) | JSON


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=5, max_size=5))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_30_an_item_is_the_single_answer(contexts: list[dict[str, Any]]) -> None:
    """For every flag and any context, byte for byte."""

    async def compare() -> None:
        async with running_server() as server:
            for context in contexts:
                bulk = await server.bulk(context)
                singles = [
                    (await server.single(quote(key, safe=""), context)).body
                    for key in sorted(DEFINITIONS, key=str.encode)
                ]
                assert bulk.body == b'{"flags":[' + b",".join(singles) + b"]}"

    asyncio.run(compare())


@pytest.mark.parametrize("body", [b'{"context":5}', b"{", b"[]"])
async def test_31_an_invalid_request_is_400_without_a_key(server: Server, body: bytes) -> None:
    """It concerns no flag."""
    reply = await server.send("POST", FLAGS, body)
    assert reply.status == 400
    assert set(reply.json) == {"errorCode", "errorDetails"}
    assert reply.json["errorCode"] == "INVALID_CONTEXT"


async def test_32_a_client_key_sees_only_client_side_flags(keyed: Server) -> None:
    """In bulk as in single, where the others are not found, like any that do not exist."""
    everything = (await keyed.bulk(X_API_Key=SERVER_KEY)).json["flags"]
    client = (await keyed.bulk(X_API_Key=CLIENT_KEY)).json["flags"]
    assert len(everything) == len(DEFINITIONS)
    assert [item["key"] for item in client] == ["ruled", "text", "tracked"]
    hidden = await keyed.single("bool", X_API_Key=CLIENT_KEY)
    absent = await keyed.single("none", X_API_Key=CLIENT_KEY)
    assert hidden.status == absent.status == 404
    assert hidden.body == absent.body.replace(b"none", b"bool")


EXPERIMENT = {
    "defaultValue": False,
    "rules": [{"key": "exp", "variations": [False, True], "coverage": 0, "hashAttribute": "id"}],
}
FORCED = {"id": "u-1", "$growthbook": {"forcedVariations": {"exp": 1}}}


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ({"X_API_Key": SERVER_KEY}, True),
        ({"X_API_Key": CLIENT_KEY}, False),
        ({"X_API_Key": SERVER_KEY, "Origin": "https://example.com"}, False),
        ({"X_API_Key": SERVER_KEY, "Origin": "null"}, False),
    ],
)
async def test_32a_only_servers_choose_a_variation(headers: dict[str, str], value: bool) -> None:
    """What nobody is given yet, a public key or a browser cannot get by asking for it."""
    source = {"dialect": "growthbook", "definition": EXPERIMENT}
    experiment = flag("boolean", ON_OFF, source=source, client_side=True)
    async with running_server({"exp": experiment}, more=keys()) as server:
        for _ in range(3):  # what is asked again takes a shorter way
            assert (await server.single("exp", FORCED, **headers)).json["value"] is value
        [item] = (await server.bulk(FORCED, **headers)).json["flags"]
        assert item["value"] is value
        # and it is not told apart from who did not ask for it
        tags = [
            (await server.bulk(context, **headers)).headers["ETag"]
            for context in (FORCED, {"id": "u-1"})
        ]
        assert (tags[0] != tags[1]) is value


async def test_32b_without_keys_a_program_may_and_a_browser_may_not() -> None:
    """A sidecar of one's own machine is open to both."""
    experiment = flag("boolean", ON_OFF, source={"dialect": "growthbook", "definition": EXPERIMENT})
    async with running_server({"exp": experiment}) as server:
        assert (await server.single("exp", FORCED)).json["value"] is True
        assert (await server.single("exp", FORCED, Origin="http://localhost")).json[
            "value"
        ] is False


ASKS = {
    "launchdarkly": {
        "on": True,
        "variations": [True, False],
        "offVariation": 1,
        "fallthrough": {"variation": 0},
        "prerequisites": [{"key": "secret-plan", "variation": 0}],
    },
    "unleash": {
        "name": "seen",
        "enabled": True,
        "strategies": [],
        "dependencies": [{"feature": "secret-plan"}],
    },
}


@pytest.mark.parametrize("dialect", [None, *ASKS])
@pytest.mark.parametrize("asked", ["hidden", "seen", "gone"])
async def test_32c_a_client_key_learns_no_key_of_a_flag_it_cannot_see(
    dialect: str | None, asked: str
) -> None:
    """That a prerequisite failed is told; of which flag, where that one is `client_side`, too."""
    if dialect is None:
        wanted = {"prerequisites": [{"flag": "secret-plan", "variants": ["on"]}]}
        more: Any = {"off_variant": "off", **wanted}
    else:
        more = {"source": {"dialect": dialect, "definition": ASKS[dialect]}}
    flags = {
        "seen": flag("boolean", ON_OFF, client_side=True, **more),
        "server": flag("boolean", ON_OFF, **more),
        "secret-plan": flag("boolean", ON_OFF, enabled=False, client_side=asked == "seen"),
    }
    if asked == "gone":
        del flags["secret-plan"]
    async with running_server(flags, more=keys()) as server:
        single = await server.single("seen", {"targetingKey": "u"}, X_API_Key=CLIENT_KEY)
        bulk = await server.bulk({"targetingKey": "u"}, X_API_Key=CLIENT_KEY)
        for reply in (single, bulk):
            assert reply.status == 200
            assert (b"secret-plan" in reply.body) is (asked == "seen")
        hidden = await server.single("server", {"targetingKey": "u"}, X_API_Key=SERVER_KEY)
        assert b"secret-plan" in hidden.body  # those who see every flag are told


async def test_32d_a_prerequisite_that_is_opened_is_named(keyed: Server) -> None:
    """And one that is closed is not: the flags that ask it are compiled anew."""
    wanted = {"prerequisites": [{"flag": "other", "variants": ["on"]}], "off_variant": "off"}
    seen = flag("boolean", ON_OFF, client_side=True, **wanted)
    for is_open in (False, True, False):
        other = flag("boolean", ON_OFF, enabled=False, client_side=is_open)
        await keyed.offer({"seen": seen, "other": other}, keys())
        reply = await keyed.single("seen", X_API_Key=CLIENT_KEY)
        assert ("prerequisite" in reply.json.get("metadata", {})) is is_open


async def test_33_the_etag_is_strong_and_the_same_on_every_replica(server: Server) -> None:
    """Whatever the epoch and revision that led to the same flags."""
    tag = (await server.bulk({"plan": "pro"})).headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    async with running_server(None) as replica:
        replica.revision = 76
        await replica.offer(DEFINITIONS, epoch="another")
        assert (await replica.bulk({"plan": "pro"})).headers["ETag"] == tag


async def test_34_a_matching_tag_is_304_without_a_body(server: Server) -> None:
    """Nothing but the head on the wire, and the tag again."""
    tag = (await server.bulk()).headers["ETag"]
    status, headers, body = await raw(
        server,
        f"POST {FLAGS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        f"If-None-Match: {tag}\r\n\r\n".encode(),
    )
    assert (status, headers["etag"], body) == (304, tag, b"")
    assert "content-length" not in headers
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize("form", ['"x", {tag}', "*", "W/{tag}", "{bare}", '"a",W/"b" , {tag}'])
async def test_35_every_form_of_if_none_match_is_understood(server: Server, form: str) -> None:
    """Lists, any, weak and unquoted ones."""
    tag = (await server.bulk()).headers["ETag"]
    header = form.format(tag=tag, bare=tag.strip('"'))
    assert (await server.bulk(If_None_Match=header)).status == 304


async def test_35_several_headers_are_one_list(server: Server) -> None:
    """And what browsers send beside it means nothing."""
    tag = (await server.bulk()).headers["ETag"]
    status, _, _ = await raw(
        server,
        f'POST {FLAGS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: "y"\r\n'
        f"If-None-Match: {tag}\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n\r\n".encode(),
    )
    assert status == 304
    assert (await server.bulk(If_None_Match='"other"')).status == 200


async def test_36_the_old_tag_with_another_context_is_200(server: Server) -> None:
    """JavaScript clients send it after a change of context, and would keep the old user's flags."""
    tag = (await server.bulk({"targetingKey": "u"})).headers["ETag"]
    reply = await server.bulk({"targetingKey": "u", "plan": "pro"}, If_None_Match=tag)
    assert reply.status == 200
    assert reply.headers["ETag"] != tag


async def test_36_attributes_that_no_flag_reads_keep_the_tag(server: Server) -> None:
    """A clock in the context must not defeat every cache."""
    tag = (await server.bulk({"plan": "pro", "now": 1})).headers["ETag"]
    assert (await server.bulk({"now": 2, "plan": "pro"}, If_None_Match=tag)).status == 304


BASE = flag("boolean", ON_OFF, rules=[rule("on", "plan", "pro")], metadata={"a": 1})


@pytest.mark.parametrize(
    "changed",
    [
        {**BASE, "variants": {"on": True, "off": True}},
        {**BASE, "variants": {"on": True, "no": False}, "fallthrough": {"variant": "no"}},
        {**BASE, "rules": []},
        {**BASE, "metadata": {"a": 2}},
        {**BASE, "rules": [rule("on", "plan", "pro", op="equalz")]},
        {**BASE, "enabled": False},
    ],
    ids=["value", "variant", "reason", "metadata", "error", "disabled"],
)
async def test_37_the_tag_changes_with_anything_in_the_answer(server: Server, changed: Any) -> None:
    """A tag that stays would hide the change from every client."""
    await server.offer({"f": BASE})
    before = await server.bulk()
    await server.offer({"f": changed})
    after = await server.bulk(If_None_Match=before.headers["ETag"])
    assert after.status == 200
    assert after.headers["ETag"] != before.headers["ETag"]


async def test_37_going_back_gives_the_first_tag_again(server: Server) -> None:
    """A revert is published, and clients that still hold the old answer need not fetch it."""
    await server.offer({"f": BASE})
    before = (await server.bulk()).headers["ETag"]
    await server.offer({"f": {**BASE, "enabled": False}})
    await server.offer({"f": BASE})
    assert (await server.bulk()).headers["ETag"] == before


RAMP = {
    "variant": "on",
    "else": "off",
    "from": 0,
    "to": 100_000,
    "start": "2026-12-01T00:00:00Z",
    "end": "2026-12-08T00:00:00Z",
}
TIMED = {
    "plain": flag("boolean", ON_OFF),
    "window": flag(
        "boolean",
        ON_OFF,
        rules=[{**rule("off", "plan", "pro"), "active": {"from": "2026-12-01T00:00:00Z"}}],
    ),
    "ramp": flag("boolean", ON_OFF, fallthrough={"ramp": RAMP}),
    "weekday": flag(
        "boolean",
        ON_OFF,
        rules=[
            {
                "id": "r",
                "when": {"op": "weekday", "values": ["sat", "sun"]},
                "serve": {"variant": "off"},
            }
        ],
    ),
}


async def test_38_the_tag_follows_the_time_where_the_result_does(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that polls sees a window open and a ramp reach it, though nothing was published."""
    clock = [parse_moment("2026-11-30T12:00:00Z") or 0]
    monkeypatch.setattr(answering, "_now_ms", lambda: clock[0])
    await server.offer(TIMED)
    context = {"targetingKey": "u-1", "plan": "pro"}
    tag, body, changes = "", b"", 0
    for _ in range(24 * 10):
        clock[0] += 3_600_000
        reply = await server.bulk(context, If_None_Match=tag)
        fresh = await server.bulk(context)
        assert (reply.status == 304) is (fresh.headers["ETag"] == tag)
        if reply.status == 304:
            assert fresh.body == body
        else:
            changes += 1
        tag, body = fresh.headers["ETag"], fresh.body
    # the first answer; the window and the ramp's start; this unit on the ramp; two weekends, the
    # end of one after the ramp's start; the ramp's end
    assert 5 <= changes <= 9


async def test_39_errors_have_no_tag_and_nothing_is_cached_by_others(server: Server) -> None:
    """A shared cache must not hand one user's flags to another."""
    assert "ETag" not in (await server.send("POST", FLAGS, b"{")).headers
    assert (await server.bulk()).headers["Cache-Control"] == "private, no-cache"
    assert (await server.single("bool")).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("value", ["1771622898", "2026-12-01T00:00:00Z", "", "%22x%22", "%00"])
async def test_40_what_the_stream_announced_is_accepted(server: Server, value: str) -> None:
    """Never a reason to refuse."""
    query = f"?flagConfigEtag={value}&flagConfigLastModified={value}"
    assert (await server.bulk(query=query)).status == 200


async def test_42_no_event_streams_are_offered(server: Server) -> None:
    """A client would ask for them for ever."""
    assert "eventStreams" not in (await server.bulk()).json


# Authentication


@pytest.mark.parametrize("key", [SERVER_KEY, CLIENT_KEY])
@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
async def test_52_both_headers_carry_a_key(keyed: Server, key: str, name: str) -> None:
    """Each alone is enough; the scheme's case does not matter."""
    values = [key] if name == "X-API-Key" else [f"Bearer {key}", f"bearer {key}"]
    for value in values:
        reply = await keyed.send("POST", f"{FLAGS}/text", b"{}", {name: value})
        assert reply.status == 200


async def test_52_another_scheme_is_a_wrong_key(keyed: Server) -> None:
    """Not a missing one."""
    reply = await keyed.single("bool", Authorization=f"Basic {SERVER_KEY}")
    assert reply.status == 401


async def test_53_a_deleted_key_is_refused_at_once(keyed: Server) -> None:
    """Keys come with the snapshot, without a restart."""
    assert (await keyed.single("bool", X_API_Key=SERVER_KEY)).status == 200
    left = {name: key for name, key in keys().items() if name[1] != "k0"}
    await keyed.offer(DEFINITIONS, left)
    assert (await keyed.single("bool", X_API_Key=SERVER_KEY)).status == 401


# CORS

SHOP = "https://shop.example"
PREFLIGHT = {
    "Origin": SHOP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/bool", *REPORTS])
async def test_54_a_preflight_needs_no_key(path: str) -> None:
    """Browsers send it without one; before the first snapshot too."""
    async with running_server(
        None, open_without_keys=False, origins=(SHOP,), cors_headers=("x-more",)
    ) as server:
        reply = await server.send("OPTIONS", path, None, PREFLIGHT)
        assert reply.status == 204
        assert reply.headers["Access-Control-Allow-Origin"] == SHOP
        assert reply.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
        allowed = set(reply.headers["Access-Control-Allow-Headers"].split(", "))
        assert allowed == {
            *("authorization", "content-type", "if-none-match", "last-event-id", "x-api-key"),
            "x-more",
        }
        assert int(reply.headers["Access-Control-Max-Age"]) > 0


async def test_55_pages_may_read_etag_and_retry_after() -> None:
    """Without this browsers never send If-None-Match."""
    async with running_server(origins=("*",)) as server:
        exposed = (await server.bulk(Origin=SHOP)).headers["Access-Control-Expose-Headers"]
        assert {"ETag", "Retry-After"} <= set(exposed.split(", "))


async def test_56_errors_and_304_carry_the_headers_too() -> None:
    """A page that may not read an error cannot tell it from a broken network."""
    async with running_server(more=keys(), origins=(SHOP,), rate_limit=30) as server:
        key = {"X_API_Key": SERVER_KEY, "Origin": SHOP}
        tag = (await server.bulk(**key)).headers["ETag"]
        replies = [
            await server.bulk(If_None_Match=tag, **key),
            await server.single("none", **key),
            await server.single("broken", **key),
            await server.bulk(Origin=SHOP),
            await server.send("GET", FLAGS, None, {"Origin": SHOP}),
            await server.send("POST", "/elsewhere", b"", {"Origin": SHOP}),
        ]
        while replies[-1].status != 429:
            replies.append(await server.bulk(**key))
        assert {reply.status for reply in replies} >= {304, 404, 400, 401, 405, 429}
        for reply in replies:
            assert reply.headers["Access-Control-Allow-Origin"] == SHOP
            assert "Access-Control-Expose-Headers" in reply.headers


async def test_57_reflected_origins_vary_and_credentials_are_never_allowed() -> None:
    """A cache must keep the answers for two origins apart."""
    async with running_server(origins=(SHOP, "https://two.example")) as server:
        ours = await server.bulk(Origin=SHOP)
        foreign = await server.bulk(Origin="https://evil.example")
        none = await server.bulk()
        assert ours.headers["Access-Control-Allow-Origin"] == SHOP
        for reply in (foreign, none):
            assert "Access-Control-Allow-Origin" not in reply.headers
        for reply in (ours, foreign, none):
            assert reply.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in reply.headers


async def test_57_cors_is_closed_by_default(server: Server) -> None:
    """A preflight gets an answer, but no permission."""
    reply = await server.send("OPTIONS", FLAGS, None, PREFLIGHT)
    assert reply.status == 204
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


# Starting, stopping, connections


async def test_before_the_first_snapshot_a_request_waits_for_it() -> None:
    """An answer that comes late is better than an error that a client keeps."""
    async with running_server(None) as server:
        early = asyncio.create_task(server.single("bool"))
        await server.holder.asked.wait()
        await server.offer(DEFINITIONS)
        assert (await early).status == 200


@pytest.mark.parametrize("path", [f"{FLAGS}/bool", FLAGS, *REPORTS])
async def test_without_any_snapshot_a_request_is_503_with_retry_after(path: str) -> None:
    """Never 401 or 404, which end some clients for good."""
    async with running_server(None, wait_s=0.05, open_without_keys=False) as server:
        reply = await server.send("POST", path, b"{", {"Authorization": "Bearer x"})
        assert reply.status == 503
        assert reply.headers["Retry-After"] == "1"
        assert reply.json["errorCode"] == "GENERAL"


@pytest.mark.parametrize("path", [f"{FLAGS}/bool", FLAGS, *REPORTS])
async def test_who_asks_is_told_when_the_first_snapshot_was_refused(path: str) -> None:
    """And why, by one word of ours: what came is not repeated to everybody."""
    async with running_server(None, wait_s=0.05, open_without_keys=False) as server:
        assert "has not received" in (await server.send("POST", path, b"{}")).json["errorDetails"]
        with pytest.raises(SnapshotRefused):
            await server.offer({"bool": flag("boolean", ON_OFF)}, digest="of another")
        reply = await server.send("POST", path, b"{}")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.json["errorDetails"] == (
            "no flags yet: the snapshot from the control plane was refused (digest: it is damaged)"
        )


@pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/f"])
async def test_a_body_that_comes_after_a_change_is_answered_from_it(path: str) -> None:
    """What is evaluated is what is served then; and it is counted where somebody still looks."""
    async with running_server({"f": flag("boolean", ON_OFF, "off")}) as server:
        parts = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        writer.write(head.encode() + b"{")
        await asyncio.sleep(0.1)  # the head has arrived, and the body is being waited for
        await server.offer({"f": flag("boolean", ON_OFF, "on")})
        writer.write(b"}")
        assert b'"value":true' in await reader.read()
        writer.close()
        rendered, _ = await server.metrics.render("")
        assert b'matrixflag_evaluations_total{flag="f",variant="on",reason="STATIC"} 1' in rendered


async def test_a_waiting_request_ends_when_the_process_stops() -> None:
    """The drain must not take as long as the wait."""
    async with running_server(None, wait_s=60) as server:
        early = asyncio.create_task(server.single("bool"))
        await server.holder.asked.wait()
        server.lifecycle.stopping.set()
        assert (await asyncio.wait_for(early, 5)).status == 503


async def test_one_connection_serves_many_requests(server: Server) -> None:
    """The Python and Node providers open one and do not repeat a dropped request."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for path in (f"{FLAGS}/bool", f"{FLAGS}/none", FLAGS, "/elsewhere", f"{FLAGS}/broken"):
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: close" not in head
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_comes_in_pieces_is_read(server: Server) -> None:
    """requests sends head and body apart."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {FLAGS}/ruled HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 26\r\n\r\n"
    )
    for piece in (head.encode(), b'{"context"', b':{"plan":"pro"}}'):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)  # so that they are not one packet
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b'"value":true' in answer


async def test_freshness_headers_are_told_when_asked_for() -> None:
    """Never in the body, so that answers stay the same bytes."""
    async with running_server(freshness_headers=True) as server:
        reply = await server.single("bool")
        assert (reply.headers["Matrixflag-Revision"], reply.headers["Matrixflag-Age"]) == ("1", "0")


async def test_answers_do_not_tell_which_software_it_is(server: Server) -> None:
    """Versions are for /statusz."""
    assert (await server.bulk()).headers["Server"] == "matrix-flag"


async def test_another_path_says_where_evaluations_are(server: Server) -> None:
    """People mistype paths."""
    reply = await server.send("POST", "/ofrep/v1/configuration", b"{}")
    assert reply.status == 404
    assert "/ofrep/v1/evaluate/flags" in reply.json["errorDetails"]


# Exposures


async def test_a_single_evaluation_of_a_tracked_flag_is_an_exposure(server: Server) -> None:
    """With the unit and all that says how it was decided."""
    await server.single("tracked", {"targetingKey": "u-1"})
    await server.single("tracked", {"targetingKey": "u-1"})
    buffer = server.recorder.buffer
    assert buffer is not None
    (exposure,) = buffer.take(10)
    assert (exposure.flag, exposure.variant, exposure.unit) == ("tracked", "off", "u-1")
    assert (exposure.reason, exposure.count, exposure.revision) == ("SPLIT", 2, 1)


async def test_bulk_evaluations_are_no_exposures(server: Server) -> None:
    """Their values are fetched in advance, and may never be used."""
    await server.bulk({"targetingKey": "u-1"})
    await server.single("split", {"targetingKey": "u-1"})
    assert server.recorder.buffer is not None
    assert server.recorder.buffer.received == 0


async def report(server: Server, *items: Any, **headers: str) -> Any:
    """Report what a client used."""
    body = json.dumps({"exposures": items}).encode()
    return await server.send(
        "POST", "/v1/exposures", body, {"Content-Type": "application/json", **headers}
    )


async def test_clients_report_what_they_used(server: Server) -> None:
    """What cannot be one is rejected by its place, and why; what is not tracked is ignored."""
    reply = await report(
        server,
        {"flag": "tracked", "variant": "on", "unit": "u-2", "reason": "SPLIT"},
        {"flag": "none", "variant": "on", "unit": "u-2"},
        {"flag": "tracked", "variant": "onn", "unit": "u-2"},
        {"flag": "split", "variant": "on", "unit": "u-2"},
        {"flag": "tracked", "variant": "on", "unit": ""},
        {"flag": "tracked", "variant": "on"},
        {"flag": "tracked", "variant": "on", "unit": "u-2", "nme": 1},
        {"flag": "tracked", "variant": "on", "unit": 2},
    )
    assert reply.status == 200
    assert (reply.json["accepted"], reply.json["ignored"]) == (1, 1)
    rejected = reply.json["rejected"]
    assert [each["place"] for each in rejected] == [1, 2, 4, 5, 6, 7]
    words = [each["reason"].partition(":")[0] for each in rejected]
    assert words == ["flag", "variant", "unit", "/unit", "/nme", "/unit"]
    assert server.recorder.rejected == 6
    assert server.recorder.buffer is not None
    (exposure,) = server.recorder.buffer.take(10)
    assert (exposure.unit, exposure.reason, exposure.epoch) == ("u-2", "SPLIT", "e1")


async def test_a_client_key_reports_only_what_it_sees(keyed: Server) -> None:
    """As it evaluates only that."""
    await keyed.offer({"secret": flag("boolean", ON_OFF, track=True)}, keys())
    item = {"flag": "secret", "variant": "on", "unit": "u"}
    reply = await report(keyed, item, **{"X-API-Key": CLIENT_KEY})
    assert reply.json["rejected"] == [{"place": 0, "reason": "flag: there is none of this key"}]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"exposures":{"flag":"a"}}', b'{"exposures":[],"x":1}']
)
async def test_a_bad_report_is_400_and_says_where(server: Server, body: bytes) -> None:
    """Nothing of it is taken."""
    headers = {"Content-Type": "application/json"}
    reply = await server.send("POST", "/v1/exposures", body, headers)
    assert reply.status == 400
    assert reply.json["errorCode"] == "PARSE_ERROR"


@pytest.mark.parametrize("path", REPORTS)
async def test_a_report_must_be_json_by_its_type(server: Server, path: str) -> None:
    """Any page may send plain text to localhost without asking first."""
    reply = await server.send("POST", path, b"{}", {"Content-Type": "text/plain"})
    assert reply.status == 415


async def tell(server: Server, *events: Any, **headers: str) -> Any:
    """Report what units did."""
    body = json.dumps({"events": events}).encode()
    return await server.send(
        "POST", "/v1/events", body, {"Content-Type": "application/json", **headers}
    )


async def test_events_are_taken_told_apart_and_counted(server: Server) -> None:
    """202: they are not stored yet. What is wrong with one is said, and costs no other."""
    events = [
        {"name": "buy", "unit": "u-1", "value": 9.5, "id": "e-1"},
        {"name": "buy", "unit": "u-1", "value": 9.5, "id": "e-1"},
        {"name": "buy"},
    ]
    reply = await tell(server, *events)
    assert reply.status == 202
    assert reply.json == {
        "accepted": 1,
        "duplicates": 1,
        "ignored": 0,
        "clamped": 0,
        "rejected": [{"place": 2, "reason": "/unit: unit is missing"}],
    }
    again = await tell(server, *events)
    assert (again.status, again.json["accepted"], again.json["duplicates"]) == (200, 0, 2)


async def test_without_room_events_are_429_and_can_come_again() -> None:
    """With the same ids, and then they count once."""
    async with running_server(events_max_bytes=2_000) as server:
        events = [{"name": "buy", "unit": "u", "id": str(n)} for n in range(6)]
        assert (await tell(server, *events)).status == 202
        more = [{"name": "buy", "unit": "u", "id": str(n)} for n in range(6, 12)]
        reply = await tell(server, *more)
        assert reply.status == 429
        assert int(reply.headers["Retry-After"]) > 0
        buffer = server.answering.events.buffer
        assert buffer is not None
        buffer.take()
        assert (await tell(server, *more)).json["accepted"] == 6
        many = [{"name": "buy", "unit": "u"} for _ in range(100)]
        reply = await tell(server, *many)
        assert (reply.status, reply.json["errorCode"]) == (413, "GENERAL")


async def test_a_client_key_may_report_events(keyed: Server) -> None:
    """Pages have no other."""
    event = {"name": "buy", "unit": "u"}
    assert (await tell(keyed, event, **{"X-API-Key": CLIENT_KEY})).status == 202


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"events":[],"x":1}'])
async def test_a_bad_report_of_events_is_400_and_says_where(server: Server, body: bytes) -> None:
    """Nothing of it is taken."""
    reply = await server.send("POST", "/v1/events", body, {"Content-Type": "application/json"})
    assert (reply.status, reply.json["errorCode"]) == (400, "PARSE_ERROR")


@pytest.mark.parametrize("path", ["/v1/events/", "//v1/events"])
async def test_events_are_taken_with_slashes_too(server: Server, path: str) -> None:
    """As exposures are."""
    body = b'{"events":[{"name":"buy","unit":"u"}]}'
    reply = await server.send("POST", path, body, {"Content-Type": "application/json"})
    assert reply.status == 202


async def test_requests_are_counted_by_route_and_status(server: Server) -> None:
    """304 and errors too."""
    tag = (await server.bulk()).headers["ETag"]
    await server.bulk(If_None_Match=tag)
    await server.single("none")
    await server.send("POST", "/elsewhere")
    assert server.metrics.requests == {
        ("bulk", 200): 1,
        ("bulk", 304): 1,
        ("single", 404): 1,
        ("other", 404): 1,
    }


async def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    """Its handler is cancelled, not left waiting."""
    async with running_server(None, wait_s=60) as server:
        early = asyncio.create_task(server.bulk())
        await server.holder.asked.wait()
        early.cancel()
        await asyncio.wait_for(server.holder.left.wait(), 5)
