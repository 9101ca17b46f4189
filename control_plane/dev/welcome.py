"""What `matrixflag dev` says once everything answers."""

import json
from pathlib import Path

from control_plane.dev.data_dir import DevDocument
from control_plane.dev.sample import SAMPLE, SAMPLE_KEY

__all__ = ["curl_lines", "welcome"]


def welcome(document: DevDocument, document_path: Path, *, embedded: bool) -> str:
    """Return the text: where everything is, and three lines to paste."""
    ask, change, count = curl_lines(document)
    kept = document_path.parent if embedded else "the Redis of --redis-url or REDIS_URL"
    return f"""\
Matrix Flag is running. Ctrl-C stops it; what you change is kept in {kept}

  control plane  {document.control_plane_url}   API; /docs and /redoc describe it, /health
  its metrics    {document.metrics_url}/metrics
  sidecar        {document.sidecar_url}   OFREP: applications ask here
  its admin      {document.admin_url}   /statusz, /metrics
  all of this    {document_path}

Ask the sidecar for the sample flag:

  {ask}

Change the flag, then ask again:

  {change}

See how often each answer was given:

  {count}
"""


def curl_lines(document: DevDocument) -> tuple[str, str, str]:
    """Return three commands for a shell: ask, change, count. Each may be pasted many times."""
    json_type = "-H 'Content-Type: application/json'"
    context = json.dumps({"context": {"targetingKey": "user-1"}})
    changed = json.dumps(
        {name: SAMPLE[name] for name in ("key", "type", "enabled")} | {"value": "Bonjour!"}
    )
    return (
        f"curl -X POST {document.sidecar_url}/ofrep/v1/evaluate/flags/{SAMPLE_KEY}"
        f" {json_type} -d '{context}'",
        f"curl -X PUT {document.control_plane_url}/api/v1/flags/{SAMPLE_KEY}"
        f" {json_type} -d '{changed}'",
        f"curl -s {document.admin_url}/metrics | grep {SAMPLE_KEY}",
    )
