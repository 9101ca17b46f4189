"""A long list of units on its whole way: lines of JSON, Redis, blobs, sidecar, and back again.

Nothing is replaced: the processes are those of `matrixflag dev`.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.dev import Dev, running_dev
from tests.flow.test_flow import eventually, standing

_UNITS = 20_000
_NDJSON = {"Content-Type": "application/x-ndjson"}
FLAG: dict[str, Any] = {
    "key": "invited",
    "type": "boolean",
    "variants": {"yes": True, "no": False},
    "environments": {
        "production": {
            "enabled": True,
            "rules": [{"when": {"segment": "guests"}, "serve": {"variant": "yes"}}],
            "fallthrough": {"variant": "no"},
        }
    },
}


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """A `matrixflag dev` with a flag that twenty thousand guests get."""
    with running_dev(tmp_path / "data") as dev:
        assert dev.api("POST", "/api/v1/segments", json={"key": "guests"}).status_code == 201
        assert dev.api("POST", "/api/v1/flags", json=FLAG).status_code == 201
        send(dev, "PUT", ({"include": f"guest-{number}"} for number in range(_UNITS)))
        eventually(lambda: standing(dev)["snapshot"]["units"] == _UNITS)
        yield dev


def send(dev: Dev, method: str, lines: Iterable[dict[str, str]]) -> None:
    """Change the list of the segment."""
    body = "".join(json.dumps(line) + "\n" for line in lines)
    answer = dev.api(method, "/api/v1/segments/guests/units", data=body, headers=_NDJSON)
    assert answer.status_code == 200, answer.text


def invited(dev: Dev, unit: str) -> Any:
    """Return what the sidecar answers for a unit."""
    return dev.evaluate("invited", targetingKey=unit).get("value")


def test_who_is_on_the_list_is_let_in(dev: Dev) -> None:
    """And one who is put on it later costs the sidecar one blob of eight, not the list."""
    assert [invited(dev, f"guest-{number}") for number in (0, _UNITS - 1)] == [True, True]
    assert invited(dev, "stranger") is False
    assert standing(dev)["sync"]["blobs"] == {"fetched": 8}

    send(dev, "POST", [{"include": "stranger"}, {"exclude": "guest-0"}])
    eventually(lambda: invited(dev, "stranger"))
    assert invited(dev, "guest-0") is False
    fetched = standing(dev)["sync"]["blobs"]["fetched"]
    assert 8 < fetched <= 8 + 3, "two blobs of the included at most, and one of the excluded"


def test_a_list_is_known_to_a_sidecar_that_starts_without_its_control_plane(
    dev: Dev, tmp_path: Path
) -> None:
    """All of it started again; the sidecar has the blobs from its disk."""
    data_dir = tmp_path / "data"
    dev.process.terminate()
    dev.process.wait(30)
    with running_dev(data_dir) as again:
        eventually(lambda: invited(again, "guest-7"))
        blobs = standing(again)["sync"]["blobs"]
        assert blobs == {"disk": 8}
