"""Long lists of units for tests: what a definition says of one, and its blobs."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from proxy.contract.snapshot import EntryKind
from proxy.contract.units import digest_of, hash_unit, split
from tests.support.snapshots import definition

__all__ = ["LongList", "in_segment", "long_list", "names"]


class LongList(NamedTuple):
    """A list as a segment's definition has it, and its blobs by their digests, in order."""

    definition: dict[str, Any]
    blobs: dict[str, bytes]


def names(count: int, prefix: str = "u") -> list[str]:
    """Return different units."""
    return [f"{prefix}-{number}" for number in range(count)]


def long_list(units: Iterable[str]) -> LongList:
    """Return the list of some units."""
    hashes = {unit_hash for unit_hash in map(hash_unit, units) if unit_hash is not None}
    blobs = {digest_of(blob): blob for blob in split(hashes)}
    return LongList({"count": len(hashes), "blobs": list(blobs)}, blobs)


def in_segment(
    included: LongList | Mapping[str, Any], name: str = "long"
) -> tuple[dict[str, Any], dict[tuple[EntryKind, str], Any]]:
    """Return a flag that serves `on` to a segment of that list, and the segment's entry."""
    listed = included.definition if isinstance(included, LongList) else included
    rule = {"when": {"segment": name}, "serve": {"variant": "on"}}
    return definition(False, rules=[rule]), {("segment", name): {"units": {"included": listed}}}
