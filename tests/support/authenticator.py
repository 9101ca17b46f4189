"""A passkey authenticator and the browser before it, in Python: honest, or not in any part of it.

Written after WebAuthn level 3, sections 6.1 and 7, and not with the library that is tested.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authenticator", "b64"]

_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


def b64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Authenticator:
    """One passkey. What it says of where it is, of its count and of its person can be untrue."""

    origin: str
    rp: str = "localhost"
    count: int = 0
    flags: int = _PRESENT | _VERIFIED
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    handle: bytes = b""

    def make(self, options: dict[str, Any], **client: Any) -> dict[str, Any]:
        """Return what `navigator.credentials.create` gives for these options."""
        self.handle = _bytes(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        attested = bytes(16) + len(self.id).to_bytes(2) + self.id + cbor2.dumps(key)
        data = self._data(_ATTESTED) + attested
        said = {"fmt": "none", "attStmt": {}, "authData": data}
        return self._credential(
            clientDataJSON=self._client("webauthn.create", options["challenge"], client),
            attestationObject=b64(cbor2.dumps(said)),
            transports=["internal"],
        )

    def sign(self, options: dict[str, Any], **client: Any) -> dict[str, Any]:
        """Return what `navigator.credentials.get` gives for these options."""
        self.count += 1
        said = self._client("webauthn.get", options["challenge"], client)
        data = self._data(0)
        signed = data + hashlib.sha256(_bytes(said)).digest()
        return self._credential(
            clientDataJSON=said,
            authenticatorData=b64(data),
            signature=b64(self.key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            userHandle=b64(self.handle),
        )

    def _data(self, flags: int) -> bytes:
        head = hashlib.sha256(self.rp.encode()).digest()
        return head + bytes([self.flags | flags]) + self.count.to_bytes(4)

    def _client(self, kind: str, challenge: str, client: dict[str, Any]) -> str:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return b64(json.dumps(said | client).encode())

    def _credential(self, **response: Any) -> dict[str, Any]:
        return {
            "id": b64(self.id),
            "rawId": b64(self.id),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
        }


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
