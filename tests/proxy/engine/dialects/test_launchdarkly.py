"""LaunchDarkly's flags and segments: what its own data files do not have, and hostile ones.

The formula of its buckets is written down again here, with its own floating-point comparisons, and
compared with what is compiled.
"""

import hashlib
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, ProblemCode, Reason, Severity
from proxy.contract.problems import Problem
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.answers import Answer
from proxy.engine.dialects.launchdarkly import DIALECT, contexts, rollouts, values
from proxy.engine.dialects.model import Imported, Translation
from proxy.engine.hashing import number_of
from tests.conformance.harness import CompiledFlags, compile_translations
from tests.proxy.engine.dialects.mutations import mutated
from tests.proxy.engine.floats import float32

Json = dict[str, Any]

ALWAYS = {"attribute": "key", "op": "in", "values": [""], "negate": True}
USER = {"targetingKey": "u-1"}


def flag(**members: Any) -> Json:
    """Return a flag of which a rule that holds serves the first variation, others the second."""
    return {
        "on": True,
        "salt": "salty",
        "variations": ["yes", "no", "off"],
        "fallthrough": {"variation": 1},
        "offVariation": 2,
        **members,
    }


def ruled(*clauses: Json, **members: Any) -> Json:
    return flag(rules=[{"id": "r", "variation": 0, "clauses": list(clauses)}], **members)


def translated(definition: Json, **options: Any) -> Translation:
    return DIALECT.translate("f", definition, options, definition.get("on") is True)


def compiled(
    flags: dict[str, Json], segments: dict[str, Json] | None = None, **options: Any
) -> CompiledFlags:
    """Return flags and segments compiled together."""
    assert DIALECT.segment is not None
    made = {}
    for key, definition in (segments or {}).items():
        expression, _ = DIALECT.segment({"key": key, **definition}, options)
        assert expression is not None
        made[key] = expression
    translations = {
        key: DIALECT.translate(key, definition, options, definition.get("on") is True)
        for key, definition in flags.items()
    }
    return compile_translations(translations, made)


def answered(definition: Json, context: Json, **options: Any) -> Answer:
    return compiled({"f": definition}, **options).evaluate("f", context)


def holds(clause: Json, context: Json) -> bool:
    """Return whether a clause holds for a context."""
    return bool(answered(ruled(clause), context).value == "yes")


def codes(problems: Any) -> list[tuple[str, ProblemCode]]:
    return [(problem.pointer, problem.code) for problem in problems]


# Contexts

LEGACY = {"key": "u", "email": "a@b", "custom": {"plan": "pro", "email": "other", "name": "n"}}
ORG = {"kind": "org", "key": "acme", "plan": "pro", "address": {"city": {"name": "Delft"}}}
MULTI = {
    "kind": "multi",
    "targetingKey": "ignored",
    "user": {"key": "u", "plan": "free", "anonymous": True},
    "org": {"targetingKey": "acme", "name": "Acme"},
    "none": {"plan": "pro"},
    "text": "x",
}


@pytest.mark.parametrize(
    ("context", "kind", "steps", "wanted"),
    [
        (USER, "user", ("key",), "u-1"),
        ({"targetingKey": "a", "key": "b"}, "user", ("key",), "a"),
        ({"targetingKey": "", "key": "b"}, "user", ("key",), "b"),
        ({"targetingKey": 1, "key": "b"}, "user", ("key",), "b"),
        ({"targetingKey": "a", "plan": "pro"}, "user", ("plan",), "pro"),
        ({"targetingKey": "a", "plan": None}, "user", ("plan",), None),
        ({"targetingKey": "a", "plan": "pro"}, "org", ("plan",), None),
        ({"targetingKey": "a", "custom": {"plan": "pro"}}, "user", ("plan",), None),
        ({"targetingKey": "a", "custom": {"plan": "pro"}}, "user", ("custom", "plan"), "pro"),
        ({"targetingKey": "a"}, "user", ("targetingKey",), None),
        ({"targetingKey": "a", "kind": 7, "plan": "pro"}, "user", ("plan",), "pro"),
        (LEGACY, "user", ("plan",), "pro"),
        (LEGACY, "user", ("email",), "a@b"),
        (LEGACY, "user", ("name",), None),
        (LEGACY, "user", ("key",), "u"),
        (ORG, "org", ("plan",), "pro"),
        (ORG, "user", ("plan",), None),
        (ORG, "org", ("kind",), "org"),
        (ORG, "org", ("key",), "acme"),
        (ORG, "org", ("key", "x"), None),
        (ORG, "org", ("address", "city", "name"), "Delft"),
        (ORG, "org", ("address", "city", "name", "x"), None),
        (ORG, "org", ("anonymous",), False),
        ({**ORG, "anonymous": "true"}, "org", ("anonymous",), False),
        ({**ORG, "name": 7}, "org", ("name",), None),
        ({**ORG, "_meta": {"privateAttributes": ["plan"]}}, "org", ("_meta",), None),
        (MULTI, "user", ("plan",), "free"),
        (MULTI, "user", ("anonymous",), True),
        (MULTI, "org", ("key",), "acme"),
        (MULTI, "org", ("name",), "Acme"),
        (MULTI, "none", ("plan",), None),
        (MULTI, "text", ("key",), None),
        (MULTI, "multi", ("targetingKey",), None),
        (MULTI, "kind", ("key",), None),
        ({"kind": "multi", "key": "a"}, "multi", ("key",), None),
    ],
)
def test_attributes_of_individual_contexts(
    context: Json, kind: str, steps: tuple[str, ...], wanted: Any
) -> None:
    """Of a user as OpenFeature has it, of one kind, of several, of older clients."""
    operand = contexts.attribute(kind, steps)
    assert operand.fetch(context) == wanted
    assert operand.reads is not None
    relevant = {name: context[name] for name in context if name in operand.reads}
    assert operand.fetch(relevant) == wanted


@pytest.mark.parametrize(
    ("context", "usable"),
    [
        (USER, True),
        ({"key": "u"}, True),
        ({"key": ""}, True),
        ({"key": "", "kind": "user"}, False),
        ({"key": "", "kind": 7}, False),
        ({"targetingKey": ""}, False),
        ({}, False),
        ({"key": 7}, False),
        (ORG, True),
        (MULTI, True),
        ({"kind": "", "key": "a"}, False),
        ({"kind": "kind", "key": "a"}, False),
        ({"kind": "a b", "key": "a"}, False),
        ({"kind": "org"}, False),
        ({"kind": "org", "targetingKey": "a"}, True),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_a_context_without_key_or_kind_is_an_error_for_every_flag(
    context: Json, usable: bool, on: bool
) -> None:
    """Also for one that is off: LaunchDarkly looks at the context first."""
    answer = answered(flag(on=on), context)
    if usable:
        assert answer.error_code is None
    else:
        assert answer.error_code == ErrorCode.TARGETING_KEY_MISSING
        assert answer.metadata == {"sourceReason": "ERROR", "errorKind": "USER_NOT_SPECIFIED"}


@pytest.mark.parametrize(
    ("context", "wanted"),
    [(USER, True), (ORG, False), (MULTI, True), ({"kind": "multi", "user": {}}, False)],
)
def test_the_attribute_kind_is_any_of_a_context(context: Json, wanted: bool) -> None:
    """Whatever kind the clause is of; negated is the opposite for every context."""
    clause = {"attribute": "kind", "op": "startsWith", "values": ["us"], "contextKind": "org"}
    assert holds(clause, context) is wanted
    assert holds({**clause, "negate": True}, context) is not wanted


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", None),
        ("/", None),
        ("//", None),
        ("/a//b", None),
        ("/a/", None),
        ("/a~", None),
        ("/a~2", None),
        ("/a~01/b~1c", ("a~1", "b/c")),
        ("/~0~1", ("~/",)),
        ("a/b~", ("a/b~",)),
        ("/a", ("a",)),
    ],
)
def test_references(text: str, steps: tuple[str, ...] | None) -> None:
    """A bad escape and an empty step are errors, a name without a slash never."""
    assert contexts.parse_reference(text) == steps


