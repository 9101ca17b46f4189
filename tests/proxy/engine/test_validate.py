"""All problems of meaning, each where it stands."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import FlagDefinition
from proxy.contract.problems import Problem, has_errors
from proxy.contract.steps import finish
from proxy.engine import check_definition, check_flag, check_segment, compile_flag, limits
from proxy.engine.validate import examine_definition, examine_segment
from tests.proxy.engine.builders import authored, definition, leaf, rule, segment
from tests.proxy.engine.builders import segment_definition as defined
from tests.proxy.engine.problems import found, split, with_config
from tests.proxy.engine.strategies import SEGMENTS, Maker, makers


def test_an_ordinary_flag_has_no_problems() -> None:
    """With everything in it."""
    flag = authored(
        name="New checkout",
        description="...",
        owner="team-payments",
        tags=["payments"],
        expires="2027-03-01",
        metadata={"team": "payments", "level": 3, "live": True, "share": 0.5},
        config={
            "salt": "f3b1",
            "off_variant": "off",
            "targets": [{"variant": "on", "units": ["u-1"]}, {"variant": "off", "units": ["u-2"]}],
            "rules": [
                rule({"segment": "beta"}, "on", id="beta", description="..."),
                rule(leaf("plan", "equals", "pro"), split(("on", 25_000), ("off", 75_000)), id="s"),
            ],
            "fallthrough": split(
                ("on", 1, [[5, 6]]), ("off", 99_999, [[0, 5], [6, 100_000]]), by="account"
            ),
        },
    )
    assert found(flag, "beta") == []


# Keys and labels


@pytest.mark.parametrize(
    "key",
    ["a", "checkout-v2", "_x", "0", "a/b", "a/b.c/D-1", "x" * 128, "webhook", "a/webhooks", "a.."],
)
def test_keys_of_the_api(key: str) -> None:
    """Parts of letters, digits, dots, underscores and dashes, joined by single slashes."""
    assert found(authored(key)) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "a/", "a//b", ".a", "-a", "a/.b", "a b", "ä", "a\n", "a?b", "a%2Fb", "#"),
        *("x" * 129, "webhooks", "webhooks/x", "a/../b"),
    ],
)  # fmt: skip
def test_keys_that_the_api_refuses(key: str) -> None:
    """Because they do not survive every client's URL, or are a path of the API."""
    assert found(authored(key)) == [("/key", "invalid_key")]


@pytest.mark.parametrize("key", ["a b", "ä", "a//b", "webhooks", "?", "ä" * 128])
def test_imported_keys_may_be_any_text(key: str) -> None:
    """Of 1 to 256 bytes."""
    assert found(authored(key), imported_key=True) == []
    assert check_definition(key, definition(), ()) == []


@pytest.mark.parametrize("key", ["", "a\nb", "\x7f", "a\u0085", "ä" * 129, "\ud800"], ids=ascii)
def test_imported_keys_have_bounds_too(key: str) -> None:
    """No control characters, no lone surrogates."""
    assert found(authored(key), imported_key=True) == [("/key", "invalid_key")]
    assert [p.code for p in check_definition(key, definition(), ())] == ["invalid_key"]


@pytest.mark.parametrize(
    ("member", "value", "where"),
    [
        ("name", "x" * (limits.MAX_NAME_CHARS + 1), "/name"),
        ("description", "x" * (limits.MAX_TEXT_CHARS + 1), "/description"),
        ("owner", "x" * (limits.MAX_NAME_CHARS + 1), "/owner"),
        ("tags", ["a", ""], "/tags/1"),
        ("tags", ["x" * (limits.MAX_NAME_CHARS + 1)], "/tags/0"),
    ],
)
def test_labels_are_bounded(member: str, value: Any, where: str) -> None:
    """They are repeated in every list."""
    assert found(authored(**{member: value})) == [(where, "out_of_range")]


