"""The copy of all people and sessions that a replica holds, and the way to change it.

As `publishing.mirror` does for projects: the change log is followed, positions are compared each
second, and whatever does not follow on what is here means reading everything again. A change is
worked out against memory, made in one atomic step that Redis refuses when somebody was faster, and
applied here before it returns. All there is to it is smaller than flags, so it is read whole.
"""

import asyncio
import logging
import random
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Self

import msgspec

from control_plane.audit.chain import link
from control_plane.audit.differences import Difference, differences
from control_plane.audit.model import MAX_TARGETS, AuditEntry, Author
from control_plane.errors import Conflict, Unavailable
from control_plane.repeats import Repeats
from control_plane.store.connection import RedisError
from control_plane.store.keys import DIRECTORY, REFUSED
from control_plane.store.projects import Commit, Position, Write
from control_plane.supervise import Failed, stop, supervise, unnoted
from control_plane.times import now_rfc3339
from control_plane.users.logs import find_or_make
from control_plane.users.model import SessionRecord, UserRecord
from control_plane.users.store import Loaded, UserStore

__all__ = ["Directory", "DirectoryChange"]

logger = logging.getLogger(__name__)

_VERIFY_S = 1.0
_ATTEMPTS = 25
_COMMIT_S = 5.0
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """What one request does to people and sessions: records by their ids, None removes.

    Without any it is an event that is only written down. `targets` are what the audit log names
    besides the users.
    """

    action: str
    author: Author
    users: Mapping[str, UserRecord | None] = field(default_factory=dict)
    sessions: Mapping[str, SessionRecord | None] = field(default_factory=dict)
    targets: tuple[str, ...] = ()


class _Message(msgspec.Struct, frozen=True):
    """One entry of the change log."""

    previous: str
    head: str
    users: dict[str, UserRecord | None] = {}
    sessions: dict[str, SessionRecord | None] = {}


_decode = msgspec.json.Decoder(_Message).decode