# Values

DAY = 1_512_518_400_000


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2017-12-06T00:00:00Z", (DAY, "")),
        ("2017-12-06t00:00:00z", (DAY, "")),
        ("2017-12-06T0:00:00Z", (DAY, "")),
        ("2017-12-06T00:00:00.123456789Z", (DAY + 123, "456789")),
        ("2017-12-06T00:00:00.123456789+00:00", (DAY + 123, "456789")),
        ("2017-12-06T00:00:00.1234567891Z", None),
        ("2017-12-06T00:00:00.Z", None),
        ("2017-12-06T00:00:00Z[UTC]", (DAY, "")),
        ("2017-12-06T00:00:00+30:00", (DAY - 30 * 3_600_000, "")),
        ("2017-12-06T00:00:00-30:00", (DAY + 30 * 3_600_000, "")),
        ("2017-12-06T00:00:00+00:60", None),
        ("2017-12-05T23:59:60Z", (DAY, "")),
        ("2017-11-36T00:00:00Z", None),
        ("2017-11-31T00:00:00Z", (1_512_086_400_000, "")),
        ("2017-02-29T00:00:00Z", (1_488_326_400_000, "")),
        ("0000-01-01T00:00:00Z", (-62_167_219_200_000, "")),
        ("2017-13-01T00:00:00Z", None),
        ("2017-12-06T24:00:00Z", None),
        ("2017-12-06T00:00:00", None),
        ("\uff12017-12-06T00:00:00Z", None),
        (DAY, (DAY, "")),
        (DAY + 0.9, (DAY, "")),
        (-0.9, (0, "")),
        (10**400, None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_moments(value: Any, wanted: Any) -> None:
    """RFC 3339, as leniently as LaunchDarkly reads it, or milliseconds."""
    assert values.moment(value) == wanted


def test_versions_by_precedence() -> None:
    """Minor and patch may be left out; build metadata counts for nothing."""
    ascending = ["1-a", "1.0.0-a.1", "1.0-a.b", "1-b", "1", "1.0.1-0", "1.1-rc", "1.1", "2", "10"]
    found = [values.version(text) for text in ascending]
    assert None not in found
    assert found == sorted(found)  # type: ignore[type-var]  # none is None
    assert len(set(found)) == len(found)
    assert values.version("1.0.0+b.1") == values.version("1+a") == values.version("1.0")
    bad = ["", "v1", "01", "1.", "1.02", "1.0.0.0", "1-", "1-a..b", "1-01", "1+", "1+a+b", "1.x"]
    assert [text for text in [*bad, "1" * 257, "1-ä", "¹", 1, None] if values.version(text)] == []


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1, 1),
        (1.5, 1.5),
        (2**53 + 1, float(2**53)),
        (10**400, float("inf")),
        (-(10**400), float("-inf")),
        (True, None),
        ("1", None),
    ],
)
def test_numbers_are_of_double_precision(value: Any, wanted: Any) -> None:
    """Which only large integers can tell from exact ones."""
    assert values.number(value) == wanted


# Clauses


@pytest.mark.parametrize(
    ("op", "wanted", "value", "matches"),
    [
        ("in", [2**53], 2**53 + 1, True),
        ("in", [1, "1", True], 1.0, True),
        ("in", ["1"], 1, False),
        ("in", [1], True, False),
        ("in", [0, "x"], False, False),
        ("in", [[1]], [[1]], False),
        ("in", [{"a": 1}], {"a": 1}, False),
        ("in", [None], [None], False),
        ("in", [], "x", False),
        ("in", ["\ud800"[:0], "x"], "\ud800", False),
        ("contains", ["b", "z"], "abc", True),
        ("contains", [""], "", True),
        ("startsWith", ["b", 7], ["abc", "bcd"], True),
        ("endsWith", [7], "7", False),
        ("lessThan", [1, 5], 3, True),
        ("lessThan", [10**400], 3, True),
        ("greaterThanOrEqual", [1, 5], 1, True),
        ("greaterThanOrEqual", [1], True, False),
        ("lessThanOrEqual", ["5"], 1, False),
        ("before", [DAY, DAY + 5], DAY + 3, True),
        ("after", ["2017-12-06T00:00:00.0001Z"], DAY, False),
        ("before", ["2017-12-06T00:00:00.0001Z"], DAY, True),
        ("matches", ["^a.c$"], "abc", True),
        ("matches", ["b(c"], "abc", False),
        ("matches", ["b(c", "a"], "abc", True),
        ("matches", ["."], "\ud800", False),
        ("semVerEqual", ["2", "x"], "2.0.0", True),
        ("semVerLessThan", ["2", "3"], "2.5", True),
        ("semVerGreaterThan", ["2", "3"], "2.5", True),
        ("unheardOf", ["x"], "x", False),
    ],
)
def test_operators(op: str, wanted: list[Any], value: Any, matches: bool) -> None:
    """One value suffices; what cannot be read matches nothing. Negated is the opposite."""
    clause = {"attribute": "a", "op": op, "values": wanted}
    context = {**USER, "a": value}
    assert holds(clause, context) is matches
    assert holds({**clause, "negate": True}, context) is not matches
    for negate in (False, True):  # not for what is missing
        assert not holds({**clause, "negate": negate}, USER)
        assert not holds({**clause, "negate": negate, "contextKind": "org"}, context)


@pytest.mark.parametrize(
    "pattern",
    [r"b(?=c)", r"(?<!b)c", r"(a)\1", r"(?>a+)b", r"a++", r"a{1,2000}", r"(?P<q>a)\k<q>", r"a\Z"],
)
def test_a_pattern_that_other_sdks_take_is_refused(pattern: str) -> None:
    """Matching nothing, as to Go's SDK, would move the users of all others."""
    clause = {"attribute": "a", "op": "matches", "values": ["x", pattern]}
    translation = translated(ruled(clause))
    assert translation.program is None
    [problem] = translation.problems
    assert (problem.code, problem.severity) == (ProblemCode.INVALID_PATTERN, Severity.ERROR)
    assert problem.pointer == "/rules/0/clauses/0/values/1"


