"""How the logs that are no project's begin: with the entry that says so."""

import secrets

import msgspec

from control_plane.audit.chain import GENESIS, link
from control_plane.audit.model import AuditEntry
from control_plane.store.projects import Position, ProjectStore
from control_plane.times import now_rfc3339

__all__ = ["find_or_make"]

_encode = msgspec.json.Encoder().encode


async def find_or_make(steps: ProjectStore, name: str, action: str) -> Position:
    """Return where a log stands; when it is not there, any more or yet, it is made by an action.

    Raises RedisError.
    """
    found = (await steps.positions([name]))[name]
    while found is None:
        at = now_rfc3339()
        audit = _encode(
            AuditEntry(
                sequence=1,
                at=at,
                actor="system",
                address="",
                action=action,
                targets=[],
                count=0,
                nonce=secrets.token_hex(8),
                project=name,
            )
        )
        meta = {
            "epoch": secrets.token_hex(8),
            "sequence": "1",
            "head": link(GENESIS, audit),
            "created_at": at,
        }
        await steps.create(name, meta, {}, audit, listed=False)
        found = (await steps.positions([name]))[name]
    return found
