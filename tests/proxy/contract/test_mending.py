"""Each mistake of a text is told with its place, and costs no more than what it stands in."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.codes import ProblemCode
from proxy.contract.mending import MAX_FLAWS, mend
from proxy.contract.strict_json import scan

MISTAKES = [
    ('{"a": 1, "a": 2}', "/a", ProblemCode.DUPLICATE_KEY, {"a": 2}),
    ('{"a": 1, "\\u0061": 2}', "/a", ProblemCode.DUPLICATE_KEY, {"a": 2}),
    ("1e400", "", ProblemCode.NUMBER_OUT_OF_RANGE, 0),
    ("-1E+999", "", ProblemCode.NUMBER_OUT_OF_RANGE, 0),
    ("9" * 5_000, "", ProblemCode.NUMBER_OUT_OF_RANGE, 0),
    ("9" * 400 + ".5", "", ProblemCode.NUMBER_OUT_OF_RANGE, 0),
    ("NaN", "", ProblemCode.MALFORMED_JSON, 0),
    ("[1, -Infinity]", "/1", ProblemCode.MALFORMED_JSON, [1, 0]),
    ('"\\ud83d"', "", ProblemCode.MALFORMED_JSON, "\ufffd"),
    ('"\\udE00\\ud83d\\ude00"', "", ProblemCode.MALFORMED_JSON, "\ufffd\U0001f600"),
    ('{"\\ud800": 1}', "/\ufffd", ProblemCode.MALFORMED_JSON, {"\ufffd": 1}),
    ("[" * 70 + '"]"' + "]" * 70, "/0" * 63, ProblemCode.TOO_DEEP, None),
    ('{"a":' * 70 + "[ 1]" + "}" * 70, "/a" * 63, ProblemCode.TOO_DEEP, None),
]


@pytest.mark.parametrize(("mistake", "where", "code", "left"), MISTAKES)
def test_a_mistake_is_told_and_everything_else_can_be_read(
    mistake: str, where: str, code: ProblemCode, left: Any
) -> None:
    """No decoder reads the text, or it hides the mistake; at what is mended none stops."""
    text = f'{{"before": [1, "ä"],\n "at": {mistake},\n "behind": "\\\\ud800"}}'
    if not scan(text.encode()):
        with pytest.raises((msgspec.MsgspecError, UnicodeError)):
            msgspec.json.decode(text)
    made, (flaw,) = mend(text.encode(), places=True)
    assert (flaw.pointer, flaw.code) == (f"/at{where}", code)
    assert flaw.message.endswith(", at line 2")
    document = msgspec.json.decode(made)
    assert (document["before"], document["behind"]) == ([1, "ä"], "\\ud800")
    if left is not None:
        assert document["at"] == left
    # so that what a decoder says of a place is still true
    assert list(map(len, made.decode().split("\n"))) == list(map(len, text.split("\n")))


@pytest.mark.parametrize(
    "text", ['{"a": NaN', "[1e400", '{"a": nan}', "[+Infinity]", "[1e400x]", "]", ",", "[" * 99, ""]
)
def test_what_is_no_json_stays_so(text: str) -> None:
    """The decoder says where."""
    made, _ = mend(text.encode())
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        msgspec.json.decode(made)


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    """Decoders may pass over them, so it is told; nothing in them has a place."""
    data = b'{"a": "\xff", "a": 1}'
    made, (flaw,) = mend(data)
    assert (made, flaw.pointer, flaw.message) == (data, "", "byte 7 is not UTF-8")


@pytest.mark.parametrize(
    "text",
    [
        "[" + '{"b": 1, "b": 1}, ' * (MAX_FLAWS + 1) + "1]",
        f'{{"{"k" * 500_000}": [{"NaN," * 9} 1]}}',
    ],
)
def test_a_text_with_more_mistakes_than_can_be_told_is_refused_whole(text: str) -> None:
    """Or the flag of one that is not told would be served."""
    made, flaws = mend(text.encode())
    assert made == text.encode()
    assert (flaws[0].pointer, flaws[0].code) == ("", ProblemCode.TOO_MANY)
    assert len(flaws) == 2


def test_a_long_pointer_keeps_the_steps_that_tell_whose_it_is() -> None:
    """And no others: there may be ten thousand of them."""
    names = ["data", "flags", "k" * 2_000, "variants", "v" * 2_000, "x"]
    text = "".join(f'{{"{name}":' for name in names) + "NaN" + "}" * len(names)
    (flaw,) = mend(text.encode()).flaws
    assert flaw.pointer == "/" + "/".join(names[:4])


_NAMES = st.text('ab/~\U0001f600"\\', max_size=3)
_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(_JSON, st.booleans(), st.sampled_from([None, 2]))
def test_a_text_without_mistakes_is_left_alone(
    document: Any, escaped: bool, indent: int | None
) -> None:
    """Whatever it holds, and however it is written."""
    data = json.dumps(document, ensure_ascii=escaped, indent=indent).encode()
    assert mend(data) == (data, [])


_PIECES = st.sampled_from([*'{}[],:" \n', "1", "1e999", "NaN", '"a"', "\\ud800"])


@settings(max_examples=500, deadline=None)
@given(st.lists(_PIECES, max_size=40))
def test_any_text_is_mended_or_stays_none(pieces: list[str]) -> None:
    """Where the result can be decoded, nothing is in it that the scan finds, but for twins."""
    text = "".join(pieces)
    made, flaws = mend(text.encode())
    assert len(made.decode()) == len(text)
    try:
        msgspec.json.decode(made)
    except (msgspec.MsgspecError, UnicodeError):
        return
    twins = [flaw.pointer for flaw in flaws if flaw.code is ProblemCode.DUPLICATE_KEY]
    assert [problem.pointer for problem in scan(made)] == twins
