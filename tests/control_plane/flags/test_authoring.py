"""From bodies to flags: the sentences of the API mapping, one by one, without a server."""

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.documents import invalid, merge_patch
from control_plane.errors import Conflict, Invalid
from control_plane.flags import authoring
from control_plane.flags.model import resource_of
from control_plane.flags.rebucketing import moved_between
from control_plane.publishing.state import FlagRecord
from control_plane.web.documents import decode_document
from proxy.contract.authoring import FlagInput, served
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Flag
from proxy.engine import check_flag
from tests.support.definitions import AT, ENVIRONMENTS, salts

PRODUCTION = "production"
SALT = salts()
NOW_MS = 1_796_342_400_000  # 2026-12-04T00:00:00Z


def accepted(draft: authoring.Draft) -> Flag:
    """Return the flag of a draft that the API has nothing against."""
    if draft.problems:
        raise invalid(list(draft.problems))
    return draft.flag


def around(asked: str, needed: frozenset[str] = frozenset()) -> authoring.Circumstances:
    """Return what a request does not say: halfway through the ramps here."""
    return authoring.Circumstances(ENVIRONMENTS, asked, SALT, NOW_MS, lambda: needed)


def create(body: dict[str, Any], asked: str = PRODUCTION) -> Flag:
    """Create a flag of a body."""
    document = msgspec.convert(body, FlagInput)
    return accepted(authoring.create(document, around(asked)))


def put(
    flag: Flag, body: dict[str, Any], asked: str = PRODUCTION, needed: frozenset[str] = frozenset()
) -> Flag:
    """Replace a flag by a body."""
    document = msgspec.convert(body, FlagInput)
    return accepted(authoring.replace(flag, document, body.keys(), around(asked, needed)))


def patch(flag: Flag, changes: dict[str, Any], asked: str = PRODUCTION) -> Flag:
    """Apply a merge patch to a flag."""
    document = decode_document(merge_patch(flag, changes), FlagInput)
    return accepted(authoring.patched(flag, changes.keys(), document, around(asked)))


def read(flag: Flag, environment: str = PRODUCTION) -> dict[str, Any]:
    """Return what a read gives."""
    found: dict[str, Any] = msgspec.to_builtins(
        resource_of(FlagRecord(flag, 1, AT, AT), environment)
    )
    return found


def rollout(**weights: int) -> dict[str, Any]:
    """Return a rollout over variants."""
    arms = [{"variant": name, "weight": weight} for name, weight in weights.items()]
    return {"rollout": {"arms": arms}}


def boolean(**fields: Any) -> Flag:
    """Return the flag of a simple body."""
    return create({"key": "f", "type": "boolean", "value": True, "enabled": True, **fields})


def split(**fields: Any) -> Flag:
    """Return a flag whose fallthrough in production is a rollout, 30 to 70."""
    config = {"enabled": True, "fallthrough": rollout(on=30_000, off=70_000)}
    return create(
        {
            "key": "f",
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "environments": {PRODUCTION: config},
            **fields,
        }
    )


def problems(error: pytest.ExceptionInfo[Invalid]) -> set[tuple[str, str]]:
    """Return pointers and codes of a refusal."""
    return {(p.pointer, p.code) for p in error.value.problems}


