"""What is wrong with a condition, named where it stands."""

from typing import Any

import msgspec
import pytest

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Condition
from proxy.contract.problems import Problem
from proxy.contract.steps import finish
from proxy.engine import limits
from proxy.engine.conditions import (
    check_conditions,
    leaf_total,
    nesting_problems,
    references,
)
from proxy.engine.findings import Findings
from proxy.engine.operators import OPERATORS
from tests.proxy.engine.builders import leaf
from tests.proxy.engine.operators.samples import VALUES, sample


def condition(document: dict[str, Any]) -> Condition:
    """Return a condition."""
    return msgspec.convert(document, Condition)


def problems(*documents: dict[str, Any], segments: tuple[str, ...] = ()) -> list[Problem]:
    """Return the problems of conditions that stand at /0, /1 ..."""
    findings = Findings()
    roots = [((i,), condition(document)) for i, document in enumerate(documents)]
    finish(check_conditions(roots, segments, findings))  # type: ignore[arg-type]
    return findings.problems


def found(*documents: dict[str, Any]) -> list[tuple[str, str]]:
    """Return pointer and code of each problem."""
    return [(problem.pointer, problem.code) for problem in problems(*documents)]


@pytest.mark.parametrize("op", OPERATORS)
def test_every_operator_with_fitting_values_is_fine(op: str) -> None:
    """Plain and negated."""
    assert found(sample(op), sample(op, negate=True)) == []


@pytest.mark.parametrize("op", OPERATORS)
def test_a_wrong_number_of_values_is_named(op: str) -> None:
    """None where some are needed, too many where one is."""
    wanted = OPERATORS[op].values
    wrong = [VALUES[op] * 2] if wanted.most == 1 else []
    wrong += [["x"]] if wanted.most == 0 else [[]]
    for values in wrong:
        assert found(sample(op, values=values)) == [("/0/values", "operator_values")]


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("equals", None),
        ("in", ["x"]),
        ("in", {"a": 1}),
        ("contains", 5),
        ("starts_with", True),
        ("gt", "5"),
        ("gt", True),
        ("any_of", None),
        ("size_gt", 1.5),
        ("size_lt", True),
    ],
)
def test_a_value_of_another_type_is_named_by_its_index(op: str, value: Any) -> None:
    """What the operator takes is in the message."""
    [problem] = problems(leaf("a", op, value))
    assert (problem.pointer, problem.code) == ("/0/values/0", ProblemCode.OPERATOR_VALUES)
    assert OPERATORS[op].values.text in problem.message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("eqals", "equals"), ("startswith", "starts_with"), ("IN", "in"), ("notin", "not_in")],
)
def test_an_unknown_operator_names_the_nearest(name: str, nearest: str) -> None:
    """A typing error is mended by reading."""
    [problem] = problems(leaf("a", name, "x"))
    assert (problem.pointer, problem.code) == ("/0/op", ProblemCode.UNKNOWN_OPERATOR)
    assert problem.hint == f"the nearest is {nearest!r}"


@pytest.mark.parametrize("name", ["", "zzzz", "x" * 10_000, "日本"])
def test_an_operator_that_is_near_to_none_names_them_all(name: str) -> None:
    """In a message of bounded length."""
    [problem] = problems(leaf("a", name, "x"))
    assert "equals" in problem.hint
    assert "size_lt" in problem.hint
    assert len(problem.message) < 200


@pytest.mark.parametrize("op", [op for op in OPERATORS if "fold" not in OPERATORS[op].options])
def test_fold_without_text_to_compare_is_named(op: str) -> None:
    """But saying `false` is no mistake."""
    assert found(sample(op, fold=True)) == [("/0/fold", "operator_option")]
    assert found(sample(op, fold=False)) == []


def test_an_integer_that_clients_cannot_send_exactly_is_a_warning() -> None:
    """It can still be compared with: servers send 64 bits."""
    [problem] = problems(leaf("a", "in", 1, 2**53))
    assert (problem.pointer, problem.severity) == ("/0/values/1", Severity.WARNING)


