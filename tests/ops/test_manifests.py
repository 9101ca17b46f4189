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
from proxy.settings import ProxySettings
from tests.ops import pods, references, render
from tests.ops.render import Object

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s/base"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
KNOWN = {"matrixflag/proxy": ProxySettings, "matrixflag/control-plane": Settings}


@cache
def _rendered() -> list[Object]:
    return render.render(BASE)


@cache
def _secrets() -> list[Object]:
    text = (BASE / "secrets.example.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def problems(documents: list[Object], valid: list[Object]) -> Iterator[str]:
    """Yield what any check says of these objects; those known to be `valid` skip the schemas."""
    for version in (render.OLDEST, render.NEWEST):
        yield from render.schema_problems([d for d in documents if d not in valid], version)
    yield from references.names(documents)
    yield from references.selectors(documents)
    yield from references.ports(documents)
    yield from references.objects(documents, _secrets())
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


def test_base_passes_every_check(documents: list[Object]) -> None:
    """What is shipped renders, validates at both ends of the versions, and refers well."""
    assert list(problems(documents, valid=[])) == []
    assert list(render.schema_problems(_secrets(), render.NEWEST)) == []


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


def test_secrets_hold_no_value_and_are_not_applied(documents: list[Object]) -> None:
    """The example shows names; what is not filled in cannot become a default password."""
    assert not list(references.kinds(documents, "Secret"))
    assert {value for s in _secrets() for value in s["stringData"].values()} == {""}


def test_guide_makes_every_secret() -> None:
    """The commands of docs/deploy.md give the Secrets and members that the manifests name."""
    guide = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    commands = re.findall(r"create secret generic (\S+) --from-literal=([^=]+)=", guide)

    assert dict(commands) == {
        s["metadata"]["name"]: member for s in _secrets() for member in s["stringData"]
    }


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
