"""Remembers marks of what came lately, in bounded memory. Pure.

Two generations of sets: when the younger is full the older is forgotten. A mark is a hash of 64
bits, keyed by the process: nobody outside can make two that are equal, and by chance one in
10^9 processes that are full has such.
"""

__all__ = ["GENERATION", "Recent"]

GENERATION = 100_000
"""Marks in one generation: some 8 MB each."""


class Recent:
    """The last `generation` marks at least, twice as many at most."""

    __slots__ = ("_before", "_generation", "_marks")

    def __init__(self, generation: int = GENERATION) -> None:
        self._generation = generation
        self._marks: set[int] = set()
        self._before: set[int] = set()

    def __contains__(self, mark: int) -> bool:
        return mark in self._marks or mark in self._before

    def add(self, mark: int) -> None:
        """Remember a mark."""
        if len(self._marks) >= self._generation:
            self.turn()
        self._marks.add(mark)

    def turn(self) -> None:
        """Forget what is older than the last turn."""
        self._before = self._marks
        self._marks = set()

    def clear(self) -> None:
        """Forget everything."""
        self._marks = set()
        self._before = set()