@pytest.mark.parametrize(
    ("clause", "where", "code"),
    [
        ({"attribute": "a", "op": "near", "values": [1]}, "/op", ProblemCode.UNKNOWN_OPERATOR),
        ({"attribute": "a"}, "/op", ProblemCode.UNKNOWN_OPERATOR),
        ({"attribute": "a", "op": "before", "values": [1, "x"]}, "/values/1", None),
        ({"attribute": "a", "op": "in", "values": [[]]}, "/values/0", None),
        ({"attribute": "a", "op": "semVerEqual", "values": ["v2"]}, "/values/0", None),
        ({"op": "segmentMatch", "values": [7]}, "/values/0", None),
        (
            {"attribute": "a", "op": "matches", "values": [r"(a"]},
            "/values/0",
            ProblemCode.INVALID_PATTERN,
        ),
        ({"op": "in", "values": []}, "/attribute", ProblemCode.WRONG_TYPE),
        (
            {"attribute": "//", "contextKind": "user", "op": "in"},
            "/attribute",
            ProblemCode.WRONG_TYPE,
        ),
    ],
)
def test_what_matches_nothing_is_a_warning(
    clause: Json, where: str, code: ProblemCode | None
) -> None:
    """The flag is translated all the same."""
    translation = translated(ruled(clause))
    assert translation.program is not None
    [problem] = translation.problems
    assert problem.pointer == f"/rules/0/clauses/0{where}"
    assert problem.code is (code or ProblemCode.OPERATOR_VALUES)
    assert problem.severity is Severity.WARNING


def test_without_a_kind_an_attribute_is_a_name() -> None:
    """Slashes and all, as before there were kinds."""
    clause = {"attribute": "/a/b~", "op": "in", "values": ["x"]}
    assert holds(clause, {**USER, "/a/b~": "x"})
    assert not holds(clause, {**USER, "a": {"b~": "x"}})
    assert holds({**clause, "attribute": "/a/b", "contextKind": "user"}, {**USER, "a": {"b": "x"}})


def test_a_clause_that_cannot_be_read_is_an_error_only_where_it_is_reached() -> None:
    """After clauses that hold, and after rules that do not."""
    bad = {"op": "in", "values": [1]}
    pro = {"attribute": "plan", "op": "in", "values": ["pro"]}
    rules = [
        {"variation": 0, "clauses": [{**pro, "values": ["free"]}]},
        {"variation": 0, "clauses": [pro, bad, ALWAYS]},
    ]
    made = compiled({"f": flag(rules=rules)})
    assert made.evaluate("f", {**USER, "plan": "pro"}).metadata["errorKind"] == "MALFORMED_FLAG"
    assert made.evaluate("f", {**USER, "plan": "free"}).value == "yes"
    assert made.evaluate("f", USER).value == "no"


# Reasons, targets, variations


def test_reasons_are_openfeatures_and_the_own_ones_are_metadata() -> None:
    """What is fixed for everybody is static; what has a rollout is a split."""
    rollout = {"rollout": {"variations": [{"variation": 0, "weight": 100_000}]}}
    rules = [{"id": "r", "clauses": [ALWAYS], **rollout}]
    targets = [{"variation": 0, "values": ["u-1"]}]
    cases: list[tuple[Json, Reason, Json]] = [
        (flag(on=False), Reason.DISABLED, {"sourceReason": "OFF"}),
        (flag(), Reason.STATIC, {"sourceReason": "FALLTHROUGH"}),
        (
            flag(targets=[{"variation": 0, "values": ["x"]}]),
            Reason.DEFAULT,
            {"sourceReason": "FALLTHROUGH"},
        ),
        (flag(fallthrough=rollout), Reason.SPLIT, {"sourceReason": "FALLTHROUGH"}),
        (flag(targets=targets), Reason.TARGETING_MATCH, {"sourceReason": "TARGET_MATCH"}),
        (
            ruled(ALWAYS),
            Reason.TARGETING_MATCH,
            {"sourceReason": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"},
        ),
        (
            flag(rules=rules),
            Reason.SPLIT,
            {"sourceReason": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"},
        ),
        (
            flag(prerequisites=[{"key": "gone", "variation": 0}]),
            Reason.DEFAULT,
            {"sourceReason": "PREREQUISITE_FAILED", "prerequisiteKey": "gone"},
        ),
    ]
    for definition, reason, metadata in cases:
        answer = answered(definition, USER)
        assert (answer.reason, answer.metadata) == (reason, metadata)


def test_our_own_switch_takes_the_place_of_theirs() -> None:
    """Off is off although the definition says on; and the other way round."""
    for on in (True, False):
        translation = DIALECT.translate("f", flag(on=not on), {}, on)
        answer = compile_translations({"f": translation}).evaluate("f", USER)
        assert answer.value == ("no" if on else "off")


def test_no_off_variation_is_the_applications_default() -> None:
    """And so is a variation whose value is null, which has a name all the same."""
    answer = answered(flag(on=False, offVariation=None), USER)
    assert (answer.value, answer.variant, answer.reason) == (UNSET, "", Reason.DISABLED)
    answer = answered(flag(variations=["a", None, {"b": None}]), USER)
    assert (answer.value, answer.variant) == (UNSET, "1")
    assert "value" not in json.loads(answer.body)


def test_targets_of_kinds_come_in_their_order() -> None:
    """An empty one for users stands for the list of the same variation; without it, that is not
    looked at."""
    made = compiled(
        {
            "f": flag(
                targets=[
                    {"variation": 0, "values": ["u"]},
                    {"variation": 2, "values": ["lost"]},
                ],
                contextTargets=[
                    {"contextKind": "org", "variation": 2, "values": ["acme"]},
                    {"variation": 0, "values": []},
                ],
            ),
            "g": flag(
                targets=[{"variation": 2, "values": ["u"]}, {"variation": 0, "values": ["u"]}],
                contextTargets=[{"variation": 0}, {"variation": 2}],
            ),
        }
    )
    assert made.evaluate("g", {"key": "u"}).value == "yes"
    both = {"kind": "multi", "user": {"key": "u"}, "org": {"key": "acme"}}
    assert made.evaluate("f", both).value == "off"
    assert made.evaluate("f", {**both, "org": {"key": "other"}}).value == "yes"
    assert made.evaluate("f", {"key": "lost"}).value == "no"


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"fallthrough": {"variation": 3}}, "/fallthrough/variation"),
        ({"fallthrough": {"variation": -1}}, "/fallthrough/variation"),
        ({"fallthrough": {}}, "/fallthrough"),
        ({"fallthrough": None}, "/fallthrough"),
        ({"fallthrough": {"rollout": {}}}, "/fallthrough/rollout/variations"),
        (
            {"fallthrough": {"rollout": {"variations": [{"variation": 9, "weight": 1}]}}},
            "/fallthrough/rollout",
        ),
        (
            {
                "fallthrough": {
                    "rollout": {
                        "contextKind": "user",
                        "bucketBy": "/a//b",
                        "variations": [{"variation": 0, "weight": 1}],
                    }
                }
            },
            "/fallthrough/rollout/bucketBy",
        ),
    ],
)
def test_what_leads_nowhere_is_an_error_for_those_who_come_to_it(members: Json, where: str) -> None:
    """And a warning in the definition; one that is off is not touched by it."""
    translation = translated(flag(**members))
    assert [problem.pointer for problem in translation.problems] == [where]
    assert translation.problems[0].severity is Severity.WARNING
    answer = answered(flag(**members), USER)
    assert answer.error_code == ErrorCode.PARSE_ERROR
    assert answer.metadata == {"sourceReason": "ERROR", "errorKind": "MALFORMED_FLAG"}
    assert answered(flag(**members, on=False), USER).value == "off"


