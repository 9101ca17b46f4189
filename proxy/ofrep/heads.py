"""Recognises the head of an ordinary request, and what of a request decides its answer. Pure.

Not an HTTP parser: a strict subset of what one accepts, matched by one expression. Whatever else a
client may send - another version, a repeated header, a transfer coding, text beyond ASCII, a
continued line - is not ordinary, and is read by aiohttp's parser instead (`proxy.ofrep.front`).
So the rule for a change here: a head that is taken must mean to that parser exactly what is read
out of it; when in doubt, leave it out. `tests/proxy/ofrep/test_front.py` compares the two.
"""

import re
from typing import NamedTuple

from proxy.ofrep.paths import Target, find_parameter, find_target

__all__ = ["CONFIG_ETAG", "END_OF_HEAD", "MAX_HEAD_BYTES", "Head", "begins_ordinary", "read_head"]

CONFIG_ETAG = "flagConfigEtag"
"""The parameter of a bulk request that says of which version of the flags a stream told."""

END_OF_HEAD = b"\r\n\r\n"
MAX_HEAD_BYTES = 65_536
"""Of an ordinary head: some clients put a whole context into a query."""

_LINE = (
    rb"(POST|OPTIONS) (/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)(?:\?([A-Za-z0-9._~%!$&'()*+,;=:@/?-]*))?"
)
_FIELD = (
    rb"(?:(?i:content-length):[\t ]*[0-9]+[\t ]*"
    rb"|(?!(?i:content-length):)[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t\x20-\x7e]*)\r\n"
)
_HEAD = re.compile(rb"%b HTTP/1\.1\r\n((?:%b)*)\r\n" % (_LINE, _FIELD))
_FIRST_LINES = re.compile(rb"%b HTTP/1\.1\r\n(?:%b)*" % (_LINE, _FIELD))
_MORE_LINES = re.compile(rb"(?:%b)*" % _FIELD)
_PART = re.compile(rb"\r?[\t\x20-\x7e]*\r?")
_FIELD_PART = re.compile(
    rb"(?:(?i:content-length):[\t ]*[0-9]*[\t ]*"
    rb"|(?!(?i:content-length):)[A-Za-z0-9!#$%&'*+.^_`|~-]+(?::[\t\x20-\x7e]*)?)?\r?"
)
_LOOKED_AT = 256  # of a part of a line again, each time that more of it has come
_METHODS = (b"POST /", b"OPTIONS /")
_LENGTH = re.compile(rb"[0-9]{1,10}")

_NOT_ORDINARY = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"trailer"})
_CLOSES = {b"keep-alive": False, b"close": True}
_OFFER_OF_HTTP_2 = (b"upgrade, http2-settings", b"h2c")
"""`Connection` and `Upgrade` of every request of Java's client: an offer, which may be ignored."""

_MAX_FIELDS = 100  # aiohttp refuses more than 128


class Head(NamedTuple):
    """What of a request decides its answer, besides the body. Header values are as they were sent.

    `if_none_match` is None without one; several are joined by commas. `content_length` is 0 without
    one. `close`: the client wants no further answer on this connection. `config_etag` is the value
    of that parameter, None without one.
    """

    method: str
    target: Target
    authorization: str | None = None
    api_key: str | None = None
    origin: str | None = None
    if_none_match: str | None = None
    content_type: str = ""
    content_length: int = 0
    close: bool = False
    config_etag: str | None = None


def read_head(head: bytes) -> Head | None:
    """Return what the head of an ordinary request says; None for any other, and for no head.

    `head` ends with the empty line.
    """
    match = _HEAD.fullmatch(head) if len(head) <= MAX_HEAD_BYTES else None
    if match is None:
        return None
    method, path, query, lines = match.groups()
    fields: dict[bytes, bytes] = {}
    for line in lines.splitlines():
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in fields or name in _NOT_ORDINARY:
            return None
        fields[name] = value.strip(b" \t")
    length = fields.get(b"content-length", b"0")
    connection = fields.get(b"connection", b"keep-alive").lower()
    if b"upgrade" in fields:
        if (connection, fields[b"upgrade"].lower()) != _OFFER_OF_HTTP_2:
            return None
        connection = b"keep-alive"
    close = _CLOSES.get(connection)
    if close is None or b"host" not in fields or not _LENGTH.fullmatch(length):
        return None
    if len(fields) > _MAX_FIELDS:
        return None
    return Head(
        method.decode(),
        find_target(path.decode()),
        _text(fields.get(b"authorization")),
        _text(fields.get(b"x-api-key")),
        _text(fields.get(b"origin")),
        _text(fields.get(b"if-none-match")),
        fields.get(b"content-type", b"").decode(),
        int(length),
        close,
        None if query is None else find_parameter(query.decode(), CONFIG_ETAG),
    )


def begins_ordinary(part: bytes | bytearray, lines: int = 0, looked_at: int = 0) -> int:
    """Return how much of the beginning of a head is whole ordinary lines, -1 if it is not ordinary.

    `lines` is what the last call with less of the same head returned, `looked_at` how much that
    was: what was read then is not read again, however small the pieces are in which a head comes.
    """
    end = part.rfind(b"\r\n", max(lines, looked_at - 1)) + 2
    if end >= 2:
        pattern = _MORE_LINES if lines else _FIRST_LINES
        if not pattern.fullmatch(part, lines, end):
            return -1
        lines = end
    elif not lines and not any(part[: len(m)] == m[: len(part)] for m in _METHODS):
        return -1
    if lines and not _FIELD_PART.fullmatch(part, lines, min(len(part), lines + _LOOKED_AT)):
        return -1
    return lines if _PART.fullmatch(part, max(lines, looked_at - 1)) else -1


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
