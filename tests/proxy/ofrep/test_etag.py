"""Tags of bulk answers."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ofrep.auth import Scope
from proxy.ofrep.etag import (
    context_etag,
    etag_seed,
    matches,
    result_etag,
    slice_name,
    with_streams,
)

SEED = etag_seed("d" * 64, Scope.ALL)


def tag(context: dict[str, Any], relevant: tuple[str, ...] | None = None) -> str | None:
    """Return the tag of a context."""
    return context_etag(SEED, context, relevant)


def test_the_order_of_members_does_not_matter() -> None:
    """Clients build contexts in any order."""
    assert tag({"a": 1, "b": {"c": 1, "d": 2}}) == tag({"b": {"d": 2, "c": 1}, "a": 1})


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": "1"}, {"a": True}, {"a": None}, {}, {"b": 1}, {"a": [1]}]
)
def test_different_contexts_have_different_tags(other: dict[str, Any]) -> None:
    """Types are told apart, and absent from null."""
    assert tag(other) != tag({"a": 1})


def test_only_what_is_read_counts() -> None:
    """The rest cannot change the result."""
    assert tag({"a": 1, "x": 1}, ("a", "b")) == tag({"x": 2, "a": 1}, ("a", "b"))
    assert tag({"a": 1, "x": 1}, ("x",)) != tag({"a": 1, "x": 2}, ("x",))


def test_snapshot_and_scope_are_part_of_it() -> None:
    """Two keys that see different flags never share a tag."""
    seeds = [etag_seed(d * 64, scope) for d in "de" for scope in Scope]
    assert len({context_etag(seed, {}, None) for seed in seeds}) == 4


@pytest.mark.parametrize(
    "lacking", [("a",), ("b",), ("a", "b"), ("a\nlacks 'b'",), ("a'\nlacks 'b",), ("\ud83d",)]
)
def test_what_is_not_at_hand_is_part_of_it(lacking: tuple[str, ...]) -> None:
    """A digest says what a snapshot is, not whether all of it came; in any order."""
    every: list[tuple[str, ...]] = [(), ("a",), ("b",), ("a", "b"), ("a\nlacks 'b'",)]
    seed = etag_seed("d" * 64, Scope.ALL, lacking)
    alike = [
        other for other in every if etag_seed("d" * 64, Scope.ALL, other).digest() == seed.digest()
    ]
    assert alike == [other for other in every if other == lacking]
    turned = etag_seed("d" * 64, Scope.ALL, reversed(lacking))
    assert turned.digest() == seed.digest()


def test_what_has_no_canonical_form_has_no_tag() -> None:
    """Then the result itself is hashed."""
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert tag({"a": "\ud83d"}) is None
    assert tag({"a": deep}) is None
    assert tag({"a": 2**70}) is None
    assert result_etag(b"a") != result_etag(b"b")


@given(st.text())
def test_any_header_is_understood_or_no_match(header: str) -> None:
    """Headers are what strangers send."""
    assert matches(header, '"abc"') in {True, False}
    assert matches(f'{header},"abc"', '"abc"')


@pytest.mark.parametrize("header", ["", '""', '"ab"', "W/", '"abcd"', "abc d", '"W/abc"'])
def test_another_tag_does_not_match(header: str) -> None:
    """Nearly is not enough."""
    assert not matches(header, '"abc"')


def test_a_tag_says_which_streams_are_offered() -> None:
    """None, and each other."""
    plain = tag({})
    assert plain is not None
    offers = [b',"eventStreams":[1]', b',"eventStreams":[2]']
    tags = [with_streams(plain, offer) for offer in offers]
    assert len({plain, *tags}) == 3
    assert all(re.fullmatch('"[0-9a-f]{32}"', each) for each in tags)
    other = tag({"a": 1})
    assert other is not None
    assert with_streams(other, offers[0]) != tags[0]


def test_a_slice_of_time_has_a_name_that_no_context_s_tag_is() -> None:
    """And each its own."""
    names = [slice_name(SEED, since_ms) for since_ms in (None, 0, 1, 10)]
    assert len(set(names)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert tag({}) not in [f'"{name}"' for name in names]
