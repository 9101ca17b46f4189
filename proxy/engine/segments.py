"""Segments compiled to callables that the flags naming them share.

In the order in which they name each other, so that each is made once and from finished ones. A
segment that has an error, is on a cycle or names one that cannot be used is not usable itself; the
flags that name it are quarantined, with the reason.
"""

from collections.abc import Generator, Iterable, Mapping

from msgspec import UnsetType

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.decode import decode
from proxy.contract.definitions import SegmentDefinition, UnitList
from proxy.contract.problems import Problem, pointer, under
from proxy.contract.snapshot import Entry
from proxy.contract.steps import Steps
from proxy.engine.codegen import predicate
from proxy.engine.compiled import CompiledSegment
from proxy.engine.conditions import nesting_problems, references, summary
from proxy.engine.findings import Path
from proxy.engine.graph import ordering
from proxy.engine.sizes import LARGE_BYTES, decoded
from proxy.engine.timing import together
from proxy.engine.translate import making_segment, segment_program, segments_of
from proxy.engine.units import UnitSet, unit_set
from proxy.engine.validate import examine_segment

__all__ = ["compile_segments", "errors", "joined", "lacks_blobs", "unusable"]


def compile_segments(
    sources: Mapping[str, Entry | SegmentDefinition],
    previous: Mapping[str, CompiledSegment] | None = None,
    blobs: Mapping[str, bytes] | None = None,
) -> Generator[None, None, dict[str, CompiledSegment]]:
    """Compile all segments, yielding between small steps; unchanged ones are taken over.

    `blobs` hold the long lists of units, by their digests; a segment that lacks one is not usable.
    """
    old = previous or {}
    blobs = blobs or {}
    definitions: dict[str, SegmentDefinition | None] = {}
    named: dict[str, list[str]] = {}
    compiled: dict[str, CompiledSegment] = {}
    broken: dict[str, CompiledSegment] = {}
    for key, source in sources.items():
        before = old.get(key)
        if before is not None and isinstance(source, Entry) and before.line == source.line:
            named[key] = [name for name, _ in before.names]
            definitions[key] = None
        else:
            definition, problems = yield from _decoded(source)
            definitions[key] = definition
            named[key] = []
            if definition is None:
                broken[key] = CompiledSegment(key, problems=tuple(problems), line=_line(source))
            else:
                named[key] = _names(definition)
        yield
    order, cyclic = yield from ordering(named)
    for key in order:
        before = old.get(key)
        if key in broken:
            compiled[key] = broken[key]
        elif (
            definitions[key] is None
            and before is not None
            and not lacks_blobs(before)
            and not _is_on_circle(before)
            and all(compiled.get(name) is segment for name, segment in before.names)
        ):
            compiled[key] = before
        else:
            definition = definitions[key]
            if definition is None:
                definition, _ = yield from _decoded(sources[key])
            if definition is not None:
                line = _line(sources[key])
                known = before.units if before is not None else (None, None)
                sets = yield from _unit_sets(definition, blobs, known)
                compiled[key] = yield from _compiled(key, definition, compiled, sources, line, sets)
        yield
    for key in cyclic:
        line, before = _line(sources[key]), old.get(key)
        if before is None or not line or before.line != line or not _is_on_circle(before):
            names = tuple((name, None) for name in named[key])
            before = CompiledSegment(key, problems=(_CIRCLE,), names=names, line=line)
        compiled[key] = before
    return compiled


_CIRCLE = Problem(
    "/when", ProblemCode.SEGMENT_CYCLE, "the segment contains itself, or one that does"
)


def _is_on_circle(segment: CompiledSegment) -> bool:
    return segment.problems == (_CIRCLE,)


def _names(definition: SegmentDefinition) -> list[str]:
    """Return the segments that a segment names."""
    if not isinstance(definition.source, UnsetType):
        return segments_of(definition.source)
    return [name for _, name in references(definition.when)]


def lacks_blobs(segment: CompiledSegment) -> bool:
    """Return whether a segment would be usable if there were blobs that are missing."""
    return any(problem.code is ProblemCode.MISSING_BLOB for problem in segment.problems)


