"""From what an application says to what is sent; over HTTP in tests/proxy/ofrep/test_routes.py."""

import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.events import MAX_EVENT_VALUE, Event, EventAnswer
from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.events.buffer import EventBuffer
from proxy.events.recorder import EventRecorder, read_events
from proxy.reporting.disguise import make_disguise
from proxy.reporting.room import Room

NOW_MS = 1_796_000_000_000
DAY_MS = 86_400_000


class Recording:
    """A recorder and what it took."""

    def __init__(self, max_bytes: int = 10**6, key: str | None = None) -> None:
        self.buffer = EventBuffer(max_bytes)
        ids = iter(range(10**6))
        self.recorder = EventRecorder(self.buffer, lambda: f"new-{next(ids)}", make_disguise(key))

    def report(self, *events: Any) -> EventAnswer:
        """Report events as they are written."""
        answer = self.attempt(*events)
        assert isinstance(answer, EventAnswer)
        return answer

    def attempt(self, *events: Any) -> EventAnswer | Room:
        """The same, when there may be no room."""
        read, problems = read_events(json.dumps({"events": events}).encode())
        assert read is not None, problems
        return self.recorder.reported(read, NOW_MS, 0)

    def taken(self) -> list[Event]:
        """Return what waits."""
        return [msgspec.json.decode(raw, type=Event) for raw in self.buffer.take()]


def event(**members: Any) -> dict[str, Any]:
    """Return an event that is good but for the members."""
    return {"name": "buy", "unit": "u-1", **members}


def test_what_is_left_out_is_filled_in() -> None:
    """An id, the time, a value of one."""
    recording = Recording()
    assert recording.report(event()) == EventAnswer(1, 0, 0, 0, [])
    assert recording.taken() == [
        Event("new-0", "buy", "u-1", "targetingKey", NOW_MS, 1.0, {}),
    ]


def test_what_is_said_is_sent() -> None:
    """All of it."""
    recording = Recording()
    properties = {"plan": "pro", "seats": 3, "trial": False}
    recording.report(
        event(
            id="e-1", unit_attribute="account", value=-9.5, properties=properties, time=NOW_MS - 1
        )
    )
    assert recording.taken() == [
        Event("e-1", "buy", "u-1", "account", NOW_MS - 1, -9.5, properties),
    ]


BAD: list[tuple[Any, str]] = [
    ("text", "this is a string, not an object"),
    (None, "this is null"),
    ({"name": "buy"}, "unit is missing"),
    ({"unit": "u"}, "name is missing"),
    (event(nmae=1), "the member 'nmae' is unknown"),
    (event(name=""), "name: is empty"),
    (event(name="x" * 129), "name: 129 characters, at most 128"),
    (event(unit=""), "unit: is empty"),
    (event(unit=7), "/unit: this is an integer, not a string"),
    (event(unit="x" * 1025), "unit: 1025 characters"),
    (event(unit_attribute=""), "unit_attribute: is empty"),
    (event(unit_attribute="x" * 257), "unit_attribute: 257 characters"),
    (event(id=""), "id: is empty"),
    (event(id="x" * 65), "id: 65 characters, at most 64"),
    (event(value="1"), "/value: this is a string, not a number"),
    (event(value=True), "/value: this is a boolean"),
    (event(value=None), "/value: this is null"),
    (event(value=1.1e15), "value: 1100000000000000.0 is beyond 1e+15"),
    (event(value=-(10**30)), "beyond 1e+15"),
    (event(value=10**400), "a number is larger than any that can be read"),
    (event(time=1.5), "/time: this is a number"),
    (event(time="yesterday"), "time: 'yesterday' is neither RFC 3339"),
    (event(time="2026-12-01T09:00:00"), "neither RFC 3339 with a zone nor Unix milliseconds"),
    (event(time="x" * 10_000), "neither RFC 3339"),
    (event(properties={"a": None}), "/properties: this is null"),
    (event(properties={"a": [1]}), "/properties: this is an array"),
    (event(properties={str(n): n for n in range(17)}), "properties: 17 of them, at most 16"),
    (event(properties={"": 1}), "properties: a name: is empty"),
    (event(properties={"x" * 257: 1}), "properties: a name: 257 characters"),
    (event(properties={"a": "x" * 257}), "properties: 'a' has more than 256 characters"),
]


@pytest.mark.parametrize(("bad", "why"), BAD)
def test_a_bad_event_is_told_by_place_and_reason_and_costs_no_other(bad: Any, why: str) -> None:
    """With the member that is wrong."""
    recording = Recording()
    answer = recording.report(event(id="a"), bad, event(id="b"))
    assert answer.accepted == 2
    (rejected,) = answer.rejected
    assert rejected.place == 1
    assert why in rejected.reason
    assert len(rejected.reason) <= 200
    assert [each.id for each in recording.taken()] == ["a", "b"]
    assert recording.recorder.rejected == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "01", "1e"])
def test_what_is_no_number_of_json_is_no_report(number: str) -> None:
    """Some libraries write it all the same."""
    body = f'{{"events":[{{"name":"a","unit":"u","value":{number}}}]}}'.encode()
    read, problems = read_events(body)
    assert (read, len(problems)) == (None, 1)


def test_a_number_that_a_double_cannot_hold_is_rejected_alone() -> None:
    """JSON allows it to be written."""
    read, _ = read_events(b'{"events":[{"name":"a","unit":"u","value":1e999}]}')
    assert read is not None
    assert isinstance(read[0], str)


