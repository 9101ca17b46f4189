"""What can be done with people and sessions. Who may do it is the routes' table to say.

- Whoever logs in is told the same, in the same time, whether the address, the password or the
  person's standing was wrong; the audit log knows which.
- Whatever takes something from a person, a password that is changed, being disabled or deleted,
  ends their sessions in the same step.
- There is always an administrator once there is one: the last can be neither deleted, disabled nor
  made less. The first is made with a password, and by one of those who try at the same time.
- A password alone begins no session of somebody who has a second factor (`users.factors`), and
  takes no failed attempt back.
- A password that is kept here is looked at here; whoever has none is asked for at another system,
  where one is configured (`users.elsewhere`). Then all failed logins are answered at the same beat.
"""

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from time import monotonic
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from control_plane.access.model import Principal
from control_plane.access.roles import ANYWHERE, Binding, Role
from control_plane.audit.model import Author
from control_plane.documents import Precondition
from control_plane.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
)
from control_plane.store.connection import RedisError
from control_plane.times import rfc3339, utc_now
from control_plane.users.attempts import Attempts
from control_plane.users.challenges import Challenges
from control_plane.users.directory import Directory, DirectoryChange
from control_plane.users.elsewhere import Elsewhere, NotAdmitted, Unproved
from control_plane.users.model import (
    Credentials,
    Invited,
    RoleInput,
    SessionRecord,
    SessionResource,
    Tokens,
    UserInput,
    UserPatch,
    UserRecord,
    UserResource,
    check_email,
    check_roles,
    factors_of,
    has_shown_factor,
    plain_email,
    user_resource,
)
from control_plane.users.passkeys import Passkeys
from control_plane.users.passwords import Passwords
from control_plane.users.places import Places
from control_plane.users.policy import check_password
from control_plane.users.proofs import SecondFactor
from control_plane.users.store import CHALLENGE_S, UserStore
from control_plane.users.tokens import ACCESS_TOKEN_S, TokenMaker
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem

__all__ = ["MAX_USERS", "Lifetimes", "UserService", "stamp_of"]

logger = logging.getLogger(__name__)

MAX_USERS = 5_000
MAX_SESSIONS_EACH = 20
"""Of one person; the oldest ends when one more begins."""
_INVITED_FOR = timedelta(days=7)
_BEAT_S = 0.25  # what an LDAP server takes, and what a hash takes, are both less
_MAX_AGENT_CHARS = 200
_REFRESH = re.compile(r"mf_refresh_(s_[0-9a-f]{16})\.[A-Za-z0-9_-]{43}")
_WRONG = "the address or the password is wrong, or the account is disabled"
_ADMINISTRATOR = Binding(Role.ADMIN)


class Lifetimes(NamedTuple):
    """How long a session lasts in all, and how long it may be idle, in seconds."""

    session_s: int = 30 * 24 * 3600
    idle_s: int = 7 * 24 * 3600


class _SomebodyIsThere(Exception):
    """Nobody is to be made for want of anybody."""


