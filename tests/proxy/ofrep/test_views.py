"""Bulk answers, their tags and their counts, without HTTP."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.snapshot import read_snapshot
from proxy.contract.steps import finish
from proxy.contract.units import digest_of, hash_unit, split
from proxy.engine import compile_snapshot
from proxy.engine.times import parse_moment
from proxy.ofrep import views as views_module
from proxy.ofrep.auth import Scope
from proxy.ofrep.views import LIVE_PACE_MS, Slice, Views
from tests.proxy.ofrep.server import DEFINITIONS, ON_OFF, flag, rule
from tests.support.snapshots import make_snapshot


def make_views(flags: dict[str, Any]) -> Views:
    """Return the views of a snapshot."""
    header, body = make_snapshot(flags)
    return Views(finish(compile_snapshot(finish(read_snapshot(body)).entries)), header)


VIEWS = make_views(DEFINITIONS)


def counts(views: Views) -> dict[str, int]:
    """Return the evaluations of each flag."""
    views.settle()
    flags = views.compiled.flags.items()
    return {key: sum(a.evaluations for a in flag.answers) for key, flag in flags}


def test_a_bulk_answer_counts_one_evaluation_of_each_flag() -> None:
    """Those that never change too, which are not evaluated one by one."""
    views = make_views(DEFINITIONS)
    for _ in range(3):
        views.of(Scope.ALL).render({"plan": "pro"}, 0)
    assert counts(views) == dict.fromkeys(DEFINITIONS, 3)


def test_settling_twice_counts_once() -> None:
    """A scrape must not change what the next one sees."""
    views = make_views(DEFINITIONS)
    views.of(Scope.ALL).render({}, 0)
    assert counts(views) == counts(views)


def test_scopes_count_what_they_see() -> None:
    """A client's bulk answer evaluates only its flags."""
    views = make_views(DEFINITIONS)
    views.of(Scope.CLIENT).render({}, 0)
    seen = {key for key, count in counts(views).items() if count}
    assert seen == {key for key, members in DEFINITIONS.items() if members.get("client_side")}


WORDS = st.sampled_from(["pro", "free", "u-1", "u-2", 1, 1.0, True, None, "", [], {"plan": "pro"}])
NAMES = st.sampled_from(["plan", "targetingKey", "email", "a", "a.plan", "plan[0]"])
CONTEXTS = st.dictionaries(NAMES, WORDS, max_size=4)
RULED = {
    "plan": flag("boolean", ON_OFF, rules=[rule("off", "plan", "pro", 1, True)]),
    "path": flag("boolean", ON_OFF, rules=[rule("off", "a.plan", "pro")]),
    "both": flag(
        "boolean", ON_OFF, rules=[rule("off", "email", op="exists"), rule("on", "b", 1, id_="s")]
    ),
    "split": DEFINITIONS["split"],
}
RULED_VIEWS = make_views(RULED)


@given(CONTEXTS, CONTEXTS)
def test_different_results_have_different_tags(one: dict[str, Any], two: dict[str, Any]) -> None:
    """The promise of a tag: what it leaves out of the context cannot matter."""
    for views in (VIEWS, RULED_VIEWS):
        view = views.of(Scope.ALL)
        if view.render(one, 0) != view.render(two, 0):
            assert view.etag(one, 0) != view.etag(two, 0)


