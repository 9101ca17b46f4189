"""Make the sample's flag and a sidecar key, once: what an operator does by hand, for compose.

Logs in as an administrator, creates the flag unless it is there, and a key, all through the public
API, and logs out. Where the key file is there already nothing is done, so the administrator may
choose another password or a second factor. Compose starts it once the control plane is healthy.
Standard library only.

    CONTROL_PLANE_URL=http://localhost:8000 ADMIN_EMAIL=ada@example.com ADMIN_PASSWORD=... \\
        KEY_FILE=./key python bootstrap.py

`ADMIN_PASSWORD_FILE` names a file that holds the password instead.
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


class Api:
    """The control plane's API, as somebody who is logged in."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._headers = {"Content-Type": "application/json"}

    def post(self, path: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send a document and return status and answer."""
        body = json.dumps(document).encode()
        request = urllib.request.Request(self._base + path, body, self._headers)  # noqa: S310 - the operator's own URL
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def login(self, email: str, password: str) -> None:
        status, answer = self.post("/api/v1/auth/login", {"email": email, "password": password})
        if status != HTTPStatus.OK:
            sys.exit(f"{email} is not let in: {answer.get('detail')}")
        if "access_token" not in answer:
            sys.exit(f"{email} has a second factor, which this cannot show; make the key by hand")
        self._headers["Authorization"] = f"Bearer {answer['access_token']}"


def make_flag(api: Api) -> None:
    status, answer = api.post("/api/v1/flags/", FLAG)
    if status not in {HTTPStatus.CREATED, HTTPStatus.CONFLICT}:
        sys.exit(f"the flag was refused: {answer}")
    made = status == HTTPStatus.CREATED
    sys.stdout.write(f"flag {FLAG['key']}: {'made' if made else 'already there'}\n")


def make_key(api: Api, path: Path) -> None:
    status, answer = api.post("/api/v1/keys", KEY)
    if status != HTTPStatus.CREATED:
        sys.exit(f"the key was refused: {answer}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: a sidecar that starts meanwhile sees a whole key or none.
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(answer["key"] + "\n", encoding="ascii")
    part.rename(path)
    sys.stdout.write(f"key in {path}: made, {answer['prefix']}...\n")


def password() -> str:
    """Return the administrator's password."""
    if file := os.environ.get("ADMIN_PASSWORD_FILE"):
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    return os.environ["ADMIN_PASSWORD"]


def main() -> None:
    path = Path(os.environ["KEY_FILE"])
    if path.exists():  # it is made last
        sys.stdout.write(f"key in {path}: already there, nothing to do\n")
        return
    api = Api(os.environ["CONTROL_PLANE_URL"])
    api.login(os.environ["ADMIN_EMAIL"], password())
    make_flag(api)
    make_key(api, path)
    api.post("/api/v1/auth/logout", {})


if __name__ == "__main__":
    main()
