"""A project's data in Redis: read all of it, write one step, read the steps of others.

Deals in bytes and names; what a record means is `control_plane.publishing.state`'s. The layout is
`store.keys`, the atomic steps are `store.scripts`. Every method raises `RedisError` when Redis is
away, in bounded time.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from control_plane.store.connection import FOLLOW_BLOCK_S, Connections
from control_plane.store.keys import (
    HISTORY_DAYS,
    HISTORY_VERSIONS,
    MAX_CHANGES,
    PROJECTS,
    ProjectKeys,
)
from control_plane.store.scripts import COMMIT, CREATE, RENEW, SETTLE, TRIM_AUDIT

__all__ = ["AuditRow", "AuditState", "Commit", "Position", "ProjectStore", "StoredProject", "Write"]

_DAY_S = 24 * 3600
_LARGE_OPS = 4_000  # items of a commit's operations; eight a flag, so it is 500 flags
_LIST_32 = b"\xdd"  # before the number of its items, of 32 bits
_WRITES_AT_ONCE = 200  # put into a command before others are let run: a millisecond
_LARGE_BYTES = 1024 * 1024  # of blobs of a commit: ten of them


_encode = msgspec.msgpack.Encoder().encode


class Position(NamedTuple):
    """Where a project's history stands. `head` is the link of its newest audit entry.

    Two histories never have the same: every entry has something random in it.
    """

    epoch: str
    sequence: int
    head: str


class StoredProject(NamedTuple):
    """All of a project at one moment."""

    meta: dict[str, str]
    flags: dict[str, bytes]
    segments: dict[str, bytes]
    environments: dict[str, bytes]
    keys: dict[str, bytes]


class Write(NamedTuple):
    """One record to set, or with None to remove. `table` is an attribute of `ProjectKeys`.

    `history` is the version to keep of it, if versions of it are kept.
    """

    table: str
    key: str
    record: bytes | None
    history: bytes | None = None


class Commit(NamedTuple):
    """One atomic step, from one position to the next. `meta` are further fields to set there.

    `blobs` are units to set by their digests, `dropped` digests of those to remove.
    """

    before: Position
    after: Position
    change: bytes
    audit: bytes
    meta: Mapping[str, str]
    writes: Iterable[Write]
    blobs: Mapping[str, bytes] = {}
    dropped: Collection[str] = ()


class AuditRow(NamedTuple):
    """An entry of the audit log: the id it is stored under, its number, its links, its bytes.

    Entries of before there were links have none.
    """

    id: str
    sequence: int
    previous: str
    head: str
    entry: bytes


class AuditState(NamedTuple):
    """Where an audit log ends, what is stored of where it begins, and how long it is."""

    sequence: int
    head: str
    checkpoint: bytes
    entries: int


class ProjectStore:
    """Projects in Redis."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        # Replies are bytes, as asked for; redis-py's types are of all protocols and decodings.
        self._redis: Any = connections.commands
        self._blocking: Any = connections.blocking
        self._commit = self._redis.register_script(COMMIT)
        self._create = self._redis.register_script(CREATE)
        self._renew = self._redis.register_script(RENEW)
        self._trim_audit = self._redis.register_script(TRIM_AUDIT)
        self._settle = self._redis.register_script(SETTLE)

    async def names(self) -> set[str]:
        """Return the names of projects; one may have no data (yet)."""
        members = await self._connections.run("names", lambda: self._redis.smembers(PROJECTS))
        return {member.decode() for member in members}

    async def create(
        self,
        name: str,
        meta: Mapping[str, str],
        environments: Mapping[str, bytes],
        audit: bytes,
        *,
        listed: bool = True,
    ) -> bool:
        """Make a project, and return whether it was not there before.

        `listed` is whether replicas look for it among the projects.
        """
        keys = ProjectKeys(name)
        args: list[str | bytes | int] = [len(meta)]
        for field, value in meta.items():
            args += (field, value)
        args.append(audit)
        for environment, record in environments.items():
            args += (environment, record)
        # The name first: a name without data is passed over, data without a name is lost.
        if listed:
            await self._connections.run("names", lambda: self._redis.sadd(PROJECTS, name))
        created = await self._connections.run(
            "create",
            lambda: self._create(keys=[keys.meta, keys.environments, keys.audit], args=args),
        )
        return bool(created)

    async def load(self, name: str) -> StoredProject | None:
        """Return all of a project, read at one moment, or None when there is no such data."""
        keys = ProjectKeys(name)

        async def read() -> list[dict[bytes, bytes]]:
            async with self._redis.pipeline(transaction=True) as pipe:
                for key in (keys.meta, keys.flags, keys.segments, keys.environments, keys.keys):
                    pipe.hgetall(key)
                answers: list[dict[bytes, bytes]] = await pipe.execute()
                return answers

        meta, *tables = await self._connections.run_long("load", read)
        if not meta:
            return None
        text = {field.decode(): value.decode() for field, value in meta.items()}
        return StoredProject(text, *({k.decode(): v for k, v in t.items()} for t in tables))

    async def positions(self, names: Iterable[str]) -> dict[str, Position | None]:
        """Return where projects stand; None for one that is not there."""
        wanted = list(names)

        async def read() -> list[list[bytes | None]]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in wanted:
                    pipe.hmget(ProjectKeys(name).meta, "epoch", "sequence", "head")
                replies: list[list[bytes | None]] = await pipe.execute()
                return replies

        answers = await self._connections.run("positions", read)
        return {name: _position(a) for name, a in zip(wanted, answers, strict=True)}

    async def commit(self, name: str, commit: Commit) -> bool:
        """Make a step durable; False when the project stands elsewhere than it was made for."""
        names = ProjectKeys(name)
        keys = [names.meta, names.changes, names.audit]
        index: dict[str, int] = {names.meta: 1}
        oldest_ms = int((time.time() - HISTORY_DAYS * _DAY_S) * 1000)
        ops = _Operations()

        def position(key: str) -> int:
            if key not in index:
                keys.append(key)
                index[key] = len(keys)
            return index[key]

        for field, value in commit.meta.items():
            ops.add("set", 1, field, value)
        for number, write in enumerate(commit.writes, start=1):
            if number % _WRITES_AT_ONCE == 0:
                await asyncio.sleep(0)
            table = position(getattr(names, write.table))
            if write.record is None:
                ops.add("remove", table, write.key, "")
            else:
                ops.add("set", table, write.key, write.record.decode())
            if write.history is not None:
                history = position(names.flag_history(write.key))
                if write.record is None:
                    ops.add("bury", history, write.history.decode(), HISTORY_DAYS * _DAY_S)
                else:
                    ops.add("keep", history, write.history.decode(), oldest_ms)
        for number, digest in enumerate(commit.blobs, start=1):
            ops.add("blob", position(names.units), digest, number)
        for digest in commit.dropped:
            ops.add("remove", position(names.units), digest, "")
        args: list[str | bytes | int] = [
            *(commit.before.epoch, commit.before.sequence, commit.before.head),
            *(commit.after.sequence, commit.after.head),
            *(commit.change, commit.audit),
            *(MAX_CHANGES, HISTORY_VERSIONS),
            ops.encoded(),
            *commit.blobs.values(),
        ]
        connections, client = self._connections, self._redis
        run = connections.run
        if ops.count >= _LARGE_OPS or sum(map(len, commit.blobs.values())) > _LARGE_BYTES:
            run, client = connections.run_long, connections.large
        done = await run("commit", lambda: self._commit(keys=keys, args=args, client=client))
        return bool(done)

    async def settle(self, name: str, position: Position) -> bool:
        """Return whether a project stands here, on as many replicas as writes wait for.

        For who found a step done whose answer was lost: nobody has waited for replicas yet, and a
        master that was over when it took the step has told of it, too. Without replicas to wait for
        nothing is asked.
        """
        if not self._connections.limits.replicas:
            return True
        keys = [ProjectKeys(name).meta]
        args = [position.epoch, position.sequence, position.head]
        answer = await self._connections.run("settle", lambda: self._settle(keys=keys, args=args))
        return bool(answer)

    async def units(self, name: str, digests: Iterable[str]) -> dict[str, bytes]:
        """Return the units of blobs as they are stored; those that are not there are left out.

        A blob is some 100 KB: ask for few at a time.
        """
        wanted = list(digests)
        if not wanted:
            return {}
        large: Any = self._connections.large
        key = ProjectKeys(name).units
        found = await self._connections.run_long("units", lambda: large.hmget(key, wanted))
        pairs = zip(wanted, found, strict=True)
        return {digest: data for digest, data in pairs if data is not None}

    async def renew(
        self,
        name: str,
        before: Position,
        after: Position,
        change: bytes,
        audit: bytes,
        at: str,
    ) -> bool:
        """Replace a project's epoch, as one more change; False when it stands elsewhere.

        All its environments are published anew, at the time `at`.
        """
        names = ProjectKeys(name)
        done = await self._connections.run(
            "renew",
            lambda: self._renew(
                keys=[names.meta, names.changes, names.audit],
                args=[*before, *after, change, audit, at],
            ),
        )
        return bool(done)

    async def audit(
        self, name: str, *, newest: str = "+", oldest: str = "-", count: int, forward: bool = False
    ) -> list[AuditRow]:
        """Return entries of the audit log between two ids, newest first unless `forward`."""
        key = ProjectKeys(name).audit
        read = self._redis.xrange if forward else self._redis.xrevrange
        bounds = {"min": oldest, "max": newest, "count": count}
        rows = await self._connections.run_long("audit", lambda: read(key, **bounds))
        return [_audit_row(row) for row in rows]

    async def audit_state(self, name: str) -> AuditState | None:
        """Return where the audit log begins and ends, None where there is no such project."""
        keys = ProjectKeys(name)

        async def read() -> list[Any]:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(keys.meta, "sequence", "head", "audit_checkpoint")
                pipe.xlen(keys.audit)
                answers: list[Any] = await pipe.execute()
                return answers

        (sequence, head, checkpoint), entries = await self._connections.run("audit", read)
        if sequence is None or head is None:
            return None
        return AuditState(int(sequence), head.decode(), checkpoint or b"", entries)

    async def trim_audit(self, name: str, seen: bytes, checkpoint: bytes, first: str) -> int | None:
        """Remove what is older than an entry; None when another replica did so meanwhile."""
        keys = ProjectKeys(name)
        arguments = [seen, checkpoint, first]
        removed = await self._connections.run_long(
            "audit", lambda: self._trim_audit(keys=[keys.meta, keys.audit], args=arguments)
        )
        return None if removed < 0 else int(removed)

    async def changes(
        self, name: str, after: int, count: int = MAX_CHANGES
    ) -> list[tuple[int, bytes]]:
        """Return the changes after a sequence number, oldest first, at most as many as are kept."""
        key = ProjectKeys(name).changes
        entries = await self._connections.run_long(
            "changes", lambda: self._redis.xrange(key, min=f"{after + 1}-0", count=count)
        )
        return [_change(entry) for entry in entries]

    async def follow(
        self, after: Mapping[str, int], wait_s: float = FOLLOW_BLOCK_S
    ) -> dict[str, list[tuple[int, bytes]]]:
        """Return the changes after sequence numbers, by project, waiting a while for the first."""
        block_ms = max(1, int(min(wait_s, FOLLOW_BLOCK_S) * 1000))  # 0 would be for ever
        streams = {ProjectKeys(name).changes: name for name in after}
        positions = {key: f"{after[name]}-0" for key, name in streams.items()}
        answer = await self._connections.run_long(
            "follow",
            lambda: self._blocking.xread(positions, count=100, block=block_ms),
        )
        return {streams[key.decode()]: [_change(e) for e in entries] for key, entries in answer}

    async def history(self, name: str, key: str, start: int, count: int) -> list[bytes]:
        """Return versions of a flag, newest first, from a position on."""
        history = ProjectKeys(name).flag_history(key)
        rows = await self._connections.run(
            "history", lambda: self._redis.lrange(history, start, start + count - 1)
        )
        return [row.partition(b" ")[2] for row in rows]


