"""What counts as a wrong answer under load."""

import json
from typing import Any

import pytest

from loadtests.answers import Answers
from loadtests.definitions import flags, toggle

_RIGHT = {"key": "load.plain-0", "value": True, "variant": "on", "reason": "STATIC"}


@pytest.fixture
def answers() -> Answers:
    """The judge of a run that has seen nothing yet."""
    return Answers([*flags(), toggle("t")])


def _judge(answers: Answers, document: dict[str, Any], context: str = "user-1") -> str | None:
    body = json.dumps(document).encode()
    return answers.wrong_evaluation(200, body, "load.plain-0", context)


def test_a_right_answer_is_right(answers: Answers) -> None:
    """The key that was asked for, one of its variants with that variant's value, a known reason."""
    assert _judge(answers, _RIGHT) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "load.plain-1"},
        {"variant": None},
        {"variant": "of"},
        {"value": False},
        {"value": None},
        {"reason": "MATCH"},
    ],
    ids=str,
)
def test_a_wrong_member_is_seen(answers: Answers, wrong: dict[str, Any]) -> None:
    """A status of 200 does not make an answer right."""
    assert _judge(answers, {**_RIGHT, **wrong}) is not None


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"<html>"), (0, b"")])
def test_no_answer_is_wrong(answers: Answers, status: int, body: bytes) -> None:
    """Errors, and what is not JSON, are wrong."""
    assert answers.wrong_evaluation(status, body, "load.plain-0", "user-1") is not None


def test_a_unit_keeps_its_variant(answers: Answers) -> None:
    """A unit that changes its variant though nobody changed the flag has a broken experience."""
    split = {"key": "load.split-1", "value": "a1", "variant": "a", "reason": "SPLIT"}
    other = {**split, "value": "b1", "variant": "b"}
    assert answers.wrong_item(split, "user-1") is None
    assert answers.wrong_item(other, "user-2") is None
    assert answers.wrong_item(other, "user-1") is not None


def test_a_flag_that_is_written_may_change(answers: Answers) -> None:
    """The writers' own flags are switched all the time."""
    on = {"key": "load.toggle-t", "value": True, "variant": "on", "reason": "STATIC"}
    assert answers.wrong_item(on, "user-1") is None
    assert answers.wrong_item({**on, "value": False, "variant": "off"}, "user-1") is None


def test_bulk_needs_every_flag_once_and_an_etag() -> None:
    """A flag that is missing would be the application's default."""
    answers = Answers(flags()[:2])
    second = {**_RIGHT, "key": "load.plain-1", "value": False, "variant": "off"}

    def judge(items: list[dict[str, Any]], etag: str | None = '"x"') -> str | None:
        return answers.wrong_bulk(200, json.dumps({"flags": items}).encode(), etag, "user-1")

    assert judge([_RIGHT, second]) is None
    assert judge([_RIGHT, second], None) is not None
    assert judge([_RIGHT]) is not None
    assert judge([_RIGHT, second, second]) is not None
    assert judge([_RIGHT, {**second, "value": True}]) is not None


@pytest.mark.parametrize(
    ("status", "body", "right"),
    [
        (404, b'{"key":"k","errorCode":"FLAG_NOT_FOUND","errorDetails":""}', True),
        (404, b'{"errorCode":"GENERAL"}', False),
        (404, b"not found", False),
        (200, b'{"errorCode":"FLAG_NOT_FOUND"}', False),
    ],
)
def test_an_unknown_flag_is_a_404_of_ofrep(
    answers: Answers, status: int, body: bytes, right: bool
) -> None:
    """A proxy's own 404 page would be taken for an unknown flag otherwise."""
    assert (answers.wrong_unknown(status, body) is None) is right