class UserService:
    """People, their sessions, and the principals that tokens stand for."""

    def __init__(
        self,
        directory: Directory,
        store: UserStore,
        attempts: Attempts,
        passwords: Passwords,
        tokens: TokenMaker,
        challenges: Challenges,
        passkeys: Passkeys,
        places: Places,
        lifetimes: Lifetimes | None = None,
        needing_factor: Collection[Role] = (),
        elsewhere: Elsewhere | None = None,
        now: Callable[[], datetime] = utc_now,
        keys_of: Callable[[str], Iterable[str]] = lambda _actor: (),
        provider: str = "",
    ) -> None:
        """`keys_of` names the keys, `key:<id>`, that an actor of the audit log made; `provider` is
        the issuer at which people log in besides, if there is one."""
        self._provider = provider
        self.attempts = attempts
        self._keys_of = keys_of
        self._directory = directory
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._challenges = challenges
        self._passkeys = passkeys
        self._places = places
        self._needing_factor = frozenset(needing_factor)
        self._elsewhere = elsewhere
        self._lifetimes = lifetimes or Lifetimes()
        self._now = now

    # People

    def page(
        self, after: str | None, limit: int, email: str | None = None
    ) -> tuple[list[UserResource], str | None]:
        """Return people in the order of their ids, and where the next page starts, if any.

        With `email` it is who has that address, however it is written.
        """
        ids: Iterable[str] = self._directory.users
        if email is not None:
            found = self._directory.find(plain_email(email))
            ids = () if found is None else (found.id,)
        wanted = sorted(key for key in ids if after is None or key > after)
        items = [self._shown(self._directory.users[key]) for key in wanted[:limit]]
        return items, wanted[limit - 1] if len(wanted) > limit else None

    def actor(self, user: str) -> str:
        """Return what the audit log calls a person; raises NotFound."""
        return _actor(self.found(user))

    def get(self, user: str) -> UserResource:
        """Return a person; raises NotFound."""
        return self._shown(self.found(user))

    async def create(
        self, document: UserInput, author: Author, check: Callable[[], None] = lambda: None
    ) -> Invited:
        """Make a person, invited unless a password is given.

        `check` raises what stands against it, of who is there in the very step that adds them.

        Raises:
            Invalid: with all problems; Conflict: `user_exists`, `too_many`; Unavailable.
        """
        email = plain_email(document.email)
        problems = check_email(email, document.name) + check_roles(document.roles)
        password = ""
        if document.password is not UNSET:
            problems += check_password(document.password, email, document.name)
        roles = [each.binding() for each in document.roles]
        problems = problems or await self._places.problems(roles)
        if problems:
            raise _invalid(problems)
        self.check_loaded()
        check()  # before a hash is paid for
        if document.password is not UNSET:
            password = await self._passwords.hash(document.password)
        invitation = None if password else secrets.token_urlsafe(32)
        at = self._now()
        record = UserRecord(
            id=f"u_{secrets.token_hex(8)}",
            email=email,
            name=document.name,
            roles=_each_once(roles),
            version=1,
            created_at=rfc3339(at),
            updated_at=rfc3339(at),
            password=password,
            invitation=None if invitation is None else _hash(invitation),
            invited_until=None if invitation is None else rfc3339(at + _INVITED_FOR),
        )

        def build() -> DirectoryChange:
            check()
            if self._directory.find(email) is not None:
                detail = (
                    f"{email!r} is there already: GET /api/v1/users?email= finds them, PATCH "
                    "/api/v1/users/{id} gives them other roles, and POST .../invite another "
                    "invitation"
                )
                raise Conflict(detail, code="user_exists")
            if len(self._directory.users) >= MAX_USERS:
                raise Conflict(f"{MAX_USERS} people are all there can be", code="too_many")
            action = "user.create" if invitation is None else "user.invite"
            return DirectoryChange(action, author, {record.id: record})

        await self._directory.commit(build)
        return Invited(self._shown(record), invitation, record.invited_until)

    async def invite_again(self, user: str, author: Author) -> Invited:
        """Give a person another invitation, which ends the one before and the password they had.

        Raises:
            NotFound; Conflict: `last_admin`, because until it is taken nobody could log in.
        """
        invitation = secrets.token_urlsafe(32)
        until = rfc3339(self._now() + _INVITED_FOR)

        def build() -> DirectoryChange:
            old = self.found(user)
            record = self.changed(
                old, password="", invitation=_hash(invitation), invited_until=until
            )
            self._keep_an_admin(old, None)
            return DirectoryChange(
                "user.invite", author, {user: record}, self.without_sessions(user)
            )

        change = await self._directory.commit(build)
        return Invited(self._resource_of(change, user), invitation, until)

    async def patch(
        self, user: str, document: UserPatch, author: Author, precondition: Precondition
    ) -> UserResource:
        """Change a person. Disabling ends their sessions.

        Raises:
            NotFound, Invalid, PreconditionFailed; Conflict: `last_admin`.
        """
        name = "" if document.name is UNSET else document.name
        problems = check_email("a@b", name)
        roles = [] if document.roles is UNSET else [each.binding() for each in document.roles]
        problems += check_roles(roles)
        if roles:
            held = self.found(user).roles
            problems = problems or await self._places.problems(roles, held)
        if problems:
            raise _invalid(problems)
        given: dict[str, object] = {
            field: value
            for field in document.__struct_fields__
            if (value := getattr(document, field)) is not UNSET
        }
        if document.roles is not UNSET:
            given["roles"] = _each_once(roles)

        def build() -> DirectoryChange:
            old = self.found(user)
            precondition(old.version)
            record = self.changed(old, **given)
            self._keep_an_admin(old, record)
            ended = self.without_sessions(user) if record.disabled and not old.disabled else {}
            keys = self._keys_left(old) if record.disabled and not old.disabled else ()
            return DirectoryChange("user.patch", author, {user: record}, ended, keys)

        return self._resource_of(await self._directory.commit(build), user)

    async def delete(self, user: str, author: Author) -> None:
        """Delete a person and end their sessions; raises NotFound, Conflict: `last_admin`."""

        def build() -> DirectoryChange:
            old = self.found(user)
            self._keep_an_admin(old, None)
            ended, keys = self.without_sessions(user), self._keys_left(old)
            return DirectoryChange("user.delete", author, {user: None}, ended, keys)

        await self._directory.commit(build)

    async def create_first(self, document: UserInput, author: Author) -> Invited:
        """Make the first administrator of all projects, who can log in at once.

        Raises:
            Forbidden: `first_admin_only`, it would be anybody else;
            Conflict: `admin_exists`; and as `create`.
        """
        roles = [each.binding() for each in document.roles]
        if _ADMINISTRATOR not in roles or document.password is UNSET:
            detail = (
                "the token of ADMIN_TOKEN makes an administrator of all projects who can log in, "
                'and nobody else: `roles` has to be [{"role": "admin", "project": "*"}], with a '
                "`password`"
            )
            raise Forbidden(detail, code="first_admin_only")

        def check() -> None:
            if self.has_admin():
                detail = (
                    "there is an administrator already, and the token of ADMIN_TOKEN makes the "
                    "first alone: log in as one, who can make more. If nobody can, docs/access.md "
                    "says how to get in"
                )
                raise Conflict(detail, code="admin_exists")

        return await self.create(document, author, check)

    async def ensure_admin(self, email: str, password: str) -> bool:
        """Make the first administrator when there is nobody yet; return whether that was so."""

        def check() -> None:
            if self._directory.users:
                raise _SomebodyIsThere

        document = UserInput(
            email=email, roles=[RoleInput(Role.ADMIN, ANYWHERE)], password=password
        )
        try:
            await self.create(document, Author("system", ""), check)
        except _SomebodyIsThere:
            return False
        return True

    def has_admin(self) -> bool:
        """Return whether there is an administrator of all projects who is not kept out."""
        return any(map(_is_admin, self._directory.users.values()))

    # Passwords

    async def accept(self, token: str, password: str, address: str) -> UserResource:
        """Take an invitation by choosing a password.

        Raises:
            Unauthorized: the invitation is not good, any more or at all; Invalid.
        """
        self.check_loaded()
        user = self._invited(token)
        if problems := check_password(password, user.email, user.name):
            raise _invalid(problems)
        hashed = await self._passwords.hash(password)

        def build() -> DirectoryChange:
            old = self._invited(token)
            record = self.changed(old, password=hashed, invitation=None, invited_until=None)
            author = Author(_actor(old), address)
            return DirectoryChange("user.accept", author, {old.id: record})

        return self._resource_of(await self._directory.commit(build), user.id)

    async def change_password(
        self, user: str, session: str, current: str, new: str, author: Author
    ) -> None:
        """Give a person another password, and end their sessions but the one that asks.

        Raises:
            Unauthorized: `wrong_password`, `invalid_token`; Invalid; TooManyRequests.
        """
        record = self.found(user)
        await self.attempts.count(author.address, record.email)
        if not await self._passwords.check(record.password, current):
            raise Unauthorized("the password as it is now is another", code="wrong_password")
        problems = check_password(new, record.email, record.name)
        if new == current:
            message, hint = "it is the password as it is now", "another is needed"
            problems = [Problem("/new", ProblemCode.OUT_OF_RANGE, message, hint)]
        if problems:
            raise _invalid([msgspec.structs.replace(each, pointer="/new") for each in problems])
        hashed = await self._passwords.hash(new)

        def build() -> DirectoryChange:
            old = self.found(user)
            if old.password != record.password or session not in self._directory.sessions:
                detail = "the password or the session was taken away in this very moment"
                raise Unauthorized(detail, code="invalid_token")
            changed = self.changed(old, password=hashed)
            ended = self.without_sessions(user, but=session)
            return DirectoryChange("user.password", author, {user: changed}, ended)

        await self._directory.commit(build)
        await self.attempts.forgive(author.address, record.email)

    # Sessions

    async def login(
        self, credentials: Credentials, address: str, agent: str
    ) -> Tokens | SecondFactor:
        """Begin a session, or ask for the second factor of somebody who has one.

        Raises:
            Unauthorized: `login_failed`; Forbidden: `sso_refused`, of who was proved elsewhere;
            TooManyRequests: `login_throttled`;
            Conflict: `too_many`, `contended`, of who comes from elsewhere and would be made here;
            Unavailable: no secret to sign with, too many at once, or Redis, or whoever knows the
            password, is away.
        """
        self.check_can_begin()
        began = monotonic()
        name = plain_email(credentials.email)[:320]
        account = name if self._elsewhere is None else self._elsewhere.account(name)
        await self.attempts.count(address, account)
        try:
            user, method = await self._proved(name, credentials.password, address)
        except Unproved as error:
            await self.attempts.note_failure(error.user, str(error), address, error.whom)
            if self._elsewhere is not None:
                await asyncio.sleep((began - monotonic()) % _BEAT_S)
            raise Unauthorized(_WRONG, code="login_failed") from None
        except NotAdmitted as error:
            why = f"{error.method}: {error}"
            await self.attempts.note_failure(error.user, why, address, error.whom)
            raise Forbidden(str(error), code="sso_refused") from None
        except (Conflict, Unavailable):
            await self.attempts.take_back(address, account)
            raise
        stored = fresh = user.password
        if method == "password" and self._passwords.is_outdated(stored):
            fresh = await self._passwords.hash(credentials.password)
        if factors_of(user):
            return await self._ask(user, stored, fresh, address, method, account)
        tokens = await self.begin(user, stored, address, agent, (method,), fresh=fresh)
        await self.attempts.forgive(address, account)
        return tokens

    async def _proved(self, name: str, password: str, address: str) -> tuple[UserRecord, str]:
        """Return whose password it is, and the method of sessions that says where it is kept.

        Raises:
            Unproved, NotAdmitted, Conflict, Unavailable.
        """
        user, elsewhere = self._directory.find(name), self._elsewhere
        if elsewhere is None or (user is not None and user.password):
            stored = "" if user is None else user.password
            right = await self._passwords.check(stored, password)
            if user is not None and right and not user.disabled:
                return user, "password"
            # somebody's password here is never tried there, unless they are known to be the same
            if elsewhere is None or user is None or right or not elsewhere.knows(user):
                why = "unknown" if user is None else "disabled" if right else "wrong_password"
                raise Unproved(why, user)
        return await elsewhere.prove(name, password, address), elsewhere.method

    async def refresh(self, token: str, address: str) -> Tokens:
        """Use a refresh token up, and return the next one with a new access token.

        Raises:
            Unauthorized: `refresh_failed`; the session ends if the token was used before. One that
            was never issued ends nothing, whoever's session it names.
        """
        self.check_loaded()
        match = _REFRESH.fullmatch(token)
        session = None if match is None else self._directory.sessions.get(match[1])
        if session is None or self.is_over(session) or not self._tokens.can_sign:
            raise _no_refresh()
        following = self._tokens.make_refresh(session.id)
        try:
            done = await self._store.rotate(
                session.id,
                _hash(token),
                _hash(following),
                int(self._now().timestamp() * 1000),
                self._lifetimes.idle_s,
            )
        except (RedisError, TimeoutError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        if done is False and self._tokens.is_issued(token):
            logger.warning("a refresh token was used twice; session %s is ended", session.id)
            user = self._directory.users.get(session.user)
            author = Author("" if user is None else _actor(user), address)
            await self._end((session.id,), "session.reuse", author)
        if not done:
            raise _no_refresh()
        return self._tokens_for(session, following)

    def sessions(self, user: str, current: str | None) -> list[SessionResource]:
        """Return a person's sessions, newest first; raises NotFound."""
        self.found(user)
        records = [self._directory.sessions[s] for s in self._directory.sessions_of.get(user, ())]
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return [
            SessionResource(
                record.id,
                record.created_at,
                record.expires_at,
                record.address,
                record.agent,
                record.methods,
                record.id == current,
            )
            for record in records
            if not self.is_over(record)
        ]

    async def end_session(self, user: str, session: str, author: Author) -> None:
        """End one session of a person, at once and everywhere; raises NotFound."""
        if session not in self._directory.sessions_of.get(user, ()):
            raise NotFound(f"there is no session {session[:80]!r}", code="session_not_found")
        await self._end((session,), "session.end", author)

    async def end_sessions(self, user: str, author: Author, but: str | None = None) -> None:
        """End all sessions of a person, or all but one; raises NotFound."""
        self.found(user)
        ids = [s for s in self._directory.sessions_of.get(user, ()) if s != but]
        if ids:
            await self._end(ids, "session.end", author)

    def principal(self, token: str) -> Principal | None:
        """Return whom an access token stands for now, None for one that is not good.

        Raises:
            Unavailable: who there is has not been read yet.
        """
        self.check_loaded()
        claims = self._tokens.read(token)
        if claims is None:
            return None
        session = self._directory.sessions.get(claims.session)
        user = self._directory.users.get(claims.user)
        if session is None or user is None or session.user != user.id or user.disabled:
            return None
        if self.is_over(session):
            return None
        return Principal(
            "user",
            _actor(user),
            bindings=user.roles,
            user=user.id,
            session=session.id,
            lacks_factor=self.needs_factor(user) and not has_shown_factor(user, session),
        )

    def needs_factor(self, user: UserRecord) -> bool:
        """Return whether a role of theirs, wherever it is held, needs a second factor."""
        return any(each.role in self._needing_factor for each in user.roles)

    async def sweep(self) -> int:
        """End the sessions that are over or were idle for too long; return how many that were."""
        over = [s.id for s in self._directory.sessions.values() if self.is_over(s)]
        left = sorted(self._directory.sessions.keys() - set(over))
        over += await self._store.idle(left)
        for start in range(0, len(over), 100):
            await self._end(over[start : start + 100], "session.expire", Author("system", ""))
        return len(over)

    # Parts

    async def begin_for(
        self, user: str, address: str, agent: str, methods: tuple[str, ...]
    ) -> Tokens:
        """Begin a session of somebody whom something else than a password has proved."""
        record = self.found(user)
        if record.disabled:
            raise Unauthorized(_WRONG, code="login_failed")
        return await self.begin(record, record.password, address, agent, methods)

    async def begin(
        self,
        user: UserRecord,
        stored: str,
        address: str,
        agent: str,
        methods: tuple[str, ...],
        *,
        fresh: str | None = None,
        use: Callable[[UserRecord], UserRecord] = lambda user: user,
    ) -> Tokens:
        """Begin a session of somebody who was proved while `stored` was their password.

        `fresh` is a newer hash of it. `use` uses up what proved them, in the same step, or raises
        because it is used up already.
        """
        at = self._now()
        session = SessionRecord(
            id=f"s_{secrets.token_hex(8)}",
            user=user.id,
            created_at=rfc3339(at),
            expires_at=rfc3339(at + timedelta(seconds=self._lifetimes.session_s)),
            address=address,
            agent=_printable(agent),
            methods=methods,
        )
        refresh = self._tokens.make_refresh(session.id)
        try:
            # first: a session without one would be swept, one without a session is no use
            await self._store.begin_refresh(
                session.id, _hash(refresh), int(at.timestamp() * 1000), self._lifetimes.idle_s
            )
        except (RedisError, TimeoutError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None

        def build() -> DirectoryChange:
            now = self._directory.users.get(user.id)
            if now is None or now.disabled or now.password != stored:
                raise Unauthorized(_WRONG, code="login_failed")  # changed in this very moment
            if self._is_password_alone(methods) and factors_of(now):
                # a factor came that this replica had not heard of when it did not ask for one
                raise Unauthorized(_WRONG, code="login_failed")
            record = msgspec.structs.replace(
                use(now), password=fresh or stored, last_login_at=rfc3339(at)
            )
            ended = self._oldest_sessions(user.id)
            sessions = {**dict.fromkeys(ended), session.id: session}
            author = Author(_actor(now), address)
            targets = tuple(f"method:{method}" for method in methods)
            return DirectoryChange("session.begin", author, {user.id: record}, sessions, targets)

        await self._directory.commit(build)
        return self._tokens_for(session, refresh)

    def _is_password_alone(self, methods: tuple[str, ...]) -> bool:
        there = None if self._elsewhere is None else self._elsewhere.method
        return methods in {("password",), (there,)}

    async def _ask(
        self,
        user: UserRecord,
        stored: str,
        fresh: str,
        address: str,
        method: str,
        account: str,
    ) -> SecondFactor:
        """Ask somebody for their second factor whose password was right."""

        def build() -> DirectoryChange:
            now = self._directory.users.get(user.id)
            if now is None or now.disabled or now.password != stored:
                raise Unauthorized(_WRONG, code="login_failed")  # changed in this very moment
            author = Author(_actor(now), address)
            if fresh == stored:
                targets = (f"user:{user.id}",)
                return DirectoryChange("session.challenge", author, targets=targets)
            changed = msgspec.structs.replace(now, password=fresh)
            return DirectoryChange("session.challenge", author, {user.id: changed})

        await self._directory.commit(build)
        text, challenge = self._challenges.make(
            "login", user.id, stamp=stamp_of(fresh), method=method, account=account
        )
        usable = user.passkeys if self._passkeys.can_be_used else ()
        methods = [method for method in factors_of(user) if method != "passkey" or usable]
        return SecondFactor(
            challenge=text,
            methods=(*methods, "recovery") if user.recovery else tuple(methods),
            expires_in=CHALLENGE_S,
            passkey=self._passkeys.request(usable, challenge.nonce) if usable else None,
        )

    def _tokens_for(self, session: SessionRecord, refresh: str) -> Tokens:
        access = self._tokens.make(session.user, session.id)
        return Tokens(access, refresh, ACCESS_TOKEN_S, session.id)

    def _oldest_sessions(self, user: str) -> list[str]:
        """Return the sessions that make way for one more."""
        records = [self._directory.sessions[s] for s in self._directory.sessions_of.get(user, ())]
        records.sort(key=lambda record: (record.created_at, record.id))
        return [record.id for record in records[: max(0, len(records) - MAX_SESSIONS_EACH + 1)]]

    async def _end(self, ids: Iterable[str], action: str, author: Author) -> None:
        wanted = list(ids)

        def build() -> DirectoryChange:
            there = [s for s in wanted if s in self._directory.sessions]
            return DirectoryChange(action, author, sessions=dict.fromkeys(there))

        await self._directory.commit(build)
        for session in wanted:
            try:
                await self._store.end_refresh(session)
            except (RedisError, TimeoutError):  # without its session it is good for nothing
                return

    def check_can_begin(self) -> None:
        """Raise Unavailable unless sessions can be begun."""
        self.check_loaded()
        if not self._tokens.can_sign:
            raise Unavailable("nobody can log in: SECRET_KEY is not set", code="login_unavailable")

    def verified_age_ms(self) -> int:
        """Return how long ago Redis last confirmed who there is."""
        return self._directory.verified_age_ms()

    async def wait_loaded(self) -> None:
        """Wait until it is known who there is."""
        await self._directory.loaded.wait()

    def check_loaded(self) -> None:
        """Raise Unavailable until it is known who there is."""
        if not self._directory.loaded.is_set():
            raise Unavailable("who there is has not been read from Redis yet", code="not_loaded")

    def found(self, user: str) -> UserRecord:
        """Return a person; raises NotFound."""
        record = self._directory.users.get(user)
        if record is None:
            raise NotFound(f"there is no user {user[:80]!r}", code="user_not_found")
        return record

    def _invited(self, token: str) -> UserRecord:
        presented = _hash(token)
        now = rfc3339(self._now())
        for record in self._directory.users.values():
            if record.invitation is not None and hmac.compare_digest(record.invitation, presented):
                if record.disabled or (record.invited_until or "") <= now:
                    break
                return record
        raise Unauthorized("the invitation is not good, or not any more", code="invitation_failed")

    def changed(self, old: UserRecord, **members: object) -> UserRecord:
        """Return the next version of a person."""
        return msgspec.structs.replace(
            old, version=old.version + 1, updated_at=rfc3339(self._now()), **members
        )

    def without_sessions(self, user: str, but: str | None = None) -> dict[str, None]:
        """Return the end of all sessions of a person, or of all but one."""
        return {s: None for s in self._directory.sessions_of.get(user, ()) if s != but}

    def _keys_left(self, user: UserRecord) -> tuple[str, ...]:
        """Return the keys that somebody made and that outlive them: the log names them."""
        return tuple(self._keys_of(_actor(user)))

    def _keep_an_admin(self, old: UserRecord, new: UserRecord | None) -> None:
        if not _is_admin(old) or (new is not None and _is_admin(new)):
            return
        if not any(_is_admin(u) for u in self._directory.users.values() if u.id != old.id):
            detail = "this is the last administrator of all projects who can log in"
            raise Conflict(detail, code="last_admin")

    def _resource_of(self, change: DirectoryChange, user: str) -> UserResource:
        record = change.users[user]
        assert record is not None  # noqa: S101 - set by the change itself
        return self._shown(record)

    def _shown(self, user: UserRecord) -> UserResource:
        roles_from = []
        if any(each.issuer == self._provider for each in user.identities):
            roles_from.append("oidc")
        if self._elsewhere is not None and self._elsewhere.knows(user):
            roles_from.append(self._elsewhere.method)
        return user_resource(user, tuple(roles_from))

    def is_over(self, session: SessionRecord) -> bool:
        """Return whether a session is past its end."""
        return session.expires_at <= rfc3339(self._now())


def _each_once(roles: Iterable[Binding]) -> tuple[Binding, ...]:
    """Return roles as they are kept: saying one twice gives it once."""
    return tuple(dict.fromkeys(roles))


def _is_admin(user: UserRecord) -> bool:
    return _ADMINISTRATOR in user.roles and not user.disabled and user.invitation is None


def stamp_of(password: str) -> str:
    """Return what tells whether a stored password is still the same, and nothing more."""
    return _hash(password)[:32]


def _actor(user: UserRecord) -> str:
    """Return what the audit log calls a person."""
    return f"user:{user.email}"


def _no_refresh() -> Unauthorized:
    return Unauthorized(
        "the refresh token is not good, or not any more: log in again", code="refresh_failed"
    )


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _printable(agent: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in agent[:_MAX_AGENT_CHARS])


def _invalid(problems: list[Problem]) -> Invalid:
    return Invalid(f"{problems[0].pointer}: {problems[0].message}", problems=problems)