DAY = 86_400_000
START = parse_moment("2026-12-01T00:00:00Z") or 0
RAMP = {
    "ramp": {
        "variant": "on",
        "else": "off",
        "start": "2026-12-01T00:00:00Z",
        "end": "2026-12-03T00:00:00Z",
    }
}
NIGHT = {"op": "time_of_day", "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}
TIMED = {
    **RULED,
    "window": flag(
        "boolean",
        ON_OFF,
        rules=[{**rule("off", "plan", "pro"), "active": {"until": "2026-12-02T00:00:00Z"}}],
    ),
    "ramp": flag("boolean", ON_OFF, fallthrough=RAMP),
    "night": flag(
        "boolean", ON_OFF, rules=[{"id": "n", "when": NIGHT, "serve": {"variant": "off"}}]
    ),
    "asks": flag("boolean", ON_OFF, prerequisites=[{"flag": "window", "variants": ["off"]}]),
}
TIMED_VIEWS = make_views(TIMED)
TIMES = st.integers(START - DAY, START + 4 * DAY) | st.sampled_from(
    [START - 1, START, START + DAY - 1, START + DAY, START + 2 * DAY]
)


@given(CONTEXTS, TIMES, TIMES)
def test_results_that_time_changed_have_different_tags(
    context: dict[str, Any], one: int, two: int
) -> None:
    """Windows, ramps, hours of the day, also of flags that are asked by others."""
    view = TIMED_VIEWS.of(Scope.ALL)
    if view.render(context, one) != view.render(context, two):
        assert view.etag(context, one) != view.etag(context, two)


@given(CONTEXTS, TIMES)
def test_flags_evaluated_together_answer_what_each_does_alone(
    context: dict[str, Any], now_ms: int
) -> None:
    """Though they share what segments and prerequisites come to."""
    view = TIMED_VIEWS.of(Scope.ALL)
    alone = [flag.evaluate(context, now_ms).body for flag in view.flags.values()]
    assert view.render(context, now_ms) == b'{"flags":[' + b",".join(alone) + b"]}"


def test_a_tag_stays_while_time_changes_nothing() -> None:
    """Else every poll would be a full answer."""
    view = make_views({"window": TIMED["window"], "ramp": TIMED["ramp"]}).of(Scope.ALL)
    context = {"targetingKey": "u-1"}
    after = START + 3 * DAY
    assert view.etag(context, after) == view.etag(context, after + DAY)
    before = START - 2 * DAY
    assert view.etag(context, before) == view.etag(context, before + DAY)
    assert view.etag(context, before) != view.etag(context, after)


@given(CONTEXTS, TIMES, TIMES)
def test_results_that_time_changed_are_told_in_its_slice_or_within_a_minute(
    context: dict[str, Any], one: int, two: int
) -> None:
    """Who listens never keeps longer what it would not get again."""
    view = TIMED_VIEWS.of(Scope.ALL)
    if view.render(context, one) != view.render(context, two):
        same = view.name(view.slice(one)) == view.name(view.slice(two))
        assert not same or one // LIVE_PACE_MS == two // LIVE_PACE_MS


@given(TIMES)
def test_a_slice_of_time_ends_when_the_next_begins(now_ms: int) -> None:
    """So that a timer wakes up neither too early nor too late."""
    for view in (TIMED_VIEWS.of(Scope.ALL), make_views({"w": TIMED["window"]}).of(Scope.ALL)):
        present = view.slice(now_ms)
        if present.since_ms is not None:
            assert present.since_ms <= now_ms
            assert view.slice(present.since_ms) == present
            assert view.slice(present.since_ms - 1) != present
        if present.until_ms is not None:
            assert now_ms < present.until_ms
            assert view.slice(present.until_ms - 1) == present
            assert view.slice(present.until_ms) != present


def test_without_anything_timed_there_is_one_slice() -> None:
    """Nobody has to wake up."""
    assert VIEWS.of(Scope.ALL).slice(START) == Slice(None, None)


LISTS = [split(hash_unit(f"{name}-{n}") or b"" for n in range(3_000)) for name in "uv"]
BLOBS = {digest_of(blob): blob for blobs in LISTS for blob in blobs}
LONG = {
    "one": {"units": {"included": {"count": 3_000, "blobs": [digest_of(b) for b in LISTS[0]]}}},
    "two": {"units": {"excluded": {"count": 3_000, "blobs": [digest_of(b) for b in LISTS[1]]}}},
    "outer": {"when": {"segment": "one"}},
}
NAMES_SEGMENTS = {
    key: flag(
        "boolean",
        ON_OFF,
        client_side=True,
        rules=[{"id": "r", "when": {"segment": key}, "serve": {"variant": "off"}}],
    )
    for key in LONG
}


def views_with(blobs: dict[str, bytes], previous: Views | None = None) -> Views:
    """Return the views of one and the same snapshot with some of its blobs."""
    segments: Any = {("segment", key): members for key, members in LONG.items()}
    header, body = make_snapshot(NAMES_SEGMENTS, more=segments)
    old = None if previous is None else previous.compiled
    entries = finish(read_snapshot(body)).entries
    return Views(finish(compile_snapshot(entries, old, blobs)), header)


def test_tags_differ_with_the_blobs_that_are_there() -> None:
    """Else who asked before a blob came keeps the error until the snapshot is another."""
    first, second = (digest_of(blobs[0]) for blobs in LISTS)
    some = [{}, {first: BLOBS[first]}, {second: BLOBS[second]}, BLOBS]
    for scope in Scope:
        for context in ({}, {"targetingKey": "u-1"}, {"targetingKey": "v-1"}):
            views = [views_with(blobs).of(scope) for blobs in some]
            assert len({view.render(context, 0) for view in views}) == len(some)
            assert len({view.etag(context, 0) for view in views}) == len(some)


def test_the_tag_is_the_same_whichever_way_blobs_came() -> None:
    """At once, or after the flags were served without them."""
    at_once = views_with(BLOBS)
    later = views_with(BLOBS, views_with({}))
    context = {"targetingKey": "u-1"}
    for scope in Scope:
        assert at_once.of(scope).etag(context, 0) == later.of(scope).etag(context, 0)


def told(views: Views, context: dict[str, Any], now_ms: int = 0) -> bytes:
    """Return a bulk answer's body as a request gets it, with its tag."""
    view = views.of(Scope.ALL)
    return view.render(context, now_ms, view.etag(context, now_ms))


def test_a_kept_body_counts_as_one_that_is_made() -> None:
    """From the third time on nothing is evaluated, and all is counted."""
    views = make_views(DEFINITIONS)
    bodies = {told(views, {"plan": "pro", "unread": n}) for n in range(7)}
    assert len(bodies) == 1
    assert counts(views) == dict.fromkeys(DEFINITIONS, 7)
    assert counts(views) == dict.fromkeys(DEFINITIONS, 7)


@given(st.lists(CONTEXTS, min_size=1, max_size=8))
def test_what_is_kept_is_what_would_be_made(contexts: list[dict[str, Any]]) -> None:
    """Contexts that come again, in any order."""
    views = make_views(RULED)
    for context in contexts * 3:
        assert told(views, context) == RULED_VIEWS.of(Scope.ALL).render(context, 0)
    assert set(counts(views).values()) == {len(contexts) * 3}


def test_who_asks_once_leaves_no_body_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of those that come again the oldest make room; their counts stay."""
    size = len(RULED_VIEWS.of(Scope.ALL).render({"targetingKey": "u-0"}, 0))
    monkeypatch.setattr(views_module, "_MAX_KEPT_BYTES", size * 3)
    views = make_views(RULED)
    view = views.of(Scope.ALL)
    for n in range(50):
        told(views, {"targetingKey": f"u-{n}"})
    assert not view.kept_bytes
    for _ in range(3):
        for n in range(10):
            told(views, {"targetingKey": f"u-{n}"})
            assert view.kept_bytes <= size * 3
    assert view.kept_bytes
    assert set(counts(views).values()) == {80}


def test_a_kept_body_is_not_served_past_its_time() -> None:
    """The tag names the slice of time, so that another slice finds nothing kept."""
    views = make_views(TIMED)
    context = {"targetingKey": "u-1", "plan": "pro"}
    for hour in range(24 * 10):
        now_ms = START + hour * 3_600_000
        fresh = make_views(TIMED).of(Scope.ALL).render(context, now_ms)
        assert [told(views, context, now_ms) for _ in range(3)] == [fresh] * 3
