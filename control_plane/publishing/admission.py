"""How many streams may begin in a second, and how many did. Pure but for the clock it is given.

When a replica restarts, all its sidecars come at once. What is taken a second is bounded, so that
writes and reads go on meanwhile; the others are told when to come again, each another time.
"""

import random
from collections import deque
from collections.abc import Callable
from time import monotonic

__all__ = ["Admission"]

_SHOWN_S = 60  # the peak of the last minute: scrapes are at most so far apart
_MAX_WAIT_S = 30.0


class Admission:
    """Takes `per_s` in each second of its clock at most."""

    def __init__(self, per_s: int, clock: Callable[[], float] = monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._seconds: deque[list[int]] = deque(maxlen=_SHOWN_S)  # second, accepted, refused
        self.accepted = 0
        self.refused = 0

    @property
    def peak(self) -> int:
        """How many were taken in the busiest second of the last minute."""
        oldest = int(self._clock()) - _SHOWN_S
        return max(
            (accepted for second, accepted, _ in self._seconds if second > oldest), default=0
        )

    def admit(self) -> bool:
        """Return whether another may begin now, and count it."""
        now = self._now()
        admitted = now[1] < self._per_s
        now[1 if admitted else 2] += 1
        self.accepted += admitted
        self.refused += not admitted
        return admitted

    def wait_s(self) -> float:
        """Return after how long one that was refused should come again, by chance.

        Those refused in this second are spread over the time that it takes to admit them.
        """
        most_s = 2 + self._now()[2] / self._per_s
        return random.uniform(0.0, min(most_s, _MAX_WAIT_S))  # noqa: S311 - no secret

    def _now(self) -> list[int]:
        second = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        return self._seconds[-1]
