"""From the entries of a snapshot to callables that answer. Total: problems are results.

A flag that has an error in its definition, or names a segment that cannot be used, is quarantined
alone: it answers `PARSE_ERROR`, carries its problems, and the rest is served. A snapshot is made
aside, in small steps, and is never changed afterwards; what did not change since the previous one
is taken over as the same object, so its counters go on.

What did not change: the line of the flag is the same bytes, and every segment it reads, through
other segments too, is the same compiled object.
"""

from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import msgspec

from proxy.contract.codes import ErrorCode, KeyKind, ProblemCode
from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition, KeyDefinition, SegmentDefinition
from proxy.contract.problems import Problem
from proxy.contract.snapshot import Entry, EntryKind
from proxy.engine import program as p
from proxy.engine.answers import Answer, AnswerMaker, error_answer
from proxy.engine.codegen import Evaluate, evaluation
from proxy.engine.native import flag_program
from proxy.engine.segments import (
    CompiledSegment,
    compile_segments,
    errors,
    unusable,
)
from proxy.engine.validate import examine_definition

__all__ = ["CompiledFlag", "CompiledSnapshot", "compile_flag", "compile_snapshot"]

T = TypeVar("T")

_ENTRIES_A_STEP = 1_000
"""Entries sorted by kind before a breath is taken; a fifth of a millisecond."""


