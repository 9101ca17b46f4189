"""Evaluating and compiling in this process, in ns and as multiples of calling a function.

A function that only returns a constant is called in the same loop and the same turns, because an
absolute time says as much of the machine and its other guests as of the code.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import Entry, EntryKind, encode_entry, read_entry, read_snapshot
from proxy.engine import CompiledSnapshot, compile_flag, compile_snapshot, evaluate
from tests.bench.definitions import (
    SHAPES,
    contexts,
    definition,
    five_conditions,
    plain,
    shaped,
    snapshot,
)
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale

__all__ = ["measure_compile", "measure_evaluate"]

_NOW_MS = 1_767_225_600_000
_CONTEXTS = 1_000  # distinct, so that no branch and no cache learns the one answer
_PASSES = 50
_COMMON_SHAPES = 200
_STATIC_NS, _FIVE_NS = 300, 1_000
_COMMON_S, _DIFFERENT_S, _STEP_MS, _CHANGE_MS = 1.0, 2.5, 5.0, 1.0

Evaluate = Callable[[dict[str, Any], int], object]


def measure_evaluate(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield what evaluating one compiled flag costs."""
    constant = compile_flag("constant", definition(plain("constant")), {}).answers[0]

    def baseline(context: dict[str, Any], now_ms: int) -> object:
        return constant

    body = snapshot([plain("static"), five_conditions("five")])
    compiled = _finish(compile_snapshot(_finish(read_snapshot(body)).entries))
    functions: dict[str, Evaluate] = {
        "baseline": baseline,
        "static": compiled.flags["static"].evaluate,
        "five": compiled.flags["five"].evaluate,
        "by key": lambda context, now_ms: evaluate(compiled, "five", context, now_ms),
    }
    turns: dict[str, list[float]] = {name: [] for name in functions}
    given = contexts(_CONTEXTS)
    for _ in range(scale.repeats):
        for name, function in functions.items():
            turns[name].append(_ns_per_call(function, given))
    ns = {name: median(values) for name, values in turns.items()}
    ratio = {
        name: median(t / b for t, b in zip(values, turns["baseline"], strict=True))
        for name, values in turns.items()
    }
    yield informative("evaluate: a function that returns a constant", ns["baseline"], "ns")
    yield below("evaluate: static", ns["static"], _STATIC_NS, "ns")
    yield informative("  as a multiple of the constant", ratio["static"], "x")
    yield below("evaluate: five conditions and a split", ns["five"], _FIVE_NS, "ns")
    yield informative("  as a multiple of the constant", ratio["five"], "x")
    yield informative("  by key, as callers do (and one call more)", ns["by key"], "ns")


def measure_compile(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield what it costs to read, verify and compile a snapshot, and to apply one change."""
    count = scale.compiled_flags
    for shapes, target_s in ((_COMMON_SHAPES, _COMMON_S), (SHAPES, _DIFFERENT_S)):
        body = snapshot(shaped(number, shapes) for number in range(count))
        with _collector_pauses() as pauses_s:
            total_s, longest_s, entries, compiled = _compile(body)
        if compiled.quarantined or len(compiled.flags) != count:
            raise RuntimeError(f"{len(compiled.quarantined)} flags did not compile")
        name = f"compile: {count:,} flags of {min(shapes, count):,} shapes"
        yield below(name, total_s, target_s, "s")
        yield below("  longest step, CPU, without the collector", longest_s * 1e3, _STEP_MS, "ms")
        longest_pause_s = max(pauses_s, default=0.0)
        yield below("  longest pause of the collector, CPU", longest_pause_s * 1e3, _STEP_MS, "ms")
    yield from _one_change(scale, entries, compiled)


def _one_change(
    scale: Scale, entries: dict[tuple[EntryKind, str], Entry], compiled: CompiledSnapshot
) -> Iterator[Figure]:
    """Yield what one changed flag costs when all others are already compiled."""
    key = next(iter(compiled.flags))
    digest = SnapshotDigest()
    for entry in entries.values():
        digest.put(entry.kind, entry.key, entry.line)
    digest.hexdigest()
    turns = []
    for turn in range(scale.repeats):
        line = encode_entry("flag", key, definition({**plain(key), "value": turn % 2 == 0}))
        gc.collect()
        start = time.perf_counter()
        entry = read_entry(line)
        digest.put(entry.kind, entry.key, entry.line)
        digest.hexdigest()
        entries[entry.kind, entry.key] = entry
        compiled = _finish(compile_snapshot(entries, compiled))
        turns.append(time.perf_counter() - start)
    name = f"compile: one changed flag of {len(entries):,}, digest included"
    yield below(name, median(turns) * 1e3, _CHANGE_MS, "ms")


def _ns_per_call(function: Evaluate, given: list[dict[str, Any]]) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter_ns()
        for _ in range(_PASSES):
            for context in given:
                function(context, _NOW_MS)
        return (time.perf_counter_ns() - start) / (_PASSES * len(given))
    finally:
        gc.enable()


def _compile(
    body: bytes,
) -> tuple[float, float, dict[tuple[EntryKind, str], Entry], CompiledSnapshot]:
    """Return the seconds of the whole, of the longest step, the entries and the result."""
    gc.collect()
    start = time.perf_counter()
    longest_read, read = _timed(read_snapshot(body))
    longest_compile, compiled = _timed(compile_snapshot(read.entries))
    total = time.perf_counter() - start
    return total, max(longest_read, longest_compile), read.entries, compiled


def _timed(steps: Any) -> tuple[float, Any]:
    """Advance a generator to its end; return the CPU seconds of its longest step and its result.

    Steps in which the collector worked are left out: `_collector_pauses` tells of those.
    """
    longest = 0.0
    while True:
        collected = _collections()
        start = time.thread_time()
        try:
            next(steps)
        except StopIteration as stop:
            return longest, stop.value
        took = time.thread_time() - start
        if took > longest and _collections() == collected:
            longest = took


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


@contextmanager
def _collector_pauses() -> Iterator[list[float]]:
    """Yield a list that gets the CPU seconds of every garbage collection meanwhile."""
    pauses: list[float] = []
    start = 0.0

    def told(phase: str, _: dict[str, int]) -> None:
        nonlocal start
        if phase == "start":
            start = time.thread_time()
        else:
            pauses.append(time.thread_time() - start)

    gc.callbacks.append(told)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(told)


def _finish(steps: Any) -> Any:
    return _timed(steps)[1]
