"""When an answer may change by itself: nothing changes at a time that is not told."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from proxy.engine import CompiledFlag, compile_flag
from proxy.engine.timing import NEVER, Timing, together
from tests.proxy.engine.builders import compiled, definition, leaf, rule
from tests.proxy.engine.builders import segment_definition as defined
from tests.proxy.engine.strategies import TIMES, Maker, World, worlds
from tests.proxy.engine.test_evaluate import compile_world

START, END = "2026-12-01T00:00:00Z", "2026-12-08T00:00:00Z"
START_MS, END_MS = 1_796_083_200_000, 1_796_688_000_000
RAMP = {"ramp": {"variant": "on", "else": "off", "start": START, "end": END}}


def may_change(timing: Timing, before_ms: int, after_ms: int) -> bool:
    """Return whether what is timed so may differ at two times, the second of them later."""
    if any(before_ms < moment <= after_ms for moment in timing.moments):
        return True
    return any(start <= after_ms and before_ms < end for start, end in timing.spans)


@settings(max_examples=250, suppress_health_check=list(HealthCheck), deadline=None)
@given(worlds())
def test_an_answer_changes_only_at_a_moment_or_within_a_span(drawn: tuple[World, Maker]) -> None:
    """Of flags with all that can depend on time, in segments and prerequisites too."""
    world, maker = drawn
    flags = list(compile_world(world).flags.values())
    context = maker.context()
    told = {moment for flag in flags for moment in flag.timing.moments}
    times = {*TIMES, *told, *(moment - 1 for moment in told), *(moment + 1 for moment in told)}
    times |= {maker.randint(-(2**62), 2**62) for _ in range(5)}
    for before_ms, after_ms in pairwise(sorted(times)):
        for flag in flags:
            one, other = (flag.evaluate(context, now_ms) for now_ms in (before_ms, after_ms))
            assert one is other or may_change(flag.timing, before_ms, after_ms)


def timing_of(**members: Any) -> Timing:
    """Return when the answer of a flag may change."""
    flag: CompiledFlag = compiled({"s": defined(when=leaf_now("weekday", "mon"))}, **members)
    return flag.timing


def leaf_now(op: str, *values: Any, **options: Any) -> dict[str, Any]:
    """Return a leaf over the time."""
    return {"op": op, "values": list(values), **options}


ALWAYS = (-(2**63), 2**63)
WINDOW = {"from": START, "until": END}
BY_TIME = Timing(spans=frozenset([ALWAYS]))


@pytest.mark.parametrize(
    ("members", "timing"),
    [
        ({}, NEVER),
        ({"rules": [rule(leaf("at", "before", START))]}, NEVER),
        ({"rules": [rule({"all": []}, active={})]}, NEVER),
        ({"rules": [rule({"all": []}, active=WINDOW)]}, Timing(frozenset([START_MS, END_MS]))),
        ({"rules": [rule({"all": []}, active={"from": START})]}, Timing(frozenset([START_MS]))),
        ({"rules": [rule(leaf_now("before", START))]}, Timing(frozenset([START_MS]))),
        ({"rules": [rule(leaf_now("after", START))]}, Timing(frozenset([START_MS + 1]))),
        ({"rules": [rule(leaf_now("after", 2**53, negate=True))]}, Timing(frozenset([2**53 + 1]))),
        ({"rules": [rule({"not": leaf_now("weekday", "mon")})]}, BY_TIME),
        ({"rules": [rule({"segment": "s"})]}, BY_TIME),
        ({"rules": [rule({"all": []}), rule({"segment": "s"})]}, NEVER),
        ({"enabled": False, "rules": [rule({"segment": "s"})]}, NEVER),
        (
            {"fallthrough": RAMP},
            Timing(frozenset([START_MS, END_MS]), frozenset([(START_MS, END_MS)])),
        ),
    ],
)
def test_when_an_answer_may_change(members: Any, timing: Timing) -> None:
    """As little as can be said; the ends of time are no moments."""
    assert timing_of(**members) == timing


def test_the_timing_of_prerequisites_is_in_it() -> None:
    """Through others, too, and of those that are broken none."""
    inner = compile_flag("inner", definition(rules=[rule({"all": []}, active=WINDOW)]), {})
    wanted = [{"flag": "inner", "variants": ["on"]}, {"flag": "gone", "variants": ["on"]}]
    middle = compile_flag("middle", definition(prerequisites=wanted), {}, {"inner": inner})
    wanted = [{"flag": "middle", "variants": ["off"]}]
    outer = compile_flag("outer", definition(prerequisites=wanted), {}, {"middle": middle})
    assert outer.timing == Timing(frozenset([START_MS, END_MS]))


def test_timings_together_are_all_of_them() -> None:
    """Of nothing, never."""
    one, other = Timing(frozenset([1, 2])), Timing(frozenset([2, 3]), frozenset([(5, 7)]))
    assert together([one, NEVER, other]) == Timing(frozenset([1, 2, 3]), frozenset([(5, 7)]))
    assert together([NEVER, NEVER]) is NEVER
    assert together([]) is NEVER