class TestCreate:
    """POST."""

    def test_a_simple_boolean_has_on_and_off_everywhere_alike(self) -> None:
        """With `off_variant: off`, and a salt of its own in each environment."""
        flag = boolean()
        assert flag.variants == {"on": True, "off": False}
        assert set(flag.environments) == set(ENVIRONMENTS)
        for config in flag.environments.values():
            assert (config.fallthrough.variant, config.enabled) == ("on", True)
            assert config.off_variant == "off"
        assert len({config.salt for config in flag.environments.values()}) == 3

    @pytest.mark.parametrize(
        ("kind", "value"),
        [("string", "x"), ("integer", 7), ("number", 1.5), ("object", {"a": [1]})],
    )
    def test_another_simple_flag_has_one_variant_and_no_off_variant(
        self, kind: str, value: Any
    ) -> None:
        """The application's own default is served when it is disabled."""
        flag = create({"key": "f", "type": kind, "value": value, "enabled": False})
        assert flag.variants == {"default": value}
        assert flag.environments[PRODUCTION].off_variant is msgspec.UNSET
        assert served(flag, PRODUCTION) == (False, value)

    def test_a_rollout_gets_its_ranges_in_order(self) -> None:
        """So that every later change knows which buckets were whose."""
        serve = split().environments[PRODUCTION].fallthrough
        assert serve.rollout is not msgspec.UNSET
        assert [arm.ranges for arm in serve.rollout.arms] == [[(0, 30_000)], [(30_000, 100_000)]]

    def test_a_given_salt_is_kept(self) -> None:
        """It is how a flag moved from elsewhere keeps its buckets."""
        config = {"fallthrough": {"variant": "on"}, "salt": "theirs"}
        body = {"key": "f", "type": "boolean", "variants": {"on": True}, "environments": {}}
        flag = create(body | {"environments": {PRODUCTION: config}})
        assert flag.environments[PRODUCTION].salt == "theirs"

    def test_all_that_is_missing_is_said(self) -> None:
        """Not one thing after the other."""
        with pytest.raises(Invalid) as refused:
            create({})
        assert {pointer for pointer, _ in problems(refused)} == {"/key", "/type", "/value"}

    def test_value_and_enabled_of_a_full_body_must_agree(self) -> None:
        """Which of two statements is meant nobody can tell."""
        config = {"enabled": True, "fallthrough": {"variant": "on"}}
        with pytest.raises(Invalid) as refused:
            create(
                {
                    "key": "f",
                    "type": "boolean",
                    "value": False,
                    "enabled": False,
                    "variants": {"on": True, "off": False},
                    "environments": {PRODUCTION: config},
                }
            )
        assert problems(refused) == {
            ("/value", ProblemCode.VALUE_DISAGREES),
            ("/enabled", ProblemCode.VALUE_DISAGREES),
        }

    def test_an_unknown_environment_is_named(self) -> None:
        """With those there are."""
        config = {"fallthrough": {"variant": "on"}}
        body = {"key": "f", "type": "boolean", "variants": {"on": True}}
        with pytest.raises(Invalid) as refused:
            create(body | {"environments": {"prodction": config}})
        assert problems(refused) == {("/environments/prodction", ProblemCode.UNKNOWN_ENVIRONMENT)}
        assert "production" in refused.value.problems[0].hint


