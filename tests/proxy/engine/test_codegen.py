"""Generated code: one code object per shape, nothing of a definition in it, large ones in parts."""

import re
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.codes import Reason
from proxy.contract.steps import finish
from proxy.engine import Answer, codegen, source
from proxy.engine import program as p
from proxy.engine.answers import AnswerMaker
from proxy.engine.bucketing import text_bytes
from proxy.engine.limits import MAX_CONDITION_DEPTH, MAX_CONDITIONS, MAX_RULES
from tests.proxy.engine import reference
from tests.proxy.engine.builders import FALLTHROUGH_SPLIT, compiled, document, leaf, rule
from tests.vectors.murmur3 import murmur3_x86_32


def code_of(**members: Any) -> Any:
    """Return the code object of a flag."""
    function = compiled(**members).evaluate
    assert isinstance(function, FunctionType)
    return function.__code__


def sources(monkeypatch: pytest.MonkeyPatch, **members: Any) -> list[str]:
    """Return the sources that a flag is generated as."""
    seen: list[str] = []
    compiler = source.compile_source
    monkeypatch.setattr(source, "compile_source", lambda text: seen.append(text) or compiler(text))
    source.code_of.cache_clear()
    compiled(**members)
    return seen


def test_flags_of_one_shape_share_one_code_object() -> None:
    """Literals are arguments."""
    one = code_of(
        rules=[rule(leaf("country", "equals", "DE"), FALLTHROUGH_SPLIT)],
        salt="a",
        metadata={"x": 1},
    )
    other = code_of(rules=[rule(leaf("plan", "equals", "pro"), FALLTHROUGH_SPLIT)], salt="b")
    assert one is other


def test_another_shape_has_another() -> None:
    """One value or several is not the same test."""
    one = code_of(rules=[rule(leaf("country", "equals", "DE"))])
    assert one is not code_of(rules=[rule(leaf("country", "equals", "DE", "FR"))])


HOSTILE = "'); __import__('os').system('x') #\"\"\"\n\\{0}{f}{x}%s"


def test_no_text_of_a_definition_is_in_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes, values, variants, salts, ids, metadata: hostile ones end up as literals."""
    made = sources(
        monkeypatch,
        type="string",
        variants={HOSTILE.replace("\n", ""): HOSTILE, "off": "zebra"},
        salt=HOSTILE,
        metadata={HOSTILE: HOSTILE},
        targets=[{"variant": "off", "units": [HOSTILE]}],
        rules=[
            rule(
                {"all": [leaf(HOSTILE, op, HOSTILE), {"not": leaf("zebra", op, "zebra")}]},
                "off",
                id=f"zebra-{op}",
            )
            for op in ("equals", "contains", "starts_with", "any_of")
        ],
    )
    assert made
    allowed = re.compile(
        r"(def|return|if|else|try|except|and|or|not|in|is|None|True|False|f|a|c|s|t|[hlvw]\d+|get|str"
        r"|int|float|bool|list|dict|len|walk|bisect|hash32|hash_of|encode|casefold|startswith"
        r"|endswith|__class__|UnicodeEncodeError)"
    )
    for text in made:
        assert "zebra" not in text
        for word in re.findall(r"[A-Za-z_]\w*", text):
            assert allowed.fullmatch(word), word


def test_hostile_text_is_only_compared() -> None:
    """It matches itself."""
    flag = compiled(rules=[rule(leaf(HOSTILE, "equals", HOSTILE))])
    assert flag.evaluate({HOSTILE: HOSTILE}, 0).variant == "on"


def test_generated_code_can_name_no_builtin() -> None:
    """Were a definition's text ever to get in, it would find nothing."""
    function = compiled(rules=[rule(leaf("a", "exists"))]).evaluate
    assert isinstance(function, FunctionType)
    assert function.__globals__["__builtins__"] == {}


