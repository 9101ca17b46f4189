"""Quotas in Redis: all that concern a request are looked at, and taken from, in one step.

Of a quota its theoretical arrival time is kept: when it would be whole if nobody came any more. The
time is Redis' own, so that replicas whose clocks differ count alike.
"""

from collections.abc import Sequence
from typing import Any

from control_plane.limits.model import Quota, Standing
from control_plane.store.connection import Connections
from control_plane.store.keys import RATE

__all__ = ["QuotaStore"]

_US = 1_000_000

_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full, refused, answer = {}, 0, {}
for i = 1, #KEYS do
  local each, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local at = math.max(tonumber(redis.call('GET', KEYS[i]) or 0), now)
  -- a clock that went back must not keep anybody out for longer than a window
  full[i] = math.min(at, now + burst)
  answer[2 * i] = math.max(0, full[i] + each - burst - now)
  if answer[2 * i] > 0 then refused = 1 end
end
for i = 1, #KEYS do
  if refused == 0 then
    full[i] = full[i] + tonumber(ARGV[2 * i - 1])
    redis.call('SET', KEYS[i], string.format('%.0f', full[i]),
      'PX', math.ceil((full[i] - now) / 1000))
  end
  answer[2 * i - 1] = full[i] - now
end
return answer
"""
"""KEYS: quotas. ARGV: of each the microseconds in which one request comes back, and those in which
all do. Takes one of each, or none of any. Returns of each in how many microseconds it will be
whole, and in how many it has room."""


class QuotaStore:
    """The quotas of all callers, on one Redis. They may be lost: then all are whole."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._take: Any = connections.commands.register_script(_TAKE, waited=False)

    async def take(self, quotas: Sequence[Quota]) -> list[Standing]:
        """Take a request from each quota, or from none if one is used up; return how they stand.

        One round trip. Raises RedisError.
        """
        keys = [f"{RATE}{quota.name}:{quota.whom}" for quota in quotas]
        intervals = [quota.window_s * _US // quota.limit for quota in quotas]
        arguments: list[int] = []
        for quota, interval in zip(quotas, intervals, strict=True):
            arguments += (interval, interval * quota.limit)
        answer = await self._connections.run("rate", lambda: self._take(keys, arguments))
        return [
            Standing(
                quota,
                remaining=quota.limit - -(-full_in_us // interval),
                full_in_s=full_in_us / _US,
                wait_s=wait_us / _US,
            )
            for quota, interval, full_in_us, wait_us in zip(
                quotas, intervals, answer[::2], answer[1::2], strict=True
            )
        ]
