"""People in Redis: all of them read at once, refresh tokens used up, attempts to log in counted.

Changes go through `store.projects`, as those of a project do: the directory is one, under a name
that no project can have (`store.keys.DIRECTORY`).
"""

from typing import Any, NamedTuple

import msgspec

from control_plane.store.connection import Connections
from control_plane.store.keys import DIRECTORY, LOGIN, ProjectKeys
from control_plane.store.projects import Position, ProjectStore
from control_plane.users.model import SessionRecord, UserRecord

__all__ = ["CHALLENGE_S", "MAX_ATTEMPTS", "MAX_GUESSES", "MAX_TRIES", "Loaded", "UserStore"]

_KEYS = ProjectKeys(DIRECTORY)
_WINDOW_S = 900
_AGAIN_MS = 10_000  # within which a token that was just used may be used again: its answer was lost

MAX_ATTEMPTS = {"address": 30, "account": 10}
"""Attempts that failed, within a quarter of an hour; a success takes its own back."""

CHALLENGE_S = 300
"""How long a challenge is good."""

MAX_TRIES = 5
"""Answers to one challenge; after them it is over."""

MAX_GUESSES = 30
"""Codes of one person in a day until one was right: of a million, three are. NIST SP 800-63B allows
a hundred in a row."""

_GUESSES_S = 24 * 3600

_ROTATE = """
local now = tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'hash', 'previous', 'at')
if not kept[1] then return 0 end
local is_current = kept[1] == ARGV[1]
local was_just = kept[2] == ARGV[1] and now - tonumber(kept[3]) <= tonumber(ARGV[4])
if not (is_current or was_just) then return -1 end
if is_current then
  redis.call('HSET', KEYS[1], 'previous', kept[1], 'at', ARGV[3])
end
redis.call('HSET', KEYS[1], 'hash', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""
"""KEYS: refresh. ARGV: hash that is presented, hash of the next, now in ms, how long the last is
good, life in s. Returns 1 used up, 0 there is none, -1 it was used before."""

_ATTEMPT = """
for i = 1, #KEYS do
  local count = redis.call('INCR', KEYS[i])
  if count == 1 then redis.call('EXPIRE', KEYS[i], ARGV[1]) end
  -- the last half second of a window is 0 s of TTL
  if count > tonumber(ARGV[i + 1]) then return {math.max(1, redis.call('TTL', KEYS[i])), i} end
end
return {0, 0}
"""
"""KEYS: counters. ARGV: the window in s, then the bound of each. Counts an attempt in each until
one is full, so that an address without room locks no accounts; returns the seconds to wait, 0 for
none, and the number of the counter that is full."""

_FORGIVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('DECRBY', KEYS[1], ARGV[1]) end
redis.call('DEL', KEYS[2])
"""
"""KEYS: counters of the address and of the account. ARGV: how many attempts are taken back. Without
its window a counter is not made."""

_TAKE_BACK = """
for i = 1, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
"""
"""KEYS: counters of the address and of the account. Takes one attempt back in each."""

_TRY = """
local tries = tonumber(redis.call('GET', KEYS[1]) or '0')
if tries >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2] == '' and tries + 1 or ARGV[2], 'EX', ARGV[3])
return 1
"""
"""KEYS: counter. ARGV: the bound, what it is set to (one more when empty), its life in s. Returns
whether it was below the bound."""


class Full(NamedTuple):
    """What has no room for an attempt: one of `MAX_ATTEMPTS`, for so many seconds."""

    which: str
    wait_s: int


class Loaded(NamedTuple):
    """Everything of the directory at one moment."""

    position: Position
    users: dict[str, UserRecord]
    sessions: dict[str, SessionRecord]


