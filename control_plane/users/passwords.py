"""Passwords: their hashes, and the check of one, in threads.

Hashed with argon2id, 46 MiB, one pass, one lane (OWASP's first choice), which takes a thread some
40 ms and its memory; so two at a time, a few may wait, and then it is 503. The check of somebody
who is not there takes as long as that of who is. A hash that was made with other parameters is
made anew when its password was right.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from control_plane.errors import Unavailable
from control_plane.users.policy import MAX_PASSWORD_CHARS

__all__ = ["PARAMETERS", "Passwords"]

T = TypeVar("T")

PARAMETERS = {"time_cost": 1, "memory_cost": 46 * 1024, "parallelism": 1}
"""Of argon2id; memory in KiB."""

_AT_ONCE = 2
_WAITING = 32


class Passwords:
    """Hashes and checks passwords; close it when done."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(
            time_cost=PARAMETERS["time_cost"],
            memory_cost=PARAMETERS["memory_cost"],
            parallelism=PARAMETERS["parallelism"],
        )
        self._threads = ThreadPoolExecutor(_AT_ONCE, "argon2")
        self._busy = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """Return the hash of a password; raises Unavailable when too many wait."""
        return await self._run(lambda: self._hasher.hash(password))

    async def check(self, stored: str, password: str) -> bool:
        """Return whether a password is right; an empty hash is nobody's, and takes as long.

        Raises:
            Unavailable: too many wait.
        """
        if len(password) > MAX_PASSWORD_CHARS:
            password = ""
        return await self._run(lambda: self._verify(stored, password))

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str, password: str) -> bool:
        if not stored and not self._nobody:
            self._nobody = self._hasher.hash("nobody has this password")
        try:
            self._hasher.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return bool(stored)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._busy >= _AT_ONCE + _WAITING:
            raise Unavailable("too many log in at once", retry_after_s=2, code="busy")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._busy -= 1
