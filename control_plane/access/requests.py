"""Who is behind a request, as the audit log wants to know it."""

from aiohttp import web

from control_plane.access.model import PRINCIPAL
from control_plane.audit.model import Author

__all__ = ["author_of"]


def author_of(request: web.Request) -> Author:
    """Return the author of the change that a request makes: principal and peer's address."""
    return Author(request[PRINCIPAL].actor, request.remote or "local")
