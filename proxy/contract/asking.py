"""What commands say of the control plane that they ask: which it is, why it is not reached, when to
ask again. Pure: both programs have commands.

Rules:
- An address is looked at once, before anything is sent there: what is wrong with it is told in
  terms of what was given, not in those of an HTTP library.
- An address that holds a password is never part of a message.
"""

import errno
from urllib.parse import urlsplit

__all__ = ["DEFAULT_URL", "BadUrlError", "checked_url", "later_hint", "unreached"]

DEFAULT_URL = "http://localhost:8000"

_SHOWN_CHARS = 80
_MAX_HINT_CHARS = 40


class BadUrlError(Exception):
    """What was given is no address of a control plane; the text says why."""


def checked_url(text: str) -> str:
    """Return the address of a control plane without a slash at its end. Raises BadUrlError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadUrlError(_no_url("is no URL")) from None
    if "@" in parts.netloc or "@" in text:
        raise BadUrlError(_no_url("holds a user or a password"))
    shown = repr(text[:_SHOWN_CHARS])
    if parts.scheme not in ("http", "https"):
        raise BadUrlError(_no_url(f"{shown} does not begin with http:// or https://"))
    if not host or port == 0:
        raise BadUrlError(_no_url(f"{shown} names no host"))
    if "?" in text or "#" in text:
        raise BadUrlError(_no_url(f"{shown} has a query or a fragment"))
    if not text.isprintable() or " " in text:
        raise BadUrlError(_no_url(f"{shown} has spaces in it"))
    return text.rstrip("/")


def later_hint(retry_after: str | None) -> str:
    """Return what to say of an answer's `Retry-After`, given as it came; empty where there is none.

    Whoever gives up says when it would have been worth another try.
    """
    if not retry_after or len(retry_after) > _MAX_HINT_CHARS or not retry_after.isprintable():
        return ""
    if retry_after.isascii() and retry_after.isdigit():
        return f"; try again in {retry_after} s"
    return f"; try again at {retry_after}"


def unreached(error: BaseException) -> str:
    """Return why there was no connection, or none any more, in words of the network."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    # several addresses were tried: one text with all their numbers in it
    refused = f"[Errno {errno.ECONNREFUSED}]" in str(cause)
    if refused or isinstance(cause, ConnectionRefusedError):
        return "the connection was refused: nothing listens there"
    return str(text)


def _no_url(why: str) -> str:
    return f"--url or MATRIXFLAG_URL: {why}; give a URL such as {DEFAULT_URL}"
