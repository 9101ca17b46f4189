"""The images are built and run: each alone, then all of them as the manifests put them together."""

import json
import re
import secrets
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import redis
import requests
from packaging.utils import canonicalize_name

from tests.ops.boxes import Box, Running, run, running
from tests.ops.images import ROOT, Storage, base_name, built, storage
from tests.ops.locks import versions
from tests.ops.references import containers, kinds
from tests.ops.render import Object, label, render
from tests.support.processes import wait_for_json
from tests.support.redis import server_binary
from tests.support.tools import require

pytestmark = pytest.mark.timeout(900)  # the first build of all: a base system and every wheel

SECRET = "0123456789abcdef0123456789abcdef"
EMAIL, ADMIN_PASSWORD = "ada@example.com", "correct horse battery"
PASSWORD = "fedcba9876543210"
ANY_PORT = {"MATRIXFLAG_PORT": "0", "MATRIXFLAG_READY_FILE": "/out/ready.json"}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FLAGS = {"flags": [{"key": "banner", "type": "string", "value": "hello", "enabled": True}]}


@pytest.fixture(scope="module")
def images() -> Storage:
    """The storage of images; without root or buildah the tests that ask for it skip."""
    return storage()


def folder(path: Path) -> Path:
    """Return a new directory to mount; one at a time may belong to a box's user."""
    path.mkdir()
    return path


@contextmanager
def served(images: Storage, box: Box, directory: Path) -> Iterator[tuple[Running, dict[str, str]]]:
    """Run a server and yield it with the addresses it wrote once it listened."""
    out = folder(directory / "out")
    box = replace(box, volumes={"/out": out, **box.volumes})
    with running(images, box, directory / "log") as process:
        yield process, wait_for_json(out / "ready.json", process.process, directory / "log")


@contextmanager
def file_sidecar(images: Storage, tmp_path: Path) -> Iterator[tuple[Running, dict[str, str]]]:
    """Run the sidecar's image with a file of flags, and nothing else."""
    flags = folder(tmp_path / "flags")
    (flags / "flags.json").write_text(json.dumps(FLAGS))
    box = Box(
        built("proxy"),
        ["--snapshot", "/flags/flags.json"],
        {**ANY_PORT, "MATRIXFLAG_ADMIN_PORT": "0"},
        {"/flags": flags},
    )
    with served(images, box, tmp_path) as started:
        yield started


