"""GrowthBook's conditions: what its suite does not say of them, and hostile ones."""

from typing import Any

import pytest

from proxy.engine import limits
from tests.proxy.engine.dialects.growthbook.flags import (
    Json,
    ask,
    compiled,
    errors,
    holds,
    only_split,
    translated,
    warnings,
)

CASES: list[tuple[Json, Any, bool]] = [
    # a text is compared with what JavaScript writes
    ({"v": "10"}, 10, True),
    ({"v": "10"}, 10.0, True),
    ({"v": "1e+21"}, 10**21, True),
    ({"v": "true"}, True, True),
    ({"v": "null"}, None, True),
    ({"v": "US"}, ["US"], True),
    ({"v": "1,,a"}, [1, [None, "a"]], True),
    ({"v": "[object Object]"}, {"a": 1}, True),
    ({"v": ""}, None, False),
    ({"v": ""}, [], True),
    # a number with what it reads
    ({"v": 5}, " 5 ", True),
    ({"v": 0}, None, True),
    ({"v": 0}, "", True),
    ({"v": 1}, True, True),
    ({"v": 16}, "0x10", True),
    ({"v": 5}, [5], True),
    ({"v": 5}, "5a", False),
    ({"v": 0}, {}, False),
    ({"v": 2**53}, 2**53 + 1, True),
    ({"v": 2**53 + 1}, 2**53, True),
    ({"v": 5}, 10**400, False),
    # a boolean with what it takes it for
    ({"v": True}, [], True),
    ({"v": True}, "false", True),
    ({"v": False}, 0, True),
    ({"v": False}, None, False),
    ({"v": True}, {}, True),
    ({"v": False}, "", True),
    # lists and objects with how they are written
    ({"v": {"a": 1, "b": 2}}, {"b": 2, "a": 1}, False),
    ({"v": {"a": 1.0}}, {"a": 1}, True),
    ({"v": {"b": 1, "2": 2, "1": 3}}, {"1": 3, "2": 2, "b": 1}, True),
    ({"v": []}, [], True),
    ({"v": [True]}, [1], False),
    ({"v": {}}, {}, True),
    ({"v": {}}, [], False),
    ({"v": {"$a": 1, "b": 2}}, {"$a": 1, "b": 2}, True),
    # strict equality
    ({"v": {"$eq": 1}}, 1.0, True),
    ({"v": {"$eq": 1}}, True, False),
    ({"v": {"$eq": []}}, [], False),
    ({"v": {"$ne": []}}, [], True),
    ({"v": {"$eq": True}}, 1, False),
    ({"v": {"$eq": None}}, None, True),
    ({"v": {"$ne": "a"}}, None, True),
    ({"v": {"$eq": 2**53 + 1}}, 2**53, True),
    # order
    ({"v": {"$lt": "b"}}, "a", True),
    ({"v": {"$lt": "10"}}, "9", False),
    ({"v": {"$lt": 10}}, "9", True),
    ({"v": {"$gte": 0}}, None, True),
    ({"v": {"$gt": 0}}, True, True),
    ({"v": {"$lt": 1}}, "x", False),
    ({"v": {"$gte": 1}}, "x", False),
    ({"v": {"$gt": "\uffff"}}, "😀", False),
    ({"v": {"$gt": 1}}, [2], True),
    ({"v": {"$lt": "\ue000"}}, "😀", True),
    ({"v": {"$gt": 5}}, 10**400, True),
    ({"v": {"$lt": None}}, -1, True),
    # lists
    ({"v": {"$in": [1, "a", None]}}, None, True),
    ({"v": {"$in": [1]}}, True, False),
    ({"v": {"$in": [True]}}, 1, False),
    ({"v": {"$in": [1.0]}}, 1, True),
    ({"v": {"$in": [[1]]}}, [1], False),
    ({"v": {"$nin": [1]}}, None, True),
    ({"v": {"$nin": []}}, [1], True),
    ({"v": {"$ini": [1, "É"]}}, ["é"], True),
    ({"v": {"$ini": [1]}}, 1, True),
    ({"v": {"$nini": ["É"]}}, "é", False),
    ({"v": {"$in": [{}]}}, {}, False),
    ({"v": {"$all": []}}, [], True),
    ({"v": {"$all": [1, "1"]}}, ["1"], True),
    ({"v": {"$all": [{"$gt": 5}]}}, [1, 9], True),
    ({"v": {"$alli": [True]}}, ["x"], True),
    ({"v": {"$alli": ["NULL"]}}, [None], True),
    ({"v": {"$elemMatch": {"$eq": 0}}}, [0], True),
    ({"v": {"$elemMatch": {"$eq": ""}}}, [""], True),
    ({"v": {"$elemMatch": {"$eq": None}}}, [None], False),
    ({"v": {"$elemMatch": {}}}, [0], True),
    ({"v": {"$elemMatch": {"a": 1, "b": {"$exists": False}}}}, [{"a": 2}, {"a": 1}], True),
    ({"v": {"$elemMatch": {"0": "x"}}}, [["x"]], True),
    ({"v": {"$elemMatch": {"a": None}}}, ["x"], True),
    ({"v": {"$elemMatch": {"$or": [{"a": 1}]}}}, [{"a": 1}], False),
    (
        {"v": {"$elemMatch": {"a.b": 1, "$or": [{"c": 1}, {"c": 2}]}}},
        [{"a": {"b": 1}, "c": 2}],
        True,
    ),
    ({"v": {"$size": {"$gt": 1}}}, [1, 2], True),
    ({"v": {"$size": "2"}}, [1, 2], True),
    ({"v": {"$exists": 0}}, None, True),
    ({"v": {"$exists": "yes"}}, 0, True),
    ({"v": {"$type": "undefined"}}, None, False),
    ({"v": {"$type": ["string"]}}, "a", False),
    ({"v": {"$not": {"$gt": 5}}}, None, True),
    ({"v": {"$not": "a"}}, "a", False),
    ({"v": {"$not": {}}}, {}, False),
    # paths
    ({"v.length": 2}, [1, 2], True),
    ({"v.1": "b"}, ["a", "b"], True),
    ({"v.01": "b"}, ["a", "b"], False),
    ({"v.length": {"$exists": True}}, "abc", False),
    ({"v.a.b": 1}, {"a": {"b": 1}}, True),
    ({"v.-1": {"$exists": True}}, ["a"], False),
    ({"v[0]": "a"}, ["a"], False),
    ({"v.9999999999999": 1}, [1], False),
    # texts
    ({"v": {"$regex": "^n"}}, None, True),
    ({"v": {"$regex": "^1,2$"}}, [1, 2], True),
    ({"v": {"$regexi": "TRUE"}}, True, True),
    ({"v": {"$regex": "a.*b"}}, "a\nb", False),
    # versions
    ({"v": {"$vgt": "1.2"}}, "1.10", True),
    ({"v": {"$vlt": "1.2.3-rc.1"}}, "1.2.3-rc", True),
    ({"v": {"$vlt": "1.0.0"}}, "1.0.0-rc.1", True),
    ({"v": {"$veq": "1.0.0"}}, "v1.0.0+b", True),
    ({"v": {"$veq": "0"}}, None, True),
    ({"v": {"$vgt": 1.5}}, 1.6, True),
    ({"v": {"$veq": 0}}, True, True),
    ({"v": {"$veq": "1.0.0"}}, "1.0.0+a\nb", False),
    ({"v": {"$vgte": "1.0.0"}}, "1.0.0", True),
    ({"v": {"$vlte": "1"}}, "10", False),
    ({"v": {"$vlt": "100000.0.0"}}, "99999.0.0", False),
    ({"v": {"$vne": "v1"}}, "vv1", True),
    # joints
    ({"$or": []}, 1, True),
    ({"$nor": []}, 1, False),
    ({"$and": []}, 1, True),
    ({"$not": {}}, 1, False),
    ({}, 1, True),
    ({"$not": {"$or": [{"v": 1}, {"v": 2}]}}, 3, True),
    ({"$nor": [{"v": 1}, {"$not": {"v": 2}}]}, 2, True),
]


