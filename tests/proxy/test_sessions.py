"""A name with several addresses: sidecars begin at all of them, and find those that are new."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import ClientSession, web
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.sessions import Shuffled, make_session

NAME = "replicas.test"
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class Names(AbstractResolver):
    """A name server for one name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses, always in the same order."""
        assert host == NAME
        self.asked += 1
        return [_result(address, port) for address in self.addresses]

    async def close(self) -> None:
        """Nothing is open."""


def _result(address: str, port: int = 0) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=NAME, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
    )


@asynccontextmanager
async def replicas(*addresses: str) -> AsyncIterator[int]:
    """Run a server on each address, all on one port, that says which it is."""
    async with AsyncExitStack() as stack:
        port = 0
        for address in addresses:

            async def say(_: web.Request, address: str = address) -> web.Response:
                return web.Response(text=address, headers={"Connection": "close"})

            app = web.Application()
            app.router.add_get("/", say)
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, address, port).start()
            port = runner.addresses[0][1]
        yield port


async def ask(session: ClientSession, port: int) -> str:
    """Return which replica answers."""
    async with session.get(f"http://{NAME}:{port}/") as answer:
        return await answer.text()


async def test_sidecars_begin_at_all_addresses_of_a_name() -> None:
    """Though the name server says them in one order to all."""
    begun: Counter[str] = Counter()
    async with replicas(ONE, TWO) as port:
        for _ in range(40):
            async with make_session(Names(ONE, TWO)) as session:
                begun[await ask(session, port)] += 1
    assert set(begun) == {ONE, TWO}


async def test_an_address_that_does_not_answer_is_passed_over_in_the_same_attempt() -> None:
    """Nobody has to wait for a replica that is gone while its name is still known."""
    async with replicas(ONE) as port:
        for _ in range(10):
            async with make_session(Names(THREE, ONE, TWO)) as session:
                assert await ask(session, port) == ONE


async def test_a_replica_that_was_replaced_is_found() -> None:
    """The name is asked for again after a while, not only when a process starts."""
    names = Names(ONE)
    async with replicas(ONE, TWO) as port, make_session(names, names_s=0.1) as session:
        assert await ask(session, port) == ONE
        assert await ask(session, port) == ONE
        assert names.asked == 1
        names.addresses = (TWO,)
        async with asyncio.timeout(10):
            while await ask(session, port) != TWO:  # noqa: ASYNC110 - a name server tells nobody
                await asyncio.sleep(0.02)
        assert names.asked >= 2


async def test_the_order_of_families_stays() -> None:
    """Which of IPv6 and IPv4 is tried first is the system's to say."""
    given = ("::1", ONE, "::2", TWO)
    for _ in range(20):
        found = [each["host"] for each in await Shuffled(Names(*given)).resolve(NAME)]
        assert sorted(found) == sorted(given)
        assert {*found[:2]} == {"::1", "::2"}
