"""Kinds of requests, their quotas, and what a caller is told of them. Pure.

A quota is `limit` requests that come back evenly within `window_s` (the generic cell rate
algorithm): a burst may use all of it, and what is used comes back one by one, so that no edge of a
window lets twice as much through.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from aiohttp import hdrs

from control_plane.web.routing import Permission, Route

__all__ = ["MAX_LIMIT", "WINDOW_S", "Kind", "Quota", "Standing", "kind_of", "rate_headers"]

WINDOW_S = 60
MAX_LIMIT = 1_000_000
"""Of a quota: a request a 60 us, of which Redis alone would be busy."""


class Kind(StrEnum):
    """What a request is counted as."""

    READ = "read"
    WRITE = "write"
    LOGIN = "login"


class Quota(NamedTuple):
    """What callers are told it is, whose it is, how much it is, how fast it comes back.

    `whom` is made of our own ids and of addresses in plain form, never of names that people give.
    """

    name: str
    whom: str
    limit: int
    window_s: int = WINDOW_S


class Standing(NamedTuple):
    """How a quota stands after a request that was taken, or instead of one that was not."""

    quota: Quota
    remaining: int
    full_in_s: float
    wait_s: float
    """Until it has room again; above 0 means that it refused."""


_UNCOUNTED = frozenset({Permission.SYNC, Permission.REPORT})
_READS = (hdrs.METH_GET, hdrs.METH_HEAD)


def kind_of(route: Route) -> Kind | None:
    """Return what requests to a route are counted as; None for those that are not.

    Sidecars are not: what they ask comes from memory, what they tell has bounds of its own, and a
    fleet that comes back must not be turned away. Nor is what everybody may read: probes, pages.
    """
    if route.permission in _UNCOUNTED:
        return None
    if route.permission is Permission.PUBLIC:
        return None if route.method in _READS else Kind.LOGIN
    if route.method in _READS or route.permission is Permission.READ:
        return Kind.READ
    return Kind.WRITE


def rate_headers(standings: Sequence[Standing]) -> dict[str, str]:
    """Return the fields `RateLimit-Policy` and `RateLimit`: all quotas, and the scarcest of them.

    As in draft-ietf-httpapi-ratelimit-headers-10: `q` requests a window of `w` seconds; `r` that
    are left, and `t` seconds until all are there again.
    """
    policy = ", ".join(
        f'"{quota.name}";q={quota.limit};w={quota.window_s}' for quota, *_ in standings
    )
    scarcest = min(standings, key=lambda each: (-each.wait_s, each.remaining / each.quota.limit))
    left = f'"{scarcest.quota.name}";r={scarcest.remaining};t={math.ceil(scarcest.full_in_s)}'
    return {"RateLimit-Policy": policy, "RateLimit": left}