@pytest.mark.parametrize(
    ("condition", "value", "expected"), CASES, ids=lambda part: repr(part)[:50]
)
def test_a_condition_is_javascripts(condition: Json, value: Any, expected: bool) -> None:
    """What the SDK for JavaScript says of the same attributes."""
    assert holds(condition, {"v": value}) is expected


def test_a_missing_attribute_is_null() -> None:
    """To every operator."""
    for condition, value, expected in CASES:
        if value is None:
            assert holds(condition, {}) is expected, condition


def test_id_is_the_targeting_key_where_there_is_none() -> None:
    """In conditions, and for splits; a null one is none."""
    assert holds({"id": "u-1"}, {"targetingKey": "u-1"})
    assert holds({"id": "u-1"}, {"targetingKey": "u-1", "id": None})
    assert holds({"id": "u-2"}, {"targetingKey": "u-1", "id": "u-2"})
    assert holds({"id.0": "x"}, {"targetingKey": "u-1", "id": ["x"]})
    assert not holds(
        {"items": {"$elemMatch": {"id": "u-1"}}}, {"targetingKey": "u-1", "items": [{}]}
    )


GROUPS = {
    "list": {"type": "list", "attributeKey": "id", "values": ["u-1", 2]},
    "bare": ["u-1", 2],
    "staff": {"type": "condition", "condition": {"mail": {"$regex": "@example.com$"}}},
    "both": {"type": "condition", "condition": {"$savedGroup": {"id": "staff"}, "plan": "pro"}},
    "circle": {"type": "condition", "condition": {"$not": {"$savedGroup": {"id": "circle"}}}},
    "new": {"type": "something new", "values": ["u-1"]},
    "broken": {"type": "list", "values": 5},
}
MAIL = {"mail": "a@example.com", "plan": "pro"}


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ({"id": {"$inGroup": "bare"}}, {"id": "u-1"}, True),
        ({"id": {"$inGroup": "list"}}, {"id": 2.0}, True),
        ({"id": {"$inGroup": "list"}}, {"id": "2"}, False),
        ({"id": {"$notInGroup": "list"}}, {"id": "u-2"}, True),
        ({"id": {"$notInGroup": "none"}}, {"id": "u-1"}, True),
        ({"id": {"$notInGroup": "new"}}, {"id": "u-2"}, False),
        ({"id": {"$inGroup": "staff"}}, {"id": "u-1"}, False),
        ({"$savedGroup": {"id": "list"}}, {"id": "u-1"}, True),
        ({"$savedGroup": {"id": "list", "attributeKey": "other"}}, {"id": "u-1"}, False),
        ({"$savedGroup": {"id": "list", "attributeKey": "a.b"}}, {"a": {"b": ["x", 2]}}, True),
        ({"$savedGroup": {"id": "list", "attributeKey": None}}, {"id": "u-1"}, False),
        ({"$savedGroup": {"id": "bare"}}, {"id": "u-1"}, False),
        ({"$savedGroup": {"id": "both"}}, MAIL, True),
        ({"$savedGroup": {"id": "both"}}, {"plan": "pro"}, False),
        ({"$savedGroup": {"id": "circle"}}, {}, True),
        ({"$savedGroup": {"id": "none"}}, MAIL, False),
        ({"$savedGroup": {"id": "broken"}}, MAIL, False),
        ({"$savedGroup": "staff"}, MAIL, False),
        (
            {"users": {"$elemMatch": {"$savedGroup": {"id": "both"}, "x": None}}},
            {"users": [MAIL]},
            True,
        ),
    ],
)
def test_saved_groups(condition: Json, context: Json, expected: bool) -> None:
    """Lists of values, and conditions by reference; what there is not holds for nobody."""
    assert holds(condition, context, savedGroups=GROUPS) is expected


