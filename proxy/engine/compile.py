"""From the entries of a snapshot to callables that answer. Total: problems are results.

A flag that has an error in its definition, or names a segment that cannot be used, is quarantined
alone: it answers `PARSE_ERROR`, carries its problems, and the rest is served. A flag that is
another's prerequisite and cannot answer makes that one serve what it serves when off, also when
it cannot because it is on a circle of prerequisites; a disabled flag asks nobody. A snapshot is
made aside, in small steps, and is never changed afterwards; what did not change since the
previous one is taken over as the same object, so its counters go on.

What did not change: the line of the flag is the same bytes, and every segment and every flag that
it asks, through others too, is the same compiled object. `compile_snapshot` looks at every entry,
`compile_changes` at those that are told to have changed and at what depends on them.

Flags with prerequisites come last, in the order in which they name each other.
"""

from collections.abc import Collection, Generator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, KeyKind, ProblemCode
from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition, KeyDefinition, SegmentDefinition
from proxy.contract.problems import Problem
from proxy.contract.snapshot import Entry, EntryKind
from proxy.contract.steps import finish
from proxy.engine import program as p
from proxy.engine.answers import Answer, AnswerMaker, error_answer
from proxy.engine.codegen import evaluation
from proxy.engine.compiled import CompiledFlag, CompiledSegment, CompiledSnapshot, untold
from proxy.engine.dialects import Translation
from proxy.engine.graph import circling, ordering
from proxy.engine.memo import Memo
from proxy.engine.prerequisites import chain_problems
from proxy.engine.segments import (
    compile_segments,
    errors,
    joined,
    lacks_blobs,
    unusable,
)
from proxy.engine.sizes import LARGE_BYTES, decoded
from proxy.engine.timing import together
from proxy.engine.translate import asked_flags, translate, translating
from proxy.engine.validate import examine_definition

__all__ = [
    "compile_changes",
    "compile_flag",
    "compile_snapshot",
]

_ENTRIES_A_STEP = 1_000
"""Entries sorted by kind before a breath is taken; a fifth of a millisecond."""

_CHAINED_A_STEP = 200
"""Flags with prerequisites, up to twenty each, looked at before a breath is taken."""

_NO_BLOBS: Mapping[str, bytes] = {}


_Entries = Mapping[tuple[EntryKind, str], Entry]


def compile_snapshot(
    entries: _Entries,
    previous: CompiledSnapshot | None = None,
    blobs: Mapping[str, bytes] = _NO_BLOBS,
) -> Generator[None, None, CompiledSnapshot]:
    """Compile a snapshot, yielding between steps well under 5 ms; the generator returns it.

    `blobs` hold the long lists of units of its segments, by their digests.
    """
    old = previous or CompiledSnapshot({}, {}, {}, {})
    of_kind: dict[EntryKind, dict[str, Entry]] = {"segment": {}, "flag": {}, "key": {}}
    for number, ((kind, key), entry) in enumerate(entries.items()):
        of_kind[kind][key] = entry
        if number % _ENTRIES_A_STEP == 0:
            yield
    segments = yield from compile_segments(of_kind["segment"], old.segments, blobs)
    yield
    # by code points, which is the order of the bytes of UTF-8
    flags: dict[str, CompiledFlag | None] = dict.fromkeys(sorted(of_kind["flag"]))
    yield
    chained = yield from _compile_flags(of_kind["flag"], list(flags), flags, segments, old)
    keys = yield from _evaluation_keys(of_kind["key"])
    quarantined: dict[str, tuple[Problem, ...]] = {}
    for number, (key, flag) in enumerate(flags.items(), 1):
        if flag is not None and flag.problems:
            quarantined[key] = flag.problems
        if number % _ENTRIES_A_STEP == 0:
            yield
    return CompiledSnapshot(
        flags,  # type: ignore[arg-type]  # each was compiled by now
        keys,
        quarantined,
        segments,
        frozenset(chained),
    )


