"""Tests of request bodies, over HTTP where the connection matters."""

import asyncio
import gzip
import io
import socket
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import BadRequest, Invalid
from control_plane.web import documents
from control_plane.web.documents import decode_document
from proxy.contract.authoring import FlagInput
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Segment
from tests.support.api import ADMIN_TOKEN, Api, running_api

PATH = "/api/v1/keys"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":', b'{"key": 1 2}', b'{"key":"\xff"}', b"{}x"])
def test_what_is_no_json_is_400_and_nothing_else(body: bytes) -> None:
    """Also where the decoder met a wrong member before."""
    with pytest.raises(BadRequest) as caught:
        decode_document(body, Segment)
    assert caught.value.code == "malformed_json"
    assert [p.code for p in caught.value.problems] == [ProblemCode.MALFORMED_JSON]


def test_a_member_given_twice_is_invalid() -> None:
    """Decoders keep the last; a reviewer reads the first."""
    with pytest.raises(Invalid) as caught:
        decode_document(b'{"key":"a","when":{"any":[],"any":[]},"key":"b"}', Segment)
    found = [(p.pointer, p.code) for p in caught.value.problems]
    assert found == [
        ("/when/any", ProblemCode.DUPLICATE_KEY),
        ("/key", ProblemCode.DUPLICATE_KEY),
    ]


def test_a_member_given_twice_hides_no_other_problem() -> None:
    """All of them come at once."""
    with pytest.raises(Invalid) as caught:
        decode_document(b'{"key":"a","key":"b","nam":1}', Segment)
    found = [(p.pointer, p.code) for p in caught.value.problems]
    assert found == [("/key", ProblemCode.DUPLICATE_KEY), ("/nam", ProblemCode.UNKNOWN_FIELD)]


def test_nesting_without_end_is_invalid() -> None:
    """And neither stack nor time is used up."""
    body = b'{"key":"a","when":' + b'{"not":' * 100_000 + b"{}" + b"}" * 100_001
    with pytest.raises(Invalid) as caught:
        decode_document(body, Segment)
    assert [p.code for p in caught.value.problems] == [ProblemCode.TOO_DEEP]


@pytest.mark.parametrize(
    ("kind", "pointer"), [(FlagInput, "/value"), (dict, ""), (Segment, "/included/0")]
)
def test_a_number_that_nothing_can_hold_is_invalid(kind: type, pointer: str) -> None:
    """And is named, as far as its place is known."""
    body = b'{"included":[1e400]}' if kind is Segment else b'{"value":1e400}'
    with pytest.raises(Invalid) as caught:
        decode_document(body, kind)
    (problem,) = caught.value.problems
    assert (problem.pointer, problem.code) == (pointer, ProblemCode.NUMBER_OUT_OF_RANGE)
    assert "string" in problem.hint


def test_all_problems_of_shape_are_listed() -> None:
    """Not the first only."""
    body = b'{"key":1,"name":2,"nam":3,"when":{"all":[{"segment":4}]}}'
    with pytest.raises(Invalid) as caught:
        decode_document(body, Segment)
    assert {p.pointer for p in caught.value.problems} == {
        "/key",
        "/name",
        "/nam",
        "/when/all/0/segment",
    }
    assert "and 3 more" in caught.value.detail


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
MEMBERS = [*FlagInput.__struct_fields__, "none_such"]


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON_VALUES))
def test_a_document_is_taken_or_refused_with_reasons(document: dict[str, object]) -> None:
    """There is no third way, whatever is sent."""
    try:
        decode_document(msgspec.json.encode(document), FlagInput)
    except Invalid as error:
        reasons = error.problems
    else:
        reasons = ["taken"]
    assert reasons


async def test_a_compressed_body_is_read(api: Api) -> None:
    """As gzip; the bound is on what it becomes."""
    headers = JSON | {"Content-Encoding": "gzip"}
    body = gzip.compress(b'{"kind":"server"}')
    assert (await api.ask("POST", PATH, data=body, headers=headers)).status == 201
    bomb = io.BytesIO(gzip.compress(b" " * 50_000_000))
    assert (await api.ask("POST", PATH, data=bomb, headers=headers)).status == 413
    assert (await api.ask("POST", PATH, data=b"no gzip", headers=headers)).status == 400


async def test_a_body_without_a_length_is_bounded_too(api: Api) -> None:
    """Chunked bodies declare none."""

    async def endless() -> object:
        for _ in range(200):
            yield b" " * 65_536

    reply = await api.ask("POST", PATH, data=endless(), headers=JSON)
    assert reply.status == 413


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""],
)
async def test_another_media_type_is_415(api: Api, content_type: str) -> None:
    """And so is another encoding of JSON, and none declared."""
    headers = {"Content-Type": content_type} if content_type else {}
    skip = () if content_type else ("Content-Type",)
    reply = await api.ask(
        "POST", PATH, data=b'{"kind":"server"}', headers=headers, skip_auto_headers=skip
    )
    assert reply.status == 415


async def test_json_with_parameters_is_json(api: Api) -> None:
    """Many clients name the charset."""
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    reply = await api.ask("POST", PATH, data=b'{"kind":"server"}', headers=headers)
    assert reply.status == 201


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_a_body_that_does_not_come_is_given_up(redis_url: str, kind: str) -> None:
    """408 and the connection is closed: a handful of slow callers must not hold everything."""
    async with running_api(redis_url, body_timeout_s=0.2) as api:
        await api.ask("POST", "/api/v1/segments", json={"key": "a"})
        path = PATH if kind == "application/json" else "/api/v1/segments/a/units"
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), family=socket.AF_INET)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: 100\r\n\r\n{{"
        )
        writer.write(head.encode())
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in answer
        writer.close()


async def test_a_large_document_is_read(api: Api) -> None:
    """In a thread, with the same result."""
    body = b'{"kind":"server","name":"' + b"x" * 100_000 + b'"}'
    reply = await api.ask("POST", PATH, data=body, headers=JSON)
    assert reply.status == 422
    assert reply.json["problems"][0]["pointer"] == "/name"


def test_a_compressed_body_is_read_in_small_pieces() -> None:
    """A few bytes can stand for gigabytes."""
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    body = gzip.compress(bytes(10**7))
    sizes = [len(piece) for piece in documents._inflated(inflate, body)]
    assert (sum(sizes), max(sizes)) == (10**7, 128 * 1024)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the document is empty, at line 1, column 1"),
        (b"{", "this ends too early, at line 1, column 2"),
        (b'{"key":\n"\xff"}', "byte 9 is not UTF-8, at line 2, column 2"),
        (b'{"key":"\\ud800"}', "this escape is half of a character, at line 1, column 9"),
    ],
)
def test_malformed_json_is_told_with_its_place(body: bytes, said: str) -> None:
    """In the words of `matrixflag validate`."""
    with pytest.raises(BadRequest) as caught:
        decode_document(body, Segment)
    assert caught.value.problems[0].message == said
