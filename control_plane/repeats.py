"""Says in the log what goes on failing: at once, and then every so often with how often it was.

A Redis that is away is met several times a second, by more than one part; thousands of lines that
say so hide the ones that say more.
"""

import logging
from collections.abc import Callable
from time import monotonic

__all__ = ["EVERY_S", "Repeats"]

EVERY_S = 30.0
"""Between two lines: an outage of an hour is 120 of them, and one that goes on is seen to."""


class Repeats:
    """A warning with a cause; `text` is what fails, and the cause follows it."""

    def __init__(
        self, logger: logging.Logger, text: str, now_s: Callable[[], float] = monotonic
    ) -> None:
        self._logger = logger
        self._text = text
        self._now_s = now_s
        self._say_at_s = float("-inf")
        self._unsaid = 0

    def warn(self, cause: object) -> None:
        """Say it, or count it for the next time that it is said."""
        now_s = self._now_s()
        if now_s < self._say_at_s:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more times since this was last said)" if self._unsaid else ""
        self._say_at_s, self._unsaid = now_s + EVERY_S, 0
        self._logger.warning("%s: %s%s", self._text, cause, more)
