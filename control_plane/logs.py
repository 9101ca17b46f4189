"""Log lines on stderr, as text for people or as JSON for collectors; one line each.

What may be logged is decided where it is logged: no secret, no query string, no body. A secret that
gets here all the same, in a path or a library's words, is taken out of the finished line.
"""

import logging
import sys
import time
from collections.abc import Iterable

import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from proxy.contract.redaction import Redactor

__all__ = ["JsonFormatter", "configure"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_encoder = msgspec.json.Encoder()


class JsonFormatter(logging.Formatter):
    """A record as one JSON object, with the members that the sidecar's lines have, too."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encoder.encode({k: _sayable(v) for k, v in line.items()}).decode()


class _WithoutSecrets(logging.Formatter):
    """What another formatter makes of a record, without the secrets in it."""

    def __init__(self, inner: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self._redact(self._inner.format(record))


def _sayable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def configure(level: str, style: str, secrets: Iterable[str] = ()) -> None:
    """Send all log lines of this process to stderr, in UTC, without these secrets."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter() if style == "json" else logging.Formatter(_TEXT)
    formatter.converter = _utc
    handler.setFormatter(_WithoutSecrets(formatter, Redactor(secrets)))
    handler.addFilter(_is_ours)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether a record tells of a defect here.

    aiohttp logs a trace for a request that is no HTTP or whose body does not decompress, and tells
    the caller with a 400: anybody could fill the log with them.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (RequestPayloadError, HttpProcessingError))


def _utc(seconds: float | None) -> time.struct_time:
    return time.gmtime(seconds)
