"""The audit log as a file: lines of JSON that can be verified, or CSV for a spreadsheet. Pure.

    {"audit":"matrixflag-audit/1","project":"default","sequence":42,"head":"...","checkpoint":null}
    {"sequence":1,"previous":"000...","head":"...","entry":{...}}

The entry stands in its line as the bytes it was stored as, because the link is over those. CSV
holds the same for reading; what a spreadsheet would take for a formula is quoted.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from control_plane.audit.chain import Checkpoint, Link
from control_plane.audit.model import AuditEntry

__all__ = [
    "COLUMNS",
    "FORMAT",
    "Beginning",
    "NotAnAuditLog",
    "csv_lines",
    "ndjson_line",
    "read_lines",
]

FORMAT = "matrixflag-audit/1"

COLUMNS = (
    *("sequence", "at", "actor", "address", "action", "reason", "targets", "count"),
    *("differences", "omitted", "previous", "head"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AuditEntry).decode


class NotAnAuditLog(Exception):
    """What was read is no export of an audit log; the text says where."""


class Beginning(msgspec.Struct, frozen=True):
    """The first line: where the log ends, and where it begins if it was shortened."""

    audit: str
    project: str
    sequence: int
    head: str
    checkpoint: Checkpoint | None = None


class _Line(msgspec.Struct, frozen=True):
    sequence: int
    previous: str
    head: str
    entry: msgspec.Raw


_read_beginning = msgspec.json.Decoder(Beginning).decode
_read_line = msgspec.json.Decoder(_Line).decode


def ndjson_line(row: Link) -> bytes:
    """Return an entry as a line."""
    return _encode(_Line(row.sequence, row.previous, row.head, msgspec.Raw(row.entry))) + b"\n"


def csv_lines(rows: Iterable[Link] | None) -> bytes:
    """Return entries as rows of CSV (RFC 4180), None the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text)
    if rows is None:
        writer.writerow(COLUMNS)
    for row in rows or ():
        writer.writerow([_cell(value) for value in _values(row)])
    return text.getvalue().encode("utf-8", "surrogatepass")


def read_lines(lines: Sequence[bytes]) -> tuple[Beginning, list[Link]]:
    """Return what an export holds.

    Raises:
        NotAnAuditLog: for anything else, with the number of the line.
    """
    try:
        beginning = _read_beginning(lines[0] if lines else b"")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise NotAnAuditLog(
            "line 1 does not begin an export of an audit log: take that of"
            " GET /api/v1/audit/export, in lines of JSON; CSV proves nothing"
        ) from None
    if beginning.audit != FORMAT:
        raise NotAnAuditLog(f"line 1: format {beginning.audit[:80]!r}, this reads {FORMAT}")
    links = []
    for number, text in enumerate(lines[1:], 2):
        try:
            line = _read_line(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise NotAnAuditLog(f"line {number} is no entry: {error}") from None
        links.append(Link(line.sequence, line.previous, line.head, bytes(line.entry)))
    return beginning, links


def _values(row: Link) -> Iterable[Any]:
    entry = _decode(row.entry)
    for column in COLUMNS:
        match column:
            case "sequence" | "previous" | "head":
                yield getattr(row, column)
            case "targets":
                yield " ".join(entry.targets)
            case "differences":
                yield _encode(entry.differences).decode()
            case _:
                yield getattr(entry, column)


def _cell(value: Any) -> Any:
    text = value if isinstance(value, str) else None
    return f"'{text}" if text and text.startswith(_FORMULA) else value
