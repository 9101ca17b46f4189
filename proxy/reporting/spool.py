"""Keeps batches on disk while nobody takes them, and apart what was refused for good.

    <directory>/waiting/<time>.segment     batches one after the other; the oldest segment first
    <directory>/refused/<batch id>.gz      `zcat` shows why it was refused, then the batch

A segment is a file that only grows, of frames: a header and the body of a batch. When `append`
returns, the frame is on the disk, file and directory synced; a process or a machine that ends after
that loses nothing of it. A frame that was not written to its end is cut off, at once or at the next
start. The first byte after a frame's magic says whether it is done. That is not synced: after a
loss of power a batch may come again, under its id.

Bounded in bytes and in segments. When it is full `append` raises: nothing that is kept makes way
for what is newer. Files are untrusted: what is no segment is left alone, what is no frame ends the
segment, a body that has changed is told as unreadable.

All methods block and none may run beside another; the caller runs them off the event loop, one
after the other. What the disk refuses raises OSError.
"""

import errno
import gzip
import os
import re
import stat
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS
from proxy.reporting.batches import Batch

__all__ = ["MAX_REFUSED", "Found", "Spool", "Unreadable"]

MAX_REFUSED = 100
"""Refused batches kept. They are all alike in practice; the log has the reason of each."""

_MAX_SEGMENTS = 1_000
_SEGMENT_BYTES = 1_048_576
"""A segment that has so many gets no more: what is done is given back in such pieces."""

_HEADER = struct.Struct(">4s1sII36sII")
"""Magic, state, number of items, bytes of the body, id, CRC of the body, CRC of what the state and
the CRC itself are not part of."""
_MAGIC = b"mfb1"
_WAITING, _DONE = b"w", b"d"
_STATE_AT = len(_MAGIC)
_SIGNED = slice(_STATE_AT + 1, _HEADER.size - 4)
_MAX_BODY_BYTES = 2 * MAX_BATCH_BYTES  # gzip makes what does not shrink a little longer

_ID = re.compile(rb"[0-9a-f-]{36}")
_SEGMENT = re.compile(r"[0-9]{20}\.segment")  # nanoseconds, so that names sort by age
_REFUSED = re.compile(r"[0-9a-f-]{36}\.gz")
_READ_ONLY = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
)  # no link, no wait at a pipe


class Unreadable(Exception):
    """Batches that were kept and cannot be read any more, `count` items of them; they are gone."""

    def __init__(self, count: int, why: str) -> None:
        super().__init__(why)
        self.count = count


class Found(NamedTuple):
    """What an earlier process left: items that wait, and what is wrong with files."""

    items: int
    problems: list[str]


class _Frame(NamedTuple):
    state: bytes
    items: int
    length: int
    id: str
    crc: int


