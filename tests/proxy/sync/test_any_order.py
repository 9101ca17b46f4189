"""Whatever a stream and a control plane do, what is served was published, and time goes forward.

A machine draws what happens: changes, new epochs, events that are lost, doubled, swapped, garbled
or late, fetches that fail or come from a replica that is behind. Against it run the real source,
but for its sockets, and the real holder, which trusts one key.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.admission import Admission
from proxy.contract.snapshot import SnapshotHeader, encode_entry, read_snapshot
from proxy.contract.steps import finish
from proxy.contract.sync import Delta, Heartbeat, RemovedEntry, SnapshotPointer
from proxy.holder import Holder
from proxy.sync import SyncSettings, SyncStatus
from proxy.sync.client import ControlPlaneClient, Fetched
from proxy.sync.errors import SyncError
from proxy.sync.events import EventParser, EventTooLarge
from proxy.sync.source import _Source
from tests.proxy.sync.control_plane import KEY, delta_event
from tests.support.signing import signer, trusting
from tests.support.snapshots import make_delta, make_snapshot

_KEYS = st.sampled_from("abcd")
_VALUES = st.sampled_from([True, False, None])
_SIGN = signer("one")
_TURNS = 60  # of the event loop, until nothing is left to do; the longest chain takes a third
_STALE_MS = 60_000


Forgery = Callable[[Delta], dict[str, Any]]

_FORGERIES: list[Forgery] = [
    lambda d: {"set": [line.replace('"salt":"salt"', '"salt":"sale"') for line in d.set]},
    lambda d: {"set": d.set[:-1]},
    lambda d: {"set": [*d.set, *d.set]},
    lambda d: {"set": [*d.set, encode_entry("flag", "z", {}).decode()]},
    lambda d: {"set": [line + " " for line in d.set]},
    lambda d: {"set": [line + "\n" for line in d.set]},
    lambda _: {"removed": [RemovedEntry("flag", "b")]},
    lambda d: {"from_": d.from_ - 1},
    lambda d: {"from_": d.to},
    lambda d: {"to": d.to + 1},
    lambda _: {"digest": "0" * 64},
    lambda _: {"header": None},
    lambda d: {"header": _other(d, created_at="2027-01-01T00:00:00Z")},
    lambda d: {"header": _other(d, entries=7)},
    lambda d: {"header": _other(d, max_age_s=1)},
    lambda d: {"header": _other(d, revision=d.to + 1), "to": d.to + 1},
    lambda d: {"header": _other(d, epoch="e0")},
]
"""What somebody who cannot sign makes of a change."""


def _other(delta: Delta, **members: Any) -> SnapshotHeader:
    assert delta.header is not None
    return msgspec.structs.replace(delta.header, **members)


class Published(Mapping[tuple[str, int], bytes]):
    """All that was ever published, by epoch and revision; the last is current."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.epochs = 0
        self.revision = 0

    def __getitem__(self, name: tuple[str, int]) -> bytes:
        return self.bodies[name]

    def __iter__(self) -> Any:
        return iter(self.bodies)

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def epoch(self) -> str:
        """The epoch that is current."""
        return f"e{self.epochs}"

    def publish(self, flags: Mapping[str, bool]) -> tuple[SnapshotHeader, bytes]:
        """Publish the next revision."""
        self.revision += 1
        at = f"2026-12-01T09:{len(self.bodies) // 60:02}:{len(self.bodies) % 60:02}Z"
        made = make_snapshot(
            flags, revision=self.revision, epoch=self.epoch, created_at=at, sign=_SIGN
        )
        self.bodies[self.epoch, self.revision] = made[1]
        return made


