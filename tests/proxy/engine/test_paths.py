"""How an attribute's name finds its value."""

from typing import Any

import pytest

from proxy.engine.paths import split_path, top_level_names
from tests.proxy.engine.builders import answer_to, leaf


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("country", None),
        ("user_id", None),
        ("a.b", ("a", "b")),
        ("a.b.c", ("a", "b", "c")),
        ("a[0]", ("a", 0)),
        ("a[0][12].b", ("a", 0, 12, "b")),
        ("a.b[1]", ("a", "b", 1)),
        ("[0]", (0,)),
        ("a.[0]", ("a", 0)),
        ("a[x]", None),
        ("a[]", None),
        ("a[-1]", None),
        ("a[0", None),
        ("a]", None),
        ("a[x][0]", ("a[x]", 0)),
        ("a..b", ("a", "", "b")),
        (".", ("", "")),
        ("a[٣]", None),
    ],
)
def test_names_are_split_on_dots_and_indexes(name: str, steps: Any) -> None:
    """Brackets without a number belong to the name."""
    assert split_path(name) == steps


CONTEXT = {
    "app.version": "flat",
    "app": {"version": "nested", "list": [{"x": 1}, [2, 3]], "null": None},
    "a[x]": {"0": "name"},
    "list": [None, "one"],
    "text": "abc",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app.version", "flat"),
        ("app.list[0].x", 1),
        ("app.list[1][1]", 3),
        ("list[1]", "one"),
        ("a[x].0", "name"),
    ],
)
def test_a_path_reaches_into_objects_and_lists(name: str, value: Any) -> None:
    """A top-level member of exactly that name goes first."""
    assert answer_to(CONTEXT, leaf(name, "equals", value))


@pytest.mark.parametrize(
    "name",
    [
        *("app.list[2]", "app.list[9999999999999999999]", "app.list.0", "app[0]", "text[0]"),
        *("app.null", "app.null.x", "list[0]", "nothing.x", "[0]", "app.version.x", "list.x"),
        "text.x",
    ],
)
def test_a_path_that_leads_nowhere_is_missing(name: str) -> None:
    """Out of range, through another type, or to null: no error."""
    assert not answer_to(CONTEXT, leaf(name, "exists"))


def test_a_top_level_null_hides_what_a_path_would_find() -> None:
    """It was found, and counts as missing."""
    assert not answer_to({"a.b": None, "a": {"b": 1}}, leaf("a.b", "exists"))


def test_both_members_that_can_matter_are_known() -> None:
    """For caches that ask which attributes a flag reads."""
    assert top_level_names("a.b[0]") == {"a.b[0]", "a"}
    assert top_level_names("a") == {"a"}
    assert top_level_names("[0]") == {"[0]"}
