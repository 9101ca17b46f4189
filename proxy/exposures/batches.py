"""Packs exposures into batches that the control plane takes, each with an id. Pure.

The clock and the randomness of ids are arguments. A batch is compressed once and sent as it is
until it is stored; its id stays with it, so that it is applied once however often it arrives.
"""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from proxy.contract.exposures import Exposure, ExposureBatch
from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS

__all__ = ["Batch", "pack", "split", "uuid7"]

_LEVEL = 5  # of gzip: repetitive JSON shrinks about 15 times; 9 costs twice the time for 5 % more


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch ready to be sent. `body` is compressed JSON of `count` exposures."""

    id: str
    count: int
    body: bytes = field(repr=False)


def uuid7(now_ms: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) of a time and ten random bytes."""
    value = bytearray(now_ms.to_bytes(6, "big") + random)
    value[6] = 0x70 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def pack(
    items: list[Exposure], instance: str, now_ms: int, new_id: Callable[[], str]
) -> Iterator[Batch]:
    """Yield batches of all the items, in order, none above the contract's bounds.

    Costs some 10 ms for a full batch, which is why the caller does it off the event loop.
    """
    encode = msgspec.json.encode
    chosen: list[Exposure] = []
    room = _room(instance)
    size = 0
    for item in items:
        length = len(encode(item)) + 1
        if chosen and (size + length > room or len(chosen) == MAX_BATCH_ITEMS):
            yield _batch(chosen, instance, now_ms, new_id())
            chosen, size = [], 0
        chosen.append(item)
        size += length
    if chosen:
        yield _batch(chosen, instance, now_ms, new_id())


def split(batch: Batch, new_id: Callable[[], str]) -> list[Batch]:
    """Return two batches of half the items each, with ids of their own; one item cannot be split.

    Raises:
        ValueError: for a body that is no batch, of a file that was tampered with.
    """
    try:
        whole = msgspec.json.decode(gzip.decompress(batch.body), type=ExposureBatch)
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise ValueError(f"batch {batch.id} cannot be read: {error}") from None
    if len(whole.items) < 2:
        return [batch]
    middle = len(whole.items) // 2
    return [
        _batch(part, whole.instance, whole.sent_ms, new_id())
        for part in (whole.items[:middle], whole.items[middle:])
    ]


def _batch(items: list[Exposure], instance: str, now_ms: int, batch_id: str) -> Batch:
    body = msgspec.json.encode(ExposureBatch(batch_id, instance, now_ms, items))
    return Batch(batch_id, len(items), gzip.compress(body, _LEVEL, mtime=0))


def _room(instance: str) -> int:
    """Return the bytes that a batch has for its items."""
    empty = ExposureBatch(uuid7(0, bytes(10)), instance, 2**47, [])
    return MAX_BATCH_BYTES - len(msgspec.json.encode(empty))
