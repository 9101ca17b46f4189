"""One evaluation port with the definitions of `server.py` for each test that asks for it."""

from collections.abc import AsyncIterator

import pytest

from tests.proxy.ofrep.server import Server, keys, running_server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """An open port."""
    async with running_server() as running:
        yield running


@pytest.fixture
async def keyed() -> AsyncIterator[Server]:
    """A port whose snapshot holds a server, a client and an expired key."""
    async with running_server(more=keys()) as running:
        yield running
