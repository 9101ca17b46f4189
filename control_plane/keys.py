"""The typed keys under which `app.py` leaves what it wired, for handlers to find.

Nothing is imported here at run time, so every module may import this one.
"""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from control_plane.access.service import KeyService
    from control_plane.exposures.service import ExposureService
    from control_plane.metrics import Metrics
    from control_plane.publishing.replica import Replica
    from control_plane.publishing.service import SyncService
    from control_plane.settings import Settings

__all__ = [
    "EXPOSURES",
    "EXPOSURES_REDIS",
    "KEYS",
    "METRICS",
    "REDIS",
    "REPLICA",
    "SETTINGS",
    "SYNC",
]

SETTINGS: web.AppKey["Settings"] = web.AppKey("settings")
METRICS: web.AppKey["Metrics"] = web.AppKey("metrics")
REDIS: web.AppKey["Redis"] = web.AppKey("redis")
"""Definitions: every acknowledged write is on disk."""
EXPOSURES_REDIS: web.AppKey["Redis"] = web.AppKey("exposures_redis")
"""Exposures: much more data; may be another server. The same client when it is not."""
KEYS: web.AppKey["KeyService"] = web.AppKey("keys")
REPLICA: web.AppKey["Replica"] = web.AppKey("replica")
SYNC: web.AppKey["SyncService"] = web.AppKey("sync")
"""The streams of sidecars, and their snapshots compressed."""
EXPOSURES: web.AppKey["ExposureService"] = web.AppKey("exposures")
