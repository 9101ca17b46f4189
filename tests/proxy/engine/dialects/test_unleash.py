"""Unleash's toggles beyond its specification: against its formulas, at their edges, and hostile.

`Peer` is Unleash written down once more, directly and without programs: it evaluates the JSON of a
toggle for a context. It uses nothing of the engine.
"""

import copy
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec import UNSET

from proxy.contract.codes import Reason, Severity
from proxy.contract.problems import Problem
from proxy.engine import limits
from proxy.engine.answers import Answer
from proxy.engine.dialects.model import Imported, Named, Translation
from proxy.engine.dialects.unleash import DIALECT
from tests.conformance.harness import CompiledFlags, compile_translations
from tests.vectors.murmur3 import murmur3_x86_32

Json = dict[str, Any]
NOW_MS = 1_750_000_000_000  # 2025-06-15T15:06:40Z


def strategy(name: str = "default", **more: Any) -> Json:
    return {"name": name, **more}


def rollout(percentage: Any, stickiness: str = "default", **more: Any) -> Json:
    parameters = {"rollout": percentage, "stickiness": stickiness, **more}
    return strategy("flexibleRollout", parameters=parameters)


def where(name: str, operator: str, *values: str, **more: Any) -> Json:
    """Return a strategy that one constraint is all of."""
    constraint = {"contextName": name, "operator": operator, "values": list(values), **more}
    return strategy(constraints=[constraint])


def toggle(*strategies: Json, name: str = "checkout", **more: Any) -> Json:
    return {"name": name, "enabled": True, "strategies": list(strategies), **more}


def variant(name: str, weight: Any = 1, payload: Any = None, kind: str = "string") -> Json:
    made: Json = {"name": name, "weight": weight}
    if payload is not None:
        made["payload"] = {"type": kind, "value": payload}
    return made


def load(*toggles: Json, segments: Any = (), **options: Any) -> Imported:
    document = {"version": 2, "features": list(toggles), "segments": list(segments)}
    return DIALECT.read(document, options)


def compiled(imported: Imported, **switched: bool) -> CompiledFlags:
    """Return what was imported, compiled; a toggle can be switched."""
    translations: dict[str, Translation] = {}
    for flag in imported.flags:
        enabled = switched.get(flag.key, flag.enabled)
        translations[flag.key] = DIALECT.translate(flag.key, flag.definition, flag.options, enabled)
    assert DIALECT.segment is not None
    segments = {
        segment.key: when
        for segment in imported.segments
        if (when := DIALECT.segment(segment.definition, segment.options)[0]) is not None
    }
    return compile_translations(translations, segments)


def ask(definition: Json, context: Json, key: str = "checkout", now_ms: int = NOW_MS) -> Answer:
    return compiled(load(definition)).evaluate(key, context, now_ms)


def is_on(definition: Json, context: Json, now_ms: int = NOW_MS) -> bool:
    value = ask(definition, context, now_ms=now_ms).value
    assert isinstance(value, bool)
    return value


def problems_of(*toggles: Json, **more: Any) -> list[tuple[str, str, Severity]]:
    return [(p.pointer, str(p.code), p.severity) for p in load(*toggles, **more).problems]


# Unleash once more


class Peer:
    """Unleash's formulas, over toggles whose parameters are right, without random stickiness."""

    def __init__(self, toggles: list[Json], segments: list[Json]) -> None:
        self._toggles = {one["name"]: one for one in toggles}
        self._segments = {one["id"]: one["constraints"] for one in segments}

    def is_enabled(self, name: str, context: Json) -> bool:
        return self._matched(name, context) is not None

    def variant(self, name: str, context: Json) -> str:
        matched = self._matched(name, context)
        if matched is None:
            return "disabled"
        one, found = self._toggles[name], matched.get("variants")
        if found:
            parameters = matched.get("parameters", {})
            group = parameters.get("groupId", name)
            return self._picked(found, group, parameters.get("stickiness"), context)
        found = one.get("variants") or []
        for item in found:
            for override in item.get("overrides", []):
                if self._field(override["contextName"], context) in override["values"]:
                    return str(item["name"])
        stickiness = found[0].get("stickiness") if found else None
        return self._picked(found, name, stickiness, context)

    def _matched(self, name: str, context: Json) -> Json | None:
        one = self._toggles.get(name)
        if one is None or not one["enabled"]:
            return None
        for parent in one.get("dependencies", []):
            other = self._toggles.get(parent["feature"])
            if other is None or other.get("dependencies"):
                return None
            on = self.is_enabled(parent["feature"], context)
            if on is not parent.get("enabled", True):
                return None
            wanted = parent.get("variants")
            if on and wanted and self.variant(parent["feature"], context) not in wanted:
                return None
        if not one["strategies"]:
            return {}
        return next((s for s in one["strategies"] if self._holds(s, name, context)), None)

    def _holds(self, one: Json, feature: str, context: Json) -> bool:
        constraints = list(one.get("constraints", []))
        for number in one.get("segments", []):
            if number not in self._segments:
                return False
            constraints += self._segments[number]
        if not all(self._fulfils(constraint, context) for constraint in constraints):
            return False
        parameters = one.get("parameters", {})
        match one["name"]:
            case "default":
                return True
            case "userWithId":
                users = [user.strip() for user in parameters["userIds"].split(",")]
                return self._field("userId", context) in users
            case "flexibleRollout":
                group = parameters.get("groupId", feature)
                percentage = int(parameters["rollout"])
                stickiness = parameters.get("stickiness", "default")
            case "gradualRolloutUserId":
                group, stickiness = parameters["groupId"], "userId"
                percentage = int(parameters["percentage"])
            case _:
                return False
        unit = self._unit(stickiness, context)
        if unit is None:  # a random number of 1 to 100 is within 100 only for certain
            return stickiness == "default" and percentage == 100
        return percentage > 0 and self._number(group, unit, 100, 0) <= percentage

    def _picked(self, variants: list[Json], group: str, stickiness: Any, context: Json) -> str:
        total = sum(item["weight"] for item in variants)
        if total == 0:
            return "disabled"
        unit = self._unit(stickiness or "default", context)
        if unit is None:
            weighty = [item["name"] for item in variants if item["weight"]]
            return str(weighty[0]) if len(weighty) == 1 else "disabled"
        number, end = self._number(group, unit, total, 86028157), 0
        for item in variants:
            end += item["weight"]
            if item["weight"] > 0 and end >= number:
                return str(item["name"])
        raise AssertionError

    def _unit(self, stickiness: str, context: Json) -> str | None:
        names = ["userId", "sessionId"] if stickiness == "default" else [stickiness]
        return next((unit for name in names if (unit := self._field(name, context))), None)

    @staticmethod
    def _number(group: str, unit: str, modulus: int, seed: int) -> int:
        return murmur3_x86_32(f"{group}:{unit}".encode(), seed) % modulus + 1

    @staticmethod
    def _field(name: str, context: Json) -> Any:
        top = {"userId", "sessionId", "environment", "appName", "remoteAddress", "currentTime"}
        return context.get(name) if name in top else context.get("properties", {}).get(name)

    def _fulfils(self, constraint: Json, context: Json) -> bool:
        value = self._field(constraint["contextName"], context)
        return self._compares(constraint, value) is not constraint.get("inverted", False)

    @staticmethod
    def _compares(constraint: Json, value: Any) -> bool:
        operator, values = constraint["operator"], constraint.get("values", [])
        if operator in ("IN", "NOT_IN"):
            return (value in values) is (operator == "IN")
        if value is None:
            return False
        if operator.startswith("STR"):
            if constraint.get("caseInsensitive"):
                value, values = value.lower(), [text.lower() for text in values]
            tests = {"STR_STARTS_WITH": str.startswith, "STR_ENDS_WITH": str.endswith}
            test = tests.get(operator, str.__contains__)
            return any(test(value, text) for text in values)
        try:
            number = float(value)
        except ValueError:
            return False
        wanted = float(constraint["value"])
        return {"NUM_EQ": number == wanted, "NUM_LT": number < wanted, "NUM_GTE": number >= wanted}[
            operator
        ]