def compile_changes(
    entries: _Entries,
    changed: Collection[tuple[EntryKind, str]],
    previous: CompiledSnapshot,
    blobs: Mapping[str, bytes] = _NO_BLOBS,
) -> Generator[None, None, CompiledSnapshot]:
    """Compile a snapshot that differs from the previous one by the changed entries only.

    `entries` are all of it, `changed` those that were set or removed; the result is what
    `compile_snapshot` gives. One changed flag among ten thousand takes a third of a millisecond.
    """
    names: dict[EntryKind, set[str]] = {"segment": set(), "flag": set(), "key": set()}
    for kind, key in changed:
        names[kind].add(key)
    segments = previous.segments
    pending = names["flag"]
    if names["segment"] or any(map(lacks_blobs, segments.values())):
        sources = {key: entry for (kind, key), entry in entries.items() if kind == "segment"}
        segments = yield from compile_segments(sources, previous.segments, blobs)
        yield
        pending = pending | (yield from _concerned(previous.flags, segments))
    pending = pending | (yield from _asking(pending, previous))
    sources = {key: entry for key in pending if (entry := entries.get(("flag", key))) is not None}
    flags: dict[str, CompiledFlag | None] = dict(previous.flags)
    added = False
    for key in pending:
        if key not in sources:
            flags.pop(key, None)
        elif key not in flags:
            flags[key] = None
            added = True
    yield
    if added:
        order = sorted(flags)  # which is fast, because nearly all of it is in order
        yield
        flags = {key: flags[key] for key in order}
        yield
    chained = yield from _compile_flags(sources, sorted(sources), flags, segments, previous)
    quarantined = {key: found for key, found in previous.quarantined.items() if key not in pending}
    for key in sources:
        flag = flags[key]
        if flag is not None and flag.problems:
            quarantined[key] = flag.problems
    quarantined = dict(sorted(quarantined.items()))
    keys = previous.keys
    if names["key"]:
        keys = yield from _evaluation_keys(
            {key: entry for (kind, key), entry in entries.items() if kind == "key"}
        )
    return CompiledSnapshot(
        flags,  # type: ignore[arg-type]  # each was compiled by now
        keys,
        quarantined,
        segments,
        (previous.chained - pending) | chained,
        frozenset(pending),
    )


def compile_flag(
    key: str,
    definition: FlagDefinition,
    segments: Mapping[str, SegmentDefinition],
    flags: Mapping[str, CompiledFlag] | None = None,
) -> CompiledFlag:
    """Return one flag compiled alone, with the segments it may name and the flags it may ask."""
    compiled = finish(compile_segments(segments))
    return finish(_from_definition(key, definition, compiled, flags or {}, b""))


def _concerned(
    flags: Mapping[str, CompiledFlag], segments: Mapping[str, CompiledSegment]
) -> Generator[None, None, set[str]]:
    """Return the flags that name a segment which is another now."""
    found: set[str] = set()
    for number, (key, flag) in enumerate(flags.items(), 1):
        if not _are_current(flag.segments, segments):
            found.add(key)
        if number % _CHAINED_A_STEP == 0:
            yield
    return found


def _asking(keys: Collection[str], snapshot: CompiledSnapshot) -> Generator[None, None, set[str]]:
    """Return the flags that ask one of some flags, also through others."""
    users: dict[str, list[str]] = {}
    for number, key in enumerate(snapshot.chained, 1):
        for name, _ in snapshot.flags[key].prerequisites:
            users.setdefault(name, []).append(key)
        if number % _CHAINED_A_STEP == 0:
            yield
    found: set[str] = set()
    stack = list(keys) if users else []
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in found:
                found.add(user)
                stack.append(user)
                if len(found) % _CHAINED_A_STEP == 0:
                    yield
    return found


def _compile_flags(
    entries: Mapping[str, Entry],
    keys: Collection[str],
    flags: dict[str, CompiledFlag | None],
    segments: Mapping[str, CompiledSegment],
    old: CompiledSnapshot,
) -> Generator[None, None, set[str]]:
    """Compile the flags of some keys into `flags`; return which of them have prerequisites."""
    chains: dict[str, FlagDefinition | None] = {}
    asks: dict[str, list[str]] = {}
    for key in keys:
        entry = entries[key]
        before = old.flags.get(key)
        if before is not None and before.line == entry.line:
            if before.prerequisites:
                chains[key], asks[key] = None, [name for name, _ in before.prerequisites]
                continue
            if not before.segments or _are_current(before.segments, segments):
                flags[key] = before
                yield
                continue
        if len(entry.line) > LARGE_BYTES:
            definition, problems = yield from decoded(entry, FlagDefinition)
        else:
            definition, problems = decode(entry.definition, FlagDefinition)
        if definition is None:
            flags[key] = _quarantined(key, problems, entry.line)
        elif asked := asked_flags(definition):
            chains[key], asks[key] = definition, asked
        else:
            yield
            flags[key] = yield from _from_definition(key, definition, segments, {}, entry.line)
        yield
    chained = set(chains)
    if chains:
        yield from _compile_chains(entries, chains, asks, flags, segments, old)
    return chained


