"""An exported file answers as the definitions do, or has not got the flag."""

from random import Random
from typing import Any

import msgspec
import pytest

from proxy.contract.definitions import FlagDefinition, SegmentDefinition
from proxy.contract.snapshot import Entry, EntryKind
from proxy.contract.steps import finish
from proxy.engine import CompiledSnapshot, compile_snapshot, evaluate, import_document, parse_moment
from proxy.exporting.flagd import Export, to_flagd
from tests.proxy.engine.builders import entries
from tests.proxy.engine.strategies import MOMENTS, Maker

Json = dict[str, Any]
NOW_MS = 1_790_000_000_000
VARIANTS = {"on": True, "off": False}


def exported(flags: dict[str, Json], segments: dict[str, Json] | None = None) -> Export:
    """Return definitions as a file of flagd."""
    return to_flagd(
        {key: msgspec.convert(flag, FlagDefinition) for key, flag in flags.items()},
        {key: msgspec.convert(s, SegmentDefinition) for key, s in (segments or {}).items()},
    )


def compiled(flags: dict[str, Json], segments: dict[str, Json] | None = None) -> CompiledSnapshot:
    """Return our own definitions compiled."""
    named: list[tuple[EntryKind, str, Any]] = [("flag", key, flag) for key, flag in flags.items()]
    named += [("segment", key, segment) for key, segment in (segments or {}).items()]
    return finish(compile_snapshot(entries(*named)))


def reimported(document: Json) -> CompiledSnapshot:
    """Return a file of flagd, imported and compiled."""
    found = import_document("flagd", document, {}, ["production"])
    lines: dict[tuple[EntryKind, str], Entry] = {}
    for flag in found.flags:
        config = flag.environments["production"]
        assert not isinstance(config.source, msgspec.UnsetType)
        definition = {
            "type": flag.type,
            "variants": flag.variants,
            "fallthrough": {"variant": config.fallthrough.variant},
            "salt": "unused",
            "enabled": config.enabled,
            "metadata": flag.metadata,
            "source": msgspec.to_builtins(config.source),
        }
        lines |= entries(("flag", flag.key, definition))
    return finish(compile_snapshot(lines))


def flag(**members: Any) -> Json:
    """Return a boolean flag that is on and serves `off`."""
    whole = {"type": "boolean", "variants": VARIANTS, "salt": "f3b1", "enabled": True}
    return {**whole, "fallthrough": {"variant": "off"}, **members}


def rule(when: Json, **members: Any) -> Json:
    return {"when": when, "serve": {"variant": "on"}, **members}


def leaf(op: str, *values: Any, **members: Any) -> Json:
    return {"attribute": "a", "op": op, **({"values": list(values)} if values else {}), **members}


ROLLOUT = {
    "rollout": {"arms": [{"variant": "on", "weight": 33_333}, {"variant": "off", "weight": 66_667}]}
}


def answers(snapshot: CompiledSnapshot, key: str, context: Json, now_ms: int) -> tuple[Any, str]:
    """Return value and variant; an error is as the application's default."""
    answer = evaluate(snapshot, key, context, now_ms)
    return (answer.value, answer.variant) if answer.error_code is None else (msgspec.UNSET, "")


# The file


SMALL: Json = {
    "rollout": {"arms": [{"variant": "<on>", "weight": 1}, {"variant": "off", "weight": 99_999}]}
}


