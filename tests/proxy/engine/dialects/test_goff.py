"""GO Feature Flag's flags beyond its own tables: its queries at their edges, and hostile files.

What is expected of queries was taken from GO Feature Flag itself. `share` and `progressive` are its
formulas written down once more, with nothing of the engine.
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from msgspec import UNSET

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem
from proxy.engine import limits
from proxy.engine.answers import Answer
from proxy.engine.dialects.goff import DIALECT
from proxy.engine.dialects.goff.query import parse_query
from proxy.engine.dialects.model import Imported, Translation
from proxy.engine.timing import Timing
from tests.conformance.harness import CompiledFlags, compile_translations
from tests.proxy.engine.dialects.mutations import mutated

Json = dict[str, Any]
NOW_MS = 1_760_000_000_000
NOW = datetime.fromtimestamp(NOW_MS / 1_000, UTC)
ON_OFF = {"on": True, "off": False}


def at(seconds: float) -> str:
    """Return a time so many seconds from `NOW`, as a file has it."""
    return (NOW + timedelta(seconds=seconds)).isoformat()


def flag(*rules: Json, default: Json | None = None, **more: Any) -> Json:
    return {
        "variations": ON_OFF,
        "targeting": list(rules),
        "defaultRule": {"variation": "off"} if default is None else default,
        **more,
    }


def asking(query: str) -> Json:
    """Return a flag that is on where a query holds."""
    return flag({"query": query, "variation": "on"})


def translate(definition: Json, *, enabled: bool = True, **options: Any) -> Translation:
    return DIALECT.translate("checkout", definition, options, enabled)


def compiled(definition: Json, **more: Any) -> CompiledFlags:
    return compile_translations({"checkout": translate(definition, **more)})


def evaluate(definition: Json, context: Json, now_ms: int = NOW_MS, **more: Any) -> Answer:
    return compiled(definition, **more).evaluate("checkout", context, now_ms)


def read(document: Any, **options: Any) -> Imported:
    return DIALECT.read(document, options)


def pointers(problems: tuple[Problem, ...], severity: Severity = Severity.ERROR) -> list[str]:
    return [problem.pointer for problem in problems if problem.severity is severity]


# Queries


HOLDS = [
    ('a eq "abc"', {"a": "ABC"}, True),
    ('a in ["abc", "x"]', {"a": "ABC"}, False),
    ('a in ["abc","x"]', {"a": "x"}, True),
    ('a in "abc"', {"a": "abc"}, False),
    ('a co "B" or a sw "x"', {"a": "abc"}, True),
    ('a EW "BC"', {"a": "abc"}, True),
    ('a gt "aa"', {"a": "AB"}, True),
    ('a eq "İ"', {"a": "i"}, True),
    ('a eq "Σ"', {"a": "\u03c3"}, True),
    ('a eq "ς"', {"a": "Σ"}, False),
    ('a ne "x"', {}, False),
    ('not (a eq "x")', {}, True),
    ("a eq null", {}, True),
    ("a ne null", {"a": False}, True),
    ("a pr", {"a": None}, False),
    ("a eq true", {"a": True}, True),
    ("a ne true", {"a": 1}, False),
    ("a eq 18", {"a": 18.9}, True),
    ("a gt 18", {"a": 18.9}, False),
    ("a eq 1", {"a": True}, False),
    ("a in [1, 5]", {"a": 5.0}, True),
    ("a in [1, 5]", {"a": 5.5}, False),
    ("a.b in [1, 5]", {"a": {"b": 5}}, False),
    ("a.b eq 5", {"a": {"b": 5}}, True),
    ("a in [1.5, 5.0]", {"a": 5}, True),
    ("a le 1.5", {"a": 1}, True),
    ("a lt 1.5e3", {"a": 1_499.5}, True),
    ("a lt 1.5e999", {"a": 1}, False),
    ("a eq -9223372036854775808", {"a": 1e300}, True),
    ("a gt 1.2.3-rc.1", {"a": "1.2.3"}, True),
    ("a eq 1.2.3", {"a": "1.2.3+build"}, True),
    ("a gt 1.0.0", {"a": "v1.2.3"}, False),
    ("a gt 1.0.0", {"a": "01.2.3"}, False),
    ("a ge 1.0.0", {"a": f"{2**64}.0.0"}, False),
    ('key eq "u-1" and targetingKey eq "U-1"', {"targetingKey": "u-1", "key": "other"}, True),
    ('key ne "x"', {"targetingKey": 5}, True),
    ("anonymous eq false", {"anonymous": "yes"}, True),
    ("a eq 1 or b eq 1 and c eq 1", {"a": 1}, False),
    ("a eq 1 or (b eq 1 and c eq 1)", {"a": 1}, True),
    # operators that a value does not have make all of the query false, when they are reached
    ("not (a co 1)", {"a": 1}, False),
    ("b eq 1 or a gt true", {"b": 1}, True),
    ("not (a in null)", {}, False),
    # a path that leads nowhere leaves the value before in its place
    ('a eq "x" and o.x eq "x"', {"a": "x"}, True),
    ('o.x eq "x" and a eq "x"', {"a": "x"}, False),
    ("o.x.y eq 1 or a eq 1", {"a": 1}, False),
    ("a eq 1 and not (a.x eq 1)", {"a": 1}, False),
    ("o.x.y eq 1 and a eq 2", {"o": {"x": {"y": 1}}, "a": 2}, True),
    # what is mended as the original does
    ("not a eq 1", {"a": 2}, True),
    ("not a eq 1 and b eq 1", {"a": 1}, True),
    ("(a eq 1", {"a": 1}, True),
    ("a eq 1 AND b eq 2", {"a": 1}, True),
    ("a eq 1 && b eq 2", {"a": 1}, True),
    ("a eq 1e5", {"a": 1}, True),
    ('a eq"x"', {"a": "x"}, True),
    ('a eq  "x"', {"a": "x"}, True),
    ('a=="x"', {"a": "x"}, False),
    ('a  eq "x"', {"a": "x"}, False),
    ("a eq 1 and(b eq 2)", {"a": 1, "b": 2}, True),
    ('a eq "x" and', {"a": "x"}, False),
    ('a eq "x" or', {"a": "x"}, True),
    ("a in []", {"a": 1}, False),
    ('a in ["x",]', {"a": "x"}, False),
    ("a in [1 5]", {"a": 1}, True),
    ("??? not a valid query !!!", {}, False),
    ("a eq 1\n  and b eq 2", {"a": 1}, True),
    ("a eq \n   1", {"a": 1}, True),
    ("", {}, True),
    ("null", {}, False),
    ("[]", {}, False),
]


@pytest.mark.parametrize(("query", "context", "holds"), HOLDS)
def test_queries(query: str, context: Json, holds: bool) -> None:
    """The query language, and what becomes of what is not quite it."""
    assert evaluate(asking(query), context).value is holds


LOGIC: list[tuple[Any, Json, bool]] = [
    ({"==": [{"var": "key"}, "u-1"]}, {"targetingKey": "u-1"}, True),
    ({"==": [{"var": "a"}, 0]}, {}, False),
    ({"==": [{"var": "a"}, 0]}, {"a": ""}, True),
    ({"==": [{"var": "a"}, 5]}, {"a": " 5"}, False),
    ({"==": [{"var": "a"}, {"var": "a"}]}, {"a": [1]}, False),
    ({"<": [1, {"var": "a"}, 3]}, {"a": "2"}, True),
    ({">": [3, {"var": "a"}, 1]}, {"a": "2"}, True),
    ({"var": ["a", "x"]}, {"a": None}, True),
    ({"in": [{"var": "a"}, "text"]}, {}, False),
    ({"!": [{"in": [{"var": "a"}, "text"]}]}, {}, False),
    ({"in": [{"var": "a"}, [[1, 5]]]}, {"a": 3}, True),
    ({"contains_any": [{"var": "a"}, ["x", "y"]]}, {"a": ["y"]}, True),
    ({"xxx": [1]}, {}, False),
    ({"or": [True, {"xxx": [1]}]}, {}, True),
    ({"cat": [" ", " "]}, {}, False),
    ({"some": [{"var": "l"}, {"var": "on"}]}, {"l": [{"on": True}]}, True),
    ({"merge": [{"/": [1, 0]}]}, {}, False),
    ({"==": [{"var": "a"}, "\ud800"]}, {"a": "\ufffd"}, True),
    ({"==": [{"var": "a"}, "\U0001f600"]}, {"a": "\U0001f600"}, True),
    ({"==": [{"var": "a"}, "\\ud800"]}, {"a": "\\ud800"}, True),
    ({"+": [{"var": "a"}]}, {"a": None}, False),
    ({"/": [1, 0]}, {}, False),
    ({}, {}, True),
    ({"a": 1, "b": 2}, {}, True),
]


@pytest.mark.parametrize(("logic", "context", "holds"), LOGIC)
def test_json_logic(logic: Any, context: Json, holds: bool) -> None:
    """A query that is a JSON object, by the semantics of the library in Go."""
    assert evaluate(asking(json.dumps(logic)), context).value is holds


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("@@@", "cannot be read"),
        ("a eq 1 AND b eq 2", "has errors"),
        ("a co 1", "an operator that its value does not"),
        ('a.b eq "x" or c eq 1', "compares the value of the comparison before"),
        ("null", "is null"),
        ('{"==":[1,2]}', "is never true"),
        ('{"xxx":[1]}', "there is no operation"),
    ],
)
def test_queries_are_warned_about(query: str, what: str) -> None:
    """Where they are not what their author will think they are."""
    [problem] = translate(asking(query)).problems
    assert what in problem.message
    assert problem.severity is Severity.WARNING
    assert problem.pointer.startswith("/targeting/0/query")


def test_queries_of_any_tokens() -> None:
    """No text makes the parser raise or hang, and none makes an evaluation raise."""
    draw = Random(11)
    words = ["a", "b.c", " ", "  ", "eq", "in", "not", "(", ")", "and", "or", '"x"', "[", "]", "1"]
    words += [",", "1.5", "1.2.3", "-", "null", "pr", "\\", '"', "e+5", "=", "\ud800", "\0", "🎈"]
    for _ in range(1_500):
        query = "".join(draw.choices(words, k=draw.randint(1, 25)))
        answer = evaluate(asking(query), {"a": 1, "b": {"c": "x"}, "targetingKey": "u"})
        assert answer.value in (True, False)


def test_long_and_deep_queries() -> None:
    """Long ones of one level are fine; deep ones are refused, both within bounds."""
    long = " or ".join(f"a eq {n}" for n in range(900))
    assert evaluate(asking(long), {"a": 899}).value is True
    turning = "a eq 0" + "".join(f" or a eq {n} and b pr" for n in range(400))
    assert evaluate(asking(turning), {"a": 399, "b": 1}).value is True
    assert evaluate(asking("(" * 50 + "a eq 1" + ")" * 50), {"a": 1}).value is True
    for query, code in (
        ("(" * 5_000 + "a eq 1", ProblemCode.TOO_DEEP),
        (" or ".join(["a eq 1"] * 1_001), ProblemCode.TOO_MANY),
        ("a" * 70_000, ProblemCode.OUT_OF_RANGE),
    ):
        made = translate(asking(query))
        assert made.program is None
        assert made.problems[0].code is code
    assert parse_query("a in [" + ",".join(["1"] * 9_000) + "]").clean


def test_what_queries_read() -> None:
    """Only top-level members that they name, so that answers can be kept for others."""
    definition = asking('a eq 1 and o.x pr or key eq "u"')
    [found] = compiled(definition).flags.values()
    assert not isinstance(found, Answer)
    assert found.reads == {"a", "o", "targetingKey"}


# Shares


def fnv1a(text: str) -> int:
    found = 2_166_136_261
    for byte in text.encode():
        found = (found ^ byte) * 16_777_619 % 2**32
    return found


def share(shares: Mapping[str, float], key: str) -> str | None:
    """Return the variation of a unit, by GO Feature Flag's formula."""
    names = sorted(shares, key=lambda name: name.encode(), reverse=True)
    size = int(sum(shares[name] for name in names) * 1_000)
    number = fnv1a("checkout" + key) % size if size else 0
    start = 0.0
    for name in names:
        end = start + shares[name] * 1_000
        if int(start) <= number < int(end):
            return name
        start = end
    return None


