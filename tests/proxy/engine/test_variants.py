"""What a flag can answer: values of its type, that every client can read, of a size."""

from typing import Any

import pytest

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import check_flag, limits
from tests.proxy.engine.builders import authored
from tests.proxy.engine.problems import PRODUCTION, found


def test_a_flag_has_a_variant() -> None:
    """And what serves it is named, too."""
    flag = authored(variants={}, config={"fallthrough": {"variant": "on"}})
    assert found(flag) == [
        ("/variants", "no_variants"),
        (f"{PRODUCTION}/fallthrough/variant", "unknown_variant"),
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", True),
        ("string", ""),
        ("integer", -5),
        ("number", 1),
        ("number", 1.5),
        ("object", {}),
        ("object", {"deep": [{"x": None}]}),
    ],
)
def test_values_of_the_type(kind: str, value: Any) -> None:
    """Are fine."""
    assert found(authored(type=kind, variants={"off": value})) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", 1),
        ("boolean", "true"),
        ("string", 5),
        ("integer", 1.0),
        ("integer", True),
        ("integer", "1"),
        ("number", True),
        ("number", "1"),
        ("object", "x"),
        *[(kind, None) for kind in ("boolean", "string", "integer", "number", "object")],
    ],
)
def test_values_of_another_type(kind: str, value: Any) -> None:
    """An integer is not a boolean, a boolean not a number, null is never a value."""
    assert found(authored(type=kind, variants={"off": value})) == [("/variants/off", "value_type")]


def test_a_list_is_taken_for_an_object_with_a_warning() -> None:
    """Some clients refuse it."""
    [problem] = check_flag(authored(type="object", variants={"off": [1]}), {})
    assert (problem.code, problem.severity) == (ProblemCode.ARRAY_VALUE, Severity.WARNING)


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        ("integer", 2**53, "/variants/off"),
        ("integer", -(2**53), "/variants/off"),
        ("number", 2**53, "/variants/off"),
        ("number", float("inf"), "/variants/off"),
        ("number", float("nan"), "/variants/off"),
        ("object", {"a": [0, 2**53]}, "/variants/off/a/1"),
        ("object", {"a": float("inf")}, "/variants/off/a"),
    ],
)
def test_numbers_that_clients_cannot_read_exactly(kind: str, value: Any, where: str) -> None:
    """Also inside objects."""
    flag = authored(type=kind, variants={"off": value})
    assert found(flag) == [(where, "number_out_of_range")]


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53 - 1)])
def test_the_largest_exact_integers_are_fine(value: int) -> None:
    """On both sides."""
    assert found(authored(type="integer", variants={"off": value})) == []


def test_the_size_of_a_value_is_bounded() -> None:
    """As JSON, to the byte."""
    most = "x" * (limits.MAX_VALUE_BYTES - 2)
    assert found(authored(type="string", variants={"off": most})) == []
    flag = authored(type="string", variants={"off": most + "x"})
    assert found(flag) == [("/variants/off", "value_too_large")]


def test_the_size_of_all_values_is_bounded() -> None:
    """Each may be large, but not all."""
    count = limits.MAX_ALL_VALUES_BYTES // limits.MAX_VALUE_BYTES + 1
    value = "x" * (limits.MAX_VALUE_BYTES - 2)
    flag = authored(type="string", variants={"off": "", **{f"v{i}": value for i in range(count)}})
    assert found(flag) == [("/variants", "value_too_large")]


def nested(depth: int) -> Any:
    """Return an object of that many levels."""
    value: Any = {}
    for _ in range(depth - 1):
        value = {"x": value}
    return value


def test_the_nesting_of_a_value_is_bounded() -> None:
    """Exactly; and any depth is no trouble."""
    most = limits.MAX_VALUE_DEPTH
    assert found(authored(type="object", variants={"off": nested(most)})) == []
    for depth in (most + 1, 900):
        flag = authored(type="object", variants={"off": nested(depth)})
        assert found(flag) == [("/variants/off", "too_deep")]


@pytest.mark.parametrize("name", ["", "x" * (limits.MAX_NAME_CHARS + 1), "a\nb"])
def test_the_name_of_a_variant_is_bounded(name: str) -> None:
    """An empty one would look like none in an answer."""
    problems = check_flag(authored(variants={"off": False, name: True}), {})
    assert [problem.code for problem in problems] == ["invalid_key"]


def test_the_number_of_variants_is_bounded() -> None:
    """As a whole."""
    variants = {f"v{i}": i for i in range(limits.MAX_VARIANTS)} | {"off": 0}
    assert found(authored(type="integer", variants=variants)) == [("/variants", "too_many")]


@pytest.mark.parametrize("value", [None, [], {}, {"a": 1}])
def test_metadata_is_flat(value: Any) -> None:
    """Clients drop what is nested, or fail."""
    assert found(authored(metadata={"ok": 1, "x": value})) == [("/metadata/x", "metadata_not_flat")]


def test_metadata_is_bounded() -> None:
    """It is in every answer."""
    text = "x" * limits.MAX_METADATA_BYTES
    assert found(authored(metadata={"x": text})) == [("/metadata", "value_too_large")]
    assert found(authored(metadata={"x": 2**53})) == [("/metadata/x", "number_out_of_range")]
