"""JSON Logic: what expressions come to, what they depend on, and what hostile ones do."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine.dialects.javascript import MAX_TEXT_CHARS, number_text
from proxy.engine.dialects.jsonlogic import MAX_WORK, Compiler, Extra, Logic, LogicError
from proxy.engine.findings import Findings


def compiled(node: Any, **options: Any) -> Logic:
    """Return an expression compiled, without an error."""
    findings = Findings()
    logic = Compiler(findings, **options).compile(node)
    assert not [p for p in findings.problems if p.severity is Severity.ERROR]
    return logic


def result(node: Any, context: dict[str, Any] | None = None) -> Any:
    """Return what an expression comes to."""
    return compiled(node).evaluate(context or {}, 0)


def problems(node: Any) -> list[tuple[str, ProblemCode]]:
    """Return pointer and code of each problem of an expression."""
    findings = Findings()
    Compiler(findings).compile(node)
    return [(p.pointer, p.code) for p in findings.problems]


TABLE: list[tuple[Any, dict[str, Any], Any]] = [
    (
        {"cat": ["I love ", {"var": "n"}, " ", None, [1, [2, None]], True]},
        {"n": 1},
        "I love 1 1,2,true",
    ),
    ({"substr": ["jsonlogic", 4]}, {}, "logic"),
    ({"substr": ["jsonlogic", -5]}, {}, "logic"),
    ({"substr": ["jsonlogic", 1, 3]}, {}, "son"),
    ({"substr": ["jsonlogic", 4, -2]}, {}, "log"),
    ({"substr": ["jsonlogic", -5, -2]}, {}, "log"),
    ({"substr": ["a\U0001f600b", 1, 2]}, {}, "\U0001f600"),
    ({"substr": [None, 0, 2]}, {}, "nu"),
    ({"+": ["3.14abc", 1]}, {}, 4.140000000000001),
    ({"+": [True, 1]}, {}, "NaN"),
    ({"*": ["7"]}, {}, "7"),
    ({"*": [2, "3x"]}, {}, 6),
    ({"-": ["5"]}, {}, -5),
    ({"-": [5, "2"]}, {}, 3),
    ({"/": [4, 0]}, {}, "Infinity"),
    ({"/": [-4, 0]}, {}, "-Infinity"),
    ({"/": [0, 0]}, {}, "NaN"),
    ({"%": [-7, 3]}, {}, -1),
    ({"%": [7, 0]}, {}, "NaN"),
    ({"%": [5.5, 2]}, {}, 1.5),
    ({"min": []}, {}, "Infinity"),
    ({"max": []}, {}, "-Infinity"),
    ({"max": [1, "a"]}, {}, "NaN"),
    ({"min": [3, "2", None]}, {}, 0),
    ({"in": ["Spring", "Springfield"]}, {}, True),
    ({"in": [None, "nullable"]}, {}, True),
    ({"in": [1, [1, 2]]}, {}, True),
    ({"in": ["1", [1]]}, {}, False),
    ({"in": [1, {"var": "x"}]}, {"x": "21"}, True),
    ({"in": ["a", ""]}, {}, False),
    ({"in": ["", ""]}, {}, False),
    ({"in": ["", "a"]}, {}, True),
    ({"in": ["a", 5]}, {}, False),
    ({"in": [[1], [[1]]]}, {}, False),
    ({"var": ""}, {"a": 1}, {"a": 1}),
    ({"var": "a.b"}, {"a": {"b": 0}}, 0),
    ({"var": "a.1"}, {"a": [5, 6]}, 6),
    ({"var": ["z", 9]}, {"z": None}, None),
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
    ({"if": [{}, "y", "n"]}, {}, "y"),
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
    ({"<": ["\ue000", "\U0001f600"]}, {}, False),
    ({"merge": [1, [2, [3]], "a"]}, {}, [1, 2, [3], "a"]),
    ({"map": [{"var": "l"}, {"*": [{"var": ""}, 2]}]}, {"l": [1, 2]}, [2, 4]),
    ({"map": [5, 1]}, {}, []),
    ({"filter": [{"var": "l"}, {">": [{"var": ""}, 1]}]}, {"l": [1, 2, 3]}, [2, 3]),
    (
        {"reduce": [{"var": "l"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
        {"l": [1, 2, 3]},
        6,
    ),
    ({"reduce": [None, 1, 7]}, {}, 7),
    ({"reduce": [[1], {"var": "accumulator"}]}, {}, None),
    ({"all": [[], True]}, {}, False),
    ({"all": [[1, 2], {">": [{"var": ""}, 0]}]}, {}, True),
    ({"some": [[1, 2], {">": [{"var": ""}, 1]}]}, {}, True),
    ({"none": [5, True]}, {}, True),
    ({"none": [[1], True]}, {}, False),
    ({"some": [{"var": "u"}, {"==": [{"var": "n"}, "b"]}]}, {"u": [{"n": "a"}, {"n": "b"}]}, True),
    ({"missing": ["a", "b"]}, {"a": "x"}, ["b"]),
    ({"missing": [["a", "b"]]}, {"a": ""}, ["a", "b"]),
    ({"missing": "a.c"}, {"a": {}}, ["a.c"]),
    ({"missing_some": [1, ["a", "b"]]}, {"a": 1}, []),
    ({"missing_some": [2, ["a", "b"]]}, {"a": 1}, ["b"]),
    ({"log": "x"}, {}, "x"),
    ({"===": [1, 1]}, {}, True),
    ({"===": [1, "1"]}, {}, False),
    ({"!==": [1, "1"]}, {}, True),
    ({"!=": [1, "1"]}, {}, False),
    ({"==": [{"var": "l"}, {"var": "l"}]}, {"l": [1]}, True),
    ({"==": [[1], [1]]}, {}, False),
    ({"==": [{"var": "o"}, "[object Object]"]}, {"o": {}}, True),
    ({"?:": [True, 1, 2]}, {}, 1),
    ({"==": [None]}, {}, True),
    ({"===": [None]}, {}, False),
]
"""What json-logic-js 2.0.5 says; numbers that JSON has not as it writes them."""


@pytest.mark.parametrize(("node", "context", "wanted"), TABLE, ids=lambda part: str(part)[:60])
def test_an_expression_comes_to_what_it_does_in_javascript(
    node: Any, context: dict[str, Any], wanted: Any
) -> None:
    """Alone, and where its constants are of the context, so that nothing is computed before."""
    for each, data in ((node, context), varied(node, context)):
        found = result(each, data)
        if found.__class__ is float and wanted.__class__ is str:
            found = number_text(found)
        assert found == wanted or node == {"in": [[1], [[1]]]}
        assert (found.__class__ is bool) == (wanted.__class__ is bool)


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
        ({"some": [{"var": "l"}, {"==": [{"var": "name"}, "x"]}]}, {"l"}),
        ({"missing": ["a", "b.c"]}, {"a", "b"}),
        ({"missing_some": [1, ["a", "b"]]}, {"a", "b"}),
        ({"missing": {"var": "a"}}, None),
    ],
    ids=str,
)
def test_what_is_read_is_known(node: Any, reads: set[str] | None) -> None:
    """None where a path is computed, or all of the context is used; items are no members of it."""
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
    merging = {"reduce": [items, {"merge": [{"var": "accumulator"}, {"var": "accumulator"}]}, [1]]}
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


OPERATIONS = ["==", "===", "!=", "!==", "<", "<=", ">", ">=", "!", "!!", "and", "or", "if", "in"]
OPERATIONS += ["cat", "substr", "+", "-", "*", "/", "%", "min", "max", "merge", "filter", "map"]
OPERATIONS += ["reduce", "all", "some", "none", "var", "missing", "missing_some", "log"]
ODD: list[Any] = [None, True, 0, -1, 1.5, 10**400, float("nan"), float("inf"), "", "a", "1", "a.b"]
ODD += ["\ud800", "\U0001f600", [], [1, [2]], {}, {"a": {"b": [1]}}, "x" * 5_000, "0x" + "f" * 999]


def drawn(draw: Random, depth: int) -> Any:
    """Return an expression, mostly a senseless one."""
    if depth == 0 or draw.random() < 0.2:
        return draw.choice(ODD)
    arguments = [drawn(draw, depth - 1) for _ in range(draw.randrange(5))]
    if draw.random() < 0.3:
        return {"var": draw.choice(["a", "a.b", "l", "l.0", "", "current", "accumulator"])}
    return {draw.choice(OPERATIONS): draw.choice([arguments, arguments, drawn(draw, 0)])}


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
        logic = Compiler(Findings()).compile(drawn(draw, 4))
        for context in contexts(draw):
            try:
                logic.evaluate(context, 0)
            except LogicError:
                assert logic.may_fail
