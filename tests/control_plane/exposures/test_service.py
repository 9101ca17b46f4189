"""A batch from bytes to a receipt, and the balance of what became of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.errors import ApiError, BadRequest, Invalid, TooLarge, Unavailable
from control_plane.exposures.service import ExposureCounts, ExposureService
from control_plane.exposures.store import ExposureStore
from control_plane.store.connection import Connections, RedisLimits
from proxy.contract.reports import MAX_BATCH_ITEMS, Receipt
from tests.control_plane.exposures.builders import batch, encoded, item
from tests.support.redis import RedisServer


@pytest.fixture
async def service(redis_url: str) -> AsyncIterator[ExposureService]:
    """A service on an empty Redis."""
    connections = Connections(redis_url, RedisLimits())
    yield ExposureService(ExposureStore(connections))
    await connections.close()


async def refusal(service: ExposureService, body: bytes) -> ApiError:
    """Return what a body is refused with."""
    with pytest.raises(ApiError) as caught:
        await service.accept("p", "e", body)
    return caught.value


async def test_a_receipt_says_how_many_items_were_stored(service: ExposureService) -> None:
    """With the id of the batch."""
    document = batch(item(), item(unit="user-2"))
    receipt = await service.accept("p", "e", encoded(document))
    assert receipt == Receipt(document["id"], 2, duplicate=False)


async def test_a_second_receipt_says_that_it_was_stored_before(service: ExposureService) -> None:
    """Which is as good for the sender."""
    document = batch(item(), item(unit="user-2"))
    await service.accept("p", "e", encoded(document))
    receipt = await service.accept("p", "e", encoded(document))
    assert receipt == Receipt(document["id"], 0, duplicate=True)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"id": nope}'])
async def test_what_is_no_json_is_a_bad_request(service: ExposureService, body: bytes) -> None:
    """400 and why."""
    error = await refusal(service, body)
    assert isinstance(error, BadRequest)
    assert error.problems


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
    service: ExposureService, document: Any, where: str
) -> None:
    """422: sending it again is no use."""
    error = await refusal(service, encoded(document))
    assert isinstance(error, Invalid)
    assert error.problems[0].pointer == where


async def test_too_many_items_want_to_be_split(service: ExposureService) -> None:
    """413: half of them would be taken."""
    document = batch(*[item()] * (MAX_BATCH_ITEMS + 1))
    assert isinstance(await refusal(service, encoded(document)), TooLarge)


async def test_every_item_received_is_accounted_for(service: ExposureService) -> None:
    """The balance of the module's header."""
    good = encoded(batch(item(), item(unit="user-2")))
    await service.accept("p", "e", good)
    await service.accept("p", "e", good)
    await refusal(service, encoded(batch(item(), item(), item(count=0))))
    assert service.counts == ExposureCounts(received=7, stored=2, duplicate=2, refused=3)


async def test_without_redis_the_batch_stays_with_its_sender(redis_server: RedisServer) -> None:
    """503 in bounded time; afterwards the same batch is stored, once."""
    connections = Connections(redis_server.url, RedisLimits())
    service = ExposureService(ExposureStore(connections))
    body = encoded(batch())
    redis_server.kill()
    error = await refusal(service, body)
    assert isinstance(error, Unavailable)
    assert error.headers["Retry-After"] == "5"
    redis_server.restart()
    assert not (await service.accept("p", "e", body)).duplicate
    assert service.counts == ExposureCounts(received=2, stored=1, unavailable=1)
    await connections.close()


async def test_a_sender_that_hangs_up_is_accounted_for(redis_server: RedisServer) -> None:
    """It got no receipt, and sends the batch again."""
    connections = Connections(redis_server.url, RedisLimits())
    service = ExposureService(ExposureStore(connections))
    redis_server.freeze()
    sent = asyncio.create_task(service.accept("p", "e", encoded(batch())))
    await asyncio.sleep(0.05)
    sent.cancel()
    await asyncio.wait([sent])
    assert sent.cancelled()
    assert service.counts == ExposureCounts(received=1, unavailable=1)
    redis_server.thaw()
    await connections.close()


async def test_a_redis_that_hangs_is_not_waited_for(redis_server: RedisServer) -> None:
    """A connection that stays open and silent is a 503 as well."""
    limits = RedisLimits(connect_s=0.1, command_s=0.1)
    connections = Connections(redis_server.url, limits)
    service = ExposureService(ExposureStore(connections))
    await service.accept("p", "e", encoded(batch()))
    redis_server.freeze()
    assert isinstance(await refusal(service, encoded(batch())), Unavailable)
    redis_server.thaw()
    await service.accept("p", "e", encoded(batch()))
    await connections.close()