@pytest.mark.parametrize(
    "shares",
    [
        {"on": 50, "off": 50},
        {"on": 33.3, "off": 66.7},
        {"on": 0.001, "off": 99.999},
        {"on": 91, "off": 91},
        {"a": 10, "b": 20, "ä": 12.345},
        {"on": 0.0005, "off": 0.0015},
        {"on": 0},
    ],
)
def test_shares(shares: dict[str, float]) -> None:
    """A thousand units are told apart by the formula."""
    definition = flag(default={"percentage": shares}, variations=dict.fromkeys(shares, "x"))
    made = compiled(definition)
    for number in range(1_000):
        answer = made.evaluate("checkout", {"targetingKey": f"ü-{number}"})
        assert (answer.variant or None) == share(shares, f"ü-{number}")


def test_a_key_of_lone_surrogates_is_hashed_as_go_reads_it() -> None:
    """Go's decoder makes U+FFFD of them."""
    definition = flag(default={"percentage": {"on": 50, "off": 50}})
    for end in "0123456789":
        broken = evaluate(definition, {"targetingKey": "\ud800" + end})
        assert broken.variant == share({"on": 50, "off": 50}, "\ufffd" + end)


@pytest.mark.parametrize(
    ("percentage", "reason"),
    [({"on": 100, "off": 0}, "STATIC"), ({"on": 100}, "STATIC"), ({"on": 50}, "SPLIT")],
)
def test_a_share_of_all_is_no_split(percentage: Json, reason: str) -> None:
    """By its own rule: one share that is exactly 100."""
    assert (
        evaluate(flag(default={"percentage": percentage}), {"targetingKey": "u"}).reason == reason
    )


