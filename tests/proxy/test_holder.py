"""The holder serves one whole snapshot, knows its age, and keeps the last good one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

import proxy.holder
from proxy.admission import Admission
from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused
from proxy.contract.steps import finish
from proxy.engine import evaluate
from proxy.holder import Holder, OutOfStep, Served
from tests.support.signing import signer, trusting
from tests.support.snapshots import definition, make_delta, make_snapshot
from tests.support.units import LongList, in_segment, long_list, names


class Clock:
    """A monotonic clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def answer(holder: Holder, key: str) -> Any:
    """Return the value that a flag has now, or its error code."""
    assert holder.served is not None
    given = evaluate(holder.served.compiled, key, {}, 0)
    return given.error_code or given.value


async def offer(holder: Holder, *args: Any, source: str = "control-plane", **kwargs: Any) -> Served:
    """Offer a snapshot of the given flags."""
    return await holder.offer(make_snapshot(*args, **kwargs)[1], source)


async def test_what_was_offered_is_served() -> None:
    """Header, digest, body and compiled form are of the one snapshot."""
    holder = Holder()
    header, body = make_snapshot({"a": True, "b": False}, revision=7)
    served = await holder.offer(body, "disk")
    assert holder.served is served
    assert (served.header, served.source) == (header, "disk")
    assert b"".join(finish(served.body())) == body
    assert served.body_bytes == len(body)
    assert served.snapshot.digest.hexdigest() == header.digest
    assert sorted(served.entries) == [("flag", "a"), ("flag", "b")]
    assert (answer(holder, "a"), answer(holder, "b")) == (True, False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"{}\n", "malformed"),
        (b"<html>\n", "malformed"),
        (b"[" * 1_900, "malformed"),
        (make_snapshot({"a": False}, revision=9)[1][:-30], "malformed"),
        (make_snapshot({"a": False}, revision=9, digest="0" * 64)[1], "digest"),
        (make_snapshot({"a": False}, revision=9, entries=2)[1], "count"),
        (make_snapshot({"a": False}, revision=9, schema="2.0")[1], "schema"),
        (make_snapshot({"a": False}, revision=-1)[1], "malformed"),
        (make_snapshot({"a": False}, revision=4)[1], "rolled_back"),
        (make_snapshot({"a" * 3000: False}, revision=9)[1], "too_large"),
    ],
    ids=range(11),
)
async def test_a_refused_snapshot_leaves_the_last_good_one(body: bytes, reason: str) -> None:
    """Counted by reason, and the answers stay."""
    holder = Holder(max_snapshot_bytes=2000)
    served = await offer(holder, {"a": True}, revision=5)
    with pytest.raises(SnapshotRefused) as refused:
        await holder.offer(body, "control-plane")
    assert refused.value.reason == reason
    assert holder.served is served
    assert answer(holder, "a") is True
    assert holder.refusals == {reason: 1}


async def test_a_refused_first_snapshot_leaves_nothing() -> None:
    """And nobody is told that there is one."""
    holder = Holder()
    with pytest.raises(SnapshotRefused):
        await holder.offer(b"garbage\n", "disk")
    assert holder.served is None
    assert await holder.wait_first(0) is None


async def test_one_bad_flag_is_quarantined_alone() -> None:
    """It answers an error, all others are served, and it is told which."""
    holder = Holder()
    bad = definition(surprise=1)
    served = await offer(holder, {"bad": bad, "good": True})
    assert (answer(holder, "bad"), answer(holder, "good")) == ("PARSE_ERROR", True)
    assert list(served.compiled.quarantined) == ["bad"]


async def test_a_newer_minor_schema_with_more_in_its_header_is_served() -> None:
    """What a later version adds to the header does not matter here."""
    holder = Holder()
    _, body = make_snapshot({"a": True}, schema="1.7")
    await holder.offer(body.replace(b'"schema"', b'"later":{"x":[1]},"schema"', 1), "control-plane")
    assert answer(holder, "a") is True


