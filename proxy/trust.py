"""Whose snapshots are served: those that a trusted key has signed, when keys are given.

The library is loaded when there are keys, not before: most sidecars start without it. A signature
takes 0.1 ms to verify, so that it is done where it is asked for.

Rules:
- One good signature of one trusted key is enough; that is how keys are changed.
- What was not signed, or by nobody who is trusted, is refused, wherever it comes from but a file.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.contract.signing_keys import VERIFY_PREFIX, split_keys
from proxy.contract.snapshot import SnapshotHeader, SnapshotRefused
from proxy.contract.statement import MAX_SIGNATURES, NotStatable, key_id, statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Trust", "parse_verify_keys"]


class Trust:
    """Some public keys, at least one."""

    def __init__(self, public_keys: Sequence[bytes]) -> None:
        """Take keys of 32 bytes each."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self._keys: dict[str, Ed25519PublicKey] = {
            key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in public_keys
        }

    @property
    def key_ids(self) -> list[str]:
        """What names the keys, in order."""
        return sorted(self._keys)

    def verify(self, header: SnapshotHeader) -> None:
        """Return if a trusted key has signed what the header says.

        Raises:
            SnapshotRefused: `signature`, with what is wrong.
        """
        if not header.signatures:
            raise SnapshotRefused("signature", "it is not signed")
        if len(header.signatures) > MAX_SIGNATURES:
            raise SnapshotRefused("signature", f"more than {MAX_SIGNATURES} signatures")
        try:
            signed = statement(header)
        except NotStatable as error:
            raise SnapshotRefused("signature", str(error)) from None
        known = False
        for each in header.signatures:
            key = self._keys.get(each.key_id)
            if key is not None:
                known = True
                if _is_good(key, each.signature, signed):
                    return
        if known:
            raise SnapshotRefused("signature", "the signature is not of what the header says")
        names = ", ".join(each.key_id[:16] for each in header.signatures)
        raise SnapshotRefused("signature", f"signed by {names!a}, of which none is trusted")


def parse_verify_keys(text: str) -> tuple[bytes, ...]:
    """Return the public keys of a setting, 32 bytes each.

    Raises:
        ValueError: with the rest of a sentence that begins with the name of the setting.
    """
    return tuple(_public(key) for key in split_keys(text, VERIFY_PREFIX))


def _public(key: bytes) -> bytes:
    """Return the bytes of a key that may be a block of PEM; it need not be a point of the curve."""
    if not key.startswith(b"-----"):
        return key
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        loaded = load_pem_public_key(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("holds a block of PEM that is no public key") from None
    if not isinstance(loaded, Ed25519PublicKey):
        raise ValueError("holds a public key that is not of Ed25519")  # noqa: TRY004 - of a setting
    return loaded.public_bytes_raw()


def _is_good(key: "Ed25519PublicKey", signature: str, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
