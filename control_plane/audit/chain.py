"""The audit log as a chain: every entry names what came before it, by a hash over all of it. Pure.

    link(previous, entry) = SHA-256("matrixflag-audit/1\\n" + previous + "\\n" + entry), hexadecimal

The link of a project's newest entry is the project's *head*, which every change is made against
(`store.scripts`): so a change without its entry, or an entry without its change, cannot be. What
was removed, altered or put elsewhere no longer links, and `check` finds the place.

What a chain cannot tell is that its end was cut off together with the head, or that all of it was
made anew. Against that a link that was written down elsewhere is compared, and the beginning of a
log that was shortened is signed (`Checkpoint`).
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

import msgspec

from proxy.contract.snapshot import Signature

__all__ = ["GENESIS", "Break", "Checkpoint", "Link", "Verdict", "check", "checkpoint_text", "link"]

GENESIS = "0" * 64
"""What comes before the first entry."""

_DOMAIN = b"matrixflag-audit/1\n"


class Link(NamedTuple):
    """An entry as it is stored: its bytes, its link and the one before."""

    sequence: int
    previous: str
    head: str
    entry: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """Where a log begins that was shortened: what was removed, and the link it ended with.

    `removed` entries in all, the last of them at `sequence`. `signatures` are of `checkpoint_text`.
    """

    project: str
    sequence: int
    head: str
    removed: int
    at: str
    signatures: list[Signature] = []


class Break(NamedTuple):
    """One place where a chain does not hold. `sequence` is the entry's, as far as it says."""

    sequence: int
    what: str


class Verdict(NamedTuple):
    """What became of checking: entries that were looked at, where the log ends, what is wrong."""

    entries: int
    sequence: int
    head: str
    breaks: list[Break]


def link(previous: str, entry: bytes) -> str:
    """Return what names an entry and all that came before it."""
    return sha256(_DOMAIN + previous.encode() + b"\n" + entry).hexdigest()


def checkpoint_text(checkpoint: Checkpoint) -> bytes:
    """Return what the signatures of a checkpoint sign."""
    values = [checkpoint.project, checkpoint.sequence, checkpoint.head]
    values += [checkpoint.removed, checkpoint.at]
    return b"matrixflag-audit-checkpoint/1\n" + msgspec.json.encode(values)


def check(links: Iterable[Link], start: str, head: str | None, most: int = 100) -> Verdict:
    """Return what is wrong with a log that is to go from `start` to `head`, oldest entry first.

    `head` None takes any end. At most so many breaks are told. After a break the next entry is
    taken as it is, so that one break is one finding.
    """
    breaks: list[Break] = []
    at, last, count = start, 0, 0
    for each in links:
        count += 1
        breaks += _wrong(each, at, last)
        at, last = each.head, each.sequence
    if head is not None and at != head:
        breaks.append(
            Break(last, f"the log ends with {at[:16]}..., the project is at {head[:16]}...")
        )
    return Verdict(count, last, at, breaks[:most])


def _wrong(each: Link, at: str, last: int) -> Iterator[Break]:
    if each.previous != at:
        yield Break(each.sequence, "an entry before it was removed, added or put elsewhere")
    if each.sequence <= last:
        yield Break(each.sequence, f"it stands behind {last}, which is later or the same")
    if link(each.previous, each.entry) != each.head:
        yield Break(each.sequence, "it was changed after it was written")
    elif _sequence(each.entry) != each.sequence:
        yield Break(each.sequence, "it is filed under another number than its own")


class _Numbered(msgspec.Struct):
    sequence: int = 0


_numbered = msgspec.json.Decoder(_Numbered)


def _sequence(entry: bytes) -> int:
    try:
        return _numbered.decode(entry).sequence
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return -1
