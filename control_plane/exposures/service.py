"""Takes a batch of exposures: reads it, checks it, stores it once, counts what became of it.

The balance, in items: `received = stored + duplicate + refused + unavailable`. `refused` batches
are the sender's mistake and come no more; `unavailable` ones got no receipt, are still with the
sender, and come again. `dropped` items had been stored and made way for newer ones.

The counters are plain integers, read by the metrics at scrape time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.errors import BadRequest, Invalid, TooLarge, Unavailable
from control_plane.exposures.model import check_batch
from control_plane.exposures.store import ExposureStore
from control_plane.store.connection import RedisError
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.exposures import ExposureBatch
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_BATCH_ITEMS, Receipt

__all__ = ["ExposureCounts", "ExposureService"]

_RETRY_AFTER_S = 5.0


@dataclass(slots=True)
class ExposureCounts:
    """Items since this process started; a batch that cannot be read counts none."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    refused: int = 0
    unavailable: int = 0
    dropped: int = 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ExposureService:
    """The exposures of all environments."""

    def __init__(self, store: ExposureStore, now_ms: Callable[[], int] = _now_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self.counts = ExposureCounts()

    async def accept(self, project: str, environment: str, body: bytes) -> Receipt:
        """Store a batch and return how it went; a receipt means that it is on Redis.

        Raises:
            BadRequest, Invalid: for a document that is no batch, with what is wrong.
            TooLarge: for too many items; smaller batches would be taken.
            Unavailable: when Redis did not answer; the same batch may be sent again.
        """
        batch, problems = decode(body, ExposureBatch)
        if batch is None:
            raise _unreadable(problems)
        items = len(batch.items)
        self.counts.received += items
        problems = check_batch(batch)
        if problems:
            self.counts.refused += items
            if items > MAX_BATCH_ITEMS:
                raise TooLarge(
                    f"{items} items, at most {MAX_BATCH_ITEMS} are taken; split the batch",
                    code="batch_too_large",
                    problems=problems,
                )
            raise _invalid(problems)
        try:
            stored = await self._store.apply(
                project, environment, batch.id, batch.instance, items, body, self._now_ms()
            )
        except BaseException as error:  # a sender that hung up too: it sends the batch again
            self.counts.unavailable += items
            if not isinstance(error, RedisError):
                raise
            raise Unavailable(
                "exposures cannot be stored now; send the batch again, with the same id",
                retry_after_s=_RETRY_AFTER_S,
            ) from error
        self.counts.dropped += stored.dropped
        if stored.duplicate:
            self.counts.duplicate += items
        else:
            self.counts.stored += items
        return Receipt(batch.id, 0 if stored.duplicate else items, stored.duplicate)


def _unreadable(problems: list[Problem]) -> BadRequest | Invalid:
    if problems[0].code in (ProblemCode.MALFORMED_JSON, ProblemCode.TOO_DEEP):
        return BadRequest("the body is not JSON", code="malformed_json", problems=problems)
    return _invalid(problems)


def _invalid(problems: list[Problem]) -> Invalid:
    first = problems[0]
    return Invalid(f"{first.pointer or 'the batch'}: {first.message}", problems=problems)
