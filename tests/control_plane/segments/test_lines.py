"""Reading the lines of `/units`, whatever pieces they come in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.segments import lines as module
from control_plane.segments.lines import UnitLines, encode_lines
from proxy.contract.problems import Problem
from proxy.contract.steps import finish
from proxy.contract.units import MAX_UNIT_CHARS

WORDS = ("include", "exclude", "remove")


def read(body: bytes, *, removing: bool = True, step: int = 0) -> UnitLines:
    """Return the lines of a body that comes in pieces of so many bytes, or in one."""
    lines = UnitLines(removing=removing)
    for start in range(0, len(body), step or len(body) or 1):
        finish(lines.feed(body[start : start + (step or len(body))]))
    finish(lines.end())
    return lines


def said(lines: UnitLines) -> dict[str, str]:
    """Return the last word on each unit."""
    found: dict[str, str] = {}
    for top in range(256):
        units, words = lines.changes.said(top)
        found |= {u: WORDS[word] for u, word in zip(units, words, strict=True)}
    return found


def only_problem(body: bytes, *, removing: bool = True) -> Problem:
    """Return the one problem of a body."""
    (problem,) = read(body, removing=removing).problems
    return problem


units = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.dictionaries(units, st.sampled_from(WORDS), max_size=20),
    st.booleans(),
    st.booleans(),
    st.integers(1, 50),
)
def test_lines_are_read_however_they_are_cut_and_spelt(
    wanted: dict[str, str], escaped: bool, spaced: bool, step: int
) -> None:
    """Escapes, white space, pieces that end within a character."""
    separators = (" , ", " : ") if spaced else (",", ":")
    texts = [
        json.dumps({w: u}, ensure_ascii=escaped, separators=separators) for u, w in wanted.items()
    ]
    body = "\r\n".join(texts) if spaced else "\n".join(texts)
    lines = read(body.encode(), step=step)
    assert lines.problems == []
    assert said(lines) == wanted


def test_the_last_word_on_a_unit_comes_last() -> None:
    """Order within the body is kept."""
    body = b'{"include":"u"}\n{"exclude":"u"}\n{"remove":"u"}\n{"exclude":"u"}\n'
    assert said(read(body)) == {"u": "exclude"}


@pytest.mark.parametrize("body", [b"", b"\n\n", b" \r\n\t\n"])
def test_lines_without_anything_are_passed_over(body: bytes) -> None:
    """An empty PUT empties the lists."""
    lines = read(body)
    assert (lines.problems, said(lines)) == ([], {})


@given(st.lists(units, max_size=5))
def test_what_is_written_is_read(texts: list[str]) -> None:
    """GET gives what PUT takes."""
    assert said(read(encode_lines("exclude", texts))) == dict.fromkeys(texts, "exclude")


@pytest.mark.parametrize(
    ("line", "pointer", "code"),
    [
        (b"{", "/2", "malformed_json"),
        (b"u-1", "/2", "malformed_json"),
        (b'{"include":"\xff"}', "/2", "malformed_json"),
        (b'{"include":"\\ud800"}', "/2", "malformed_json"),
        (b'{"include":"a"}{"include":"b"}', "/2", "malformed_json"),
        (b'"u"', "/2", "wrong_type"),
        (b'{"include":1}', "/2/include", "wrong_type"),
        (b'{"include":["u"]}', "/2/include", "wrong_type"),
        (b'{"add":"u"}', "/2/add", "unknown_field"),
        (b"{}", "/2", "not_one_of"),
        (b'{"include":"u","exclude":"u"}', "/2", "not_one_of"),
        (b'{"include":"u","include":"v"}', "/2/include", "duplicate_key"),
        (b'{"include":""}', "/2/include", "out_of_range"),
        (b'{"remove":"' + b"u" * (MAX_UNIT_CHARS + 1) + b'"}', "/2/remove", "out_of_range"),
        (b'{"include":"' + b"u" * 20_000 + b'"}', "/2", "out_of_range"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_with_a_line_has_its_number(line: bytes, pointer: str, code: str) -> None:
    """As pointer, from 1; the lines beside it are right."""
    problem = only_problem(b'{"include":"a"}\n' + line + b'\n{"include":"b"}\n')
    assert (problem.pointer, problem.code) == (pointer, code)


def test_a_line_that_is_no_json_says_at_which_column() -> None:
    """In the words of all who read JSON here."""
    problem = only_problem(b'{"include":"a"}\n{"include":"\\ud800"}\n')
    assert problem.message == "this escape is half of a character, at column 13"
    problem = only_problem(b'{"include":1}\n')
    assert problem.message == "this is an integer, not a string"


def test_the_longest_unit_is_taken() -> None:
    """Counted in characters, not bytes."""
    unit = "ä" * MAX_UNIT_CHARS
    assert said(read(encode_lines("include", [unit]))) == {unit: "include"}


def test_a_put_cannot_remove() -> None:
    """It says all that is left."""
    problem = only_problem(b'{"remove":"u"}', removing=False)
    assert (problem.pointer, problem.code) == ("/1/remove", "unknown_field")


def test_every_bad_line_is_listed_up_to_a_hundred() -> None:
    """Then reading stops: a hostile body must not make a long answer."""
    some = read(b"x\n" * 7)
    assert [problem.pointer for problem in some.problems] == [f"/{n}" for n in range(1, 8)]
    assert not some.full
    many = read(b"x\n" * 1_000)
    assert (len(many.problems), many.full) == (100, True)


def test_a_line_without_end_is_given_up() -> None:
    """Before it is held as a whole."""
    lines = UnitLines(removing=True)
    finish(lines.feed(b'{"include":"' + b"u" * 20_000))
    assert lines.full
    assert [problem.code for problem in lines.problems] == ["out_of_range"]


def test_more_lines_than_two_lists_hold_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are all of the same unit."""
    monkeypatch.setattr(module, "MAX_LINES", 10)
    lines = read(b'{"include":"u"}\n' * 11)
    assert (lines.full, [problem.code for problem in lines.problems]) == (True, ["too_many"])


def test_numbers_go_on_from_window_to_window() -> None:
    """A body is looked at in parts of some hundred lines."""
    body = b'{"include":"user-0001"}\n' * 5_000 + b"x\n" + b'{"include":"u"}\n' * 5_000
    assert only_problem(body).pointer == "/5001"