def test_tags_are_bounded_in_number() -> None:
    """As a whole."""
    tags = [f"t{i}" for i in range(limits.MAX_TAGS + 1)]
    assert found(authored(tags=tags)) == [("/tags", "too_many")]


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2027-13-01", "2027-02-30", "20270301", "2027-3-1"]
)
def test_an_expiry_that_is_no_date(text: str) -> None:
    """YYYY-MM-DD, and a day that exists."""
    assert found(authored(expires=text)) == [("/expires", "invalid_date")]


# Configuration


def test_unknown_variants_are_named_wherever_they_are_served() -> None:
    """All of them at once."""
    config = {
        "off_variant": "a",
        "targets": [{"variant": "b", "units": ["u"]}],
        "rules": [
            rule({"all": []}, "c"),
            rule({"all": []}, split(("d", 50_000), ("on", 50_000))),
        ],
        "fallthrough": {"variant": "e"},
    }
    assert with_config(**config) == [
        ("/fallthrough/variant", "unknown_variant"),
        ("/off_variant", "unknown_variant"),
        ("/targets/0/variant", "unknown_variant"),
        ("/rules/0/serve/variant", "unknown_variant"),
        ("/rules/1/serve/rollout/arms/0/variant", "unknown_variant"),
    ]


@pytest.mark.parametrize("salt", ["", "a b", "ä", "x" * 65, "a/b", "a\n"])
def test_a_salt_is_letters_digits_dashes(salt: str) -> None:
    """Up to 64 of them."""
    assert with_config(salt=salt) == [("/salt", "invalid_salt")]


def test_a_file_may_salt_by_any_key() -> None:
    """There an absent salt is the flag's key."""
    assert check_definition("a/ä", definition(salt="a/ä"), ()) == []
    assert [p.code for p in check_definition("a", definition(salt=""), ())] == ["invalid_salt"]


def test_a_unit_is_in_one_target() -> None:
    """Which variant it gets would depend on the order else."""
    targets = [{"variant": "on", "units": ["a", "b"]}, {"variant": "off", "units": ["c", "b"]}]
    assert with_config(targets=targets) == [("/targets/1/units/1", "duplicate_unit")]


def test_a_unit_repeated_in_one_target_is_a_warning() -> None:
    """It means the same."""
    flag = authored(config={"targets": [{"variant": "on", "units": ["a", "a", "b"]}]})
    [problem] = check_flag(flag, {})
    assert (problem.code, problem.severity) == (ProblemCode.DUPLICATE_UNIT, Severity.WARNING)


@pytest.mark.parametrize("unit", ["", "x" * (limits.MAX_UNIT_CHARS + 1)])
def test_a_unit_is_bounded(unit: str) -> None:
    """An empty targeting key is none."""
    targets = [{"variant": "on", "units": ["a", unit]}]
    assert with_config(targets=targets) == [("/targets/0/units/1", "out_of_range")]


def test_values_and_units_are_bounded_in_all() -> None:
    """Of one environment together."""
    half = limits.MAX_VALUES_IN_ALL // 2
    units = [f"u{i}" for i in range(half)]
    when = leaf("a", "in", *units[: limits.MAX_VALUES])
    config = {"targets": [{"variant": "on", "units": units}], "rules": [rule(when)]}
    assert with_config(**config) == []
    config["targets"] = [{"variant": "on", "units": [*units, "more"]}]
    assert with_config(**config) == [("", "too_many")]


def test_rules_have_different_ids() -> None:
    """The second of two is named."""
    rules = [rule({"all": []}, id="a"), rule({"all": []}), rule({"all": []}, id="a")]
    assert with_config(rules=rules) == [("/rules/2/id", "duplicate_rule_id")]


@pytest.mark.parametrize("rule_id", ["", "a\tb", "x" * (limits.MAX_NAME_CHARS + 1)])
def test_the_id_of_a_rule_is_bounded(rule_id: str) -> None:
    """It is in answers and metrics."""
    rules = [rule({"all": []}, id=rule_id)]
    assert with_config(rules=rules) == [("/rules/0/id", "invalid_key")]


def test_the_number_of_rules_is_bounded() -> None:
    """As a whole."""
    rules = [rule({"all": []})] * (limits.MAX_RULES + 1)
    assert with_config(rules=rules) == [("/rules", "too_many")]


