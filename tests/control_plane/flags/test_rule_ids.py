"""Rules without ids are found again among the stored ones, wherever they stand."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.flags import authoring
from control_plane.flags.rebucketing import check_consent, moved_between
from control_plane.flags.rule_ids import with_kept_ids
from proxy.contract.authoring import FlagInput, with_rule_ids
from proxy.contract.definitions import Flag, Rule
from tests.support.definitions import ENVIRONMENTS, salts

PRODUCTION = "production"
SALT = salts()
NOW_MS = 1_796_342_400_000  # 2026-12-04T00:00:00Z


def rule(country: str, serve: dict[str, Any] | str = "on", **members: Any) -> dict[str, Any]:
    """Return a rule for a country."""
    when = {"attribute": "country", "op": "in", "values": [country]}
    what = {"variant": serve} if isinstance(serve, str) else serve
    return {"when": when, "serve": what, **members}


def split(on: int, by: str = "account") -> dict[str, Any]:
    """Return a rollout."""
    arms = [{"variant": "on", "weight": on}, {"variant": "off", "weight": 100_000 - on}]
    return {"rollout": {"by": by, "arms": arms}}


def ids(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[object]:
    """Return the ids that rules get in the place of stored ones, which have their index as id."""
    stored = [each | {"id": f"stored-{number}"} for number, each in enumerate(old)]
    kept = with_kept_ids(msgspec.convert(stored, list[Rule]), msgspec.convert(new, list[Rule]))
    return [each.id for each in kept]


A, B, C = rule("A", split(10_000)), rule("B", split(20_000)), rule("C")
NEW = rule("new")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        # the same rules, in whatever order and number
        ([A, B, C], [A, B, C], ["stored-0", "stored-1", "stored-2"]),
        ([A, B, C], [C, A], ["stored-2", "stored-0"]),
        ([A, B, C], [NEW, A, B, C], ["rule-1", "stored-0", "stored-1", "stored-2"]),
        ([A, A], [A, A, A], ["stored-0", "stored-1", "rule-1"]),
        # other weights, another kind of serving, another condition
        ([A], [NEW, rule("A", split(30_000))], ["rule-1", "stored-0"]),
        ([A], [NEW, rule("A")], ["rule-1", "stored-0"]),
        ([A], [NEW, rule("D", split(10_000))], ["rule-1", "stored-0"]),
        ([A], [rule("D", split(10_000, by="team")), A], ["rule-1", "stored-0"]),
        # nothing in common but the place
        ([A, B, C], [A, rule("D"), C], ["stored-0", "stored-1", "stored-2"]),
        ([A], [rule("D")], ["stored-0"]),
        ([A, B], [rule("D"), NEW, B], ["rule-1", "rule-2", "stored-1"]),
        # ids that are given are who they say
        ([A, B], [B, A | {"id": "stored-1"}], ["stored-0", "stored-1"]),
        ([A, B], [A | {"id": "mine"}, A], ["mine", "stored-0"]),
    ],
)
def test_a_rule_is_found_by_what_it_says(
    old: list[dict[str, Any]], new: list[dict[str, Any]], wanted: list[str]
) -> None:
    """The more alike, the sooner; the place counts last."""
    assert ids(old, new) == wanted


def test_a_new_rule_gets_no_id_that_a_stored_one_has() -> None:
    """Or it would take over the ranges of one that has gone."""
    stored = with_rule_ids(msgspec.convert([A, B], list[Rule]))
    new = msgspec.convert([rule("D"), NEW, B], list[Rule])
    assert [each.id for each in with_kept_ids(stored, new)] == ["rule-3", "rule-4", "rule-2"]


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)), st.integers(0, 6))
def test_rules_that_stay_keep_their_ids(order: list[int], gone: set[int], at: int) -> None:
    """However others come, go and move."""
    rules = [rule(str(n), split(1_000 * n)) for n in range(6)]
    left = [n for n in order if n not in gone]
    new = [rules[n] for n in left]
    new.insert(at, NEW)
    found = ids(rules, new)
    del found[min(at, len(left))]
    assert found == [f"stored-{n}" for n in left]
    assert len({*found}) == len(found)


def put(flag: Flag | None, *rules: dict[str, Any]) -> Flag:
    """Send a whole flag with these rules."""
    config = {"enabled": True, "fallthrough": {"variant": "off"}, "rules": list(rules)}
    body = {
        "key": "f",
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {PRODUCTION: config},
    }
    document = msgspec.convert(body, FlagInput)
    around = authoring.Circumstances(ENVIRONMENTS, PRODUCTION, SALT, NOW_MS)
    if flag is None:
        return authoring.create(document, around).flag
    return authoring.replace(flag, document, body.keys(), around).flag


def test_a_rule_put_before_a_rollout_moves_nobody() -> None:
    """Its ranges are the outcome of all changes before, and no other layout is as good."""
    flag = None
    for weight in (60_000, 30_000, 60_000, 40_000, 70_000):
        flag = put(flag, rule("A", split(weight)))
    assert flag is not None
    (dealt,) = flag.environments[PRODUCTION].rules
    for first in (NEW, rule("D", split(50_000, by="team"))):
        after = put(flag, first, rule("A", split(70_000)))
        check_consent(flag, after, NOW_MS, rebucket=False)
        assert after.environments[PRODUCTION].rules[1] == dealt
        assert moved_between(flag, after, NOW_MS) == []


def test_what_moves_is_counted_though_another_rule_comes_before() -> None:
    """At the rule that changed, by its id."""
    flag = put(None, rule("A", split(70_000)))
    after = put(flag, NEW, rule("A", split(60_000)))
    (moved,) = moved_between(flag, after, NOW_MS)
    assert (moved.place, moved.buckets) == ("rules/rule-1", 10_000)
