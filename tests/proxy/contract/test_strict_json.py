"""What decoders hide is found, in one walk over the document."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.problems import pointer
from proxy.contract.strict_json import MAX_DEPTH, Place, locate, place_at, scan


def found(data: bytes) -> list[tuple[str, str]]:
    """Return pointer and code of each problem."""
    return [(problem.pointer, problem.code) for problem in scan(data)]


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b'{"a":1,"a":2}', "/a"),
        (b'{ "a" : 1 , "a" : 2 }', "/a"),
        (b'{"a":1,"\\u0061":2}', "/a"),
        (b'{"a\\/b":1,"a/b":2}', "/a~1b"),
        (b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}', "/\U0001f600"),
        (b'{"x":{"b":1,"b":1}}', "/x/b"),
        (b'{"x":["y",{"c":{},"c":[]}]}', "/x/1/c"),
        (b'[0,[{"a":1,"a":1}]]', "/1/0/a"),
        (b'{"a":{"a":1},"a":2}', "/a"),
        (b'{"":1,"":2}', "/"),
        (b'{"a\\"":1,"a\\"":2}', '/a"'),
    ],
)
def test_a_member_given_twice_is_named(data: bytes, where: str) -> None:
    """However it is written, wherever it stands."""
    assert found(data) == [(where, "duplicate_key")]


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'[{"a":1},{"a":2}]',
        b'{"a":"a","b":"a"}',
        b'["a","a"]',
        b'{"a":{"a":{"a":1}}}',
        b'{"a":"{\\"b\\":1,\\"b\\":2}"}',
        b'{"a":"]}","b":"\\\\"}',
        b'"a"',
        b"",
    ],
)
def test_other_repetitions_are_none(data: bytes) -> None:
    """In other objects, as values, within strings."""
    assert scan(data) == []


def test_depth_is_bounded() -> None:
    """Exactly, with objects and lists alike."""
    assert found(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) == []
    assert [code for _, code in found(b"[" * (MAX_DEPTH + 1))] == ["too_deep"]
    assert [code for _, code in found(b'{"a":' * (MAX_DEPTH + 1))] == ["too_deep"]
    assert found(b'{"when":' + b'{"not":' * 70)[0][0] == "/when" + "/not" * (MAX_DEPTH - 1)
    long = b'{"%s":' % (b"n" * 300)
    assert found(long * 70)[0][0] == f"/{'n' * 300}" * 3


def test_depth_is_of_what_is_open() -> None:
    """Not of what was."""
    assert found(b"[" + b"[],{}," * 1_000 + b"[]]") == []


def test_invalid_utf8_is_named_by_its_byte() -> None:
    """Before anything else."""
    [problem] = scan(b'{"a":"\xff"}')
    assert problem.code == "malformed_json"
    assert "byte 6" in problem.message


def test_many_problems_are_not_all_listed() -> None:
    """The answer stays short."""
    assert len(scan(b"{" + b'"a":1,' * 1_000 + b'"a":1}')) == 100


@pytest.mark.parametrize(
    "data",
    [b"}", b"}{", b"]", b":", b",", b'{"a"', b'{"a', b'{"a\\', b'{"\\x":1,"\\x":2}', b"{,}", b"[}"],
)
def test_malformed_documents_do_not_make_it_raise(data: bytes) -> None:
    """The decoder will say what is wrong."""
    scan(data)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]:,"\\a1', max_size=200).map(str.encode))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """Documents come from anybody."""
    scan(data)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(deadline=None)
@given(_json, st.booleans())
def test_what_an_encoder_writes_is_clean(value: Any, ascii_only: bool) -> None:
    """Any JSON of moderate depth, escaped or not."""
    assert scan(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")) == []


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"' + b'\\"' * 200_000,
        b'"' * 400_000,
        b'{"a":"' + b"x" * 400_000 + b"\\",
        b"[" + b"1," * 200_000,
        b"{" + b'"a' * 100_000,
    ],
    ids=range(5),
)
def test_hostile_documents_take_linear_time(data: bytes) -> None:
    """A string without end is one token: it used to be tried again from each quote in it."""
    start = time.perf_counter()
    scan(data)
    assert time.perf_counter() - start < 2


def nodes(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, str | None, Any]]:
    """Yield pointer, own name and value of everything in a document."""
    yield pointer(*path), path[-1] if path and isinstance(path[-1], str) else None, value
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(inner, (*path, step))


def text_at(text: str, place: Place) -> str:
    """Return what begins at a place, found by an editor's way of counting."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])


