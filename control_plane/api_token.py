"""The token of commands, read where this program runs: from a file or the environment."""

import os
from pathlib import Path

from proxy.contract.api_token import read_token

__all__ = ["api_token"]


def api_token(path: str | None) -> str:
    """Return the token; empty where none is given. Raises BadTokenError."""
    return read_token(path, os.environ, lambda name: Path(name).read_text(encoding="utf-8"))
