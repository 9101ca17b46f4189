"""A snapshot as one scope of keys sees it, prepared for answering. Pure.

Made once per snapshot and scope. Flags whose answer never changes are joined into runs of bytes
once; a bulk answer then evaluates only the others, which share what segments and prerequisites
come to. The whole body is kept for a tag that comes again: a tag names everything that the body
follows from (`proxy.ofrep.etag`). Who asks only once, as most do, leaves nothing behind.

Evaluations that happen together are counted by one integer, of a view or of a kept body, which
`settle` hands out to the answers when somebody wants to read the counts.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.contract.codes import ProblemCode
from proxy.contract.snapshot import SnapshotHeader
from proxy.engine import Answer, CompiledFlag, CompiledSnapshot, Evaluate, Memo
from proxy.ofrep.auth import Scope
from proxy.ofrep.etag import context_etag, etag_seed, slice_name

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["LIVE_PACE_MS", "Slice", "View", "Views"]


class _Changing(NamedTuple):
    """What of a context, and of time, the answers of a view depend on."""

    relevant: tuple[str, ...] | None
    """Top-level attributes that any flag reads, None when one cannot tell."""
    moments: list[int]
    """When the answer of some flag changes by itself, Unix ms ascending."""
    live: list[tuple[int, int, CompiledFlag]]
    """From when until before when a flag may change at any moment."""


class Slice(NamedTuple):
    """A span of time, Unix ms, None for no end: within it nothing new has to be told."""

    since_ms: int | None
    until_ms: int | None


LIVE_PACE_MS = 60_000
"""How often it is worth while to look again at what may change at any moment. A ramp of an hour
has moved by 1.7 % then; a page that asks costs as much as one that polls once a minute."""

_MAX_KEPT_BYTES = 8_388_608  # 80 bodies of 350 flags; a sidecar has some 60 MB in all
_MAX_KEPT_BODY = _MAX_KEPT_BYTES // 8
_MAX_TAGS = 4_096
"""Tags remembered in order to tell which come again: 0.5 MB."""


_Template = tuple[list[bytes], list[Evaluate]]
"""What never changes of a bulk answer, every other piece left empty, and what fills those."""


class _Kept:
    """A body that was asked for twice, and the answers it is made of."""

    __slots__ = ("answers", "body", "uncounted")

    def __init__(self, body: bytes, answers: list[Answer]) -> None:
        self.body = body
        self.answers = answers
        self.uncounted = 0

    def settle(self) -> None:
        if count := self.uncounted:
            self.uncounted = 0
            for answer in self.answers:
                answer.evaluations += count


class View:
    """The flags that one scope sees of one snapshot.

    What only bulk answers need is prepared when the first one is asked for.
    """

    __slots__ = (
        "_changing",
        "_kept",
        "_seed",
        "_shares",
        "_static",
        "_tags",
        "_template",
        "_uncounted",
        "flags",
        "kept_bytes",
        "suspicious_units",
    )

    def __init__(
        self,
        flags: dict[str, CompiledFlag],
        seed: "_Hash",
        suspicious_units: Counter[str],
    ) -> None:
        """Take the flags in the order of a bulk answer, and where to count suspicious units.

        `seed` is what the tags of all contexts begin with, `etag_seed`.
        """
        self.flags = flags
        self.suspicious_units = suspicious_units
        self._seed = seed
        self._changing: _Changing | None = None
        self._shares = False
        self._template: _Template | None = None
        self._kept: dict[str, _Kept] = {}
        self.kept_bytes = 0
        """Of the bodies that are kept."""
        self._tags: set[str] = set()
        self._static: list[Answer] = []
        self._uncounted = 0

    def etag(self, context: dict[str, Any], now_ms: int) -> str | None:
        """Return the ETag of all flags for a context, or None when only the result can tell."""
        changing = self._what_changes()
        passed = bisect_right(changing.moments, now_ms)
        since_ms = changing.moments[passed - 1] if passed else None
        live = [
            flag.evaluate(context, now_ms).body
            for start_ms, end_ms, flag in changing.live
            if start_ms <= now_ms < end_ms
        ]
        return context_etag(self._seed, context, changing.relevant, since_ms, live)

    def slice(self, now_ms: int) -> Slice:
        """Return the present slice of time, as who is told of changes must know it.

        It ends when an answer changes by itself, or may have, and it is time to look.
        """
        changing = self._what_changes()
        passed = bisect_right(changing.moments, now_ms)
        since = changing.moments[:passed][-1:]
        until = changing.moments[passed : passed + 1]
        if any(start_ms <= now_ms < end_ms for start_ms, end_ms, _ in changing.live):
            looked_ms = now_ms - now_ms % LIVE_PACE_MS
            since.append(looked_ms)
            until.append(looked_ms + LIVE_PACE_MS)
        return Slice(max(since, default=None), min(until, default=None))

    def name(self, present: Slice) -> str:
        """Return a name of what all contexts evaluate to in a slice of time, 32 digits."""
        return slice_name(self._seed, present.since_ms)

    def render(self, context: dict[str, Any], now_ms: int, tag: str | None = None) -> bytes:
        """Return the body of a bulk answer, every flag evaluated and counted.

        `tag` is what `etag` returned for the same context and time.
        """
        self._uncounted += 1
        kept = self._kept.get(tag) if tag is not None else None
        if kept is not None:
            kept.uncounted += 1
            return kept.body
        template, changing = self._template or self._prepare()
        memo = Memo(context, now_ms) if self._shares else None
        answers = [evaluate(context, now_ms, memo) for evaluate in changing]
        for answer in answers:
            answer.evaluations += 1
        pieces = template.copy()
        pieces[1::2] = [answer.body for answer in answers]
        body = b"".join(pieces)
        if tag is not None:
            self._keep(tag, body, answers)
        return body

    def _what_changes(self) -> _Changing:
        if self._changing is None:
            flags = [flag for flag in self.flags.values() if not flag.static]
            self._changing = _changing(flags)
        return self._changing

    def _keep(self, tag: str, body: bytes, answers: list[Answer]) -> None:
        """Keep a body if its tag was here before, the oldest ones making room."""
        if tag not in self._tags:
            if len(self._tags) >= _MAX_TAGS:
                self._tags.clear()
            self._tags.add(tag)
        elif len(body) <= _MAX_KEPT_BODY:
            self._kept[tag] = _Kept(body, answers)
            self.kept_bytes += len(body)
            while self.kept_bytes > _MAX_KEPT_BYTES:
                oldest = self._kept.pop(next(iter(self._kept)))
                oldest.settle()
                self.kept_bytes -= len(oldest.body)

    def _prepare(self) -> _Template:
        """Return what a bulk answer is made of besides the bodies of the flags that change."""
        template: list[bytes] = []
        changing: list[Evaluate] = []
        run: list[bytes] = [b'{"flags":[']
        for place, flag in enumerate(self.flags.values()):
            if place:
                run.append(b",")
            if flag.static:
                answer = flag.evaluate({}, 0)
                self._static.append(answer)
                run.append(answer.body)
            else:
                changing.append(flag.evaluate)
                template += (b"".join(run), b"")
                run = []
                self._shares |= bool(flag.segments or flag.prerequisites)
        template.append(b"".join(run) + b"]}")
        self._template = template, changing
        return self._template

    def settle(self) -> None:
        """Add the evaluations that were counted together to their answers' counts."""
        for kept in self._kept.values():
            kept.settle()
        if count := self._uncounted:
            self._uncounted = 0
            for answer in self._static:
                answer.evaluations += count


