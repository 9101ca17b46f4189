"""Writes answers as HTTP/1.1 bytes. Pure but for the clock that `Date` needs.

The head of an answer is made of two parts: lines that many answers share, kept by what they depend
on, and the length. RFC 9110 wants a `Date` from a server that has a clock; it changes once a
second, so `Writer.tick` is to be called about that often.
"""

from email.utils import formatdate
from http import HTTPStatus

from proxy.ofrep.answers import JSON_HEADERS, Headers, OfrepAnswer

__all__ = ["Writer"]

_EMPTY = frozenset({204, 304})
"""Statuses whose answers have no body, and so no length (RFC 9110, section 8.6)."""

_MAX_LENGTHS = 4_096
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Heads(dict[int, bytes]):
    """Heads of answers that differ in nothing but the length of the body, each made when asked."""

    def __init__(self, lines: bytes) -> None:
        super().__init__()
        self._lines = lines

    def __missing__(self, length: int) -> bytes:
        if len(self) >= _MAX_LENGTHS:
            self.clear()
        head = self[length] = b"%bContent-Length: %d\r\n\r\n" % (self._lines, length)
        return head


class Writer:
    """`common` are the headers of every answer of this port to a request without an origin."""

    def __init__(self, common: Headers) -> None:
        self._common = common
        self._date = b""
        self._until_s = 0
        self.ok = Heads(b"")
        """Heads of 200s with a JSON body and without further headers, by the body's length."""

    def tick(self, now_s: int) -> None:
        """Take note of the time, in whole seconds since 1970."""
        if now_s == self._until_s:
            return
        self._until_s = now_s
        self._date = b"Date: %b\r\n" % formatdate(now_s, usegmt=True).encode()
        lines = _STATUS_LINES[200] + _lines(JSON_HEADERS + self._common) + self._date
        self.ok = Heads(lines)

    def write(self, answer: OfrepAnswer, more: Headers, *, close: bool = False) -> bytes:
        """Return a whole answer; `more` are the headers besides the answer's own."""
        headers = answer.headers + more
        if close:
            headers += (("Connection", "close"),)
        head = _STATUS_LINES[answer.status] + _lines(headers) + self._date
        if answer.status in _EMPTY:
            return head + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(answer.body), answer.body)


def _lines(headers: Headers) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode()
