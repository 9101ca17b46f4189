"""Who may call a route: from the credential of a request to its principal, or 401 or 403.

| credential | public | what roles give | sync, report | account |
|---|---|---|---|---|
| `ADMIN_TOKEN` | yes | a first administrator, at one route | 403 | 403 |
| the same, with `MATRIXFLAG_ADMIN_TOKEN_USE=everything` | yes | all of it | 403 | 403 |
| access token of a person | yes | what their roles give | 403 | yes |
| service key | yes | what its role gives, in its project | 403 | 403 |
| sidecar key | yes | 403 | yes | 403 |
| server or client key | yes | 403 | 403 | 403 |
| access token in a cookie, with its CSRF token | yes | the same | 403 | yes |
| none | yes | 401, or local user in dev mode | 401 | 401 |

What roles give is the table in `access.roles`; which route needs what is declared with the route.

Rules: a wrong credential is 401 everywhere but on public routes, which do not look at any, and is
never anything better, in dev mode neither. Keys are looked up in memory by their hash, so they work
while Redis is away; comparing hashes tells nothing about keys. A key that is not found is 503 while
it may be a good one: until all definitions are read, and when Redis has been away for a while,
because after a 401 sidecars stay away for minutes. One that is found is good for as long as Redis
is away, whatever others have revoked meanwhile, as sessions are; people and service keys, if the
settings say so, for `max_age_s` (503 then), sidecars always, because flags must not go. Somebody
without any role in a project is told that there is none of that name. Somebody who holds a role
that needs a second factor, and is in a session without one, reaches what it takes to show one, and
nothing else. Networks are looked at of the settings first, for all but probes and pages; of a key
when it is known to be good; of a project when it is known that the caller may see it, and only for
people and service keys.
"""

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from aiohttp import hdrs, web

from control_plane.access.local import why_not_local
from control_plane.access.model import PRINCIPAL, KeyRecord, Principal, expires_at_ms
from control_plane.access.roles import ANYWHERE, FOR_PEOPLE, Binding, Role, grant
from control_plane.errors import Forbidden, NotFound, Unauthorized, Unavailable
from control_plane.networks import permits
from control_plane.web.address import client_address
from control_plane.web.cookies import CSRF_HEADER, Csrf, access_cookie
from control_plane.web.params import DEFAULT_PROJECT
from control_plane.web.routing import Permission, Route
from proxy.contract.access import hash_key, key_from_headers
from proxy.contract.codes import KeyKind

__all__ = ["KeyLookup", "People", "RequestGuard"]

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_ADMINISTRATOR = (Binding(Role.ADMIN),)
_RETRY_AFTER_S = 2.0
_FIRST_ADMIN_ONLY = (
    "the token of ADMIN_TOKEN makes the first administrator and nothing else: `matrixflag admin "
    "create --email ADDRESS`; then log in at /api/v1/auth/login and send the access token, or a "
    "service key made with it"
)
_ADMIN_IS_THERE = (
    "the token of ADMIN_TOKEN makes the first administrator and nothing else, and there is one: "
    "log in at /api/v1/auth/login and send the access token, or a service key made with it"
)


class KeyLookup(Protocol):
    """Where keys are found; the replica."""

    @property
    def loaded(self) -> bool: ...

    @property
    def knows_all_keys(self) -> bool: ...

    def find_key(self, key_hash: str) -> KeyRecord | None: ...

    def verified_age_ms(self) -> int: ...

    def networks_of(self, project: str) -> tuple[tuple[str, ...], tuple[str, ...]]: ...


class People(Protocol):
    """Who stands behind an access token; the user service."""

    def principal(self, token: str) -> Principal | None: ...

    def has_admin(self) -> bool: ...

    def verified_age_ms(self) -> int: ...


