"""Standings, as sidecars tell them."""

from typing import Any

import msgspec

from proxy.contract.fleet import Standing
from proxy.contract.sync import SnapshotPointer

__all__ = ["CURRENT", "document", "standing"]

CURRENT = SnapshotPointer("e1", 42, "d42")


def standing(instance: str = "i-1", revision: int | None = 42, **members: Any) -> Standing:
    """Return a standing of an instance that serves a revision for a while, just confirmed."""
    known = {} if revision is None else {"epoch": "e1", "digest": f"d{revision}"}
    return Standing(
        **{
            "instance": instance,
            "revision": revision,
            "serving_ms": None if revision is None else 1_000,
            "age_ms": None if revision is None else 500,
            "state": "streaming",
            "uptime_ms": 60_000,
            **known,
            **members,
        }
    )


def document(instance: str = "i-1", **members: Any) -> dict[str, Any]:
    """Return a standing as it is sent, with members of any kind."""
    told: dict[str, Any] = msgspec.to_builtins(standing(instance))
    return told | members
