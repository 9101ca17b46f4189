"""The manifests of k8s/ pass every check, and every check fails on a manifest with its mistake."""

import copy
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.settings import Settings
from proxy.contract.settings import SettingsError
from proxy.settings import ProxySettings
from tests.ops import pods, references, render
from tests.ops.render import Object
from tests.support.signing import signing_key

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s/base"
COMPANY = ROOT / "k8s/overlays/company"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
SECRETS = {
    "secret-key": "0123456789abcdef" * 2,
    "admin-email": "ada@example.com",
    "admin-password": "correct horse battery",
    "oidc-client-secret": "s3cret",
    "signing-keys": signing_key("one").private(),
}
KNOWN = {"matrixflag/proxy": ProxySettings, "matrixflag/control-plane": Settings}


@cache
def _rendered(folder: Path = BASE) -> list[Object]:
    return render.render(folder)


@cache
def _secrets(folder: Path = BASE) -> list[Object]:
    """Return the Secrets that an installation wants: an overlay's hold the base's members too."""
    found: dict[str, Object] = {}
    for place in {BASE: None, folder: None}:
        text = (place / "secrets.example.yaml").read_text(encoding="utf-8")
        for secret in yaml.safe_load_all(text):
            known = found.setdefault(secret["metadata"]["name"], secret)
            known["stringData"] |= secret["stringData"]
    return list(found.values())


def problems(
    documents: list[Object], valid: list[Object], secrets: list[Object] | None = None
) -> Iterator[str]:
    """Yield what any check says of these objects; those known to be `valid` skip the schemas."""
    secrets = _secrets() if secrets is None else secrets
    for version in (render.OLDEST, render.NEWEST):
        yield from render.schema_problems([d for d in documents if d not in valid], version)
    yield from references.names(documents)
    yield from references.selectors(documents)
    yield from references.ports(documents)
    yield from references.objects(documents, secrets)
    yield from references.secret_files(documents, secrets)
    yield from references.ingresses(documents, secrets)
    yield from references.addresses(documents)
    yield from pods.images(documents, VERSION)
    yield from pods.resources(documents)
    yield from pods.restricted(documents)
    yield from pods.sidecars(documents)
    yield from pods.settings(documents, KNOWN)


@pytest.fixture
def documents() -> list[Object]:
    """The rendered base, to be changed at will."""
    return copy.deepcopy(_rendered())


@pytest.fixture
def company() -> list[Object]:
    """The rendered overlay, to be changed at will."""
    return copy.deepcopy(_rendered(COMPANY))


def test_base_passes_every_check(documents: list[Object]) -> None:
    """What is shipped renders, validates at both ends of the versions, and refers well."""
    assert list(problems(documents, valid=[])) == []
    assert list(render.schema_problems(_secrets(), render.NEWEST)) == []


def test_overlay_passes_every_check(company: list[Object]) -> None:
    """With the Secrets of its own example and of the base's."""
    assert list(problems(company, [], _secrets(COMPANY))) == []
    assert list(render.schema_problems(_secrets(COMPANY), render.NEWEST)) == []


def settings_of(documents: list[Object], workload: str, directory: Path) -> dict[str, str]:
    """Return the variables of a workload's first container, with secrets of a test's own."""
    for name, secret in SECRETS.items():
        (directory / name).write_text(secret)
    container = first(documents, workload)
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= find(documents, f"ConfigMap/{source['configMapRef']['name']}")["data"]
    for variable in container["env"]:
        key = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
        found[variable["name"]] = variable.get("value", SECRETS.get(key, "x"))
    return {name: value.replace("/run/matrixflag", str(directory)) for name, value in found.items()}


@pytest.mark.parametrize("folder", [BASE, COMPANY], ids=lambda folder: folder.name)
def test_control_plane_takes_its_settings(folder: Path, tmp_path: Path) -> None:
    """All of them together, with the Secrets filled in: logins, and a first administrator."""
    environ = settings_of(_rendered(folder), PLANE, tmp_path)

    made = Settings.load(environ, {})

    assert made.secret_key == (SECRETS["secret-key"],)
    assert (made.admin_email, made.admin_password) == ("ada@example.com", SECRETS["admin-password"])
    assert made.admin_token == ""
    if folder == COMPANY:
        assert made.oidc_client_secret == SECRETS["oidc-client-secret"]
        assert made.public_url == "https://flags.example.com"
        assert (made.signing_keys, made.trusted_proxies, made.hsts_s) != ((), (), 0)


