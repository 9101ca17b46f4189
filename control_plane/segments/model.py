"""Segments as they are sent and as the API shows them. Pure.

A segment's units are in its document, or, when they are more than a thousand, only counted there;
`/units` reads and writes both kinds alike.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.documents import invalid
from control_plane.publishing.state import SegmentRecord
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Condition, Segment, Source, UnitList
from proxy.contract.problems import Problem

__all__ = [
    "SegmentInput",
    "SegmentResource",
    "UnitCounts",
    "Written",
    "check_units",
    "segment_of",
    "segment_resource",
]

_READ_ONLY = ("version", "created_at", "updated_at")


class UnitCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many units are in lists that are too long for the document."""

    included: int
    excluded: int


class SegmentInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment as its author writes it.

    `key` may be left out where the path names it. `included` and `excluded`, one of them not
    empty, are all the units there shall be. Long lists stay as they are when both are empty;
    `units` counts those and cannot be changed here. `version`, `created_at` and `updated_at` are
    taken and ignored, so that what was read can be sent back.
    """

    key: str | UnsetType = UNSET
    name: str = ""
    description: str = ""
    tags: list[str] = []
    when: Condition = Condition(any=[])
    included: list[str] = []
    excluded: list[str] = []
    units: UnitCounts | UnsetType = UNSET
    source: Source | UnsetType = UNSET
    version: int | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    updated_at: str | UnsetType = UNSET


class SegmentResource(msgspec.Struct, frozen=True):
    """A segment as the API shows it. `units` is there when its lists are too long for it."""

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
    units: UnitCounts | UnsetType = UNSET
    source: Source | UnsetType = UNSET


class Written(NamedTuple):
    """What a write answers: the segment after it, and what is odd but allowed."""

    resource: SegmentResource
    warnings: list[Problem]


def segment_of(document: SegmentInput, key: str, old: Segment | None = None) -> Segment:
    """Return the segment that a document describes, with the long lists of what it replaces.

    Its own lists may be longer than a record holds.
    """
    fields: dict[str, Any] = msgspec.structs.asdict(document)
    for member in (*_READ_ONLY, "key"):
        del fields[member]
    replaces = bool(document.included or document.excluded)
    fields["units"] = UNSET if old is None or replaces else old.units
    return Segment(key=key, **fields)


def check_units(document: SegmentInput, old: Segment | None) -> None:
    """Raise Invalid when `units` says something else than it did, or against the other lists."""
    given = document.units
    if isinstance(given, UnsetType):
        return
    if old is None or given != _counts(old):
        message = "units cannot be changed here: it counts lists that are too long for a document"
        hint = "leave it out, and change the lists at /units below the segment's path"
        raise invalid([Problem("/units", ProblemCode.READ_ONLY, message, hint)])
    if document.included or document.excluded:
        message = "included and excluded would replace the long lists that units counts"
        hint = "leave units out if that is meant; add single units at /units below this path"
        raise invalid([Problem("/units", ProblemCode.VALUE_DISAGREES, message, hint)])


def segment_resource(record: SegmentRecord) -> SegmentResource:
    """Return a segment as the API shows it."""
    fields: dict[str, Any] = msgspec.structs.asdict(record.segment)
    return SegmentResource(
        **fields | {"units": _counts(record.segment)},
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _counts(segment: Segment) -> UnitCounts | UnsetType:
    if isinstance(segment.units, UnsetType):
        return UNSET
    return UnitCounts(_count(segment.units.included), _count(segment.units.excluded))


def _count(units: UnitList | UnsetType) -> int:
    return 0 if isinstance(units, UnsetType) else units.count