@settings(deadline=None)
@given(_json, st.booleans(), st.sampled_from([None, 0, 2]), st.sampled_from(["\n", "\r\n", "\r"]))
def test_everything_in_a_document_is_found(
    value: Any, ascii_only: bool, indent: int | None, newline: str
) -> None:
    """Name and value, however it is laid out: what stands there decodes to what was looked for."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    data = text.replace("\n", newline).encode("utf-8", "replace")
    wanted = {where: (name, inner) for where, name, inner in nodes(json.loads(data))}
    locations = locate(data, wanted)
    assert locations.keys() == wanted.keys()
    read = json.JSONDecoder().raw_decode
    for where, (name, inner) in wanted.items():
        assert read(text_at(data.decode(), locations[where].value))[0] == inner
        if name is None:
            assert locations[where].name == locations[where].value
        else:
            assert read(text_at(data.decode(), locations[where].name))[0] == name


@pytest.mark.parametrize(
    ("data", "where", "name", "value"),
    [
        (b'{"a": 1}', "", (1, 1), (1, 1)),
        (b'{"a": 1}', "/a", (1, 2), (1, 7)),
        (b'\n {\n"a" : [1,\n\t 22 ]}', "/a/1", (4, 3), (4, 3)),
        ('{"ä": "€", "b": 2}'.encode(), "/b", (1, 12), (1, 17)),
        (b'{"a~/b": {"\\u0061": 3}}', "/a~0~1b/a", (1, 11), (1, 21)),
        (b'{"a": 1, "a": 2}', "/a", (1, 10), (1, 15)),
        (b'{"a": {"b": 1}}', "/a/c", (1, 7), (1, 7)),
        (b'{"a": {"b": 1}}', "/x/y/z", (1, 1), (1, 1)),
        (b'{"a": [{"b": 1}, {"b": 2}]}', "/a/1/b", (1, 19), (1, 24)),
        (b'{"a": [[0], {"b": [[], 5]}]}', "/a/1/b/1", (1, 24), (1, 24)),
        (b'{"a": {}, "b": []}', "/b/0", (1, 16), (1, 16)),
        (b'{"a": null', "/a", (1, 2), (1, 7)),
        (b"", "/a", (1, 1), (1, 1)),
        (b"}]", "/a", (1, 1), (1, 1)),
    ],
)
def test_a_pointer_leads_to_a_place(
    data: bytes, where: str, name: tuple[int, int], value: tuple[int, int]
) -> None:
    """Or, when there is no such thing, to what is nearest around it."""
    assert locate(data, [where]) == {where: (name, value)}


@pytest.mark.parametrize(
    ("data", "byte", "place"),
    [
        (b"", 0, (1, 1)),
        (b"ab\ncd", 4, (2, 2)),
        (b"ab\r\ncd", 3, (1, 4)),
        (b"ab\r\ncd", 4, (2, 1)),
        (b"ab\rcd", 99, (2, 3)),
        ("€€x".encode(), 6, (1, 3)),
        (b"a\xff\xffx", 3, (1, 4)),
    ],
)
def test_a_byte_has_a_place(data: bytes, byte: int, place: tuple[int, int]) -> None:
    """For what a decoder says of malformed text."""
    assert place_at(data, byte) == place


@settings(deadline=None)
@given(
    st.binary(max_size=200) | st.text('{}[]:,"\\a1\r\n', max_size=200).map(str.encode),
    st.lists(st.text("/a01~", max_size=6), max_size=5),
)
def test_everything_has_a_location(data: bytes, pointers: list[str]) -> None:
    """Whatever the bytes and the pointers are."""
    locations = locate(data, pointers)
    assert locations.keys() == set(pointers)
    assert all(place >= (1, 1) for both in locations.values() for place in both)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 400_000,
        b'{"a":' * 100_000,
        b'{"a":"' + b'\\"' * 200_000,
        b"[" + b"1," * 200_000,
        b"\r\n" * 200_000,
        b'{"a":[' + b'{"a":[1]},' * 40_000,
    ],
    ids=range(6),
)
def test_hostile_documents_are_located_in_linear_time(data: bytes) -> None:
    """As many pointers as a report has, far beyond any depth too; quadratic would take hours."""
    pointers = [f"/a/{n * 39}/a/0" for n in range(1_000)] + ["/0" * 1_000, "/a" * 1_000]
    assert locate(data * 5, pointers).keys() == set(pointers)
