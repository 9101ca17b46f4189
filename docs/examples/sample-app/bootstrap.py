"""Make the sample's flag and a sidecar key, once: what an operator does by hand, for compose.

Creates the flag unless it is there, and a sidecar key unless the key file is there, through the
public API; running it again changes nothing. Compose starts it once the
control plane is healthy. Standard library only.

    CONTROL_PLANE_URL=http://localhost:8000 ADMIN_TOKEN=... KEY_FILE=./key python bootstrap.py
"""

import json
import os
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

FLAG = {
    "key": "new-greeting",
    "name": "New greeting",
    "description": "Greets with the new text; the sample application asks for it",
    "type": "boolean",
    "value": True,
    "enabled": True,
}
KEY = {"kind": "sidecar", "name": "sample application", "environment": "production"}


def post(url: str, token: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send a document and return status and answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)  # noqa: S310 - the operator's own URL
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def make_flag(base: str, token: str) -> None:
    status, answer = post(f"{base}/api/v1/flags/", token, FLAG)
    if status not in {HTTPStatus.CREATED, HTTPStatus.CONFLICT}:
        sys.exit(f"the flag was refused: {answer}")
    sys.stdout.write(f"flag {FLAG['key']}: {'made' if status == 201 else 'already there'}\n")


def make_key(base: str, token: str, path: Path) -> None:
    if path.exists():
        sys.stdout.write(f"key in {path}: already there\n")
        return
    status, answer = post(f"{base}/api/v1/keys", token, KEY)
    if status != HTTPStatus.CREATED:
        sys.exit(f"the key was refused: {answer}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: a sidecar that starts meanwhile sees a whole key or none.
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(answer["key"] + "\n", encoding="ascii")
    part.rename(path)
    sys.stdout.write(f"key in {path}: made, {answer['prefix']}...\n")


def main() -> None:
    base, token = os.environ["CONTROL_PLANE_URL"].rstrip("/"), os.environ["ADMIN_TOKEN"]
    make_flag(base, token)
    make_key(base, token, Path(os.environ["KEY_FILE"]))


if __name__ == "__main__":
    main()
