"""What is signed of a snapshot: a fixed text of everything that its header says.

    matrixflag-snapshot-1
    schema 1.2
    project default
    environment production
    epoch 5fd09d41a8b2c7e3
    revision 42
    digest 9c1e...
    entries 3
    created_at 2026-12-01T09:00:00.000Z
    max_age_s none

Ten lines, each ended by a newline, in this order. The first one says what is signed and how, so
that a signature under something else is none under this. The digest binds the entries. A member
that matters and is added to the header needs another first line, under which old readers find no
signature: during a change both texts are signed.

The text of a header is the only one: members stand each in a line of their own, and a value that
could make a line of itself is not signed. Signing and verifying are elsewhere; this is pure.
"""

import re
from hashlib import sha256

from proxy.contract.snapshot import SnapshotHeader

__all__ = ["MAX_SIGNATURES", "NotStatable", "key_id", "statement"]

MAX_SIGNATURES = 8
"""Signatures of a snapshot that are read: two are enough to change keys, and each costs time."""

_FIRST_LINE = "matrixflag-snapshot-1"
_VALUE = re.compile(r"[!-~]{0,200}")
_TEXTS = ("schema", "project", "environment", "epoch", "digest", "created_at")
_KEY_ID_DIGITS = 16


class NotStatable(ValueError):
    """A header holds a value that has no place in a statement; the text names the member."""


def statement(header: SnapshotHeader) -> bytes:
    """Return the text that is signed of a header; the signatures in it have no part in it.

    Raises:
        NotStatable: a text has other characters than the visible ones of ASCII, or over 200.
    """
    for member in _TEXTS:
        if not _VALUE.fullmatch(getattr(header, member)):
            raise NotStatable(f"{member} has characters that are not signed")
    lines = (
        _FIRST_LINE,
        f"schema {header.schema}",
        f"project {header.project}",
        f"environment {header.environment}",
        f"epoch {header.epoch}",
        f"revision {header.revision}",
        f"digest {header.digest}",
        f"entries {header.entries}",
        f"created_at {header.created_at}",
        f"max_age_s {'none' if header.max_age_s is None else header.max_age_s}",
        "",
    )
    return "\n".join(lines).encode("ascii")


def key_id(public_key: bytes) -> str:
    """Return what names a public key, given its 32 bytes: 16 digits of its SHA-256."""
    return sha256(public_key).hexdigest()[:_KEY_ID_DIGITS]
