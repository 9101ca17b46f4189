"""Versions are ordered as SemVer 2.0.0 says, and ranges of them are those of npm."""

from functools import cmp_to_key
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.limits import MAX_VERSION_CHARS
from tests.proxy.engine.operators.samples import holds, leaf_test, problems_of

_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"


# The specification, sentence by sentence, without regular expressions


def is_number(text: str) -> bool:
    """Return whether text is a numeric identifier: digits, no leading zero."""
    return bool(text) and all(c in _DIGITS for c in text) and (text == "0" or text[0] != "0")


def read(text: str) -> tuple[list[int], list[str]] | None:
    """Return the three numbers and the identifiers of the pre-release."""
    text, plus, build = text.partition("+")
    core, dash, pre_release = text.partition("-")
    numbers, identifiers = core.split("."), pre_release.split(".") if dash else []
    if len(numbers) != 3 or not all(map(is_number, numbers)):
        return None
    for part in [*identifiers, *(build.split(".") if plus else [])]:
        if not part or not all(c in _DIGITS + _LETTERS for c in part):
            return None
    if any(all(c in _DIGITS for c in part) and not is_number(part) for part in identifiers):
        return None
    return [int(n) for n in numbers], identifiers


def compare(a: tuple[list[int], list[str]], b: tuple[list[int], list[str]]) -> int:
    """Return -1, 0 or 1 for a before, equal to or after b (clause 11)."""
    for x, y in zip(a[0], b[0], strict=True):
        if x != y:
            return -1 if x < y else 1
    if not a[1] or not b[1]:
        return (not a[1]) - (not b[1])
    for one, other in zip(a[1], b[1], strict=False):
        if one == other:
            continue
        if is_number(one) and is_number(other):
            return -1 if int(one) < int(other) else 1
        if is_number(one) or is_number(other):
            return -1 if is_number(one) else 1
        return -1 if one < other else 1
    return (len(a[1]) > len(b[1])) - (len(a[1]) < len(b[1]))


def satisfies(version: str, wanted: str) -> bool:
    """Return whether a version is in one range, comparator by comparator."""
    parsed = read(version)
    if parsed is None:
        return False
    if wanted[0] not in "^~":
        exact = read(wanted)
        assert exact is not None
        return compare(parsed, exact) == 0
    rest = wanted[1:]
    given = rest.count(".", 0, rest.find("-") if "-" in rest else len(rest)) + 1
    low = read(rest if given >= 3 else rest + ".0" * (3 - given))
    assert low is not None
    major, minor, patch = low[0]
    if wanted[0] == "~":
        high = [major + 1, 0, 0] if given == 1 else [major, minor + 1, 0]
    elif major > 0 or given == 1:
        high = [major + 1, 0, 0]
    elif minor > 0 or given == 2:
        high = [major, minor + 1, 0]
    else:
        high = [major, minor, patch + 1]
    if compare(parsed, low) < 0 or compare(parsed, (high, [])) >= 0:
        return False
    return not parsed[1] or (bool(low[1]) and parsed[0] == low[0])


_small = st.sampled_from(["0", "1", "2", "9", "10", "11"])
_identifiers = st.sampled_from(
    ["0", "1", "2", "10", "a", "b", "alpha", "beta", "-", "1a", "A", "01x"]
)
_pre_releases = st.one_of(
    st.just(""), st.lists(_identifiers, min_size=1, max_size=3).map(lambda i: "-" + ".".join(i))
)
_cores = st.tuples(_small, _small, _small).map(".".join)
_builds = st.sampled_from(["", "", "+1", "+build.01", "+-"])
versions = st.tuples(_cores, _pre_releases, _builds).map("".join)
texts = versions | st.text(alphabet="012.-+a\u0663v ", max_size=12)
_partial = st.one_of(_small, st.tuples(_small, _small).map(".".join))
ranges = st.one_of(
    versions,
    st.tuples(st.sampled_from("^~"), versions).map("".join),
    st.tuples(st.sampled_from("^~"), _partial).map("".join),
)

SIGNS = {
    "semver_eq": lambda order: order == 0,
    "semver_gt": lambda order: order > 0,
    "semver_gte": lambda order: order >= 0,
    "semver_lt": lambda order: order < 0,
    "semver_lte": lambda order: order <= 0,
}