def test_control_plane_starts_no_more_with_secrets_that_were_not_filled_in(tmp_path: Path) -> None:
    """The example as it is leads to no open server, nor to one with a known secret."""
    environ = settings_of(_rendered(), PLANE, tmp_path)
    (tmp_path / "secret-key").write_text("")

    with pytest.raises(SettingsError, match="secret-key-file"):
        Settings.load(environ, {})


def test_control_plane_needs_no_password_once_somebody_is_there() -> None:
    """Pods start without these members of the Secret, and with the others alone."""
    refs = [
        v["valueFrom"]["secretKeyRef"]
        for v in first(_rendered(), PLANE)["env"]
        if v.get("valueFrom")
    ]

    assert {ref["key"] for ref in refs if ref.get("optional")} == {"admin-email", "admin-password"}


def test_overlay_starts_no_sidecar_before_its_public_key_is_put_in(
    company: list[Object], tmp_path: Path
) -> None:
    """A placeholder that was left is said, not taken for a key; with a key all is well."""
    environ = settings_of(company, SHOP, tmp_path)
    (tmp_path / "key").write_text("mf_sidecar_" + "x" * 43)

    with pytest.raises(SettingsError, match="MATRIXFLAG_VERIFY_KEYS"):
        ProxySettings.load(environ, {})
    environ["MATRIXFLAG_VERIFY_KEYS"] = signing_key("one").public
    assert ProxySettings.load(environ, {}).verify_keys