def test_a_flag_as_people_will_read_it() -> None:
    """Segments are evaluators, rules a chain, a rollout a fractional with our own key."""
    beta = {"attribute": "email", "op": "ends_with", "values": ["@example.com"]}
    found = exported(
        {
            "checkout": flag(
                targets=[{"variant": "on", "units": ["u-1"]}],
                rules=[rule({"segment": "beta"}), {"when": {"all": []}, "serve": ROLLOUT}],
                metadata={"team": "payments"},
            )
        },
        {"beta": {"when": beta, "excluded": ["u-2"]}, "unused": {"when": beta}},
    )
    assert found.remarks == []
    key = {"var": "targetingKey"}
    assert found.document == {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {
            "checkout": {
                "state": "ENABLED",
                "variants": VARIANTS,
                "defaultVariant": "off",
                "metadata": {"team": "payments"},
                "targeting": {
                    "if": [
                        {"===": [key, "u-1"]},
                        "on",
                        {"$ref": "beta"},
                        "on",
                        {"and": [{"starts_with": [key, ""]}, {"!==": [key, ""]}]},
                        {
                            "fractional": [
                                {"substr": [{"cat": ["|f3b1.", key, "|"]}, 1, -1]},
                                ["on", 33_333],
                                ["off", 66_667],
                            ]
                        },
                    ]
                },
            }
        },
        "$evaluators": {
            "beta": {
                "and": [
                    {"!": [{"===": [key, "u-2"]}]},
                    {"ends_with": [{"var": "email"}, "@example.com"]},
                ]
            }
        },
    }


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"prerequisites": [{"flag": "b", "variants": ["on"]}]}, "prerequisites"),
        ({"rules": [rule(leaf("matches", "x"))]}, "regular expressions"),
        ({"rules": [rule(leaf("semver_gt", "1.2.3"))]}, "semver"),
        ({"rules": [rule(leaf("in_cidr", "10.0.0.0/8"))]}, "in_cidr"),
        ({"rules": [rule(leaf("equals", "x", fold=True))]}, "fold"),
        ({"rules": [rule(leaf("gt", 2**53))]}, "53 bits"),
        ({"rules": [rule(leaf("equals", "x", attribute="a.b"))]}, "'a.b'"),
        ({"rules": [rule({"op": "weekday", "values": ["mon"]})]}, "weekday"),
        ({"rules": [rule({"segment": "gone"})]}, "'gone'"),
        ({"variants": {"on": 1, "off": 2, "<on>": 3}, "fallthrough": SMALL}, "'<on>'"),
        ({"rules": [rule({"segment": "long"})]}, "long lists"),
        ({"rules": [rule({"segment": "theirs"})]}, "unleash"),
        (
            {
                "fallthrough": {
                    "ramp": {
                        "variant": "on",
                        "else": "off",
                        "start": MOMENTS[0],
                        "end": MOMENTS[4],
                    }
                }
            },
            "ramp",
        ),
        ({"source": {"dialect": "goff", "definition": {}}}, "goff"),
        (
            {
                "source": {
                    "dialect": "flagd",
                    "options": {"fractional": "v1"},
                    "definition": {"targeting": {"fractional": [["on", 1]]}},
                }
            },
            "v1",
        ),
    ],
)
def test_what_flagd_cannot_say_is_left_out_with_the_reason(members: Json, reason: str) -> None:
    """The whole flag, and only that one."""
    units = {"included": {"count": 1, "blobs": ["0" * 64]}}
    segments = {
        "long": {"units": units},
        "theirs": {"source": {"dialect": "unleash", "definition": {}}},
    }
    found = exported({"a": flag(**members), "b": flag()}, segments)
    assert list(found.document["flags"]) == ["b"]
    [remark] = found.remarks
    assert (remark.key, remark.left_out) == ("a", True)
    assert reason in remark.text


def test_all_reasons_are_told_at_once() -> None:
    """Who mends one should not find the next one then."""
    rules = [rule(leaf("matches", "x")), rule(leaf("in_cidr", "::/0"))]
    assert len(exported({"a": flag(rules=rules)}).remarks) == 2


def test_a_flag_of_flagds_own_is_as_it_was() -> None:
    """But for the switch and the metadata, which are ours."""
    definition = {
        "state": "ENABLED",
        "variants": VARIANTS,
        "defaultVariant": "off",
        "targeting": {"if": [{"$ref": "x"}, "on"]},
    }
    source = {"dialect": "flagd", "definition": {**definition, "$evaluators": {"x": True}}}
    found = exported({"a": flag(enabled=False, source=source)})
    assert found.document["flags"] == {"a": {**definition, "state": "DISABLED"}}
    assert found.document["$evaluators"] == {"x": True}


def test_evaluators_of_one_name_are_not_mixed() -> None:
    """A segment and an evaluator that was imported may be called the same."""
    definition = {"variants": VARIANTS, "targeting": {"if": [{"$ref": "x"}, "on"]}}
    source = {"dialect": "flagd", "definition": {**definition, "$evaluators": {"x": True}}}
    flags = {"a": flag(rules=[rule({"segment": "x"})]), "b": flag(source=source)}
    found = exported(flags, {"x": {"when": leaf("exists")}})
    assert list(found.document["flags"]) == ["a"]
    assert found.remarks[0].key == "b"


