"""What is known of the way to the source of snapshots, for `/statusz`, metrics and health.

Written by the source that runs, read by whoever wants; it decides nothing. Whether what is served
is fresh is the holder's to say: a stream may be up and its content old.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from proxy.contract.problems import Problem

__all__ = ["BLOB_OUTCOMES", "DELTA_OUTCOMES", "MAX_PROBLEMS", "STATES", "SyncState", "SyncStatus"]

SyncState = Literal["starting", "streaming", "polling", "disconnected", "file"]
STATES: tuple[SyncState, ...] = ("starting", "streaming", "polling", "disconnected", "file")

BLOB_OUTCOMES = ("fetched", "disk", "failed")
"""What became of a blob that was needed and not held."""

DELTA_OUTCOMES = ("applied", "known", "gap", "digest", "refused", "overflow", "failed")
"""What became of a change that the stream told. After all but the first two the whole snapshot is
fetched: it did not begin at what is held; it did not lead to the digest that it names; something
else of it was wrong; more of them waited than are kept; its blobs did not come."""

MAX_PROBLEMS = 100
"""Problems of a file that are kept; a person mends the first few and looks again."""

_MAX_DETAIL_CHARS = 500  # what an upstream sent may be in it


class SyncStatus:
    """State of the source. Times are Unix seconds, for people; `wall_clock` returns them.

    The keys of `errors` are few and fixed by `proxy.sync`: `connect`, `timeout`, `idle`, `closed`,
    `protocol`, `http_<code>` for 401, 403, 404, 429 and 501, `http_3xx`, `http_4xx`, `http_5xx`,
    `refused`, `behind`, `blob`, `cache`, `file`, `internal`.
    """

    __slots__ = (
        "_wall_clock",
        "blobs",
        "blobs_missing",
        "connected_since",
        "deltas",
        "errors",
        "last_error",
        "last_error_at",
        "problems",
        "reconnects",
        "state",
        "state_since",
    )

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self.errors: Counter[str] = Counter()
        self.last_error: str | None = None
        self.last_error_at: float | None = None
        self.reconnects = 0
        """Streams opened after the first."""
        self.blobs: Counter[str] = Counter()
        """Blobs of units that were needed and not held, by what became of it: BLOB_OUTCOMES."""
        self.deltas: Counter[str] = Counter()
        """Changes that the stream told, by what became of them: DELTA_OUTCOMES."""
        self.blobs_missing = 0
        """Blobs still to come before the latest snapshot can be served."""
        self.problems: tuple[Problem, ...] = ()
        """What is wrong with the file being served, with pointers into it."""
        # of the present state
        self.state: SyncState = "starting"
        self.state_since = wall_clock()
        self.connected_since: float | None = None
        """When the present stream gave its first event; None without a stream."""

    def enter(self, state: SyncState) -> bool:
        """Note the state; return whether it is another than before."""
        if state == self.state:
            return False
        self.state, self.state_since = state, self._wall_clock()
        return True

    def connected(self) -> None:
        """Note that a stream is up."""
        self.connected_since = self._wall_clock()
        self.enter("streaming")

    def fail(self, kind: str, detail: str) -> None:
        """Count a failure of one kind and keep its text as the latest."""
        self.errors[kind] += 1
        self.last_error = f"{kind}: {detail}"[:_MAX_DETAIL_CHARS]
        self.last_error_at = self._wall_clock()

    def ago_ms(self, at: float) -> int:
        """Return how long ago a time of here was; 0 when the clock was set back since."""
        return max(0, round((self._wall_clock() - at) * 1000))

    def report(self, problems: Sequence[Problem]) -> None:
        """Replace the problems of the file."""
        self.problems = tuple(problems[:MAX_PROBLEMS])
