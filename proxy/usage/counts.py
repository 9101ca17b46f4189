"""Sums up evaluations by flag, variant and reason, from the integers that answers carry.

An answer says how often it was given (`evaluations`) and how much of that was summed up here
(`reported`); the difference is taken at each gathering, and of flags that a new snapshot does not
take over when it comes. So nothing is done per evaluation, and no swap loses a count.

The minute of a sum is the one in which the gathering before was: a gathering comes within a minute
of the last. What was not gathered yet is lost with the process, unless it is told to stop.

Bounded: `max_rows` sums wait. While there is no room the counts stay in the answers, and are part
of a later minute; only those of a flag that leaves the snapshot meanwhile are lost.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.contract.steps import Steps
from proxy.contract.usage import UsageCount
from proxy.engine import Answer
from proxy.holder import Served
from proxy.slices import run_in_slices

__all__ = ["UsageCounts"]

_MINUTE_MS = 60_000
_MAX_ROWS = 50_000  # a thousand flags in use, for the better part of an hour

_Row = tuple[str, str, str, int]


class UsageCounts:
    """What waits to be reported. `len` is the number of sums; evaluations are in them.

    `settle` brings the answers' own counts up to date; `now_ms` is Unix time.
    """

    def __init__(
        self,
        settle: Callable[[], None],
        now_ms: Callable[[], int],
        max_rows: int = _MAX_ROWS,
    ) -> None:
        self._settle = settle
        self._now_ms = now_ms
        self._max_rows = max_rows
        # of the process
        self.received = 0
        self.deduplicated = 0
        self.lost = 0
        self._served: Served | None = None
        # of the minute
        self._minute_ms = _minute(now_ms())
        self._rows: dict[_Row, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_batch(self) -> bool:
        """Never: it is reported at its time."""
        return False

    def swapped(self, old: Served | None, new: Served) -> None:
        """Sum up what leaves; a subscriber of the holder, after who settles is one."""
        self._served = new
        if old is None:
            return
        kept = new.compiled.flags
        for key, flag in old.compiled.flags.items():
            if kept.get(key) is not flag:
                for answer in _unreported(flag.answers):
                    if not self._add(answer):
                        self.received += 1
                        self.lost += 1
                        answer.reported = answer.evaluations

    async def gather(self) -> None:
        """Sum up what was evaluated since the last time."""
        minute_ms = _minute(self._now_ms())
        self._settle()
        await run_in_slices(self._gathering())
        self._minute_ms = minute_ms

    def take(self) -> list[UsageCount]:
        """Hand out the oldest, a batch's worth."""
        rows = list(islice(self._rows.items(), MAX_BATCH_ITEMS))
        for row, _ in rows:
            del self._rows[row]
        return [
            UsageCount(flag, variant or None, reason, minute_ms, count)
            for (flag, variant, reason, minute_ms), count in rows
        ]

    def _gathering(self) -> Steps[None]:
        """Take all differences, a flag a step; another snapshot may come between two."""
        if self._served is None:
            return
        for flag in self._served.compiled.flags.values():
            for answer in _unreported(flag.answers):
                if not self._add(answer):
                    return
            yield

    def _add(self, answer: Answer) -> bool:
        """Take an answer's difference; return False, and take nothing, when there is no room."""
        reason = answer.reason or answer.error_code or ""
        row = (answer.key, answer.variant, reason, self._minute_ms)
        sum_before = self._rows.get(row)
        if sum_before is None:
            if len(self._rows) >= self._max_rows:
                return False
            self.received += 1
        self._rows[row] = (sum_before or 0) + answer.evaluations - answer.reported
        answer.reported = answer.evaluations
        return True


def _unreported(answers: Iterable[Answer]) -> Iterable[Answer]:
    return (answer for answer in answers if answer.evaluations != answer.reported)


def _minute(now_ms: int) -> int:
    return now_ms // _MINUTE_MS * _MINUTE_MS