@pytest.mark.parametrize("op", SIGNS)
@given(wanted=versions, values=st.lists(texts, min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_order_is_that_of_the_specification(op: str, wanted: str, values: list[str]) -> None:
    """For any two versions; what is none is in no order."""
    test = leaf_test(op, wanted)
    right = read(wanted)
    assert right is not None
    for value in values:
        left = read(value)
        assert test(value) is (left is not None and SIGNS[op](compare(left, right)))


@given(
    wanted=st.lists(ranges, min_size=1, max_size=6), values=st.lists(texts, min_size=1, max_size=20)
)
@settings(max_examples=300, deadline=None)
def test_ranges_are_those_of_npm(wanted: list[str], values: list[str]) -> None:
    """Several of them are one or the other."""
    test = leaf_test("semver_match", *wanted)
    for value in values:
        assert test(value) is any(satisfies(value, one) for one in wanted), value


def test_the_example_of_the_specification() -> None:
    """Clause 11: each is lower than the one after it."""
    ascending = [
        *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"),
        *("1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1"),
    ]
    for low, high in pairwise(ascending):
        assert holds(low, "semver_lt", high)
        assert holds(high, "semver_gt", low)
        assert not holds(high, "semver_lte", low)
        assert not holds(low, "semver_eq", high)
    parsed = [read(text) for text in reversed(ascending)]
    assert sorted(parsed, key=cmp_to_key(compare)) == parsed[::-1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1.2.3", "1.2.3"),
        ("1.2.4", "~1.2.3"),
        ("1.9.0", "^1.2.3"),
        ("1.2.3+build", "1.2.3+other"),
        ("0.2.9", "^0.2.3"),
        ("0.0.3", "^0.0.3"),
        ("1.99.99", "^1"),
        ("1.99.99", "~1"),
        ("0.5.0", "^0"),
        ("0.0.9", "^0.0"),
        ("1.2.99", "~1.2"),
        ("1.2.3-beta.4", "^1.2.3-beta.2"),
        ("1.2.3", "^1.2.3-beta.2"),
        ("1.3.0", "~1.3"),
        ("1.2.3-rc.1", "1.2.3-rc.1"),
        ("99999999999999999999.0.1", "^99999999999999999999"),
    ],
)
def test_in_range(value: str, wanted: str) -> None:
    """By each form, and at its lower edge."""
    assert holds(value, "semver_match", wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1.2.2", "^1.2.3"),
        ("2.0.0", "^1.2.3"),
        ("2.0.0-alpha", "^1.2.3"),
        ("1.2.3-beta.4", "^1.2.3"),
        ("1.2.3-beta.1", "^1.2.3-beta.2"),
        ("1.3.0-beta.4", "^1.2.3-beta.2"),
        ("0.3.0", "^0.2.3"),
        ("0.0.4", "^0.0.3"),
        ("1.3.0", "~1.2.3"),
        ("2.0.0", "~1"),
        ("0.1.0", "^0.0"),
        ("1.0.0", "^0"),
        ("1.2.3", "1.2.3-rc.1"),
        ("1.2", "^1.2"),
        ("v1.2.3", "^1.2"),
        (1, "^1"),
        (1.2, "^1"),
        (["1.2.3"], "^1"),
    ],
)
def test_out_of_range(value: Any, wanted: str) -> None:
    """Above, below, and pre-releases that were not asked for."""
    assert not holds(value, "semver_match", wanted)


@pytest.mark.parametrize(
    "value",
    [
        *("", "1", "1.2", "1.2.3.4", "v1.2.3", "V1.2.3", "=1.2.3", " 1.2.3", "1.2.3 ", "1.2.3\n"),
        *("01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+", "1.2.3+a..b"),
        *("1.2.3-a_b", "1.2.3+a+b", "-1.2.3", "1.2.-3", "1.2.x", "1.2.*", "\u0661.2.3", "1.2.3-ä"),
        *("1.2.3-\ud800", 1, 1.2, True, None, [], {}, "1.2.3-" + "a" * MAX_VERSION_CHARS),
    ],
)
def test_what_is_no_version_is_in_no_order(value: Any) -> None:
    """Not even in `not less`."""
    for op in SIGNS:
        assert not holds(value, op, "1.2.3")
    assert holds(value, "semver_lt", "1.2.3", negate=True)


def test_a_version_of_the_greatest_length_is_one() -> None:
    """Exactly."""
    longest = "1.2.3-" + "9" * (MAX_VERSION_CHARS - 6)
    assert holds(longest, "semver_eq", longest)
    assert holds(longest, "semver_lt", "1.2.3")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("v1.2.3", "leave out the 'v'"),
        ("1.2", "write it in full: 1.2.0"),
        ("1", "write it in full: 1.0.0"),
        ("01.2.3", "without leading zeros"),
        ("^1.2", "three numbers"),
        ("9" * 10_000, "three numbers"),
    ],
)
def test_a_wanted_version_that_is_none_is_a_problem(value: str, hint: str) -> None:
    """With what was meant, where it can be guessed."""
    [problem] = problems_of("semver_gt", value)
    assert (problem.pointer, problem.code) == ("/values/0", "operator_values")
    assert hint in problem.hint
    assert len(problem.message) < 200


@pytest.mark.parametrize(
    "value",
    ["1.2", "1.x", "1.2.*", ">=1.2.3", "^", "~", "^v1", "^1.2.3.4", "^01", "1.2.3 - 2", "*"],
)
def test_a_range_of_another_form_is_a_problem(value: str) -> None:
    """The hint shows those that there are."""
    [problem] = problems_of("semver_match", "^1", value)
    assert (problem.pointer, problem.code) == ("/values/1", "operator_values")
    assert "~1.2.3" in problem.hint


def test_of_several_pre_releases_of_a_version_the_first_counts() -> None:
    """In whichever order the ranges stand."""
    for wanted in (["^1.2.3-alpha", "~1.2.3-beta"], ["~1.2.3-beta", "^1.2.3-alpha"]):
        assert holds("1.2.3-alpha.1", "semver_match", *wanted)
        assert not holds("1.2.3-1", "semver_match", *wanted)


def test_a_range_of_any_length_is_no_trouble() -> None:
    """Digits beyond what Python makes integers of."""
    [problem] = problems_of("semver_match", "^" + "9" * 10_000)
    assert problem.code == "operator_values"
