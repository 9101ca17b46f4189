"""Error bodies that every shipped client can read."""

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.codes import ErrorCode
from proxy.ofrep.answers import failure, not_ready


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(list(ErrorCode)))
def test_an_error_about_a_flag_has_all_three_members(key: str, code: ErrorCode) -> None:
    """Python needs the details, JavaScript the key."""
    answer = failure(400, "why", key=key, code=code)
    assert json.loads(answer.body) == {"key": key, "errorCode": code, "errorDetails": "why"}


def test_an_error_about_the_request_has_no_key() -> None:
    """It would name a flag that nobody asked for."""
    assert set(json.loads(failure(400, "why").body)) == {"errorCode", "errorDetails"}


def test_not_ready_asks_to_come_back_in_whole_seconds() -> None:
    """Dates and fractions break clients."""
    answer = not_ready("a", "why")
    assert answer.status == 503
    assert dict(answer.headers)["Retry-After"].isdigit()


def test_what_was_no_text_is_shown_as_question_marks() -> None:
    """A header or a path may hold any bytes; an answer about them is an answer all the same."""
    answer = failure(417, "there is no way to meet Expect: \udcff", key="a\udc80")
    assert orjson.loads(answer.body)["errorDetails"].endswith("Expect: ?")
    assert orjson.loads(answer.body)["key"] == "a?"
