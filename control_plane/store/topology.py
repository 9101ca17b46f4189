"""Which server has a key now: the one there is, the master that Sentinels name, or a slot's owner.

A topology answers from memory and is asked on each command; `refresh` asks anew, many callers at
once, and `doubt` has that done aside. Whoever uses it calls one of the two when a server was not
what it was taken for. All of it ends within a few connect time-outs, and no more than one question
is under way.

- Sentinels: of the answers of a majority the one with the highest configuration epoch is taken, so
  that a Sentinel that has not heard of a fail-over yet does not lead back. They are asked again
  every two seconds while commands run: a master that others replaced, but that still answers us, is
  left before it is found out by what it loses.
- Cluster: the map of slots comes from the first of some nodes to answer; a redirection changes one
  slot at once and has the map read anew.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from time import monotonic
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from control_plane.store.address import Address, RedisAddress, Topology

__all__ = ["Cluster", "Sentinels", "Servers", "Standalone", "servers_of"]

logger = logging.getLogger(__name__)

_SENTINELS_EVERY_S = 2.0
_CLUSTER_EVERY_S = 60.0
_GRACE_S = 0.05  # for those who are not needed any more, so that their connections stay
_NODES_ASKED = 3  # at once for the map of slots, so that one that hangs holds up nobody


class Servers(ABC):
    """The servers of one address. `close` it when done."""

    topology: Topology

    def __init__(self, every_s: float) -> None:
        self.masters: tuple[Address, ...] = ()
        """Those known now."""
        self.changes = 0
        """How often the masters were others than before: fail-overs, mostly."""
        self._every_s = every_s
        self._asked_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def owner(self, slot: int | None) -> Address:
        """Return the server that has a slot; of no slot in particular, some master.

        Raises:
            RedisError: nobody can be asked, or no server has it.
        """
        if not self.masters:
            await self.refresh()
        elif monotonic() - self._asked_at > self._every_s:
            self.doubt()
        return self._owner(slot)

    async def refresh(self) -> None:
        """Ask who the masters are.

        Raises:
            RedisError: nobody answers.
        """
        # Shielded, so that a caller who gives up leaves it to the others.
        await asyncio.shield(self._ask_once())

    def doubt(self) -> None:
        """Have it asked soon who the masters are, without waiting for it."""
        self._ask_once()

    def moved(self, slot: int, address: Address) -> None:
        """Take note that a slot has another owner."""
        self.doubt()

    def addresses(self) -> list[str]:
        """Return the masters as people write them."""
        return [f"{host}:{port}" if port else host for host, port in self.masters]

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _ask_once(self) -> "asyncio.Task[None]":
        if self._asking is None or self._asking.done():
            self._asked_at = monotonic()
            self._asking = asyncio.create_task(self._ask(), name="redis servers")
            self._asking.add_done_callback(_note)
        return self._asking

    @abstractmethod
    def _owner(self, slot: int | None) -> Address: ...

    @abstractmethod
    async def _ask(self) -> None: ...

    def _found(self, masters: Iterable[Address]) -> None:
        found = tuple(sorted(set(masters)))
        before, self.masters = self.masters, found
        if before and found != before:
            self.changes += 1
            logger.warning("masters of Redis are now %s", ", ".join(self.addresses()))


class Standalone(Servers):
    """One server. Its name may come to mean another: connections are made by name."""

    topology = "standalone"

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(float("inf"))
        self.masters = address.nodes

    def _owner(self, slot: int | None) -> Address:
        return self.masters[0]

    async def _ask(self) -> None:
        return


class Sentinels(Servers):
    """The master that Sentinels name."""

    topology = "sentinel"

    def __init__(self, address: RedisAddress, connect_s: float) -> None:
        super().__init__(_SENTINELS_EVERY_S)
        self._service = address.service
        self._sentinels = _Asked(address.sentinel_options, connect_s)
        self._nodes = address.nodes

    async def close(self) -> None:
        """Stop asking, and leave the Sentinels."""
        await super().close()
        await self._sentinels.close()

    def _owner(self, slot: int | None) -> Address:
        return self.masters[0]

    async def _ask(self) -> None:
        async def ask(client: Any) -> tuple[int, Address]:
            answer = await client.execute_command("SENTINEL", "MASTER", self._service)
            fields = dict(zip(answer[::2], answer[1::2], strict=True))
            epoch = int(fields[b"config-epoch"])
            return epoch, (fields[b"ip"].decode(), int(fields[b"port"]))

        enough = len(self._nodes) // 2 + 1
        answers, errors = await self._sentinels.ask(self._nodes, ask, enough)
        if not answers:
            raise RedisConnectionError(
                f"no Sentinel names the master {self._service!r}: {'; '.join(errors)}"
            )
        self._found([max(answers)[1]])


class Cluster(Servers):
    """The owners of slots."""

    topology = "cluster"

    def __init__(self, address: RedisAddress, connect_s: float) -> None:
        super().__init__(_CLUSTER_EVERY_S)
        self._seeds = address.nodes
        self._known: tuple[Address, ...] = ()
        self._nodes = _Asked(address.options, connect_s)
        self._owners: dict[int, Address] = {}

    async def close(self) -> None:
        """Stop asking, and leave the nodes."""
        await super().close()
        await self._nodes.close()

    def moved(self, slot: int, address: Address) -> None:
        """Take note that a slot has another owner, and have the map read anew."""
        self._owners[slot] = address
        if address not in self.masters:
            self._found((*self.masters, address))
        self.doubt()

    def _owner(self, slot: int | None) -> Address:
        if slot is None:
            return random.choice(self.masters)  # noqa: S311 - spreads load, guards nothing
        try:
            return self._owners[slot]
        except KeyError:
            raise RedisConnectionError(f"no node of the Cluster has slot {slot}") from None

    async def _ask(self) -> None:
        # Those that answered last, in another order each time, then those of the setting.
        known = random.sample(self._known, len(self._known))
        nodes = [*known, *(node for node in self._seeds if node not in self._known)]
        errors: list[str] = []
        for start in range(0, len(nodes), _NODES_ASKED):
            some = nodes[start : start + _NODES_ASKED]
            answers, failed = await self._nodes.ask(some, _slots_of, 1)
            errors += failed
            if answers:
                owners, others = answers[0]
                self._owners = owners
                self._known = tuple({*owners.values(), *others})
                self._found(owners.values())
                await self._nodes.forget({*self._known, *self._seeds})
                return
        raise RedisConnectionError(f"no node of the Cluster says where slots are: {errors[:6]}")


async def _slots_of(client: Any) -> tuple[dict[int, Address], list[Address]]:
    """Return the owners of slots, and the replicas, as one node knows them."""
    asked = client.connection_pool.connection_kwargs["host"]
    owners: dict[int, Address] = {}
    others: list[Address] = []
    for first, last, *nodes in await client.execute_command("CLUSTER", "SLOTS"):
        # A node that does not know its own name leaves it out: it is the one that was asked.
        addresses = [((node[0] or b"").decode() or asked, int(node[1])) for node in nodes]
        owners.update(dict.fromkeys(range(first, last + 1), addresses[0]))
        others += addresses[1:]
    if not owners:
        raise RedisConnectionError("no node has a slot yet")
    return owners, others


class _Asked:
    """Connections to those who are asked where servers are, one each, kept open."""

    def __init__(self, options: Mapping[str, Any], timeout_s: float) -> None:
        self._options = dict(options)
        self._timeout_s = timeout_s
        self._clients: dict[Address, redis.Redis] = {}

    async def ask(
        self,
        nodes: Collection[Address],
        question: Callable[[redis.Redis], Awaitable[Any]],
        enough: int,
    ) -> tuple[list[Any], list[str]]:
        """Ask all at once; return the answers once there are enough, and what the others said."""
        answers: list[Any] = []
        errors: list[str] = []

        async def one(node: Address) -> None:
            where = f"{node[0]}:{node[1]}"
            try:
                async with asyncio.timeout(self._timeout_s):
                    answers.append(await question(self._client(node)))
            except TimeoutError:
                errors.append(f"{where}: no answer in {self._timeout_s:g} s")
            except Exception as error:  # any: what a server answers is not for us to trust
                errors.append(f"{where}: {error or type(error).__name__}")

        tasks = {asyncio.create_task(one(node)) for node in nodes}
        try:
            while tasks and len(answers) < enough:
                _, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=_GRACE_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return answers, errors

    async def forget(self, but: Collection[Address]) -> None:
        """Close connections to nodes that are no more."""
        for node in self._clients.keys() - set(but):
            await self._clients.pop(node).aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self.forget(())

    def _client(self, node: Address) -> redis.Redis:
        if node not in self._clients:
            host, port = node
            pool = redis.BlockingConnectionPool(
                host=host,
                port=port,
                protocol=2,
                max_connections=1,
                timeout=self._timeout_s,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),
                **self._options,
            )
            self._clients[node] = redis.Redis.from_pool(pool)
        return self._clients[node]


def _note(task: "asyncio.Task[None]") -> None:
    """Say what a question aside came to nothing for; who waits for it gets the error itself."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("where Redis is could not be asked: %s", error)


def servers_of(address: RedisAddress, connect_s: float) -> Servers:
    """Return the servers of an address."""
    if address.topology == "sentinel":
        return Sentinels(address, connect_s)
    if address.topology == "cluster":
        return Cluster(address, connect_s)
    return Standalone(address)
