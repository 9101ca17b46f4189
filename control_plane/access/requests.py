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
    reason = _reason(request.headers.get(REASON_HEADER, ""))
    principal = request[PRINCIPAL]
    environments = principal.grant.environments
    return Author(principal.actor, client_address(request), reason, environments)


def _reason(header: str) -> str:
    try:
        reason = unquote(header, errors="strict").strip()
    except UnicodeDecodeError:
        raise _no_reason("holds bytes that are no UTF-8, percent-encoded") from None
    if len(reason) > MAX_REASON_CHARS:
        raise _no_reason(f"has {len(reason)} characters, and {MAX_REASON_CHARS} at most are taken")
    for at, char in enumerate(reason, start=1):
        if not char.isprintable():
            raise _no_reason(f"holds U+{ord(char):04X} as character {at}, which is not printable")
    return reason


def _no_reason(why: str) -> BadRequest:
    return BadRequest(f"{REASON_HEADER} {why}", code="invalid_reason")
