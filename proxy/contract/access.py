"""Keys that programs present: their form and their hash.

A key is `mf_<kind>_<43 characters of base64url>`, 256 random bits, so a plain SHA-256 is enough to
keep it unreadable at rest: there is nothing to guess. Making one needs randomness and is the
control plane's.
"""

import hashlib
import re

from proxy.contract.codes import KeyKind

__all__ = ["KEY_PATTERN", "hash_key", "key_from_headers", "key_kind", "key_prefix"]

KEY_PATTERN = re.compile(r"mf_(sidecar|server|client|service)_[A-Za-z0-9_-]{43}")
_PREFIX_CHARS = 6  # of the secret part, shown to tell keys apart; 220 bits stay unknown


def hash_key(key: str) -> str:
    """Return what is stored of a key, and compared: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_kind(key: str) -> KeyKind | None:
    """Return the kind that a well-formed key names itself, or None."""
    match = KEY_PATTERN.fullmatch(key)
    return KeyKind(match.group(1)) if match else None


def key_prefix(key: str) -> str:
    """Return the part of a key that may be shown: kind and the first characters of the secret."""
    match = KEY_PATTERN.fullmatch(key)
    if match is None:
        raise ValueError("not a key")
    return key[: match.end(1) + 1 + _PREFIX_CHARS]


def key_from_headers(authorization: str | None, x_api_key: str | None) -> str | None:
    """Return the key of `Authorization: Bearer KEY`, or else of `X-API-Key`, or None.

    A scheme other than Bearer counts as a wrong key, not as none.
    """
    if authorization is not None:
        scheme, _, value = authorization.strip().partition(" ")
        return value.strip() if scheme.lower() == "bearer" else authorization
    return x_api_key