@pytest.mark.parametrize("source", ["control-plane", "disk"])
async def test_with_trust_only_what_is_signed_is_served(
    source: str, caplog: pytest.LogCaptureFixture
) -> None:
    """From wherever it comes; the last good one stays, and it is counted and loud in the log."""
    holder = Holder(admission=Admission(trusting("one")))
    with pytest.raises(SnapshotRefused, match="it is not signed"):
        await holder.offer(make_snapshot({"a": True})[1], source)
    assert holder.served is None
    await holder.offer(make_snapshot({"a": True}, sign=signer("one"))[1], source)
    forged = make_snapshot({"a": False}, revision=2)[1]
    stolen = make_snapshot({"a": False}, revision=2, sign=signer("two"))[1]
    for body in (forged, stolen):
        with pytest.raises(SnapshotRefused) as refused:
            await holder.offer(body, source)
        assert refused.value.reason == "signature"
    assert answer(holder, "a") is True
    assert holder.refusals == {"signature": 3}
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 3
    assert "the last good one stays" in errors[-1].message


async def test_a_signature_says_nothing_of_entries_that_have_another_digest() -> None:
    """The header is genuine, what follows it is not."""
    holder = Holder(admission=Admission(trusting("one")))
    genuine = make_snapshot({"a": True}, sign=signer("one"))[1]
    forged = genuine.replace(b'"variant":"on"', b'"variant":"off"')
    assert forged != genuine
    with pytest.raises(SnapshotRefused) as refused:
        await holder.offer(forged, "control-plane")
    assert refused.value.reason == "digest"
    assert holder.served is None


async def test_a_file_needs_no_signature() -> None:
    """Whoever may write it may as well change the settings."""
    holder = Holder(admission=Admission(trusting("one")))
    await holder.offer(make_snapshot({"a": True})[1], "file")
    assert answer(holder, "a") is True


async def test_without_trust_signatures_do_not_matter() -> None:
    """Neither theirs nor what they are of."""
    holder = Holder()
    await holder.offer(make_snapshot({"a": True}, sign=signer("two"))[1], "control-plane")
    assert answer(holder, "a") is True


async def test_an_older_revision_is_refused_only_within_its_epoch() -> None:
    """A restore gives a new epoch, and must not wedge a fleet; it is counted."""
    holder = Holder()
    await offer(holder, {"a": True}, revision=50)
    with pytest.raises(SnapshotRefused, match="revision 49, and 50 was seen"):
        await offer(holder, {"a": False}, revision=49)
    await offer(holder, {"a": False}, revision=3, epoch="e2")
    assert answer(holder, "a") is False
    assert holder.epoch_changes == 1
    with pytest.raises(SnapshotRefused):
        await offer(holder, {"a": True}, revision=2, epoch="e2")


async def test_an_epoch_that_is_over_is_not_brought_back() -> None:
    """A replica that was cut off when the project got a new epoch still has the old one."""
    clock = Clock()
    holder = Holder(clock=clock)
    await offer(holder, {"a": True}, revision=3, epoch="e2")
    clock.now_s += 5
    _, over = make_snapshot({"a": False}, revision=900, epoch="e1")
    with pytest.raises(SnapshotRefused, match="known as current 60 s ago"):
        await holder.offer(over, "control-plane", age_ms=60_000)
    assert answer(holder, "a") is True
    assert holder.refusals == {"rolled_back": 1}
    # Replicas that are well differ by seconds; and whoever knows it later than we do is believed.
    await holder.offer(over, "control-plane", age_ms=15_000)
    assert answer(holder, "a") is False
    clock.now_s += 100
    await holder.offer(make_snapshot({}, epoch="e3")[1], "control-plane", age_ms=100_000)
    assert holder.served is not None
    assert holder.served.header.epoch == "e3"


async def test_an_estimated_age_keeps_no_epoch_out() -> None:
    """What was on disk may be of any epoch, and two wall clocks say how old it is."""
    holder = Holder()
    await holder.offer(make_snapshot({"a": True}, epoch="e2")[1], "disk", estimated=True)
    await holder.offer(make_snapshot({"a": False})[1], "control-plane", age_ms=3_600_000)
    assert answer(holder, "a") is False


async def test_revisions_of_another_environment_are_not_compared() -> None:
    """Each environment counts its own."""
    holder = Holder()
    await offer(holder, {"a": True}, revision=50)
    await offer(holder, {"a": False}, revision=3, environment="staging")
    assert answer(holder, "a") is False


async def test_the_same_revision_with_another_digest_is_served() -> None:
    """What the control plane says now counts."""
    holder = Holder()
    await offer(holder, {"a": True}, revision=5)
    await offer(holder, {"a": False}, revision=5)
    assert answer(holder, "a") is False


async def test_going_back_to_earlier_content_is_served() -> None:
    """Only the current digest is compared with, so a revert is a change like any other."""
    holder = Holder()
    for revision, value in enumerate([True, False, True], start=1):
        await offer(holder, {"a": value}, revision=revision)
        assert answer(holder, "a") is value
    assert holder.served is not None
    assert holder.served.header.revision == 3


