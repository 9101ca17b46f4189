"""Long lists of units as the control plane keeps them: blob by blob, text beside hashes. Pure.

Sidecars get hashes, people want to read what they wrote. So Redis has the units of each blob as a
JSON array, in the order of their hashes; from it the blob is made again, and its digest says
whether all of it is there. Blobs are in the memory of every replica, units are not.

Work on many units is a generator that yields between pieces of some milliseconds at most.
"""

from collections.abc import Generator, Mapping
from typing import NamedTuple

import msgspec

from proxy.contract.units import digest_of, hash_unit

__all__ = ["StoredBlob", "blob_of", "decode_units", "stored_blob"]

_UNITS_A_STEP = 1_000

_decoder = msgspec.json.Decoder(list[str])
_encode = msgspec.json.Encoder().encode


class StoredBlob(NamedTuple):
    """One blob of a list: what sidecars get, and the same units as Redis keeps them."""

    hashes: bytes
    units: bytes


def stored_blob(units: Mapping[bytes, str]) -> StoredBlob:
    """Return the blob of units, given by their hashes."""
    order = sorted(units)
    return StoredBlob(b"".join(order), _encode([units[unit_hash] for unit_hash in order]))


def decode_units(data: bytes) -> list[str] | None:
    """Return the units of a stored blob; None when it cannot be read."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def blob_of(digest: str, data: bytes) -> Generator[None, None, bytes | None]:
    """Return the hashes of a stored blob, or None when it is not the one of that digest."""
    units = decode_units(data)
    if units is None:
        return None
    yield
    hashes: list[bytes] = []
    for start in range(0, len(units), _UNITS_A_STEP):
        hashes += [hash_unit(unit) or b"" for unit in units[start : start + _UNITS_A_STEP]]
        yield
    blob = b"".join(hashes)
    return blob if digest_of(blob) == digest else None
