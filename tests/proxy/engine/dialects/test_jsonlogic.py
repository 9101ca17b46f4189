"""JSON Logic: what expressions come to, what they depend on, and what hostile ones do."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.dialects.javascript import MAX_TEXT_CHARS
from proxy.engine.dialects.jsonlogic import MAX_WORK, Compiler, Extra, Form, Logic, LogicError
from proxy.engine.dialects.operations import OPERATIONS, OPERATIONS_3_9, number_text
from proxy.engine.findings import Findings


def compiled(node: Any, forms: Mapping[str, Form] = OPERATIONS, **options: Any) -> Logic:
    """Return an expression compiled, without an error."""
    findings = Findings()
    logic = Compiler(findings, forms, **options).compile(node)
    assert not [p for p in findings.problems if p.severity is Severity.ERROR]
    return logic


def result(node: Any, context: dict[str, Any] | None = None) -> Any:
    """Return what an expression comes to."""
    return compiled(node).evaluate(context or {}, 0)


def problems(node: Any) -> list[tuple[str, ProblemCode]]:
    """Return pointer and code of each problem of an expression."""
    findings = Findings()
    Compiler(findings, OPERATIONS).compile(node)
    return [(p.pointer, p.code) for p in findings.problems]


FAILS = "it fails"

TABLE: list[tuple[Any, dict[str, Any], Any]] = [
    ({"cat": ["I love ", {"var": "n"}, " ", None, [1, [2, None]], True]}, {"n": 1}, FAILS),
    ({"substr": ["jsonlogic", 4]}, {}, "logic"),
    ({"substr": ["jsonlogic", -5]}, {}, "logic"),
    ({"substr": ["jsonlogic", 1, 3]}, {}, "son"),
    ({"substr": ["jsonlogic", 4, -2]}, {}, "log"),
    ({"substr": ["jsonlogic", -5, -2]}, {}, "log"),
    ({"substr": ["a😀b", 1, 2]}, {}, "😀b"),
    ({"substr": [None, 0, 2]}, {}, ""),
    ({"+": ["3.14abc", 1]}, {}, 1),
    ({"+": [True, 1]}, {}, FAILS),
    ({"*": ["7"]}, {}, 7),
    ({"*": [2, "3x"]}, {}, 0),
    ({"-": ["5"]}, {}, -5),
    ({"-": [5, "2"]}, {}, 3),
    ({"/": [4, 0]}, {}, FAILS),
    ({"/": [-4, 0]}, {}, FAILS),
    ({"/": [0, 0]}, {}, FAILS),
    ({"%": [-7, 3]}, {}, -1),
    ({"%": [7, 0]}, {}, FAILS),
    ({"%": [5.5, 2]}, {}, 1.5),
    ({"min": []}, {}, None),
    ({"max": []}, {}, None),
    ({"max": [1, "a"]}, {}, 1),
    ({"min": [3, "2", None]}, {}, FAILS),
    ({"in": ["Spring", "Springfield"]}, {}, True),
    ({"in": [None, "nullable"]}, {}, FAILS),
    ({"in": [1, [1, 2]]}, {}, True),
    ({"in": ["1", [1]]}, {}, False),
    ({"in": [1, {"var": "x"}]}, {"x": "21"}, FAILS),
    ({"in": ["a", ""]}, {}, False),
    ({"in": ["", ""]}, {}, True),
    ({"in": ["", "a"]}, {}, True),
    ({"in": ["a", 5]}, {}, False),
    ({"in": [[1], [[1]]]}, {}, FAILS),
    ({"var": ""}, {"a": 1}, {"a": 1}),
    ({"var": "a.b"}, {"a": {"b": 0}}, 0),
    ({"var": "a.1"}, {"a": [5, 6]}, 6),
    ({"var": ["z", 9]}, {"z": None}, 9),
    ({"var": ["z", 9]}, {}, 9),
    ({"var": "a.b.c"}, {"a": None}, None),
    ({"var": []}, {"a": 1}, {"a": 1}),
    ({"var": 1}, {"1": "one"}, "one"),
    ({"var": {"var": "k"}}, {"k": "a", "a": 3}, 3),
    ({"var": ["q", {"var": "k"}]}, {"k": "a"}, "a"),
    ({"and": []}, {}, None),
    ({"and": [1, "", 3]}, {}, ""),
    ({"and": [1, 2]}, {}, 2),
    ({"or": [0, "", []]}, {}, []),
    ({"or": [0, "a"]}, {}, "a"),
    ({"if": []}, {}, None),
    ({"if": ["a"]}, {}, "a"),
    ({"if": [0, 1]}, {}, None),
    ({"if": [[], 1, "0", 2, 3]}, {}, 2),
    ({"if": [{}, "y", "n"]}, {}, "n"),
    ({"if": [{"a": 1, "b": 2}, "y", "n"]}, {}, "y"),
    ({"!": []}, {}, True),
    ({"!": [[]]}, {}, True),
    ({"!!": ["0"]}, {}, True),
    ({"!!": [[0]]}, {}, True),
    ({"!": True}, {}, False),
    ({"<": [1, 2, 3]}, {}, True),
    ({"<": [1, 3, 2]}, {}, False),
    ({"<=": [1, 1, 3]}, {}, True),
    ({"<": ["a", 1]}, {}, False),
    ({">": ["10", 9]}, {}, True),
    ({">": ["10", "9"]}, {}, False),
    ({"<": [None, 1]}, {}, True),
    ({"<": [1]}, {}, False),
    ({">=": [1]}, {}, False),
    ({"<": ["\ue000", "😀"]}, {}, True),
    ({"merge": [1, [2, [3]], "a"]}, {}, [1, 2, [3], "a"]),
    ({"map": [{"var": "l"}, {"*": [{"var": ""}, 2]}]}, {"l": [1, 2]}, [2, 4]),
    ({"map": [5, 1]}, {}, []),
    ({"filter": [{"var": "l"}, {">": [{"var": ""}, 1]}]}, {"l": [1, 2, 3]}, [2, 3]),
    (
        {"reduce": [{"var": "l"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
        {"l": [1, 2, 3]},
        6,
    ),
    ({"reduce": [None, 1, 7]}, {}, 0),
    ({"reduce": [[1], {"var": "accumulator"}]}, {}, 0),
    ({"all": [[], True]}, {}, False),
    ({"all": [[1, 2], {">": [{"var": ""}, 0]}]}, {}, True),
    ({"some": [[1, 2], {">": [{"var": ""}, 1]}]}, {}, True),
    ({"none": [5, True]}, {}, True),
    ({"none": [[1], True]}, {}, FAILS),
    ({"some": [{"var": "u"}, {"==": [{"var": "n"}, "b"]}]}, {"u": [{"n": "a"}, {"n": "b"}]}, True),
    ({"missing": ["a", "b"]}, {"a": "x"}, ["b"]),
    ({"missing": [["a", "b"]]}, {"a": ""}, []),
    ({"missing": "a.c"}, {"a": {}}, ["a.c"]),
    ({"missing_some": [1, ["a", "b"]]}, {"a": 1}, []),
    ({"missing_some": [2, ["a", "b"]]}, {"a": 1}, ["b"]),
    ({"log": "x"}, {}, FAILS),
    ({"===": [1, 1]}, {}, True),
    ({"===": [1, "1"]}, {}, False),
    ({"!==": [1, "1"]}, {}, True),
    ({"!=": [1, "1"]}, {}, False),
    ({"==": [{"var": "l"}, {"var": "l"}]}, {"l": [1]}, False),
    ({"==": [[1], [1]]}, {}, False),
    ({"==": [{"var": "o"}, "[object Object]"]}, {"o": {}}, False),
    ({"?:": [True, 1, 2]}, {}, 1),
    ({"==": [None]}, {}, False),
    ({"===": [None]}, {}, False),
    ({"cat": ["a", " "]}, {}, "a"),
    ({"cat": [" a "]}, {}, " a "),
    ({"cat": [1e21, "", 1.5]}, {}, "10000000000000000000001.5"),
    ({"cat": [True]}, {}, FAILS),
    ({"cat": "x"}, {}, "x"),
    ({"cat": 5}, {}, FAILS),
    ({"+": {"var": "l"}}, {"l": [1, "2"]}, 3),
    ({"+": "0x1p4"}, {}, 16),
    ({"+": ["1_000", " 1"]}, {}, 1000),
    ({"-": []}, {}, 0),
    ({"abs": -2}, {}, 2),
    ({"==": [None, 0]}, {}, False),
    ({"<=": [None, 0]}, {}, False),
    ({"==": ["", 0]}, {}, True),
    ({"==": [" 1", 1]}, {}, False),
    ({"==": ["inf", {"/": [1, 0]}]}, {}, True),
    ({"==": ["a"]}, {}, False),
    ({"==": "a"}, {}, FAILS),
    ({"===": "a"}, {}, False),
    ({"!==": "a"}, {}, True),
    ({"<": [1, 2, 3, 0]}, {}, True),
    ({">": [3, 2, 1]}, {}, True),
    ({">=": [3, 3, 4]}, {}, False),
    ({"in": [None, "abc"]}, {}, FAILS),
    ({"in": [2, [[1, 3]]]}, {}, True),
    ({"in": [2, ["2", "a"]]}, {}, True),
    ({"in": [0, ["a"]]}, {}, True),
    ({"in": ["a", [[1, 3]]]}, {}, False),
    ({"in": ["a", [[1]]]}, {}, FAILS),
    ({"in": [1, [None]]}, {}, FAILS),
    ({"in": ["a"]}, {}, False),
    ({"!": {"var": "l"}}, {"l": [0, 1]}, True),
    ({"!!": {"var": "l"}}, {"l": [0, 1]}, False),
    ({"if": [{"var": "o"}, "y", "n"]}, {"o": {}}, "n"),
    ({"if": "x"}, {}, FAILS),
    ({"and": {"var": "l"}}, {"l": [1]}, FAILS),
    ({"if": [True, {"var": "o"}]}, {"o": {"a": 1, "b": 2}}, {"a": 1, "b": 2}),
    ({"var": "a..b"}, {"a": {"b": 1}}, 1),
    ({"var": ["l.9", 1]}, {"l": [7]}, 1),
    ({"var": [1]}, {"1": "one"}, FAILS),
    ({"var": None}, {"a": 1}, None),
    ({"var": True}, {"a": 1}, FAILS),
    ({"substr": ["a😀b", 1, 1]}, {}, "😀"),
    ({"substr": ["abc", 9]}, {}, "abc"),
    ({"substr": ["abc", -9, 1]}, {}, "abc"),
    ({"substr": ["abc", 2, -2]}, {}, FAILS),
    ({"substr": [5, 0]}, {}, "5"),
    ({"substr": ["abc"]}, {}, FAILS),
    ({"merge": "a"}, {}, ["a"]),
    ({"merge": {"var": "l"}}, {"l": [[1], 2]}, [1, 2]),
    ({"merge": None}, {}, FAILS),
    ({"some": [{"var": "l"}, {"==": [{"var": "n"}, 1]}]}, {"l": [{"n": 1}], "n": 2}, False),
    ({"filter": [{"var": "l"}, {"==": [{"var": "n"}, 1]}]}, {"l": [{"n": 1}], "n": 2}, []),
    ({"map": [{"var": "l"}, {"var": "n"}]}, {"l": [{"n": 1}], "n": 2}, [1]),
    ({"none": [{"var": "l"}, {"var": "on"}]}, {"l": [{"on": False}]}, True),
    (
        {"some": [{"var": "l"}, {"in": ["a", {"var": "tags"}]}]},
        {"l": [{"tags": ["a"]}], "tags": [{"n": 1}]},
        FAILS,
    ),
    ({"some": [[1], True]}, {}, FAILS),
    ({"some": [[], True]}, {}, False),
    ({"all": [[1]]}, {}, FAILS),
    ({"map": [[{"+": [1, 1]}], {"var": ""}]}, {}, [{"+": [1, 1]}]),
    ({"reduce": [[1, None, 2], {"+": [{"var": "current"}, {"var": "accumulator"}]}, "0"]}, {}, "3"),
    ({"reduce": [[1], {"var": "valueType"}, ""]}, {}, "string"),
    ({"reduce": [{"var": "z"}, {"var": "x"}, 5]}, {}, 0),
    ({"missing": ["a"]}, {"a": ""}, []),
    ({"missing": [["a", "b"]]}, {}, []),
    ({"contains_all": [["a", 1], [1]]}, {}, True),
    ({"contains_any": [["a"], ["b"]]}, {}, False),
    ({"contains_none": [["a"], ["b"]]}, {}, True),
    ({"contains_any": ["a", ["a"]]}, {}, False),
    ({"set": [{"var": "o"}, "b", 2]}, {"o": {"a": 1}}, {"a": 1, "b": 2}),
    ({"set": ["x", "b", 2]}, {}, "x"),
    ({"?:": [False, 1, 2]}, {}, 2),
    (
        {"some": [{"var": "l"}, {"some": [{"var": "a"}, {"==": [1, 1]}]}]},
        {"l": [1], "a": "x"},
        False,
    ),
]
"""What diegoholiveira/jsonlogic says, in 3.9.1 and in 3.10.1."""

CHANGED: list[tuple[Any, dict[str, Any], Any, Any]] = [
    ({"-": 5}, {}, FAILS, 0),
    ({"*": 5}, {}, FAILS, 1),
    ({"max": 5}, {}, FAILS, None),
    ({"abs": []}, {}, FAILS, 0),
    ({"var": "l.x"}, {"l": [7]}, 7, None),
    ({"all": [{"var": "l"}, {"==": [{"var": "n"}, 1]}]}, {"l": [{"n": 1}], "n": 2}, True, False),
    ({"some": [{"var": "l"}, {"var": "on"}]}, {"l": [{"on": True}]}, FAILS, True),
    ({"all": [{"var": "l"}, {"var": "on"}]}, {"l": [{"on": True}]}, FAILS, True),
    ({"missing_some": [1, "a"]}, {}, FAILS, []),
    ({"set": [{"var": "o"}, 1, 2]}, {"o": {"a": 1}}, FAILS, {"a": 1}),
    (
        {"some": [{"var": "l"}, {"some": [{"var": "a"}, {"==": [1, 1]}]}]},
        {"l": [{"a": "x"}]},
        False,
        FAILS,
    ),
]
"""What 3.9.1 says, and 3.10.1."""


def found(logic: Logic, context: dict[str, Any]) -> Any:
    """Return what an expression comes to, or `FAILS`, also for what cannot be written."""
    try:
        value = logic.evaluate(context, 0)
    except LogicError:
        assert logic.may_fail
        return FAILS
    return FAILS if isinstance(value, float) and number_text(value) is None else value


@pytest.mark.parametrize(("node", "context", "wanted"), TABLE, ids=lambda part: str(part)[:60])
def test_an_expression_comes_to_what_it_does_in_go(
    node: Any, context: dict[str, Any], wanted: Any
) -> None:
    """Alone, and where its constants are of the context, so that nothing is computed before."""
    for each, data in ((node, context), varied(node, context)):
        for forms in (OPERATIONS, OPERATIONS_3_9):
            said = found(compiled(each, forms), data)
            assert said == wanted
            assert (said.__class__ is bool) == (wanted.__class__ is bool)


@pytest.mark.parametrize(("node", "context", "before", "since"), CHANGED, ids=str)
def test_what_came_to_something_else_before_3_10(
    node: Any, context: dict[str, Any], before: Any, since: Any
) -> None:
    """flagd has the older one, GO Feature Flag the newer."""
    assert found(compiled(node, OPERATIONS_3_9), context) == before
    assert found(compiled(node, OPERATIONS), context) == since


def test_numbers_that_json_has_not() -> None:
    """They are infinite, or none; no result can be written of them."""
    assert result({"/": [4, 0]}) == float("inf")
    assert result({"/": [-4, 0]}) == float("-inf")
    for node in ({"/": [0, 0]}, {"%": [7, 0]}, {"+": ["nan", 1]}):
        assert number_text(result(node)) is None
    assert result({"+": ["+nan", 1]}) == 1


def test_numbers_are_written_as_go_writes_them_in_json() -> None:
    """With an exponent where they are very large or small."""
    for value, text in (
        (1.0, "1"),
        (-0.0, "-0"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (0.000001, "0.000001"),
        (2**53 + 1, "9007199254740992"),
    ):
        assert number_text(value) == text


def test_values_of_a_context_are_never_run() -> None:
    """The library runs an expression that a context has in some places; here that fails."""
    hostile = {"o": {"var": "secret"}, "l": [1], "secret": "s"}
    for node in (
        {"if": [True, {"var": "o"}]},
        {"some": [{"var": "l"}, {"==": [{"var": "o"}, "s"]}]},
        {"some": [{"var": "l"}, {"var": "o"}]},
        {"missing": [{"var": "o"}]},
    ):
        assert found(compiled(node), hostile) == FAILS


def varied(node: Any, context: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return an operation with each argument that is a scalar read from the context instead."""
    if node.__class__ is not dict or len(node) != 1:
        return node, context
    [(name, arguments)] = node.items()
    if arguments.__class__ is not list or name in UNVARIED:
        return node, context
    data = dict(context)
    moved = []
    for index, argument in enumerate(arguments):
        if argument.__class__ in (dict, list):
            moved.append(argument)
            continue
        data[f"argument{index}"] = argument
        moved.append({"var": f"argument{index}"})
    return {name: moved}, data


