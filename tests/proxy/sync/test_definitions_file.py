"""A file of definitions gives the lines that a control plane would publish, and its problems."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.authoring import DefinitionsFile, project
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import EnvironmentConfig, Flag, Serve
from proxy.contract.mending import mend
from proxy.contract.snapshot import Entry, encode_entry, read_entry
from proxy.contract.steps import finish
from proxy.engine import FileUnreadable, compile_snapshot, evaluate, explain, explanation_text
from proxy.sync import definitions_file
from proxy.sync.definitions_file import FileContent, read_definitions
from tests.support.units import long_list, names

SIMPLE = {"key": "a", "type": "boolean", "value": True, "enabled": True}
FULL: dict[str, Any] = {
    "key": "full",
    "type": "string",
    "variants": {"x": "X", "y": "Y"},
    "environments": {
        "production": {"enabled": True, "fallthrough": {"variant": "x"}},
        "staging": {"enabled": True, "fallthrough": {"variant": "y"}},
    },
}


def read(document: Any, environment: str = "production") -> FileContent:
    """Return the content of a file, given as text or as what its JSON says."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    text, flaws = mend(data)
    steps = read_definitions(text, environment, flaws)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            content: FileContent = done.value
            return content


def answers(content: FileContent) -> Mapping[str, Any]:
    """Return the value, or the error code, of each flag of a file."""
    entries: dict[Any, Entry] = {(e.kind, e.key): e for e in map(read_entry, content.lines)}
    steps = compile_snapshot(entries)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            compiled = done.value
            break
    found = {key: evaluate(compiled, key, {}, 0) for key in compiled.flags}
    return {key: answer.error_code or answer.value for key, answer in found.items()}


def codes(content: FileContent) -> list[tuple[str, ProblemCode]]:
    """Return where the problems are and what they are."""
    return [(problem.pointer, problem.code) for problem in content.problems]


def test_a_simple_flag_is_served() -> None:
    """Value and enabled are enough."""
    content = read({"flags": [SIMPLE]})
    assert answers(content) == {"a": True}
    assert content.problems == []


@pytest.mark.parametrize(
    ("given", "pointer"),
    [({"value": "Y"}, "/flags/0/value"), ({"enabled": False}, "/flags/0/enabled")],
)
def test_a_full_flag_that_contradicts_itself_is_quarantined(
    given: dict[str, Any], pointer: str
) -> None:
    """The API refuses it too; nobody knows which of the two was meant."""
    content = read({"flags": [FULL | given, SIMPLE]})
    assert answers(content) == {"full": "PARSE_ERROR", "a": True}
    assert codes(content) == [(pointer, ProblemCode.VALUE_DISAGREES)]


def test_a_flag_that_an_environment_does_not_have_is_disabled_and_said() -> None:
    """A misspelt environment would switch everything off without a word."""
    content = read({"flags": [FULL]}, environment="prodution")
    assert codes(content) == [("/flags/0/environments", ProblemCode.UNKNOWN_ENVIRONMENT)]
    assert "production, staging" in content.problems[0].hint
    assert content.problems[0].severity == "warning"


def test_a_full_flag_is_served_as_its_environment_says() -> None:
    """Each environment has its own."""
    assert answers(read({"flags": [FULL]}, "production")) == {"full": "X"}
    assert answers(read({"flags": [FULL]}, "staging")) == {"full": "Y"}


def test_a_flag_without_the_environment_is_disabled() -> None:
    """As a control plane has it."""
    content = read({"flags": [FULL]}, "development")
    assert b'"enabled"' not in content.lines[0]


def test_the_lines_are_those_a_control_plane_would_publish() -> None:
    """The same flag, the same bytes; an absent salt is the key."""
    config = EnvironmentConfig(fallthrough=Serve(variant="x"), enabled=True)
    flag = Flag(key="full", type="string", variants=FULL["variants"], environments={"p": config})
    assert read({"flags": [FULL]}).lines == [encode_entry("flag", "full", project(flag, "p"))]
    assert b'"salt":"full"' in read({"flags": [FULL]}).lines[0]


def test_segments_are_there_for_flags_to_use() -> None:
    """Before the flags, and sorted by key."""
    beta = {"key": "beta", "when": {"all": []}}
    rule = {"when": {"segment": "beta"}, "serve": {"variant": "y"}}
    config = {"enabled": True, "fallthrough": {"variant": "x"}, "rules": [rule]}
    flag = FULL | {"environments": {"production": config}}
    content = read({"segments": [beta, {"key": "alpha"}], "flags": [flag]})
    assert [read_entry(line)[:2] for line in content.lines] == [
        ("segment", "alpha"),
        ("segment", "beta"),
        ("flag", "full"),
    ]
    assert answers(content) == {"full": "Y"}


