"""From the text of a setting to its value, or a sentence that says what is wrong with the text.

Each raises ValueError with the rest of a sentence that starts with the setting's name. Used as the
`parse` of `proxy.contract.settings.setting`.
"""

import ipaddress
import math
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

__all__ = ["is_loopback", "number", "one_of", "origins", "port_number", "words"]

T = TypeVar("T", int, float)


def number(kind: type[T], low: T, high: T) -> Callable[[str], T]:
    """Return the parser of a number from `low` to `high`, both included."""

    def parse(text: str) -> T:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"is not a {'whole ' if kind is int else ''}number") from None
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"is not between {low} and {high}")
        return value

    return parse


port_number = number(int, 0, 65_535)


def words(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return the parser of one of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return text.lower()

    return parse


def origins(text: str) -> tuple[str, ...]:
    """Return origins of web pages, between commas, or `*` alone."""
    found = words(text)
    for origin in found:
        parts = urlsplit(origin)
        plain = f"{parts.scheme}://{parts.netloc}"
        if origin != "*" and not (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and "@" not in parts.netloc
            and origin == plain
        ):
            which = "" if origin == text else f"holds {origin!r}, which "
            raise ValueError(f"{which}is not an origin like https://shop.example, or *")
    if "*" in found and len(found) > 1:
        raise ValueError("* stands alone")
    return tuple(origin.lower() for origin in found)


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine alone. Nothing is resolved."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
