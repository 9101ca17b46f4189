"""The log of changes: whoever follows it ends with the very snapshot, or is told to fetch it."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from control_plane.publishing import deltas
from control_plane.publishing.deltas import MAX_EVENTS, MAX_LOG_BYTES, DeltaLog
from control_plane.publishing.events import plain
from control_plane.publishing.snapshots import EnvironmentSnapshot, LineChanges, Published
from proxy.contract.snapshot import (
    EntryKind,
    change_snapshot,
    encode_entry,
    encode_snapshot,
    entry_order,
    read_snapshot,
)
from proxy.contract.steps import finish
from proxy.contract.sync import MAX_DELTA_BYTES, Delta, SnapshotPointer

AT = "2026-12-01T09:00:00Z"


class History:
    """An environment, its log, and every body that it has had."""

    def __init__(self) -> None:
        self.snapshot = EnvironmentSnapshot("default", "production", "e", Published(0, AT))
        self.log = DeltaLog()
        self.pointers = [self.snapshot.pointer()]
        self.bodies = [self.snapshot.body()]

    def change(self, changes: LineChanges) -> None:
        """Make a change, as the mirror does."""
        before = self.snapshot.pointer()
        finish(self.snapshot.applying(changes, Published(before.revision + 1, AT)))
        self.log.add(before, self.snapshot.header(), changes)
        self.pointers.append(self.snapshot.pointer())
        self.bodies.append(self.snapshot.body())

    def since(self, pointer: SnapshotPointer) -> list[bytes] | None:
        """Return what the log has for who holds this."""
        return self.log.since(pointer.epoch, pointer.revision, pointer.digest)


def flag(key: str, value: str) -> dict[tuple[EntryKind, str], bytes | None]:
    """Return the change that sets a flag."""
    return {("flag", key): encode_entry("flag", key, {"v": value})}


def read_delta(chunk: bytes) -> Delta:
    """Return what an event tells, having looked at its form."""
    assert chunk.partition(b"\r\n")[0] == b"%x" % len(plain(chunk))
    name, identity, data, end, last = plain(chunk).split(b"\n")
    assert (name, end, last) == (b"event: delta", b"", b"")
    delta = msgspec.json.decode(data.removeprefix(b"data: "), type=Delta)
    assert delta.header is not None
    assert identity == f"id: {delta.header.epoch}-{delta.to}".encode()
    assert (delta.to, delta.digest) == (delta.header.revision, delta.header.digest)
    return delta


def follow(body: bytes, events: list[bytes]) -> bytes:
    """Return the body that a sidecar has after applying events; every digest is proved."""
    held = finish(read_snapshot(body))
    for event in events:
        delta = read_delta(event)
        assert delta.from_ == held.header.revision
        assert delta.header is not None
        held, _ = finish(
            change_snapshot(
                held,
                delta.to,
                delta.digest,
                [line.encode() for line in delta.set],
                [(entry.kind, entry.key) for entry in delta.removed],  # type: ignore[misc]
                delta.header,
            )
        )
    order = sorted(held.entries, key=lambda name: entry_order(*name))
    return encode_snapshot(held.header, (held.entries[name].line for name in order))


keys = st.sampled_from(["a", "b", "ü", 'q"uote', "d\\x", "z"])
values = st.none() | st.text(max_size=5)
changes = st.dictionaries(st.tuples(st.sampled_from(["segment", "flag", "key"]), keys), values)


@given(st.lists(changes, max_size=12), st.data())
def test_whoever_follows_has_the_snapshot(
    told: list[dict[tuple[EntryKind, str], str | None]], data
):  # type: ignore[no-untyped-def]
    """From any revision on, byte for byte, header included; changes that change nothing, too."""
    history = History()
    for change in told:
        lines = {
            name: None if value is None else encode_entry(*name, {"v": value})
            for name, value in change.items()
        }
        history.change(lines)
    place = data.draw(st.integers(0, len(told)))
    events = history.since(history.pointers[place])
    if place == len(told):
        assert events is None  # it is current, and there is nothing to tell
    else:
        assert events is not None
        assert len(events) == len(told) - place
        assert follow(history.bodies[place], events) == history.bodies[-1]


def test_a_revision_that_changes_nothing_is_a_delta_of_its_header() -> None:
    """The digest is the same, the revision another."""
    history = History()
    history.change(flag("a", "x"))
    history.change({})
    (event,) = history.since(history.pointers[1]) or []
    delta = read_delta(event)
    assert (delta.set, delta.removed) == ([], [])
    assert delta.digest == history.pointers[1].digest


def test_entries_are_in_the_order_of_a_snapshot() -> None:
    """However the change came, its bytes are the same."""
    one, other = History(), History()
    changes = flag("b", "x") | flag("a", "x") | {("segment", "z"): b'{"kind":"segment"}'}
    one.change(changes)
    other.change(dict(reversed(changes.items())))
    assert one.since(one.pointers[0]) == other.since(other.pointers[0])


def test_another_history_is_told_nothing() -> None:
    """By epoch, by digest, by a revision that is not there."""
    history = History()
    for value in ("x", "y", "z"):
        history.change(flag("a", value))
    held = history.pointers[1]
    assert history.log.since("e", held.revision, None) is not None
    assert history.log.since("f", held.revision, held.digest) is None
    assert history.log.since("e", held.revision, "0" * 64) is None
    for revision in (-1, 3, 4, 10**17):
        assert history.log.since("e", revision, None) is None


def test_a_gap_begins_the_log_again() -> None:
    """A change that does not follow on the last cannot be told to who holds what was before."""
    history = History()
    history.change(flag("a", "x"))
    missed = flag("a", "y")
    history.snapshot.apply(missed, Published(2, AT))
    history.change(flag("a", "z"))
    assert len(history.log) == 1
    assert history.since(history.pointers[1]) is None


def test_a_change_too_large_begins_the_log_again() -> None:
    """Also one that grows beyond the bound only as JSON; what follows it is told."""
    for value in ("x" * (MAX_DELTA_BYTES + 1), '"' * (MAX_DELTA_BYTES // 3)):
        history = History()
        history.change(flag("a", "x"))
        history.change(flag("b", value))
        assert len(history.log) == 0
        assert history.log.size == 0
        assert history.since(history.pointers[0]) is None
        assert history.since(history.pointers[1]) is None
        history.change(flag("c", "x"))
        assert len(history.since(history.pointers[2]) or []) == 1


def test_ten_thousand_flags_are_not_told_and_some_hundreds_are() -> None:
    """As many as fit."""
    history = History()
    history.change({k: v for n in range(10_000) for k, v in flag(f"f-{n}", "x").items()})
    assert len(history.log) == 0
    history.change({k: v for n in range(500) for k, v in flag(f"f-{n}", "y").items()})
    (event,) = history.since(history.pointers[1]) or []
    assert len(plain(event)) <= MAX_DELTA_BYTES
    assert follow(history.bodies[1], [event]) == history.bodies[2]


def test_the_log_is_bounded_in_events() -> None:
    """The oldest make way."""
    history = History()
    for number in range(MAX_EVENTS + 10):
        history.change(flag("a", str(number)))
    assert len(history.log) == MAX_EVENTS
    assert history.since(history.pointers[9]) is None
    events = history.since(history.pointers[10])
    assert events is not None
    assert follow(history.bodies[10], events) == history.bodies[-1]


def test_the_log_is_bounded_in_bytes() -> None:
    """What the size says is what is there."""
    history = History()
    for number in range(40):
        history.change(flag("a", f"{number}" + "x" * 200_000))
        assert history.log.size <= MAX_LOG_BYTES
    kept = len(history.log)
    assert 15 <= kept < 40
    events = history.since(history.pointers[-1 - kept])
    assert events is not None
    assert sum(map(len, events)) == history.log.size
    assert history.since(history.pointers[-2 - kept]) is None


def test_the_bounds_are_those_that_were_decided() -> None:
    """docs/decisions/0011."""
    assert (deltas.MAX_EVENTS, deltas.MAX_LOG_BYTES) == (256, 4 * 1024 * 1024)
