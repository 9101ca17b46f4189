"""A snapshot as one scope of keys sees it, prepared for answering. Pure.

Made once per snapshot and scope. Flags whose answer never changes are joined into runs of bytes
once; a bulk answer then evaluates only the others. Their evaluations are counted by one integer
per view, which `settle` hands out to the answers when somebody wants to read the counts.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from msgspec import UNSET, UnsetType

from proxy.contract.snapshot import SnapshotHeader
from proxy.engine import Answer, CompiledFlag, CompiledSnapshot
from proxy.ofrep.auth import Scope
from proxy.ofrep.etag import context_etag, etag_seed

__all__ = ["View", "Views"]


class View:
    """The flags that one scope sees of one snapshot.

    What only bulk answers need is prepared when the first one is asked for.
    """

    __slots__ = ("_parts", "_relevant", "_seed", "_static", "_uncounted", "flags")

    def __init__(self, flags: dict[str, CompiledFlag], digest: str, scope: Scope) -> None:
        """Take the flags in the order of a bulk answer."""
        self.flags = flags
        self._seed = etag_seed(digest, scope)
        self._relevant: tuple[str, ...] | UnsetType | None = UNSET
        self._parts: list[bytes | list[CompiledFlag]] | None = None
        self._static: list[Answer] = []
        self._uncounted = 0

    def etag(self, context: dict[str, Any]) -> str | None:
        """Return the ETag of all flags for a context, or None when only the result can tell."""
        if isinstance(self._relevant, UnsetType):
            self._relevant = _relevant(flag for flag in self.flags.values() if not flag.static)
        return context_etag(self._seed, context, self._relevant)

    def render(self, context: dict[str, Any], now_ms: int) -> bytes:
        """Return the body of a bulk answer, every flag evaluated and counted."""
        pieces: list[bytes] = []
        for part in self._parts or self._prepare():
            if isinstance(part, bytes):
                pieces.append(part)
                continue
            for flag in part:
                answer = flag.evaluate(context, now_ms)
                answer.evaluations += 1
                pieces.append(answer.body)
        self._uncounted += 1
        return b'{"flags":[' + b",".join(pieces) + b"]}"

    def _prepare(self) -> list[bytes | list[CompiledFlag]]:
        """Return the parts of a bulk answer: bytes that never change, and flags to evaluate."""
        self._parts = []
        for static, run in groupby(self.flags.values(), key=lambda flag: flag.static):
            if static:
                answers = [flag.evaluate({}, 0) for flag in run]
                self._static += answers
                self._parts.append(b",".join(answer.body for answer in answers))
            else:
                self._parts.append(list(run))
        return self._parts

    def settle(self) -> None:
        """Add the evaluations of unchanging flags to their answers' counts."""
        if count := self._uncounted:
            self._uncounted = 0
            for answer in self._static:
                answer.evaluations += count


class Views:
    """One snapshot and its views, each made when first asked for."""

    __slots__ = ("_made", "compiled", "header")

    def __init__(self, compiled: CompiledSnapshot, header: SnapshotHeader) -> None:
        self.compiled = compiled
        self.header = header
        self._made: dict[Scope, View] = {}

    def of(self, scope: Scope) -> View:
        """Return the view of a scope."""
        view = self._made.get(scope)
        if view is None:
            flags = self.compiled.flags
            if scope is Scope.CLIENT:
                flags = {key: flag for key, flag in flags.items() if flag.client_side}
            view = self._made[scope] = View(flags, self.header.digest, scope)
        return view

    def settle(self) -> None:
        """Bring the counts of all answers up to date."""
        for view in self._made.values():
            view.settle()


def _relevant(flags: Iterable[CompiledFlag]) -> tuple[str, ...] | None:
    """Return the top-level attributes that any of the flags reads, None when one cannot tell."""
    names: set[str] = set()
    for flag in flags:
        if flag.attributes is None:
            return None
        names |= flag.attributes
    return tuple(sorted(names))
