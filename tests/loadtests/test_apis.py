"""What counts as a right answer, before anything is measured."""

import json
from typing import Any

import pytest

from loadtests.apis import APIS
from loadtests.scenarios import Condition, Context, Flag, FlagSet, Rule

_ADULT = Condition("age", "gte", (18,))
_VARIANTS = {"a": "first", "b": "second", "none": "neither"}
FLAGS = FlagSet(
    (
        Flag("plain", {"a": True, "b": False, "none": False}),
        Flag("some", _VARIANTS, (Rule((_ADULT,), split=False),)),
        Flag("split", _VARIANTS, (Rule(segment="adults"),)),
        Flag("config", {"a": {"x": 1}, "b": {"x": 2}, "none": {}}, (Rule((_ADULT,), split=False),)),
    ),
    {"adults": (_ADULT,)},
)
ONE = FlagSet(FLAGS.flags[1:2])
ADULT: Context = {"targetingKey": "u-1", "age": 30}
CHILD: Context = {"targetingKey": "u-2", "age": 3}


def _ofrep(**values: Any) -> dict[str, Any]:
    return {"flags": [{"key": key, "value": value} for key, value in values.items()]}


def _unleash(**names: str) -> dict[str, Any]:
    return {
        "toggles": [
            {"name": key, "enabled": True, "variant": {"name": name}} for key, name in names.items()
        ]
    }


def _flagsmith(**values: Any) -> dict[str, Any]:
    return {
        "flags": [
            {"feature": {"name": key}, "feature_state_value": value}
            for key, value in values.items()
        ]
    }


RIGHT = [
    ("ofrep", ADULT, _ofrep(plain=True, some="first", split="first", config={"x": 1})),
    ("ofrep", ADULT, _ofrep(plain=True, some="first", split="second", config={"x": 1})),
    ("ofrep", CHILD, _ofrep(plain=True, some="neither", split="neither", config={})),
    ("unleash", ADULT, _unleash(plain="disabled", some="a", split="b", config="a")),
    ("unleash", CHILD, _unleash(plain="disabled")),
    ("flagsmith", ADULT, _flagsmith(plain=True, some="first", split="second", config='{"x": 1}')),
    ("flagsmith", CHILD, _flagsmith(plain=True, some="neither", split="neither", config="{}")),
]

WRONG = [
    ("ofrep", ADULT, {}),
    ("ofrep", ADULT, _ofrep()),
    ("ofrep", ADULT, _ofrep(plain=True, some="first", split="first")),
    ("ofrep", ADULT, _ofrep(plain=True, some="second", split="first", config={"x": 1})),
    ("ofrep", ADULT, _ofrep(plain=True, some="neither", split="neither", config={})),
    ("ofrep", CHILD, _ofrep(plain=True, some="neither", split="first", config={})),
    ("ofrep", CHILD, _ofrep(plain=None, some="neither", split="neither", config={})),
    ("ofrep", CHILD, [1]),
    (
        "ofrep",
        CHILD,
        {"flags": [{"key": flag.key, "errorCode": "GENERAL"} for flag in FLAGS.flags]},
    ),
    ("unleash", ADULT, _unleash(plain="disabled")),
    ("unleash", CHILD, _unleash(plain="disabled", some="a")),
    ("unleash", ADULT, _unleash(plain="disabled", some="b", split="b", config="a")),
    ("flagsmith", ADULT, _flagsmith(plain=True, some="first", split="second")),
    ("flagsmith", CHILD, _flagsmith(plain=True, some="first", split="neither", config="{}")),
]


@pytest.mark.parametrize(("api", "context", "document"), RIGHT)
def test_a_right_answer_is_right(api: str, context: Context, document: Any) -> None:
    """Either half of a split is."""
    assert not APIS[api].wrong(json.dumps(document).encode(), FLAGS, context, bulk=True)


@pytest.mark.parametrize(("api", "context", "document"), WRONG)
def test_a_wrong_answer_is_seen(api: str, context: Context, document: Any) -> None:
    """A flag that is missing, an error, and a value of another variant, each with status 200."""
    assert APIS[api].wrong(json.dumps(document).encode(), FLAGS, context, bulk=True)


@pytest.mark.parametrize(
    ("api", "context", "document", "right"),
    [
        ("ofrep", ADULT, {"key": "some", "value": "first"}, True),
        ("ofrep", ADULT, {"key": "some", "value": "neither"}, False),
        ("ofrep", ADULT, {"key": "other", "value": "first"}, False),
        ("unleash", ADULT, {"name": "some", "enabled": True, "variant": {"name": "a"}}, True),
        ("unleash", CHILD, {"name": "some", "enabled": False}, True),
        ("unleash", CHILD, {"name": "some", "enabled": True, "variant": {"name": "a"}}, False),
        ("unleash", ADULT, {"name": "some", "enabled": True, "variant": {"name": "b"}}, False),
    ],
)
def test_of_one_flag(api: str, context: Context, document: Any, right: bool) -> None:
    """The answer is the item alone."""
    assert (not APIS[api].wrong(json.dumps(document).encode(), ONE, context, bulk=False)) is right


def test_what_is_no_json_is_wrong() -> None:
    """An error page, for one; what came is quoted."""
    assert "<html>" in (APIS["ofrep"].wrong(b"<html>", FLAGS, ADULT, bulk=True) or "")
