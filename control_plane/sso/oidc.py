"""An OpenID Connect provider, asked as OpenID Connect Core and RFC 7636 (PKCE) say.

What is believed: documents and keys that come from the issuer's own addresses over TLS, and an ID
token that one of these keys has signed, with an algorithm of the settings, from this issuer, for
this client, for this login (nonce), now. The token says which key; never which algorithm is good.

Keys are kept for an hour. A token under a key that is not known has them fetched again, once for
all who wait and at most every ten seconds, which is how a provider changes its keys.
"""

import asyncio
import base64
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import new as new_hash
from hashlib import sha256
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar
from urllib.parse import quote

import aiohttp
import jwt
import msgspec
from yarl import URL

from control_plane.errors import Unavailable
from control_plane.sso.model import (
    Assertion,
    FactorClaim,
    groups_in,
    is_safe_url,
    says_factor,
)

__all__ = ["NotProved", "OidcConfig", "Provider", "challenge_of"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

_TIMEOUT_S = 10.0
_KEPT_S = 3600.0
_AGAIN_S = 10.0  # between two looks for new keys, whatever tokens say
_AFTER_FAILURE_S = 1.0  # within which those who waited for the same answer share the failure
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 50
_MIN_RSA_BITS = 2048
_LEEWAY_S = 60  # between the provider's clock and this one


class OidcConfig(NamedTuple):
    """What the settings say of the provider."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    scopes: str
    groups_claim: str
    algorithms: tuple[str, ...]
    factor_claims: tuple[FactorClaim, ...] = ()


class NotProved(Exception):
    """The provider's answer proves nobody; the text says why, for the audit log."""


class _Metadata(msgspec.Struct, frozen=True):
    """What is used of a provider's description of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(msgspec.Struct, frozen=True):
    """What is used of the answer to a code."""

    id_token: str
    access_token: str = ""


class _Keys(msgspec.Struct, frozen=True):
    """A set of keys, each as it came."""

    keys: list[dict[str, Any]]


class Provider:
    """One provider. An async context manager, entered once; nothing is asked before it has to be.

    Whatever needs an answer raises Unavailable, `sso_unavailable`, when there is none in time or
    none that can be used.
    """

    def __init__(self, config: OidcConfig) -> None:
        self._config = config
        self._http: aiohttp.ClientSession | None = None
        self._metadata = _Kept(self._fetch_metadata)
        self._keys = _Kept(self._fetch_keys)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=20),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def login_url(self, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser is sent to log in."""
        metadata = await self._metadata.get()
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._config.redirect_uri,
            "scope": self._config.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        wanted = [each.value for each in self._config.factor_claims if each.claim == "acr"]
        if wanted:
            asked["acr_values"] = " ".join(wanted)  # some ask for no factor without it
        return str(URL(metadata.authorization_endpoint).update_query(asked))

    async def assertion(
        self, code: str, verifier: str, nonce: str, issuer: str | None
    ) -> Assertion:
        """Return whom a code stands for; `issuer` is who the browser says it comes from.

        Raises:
            NotProved, Unavailable.
        """
        metadata = await self._metadata.get()
        if issuer is None and metadata.authorization_response_iss_parameter_supported:
            raise NotProved("the answer does not say which provider it is from")
        if issuer is not None and issuer != self._config.issuer:
            raise NotProved("the answer is another provider's")
        tokens = await self._tokens(metadata, code, verifier)
        claims = await self._claims(tokens, nonce)
        # of this login, so that only what was signed for it can tell
        has_factor = says_factor(claims, self._config.factor_claims)
        groups = groups_in(claims, self._config.groups_claim)
        lacks_some = groups is None or "email" not in claims
        if lacks_some and metadata.userinfo_endpoint and tokens.access_token:
            more = await self._userinfo(metadata.userinfo_endpoint, tokens, claims["sub"])
            claims = {**more, **claims}
            groups = groups_in(claims, self._config.groups_claim)
        return Assertion(
            issuer=self._config.issuer,
            subject=claims["sub"],
            email=_text(claims, "email") or _text(claims, "preferred_username"),
            is_verified=bool(_text(claims, "email")) and claims.get("email_verified") is True,
            name=_text(claims, "name"),
            groups=groups or (),
            has_factor=has_factor,
        )

    # Tokens

    async def _tokens(self, metadata: _Metadata, code: str, verifier: str) -> _Tokens:
        config = self._config
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": config.redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        methods = metadata.token_endpoint_auth_methods_supported
        if config.client_secret and "client_secret_basic" in methods:
            # each part is encoded as in a form, RFC 6749, section 2.3.1; and a space so that
            # those understand it too who decode it as in a path
            pair = f"{quote(config.client_id, safe='')}:{quote(config.client_secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = config.client_id
            if config.client_secret:
                form["client_secret"] = config.client_secret
        status, body = await self._ask("POST", metadata.token_endpoint, headers, form)
        if 400 <= status < 500:
            raise NotProved(f"the provider does not take the code: {_error_of(body)}")
        return _decoded(status, body, _Tokens, metadata.token_endpoint)

    async def _claims(self, tokens: _Tokens, nonce: str) -> dict[str, Any]:
        """Return what an ID token says, verified."""
        config = self._config
        try:
            header = jwt.get_unverified_header(tokens.id_token)
            algorithm = header.get("alg")
            if algorithm not in config.algorithms or "crit" in header:
                raise NotProved(f"the ID token is signed with {str(algorithm)[:20]!r}")
            claims: dict[str, Any] = jwt.decode(
                tokens.id_token,
                await self._key(header.get("kid"), algorithm),
                algorithms=[algorithm],
                audience=config.client_id,
                issuer=config.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise NotProved(f"the ID token is not good: {error}"[:200]) from None
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
            raise NotProved("the ID token is for several, and does not say who asked for it")
        if claims.get("azp", config.client_id) != config.client_id:
            raise NotProved("the ID token was made for another client")
        if not _is_same(claims.get("nonce"), nonce):
            raise NotProved("the ID token is of another login")
        if "at_hash" in claims and not _is_same(
            claims["at_hash"], _at_hash(algorithm, tokens.access_token)
        ):
            raise NotProved("the access token is not the one of the ID token")
        if not claims["sub"] or len(claims["sub"]) > 255:
            raise NotProved("the ID token does not say who it is")
        return claims

    async def _key(self, kid: Any, algorithm: str) -> Any:
        """Return the key that a token names; raises NotProved."""
        if algorithm.startswith("HS"):
            return self._config.client_secret.encode()
        keys = await self._keys.get()
        found = _matching(keys, kid, algorithm)
        if found is None:
            newer = await self._keys.get(instead_of=keys)
            found = _matching(newer, kid, algorithm)
        if found is None:
            raise NotProved("the ID token is signed with a key that the provider does not have")
        return found.key

    async def _userinfo(self, url: str, tokens: _Tokens, subject: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        status, body = await self._ask("GET", url, headers)
        if 400 <= status < 500:
            raise NotProved(f"the provider does not tell who it is: {_error_of(body)}")
        found = _decoded(status, body, dict[str, Any], url)
        if found.get("sub") != subject:
            raise NotProved("the provider tells of somebody else")
        return found

    # Documents

    async def _fetch_metadata(self) -> _Metadata:
        issuer = self._config.issuer
        url = issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = _decoded(*await self._ask("GET", url), _Metadata, url)
        if found.issuer != issuer:
            raise _unusable(url, f"is of {found.issuer[:200]!r}, and not of {issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            if not is_safe_url(getattr(found, name) or issuer):
                raise _unusable(url, f"names a {name} that is not https")
        return found

    async def _fetch_keys(self) -> list[jwt.PyJWK]:
        url = (await self._metadata.get()).jwks_uri
        found = []
        for each in _decoded(*await self._ask("GET", url), _Keys, url).keys[:_MAX_KEYS]:
            if each.get("use", "sig") != "sig" or each.get("kty") == "oct":
                continue
            try:
                key = jwt.PyJWK(each)
            except (jwt.PyJWTError, ValueError, TypeError):
                continue  # of a kind that is not known here; others may do
            if (
                getattr(key.key, "key_size", _MIN_RSA_BITS) >= _MIN_RSA_BITS
                or key.key_type != "RSA"
            ):
                found.append(key)
        return found

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Return status and body of an answer; redirections are not followed."""
        if self._http is None:
            raise RuntimeError("the provider is asked before it was entered")
        try:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            async with self._http.request(
                method, url, headers=headers, data=form, timeout=timeout, allow_redirects=False
            ) as reply:
                body = bytearray()
                async for chunk in reply.content.iter_chunked(65_536):
                    body += chunk
                    if len(body) > _MAX_BYTES:
                        raise _unusable(url, f"answers more than {_MAX_BYTES} bytes")
                return reply.status, bytes(body)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _unusable(url, str(error) or "does not answer in time") from None


class _Kept(Generic[T]):
    """A document that is fetched when it is needed, once for all who wait, and kept for an hour."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._fetched_s = self._failed_s = -_KEPT_S
        self._failure: Unavailable | None = None

    async def get(self, instead_of: T | None = None) -> T:
        """Return it, or a newer one than `instead_of` if it can be had by now."""
        async with self._lock:
            now = time.monotonic()
            kept, age = self._value, now - self._fetched_s
            bound_s = _AGAIN_S if kept is instead_of else _KEPT_S
            if kept is not None and age < bound_s:
                return kept
            if self._failure is not None and now - self._failed_s < _AFTER_FAILURE_S:
                raise self._failure
            try:
                value = await self._fetch()
            except Unavailable as error:
                self._failed_s, self._failure = time.monotonic(), error
                raise
            self._value, self._fetched_s, self._failure = value, time.monotonic(), None
            return value


def challenge_of(verifier: str) -> str:
    """Return the digest of a verifier, as RFC 7636 has it (S256)."""
    return _base64url(sha256(verifier.encode()).digest())


def _matching(keys: list[jwt.PyJWK], kid: Any, algorithm: str) -> jwt.PyJWK | None:
    """Return the key with an id; without one the only key there is for the algorithm."""
    kinds = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
    fit = [key for key in keys if key.key_type == kinds[algorithm[:2]]]
    if kid is not None:
        fit = [key for key in fit if key.key_id == kid]
    return fit[0] if len(fit) == 1 else None


def _at_hash(algorithm: str, access_token: str) -> str:
    name = "sha512" if algorithm == "EdDSA" else f"sha{algorithm[-3:]}"
    digest = new_hash(name, access_token.encode()).digest()
    return _base64url(digest[: len(digest) // 2])


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _is_same(said: Any, expected: str) -> bool:
    return isinstance(said, str) and hmac.compare_digest(said.encode(), expected.encode())


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _decoded(status: int, body: bytes, kind: type[T], url: str) -> T:
    if status != 200:
        raise _unusable(url, f"answers {status}")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _unusable(url, f"answers what cannot be used: {error}"[:200]) from None


class _Error(msgspec.Struct, frozen=True):
    error: str = "no reason given"


def _error_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Error).error[:100]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "no reason given"


def _unusable(url: str, why: str) -> Unavailable:
    logger.warning("the provider of identities cannot be used: %s: %s", url, why)
    detail = "the provider of identities does not answer as it should; a password still works"
    return Unavailable(detail, retry_after_s=5.0, code="sso_unavailable")
