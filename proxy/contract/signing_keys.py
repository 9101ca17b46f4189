"""Keys of signatures as people write them: in settings, in files, on a screen. Pure.

    mf_signing_<43 characters of base64url>   private: the 32 bytes of an Ed25519 seed
    mf_verify_<43 characters of base64url>    public: the 32 bytes of an Ed25519 key

Without the prefix they are taken too, in either alphabet of base64, and so are blocks of PEM
(PKCS #8, SubjectPublicKeyInfo), which are left to a library to read. What comes before the 43
characters tells a private key from a public one: both are 32 bytes of chance.

Errors quote nothing of what was given, which may be private.
"""

import base64
import binascii
import re

__all__ = ["SIGNING_PREFIX", "VERIFY_PREFIX", "key_text", "split_keys"]

SIGNING_PREFIX = "mf_signing_"
VERIFY_PREFIX = "mf_verify_"

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_KEY_BYTES = 32
_MAX_KEYS = 8


def key_text(prefix: str, key: bytes) -> str:
    """Return the 32 bytes of a key as text."""
    return prefix + base64.urlsafe_b64encode(key).decode().rstrip("=")


def split_keys(text: str, prefix: str) -> list[bytes]:
    """Return the keys of a text, divided by commas or white space: 32 bytes, or a block of PEM.

    Raises:
        ValueError: with the rest of a sentence that begins with the name of the setting.
    """
    keys = [match[0].encode() for match in _BLOCK.finditer(text)]
    for number, word in enumerate(re.split(r"[,\s]+", _BLOCK.sub(" ", text).strip(", \n\t")), 1):
        if word:
            keys.append(_raw(word, prefix, number))
    if not keys:
        raise ValueError("holds no key")
    if len(keys) > _MAX_KEYS:
        raise ValueError(f"holds more than {_MAX_KEYS} keys")
    return keys


def _raw(word: str, prefix: str, number: int) -> bytes:
    which = f"its key {number}"
    other = VERIFY_PREFIX if prefix == SIGNING_PREFIX else SIGNING_PREFIX
    if word.startswith(other):
        kinds = ("public", "private") if prefix == SIGNING_PREFIX else ("private", "public")
        raise ValueError(f"{which} is a {kinds[0]} key, a {kinds[1]} one is needed ({prefix}...)")
    digits = word.removeprefix(prefix).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{which} is not PEM, nor {prefix} and 43 characters of base64url")
    return key
