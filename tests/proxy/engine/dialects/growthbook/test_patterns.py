"""JavaScript's regular expressions by RE2: the same matches, and what there is none of."""

import pytest

from proxy.engine.dialects.growthbook.patterns import (
    InvalidPattern,
    UnsupportedPattern,
    compile_pattern,
)
from proxy.engine.limits import MAX_MATCHED_CHARS, MAX_PATTERN_CHARS

SAME = [
    ("a.c", "a\u2028c", False), ("a.c", "a\rc", False), ("a.c", "abc", True),
    (r"^\s$", "\ufeff", True), (r"\S", "\u00a0", False), (r"[^\s]", "\u3000", False),
    (r"[\S]", "\v", False), (r"\Ab", "xAb", True), (r"b\z", "bz", True), (r"\Qa", "Qa", True),
    ("^.$", "😀", False), ("^..$", "😀", True), ("\\ud83d", "😀", True), ("😀$", "x😀", True),
    ("[^]", "\n", True), ("[]", "a", False), ("[^]", "", False), (r"[\b]", "\b", True),
    (r"\cA", "\x01", True), (r"\c1", "\\c1", True), (r"\x4", "x4", True), (r"\x41", "A", True),
    (r"\u00e9", "é", True), (r"\u00e", "u00e", True), (r"\0", "\0", True), (r"\v\f", "\v\f", True),
    ("a{,2}", "a{,2}", True), ("x{2}$", "axx", True), ("{", "{", True), ("a]", "a]", True),
    (r"[\w-z]", "-", True), (r"[a-\d]", "-", True), ("[[:alpha:]]", "a]", True),
    ("[[:alpha:]]", "b", False), (r"[a\-c]", "b", False), ("[a-c]", "b", True), ("[a-]", "-", True),
    (r"(?<year>\d{4})-", "in 2024-", True), (r"\/a", "/a", True), ("a/b", "a/b", True),
    ("$^", "", True), ("a$", "a\n", False), (r"\bé", "é", False), (r"\B", "", True),
    ("[\ud7ff-\ue000]", "\ud800", True), ("\ud800", "\ud800", True), ("ab*?c", "ac", True),
    ("(a|b)+", "xb", True), ("a|", "", True), (r"\.com$", "x.com", True), (".*a", "\na", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text", "matches"), SAME)
def test_a_pattern_matches_as_in_javascript(pattern: str, text: str, matches: bool) -> None:
    """What Node.js says of the same pattern and text."""
    assert compile_pattern(pattern, fold=False).found(text) is matches


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("É", "é", True),
        ("[д-я]+$", "ДЯ", True),
        ("MOBILE", "a mobile", True),
        ("a", "b", False),
        ("\u017f", "s", False), ("s", "\u017f", False), ("k", "\u212a", False),
        ("[a-z]", "\u212a", False),
        ("å", "\u212b", False), ("ß", "\u1e9e", False), ("ß", "SS", False), ("ᾳ", "ᾼ", False),
        ("\u03c2", "Σ", True), ("[\u03c3]", "\u03c2", True), ("µ", "\u03bc", True),
        ("ǆ", "ǅ", True),
        ("[^a-z]", "K", False), ("[^\u03c3]", "Σ", False), ("[\u0100-\u017f]", "ÿ", True),
        (r"[\w-é]", "É", True), ("𐐀", "𐐨", False), ("K{2}", "kK", True),
    ],
)  # fmt: skip
def test_without_regard_to_case(pattern: str, text: str, matches: bool) -> None:
    """Of all letters, not only of ASCII: as Node.js says, by their upper case."""
    assert compile_pattern(pattern, fold=True).found(text) is matches


INVALID = ["/???***[)", "(", ")", "a**", "*a", "[z-a]", "(?P<n>a)", "a\\", "^*", "(?", "(*)", "[a"]
INVALID += ["x{2,1}", r"\b+", "a{1}{2}", "+", "[😀-😎]", "(?<1>a)", "a|*"]


@pytest.mark.parametrize("pattern", INVALID)
def test_what_javascript_refuses_is_invalid(pattern: str) -> None:
    """Although RE2 would take some of it."""
    with pytest.raises(InvalidPattern):
        compile_pattern(pattern, fold=False)


UNSUPPORTED = ["(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", r"(a)\1", r"(?<n>a)\k<n>", "(?i:a)", "(?i)a"]
UNSUPPORTED += ["a{1001}", "(?:a{1000}){1000}", r"\01", r"[\1]", "a" * (MAX_PATTERN_CHARS + 1)]
UNSUPPORTED += ["[^a]{1000}" * 40]


@pytest.mark.parametrize("pattern", UNSUPPORTED, ids=lambda pattern: pattern[:20])
def test_what_only_javascript_has_is_unsupported(pattern: str) -> None:
    """It would match something there, so it must not come to nothing here."""
    with pytest.raises(UnsupportedPattern):
        compile_pattern(pattern, fold=False)


def test_texts_of_any_length_and_kind_are_answered() -> None:
    """A pattern that is no plain text gives up on long texts."""
    found = compile_pattern("^a+$", fold=False).found
    assert found("a" * MAX_MATCHED_CHARS)
    assert not found("a" * (MAX_MATCHED_CHARS + 1))
    assert not found("\ud800" * 100)


@pytest.mark.parametrize(
    ("pattern", "kind"), [("^a$", "is"), ("^a", "starts"), ("a$", "ends"), (".*a.*", "has")]
)
def test_a_text_is_told_from_a_pattern(pattern: str, kind: str) -> None:
    """So that it costs no regular expression."""
    plain = compile_pattern(pattern, fold=False).plain
    assert plain is not None
    assert plain.kind == kind
