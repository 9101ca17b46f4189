"""docker-compose.yml: parsed by the rules of the format, and every name in it leads somewhere."""

import json
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from compose_spec import PyCompose

from control_plane.settings import Settings
from proxy.contract.settings import rows
from proxy.settings import ProxySettings
from tests.support.processes import running, wait_for_json

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


@pytest.mark.parametrize("name", ["SECRET_KEY", "MATRIXFLAG_ADMIN_PASSWORD"])
def test_nothing_starts_without_secrets_of_ones_own(compose: Compose, name: str) -> None:
    """There is no default: compose stops and says what to put into .env."""
    value = compose["services"]["control-plane"]["environment"][name]

    assert value.startswith(f"${{{name}:?put {name}=")


def test_no_secret_stands_in_the_file(compose: Compose) -> None:
    """Whatever is a secret by the settings, or a password of the bootstrap, comes from outside."""
    secret = {row.env for kind in KNOWN.values() for row in rows(kind) if row.secret}
    given = {
        f"{service}: {name}": value
        for service, document in compose["services"].items()
        for name, value in document.get("environment", {}).items()
        if name in secret or "PASSWORD" in name
    }

    assert given.pop("control-plane: REDIS_URL") == "redis://redis:6379/0"  # without a password
    assert len(given) == 3
    assert [v for v in given.values() if not re.fullmatch(r"\$\{[A-Z_]+:\?.*\}", v)] == []


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


ENV = {
    "SECRET_KEY": "0123456789abcdef0123456789abcdef",
    "MATRIXFLAG_ADMIN_PASSWORD": "fedcba9876543210fedcba9876543210",
}
"""What the guide puts into .env."""


def environment(compose: Compose, service: str, env: dict[str, str]) -> dict[str, str]:
    """Return a service's variables, filled in from .env as compose does."""

    def value(match: re.Match[str]) -> str:
        name, what, text = match.groups()
        if not env.get(name) and what == ":?":
            raise ValueError(f"{service}: {name}: {text}")
        return env.get(name) or text

    return {
        name: re.sub(r"\$\{(\w+)(:[?-])([^}]*)\}", value, text)
        for name, text in compose["services"][service]["environment"].items()
    }


@pytest.mark.parametrize("path", ["docs/deploy.md", "docker-compose.yml"])
def test_guide_makes_the_whole_env_file(path: str) -> None:
    """Each line that compose asks for, and nothing that it does not read; readable by its owner."""
    text = (ROOT / path).read_text(encoding="utf-8").replace("\n#", "\n")
    command = re.search(r"\(umask 077; printf '%s\\n' (.*?) > \.env\)", text, re.DOTALL)

    assert command is not None
    assert re.findall(r'"(\w+)=\$\(openssl rand -hex \d+\)"', command[1]) == list(ENV)


@pytest.mark.parametrize("name", ENV)
@pytest.mark.parametrize("service", ["control-plane", "bootstrap"])
def test_nothing_starts_with_half_an_env_file(compose: Compose, service: str, name: str) -> None:
    """Whichever line is missing or empty; the bootstrap needs no secret of sessions."""
    half = {**ENV, name: ""}
    if (service, name) == ("bootstrap", "SECRET_KEY"):
        assert name not in environment(compose, service, half)
        return

    with pytest.raises(ValueError, match=name):
        environment(compose, service, half)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A directory with a place for the key and the cache."""
    (tmp_path / "key").mkdir()
    (tmp_path / "cache").mkdir()
    return tmp_path


def bootstrapped(environ: dict[str, str], **changed: str) -> subprocess.CompletedProcess[str]:
    """Run the sample's bootstrap to its end, with nothing else in its environment."""
    return subprocess.run(
        [sys.executable, ROOT / "docs/examples/sample-app/bootstrap.py"],
        env=environ | changed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_whole_file_works_together(
    compose: Compose, base: Path, redis_url: str, unused_tcp_port: int
) -> None:
    """With its very variables, as processes: only addresses, ports and folders are this machine's.

    Made by the bootstrap through the control plane, answered by the sidecar, shown by the
    application; a bootstrap with another password is refused, one that is done asks nobody.
    """
    free = {"MATRIXFLAG_PORT": "0", "MATRIXFLAG_READY_FILE": str(base / "plane.json")}
    plane = environment(compose, "control-plane", ENV) | free
    plane |= {"MATRIXFLAG_METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0", "REDIS_URL": redis_url}
    sidecar = environment(compose, "sidecar", ENV) | free
    sidecar |= {
        "MATRIXFLAG_READY_FILE": str(base / "sidecar.json"),
        "MATRIXFLAG_ADMIN_PORT": "0",
        "MATRIXFLAG_KEY_FILE": str(base / "key/key"),
        "MATRIXFLAG_CACHE_DIR": str(base / "cache"),
    }
    with running(["control-plane"], base / "plane.log", plane) as process:
        api = wait_for_json(base / "plane.json", process, base / "plane.log")["api"]
        given = environment(compose, "bootstrap", ENV)
        given |= {"CONTROL_PLANE_URL": api, "KEY_FILE": str(base / "key/key")}

        wrong = bootstrapped(given, ADMIN_PASSWORD=ENV["SECRET_KEY"])
        made = bootstrapped(given)
        again = bootstrapped(given, ADMIN_PASSWORD=ENV["SECRET_KEY"], CONTROL_PLANE_URL="http://x")

        assert wrong.returncode == 1
        assert "admin@localhost is not let in" in wrong.stderr
        assert (made.returncode, made.stderr) == (0, "")
        assert (again.returncode, again.stderr) == (0, "")
        assert [each["current"] for each in sessions(api, given)] == [True], "it logs out"
        assert (base / "key/key").stat().st_mode & 0o777 == 0o600
        sidecar["MATRIXFLAG_CONTROL_PLANE_URL"] = api
        with running(["proxy"], base / "sidecar.log", sidecar) as process:
            ofrep = wait_for_json(base / "sidecar.json", process, base / "sidecar.log")["ofrep"]
            application = environment(compose, "sample-app", ENV)
            application |= {"HOST": "127.0.0.1", "PORT": str(unused_tcp_port), "OFREP_URL": ofrep}
            with subprocess.Popen(
                [sys.executable, ROOT / "docs/examples/sample-app/app.py"], env=application
            ) as page:
                try:
                    shown = answer(f"http://127.0.0.1:{unused_tcp_port}/?user=ada")
                finally:
                    page.terminate()

    assert shown["greeting"] == "Welcome to the new shop, ada!"


def sessions(api: str, given: dict[str, str]) -> list[Compose]:
    """Return the sessions that the first administrator has, once logged in."""
    credentials = {"email": given["ADMIN_EMAIL"], "password": given["ADMIN_PASSWORD"]}
    tokens = requests.post(f"{api}/api/v1/auth/login", json=credentials, timeout=30).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    page = requests.get(f"{api}/api/v1/me/sessions", headers=headers, timeout=30).json()
    return list(page["items"])


def answer(url: str, timeout_s: float = 30.0) -> Compose:
    """Return what a page says once its server listens; there is no event for that."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            document: Compose = requests.get(url, timeout=5).json()
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return document
