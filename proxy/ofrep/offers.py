"""What bulk answers say of event streams, and the tokens in the URLs that they hand out. Pure.

A browser's `EventSource` sends no headers of the page's choice, so the URL says who may listen.
A token tells which key asked, for which hour, and a MAC over that:

    token = window "." first 8 digits of the key's hash "." MAC
    MAC   = HMAC-SHA256(the key's hash, "matrixflag stream " window): 16 bytes of it, base64url

The hash of an evaluation key comes with the snapshot and is shown to nobody, so every sidecar of an
environment makes the same token, and takes it, after a restart too. It opens streams, which tell
that something changed and not what, for at most two hours; it evaluates nothing.

Rules:
- A URL is a secret: it is never logged.
- The same caller gets the same URL for a whole window: browsers go on with a stream whose URL has
  not changed, and the URL is part of the ETag.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable

import orjson

from proxy.ofrep.auth import ANONYMOUS
from proxy.ofrep.paths import STREAMS

__all__ = ["TOKEN", "WINDOW_MS", "Offers", "find_identity"]

TOKEN = "token"  # noqa: S105 - the name of the parameter
WINDOW_MS = 3_600_000
"""A token is taken in the window that it was made in and in the next: one to two hours."""

_INACTIVITY_S = 120
"""How long a page that nobody sees keeps its stream; the protocol's default."""

_SHORT = 8
_MAC_BYTES = 16
_MAX_TOKEN_CHARS = 64
_MAX_OFFERS = 1_024


class Offers:
    """The member `eventStreams` of bulk answers. `prefix` is what a proxy puts before our paths."""

    def __init__(self, prefix: str = "") -> None:
        self._uri = prefix + STREAMS
        self._window = -1
        self._made: dict[str, bytes] = {}

    def of(self, identity: str, now_ms: int) -> bytes:
        """Return the member, with the comma before it, for who asks: a key's hash or ANONYMOUS."""
        window = now_ms // WINDOW_MS
        if window != self._window or len(self._made) >= _MAX_OFFERS:
            self._window = window
            self._made = {}
        made = self._made.get(identity)
        if made is None:
            uri = self._uri
            if identity != ANONYMOUS:
                uri += f"?{TOKEN}={_token(identity, window)}"
            stream = {
                "type": "sse",
                "endpoint": {"requestUri": uri},
                "inactivityDelaySec": _INACTIVITY_S,
            }
            made = self._made[identity] = b',"eventStreams":' + orjson.dumps([stream])
        return made


def find_identity(identities: Iterable[str], token: str, now_ms: int) -> str | None:
    """Return whose token this is, of the hashes of keys that there are; None for an invalid one."""
    window, _, rest = token.partition(".")
    present = now_ms // WINDOW_MS
    if len(token) > _MAX_TOKEN_CHARS or window not in {str(present), str(present - 1)}:
        return None
    short, _, _ = rest.partition(".")
    for identity in identities:
        if identity[:_SHORT] == short:
            expected = _token(identity, int(window)).encode()
            if hmac.compare_digest(expected, token.encode("utf-8", "replace")):
                return identity
    return None


def _token(identity: str, window: int) -> str:
    signed = b"matrixflag stream %d" % window
    mac = hmac.digest(identity.encode(), signed, "sha256")[:_MAC_BYTES]
    return f"{window}.{identity[:_SHORT]}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"
