"""Hides units from whoever reads reports: the same HMAC in all of them, so that they still join."""

import hmac
from collections.abc import Callable

__all__ = ["make_disguise"]


def make_disguise(key: str | None) -> Callable[[str], str]:
    """Return what a unit is reported as: its HMAC-SHA256 in hexadecimal; itself without a key."""
    if key is None:
        return str
    secret = key.encode()
    return lambda unit: hmac.digest(secret, unit.encode("utf-8", "surrogatepass"), "sha256").hex()
