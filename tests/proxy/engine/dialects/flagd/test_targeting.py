"""A flag of flagd as a program: what it answers, what it is made of, and what is wrong with it."""

from random import Random
from typing import Any

import pytest

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.problems import has_errors
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.flagd import DIALECT, fractional
from proxy.engine.dialects.flagd.versions import compare
from proxy.engine.dialects.jsonlogic import Compiler, Extra, LogicError, Term
from proxy.engine.dialects.operations import OPERATIONS_3_9, number_text
from proxy.engine.findings import Findings
from proxy.engine.timing import NEVER, Timing
from tests.proxy.engine.dialects.flagd.flags import ANY, Flag, definition, flag, translated

EMAIL = {"var": "email"}


@pytest.mark.parametrize(
    ("targeting", "default", "wanted"),
    [
        (None, "c", ("c", Reason.STATIC)),
        ({}, "c", ("c", Reason.STATIC)),
        (None, None, ("", Reason.DEFAULT)),
        (None, "", ("", Reason.DEFAULT)),
        ({"var": "none"}, "c", ("c", Reason.DEFAULT)),
        ({"var": "none"}, None, ("", Reason.DEFAULT)),
        ({"cat": ["a"]}, "c", ("a", Reason.TARGETING_MATCH)),
        ({"var": "named"}, None, ("b", Reason.TARGETING_MATCH)),
        ({"!!": [1]}, "c", ("true", Reason.TARGETING_MATCH)),
        ({"!": [{"var": "named"}]}, "c", ("false", Reason.TARGETING_MATCH)),
        ({"if": [{"var": "named"}, True]}, "c", ("true", Reason.TARGETING_MATCH)),
        ("a", "c", ("a", Reason.TARGETING_MATCH)),
    ],
    ids=str,
)
def test_what_targeting_comes_to_is_answered(
    targeting: Any, default: str | None, wanted: tuple[str, Reason]
) -> None:
    """A name, a boolean as a name, or null for the default; without one no value at all."""
    made = flag(targeting, defaultVariant=default)
    answer = made.answer({"named": "b"})
    assert (answer.variant, answer.reason) == wanted
    assert (b'"value"' in answer.body) is bool(wanted[0])


@pytest.mark.parametrize("value", ["x", "", [], ["a"], {}, {"a": 1, "b": 2}, 7, "A"], ids=str)
def test_what_names_no_variant_is_an_error(value: Any) -> None:
    """Computed or written; so that the application's default is used."""
    for targeting in ({"if": [True, value]}, {"var": "v"}, {"if": [EMAIL, "a", {"var": "v"}]}):
        assert flag(targeting).said({"v": value}) == ErrorCode.GENERAL


def test_a_number_names_the_variant_that_is_written_so() -> None:
    """As flagd writes the result as JSON, and takes that for the name."""
    made = flag({"var": "v"}, variants={"1": "one", "1.5": "more"}, defaultVariant="1.5")
    assert made.said({"v": 1}) == "1"
    assert made.said({"v": 1.0}) == "1"
    assert made.said({"v": 1.5}) == "1.5"
    assert made.said({"v": 2}) == ErrorCode.GENERAL


@pytest.mark.parametrize(
    ("targeting", "context", "wanted"),
    [
        ({"+": [{"var": "v"}, 1]}, {}, ErrorCode.PARSE_ERROR),
        ({"in": [{"var": "v"}, "abc"]}, {}, ErrorCode.PARSE_ERROR),
        ({"if": [{"in": [{"var": "v"}, "abc"]}, "a", "b"]}, {"v": "c"}, "a"),
        ({"if": [{"in": [{"var": "v"}, ["1", "2"]]}, "a", "b"]}, {"v": 2}, "a"),
        ({"if": [{"==": [{"var": "v"}, None]}, "a", "b"]}, {"v": 0}, "b"),
        ({"if": [{"<=": [{"var": "v"}, 0]}, "a", "b"]}, {}, "b"),
        ({"if": [{"var": "v"}, "a", "b"]}, {"v": {}}, "b"),
        ({"if": [True, {"var": "v"}]}, {"v": {"var": "k"}, "k": "a"}, ErrorCode.PARSE_ERROR),
        ({"/": [1, {"var": "v"}]}, {"v": 0}, ErrorCode.PARSE_ERROR),
        ({"/": [1, 0]}, {}, ErrorCode.PARSE_ERROR),
        ({"log": "a"}, {}, ErrorCode.PARSE_ERROR),
        ({"starts_with": {"var": "l"}}, {"l": ["abc", "a"]}, "true"),
        ({"sem_ver": [{"var": "v"}, "=", "1000000"]}, {"v": 1_000_000}, "c"),
        ({"sem_ver": [{"var": "v"}, "=", "1000000"]}, {"v": "1000000"}, "true"),
        ({"fractional": [{"cat": ["s", {"var": "v"}]}, ["a", 1]]}, {"v": True}, "PARSE_ERROR"),
        ({"fractional": [{"cat": ["s", {"var": "v"}]}, ["a", 1]]}, {"v": 1}, "a"),
        ({"fractional": [["a", 1], [{"+": [{"var": "v"}, 1]}, 0]]}, {"v": True}, "PARSE_ERROR"),
        ({"fractional": {"var": "l"}}, {"l": ["key", ["b", 1]]}, "b"),
        (None, {}, "c"),
    ],
    ids=str,
)
def test_what_flagd_answers_where_others_do_not(
    targeting: Any, context: dict[str, Any], wanted: str
) -> None:
    """Each is what flagd's server in Go says, and JavaScript does not."""
    made = Flag(translated(targeting, variants={**ANY, "PARSE_ERROR": 1}))
    assert made.said({**context, "targetingKey": "u"}) == wanted
    assert made.problems == [] or "log" in targeting


