"""When keys were used last, without a write on the way of any request.

Each replica notes it in memory and writes it to Redis once a minute, where the latest counts; who
asks is told what Redis has and what is noted here. A key with which a stream is open is in use. Of
server and client keys, which are presented to sidecars, these tell with their standing.
"""

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from control_plane.access.model import KeyRecord, KeyResource
from control_plane.access.store import LastUsedStore
from control_plane.store.connection import RedisError
from control_plane.times import rfc3339_of_ms

__all__ = ["LastUsed"]

logger = logging.getLogger(__name__)

_EVERY_S = 60.0


class LastUsed:
    """The times of one replica's use, and the way to all replicas'."""

    def __init__(
        self,
        store: LastUsedStore,
        in_use: Callable[[], Iterable[KeyRecord]],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._in_use = in_use
        self._now_ms = now_ms
        self._noted: dict[tuple[str, str], int] = {}

    def note(self, key: KeyRecord, ago_ms: int = 0) -> None:
        """Take note that a key was used, so long ago."""
        place, at_ms = (key.project, key.id), self._now_ms() - max(0, ago_ms)
        if at_ms > self._noted.get(place, 0):
            self._noted[place] = at_ms

    async def run(self) -> None:
        """Write what was noted, once a minute, for ever."""
        while True:
            await asyncio.sleep(_EVERY_S * random.uniform(0.9, 1.0))  # noqa: S311 - spreads writes
            await self.write()

    async def write(self) -> None:
        """Write what was noted since the last time; what Redis does not take is kept."""
        for key in self._in_use():
            self.note(key)
        noted, self._noted = self._noted, {}
        projects: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (project, key_id), at_ms in noted.items():
            projects[project][key_id] = at_ms
        for project, times in projects.items():
            try:
                await self._store.write(project, times)
            except RedisError:
                logger.info("when keys of %s were used last is not written: no Redis", project)
                for key_id, at_ms in times.items():
                    self._noted.setdefault((project, key_id), at_ms)

    async def told(self, project: str, keys: Sequence[KeyResource]) -> list[KeyResource]:
        """Return keys with when they were used last; while Redis is away, as far as known here."""
        try:
            stored = await self._store.read(project, [key.id for key in keys])
        except RedisError:
            stored = {}
        return [self._with_time(project, key, stored) for key in keys]

    def _with_time(self, project: str, key: KeyResource, stored: Mapping[str, int]) -> KeyResource:
        at_ms = max(stored.get(key.id, 0), self._noted.get((project, key.id), 0))
        if not at_ms:
            return key
        return msgspec.structs.replace(key, last_used_at=rfc3339_of_ms(at_ms))
