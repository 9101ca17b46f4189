"""The audit log: read page by page, given out whole, shortened when its time is over.

Reading filters here, not in Redis: a request looks at `_MOST_READ` entries at most, and says with
its cursor where the next one goes on, so that a filter that nothing matches costs no one a wait.

A log is shortened at its old end alone, in one atomic step that leaves a checkpoint: how many
entries went, and the link that the oldest one left names. It is signed where there are signing
keys, so that nobody without them can shorten a log unseen.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import msgspec

from control_plane.audit.chain import GENESIS, Checkpoint, Link, check, checkpoint_text
from control_plane.audit.model import AuditEntry, AuditResource
from control_plane.errors import NotFound, Unavailable
from control_plane.publishing.replica import Replica
from control_plane.publishing.signing import SigningKey
from control_plane.store.connection import RedisError
from control_plane.store.keys import DIRECTORY, MAX_AUDIT_ENTRIES, REFUSED
from control_plane.store.projects import AuditRow, AuditState
from control_plane.supervise import Failed, stop, supervise, unnoted
from control_plane.times import now_rfc3339

__all__ = ["AuditFilter", "AuditLog", "AuditPage", "Retention"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_MOST_READ = 5_000
_PIECE = 500
_SWEEP_S = 3_600.0
_DAY_MS = 24 * 3_600 * 1_000
_LEEWAY = 1_000  # entries over the bound before a log is shortened: not one at each change

_decode = msgspec.json.Decoder(AuditEntry).decode
_encode = msgspec.json.Encoder().encode
_read_checkpoint = msgspec.json.Decoder(Checkpoint).decode


class AuditFilter(NamedTuple):
    """What of a log is asked for; None is anything. `action` may be the beginning of one, `flag.`.

    `target` is `<kind>:<key>`; `since_ms` and `until_ms` are Unix time, the latter not included.
    """

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, entry: AuditEntry) -> bool:
        """Return whether an entry is asked for; times are looked at elsewhere."""
        return (
            (self.actor is None or entry.actor == self.actor)
            and (self.action is None or _is_action(entry.action, self.action))
            and (self.target is None or self.target in entry.targets)
        )


class AuditPage(NamedTuple):
    """Entries, newest first, and where the next page goes on, None at the end of the log."""

    items: list[AuditResource]
    next: str | None


class Retention(NamedTuple):
    """How long entries are kept, and how many at most."""

    days: int
    entries: int = MAX_AUDIT_ENTRIES


class AuditLog:
    """The audit logs of all projects. An async context manager: within it they are shortened."""

    def __init__(
        self,
        replica: Replica,
        retention: Retention,
        keys: Sequence[SigningKey] = (),
        failed: Failed = unnoted,
    ) -> None:
        self._replica = replica
        self._store = replica.store
        self._retention = retention
        self._keys = sorted(keys, key=lambda key: key.id)
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        work = supervise("audit retention", self._sweep, self._failed)
        self._task = asyncio.create_task(work, name="audit retention")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await stop(self._task)

    async def page(
        self, project: str, wanted: AuditFilter, after: str | None, limit: int
    ) -> AuditPage:
        """Return entries older than the one with the id `after`.

        Raises:
            NotFound: there is no such project; Unavailable: Redis did not answer.
        """
        self._check(project)
        newest = "+" if wanted.until_ms is None else f"({max(0, wanted.until_ms)}-0"
        if after is not None:
            newest = f"({after}"
        oldest = "-" if wanted.since_ms is None else f"{max(0, wanted.since_ms)}-0"
        items: list[AuditResource] = []
        read = 0
        while True:
            rows = await self._read(project, newest=newest, oldest=oldest, count=_PIECE)
            for row in rows:
                read += 1
                entry = _decode(row.entry)
                if wanted.takes(entry):
                    items.append(_resource(row, entry))
                if len(items) == limit or read == _MOST_READ:
                    return AuditPage(items, row.id)
            if len(rows) < _PIECE:
                return AuditPage(items, None)
            newest = f"({rows[-1].id}"

    async def begin(self, project: str) -> tuple[AuditState, Checkpoint | None]:
        """Return where a log ends and where it begins; entries that come later are not its.

        Raises:
            NotFound: there is no such project; Unavailable: Redis did not answer.
        """
        self._check(project)
        state = await self._asked(self._store.audit_state(project))
        if state is None:
            raise NotFound(f"there is no project {project!r}", code="project_not_found")
        return state, _read_checkpoint(state.checkpoint) if state.checkpoint else None

    async def rows(self, project: str, state: AuditState) -> AsyncIterator[AuditRow]:
        """Yield the entries of a log up to where it stood, oldest first."""
        oldest = "-"
        while True:
            rows = await self._read(project, oldest=oldest, count=_PIECE, forward=True)
            for row in rows:
                yield row
                if row.head == state.head:
                    return
            if len(rows) < _PIECE:
                return
            oldest = f"({rows[-1].id}"

    async def shorten(self, project: str, now_ms: int) -> int:
        """Remove what is older than the retention allows, and return how many entries that was.

        Nothing is removed, nor signed for, of a log that does not hold: its beginning must be the
        first entry or a checkpoint of these keys, and from there on each entry must link.
        """
        state, before = await self.begin(project)
        first = await self._first_to_keep(project, state, now_ms)
        if first is None:
            return 0
        # read after `first` was chosen: what is before it does not change any more
        oldest = await self._read(project, oldest="-", count=1, forward=True)
        if not oldest or oldest[0].id == first.id:
            return 0
        if before is not None and not self._is_ours(before):
            logger.error("the audit log of %s begins with a checkpoint of no key here", project)
            return 0
        count = await self._count_before(project, first, GENESIS if before is None else before.head)
        if count is None:
            logger.error("the audit log of %s does not hold, and is not shortened", project)
            return 0
        already = 0 if before is None else before.removed
        checkpoint = self._signed(
            Checkpoint(
                project=project,
                sequence=first.sequence - 1,
                head=first.previous or GENESIS,
                removed=already + count,
                at=now_rfc3339(),
            )
        )
        removed = await self._asked(
            self._store.trim_audit(project, state.checkpoint, _encode(checkpoint), first.id)
        )
        return removed or 0

    async def _sweep(self) -> None:
        """Shorten all logs, now and every hour, for ever."""
        while True:
            await self._replica.wait_loaded(_SWEEP_S)
            for project in [*self._replica.projects, DIRECTORY, REFUSED]:
                try:
                    removed = await self.shorten(project, time.time_ns() // 1_000_000)
                except NotFound:
                    continue  # deleted meanwhile, or a log that nothing was written to yet
                except Unavailable as error:
                    logger.warning("the audit log of %s could not be shortened: %s", project, error)
                    continue
                if removed:
                    logger.info(
                        "%d audit entries of project %s were removed, older than "
                        "MATRIXFLAG_AUDIT_DAYS or more than are kept; a checkpoint stands for them",
                        removed,
                        project,
                    )
            await asyncio.sleep(_SWEEP_S)

    def _check(self, project: str) -> None:
        if project not in (DIRECTORY, REFUSED):
            self._replica.project(project)

    async def _first_to_keep(self, project: str, state: AuditState, now_ms: int) -> AuditRow | None:
        """Return the oldest entry that stays, None where nothing has to go. The newest stays."""
        since_ms = max(0, now_ms - self._retention.days * _DAY_MS)
        kept = await self._read(project, oldest=f"{since_ms}-0", count=1, forward=True)
        if not kept:
            kept = await self._read(project, count=1)
        if not kept or state.entries <= self._retention.entries + _LEEWAY:
            return kept[0] if kept else None
        newest = "+"
        left = self._retention.entries
        while left > 0:
            rows = await self._read(project, newest=newest, count=min(left, _PIECE))
            if not rows or _time(rows[-1].id) < _time(kept[0].id):
                return kept[0]
            left -= len(rows)
            newest = f"({rows[-1].id}"
        return rows[-1]

    async def _count_before(self, project: str, first: AuditRow, head: str) -> int | None:
        """Return how many entries lead from a link to an entry, None if they do not lead there."""
        count, oldest = 0, "-"
        while True:
            rows = await self._read(
                project, oldest=oldest, newest=f"({first.id}", count=_PIECE, forward=True
            )
            count += len(rows)
            links = [Link(row.sequence, row.previous, row.head, row.entry) for row in rows]
            verdict = check(links, head, None)
            if verdict.breaks:
                return None
            head = verdict.head
            if len(rows) < _PIECE:
                return count if head == first.previous else None
            oldest = f"({rows[-1].id}"

    def _is_ours(self, checkpoint: Checkpoint) -> bool:
        """Return whether a checkpoint is one of these keys; without keys any is."""
        text = checkpoint_text(checkpoint)
        return not self._keys or any(key.sign(text) in checkpoint.signatures for key in self._keys)

    def _signed(self, checkpoint: Checkpoint) -> Checkpoint:
        text = checkpoint_text(checkpoint)
        signatures = [key.sign(text) for key in self._keys]
        return msgspec.structs.replace(checkpoint, signatures=signatures)

    async def _read(
        self,
        project: str,
        *,
        count: int,
        newest: str = "+",
        oldest: str = "-",
        forward: bool = False,
    ) -> list[AuditRow]:
        return await self._asked(
            self._store.audit(project, newest=newest, oldest=oldest, count=count, forward=forward)
        )

    async def _asked(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (TimeoutError, RedisError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None


def _is_action(action: str, wanted: str) -> bool:
    return action.startswith(wanted) if wanted.endswith(".") else action == wanted


def _time(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


def _resource(row: AuditRow, entry: AuditEntry) -> AuditResource:
    return AuditResource(
        sequence=row.sequence,
        at=entry.at,
        actor=entry.actor,
        address=entry.address,
        action=entry.action,
        reason=entry.reason,
        targets=entry.targets,
        count=entry.count,
        differences=entry.differences,
        omitted=entry.omitted,
        previous=row.previous,
        head=row.head,
    )
