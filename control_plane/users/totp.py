"""Codes of authenticator apps (RFC 6238) and recovery codes. Pure but for chance.

Six digits, SHA-1, 30 seconds: what every app does. A code is good in its step, the one before and
the one after, for clocks that differ. Which step it was of is returned: the caller keeps it, and
takes no code of that step or an earlier one again.
"""

import base64
import hmac
import secrets
from hashlib import sha256

__all__ = [
    "RECOVERY_CODES",
    "STEP_S",
    "new_recovery_codes",
    "new_secret",
    "picture",
    "provisioning_uri",
    "recovery_hash",
    "step_of",
]

STEP_S = 30
"""How long an app shows a code."""
RECOVERY_CODES = 10
ISSUER = "Matrix Flag"
_SECRET_BYTES = 20  # RFC 4226 recommends 160 bits
_RECOVERY_BYTES = 10  # 80 bits: nobody guesses them, not even from their hashes


def new_secret() -> str:
    """Return a new secret, base32."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def provisioning_uri(secret: str, email: str) -> str:
    """Return what an authenticator app is told."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def picture(uri: str) -> str:
    """Return a QR code as an SVG document. Costs some milliseconds."""
    import segno

    return segno.make_qr(uri).svg_inline(scale=4, border=4)


def step_of(secret: str, code: str, now_s: float, used: int) -> int | None:
    """Return the step that a code is of, None when it is wrong or of a step that is used up.

    All three steps are compared in any case.
    """
    import pyotp

    plain = code.replace(" ", "")
    if len(plain) != 6 or not (plain.isascii() and plain.isdigit()):
        return None
    totp = pyotp.TOTP(secret)
    now = int(now_s // STEP_S)
    found = None
    for step in (now - 1, now, now + 1):
        right = hmac.compare_digest(totp.generate_otp(step), plain)
        if right and step > used:
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Return new codes, as they are shown: four groups of four letters and digits."""
    codes = []
    for _ in range(RECOVERY_CODES):
        text = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
        codes.append("-".join(text[start : start + 4] for start in range(0, 16, 4)))
    return codes


def recovery_hash(user: str, code: str) -> str:
    """Return what is kept of a recovery code; how it is typed, capitals and hyphens, is no matter.

    It is of this person alone. Random as the codes are, no slow hash is needed.
    """
    plain = "".join(c for c in code.lower() if c.isalnum())[:64]
    return sha256(f"{user}\0{plain}".encode("utf-8", "surrogatepass")).hexdigest()
