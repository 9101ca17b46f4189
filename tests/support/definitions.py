"""Flags and segments for tests of the control plane's core, and the plain way to commit them."""

from collections.abc import Callable
from typing import Any

import msgspec

from control_plane.audit.model import Author
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import (
    Change,
    Edit,
    FlagRecord,
    ProjectState,
    Record,
    RecordKind,
    SegmentRecord,
)
from control_plane.times import now_rfc3339
from proxy.contract.definitions import Condition, EnvironmentConfig, Flag, Rule, Segment, Serve

__all__ = [
    "AT",
    "AUTHOR",
    "ENVIRONMENTS",
    "any_version",
    "change",
    "flag",
    "flag_record",
    "put",
    "remove",
    "salts",
    "segment_record",
    "uses",
]

AUTHOR = Author("tester", "192.0.2.1")
AT = "2026-11-22T12:00:00.000Z"
ENVIRONMENTS = ("development", "production", "staging")


def flag(key: str, *, value: Any = "x", segment: str | None = None, **fields: Any) -> Flag:
    """Return a string flag, enabled everywhere; with a segment, one whose rule names it."""
    rules = [] if segment is None else [Rule(uses(segment), Serve(variant="a"), id="r")]
    config = EnvironmentConfig(Serve(variant="a"), enabled=True, salt="s", rules=rules)
    fields = {"environments": dict.fromkeys(ENVIRONMENTS, config), **fields}
    return Flag(key=key, type="string", variants={"a": value}, **fields)


def uses(segment: str) -> Condition:
    """Return a condition that names a segment, somewhere deep."""
    return Condition(all=[Condition(not_=Condition(any=[Condition(segment=segment)]))])


def flag_record(key: str, version: int = 1, **fields: Any) -> FlagRecord:
    """Return the record of such a flag."""
    return FlagRecord(flag(key, **fields), version, AT, AT)


def segment_record(key: str, version: int = 1, when: Condition | None = None) -> SegmentRecord:
    """Return the record of a segment, of nobody unless `when` is given."""
    return SegmentRecord(Segment(key=key, when=when or Condition(any=[])), version, AT, AT)


def change(*edits: Edit) -> Change:
    """Return a change of these edits."""
    return Change("test", AUTHOR, now_rfc3339(), edits)


async def put(
    replica: Replica, kind: RecordKind, key: str, record: Record, project: str = "default"
) -> None:
    """Commit one record."""
    await replica.commit(project, lambda _: change(Edit(kind, key, record)))


async def remove(replica: Replica, kind: RecordKind, key: str) -> None:
    """Commit the removal of one record."""

    def build(state: ProjectState) -> Change:
        return change(Edit(kind, key, None))

    await replica.commit("default", build)


def salts() -> Callable[[], str]:
    """Return a maker of salts that can be told apart: salt-1, salt-2, ..."""
    made = iter(f"salt-{n}" for n in range(1, 1_000_000))
    return lambda: next(made)


def any_version(version: int) -> None:
    """Accept every version, as a request without If-Match does."""


def changed(value: Any, **fields: Any) -> Any:
    """Return a struct with other fields."""
    return msgspec.structs.replace(value, **fields)