UNVARIED = {"var", "missing", "missing_some", "map", "filter", "reduce", "all", "some", "none"}
"""Operations some of whose arguments are not computed in the context, or are paths in it."""


def test_a_value_is_itself() -> None:
    """Whatever is no operation: objects of several members too, with all that is in them."""
    for node in (1, "a", None, True, [1, "a"], {}, {"a": 1, "b": {"var": "x"}}):
        assert result(node) == node


def test_lists_hold_what_their_operations_come_to() -> None:
    """They are computed item by item."""
    assert result([{"var": "a"}, 2, [{"var": "a"}]], {"a": 1}) == [1, 2, [1]]


def test_only_what_is_needed_is_computed() -> None:
    """Conditions end where they are decided, so that an operation there is not may follow."""
    gone: dict[str, Any] = {"gone": []}
    assert result({"if": [{"var": "a"}, 1, gone]}, {"a": 1}) == 1
    assert result({"or": [{"var": "a"}, gone]}, {"a": 1}) == 1
    assert result({"and": [{"var": "b"}, gone]}, {"a": 1}) is None


def test_an_operation_that_there_is_not_is_a_warning_and_fails_where_it_is_reached() -> None:
    """Not the whole expression: that is how JSON Logic does it."""
    node = {"if": [{"var": "a"}, {"gone": [1]}, 2]}
    logic = compiled(node)
    assert logic.may_fail
    assert logic.evaluate({}, 0) == 2
    with pytest.raises(LogicError, match="gone"):
        logic.evaluate({"a": 1}, 0)
    assert problems(node) == [("/if/1", ProblemCode.UNKNOWN_OPERATOR)]


