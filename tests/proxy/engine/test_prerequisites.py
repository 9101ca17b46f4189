"""Flags that ask other flags: how they are served, and what is wrong with some."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.definitions import Flag, FlagDefinition
from proxy.contract.steps import finish
from proxy.engine import (
    CompiledSnapshot,
    Memo,
    check_definition,
    check_flag,
    compile_snapshot,
    evaluate,
    limits,
)
from tests.proxy.engine.builders import authored, definition, entries, leaf, rule

Wanted = dict[str, Any]


def wants(flag: str, *variants: str) -> Wanted:
    """Return a prerequisite; `on` will do where nothing is said."""
    return {"flag": flag, "variants": list(variants or ("on",))}


def snapshot(**flags: FlagDefinition) -> CompiledSnapshot:
    """Return a snapshot of some flags."""
    named = [("flag", key, made) for key, made in flags.items()]
    return finish(compile_snapshot(entries(*named)))  # type: ignore[arg-type]


def asking(*wanted: Wanted, **members: Any) -> FlagDefinition:
    """Return a flag that serves `on` to those in whose way nothing is, and else `off`."""
    served = {"fallthrough": {"variant": "on"}, "off_variant": "off"}
    return definition(prerequisites=list(wanted), **{**served, **members})


def body(made: CompiledSnapshot, key: str, context: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the body of a flag's answer, which is the same with a memo."""
    context = context or {}
    answer = evaluate(made, key, context, 0)
    assert evaluate(made, key, context, 0, Memo(context, 0)) is answer
    decoded: dict[str, Any] = json.loads(answer.body)
    return decoded


ON = definition(fallthrough={"variant": "on"}, off_variant="on")


# What is served


def test_a_prerequisite_that_serves_a_wanted_variant_is_no_obstacle() -> None:
    """The flag goes on; that there was one makes the fallthrough a default."""
    made = snapshot(a=ON, b=asking(wants("a", "off", "on")))
    assert body(made, "b") == {"key": "b", "value": True, "variant": "on", "reason": "DEFAULT"}


