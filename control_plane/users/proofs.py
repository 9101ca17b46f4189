"""How people prove who they are besides a password, as the API has it: asked, sent, shown."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "Added",
    "Assertion",
    "AssertionResponse",
    "Enrolment",
    "FactorsResource",
    "PasskeyChallenge",
    "PasskeyInput",
    "PasskeyPatch",
    "PasskeyResource",
    "ProofInput",
    "RecoveryCodes",
    "Registration",
    "RegistrationResponse",
    "SecondFactor",
    "TotpInput",
    "VerifyInput",
]


class SecondFactor(msgspec.Struct, frozen=True):
    """The password was right; now a second factor is asked for, at `/api/v1/auth/verify`.

    `methods` are what will do: `totp`, `passkey`, `recovery`. `passkey` is what a browser's
    `navigator.credentials.get` takes. `expires_in` is in seconds.
    """

    challenge: str
    methods: tuple[str, ...]
    expires_in: int
    passkey: dict[str, Any] | None
    mfa_required: bool = True


class PasskeyChallenge(msgspec.Struct, frozen=True):
    """What a browser's `navigator.credentials` is to be asked, as `publicKey`."""

    challenge: str
    options: dict[str, Any]
    expires_in: int


class AssertionResponse(msgspec.Struct, frozen=True, rename="camel"):
    """What an authenticator signed."""

    client_data: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str
    signature: str
    user_handle: str | None = None


class Assertion(msgspec.Struct, frozen=True, rename="camel"):
    """What `navigator.credentials.get` gave, as `toJSON()` has it; other members are not read."""

    id: str
    raw_id: str
    type: str
    response: AssertionResponse


class RegistrationResponse(msgspec.Struct, frozen=True, rename="camel"):
    """What an authenticator made."""

    client_data: str = msgspec.field(name="clientDataJSON")
    attestation_object: str
    transports: list[str] = []


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """What `navigator.credentials.create` gave, as `toJSON()` has it; the rest is not read."""

    id: str
    raw_id: str
    type: str
    response: RegistrationResponse


class VerifyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a challenge: a code, a recovery code, or what a passkey signed."""

    challenge: str
    code: str | UnsetType = UNSET
    recovery_code: str | UnsetType = UNSET
    passkey: Assertion | UnsetType = UNSET


class ProofInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks proves it again: by one of these. A passkey signs a `challenge`."""

    password: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    recovery_code: str | UnsetType = UNSET
    passkey: Assertion | UnsetType = UNSET
    challenge: str | UnsetType = UNSET


class Enrolment(msgspec.Struct, frozen=True):
    """An authenticator app that is to be set up. The secret is shown this once.

    `uri` is what the QR code in `qr`, an SVG document, says. `challenge` is for confirming.
    """

    challenge: str
    secret: str
    uri: str
    qr: str
    expires_in: int


class TotpInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code, to confirm that an authenticator app was set up."""

    challenge: str
    code: str


class PasskeyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A passkey that was made, and the name it is to have."""

    challenge: str
    name: str
    passkey: Registration


class PasskeyPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another name."""

    name: str


class Added(msgspec.Struct, frozen=True):
    """What was set up. `recovery_codes` are new ones, shown this once, with the first factor.

    `next_code_at` is when the app shows a code that can be logged in with: the one that set it up
    is used. Null for passkeys.
    """

    factor: str
    recovery_codes: list[str] | None
    next_code_at: str | None = None


class RecoveryCodes(msgspec.Struct, frozen=True):
    """New recovery codes, shown this once."""

    recovery_codes: list[str]


class PasskeyResource(msgspec.Struct, frozen=True):
    """A passkey as the API shows it."""

    id: str
    name: str
    created_at: str
    last_used_at: str | None


class FactorsResource(msgspec.Struct, frozen=True):
    """Somebody's second factors.

    `totp_since` is when an authenticator app was set up, `needed` whether a role needs one,
    `missing` whether this session reaches nothing else until one was shown.
    """

    totp_since: str | None
    passkeys: list[PasskeyResource]
    recovery_codes_left: int
    needed: bool
    missing: bool
