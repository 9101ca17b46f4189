"""Request bodies: from bytes to one of the contract's types, or to everything that is wrong.

The order is fixed: media type (415), size (413), still let in (401, 403), JSON at all (400),
duplicate members and depth (422), shape (422). Decoding is msgspec's, which is fast and stops at
the first wrong thing; only when it fails is the JSON Schema of the same type run, to list them all.
What a document means is not looked at here.

Long work leaves the event loop: a large body is decoded, and any refused one is explained, in a
thread.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
from aiohttp import hdrs, web

from control_plane.documents import NO_FLAWS, Flaws, Misshapen, Packed, decode_flawed
from control_plane.errors import (
    BadRequest,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from control_plane.keys import SETTINGS
from control_plane.web.routing import ADMIT, JSON, ROUTE
from control_plane.web.salvage import Kind, salvaged
from control_plane.web.shapes import shape_problems
from proxy.contract import strict_json
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.mending import mend
from proxy.contract.problems import Problem

__all__ = [
    "body_pieces",
    "check_media_type",
    "decode_document",
    "decode_mended",
    "read_body",
    "read_document",
    "read_flawed",
    "read_packed",
]

T = TypeVar("T")

_PIECE_BYTES = 128 * 1024
"""Of a body that is read piece by piece: also what is decompressed at once."""

_TIMED_BYTES = 1024 * 1024
"""Of such a body, as many have to come within `body_timeout_s`, and again as many."""

_INLINE_BYTES = 32_768
"""Above it a body is decoded in a thread: the scan takes about a microsecond a token, so that this
much holds the loop for some milliseconds at most."""


async def read_document(request: web.Request, kind: type[T], parts: Kind | None = None) -> T:
    """Return the request's body as `kind`, which has the `parts` of a flag or a segment.

    Raises:
        UnsupportedMediaType, TooLarge, RequestTimeout, BadRequest, Misshapen: as the header
        says.
    """
    body = await _document_body(request)
    if len(body) > _INLINE_BYTES:
        return await asyncio.to_thread(decode_document, body, kind, parts)
    value, problems = _decode_strictly(body, kind)
    if not problems:
        return value  # type: ignore[return-value]  # there is a value where there is no problem
    return await asyncio.to_thread(decode_document, body, kind, parts)


async def read_flawed(
    request: web.Request, kind: type[T], parts: Kind
) -> tuple[T, dict[str, Any], Flaws]:
    """Return the request's body as `kind`, as far as it can be; as the object it is; and its flaws.

    The object tells what was left out.

    Raises:
        as `read_document` does, when what could be understood is too little.
    """
    body = await _document_body(request)
    if len(body) <= _INLINE_BYTES:
        members, problems = _decode_strictly(body, dict[str, Any])
        if members is not None and not problems:
            with suppress(msgspec.ValidationError):
                return msgspec.convert(members, kind), members, NO_FLAWS
    return await asyncio.to_thread(_decode_flawed, body, kind, parts)


def _decode_flawed(body: bytes, kind: type[T], parts: Kind) -> tuple[T, dict[str, Any], Flaws]:
    document, flaws = decode_flawed(partial(decode_document, kind=kind, parts=parts), body)
    members, _ = decode(body, dict[str, Any])
    return document, members or {}, flaws


async def _document_body(request: web.Request) -> bytes:
    route = request.get(ROUTE)
    check_media_type(request, route.media_types if route is not None else (JSON,))
    return await read_body(request, request.app[SETTINGS].max_body_bytes)


def decode_document(body: bytes, kind: type[T], parts: Kind | None = None) -> T:
    """Return a body as `kind`; raises BadRequest or Misshapen with all problems of its shape."""
    value, problems = _decode_strictly(body, kind)
    if not problems:
        return value  # type: ignore[return-value]  # there is a value where there is no problem
    # The decoder may have stopped at a wrong member in text that is no JSON further on: that it is
    # none is said first, and alone. Of numbers that nothing can hold there is no document to list
    # the problems of.
    document, others = decode(body, object)
    malformed = [p for p in others if p.code is ProblemCode.MALFORMED_JSON]
    if malformed:
        raise BadRequest("the body is not JSON", code="malformed_json", problems=malformed)
    if not others and not any(p.code is ProblemCode.TOO_DEEP for p in problems):
        # A duplicate does not show in the decoded document, so it is listed beside what does.
        hidden = [p for p in problems if p.code is ProblemCode.DUPLICATE_KEY]
        wrong = shape_problems(document, kind)
        problems = [*hidden, *wrong] or problems
        if parts is not None:
            raise Misshapen(problems, *salvaged(document, parts, kind, wrong))
    raise Misshapen(problems, None, ())


def decode_mended(body: bytes, kind: type[T], member: str) -> tuple[T, list[Problem]]:
    """Return a body as `kind`, and mistakes of the text within one member, with pointers into it.

    They are out of the way, see `proxy.contract.mending`; all others are of the body.

    Raises:
        BadRequest, Misshapen: as `decode_document` does.
    """
    value, problems = _decode_strictly(body, kind)
    if not problems:
        return value, []  # type: ignore[return-value]  # there is one where there is no problem
    text, flaws = mend(body)
    if not all(flaw.pointer.startswith(f"{member}/") for flaw in flaws):
        return decode_document(body, kind), []  # which raises
    value, problems = decode(text, kind)
    if problems:
        return decode_document(text, kind), []  # which raises
    moved = [
        msgspec.structs.replace(flaw, pointer=flaw.pointer.removeprefix(member)) for flaw in flaws
    ]
    return value, moved  # type: ignore[return-value]  # there is one where there is no problem


def check_media_type(request: web.Request, accepted: Collection[str]) -> None:
    """Raise UnsupportedMediaType unless the body is declared as one of these types."""
    if request.content_type not in accepted or "Content-Type" not in request.headers:
        declared = request.headers.get("Content-Type", "nothing")[:100]
        raise UnsupportedMediaType(f"send {' or '.join(accepted)}, not {declared}")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType("send JSON in UTF-8")


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """Return the body, decompressed if it was compressed; never reads more than `max_bytes`.

    Raises:
        UnsupportedMediaType: for an encoding other than gzip.
        TooLarge: when there is more, before it is read where the length is declared.
        RequestTimeout: when it does not arrive within `body_timeout_s`.
        BadRequest: when it does not decompress, or breaks off.
    """
    return await _read_body(request, max_bytes, _decompressor(request))


async def read_packed(request: web.Request, max_bytes: int) -> Packed:
    """Return the body as it came, for somebody to open; raises as `read_body` does."""
    gzipped = _decompressor(request) is not None
    return Packed(await _read_body(request, max_bytes, None), gzipped)


async def _read_body(
    request: web.Request, max_bytes: int, inflate: "zlib._Decompress | None"
) -> bytes:
    if request.content_length is not None and request.content_length > max_bytes:
        raise TooLarge(f"{request.content_length} bytes, at most {max_bytes} are read")
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(request.app[SETTINGS].body_timeout_s):
            async for raw in request.content.iter_any():
                # one byte more than there is room for tells that there is more
                piece = inflate.decompress(raw, max_bytes - size + 1) if inflate else raw
                size += len(piece)
                if size > max_bytes:
                    raise TooLarge(f"more than {max_bytes} bytes, which is all that is read")
                pieces.append(piece)
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
    except (web.RequestPayloadError, web.PayloadAccessError) as error:
        raise BadRequest(f"the body cannot be read: {type(error).__name__}") from None
    except zlib.error:
        raise BadRequest("the body does not decompress") from None
    if inflate and not inflate.eof:
        raise BadRequest("the compressed body breaks off")
    _admit_again(request)
    return b"".join(pieces)


async def body_pieces(request: web.Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body, decompressed if it was compressed, in pieces of 128 KB at most.

    Each further megabyte has to arrive within `body_timeout_s`, what is done between two pieces
    included.

    Raises:
        UnsupportedMediaType, TooLarge, RequestTimeout, BadRequest: as `read_body` does.
    """
    inflate = _decompressor(request)
    if request.content_length is not None and request.content_length > max_bytes:
        raise TooLarge(f"{request.content_length} bytes, at most {max_bytes} are read")
    patience_s = request.app[SETTINGS].body_timeout_s
    loop = asyncio.get_running_loop()
    size = timed = 0
    until = loop.time() + patience_s
    while True:
        try:
            async with asyncio.timeout_at(until):
                raw = await request.content.readany()
        except TimeoutError:
            raise RequestTimeout("the body did not arrive in time") from None
        except (web.RequestPayloadError, web.PayloadAccessError) as error:
            raise BadRequest(f"the body cannot be read: {type(error).__name__}") from None
        if not raw:
            break
        for piece in _inflated(inflate, raw):
            size += len(piece)
            if size > max_bytes:
                raise TooLarge(f"more than {max_bytes} bytes, which is all that is read")
            yield piece
        if size - timed >= _TIMED_BYTES:
            timed, until = size, loop.time() + patience_s
    if inflate and not inflate.eof:
        raise BadRequest("the compressed body breaks off")
    _admit_again(request)


