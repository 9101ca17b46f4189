"""Keys for tests, the same ones in every run."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.publishing.signing import Signer, SigningKey
from proxy.trust import Trust, parse_verify_keys

__all__ = ["signer", "signing_key", "trusting"]


def signing_key(name: str = "one") -> SigningKey:
    """Return the private key of a name."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


def signer(*names: str) -> Signer:
    """Return what signs with the keys of some names."""
    return Signer([signing_key(name) for name in names])


def trusting(*names: str) -> Trust:
    """Return the trust in the keys of some names."""
    return Trust(parse_verify_keys(",".join(signing_key(name).public for name in names)))
