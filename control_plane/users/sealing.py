"""Small secrets sealed under `SECRET_KEY`: stored ones, and those that a caller brings back. Pure.

AES-256-GCM under keys derived from the secrets; `kid`, in front, names which. As with access
tokens the first secret seals and all of them open. What a seal is for is bound to it: one that was
made for something else, or for somebody else, does not open.
"""

import base64
import hmac
import secrets as random
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Sealer"]

_NONCE_BYTES = 12
_MAX_CHARS = 4_000


class Sealer:
    """Seals and opens; without secrets it does neither."""

    def __init__(self, secrets: Sequence[str]) -> None:
        keys = [hmac.digest(secret.encode(), b"matrixflag seals 1", "sha256") for secret in secrets]
        self._keys = {sha256(key).hexdigest()[:16]: AESGCM(key) for key in keys}
        self._first = next(iter(self._keys), None)

    def seal(self, content: bytes, *purpose: str) -> str:
        """Return the content sealed for a purpose; raises ValueError without a secret."""
        if self._first is None:
            raise ValueError("there is no secret to seal with")
        nonce = random.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._keys[self._first].encrypt(nonce, content, _bound(purpose))
        return f"{self._first}.{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def open(self, text: str, *purpose: str) -> bytes | None:
        """Return what was sealed for this purpose, None for what was not, or is changed."""
        if len(text) > _MAX_CHARS or not text.isascii():
            return None
        kid, _, body = text.partition(".")
        try:
            sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            return self._keys[kid].decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(purpose)
            )
        except (KeyError, ValueError, InvalidTag):
            return None

    def is_current(self, text: str) -> bool:
        """Return whether a seal is under the first secret."""
        return text.partition(".")[0] == self._first


def _bound(purpose: Sequence[str]) -> bytes:
    return "\0".join(purpose).encode()