@pytest.mark.parametrize(
    ("percentage", "severity", "what"),
    [
        ({"on": -1, "off": 101}, Severity.ERROR, "negative"),
        ({"on": 1e7}, Severity.ERROR, "large"),
        ({"on": float("nan")}, Severity.ERROR, "large"),
        ({"on": "50"}, Severity.ERROR, "number"),
        ({"on": 50, "off": 25}, Severity.WARNING, "sum to 75 %"),
        ({"a": 66.7, "b": 50, "c": 50, "d": 66.7}, Severity.WARNING, "leaves to chance"),
    ],
)
def test_shares_that_are_told(percentage: Json, severity: Severity, what: str) -> None:
    """Those that cannot be, and those that are not what they seem."""
    definition = flag(default={"percentage": percentage}, variations=dict.fromkeys(percentage, 1))
    made = translate(definition)
    assert (made.problems[0].severity, what in made.problems[0].message) == (severity, True)
    assert made.problems[0].pointer.startswith("/defaultRule/percentage")
    assert (made.program is None) is (severity is Severity.ERROR)


# Time


def progressive(low: float, high: float, start: float, end: float, key: str, now_ms: int) -> bool:
    """Return whether a unit is in a progressive rollout, by GO Feature Flag's formula."""
    start_ms, end_ms = NOW_MS + start * 1_000, NOW_MS + end * 1_000
    if now_ms < start_ms:
        return False
    high = 100 if high == 0 or high > 100 else high
    if now_ms >= end_ms:
        bound = high * 1_000
    else:
        seconds = end_ms // 1_000 - start_ms // 1_000
        if not seconds:
            return False
        rate = (high * 1_000 - low * 1_000) / seconds
        bound = (now_ms // 1_000 - start_ms // 1_000) * rate + low * 1_000
    return fnv1a("checkout" + key) % 100_000 < int(bound)


def rollout(low: float, high: float, start: float, end: float) -> Json:
    edges = {
        "initial": {"variation": "off", "percentage": low, "date": at(start)},
        "end": {"variation": "on", "percentage": high, "date": at(end)},
    }
    return {"progressiveRollout": edges}


@pytest.mark.parametrize(
    ("low", "high", "start", "end"),
    [
        (0, 100, 0, 1_000),
        (20, 80, -10, 90),
        (0, 0, 5, 10),
        (12.5, 33.333, 0.5, 100.25),
        (80, 20, 0, 60),
        (0.0001, 50, 0, 10),
        (10, 50, 0.25, 0.75),
        (0, 150, 0, 7),
    ],
)
def test_progressive_rollouts(low: float, high: float, start: float, end: float) -> None:
    """Before, at every edge, and at whole and broken seconds between, by the formula."""
    made = compiled(flag(default=rollout(low, high, start, end)))
    moments = [int((edge + d) * 1_000) for edge in (start, end) for d in (-1, -0.001, 0, 0.001, 1)]
    moments += [int((start + (end - start) * part) * 1_000) for part in (0.1, 0.35, 0.5, 0.9)]
    for moment in moments:
        for number in range(60):
            wanted = progressive(low, high, start, end, f"u-{number}", NOW_MS + moment)
            context = {"targetingKey": f"u-{number}"}
            assert made.evaluate("checkout", context, NOW_MS + moment).value is wanted


def test_when_time_matters() -> None:
    """At steps and where rollouts begin; at any moment while one goes on."""
    steps = [{"date": at(-5), "defaultRule": rollout(10, 20, 100, 200)}]
    definition = flag(scheduledRollout=steps, experimentation={"end": at(300)})
    [found] = compiled(definition).flags.values()
    assert not isinstance(found, Answer)
    moments = {NOW_MS + s * 1_000 for s in (-5, 100, 200)} | {NOW_MS + 300_001}
    span = (NOW_MS + 100_000, NOW_MS + 200_000)
    assert found.timing == Timing(frozenset(moments), frozenset([span]))


def test_an_experiment_ends_with_its_last_moment() -> None:
    """Both its dates are within."""
    definition = flag(experimentation={"start": at(0), "end": at(10)})
    made = compiled(definition)
    for moment, reason in (
        (-1, "DISABLED"),
        (0, "STATIC"),
        (10_000, "STATIC"),
        (10_001, "DISABLED"),
    ):
        answer = made.evaluate("checkout", {}, NOW_MS + moment)
        assert answer.reason == reason
        assert "gofeatureflag_cacheable" not in answer.metadata


def test_steps_merge_rules() -> None:
    """By names, member by member; a negative share removes; new rules come last."""
    first = {"name": "r", "query": "a eq 1", "percentage": {"on": 100, "off": 0}}
    steps = [
        {"date": at(20), "targeting": [{"name": "r", "percentage": {"on": -1, "off": 100}}]},
        {"date": at(10), "targeting": [{"name": "n", "query": "b eq 1", "variation": "new"}]},
        {"date": at(10), "variations": {"new": "later"}},
        {"date": at(30), "targeting": [{"name": "r", "disable": True}]},
    ]
    made = compiled(flag(first, scheduledRollout=steps))

    def said(seconds: float, **context: Any) -> Any:
        return made.evaluate(
            "checkout", {"targetingKey": "u", **context}, NOW_MS + seconds * 1_000
        ).value

    assert [said(s, a=1, b=1) for s in (0, 10, 20, 30)] == [True, True, False, "later"]
    assert [said(s, b=1) for s in (9, 10)] == [False, "later"]


def test_a_step_that_cannot_be_applied_fails_from_then_on() -> None:
    """As it does there: a default rule that is not there cannot be changed."""
    definition = {"variations": ON_OFF, "targeting": [{"variation": "on"}]}
    definition["scheduledRollout"] = [{"date": at(0), "defaultRule": {"variation": "on"}}]
    made = compiled(definition)
    assert made.evaluate("checkout", {}, NOW_MS - 1).value is True
    assert made.evaluate("checkout", {}, NOW_MS).error_code == "GENERAL"
    rule = {"query": 'plan eq "pro"', "variation": "on"}
    unnamed = flag(rule, scheduledRollout=[{"date": at(0), "defaultRule": {"name": "d"}}])
    del unnamed["defaultRule"]
    assert evaluate(unnamed, {"targetingKey": "u", "plan": "pro"}).variant == "on"


def test_steps_switch_a_flag_as_long_as_it_is_enabled() -> None:
    """Off here is off; and on here is what the steps say, where they say anything."""
    launch = flag(disable=True, scheduledRollout=[{"date": at(0), "disable": False}])
    assert evaluate(launch, {}, NOW_MS - 1).reason == "DISABLED"
    assert evaluate(launch, {}, NOW_MS).value is False
    assert evaluate(launch, {}, NOW_MS, enabled=False).reason == "DISABLED"
    assert evaluate(flag(disable=True), {}).value is False
    [imported] = read({"launch": launch}).flags
    assert imported.enabled
    [imported] = read({"off": flag(disable=True)}).flags
    assert not imported.enabled


def test_the_dates_of_yaml() -> None:
    """Its own forms, and what its reader makes of them."""
    for written in ("2025-10-09 08:53:20", "2025-10-09T08:53:20Z", "2025-10-9 8:53:20"):
        made = compiled(flag(experimentation={"start": written}))
        assert made.evaluate("checkout", {}, NOW_MS - 1).reason == "DISABLED"
        assert made.evaluate("checkout", {}, NOW_MS).reason == "STATIC"
    for value, text in (
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05Z"),  # noqa: DTZ001 - YAML's without a zone
        (date(2026, 1, 2), "2026-01-02T00:00:00Z"),
    ):
        [imported] = read({"a": flag(experimentation={"start": value})}).flags
        assert imported.definition["experimentation"]["start"] == text


# Keys


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ({}, "TARGETING_KEY_MISSING"),
        ({"o": {"id": 5}}, "TARGETING_KEY_MISSING"),
        ({"o": {"id": ""}}, "TARGETING_KEY_MISSING"),
        ({"o.id": "x"}, "TARGETING_KEY_MISSING"),
        ({"o": {"id": "x"}}, None),
    ],
)
def test_bucketing_keys(context: Json, code: str | None) -> None:
    """A path of members, and text."""
    definition = flag(default={"percentage": {"on": 50, "off": 50}}, bucketingKey="o.id")
    answer = evaluate(definition, context)
    assert answer.error_code == code
    assert answer.unit_attribute == "o.id"


