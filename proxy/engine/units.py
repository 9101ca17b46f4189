"""Whether a unit is in a long list: a set of a million in 12.3 MB that answers in a microsecond.

A `UnitSet` keeps the blobs of a list as they came, `bytes` that others may hold too, and for each
one an index by the 8 bits of the hash that follow those which chose the blob: where in the blob the
units with these bits begin. That leaves about 16 of them, in order, and `bytes.find` looks at them
faster than any search written here. Units that were chosen to fall together, so that there are
many, are halved first.

How to use it, in a generator that compiles in small steps:

    found = yield from unit_set(definition.units.included, blobs)
    if isinstance(found, Problem): ...      # `missing_blob` or `invalid_blob`; pointer in the list
    else: found.contains(context.get("targetingKey"))   # False for what is no text

`blobs` maps digests to blobs, each one read by `proxy.contract.units.read_blob`; those of empty
blobs may be left out. What is not changed between two snapshots need not be made again: pass the
set of before as `previous`.

Rules: `contains` never raises, for any value at all; nothing here changes after it was made.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Generator, Mapping
from hashlib import sha256
from typing import TypeAlias

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import UnitList
from proxy.contract.problems import Problem
from proxy.contract.units import EMPTY_BLOB, UNIT_BYTES, blob_number, list_problem

__all__ = ["UnitSet", "unit_set"]

_FEW_BYTES = 64 * UNIT_BYTES
"""What `bytes.find` goes through in less time than one more halving takes."""

_Part: TypeAlias = "tuple[bytes, array[int]]"
"""A blob, and where in it each of 256 ranges of hashes begins, in bytes, and the last one ends."""


class UnitSet:
    """The units of one list. Made by `unit_set`."""

    __slots__ = ("_of", "_parts", "_shift", "count")

    def __init__(self, parts: Mapping[str, _Part], units: UnitList) -> None:
        self.count = units.count
        self._of = parts
        self._parts = [parts[digest] for digest in units.blobs]
        self._shift = 17 - len(self._parts).bit_length()

    def contains(self, unit: object) -> bool:
        """Return whether the unit is in the list, compared exactly."""
        if not isinstance(unit, str):
            return False
        try:
            wanted = sha256(unit.encode()).digest()[:UNIT_BYTES]
        except UnicodeEncodeError:
            return False
        top = wanted[0] << 8 | wanted[1]
        shift = self._shift
        blob, index = self._parts[top >> shift]
        place = top >> (shift - 8) & 255
        low, high = index[place], index[place + 1]
        while high - low > _FEW_BYTES:
            middle = low + (high - low) // UNIT_BYTES // 2 * UNIT_BYTES
            if blob[middle : middle + UNIT_BYTES] <= wanted:
                low = middle
            else:
                high = middle
        at = blob.find(wanted, low, high)
        while at >= 0 and at % UNIT_BYTES:
            # the end of one unit and the beginning of the next: it happens once in 10^23
            at = blob.find(wanted, at + 1, high)
        return at >= 0

    def __repr__(self) -> str:
        return f"<UnitSet of {self.count}>"


def unit_set(
    units: UnitList, blobs: Mapping[str, bytes], previous: UnitSet | None = None
) -> Generator[None, None, UnitSet | Problem]:
    """Return the set of a list, yielding between blobs, or the first thing that is wrong with it.

    The problem's pointer is within the list. A million units take 40 ms, in steps of 0.2 ms.
    """
    wrong = list_problem(units)
    if wrong is not None:
        return wrong
    # A blob's index depends on how many there are.
    comparable = previous is not None and len(previous._parts) == len(units.blobs)
    before = previous._of if previous is not None and comparable else {}
    parts: dict[str, _Part] = {}
    held = 0
    for number, digest in enumerate(units.blobs):
        blob = b"" if digest == EMPTY_BLOB else blobs.get(digest)
        where = f"/blobs/{number}"
        if blob is None:
            message = f"the blob {digest[:12]} with a part of the units is not there"
            return Problem(where, ProblemCode.MISSING_BLOB, message)
        # Sorted, so that the first and the last say it of all. None is in two parts.
        ends = (blob[:UNIT_BYTES], blob[-UNIT_BYTES:]) if blob else ()
        if any(blob_number(end, len(units.blobs)) != number for end in ends):
            message = f"the blob {digest[:12]} holds units of another part of the list"
            return Problem(where, ProblemCode.INVALID_BLOB, message)
        known = before.get(digest)
        if known is not None:
            parts[digest] = known
        else:
            parts[digest] = (blob, _index(blob, number, len(units.blobs)))
            yield
        held += len(blob) // UNIT_BYTES
    if held != units.count:
        message = f"the blobs hold {held} units, the list says {units.count}"
        return Problem("/count", ProblemCode.INVALID_BLOB, message)
    return UnitSet(parts, units)


def _index(blob: bytes, number: int, blobs: int) -> "array[int]":
    """Return where the units begin whose 16 first bits, after those of the blob, are 0 ... 256."""
    firsts = bytearray(len(blob) // UNIT_BYTES * 2)
    firsts[0::2] = blob[0::UNIT_BYTES]
    firsts[1::2] = blob[1::UNIT_BYTES]
    heads = array("H", bytes(firsts))
    if sys.byteorder == "little":
        heads.byteswap()
    width = 8 - (blobs.bit_length() - 1)
    start = number << 8
    places = [bisect_left(heads, start + place << width) * UNIT_BYTES for place in range(256)] + [
        len(blob)
    ]
    return array("H" if len(blob) < 1 << 16 else "I", places)
