"""What a body is read as; what it says on the wire stands in test_routes."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ofrep.context import BadContext, read_context


@given(st.binary())
def test_any_bytes_are_a_context_or_bad(body: bytes) -> None:
    """Nothing else is raised, whatever is sent."""
    with suppress(BadContext):
        assert isinstance(read_context(body), dict)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b'{"context":[]}', "context is an array, not an object"),
        (b'{"context":"x"}', "context is a string, not an object"),
        (b'{"context":1}', "context is an integer, not an object"),
        (b'{"context":true}', "context is a boolean, not an object"),
        (b"null", "the body is null, not an object"),
    ],
)
def test_it_says_what_came_instead(body: bytes, details: str) -> None:
    """The person who reads it wrote the client."""
    with pytest.raises(BadContext, match=f"^{details}$"):
        read_context(body)


@pytest.mark.parametrize(
    ("body", "context"),
    [
        (rb'{"context":{"a":"\ud83d"}}', {"a": "\ud83d"}),
        (rb'{"context":{"a":"\uD83D","n":12345678901234567890123}}', None),
        (rb'{"context":{"a":"\ud83d\ude00"}}', {"a": "😀"}),
    ],
)
def test_half_a_surrogate_pair_is_kept(body: bytes, context: dict[str, Any] | None) -> None:
    """As it came: it is a string, though none that can be bucketed."""
    read = read_context(body)
    assert context is None or read == context
    assert isinstance(read["a"], str)
