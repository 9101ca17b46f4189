"""Segments as they are sent and as the API shows them. Pure."""

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.publishing.state import SegmentRecord
from proxy.contract.definitions import Condition, Segment
from proxy.contract.problems import Problem

__all__ = ["SegmentInput", "SegmentResource", "Written", "segment_of", "segment_resource"]

_READ_ONLY = ("version", "created_at", "updated_at")


class SegmentInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment as its author writes it.

    `key` may be left out where the path names it. `version`, `created_at` and `updated_at` are
    taken and ignored, so that what was read can be sent back.
    """

    key: str | UnsetType = UNSET
    name: str = ""
    description: str = ""
    tags: list[str] = []
    when: Condition = Condition(any=[])
    included: list[str] = []
    excluded: list[str] = []
    version: int | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    updated_at: str | UnsetType = UNSET


class SegmentResource(msgspec.Struct, frozen=True):
    """A segment as the API shows it."""

    key: str
    name: str
    description: str
    tags: list[str]
    when: Condition
    included: list[str]
    excluded: list[str]
    version: int
    created_at: str
    updated_at: str


class Written(NamedTuple):
    """What a write answers: the segment after it, and what is odd but allowed."""

    resource: SegmentResource
    warnings: list[Problem]


def segment_of(document: SegmentInput, key: str) -> Segment:
    """Return the segment that a document describes."""
    fields: dict[str, Any] = msgspec.structs.asdict(document)
    for member in (*_READ_ONLY, "key"):
        del fields[member]
    return Segment(key=key, **fields)


def segment_resource(record: SegmentRecord) -> SegmentResource:
    """Return a segment as the API shows it."""
    return SegmentResource(
        **msgspec.structs.asdict(record.segment),
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )
