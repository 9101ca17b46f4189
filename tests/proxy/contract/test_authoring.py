"""From what an author writes to a flag, and from a flag to what one environment is sent."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from proxy.contract.authoring import (
    DefinitionsFile,
    FlagInput,
    expand,
    normalise_values,
    project,
    project_segment,
    same_value,
    simple_variants,
    variant_of,
    with_rule_ids,
)
from proxy.contract.definitions import (
    Condition,
    EnvironmentConfig,
    Flag,
    Rule,
    Segment,
    Serve,
)

ENVIRONMENTS = ("development", "production")


def written(**members: Any) -> FlagInput:
    """Return a document as an author writes it."""
    return msgspec.convert({"key": "a", **members}, FlagInput)


def expanded(**members: Any) -> Flag:
    """Return the whole flag of a document that lacks nothing."""
    flag, problems = expand(written(**members), ENVIRONMENTS)
    assert flag is not None
    assert problems == []
    return flag


def lacking(**members: Any) -> list[tuple[str, str]]:
    """Return what a document lacks."""
    flag, problems = expand(written(**members), ENVIRONMENTS)
    assert flag is None
    return [(problem.pointer, problem.code) for problem in problems]


def test_a_simple_boolean_has_on_and_off() -> None:
    """All environments alike; off is what a disabled one answers."""
    flag = expanded(type="boolean", value=True, enabled=True)
    assert flag.variants == {"on": True, "off": False}
    assert set(flag.environments) == set(ENVIRONMENTS)
    config = flag.environments["production"]
    assert (config.enabled, config.off_variant, config.fallthrough.variant) == (True, "off", "on")


def test_a_simple_boolean_that_is_false_serves_off() -> None:
    """The variants are the same."""
    flag = expanded(type="boolean", value=False, enabled=True)
    assert flag.variants == {"on": True, "off": False}
    assert flag.environments["production"].fallthrough.variant == "off"


@pytest.mark.parametrize(
    ("kind", "value"),
    [("string", "x"), ("integer", 5), ("number", 1.5), ("object", {"a": 1}), ("string", "")],
)
def test_other_simple_flags_have_one_variant(kind: str, value: Any) -> None:
    """`default`, and no off variant: disabled, the application's own default is used."""
    flag = expanded(type=kind, value=value)
    assert flag.variants == {"default": value}
    config = flag.environments["production"]
    assert (config.enabled, config.off_variant) == (False, UNSET)


def test_whole_numbers_of_a_number_flag_are_floats() -> None:
    """Clients tell the types by the literal."""
    flag = expanded(type="number", value=10)
    assert repr(flag.variants["default"]) == "10.0"
    assert normalise_values("integer", {"a": 10}) == {"a": 10}
    odd = {"a": True, "b": 2**53, "c": "x"}
    assert repr(normalise_values("number", odd)) == repr(odd)


def test_a_full_flag_is_taken_as_it_is() -> None:
    """Its environments are its own."""
    flag = expanded(
        type="string",
        variants={"x": "X", "y": "Y"},
        environments={"staging": {"fallthrough": {"variant": "y"}, "salt": "s"}},
        name="n",
        tags=["t"],
        expires=None,
        version=3,
        created_at="then",
    )
    assert list(flag.environments) == ["staging"]
    assert flag.environments["staging"].salt == "s"
    assert (flag.name, flag.tags, flag.expires) == ("n", ["t"], UNSET)


def test_variants_with_a_value_serve_the_variant_that_has_it() -> None:
    """Everywhere."""
    flag = expanded(type="string", variants={"x": "X", "y": "Y"}, value="Y")
    assert {c.fallthrough.variant for c in flag.environments.values()} == {"y"}


def test_absent_salts_are_made_where_they_can_be() -> None:
    """One for each environment; without a maker they stay absent."""
    numbers = iter(range(9))
    flag, _ = expand(
        written(type="boolean", value=True), ENVIRONMENTS, lambda: f"salt-{next(numbers)}"
    )
    assert flag is not None
    assert sorted(str(c.salt) for c in flag.environments.values()) == ["salt-0", "salt-1"]
    config = expanded(type="boolean", value=True).environments["production"]
    assert config.salt is UNSET