class CompiledFlag(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One flag of one environment, ready to answer.

    `evaluate(context, now_ms)` returns one of `answers`; it never raises, for any JSON object.
    `static`: the answer depends neither on the context nor on time. `attributes` are the top-level
    members of a context that can matter, None when that is not known. `problems` is not empty when
    the flag is quarantined.
    """

    key: str
    evaluate: Evaluate
    answers: tuple[Answer, ...]
    client_side: bool = False
    track: bool = False
    static: bool = True
    attributes: frozenset[str] | None = frozenset()
    problems: tuple[Problem, ...] = ()
    line: bytes = b""
    """The line of the snapshot it was made from; empty when it was made alone."""
    segments: tuple[tuple[str, CompiledSegment | None], ...] = ()
    """The segments it names, as they were when it was compiled."""

    def __repr__(self) -> str:
        return f"<CompiledFlag {self.key!r}: {len(self.problems) or 'no'} problems>"


class CompiledSnapshot(msgspec.Struct, frozen=True, eq=False):
    """Everything one environment needs to answer.

    `flags` are in the order of their keys' bytes; `keys` are evaluation keys by their hash. An
    evaluation key that could not be read is there as one that nothing matches, so that a mistake in
    it does not make an environment look as if it had no keys. `segments` are by their names.
    """

    flags: dict[str, CompiledFlag]
    keys: dict[str, KeyDefinition]
    quarantined: dict[str, tuple[Problem, ...]]
    segments: dict[str, CompiledSegment]


def compile_snapshot(
    entries: Mapping[tuple[EntryKind, str], Entry], previous: CompiledSnapshot | None = None
) -> Generator[None, None, CompiledSnapshot]:
    """Compile a snapshot, yielding between steps well under 5 ms; the generator returns it."""
    old = previous or CompiledSnapshot({}, {}, {}, {})
    of_kind: dict[EntryKind, dict[str, Entry]] = {"segment": {}, "flag": {}, "key": {}}
    for number, ((kind, key), entry) in enumerate(entries.items()):
        of_kind[kind][key] = entry
        if number % _ENTRIES_A_STEP == 0:
            yield
    segments = yield from compile_segments(of_kind["segment"], old.segments)
    yield
    flags: dict[str, CompiledFlag] = {}
    quarantined: dict[str, tuple[Problem, ...]] = {}
    # by code points, which is the order of the bytes of UTF-8
    for key in sorted(of_kind["flag"]):
        entry = of_kind["flag"][key]
        before = old.flags.get(key)
        if (
            before is not None
            and before.line == entry.line
            and _are_current(before.segments, segments)
        ):
            flag = before
        else:
            flag = yield from _from_entry(entry, segments)
        flags[key] = flag
        if flag.problems:
            quarantined[key] = flag.problems
        yield
    keys = yield from _evaluation_keys(of_kind["key"])
    return CompiledSnapshot(flags, keys, quarantined, segments)


def compile_flag(
    key: str, definition: FlagDefinition, segments: Mapping[str, SegmentDefinition]
) -> CompiledFlag:
    """Return one flag compiled alone, with the segments it may name."""
    compiled = finish(compile_segments(segments))
    return finish(_from_definition(key, definition, compiled, b""))


def finish(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _are_current(
    uses: tuple[tuple[str, CompiledSegment | None], ...], segments: Mapping[str, CompiledSegment]
) -> bool:
    return not uses or all(segments.get(name) is segment for name, segment in uses)


def _from_entry(
    entry: Entry, segments: Mapping[str, CompiledSegment]
) -> Generator[None, None, CompiledFlag]:
    definition, problems = decode(entry.definition, FlagDefinition)
    if definition is None:
        return _quarantined(entry.key, problems, entry.line)
    yield
    return (yield from _from_definition(entry.key, definition, segments, entry.line))


def _from_definition(
    key: str,
    definition: FlagDefinition,
    segments: Mapping[str, CompiledSegment],
    line: bytes,
) -> Generator[None, None, CompiledFlag]:
    problems, found = examine_definition(key, definition, segments)
    uses = tuple((name, segments.get(name)) for name in dict.fromkeys(name for _, name in found))
    problems = errors(problems)
    if definition.enabled:
        problems += unusable(found, segments)
    else:
        # Its rules are not asked: switching a flag off works whatever became of its segments.
        problems = [p for p in problems if p.code is not ProblemCode.UNKNOWN_SEGMENT]
    if problems:
        return _quarantined(key, problems, line, definition, uses)
    yield
    try:
        return (yield from _compiled(key, definition, segments, line, uses))
    except Exception as error:
        # One flag must not cost the others, whatever is wrong with it that nobody thought of.
        message = f"the compiler failed ({type(error).__name__}); please report this definition"
        problem = Problem("", ProblemCode.NOT_COMPILED, message)
        return _quarantined(key, [problem], line, definition, uses)


def _compiled(
    key: str,
    definition: FlagDefinition,
    segments: Mapping[str, CompiledSegment],
    line: bytes,
    uses: tuple[tuple[str, CompiledSegment | None], ...],
) -> Generator[None, None, CompiledFlag]:
    program = flag_program(definition)
    yield
    maker = AnswerMaker(key, definition)
    inner = {name: segment.holds for name, segment in uses if segment is not None}
    evaluate, read = yield from evaluation(program, maker.answer, inner)
    return CompiledFlag(
        key,
        evaluate,
        maker.made,
        client_side=definition.client_side,
        track=definition.track,
        static=not program.steps and isinstance(program.otherwise, p.Outcome),
        attributes=read.union(*(used.attributes for _, used in uses if used is not None)),
        line=line,
        segments=uses,
    )


def _quarantined(
    key: str,
    problems: list[Problem],
    line: bytes,
    definition: FlagDefinition | None = None,
    uses: tuple[tuple[str, CompiledSegment | None], ...] = (),
) -> CompiledFlag:
    """Return a flag that answers only that its definition cannot be used.

    The answer names the first problem by code and place, but quotes nothing of the definition:
    those who may evaluate need not be those who may read it.
    """
    first = problems[0]
    where = f" at {first.pointer}" if first.pointer else ""
    details = f"the definition of this flag cannot be used: {first.code}{where}"
    answer = error_answer(key, ErrorCode.PARSE_ERROR, details)

    def evaluate(_context: dict[str, Any], _now_ms: int) -> Answer:
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