# Prerequisites


def asking(*wanted: tuple[str, int], **members: Any) -> Json:
    return flag(prerequisites=[{"key": k, "variation": v} for k, v in wanted], **members)


def test_a_prerequisite_serves_a_variation_and_is_on() -> None:
    """An error of it, or an off variation of the same number, is not enough."""
    made = compiled(
        {
            "serves": asking(("plain", 1)),
            "another": asking(("plain", 0)),
            "is-off": asking(("off", 2)),
            "failed": asking(("another", 2)),
            "broken": asking(("bad", 0)),
            "plain": flag(),
            "off": flag(on=False),
            "bad": flag(fallthrough={"variation": 7}),
        }
    )
    found = {key: made.evaluate(key, USER).value for key in made.flags}
    assert found["serves"] == "no"
    assert found["another"] == found["is-off"] == found["broken"] == "off"
    # another one failed itself, and serves what it serves then: that passes, as it is on
    assert found["failed"] == "no"


def test_a_clause_that_cannot_be_read_stops_those_who_ask() -> None:
    """Through others too; where it is not reached nobody notices."""
    made = compiled(
        {
            "last": asking(("middle", 1)),
            "middle": asking(("first", 1)),
            "first": ruled({"attribute": "plan", "op": "in", "values": ["pro"]}, {"op": "in"}),
        }
    )
    for key in made.flags:
        answer = made.evaluate(key, {**USER, "plan": "pro"})
        assert answer.metadata == {"sourceReason": "ERROR", "errorKind": "MALFORMED_FLAG"}
        assert made.evaluate(key, USER).value == "no"


def test_a_circle_is_an_error_for_all_who_come_to_it() -> None:
    """One that is off asks nobody, so it is no part of a circle."""
    flags = {
        "user": asking(("one", 1)),
        "one": asking(("other", 1)),
        "other": asking(("one", 1)),
        "self": asking(("self", 1)),
    }
    made = compiled(flags)
    for key in flags:
        assert made.evaluate(key, USER).metadata["errorKind"] == "MALFORMED_FLAG"
        assert made.evaluate(key, {}).error_code == ErrorCode.TARGETING_KEY_MISSING
    made = compiled({**flags, "other": asking(("one", 1), on=False)})
    assert made.evaluate("other", USER).value == "off"
    assert made.evaluate("one", USER).metadata["sourceReason"] == "PREREQUISITE_FAILED"


def test_names() -> None:
    """Segments and flags, each once, in order; of a definition that cannot be read none."""
    clauses: list[Json] = [
        {"op": "segmentMatch", "values": ["b", "a", 7]},
        {"op": "segmentMatch", "values": ["b"]},
        {"op": "in", "values": ["c"]},
    ]
    definition = asking(("x", 0), ("y", 0), ("x", 1), rules=[{"clauses": clauses}])
    assert DIALECT.names(definition) == (("b", "a"), ("x", "y"))
    assert translated(definition).named == (("b", "a"), ("x", "y"))
    assert DIALECT.segment_names is not None
    assert DIALECT.segment_names({"rules": [{"clauses": clauses}]}) == ("b", "a")
    bad: list[Json] = [{"rules": 7}, {"rules": [{"clauses": [7]}]}, {"prerequisites": {}}]
    for hostile in bad:
        assert DIALECT.names(hostile) == ((), ())
        assert DIALECT.segment_names({"rules": 7}) == ()


# Rollouts

ODD: list[Any] = [None, "", "0", 0, 1, -1, 42, 42.0, 0.5, True, [], {}, "ä", "😀", "\ud800"]
ODD += [2**53, 2**53 + 1, 2**70, 1e300, -0.0, "x" * 300]


def bucket_of(definition: Json, rollout: Json, context: Json, bits: int) -> float:
    """Return the bucket by LaunchDarkly's formula, for a user."""
    by = rollout.get("bucketBy")
    is_experiment = rollout.get("kind") == "experiment"
    value = context["targetingKey"] if is_experiment or not by else context.get(by)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return 0.0
    if not isinstance(value, str):
        if abs(value) >= 2**63 or float(value) != int(float(value)):
            return 0.0
        value = str(int(float(value)))
    seed = rollout.get("seed")
    start = f"f.{definition['salt']}" if seed is None else str(seed)
    text = f"{start}.{value}".encode("utf-8", "surrogatepass")
    number = int(hashlib.sha1(text).hexdigest()[:15], 16)
    rounded: Callable[[float], float] = float32 if bits == 32 else float
    return rounded(rounded(number) / rounded(0xFFFFFFFFFFFFFFF))


def arm_of(bucket: float, weights: list[int], bits: int) -> int:
    rounded: Callable[[float], float] = float32 if bits == 32 else float
    end = 0.0
    for index, weight in enumerate(weights):
        end = rounded(end + rounded(rounded(weight) / rounded(100_000)))
        if bucket < end:
            return index
    return len(weights) - 1


@pytest.mark.parametrize("by", ["kind", "/kind"])
def test_a_share_by_the_kind_is_of_the_context_that_is_split(by: str) -> None:
    """In clauses, `kind` is any kind in the context; what is hashed is the kind of one."""
    arms = [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]
    rollout = {"contextKind": "org", "bucketBy": by, "variations": arms}
    one = flag(fallthrough={"rollout": rollout})
    for salt in "abcd":
        definition = {**one, "salt": salt}
        bucket = int(hashlib.sha1(f"f.{salt}.org".encode()).hexdigest()[:15], 16) / 2**60
        org = {"kind": "org", "key": "o"}
        both = {"kind": "multi", "org": {"key": "o"}, "user": {"key": "u"}}
        wanted = "yes" if bucket < 0.5 else "no"
        assert [answered(definition, context).value for context in (org, both)] == [wanted] * 2
        assert answered(definition, USER).value == "yes"  # has no org, so its bucket is 0


