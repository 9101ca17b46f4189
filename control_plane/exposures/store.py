"""The units of subjects in Redis, packed: what each saw first, and counters that move with it.

A subject is a flag, or an experiment's phase. Units are spread over the shards of their environment
(`reports.model.SHARDS`) by their hash, so all of a subject in one shard is in one slot, and a
script counts some units of it at a time.

Layout. A record is a field of 12 bytes, the unit's hash, with 8 bytes: the time it was first seen
(6, Unix ms), the variant it saw then (1, an index), and whether it saw others (1). Records are in
hashes, "buckets", of `_LOAD` on average and rarely more than three times that, which a server keeps
as one compact list each (`hash-max-listpack-entries`, 512 by default). The number of buckets grows
with the units by linear hashing (Litwin, "Linear hashing: a new tool for file and table
addressing", 1980): one bucket is split at a time, so no step is long.

Counting a record is idempotent and does not depend on the order: of two, the earlier stays, and the
variant that sorts first of two at the same time; counters move by the difference. So a batch that
is counted twice changes nothing the second time.

While a cluster moves the slot some keys are on another node. All reads of a subject come before its
writes, because what a script wrote before it failed stays written; and every key of a subject is
there from its first unit on, a bucket with an empty record, so that one that is elsewhere is not
taken for one that is new.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec

from control_plane.exposures.model import Seen, SubjectUnits
from control_plane.store.connection import Connections
from control_plane.store.keys import subjects_key

__all__ = ["MAX_SUBJECTS", "SubjectFigures", "SubjectStore"]

MAX_SUBJECTS = 20_000
"""Subjects of an environment that are told apart; those beyond are counted together, as `other`."""

_LOAD = 32
_RECORDS_AT_ONCE = 500  # two milliseconds of Redis
_MAX_PLACES = 250

_COUNT = """
local subjects = KEYS[1]
local base = string.sub(subjects, 1, -9)
local load, most = tonumber(ARGV[1]), tonumber(ARGV[2])

local function bucket_of(unit, buckets)
  local hash, size = struct.unpack('>I4', unit), 1
  while size * 2 <= buckets do size = size * 2 end
  local at = hash % (size * 2)
  if at >= buckets then at = hash % size end
  return at
end