def test_base_has_what_the_guide_says(documents: list[Object]) -> None:
    """Control plane, Redis and an application with its sidecar, in a restricted namespace."""
    found = {render.label(document) for document in documents}

    assert {
        "Namespace/matrixflag",
        "Deployment/control-plane",
        "Service/control-plane",
        "PodDisruptionBudget/control-plane",
        "NetworkPolicy/control-plane",
        "NetworkPolicy/default-deny",
        "ServiceAccount/control-plane",
        "StatefulSet/redis",
        "Deployment/sample-app",
    } <= found
    namespace = next(references.kinds(documents, "Namespace"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_entry_of_a_kustomization_changes_something(tmp_path: Path) -> None:
    """No image or patch of ours is written for an object that is not there."""
    assert list(render.idle_entries(ROOT / "k8s", tmp_path)) == []


def test_secrets_hold_no_value_and_are_not_applied() -> None:
    """The example shows names; what is not filled in cannot become a default password."""
    for folder in (BASE, COMPANY):
        assert not list(references.kinds(_rendered(folder), "Secret"))
        assert {value for s in _secrets(folder) for value in s["stringData"].values()} == {""}


def test_guide_makes_every_secret() -> None:
    """The commands of docs/deploy.md give the Secrets and members that the manifests name."""
    guide = (ROOT / "docs/deploy.md").read_text(encoding="utf-8").replace("\\\n", "")
    commands = re.findall(r"create secret generic (\S+)(.*)", guide)

    assert {
        name: set(re.findall(r"--from-(?:literal|file)=([^=]+)=", options))
        for name, options in commands
    } == {s["metadata"]["name"]: set(s["stringData"]) for s in _secrets()}


def test_redis_puts_every_write_on_disk(documents: list[Object]) -> None:
    """A definition that was acknowledged survives power loss, and none is evicted."""
    config = next(
        d["data"]["redis.conf"]
        for d in references.kinds(documents, "ConfigMap")
        if d["data"].get("redis.conf")
    )

    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(
        config.splitlines()
    )


def find(documents: list[Object], name: str) -> Object:
    """Return an object by its label; a ConfigMap's generated suffix may be left out."""
    return next(d for d in documents if render.label(d).startswith(name))


def pod(documents: list[Object], name: str) -> Object:
    spec: Object = references.template(find(documents, name))["spec"]
    return spec


def first(documents: list[Object], name: str) -> Object:
    """Return the first container: the sidecar, where there is one."""
    return references.containers(find(documents, name))[0]


SHOP, PLANE, REDIS = "Deployment/sample-app", "Deployment/control-plane", "StatefulSet/redis"


def _sidecar_last(documents: list[Object]) -> None:
    spec = pod(documents, SHOP)
    spec["initContainers"].insert(0, copy.deepcopy(spec["containers"][0]) | {"name": "migrate"})


def _drop(value: Object, *path: Any) -> None:
    *outer, last = path
    for step in outer:
        value = value[step]
    del value[last]


Change = Callable[[list[Object]], Any]
MUTATIONS: dict[str, tuple[Change, str]] = {
    "unknown member": (lambda d: find(d, PLANE)["spec"].update(replica=2), "replica"),
    "wrong type": (lambda d: find(d, PLANE)["spec"].update(replicas="two"), "'two'"),
    "removed api": (
        lambda d: find(d, "PodDisruptionBudget").update(apiVersion="policy/v1beta1"),
        "has no such kind in policy/v1beta1",
    ),
    "newer than the oldest": (
        lambda d: find(d, PLANE)["spec"]["template"]["spec"].update(resources={"limits": {}}),
        "(Kubernetes 1.29.0)",
    ),
    "object name": (lambda d: find(d, PLANE)["metadata"].update(name="Plane_1"), "not a name of 1"),
    "port name": (
        lambda d: first(d, PLANE)["ports"][0].update(name="http-for-everybody"),
        "is not 1 to 15 characters",
    ),
    "port number": (
        lambda d: first(d, PLANE)["ports"][0].update(containerPort=99999),
        "there is no port 99999",
    ),
    "port twice": (
        lambda d: first(d, PLANE)["ports"][1].update(containerPort=8000),
        "two ports share a containerPort",
    ),
    "workload selector": (
        lambda d: find(d, PLANE)["spec"]["selector"]["matchLabels"].update(tier="api"),
        "Deployment/control-plane: no pod has the labels",
    ),
    "spread selector": (
        lambda d: pod(d, PLANE)["topologySpreadConstraints"][0]["labelSelector"].update(
            matchLabels={"app.kubernetes.io/name": "redis"}
        ),
        "Deployment/control-plane: no pod has the labels",
    ),
    "service selector": (
        lambda d: find(d, "Service/redis")["spec"]["selector"].update(role="primary"),
        "Service/redis: no pod has the labels",
    ),
    "budget selector": (
        lambda d: find(d, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(x="y"),
        "PodDisruptionBudget/control-plane: no pod",
    ),
    "policy selector": (
        lambda d: find(d, "NetworkPolicy/redis")["spec"]["podSelector"]["matchLabels"].update(
            x="y"
        ),
        "NetworkPolicy/redis: no pod",
    ),
    "policy peer": (
        lambda d: find(d, "NetworkPolicy/redis")["spec"]["ingress"][0]["from"][0]["podSelector"][
            "matchLabels"
        ].update(x="y"),
        "NetworkPolicy/redis: no pod",
    ),
    "service port": (
        lambda d: find(d, "Service/control-plane")["spec"]["ports"][0].update(targetPort="web"),
        "targetPort web is no port",
    ),
    "probe port": (
        lambda d: first(d, SHOP)["readinessProbe"]["httpGet"].update(port="admin"),
        "readinessProbe asks port admin",
    ),
    "policy ingress port": (
        lambda d: find(d, "NetworkPolicy/redis")["spec"]["ingress"][0]["ports"][0].update(
            port="db"
        ),
        "port db is no port",
    ),
    "policy egress port": (
        lambda d: find(d, "NetworkPolicy/control-plane")["spec"]["egress"][0]["ports"][0].update(
            port="db"
        ),
        "port db is no port",
    ),
    "config map": (
        lambda d: first(d, PLANE)["envFrom"][0]["configMapRef"].update(name="plane"),
        "there is no ConfigMap plane",
    ),
    "secret": (
        lambda d: first(d, PLANE)["env"][0]["valueFrom"]["secretKeyRef"].update(name="plane"),
        "there is no Secret plane",
    ),
    "secret member": (
        lambda d: first(d, PLANE)["env"][0]["valueFrom"]["secretKeyRef"].update(key="token"),
        "Secret control-plane has no member token",
    ),
    "secret file": (
        lambda d: find(d, "ConfigMap/control-plane")["data"].update(
            SECRET_KEY_FILE="/run/matrixflag/key"
        ),
        "SECRET_KEY_FILE: Secret control-plane has no member key",
    ),
    "secret file in place": (
        lambda d: first(d, SHOP)["env"][1].update(value="/run/matrixflag/token"),
        "MATRIXFLAG_KEY_FILE: Secret sidecar has no member token",
    ),
    "secret volume": (
        lambda d: pod(d, SHOP)["volumes"][0]["secret"].update(secretName="keys"),
        "there is no Secret keys",
    ),
    "service account": (
        lambda d: pod(d, PLANE).update(serviceAccountName="plane"),
        "there is no ServiceAccount plane",
    ),
    "governing service": (
        lambda d: find(d, REDIS)["spec"].update(serviceName="db"),
        "there is no Service db",
    ),
    "volume not declared": (
        lambda d: pod(d, SHOP)["volumes"].pop(),
        "volume matrixflag-cache is mounted and not declared",
    ),
    "volume not mounted": (
        lambda d: first(d, REDIS)["volumeMounts"].pop(),
        "volume config is declared and never mounted",
    ),
    "address": (
        lambda d: first(d, SHOP)["env"][0].update(value="http://plane:8000"),
        "names no Service: plane",
    ),
    "address port": (
        lambda d: first(d, SHOP)["env"][0].update(value="http://control-plane:80"),
        "Service control-plane has no port 80",
    ),
    "latest": (
        lambda d: first(d, REDIS).update(image="redis:latest"),
        "redis:latest has no fixed tag",
    ),
    "no tag": (
        lambda d: first(d, REDIS).update(image="registry.example:5000/redis"),
        "redis has no fixed tag",
    ),
    "other version": (
        lambda d: first(d, SHOP).update(image="registry.example/matrixflag/proxy:0.0.9"),
        f"is not of version {VERSION}",
    ),
    "quantity": (
        lambda d: first(d, PLANE)["resources"]["limits"].update(memory="768MB"),
        "'768MB' is not a quantity",
    ),
    "size limit": (
        lambda d: pod(d, SHOP)["volumes"][1]["emptyDir"].update(sizeLimit="256 Mi"),
        "'256 Mi' is not a quantity",
    ),
    "no requests": (
        lambda d: _drop(first(d, PLANE), "resources", "requests"),
        "needs requests for cpu and memory",
    ),
    "request above limit": (
        lambda d: first(d, PLANE)["resources"]["requests"].update(memory="1Gi"),
        "requests more memory than its limit",
    ),
    "root": (lambda d: _drop(pod(d, PLANE), "securityContext", "runAsNonRoot"), "may run as root"),
    "seccomp": (
        lambda d: _drop(pod(d, REDIS), "securityContext", "seccompProfile"),
        "has no seccomp profile",
    ),
    "escalation": (
        lambda d: _drop(first(d, SHOP), "securityContext", "allowPrivilegeEscalation"),
        "may gain privileges",
    ),
    "writable root": (
        lambda d: _drop(first(d, SHOP), "securityContext", "readOnlyRootFilesystem"),
        "can write to its image",
    ),
    "capability": (
        lambda d: first(d, SHOP)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "keeps capabilities",
    ),
    "host network": (lambda d: pod(d, PLANE).update(hostNetwork=True), "hostNetwork"),
    "host path": (
        lambda d: pod(d, SHOP)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "volume host is of a kind that is not allowed",
    ),
    "token": (
        lambda d: _drop(pod(d, PLANE), "automountServiceAccountToken"),
        "mounts the token",
    ),
    "service links": (lambda d: _drop(pod(d, SHOP), "enableServiceLinks"), "service links"),
    "sidecar last": (_sidecar_last, "is not the first init container"),
    "sidecar ends": (lambda d: _drop(first(d, SHOP), "restartPolicy"), "is no native one"),
    "sidecar unprobed": (lambda d: _drop(first(d, SHOP), "startupProbe"), "the sidecar's probes"),
    "sidecar sleeps": (
        lambda d: first(d, SHOP).update(
            lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}}
        ),
        "a preStop of a native sidecar",
    ),
    "sidecar shut in": (
        lambda d: _drop(
            find(d, SHOP), "spec", "template", "metadata", "labels", "matrix-flag/sidecar"
        ),
        "cannot reach its source",
    ),
    "setting of the sidecar": (
        lambda d: first(d, SHOP)["env"][2].update(name="MATRIXFLAG_CACHE"),
        "MATRIXFLAG_CACHE is no setting",
    ),
    "setting of the control plane": (
        lambda d: find(d, "ConfigMap/control-plane")["data"].update(MATRIXFLAG_HOSTS="::"),
        "MATRIXFLAG_HOSTS is no setting",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistake_is_found(name: str, documents: list[Object]) -> None:
    """Each mistake that can be made in a manifest is named by a check."""
    change, message = MUTATIONS[name]

    change(documents)

    found = list(problems(documents, valid=_rendered()))
    assert any(message in problem for problem in found), found


def _backend(documents: list[Object]) -> Object:
    (rule,) = find(documents, "Ingress/control-plane")["spec"]["rules"]
    service: Object = rule["http"]["paths"][0]["backend"]["service"]
    return service


OVERLAY_MUTATIONS: dict[str, tuple[Change, str]] = {
    "service": (lambda d: _backend(d).update(name="plane"), "there is no Service plane"),
    "port": (lambda d: _backend(d).update(port={"name": "web"}), "has no port {'name': 'web'}"),
    "certificates": (
        lambda d: find(d, "Ingress")["spec"]["tls"][0].update(secretName="tls"),
        "there is no Secret tls",
    ),
    "setting": (
        lambda d: find(d, "ConfigMap/control-plane")["data"].update(MATRIXFLAG_OIDC_ISSUERS="x"),
        "MATRIXFLAG_OIDC_ISSUERS is no setting",
    ),
}


@pytest.mark.parametrize("name", OVERLAY_MUTATIONS)
def test_mistake_in_the_overlay_is_found(name: str, company: list[Object]) -> None:
    """As in the base."""
    change, message = OVERLAY_MUTATIONS[name]

    change(company)

    found = list(problems(company, _rendered(COMPANY), _secrets(COMPANY)))
    assert any(message in problem for problem in found), found


def test_no_sidecar_at_all_is_found(documents: list[Object]) -> None:
    """The check on sidecars cannot pass because it found none to look at."""
    rest = [document for document in documents if render.label(document) != SHOP]

    assert "there is no sidecar" in list(pods.sidecars(rest))


def test_image_that_matches_nothing_is_found(tmp_path: Path) -> None:
    """Kustomize ignores an image name with a typo; the check does not."""
    tree = shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    file = tree / "base/kustomization.yaml"
    file.write_text(file.read_text().replace("name: matrixflag/proxy", "name: matrix/proxy"))

    found = list(render.idle_entries(tree, tmp_path))

    assert len(found) == 1
    assert "images[1] changes nothing" in found[0]


def test_patch_that_changes_nothing_is_found(tmp_path: Path) -> None:
    """A patch that sets what is set already is as idle as one without a target."""
    tree = shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    patch = {
        "target": {"kind": "Deployment", "name": "control-plane"},
        "patch": '[{"op": "replace", "path": "/spec/replicas", "value": 2}]',
    }
    overlay = {"resources": ["../base"], "patches": [patch]}
    (tree / "two").mkdir()
    (tree / "two/kustomization.yaml").write_text(yaml.safe_dump(overlay))

    found = list(render.idle_entries(tree, tmp_path))

    assert len(found) == 1
    assert "patches[0] changes nothing" in found[0]
