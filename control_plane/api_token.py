"""The token with which commands of the control plane ask it: from a file or the environment.

It is no argument, because those are seen in the list of processes.
"""

import os
from pathlib import Path

__all__ = ["VARIABLE", "UnreadableTokenError", "api_token"]

VARIABLE = "MATRIXFLAG_TOKEN"


class UnreadableTokenError(Exception):
    """The file that is to hold the token cannot be read; the text names it."""


def api_token(path: str | None) -> str:
    """Return the token, empty where none is given; raises UnreadableTokenError."""
    if path is None:
        return os.environ.get(VARIABLE, "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        raise UnreadableTokenError(f"--token-file {path}: cannot be read") from None
