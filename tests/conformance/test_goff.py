"""GO Feature Flag: the cases of its own Go tables, and its relay's OFREP fixtures over HTTP.

The tables test a Go struct; here it is written as the JSON that it is read from, and a rule that
is tested alone is put into a flag of its own, without a default rule, so that "does not apply" is
the error that there is none. The time is an argument: `now` in the data is `NOW_MS`, and a
context's own `currentDateTime` is passed as the time. What GO Feature Flag calls FLAG_CONFIG, OFREP
calls GENERAL.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from msgspec import UNSET

from proxy.engine.answers import Answer
from proxy.engine.dialects.goff import DIALECT
from proxy.engine.hashing import HASHES
from tests.conformance.harness import compile_translations, suite
from tests.proxy.ofrep.server import FLAGS, Reply, running_server

GOFF = suite("go-feature-flag", "derived/goff_cases.json")
TABLES: dict[str, list[dict[str, Any]]] = json.loads(
    (GOFF / "derived/goff_cases.json").read_text(encoding="utf-8")
)

NOW = datetime(2026, 11, 1, 12, 0, 0, 250_000, UTC)
NOW_MS = int(NOW.timestamp() * 1_000)

Json = dict[str, Any]


# What the data says, as JSON

MEMBERS = {
    "Rules": "targeting",
    "VariationResult": "variation",
    "Percentages": "percentage",
    "Scheduled": "scheduledRollout",
}
NAMED_BY_AUTHORS = ("Variations", "Percentages", "Metadata")
"""Members whose own members are names that an author chose."""


def as_json(value: Any) -> Any:
    """Return what a Go struct of the tables is in a file."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$now" in value:
        return (NOW + timedelta(seconds=value["$now"])).isoformat()
    if "$date" in value:
        *parts, nanoseconds, _zone = value["$date"]
        return datetime(*parts, nanoseconds // 1_000, tzinfo=UTC).isoformat()
    made: Json = {}
    for name, item in value.items():
        if name == "InternalFlag":  # a step's own members, beside its date
            made |= as_json(item)
        elif name in NAMED_BY_AUTHORS:
            made[MEMBERS.get(name, name.lower())] = item
        else:
            made[MEMBERS.get(name, name[:1].lower() + name[1:])] = as_json(item)
    return made


def context_of(user: Json) -> tuple[Json, int]:
    """Return an evaluation context as OFREP has it, and the time of its evaluation."""
    if "$func" in user:  # the one there is adds this attribute, and has no key
        assert 'AddCustomAttribute ( "anonymous" , true )' in user["$func"]
        return {"targetingKey": "", "anonymous": True}, NOW_MS
    context = {**user["attributes"], "targetingKey": user["targetingKey"]}
    for name, date in context.pop("gofeatureflag", {}).items():
        assert name.lower() == "currentdatetime"
        return context, int(datetime.fromisoformat(as_json(date)).timestamp() * 1_000)
    return context, NOW_MS


def evaluate(
    definition: Json, key: str, user: Json, options: Mapping[str, Any] | None = None
) -> Answer:
    """Return what a flag answers."""
    context, now_ms = context_of(user)
    enabled = not definition.get("disable", False)
    translation = DIALECT.translate(key, definition, options or {}, enabled)
    metadata = {key: definition.get("metadata", {})}
    return compile_translations({key: translation}, metadata=metadata).evaluate(
        key, context, now_ms
    )


def rule_alone(rule: Json, *, default: bool = False) -> Json:
    """Return a flag of one rule, with a variation for each that it names."""
    definition: Json = {"defaultRule": rule} if default else {"targeting": [rule]}
    edges = rule.get("progressiveRollout", {}).values()
    names = {rule.get("variation"), *rule.get("percentage", {})}
    names |= {edge.get("variation") for edge in edges}
    definition["variations"] = {name: name for name in names if name}
    return definition


def cases(table: str) -> Any:
    """Parametrise with the cases of one table, each by its name."""
    rows = TABLES[table]
    return pytest.mark.parametrize("case", rows, ids=[row["name"] for row in rows])


REASONS = {
    "ReasonStatic": "STATIC",
    "ReasonDisabled": "DISABLED",
    "ReasonTargetingMatch": "TARGETING_MATCH",
    "ReasonTargetingMatchSplit": "TARGETING_MATCH_SPLIT",
    "ReasonSplit": "SPLIT",
    "ReasonDefault": "DEFAULT",
    "ReasonError": None,
}
ERRORS = {
    "ErrorFlagConfiguration": "GENERAL",
    "ErrorCodeGeneral": "GENERAL",
    "ErrorCodeTargetingKeyMissing": "TARGETING_KEY_MISSING",
}
OURS = {"gofeatureflag_cacheable", "sourceReason", "sourceError"}
CHANNEL = "Should return sdk default value when we have an error in the deep copy"
"""Its metadata has a Go channel in it, which no file can have, and which is what fails there.
Without it the flag is in error all the same, as it has no default rule."""


def test_no_case_is_lost() -> None:
    """109 in seven tables."""
    assert {name: len(rows) for name, rows in TABLES.items()} == {
        "TestInternalFlag_Value": 49,
        "TestInternalFlag_ValueWithBucketingKey": 2,
        "TestInternalFlag_ValueWithInvalidBucketingKey": 3,
        "TestInternalFlag_Value_EmptyContext": 4,
        "TestRuleEvaluate": 36,
        "TestRule_Evaluate_EmptyKey": 5,
        "TestNikunjyPool_Evaluate": 10,
    }


@cases("TestInternalFlag_Value")
def test_values(case: Json) -> None:
    """Value, variation, reason, error, metadata, and whether it can be cached."""
    args, wanted = case["args"], case["want1"]
    definition = as_json(case["flag"])
    if case["name"] == CHANNEL:
        definition.pop("metadata")
    options = {}
    enrichment = args["flagContext"].get("EvaluationContextEnrichment")
    if enrichment is not None:
        options["evaluationContextEnrichment"] = enrichment
    answer = evaluate(definition, args["flagName"], args["user"], options)

    is_default = wanted["Variant"] in ("SdkDefault", {"$const": "VariationSDKDefault"})
    assert answer.variant == ("" if is_default else wanted["Variant"])
    assert answer.value == (UNSET if is_default else case["want"])
    reason = answer.metadata.get("sourceReason", answer.reason)
    assert reason == REASONS[wanted["Reason"]["$const"]]
    code = wanted.get("ErrorCode")
    assert answer.error_code == (ERRORS[code["$const"]] if code else None)
    told = {name: value for name, value in answer.metadata.items() if name not in OURS}
    assert told == wanted.get("Metadata", {})
    cacheable = answer.metadata.get("gofeatureflag_cacheable", False)
    assert cacheable is wanted.get("Cacheable", False)


@cases("TestInternalFlag_ValueWithBucketingKey")
def test_bucketing_keys(case: Json) -> None:
    """The same flag with its bucketing key, and with an empty one, which is the targeting key."""
    args, definition = case["args"], as_json(case["flag"])
    by_team = evaluate(definition, args["flagName"], args["user"])
    by_user = evaluate({**definition, "bucketingKey": ""}, args["flagName"], args["user"])
    assert by_team.variant == case["wantForTeamID"]
    assert by_user.variant == case["wantForTargetingKey"]


@cases("TestInternalFlag_ValueWithInvalidBucketingKey")
def test_bucketing_keys_that_are_missing(case: Json) -> None:
    """Missing, or no text."""
    args = case["args"]
    answer = evaluate(as_json(case["flag"]), args["flagName"], args["user"])
    assert answer.error_code == ERRORS[case["want"]["ErrorCode"]["$const"]]
    assert answer.value is UNSET


@cases("TestInternalFlag_Value_EmptyContext")
def test_values_of_an_empty_context(case: Json) -> None:
    """A key is needed only where users are told apart."""
    answer = evaluate(as_json(case["flag"]), "my-flag", case["evaluationCtx"])
    assert answer.reason == REASONS[case["expectedReason"]["$const"]]
    if not case["shouldSucceed"]:
        assert answer.error_code == ERRORS[case["expectedErrorCode"]["$const"]]
    elif "expectedValue" in case:
        assert answer.value == case["expectedValue"]


@cases("TestRuleEvaluate")
def test_rules(case: Json) -> None:
    """The variation of one rule, or that it gives none."""
    args = case["args"]
    definition = rule_alone(as_json(case["rule"]), default=args.get("isDefault", False))
    user = args.get("user", {"targetingKey": "", "attributes": {}})
    answer = evaluate(definition, "flagname+", user)
    if case["wantErr"] == {"$assert": "NoError"}:
        assert (answer.error_code, answer.variant) == (None, case["want"])
    else:
        assert case["wantErr"] in ({"$assert": "Error"}, {"$call": "ExpectError", "args": [{}]})
        assert answer.error_code is not None


@cases("TestRule_Evaluate_EmptyKey")
def test_rules_without_a_key(case: Json) -> None:
    """A rule that does not tell users apart needs none."""
    user = case["ctx"]
    answer = evaluate(rule_alone(as_json(case["rule"])), "my-flag", user)
    assert (answer.error_code is not None) is case["expectedError"]
    if "expectedValue" in case:
        assert answer.variant == case["expectedValue"]


@cases("TestNikunjyPool_Evaluate")
def test_queries(case: Json) -> None:
    """Whether a query holds; one that cannot be read does not."""
    args = case["args"]
    answer = evaluate(rule_alone(as_json(case["rule"])), args["flagName"], args["ctx"])
    if case["wantErr"] == {"$assert": "NoError"}:
        assert answer.variant == case["want"]
    else:
        assert "RuleNotApplyError" in case["wantErr"]["$func"]
        assert answer.error_details == "there is no default rule"


# Numbers that are in its tests, and not in its tables

NUMBERED = {
    1: "u-890",
    5: "u-75292",
    12_499: "u-21725",
    12_500: "u-314611",
    24_999: "u-66621",
    25_000: "u-133830",
    99_999: "u-70914",
}
"""Units of the flag `rollout`, by the number of 100,000 that they are."""


@pytest.mark.parametrize(
    ("seconds", "number", "variation"),
    [
        (-2, 1, "A"),
        (-2, 99_999, "A"),
        (0, 5, "B"),
        (0, 12_499, "B"),
        (0, 12_500, "A"),
        (1, 24_999, "B"),
        (1, 25_000, "A"),
        (5, 24_999, "B"),
        (5, 25_000, "A"),
    ],
)
def test_progressive_rollouts(seconds: int, number: int, variation: str) -> None:
    """Nobody before, then from 0 % to 25 % in two seconds, by whole ones, and 25 % for ever."""
    edges = {
        "initial": {"variation": "A", "percentage": 0, "date": as_json({"$now": -1})},
        "end": {"variation": "B", "percentage": 25, "date": as_json({"$now": 1})},
    }
    definition = rule_alone({"progressiveRollout": edges}, default=True)
    assert fnv1a(f"rollout{NUMBERED[number]}") % 100_000 == number
    translation = DIALECT.translate("rollout", definition, {}, True)
    answer = compile_translations({"rollout": translation}).evaluate(
        "rollout", {"targetingKey": NUMBERED[number]}, NOW_MS + seconds * 1_000
    )
    assert answer.variant == variation


def fnv1a(text: str) -> int:
    """Return the hash of GO Feature Flag, written down once more."""
    found = 2_166_136_261
    for byte in text.encode():
        found = (found ^ byte) * 16_777_619 % 2**32
    return found


@pytest.mark.parametrize(
    ("text", "size", "number"),
    [
        ("flagNameUserKey", 2**32, 3_946_001_934),
        ("my-flag" + "e56f628e-9817-498f-ae38-4961e9c2bb21", 100_000, 70_272),
        ("e56f628e-9817-498f-ae38-4961e9c2bb21", 100_000, 74_237),
        ("", 100_000, 36_261),
    ],
)
def test_hashes(text: str, size: int, number: int) -> None:
    """Numbers that GO Feature Flag's own tests have."""
    assert HASHES["fnv1a_32"](text.encode(), 0) % size == fnv1a(text) % size == number


def test_the_hash_of_no_shares() -> None:
    """Of no numbers, everybody has the first, which is nobody's."""
    rule = {"percentage": {"A": 0, "B": 0}}
    user = {"targetingKey": "u-1", "attributes": {}}
    answer = evaluate(rule_alone(rule, default=True), "my-flag", user)
    assert (answer.error_code, answer.metadata) == ("GENERAL", {"sourceError": "FLAG_CONFIG"})


# OFREP over HTTP

RELAY = GOFF / "cmd/relayproxy/testdata"

AGREED = [
    ("bulk", None, "valid_request", "valid_response", 200),
    ("bulk without a key", None, "no_targeting_key_context", "no_targeting_key_context", 200),
    ("bulk, malformed", None, "invalid_context", "invalid_context", 400),
    ("single", "number-flag", "valid_request", "valid_evaluation", 200),
    ("single, malformed", "number-flag", "invalid_context", "invalid_context_with_key", 400),
    (
        "single without a key",
        "number-flag",
        "no_targeting_key_context",
        "no_targeting_key_bucketing_flag",
        400,
    ),
    (
        "single without a key, none needed",
        "targeting-key-rule",
        "no_targeting_key_context",
        "no_targeting_key_static_flag",
        200,
    ),
    (
        "single without a key, shares",
        "flag-only-for-admin",
        "no_targeting_key_context",
        "percentage_flag_no_key_error",
        400,
    ),
    (
        "single, by targeting key",
        "targeting-key-rule",
        "valid_targeting_key_query_request",
        "valid_targeting_key_query_response",
        200,
    ),
]
"""Name, flag, request, response, status: what is answered as the relay does."""

OTHERWISE = {
    "responses/empty_body.json": "no body is an empty context (OFREP, item 16), not an error",
    "responses/nil_context.json": "null is an empty context (item 16), not an error",
    "responses/nil_context_with_key.json": "null is an empty context (item 16), not an error",
    "responses/no_targeting_key_context_with_key.json": (
        "a context without a key is none that is wrong (items 13 and 17); the relay's own tests "
        "no longer use this file"
    ),
    "responses/not_found.json": "a path that ends after `flags/` is the bulk one (item 27)",
    "responses/valid_response_specify_flags.json": (
        "`gofeatureflag.flagList` is an attribute as any other: which flags are answered goes by "
        "the key of a request, not by its context"
    ),
}
"""Fixtures that are not answered so, and why."""


def served() -> Json:
    """Return the relay's flags as definitions of a snapshot."""
    document = yaml.safe_load((RELAY / "goff/config_flags.yaml").read_text(encoding="utf-8"))
    imported = DIALECT.read(document, {})
    assert len(imported.flags) == len(document) == 9
    return {
        flag.key: {
            "type": flag.type,
            "variants": flag.variants,
            "fallthrough": {"variant": flag.fallthrough},
            "salt": "unused",
            "enabled": flag.enabled,
            "metadata": flag.metadata,
            "source": {"dialect": "goff", "definition": flag.definition, "options": flag.options},
        }
        for flag in imported.flags
    }


async def ask(key: str | None, request: str) -> Reply:
    """Return what our sidecar answers to a request of the relay's."""
    path = FLAGS if key is None else f"{FLAGS}/{key}"
    body = (RELAY / "ofrep" / f"{request}.json").read_bytes()
    async with running_server(served()) as server:
        return await server.send("POST", path, body, {"Content-Type": "application/json"})


def fixture(name: str) -> Any:
    return json.loads((RELAY / "ofrep/responses" / f"{name}.json").read_bytes())


def compared(item: Json, *, bulk: bool) -> Json:
    """Return what of an answer must agree.

    The texts of errors are ours. Errors have no value, reason and variant here, and no value is
    none and not null (items 8 and 28). The relay leaves `gofeatureflag_cacheable` out of the items
    of a list, where ours are what a single evaluation answers (item 30).
    """
    if "errorCode" in item:
        return {name: item[name] for name in ("key", "errorCode") if name in item}
    kept = {name: value for name, value in item.items() if value is not None}
    if bulk:
        metadata = dict(kept.pop("metadata", {}))
        metadata.pop("gofeatureflag_cacheable", None)
        kept |= {"metadata": metadata} if metadata else {}
    return kept


@pytest.mark.parametrize(
    ("key", "request_name", "response_name", "status"),
    [row[1:] for row in AGREED],
    ids=[row[0] for row in AGREED],
)
async def test_ofrep(key: str | None, request_name: str, response_name: str, status: int) -> None:
    """Status and answers are the relay's."""
    reply = await ask(key, request_name)
    wanted = fixture(response_name)
    assert reply.status == status
    if "flags" in wanted:
        answers = {item["key"]: compared(item, bulk=True) for item in reply.json["flags"]}
        assert answers == {item["key"]: compared(item, bulk=True) for item in wanted["flags"]}
    else:
        assert compared(reply.json, bulk=False) == compared(wanted, bulk=False)


def test_every_fixture_is_either() -> None:
    """No response of the relay's is left out."""
    agreed = {f"responses/{row[3]}.json" for row in AGREED}
    files = {f"responses/{file.name}" for file in RELAY.glob("ofrep/responses/*.json")}
    assert agreed | OTHERWISE.keys() == files
    assert not agreed & OTHERWISE.keys()


@pytest.mark.parametrize("key", [None, "number-flag"])
@pytest.mark.parametrize("request_name", ["empty_body", "nil_context"])
async def test_no_context_is_an_empty_one(key: str | None, request_name: str) -> None:
    """Overridden by item 16: the answer is that of a context without a key."""
    reply, empty = await ask(key, request_name), await ask(key, "no_targeting_key_context")
    assert (reply.status, reply.json) == (empty.status, empty.json)


async def test_a_list_of_flags_in_the_context_is_an_attribute() -> None:
    """All flags are answered, and those of the list as there."""
    reply = await ask(None, "valid_request_specify_flags")
    answers = {item["key"]: compared(item, bulk=True) for item in reply.json["flags"]}
    assert len(answers) == 9
    for item in fixture("valid_response_specify_flags")["flags"]:
        assert answers[item["key"]] == compared(item, bulk=True)
