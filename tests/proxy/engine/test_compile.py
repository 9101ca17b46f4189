"""Snapshots compile in steps, flag by flag; a broken flag is quarantined alone."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.contract.codes import KeyKind
from proxy.contract.definitions import (
    Condition,
    FlagDefinition,
    KeyDefinition,
    Rule,
    SegmentDefinition,
    Serve,
)
from proxy.contract.snapshot import Entry, EntryKind, encode_entry
from proxy.engine import CompiledSnapshot, compile_flag, compile_snapshot, evaluate, limits
from proxy.engine import compile as compile_module
from proxy.engine.compile import finish
from tests.proxy.engine.builders import (
    FALLTHROUGH_SPLIT,
    compiled,
    definition,
    entries,
    leaf,
    rule,
)
from tests.proxy.engine.builders import segment_definition as defined
from tests.proxy.engine.strategies import contexts, definitions, segments

Entries = dict[tuple[EntryKind, str], Entry]


def raw(kind: EntryKind, key: str, text: str) -> Entries:
    """Return an entry of any definition."""
    line = encode_entry(kind, key, msgspec.Raw(text.encode()))
    return {(kind, key): Entry(kind, key, line, msgspec.Raw(text.encode()))}


def whole(made: Entries, previous: CompiledSnapshot | None = None) -> CompiledSnapshot:
    """Return the compiled snapshot."""
    return finish(compile_snapshot(made, previous))


def test_a_snapshot_has_its_flags_in_the_order_of_their_keys() -> None:
    """By bytes, whatever the order of its entries."""
    keys = ["b", "a", "ä", "B", "a/b", "\U0001f600", "\uffff"]
    snapshot = whole(entries(*(("flag", key, definition()) for key in keys)))
    assert list(snapshot.flags) == sorted(keys, key=str.encode)


def test_flags_read_segments() -> None:
    """By the name they give them."""
    snapshot = whole(
        entries(
            ("flag", "f", definition(rules=[rule({"segment": "beta"})])),
            ("segment", "beta", defined(included=["u-1"])),
        )
    )
    assert evaluate(snapshot, "f", {"targetingKey": "u-1"}, 0).value is True
    assert evaluate(snapshot, "f", {"targetingKey": "u-2"}, 0).value is False
    assert snapshot.flags["f"].attributes == {"targetingKey"}
    assert snapshot.quarantined == {}


def test_an_empty_snapshot_is_one() -> None:
    """A new project has nothing."""
    snapshot = whole({})
    assert (snapshot.flags, snapshot.keys, snapshot.quarantined) == ({}, {}, {})


BROKEN = [
    ('{"type":"boolean"}', "missing_field"),
    ('{"type":"colour","variants":{},"fallthrough":{"variant":"x"},"salt":"s"}', "wrong_type"),
    ("[]", "wrong_type"),
    ("null", "wrong_type"),
    (
        '{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s",'
        '"schedule":[]}',
        "unknown_field",
    ),
    (
        '{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s",'
        '"rules":[{"serve":{"variant":"on"},"when":{"attribute":"a","op":"equals","values":[1],'
        '"unless":1}}]}',
        "unknown_field",
    ),
    (
        '{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"off"},"salt":"s"}',
        "unknown_variant",
    ),
    (
        '{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s",'
        '"rules":[{"serve":{"variant":"on"},"when":' + '{"not":' * 200 + '{"all":[]}' + "}" * 201
        + "]}",
        "too_deep",
    ),
    (
        '{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s",'
        '"rules":[{"serve":{"variant":"on"},"when":' + '{"not":' * 5000 + '{"all":[]}' + "}" * 5001
        + "]}",
        "too_deep",
    ),
    (
        '{"type":"object","variants":{"on":' + '{"x":' * 300 + "1" + "}" * 300
        + '},"fallthrough":{"variant":"on"},"salt":"s"}',
        "too_deep",
    ),
    (
        '{"type":"integer","variants":{"on":1e400},"fallthrough":{"variant":"on"},"salt":"s"}',
        None,
    ),
    (
        '{"type":"integer","variants":{"on":' + "9" * 5000
        + '},"fallthrough":{"variant":"on"},"salt":"s"}',
        None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_flag_is_quarantined_alone(text: str, code: str | None) -> None:
    """It answers PARSE_ERROR with its place; the others answer as ever."""
    snapshot = whole(raw("flag", "bad", text) | entries(("flag", "good", definition())))
    assert set(snapshot.quarantined) == {"bad"}
    flag = snapshot.flags["bad"]
    assert flag.problems == snapshot.quarantined["bad"]
    if code is not None:
        assert flag.problems[0].code == code
    answer = evaluate(snapshot, "bad", {}, 0)
    assert (answer.status, answer.error_code) == (400, "PARSE_ERROR")
    assert json.loads(answer.body)["errorDetails"] == answer.error_details
    assert flag.answers == (answer,)
    assert flag.static
    assert evaluate(snapshot, "good", {}, 0).status == 200


def test_invalid_utf8_in_a_definition_is_quarantined() -> None:
    """Should it ever get past the reading of the snapshot."""
    line = b'{"kind":"flag","key":"f","def":{"type":"\xff"}}'
    entry = Entry("flag", "f", line, msgspec.Raw(b'{"type":"\xff"}'))
    assert "f" in whole({("flag", "f"): entry}).quarantined


def test_the_answer_of_a_broken_flag_quotes_nothing_of_it() -> None:
    """Who may evaluate need not be who may read."""
    flag = compile_flag("f", definition(rules=[rule(leaf("plan", "eqals", "secret"), "none")]), {})
    assert "secret" not in flag.answers[0].error_details
    assert flag.answers[0].error_details == (
        "the definition of this flag cannot be used: unknown_variant at /rules/0/serve/variant"
    )
    assert len(flag.problems) == 2


def test_a_broken_segment_quarantines_the_flags_that_name_it() -> None:
    """With the reason, where they name it; the others go on."""
    snapshot = whole(
        entries(
            ("segment", "bad", defined(when=leaf("x", "eqals", 1))),
            ("segment", "outer", defined(when={"segment": "bad"})),
            ("flag", "one", definition(rules=[rule({"not": {"segment": "outer"}})])),
            ("flag", "two", definition()),
        )
    )
    [problem] = snapshot.quarantined["one"]
    assert (problem.pointer, problem.code) == ("/rules/0/when/not/segment", "unknown_operator")
    assert set(snapshot.quarantined) == {"one"}
    assert snapshot.segments["bad"].problems


def test_a_warning_quarantines_nothing() -> None:
    """A list for an object is served."""
    flag = compiled(type="object", variants={"off": [1]})
    assert flag.evaluate({}, 0).value == [1]


def test_a_disabled_flag_answers_whatever_became_of_its_segments() -> None:
    """Switching off has to work most of all when something is wrong with the flag."""
    rule = Rule(Condition(segment="gone"), Serve(variant="on"), "r")
    definition = FlagDefinition(
        "boolean",
        {"on": True, "off": False},
        Serve(variant="on"),
        "s",
        off_variant="off",
        rules=[rule],
    )
    broken = SegmentDefinition(when=Condition(segment="nowhere"))
    for segments_there in ({}, {"gone": broken}):
        flag = compile_flag("f", definition, segments_there)
        assert flag.problems == ()
        assert (flag.evaluate({}, 0).value, flag.evaluate({}, 0).reason) == (False, "DISABLED")
        enabled = msgspec.structs.replace(definition, enabled=True)
        assert compile_flag("f", enabled, segments_there).evaluate({}, 0).status == 400


def test_an_unknown_segment_quarantines_until_it_is_there() -> None:
    """Although the flag itself did not change."""
    flag = entries(("flag", "f", definition(rules=[rule({"segment": "late"})])))
    first = whole(flag)
    assert "f" in first.quarantined
    second = whole(flag | entries(("segment", "late", defined())), first)
    assert second.quarantined == {}


def test_visibility_and_tracking_are_the_definitions() -> None:
    """Also of a quarantined flag, so that a public one is not told from a missing one."""
    good = compiled(client_side=True, track=True)
    assert (good.client_side, good.track) == (True, True)
    bad = compile_flag("f", definition(client_side=True, variants={}), {})
    assert bad.problems
    assert bad.client_side


@pytest.mark.parametrize(
    ("members", "static"),
    [
        ({}, True),
        ({"enabled": False, "rules": [rule(leaf("a", "exists"))]}, True),
        ({"rules": [rule({"all": []})]}, True),
        ({"rules": [rule({"any": []})]}, True),
        ({"rules": [rule({"not": {"any": []}}), rule(leaf("a", "exists"))]}, True),
        ({"rules": [rule(leaf("a", "exists"))]}, False),
        ({"fallthrough": FALLTHROUGH_SPLIT}, False),
        ({"targets": [{"variant": "on", "units": ["u"]}]}, False),
        ({"targets": [{"variant": "on", "units": []}]}, True),
    ],
)
def test_static_is_what_no_context_changes(members: Any, static: bool) -> None:
    """Seen through rules that always or never hold."""
    flag = compiled(**members)
    assert flag.static is static
    assert (flag.attributes == frozenset()) is static


def test_attributes_are_every_member_a_path_can_begin_at() -> None:
    """Of conditions, of what splits, of targets, of segments and of segments within those."""
    split = {"rollout": {"by": "org.id", "arms": [{"variant": "on", "weight": 100_000}]}}
    flag = compiled(
        {"outer": defined(when={"segment": "inner"}), "inner": defined(when=leaf("s.t", "exists"))},
        targets=[{"variant": "on", "units": ["u"]}],
        rules=[rule({"all": [leaf("a[0].b", "exists"), {"segment": "outer"}]}, split)],
        fallthrough=split,
    )
    assert flag.attributes == {"targetingKey", "a[0].b", "a", "org.id", "org", "s.t", "s"}


def test_answers_are_all_that_can_be_given() -> None:
    """Each once, none that cannot be reached."""
    flag = compiled(
        targets=[{"variant": "on", "units": ["u"]}, {"variant": "on", "units": ["v"]}],
        rules=[rule(leaf("a", "exists"), "on", id="r"), rule({"any": []}, "off", id="never")],
        fallthrough=FALLTHROUGH_SPLIT,
    )
    assert [(a.variant, a.reason, a.rule_id, a.error_code) for a in flag.answers] == [
        ("on", "TARGETING_MATCH", None, None),
        ("on", "TARGETING_MATCH", "r", None),
        ("on", "SPLIT", None, None),
        ("off", "SPLIT", None, None),
        ("", None, None, "TARGETING_KEY_MISSING"),
    ]


# Evaluation keys


def test_evaluation_keys_are_by_their_hash() -> None:
    """Whatever their entries are called."""
    key = KeyDefinition("ab" * 32, KeyKind.CLIENT, 5)
    assert whole(entries(("key", "k-1", key))).keys == {"ab" * 32: key}


def test_an_unreadable_evaluation_key_opens_nothing() -> None:
    """An environment whose only key is broken must not look like one without keys."""
    keys = whole(raw("key", "k-1", '{"hash":5}')).keys
    [(name, key)] = keys.items()
    assert len(name) != 64
    assert (key.kind, key.expires_at_ms) == (KeyKind.CLIENT, 0)


# Incremental


def test_unchanged_flags_are_the_same_objects() -> None:
    """Their counts go on; the changed one is new."""
    first = whole(entries(("flag", "a", definition()), ("flag", "b", definition())))
    evaluate(first, "a", {}, 0).evaluations += 5
    made = entries(("flag", "a", definition()), ("flag", "b", definition(metadata={"x": 1})))
    second = whole(made, first)
    assert second.flags["a"] is first.flags["a"]
    assert evaluate(second, "a", {}, 0).evaluations == 5
    assert second.flags["b"] is not first.flags["b"]
    assert evaluate(second, "b", {}, 0).metadata == {"x": 1}


def test_a_changed_segment_makes_its_flags_new() -> None:
    """Also through another segment; flags that do not name it stay."""
    flags = entries(
        ("flag", "direct", definition(rules=[rule({"segment": "inner"})])),
        ("flag", "through", definition(rules=[rule({"segment": "outer"})])),
        ("flag", "not", definition()),
        ("segment", "outer", defined(when={"segment": "inner"})),
    )
    first = whole(flags | entries(("segment", "inner", defined(included=["u"]))))
    second = whole(flags | entries(("segment", "inner", defined(included=["v"]))), first)
    assert second.flags["not"] is first.flags["not"]
    for key in ("direct", "through"):
        assert evaluate(second, key, {"targetingKey": "v"}, 0).variant == "on"
        assert evaluate(second, key, {"targetingKey": "u"}, 0).variant == "off"


def test_a_removed_flag_is_gone() -> None:
    """And so is what was wrong with it."""
    first = whole(raw("flag", "bad", "[]") | entries(("flag", "a", definition())))
    second = whole(entries(("flag", "a", definition())), first)
    assert set(second.flags) == {"a"}
    assert second.quarantined == {}


def test_an_unchanged_broken_flag_stays_in_quarantine() -> None:
    """It is listed again."""
    bad = raw("flag", "bad", "[]")
    first = whole(bad)
    second = whole(bad | entries(("flag", "a", definition())), first)
    assert second.flags["bad"] is first.flags["bad"]
    assert second.quarantined == first.quarantined


def test_the_previous_snapshot_is_not_changed() -> None:
    """It goes on serving while the next is made, and when the next is given up."""
    first = whole(entries(("flag", "a", definition())))
    steps = compile_snapshot(entries(("flag", "b", definition())), first)
    next(steps)
    steps.close()
    whole(entries(("flag", "b", definition())), first)
    assert set(first.flags) == {"a"}


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3),
            st.integers(0, 1),
        ),
        min_size=2,
        max_size=5,
    ),
    st.lists(definitions(), min_size=3, max_size=3),
    st.lists(segments(), min_size=2, max_size=2),
    contexts(),
)
def test_incremental_is_the_same_as_afresh(
    history: Any, flags: Any, named: Any, context: Any
) -> None:
    """Over any sequence of changes to flags and segments."""
    snapshot: CompiledSnapshot | None = None
    for chosen, which in history:
        made = entries(
            *((("flag"), k, msgspec.convert(flags[i], FlagDefinition)) for k, i in chosen.items()),
            *(
                ("segment", k, msgspec.convert(d, SegmentDefinition))
                for k, d in named[which].items()
            ),
        )
        snapshot, fresh = whole(made, snapshot), whole(made)
        assert list(snapshot.flags) == list(fresh.flags)
        for key in fresh.flags:
            again, expected = (evaluate(s, key, context, 0) for s in (snapshot, fresh))
            assert again.body == expected.body


# Robustness


def test_a_defect_of_the_compiler_costs_one_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever nobody thought of: quarantined, not raised."""
    real = compile_module.flag_program

    def failing(of: FlagDefinition) -> Any:
        if of.salt == "bad":
            raise ZeroDivisionError
        return real(of)

    monkeypatch.setattr(compile_module, "flag_program", failing)
    snapshot = whole(
        entries(("flag", "bad", definition(salt="bad")), ("flag", "good", definition()))
    )
    [problem] = snapshot.quarantined["bad"]
    assert problem.code == "not_compiled"
    assert evaluate(snapshot, "good", {}, 0).status == 200


