"""The typed keys under which `app.py` leaves what it wired, for handlers to find.

Nothing is imported here at run time, so every module may import this one.
"""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from control_plane.access.last_used import LastUsed
    from control_plane.access.service import KeyService
    from control_plane.audit.log import AuditLog
    from control_plane.events.service import EventService
    from control_plane.exposures.service import ExposureService
    from control_plane.fleet.service import FleetService
    from control_plane.lag import LoopLag
    from control_plane.limits.service import RateLimiter
    from control_plane.metrics import Metrics
    from control_plane.publishing.replica import Replica
    from control_plane.publishing.service import SyncService
    from control_plane.reports.aggregation import Aggregation
    from control_plane.segments.units import UnitService
    from control_plane.settings import Settings
    from control_plane.sso.service import SsoService
    from control_plane.usage.service import UsageService
    from control_plane.users.factors import FactorService
    from control_plane.users.service import UserService
    from control_plane.web.assets import Asset, Assets
    from control_plane.web.cookies import Csrf

__all__ = [
    "AGGREGATION",
    "ASSETS",
    "AUDIT",
    "EVENTS",
    "EXPOSURES",
    "FACTORS",
    "FLEET",
    "KEYS",
    "LAG",
    "LAST_USED",
    "LIMITER",
    "METRICS",
    "OPENAPI",
    "REPLICA",
    "SETTINGS",
    "SSO",
    "STARTED_AT",
    "SYNC",
    "UNITS",
    "USAGE",
    "CSRF",
    "USERS",
]

# There from the start
SETTINGS: web.AppKey["Settings"] = web.AppKey("settings")
METRICS: web.AppKey["Metrics"] = web.AppKey("metrics")
ASSETS: web.AppKey["Assets"] = web.AppKey("assets")
OPENAPI: web.AppKey["Asset"] = web.AppKey("openapi")
STARTED_AT: web.AppKey[float] = web.AppKey("started_at", float)
"""Monotonic time at which the app was made."""

# There while the app runs
LAG: web.AppKey["LoopLag"] = web.AppKey("lag")
LIMITER: web.AppKey["RateLimiter"] = web.AppKey("limiter")
REPLICA: web.AppKey["Replica"] = web.AppKey("replica")
KEYS: web.AppKey["KeyService"] = web.AppKey("keys")
LAST_USED: web.AppKey["LastUsed"] = web.AppKey("last_used")
"""When keys were used last."""
AUDIT: web.AppKey["AuditLog"] = web.AppKey("audit")
USERS: web.AppKey["UserService"] = web.AppKey("users")
CSRF: web.AppKey["Csrf"] = web.AppKey("csrf")
FACTORS: web.AppKey["FactorService"] = web.AppKey("factors")
"""Second factors of people."""
SSO: web.AppKey["SsoService"] = web.AppKey("sso")
"""Logins at a provider of identities."""
SYNC: web.AppKey["SyncService"] = web.AppKey("sync")
"""The streams of sidecars, and their snapshots compressed."""
UNITS: web.AppKey["UnitService"] = web.AppKey("units")
EXPOSURES: web.AppKey["ExposureService"] = web.AppKey("exposures")
FLEET: web.AppKey["FleetService"] = web.AppKey("fleet")
"""Which sidecar serves what."""
USAGE: web.AppKey["UsageService"] = web.AppKey("usage")
EVENTS: web.AppKey["EventService"] = web.AppKey("events")
AGGREGATION: web.AppKey["Aggregation"] = web.AppKey("aggregation")
"""The consumers that count what was reported."""
