"""The HTTP session that all of a sidecar shares, and how it takes the addresses behind a name.

A name may stand for several replicas. The system's resolver puts their addresses in an order that
is much the same for all hosts of a network (RFC 6724), so each sidecar shuffles them, within each
family, or all would begin with one replica. If the first does not answer, aiohttp tries the others
in the same attempt, and it asks for the name again after `_NAMES_S`: a replica that was replaced is
found no later than that.
"""

import random
import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["Shuffled", "make_session"]

_NAMES_S = 10  # below the longest backoff, so that each of the long attempts looks again


class Shuffled(AbstractResolver):
    """Another resolver's addresses in any order, those of the family it names first still first."""

    def __init__(
        self,
        resolver: AbstractResolver | None = None,
        shuffle: Callable[[list[ResolveResult]], None] = random.shuffle,
    ) -> None:
        self._resolver = resolver or aiohttp.ThreadedResolver()
        self._shuffle = shuffle

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        found = await self._resolver.resolve(host, port, family)
        families = [each["family"] for each in found]
        self._shuffle(found)
        return sorted(found, key=lambda each: families.index(each["family"]))

    async def close(self) -> None:
        """Let go of the other resolver."""
        await self._resolver.close()


def make_session(
    resolver: AbstractResolver | None = None, names_s: float = _NAMES_S
) -> aiohttp.ClientSession:
    """Return a session; it is the caller's to close. Names are asked for again after `names_s`."""
    connector = aiohttp.TCPConnector(
        resolver=Shuffled(resolver),
        ttl_dns_cache=names_s,  # type: ignore[arg-type]  # compared with a float
    )
    return aiohttp.ClientSession(connector=connector)
