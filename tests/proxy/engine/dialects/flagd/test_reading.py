"""A file of flagd: each flag stands by itself, and what is wrong is said where it is."""

from random import Random
from typing import Any

import pytest

from proxy.engine import limits
from proxy.engine.dialects.flagd import DIALECT
from proxy.engine.dialects.model import Imported, ImportedFlag, Named
from tests.proxy.engine.dialects.flagd.flags import Flag

FLAG: dict[str, Any] = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
}


def read(document: Any, **options: Any) -> Imported:
    """Return a file, read."""
    return DIALECT.read(document, options)


def one(flag: dict[str, Any], **members: Any) -> ImportedFlag:
    """Return the one flag of a file."""
    [found] = read({"flags": {"checkout": flag}, **members}).flags
    return found


def problems(document: Any, **options: Any) -> list[tuple[str, str, str]]:
    """Return pointer, code and severity of each problem of a file."""
    found = read(document, **options).problems
    return [(problem.pointer, problem.code, problem.severity) for problem in found]


def test_a_flag_is_kept_as_it_is() -> None:
    """With what people see of it, its switch, and the version of `fractional` that it is for."""
    found = one({**FLAG, "state": "DISABLED", "note": [1]})
    assert found.definition == {**FLAG, "state": "DISABLED", "note": [1]}
    assert (found.key, found.type, found.fallthrough) == ("checkout", "boolean", "off")
    assert found.variants == FLAG["variants"]
    assert not found.enabled
    assert found.options == {"fractional": "v2"}
    [other] = read({"flags": {"a": FLAG}}, fractional="v3").flags
    assert other.enabled
    assert other.options == {"fractional": "v3"}
    assert DIALECT.names(found.definition) == Named()


def test_flags_may_be_a_list() -> None:
    """Each with its key; the second of one key is refused."""
    flags = [{"key": "a", **FLAG}, {"key": "b", **FLAG}, {"key": "a", **FLAG}, FLAG]
    assert [flag.key for flag in read({"flags": flags}).flags] == ["a", "b"]
    assert problems({"flags": flags}) == [
        ("/flags/2", "duplicate_key", "error"),
        ("/flags/3/key", "missing_field", "error"),
    ]


def test_evaluators_go_along_with_the_flags_that_need_them() -> None:
    """Those that they refer to themselves, too; and no others."""
    evaluators = {"a": {"!": [{"$ref": "b"}]}, "b": {"var": "x"}, "c": 1}
    found = one({**FLAG, "targeting": {"if": [{"$ref": "a"}, "on"]}}, **{"$evaluators": evaluators})
    assert found.definition["$evaluators"] == {"a": evaluators["a"], "b": evaluators["b"]}
    made = Flag(DIALECT.translate("checkout", found.definition, found.options, True))
    assert (made.said({}), made.said({"x": 1})) == ("on", "off")
    assert "$evaluators" not in one(FLAG, **{"$evaluators": evaluators}).definition


def test_metadata_of_the_set_is_that_of_its_flags() -> None:
    """A flag's own goes before it; what is not flat is left out, with a warning."""
    shared = {"team": "x", "cost": 1.5, "gone": None, "deep": {}}
    document = {"flags": {"a": {**FLAG, "metadata": {"team": "y", "l": []}}}, "metadata": shared}
    [found] = read(document).flags
    assert found.metadata == {"team": "y", "cost": 1.5}
    assert problems(document) == [
        ("/metadata/deep", "metadata_not_flat", "warning"),
        ("/flags/a/metadata/l", "metadata_not_flat", "warning"),
    ]


@pytest.mark.parametrize(
    ("variants", "kind"),
    [
        ({"a": True, "b": False}, "boolean"),
        ({"a": "x"}, "string"),
        ({"a": 1, "b": 0}, "integer"),
        ({"a": 1, "b": 0.0}, "number"),
        ({"a": {}, "b": {"x": 1}}, "object"),
        ({"a": None, "b": 1}, "integer"),
    ],
    ids=str,
)
def test_the_type_is_that_of_the_values(variants: dict[str, Any], kind: str) -> None:
    """Where there is no default variant, the first is what people see."""
    found = one({"state": "ENABLED", "variants": variants, "defaultVariant": None})
    assert found.type == kind
    assert found.fallthrough == next(n for n, value in variants.items() if value is not None)


