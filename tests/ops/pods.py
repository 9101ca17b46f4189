"""How pods are run: images, resources, the restricted profile, the sidecar's place and settings.

Each check takes the rendered objects and yields one line for each fault. The restricted profile is
that of the Pod Security Standards; where it is broken the API server refuses pods, not Deployments,
and only an event of the ReplicaSet tells. Stricter than the profile: read-only root, no token of
the service account, no service links.
"""

import re
from collections.abc import Iterator
from typing import Any

from proxy.contract.settings import rows
from tests.ops.references import WORKLOADS, containers, kinds, template
from tests.ops.render import Object, label

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_SCALE = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SCALE |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)}
_OURS = "matrixflag/"
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}
_VOLUMES |= {"persistentVolumeClaim"}


def quantity(text: Any) -> float | None:
    """Return the number that a Kubernetes quantity stands for, or None when it is none."""
    match = _QUANTITY.fullmatch(str(text))
    return float(match[1]) * _SCALE[match[2] or ""] if match else None


def images(documents: list[Object], version: str) -> Iterator[str]:
    """Images without a fixed tag, and ours with another tag than the version."""
    for workload in kinds(documents, *WORKLOADS):
        for container in containers(workload):
            name, _, tag = container["image"].partition("@")[0].rpartition(":")
            if not name or "/" in tag or tag == "latest":
                yield f"{label(workload)}: image {container['image']} has no fixed tag"
            elif f"/{name}".find(f"/{_OURS}") >= 0 and tag != version:
                yield f"{label(workload)}: image {container['image']} is not of version {version}"


def resources(documents: list[Object]) -> Iterator[str]:
    """Missing requests or memory limits, quantities that are none, requests above limits."""
    for document in documents:
        for path, text in _quantities(document):
            if quantity(text) is None:
                yield f"{label(document)}: {path}: {text!r} is not a quantity"
    for workload in kinds(documents, *WORKLOADS):
        for container in containers(workload):
            where = f"{label(workload)}: {container['name']}"
            requests = container.get("resources", {}).get("requests", {})
            limits = container.get("resources", {}).get("limits", {})
            if not {"cpu", "memory"} <= requests.keys() or "memory" not in limits:
                yield f"{where}: needs requests for cpu and memory and a limit of memory"
            for name in requests.keys() & limits.keys():
                if (quantity(requests[name]) or 0) > (quantity(limits[name]) or 0):
                    yield f"{where}: requests more {name} than its limit"


def _quantities(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _quantities(item, f"{path}/{index}")
    if isinstance(value, dict):
        for member, inner in value.items():
            below = f"{path}/{member}"
            if member in {"requests", "limits"} and isinstance(inner, dict):
                yield from ((f"{below}/{name}", text) for name, text in inner.items())
            elif member == "sizeLimit":
                yield below, inner
            else:
                yield from _quantities(inner, below)


def restricted(documents: list[Object]) -> Iterator[str]:
    """What the restricted profile refuses, and what we refuse beyond it."""
    for workload in kinds(documents, *WORKLOADS):
        spec = template(workload)["spec"]
        where = label(workload)
        for member in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(member):
                yield f"{where}: {member}"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{where}: mounts the token of its service account"
        if spec.get("enableServiceLinks") is not False:
            yield f"{where}: service links may set variables that read as settings"
        for volume in spec.get("volumes", []):
            if not volume.keys() - {"name"} <= _VOLUMES:
                yield f"{where}: volume {volume['name']} is of a kind that is not allowed"
        for container in containers(workload):
            for fault in _container_faults(spec.get("securityContext", {}), container):
                yield f"{where}: {container['name']} {fault}"


def _container_faults(pod: Object, container: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = pod | own
    if both.get("runAsNonRoot") is not True or not both.get("runAsUser"):
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "has no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "may gain privileges"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "can write to its image"
    capabilities = own.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])):
        yield "keeps capabilities"


def sidecars(documents: list[Object]) -> Iterator[str]:
    """Sidecars that are not native, not first, not probed, or in a pod that may not call home."""
    found = False
    for workload in kinds(documents, *WORKLOADS):
        spec = template(workload)["spec"]
        where = label(workload)
        for index, container in enumerate(containers(workload)):
            if f"{_OURS}proxy:" not in container["image"]:
                continue
            found = True
            if index != 0 or container not in spec.get("initContainers", []):
                yield f"{where}: the sidecar is not the first init container"
            if container.get("restartPolicy") != "Always":
                yield f"{where}: the sidecar is no native one: restartPolicy is not Always"
            paths = {p: container.get(p, {}).get("httpGet", {}).get("path") for p in _PROBES}
            if paths != _PROBES:
                yield f"{where}: the sidecar's probes are {paths}"
            if "preStop" in container.get("lifecycle", {}):
                yield f"{where}: a preStop of a native sidecar runs while the application lives"
            labels = template(workload)["metadata"].get("labels", {})
            if labels.get("matrix-flag/sidecar") != "true":
                yield f"{where}: without the label matrix-flag/sidecar it cannot reach its source"
    if not found:
        yield "there is no sidecar"


_PROBES = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


def settings(documents: list[Object], known: dict[str, type]) -> Iterator[str]:
    """Variables of our containers that are no setting; `known` is the settings of each image."""
    data = {d["metadata"]["name"]: d.get("data", {}) for d in kinds(documents, "ConfigMap")}
    for workload in kinds(documents, *WORKLOADS):
        for container in containers(workload):
            image = container["image"].partition(":")[0]
            if image not in known:
                continue
            allowed = {row.env for row in rows(known[image])}
            given = [variable["name"] for variable in container.get("env", [])]
            for source in container.get("envFrom", []):
                given += data.get(source.get("configMapRef", {}).get("name"), {})
            used = str([variable.get("value") for variable in container.get("env", [])])
            for name in given:
                if name not in allowed and f"$({name})" not in used:
                    yield f"{label(workload)}: {name} is no setting of {image}"
