"""A log in which anything was removed, altered, added or moved does not link."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit.chain import GENESIS, Link, check, link

Log = list[Link]


def log_of(contents: list[str], start: str = GENESIS) -> Log:
    """Return a log with one entry for each text."""
    made: Log = []
    for sequence, text in enumerate(contents, 1):
        entry = msgspec.json.encode({"sequence": sequence, "action": text})
        made.append(Link(sequence, start, link(start, entry), entry))
        start = made[-1].head
    return made


def wrong(log: Log, whole: Log) -> list[int]:
    """Return the numbers at which a log that was `whole` does not hold."""
    return [each.sequence for each in check(log, GENESIS, whole[-1].head).breaks]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=12))
def test_a_log_that_was_left_alone_holds(contents: list[str]) -> None:
    """From its first entry to the project's head."""
    log = log_of(contents)
    verdict = check(log, GENESIS, log[-1].head)
    assert verdict.breaks == []
    assert (verdict.entries, verdict.sequence, verdict.head) == (
        len(log),
        len(log),
        log[-1].head,
    )


def _removed(log: Log, at: int) -> Log:
    return log[:at] + log[at + 1 :]


def _swapped(log: Log, at: int) -> Log:
    return [*log[:at], log[at + 1], log[at], *log[at + 2 :]]


def _altered(log: Log, at: int) -> Log:
    return [*log[:at], log[at]._replace(entry=log[at].entry + b" "), *log[at + 1 :]]


def _rewritten(log: Log, at: int) -> Log:
    """Give it the link of what it says now."""
    entry = log[at].entry + b" "
    new = log[at]._replace(entry=entry, head=link(log[at].previous, entry))
    return [*log[:at], new, *log[at + 1 :]]


def _doubled(log: Log, at: int) -> Log:
    return [*log[: at + 1], *log[at:]]


def _renumbered(log: Log, at: int) -> Log:
    return [*log[:at], log[at]._replace(sequence=log[at].sequence + 100), *log[at + 1 :]]


@pytest.mark.parametrize(
    "tamper", [_removed, _swapped, _altered, _rewritten, _doubled, _renumbered]
)
@given(count=st.integers(3, 9), place=st.floats(0, 1, exclude_max=True))
def test_whatever_is_done_to_an_entry_is_found(
    tamper: Callable[[Log, int], Log], count: int, place: float
) -> None:
    """Wherever it stands; the last one too, because the project's head is known."""
    log = log_of([f"change {number}" for number in range(count)])
    most = count - 1 if tamper is _swapped else count
    assert wrong(tamper(log, int(place * most)), log)


def test_a_break_is_told_once_and_where_it_is() -> None:
    """What follows it links again, and is not told."""
    log = log_of(["a", "b", "c", "d", "e", "f"])
    assert wrong(_removed(log, 2), log) == [4]
    assert wrong(_altered(log, 3), log) == [4]
    assert wrong(log[:-1], log) == [5], "the end was cut off"


def test_a_chain_that_was_made_anew_has_another_head() -> None:
    """Which is why a head that somebody wrote down is compared."""
    log, forged = log_of(["a", "b"]), log_of(["a", "x"])
    assert check(forged, GENESIS, forged[-1].head).breaks == []
    assert wrong(forged, log) == [2]


def test_at_most_so_many_breaks_are_told() -> None:
    """A log of another project is all wrong."""
    log = [each._replace(previous="0") for each in log_of(["a"] * 300)]
    assert len(check(log, GENESIS, None, most=7).breaks) == 7


@pytest.mark.parametrize("entry", [b"", b"{", b"[]", b'{"sequence":"1"}', b"\xff"])
def test_what_is_no_entry_is_a_break(entry: bytes) -> None:
    """However well it links."""
    assert check([Link(1, GENESIS, link(GENESIS, entry), entry)], GENESIS, None).breaks
