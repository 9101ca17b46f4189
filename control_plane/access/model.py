"""Principals and key records.

A key is shown once, when it is made. What is kept is its hash and the prefix people tell it by, so
nothing stored here lets anybody in. Server and client keys go into the snapshots of their
environment as entries of kind `key`; sidecar keys never leave the control plane.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from proxy.contract.codes import KeyKind
from proxy.contract.definitions import KeyDefinition

__all__ = [
    "PRINCIPAL",
    "CreatedKey",
    "KeyInput",
    "KeyRecord",
    "KeyResource",
    "Principal",
    "expires_at_ms",
    "key_definition",
]


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as it is stored. Times are RFC 3339 in UTC; `expires_at` None means never."""

    id: str
    name: str
    kind: KeyKind
    project: str
    environment: str
    hash: str
    prefix: str
    created_at: str
    expires_at: str | None = None


class KeyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for.

    `environment` absent is the query's; `expires_at` is RFC 3339, absent or null never.
    """

    kind: KeyKind
    environment: str | UnsetType = UNSET
    name: str = ""
    expires_at: str | None = None


class KeyResource(msgspec.Struct, frozen=True):
    """A key as the API shows it: all but the key."""

    id: str
    name: str
    kind: KeyKind
    project: str
    environment: str
    prefix: str
    created_at: str
    expires_at: str | None


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
    key: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: an administrator, or a program with a key of one project and environment.

    `actor` is what history and the audit log say: `admin`, `dev`, `key:<id>`.
    """

    kind: Literal["admin", "key", "anonymous"]
    actor: str
    key: KeyRecord | None = None
    project: str | None = None
    environment: str | None = None


PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal")
"""Where the guard leaves the principal: `request[PRINCIPAL]`."""


def key_definition(record: KeyRecord) -> KeyDefinition | None:
    """Return the key as sidecars receive it, or None for a kind they do not."""
    if record.kind is KeyKind.SIDECAR:
        return None
    return KeyDefinition(record.hash, record.kind, expires_at_ms(record))


def expires_at_ms(record: KeyRecord) -> int | None:
    """Return when a key ends in Unix milliseconds, or None for never."""
    if record.expires_at is None:
        return None
    return int(datetime.fromisoformat(record.expires_at).timestamp() * 1000)