def _compile_chains(
    entries: Mapping[str, Entry],
    chains: dict[str, FlagDefinition | None],
    asks: Mapping[str, list[str]],
    flags: dict[str, CompiledFlag | None],
    segments: Mapping[str, CompiledSegment],
    old: CompiledSnapshot,
) -> Generator[None, None, None]:
    """Compile flags that ask others, each after those it asks; `chains` is used up.

    Each definition goes when it was used: ten thousand at once would take 10 ms.
    """
    order, left = yield from ordering(asks)
    if left:
        circles = yield from circling({key: asks[key] for key in left})
        for key in circles:
            line, before, _ = entries[key].line, old.flags.get(key), chains.pop(key)
            if before is None or before.line != line or not _is_on_circle(before):
                before = _on_circle(key, entries[key], asks[key])
            flags[key] = before
            yield
        rest = {key: asks[key] for key in asks if key not in circles}
        order, _ = yield from ordering(rest)
    for key in order:
        entry, definition = entries[key], chains.pop(key)
        before = old.flags.get(key)
        if definition is None and before is not None and not _is_on_circle(before):
            asked_same = all(flags.get(name) is flag for name, flag in before.prerequisites)
            if asked_same and _are_current(before.segments, segments):
                flags[key] = before
                yield
                continue
        if definition is None:
            definition, _ = decode(entry.definition, FlagDefinition)
        if definition is not None:
            flags[key] = yield from _from_definition(key, definition, segments, flags, entry.line)
        yield


_CIRCLE = Problem(
    "/prerequisites", ProblemCode.PREREQUISITE_CYCLE, "the flag is a prerequisite of itself"
)


def _on_circle(key: str, entry: Entry, asked: Collection[str]) -> CompiledFlag:
    """Return the flag of an entry that is on a circle of prerequisites."""
    definition, _ = decode(entry.definition, FlagDefinition)
    # those it asks are not compiled yet, and some of them ask it
    asks = tuple((name, None) for name in dict.fromkeys(asked))
    if definition is not None and definition.source is not UNSET:
        translation = translate(key, definition)
        if translation.circular is not None:
            uses = _Uses(flags=asks, line=entry.line)
            made = finish(_compiled(key, definition, uses, translation.circular, translation))
            return msgspec.structs.replace(made, circular=True)
    return _quarantined(key, [_CIRCLE], entry.line, definition, asks=asks)


def _is_on_circle(flag: CompiledFlag) -> bool:
    return flag.circular or flag.problems == (_CIRCLE,)


def _are_current(
    uses: tuple[tuple[str, CompiledSegment | None], ...], segments: Mapping[str, CompiledSegment]
) -> bool:
    return not uses or all(segments.get(name) is segment for name, segment in uses)


class _Uses(msgspec.Struct, frozen=True):
    """What a flag was compiled against: segments by name, flags by key, and its own line."""

    segments: tuple[tuple[str, CompiledSegment | None], ...] = ()
    flags: tuple[tuple[str, CompiledFlag | None], ...] = ()
    line: bytes = b""