class Directory:
    """People and sessions, by id. An async context manager, entered once."""

    def __init__(self, store: UserStore, failed: Failed = unnoted) -> None:
        # Process
        self._store = store
        self._failed = failed
        self._unfollowed = Repeats(logger, "people cannot be followed in Redis")
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.loaded = asyncio.Event()
        """Set once all was read; it stays so while Redis is away."""
        # People
        self.users: dict[str, UserRecord] = {}
        self.sessions: dict[str, SessionRecord] = {}
        self.by_email: dict[str, str] = {}
        self.sessions_of: defaultdict[str, set[str]] = defaultdict(set)
        self._position = Position("", 0, "")
        self._verified_s = monotonic()

    async def __aenter__(self) -> Self:
        work = supervise("directory", self._run, self._failed)
        self._task = asyncio.create_task(work, name="directory")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await stop(self._task)

    def find(self, email: str) -> UserRecord | None:
        """Return the person with an address, as `model.plain_email` gives it."""
        user = self.by_email.get(email)
        return None if user is None else self.users[user]

    def verified_age_ms(self) -> int:
        """Return how long ago Redis last confirmed who there is."""
        return int((monotonic() - self._verified_s) * 1000)

    async def commit(self, build: Callable[[], DirectoryChange]) -> DirectoryChange:
        """Make a change durable and current here, and return it.

        `build` works it out from what is here, raises an ApiError to refuse, and is called again
        when another replica was faster. It must not wait.

        Raises:
            Conflict: others were faster again and again; Unavailable: Redis did not answer.
        """
        if not self.loaded.is_set():
            raise Unavailable("who there is has not been read from Redis yet", code="not_loaded")
        try:
            async with asyncio.timeout(_COMMIT_S), self._lock:
                for _ in range(_ATTEMPTS):
                    change = build()
                    commit = self._step(change)
                    if await self._store.steps.commit(DIRECTORY, commit):
                        self._apply(change.users, change.sessions, commit.after)
                        return change
                    await self._realign()
                    # a command sent again found its own first attempt
                    if self._position.head == commit.after.head and (
                        await self._store.steps.settle(DIRECTORY, self._position)
                    ):
                        return change
        except (TimeoutError, RedisError):
            raise Unavailable(
                "Redis does not answer; the change may or may not have been stored",
                code="redis_unavailable",
            ) from None
        raise Conflict("others changed people meanwhile, again and again", code="contended")

    def _step(self, change: DirectoryChange) -> Commit:
        before = self._position
        audit = self._audit(change, before.sequence + 1)
        after = Position(before.epoch, before.sequence + 1, link(before.head, audit))
        message = _Message(before.head, after.head, dict(change.users), dict(change.sessions))
        writes = [
            Write(table, key, None if record is None else _encode(record))
            for table, records in (("users", change.users), ("sessions", change.sessions))
            for key, record in records.items()
        ]
        return Commit(before, after, _encode(message), audit, {}, writes)

    def _audit(self, change: DirectoryChange, sequence: int) -> bytes:
        found: list[Difference] = []
        omitted = 0
        for key, record in change.users.items():
            old = self.users.get(key)
            more, left = differences(f"user:{key}", _document(old), _document(record))
            found += more
            omitted += left
        targets = [f"user:{key}" for key in change.users]
        targets += [f"session:{key}" for key in change.sessions]
        targets += change.targets
        entry = AuditEntry(
            sequence=sequence,
            at=now_rfc3339(),
            actor=change.author.actor,
            address=change.author.address,
            action=change.action,
            targets=targets[:MAX_TARGETS],
            count=len(targets),
            reason=change.author.reason,
            differences=found,
            omitted=omitted,
            nonce=secrets.token_hex(8),
            project=DIRECTORY,
        )
        return _encode(entry)

    def _apply(
        self,
        users: Mapping[str, UserRecord | None],
        sessions: Mapping[str, SessionRecord | None],
        position: Position,
    ) -> None:
        for key, user in users.items():
            old = self.users.pop(key, None)
            if old is not None and self.by_email.get(old.email) == key:
                del self.by_email[old.email]
            if user is not None:
                self.users[key] = user
                self.by_email[user.email] = key
        for key, session in sessions.items():
            before = self.sessions.pop(key, None)
            if before is not None:
                self.sessions_of[before.user].discard(key)
                if not self.sessions_of[before.user]:
                    del self.sessions_of[before.user]
            if session is not None:
                self.sessions[key] = session
                self.sessions_of[session.user].add(key)
        self._position = position

    def _take_all(self, loaded: Loaded) -> None:
        self.users, self.sessions = {}, {}
        self.by_email, self.sessions_of = {}, defaultdict(set)
        self._apply(loaded.users, loaded.sessions, loaded.position)

    # Following

    async def _run(self) -> None:
        while True:
            try:
                if not self.loaded.is_set():
                    await self._begin()
                await self._verify()
                await self._follow()
            except RedisError as error:
                self._unfollowed.warn(error)
                await asyncio.sleep(random.uniform(0.05, 1.0))  # noqa: S311 - spreads retries

    async def _begin(self) -> None:
        """Make the directory and the log beside it if there are none, and read it."""
        await find_or_make(self._store.steps, REFUSED, "log.create")
        await find_or_make(self._store.steps, DIRECTORY, "directory.create")
        async with self._lock:
            await self._realign()
        self.loaded.set()

    async def _verify(self) -> None:
        asked_s = monotonic()
        stored = (await self._store.steps.positions([DIRECTORY]))[DIRECTORY]
        if stored != self._position:
            async with self._lock:
                await self._realign()
        self._verified_s = asked_s

    async def _follow(self) -> None:
        until = monotonic() + _VERIFY_S
        while (left_s := until - monotonic()) > 0:
            after = {DIRECTORY: self._position.sequence}
            for changes in (await self._store.steps.follow(after, left_s)).values():
                async with self._lock:
                    await self._take(changes)

    async def _realign(self) -> None:
        """Get to where Redis stands; the caller holds the lock."""
        position = (await self._store.steps.positions([DIRECTORY]))[DIRECTORY]
        if position is not None and position.epoch == self._position.epoch:
            await self._take(await self._store.steps.changes(DIRECTORY, self._position.sequence))
            if self._position == position:
                return
        loaded = await self._store.load()
        if loaded is None:
            logger.error("there are no people in Redis any more; those known here are kept")
            return
        self._take_all(loaded)

    async def _take(self, changes: list[tuple[int, bytes]]) -> None:
        """Apply changes that follow on what is here; others are left to `_realign`."""
        for sequence, data in changes:
            if sequence != self._position.sequence + 1:
                continue
            message = _decode(data)
            if message.previous == self._position.head:
                position = Position(self._position.epoch, sequence, message.head)
                self._apply(message.users, message.sessions, position)


def _document(record: UserRecord | None) -> Any:
    """Return what an audit entry compares of a person: not when they came last.

    Of second factors it says which there are, and nothing that proves anything.
    """
    if record is None:
        return None
    built = msgspec.to_builtins(record)
    for name in ("version", "updated_at", "last_login_at"):
        built.pop(name)
    built["totp"] = None if record.totp is None else record.totp.created_at
    built["passkeys"] = [{"id": each.id, "name": each.name} for each in record.passkeys]
    built["recovery"] = len(record.recovery)
    return built
