"""Standings in Redis, where replicas find each other's: written in batches, read as news.

Of each environment there are a hash of what was heard, an order of when that was written, and the
number of the last writing; all three change in one script. Whoever remembers the number up to which
it has read gets what came after it, and no clock of another machine is looked at, but in one place:
of two standings of one instance the later heard is kept. How revisions spread is in a hash beside.

`mf:fleet:environments` has a mark for each environment, another one after each writing, so that one
command tells a reader where there is anything new: who sees the mark finds what it stands for.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from control_plane.fleet.model import MAX_INSTANCES, Heard
from control_plane.fleet.revisions import Convergence
from control_plane.store.connection import Connections
from control_plane.store.keys import FLEET_ENVIRONMENTS, FLEET_TTL_S, FleetKeys
from proxy.contract.fleet import Standing

__all__ = ["Environment", "FleetStore", "News"]

Environment = tuple[str, str]
"""Project and environment."""

_AT_ONCE = 500
"""Standings that one script writes or reads: Redis is held for some 2 ms."""

_WRITE = """
local fleet, order, number = KEYS[1], KEYS[2], KEYS[3]
local most, refused = tonumber(ARGV[1]), {}
local size = redis.call('HLEN', fleet)
if redis.call('EXISTS', number) == 0 then
  -- Microseconds, so that after a loss numbers go on above those before: nobody counts so fast.
  local now = redis.call('TIME')
  redis.call('SET', number, string.format('%d%06d', now[1], now[2]))
end
for i = 3, #ARGV, 3 do
  local name, heard = ARGV[i], ARGV[i + 1]
  local before = redis.call('HGET', fleet, name)
  if not before and size >= most then
    refused[#refused + 1] = name
  elseif not before or tonumber(string.match(before, '^%d+')) <= tonumber(heard) then
    if not before then size = size + 1 end
    redis.call('HSET', fleet, name, heard .. ' ' .. ARGV[i + 2])
    redis.call('ZADD', order, redis.call('INCR', number), name)
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[2]) end
return refused
"""

_READ = """
-- As text: a number of Lua's, written out, would lose digits.
local since = ARGV[1]
-- The number went back: Redis lost it all, and what is there now came after.
if tonumber(redis.call('GET', KEYS[3]) or '0') < tonumber(since) then since = '0' end
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf', 'WITHSCORES',
  'LIMIT', 0, tonumber(ARGV[2]))
local names = {}
for i = 1, #found, 2 do
  names[#names + 1] = found[i]
  since = found[i + 1]
end
if #names == 0 then return {since, {}} end
return {since, redis.call('HMGET', KEYS[1], unpack(names))}
"""

_DROP = """
for i = 2, #ARGV do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if stored and tonumber(string.match(stored, '^%d+')) <= tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
"""

_SPREAD = """
for i = 2, #ARGV, 3 do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if not stored or tonumber(string.match(stored, '^%d+')) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


class _Key(msgspec.Struct, frozen=True):
    """The key that a standing came with; those that older replicas wrote do not say."""

    key: str = ""


_encode = msgspec.json.Encoder().encode
_standings = msgspec.json.Decoder(Standing)
_keys = msgspec.json.Decoder(_Key)
_convergences = msgspec.json.Decoder(Convergence)


class News(NamedTuple):
    """What was written since: up to which number, what, and whether there may be more."""

    number: int
    heard: list[Heard]
    more: bool


class FleetStore:
    """The standings of all environments, on one Redis. Everything here raises RedisError."""

    def __init__(self, connections: Connections, max_instances: int = MAX_INSTANCES) -> None:
        self._connections = connections
        self._max_instances = max_instances
        # A fleet that was lost reports again: nothing waits for replicas.
        script = partial(connections.commands.register_script, waited=False)
        self._write, self._read = script(_WRITE), script(_READ)
        self._drop, self._spread = script(_DROP), script(_SPREAD)

    async def write(self, environment: Environment, heard: Sequence[Heard]) -> list[str]:
        """Write what was heard; return the names of instances there was no room for."""
        keys = FleetKeys(*environment)
        refused: list[str] = []
        for start in range(0, len(heard), _AT_ONCE):
            arguments: list[Any] = [self._max_instances, FLEET_TTL_S]
            for each in heard[start : start + _AT_ONCE]:
                standing = each.standing
                arguments += (standing.instance, each.heard_ms, _stored(each))
            names = await self._run(self._write, keys.standings, arguments)
            refused += [name.decode() for name in names]
        await self._mark(environment)
        return refused

    async def read(self, environment: Environment, since: int) -> News:
        """Return what was written after a number, 500 standings at most."""
        keys = FleetKeys(*environment)
        number, stored = await self._run(self._read, keys.standings, [since, _AT_ONCE])
        heard = [_heard(data) for data in stored if data is not None]
        return News(int(float(number)), heard, len(stored) == _AT_ONCE)

    async def drop(self, environment: Environment, names: Sequence[str], until_ms: int) -> None:
        """Remove instances that were not heard after a time, whatever others heard of them."""
        keys = FleetKeys(*environment).standings
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            await self._run(self._drop, keys[:2], [until_ms, *some])

    async def write_spread(self, environment: Environment, spread: Iterable[Convergence]) -> None:
        """Write how revisions spread, where it is not known better."""
        arguments: list[Any] = [FLEET_TTL_S]
        for each in spread:
            arguments += (f"{each.epoch}-{each.revision}", each.known, _encode(each))
        await self._run(self._spread, (FleetKeys(*environment).revisions,), arguments)
        await self._mark(environment)

    async def read_spread(self, environment: Environment) -> list[Convergence]:
        """Return how revisions spread, as any replica saw it."""
        key = FleetKeys(*environment).revisions
        commands = self._connections.commands
        stored: Any = await self._connections.run("fleet", lambda: commands.hvals(key))
        return [_convergences.decode(data.partition(b" ")[2]) for data in stored]

    async def drop_spread(self, environment: Environment, old: Iterable[Convergence]) -> None:
        """Remove revisions that are not among the last any more."""
        key = FleetKeys(*environment).revisions
        names = [f"{each.epoch}-{each.revision}" for each in old]
        commands = self._connections.commands
        await self._connections.run("fleet", lambda: commands.hdel(key, *names))

    async def marks(self) -> Mapping[Environment, bytes]:
        """Return the mark of the last writing of each environment."""
        commands = self._connections.commands
        stored: Any = await self._connections.run(
            "fleet", lambda: commands.hgetall(FLEET_ENVIRONMENTS)
        )
        found: dict[Environment, bytes] = {}
        for name, mark in stored.items():
            project, _, environment = name.decode().partition("/")
            found[project, environment] = mark
        return found

    async def _mark(self, environment: Environment) -> None:
        commands, name = self._connections.commands, "/".join(environment)
        mark = secrets.token_hex(8)
        await self._connections.run("fleet", lambda: commands.hset(FLEET_ENVIRONMENTS, name, mark))

    async def _run(self, script: Any, keys: Sequence[str], arguments: list[Any]) -> Any:
        return await self._connections.run("fleet", lambda: script(keys=keys, args=arguments))


def _stored(heard: Heard) -> bytes:
    """Return a standing with one member more, which is no business of sidecars."""
    standing = _encode(heard.standing)
    return standing[:-1] + b',"key":' + _encode(heard.key) + b"}" if heard.key else standing


def _heard(data: bytes) -> Heard:
    heard_ms, _, standing = data.partition(b" ")
    return Heard(_standings.decode(standing), int(heard_ms), _keys.decode(standing).key)