def unusable(
    found: Iterable[tuple[Path, str]], segments: Mapping[str, CompiledSegment]
) -> list[Problem]:
    """Return a problem for each place that names a segment which is there but cannot be used."""
    problems: list[Problem] = []
    for path, name in found:
        segment = segments.get(name)
        if segment is not None and segment.problems:
            first = segment.problems[0]
            message = f"the segment {name!r} cannot be used: {first.message}"
            problems.append(Problem(pointer(*path), first.code, message, first.hint))
    return problems


def errors(problems: list[Problem]) -> list[Problem]:
    """Return the problems that are more than warnings."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def _decoded(
    source: Entry | SegmentDefinition,
) -> Steps[tuple[SegmentDefinition | None, list[Problem]]]:
    if not isinstance(source, Entry):
        return source, []
    if len(source.line) > LARGE_BYTES:
        return (yield from decoded(source, SegmentDefinition))
    return decode(source.definition, SegmentDefinition)


def _line(source: Entry | SegmentDefinition) -> bytes:
    return source.line if isinstance(source, Entry) else b""


_UnitSets = tuple[UnitSet | Problem | None, UnitSet | Problem | None]


def _unit_sets(
    definition: SegmentDefinition,
    blobs: Mapping[str, bytes],
    previous: tuple[UnitSet | None, UnitSet | None],
) -> Generator[None, None, _UnitSets]:
    """Return the sets of included and of excluded units, or what is wrong with them."""
    if isinstance(definition.units, UnsetType):
        return None, None
    included = yield from _unit_set(definition.units.included, blobs, previous[0], "included")
    excluded = yield from _unit_set(definition.units.excluded, blobs, previous[1], "excluded")
    return included, excluded


def _unit_set(
    units: UnitList | UnsetType,
    blobs: Mapping[str, bytes],
    previous: UnitSet | None,
    name: str,
) -> Generator[None, None, UnitSet | Problem | None]:
    if isinstance(units, UnsetType):
        return None
    made = yield from unit_set(units, blobs, previous)
    return under(pointer("units", name), [made])[0] if isinstance(made, Problem) else made


def _compiled(
    key: str,
    definition: SegmentDefinition,
    done: Mapping[str, CompiledSegment],
    known: Mapping[str, object],
    line: bytes,
    sets: _UnitSets,
) -> Generator[None, None, CompiledSegment]:
    problems, found = yield from examine_segment(key, definition, known)
    if not isinstance(definition.source, UnsetType):
        found = [(("source",), name) for name in segments_of(definition.source) if name in done]
    names = tuple((name, done.get(name)) for name in dict.fromkeys(name for _, name in found))
    problems = errors(problems) + unusable(found, done)
    problems += [found for found in sets if isinstance(found, Problem)]
    included, excluded = (None if isinstance(units, Problem) else units for units in sets)
    if problems:
        return CompiledSegment(key, problems=tuple(problems), names=names, line=line)
    yield
    nesting = 1 + max((done[name].nesting for _, name in found), default=0)
    conditions = summary(definition.when)[1] + sum(done[name].conditions for _, name in found)
    problems = [
        Problem("/when", code, message)
        for code, message in nesting_problems(key, nesting, conditions)
    ]
    if problems:
        return CompiledSegment(key, problems=tuple(problems), names=names, line=line)
    inner = {name: done[name].holds for _, name in found}
    if len(line) > LARGE_BYTES:
        expression, problems = yield from making_segment(definition, included, excluded)
    else:
        expression, problems = segment_program(definition, included, excluded)
    if expression is None:
        return CompiledSegment(key, problems=tuple(problems), names=names, line=line)
    made = yield from predicate(expression, inner)
    return CompiledSegment(
        key,
        made.function,
        attributes=joined([made.reads, *(done[name].attributes for _, name in found)]),
        timing=together([made.timing, *(done[name].timing for _, name in found)]),
        nesting=nesting,
        conditions=conditions,
        names=names,
        line=line,
        units=(included, excluded),
    )


def joined(reads: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """Return all that is read, None when it is not known of one part."""
    first, *others = reads
    if not others:
        return first
    members: set[str] = set()
    for read in (first, *others):
        if read is None:
            return None
        members |= read
    return frozenset(members)
