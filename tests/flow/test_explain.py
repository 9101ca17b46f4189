"""Three doors to one answer: a sidecar, the control plane and the command line say the same.

Everything is real: what a sidecar explains is what it serves over OFREP, what the control plane
says beforehand of a draft is what sidecars answer once it is saved, and a snapshot in a file gives
the command line all that they have.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from proxy.contract.sync import SNAPSHOT_PATH
from tests.flow.dev import Dev, running_dev
from tests.flow.test_flow import eventually, sidecar_key, snapshot_of, standing
from tests.support.reference import DOCS

_ANSWER = re.compile(r"The answer is `\{(.*?)\}`")
RAMP = {"ruleId": "ramp"}
AT = "2026-12-03T09:00:00Z"
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"targetingKey": "vip"},
    {"targetingKey": "u-1", "country": "DE", "app": {"version": "2.3.1"}},
    {"targetingKey": "u-2", "country": "DE", "plan": "beta"},
    {"targetingKey": "u-2", "plan": "pro", "account": 42},
    {"targetingKey": "u-2", "plan": "pro"},
    {"targetingKey": "ä", "country": ["DE"]},
]
SEGMENT = {
    "key": "beta",
    "included": ["u-1"],
    "when": {"attribute": "plan", "op": "equals", "values": ["beta"]},
}
PAYMENTS = {"key": "payments-api", "type": "string", "value": "v2", "enabled": True}
CHECKOUT: dict[str, Any] = {
    "key": "team/checkout",
    "type": "boolean",
    "track": True,
    "variants": {"on": True, "off": False},
    "environments": {
        "production": {
            "enabled": True,
            "salt": "f3b1",
            "off_variant": "off",
            "prerequisites": [{"flag": "payments-api", "variants": ["default"]}],
            "targets": [{"variant": "on", "units": ["vip"]}],
            "rules": [
                {
                    "id": "beta-eu",
                    "when": {
                        "all": [
                            {"attribute": "country", "op": "in", "values": ["DE", "FR"]},
                            {
                                "any": [
                                    {"segment": "beta"},
                                    {
                                        "attribute": "app.version",
                                        "op": "semver_gte",
                                        "values": ["2.3.0"],
                                    },
                                ]
                            },
                        ]
                    },
                    "active": {"from": "2026-01-01T00:00:00Z"},
                    "serve": {"variant": "on"},
                },
                {
                    "id": "pro",
                    "when": {"attribute": "plan", "op": "equals", "values": ["pro"]},
                    "serve": {
                        "rollout": {
                            "by": "account",
                            "arms": [
                                {"variant": "on", "weight": 25_000},
                                {"variant": "off", "weight": 75_000},
                            ],
                        }
                    },
                },
                {
                    "id": "ramp",
                    "when": {"all": []},
                    "serve": {
                        "ramp": {
                            "variant": "on",
                            "else": "off",
                            "start": "2026-12-01T00:00:00Z",
                            "end": "2026-12-08T00:00:00Z",
                        }
                    },
                },
            ],
            "fallthrough": {"variant": "off"},
        }
    },
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One `matrixflag dev`, with a flag that has something of everything."""
    with running_dev(tmp_path_factory.mktemp("explain") / "data") as dev:
        for path, document in (("segments", SEGMENT), ("flags", PAYMENTS)):
            assert dev.api("POST", f"/api/v1/{path}", json=document).status_code == 201
        yield dev


