"""What schemathesis has to be told: how lines of JSON are written, and that tokens grow old."""

import json
import os
import time
from pathlib import Path
from typing import Any

import requests
import schemathesis

__all__ = ["as_lines", "before_call"]

# The access token that a run was begun with, and where the tokens are that came after it
_FIRST = f"Bearer {os.environ.get('MATRIXFLAG_FUZZ_TOKEN', '')}"
_TOKENS = Path(os.environ.get("MATRIXFLAG_FUZZ_TOKENS", "none"))
_URL = os.environ.get("MATRIXFLAG_FUZZ_URL", "")
_FRESH_S = float(os.environ.get("MATRIXFLAG_FUZZ_FRESH_S", "240"))  # they are good for ten minutes
_WAIT_S = 30


@schemathesis.serializer("application/x-ndjson")
def as_lines(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Return what was made up as a body: text as it is, anything else as a line."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]
) -> None:
    """Have a token that is still good sent in the place of the first one."""
    if _TOKENS.exists():
        kwargs["auth"] = _fresh


def _fresh(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return a request with the token of now, if it has one; a long run outlives the first."""
    if request.headers.get("Authorization") == _FIRST:
        request.headers["Authorization"] = f"Bearer {_access_token()}"
    return request


def _access_token() -> str:
    tokens = json.loads(_TOKENS.read_text())
    if time.time() - _TOKENS.stat().st_mtime > _FRESH_S:
        body = {"refresh_token": tokens["refresh_token"]}
        answer = requests.post(f"{_URL}/api/v1/auth/refresh", json=body, timeout=_WAIT_S)
        assert answer.ok, answer.text
        tokens = answer.json()
        _TOKENS.write_text(json.dumps(tokens))
    return str(tokens["access_token"])
