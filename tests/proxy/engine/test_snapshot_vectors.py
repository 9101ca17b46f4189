"""Snapshots of every version of the format are read, and mean what they meant when it was new."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.contract.definitions import (
    Arm,
    Condition,
    FlagDefinition,
    KeyDefinition,
    Prerequisite,
    Ramp,
    Rollout,
    Rule,
    SegmentDefinition,
    Serve,
    Source,
    Target,
    UnitList,
    UnitLists,
    Window,
)
from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import SCHEMA, SnapshotRefused, read_entry, read_snapshot
from proxy.contract.steps import finish
from proxy.engine import CompiledSnapshot, compile_snapshot, evaluate
from proxy.engine.operators import OPERATORS
from proxy.holder import Holder
from tests.proxy.engine import reference
from tests.vectors.make_snapshots import BLOBS, CONTENT, DIRECTORY, body_of

VERSIONS = sorted(path.stem for path in DIRECTORY.glob("*.ndjson"))

Case = tuple[str, dict[str, Any], int, int, dict[str, Any]]


def file(version: str) -> Path:
    """Return the snapshot of a version."""
    return DIRECTORY / f"{version}.ndjson"


def cases(version: str) -> list[Case]:
    """Return what its flags answer: flag, context, time, status, body."""
    loaded: list[Case] = json.loads(file(version).with_suffix(".json").read_text())["cases"]
    return loaded


def blobs(version: str) -> dict[str, bytes]:
    """Return the blobs of its lists of units."""
    held = json.loads(file(version).with_suffix(".json").read_text())["blobs"]
    return {digest: bytes.fromhex(blob) for digest, blob in held.items()}


def compiled(version: str, body: bytes | None = None) -> CompiledSnapshot:
    """Return the compiled snapshot of a version, or of another body with its blobs."""
    snapshot = finish(read_snapshot(file(version).read_bytes() if body is None else body))
    return finish(compile_snapshot(snapshot.entries, None, blobs(version)))


def told(snapshot: CompiledSnapshot, case: Case) -> tuple[int, dict[str, Any]]:
    """Return status and body of what a flag answers now, without details."""
    key, context, now_ms, _, _ = case
    answer = evaluate(snapshot, key, context, now_ms)
    body = json.loads(answer.body)
    body.pop("errorDetails", None)
    return answer.status, body


def test_there_is_a_snapshot_of_the_newest_version() -> None:
    """And of all before it; `CONTRIBUTING.md` says how to add one."""
    assert SCHEMA in VERSIONS
    assert sorted(CONTENT) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_snapshot_means_what_it_meant(version: str) -> None:
    """Nothing is quarantined, and every answer is the same to the type of its numbers."""
    snapshot = compiled(version)
    assert snapshot.quarantined == {}
    assert len(cases(version)) > 200
    for case in cases(version):
        status, body = told(snapshot, case)
        assert (status, repr(body)) == (case[3], repr(case[4])), case[:3]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_vectors_are_what_the_model_says(version: str) -> None:
    """The reference evaluator agrees; long lists of units it is told as short ones."""
    content = CONTENT[version]
    named = {key: shortened(segment) for key, segment in content["segment"].items()}
    flags = content["flag"]
    for key, context, now_ms, status, body in cases(version):
        if "source" in flags[key]:
            continue  # as its system would, which tests of each system's own see to
        expected = reference.evaluate(key, flags[key], named, context, now_ms, flags)
        assert (status, body) == expected, (key, context, now_ms)


def shortened(segment: dict[str, Any]) -> dict[str, Any]:
    """Return a segment with the units of its long lists in its short ones."""
    units = segment.get("units", {})
    return {**segment, **{name: ["u-1", "ä", "long-1"] for name in units}}


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_writes_the_vectors_of_a_version_again(version: str) -> None:
    """Lines, digest and blobs are those of the first day."""
    assert file(version).read_bytes() == body_of(version, CONTENT[version])
    assert blobs(version) == BLOBS.get(version, {})


STRUCTS = (Arm, Condition, FlagDefinition, KeyDefinition, Prerequisite, Ramp, Rollout, Rule)
STRUCTS += (SegmentDefinition, Serve, Source, Target, UnitList, UnitLists, Window)


def test_every_member_and_operator_of_the_newest_version_is_in_its_snapshot() -> None:
    """What is added to the format is added to it."""
    text = file(SCHEMA).read_text()
    for operator in OPERATORS:
        assert f'"op":"{operator}"' in text, operator
    for struct in STRUCTS:
        for member in struct.__struct_encode_fields__:
            assert f'"{member}":' in text, (struct, member)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_snapshot_of_a_newer_minor_version_is_served(version: str) -> None:
    """Whatever its header says besides."""
    header, rest = file(version).read_bytes().split(b"\n", 1)
    newer = {**json.loads(header), "schema": "1.999", "region": {"name": "eu"}}
    body = json.dumps(newer).encode() + b"\n" + rest
    holder = Holder()
    served = await holder.offer(body, "file", blobs=None)
    assert served.header.schema == "1.999"
    for case in cases(version)[:50]:
        assert told(served.compiled, case) == (case[3], case[4])


UNKNOWN = {
    "a member of a flag": ({"schedule": []}, {}),
    "an operator": ({}, {"attribute": "n", "op": "sounds_like", "values": ["x"]}),
    "a member of a leaf": ({}, {"attribute": "n", "op": "in", "values": [1], "unless": 1}),
    "a kind of condition": ({}, {"xor": []}),
    "a kind of serving": ({"fallthrough": {"bandit": {}}}, {}),
}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_what_a_newer_version_says_quarantines_the_flag_that_says_it(unknown: str) -> None:
    """That one alone; all others mean what they mean."""
    members, when = UNKNOWN[unknown]
    content = CONTENT[SCHEMA]
    flag = {**content["flag"]["first-match"], **members}
    if when:
        flag["rules"] = [*flag["rules"], {"when": when, "serve": {"variant": "on"}}]
    newer = {**content, "flag": {**content["flag"], "newer": flag}}
    snapshot = compiled(SCHEMA, body_of("1.2", newer))
    assert set(snapshot.quarantined) == {"newer"}
    for case in cases(SCHEMA):
        assert told(snapshot, case) == (case[3], case[4])


@pytest.mark.parametrize("schema", ["2.0", "0.9", "2", "11.0", "", "x", "1,1"])
async def test_another_major_version_is_refused_and_the_last_good_one_stays(schema: str) -> None:
    """It is counted, and what was served is served on."""
    body = file("1.0").read_bytes()
    holder = Holder()
    good = await holder.offer(body, "file")
    with pytest.raises(SnapshotRefused) as refused:
        await holder.offer(body_of(schema, CONTENT["1.0"]), "control-plane")
    assert refused.value.reason == "schema"
    assert holder.refusals == {"schema": 1}
    assert holder.served is good
    case = cases("1.0")[0]
    assert told(good.compiled, case) == (case[3], case[4])


def test_the_lines_of_a_snapshot_have_the_digest_of_its_header() -> None:
    """Computed line by line, as another program would."""
    for version in VERSIONS:
        header, *lines = file(version).read_bytes().splitlines()
        digest = SnapshotDigest()
        for line in lines:
            entry = read_entry(line)
            digest.put(entry.kind, entry.key, line)
        assert digest.hexdigest() == json.loads(header)["digest"]