class Replies(ControlPlaneClient):
    """Answers fetches with what the machine says."""

    def __init__(self) -> None:
        self.reply: Fetched | None = None
        self.well = True

    def follow(self, body: bytes) -> None:
        """Answer with what is current, if this is well."""
        if self.well:
            self.reply = Fetched(body, 0)

    async def fetch(self, _address: str, held: SnapshotHeader | None) -> Fetched:
        """Return the reply; without one fail."""
        await asyncio.sleep(0)
        if self.reply is None:
            raise SyncError("connect", "nobody is there")
        return self.reply


class AnyOrder(RuleBasedStateMachine):
    """The control plane, the way here, and the source at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.published = Published()
        self.flags: dict[str, bool] = {"a": True}
        self.wire: list[bytes] = []
        self.parser = EventParser()
        self.replies = Replies()
        self.holder = Holder(admission=Admission(trusting("one")))
        self.seen: list[tuple[str, int]] = []
        self.holder.subscribe(lambda _, new: self.seen.append(_name(new.header)))
        self.tasks: list[asyncio.Task[None]] = []

    @initialize()
    def start(self) -> None:
        """One revision is there, and is fetched."""
        self.header, self.body = self.published.publish(self.flags)
        self.replies.follow(self.body)
        self.loop.run_until_complete(self._start())
        self._turn()

    async def _start(self) -> None:
        settings = SyncSettings(
            control_plane_urls=("http://cp",),
            key=KEY,
            draw=lambda: 0.0,
            poll_interval_s=1e6,
            reconcile_interval_s=1e6,
        )
        self.source = _Source(self.holder, SyncStatus(), self.replies, settings)
        for work in (self.source.keep_current, self.source.apply):
            self.tasks.append(self.loop.create_task(work()))

    # what happens at the control plane

    @rule(key=_KEYS, value=_VALUES, again=st.integers(0, 3), at_once=st.booleans())
    def change(self, key: str, value: bool | None, again: int, at_once: bool) -> None:
        """Set or remove a flag, once or several times, and tell it."""
        for number in range(again + 1):
            if value is None:
                self.flags.pop(key, None)
            else:
                self.flags[key] = value ^ (number % 2 == 1)
            before = self.body
            self.header, self.body = self.published.publish(self.flags)
            self.wire.append(delta_event(make_delta(before, self.body)))
        self.replies.follow(self.body)
        if at_once:
            self.deliver(len(self.wire), turns=True)

    @rule(back=st.integers(0, 3), told=st.booleans())
    def restore(self, back: int, told: bool) -> None:
        """Begin a new epoch, some revisions back, and tell where it is."""
        self.published.epochs += 1
        self.published.revision = max(0, self.published.revision - back)
        self.flags = {"a": back % 2 == 0}
        self.header, self.body = self.published.publish(self.flags)
        if told:
            self.wire.append(self._pointer())
        self.replies.follow(self.body)

    @rule(age_ms=st.sampled_from([0, 9_000]))
    def heartbeat(self, age_ms: int) -> None:
        """Say what is current."""
        beat = Heartbeat(self.header.epoch, self.header.revision, self.header.digest, age_ms)
        self.wire.append(b"event: heartbeat\ndata: %b\n\n" % msgspec.json.encode(beat))

    @rule(how=st.sampled_from(["well", "away", "behind"]), data=st.data())
    def fetches(self, how: str, data: st.DataObject | None) -> None:
        """Let them come to a replica that is well, away or behind, and may not know that it is."""
        self.replies.well = how == "well"
        if how == "well":
            self.replies.follow(self.body)
        elif how == "away":
            self.replies.reply = None
        elif data is not None:
            body = self.published[data.draw(st.sampled_from(sorted(self.published)))]
            self.replies.reply = Fetched(body, data.draw(st.sampled_from([0, _STALE_MS])))

    # what happens on the way

    @rule(count=st.integers(1, 5), turns=st.booleans())
    def deliver(self, count: int, turns: bool) -> None:
        """Let some events arrive, together, and perhaps be dealt with before anything else."""
        now, self.wire = self.wire[:count], self.wire[count:]
        self._receive(b"".join(now))
        if turns:
            self._turn()

    @precondition(lambda self: self.wire)
    @rule(how=st.sampled_from(["lose", "double", "mix"]), data=st.data())
    def disturb(self, how: str, data: st.DataObject) -> None:
        """Lose an event, send it twice, or mix those up that are on their way."""
        if how == "lose":
            self.wire.pop(0)
        elif how == "double":
            self.wire.insert(0, self.wire[0])
        else:
            self.wire = data.draw(st.permutations(self.wire))

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def garble(self, data: st.DataObject) -> None:
        """Change a byte."""
        event = bytearray(self.wire[0])
        place = data.draw(st.integers(0, len(event) - 1))
        event[place] = data.draw(st.integers(32, 126))
        self.wire[0] = bytes(event)

    @rule(forgery=st.sampled_from(_FORGERIES), turns=st.booleans())
    def forge(self, forgery: Forgery, turns: bool) -> None:
        """Publish a change, and have something arrive that is nearly it."""
        before = self.body
        self.flags["a"] = not self.flags.get("a")
        self.header, self.body = self.published.publish(self.flags)
        self.replies.follow(self.body)
        delta = make_delta(before, self.body)
        self.wire.append(delta_event(msgspec.structs.replace(delta, **forgery(delta))))
        self.deliver(len(self.wire), turns)

    @rule()
    def reconnect(self) -> None:
        """Lose the stream; the next one begins with what is current."""
        self.wire = [self._pointer()]
        self.parser = EventParser()

    @rule()
    def wait(self) -> None:
        """Let the source do what it has to do."""
        self._turn()

    # what must be so

    @invariant()
    def what_is_served_was_published(self) -> None:
        """Byte for byte, and its digest is that of its entries, all hashed anew."""
        served = self.holder.served
        if served is None:
            return
        body = b"".join(finish(served.body()))
        assert body == self.published[_name(served.header)]
        assert finish(read_snapshot(body)).digest.hexdigest() == served.header.digest
        assert served.body_bytes == len(body)
        assert set(served.compiled.flags) == {key for _, key in served.entries}
        for (_, key), entry in served.entries.items():
            assert served.compiled.flags[key].line == entry.line

    @invariant()
    def time_goes_forward(self) -> None:
        """No revision follows a later one of its epoch, and no epoch comes back."""
        order = [(int(epoch[1:]), revision) for epoch, revision in self.seen]
        assert order == sorted(set(order))

    def teardown(self) -> None:
        """In the end all is well again, and what is current is served.

        Content at once; a header of the same content by the next comparison at the latest.
        """
        try:
            if self.tasks:
                self.fetches("well", None)
                self.parser = EventParser()
                self._receive(self._pointer())
                for _ in range(3):
                    self._turn()
                assert self.holder.served is not None
                assert self.holder.served.header.digest == self.header.digest
                self.source._poll_at = -math.inf
                self.source._news.set()
                self._turn()
                assert self.holder.served.header == self.header
                self.what_is_served_was_published()
                self.time_goes_forward()
                assert not any(task.done() for task in self.tasks)
        finally:
            for task in self.tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
            self.loop.close()

    def _pointer(self) -> bytes:
        pointer = SnapshotPointer(self.header.epoch, self.header.revision, self.header.digest)
        return b"event: snapshot\ndata: %b\n\n" % msgspec.json.encode(pointer)

    def _receive(self, chunk: bytes) -> None:
        async def take() -> None:
            for event in self.parser.feed(chunk):
                self.source._take(event)

        try:
            self.loop.run_until_complete(take())
        except (SyncError, EventTooLarge):
            self.reconnect()

    def _turn(self) -> None:
        async def turns() -> None:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())


def _name(header: SnapshotHeader) -> tuple[str, int]:
    return header.epoch, header.revision


AnyOrder.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, print_blob=True
)
TestAnyOrder = AnyOrder.TestCase
