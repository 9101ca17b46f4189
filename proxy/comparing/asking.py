"""Asks an OFREP server, any that keeps to the protocol, and reads its answers strictly enough.

Rules:
- An answer with an error code is an answer. Whatever else is no success ends the comparison: what
  was not answered must not count as alike.
- Redirects are not followed, so that no header, which may be a secret, goes where it was not sent.
- No answer is read beyond a bound, and none is waited for beyond a time.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from proxy.comparing.differences import Answers

__all__ = ["NotAnswered", "Server"]

_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_SHOWN_CHARS = 200
_ROUTE = "/ofrep/v1/evaluate/flags"


class NotAnswered(Exception):
    """A server did not answer an evaluation; the text says which and why."""


class Server:
    """One OFREP server: where it is, and the headers that it is sent."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], timeout_s: float
    ) -> None:
        self.url = url
        self._session = session
        self._headers = {"Content-Type": "application/json", **headers}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def answers(self, context: Mapping[str, Any], flags: Iterable[str] | None) -> Answers:
        """Return what is answered for a context: for these flags one by one, or all in bulk.

        Raises:
            NotAnswered: when something is answered that is no evaluation.
        """
        body = json.dumps({"context": context}).encode()
        if flags is not None:
            return {flag: await self._one(flag, body) for flag in flags}
        status, answer = await self._post("", body)
        items = answer.get("flags")
        if status != 200 or not isinstance(items, list):
            raise self._not_answered("", status, answer)
        found = {}
        for item in items:
            if not isinstance(item, dict) or not isinstance(item.get("key"), str):
                raise self._not_answered("", status, answer)
            found[item["key"]] = item
        return found

    async def _one(self, flag: str, body: bytes) -> Mapping[str, Any]:
        path = "/" + quote(flag, safe="")
        status, answer = await self._post(path, body)
        if status == 200 or (
            status in (400, 404, 500) and isinstance(answer.get("errorCode"), str)
        ):
            return answer
        raise self._not_answered(path, status, answer)

    async def _post(self, path: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        url = URL(self.url + _ROUTE + path, encoded=True)
        try:
            async with self._session.post(
                url,
                data=body,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                data = bytearray()
                async for piece in response.content.iter_any():
                    data += piece
                    if len(data) > _MAX_ANSWER_BYTES:
                        raise NotAnswered(f"{url}: more than {_MAX_ANSWER_BYTES} bytes")
                status = response.status
        except TimeoutError:
            raise NotAnswered(f"{url}: no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotAnswered(f"{url}: {str(error) or type(error).__name__}") from None
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict):
            return status, answer
        raise self._not_answered(path, status, data.decode(errors="replace"))

    def _not_answered(self, path: str, status: int, answer: Any) -> NotAnswered:
        shown = answer if isinstance(answer, str) else json.dumps(answer)
        hint = {
            401: "; give a key with --header",
            403: "; give another key with --header",
            404: "" if path else "; without a bulk route, name the flags with --flags",
            429: "; ask for less at once with --concurrency 1",
        }.get(status, "")
        text = repr(shown[:_SHOWN_CHARS])
        return NotAnswered(f"{self.url}{_ROUTE}{path}: status {status}, {text}{hint}")
