"""A batch from bytes to a receipt, and the counts of what became of it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.documents import Packed
from control_plane.errors import (
    ApiError,
    BadRequest,
    Invalid,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from control_plane.exposures.model import check_exposure
from control_plane.reports.model import Kind
from control_plane.reports.service import Intake
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.reports import ReportLimits, ReportStore
from proxy.contract.exposures import ExposureBatch
from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, Receipt
from tests.control_plane.reports.builders import batch, encoded, item, uuid7
from tests.support.redis import RedisServer

DAY_MS = 86_400_000
NOW_MS = 1_796_000_000_000


def intake_of(connections: Connections, limits: ReportLimits | None = None) -> Intake:
    """Return a way in for exposures, at a fixed time."""
    store = ReportStore(connections, limits)
    return Intake(Kind.EXPOSURES, ExposureBatch, check_exposure, store, now_ms=lambda: NOW_MS)


@pytest.fixture
async def connections(redis_url: str) -> AsyncIterator[Connections]:
    """Connections to an empty Redis."""
    opened = Connections(redis_url, RedisLimits())
    yield opened
    await opened.close()


@pytest.fixture
def intake(connections: Connections) -> Intake:
    """A way in on an empty Redis."""
    return intake_of(connections)


def made(at_ms: int, *items: dict[str, Any]) -> dict[str, Any]:
    """Return a batch whose id says this time."""
    return batch(*items, id=uuid7(at_ms))


def packed(document: Any) -> Packed:
    """Return a batch as a sidecar sends it."""
    return Packed(gzip.compress(encoded(document)), True)


async def accept(intake: Intake, document: Any) -> Receipt:
    """Send a batch."""
    return await intake.accept("p", "e", packed(document))


async def refusal(intake: Intake, body: Packed) -> ApiError:
    """Return what a body is refused with."""
    with pytest.raises(ApiError) as caught:
        await intake.accept("p", "e", body)
    return caught.value


async def test_a_receipt_says_how_many_items_were_stored(intake: Intake) -> None:
    """With the id of the batch."""
    document = made(NOW_MS, item(), item(unit="user-2"))
    assert await accept(intake, document) == Receipt(document["id"], 2, duplicate=False)


async def test_a_second_receipt_says_that_it_was_stored_before(intake: Intake) -> None:
    """Which is as good for the sender."""
    document = made(NOW_MS, item(), item(unit="user-2"))
    await accept(intake, document)
    assert await accept(intake, document) == Receipt(document["id"], 0, duplicate=True)


@pytest.mark.parametrize("made_ms", [NOW_MS - 7 * DAY_MS - 1, NOW_MS + DAY_MS + 1])
async def test_a_batch_of_another_time_is_parked(intake: Intake, made_ms: int) -> None:
    """However often it comes."""
    document = made(made_ms)
    for _ in range(2):
        receipt = await accept(intake, document)
        assert receipt == Receipt(document["id"], 0, duplicate=False, parked=True)


async def test_a_batch_that_was_counted_is_known_when_it_is_too_old(
    connections: Connections,
) -> None:
    """It came in time, its answer was lost, and it came again a day later."""
    document, now_ms = made(NOW_MS - 7 * DAY_MS), [NOW_MS]
    store = ReportStore(connections)
    intake = Intake(Kind.EXPOSURES, ExposureBatch, check_exposure, store, now_ms=lambda: now_ms[0])
    assert (await accept(intake, document)).accepted == 1
    now_ms[0] += DAY_MS
    assert await accept(intake, document) == Receipt(document["id"], 0, duplicate=True)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"id": nope}', b"[" * 20_000])
async def test_what_is_no_json_is_refused_with_the_reason(intake: Intake, body: bytes) -> None:
    """In a thread or not."""
    for raw in (body, body + b" " * 10_000):
        error = await refusal(intake, Packed(raw, False))
        assert isinstance(error, BadRequest | Invalid)
        assert error.problems


@pytest.mark.parametrize("raw", [b"no gzip", gzip.compress(encoded(batch()))[:-12]])
async def test_what_does_not_decompress_is_a_bad_request(intake: Intake, raw: bytes) -> None:
    """Cut, or no gzip at all."""
    assert isinstance(await refusal(intake, Packed(raw, True)), BadRequest)


async def test_a_small_body_that_inflates_is_stopped(intake: Intake) -> None:
    """At the bound, not after a gigabyte."""
    bomb = gzip.compress(b" " * (MAX_BATCH_BYTES + 1))
    error = await refusal(intake, Packed(bomb, True))
    assert isinstance(error, TooLarge)
    assert str(MAX_BATCH_BYTES) in error.detail


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], ""),
        (batch(item(count="3")), "/items/0/count"),
        (batch(item(extra=1)), "/items/0/extra"),
        (batch(extra=1), "/extra"),
        (batch(id="x"), "/id"),
    ],
)
async def test_a_wrong_document_is_refused_with_the_place(
    intake: Intake, document: Any, where: str
) -> None:
    """422: sending it again is no use."""
    error = await refusal(intake, packed(document))
    assert isinstance(error, Invalid)
    assert error.problems[0].pointer == where


async def test_too_many_items_want_to_be_split(intake: Intake) -> None:
    """413, and the bound is named: half of them would be taken."""
    small = item(flag="f", unit="u", unit_attribute="k", reason="", epoch="")
    error = await refusal(intake, packed(made(NOW_MS, *[small] * (MAX_BATCH_ITEMS + 1))))
    assert isinstance(error, TooLarge)
    assert str(MAX_BATCH_ITEMS) in error.detail


async def test_every_item_is_accounted_for(intake: Intake) -> None:
    """The outcomes of the module's header."""
    good = made(NOW_MS, item(), item(unit="user-2"))
    await accept(intake, good)
    await accept(intake, good)
    await accept(intake, made(0))
    await refusal(intake, packed(made(NOW_MS, item(), item(), item(count=0))))
    assert intake.outcomes == {"stored": 2, "duplicate": 2, "parked": 1, "refused": 3}