class TestSimplePut:
    """PUT without variants and environments."""

    def test_only_the_asked_environment_changes(self) -> None:
        """The others go on as they are."""
        flag = boolean()
        after = put(flag, {"value": False, "enabled": True}, "staging")
        assert served(after, "staging") == (True, False)
        assert served(after, PRODUCTION) == (True, True)
        assert after.variants == flag.variants

    def test_a_value_that_a_variant_has_makes_it_the_fallthrough(self) -> None:
        """Nothing is added."""
        after = put(boolean(), {"value": False})
        assert after.environments[PRODUCTION].fallthrough.variant == "off"

    def test_a_new_value_becomes_a_variant_named_by_its_hash(self) -> None:
        """And no existing variant's value changes: exposures of the past keep their meaning."""
        flag = create({"key": "f", "type": "string", "value": "blue", "enabled": True})
        after = put(flag, {"value": "grün"})
        name = "value-" + hashlib.sha256('"grün"'.encode()).hexdigest()[:8]
        assert after.variants == {"default": "blue", name: "grün"}
        assert served(after, PRODUCTION) == (True, "grün")

    def test_a_name_that_is_taken_by_another_value_gets_longer(self) -> None:
        """Somebody may have named a variant so."""
        digest = hashlib.sha256(b'"new"').hexdigest()
        config = {"fallthrough": {"variant": "value-" + digest[:8]}}
        body = {"key": "f", "type": "string", "variants": {"value-" + digest[:8]: "other"}}
        flag = create(body | {"environments": {PRODUCTION: config}})
        assert "value-" + digest[:12] in put(flag, {"value": "new"}).variants

    def test_whole_numbers_of_a_number_flag_are_floats(self) -> None:
        """10 is 10.0, so that it is the same variant however it was written."""
        flag = create({"key": "f", "type": "number", "value": 10.0, "enabled": True})
        assert put(flag, {"value": 10}) == flag
        assert msgspec.json.encode(served(put(flag, {"value": 3}), PRODUCTION)[1]) == b"3.0"

    def test_true_is_not_one(self) -> None:
        """For Python they are equal, for JSON not."""
        flag = create({"key": "f", "type": "object", "value": {"a": 1}, "enabled": True})
        assert put(flag, {"value": {"a": True}}) is not flag
        assert served(put(flag, {"value": {"a": True}}), PRODUCTION)[1] == {"a": True}
        assert len(put(flag, {"value": {"a": True}}).variants) == 2

    def test_rules_targets_and_salt_stay(self) -> None:
        """It is what the value is, not who gets another."""
        config = {
            "fallthrough": {"variant": "on"},
            "salt": "mine",
            "targets": [{"variant": "off", "units": ["u"]}],
            "rules": [{"id": "r", "when": {"all": []}, "serve": {"variant": "off"}}],
        }
        body = {"key": "f", "type": "boolean", "variants": {"on": True, "off": False}}
        flag = create(body | {"environments": {PRODUCTION: config}})
        before = flag.environments[PRODUCTION]
        after = put(flag, {"value": False, "enabled": True}).environments[PRODUCTION]
        assert (after.rules, after.targets, after.salt) == (
            before.rules,
            before.targets,
            before.salt,
        )

    def test_members_left_out_stay_and_members_given_are_taken(self) -> None:
        """A body of the value alone does not wipe out what the flag is for."""
        flag = boolean(name="Name", tags=["t"], owner="team", track=True, expires="2030-01-01")
        assert put(flag, {"value": True}) == flag
        after = put(flag, {"tags": [], "track": False, "expires": None})
        assert (after.tags, after.track, after.expires) == ([], False, msgspec.UNSET)
        assert (after.name, after.owner) == ("Name", "team")

    def test_a_rollout_is_not_replaced_by_one_value(self) -> None:
        """A value equal to what a read gives changes nothing; another is refused."""
        flag = split()
        assert read(flag)["value"] is False
        assert put(flag, {"value": False, "enabled": True}) == flag
        with pytest.raises(Conflict) as refused:
            put(flag, {"value": True})
        assert refused.value.code == "fallthrough_is_rollout"

    def test_a_rollout_is_switched_off_all_the_same(self) -> None:
        """The emergency switch works for every flag."""
        flag = split()
        after = put(flag, {"enabled": False})
        assert after.environments[PRODUCTION].enabled is False
        assert after.environments[PRODUCTION].fallthrough == (
            flag.environments[PRODUCTION].fallthrough
        )

    def test_an_environment_without_configuration_gets_one(self) -> None:
        """With production's off variant and a salt of its own."""
        flag = split()
        assert served(flag, "staging") == (False, True)
        assert put(flag, {"enabled": False}, "staging") == flag
        after = put(flag, {"enabled": True}, "staging").environments["staging"]
        assert (after.enabled, after.fallthrough.variant) == (True, "on")
        assert after.salt != flag.environments[PRODUCTION].salt

    def test_variants_made_for_values_do_not_pile_up(self) -> None:
        """A setting that changes every hour stays a flag that can be read."""
        flag = create({"key": "f", "type": "integer", "value": 0, "enabled": True})
        for number in range(1, 200):
            flag = put(flag, {"value": number})
        assert served(flag, PRODUCTION) == (True, 199)
        assert served(flag, "staging") == (True, 0)
        assert len(flag.variants) < 60

    @pytest.mark.parametrize("member", ["value", "enabled"])
    def test_value_and_enabled_cannot_be_removed(self, member: str) -> None:
        """By a null in a merge patch."""
        with pytest.raises(Invalid) as refused:
            patch(boolean(), {member: None})
        assert problems(refused) == {(f"/{member}", ProblemCode.WRONG_TYPE)}

    @pytest.mark.parametrize(("member", "value"), [("key", "g"), ("type", "string")])
    def test_key_and_type_cannot_change(self, member: str, value: str) -> None:
        """Applications ask for a key, and for a type."""
        with pytest.raises(Invalid) as refused:
            put(boolean(), {member: value})
        assert problems(refused) == {(f"/{member}", ProblemCode.READ_ONLY)}


