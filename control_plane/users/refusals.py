"""Who was not let in, and why: an audit log of its own, under the name `~refused`.

Anybody can fail to log in, as often as addresses they have allow, and an audit log keeps so many
entries. In the log of people and sessions they would push out what was done; here they push out
each other. It is chained, exported, verified and shortened as any other, and nobody follows it.
"""

import asyncio
import secrets

import msgspec

from control_plane.audit.chain import link
from control_plane.audit.model import AuditEntry, Author
from control_plane.errors import Conflict, Unavailable
from control_plane.store.connection import RedisError
from control_plane.store.keys import REFUSED
from control_plane.store.projects import Commit, Position, ProjectStore
from control_plane.times import now_rfc3339
from control_plane.users.logs import find_or_make

__all__ = ["Refusals"]

_ATTEMPTS = 25
_COMMIT_S = 5.0
_NO_CHANGE = b"{}"
_encode = msgspec.json.Encoder().encode


class Refusals:
    """The log of one Redis, written to by this replica and others."""

    def __init__(self, steps: ProjectStore) -> None:
        self._steps = steps
        self._lock = asyncio.Lock()
        self._position: Position | None = None

    async def write(self, author: Author, targets: tuple[str, ...]) -> None:
        """Write down that somebody was refused; `author.reason` says why.

        Raises:
            Conflict: others were faster again and again; Unavailable: Redis did not answer.
        """
        try:
            async with asyncio.timeout(_COMMIT_S), self._lock:
                before = self._position or await find_or_make(self._steps, REFUSED, "log.create")
                for _ in range(_ATTEMPTS):
                    audit = _entry(before.sequence + 1, author, targets)
                    head = link(before.head, audit)
                    after = Position(before.epoch, before.sequence + 1, head)
                    step = Commit(before, after, _NO_CHANGE, audit, {}, ())
                    if await self._steps.commit(REFUSED, step):
                        self._position = after
                        return
                    before = self._position = await find_or_make(self._steps, REFUSED, "log.create")
                    if before.head == head:
                        return  # a command sent again found its own first attempt
        except (TimeoutError, RedisError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        raise Conflict("others were refused meanwhile, again and again", code="contended")


def _entry(sequence: int, author: Author, targets: tuple[str, ...]) -> bytes:
    entry = AuditEntry(
        sequence=sequence,
        at=now_rfc3339(),
        actor=author.actor,
        address=author.address,
        action="session.refuse",
        targets=list(targets),
        count=len(targets),
        reason=author.reason,
        nonce=secrets.token_hex(8),
        project=REFUSED,
    )
    return _encode(entry)