def test_a_key_is_asked_for_before_whether_a_flag_is_on() -> None:
    """Even when only a step to come tells users apart."""
    steps = [{"date": at(1e6), "defaultRule": {"percentage": {"on": 50, "off": 50}}}]
    definition = flag(scheduledRollout=steps)
    assert evaluate(definition, {}, enabled=False).error_code == "TARGETING_KEY_MISSING"
    assert evaluate(definition, {"targetingKey": "u"}, enabled=False).reason == "DISABLED"


def test_an_empty_bucketing_key_errs_at_the_rule_that_needs_it() -> None:
    """Rules before it are served."""
    rules = [{"query": "a eq 1", "variation": "on"}, {"query": "b eq 1", "percentage": {"on": 50}}]
    definition = flag(*rules, bucketingKey="")
    assert evaluate(definition, {"a": 1}).value is True
    assert evaluate(definition, {}).error_code == "GENERAL"
    assert evaluate(definition, {"targetingKey": "u"}).value is False


def test_enrichment_comes_before_the_context() -> None:
    """In queries, JSON Logic and keys alike; `key` cannot be set."""
    fixed = {"evaluationContextEnrichment": {"env": "prod", "team": {"id": "t"}, "anonymous": True}}
    for query, holds in (
        ('env eq "prod" and anonymous eq true', True),
        ('env eq "dev" or team.id eq "x"', False),
        ('{"and":[{"==":[{"var":"env"},"prod"]},{"==":[{"var":"team.id"},"t"]}]}', True),
    ):
        context = {"env": "dev", "team": {"id": "x"}}
        assert evaluate(asking(query), context, **fixed).value is holds
    keyed = flag(default={"percentage": {"on": 100}}, bucketingKey="team.id")
    assert evaluate(keyed, {}, **fixed).value is True