@pytest.mark.parametrize(
    ("node", "reads"),
    [
        (1, set()),
        ({"var": "a"}, {"a"}),
        ({"and": [{"var": "a.b"}, {"==": [{"var": ["c", 1]}, {"var": "d"}]}]}, {"a", "c", "d"}),
        ({"var": ""}, None),
        ({"var": {"var": "a"}}, None),
        ({"some": [{"var": "l"}, {"==": [{"var": "name"}, "x"]}]}, {"l", "name"}),
        ({"missing": ["a", "b.c"]}, {"a", "b"}),
        ({"missing_some": [1, ["a", "b"]]}, {"a", "b"}),
        ({"missing": {"var": "a"}}, None),
    ],
    ids=lambda part: str(sorted(part) if isinstance(part, set) else part),
)
def test_what_is_read_is_known(node: Any, reads: set[str] | None) -> None:
    """None where a path is computed, or all of the context is used; of items, what is outside."""
    assert compiled(node).reads == reads


def test_members_that_a_system_adds() -> None:
    """They hide those of the context, also where all of it is used or the path is computed."""
    extras = {
        "$sys": {"name": "s", "now": Extra(lambda _, now_ms: now_ms // 1000, timed=True)},
        "key": Extra(lambda context, _: context.get("id"), frozenset(("id",))),
    }

    def run(node: Any, context: dict[str, Any]) -> Any:
        return compiled(node, extras=extras).evaluate(context, 5_000)

    hidden = {"$sys": {"name": "mine"}, "id": 7}
    assert run({"var": "$sys.name"}, hidden) == "s"
    assert run({"var": "$sys.now"}, hidden) == 5
    assert run({"var": "$sys"}, hidden) == {"name": "s", "now": 5}
    assert run({"var": "$sys.other"}, hidden) is None
    assert run({"var": {"cat": ["$sys.", "name"]}}, hidden) == "s"
    assert run({"var": {"cat": ["$sys.", {"var": "x"}]}}, {"x": "name"}) == "s"
    assert run({"var": ""}, hidden) == {"$sys": {"name": "s", "now": 5}, "id": 7, "key": 7}
    assert run({"missing": ["$sys.name", "a"]}, hidden) == ["a"]
    assert run({"var": "key"}, hidden) == 7
    assert compiled({"var": "$sys.name"}, extras=extras).timed is False
    assert compiled({"var": "$sys.now"}, extras=extras).timed
    assert compiled({"var": "key"}, extras=extras).reads == {"id"}


def test_what_goes_on_without_end_fails() -> None:
    """Lists in lists in lists, and text that doubles at each item: within a bound, then never."""
    items: dict[str, Any] = {"var": "l"}
    context = {"l": list(range(1_000))}
    doubling = {"reduce": [items, {"cat": [{"var": "accumulator"}, {"var": "accumulator"}]}, "x"]}
    merging = {"filter": [items, {"merge": [items, items]}]}
    nested = {"map": [items, {"map": [list(range(1_000)), 1]}]}
    for node in (doubling, merging, nested):
        with pytest.raises(LogicError, match="too much"):
            compiled(node).evaluate(context, 0)
    assert compiled({"map": [items, 1]}).evaluate(context, 0) == [1] * 1_000
    assert MAX_WORK < 1_000 * 1_000


def test_text_too_long_to_put_together_is_null() -> None:
    """Without lists to go through there is no other way to it than a long context."""
    node = {"cat": [{"var": "a"}, {"var": "a"}]}
    assert result(node, {"a": "x" * MAX_TEXT_CHARS}) is None


def nested(depth: int) -> Any:
    """Return so many operations, each within another."""
    node: Any = {"var": "a"}
    for _ in range(depth - 1):
        node = {"!": [node]}
    return node


def test_how_deep_and_how_many_operations_may_be() -> None:
    """Deep as all conditions may be; what is beyond is an error and compiled no further."""
    assert problems(nested(limits.MAX_CONDITION_DEPTH)) == []
    [(_, code)] = problems(nested(5_000 // 10))
    assert code is ProblemCode.TOO_DEEP
    lists: Any = 1
    for _ in range(500):
        lists = [lists, {}]
    assert [code for _, code in problems(lists)] == [ProblemCode.TOO_DEEP]
    many = {"and": [{"var": "a"}] * (limits.MAX_CONDITIONS - 1)}
    assert problems(many) == []
    assert [code for _, code in problems({"!": [many]})] == [ProblemCode.TOO_MANY]
    values = {"in": [{"var": "a"}, ["x"] * (limits.MAX_VALUES_IN_ALL + 1)]}
    assert problems(values)[0][1] is ProblemCode.TOO_MANY
    assert problems("x" * (limits.MAX_TEXT_CHARS + 1))[0][1] is ProblemCode.OUT_OF_RANGE
    assert problems(["x" * (limits.MAX_TEXT_CHARS + 1)])[0][1] is ProblemCode.OUT_OF_RANGE


OPERATIONS_DRAWN = [
    "==",
    "===",
    "!=",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "!",
    "!!",
    "and",
    "or",
    "if",
    "in",
]
OPERATIONS_DRAWN += [
    "cat",
    "substr",
    "+",
    "-",
    "*",
    "/",
    "%",
    "min",
    "max",
    "merge",
    "filter",
    "map",
]
OPERATIONS_DRAWN += [
    "reduce",
    "all",
    "some",
    "none",
    "var",
    "missing",
    "missing_some",
    "set",
    "abs",
]
OPERATIONS_DRAWN += ["contains_all", "contains_any", "contains_none", "?:", "log"]
ODD: list[Any] = [None, True, 0, -1, 1.5, 10**400, float("nan"), float("inf"), "", "a", "1", "a.b"]
ODD += ["\ud800", "\U0001f600", [], [1, [2]], {}, {"a": {"b": [1]}}, "x" * 5_000, "0x" + "f" * 999]


def drawn(draw: Random, depth: int) -> Any:
    """Return an expression, mostly a senseless one."""
    if depth == 0 or draw.random() < 0.2:
        return draw.choice(ODD)
    arguments = [drawn(draw, depth - 1) for _ in range(draw.randrange(5))]
    if draw.random() < 0.3:
        return {"var": draw.choice(["a", "a.b", "l", "l.0", "", "current", "accumulator"])}
    return {draw.choice(OPERATIONS_DRAWN): draw.choice([arguments, arguments, drawn(draw, 0)])}


def contexts(draw: Random) -> Iterator[dict[str, Any]]:
    """Yield contexts of odd values; one is nested deeper than Python calls."""
    yield {}
    deep: Any = 1
    for _ in range(2_000):
        deep = [deep]
    yield {"a": deep, "l": [deep, {"b": deep}]}
    for _ in range(3):
        yield {"a": draw.choice(ODD), "l": [draw.choice(ODD) for _ in range(5)]}


def test_no_expression_raises_for_any_context() -> None:
    """But for the one error that it says."""
    draw = Random(11)
    for _ in range(3_000):
        logic = Compiler(Findings(), draw.choice([OPERATIONS, OPERATIONS_3_9])).compile(
            drawn(draw, 4)
        )
        for context in contexts(draw):
            try:
                logic.evaluate(context, 0)
            except LogicError:
                assert logic.may_fail