def test_a_flag_that_is_off_stays_off() -> None:
    """With an off variant that needs a trick, which is said."""
    rules = [rule({"all": []})]
    flags = {
        "plain": flag(enabled=False, rules=rules),
        "off": flag(enabled=False, off_variant="off", rules=rules),
    }
    found = exported(flags)
    assert [(r.key, r.left_out) for r in found.remarks] == [("off", False)]
    theirs = reimported(found.document)
    assert answers(theirs, "plain", {}, NOW_MS) == (msgspec.UNSET, "")
    assert answers(theirs, "off", {}, NOW_MS) == (False, "off")


# The answers


def test_everybody_keeps_the_variant() -> None:
    """The formula of the rollout is ours, to the bit, whatever the ranges and the attribute."""
    arms = [
        {"variant": "on", "weight": 40_000, "ranges": [[10_000, 30_000], [80_000, 100_000]]},
        {"variant": "off", "weight": 60_000, "ranges": [[0, 10_000], [30_000, 80_000]]},
    ]
    flags = {
        "a": flag(fallthrough=ROLLOUT),
        "b": flag(fallthrough={"rollout": {"arms": arms, "by": "account"}}),
    }
    ours, theirs = compiled(flags), reimported(exported(flags).document)
    accounts: list[Any] = [*range(-500, 500), 1.0, 42.0, 0.5, True, None, "", "ä", 2**53, -0.0]
    accounts += [2**53 - 1, 1 - 2**53, -(2**53), 1e15, [], [1], {}, "1", "1.0", 2**60]
    served = set()
    for number, account in enumerate(accounts):
        context = {"targetingKey": f"u-{number}", "account": account}
        for key in flags:
            wanted = answers(ours, key, context, 0)
            assert answers(theirs, key, context, 0) == wanted, (key, context)
            served.add((key, wanted[1]))
    assert served == {("a", "on"), ("a", "off"), ("b", "on"), ("b", "off"), ("b", "")}


PLAIN = ["country", "plan", "n", "flag", "tags"]
OPERATORS = ["equals", "not_equals", "in", "not_in", "contains", "starts_with", "ends_with"]
OPERATORS += ["gt", "gte", "lt", "lte", "exists", "any_of", "all_of", "none_of"]
OPERATORS += ["before", "after"]


class _Plain(Maker):
    """Makes flags that flagd can say nearly always."""

    def leaf(self) -> Json:
        while True:
            made = super().leaf()
            timed = made["op"] in ("before", "after")
            if made["op"] not in OPERATORS or (timed and "attribute" in made):
                continue
            made.pop("fold", None)
            if not timed:
                made["attribute"] = self.choice(PLAIN)
            if all(
                not isinstance(v, (int, float)) or abs(v) < 2**53 for v in made.get("values", [])
            ):
                return made

    def serve(self) -> Json:
        made = super().serve()
        while "ramp" in made or made.get("rollout", {}).get("by") == "a.b":
            made = super().serve()
        return made


def _comparable(value: Any) -> bool:
    """Return whether a value is within the bounds that notes of the export tell."""
    text = repr(value)
    return len(text) < 16_000 and "\\ud8" not in text and "\\udf" not in text


@pytest.mark.parametrize("block", range(4))
def test_random_flags_answer_the_same(block: int) -> None:
    """Value and variant of whatever is exported, for any context and time."""
    count = evaluated = 0
    moments = _whole_seconds()
    for seed in range(block * 100, block * 100 + 100):
        draw = (_Plain if seed % 4 else Maker)(seed, 4)
        flags = {f"f{n}": draw.definition() for n in range(4)}
        segments = draw.segments()
        found = exported(flags, segments)
        ours, theirs = compiled(flags, segments), reimported(found.document)
        assert theirs.quarantined.keys() == set()
        left_out = {remark.key for remark in found.remarks if remark.left_out}
        assert theirs.flags.keys() == flags.keys() - left_out
        count += len(theirs.flags)
        contexts = [c for _ in range(30) if _comparable(c := draw.context())]
        times = Random(seed).sample(moments, 3)
        for key in theirs.flags:
            for context in contexts:
                for now_ms in times:
                    wanted = answers(ours, key, context, now_ms)
                    assert answers(theirs, key, context, now_ms) == wanted, (seed, key, context)
                    evaluated += 1
    assert count > 100
    assert evaluated > 5_000


def _whole_seconds() -> list[int]:
    """Return times that are no second after a moment, where flagd is late by less than that."""
    known = [m for text in MOMENTS if (m := parse_moment(text)) is not None]
    around = {m // 1_000 * 1_000 + step for m in known for step in (-5_000, 2_000, 86_400_000)}
    return [t for t in sorted(around) if all(not -1_000 <= t - m <= 1_000 for m in known)]