@pytest.mark.parametrize("name", ["", "x" * (limits.MAX_PATH_CHARS + 1)])
def test_the_name_of_an_attribute_is_bounded(name: str) -> None:
    """And not empty."""
    assert found(leaf(name, "exists")) == [("/0/attribute", "out_of_range")]


@pytest.mark.parametrize(
    "name", ["a[", "a]", "a[[0]]", "a[0", "a[-1]", "a[0].b[-12]", "][", "a[0]]"]
)
def test_brackets_that_nobody_means_are_refused(name: str) -> None:
    """They would never find anything."""
    assert found(leaf(name, "exists")) == [("/0/attribute", "invalid_path")]


@pytest.mark.parametrize("name", ["a[0]", "a[x]", "a[]", "[0]", "a.[1][2].b", "a[x-1]"])
def test_other_brackets_are_taken(name: str) -> None:
    """Members may be called so."""
    assert found(leaf(name, "exists")) == []


@pytest.mark.parametrize("op", ["size_gt", "size_lt"])
def test_no_list_has_a_negative_length(op: str) -> None:
    """Such a condition would hold for every list, or for none."""
    assert found(leaf("a", op, -1)) == [("/0/values/0", "out_of_range")]
    assert found(leaf("a", op, 0)) == []


def test_an_unknown_segment_is_named_where_it_stands() -> None:
    """Known ones are not."""
    tree = {"all": [{"segment": "a"}, {"not": {"any": [{"segment": "b"}]}}]}
    [problem] = problems(tree, segments=("a",))
    assert (problem.pointer, problem.code) == ("/0/all/1/not/any/0/segment", "unknown_segment")


def test_all_problems_are_listed_in_the_order_of_the_document() -> None:
    """Not the first only."""
    tree = {"any": [leaf("a", "x1"), {"not": leaf("", "equals")}, {"all": [leaf("a", "x2")]}]}
    assert found(tree, leaf("a", "gt")) == [
        ("/0/any/0/op", "unknown_operator"),
        ("/0/any/1/not/attribute", "out_of_range"),
        ("/0/any/1/not/values", "operator_values"),
        ("/0/any/2/all/0/op", "unknown_operator"),
        ("/1/values", "operator_values"),
    ]


def nested(depth: int) -> dict[str, Any]:
    """Return a condition of that many levels."""
    tree = leaf("a", "exists")
    for _ in range(depth - 1):
        tree = {"not": tree}
    return tree


def test_depth_is_bounded() -> None:
    """Exactly."""
    assert found(nested(limits.MAX_CONDITION_DEPTH)) == []
    assert found(nested(limits.MAX_CONDITION_DEPTH + 1)) == [("/0", "too_deep")]


def test_a_condition_of_any_depth_is_no_trouble() -> None:
    """It did not come through a decoder's bound: nothing here recurses."""
    tree = Condition(attribute="a", op="exists")
    for _ in range(100_000):
        tree = Condition(not_=tree)
    findings = Findings()
    finish(check_conditions([((), tree)], (), findings))
    assert [problem.code for problem in findings.problems] == ["too_deep"]
    assert leaf_total(tree) == 1
    while not isinstance(tree.not_, msgspec.UnsetType):
        tree = tree.not_  # freed from the outside in: a struct's own end recurses


