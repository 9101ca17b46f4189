"""Second factors: shown at a login, set up, shown again, removed.

- What proves somebody is used up in the step that begins their session: a code by its step, a
  recovery code by its removal, a passkey by its counter, a challenge in Redis before. So of two
  replicas that are given the same, one refuses it.
- Whoever has a second factor has no session that a password alone began: setting up the first
  one ends all others.
- Codes are what can be guessed, so they are counted by the day besides; recovery codes and
  passkeys go on when that is used up.
- Factors change only in a session whose person proved who they are within ten minutes, by
  beginning it or at `prove`. A password counts there only where it is all there is.
- Recovery codes come with the first factor and go with the last.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.audit.model import Author
from control_plane.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from control_plane.store.connection import RedisError
from control_plane.times import rfc3339, utc_now
from control_plane.users.attempts import FROM_ADDRESS, TO_ACCOUNT, duration
from control_plane.users.challenges import Challenge, Challenges
from control_plane.users.directory import Directory, DirectoryChange
from control_plane.users.model import (
    PasskeyRecord,
    SessionRecord,
    Tokens,
    TotpRecord,
    UserRecord,
    factors_of,
    has_shown_factor,
    is_proved,
)
from control_plane.users.passkeys import Passkeys, decoded
from control_plane.users.passwords import Passwords
from control_plane.users.proofs import (
    Added,
    Assertion,
    Enrolment,
    FactorsResource,
    PasskeyChallenge,
    PasskeyInput,
    PasskeyResource,
    ProofInput,
    TotpInput,
    VerifyInput,
)
from control_plane.users.sealing import Sealer
from control_plane.users.service import UserService, stamp_of
from control_plane.users.store import CHALLENGE_S, UserStore
from control_plane.users.totp import (
    STEP_S,
    new_recovery_codes,
    new_secret,
    picture,
    provisioning_uri,
    recovery_hash,
    step_of,
)
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem

__all__ = ["MAX_PASSKEYS", "FactorService"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_PASSKEYS = 20
"""Of one person."""

_FRESH = timedelta(minutes=10)
_MAX_NAME_CHARS = 100
_RESEALED_AT_ONCE = 100
_HINTS = {
    "code": "each code works once, also the one that set the app up: wait for the next one, and "
    "check the clock of the device",
    "recovery_code": "each recovery code works once, and new ones end the old: take another",
}
"""What to look at when it is refused, by what was sent: the reason is for the audit log alone."""


class _Proof(NamedTuple):
    """What proved somebody, and how it is used up: `use` raises when it was meanwhile."""

    method: str
    use: Callable[[UserRecord], UserRecord]


class FactorService:
    """Second factors of everybody."""

    def __init__(
        self,
        users: UserService,
        directory: Directory,
        store: UserStore,
        passwords: Passwords,
        sealer: Sealer,
        challenges: Challenges,
        passkeys: Passkeys,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._users = users
        self._directory = directory
        self._store = store
        self._passwords = passwords
        self._sealer = sealer
        self._challenges = challenges
        self._passkeys = passkeys
        self._now = now

    # At a login

    def ask_passkey(self) -> PasskeyChallenge:
        """Return the challenge for whoever logs in with a passkey alone.

        Raises:
            Unavailable: nobody can log in; Conflict: there are no passkeys here.
        """
        self._users.check_can_begin()
        self._check_passkeys()
        text, challenge = self._challenges.make("alone", "")
        return PasskeyChallenge(text, self._passkeys.request((), challenge.nonce), CHALLENGE_S)

    async def verify(self, document: VerifyInput, address: str, agent: str) -> Tokens:
        """Begin a session by the answer to a challenge.

        Raises:
            Unauthorized: `challenge_failed`, `factor_failed`; Invalid; TooManyRequests;
            Unavailable.
        """
        self._users.check_can_begin()
        _check_one(document, ("code", "recovery_code", "passkey"))
        challenge = self._challenges.read(document.challenge, "login", "alone")
        if challenge is None:
            raise _over()
        alone = challenge.purpose == "alone"
        user = self._directory.users.get(_handle(document) if alone else challenge.user)
        account = f"passkey?{address}" if user is None else user.email
        whose = FROM_ADDRESS if user is None else TO_ACCOUNT
        await self._users.attempts.count(address, account, whose)
        if not await self._counted(self._store.try_challenge(challenge.id)):
            await self._users.attempts.note_failure(user, "challenge_over", address)
            raise _over()
        if not alone and (user is None or stamp_of(user.password) != challenge.stamp):
            raise _over()  # deleted, or with another password since
        proof = None
        if user is not None and not user.disabled:
            proof = await self._proof(user, document, challenge)
        if user is None or proof is None:
            await self._users.attempts.note_failure(user, f"wrong_{_kind(document)}", address)
            raise _wrong(_kind(document))
        if not await self._counted(self._store.spend_challenge(challenge.id)):
            raise _over()
        methods = (proof.method,) if alone else (challenge.method, proof.method)
        tokens = await self._users.begin(
            user, user.password, address, agent, methods, use=proof.use
        )
        await self._users.attempts.forgive(address, account, attempts=1 if alone else 2)
        if challenge.account not in {"", account}:  # they logged in by another name of theirs
            await self._users.attempts.forgive(address, challenge.account, attempts=0)
        return tokens

    # One's own

    def shown(self, user: str, session: str) -> FactorsResource:
        """Return what may be shown of a person's second factors; raises NotFound."""
        record = self._users.found(user)
        needed = self._users.needs_factor(record)
        held = self._session(session)
        return FactorsResource(
            totp_since=None if record.totp is None else record.totp.created_at,
            passkeys=[_passkey_resource(each) for each in record.passkeys],
            recovery_codes_left=len(record.recovery),
            needed=needed,
            missing=needed and not has_shown_factor(record, held),
        )

    def ask_own_passkey(self, user: str, session: str) -> PasskeyChallenge:
        """Return the challenge for somebody who proves it again with a passkey.

        Raises:
            Conflict: there are no passkeys here; NotFound: they have none.
        """
        self._check_passkeys()
        record = self._users.found(user)
        if not record.passkeys:
            raise NotFound("there is no passkey", code="factor_not_found")
        text, challenge = self._challenges.make(f"prove {session}", user)
        options = self._passkeys.request(record.passkeys, challenge.nonce)
        return PasskeyChallenge(text, options, CHALLENGE_S)

    async def prove(self, user: str, session: str, document: ProofInput, author: Author) -> None:
        """Note that the person of a session proved again who they are.

        Raises:
            Unauthorized: `factor_failed`, `challenge_failed`; Invalid;
            Forbidden: `proof_needed`, a password will not do; TooManyRequests; Unavailable.
        """
        _check_one(document, ("password", "code", "recovery_code", "passkey"))
        record = self._users.found(user)
        held = self._session(session)
        challenge = None
        if document.passkey is not UNSET:
            text = "" if document.challenge is UNSET else document.challenge
            challenge = self._challenges.read(text, f"prove {session}")
            if challenge is None:
                raise _over()
        if document.password is not UNSET:
            _check_password_does(record, held)
        await self._users.attempts.count(author.address, record.email)
        if document.password is not UNSET:
            proof = await self._password_proof(record, document.password)
        else:
            proof = await self._proof(record, document, challenge)
        if proof is None:
            await self._users.attempts.note_failure(
                record, f"wrong_{_kind(document)}", author.address
            )
            raise _wrong(_kind(document))
        if challenge is not None and not await self._counted(
            self._store.spend_challenge(challenge.id)
        ):
            raise _over()

        def build() -> DirectoryChange:
            now = self._users.found(user)
            if proof.method == "password":
                _check_password_does(now, self._session(session))
            changed = proof.use(now)
            sessions = {session: self._proved(session, proof.method)}
            targets = (f"method:{proof.method}",)
            return DirectoryChange("session.prove", author, {user: changed}, sessions, targets)

        await self._directory.commit(build)
        await self._users.attempts.forgive(author.address, record.email)

    async def begin_totp(self, user: str, session: str) -> Enrolment:
        """Return the secret for an authenticator app; nothing changes until it is confirmed.

        Raises:
            Conflict: `factor_exists`; Forbidden: `proof_needed`.
        """
        record = self._users.found(user)
        self._check_fresh(record, session)
        if record.totp is not None:
            raise _has_totp()
        secret = new_secret()
        text, _ = self._challenges.make(f"totp {session}", user, secret=secret)
        uri = provisioning_uri(secret, record.email)
        return Enrolment(text, secret, uri, await asyncio.to_thread(picture, uri), CHALLENGE_S)

    async def confirm_totp(
        self, user: str, session: str, document: TotpInput, author: Author
    ) -> Added:
        """Set an authenticator app up by a code of its.

        Raises:
            Unauthorized: `challenge_failed`, `factor_failed`; Conflict: `factor_exists`.
        """
        challenge = self._challenges.read(document.challenge, f"totp {session}")
        if challenge is None or not await self._counted(self._store.try_challenge(challenge.id)):
            raise _over()
        now = self._now()
        step = step_of(challenge.secret, document.code, now.timestamp(), 0)
        if step is None:
            raise _wrong("code")
        if not await self._counted(self._store.spend_challenge(challenge.id)):
            raise _over()
        sealed = self._sealer.seal(challenge.secret.encode(), "totp", user)
        totp = TotpRecord(sealed, step, rfc3339(now))

        def added(old: UserRecord) -> UserRecord:
            if old.totp is not None:
                raise _has_totp()
            return self._users.changed(old, totp=totp)

        made = await self._add(user, session, "totp", "factor:totp", added, author)
        following = datetime.fromtimestamp((step + 1) * STEP_S, UTC)
        return msgspec.structs.replace(made, next_code_at=rfc3339(following))

    async def begin_passkey(self, user: str, session: str) -> PasskeyChallenge:
        """Return what a browser is asked for to make a passkey.

        Raises:
            Conflict: there are no passkeys here, or too many; Forbidden: `proof_needed`.
        """
        self._check_passkeys()
        record = self._users.found(user)
        self._check_fresh(record, session)
        _check_room(record)
        text, challenge = self._challenges.make(f"passkey {session}", user)
        return PasskeyChallenge(text, self._passkeys.creation(record, challenge.nonce), CHALLENGE_S)

    async def confirm_passkey(
        self, user: str, session: str, document: PasskeyInput, author: Author
    ) -> Added:
        """Set a passkey up.

        Raises:
            Unauthorized: `challenge_failed`, `factor_failed`; Invalid;
            Conflict: `factor_exists`, somebody has it; `too_many`.
        """
        _check_name(document.name)
        challenge = self._challenges.read(document.challenge, f"passkey {session}")
        if challenge is None or not await self._counted(self._store.spend_challenge(challenge.id)):
            raise _over()
        at = rfc3339(self._now())
        made = await self._passkeys.register(document.passkey, challenge.nonce, document.name, at)
        if made is None:
            raise _wrong("passkey")

        def added(old: UserRecord) -> UserRecord:
            _check_room(old)
            if any(
                made.id == p.id for each in self._directory.users.values() for p in each.passkeys
            ):
                raise Conflict("this passkey is set up already", code="factor_exists")
            return self._users.changed(old, passkeys=(*old.passkeys, made))

        return await self._add(user, session, "passkey", f"passkey:{made.id}", added, author)

    async def rename_passkey(self, user: str, passkey: str, name: str, author: Author) -> None:
        """Give a passkey another name; raises NotFound, Invalid."""
        _check_name(name)

        def build() -> DirectoryChange:
            old = self._users.found(user)
            renamed = msgspec.structs.replace(_passkey(old, passkey), name=name)
            changed = self._users.changed(old, passkeys=_with(old, renamed))
            targets = (f"passkey:{passkey}",)
            return DirectoryChange("factor.rename", author, {user: changed}, targets=targets)

        await self._directory.commit(build)

    async def remove_totp(self, user: str, session: str, author: Author) -> None:
        """Remove the authenticator app; raises NotFound, Forbidden: `proof_needed`."""

        def without(old: UserRecord) -> UserRecord:
            if old.totp is None:
                raise NotFound("there is no authenticator app", code="factor_not_found")
            return self._users.changed(old, totp=None)

        await self._remove(user, session, "factor:totp", without, author)

    async def remove_passkey(self, user: str, session: str, passkey: str, author: Author) -> None:
        """Remove a passkey; raises NotFound, Forbidden: `proof_needed`."""

        def without(old: UserRecord) -> UserRecord:
            gone = _passkey(old, passkey)
            return self._users.changed(old, passkeys=tuple(p for p in old.passkeys if p != gone))

        await self._remove(user, session, f"passkey:{passkey}", without, author)

    async def renew_recovery(self, user: str, session: str, author: Author) -> list[str]:
        """Return new recovery codes, which end those there were.

        Raises:
            Forbidden: `proof_needed`; NotFound: there is no factor they could stand in for.
        """
        codes = new_recovery_codes()

        def build() -> DirectoryChange:
            old = self._users.found(user)
            self._check_fresh(old, session)
            if not factors_of(old):
                raise NotFound("there is no second factor", code="factor_not_found")
            changed = self._users.changed(old, recovery=_hashed(user, codes))
            return DirectoryChange("factor.recovery", author, {user: changed})

        await self._directory.commit(build)
        return codes

    # Others'

    async def reset(self, user: str, author: Author) -> None:
        """Remove all factors of somebody who lost them, and end their sessions; raises NotFound."""

        def build() -> DirectoryChange:
            old = self._users.found(user)
            changed = self._users.changed(old, totp=None, passkeys=(), recovery=())
            ended = self._users.without_sessions(user)
            return DirectoryChange("factor.reset", author, {user: changed}, ended)

        await self._directory.commit(build)

    async def reseal(self) -> int:
        """Seal secrets under the first key that are under another; return how many that were.

        Those that no key opens stay: the secret they are under may be given again.
        """

        def build() -> DirectoryChange:
            changed: dict[str, UserRecord] = {}
            for user in self._directory.users.values():
                if user.totp is None or self._sealer.is_current(user.totp.secret):
                    continue
                secret = self._sealer.open(user.totp.secret, "totp", user.id)
                if secret is not None and len(changed) < _RESEALED_AT_ONCE:
                    sealed = self._sealer.seal(secret, "totp", user.id)
                    totp = msgspec.structs.replace(user.totp, secret=sealed)
                    changed[user.id] = msgspec.structs.replace(user, totp=totp)
            return DirectoryChange("factor.reseal", Author("system", ""), changed)

        count = 0
        while build().users:
            count += len((await self._directory.commit(build)).users)
        return count

    # Proofs

    async def _proof(
        self,
        user: UserRecord,
        document: VerifyInput | ProofInput,
        challenge: Challenge | None,
    ) -> _Proof | None:
        """Return what proved a person, None when nothing did. Alone only a passkey does."""
        alone = challenge is not None and challenge.purpose == "alone"
        if document.passkey is not UNSET and challenge is not None:
            return await self._passkey_proof(user, document.passkey, challenge, alone)
        if alone:
            return None
        if document.code is not UNSET:
            return await self._code_proof(user, document.code)
        if document.recovery_code is not UNSET:
            return _recovery_proof(user, document.recovery_code)
        return None

    async def _password_proof(self, user: UserRecord, password: str) -> _Proof | None:
        if not await self._passwords.check(user.password, password):
            return None

        def use(now: UserRecord) -> UserRecord:
            if now.password != user.password:
                raise _wrong("password")
            return now

        return _Proof("password", use)

    async def _code_proof(self, user: UserRecord, code: str) -> _Proof | None:
        totp = user.totp
        if totp is None:
            return None
        wait_s = await self._counted(self._store.guess(user.id))
        if wait_s:
            detail = (
                "too many codes in a day: a recovery code or a passkey is still taken, codes again "
                f"in {duration(wait_s)}"
            )
            raise TooManyRequests(detail, wait_s, code="login_throttled")
        secret = self._sealer.open(totp.secret, "totp", user.id)
        if secret is None:
            logger.error(
                "the authenticator app of %s is sealed under a SECRET_KEY that is not given",
                user.id,
            )
            return None
        step = step_of(secret.decode(), code, self._now().timestamp(), totp.used)
        if step is None:
            return None
        await self._counted(self._store.guessed(user.id))

        def use(now: UserRecord) -> UserRecord:
            if now.totp is None or now.totp.created_at != totp.created_at or now.totp.used >= step:
                raise _wrong("code")  # used at another replica just now, or removed
            return msgspec.structs.replace(now, totp=msgspec.structs.replace(now.totp, used=step))

        return _Proof("totp", use)

    async def _passkey_proof(
        self, user: UserRecord, assertion: Assertion, challenge: Challenge, alone: bool
    ) -> _Proof | None:
        passkey = next((p for p in user.passkeys if p.id == assertion.id), None)
        handle = assertion.response.user_handle
        if passkey is None or (handle and decoded(handle) != user.id.encode()):
            return None
        count = await self._passkeys.check(assertion, passkey, challenge.nonce, alone=alone)
        if count is None:
            return None
        at = rfc3339(self._now())

        def use(now: UserRecord) -> UserRecord:
            there = next((p for p in now.passkeys if p.id == passkey.id), None)
            if there is None or (there.count and there.count >= count):
                raise _wrong("passkey")
            newer = msgspec.structs.replace(there, count=count, last_used_at=at)
            return msgspec.structs.replace(now, passkeys=_with(now, newer))

        return _Proof("passkey", use)

    # Parts

    async def _add(
        self,
        user: str,
        session: str,
        method: str,
        target: str,
        added: Callable[[UserRecord], UserRecord],
        author: Author,
    ) -> Added:
        codes = new_recovery_codes()

        def build() -> DirectoryChange:
            old = self._users.found(user)
            self._check_fresh(old, session)
            changed = added(old)
            sessions: dict[str, SessionRecord | None] = {session: self._proved(session, method)}
            if not factors_of(old):
                changed = msgspec.structs.replace(changed, recovery=_hashed(user, codes))
                sessions |= self._users.without_sessions(user, but=session)
            return DirectoryChange("factor.add", author, {user: changed}, sessions, (target,))

        change = await self._directory.commit(build)
        record = change.users[user]
        assert record is not None  # noqa: S101 - set by the change itself
        is_first = record.recovery == _hashed(user, codes)
        return Added(method, codes if is_first else None)

    async def _remove(
        self,
        user: str,
        session: str,
        target: str,
        without: Callable[[UserRecord], UserRecord],
        author: Author,
    ) -> None:
        def build() -> DirectoryChange:
            old = self._users.found(user)
            self._check_fresh(old, session)
            changed = without(old)
            if not factors_of(changed):
                changed = msgspec.structs.replace(changed, recovery=())
            return DirectoryChange("factor.remove", author, {user: changed}, targets=(target,))

        await self._directory.commit(build)

    def _session(self, session: str) -> SessionRecord:
        record = self._directory.sessions.get(session)
        if record is None:
            raise Unauthorized("the session has ended", code="invalid_token")
        return record

    def _proved(self, session: str, method: str) -> SessionRecord:
        """Return a session whose person just proved who they are."""
        record = self._session(session)
        methods = tuple(dict.fromkeys((*record.methods, method)))
        return msgspec.structs.replace(record, methods=methods, proved_at=rfc3339(self._now()))

    def _check_fresh(self, user: UserRecord, session: str) -> None:
        """Raise Forbidden unless somebody proved lately who they are, with a factor if they can."""
        record = self._session(session)
        since = max(record.proved_at or "", record.created_at)
        is_weak = bool(factors_of(user)) and not is_proved(record)
        if is_weak or since < rfc3339(self._now() - _FRESH):
            raise Forbidden(
                "prove who you are at /api/v1/me/verify, then ask again within ten minutes",
                code="proof_needed",
            )

    def _check_passkeys(self) -> None:
        if not self._passkeys.can_be_used:
            detail = "there are no passkeys here: MATRIXFLAG_PUBLIC_URL names no host"
            raise Conflict(detail, code="passkeys_unavailable")

    async def _counted(self, counting: Awaitable[T]) -> T:
        try:
            return await counting
        except (RedisError, TimeoutError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None


def _recovery_proof(user: UserRecord, code: str) -> _Proof | None:
    presented = recovery_hash(user.id, code)
    # all are compared, whichever it is
    if sum(hmac.compare_digest(each, presented) for each in user.recovery) == 0:
        return None

    def use(now: UserRecord) -> UserRecord:
        if presented not in now.recovery:
            raise _wrong("recovery_code")
        left = tuple(each for each in now.recovery if each != presented)
        return msgspec.structs.replace(now, recovery=left)

    return _Proof("recovery", use)


def _check_one(document: VerifyInput | ProofInput, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(document, name) is not UNSET]
    if len(given) != 1:
        message = f"one of {', '.join(names)} is needed, not {len(given)}"
        raise Invalid(message, problems=[Problem("", ProblemCode.NOT_ONE_OF, message)])


def _kind(document: VerifyInput | ProofInput) -> str:
    names = ("password", "code", "recovery_code", "passkey")
    return next(n for n in names if getattr(document, n, UNSET) is not UNSET)


def _handle(document: VerifyInput) -> str:
    """Return whose passkey it says it is."""
    assertion: Assertion | UnsetType = document.passkey
    if assertion is UNSET or assertion.response.user_handle is None:
        return ""
    return (decoded(assertion.response.user_handle) or b"").decode("ascii", "replace")


def _check_password_does(user: UserRecord, session: SessionRecord) -> None:
    """Raise Forbidden where a password alone proves nothing."""
    if factors_of(user) and not is_proved(session):
        raise Forbidden("a password does not do here: show a factor", code="proof_needed")


def _passkey(user: UserRecord, passkey: str) -> PasskeyRecord:
    for each in user.passkeys:
        if each.id == passkey:
            return each
    raise NotFound(f"there is no passkey {passkey[:80]!r}", code="factor_not_found")


def _with(user: UserRecord, newer: PasskeyRecord) -> tuple[PasskeyRecord, ...]:
    return tuple(newer if each.id == newer.id else each for each in user.passkeys)


def _check_room(user: UserRecord) -> None:
    if len(user.passkeys) >= MAX_PASSKEYS:
        raise Conflict(f"{MAX_PASSKEYS} passkeys are all a person can have", code="too_many")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        message = f"{len(name)} characters; 1 to {_MAX_NAME_CHARS} printable ones are kept"
        raise Invalid(message, problems=[Problem("/name", ProblemCode.OUT_OF_RANGE, message)])


def _hashed(user: str, codes: list[str]) -> tuple[str, ...]:
    return tuple(recovery_hash(user, code) for code in codes)


def _passkey_resource(record: PasskeyRecord) -> PasskeyResource:
    return PasskeyResource(record.id, record.name, record.created_at, record.last_used_at)


def _over() -> Unauthorized:
    return Unauthorized(
        "the challenge is not good, or not any more: begin again", code="challenge_failed"
    )


def _wrong(kind: str) -> Unauthorized:
    """Return that something proves nothing: of a kind the same, whatever is wrong with it."""
    detail = "this does not prove who you are"
    if hint := _HINTS.get(kind):
        detail = f"{detail}; {hint}"
    return Unauthorized(detail, code="factor_failed")


def _has_totp() -> Conflict:
    return Conflict("an authenticator app is set up: remove it first", code="factor_exists")
