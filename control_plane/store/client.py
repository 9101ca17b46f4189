"""A redis-py client whose commands find the right server by themselves, whatever the topology.

It has the methods of `redis.asyncio.Redis`; beneath them each command goes to the server that
`topology` names for the slot of its key, in a pool of connections per server. What goes wrong is of
three kinds:

- Refused by a server that is not, or not now, the one to ask (MOVED, ASK, READONLY, TRYAGAIN,
  CLUSTERDOWN, MASTERDOWN, LOADING): nothing was done, so it is sent again, elsewhere or later.
- A broken connection: it may have been done. It is sent again as often as `repeats` says, because
  every command here is safe to repeat.
- No answer: not sent again, because a server that hangs would be waited for several times over.

Beyond redis-py: scripts are sent in full to a server that does not know them; XREAD and XREADGROUP
take streams of several slots; a pipeline goes to each server it concerns; and with `replicas`, what
a script writes is answered when so many replicas have it.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

import redis.asyncio as redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    DataError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from control_plane.store.address import Address
from control_plane.store.topology import Servers

__all__ = ["Client", "NotReplicated", "PoolLimits", "Script", "keys_of"]

_REDIRECTIONS = 8  # of one command; each slot moves once, as a rule
_POLL_S = 0.05  # between two looks at streams that no server can wait for together
_NOT_HERE = (ReadOnlyError, ClusterDownError, BusyLoadingError)  # MASTERDOWN is a CLUSTERDOWN
_AGAIN_ALONE = (MovedError, AskError, TryAgainError, NoScriptError, *_NOT_HERE)
_ACKNOWLEDGED = {"EVAL", "SADD"}  # beside scripts that are known, what is waited for

_WITHOUT_KEY = {"PING", "ECHO", "TIME"}
_ALL_KEYS = {"DEL", "UNLINK", "EXISTS", "TOUCH", "MGET", "SUNION", "SINTER", "SDIFF", "PFCOUNT"}
_OF_ONE_SERVER = {"SCAN", "KEYS", "DBSIZE", "FLUSHALL", "FLUSHDB", "RANDOMKEY", "INFO", "ROLE"}
_OF_ONE_SERVER |= {"CONFIG", "CLIENT", "CLUSTER", "SCRIPT", "DEBUG", "WAIT", "LASTSAVE"}

_Command = tuple[tuple[Any, ...], dict[str, Any]]


class NotReplicated(RedisError):
    """Written by the master, and not by as many replicas as were asked for: it may be lost yet."""


class Script(NamedTuple):
    """A script, and whether replicas are waited for after it."""

    text: str
    waited: bool


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How one client uses its servers. Times in seconds."""

    timeout_s: float
    """For the answer to a command; also how long a slot under migration is waited for."""
    connect_s: float
    wait_s: float
    """For a free connection."""
    connections: int
    """To each server."""
    repeats: int
    """Of a command whose connection broke."""
    refusals: int
    """How often a command may be refused by who is not the one to ask."""
    backoff_s: float
    """Longest pause before a repeat; the first is a tenth of it."""
    replicas: int = 0
    """How many have to have what a script wrote."""
    replicas_s: float = 0.5
    """How long they are waited for."""