WEIGHTS = [
    [100_000],
    [50_000, 50_000],
    [33_333, 33_333, 33_334],
    [0, 1, 99_999],
    [60_000, 0, 20_000],
    [0, 0],
    [30_000, -10_000, 40_000, 40_000],
    [200_000, 5],
    [1] * 40,
]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_rollouts_divide_as_the_formula_does(weights: list[int], bits: int) -> None:
    """By key, by an attribute of any value, with a seed, tracked or not."""
    draw = Random(str(weights))
    for members in ({}, {"bucketBy": "unit"}, {"seed": 61}, {"kind": "experiment", "seed": -5}):
        arms = [
            {"variation": index, "weight": weight, "untracked": index % 2 == 1}
            for index, weight in enumerate(weights)
        ]
        rollout = {**members, "variations": arms}
        definition = flag(variations=list(range(len(arms))), fallthrough={"rollout": rollout})
        made = compiled({"f": definition}, float=bits)
        for number in range(300):
            unit = draw.choice(ODD) if draw.random() < 0.3 else f"unit-{number}"
            context = {"targetingKey": f"user-{number}", "unit": unit}
            wanted = arm_of(bucket_of(definition, rollout, context, bits), weights, bits)
            answer = made.evaluate("f", context)
            assert answer.value == wanted, context
            tracked = members.get("kind") == "experiment" and wanted % 2 == 0
            assert answer.metadata.get("inExperiment", False) is tracked


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_arms_end_at_the_very_turning_points(weights: list[int], bits: int) -> None:
    """No key can be found for them, so the numbers around each are looked at."""
    arms = [{"variation": index, "weight": weight} for index, weight in enumerate(weights)]
    definition = flag(
        variations=list(range(len(arms))), fallthrough={"rollout": {"variations": arms}}
    )
    program = translated(definition, float=str(bits)).program
    assert isinstance(program, p.Program)
    split = program.otherwise
    assert isinstance(split, p.Split)
    rounded: Callable[[float], float] = float32 if bits == 32 else float
    for cut in {0, 2**60 - 1} | {int(end) for arm in split.arms for end in (arm.low, arm.high)}:  # type: ignore[arg-type]
        for number in range(max(0, cut - 3), min(2**60, cut + 3)):
            bucket = rounded(rounded(number) / rounded(0xFFFFFFFFFFFFFFF))
            found = next(
                (arm.serve for arm in split.arms if arm.low <= number < arm.high),  # type: ignore[operator]
                split.otherwise,
            )
            assert isinstance(found, p.Outcome)
            assert found.variant == str(arm_of(bucket, weights, bits)), number


def test_single_precision_is_rounded_once() -> None:
    """Half to even, also where an integer of double precision would be a tie and is none."""
    draw = Random(1)
    numbers = [draw.getrandbits(bits) for bits in range(1, 61) for _ in range(50)]
    numbers += [2**24 + 1, 2**25 + 2, 2**59 + 2**35 + 1, 2**59 + 2**35, 2**59 + 3 * 2**35, 0]
    assert [rollouts.float32(n) for n in numbers] == [float32(n) for n in numbers]
    assert rollouts.float32(0.1) == float32(0.1)
    assert rollouts.float32(-10_000) == -10_000.0


def test_who_has_not_the_kind_is_in_no_experiment() -> None:
    """But is served, as bucket 0 is; also where only an arm further on has a weight."""
    rollout = {
        "kind": "experiment",
        "contextKind": "org",
        "variations": [{"variation": 2, "weight": 0}, {"variation": 0, "weight": 100_000}],
    }
    made = compiled({"f": flag(fallthrough={"rollout": rollout})})
    assert made.evaluate("f", USER).value == "yes"
    assert made.evaluate("f", USER).metadata == {"sourceReason": "FALLTHROUGH"}
    answer = made.evaluate("f", {"kind": "org", "key": "acme"})
    assert answer.metadata == {"sourceReason": "FALLTHROUGH", "inExperiment": True}
    assert answer.unit_attribute == "org.key"


def test_the_key_of_the_definition_is_hashed() -> None:
    """A flag that has another name here divides as before."""
    arms = [{"variation": v, "weight": 50_000} for v in (0, 1)]
    definition = flag(fallthrough={"rollout": {"variations": arms}})
    other = translated({**definition, "key": "original"}).program
    assert isinstance(other, p.Program)
    assert isinstance(other.otherwise, p.Split)
    text = b"original.salty.u-1"
    number = number_of(other.otherwise.bucketing)(USER)
    assert number == int(hashlib.sha1(text).hexdigest()[:15], 16)


# Segments


def in_segment(definition: Json, context: Json, **options: Any) -> bool:
    clause = {"op": "segmentMatch", "values": ["s"]}
    made = compiled({"f": ruled(clause)}, {"s": definition}, **options)
    return bool(made.evaluate("f", context).value == "yes")


def test_segments_by_lists_then_rules() -> None:
    """Of any kind; included before excluded."""
    definition = {
        "included": ["in", "both"],
        "excluded": ["both", "out"],
        "includedContexts": [
            {"contextKind": "org", "values": ["acme"]},
            {"contextKind": "user", "values": ["named"]},
        ],
        "excludedContexts": [{"contextKind": "org", "values": ["evil"]}],
        "rules": [{"clauses": [{"attribute": "plan", "op": "in", "values": ["pro"]}]}],
    }
    pro = {"plan": "pro"}
    cases: list[tuple[Json, bool]] = [
        ({"key": "in"}, True),
        ({"key": "both", **pro}, True),
        ({"key": "out", **pro}, False),
        ({"key": "named"}, True),
        ({"key": "else", **pro}, True),
        ({"key": "else"}, False),
        ({"kind": "org", "key": "acme"}, True),
        ({"kind": "org", "key": "in"}, False),
        ({"kind": "multi", "user": {"key": "x", **pro}, "org": {"key": "evil"}}, False),
        ({"kind": "multi", "user": {"key": "in"}, "org": {"key": "evil"}}, True),
    ]
    assert [in_segment(definition, context) for context, _ in cases] == [w for _, w in cases]


@pytest.mark.parametrize("bits", [32, 64])
def test_a_rule_takes_in_a_share(bits: int) -> None:
    """Whose attribute is missing is in bucket 0, and so in; whose kind is missing is not."""
    for weight in (0, 1, 30_000, 100_000):
        rule = {"clauses": [ALWAYS], "weight": weight, "bucketBy": "unit"}
        definition = {"salt": "s", "rules": [rule]}
        for number in range(100):
            context = {"targetingKey": "u", "unit": f"u-{number}"}
            digits = hashlib.sha1(f"s.s.u-{number}".encode()).hexdigest()[:15]
            rounded: Callable[[float], float] = float32 if bits == 32 else float
            bucket = rounded(rounded(int(digits, 16)) / rounded(0xFFFFFFFFFFFFFFF))
            wanted = bucket < rounded(rounded(weight) / rounded(100_000))
            assert in_segment(definition, context, float=bits) is wanted
        odds: list[Any] = [None, True, 0.5, []]
        for odd in odds:
            assert in_segment(definition, {**USER, "unit": odd}, float=bits) is (weight > 0)
        by_org = {"salt": "s", "rules": [{**rule, "rolloutContextKind": "org"}]}
        assert not in_segment(by_org, {**USER, "unit": 0.5}, float=bits)
        org = {"kind": "multi", "user": {"key": "u"}, "org": {"key": "acme"}}
        assert in_segment(by_org, org, float=bits) is (weight > 0)