class Counting(dict[str, Any]):
    """A context that counts how often a member is asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        """Count and get."""
        self.asked.append(key)
        return super().get(key, default)


def test_an_attribute_is_fetched_once_where_that_is_certain() -> None:
    """In every rule that reads it."""
    flag = compiled(
        rules=[
            rule({"all": [leaf("a", "equals", 5), leaf("b", "equals", 5)]}),
            rule({"any": [leaf("a", "equals", 6), leaf("a", "gt", 10)]}),
            rule({"not": leaf("a", "exists")}),
        ]
    )
    context = Counting(a=1, b=1)
    flag.evaluate(context, 0)
    assert context.asked == ["a"]


def test_an_attribute_that_is_not_needed_is_not_fetched() -> None:
    """The first item decides."""
    flag = compiled(rules=[rule({"all": [leaf("a", "exists"), leaf("b", "exists")]})])
    context = Counting(b=1)
    flag.evaluate(context, 0)
    assert context.asked == ["a"]


def test_what_a_skipped_condition_would_have_fetched_is_fetched_later() -> None:
    """Definite assignment: `or` skips its second item, so the second rule fetches for itself."""
    flag = compiled(
        rules=[
            rule(
                {"all": [{"any": [leaf("a", "exists"), leaf("b", "exists")]}, leaf("x", "exists")]}
            ),
            rule(leaf("b", "equals", 2), id="b"),
        ]
    )
    assert flag.evaluate({"a": 1, "b": 2}, 0).rule_id == "b"
    assert flag.evaluate({"b": 2}, 0).rule_id == "b"


def many(count: int) -> list[dict[str, Any]]:
    """Return that many leaves over a few attributes, each true for a context of its own."""
    return [leaf(f"a{i % 7}", "equals", f"value-{i}") for i in range(count)]


@pytest.mark.parametrize("kind", ["all", "any"])
@pytest.mark.parametrize("count", [1, 47, 48, 49, 97, 500, MAX_CONDITIONS - 1])
def test_a_wide_condition_means_the_same_in_parts(kind: str, count: int) -> None:
    """However many functions it becomes."""
    members = document(rules=[rule({kind: many(count)}), rule({"not": {kind: many(count)[:9]}})])
    members["rules"] = members["rules"][:1] if count > 500 else members["rules"]
    flag = compiled(**members)
    for i in (0, count // 2, count - 1, count):
        context = {f"a{i % 7}": f"value-{i}"}
        _, expected = reference.evaluate("flag", members, {}, context)
        assert flag.evaluate(context, 0).variant == expected["variant"]


@pytest.mark.parametrize("kind", ["all", "any"])
def test_no_generated_function_is_large(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """One of a thousand leaves would hold the loop for 20 ms while it is compiled."""
    inner = [{"not": {"any": many(60)}}, {"all": many(130)}]
    made = sources(monkeypatch, rules=[rule({kind: [*many(400), *inner]}), *map(rule, many(300))])
    assert len(made) > 5  # equal parts share one
    for text in made:
        parameters = text[: text.index(")")].count(",")
        assert parameters < 255, "many literals are bound at each call"
        assert text.count("v") < 500


def test_many_rules_mean_the_same_in_parts() -> None:
    """The first match wins over the borders of functions; without one the fallthrough answers."""
    rules = [rule(leaf("n", "gte", i), id=f"r{i}") for i in reversed(range(MAX_RULES))]
    flag = compiled(rules=rules)
    for n in (0, 1, 47, 48, 49, 250, MAX_RULES - 1):
        assert flag.evaluate({"n": n}, 0).rule_id == f"r{n}"
    assert flag.evaluate({"n": -1}, 0).reason == "DEFAULT"


def test_a_split_without_unit_goes_on_over_the_border_of_functions() -> None:
    """To the first rule of the next one."""
    rules = [rule(leaf("x", "exists"), FALLTHROUGH_SPLIT) for _ in range(100)]
    flag = compiled(rules=[*rules, rule(leaf("x", "exists"), "on", id="last")])
    assert flag.evaluate({"x": 1}, 0).rule_id == "last"
    assert flag.evaluate({"x": 1, "targetingKey": "u"}, 0).reason == "SPLIT"


@pytest.mark.parametrize("kinds", [("not",), ("all", "any"), ("not", "all"), ("any",)])
def test_the_deepest_condition_compiles(kinds: tuple[str, ...]) -> None:
    """To the bound, of every kind, and means what it says."""
    condition: dict[str, Any] = leaf("x", "exists")
    for depth in range(MAX_CONDITION_DEPTH - 1):
        kind = kinds[depth % len(kinds)]
        other = leaf("y", "exists", negate=kind == "all")
        condition = {kind: condition if kind == "not" else [condition, other]}
    members = document(rules=[rule(condition)])
    flag = compiled(**members)
    for context in ({}, {"x": 1}, {"y": 1}, {"x": 1, "y": 1}):
        _, expected = reference.evaluate("flag", members, {}, context)
        assert flag.evaluate(context, 0).variant == expected["variant"]


@pytest.mark.parametrize("arms", [1, 2, 3, 50])
def test_a_split_over_any_number_of_arms_finds_each(arms: int) -> None:
    """By one comparison, or by bisection."""
    weights = [100_000 // arms] * arms
    weights[-1] += 100_000 - sum(weights)
    names = [f"v{i}" for i in range(arms)]
    members = document(
        type="integer",
        variants={name: i for i, name in enumerate(names)},
        fallthrough={
            "rollout": {
                "arms": [{"variant": n, "weight": w} for n, w in zip(names, weights, strict=True)]
            }
        },
    )
    flag = compiled(**members)
    seen = set()
    for i in range(400):
        context = {"targetingKey": f"user-{i}"}
        _, expected = reference.evaluate("flag", members, {}, context)
        seen.add(flag.evaluate(context, 0).variant)
        assert flag.evaluate(context, 0).variant == expected["variant"]
    assert seen == set(names)


def unit_at_a_cut() -> tuple[str, int]:
    """Return a unit whose hash is the very first of its bucket, and that bucket."""
    for i in range(1_000_000):
        unit = f"user-{i}"
        h = murmur3_x86_32(f"f3b1.{unit}".encode())
        bucket = (h * 100_000) >> 32
        if bucket > 1 and ((h - 1) * 100_000) >> 32 < bucket:
            return unit, bucket
    raise AssertionError("one in 43,000 should be")


@pytest.mark.parametrize("extra", [0, 1], ids=["two arms", "three arms"])
def test_the_first_hash_of_a_bucket_belongs_to_the_upper_arm(extra: int) -> None:
    """Ranges are half-open, to the hash."""
    unit, bucket = unit_at_a_cut()
    arms = [
        {"variant": "a", "weight": bucket - extra},
        {"variant": "x", "weight": extra},
        {"variant": "b", "weight": 100_000 - bucket},
    ]
    flag = compiled(
        type="integer",
        variants={"a": 1, "x": 2, "b": 3},
        fallthrough={"rollout": {"arms": arms}},
    )
    assert flag.evaluate({"targetingKey": unit}, 0).variant == "b"


def test_in_several_groups_the_first_decides() -> None:
    """Our own definitions cannot say so; other sources can."""
    first, second, rest = (p.Outcome(name, Reason.STATIC) for name in ("first", "second", "rest"))
    lookup = p.Lookup("targetingKey", ((["u"], first), (["u", "v"], second)))
    made = {o: Answer("k", 200, b"", variant=str(o.variant)) for o in (first, second, rest)}
    program = p.Program((lookup,), rest)
    flag = finish(codegen.evaluation(program, lambda _: made.__getitem__, {}))
    given = [flag.function({"targetingKey": unit}, 0).variant for unit in ("u", "v", "w")]
    assert given == ["first", "second", "rest"]
    assert flag.reads == {"targetingKey"}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (p.All(()), True),
        (p.AnyOf(()), False),
        (p.Not(p.All(())), False),
        (p.Not(p.AnyOf(())), True),
    ],
)
def test_a_series_of_nothing_holds_as_in_a_definition(
    expression: p.Expression, holds: bool
) -> None:
    """Whoever translates need not fold it first."""
    made = finish(codegen.predicate(expression, {}))
    assert made.function({}, 0) is holds


def test_another_flag_is_asked_once_whatever_is_tested_of_its_answer() -> None:
    """Else a chain of flags that each test two things would ask the last one 2**n times."""
    asked: list[object] = []

    def other(context: dict[str, Any], *_more: Any) -> Answer:
        asked.append(context)
        return Answer("other", 200, b"", variant="b")

    on, off = p.Outcome("on", Reason.TARGETING_MATCH), p.Outcome("off", Reason.DEFAULT)

    is_a = p.Answered("other", lambda answer: answer.variant == "a")
    is_b = p.Answered("other", lambda answer: answer.variant == "b")
    steps = (p.Gate(p.any_of([is_a, is_b]), off), p.Rule(is_a, off), p.Rule(is_b, on))
    maker = AnswerMaker("flag", {"on": True, "off": False}, {})
    made = finish(codegen.evaluation(p.Program(steps, off), maker.answering, {}, {"other": other}))
    assert made.function({}, 0).variant == "on"
    assert len(asked) == 1


def test_what_is_known_of_an_answer_is_not_tested_again() -> None:
    """Imported flags ask first whether a prerequisite passes, and then again, to go on."""
    tested: list[Answer] = []

    def passes(answer: Answer) -> bool:
        tested.append(answer)
        return answer.variant == "b"

    on, off = p.Outcome("on", Reason.TARGETING_MATCH), p.Outcome("off", Reason.DEFAULT)
    is_b = p.Answered("other", passes)
    steps = (p.Rule(p.negation(is_b), off), p.Gate(is_b, off))
    maker = AnswerMaker("flag", {"on": True, "off": False}, {})
    other = {"other": lambda *_: Answer("other", 200, b"", variant="b")}
    made = finish(codegen.evaluation(p.Program(steps, on), maker.answering, {}, other))
    assert made.function({}, 0).variant == "on"
    assert len(tested) == 1


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=5))
def test_who_is_within_ranges_is_in_one_of_them(ranges: list[tuple[int, int]]) -> None:
    """In whatever order they are, and where they overlap, touch, or are empty."""
    by = p.Bucketing((p.Part("unit", text_bytes),), reduce="scale", size=20)
    function = finish(codegen.predicate(p.Within(by, tuple(ranges)), {})).function
    for unit in map(str, range(60)):
        number = murmur3_x86_32(unit.encode()) * 20 >> 32
        expected = any(low <= number < high for low, high in ranges)
        assert function({"unit": unit}, 0) is expected
    assert function({}, 0) is False
