"""What batches of exposures, events and usage have in common: their bounds and their receipt.

A batch is `{id, instance, sent_ms, items}`. Its `id`, a UUIDv7, stays with it however often it is
sent, so that it is applied once, and says when it was made.
"""

import msgspec

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_ITEMS",
    "MAX_COUNTED_AGE_DAYS",
    "MAX_LABEL_CHARS",
    "Receipt",
    "Rejected",
]

MAX_BATCH_ITEMS = 5_000
MAX_BATCH_BYTES = 1_000_000
"""Largest batch, uncompressed. Above it the control plane answers 413 and the sidecar splits."""
MAX_LABEL_CHARS = 256
"""Longest attribute, reason and rule id that a client may report; definitions have none longer."""
MAX_COUNTED_AGE_DAYS = 7
"""A batch made earlier, by its id, is parked: nobody could tell whether it was counted before."""


class Rejected(msgspec.Struct, frozen=True):
    """An item of an application's report that was not taken: its place, from 0, and why."""

    place: int
    reason: str


class Receipt(msgspec.Struct, frozen=True):
    """The answer to a batch: it is stored, now or since it came before.

    `accepted` is the number of items that were stored with this request, 0 for a `duplicate`.
    `parked` batches are too old: kept apart, never counted, and not among the accepted.
    """

    id: str
    accepted: int
    duplicate: bool
    parked: bool = False
