"""Runs `matrixflag dev` as a user does, on free ports, for the tests of this folder."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.processes import running, wait_for_json

__all__ = ["FREE_PORTS", "Dev", "running_dev"]

FREE_PORTS = tuple(f"--{name}=0" for name in ("port", "metrics-port", "sidecar-port", "admin-port"))
_TIMEOUT_S = 20


@dataclass
class Dev:
    """A running `matrixflag dev`."""

    process: subprocess.Popen[bytes]
    document: dict[str, Any]
    log: Path

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask the control plane, without a credential, as the mission's examples do."""
        url = self.document["control_plane_url"] + path
        return requests.request(method, url, timeout=_TIMEOUT_S, **options)

    def evaluate(self, key: str, **context: Any) -> dict[str, Any]:
        """Ask the sidecar for one flag and return the whole answer."""
        url = f"{self.document['sidecar_url']}/ofrep/v1/evaluate/flags/{key}"
        answer: dict[str, Any] = requests.post(
            url, json={"context": {"targetingKey": "u-1", **context}}, timeout=_TIMEOUT_S
        ).json()
        return answer

    def metrics(self, url: str) -> dict[str, float]:
        """Return samples of `/metrics` by name and labels as they stand there."""
        text = requests.get(url + "/metrics", timeout=_TIMEOUT_S).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def said(self) -> str:
        """Return what it printed."""
        return self.log.read_text()

    def curl_lines(self) -> list[str]:
        """Return the lines it printed to be pasted."""
        return [line.strip() for line in self.said().splitlines() if "curl" in line]

    def paste(self, line: str) -> str:
        """Run a line in a shell and return its output."""
        done = subprocess.run(
            ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{shlex.join([line])}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@contextmanager
def running_dev(data_dir: Path, *arguments: str, **environ: str) -> Iterator[Dev]:
    """Run it until the end of the block, where it is stopped by SIGTERM unless it has ended."""
    log = data_dir.with_name(data_dir.name + ".log")
    # One that was killed leaves it behind, and is not the one that is waited for.
    (data_dir / "dev.json").unlink(missing_ok=True)
    with running(["dev", "--data-dir", data_dir, *FREE_PORTS, *arguments], log, environ) as process:
        document = wait_for_json(data_dir / "dev.json", process, log)
        yield Dev(process, document, log)