class Views:
    """One snapshot and its views, each made when first asked for.

    With `defaults` these answer, in the place of its flags.
    """

    __slots__ = ("_defaults", "_made", "_shown", "_suspicious_units", "compiled", "header")

    def __init__(
        self,
        compiled: CompiledSnapshot,
        header: SnapshotHeader,
        suspicious_units: Counter[str] | None = None,
        defaults: dict[str, CompiledFlag] | None = None,
    ) -> None:
        self.compiled = compiled
        self.header = header
        self._suspicious_units = Counter() if suspicious_units is None else suspicious_units
        self._defaults = defaults
        self._made: dict[Scope, View] = {}
        self._shown: dict[Scope, dict[str, CompiledFlag]] = {}

    def of(self, scope: Scope) -> View:
        """Return the view of a scope."""
        view = self._made.get(scope)
        if view is None:
            stale = self._defaults is not None
            flags = self.shown(scope)
            if self._defaults is not None:
                flags = {key: self._defaults[key] for key in flags}
            seed = etag_seed(self.header.digest, scope, _lacking(self.compiled), stale=stale)
            view = self._made[scope] = View(flags, seed, self._suspicious_units)
        return view

    def shown(self, scope: Scope) -> dict[str, CompiledFlag]:
        """Return the flags of a scope as they were compiled, whatever they answer now.

        What clients report was shown to somebody before, if flags are too old to be answered now.
        """
        flags = self._shown.get(scope)
        if flags is None:
            flags = self.compiled.flags
            if scope is Scope.CLIENT:
                flags = {key: flag for key, flag in flags.items() if flag.client_side}
            self._shown[scope] = flags
        return flags

    def settle(self) -> None:
        """Bring the counts of all answers up to date."""
        for view in self._made.values():
            view.settle()


def _lacking(compiled: CompiledSnapshot) -> list[str]:
    """Return the segments that lack a blob: what the digest of a snapshot does not say of it."""
    return [
        key
        for key, segment in compiled.segments.items()
        if any(problem.code is ProblemCode.MISSING_BLOB for problem in segment.problems)
    ]


def _changing(flags: Iterable[CompiledFlag]) -> _Changing:
    names: set[str] = set()
    known = True
    moments: set[int] = set()
    live: list[tuple[int, int, CompiledFlag]] = []
    for flag in flags:
        known = known and flag.attributes is not None
        names |= flag.attributes or frozenset()
        moments |= flag.timing.moments
        live += [(start_ms, end_ms, flag) for start_ms, end_ms in flag.timing.spans]
    live.sort(key=lambda span: (span[2].key, span[:2]))
    return _Changing(tuple(sorted(names)) if known else None, sorted(moments), live)
