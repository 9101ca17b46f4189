"""The composition root: what the control plane consists of, in the order it depends on itself.

    settings -> metrics -> loop lag -> limits -> Redis -> replica -> keys, features, sync, reports,
    fleet -> routes

`create_app` makes the API, `create_metrics_app` the small one beside it, `serve` runs both until it
is told to stop, and `COMMAND` is `matrixflag control-plane`. Only this module sees all others.

Stopping: listening ends, streams of sidecars are ended so that they go to another replica, requests
under way finish, then everything is left in reverse order.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from time import monotonic

import uvloop
from aiohttp import web
from prometheus_client import disable_created_metrics

from control_plane import health, logs
from control_plane.access import routes as access_routes
from control_plane.access.guard import KeyLookup, RequestGuard
from control_plane.access.last_used import LastUsed
from control_plane.access.model import KeyRecord
from control_plane.access.service import KeyService
from control_plane.access.store import LastUsedStore
from control_plane.audit import routes as audit_routes
from control_plane.audit.log import AuditLog, Retention
from control_plane.environments import routes as environment_routes
from control_plane.evaluation import routes as evaluation_routes
from control_plane.events import routes as event_routes
from control_plane.events.service import EventService
from control_plane.exposures import routes as exposure_routes
from control_plane.exposures.service import ExposureService
from control_plane.files import connections_for
from control_plane.flags import routes as flag_routes
from control_plane.fleet import routes as fleet_routes
from control_plane.fleet.service import FleetService
from control_plane.fleet.store import FleetStore
from control_plane.garbage import sweep, tame_collector
from control_plane.imports import routes as import_routes
from control_plane.keys import (
    AGGREGATION,
    ASSETS,
    AUDIT,
    CSRF,
    EVENTS,
    EXPOSURES,
    FACTORS,
    FLEET,
    KEYS,
    LAG,
    LAST_USED,
    LIMITER,
    METRICS,
    OPENAPI,
    REPLICA,
    SETTINGS,
    SSO,
    STARTED_AT,
    SYNC,
    UNITS,
    USAGE,
    USERS,
)
from control_plane.lag import LoopLag
from control_plane.limits.credentials import CountingGuard
from control_plane.limits.model import Kind as RequestKind
from control_plane.limits.model import kind_of
from control_plane.limits.service import RateLimiter
from control_plane.limits.store import QuotaStore
from control_plane.metrics import EnvironmentFigures, Figures, Metrics, RedisFigures
from control_plane.publishing import routes as sync_routes
from control_plane.publishing.replica import Replica
from control_plane.publishing.service import SyncService
from control_plane.publishing.signing import Signer, unsigned
from control_plane.publishing.streams import Pace
from control_plane.reports.aggregation import Aggregation
from control_plane.reports.model import Kind, Place
from control_plane.segments import routes as segment_routes
from control_plane.segments.units import UnitService
from control_plane.settings import EVERYTHING, FIRST_ADMIN, Settings
from control_plane.sso import routes as sso_routes
from control_plane.sso.oidc import OidcConfig, Provider
from control_plane.sso.people import VouchedPeople
from control_plane.sso.service import SsoService
from control_plane.sso.store import SsoStore
from control_plane.store.connection import Connections, RedisError, RedisLimits
from control_plane.store.eviction import evicting
from control_plane.store.reports import ReportStore
from control_plane.store.topology import Servers
from control_plane.supervise import Failed, stop, supervise
from control_plane.times import utc_now
from control_plane.usage import routes as usage_routes
from control_plane.usage.service import UsageService
from control_plane.users import factor_routes
from control_plane.users import routes as user_routes
from control_plane.users.attempts import Attempts
from control_plane.users.challenges import Challenges
from control_plane.users.directory import Directory
from control_plane.users.elsewhere import Elsewhere
from control_plane.users.factors import FactorService
from control_plane.users.passkeys import Passkeys
from control_plane.users.passwords import Passwords
from control_plane.users.places import Places
from control_plane.users.refusals import Refusals
from control_plane.users.sealing import Sealer
from control_plane.users.service import Lifetimes, UserService
from control_plane.users.store import UserStore
from control_plane.users.tokens import TokenMaker
from control_plane.web import pages
from control_plane.web.address import PROXIES, Proxies
from control_plane.web.assets import Asset, Assets
from control_plane.web.browsers import protect
from control_plane.web.cookies import Csrf
from control_plane.web.cors import Cors
from control_plane.web.listening import Runner
from control_plane.web.openapi import describe
from control_plane.web.problem import errors, mark_answer
from control_plane.web.routing import Guard, Limit, Route, register
from control_plane.web.timing import timing
from proxy import __version__
from proxy.contract.parsers import is_loopback
from proxy.contract.settings import SettingsError, add_arguments, secrets
from proxy.contract.variables import unknown_variables

__all__ = ["COMMAND", "ROUTES", "create_app", "create_metrics_app", "make_runner", "run", "serve"]

logger = logging.getLogger(__name__)

ROUTES: tuple[Route, ...] = (
    *flag_routes.ROUTES,
    *evaluation_routes.ROUTES,
    *import_routes.ROUTES,
    *segment_routes.ROUTES,
    *environment_routes.ROUTES,
    *audit_routes.ROUTES,
    *access_routes.ROUTES,
    *user_routes.ROUTES,
    *factor_routes.ROUTES,
    *sso_routes.ROUTES,
    *sync_routes.ROUTES,
    *exposure_routes.ROUTES,
    *event_routes.ROUTES,
    *usage_routes.ROUTES,
    *fleet_routes.ROUTES,
    *health.ROUTES,
    *pages.ROUTES,
)
"""Every endpoint there is."""

_ABOUT = """Defines feature flags and publishes them to sidecars.

