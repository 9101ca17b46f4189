"""The views of the snapshot that is being served, exchanged at each swap.

Kept apart from the holder, which knows nothing of how flags are answered.
"""

from collections import Counter

from proxy.holder import Served
from proxy.ofrep.context import SUSPICIOUS_UNITS
from proxy.ofrep.views import Views

__all__ = ["Current"]


class Current:
    """`views` is None before the first snapshot."""

    __slots__ = ("suspicious_units", "views")

    def __init__(self) -> None:
        self.views: Views | None = None
        self.suspicious_units: Counter[str] = Counter(dict.fromkeys(SUSPICIOUS_UNITS, 0))
        """Requests, by the text that came as targeting key."""

    def settle(self) -> None:
        """Bring the counts of all answers up to date, before somebody reads them."""
        if self.views is not None:
            self.views.settle()

    def swapped(self, _old: Served | None, new: Served) -> None:
        """Serve another snapshot; a subscriber of the holder.

        The counts of the old one are settled first, for those who add them up after.
        """
        self.settle()
        self.views = Views(new.compiled, new.header, self.suspicious_units, new.defaults)
