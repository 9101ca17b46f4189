"""Parses a stream of server-sent events: bytes in, events out. Pure, and bounded.

The format is WHATWG HTML, section 9.2.6: lines end with LF, CR or CR LF, which a chunk may divide
anywhere; an event ends with an empty line; what is unfinished when the stream ends is dropped.

Rules:
- A line, and the data of an event, has at most `max_bytes`: a server that never ends a line must
  not fill the memory of what runs beside an application. More is EventTooLarge, after which the
  parser is of no more use.
- Bytes that are no UTF-8 become U+FFFD, as the standard says; the JSON decoder complains then.
"""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["MAX_EVENT_BYTES", "Event", "EventParser", "EventTooLarge"]

MAX_EVENT_BYTES = 1024 * 1024
"""A delta has up to 256 KB of lines; as JSON strings they can grow to twice that and more."""

_MAX_RETRY_DIGITS = 9  # eleven days in milliseconds; more digits are no delay but an attack


class EventTooLarge(Exception):
    """A line or an event is longer than is read."""


class Event(NamedTuple):
    """One event. `id` is that of the latest event that had one, or empty."""

    name: str
    data: str
    id: str


class EventParser:
    """Feed it chunks, iterate over what is complete.

    `retry_ms` is what the server last asked for as a delay before reconnecting, None if never.
    """

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        # of the stream
        self.retry_ms: int | None = None
        self._id = ""
        self._at_start = True
        self._rest: list[bytes] = []  # the unfinished line, in pieces
        self._rest_size = 0
        self._after_cr = False  # an LF that comes next belongs to the CR before it
        # of the event
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield each event that this chunk completes. Iterate to the end before the next chunk.

        Raises:
            EventTooLarge: a line or an event has more than `max_bytes`.
        """
        if not chunk:
            return  # nothing was read: an LF to come still belongs to the CR before it
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        first, *lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest.append(first)
        self._rest_size += len(first)
        if self._rest_size > self._max_bytes:
            raise EventTooLarge(f"a line of more than {self._max_bytes} bytes")
        if not lines:
            return
        lines.insert(0, b"".join(self._rest))
        self._rest = [lines.pop()]
        self._rest_size = len(self._rest[0])
        for line in lines:
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line:
                self._field(line)
                continue
            event = self._event()
            if event is not None:
                yield event

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max_bytes:
                raise EventTooLarge(f"an event of more than {self._max_bytes} bytes")
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry_ms = int(value)

    def _event(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], "", 0
        if not data:
            return None
        return Event(name or "message", b"\n".join(data).decode("utf-8", "replace"), self._id)
