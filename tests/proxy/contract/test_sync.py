"""Ids of events name content."""

import msgspec
import pytest

from proxy.contract.sync import (
    HEARTBEAT_S,
    IDLE_S,
    Delta,
    entity_tag,
    event_id,
    parse_event_id,
)


@pytest.mark.parametrize(("epoch", "revision"), [("e", 0), ("a-b-c", 7), ("9f", 10**17)])
def test_an_event_id_is_read_as_it_was_written(epoch: str, revision: int) -> None:
    """Epochs may hold dashes."""
    assert parse_event_id(event_id(epoch, revision)) == (epoch, revision)


@pytest.mark.parametrize("text", ["", "e", "e-", "-5", "e-x", "e-٣", "e- 5", "e-" + "9" * 19])
def test_other_text_is_no_event_id(text: str) -> None:
    """It comes back from anybody, in a header."""
    assert parse_event_id(text) is None


def test_an_entity_tag_tells_headers_apart() -> None:
    """The same content in another epoch, or at another revision, is another snapshot."""
    tags = {entity_tag(e, r, d) for e in ("e1", "e2") for r in (1, 2) for d in ("aa", "bb")}
    assert len(tags) == 8
    assert entity_tag("e1", 7, "aa") == 'W/"e1-7-aa"'
    assert entity_tag("e1", 7, "aa", ("k1", "k2")) == 'W/"e1-7-aa-k1-k2"'


def test_three_heartbeats_are_missed_before_a_stream_is_dead() -> None:
    """One that is late is nothing."""
    assert IDLE_S >= 3 * HEARTBEAT_S
    assert HEARTBEAT_S <= 15


def test_a_delta_has_its_wire_form() -> None:
    """Fixed before it is sent."""
    text = b'{"from":1,"to":2,"digest":"d","set":["{}"],"removed":[{"kind":"flag","key":"a"}]}'
    assert msgspec.json.encode(msgspec.json.decode(text, type=Delta)) == text
