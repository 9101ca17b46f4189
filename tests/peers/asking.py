"""Asks an SDK in Node, and what is imported of the same definitions.

A line of JSON goes in, `{"document": ..., "contexts": [...]}`; a line comes out, a list with, for
each context, an object with the answer of each flag. Lines are ASCII: to Node, U+2028 ends a line.
"""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from proxy.engine.answers import Answer
from proxy.engine.dialects.model import Dialect
from tests.conformance.harness import CompiledFlags, compile_translations
from tests.support.tools import missing, require

__all__ = ["Drawn", "Json", "answers_of_sdk", "drawn", "imported", "metadata_of"]

Json = dict[str, Any]

_HERE = Path(__file__).parent
_PACKAGES = _HERE.parent / "clients"
_SECONDS = 60
"""An SDK takes 2; this is only so that nothing hangs."""


class Drawn(NamedTuple):
    """Definitions, and contexts to ask them about."""

    seed: int
    document: Json
    contexts: list[Json]


def drawn(
    document: Callable[[Random], Json],
    context: Callable[[Random], Json],
    seeds: Iterable[int],
    contexts: int,
) -> list[Drawn]:
    """Return what is drawn for each seed, always the same for one."""
    made = []
    for seed in seeds:
        random = Random(seed)
        made.append(Drawn(seed, document(random), [context(random) for _ in range(contexts)]))
    return made


def answers_of_sdk(system: str, asked: list[Drawn]) -> Iterator[tuple[Drawn, list[Json]]]:
    """Yield what was drawn, with the SDK's answers: for each context, those of all flags."""
    if not (_PACKAGES / "node_modules" / ".installed").exists():
        missing("what tests/clients/install installs")
    lines = [json.dumps({"document": one.document, "contexts": one.contexts}) for one in asked]
    done = subprocess.run(
        [require("node"), _HERE / f"{system}.mjs", _PACKAGES],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split("\n")
    assert len(found) == len(asked) + 1, done.stderr
    for one, line in zip(asked, found, strict=False):
        yield one, json.loads(line)


def imported(dialect: Dialect, document: Json, **options: Any) -> tuple[CompiledFlags, set[str]]:
    """Return what a file becomes, compiled, and the keys of its flags; refused ones are not."""
    found = dialect.read(document, options)
    translations = {
        flag.key: dialect.translate(flag.key, flag.definition, flag.options, flag.enabled)
        for flag in found.flags
    }
    segments = {}
    for segment in found.segments:
        assert dialect.segment is not None
        when, _ = dialect.segment(segment.definition, segment.options)
        assert when is not None
        segments[segment.key] = when
    return compile_translations(translations, segments), set(translations)


def metadata_of(answer: Answer) -> Json:
    """Return an answer's metadata as clients get it."""
    found: Json = json.loads(answer.body).get("metadata", {})
    return found