class TestFullPut:
    """PUT with variants or environments."""

    def test_members_left_out_are_reset(self) -> None:
        """That is what replacing means."""
        flag = boolean(name="Name", tags=["t"])
        after = put(flag, {"variants": {"on": True, "off": False}})
        assert (after.name, after.tags) == ("", [])
        assert after.environments == flag.environments

    def test_other_environments_may_be_absent_or_unchanged(self) -> None:
        """A request is about one environment."""
        flag = boolean()
        body = read(flag)
        body["environments"]["staging"]["enabled"] = False
        with pytest.raises(Invalid) as refused:
            put(flag, body)
        assert problems(refused) == {
            ("/environments/staging", ProblemCode.OTHER_ENVIRONMENT_CHANGED)
        }
        assert "environment=staging" in refused.value.problems[0].hint
        del body["environments"]["staging"]
        assert put(flag, body) == flag

    def test_value_and_enabled_must_agree(self) -> None:
        """As in a POST."""
        flag = boolean()
        body = read(flag) | {"enabled": False}
        with pytest.raises(Invalid) as refused:
            put(flag, body)
        assert problems(refused) == {("/enabled", ProblemCode.VALUE_DISAGREES)}

    def test_weights_win_over_ranges_that_were_merely_read(self) -> None:
        """Who reads, changes a weight and writes back means the weight."""
        flag = split()
        body = read(flag)
        del body["value"], body["enabled"]
        arms = body["environments"][PRODUCTION]["fallthrough"]["rollout"]["arms"]
        arms[0]["weight"], arms[1]["weight"] = 50_000, 50_000
        after = put(flag, body).environments[PRODUCTION].fallthrough.rollout
        assert after is not msgspec.UNSET
        assert after.arms[0].ranges == [(0, 30_000), (80_000, 100_000)]
        assert after.arms[1].ranges == [(30_000, 80_000)]

    def test_ranges_of_the_authors_own_are_kept(self) -> None:
        """They are validated, not repaired."""
        flag = split()
        body = read(flag)
        del body["value"], body["enabled"]
        arms = body["environments"][PRODUCTION]["fallthrough"]["rollout"]["arms"]
        arms[0]["ranges"], arms[1]["ranges"] = [[70_000, 100_000]], [[0, 70_000]]
        after = put(flag, body).environments[PRODUCTION].fallthrough.rollout
        assert after is not msgspec.UNSET
        assert after.arms[0].ranges == [(70_000, 100_000)]

    def test_absent_salts_stay_and_absent_rule_ids_are_made(self) -> None:
        """So that a body without them can be written by hand."""
        flag = split()
        salt = flag.environments[PRODUCTION].salt
        rule = {"when": {"all": []}, "serve": {"variant": "on"}}
        config = {"fallthrough": {"variant": "on"}, "rules": [rule, rule | {"id": "rule-1"}]}
        after = put(flag, {"environments": {PRODUCTION: config}}).environments[PRODUCTION]
        assert after.salt == salt
        assert [rule.id for rule in after.rules] == ["rule-2", "rule-1"]


