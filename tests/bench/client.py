"""One keep-alive connection and one request at a time, as a script has it; little to measure."""

import http.client
import json
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["Client"]

_TIMEOUT_S = 30.0


class Client:
    """Sends JSON and returns JSON. Not safe for use from several threads."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, _TIMEOUT_S)
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self.took_s = 0.0
        """How long the last request took, until its whole answer was there."""

    def ask(self, method: str, path: str, body: object = None, expect: int = 200) -> Any:
        """Return the decoded answer, or None for one that is not JSON.

        Raises:
            RuntimeError: when the status is not the one expected.
        """
        data = None if body is None else json.dumps(body).encode()
        start = time.perf_counter()
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        received = answer.read()
        self.took_s = time.perf_counter() - start
        if answer.status != expect:
            raise RuntimeError(f"{method} {path}: {answer.status} {received[:500]!r}")
        return json.loads(received) if "json" in answer.headers.get("Content-Type", "") else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