NAMES = ["userId", "sessionId", "country", "plan", "age", "environment"]
TEXTS = ["NL", "DE", "nl", "pro", "u-1", "12", "12.0", "7", "", "ä", "x" * 40]


def drawn_constraint(draw: Random) -> Json:
    operators = ["IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS"]
    operator = draw.choice([*operators, "NUM_EQ", "NUM_LT", "NUM_GTE"])
    made: Json = {"contextName": draw.choice(NAMES), "operator": operator}
    if operator.startswith("NUM"):
        made["value"] = draw.choice(["12", "7", "-1", "12.5"])
    else:
        made["values"] = draw.sample(TEXTS, draw.randint(1, 4))
    if draw.random() < 0.3:
        made["inverted"] = draw.random() < 0.8
    if draw.random() < 0.3:
        made["caseInsensitive"] = True
    return made


def drawn_variants(draw: Random, overrides: bool) -> list[Json]:
    made = []
    for name in draw.sample(["a", "b", "c", "disabled"], draw.randint(0, 3)):
        item = variant(name, draw.choice([0, 1, 333, 500]), draw.choice([None, f"value of {name}"]))
        if overrides and draw.random() < 0.3:
            values = draw.sample(TEXTS, 2)
            item["overrides"] = [{"contextName": draw.choice(NAMES), "values": values}]
        if draw.random() < 0.3:
            item["stickiness"] = draw.choice(["default", "userId", "country"])
        made.append(item)
    return made


def drawn_strategy(draw: Random) -> Json:
    name = draw.choice(["default", "userWithId", "flexibleRollout", "flexibleRollout", "custom"])
    made = strategy(draw.choice([name, name, "gradualRolloutUserId"]))
    parameters: Json = {"userIds": "u-1, u-2 ,u-3", "percentage": draw.choice(["0", "40", "100"])}
    parameters |= {"rollout": draw.choice(["0", "1", "30", "50", "99", "100"])}
    if made["name"] == "gradualRolloutUserId" or draw.random() < 0.5:
        parameters["groupId"] = draw.choice(["group", "", "größe"])
    if draw.random() < 0.6:
        parameters["stickiness"] = draw.choice(["default", "userId", "sessionId", "country"])
    made["parameters"] = parameters
    if draw.random() < 0.6:
        made["constraints"] = [drawn_constraint(draw) for _ in range(draw.randint(0, 2))]
    if draw.random() < 0.2:
        made["segments"] = draw.sample([1, 2, 404], draw.randint(0, 2))
    if draw.random() < 0.4:
        made["variants"] = drawn_variants(draw, overrides=False)
    return made


def drawn_toggle(draw: Random, name: str, parents: list[str]) -> Json:
    made = toggle(*(drawn_strategy(draw) for _ in range(draw.randint(0, 3))), name=name)
    made["enabled"] = draw.random() < 0.9
    made["variants"] = drawn_variants(draw, overrides=True)
    if draw.random() < 0.4:
        chosen = draw.sample(parents, draw.randint(1, 2))
        made["dependencies"] = [{"feature": parent} for parent in chosen]
        for dependency in made["dependencies"]:
            if draw.random() < 0.4:
                dependency["enabled"] = draw.random() < 0.5
            if draw.random() < 0.4:
                dependency["variants"] = draw.sample(["a", "b", "disabled"], draw.randint(0, 2))
    return made


def drawn_context(draw: Random) -> Json:
    context: Json = {"properties": {}}
    for name, choices in {
        "userId": [f"u-{draw.randint(1, 4)}", f"user-{draw.random()}", "ä😀"],
        "sessionId": [f"s-{draw.random()}"],
        "country": ["NL", "DE", "nl"],
        "plan": ["pro", "free", "12"],
        "age": ["12", "12.0", "7", "6.5", "old"],
        "environment": ["NL", "dev"],
    }.items():
        if draw.random() < 0.7:
            place = context if name in ("userId", "sessionId", "environment") else None
            (context["properties"] if place is None else place)[name] = draw.choice(choices)
    return context


