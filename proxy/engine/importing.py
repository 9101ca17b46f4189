"""From another system's file to flags and segments of ours, each with that system's own definition.

Nothing is decided here about what is there already, and nothing is validated with it: who imports
does that, with the same checks as for what an author wrote. Pure.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple, cast

from msgspec import UnsetType

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.confidential import without_secrets
from proxy.contract.definitions import (
    DialectName,
    EnvironmentConfig,
    Flag,
    FlagType,
    Segment,
    Serve,
    Source,
)
from proxy.contract.problems import Problem, pointer
from proxy.engine.dialects import Named, Traits, option_problems
from proxy.engine.limits import MAX_PROBLEMS
from proxy.engine.recognising import NATIVE, whose
from proxy.engine.shown import several
from proxy.engine.translate import dialect, segments_of

__all__ = [
    "Import",
    "check_import_options",
    "flag_source_names",
    "flag_source_options",
    "flag_source_traits",
    "idle_source_options",
    "import_document",
    "segment_source_names",
    "shared_place",
    "sharing",
]


_WARNING = Severity.WARNING


class Import(NamedTuple):
    """What a file holds, and what is wrong with it, with pointers into the file.

    Flags and segments that cannot be used are left out; their problems say why. `refused` are
    errors of what flags share, by the key of each flag that is left out for them.
    """

    flags: list[Flag]
    segments: list[Segment]
    problems: list[Problem]
    refused: Mapping[str, tuple[Problem, ...]] = {}

    def all_problems(self) -> list[Problem]:
        """Return every problem, each once, whomever it costs."""
        shared = chain.from_iterable(self.refused.values())
        return list(dict.fromkeys([*self.problems, *shared]))


def check_import_options(system: DialectName, options: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the options of a file, with pointers into them."""
    return option_problems(system, dialect(system).file_options, options)


def import_document(
    system: DialectName,
    document: Any,
    options: Mapping[str, Any],
    environments: Iterable[str],
    salt: str = "imported",
) -> Import:
    """Return the flags and segments of a decoded file, configured for some environments alike.

    `options` are the system's, as its page under `docs/migrate` has them, and were checked. `salt`
    splits nobody as long as the source decides. Secrets in the file are left out.
    """
    document, secrets = without_secrets(document)
    found = dialect(system).read(document, options)
    looks = whose(document)
    # ours have flags as flagd's have them, and read as that they would lose their targeting
    if looks not in (None, system) and (looks == NATIVE or not (found.flags or found.segments)):
        whom = "our own, a native export" if looks == NATIVE else looks
        message = f"this looks like a file of {whom}, not of {system}"
        hint = f"matrixflag import {looks} takes it"
        return Import([], [], [Problem("", ProblemCode.OTHER_SYSTEM, message, hint)])
    names = tuple(environments)
    flags = []
    sources: list[tuple[str, Source]] = []
    for item in found.flags:
        said = dialect(system).traits(item.definition)
        source = Source(system, dict(item.definition), dict(item.options))
        sources.append((item.key, source))
        config = EnvironmentConfig(
            fallthrough=Serve(variant=item.fallthrough),
            enabled=item.enabled,
            salt=salt,
            source=source,
        )
        flags.append(
            Flag(
                key=item.key,
                type=cast(FlagType, item.type),
                variants=dict(item.variants),
                environments=dict.fromkeys(names, config),
                description=item.description,
                tags=list(item.tags),
                metadata=dict(item.metadata),
                client_side=bool(said.client_side),
                track=bool(said.track),
            )
        )
    segments = []
    for segment in found.segments:
        source = Source(system, dict(segment.definition), dict(segment.options))
        sources.append((segment.key, source))
        segments.append(Segment(segment.key, description=segment.description, source=source))
    problems = [*secrets[:MAX_PROBLEMS], *found.problems]
    problems += _assumed(system, options, sources)
    return Import(flags, segments, problems, found.refused)


def _assumed(
    system: DialectName,
    given: Mapping[str, Any],
    sources: Iterable[tuple[str, Source]],
) -> list[Problem]:
    """Return a warning for each option that is not given and decides for some of a file."""
    deciding: dict[str, list[str]] = {}
    for key, source in sources:
        for name in flag_source_options(source):
            deciding.setdefault(name, []).append(key)
    problems = []
    for name, option in dialect(system).file_options.items():
        if option.assumed and name in deciding and name not in given:
            keys = sorted(set(deciding[name]))
            message = f"the option {name} is not given: {option.assumed}; it decides for "
            message += several(keys)
            hint = f"give the option: {option.wanted}"
            code = ProblemCode.OPTION_ASSUMED
            problems.append(Problem(pointer("options", name), code, message, hint, _WARNING))
    return problems


def flag_source_names(source: Source) -> Named:
    """Return what a flag's definition asks, whether the flag is on or off; nothing of a bad one."""
    try:
        return dialect(source.dialect).names(source.definition)
    except Exception:
        return Named()  # checking it says what is wrong


def flag_source_traits(source: Source) -> Traits:
    """Return what a flag's definition says of who may see it, and of recording its use."""
    try:
        return dialect(source.dialect).traits(source.definition)
    except Exception:
        return Traits()  # checking it says what is wrong


def flag_source_options(source: Source) -> frozenset[str]:
    """Return the options that decide who gets what by a definition; none of a bad one."""
    try:
        return dialect(source.dialect).depends(source.definition)
    except Exception:
        return frozenset()  # checking it says what is wrong


def idle_source_options(source: Source) -> frozenset[str]:
    """Return the options that could decide who gets what, and do not by this definition."""
    known = dialect(source.dialect).options
    return frozenset(n for n, option in known.items() if option.assumed) - flag_source_options(
        source
    )


_SHARED = frozenset(("$evaluators", "savedGroups", "contextualBandits"))
"""Members of files that hold what several flags ask; each flag takes along what it does."""


def shared_place(where: str) -> str | None:
    """Return which thing that flags share a pointer into a file leads into, None for no such."""
    _, holder, name, *_ = f"{where}//".split("/")
    return f"/{holder}/{name}" if holder in _SHARED and name else None


def sharing(found: Import, flaws: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Return the flags of a file, by key, that ask what mistakes of its text stand in, with them.

    The pointers of `flaws` lead into the file; those that lead elsewhere are nobody's.
    """
    by_place: dict[str, list[Problem]] = {}
    for flaw in flaws:
        if (place := shared_place(flaw.pointer)) is not None:
            by_place.setdefault(place, []).append(flaw)
    if not by_place:
        return {}
    using = {flag.key: _taken_along(flag) for flag in found.flags}
    for key, problems in found.refused.items():
        using.setdefault(key, set()).update(shared_place(p.pointer) or "" for p in problems)
    return {
        key: [flaw for place in sorted(places & by_place.keys()) for flaw in by_place[place]]
        for key, places in using.items()
        if not places.isdisjoint(by_place)
    }


def _taken_along(flag: Flag) -> set[str]:
    """Return where in its file is what an imported flag took along of it."""
    sources = [c.source for c in flag.environments.values() if not isinstance(c.source, UnsetType)]
    held = [(name, part.get(name)) for s in sources for part in _parts(s) for name in _SHARED]
    return {pointer(name, key) for name, some in held if isinstance(some, Mapping) for key in some}


def _parts(source: Source) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return source.definition, source.options


def segment_source_names(source: Source) -> Named:
    """Return what a segment's definition asks; nothing of a bad one."""
    return Named(segments=tuple(segments_of(source)))
