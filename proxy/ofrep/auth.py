"""Who may evaluate what, by the evaluation keys that came with the snapshot. Pure.

Without any key in the snapshot evaluation is open where the sidecar can only be reached from its
own machine, and closed elsewhere. Denials say what to do and tell nothing of keys or flags.

Keys are 256 random bits, kept and looked up by their SHA-256: comparing hashes in variable time
tells an attacker nothing that helps to find a key, so no constant-time comparison is needed.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from proxy.contract.access import hash_key
from proxy.contract.codes import KeyKind
from proxy.contract.definitions import KeyDefinition

__all__ = ["ANONYMOUS", "Access", "Denied", "Granted", "Scope", "authorise"]
__all__ += ["authorise_identity"]

ANONYMOUS = ""
"""The identity of requests that needed no key."""


class Scope(StrEnum):
    """Which flags a caller sees. The value is part of ETags: never change it."""

    ALL = "all"
    CLIENT = "client"


class Granted(NamedTuple):
    """`identity` tells callers apart without naming a secret: the key's hash, or ANONYMOUS.

    `until_ms` is when the key expires, Unix time.
    """

    scope: Scope
    identity: str
    until_ms: float = math.inf


class Denied(NamedTuple):
    """`status` is 401 for no or a wrong key, 403 for a key that is not for this."""

    status: int
    details: str


class Access(NamedTuple):
    """What does not change while the sidecar runs.

    `open_without_keys`: evaluate for anybody while the snapshot holds no key. `own_key_hash`: of
    the sidecar's own key, which people try first.
    """

    open_without_keys: bool
    own_key_hash: str | None = None


_NO_KEYS = Denied(
    401,
    "this sidecar can be reached from other machines and has no evaluation keys: create a server"
    " or client key, or start it with --allow-anonymous",
)
_MISSING = Denied(401, "an evaluation key is needed, as Authorization: Bearer KEY or X-API-Key")
_WRONG = Denied(401, "the evaluation key is not known here")
_EXPIRED = Denied(401, "the evaluation key has expired")
_SIDECAR = Denied(403, "a sidecar key does not evaluate; use a server or a client key")
_OPEN = Granted(Scope.ALL, ANONYMOUS)


def authorise(
    keys: Mapping[str, KeyDefinition], presented: str | None, now_ms: int, access: Access
) -> Granted | Denied:
    """Return what a caller may see. `keys` are by hash; `now_ms` is Unix time."""
    identity = None if presented is None else hash_key(presented)
    return authorise_identity(keys, identity, now_ms, access)


def authorise_identity(
    keys: Mapping[str, KeyDefinition], identity: str | None, now_ms: int, access: Access
) -> Granted | Denied:
    """Return what the caller may see whose key has this hash; None for one without a key."""
    if not keys:
        return _OPEN if access.open_without_keys else _NO_KEYS
    if identity is None:
        return _MISSING
    found = keys.get(identity)
    if found is None:
        return _SIDECAR if identity == access.own_key_hash else _WRONG
    until_ms = math.inf if found.expires_at_ms is None else found.expires_at_ms
    if until_ms <= now_ms:
        return _EXPIRED
    match found.kind:
        case KeyKind.SERVER:
            return Granted(Scope.ALL, identity, until_ms)
        case KeyKind.CLIENT:
            return Granted(Scope.CLIENT, identity, until_ms)
        case KeyKind.SIDECAR | KeyKind.SERVICE:
            return _SIDECAR
