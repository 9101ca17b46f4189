"""People whom another system vouches for, in the directory: made when they first come, and given
what their groups say each time they do.

- Who somebody is, is issuer and subject. An address leads to somebody who is here already only if
  the system has verified it, and they are not known from there as somebody else.
- Their roles are the system's to say, so a role that it takes away is gone with the next login.
  Groups that give nothing take all roles away, and end the sessions.
- Whoever is disabled here stays so.
"""

import logging
import secrets
from collections.abc import Callable, Sequence

import msgspec

from control_plane.access.roles import Binding
from control_plane.audit.model import Author
from control_plane.errors import Conflict
from control_plane.sso.model import Assertion, GroupRole, roles_of
from control_plane.times import now_rfc3339
from control_plane.users.directory import Directory, DirectoryChange
from control_plane.users.model import Identity, UserRecord, check_email, plain_email
from control_plane.users.service import MAX_USERS

__all__ = ["Refused", "VouchedPeople", "whom"]

logger = logging.getLogger(__name__)


class Refused(Exception):
    """Somebody is who they are, and may not come in. `user` is the record, if there is one."""

    def __init__(self, detail: str, user: UserRecord | None = None) -> None:
        super().__init__(detail)
        self.user = user


class VouchedPeople:
    """The door to the directory for who comes from another system."""

    def __init__(
        self,
        directory: Directory,
        given: Sequence[GroupRole],
        address: str = "it has to be a claim `email`",
        now: Callable[[], str] = now_rfc3339,
    ) -> None:
        self._directory = directory
        self._given = given
        self._address = address  # where the system is to say it, for who has to see to it
        self._now = now

    def find(self, identity: Identity) -> UserRecord | None:
        """Return who is here of another system's people."""
        users = self._directory.users.values()
        return next((each for each in users if identity in each.identities), None)

    async def admit(self, said: Assertion, address: str) -> UserRecord:
        """Return the record of somebody, made or brought up to date.

        Raises:
            Refused: no role, no usable address, disabled, or the address is another's here;
            Conflict: `too_many`, `contended`; Unavailable.
        """
        said = said._replace(email=plain_email(said.email), name=_shown(said.name))
        roles = roles_of(said.groups, self._given)
        by = Author("sso", address, f"as {said.issuer} says"[:200])
        admitted: list[UserRecord] = []

        def build() -> DirectoryChange:
            known = self._known(said)
            record = self._record(said, roles, known)
            admitted[:] = [record]
            if known is None:
                return DirectoryChange("user.provision", by, {record.id: record})
            action = "user.link" if known.identities != record.identities else "user.provision"
            # who has no role left is not merely kept from coming again
            ended = () if roles else self._directory.sessions_of.get(known.id, ())
            return DirectoryChange(action, by, {record.id: record}, dict.fromkeys(ended))

        known = self._known(said)
        if not roles and (known is None or not self._is_theirs(known, said)):
            raise Refused("none of your groups has a role here")
        if known is None or self._record(said, roles, known) is not known:
            await self._directory.commit(build)
            known = admitted[0]
        if not roles:
            raise Refused("none of your groups has a role here any more", known)
        return known

    def _known(self, said: Assertion) -> UserRecord | None:
        """Return who it is of those that are here; raises Refused."""
        known = self.find(Identity(said.issuer, said.subject))
        if known is None:
            if check_email(said.email, ""):
                raise Refused(f"the provider says no address of yours; {self._address}")
            known = self._directory.find(said.email)
            if known is not None and (
                not said.is_verified or any(i.issuer == said.issuer for i in known.identities)
            ):
                raise Refused(
                    f"{said.email} is somebody's here, and the provider does not vouch that it is "
                    "yours: an administrator has to delete that account first",
                    known,
                )
        if known is not None and known.disabled:
            raise Refused("your account is disabled here", known)
        return known

    def _record(
        self, said: Assertion, roles: tuple[Binding, ...], known: UserRecord | None
    ) -> UserRecord:
        """Return the record as it shall be, the same one if nothing is new."""
        identity, at = Identity(said.issuer, said.subject), self._now()
        if known is None:
            if len(self._directory.users) >= MAX_USERS:
                raise Conflict(f"{MAX_USERS} people are all there can be", code="too_many")
            return UserRecord(
                id=f"u_{secrets.token_hex(8)}",
                email=said.email,
                name=said.name,
                roles=roles,
                version=1,
                created_at=at,
                updated_at=at,
                identities=(identity,),
            )
        changed = msgspec.structs.replace(
            known, roles=roles, name=said.name or known.name, email=self._email(said, known)
        )
        if identity not in known.identities:
            # an invitation that still lies in somebody's mail must not open this account
            changed = msgspec.structs.replace(
                changed,
                identities=(*known.identities, identity),
                invitation=None,
                invited_until=None,
            )
        if changed == known:
            return known
        return msgspec.structs.replace(changed, version=known.version + 1, updated_at=at)

    def _email(self, said: Assertion, known: UserRecord) -> str:
        """Return the address as it is said now, if it can be theirs."""
        if said.email == known.email or check_email(said.email, ""):
            return known.email
        if self._directory.find(said.email) is not None:
            logger.warning("the new address of %s is another's here; it is not taken", known.id)
            return known.email
        return said.email

    def _is_theirs(self, user: UserRecord, said: Assertion) -> bool:
        return Identity(said.issuer, said.subject) in user.identities


def whom(said: Assertion) -> str:
    """Return what the log of who was refused calls somebody who is nobody here: their address, or
    what else the other system calls them. It is that system's word, never what somebody typed."""
    return _shown(plain_email(said.email) or said.name or said.subject)


def _shown(name: str) -> str:
    """Return a name as it can be kept."""
    return "".join(c if c.isprintable() else " " for c in name).strip()[:200]
