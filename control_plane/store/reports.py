"""Batches in Redis: each taken once, kept until it is counted, and never pushed out by another.

A shard of a place (`reports.model`) is a stream with a batch an entry, as it came; all its keys are
`store.keys.ReportKeys` and lie in one slot. Each step is one script, so it happens or does not:

    take       a new id: into the stream. A known one, a full shard: nothing, and it says so
    park       into a bounded stream aside; the oldest there make way, and that is counted
    finish     a batch was counted: out of the stream, once, whoever says it how often
    set_aside  a batch that cannot be counted: from the stream to those parked

`totals` moves within these steps. So for each shard, whatever is killed between two of them,
`received = deduplicated + delivered + pending + parked + lost` holds in items.

Batches are read as consumers of a group. Those of a consumer that is gone are claimed by another;
what a consumer got and did not finish comes again, so whatever is written for a batch before
`finish` is written twice without harm, or in the same step.
"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from enum import IntEnum
from typing import Any, NamedTuple

from control_plane.store.connection import Connections, RedisError
from control_plane.store.keys import GROUP, ReportKeys

__all__ = [
    "KNOWN",
    "MAX_PARKED_BYTES",
    "Arrival",
    "Balance",
    "Entry",
    "Fate",
    "Overdue",
    "ReportLimits",
    "ReportStore",
]

MAX_PARKED_BYTES = 8 * 1024 * 1024
"""Parked batches kept of a shard, to be looked into by people."""

_GONE_MS = 3_600_000  # a consumer that was idle for so long, and has nothing, is forgotten
_MAX_OVERDUE = 16


class ReportLimits(NamedTuple):
    """How much waits in a shard at most, before batches are sent back to their senders.

    Half a gigabyte for an environment, at 20 bytes an item, compressed. The items are what an
    aggregator counts in some minutes: further behind, it would not be met again.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_items: int = 4_000_000


class Fate(IntEnum):
    """What became of a batch."""

    STORED = 0
    DUPLICATE = 1
    FULL = 2
    PARKED = 3


class Balance(NamedTuple):
    """Where all items are: `received` is the sum of the others."""

    received: int
    deduplicated: int
    delivered: int
    pending: int
    parked: int
    lost: int


class Arrival(NamedTuple):
    """A batch to be stored: its id, how it is remembered, and what is kept. Times in Unix ms."""

    id: str
    number: int
    seen_for_s: int
    instance: str
    items: int
    body: bytes
    received_ms: int


class Entry(NamedTuple):
    """A batch that was read: `id` is the stream's, `body` as it came."""

    id: bytes
    items: int
    received_ms: int
    body: bytes


class Overdue(NamedTuple):
    """An entry that a consumer got some time ago and did not finish."""

    id: bytes
    deliveries: int


KNOWN = """
local function total(name, by) redis.call('HINCRBY', totals, name, by) end
local function set_of(first, number) return number == 0 and first or first .. ':' .. number end
local more, elsewhere = '9223372036854775807', false
local function find(first)
  local number = 0
  while redis.call('SISMEMBER', set_of(first, number), ARGV[1]) == 0 do
    local set = set_of(first, number)
    if number == 255 or redis.call('SCARD', set) < 511 then return number, false end
    number = number + 1
    if redis.call('EXISTS', set_of(first, number)) == 0
      and redis.call('SISMEMBER', set, more) == 1 then
      elsewhere = true
    end
  end
  return number, true
end
local function try_again() return redis.error_reply('TRYAGAIN a key is on another node') end
local function known()
  local _, found = find(seen)
  return found
end
local function remember(first)
  local last = find(first)
  if last > 0 then redis.call('SADD', set_of(first, last - 1), more) end
  redis.call('SADD', set_of(first, last), ARGV[1])
  for number = 0, last do  -- those before it too: without them it would not be found
    if redis.call('TTL', set_of(first, number)) < tonumber(ARGV[2]) then
      redis.call('EXPIRE', set_of(first, number), ARGV[2] + 3600)
    end
  end
end
"""
"""Whether an id is known, and how it is remembered, for scripts that take a batch: they name their
keys `seen` and `totals`, and their arguments begin with the number and for how long it is known.
A set of up to 512 numbers takes 8 bytes of each, so one that is full is followed by another; a
number that is no id says so. While a cluster moves the slot the other may still be elsewhere, and
nothing is known until it has come."""

TAKE = (
    """
local seen, totals, stream = KEYS[1], KEYS[2], KEYS[3]
"""
    + KNOWN
    + """
local items, before = tonumber(ARGV[5]), known()
if elsewhere then return try_again() end
if before then
  total('received', items)
  total('deduplicated', items)
  return 1
end
local held = redis.call('HMGET', totals, 'bytes', 'pending')
if tonumber(held[1] or 0) + #ARGV[4] > tonumber(ARGV[8])
  or tonumber(held[2] or 0) + items > tonumber(ARGV[9]) then
  return 2
end
local new = redis.call('EXISTS', stream) == 0
-- The first write: where memory is refused it fails, and nothing has been done.
redis.call('XADD', stream, '*', 'id', ARGV[3], 'instance', ARGV[6], 'count', items,
  'received_ms', ARGV[7], 'batch', ARGV[4])
if new then redis.call('XGROUP', 'CREATE', stream, ARGV[10], '0') end
remember(seen)
total('received', items)
total('pending', items)
total('bytes', #ARGV[4])
return 0
"""
)
"""KEYS: seen, totals, stream. ARGV: number, seconds to remember it, id, batch, items, instance,
time of arrival, bounds of bytes and items, group. Returns a `Fate`."""