async def test_what_is_served_already_is_confirmed_without_a_swap() -> None:
    """A full snapshot is legal at any time; the same one changes nothing but age and source."""
    clock = Clock()
    holder = Holder(clock=clock)
    swaps: list[Served] = []
    holder.subscribe(lambda _, new: swaps.append(new))
    first = await offer(holder, {"a": True}, source="disk")
    clock.now_s += 60
    second = await offer(holder, {"a": True})
    assert len(swaps) == 1
    assert second.compiled is first.compiled
    assert second.source == "control-plane"
    assert holder.age_ms() == 0


async def test_flags_that_did_not_change_stay_the_same_objects() -> None:
    """So their counters go on, and a change costs only itself."""
    holder = Holder()
    first = await offer(holder, {"a": True, "b": True}, revision=1)
    second = await offer(holder, {"a": True, "b": False}, revision=2)
    assert second.compiled.flags["a"] is first.compiled.flags["a"]
    assert second.compiled.flags["b"] is not first.compiled.flags["b"]


async def test_subscribers_are_told_old_and_new() -> None:
    """In the swap itself; the way out ends it."""
    holder = Holder()
    seen: list[tuple[Served | None, Served]] = []
    leave = holder.subscribe(lambda old, new: seen.append((old, new)))
    first = await offer(holder, {"a": True}, revision=1)
    second = await offer(holder, {"a": False}, revision=2)
    leave()
    await offer(holder, {"a": True}, revision=3)
    leave()
    assert seen == [(None, first), (first, second)]


async def test_a_failing_subscriber_does_not_keep_a_snapshot_from_being_served() -> None:
    """Nor the other subscribers from hearing of it."""
    holder = Holder()
    told: list[Served] = []

    def fail(_old: Served | None, _new: Served) -> None:
        raise LookupError("surprise")

    holder.subscribe(fail)
    holder.subscribe(lambda _, new: told.append(new))
    served = await offer(holder, {"a": True})
    assert holder.served is served
    assert told == [served]


async def test_offers_wait_for_each_other() -> None:
    """A slow load of an older revision cannot end after a newer one and win."""
    holder = Holder()
    many = {f"flag-{n}": True for n in range(300)}
    results = await asyncio.gather(
        *(offer(holder, many, revision=n) for n in (1, 5, 3, 4, 6)), return_exceptions=True
    )
    assert [isinstance(r, SnapshotRefused) for r in results] == [False, False, True, True, False]
    assert holder.served is not None
    assert holder.served.header.revision == 6


async def test_loading_lets_the_loop_run() -> None:
    """Evaluations go on while 2,000 flags are compiled aside, with the old answers."""
    holder = Holder()
    await offer(holder, {"a": True}, revision=1)
    seen: list[Any] = []

    async def evaluations() -> None:
        while True:
            seen.append(answer(holder, "a"))
            await asyncio.sleep(0)

    task = asyncio.create_task(evaluations())
    many = {f"flag-{n}": True for n in range(2000)}
    await offer(holder, {"a": False, **many}, revision=2)
    await asyncio.sleep(0)
    task.cancel()
    assert seen.count(True) > 5
    assert seen[-1] is False


async def test_a_compiler_that_breaks_leaves_the_last_good_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception that nobody expects is the caller's to count; the next offer works."""
    holder = Holder()
    await offer(holder, {"a": True}, revision=1)

    def broken(*_: Any) -> Any:
        yield
        raise LookupError("surprise")

    with monkeypatch.context() as patch:
        patch.setattr(proxy.holder, "compile_changes", broken)
        with pytest.raises(LookupError):
            await offer(holder, {"a": False}, revision=2)
    assert answer(holder, "a") is True
    await offer(holder, {"a": False}, revision=2)
    assert answer(holder, "a") is False


async def test_waiting_for_the_first_ends_when_it_comes() -> None:
    """And gives it; later waits give what is served at once."""
    holder = Holder()
    waiting = asyncio.create_task(holder.wait_first(30))
    await asyncio.sleep(0)
    served = await offer(holder, {"a": True})
    assert await waiting is served
    assert await holder.wait_first(0) is served


async def test_waiting_for_the_first_ends_in_time() -> None:
    """With None."""
    assert await Holder().wait_first(0.01) is None


