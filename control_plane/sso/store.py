"""One-time codes in Redis: kept for a minute, taken once."""

from typing import Any

import msgspec

from control_plane.store.connection import Connections
from control_plane.store.keys import LOGIN

__all__ = ["Grant", "SsoStore"]


class Grant(msgspec.Struct, frozen=True):
    """Who may have a session, how they proved themselves, and the digest of the verifier."""

    user: str
    challenge: str
    methods: tuple[str, ...]


class SsoStore:
    """The codes on one Redis, by their hashes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._redis: Any = connections.commands

    async def keep(self, code_hash: str, grant: Grant, life_s: int) -> None:
        """Keep what a code is good for; raises RedisError."""
        key, data = f"{LOGIN}exchange:{code_hash}", msgspec.json.encode(grant)
        await self._connections.run("exchange", lambda: self._redis.set(key, data, ex=life_s))

    async def take(self, code_hash: str) -> Grant | None:
        """Return what a code is good for and forget it; None when there is none. Of two who ask
        at a time one gets it. Raises RedisError.
        """
        key = f"{LOGIN}exchange:{code_hash}"

        async def read() -> bytes | None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(key)
                pipe.delete(key)
                found: bytes | None = (await pipe.execute())[0]
                return found

        data = await self._connections.run("exchange", read)
        return None if data is None else msgspec.json.decode(data, type=Grant)
