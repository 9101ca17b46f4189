"""Tells the control plane how this sidecar stands: what it serves, since when, how old that is.

After each swap, at a random moment of the next second, so that a fleet does not answer a change
with one voice; about every half minute; and once at the end, so that it leaves the fleet at once.
One request is under way at most, and it says what is so when it is sent: the newest wins, and
nothing queues. What cannot be told is told later; no evaluation and no sync waits for it.

By the answer: 401, 403 and whatever else says that asking again is no use are waited out for
minutes, `Retry-After` is obeyed, all other failures are tried again with full-jitter backoff; where
there is another replica of the control plane, it is told sooner.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter

import aiohttp
import msgspec

from proxy import __version__
from proxy.contract.fleet import MAX_KEYS_USED, STANDING_PATH, Standing
from proxy.contract.sync import INSTANCE_HEADER
from proxy.holder import Holder, Served
from proxy.lifecycle import Lifecycle
from proxy.supervise import Backoff
from proxy.sync import SyncStatus
from proxy.sync.client import retry_after_s
from proxy.upstream import Upstream

__all__ = ["StandingSettings", "Teller"]

_log = logging.getLogger(__name__)

_FIRST_S = 3.0  # who has no snapshot by then says so
_TRANSIENT = frozenset({408, 425, 429})
_DENIED = frozenset({401, 403})


@dataclass(frozen=True, kw_only=True)
class StandingSettings:
    """Who the sidecar is, and whom it tells. Times in seconds."""

    control_plane_urls: tuple[str, ...]
    key: str = field(repr=False)
    instance: str
    application: str = ""
    application_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    interval_s: float = 30.0
    """Between two when nothing changes; half of what the control plane takes for silence."""
    spread_s: float = 1.0
    """After a swap, until it is told: 10,000 sidecars are 10,000 requests."""
    timeout_s: float = 10.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    denied_backoff_base_s: float = 60.0
    denied_backoff_cap_s: float = 300.0


class Teller:
    """Tells the standing. `run` is for `proxy.supervise`; `close` once, after it was cancelled.

    `swapped` is to be subscribed to the holder. `outcomes` counts what was `taken` and what
    `failed`. `clock` returns monotonic seconds, `draw` a float in [0, 1).
    """

    def __init__(
        self,
        settings: StandingSettings,
        session: aiohttp.ClientSession,
        holder: Holder,
        status: SyncStatus,
        lifecycle: Lifecycle,
        *,
        keys_used: dict[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._session = session
        self._holder = holder
        self._status = status
        self._lifecycle = lifecycle
        self._keys_used = {} if keys_used is None else keys_used
        self._clock = clock
        self._draw = draw
        self._upstream = Upstream(
            settings.control_plane_urls,
            lambda: Backoff(settings.backoff_base_s, settings.backoff_cap_s, draw),
            draw=draw,
            clock=clock,
        )
        self._denied = Backoff(settings.denied_backoff_base_s, settings.denied_backoff_cap_s, draw)
        self._run = secrets.token_hex(8)
        self._swapped_at_s: float | None = None
        self._news = asyncio.Event()
        self.outcomes: Counter[str] = Counter(dict.fromkeys(("failed", "taken"), 0))

    def swapped(self, _old: Served | None, _new: Served) -> None:
        """Note that another snapshot is being served."""
        self._swapped_at_s = self._clock()
        self._news.set()

    async def run(self) -> None:
        """Tell for ever."""
        due_s = _FIRST_S * self._draw()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(due_s):
                    await self._news.wait()
                await asyncio.sleep(self._settings.spread_s * self._draw())
            self._news.clear()
            refusal = await self._tell(self.standing())
            if refusal is None:
                due_s = self._settings.interval_s * (0.8 + 0.4 * self._draw())
            else:
                await asyncio.sleep(refusal)
                due_s = 0.0

    async def close(self, timeout_s: float) -> None:
        """Say goodbye, if that is possible within a time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._tell(msgspec.structs.replace(self.standing(), leaving=True))

    def standing(self) -> Standing:
        """Return how things stand now."""
        settings, holder, status = self._settings, self._holder, self._status
        header = None if holder.served is None else holder.served.header
        error, error_at = status.last_error, status.last_error_at
        now_ms = time.time_ns() // 1_000_000
        return Standing(
            instance=settings.instance,
            application=settings.application,
            application_version=settings.application_version,
            version=__version__,
            labels=dict(settings.labels),
            epoch=None if header is None else header.epoch,
            revision=None if header is None else header.revision,
            digest=None if header is None else header.digest,
            serving_ms=self._serving_ms(),
            age_ms=holder.age_ms(),
            age_estimated=holder.age_estimated,
            state=status.state,
            refused=holder.refusals.total(),
            last_error=None if error is None else error.partition(":")[0],
            last_error_ms=None if error_at is None else status.ago_ms(error_at),
            uptime_ms=round(self._lifecycle.uptime_s() * 1000),
            run=self._run,
            keys_used={key: max(0, now_ms - at_ms) for key, at_ms in self._latest_keys().items()},
        )

    def _latest_keys(self) -> dict[str, int]:
        """Return the keys to be told of, used last, with when that was in Unix milliseconds."""
        return dict(nlargest(MAX_KEYS_USED, self._keys_used.items(), key=itemgetter(1)))

    def _serving_ms(self) -> int | None:
        if self._swapped_at_s is None:
            return None
        return round((self._clock() - self._swapped_at_s) * 1000)

    async def _tell(self, standing: Standing) -> float | None:
        """Send a standing; return None when it was taken, else the seconds to wait after it."""
        told = {key: self._keys_used[key] for key in standing.keys_used if key in self._keys_used}
        headers = {
            "Authorization": f"Bearer {self._settings.key}",
            "Content-Type": "application/json",
            INSTANCE_HEADER: self._settings.instance,
        }
        try:
            async with self._session.post(
                self._upstream.address.rstrip("/") + STANDING_PATH,
                data=msgspec.json.encode(standing),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                allow_redirects=False,
            ) as response:
                status, after = response.status, response.headers.get("Retry-After")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return self._leave(f"no answer ({type(error).__name__})")
        if 200 <= status < 300:
            self.outcomes["taken"] += 1
            for key_hash, at_ms in told.items():
                if self._keys_used.get(key_hash) == at_ms:  # else it was used again meanwhile
                    del self._keys_used[key_hash]
            self._upstream.succeeded()
            self._denied.reset()
            return None
        if status in _TRANSIENT or status >= 500:
            return self._leave(f"{status}", retry_after_s(after, datetime.now(UTC)) or 0.0)
        denied_s = self._denied.base_s + self._denied.next_s()
        if status in _DENIED:  # by all of them
            return self._failed(f"{status}", denied_s)
        return self._leave(f"{status}", denied_s)

    def _leave(self, why: str, after_s: float = 0.0) -> float:
        self._upstream.move_on(after_s=after_s)
        return self._failed(why, self._upstream.wait_s())

    def _failed(self, why: str, delay_s: float) -> float:
        self.outcomes["failed"] += 1
        _log.info("the control plane does not take the standing: %s, again in %.1f s", why, delay_s)
        return delay_s