async def test_without_a_snapshot_there_is_no_age() -> None:
    """And nothing to confirm."""
    holder = Holder()
    assert holder.age_ms() is None
    assert holder.confirm("0" * 64) is False


async def test_age_counts_from_the_last_confirmation() -> None:
    """Of the digest being served, less what the confirmer itself knew to have passed."""
    clock = Clock()
    holder = Holder(clock=clock)
    served = await offer(holder, {"a": True})
    assert holder.age_ms() == 0
    clock.now_s += 20
    assert holder.age_ms() == 20_000
    assert holder.confirm(served.header.digest, verified_age_ms=3000) is True
    assert holder.age_ms() == 3000


async def test_a_blind_control_plane_does_not_make_it_look_fresh() -> None:
    """Heartbeats of a replica that lost its store confirm nothing newer than what it knew."""
    clock = Clock()
    holder = Holder(clock=clock)
    served = await offer(holder, {"a": True})
    for blind_s in range(10, 100, 10):
        clock.now_s += 10
        holder.confirm(served.header.digest, verified_age_ms=blind_s * 1000)
        assert holder.age_ms() == blind_s * 1000


async def test_what_was_known_better_stays_known() -> None:
    """An older confirmation does not make a snapshot older than it was known to be."""
    clock = Clock()
    holder = Holder(clock=clock)
    served = await offer(holder, {"a": True})
    clock.now_s += 10
    holder.confirm(served.header.digest, verified_age_ms=3_600_000)
    assert holder.age_ms() == 10_000


async def test_another_digest_confirms_nothing() -> None:
    """Age goes on, because what is served is not what is current."""
    clock = Clock()
    holder = Holder(clock=clock)
    await offer(holder, {"a": True})
    clock.now_s += 10
    assert holder.confirm("0" * 64) is False
    assert holder.age_ms() == 10_000


async def test_age_from_disk_is_an_estimate_until_confirmed() -> None:
    """A real confirmation replaces it, even when it is the older of the two."""
    clock = Clock()
    holder = Holder(clock=clock)
    header, body = make_snapshot({"a": True})
    await holder.offer(body, "disk", age_ms=5_000, estimated=True)
    assert (holder.age_ms(), holder.age_estimated) == (5_000, True)
    holder.confirm(header.digest, verified_age_ms=60_000)
    assert (holder.age_ms(), holder.age_estimated) == (60_000, False)


@given(st.integers())
async def test_no_claimed_age_breaks_it(age_ms: int) -> None:
    """Negative ones count as none, endless ones as long."""
    holder = Holder(clock=lambda: 1.0)
    header, body = make_snapshot({})
    await holder.offer(body, "disk", age_ms=age_ms, estimated=True)
    assert holder.age_ms() == max(0, min(age_ms, 10 * 366 * 86_400_000))
    holder.confirm(header.digest, verified_age_ms=age_ms)
    assert holder.age_ms() == max(0, min(age_ms, 10 * 366 * 86_400_000))


