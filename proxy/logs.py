"""Sets up logging for a process: one line an event, text for people or JSON for collectors.

Called by commands only; a module that logs just gets its logger.
"""

import json
import logging
import sys
import time
from collections.abc import Iterable

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from proxy.contract.redaction import Redactor

__all__ = ["set_up"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _WithoutSecrets(logging.Formatter):
    """What another formatter makes of a record, without the secrets in it."""

    def __init__(self, inner: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(self._inner.format(record))


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether a record tells of a defect here.

    aiohttp logs a trace for what is no HTTP, with the line at fault, which may be the one with the
    key; and anybody could fill the log with them. The caller is told with a 400.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, RequestPayloadError))


def set_up(level: str, log_format: str, secrets: Iterable[str] = ()) -> None:
    """Send all logging to standard error. Members of `extra={"fields": {...}}` stand in JSON.

    Neither `secrets` nor what has the form of one is ever in it.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = _JsonLines() if log_format == "json" else logging.Formatter(_TEXT)
    formatter.converter = time.gmtime  # UTC, as the control plane's, so that lines can be compared
    handler.setFormatter(_WithoutSecrets(formatter, Redactor(secrets)))
    handler.addFilter(_is_ours)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It tells of each connection that ends in the middle of a request; clients come and go.
    logging.getLogger("aiohttp.server").setLevel(max(logging.WARNING, logging.root.level))
    # It tells of each change it sees: a log file in a watched directory would feed itself.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