def test_archived_flags_are_not_served() -> None:
    """As a control plane has it."""
    assert read({"flags": [SIMPLE | {"archived": True}]}).lines == []


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (SIMPLE | {"surprise": 1}, ("/flags/0/surprise", "unknown_field")),
        (SIMPLE | {"type": "colour"}, ("/flags/0/type", "wrong_type")),
        (SIMPLE | {"enabled": "yes"}, ("/flags/0/enabled", "wrong_type")),
        ({"type": "boolean"}, ("/flags/0/value", "missing_field")),
        ({"value": True}, ("/flags/0/type", "missing_field")),
        (SIMPLE | {"value": "text"}, ("/flags/0/variants/default", "value_type")),
    ],
    ids=range(6),
)
def test_one_bad_flag_is_quarantined_alone(bad: Any, problem: tuple[str, str]) -> None:
    """Its problem is told with its place in the file, and the others are served."""
    content = read({"flags": [bad | {"key": "bad"}, SIMPLE]})
    assert answers(content) == {"a": True, "bad": "PARSE_ERROR"}
    assert codes(content) == [problem]


def test_a_flag_that_cannot_be_read_says_where_to_look() -> None:
    """Also to those who only see its entry, in `/statusz` or the explanation of an answer."""
    content = read({"flags": [SIMPLE, SIMPLE | {"key": "bad", "tags": [1]}]})
    entries: dict[Any, Entry] = {(e.kind, e.key): e for e in map(read_entry, content.lines)}
    compiled = finish(compile_snapshot(entries))
    assert list(compiled.flags["bad"].problems) == content.problems
    assert [(p.pointer, p.code) for p in content.problems] == [
        ("/flags/1/tags/0", ProblemCode.WRONG_TYPE)
    ]
    assert content.problems[0].message == "this is an integer, not a string"
    explanation = explain(compiled, entries, "bad", {}, 0)
    assert "/flags/1/tags/0" in explanation_text(explanation)


@pytest.mark.parametrize("bad", [1, None, [], "flag", {}, {"key": 5}, {"key": ""}])
def test_a_bad_flag_without_a_key_is_left_out(bad: Any) -> None:
    """There is no name it could answer under; the problem says where it is."""
    content = read({"flags": [bad, SIMPLE]})
    assert {key for key in answers(content) if key} == {"a"}
    assert any(where.startswith("/flags/0") for where, _ in codes(content))


@pytest.mark.parametrize("key", ["x" * 257, "a\nb", "\u0000"])
def test_a_flag_of_an_unusable_key_is_left_out(key: str) -> None:
    """Nobody could ask for it."""
    content = read({"flags": [SIMPLE | {"key": key}, SIMPLE]})
    assert answers(content) == {"a": True}
    assert codes(content) == [("/flags/0/key", ProblemCode.INVALID_KEY)]


def test_a_member_given_twice_quarantines_its_flag() -> None:
    """A reviewer reads the first, a decoder keeps the last."""
    content = read(
        b'{"flags":[{"key":"a","type":"boolean","value":true,"enabled":false,"enabled":true},'
        b'{"key":"b","type":"boolean","value":true,"enabled":true}]}'
    )
    assert answers(content) == {"a": "PARSE_ERROR", "b": True}
    assert codes(content) == [("/flags/0/enabled", ProblemCode.DUPLICATE_KEY)]


def test_two_flags_of_one_key_are_both_quarantined() -> None:
    """Nobody knows which is meant."""
    content = read({"flags": [SIMPLE, SIMPLE | {"value": False}, SIMPLE | {"key": "b"}]})
    assert answers(content) == {"a": "PARSE_ERROR", "b": True}
    assert codes(content) == [("/flags/1/key", ProblemCode.DUPLICATE_KEY)]


def test_a_flag_nested_too_deep_is_quarantined_alone() -> None:
    """And flags after it are still looked at as strictly."""
    deep = '{"key":"deep","type":"object","value":' + '{"x":' * 70 + "1" + "}" * 70 + "}"
    twice = '{"key":"twice","type":"boolean","value":true,"value":false,"enabled":true}'
    text = f'{{"flags":[{deep},{twice},{json.dumps(SIMPLE)}]}}'
    content = read(text.encode())
    assert answers(content) == {"deep": "PARSE_ERROR", "twice": "PARSE_ERROR", "a": True}
    assert [code for _, code in codes(content)] == [
        ProblemCode.TOO_DEEP,
        ProblemCode.DUPLICATE_KEY,
    ]
    assert [where.split("/")[2] for where, _ in codes(content)] == ["0", "1"]


def test_a_bad_segment_costs_the_flags_that_use_it() -> None:
    """And no other."""
    rule = {"when": {"segment": "beta"}, "serve": {"variant": "y"}}
    config = {"enabled": True, "fallthrough": {"variant": "x"}, "rules": [rule]}
    flag = FULL | {"environments": {"production": config}}
    content = read({"segments": [{"key": "beta", "whom": 1}], "flags": [flag, SIMPLE]})
    assert answers(content) == {"full": "PARSE_ERROR", "a": True}
    assert codes(content)[0] == ("/segments/0/whom", ProblemCode.UNKNOWN_FIELD)


