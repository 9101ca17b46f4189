"""Manifests as a cluster would get them: rendered by kustomize, validated against its schemas.

Kustomize is lenient where it hurts: a patch or an image name that matches nothing is no error, so
`idle_entries` renders once more without each entry and reports those that made no difference. The
validator is lenient too: an API that was removed has no schema, and that counts as a failure here.
Knows nothing of what the manifests are about; `references.py` and `pods.py` do.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.support.tools import missing

Object = dict[str, Any]

OLDEST, NEWEST = "1.29.0", kubernetes_validate.latest_version()
"""Native sidecars are on by default from 1.29; the newest is the newest with a known schema."""

_ENTRIES = ("images", "patches", "replicas", "labels", "replacements", "components")


def kubectl() -> str:
    """Return the kubectl beside this interpreter, or the one on PATH."""
    beside = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    return beside or shutil.which("kubectl") or missing("kubectl")


def render_text(folder: Path) -> str:
    """Return what `kubectl apply -k FOLDER` would send."""
    done = subprocess.run(
        [kubectl(), "kustomize", folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: Path) -> list[Object]:
    """Return the rendered objects."""
    return [document for document in yaml.safe_load_all(render_text(folder)) if document]


def label(document: Object) -> str:
    """Return how problems call an object: `Deployment/control-plane`."""
    return f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"


def schema_problems(documents: list[Object], version: str) -> Iterator[str]:
    """Yield what the schemas of a Kubernetes version refuse, unknown members and kinds included."""
    for document in documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{label(document)}: {error.message} (Kubernetes {version})"
        except kubernetes_validate.SchemaNotFoundError:
            api = document.get("apiVersion")
            yield f"{label(document)}: Kubernetes {version} has no such kind in {api}"


def idle_entries(tree: Path, scratch: Path) -> Iterator[str]:
    """Yield each entry of a kustomization below `tree` that changes nothing where it is used."""
    for source in sorted(tree.rglob("kustomization.yaml")):
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        before = render_text(source.parent)
        for member in _ENTRIES:
            for index, entry in enumerate(document.get(member, [])):
                copy = scratch / f"{source.parent.name}-{member}-{index}"
                shutil.copytree(tree, copy)
                without = document | {member: [e for e in document[member] if e is not entry]}
                target = copy / source.relative_to(tree)
                target.write_text(yaml.safe_dump(without), encoding="utf-8")
                if render_text(target.parent) == before:
                    yield f"{source.relative_to(tree)}: {member}[{index}] changes nothing: {entry}"
