"""aiohttp, imported without the authorities that this machine trusts; they are read when needed.

aiohttp reads them as it is imported, into two contexts: 50 ms and 3 MB, a tenth of a start, and for
nothing where the control plane is asked in plaintext. Importing this module imports aiohttp without
that.

Rules:
- Imported first, as `proxy.app` does. After aiohttp it changes nothing, and nothing is left to do.
- Until `read_authorities` nobody is trusted: what is asked over TLS by default fails.
"""

import ssl
from typing import Any

__all__ = ["read_authorities"]

_without: list[ssl.SSLContext] = []
"""Contexts that shall have the authorities, and have not read them yet."""


def read_authorities() -> None:
    """Read what is trusted into aiohttp's own context: 25 ms, most of it without Python's lock."""
    while _without:
        _without.pop().load_default_certs()


def _import_aiohttp() -> None:
    """Import aiohttp; what it makes then is kept for later, but not what verifies nobody."""
    read, read_unverified = (
        ssl.SSLContext.load_default_certs,
        ssl.SSLContext.set_default_verify_paths,
    )

    def later(context: ssl.SSLContext, *_purpose: Any) -> None:
        _without.append(context)

    ssl.SSLContext.load_default_certs = later  # type: ignore[assignment,method-assign]
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        import aiohttp  # noqa: F401 - for what it does
    finally:
        ssl.SSLContext.load_default_certs = read  # type: ignore[method-assign]
        ssl.SSLContext.set_default_verify_paths = read_unverified  # type: ignore[method-assign]


_import_aiohttp()