@pytest.mark.parametrize("seed", range(12))
def test_toggles_answer_as_the_formulas_do(seed: int) -> None:
    """Both questions, the second by metadata and by the companion; thousands of drawn toggles."""
    draw = Random(seed)
    for _ in range(20):
        segments = [
            {"id": number, "constraints": [drawn_constraint(draw)], "name": f"{number}"}
            for number in (1, 2)
        ]
        names = [f"toggle-{number}" for number in range(6)]
        toggles = [drawn_toggle(draw, name, [*names, "gone"]) for name in names]
        peer = Peer(toggles, segments)
        imported = load(*toggles, segments=segments)
        assert all(problem.severity is Severity.WARNING for problem in imported.problems)
        flags = compiled(imported)
        for _ in range(15):
            context = drawn_context(draw)
            for name in names:
                answer = flags.evaluate(name, context, NOW_MS)
                on, chosen = peer.is_enabled(name, context), peer.variant(name, context)
                assert answer.value is on, (toggles, context, name)
                # a variant may be called as Unleash calls none
                if chosen != "disabled":
                    assert answer.metadata["variant"] == chosen, (toggles, context, name)
                else:
                    assert answer.metadata.get("variant", chosen) == chosen
                companion = flags.evaluate(f"{name}.variant", context, NOW_MS)
                if companion.error_code is not None:
                    assert chosen == "disabled"
                    continue
                assert companion.metadata["featureEnabled"] is on
                assert companion.metadata.get("variant") == answer.metadata.get("variant")
                if "payload" in answer.metadata:
                    assert companion.value == answer.metadata["payload"]
                    assert companion.variant.startswith(chosen)


# Rollouts and who is in them


def test_a_rollout_ends_where_it_says() -> None:
    """A unit's number is 1 to 100; it is in from the percentage of that number on."""
    for user in ("u-1", "ä", "😀", "0", " "):
        number = murmur3_x86_32(f"group:{user}".encode()) % 100 + 1
        for percentage in {0, 1, number - 1, number, number + 1, 99, 100} - {101}:
            one = toggle(rollout(str(percentage), groupId="group"))
            assert is_on(one, {"userId": user}) is (0 < number <= percentage)


def test_a_renamed_flag_moves_nobody() -> None:
    """What is hashed is the name in the definition."""
    one = toggle(rollout("50"))
    renamed = DIALECT.translate("pay", one, {}, True)
    flags = compile_translations({"pay": renamed})
    for number in range(50):
        context = {"userId": f"u-{number}"}
        assert flags.evaluate("pay", context).value is is_on(one, context)


@pytest.mark.parametrize("stickiness", ["random", "default"])
@pytest.mark.parametrize(("percentage", "on"), [("0", False), ("100", True)])
def test_chance_is_exact_at_none_and_all(stickiness: str, percentage: str, on: bool) -> None:
    """Without any identifier, too, and without a warning."""
    one = toggle(rollout(percentage, stickiness))
    assert is_on(one, {}) is on
    assert not load(one).problems
    gradual = strategy("gradualRolloutRandom", parameters={"percentage": percentage})
    assert is_on(toggle(gradual), {}) is on


def test_what_is_random_is_decided_by_the_targeting_key_and_told() -> None:
    """Else by the user, or the session; who has none of them is not in."""
    for one in (
        toggle(rollout("50", "random")),
        toggle(strategy("gradualRolloutRandom", parameters={"percentage": "50"})),
    ):
        said = [is_on(one, {"targetingKey": f"u-{n}", "userId": "x"}) for n in range(100)]
        assert 30 < sum(said) < 70
        assert said == [is_on(one, {"userId": f"u-{n}"}) for n in range(100)]
        assert said == [is_on(one, {"sessionId": f"u-{n}"}) for n in range(100)]
        assert not is_on(one, {})
        [(_, code, severity)] = problems_of(one)
        assert (code, severity) == ("unsupported", Severity.WARNING)


def test_random_variants_are_told_and_kept_to_a_unit() -> None:
    """Who has no identifier gets none of several, and the only one of one."""
    two = [variant("a") | {"stickiness": "random"}, variant("b")]
    one = toggle(variants=two)
    assert problems_of(one) == [
        ("/features/0/variants/0/stickiness", "unsupported", Severity.WARNING)
    ]
    seen = {ask(one, {"targetingKey": f"u-{n}"}).metadata["variant"] for n in range(50)}
    assert seen == {"a", "b"}
    nobody = ask(one, {})
    assert (nobody.value, "variant" in nobody.metadata) == (True, False)
    assert ask(toggle(variants=[variant("a"), variant("b", 0)]), {}).metadata["variant"] == "a"


@pytest.mark.parametrize("stickiness", ["userId", "sessionId", "company"])
def test_who_lacks_what_a_rollout_is_sticky_on_is_not_in_all_of_it(stickiness: str) -> None:
    """Not at 100 percent either; an empty text is none."""
    one = toggle(rollout("100", stickiness))
    assert is_on(one, {stickiness: "x"})
    assert not is_on(one, {})
    assert not is_on(one, {stickiness: ""})
    assert not is_on(one, {stickiness: "\ud800"})


@pytest.mark.parametrize("percentage", ["101", "-1", "50.5", "1e1", "", " 50", "fifty", None])
def test_what_is_no_percentage_is_of_nobody(percentage: Any) -> None:
    """With a warning where it is."""
    one = toggle(rollout(percentage))
    assert not is_on(one, {"userId": "u"})
    assert problems_of(one) == [
        ("/features/0/strategies/0/parameters/rollout", "operator_values", Severity.WARNING)
    ]


def test_a_percentage_may_be_a_number() -> None:
    """Or have a sign or zeros before it."""
    for percentage in (100, "100", "+100", "0100"):
        assert is_on(toggle(rollout(percentage)), {})
        assert not problems_of(toggle(rollout(percentage)))


def test_unknown_strategies_never_hold() -> None:
    """The others of the toggle still do."""
    custom = strategy("beta-users", parameters={"a": "b"})
    assert not is_on(toggle(custom), {})
    assert is_on(toggle(custom, strategy()), {})
    assert problems_of(toggle(custom)) == [
        ("/features/0/strategies/0/name", "unsupported", Severity.WARNING)
    ]


