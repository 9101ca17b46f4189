"""Signs what the header of a snapshot says, with one key, or two while they are being changed.

Ed25519 makes one signature of one text, so replicas with the same keys publish the same bytes. The
library is loaded when there are keys, not before. A signature takes some 40 microseconds; a header
is signed when it is asked for, once for each revision (`publishing.snapshots`).
"""

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from proxy.contract.signing_keys import SIGNING_PREFIX, VERIFY_PREFIX, key_text, split_keys
from proxy.contract.snapshot import Signature, SnapshotHeader
from proxy.contract.statement import key_id, statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Sign", "Signer", "SigningKey", "new_signing_key", "parse_signing_keys", "unsigned"]

Sign = Callable[[SnapshotHeader], SnapshotHeader]
"""Returns a header with its signatures."""


class SigningKey:
    """A private key. Nothing of it is shown by accident."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key
        raw = key.public_key().public_bytes_raw()
        self.id = key_id(raw)
        self.public = key_text(VERIFY_PREFIX, raw)
        """The public key as sidecars are given it."""

    def sign(self, text: bytes) -> Signature:
        """Return the signature of a text."""
        return Signature(self.id, base64.b64encode(self._key.sign(text)).decode())

    def private(self) -> str:
        """Return the key itself, as the setting takes it."""
        return key_text(SIGNING_PREFIX, self._key.private_bytes_raw())

    def __repr__(self) -> str:
        return f"<SigningKey {self.id}>"


class Signer:
    """Signs with each of some keys, in the order of their ids, so that all replicas do alike."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = sorted(keys, key=lambda key: key.id)

    def __call__(self, header: SnapshotHeader) -> SnapshotHeader:
        """Return a header with its signatures."""
        text = statement(header)
        signatures = tuple(key.sign(text) for key in self._keys)
        return msgspec.structs.replace(header, signatures=signatures)


def unsigned(header: SnapshotHeader) -> SnapshotHeader:
    """Return a header as it is: what is done where no key is configured."""
    return header


def new_signing_key() -> SigningKey:
    """Return a key that nobody has."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return SigningKey(Ed25519PrivateKey.generate())


def parse_signing_keys(text: str) -> tuple[SigningKey, ...]:
    """Return the private keys of a setting.

    Raises:
        ValueError: with the rest of a sentence that begins with the name of the setting.
    """
    keys = {key.id: key for key in map(_private, split_keys(text, SIGNING_PREFIX))}
    return tuple(keys.values())


def _private(key: bytes) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not key.startswith(b"-----"):
        return SigningKey(Ed25519PrivateKey.from_private_bytes(key))
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("holds a block of PEM that is no private key, or has a password") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ValueError("holds a private key that is not of Ed25519")  # noqa: TRY004 - a setting
    return SigningKey(loaded)