_PARK = """
local function park(bytes, items, most, ...)
  redis.call('XADD', parked, '*', ...)
  total('parked', items)
  local held = redis.call('HINCRBY', totals, 'parked_bytes', bytes)
  while held > most do
    local oldest = redis.call('XRANGE', parked, '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    local fields, length, count = oldest[2], 0, 0
    for i = 1, #fields, 2 do
      if fields[i] == 'batch' then length = #fields[i + 1] end
      if fields[i] == 'count' then count = tonumber(fields[i + 1]) end
    end
    redis.call('XDEL', parked, oldest[1])
    held = redis.call('HINCRBY', totals, 'parked_bytes', -length)
    total('parked_dropped', count)
  end
end
"""

_TAKE_ASIDE = (
    """
local seen, totals, aside, parked = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
"""
    + KNOWN
    + _PARK
    + """
local items, before = tonumber(ARGV[5]), known()
if elsewhere then return try_again() end
if before then
  total('received', items)
  total('deduplicated', items)
  return 1
end
local _, parked_before = find(aside)
if elsewhere then return try_again() end
if parked_before then return 3 end
park(#ARGV[4], items, tonumber(ARGV[8]), 'id', ARGV[3], 'instance', ARGV[6], 'count', items,
  'received_ms', ARGV[7], 'reason', ARGV[9], 'batch', ARGV[4])
remember(aside)
total('received', items)
return 3
"""
)
"""KEYS: seen, totals, parked ones seen, parked. ARGV: as of `TAKE` to the time of arrival, bound of
bytes, why. Returns a `Fate`."""

_FINISH = """
local stream, totals = KEYS[1], KEYS[2]
local done = 0
for i = 2, #ARGV, 3 do
  if redis.call('XACK', stream, ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', stream, ARGV[i])
    redis.call('HINCRBY', totals, 'pending', -ARGV[i + 1])
    redis.call('HINCRBY', totals, 'bytes', -ARGV[i + 2])
    done = redis.call('HINCRBY', totals, 'delivered', ARGV[i + 1])
  end
end
return done
"""
"""KEYS: stream, totals. ARGV: group, then entry, items, bytes of each batch."""

_SET_ASIDE = (
    """
local stream, totals, parked = KEYS[1], KEYS[2], KEYS[3]
local function total(name, by) redis.call('HINCRBY', totals, name, by) end
"""
    + _PARK
    + """
local entry = redis.call('XRANGE', stream, ARGV[2], ARGV[2])[1]
if redis.call('XACK', stream, ARGV[1], ARGV[2]) == 0 then return 0 end
if not entry then return 0 end
local fields, bytes, items = entry[2], 0, 0
for i = 1, #fields, 2 do
  if fields[i] == 'batch' then bytes = #fields[i + 1] end
  if fields[i] == 'count' then items = tonumber(fields[i + 1]) end
end
redis.call('XDEL', stream, ARGV[2])
total('pending', -items)
total('bytes', -bytes)
park(bytes, items, tonumber(ARGV[3]), 'reason', 'uncountable', unpack(fields))
return items
"""
)
"""KEYS: stream, totals, parked. ARGV: group, entry, bound of bytes."""

_TIDY = """
local stream, totals = KEYS[1], KEYS[2]
local held = tonumber(redis.call('HGET', totals, 'pending') or 0)
if redis.call('XLEN', stream) == 0 and held ~= 0 then
  redis.call('HSET', totals, 'pending', 0, 'bytes', 0)
  redis.call('HINCRBY', totals, 'lost', held)
end
if redis.call('EXISTS', stream) == 0 then return 0 end
for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', stream, ARGV[1])) do
  local consumer = {}
  for i = 1, #found, 2 do consumer[found[i]] = found[i + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[1], consumer.name)
  end
end
return 1
"""
"""KEYS: stream, totals. ARGV: group, after how many milliseconds a consumer is forgotten.
What was removed by somebody else is lost, and is said to be."""