def test_the_host_is_asked_of_the_context() -> None:
    """Without regard to case, and told."""
    one = toggle(strategy("applicationHostname", parameters={"hostNames": "Web-1, web-2"}))
    assert is_on(one, {"hostname": "WEB-1"})
    assert not is_on(one, {"hostname": "web-3"})
    assert not is_on(one, {})
    assert [code for _, code, _ in problems_of(one)] == ["unsupported"]


# Contexts


def test_a_flat_context_and_one_with_properties_mean_the_same() -> None:
    """Properties come first; numbers and booleans are their text; null is missing."""
    one = toggle(where("plan", "IN", "pro", "7", "1.5", "true", "1e+21"))
    for value in ("pro", 7, 7.0, 1.5, True, 1e21, 10**21):
        assert is_on(one, {"plan": value})
        assert is_on(one, {"properties": {"plan": value}})
        assert is_on(one, {"plan": "no", "properties": {"plan": value}})
        assert is_on(one, {"plan": value, "properties": {"plan": None}})
        assert is_on(one, {"plan": value, "properties": [1]})
    for missing in (None, ["pro"], {"pro": 1}, 10**400, float("nan")):
        assert not is_on(one, {"plan": missing})


def test_the_user_is_the_targeting_key_unless_said() -> None:
    """For constraints, lists of users and rollouts alike."""
    for one in (
        toggle(where("userId", "IN", "u-1")),
        toggle(strategy("userWithId", parameters={"userIds": "u-0,u-1"})),
    ):
        assert is_on(one, {"targetingKey": "u-1"})
        assert not is_on(one, {"targetingKey": "u-1", "userId": "u-2"})
    assert not is_on(toggle(where("userId", "IN", "u-1")), {"properties": {"userId": "u-1"}})
    one = toggle(rollout("50"))
    for number in range(30):
        unit = f"u-{number}"
        assert is_on(one, {"targetingKey": unit}) is is_on(one, {"userId": unit})
        assert is_on(one, {"sessionId": unit}) is is_on(one, {"userId": unit})


def test_what_an_sdk_is_configured_with_can_be_an_option() -> None:
    """The context comes first; segments know it, too."""
    segments = [{"id": 1, "constraints": where("appName", "IN", "web")["constraints"]}]
    one = toggle(where("environment", "IN", "production") | {"segments": [1]})
    flags = compiled(load(one, segments=segments, environment="production", appName="web"))
    assert flags.evaluate("checkout", {}).value is True
    assert flags.evaluate("checkout", {"appName": "cli"}).value is False
    assert flags.evaluate("checkout", {"environment": "dev"}).value is False


# Constraints


@pytest.mark.parametrize(
    ("constraint", "matching", "others"),
    [
        (("IN", {"values": []}), [], ["", None, "x"]),
        (("NOT_IN", {"values": []}), ["", None, "x"], []),
        (("NOT_IN", {"values": ["a"], "inverted": True}), ["a"], ["b", None]),
        (("IN", {"values": ["a"], "inverted": True}), ["b", None, "A"], ["a"]),
        (("STR_CONTAINS", {"values": ["a"], "inverted": True}), ["b", None, ""], ["xax"]),
        (("STR_CONTAINS", {"values": ["STRASSE", "É"], "caseInsensitive": True}), ["é"], ["ß"]),
        (("STR_STARTS_WITH", {"values": [""]}), ["", "x"], [None]),
        (("NUM_EQ", {"value": "0.3"}), ["0.30000000000000004", ".3", "3e-1", 0.3], ["0.31", ""]),
        (
            ("NUM_EQ", {"value": 5}),
            ["5", "5.", "+5", "5E0", 5],
            [" 5", "5_0", "\u0665", "0x5", True],
        ),
        (("NUM_GT", {"value": "1e3"}), ["1000.1", "inf", "Infinity"], ["1000", "nan", "-inf"]),
        (("NUM_LT", {"value": "1", "inverted": True}), ["1", "x", None, "nan"], ["0"]),
        (
            ("SEMVER_EQ", {"value": "1.2.3"}),
            ["1.2.3", "1.2.3+a"],
            ["v1.2.3", "1.2", 1.2, "1.2.3-a"],
        ),
        (("SEMVER_LTE", {"value": "1.2.3-rc.2"}), ["1.2.3-rc.2", "1.2.3-rc.1"], ["1.2.3-rc.10"]),
        (
            ("SEMVER_GT", {"value": "1.0.0"}),
            [f"{2**64 - 1}.0.0", f"1.0.{2**64 - 1}", f"1.0.1-{2**64}"],
            [f"{2**64}.0.0", f"1.0.{2**64}"],
        ),
        (("REGEX", {"value": "^a|b$"}), ["ax", "xb"], ["xax", None]),
        (("REGEX", {"value": "a|b", "caseInsensitive": True}), ["xB", "A"], ["c"]),
        (("REGEX", {"value": "(?=a)", "inverted": True}), ["a", "b", None], []),
        (("REGEX", {"value": ""}), ["", "x"], [None]),
        (("IN_CIDR", {"values": ["10.0.0.9/8"]}), ["10.1.2.3"], ["::ffff:10.1.2.3", "010.1.2.3"]),
        (("IN_CIDR", {"values": ["10.0.0.0/255.0.0.0"]}), ["10.1.2.3"], ["11.1.2.3"]),
        (("IN_CIDR", {"values": ["::/0"]}), ["::1", "::ffff:10.1.2.3"], ["10.1.2.3", "x", "::x"]),
        (("IN_CIDR", {"values": ["x"], "inverted": True}), ["10.1.2.3", "x", None], []),
    ],
)
def test_a_constraint(constraint: Any, matching: list[Any], others: list[Any]) -> None:
    """Values that match, and that do not; None for a context without the field."""
    operator, more = constraint
    one = toggle(strategy(constraints=[{"contextName": "f", "operator": operator, **more}]))
    flags = compiled(load(one))
    for value in [*matching, *others]:
        context = {} if value is None else {"f": value}
        assert flags.evaluate("checkout", context).value is (value in matching), value