def from_control_plane(dev: Dev, **body: Any) -> Any:
    """Return what the control plane says."""
    reply = dev.api("POST", "/api/v1/evaluate/team/checkout", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def from_sidecar(dev: Dev, **body: Any) -> Any:
    """Return what the sidecar says."""
    url = dev.document["admin_url"] + "/explain/team/checkout"
    reply = requests.post(url, json=body, timeout=10)
    assert reply.status_code == 200, reply.text
    return reply.json()


def from_command(path: Path, context: dict[str, Any]) -> Any:
    """Return what the command says of a snapshot."""
    command = [sys.executable, "-m", "proxy", "evaluate", "--snapshot", str(path), "--at", AT]
    command += ["--flag", "team/checkout", "--context", "-", "--explain", "--format", "json"]
    done = subprocess.run(
        command, input=json.dumps(context), capture_output=True, text=True, timeout=60, check=False
    )
    return json.loads(done.stdout)


def test_three_doors_say_the_same(dev: Dev, tmp_path: Path) -> None:
    """A draft before it is saved, what is stored, the sidecar, and a snapshot in a file."""
    drafts = [from_control_plane(dev, definition=CHECKOUT, context=c, at=AT) for c in CONTEXTS]
    assert dev.api("POST", "/api/v1/flags", json=CHECKOUT).status_code == 201
    digest = snapshot_of(dev).header.digest
    eventually(lambda: standing(dev)["snapshot"]["digest"] == digest)
    path = tmp_path / "snapshot.ndjson"
    url = dev.document["control_plane_url"] + SNAPSHOT_PATH
    path.write_bytes(requests.get(url, headers=sidecar_key(dev), timeout=10).content)
    decided = set()
    for context, draft in zip(CONTEXTS, drafts, strict=True):
        stored = from_control_plane(dev, context=context, at=AT)
        assert stored["explanation"] == draft["explanation"], context
        assert from_sidecar(dev, context=context, at=AT) == stored["explanation"], context
        assert from_command(path, context) == stored["explanation"], context
        decided.add(stored["explanation"]["because"])
    assert len(decided) > 4, "the contexts take different ways"


def test_what_is_explained_is_what_is_served(dev: Dev) -> None:
    """Over OFREP; and explaining counts as no evaluation, nor as an exposure."""
    eventually(lambda: dev.evaluate("team/checkout", targetingKey="vip").get("variant") == "on")

    def counted() -> dict[str, float]:
        metrics = dev.metrics(dev.document["admin_url"])
        names = ("matrixflag_evaluations_total", "matrixflag_exposures_received_total")
        return {name: value for name, value in metrics.items() if name.startswith(names)}

    # what the ramp decides moves from moment to moment
    named = (dict(c, targetingKey=c.get("targetingKey", "u-1")) for c in CONTEXTS)
    still = [c for c in named if dev.evaluate("team/checkout", **c).get("metadata") != RAMP]
    assert len(still) > 3
    served = [dev.evaluate("team/checkout", **context) for context in still]
    before = counted()
    for context, answer in zip(still, served, strict=True):
        assert from_sidecar(dev, context=context)["result"] == answer
        assert from_control_plane(dev, context=context)["result"] == answer
    assert counted() == before
    assert before


def test_the_requests_of_the_page_work(dev: Dev) -> None:
    """Pasted as they stand, but for the ports; with the flag of the page."""
    page = (DOCS / "explain.md").read_text()
    match = re.search(r"<!-- flags.json -->\n```json\n(.*?)```", page, re.DOTALL)
    assert match is not None
    flag = next(f for f in json.loads(match[1])["flags"] if f["key"] == "checkout")
    created = dev.api("POST", "/api/v1/flags", json=flag)
    assert created.status_code == 201, created.text
    digest = snapshot_of(dev).header.digest
    eventually(lambda: standing(dev)["snapshot"]["digest"] == digest)
    blocks = re.findall(r"^```sh\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    sent = re.findall(r"^curl(?:[^\n]*\\\n)*[^\n]*", "".join(blocks), re.MULTILINE)
    assert len(sent) == 4
    for name, port in (("control_plane_url", 8000), ("admin_url", 8014)):
        sent = [line.replace(f"localhost:{port}", dev.document[name]) for line in sent]
    text, *answers = [dev.paste(line) for line in sent]
    assert text.startswith("checkout\n  value ")
    assert "rule beta-eu" in text
    stored, draft, before = map(json.loads, answers)
    assert set(stored) == {
        *_ANSWER.findall(page.replace("\n", " "))[0].replace('"', "").split(", ")
    }
    assert draft["result"]["reason"] == "DISABLED"
    assert (before["version"], before["result"]["key"]) == (1, "checkout")
