"""Bulk answers, their tags and their counts, without HTTP."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.snapshot import read_snapshot
from proxy.engine import CompiledSnapshot, compile_snapshot
from proxy.ofrep.auth import Scope
from proxy.ofrep.views import Views
from tests.proxy.ofrep.server import DEFINITIONS, ON_OFF, flag, rule
from tests.support.snapshots import make_snapshot


def run(steps: Any) -> Any:
    """Return the result of a generator that works step by step."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def make_views(flags: dict[str, Any]) -> Views:
    """Return the views of a snapshot."""
    header, body = make_snapshot(flags)
    compiled: CompiledSnapshot = run(compile_snapshot(run(read_snapshot(body)).entries))
    return Views(compiled, header)


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
            assert view.etag(one) != view.etag(two)
