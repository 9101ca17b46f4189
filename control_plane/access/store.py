"""When keys were used last, in Redis. Keys themselves are records of their project."""

from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.store.connection import Connections
from control_plane.store.keys import ProjectKeys

__all__ = ["LastUsedStore"]

_WRITE = """
for i = 1, #ARGV, 2 do
  local stored = tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or 0)
  if tonumber(ARGV[i + 1]) > stored and redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
return 1
"""
"""KEYS: keys, keys_used. ARGV: ids of keys, each followed by Unix milliseconds. Of a key that is
gone nothing is kept; an earlier time changes nothing."""


class LastUsedStore:
    """The hash `keys_used` of each project."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._redis: Any = connections.commands
        self._write = self._redis.register_script(_WRITE, waited=False)

    async def write(self, project: str, times: Mapping[str, int]) -> None:
        """Keep times, in Unix milliseconds by id of the key, that are later than those kept.

        Raises RedisError.
        """
        names = ProjectKeys(project)
        arguments = [part for item in times.items() for part in item]
        await self._connections.run(
            "keys_used", lambda: self._write([names.keys, names.keys_used], arguments)
        )

    async def read(self, project: str, ids: Sequence[str]) -> dict[str, int]:
        """Return the times that are kept of some keys. Raises RedisError."""
        if not ids:
            return {}
        name = ProjectKeys(project).keys_used
        found = await self._connections.run("keys_used", lambda: self._redis.hmget(name, list(ids)))
        return {k: int(at) for k, at in zip(ids, found, strict=True) if at is not None}