@pytest.mark.parametrize(
    ("operator", "more"),
    [
        ("NUM_GT", {"value": "five"}),
        ("NUM_GT", {"value": " 5"}),
        ("NUM_GT", {}),
        ("SEMVER_GT", {"value": "v1.0.0"}),
        ("SEMVER_GT", {"value": "1.0"}),
        ("DATE_AFTER", {"value": "2022-01-29"}),
        ("DATE_AFTER", {"value": None}),
        ("STR_CONTAINS", {"values": []}),
        ("IN_CIDR", {"values": []}),
        ("BETWEEN", {"values": ["1"]}),
    ],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_what_cannot_be_understood_never_matches(operator: str, more: Json, inverted: bool) -> None:
    """Inverted neither, and only that strategy; a warning says so."""
    constraint = {"contextName": "f", "operator": operator, "inverted": inverted, **more}
    broken = strategy(constraints=[constraint])
    for context in ({}, {"f": "7"}, {"f": "2.0.0"}, {"f": "2030-01-01T00:00:00Z"}):
        assert not is_on(toggle(broken), context)
        assert is_on(toggle(broken, strategy()), context)
    assert [severity for _, _, severity in problems_of(toggle(broken))] == [Severity.WARNING]


def test_dates_are_of_now_unless_the_context_says() -> None:
    """To the millisecond; neither side has the moment itself."""
    moment = "2025-06-15T15:06:40Z"
    after = toggle(strategy(constraints=[_dated("DATE_AFTER", moment)]))
    before = toggle(strategy(constraints=[_dated("DATE_BEFORE", moment)]))
    neither = toggle(
        strategy(
            constraints=[_dated("DATE_BEFORE", moment, True), _dated("DATE_AFTER", moment, True)]
        )
    )
    for one, said in ((after, (False, False, True)), (before, (True, False, False))):
        assert tuple(is_on(one, {}, NOW_MS + d) for d in (-1, 0, 1)) == said
    assert [is_on(neither, {}, NOW_MS + d) for d in (-1, 0, 1)] == [False, True, False]
    said_by_context = {"currentTime": "2025-06-15T17:06:41+02:00"}
    assert is_on(after, said_by_context, 0)
    assert not is_on(before, said_by_context, 0)
    assert not is_on(after, {"currentTime": "soon"})
    late = toggle(strategy(constraints=[_dated("DATE_AFTER", "2025-06-15T15:06:40.0005Z")]))
    assert [is_on(late, {}, NOW_MS + d) for d in (0, 1)] == [False, True]
    early = toggle(strategy(constraints=[_dated("DATE_BEFORE", "2025-06-15T15:06:40.0005Z")]))
    assert [is_on(early, {}, NOW_MS + d) for d in (0, 1)] == [True, False]


def _dated(operator: str, value: str, inverted: bool = False) -> Json:
    return {
        "contextName": "currentTime",
        "operator": operator,
        "value": value,
        "inverted": inverted,
    }


def test_dates_of_other_fields_are_not_now() -> None:
    """Who has no such field does not match."""
    constraint = _dated("DATE_AFTER", "2020-01-01T00:00:00Z") | {"contextName": "signup"}
    one = toggle(strategy(constraints=[constraint]))
    assert is_on(one, {"signup": "2021-01-01T00:00:00Z"})
    assert not is_on(one, {})


# Both questions


def test_what_is_said_of_a_toggle_with_variants() -> None:
    """The name, and the payload as it is, beside the value."""
    payload = '{"size": 3}'
    one = toggle(variants=[variant("big", 1, payload, "json")], description="Size", type="release")
    imported = load(one)
    answer = compiled(imported).evaluate("checkout", {})
    assert (answer.value, answer.variant, answer.reason) == (True, "enabled", Reason.STATIC)
    assert answer.metadata == {"variant": "big", "payloadType": "json", "payload": payload}
    companion = compiled(imported).evaluate("checkout.variant", {})
    assert (companion.value, companion.variant) == ({"size": 3}, "big")
    assert companion.metadata == {
        "featureEnabled": True,
        "variant": "big",
        "payloadType": "json",
        "dependent": True,
    }
    first, second = imported.flags
    assert (first.key, first.type, first.fallthrough, first.description, first.tags) == (
        "checkout",
        "boolean",
        "enabled",
        "Size",
        ("release",),
    )
    assert (second.key, second.type, second.variants, second.fallthrough) == (
        "checkout.variant",
        "object",
        {"big": {"size": 3}},
        "big",
    )
    assert first.definition == one


def test_companions_are_an_option_and_for_variants_only() -> None:
    """A toggle whose name a companion would have comes first."""
    with_variants = toggle(variants=[variant("a")])
    assert [flag.key for flag in load(toggle()).flags] == ["checkout"]
    assert [flag.key for flag in load(with_variants, companions=False).flags] == ["checkout"]
    taken = load(with_variants, toggle(name="checkout.variant"))
    assert [flag.type for flag in taken.flags] == ["boolean", "boolean"]
    assert [str(problem.code) for problem in taken.problems] == ["unsupported"]


def test_a_toggle_that_is_off_takes_its_companion_along() -> None:
    """Whichever of the two is switched off; then there is no value."""
    imported = load(toggle(variants=[variant("a", 1, "A")]))
    assert compiled(imported).evaluate("checkout.variant", {}).value == "A"
    off = compiled(imported, checkout=False)
    assert (off.evaluate("checkout", {}).value, off.evaluate("checkout", {}).reason) == (
        False,
        Reason.DISABLED,
    )
    answer = off.evaluate("checkout.variant", {})
    assert answer.value is UNSET
    assert answer.metadata == {
        "featureEnabled": False,
        "dependent": True,
        "prerequisite": "checkout",
    }
    alone = compiled(imported, **{"checkout.variant": False})
    assert alone.evaluate("checkout.variant", {}).value is UNSET
    assert alone.evaluate("checkout", {}).value is True


def test_a_companion_of_a_toggle_with_parents_answers() -> None:
    """Its toggle may have parents, unlike other toggles that it would ask."""
    child = toggle(variants=[variant("a", 1, "A")], dependencies=[{"feature": "parent"}])
    for name, value in (("parent", "A"), ("other", UNSET)):
        flags = compiled(load(child, toggle(name=name)))
        assert flags.evaluate("checkout.variant", {}).value == value


@pytest.mark.parametrize(
    ("payloads", "kind", "values"),
    [
        ([("number", "1"), ("number", "-2")], "integer", [1, -2]),
        ([("number", "1"), ("number", "1.5")], "number", [1, 1.5]),
        ([("number", "1"), ("number", "0x1")], "string", ["1", "0x1"]),
        ([("number", "1"), ("number", "9007199254740993")], "string", ["1", "9007199254740993"]),
        ([("number", "1"), ("number", "1e999")], "string", ["1", "1e999"]),
        ([("json", "{}"), ("json", '{"a":[1]}')], "object", [{}, {"a": [1]}]),
        ([("json", "{}"), ("json", "3")], "string", ["{}", "3"]),
        ([("json", "{}"), ("json", "{")], "string", ["{}", "{"]),
        ([("json", "{}"), ("json", "[" * 500)], "string", ["{}", "[" * 500]),
        ([("json", "{}"), ("json", '{"a":1,"a":2}')], "string", ["{}", '{"a":1,"a":2}']),
        ([("json", "{}"), ("number", "1")], "string", ["{}", "1"]),
        ([("string", "x"), ("csv", "a,b")], "string", ["x", "a,b"]),
        ([("string", "x"), None], "string", ["x"]),
        ([None, None], "string", ["v0", "v1"]),
    ],
)
def test_payloads_are_of_one_type(payloads: list[Any], kind: str, values: list[Any]) -> None:
    """Texts where they are not; names where no variant has one."""
    variants = [
        variant(f"v{n}", 1) | ({} if p is None else {"payload": {"type": p[0], "value": p[1]}})
        for n, p in enumerate(payloads)
    ]
    imported = load(toggle(variants=variants))
    companion = imported.flags[1]
    assert companion.type == kind
    assert list(companion.variants.values()) == values
    assert [type(value) for value in companion.variants.values()] == [type(v) for v in values]
    mixed = kind == "string" and {"json", "number"} & {p[0] for p in payloads if p}
    assert [str(problem.code) for problem in imported.problems] == (
        ["unsupported"] if mixed else []
    )
    flags = compiled(imported)
    seen = [flags.evaluate("checkout.variant", {"userId": f"u-{n}"}).value for n in range(60)]
    assert all(value in seen for value in values)
    assert (UNSET in seen) is (len(values) < len(payloads))


def test_variants_of_one_name_and_different_payloads_are_told_apart() -> None:
    """Each strategy serves its own."""
    first = where("plan", "IN", "pro") | {"variants": [variant("a", 1, "one")]}
    second = strategy(variants=[variant("a", 1, "two")])
    imported = load(toggle(first, second))
    flags = compiled(imported)
    assert imported.flags[1].variants == {"a": "one", "a (2)": "two"}
    for context, value in (({"plan": "pro"}, "one"), ({}, "two")):
        answer = flags.evaluate("checkout.variant", context)
        assert (answer.value, answer.metadata["variant"]) == (value, "a")


def test_a_strategys_variants_hash_its_group_and_the_toggles_its_name() -> None:
    """By the seed of variants, over all weights, those of nobody left out."""
    variants = [variant("a", 333), variant("none", 0), variant("b", 500)]
    own = toggle(rollout("100", groupId="group") | {"variants": variants})
    shared = toggle(rollout("100", groupId="group"), variants=variants)
    for number in range(200):
        unit = f"u-{number}"
        for one, group in ((own, "group"), (shared, "checkout")):
            bucket = murmur3_x86_32(f"{group}:{unit}".encode(), 86028157) % 833
            wanted = "a" if bucket < 333 else "b"
            assert ask(one, {"userId": unit}).metadata["variant"] == wanted


def test_an_override_is_before_every_number_and_after_the_strategies() -> None:
    """The first variant that has one for the context."""
    by_user = {"overrides": [{"contextName": "userId", "values": ["u-1", "u-2"]}]}
    by_plan = {"overrides": [{"contextName": "plan", "values": ["pro"]}]}
    variants = [variant("a", 1), variant("b", 0) | by_user, variant("c", 1) | by_plan]
    strategies = [where("country", "IN", "NL"), rollout("0"), where("country", "IN", "DE")]
    one = toggle(*strategies, variants=variants)
    for country in ("NL", "DE"):
        context = {"userId": "u-1", "country": country, "plan": "pro"}
        assert ask(one, context).metadata["variant"] == "b"
        assert ask(one, context | {"userId": "u-3"}).metadata["variant"] == "c"
        assert ask(one, {"userId": "u-3", "country": country}).metadata["variant"] in "ac"
    assert ask(one, {"userId": "u-1", "country": "FR"}).metadata == {}


# Parents


def test_parents() -> None:
    """A variant that is none of those wanted, no variant, a parent that errs or has parents."""
    parent = toggle(name="parent", variants=[variant("a")])
    plain = toggle(name="plain")
    wanted: list[tuple[Json, bool]] = [
        ({"feature": "parent", "variants": ["a"]}, True),
        ({"feature": "parent", "variants": ["b"]}, False),
        ({"feature": "plain", "variants": ["disabled"]}, True),
        ({"feature": "plain", "variants": ["b"]}, False),
        ({"feature": "plain", "enabled": False}, False),
        ({"feature": "gone", "enabled": False}, False),
        ({"feature": "other", "enabled": False}, False),
        ({"feature": "checkout", "enabled": False}, False),
    ]
    other = toggle(name="other", dependencies=[{"feature": "gone"}], enabled=False)
    for dependency, on in wanted:
        child = toggle(dependencies=[dependency])
        answer = compiled(load(child, parent, plain, other)).evaluate("checkout", {})
        assert (answer.value, answer.metadata["dependent"]) == (on, True), dependency


def test_no_toggle_of_a_circle_is_on() -> None:
    """Nor one that leads there; all of them answer."""
    toggles = [
        toggle(name="a", dependencies=[{"feature": "b"}], variants=[variant("x", 1, "X")]),
        toggle(name="b", dependencies=[{"feature": "a"}]),
        toggle(name="c", dependencies=[{"feature": "a", "enabled": False}]),
    ]
    flags = compiled(load(*toggles))
    assert [flags.evaluate(name, {}).value for name in "abc"] == [False] * 3
    assert flags.evaluate("a.variant", {}).value is UNSET


def test_what_a_definition_names() -> None:
    """Without translating it, whatever it is."""
    one = toggle(
        strategy(segments=[3, 1, 3, "x", True, None, 10**5_000]),
        strategy(segments=7),
        dependencies=[{"feature": "b"}, {"feature": "a"}, {"feature": "b"}, 1, {"feature": 3}],
    )
    assert DIALECT.names(one) == Named(("unleash-3", "unleash-1"), ("b", "a"))
    for junk in ({}, {"strategies": {}}, {"strategies": [1], "dependencies": None}):
        assert DIALECT.names(junk) == Named()


# Reasons


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (toggle(), Reason.STATIC),
        (toggle(strategy()), Reason.STATIC),
        (toggle(rollout("100")), Reason.STATIC),
        (toggle(rollout("100", "userId")), Reason.TARGETING_MATCH),
        (toggle(where("userId", "IN", "u-1")), Reason.TARGETING_MATCH),
        (toggle(where("userId", "IN", "u-2"), strategy()), Reason.TARGETING_MATCH),
        (toggle(rollout("99", groupId="group"), strategy()), Reason.SPLIT),
        (toggle(variants=[variant("a"), variant("b")]), Reason.SPLIT),
        (toggle(where("userId", "IN", "u-2")), Reason.DEFAULT),
        (toggle(dependencies=[{"feature": "gone"}]), Reason.DEFAULT),
        (toggle() | {"enabled": False}, Reason.DISABLED),
    ],
)
def test_reasons(definition: Json, reason: Reason) -> None:
    """Static only where every context is answered the same."""
    assert ask(definition, {"userId": "u-1"}).reason == reason


