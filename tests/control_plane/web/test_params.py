"""Tests of query parameters as values."""

import pytest
from aiohttp.test_utils import make_mocked_request

from control_plane.errors import BadRequest
from control_plane.web.params import Scope, query_bool, query_scope


def test_the_scope_has_the_missions_defaults() -> None:
    """So that the simple calls name neither."""
    assert query_scope(make_mocked_request("GET", "/")) == Scope("default", "production")
    asked = make_mocked_request("GET", "/?project=p&environment=e")
    assert query_scope(asked) == Scope("p", "e")
    assert query_scope(make_mocked_request("GET", "/?project=&environment=")) == Scope("", "")


def test_yes_and_no_have_one_spelling_each() -> None:
    """`?archived=1` could mean anything."""
    assert query_bool(make_mocked_request("GET", "/?x=true"), "x") is True
    assert query_bool(make_mocked_request("GET", "/?x=false"), "x") is False
    assert query_bool(make_mocked_request("GET", "/"), "x") is None
    for text in ("1", "True", ""):
        with pytest.raises(BadRequest, match="x"):
            query_bool(make_mocked_request("GET", f"/?x={text}"), "x")
