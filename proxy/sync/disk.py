"""Starts from the cached snapshot and keeps the cache, beside whatever the network does.

The policy around `proxy.sync.cache`: when to read, when to write, and that neither a slow nor a
broken disk keeps a sidecar from starting or serving.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused, read_header
from proxy.holder import Holder, Served
from proxy.slices import run_in_slices
from proxy.sync import blob_files, cache
from proxy.sync.blobs import READ_TIMEOUT_S
from proxy.sync.errors import SyncError
from proxy.sync.pace import wait
from proxy.sync.settings import SyncSettings
from proxy.sync.status import SyncStatus
from proxy.threads import to_its_end

__all__ = ["Record", "keep_cache", "start_from_disk"]

_log = logging.getLogger(__name__)

_WORTH_NOTING_MS = 20  # less is the difference of two clocks, not a confirmation


class Record(NamedTuple):
    """Which snapshot is on disk."""

    epoch: str
    revision: int
    digest: str
    signed_by: tuple[str, ...]


async def start_from_disk(
    holder: Holder, status: SyncStatus, settings: SyncSettings
) -> Record | None:
    """Serve the newest usable snapshot of the cache, unless one is served or policy forbids it.

    The newest that is there is remembered all the same: nothing older of its epoch is served then.
    Returns which one it is, None when none was taken. Never raises for anything that a disk or a
    file can do.
    """
    directory = settings.cache_dir
    if directory is None or holder.served is not None:
        return None
    owner = cache.owner_of(settings.control_plane_urls, settings.key)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            found = await asyncio.to_thread(
                cache.load, directory, owner, settings.max_snapshot_bytes
            )
    except TimeoutError:
        status.fail("cache", f"not read within {READ_TIMEOUT_S:g} s")
        return None
    if not found and await asyncio.to_thread(cache.holds_anything, directory):
        reason = "what is stored is damaged, or belongs to another control plane, address or key"
        status.fail("cache", reason)
        _log.warning("nothing usable in the cache %s: %s", directory, reason)

    taken = None
    if settings.startup_policy != "require-fresh":
        taken = await _serve_newest(holder, status, directory, found)
    for saved in found:
        with suppress(SnapshotRefused):
            holder.admission.remember(read_header(saved.body))
            break
    return taken


async def _serve_newest(
    holder: Holder, status: SyncStatus, directory: Path, found: list[cache.Saved]
) -> Record | None:
    """Serve the first that can be served, and return which one it is."""

    async def blobs(
        _header: SnapshotHeader, needed: Mapping[str, int], _held: Mapping[str, bytes]
    ) -> Mapping[str, bytes]:
        """Return what lies beside the slots; all of it, or the slot is passed over."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                present = await asyncio.to_thread(blob_files.read, directory, needed)
        except TimeoutError:
            raise SyncError("cache", f"blobs not read within {READ_TIMEOUT_S:g} s") from None
        if missing := len(needed.keys() - present.keys()):
            raise SyncError(
                "cache", f"{missing} of {len(needed)} blobs of units are missing or damaged"
            )
        status.blobs["disk"] += len(present)
        return present

    for saved in found:
        age_ms = round(time.time() * 1000) - saved.confirmed_at_ms
        try:
            served = await holder.offer(
                saved.body, "disk", blobs=blobs, age_ms=age_ms, estimated=True
            )
        except SnapshotRefused as refused:
            status.fail("cache", str(refused))
        except SyncError as error:
            status.fail("cache", error.detail)
            _log.warning("a snapshot in the cache %s is not usable: %s", directory, error.detail)
        except Exception as error:
            status.fail("internal", f"the cached snapshot: {type(error).__name__}")
            _log.exception("the cached snapshot cannot be served")
        else:
            _log.info("serving revision %d from disk", served.header.revision)
            return _record(served)
    return None


async def keep_cache(
    holder: Holder,
    status: SyncStatus,
    settings: SyncSettings,
    directory: Path,
    taken: asyncio.Event,
    stored: Record | None,
) -> None:
    """Write what is served to the cache whenever `taken` is set; returns only when cancelled.

    Several that come during one write, or `cache_interval_s` after it, are written as one, the
    newest. At intervals it is noted
    that what is stored is still current, and on the way out once more. What was not written is
    tried again at the next interval.
    """
    owner = cache.owner_of(settings.control_plane_urls, settings.key)
    noted_ms = 0
    known: set[str] = set()  # blobs that are on disk, seen whole

    async def write() -> None:
        nonlocal stored, noted_ms
        served, age_ms = holder.served, holder.age_ms()
        if served is None or age_ms is None or holder.age_estimated:
            return  # nothing, or what came from the disk and nobody confirmed
        at_ms = round(time.time() * 1000) - age_ms
        record, before = _record(served), stored
        try:
            if record != stored:
                body = await run_in_slices(served.body())
                stored = record  # also when cancelled meanwhile: the write goes on to its end
                what = (owner, body, record.digest, at_ms, served.blobs, known)
                await to_its_end(asyncio.to_thread(cache.store, directory, *what))
            elif at_ms > noted_ms + _WORTH_NOTING_MS:
                confirmed = asyncio.to_thread(cache.confirm, directory, owner, record.digest, at_ms)
                await to_its_end(confirmed)
            else:
                return
            noted_ms = at_ms
        except OSError as error:
            stored = before
            status.fail("cache", error.strerror or type(error).__name__)
            _log.warning("the snapshot was not cached: %s", error)

    try:
        while True:
            if await wait(taken, settings.confirm_interval_s):
                await write()
                await asyncio.sleep(settings.cache_interval_s)
            else:
                await write()
    finally:
        # A sidecar that is stopped right after a snapshot came starts from it next time.
        await write()


def _record(served: Served) -> Record:
    header = served.header
    return Record(header.epoch, header.revision, header.digest, header.signed_by)