def test_targeting_of_null_is_targeting() -> None:
    """Which comes to null; `{}` is none."""
    made = DIALECT.translate("checkout", {**definition(), "targeting": None}, {}, True)
    null = Flag(made).answer({})
    assert (null.variant, null.reason) == ("c", Reason.DEFAULT)


def test_names_of_variants_are_looked_for_as_json_writes_them() -> None:
    """So that flagd never finds some of them, and others only by luck."""
    names = {"x<y": 1, 'q"u': 2, "back\\": 3, "line\n": 4, "\\u003c": 5, "-0": 6, " a ": 7}
    made = flag({"var": "v"}, variants=names, defaultVariant=None)
    assert [made.said({"v": name}) for name in names] == [
        *["GENERAL"] * 5,
        "-0",
        " a ",
    ]
    assert made.said({"v": "<"}) == "\\u003c"
    assert made.said({"v": -0.0}) == "-0"


def test_disabled_is_answered_without_a_value() -> None:
    """Whatever the definition says of itself: the switch is ours."""
    made = Flag(translated(EMAIL, enabled=False))
    answer = made.answer({"email": "a"})
    assert (answer.variant, answer.reason) == ("", "DISABLED")
    assert flag(EMAIL, state="DISABLED").said({"email": "a"}) == "a"


def test_an_operation_that_there_is_not_fails_where_it_is_reached() -> None:
    """And is a warning, as the rest of the flag works."""
    made = flag({"if": [EMAIL, "a", {"nope": [1]}]})
    assert made.said({"email": "x"}) == "a"
    assert made.said({}) == ErrorCode.PARSE_ERROR
    assert made.problems == [("/targeting/if/2", "unknown_operator", "warning")]


def test_evaluators_are_put_in_place() -> None:
    """As conditions, as results, and within others, which flagd may or may not do."""
    evaluators = {"known": {"in": [EMAIL, ["x", "y"]]}, "name": "a", "both": {"$ref": "known"}}
    made = flag({"if": [{"$ref": "known"}, {"$ref": "name"}, "b"]}, **{"$evaluators": evaluators})
    assert (made.said({"email": "x"}), made.said({})) == ("a", "b")
    assert made.problems == []
    program = made.translation.program
    assert isinstance(program, p.Program)
    assert isinstance(program.otherwise, p.Outcome)
    within = flag({"if": [{"$ref": "both"}, "a", "b"]}, **{"$evaluators": evaluators})
    assert (within.said({"email": "x"}), within.said({})) == ("a", "b")
    assert [severity for _, _, severity in within.problems] == ["warning"]


@pytest.mark.parametrize(
    "evaluators",
    [
        None,
        {},
        [],
        {"other": 1},
        {"r": {"$ref": "r"}},
        {"r": {"!": [{"$ref": "q"}]}, "q": {"$ref": "r"}},
    ],
    ids=str,
)
def test_a_reference_that_leads_nowhere_fails_where_it_is_reached(evaluators: Any) -> None:
    """Also one that leads back to itself."""
    node = {"if": [EMAIL, "a", {"$ref": "r"}]}
    made = flag(node, **{"$evaluators": evaluators})
    assert made.said({"email": "x"}) == "a"
    assert made.said({}) == ErrorCode.PARSE_ERROR
    assert flag({"$ref": ["r"]}).said({}) == ErrorCode.PARSE_ERROR


