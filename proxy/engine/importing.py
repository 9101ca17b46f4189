"""From another system's file to flags and segments of ours, each with that system's own definition.

Nothing is decided here about what is there already, and nothing is validated with it: who imports
does that, with the same checks as for what an author wrote. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

from proxy.contract.definitions import (
    DialectName,
    EnvironmentConfig,
    Flag,
    FlagType,
    Segment,
    Serve,
    Source,
)
from proxy.contract.problems import Problem
from proxy.engine.dialects import Named
from proxy.engine.translate import dialect, segments_of

__all__ = ["Import", "flag_source_names", "import_document", "segment_source_names"]


class Import(NamedTuple):
    """What a file holds, and what is wrong with it, with pointers into the file.

    Flags and segments that cannot be used are left out; their problems say why.
    """

    flags: list[Flag]
    segments: list[Segment]
    problems: list[Problem]


def import_document(
    system: DialectName,
    document: Any,
    options: Mapping[str, Any],
    environments: Iterable[str],
    salt: str = "imported",
) -> Import:
    """Return the flags and segments of a decoded file, configured for some environments alike.

    `options` are the system's, as its page under `docs/migrate` has them. `salt` splits nobody as
    long as the source decides.
    """
    found = dialect(system).read(document, options)
    names = tuple(environments)
    flags = []
    for item in found.flags:
        config = EnvironmentConfig(
            fallthrough=Serve(variant=item.fallthrough),
            enabled=item.enabled,
            salt=salt,
            source=Source(system, dict(item.definition), dict(item.options)),
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
            )
        )
    segments = [
        Segment(
            key=item.key,
            description=item.description,
            source=Source(system, dict(item.definition), dict(item.options)),
        )
        for item in found.segments
    ]
    return Import(flags, segments, list(found.problems))


def flag_source_names(source: Source) -> Named:
    """Return what a flag's definition asks, whether the flag is on or off; nothing of a bad one."""
    try:
        return dialect(source.dialect).names(source.definition)
    except Exception:
        return Named()  # checking it says what is wrong


def segment_source_names(source: Source) -> Named:
    """Return what a segment's definition asks; nothing of a bad one."""
    return Named(segments=tuple(segments_of(source)))