class ReportStore:
    """The batches of all places, on one Redis."""

    def __init__(
        self,
        connections: Connections,
        limits: ReportLimits | None = None,
        aside: Executor | None = None,
    ) -> None:
        self.connections = connections
        self.aside = aside
        """Where batches are opened and decoded, some milliseconds each."""
        self._limits = limits or ReportLimits()
        # Replies are bytes, as asked for; redis-py's types are of all protocols and decodings.
        self._redis: Any = connections.commands
        self._take = self._redis.register_script(TAKE)
        self._take_aside = self._redis.register_script(_TAKE_ASIDE)
        self._finish = self._redis.register_script(_FINISH)
        self._set_aside = self._redis.register_script(_SET_ASIDE)
        self._tidy = self._redis.register_script(_TIDY)

    async def take(self, keys: ReportKeys, hour: int, arrival: Arrival) -> Fate:
        """Store a batch unless it was before; when this returns Redis has acknowledged it.

        Raises:
            RedisError: when it is not known whether the batch was stored. Sending it again
                is safe.
        """
        args = (*_described(arrival), *self._limits, GROUP)
        names = (keys.seen(hour), keys.totals, keys.stream)
        return Fate(
            await self.connections.run(keys.kind, lambda: self._take(keys=names, args=args))
        )

    async def park(self, keys: ReportKeys, hour: int, arrival: Arrival, reason: str) -> Fate:
        """Keep a batch apart, unless it was counted before; raises as `take` does."""
        args = (*_described(arrival), MAX_PARKED_BYTES, reason)
        names = (keys.seen(hour), keys.totals, keys.parked_seen(hour), keys.parked)
        return Fate(
            await self.connections.run("park", lambda: self._take_aside(keys=names, args=args))
        )

    async def read(
        self, keys: ReportKeys, consumer: str, count: int, *, again: bool = False
    ) -> list[Entry]:
        """Return batches that no consumer has got yet, oldest first; now this one has them.

        With `again` those that this consumer has got and not finished, and no others.
        """
        start = {keys.stream: "0" if again else ">"}
        try:
            answer = await self.connections.run(
                "read_reports",
                lambda: self._redis.xreadgroup(GROUP, consumer, start, count=count),
            )
        except RedisError as error:
            if "NOGROUP" in str(error):  # nothing has been stored yet
                return []
            raise
        return [_entry(entry) for _, entries in answer for entry in entries if entry[1]]

    async def overdue(self, keys: ReportKeys, idle_ms: int) -> list[Overdue]:
        """Return batches that some consumer has had for so long, the oldest of them."""
        try:
            found = await self.connections.run(
                "overdue_reports",
                lambda: self._redis.xpending_range(
                    keys.stream, GROUP, min="-", max="+", count=_MAX_OVERDUE, idle=idle_ms
                ),
            )
        except RedisError as error:
            if "NOGROUP" in str(error):
                return []
            raise
        return [Overdue(item["message_id"], item["times_delivered"]) for item in found]

    async def claim(
        self, keys: ReportKeys, consumer: str, idle_ms: int, entries: Sequence[bytes]
    ) -> list[Entry]:
        """Return those of the batches that are still overdue; now this consumer has them."""
        found = await self.connections.run(
            "claim_reports",
            lambda: self._redis.xclaim(keys.stream, GROUP, consumer, idle_ms, list(entries)),
        )
        return [_entry(entry) for entry in found if entry[1]]

    async def finish(self, keys: ReportKeys, entries: Iterable[Entry]) -> None:
        """Take batches that were counted out of the stream; those that are not there are not."""
        args: list[Any] = [GROUP]
        for entry in entries:
            args += (entry.id, entry.items, len(entry.body))
        names = (keys.stream, keys.totals)
        await self.connections.run("finish", lambda: self._finish(keys=names, args=args))

    async def set_aside(self, keys: ReportKeys, entry: bytes) -> int:
        """Park a batch that cannot be counted; return how many items it has."""
        names = (keys.stream, keys.totals, keys.parked)
        args = (GROUP, entry, MAX_PARKED_BYTES)
        items: int = await self.connections.run(
            "park", lambda: self._set_aside(keys=names, args=args)
        )
        return items

    async def tidy(self, keys: ReportKeys) -> None:
        """Forget consumers that are gone, and note what was removed without being counted."""
        names = (keys.stream, keys.totals)
        await self.connections.run(
            "tidy_reports", lambda: self._tidy(keys=names, args=(GROUP, _GONE_MS))
        )

    async def balance(self, shards: Iterable[ReportKeys]) -> Balance:
        """Return where all items of these shards are."""
        parts = await asyncio.gather(*(self._balance(keys) for keys in shards))
        return Balance(*map(sum, zip(*parts, strict=True)))

    async def _balance(self, keys: ReportKeys) -> Balance:
        found = await self.connections.run(
            "report_totals", lambda: self._redis.hmget(keys.totals, Balance._fields)
        )
        return Balance(*(int(value or 0) for value in found))


def _described(arrival: Arrival) -> tuple[Any, ...]:
    return (
        *(arrival.number, arrival.seen_for_s, arrival.id, arrival.body),
        *(arrival.items, arrival.instance, arrival.received_ms),
    )


def _entry(entry: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    entry_id, fields = entry
    return Entry(
        entry_id,
        int(fields.get(b"count", 0)),
        int(fields.get(b"received_ms", 0)),
        fields.get(b"batch", b""),
    )
