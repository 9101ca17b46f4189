"""Values as they are shown: short, and always possible to write."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from proxy.engine.shown import compact, moment, several, shown, text
from tests.proxy.engine.strategies import NASTY, any_json


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "x", "", [1, "a"], {"a": [1]}, 2**63])
def test_a_short_value_is_shown_as_it_is(value: Any) -> None:
    """With its type."""
    assert shown(value) == value
    assert type(shown(value)) is type(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 500, "x" * 120 + "..."),
        ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, "... 2 more"]),
        ([[[[1]]]], [[["[...]"]]]),
        ({"a": {"b": {"c": {"d": 1}}}}, {"a": {"b": {"c": "{...}"}}}),
        (10**400, "an integer of 1329 bits"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("a\ud800b", "a\\ud800b"),
    ],
)
def test_a_long_or_odd_value_is_cut(value: Any, expected: Any) -> None:
    """And says that it was."""
    assert shown(value) == expected


def test_what_is_long_in_all_is_shown_as_text() -> None:
    """Cut off, too."""
    cut = shown(dict.fromkeys("abcde", "y" * 100))
    assert isinstance(cut, str)
    assert len(cut) == 203
    assert cut.startswith('{"a": "yyy')
    assert cut.endswith("...")


@settings(max_examples=300, deadline=None)
@given(any_json)
def test_anything_can_be_written(value: Any) -> None:
    """Whatever a context holds."""
    for each in (value, [value, *NASTY], {"a": value}):
        assert len(msgspec.json.encode(shown(each))) < 2_000
        assert len(compact(each).encode()) < 2_000


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_796_115_600_001, "2026-12-01T09:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**62, "4611686018427387904 ms after 1970"),
        (-(10**400), "an integer of 1329 bits ms after 1970"),
    ],
)
def test_a_moment_is_written_as_a_date(at_ms: int, expected: str) -> None:
    """As far as there are dates."""
    assert moment(at_ms).replace('"', "") == expected


def test_of_several_values_the_first_are_shown() -> None:
    """With how many more there are."""
    assert several(["a", 1], 8) == '"a", 1'
    assert several(list(range(10)), 3) == "0, 1, 2, and 7 more"


def test_text_is_cut_and_can_be_written() -> None:
    """A key of a megabyte, or half a pair."""
    assert text("x" * 300) == "x" * 256 + "..."
    assert text("ä\udfff") == "ä\\udfff"


def test_what_has_no_utf8_is_escaped_once() -> None:
    """In text, and in a value that is written as JSON, which has escapes of its own."""
    assert text("a\ud83d") == r"a\ud83d"
    assert compact("a\ud83d") == r'"a\ud83d"'
    assert compact({"\ud83d": ["\ud83d", "\\"]}) == r'{"\ud83d": ["\ud83d", "\\"]}'
    assert shown("a\ud83d") == r"a\ud83d"
    long = ["\ud83d" * 60] * 5
    assert r"\\ud83d" not in shown(long)
