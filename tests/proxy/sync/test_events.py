"""The parser of server-sent events: complete, bounded, indifferent to how bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sync.events import Event, EventParser, EventTooLarge


def parse(*chunks: bytes, max_bytes: int = 1000) -> list[Event]:
    """Return the events of a stream that came in these chunks."""
    parser = EventParser(max_bytes)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_an_event_has_a_name_data_and_the_latest_id() -> None:
    """An id stays until another comes."""
    events = parse(b'id: e-1\nevent: snapshot\ndata: {"a":1}\n\nevent: heartbeat\ndata: x\n\n')
    assert events == [Event("snapshot", '{"a":1}', "e-1"), Event("heartbeat", "x", "e-1")]


def test_an_event_without_a_name_is_a_message() -> None:
    """The standard's default name."""
    assert parse(b"data: x\n\n") == [Event("message", "x", "")]


def test_lines_of_data_are_joined() -> None:
    """With a newline between them; one space after the colon is no data."""
    assert parse(b"data: a\ndata:  b\ndata\ndata:c\n\n")[0].data == "a\n b\n\nc"


def test_an_event_without_data_is_none() -> None:
    """A name alone is not dispatched, nor does it reach the next event."""
    assert parse(b"event: snapshot\n\ndata: x\n\n") == [Event("message", "x", "")]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_all_three_ends_of_a_line_are_understood(end: bytes) -> None:
    """The standard knows three, and proxies rewrite them."""
    stream = end.join([b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""])
    assert parse(stream) == [Event("a", "1\n2", ""), Event("message", "3", "")]


def test_comments_and_unknown_fields_are_passed_over() -> None:
    """A comment keeps a connection open; a field may be a later version's."""
    assert parse(b": hello\n:\ncolour: red\nnonsense\ndata: x\n\n") == [Event("message", "x", "")]


def test_a_byte_order_mark_is_passed_over_once() -> None:
    """Only the first is one."""
    assert parse(b"\xef\xbb\xbfdata: x\n\n") == [Event("message", "x", "")]
    assert parse(b"data: x\n\n\xef\xbb\xbfdata: y\n\n") == [Event("message", "x", "")]


def test_an_unfinished_event_is_not_given() -> None:
    """A cut stream must not deliver half an event as a whole one."""
    assert parse(b'data: {"a":1}\ndata: {"b"') == []
    assert parse(b'data: {"a":1}\n') == []


@pytest.mark.parametrize(
    ("line", "retry_ms"),
    [
        (b"retry: 1500", 1500),
        (b"retry:0", 0),
        (b"retry: -1", None),
        (b"retry: 1.5", None),
        (b"retry: soon", None),
        (b"retry", None),
        (b"retry: " + b"9" * 5000, None),
        ("retry: ٣".encode(), None),
    ],
)
def test_retry_is_taken_from_digits_only(line: bytes, retry_ms: int | None) -> None:
    """Anything else is ignored, as is a number too long to be a delay."""
    parser = EventParser(10_000)
    assert list(parser.feed(line + b"\n\n")) == []
    assert parser.retry_ms == retry_ms


def test_an_id_with_a_null_is_ignored() -> None:
    """As the standard says."""
    assert parse(b"id: a\ndata: x\nid: b\0\n\n")[0].id == "a"


def test_bytes_that_are_no_utf8_do_not_raise() -> None:
    """They become the replacement character."""
    assert parse(b"data: \xff\xfe\n\n") == [Event("message", "��", "")]


def test_a_line_without_end_is_refused() -> None:
    """In one piece or in many, long before it fills the memory."""
    with pytest.raises(EventTooLarge):
        parse(b"data: " + b"x" * 2000)
    with pytest.raises(EventTooLarge):
        parse(*[b"x" * 10] * 200)


def test_an_event_without_end_is_refused() -> None:
    """Short lines of data add up."""
    with pytest.raises(EventTooLarge):
        parse(*[b"data: xxxxxxxxxxxxxx\n"] * 200)


def test_many_events_in_one_chunk_are_not_too_large() -> None:
    """The bound is on one event, not on what the network delivers at once."""
    assert len(parse(b"data: x\n\n" * 5000)) == 5000


def test_an_empty_chunk_is_nothing() -> None:
    """Also in the middle of a line end."""
    assert parse(b"data: 1\r", b"", b"\ndata: 2\r\r")[0].data == "1\n2"


_STREAM = (
    b'\xef\xbb\xbf:hi\r\nid: e-3\revent: snapshot\rdata: {"a":1}\ndata:x\r\nretry: 200\r\n\r\n'
    b"data: \xc3\xa4\n\nevent: q\n\n\r\r\ndata: 1\r\ndata: 2\r\r"
)


@given(st.lists(st.integers(0, len(_STREAM)), max_size=20))
def test_how_a_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    """Within a line end, within a character, anywhere."""
    places = [0, *sorted(cuts), len(_STREAM)]
    chunks = [_STREAM[a:b] for a, b in itertools.pairwise(places)]
    assert parse(*chunks) == parse(_STREAM)
    assert len(parse(_STREAM)) == 3


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_garbage_gives_events_or_a_refusal(chunks: list[bytes]) -> None:
    """Nothing else is raised, whatever the bytes."""
    try:
        events = parse(*chunks, max_bytes=100)
    except EventTooLarge:
        return
    assert all(isinstance(event, Event) for event in events)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1),
            st.text(st.characters(exclude_characters="\r", codec="utf-8")),
        )
    )
)
def test_what_was_written_is_read(events: list[tuple[str, str]]) -> None:
    """Round trip of names and data."""
    stream = "".join(
        f"event: {name}\n" + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n"
        for name, data in events
    ).encode()
    assert [(e.name, e.data) for e in parse(stream, max_bytes=10**6)] == events
