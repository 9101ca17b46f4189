"""Checks of a write that may take long: begun inside the commit, gone on with outside of it.

A commit works out its change from the state without waiting. Nearly every check is over in a few
steps; one that is not leaves the commit by `StillChecking`, is run in slices, and its result is for
the state that it was begun with: whoever comes back has to see that nothing was written since.
"""

from typing import Generic, TypeVar

from control_plane.publishing.state import ProjectState
from proxy.contract.steps import Steps

__all__ = ["StillChecking", "at_once"]

T = TypeVar("T")
M = TypeVar("M")

_AT_ONCE = 4
"""Steps of half a millisecond."""


class StillChecking(Exception, Generic[M, T]):
    """A check takes longer; `made` is what is checked, `sequence` the state it was begun with."""

    def __init__(self, sequence: int, made: M, steps: Steps[T]) -> None:
        super().__init__(sequence)
        self.sequence = sequence
        self.made = made
        self.steps = steps


def at_once(state: ProjectState, made: M, steps: Steps[T]) -> T:
    """Return the result of a check that takes few steps; raises StillChecking for a longer one."""
    try:
        for _ in range(_AT_ONCE):
            next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise StillChecking(state.sequence, made, steps)
