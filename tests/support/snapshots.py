"""Snapshots for tests, made of as little as a test has to say."""

from collections.abc import Callable, Mapping
from typing import Any

from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    SCHEMA,
    EntryKind,
    SnapshotHeader,
    encode_entry,
    encode_snapshot,
    entry_order,
    read_snapshot,
)
from proxy.contract.steps import finish
from proxy.contract.sync import Delta, RemovedEntry

__all__ = ["definition", "make_delta", "make_snapshot"]


def definition(value: Any = True, **more: Any) -> dict[str, Any]:
    """Return the definition of a boolean flag that serves `on` or `off` to everybody."""
    return {
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "fallthrough": {"variant": "on" if value else "off"},
        "salt": "salt",
        "enabled": True,
    } | more


def make_snapshot(
    flags: Mapping[str, Any] | None = None,
    *,
    revision: int = 1,
    epoch: str = "e1",
    environment: str = "production",
    more: Mapping[tuple[EntryKind, str], Any] | None = None,
    sign: Callable[[SnapshotHeader], SnapshotHeader] | None = None,
    **header: Any,
) -> tuple[SnapshotHeader, bytes]:
    """Return a snapshot of flags, by key; a bool stands for a flag that serves it.

    `more` are further entries; `header` overrides members of it, such as a wrong `digest`; `sign`
    is given the header that results.
    """
    entries: dict[tuple[EntryKind, str], Any] = {
        ("flag", key): definition(value) if isinstance(value, bool) else value
        for key, value in (flags or {}).items()
    }
    entries |= more or {}
    lines = {name: encode_entry(*name, entries[name]) for name in entries}
    digest = SnapshotDigest()
    for (kind, key), line in lines.items():
        digest.put(kind, key, line)
    members: dict[str, Any] = {
        "schema": SCHEMA,
        "project": "default",
        "environment": environment,
        "epoch": epoch,
        "revision": revision,
        "digest": digest.hexdigest(),
        "entries": len(lines),
        "created_at": "2026-12-01T09:00:00Z",
    }
    made = SnapshotHeader(**(members | header))
    made = made if sign is None else sign(made)
    ordered = sorted(lines, key=lambda name: entry_order(*name))
    return made, encode_snapshot(made, [lines[name] for name in ordered])


def make_delta(before: bytes, after: bytes) -> Delta:
    """Return the delta that leads from one snapshot to another."""
    old, new = (finish(read_snapshot(body)) for body in (before, after))
    lines = [e.line.decode() for n, e in new.entries.items() if old.entries.get(n) != e]
    gone = [RemovedEntry(*name) for name in old.entries if name not in new.entries]
    header = new.header
    return Delta(old.header.revision, header.revision, header.digest, lines, gone, header)
