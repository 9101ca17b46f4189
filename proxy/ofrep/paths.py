"""From the path of a request to what it asks for. Pure.

aiohttp's router is not used for these paths: keys may hold slashes, are percent-decoded exactly
once, and `POST //ofrep/...` comes from JavaScript clients whose base URL ends with a slash.
"""

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

__all__ = ["STREAMS", "Endpoint", "Target", "find_parameter", "find_target"]

_FLAGS = "/ofrep/v1/evaluate/flags"
_EXPOSURES = "/v1/exposures"
_EVENTS = "/v1/events"
STREAMS = "/ofrep/v1/streams"

_MAX_PARAMETER_CHARS = 256


class Endpoint(StrEnum):
    """What can be asked for; also the `route` label of metrics."""

    SINGLE = "single"
    BULK = "bulk"
    EXPOSURES = "exposures"
    EVENTS = "events"
    STREAM = "stream"
    OTHER = "other"

    @property
    def method(self) -> str:
        """The one method that asks for it."""
        return "GET" if self is Endpoint.STREAM else "POST"

    @property
    def allowed_methods(self) -> str:
        """As `Allow` lists them."""
        return f"{self.method}, OPTIONS"


class Target(NamedTuple):
    """An endpoint, and the flag's key where one is asked for."""

    endpoint: Endpoint
    key: str | None = None


_BULK = Target(Endpoint.BULK)
_REPORTED = {
    path: Target(endpoint)
    for name, endpoint in ((_EXPOSURES, Endpoint.EXPOSURES), (_EVENTS, Endpoint.EVENTS))
    for path in (name, name + "/")
}
_STREAM = Target(Endpoint.STREAM)
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
    elif (reported := _REPORTED.get(raw_path)) is not None:
        return reported
    elif raw_path == STREAMS:
        return _STREAM
    return _OTHER


def find_parameter(raw_query: str, name: str) -> str | None:
    """Return the value of a parameter of a query, percent-encoded as it was sent.

    None when it is not there, and when it is too long to be one of ours.
    """
    for pair in raw_query.split("&"):
        found, _, value = pair.partition("=")
        if found == name:
            value = unquote(value)
            return value if len(value) <= _MAX_PARAMETER_CHARS else None
    return None
