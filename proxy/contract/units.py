"""Long lists of units: told apart by hash, kept in blobs that are named by what they hold.

A list of more than `INLINE_UNITS` is not in the segment's definition. The definition has a
`UnitList`: how many there are, and the digests of the blobs that hold them. Who reads a snapshot
fetches the blobs it does not have; one changed unit is one changed blob of about 50 KB.

- A unit is the first 12 bytes of the SHA-256 of its UTF-8 (`hash_unit`). That is half of what
  keeping the text would take, one length for all, and nobody who sees a blob reads the units in it.
  Two units of a list meet by chance with probability 10^-17 at a million; who makes two of his own
  units meet (2^48 tries) has found one that is in or out together with the other.
- A list of `n` is divided by the top bits of the hash into `blob_count(n)` blobs, a power of two,
  so that a blob holds 4,096 on average (`split`). Most hold the same when one unit changes.
- A blob is its hashes, sorted, one after the other, and nothing else. Its digest is the SHA-256 of
  that, in hexadecimal; an empty blob has the digest of no bytes and need not be fetched.

Rules: a blob that came from elsewhere goes through `read_blob` before anything is asked of it. What
a whole list has to be, its count and which blob has which part, `list_problem` and
`proxy.engine.units` look at. The format is fixed: `docs/wire-format.md`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import pairwise

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import UnitList, UnitLists
from proxy.contract.problems import Problem
from proxy.contract.snapshot import Entry, EntryKind

__all__ = [
    "EMPTY_BLOB",
    "INLINE_UNITS",
    "MAX_BLOBS",
    "MAX_BLOB_BYTES",
    "MAX_UNITS",
    "MAX_UNIT_CHARS",
    "UNIT_BYTES",
    "blob_count",
    "blob_number",
    "blobs_of",
    "digest_of",
    "digests_of",
    "hash_unit",
    "list_problem",
    "read_blob",
    "split",
]

UNIT_BYTES = 12
"""Of a unit's hash: 96 bits."""

INLINE_UNITS = 1_000
"""Included and excluded units of a segment, together, that its definition holds itself."""

MAX_UNITS = 1_000_000
"""Of one list. 12 MB in every sidecar, fetched once."""

MAX_UNIT_CHARS = 1_024
"""Of one unit; as in a segment's own lists."""

MAX_BLOBS = 256
"""Of one list: the top byte of a hash tells them apart."""

MAX_BLOB_BYTES = MAX_UNITS * UNIT_BYTES
"""Of one blob. Hashes spread evenly, so that it is about 50 KB, unless units were chosen not to."""

EMPTY_BLOB = sha256(b"").hexdigest()
"""The digest of a blob without units."""

_UNITS_A_BLOB = 4_096
"""On average, at most, below a million: 48 KB, fetched for one changed unit."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def hash_unit(unit: str) -> bytes | None:
    """Return the 12 bytes that stand for a unit; None for text with a lone surrogate."""
    try:
        return sha256(unit.encode()).digest()[:UNIT_BYTES]
    except UnicodeEncodeError:
        return None


def digest_of(blob: bytes) -> str:
    """Return the name of a blob: 64 hexadecimal digits."""
    return sha256(blob).hexdigest()


def blob_count(count: int) -> int:
    """Return how many blobs hold a list of `count` units: 1, 2, 4 ... 256."""
    blobs = 1
    while blobs < MAX_BLOBS and count > blobs * _UNITS_A_BLOB:
        blobs *= 2
    return blobs


def blob_number(unit_hash: bytes, blobs: int) -> int:
    """Return which of `blobs` blobs, in their order, a hash belongs to."""
    return unit_hash[0] * blobs >> 8


def split(hashes: Iterable[bytes]) -> list[bytes]:
    """Return the blobs of a list, in order. Equal sets give equal blobs, whatever their order.

    A million take about a second.
    """
    in_order = sorted(set(hashes))
    blobs = blob_count(len(in_order))
    parts: list[list[bytes]] = [[] for _ in range(blobs)]
    for unit_hash in in_order:
        parts[blob_number(unit_hash, blobs)].append(unit_hash)
    return [b"".join(part) for part in parts]


def read_blob(body: bytes, digest: str) -> bytes | Problem:
    """Return the body when it is the blob of that digest and well formed, or what is wrong.

    0.5 ms for a usual one, 0.15 s for the largest.
    """
    if len(body) > MAX_BLOB_BYTES:
        return _invalid(digest, f"{len(body)} bytes, at most {MAX_BLOB_BYTES} are read")
    if digest_of(body) != digest:
        return _invalid(digest, "what was read has another digest")
    if len(body) % UNIT_BYTES:
        return _invalid(digest, f"{len(body)} bytes are no whole number of units")
    records = (body[at : at + UNIT_BYTES] for at in range(0, len(body), UNIT_BYTES))
    if not all(before < after for before, after in pairwise(records)):
        return _invalid(digest, "its units are not in order")
    return body


def list_problem(units: UnitList) -> Problem | None:
    """Return what is wrong with a list as a definition names it, without a look at its blobs."""
    if not 0 <= units.count <= MAX_UNITS:
        message = f"a list of {units.count} units, at most {MAX_UNITS} are allowed"
        return Problem("/count", ProblemCode.OUT_OF_RANGE, message)
    if len(units.blobs) != blob_count(units.count):
        message = f"{units.count} units are in {blob_count(units.count)} blobs, not in"
        return Problem("/blobs", ProblemCode.INVALID_BLOB, f"{message} {len(units.blobs)}")
    if not all(_DIGEST.fullmatch(digest) for digest in units.blobs):
        message = "a blob is named by 64 hexadecimal digits in lower case"
        return Problem("/blobs", ProblemCode.INVALID_BLOB, message)
    return None


def digests_of(units: UnitLists | UnsetType) -> Iterator[str]:
    """Yield the digests of the blobs of both lists of a segment, those of empty blobs left out."""
    if units is UNSET:
        return
    for part in (units.included, units.excluded):
        if part is not UNSET:
            yield from (digest for digest in part.blobs if digest != EMPTY_BLOB)


def blobs_of(entries: Mapping[tuple[EntryKind, str], Entry]) -> dict[str, int]:
    """Return the digests of all blobs that a snapshot needs, each with the most bytes it can have.

    A definition that cannot be read needs none: compiling it says what is wrong. So does one whose
    lists are wrong in themselves, and nothing is fetched for it.
    """
    needed: dict[str, int] = {}
    for (kind, _), entry in entries.items():
        if kind != "segment" or b'"units":' not in entry.line:
            continue
        try:
            units = _decoder.decode(entry.definition).units
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            continue
        for part in () if units is UNSET else (units.included, units.excluded):
            if part is not UNSET and list_problem(part) is None:
                for digest in digests_of(UnitLists(part)):
                    most = part.count * UNIT_BYTES
                    needed[digest] = min(most, needed.get(digest, most))
    return needed


class _HasUnits(msgspec.Struct):
    """As much of a segment's definition as says which blobs it has."""

    units: UnitLists | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_HasUnits)


def _invalid(digest: str, message: str) -> Problem:
    return Problem("", ProblemCode.INVALID_BLOB, f"the blob {digest[:12]}: {message}")
