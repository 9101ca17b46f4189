"""Batches of reports for tests."""

import json
import time
import uuid
from typing import Any

__all__ = ["batch", "encoded", "evaluated", "event", "item", "uuid7"]


def uuid7(at_ms: int | None = None) -> str:
    """Return a new UUIDv7 made at a time."""
    at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    random = uuid.uuid4().int & ((1 << 80) - 1)
    return str(uuid.UUID(int=at_ms << 80 | random & ~(0xF << 76 | 0x3 << 62) | 7 << 76 | 2 << 62))


def item(**changes: Any) -> dict[str, Any]:
    """Return an exposure as it is sent."""
    return {
        "flag": "checkout",
        "variant": "on",
        "unit": "user-1",
        "unit_attribute": "targetingKey",
        "rule_id": None,
        "reason": "SPLIT",
        "epoch": "5fd0",
        "revision": 42,
        "first_seen_ms": time.time_ns() // 1_000_000,
        "count": 3,
        **changes,
    }


def event(**changes: Any) -> dict[str, Any]:
    """Return an event as it is sent."""
    return {
        "id": uuid7(),
        "name": "purchase",
        "unit": "user-1",
        "unit_attribute": "targetingKey",
        "time_ms": time.time_ns() // 1_000_000,
        "value": 2.5,
        **changes,
    }


def evaluated(**changes: Any) -> dict[str, Any]:
    """Return a count of evaluations as it is sent, in the minute that this is."""
    return {
        "flag": "checkout",
        "variant": "on",
        "reason": "SPLIT",
        "minute_ms": time.time_ns() // 1_000_000 // 60_000 * 60_000,
        "count": 7,
        **changes,
    }


def batch(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a batch as it is sent."""
    return {
        "id": uuid7(),
        "instance": "pod-7f9c",
        "sent_ms": time.time_ns() // 1_000_000,
        "items": list(items) or [item()],
        **changes,
    }


def encoded(document: Any) -> bytes:
    """Return JSON."""
    return json.dumps(document, separators=(",", ":")).encode()
