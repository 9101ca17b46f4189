"""What no schema sees: every name in the manifests leads to something that is there.

Each check takes the rendered objects and yields one line for each dead end. Selectors have to match
a pod template, ports a port of the pods meant, references a ConfigMap, Secret, ServiceAccount or
volume (Secrets are those of the example file: the base holds no values), addresses in environment
variables a Service. One namespace is assumed, as the base has.
"""

import re
from collections.abc import Iterator
from typing import Any

from tests.ops.render import Object, label

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(r"\w+://(?:[^@/]*@)?([a-z][a-z0-9.-]*)(?::(\d+))?(?:/|$)")


def kinds(documents: list[Object], *wanted: str) -> Iterator[Object]:
    return (document for document in documents if document["kind"] in wanted)


def template(workload: Object) -> Object:
    pod: Object = workload["spec"]["template"]
    return pod


def containers(workload: Object) -> list[Object]:
    """Return every container of a workload, init containers first."""
    spec = template(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def selected(documents: list[Object], labels: dict[str, str]) -> list[Object]:
    """Return the workloads whose pods carry all these labels."""
    return [
        workload
        for workload in kinds(documents, *WORKLOADS)
        if labels.items() <= template(workload)["metadata"].get("labels", {}).items()
    ]


def port_names(workloads: list[Object]) -> set[Any]:
    """Return the names and numbers that may be used for ports of these pods."""
    ports = [p for w in workloads for c in containers(w) for p in c.get("ports", [])]
    return {p.get("name") for p in ports} | {p["containerPort"] for p in ports}


def names(documents: list[Object]) -> Iterator[str]:
    """Names that the API server or another component would refuse."""
    for document in documents:
        if not _OBJECT_NAME.fullmatch(document["metadata"]["name"]):
            yield f"{label(document)}: not a name of 1 to 63 small letters, digits and dashes"
    for workload in kinds(documents, *WORKLOADS):
        ports = [p for c in containers(workload) for p in c.get("ports", [])]
        for port in ports:
            if not _PORT_NAME.fullmatch(port.get("name", "")):
                yield f"{label(workload)}: port name {port.get('name')!r} is not 1 to 15 characters"
            if not 1 <= port["containerPort"] <= 65535:
                yield f"{label(workload)}: there is no port {port['containerPort']}"
        for member in ("name", "containerPort"):
            values = [port.get(member) for port in ports]
            if len(values) != len(set(values)):
                yield f"{label(workload)}: two ports share a {member}: {values}"


def selectors(documents: list[Object]) -> Iterator[str]:
    """Selectors that match no pod template."""
    for document in documents:
        spec = document.get("spec", {})
        for labels in _own_selectors(document):
            if not labels:
                continue
            found = selected(documents, labels)
            if not found or (document["kind"] in WORKLOADS and document not in found):
                yield f"{label(document)}: no pod has the labels {labels}"
        if document["kind"] == "NetworkPolicy":
            for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
                for peer in [*rule.get("from", []), *rule.get("to", [])]:
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    if labels and not selected(documents, labels):
                        yield f"{label(document)}: no pod has the labels {labels}"


def _own_selectors(document: Object) -> Iterator[dict[str, str]]:
    """Yield the label sets by which an object finds its pods."""
    spec = document.get("spec", {})
    if document["kind"] == "Service":
        yield spec["selector"]
    elif document["kind"] == "PodDisruptionBudget":
        yield spec["selector"]["matchLabels"]
    elif document["kind"] == "NetworkPolicy":
        yield spec["podSelector"].get("matchLabels", {})
    elif document["kind"] in WORKLOADS:
        yield spec["selector"]["matchLabels"]
        for spread in template(document)["spec"].get("topologySpreadConstraints", []):
            yield spread["labelSelector"]["matchLabels"]


def ports(documents: list[Object]) -> Iterator[str]:
    """Ports of Services, probes and network policies that no container has."""
    for service in kinds(documents, "Service"):
        known = port_names(selected(documents, service["spec"]["selector"]))
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if target not in known:
                yield f"{label(service)}: targetPort {target} is no port of its pods"
    for workload in kinds(documents, *WORKLOADS):
        for container in containers(workload):
            known = {p.get("name") for p in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for action in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(action, {}).get("port")
                    if port is not None and port not in known:
                        yield f"{label(workload)}: {probe} asks port {port}, which is not there"
    for policy in kinds(documents, "NetworkPolicy"):
        yield from _policy_ports(documents, policy)


def _policy_ports(documents: list[Object], policy: Object) -> Iterator[str]:
    spec = policy["spec"]
    own = selected(documents, spec["podSelector"].get("matchLabels", {}))
    rules = [(rule, own) for rule in spec.get("ingress", [])]
    for rule in spec.get("egress", []):
        peers = [peer.get("podSelector", {}).get("matchLabels") for peer in rule.get("to", [])]
        rules.append((rule, [w for labels in peers if labels for w in selected(documents, labels)]))
    for rule, pods in rules:
        for port in rule.get("ports", []) if pods else []:
            if port["port"] not in port_names(pods):
                yield f"{label(policy)}: port {port['port']} is no port of the pods it is for"


def objects(documents: list[Object], secrets: list[Object]) -> Iterator[str]:
    """References to ConfigMaps, Secrets, ServiceAccounts, Services and volumes that are missing."""
    members = {
        (document["kind"], document["metadata"]["name"]): {
            *document.get("data", {}),
            *document.get("stringData", {}),
        }
        for document in [*documents, *secrets]
    }
    for workload in kinds(documents, *WORKLOADS):
        spec = template(workload)["spec"]
        wanted = list(_references(spec))
        wanted.append(("ServiceAccount", spec.get("serviceAccountName", "default"), None))
        if workload["kind"] == "StatefulSet":
            wanted.append(("Service", workload["spec"]["serviceName"], None))
        for kind, name, member in wanted:
            if (kind, name) not in members:
                yield f"{label(workload)}: there is no {kind} {name}"
            elif member is not None and member not in members[kind, name]:
                yield f"{label(workload)}: {kind} {name} has no member {member}"
        yield from _volumes(workload)


def secret_files(documents: list[Object], secrets: list[Object]) -> Iterator[str]:
    """Settings that name a file in a Secret's volume which the Secret has no member for."""
    members = {
        secret["metadata"]["name"]: {*secret.get("stringData", {}), *secret.get("data", {})}
        for secret in secrets
    }
    data = {d["metadata"]["name"]: d.get("data", {}) for d in kinds(documents, "ConfigMap")}
    for workload in kinds(documents, *WORKLOADS):
        volumes = template(workload)["spec"].get("volumes", [])
        of_secrets = {v["name"]: v["secret"]["secretName"] for v in volumes if "secret" in v}
        for container in containers(workload):
            values = {v["name"]: v.get("value", "") for v in container.get("env", [])}
            for source in container.get("envFrom", []):
                values |= data.get(source.get("configMapRef", {}).get("name"), {})
            for mount in container.get("volumeMounts", []):
                secret = of_secrets.get(mount["name"])
                for name, value in values.items() if secret is not None else ():
                    folder, _, member = value.rpartition("/")
                    if folder == mount["mountPath"] and member not in members.get(secret, ()):
                        yield f"{label(workload)}: {name}: Secret {secret} has no member {member}"


def ingresses(documents: list[Object], secrets: list[Object]) -> Iterator[str]:
    """Ingresses to a Service, a port or certificates that are not there."""
    services = {s["metadata"]["name"]: s for s in kinds(documents, "Service")}
    names = {secret["metadata"]["name"] for secret in secrets}
    for ingress in kinds(documents, "Ingress"):
        for tls in ingress["spec"].get("tls", []):
            if tls["secretName"] not in names:
                yield f"{label(ingress)}: there is no Secret {tls['secretName']}"
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                wanted = path["backend"]["service"]
                service = services.get(wanted["name"])
                if service is None:
                    yield f"{label(ingress)}: there is no Service {wanted['name']}"
                elif wanted["port"].get("name") not in {
                    p["name"] for p in service["spec"]["ports"]
                }:
                    yield f"{label(ingress)}: Service {wanted['name']} has no port {wanted['port']}"


def _references(value: Any) -> Iterator[tuple[str, str, str | None]]:
    """Yield kind, name and member of each ConfigMap and Secret that a pod spec names."""
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    if not isinstance(value, dict):
        return
    for member, inner in value.items():
        match member:
            case "configMapKeyRef" | "configMapRef" | "configMap":
                yield "ConfigMap", inner["name"], inner.get("key")
            case "secretKeyRef" | "secretRef":
                yield "Secret", inner["name"], inner.get("key")
            case "secret":
                yield "Secret", inner["secretName"], None
            case _:
                yield from _references(inner)


def _volumes(workload: Object) -> Iterator[str]:
    spec = template(workload)["spec"]
    claims = workload["spec"].get("volumeClaimTemplates", [])
    there = {v["name"] for v in spec.get("volumes", [])} | {c["metadata"]["name"] for c in claims}
    mounted = {m["name"] for c in containers(workload) for m in c.get("volumeMounts", [])}
    for name in sorted(mounted - there):
        yield f"{label(workload)}: volume {name} is mounted and not declared"
    for name in sorted(there - mounted):
        yield f"{label(workload)}: volume {name} is declared and never mounted"


def addresses(documents: list[Object]) -> Iterator[str]:
    """URLs in environment variables that lead to no Service, or to a port it does not have."""
    services = {s["metadata"]["name"]: s for s in kinds(documents, "Service")}
    for workload in kinds(documents, *WORKLOADS):
        for container in containers(workload):
            for variable in container.get("env", []):
                match = _ADDRESS.match(variable.get("value", ""))
                if match is None or match[1] == "localhost":
                    continue
                service = services.get(match[1])
                if service is None:
                    yield f"{label(workload)}: {variable['name']} names no Service: {match[1]}"
                elif int(match[2] or 80) not in {p["port"] for p in service["spec"]["ports"]}:
                    yield f"{label(workload)}: Service {match[1]} has no port {match[2]}"
