"""What is kept of every change: who, from where, when, what, why; and each version of a flag.

Both are written in the same atomic step as the change itself, so neither can be missing or
invented. An address is the client's, see `web.address`.
"""

from typing import NamedTuple

import msgspec

from control_plane.audit.differences import Difference
from proxy.contract.definitions import Flag

__all__ = ["AuditEntry", "AuditResource", "Author", "HistoryEntry", "RevertInput"]


class Author(NamedTuple):
    """Who makes a change, from which address, and why, if they say so.

    `environments` are those that they may change, None for all and for what these share.
    """

    actor: str
    address: str
    reason: str = ""
    environments: frozenset[str] | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `targets` are `<kind>:<key>`, at most a hundred; `count` says how many in all.

    `sequence` is the project's after it. `differences` are what it changed, secrets left out, as
    far as they fit; `omitted` is how many more there are. `project` is named, so that the log of
    one is not taken for that of another. `nonce` is random, so that two histories of equal changes
    are told apart.
    """

    sequence: int = 0
    at: str
    actor: str
    address: str
    action: str
    targets: list[str]
    count: int
    reason: str = ""
    differences: list[Difference] = []
    omitted: int = 0
    nonce: str = ""
    project: str = ""


class AuditResource(msgspec.Struct, frozen=True):
    """A change as the API shows it: the entry, its link in the chain and the one before."""

    sequence: int
    at: str
    actor: str
    address: str
    action: str
    reason: str
    targets: list[str]
    count: int
    differences: list[Difference]
    omitted: int
    previous: str
    head: str


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
