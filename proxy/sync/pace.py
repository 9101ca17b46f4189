"""When a replica of the control plane may be asked again. Shared by all that ask, so that one
refusal holds for all of them and a bad key costs one request at a time.

A gate is open but for a while after its replica asked for patience (`Retry-After`) or denied the
key. Delays between a single asker's own attempts, and going to another replica meanwhile, are
`proxy.upstream`'s.
"""

import asyncio
import random

from proxy.supervise import Backoff
from proxy.sync.errors import SyncError
from proxy.sync.settings import SyncSettings

__all__ = ["Gate", "new_backoff", "wait"]


class Gate:
    """Closed until a time of the event loop's clock."""

    def __init__(self, settings: SyncSettings) -> None:
        self._denied = new_backoff(
            settings, settings.denied_backoff_base_s, settings.denied_backoff_cap_s
        )
        self._spread = new_backoff(settings)
        self._closed_until = 0.0

    def failed(self, error: SyncError) -> None:
        """Close for as long as an answer calls for; most failures call for nothing."""
        delay_s = 0.0
        if error.denied:
            delay_s = self._denied.next_s()
        if error.retry_after_s is not None:
            # later than asked by up to half a second and more: all were given the same time
            delay_s = max(delay_s, error.retry_after_s + self._spread.next_s())
        if delay_s:
            now = asyncio.get_running_loop().time()
            self._closed_until = max(self._closed_until, now + delay_s)

    def succeeded(self) -> None:
        """Note an answer that shows the key and the control plane to be well."""
        self._denied.reset()
        self._spread.reset()

    def closed_s(self) -> float:
        """Return for how many seconds more it is closed; 0 when it is open."""
        return max(0.0, self._closed_until - asyncio.get_running_loop().time())


def new_backoff(
    settings: SyncSettings, base_s: float | None = None, cap_s: float | None = None
) -> Backoff:
    """Return a backoff with the settings' range and randomness, or another range."""
    return Backoff(
        settings.backoff_base_s if base_s is None else base_s,
        settings.backoff_cap_s if cap_s is None else cap_s,
        settings.draw or random.random,
    )


async def wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Return whether the event was set within a time; it is cleared then."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