async def test_time_spent_loading_counts_as_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was current when the bytes came is older once they are served."""
    clock = Clock()
    holder = Holder(clock=clock)
    compile_snapshot: Callable[..., Any] = proxy.holder.compile_snapshot

    def slow(*args: Any) -> Any:
        clock.now_s += 2
        return (yield from compile_snapshot(*args))

    monkeypatch.setattr(proxy.holder, "compile_snapshot", slow)
    await holder.offer(make_snapshot({"a": True})[1], "control-plane", age_ms=500)
    assert holder.age_ms() == 2500


UNITS = long_list(names(9_000))


class Blobs:
    """Gives blobs, and keeps what it was asked."""

    def __init__(self, *lists: LongList) -> None:
        self.given = {digest: blob for units in lists for digest, blob in units.blobs.items()}
        self.asked: list[tuple[SnapshotHeader, dict[str, int], dict[str, bytes]]] = []

    async def __call__(
        self, header: SnapshotHeader, needed: Mapping[str, int], held: Mapping[str, bytes]
    ) -> Mapping[str, bytes]:
        self.asked.append((header, dict(needed), dict(held)))
        return self.given


def with_units(units: LongList, **more: Any) -> tuple[SnapshotHeader, bytes]:
    """Return a snapshot whose flag `a` is on for the units of a list."""
    flag, segment = in_segment(units)
    return make_snapshot({"a": flag, "b": True}, more=segment, **more)


def answer_for(holder: Holder, unit: str) -> Any:
    """Return what flag `a` has for a unit now."""
    assert holder.served is not None
    given = evaluate(holder.served.compiled, "a", {"targetingKey": unit}, 0)
    return given.error_code or given.value


async def test_the_blobs_that_a_snapshot_needs_are_asked_for() -> None:
    """With the most bytes each may have, which is all units of its list; no others are kept."""
    holder, blobs = Holder(), Blobs(UNITS, long_list(["another"]))
    header, body = with_units(UNITS)
    served = await holder.offer(body, "control-plane", blobs=blobs)
    assert blobs.asked == [(header, dict.fromkeys(UNITS.blobs, 9_000 * 12), {})]
    assert served.blobs == UNITS.blobs
    assert (served.units, served.blob_bytes) == (9_000, 108_000)
    assert (answer_for(holder, "u-1"), answer_for(holder, "u-9000")) == (True, False)


async def test_a_snapshot_without_long_lists_asks_for_no_blobs() -> None:
    """Nor does one that is being served already, or one that is refused."""
    holder, blobs = Holder(), Blobs(UNITS)
    await holder.offer(make_snapshot({"a": True})[1], "control-plane", blobs=blobs)
    assert blobs.asked == []
    body = with_units(UNITS, revision=5)[1]
    for _ in range(2):
        await holder.offer(body, "control-plane", blobs=blobs)
    with pytest.raises(SnapshotRefused):
        await holder.offer(with_units(UNITS, revision=4)[1], "control-plane", blobs=blobs)
    assert len(blobs.asked) == 1


async def test_what_is_held_is_told_when_blobs_are_asked_for() -> None:
    """So that unchanged parts of a list are neither fetched nor kept twice."""
    holder, longer = Holder(), long_list([*names(9_000), "new"])
    blobs = Blobs(UNITS, longer)
    first = await holder.offer(with_units(UNITS)[1], "control-plane", blobs=blobs)
    second = await holder.offer(with_units(longer, revision=2)[1], "control-plane", blobs=blobs)
    assert blobs.asked[1][2] == first.blobs
    assert second.blobs == longer.blobs


async def test_a_snapshot_whose_blobs_do_not_come_leaves_the_last_good_one() -> None:
    """Whatever is raised is the offerer's to count; a refusal is counted here, too."""
    holder = Holder()
    served = await offer(holder, {"a": True})
    raised: list[Exception] = [LookupError("away"), SnapshotRefused("too_large", "units")]

    async def fail(*_: Any) -> Mapping[str, bytes]:
        raise raised[-1]

    body = with_units(UNITS, revision=2)[1]
    while raised:
        with pytest.raises(type(raised[-1])):
            await holder.offer(body, "control-plane", blobs=fail)
        raised.pop()
    assert holder.served is served
    assert answer(holder, "a") is True
    assert holder.refusals == {"too_large": 1}


@pytest.mark.parametrize("offered", ["no way to get them", "none of them", "one less"])
async def test_a_list_with_a_part_missing_costs_its_flags_alone(offered: str) -> None:
    """Nobody is in a part of a list; and a later offer that has all of it is served whole."""
    holder, blobs = Holder(), Blobs()
    if offered == "one less":
        blobs.given = dict(list(UNITS.blobs.items())[1:])
    way = None if offered == "no way to get them" else blobs
    served = await holder.offer(with_units(UNITS)[1], "file", blobs=way)
    assert list(served.compiled.quarantined) == ["a"]
    assert answer_for(holder, "u-1") == "PARSE_ERROR"
    assert answer(holder, "b") is True
    await holder.offer(with_units(UNITS, revision=2)[1], "file", blobs=Blobs(UNITS))
    assert answer_for(holder, "u-1") is True


async def test_waiting_for_blobs_counts_as_age() -> None:
    """What was current when the snapshot came may not be any more."""
    clock = Clock()
    holder = Holder(clock=clock)

    async def slow(*_: Any) -> Mapping[str, bytes]:
        clock.now_s += 30
        return UNITS.blobs

    await holder.offer(with_units(UNITS)[1], "control-plane", blobs=slow, age_ms=500)
    assert holder.age_ms() == 30_500


async def test_being_cancelled_while_blobs_come_leaves_the_holder_usable() -> None:
    """A source is ended in the middle of it."""
    holder, waiting = Holder(), asyncio.Event()

    async def never(*_: Any) -> Mapping[str, bytes]:
        waiting.set()
        return await asyncio.Event().wait() or {}

    task = asyncio.create_task(holder.offer(with_units(UNITS)[1], "control-plane", blobs=never))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await offer(holder, {"a": True})
    assert answer(holder, "a") is True