# What is served


def test_a_variation_that_is_not_there_has_no_value() -> None:
    """The application's default is used; the translator warns."""
    made = translate(flag(default={"variation": "nobody"}))
    assert [problem.code for problem in made.problems] == [ProblemCode.UNKNOWN_VARIANT]
    answer = compile_translations({"checkout": made}).evaluate("checkout", {}, 0)
    assert (answer.value, answer.variant, answer.reason) == (UNSET, "nobody", "STATIC")
    empty = evaluate(flag(variations={"off": None}), {})
    assert (empty.value, empty.variant) == (UNSET, "off")


def test_what_answers_tell() -> None:
    """The name of the rule, its own reason, and whether time matters."""
    rule = {"name": "half", "query": "a eq 1", "percentage": {"on": 50, "off": 50}}
    answer = evaluate(flag(rule), {"a": 1, "targetingKey": "u"})
    assert answer.reason == "SPLIT"
    assert answer.metadata == {
        "evaluatedRuleName": "half",
        "gofeatureflag_cacheable": True,
        "sourceReason": "TARGETING_MATCH_SPLIT",
    }


# Whole files


def test_a_file_keeps_what_it_says() -> None:
    """Type, description, metadata, and what most users get; the definition as it is."""
    definition = flag(
        default={"percentage": {"on": 30, "off": 70}},
        metadata={"description": "d", "level": 3, "nested": {"x": 1}},
        trackEvents=False,
        version="1",
    )
    imported = read({"a/b": definition, "bad": {"variations": 5}})
    [found] = imported.flags
    assert (found.key, found.type, found.description) == ("a/b", "boolean", "d")
    assert found.fallthrough == "off"
    assert found.metadata == {"description": "d", "level": 3}
    assert found.definition == definition
    assert pointers(imported.problems, Severity.WARNING) == ["/a~1b/metadata/nested"]
    assert pointers(imported.problems) == ["/bad/variations", "/bad/variations"]