def test_dockerfiles_keep_to_the_rules_of_hadolint() -> None:
    """Pinned bases, no caches left behind, absolute paths, commands as lists."""
    files = [ROOT / "Dockerfile", ROOT / "docs/examples/sample-app/Dockerfile"]
    hadolint = ROOT / ".venv/bin/hadolint"
    program = str(hadolint) if hadolint.exists() else require("hadolint")

    done = subprocess.run([program, *files], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_dockerfiles_build_on_one_base() -> None:
    """A change of the base reaches the sample application too, and no file needs BuildKit."""
    files = [ROOT / "Dockerfile", ROOT / "docs/examples/sample-app/Dockerfile"]

    assert len({base_name(file) for file in files}) == 1
    assert not [file for file in files if "<<" in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("target", ["proxy", "control-plane", "sample-app"])
def test_image_names_a_numeric_user(images: Storage, target: str) -> None:
    """Kubernetes can only check runAsNonRoot against a number."""
    assert images.config(built(target))["User"] == "10001:10001"


def test_sidecar_serves_a_file(images: Storage, tmp_path: Path) -> None:
    """With a file of flags the image is ready and answers OFREP, on a root it cannot write to."""
    with file_sidecar(images, tmp_path) as (_, addresses):
        # it listens before it has read the file, and says so until then
        assert awaited(lambda: ok(f"{addresses['admin']}/readyz"))
        url = f"{addresses['ofrep']}/ofrep/v1/evaluate/flags/banner"
        answer = requests.post(url, json={"context": {"targetingKey": "ada"}}, timeout=5)

    assert answer.status_code == 200
    assert answer.json()["value"] == "hello"


def test_sidecar_runs_as_the_user_of_the_image(images: Storage, tmp_path: Path) -> None:
    """The process is 10001, without capabilities and unable to gain any."""
    with file_sidecar(images, tmp_path) as (process, _):
        inner = process.inner()
        status = Path(f"/proc/{inner.pid}/status").read_text()
        uids = inner.uids()

    assert set(uids) == {10001}
    assert re.search(r"CapEff:\s+0+$", status, re.M)
    assert re.search(r"NoNewPrivs:\s+1$", status, re.M)


def test_sidecar_ends_on_sigterm_as_first_process(images: Storage, tmp_path: Path) -> None:
    """The first process of a container ignores signals it does not handle; ours handles this."""
    with file_sidecar(images, tmp_path) as (process, _):
        assert process.stop() == 0


def test_root_of_an_image_cannot_be_written(images: Storage) -> None:
    """What the tests here call read-only is: a write fails for another reason than the user."""
    done = run(images, Box(built("proxy"), ["-c", "open('/tmp/x', 'w')"], entrypoint=["python"]))

    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_sidecar_image_holds_no_control_plane(images: Storage) -> None:
    """Nor Redis, scipy, jsonschema, an installer or a compiler: asked of the image as it runs."""
    forbidden = "control_plane,redis,scipy,jsonschema,jwt,argon2,webauthn,ldap3"
    arguments = ["/opt/matrixflag/verify_image.py", "--import", "proxy", "--forbid", forbidden]

    done = run(images, Box(built("proxy"), arguments, entrypoint=["python"]))

    assert (done.returncode, done.stderr) == (0, "")


_LIST = """
import importlib.metadata, json, platform
found = {d.name: d.version for d in importlib.metadata.distributions(path=__import__("sys").path)}
print(json.dumps([platform.python_version(), found]))
"""


@pytest.mark.parametrize(("target", "lock"), [("proxy", "sidecar"), ("control-plane",) * 2])
def test_image_holds_what_is_locked(images: Storage, target: str, lock: str) -> None:
    """Each version of its lock, and ours; no other."""
    done = run(images, Box(built(target), ["-c", _LIST], entrypoint=["python"]))

    assert done.returncode == 0, done.stderr
    python, found = json.loads(done.stdout)
    names = {canonicalize_name(name): version for name, version in found.items()}
    assert names.pop("matrix-flag") == VERSION
    assert names == versions(ROOT / f"docker/{lock}.lock", python)


@pytest.mark.parametrize("lock", ["sidecar", "build"])
def test_other_bytes_than_those_locked_fail_the_build(
    images: Storage, tmp_path: Path, lock: str
) -> None:
    """A package that is not what it was when it was locked is not installed."""
    tree = folder(tmp_path / "tree")
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "docker", tree / "docker")
    shutil.copytree(ROOT / "proxy", tree / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    path = tree / f"docker/{lock}.lock"
    text = path.read_text(encoding="utf-8")
    # All hashes of the first package, at random: no layer is kept of another build with these
    first = re.match(r"\S.*\n( .*\n)+", text)
    assert first is not None
    altered = re.sub(r"(?<=sha256:)[0-9a-f]{8}", lambda _: secrets.token_hex(4), first[0])
    path.write_text(altered + text.removeprefix(first[0]), encoding="utf-8")

    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        images.build("localhost/matrixflag/altered:test", tree, "proxy-builder")


def test_sidecar_image_says_what_a_control_plane_needs(images: Storage) -> None:
    """Its other commands answer with what to install, not with a traceback."""
    done = run(images, Box(built("proxy"), ["control-plane"], entrypoint=["matrixflag"]))

    assert done.returncode == 2
    assert "pip install 'matrix-flag[control-plane]'" in done.stderr


def test_control_plane_image_refuses_to_be_open(images: Storage) -> None:
    """Where nobody can log in it does not listen beyond loopback, and names the settings."""
    done = run(images, Box(built("control-plane"), environment={"MATRIXFLAG_HOST": "0.0.0.0"}))

    assert done.returncode != 0
    assert "set SECRET_KEY, and ADMIN_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


@cache
def manifests() -> list[Object]:
    return render(ROOT / "k8s/base")


def container(workload: str, index: int = 0) -> Object:
    """Return a container of the rendered manifests."""
    return containers(next(d for d in manifests() if label(d) == workload))[index]


def environment(of: Object, **given: str) -> dict[str, str]:
    """Return a container's variables; those that come from Secrets and fields are given.

    A variable that names earlier ones, `$(NAME)`, has their values, as Kubernetes has it.
    """
    data = {d["metadata"]["name"]: d["data"] for d in kinds(manifests(), "ConfigMap")}
    found: dict[str, str] = {}
    for source in of.get("envFrom", []):
        found |= data[source["configMapRef"]["name"]]
    for variable in of["env"]:
        value = variable.get("value")
        if value is None:
            value = given[variable["name"]]
        for name, known in found.items():
            value = value.replace(f"$({name})", known)
        found[variable["name"]] = value
    return found


FIELDS = {
    "MATRIXFLAG_INSTANCE": "sample-app-0",
    "MATRIXFLAG_APPLICATION": "sample-app",
    "MATRIXFLAG_APPLICATION_VERSION": "0.1.0",
    "NODE_NAME": "node-1",
    "POD_NAMESPACE": "shop",
}
"""What a kubelet would fill in of the pod."""


@contextmanager
def manifest_redis(directory: Path, port: int) -> Iterator[None]:
    """Run a real server with the configuration and the command of the manifests."""
    config = next(d for d in kinds(manifests(), "ConfigMap") if "redis.conf" in d["data"])
    text = config["data"]["redis.conf"].replace("dir /data", f"dir {directory}")
    (directory / "redis.conf").write_text(f"{text}\nport {port}\nbind 127.0.0.1\n")
    shell, option, script = container("StatefulSet/redis")["command"]
    script = script.replace("/etc/redis/redis.conf", str(directory / "redis.conf"))
    script = script.replace("redis-server", server_binary("redis"))
    process = subprocess.Popen(
        [shell, option, script], env={"REDIS_PASSWORD": PASSWORD}, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@dataclass(frozen=True)
class Deployed:
    """What k8s/base describes, running: where its parts answer."""

    api: str
    admin: str
    application: str
    redis: str
    bootstrap: Box
    control_plane: Running

    def headers(self) -> dict[str, str]:
        """Log in as the first administrator and return what is sent with each request."""
        document = {"email": EMAIL, "password": ADMIN_PASSWORD}
        answer = requests.post(f"{self.api}/api/v1/auth/login", json=document, timeout=30)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture(scope="module")
def deployed(
    images: Storage,
    tmp_path_factory: pytest.TempPathFactory,
    unused_tcp_port_factory: Callable[[], int],
) -> Iterator[Deployed]:
    """Redis, control plane, sidecar and application, as the manifests have them.

    Programs, users, variables and volumes are theirs; only addresses and ports are replaced,
    because all share this machine's network.
    """
    redis_port, port = unused_tcp_port_factory(), unused_tcp_port_factory()
    base = tmp_path_factory.mktemp("deployed")
    names = ("redis", "plane", "secrets", "key", "sidecar", "cache")
    places = {name: folder(base / name) for name in names}
    (places["secrets"] / "secret-key").write_text(SECRET + "\n")
    with ExitStack() as stack:
        stack.enter_context(manifest_redis(places["redis"], redis_port))
        plane = container("Deployment/control-plane")
        variables = environment(
            plane,
            MATRIXFLAG_ADMIN_EMAIL=EMAIL,
            MATRIXFLAG_ADMIN_PASSWORD=ADMIN_PASSWORD,
            REDIS_PASSWORD=PASSWORD,
        )
        url = variables["REDIS_URL"].replace("redis:6379", f"127.0.0.1:{redis_port}")
        variables |= {**ANY_PORT, "METRICS_PORT": "0", "REDIS_URL": url}
        (mount,) = plane["volumeMounts"]
        volumes = {mount["mountPath"]: places["secrets"]}
        box = Box(built("control-plane"), environment=variables, volumes=volumes)
        control_plane, addresses = stack.enter_context(served(images, box, places["plane"]))
        api = reachable(addresses["api"])
        assert awaited(lambda: ok(f"{api}/readyz"))

        given = {"CONTROL_PLANE_URL": api, "KEY_FILE": "/key/key"}
        given |= {"ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": ADMIN_PASSWORD}
        bootstrap = Box(
            built("sample-app"), ["/opt/app/bootstrap.py"], given, {"/key": places["key"]}
        )
        made = run(images, bootstrap)
        assert made.returncode == 0, made.stdout + made.stderr

        sidecar = container("Deployment/sample-app")
        variables = environment(sidecar, **FIELDS)
        variables |= {**ANY_PORT, "MATRIXFLAG_ADMIN_PORT": "0", "MATRIXFLAG_CONTROL_PLANE_URL": api}
        mounts = {m["name"]: m["mountPath"] for m in sidecar["volumeMounts"]}
        volumes = {
            mounts["matrixflag-key"]: places["key"],
            mounts["matrixflag-cache"]: places["cache"],
        }
        box = Box(built("proxy"), environment=variables, volumes=volumes)
        _, addresses = stack.enter_context(served(images, box, places["sidecar"]))
        assert awaited(lambda: ok(f"{reachable(addresses['admin'])}/readyz"))

        variables = environment(container("Deployment/sample-app", 1))
        variables |= {"OFREP_URL": addresses["ofrep"], "PORT": str(port)}
        box = Box(built("sample-app"), environment=variables)
        stack.enter_context(running(images, box, base / "application.log"))
        application = f"http://127.0.0.1:{port}"
        assert awaited(lambda: ok(f"{application}/healthz"))
        admin = reachable(addresses["admin"])
        yield Deployed(api, admin, application, url, bootstrap, control_plane)


def reachable(url: str) -> str:
    """Return the address by which this machine reaches a server that listens everywhere."""
    return url.replace("0.0.0.0", "127.0.0.1")


def ok(url: str) -> bool:
    """Return whether a page is there and well."""
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def awaited(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Return whether a condition of another process came true in time; there is no event for it."""
    deadline = time.monotonic() + timeout_s
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def test_application_gets_its_flag_through_all_images(deployed: Deployed) -> None:
    """Defined at the control plane's image, answered by the sidecar's, shown by the sample's."""
    page = requests.get(deployed.application, params={"user": "ada"}, timeout=5).json()

    assert page == {
        "greeting": "Welcome to the new shop, ada!",
        "variant": "on",
        "source": "flag, STATIC",
    }


def test_the_control_plane_knows_who_serves_what(deployed: Deployed) -> None:
    """By what the manifests tell the sidecar of its pod."""
    headers = deployed.headers()

    def told() -> list[Object]:
        fleet = requests.get(f"{deployed.api}/api/v1/fleet", headers=headers, timeout=5).json()
        return list(fleet["items"])

    assert awaited(lambda: len(told()) == 1)
    (sidecar,) = told()
    assert (sidecar["instance"], sidecar["application"], sidecar["application_version"]) == (
        "sample-app-0",
        "sample-app",
        "0.1.0",
    )
    assert sidecar["labels"] == {"node": "node-1", "namespace": "shop"}


def test_change_reaches_the_application(deployed: Deployed) -> None:
    """A PUT at the control plane changes the page, and changes it back."""
    url = f"{deployed.api}/api/v1/flags/new-greeting"
    headers = deployed.headers()
    flag = {"key": "new-greeting", "type": "boolean", "enabled": True}

    for value, text in ((False, "Hello, ada."), (True, "Welcome to the new shop, ada!")):
        put = requests.put(url, json={**flag, "value": value}, headers=headers, timeout=5)
        assert put.status_code == 200, put.text

        def shown(expected: str = text) -> bool:
            page = requests.get(deployed.application, params={"user": "ada"}, timeout=5)
            return bool(page.json()["greeting"] == expected)

        assert awaited(shown)


def test_bootstrap_runs_again_without_a_change(images: Storage, deployed: Deployed) -> None:
    """Compose starts it at every `up`; also when the password has become another."""
    changed = {**deployed.bootstrap.environment, "ADMIN_PASSWORD": "staple apple window rain"}

    done = run(images, replace(deployed.bootstrap, environment=changed))

    assert (done.returncode, done.stderr) == (0, "")
    assert "already there, nothing to do" in done.stdout


def test_redis_of_the_manifests_keeps_every_write(deployed: Deployed) -> None:
    """A real server takes the configuration and the password, and fsyncs each write."""
    with redis.Redis.from_url(deployed.redis) as client:
        settings = client.config_get("append*")

    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"


def test_redis_of_the_manifests_wants_its_password(deployed: Deployed) -> None:
    """Without the Secret's password nobody reads."""
    open_url = deployed.redis.replace(f":{PASSWORD}@", "")

    with (
        redis.Redis.from_url(open_url) as client,
        pytest.raises(redis.AuthenticationError, match="uthenticat"),
    ):
        client.get("x")


def test_redis_of_the_manifests_refuses_an_empty_password() -> None:
    """A Secret that was applied as the example is does not become an open server."""
    shell, option, script = container("StatefulSet/redis")["command"]

    done = subprocess.run([shell, option, script], env={"REDIS_PASSWORD": ""}, check=False)

    assert done.returncode != 0


def test_control_plane_ends_on_sigterm_as_first_process(deployed: Deployed) -> None:
    """The last test of the set: streams are cut, requests finish, the status is 0."""
    assert deployed.control_plane.stop() == 0
