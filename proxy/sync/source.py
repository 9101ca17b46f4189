"""The control plane as a source: disk first, then a stream of what changes, and fetches.

Three loops, and one that keeps the disk. `follow` holds the stream open and turns its events into a
*wanted pointer*, only ever the newest, and into changes that wait. `apply` applies these.
`keep_current` fetches whenever what is wanted is not what is held and no change that waits may lead
there, whenever a comparison of digests is due, and as a poll while there is no stream; being one
loop, it never fetches twice at once. None trusts the others to be alive.

    event               what is held                      then
    snapshot, delta     the digest                        nothing: they do not say how old it is
                        another                           wanted
    delta                                                 waits to be applied (`proxy.sync.deltas`)
    snapshot                                              no change that waits leads there
    heartbeat           the digest                        confirmed, as old as it says
                        another                           wanted
    heartbeat           a later revision of its epoch,    the replica is behind: leave it
                        or an epoch that outlives its
    304                                                   confirmed, as old as it says
    200                                                   offered to the holder, which asks for the
                                                          blobs that it needs (`proxy.sync.blobs`)

Rules:
- A change that was applied is as good as a fetch; after one that was not there is a fetch.
- Age is confirmed by the control plane alone. A stream that only looks alive confirms nothing, and
  without a heartbeat in `idle_s` it is left.
- Nothing that is raised ends a loop: known failures are counted by kind, others as `internal`.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import aiohttp
import msgspec

from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused, read_header
from proxy.contract.sync import (
    HEARTBEAT_S,
    Delta,
    Heartbeat,
    SnapshotPointer,
    parse_event_id,
)
from proxy.holder import Holder
from proxy.supervise import supervise
from proxy.sync.blobs import BlobLoader
from proxy.sync.client import ControlPlaneClient
from proxy.sync.deltas import Deltas
from proxy.sync.disk import keep_cache, start_from_disk
from proxy.sync.errors import Superseded, SyncError
from proxy.sync.events import Event, EventParser, EventTooLarge
from proxy.sync.pace import Gate, new_backoff, wait
from proxy.sync.settings import SyncSettings
from proxy.sync.status import SyncStatus
from proxy.upstream import Upstream

__all__ = ["run_control_plane_source"]

_log = logging.getLogger(__name__)

_STEADY_S = HEARTBEAT_S  # a stream that lived to its first heartbeat was no failure to connect
_MAX_RETRY_MS = 300_000  # a server-sent `retry` beyond five minutes would make polling the rule
_MAX_SPREAD_S = 30.0  # who is told to come back in a while comes back some time in that while
_SPREAD = 0.2  # intervals vary by this share, or sidecars started together would ask together


async def run_control_plane_source(
    holder: Holder, status: SyncStatus, session: aiohttp.ClientSession, settings: SyncSettings
) -> None:
    """Keep the holder current from the control plane; returns only by being cancelled.

    Run it under `supervise`. Once it runs, whatever is served already is kept until the control
    plane says otherwise.
    """
    stored = await start_from_disk(holder, status, settings)
    source = _Source(holder, status, ControlPlaneClient(session, settings), settings)
    loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("sync stream", source.follow),
        ("sync changes", source.apply),
        ("sync fetch", source.keep_current),
    ]
    if settings.cache_dir is not None:
        keep = partial(
            keep_cache, holder, status, settings, settings.cache_dir, source.taken, stored
        )
        loops.append(("sync cache", keep))

    def count(name: str, error: BaseException) -> None:
        status.fail("internal", f"{name}: {type(error).__name__}")

    # Each under its own supervisor: a task group takes a loop that ends by a stray CancelledError
    # for one that was meant to end.
    async with asyncio.TaskGroup() as tasks:
        for name, loop in loops:
            tasks.create_task(supervise(name, loop, on_error=count), name=name)


class _Source:
    """The state that the loops share."""

    def __init__(
        self,
        holder: Holder,
        status: SyncStatus,
        control_plane: ControlPlaneClient,
        settings: SyncSettings,
    ) -> None:
        self.taken = asyncio.Event()  # something else is served: for the cache
        self._holder = holder
        self._status = status
        self._control_plane = control_plane
        self._settings = settings
        self._gates = {address: Gate(settings) for address in settings.control_plane_urls}
        self._streams_from, self._fetches_from = self._upstream(), self._upstream()
        self._blobs = BlobLoader(self._fetch_blob, status, settings, self._superseded)
        self._taking = asyncio.Lock()  # what is held is about to change
        self._no_fetch = asyncio.Event()
        self._no_fetch.set()
        self._deltas = Deltas(holder, status, self._load_blobs, self._taking, self._no_fetch)
        self._vouched = ("", 0.0)  # a digest that was not held, and when it was known as current
        self._asked_once = asyncio.Event()
        self._news = asyncio.Event()  # the fetching loop has something new to think about
        self._wanted: SnapshotPointer | None = None
        self._restamped: tuple[str, int] | None = None  # asked for, though its content is held
        self._streaming = False
        self._stream_ended_at = -math.inf
        self._poll_at = self._reconcile_at = -math.inf
        self._poll_after_s = 0.0  # after a stream ended
        self._streams = 0

    def _upstream(self) -> Upstream:
        settings = self._settings
        return Upstream(
            settings.control_plane_urls,
            partial(new_backoff, settings),
            closed_s=lambda address: self._gates[address].closed_s(),
            draw=settings.draw or random.random,
            clock=asyncio.get_running_loop().time,
        )

    # the stream

    async def follow(self) -> None:
        """Hold a stream open for ever."""
        clock = asyncio.get_running_loop().time
        upstream = self._streams_from
        self._streaming = False
        # the first fetch finds out whether the key is good: one request, not two
        await self._asked_once.wait()
        upstream.prefer(self._fetches_from.address)
        while True:
            await upstream.ready()
            started = clock()
            parser = EventParser()
            failure: SyncError | None = None
            try:
                await self._stream(parser)
            except SyncError as error:
                failure = error
            except Exception as error:
                failure = _internal("the stream", error)
            self._stream_ended(failure)
            if clock() - started > _STEADY_S:
                upstream.succeeded()
            after_s = self._stay_away_s(failure, parser.retry_ms)
            upstream.move_on(after_s=after_s, spread_s=min(after_s, _MAX_SPREAD_S))

    async def _stream(self, parser: EventParser) -> None:
        """Follow one stream until the control plane ends it, having said when to come back.

        Raises:
            SyncError: it ended in any other way.
        """
        loop = asyncio.get_running_loop()
        idle_s = self._settings.idle_s
        address, seen = self._streams_from.address, self._holder.admission.newest
        async with self._control_plane.stream(address, self._held(), seen) as content:
            try:
                async with asyncio.timeout(idle_s) as deadline:
                    async for chunk in content.iter_any():
                        for event in parser.feed(chunk):
                            if self._take(event):
                                self._stream_lives()
                                deadline.reschedule(loop.time() + idle_s)
            except EventTooLarge as error:
                raise SyncError("protocol", str(error)) from None
            except TimeoutError:
                raise SyncError("idle", f"no heartbeat within {idle_s:g} s") from None
        if parser.retry_ms is None:
            raise SyncError("closed", "the control plane ended the stream")

    def _take(self, event: Event) -> bool:
        """Act on an event; return whether it shows that the stream is alive."""
        try:
            if event.name == "heartbeat":
                heartbeat = msgspec.json.decode(event.data, type=Heartbeat)
                self._heartbeat(heartbeat)
            elif event.name == "snapshot":
                self._deltas.give_up("gap")
                self._point(msgspec.json.decode(event.data, type=SnapshotPointer))
            elif event.name == "delta":
                self._delta(event)
            else:
                return False
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise SyncError("protocol", f"event {event.name!r}: {error}") from None
        return True

    def _delta(self, event: Event) -> None:
        try:
            delta = msgspec.json.decode(event.data, type=Delta)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            # It told of a change, and nobody knows of which.
            self._status.deltas["refused"] += 1
            self._reconcile_at = self._poll_at = -math.inf
            self._news.set()
            raise
        epoch = delta.header.epoch if delta.header is not None else self._epoch_of(event)
        self._point(SnapshotPointer(epoch, delta.to, delta.digest), news=False)
        self._deltas.add(epoch, delta, len(event.data))

    def _epoch_of(self, event: Event) -> str:
        """Return the epoch that an event's id names, else the one held."""
        named, held = parse_event_id(event.id), self._held()
        if named is not None:
            return named[0]
        return held.epoch if held is not None else ""

    def _heartbeat(self, heartbeat: Heartbeat) -> None:
        held = self._held()
        pointer = SnapshotPointer(heartbeat.epoch, heartbeat.revision, heartbeat.digest)
        if held is not None and _behind(pointer, held):
            raise SyncError("behind", f"revision {pointer.revision}, {held.revision} is held")
        if self._holder.outlives(heartbeat.epoch, heartbeat.verified_age_ms):
            raise SyncError("behind", f"epoch {heartbeat.epoch[:80]} is over")
        if not self._holder.confirm(pointer.digest, heartbeat.verified_age_ms):
            now = asyncio.get_running_loop().time()
            self._vouched = (pointer.digest, now - heartbeat.verified_age_ms / 1000)
        self._point(pointer)

    def _point(self, pointer: SnapshotPointer, *, news: bool = True) -> None:
        """Note what is current; without `news` nobody has to do anything about it yet."""
        held = self._held()
        if held is not None and pointer.digest == held.digest:
            newer = (pointer.epoch, pointer.revision) != (held.epoch, held.revision)
            if not newer or _older(pointer, held) or self._restamped == _stamp(pointer):
                self._wanted = None
                return
        elif held is not None and _behind(pointer, held):
            return
        if pointer != self._wanted:
            self._wanted = pointer
            if news:
                self._news.set()

    def _stream_lives(self) -> None:
        if self._streaming:
            return
        self._streaming = True
        self._streams += 1
        if self._streams > 1:
            self._status.reconnects += 1
        self._status.connected()
        self._gates[self._streams_from.address].succeeded()
        self._fetches_from.prefer(self._streams_from.address)
        self._news.set()
        _log.info("the control plane's stream is up")

    def _stream_ended(self, failure: SyncError | None) -> None:
        self._status.connected_since = None
        if self._streaming:
            self._streaming = False
            self._stream_ended_at = asyncio.get_running_loop().time()
            self._news.set()
        if failure is None:
            _log.info("the control plane's stream ended in order")
            return
        self._gates[self._streams_from.address].failed(failure)
        self._status.fail(failure.kind, failure.detail)
        if self._status.state == "streaming":
            self._status.enter("disconnected")
        _log.warning(
            "no stream from the control plane at %s: %s", self._streams_from.address, failure
        )

    def _stay_away_s(self, failure: SyncError | None, retry_ms: int | None) -> float:
        """Return for how long a replica gets no request for a stream, at least."""
        if failure is not None and failure.unsupported:
            return self._interval_s(self._settings.stream_retry_interval_s)
        return min(retry_ms or 0, _MAX_RETRY_MS) / 1000

    # the changes

    async def apply(self) -> None:
        """Apply what the stream tells, for ever."""
        while True:
            if await self._deltas.apply():
                self._blobs.settled()
                self.taken.set()
                self._confirm_vouched()
            if not self._satisfied():
                self._news.set()

    def _confirm_vouched(self) -> None:
        """Take a heartbeat that named what a change led to, and came before it was applied."""
        digest, at_s = self._vouched
        age_s = max(0.0, asyncio.get_running_loop().time() - at_s)
        self._holder.confirm(digest, round(age_s * 1000))

    # the fetches

    async def keep_current(self) -> None:
        """Fetch when there is reason to, for ever."""
        upstream, settings = self._fetches_from, self._settings
        refused = new_backoff(
            settings, settings.denied_backoff_base_s, settings.denied_backoff_cap_s
        )
        while True:
            await self._until_due()
            await upstream.ready()
            asked_for, after_s = self._wanted, 0.0
            try:
                await self._fetch()
            except Superseded:
                continue  # its blobs that came are kept, and mostly needed for the newer one too
            except SyncError as error:
                failure = error
                if error.kind == "blob":  # as a snapshot that is refused: it will be the same
                    after_s = refused.next_s()
            except SnapshotRefused as error:
                failure, after_s = SyncError("refused", str(error)), refused.next_s()
            except Exception as error:
                failure = _internal("fetching a snapshot", error)
            else:
                self._fetch_succeeded()
                self._asked_once.set()
                if self._satisfied() or self._deltas.pending:
                    upstream.succeeded()
                    refused.reset()
                    continue
                # a replica answered that has not heard of it yet
                upstream.move_on()
                await self._pause(asked_for)
                continue
            self._fetch_failed(failure)
            self._asked_once.set()
            upstream.move_on(after_s=after_s)
            await self._pause(asked_for)

    async def _fetch(self) -> None:
        held, wanted = self._held(), self._wanted
        self._no_fetch.clear()
        try:
            fetched = await self._control_plane.fetch(self._fetches_from.address, held)
            if fetched.body is not None:
                await self._offer(fetched.body, fetched.verified_age_ms, held)
            elif held is not None:
                self._holder.confirm(held.digest, fetched.verified_age_ms)
        finally:
            self._no_fetch.set()
        if held is not None and wanted is not None and wanted.digest == held.digest:
            self._restamped = _stamp(wanted)

    async def _offer(self, body: bytes, age_ms: int, asked_with: SnapshotHeader | None) -> None:
        async with self._taking:
            if self._overtaken(body, asked_with):
                return
            await self._holder.offer(body, "control-plane", blobs=self._load_blobs, age_ms=age_ms)
        self._blobs.settled()
        self.taken.set()

    def _overtaken(self, body: bytes, asked_with: SnapshotHeader | None) -> bool:
        """Return whether changes led beyond a snapshot while it was on its way."""
        held = self._held()
        if held is None or held is asked_with:
            return False
        try:
            header = read_header(body)
        except SnapshotRefused:
            return False
        return header.epoch == held.epoch and header.revision < held.revision

    async def _load_blobs(
        self, header: SnapshotHeader, needed: Mapping[str, int], held: Mapping[str, bytes]
    ) -> Mapping[str, bytes]:
        # The key is good. This may take long, and only the stream tells of something newer.
        self._asked_once.set()
        return await self._blobs.load(header, needed, held)

    def _fetch_blob(self, digest: str, max_bytes: int) -> Awaitable[bytes]:
        return self._control_plane.fetch_blob(self._fetches_from.address, digest, max_bytes)

    def _superseded(self, header: SnapshotHeader) -> bool:
        """Return whether the stream named something else as current, and nothing older."""
        wanted = self._wanted
        if wanted is None or wanted.digest == header.digest:
            return False
        return not _older(wanted, header)

    def _fetch_succeeded(self) -> None:
        self._gates[self._fetches_from.address].succeeded()
        now = asyncio.get_running_loop().time()
        self._poll_after_s = self._interval_s(self._settings.poll_interval_s)
        self._poll_at = now + self._poll_after_s
        self._reconcile_at = now + self._interval_s(self._settings.reconcile_interval_s)
        if not self._streaming:
            self._status.enter("polling")

    def _fetch_failed(self, failure: SyncError) -> None:
        address = self._fetches_from.address
        self._gates[address].failed(failure)
        self._status.fail(failure.kind, failure.detail)
        if not self._streaming:
            self._status.enter("disconnected")
        _log.warning("no snapshot from the control plane at %s: %s", address, failure)

    def _satisfied(self) -> bool:
        """Return whether what is held is what is wanted, or later; then nothing is wanted more."""
        held, wanted = self._held(), self._wanted
        if wanted is None:
            return True
        if held is None:
            return False
        later = wanted.epoch == held.epoch and wanted.revision <= held.revision
        if wanted.digest == held.digest or later:
            self._wanted = None
            return True
        return False

    async def _until_due(self) -> None:
        """Wait until something is wanted that no change leads to, or asking is due anyway."""
        clock = asyncio.get_running_loop().time
        while self._wanted is None or self._deltas.pending:
            left_s = self._due_at() - clock()
            if left_s <= 0:
                return
            await wait(self._news, left_s)

    def _due_at(self) -> float:
        """Return when to ask though nothing is wanted."""
        if self._streaming:
            return self._reconcile_at
        # not at once when a stream is lost: thousands may have lost theirs
        return max(self._poll_at, self._poll_after_s + self._stream_ended_at)

    async def _pause(self, asked_for: SnapshotPointer | None) -> None:
        """Wait before asking again; less when something else is wanted meanwhile, or streams."""
        clock = asyncio.get_running_loop().time
        delay_s = self._fetches_from.wait_s()
        until = clock() + delay_s
        floor_s = min(delay_s, self._settings.backoff_base_s)
        streaming = self._streaming
        await asyncio.sleep(floor_s)
        while (left_s := until - clock()) > 0:
            another = self._wanted not in (None, asked_for) and not self._deltas.pending
            if another or self._streaming > streaming:
                self._fetches_from.hurry()
                return
            await wait(self._news, left_s)

    def _interval_s(self, interval_s: float) -> float:
        draw = new_backoff(self._settings, 1.0, 1.0).next_s
        return interval_s * (1 - _SPREAD / 2 + _SPREAD * draw())

    def _held(self) -> SnapshotHeader | None:
        served = self._holder.served
        return served.header if served is not None else None


def _stamp(pointer: SnapshotPointer) -> tuple[str, int]:
    return pointer.epoch, pointer.revision


def _older(pointer: SnapshotPointer, held: SnapshotHeader) -> bool:
    return pointer.epoch == held.epoch and pointer.revision < held.revision


def _behind(pointer: SnapshotPointer, held: SnapshotHeader) -> bool:
    return _older(pointer, held) and pointer.digest != held.digest


def _internal(what: str, error: Exception) -> SyncError:
    """Return the failure that an exception nobody expected is; the log has all of it."""
    _log.error("%s failed unexpectedly", what, exc_info=error)
    return SyncError("internal", f"{what}: {type(error).__name__}")