@pytest.mark.parametrize("strategies", [[], [strategy()]])
def test_a_toggle_with_a_parent_is_not_static(strategies: list[Json]) -> None:
    """The parent's answer may be another for another context."""
    child = toggle(*strategies, dependencies=[{"feature": "parent"}])
    answer = compiled(load(child, toggle(name="parent"))).evaluate("checkout", {})
    assert (answer.value, answer.reason) == (True, Reason.TARGETING_MATCH)


# Files


def test_events_are_applied_in_order() -> None:
    """What is removed is gone, what is updated is as it was last; unknown ones are told."""
    events: list[Any] = [
        {"type": "hydration", "features": [toggle(name="a"), toggle(name="b")], "segments": [
            {"id": 1, "constraints": []}, {"id": 2, "constraints": []}]},
        {"type": "feature-updated", "feature": toggle(name="a", description="new")},
        {"type": "feature-removed", "featureName": "b"},
        {"type": "segment-removed", "segmentId": 1},
        {"type": "segment-updated", "segment": {"id": 3, "constraints": []}},
        {"type": "feature-archived"},
        7,
        {"type": "feature-updated", "feature": {"enabled": True}},
    ]  # fmt: skip
    imported = DIALECT.read({"events": events}, {})
    assert [(flag.key, flag.description) for flag in imported.flags] == [("a", "new")]
    assert [segment.key for segment in imported.segments] == ["unleash-2", "unleash-3"]
    assert [problem.pointer for problem in imported.problems] == [
        "/events/5/type",
        "/events/6",
        "/events/7/feature",
    ]
    again = DIALECT.read({"events": [*events, {"type": "hydration", "features": []}]}, {})
    assert (again.flags, again.segments) == ((), ())


