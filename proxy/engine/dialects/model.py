"""What a translator of another system's definitions gives: a program, its variants, what it names.

A dialect is one system's way to say who gets what. Its translator takes one flag, or one segment,
as that system writes it, and makes a rule program of it: the same compiler and the same evaluator
serve all of them. Structure becomes ours, leaves keep the system's own semantics.

Rules of a translator:
- Pure and total: what it cannot translate is a problem, never an exception; no recursion that input
  controls beyond `limits.MAX_CONDITION_DEPTH`.
- Everything is resolved when it translates: percentages become integer ranges, patterns are
  compiled, dates are parsed. Nothing is parsed at an evaluation.
- What the system decides by chance, or by what it remembers, it says in a warning, and does the
  nearest thing that is a function of the context.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from proxy.contract.problems import Problem
from proxy.engine.dialects.options import Options
from proxy.engine.program import Expression, Program, Timeline

__all__ = [
    "OVERRIDE",
    "Dialect",
    "Imported",
    "ImportedFlag",
    "ImportedSegment",
    "Named",
    "Traits",
    "Translation",
]


OVERRIDE = "$growthbook"
"""The member of a context by which a request chooses variations for itself, also such as no rule
gives. Who asks decides whether the caller may: what is not allowed is taken out of the context."""


class Named(NamedTuple):
    """The segments and the flags that a definition asks, by key, each once, in order."""

    segments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class Traits(NamedTuple):
    """What a definition says of its flag beside who gets what; None where its system has no word.

    `client_side`: clients whose key is public may see it. `track`: that it is used is recorded.
    """

    client_side: bool | None = None
    track: bool | None = None


_NO_TRAITS = Traits()
_NO_OPTIONS: Options = {}


class Translation(msgspec.Struct, frozen=True):
    """One flag, translated. Without `program` its problems say why.

    `problems` have pointers into the definition, those `of_options` into the options.
    `variants` are what its outcomes name; a value `msgspec.UNSET` is answered as none, so that the
    application's default is used. `circular` is the program of a flag that asks itself, through
    others; without one it cannot answer.
    """

    program: Program | Timeline | None
    variants: Mapping[str, Any]
    named: Named = Named()
    problems: tuple[Problem, ...] = ()
    circular: Program | None = None
    of_options: tuple[Problem, ...] = ()


class ImportedFlag(msgspec.Struct, frozen=True):
    """One flag of a file: what our own flag says of it, and `definition`, the system's own JSON.

    `enabled` is the system's own switch, which ours takes the place of. `variants`, `type` and
    `fallthrough` (a variant) are for those who read the flag here; what is served, the translation
    decides.
    """

    key: str
    type: str
    variants: Mapping[str, Any]
    fallthrough: str
    definition: Mapping[str, Any]
    enabled: bool = True
    options: Mapping[str, Any] = {}
    description: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}


class ImportedSegment(msgspec.Struct, frozen=True):
    """One segment of a file, as `ImportedFlag`."""

    key: str
    definition: Mapping[str, Any]
    options: Mapping[str, Any] = {}
    description: str = ""


class Imported(msgspec.Struct, frozen=True):
    """A file, read: what is good of it, and the problems, with pointers into the file.

    `refused` are errors of what flags share, by the key of each flag that is left out for them.
    """

    flags: tuple[ImportedFlag, ...] = ()
    segments: tuple[ImportedSegment, ...] = ()
    problems: tuple[Problem, ...] = ()
    refused: Mapping[str, tuple[Problem, ...]] = {}


class Dialect(NamedTuple):
    """One system. `read(document, options)` takes a whole file, decoded; the others one definition.

    `translate(key, definition, options, enabled)` and `segment(definition, options)` are what the
    compiler calls; `names` and `segment_names` say what a definition asks without translating it.
    A dialect without segments has no `segment` and no `segment_names`.

    `options` are those of a definition, `file_options` those that a file is read with. Who calls
    has checked them. `depends` names those that decide who gets what by a definition, of a flag or
    of a segment; never one whose value is the definition's own content, such as saved groups.
    """

    name: str
    read: Callable[[Any, Mapping[str, Any]], Imported]
    translate: Callable[[str, Mapping[str, Any], Mapping[str, Any], bool], Translation]
    names: Callable[[Mapping[str, Any]], Named]
    segment: (
        Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[Expression | None, list[Problem]]]
        | None
    ) = None
    segment_names: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None
    options: Options = _NO_OPTIONS
    file_options: Options = _NO_OPTIONS
    traits: Callable[[Mapping[str, Any]], Traits] = lambda _definition: _NO_TRAITS
    depends: Callable[[Mapping[str, Any]], frozenset[str]] = lambda _definition: frozenset()
