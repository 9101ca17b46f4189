"""Schemathesis against a control plane that runs as users run it, with one credential at a time.

Requests are made up from `/openapi.json`: valid ones, ones with something wrong, the values at each
bound, and sequences in which one request uses what another made. All checks of schemathesis apply:
no 5xx, only answers that the document declares, nothing wrong taken, no route open that says it is
closed, nothing found that was deleted.

In CI each operation gets 25 examples and the seed is fixed, so that a change fails for what it did.
`make fuzz` gives 200 and another seed each time. The seed is printed: MATRIXFLAG_FUZZ_SEED repeats
a run, MATRIXFLAG_FUZZ_EXAMPLES says how many.

Knows nothing of what routes do. What a run must leave alone is looked at by its test.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.api import PASSWORD, SECRET
from tests.support.processes import running, wait_for_json
from tests.support.redis import RedisServer

__all__ = ["ControlPlane", "fuzz", "running_control_plane"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = os.environ.get("MATRIXFLAG_FUZZ_EXAMPLES", "25")
SEED = os.environ.get("MATRIXFLAG_FUZZ_SEED", "20260131")
_LIMIT_S = 1800
_OWN = ("session.", "user.password")
_WAIT_S = 30


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane, with a flag and a segment in it for requests to find."""

    url: str
    log: Path

    def ask(self, method: str, path: str, document: Any = None, token: str = ADMIN_TOKEN) -> Any:
        """Return the answer to a request that has to be taken."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.request(
            method, self.url + path, json=document, headers=headers, timeout=_WAIT_S
        )
        assert answer.ok, answer.text
        return answer.json()

    def log_in(self, role: str) -> str:
        """Return an access token of somebody new who has a role everywhere.

        It is good for ten minutes, then `fuzz` goes on with others: `token` has the last one.
        """
        credentials = {"email": f"{role}@example.com", "password": PASSWORD}
        self.ask(
            "POST", "/api/v1/users", {**credentials, "roles": [{"role": role, "project": "*"}]}
        )
        tokens = self.ask("POST", "/api/v1/auth/login", credentials)
        self.tokens.write_text(json.dumps(tokens))
        return str(tokens["access_token"])

    @property
    def tokens(self) -> Path:
        """The file with the tokens of who logged in; hooks.py keeps them good."""
        return self.log.with_name("tokens.json")

    def token(self) -> str:
        """Return the access token of who logged in, as it is by now."""
        return str(json.loads(self.tokens.read_text())["access_token"])

    def changes(self) -> list[Any]:
        """Return what the audit logs say of changes, but those of one's own account."""
        entries = []
        for project in ("default", "~access"):
            page = self.ask("GET", f"/api/v1/audit?project={project}&limit=500")
            entries += [e for e in page["items"] if not e["action"].startswith(_OWN)]
        return entries


@contextmanager
def running_control_plane(directory: Path) -> Iterator[ControlPlane]:
    """Run a Redis and a control plane on free ports; on leaving, see that it reported no defect."""
    ready, log = directory / "ready.json", directory / "control-plane.log"
    ports = ["--port=0", "--metrics-port=0", f"--ready-file={ready}"]
    # far more requests than people make, on a machine that may be busy
    patience = ["--redis-timeout-s=10", "--rate-limit-read=0", "--rate-limit-write=0"]
    patience += ["--rate-limit-login=0", "--rate-limit-address=0", "--rate-limit-credentials=0"]
    with RedisServer() as redis:
        environ = {**ADMINISTRATOR, "SECRET_KEY": SECRET, "REDIS_URL": redis.url}
        with running(["control-plane", *ports, *patience], log, environ) as process:
            control_plane = ControlPlane(wait_for_json(ready, process, log)["api"], log)
            _fill(control_plane)
            yield control_plane
    lines = log.read_text(errors="replace").splitlines()
    assert not [line for line in lines if " ERROR " in line or line.startswith("Traceback")]


def fuzz(control_plane: ControlPlane, directory: Path, token: str | None, *selected: str) -> None:
    """Try all operations, or those `selected` by options of schemathesis, with a credential.

    Raises AssertionError with what schemathesis found and how each finding is repeated.
    """
    report = directory / "schemathesis.log"
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{control_plane.url}/openapi.json", "--checks=all", "--continue-on-failure"]
    command += [f"--max-examples={EXAMPLES}", f"--seed={SEED}", "--generation-database=none"]
    command += ["--no-color", "--warnings=off", f"--request-timeout={_WAIT_S}", *selected]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    environ = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    # Nothing of ours runs in it, and to be traced takes it twice the time
    environ.pop("COVERAGE_PROCESS_CONFIG", None)
    environ |= {
        "MATRIXFLAG_FUZZ_TOKEN": token or "",
        "MATRIXFLAG_FUZZ_TOKENS": str(control_plane.tokens),
        "MATRIXFLAG_FUZZ_URL": control_plane.url,
    }
    started = time.monotonic()
    with report.open("wb") as output:
        status = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,  # where it keeps what it remembers
            env=environ,
            timeout=_LIMIT_S,
        ).returncode
    text = report.read_text(errors="replace")
    cases = next((line.strip() for line in text.splitlines() if " generated" in line), "none")
    print(f"seed {SEED}, {EXAMPLES} examples: {cases}, {time.monotonic() - started:.0f} s")
    assert status == 0, text


def _fill(control_plane: ControlPlane) -> None:
    flag = {"key": "0", "type": "boolean", "value": True, "enabled": True}
    control_plane.ask("POST", "/api/v1/flags", flag)
    control_plane.ask("POST", "/api/v1/segments", {"key": "0"})
    when = {"attribute": "a", "op": "in", "values": ["b"]}
    control_plane.ask("POST", "/api/v1/segments", {"key": "1", "when": when})
