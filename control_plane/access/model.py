"""Principals and key records.

A key is shown once, when it is made. What is kept is its hash and the prefix people tell it by, so
nothing stored here lets anybody in. Server and client keys go into the snapshots of their
environment as entries of kind `key`; sidecar and service keys never leave the control plane.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from control_plane.access.roles import ALL, Binding, Grant, Role, grant
from control_plane.web.routing import Permission
from proxy.contract.codes import KeyKind
from proxy.contract.definitions import KeyDefinition

__all__ = [
    "PRINCIPAL",
    "CreatedKey",
    "MAX_OVERLAP_S",
    "KeyInput",
    "KeyPatch",
    "KeyRecord",
    "KeyResource",
    "Principal",
    "RotateInput",
    "expires_at_ms",
    "key_definition",
]


MAX_OVERLAP_S = 30 * 24 * 3600
"""Of two keys of which one takes the place of the other: a month, for what is deployed monthly."""


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as it is stored. Times are RFC 3339 in UTC; `expires_at` None means never.

    `allowed_networks` and `denied_networks` are those it may be presented from, see `networks`;
    `replaces` is the id of the key in whose place it came, `created_by` who made it, as the audit
    log calls them; of keys of before that was kept it is empty. `own_end` is the `expires_at` that
    it had before a rotation put the end of an overlap there, absent when none has: what comes in
    its place next lives for as long as what came first.
    """

    id: str
    name: str
    kind: KeyKind
    project: str
    environment: str
    hash: str
    prefix: str
    created_at: str
    expires_at: str | None = None
    role: Role | None = None
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()
    replaces: str | None = None
    created_by: str = ""
    own_end: str | UnsetType | None = UNSET


class KeyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for.

    `environment` absent is the query's; `expires_at` is RFC 3339, absent or null never. A service
    key has a `role`, in all environments of the project unless one is named. Service and sidecar
    keys may have networks that they are taken from, all but the denied ones when none is allowed.
    """

    kind: KeyKind
    environment: str | UnsetType = UNSET
    name: str = ""
    expires_at: str | None = None
    role: Role | UnsetType = UNSET
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()


class KeyPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a key is to be another; what is left out stays."""

    READ_ONLY: ClassVar = frozenset(
        {"id", "kind", "project", "environment", "prefix", "created_at", "role", "replaces"}
        | {"created_by", "last_used_at"}
    )

    name: str | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET
    allowed_networks: tuple[str, ...] | UnsetType = UNSET
    denied_networks: tuple[str, ...] | UnsetType = UNSET


class RotateInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long the old key is good beside the new one, in seconds, and when the new one ends.

    Without `expires_at` the new one lives for as long as the old one was made to live, null for
    ever; what an earlier rotation cut of the old one's life does not count.
    """

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_OVERLAP_S)] = 3600
    expires_at: str | UnsetType | None = UNSET


class KeyResource(msgspec.Struct, frozen=True):
    """A key as the API shows it: all but the key.

    `last_used_at` is at most two minutes behind; null when it was not used. Of server and client
    keys it is what sidecars tell that are connected to a control plane.
    """

    id: str
    name: str
    kind: KeyKind
    project: str
    environment: str
    prefix: str
    created_at: str
    expires_at: str | None
    role: Role | None
    allowed_networks: tuple[str, ...]
    denied_networks: tuple[str, ...]
    replaces: str | None
    created_by: str
    last_used_at: str | None = None


class CreatedKey(msgspec.Struct, frozen=True):
    """A key just made, with the key itself: the only time it is seen."""

    id: str
    name: str
    kind: KeyKind
    project: str
    environment: str
    prefix: str
    created_at: str
    expires_at: str | None
    role: Role | None
    allowed_networks: tuple[str, ...]
    denied_networks: tuple[str, ...]
    replaces: str | None
    created_by: str
    last_used_at: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: an administrator, a program with a key of one project, or nobody in particular.

    Of kind `first_admin` is who has `ADMIN_TOKEN` and may make the first administrator, and nothing
    else. `actor` is what history and the audit log say: `admin` for that token, `dev`, `key:<id>`,
    `service:<id>`, `user:<address>`.
    `bindings` are the roles that it holds, `grant` what they give for this request. Of a sidecar,
    `project` and `environment` are its key's; of a person, `user` and `session` are their ids, and
    `lacks_factor` is whether a role of theirs needs a second factor that they have not shown.
    """

    kind: Literal["admin", "first_admin", "user", "service", "key", "anonymous"]
    actor: str
    key: KeyRecord | None = None
    project: str | None = None
    environment: str | None = None
    bindings: tuple[Binding, ...] = ()
    grant: Grant = ALL
    user: str | None = None
    session: str | None = None
    lacks_factor: bool = False

    def sees(self, project: str) -> bool:
        """Return whether definitions of a project may be read."""
        return grant(self.bindings, Permission.READ, project) is not None


PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal")
"""Where the guard leaves the principal: `request[PRINCIPAL]`."""


def key_definition(record: KeyRecord) -> KeyDefinition | None:
    """Return the key as sidecars receive it, or None for a kind they do not."""
    if record.kind in (KeyKind.SIDECAR, KeyKind.SERVICE):
        return None
    return KeyDefinition(record.hash, record.kind, expires_at_ms(record))


def expires_at_ms(record: KeyRecord) -> int | None:
    """Return when a key ends in Unix milliseconds, or None for never."""
    if record.expires_at is None:
        return None
    return int(datetime.fromisoformat(record.expires_at).timestamp() * 1000)
