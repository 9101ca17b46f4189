"""Work that is done in small steps: a generator that yields in between. Pure.

Reading, compiling and explaining may take long, and event loops have others to serve. So they are
written as generators, and who calls decides: a loop runs them in slices of a few milliseconds
(`proxy.slices` and `control_plane.publishing.slices`, alike, since neither program may import the
other's), everybody else at once.

A step takes well under 5 ms. What the work reads may change between two of its steps, where nobody
else holds on to it: whoever uses the result has to see that it still holds.
"""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

__all__ = ["Steps", "finish"]

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work with a result of type `T`."""


def finish(steps: Steps[T]) -> T:
    """Return the result of work that is run to its end at once."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
