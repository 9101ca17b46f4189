"""Shape problems have a pointer and a code."""

import msgspec
import pytest

from proxy.contract.authoring import FlagInput
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition, Unreadable
from proxy.contract.problems import Problem

GOOD = b'{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s"}'


def test_a_good_document_is_decoded() -> None:
    """From bytes or from a part of a larger document."""
    for data in (GOOD, msgspec.Raw(GOOD)):
        value, problems = decode(data, FlagDefinition)
        assert value is not None
        assert value.salt == "s"
        assert problems == []


@pytest.mark.parametrize(
    ("data", "where", "code"),
    [
        (b"", "", "malformed_json"),
        (b"{", "", "malformed_json"),
        (b'{"type":"\xff"}', "/type", "malformed_json"),
        (b"[]", "", "wrong_type"),
        (b"{}", "/type", "missing_field"),
        (GOOD[:-1] + b',"odd":1}', "/odd", "unknown_field"),
        (GOOD.replace(b'"s"', b"5"), "/salt", "wrong_type"),
        (GOOD.replace(b"boolean", b"colour"), "/type", "wrong_type"),
        (GOOD.replace(b'{"variant":"on"}', b"{}"), "/fallthrough", "not_one_of"),
        (
            GOOD[:-1] + b',"rules":[{"when":{"all":[]},"serve":{"variant":"on"}},'
            b'{"when":{"all":[{"attribute":"x"}]},"serve":{"variant":"on"}}]}',
            "/rules/1/when/all/0",
            "not_one_of",
        ),
        (b'{"variants":{"on":' + b"[" * 100_000, "", "too_deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, where: str, code: str) -> None:
    """As precisely as the decoder knows."""
    value, [problem] = decode(data, FlagDefinition)
    assert value is None
    assert problem.code == code
    assert problem.pointer in {where, ""}
    assert problem.message


def test_below_a_name_that_is_not_told_the_place_is_where_that_is() -> None:
    """Rather than a wrong one."""
    _, [problem] = decode(b'{"environments":{"a":{"x":1}}}', FlagInput)
    assert (problem.pointer, problem.message) == ("/environments", "the member 'x' is unknown")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"tags":[1]}', "this is an integer, not a string"),
        (b'{"expires":true}', "this is a boolean, not a string or null"),
        (b'{"type":"bool"}', "not one of the known values: 'bool'"),
        (b'{"typ":1}', "the member 'typ' is unknown"),
        (b"[]", "this is an array, not an object"),
        (b"", "the document is empty, at line 1, column 1"),
        (b'{"key":', "this ends too early, at line 1, column 8"),
        (b'{"key":"\xff"}', "byte 8 is not UTF-8, at line 1, column 9"),
        (
            b'{"name":"",\n"key":"a\\ud800"}',
            "this escape is half of a character, at line 2, column 9",
        ),
        (
            b"\xef\xbb\xbf{}",
            "the document begins with a byte order mark, which JSON does not have, at line 1",
        ),
        (b'{"key":"a",}', "trailing comma in object, at line 1, column 12"),
    ],
)
def test_it_is_said_in_the_words_of_json(data: bytes, message: str) -> None:
    """And not in those of the decoder, nor of the language this is written in."""
    _, [problem] = decode(data, FlagInput)
    assert problem.message.startswith(message)


def test_problems_may_stand_in_the_place_of_a_definition() -> None:
    """Then it is they that are wrong with it. They are bounded: anybody may have sent them."""
    told = Problem("/flags/1/tags/0", ProblemCode.WRONG_TYPE, "m" * 1_000, "hint")
    data = msgspec.json.encode(Unreadable([told] * 100))
    value, problems = decode(data, FlagDefinition)
    assert value is None
    assert len(problems) == 20
    assert problems[0] == msgspec.structs.replace(told, message="m" * 500)
    _, [problem] = decode(data, FlagInput)
    assert problem.code == ProblemCode.UNKNOWN_FIELD


@pytest.mark.parametrize("number", [b"1e400", b"-1e999", b"9" * 5_000], ids=["e", "-e", "long"])
def test_a_number_that_cannot_be_held_is_found(number: bytes) -> None:
    """By line and column, among others that look like it."""
    data = b'{"1e400": [1e300, "1e500"],\n "b": %s, "c": 1e400}' % number
    [problem] = decode(data, object)[1]
    assert problem.code is ProblemCode.NUMBER_OUT_OF_RANGE
    assert problem.message.endswith("at line 2, column 7")