class RequestGuard:
    """Leaves the principal in a request, or raises. Stateless but for what it was made with."""

    def __init__(
        self,
        *,
        admin_token: str,
        opens_everything: bool = False,
        dev: bool,
        keys: Callable[[], KeyLookup],
        people: Callable[[], People],
        csrf: Csrf,
        allows_origin: Callable[[str], bool],
        allowed_networks: tuple[str, ...] = (),
        denied_networks: tuple[str, ...] = (),
        max_age_s: float = 0.0,
        used: Callable[[KeyRecord], None] = lambda _key: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._admin_digest = _digest(admin_token) if admin_token else None
        self._opens_everything = opens_everything  # `ADMIN_TOKEN` does
        self._dev = dev
        self._keys = keys
        self._people = people
        self._csrf = csrf
        self._allows_origin = allows_origin
        self._networks = allowed_networks, denied_networks
        self._max_age_ms = max_age_s * 1000
        self._used = used
        self._now_ms = now_ms

    def __call__(self, request: web.Request, route: Route) -> None:
        """Authorise a request.

        Raises:
            Unauthorized, Forbidden, NotFound, Unavailable: as the module's text says.
        """
        if self._networks != ((), ()) and not _is_open(route):
            _check_address(request, self._networks, "requests are not")
        principal = self._principal(request, route)
        # An empty list, or 404, would be a lie before the definitions have been read.
        if route.permission is not Permission.PUBLIC and not self._keys().loaded:
            raise _not_loaded()
        if principal.kind in ("user", "service"):
            self._check_age(principal)
        if principal.lacks_factor and not route.without_factor:
            raise Forbidden(
                "a role of yours needs a second factor: set one up with POST "
                "/api/v1/me/factors/totp or /api/v1/me/factors/passkeys, or show the one you have "
                "at /api/v1/me/verify",
                code="second_factor_needed",
            )
        if route.permission in FOR_PEOPLE:
            project = _project(request, route)
            is_named = route.project == "path" or "project" in request.query
            principal = _granted(principal, route.permission, project, is_named=is_named)
            # not ADMIN_TOKEN, which can be made the way out when nobody is let in
            if route.permission in _IN_A_PROJECT and principal.kind in ("user", "service"):
                networks = self._keys().networks_of(project)
                _check_address(request, networks, f"requests about project {project!r} are not")
        request[PRINCIPAL] = principal

    def _principal(self, request: web.Request, route: Route) -> Principal:
        permission = route.permission
        if permission is Permission.PUBLIC:
            return Principal("anonymous", "anonymous")
        headers = request.headers
        credential = key_from_headers(headers.get(hdrs.AUTHORIZATION), headers.get("X-API-Key"))
        if credential is None:
            token = access_cookie(request) if CSRF_HEADER in headers else None
            if token is not None:
                person = self._person(token, permission)
                self._csrf.check(request, person.session or "")
                return person
            return self._without_credential(request, permission)
        if self._is_admin_token(credential):
            if not self._opens_everything:
                if not route.first_admin:
                    detail = _ADMIN_IS_THERE if self._people().has_admin() else _FIRST_ADMIN_ONLY
                    raise Forbidden(detail, code="first_admin_only")
                return Principal("first_admin", "admin", bindings=_ADMINISTRATOR)
            if permission not in FOR_PEOPLE:
                raise Forbidden("this needs a sidecar key, which names an environment")
            return Principal("admin", "admin", bindings=_ADMINISTRATOR)
        if _TOKEN.fullmatch(credential):
            return self._person(credential, permission)
        if why := _no_bearer(headers.get(hdrs.AUTHORIZATION)):
            raise Unauthorized(f"{why}: send Authorization: Bearer TOKEN")
        key = self._key(credential)
        if key.kind is KeyKind.SERVICE and key.role is not None and permission in FOR_PEOPLE:
            self._take(request, key)
            held = Binding(key.role, key.project, key.environment)
            return Principal("service", f"service:{key.id}", key, bindings=(held,))
        if permission in FOR_PEOPLE:
            raise Forbidden(
                f"a {key.kind} key cannot read or change definitions; a service key can"
            )
        if key.kind is not KeyKind.SIDECAR:
            raise Forbidden(
                f"this needs a sidecar key, not a {key.kind} key", code="wrong_key_kind"
            )
        self._take(request, key)
        return Principal("key", f"key:{key.id}", key, key.project, key.environment)

    def _check_age(self, principal: Principal) -> None:
        """Raise Unavailable when what was taken away meanwhile is not known any more here."""
        known = self._people() if principal.kind == "user" else self._keys()
        if self._max_age_ms and known.verified_age_ms() > self._max_age_ms:
            raise _not_loaded()

    def _take(self, request: web.Request, key: KeyRecord) -> None:
        """Take a key that is good for a route, from where it may come."""
        networks = key.allowed_networks, key.denied_networks
        _check_address(request, networks, f"the key {key.prefix}... is not")
        self._used(key)

    def _person(self, token: str, permission: Permission) -> Principal:
        person = self._people().principal(token)
        if person is None:
            raise Unauthorized(
                "the access token is not good, or not any more: get another at "
                "/api/v1/auth/refresh, or log in",
                code="invalid_token",
            )
        if permission not in FOR_PEOPLE:
            raise Forbidden("this needs a sidecar key, which names an environment")
        return person

    def _without_credential(self, request: web.Request, permission: Permission) -> Principal:
        if permission not in FOR_PEOPLE:
            raise Unauthorized("send a sidecar key: Authorization: Bearer mf_sidecar_...")
        if not self._dev:
            raise Unauthorized(
                "send a service key, or the access token that a login gives: "
                "Authorization: Bearer TOKEN"
            )
        against = why_not_local(request, self._allows_origin)
        if against is not None:
            raise Unauthorized(
                f"the request has no credential and is not taken for the local user's: {against}",
                code="not_local",
            )
        return Principal("admin", "dev", bindings=_ADMINISTRATOR)

    def _is_admin_token(self, credential: str) -> bool:
        # Digests are compared, so that time tells neither content nor length.
        return self._admin_digest is not None and hmac.compare_digest(
            _digest(credential), self._admin_digest
        )

    def _key(self, credential: str) -> KeyRecord:
        keys = self._keys()
        key = keys.find_key(hash_key(credential))
        if key is None:
            if not keys.knows_all_keys:
                raise _not_loaded()
            raise Unauthorized("the credential is not known: wrong, or deleted")
        ends = expires_at_ms(key)
        if ends is not None and ends <= self._now_ms():
            raise Unauthorized(f"the key {key.prefix}... has expired", code="key_expired")
        return key


def _no_bearer(authorization: str | None) -> str:
    """Return what is wrong with the form of a header, whatever it holds; empty of a good one.

    Nothing of the header is in it: what stands in the place of a scheme may be a credential.
    """
    if authorization is None:
        return ""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        return "only the scheme Bearer is taken"
    return "" if value.strip() else "there is nothing after Bearer"


def _granted(
    principal: Principal, permission: Permission, project: str, *, is_named: bool
) -> Principal:
    """Return the principal with what it is given for a request."""
    if permission is Permission.ACCOUNT and principal.kind != "user":
        raise Forbidden("this is about a person's own account, and a program has none")
    given = grant(principal.bindings, permission, project)
    if given is not None:
        return replace(principal, grant=given)
    if permission in _IN_A_PROJECT and not principal.sees(project):
        # whether there is one is not told
        detail = f"there is no project {project[:80]!r}"
        if not is_named:
            detail += f", which is meant where none is named: name one{_own_project(principal)}"
        raise NotFound(detail, code="project_not_found")
    raise Forbidden(_NEEDED[permission], code="role_needed")


def _own_project(principal: Principal) -> str:
    """Return how to name the project of who has roles in one alone; empty of others."""
    own = {binding.project for binding in principal.bindings}
    if len(own) != 1 or ANYWHERE in own:
        return ""
    project = own.pop()
    return f", as ?project={project} or with --project {project}"


_IN_A_PROJECT = (Permission.READ, Permission.WRITE, Permission.MANAGE)
_NEEDED = {
    Permission.MEMBER: "this needs a role in some project",
    Permission.READ: "this needs a role in the project",
    Permission.WRITE: "this needs the role manager in the project, or in an environment of it",
    Permission.MANAGE: "this needs the role admin in the project, in all environments",
    Permission.INSTALLATION: "this needs the role admin in all projects",
}


def _project(request: web.Request, route: Route) -> str:
    """Return the project that a request is about."""
    if route.project == "path":
        return request.match_info["key"]
    return request.query.get("project", DEFAULT_PROJECT)


def _is_open(route: Route) -> bool:
    """Return whether a route is for whoever comes: probes and pages, which tell nothing."""
    return route.permission is Permission.PUBLIC and route.method == hdrs.METH_GET


def _check_address(
    request: web.Request, networks: tuple[tuple[str, ...], tuple[str, ...]], what: str
) -> None:
    allowed, denied = networks
    if (allowed or denied) and not permits(allowed, denied, client_address(request)):
        detail = f"{what} taken from {client_address(request)}"
        raise Forbidden(detail, code="address_denied")


def _not_loaded() -> Unavailable:
    detail = "the definitions have not all been read from Redis, or not lately"
    return Unavailable(detail, retry_after_s=_RETRY_AFTER_S, code="not_loaded")


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
