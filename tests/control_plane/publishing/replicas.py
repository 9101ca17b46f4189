"""What tests of replicas share: waiting until they agree, and backups of a server's data."""

import asyncio

import redis

from control_plane.publishing.replica import Replica
from control_plane.store.connection import RedisLimits

__all__ = ["LIMITS", "WAIT_S", "body", "dump", "restore", "until_same"]

LIMITS = RedisLimits(connect_s=0.5, command_s=0.5, commit_s=2.0)
WAIT_S = 20.0


async def until_same(*replicas: Replica) -> None:
    """Return when all replicas stand at the same change; there is no event for what others did."""
    async with asyncio.timeout(WAIT_S):
        while len({(r.project("default").epoch, r.project("default").head) for r in replicas}) > 1:  # noqa: ASYNC110 - several processes in one, no shared event
            await asyncio.sleep(0.01)


def body(replica: Replica, environment: str = "production") -> bytes:
    """Return what a replica serves to sidecars."""
    return replica.project("default").snapshots[environment].body()


def dump(client: redis.Redis) -> dict[bytes, bytes]:
    """Return all data of a server, as a backup would have it: without what expired meanwhile."""
    dumped = {key: client.dump(key) for key in client.scan_iter()}
    return {key: value for key, value in dumped.items() if value is not None}


def restore(client: redis.Redis, saved: dict[bytes, bytes]) -> None:
    """Put a backup in the place of all data, as one step."""
    with client.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for key, value in saved.items():
            pipe.restore(key, 0, value)
        pipe.execute()