@pytest.mark.parametrize("value", [0, -0.0, 0.1, MAX_EVENT_VALUE, -MAX_EVENT_VALUE, 10**15])
def test_values_up_to_the_bound_are_taken(value: float) -> None:
    """Of either sign."""
    recording = Recording()
    recording.report(event(value=value))
    assert recording.taken()[0].value == value


@pytest.mark.parametrize(
    ("time", "expected_ms", "clamped"),
    [
        (NOW_MS, NOW_MS, 0),
        (NOW_MS - 7 * DAY_MS, NOW_MS - 7 * DAY_MS, 0),
        (NOW_MS - 7 * DAY_MS - 1, NOW_MS - 7 * DAY_MS, 1),
        (NOW_MS + 300_000, NOW_MS + 300_000, 0),
        (NOW_MS + 300_001, NOW_MS + 300_000, 1),
        (0, NOW_MS - 7 * DAY_MS, 1),
        (NOW_MS // 1000, NOW_MS - 7 * DAY_MS, 1),
        (-5, NOW_MS - 7 * DAY_MS, 1),
        (10**30, NOW_MS + 300_000, 1),
        ("2026-11-30T00:53:20Z", NOW_MS, 0),
        ("2026-11-30T01:53:20.123+01:00", NOW_MS + 123, 0),
        ("1970-01-01T00:00:00Z", NOW_MS - 7 * DAY_MS, 1),
        ("9999-12-31T23:59:59Z", NOW_MS + 300_000, 1),
        (None, NOW_MS, 0),
    ],
)
def test_times_are_kept_within_what_can_be_counted(
    time: Any, expected_ms: int, clamped: int
) -> None:
    """And it is said how many were not."""
    recording = Recording()
    assert recording.report(event(time=time)).clamped == clamped
    assert recording.taken()[0].time_ms == expected_ms
    assert recording.recorder.clamped == clamped


def test_an_id_that_came_before_counts_once() -> None:
    """In the same report, or a later one; without an id there is none to compare."""
    recording = Recording()
    answer = recording.report(event(id="a"), event(id="a", value=2), event(), event())
    assert (answer.accepted, answer.duplicates) == (3, 1)
    answer = recording.report(event(id="a"), event(id="b"))
    assert (answer.accepted, answer.duplicates) == (1, 1)
    assert [each.value for each in recording.taken() if each.id == "a"] == [1.0]


def test_without_room_nothing_is_taken_and_nothing_counted() -> None:
    """So that the same report can come again."""
    recording = Recording(1000)
    first = recording.report(*(event(id=str(n)) for n in range(4)))
    assert first.accepted == 4
    more = [event(id=str(n)) for n in range(4, 8)]
    assert recording.attempt(*more, "bad") is Room.NONE_NOW
    assert (recording.buffer.received, recording.recorder.rejected) == (4, 0)
    recording.taken()
    assert recording.report(*more).accepted == 4


def test_a_report_that_never_fits_is_told_apart() -> None:
    """Waiting would not help."""
    assert Recording(100).attempt(event()) is Room.NONE_EVER


def test_units_are_disguised_as_in_exposures() -> None:
    """By the same HMAC, or nothing could be joined."""
    recording = Recording(key="pepper")
    recording.report(event(unit="ann@example.com"))
    expected = hmac.new(b"pepper", b"ann@example.com", hashlib.sha256).hexdigest()
    assert recording.taken()[0].unit == expected


def test_with_nobody_to_report_to_all_is_ignored() -> None:
    """But still looked at: what is wrong is wrong in production too."""
    recorder = EventRecorder(None, str)
    read, _ = read_events(json.dumps({"events": [event(), "bad"]}).encode())
    assert read is not None
    answer = recorder.reported(read, NOW_MS, 0)
    assert isinstance(answer, EventAnswer)
    assert (answer.accepted, answer.ignored, len(answer.rejected)) == (0, 1, 1)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"events":{}}', b'{"events":[],"x":1}', b'{"events":[}']
)
def test_what_is_no_report_is_told(body: bytes) -> None:
    """Nothing of it is taken."""
    read, problems = read_events(body)
    assert (read, len(problems)) == (None, 1)


def test_a_report_is_bounded() -> None:
    """One request must not hold the loop for long."""
    item = b'{"name":"a","unit":"u"}'
    for count, problems in ((MAX_BATCH_ITEMS, 0), (MAX_BATCH_ITEMS + 1, 1)):
        body = b'{"events":[' + b",".join([item] * count) + b"]}"
        assert len(read_events(body)[1]) == problems


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
MEMBERS = st.sampled_from(
    ["name", "unit", "unit_attribute", "value", "properties", "time", "id", "x"]
)


@given(st.lists(JSON | st.dictionaries(MEMBERS, JSON).map(lambda more: event(**more)), max_size=5))
def test_every_event_is_taken_told_or_known(events: list[Any]) -> None:
    """Whatever it is; and what is taken is what the contract says."""
    recording = Recording()
    body = json.dumps({"events": events}).encode()
    read, problems = read_events(body)
    if read is None:
        assert b"\\ud" in body, problems  # half of a character
        return
    answer = recording.recorder.reported(read, NOW_MS, 0)
    assert isinstance(answer, EventAnswer)
    assert answer.accepted + answer.duplicates + len(answer.rejected) == len(events)
    for taken in recording.taken():
        assert NOW_MS - 7 * DAY_MS <= taken.time_ms <= NOW_MS + 300_000
        assert abs(taken.value) <= MAX_EVENT_VALUE
