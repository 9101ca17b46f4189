"""Events in Redis: counted by name and day as their batch is finished, then kept for a while.

Counters and streams of a shard lie in one slot, so a batch is counted exactly when it is taken out
of the stream, whoever tries how often. What was counted goes on, as it came, to the stream of kept
batches: `KEEP_DAYS` of it and `MAX_KEPT_BYTES` a shard, for whatever joins events to exposures.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from control_plane.events.model import Sum
from control_plane.store.connection import Connections
from control_plane.store.keys import GROUP, EventKeys
from control_plane.store.reports import Entry

__all__ = ["KEEP_DAYS", "MAX_KEPT_BYTES", "MAX_NAMES", "EventStore", "NameFigures"]

KEEP_DAYS = 14
MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_NAMES = 1_000
"""Names that are told apart in a shard; those beyond are counted together, without a name."""

OTHER = "other"
_COUNTED_DAYS = 400
_MAX_DAYS = 450  # days of a name in a shard when those that are over are looked for

_COUNT = """
local stream, totals, kept, names = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local base = string.sub(names, 1, -6) .. 'days:'
local entry, items = ARGV[2], tonumber(ARGV[3])
local body = redis.call('XRANGE', stream, entry, entry)[1]
if redis.call('XACK', stream, ARGV[1], entry) == 0 then return 0 end
if not body then return 0 end
local function total(name, by) return redis.call('HINCRBY', totals, name, by) end
local function batch(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'batch' then return #fields[i + 1] end
  end
  return 0
end

for a = 9, #ARGV, 6 do
  local id, name = ARGV[a], ARGV[a + 1]
  if redis.call('HEXISTS', names, id) == 0 then
    if redis.call('HLEN', names) >= tonumber(ARGV[7]) then id, name = 'other', '' end
    redis.call('HSET', names, id, name)
  end
  local days, day = base .. id, ARGV[a + 2]
  redis.call('HINCRBY', days, day .. ':n', ARGV[a + 3])
  redis.call('HINCRBYFLOAT', days, day .. ':s', ARGV[a + 4])
  redis.call('HINCRBYFLOAT', days, day .. ':q', ARGV[a + 5])
  if redis.call('HLEN', days) > tonumber(ARGV[8]) * 3 then
    for _, field in ipairs(redis.call('HKEYS', days)) do
      if tonumber(string.match(field, '^%d+')) < tonumber(ARGV[6]) then
        redis.call('HDEL', days, field)
      end
    end
  end
end

redis.call('XDEL', stream, entry)
total('pending', -items)
total('bytes', -batch(body[2]))
total('delivered', items)
redis.call('XADD', kept, '*', unpack(body[2]))
local held = total('kept_bytes', batch(body[2]))
while true do
  local oldest = redis.call('XRANGE', kept, '-', '+', 'COUNT', 1)[1]
  if not oldest then break end
  local at = tonumber(string.match(oldest[1], '^%d+'))
  if held <= tonumber(ARGV[4]) and at >= tonumber(ARGV[5]) then break end
  redis.call('XDEL', kept, oldest[1])
  held = total('kept_bytes', -batch(oldest[2]))
end
return items
"""
"""KEYS: stream, totals, kept, names, and the counters of all names and of others. ARGV: group,
entry, its items, bound of kept bytes, oldest time that is kept (Unix ms), oldest day that is
counted, bound of names, bound of days, then of each name and day: id, name, day, count, sum, sum of
squares. Returns how many items were counted: none when the batch was finished before."""


class NameFigures(NamedTuple):
    """What is counted of a name in one shard, by day since 1970."""

    days: dict[int, Sum]
    kept_since_ms: int | None


class EventStore:
    """The counted events of all environments."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        # Replies are bytes, as asked for; redis-py's types are of all protocols and decodings.
        self._redis: Any = connections.commands
        self._count = self._redis.register_script(_COUNT)

    async def count(
        self, keys: EventKeys, entry: Entry, sums: Iterable[tuple[str, str, int, Sum]], now_ms: int
    ) -> int:
        """Count a batch, unless it was finished before; return how many items were counted.

        `sums` are of each name and day: its id, the name, the day since 1970, and what came.

        Raises:
            RedisError: when it is not known whether the batch was counted. Try it again.
        """
        rows = list(sums)
        names = (
            *(keys.stream, keys.totals, keys.kept, keys.names, keys.days(OTHER)),
            *{keys.days(name_id) for name_id, *_ in rows},
        )
        today = now_ms // 86_400_000
        args: list[Any] = [
            *(GROUP, entry.id, entry.items, MAX_KEPT_BYTES, now_ms - KEEP_DAYS * 86_400_000),
            *(today - _COUNTED_DAYS, MAX_NAMES, _MAX_DAYS),
        ]
        for name_id, name, day, total in rows:
            args += (name_id, name, day, total.number, repr(total.sum), repr(total.squares))
        counted: int = await self._connections.run(
            "count_events", lambda: self._count(keys=names, args=args)
        )
        return counted

    async def figures(self, keys: EventKeys, name_id: str) -> NameFigures:
        """Return what is counted of a name, by its id, in one shard."""
        fields, oldest = await asyncio.gather(
            self._connections.run("event_figures", lambda: self._redis.hgetall(keys.days(name_id))),
            self._connections.run(
                "event_figures", lambda: self._redis.xrange(keys.kept, min="-", max="+", count=1)
            ),
        )
        days: dict[int, Sum] = {}
        for field, value in fields.items():
            day, _, what = field.decode().partition(":")
            before = days.get(int(day), Sum(0, 0.0, 0.0))
            if what == "n":
                days[int(day)] = before._replace(number=int(value))
            elif what == "s":
                days[int(day)] = before._replace(sum=float(value))
            else:
                days[int(day)] = before._replace(squares=float(value))
        since = int(oldest[0][0].partition(b"-")[0]) if oldest else None
        return NameFigures(days, since)
