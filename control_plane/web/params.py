"""Query parameters as values: scope, whole numbers, yes and no.

Raises BadRequest, `invalid_parameter`, with the parameter's name.
"""

from typing import NamedTuple

from aiohttp import web

from control_plane.errors import BadRequest

__all__ = [
    "DEFAULT_ENVIRONMENT",
    "DEFAULT_PROJECT",
    "Scope",
    "invalid_parameter",
    "query_bool",
    "query_int",
    "query_scope",
]

DEFAULT_PROJECT = "default"
DEFAULT_ENVIRONMENT = "production"


class Scope(NamedTuple):
    """The project and environment a request is about."""

    project: str
    environment: str


def query_scope(request: web.Request) -> Scope:
    """Return what the query names, or the defaults. Whether they exist is not looked at.

    An empty name is a name, and none there is: `?environment=$UNSET` does not mean production.
    """
    query = request.query
    return Scope(
        query.get("project", DEFAULT_PROJECT), query.get("environment", DEFAULT_ENVIRONMENT)
    )


def query_bool(request: web.Request, name: str) -> bool | None:
    """Return a parameter that is `true` or `false`, or None when it is absent."""
    text = request.query.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise invalid_parameter(name, f"{text[:60]!r} is not true or false")
    return text == "true"


def query_int(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and low <= int(text) <= high):
        raise invalid_parameter(name, f"{text[:60]!r} is not a whole number from {low} to {high}")
    return int(text)


def invalid_parameter(name: str, detail: str) -> BadRequest:
    """Return the error for a parameter whose value makes no sense."""
    return BadRequest(f"query parameter {name!r}: {detail}", code="invalid_parameter")
