"""What is let in: nothing older than what was seen, wherever and by whichever process."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission import Admission
from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused
from proxy.contract.steps import finish
from proxy.holder import Holder, OutOfStep, Served
from tests.support.signing import signer, trusting
from tests.support.snapshots import make_delta, make_snapshot

SIGN = signer("one")


def header(revision: int = 1, **members: Any) -> SnapshotHeader:
    """Return a signed header."""
    return make_snapshot(revision=revision, sign=SIGN, **members)[0]


def refused(admission: Admission, *args: Any, **members: Any) -> str | None:
    """Return why a header is refused, None when it is not."""
    try:
        admission.check(header(*args, **members))
    except SnapshotRefused as error:
        return error.reason
    return None


def test_what_an_earlier_process_saw_counts() -> None:
    """Nothing was served yet, and what is older is refused all the same."""
    admission = Admission()
    admission.remember(header(7))
    assert refused(admission, 6) == "rolled_back"
    assert refused(admission, 7) is None
    assert refused(admission, 1, epoch="e2") is None


def test_what_nobody_trusted_signed_is_not_remembered() -> None:
    """A number written to the disk would keep out all that come after."""
    admission = Admission(trusting("one"))
    admission.remember(make_snapshot(revision=10**9)[0])
    assert admission.newest is None
    admission.remember(header(3))
    assert refused(admission, 2) == "rolled_back"


EARLY, LATE = "2026-12-01T09:00:00.000Z", "2026-12-01T09:00:00.001Z"


def test_with_signatures_an_epoch_of_before_is_not_taken_back() -> None:
    """It is as well signed as on its day; but that day is signed, too."""
    admission = Admission(trusting("one"))
    admission.seen(header(epoch="e2", created_at=LATE))
    assert refused(admission, 9, epoch="e1", created_at=EARLY) == "rolled_back"
    assert refused(admission, 1, epoch="e3", created_at=LATE) is None
    assert refused(Admission(), 9, epoch="e1", created_at=EARLY) is None


def test_with_signatures_another_place_is_refused() -> None:
    """The same key signs staging, and its flags are not for production."""
    admission = Admission(trusting("one"))
    assert refused(admission, environment="staging") is None, "nothing was seen yet"
    admission.seen(header())
    assert refused(admission, 9, environment="staging") == "misplaced"
    assert refused(admission, 9, project="other") == "misplaced"


@pytest.mark.parametrize("trust", [None, trusting("one")])
async def test_a_place_that_is_asked_for_holds_from_the_first(trust: Any) -> None:
    """A key of another environment, or a snapshot of it, is a mistake that is noticed."""
    holder = Holder(admission=Admission(trust, "default/production"))
    staging = make_snapshot({"a": True}, environment="staging", sign=SIGN)[1]
    with pytest.raises(SnapshotRefused, match="'default/staging', not of default/production"):
        await holder.offer(staging, "control-plane")
    assert (holder.served, holder.refusals) == (None, {"misplaced": 1})
    await holder.offer(make_snapshot({"a": True}, sign=SIGN)[1], "control-plane")
    assert holder.served is not None


numbers = st.integers(0, 4)
times = st.sampled_from([EARLY, LATE])
steps = st.lists(
    st.tuples(
        st.sampled_from(["offer", "follow", "remember"]),
        st.sampled_from(["control-plane", "disk"]),
        st.sampled_from(["e1", "e2"]),
        numbers,
        times,
        st.booleans(),
        st.sampled_from([0, 10_000, 40_000]),
    ),
    max_size=10,
)


@given(steps, st.booleans())
def test_no_sequence_of_offers_brings_back_an_older_revision(
    sequence: list[tuple[str, str, str, int, str, bool, int]], signed: bool
) -> None:
    """Not within an epoch, by a whole snapshot or by a change, whatever came in between.

    With signatures nothing is served either that was published before what was served.
    """
    holder = Holder(admission=Admission(trusting("one") if signed else None))
    swaps: list[tuple[Served | None, Served]] = []
    holder.subscribe(lambda old, new: swaps.append((old, new)))

    async def play() -> None:
        for what, source, epoch, revision, at, value, age_ms in sequence:
            made, body = make_snapshot(
                {"a": value}, revision=revision, epoch=epoch, created_at=at, sign=SIGN
            )
            try:
                if what == "remember":
                    holder.admission.remember(made)
                elif what == "offer" or holder.served is None:
                    await holder.offer(body, source, age_ms=age_ms)
                else:
                    held = holder.served
                    delta = make_delta(b"".join(finish(held.body())), body)
                    await holder.follow(delta, epoch, source)
            except (SnapshotRefused, OutOfStep):
                continue

    asyncio.run(play())
    for old, new in swaps:
        if old is None:
            continue
        if old.header.epoch == new.header.epoch:
            assert new.header.revision >= old.header.revision
        elif signed:
            assert new.header.created_at >= old.header.created_at
