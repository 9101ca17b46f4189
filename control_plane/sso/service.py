"""Logging in at another system's page: begun, come back from, exchanged for a session.

    browser -> login -> provider's page -> callback -> one-time code -> exchange -> tokens

What belongs to one login (state, nonce, PKCE verifier, where to go after) is in a signed cookie of
the browser that began it, so that any replica can finish it and nobody can finish another's. Tokens
are in no URL: the way back carries a code that is good for a minute, once, and only with the
verifier of whoever began, of which the login was told the digest.
"""

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

import jwt

from control_plane.errors import BadRequest, Forbidden, NotFound, Unauthorized, Unavailable
from control_plane.sso.model import (
    ExchangeInput,
    OneTimeCode,
    is_own_path,
    is_pkce_text,
)
from control_plane.sso.oidc import NotProved, Provider, challenge_of
from control_plane.sso.people import Refused, VouchedPeople, whom
from control_plane.sso.store import Grant, SsoStore
from control_plane.store.connection import RedisError
from control_plane.users.attempts import FROM_ADDRESS
from control_plane.users.model import VOUCHED_FACTOR, Tokens
from control_plane.users.service import UserService

__all__ = ["LOGIN_S", "Answer", "Begun", "SsoService"]

logger = logging.getLogger(__name__)

LOGIN_S = 600
"""How long somebody may take at the provider's page."""
_CODE_S = 60
_AUDIENCE = "matrixflag-sso"
_ALGORITHM = "HS256"
_MAX_CHARS = 4_000


class _Login(NamedTuple):
    """What belongs to one login."""

    state: str
    nonce: str
    verifier: str
    challenge: str
    return_to: str


class Begun(NamedTuple):
    """Where the browser goes, and the cookie that it takes along."""

    url: str
    cookie: str


class Answer(NamedTuple):
    """What a provider sends a browser back with."""

    state: str
    code: str | None
    error: str | None
    issuer: str | None


class SsoService:
    """Logins at a provider; without one each is refused."""

    def __init__(
        self,
        provider: Provider | None,
        people: VouchedPeople,
        users: UserService,
        store: SsoStore,
        secret_keys: Sequence[str],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._people = people
        self._users = users
        self._store = store
        self._keys = [
            hmac.digest(secret.encode(), b"matrixflag sso logins 1", "sha256")
            for secret in secret_keys
        ]
        self._now_s = now_s

    async def begin(self, challenge: str, return_to: str) -> Begun:
        """Return where to send a browser that wants to log in.

        Raises:
            BadRequest: `invalid_parameter`; NotFound: `sso_not_configured`; Unavailable.
        """
        provider = self._configured()
        self._users.check_can_begin()
        if len(challenge) != 43 or not is_pkce_text(challenge):
            detail = "challenge: is not the SHA-256 of a verifier, base64url without padding"
            raise BadRequest(detail, code="invalid_parameter")
        if return_to and not is_own_path(return_to):
            detail = "return_to: is not a path of this origin, as /flags, percent-encoded"
            raise BadRequest(detail, code="invalid_parameter")
        login = _Login(
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
            challenge,
            return_to,
        )
        url = await provider.login_url(login.state, login.nonce, login.verifier)
        return Begun(url, self._sealed(login))

    async def complete(self, answer: Answer, cookie: str, address: str) -> tuple[OneTimeCode, str]:
        """Return the code for who comes back from the provider, and where they wanted to go.

        Raises:
            Unauthorized: `sso_failed`; Forbidden: `sso_refused`; TooManyRequests; Unavailable.
        """
        provider = self._configured()
        self._users.check_can_begin()
        account = f"sso {address}"
        await self._users.attempts.count(address, account, FROM_ADDRESS)
        try:
            login = self._opened(cookie, answer.state)
            code = _code_in(answer)
            said = await provider.assertion(code, login.verifier, login.nonce, answer.issuer)
        except NotProved as error:
            await self._users.attempts.note_failure(None, f"oidc: {error}", address)
            detail = (
                "you could not be logged in; begin again, and the audit log says what was wrong"
            )
            raise Unauthorized(detail, code="sso_failed") from None
        except Unavailable:
            await self._users.attempts.take_back(address, account)
            raise
        await self._users.attempts.forgive(address, account)
        try:
            user = await self._people.admit(said, address)
        except Refused as error:
            await self._users.attempts.note_failure(
                error.user, f"oidc: {error}", address, whom(said)
            )
            raise Forbidden(str(error), code="sso_refused") from None
        once = secrets.token_urlsafe(32)
        methods = ("oidc", VOUCHED_FACTOR) if said.has_factor else ("oidc",)
        grant = Grant(user.id, login.challenge, methods)
        try:
            await self._store.keep(_hash(once), grant, _CODE_S)
        except (RedisError, TimeoutError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        return OneTimeCode(once, _CODE_S), login.return_to

    async def exchange(self, document: ExchangeInput, address: str, agent: str) -> Tokens:
        """Begin the session that a one-time code stands for; the code is used up in any case.

        Raises:
            Unauthorized: `exchange_failed`, and `login_failed` of who was disabled meanwhile;
            Unavailable.
        """
        self._users.check_can_begin()
        try:
            grant = await self._store.take(_hash(document.code))
        except (RedisError, TimeoutError):
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        if (
            grant is None
            or not is_pkce_text(document.verifier)
            or not hmac.compare_digest(challenge_of(document.verifier), grant.challenge)
        ):
            detail = "the code or the verifier is not good, or not any more: log in again"
            raise Unauthorized(detail, code="exchange_failed")
        try:
            return await self._users.begin_for(grant.user, address, agent, grant.methods)
        except NotFound:
            raise Unauthorized("whose code it was is gone", code="exchange_failed") from None

    # Parts

    def _configured(self) -> Provider:
        if self._provider is None:
            detail = "no provider of identities is configured: MATRIXFLAG_OIDC_ISSUER"
            raise NotFound(detail, code="sso_not_configured")
        return self._provider

    def _sealed(self, login: _Login) -> str:
        claims = {**login._asdict(), "aud": _AUDIENCE, "exp": int(self._now_s()) + LOGIN_S}
        return jwt.encode(claims, self._keys[0], _ALGORITHM)

    def _opened(self, cookie: str, state: str) -> _Login:
        """Return the login that a browser began; raises NotProved."""
        if not cookie or len(cookie) > _MAX_CHARS:
            raise NotProved("the browser that comes back has not begun a login here")
        for key in self._keys:
            try:
                claims = jwt.decode(
                    cookie,
                    key,
                    algorithms=[_ALGORITHM],
                    audience=_AUDIENCE,
                    options={"require": ["exp", "aud"]},
                )
                login = _Login(*(str(claims[name]) for name in _Login._fields))
            except jwt.ExpiredSignatureError:
                raise NotProved("the login took too long") from None
            except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError):
                continue
            if hmac.compare_digest(login.state.encode(), state.encode()):
                return login
            raise NotProved("the answer is of another login than the browser's")
        raise NotProved("the browser's cookie was not made here")


def _code_in(answer: Answer) -> str:
    """Return what the provider is asked with; raises NotProved."""
    if answer.error is not None or not answer.code:
        raise NotProved(f"the provider says {(answer.error or 'nothing')[:100]!r}")
    return answer.code


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
