"""Asks the control plane: opens its stream, fetches its snapshot and blobs. No policy.

When to ask, and what to do with the answer, is `proxy.sync.source`'s. Here every way in which a
request can fail becomes a SyncError, and every read has a bound in time and in size.

Rules:
- Redirects are not followed: the key goes to the address that was configured and nowhere else.
- No exception text of the HTTP library is passed on unless it is known to hold no header.
"""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp
import msgspec

from proxy.contract.asking import unreached
from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.sync import (
    BLOBS_PATH,
    DIGEST_HEADER,
    INSTANCE_HEADER,
    PUBLISHED_HEADER,
    REVISION_HEADER,
    SNAPSHOT_PATH,
    STREAM_PATH,
    VERIFIED_AGE_HEADER,
    entity_tag,
    event_id,
)
from proxy.sync.errors import SyncError
from proxy.sync.settings import SyncSettings

__all__ = ["ControlPlaneClient", "Fetched", "retry_after_s"]

_MAX_RETRY_AFTER_S = 600.0
"""A date in the year 2099 must not switch a sidecar off; ten minutes ease any load there is."""

_OWN_KINDS = frozenset({401, 403, 404, 410, 429, 501})  # the others are counted by their hundred
_MAX_DIGITS = 18
_MAX_ID_CHARS = 200
_MAX_REASON_CHARS = 200
_MAX_PROBLEM_BYTES = 16_384
_PROBLEM_S = 2.0
"""The reason of a refusal follows its head at once; the refusal itself is known without it."""


class _Problem(msgspec.Struct):
    detail: str = ""


class Fetched(NamedTuple):
    """The answer to a fetch. `body` is None when what is held is current.

    `verified_age_ms` is what the control plane said, and how long the body took since.
    """

    body: bytes | None
    verified_age_ms: int


