"""Evaluating and compiling in this process, in ns and as multiples of calling a function.

A function that only returns a constant is called in the same loop and the same turns, because an
absolute time says as much of the machine and its other guests as of the code.
"""

import gc
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.scenarios import users_with_traits
from proxy.contract.definitions import UnitList
from proxy.contract.snapshot import Snapshot, change_snapshot, encode_entry, read_snapshot
from proxy.contract.units import digest_of, hash_unit, split
from proxy.engine import (
    CompiledSnapshot,
    Memo,
    compile_changes,
    compile_flag,
    compile_snapshot,
    evaluate,
)
from proxy.engine.source import code_of
from proxy.engine.units import unit_set
from tests.bench.definitions import (
    OPERATORS,
    SHAPES,
    contexts,
    definition,
    five_conditions,
    one_condition,
    plain,
    segmented,
    shaped,
    snapshot,
)
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale

__all__ = ["measure_compile", "measure_evaluate"]

_NOW_MS = 1_767_225_600_000
_CONTEXTS = 1_000  # distinct, so that no branch and no cache learns the one answer
_COMMON_SHAPES = 200
_STATIC_NS, _FIVE_NS = 300, 1_000
_COMMON_S, _DIFFERENT_S, _STEP_MS, _CHANGE_MS = 1.0, 2.5, 5.0, 1.0
_FLAGS, _ALL_FLAGS_US = 50, 25.0
_OPERATOR_NS = 2_500
_UNIT_BYTES, _MEMBER_NS = 16.0, 2_000

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
            turns[name].append(_ns_per_call(function, given, scale.passes))
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
    yield from _all_flags(scale)
    yield from _operators(scale)
    yield from _unit_lists(scale)


