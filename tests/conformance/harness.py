"""What all suites share: where their data is, and flags compiled from translations.

The data is not in this repository. `MATRIXFLAG_SUITES` is the folder that has it, one folder for
each suite, and `MATRIXFLAG_VECTORS` the one of published values; without it, `vectors` beside the
suites. A module asks for its data when it is imported, because its test ids come from there;
without data all of it is skipped, and in CI it fails, so that a suite cannot vanish.

A translation is compiled by the engine's own compiler, in the order in which flags ask one another:

    compiled = compile_translations({"checkout": translation}, {"beta": expression})
    answer = compiled.evaluate("checkout", {"targetingKey": "u-1"}, now_ms=0)

Rules, as in production:
- A segment that is not there holds for nobody. One that is on a circle, or names one that is,
  cannot be used: flags that name it, through others too, answer `PARSE_ERROR`.
- A flag without a program answers `PARSE_ERROR`; one on a circle of flags runs `circular`, which
  asks no flag, or answers `PARSE_ERROR` without one.
- What a program asks, its translation names: the compiler makes those first.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.contract.codes import ErrorCode
from proxy.contract.steps import finish
from proxy.engine import program as p
from proxy.engine.answers import Answer, AnswerMaker, error_answer, not_found
from proxy.engine.codegen import Compiled, evaluation, predicate
from proxy.engine.compiled import Evaluate, Predicate
from proxy.engine.dialects.model import Translation
from proxy.engine.graph import dependency_order, on_cycles

__all__ = ["CompiledFlags", "compile_translations", "named_flags", "named_segments"]
__all__ += ["suite", "suites_folder", "vectors"]


# Where the data is


def suites_folder() -> Path | None:
    """Return the folder of all suites, None when there is none."""
    named = os.environ.get("MATRIXFLAG_SUITES")
    return Path(named) if named else None


def suite(name: str, needed: str = "") -> Path:
    """Return the folder of a suite; skips the module that asks, or in CI fails it, without one.

    So it does where the folder lacks a file that is `needed`.
    """
    folder = suites_folder()
    if folder is None:
        return _missing(f"the data of {name}: MATRIXFLAG_SUITES names no folder")
    path = folder / name
    wanted = path / needed
    return path if wanted.exists() else _missing(f"the data of {name}: there is no {wanted}")


def vectors(name: str) -> Path:
    """Return a file of published values; skips or fails as `suite`."""
    named = os.environ.get("MATRIXFLAG_VECTORS")
    suites = suites_folder()
    folder = Path(named) if named else suites.parent / "vectors" if suites else None
    if folder is None:
        return _missing(f"{name}: neither MATRIXFLAG_VECTORS nor MATRIXFLAG_SUITES names a folder")
    path = folder / name
    return path if path.is_file() else _missing(f"{name}: there is no {path}")


def _missing(what: str) -> Path:
    message = f"without {what}; `make suites-help` says how to get it"
    if os.environ.get("CI", "") not in ("", "0", "false"):
        raise FileNotFoundError(message)
    pytest.skip(message, allow_module_level=True)


# What is compiled


class CompiledFlags:
    """Flags that ask one another and share segments, as one snapshot's do."""

    def __init__(self, flags: Mapping[str, Compiled | Answer]) -> None:
        self.flags = flags
        """What was compiled, with what it reads and when time matters; or all it ever answers."""

    def evaluate(self, key: str, context: dict[str, Any], now_ms: int = 0) -> Answer:
        """Return what a flag answers; for a key of none, that there is no such flag."""
        flag = self.flags.get(key)
        if flag is None:
            return not_found(key)
        if isinstance(flag, Answer):
            return flag
        answer: Answer = flag.function(context, now_ms)
        return answer


