"""Waiting for the next revision of one environment.

A subscriber is told that something changed, and then reads what is current: however many changes
came meanwhile, there is nothing to queue and nothing to bound. Pure but for the event it waits on.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from proxy.contract.sync import SnapshotPointer

__all__ = ["Subscription", "Subscriptions"]


class Subscription:
    """One follower of one environment; close it when done, or use it as a context manager.

    `async for pointer in subscription` gives the current pointer at once, unless `seen` was it,
    and from then on the newest whenever it is another.
    """

    def __init__(
        self,
        current: Callable[[], SnapshotPointer],
        closed: Callable[["Subscription"], None],
        seen: SnapshotPointer | None,
    ) -> None:
        self._current = current
        self._closed = closed
        self._seen = seen
        self._changed = asyncio.Event()

    async def wait(self) -> SnapshotPointer:
        """Return the current pointer as soon as it is another than the last one returned."""
        while True:
            self._changed.clear()
            pointer = self._current()
            if pointer != self._seen:
                self._seen = pointer
                return pointer
            await self._changed.wait()

    def notify(self) -> None:
        """Wake whoever waits."""
        self._changed.set()

    def close(self) -> None:
        """End the subscription."""
        self._closed(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SnapshotPointer:
        return await self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Subscriptions:
    """The subscriptions of one process, by project and environment."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], set[Subscription]] = {}
        self._listeners: list[Callable[[str, str], None]] = []

    def open(
        self,
        project: str,
        environment: str,
        current: Callable[[], SnapshotPointer],
        seen: SnapshotPointer | None,
    ) -> Subscription:
        """Return a new subscription; `current` gives what is current whenever it is asked."""
        name = (project, environment)

        def closed(subscription: Subscription) -> None:
            followers = self._open.get(name)
            if followers is None:
                return
            followers.discard(subscription)
            if not followers:
                del self._open[name]

        subscription = Subscription(current, closed, seen)
        self._open.setdefault(name, set()).add(subscription)
        return subscription

    def listen(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener(project, environment)` at each change, before anything else runs."""
        self._listeners.append(listener)

    def notify(self, project: str, environment: str) -> None:
        """Tell the followers of an environment that it changed."""
        for listener in self._listeners:
            listener(project, environment)
        for subscription in self._open.get((project, environment), ()):
            subscription.notify()

    def count(self) -> int:
        """Return how many are open."""
        return sum(map(len, self._open.values()))