OBSTACLES: dict[str, FlagDefinition | None] = {
    "another variant": definition(fallthrough={"variant": "off"}),
    "disabled, though its off variant is wanted": definition(enabled=False, off_variant="on"),
    "disabled, without off variant": definition(enabled=False),
    "errs": definition(fallthrough={"rollout": {"arms": [{"variant": "on", "weight": 100_000}]}}),
    "quarantined": definition(rules=[rule(leaf("a", "eqals", 1))], fallthrough={"variant": "on"}),
    "missing": None,
    "its own prerequisite is missing": definition(
        prerequisites=[wants("gone")], fallthrough={"variant": "on"}
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_prerequisite_that_fails_is_named(obstacle: str) -> None:
    """The off variant is served, reason DEFAULT, beside the metadata that the flag has."""
    other = OBSTACLES[obstacle]
    flags = {} if other is None else {"a": other}
    made = snapshot(**flags, b=asking(wants("a"), metadata={"team": "x"}))
    assert body(made, "b") == {
        "key": "b",
        "value": False,
        "variant": "off",
        "reason": "DEFAULT",
        "metadata": {"team": "x", "prerequisite": "a"},
    }
    assert "b" not in made.quarantined


def test_without_an_off_variant_the_application_decides() -> None:
    """No value, as of a disabled flag, but the reason is DEFAULT."""
    flag = definition(prerequisites=[wants("gone")])
    assert body(snapshot(b=flag), "b") == {
        "key": "b",
        "variant": "",
        "reason": "DEFAULT",
        "metadata": {"prerequisite": "gone"},
    }


def test_no_variant_is_not_one_that_can_be_wanted() -> None:
    """A flag without value serves none, whatever a file says."""
    made = snapshot(
        none=definition(prerequisites=[wants("gone")]), b=asking(wants("none", "", "on"))
    )
    assert body(made, "b")["variant"] == "off"


def test_the_off_variant_that_a_failed_prerequisite_serves_may_be_what_is_wanted() -> None:
    """It is on, and serves that variant."""
    made = snapshot(middle=asking(wants("gone")), b=asking(wants("middle", "off")))
    assert body(made, "middle")["variant"] == "off"
    assert body(made, "b")["variant"] == "on"


def test_prerequisites_come_before_targets_and_rules() -> None:
    """And the first that fails is named."""
    everything = {
        "targets": [{"variant": "on", "units": ["u"]}],
        "rules": [rule({"all": []}, "on", id="r")],
    }
    flag = asking(wants("a"), wants("gone"), wants("more"), **everything)
    made = snapshot(a=ON, b=flag)
    assert body(made, "b", {"targetingKey": "u"})["metadata"] == {"prerequisite": "gone"}


def test_a_disabled_flag_asks_nobody() -> None:
    """It is disabled, and says so."""
    made = snapshot(b=asking(wants("gone"), enabled=False))
    assert body(made, "b") == {"key": "b", "value": False, "variant": "off", "reason": "DISABLED"}


def test_a_prerequisite_is_asked_with_the_same_context_and_time() -> None:
    """Its rules decide for the same unit."""
    asked = definition(
        rules=[rule(leaf("plan", "equals", "pro"), active={"from": "1970-01-01T00:00:00.005Z"})]
    )
    made = snapshot(a=asked, b=asking(wants("a")))
    found = [
        evaluate(made, "b", context, now_ms).variant
        for context in ({"plan": "pro"}, {"plan": "free"})
        for now_ms in (4, 5)
    ]
    assert found == ["off", "on", "off", "off"]
    assert made.flags["b"].attributes == {"plan"}


def test_one_obstacle_stops_a_whole_chain() -> None:
    """Each flag above it names the one it asks."""
    chain = {f"c{i}": asking(wants(f"c{i + 1}")) for i in range(limits.MAX_PREREQUISITE_NESTING)}
    last = f"c{limits.MAX_PREREQUISITE_NESTING}"
    good, bad = snapshot(**chain, **{last: ON}), snapshot(**chain, **{last: definition()})
    for number, key in enumerate(chain):
        assert body(good, key)["variant"] == "on"
        assert body(bad, key)["metadata"] == {"prerequisite": f"c{number + 1}"}
    assert good.flags["c0"].nesting == limits.MAX_PREREQUISITE_NESTING


def test_too_many_in_a_row_quarantine_the_upper_end_only() -> None:
    """Who asks that one is off; the rest is served."""
    most = limits.MAX_PREREQUISITE_NESTING
    chain = {f"c{i}": asking(wants(f"c{i + 1}")) for i in range(1, most + 2)}
    made = snapshot(**chain, c0=asking(wants("c1")), **{f"c{most + 2}": ON})
    assert {key: found[0].code for key, found in made.quarantined.items()} == {"c1": "too_deep"}
    assert body(made, "c0")["metadata"] == {"prerequisite": "c1"}
    assert body(made, "c2")["variant"] == "on"


def bushy(top: int) -> dict[str, list[Wanted]]:
    """Return flags of which the top one asks that many in all: some that ask others, and others."""
    leaves = [wants(f"leaf{i}") for i in range(limits.MAX_PREREQUISITES - 1)]
    full, rest = divmod(top, 1 + len(leaves))
    made = {f"m{i}": leaves for i in range(full)}
    made["top"] = [wants(key) for key in made] + leaves[:rest]
    return made | {wanted["flag"]: [] for wanted in leaves}


@pytest.mark.parametrize("extra", [0, 1])
def test_how_many_are_asked_in_all_is_bounded(extra: int) -> None:
    """Exactly, by the sidecar and by the API."""
    made = bushy(limits.MAX_PREREQUISITES_IN_ALL + extra)
    compiled = snapshot(**{key: asking(*wanted) for key, wanted in made.items()})
    assert set(compiled.quarantined) == ({"top"} if extra else set())
    if not extra:
        assert compiled.flags["top"].asked == limits.MAX_PREREQUISITES_IN_ALL
    flags = {key: project_flag(key, wanted) for key, wanted in made.items()}
    codes = [p.code for p in check_flag(flags["top"], {}, flags)]
    assert codes == (["too_many"] if extra else [])


# What is wrong with them, by themselves


@pytest.mark.parametrize(
    ("wanted", "problems"),
    [
        ([wants("a"), wants("b")], []),
        ([wants("k")], [("/prerequisites/0/flag", "prerequisite_cycle")]),
        ([wants("a"), wants("a")], [("/prerequisites/1/flag", "duplicate_prerequisite")]),
        ([{"flag": "a", "variants": []}], [("/prerequisites/0/variants", "no_variants")]),
        (
            [wants("a", *map(str, range(limits.MAX_VARIANTS + 1)))],
            [("/prerequisites/0/variants", "too_many")],
        ),
        ([wants(f"a{i}") for i in range(limits.MAX_PREREQUISITES)], []),
        (
            [wants(f"a{i}") for i in range(limits.MAX_PREREQUISITES + 1)],
            [("/prerequisites", "too_many")],
        ),
    ],
    ids=range(7),
)
def test_prerequisites_by_themselves(wanted: list[Wanted], problems: Any) -> None:
    """As a sidecar is sent them: whether the flags are there it does not ask."""
    found = check_definition("k", definition(prerequisites=wanted), ())
    assert [(p.pointer, p.code) for p in found] == problems


# Among the flags of a project


def project_flag(key: str, wanted: Sequence[Wanted] = (), **members: Any) -> Flag:
    """Return a flag as authors write it, with prerequisites in production."""
    return authored(key, config={"prerequisites": list(wanted)}, **members)


AT = "/environments/production/prerequisites"


def found(flag: Flag, *others: Flag, **options: Any) -> list[tuple[str, str]]:
    """Return pointer and code of each problem of a flag among others."""
    problems = check_flag(flag, {}, {other.key: other for other in others}, **options)
    return [(p.pointer, p.code) for p in problems]


def test_a_prerequisite_is_a_flag_of_the_project() -> None:
    """That is not archived, and has the variants."""
    flag = project_flag("k", [wants("a"), wants("old"), wants("b", "on", "blue"), wants("gone")])
    others = [project_flag("a"), project_flag("old", archived=True), project_flag("b")]
    assert found(flag, *others) == [
        (f"{AT}/1/flag", "unknown_flag"),
        (f"{AT}/2/variants/1", "unknown_variant"),
        (f"{AT}/3/flag", "unknown_flag"),
    ]


def test_without_the_flags_of_a_project_nothing_is_said_of_them() -> None:
    """Only what is wrong by itself."""
    assert check_flag(project_flag("k", [wants("gone")]), {}) == []


def test_a_variant_that_others_want_stays() -> None:
    """They are named; what is stored under the flag's own key does not count."""
    users = [
        project_flag("one", [wants("k", "third")]),
        project_flag("two", [wants("k", "third", "on")]),
    ]
    stored = project_flag("k", [wants("k", "third")])
    [problem] = check_flag(project_flag("k"), {}, {flag.key: flag for flag in [*users, stored]})
    assert (problem.pointer, problem.code) == ("/variants", "variant_in_use")
    assert "'one', 'two'" in problem.message


def test_a_circle_is_told_as_a_way() -> None:
    """From the flag to itself, through the prerequisite that leads there."""
    others = [project_flag("b", [wants("c")]), project_flag("c", [wants("k")]), project_flag("x")]
    flag = project_flag("k", [wants("x"), wants("b")])
    [problem] = check_flag(flag, {}, {other.key: other for other in others})
    assert (problem.pointer, problem.code) == (f"{AT}/1/flag", "prerequisite_cycle")
    assert "k -> b -> c -> k" in problem.message


def test_every_prerequisite_that_leads_back_is_named() -> None:
    """To open the circle at one of them does not mend the other."""
    others = [project_flag("b", [wants("k")]), project_flag("c", [wants("k")]), project_flag("x")]
    flag = project_flag("k", [wants("b"), wants("x"), wants("c")])
    assert found(flag, *others) == [
        (f"{AT}/0/flag", "prerequisite_cycle"),
        (f"{AT}/2/flag", "prerequisite_cycle"),
    ]


def test_a_circle_counts_also_where_flags_are_off() -> None:
    """It would close when they are switched on."""
    off = authored("b", config={"enabled": False, "prerequisites": [wants("k")]})
    assert found(project_flag("k", [wants("b")]), off) == [(f"{AT}/0/flag", "prerequisite_cycle")]


def test_circles_are_of_one_environment() -> None:
    """What asks there and what asks here is no circle."""
    served = {"enabled": True, "fallthrough": {"variant": "off"}}
    other = authored(
        "b",
        environments={"staging": {**served, "prerequisites": [wants("k")]}, "production": served},
    )
    assert found(project_flag("k", [wants("b")]), other) == []


def test_a_circle_elsewhere_is_not_this_flags_problem() -> None:
    """It cannot be mended here."""
    others = [project_flag("x", [wants("y")]), project_flag("y", [wants("x")])]
    assert found(project_flag("k"), *others) == []
    assert found(project_flag("k", [wants("x")]), *others) == []


def row(length: int) -> list[Flag]:
    """Return flags c0 that asks c1 that asks ..."""
    last = project_flag(f"c{length}")
    return [project_flag(f"c{i}", [wants(f"c{i + 1}")]) for i in range(length)] + [last]


def test_how_many_ask_one_another_in_a_row_is_bounded() -> None:
    """Exactly; and for the one at the upper end, when one is added at the lower."""
    most = limits.MAX_PREREQUISITE_NESTING
    assert found(row(most)[0], *row(most)) == []
    assert found(row(most + 1)[0], *row(most + 1)) == [(AT, "too_deep")]
    longer = project_flag(f"c{most}", [wants("new")])
    problems = check_flag(longer, {}, {f.key: f for f in [*row(most), project_flag("new")]})
    assert [(p.pointer, p.code) for p in problems] == [(AT, "too_deep")]
    assert problems[0].message.startswith("'c0'")


def test_a_row_of_a_thousand_is_no_trouble() -> None:
    """No recursion."""
    assert (AT, "too_deep") in found(row(1_000)[0], *row(1_000))
    whole_circle = [*row(1_000)[:-1], project_flag("c1000", [wants("c0")])]
    assert found(whole_circle[0], *whole_circle) == [(f"{AT}/0/flag", "prerequisite_cycle")]


def test_only_those_that_ask_need_be_looked_at() -> None:
    """With their keys told, the result is the same."""
    others = [
        project_flag("a"),
        project_flag("b", [wants("c")]),
        project_flag("c", [wants("k", "third")]),
    ]
    flag = project_flag("k", [wants("a"), wants("b")])
    expected = found(flag, *others)
    assert {code for _, code in expected} == {"prerequisite_cycle", "variant_in_use"}
    assert found(flag, *others, asking=["b", "c", "k", "not there"]) == expected


NAMES = "abcdefg"


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), unique=True, max_size=3)
    )
)
def test_circles_and_bounds_are_what_walking_every_way_finds(asked: dict[str, list[str]]) -> None:
    """With small bounds; of the flag `a`, and of all that ask it."""

    def ways(key: str, so_far: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        """Return every way from a flag through those it asks, circles not walked again."""
        here = (*so_far, key)
        onward = [w for name in asked.get(key, []) if name not in here for w in ways(name, here)]
        return [here, *onward]

    flags = {key: project_flag(key, [wants(name) for name in asked.get(key, [])]) for key in NAMES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_PREREQUISITE_NESTING", 2)
        patch.setattr(limits, "MAX_PREREQUISITES_IN_ALL", 4)
        codes = {p.code for p in check_flag(flags["a"], {}, flags)}
        circles = {key for key in NAMES if any(key in asked.get(w[-1], []) for w in ways(key))}
        if "a" in circles:
            assert codes == {"prerequisite_cycle"}
            return
        concerned = {key for key in NAMES if any(w[-1] == "a" for w in ways(key))}
        # what is above or on a circle elsewhere has no depth, and is not this flag's problem
        known = {k for k in concerned if not any(set(w) & circles for w in ways(k))}
        deep = any(len(w) - 1 > 2 for key in known for w in ways(key))
        many = any(len(ways(key)) - 1 > 4 for key in known)
        asks = bool(asked.get("a"))
        assert codes == {
            code for code, found in (("too_deep", deep), ("too_many", many)) if found and asks
        }
