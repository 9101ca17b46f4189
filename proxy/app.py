"""The composition root of the sidecar: makes every part, in order, and ends them in reverse.

Sockets are bound first, so that a busy port is told before anything else happens. Then the parts
are entered into one stack; leaving it is the drain:

    readiness off, each answer ends its connection -> (drain_s) -> evaluation port: no new
    connections, idle ones closed, requests under way finished -> sync and other background work
    cancelled -> goodbye to the control plane -> reports sent or put on disk -> admin port -> HTTP
    session

A native sidecar in Kubernetes may have 2 s from SIGTERM; without `drain_s` it takes less.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from proxy import tls  # before whatever imports aiohttp

# isort: split
import uvloop
from aiohttp import web

from proxy import __version__, logs
from proxy.admin import AdminHandler, create_admin_app
from proxy.admission import Admission
from proxy.contract.settings import SettingsError, add_arguments, secrets
from proxy.contract.variables import unknown_variables
from proxy.garbage import Undertaker, sweep, tame_collector
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.listen import CannotListen, bind, bind_unix, connections_for, urls
from proxy.metrics import Metrics, measure_lag
from proxy.ofrep.answering import Answering
from proxy.ofrep.cors import Cors
from proxy.ofrep.current import Current
from proxy.ofrep.front import FrontDoor, Limits
from proxy.ofrep.limits import RateLimit
from proxy.ofrep.port import MAX_LINE_BYTES, serving
from proxy.parts import (
    Work,
    admin_settings,
    make_reports,
    make_source,
    make_streams,
    make_teller,
    ofrep_settings,
)
from proxy.reporting.channel import close_all
from proxy.sessions import make_session
from proxy.settings import ProxySettings
from proxy.supervise import supervise
from proxy.sync import SyncStatus
from proxy.trust import Trust

__all__ = ["COMMAND", "Running", "running", "serve"]

_log = logging.getLogger(__name__)

_FINISH_S = 1.0  # requests under way take microseconds; only bodies that trickle in are cut off
_LAST_REPORT_S = 0.5
_LAST_WORD_S = 0.25
_LOOK_FOR_KEYS_S = 0.1


@dataclass(frozen=True)
class Running:
    """A sidecar that listens: its addresses, and the parts that a caller may look at."""

    ofrep: str
    admin: str
    holder: Holder
    lifecycle: Lifecycle
    fronts: tuple[FrontDoor, ...]
    refusal: "asyncio.Future[str]"
    """Gets a result, what to change, when the sidecar must not go on; else it stays pending."""

    def stop(self) -> None:
        """Be unready, and tell clients with their answers to go elsewhere; still answer all."""
        self.lifecycle.stopping.set()
        for front in self.fronts:
            front.drain()


@asynccontextmanager
async def running(settings: ProxySettings) -> AsyncIterator[Running]:
    """Run a sidecar while the context lasts.

    Raises:
        CannotListen: when an address cannot be bound.
        SettingsError: when the settings of a part contradict each other.
    """
    async with AsyncExitStack() as stack:
        ofrep = _bound(stack, bind(settings.host, settings.port, "--"))
        admin = _bound(stack, bind(settings.admin_host, settings.admin_port, "--admin-"))
        unix = [] if settings.unix is None else _bound(stack, [bind_unix(settings.unix)])

        lifecycle = Lifecycle()
        trust = Trust(settings.verify_keys) if settings.verify_keys else None
        admission = Admission(trust, settings.verify_environment)
        holder = Holder(admission=admission, max_age_s=settings.max_age_s)
        status, current = SyncStatus(), Current()
        metrics = Metrics(holder, status, current)
        holder.subscribe(current.swapped)
        holder.subscribe(metrics.swapped)
        undertaker = Undertaker()
        holder.subscribe(undertaker.swapped)

        if any(urlsplit(url).scheme == "https" for url in settings.control_plane_url):
            await asyncio.to_thread(tls.read_authorities)
        session = await stack.enter_async_context(make_session())
        reports = make_reports(settings, session, current)
        holder.subscribe(reports.usage.swapped)
        metrics.watch(reports.exposures, reports.events, reports.channels)
        keys_used: dict[str, int] = {}
        teller = make_teller(settings, session, holder, status, lifecycle, keys_used)

        admin_app = create_admin_app(
            AdminHandler(
                admin_settings(settings),
                holder=holder,
                status=status,
                lifecycle=lifecycle,
                metrics=metrics,
                channels=reports.channels,
            )
        )
        await _serve(stack, admin_app, admin, settings)

        work: dict[str, Work] = {
            "sync": make_source(settings, holder, status, session),
            "watching age": holder.watch_age,
            "loop lag": lambda: measure_lag(metrics),
            "letting go": undertaker.run,
            "collecting": sweep,
        }
        stack.push_async_callback(close_all, reports.channels, _LAST_REPORT_S)
        work |= {channel.name: channel.run for channel in reports.channels}
        if teller is not None:
            holder.subscribe(teller.swapped)
            metrics.watch_standing(teller)
            stack.push_async_callback(teller.close, _LAST_WORD_S)
            work["standing"] = teller.run
        for name, each in work.items():
            await _supervised(stack, name, each, metrics)

        limit = RateLimit(settings.rate_limit)
        cors = Cors(settings.cors_origins, settings.cors_headers)
        max_connections = connections_for(settings.max_connections)
        if max_connections < settings.max_connections:
            _log.warning(
                "--max-connections %d: only %d are possible, the limit of open files is too low",
                settings.max_connections,
                max_connections,
            )
        limits = Limits(max_connections, settings.keepalive_timeout_s)
        fronts: list[FrontDoor] = []
        for sockets, is_open in (
            (ofrep, settings.loopback_only or settings.allow_anonymous),
            (unix, True),  # who may open the socket is the file system's to say
        ):
            asked = ofrep_settings(settings, open_without_keys=is_open)
            streams = make_streams(settings, asked.access, current, metrics)
            if streams is not None:
                holder.subscribe(streams.swapped)
                await _supervised(stack, "event streams", streams.run, metrics)
            answering = Answering(
                asked,
                current=current,
                holder=holder,
                metrics=metrics,
                recorder=reports.exposures,
                events=reports.events,
                cors=cors,
                limit=limit,
                streams=streams,
                keys_used=keys_used,
            )
            port = serving(answering, lifecycle, sockets, limits, finish_s=_FINISH_S)
            front = await stack.enter_async_context(port)
            holder.subscribe(front.swapped)
            await _supervised(stack, "connections", front.watch, metrics)
            fronts.append(front)

        refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        watch = asyncio.create_task(_look_for_keys(settings, holder, refusal), name="first keys")
        stack.push_async_callback(_end, watch)
        sidecar = Running(urls(ofrep)[0], urls(admin)[0], holder, lifecycle, tuple(fronts), refusal)
        stack.callback(sidecar.stop)
        yield sidecar


async def serve(settings: ProxySettings) -> int:
    """Run a sidecar until SIGTERM or SIGINT; return the exit status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    stopped = asyncio.create_task(stop.wait())
    try:
        async with running(settings) as sidecar:
            tame_collector()
            if not _announce(settings, sidecar):
                return 1
            ends: set[asyncio.Future[Any]] = {stopped, sidecar.refusal}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if sidecar.refusal.done():
                _log.error("%s", sidecar.refusal.result())
                return 2
            _log.info("stopping")
            sidecar.stop()
            await asyncio.sleep(settings.drain_s)
    except CannotListen as error:
        sys.stderr.write(f"matrixflag proxy: {error}\n")
        return 1
    finally:
        stopped.cancel()
    _log.info("stopped")
    return 0


