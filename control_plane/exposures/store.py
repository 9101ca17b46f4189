"""Exposures in Redis: each batch applied once, in one atomic step, within a bound of bytes.

A shard of an environment (`model.shard_of`) is a stream with a batch an entry, as the sidecar sent
it; its keys are `store.keys.ExposureKeys` and lie in one slot.

An id is remembered with the others of its hour, the hour that is in the id itself. The set lives
for `EXPOSURES_SEEN_DAYS` after the last batch was added to it: so a batch that comes again within
that time is known, also one that was spooled for weeks before it came first.

A shard holds at most `MAX_SHARD_BYTES`; the oldest batches make way, and how many items that cost
is returned, to be counted. Whoever takes entries out of a stream takes their bytes and items out of
`size` in the same step.
"""

from typing import Any, NamedTuple

from control_plane.exposures.model import batch_hour, shard_of
from control_plane.store.connection import Connections
from control_plane.store.keys import EXPOSURES_SEEN_DAYS, ExposureKeys

__all__ = ["MAX_SHARD_BYTES", "ExposureStore", "Stored"]

_SEEN_FOR_S = EXPOSURES_SEEN_DAYS * 24 * 3600

MAX_SHARD_BYTES = 64 * 1024 * 1024
"""Half a gigabyte for an environment; at 250 bytes an item about two million of them."""

_APPLY = """
local stream, seen, size = KEYS[1], KEYS[2], KEYS[3]
local id, body, items = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('SISMEMBER', seen, id) == 1 then return {1, 0} end
-- The first write: where memory is refused it fails, and nothing has been done.
local entry = redis.call('XADD', stream, '*', 'id', id, 'instance', ARGV[4], 'count', items,
  'received_ms', ARGV[5], 'batch', body)
redis.call('SADD', seen, id)
redis.call('EXPIRE', seen, ARGV[6])
redis.call('HINCRBY', size, 'items', items)
local bytes = redis.call('HINCRBY', size, 'bytes', #body)
local dropped = 0
while bytes > tonumber(ARGV[7]) do
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if not oldest or oldest[1] == entry then break end
  local fields = oldest[2]
  local count, length = 0, 0
  for i = 1, #fields, 2 do
    if fields[i] == 'count' then count = tonumber(fields[i + 1]) end
    if fields[i] == 'batch' then length = #fields[i + 1] end
  end
  redis.call('XDEL', stream, oldest[1])
  redis.call('HINCRBY', size, 'items', -count)
  bytes = redis.call('HINCRBY', size, 'bytes', -length)
  dropped = dropped + count
end
return {0, dropped}
"""


class Stored(NamedTuple):
    """What became of a batch: new or known, and how many items of older ones made way for it."""

    duplicate: bool
    dropped: int


class ExposureStore:
    """The exposures of all environments, on one Redis."""

    def __init__(self, connections: Connections, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        self._connections = connections
        self._apply = connections.commands.register_script(_APPLY)
        self._max_shard_bytes = max_shard_bytes

    async def apply(
        self,
        project: str,
        environment: str,
        batch_id: str,
        instance: str,
        items: int,
        body: bytes,
        received_ms: int,
    ) -> Stored:
        """Store a batch unless it was stored before; when this returns Redis has acknowledged it.

        Raises:
            RedisError: when it is not known whether the batch was stored. Sending it again
                is safe.
        """
        keys = ExposureKeys(project, environment, shard_of(batch_id))
        names = (keys.stream, keys.seen(batch_hour(batch_id)), keys.size)
        arguments: tuple[Any, ...] = (
            batch_id,
            body,
            items,
            instance,
            received_ms,
            _SEEN_FOR_S,
            self._max_shard_bytes,
        )
        duplicate, dropped = await self._connections.run(
            "exposures", lambda: self._apply(keys=names, args=arguments)
        )
        return Stored(bool(duplicate), dropped)
