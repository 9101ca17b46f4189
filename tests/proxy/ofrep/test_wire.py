"""Answers as bytes."""

from email.utils import parsedate_to_datetime

from proxy.ofrep.answers import JSON_HEADERS, OfrepAnswer
from proxy.ofrep.wire import Writer, begin

COMMON = (("Server", "matrix-flag"),)


def made(now_s: int = 1_796_000_000) -> Writer:
    """Return a writer at a time."""
    writer = Writer(COMMON)
    writer.tick(now_s)
    return writer


def test_an_answer_has_its_headers_its_length_and_the_date() -> None:
    """In the order of aiohttp."""
    answer = OfrepAnswer(404, b"{}", (("Content-Type", "application/json"),))
    assert made().write(answer, COMMON) == (
        b"HTTP/1.1 404 Not Found\r\n"
        b"Content-Type: application/json\r\n"
        b"Server: matrix-flag\r\n"
        b"Content-Length: 2\r\n"
        b"Date: Mon, 30 Nov 2026 00:53:20 GMT\r\n"
        b"\r\n{}"
    )


def test_one_that_ends_the_connection_says_so() -> None:
    """So that the client opens another."""
    answer = OfrepAnswer(200, b"{}")
    assert b"\r\nConnection: close\r\n\r\n{}" in made().write(answer, COMMON, close=True)


def test_answers_without_a_body_have_no_length() -> None:
    """A length would be that of the body which is not sent again."""
    for status in (204, 304):
        assert b"Content-Length" not in made().write(OfrepAnswer(status, b"", ()), COMMON)


def test_the_head_that_is_kept_is_the_one_that_would_be_written() -> None:
    """For every length, also when so many were asked for that they are made anew."""
    writer = made()
    for length in (0, 7, *range(5_000), 7, 1_000_000):
        answer = OfrepAnswer(200, b"x" * length, JSON_HEADERS)
        assert writer.ok[length] + answer.body == writer.write(answer, COMMON)
    assert len(writer.ok) <= 4_096


def test_the_date_follows_the_clock() -> None:
    """A second later, in both."""
    writer = made(1_000)
    writer.tick(1_001)
    for head in (writer.ok[1], writer.write(OfrepAnswer(200, b""), ())):
        date = head.split(b"Date: ")[1].split(b"\r\n")[0].decode()
        assert parsedate_to_datetime(date).timestamp() == 1_001


def test_an_answer_without_an_end_comes_in_chunks_or_ends_with_the_connection() -> None:
    """An old client knows no chunks."""
    answer = OfrepAnswer(200, b"", (("Content-Type", "text/event-stream"),))
    head = begin(answer, COMMON, 1_796_000_000, chunked=True)
    assert head == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream\r\n"
        b"Server: matrix-flag\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Date: Mon, 30 Nov 2026 00:53:20 GMT\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )
    plain = begin(answer, COMMON, 1_796_000_000, chunked=False)
    assert plain == head.replace(b"Transfer-Encoding: chunked\r\n", b"")