class TestPatch:
    """PATCH."""

    def test_enabled_alone(self) -> None:
        """The shortest switch."""
        after = patch(boolean(), {"enabled": False})
        assert served(after, PRODUCTION) == (False, True)
        assert served(after, "staging") == (True, True)

    def test_null_removes_and_objects_merge(self) -> None:
        """RFC 7396."""
        flag = boolean(metadata={"a": 1, "b": 2}, owner="team")
        after = patch(flag, {"metadata": {"a": None, "c": 3}, "owner": None})
        assert after.metadata == {"b": 2, "c": 3}
        assert after.owner == ""

    def test_a_configuration_is_removed_by_null(self) -> None:
        """The flag is disabled there from then on."""
        after = patch(boolean(), {"environments": {"staging": None}}, "staging")
        assert "staging" not in after.environments
        assert served(after, "staging") == (False, True)

    def test_other_environments_are_out_of_reach(self) -> None:
        """Also by removing them."""
        for change in ({"staging": None}, {"staging": {"enabled": False}}):
            with pytest.raises(Invalid) as refused:
                patch(boolean(), {"environments": change})
            assert problems(refused) == {
                ("/environments/staging", ProblemCode.OTHER_ENVIRONMENT_CHANGED)
            }

    def test_a_part_of_a_configuration(self) -> None:
        """The rest of it stays."""
        flag = split()
        change = {"environments": {PRODUCTION: {"off_variant": "off"}}}
        after = patch(flag, change).environments[PRODUCTION]
        assert after.off_variant == "off"
        assert after.salt == flag.environments[PRODUCTION].salt

    def test_what_is_wrong_in_shape_is_said_with_its_place(self) -> None:
        """In the document as it would be."""
        with pytest.raises(Invalid) as refused:
            patch(boolean(), {"environments": {PRODUCTION: {"enabled": "yes", "colour": 1}}})
        assert problems(refused) == {
            (f"/environments/{PRODUCTION}/enabled", ProblemCode.WRONG_TYPE),
            (f"/environments/{PRODUCTION}/colour", ProblemCode.UNKNOWN_FIELD),
        }

    def test_what_only_a_read_has_is_ignored(self) -> None:
        """So that a read, edited, can be sent as a patch."""
        flag = boolean()
        assert patch(flag, read(flag) | {"version": 99, "created_at": None}) == flag


SHARES = st.lists(st.integers(0, 1_000), min_size=2, max_size=5).filter(lambda w: sum(w) > 0)


def weights(shares: list[int]) -> dict[str, int]:
    """Return weights in these proportions that sum to 100,000."""
    exact = [share * 100_000 // sum(shares) for share in shares]
    exact[0] += 100_000 - sum(exact)
    return {f"v{n}": weight for n, weight in enumerate(exact)}


@given(
    st.sampled_from(["boolean", "string", "integer", "number", "object"]),
    st.data(),
    st.sampled_from(ENVIRONMENTS),
)
def test_a_put_of_what_was_read_changes_nothing(kind: str, data: st.DataObject, at: str) -> None:
    """Of every type, simple or split, configured or not, for any environment asked."""
    values = {
        "boolean": st.booleans(),
        "string": st.text(max_size=5),
        "integer": st.integers(-(2**53) + 1, 2**53 - 1),
        "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
        "object": st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.booleans()),
    }[kind]
    variants = {f"v{n}": data.draw(values) for n in range(5)}
    config = {
        "enabled": data.draw(st.booleans()),
        "fallthrough": rollout(**weights(data.draw(SHARES))),
        "rules": [{"when": {"all": []}, "serve": rollout(**weights(data.draw(SHARES)))}],
    }
    simple = {"key": "f", "type": kind, "value": variants["v0"], "enabled": True, "tags": ["t"]}
    full = {"key": "f", "type": kind, "variants": variants, "environments": {PRODUCTION: config}}
    flag = create(data.draw(st.sampled_from([simple, full])))
    assert not [p for p in check_flag(flag, {}) if p.severity == "error"]
    body = msgspec.json.decode(msgspec.json.encode(read(flag, at)))
    assert authoring.same_document(put(flag, body, at), flag)
    assert authoring.same_document(patch(flag, body, at), flag)
    brief = {name: body[name] for name in ("key", "type", "value", "enabled")}
    assert authoring.same_document(put(flag, brief, at), flag)


@given(SHARES, SHARES)
def test_a_change_of_weights_moves_exactly_the_difference(old: list[int], new: list[int]) -> None:
    """No unit changes its variant that does not have to."""
    variants = {f"v{n}": str(n) for n in range(5)}
    before, after = weights(old), weights(new)

    def document(shares: dict[str, int]) -> dict[str, Any]:
        return {
            "key": "f",
            "type": "string",
            "variants": variants,
            "environments": {PRODUCTION: {"fallthrough": rollout(**shares)}},
        }

    flag = create(document(before))
    changed = put(flag, document(after))
    moved = sum(m.buckets for m in moved_between(flag, changed, NOW_MS))
    assert moved == sum(max(0, after.get(v, 0) - before.get(v, 0)) for v in variants)