@pytest.mark.parametrize(
    ("variations", "kind"),
    [
        ({"a": 1, "b": 2}, "integer"),
        ({"a": 1, "b": 2.5}, "number"),
        ({"a": "x"}, "string"),
        ({"a": [1]}, "object"),
        ({"a": {}}, "object"),
    ],
)
def test_types(variations: Json, kind: str) -> None:
    """Told by the values; whole numbers beside others are numbers."""
    [found] = read({"a": flag(variations=variations, default={"variation": "a"})}).flags
    assert found.type == kind


ROLLOUT = {
    "initial": {"variation": "on", "percentage": 50, "date": at(0)},
    "end": {"variation": "off", "percentage": 50, "date": at(9)},
}


@pytest.mark.parametrize(
    ("definition", "pointer"),
    [
        (flag(variations={"on": 1, "off": "x"}), "/variations"),
        (flag(variations={"on": [], "off": {}}), "/variations"),
        (flag(variations={"on": None, "off": 1}), "/variations/on"),
        ({"variations": ON_OFF}, "/defaultRule"),
        (flag(default={}), "/defaultRule"),
        (flag(default={"variation": "nobody"}), "/defaultRule/variation"),
        (flag(default={"percentage": {}}), "/defaultRule/percentage"),
        (flag(default={"percentage": {"on": 0}}), "/defaultRule/percentage"),
        (flag(default={"percentage": {"nobody": 100}}), "/defaultRule/percentage"),
        (
            flag(default={"progressiveRollout": {"initial": ROLLOUT["initial"]}}),
            "/defaultRule/progressiveRollout",
        ),
        (
            flag(
                default={
                    "progressiveRollout": {
                        **ROLLOUT,
                        "end": {**ROLLOUT["end"], "percentage": 49},
                    }
                }
            ),
            "/defaultRule/progressiveRollout",
        ),
        (
            flag(
                default={
                    "progressiveRollout": {
                        **ROLLOUT,
                        "end": {**ROLLOUT["end"], "variation": "nobody"},
                    }
                }
            ),
            "/defaultRule/progressiveRollout",
        ),
        (flag({"variation": "on"}), "/targeting/0"),
        (flag({"query": "a eq 1"}), "/targeting/0"),
        (asking(""), "/targeting/0/query"),
        (asking("@@@"), "/targeting/0/query"),
        (asking("a eq"), "/targeting/0/query"),
        (asking("a gt true"), "/targeting/0/query"),
        (asking("a eq 1 or a gt true"), "/targeting/0/query"),
        (asking("not (a eq 1) and a gt true"), "/targeting/0/query"),
        (asking('key eq "" or a gt true'), "/targeting/0/query"),
        (asking("null"), "/targeting/0/query"),
        (asking("{}"), "/targeting/0/query"),
        (asking("[1]"), "/targeting/0/query"),
        (asking('{"xxx": [1]}'), "/targeting/0/query"),
        (asking('{"log": [1]}'), "/targeting/0/query"),
        (asking('{"or": [true, {"and": [1, {"xxx": 2}]}]}'), "/targeting/0/query"),
        (asking('{"!": null}'), "/targeting/0/query"),
        (
            flag(*[{"name": "x", "query": "a eq 1", "variation": "on", "disable": True}] * 2),
            "/targeting/1/name",
        ),
    ],
)
def test_flags_that_are_not_served_there(definition: Json, pointer: str) -> None:
    """The relay drops them when it reads a file. Imported, they would come to life."""
    imported = read({"a": definition, "b": flag()})
    assert [found.key for found in imported.flags] == ["b"]
    assert pointers(imported.problems) == ["/a" + pointer]