class ControlPlaneClient:
    """Requests with one key to the replicas of one control plane, each named by its address.

    The session is the caller's to close."""

    def __init__(self, session: aiohttp.ClientSession, settings: SyncSettings) -> None:
        self._session = session
        self._settings = settings

    @contextlib.asynccontextmanager
    async def stream(
        self, address: str, held: SnapshotHeader | None, seen: SnapshotHeader | None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the stream; gives its bytes, and closes the connection at the end.

        `held` tells the control plane what it need not send, `seen`, the newest that was seen, what
        it must have. Network errors inside of the block become SyncError too.
        """
        settings = self._settings
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s)
        headers = self._headers(held) | {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-store",
        }
        if seen is not None and _fits_header(last := event_id(seen.epoch, seen.revision)):
            headers["Last-Event-ID"] = last
            if _fits_header(seen.created_at):
                headers[PUBLISHED_HEADER] = seen.created_at
        with _network_errors():
            opening = self._session.get(
                _url(address, STREAM_PATH),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            )
            async with contextlib.AsyncExitStack() as stack:
                async with _limit(settings.connect_timeout_s + settings.answer_timeout_s):
                    # leaving the stack closes a connection whose answer has not ended
                    response = await stack.enter_async_context(opening)
                if response.status != 200:
                    raise await _http_error(response)
                if response.content_type != "text/event-stream":
                    raise SyncError("protocol", f"a stream of type {response.content_type!r}")
                yield response.content

    async def fetch(self, address: str, held: SnapshotHeader | None) -> Fetched:
        """Fetch the snapshot, or hear that the one held is current.

        A body longer than `max_snapshot_bytes` is not read to its end: what is returned is longer
        than that too, for the holder to refuse.
        """
        settings = self._settings
        timeout = aiohttp.ClientTimeout(
            total=settings.fetch_timeout_s,
            sock_connect=settings.connect_timeout_s,
            sock_read=settings.answer_timeout_s,
        )
        headers = self._headers(held) | {
            "Accept": "application/x-ndjson",
            "Accept-Encoding": "gzip",
        }
        conditional = False
        if held is not None:
            tag = entity_tag(held.epoch, held.revision, held.digest, held.signed_by)
            if conditional := _fits_header(tag):
                headers["If-None-Match"] = tag
        with _network_errors():
            async with self._session.get(
                _url(address, SNAPSHOT_PATH),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                age_ms = _milliseconds(response.headers.get(VERIFIED_AGE_HEADER))
                said_at = time.monotonic()
                if response.status == 304 and conditional:
                    return Fetched(None, age_ms)
                if response.status != 200:
                    raise await _http_error(response)
                body = await _body(response, settings.max_snapshot_bytes)
                return Fetched(body, age_ms + round((time.monotonic() - said_at) * 1000))

    async def fetch_blob(self, address: str, digest: str, max_bytes: int) -> bytes:
        """Fetch a blob of units, 64 hexadecimal digits naming it; what came is not verified.

        Of one that is longer than `max_bytes` a little more than that is returned.
        """
        settings = self._settings
        timeout = aiohttp.ClientTimeout(
            total=settings.blob_timeout_s,
            sock_connect=settings.connect_timeout_s,
            sock_read=settings.answer_timeout_s,
        )
        # hashes do not compress
        headers = self._headers(None) | {
            "Accept": "application/octet-stream",
            "Accept-Encoding": "identity",
        }
        with _network_errors():
            async with self._session.get(
                _url(address, f"{BLOBS_PATH}/{digest}"),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await _http_error(response)
                return await _body(response, max_bytes)

    def _headers(self, held: SnapshotHeader | None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._settings.key}"}
        if self._settings.instance:
            headers[INSTANCE_HEADER] = self._settings.instance
        if held is not None:
            headers[REVISION_HEADER] = str(held.revision)[:_MAX_DIGITS]
            headers[DIGEST_HEADER] = held.digest
        return headers


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for, at most ten minutes; None for nonsense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value) if len(value) <= _MAX_DIGITS else _MAX_RETRY_AFTER_S
    else:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        seconds = (date - now).total_seconds()
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_S)


def _url(address: str, path: str) -> str:
    return address.rstrip("/") + path


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body; of one longer than `max_bytes` a little more than that."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            response.close()
            break
    return b"".join(pieces)


def _fits_header(value: str) -> bool:
    """Return whether what was received can be sent back in a header."""
    return 0 < len(value) <= _MAX_ID_CHARS and value.isascii() and value.isprintable()


async def _http_error(response: aiohttp.ClientResponse) -> SyncError:
    """Return the error that an answer other than the wanted one is, and why as it says itself."""
    status = response.status
    if 200 <= status < 300 or status == 304:
        kind = "protocol"
    else:
        kind = f"http_{status}" if status in _OWN_KINDS else f"http_{status // 100}xx"
    wait_s = retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
    why = await _problem(response)
    return SyncError(kind, f"{response.url.path} answered {status}{why}", wait_s)


async def _problem(response: aiohttp.ClientResponse) -> str:
    """Return what a control plane says of a refusal, after a colon; empty when it says nothing.

    Only of what is declared as a problem: a page of somebody in between is no reason. A reason is
    short, and not waited for long.
    """
    if response.content_type != "application/problem+json":
        return ""
    body = b""
    try:
        async with asyncio.timeout(_PROBLEM_S):
            while len(body) <= _MAX_PROBLEM_BYTES and (piece := await response.content.readany()):
                body += piece
        detail = msgspec.json.decode(body[:_MAX_PROBLEM_BYTES], type=_Problem).detail
    except (TimeoutError, aiohttp.ClientError, OSError):
        return ""
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in detail).split())
    return f": {line[:_MAX_REASON_CHARS]}" if line else ""


def _milliseconds(value: str | None) -> int:
    """Return the number of a header, 0 for what is none."""
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > _MAX_DIGITS:
        return 0
    return int(value)


@contextlib.asynccontextmanager
async def _limit(seconds: float) -> AsyncIterator[None]:
    """Bound a block in time; the block's own timeouts pass through as they are."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise SyncError("timeout", f"no answer within {seconds:g} s") from error


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    """Turn what the HTTP library raises into SyncError."""
    try:
        yield
    except TimeoutError as error:
        raise SyncError("timeout", "no answer in time") from error
    except aiohttp.ClientConnectorError as error:
        where = f"{error.host}:{error.port}"
        raise SyncError("connect", f"{where}: {unreached(error)}") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise SyncError("closed", f"the connection was cut ({type(error).__name__})") from error
    except aiohttp.ClientError as error:
        raise SyncError("protocol", f"no valid HTTP ({type(error).__name__})") from error
    except OSError as error:
        raise SyncError("connect", error.strerror or type(error).__name__) from error