def said_of(condition: Any, **options: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    flag = translated({"rules": [{"condition": condition, "force": 1}]}, **options)
    return errors(flag), warnings(flag)


AT = "/rules/0/condition"


@pytest.mark.parametrize(
    ("condition", "pointer", "code"),
    [
        (5, AT, "wrong_type"),
        ({"$or": 5}, f"{AT}/$or", "wrong_type"),
        ({"$and": [5]}, f"{AT}/$and/0", "wrong_type"),
        ({"$not": []}, f"{AT}/$not", "wrong_type"),
        ({"v": {"$elemMatch": 5}}, f"{AT}/v/$elemMatch", "wrong_type"),
        ({"v": {"$regex": "(?=a)"}}, f"{AT}/v/$regex", "invalid_pattern"),
        ({"a" * 300: 1}, AT, "too_many"),
    ],
)
def test_what_nobody_meant_is_an_error(condition: Any, pointer: str, code: str) -> None:
    """The flag is refused, with a pointer to what is wrong."""
    assert said_of(condition) == ([(pointer, code)], [])


@pytest.mark.parametrize(
    ("condition", "member", "code"),
    [
        ({"v": {"$regx": "a"}}, "v/$regx", "unknown_operator"),
        ({"v": {"$regex": "("}}, "v/$regex", "invalid_pattern"),
        ({"v": {"$regex": 5}}, "v/$regex", "operator_values"),
        ({"v": {"$in": 5}}, "v/$in", "operator_values"),
        ({"v": {"$all": "a"}}, "v/$all", "operator_values"),
        ({"v": {"$inGroup": "none"}}, "v/$inGroup", "unknown_segment"),
        ({"v": {"$inGroup": {}}}, "v/$inGroup", "unknown_segment"),
        ({"$savedGroup": {"id": "none"}}, "$savedGroup", "unknown_segment"),
    ],
)
def test_what_the_sdks_never_match_is_a_warning(condition: Json, member: str, code: str) -> None:
    """The flag works, as it does there."""
    assert said_of(condition) == ([], [(f"{AT}/{member}", code)])


def nested(depth: int, joint: str) -> Any:
    condition: Any = {"v": 1}
    for _ in range(depth):
        condition = {joint: condition if joint == "$not" else [condition]}
    return condition


@pytest.mark.parametrize("joint", ["$not", "$and", "$or", "$nor"])
def test_conditions_nest_to_a_bound(joint: str) -> None:
    """Beyond it is a problem, and no recursion."""
    assert said_of(nested(limits.MAX_CONDITION_DEPTH - 2, joint)) == ([], [])
    assert holds(nested(60, joint), {"v": 1})
    [(_, code)] = said_of(nested(500, joint))[0]
    assert code == "too_deep"


@pytest.mark.parametrize("operator", ["$not", "$elemMatch", "$size"])
def test_operators_nest_to_a_bound(operator: str) -> None:
    """So do operators within operators, and values to compare with."""
    wanted: Any = 1
    for _ in range(500):
        wanted = {operator: wanted}
    assert [code for _, code in said_of({"v": wanted})[0]] == ["too_deep"]


def test_a_value_to_compare_with_nests_to_a_bound() -> None:
    """Its depth counts."""
    wanted: Any = []
    for _ in range(500):
        wanted = [wanted]
    assert [code for _, code in said_of({"v": wanted})[0]] == ["too_deep"]


@pytest.mark.parametrize(
    "condition",
    [
        {"$and": [{"v": 1}] * (limits.MAX_CONDITIONS + 1)},
        {"v": {"$in": list(range(limits.MAX_VALUES_IN_ALL + 1))}},
        {"v": {"$all": list(range(limits.MAX_VALUES_IN_ALL + 1))}},
        {"v": list(range(limits.MAX_VALUES_IN_ALL + 1))},
        {"$and": [{"v": {"$regex": "a+"}}] * (limits.MAX_PATTERNS + 1)},
        {"v": {"$inGroup": "large"}},
    ],
    ids=["conditions", "values", "all", "value", "patterns", "group"],
)
def test_there_are_bounds(condition: Json) -> None:
    """What exceeds one is said once or a few times, and the flag refused."""
    large = {"large": list(range(limits.MAX_VALUES_IN_ALL + 1))}
    found, _ = said_of(condition, savedGroups=large)
    assert {code for _, code in found} == {"too_many"}


def test_hostile_contexts_raise_nothing() -> None:
    """For every case: deep, long and odd values."""
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    odd = [
        deep,
        ["x" * 50_000] * 3,
        {"a": deep},
        float("nan"),
        float("inf"),
        10**400,
        "\ud800",
        -0.0,
    ]
    for condition, _, _ in CASES:
        for value in odd:
            ask({"rules": [{"condition": condition, "force": 1}]}, {"v": value})


def test_what_is_read_of_a_context_is_known() -> None:
    """Of conditions over the context, of leaves of bandits, and of requests."""
    condition = {"a.b": 1, "$or": [{"id": 1}, {"c": {"$elemMatch": {"d": 1}}}]}
    rule = {"variations": [1, 2], "condition": condition, "hashAttribute": "unit", "key": "x"}
    bandit = {"contexts": [{"leafId": 1, "condition": {"e.f": 1, "id": "g"}, "weights": [1, 0]}]}
    flag = {"rules": [rule | {"contextualBanditRef": "cb"}]}
    made = compiled({"flag": flag}, contextualBandits={"cb": bandit}).flags["flag"]
    assert getattr(made, "reads", None) == {
        *("a", "c", "e", "id", "targetingKey", "unit", "$growthbook")
    }
    assert only_split(translated({"rules": [rule]})).arms
