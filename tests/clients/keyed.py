"""A sidecar that wants an evaluation key: keys come with the snapshot of a control plane."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from tests.clients.cases import Case, Outcome, simple
from tests.support.processes import running_dev, running_sidecar

__all__ = ["PUBLIC", "SECRET", "Keyed", "running_keyed"]

SECRET = Case("", "server-only", "boolean", False, Outcome(True, "STATIC", "on"))
PUBLIC = replace(SECRET, flag="for-browsers")

_ARRIVED_S = 10.0  # bound, not expectation


class Keyed:
    """Where the sidecar answers, and one key of each kind."""

    def __init__(self, dev: dict[str, str], url: str, admin: str) -> None:
        self.url = url
        self.admin = admin
        self.sidecar_key = dev["sidecar_key"]
        self._api = f"{dev['control_plane_url']}/api/v1"
        self._token = {"Authorization": f"Bearer {dev['service_key']}"}
        for case in (SECRET, PUBLIC):
            self._create("flags", simple(case.flag, "boolean", True, client_side=case is PUBLIC))
        self.server_key, self.client_key = (
            self._create("keys", {"name": kind, "kind": kind})["key"]
            for kind in ("server", "client")
        )

    def switch_off(self, case: Case) -> None:
        """Switch a case's flag off."""
        self._send("PATCH", f"flags/{case.flag}", {"enabled": False})

    def revoke(self, key: str) -> None:
        """Delete a key."""
        listed = self._send("GET", "keys").json()["items"]
        (identifier,) = (each["id"] for each in listed if key.startswith(each["prefix"]))
        self._send("DELETE", f"keys/{identifier}")

    def _send(
        self, method: str, path: str, document: dict[str, Any] | None = None
    ) -> requests.Response:
        url = f"{self._api}/{path}"
        answer = requests.request(method, url, json=document, headers=self._token, timeout=10)
        assert answer.ok, answer.text
        return answer

    def _create(self, collection: str, document: dict[str, Any]) -> dict[str, Any]:
        created: dict[str, Any] = self._send("POST", collection, document).json()
        return created

    def arrived(self) -> bool:
        """Return whether the sidecar knows both keys."""
        url = f"{self.url}/ofrep/v1/evaluate/flags"
        both = ({"X-API-Key": key} for key in (self.server_key, self.client_key))
        return all(requests.post(url, headers=headers, timeout=10).ok for headers in both)


@contextmanager
def running_keyed(directory: Path, *arguments: str) -> Iterator[Keyed]:
    """Run a control plane and a sidecar of it, two flags, one for clients too, and the keys."""
    with running_dev(directory / "dev") as dev:
        environ = {"MATRIXFLAG_KEY": dev["sidecar_key"]}
        of = ("--control-plane-url", dev["control_plane_url"])
        with running_sidecar(directory, *of, *arguments, environ=environ) as sidecar:
            keyed = Keyed(dev, sidecar.ofrep, sidecar.admin)
            deadline = time.monotonic() + _ARRIVED_S
            while not keyed.arrived():
                assert time.monotonic() < deadline, "the keys did not arrive"
            yield keyed
