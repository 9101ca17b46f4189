"""docker-compose.yml: parsed by the rules of the format, and every name in it leads somewhere."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from control_plane.settings import Settings
from proxy.contract.settings import rows
from proxy.settings import ProxySettings

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
STAGES = re.findall(
    r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
)
KNOWN = {"control-plane": Settings, "sidecar": ProxySettings}
Compose = dict[str, Any]


@pytest.fixture
def compose() -> Compose:
    """The file, merged as YAML says."""
    document: Compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def faults(compose: Compose) -> Iterator[str]:
    """Yield what is wrong with a compose file, one line each."""
    try:
        PyCompose.from_json(json.dumps(compose)).validate()
    except ValueError as error:
        yield str(error)
    for name, service in compose["services"].items():
        for fault in (*_image_faults(service), *_reach_faults(service)):
            yield f"{name}: {fault}"
        others = [*service.get("depends_on", []), service.get("network_mode", "").partition(":")[2]]
        for other in filter(None, others):
            if other not in compose["services"]:
                yield f"{name}: there is no service {other}"
        for volume in service.get("volumes", []):
            if volume.partition(":")[0] not in compose["volumes"]:
                yield f"{name}: there is no volume {volume}"
        if name in KNOWN:
            unknown = service["environment"].keys() - {row.env for row in rows(KNOWN[name])}
            yield from (f"{name}: {variable} is no setting" for variable in sorted(unknown))


def _image_faults(service: Compose) -> Iterator[str]:
    image, build = service["image"], service.get("build")
    if image.startswith("matrixflag/") and not image.endswith(f":{VERSION}"):
        yield f"{image} is not of version {VERSION}"
    if isinstance(build, dict) and build["target"] not in STAGES:
        yield f"the Dockerfile has no stage {build['target']}"
    if isinstance(build, str) and not (ROOT / build / "Dockerfile").exists():
        yield f"no Dockerfile in {build}"


def _reach_faults(service: Compose) -> Iterator[str]:
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"publishes {port} on every address"
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
        yield "is not restricted"


def test_compose_file_has_no_fault(compose: Compose) -> None:
    """The format's rules, our version, targets, settings, loopback and the restricted profile."""
    assert list(faults(compose)) == []


def test_compose_file_starts_what_the_guide_says(compose: Compose) -> None:
    """Redis, control plane, one sidecar, a sample application, and what makes its key."""
    assert list(compose["services"]) == [
        "redis",
        "control-plane",
        "bootstrap",
        "sample-app",
        "sidecar",
    ]


def test_redis_keeps_an_append_only_file(compose: Compose) -> None:
    """Each write is on disk before it is answered, on a volume that outlives the container."""
    redis = compose["services"]["redis"]

    assert "--appendonly yes --appendfsync always" in " ".join(redis["command"])
    assert redis["volumes"] == ["redis-data:/data"]


def test_nothing_starts_without_a_token_of_ones_own(compose: Compose) -> None:
    """There is no default: compose stops and says what to put into .env."""
    token = compose["services"]["control-plane"]["environment"]["ADMIN_TOKEN"]

    assert token.startswith("${ADMIN_TOKEN:?put ADMIN_TOKEN=")


MUTATIONS: dict[str, tuple[Callable[[Compose], Any], str]] = {
    "unknown member": (lambda s: s["redis"].update(imge="x"), "imge"),
    "volume": (lambda s: s["redis"].update(volumes=["data:/data"]), "no volume data:"),
    "version": (lambda s: s["sidecar"].update(image="matrixflag/proxy:0.0.9"), "not of version"),
    "stage": (lambda s: s["sidecar"]["build"].update(target="sidecar"), "no stage sidecar"),
    "folder": (lambda s: s["sample-app"].update(build="docs/sample"), "no Dockerfile in"),
    "address": (lambda s: s["redis"].update(ports=["6379:6379"]), "on every address"),
    "root": (lambda s: s["sidecar"].update(read_only=False), "is not restricted"),
    "setting": (lambda s: s["sidecar"]["environment"].update(MATRIXFLAG_CACHE="/x"), "no setting"),
    "dependency": (lambda s: s["sidecar"].update(depends_on=["app"]), "no service app"),
    "network": (lambda s: s["sidecar"].update(network_mode="service:app"), "no service app"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistake_is_found(name: str, compose: Compose) -> None:
    """Each mistake that can be made in the file is named."""
    change, message = MUTATIONS[name]

    change(compose["services"])

    found = list(faults(compose))
    assert any(message in fault for fault in found), found
