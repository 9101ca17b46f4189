"""What is counted while serving, in plain integers: durations by bucket, evaluations by series.

Pure. How it is rendered is `proxy.metrics`' matter.

Rules: counters never go back - when a snapshot is replaced, the counts of flags that were compiled
anew are folded into `_base`, flags that stayed keep theirs - and every set of labels is bounded.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Self

from proxy.engine import Answer, CompiledFlag
from proxy.holder import Served

__all__ = ["MAX_SERIES", "OTHER", "EvaluationCounts", "Histogram", "Labels", "answering"]
__all__ += ["labels_of", "leaving"]

MAX_SERIES = 10_000
"""Series of evaluations: 2 MB of text a scrape, and what a Prometheus takes from one target."""

OTHER = "_other"
"""All labels of what the bound shuts out, summed up."""

Labels = tuple[str, str, str]

_SHUT_OUT: Labels = (OTHER, OTHER, OTHER)


class Histogram:
    """Counts of durations by bucket: an `observe` costs a bisection and two additions."""

    __slots__ = ("_bounds", "_counts", "_sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds = tuple(bounds_s)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, duration_s)] += 1
        self._sum_s += duration_s

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self._counts)

    def __add__(self, other: Self) -> Self:
        """Return the durations of both; the bounds are the same."""
        both = type(self)(self._bounds)
        both._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        both._sum_s = self._sum_s + other._sum_s
        return both

    def sample(self) -> tuple[list[tuple[str, float]], float]:
        """Return the cumulative buckets, as Prometheus has them, and the sum."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets, self._sum_s


class EvaluationCounts:
    """Evaluations by flag, variant and reason, over all snapshots since the process began."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._base: Counter[Labels] = Counter()
        self._admitted: dict[Labels, None] = {}

    @property
    def series(self) -> int:
        """How many series are in use."""
        return len(self._admitted)

    def fold(self, old: Served, new: Served) -> None:
        """Keep the counts of the flags that the new snapshot does not take over."""
        counts: Counter[Labels] = Counter()
        for flag in leaving(old, new):
            self._add(counts, flag.answers)
        for labels, count in counts.items():
            self._base[labels if self._admits(labels) else _SHUT_OUT] += count

    def totals(self, served: Served | None) -> Generator[None, None, dict[Labels, int]]:
        """Return the count of each series, what the bound shuts out as one; a step per flag.

        Evaluations, and even another snapshot, may come between the steps.
        """
        counts = self._base.copy()
        for flag in () if served is None else answering(served):
            self._add(counts, flag.answers)
            yield
        found: dict[Labels, int] = {}
        other = 0
        for labels, count in counts.items():
            if self._admits(labels):
                found[labels] = count
            else:
                other += count
            yield
        if other:
            found[_SHUT_OUT] = other
        return found

    def _admits(self, labels: Labels) -> bool:
        """Return whether labels have a series; while there is room they are given one."""
        if labels not in self._admitted:
            if len(self._admitted) >= self._max_series:
                return False
            self._admitted[labels] = None
        return True

    @staticmethod
    def _add(counts: Counter[Labels], answers: Iterable[Answer]) -> None:
        for answer in answers:
            if answer.evaluations:
                counts[labels_of(answer)] += answer.evaluations


def answering(served: Served) -> Iterator[CompiledFlag]:
    """Yield the flags whose answers are given, and counted, while a snapshot is served."""
    yield from served.compiled.flags.values()
    if served.defaults is not None:
        yield from served.defaults.values()


def leaving(old: Served, new: Served) -> Iterator[CompiledFlag]:
    """Yield those of the old snapshot that the new one does not take over."""
    yield from new.compiled.replaced(old.compiled)
    if old.defaults is not None and old.defaults is not new.defaults:
        yield from old.defaults.values()


def labels_of(answer: Answer) -> Labels:
    """Return the flag, the variant and the reason; of an error its code."""
    return answer.key, answer.variant, answer.reason or answer.error_code or ""
