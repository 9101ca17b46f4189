"""Writes `snapshots/<schema>.ndjson` and `.json`: `python -m tests.vectors.make_snapshots`.

A snapshot with every member of a version of the format, and what its flags answer. Each was written
by the code that made this version the newest, and is never written again: what a sidecar was once
sent means the same for ever. With a new version of the format: add its members to `CONTENT` under
its name, run this once, look at what it wrote, commit it.

The second file has `blobs`, the long lists of units by their digests, in hexadecimal, and `cases`:
`[flag, context, now_ms, status, body]`. Details of errors are for people and not kept.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    SCHEMA,
    SnapshotHeader,
    encode_entry,
    encode_snapshot,
    entry_order,
    read_snapshot,
)
from proxy.contract.steps import finish
from proxy.engine import compile_snapshot

DIRECTORY = Path(__file__).with_name("snapshots")

Json = dict[str, Any]
Content = dict[str, dict[str, Json]]


def _flag(**members: Any) -> Json:
    """Return a boolean flag that is on and serves `off`."""
    return {
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "salt": "f3b1",
        "enabled": True,
        "fallthrough": {"variant": "off"},
        **members,
    }


def _when(when: Json, serve: str = "on", **members: Any) -> Json:
    return _flag(rules=[{"when": when, "serve": {"variant": serve}, "id": "r-1", **members}])


def _leaf(attribute: str, op: str, *values: Any, **members: Any) -> Json:
    return {"attribute": attribute, "op": op, "values": list(values), **members}


_HALVES = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]
_RANGES = [
    {"variant": "on", "weight": 10_000, "ranges": [[0, 2_500], [50_000, 57_500]]},
    {"variant": "off", "weight": 90_000, "ranges": [[2_500, 50_000], [57_500, 100_000]]},
]
_KEY = {"hash": "ab" * 32, "kind": "client", "expires_at_ms": 1_796_083_200_000}

_1_0: Content = {
    "segment": {
        "beta": {"included": ["u-1"], "excluded": ["u-2"], "when": _leaf("plan", "equals", "pro")},
        "outer": {"when": {"all": [{"segment": "beta"}, {"not": _leaf("n", "gt", 5)}]}},
        "nobody": {},
    },
    "flag": {
        "static": _flag(),
        "disabled": _flag(enabled=False, off_variant="off"),
        "disabled-without": _flag(enabled=False),
        "public": _flag(client_side=True, track=True, metadata={"team": "a", "n": 1.5, "x": True}),
        "größe/ä b": _flag(type="string", variants={"on": "ja", "off": 'nein "'}),
        "integer": _flag(type="integer", variants={"on": 2**53 - 1, "off": -1}),
        "number": _flag(type="number", variants={"on": 0.5, "off": 10}),
        "object": _flag(
            type="object", variants={"on": {}, "off": {"a": [1, 1.0, None, {"b": "ä"}]}}
        ),
        "targets": _flag(
            targets=[{"variant": "on", "units": ["u-1", "ä"]}, {"variant": "off", "units": ["u-2"]}]
        ),
        "split": _flag(fallthrough={"rollout": {"arms": _HALVES}}),
        "ranges": _flag(fallthrough={"rollout": {"arms": _RANGES, "by": "targetingKey"}}),
        "by-account": _flag(fallthrough={"rollout": {"arms": _HALVES, "by": "account"}}),
        "by-path": _flag(salt="a/ä", fallthrough={"rollout": {"arms": _HALVES, "by": "a.b[0]"}}),
        "rule-split": _flag(
            rules=[
                {"when": {"all": []}, "serve": {"rollout": {"arms": _HALVES}}, "description": "x"},
                {"when": {"all": []}, "serve": {"variant": "on"}, "id": "no unit"},
            ]
        ),
        "segments": _when({"any": [{"segment": "outer"}, {"segment": "nobody"}]}),
        "first-match": _flag(
            rules=[
                {"when": _leaf("n", "gte", 10), "serve": {"variant": "on"}, "id": "ten"},
                {"when": _leaf("n", "gte", 1), "serve": {"variant": "off"}, "id": "one"},
            ]
        ),
        "equals": _when(_leaf("plan", "equals", "pro")),
        "equals-fold": _when(_leaf("plan", "equals", "PRO", fold=True)),
        "equals-true": _when(_leaf("flag", "equals", True)),
        "not-equals": _when(_leaf("plan", "not_equals", "pro")),
        "in": _when(_leaf("n", "in", 1, "pro", False)),
        "not-in": _when(_leaf("plan", "not_in", "pro", "free")),
        "contains": _when(_leaf("plan", "contains", "r", "x")),
        "starts-with": _when(_leaf("plan", "starts_with", "pr")),
        "ends-with": _when(_leaf("plan", "ends_with", "O", fold=True)),
        "exists": _when({"attribute": "a.b", "op": "exists"}),
        "negate": _when({"attribute": "a.b", "op": "exists", "negate": True}),
        "gt": _when(_leaf("n", "gt", 1)),
        "lt": _when(_leaf("n", "lt", 1.5)),
        "lte": _when(_leaf("n", "lte", 1)),
        "any-of": _when(_leaf("tags", "any_of", "x", 1)),
        "all-of": _when(_leaf("tags", "all_of", "x", "y")),
        "none-of": _when(_leaf("tags", "none_of", "x")),
        "size-gt": _when(_leaf("tags", "size_gt", 1)),
        "size-lt": _when(_leaf("tags", "size_lt", 1)),
    },
    "key": {
        "k-1": _KEY,
        "k-2": {**_KEY, "hash": "cd" * 32, "kind": "server", "expires_at_ms": None},
    },
}

_START, _END = "2026-12-01T00:00:00Z", "2026-12-08T00:00:00Z"
_UNITS = sorted(hashlib.sha256(unit.encode()).digest()[:12] for unit in ("u-1", "ä", "long-1"))
_BLOB = b"".join(_UNITS)
_BLOB_DIGEST = hashlib.sha256(_BLOB).hexdigest()
_RAMP = {"variant": "on", "else": "off", "start": _START, "end": _END}

_NEW_IN_1_1: Content = {
    "segment": {
        "long": {"units": {"included": {"count": 3, "blobs": [_BLOB_DIGEST]}}},
        "not-long": {
            "when": {"all": []},
            "units": {"excluded": {"count": 3, "blobs": [_BLOB_DIGEST]}},
        },
        "weekend": {"when": {"op": "weekday", "values": ["sat", "sun"], "zone": "Europe/Berlin"}},
    },
    "flag": {
        "asks": _flag(
            off_variant="off",
            fallthrough={"variant": "on"},
            prerequisites=[{"flag": "split", "variants": ["on"]}],
        ),
        "asks-two": _flag(
            fallthrough={"variant": "on"},
            prerequisites=[
                {"flag": "public", "variants": ["off"]},
                {"flag": "asks", "variants": ["on", "other"]},
            ],
        ),
        "asks-missing": _flag(
            off_variant="on", prerequisites=[{"flag": "gone", "variants": ["on"]}]
        ),
        "window": _when({"all": []}, active={"from": _START, "until": _END}),
        "window-open": _when({"all": []}, active={"from": "2026-12-01T01:00:00.5+01:00"}),
        "window-null": _when(_leaf("n", "gt", 0), active={"from": None, "until": None}),
        "ramp": _flag(fallthrough={"ramp": _RAMP}),
        "ramp-rule": _flag(
            rules=[
                {
                    "when": {"all": []},
                    "serve": {"ramp": {**_RAMP, "by": "account", "from": 100_000, "to": 20_000}},
                }
            ]
        ),
        "long": _when({"segment": "long"}),
        "not-long": _when({"segment": "not-long"}),
        "weekend": _when({"segment": "weekend"}),
        "matches": _when(_leaf("plan", "matches", "^p.o$", "x+")),
        "before": _when(_leaf("at", "before", _START)),
        "after": _when(_leaf("at", "after", 1_796_083_200_000)),
        "before-now": _when({"op": "before", "values": [_START]}),
        "after-now": _when({"op": "after", "values": [_START], "negate": True}),
        "time-of-day": _when({"op": "time_of_day", "from": "22:00", "to": "06:00:30"}),
        "semver-eq": _when(_leaf("version", "semver_eq", "2.0.0+x")),
        "semver-gt": _when(_leaf("version", "semver_gt", "1.2.3-rc.1")),
        "semver-gte": _when(_leaf("version", "semver_gte", "1.2.3")),
        "semver-lt": _when(_leaf("version", "semver_lt", "1.2.3")),
        "semver-lte": _when(_leaf("version", "semver_lte", "1.2.3")),
        "semver-match": _when(_leaf("version", "semver_match", "^1.2", "~2.0.0")),
        "in-cidr": _when(_leaf("ip", "in_cidr", "10.0.0.0/8", "2001:db8::/32")),
    },
    "key": {},
}

_NEW_IN_1_2: Content = {
    "segment": {
        "unleash-1": {
            "source": {
                "dialect": "unleash",
                "definition": {
                    "id": 1,
                    "name": "some",
                    "constraints": [
                        {"contextName": "userId", "operator": "STR_CONTAINS", "values": ["u-", "ä"]}
                    ],
                },
                "options": {},
            }
        },
        "launchdarkly-some": {
            "source": {
                "dialect": "launchdarkly",
                "definition": {
                    "key": "launchdarkly-some",
                    "salt": "t",
                    "included": ["ä"],
                    "excluded": [],
                    "rules": [],
                },
                "options": {},
            }
        },
    },
    "flag": {
        "flagd-split": {
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "fallthrough": {"variant": "off"},
            "salt": "imported",
            "enabled": True,
            "source": {
                "dialect": "flagd",
                "definition": {
                    "state": "ENABLED",
                    "variants": {"on": True, "off": False},
                    "defaultVariant": "off",
                    "targeting": {
                        "if": [
                            {"sem_ver": [{"var": "version"}, ">=", "2.0.0"]},
                            "on",
                            {"fractional": [["on", 25], ["off", 75]]},
                        ]
                    },
                },
                "options": {"fractional": "v2"},
            },
        },
        "unleash-split": {
            "type": "boolean",
            "variants": {"enabled": True, "disabled": False},
            "fallthrough": {"variant": "disabled"},
            "salt": "imported",
            "enabled": True,
            "source": {
                "dialect": "unleash",
                "definition": {
                    "name": "unleash-split",
                    "enabled": True,
                    "strategies": [
                        {
                            "name": "flexibleRollout",
                            "parameters": {
                                "rollout": "60",
                                "stickiness": "default",
                                "groupId": "unleash-split",
                            },
                            "constraints": [
                                {"contextName": "plan", "operator": "NOT_IN", "values": ["free"]}
                            ],
                            "segments": [1],
                        }
                    ],
                },
                "options": {},
            },
        },
        "growthbook-split": {
            "type": "string",
            "variants": {"exp/0": "old", "exp/1": "new", "rule-2": "new", "default": "old"},
            "fallthrough": {"variant": "default"},
            "salt": "imported",
            "enabled": True,
            "source": {
                "dialect": "growthbook",
                "definition": {
                    "defaultValue": "old",
                    "rules": [
                        {
                            "condition": {"plan": {"$in": ["pro", "free"]}},
                            "key": "exp",
                            "variations": ["old", "new"],
                            "hashAttribute": "id",
                            "hashVersion": 2,
                            "coverage": 0.8,
                            "weights": [0.5, 0.5],
                        },
                        {"force": "new", "coverage": 0.1, "hashAttribute": "id"},
                    ],
                },
                "options": {},
            },
        },
        "launchdarkly-split": {
            "type": "string",
            "variants": {"0": "a", "1": "b"},
            "fallthrough": {"variant": "1"},
            "salt": "imported",
            "enabled": True,
            "source": {
                "dialect": "launchdarkly",
                "definition": {
                    "key": "launchdarkly-split",
                    "on": True,
                    "variations": ["a", "b"],
                    "salt": "s",
                    "offVariation": 0,
                    "targets": [{"variation": 1, "values": ["u-2"]}],
                    "rules": [
                        {
                            "id": "r",
                            "variation": 0,
                            "clauses": [
                                {
                                    "attribute": "",
                                    "op": "segmentMatch",
                                    "values": ["launchdarkly-some"],
                                }
                            ],
                        }
                    ],
                    "fallthrough": {
                        "rollout": {
                            "variations": [
                                {"variation": 0, "weight": 30000},
                                {"variation": 1, "weight": 70000},
                            ]
                        }
                    },
                },
                "options": {},
            },
        },
        "goff-split": {
            "type": "integer",
            "variants": {"a": 1, "b": 2},
            "fallthrough": {"variant": "b"},
            "salt": "imported",
            "enabled": True,
            "source": {
                "dialect": "goff",
                "definition": {
                    "variations": {"a": 1, "b": 2},
                    "targeting": [
                        {
                            "name": "pro",
                            "query": 'plan eq "pro" and n gt 0',
                            "percentage": {"a": 40, "b": 60},
                        }
                    ],
                    "defaultRule": {
                        "progressiveRollout": {
                            "initial": {
                                "variation": "a",
                                "percentage": 0,
                                "date": "2026-12-01T00:00:00Z",
                            },
                            "end": {
                                "variation": "b",
                                "percentage": 100,
                                "date": "2026-12-08T00:00:00Z",
                            },
                        }
                    },
                },
                "options": {},
            },
        },
    },
    "key": {},
}

_1_1 = {kind: {**_1_0[kind], **_NEW_IN_1_1[kind]} for kind in _1_0}

CONTENT: dict[str, Content] = {
    "1.0": _1_0,
    "1.1": _1_1,
    "1.2": {kind: {**_1_1[kind], **_NEW_IN_1_2[kind]} for kind in _1_0},
}

BLOBS: dict[str, dict[str, bytes]] = {version: {_BLOB_DIGEST: _BLOB} for version in ("1.1", "1.2")}

CONTEXTS: list[Json] = [
    {},
    {"targetingKey": "u-1", "plan": "pro", "n": 1, "flag": True, "tags": ["x", "y"]},
    {"targetingKey": "u-2", "plan": "PRO", "n": 10, "flag": 1, "tags": ["x"], "account": 42},
    {"targetingKey": "ä", "plan": "free", "n": 1.0, "tags": [], "a": {"b": [7]}, "account": "42"},
    {"targetingKey": "", "plan": None, "n": "1", "tags": "x", "account": 0.5, "a": {"b": None}},
    {"targetingKey": 5, "n": True, "tags": [True, 1], "a.b": 0, "account": True},
    {"targetingKey": "long-1", "at": "2026-11-30T23:59:59.9999Z", "version": "1.2.3-rc.2"},
    {"targetingKey": "u-7", "at": 1_796_083_200_001, "version": "2.0.0", "ip": "10.1.2.3"},
    {"targetingKey": "u-8", "at": "2026-12-01", "version": "1.2", "ip": "::ffff:10.0.0.1"},
    {"targetingKey": "u-9", "at": 1e300, "version": "1.10.0+b", "ip": "2001:db8::1", "account": 7},
]

TIMES = [0, 1_796_083_199_999, 1_796_083_200_000, 1_796_385_600_000, 1_796_688_000_000, 2**60]


def body_of(schema: str, content: Content) -> bytes:
    """Return the snapshot of a project."""
    named = [(kind, key, made) for kind, some in content.items() for key, made in some.items()]
    digest = SnapshotDigest()
    lines = []
    for kind, key, made in sorted(named, key=lambda entry: entry_order(entry[0], entry[1])):  # type: ignore[arg-type]  # kinds are
        lines.append(encode_entry(kind, key, made))  # type: ignore[arg-type]  # the same
        digest.put(kind, key, lines[-1])
    header = SnapshotHeader(
        schema,
        "default",
        "production",
        "epoch-of-vectors",
        7,
        digest.hexdigest(),
        len(lines),
        "2026-12-01T00:00:00Z",
    )
    return encode_snapshot(header, lines)


def main() -> None:
    """Write the vectors of the newest version of the format."""
    path = DIRECTORY / f"{SCHEMA}.ndjson"
    body = body_of(SCHEMA, CONTENT[SCHEMA])
    entries = finish(read_snapshot(body)).entries
    blobs = BLOBS.get(SCHEMA)
    compiled = finish(
        compile_snapshot(entries, None, blobs) if blobs else compile_snapshot(entries)
    )
    assert not compiled.quarantined, compiled.quarantined
    cases = []
    for key, flag in compiled.flags.items():
        seen = set()
        for context in CONTEXTS:
            for now_ms in TIMES:
                answer = flag.evaluate(context, now_ms)
                body_of_answer = json.loads(answer.body)
                body_of_answer.pop("errorDetails", None)
                if (context_id := (id(context), answer.body)) not in seen:
                    seen.add(context_id)
                    cases.append([key, context, now_ms, answer.status, body_of_answer])
    path.write_bytes(body)
    rows = ",\n".join(msgspec.json.encode(case).decode() for case in cases)
    held = json.dumps({digest: blob.hex() for digest, blob in (blobs or {}).items()})
    text = f'{{"blobs": {held},\n"cases": [\n{rows}\n]}}\n'
    path.with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
