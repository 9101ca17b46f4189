"""Takes reports of events: checks each by itself, and keeps all that are good, or none.

One that cannot be taken is told by its place and why, and keeps no other from being taken. When
there is no room for those that are good, none is taken: the sender is told to come again, with the
same ids where it gave any, so that nothing is counted that was not taken, or taken twice.

Pure but for the buffer; clocks are arguments.
"""

from collections.abc import Callable, Sequence

import msgspec

from proxy.contract.decode import decode
from proxy.contract.events import (
    MAX_EVENT_ID_CHARS,
    MAX_EVENT_NAME_CHARS,
    MAX_EVENT_VALUE,
    MAX_PROPERTIES,
    MAX_PROPERTY_CHARS,
    Event,
    EventAnswer,
    ReportedEvent,
)
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_COUNTED_AGE_DAYS, MAX_LABEL_CHARS, Rejected
from proxy.contract.units import MAX_UNIT_CHARS
from proxy.engine import parse_moment
from proxy.events.buffer import EventBuffer, Written
from proxy.reporting.items import read_items, rejected, wrong_length
from proxy.reporting.room import Room

__all__ = ["EventRecorder", "read_events"]

_OLDEST_MS = MAX_COUNTED_AGE_DAYS * 86_400_000
_NEWEST_MS = 300_000  # ahead: clocks of phones are wrong by minutes
_SHOWN_CHARS = 40

_encode = msgspec.json.Encoder().encode


class _Report(msgspec.Struct, forbid_unknown_fields=True):
    """`EventReport`, its events as they are written: each is read by itself."""

    events: list[msgspec.Raw]


def read_events(body: bytes) -> tuple[list[ReportedEvent | str] | None, list[Problem]]:
    """Return the events of a report, or why there is none, at the place of each.

    None and problems for a body that is no report.
    """
    report, problems = decode(body, _Report)
    if report is None:
        return None, problems
    return read_items("events", report.events, ReportedEvent)


class EventRecorder:
    """Records into `buffer`; None while there is nobody to report to, and then all is ignored.

    `new_id` names events that came without an id; `disguise` is what units are replaced by.
    """

    __slots__ = ("_disguise", "_new_id", "buffer", "clamped", "rejected")

    def __init__(
        self,
        buffer: EventBuffer | None,
        new_id: Callable[[], str],
        disguise: Callable[[str], str] = str,
    ) -> None:
        self.buffer = buffer
        self._new_id = new_id
        self._disguise = disguise
        # of the process
        self.clamped = 0
        self.rejected = 0

    def reported(
        self, events: Sequence[ReportedEvent | str], now_ms: int, now_s: float
    ) -> EventAnswer | Room:
        """Record what was read of a report. `now_ms` is Unix time, `now_s` monotonic."""
        good: list[Written] = []
        refused: list[Rejected] = []
        for place, event in enumerate(events):
            checked = event if isinstance(event, str) else self._checked(event, now_ms)
            if isinstance(checked, str):
                refused.append(rejected(place, checked))
            else:
                good.append(checked)
        buffer = self.buffer
        if buffer is not None and not buffer.room_for(good):
            return Room.NONE_NOW if buffer.room_for(good, ever=True) else Room.NONE_EVER
        self.rejected += len(refused)
        if buffer is None:
            return EventAnswer(0, 0, len(good), 0, refused)
        accepted = [event for event in good if buffer.add(event, now_s)]
        clamped = sum(event.clamped for event in accepted)
        self.clamped += clamped
        return EventAnswer(len(accepted), len(good) - len(accepted), 0, clamped, refused)

    def _checked(self, event: ReportedEvent, now_ms: int) -> Written | str:
        """Return an event as it is sent, or what is wrong with it."""
        wrong = _wrong_with(event)
        if wrong is not None:
            return wrong
        time_ms = now_ms if event.time is None else _time_ms(event.time)
        if time_ms is None:
            shown = str(event.time)[:_SHOWN_CHARS]
            return f"time: {shown!r} is neither RFC 3339 with a zone nor Unix milliseconds"
        within_ms = max(1, now_ms - _OLDEST_MS, min(time_ms, now_ms + _NEWEST_MS))
        sent = Event(
            event.id or self._new_id(),
            event.name,
            self._disguise(event.unit),
            event.unit_attribute,
            within_ms,
            event.value,
            event.properties,
        )
        return Written(sent.id, _encode(sent), within_ms != time_ms)


def _wrong_with(event: ReportedEvent) -> str | None:
    """Return what is beyond the bounds of an event, None for nothing."""
    wrong = (
        wrong_length("name", event.name, MAX_EVENT_NAME_CHARS)
        or wrong_length("unit", event.unit, MAX_UNIT_CHARS)
        or wrong_length("unit_attribute", event.unit_attribute, MAX_LABEL_CHARS)
        or (None if event.id is None else wrong_length("id", event.id, MAX_EVENT_ID_CHARS))
    )
    if wrong is not None:
        return wrong
    if not -MAX_EVENT_VALUE <= event.value <= MAX_EVENT_VALUE:
        return f"value: {event.value} is beyond {MAX_EVENT_VALUE:g}"
    if len(event.properties) > MAX_PROPERTIES:
        return f"properties: {len(event.properties)} of them, at most {MAX_PROPERTIES} are taken"
    for name, value in event.properties.items():
        if wrong := wrong_length("properties: a name", name, MAX_PROPERTY_CHARS):
            return wrong
        if isinstance(value, str) and len(value) > MAX_PROPERTY_CHARS:
            shown = name[:_SHOWN_CHARS]
            return f"properties: {shown!r} has more than {MAX_PROPERTY_CHARS} characters"
    return None


def _time_ms(time: int | str) -> int | None:
    """Return a time in Unix milliseconds; None for what is none."""
    return parse_moment(time) if isinstance(time, str) else time