async def follow(holder: Holder, body: bytes, **members: Any) -> Served:
    """Have a holder follow what leads from what is served to a snapshot."""
    assert holder.served is not None
    before = b"".join(finish(holder.served.body()))
    delta = msgspec.structs.replace(make_delta(before, body), **members)
    blobs = Blobs(UNITS)
    epoch = holder.served.header.epoch
    return await holder.follow(delta, epoch, "control-plane", blobs=blobs)


async def test_what_changed_is_applied_to_what_is_served() -> None:
    """The rest stays the same objects, and subscribers are told."""
    holder = Holder()
    old = await offer(holder, {"a": True, "b": True})
    told: list[tuple[Served | None, Served]] = []
    holder.subscribe(lambda before, after: told.append((before, after)))
    header, body = make_snapshot({"a": True, "b": False, "c": True}, revision=2)
    served = await follow(holder, body)
    assert (holder.served, served.header, told) == (served, header, [(old, served)])
    assert b"".join(finish(served.body())) == body
    assert served.body_bytes == len(body)
    assert served.compiled.flags["a"] is old.compiled.flags["a"]
    assert (answer(holder, "b"), answer(holder, "c")) == (False, True)
    assert served.compiled.replaced(old.compiled) == [old.compiled.flags["b"]]


async def test_a_change_that_begins_elsewhere_is_not_applied() -> None:
    """Nor one while nothing is served; that is no refusal, which would be counted."""
    holder = Holder()
    before, after = make_snapshot({"a": True})[1], make_snapshot({"a": False}, revision=2)[1]
    delta = make_delta(before, after)
    with pytest.raises(OutOfStep):
        await holder.follow(delta, "e1", "control-plane")
    served = await holder.offer(before, "control-plane")
    for epoch, from_ in (("e2", 1), ("e1", 0), ("e1", 2)):
        with pytest.raises(OutOfStep):
            await holder.follow(msgspec.structs.replace(delta, from_=from_), epoch, "control-plane")
    assert holder.served is served
    assert holder.refusals == {}
    await holder.follow(delta, "e1", "control-plane")
    with pytest.raises(OutOfStep):
        await holder.follow(delta, "e1", "control-plane")


async def test_a_refused_change_leaves_what_is_served() -> None:
    """All of it: header, entries, digest and compiled form; and it is counted."""
    holder = Holder()
    served = await offer(holder, {"a": True})
    before = served.snapshot.digest.hexdigest(), dict(served.entries)
    _, body = make_snapshot({"a": False, "b": True}, revision=2)
    for wrong, reason in (
        ({"digest": "0" * 64, "header": None}, "digest"),
        ({"digest": "0" * 64}, "malformed"),
        ({"set": ["\ud800"]}, "malformed"),
        ({"set": []}, "count"),
    ):
        holder.refusals.clear()
        with pytest.raises(SnapshotRefused) as refused:
            await follow(holder, body, **wrong)
        assert refused.value.reason == reason
        assert holder.refusals == {reason: 1}
    assert holder.served is served
    assert (served.snapshot.digest.hexdigest(), dict(served.entries)) == before
    assert answer(holder, "a") is True
    await follow(holder, body)


async def test_changes_keep_the_size_within_its_bound() -> None:
    """Or a stream could make it grow without an end."""
    holder = Holder(max_snapshot_bytes=3_000)
    await offer(holder, {"a": True})
    flags = {"a": True}
    while not holder.refusals:
        flags[f"f{len(flags)}"] = True
        with suppress(SnapshotRefused):
            await follow(holder, make_snapshot(flags, revision=len(flags))[1])
    assert holder.refusals == {"too_large": 1}
    assert holder.served is not None
    assert 2_000 < holder.served.body_bytes < 3_300


async def test_age_goes_on_over_a_change() -> None:
    """It says what is current, and not since when that is known."""
    clock = Clock()
    holder = Holder(clock=clock)
    await holder.offer(make_snapshot({"a": True})[1], "disk", age_ms=500, estimated=True)
    clock.now_s += 3
    await follow(holder, make_snapshot({"a": False}, revision=2)[1])
    assert (holder.age_ms(), holder.age_estimated) == (3_500, True)


