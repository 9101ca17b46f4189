"""Refuses wrong credentials that are too many from one address, and nothing else.

A guard around the guard: what is let in costs nothing here and is never counted, so that whoever
shares an address with somebody who guesses, or with a sidecar whose key was deleted, is answered as
ever. What is refused as a wrong credential counts for the address, and beyond the limit the answer
is 429 instead of 401. It says that the credential is wrong all the same.

It is counted in memory, in each replica, because a wrong credential must not cost a round trip. A
quota is as those of `limits.model`: all of it at once, and what is used comes back evenly. Requests
without any credential are no guesses.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from aiohttp import hdrs, web

from control_plane.errors import TooManyRequests, Unauthorized
from control_plane.limits.model import WINDOW_S
from control_plane.networks import site_of
from control_plane.web.address import client_address
from control_plane.web.cookies import access_cookie
from control_plane.web.routing import Guard, Route

__all__ = ["CREDENTIALS", "CountingGuard"]

logger = logging.getLogger(__name__)

CREDENTIALS = "credentials"
"""The name of the limit in metrics."""

_MAX_ADDRESSES = 10_000
"""Kept, of IPv6 each /64; beyond it those go that were heard of longest ago."""

_ROUNDING_S = 1e-6


class CountingGuard:
    """A guard, and a limit of how many wrong credentials of an address it looks at in a minute."""

    def __init__(
        self,
        guard: Guard,
        limit: int,
        refused: Callable[[str], None],
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._guard = guard
        self._limit = limit
        self._refused = refused
        self._now_s = now_s
        self._whole_at_s: OrderedDict[str, float] = OrderedDict()
        self._told_at_s: dict[str, float] = {}

    def __call__(self, request: web.Request, route: Route) -> None:
        """Authorise a request.

        Raises:
            TooManyRequests: `credentials_throttled`, in the place of Unauthorized; and what the
            guard raises.
        """
        try:
            self._guard(request, route)
        except Unauthorized as error:
            if not _has_credential(request) or self._takes(site_of(client_address(request))):
                raise
            self._refused(CREDENTIALS)
            detail = (
                f"{error.detail}; more than {self._limit} requests from this address had a wrong "
                f"credential within {WINDOW_S} s"
            )
            # what sidecars whose key is wrong wait before they come again, and not the moment in
            # which there is room for one of them
            raise TooManyRequests(detail, WINDOW_S, code="credentials_throttled") from None

    def _takes(self, site: str) -> bool:
        """Count a wrong credential; return whether there was room for it."""
        now_s, each_s = self._now_s(), WINDOW_S / self._limit
        whole_at_s = max(self._whole_at_s.pop(site, 0.0), now_s)
        has_room = whole_at_s + each_s - now_s <= WINDOW_S + _ROUNDING_S
        self._whole_at_s[site] = whole_at_s + each_s if has_room else whole_at_s  # as the last
        if len(self._whole_at_s) > _MAX_ADDRESSES:
            gone, _ = self._whole_at_s.popitem(last=False)
            self._told_at_s.pop(gone, None)
        if not has_room:
            self._tell(site, now_s)
        return has_room

    def _tell(self, site: str, now_s: float) -> None:
        """Say in the log which address it is, once a minute."""
        if now_s - self._told_at_s.get(site, -WINDOW_S) >= WINDOW_S:
            self._told_at_s[site] = now_s
            logger.warning("wrong credentials from %s are too many, and answered 429", site)


def _has_credential(request: web.Request) -> bool:
    headers = request.headers
    return (
        hdrs.AUTHORIZATION in headers
        or "X-API-Key" in headers
        or access_cookie(request) is not None
    )
