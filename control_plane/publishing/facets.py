"""Which flags have a tag, a type or are archived: sorted keys by facet. Pure.

A list that filters looks only at the flags that have the rarest facet it asks for. Going through
ten thousand flags to find none takes some 10 ms in a process that does other things, too.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from proxy.contract.definitions import Flag

__all__ = ["FacetIndex", "facets_of"]

_NONE: frozenset[str] = frozenset()


def facets_of(
    *, tags: Iterable[str] = (), type_: str | None = None, archived: bool | None = None
) -> frozenset[str]:
    """Return facets, as text; what is None or absent is none."""
    found = {f"tag:{tag}" for tag in tags}
    if type_ is not None:
        found.add(f"type:{type_}")
    if archived is not None:
        found.add(f"archived:{archived}")
    return frozenset(found)


class FacetIndex:
    """The keys of flags, in order, by facet."""

    __slots__ = ("_facets", "_keys")

    def __init__(self) -> None:
        self._facets: dict[str, frozenset[str]] = {}
        self._keys: dict[str, list[str]] = {}

    def copy(self) -> "FacetIndex":
        """Return an equal index that changes apart from this one."""
        made = FacetIndex()
        made._facets = self._facets.copy()
        made._keys = {facet: keys.copy() for facet, keys in self._keys.items()}
        return made

    def put(self, flag: Flag) -> None:
        """Add a flag, or take note of what it has become."""
        facets = facets_of(tags=flag.tags, type_=flag.type, archived=flag.archived)
        self._become(flag.key, facets)

    def remove(self, key: str) -> None:
        """Forget a flag; absent ones are no error."""
        self._become(key, _NONE)

    def with_all(self, facets: frozenset[str]) -> tuple[Sequence[str], frozenset[str]] | None:
        """Return the keys that have the rarest of some facets, in order, and the other facets.

        None when no facet is asked for.
        """
        if not facets:
            return None
        rarest = min(facets, key=lambda facet: len(self._keys.get(facet, ())))
        return self._keys.get(rarest, ()), facets - {rarest}

    def has_all(self, key: str, facets: frozenset[str]) -> bool:
        """Return whether a flag has all of some facets."""
        return facets <= self._facets.get(key, _NONE)

    def _become(self, key: str, facets: frozenset[str]) -> None:
        before = self._facets.get(key, _NONE)
        if facets == before:
            return
        for facet in before - facets:
            keys = self._keys[facet]
            del keys[bisect_left(keys, key)]
            if not keys:
                del self._keys[facet]
        for facet in facets - before:
            insort(self._keys.setdefault(facet, []), key)
        if facets:
            self._facets[key] = facets
        else:
            self._facets.pop(key, None)
