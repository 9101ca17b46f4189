"""A file of definitions as the source: useful without any control plane, and for trying things.

The directory is watched, not the file: editors and Kubernetes put another file in its place, and a
ConfigMap changes by swapping a link beside it. Where watching does not work (network disks, limits
of the system) or misses something, a slow poll finds the change.

Rules:
- A file that cannot be read leaves what is served in place; its age grows, and `/statusz` says
  what is wrong and where. It is confirmed only by being read and found unchanged.
- A file in YAML is read as the JSON it stands for. One of flagd's shape is served by its rules.
- Epoch `file`; the revision counts changes of content since the start. Whoever compares snapshots
  compares digests.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from watchfiles import awatch

from proxy.contract.problems import Problem
from proxy.contract.snapshot import (
    FILE_EPOCH,
    SCHEMA,
    SnapshotHeader,
    SnapshotRefused,
    encode_snapshot,
)
from proxy.engine import FileText, FileUnreadable, read_file_text
from proxy.holder import Holder
from proxy.slices import run_in_slices
from proxy.supervise import supervise
from proxy.sync.definitions_file import FileContent, read_definitions
from proxy.sync.pace import wait
from proxy.sync.status import SyncStatus

__all__ = ["FILE_PROJECT", "run_file_source"]

_log = logging.getLogger(__name__)

FILE_PROJECT = "default"

_DEBOUNCE_MS = 200  # a ConfigMap's swap is several events within a few milliseconds
_STEP_MS = 20
_LOGGED_PROBLEMS = 10


async def run_file_source(
    holder: Holder,
    status: SyncStatus,
    path: Path,
    environment: str,
    poll_s: float = 5.0,
    *,
    fractional: str = "v2",
) -> None:
    """Keep the holder current from a file; returns only by being cancelled.

    Run it under `supervise`. `poll_s` bounds how late a change is seen that watching missed.
    `fractional` is the version of flagd's operator of that name, for a file of flagd.
    """
    changed = asyncio.Event()
    source = _FileSource(holder, status, path, environment, fractional)

    async def keep_current() -> None:
        while True:
            await source.look()
            await wait(changed, poll_s)

    def count(name: str, error: BaseException) -> None:
        status.fail("internal", f"{name}: {type(error).__name__}")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervise("file", keep_current, on_error=count))
        watch = partial(_watch, path.parent, changed, poll_s)
        tasks.create_task(supervise("file watch", watch, on_error=count))


class _Read(NamedTuple):
    """A file's bytes, and what they say, or why they cannot be read."""

    data: bytes
    modified_s: float
    text: FileText | FileUnreadable


class _FileSource:
    def __init__(
        self, holder: Holder, status: SyncStatus, path: Path, environment: str, fractional: str
    ) -> None:
        self._holder = holder
        self._status = status
        self._path = path
        self._environment = environment
        self._fractional = fractional
        # of the last look
        self._data: bytes | None = None
        self._good_digest: str | None = None  # what `_data` gave, None when it was refused
        self._complaint = ""

    async def look(self) -> None:
        """Read the file and serve it if it changed; what is wrong is counted and reported."""
        self._status.enter("file")
        try:
            read = await asyncio.to_thread(
                _read, self._path, self._holder.max_snapshot_bytes, self._data
            )
        except OSError as error:
            self._complain("file", error.strerror or type(error).__name__)
            return
        if read is None:
            if self._good_digest is not None:
                self._holder.confirm(self._good_digest)
                self._complaint = ""
            return
        self._data = self._good_digest = None
        try:
            await self._serve(read)
        except FileUnreadable as error:
            self._status.report(error.problems)
            self._complain("file", str(error))
        except SnapshotRefused as error:
            self._complain("refused", str(error))
        self._data = read.data  # bad ones too: reading them again would find the same

    async def _serve(self, read: _Read) -> None:
        content = await self._content(read)
        self._status.report(content.problems)
        held = self._holder.served
        if held is not None and held.header.digest == content.digest:
            self._holder.confirm(content.digest)
        else:
            body = encode_snapshot(self._header(content, read.modified_s), content.lines)
            served = await self._holder.offer(body, "file")
            count = len(served.compiled.flags)
            emptied = not count and held is not None and len(held.compiled.flags) > 0
            level = logging.WARNING if emptied else logging.INFO
            _log.log(level, "%s: revision %d, %d flags", self._path, served.header.revision, count)
        self._good_digest = content.digest
        self._complaint = ""
        _log_problems(self._path, content.problems)

    async def _content(self, read: _Read) -> FileContent:
        if isinstance(read.text, FileUnreadable):
            raise read.text
        text, flaws, flagd = read.text
        if flagd is None:
            return await run_in_slices(read_definitions(text, self._environment, flaws))
        from proxy.sync.flagd_file import read_flagd  # most sidecars have no such file

        return await asyncio.to_thread(
            read_flagd, flagd, self._environment, self._fractional, flaws
        )

    def _header(self, content: FileContent, modified_s: float) -> SnapshotHeader:
        held = self._holder.served
        counted = held.header.revision if held is not None else 0
        return SnapshotHeader(
            schema=SCHEMA,
            project=FILE_PROJECT,
            environment=self._environment,
            epoch=FILE_EPOCH,
            revision=counted + 1,
            digest=content.digest,
            entries=len(content.lines),
            created_at=_rfc3339(modified_s),
        )

    def _complain(self, kind: str, text: str) -> None:
        """Count a failed look; log it only when it is not the same as at the look before."""
        self._status.fail(kind, f"{self._path}: {text}")
        if text != self._complaint:
            self._complaint = text
            kept = "nothing is served" if self._holder.served is None else "the last good stays"
            _log.error("%s cannot be served, %s: %s", self._path, kept, text)


def _rfc3339(unix_s: float) -> str:
    year_9999_s = 253_402_300_799.0  # a file can claim any time
    bounded_s = min(max(0.0, unix_s), year_9999_s)
    return datetime.fromtimestamp(bounded_s, UTC).isoformat(timespec="seconds")


def _log_problems(path: Path, problems: Sequence[Problem]) -> None:
    for problem in problems[:_LOGGED_PROBLEMS]:
        _log.warning("%s at %s: %s", path, problem.pointer, problem.message)
    if len(problems) > _LOGGED_PROBLEMS:
        _log.warning("%s: %d more problems", path, len(problems) - _LOGGED_PROBLEMS)


async def _watch(directory: Path, changed: asyncio.Event, poll_s: float) -> None:
    """Set `changed` whenever something in the directory does. Without a directory, wait for one."""
    complained = False
    while True:
        try:
            async for _ in awatch(
                directory,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                recursive=False,
            ):
                changed.set()
        except OSError as error:
            if not complained:
                complained = True
                _log.warning("%s is not watched, only polled: %s", directory, error)
        await asyncio.sleep(poll_s)


def _read(path: Path, max_bytes: int, known: bytes | None) -> _Read | None:
    """Return the file, read, or None when its bytes are the known ones.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than `max_bytes`.
    """
    # O_NONBLOCK: opening a pipe must not wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise OSError(0, f"has more than {max_bytes} bytes")
    if data == known:
        return None
    try:
        text: FileText | FileUnreadable = read_file_text(path.name, data)
    except FileUnreadable as error:
        text = error
    return _Read(data, status.st_mtime, text)