@pytest.mark.parametrize(
    ("members", "problems"),
    [
        ({}, [("/type", "missing_field"), ("/value", "missing_field")]),
        ({"type": "string"}, [("/value", "missing_field")]),
        ({"type": "string", "variants": {"a": "x"}}, [("/environments", "missing_field")]),
        (
            {"type": "string", "variants": {"a": "x"}, "value": "y"},
            [("/value", "value_disagrees")],
        ),
        (
            {"type": "integer", "variants": {"a": 1}, "value": True},
            [("/value", "value_disagrees")],
        ),
    ],
)
def test_what_is_lacking_is_named(members: Any, problems: Any) -> None:
    """All of it at once."""
    assert lacking(**members) == problems


def test_a_key_can_be_lacking_too() -> None:
    """In a file; the API knows it from the path."""
    _, problems = expand(msgspec.convert({"type": "boolean", "value": True}, FlagInput), ())
    assert [problem.pointer for problem in problems] == ["/key"]


def test_simple_variants_follow_the_value_not_only_the_type() -> None:
    """A wrong value is kept, for validation to name."""
    assert simple_variants("boolean", "yes") == ({"default": "yes"}, UNSET)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (True, 1, False),
        (0, False, False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ([1, 2], [2, 1], False),
        (None, None, True),
    ],
)
def test_values_are_the_same_as_json(a: Any, b: Any, same: bool) -> None:
    """Not as Python compares them."""
    assert same_value(a, b) is same


def test_the_first_variant_of_a_value_is_found() -> None:
    """By the type of the flag: 10 is 10.0 where numbers are meant."""
    assert variant_of("number", {"a": 1.0, "b": 10.0, "c": 10.0}, 10) == "b"
    assert variant_of("integer", {"a": 1}, True) is None


def test_rules_without_id_get_the_first_free_one() -> None:
    """Those that have one keep it."""
    serve, when = Serve(variant="on"), Condition(all=[])
    rules = [
        Rule(when, serve),
        Rule(when, serve, id="rule-2"),
        Rule(when, serve),
        Rule(when, serve),
    ]
    ids = [rule.id for rule in with_rule_ids(rules)]
    assert ids == ["rule-1", "rule-2", "rule-3", "rule-4"]
    assert with_rule_ids(rules) == with_rule_ids(with_rule_ids(rules))


def test_an_environment_is_sent_its_own_configuration() -> None:
    """And nothing of the others, nor labels."""
    config = EnvironmentConfig(Serve(variant="on"), enabled=True, salt="s", off_variant="off")
    flag = Flag("a", "boolean", {"on": True, "off": False}, {"production": config}, owner="me")
    sent = project(flag, "production")
    assert (sent.salt, sent.enabled, sent.off_variant) == ("s", True, "off")
    assert b"me" not in msgspec.json.encode(sent)


def test_an_environment_without_configuration_is_sent_a_disabled_flag() -> None:
    """Salted by its key, as in a file."""
    flag = Flag("a", "boolean", {"on": True, "off": False}, {})
    sent = project(flag, "production")
    assert (sent.enabled, sent.off_variant, sent.salt) == (False, UNSET, "a")
    assert sent.fallthrough == Serve(variant="on")


def test_a_segment_is_sent_without_labels() -> None:
    """Only what decides who is in it."""
    segment = Segment("s", name="n", included=["u"], when=Condition(segment="t"))
    assert msgspec.json.encode(project_segment(segment)) == (
        b'{"when":{"segment":"t"},"included":["u"]}'
    )


def test_unknown_members_of_a_file_are_refused() -> None:
    """An ignored condition would serve the wrong users."""
    for text in (b'{"flags":[],"more":1}', b'{"flags":[{"key":"a","colour":1}]}'):
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(text, type=DefinitionsFile)
