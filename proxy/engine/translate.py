"""From a definition to its rule program, whoever's words it is in: ours, or another system's.

A dialect's module is imported when the first definition of it comes along: most sidecars have none,
and none has all.
"""

from functools import cache
from importlib import import_module
from typing import Any

from msgspec import UnsetType

from proxy.contract.authoring import normalise_values
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import FlagDefinition, SegmentDefinition, Source
from proxy.contract.problems import Problem, has_errors, pointer, under
from proxy.contract.steps import Steps
from proxy.engine import program as p
from proxy.engine.dialects import Dialect, Named, Translation, option_problems
from proxy.engine.native import (
    flag_program,
    making_expression,
    making_program,
    segment_expression,
)
from proxy.engine.units import UnitSet

__all__ = [
    "asked_flags",
    "dialect",
    "making_segment",
    "segment_program",
    "segments_of",
    "translate",
    "translating",
]

_SOURCE = "/source/definition"
_OPTIONS = "/source/options"


@cache
def dialect(name: str) -> Dialect:
    """Return the translator of a system, a `DialectName`."""
    found: Dialect = import_module(f"proxy.engine.dialects.{name}").DIALECT
    return found


def translate(key: str, definition: FlagDefinition) -> Translation:
    """Return a flag's program. One of our own was found to have no problem before.

    Problems of another system's definition have pointers below `/source/definition`, those of its
    options below `/source/options`.
    """
    source = definition.source
    if isinstance(source, UnsetType):
        variants = normalise_values(definition.type, definition.variants)
        return Translation(flag_program(definition), variants)
    options, wrong = _options(source)
    try:
        made = dialect(source.dialect).translate(
            key, source.definition, options, definition.enabled
        )
    except Exception as error:
        # One flag must not cost the others, whatever is wrong with it that nobody thought of.
        return Translation(None, {}, problems=(_failed(error),))
    of_definition = under(_SOURCE, list(made.problems))
    wrong += under(_OPTIONS, list(made.of_options))
    return Translation(
        None if has_errors(wrong) else made.program,
        made.variants,
        made.named,
        (*wrong, *of_definition),
        made.circular,
    )


def _options(source: Source) -> tuple[dict[str, Any], list[Problem]]:
    """Return the options that can be used, and what is wrong with the others."""
    if not source.options:
        return source.options, []
    problems = option_problems(source.dialect, dialect(source.dialect).options, source.options)
    if not problems:
        return source.options, []
    bad = {problem.pointer for problem in problems}
    good = {n: value for n, value in source.options.items() if pointer(n) not in bad}
    return good, under(_OPTIONS, problems)


def translating(key: str, definition: FlagDefinition) -> Steps[Translation]:
    """Return a flag's program; of a large definition of our own, made in small steps."""
    if not isinstance(definition.source, UnsetType):
        return translate(key, definition)
    program = yield from making_program(definition)
    return Translation(program, normalise_values(definition.type, definition.variants))


def asked_flags(definition: FlagDefinition) -> list[str]:
    """Return the keys of the flags that a flag asks, each once; one that is off asks nobody."""
    if not definition.enabled:
        return []
    if isinstance(definition.source, UnsetType):
        return list(dict.fromkeys([wanted.flag for wanted in definition.prerequisites]))
    return list(_names(definition.source).flags)


def segment_program(
    definition: SegmentDefinition,
    included: UnitSet | None = None,
    excluded: UnitSet | None = None,
) -> tuple[p.Expression | None, list[Problem]]:
    """Return a segment's condition, or its problems. The sets are those of its long lists."""
    source = definition.source
    if isinstance(source, UnsetType):
        return segment_expression(definition, included, excluded), []
    of_segments = dialect(source.dialect).segment
    if of_segments is None:
        message = f"{source.dialect} has no segments of its own"
        return None, [Problem(_SOURCE, ProblemCode.NOT_COMPILED, message)]
    options, wrong = _options(source)
    try:
        expression, problems = of_segments(source.definition, options)
    except Exception as error:
        return None, [_failed(error)]
    return None if wrong else expression, wrong + under(_SOURCE, problems)


def making_segment(
    definition: SegmentDefinition, included: UnitSet | None, excluded: UnitSet | None
) -> Steps[tuple[p.Expression | None, list[Problem]]]:
    """Return what `segment_program` does; of a large definition of our own, in small steps."""
    if not isinstance(definition.source, UnsetType):
        return segment_program(definition, included, excluded)
    return (yield from making_expression(definition, included, excluded)), []


def segments_of(source: Source) -> list[str]:
    """Return the segments that a segment of another system names."""
    names = dialect(source.dialect).segment_names
    try:
        return [] if names is None else list(dict.fromkeys(names(source.definition)))
    except Exception:
        return []  # compiling it says what is wrong


def _names(source: Source) -> Named:
    try:
        return dialect(source.dialect).names(source.definition)
    except Exception:
        return Named()  # compiling it says what is wrong


def _failed(error: Exception) -> Problem:
    message = f"the translator failed ({type(error).__name__}); please report this definition"
    return Problem(_SOURCE, ProblemCode.NOT_COMPILED, message)