local function before(a, b)  -- by bytes; operators compare by the server's locale
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function split(units, buckets)
  local size = 1
  while size * 2 <= buckets do size = size * 2 end
  local old, new = units .. (buckets - size), units .. buckets
  local all, moved, gone = redis.call('HGETALL', old), {}, {}
  redis.call('EXISTS', new)  -- fails where the slot is leaving
  if #all == 0 then return false end
  for i = 1, #all, 2 do
    if #all[i] > 0 and struct.unpack('>I4', all[i]) % (size * 2) == buckets then
      moved[#moved + 1] = all[i]
      moved[#moved + 1] = all[i + 1]
      gone[#gone + 1] = all[i]
    end
  end
  redis.call('HSET', new, '', '', unpack(moved))
  if #gone > 0 then redis.call('HDEL', old, unpack(gone)) end
  return true
end

local function count(id, name, names, last, packed)
  if redis.call('HEXISTS', subjects, id) == 0 and redis.call('HLEN', subjects) >= most then
    id, name = 'other', ''
  end
  local there = redis.call('HEXISTS', subjects, id) == 1
  local function is_elsewhere(key) return redis.call('EXISTS', key) == 0 and there end
  local subject, days = base .. 'subject:' .. id, base .. 'days:' .. id
  local units = base .. 'units:' .. id .. ':'
  local at, flat = {}, redis.call('HGETALL', subject)
  for i = 1, #flat, 2 do at[flat[i]] = flat[i + 1] end
  if is_elsewhere(subject) or is_elsewhere(days) then return false end
  local buckets, variants = tonumber(at.buckets or 1), tonumber(at.variants or 0)
  local index, label, set = {}, {[0] = ''}, {}
  for i = 1, variants do
    label[i] = at['v' .. i]
    index[label[i]] = i
  end
  for i, variant in ipairs(names) do
    if not index[variant] then
      if variants < 250 then
        variants = variants + 1
        index[variant], label[variants] = variants, variant
        set[#set + 1] = 'v' .. variants
        set[#set + 1] = variant
      else
        index[variant] = 0  -- all further ones together
      end
    end
  end

  local groups, order = {}, {}
  for from = 1, #packed, 20 do
    local unit = string.sub(packed, from, from + 11)
    local bucket = bucket_of(unit, buckets)
    local group = groups[bucket]
    if not group then
      group = {units = {}, ats = {}}
      groups[bucket] = group
      order[#order + 1] = bucket
    end
    group.units[#group.units + 1] = unit
    group.ats[#group.ats + 1] = from + 12
  end
  for _, bucket in ipairs(order) do
    if is_elsewhere(units .. bucket) then return false end
    groups[bucket].found = redis.call('HMGET', units .. bucket, unpack(groups[bucket].units))
  end

  local first, added, several, counts, per_day = nil, 0, 0, {}, {}
  local function move(variant, time, by)
    counts[variant] = (counts[variant] or 0) + by
    local day = math.floor(time / 86400000) * 256 + variant
    per_day[day] = (per_day[day] or 0) + by
  end
  for _, bucket in ipairs(order) do
    local group, writes = groups[bucket], {}
    for i, unit in ipairs(group.units) do
      local time, variant, more = struct.unpack('>I6I1I1', packed, group.ats[i])
      variant = index[names[variant]] or 0
      local found = group.found[i]
      if not first or time < first then first = time end
      if found then
        local old_time, old_variant, old_more = struct.unpack('>I6I1I1', found)
        if old_variant ~= variant or old_more == 1 then more = 1 end
        if old_time < time or (old_time == time
            and not before(label[variant], label[old_variant])) then
          time, variant = old_time, old_variant
        end
        several = several + more - old_more
        if time ~= old_time or variant ~= old_variant then
          move(old_variant, old_time, -1)
          move(variant, time, 1)
        end
      else
        added, several = added + 1, several + more
        move(variant, time, 1)
      end
      local record = struct.pack('>I6I1I1', time, variant, more)
      if record ~= found then
        writes[#writes + 1] = unit
        writes[#writes + 1] = record
      end
    end
    if #writes > 0 then redis.call('HSET', units .. bucket, unpack(writes)) end
  end

  if not there then
    redis.call('HSET', subjects, id, name)
    redis.call('HSET', units .. 0, '', '')
  end
  if #set > 0 then redis.call('HSET', subject, 'variants', variants, unpack(set)) end
  if added > 0 then redis.call('HINCRBY', subject, 'units', added) end
  if several ~= 0 then redis.call('HINCRBY', subject, 'several', several) end
  for variant, by in pairs(counts) do
    if by ~= 0 then redis.call('HINCRBY', subject, 'c' .. variant, by) end
  end
  for day, by in pairs(per_day) do
    if by ~= 0 and redis.call('HINCRBY', days, string.format('%.0f', day), by) == 0 then
      redis.call('HDEL', days, string.format('%.0f', day))
    end
  end
  if first and (not at.first or first < tonumber(at.first)) then
    redis.call('HSET', subject, 'first', string.format('%.0f', first))
  end
  if not at.last or tonumber(last) > tonumber(at.last) then
    redis.call('HSET', subject, 'last', last)
  end
  while (tonumber(at.units or 0) + added) > load * buckets do
    if not split(units, buckets) then return false end
    buckets = buckets + 1
    redis.call('HSET', subject, 'buckets', buckets)
  end
  return true
end

for a = 3, #ARGV, 5 do
  if not count(ARGV[a], ARGV[a + 1], cjson.decode(ARGV[a + 2]), ARGV[a + 3], ARGV[a + 4]) then
    return redis.error_reply('TRYAGAIN a key is on another node')
  end
end
return 0
"""
"""KEYS: subjects of a shard; all others begin alike and lie in its slot. ARGV: load of a bucket,
bound of subjects, then of each subject: id, name, variants as JSON, time of the last exposure, and
its units, each once and packed: hash (12 bytes), first seen (6), variant (1, its place among the
variants), several (1)."""


class SubjectFigures(NamedTuple):
    """What is counted of a subject in one shard. Times in Unix ms, None where there is none."""

    units: int
    several: int
    variants: dict[str, int]
    days: dict[tuple[int, str], int]
    first_ms: int | None
    last_ms: int | None


class SubjectStore:
    """The counted exposures of all environments."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        # Replies are bytes, as asked for; redis-py's types are of all protocols and decodings.
        self._redis: Any = connections.commands
        self._count = self._redis.register_script(_COUNT)

    async def count(
        self, project: str, environment: str, shard: int, subjects: Iterable[SubjectUnits]
    ) -> None:
        """Count units of one shard; counting any of them again changes nothing.

        Raises:
            RedisError: when some may not have been counted. Count all of them again.
        """
        key = subjects_key(project, environment, shard)
        for args in _calls(subjects, shard):
            call = partial(self._count, keys=[key], args=[_LOAD, MAX_SUBJECTS, *args])
            await self._connections.run("count_exposures", call)

    async def figures(
        self, project: str, environment: str, shard: int, subject: str
    ) -> SubjectFigures:
        """Return what is counted of a subject, by its id, in one shard."""
        base = subjects_key(project, environment, shard).removesuffix("subjects")
        raw, days = await asyncio.gather(
            *(
                self._connections.run("exposure_figures", partial(self._redis.hgetall, base + name))
                for name in (f"subject:{subject}", f"days:{subject}")
            )
        )
        at = {name.decode(): value.decode() for name, value in raw.items()}
        names = {i: at[f"v{i}"] for i in range(1, int(at.get("variants", 0)) + 1)} | {0: ""}
        return SubjectFigures(
            units=int(at.get("units", 0)),
            several=int(at.get("several", 0)),
            variants={n: int(at[f"c{i}"]) for i, n in names.items() if f"c{i}" in at},
            days={
                (int(field) >> 8, names[int(field) & 255]): int(count)
                for field, count in days.items()
            },
            first_ms=int(at["first"]) if "first" in at else None,
            last_ms=int(at["last"]) if "last" in at else None,
        )


def _calls(subjects: Iterable[SubjectUnits], shard: int) -> Iterator[list[Any]]:
    """Yield the arguments of calls that count so many units each at most."""
    args: list[Any] = []
    room = _RECORDS_AT_ONCE
    for subject in subjects:
        units = list(subject.shards[shard].items())
        while units:
            some, units = units[:room], units[room:]
            args += _packed(subject, some)
            room -= len(some)
            if not room:
                yield args
                args, room = [], _RECORDS_AT_ONCE
    if args:
        yield args


def _packed(subject: SubjectUnits, units: list[tuple[bytes, Seen]]) -> tuple[Any, ...]:
    places: dict[str, int] = {}
    packed = bytearray()
    for unit, (first_ms, variant, several) in units:
        place = places.setdefault(variant, len(places) + 1)
        packed += unit
        packed += first_ms.to_bytes(6, "big")
        # a byte has no room for more; 0 stands for all further ones together
        packed.append(place if place <= _MAX_PLACES else 0)
        packed.append(several)
    names = list(places)[:_MAX_PLACES]
    variants = msgspec.json.encode(names)
    return *subject.subject, variants, subject.last_ms, bytes(packed)
