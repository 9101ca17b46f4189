"""Tests of answers and of conditional requests (RFC 9110, section 13)."""

import contextlib

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import PreconditionFailed
from control_plane.web.respond import (
    check_if_match,
    etag_of,
    json_response,
    no_content,
    not_modified,
    not_modified_response,
    page,
)


def asking(**headers: str) -> web.Request:
    """Return a request with these headers."""
    return make_mocked_request(
        "PUT", "/", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize("header", ['"3"', "*", '"1", "3"', '"1","3"', ' "3" '])
def test_if_match_with_the_current_version_passes(header: str) -> None:
    """Alone, in a list, or any."""
    check_if_match(asking(If_Match=header), 3)


@pytest.mark.parametrize("header", ['"2"', 'W/"3"', "3", '"33"', "", '"1", W/"3"', '"*"'])
def test_if_match_with_another_version_or_a_weak_one_fails(header: str) -> None:
    """A weak tag does not promise equal content. The answer has the current tag."""
    with pytest.raises(PreconditionFailed) as caught:
        check_if_match(asking(If_Match=header), 3)
    assert caught.value.headers["ETag"] == '"3"'


def test_without_if_match_anything_passes() -> None:
    """It is offered, not demanded."""
    check_if_match(asking(), 3)


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"3"', True), ('W/"3"', True), ('"1", "3"', True), ("*", True), ('"4"', False), ("3", False)],
)
def test_if_none_match_compares_weakly(header: str, expected: bool) -> None:
    """Intermediaries that compress mark tags weak."""
    assert not_modified(asking(If_None_Match=header), '"3"') is expected
    assert not_modified(asking(If_None_Match=header), 'W/"3"') is expected
    assert not not_modified(asking(), '"3"')


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_no_header_makes_it_fail_otherwise(header: str) -> None:
    """Whatever comes is a match or none."""
    not_modified(asking(If_None_Match=header), '"3"')
    with contextlib.suppress(PreconditionFailed):
        check_if_match(asking(If_Match=header), 3)


def test_answers_are_what_they_say() -> None:
    """Bodies, headers, and none where none belongs."""
    made = json_response({"a": 1}, status=201, etag=etag_of(1), location="/x")
    assert (made.status, made.body) == (201, b'{"a":1}')
    assert (made.headers["ETag"], made.headers["Location"]) == ('"1"', "/x")
    assert made.content_type == "application/json"
    assert (no_content().status, no_content().body) == (204, None)
    assert page([1], "c").body == b'{"items":[1],"next_cursor":"c"}'
    assert page([]).body == b'{"items":[],"next_cursor":null}'
    assert not_modified_response('"1"').headers["ETag"] == '"1"'
