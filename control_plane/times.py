"""Times as records and answers carry them: RFC 3339 in UTC, with milliseconds and a Z.

In this one form the order of texts is that of times, on which those rely who compare them.
"""

from datetime import UTC, datetime

__all__ = ["now_rfc3339", "rfc3339", "rfc3339_of_ms", "utc_now"]


def utc_now() -> datetime:
    """Return what time it is."""
    return datetime.now(UTC)


def now_rfc3339() -> str:
    """Return what time it is, as text."""
    return rfc3339(utc_now())


def rfc3339(at: datetime) -> str:
    """Return a time in UTC as text."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_of_ms(unix_ms: int) -> str:
    """Return a time of so many milliseconds since 1970 as text; one before it as its beginning."""
    return rfc3339(datetime.fromtimestamp(max(0, unix_ms) / 1000, UTC))