Endpoints take `?project=default&environment=production`; both are the defaults. A flag's `ETag` is
its version: send it back as `If-Match` to change only what you have seen. Lists are pages: pass
`next_cursor` on as `cursor`. Errors are `application/problem+json` with a `code` and with every
problem of the document at once."""

_SWEEP_SESSIONS_S = 600.0  # between two looks for sessions that are over

_RATE_CONNECTIONS = 8  # some 10,000 scripts a second each, and soon made when requests burst

_IN_LINE_S = 3.0  # for the writes before one's own, on top of what Redis may take

_HEAD_START_S = 0.5  # a fleet that comes back at once would meet 503 in it, and stay away longer
_STILL_LOADING_S = 5.0  # between two log lines that say what a start is waiting for


def create_app(settings: Settings) -> web.Application:
    """Return the API, not yet started; Redis is not asked for anything before it is."""
    app = web.Application(middlewares=[])
    cors = Cors(settings.cors_origins)
    app[SETTINGS] = settings
    app[PROXIES] = Proxies(settings.trusted_proxies, settings.forwarded_header)
    app[STARTED_AT] = monotonic()
    app[METRICS] = Metrics()
    app[ASSETS] = Assets()
    app[OPENAPI] = _description()

    def keys() -> KeyLookup:
        return app[REPLICA]

    csrf = app[CSRF] = Csrf(settings.secret_key)
    guard: Guard = RequestGuard(
        admin_token=settings.admin_token,
        opens_everything=settings.admin_token_use == EVERYTHING,
        dev=settings.dev,
        keys=keys,
        people=lambda: app[USERS],
        csrf=csrf,
        # A wildcard opens answers to pages; it does not make their requests the local user's.
        allows_origin=lambda origin: origin in settings.cors_origins,
        allowed_networks=tuple(map(str, settings.allowed_networks)),
        denied_networks=tuple(map(str, settings.denied_networks)),
        max_age_s=settings.access_max_age_s,
        used=lambda key: app[LAST_USED].note(key),
    )
    if settings.rate_limit_credentials and not settings.dev:
        guard = CountingGuard(guard, settings.rate_limit_credentials, app[METRICS].rate_limited)
    app.middlewares.extend((timing, errors, cors.preflight))
    app.on_response_prepare.extend((mark_answer, protect(settings.hsts_s), cors.mark))
    app.on_shutdown.append(_end_streams)
    app.cleanup_ctx.append(_wire)

    def limit_of(route: Route) -> Limit | None:
        kind = kind_of(route)
        if kind is None or settings.dev:
            return None
        return lambda request: app[LIMITER](request, kind)

    register(app, ROUTES, guard, limit_of)
    return app


@cache
def _description() -> Asset:
    """Return `/openapi.json`, which no setting changes: made once, as it takes most of a start."""
    document = describe(ROUTES, title="Matrix Flag", version=__version__, description=_ABOUT)
    return Asset.of("application/json", json.dumps(document).encode())


async def _wire(app: web.Application) -> AsyncIterator[None]:
    """Make everything that needs the event loop, each after what it depends on."""
    settings, metrics = app[SETTINGS], app[METRICS]
    limits = _redis_limits(settings)
    async with AsyncExitStack() as stack:
        app[LAG] = await stack.enter_async_context(LoopLag(metrics.background_failed))
        app[LIMITER] = _wire_limits(app, stack, limits)
        sign = Signer(settings.signing_keys) if settings.signing_keys else unsigned
        failed = metrics.background_failed
        replica = Replica(settings.redis_url, limits, metrics.observe_redis, sign, failed)
        app[REPLICA] = await stack.enter_async_context(replica)
        days = settings.service_key_max_days
        app[KEYS] = KeyService(replica, service_life=timedelta(days=days) if days else None)
        retention = Retention(settings.audit_days)
        log = AuditLog(replica, retention, settings.signing_keys, failed)
        app[AUDIT] = await stack.enter_async_context(log)
        app[USERS], app[FACTORS] = await _wire_people(app, stack, limits, failed)
        app[UNITS] = UnitService(replica)
        sync = SyncService(replica, _pace(settings), failed=failed)
        app[SYNC] = await stack.enter_async_context(sync)
        app[LAST_USED] = await _wire_last_used(app, stack, limits, failed)
        connections = Connections(
            settings.exposures_redis_url or settings.redis_url, limits, metrics.observe_redis
        )
        stack.push_async_callback(connections.close)
        aside = ThreadPoolExecutor(1, "reports")
        stack.callback(aside.shutdown, wait=False)
        reports = ReportStore(connections, aside=aside)
        app[AGGREGATION] = await _wire_reports(app, stack, reports, failed)
        app[FLEET] = await stack.enter_async_context(
            FleetService(
                replica,
                FleetStore(connections),
                missing_ms=round(settings.fleet_missing_s * 1000),
                failed=failed,
            )
        )
        servers = {"definitions": replica.servers, "exposures": connections.servers}
        metrics.show(lambda: _figures(app, servers))
        yield


async def _wire_people(
    app: web.Application, stack: AsyncExitStack, limits: RedisLimits, failed: Failed
) -> tuple[UserService, FactorService]:
    """Make what knows people, what they prove themselves with, and their sessions."""
    settings, metrics = app[SETTINGS], app[METRICS]
    connections = Connections(settings.redis_url, limits, metrics.observe_redis)
    stack.push_async_callback(connections.close)
    store = UserStore(connections)
    passwords = Passwords()
    stack.callback(passwords.close)
    lifetimes = Lifetimes(
        round(settings.session_days * 86_400), round(settings.session_idle_days * 86_400)
    )
    directory = Directory(store, failed)
    elsewhere = await _wire_ldap(settings, directory, metrics, stack)
    sealer = Sealer(settings.secret_key)
    challenges = Challenges(sealer, utc_now)
    passkeys = Passkeys(settings.public_url, settings.cors_origins)
    users = UserService(
        directory,
        store,
        Attempts(store, Refusals(store.steps)),
        passwords,
        TokenMaker(settings.secret_key),
        challenges,
        passkeys,
        Places(app[REPLICA]),
        lifetimes,
        settings.require_second_factor,
        elsewhere,
        keys_of=lambda actor: [f"key:{key.id}" for key in app[KEYS].made_by(actor)],
        provider=settings.oidc_issuer,
    )
    factors = FactorService(users, directory, store, passwords, sealer, challenges, passkeys)

    async def begin_and_sweep() -> None:
        await directory.loaded.wait()
        if settings.admin_email and await users.ensure_admin(
            settings.admin_email, settings.admin_password
        ):
            logger.info("%s is the first administrator", settings.admin_email)
        if not users.has_admin():
            logger.warning("there is no administrator of all projects: %s", _first_by(settings))
        elif settings.admin_token and settings.admin_token_use == FIRST_ADMIN:
            logger.warning(
                "ADMIN_TOKEN is set and good for nothing any more: there is an administrator, who "
                "logs in; take it from the settings"
            )
        while True:
            await users.sweep()
            await factors.reseal()
            await asyncio.sleep(_SWEEP_SESSIONS_S)

    app[SSO] = SsoService(
        await _wire_provider(settings, stack),
        VouchedPeople(directory, settings.oidc_roles),
        users,
        SsoStore(connections),
        settings.secret_key,
    )
    work = supervise("sessions", begin_and_sweep, failed)
    task = asyncio.create_task(work, name="sessions")
    await stack.enter_async_context(directory)
    stack.push_async_callback(stop, task)
    return users, factors


def _first_by(settings: Settings) -> str:
    """Return how the first administrator comes to be, for the log."""
    if settings.admin_token:
        return "`matrixflag admin create --email ADDRESS` makes one, with ADMIN_TOKEN"
    if settings.oidc_issuer or settings.ldap_url:
        return "the first is who logs in from the other system with that role"
    return "set ADMIN_TOKEN, with which `matrixflag admin create` makes one"


async def _wire_last_used(
    app: web.Application, stack: AsyncExitStack, limits: RedisLimits, failed: Failed
) -> LastUsed:
    """Make what knows when keys were used last."""
    connections = Connections(app[SETTINGS].redis_url, limits, app[METRICS].observe_redis)
    stack.push_async_callback(connections.close)
    replica, streams = app[REPLICA], app[SYNC].streams

    def in_use() -> Iterator[KeyRecord]:
        for key_hash in streams.keys:
            key = replica.find_key(key_hash)
            if key is not None:
                yield key

    last_used = LastUsed(LastUsedStore(connections), in_use)
    work = supervise("keys used", last_used.run, failed)
    stack.push_async_callback(last_used.write)
    stack.push_async_callback(stop, asyncio.create_task(work, name="keys used"))
    return last_used


def _wire_limits(app: web.Application, stack: AsyncExitStack, limits: RedisLimits) -> RateLimiter:
    """Make what counts requests, with connections of its own: it waits behind no other command."""
    settings, metrics = app[SETTINGS], app[METRICS]
    few = dataclasses.replace(limits, connections=_RATE_CONNECTIONS, retries=0)
    connections = Connections(settings.redis_url, few, metrics.observe_redis)
    stack.push_async_callback(connections.close)
    return RateLimiter(
        QuotaStore(connections),
        {
            RequestKind.READ: settings.rate_limit_read,
            RequestKind.WRITE: settings.rate_limit_write,
            RequestKind.LOGIN: settings.rate_limit_login,
        },
        settings.rate_limit_address,
        wait_s=settings.rate_limit_wait_s,
        fail_open=settings.rate_limit_unknown == "allow",
        refused=metrics.rate_limited,
        unchecked=metrics.rate_unchecked,
    )


async def _wire_provider(settings: Settings, stack: AsyncExitStack) -> Provider | None:
    """Make the provider of identities, if the settings name one; it is not asked for anything."""
    if not settings.oidc_issuer:
        return None
    config = OidcConfig(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        redirect_uri=settings.public_url + sso_routes.CALLBACK,
        scopes=settings.oidc_scopes,
        groups_claim=settings.oidc_groups_claim,
        algorithms=settings.oidc_algorithms,
        factor_claims=settings.oidc_second_factor,
    )
    return await stack.enter_async_context(Provider(config))


async def _wire_ldap(
    settings: Settings, directory: Directory, metrics: Metrics, stack: AsyncExitStack
) -> Elsewhere | None:
    """Make what asks LDAP servers, if the settings name any; none is asked for anything yet."""
    config = settings.ldap()
    if config is None:
        return None
    # 3 MB and 40 ms, which only those pay who use it
    ldap = await asyncio.to_thread(importlib.import_module, "control_plane.ldap.service")
    people = VouchedPeople(
        directory, settings.ldap_roles, "it is in MATRIXFLAG_LDAP_EMAIL_ATTRIBUTES"
    )
    logins = ldap.make_logins(config, people, metrics.observe_ldap)
    stack.callback(logins.close)
    found: Elsewhere = logins
    return found


def _pace(settings: Settings) -> Pace:
    """Return how many streams there may be, as far as this process may open files."""
    wanted = settings.sync_max_streams
    possible = connections_for(wanted)
    if possible < wanted:
        logger.warning(
            "at most %d streams instead of %d: this process may not open more files (ulimit -n)",
            possible,
            wanted,
        )
    return Pace(possible, settings.sync_streams_per_s, settings.sync_stream_life_s)


async def _wire_reports(
    app: web.Application, stack: AsyncExitStack, reports: ReportStore, failed: Failed
) -> Aggregation:
    """Make what takes reports and what counts them, and return the latter."""
    replica = app[REPLICA]

    def flags_of(project: str) -> Container[str]:
        state = replica.projects.get(project)
        return () if state is None else state.flags

    def places() -> Iterator[Place]:
        for name, state in list(replica.projects.items()):
            for environment in list(state.snapshots):
                for kind in Kind:
                    yield Place(kind, name, environment)

    exposures = app[EXPOSURES] = ExposureService(reports, flags_of)
    events = app[EVENTS] = EventService(reports)
    app[USAGE] = UsageService(reports, flags_of, lambda: replica.knows_all_keys)
    aggregation = Aggregation(
        reports,
        {Kind.EXPOSURES: exposures.count, Kind.EVENTS: events.count},
        places,
        lambda: replica.knows_all_keys,
        app[SETTINGS].claim_after_s,
        failed,
    )
    exposures.intake.stored = events.intake.stored = aggregation.stored
    return await stack.enter_async_context(aggregation)


async def _end_streams(app: web.Application) -> None:
    app[SYNC].close_streams()


def _figures(app: web.Application, servers: Mapping[str, Servers]) -> Figures:
    """Return what the metrics show of the state of this process."""
    replica, aggregation, fleet = app[REPLICA], app[AGGREGATION], app[FLEET]
    exposures, events, usage = app[EXPOSURES], app[EVENTS], app[USAGE]
    streams = app[SYNC].streams
    connected = streams.connected
    environments = [
        EnvironmentFigures(
            project=name,
            environment=environment,
            revision=snapshot.revision,
            snapshot_bytes=snapshot.size,
            sidecars=connected.get((name, environment), 0),
            fleet=fleet.figures.get((name, environment)),
        )
        for name, state in sorted(replica.projects.items())
        for environment, snapshot in sorted(state.snapshots.items())
    ]
    return Figures(
        redis_up=replica.redis_ok,
        redis=[
            RedisFigures(name, each.topology, each.addresses(), each.changes)
            for name, each in servers.items()
        ],
        loaded=replica.loaded,
        age_s=replica.verified_age_ms() / 1000,
        conflicts=replica.conflicts,
        reloads=replica.reloads,
        epochs_renewed=replica.epochs_renewed,
        claims_refused=replica.claims_refused,
        environments=environments,
        flags={name: len(state.flags) for name, state in sorted(replica.projects.items())},
        units={name: state.unit_count() for name, state in sorted(replica.projects.items())},
        blobs_lost={name: len(s.lacking()) for name, s in sorted(replica.projects.items())},
        blobs_read=replica.blobs_read,
        blobs_sent=app[SYNC].blobs_sent,
        streams_accepted=streams.admission.accepted,
        streams_accepted_peak=streams.admission.peak,
        streams_refused=streams.admission.refused,
        streams_ended=streams.ended,
        stream_events=streams.told,
        answered={i.kind: i.outcomes for i in (exposures.intake, events.intake, usage.intake)},
        balances={kind: balance._asdict() for kind, balance in aggregation.balances.items()},
        clamped={
            Kind.EXPOSURES: exposures.clamped,
            Kind.EVENTS: events.clamped,
            Kind.USAGE: usage.clamped,
        },
        unknown_flags={Kind.EXPOSURES: exposures.unknown, Kind.USAGE: usage.unknown},
        standings=fleet.standings,
        fleet_complete=fleet.complete,
        admin_token_everything=app[SETTINGS].admin_token_use == EVERYTHING,
        loop_lag_s=app[LAG].worst_s,
        tasks=len(asyncio.all_tasks()),
    )


def create_metrics_app(metrics: Metrics) -> web.Application:
    """Return the app that answers `/metrics` and nothing else, on a port of its own."""

    async def expose(request: web.Request) -> web.Response:
        return web.Response(
            body=metrics.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    app = web.Application()
    app.router.add_get("/metrics", expose)
    return app


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve API and metrics until `stop` is set; then stop in order and return.

    Raises:
        OSError: an address cannot be listened on; its `strerror` names the setting.
    """
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        metrics_app = create_metrics_app(app[METRICS])
        metrics_url = await _listen(
            stack,
            metrics_app,
            settings,
            settings.metrics_host,
            settings.metrics_port,
            "METRICS_PORT",
        )
        api_url = await _listen(
            stack,
            app,
            settings,
            settings.host,
            settings.port,
            "MATRIXFLAG_PORT",
            lambda: app[REPLICA].wait_loaded(_HEAD_START_S),
        )
        _warn(settings)
        logger.info("the API listens on %s, metrics on %s/metrics", api_url, metrics_url)
        addresses = {"api": api_url, "metrics": metrics_url}
        announce = partial(_announce, app[REPLICA], app[USERS], settings, addresses)
        for name, work in (("announcing", announce), ("collecting", sweep)):
            supervised = supervise(name, work, app[METRICS].background_failed)
            stack.callback(asyncio.create_task(supervised, name=name).cancel)
        await stop.wait()
        logger.info("stopping")


