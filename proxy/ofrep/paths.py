"""From the path of a request to what it asks for. Pure.

aiohttp's router is not used for these paths: keys may hold slashes, are percent-decoded exactly
once, and `POST //ofrep/...` comes from JavaScript clients whose base URL ends with a slash.
"""

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

__all__ = ["ALLOWED_METHODS", "Endpoint", "Target", "find_target"]

_FLAGS = "/ofrep/v1/evaluate/flags"
_EXPOSURES = "/v1/exposures"

ALLOWED_METHODS = "POST, OPTIONS"
"""Of every path here."""


class Endpoint(StrEnum):
    """What can be asked for; also the `route` label of metrics."""

    SINGLE = "single"
    BULK = "bulk"
    EXPOSURES = "exposures"
    OTHER = "other"


class Target(NamedTuple):
    """An endpoint, and the flag's key where one is asked for."""

    endpoint: Endpoint
    key: str | None = None


_BULK = Target(Endpoint.BULK)
_REPORT = Target(Endpoint.EXPOSURES)
_OTHER = Target(Endpoint.OTHER)


def find_target(raw_path: str) -> Target:
    """Return what a path, percent-encoded as it was sent and without the query, asks for."""
    if raw_path.startswith("//"):
        raw_path = "/" + raw_path.lstrip("/")
    if raw_path.startswith(_FLAGS):
        rest = raw_path[len(_FLAGS) :]
        if rest in {"", "/"}:
            return _BULK
        if rest[0] == "/":
            key = rest[1:]
            # Bytes that are not UTF-8 become U+FFFD: no flag has such a key, so it is not found.
            return Target(Endpoint.SINGLE, unquote(key) if "%" in key else key)
    elif raw_path in {_EXPOSURES, _EXPOSURES + "/"}:
        return _REPORT
    return _OTHER
