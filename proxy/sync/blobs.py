"""Gets the blobs of unit lists that a snapshot needs before it is served.

What the present snapshot holds is taken from there, what an earlier attempt got is kept, what lies
on disk is read, and only the rest is fetched, a few at a time. A changed list of a million is one
blob of 50 KB this way, and a snapshot with unchanged lists fetches none.

Rules:
- All or nothing: a snapshot without a part of its lists would have its flags quarantined. Until all
  blobs are there what was served before is served on.
- But what the control plane says to have lost, or in `_GONE_AFTER` attempts in a row not to have,
  is gone: the snapshot is served without it, and only the flags of that segment are quarantined.
  One list that was lost must not keep every other change of its environment from all sidecars.
- A blob is verified by its digest before it is kept; who sent it does not matter then.
- In memory are the blobs of the served snapshot, and of the one that is being loaded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping

from proxy.contract.problems import Problem
from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused
from proxy.contract.units import read_blob
from proxy.sync import blob_files
from proxy.sync.errors import Superseded, SyncError
from proxy.sync.settings import SyncSettings
from proxy.sync.status import SyncStatus

__all__ = ["READ_TIMEOUT_S", "BlobLoader"]

_log = logging.getLogger(__name__)

READ_TIMEOUT_S = 5.0
"""A disk that hangs must not keep us from asking the control plane."""

_LARGE_BYTES = 256 * 1024
"""Verified in a thread from this size on; 12 MB, of units chosen to fall together, take 0.2 s."""

_GONE_AFTER = 5
"""Attempts that end with 404, with backoff in between some ten seconds: more than a replica needs
to hear of a change that another one made."""


class BlobLoader:
    """Loads blobs from wherever they are. One snapshot at a time.

    `fetch(digest, max_bytes)` asks the control plane, and raises SyncError; `superseded(header)`
    says whether there is something newer than a snapshot.
    """

    def __init__(
        self,
        fetch: Callable[[str, int], Awaitable[bytes]],
        status: SyncStatus,
        settings: SyncSettings,
        superseded: Callable[[SnapshotHeader], bool],
    ) -> None:
        self._fetch_blob = fetch
        self._status = status
        self._settings = settings
        self._superseded = superseded
        self._verifying = asyncio.Lock()
        self._disk_works = settings.cache_dir is not None
        self._got: dict[str, bytes] = {}  # for a snapshot that is not served yet
        self._not_found = 0  # attempts in a row in which a blob was answered 404
        self._gone = 0  # blobs that the snapshot being loaded goes without

    async def load(
        self, header: SnapshotHeader, needed: Mapping[str, int], held: Mapping[str, bytes]
    ) -> Mapping[str, bytes]:
        """Return all needed blobs but those that are gone.

        `needed` has the most bytes that each may have.

        What was got is kept for the next attempt, until `settled` or another snapshot needs less.

        Raises:
            SyncError: one of them cannot be had, now.
            SnapshotRefused: `too_large`, when together they are more than is held.
            Superseded: there is a newer snapshot, and this has taken long enough.
        """
        present = {digest: held[digest] for digest in needed if digest in held}
        self._got = {
            digest: blob
            for digest, blob in self._got.items()
            if digest in needed and digest not in present
        }
        room = self._settings.max_blob_bytes_in_all
        room -= sum(map(len, present.values())) + sum(map(len, self._got.values()))
        missing = {d: needed[d] for d in needed if d not in present and d not in self._got}
        self._status.blobs_missing, self._gone = len(missing), 0
        room -= await self._read(missing)
        await self._fetch(header, missing, room)
        return present | self._got

    def settled(self) -> None:
        """Let go of what was got: it is served, and held there."""
        self._got = {}
        self._status.blobs_missing, self._gone = self._gone, 0

    def _keep(self, digest: str, blob: bytes, source: str) -> None:
        self._got[digest] = blob
        self._status.blobs[source] += 1
        self._status.blobs_missing -= 1

    async def _read(self, missing: dict[str, int]) -> int:
        """Take what the disk has out of `missing`; return how many bytes that was."""
        directory = self._settings.cache_dir
        if directory is None or not missing or not self._disk_works:
            return 0
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                found = await asyncio.to_thread(blob_files.read, directory, missing.copy())
        except TimeoutError:
            self._disk_works = False  # each further attempt would leave a thread behind
            self._status.fail("cache", f"blobs not read within {READ_TIMEOUT_S:g} s")
            return 0
        for digest, blob in found.items():
            self._keep(digest, blob, "disk")
            del missing[digest]
        return sum(map(len, found.values()))

    async def _fetch(self, header: SnapshotHeader, missing: Mapping[str, int], room: int) -> None:
        """Fetch all that is missing, into at most `room` bytes."""
        if room < 0:
            raise self._too_much()
        if not missing:
            return
        _log.info("fetching %d blobs of units for revision %d", len(missing), header.revision)
        patience_ends = asyncio.get_running_loop().time() + self._settings.blob_patience_s
        queue = iter(missing.items())
        fetched = gone = 0

        async def work() -> None:
            nonlocal fetched, gone
            for digest, max_bytes in queue:
                blob = await self._fetch_one(digest, max_bytes)
                if blob is None:
                    gone += 1
                    continue
                self._keep(digest, blob, "fetched")
                fetched += len(blob)
                if fetched > room:
                    raise self._too_much()
                late = asyncio.get_running_loop().time() >= patience_ends
                if late and self._superseded(header):
                    raise Superseded(f"revision {header.revision}")

        workers = [asyncio.create_task(work()) for _ in range(self._settings.blob_connections)]
        timeout_s = self._settings.fetch_timeout_s
        try:
            await asyncio.wait(workers, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
        for error in _failures(workers):
            if isinstance(error, SyncError) and error.kind == "http_404":
                self._not_found += 1
            raise error
        if any(worker.cancelled() for worker in workers):
            left = self._status.blobs_missing
            raise SyncError("timeout", f"{left} blobs were not fetched within {timeout_s:g} s")
        self._gone = gone
        if not gone:
            self._not_found = 0

    async def _fetch_one(self, digest: str, max_bytes: int) -> bytes | None:
        """Return a blob, or None for one that is gone."""
        try:
            body = await self._fetch_blob(digest, max_bytes)
            async with self._verifying:
                # half a millisecond: blobs that come together must not hold the loop together
                await asyncio.sleep(0)
                return await _verified(body, digest, max_bytes)
        except SyncError as error:
            self._status.blobs["failed"] += 1
            given_up = error.kind == "http_404" and self._not_found >= _GONE_AFTER - 1
            if error.kind != "http_410" and not given_up:
                raise
            self._status.fail("blob", f"{digest[:12]} is gone: flags that need it are quarantined")
            _log.error("the control plane does not have the blob %s of a unit list", digest[:12])
            return None

    def _too_much(self) -> SnapshotRefused:
        most = self._settings.max_blob_bytes_in_all
        self._got = {}
        return SnapshotRefused("too_large", f"its unit lists have more than {most} bytes")


async def _verified(body: bytes, digest: str, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise SyncError("blob", f"{digest}: more than the {max_bytes} bytes of its list")
    if len(body) > _LARGE_BYTES:
        blob = await asyncio.to_thread(read_blob, body, digest)
    else:
        blob = read_blob(body, digest)
    if isinstance(blob, Problem):
        raise SyncError("blob", blob.message)
    return blob


def _failures(tasks: list[asyncio.Task[None]]) -> Iterator[BaseException]:
    """Yield what ended the tasks, what says that nothing is wrong last."""
    errors = [task.exception() for task in tasks if not task.cancelled()]
    found = [error for error in errors if error is not None]
    yield from sorted(found, key=lambda error: isinstance(error, Superseded))
