"""Custom events: what a unit did, for the metrics of experiments.

An application reports to its sidecar's `POST /v1/events`, in the shapes at the end; the sidecar
sends batches to the control plane (`proxy.contract.reports`). Every event has an id of its own too:
an application that did not get an answer reports it again, with the same id, and its sidecar knows
it for an hour.
"""

import msgspec

from proxy.contract.reports import Rejected

__all__ = [
    "EVENTS_PATH",
    "MAX_EVENT_ID_CHARS",
    "MAX_EVENT_NAME_CHARS",
    "MAX_EVENT_VALUE",
    "MAX_PROPERTIES",
    "MAX_PROPERTY_CHARS",
    "Event",
    "EventAnswer",
    "EventBatch",
    "EventReport",
    "PropertyValue",
    "ReportedEvent",
]

EVENTS_PATH = "/api/v1/events"
MAX_EVENT_NAME_CHARS = 128
MAX_EVENT_ID_CHARS = 64
MAX_EVENT_VALUE = 1e15
"""Largest value, of either sign: a double is exact to it, and sums of squares have room."""
MAX_PROPERTIES = 16
MAX_PROPERTY_CHARS = 256
"""Longest name of a property, and longest text as its value."""

PropertyValue = str | float | bool


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that one unit did. `time_ms` is Unix time, of when it happened.

    `value` is what a metric adds up: an amount, a duration; 1 where the event itself counts.
    """

    id: str
    name: str
    unit: str
    unit_attribute: str
    time_ms: int
    value: float = 1.0
    properties: dict[str, PropertyValue] = {}


class EventBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sidecar sends. `id` is a UUIDv7, `instance` names the sidecar, `sent_ms` its clock."""

    id: str
    instance: str
    sent_ms: int
    items: list[Event]


class ReportedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event as an application reports it. Without `id` the sidecar gives it one.

    Without `time`, RFC 3339 or Unix milliseconds, it happened now.
    """

    name: str
    unit: str
    unit_attribute: str = "targetingKey"
    value: float = 1.0
    properties: dict[str, PropertyValue] = {}
    time: int | str | None = None
    id: str | None = None


class EventReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an application sends to a sidecar's `POST /v1/events`: at most 5,000 at once."""

    events: list[ReportedEvent]


class EventAnswer(msgspec.Struct, frozen=True):
    """The sidecar's answer to a report of events.

    `duplicates` have the id of an event that came within the last hour. `ignored` counts what a
    sidecar that reports to nobody was told. Of the accepted, `clamped` had a time that was too
    long ago or in the future, and got the nearest that is not.
    """

    accepted: int
    duplicates: int
    ignored: int
    clamped: int
    rejected: list[Rejected]