@pytest.mark.parametrize(
    "variants", [{"a": 1, "b": "x"}, {"a": True, "b": 1}, {"a": None}], ids=str
)
def test_values_of_several_types_are_refused(variants: dict[str, Any]) -> None:
    """A flag has one, here as for OpenFeature's clients."""
    document = {"flags": {"a": {"state": "ENABLED", "variants": variants}}}
    assert read(document).flags == ()
    assert ("/flags/a/variants", "value_type", "error") in problems(document)


def test_a_flag_with_an_error_is_left_out_alone() -> None:
    """And its problem has its place in the file; of an evaluator, that of the evaluator."""
    deep: Any = {"var": "x"}
    for _ in range(100):
        deep = {"!": [deep]}
    document = {
        "flags": {
            "a/b": {**FLAG, "defaultVariant": "gone"},
            "good": FLAG,
            "deep": {**FLAG, "targeting": {"if": [{"$ref": "deep"}, "on"]}},
            "text": "on",
            "state": {**FLAG, "state": "on"},
        },
        "$evaluators": {"deep": deep},
        "secrets": {"token": "x"},
    }
    assert [flag.key for flag in read(document).flags] == ["good", "state"]
    found = problems(document)
    assert found[0] == ("/secrets", "unknown_field", "warning")
    assert ("/flags/a~1b/defaultVariant", "unknown_variant", "error") in found
    assert ("/flags/text", "wrong_type", "error") in found
    assert ("/flags/state/state", "not_one_of", "warning") in found
    [pointer] = [p.pointer for p in read(document).refused["deep"] if p.code == "too_deep"]
    assert pointer.startswith("/$evaluators/deep/!/0")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, ("", "wrong_type", "error")),
        ([], ("", "wrong_type", "error")),
        ("flags", ("", "wrong_type", "error")),
        ({}, ("/flags", "missing_field", "error")),
        ({"flags": 1}, ("/flags", "wrong_type", "error")),
        ({"flags": {}, "$evaluators": []}, ("/$evaluators", "wrong_type", "error")),
        ({"flags": {}, "metadata": []}, ("/metadata", "wrong_type", "warning")),
        ({"flags": [1]}, ("/flags/0", "wrong_type", "error")),
    ],
    ids=str,
)
def test_what_is_no_file_of_flagd(document: Any, problem: tuple[str, str, str]) -> None:
    """Said once, and nothing raised."""
    assert problems(document) == [problem]


def test_problems_are_bounded() -> None:
    """However many flags are wrong."""
    document = {"flags": {f"f{number}": {"variants": 1} for number in range(3_000)}}
    assert len(read(document).problems) == limits.MAX_PROBLEMS
    assert read(document).flags == ()


def test_no_file_raises() -> None:
    """Two thousand of them; what is read can be translated."""
    draw = Random(41)
    odd: list[Any] = [None, 1, "x", [], {}, True, 1e400, {"$ref": "e"}, [[]], {"flags": {}}]
    seed = {
        "flags": {"a": {**FLAG, "targeting": {"if": [{"$ref": "e"}, "on"]}, "metadata": {"m": 1}}},
        "$evaluators": {"e": {"==": [{"var": "x"}, 1]}},
        "metadata": {"set": "s"},
    }

    def changed(node: Any) -> Any:
        if draw.random() < 0.07:
            return draw.choice(odd)
        if isinstance(node, dict):
            return {
                draw.choice([k, k, k, "x"]) if draw.random() < 0.1 else k: changed(v)
                for k, v in node.items()
            }
        return [changed(child) for child in node] if isinstance(node, list) else node

    kept = 0
    for _ in range(2_000):
        for flag in read(changed(seed)).flags:
            made = DIALECT.translate(flag.key, flag.definition, flag.options, flag.enabled)
            Flag(made).said({"x": 1})
            assert flag.fallthrough in flag.variants
            kept += 1
    assert kept > 500
