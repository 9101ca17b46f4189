"""What is kept of every change: who, from where, when, what; and each version of a flag.

Both are written in the same atomic step as the change itself, so neither can be missing or
invented. An address is the peer's, as the listening process saw it.
"""

from typing import NamedTuple

import msgspec

from proxy.contract.definitions import Flag

__all__ = ["AuditEntry", "Author", "HistoryEntry", "RevertInput"]


class Author(NamedTuple):
    """Who makes a change, and from which address."""

    actor: str
    address: str


class AuditEntry(msgspec.Struct, frozen=True):
    """One change. `targets` are `<kind>:<key>`, at most a hundred; `count` says how many in all.

    Its sequence number is the entry's field `sequence` in Redis, set where it is decided.
    """

    at: str
    actor: str
    address: str
    action: str
    targets: list[str]
    count: int


class HistoryEntry(msgspec.Struct, frozen=True):
    """One version of a flag, as it was stored; without `flag` the version in which it was deleted.

    `action` says what made it: `flag.create`, `.replace`, `.patch`, `.copy`, `.revert`, `.delete`,
    or the `environment.create` that gave it one more configuration. `revisions` says at which
    revision of each environment it came to be: what an environment served at a revision is the
    newest version whose own is not above it. Versions of before this was kept have none.
    """

    version: int
    at: str
    actor: str
    address: str
    action: str
    flag: Flag | None
    revisions: dict[str, int] = {}


class RevertInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which flag to take back to which version; with `environment` only its configuration there."""

    flag: str
    version: int
    environment: str | None = None
