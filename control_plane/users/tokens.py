"""Access tokens: JWTs that say who and in which session, for ten minutes. And refresh tokens.

Pure but for the clock and for chance.

Signed with HS256 under a key derived from `SECRET_KEY`, which `kid` names. Several secrets may be
given: the first signs, the others are still taken, until the tokens under them have expired. A
token says nothing of what its bearer may do; that is looked up.

Verified tokens are remembered by their hash until they expire, so most requests cost a look-up.

A refresh token is `mf_refresh_<session>.` and 32 bytes: 24 random ones, and 8 of HMAC-SHA-256 over
what stands before them, under a key derived from `SECRET_KEY`. Whether one is good its hash in
Redis decides; the mark only tells one that was issued once from one that somebody made up, because
the former, used again, ends a session, and ids of sessions are no secrets. To make one up that ends
a session takes 2^63 requests.
"""

import hmac
import secrets as chance
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

import jwt

__all__ = ["ACCESS_TOKEN_S", "Claims", "TokenMaker"]

ACCESS_TOKEN_S = 600
_ISSUER = "matrixflag"
_AUDIENCE = "matrixflag-api"
_ALGORITHM = "HS256"
_MAX_REMEMBERED = 10_000
_MAX_CHARS = 2_000
_LEEWAY_S = 5  # between the clocks of two replicas
_RANDOM_BYTES, _MARK_BYTES = 24, 8  # of a refresh token: 43 characters of base64


class Claims(NamedTuple):
    """What a token says: whose it is, of which session, until when (Unix time)."""

    user: str
    session: str
    expires_s: float


class TokenMaker:
    """Makes and reads tokens; without secrets it makes none and takes none."""

    def __init__(self, secrets: Sequence[str], now_s: Callable[[], float] = time.time) -> None:
        keys = [_derived(secret) for secret in secrets]
        self._refresh_keys = [
            _derived(secret, b"matrixflag refresh tokens 1") for secret in secrets
        ]
        self._keys = {_key_id(key): key for key in keys}
        self._first = next(iter(self._keys), None)
        self._now_s = now_s
        self._seen: dict[bytes, Claims] = {}

    @property
    def can_sign(self) -> bool:
        """Whether there is a secret."""
        return self._first is not None

    def make(self, user: str, session: str) -> str:
        """Return a token; raises ValueError without a secret."""
        if self._first is None:
            raise ValueError("there is no secret to sign with")
        now_s = int(self._now_s())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": user,
            "sid": session,
            "iat": now_s,
            "exp": now_s + ACCESS_TOKEN_S,
        }
        headers = {"kid": self._first}
        return jwt.encode(claims, self._keys[self._first], _ALGORITHM, headers=headers)

    def make_refresh(self, session: str) -> str:
        """Return a refresh token of a session; raises ValueError without a secret."""
        if not self._refresh_keys:
            raise ValueError("there is no secret to mark tokens with")
        random = chance.token_bytes(_RANDOM_BYTES)
        mark = _mark(self._refresh_keys[0], session, random)
        return f"mf_refresh_{session}.{urlsafe_b64encode(random + mark).decode().rstrip('=')}"

    def is_issued(self, refresh: str) -> bool:
        """Return whether a refresh token was made by `make_refresh`, under any of the secrets."""
        start, _, coded = refresh.rpartition(".")
        try:
            data = urlsafe_b64decode(coded.encode("ascii") + b"=")
        except ValueError:
            return False
        random, mark = data[:_RANDOM_BYTES], data[_RANDOM_BYTES:]
        session = start.removeprefix("mf_refresh_")
        return any(
            hmac.compare_digest(mark, _mark(key, session, random)) for key in self._refresh_keys
        )

    def read(self, token: str) -> Claims | None:
        """Return what a token says, None for one that is not ours, changed or expired."""
        mark = sha256(token.encode("utf-8", "surrogatepass")).digest()
        claims = self._seen.get(mark)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            if len(self._seen) >= _MAX_REMEMBERED:
                self._forget_some()
            self._seen[mark] = claims
        if claims.expires_s <= self._now_s():
            self._seen.pop(mark, None)
            return None
        return claims

    def _verified(self, token: str) -> Claims | None:
        if len(token) > _MAX_CHARS:
            return None
        try:
            # which key is the header's to say, which algorithm never
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "sid"]},
            )
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, RecursionError):
            return None
        user, session = claims["sub"], claims["sid"]
        if not (isinstance(user, str) and isinstance(session, str)):
            return None
        return Claims(user, session, float(claims["exp"]))

    def _forget_some(self) -> None:
        now_s = self._now_s()
        self._seen = {mark: c for mark, c in self._seen.items() if c.expires_s > now_s}
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()


def _derived(secret: str, purpose: bytes = b"matrixflag access tokens 1") -> bytes:
    return hmac.digest(secret.encode(), purpose, "sha256")


def _mark(key: bytes, session: str, random: bytes) -> bytes:
    return hmac.digest(key, session.encode() + b"." + random, "sha256")[:_MARK_BYTES]


def _key_id(key: bytes) -> str:
    return sha256(key).hexdigest()[:16]