class _Segment:
    __slots__ = ("at", "items", "path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # of what is whole
        self.items = 0  # that wait
        self.at = 0  # where the first frame is that waits


class Spool:
    """The batches of one directory, which is made when first written to."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        *,
        segment_bytes: int = _SEGMENT_BYTES,
        max_segments: int = _MAX_SEGMENTS,
    ) -> None:
        self._waiting = directory / "waiting"
        self._refused = directory / "refused"
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._max_segments = max_segments
        self._segments: deque[_Segment] = deque()
        self._grows = False  # the last segment may get more
        self._first: _Frame | None = None  # that was read
        self._bytes = 0
        self._newest_ns = 0

    def open(self) -> Found:
        """Take over what is there, once. Files that are no segments are left alone."""
        items, problems = 0, list[str]()
        names = sorted(filter(_SEGMENT.fullmatch, _names(self._waiting)))
        if len(names) > self._max_segments:
            problems.append(f"{len(names) - self._max_segments} segments too many, left for later")
        for name in names[: self._max_segments]:
            segment = _Segment(self._waiting / name)
            try:
                problem = _scan(segment)
            except OSError as error:
                problems.append(f"{name}: {error.strerror}")
                continue
            if problem is not None:
                problems.append(f"{name}: {problem}")
            if segment.items:
                self._segments.append(segment)
                self._bytes += segment.size
                items += segment.items
            else:
                _remove(segment.path)
        return Found(items, problems)

    def append(self, batch: Batch) -> None:
        """Keep a batch; it is on the disk when this returns."""
        frame = _frame(batch)
        if self._bytes + len(frame) > self._max_bytes:
            raise OSError(errno.ENOSPC, f"the spool has its {self._max_bytes} bytes")
        segment = self._last()
        try:
            _add(segment, frame)
        except OSError:
            self._grows = False
            if not segment.size:
                self._segments.pop()
                _remove(segment.path)
            raise
        segment.size += len(frame)
        segment.items += batch.count
        self._bytes += len(frame)

    def first(self) -> Batch | None:
        """Return the oldest batch, which stays; None when there is none.

        Raises:
            Unreadable: when it cannot be read for good. It is not first any more.
        """
        if not self._segments:
            return None
        segment = self._segments[0]
        try:
            with _opened(segment.path, _READ_ONLY) as file:
                frame = _frame_at(file, segment.at)
                body = b"" if frame is None else os.pread(file, frame.length, _body_at(segment.at))
        except (FileNotFoundError, NotADirectoryError):
            frame, body = None, b""
        if frame is None:
            self._drop(segment)
            raise Unreadable(segment.items, f"{segment.path.name} is gone or damaged")
        if crc32(body) != frame.crc:
            self._pass(segment, frame)
            raise Unreadable(frame.items, f"batch {frame.id} is damaged")
        self._first = frame
        return Batch(frame.id, frame.items, body)

    def done(self) -> None:
        """Forget the batch that `first` returned; it is not first any more, even if this raises."""
        segment, frame = self._segments[0], self._first
        if frame is None:
            return
        state_at = segment.at + _STATE_AT
        self._first = None
        self._pass(segment, frame)
        if segment.items:
            with _opened(segment.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC) as file:
                os.pwrite(file, _DONE, state_at)

    def refuse(self, batch: Batch, why: str, refused_ms: int) -> None:
        """Put a batch aside for a person to look at; the oldest such go when there are too many."""
        about = {"batch": batch.id, "items": batch.count, "refused_ms": refused_ms, "why": why}
        line = gzip.compress(msgspec.json.encode(about) + b"\n", mtime=0)
        _make(self._refused)
        path = self._refused / f"{batch.id}.gz"
        partial = path.with_suffix(".partial")
        with _opened(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW) as file:
            _write(file, line + batch.body)
            os.fsync(file)
        partial.replace(path)
        self._forget_refused()

    def _forget_refused(self) -> None:
        names = sorted(filter(_REFUSED.fullmatch, _names(self._refused)), reverse=True)
        used = 0
        for place, name in enumerate(names):
            path = self._refused / name
            with suppress(FileNotFoundError):
                used += path.stat().st_size
                if place and (place >= MAX_REFUSED or used > self._max_bytes):
                    path.unlink()

    def _last(self) -> _Segment:
        """Return the segment that grows, a new one if need be."""
        if self._grows and self._segments and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        if len(self._segments) >= self._max_segments:
            raise OSError(errno.ENOSPC, f"the spool has its {self._max_segments} segments")
        _make(self._waiting)
        self._newest_ns = max(time.time_ns(), self._newest_ns + 1)
        segment = _Segment(self._waiting / f"{self._newest_ns:020}.segment")
        with _opened(segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
            _sync(self._waiting)
        self._segments.append(segment)
        self._grows = True
        return segment

    def _pass(self, segment: _Segment, frame: _Frame) -> None:
        """Go on to the frame after the first one; a segment that has none is removed."""
        segment.at += _length(frame)
        segment.items -= frame.items
        if segment.at >= segment.size:
            self._drop(segment)

    def _drop(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        self._bytes -= segment.size
        _remove(segment.path)


def _scan(segment: _Segment) -> str | None:
    """Find out what of a segment is whole and what of that waits; return what is wrong with it."""
    with _opened(segment.path, _READ_ONLY) as file:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "is no file")
        while segment.size < about.st_size:
            frame = _frame_at(file, segment.size)
            if frame is None or segment.size + _length(frame) > about.st_size:
                return f"ends at byte {segment.size} of {about.st_size} with what is no batch"
            if frame.state == _DONE and not segment.items:
                segment.at += _length(frame)
            else:
                segment.items += frame.items
            segment.size += _length(frame)
    return None


def _frame(batch: Batch) -> bytes:
    header = _HEADER.pack(
        *(_MAGIC, _WAITING, batch.count, len(batch.body)),
        *(batch.id.encode(), crc32(batch.body), 0),
    )
    return header[:-4] + crc32(header[_SIGNED]).to_bytes(4, "big") + batch.body


def _frame_at(file: int, offset: int) -> _Frame | None:
    """Return the frame that begins at an offset, None if there is no such."""
    header = os.pread(file, _HEADER.size, offset)
    if len(header) < _HEADER.size:
        return None
    magic, state, count, length, name, crc, own_crc = _HEADER.unpack(header)
    if magic != _MAGIC or crc32(header[_SIGNED]) != own_crc:
        return None
    if not 0 < count <= MAX_BATCH_ITEMS or length > _MAX_BODY_BYTES or not _ID.fullmatch(name):
        return None
    return _Frame(state, count, length, name.decode(), crc)


def _length(frame: _Frame) -> int:
    return _HEADER.size + frame.length


def _body_at(offset: int) -> int:
    return offset + _HEADER.size


def _add(segment: _Segment, frame: bytes) -> None:
    with _opened(segment.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC) as file:
        try:
            os.lseek(file, segment.size, os.SEEK_SET)
            _write(file, frame)
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, segment.size)
            raise


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _make(directory: Path) -> None:
    """Make a directory that only the owner may look into; it is on the disk when this returns."""
    if not directory.is_dir():
        directory.mkdir(parents=True, mode=0o700)
        for made in (directory.parent, directory.parent.parent):
            with suppress(OSError):  # one that may not be read is not ours
                _sync(made)


def _sync(directory: Path) -> None:
    with _opened(directory, os.O_RDONLY | os.O_DIRECTORY) as file:
        os.fsync(file)


def _remove(path: Path) -> None:
    """Remove a file; one that cannot be is found again at the next start, and sent again."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
