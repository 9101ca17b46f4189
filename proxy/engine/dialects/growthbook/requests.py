"""What a request may say of experiments: member `$growthbook` of the context.

GrowthBook's SDKs are given, beside attributes, what is true of one request or one page only. Here
it is one member of the context, an object, every member of it optional:

    enabled                     false: no experiments
    qaMode                      true: no experiments but forced variations
    url                         `?<experiment>=<variation>` in it forces a variation
    forcedVariations            from an experiment to the place of a variation
    stickyBucketAssignmentDocs  what a store has of this unit, by `<attribute>||<value>`; the object
                                alone, empty, has experiments use `fallbackAttribute`

An experiment asks `standing` what of that matters to it: a function of the context. Who is without
`$growthbook` never gets that far, so it costs one look for one member.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from proxy.engine import program as p
from proxy.engine.dialects.growthbook.conditions import is_true, text_of
from proxy.engine.dialects.growthbook.ranges import unit

__all__ = [
    "FALLBACK",
    "GO",
    "REQUEST",
    "SKIP",
    "Known",
    "forced",
    "query_override",
    "standing",
    "sticky",
]

REQUEST = "$growthbook"
"""The member of the context."""

GO = "go"
"""Nothing stands against the experiment."""

FALLBACK = "fallback"
"""The same, by the value of the fallback attribute."""

SKIP = "skip"
"""Not in the experiment, whatever else holds."""


def forced(variation: int, *, fallback: bool) -> str:
    """Return the standing of who has a variation by force."""
    return f"forced{variation}{FALLBACK if fallback else ''}"


def sticky(variation: int, *, fallback: bool) -> str:
    """Return the standing of who had a variation before."""
    return f"sticky{variation}{FALLBACK if fallback else ''}"


class Known(NamedTuple):
    """What of an experiment matters here. `keys` are of its variations, as `meta` has them."""

    key: str
    variations: int
    active: bool
    by: str
    fallback: str | None
    has_stickiness: bool
    bucket_version: int
    least_bucket_version: int
    keys: tuple[Any, ...]
    force: int | None
    """The place of the variation that its definition forces, -1 for one that there is not."""
    hashes: bool
    """There is such a version of the hash, and the experiment was not stopped."""


def standing(known: Known) -> p.Operand:
    """Return how a context stands to an experiment; None without `$growthbook`."""
    main = _fetcher(known.by)
    other = _fetcher(known.fallback) if known.fallback else None
    stored = _assignments(known)

    def fetch(context: dict[str, Any]) -> str | None:
        request = context.get(REQUEST)
        if request is None:
            return None
        if request.__class__ is not dict:
            return GO
        if request.get("enabled") is False:
            return SKIP
        documents = request.get("stickyBucketAssignmentDocs")
        if documents.__class__ is not dict or not known.has_stickiness:
            documents = None
        has_unit = is_true(main(context))
        fallback = False
        if not has_unit and other is not None and documents is not None:
            fallback = has_unit = is_true(other(context))
        wanted = _forced_variation(request, known)
        if wanted is not None:
            return SKIP if wanted < 0 else forced(wanted, fallback=fallback)
        if not has_unit or not known.active or not known.hashes:
            return SKIP
        if request.get("qaMode") and known.force is None:
            return SKIP
        if documents:
            found = stored(context, documents)
            if found is not None:
                if found < 0 or known.force is None:
                    return SKIP if found < 0 else sticky(found, fallback=fallback)
                return SKIP if known.force < 0 else forced(known.force, fallback=fallback)
        return FALLBACK if fallback else GO

    reads = {REQUEST}
    for name in (known.by, known.fallback or "id", "id"):
        reads |= _reads(name)
    return p.Operand(f"{REQUEST} of {known.key}", fetch, frozenset(reads))


def _fetcher(name: str) -> Callable[[dict[str, Any]], Any]:
    found = unit(name)
    return found.fetch if isinstance(found, p.Operand) else lambda context: context.get(name)


def _reads(name: str) -> frozenset[str]:
    found = unit(name)
    return (found.reads or frozenset()) if isinstance(found, p.Operand) else frozenset((name,))


# Forced


def _forced_variation(request: Mapping[str, Any], known: Known) -> int | None:
    """Return the place of a variation, -1 for one that there is not, None when none is forced."""
    url = request.get("url")
    if url.__class__ is str:
        found = query_override(known.key, url, known.variations)
        if found is not None:
            return found
    variations = request.get("forcedVariations")
    if variations.__class__ is not dict or known.key not in variations:
        return None
    place = variations[known.key]
    if place.__class__ is float and place.is_integer():
        place = int(place)
    return place if place.__class__ is int and 0 <= place < known.variations else -1


_LEADING_INTEGER = re.compile(r"\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|([0-9]+))")
_LONGEST_INTEGER = 15


def query_override(key: str, url: str, count: int) -> int | None:
    """Return the variation that the query of a URL names for an experiment, or None.

    Only the first value for it is looked at.
    """
    parts = url.split("?")
    if len(parts) == 1:
        return None
    for pair in re.sub("#.*", "", parts[1]).split("&"):
        name, *values = pair.split("=")
        if name != key:
            continue
        match = _LEADING_INTEGER.match(values[0]) if values else None
        if match is None:
            return None
        sign, hexadecimal, digits = match.groups()
        if len(hexadecimal or digits) > _LONGEST_INTEGER:
            return None
        place = int(hexadecimal, 16) if hexadecimal else int(digits)
        return place if place < count and (sign != "-" or place == 0) else None
    return None


# Sticky buckets


def _assignments(known: Known) -> Callable[[dict[str, Any], dict[str, Any]], int | None]:
    """Return what finds the variation that a unit had, -1 for who is to leave, None for none."""
    main, other = _fetcher(known.by), _fetcher(known.fallback or "id")
    prefix = f"{known.key}__"
    wanted = f"{prefix}{known.bucket_version}"
    least = known.least_bucket_version

    def find(context: dict[str, Any], documents: dict[str, Any]) -> int | None:
        merged: dict[str, Any] = {}
        found = other(context)
        if is_true(found):
            merged |= _document(documents, known.fallback or "id", found)
        merged |= _document(documents, known.by, main(context))
        if least > 0 and any(_is_blocked(name, prefix, least) for name in merged):
            return -1
        if wanted not in merged:
            return None
        for place, key in enumerate(known.keys):
            if key.__class__ is str and key == merged[wanted]:
                return place if place < known.variations else -1
        return None

    return find


def _document(documents: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    written = "" if value is None else text_of(value)
    document = documents.get(f"{name}||{written}")
    assignments = document.get("assignments") if document.__class__ is dict else None
    return assignments if assignments.__class__ is dict else {}


_LONGEST_VERSION = 15


def _is_blocked(name: str, prefix: str, least: int) -> bool:
    """Return whether an assignment is of a version that is not to go on."""
    if not name.startswith(prefix):
        return False
    version = name[len(prefix) :]
    if not (version.isascii() and version.isdecimal()) or len(version) > _LONGEST_VERSION:
        return False
    return (version == "0" or version[0] != "0") and int(version) < least
