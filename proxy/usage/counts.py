"""Sums up evaluations by flag, variant and reason, from the integers that answers carry.

An answer says how often it was given (`evaluations`) and how much of that was summed up here
(`reported`); the difference is taken at each gathering, also from the answers of flags that are not
served any more, which are kept until then. So nothing is done per evaluation, and no swap loses a
count or takes long.

The minute of a sum is the one in which the gathering before was: a gathering comes within a minute
of the last. What was not gathered yet is lost with the process, unless it is told to stop.

Bounded: `max_rows` sums wait, and as many answers that are not given any more. While there is no
room for a sum the counts stay in the answers, and are part of a later minute; what leaves while
there is no room for an answer is lost.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.contract.steps import Steps
from proxy.contract.usage import MAX_COUNT, UsageCount
from proxy.counts import answering, labels_of, leaving
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
        self._left: list[Answer] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_batch(self) -> bool:
        """Never: it is reported at its time."""
        return False

    def swapped(self, old: Served | None, new: Served) -> None:
        """Keep what leaves until it is summed up; a subscriber of the holder, after `Current`."""
        self._served = new
        if old is None:
            return
        for flag in leaving(old, new):
            for answer in _unreported(flag.answers):
                if len(self._left) < self._max_rows:
                    self._left.append(answer)
                else:
                    self.received += 1
                    self.lost += 1

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
        while self._left:
            if not self._add(self._left[-1]):
                return
            self._left.pop()
            yield
        for flag in () if self._served is None else answering(self._served):
            for answer in _unreported(flag.answers):
                if not self._add(answer):
                    return
            yield

    def _add(self, answer: Answer) -> bool:
        """Take an answer's difference; return False when there is no room for all of it."""
        row = (*labels_of(answer), self._minute_ms)
        summed_up = self._rows.get(row)
        if summed_up is None:
            if len(self._rows) >= self._max_rows:
                return False
            self.received += 1
            summed_up = 0
        more = min(answer.evaluations - answer.reported, MAX_COUNT - summed_up)
        self._rows[row] = summed_up + more
        answer.reported += more
        return answer.reported == answer.evaluations


def _unreported(answers: Iterable[Answer]) -> Iterable[Answer]:
    return (answer for answer in answers if answer.evaluations != answer.reported)


def _minute(now_ms: int) -> int:
    return now_ms // _MINUTE_MS * _MINUTE_MS