def test_of_a_big_segment_only_the_rules_count() -> None:
    """With a warning; without a generation nobody is in it, nor who lacks its kind."""
    assert DIALECT.segment is not None
    rules = [{"clauses": [{"attribute": "plan", "op": "in", "values": ["pro"]}]}]
    big = {"unbounded": True, "generation": 2, "included": ["u-1"], "rules": rules}
    assert not in_segment(big, USER)
    assert in_segment(big, {**USER, "plan": "pro"})
    assert not in_segment({**big, "generation": None}, {**USER, "plan": "pro"})
    assert not in_segment({**big, "unboundedContextKind": "org"}, {**USER, "plan": "pro"})
    expression, problems = DIALECT.segment(big, {})
    assert expression is not None
    [problem] = problems
    assert (problem.pointer, problem.severity) == ("/unbounded", Severity.WARNING)


@pytest.mark.parametrize(
    "rule",
    [
        {"clauses": [{"op": "in"}]},
        {"clauses": [], "weight": 1, "bucketBy": "//", "rolloutContextKind": "user"},
        {"clauses": [], "weight": 0.5},
    ],
)
def test_a_segment_that_cannot_be_read_is_none(rule: Json) -> None:
    """For flags it would be an error only where it is reached; here it is not usable."""
    assert DIALECT.segment is not None
    expression, problems = DIALECT.segment({"key": "s", "rules": [rule]}, {})
    assert expression is None
    assert any(problem.severity is Severity.ERROR for problem in problems)


# Definitions that are refused

LARGE_PATTERNS = [rf"{number}\pL\pL" for number in range(50)]
"""Each small enough, and all together not."""


@pytest.mark.parametrize(
    ("definition", "where", "code"),
    [
        (flag(rules=7), "/rules", ProblemCode.WRONG_TYPE),
        (flag(targets=[{"values": [7]}]), "/targets/0/values/0", ProblemCode.WRONG_TYPE),
        (flag(offVariation=0.5), "/offVariation", ProblemCode.WRONG_TYPE),
        (flag(offVariation=1e300), "/offVariation", ProblemCode.WRONG_TYPE),
        (flag(offVariation=True), "/offVariation", ProblemCode.WRONG_TYPE),
        (flag(prerequisites=[{"variation": 1}]), "/prerequisites/0/key", ProblemCode.MISSING_FIELD),
        (
            flag(prerequisites=[{"key": "a", "variation": 0.5}]),
            "/prerequisites/0/variation",
            ProblemCode.WRONG_TYPE,
        ),
        (flag(salt="\ud800"), "", ProblemCode.WRONG_TYPE),
        (flag(rules=[{}] * 501), "/rules", ProblemCode.TOO_MANY),
        (flag(rules=[{"clauses": [{}] * 1_001}]), "/rules", ProblemCode.TOO_MANY),
        (
            ruled({"attribute": "a", "op": "in", "values": list(range(20_001))}),
            "/rules",
            ProblemCode.TOO_MANY,
        ),
        (
            ruled({"attribute": "a", "op": "matches", "values": ["a"] * 51}),
            "/rules",
            ProblemCode.TOO_MANY,
        ),
        (
            ruled({"op": "segmentMatch", "values": ["a"] * 201}),
            "/rules",
            ProblemCode.TOO_MANY,
        ),
        (flag(variations=[1] * 1_001), "/variations", ProblemCode.TOO_MANY),
        (
            flag(fallthrough={"rollout": {"variations": [{"weight": 1}] * 1_001}}),
            "/rules",
            ProblemCode.TOO_MANY,
        ),
        (
            flag(prerequisites=[{"key": "a"}] * (limits.MAX_PREREQUISITES + 1)),
            "/prerequisites",
            ProblemCode.TOO_MANY,
        ),
        (
            flag(fallthrough={"rollout": {"variations": [{"weight": 0.5}]}}),
            "/fallthrough/rollout/variations/0/weight",
            ProblemCode.WRONG_TYPE,
        ),
        (
            flag(fallthrough={"rollout": {"seed": 0.5, "variations": [{"weight": 1}]}}),
            "/fallthrough/rollout/seed",
            ProblemCode.WRONG_TYPE,
        ),
        (
            ruled({"attribute": "a", "op": "matches", "values": LARGE_PATTERNS}),
            "/rules/0/clauses/0/values",
            ProblemCode.INVALID_PATTERN,
        ),
        (
            ruled({"attribute": "a", "op": "matches", "values": [r"\pL{900}"]}),
            "/rules/0/clauses/0/values/0",
            ProblemCode.INVALID_PATTERN,
        ),
        (
            ruled({"attribute": "a", "op": "matches", "values": ["a" * 1_001]}),
            "/rules/0/clauses/0/values/0",
            ProblemCode.TOO_MANY,
        ),
    ],
)
def test_definitions_that_are_refused(definition: Json, where: str, code: ProblemCode) -> None:
    """Without a program, with an error that says where."""
    translation = translated(definition)
    assert translation.program is None
    wrong = [found for found in translation.problems if found.severity is Severity.ERROR]
    assert (where, code) in codes(wrong)


def test_integers_may_be_written_with_a_fraction_of_zero() -> None:
    """As some tools write JSON."""
    arms = [{"variation": 0.0, "weight": 100_000.0}]
    assert answered(flag(fallthrough={"rollout": {"variations": arms}}), USER).value == "yes"
    assert answered(flag(on=False, offVariation=1.0), USER).value == "no"