async def test_blobs_are_asked_for_only_where_lists_changed() -> None:
    """A change elsewhere keeps those that are held, and looks at no segment."""
    holder, blobs = Holder(), Blobs(UNITS)
    await holder.offer(with_units(UNITS)[1], "control-plane", blobs=blobs)
    assert holder.served is not None
    held = holder.served.blobs
    flag, segment = in_segment(UNITS)
    flags: dict[str, Any] = {"a": flag, "b": True}
    _, body = make_snapshot(flags | {"c": True}, more=segment, revision=2)
    served = await follow(holder, body)
    assert served.blobs is held
    assert answer_for(holder, "u-1") is True
    _, body = make_snapshot({"b": True}, revision=3)
    assert (await follow(holder, body)).blobs == {}
    _, body = make_snapshot(flags, more=segment, revision=4)
    assert (await follow(holder, body)).blobs == UNITS.blobs
    assert answer_for(holder, "u-1") is True


async def test_a_blob_that_was_missing_is_asked_for_again_with_the_next_change() -> None:
    """Wherever that change is."""
    holder = Holder()
    served = await holder.offer(with_units(UNITS)[1], "control-plane")
    assert served.blobs_missing == len(UNITS.blobs)
    flag, segment = in_segment(UNITS)
    _, body = make_snapshot({"a": flag, "b": False}, more=segment, revision=2)
    served = await follow(holder, body)
    assert served.blobs_missing == 0
    assert answer_for(holder, "u-1") is True


async def test_changes_are_signed_too_where_keys_are_given() -> None:
    """By the header of what they lead to; without one nobody has signed that."""
    sign = signer("one")
    holder = Holder(admission=Admission(trusting("one")))
    await holder.offer(make_snapshot({"a": True}, sign=sign)[1], "control-plane")
    _, unsigned = make_snapshot({"a": False}, revision=2)
    _, other = make_snapshot({"a": False}, revision=2, sign=signer("two"))
    header, signed = make_snapshot({"a": False}, revision=2, sign=sign)
    for body, members in ((unsigned, {}), (other, {}), (signed, {"header": None})):
        with pytest.raises(SnapshotRefused, match="signature"):
            await follow(holder, body, **members)
    assert answer(holder, "a") is True
    assert (await follow(holder, signed)).header == header


async def test_a_change_without_a_header_takes_no_signature_along() -> None:
    """It would be of what was there before."""
    holder = Holder()
    await holder.offer(make_snapshot({"a": True}, sign=signer("one"))[1], "control-plane")
    served = await follow(holder, make_snapshot({"a": False}, revision=2)[1], header=None)
    assert (served.header.signatures, served.header.revision) == ((), 2)


async def stale(holder: Holder) -> Served:
    """Wait until flags are too old, and return what is served then."""
    async with asyncio.timeout(10):
        while holder.served is None or holder.served.defaults is None:  # noqa: ASYNC110 - its clock is turned
            await asyncio.sleep(0.005)
    return holder.served


@asynccontextmanager
async def watched(holder: Holder) -> AsyncIterator[None]:
    """Have its age watched, as the sidecar does."""
    task = asyncio.create_task(holder.watch_age())
    yield
    assert not task.done()
    task.cancel()


def told(holder: Holder) -> list[tuple[bool, bool]]:
    """Return a list that gets, at each swap, whether code defaults were and are answered."""
    swaps: list[tuple[bool, bool]] = []
    holder.subscribe(
        lambda old, new: swaps.append(
            (old is not None and old.defaults is not None, new.defaults is not None)
        )
    )
    return swaps