def _admit_again(request: web.Request) -> None:
    """Raise what the guard raises by now: who sends slowly is not let in for longer by it."""
    if admit := request.get(ADMIT):
        admit()


def _inflated(inflate: "zlib._Decompress | None", raw: bytes) -> Iterator[bytes]:
    """Yield what some bytes of a body stand for, piece by piece."""
    if inflate is None:
        yield from (raw[at : at + _PIECE_BYTES] for at in range(0, len(raw), _PIECE_BYTES))
        return
    try:
        while raw:
            yield inflate.decompress(raw, _PIECE_BYTES)
            raw = inflate.unconsumed_tail
    except zlib.error:
        raise BadRequest("the body does not decompress") from None


def _decompressor(request: web.Request) -> "zlib._Decompress | None":
    """Return what undoes the body's encoding, None where there is none.

    The parser leaves bodies as they came, so that a small one cannot become a large one unseen.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding == "gzip":
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    # RFC 9110 section 15.5.16: the answer says what would be taken.
    raise UnsupportedMediaType(
        f"Content-Encoding {encoding[:50]!r} is not taken; send gzip or none",
        code="unsupported_encoding",
        headers={hdrs.ACCEPT_ENCODING: "gzip"},
    )


def _decode_strictly(body: bytes, kind: type[T]) -> tuple[T | None, list[Problem]]:
    problems = strict_json.scan(body)
    return (None, problems) if problems else decode(body, kind)
