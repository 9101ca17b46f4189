"""Passkeys (WebAuthn): what a browser is asked for, and whether what it gave is good.

The relying party is the host of `MATRIXFLAG_PUBLIC_URL`. Attestation is not asked for: who made an
authenticator is nobody's matter here. The library that reads what authenticators say is loaded
when it is first needed, and runs in a thread, because loading it takes most of a second.

What is refused is refused without a reason: which part did not fit helps only who forges.
"""

import asyncio
import base64
import ipaddress
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from control_plane.users.model import PasskeyRecord, UserRecord
from control_plane.users.proofs import Assertion, Registration

__all__ = ["Passkeys", "decoded", "encoded"]

logger = logging.getLogger(__name__)

_NAME = "Matrix Flag"
_ALGORITHMS = (-8, -7, -257)  # EdDSA, ES256, RS256: what all authenticators have one of
_TIMEOUT_MS = 300_000
_MAX_CHARS = 16_000
"""Of each part that a browser sends; attestations with certificates are a few thousand."""


_MAX_KEPT_BYTES = 1_023
"""Of an id, by the standard, and of a public key, of which RSA's of 4,096 bits takes half."""


class Passkeys:
    """The relying party; there is none without a public address, or at one that is no name."""

    def __init__(self, public_url: str, origins: Sequence[str] = ()) -> None:
        self._host = _name_of(public_url)
        own = [public_url.rstrip("/")] if public_url else []
        self._origins = own + [origin for origin in origins if self._is_below(origin)]

    @property
    def can_be_used(self) -> bool:
        """Whether there is a relying party."""
        return bool(self._host)

    def creation(self, user: UserRecord, challenge: bytes) -> dict[str, Any]:
        """Return PublicKeyCredentialCreationOptionsJSON."""
        return {
            "rp": {"id": self._host, "name": _NAME},
            "user": {
                "id": encoded(user.id.encode()),
                "name": user.email,
                "displayName": user.name or user.email,
            },
            "challenge": encoded(challenge),
            "pubKeyCredParams": [{"type": "public-key", "alg": each} for each in _ALGORITHMS],
            "timeout": _TIMEOUT_MS,
            "excludeCredentials": _descriptors(user.passkeys),
            "authenticatorSelection": {
                "residentKey": "preferred",
                "requireResidentKey": False,
                "userVerification": "preferred",
            },
            "attestation": "none",
        }

    def request(self, passkeys: Sequence[PasskeyRecord], challenge: bytes) -> dict[str, Any]:
        """Return PublicKeyCredentialRequestOptionsJSON; of no passkeys, for one that is found."""
        return {
            "rpId": self._host,
            "challenge": encoded(challenge),
            "timeout": _TIMEOUT_MS,
            "allowCredentials": _descriptors(passkeys),
            "userVerification": "preferred" if passkeys else "required",
        }

    async def register(
        self, registration: Registration, challenge: bytes, name: str, at: str
    ) -> PasskeyRecord | None:
        """Return the passkey that was made, None when it is not good."""
        return await asyncio.to_thread(self._registered, registration, challenge, name, at)

    async def check(
        self, assertion: Assertion, passkey: PasskeyRecord, challenge: bytes, *, alone: bool
    ) -> int | None:
        """Return how often a passkey says it was used, None when it is not good.

        `alone`, without a password, it must have known its person, by a finger or a PIN.
        """
        return await asyncio.to_thread(self._checked, assertion, passkey, challenge, alone)

    def _registered(
        self, registration: Registration, challenge: bytes, name: str, at: str
    ) -> PasskeyRecord | None:
        from webauthn import verify_registration_response

        if _is_long(registration.response):
            return None
        try:
            made = verify_registration_response(
                credential=msgspec.to_builtins(registration),
                expected_challenge=challenge,
                expected_rp_id=self._host,
                expected_origin=self._origins,
            )
        except Exception as error:  # whatever a parser of foreign bytes stumbles over
            logger.info("a passkey was refused: %s", type(error).__name__)
            return None
        if max(len(made.credential_id), len(made.credential_public_key)) > _MAX_KEPT_BYTES:
            return None
        return PasskeyRecord(
            id=encoded(made.credential_id),
            name=name,
            key=encoded(made.credential_public_key),
            count=made.sign_count,
            created_at=at,
            transports=tuple(t for t in registration.response.transports[:8] if len(t) <= 32),
        )

    def _checked(
        self, assertion: Assertion, passkey: PasskeyRecord, challenge: bytes, alone: bool
    ) -> int | None:
        from webauthn import verify_authentication_response

        if _is_long(assertion.response) or assertion.id != passkey.id:
            return None
        try:
            proved = verify_authentication_response(
                credential=msgspec.to_builtins(assertion),
                expected_challenge=challenge,
                expected_rp_id=self._host,
                expected_origin=self._origins,
                credential_public_key=decoded(passkey.key) or b"",
                credential_current_sign_count=passkey.count,
                require_user_verification=alone,
            )
        except Exception as error:  # whatever a parser of foreign bytes stumbles over
            logger.info("a passkey was refused: %s", type(error).__name__)
            return None
        return proved.new_sign_count

    def _is_below(self, origin: str) -> bool:
        host = urlsplit(origin).hostname or ""
        return bool(self._host) and (host == self._host or host.endswith("." + self._host))


def _name_of(url: str) -> str:
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""  # browsers make no passkeys for numbers


def encoded(data: bytes) -> str:
    """Return bytes as WebAuthn writes them: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes | None:
    """Return the bytes of such a text, None when it is none."""
    if len(text) > _MAX_CHARS or not text.isascii():
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None


def _descriptors(passkeys: Sequence[PasskeyRecord]) -> list[dict[str, Any]]:
    return [
        {"type": "public-key", "id": each.id, "transports": list(each.transports)}
        for each in passkeys
    ]


def _is_long(response: msgspec.Struct) -> bool:
    return any(
        isinstance(value, str) and len(value) > _MAX_CHARS
        for value in msgspec.structs.astuple(response)
    )
