"""Writes answers as HTTP/1.1 bytes. Pure but for the clock that `Date` needs.

The headers come in the order in which aiohttp writes them, so that one can compare byte by byte who
answered. RFC 9110 wants a `Date` from a server that has a clock; it changes once a second, so
`Writer.tick` is to be called about that often.
"""

from email.utils import formatdate
from http import HTTPStatus

from proxy.ofrep.answers import JSON_HEADERS, Headers, OfrepAnswer

__all__ = ["Writer", "begin"]

_EMPTY = frozenset({204, 304})
"""Statuses whose answers have no body, and so no length (RFC 9110, section 8.6)."""

_MAX_LENGTHS = 4_096
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Heads(dict[int, bytes]):
    """Heads of answers that differ in nothing but the length of the body, each made when asked."""

    def __init__(self, lines: bytes, end: bytes) -> None:
        super().__init__()
        self._lines = lines
        self._end = end

    def __missing__(self, length: int) -> bytes:
        if len(self) >= _MAX_LENGTHS:
            self.clear()
        head = self[length] = b"%bContent-Length: %d\r\n%b" % (self._lines, length, self._end)
        return head


class Writer:
    """`common` are the headers of every answer of this port to a request without an origin."""

    def __init__(self, common: Headers) -> None:
        self._common = common
        self._date = b""
        self._until_s = 0
        self.ok = Heads(b"", b"")
        """Heads of 200s with a JSON body and without further headers, by the body's length."""

    def tick(self, now_s: int) -> None:
        """Take note of the time, in whole seconds since 1970."""
        if now_s == self._until_s:
            return
        self._until_s = now_s
        self._date = b"Date: %b\r\n" % formatdate(now_s, usegmt=True).encode()
        lines = _STATUS_LINES[200] + _lines(JSON_HEADERS + self._common)
        self.ok = Heads(lines, self._date + b"\r\n")

    def write(self, answer: OfrepAnswer, more: Headers, *, close: bool = False) -> bytes:
        """Return a whole answer; `more` are the headers besides the answer's own."""
        length = b"" if answer.status in _EMPTY else b"Content-Length: %d\r\n" % len(answer.body)
        return b"".join(
            (
                _STATUS_LINES[answer.status],
                _lines(answer.headers + more),
                length,
                self._date,
                b"Connection: close\r\n\r\n" if close else b"\r\n",
                answer.body,
            )
        )


def begin(answer: OfrepAnswer, more: Headers, now_s: int, *, chunked: bool) -> bytes:
    """Return the head of an answer whose body ends with the connection; chunks follow, or text."""
    framing: Headers = (("Transfer-Encoding", "chunked"),) if chunked else ()
    date = (("Date", formatdate(now_s, usegmt=True)), ("Connection", "close"))
    lines = _lines(answer.headers + more + framing + date)
    return b"%b%b\r\n" % (_STATUS_LINES[answer.status], lines)


def _lines(headers: Headers) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode()
