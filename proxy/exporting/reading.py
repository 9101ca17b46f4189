"""Gets a project's definitions over the API, all of one moment.

Rules:
- Definitions are read page by page. The revisions of all environments are read before and after:
  when one has moved meanwhile, all is read again, so that no file mixes two states.
- Redirects are not followed, so that the token goes nowhere else.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from proxy.contract.api_token import token_hint
from proxy.contract.asking import later_hint, unreached

__all__ = ["Definitions", "NotRead", "read_project"]

_PAGE = 500
_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_SHOWN_CHARS = 300


class NotRead(Exception):
    """The definitions could not be read; the text says why."""


class Definitions(NamedTuple):
    """What the API shows of a project: flags, segments, and the keys of its environments."""

    flags: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    environments: list[str]


async def read_project(url: str, token: str, project: str | None) -> Definitions:
    """Return the definitions of a project, the default one unless one is named.

    Raises:
        NotRead: when it cannot be reached, answers something else, or is changed all the time.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    scope = {"project": project} if project is not None else {}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        before = await _revisions(session, url, scope)
        for _ in range(_ATTEMPTS):
            flags = await _all(session, url, "flags", scope)
            segments = await _all(session, url, "segments", scope)
            after = await _revisions(session, url, scope)
            if after == before:
                return Definitions(flags, segments, sorted(after))
            before = after
    raise NotRead(f"{url}: the project was changed each of {_ATTEMPTS} times that it was read")


async def _revisions(
    session: aiohttp.ClientSession, url: str, scope: Mapping[str, str]
) -> dict[str, tuple[str, int]]:
    """Return which revision each environment is at."""
    items = await _all(session, url, "environments", scope)
    return {item["key"]: (item["epoch"], item["revision"]) for item in items}


async def _all(
    session: aiohttp.ClientSession, url: str, what: str, scope: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return all items of a list."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {**scope, "limit": str(_PAGE), **({} if cursor is None else {"cursor": cursor})}
        document = await _get(session, URL(f"{url}/api/v1/{what}").with_query(query))
        try:
            items += document["items"]
            cursor = document["next_cursor"]
        except (KeyError, TypeError):
            raise NotRead(f"{url}: what is answered is no list of {what}") from None
        if cursor is None:
            return items


async def _get(session: aiohttp.ClientSession, url: URL) -> Any:
    try:
        async with session.get(url, allow_redirects=False) as response:
            data = bytearray()
            async for piece in response.content.iter_any():
                data += piece
                if len(data) > _MAX_ANSWER_BYTES:
                    raise NotRead(f"{url}: more than {_MAX_ANSWER_BYTES} bytes")
            status, later = response.status, response.headers.get("Retry-After")
    except TimeoutError:
        raise NotRead(f"{url}: no answer within {_TIMEOUT_S:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotRead(f"{url.origin()}: {unreached(error)}") from None
    if status != 200:
        hint = f"{token_hint(status)}{later_hint(later)}"
        raise NotRead(f"{url.origin()} answers {status}: {_detail(data)}{hint}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise NotRead(f"{url}: what is answered is no JSON") from None


def _detail(data: bytes | bytearray) -> str:
    """Return what an answer says went wrong."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and "code" in said and "detail" in said:
        return str(said["detail"])[:_SHOWN_CHARS]
    return "no control plane answers like that; a sidecar has no definitions to export"
