"""One flag on its whole way, steps 1 to 10 of ARCHITECTURE.md, through `matrixflag dev` as it is.

Nothing is replaced: the embedded server, the control plane and the sidecar are the processes that
users run, and the client that evaluates is one that nobody here wrote.
"""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import requests
from openfeature import api as openfeature
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from proxy.contract.definitions import FlagDefinition
from proxy.contract.snapshot import Snapshot, read_snapshot
from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH
from tests.flow.dev import Dev, running_dev
from tests.support.reference import DOCS

_PATIENCE_S = 10.0
FLAG: dict[str, Any] = {
    "key": "checkout-v2",
    "type": "string",
    "track": True,
    "variants": {"old": "old checkout", "new": "new checkout"},
    "environments": {
        "production": {
            "enabled": True,
            "off_variant": "old",
            "rules": [
                {
                    "id": "germans",
                    "when": {"attribute": "country", "op": "in", "values": ["DE"]},
                    "serve": {"variant": "new"},
                }
            ],
            "fallthrough": {"variant": "old"},
        }
    },
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One `matrixflag dev` for all of this module; reports go ten times a second."""
    data_dir = tmp_path_factory.mktemp("flow") / "data"
    channels = ("EXPOSURES", "EVENTS", "USAGE")
    environ = {f"MATRIXFLAG_{channel}_INTERVAL_S": "0.1" for channel in channels}
    with running_dev(data_dir, **environ) as dev:
        yield dev


def eventually(condition: Callable[[], Any]) -> Any:
    """Return what becomes true, asking again until it is."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.005)
    return value


def test_one_flag_walks_the_whole_way(dev: Dev) -> None:
    """Defined by HTTP, evaluated by an OpenFeature client, and counted on both sides."""
    # 1 define
    created = dev.api("POST", "/api/v1/flags/", json=FLAG)
    assert created.status_code == 201, created.text

    # 2 validate: what makes no sense is refused, all of it at once, and changes nothing
    wrong = {
        **FLAG,
        "environments": {
            "production": {
                **FLAG["environments"]["production"],
                "off_variant": "nope",
                "fallthrough": {
                    "rollout": {
                        "arms": [{"variant": "old", "weight": 1}, {"variant": "new", "weight": 2}]
                    }
                },
            }
        },
    }
    refused = dev.api("PUT", "/api/v1/flags/checkout-v2", json=wrong)
    assert refused.status_code == 422
    codes = {problem["code"] for problem in refused.json()["problems"]}
    assert codes >= {"unknown_variant", "weights_sum"}

    # 3 compile, 4 snapshot: a line of the environment's snapshot, under a digest that holds
    snapshot = snapshot_of(dev)
    entry = snapshot.entries["flag", "checkout-v2"]
    definition = msgspec.json.decode(entry.definition, type=FlagDefinition)
    assert definition.variants == FLAG["variants"]

    # 5 publish: sidecars are told
    url = dev.document["control_plane_url"] + STREAM_PATH
    with requests.get(url, headers=sidecar_key(dev), stream=True, timeout=10) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert next(lines).startswith("retry: ")
        assert next(lines) == ""
        assert next(lines) == "event: snapshot"
        assert next(lines) == f"id: {snapshot.header.epoch}-{snapshot.header.revision}"

    # 6 receive, 7 swap: the sidecar serves exactly this content
    eventually(lambda: standing(dev)["snapshot"]["digest"] == snapshot.header.digest)
    assert standing(dev)["snapshot"]["source"] == "control-plane"
    assert standing(dev)["sync"]["state"] == "streaming"

    # 8 evaluate, 9 respond: over OFREP, by the published provider
    openfeature.set_provider(OFREPProvider(dev.document["sidecar_url"]))
    client = openfeature.get_client()
    german = client.get_string_details(
        "checkout-v2", "default", EvaluationContext("user-1", {"country": "DE"})
    )
    assert (german.value, german.variant, german.reason) == (
        "new checkout",
        "new",
        "TARGETING_MATCH",
    )
    assert german.flag_metadata["ruleId"] == "germans"
    french = client.get_string_details(
        "checkout-v2", "default", EvaluationContext("user-2", {"country": "FR"})
    )
    assert (french.value, french.variant, french.reason) == ("old checkout", "old", "DEFAULT")

    # counted, at both ends
    counted = [
        (name, value)
        for name, value in dev.metrics(dev.document["admin_url"]).items()
        if name.startswith("matrixflag_evaluations_total") and 'flag="checkout-v2"' in name
    ]
    assert sorted(value for _, value in counted if value) == [1, 1]
    published = dev.metrics(dev.document["metrics_url"])
    labels = '{environment="production",project="default"}'
    assert published["matrixflag_published_revision" + labels] == snapshot.header.revision
    assert published["matrixflag_connected_sidecars" + labels] == 1

    # 10 expose, 11 count: each unit once
    summary = eventually(lambda: exposures(dev, "checkout-v2"))
    assert (summary["variants"], summary["several"]) == ({"new": 1, "old": 1}, 0)


def test_the_examples_of_reporting_run_as_they_stand(dev: Dev) -> None:
    """What a sidecar is told, pasted from the page; and it is counted at the control plane."""
    variants = {"on": True, "off": False}
    flag = {"key": "checkout", "type": "boolean", "track": True, "variants": variants}
    production = {"production": {"enabled": True, "fallthrough": {"variant": "on"}}}
    created = dev.api("POST", "/api/v1/flags/", json={**flag, "environments": production})
    assert created.status_code == 201, created.text
    eventually(lambda: dev.evaluate("checkout").get("value") is True)
    page = (DOCS / "reporting.md").read_text()
    examples = re.findall(r"```sh\n(.*?)\n# ([^\n]*)\n```", page, re.DOTALL)
    for line, answer in examples:
        assert (
            dev.paste(line.replace("http://", "").replace("localhost:8016", sidecar(dev))) == answer
        )
    assert len(examples) == 2
    eventually(lambda: events(dev, "purchase")["count"] == 1)
    assert events(dev, "purchase")["sum"] == 49.9
    usage = "/api/v1/usage?flag=checkout"
    eventually(lambda: dev.api("GET", usage).json()["items"][0]["last_evaluated_at"])


def test_a_put_changes_the_answer(dev: Dev) -> None:
    """The mission's body, changed as it was made."""
    flag = {"key": "banner", "type": "boolean", "value": True, "enabled": True}
    assert dev.api("POST", "/api/v1/flags/", json=flag).status_code == 201
    eventually(lambda: dev.evaluate("banner").get("value") is True)
    assert dev.api("PUT", "/api/v1/flags/banner", json={**flag, "value": False}).ok
    eventually(lambda: dev.evaluate("banner").get("value") is False)
    assert dev.api("PUT", "/api/v1/flags/banner", json={**flag, "enabled": False}).ok
    eventually(lambda: dev.evaluate("banner").get("reason") == "DISABLED")
    assert dev.api("DELETE", "/api/v1/flags/banner").status_code == 204
    eventually(lambda: dev.evaluate("banner").get("errorCode") == "FLAG_NOT_FOUND")


def test_an_unchanged_put_publishes_nothing(dev: Dev) -> None:
    """What was read can be sent back; sidecars hear nothing of it."""
    flag = {"key": "same", "type": "string", "value": "x", "enabled": True}
    dev.api("POST", "/api/v1/flags/", json=flag)
    read = dev.api("GET", "/api/v1/flags/same").json()
    before = snapshot_of(dev).header
    assert dev.api("PUT", "/api/v1/flags/same", json=read).ok
    assert snapshot_of(dev).header == before


def test_the_missions_example_runs_as_it_stands(dev: Dev) -> None:
    """POST with the simplest body, read it back, use it; no credential, a trailing slash."""
    base = dev.document["control_plane_url"].replace("127.0.0.1", "localhost")
    created = requests.post(
        f"{base}/api/v1/flags/",
        json={
            "key": "new-feature",
            "name": "New feature",
            "description": "Turns the new feature on",
            "type": "boolean",
            "value": True,
            "enabled": True,
        },
        timeout=10,
    )
    assert created.status_code == 201
    flag = requests.get(f"{base}/api/v1/flags/new-feature", timeout=10).json()
    assert flag["enabled"]
    assert flag["value"]


def sidecar(dev: Dev) -> str:
    """Return where the sidecar answers."""
    url: str = dev.document["sidecar_url"]
    return url.removeprefix("http://")


def events(dev: Dev, name: str) -> Any:
    """Return what is counted of events."""
    return dev.api("GET", f"/api/v1/events/summary?name={name}").json()


def sidecar_key(dev: Dev) -> dict[str, str]:
    return {"Authorization": f"Bearer {dev.document['sidecar_key']}"}


def snapshot_of(dev: Dev) -> Snapshot:
    """Return production's snapshot, read as a sidecar reads it: every digest checked."""
    url = dev.document["control_plane_url"] + SNAPSHOT_PATH
    reading = read_snapshot(requests.get(url, headers=sidecar_key(dev), timeout=10).content)
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            snapshot: Snapshot = stop.value
            return snapshot


def standing(dev: Dev) -> Any:
    """Return what the sidecar says of itself."""
    return requests.get(dev.document["admin_url"] + "/statusz", timeout=10).json()


def exposures(dev: Dev, flag: str) -> Any:
    """Return what is counted of a flag once two units are, before that nothing."""
    answer = dev.api("GET", f"/api/v1/exposures/summary?flag={flag}").json()
    return answer if answer["units"] == 2 else None
