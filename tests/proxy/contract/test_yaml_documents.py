"""YAML is read as the JSON its author means, within bounds, and never by guessing."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.yaml_documents import BadYaml, lines_of, read_yaml

WORDS = [
    ("on", "on"),
    ("yes", "yes"),
    ("off", "off"),
    ("NO", "NO"),
    ("2026-12-01", "2026-12-01"),
    ("12:30:00", "12:30:00"),
    ("1_000", "1_000"),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("10", 10),
    ("-3", -3),
    ("0x1F", 31),
    ("0o17", 15),
    ("1.50", 1.5),
    ("1e3", 1000.0),
    ("1.2.3", "1.2.3"),
    ("'10'", "10"),
    ('"true"', "true"),
    ("!!str 10", "10"),
    ("!!float 1", 1.0),
    ("-", [None]),
]


@pytest.mark.parametrize(("text", "value"), WORDS)
def test_words_are_read_by_the_core_schema(text: str, value: Any) -> None:
    """No dates, no `yes`, and the type as well as the value."""
    found, flaws = read_yaml(text.encode())
    assert (type(found), found) == (type(value), value)
    assert flaws == []


def test_keys_are_text_as_they_are_written() -> None:
    """`on` is a common name of a variant."""
    assert read_yaml(b"{on: 1, 2: a, true: b, null: c, 1.0: d}").document == {
        "on": 1,
        "2": "a",
        "true": "b",
        "null": "c",
        "1.0": "d",
    }


def test_anchors_and_merge_keys_are_taken() -> None:
    """What is written wins over what is merged, and the first over the second."""
    text = """
base: &base {a: 1, b: 2}
more: &more {b: 3, c: 4}
one: {<<: *base, b: 5}
two: {<<: [*base, *more]}
same: *base
quoted: {"<<": 1}
"""
    found = read_yaml(text.encode()).document
    assert found["one"] == {"a": 1, "b": 5}
    assert found["two"] == {"a": 1, "b": 2, "c": 4}
    assert found["same"] == {"a": 1, "b": 2}
    assert found["quoted"] == {"<<": 1}


FLAWS = [
    (b"a: 1\na: 2", "/a", "line 2 is at line 1"),
    (b"{a: 1, a: 2}", "/a", "already"),
    (b"a: 010", "/a", "several ways"),
    (b"a: .inf", "/a", "several ways"),
    (b"a: .nan", "/a", "several ways"),
    (b"a: !!python/object:os.system x", "/a", "none of JSON"),
    (b"a: !!binary aGk=", "/a", "none of JSON"),
    (b"!!set {a, b}", "", "none of JSON"),
    (b"b: [1, !!set {a, b}]", "/b/1", "none of JSON"),
    (b"? [a]\n: 1", "/? at line 1", "no plain text"),
    (b"k: &k a\n? *k\n: 1", "/? at line 2", "no plain text"),
    (b"a: *b", "/a", "stands for nothing"),
    (b"a: &x [*x]", "/a/0", "stands for nothing"),
    (b"a: {<<: 1}", "/a", "no mapping"),
    (b"a: 1e999", "/a", "too large"),
    (b"a: " + b"9" * 5000, "/a", "too long"),
    (b"a: " + b"[" * 64 + b"]" * 64, "/a" + "/0" * 63, "deeper"),
    (b"- " * 500 + b"a", "/0" * 64, "deeper"),
]


@pytest.mark.parametrize(("data", "where", "why"), FLAWS)
def test_what_cannot_be_read_in_one_way_is_told_with_its_place(
    data: bytes, where: str, why: str
) -> None:
    """And its line."""
    (flaw,) = read_yaml(data).flaws
    assert flaw.pointer == where
    assert why in flaw.message
    assert "line" in flaw.message


@pytest.mark.parametrize(("data", "_where", "_why"), [each for each in FLAWS if each[1]])
def test_everything_else_is_read(data: bytes, _where: str, _why: str) -> None:
    """What is before it and behind it."""
    text = b"before: [1]\n" + b"it:\n" + b"\n".join(b"  " + line for line in data.split(b"\n"))
    found = read_yaml(text + b"\nbehind: {x: 2}\n")
    assert (found.document["before"], found.document["behind"]) == ([1], {"x": 2})
    assert [flaw.pointer.split("/")[1] for flaw in found.flaws] == ["it"]


BAD = [
    (b"a: 1\n---\nb: 2", "second document"),
    (b"a: [", "no YAML"),
    (b"\xff", "no UTF-8"),
    (b"a: \x00", "no YAML"),
    (b"[" * 100_000, "nest"),
    (b"- " * 100_000 + b"a", "nest"),
    (b"a: [" + b"{b: 1, b: 1}, " * 10_001 + b"]", "more than 10000 mistakes; the first: the key"),
]


@pytest.mark.parametrize(("data", "why"), BAD)
def test_what_is_no_yaml_is_refused_whole(data: bytes, why: str) -> None:
    """With the line, and without taking the process along."""
    with pytest.raises(BadYaml, match=why):
        read_yaml(data)


def test_a_mistake_is_told_wherever_an_alias_brings_it() -> None:
    """Merged, too, and through several; or somebody would be served what nobody meant."""
    text = """
base: &base {a: 1, a: 2}
deep: &deep {in: [*base]}
one: *base
two: {<<: *base}
three: [1, *deep]
word: &word 010
four: {x: *word}
good: {x: 1}
"""
    flaws = read_yaml(text.encode()).flaws
    assert [flaw.pointer for flaw in flaws] == [
        *("/base/a", "/deep/in/0", "/one", "/two/<<", "/three/1", "/word", "/four/x")
    ]


def test_lines_are_found() -> None:
    """Of a member that of its key; of what is not there that of what is around it."""
    text = b"flags:\n  a:\n    x: 1\n  b/c:\n    - 1\n    - y: &y\n        z: 2\n  d: *y\n"
    lines = {"/flags": 1, "/flags/a/x": 3, "/flags/b~1c/1/y/z": 7, "/flags/b~1c/1": 6}
    lines |= {"/flags/a/q/r": 2, "": 1, "/none": 1, "/flags/d/z": 8}
    assert lines_of(text, list(lines)) == lines


def test_a_small_file_cannot_become_a_large_document() -> None:
    """Aliases count as what they stand for."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(BadYaml, match="nodes"):
        read_yaml("\n".join(lines).encode())


_PLAIN = st.characters(
    exclude_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp"), exclude_characters="\ufeff"
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_PLAIN, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(_PLAIN, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_JSON)
def test_json_is_yaml_and_stays_what_it_is(document: Any) -> None:
    """Written as JSON in one line, and by a writer of YAML with quoted strings."""
    text = json.dumps(document, ensure_ascii=False)
    if len(text) < 900:  # a key of flow style has 1,024 characters at most
        assert read_yaml(text.encode()) == (document, [])
    dumped = yaml.safe_dump(json.loads(text), default_style='"', allow_unicode=True)
    assert read_yaml(dumped.encode()) == (document, [])


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab:-[]{}&*!<>|?,#'\"\n 01.~%@"), max_size=60))
def test_any_text_is_a_document_or_refused(text: str) -> None:
    """Nothing else comes out; a document is one that JSON can say."""
    try:
        found = read_yaml(text.encode()).document
    except BadYaml:
        return
    json.dumps(found, allow_nan=False)
