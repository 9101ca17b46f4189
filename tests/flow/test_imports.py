"""Other systems' suites on the whole way: imported over HTTP, published, answered by a sidecar.

The suites' own tests hold translators to their cases. Here the same files go through a running
control plane, and a slice of the same questions is put to a real sidecar over OFREP.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml
from msgspec import UNSET

from tests.conformance import test_flagd as flagd
from tests.conformance import test_goff as goff
from tests.conformance import test_growthbook as growthbook
from tests.conformance import test_launchdarkly as launchdarkly
from tests.conformance import test_unleash as unleash
from tests.flow.dev import Dev, running_dev
from tests.flow.test_flow import eventually, snapshot_of, standing

_LD_FILES = 25
_GROWTHBOOK_CASES = 40


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One `matrixflag dev` for all systems."""
    with running_dev(tmp_path_factory.mktemp("imports") / "data") as dev:
        yield dev


@pytest.fixture
def dev(running: Dev) -> Dev:
    """The same, without flags and segments."""
    clear(running)
    return running


def clear(dev: Dev) -> None:
    """Delete all flags and segments."""
    for kind in ("flags", "segments"):
        while items := dev.api("GET", f"/api/v1/{kind}?limit=500").json()["items"]:
            for item in items:
                path = f"/api/v1/{kind}/{quote(item['key'], safe='')}?force=true"
                assert dev.api("DELETE", path).status_code == 204


def bring(dev: Dev, system: str, document: Any, **options: Any) -> Any:
    """Import a file, wait until the sidecar serves it, and return the plan."""
    body = {"system": system, "document": document, "options": options}
    reply = dev.api("POST", "/api/v1/import", json=body)
    assert reply.status_code == 200, reply.text
    served(dev)
    return reply.json()


def served(dev: Dev) -> None:
    """Wait until the sidecar has what the control plane publishes."""
    digest = snapshot_of(dev).header.digest
    eventually(lambda: standing(dev)["snapshot"]["digest"] == digest)


def answer(dev: Dev, key: str, context: Any) -> Any:
    """Ask the sidecar."""
    url = f"{dev.document['sidecar_url']}/ofrep/v1/evaluate/flags/{quote(key, safe='')}"
    return requests.post(url, json={"context": context}, timeout=10).json()


def test_flagd(dev: Dev) -> None:
    """The testbed's merged files: what is answered through all parts is what they mean."""
    plan = bring(dev, "flagd", flagd._merged(flagd.ALL_FLAGS))
    alone = flagd.SETS[flagd.ALL_FLAGS, "v2"]
    assert plan["refused"] == []
    contexts = [
        {},
        {"targetingKey": "jon@company.com", "email": "hans@faas.com", "customer": False},
        {"targetingKey": "some-targeting-key", "version": "2.1.0", "id": "abc", "time": 1},
        {"targetingKey": "ü", "user": {"name": "queen"}, "age": 29},
    ]
    for key in plan["created"]:
        for context in contexts:
            wanted = json.loads(alone.evaluate(key, context, time.time_ns() // 10**6).body)
            assert compared(answer(dev, key, context)) == compared(wanted), (key, context)


def compared(body: Any) -> Any:
    """Return what of an answer is told by all parts alike; the texts of errors name more."""
    return {name: body.get(name) for name in ("value", "variant", "reason", "errorCode")}


def test_unleash(dev: Dev) -> None:
    """All states of the specification, one after the other, and each `isEnabled`."""
    asked = 0
    for name in unleash.FILES:
        clear(dev)
        document = unleash.load(name)
        plan = bring(dev, "unleash", document["state"])
        assert plan["refused"] == plan["segments"]["refused"] == [], name
        for case in document.get("tests", []):
            body = answer(dev, case["toggleName"], case["context"])
            value = False if body.get("errorCode") == "FLAG_NOT_FOUND" else body.get("value")
            assert value is case["expectedResult"], (name, case)
            asked += 1
    assert asked == len(unleash.IS_ENABLED)


def test_growthbook(dev: Dev) -> None:
    """Features of the first cases, each with its own file."""
    asked = 0
    for name, given, key, expected in growthbook.CASES["feature"][:_GROWTHBOOK_CASES]:
        clear(dev)
        document = {part: given[part] for part in ("features", "savedGroups") if part in given}
        document.setdefault("features", {})
        plan = bring(dev, "growthbook", document)
        refused = {item["key"] for item in plan["refused"]}
        if key in refused:
            continue
        body = answer(dev, key, growthbook.context_of(given))
        assert growthbook.js(body.get("value")) == growthbook.js(expected["value"]), name
        asked += 1
    assert asked > _GROWTHBOOK_CASES * 3 // 4


def test_launchdarkly(dev: Dev) -> None:
    """Suites of the server side: value and variation, with segments and prerequisites."""
    asked = 0
    files: dict[str, list[launchdarkly.Case]] = {}
    for case in launchdarkly.SERVER:
        files.setdefault(case.data, []).append(case)
    step = max(1, len(files) // _LD_FILES)
    for data in list(files)[::step]:
        clear(dev)
        plan = bring(dev, "launchdarkly", json.loads(data))
        refused = {item["key"] for item in plan["refused"]}
        for case in files[data]:
            key, context = case.evaluation["flagKey"], case.evaluation["context"]
            wanted = launchdarkly.compiled(data).evaluate(key, context)
            if key in refused or wanted.value is UNSET:
                continue
            body = answer(dev, key, context)
            assert launchdarkly.same_json(body["value"], wanted.value), case.id
            assert body["variant"] == wanted.variant, case.id
            asked += 1
    assert asked > 50


def test_goff_by_the_command_line(dev: Dev) -> None:
    """The relay's own file, in YAML; then the same file changes nothing."""
    file = goff.RELAY / "goff/config_flags.yaml"
    command = [sys.executable, "-m", "proxy", "import", "goff", str(file), "--format", "json"]
    command += ["--url", dev.document["control_plane_url"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert json.loads(done.stdout)["created"] == sorted(document)
    served(dev)
    for row in goff.AGREED:
        _, key, request, response, status = row
        if key is None or status != 200:
            continue
        body = json.loads((goff.RELAY / "ofrep" / f"{request}.json").read_bytes())
        found = answer(dev, key, body["context"])
        wanted = goff.fixture(response)
        assert goff.compared(found, bulk=False) == goff.compared(wanted, bulk=False), row
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout)["unchanged"] == sorted(document)
