"""Flags of other systems, in this process: what their suites' evaluations take, and fuzz.

Of each evaluation the least time of several turns counts, because what others on the machine do
only ever adds to it; the distribution is that over all evaluations of a suite.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import re2  # type: ignore[import-untyped]  # a wheel without types

from loadtests.percentiles import percentile
from proxy.engine.dialects.model import Translation
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale
from tests.bench.suites import (
    SYSTEMS,
    Definition,
    Document,
    Evaluation,
    Played,
    play,
    why_not,
)
from tests.conformance.harness import compile_translations
from tests.proxy.engine.dialects.mutations import mutated

__all__ = ["measure_dialects", "measure_fuzz"]

_EVALUATION_US, _REGEX_US = 2.5, 1.5
_READ_EVERY = 20
"""Whole files, which have up to a hundred flags, are read once for so many flags translated."""

_COLLECT_EVERY = 2_000
_LONGEST_MS = 100.0
_CONTEXTS = 2


def measure_dialects(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the distribution of what evaluations take, per system."""
    reason = why_not()
    if reason is not None:
        print(f"  skipped: {reason}")
        return
    for system in SYSTEMS:
        played = play(system)
        took = _least_us(played.evaluations, scale.repeats, 2 * scale.passes)
        regexes = [_regexes(e) for e in played.evaluations]
        beyond = max(us - _REGEX_US * n for us, n in zip(took, regexes, strict=True))
        name = f"{system}: {len(took):,} evaluations of {played.cases:,} cases"
        yield informative(f"{name}, least", min(took), "us")
        yield informative("  median", percentile(took, 50), "us")
        yield informative("  p99", percentile(took, 99), "us")
        yield informative("  most", max(took), "us")
        yield below("  most, less 1.5 us for each regex in it", beyond, _EVALUATION_US, "us")


def _least_us(evaluations: list[Evaluation], repeats: int, calls: int) -> list[float]:
    """Return the least time of each; turns are far apart, so that nobody is busy in all of them."""
    least = [float("inf")] * len(evaluations)
    for _ in range(max(repeats, 2)):
        gc.collect()
        gc.disable()
        try:
            for number, (function, context, now_ms) in enumerate(evaluations):
                start = time.perf_counter_ns()
                for _ in range(calls):
                    function(context, now_ms)
                took = (time.perf_counter_ns() - start) / calls / 1e3
                least[number] = min(least[number], took)
        finally:
            gc.enable()
    return least


def _regexes(evaluation: Evaluation) -> int:
    """Return how many regular expressions an evaluation runs."""
    count = 0

    def called(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        code = frame.f_code
        count += event == "call" and code.co_name == "Match" and code.co_filename == re2.__file__

    sys.setprofile(called)
    try:
        evaluation.evaluate(evaluation.context, evaluation.now_ms)
    finally:
        sys.setprofile(None)
    return count


def measure_fuzz(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield how long mutated definitions take; raises for one that a translator raises for."""
    reason = why_not()
    if reason is not None:
        print(f"  skipped: {reason}")
        return
    for system in SYSTEMS:
        played = play(system)
        start = time.perf_counter()
        gc.disable()  # its pauses are the process's, and no document's
        try:
            longest_ms = max(_fuzz(played, scale.documents))
        finally:
            gc.enable()
        a_second = scale.documents / (time.perf_counter() - start)
        name = f"fuzz of {system}: {scale.documents:,} documents without an exception"
        yield informative(name, a_second, "a second")
        yield below("  the longest, CPU", longest_ms, _LONGEST_MS, "ms")


_FILES: dict[str, Callable[[Definition], Any]] = {
    "growthbook": lambda one: {**one.options, "features": {one.key: one.definition}},
    "goff": lambda one: {one.key: one.definition},
}
"""Files of one flag, for suites that have no files."""


def _fuzz(played: Played, count: int) -> Iterator[float]:
    """Yield the CPU time of each mutated document: read, or translated, compiled and evaluated."""
    contexts = [evaluation.context for evaluation in played.evaluations]
    documents = played.documents or [
        Document(_FILES[played.dialect.name](one), one.options) for one in played.definitions
    ]
    for seed in range(count):
        draw = Random(seed)
        if seed % _COLLECT_EVERY == 0:
            gc.collect()
        whole = seed % _READ_EVERY == 0
        given = draw.choice(documents if whole else played.definitions)
        asked = [mutated(draw.choice(contexts), draw) for _ in range(_CONTEXTS)]
        document = mutated(given[-2], draw)
        start = time.thread_time()
        try:
            if whole:
                played.dialect.read(document, given.options)
            elif isinstance(document, dict):
                _try(played, given[0], document, given.options, asked)
        except Exception as error:
            raise RuntimeError(f"seed {seed} of {played.dialect.name}") from error
        yield (time.thread_time() - start) * 1e3


def _try(played: Played, key: str, document: Any, options: Any, contexts: list[Any]) -> None:
    played.dialect.names(document)
    found: Translation = played.dialect.translate(key, document, options, True)
    flags = compile_translations({key: found})
    for context in contexts:
        if isinstance(context, dict):
            flags.evaluate(key, context, 1_790_000_000_000)
