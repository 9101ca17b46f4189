"""Refuses requests that are too many, and never makes one wait for Redis.

A request counts for its caller, by what it is, and for its address, whoever calls. Redis has
`wait_s` to say whether there is room; when it says nothing in that time, one policy says what
becomes of the request: let through, or 503. Then Redis is left alone for `_PAUSE_S`, and asked
again by one request at a time until it answers.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from aiohttp import web

from control_plane.access.model import PRINCIPAL, Principal
from control_plane.errors import TooManyRequests, Unavailable
from control_plane.limits.model import Kind, Quota, Standing, rate_headers
from control_plane.networks import site_of
from control_plane.store.connection import RedisError
from control_plane.web.address import client_address
from control_plane.web.respond import MORE_HEADERS

__all__ = ["ADDRESS", "RateLimiter"]

logger = logging.getLogger(__name__)

ADDRESS = "address"
"""The name of the quota that all requests from an address share."""

_PAUSE_S = 1.0


class Quotas(Protocol):
    """Where is counted; `limits.store`."""

    async def take(self, quotas: Sequence[Quota]) -> list[Standing]: ...


class RateLimiter:
    """The limits of all kinds of requests; a limit of 0 is none."""

    def __init__(
        self,
        store: Quotas,
        limits: Mapping[Kind, int],
        of_address: int,
        *,
        wait_s: float,
        fail_open: bool,
        refused: Callable[[str], None],
        unchecked: Callable[[], None],
    ) -> None:
        self._store = store
        self._limits = limits
        self._of_address = of_address
        self._wait_s = wait_s
        self._fail_open = fail_open
        self._refused = refused
        self._unchecked = unchecked
        # What is known of Redis
        self._asked_from = 0.0  # monotonic
        self._is_down = False
        self._late: set[asyncio.Task[list[Standing]]] = set()

    async def __call__(self, request: web.Request, kind: Kind) -> None:
        """Count a request whose principal is known, and leave the headers for its answer.

        Raises:
            TooManyRequests: `rate_limited`.
            Unavailable: `rate_unknown`, when that is the policy.
        """
        quotas = self._quotas(request[PRINCIPAL], client_address(request), kind)
        if not quotas:
            return
        standings = await self._in_time(quotas)
        if standings is None:
            self._unchecked()
            if not self._fail_open:
                detail = "whether there is room for this request cannot be looked up in Redis"
                raise Unavailable(detail, retry_after_s=_PAUSE_S, code="rate_unknown")
            return
        request[MORE_HEADERS] = rate_headers(standings)
        worst = max(standings, key=lambda each: each.wait_s)
        if worst.wait_s > 0:
            name, _, limit, window_s = worst.quota
            self._refused(name)
            whose = "from this address" if name == ADDRESS else f"of the kind {name}"
            detail = f"more than {limit} requests {whose} within {window_s} s"
            raise TooManyRequests(detail, worst.wait_s, code="rate_limited")

    def _quotas(self, principal: Principal, address: str, kind: Kind) -> list[Quota]:
        found = []
        if limit := self._limits[kind]:
            found.append(Quota(kind, _whom(principal, address), limit))
        if self._of_address:
            found.append(Quota(ADDRESS, site_of(address), self._of_address))
        return found

    async def _in_time(self, quotas: list[Quota]) -> list[Standing] | None:
        """Return how quotas stand, None when that is not known in time."""
        now = monotonic()
        if now < self._asked_from:
            return None
        if self._is_down:
            self._asked_from = now + _PAUSE_S  # this one asks, others do not wait for it
        asking = asyncio.create_task(self._store.take(quotas), name="rate")
        # It goes on when it is late: what was sent is answered, and the connection stays good.
        self._late.add(asking)
        asking.add_done_callback(self._done)
        done, _ = await asyncio.wait((asking,), timeout=self._wait_s)
        if done and asking.exception() is None:
            self._found(down=False)
            return asking.result()
        error = asking.exception() if done else None
        if error is not None and not isinstance(error, RedisError):
            raise error
        self._found(down=True)
        return None

    def _done(self, asking: asyncio.Task[list[Standing]]) -> None:
        self._late.discard(asking)
        if not asking.cancelled():
            asking.exception()  # who asked may have gone

    def _found(self, *, down: bool) -> None:
        if down != self._is_down:
            self._is_down = down
            if down:
                outcome = "let through" if self._fail_open else "answered 503"
                logger.warning("rates cannot be looked up in Redis; requests are %s", outcome)
            else:
                logger.info("rates can be looked up again")
        self._asked_from = monotonic() + _PAUSE_S if down else 0.0


def _whom(principal: Principal, address: str) -> str:
    """Return who a request of a kind is counted for: a key, a person, or where it comes from."""
    if principal.key is not None:
        return f"key:{principal.key.id}"
    if principal.user is not None:
        return f"user:{principal.user}"
    if principal.kind == "anonymous":
        return f"address:{site_of(address)}"
    return principal.actor