@pytest.mark.parametrize("document", [None, 1, [], {}, {"features": 1}, {"events": {}}, "x"])
def test_what_is_no_file_of_unleash_is_one_problem(document: Any) -> None:
    """With what to take instead."""
    imported = DIALECT.read(document, {})
    assert (imported.flags, imported.segments) == ((), ())
    [problem] = imported.problems
    assert "/api/client/features" in problem.hint


def test_an_export_of_the_admin_api_is_told_apart() -> None:
    """Its toggles have no strategies, and would all be on."""
    document = {"features": [{"name": "a"}], "featureStrategies": [], "featureEnvironments": []}
    imported = DIALECT.read(document, {})
    assert not imported.flags
    assert [str(problem.severity) for problem in imported.problems] == ["error"]


def test_a_list_of_the_admin_api_is_told_apart() -> None:
    """It has no strategies either; each toggle would be off, or on for all."""
    listed = {"name": "a", "environments": [{"name": "production", "enabled": True}]}
    imported = DIALECT.read({"version": 1, "features": [toggle(name="b"), listed]}, {})
    assert not imported.flags
    [problem] = imported.problems
    assert problem.severity is Severity.ERROR
    assert "/api/client/features" in problem.hint


def test_a_toggle_without_switch_or_strategies_is_warned_of() -> None:
    """It is off, or on for everybody, by what is not there."""
    assert problems_of({"name": "a", "enabled": True}, {"name": "b", "strategies": []}) == [
        ("/features/0", "missing_field", Severity.WARNING),
        ("/features/1", "missing_field", Severity.WARNING),
    ]


def test_one_wrong_toggle_does_not_cost_the_others() -> None:
    """Each problem has its place in the file; a segment likewise."""
    features: list[Any] = [
        toggle(name="good"),
        toggle(strategy(constraints=[{"operator": "IN"}]), name="bad"),
        toggle(variants=[variant("a", -1)], name="weight"),
        toggle(name="deep", extra=_nested(100)),
        {"name": 3},
        None,
        toggle(name="good", description="last"),
    ]
    segments: list[Any] = [{"id": 1, "constraints": 3}, {"id": "1"}, {"id": 2, "constraints": []}]
    imported = load(*features, segments=segments)
    assert [(flag.key, flag.description) for flag in imported.flags] == [("good", "last")]
    assert [segment.key for segment in imported.segments] == ["unleash-2"]
    assert {(p.pointer, str(p.severity)) for p in imported.problems} == {
        ("/segments/0/constraints", "error"),
        ("/segments/1", "error"),
        ("/features/1/strategies/0/constraints/0/contextName", "error"),
        ("/features/2/variants/0/weight", "error"),
        ("/features/3", "error"),
        ("/features/4", "error"),
        ("/features/5", "error"),
        ("/features/6/name", "warning"),
    }


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_what_a_file_names_and_has_not_is_told() -> None:
    """The toggle is kept: there, too, its strategy never matches."""
    one = toggle(strategy(segments=[404]), dependencies=[{"feature": "gone"}])
    imported = load(one)
    assert [str(problem.code) for problem in imported.problems] == [
        "unknown_segment",
        "unknown_flag",
    ]
    assert len(imported.flags) == 1
    assert not is_on(toggle(strategy(segments=[404])), {})


