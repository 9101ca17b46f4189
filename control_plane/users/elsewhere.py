"""Passwords that are not kept here: what a login asks of whoever knows them."""

from typing import Protocol

from control_plane.users.model import UserRecord

__all__ = ["Elsewhere", "NotAdmitted", "Unproved"]


class Unproved(Exception):
    """A password is not somebody's, or they may not log in by it: `why`, for the audit log alone.
    `user` is who they claimed to be, if they are here, `whom` what another system that has them
    calls them: never what was typed, which may be a password in the wrong field."""

    def __init__(self, why: str, user: UserRecord | None = None, whom: str = "") -> None:
        super().__init__(why)
        self.user = user
        self.whom = whom


class NotAdmitted(Exception):
    """Somebody is who `method` proved, and may not come in: the text says why, to them too.
    `whom` is what the other system calls them."""

    def __init__(
        self, detail: str, method: str, user: UserRecord | None = None, whom: str = ""
    ) -> None:
        super().__init__(detail)
        self.method = method
        self.user = user
        self.whom = whom


class Elsewhere(Protocol):
    """Another system that keeps passwords of people."""

    method: str
    """How sessions say that their person was proved there."""

    def knows(self, user: UserRecord) -> bool:
        """Return whether somebody here is one of its people."""

    def account(self, name: str) -> str:
        """Return as what attempts of a name are counted: names that are the same there are one."""

    async def prove(self, name: str, password: str, address: str) -> UserRecord:
        """Return whose password it is.

        Raises:
            Unproved; NotAdmitted; Conflict; Unavailable: it does not answer, and nothing is known.
        """