def test_nesting_without_end_is_a_problem() -> None:
    """Nothing recurses over it."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    translation = translated(flag(variations=[deep]))
    assert codes(translation.problems) == [("", ProblemCode.TOO_DEEP)]


# Files


def read(document: Any, **options: Any) -> Imported:
    return DIALECT.read(document, options)


ARMS = [{"variation": 0, "weight": 100_000}]


def test_a_file_as_clients_are_sent_it() -> None:
    """Deleted flags are none; what a flag says of people or events is not kept."""
    document = {
        "flags": {
            "a": {**flag(), "version": 7, "trackEvents": True, "_maintainer": {"email": "x"}},
            "gone": {"deleted": True, "version": 3},
            "bad": {"rules": 7},
        },
        "segments": {"s": {"included": ["u"], "version": 1, "deleted": False}, "bad": []},
        "flagValues": {"v": {"x": 1}},
        "sdkKey": "sdk-secret",
    }
    found = read(document)
    assert [flag.key for flag in found.flags] == ["a", "v"]
    a, v = found.flags
    assert a.definition == {**flag(), "key": "a", "trackEvents": True}
    assert (a.type, a.variants, a.fallthrough) == (
        "string",
        {"0": "yes", "1": "no", "2": "off"},
        "1",
    )
    assert (a.enabled, a.options, v.type) == (True, {}, "object")
    assert answered(dict(v.definition), USER).value == {"x": 1}
    assert [(s.key, s.definition) for s in found.segments] == [
        ("s", {"included": ["u"], "key": "s"})
    ]
    assert codes(found.problems) == [
        ("", ProblemCode.UNKNOWN_FIELD),
        ("/segments/bad", ProblemCode.WRONG_TYPE),
        ("/flags/bad/rules", ProblemCode.WRONG_TYPE),
    ]
    assert "sdk-secret" not in repr(found)


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"fallthrough": {"variation": 1.0}}, "1"),
        ({"fallthrough": {"variation": 9}}, "2"),
        ({"fallthrough": {"variation": 9}, "offVariation": -1}, "0"),
        ({"fallthrough": None, "offVariation": None}, "0"),
        (
            {
                "fallthrough": {
                    "rollout": {"variations": [{"weight": 1}, {"variation": 1, "weight": 5}]}
                }
            },
            "1",
        ),
    ],
)
def test_the_fallthrough_that_people_see_is_a_variant(members: Json, wanted: str) -> None:
    """Whatever is served; a variation that is null is one, too."""
    [made] = read({"flags": {"f": flag(variations=["a", None, 7], **members)}}).flags
    assert (made.fallthrough, made.variants) == (wanted, {"0": "a", "1": None, "2": 7})


def test_a_flag_without_variations_is_refused() -> None:
    """It could answer nothing."""
    found = read({"flags": {"f": flag(variations=[], fallthrough={})}})
    assert found.flags == ()
    assert ("/flags/f/variations", ProblemCode.NO_VARIANTS) in codes(found.problems)


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, False),
        ({"clientSide": True}, True),
        ({"clientSide": "true"}, False),
        ({"clientSideAvailability": {"usingEnvironmentId": True}}, True),
        ({"clientSideAvailability": {"usingMobileKey": True}}, True),
        ({"clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": False}}, False),
        ({"clientSideAvailability": {"usingEnvironmentId": False}, "clientSide": True}, False),
        ({"clientSideAvailability": None, "clientSide": True}, True),
    ],
)
def test_a_flag_that_clients_may_see_says_so(members: Json, wanted: bool) -> None:
    """In either form; the newer one counts where both are there."""
    [made] = read({"flags": {"f": flag(**members)}}).flags
    assert DIALECT.traits(made.definition).client_side is wanted


def test_flags_for_mobile_keys_alone_are_told() -> None:
    """Here browsers have the same kind of key."""
    available = {"usingMobileKey": True, "usingEnvironmentId": False}
    found = read({"flags": {"f": flag(clientSideAvailability=available), "g": flag()}})
    [problem] = found.problems
    assert (problem.code, problem.severity) == (ProblemCode.UNSUPPORTED, Severity.WARNING)
    assert 'see: "f"' in problem.message


def test_flags_that_come_to_a_big_segment_are_told() -> None:
    """With the place where each names one, or a segment that asks one."""

    def asking(*names: str) -> Json:
        clause = {"op": "segmentMatch", "attribute": "", "values": list(names)}
        return {"clauses": [clause], "variation": 0}

    document = {
        "segments": {
            "big": {"unbounded": True, "generation": 1},
            "around": {"rules": [asking("big")]},
            "small": {"included": ["u"]},
        },
        "flags": {
            "direct": flag(rules=[asking("small"), asking("small", "big")]),
            "through": flag(rules=[asking("around")]),
            "none": flag(rules=[asking("small")]),
        },
    }
    found = read(document)
    assert [problem.pointer for problem in found.problems] == [
        "/segments/big/unbounded",
        "/flags/direct/rules/1/clauses/0/values/1",
        "/flags/through/rules/0/clauses/0/values/0",
    ]


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, False),
        ({"trackEvents": True}, True),
        ({"trackEventsFallthrough": True}, True),
        ({"rules": [{"variation": 0, "clauses": [], "trackEvents": True}]}, True),
        ({"rules": [{"variation": 0, "clauses": [], "trackEvents": False}]}, False),
        ({"fallthrough": {"rollout": {"kind": "experiment", "variations": ARMS}}}, True),
        ({"fallthrough": {"rollout": {"kind": "rollout", "variations": ARMS}}}, False),
    ],
)
def test_a_flag_with_events_or_an_experiment_is_tracked(members: Json, wanted: bool) -> None:
    """As LaunchDarkly sends events of it."""
    [made] = read({"flags": {"f": flag(**members)}}).flags
    assert DIALECT.traits(made.definition).track is wanted


def test_a_file_as_it_is_streamed() -> None:
    """Pointers are into the file; the precision is kept with each flag."""
    document = {"path": "/", "data": {"flags": {"a/b": flag(offVariation=7)}, "segments": {}}}
    found = read(document, float="32")
    assert [flag.options for flag in found.flags] == [{"float": 32}]
    assert codes(found.problems) == [("/data/flags/a~1b/offVariation", ProblemCode.UNKNOWN_VARIANT)]


REST = {
    "key": "checkout",
    "name": "Checkout",
    "tags": ["web", 7],
    "variations": [{"_id": "1", "value": True, "name": "on"}, {"_id": "2", "value": False}],
    "clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": True},
    "environments": {
        "production": {
            "on": True,
            "salt": "salty",
            "sel": "x",
            "_access": {"allowed": []},
            "targets": [{"values": ["vip"], "variation": 0}],
            "rules": [
                {
                    "_id": "rule-1",
                    "ref": "x",
                    "clauses": [
                        {
                            "_id": "c",
                            "attribute": "/address/city",
                            "contextKind": "user",
                            "op": "in",
                            "values": ["Delft"],
                            "negate": False,
                        }
                    ],
                    "rollout": {
                        "experimentAllocation": None,
                        "variations": [{"variation": 0, "weight": 100_000, "_id": "x"}],
                    },
                    "trackEvents": True,
                }
            ],
            "fallthrough": {"variation": 1, "trackEvents": False},
            "offVariation": 9,
            "prerequisites": [],
        },
        "test": {"on": False, "fallthrough": {"variation": 0}, "offVariation": 1},
        "summary": {"on": True, "_summary": {"variations": {}}},
    },
}


def test_a_flag_of_the_rest_api() -> None:
    """As clients are sent it, of one environment; a list of them alike."""
    for document, start in ((REST, ""), ({"items": [REST], "totalCount": 1}, "/items/0")):
        found = read(document, environment="production")
        [made] = found.flags
        assert (made.key, made.description, made.tags, made.type) == (
            "checkout",
            "Checkout",
            ("web",),
            "boolean",
        )
        answer = answered(dict(made.definition), {**USER, "address": {"city": "Delft"}})
        assert (answer.value, answer.metadata["ruleId"]) == (True, "rule-1")
        assert DIALECT.traits(made.definition) == (True, True)
        assert codes(found.problems) == [
            (f"{start}/environments/production/offVariation", ProblemCode.UNKNOWN_VARIANT)
        ]
    [made] = read(REST, environment="test").flags
    assert DIALECT.traits(made.definition) == (True, False)
    assert made.enabled is False
    many = {**REST, "variations": [{"value": 1}] * 1_001}
    assert codes(read(many, environment="test").problems) == [("/variations", ProblemCode.TOO_MANY)]


@pytest.mark.parametrize(
    ("environment", "where", "code"),
    [
        (None, "/environments", ProblemCode.UNKNOWN_ENVIRONMENT),
        ("staging", "/environments", ProblemCode.UNKNOWN_ENVIRONMENT),
        ("summary", "/environments/summary", ProblemCode.MISSING_FIELD),
    ],
)
def test_an_environment_that_cannot_be_read(
    environment: str | None, where: str, code: ProblemCode
) -> None:
    """One of several must be named, and be there in full."""
    options = {} if environment is None else {"environment": environment}
    found = read(REST, **options)
    assert (found.flags, codes(found.problems)) == ((), [(where, code)])


def test_segments_of_the_rest_api() -> None:
    """They come without a salt, so one that takes in a share is refused."""
    clauses = [{"_id": "c", "attribute": "plan", "op": "in", "values": ["pro"]}]
    items = [
        {"key": "a", "name": "A", "description": "d", "rules": [{"_id": "r", "clauses": clauses}]},
        {"key": "b", "rules": [{"clauses": clauses, "weight": 50_000}]},
        {"key": "a", "included": ["u"]},
        {"name": "none"},
    ]
    found = read({"items": items})
    [made] = found.segments
    assert (made.key, made.description) == ("a", "d")
    assert codes(found.problems) == [
        ("/items/1/rules", ProblemCode.MISSING_FIELD),
        ("/items/2", ProblemCode.DUPLICATE_KEY),
        ("/items/3", ProblemCode.WRONG_TYPE),
    ]


@pytest.mark.parametrize("document", [None, [], 7, "x", {}, {"a": 1}, {"flags": []}, {"data": {}}])
def test_a_file_without_flags_says_so(document: Any) -> None:
    """Whatever else it is."""
    found = read(document)
    assert found.flags == ()
    assert [problem.code for problem in found.problems][-1:] == [ProblemCode.WRONG_TYPE]


# Hostile

RICH: Json = {
    "flags": {
        "a": asking(
            ("b", 0),
            ("c", 1),
            targets=[{"variation": 0, "values": ["u-1", "u-2"]}],
            contextTargets=[
                {"contextKind": "org", "variation": 1, "values": ["acme"]},
                {"contextKind": "user", "variation": 0, "values": []},
            ],
            rules=[
                {
                    "id": "r",
                    "variation": 0,
                    "clauses": [
                        {"attribute": "/a/b", "contextKind": "org", "op": op, "values": wanted}
                        for op, wanted in (
                            ("in", ["x", 1, True]),
                            ("matches", ["^a+", "b"]),
                            ("before", ["2017-12-06T00:00:00Z", 5]),
                            ("semVerLessThan", ["2.0"]),
                            ("segmentMatch", ["s", "t"]),
                        )
                    ],
                },
            ],
            fallthrough={
                "rollout": {
                    "kind": "experiment",
                    "contextKind": "user",
                    "bucketBy": "unit",
                    "seed": 7,
                    "variations": [
                        {"variation": 0, "weight": 50_000, "untracked": True},
                        {"variation": 1, "weight": 50_000},
                    ],
                }
            },
        ),
        "b": ruled({"attribute": "kind", "op": "in", "values": ["org"], "negate": True}),
        "c": asking(("a", 0)),
    },
    "segments": {
        "s": {
            "included": ["u"],
            "excludedContexts": [{"contextKind": "org", "values": ["o"]}],
            "rules": [{"clauses": [ALWAYS], "weight": 5, "bucketBy": "x"}],
            "unbounded": False,
        },
        "t": {"rules": [{"clauses": [{"op": "segmentMatch", "values": ["s"]}]}]},
    },
}

CONTEXTS: list[Json] = [USER, LEGACY, ORG, MULTI, {}, {**USER, "a": {"b": [1, "a", None]}}]


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_never_raise(seed: int) -> None:
    """Reading, translating, compiling and evaluating; what is said is bounded."""
    assert DIALECT.segment is not None
    assert DIALECT.segment_names is not None
    draw = Random(seed)
    for _ in range(500):
        document = mutated(draw.choice([RICH, RICH, {"items": [REST]}]), draw)
        options = {"float": draw.choice([32, 64]), "environment": "production"}
        found = DIALECT.read(document, options)
        assert sum(len(problem.message) for problem in found.problems) < 200_000
        compile_all(found)
        raw = document.get("flags") if isinstance(document, dict) else None
        for key, definition in raw.items() if isinstance(raw, dict) else ():
            if isinstance(definition, dict):  # also as the compiler is given it, unread
                DIALECT.translate(key, definition, options, True)
                DIALECT.names(definition)
                DIALECT.segment(definition, options)
                DIALECT.segment_names(definition)


def compile_all(found: Imported) -> None:
    """Compile and evaluate what was read."""
    assert DIALECT.segment is not None
    translations = {
        made.key: DIALECT.translate(made.key, made.definition, made.options, made.enabled)
        for made in found.flags
    }
    segments = {
        made.key: DIALECT.segment(made.definition, made.options)[0] for made in found.segments
    }
    compiled_flags = compile_translations(
        translations, {key: when for key, when in segments.items() if when is not None}
    )
    for key in translations:
        for context in CONTEXTS:
            json.loads(compiled_flags.evaluate(key, context).body)


def test_the_problems_are_of_the_contract() -> None:
    """Every one has a code and a place."""
    found = read({"flags": {"f": flag(rules=[{"clauses": [{"op": "?", "attribute": "a"}]}])}})
    assert all(isinstance(problem, Problem) for problem in found.problems)


def test_archived_flags_and_other_pages_are_told() -> None:
    """No client is sent the first, and a list of the REST API may be one page of many."""
    rest = {"environments": {"production": {"on": True, "fallthrough": {"variation": 0}}}}
    flag = {**rest, "variations": [{"value": 1}]}
    items = [{**flag, "key": "live"}, {**flag, "key": "old", "archived": True}]
    found = DIALECT.read({"items": items, "totalCount": 57}, {})
    assert [item.key for item in found.flags] == ["live"]
    told = {problem.code: problem for problem in found.problems}
    assert told[ProblemCode.ARCHIVED].message.endswith('archived: "old"')
    assert "2 of 57" in told[ProblemCode.MISSING_FIELD].message
    assert {problem.severity for problem in found.problems} == {Severity.WARNING}


def test_values_that_some_clients_do_not_take_are_warned_of() -> None:
    """Lists, and several types in one flag; whole numbers beside others are one."""
    plain = {"on": True, "fallthrough": {"variation": 0}}
    flags = {
        "list": {**plain, "variations": [[1], [2]]},
        "mixed": {**plain, "variations": [1, "a", None]},
        "numbers": {**plain, "variations": [1, 2.5, None]},
    }
    assert codes(DIALECT.read({"flags": flags}, {}).problems) == [
        ("/flags/list/variations", ProblemCode.ARRAY_VALUE),
        ("/flags/mixed/variations", ProblemCode.VALUE_TYPE),
    ]
