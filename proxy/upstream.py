"""The replicas of a control plane, as one asker goes through them: which to ask next, and when.

An asker begins with one drawn at random, stays with it while it answers, and moves on to the next
when it fails. How long a replica is left in peace is its own affair, so one that is away slows down
nobody who can go elsewhere; and all who lost the same one do not arrive at the next together.

Rules:
- One `Upstream` for each asker, because a replica whose streams fail may well answer fetches. What
  holds for all askers, a denied key or a `Retry-After`, comes in as `closed_s`.
- Everything here is a matter of seconds and addresses; what counts as a failure is the asker's.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from proxy.supervise import Backoff

__all__ = ["Upstream"]


def _open(_address: str) -> float:
    return 0.0


class Upstream:
    """The addresses of one control plane, at least one, none twice.

    `backoff` makes the delays of one replica; `closed_s` returns for how many seconds more an
    address must not be asked; `draw` returns a float in [0, 1), `clock` seconds, monotonic.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        backoff: Callable[[], Backoff] = Backoff,
        *,
        closed_s: Callable[[str], float] = _open,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replicas = [_Replica(address, backoff()) for address in addresses]
        self._closed_s = closed_s
        self._draw = draw
        self._clock = clock
        self._at = int(draw() * len(self._replicas))
        self._preferred: int | None = None
        self._not_before = 0.0  # whichever it is

    @property
    def address(self) -> str:
        """The address of the replica whose turn it is."""
        return self._replicas[self._at].address

    async def ready(self) -> str:
        """Wait until a replica may be asked; return its address, which is `address` from then on.

        The first of them in order, from the one whose turn it is.
        """
        while (wait_s := self.wait_s()) > 0:  # noqa: ASYNC110 - it may move meanwhile
            await asyncio.sleep(wait_s)
        return self.address

    def wait_s(self) -> float:
        """Return in how many seconds a replica may be asked, which becomes `address`; 0 for now."""
        if self._preferred is not None:
            self._at, self._preferred = self._preferred, None
        count = len(self._replicas)
        order = [(self._at + step) % count for step in range(count)]
        waits = [self._wait_s(self._replicas[at]) for at in order]
        best = min(waits)
        self._at = order[waits.index(best)]
        return max(best, self._not_before - self._clock())

    def move_on(self, *, after_s: float = 0.0, spread_s: float = 0.0) -> None:
        """Leave the present replica alone for `after_s` and what its backoff adds.

        None of the others is asked at once either, but after a delay drawn from the shortest
        backoff or from `spread_s`, whichever is wider: it may have ended for thousands.
        """
        now = self._clock()
        left = self._replicas[self._at]
        left.not_before = now + after_s + max(left.backoff.next_s(), self._draw() * spread_s)
        if len(self._replicas) > 1:
            self._not_before = now + self._draw() * max(left.backoff.base_s, spread_s)
        self._at = (self._at + 1) % len(self._replicas)

    def succeeded(self) -> None:
        """Note that the present replica is well: its next failure is its first."""
        self._replicas[self._at].backoff.reset()

    def hurry(self) -> None:
        """Let the present replica be asked without delay; `closed_s` holds."""
        self._replicas[self._at].not_before = self._not_before = 0.0

    def prefer(self, address: str) -> None:
        """Give a replica the next turn; a request under way keeps the present one."""
        for at, replica in enumerate(self._replicas):
            if replica.address == address:
                self._preferred = at

    def _wait_s(self, replica: "_Replica") -> float:
        return max(0.0, replica.not_before - self._clock(), self._closed_s(replica.address))


class _Replica:
    __slots__ = ("address", "backoff", "not_before")

    def __init__(self, address: str, backoff: Backoff) -> None:
        self.address = address
        self.backoff = backoff
        self.not_before = 0.0
