"""The ETag of a bulk answer, and what `If-None-Match` means. Pure.

A tag names the evaluated result, not the configuration: JavaScript clients send the tag of the
previous context with a new one, and a configuration's tag would keep the old user's flags. It is
the hash of everything the result follows from - engine, snapshot, what of it is not at hand, scope,
the slice of time, the part of the context that flags read - so it is the same on every replica and
after every restart, and a 304 costs no evaluation. Only flags that may change at any moment, as on
a ramp, are evaluated for it, and what they answer is hashed in.

RFC 9110 would answer a POST with a matching `If-None-Match` 412; OFREP asks for 304.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from proxy import __version__
from proxy.ofrep.auth import Scope

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["context_etag", "etag_seed", "matches", "result_etag", "slice_name", "with_streams"]

_DIGITS = 32  # 128 bits: no two results meet by accident


def etag_seed(
    digest: str, scope: Scope, lacking: Iterable[str] = (), *, stale: bool = False
) -> "_Hash":
    """Return the hash so far of all that every context shares.

    The version is in it because another release may write the same result in other bytes. `lacking`
    are the segments of which a blob is not at hand: snapshots of one digest differ in nothing else,
    but flags that name these answer otherwise once the blob has come. `stale` says that code
    defaults are answered.
    """
    seed = sha256(f"{__version__}\n{digest}\n{scope}\n".encode())
    for key in sorted(lacking):
        # quoted, so that no key looks like two, nor like the context that follows
        seed.update(f"lacks {key!a}\n".encode())
    if stale:
        seed.update(b"stale\n")
    return seed


def context_etag(
    seed: "_Hash",
    context: dict[str, Any],
    relevant: Iterable[str] | None,
    since_ms: int | None = None,
    live: Iterable[bytes] = (),
) -> str | None:
    """Return the tag of what a context evaluates to, or None if the context has no canonical form.

    `relevant` are the top-level attributes that any flag reads, None for all of them. `since_ms` is
    the moment at which the present slice of time began, None for the first; `live` is what those
    flags answer that may change within it.
    """
    if relevant is not None:
        context = {name: context[name] for name in relevant if name in context}
    try:
        canonical = orjson.dumps(context, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair, or nested deeper than orjson writes
        return None
    tag = seed.copy()
    tag.update(canonical)
    if since_ms is not None:
        tag.update(b"\n%d" % since_ms)
    for body in live:
        tag.update(b"\n")
        tag.update(body)
    return _quoted(tag)


def result_etag(body: bytes) -> str:
    """Return the tag of an answer by its bytes."""
    return _quoted(sha256(body))


def with_streams(etag: str, streams: bytes) -> str:
    """Return the tag of an answer that has the member `eventStreams` besides."""
    return _quoted(sha256(etag.encode() + streams))


def slice_name(seed: "_Hash", since_ms: int | None) -> str:
    """Return a name of what all contexts evaluate to in a slice of time; no context has it."""
    name = seed.copy()
    name.update(b"\nsince %d" % (-1 if since_ms is None else since_ms))
    return name.hexdigest()[:_DIGITS]


def matches(if_none_match: str, etag: str) -> bool:
    """Return whether the header names `etag`: in a list, weak, unquoted, or as `*`."""
    if if_none_match == etag:
        return True
    bare = etag.strip('"')
    for candidate in if_none_match.split(","):
        word = candidate.strip()
        if word == "*" or word.removeprefix("W/").strip('"') == bare:
            return True
    return False


def _quoted(tag: "_Hash") -> str:
    return f'"{tag.hexdigest()[:_DIGITS]}"'
