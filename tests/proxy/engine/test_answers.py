"""The bytes of an answer: what clients that ship today need."""

import json
from typing import Any

import pytest
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, Reason
from proxy.engine import Answer
from proxy.engine.answers import AnswerMaker, encode, error_answer, not_found
from proxy.engine.program import Outcome
from tests.proxy.engine.builders import compiled, leaf, rule


def static(kind: str, value: Any, **members: Any) -> Answer:
    """Return the one answer of a flag that serves a value to all."""
    flag = compiled(type=kind, variants={"v": value}, fallthrough={"variant": "v"}, **members)
    return flag.evaluate({}, 0)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("boolean", True, b"true"),
        ("boolean", False, b"false"),
        ("string", "", b'""'),
        ("string", 'quote " and ä', 'quote \\" and ä'.encode().join([b'"', b'"'])),
        ("integer", 0, b"0"),
        ("integer", 2**53 - 1, b"9007199254740991"),
        ("integer", -(2**53 - 1), b"-9007199254740991"),
        ("number", 10.0, b"10.0"),
        ("number", 10, b"10.0"),
        ("number", 0, b"0.0"),
        ("number", -0.5, b"-0.5"),
        ("object", {}, b"{}"),
        ("object", {"a": [1, 1.0, None, "x"]}, b'{"a":[1,1.0,null,"x"]}'),
    ],
)
def test_values_are_written_by_the_type_of_the_flag(kind: str, value: Any, text: bytes) -> None:
    """Floats keep a fraction, integers have none and are exact; falsy values are values."""
    assert static(kind, value).body == (
        b'{"key":"flag","value":' + text + b',"variant":"v","reason":"STATIC"}'
    )


@pytest.mark.parametrize("value", [1e300, 1e16, 1e-7, 123456789.0, 5e-324])
def test_large_and_small_numbers_are_still_floats(value: float) -> None:
    """With an exponent or a fraction, and the same number when read."""
    body = static("number", value).body
    assert isinstance(json.loads(body)["value"], float)
    assert json.loads(body)["value"] == value


def test_a_disabled_flag_without_off_variant_has_no_value() -> None:
    """200, no value, variant "" as the shipped Python provider needs it."""
    answer = compiled(enabled=False).evaluate({}, 0)
    assert answer.body == b'{"key":"flag","variant":"","reason":"DISABLED"}'
    assert (answer.status, answer.value, answer.variant) == (200, UNSET, "")


def test_a_disabled_flag_with_off_variant_answers_it() -> None:
    """Value and variant, reason DISABLED."""
    answer = compiled(enabled=False, off_variant="off").evaluate({}, 0)
    assert answer.body == b'{"key":"flag","value":false,"variant":"off","reason":"DISABLED"}'


def test_metadata_is_flat_and_carries_the_rule() -> None:
    """The flag's own, and `ruleId` where a rule matched."""
    flag = compiled(
        metadata={"team": "a", "level": 3, "f": 1.5, "live": True},
        rules=[rule(leaf("x", "exists"), "on", id="r-1")],
    )
    matched, default = flag.evaluate({"x": 1}, 0), flag.evaluate({}, 0)
    own = {"team": "a", "level": 3, "f": 1.5, "live": True}
    assert json.loads(matched.body)["metadata"] == {**own, "ruleId": "r-1"} == matched.metadata
    assert json.loads(default.body)["metadata"] == own == default.metadata
    assert (matched.rule_id, default.rule_id) == ("r-1", None)


def test_a_rule_without_id_adds_nothing() -> None:
    """No made-up name that would change when rules are reordered."""
    answer = compiled(rules=[rule({"all": []})]).evaluate({}, 0)
    assert b"metadata" not in answer.body
    assert answer.metadata == {}


def test_errors_have_all_that_clients_ask_for() -> None:
    """Key, code and details, always strings; no value, no variant, no reason."""
    answer = error_answer("a/ä", ErrorCode.GENERAL, 'say "so"', metadata={"team": "a"})
    assert json.loads(answer.body) == {
        "key": "a/ä",
        "errorCode": "GENERAL",
        "errorDetails": 'say "so"',
        "metadata": {"team": "a"},
    }
    assert (answer.status, answer.reason, answer.variant) == (400, None, "")


def test_only_an_unknown_flag_is_404() -> None:
    """Everything else that fails is 400."""
    assert not_found("x").status == 404
    assert error_answer("x", ErrorCode.PARSE_ERROR, "").status == 400


def test_each_outcome_is_made_once() -> None:
    """So that its count is in one place."""
    maker = AnswerMaker("flag", {"on": True}, {})
    one = maker.answer(Outcome("on", Reason.STATIC))
    assert maker.answer(Outcome("on", Reason.STATIC)) is one
    assert maker.answer(Outcome("on", Reason.DEFAULT)) is not one
    assert len(maker.made) == 2


def test_outcomes_whose_metadata_is_of_other_types_are_others() -> None:
    """True, 1 and 1.0 are equal to Python, not to a client."""
    maker = AnswerMaker("flag", {"on": True}, {})
    made = [
        maker.answer(Outcome("on", Reason.STATIC, metadata=(("x", value),)))
        for value in (True, 1, 1.0)
    ]
    found = [answer.body.partition(b'"metadata":')[2] for answer in made]
    assert found == [b'{"x":true}}', b'{"x":1}}', b'{"x":1.0}}']


def test_large_values_are_shared_by_the_answers_that_carry_them() -> None:
    """Five hundred rules that serve 64 KB do not take 32 MB, and answer the same bytes."""
    value = {"text": "x" * 60_000}
    rules = [rule(leaf("n", "equals", i + 2), "v", id=f"r{i}") for i in range(500)]
    flag = compiled(type="object", variants={"v": value}, fallthrough={"variant": "v"}, rules=rules)
    assert len(flag.answers) == 501
    for n in (2, 300, -1):
        answer = flag.evaluate({"n": n}, 0)
        body = json.loads(answer.body)
        assert (body["value"], body["variant"]) == (value, "v")
        assert answer.body.startswith(b'{"key":"flag","value":{"text":"xxx')
    held = {id(part) for answer in flag.answers for part in getattr(answer, "parts", ())[1:2]}
    assert len(held) == 1


def test_a_repr_shows_no_value() -> None:
    """Values may be long, and logs are read by others."""
    assert repr(static("string", "secret")) == "<Answer 'flag': 'v', STATIC>"
    assert repr(not_found("x")) == "<Answer 'x': FLAG_NOT_FOUND>"


def test_text_without_utf8_is_answered_with_question_marks() -> None:
    """An answer is bytes whatever the key was."""
    assert encode("a\ud800") == b'"a?"'