@pytest.mark.parametrize(
    ("window", "problems"),
    [
        ({}, []),
        ({"from": None, "until": None}, []),
        ({"from": "2026-12-01T00:00:00Z"}, []),
        ({"from": "2026-12-01T00:00:00Z", "until": "2026-12-01T00:00:00.001Z"}, []),
        ({"from": "2026-12-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}, ["until"]),
        ({"from": "2026-12-01T00:00:00Z", "until": "2026-12-01T00:30:00+01:00"}, ["until"]),
        ({"from": "2026-12-01T00:00:00.0001Z", "until": "2026-12-01T00:00:00.001Z"}, ["until"]),
        ({"from": "tomorrow", "until": "2026-12-01"}, ["from", "until"]),
        ({"from": "", "until": "2026-12-01T00:00:00"}, ["from", "until"]),
    ],
)
def test_the_ends_of_a_window_are_moments_in_their_order(window: Any, problems: list[str]) -> None:
    """With whole milliseconds between them, or no time would be in it."""
    code = "out_of_range" if problems == ["until"] else "invalid_time"
    rules = [rule({"all": []}), rule({"all": []}, active=window)]
    assert with_config(rules=rules) == [(f"/rules/1/active/{name}", code) for name in problems]


def test_problems_of_every_environment_are_listed() -> None:
    """Each below its name."""
    bad = {"fallthrough": {"variant": "off"}, "rules": [rule({"segment": "gone"})]}
    flag = authored(environments={"development": bad, "a/b": bad})
    assert found(flag) == [
        ("/environments/development/rules/0/when/segment", "unknown_segment"),
        ("/environments/a~1b/rules/0/when/segment", "unknown_segment"),
    ]


def test_a_definition_is_checked_as_a_flag_is() -> None:
    """With pointers into what a sidecar is sent, and the places of segments."""
    rules = [rule({"any": [{"segment": "gone"}, {"segment": "beta"}]}, "nothing")]
    problems, named = finish(examine_definition("k", definition(rules=rules), {"beta"}))
    assert [(p.pointer, p.code) for p in problems] == [
        ("/rules/0/serve/variant", "unknown_variant"),
        ("/rules/0/when/any/0/segment", "unknown_segment"),
    ]
    assert [name for _, name in named.segments] == ["gone", "beta"]


# Segments


def of_segment(this: Any, *others: Any) -> list[tuple[str, str]]:
    """Return pointer and code of each problem of a segment among others."""
    problems = check_segment(this, {other.key: other for other in others})
    return [(p.pointer, p.code) for p in problems]


def naming(key: str, *names: str) -> Any:
    """Return a segment that names others."""
    return segment(key, when={"any": [{"segment": name} for name in names]})


def test_an_ordinary_segment_has_no_problems() -> None:
    """With everything in it."""
    this = segment(
        "beta",
        name="Beta",
        tags=["a"],
        included=["u-1"],
        excluded=["u-2"],
        when={"all": [leaf("plan", "equals", "pro"), {"segment": "eu"}]},
    )
    assert of_segment(this, segment("eu")) == []


def test_segments_are_checked_as_flags_are() -> None:
    """Key, labels, units, conditions."""
    this = segment(
        "a b",
        description="x" * (limits.MAX_TEXT_CHARS + 1),
        included=["u", ""],
        excluded=["u"],
        when={"all": [leaf("x", "eqals", 1), {"segment": "gone"}]},
    )
    assert of_segment(this) == [
        ("/key", "invalid_key"),
        ("/description", "out_of_range"),
        ("/included/1", "out_of_range"),
        ("/excluded/0", "duplicate_unit"),
        ("/when/all/0/op", "unknown_operator"),
        ("/when/all/1/segment", "unknown_segment"),
    ]


def test_the_units_of_a_segment_are_bounded() -> None:
    """Included and excluded together."""
    units = [f"u{i}" for i in range(limits.MAX_SEGMENT_UNITS)]
    assert of_segment(segment("s", included=units)) == []
    assert of_segment(segment("s", included=units, excluded=["x"])) == [("", "too_many")]


def test_a_segment_may_not_contain_itself() -> None:
    """The way is told."""
    [problem] = check_segment(naming("a", "a"), {})
    assert (problem.pointer, problem.code) == ("/when/any/0/segment", ProblemCode.SEGMENT_CYCLE)
    assert "a -> a" in problem.message


def test_a_segment_may_not_contain_itself_through_others() -> None:
    """However it was before: what is stored under its key does not count."""
    others = [naming("b", "x", "c"), naming("c", "a"), naming("x"), naming("a")]
    problems = check_segment(naming("a", "x", "b"), {other.key: other for other in others})
    [problem] = problems
    assert (problem.pointer, problem.code) == ("/when/any/1/segment", ProblemCode.SEGMENT_CYCLE)
    assert "a -> b -> c -> a" in problem.message


def test_a_way_out_of_a_cycle_is_accepted() -> None:
    """What is checked replaces what is stored."""
    assert of_segment(naming("a"), naming("a", "b"), naming("b", "a")) == []


def test_a_cycle_elsewhere_is_not_this_segments_problem() -> None:
    """It cannot be mended here."""
    assert of_segment(naming("a"), naming("x", "y"), naming("y", "x")) == []


def chain(length: int) -> list[Any]:
    """Return segments s1 that names s2 that names ..."""
    return [naming(f"s{i}", f"s{i + 1}") for i in range(1, length)] + [naming(f"s{length}")]


def test_nesting_is_bounded() -> None:
    """Exactly."""
    most = limits.MAX_SEGMENT_NESTING
    assert of_segment(chain(most)[0], *chain(most)) == []
    assert of_segment(chain(most + 1)[0], *chain(most + 1)) == [("/when", "segment_too_deep")]


def test_nesting_is_bounded_for_those_that_name_it_too() -> None:
    """Another step at the lower end makes the upper end too deep."""
    most = limits.MAX_SEGMENT_NESTING
    longer = naming(f"s{most}", "new")
    problems = check_segment(longer, {s.key: s for s in [*chain(most), naming("new")]})
    assert [(p.pointer, p.code) for p in problems] == [("/when", "segment_too_deep")]
    assert "'s1'" in problems[0].message


def test_a_chain_of_a_thousand_is_no_trouble() -> None:
    """No recursion; every link above the bound is named."""
    links = chain(1_000)
    assert ("/when", "segment_too_deep") in of_segment(links[0], *links)


def test_what_segments_cost_together_is_bounded() -> None:
    """Each names the one below twice: a thousand conditions in ten steps."""
    doubling = [naming(f"d{i}", f"d{i - 1}", f"d{i - 1}") for i in range(1, 12)]
    doubling.append(segment("d0", when=leaf("x", "exists")))
    codes = {code for _, code in of_segment(doubling[10], *doubling)}
    assert codes == {"too_many"}


def test_a_segment_as_it_is_sent_is_checked_too() -> None:
    """Its own problems, and the places of others."""
    problems, named = finish(examine_segment("s", defined(when=naming("x", "a", "b").when), {"a"}))
    assert [(p.pointer, p.code) for p in problems] == [("/when/any/1/segment", "unknown_segment")]
    assert [name for _, name in named] == ["a", "b"]


# What passes compiles


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(makers())
def test_what_is_found_good_compiles(maker: Maker) -> None:
    """The sidecar accepts what the control plane publishes."""
    flag = msgspec.convert(maker.definition(["a", "b"]), FlagDefinition)
    named = {name: defined() for name in SEGMENTS}
    assert not has_errors(check_definition("k", flag, named))
    assert compile_flag("k", flag, named).problems == ()


def test_a_problem_can_be_serialised() -> None:
    """It is part of an answer of the API."""
    problems: list[Problem] = check_flag(authored("a b"), {})
    assert has_errors(problems)
    assert msgspec.json.decode(msgspec.json.encode(problems), type=list[Problem]) == problems
