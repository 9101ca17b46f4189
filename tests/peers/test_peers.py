"""GrowthBook, LaunchDarkly and Unleash: thousands of answers, the same as their SDKs give."""

import json
from collections import Counter
from typing import Any

from msgspec import UNSET

from proxy.contract.codes import Reason
from proxy.engine.answers import Answer
from proxy.engine.dialects.growthbook import DIALECT as GROWTHBOOK
from proxy.engine.dialects.launchdarkly import DIALECT as LAUNCHDARKLY
from proxy.engine.dialects.unleash import DIALECT as UNLEASH
from tests.peers import definitions_growthbook, definitions_launchdarkly, definitions_unleash
from tests.peers.asking import Json, answers_of_sdk, drawn, imported, metadata_of

NOW_MS = 1_790_000_000_000
"""Between the dates of Unleash's constraints, as the time of the SDK is."""


def value_of(answer: Answer) -> Any:
    return None if answer.value is UNSET else answer.value


# GrowthBook


def growthbooks(answer: Answer) -> Json:
    """Return an answer as GrowthBook's SDK words it."""
    said = answer.metadata
    found: Json = {
        "value": value_of(answer),
        "source": said["sourceReason"],
        "ruleId": said.get("ruleId"),
    }
    if found["source"] == "experiment":
        weights = said.get("variationWeights")
        found["experiment"] = {
            "key": said["experimentKey"],
            "place": said["variationId"],
            "variation": said["variationKey"],
            "name": said.get("variationName"),
            "attribute": said["hashAttribute"],
            "hashUsed": said["hashUsed"],
            "sticky": said.get("stickyBucketUsed", False),
            "phase": said.get("phase"),
            "leaf": said.get("leafId"),
            "weights": weights and json.loads(weights),
        }
    return found


def test_growthbook() -> None:
    """Features, experiments by themselves, bandits, saved groups, and what requests tell."""
    asked = drawn(definitions_growthbook.document, definitions_growthbook.context, range(450), 6)
    seen: Counter[str] = Counter()
    for one, theirs in answers_of_sdk("growthbook", asked):
        compiled, known = imported(GROWTHBOOK, one.document)
        comparable = {key for key in known if not asks_refused(one.document, key, known)}
        for context, answers in zip(one.contexts, theirs, strict=True):
            for key in comparable:
                found = growthbooks(compiled.evaluate(key, context, NOW_MS))
                assert found == answers[key], (one.seed, key, context)
                seen[found["source"]] += 1
    assert set(seen) == {"defaultValue", "force", "experiment", "prerequisite"}
    assert min(seen.values()) > 100, seen
    assert seen.total() > 10_000


def asks_refused(document: Json, key: str, known: set[str]) -> bool:
    """Return whether a feature asks one, through others too, that cannot be imported."""
    asked = [
        parent["id"]
        for part in (document["features"][key], *document["features"][key].get("rules", ()))
        for parent in part.get("parentConditions", ())
        if parent["id"] in document["features"]
    ]
    return any(one not in known or asks_refused(document, one, known) for one in asked)


# LaunchDarkly


def launchdarklys(answer: Answer) -> Json:
    """Return an answer as LaunchDarkly's SDK words it."""
    said = answer.metadata
    members = ("ruleIndex", "ruleId", "inExperiment", "prerequisiteKey", "errorKind")
    reason = {"kind": said["sourceReason"], **{m: said[m] for m in members if m in said}}
    return {"value": value_of(answer), "reason": reason} | (
        {} if value_of(answer) is None else {"index": int(answer.variant or "-1")}
    )


def of_launchdarkly(answer: Json) -> Json:
    """Return an answer without what says nothing, and the status of a store that there is not."""
    reason = {name: said for name, said in answer["reason"].items() if said not in (None, "")}
    reason.pop("bigSegmentsStatus", None)
    return {"value": answer["value"], "reason": reason} | (
        {} if answer["value"] is None else {"index": answer["index"]}
    )


def test_launchdarkly() -> None:
    """Flags and segments, of contexts of one kind, of several, and of older users."""
    draw = definitions_launchdarkly
    seen: Counter[str] = Counter()
    for one, theirs in answers_of_sdk(
        "launchdarkly", drawn(draw.document, draw.context, range(500), 6)
    ):
        compiled, known = imported(LAUNCHDARKLY, one.document)
        assert known == set(one.document["flags"])
        for context, answers in zip(one.contexts, theirs, strict=True):
            for key, wanted in answers.items():
                found = launchdarklys(compiled.evaluate(key, context, NOW_MS))
                assert found == of_launchdarkly(wanted), (one.seed, key, context)
                seen[found["reason"]["kind"]] += 1
                seen["in an experiment"] += found["reason"].get("inExperiment", False)
    assert set(seen) == {
        *("OFF", "TARGET_MATCH", "RULE_MATCH", "FALLTHROUGH", "PREREQUISITE_FAILED", "ERROR"),
        "in an experiment",
    }
    assert min(seen.values()) > 100, seen
    assert seen.total() > 10_000


# Unleash


def unleashs(answer: Answer) -> list[Any]:
    """Return an answer as Unleash's SDK words it, to `isEnabled` and to `getVariant`."""
    said = metadata_of(answer)
    payload = None
    if "payload" in said:
        payload = {"type": said["payloadType"], "value": said["payload"]}
    variant = {
        "enabled": "variant" in said,
        "name": said.get("variant", "disabled"),
        "payload": payload,
    }
    return [answer.value, variant]


def test_unleash() -> None:
    """Toggles, segments and parents. What is drawn at random there is not compared."""
    draw = definitions_unleash
    seen: Counter[str] = Counter()
    for one, theirs in answers_of_sdk("unleash", drawn(draw.document, draw.context, range(600), 6)):
        compiled, known = imported(UNLEASH, one.document, companions=False)
        assert known == {toggle["name"] for toggle in one.document["features"]}
        for context, answers in zip(one.contexts, theirs, strict=True):
            by_chance: set[str] = set()
            for toggle in one.document["features"]:
                key = toggle["name"]
                answer = compiled.evaluate(key, context, NOW_MS)
                found, wanted = unleashs(answer), answers[key]
                if answer.value is True and answer.reason == Reason.DEFAULT:
                    by_chance.add(key)  # of several variants one, by what the context has not
                    found[1] = wanted[1]
                if not by_chance.isdisjoint(p["feature"] for p in toggle.get("dependencies", ())):
                    by_chance.add(key)
                    continue
                assert found == wanted, (one.seed, key, context)
                seen["enabled" if found[0] else "not enabled"] += 1
                seen["with a variant"] += found[1]["enabled"]
    assert min(seen.values()) > 1_000, seen
    assert seen.total() > 10_000
