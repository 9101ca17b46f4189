"""What writes of flags have in common, whichever feature makes them: consent asked, notes given.

What an author should know beside the document is in two headers, as JSON, so that the body stays
what can be sent back: `Matrixflag-Warnings`, the problems that are no errors, and
`Matrixflag-Moved`, how many buckets got another variant where.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from control_plane.flags.model import Written
from control_plane.flags.rebucketing import Moved
from control_plane.web.params import query_bool
from control_plane.web.respond import etag_of, json_response
from control_plane.web.routing import Param
from proxy.contract.problems import Problem

__all__ = [
    "MOVED_HEADER",
    "REBUCKET",
    "WARNINGS_HEADER",
    "note_headers",
    "query_rebucket",
    "written_response",
]

REBUCKET = Param(
    "rebucket", type=bool, description="Allow a change of `salt` or `by`, which moves units."
)

WARNINGS_HEADER = "Matrixflag-Warnings"
MOVED_HEADER = "Matrixflag-Moved"

_MAX_NOTES = 10
"""Of each kind; servers in between drop answers whose headers exceed some 8 KB."""
_MAX_HEADER_CHARS = 3_000


def query_rebucket(request: web.Request) -> bool:
    """Return whether the caller agrees that units get new buckets."""
    return query_bool(request, "rebucket") or False


def written_response(
    written: Written, status: int = 200, location: str | None = None
) -> web.Response:
    """Return the answer to a write: the flag, its version, and what its author should know."""
    return json_response(
        written.resource,
        status=status,
        etag=etag_of(written.resource.version),
        location=location,
        headers=note_headers(written.warnings, written.moved),
    )


def note_headers(warnings: Sequence[Problem], moved: Sequence[Moved] = ()) -> dict[str, str]:
    """Return the headers that carry notes; none where there is nothing to say."""
    notes: tuple[tuple[str, Sequence[Any]], ...]
    notes = ((WARNINGS_HEADER, warnings), (MOVED_HEADER, moved))
    return {name: _ascii(some) for name, some in notes if some}


def _ascii(notes: Sequence[Any]) -> str:
    """Return the first notes, as many as fit, as JSON that a header can carry."""
    for count in range(min(len(notes), _MAX_NOTES), 0, -1):
        text = json.dumps(msgspec.to_builtins(notes[:count]), separators=(",", ":"))
        if len(text) <= _MAX_HEADER_CHARS:
            return text
    return "[]"