async def test_flags_that_are_too_old_leave_the_decision_to_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the age on that came with them, and until the next confirmation; said each time."""
    clock = Clock()
    holder = Holder(clock=clock)
    header, body = make_snapshot({"a": True, "b": definition(surprise=1)}, max_age_s=60)
    async with watched(holder):
        fresh = await holder.offer(body, "control-plane")
        swaps = told(holder)
        clock.now_s += 60
        await asyncio.sleep(0.05)
        assert holder.served is fresh, "not yet: the age is not more than that"
        clock.now_s += 0.1
        old = await stale(holder)
        assert old.flags is old.defaults
        assert old.compiled is fresh.compiled
        assert old.header == header
        for key in ("a", "b"):
            answered = old.flags[key].evaluate({}, 0)
            assert (answered.status, answered.value, answered.reason) == (200, UNSET, "DISABLED")
        assert holder.confirm(header.digest)
        assert holder.served is not None
        assert holder.served.flags is fresh.compiled.flags
    assert swaps == [(False, True), (True, False)]
    assert holder.stale_times == 1
    messages = [record.message for record in caplog.records]
    assert "flags were last confirmed 60 s ago, more than 60 s" in messages[-2]
    assert "answered again" in messages[-1]


async def test_a_confirmation_that_is_too_old_itself_does_not_end_it() -> None:
    """A control plane that is blind says for how long, and that is what counts."""
    clock = Clock()
    holder = Holder(clock=clock)
    header, body = make_snapshot({"a": True}, max_age_s=60)
    async with watched(holder):
        await holder.offer(body, "control-plane")
        clock.now_s += 100
        await stale(holder)
        assert holder.confirm(header.digest, 61_000)
        assert holder.served is not None
        assert holder.served.defaults is not None
        assert holder.confirm(header.digest, 60_000)
        assert holder.served.defaults is None


@pytest.mark.parametrize("source", ["control-plane", "disk"])
async def test_what_comes_too_old_is_never_answered(source: str) -> None:
    """Not even until somebody looks at its age: from the disk, or from a blind replica."""
    holder = Holder()
    swaps = told(holder)
    _, body = make_snapshot({"a": True}, max_age_s=60)
    served = await holder.offer(body, source, age_ms=61_000, estimated=source == "disk")
    assert served.defaults is not None
    assert swaps == [(False, True)]
    again = await holder.offer(body, "control-plane")
    assert again.defaults is None
    assert swaps == [(False, True), (True, False)]


async def test_a_change_does_not_make_flags_younger() -> None:
    """Age goes on; the heartbeat that follows ends it."""
    clock = Clock()
    holder = Holder(clock=clock)
    async with watched(holder):
        await holder.offer(make_snapshot({"a": True}, max_age_s=60)[1], "control-plane")
        clock.now_s += 100
        await stale(holder)
        swaps = told(holder)
        header, body = make_snapshot({"a": False}, revision=2, max_age_s=60)
        served = await follow(holder, body)
        assert served.defaults is not None
        assert (served.header.revision, swaps) == (2, [(True, True)])
        holder.confirm(header.digest)
        assert answer(holder, "a") is False
        assert holder.served is not None
        assert holder.served.defaults is None


async def test_another_maximum_age_counts_at_once() -> None:
    """Whether flags are old is asked by the policy that came last."""
    clock = Clock()
    holder = Holder(clock=clock)
    async with watched(holder):
        await holder.offer(make_snapshot({"a": True})[1], "control-plane")
        assert holder.max_age_s is None
        clock.now_s += 100
        assert (
            await follow(holder, make_snapshot({"a": True}, revision=2, max_age_s=60)[1])
        ).defaults
        assert holder.max_age_s == 60
        served = await follow(holder, make_snapshot({"a": True}, revision=3, max_age_s=200)[1])
        assert served.defaults is None
        served = await follow(holder, make_snapshot({"a": True}, revision=4)[1])
        assert (served.defaults, holder.max_age_s) == (None, None)


@pytest.mark.parametrize(("own", "most"), [(0.0, None), (5.0, 5.0), (None, 60)])
async def test_the_sidecars_own_maximum_age_wins(own: float | None, most: float | None) -> None:
    """0 for never."""
    holder = Holder(max_age_s=own)
    await holder.offer(make_snapshot({"a": True}, max_age_s=60)[1], "control-plane")
    assert holder.max_age_s == most


@given(
    st.lists(st.tuples(st.sampled_from(["wait", "confirm", "offer", "follow"]), st.integers(0, 90)))
)
def test_code_defaults_are_answered_when_and_only_when_flags_are_too_old(
    steps: list[tuple[str, int]],
) -> None:
    """After whatever happened, once there was time to look."""
    clock = Clock()
    holder = Holder(clock=clock)

    async def play() -> None:
        await holder.offer(make_snapshot({"a": True}, max_age_s=60)[1], "control-plane")
        revision = 1
        for what, seconds in steps:
            assert holder.served is not None
            if what == "wait":
                clock.now_s += seconds
            elif what == "confirm":
                holder.confirm(holder.served.header.digest, seconds * 1000)
            else:
                revision += 1
                body = make_snapshot({"a": seconds % 2 == 0}, revision=revision, max_age_s=60)[1]
                if what == "offer":
                    await holder.offer(body, "control-plane", age_ms=seconds * 1000)
                else:
                    await follow(holder, body)
            too_old = (holder.age_ms() or 0) > 60_000
            if too_old and what == "wait":
                async with watched(holder):
                    await stale(holder)
            assert holder.served is not None
            assert (holder.served.defaults is not None) == too_old

    asyncio.run(play())