def _from_definition(
    key: str,
    definition: FlagDefinition,
    segments: Mapping[str, CompiledSegment],
    flags: Mapping[str, CompiledFlag | None],
    line: bytes,
) -> Generator[None, None, CompiledFlag]:
    problems, named = yield from examine_definition(key, definition, segments)
    translation = None
    places = named.segments
    if definition.source is not UNSET:
        translation = translate(key, definition)
        problems += translation.problems
        places = [(("source",), name) for name in translation.named.segments]
    asked = asked_flags(definition)
    uses = _Uses(
        tuple([(name, segments.get(name)) for name in dict.fromkeys([n for _, n in places])]),
        tuple([(name, flags.get(name)) for name in asked]),
        line,
    )
    problems = errors(problems)
    if definition.enabled:
        problems += unusable(places, segments)
        problems += chain_problems(uses.flags) if asked else []
    else:
        # Nobody is asked: switching off works whatever became of its segments and prerequisites.
        problems = [problem for problem in problems if problem.code not in _OF_OTHERS]
    if problems:
        return _quarantined(key, problems, line, definition, uses.segments, uses.flags)
    yield
    try:
        if translation is None:
            if len(line) > LARGE_BYTES:
                translation = yield from translating(key, definition)
                yield
            else:
                translation = translate(key, definition)
        return (yield from _compiled(key, definition, uses, translation.program, translation))
    except Exception as error:
        # One flag must not cost the others, whatever is wrong with it that nobody thought of.
        message = f"the compiler failed ({type(error).__name__}); please report this definition"
        problem = Problem("", ProblemCode.NOT_COMPILED, message)
        return _quarantined(key, [problem], line, definition, uses.segments, uses.flags)


_OF_OTHERS = (ProblemCode.UNKNOWN_SEGMENT, ProblemCode.PREREQUISITE_CYCLE)


def _compiled(
    key: str,
    definition: FlagDefinition,
    uses: _Uses,
    program: p.Program | p.Timeline | None,
    translation: Translation,
) -> Generator[None, None, CompiledFlag]:
    assert program is not None, "or there were problems"  # noqa: S101 - for the type
    program = p.small(program)
    yield
    maker = AnswerMaker(
        key, translation.variants, definition.metadata, untold(definition, uses.flags)
    )
    segments = [segment for _, segment in uses.segments if segment is not None]
    flags = [flag for _, flag in uses.flags if flag is not None]
    made = yield from evaluation(
        program,
        maker.answering,
        {segment.key: segment.holds for segment in segments},
        {flag.key: flag.evaluate for flag in flags},
    )
    static = p.is_constant(program)
    parts: list[CompiledSegment | CompiledFlag] = [] if static else [*segments, *flags]
    served = {answer.variant for answer in maker.made}
    return CompiledFlag(
        key,
        made.function,
        maker.made,
        client_side=definition.client_side,
        track=definition.track,
        static=static,
        attributes=joined([made.reads, *(part.attributes for part in parts)]),
        timing=together([made.timing, *(part.timing for part in parts)]),
        unserved=tuple(name for name in translation.variants if name not in served),
        line=uses.line,
        segments=uses.segments,
        prerequisites=uses.flags,
        nesting=1 + max((flag.nesting for flag in flags), default=0) if uses.flags else 0,
        asked=len(uses.flags) + sum(flag.asked for flag in flags),
    )


def _quarantined(
    key: str,
    problems: list[Problem],
    line: bytes,
    definition: FlagDefinition | None = None,
    uses: tuple[tuple[str, CompiledSegment | None], ...] = (),
    asks: tuple[tuple[str, CompiledFlag | None], ...] = (),
) -> CompiledFlag:
    """Return a flag that answers only that its definition cannot be used.

    The answer names the first problem by code and place, but quotes nothing of the definition:
    those who may evaluate need not be those who may read it.
    """
    first = problems[0]
    where = f" at {first.pointer}" if first.pointer else ""
    details = f"the definition of this flag cannot be used: {first.code}{where}"
    answer = error_answer(key, ErrorCode.PARSE_ERROR, details)

    def evaluate(_context: dict[str, Any], _now_ms: int, _memo: Memo | None = None, /) -> Answer:
        return answer

    return CompiledFlag(
        key,
        evaluate,
        (answer,),
        client_side=definition is not None and definition.client_side,
        track=False,
        problems=tuple(problems),
        line=line,
        segments=uses,
        prerequisites=asks,
    )


def _evaluation_keys(
    entries: Mapping[str, Entry],
) -> Generator[None, None, dict[str, KeyDefinition]]:
    keys: dict[str, KeyDefinition] = {}
    for name, entry in entries.items():
        key, _ = decode(entry.definition, KeyDefinition)
        if key is None:
            # no SHA-256 in hexadecimal looks like this name, and 1970 is past
            name = f"unreadable:{name}"
            key = KeyDefinition(name, KeyKind.CLIENT, expires_at_ms=0)
        keys[key.hash] = key
        yield
    return keys