class UserStore:
    """The directory on one Redis."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._redis: Any = connections.commands
        self._rotate = self._redis.register_script(_ROTATE)
        self._attempt = self._redis.register_script(_ATTEMPT)
        self._try = self._redis.register_script(_TRY)
        self._forgive = self._redis.register_script(_FORGIVE)
        self._take_back = self._redis.register_script(_TAKE_BACK)
        self.steps = ProjectStore(connections)
        """Positions, changes and commits; the directory's name is `DIRECTORY`."""

    async def load(self) -> Loaded | None:
        """Return all of it, None when there is none yet.

        Raises:
            msgspec.ValidationError: a record cannot be read.
        """

        async def read() -> list[Any]:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(_KEYS.meta, "epoch", "sequence", "head")
                pipe.hgetall(_KEYS.users)
                pipe.hgetall(_KEYS.sessions)
                answers: list[Any] = await pipe.execute()
                return answers

        (epoch, sequence, head), users, sessions = await self._connections.run_long("load", read)
        if epoch is None or sequence is None or head is None:
            return None
        return Loaded(
            Position(epoch.decode(), int(sequence), head.decode()),
            {key.decode(): msgspec.json.decode(v, type=UserRecord) for key, v in users.items()},
            {
                key.decode(): msgspec.json.decode(v, type=SessionRecord)
                for key, v in sessions.items()
            },
        )

    async def begin_refresh(self, session: str, token_hash: str, now_ms: int, life_s: int) -> None:
        """Keep the hash of a session's first refresh token."""
        key = _KEYS.refresh(session)

        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={"hash": token_hash, "previous": "", "at": now_ms})
                pipe.expire(key, life_s)
                await pipe.execute()

        await self._connections.run("refresh", write)

    async def rotate(
        self, session: str, presented: str, following: str, now_ms: int, life_s: int
    ) -> bool | None:
        """Use a refresh token up, and keep the hash of the following one.

        Returns None when the session has none, False when this one was used before. Who sends the
        command again because its answer was lost finds the token just used, which is good.
        """
        arguments = [presented, following, now_ms, _AGAIN_MS, life_s]
        keys = [_KEYS.refresh(session)]
        done = await self._connections.run("refresh", lambda: self._rotate(keys, arguments))
        return None if done == 0 else done > 0

    async def end_refresh(self, session: str) -> None:
        """Forget a session's refresh token."""
        await self._connections.run("refresh", lambda: self._redis.delete(_KEYS.refresh(session)))

    async def idle(self, sessions: list[str]) -> list[str]:
        """Return those sessions that have no refresh token any more."""

        async def read() -> list[int]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for session in sessions:
                    pipe.exists(_KEYS.refresh(session))
                answers: list[int] = await pipe.execute()
                return answers

        if not sessions:
            return []
        there = await self._connections.run("refresh", read)
        return [session for session, exists in zip(sessions, there, strict=True) if not exists]

    async def attempt(self, address: str, account: str) -> Full | None:
        """Count an attempt to log in, and return what is full instead, if anything is."""
        keys = [f"{LOGIN}address:{address}", f"{LOGIN}account:{account}"]
        arguments = [_WINDOW_S, *MAX_ATTEMPTS.values()]
        wait_s, which = await self._connections.run(
            "attempt", lambda: self._attempt(keys, arguments)
        )
        return Full((*MAX_ATTEMPTS,)[which - 1], wait_s) if wait_s else None

    async def guess(self, user: str) -> int:
        """Count a code, and return the seconds to wait instead of looking at it, 0 for none."""
        keys, arguments = [f"{LOGIN}code:{user}"], [_GUESSES_S, MAX_GUESSES]
        wait_s, _ = await self._connections.run("attempt", lambda: self._attempt(keys, arguments))
        return int(wait_s)

    async def guessed(self, user: str) -> None:
        """Forget a person's codes: one was right."""
        key = f"{LOGIN}code:{user}"
        await self._connections.run("attempt", lambda: self._redis.delete(key))

    async def try_challenge(self, challenge: str) -> bool:
        """Count an answer to a challenge; return whether it may be looked at."""
        return await self._count_try(challenge, MAX_TRIES, "")

    async def spend_challenge(self, challenge: str) -> bool:
        """Use a challenge up; return whether it was not yet: of all who ask, one is told so."""
        return await self._count_try(challenge, MAX_TRIES + 1, str(MAX_TRIES + 1))

    async def _count_try(self, challenge: str, bound: int, value: str) -> bool:
        keys, arguments = [f"{LOGIN}challenge:{challenge}"], [bound, value, CHALLENGE_S]
        return bool(await self._connections.run("attempt", lambda: self._try(keys, arguments)))

    async def succeeded(self, address: str, account: str, attempts: int = 1) -> None:
        """Take counted attempts back that were right, and with them the account's others."""
        keys = [f"{LOGIN}address:{address}", f"{LOGIN}account:{account}"]
        await self._connections.run("attempt", lambda: self._forgive(keys, [attempts]))

    async def take_back(self, address: str, account: str) -> None:
        """Take a counted attempt back that came to nothing, neither right nor wrong."""
        keys = [f"{LOGIN}address:{address}", f"{LOGIN}account:{account}"]
        await self._connections.run("attempt", lambda: self._take_back(keys, []))