def large() -> Entries:
    """Return one flag at each of its bounds, and a segment."""
    leaves = [leaf(f"a{i % 50}", "in", f"x{i}", "y") for i in range(limits.MAX_CONDITIONS - 1)]
    rules = [
        rule(leaf(f"a{i % 50}", "in", f"x{i}", "y"), FALLTHROUGH_SPLIT, id=f"r{i}")
        for i in range(limits.MAX_RULES)
    ]
    units = [f"user-{i}" for i in range(limits.MAX_SEGMENT_UNITS)]
    return entries(
        ("flag", "wide", definition(rules=[rule({"any": leaves})])),
        ("flag", "long", definition(rules=rules)),
        ("flag", "listed", definition(targets=[{"variant": "on", "units": units}])),
        ("segment", "large", defined(included=units)),
    )


def test_no_step_of_the_largest_definitions_is_long() -> None:
    """Event loops breathe between steps: 5 ms is the aim, with room for slow machines here."""
    best: list[float] = []
    for _ in range(5):
        steps = compile_snapshot(large())
        longest, start = 0.0, time.perf_counter()
        for _step in steps:
            now = time.perf_counter()
            longest, start = max(longest, now - start), now
        best.append(longest)
    assert min(best) < 0.05
    assert whole(large()).quarantined == {}


def test_a_repr_is_short() -> None:
    """A definition may be long, and logs are read by others."""
    assert repr(compiled()) == "<CompiledFlag 'flag': no problems>"
