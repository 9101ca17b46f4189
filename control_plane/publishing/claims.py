"""What is believed of sidecars that say they hold something later than there is. Pure but for time.

A sidecar that is ahead is how a loss shows that no replica was there to see, and the answer to a
loss is a new epoch, for which the whole fleet fetches everything. A sidecar key is enough to say
so, so it is not believed for ever:

- Of an epoch whose beginning was seen here, and that was followed without a gap since, there is
  nothing later than what is here: Redis would have to go back before our eyes. That is no loss.
- Otherwise a key is believed `_MOST_BELIEVED` times while a process lives, each time after a pause
  ten times as long. A loss takes one: what is published after it is later than what was claimed.
- Who was not believed is not looked at for a while, and for twice as long the next time.

What is claimed rightly a moment early, because another replica was faster, costs a key nothing.
"""

import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic

__all__ = ["Claims"]

logger = logging.getLogger(__name__)

_MOST_BELIEVED = 3
_BETWEEN_S = 60.0  # between two new epochs of a project, whoever claims what
_PAUSE_S = 60.0  # before a key is believed a second time; ten times as long before the third
_UNLOOKED_S, _MOST_UNLOOKED_S = 60.0, 3_600.0


class Claims:
    """What keys have claimed in the life of a process. A key is in one project."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._renewed_at_s: dict[str, float] = {}
        self._believed: Counter[str] = Counter()
        self._closed_until_s: dict[str, float] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        """Claims that were not believed, by project and key."""

    def is_heard(self, key: str) -> bool:
        """Return whether a claim that came with a key is looked at."""
        return self._now_s() >= self._closed_until_s.get(key, 0.0)

    def believe(self, project: str, key: str, *, is_impossible: bool) -> bool:
        """Return whether something that Redis does not have was lost, and is to be answered.

        `is_impossible` says that this replica has seen all there ever was of the epoch.
        """
        now_s, before = self._now_s(), self._believed[key]
        if not is_impossible and before < _MOST_BELIEVED:
            if now_s - self._renewed_at_s.get(project, -_BETWEEN_S) < _BETWEEN_S:
                return False  # of one loss many tell, and most of them too late
            self._renewed_at_s[project] = now_s
            self._believed[key] += 1
            self._closed_until_s[key] = now_s + _PAUSE_S * 10**before
            return True
        self.refused[project, key] += 1
        doubled = min(self.refused[project, key] - 1, 10)
        pause_s = min(_UNLOOKED_S * 2**doubled, _MOST_UNLOOKED_S)
        self._closed_until_s[key] = now_s + pause_s
        logger.warning(
            "a sidecar with the key %s of project %s claims what never was, for the %d. time; it "
            "is not believed, and not looked at for %d s: see who has this key",
            key,
            project,
            self.refused[project, key],
            pause_s,
        )
        return False
