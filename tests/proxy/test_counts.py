"""Histograms, and evaluations that are counted over many snapshots."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.counts import OTHER, EvaluationCounts, Histogram
from proxy.holder import Holder, Served
from tests.support.snapshots import definition, make_snapshot


async def offer(holder: Holder, flags: dict[str, Any], revision: int) -> Served:
    """Serve flags."""
    return await holder.offer(make_snapshot(flags, revision=revision)[1], "control-plane")


def evaluate(served: Served, key: str, times: int = 1) -> None:
    """Evaluate a flag as the OFREP port does."""
    for _ in range(times):
        served.compiled.flags[key].evaluate({}, 0).evaluations += 1


def totals(counts: EvaluationCounts, served: Served | None) -> dict[tuple[str, ...], int]:
    """Return the count of each series."""
    return finish(counts.totals(served))


def finish(steps: Any) -> dict[tuple[str, ...], int]:
    """Return the result of work in steps."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: dict[tuple[str, ...], int] = done.value
            return found


async def test_counts_go_on_when_a_flag_changes() -> None:
    """Those of the flag that was, of the one that is, and of the one that stayed."""
    counts, holder = EvaluationCounts(), Holder()
    holder.subscribe(lambda old, new: counts.fold(old, new) if old else None)
    first = await offer(holder, {"stays": True, "changes": True, "goes": True}, 1)
    for key in first.compiled.flags:
        evaluate(first, key, 2)
    second = await offer(holder, {"stays": True, "changes": False}, 2)
    evaluate(second, "stays")
    evaluate(second, "changes")
    assert totals(counts, second) == {
        ("stays", "on", "STATIC"): 3,
        ("changes", "on", "STATIC"): 2,
        ("changes", "off", "STATIC"): 1,
        ("goes", "on", "STATIC"): 2,
    }


async def test_changing_back_adds_up() -> None:
    """One series, over several compiled flags."""
    counts, holder = EvaluationCounts(), Holder()
    holder.subscribe(lambda old, new: counts.fold(old, new) if old else None)
    for revision, value in enumerate((True, False, True), 1):
        evaluate(await offer(holder, {"f": value}, revision), "f")
    found = totals(counts, holder.served)
    assert found == {("f", "on", "STATIC"): 2, ("f", "off", "STATIC"): 1}


async def test_errors_are_counted_by_their_code() -> None:
    """They have no reason."""
    counts, holder = EvaluationCounts(), Holder()
    served = await offer(holder, {"bad": definition(fallthrough={"variant": "none"})}, 1)
    evaluate(served, "bad")
    assert totals(counts, served) == {("bad", "", "PARSE_ERROR"): 1}


async def test_what_was_never_evaluated_has_no_series() -> None:
    """Ten thousand flags of which ten are used are ten series."""
    counts, holder = EvaluationCounts(), Holder()
    assert totals(counts, await offer(holder, {"f": True}, 1)) == {}


async def test_series_are_bounded_and_none_goes_back() -> None:
    """Those that were there stay; the rest is summed up, and only grows."""
    counts, holder = EvaluationCounts(max_series=2), Holder()
    holder.subscribe(lambda old, new: counts.fold(old, new) if old else None)
    before: dict[tuple[str, ...], int] = {}
    for revision in range(1, 6):
        served = await offer(holder, {f"f{n}": revision % 2 == 0 for n in range(4)}, revision)
        for key in served.compiled.flags:
            evaluate(served, key, revision)
        found = totals(counts, served)
        assert len(found) == 3
        assert all(found[labels] >= count for labels, count in before.items())
        before = found
    assert (OTHER, OTHER, OTHER) in before
    assert sum(before.values()) == 4 * sum(range(1, 6))
    assert counts.series == 2


async def test_flags_that_come_and_go_take_no_room() -> None:
    """A setting whose value changes each minute has a variant more each time, for years."""
    counts, holder = EvaluationCounts(max_series=2), Holder()
    holder.subscribe(lambda old, new: counts.fold(old, new) if old else None)
    for revision in range(1, 50):
        served = await offer(holder, {f"f{revision}": True}, revision)
        evaluate(served, f"f{revision}", 2)
    assert len(counts._base) == 3
    found = totals(counts, holder.served)
    assert found[OTHER, OTHER, OTHER] == 2 * 47
    assert sum(found.values()) == 2 * 49


async def test_a_snapshot_that_comes_while_they_are_added_up_changes_nothing() -> None:
    """None is counted twice, none is missing."""
    counts, holder = EvaluationCounts(), Holder()
    holder.subscribe(lambda old, new: counts.fold(old, new) if old else None)
    served = await offer(holder, {f"f{n}": True for n in range(4)}, 1)
    for key in served.compiled.flags:
        evaluate(served, key, 3)
    steps = counts.totals(served)
    next(steps)
    next(steps)
    await offer(holder, {"f0": True, "f1": False, "f3": False}, 2)
    found = finish(steps)
    assert found == {(f"f{n}", "on", "STATIC"): 3 for n in range(4)}
    assert totals(counts, holder.served) == found


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_has_each_duration_in_one_bucket(durations: list[float]) -> None:
    """Cumulative, as Prometheus has them: a duration at a bound is below it."""
    bounds = (0.001, 0.5, 10.0)
    histogram = Histogram(bounds)
    for duration in durations:
        histogram.observe(duration)
    buckets, total = histogram.sample()
    for bound, (label, count) in zip(bounds, buckets, strict=False):
        assert float(label) == bound
        assert count == sum(duration <= bound for duration in durations)
    assert buckets[-1] == ("+Inf", len(durations))
    assert abs(total - sum(durations)) < 1e-6
