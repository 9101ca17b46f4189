"""Packs items into batches that the control plane takes, each with an id.

It knows of an item only that msgspec can write it. A batch is compressed once and sent as it is
until it is stored; its id stays with it, so that it is applied once however often it arrives. The
ids of its halves follow from its own: a batch that is split again, after a restart, gives the same.
"""

import gzip
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import msgspec

from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS

__all__ = ["Batch", "Packed", "new_id", "now_ms", "pack", "split", "uuid7"]

_LEVEL = 5  # of gzip: repetitive JSON shrinks about 15 times; 9 costs twice the time for 5 % more


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch ready to be sent. `body` is compressed JSON of `count` items."""

    id: str
    count: int
    body: bytes = field(repr=False)


class Packed(NamedTuple):
    """Batches of items in order, and how many items there were that cannot be written as JSON."""

    batches: list[Batch]
    unwritable: int


class _Document(msgspec.Struct):
    """Any batch of the contract, its items as they are written."""

    id: str
    instance: str
    sent_ms: int
    items: list[msgspec.Raw]


def uuid7(made_ms: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) of a time and ten random bytes."""
    value = bytearray(made_ms.to_bytes(6, "big") + random)
    value[6] = 0x70 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def now_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """Return a UUIDv7 of now."""
    return uuid7(now_ms(), os.urandom(10))


def pack(items: Iterable[Any], instance: str, sent_ms: int, next_id: Callable[[], str]) -> Packed:
    """Return batches of all the items, none above the contract's bounds.

    Costs some 10 ms for a full batch, which is why the caller does it off the event loop.
    """
    encode = msgspec.json.encode
    packed = Packed([], 0)
    room = MAX_BATCH_BYTES - len(encode(_Document(uuid7(0, bytes(10)), instance, 2**47, [])))
    chosen: list[msgspec.Raw] = []
    size = unwritable = 0
    for item in items:
        try:
            written = encode(item)
        except UnicodeEncodeError:  # half of a character, in the name of a flag for instance
            unwritable += 1
            continue
        length = len(written) + 1
        if chosen and (size + length > room or len(chosen) == MAX_BATCH_ITEMS):
            packed.batches.append(_batch(next_id(), instance, sent_ms, chosen))
            chosen, size = [], 0
        chosen.append(msgspec.Raw(written))
        size += length
    if chosen:
        packed.batches.append(_batch(next_id(), instance, sent_ms, chosen))
    return packed._replace(unwritable=unwritable)


def split(batch: Batch) -> list[Batch]:
    """Return two batches of half the items each; one item cannot be split.

    Raises:
        ValueError: for a body that is no batch, of a file that was tampered with.
    """
    try:
        whole = msgspec.json.decode(_inflate(batch.body), type=_Document)
    except (OSError, EOFError, msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(f"batch {batch.id} cannot be read: {error}") from None
    if len(whole.items) < 2:
        return [batch]
    middle = len(whole.items) // 2
    return [
        _batch(_id_of_half(batch.id, place), whole.instance, whole.sent_ms, part)
        for place, part in enumerate((whole.items[:middle], whole.items[middle:]))
    ]


def _id_of_half(whole: str, place: int) -> str:
    """Return an id that says the same time as the whole one's."""
    made_ms = int(whole[:8] + whole[9:13], 16)
    return uuid7(made_ms, sha256(f"{whole}/{place}".encode()).digest()[:10])


def _batch(batch_id: str, instance: str, sent_ms: int, items: list[msgspec.Raw]) -> Batch:
    body = msgspec.json.encode(_Document(batch_id, instance, sent_ms, items))
    return Batch(batch_id, len(items), gzip.compress(body, _LEVEL, mtime=0))


def _inflate(body: bytes) -> bytes:
    """Return the JSON of a body, no more than a batch may have."""
    with gzip.GzipFile(fileobj=BytesIO(body)) as file:
        document = file.read(MAX_BATCH_BYTES + 1)
    if len(document) > MAX_BATCH_BYTES:
        raise OSError(f"it has more than {MAX_BATCH_BYTES} bytes")
    return document
