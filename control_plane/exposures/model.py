"""What makes a batch of exposures acceptable, and in which shard it belongs. Pure.

The shape is the contract's; here is what the shape cannot say. A batch is taken or refused as a
whole, because its id stands for the whole.
"""

import re
from zlib import crc32

from proxy.contract.codes import ProblemCode
from proxy.contract.exposures import ExposureBatch
from proxy.contract.problems import Problem, pointer
from proxy.contract.reports import MAX_BATCH_ITEMS

__all__ = ["SHARDS", "batch_hour", "check_batch", "shard_of"]

SHARDS = 8
"""Streams that the exposures of one environment are spread over, each on a slot of its own in a
cluster. Changing it sends retries under way to another shard, where their id is not known."""

_MAX_PROBLEMS = 100
_MAX_MS = 1 << 48  # what a UUIDv7 can say; the year 10889
_MAX_COUNT = 1 << 53
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HOUR_MS = 3_600_000


def check_batch(batch: ExposureBatch) -> list[Problem]:
    """Return what is wrong with a batch of good shape, the first hundred problems of it."""
    problems = []
    if not _UUID7.fullmatch(batch.id):
        message = f"{batch.id[:64]!r} is not a UUIDv7 in lower case"
        hint = "make a new one for each batch, and keep it when the batch is sent again"
        problems.append(Problem("/id", ProblemCode.WRONG_TYPE, message, hint))
    if not 0 < len(batch.instance) <= 256:
        message = f"{len(batch.instance)} characters, from 1 to 256 are taken"
        problems.append(Problem("/instance", ProblemCode.OUT_OF_RANGE, message))
    if len(batch.items) > MAX_BATCH_ITEMS:
        message = f"{len(batch.items)} items, at most {MAX_BATCH_ITEMS} are taken"
        problems.append(Problem("/items", ProblemCode.TOO_MANY, message, "split the batch"))
    for index, item in enumerate(batch.items):
        # One comparison decides for a good item: batches are large and nearly always good.
        if 0 < item.count < _MAX_COUNT and 0 < item.first_seen_ms < _MAX_MS and item.revision >= 0:
            continue
        for member, low, high in (
            ("count", 1, _MAX_COUNT),
            ("first_seen_ms", 1, _MAX_MS),
            ("revision", 0, _MAX_COUNT),
        ):
            value = getattr(item, member)
            if not low <= value < high:
                message = f"{value} is not from {low} to {high - 1}"
                where = pointer("items", index, member)
                problems.append(Problem(where, ProblemCode.OUT_OF_RANGE, message))
        if len(problems) >= _MAX_PROBLEMS:
            break
    return problems[:_MAX_PROBLEMS]


def shard_of(batch_id: str) -> int:
    """Return the shard of a batch; the same one however often the batch is sent."""
    return crc32(batch_id.encode()) % SHARDS


def batch_hour(batch_id: str) -> int:
    """Return the hour, since 1970, at which a batch with this UUIDv7 was made."""
    return int(batch_id[:8] + batch_id[9:13], 16) // _HOUR_MS