def test_evaluators_that_multiply_are_refused() -> None:
    """Thirty lines, each of which uses the one before twice, would be a thousand million."""
    lines: dict[str, Any] = {"e0": EMAIL}
    for number in range(1, 31):
        lines[f"e{number}"] = {"and": [{"$ref": f"e{number - 1}"}, {"$ref": f"e{number - 1}"}]}
    made = flag({"if": [{"$ref": "e30"}, "a", "b"]}, **{"$evaluators": lines})
    assert made.translation.program is None
    assert has_errors(list(made.all_problems))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"variants": None}, ("/variants", "no_variants", "error")),
        ({"variants": {}, "defaultVariant": None}, ("/variants", "no_variants", "error")),
        ({"variants": ["a"], "defaultVariant": None}, ("/variants", "no_variants", "error")),
        ({"defaultVariant": "x"}, ("/defaultVariant", "unknown_variant", "error")),
        ({"defaultVariant": 1}, ("/defaultVariant", "wrong_type", "error")),
        ({"defaultVariant": ["a"]}, ("/defaultVariant", "wrong_type", "error")),
    ],
    ids=str,
)
def test_what_is_wrong_is_a_problem(members: Any, problem: tuple[str, str, str]) -> None:
    """With a pointer, and then there is no program."""
    made = flag(EMAIL, **members)
    assert problem in made.problems
    assert made.translation.program is None
    assert made.said({}) == ErrorCode.PARSE_ERROR


def test_a_value_of_null_is_answered_as_none() -> None:
    """OpenFeature has no null; the application's default is used, and a warning says so."""
    made = flag(EMAIL, variants={"a": None, "c": 1})
    assert made.said({"email": "a"}) is None
    assert made.problems == [("/variants/a", "value_type", "warning")]


def test_a_chain_of_conditions_becomes_rules() -> None:
    """Each a condition of ours, so that it can be explained; the split at the end as well."""
    made = flag(
        {
            "if": [
                {"and": [{"ends_with": [EMAIL, "@x.org"]}, {"!": [{"var": "user.out"}]}]},
                {"if": [{"===": [{"var": "plan"}, "pro"]}, "a", "b"]},
                {"in": [EMAIL, ["p", "q"]]},
                "b",
                {"fractional": [["a", 1], ["c", 1]]},
            ]
        }
    )
    program = made.translation.program
    assert isinstance(program, p.Program)
    assert len(program.steps) == 3
    assert isinstance(program.otherwise, p.Split)
    assert made.compiled.reads == {"email", "user", "plan", "targetingKey"}
    assert made.compiled.timing == NEVER
    assert made.said({"email": "u@x.org", "plan": "pro"}) == "a"
    assert made.said({"email": "u@x.org"}) == "b"
    assert made.said({"email": "u@x.org", "user": {"out": 1}, "targetingKey": "u"}) in ("a", "c")
    assert made.said({"email": "q"}) == "b"


def test_the_time_becomes_a_window() -> None:
    """In whole seconds, as flagd has it; so it is known when the answer changes."""
    now = {"var": "$flagd.timestamp"}
    for node, since in (
        ({">=": [now, 100]}, 100_000),
        ({">": [now, 100]}, 101_000),
        ({"<": [100, now]}, 101_000),
        ({"<=": [99.5, now]}, 100_000),
        ({">": [now, 99.5]}, 100_000),
    ):
        made = flag({"if": [node, "a", "b"]})
        assert (made.said({}, since - 1), made.said({}, since)) == ("b", "a")
        assert made.compiled.timing == Timing(frozenset((since,)), frozenset())
    between = flag({"if": [{"<=": [100, now, 200]}, "a", "b"]})
    assert [between.said({}, ms) for ms in (99_999, 100_000, 200_999, 201_000)] == [
        "b",
        "a",
        "a",
        "b",
    ]


def test_other_uses_of_the_time_may_change_at_any_moment() -> None:
    """They are computed, and so is what comes after them."""
    made = flag({"if": [EMAIL, "b", {"<": [{"var": "$flagd.timestamp"}, {"var": "t"}]}, "a", "b"]})
    assert made.said({"t": 10}, 9_999) == "a"
    assert made.said({"t": 10}, 10_000) == "b"
    assert made.said({"t": 10, "email": "x"}, 0) == "b"
    assert made.compiled.timing.spans


def test_what_flagd_adds_to_the_context_hides_what_is_there() -> None:
    """The key of the flag, and the time."""
    made = flag({"var": "$flagd.flagKey"}, variants={"checkout": 1}, defaultVariant=None)
    assert made.said({"$flagd": {"flagKey": "mine"}}) == "checkout"


