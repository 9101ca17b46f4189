"""A project exported for flagd, and that file served by a sidecar: both answer everybody alike.

What the engine makes of exported flags is held at length in `tests/proxy/exporting`; here the file
goes the whole way, out of a control plane by the command and into a sidecar by its path.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import requests

from tests.flow.dev import Dev, running_dev
from tests.flow.test_flow import eventually, snapshot_of, standing
from tests.proxy.engine.strategies import Maker
from tests.proxy.exporting.test_flagd import _comparable, _Plain
from tests.support.processes import running_sidecar

_SEEDS = 12
_FLAGS_EACH = 3
_CONTEXTS = 40


def test_an_exported_file_answers_as_the_project_does(tmp_path: Path) -> None:
    """Value and variant of every flag in it; every other flag is told with a reason."""
    file = tmp_path / "flags.flagd.json"
    with running_dev(tmp_path / "data") as dev:
        contexts = _fill(dev)
        command = ["export", "flagd", "--environment", "production", "--output", str(file)]
        done = subprocess.run(
            [sys.executable, "-m", "proxy", *command, "--format", "json"],
            env={"PATH": "", "MATRIXFLAG_URL": dev.document["control_plane_url"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr  # something is left out
        exported = set(json.loads(file.read_text())["flags"])
        left_out = {told["key"] for told in json.loads(done.stderr) if told["left_out"]}
        digest = snapshot_of(dev).header.digest
        eventually(lambda: standing(dev)["snapshot"]["digest"] == digest)
        with running_sidecar(tmp_path, "--snapshot", file) as sidecar:
            compared = 0
            for context in contexts:
                ours = _answers(dev.document["sidecar_url"], context)
                theirs = _answers(sidecar.ofrep, context)
                assert theirs.keys() == exported
                assert ours.keys() - theirs.keys() == left_out
                for key, answer in theirs.items():
                    # who cannot be split has an error there and none here, and no value in both
                    assert answer == ours[key], (key, context)
                    compared += 1
    assert len(exported) > 20
    assert left_out
    assert compared > 500


def _fill(dev: Dev) -> list[bytes]:
    """Make random flags and segments; return contexts that they look into."""
    contexts = []
    for seed in range(_SEEDS):
        draw = (_Plain if seed % 4 else Maker)(seed, 3)
        for key, segment in draw.segments().items():
            body = {"key": f"s{seed}-{key}", **_renamed(segment, seed)}
            assert dev.api("POST", "/api/v1/segments", json=body).status_code == 201
        for number in range(_FLAGS_EACH):
            made = _renamed(draw.definition(), seed)
            names = ("type", "variants", "metadata")
            flag = {name: made.pop(name) for name in names if name in made}
            flag |= {"key": f"f{seed}-{number}", "environments": {"production": made}}
            made["salt"] = f"salt-{seed}-{number}"
            for name in ("client_side", "track"):
                made.pop(name, None)
            reply = dev.api("POST", "/api/v1/flags", json=flag)
            assert reply.status_code == 201, reply.text
        for _ in range(_CONTEXTS // _SEEDS + 1):
            context = draw.context()
            try:
                body = json.dumps({"context": context}, allow_nan=False).encode()
                orjson.loads(body)
            except ValueError:
                continue  # no JSON that a client can send
            if _comparable(context):
                contexts.append(body)
    return contexts


def _renamed(document: Any, seed: int) -> Any:
    """Return a definition with the names of segments that are its own."""
    return json.loads(json.dumps(document).replace('"segment": "', f'"segment": "s{seed}-'))


def _answers(url: str, body: bytes) -> dict[str, tuple[Any, str]]:
    """Return value and variant of all flags; an error is as no value."""
    headers = {"Content-Type": "application/json"}
    reply = requests.post(f"{url}/ofrep/v1/evaluate/flags", body, headers=headers, timeout=20)
    assert reply.status_code == 200, reply.text
    return {
        item["key"]: (json.dumps(item.get("value"), sort_keys=True), item.get("variant", ""))
        for item in reply.json()["flags"]
    }
