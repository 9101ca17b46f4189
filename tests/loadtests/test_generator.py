"""The bundled generator finds the end of every answer, whatever pieces it comes in."""

from pathlib import Path

import pytest

from loadtests.generator import AnswerReader, read_requests
from loadtests.load import write_requests

ANSWERS = {
    "length": (200, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab\r\nc"),
    "empty": (404, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    "without a body": (304, b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'),
    "length of what is not sent": (304, b"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n"),
    "chunks": (
        200,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nab0\r\n\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
    ),
    "trailers": (
        500,
        b"HTTP/1.1 500 E\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_ends_where_it_ends(name: str) -> None:
    """Cut at any position, the status is told with the second piece, and never before."""
    status, answer = ANSWERS[name]
    for cut in range(len(answer)):
        reader = AnswerReader()
        assert reader.feed(answer[:cut]) is None
        assert reader.feed(answer[cut:]) == status


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_follow_each_other(name: str) -> None:
    """Byte by byte, each of three answers on one connection is told once."""
    status, answer = ANSWERS[name]
    reader = AnswerReader()
    found = [reader.feed(bytes([byte])) for byte in answer * 3]
    assert [one for one in found if one is not None] == [status] * 3


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"],
)
def test_an_answer_without_an_end_is_an_error(answer: bytes) -> None:
    """It would be waited for until the run is over."""
    with pytest.raises((ValueError, IndexError)):
        AnswerReader().feed(answer)


def test_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Whatever bytes they have: lengths tell them apart."""
    requests = [b"a\nb", b"", b"12\n34", bytes(range(256))]
    assert read_requests(write_requests(tmp_path / "some.requests", requests)) == requests