class _ProxyCommand:
    help = "run the sidecar: answer OFREP evaluations on this machine"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare one flag for each setting."""
        add_arguments(parser, ProxySettings)

    def run(self, args: argparse.Namespace) -> int:
        """Serve until told to stop."""
        try:
            settings = ProxySettings.load(os.environ, vars(args))
            logs.set_up(settings.log_level, settings.log_format, secrets(settings))
            for text in unknown_variables(os.environ):
                _log.warning("%s", text)
            return uvloop.run(serve(settings))
        except SettingsError as error:
            for problem in [*error.problems, *unknown_variables(os.environ)]:
                sys.stderr.write(f"matrixflag proxy: {problem}\n")
            return 2


COMMAND = _ProxyCommand()


def _bound(stack: AsyncExitStack, sockets: list[socket.socket]) -> list[socket.socket]:
    for each in sockets:
        stack.callback(each.close)
    return sockets


async def _serve(
    stack: AsyncExitStack,
    app: web.Application,
    sockets: Sequence[socket.socket],
    settings: ProxySettings,
) -> None:
    """Serve an application until the stack is left; then finish what is under way."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=settings.keepalive_timeout_s,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        shutdown_timeout=_FINISH_S,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    for each in sockets:
        await web.SockSite(runner, each).start()


async def _supervised(stack: AsyncExitStack, name: str, work: Work, metrics: Metrics) -> None:
    task = asyncio.create_task(supervise(name, work, on_error=metrics.background_failed), name=name)
    stack.push_async_callback(_end, task)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _look_for_keys(
    settings: ProxySettings, holder: Holder, refusal: "asyncio.Future[str]"
) -> None:
    """Watch for keys, and say it when that fails: nobody waits for this task."""
    try:
        await _watch_for_keys(settings, holder, refusal)
    except Exception:
        _log.exception("looking for evaluation keys failed; without any, evaluations get 401")


async def _watch_for_keys(
    settings: ProxySettings, holder: Holder, refusal: "asyncio.Future[str]"
) -> None:
    """Refuse to go on where other machines could evaluate without any key.

    Only the start is refused: when the last key is deleted later, evaluations answer 401 and the
    process stays. A snapshot from disk gets the grace to be replaced by a fresh one.
    """
    if settings.loopback_only or settings.allow_anonymous:
        return
    deadline_s = asyncio.get_running_loop().time() + settings.startup_grace_s
    served = await holder.wait_first(settings.startup_grace_s)
    while served is not None and not served.compiled.keys:
        fresh = served.source != "disk"
        if fresh or asyncio.get_running_loop().time() >= deadline_s:
            refusal.set_result(
                f"--host {','.join(settings.host)}: other machines could evaluate, and the"
                " environment has no evaluation keys; create a server or client key, listen on"
                " 127.0.0.1, or say --allow-anonymous"
            )
            return
        await asyncio.sleep(_LOOK_FOR_KEYS_S)
        served = holder.served


def _announce(settings: ProxySettings, sidecar: Running) -> bool:
    """Say where it listens, to the log and to the file that was asked for; False if it cannot."""
    addresses = {"ofrep": sidecar.ofrep, "admin": sidecar.admin}
    _log.info(
        "matrix-flag %s listens: evaluations at %s, probes and metrics at %s",
        __version__,
        sidecar.ofrep,
        sidecar.admin,
        extra={"fields": addresses},
    )
    if settings.ready_file is not None:
        partial_file = settings.ready_file.with_name(settings.ready_file.name + ".new")
        try:
            partial_file.write_text(json.dumps(addresses) + "\n")
            partial_file.replace(settings.ready_file)
        except OSError as error:
            _log.error("--ready-file %s: %s", settings.ready_file, error.strerror)
            return False
    return True
