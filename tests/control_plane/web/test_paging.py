"""Tests of pages and cursors."""

import contextlib

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import BadRequest
from control_plane.web.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    decode_cursor,
    encode_cursor,
    query_cursor,
    query_limit,
)


@given(st.text(max_size=200))
def test_a_cursor_comes_back_as_it_went(position: str) -> None:
    """Whatever a key holds."""
    assert decode_cursor(encode_cursor(position)) == position


@given(st.text())
def test_what_is_no_cursor_is_a_bad_request(text: str) -> None:
    """Or happens to be one; never anything else."""
    with contextlib.suppress(BadRequest):
        decode_cursor(text)


def test_a_cursor_is_bounded() -> None:
    """Ours are short."""
    with pytest.raises(BadRequest):
        decode_cursor("A" * 4000)


def test_a_cursor_is_safe_in_a_url() -> None:
    """It is pasted there."""
    cursor = encode_cursor("ÿþ?>/+ü")
    assert make_mocked_request("GET", f"/?cursor={cursor}").query["cursor"] == cursor
    assert query_cursor(make_mocked_request("GET", f"/?cursor={cursor}")) == "ÿþ?>/+ü"
    assert query_cursor(make_mocked_request("GET", "/")) is None


def test_a_limit_has_a_default_and_a_bound() -> None:
    """A page must not hold the loop."""
    assert query_limit(make_mocked_request("GET", "/")) == DEFAULT_LIMIT
    assert query_limit(make_mocked_request("GET", f"/?limit={MAX_LIMIT}")) == MAX_LIMIT


@pytest.mark.parametrize("text", ["0", "-1", "501", "1.0", "ten", "", "1e2", "٣", "9" * 5000])
def test_another_limit_is_a_bad_request(text: str) -> None:
    """Named, with what is taken."""
    with pytest.raises(BadRequest, match="limit"):
        query_limit(make_mocked_request("GET", f"/?limit={text}"))
