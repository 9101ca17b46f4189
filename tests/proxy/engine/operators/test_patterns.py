"""Regular expressions find what RE2 finds, also where it is not asked."""

from typing import Any

import pytest
import re2  # type: ignore[import-untyped]  # a wheel without types
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from proxy.engine import limits
from proxy.engine.operators.patterns import plain
from tests.proxy.engine.operators.samples import holds, leaf_test, problems_of

_pieces = st.sampled_from(
    [
        *(
            "a",
            "b",
            "A",
            "é",
            "\n",
            " ",
            "-",
            "/",
            "@",
            "#",
            "\0",
            r"\.",
            r"\*",
            r"\\",
            r"\$",
            r"\-",
        ),
        *(
            "^",
            "$",
            r"\A",
            r"\z",
            ".*",
            ".",
            "*",
            "+",
            "?",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            "|",
            "\\",
        ),
        *(
            ".*",
            ".*",
            r"\d",
            r"\ ",
            r"\a",
            r"\_",
            r"\é",
            r"\/",
            r"\n",
            "(?i)",
            "(?s)",
            "(?m)",
            "{2}",
        ),
    ]
)
patterns = st.lists(_pieces, max_size=6).map("".join)
texts = st.text(alphabet="abAé\n .*\\$-@#/\0d_", max_size=6)


def options() -> Any:
    """Return RE2's own defaults, but silent."""
    made = re2.Options()
    made.log_errors = False
    return made


def finds(pattern: str, text: str) -> bool:
    """Return whether RE2 finds a pattern, by the way that it is used everywhere else."""
    return re2.search(pattern, text, options()) is not None


def valid(pattern: str) -> bool:
    """Return whether RE2 takes a pattern."""
    try:
        re2.compile(pattern, options())
    except re2.error:
        return False
    return True


@given(pattern=patterns, values=st.lists(texts, min_size=1, max_size=10))
@example("^a", ["a\n", "\na"])
@example("a$", ["a\n", "a"])
@example("^a.*$", ["a\n", "a"])
@example(".*a", ["\na"])
@settings(max_examples=1_000, deadline=None)
def test_a_plain_pattern_is_found_as_re2_finds_it(pattern: str, values: list[str]) -> None:
    """Reduced to a test of Python's or not; and it is a pattern of RE2 at all."""
    assert valid(pattern) or plain(pattern) is None
    assume(valid(pattern))
    test = leaf_test("matches", pattern)
    for value in values:
        assert test(value) is finds(pattern, value), value


@given(wanted=st.lists(patterns, min_size=1, max_size=5), values=st.lists(texts, max_size=10))
@settings(max_examples=300, deadline=None)
def test_one_of_several_is_enough(wanted: list[str], values: list[str]) -> None:
    """Plain ones and others mixed."""
    assume(all(map(valid, wanted)))
    test = leaf_test("matches", *wanted)
    for value in values:
        assert test(value) is any(finds(pattern, value) for pattern in wanted), value


@pytest.mark.parametrize(
    ("pattern", "kind", "text"),
    [
        ("abc", "has", "abc"),
        ("^abc", "starts", "abc"),
        (r"\Aabc", "starts", "abc"),
        ("abc$", "ends", "abc"),
        (r"abc\z", "ends", "abc"),
        ("^abc$", "is", "abc"),
        (r".*@example\.com$", "ends", "@example.com"),
        ("^/admin.*", "starts", "/admin"),
        (".*.*x.*", "has", "x"),
        ("", "has", ""),
        ("^$", "is", ""),
        (r"a\\b", "has", r"a\b"),
    ],
)
def test_these_are_only_a_text(pattern: str, kind: str, text: str) -> None:
    """The commonest patterns are."""
    assert plain(pattern) == (kind, text)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "a.c",
            "^a.*c$",
            "a*",
            "a|b",
            "(a)",
            "[a]",
            "a{2}",
            "(?i)a",
            r"\d",
            r"\x41",
            "^.*a",
            "a.*$",
        ),
        *("^^a", "a$$", ".*?a", "a.+", r"a\b", r"\Qa\E"),
    ],
)
def test_these_are_more_than_a_text(pattern: str) -> None:
    """Some would be something else without RE2: `.` is not a line's end."""
    assert plain(pattern) is None


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("cat", r"\bcat\b"),
        ("a cat!", r"\bcat\b"),
        ("ABC", "^(?i)abc$"),
        ("a\nb", "^(?s)a.b$"),
        ("x\nfoo\ny", "(?m)^foo$"),
        ("user123", r"^user\d{3}$"),
        ("Größe", r"^Gr.{2}e$"),
        ("日本", r"^\p{Han}{2}$"),
        ("straße", "(?i)STRAßE"),
        ("x" * limits.MAX_MATCHED_CHARS, "^x+$"),
    ],
)
def test_found(value: str, pattern: str) -> None:
    """By character and not by byte."""
    assert holds(value, "matches", pattern)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("cats", r"\bcat\b"),
        ("a\nb", "^a.b$"),
        ("abc\n", "^abc$"),
        ("ABC", "abc"),
        (1, "1"),
        (True, "True"),
        (["a"], "a"),
        ({"a": "a"}, "a"),
    ],
)
def test_not_found(value: Any, pattern: str) -> None:
    """Only strings are looked at."""
    assert not holds(value, "matches", pattern)


