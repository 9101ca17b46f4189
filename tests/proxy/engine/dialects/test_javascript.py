"""Values as JavaScript takes them.

The tables are what node 20 says.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.dialects.javascript import (
    MAX_TEXT_CHARS,
    TooMuch,
    less,
    not_more,
    number,
    number_text,
    strictly_equal,
    text,
    utf8,
)

NUMBERS: list[tuple[Any, str]] = [
    (0, "0"),
    (-0.0, "0"),
    (1, "1"),
    (-1, "-1"),
    (0.1, "0.1"),
    (1e21, "1e+21"),
    (100000000000000000000, "100000000000000000000"),
    (123456789012345680000, "123456789012345680000"),
    (1e-07, "1e-7"),
    (1e-06, "0.000001"),
    (1.234e-06, "0.000001234"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (2**53, "9007199254740992"),
    (2**53 + 1, "9007199254740992"),
    (10**400, "Infinity"),
    (-(10**400), "-Infinity"),
    (1.5e300, "1.5e+300"),
    (-1e-07, "-1e-7"),
    (100, "100"),
    (1234.5678, "1234.5678"),
    (1e22, "1e+22"),
    (4.35, "4.35"),
]

TEXTS = [
    ("", "0"),
    (" ", "0"),
    ("1", "1"),
    (" 12\n", "12"),
    ("1.5", "1.5"),
    (".5", "0.5"),
    ("5.", "5"),
    ("1e3", "1000"),
    ("0x1f", "31"),
    ("0b11", "3"),
    ("0o17", "15"),
    ("-0x1", "NaN"),
    ("abc", "NaN"),
    ("1a", "NaN"),
    ("Infinity", "Infinity"),
    ("-Infinity", "-Infinity"),
    ("infinity", "NaN"),
    ("1_0", "NaN"),
    ("\xa05", "5"),
    ("+3", "3"),
    ("--3", "NaN"),
    ("1e400", "Infinity"),
]

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    "",
    "0",
    "1",
    "true",
    "null",
    "a",
    [],
    [0],
    [1],
    [[]],
]
VALUES += [["a"], [1, 2], "1,2", {}, "[object Object]", 1.5]

LESS = """
0100110010000010000001
0000010000000000000001
0100110010000010000001
0100110010000010000001
0000010000000000000001
0000000000000000000000
0100110111110110111111
0100110011110010111111
0000010001110000111111
0000000000000000000000
0000000001000000000000
0000000001100000000000
0100110111110110111111
0100110011110010111111
0000010001110000111111
0100110111110110111111
0000000001100000000000
0000000001110000100110
0000000001110000100110
0000000001110000100000
0000000001110000100000
0000010000000000000000
"""
NOT_MORE = """
1111111110001111000001
0100110010000010000001
1111111110001111000001
1111111110001111000001
0100110010000010000001
0000010000000000000000
1111111111111111111111
1111110111110110111111
0100110011110010111111
0000000001000000000000
0000000001100000000000
0000000001110000100000
1111111111111111111111
1111110111110110111111
0100110011110010111111
1111111111111111111111
0000000001110000100000
0000000001110000111110
0000000001110000111110
0000000001110000100110
0000000001110000100110
0000010000000000000001
"""
"""For each value, against each: 1 where it holds."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(("value", "written"), NUMBERS, ids=str)
def test_numbers_are_written_as_javascript_does(value: Any, written: str) -> None:
    """Without a fraction where there is none, an exponent from 21 digits on."""
    assert number_text(value) == written


@pytest.mark.parametrize(("value", "as_number"), TEXTS)
def test_texts_are_read_as_numbers(value: str, as_number: str) -> None:
    """The whole of them, by `Number`."""
    assert number_text(number(value)) == as_number


@pytest.mark.parametrize("index", range(len(VALUES)))
def test_comparisons_coerce(index: int) -> None:
    """`<` and `<=` of each value and every other."""
    one = VALUES[index]
    for place, other in enumerate(VALUES):
        assert less(one, other) is (LESS.split()[index][place] == "1")
        assert not_more(one, other) is (NOT_MORE.split()[index][place] == "1")


def test_things_are_equal_to_themselves_only() -> None:
    """A list and an equal one are two."""
    thing = [1]
    assert strictly_equal(thing, thing)
    assert not strictly_equal(thing, [1])


def test_strict_equality_has_one_kind_of_number_and_knows_booleans() -> None:
    """1 is 1.0, and no boolean; integers that a double does not tell apart are one."""
    assert strictly_equal(1, 1.0)
    assert not strictly_equal(1, True)
    assert strictly_equal(2**53, 2**53 + 1)
    assert not strictly_equal(float("nan"), float("nan"))


def test_text_is_ordered_by_code_units() -> None:
    """Not by code points: an emoji comes before the private use area."""
    assert less("\U0001f600", "\ue000")
    assert not less("\ue000", "\U0001f600")
    assert less("a", "\u00e4")


def test_lists_are_written_with_commas_however_deep() -> None:
    """Lists within them are not told apart, and null is written as nothing."""
    assert text([1, [2, [None, []]], "a", {}]) == "1,2,,,a,[object Object]"
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert text(deep) == ""


def test_text_of_no_end_is_refused() -> None:
    """A list may hold one long text a thousand times."""
    with pytest.raises(TooMuch):
        text(["x" * (MAX_TEXT_CHARS // 10)] * 20)


def test_a_lone_surrogate_is_written_as_one_character() -> None:
    """As writers of JSON do."""
    assert utf8("a\ud800b") == "a\ufffdb".encode()
    assert utf8("\ud83d\ude00") == "\U0001f600".encode()


@given(JSON, JSON)
def test_no_value_raises(one: Any, other: Any) -> None:
    """All of JSON, and more than it."""
    for function in (less, not_more, strictly_equal):
        assert function(one, other) in (True, False)
    assert isinstance(text(one), str)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_written_numbers_are_the_same_read_again(value: float) -> None:
    """No digit is lost, and it is JSON."""
    assert float(json.loads(number_text(value))) == value
    assert number(number_text(value)) == value