def compile_translations(
    translations: Mapping[str, Translation],
    segments: Mapping[str, p.Expression] | None = None,
    metadata: Mapping[str, dict[str, Any]] | None = None,
) -> CompiledFlags:
    """Return flags compiled with each other; `metadata` is that of the flags, by their keys."""
    predicates, unusable = _segments(segments or {})
    asked = {key: _asked(translation) for key, translation in translations.items()}
    circling = on_cycles(asked)
    order, _ = dependency_order(
        {key: () if key in circling else flags for key, flags in asked.items()}
    )
    flags: dict[str, Compiled | Answer] = {}
    functions: dict[str, Evaluate] = {}
    for key in order:
        translation = translations[key]
        flag = _flag(
            key,
            translation,
            translation.circular if key in circling else translation.program,
            predicates,
            unusable,
            {} if key in circling else functions,
            (metadata or {}).get(key, {}),
        )
        flags[key] = flag
        functions[key] = _always(flag) if isinstance(flag, Answer) else flag.function
    return CompiledFlags(flags)


def _asked(translation: Translation) -> tuple[str, ...]:
    """Return the flags that a translation names, which all that its program asks must be among."""
    if translation.program is None:
        return ()
    asked = set(named_flags(translation.program))
    assert asked <= set(translation.named.flags), "a flag is asked that is not named"
    return translation.named.flags


def _flag(
    key: str,
    translation: Translation,
    program: p.Program | p.Timeline | None,
    predicates: Mapping[str, Predicate],
    unusable: set[str],
    flags: Mapping[str, Evaluate],
    metadata: dict[str, Any],
) -> Compiled | Answer:
    if program is None:
        why = [problem.message for problem in translation.problems] or ["it is on a circle"]
        return error_answer(key, ErrorCode.PARSE_ERROR, why[0], metadata=metadata)
    named = set(named_segments(program))
    assert named <= set(translation.named.segments), "a segment is asked that is not named"
    if named & unusable:
        return error_answer(key, ErrorCode.PARSE_ERROR, "a segment is on a circle")
    known = {name: predicates.get(name, _never) for name in named}
    if isinstance(program, p.Program):
        program = p.reachable(program)
    else:
        later = tuple((since, p.reachable(part)) for since, part in program.then)
        program = p.Timeline(p.reachable(program.first), later)
    maker = AnswerMaker(key, translation.variants, metadata)
    return finish(evaluation(program, maker.answering, known, flags))


def _segments(segments: Mapping[str, p.Expression]) -> tuple[dict[str, Predicate], set[str]]:
    """Return the segments as functions, and which of them cannot be used."""
    names = {key: tuple(named_segments(when)) for key, when in segments.items()}
    order, unusable = dependency_order(names)
    made: dict[str, Predicate] = {}
    for key in order:
        known = {name: made.get(name, _never) for name in names[key]}
        made[key] = finish(predicate(segments[key], known)).function
    return made, set(unusable)


def _never(_context: dict[str, Any], _now_ms: int, _memo: Any = None, /) -> bool:
    return False


def _always(answer: Answer) -> Evaluate:
    def evaluate(_context: dict[str, Any], _now_ms: int, _memo: Any = None, /) -> Answer:
        return answer

    return evaluate


# What a program names


def named_segments(part: p.Program | p.Timeline | p.Expression) -> Iterator[str]:
    """Yield the segments that are asked."""
    return (node.key for node in _conditions(part) if isinstance(node, p.InSegment))


def named_flags(part: p.Program | p.Timeline | p.Expression) -> Iterator[str]:
    """Yield the flags that are asked."""
    return (node.key for node in _conditions(part) if isinstance(node, p.Answered))


def _conditions(part: p.Program | p.Timeline | p.Expression) -> Iterator[p.Expression]:
    stack: list[Any] = [part]
    while stack:
        node = stack.pop()
        match node:
            case p.Timeline():
                stack += [node.first, *(later for _, later in node.then)]
            case p.Program():
                stack += node.steps
            case p.Gate():
                stack.append(node.passes)
            case p.Rule():
                stack.append(node.when)
            case p.All() | p.AnyOf():
                stack += node.items
            case p.Not():
                stack.append(node.item)
            case p.Lookup():
                pass
            case _:
                yield node
