"""Evaluation keys through real clients: made at a control plane, checked by its sidecar.

Both are those of `matrixflag dev`: only a snapshot of a control plane carries keys.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails

from tests.support.processes import running_dev

_NOTICED_S = 10.0  # bound, not expectation
_SECRET = "server-only"
_PUBLIC = "for-browsers"


@dataclass(frozen=True)
class Keyed:
    """A sidecar that wants a key, and one key of each kind."""

    url: str
    server_key: str
    client_key: str


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """Two flags, one of them for clients too, and a key of each kind in the snapshot."""
    with running_dev(tmp_path_factory.mktemp("keys") / "data") as dev, requests.Session() as admin:
        admin.headers["Authorization"] = f"Bearer {dev['admin_token']}"
        for key, client_side in ((_SECRET, False), (_PUBLIC, True)):
            flag = {"key": key, "type": "boolean", "value": True, "enabled": True}
            _created(admin, dev, "flags", {**flag, "client_side": client_side})
        keys = [
            _created(admin, dev, "keys", {"name": kind, "kind": kind})["key"]
            for kind in ("server", "client")
        ]
        running = Keyed(dev["sidecar_url"], *keys)
        deadline = time.monotonic() + _NOTICED_S
        while any(_details(running, _bearer(key), _PUBLIC).error_code for key in keys):
            assert time.monotonic() < deadline, "the keys did not arrive"
        yield running
    api.clear_providers()


def _created(
    admin: requests.Session, dev: dict[str, str], collection: str, document: dict[str, object]
) -> dict[str, str]:
    url = f"{dev['control_plane_url']}/api/v1/{collection}"
    answer = admin.post(url, json=document, timeout=10)
    assert answer.status_code == 201, answer.text
    created: dict[str, str] = answer.json()
    return created


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _x_api_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


def _details(keyed: Keyed, headers: dict[str, str], flag: str) -> FlagEvaluationDetails[bool]:
    provider = OFREPProvider(keyed.url, headers_factory=lambda: headers)
    api.set_provider_and_wait(provider, "keyed")
    return api.get_client("keyed").get_boolean_details(flag, False)


@pytest.mark.parametrize("headers", [_bearer, _x_api_key])
def test_a_server_key_evaluates_every_flag(
    keyed: Keyed, headers: Callable[[str], dict[str, str]]
) -> None:
    """Both ways in which applications send keys are taken."""
    for flag in (_SECRET, _PUBLIC):
        details = _details(keyed, headers(keyed.server_key), flag)
        assert (details.value, details.error_code) == (True, None)


def test_a_client_key_does_not_see_flags_of_servers(keyed: Keyed) -> None:
    """To a browser such a flag is one that is not there."""
    assert _details(keyed, _bearer(keyed.client_key), _PUBLIC).value is True
    details = _details(keyed, _bearer(keyed.client_key), _SECRET)
    assert (details.value, details.error_code) == (False, ErrorCode.FLAG_NOT_FOUND)


@pytest.mark.parametrize("headers", [{}, _bearer("mf_server_wrong"), _x_api_key("wrong")], ids=str)
def test_without_the_right_key_the_application_has_its_default(
    keyed: Keyed, headers: dict[str, str]
) -> None:
    """The provider says `unauthorized`; the application goes on with what it was given."""
    details = _details(keyed, headers, _PUBLIC)
    assert (details.value, details.error_code) == (False, ErrorCode.GENERAL)
    assert details.error_message == "unauthorized"
