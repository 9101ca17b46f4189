"""What the audit log says a change changed."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit.differences import MAX_DIFFERENCES, MAX_VALUE_BYTES, differences

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
DOCUMENT = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def found(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Return what differs, by place."""
    told, omitted = differences("flag:a", before, after)
    assert omitted == 0
    assert {each.target for each in told} <= {"flag:a"}
    return {each.path: (each.before, each.after) for each in told}


def test_a_switch_is_one_line() -> None:
    """However large the flag is."""
    before = {"variants": {"on": True}, "environments": {"production": {"enabled": False}}}
    after = {"variants": {"on": True}, "environments": {"production": {"enabled": True}}}
    assert found(before, after) == {"/environments/production/enabled": (False, True)}


def test_what_is_made_or_removed_is_told_whole() -> None:
    """At its root."""
    assert found(None, {"a": 1}) == {"": (None, {"a": 1})}
    assert found({"a": 1}, None) == {"": ({"a": 1}, None)}


def test_numbers_of_different_kinds_differ() -> None:
    """1, 1.0 and true are three values of a variant."""
    assert found({"a": 1, "b": 1, "c": 0}, {"a": 1.0, "b": True, "c": 0}) == {
        "/a": (1, 1.0),
        "/b": (1, True),
    }


def test_secrets_are_named_and_not_shown() -> None:
    """Not in a difference, nor in a record that is told whole."""
    assert found({"hash": "old"}, {"hash": "new"}) == {"/hash": ("(not shown)", "(not shown)")}
    told = found(None, {"id": "k", "hash": "abc"})
    assert told == {"": (None, {"id": "k", "hash": "(not shown)"})}


def test_large_values_are_told_by_their_digest() -> None:
    """An entry stays small."""
    ((before, after),) = found({"a": "x" * MAX_VALUE_BYTES}, {"a": "y"}).values()
    assert before.startswith(f"({MAX_VALUE_BYTES + 2} bytes, SHA-256 ")
    assert after == "y"


def test_of_many_differences_the_number_is_told() -> None:
    """Nothing disappears without a word."""
    told, omitted = differences("t", {str(n): 1 for n in range(80)}, {str(n): 2 for n in range(80)})
    assert (len(told), omitted) == (MAX_DIFFERENCES, 80 - MAX_DIFFERENCES)


@given(DOCUMENT, DOCUMENT)
def test_equal_documents_alone_differ_in_nothing(before: Any, after: Any) -> None:
    """Compared as JSON text, which tells 1 from 1.0."""
    told, omitted = differences("t", before, after)
    assert bool(told or omitted) == (_text(before) != _text(after))


def _text(document: Any) -> str:
    return json.dumps(document, sort_keys=True)
