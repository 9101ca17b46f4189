"""What a request may say of experiments: member `$growthbook` of the context.

GrowthBook's SDKs are given, beside attributes, what is true of one request or one page only. Here
it is one member of the context, an object, every member of it optional:

    enabled                     false: no experiments
    qaMode                      true: no experiments but forced variations
    url                         `?<experiment>=<variation>` in it forces a variation
    forcedVariations            from an experiment to the place of a variation
    stickyBucketAssignmentDocs  what a store has of this unit, by `<attribute>||<value>`; the object
                                alone, empty, has experiments use `fallbackAttribute`

What it forces, no targeting, coverage or state of an experiment stands against: also variations
that nobody is given yet. So it is the owner's to say, and of servers alone: callers of the engine
take it out of what browsers and holders of public keys send.

An experiment asks `standing` what of that matters to it: a function of the context. Who is without
`$growthbook` never gets that far, so it costs one look for one member.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from proxy.engine import program as p
from proxy.engine.dialects.growthbook.ranges import unit
from proxy.engine.dialects.growthbook.values import is_true, text_of
from proxy.engine.dialects.model import OVERRIDE
from proxy.engine.operators import Leaf

__all__ = [
    "FALLBACK",
    "GO",
    "REQUEST",
    "SKIP",
    "Known",
    "forced",
    "knows_stickiness",
    "query_override",
    "standing",
    "sticky",
]

REQUEST = OVERRIDE
"""The member of the context."""

DOCUMENTS = "stickyBucketAssignmentDocs"

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


def knows_stickiness() -> p.Expression:
    """Return whether a request tells what a store of sticky buckets has."""
    return p.Probe(REQUEST, Leaf("{0}({f})", (_has_documents,)), source={DOCUMENTS: True})


def _has_documents(request: Any) -> bool:
    return request.__class__ is dict and request.get(DOCUMENTS).__class__ is dict


def standing(known: Known) -> p.Operand:
    """Return how a context stands to an experiment; None without `$growthbook`."""
    main = _fetcher(known.by)
    other = _fetcher(known.fallback or "id")
    has_fallback = known.fallback is not None
    stored = _assignments(known)
    may_be_in = known.active and known.hashes
    force = known.force

    def fetch(context: dict[str, Any]) -> str | None:
        request = context.get(REQUEST)
        if request is None:
            return None
        if request.__class__ is not dict:
            return GO
        if "enabled" in request and request["enabled"] is False:
            return SKIP
        value = main(context)
        has_unit = is_true(value)
        fallback = False
        documents = request.get(DOCUMENTS) if known.has_stickiness else None
        if documents.__class__ is dict:
            other_value = other(context)
            if has_fallback and not has_unit:
                fallback = has_unit = is_true(other_value)
        if "url" in request or "forcedVariations" in request:
            wanted = _forced_variation(request, known)
            if wanted is not None:
                return SKIP if wanted < 0 else forced(wanted, fallback=fallback)
        if not has_unit or not may_be_in or (force is None and request.get("qaMode")):
            return SKIP
        if documents and documents.__class__ is dict:
            found = stored(documents, value, other_value)
            if found is not None:
                if found < 0 or force is None:
                    return SKIP if found < 0 else sticky(found, fallback=fallback)
                return SKIP if force < 0 else forced(force, fallback=fallback)
        return FALLBACK if fallback else GO

    reads = {REQUEST}
    for name in (known.by, known.fallback or "id"):
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


def query_override(key: str, url: str, variations: int) -> int | None:
    """Return the variation that the query of a URL names for an experiment, or None.

    Only the first value for it is looked at.
    """
    if key not in url:  # as in nearly all
        return None
    query = url.partition("?")[2].partition("?")[0].partition("#")[0]
    name = key + "="
    for pair in query.split("&"):
        if pair == key:
            return None
        if pair.startswith(name):
            place = _leading_integer(pair[len(name) :].partition("=")[0])
            return place if place is not None and 0 <= place < variations else None
    return None


def _leading_integer(text: str) -> int | None:
    """Return the integer that a text begins with, as `parseInt` finds it."""
    match = _LEADING_INTEGER.match(text)
    if match is None:
        return None
    sign, hexadecimal, digits = match.groups()
    if len(hexadecimal or digits) > _LONGEST_INTEGER:
        return None
    found = int(hexadecimal, 16) if hexadecimal else int(digits)
    return -found if sign == "-" else found


# Sticky buckets


def _assignments(known: Known) -> Callable[[dict[str, Any], Any, Any], int | None]:
    """Return what finds the variation that a unit had, -1 for who is to leave, None for none.

    It is given the documents, and the values of the attribute and of the fallback attribute. What
    is stored by the second counts where nothing is by the first.
    """
    first, second = f"{known.by}||", f"{known.fallback or 'id'}||"
    prefix = f"{known.key}__"
    wanted = f"{prefix}{known.bucket_version}"
    least = known.least_bucket_version
    blocked = [f"{prefix}{version}" for version in range(min(least, _MOST_VERSIONS))]
    is_free = frozenset(blocked).isdisjoint if blocked else None
    places = {
        key: place if place < known.variations else -1
        for place, key in reversed(list(enumerate(known.keys)))
        if key.__class__ is str
    }

    def find(documents: dict[str, Any], value: Any, other_value: Any) -> int | None:
        variation = None
        own = documents.get(first + (value if value.__class__ is str else _written(value)))
        if own.__class__ is dict:
            assignments = own.get("assignments")
            if assignments.__class__ is dict:
                if is_free is not None and not is_free(assignments):
                    return -1
                variation = assignments.get(wanted)
        if (variation is None or is_free is not None) and is_true(other_value):
            value = other_value
            own = documents.get(second + (value if value.__class__ is str else _written(value)))
            if own.__class__ is dict:
                assignments = own.get("assignments")
                if assignments.__class__ is dict:
                    if is_free is not None and not is_free(assignments):
                        return -1
                    if variation is None:
                        variation = assignments.get(wanted)
        return places.get(variation) if variation.__class__ is str else None

    return find


_MOST_VERSIONS = 1_000
"""Versions of an experiment's buckets that can be ended; GrowthBook counts them from 0."""


def _written(value: Any) -> str:
    return "" if value is None else text_of(value)