def keys_of(command: Sequence[Any]) -> Sequence[Any]:
    """Return the keys of a command as redis-py puts it: its name first, then its arguments."""
    name = _name(command)
    if name in _WITHOUT_KEY or name in _OF_ONE_SERVER:
        return ()
    if name in {"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"}:
        return command[3 : 3 + int(command[2])]
    if name in {"XREAD", "XREADGROUP"}:
        streams = command[_streams(command) + 1 :]
        return streams[: len(streams) // 2]
    if name in _ALL_KEYS:
        return command[1:]
    if name in {"BLPOP", "BRPOP"}:
        return command[1:-1]
    return command[1:2]


class Client(redis.Redis):
    """Commands to whichever servers there are. See `Connections` for how it is used."""

    def __init__(
        self,
        servers: Servers,
        options: Mapping[str, Any],
        limits: PoolLimits,
        scripts: dict[str, "Script"],
    ) -> None:
        self._servers = servers
        self._options = dict(options)
        self._limits = limits
        self._scripts = scripts
        self._backoff = EqualJitterBackoff(cap=limits.backoff_s, base=limits.backoff_s / 10)
        self._nodes: dict[Address, redis.Redis] = {}
        self._closing: set[asyncio.Task[None]] = set()
        super().__init__(connection_pool=_NoPool(**self._options))

    # What redis-py builds its methods on

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Return the answer to a command.

        Raises:
            RedisError: as redis-py does, after what could be mended was tried.
        """
        keys = keys_of(args)
        slot = self._slot(args, keys)
        if slot is None and keys:
            return await self._read_apart(args, options)
        return await self._routed(
            slot, lambda node, asking: self._send(node, args, options, asking)
        )

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "_Pipeline":
        """Return a pipeline; in a transaction all keys are of one slot."""
        return _Pipeline(self, transaction=transaction)

    def register_script(self, script: Any, *, waited: bool = True) -> Any:
        """Return a script as redis-py does, known to all clients of these `Connections`.

        Not `waited` is for what may be lost in a fail-over, and for what only reads.
        """
        made = super().register_script(script)
        self._scripts[made.sha] = Script(script, waited)
        return made

    async def masters(self) -> dict[Address, redis.Redis]:
        """Return a plain client of each master, for what concerns servers and not keys."""
        await self._servers.owner(None)
        return {address: self._node(address) for address in self._servers.masters}

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    # Ways of a command

    async def _routed(
        self, slot: int | None, send: Callable[[redis.Redis, bool], Awaitable[Any]]
    ) -> Any:
        """Have it sent to the server of a slot, and again where or when it is to be sent again."""
        until = monotonic() + self._limits.timeout_s
        repeats = refusals = redirections = waits = 0
        asked: Address | None = None
        while True:
            address: Address | None = None
            try:
                address = asked or await self._servers.owner(slot)
                return await send(self._node(address), asked is not None)
            except (MovedError, AskError) as error:
                redirections += 1
                if redirections > _REDIRECTIONS:
                    raise
                # A node that does not know its own host leaves it out.
                target = (error.host or address[0] if address else error.host, error.port)
                if isinstance(error, MovedError):
                    self._servers.moved(error.slot_id, target)
                    asked = None
                else:
                    asked = target
                if redirections > 2:
                    await self._pause(redirections)  # nodes do not agree yet
                continue
            except TryAgainError:
                redirections = 0  # to and fro until all keys of the slot have arrived
                waits += 1
                if monotonic() > until:
                    raise
                await self._pause(waits)
            except _NOT_HERE as error:
                refusals += 1
                if address is not None and isinstance(error, ReadOnlyError):
                    await self._leave(address)
                if refusals > self._limits.refusals:
                    raise
                await self._pause(refusals)
                await self._ask_anew()
            except AuthenticationError:
                raise  # nobody else knows better
            except (RedisConnectionError, OSError):
                repeats += 1
                self._servers.doubt()
                if repeats > self._limits.repeats:
                    raise
                await self._pause(repeats)
                await self._ask_anew()
            asked = None

    async def _send(
        self, node: Any, args: tuple[Any, ...], options: dict[str, Any], asking: bool
    ) -> Any:
        """Send a command to a server, in full if it is a script that is not known there."""
        waited = self._is_waited(args)
        try:
            return await self._send_once(node, args, options, asking, waited)
        except NoScriptError:
            full = self._in_full(args)
            if full is args:
                raise
            return await self._send_once(node, full, options, asking, waited)

    async def _send_once(
        self,
        node: Any,
        args: tuple[Any, ...],
        options: dict[str, Any],
        asking: bool,
        waited: bool,
    ) -> Any:
        if not asking and not waited:
            return await node.execute_command(*args, **options)
        # On one connection: what is waited for, or allowed, is what it did last, or does next.
        stack: list[_Command] = [(args, dict(options))]
        if asking:
            stack.insert(0, (("ASKING",), {}))
        answers = await self._batch(node, stack, waited)
        answer = answers[-1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _batch(self, node: Any, stack: list[_Command], waited: bool) -> list[Any]:
        """Return the answers of a server to several commands, errors among them."""
        limits = self._limits
        pipe = node.pipeline(transaction=False)
        pipe.command_stack = [(args, dict(options)) for args, options in stack]
        if waited:
            pipe.execute_command("WAIT", limits.replicas, int(limits.replicas_s * 1000))
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        if waited:
            reached = answers.pop()
            if isinstance(reached, Exception):
                raise reached
            if reached < limits.replicas and not all(isinstance(a, Exception) for a in answers):
                raise NotReplicated(
                    f"{reached} of {limits.replicas} replicas have it "
                    f"after {limits.replicas_s:g} s; it may be lost in a fail-over"
                )
        return answers

    async def _pipelined(self, stack: list[_Command]) -> list[Any]:
        """Return the answers to commands, each from the server that has its key."""
        answers: list[Any] = [None] * len(stack)
        pending = list(range(len(stack)))
        repeats = 0
        while pending:
            groups: dict[Address, list[int]] = defaultdict(list)
            failed: list[int] = []
            broken: BaseException | None = None
            for index in pending:
                args = stack[index][0]
                try:
                    address = await self._servers.owner(self._slot(args, keys_of(args)))
                except RedisConnectionError as error:
                    failed.append(index)
                    broken = error
                else:
                    groups[address].append(index)
            results = await asyncio.gather(
                *(self._to_one(a, [stack[i] for i in group]) for a, group in groups.items()),
                return_exceptions=True,
            )
            for group, result in zip(groups.values(), results, strict=True):
                if not isinstance(result, BaseException):
                    for index, answer in zip(group, result, strict=True):
                        answers[index] = answer
                elif isinstance(result, RedisConnectionError | OSError):
                    failed += group
                    broken = result
                else:
                    raise result
            pending = sorted(failed)
            if pending and broken is not None:
                repeats += 1
                self._servers.doubt()
                if repeats > self._limits.repeats:
                    raise broken
                await self._pause(repeats)
                await self._ask_anew()
        for index, answer in enumerate(answers):
            if isinstance(answer, _AGAIN_ALONE):
                args, options = stack[index]
                try:
                    answers[index] = await self.execute_command(*args, **options)
                except RedisError as error:
                    answers[index] = error
        return answers

    async def _to_one(self, address: Address, stack: list[_Command]) -> list[Any]:
        waited = any(self._is_waited(args) for args, _ in stack)
        return await self._batch(self._node(address), stack, waited)

    async def _transaction(self, stack: list[_Command]) -> list[Any]:
        """Return the answers to commands that are done together."""
        full = [(self._in_full(args), options) for args, options in stack]
        slots = {self._slot(args, keys_of(args)) for args, _ in full if keys_of(args)}
        if len(slots) > 1:
            raise DataError("a transaction concerns keys of one slot alone")

        async def send(node: Any, _: bool) -> list[Any]:
            pipe = node.pipeline(transaction=True)
            pipe.command_stack = [(args, dict(options)) for args, options in full]
            try:
                answers: list[Any] = await pipe.execute(raise_on_error=False)
            except AskError as error:
                if isinstance(error, MovedError):
                    raise
                # Its keys are on their way from one node to another: wait until they arrived.
                raise TryAgainError(str(error)) from error
            return answers

        return list(await self._routed(slots.pop() if slots else None, send))

    async def _read_apart(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Read streams of several slots: look at each again and again while none has anything.

        A server waits for streams of one slot alone, and a connection for each would be as many
        connections as there are streams.
        """
        at = _streams(args)
        head = [*args[:at]]
        until = monotonic()
        if b"BLOCK" in head:
            position = head.index(b"BLOCK")
            wait_ms = int(head[position + 1])
            until = monotonic() + wait_ms / 1000 if wait_ms else float("inf")
            del head[position : position + 2]
        rest = args[at + 1 :]
        by_slot: dict[int | None, list[tuple[Any, Any]]] = defaultdict(list)
        for stream in zip(rest[: len(rest) // 2], rest[len(rest) // 2 :], strict=True):
            by_slot[self._slot((), stream[:1])].append(stream)
        stack: list[_Command] = [
            ((*head, b"STREAMS", *(k for k, _ in some), *(i for _, i in some)), dict(options))
            for some in by_slot.values()
        ]
        while True:
            found: Any = None
            for answer in await self._pipelined(stack):
                if isinstance(answer, Exception):
                    raise answer
                if answer:
                    found = answer if found is None else _joined(found, answer)
            if found is not None or monotonic() >= until:
                return [] if found is None else found
            await asyncio.sleep(_POLL_S)

    # Servers

    def _slot(self, args: Sequence[Any], keys: Sequence[Any]) -> int | None:
        """Return the slot of keys; None for several, which only the reading of streams takes."""
        if self._servers.topology != "cluster":
            return 0
        slots = {key_slot(key if isinstance(key, bytes) else str(key).encode()) for key in keys}
        if len(slots) == 1:
            return slots.pop()
        if not keys:
            if args and _name(args) in _OF_ONE_SERVER:
                raise DataError(f"{args[0]} is of one server: ask each of `masters()`")
        elif not args or _name(args) not in {"XREAD", "XREADGROUP"}:
            raise DataError(f"{args[0]} concerns keys of one slot alone")
        return None

    def _node(self, address: Address) -> redis.Redis:
        """Return the client of a server; those of servers that are no masters are closed."""
        node = self._nodes.get(address)
        if node is None:
            for former in self._nodes.keys() - set(self._servers.masters):
                closing = asyncio.create_task(_close(self._nodes.pop(former)))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            node = self._nodes[address] = redis.Redis.from_pool(self._pool(address))
        return node

    def _pool(self, address: Address) -> redis.BlockingConnectionPool:
        limits = self._limits
        host, port = address
        where: dict[str, Any] = (
            {"host": host, "port": port, "socket_keepalive": True} if port else {"path": host}
        )
        given: dict[str, Any] = {
            "max_connections": limits.connections,
            "timeout": limits.wait_s,
            "socket_connect_timeout": limits.connect_s,
            "socket_timeout": limits.timeout_s,
            # Repeats are ours: redis-py's would go to the same server.
            "retry": Retry(NoBackoff(), 0),
        }
        return redis.BlockingConnectionPool(**(given | where | self._options))

    async def _leave(self, address: Address) -> None:
        """Close idle connections to a server, so that new ones go to whoever has its name now."""
        if address in self._nodes:
            with contextlib.suppress(RedisError, OSError):
                await self._nodes[address].connection_pool.disconnect(inuse_connections=False)

    async def _ask_anew(self) -> None:
        # Nobody answers who could know: what is known is tried again, and fails by itself.
        with contextlib.suppress(RedisError):
            await self._servers.refresh()

    async def _pause(self, failures: int) -> None:
        await asyncio.sleep(self._backoff.compute(failures))

    def _is_waited(self, args: tuple[Any, ...]) -> bool:
        """Return whether a command is answered when replicas have what it wrote."""
        if not self._limits.replicas:
            return False
        if args[0] == "EVALSHA":
            script = self._scripts.get(args[1])
            return script is None or script.waited
        return args[0] in _ACKNOWLEDGED

    def _in_full(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        script = self._scripts.get(args[1]) if args[0] == "EVALSHA" else None
        return args if script is None else ("EVAL", script.text, *args[2:])


class _NoPool(redis.ConnectionPool):
    """Where redis-py reads how values are encoded. It has no connection to give."""

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Refuse."""
        raise DataError("neither subscriptions nor locks nor WATCH work in every topology")


class _Pipeline(Pipeline):
    """Commands that are sent together. WATCH is not for it: scripts do what it is used for."""

    def __init__(self, client: Client, *, transaction: bool) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, None)
        self._client = client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command."""
        if args[0] == "WATCH":
            raise DataError("WATCH is not supported, use a script")
        self.command_stack.append((args, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Return the answers to all commands added so far."""
        stack: list[_Command] = [(args, dict(more)) for args, more in self.command_stack]
        self.command_stack = []
        if not stack:
            return []
        run = self._client._transaction if self.is_transaction else self._client._pipelined
        answers = await run(stack)
        if raise_on_error:
            self.raise_first_error([*stack], answers)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers


def _name(command: Sequence[Any]) -> str:
    """Return the first word of a command; redis-py puts `CONFIG GET` as one argument."""
    return str(command[0]).upper().partition(" ")[0]


def _streams(command: Sequence[Any]) -> int:
    """Return where the word STREAMS is."""
    for index, part in enumerate(command):
        if part == b"STREAMS":  # as redis-py puts it; a group may have that name, as text
            return index
    raise DataError("no STREAMS in it")


def _joined(one: Any, other: Any) -> Any:
    return {**one, **other} if isinstance(one, dict) else [*one, *other]


async def _close(node: redis.Redis) -> None:
    with contextlib.suppress(RedisError, OSError):
        await node.aclose()