def test_what_goes_on_for_too_long_is_an_error() -> None:
    """Instead of holding up every other answer."""
    node = {"map": [{"var": "l"}, {"map": [list(range(1_000)), 1]}]}
    made = flag({"if": [{"in": [2, node]}, "a", "b"]})
    assert made.said({"l": [1]}) == "b"
    assert made.said({"l": [1] * 10_000}) == ErrorCode.PARSE_ERROR


def test_many_conditions_are_computed_as_one() -> None:
    """A chain whose guards would be repeated more often than a flag may have conditions."""
    node: Any = "a"
    for number in range(60):
        node = {"if": [{"==": [{"var": f"v{number}"}, "x"]}, node, "b"]}
    wide = {"if": [{"or": [{"==": [EMAIL, f"{n}"]} for n in range(100)]}, node, "c"]}
    made = flag(wide)
    assert isinstance(made.translation.program, p.Program)
    assert made.said({"email": "7"}) == "b"
    assert made.said({"email": "7", **{f"v{n}": "x" for n in range(60)}}) == "a"
    assert made.said({}) == "c"
    steps = made.translation.program.steps
    assert (
        sum(p.leaf_count(s.when) for s in steps if isinstance(s, p.Rule))
        <= 2 * limits.MAX_CONDITIONS
    )


# Whatever is made of it, it says what the expression says

NAMES = [*ANY, "x", None, 1]
VALUES: list[Any] = ["a", "x", "", "1.2.3", 1, 0, 1.5, None, True, False, ["a"], [], {}, {"z": 1}]


def drawn(draw: Random, depth: int) -> Any:
    """Return an expression that is mostly a chain of conditions."""
    if depth == 0 or draw.random() < 0.15:
        return draw.choice(NAMES)
    kind = draw.random()
    if kind < 0.6:
        arguments = []
        for _ in range(draw.randrange(1, 3)):
            arguments += [condition(draw, depth - 1), drawn(draw, depth - 1)]
        return {
            draw.choice(["if", "?:"]): [*arguments, *([drawn(draw, depth - 1)] * draw.randrange(2))]
        }
    if kind < 0.85:
        key = draw.choice([[], [{"var": "k"}], [{"cat": ["s", {"var": "k"}]}], [None], ["seed"]])
        weights: list[Any] = [1, 2, 0, -1, {"var": "w"}, None, 1.0, "1"]
        arms = [
            [draw.choice([*NAMES, {"var": "v"}]), *[draw.choice(weights[: draw.choice([3, 8])])]]
            for _ in range(draw.randrange(4))
        ]
        return {"fractional": [*key, *arms]}
    return draw.choice([{"var": "v"}, {"or": [{"var": "v"}, "a"]}, {"$ref": "named"}, {"nope": 1}])


def condition(draw: Random, depth: int) -> Any:
    """Return a condition."""
    attribute = {"var": draw.choice(["v", "k", "o.z", "l.0", ["v"], ["v", "a"], "$flagd.flagKey"])}
    constant_value = draw.choice(VALUES)
    if depth > 0 and draw.random() < 0.4:
        items = [condition(draw, depth - 1) for _ in range(draw.randrange(1, 4))]
        return {draw.choice(["and", "or", "!", "!!"]): items}
    now = {"var": "$flagd.timestamp"}
    return draw.choice(
        [
            attribute,
            {
                draw.choice(["==", "!=", "===", "!=="]): draw.choice(
                    [[attribute, constant_value], [constant_value, attribute], [attribute]]
                )
            },
            {"in": [attribute, draw.choice([["a", "x"], ["a", 1], "abc", {"var": "l"}])]},
            {
                "sem_ver": [
                    attribute,
                    draw.choice(["=", "^", ">", "?"]),
                    draw.choice(["1.2", "q", 1]),
                ]
            },
            {draw.choice(["starts_with", "ends_with"]): [attribute, draw.choice(["a", "", 1])]},
            {
                draw.choice(["<", "<=", ">", ">="]): draw.choice(
                    [[now, 5], [5, now], [1, now, 9], [now]]
                )
            },
            {"<": [{"var": "w"}, now]},
            {"fractional": [[True, 1], [False, 1]]},
            {"some": [{"var": "l"}, {"==": [{"var": ""}, "a"]}]},
            constant_value,
        ]
    )