class _Operations:
    """Operations of a commit, in one flat list of MessagePack, encoded as they are added.

    All at once would be a long step. What is text is given as text, because Redis reads no other
    strings of MessagePack.
    """

    def __init__(self) -> None:
        self.count = 0
        """Items of the list; each operation has four."""
        self._pieces: list[bytes] = []

    def add(self, *operation: str | int) -> None:
        """Add an operation."""
        self.count += len(operation)
        # a list of fewer than 16 begins with one byte, which is left out
        self._pieces.append(_encode(operation)[1:])

    def encoded(self) -> bytes:
        """Return the list."""
        return b"".join((_LIST_32, self.count.to_bytes(4, "big"), *self._pieces))


def _position(answer: list[bytes | None]) -> Position | None:
    epoch, sequence, head = answer
    if epoch is None or sequence is None or head is None:
        return None
    return Position(epoch.decode(), int(sequence), head.decode())


def _audit_row(row: tuple[bytes, dict[bytes, bytes]]) -> AuditRow:
    entry_id, fields = row
    return AuditRow(
        entry_id.decode(),
        int(fields.get(b"sequence", b"0")),
        fields.get(b"previous", b"").decode(),
        fields.get(b"head", b"").decode(),
        fields.get(b"entry", b""),
    )


def _change(entry: tuple[bytes, dict[bytes, bytes]]) -> tuple[int, bytes]:
    entry_id, fields = entry
    return int(entry_id.partition(b"-")[0]), fields[b"change"]
