"""Usage in Redis: small sums, applied in the step that takes the batch.

All of an environment is in one slot. A flag has a hash for each part of each span (`model.SPANS`),
which expires, and a place in one hash that tells when it was evaluated last.
"""

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any

import msgspec

from control_plane.store.connection import Connections
from control_plane.store.keys import UsageKeys
from control_plane.store.reports import KNOWN, Arrival, Fate
from control_plane.usage.model import AddedUp, Span, Where

__all__ = ["MAX_FIELDS", "UsageStore"]

MAX_FIELDS = 5_000
"""Counts in a part of a flag; a week of 20 variants has 3,360. What is beyond is of others."""

_APPLY = (
    """
local seen, totals, last = KEYS[1], KEYS[2], KEYS[3]
"""
    + KNOWN
    + """
local items, before = tonumber(ARGV[3]), known()
if elsewhere then return try_again() end
if before then
  total('received', items)
  total('deduplicated', items)
  return 1
end
local times, parts = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
remember(seen)
total('received', items)
total('delivered', items)
for i = 1, #times, 2 do
  local before = redis.call('HGET', last, times[i])
  if not before or tonumber(before) < times[i + 1] then
    redis.call('HSET', last, times[i], string.format('%.0f', times[i + 1]))
  end
end
for i = 1, #parts, 2 do
  local part, fields = KEYS[4 + (i - 1) / 2], parts[i + 1]
  local room = tonumber(ARGV[6]) - redis.call('HLEN', part)
  for f = 1, #fields, 2 do
    local field = fields[f]
    if room * 2 < #fields and redis.call('HEXISTS', part, field) == 0 then
      if redis.call('HLEN', part) >= tonumber(ARGV[6]) then
        field = string.match(field, '^%d+') .. ':'
      end
    end
    redis.call('HINCRBY', part, field, string.format('%.0f', fields[f + 1]))
  end
  redis.call('EXPIREAT', part, string.format('%.0f', parts[i]))
end
return 0
"""
)
"""KEYS: seen, totals, last, parts. ARGV: number, seconds to remember it, items, and as MessagePack:
flags and when they were evaluated last; of each part when it expires, and its fields with what is
to be added; bound of fields. Returns a `Fate`."""

_encode = msgspec.msgpack.Encoder().encode


class UsageStore:
    """The usage of all environments."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        # Replies are bytes, as asked for; redis-py's types are of all protocols and decodings.
        self._redis: Any = connections.commands
        self._apply = self._redis.register_script(_APPLY)

    async def apply(self, keys: UsageKeys, hour: int, arrival: Arrival, added: AddedUp) -> Fate:
        """Add a batch to the sums, unless that was done before.

        Raises:
            RedisError: when it is not known whether it was. Sending it again is safe.
        """
        times = [item for pair in added.last.items() for item in pair]
        parts: list[Any] = []
        for where, fields in added.counts.items():
            counts = [item for pair in fields.items() for item in pair]
            parts += (where.expires_at_s, counts)
        args = (
            *(arrival.number, arrival.seen_for_s, arrival.items),
            *(_encode(times), _encode(parts), MAX_FIELDS),
        )
        names = (
            *(keys.seen(hour), keys.totals, keys.last),
            *(keys.part(_name(where)) for where in added.counts),
        )
        return Fate(
            await self._connections.run("usage", lambda: self._apply(keys=names, args=args))
        )

    async def last(self, keys: UsageKeys) -> dict[str, int]:
        """Return when each flag that ever was evaluated last, Unix ms."""
        found = await self._connections.run("usage_times", partial(self._redis.hgetall, keys.last))
        return {flag.decode(): int(at_ms) for flag, at_ms in found.items()}

    async def last_of(self, keys: UsageKeys, flags: Collection[str]) -> dict[str, int]:
        """Return when each of these flags was evaluated last, Unix ms; others are left out."""
        if not flags:
            return {}
        names = list(flags)
        found = await self._connections.run(
            "usage_times", partial(self._redis.hmget, keys.last, names)
        )
        return {flag: int(at) for flag, at in zip(names, found, strict=True) if at is not None}

    async def parts(
        self, keys: UsageKeys, span: Span, flag: str, now_ms: int
    ) -> list[tuple[int, dict[str, int]]]:
        """Return the parts of a span of a flag that are not over, each with its counts by field."""
        first, newest = (now_ms - span.kept_ms) // span.part_ms, now_ms // span.part_ms
        # one more: clocks differ
        numbers = range(first, newest + 2)
        found = await asyncio.gather(
            *(
                self._connections.run(
                    "usage_counts",
                    partial(self._redis.hgetall, keys.part(_name(Where(span, flag, part)))),
                )
                for part in numbers
            )
        )
        return [
            (part, {field.decode(): int(count) for field, count in fields.items()})
            for part, fields in zip(numbers, found, strict=True)
        ]


def _name(where: Where) -> str:
    return f"{where.span.name}:{where.flag}:{where.part}"