@pytest.mark.parametrize("pattern", ["", "a", "^a", "a$", "^a\\z", "a+", "[^b]", "(?s)a.*$"])
def test_a_lone_surrogate_is_never_matched(pattern: str) -> None:
    """It has no UTF-8; so also where Python's own test would find the rest."""
    for value in ("a\ud800", "\udfffa", "a\ud800a"):
        assert not holds(value, "matches", pattern)
    assert holds("a\ud800", "matches", pattern, negate=True)


@pytest.mark.parametrize("pattern", ["x", "^x", "x$", "x+", "^x|y$"])
def test_a_longer_text_than_is_matched_matches_nothing(pattern: str) -> None:
    """Whether the pattern is reduced or not."""
    assert holds("x" * limits.MAX_MATCHED_CHARS, "matches", pattern)
    assert not holds("x" * (limits.MAX_MATCHED_CHARS + 1), "matches", pattern)


@pytest.mark.parametrize(
    ("pattern", "reason", "hint"),
    [
        ("(?=a)b", "(?=", "lookaround"),
        ("(?!a)b", "(?!", "lookaround"),
        ("(?<=a)b", "(?<", "lookaround"),
        ("(?<!a)b", "(?<", "lookaround"),
        (r"(a)\1", r"\1", "backreferences"),
        (r"a\Z", r"\Z", r"\z"),
        ("(a", "missing )", "RE2"),
        ("a)", "unexpected )", "RE2"),
        ("[a", "missing ]", "RE2"),
        ("*a", "no argument", "RE2"),
        ("a\\", "trailing \\", "RE2"),
        ("a{1001}", "{1001}", "1,000"),
        ("\ud800", "surrogate", "RE2"),
        ("(" * 1_000, "missing )", "RE2"),
    ],
)
def test_what_is_no_pattern_is_a_problem(pattern: str, reason: str, hint: str) -> None:
    """With RE2's reason, and what can be done about it."""
    [problem] = problems_of("matches", "ok.+", pattern)
    assert (problem.pointer, problem.code) == ("/values/1", "invalid_pattern")
    assert reason in problem.message
    assert hint in problem.hint


def test_a_pattern_is_bounded() -> None:
    """In length, exactly."""
    longest = "x+" * (limits.MAX_PATTERN_CHARS // 2)
    assert problems_of("matches", longest) == []
    [problem] = problems_of("matches", longest + "x")
    assert (problem.pointer, problem.code) == ("/values/0", "too_many")


def test_patterns_that_together_take_too_much_memory_are_a_problem() -> None:
    """Each of them would do."""
    large = [rf"(?i)^\pL{{{i}}}$" for i in range(1, 4)]
    assert problems_of("matches", large[0]) == []
    [problem] = problems_of("matches", *large)
    assert (problem.pointer, problem.code) == ("/values", "invalid_pattern")


def test_an_automaton_that_grows_without_end_still_finds() -> None:
    """Its memory is bounded, so it begins anew; the answer is right all the same."""
    test = leaf_test("matches", "[ab]*a[ab]{12}c")
    text = "".join("ab"[(i * i * 7 + i // 3) % 5 % 2] for i in range(5_000)) + "a" + "b" * 12
    assert test(text + "c")
    assert not test(text + "d")
