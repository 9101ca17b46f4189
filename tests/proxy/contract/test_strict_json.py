"""What decoders hide is found, in one walk over the document."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.strict_json import MAX_DEPTH, scan


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