def make_runner(app: web.Application, settings: Settings) -> web.AppRunner:
    """Return what runs an app, with the time-outs of the settings."""
    return Runner(
        app,
        connection={
            "access_log": None,  # `errors` logs each request, without what must not be logged
            "auto_decompress": False,  # `read_body` does it, within the bound of the route
            "keepalive_timeout": settings.keepalive_timeout_s,
        },
        handler_cancellation=True,
        shutdown_timeout=settings.shutdown_timeout_s,
    )


async def _listen(
    stack: AsyncExitStack,
    app: web.Application,
    settings: Settings,
    host: str,
    port: int,
    name: str,
    head_start: Callable[[], Awaitable[object]] | None = None,
) -> str:
    """Start an app, to be stopped by the stack, and return its address.

    It runs before it listens for as long as `head_start` takes.
    """
    runner = make_runner(app, settings)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if head_start is not None:
        await head_start()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        raise OSError(error.errno, f"{name}: cannot listen on {host}:{port}: {error}") from error
    return _url(runner.addresses[0])


def _url(address: tuple[str, int]) -> str:
    """Return the address of a socket as something to connect to."""
    host, port = address[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound to
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _warn(settings: Settings) -> None:
    if not settings.secret_key and not settings.dev:
        logger.warning("no SECRET_KEY is set: nobody can log in")
    if settings.admin_token_use == EVERYTHING:
        logger.warning(
            "whoever has ADMIN_TOKEN may do everything, because of MATRIXFLAG_ADMIN_TOKEN_USE; "
            "mend what kept administrators out, then start again without"
        )
    if not is_loopback(settings.metrics_host):
        logger.info("metrics are open to whoever reaches %s", settings.metrics_host)


def _redis_limits(settings: Settings) -> RedisLimits:
    return RedisLimits(
        connect_s=settings.redis_connect_timeout_s,
        command_s=settings.redis_timeout_s,
        commit_s=settings.redis_timeout_s + _IN_LINE_S,
        connections=settings.redis_max_connections,
        retries=settings.redis_retries,
        backoff_s=settings.redis_backoff_s,
        replicas=settings.redis_wait_replicas,
        replicas_s=settings.redis_wait_s,
    )


async def _warn_of_eviction(settings: Settings) -> None:
    """Say which Redis would throw away what is kept there; who forbids to ask is not told."""
    addresses = {
        "REDIS_URL": settings.redis_url,
        "EXPOSURES_REDIS_URL": settings.exposures_redis_url,
    }
    for name, url in addresses.items():
        if not url:
            continue
        connections = Connections(url, _redis_limits(settings))
        try:
            found = await evicting(connections)
        except RedisError:
            found = {}
        finally:
            await connections.close()
        for address, policy in found.items():
            logger.warning(
                "%s: %s has maxmemory-policy %s and throws keys of ours away when it is full; "
                "set noeviction",
                name,
                address,
                policy,
            )


async def _announce(
    replica: Replica, users: UserService, settings: Settings, addresses: dict[str, str]
) -> None:
    """Once definitions and people are loaded, say so and write the addresses to a file if one is
    named."""
    while not await replica.wait_loaded(_STILL_LOADING_S):
        logger.warning("waiting for Redis: the definitions have not been read yet")
    tame_collector()
    logger.info("definitions loaded: %d projects", len(replica.projects))
    for name, given in (("OIDC", settings.oidc_roles), ("LDAP", settings.ldap_roles)):
        for place in Places(replica).lacking(each.binding for each in given):
            warning = "MATRIXFLAG_%s_ROLES gives roles in %s, which there is not yet"
            logger.warning(warning, name, place)
    await users.wait_loaded()
    if settings.ready_file:
        await asyncio.to_thread(_write_whole, Path(settings.ready_file), json.dumps(addresses))
    await _warn_of_eviction(settings)


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    part = path.with_name(path.name + ".part")
    part.write_text(text + "\n")
    part.replace(path)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, on uvloop; return the exit status."""
    logs.configure(settings.log_level, settings.log_format, secrets(settings))
    for text in unknown_variables(os.environ):
        logger.warning("%s", text)
    # They are a series more for each counter, which nothing reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it
    try:
        uvloop.run(_until_signal(settings))
    except OSError as error:
        sys.stderr.write(f"matrixflag control-plane: {error.strerror or error}\n")
        return 1
    return 0


async def _until_signal(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(asyncio.CancelledError):
        await serve(settings, stop)


class _Command:
    """`matrixflag control-plane`."""

    help = "serve the API, keep definitions in Redis, publish them to sidecars"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the settings as arguments."""
        parser.epilog = "Secrets are read from the environment: ADMIN_TOKEN, REDIS_URL, ..."
        add_arguments(parser, Settings)

    def run(self, args: argparse.Namespace) -> int:
        """Serve, or say what is wrong with the settings: all of it, with status 2."""
        try:
            settings = Settings.load(os.environ, vars(args))
        except SettingsError as error:
            for problem in [*error.problems, *unknown_variables(os.environ)]:
                sys.stderr.write(f"matrixflag control-plane: {problem}\n")
            return 2
        return run(settings)


COMMAND = _Command()