def test_the_number_of_conditions_is_bounded_over_all_trees() -> None:
    """What they share is named."""
    half = {"any": [leaf("a", "exists")] * (limits.MAX_CONDITIONS // 2)}
    assert ("", "too_many") in found(half, half)
    assert found(half) == []


def test_the_number_of_values_of_a_leaf_is_bounded() -> None:
    """With a pointer to the way out."""
    [problem] = problems(leaf("a", "in", *range(limits.MAX_VALUES + 1)))
    assert (problem.pointer, problem.code) == ("/0/values", ProblemCode.TOO_MANY)
    assert "segment" in problem.hint


def test_the_number_of_references_is_bounded() -> None:
    """A segment costs more than a leaf."""
    tree = {"any": [{"segment": "a"}] * (limits.MAX_SEGMENT_REFERENCES + 1)}
    [problem] = problems(tree, segments=("a",))
    assert problem.code == ProblemCode.TOO_MANY


@pytest.mark.parametrize(
    ("op", "value", "most"),
    [
        ("matches", "x+", limits.MAX_PATTERNS),
        ("in_cidr", "10.0.0.0/8", limits.MAX_NETWORKS),
        ("semver_match", "^1.2", limits.MAX_VERSION_RANGES),
    ],
)
def test_values_that_take_long_to_read_are_bounded_over_all_leaves(
    op: str, value: str, most: int
) -> None:
    """Exactly; those beyond are not read."""
    half = leaf("a", op, *[value] * (most // 2))
    assert problems(half, half) == []
    [problem] = problems(half, leaf("a", op, value), half)
    assert problem.code == "too_many"
    assert str(most + 1) in problem.message
    assert found(half, half, leaf("a", op, "(")) == [("", "too_many")]


def attributeless(op: str) -> dict[str, Any]:
    """Return a leaf that names no attribute."""
    document = sample(op)
    del document["attribute"]
    return document


@pytest.mark.parametrize("op", OPERATORS)
def test_only_operators_over_time_do_without_an_attribute(op: str) -> None:
    """They are then of the time of the evaluation."""
    expected = [] if OPERATORS[op].timed else [("/0/attribute", "missing_field")]
    assert found(attributeless(op)) == expected


def test_the_operators_that_do_without_an_attribute_are_named() -> None:
    """Also where the operator is unknown."""
    first, second = problems(attributeless("in"), {"op": "before_noon"})[:2]
    assert "before, after, weekday, time_of_day" in first.hint
    assert (second.pointer, second.code) == ("/1/attribute", "missing_field")


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("option", ["from", "to", "zone"])
def test_an_option_that_an_operator_does_not_take_is_named(op: str, option: str) -> None:
    """At its place."""
    given = {"zone": "Europe/Berlin"}.get(option, "10:00")
    expected = [] if option in OPERATORS[op].options else [(f"/0/{option}", "operator_option")]
    assert found(sample(op, **{option: given})) == expected


def test_options_that_are_needed_are_named() -> None:
    """Each of them."""
    assert found({"op": "time_of_day"}) == [
        ("/0/from", "missing_field"),
        ("/0/to", "missing_field"),
    ]


def test_fold_of_a_pattern_is_said_in_the_pattern() -> None:
    """The hint says how."""
    [problem] = problems(sample("matches", fold=True))
    assert "(?i)" in problem.hint


def test_values_are_not_looked_into_before_their_types_are_right() -> None:
    """A check of versions is not given numbers."""
    assert found(leaf("a", "semver_match", 1, "x")) == [("/0/values/0", "operator_values")]
    assert found(leaf("a", "before", 1.5)) == [("/0/values/0", "operator_values")]


def test_references_are_found_with_their_places() -> None:
    """In order."""
    tree = {"all": [{"segment": "a"}, {"not": {"segment": "b"}}, leaf("x", "exists")]}
    assert list(references(condition(tree), ("when",))) == [
        (("when", "all", 0, "segment"), "a"),
        (("when", "all", 1, "not", "segment"), "b"),
    ]


def test_leaves_and_segments_are_counted() -> None:
    """Empty lists are none."""
    tree = {"all": [{"segment": "a"}, {"any": []}, {"not": leaf("x", "exists")}]}
    assert leaf_total(condition(tree)) == 2


def test_values_are_counted_for_the_bound_of_the_definition() -> None:
    """Of all leaves together."""
    trees = [((), condition(leaf("a", "in", 1, 2))), ((), condition(leaf("b", "equals", 3)))]
    assert finish(check_conditions(trees, (), Findings())).values == 3


def test_nesting_and_size_of_segments_are_bounded() -> None:
    """Each with its own code."""
    most = limits.MAX_SEGMENT_NESTING, limits.MAX_SEGMENT_CONDITIONS
    assert list(nesting_problems("s", *most)) == []
    codes = [code for code, _ in nesting_problems("s", most[0] + 1, most[1] + 1)]
    assert codes == ["segment_too_deep", "too_many"]
