"""Bounds on text and numbers of things."""

import pytest

from proxy.engine.findings import Findings
from proxy.engine.texts import CONTROL, check_count, check_length, has_utf8


def test_what_is_at_its_bound_is_fine_and_one_more_is_not() -> None:
    """Of characters and of things, each with its own code."""
    findings = Findings()
    check_length(("name",), "ab", 2, findings)
    check_count(("tags",), 2, 2, "tags", findings)
    assert findings.problems == []
    check_length(("name",), "abc", 2, findings)
    check_count(("tags",), 3, 2, "tags", findings)
    assert [(p.pointer, p.code) for p in findings.problems] == [
        ("/name", "out_of_range"),
        ("/tags", "too_many"),
    ]


@pytest.mark.parametrize("text", ["\x00", "a\nb", "\x7f", "\x85"], ids=ascii)
def test_control_characters_are_found(text: str) -> None:
    """Of both blocks, and DEL."""
    assert CONTROL.search(text)


@pytest.mark.parametrize(("text", "good"), [("", True), ("ä\U0001f600", True), ("\ud800", False)])
def test_a_lone_surrogate_cannot_be_written(text: str, good: bool) -> None:
    """All else can."""
    assert has_utf8(text) is good
