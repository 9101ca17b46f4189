"""Snapshots are read whole or refused, with a reason."""

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.definitions import SegmentDefinition
from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    KINDS,
    SCHEMA,
    EntryName,
    SnapshotHeader,
    SnapshotRefused,
    change_snapshot,
    changed_entries,
    encode_entry,
    encode_snapshot,
    entry_order,
    read_entry,
    read_header,
    read_snapshot,
    snapshot_pieces,
)


def finish(steps: Generator[None, None, Any]) -> Any:
    """Run a generator to its end and return its result."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        return stop.value


def header(lines: list[bytes], **members: Any) -> SnapshotHeader:
    """Return the header of some lines."""
    digest = SnapshotDigest()
    for line in lines:
        entry = read_entry(line)
        digest.put(entry.kind, entry.key, line)
    values = {
        "schema": SCHEMA,
        "project": "default",
        "environment": "production",
        "epoch": "e",
        "revision": 7,
        "digest": digest.hexdigest(),
        "entries": len(lines),
        "created_at": "2026-01-01T00:00:00Z",
    }
    return SnapshotHeader(**{**values, **members})


LINES = [
    encode_entry("segment", "beta", SegmentDefinition(included=["u"])),
    encode_entry("flag", "a", {"x": [1.0]}),
]
BODY = encode_snapshot(header(LINES), LINES)


def refusal(body: bytes, **options: Any) -> str:
    """Return the reason for which a body is refused."""
    with pytest.raises(SnapshotRefused) as caught:
        finish(read_snapshot(body, **options))
    return caught.value.reason


def test_a_snapshot_is_read_as_it_was_written() -> None:
    """Lines are kept as they came; a definition is left undecoded."""
    snapshot = finish(read_snapshot(BODY))
    assert snapshot.header == header(LINES)
    assert list(snapshot.entries) == [("segment", "beta"), ("flag", "a")]
    entry = snapshot.entries["flag", "a"]
    assert (entry.line, bytes(entry.definition)) == (LINES[1], b'{"x":[1.0]}')
    assert snapshot.digest.hexdigest() == snapshot.header.digest


def test_it_yields_after_each_line() -> None:
    """So that an event loop can breathe."""
    assert sum(1 for _ in read_snapshot(BODY)) == len(LINES)


def test_the_header_can_be_read_alone() -> None:
    """Nothing behind it is looked at."""
    first = BODY.partition(b"\n")[0]
    for body in (BODY, first, first + b"\ngarbage"):
        assert read_header(body) == header(LINES)


def test_a_snapshot_of_nothing_is_one() -> None:
    """A new project."""
    assert finish(read_snapshot(encode_snapshot(header([]), []))).entries == {}


def test_equal_definitions_give_equal_lines() -> None:
    """Whatever the order of members."""
    assert encode_entry("flag", "a", {"x": 1, "y": 2}) == encode_entry(
        "flag", "a", {"y": 2, "x": 1}
    )


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"digest": "0" * 64}, "digest"),
        ({"entries": 1}, "count"),
        ({"entries": 3}, "count"),
        ({"schema": "2.0"}, "schema"),
        ({"schema": ""}, "schema"),
        ({"revision": -1}, "malformed"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(members: Any, reason: str) -> None:
    """The whole snapshot with it."""
    assert refusal(encode_snapshot(header(LINES, **members), LINES)) == reason


def test_a_newer_minor_schema_is_served() -> None:
    """And unknown members of a header are not looked at."""
    body = BODY.replace(b'"schema":"1.2"', b'"schema":"1.7","new":{"a":1}')
    assert finish(read_snapshot(body)).header.schema == "1.7"


@pytest.mark.parametrize("end", range(0, len(BODY), 7))
def test_a_cut_body_is_refused(end: int) -> None:
    """Wherever it was cut."""
    assert refusal(BODY[:end]) in {"malformed", "count"}


def test_the_last_newline_belongs_to_it() -> None:
    """Without it the last line may be cut."""
    assert refusal(BODY[:-1]) == "malformed"


@pytest.mark.parametrize("place", range(0, len(BODY), 11))
def test_a_changed_byte_is_refused(place: int) -> None:
    """But in what the digest does not cover: the time of creation, names, the revision."""
    changed = bytearray(BODY)
    changed[place] ^= 1
    try:
        finish(read_snapshot(bytes(changed)))
    except SnapshotRefused:
        return
    assert place < BODY.index(b"\n")


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"[]", b"{}", b"\xff", b'{"kind":"flag","key":"a"}'),
        b'{"kind":"odd","key":"a","def":{}}',
        b'{"kind":"flag","key":5,"def":{}}',
        b'{"kind":"flag","key":"a","def":{},"more":1}',
        b'{"kind":"flag","key":"a","def":{}',
        b'{"kind":"flag","key":"a","def":' + b"[" * 5000,
    ],
    ids=range(10),
)
def test_a_line_that_is_no_entry_is_refused(line: bytes) -> None:
    """Frames are strict; what is in a definition is decided elsewhere."""
    with pytest.raises(SnapshotRefused, match="malformed"):
        read_entry(line)
    assert refusal(encode_snapshot(header([], entries=1), [line])) == "malformed"


def test_an_entry_twice_is_refused() -> None:
    """Which of the two would be served?"""
    assert refusal(encode_snapshot(header(LINES, entries=3), [*LINES, LINES[0]])) == "malformed"


def test_size_is_bounded() -> None:
    """To the byte."""
    assert refusal(BODY, max_bytes=len(BODY) - 1) == "too_large"
    assert finish(read_snapshot(BODY, max_bytes=len(BODY))).entries


def test_a_line_is_bounded_too() -> None:
    """One definition cannot hold the loop for ever."""
    line = encode_entry("flag", "a", "x" * (16 * 1024 * 1024))
    assert refusal(encode_snapshot(header([], entries=1), [line])) == "too_large"


def test_segments_come_first_then_flags_then_keys() -> None:
    """Each by the bytes of their names."""
    named: list[Any] = [("key", "a"), ("flag", "ä"), ("flag", "b"), ("segment", "z")]
    ordered = [("segment", "z"), ("flag", "b"), ("flag", "ä"), ("key", "a")]
    assert sorted(named, key=lambda n: entry_order(*n)) == ordered


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(data: bytes) -> None:
    """A snapshot is untrusted input."""
    refusal(data)


def test_a_change_gives_what_reading_the_whole_gives() -> None:
    """Set, replaced and removed; and what was there before is not touched."""
    snapshot = finish(read_snapshot(BODY))
    before = dict(snapshot.entries)
    lines = [encode_entry("flag", "a", {"x": [2.0]}), encode_entry("flag", "b", {"x": 1})]
    body = encode_snapshot(header(lines, revision=8), lines)
    after = finish(read_snapshot(body))
    gone: list[EntryName] = [("segment", "beta"), ("flag", "not there")]
    for told in (None, after.header):
        made, changed = finish(change_snapshot(snapshot, 8, after.header.digest, lines, gone, told))
        assert (made.entries, made.header, made.size) == (after.entries, after.header, after.size)
        assert made.digest.hexdigest() == after.header.digest
        assert changed == {("segment", "beta"), ("flag", "a"), ("flag", "b")}
        assert b"".join(finish(snapshot_pieces(made.header, made.entries))) == body
    assert snapshot.entries == before
    assert snapshot.digest.hexdigest() == snapshot.header.digest


def test_what_a_change_says_again_did_not_change() -> None:
    """A line that is there already costs nothing further."""
    snapshot = finish(read_snapshot(BODY))
    lines = [entry.line for entry in snapshot.entries.values()]
    made, changed = finish(change_snapshot(snapshot, 8, snapshot.header.digest, lines, []))
    assert (made.entries, made.size, changed) == (snapshot.entries, snapshot.size, set())


def test_a_change_that_leads_elsewhere_is_refused() -> None:
    """What is served stays; the whole snapshot has to be fetched."""
    snapshot = finish(read_snapshot(BODY))
    held, line = snapshot.header, encode_entry("flag", "b", {"x": 1})
    made = snapshot.digest.copy()
    made.put("flag", "b", line)
    good = made.hexdigest()
    right = msgspec.structs.replace(held, revision=8, digest=good, entries=held.entries + 1)
    finish(change_snapshot(snapshot, 8, good, [line], [], right))
    wrong: list[tuple[str, tuple[Any, ...]]] = [
        ("digest", (8, held.digest, [line], [])),
        ("malformed", (8, held.digest, [b"{}"], [])),
        ("malformed", (8, good, [line.replace(b",", b",\n", 1)], [])),
        ("malformed", (held.revision, good, [line], [])),
        ("too_large", (8, good, [line], [], right, snapshot.size)),
        ("count", (8, good, [line], [], msgspec.structs.replace(right, entries=9))),
        ("schema", (8, good, [line], [], msgspec.structs.replace(right, schema="2.0"))),
    ]
    for name, value in (
        *(("project", "p"), ("environment", "e"), ("epoch", "x"), ("revision", 9)),
        *(("digest", held.digest), ("digest", "")),
    ):
        header_of_another = msgspec.structs.replace(right, **{name: value})
        wrong.append(("malformed", (8, good, [line], [], header_of_another)))
    for reason, change in wrong:
        with pytest.raises(SnapshotRefused) as refused:
            finish(change_snapshot(snapshot, *change))
        assert refused.value.reason == reason, change
        assert snapshot.digest.hexdigest() == snapshot.header.digest


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=3)), unique=True))
def test_it_is_written_in_its_order_whatever_order_it_is_held_in(names: list[EntryName]) -> None:
    """Changes put their entries at the end; the lines go out sorted all the same."""
    entries = {name: read_entry(encode_entry(*name, {})) for name in names}
    lines = [entries[name].line for name in sorted(names, key=lambda name: entry_order(*name))]
    made = header(lines)
    assert b"".join(finish(snapshot_pieces(made, entries))) == encode_snapshot(made, lines)


_ENTRIES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2))


@given(_ENTRIES, _ENTRIES)
def test_what_changed_between_two_snapshots(before: dict[str, int], after: dict[str, int]) -> None:
    """Set anew, added and gone; and nothing else."""
    one, other = (
        {("flag", key): read_entry(encode_entry("flag", key, {"x": x})) for key, x in made.items()}
        for made in (before, after)
    )
    expected = {("flag", k) for k in {*before, *after} if before.get(k) != after.get(k)}
    assert finish(changed_entries(one, other)) == expected