def direct(node: Any, context: dict[str, Any], now_ms: int, version: fractional.Version) -> Any:
    """Return what targeting comes to, computed as a whole, without programs and plans."""

    def divide(compiler: Compiler, arguments: Any, place: Any) -> Any:
        terms = compiler.terms(arguments, place)

        def whole(data: Any, t: int) -> Any:
            values = [term.run(data, t) for term in terms]
            return fractional.divided(values, "checkout", data.get("targetingKey"), version)

        return Term(whole)

    def versions(compiler: Compiler, arguments: Any, place: Any) -> Any:
        terms = compiler.terms(arguments, place)
        return Term(lambda data, t: compare([term.run(data, t) for term in terms]))

    def starts(compiler: Compiler, arguments: Any, place: Any, at: int = 0) -> Any:
        one, other = compiler.terms(arguments, place)

        def test(data: Any, t: int) -> Any:
            whole, part = one.run(data, t), other.run(data, t)
            if not isinstance(whole, str) or not isinstance(part, str):
                return None
            return whole.endswith(part) if at else whole[: len(part)] == part

        return Term(test)

    extras = {
        "$flagd": {
            "flagKey": "checkout",
            "timestamp": Extra(lambda _, t: t // 1_000, timed=True),
        }
    }
    forms: dict[str, Any] = {
        **OPERATIONS_3_9,
        "fractional": divide,
        "sem_ver": versions,
        "starts_with": starts,
        "ends_with": lambda c, a, place: starts(c, a, place, 1),
        "$ref": lambda c, _, place: c.term(EVALUATORS["named"], place),
    }
    return Compiler(Findings(), forms, extras).compile(node).evaluate(context, now_ms)


EVALUATORS = {"named": {"if": [{"==": [{"var": "v"}, "a"]}, "a"]}}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_program_says_what_its_expression_comes_to(version: fractional.Version) -> None:
    """Rules, splits, windows and plans, or nothing of the kind."""
    draw = Random(20 + version)
    kinds = set()
    for _ in range(700):
        node = drawn(draw, 4)
        made = flag(node, version=f"v{version}", **{"$evaluators": EVALUATORS})
        program = made.translation.program
        assert isinstance(program, p.Program)
        kinds.add(type(program.otherwise))
        for _ in range(6):
            names = ["v", "k", "w", "targetingKey"]
            context = {name: draw.choice(VALUES) for name in names if draw.random() < 0.8}
            context |= {"o": {"z": draw.choice(VALUES)}, "l": [draw.choice(VALUES)]}
            now_ms = draw.choice([0, 999, 4_999, 5_000, 5_999, 6_000, 9_999, 10_000])
            try:
                value = direct(node, context, now_ms, version)
            except LogicError:
                wanted: str | None = ErrorCode.PARSE_ERROR
            else:
                if isinstance(value, bool):
                    value = str(value).lower()
                elif isinstance(value, (int, float)):
                    value = number_text(value)
                known = isinstance(value, str) and value in ANY
                wanted = "c" if value is None else value if known else ErrorCode.GENERAL
            assert made.said(context, now_ms) == wanted, (node, context, now_ms)
    assert kinds == {p.Outcome, p.Split, p.Computed}


# Hostile definitions


def mutated(draw: Random, node: Any) -> Any:
    """Return JSON with something in it changed."""
    if draw.random() < 0.08:
        return draw.choice([*VALUES, {"$ref": "named"}, {"fractional": []}, -1, 2**40, "$ref"])
    if isinstance(node, dict):
        items = [(key, mutated(draw, child)) for key, child in node.items()]
        if items and draw.random() < 0.05:
            items[draw.randrange(len(items))] = (draw.choice(["var", "if", "x"]), node)
        return dict(items)
    if isinstance(node, list):
        made = [mutated(draw, child) for child in node]
        return (
            made[: draw.randrange(len(made) + 1)]
            if draw.random() < 0.1
            else made * draw.choice([1] * 9 + [2])
        )
    return node


def test_no_definition_raises_or_hangs() -> None:
    """Two thousand of them: something is answered, whatever became of it."""
    draw = Random(31)
    served = 0
    for number in range(2_000):
        seed = definition(drawn(draw, 4), **{"$evaluators": EVALUATORS})
        changed = mutated(draw, seed)
        given = (
            changed if isinstance(changed, dict) and number % 2 else {**seed, "targeting": changed}
        )
        made = DIALECT.translate("checkout", given, {}, True)
        assert len(made.problems) <= limits.MAX_PROBLEMS
        if made.program is not None:
            Flag(made).answer({"v": "a", "targetingKey": "u", "l": ["a"]}, 5_000)
            served += 1
    assert served > 500