def measure_compile(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield what it costs to read, verify and compile a snapshot, and to apply one change."""
    count = scale.compiled_flags
    for shapes, target_s in ((_COMMON_SHAPES, _COMMON_S), (SHAPES, _DIFFERENT_S)):
        body = snapshot(shaped(number, shapes) for number in range(count))
        code_of.cache_clear()
        with _collector_pauses() as pauses_s:
            total_s, longest_s, read, compiled = _compile(body)
        if compiled.quarantined or len(compiled.flags) != count:
            raise RuntimeError(f"{len(compiled.quarantined)} flags did not compile")
        name = f"compile: {count:,} flags of {min(shapes, count):,} shapes"
        yield below(name, total_s, target_s, "s")
        yield below("  longest step, CPU, without the collector", longest_s * 1e3, _STEP_MS, "ms")
        longest_pause_s = max(pauses_s, default=0.0)
        yield below("  longest pause of the collector, CPU", longest_pause_s * 1e3, _STEP_MS, "ms")
    yield from _one_change(scale, read, compiled)
    del read, compiled
    yield from _bytes_a_flag(scale)


def _one_change(scale: Scale, snapshot: Snapshot, compiled: CompiledSnapshot) -> Iterator[Figure]:
    """Yield what one changed flag costs when all others are already compiled."""
    key = next(iter(compiled.flags))
    turns = []
    for turn in range(max(scale.repeats, 3)):
        line = encode_entry("flag", key, definition({**plain(key), "value": turn % 2 == 0}))
        wanted = snapshot.digest.copy()
        wanted.put("flag", key, line)
        digest = wanted.hexdigest()
        gc.collect()
        start = time.perf_counter()
        snapshot, changed = _finish(change_snapshot(snapshot, turn + 2, digest, [line], []))
        compiled = _finish(compile_changes(snapshot.entries, changed, compiled))
        turns.append(time.perf_counter() - start)
    name = f"compile: one changed flag of {len(compiled.flags):,} applied, digest verified"
    yield below(name, median(turns) * 1e3, _CHANGE_MS, "ms")


def _bytes_a_flag(scale: Scale) -> Iterator[Figure]:
    """Yield what a flag takes: its line, its compiled form and its answers."""
    count = scale.compiled_flags
    for name, documents in (
        ("static", [plain(f"plain-{n}") for n in range(count)]),
        ("five conditions and a split", [five_conditions(f"five-{n}") for n in range(count)]),
    ):
        body = snapshot(documents)
        documents.clear()
        _finish(compile_snapshot(_finish(read_snapshot(body)).entries))  # codes of shapes
        gc.collect()
        tracemalloc.start()
        entries = _finish(read_snapshot(body)).entries
        compiled = _finish(compile_snapshot(entries))
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        yield informative(f"memory: a flag, {name}", held / len(compiled.flags), "bytes")


def _all_flags(scale: Scale) -> Iterator[Figure]:
    """Yield what evaluating 50 flags over 15 segments and 15 attributes costs, for one context."""
    given = users_with_traits(_CONTEXTS)
    for each, target_us in ((3, _ALL_FLAGS_US), (15, None)):
        documents, segments = segmented(_FLAGS, each)
        body = snapshot(documents, segments=segments)
        compiled = _finish(compile_snapshot(_finish(read_snapshot(body)).entries))
        if compiled.quarantined:
            raise RuntimeError(f"{len(compiled.quarantined)} flags did not compile")
        functions = [flag.evaluate for flag in compiled.flags.values()]

        def evaluate_all(
            context: dict[str, Any], now_ms: int, functions: list[Any] = functions
        ) -> object:
            memo = Memo(context, now_ms)
            return [function(context, now_ms, memo) for function in functions]

        turns, ratios = [], []
        passes = -(-scale.passes // (_FLAGS // 2))
        for _ in range(scale.repeats):
            baseline_ns = _ns_per_call(_constant, given, passes)
            turns.append(_ns_per_call(evaluate_all, given, passes))
            ratios.append(turns[-1] / baseline_ns)
        name = f"evaluate: {_FLAGS} flags, each with rules for {each} of 15 segments, 15 attributes"
        took_us = median(turns) / 1e3
        if target_us is None:
            yield informative(name, took_us, "us")
        else:
            yield below(name, took_us, target_us, "us")
        yield informative("  as a multiple of the constant", median(ratios), "x")


def _constant(context: dict[str, Any], now_ms: int) -> object:
    return context


def _operators(scale: Scale) -> Iterator[Figure]:
    """Yield what one condition costs, by operator, beyond a flag without any."""
    constant = compile_flag("constant", definition(plain("constant")), {}).evaluate
    passes = -(-scale.passes // 5)
    for name, (condition, values) in OPERATORS.items():
        flag = compile_flag(name, definition(one_condition(name, condition)), {})
        given = [{"targetingKey": "u", "x": value} for value in values] * (_CONTEXTS // len(values))
        turns = [
            _ns_per_call(flag.evaluate, given, passes) - _ns_per_call(constant, given, passes)
            for _ in range(max(scale.repeats // 3, 1))
        ]
        yield below(f"operator: {name}", median(turns), _OPERATOR_NS, "ns")


def _unit_lists(scale: Scale) -> Iterator[Figure]:
    """Yield what a list of a million units takes, and what asking it costs."""
    count = scale.units
    hashes = [hashed for n in range(count) if (hashed := hash_unit(f"user-{n}")) is not None]
    blobs = split(hashes)
    hashes.clear()
    named = {digest_of(blob): blob for blob in blobs}
    units = UnitList(count, [digest_of(blob) for blob in blobs])
    gc.collect()
    tracemalloc.start()
    held = _finish(unit_set(units, named))
    index = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    size = (index + sum(map(sys.getsizeof, named.values()))) / count
    yield below(f"units: a list of {count:,}, in memory", size, _UNIT_BYTES, "bytes a unit")
    asked = [f"user-{n * 997 % (2 * count)}" for n in range(_CONTEXTS)]
    turns = []
    for _ in range(scale.repeats):
        start = time.perf_counter_ns()
        for _ in range(10):
            for unit in asked:
                held.contains(unit)
        turns.append((time.perf_counter_ns() - start) / (10 * len(asked)))
    yield below("  whether a unit is in it", median(turns), _MEMBER_NS, "ns")


def _ns_per_call(function: Evaluate, given: list[dict[str, Any]], passes: int) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter_ns()
        for _ in range(passes):
            for context in given:
                function(context, _NOW_MS)
        return (time.perf_counter_ns() - start) / (passes * len(given))
    finally:
        gc.enable()


def _compile(
    body: bytes,
) -> tuple[float, float, Snapshot, CompiledSnapshot]:
    """Return the seconds of the whole, of the longest step, what was read and the result.

    Done twice: looking at the clock and at the collector after each of forty thousand steps takes
    an eighth of the whole.
    """
    gc.collect()
    start = time.perf_counter()
    read = _finish(read_snapshot(body))
    compiled = _finish(compile_snapshot(read.entries))
    total = time.perf_counter() - start
    del read, compiled
    code_of.cache_clear()
    gc.collect()
    longest_read, read = _timed(read_snapshot(body))
    longest_compile, compiled = _timed(compile_snapshot(read.entries))
    return total, max(longest_read, longest_compile), read, compiled


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
    """Advance a generator to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