async def test_a_full_shard_sends_the_batch_back(connections: Connections) -> None:
    """429 with a time to come again, which is not the same for all; what was stored stays."""
    intake = intake_of(connections, ReportLimits(max_items=2))
    refused = []
    for _ in range(200):
        try:
            await accept(intake, made(NOW_MS))
        except TooManyRequests as error:
            refused.append(error)
    assert {error.code for error in refused} == {"reports_full"}
    waits = {error.headers["Retry-After"] for error in refused}
    assert len(waits) > 3
    assert min(map(int, waits)) >= 5
    assert intake.outcomes["stored"] == 16  # two in each of eight shards
    assert intake.outcomes["busy"] == 184


async def test_without_redis_the_batch_stays_with_its_sender(redis_server: RedisServer) -> None:
    """503 in bounded time; afterwards the same batch is stored, once."""
    connections = Connections(redis_server.url, RedisLimits())
    intake, document = intake_of(connections), made(NOW_MS)
    redis_server.kill()
    error = await refusal(intake, packed(document))
    assert isinstance(error, Unavailable)
    assert 5 <= int(error.headers["Retry-After"]) <= 15
    redis_server.restart()
    assert not (await accept(intake, document)).duplicate
    assert intake.outcomes == {"stored": 1, "unavailable": 1}
    await connections.close()


async def test_a_sender_that_hangs_up_is_accounted_for(redis_server: RedisServer) -> None:
    """It got no receipt, and sends the batch again."""
    connections = Connections(redis_server.url, RedisLimits())
    intake = intake_of(connections)
    redis_server.freeze()
    sent = asyncio.create_task(accept(intake, made(NOW_MS)))
    await asyncio.sleep(0.05)
    sent.cancel()
    await asyncio.wait([sent])
    assert sent.cancelled()
    assert intake.outcomes == {"unavailable": 1}
    redis_server.thaw()
    await connections.close()


async def test_a_redis_that_hangs_is_not_waited_for(redis_server: RedisServer) -> None:
    """A connection that stays open and silent is a 503 as well."""
    connections = Connections(redis_server.url, RedisLimits(connect_s=0.1, command_s=0.1))
    intake = intake_of(connections)
    await accept(intake, made(NOW_MS))
    redis_server.freeze()
    assert isinstance(await refusal(intake, packed(made(NOW_MS))), Unavailable)
    redis_server.thaw()
    await accept(intake, made(NOW_MS))
    await connections.close()
