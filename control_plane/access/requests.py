"""Who is behind a request, as the audit log wants to know it."""

from urllib.parse import unquote

from aiohttp import web

from control_plane.access.model import PRINCIPAL
from control_plane.audit.model import Author
from control_plane.errors import BadRequest
from control_plane.web.address import client_address

__all__ = ["MAX_REASON_CHARS", "REASON_HEADER", "author_of"]

REASON_HEADER = "X-Matrixflag-Reason"
"""Why a change is made, for the audit log; percent-encoded where it is not ASCII."""

MAX_REASON_CHARS = 500


def author_of(request: web.Request) -> Author:
    """Return the author of the change that a request makes: principal, client's address, reason.

    Raises:
        BadRequest: the reason is too long, or no text.
    """
    try:
        reason = unquote(request.headers.get(REASON_HEADER, ""), errors="strict").strip()
    except UnicodeDecodeError:
        reason = "\n"
    if len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        detail = f"{REASON_HEADER} takes {MAX_REASON_CHARS} printable characters, percent-encoded"
        raise BadRequest(detail, code="invalid_reason")
    principal = request[PRINCIPAL]
    environments = principal.grant.environments
    return Author(principal.actor, client_address(request), reason, environments)
