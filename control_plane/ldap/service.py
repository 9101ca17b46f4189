"""Logins whose password an LDAP server knows, off the event loop, a few at a time.

Each login has a thread while it talks, and all of `timeout_s`, its time in line included: a server
that hangs holds up nobody but who waits for it, and those are told so in time. A thread that cannot
be ended, because a name is still being resolved, counts as busy until it is.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from control_plane.errors import Unavailable
from control_plane.ldap.client import Entry, LdapClient, Outcome, ServersAway, tls_context
from control_plane.ldap.model import METHOD, LdapConfig, first_value, issuer_of, plain_name
from control_plane.sso.model import Assertion
from control_plane.sso.people import Refused, VouchedPeople, whom
from control_plane.users.elsewhere import NotAdmitted, Unproved
from control_plane.users.model import Identity, UserRecord

__all__ = ["LdapLogins", "Observe", "assertion_of", "make_logins"]

logger = logging.getLogger(__name__)

_WAITING = 32
_GRACE_S = 0.5  # for a thread to find out by itself that its time is over, and to say of what

Observe = Callable[[str, float], None]
"""Told what a login came to (`right`, `wrong`, `unavailable`, `busy`), and how many seconds it
took."""


class LdapLogins:
    """Proves people at LDAP servers (`users.elsewhere.Elsewhere`); close it when done."""

    method = METHOD

    def __init__(
        self,
        config: LdapConfig,
        client: LdapClient,
        people: VouchedPeople,
        observe: Observe = lambda outcome, seconds: None,
    ) -> None:
        self._config = config
        self._client = client
        self._people = people
        self._observe = observe
        self._issuer = issuer_of(config.base_dn)
        self._threads = ThreadPoolExecutor(config.connections, "ldap")
        self._busy = 0

    def knows(self, user: UserRecord) -> bool:
        """Return whether somebody here is somebody there."""
        return any(each.issuer == self._issuer for each in user.identities)

    def account(self, name: str) -> str:
        """Return as what attempts of a name are counted."""
        return plain_name(name)

    async def prove(self, name: str, password: str, address: str) -> UserRecord:
        """Return whose password it is, made or brought up to date here.

        Raises:
            Unproved; NotAdmitted; Conflict; Unavailable: `ldap_unavailable`, `busy`.
        """
        outcome = await self._ask(name, password)
        entry = outcome.entry
        if entry is None:
            raise Unproved(f"{METHOD}: {outcome.why}")
        said = assertion_of(self._config, entry, outcome)
        if outcome.why:
            user = self._people.find(self._identity(entry))
            raise Unproved(f"{METHOD}: {outcome.why}", user, whom(said))
        try:
            return await self._people.admit(said, address)
        except Refused as error:
            raise NotAdmitted(str(error), METHOD, error.user, whom(said)) from None

    def close(self) -> None:
        """Take no more logins, and end those under way."""
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, name: str, password: str) -> Outcome:
        if self._busy >= self._config.connections + _WAITING:
            self._observe("busy", 0.0)
            raise Unavailable("too many log in at once", retry_after_s=2, code="busy")
        began = monotonic()
        deadline = began + self._config.timeout_s
        self._busy += 1
        work = self._threads.submit(self._client.login, name, password, deadline)
        work.add_done_callback(self._finished(asyncio.get_running_loop()))
        try:
            async with asyncio.timeout(self._config.timeout_s + _GRACE_S):
                outcome = await asyncio.wrap_future(work)
        except (ServersAway, TimeoutError) as error:
            logger.warning("nobody of LDAP can log in: %s", str(error) or "no answer in time")
            self._observe("unavailable", monotonic() - began)
            detail = (
                "the LDAP server does not answer as it should; who has a password here can log in"
            )
            raise Unavailable(detail, retry_after_s=5, code="ldap_unavailable") from None
        self._observe("wrong" if outcome.why else "right", monotonic() - began)
        return outcome

    def _finished(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def done() -> None:
            self._busy -= 1

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done)

        return tell

    def _identity(self, entry: Entry) -> Identity:
        return Identity(self._issuer, entry.subject)


def make_logins(config: LdapConfig, people: VouchedPeople, observe: Observe) -> LdapLogins:
    """Return logins at the servers of the settings; raises OSError: no authorities to trust."""
    return LdapLogins(config, LdapClient(config, tls_context(config.ca_file)), people, observe)


def assertion_of(config: LdapConfig, entry: Entry, outcome: Outcome) -> Assertion:
    """Return what an entry says of its person."""
    email = first_value(entry.attributes, config.email_attributes)
    return Assertion(
        issuer=issuer_of(config.base_dn),
        subject=entry.subject,
        email=email,
        is_verified=config.trust_email and bool(email),
        name=first_value(entry.attributes, config.name_attributes),
        groups=outcome.groups,
    )
