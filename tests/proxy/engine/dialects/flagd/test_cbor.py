"""CBOR as flagd hashes it: one way to write each value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.dialects.flagd import cbor
from proxy.engine.dialects.flagd.cbor import encode, encode_text

KNOWN: list[tuple[Any, str]] = [
    (0, "00"), (10, "0a"), (23, "17"), (24, "1818"), (100, "1864"), (255, "18ff"),
    (256, "190100"), (65_535, "19ffff"), (65_536, "1a00010000"), (1_000_000, "1a000f4240"),
    (2**32 - 1, "1affffffff"), (2**32, "1b0000000100000000"), (2**64 - 1, "1bffffffffffffffff"),
    (-1, "20"), (-24, "37"), (-25, "3818"), (-1_000, "3903e7"), (-(2**63), "3b7fffffffffffffff"),
    (1.5, "f93e00"), (65_504.5, "fa477fe080"), (1.1, "fb3ff199999999999a"),
    (5.960464477539063e-08, "f90001"), (1e300, "fb7e37e43c8800759c"), (0.1, "fb3fb999999999999a"),
    (float("inf"), "f97c00"), (float("-inf"), "f9fc00"), (float("nan"), "f97e00"),
    (False, "f4"), (True, "f5"), (None, "f6"), ("", "60"), ("a", "6161"), ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"), ([], "80"), ([1, [2, 3], [4, 5]], "8301820203820405"), ({}, "a0"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"), ("x" * 24, "7818" + "78" * 24),
    (list(range(25)), "981900010203040506070809" "0a0b0c0d0e0f101112131415161718" "18"),
]  # fmt: skip
"""Of RFC 8949, appendix A, and the edges of its sizes; what has no fraction is an integer."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(("value", "written"), KNOWN, ids=lambda part: str(part)[:40])
def test_values_are_written_as_the_standard_says(value: Any, written: str) -> None:
    """In as few bytes as hold them."""
    assert encode(value).hex() == written


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0, -0.0), (-2, -2.0), (2**63, 2.0**63), ({"a": 1, "b": 2}, {"b": 2, "a": 1.0})],
    ids=str,
)
def test_what_is_the_same_number_is_written_the_same(one: Any, other: Any) -> None:
    """And so are members in another order."""
    assert encode(one) == encode(other)


def test_integers_beyond_64_bits_are_floats() -> None:
    """As any reader of JSON has them."""
    assert encode(2**64).hex() == "fa5f800000"
    assert encode(-(2**64)).hex() == "fadf800000"
    assert encode(10**400) == encode(float("inf"))


def test_members_are_ordered_by_their_names_as_written() -> None:
    """So a shorter name comes first, whatever its letters."""
    assert encode({"aa": 1, "z": 2}).hex() == "a2617a0262616101"
    assert encode({"\u00ff": 1, "aaa": 2}).hex() == "a262c3bf0163616161" + "02"


def test_lone_surrogates_are_written_as_one_character() -> None:
    """A hash is over bytes, and there are none for them."""
    assert encode_text("\ud800") == b"\x63\xef\xbf\xbd"


@given(JSON, st.integers(0, 80))
def test_nesting_only_adds_what_is_around(value: Any, depth: int) -> None:
    """However deep, and at each depth in the same way."""
    deep = value
    for _ in range(depth):
        deep = {"k": [deep, 1]}
    assert encode(deep) == b"\xa1\x61k\x82" * depth + encode(value) + b"\x01" * depth


def test_deeper_than_python_calls() -> None:
    """A context may be."""
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    assert encode(deep) == b"\x81" * 50_000 + b"\x80"


def test_what_is_forgotten_is_written_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many texts and orders are kept."""
    objects = [{f"{name}{n}": "x", f"a{name}": f"{n}"} for name in "ab" for n in range(9)]
    before = [encode(value) for value in objects]
    monkeypatch.setattr(cbor, "_NAMES", 3)
    monkeypatch.setattr(cbor, "_ORDERS", 2)
    monkeypatch.setattr(cbor, "_names", {})
    monkeypatch.setattr(cbor, "_orders", {})
    for _ in range(2):
        assert [encode(value) for value in objects] == before
    assert len(cbor._names) <= 3
    assert len(cbor._orders) <= 2


def test_what_is_long_is_not_kept() -> None:
    """Contexts come from anybody."""
    long = "n" * 10_000
    many = {f"{n:040}": n for n in range(50)}
    kept = len(cbor._orders)
    encode({"a": long, long: 1})
    encode(many)
    assert long not in cbor._names
    assert len(cbor._orders) == kept
