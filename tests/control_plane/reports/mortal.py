"""Aggregators that die where they are told to: `python -m tests.control_plane.reports.mortal`.

Reads a line for each: the address of Redis, the number of the command to Redis at which it kills
itself, and whether before or after the command; 0 lives until all is counted. Each is a process of
its own, forked so that it begins at once. Writes `done` or `killed` for each.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from control_plane.events.service import EventService
from control_plane.exposures.service import ExposureService
from control_plane.reports.aggregation import Aggregation
from control_plane.reports.model import SHARDS, Kind, Place
from control_plane.reports.service import keys_of
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.reports import ReportStore

CLAIM_AFTER_S = 0.2
PLACES = [Place(kind, "p", "e") for kind in (Kind.EXPOSURES, Kind.EVENTS)]
FLAGS = ("checkout", "banner")


class Mortal(Connections):
    """Connections that are the end of the process at some command."""

    def __init__(self, url: str, fatal: int, when: str) -> None:
        super().__init__(url, RedisLimits())
        self._left, self._when = fatal, when

    async def run(self, name: str, command: Callable[[], Awaitable[Any]]) -> Any:
        """Run a command, or not, or be killed before the answer is known."""
        self._left -= 1
        fatal = self._left == 0
        if fatal and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await super().run(name, command)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


async def aggregate(url: str, fatal: int, when: str) -> None:
    """Count until all is counted, or until the end."""
    reports = ReportStore(Mortal(url, fatal, when))
    exposures, events = ExposureService(reports, lambda project: FLAGS), EventService(reports)
    looking = Connections(url, RedisLimits())
    own = ReportStore(looking)
    shards = [keys_of(place, shard) for place in PLACES for shard in range(SHARDS[place.kind])]
    counts = {Kind.EXPOSURES: exposures.count, Kind.EVENTS: events.count}
    async with Aggregation(reports, counts, lambda: PLACES, lambda: True, CLAIM_AFTER_S):
        while (await own.balance(shards)).pending:  # noqa: ASYNC110 - Redis sets no event
            await asyncio.sleep(0.02)
    await looking.close()
    await reports.connections.close()


def main() -> None:
    """Fork an aggregator for each line."""
    for line in sys.stdin:
        url, fatal, when = line.split()
        child = os.fork()
        if not child:
            asyncio.run(aggregate(url, int(fatal), when))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        print("killed" if killed else f"done {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
