"""Attempts to prove oneself, whatever with: counted by address and by account, over all replicas.

An attempt is counted before anything is looked at. One that led somewhere is taken back with the
account's failed ones; one that came to nothing, because whoever knows the answer was away, is taken
back alone, so that to cause an outage gives no new guesses. What failed stays, and is written down.
"""

import logging
import math
from hashlib import sha256

from control_plane.audit.model import Author
from control_plane.errors import TooManyRequests, Unavailable
from control_plane.networks import site_of
from control_plane.store.connection import RedisError
from control_plane.users.model import UserRecord
from control_plane.users.refusals import Refusals
from control_plane.users.store import UserStore

__all__ = ["FROM_ADDRESS", "TO_ACCOUNT", "Attempts", "duration"]

logger = logging.getLogger(__name__)

FROM_ADDRESS, TO_ACCOUNT = "from this address", "to this account"
"""What has too many attempts to log in."""


class Attempts:
    """Those of everybody. An account is whatever text guesses at one thing have in common."""

    def __init__(self, store: UserStore, refusals: Refusals) -> None:
        self._store = store
        self._refusals = refusals

    async def count(self, address: str, account: str, whose: str = TO_ACCOUNT) -> None:
        """Count an attempt; raises TooManyRequests: `login_throttled`; Unavailable.

        `whose` says in the answer what `account` is. Nobody's is counted as anybody's, so that it
        does not tell who is here.
        """
        try:
            full = await self._store.attempt(site_of(address), _name(account))
        except (RedisError, TimeoutError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        if full is not None:
            whose = FROM_ADDRESS if full.which == "address" else whose
            detail = f"too many attempts to log in {whose}: try again in {duration(full.wait_s)}"
            raise TooManyRequests(detail, full.wait_s, code="login_throttled")

    async def forgive(self, address: str, account: str, attempts: int = 1) -> None:
        """Take attempts back that led somewhere, and the account's failed ones."""
        try:
            await self._store.succeeded(site_of(address), _name(account), attempts)
        except (RedisError, TimeoutError):
            logger.warning("an attempt to log in that was right stays counted: no Redis")

    async def take_back(self, address: str, account: str) -> None:
        """Take an attempt back that came to nothing; others that failed stay counted."""
        try:
            await self._store.take_back(site_of(address), _name(account))
        except (RedisError, TimeoutError):
            logger.warning("an attempt to log in that came to nothing stays counted: no Redis")

    async def note_failure(
        self, user: UserRecord | None, why: str, address: str, whom: str = ""
    ) -> None:
        """Write down that somebody was not let in, where it pushes out nothing that was done.

        The entry names them by `user`, else by `whom`, which another system calls them. What was
        typed as an address is never given for it: it may be a password.

        Raises:
            Conflict: others were faster again and again; Unavailable: Redis did not answer.
        """
        author = Author("anonymous", address, f"login failed: {why}")
        target = f"person:{whom}" if user is None else f"user:{user.id}"
        await self._refusals.write(author, () if target == "person:" else (target,))


def duration(wait_s: float) -> str:
    """Return how long that is for people, not less: minutes, or hours of many."""
    minutes = math.ceil(wait_s / 60)
    number, unit = (minutes, "minute") if minutes < 100 else (math.ceil(minutes / 60), "hour")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _name(account: str) -> str:
    return sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:32]
