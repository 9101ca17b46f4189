"""Who may do what: the table of roles and permissions, and what a caller's bindings come to. Pure.

A role is held *somewhere*: in a project, or in one environment of it, or everywhere. Whoever holds
one in an environment alone may change only what is that environment's: the configuration of flags
there (`access.scope`), not what all environments share.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from control_plane.web.routing import Permission

__all__ = ["ALL", "ANYWHERE", "FOR_PEOPLE", "ROLES", "Binding", "Grant", "Role", "grant"]

ANYWHERE = "*"
"""All projects, or all environments of one, those to come too."""


class Role(StrEnum):
    """What somebody is, from least to most."""

    VIEWER = "viewer"
    """Reads definitions, history, the fleet and figures."""
    MANAGER = "manager"
    """Changes flags, segments and what they serve."""
    ADMIN = "admin"
    """Manages keys, environments and networks of a project, and reads its audit log; of all
    projects also who may do what."""


ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.MANAGER: frozenset({Permission.READ, Permission.WRITE}),
    Role.ADMIN: frozenset({Permission.READ, Permission.WRITE, Permission.MANAGE}),
}
"""The table. `INSTALLATION` is an admin's of all projects; `ACCOUNT` anybody's who is a person."""

FOR_PEOPLE = frozenset(
    {
        Permission.MEMBER,
        Permission.READ,
        Permission.WRITE,
        Permission.MANAGE,
        Permission.INSTALLATION,
        Permission.ACCOUNT,
    }
)
"""What sidecar and evaluation keys do not reach."""


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role, and where it is held. Over the API it is given as `users.model.RoleInput`."""

    role: Role
    project: str = ANYWHERE
    environment: str = ANYWHERE


class Grant(msgspec.Struct, frozen=True):
    """A permission that is given. `environments` None is all of them, else those that may change.

    Reading is never less than all environments of a project: they share their flags.
    """

    environments: frozenset[str] | None = None


ALL = Grant()


def grant(bindings: Collection[Binding], permission: Permission, project: str) -> Grant | None:
    """Return what bindings allow in a project, None for nothing.

    `INSTALLATION`, `MEMBER` and `ACCOUNT` look at no project.
    """
    if permission is Permission.ACCOUNT:
        return ALL
    if permission is Permission.MEMBER:
        return ALL if bindings else None
    everywhere = permission is Permission.INSTALLATION
    wanted = Permission.MANAGE if everywhere else permission
    environments: set[str] = set()
    for each in bindings:
        if wanted not in ROLES[each.role] or each.project not in (ANYWHERE, project):
            continue
        if everywhere and (each.project, each.environment) != (ANYWHERE, ANYWHERE):
            continue
        if each.environment == ANYWHERE or permission is Permission.READ:
            return ALL
        environments.add(each.environment)
    # what is the project's own is managed by who holds the role in all of it
    if permission is not Permission.WRITE or not environments:
        return None
    return Grant(frozenset(environments))