@pytest.mark.parametrize(
    "definition",
    [
        flag({"disable": True}),
        flag({"disable": True, "query": "@@@", "variation": "nobody"}),
        flag({"query": "a eq 1", "variation": "nobody", "percentage": {"on": 1}}),
        flag(default={"progressiveRollout": ROLLOUT}),
        flag(scheduledRollout=[{"date": at(0), "defaultRule": {"variation": "nobody"}}]),
        flag(*[{"query": "a eq 1", "variation": "on"}] * 2),
        asking("a eq 1 and a gt true"),
        asking("a eq null or a gt true"),
        asking("a eq 1 AND"),
        asking('{"a": 1, "xxx": [2]}'),
        asking('{"in": [{"var": null}, [null, 1]]}'),
    ],
)
def test_flags_that_are_served_there_in_spite_of_it(definition: Json) -> None:
    """It looks at no disabled rule and no step, and evaluates queries of nothing only."""
    assert [found.key for found in read({"a": definition}).flags] == ["a"]


def test_a_relays_answer_is_a_file_with_its_enrichment() -> None:
    """As its configuration endpoint has it; a flag may be called `flags` all the same."""
    answer = {"flags": {"a": flag()}, "evaluationContextEnrichment": {"env": "prod"}}
    [found] = read(answer).flags
    assert (found.key, found.options) == ("a", {"evaluationContextEnrichment": {"env": "prod"}})
    [found] = read({"flags": flag()}).flags
    assert found.key == "flags"


