"""One file: its bytes, its form, the shape of its items."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.validation.notes import MAX_ERRORS, Notes
from control_plane.validation.project import check_files
from proxy.contract.codes import Severity
from tests.control_plane.validation.builders import SIMPLE, found, full, places, text_of

AT = "/flags/0/environments/production"


@pytest.mark.parametrize(
    "document",
    [
        {"flags": [], "segments": []},
        {"flags": [SIMPLE]},
        {"segments": [{"key": "s"}]},
        SIMPLE,
        full(),
        SIMPLE | {"version": 3, "created_at": "x", "updated_at": "y"},
        {"key": "s", "when": {"all": []}},
        {"key": "s", "included": ["u"], "version": 1, "created_at": "x", "updated_at": "y"},
    ],
)
def test_each_form_of_a_file_is_taken(document: dict[str, Any]) -> None:
    """Definitions, and one flag or segment as the API shows and takes it."""
    assert found(document) == []


@pytest.mark.parametrize(
    ("data", "code", "place", "said"),
    [
        (b"", "malformed_json", (1, 1), "the file is empty"),
        (b" \n ", "malformed_json", (1, 1), "the file is empty"),
        (b"[]", "wrong_type", (1, 1), "no JSON object"),
        (b"null", "wrong_type", (1, 1), "no JSON object"),
        (b"[1,", "malformed_json", (1, 4), "ends within"),
        (b"{}", "not_one_of", (1, 1), "neither definitions nor a flag nor a segment"),
        (b'{"flag": []}', "not_one_of", (1, 1), "did you mean 'flags'?"),
        (b'{"flags": 12}', "wrong_type", (1, 11), "flags has to be an array"),
        (b'{"flags": [],\n "segmets": []}', "unknown_field", (2, 2), "did you mean 'segments'?"),
        (b'\xef\xbb\xbf{"flags": []}', "malformed_json", (1, 1), "byte order mark"),
        ('{"flags": []}'.encode("utf-16"), "malformed_json", (1, 1), "UTF-16"),
        (b'{"flags":\n ["\xff"]}', "malformed_json", (2, 4), "byte 13 is not UTF-8"),
        (b"[" * 100_000, "too_deep", (1, 65), "nested deeper than 64"),
    ],
)
def test_a_file_that_is_no_file_of_definitions(
    data: bytes, code: str, place: tuple[int, int], said: str
) -> None:
    """One problem, at its place, in words."""
    (problem,) = found(data)
    assert (problem.code, (problem.line, problem.column)) == (code, place)
    assert said in f"{problem.message} {problem.hint}"


def test_mistakes_of_shape_hide_no_mistakes_of_meaning() -> None:
    """Neither those of other items nor those beside them in the same one."""
    bad = full(
        enabled="yes",
        off_variant="of",
        rules=[
            {"id": "r", "when": {"attribute": "c", "op": "inn"}, "serve": {"variant": "on"}},
            {"id": "r", "when": {"all": [{"segment": "s"}, {"op": 1}]}, "serve": {"variant": "n"}},
            {"when": {"segment": "t"}, "serve": {"rollout": {"arms": [{"variant": "on"}]}}},
            7,
        ],
        targets=3,
    )
    assert places({"flags": [bad | {"tag": 1}, {"key": "b"}]}) == {
        ("0", "/flags/0/tag", "unknown_field"),
        ("0", f"{AT}/enabled", "wrong_type"),
        ("0", f"{AT}/off_variant", "unknown_variant"),
        ("0", f"{AT}/rules/0/when/op", "unknown_operator"),
        ("0", f"{AT}/rules/1/id", "duplicate_rule_id"),
        ("0", f"{AT}/rules/1/when/all/0/segment", "unknown_segment"),
        ("0", f"{AT}/rules/1/when/all/1/op", "wrong_type"),
        ("0", f"{AT}/rules/1/serve/variant", "unknown_variant"),
        ("0", f"{AT}/rules/2/when/segment", "unknown_segment"),
        ("0", f"{AT}/rules/2/serve/rollout/arms/0/weight", "missing_field"),
        ("0", f"{AT}/rules/3", "wrong_type"),
        ("0", f"{AT}/targets", "wrong_type"),
        ("0", "/flags/1/type", "missing_field"),
        ("0", "/flags/1/value", "missing_field"),
    }


@pytest.mark.parametrize("name", ["valeu", "varients", "enviroments"])
def test_a_misspelled_member_is_not_missing_too(name: str) -> None:
    """One mistake, one problem."""
    (problem,) = found({"flags": [{"key": "a", "type": "boolean", name: {}}]})
    assert problem.code == "unknown_field"
    assert problem.hint.startswith("did you mean")


def test_what_is_made_of_a_value_is_told_of_the_value() -> None:
    """The author wrote no variants."""
    flag = {"key": "a", "type": "object", "value": {"x": [2**60]}}
    assert places({"flags": [flag]}) == {("0", "/flags/0/value/x/0", "number_out_of_range")}


@pytest.mark.parametrize(
    ("flag", "column"),
    [
        (b'{"key": "a", "type": "number", "value": 1e400}', 41),
        (b'{"key": "a\\ud800", "type": "number", "value": 1}', 11),
        (b'{"key": "a\\udc00\\ud800", "type": "number", "value": 1}', 11),
        (b'{"key": "\\ud83d\\ude00", "a": "\\\\ud800", "b": "\\ud800"}', 47),
    ],
)
def test_what_only_an_item_cannot_be_read_for_is_placed_in_the_file(
    flag: bytes, column: int
) -> None:
    """On the line where it is, whatever line the item begins on."""
    (problem,) = found(
        b'{"flags": [\n {"key": "b", "type": "string", "value": ""},\n' + flag + b"]}"
    )
    assert (problem.line, problem.column) == (3, column)
    (problem,) = found(b'{"flags": [' + flag + b"]}")
    assert (problem.line, problem.column) == (1, 11 + column)


def test_an_item_that_is_too_deep_costs_no_other() -> None:
    """Nor is it told twice."""
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    data = text_of([SIMPLE | {"metadata": {"m": deep}}, SIMPLE | {"key": "b", "value": 5}])
    assert [(p.code, p.pointer[:8]) for p in found(data)] == [
        ("too_deep", "/flags/0"),
        ("value_type", "/flags/1"),
    ]


def test_environments_that_are_asked_for() -> None:
    """A warning for each that a flag is not configured for; none are asked for by themselves."""
    assert found({"flags": [full()]}) == []
    problems = found({"flags": [full(), SIMPLE | {"key": "b"}]}, environments=("dev", "production"))
    assert [(p.pointer, p.severity) for p in problems] == [("/flags/0/environments", "warning")]
    assert "'dev'" in problems[0].message


def test_a_document_that_contradicts_itself() -> None:
    """In production, or in the environments that are asked for."""
    flag = full() | {"value": False}
    flag["environments"]["staging"] = {"fallthrough": {"variant": "off"}}
    assert [p.code for p in found({"flags": [flag]})] == ["value_disagrees"]
    assert found({"flags": [flag]}, environments=("staging",)) == []


def test_what_was_put_aside_contradicts_nothing() -> None:
    """`enabled` of the environment is unreadable, and not false."""
    flag = full(enabled="yes") | {"enabled": True}
    assert places(flag) == {("0", "/environments/production/enabled", "wrong_type")}


def test_keys_of_files_and_of_the_api_differ() -> None:
    """A file may have keys that the API would not take; a document for the API may not."""
    flag = SIMPLE | {"key": "Größe 5"}
    assert found({"flags": [flag]}) == []
    assert [p.code for p in found(flag)] == ["invalid_key"]


def test_millions_of_mistakes_are_not_read_to_the_end() -> None:
    """The report stays short, and so does the work."""
    (file,) = check_files([("x", b'{"flags": [' + b"1," * 1_000_000 + b"1]}")])
    notes: Notes = file.notes
    assert notes.counts[Severity.ERROR] == MAX_ERRORS
    assert len(notes.kept) == 1_000


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                re.findall(
                    r"\w+",
                    "key type value variants environments production fallthrough rules when serve "
                    "variant rollout arms segment all not op attribute values targets x",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(_json, max_size=3), st.lists(_json, max_size=3), _json)
def test_nothing_makes_it_raise(flags: list[Any], segments: list[Any], other: Any) -> None:
    """Whatever has the words of a definition in it."""
    flag = full(rules=flags, prerequisites=segments) | {"metadata": other}
    found(text_of([*flags, flag, SIMPLE], [*segments, {"key": "s", "when": other}]))
    found(json.dumps(other).encode())


@given(st.binary(max_size=100) | st.text('{}[]:,"\\flags1', max_size=60).map(str.encode))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """Files come from anybody."""
    found(data)
    found(b'{"flags": [' + data + b"]}")
    found(b'{"schema": "1.0"}\n' + data)


def test_an_environment_that_nobody_spoke_of_is_warned_of() -> None:
    """It is configured for nobody if it is misspelled."""
    flag = full()
    flag["environments"]["prodution"] = flag["environments"]["production"]
    (problem,) = found(flag)
    assert (problem.code, problem.severity) == ("unknown_environment", "warning")
    assert problem.pointer == "/environments/prodution"
    assert problem.hint == "did you mean 'production'? --environment names others"
    assert found(flag, environments=("prodution", "production")) == []
