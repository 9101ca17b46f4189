"""Snapshots compile in steps, flag by flag; a broken flag is quarantined alone."""

import hashlib
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

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
from proxy.contract.steps import finish
from proxy.contract.units import hash_unit, split
from proxy.engine import (
    CompiledSnapshot,
    compile_changes,
    compile_flag,
    compile_snapshot,
    evaluate,
    limits,
)
from proxy.engine import compile as compile_module
from tests.proxy.engine.builders import (
    FALLTHROUGH_SPLIT,
    compiled,
    definition,
    entries,
    leaf,
    rule,
)
from tests.proxy.engine.builders import segment_definition as defined
from tests.proxy.engine.strategies import FLAGS, SEGMENTS, TIMES, Maker, makers

QUIET = settings(suppress_health_check=list(HealthCheck), deadline=None)

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


class History:
    """Entries that are set and removed at random, all kinds of them; flags ask whom they like."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self.entries: Entries = {}

    def change(self) -> set[tuple[EntryKind, str]]:
        """Set or remove some entries, and return their names; some are set to what they are."""
        maker = self._maker
        changed: set[tuple[EntryKind, str]] = set()
        for _ in range(maker.randint(1, 4)):
            kind: EntryKind = maker.choice(["flag", "flag", "flag", "segment", "key"])
            name = (
                kind,
                maker.choice({"flag": FLAGS, "segment": SEGMENTS, "key": ["k", "l"]}[kind]),
            )
            changed.add(name)
            if maker.likely(0.25):
                self.entries.pop(name, None)
            elif maker.likely(0.9):
                self.entries |= entries((*name, self._made(kind)))
        return changed

    def _made(self, kind: EntryKind) -> Any:
        maker = self._maker
        if maker.likely(0.1):
            return {"colour": "red"}
        if kind == "segment":
            return {"when": maker.condition(SEGMENTS), "included": maker.sample(["u-1", "1"], 1)}
        if kind == "key":
            return {"hash": maker.choice("ab") * 64, "kind": "client"}
        flag = maker.definition([*FLAGS, "gone"])
        if maker.likely(0.1):
            flag["rules"] = [{"when": {"any": []}, "serve": {"variant": "nobody has it"}}]
        return flag


def reached(made: Entries, key: str) -> set[tuple[EntryKind, str]]:
    """Return the entries that the answer of a flag may depend on, by all names that are in them."""
    found: set[tuple[EntryKind, str]] = set()
    names: list[tuple[EntryKind, str]] = [("flag", key)]
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        line = made[name].line if name in made else b""
        names += [("segment", s) for s in SEGMENTS if b'"segment":"%b"' % s.encode() in line]
        names += [("flag", f) for f in [*FLAGS, "gone"] if b'"flag":"%b"' % f.encode() in line]
    return found


@settings(QUIET, max_examples=250)
@given(makers())
def test_incremental_is_the_same_as_afresh(maker: Maker) -> None:
    """Over any sequence of changes: answers, order, quarantine, keys, and what is taken over."""
    history = History(maker)
    snapshot = whole({})
    for _ in range(8):
        before = dict(history.entries)
        changed = history.change()
        fresh, again = whole(history.entries), whole(history.entries, snapshot)
        changes = finish(compile_changes(history.entries, changed, snapshot))
        for made in (again, changes):
            assert list(made.flags) == list(fresh.flags)
            assert list(made.quarantined.items()) == list(fresh.quarantined.items())
            assert (made.keys, made.chained) == (fresh.keys, fresh.chained)
            assert list(made.segments) == list(fresh.segments)
            for key, segment in fresh.segments.items():
                assert made.segments[key].problems == segment.problems
        context, now_ms = maker.context(), maker.choice(TIMES)
        for key, flag in fresh.flags.items():
            for made in (again, changes):
                other = made.flags[key]
                assert other.evaluate(context, now_ms).body == flag.evaluate(context, now_ms).body
                for member in ("attributes", "timing", "static", "nesting", "asked", "client_side"):
                    assert getattr(other, member) == getattr(flag, member), member
            old = snapshot.flags.get(key)
            taken = changes.flags[key] is old
            assert taken is (again.flags[key] is old)
            names = reached(history.entries, key)
            same = all(before.get(name) == history.entries.get(name) for name in names)
            if same and reached(before, key) == names:
                assert taken, "nothing that it depends on changed"
            if before.get(("flag", key)) != history.entries[("flag", key)]:
                assert not taken
        snapshot = changes


def project(count: int) -> Entries:
    """Return a project of that many flags; the last one asks one that asks another."""
    chained = {"prerequisites": [{"flag": "f-0", "variants": ["on"]}]}
    outer = {"prerequisites": [{"flag": "asks", "variants": ["on"]}]}
    return entries(
        *(("flag", f"f-{i}", definition(rules=[rule(leaf("n", "gt", i))])) for i in range(count)),
        ("flag", "asks", definition(**chained)),
        ("flag", "outer", definition(**outer)),
        ("flag", "named", definition(rules=[rule({"segment": "s"})])),
        ("segment", "s", defined(included=["u"])),
    )


@pytest.mark.parametrize(
    ("name", "made", "anew"),
    [
        (("flag", "f-1"), definition(), {"f-1"}),
        (("flag", "f-0"), definition(), {"f-0", "asks", "outer"}),
        (("flag", "asks"), definition(), {"asks", "outer"}),
        (("segment", "s"), defined(), {"named"}),
        (("segment", "other"), defined(), set()),
        (("flag", "new"), definition(), {"new"}),
        (("key", "k"), KeyDefinition("ab" * 32, KeyKind.CLIENT), set()),
    ],
    ids=lambda value: "/".join(value) if isinstance(value, tuple) else "",
)
def test_a_change_compiles_only_what_depends_on_it(
    name: tuple[EntryKind, str], made: Any, anew: set[str]
) -> None:
    """Of three hundred flags, all others are the same objects."""
    old = project(300)
    first = whole(old)
    changed = old | entries((*name, made))
    second = finish(compile_changes(changed, [name], first))
    assert {k for k, flag in second.flags.items() if flag is not first.flags.get(k)} == anew
    if name[0] == "flag" and name in old:
        del changed[name]
        third = finish(compile_changes(changed, [name], second))
        others = {k for k, flag in third.flags.items() if flag is not second.flags.get(k)}
        assert others == anew - {name[1]}


def test_a_change_mends_segments_whose_blobs_have_come() -> None:
    """As compiling the whole snapshot does, though nothing of them changed."""
    units = ["u-1", "u-2"]
    blobs = split(sorted(hash_unit(unit) or b"" for unit in units))
    digests = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    long_list = {"included": {"count": 2, "blobs": digests}}
    made = entries(
        ("segment", "long", defined(units=long_list)),
        ("flag", "f", definition(rules=[rule({"segment": "long"})])),
    )
    without = whole(made)
    assert [p.code for p in without.quarantined["f"]] == ["missing_blob"]
    there = dict(zip(digests, blobs, strict=True))
    second = finish(compile_changes(made, [], without, there))
    assert not second.quarantined
    assert second.flags["f"].evaluate({"targetingKey": "u-1"}, 0).variant == "on"


# Prerequisites that cannot be asked


def asking(*names: str, **members: Any) -> FlagDefinition:
    """Return a flag that is on where others are."""
    wanted = [{"flag": name, "variants": ["on"]} for name in names]
    return definition(
        prerequisites=wanted, fallthrough={"variant": "on"}, off_variant="off", **members
    )


def told(snapshot: CompiledSnapshot) -> dict[str, str]:
    """Return what each flag answers: its variant, or an error code."""
    answers = {key: flag.evaluate({}, 0) for key, flag in snapshot.flags.items()}
    return {key: answer.error_code or answer.variant for key, answer in answers.items()}


CIRCLE = entries(
    ("flag", "a", asking("b", client_side=True)),
    ("flag", "b", asking("a")),
    ("flag", "c", asking("a")),
    ("flag", "d", asking("d")),
)


def test_a_circle_of_prerequisites_is_quarantined_and_who_asks_it_is_off() -> None:
    """One bad flag costs itself; what it asked or was asked by is served."""
    snapshot = whole(CIRCLE)
    error = "PARSE_ERROR"
    assert told(snapshot) == {"a": error, "b": error, "c": "off", "d": error}
    for key in ("a", "b", "d"):
        assert [p.code for p in snapshot.quarantined[key]] == ["prerequisite_cycle"]
    assert snapshot.flags["a"].client_side, "a public flag is not told from a missing one"
    again = whole(CIRCLE, snapshot)
    assert all(again.flags[key] is flag for key, flag in snapshot.flags.items())


@pytest.mark.parametrize(
    "way_out",
    [None, asking("b", enabled=False), asking(), definition(rules=[rule({"segment": "gone"})])],
    ids=["removed", "off", "asks nobody", "broken"],
)
def test_a_circle_is_mended_wherever_it_is_opened(way_out: FlagDefinition | None) -> None:
    """By removing, switching off or changing one flag of it; the other ones did not change."""
    made = dict(CIRCLE)
    del made["flag", "b"]
    if way_out is not None:
        made |= entries(("flag", "b", way_out))
    first = whole(CIRCLE)
    for mended in (whole(made, first), finish(compile_changes(made, [("flag", "b")], first))):
        assert "a" not in mended.quarantined
        opened = way_out is not None and not way_out.rules and way_out.enabled
        assert told(mended)["a"] == ("on" if opened else "off")
        assert told(mended)["c"] == ("on" if opened else "off")


def test_switching_off_works_whatever_a_flag_asks() -> None:
    """Itself, a flag that is broken, too many in a row: nobody is asked."""
    long = {f"c{i}": asking(f"c{i + 1}") for i in range(20)}
    snapshot = whole(
        entries(
            *(("flag", key, made) for key, made in long.items()),
            ("flag", "self", asking("self", enabled=False)),
            ("flag", "off", asking("c0", "gone", enabled=False)),
        )
    )
    for key in ("self", "off"):
        flag = snapshot.flags[key]
        assert (flag.evaluate({}, 0).reason, flag.static) == ("DISABLED", True)
        assert (flag.prerequisites, flag.nesting, flag.asked) == ((), 0, 0)


# Robustness


def test_a_defect_of_the_compiler_costs_one_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever nobody thought of: quarantined, not raised."""
    real = compile_module.translate

    def failing(key: str, of: FlagDefinition) -> Any:
        if of.salt == "bad":
            raise ZeroDivisionError
        return real(key, of)

    monkeypatch.setattr(compile_module, "translate", failing)
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