def test_a_file_warns_once_that_contexts_do_not_set_the_time() -> None:
    """Where time matters for any of its flags."""
    assert read({"a": flag()}).problems == ()
    timed = flag(experimentation={"start": at(0)})
    [problem] = read({"a": timed, "b": timed}).problems
    assert (problem.pointer, problem.severity) == ("", Severity.WARNING)
    assert "gofeatureflag.currentDateTime" in problem.message


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({"": flag()}, "/"),
        ({True: flag()}, "/True"),
        ({"a\n": flag()}, "/a\n"),
        ({"é" * 200: flag()}, "/" + "é" * 200),
        ({"\ud800": flag()}, "/\ud800"),
        ({"a": 5}, "/a"),
        ({"a": {}}, "/a/variations"),
        ({"a": flag(targeting={})}, "/a/targeting"),
        ({"a": flag(targeting=[5])}, "/a/targeting/0"),
        ({"a": flag(disable="yes")}, "/a/disable"),
        ({"a": flag(experimentation={"start": "soon"})}, "/a/experimentation/start"),
        ({"a": flag(scheduledRollout=[{}] * 201)}, "/a/scheduledRollout"),
        ({"a": flag(targeting=[{"variation": "on"}] * 501)}, "/a/targeting"),
        ({"a": flag(variations={1: True})}, "/a/variations/1"),
        ({"a": flag(variations={"on": {1, 2}})}, "/a/variations/on"),
    ],
)
def test_files_that_are_none(document: Any, pointer: str) -> None:
    """Each fault at its place, and nothing of the flag is read."""
    imported = read(document)
    assert imported.flags == ()
    assert pointer in pointers(imported.problems)


def test_deep_files_end() -> None:
    """However deep a value is, at a bound."""
    deep: Any = {}
    for _ in range(500):
        deep = {"x": [deep]}
    imported = read({"a": flag(variations={"on": deep}), "b": flag()})
    assert [found.key for found in imported.flags] == ["b"]
    assert imported.problems[0].code is ProblemCode.TOO_DEEP


def test_programs_over_time_are_bounded() -> None:
    """Many steps of many rules are refused."""
    rules = [{"name": f"r{n}", "query": "a eq 1", "variation": "on"} for n in range(100)]
    steps = [{"date": at(n), "disable": False} for n in range(100)]
    made = translate(flag(*rules, scheduledRollout=steps))
    assert made.program is None
    assert [problem.code for problem in made.problems] == [ProblemCode.TOO_MANY]


DOCUMENT: Json = {
    "plain": flag({"name": "r", "query": 'a eq "x" and b.c gt 1.2.3', "variation": "on"}),
    "shares": flag(
        {"query": '{"in":[{"var":"a"},["x","y"]]}', "percentage": {"on": 33.3, "off": 66.7}},
        default={"percentage": {"on": 10, "off": 90}},
        bucketingKey="o.id",
        metadata={"team": "x"},
    ),
    "timed": flag(
        default=rollout(5, 80, -100, 100),
        experimentation={"start": at(-1_000), "end": at(1_000)},
        scheduledRollout=[
            {
                "date": at(-50),
                "targeting": [{"name": "n", "query": "not (a pr)", "variation": "on"}],
            },
            {"date": at(50), "defaultRule": {"percentage": {"on": -1}}, "disable": True},
        ],
    ),
}


def test_mutated_files() -> None:
    """Neither reading nor translating nor evaluating raises, and what is told is bounded."""
    draw = Random(7)
    context = {"targetingKey": "u", "a": "x", "b": {"c": "1.3.0"}, "o": {"id": "i"}}
    evaluated = 0
    for _ in range(2_500):
        imported = read(mutated(DOCUMENT, draw))
        assert len(imported.problems) <= limits.MAX_PROBLEMS
        for found in imported.flags:
            made = DIALECT.translate(found.key, found.definition, found.options, found.enabled)
            assert made.program is not None
            answer = compile_translations({found.key: made}).evaluate(found.key, context, NOW_MS)
            assert answer.status in (200, 400)
            evaluated += 1
        broken = mutated(DOCUMENT["timed"], draw)
        if isinstance(broken, dict):
            DIALECT.translate("k", broken, {}, True)
    assert evaluated > 3_000


def test_an_empty_file_is_an_error_and_a_relay_without_flags_is_not() -> None:
    """The one is somebody's mistake, the other an answer."""
    assert [problem.code for problem in read({}).problems] == ["missing_field"]
    assert read({"flags": {}}).problems == ()


def test_flags_that_change_over_time_are_named() -> None:
    """In one warning for all of them."""
    plain = {"variations": {"a": 1, "b": 2}, "defaultRule": {"variation": "a"}}
    dates = {"start": "2030-01-01T00:00:00Z", "end": "2031-01-01T00:00:00Z"}
    [problem] = read({"plain": plain, "timed": {**plain, "experimentation": dates}}).problems
    assert problem.message.startswith('flags change over time: "timed";')