def test_other_members_of_a_file_are_left_out_and_told() -> None:
    """By name only."""
    document = {"features": [], "apiTokens": [{"secret": "*:production.4711"}], "query": {}}
    [problem] = DIALECT.read(document, {}).problems
    assert problem.severity is Severity.WARNING
    assert "'apiTokens'" in problem.message
    assert "4711" not in problem.message


# Bounds


@pytest.mark.parametrize(
    "definition",
    [
        toggle(*[strategy()] * (limits.MAX_RULES + 1)),
        toggle(strategy(constraints=where("a", "IN", "b")["constraints"] * 1_001)),
        toggle(strategy(segments=[1] * 1_001)),
        toggle(where("a", "IN", *map(str, range(limits.MAX_VALUES_IN_ALL + 1)))),
        toggle(strategy("userWithId", parameters={"userIds": "," * 20_001})),
        toggle(strategy(constraints=where("a", "REGEX", value="a.b")["constraints"] * 51)),
        toggle(where("a", "REGEX", value="a" * 1_001)),
        toggle(where("a", "IN_CIDR", *["10.0.0.1"] * 1_001)),
        toggle(variants=[variant("a")] * 1_001),
        toggle(variants=[variant("a", 1, "x" * 70_000)]),
        toggle(variants=[variant("a" * 300)]),
        toggle(variants=[variant("a", 2**31)]),
        toggle(dependencies=[{"feature": "a"}] * 21),
    ],
)
def test_bounds_are_errors(definition: Json) -> None:
    """It could not be answered as there, so it is not answered at all."""
    translation = DIALECT.translate("checkout", definition, {}, True)
    assert translation.program is None
    assert any(problem.severity is Severity.ERROR for problem in translation.problems)
    assert not load(definition).flags


def test_switching_off_works_whatever_is_wrong() -> None:
    """The answer asks nobody."""
    translation = DIALECT.translate("checkout", toggle(strategy(name=3), segments=3), {}, False)
    assert translation.program is not None
    assert translation.named == Named()
    assert compile_translations({"checkout": translation}).evaluate("checkout", {}).value is False


# Hostile definitions

JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    10**400,
    1.5,
    float("inf"),
    "",
    "\ud800",
    "a\0",
    [],
    {},
]
JUNK += [[[]], {"a": 1}, "x" * 2_000, ["x", 1], "(", "(?P<a>" * 50, "999999999999999999999", "%"]
JUNK += ["10.0.0.0/99", "1.2.3-", "2022-13-45T99:99:99Z", "random", "default", "NOT_IN", 7, "1e9"]


def documents() -> list[Any]:
    """Return states to mutate: the suite's where there is one, and drawn ones."""
    found: list[Any] = []
    folder = os.environ.get("MATRIXFLAG_SUITES")
    path = Path(folder or "/") / "unleash-client-specification" / "specifications"
    if folder and path.is_dir():
        found += [
            json.loads(file.read_text())["state"] for file in sorted(path.glob("[0-9]*.json"))
        ]
    draw = Random(5)
    for _ in range(10):
        toggles = [drawn_toggle(draw, f"t{n}", ["t0", "t1", "t2"]) for n in range(3)]
        segments = [{"id": 1, "constraints": [drawn_constraint(draw)]}]
        found.append({"features": toggles, "segments": segments})
    return found


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container and key of a document."""
    stack = [node]
    while stack:
        here = stack.pop()
        keys: Any = range(len(here)) if isinstance(here, list) else list(here)
        for key in keys:
            yield here, key
            if isinstance(here[key], (dict, list)):
                stack.append(here[key])


def mutated(document: Any, draw: Random) -> Any:
    made = copy.deepcopy(document)
    for _ in range(draw.randint(1, 4)):
        found = list(places(made))
        if not found:
            break
        here, key = draw.choice(found)
        kind = draw.random()
        if kind < 0.6:
            here[key] = copy.deepcopy(draw.choice(JUNK))
        elif kind < 0.8:
            other, name = draw.choice(found)
            here[key] = copy.deepcopy(other[name])
        elif isinstance(here, dict):
            here[draw.choice(["name", "value", "values", "overrides", "weight"])] = here.pop(key)
        else:
            del here[key]
    return made


CONTEXTS: list[Mapping[str, Any]] = [
    {},
    {"targetingKey": "u-1", "properties": {"country": "NL", "age": "12"}},
    {"userId": 10**400, "sessionId": ["s"], "currentTime": 5, "properties": "x", "age": "9" * 999},
    {"userId": "\ud800", "appName": {}, "remoteAddress": "::1%eth0", "country": float("nan")},
]


@pytest.mark.parametrize("seed", range(20))
def test_mutated_files_raise_nothing(seed: int) -> None:
    """What is taken compiles and answers; what is said of the rest is bounded."""
    draw = Random(seed)
    states = documents()
    for _ in range(100):
        document = mutated(draw.choice(states), draw)
        imported = DIALECT.read(document, {"companions": draw.random() < 0.8})
        assert len(imported.problems) <= limits.MAX_PROBLEMS
        assert all(_is_short(problem) for problem in imported.problems)
        flags = compiled(imported)
        for flag in imported.flags:
            DIALECT.names(flag.definition)
            for context in CONTEXTS:
                answer = flags.evaluate(flag.key, dict(context), NOW_MS)
                assert answer.error_code is None
                json.loads(answer.body)


def _is_short(problem: Problem) -> bool:
    return len(problem.message) + len(problem.hint) < 1_000


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_a_problem(junk: Any) -> None:
    """In the place of a toggle or of a segment."""
    assert DIALECT.segment is not None
    for enabled in (True, False):
        translation = DIALECT.translate("checkout", junk, {}, enabled)
        assert translation.program is not None or translation.problems
    when, problems = DIALECT.segment(junk, {})
    assert when is not None or problems
