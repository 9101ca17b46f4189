"""The tables of `docs/access.md`, made from the roles and the routes themselves.

    python -m control_plane.access.page docs/access.md      writes them anew

A test compares them with the page, so it cannot say what is not so.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from control_plane.access.roles import ROLES, Role
from control_plane.web.openapi import plain_path
from control_plane.web.routing import Permission, Route

__all__ = ["with_tables"]

_ADMIN = f"{Role.ADMIN} of all projects"
_WHO = {
    Permission.PUBLIC: "everybody",
    Permission.MEMBER: "whoever has any role",
    Permission.INSTALLATION: _ADMIN,
    Permission.ACCOUNT: "a person, of their own",
    Permission.SYNC: "sidecar key",
    Permission.REPORT: "sidecar key",
}


def _roles_table() -> str:
    """Return which role gives which permission, as Markdown."""
    permissions = (Permission.READ, Permission.WRITE, Permission.MANAGE)
    lines = [f"| role | {' | '.join(permissions)} |", f"|---|{'---|' * len(permissions)}"]
    for role, given in ROLES.items():
        cells = ("yes" if permission in given else "" for permission in permissions)
        lines.append(f"| {role} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _routes_table(routes: Iterable[Route]) -> str:
    """Return who may call which route, as Markdown."""
    lines = ["| route | permission | who |", "|---|---|---|"]
    for route in sorted(routes, key=lambda each: (plain_path(each.path), each.method)):
        path = plain_path(route.path)
        lines.append(f"| `{route.method} {path}` | {route.permission} | {_who(route.permission)} |")
    return "\n".join(lines)


def _who(permission: Permission) -> str:
    if permission in _WHO:
        return _WHO[permission]
    return ", ".join(role for role, given in ROLES.items() if permission in given)


def with_tables(page: str, routes: Iterable[Route]) -> str:
    """Return the page with its two tables made anew, between their marks."""
    tables = {"roles": _roles_table(), "routes": _routes_table(routes)}
    for name, table in tables.items():
        begins = f"<!-- {name} -->\n"
        head, _, rest = page.partition(begins)
        _, end, tail = rest.partition("\n<!-- end -->")
        if not end:
            raise ValueError(f"the page has no table {name}")
        page = f"{head}{begins}{table}{end}{tail}"
    return page


def main(path: Path) -> None:
    """Write the tables of a page anew."""
    from control_plane.app import ROUTES

    path.write_text(with_tables(path.read_text(), ROUTES))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