def test_a_problem_in_another_environment_costs_nothing_here() -> None:
    """It is told all the same."""
    broken = FULL["environments"] | {"staging": {"enabled": True, "fallthrough": {"variant": "z"}}}
    content = read({"flags": [FULL | {"environments": broken}]})
    assert answers(content) == {"full": "X"}
    assert codes(content) == [
        ("/flags/0/environments/staging/fallthrough/variant", ProblemCode.UNKNOWN_VARIANT)
    ]


@pytest.mark.parametrize(
    "number",
    [str(2**53), str(-(2**63)), str(2**64), "1" + "0" * 30, "9" * 4000, "9" * 5000, "1e999"],
    ids=range(7),
)
def test_a_number_no_client_can_read_costs_its_flag_alone(number: str) -> None:
    """However long it is."""
    text = '{"flags":[{"key":"n","type":"integer","enabled":true,"value":%s},%s]}'
    content = read((text % (number, json.dumps(SIMPLE))).encode())
    assert answers(content) == {"n": "PARSE_ERROR", "a": True}
    assert content.problems != []


def test_numbers_keep_their_kind() -> None:
    """A whole number of a number flag has a fraction in its bytes."""
    content = read(
        {
            "flags": [
                {"key": "n", "type": "number", "value": 10, "enabled": True},
                {"key": "i", "type": "integer", "value": 10, "enabled": True},
            ]
        }
    )
    assert b":10.0" in content.lines[1]
    assert b":10}" in content.lines[0]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"flags":{}}',
        b'{"flags":[],"colours":[]}',
        b'{"flags":[],"flags":[]}',
        b'{"flags":[{]}',
        b'{"flags":["\xff"]}',
        b"[" * 100_000,
        b'{"flags":' + b"[" * 100_000,
        b'{"flags":[' + b'{"a":' * 100_000,
        b'{"flags":[]} x',
        b"\xef\xbb\xbf{}",
    ],
    ids=range(15),
)
def test_a_file_that_cannot_be_taken_apart_is_refused(text: bytes) -> None:
    """With what is wrong."""
    with pytest.raises(FileUnreadable) as refused:
        read(text)
    assert refused.value.problems
    assert str(refused.value)


def test_the_digest_is_of_the_content_not_of_the_layout() -> None:
    """Order, spaces and defaults written out make no difference."""
    one = read({"flags": [SIMPLE, FULL]})
    other = read(
        json.dumps({"segments": [], "flags": [FULL, SIMPLE | {"tags": []}]}, indent=4).encode()
    )
    assert one.digest == other.digest
    assert one.lines == other.lines
    assert read({"flags": [SIMPLE | {"value": False}, FULL]}).digest != one.digest


def test_the_frame_is_the_contracts() -> None:
    """The form is declared in the contract; here only its items are left undecoded."""
    frame = definitions_file._Frame
    assert frame.__struct_fields__ == DefinitionsFile.__struct_fields__


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "key": _JSON | st.text(),
            "type": _JSON | st.sampled_from(["boolean", "string", "integer", "number", "object"]),
            "value": _JSON,
            "enabled": st.booleans(),
            "variants": _JSON,
            "environments": _JSON,
            "metadata": _JSON,
            "surprise": _JSON,
        },
    )
)
def test_no_flag_costs_another(flag: Any) -> None:
    """Whatever stands beside it in the file."""
    text = json.dumps({"flags": [flag, SIMPLE | {"key": "good"}]}).encode()
    try:
        content = read(text)
    except FileUnreadable:
        # text that the JSON decoder itself refuses: lone surrogates, NaN
        assert b"\\ud" in text or b"NaN" in text or b"Infinity" in text
        return
    assert answers(content)["good"] is True or flag.get("key") == "good"


def test_a_file_has_no_blobs() -> None:
    """Said at the segment, with what to do instead; flags that name it answer an error."""
    units = long_list(names(1_500)).definition
    segments = [{"key": "long", "units": {"included": units}}]
    rules = [{"when": {"segment": "long"}, "serve": {"variant": "on"}}]
    config = {"enabled": True, "rules": rules, "fallthrough": {"variant": "off"}}
    flag = {
        "key": "a",
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {"production": config},
    }
    content = read({"flags": [flag, SIMPLE | {"key": "b"}], "segments": segments})
    assert codes(content) == [("/segments/0/units", ProblemCode.MISSING_BLOB)]
    assert "at most 20000 units" in content.problems[0].hint
    assert answers(content) == {"a": "PARSE_ERROR", "b": True}


def test_a_file_may_list_as_many_units_as_a_segment_can_have() -> None:
    """Twenty thousand in the file itself."""
    segments = [{"key": "long", "included": names(20_000)}]
    assert read({"flags": [SIMPLE], "segments": segments}).problems == []
